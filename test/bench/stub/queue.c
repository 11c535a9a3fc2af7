/*
 * queue.c
 *	  The queue of the stub: see queue.h.
 */
#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "messages.h"
#include "queue.h"

QueueStatistics queue_statistics;

static double started;
static double rate;
static char *is_settled;

double
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_REALTIME, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

void
queue_start(long count, double a_rate)
{
	queue_statistics = (QueueStatistics) {.count = count};
	free(is_settled);
	is_settled = calloc(count + 1, 1);
	if (is_settled == NULL)
		die("out of memory");
	rate = a_rate;
	started = now();
}

/* Anywhere in its share of time, so that a client's own period does not matter. */
double
queue_published(long number)
{
	return rate > 0 ? started + (number + message_chance(number)) / rate : started;
}

/* The number of visible messages. */
static long
visible(void)
{
	long		count;

	if (rate == 0)
		return queue_statistics.count;
	count = (long) floor((now() - started) * rate);
	if (queue_published(count) <= now())
		count++;
	return count < queue_statistics.count ? count : queue_statistics.count;
}

bool
queue_is_empty(void)
{
	return visible() <= queue_statistics.next;
}

double
queue_due(void)
{
	long		count = visible();

	return count < queue_statistics.count ? queue_published(count) : INFINITY;
}

long
queue_take(int max, int *count)
{
	QueueStatistics *s = &queue_statistics;
	long		first = s->next;
	long		left = visible() - first;

	*count = (int) (left < max ? left : max);
	s->next += *count;
	if (*count > 0 && first == 0)
		s->first = now();
	return first;
}

/* Notes when each thousandth of the work was done; one message may be several. */
static void
note(double *marks, long done)
{
	long		before = (done - 1) * QUEUE_MARKS / queue_statistics.count;
	long		after = done * QUEUE_MARKS / queue_statistics.count;

	while (before < after && before < QUEUE_MARKS)
		marks[before++] = now();
}

void
queue_settle(long number)
{
	QueueStatistics *s = &queue_statistics;

	if (number < 0 || number >= s->next || is_settled[number])
	{
		s->wrong++;
		return;
	}
	is_settled[number] = 1;
	note(s->settled_marks, ++s->settled);
	s->last = now();
}

void
queue_count_dataset(void)
{
	if (queue_statistics.count > 0)
		note(queue_statistics.dataset_marks, ++queue_statistics.datasets);
}
