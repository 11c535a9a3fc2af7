/*
 * s3_event.h
 *	  What S3 tells of a bucket: new objects, and a test message.
 */
#ifndef DAMOOV_S3_EVENT_H
#define DAMOOV_S3_EVENT_H

#include "nodes/pg_list.h"

/* The outermost members that tell such a message; NULL: absent. */
typedef struct S3Outline
{
	const char *service;		/* of the test message */
	const char *event;
	const char *time;
	const char *records;		/* an array as it stands */
	Size		records_len;
} S3Outline;

/*
 * A part (EnvelopePart *) for each record, or one for the test message; NIL for
 * any other message.  A record's id stands for the object, which is bucket and
 * key; its time is that of the event and, behind a blank, its sequencer.
 */
extern List *s3_event_parts(const S3Outline *outline, const char *text, Size len);

#endif							/* DAMOOV_S3_EVENT_H */
