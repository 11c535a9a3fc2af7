/*
 * purge.c
 *	  CALL damoov_purge(): retention, in small transactions.
 *
 * Looks for old rows once for many transactions and removes BATCH_ROWS of them
 * in each, by their physical address and after asking again whether they are
 * old.  Rows that others hold are left for the next call, so that it neither
 * waits nor deadlocks.  What belongs to a row goes with it by triggers and
 * foreign keys.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/sql.h"
#include "compat.h"
#include "door/person.h"
#include "guc.h"

#define BATCH_ROWS		1000	/* removed in one transaction */
#define FOUND_ROWS		100000	/* found by one look at the table */

SQL_FUNCTION(damoov_purge);

/* Each statement gets the time $1; "remove" gets addresses $2, too. */
typedef struct PurgeKind
{
	const char *name;
	const int  *keep;			/* minutes */
	SqlPlan		count;
	SqlPlan		find;
	SqlPlan		remove;			/* one row for each row removed */
} PurgeKind;

#define COUNT(table, condition) { \
	.text = "SELECT count(*) FROM damoov." table " AS x WHERE " condition, \
	.nargs = 1, .argtypes = {TIMESTAMPTZOID}}
#define FIND(table, condition) { \
	.text = "SELECT x.ctid FROM damoov." table " AS x WHERE " condition \
	" LIMIT " CppAsString2(FOUND_ROWS), \
	.nargs = 1, .argtypes = {TIMESTAMPTZOID}}
#define REMOVE(table, condition, then) { \
	.text = "WITH old AS MATERIALIZED (SELECT x.ctid FROM damoov." table " AS x " \
	"WHERE x.ctid = ANY ($2) AND " condition " FOR UPDATE SKIP LOCKED), " \
	"gone AS (DELETE FROM damoov." table " AS x USING old WHERE x.ctid = old.ctid RETURNING x.*)" \
	then " SELECT FROM gone", \
	.nargs = 2, .argtypes = {TIMESTAMPTZOID, TIDARRAYOID}}
#define KIND(table, variable, condition, then) { \
	.name = table, .keep = &variable, .count = COUNT(table, condition), \
	.find = FIND(table, condition), .remove = REMOVE(table, condition, then)}

/*
 * A tombstone goes with its event, and both stay 14 days after they arrived,
 * the longest a queue keeps a message: until then an older event about the
 * track may come again, and would bring the track back.
 *
 * A trip is as old as the platform's last word on it.  Not its own times: a
 * phone with a wrong clock would have it removed at once, or never.
 */
static PurgeKind kinds[] = {
	KIND("events", damoov_keep_events,
		 "x.received_at < $1 AND (x.received_at < now() - interval '14 days' OR NOT EXISTS ("
		 "SELECT FROM damoov.removed_tracks AS r WHERE r.event_id = x.event_id))",
		 ", tombstones AS (DELETE FROM damoov.removed_tracks AS r USING gone "
		 "WHERE r.event_id = gone.event_id)"),
	KIND("heartbeats", damoov_keep_heartbeats, "x.reported_at < $1", ""),
	KIND("trips", damoov_keep_trips, "coalesce(x.enriched_at, x.stored_at) < $1", ""),
	KIND("raw_tracks", damoov_keep_trips, "x.stored_at < $1", ""),
	KIND("crashes", damoov_keep_crashes,
		 "greatest(x.header_received_at, x.buffer_received_at, x.completed_at, x.filtered_at) < $1", ""),
	KIND("quarantine", damoov_keep_quarantine, "x.received_at < $1", ""),
	KIND("documents", damoov_keep_documents, "x.fetched_at < $1", ""),
	/* a day as a whole */
	KIND("receipts", damoov_keep_receipts, "date_trunc('day', x.received_at, 'UTC') < $1", ""),
};

#define DAY(column) "(" column " AT TIME ZONE 'UTC')::date"

/* Receipts of whole days in UTC become one row a source and day. */
static PurgeKind folding = {
	.count = {
		.text = "SELECT coalesce(sum(n.count - 1), 0)::bigint FROM (SELECT count(*) FROM damoov.receipts AS x "
		"WHERE x.received_at < $1 GROUP BY x.source, " DAY("x.received_at") ") AS n",
		.nargs = 1, .argtypes = {TIMESTAMPTZOID}
	},
	.find = {
		.text = "SELECT n.ctid FROM (SELECT x.ctid, x.source, x.received_at, "
		"count(*) OVER (PARTITION BY x.source, " DAY("x.received_at") ") FROM damoov.receipts AS x "
		"WHERE x.received_at < $1) AS n WHERE n.count > 1 "
		"ORDER BY n.source, n.received_at LIMIT " CppAsString2(FOUND_ROWS),
		.nargs = 1, .argtypes = {TIMESTAMPTZOID}
	},
	.remove = REMOVE("receipts", "x.received_at < $1",
					 ", sums AS (INSERT INTO damoov.receipts "
					 "(source, received_at, received, stored, duplicate, unknown, control, quarantined) "
					 "SELECT g.source, " DAY("g.received_at") "::timestamp AT TIME ZONE 'UTC', "
					 "sum(g.received), sum(g.stored), sum(g.duplicate), sum(g.unknown), sum(g.control), sum(g.quarantined) "
					 "FROM gone AS g GROUP BY g.source, " DAY("g.received_at") ")"),
};

typedef struct Found
{
	MemoryContext context;
	ItemPointer tids;
	int			count;
} Found;

static int64
count_old(PurgeKind *kind, TimestampTz before)
{
	Datum		argument = TimestampTzGetDatum(before);

	sql_run(&kind->count, &argument, NULL);
	return DatumGetInt64(sql_value(0, 1, NULL));
}

static void
find_old(PurgeKind *kind, TimestampTz before, Found *found)
{
	Datum		argument = TimestampTzGetDatum(before);

	found->count = (int) sql_run(&kind->find, &argument, NULL);
	for (int i = 0; i < found->count; i++)
		found->tids[i] = *(ItemPointer) DatumGetPointer(sql_value(i, 1, NULL));
}

static int64
remove_old(PurgeKind *kind, TimestampTz before, const Found *found, int first)
{
	int			count = Min(BATCH_ROWS, found->count - first);
	Datum	   *tids = palloc(count * sizeof(Datum));
	Datum		arguments[2];

	for (int i = 0; i < count; i++)
		tids[i] = PointerGetDatum(&found->tids[first + i]);
	arguments[0] = TimestampTzGetDatum(before);
	arguments[1] = sql_array(tids, NULL, count, TIDOID);
	person_lock();
	return sql_run(&kind->remove, arguments, NULL);
}

/* Commits what was done since, and begins anew. */
static void
next_transaction(int *scope)
{
	sql_leave(*scope);
	PopActiveSnapshot();
	SPI_commit();
	PushActiveSnapshot(GetTransactionSnapshot());
	*scope = sql_enter();
}

/* Removes all that is older, in as many transactions as that takes. */
static int64
purge(PurgeKind *kind, TimestampTz before, Found *found, int *scope)
{
	int64		removed = 0;

	for (;;)
	{
		int64		removed_before = removed;

		find_old(kind, before, found);
		for (int first = 0; first < found->count; first += BATCH_ROWS)
		{
			removed += remove_old(kind, before, found, first);
			next_transaction(scope);
		}
		/* rows that others hold would be found again and again */
		if (removed == removed_before || found->count < FOUND_ROWS)
			return removed;
	}
}

static void
purge_kind(PurgeKind *kind, bool dry_run, Found *found, int *scope)
{
	TimestampTz before = GetCurrentTimestamp() - *kind->keep * USECS_PER_MINUTE;

	if (*kind->keep < 0)
		ereport(NOTICE,
				(errmsg("%s: kept for ever", kind->name)));
	else if (dry_run)
		ereport(NOTICE,
				(errmsg("%s: would remove " INT64_FORMAT,
						kind->name, count_old(kind, before))));
	else
		ereport(NOTICE,
				(errmsg("%s: removed " INT64_FORMAT,
						kind->name, purge(kind, before, found, scope))));
}

static void
fold_receipts(bool dry_run, Found *found, int *scope)
{
	/* days begin and end in UTC, as in damoov.ledger */
	TimestampTz yesterday = GetCurrentTimestamp() - USECS_PER_DAY;
	TimestampTz before = yesterday - ((yesterday % USECS_PER_DAY) + USECS_PER_DAY) % USECS_PER_DAY;
	int64		rows = count_old(&folding, before);

	/* a day that a batch has cut in two is folded once more */
	while (!dry_run && count_old(&folding, before) > 0 &&
		   purge(&folding, before, found, scope) > 0)
		CHECK_FOR_INTERRUPTS();
	ereport(NOTICE,
			(errmsg(dry_run ? "receipts: would fold " INT64_FORMAT " into days"
					: "receipts: folded " INT64_FORMAT " into days", rows)));
}

Datum
damoov_purge(PG_FUNCTION_ARGS)
{
	CallContext *call = castNode(CallContext, fcinfo->context);
	bool		dry_run = PG_ARGISNULL(0) || PG_GETARG_BOOL(0);
	Found		found = {0};
	int			scope;

	if (!dry_run && call->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("damoov_purge() cannot run inside a transaction block")));
	if (!dry_run)
		PreventCommandIfReadOnly("damoov_purge()");

	if (SPI_connect_ext(call->atomic ? 0 : SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect_ext failed");
	found.context = AllocSetContextCreate(PortalContext, "damoov purge", ALLOCSET_DEFAULT_SIZES);
	found.tids = MemoryContextAlloc(found.context, FOUND_ROWS * sizeof(ItemPointerData));
	PushActiveSnapshot(GetTransactionSnapshot());
	scope = sql_enter();
	fold_receipts(dry_run, &found, &scope);
	for (int i = 0; i < (int) lengthof(kinds); i++)
		purge_kind(&kinds[i], dry_run, &found, &scope);
	sql_leave(scope);
	PopActiveSnapshot();
	MemoryContextDelete(found.context);
	SPI_finish();
	PG_RETURN_VOID();
}
