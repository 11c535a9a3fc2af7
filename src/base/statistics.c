/*
 * statistics.c
 *	  What sources and downloads did: see statistics.h.
 *
 * There is a place for so many; when all are taken, the one that has been quiet
 * for longest is given away.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/shared.h"
#include "base/statistics.h"
#include "compat.h"

#define MAX_SUBJECTS		128
#define MAX_NOTES		200
#define MAX_PROBLEM		256
#define RATE_SECONDS	60
/* each is a quarter of a power of two of milliseconds wide; the last takes all above 20 years */
#define BUCKETS			160

SQL_FUNCTION(damoov_source_statistics);
SQL_FUNCTION(damoov_download_statistics);
SQL_FUNCTION(damoov_activities);
SQL_FUNCTION(damoov_reset_statistics);

typedef struct SubjectCounts
{
	Oid			database;		/* InvalidOid: free */
	Subject		subject;
	char		name[NAMEDATALEN];	/* anything that damoov_ingest() was told; cut off, if it is longer */
	TimestampTz reset_at;
	TimestampTz used_at;
	int64		counts[COUNTERS];
	uint32		delays[DELAYS][BUCKETS];
	/* messages of each of the last seconds */
	int64		second[RATE_SECONDS];
	int64		per_second[RATE_SECONDS];
	/* of the last batch, in milliseconds; -1: it had nothing new */
	int64		newest_ms;
	int64		oldest_ms;
} SubjectCounts;

typedef struct Note
{
	Oid			database;
	TimestampTz at;
	char		activity[NAMEDATALEN];
	char		name[NAMEDATALEN];
	int64		count;
	int64		duration_ms;
	char		problem[MAX_PROBLEM];	/* "": none */
} Note;

typedef struct Statistics
{
	SubjectCounts subjects[MAX_SUBJECTS];
	int64		nnotes;			/* ever */
	Note		notes[MAX_NOTES];
} Statistics;

/* A batch of the open transaction. */
typedef struct Batch
{
	int			level;			/* of the subtransaction that it belongs to */
	char		source[NAMEDATALEN];
	int64		outcomes[OUTCOME_COUNTERS];
	int			new;
	TimestampTz sent_at[FLEXIBLE_ARRAY_MEMBER];
} Batch;

static Statistics *statistics = NULL;
static List *batches = NIL;		/* Batch *, in TopTransactionContext */

void
statistics_init(void)
{
	shared_request("damoov statistics", sizeof(Statistics), (void **) &statistics);
}

/* ----- counting, under the lock ----- */

static void
reset(SubjectCounts *entry, Oid database, Subject subject, const char *name)
{
	memset(entry, 0, sizeof(SubjectCounts));
	entry->database = database;
	entry->subject = subject;
	shared_text(entry->name, name, NAMEDATALEN);
	entry->reset_at = GetCurrentTimestamp();
	entry->newest_ms = entry->oldest_ms = -1;
}

static SubjectCounts *
counts_of(Subject subject, const char *name)
{
	SubjectCounts *place = &statistics->subjects[0];
	char		key[NAMEDATALEN];

	shared_text(key, name, NAMEDATALEN);
	for (int i = 0; i < MAX_SUBJECTS; i++)
	{
		SubjectCounts *entry = &statistics->subjects[i];

		if (entry->database == MyDatabaseId && entry->subject == subject && strcmp(entry->name, key) == 0)
		{
			entry->used_at = GetCurrentTimestamp();
			return entry;
		}
		/* a free one was never used */
		if (entry->used_at < place->used_at)
			place = entry;
	}
	reset(place, MyDatabaseId, subject, name);
	place->used_at = place->reset_at;
	return place;
}

static void
add_delay(SubjectCounts *entry, Delay delay, int64 ms, int times)
{
	int			bucket = ms < 1 ? 0 : (int) (4 * log2((double) ms)) + 1;

	entry->delays[delay][Min(bucket, BUCKETS - 1)] += times;
}

static void
add_to_rate(SubjectCounts *entry, TimestampTz now, int64 messages)
{
	int64		second = now / USECS_PER_SEC;
	int			place = second % RATE_SECONDS;

	if (entry->second[place] != second)
		entry->per_second[place] = 0;
	entry->second[place] = second;
	entry->per_second[place] += messages;
}

static void
add_note(const char *activity, const char *name, int64 count, int64 duration_ms, const char *problem)
{
	Note	   *note = &statistics->notes[statistics->nnotes++ % MAX_NOTES];

	note->database = MyDatabaseId;
	note->at = GetCurrentTimestamp();
	shared_text(note->activity, activity, NAMEDATALEN);
	shared_text(note->name, name, NAMEDATALEN);
	note->count = count;
	note->duration_ms = duration_ms;
	shared_text(note->problem, problem ? problem : "", MAX_PROBLEM);
}

static void
add_batch(const Batch *batch)
{
	SubjectCounts *entry = counts_of(SUBJECT_SOURCE, batch->source);
	TimestampTz now = GetCurrentTimestamp();
	int64		messages = 0;

	for (int i = 0; i < OUTCOME_COUNTERS; i++)
	{
		entry->counts[i] += batch->outcomes[i];
		messages += batch->outcomes[i];
	}
	entry->counts[COUNT_BATCHES]++;
	add_to_rate(entry, now, messages);
	add_note("store", batch->source, messages, -1, NULL);
	entry->newest_ms = entry->oldest_ms = -1;
	for (int i = 0; i < batch->new; i++)
	{
		int64		ms = Max(0, (now - batch->sent_at[i]) / 1000);

		add_delay(entry, DELAY_LAG, ms, 1);
		entry->newest_ms = i == 0 ? ms : Min(entry->newest_ms, ms);
		entry->oldest_ms = Max(entry->oldest_ms, ms);
	}
}

void
statistics_count(Subject subject, const char *name, Counter counter, int64 by)
{
	if (statistics == NULL)
		return;
	shared_lock(LW_EXCLUSIVE);
	counts_of(subject, name)->counts[counter] += by;
	shared_unlock();
}

void
statistics_delay(Subject subject, const char *name, Delay delay, int64 ms, int times)
{
	if (statistics == NULL || times == 0)
		return;
	shared_lock(LW_EXCLUSIVE);
	add_delay(counts_of(subject, name), delay, ms, times);
	shared_unlock();
}

void
statistics_note(const char *activity, const char *name, int64 count, int64 duration_ms, const char *problem)
{
	if (statistics == NULL)
		return;
	shared_lock(LW_EXCLUSIVE);
	add_note(activity, name, count, duration_ms, problem);
	shared_unlock();
}

/* ----- batches, which count when they are committed ----- */

static void
transaction_ends(XactEvent event, void *argument)
{
	ListCell   *cell;

	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PARALLEL_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
		return;
	if (event == XACT_EVENT_COMMIT && batches != NIL)
	{
		shared_lock(LW_EXCLUSIVE);
		foreach(cell, batches)
			add_batch(lfirst(cell));
		shared_unlock();
	}
	/* it goes with its context */
	batches = NIL;
}

static void
subtransaction_ends(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *argument)
{
	int			level = GetCurrentTransactionNestLevel();
	ListCell   *cell;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	foreach(cell, batches)
	{
		Batch	   *batch = lfirst(cell);

		if (batch->level < level)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			batch->level = level - 1;
		else
			batches = foreach_delete_current(batches, cell);
	}
}

void
statistics_batch(const char *source, const int64 *outcomes, const TimestampTz *sent_at, int new)
{
	static bool registered = false;
	MemoryContext old;
	Batch	   *batch;

	if (statistics == NULL)
		return;
	if (!registered)
	{
		RegisterXactCallback(transaction_ends, NULL);
		RegisterSubXactCallback(subtransaction_ends, NULL);
		registered = true;
	}
	old = MemoryContextSwitchTo(TopTransactionContext);
	batch = palloc(offsetof(Batch, sent_at) + new * sizeof(TimestampTz));
	batch->level = GetCurrentTransactionNestLevel();
	shared_text(batch->source, source, NAMEDATALEN);
	memcpy(batch->outcomes, outcomes, sizeof(batch->outcomes));
	batch->new = new;
	memcpy(batch->sent_at, sent_at, new * sizeof(TimestampTz));
	batches = lappend(batches, batch);
	MemoryContextSwitchTo(old);
}

/* ----- SQL ----- */

/* The values of one row. */
typedef struct Row
{
	int			count;
	Datum		values[32];
	bool		nulls[32];
} Row;

static void
put(Row *row, bool given, Datum value)
{
	Assert(row->count < (int) lengthof(row->values));
	row->values[row->count] = value;
	row->nulls[row->count++] = !given;
}

static void
put_ms(Row *row, int64 ms)
{
	put(row, ms >= 0, Float8GetDatum((double) ms));
}

/* The upper end of the bucket where so many of a hundred lie; none without any. */
static void
put_percentile(Row *row, const uint32 *buckets, int percent)
{
	int64		total = 0;
	int64		below = 0;
	int			i = 0;

	for (int b = 0; b < BUCKETS; b++)
		total += buckets[b];
	for (; i < BUCKETS - 1; i++)
	{
		below += buckets[i];
		if (below * 100 >= total * percent)
			break;
	}
	put(row, total > 0, Float8GetDatum(exp2(i / 4.0)));
}

static void
put_percentiles(Row *row, const SubjectCounts *entry, Delay delay)
{
	put_percentile(row, entry->delays[delay], 50);
	put_percentile(row, entry->delays[delay], 95);
	put_percentile(row, entry->delays[delay], 99);
}

static void
put_counts(Row *row, const SubjectCounts *entry, const Counter *counters, int count)
{
	for (int i = 0; i < count; i++)
		put(row, true, Int64GetDatum(entry->counts[counters[i]]));
}

static double
rate(const SubjectCounts *entry)
{
	int64		now = GetCurrentTimestamp() / USECS_PER_SEC;
	int64		messages = 0;

	for (int i = 0; i < RATE_SECONDS; i++)
	{
		if (entry->second[i] > now - RATE_SECONDS)
			messages += entry->per_second[i];
	}
	return (double) messages / RATE_SECONDS;
}

static void
fill_source(Row *row, const SubjectCounts *entry)
{
	static const Counter outcomes[] = {
		COUNT_STORED, COUNT_DUPLICATE, COUNT_UNKNOWN, COUNT_CONTROL, COUNT_QUARANTINED,
		COUNT_BATCHES, COUNT_REQUESTS, COUNT_FAILURES, COUNT_THROTTLED, COUNT_BYTES, COUNT_SETTLED, COUNT_SETTLE_FAILURES
	};
	int64		received = 0;

	for (int i = 0; i < OUTCOME_COUNTERS; i++)
		received += entry->counts[i];
	put(row, true, Int64GetDatum(received));
	put_counts(row, entry, outcomes, lengthof(outcomes));
	put(row, true, Float8GetDatum(rate(entry)));
	put_ms(row, entry->newest_ms);
	put_ms(row, entry->oldest_ms);
	put_percentiles(row, entry, DELAY_LAG);
	put_percentiles(row, entry, DELAY_STORING);
}

static void
fill_downloads(Row *row, const SubjectCounts *entry)
{
	static const Counter counters[] = {
		COUNT_REQUESTS, COUNT_STORED, COUNT_FAILURES, COUNT_THROTTLED
	};

	put_counts(row, entry, counters, lengthof(counters));
	put_percentiles(row, entry, DELAY_STORING);
}

/* A row for each, of a copy: nothing is allocated under the lock. */
static void
return_subjects(FunctionCallInfo fcinfo, Subject subject, void (*fill) (Row *row, const SubjectCounts *entry))
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	SubjectCounts *copy;

	InitMaterializedSRF(fcinfo, 0);
	if (statistics == NULL)
		return;
	copy = palloc(sizeof(statistics->subjects));
	shared_lock(LW_SHARED);
	memcpy(copy, statistics->subjects, sizeof(statistics->subjects));
	shared_unlock();
	for (int i = 0; i < MAX_SUBJECTS; i++)
	{
		Row			row = {0};

		if (copy[i].database != MyDatabaseId || copy[i].subject != subject)
			continue;
		put(&row, true, CStringGetTextDatum(copy[i].name));
		fill(&row, &copy[i]);
		put(&row, true, TimestampTzGetDatum(copy[i].reset_at));
		tuplestore_putvalues(result->setResult, result->setDesc, row.values, row.nulls);
	}
}

Datum
damoov_source_statistics(PG_FUNCTION_ARGS)
{
	return_subjects(fcinfo, SUBJECT_SOURCE, fill_source);
	return (Datum) 0;
}

Datum
damoov_download_statistics(PG_FUNCTION_ARGS)
{
	return_subjects(fcinfo, SUBJECT_DOWNLOADS, fill_downloads);
	return (Datum) 0;
}

Datum
damoov_activities(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Note	   *copy;

	InitMaterializedSRF(fcinfo, 0);
	if (statistics == NULL)
		return (Datum) 0;
	copy = palloc(sizeof(statistics->notes));
	shared_lock(LW_SHARED);
	memcpy(copy, statistics->notes, sizeof(statistics->notes));
	shared_unlock();
	for (int i = 0; i < MAX_NOTES; i++)
	{
		Row			row = {0};

		if (copy[i].database != MyDatabaseId)
			continue;
		put(&row, true, TimestampTzGetDatum(copy[i].at));
		put(&row, true, CStringGetTextDatum(copy[i].activity));
		put(&row, true, CStringGetTextDatum(copy[i].name));
		put(&row, true, Int64GetDatum(copy[i].count));
		put_ms(&row, copy[i].duration_ms);
		put(&row, copy[i].problem[0] != '\0', CStringGetTextDatum(copy[i].problem));
		tuplestore_putvalues(result->setResult, result->setDesc, row.values, row.nulls);
	}
	return (Datum) 0;
}

/* Of this database. */
Datum
damoov_reset_statistics(PG_FUNCTION_ARGS)
{
	if (statistics == NULL)
		PG_RETURN_VOID();
	shared_lock(LW_EXCLUSIVE);
	for (int i = 0; i < MAX_SUBJECTS; i++)
	{
		SubjectCounts *entry = &statistics->subjects[i];
		char		name[NAMEDATALEN];
		TimestampTz used_at = entry->used_at;

		if (entry->database != MyDatabaseId)
			continue;
		strlcpy(name, entry->name, NAMEDATALEN);
		reset(entry, MyDatabaseId, entry->subject, name);
		entry->used_at = used_at;
	}
	for (int i = 0; i < MAX_NOTES; i++)
	{
		if (statistics->notes[i].database == MyDatabaseId)
			statistics->notes[i].database = InvalidOid;
	}
	shared_unlock();
	PG_RETURN_VOID();
}
