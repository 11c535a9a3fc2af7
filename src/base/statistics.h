/*
 * statistics.h
 *	  What sources and downloads did: counted in shared memory, without a table
 *	  that is written for it.  Begins anew when the server does; nothing is
 *	  counted where the library is not preloaded.
 */
#ifndef DAMOOV_STATISTICS_H
#define DAMOOV_STATISTICS_H

#include "datatype/timestamp.h"

typedef enum Subject
{
	SUBJECT_SOURCE,				/* known by its name */
	SUBJECT_DOWNLOADS			/* of one kind */
} Subject;

typedef enum Counter
{
	/* outcomes of messages, in the order of IngestOutcome */
	COUNT_STORED,
	COUNT_DUPLICATE,
	COUNT_UNKNOWN,
	COUNT_CONTROL,
	COUNT_QUARANTINED,
	OUTCOME_COUNTERS,
	COUNT_BATCHES = OUTCOME_COUNTERS,
	COUNT_REQUESTS,
	COUNT_FAILURES,
	COUNT_THROTTLED,			/* those of them where the service asked to wait */
	COUNT_BYTES,
	COUNT_SETTLED,
	COUNT_SETTLE_FAILURES,
	COUNTERS
} Counter;

/* Times, of which percentiles are told. */
typedef enum Delay
{
	DELAY_LAG,					/* from the Timestamp of a notification to its row */
	DELAY_STORING,				/* from its receipt, or the start of a download, to the commit */
	DELAYS
} Delay;

/* While preloading: asks for the shared memory. */
extern void statistics_init(void);

extern void statistics_count(Subject subject, const char *name, Counter counter, int64 by);
extern void statistics_delay(Subject subject, const char *name, Delay delay, int64 ms, int times);

/*
 * A batch of a source, which counts when the transaction is committed: how many
 * messages had which outcome, and when those that are new were sent.
 */
extern void statistics_batch(const char *source, const int64 *outcomes, const TimestampTz *sent_at, int new);

/*
 * For damoov.activity: one receive, transaction, settlement or download.
 * duration_ms: -1 when it is not known.  problem: NULL when it worked.
 */
extern void statistics_note(const char *activity, const char *name, int64 count, int64 duration_ms, const char *problem);

#endif							/* DAMOOV_STATISTICS_H */
