/*
 * s3_event.h
 *	  What stores tell of their buckets: new objects, and a test message.
 *
 * That is S3, by itself or through EventBridge, MinIO and Ceph, which speak like
 * it, and Event Grid of the blobs of Azure.
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
	const char *source;			/* of EventBridge */
	const char *detail_type;
	const char *grid_type;		/* of Event Grid, or of a CloudEvent */
} S3Outline;

/*
 * A part (EnvelopePart *) for each record, or one for the test message; NIL for
 * any other message.  A record's id stands for the object, which is bucket and
 * key; its time is that of the event and, behind a blank, its sequencer.
 */
extern List *s3_event_parts(const S3Outline *outline, const char *text, Size len);

#endif							/* DAMOOV_S3_EVENT_H */
