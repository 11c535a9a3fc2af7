/*
 * queue.h
 *	  The queue: messages become visible, are handed out once and settled.
 *
 * No message comes back: what was handed out and is not settled at the end is
 * an error of the client.  All times are seconds of the real-time clock, so
 * that they can be compared with those of other processes.
 */
#ifndef QUEUE_H
#define QUEUE_H

#include <stdbool.h>

#include "buffer.h"

#define QUEUE_MARKS		1000

typedef struct QueueStatistics
{
	long		count;			/* messages in all */
	long		next;			/* the first that was not handed out */
	long		settled;
	long		wrong;			/* settled twice, or before it was handed out */
	long		receives;
	long		empty;			/* receives that brought nothing */
	long		requests;		/* of any kind */
	long		datasets;		/* handed out */
	double		first;			/* when the first message was handed out */
	double		last;			/* when the last one was settled */
	double		settled_marks[QUEUE_MARKS]; /* when so many thousandths were */
	double		dataset_marks[QUEUE_MARKS];
} QueueStatistics;

extern QueueStatistics queue_statistics;

extern double now(void);

/* Starts again; rate 0: all messages are visible at once, else so many a second. */
extern void queue_start(long count, double rate);

/* When a message becomes visible. */
extern double queue_published(long number);

/* Is no message visible that was not handed out? */
extern bool queue_is_empty(void);

/* When the next message that is not visible becomes so; INFINITY: never. */
extern double queue_due(void);

/* Hands out up to so many messages; the first of them is the result. */
extern long queue_take(int max, int *count);

extern void queue_settle(long number);
extern void queue_count_dataset(void);

#endif							/* QUEUE_H */
