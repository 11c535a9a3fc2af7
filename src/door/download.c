/*
 * download.c
 *	  Leases of downloads: see download.h.
 *
 * Per download: lease the row (committed) -> fetch and read in memory, with no
 * transaction -> one transaction that checks whether the dataset is still
 * wanted, stores it and removes the row.  A notification that came meanwhile
 * has given the row another version; then the row stays and is fetched again.
 * If the row is gone, somebody else has stored a newer dataset, or none is
 * wanted any more.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/sql.h"
#include "base/statistics.h"
#include "base/uuid.h"
#include "base/wakeup.h"
#include "door/download.h"
#include "door/fetch.h"
#include "door/lock.h"
#include "door/object.h"
#include "door/person.h"
#include "door/quarantine.h"
#include "guc.h"

#define LEASE_SECONDS		300 /* longer than a fetch may take, and its second try */
#define RETRY_BASE_MS		1000
#define RETRY_CAP_MS		300000
#define RETRY_AFTER_CAP_S	900
#define URGENT_PRIORITY		11	/* of crashes, see damoov.apply_events() */
#define ANY_PRIORITY		PG_INT16_MAX
#define PICK_INTERVAL_MS	50	/* rows locked by others may look due */
#define PICK_RETRY_MS		1000
#define TAKE_OVER_MS		60000
#define GONE_ATTEMPTS		5	/* the notification may overtake the data */
#define REFUSED_ATTEMPTS	2
#define UNREADABLE_ATTEMPTS 5
#define ACCESS_RETRY_MS		300000	/* somebody has to mend keys or rights */
#define ACCESS_CAP_MS		3600000
#define ACCESS_ATTEMPTS		48
#define STORE_ATTEMPTS		48	/* somebody has to mend a table or a trigger */

typedef struct Download
{
	dlist_node	node;
	Downloads  *owner;
	MemoryContext context;		/* holds this and all it points to */

	/* the row */
	DatasetKind kind;
	pg_uuid_t	object_id;
	char	   *source;
	char	   *url;			/* as told, NULL: to be built from the id */
	int64		version;
	int			attempts;

	bool		leased;			/* its lease is committed */
	bool		started;
	int64		started_ms;
	Fetch		fetch;
	bool		forgotten;		/* about an erased person */
	int			refusals;		/* that could not be entered into the row */
	int64		due_ms;			/* not to be stored before, by clock_ms() */

	bool		stored;			/* settled in the open transaction */
	int64		row_id;			/* what it became, 0: nothing */
	const char *ended;			/* state it has ended in, "gone" or "failed"; else NULL */
} Download;

struct Downloads
{
	MemoryContext context;
	HttpClient *http;
	dlist_head	list;			/* in the order of leasing */
	int			count;
	int64		datasets;		/* stored so far */
	int64		due_ms;			/* of the next row, by clock_ms() */
	bool		urgent;			/* more crashes may be due than could be begun */
	int64		take_over_ms;	/* leases of sessions that are gone, not before */
	uint32		ends;			/* of workers, when that was done */
	int64		clock_offset_s; /* the stores' clock minus ours */
};

/* ----- the list ----- */

Downloads *
downloads_create(MemoryContext context, HttpClient *http)
{
	Downloads  *downloads = MemoryContextAllocZero(context, sizeof(Downloads));

	downloads->context = context;
	downloads->http = http;
	downloads->due_ms = PG_INT64_MAX;
	dlist_init(&downloads->list);
	return downloads;
}

static Download *
download_create(Downloads *downloads, DatasetKind kind, const pg_uuid_t *object_id)
{
	MemoryContext context = AllocSetContextCreate(downloads->context, "damoov download",
												  ALLOCSET_DEFAULT_SIZES);
	Download   *download = MemoryContextAllocZero(context, sizeof(Download));

	download->context = context;
	download->owner = downloads;
	download->kind = kind;
	download->object_id = *object_id;
	download->fetch.context = context;
	download->fetch.http = downloads->http;
	download->fetch.clock_offset_s = &downloads->clock_offset_s;
	download->fetch.dataset.key.kind = kind;
	download->fetch.dataset.key.object_id = *object_id;
	dlist_push_tail(&downloads->list, &download->node);
	downloads->count++;
	return download;
}

/* Is it being fetched, or its answer still to be stored? */
static bool
is_under_way(const Downloads *downloads, DatasetKind kind, const pg_uuid_t *object_id)
{
	dlist_iter	iter;

	dlist_foreach(iter, &unconstify(Downloads *, downloads)->list)
	{
		const Download *download = dlist_container(Download, node, iter.cur);

		if (!download->stored && download->kind == kind &&
			memcmp(&download->object_id, object_id, sizeof(*object_id)) == 0)
			return true;
	}
	return false;
}

static void
download_free(Download *download)
{
	dlist_delete(&download->node);
	download->owner->count--;
	fetch_end(&download->fetch);
	MemoryContextDelete(download->context);
}

int
downloads_in_flight(const Downloads *downloads)
{
	return downloads->count;
}

static bool
has_answer(const Download *download)
{
	return download->started && download->fetch.answered && !download->stored;
}

int64
downloads_store_due_ms(const Downloads *downloads)
{
	int64		due_ms = PG_INT64_MAX;
	dlist_iter	iter;

	dlist_foreach(iter, &unconstify(Downloads *, downloads)->list)
	{
		Download   *download = dlist_container(Download, node, iter.cur);

		if (has_answer(download))
			due_ms = Min(due_ms, download->due_ms);
	}
	return due_ms;
}

int64
downloads_due_ms(const Downloads *downloads)
{
	if (downloads->urgent && downloads->count <= damoov_max_downloads)
		return 0;
	return downloads->count < damoov_max_downloads ? downloads->due_ms : PG_INT64_MAX;
}

/* What is stored leaves with the transaction. */
static int
count_under_way(const Downloads *downloads)
{
	int			count = 0;
	dlist_iter	iter;

	dlist_foreach(iter, &unconstify(Downloads *, downloads)->list)
		count += !dlist_container(Download, node, iter.cur)->stored;
	return count;
}

/* ----- picking ----- */

/*
 * The statements below go through the priorities of what waits one by one: of
 * each they read, by the index on priority and due_at, what is due at $1 and not
 * what was postponed, however much that is.
 */
#define WITH_LEVELS \
	"WITH RECURSIVE level (priority) AS (" \
	"(SELECT d.priority FROM damoov.downloads AS d " \
	"WHERE d.state = 'waiting' ORDER BY d.priority LIMIT 1) " \
	"UNION ALL " \
	"SELECT (SELECT d.priority FROM damoov.downloads AS d " \
	"WHERE d.state = 'waiting' AND d.priority > l.priority ORDER BY d.priority LIMIT 1) " \
	"FROM level AS l WHERE l.priority IS NOT NULL) "

/*
 * Everything is copied: what SPI returned goes with the scope.  One that is under
 * way here is not begun again, though its lease may look over when the clock jumps.
 */
static void
take_row(Downloads *downloads, uint64 row)
{
	DatasetKind kind = dataset_kind(sql_text(CurrentMemoryContext, row, 1));
	const pg_uuid_t *object_id = DatumGetUUIDP(sql_value(row, 2, NULL));
	Download   *download;
	Dataset    *dataset;
	bool		nobody;			/* the column is NULL */
	Datum		value;

	if (is_under_way(downloads, kind, object_id))
		return;
	download = download_create(downloads, kind, object_id);
	dataset = &download->fetch.dataset;
	value = sql_value(row, 3, &nobody);
	dataset->key.user_id = nobody ? 0 : DatumGetInt64(value);
	value = sql_value(row, 4, &nobody);
	if (!nobody)
		uuid_format(DatumGetUUIDP(value), dataset->device_token);
	download->url = sql_text(download->context, row, 5);
	download->version = DatumGetInt64(sql_value(row, 6, NULL));
	download->source = sql_text(download->context, row, 7);
	download->attempts = DatumGetInt32(sql_value(row, 8, NULL));
}

static void
find_next_due(Downloads *downloads)
{
	/* what is due and was not leased just now is few: leased, or locked by others */
	static SqlPlan plan = SQL_PLAN(
		WITH_LEVELS
		"SELECT (extract(epoch FROM min(least("
		"(SELECT min(greatest(d.due_at, d.leased_until)) FROM damoov.downloads AS d "
		"WHERE d.state = 'waiting' AND d.priority = l.priority AND d.due_at <= $1), "
		"(SELECT d.due_at FROM damoov.downloads AS d "
		"WHERE d.state = 'waiting' AND d.priority = l.priority AND d.due_at > $1 "
		"ORDER BY d.due_at LIMIT 1))) - clock_timestamp()) * 1000)::bigint "
		"FROM level AS l",
		TIMESTAMPTZOID);
	Datum		now = TimestampTzGetDatum(GetCurrentTimestamp());
	bool		isnull;
	Datum		value;

	sql_run(&plan, &now, NULL);
	value = sql_value(0, 1, &isnull);
	downloads->due_ms = isnull ? PG_INT64_MAX
		: clock_ms() + Max(PICK_INTERVAL_MS, DatumGetInt64(value));
}

/*
 * Ends the leases of sessions that no longer exist.  A session is known by its
 * process id and its start, which may be hidden from us.
 */
static void
take_over_leases(void)
{
	static SqlPlan plan = SQL_PLAN(
		WITH_LEVELS
		", gone AS MATERIALIZED ("
		"SELECT n.kind, n.object_id "
		"FROM level AS l "
		"CROSS JOIN LATERAL (SELECT d.kind, d.object_id "
		"FROM damoov.downloads AS d "
		"WHERE d.state = 'waiting' AND d.priority = l.priority AND d.due_at <= $1 "
		"AND d.leased_until IS NOT NULL "
		"AND NOT EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.pid = d.leased_by "
		"AND coalesce(a.backend_start = d.leased_by_start, true)) "
		"FOR UPDATE OF d SKIP LOCKED) AS n) "
		"UPDATE damoov.downloads AS d "
		"SET leased_until = NULL "
		"FROM gone "
		"WHERE d.kind = gone.kind AND d.object_id = gone.object_id",
		TIMESTAMPTZOID);
	Datum		now = TimestampTzGetDatum(GetCurrentTimestamp());

	sql_run(&plan, &now, NULL);
}

/* Leases what is due, up to this priority; the new ones stand at the end of the list. */
static uint64
lease_due(Downloads *downloads, int room, int priority)
{
	static SqlPlan plan = SQL_PLAN(
		WITH_LEVELS
		", due AS MATERIALIZED ("
		"SELECT n.kind, n.object_id, n.user_id "
		"FROM level AS l "
		"CROSS JOIN LATERAL (SELECT d.kind, d.object_id, d.user_id "
		"FROM damoov.downloads AS d "
		"WHERE d.state = 'waiting' AND d.priority = l.priority AND d.priority <= $6 AND d.due_at <= $1 "
		"AND (d.leased_until IS NULL OR d.leased_until <= $1) "
		"ORDER BY d.due_at "
		"LIMIT $2 FOR UPDATE SKIP LOCKED) AS n "
		"LIMIT $2) "
		"UPDATE damoov.downloads AS d "
		"SET attempts = d.attempts + 1, "
		"leased_until = $1 + $3 * interval '1 second', "
		"leased_by = $4, leased_by_start = $5 "
		"FROM due "
		"LEFT JOIN damoov.users AS u ON u.user_id = due.user_id "
		"WHERE d.kind = due.kind AND d.object_id = due.object_id "
		"RETURNING d.kind, d.object_id, d.user_id, u.device_token, d.url, d.version, damoov.source_of(d.source, d.source_owner), d.attempts",
		TIMESTAMPTZOID, INT4OID, INT4OID, INT4OID, TIMESTAMPTZOID, INT2OID);
	Datum		arguments[] = {
		TimestampTzGetDatum(GetCurrentTimestamp()),
		Int32GetDatum(room),
		Int32GetDatum(LEASE_SECONDS),
		Int32GetDatum(MyProcPid),
		TimestampTzGetDatum(MyStartTimestamp),
		Int16GetDatum(priority)
	};
	uint64		rows;

	if (clock_ms() >= downloads->take_over_ms || downloads->ends != wakeup_ends())
	{
		downloads->ends = wakeup_ends();
		take_over_leases();
		downloads->take_over_ms = clock_ms() + TAKE_OVER_MS;
	}
	rows = sql_run(&plan, arguments, NULL);
	for (uint64 row = 0; row < rows; row++)
		take_row(downloads, row);
	return rows;
}

/*
 * A crash does not wait for the slow answers of trips: when there is no room, one
 * more download is begun if it is of a crash.
 */
static void
lease_within_room(Downloads *downloads)
{
	int			room = damoov_max_downloads - count_under_way(downloads);
	int			scope;

	if (room < 0)
		return;
	scope = sql_enter();
	downloads->urgent = room == 0 && lease_due(downloads, 1, URGENT_PRIORITY) > 0;
	if (room > 0 && lease_due(downloads, room, ANY_PRIORITY) < (uint64) room)
		find_next_due(downloads);
	else
		downloads->due_ms = 0;	/* as soon as there is room */
	sql_leave(scope);
}

void
downloads_pick(Downloads *downloads)
{
	dlist_iter	iter;

	lease_within_room(downloads);
	dlist_foreach(iter, &downloads->list)
	{
		Download   *download = dlist_container(Download, node, iter.cur);

		if (!download->started && download->fetch.url == NULL && !download->fetch.answered)
			fetch_find(&download->fetch, download->source, download->url);
	}
}

/* What could not be leased is not tried again at once. */
static void
not_soon(Downloads *downloads)
{
	downloads->urgent = false;
	downloads->due_ms = clock_ms() + PICK_RETRY_MS;
}

void
downloads_unpick(Downloads *downloads)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &downloads->list)
	{
		Download   *download = dlist_container(Download, node, iter.cur);

		if (!download->leased)
			download_free(download);
	}
	not_soon(downloads);
}

void
downloads_start(Downloads *downloads)
{
	dlist_iter	iter;

	dlist_foreach(iter, &downloads->list)
	{
		Download   *download = dlist_container(Download, node, iter.cur);

		if (!download->leased || download->started)
			continue;
		download->started = true;
		download->started_ms = clock_ms();
		statistics_count(SUBJECT_DOWNLOADS, dataset_kind_name(download->kind), COUNT_REQUESTS, 1);
		/* unless it was not allowed: nothing is sent */
		if (!download->fetch.answered)
			fetch_send(&download->fetch);
	}
}

/* What has come of it. */
static void
count_download(const Download *download)
{
	const char *kind = dataset_kind_name(download->kind);
	const Fetch *fetch = &download->fetch;
	int64		ms = clock_ms() - download->started_ms;
	bool		failed = download->row_id == 0 && fetch->fault.sqlstate != 0;

	statistics_count(SUBJECT_DOWNLOADS, kind, failed ? COUNT_FAILURES : COUNT_STORED, 1);
	if (failed && (fetch->status == 429 || fetch->status == 503))
		statistics_count(SUBJECT_DOWNLOADS, kind, COUNT_THROTTLED, 1);
	statistics_delay(SUBJECT_DOWNLOADS, kind, DELAY_STORING, ms, 1);
	statistics_note("download", kind, 1, ms, failed ? fetch->fault.message : NULL);
}

void
downloads_end(Downloads *downloads, bool committed)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &downloads->list)
	{
		Download   *download = dlist_container(Download, node, iter.cur);

		if (committed && download->stored)
			count_download(download);
		if (committed ? download->stored : !download->leased)
		{
			downloads->datasets += committed && download->row_id != 0;
			download_free(download);
		}
		else
		{
			download->leased = true;
			download->stored = false;
		}
	}
	if (!committed)
		not_soon(downloads);
}

int64
downloads_stored(const Downloads *downloads)
{
	return downloads->datasets;
}

/* ----- storing one ----- */

void
downloads_finish(DatasetKind kind, const pg_uuid_t *object_id, int64 version)
{
	static SqlPlan plan = SQL_PLAN(
		"WITH finished AS ("
		"DELETE FROM damoov.downloads AS d "
		"WHERE d.kind = $1 AND d.object_id = $2 AND d.version = $3) "
		"UPDATE damoov.downloads AS d "
		"SET leased_until = NULL "
		"WHERE d.kind = $1 AND d.object_id = $2 AND d.version <> $3 "
		"AND d.leased_by = $4 AND d.leased_by_start = $5",
		TEXTOID, UUIDOID, INT8OID, INT4OID, TIMESTAMPTZOID);
	Datum		arguments[] = {
		CStringGetTextDatum(dataset_kind_name(kind)),
		UUIDPGetDatum(unconstify(pg_uuid_t *, object_id)),
		Int64GetDatum(version),
		Int32GetDatum(MyProcPid),
		TimestampTzGetDatum(MyStartTimestamp)
	};

	sql_run(&plan, arguments, NULL);
}

static bool
has_failed(const Download *download, Reason reason)
{
	return download->fetch.fault.sqlstate != 0 && download->fetch.fault.reason == reason;
}

/* What passes does so by itself; what is wrong with the data does not. */
static int
storing_attempts(int sqlstate)
{
	if (fault_is_passing(sqlstate))
		return PG_INT32_MAX;
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case ERRCODE_TO_CATEGORY(ERRCODE_DATA_EXCEPTION):
		case ERRCODE_TO_CATEGORY(ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION):
			return UNREADABLE_ATTEMPTS;
	}
	return STORE_ATTEMPTS;
}

/* State after a failure, and how long to wait. */
static const char *
judge_failure(const Download *download, int64 *wait_ms)
{
	int			status = download->fetch.status;
	int			retry_after_s = download->fetch.retry_after_s;
	int			attempts = download->attempts;

	*wait_ms = clock_backoff_ms(RETRY_BASE_MS, attempts - 1, RETRY_CAP_MS);
	if (retry_after_s > 0)
		*wait_ms = Max(*wait_ms, Min(retry_after_s, RETRY_AFTER_CAP_S) * (int64) 1000);

	if (has_failed(download, REASON_STORE_FAILED))
		return attempts < storing_attempts(download->fetch.fault.sqlstate) ? "waiting" : "failed";
	if (has_failed(download, REASON_BAD_URL) || has_failed(download, REASON_TOO_BIG) ||
		has_failed(download, REASON_STORAGE_REFUSED) || has_failed(download, REASON_NOT_JSON))
		return "failed";
	if (has_failed(download, REASON_STORAGE_ACCESS))
	{
		*wait_ms = Max(*wait_ms, clock_backoff_ms(2 * ACCESS_RETRY_MS, attempts - 1, ACCESS_CAP_MS));
		return attempts < ACCESS_ATTEMPTS ? "waiting" : "failed";
	}
	if (status == 0 || http_status_is_transient(status))
		return "waiting";
	if (status == 410 || has_failed(download, REASON_DATASET_GONE))
		return "gone";
	if (status == 404)
		return attempts < GONE_ATTEMPTS ? "waiting" : "gone";
	if (status == 200)
		return attempts < UNREADABLE_ATTEMPTS ? "waiting" : "failed";
	return attempts < REFUSED_ATTEMPTS ? "waiting" : "failed";
}

/*
 * A step: enters why there is nothing to be stored, unless the lease is another's
 * now.  Waits for no lock: one may have been waited for already.
 */
static void
store_failure(void *argument)
{
	/* a newer notification has started the count anew: it is due at once */
	static SqlPlan plan = SQL_PLAN(
		"UPDATE damoov.downloads AS d "
		"SET leased_until = NULL, "
		"state = CASE WHEN d.version = $3 THEN $4 ELSE d.state END, "
		"due_at = CASE WHEN d.version = $3 "
		"THEN clock_timestamp() + $5 * interval '1 millisecond' ELSE d.due_at END, "
		"last_status = $6, last_error = $7, last_error_at = clock_timestamp() "
		"FROM (SELECT l.kind, l.object_id FROM damoov.downloads AS l "
		"WHERE l.kind = $1 AND l.object_id = $2 AND l.leased_by = $8 AND l.leased_by_start = $9 "
		"FOR UPDATE NOWAIT) AS mine "
		"WHERE d.kind = mine.kind AND d.object_id = mine.object_id "
		"RETURNING d.state",
		TEXTOID, UUIDOID, INT8OID, TEXTOID, INT8OID, INT4OID, TEXTOID, INT4OID, TIMESTAMPTZOID);
	Download   *download = argument;
	const Fetch *fetch = &download->fetch;
	const char *kind = dataset_kind_name(download->kind);
	int64		wait_ms;
	const char *state = judge_failure(download, &wait_ms);
	Datum		arguments[] = {
		CStringGetTextDatum(kind),
		UUIDPGetDatum(&download->object_id),
		Int64GetDatum(download->version),
		CStringGetTextDatum(state),
		Int64GetDatum(wait_ms),
		Int32GetDatum(fetch->status),
		CStringGetTextDatum(fetch->fault.message),
		Int32GetDatum(MyProcPid),
		TimestampTzGetDatum(MyStartTimestamp)
	};
	char		id[UUID_TEXT_SIZE];

	if (sql_run(&plan, arguments, NULL) == 0 ||
		strcmp(sql_text(CurrentMemoryContext, 0, 1), "waiting") == 0)
		return;
	download->ended = state;
	/* what is no JSON (reports in a bucket) stays where it is */
	if (fetch->dataset.document && !has_failed(download, REASON_NOT_JSON))
	{
		JsonSpan	text = dataset_text(&fetch->dataset);
		Refused		refused = {text.start, text.len, &fetch->fault};

		quarantine_insert(download->source, kind, &download->object_id, &refused, 1);
	}
	ereport(LOG,
			(errmsg("could not fetch %s dataset \"%s\": %s",
					kind, uuid_format(&download->object_id, id), fetch->fault.message),
			 errdetail("It stays in damoov.downloads as \"%s\" after %d attempts.",
					   state, download->attempts)));
}

/* Locks the row, so that others who have fetched the same wait; false when it is gone. */
static bool
is_awaited(const Download *download)
{
	static SqlPlan plan = SQL_PLAN(
		"SELECT FROM damoov.downloads AS d "
		"WHERE d.kind = $1 AND d.object_id = $2 FOR UPDATE",
		TEXTOID, UUIDOID);
	Datum		arguments[] = {
		CStringGetTextDatum(dataset_kind_name(download->kind)),
		UUIDPGetDatum(unconstify(pg_uuid_t *, &download->object_id))
	};

	return sql_run(&plan, arguments, NULL) > 0;
}

/*
 * Finds out what an object of a bucket is: anew at each try to store, for what
 * is known of it may have changed.
 */
static void
identify(Download *download)
{
	Dataset    *dataset = &download->fetch.dataset;
	MemoryContext old;
	JsonSpan	text;

	if (download->kind != DATASET_OBJECT || dataset->document == NULL)
		return;
	old = MemoryContextSwitchTo(download->context);
	download->fetch.fault.sqlstate = 0;
	/* a document that is not understood would be kept, with the token of a forgotten person */
	text = dataset_text(dataset);
	if (!object_identify(dataset, download->fetch.url, &download->forgotten, &download->fetch.fault))
		download->forgotten = person_names_forgotten(text.start, text.len);
	MemoryContextSwitchTo(old);
}

/* What has to be locked for it, and may have to. */
static List *
append_ids(List *ids, Download *download)
{
	const Dataset *dataset = &download->fetch.dataset;

	ids = lappend(ids, &download->object_id);
	if (download->kind == DATASET_OBJECT && dataset->document)
		ids = object_ids(ids, dataset, download->fetch.url);
	return ids;
}

/* A step: stores the answer, or what is wrong with it, and settles the row. */
static void
store_answer(void *argument)
{
	Download   *download = argument;
	const Dataset *dataset = &download->fetch.dataset;
	bool		unidentified;

	lock_for_storing(append_ids(NIL, download));
	identify(download);
	unidentified = download->kind == DATASET_OBJECT && dataset->content == NULL;
	download->ended = NULL;
	download->row_id = 0;
	/* nothing about a forgotten person is kept */
	if (!download->forgotten)
	{
		if ((!unidentified && !person_exists(dataset->key.user_id)) || !is_awaited(download))
			return;
		if (dataset->content == NULL)
		{
			store_failure(download);
			return;
		}
		if (!dataset_store(&download->fetch.dataset, true, &download->row_id))
			download->row_id = 0;	/* it is not wanted any more */
	}
	downloads_finish(download->kind, &download->object_id, download->version);
	sql_check_deferred();
}

/*
 * It cannot be stored: its row says why.  False when that cannot be written now;
 * then the answer is kept, and tried again.
 */
static bool
refuse(Download *download, const Fault *fault)
{
	MemoryContext old = MemoryContextSwitchTo(download->context);
	Fault		ignored = {0};

	download->row_id = 0;
	fault_set_state(&download->fetch.fault, fault->sqlstate, fault->reason,
					"could not store the dataset: %s", fault->message);
	MemoryContextSwitchTo(old);
	if (sql_try(store_failure, download, &ignored))
		return true;
	download->due_ms = clock_ms() + clock_backoff_ms(RETRY_BASE_MS, download->refusals++, RETRY_CAP_MS);
	return false;
}

/* ----- storing all that is here ----- */

/* Those whose answer is here and may be stored. */
static List *
answered_downloads(Downloads *downloads)
{
	List	   *answered = NIL;
	dlist_iter	iter;

	dlist_foreach(iter, &downloads->list)
	{
		Download   *download = dlist_container(Download, node, iter.cur);

		if (has_answer(download) && download->due_ms <= clock_ms())
			answered = lappend(answered, download);
	}
	return answered;
}

List *
downloads_ids(List *ids, Downloads *downloads)
{
	ListCell   *cell;

	foreach(cell, answered_downloads(downloads))
		ids = append_ids(ids, lfirst(cell));
	return ids;
}

/* Tells listeners of the rows, a message a kind. */
static void
notify_stored(const List *answered)
{
	Datum	   *row_ids = palloc(Max(1, list_length(answered)) * sizeof(Datum));

	for (int kind = 0; kind < DATASET_KINDS; kind++)
	{
		int			count = 0;
		ListCell   *cell;

		foreach(cell, answered)
		{
			const Download *download = lfirst(cell);

			if (download->row_id != 0 && download->fetch.dataset.key.kind == (DatasetKind) kind)
				row_ids[count++] = Int64GetDatum(download->row_id);
		}
		dataset_notify(kind, row_ids, count);
	}
}

/* Tells listeners of downloads that will not be tried again by themselves. */
static void
alert_ended(const List *answered)
{
	static SqlPlan plan = SQL_PLAN(
		"SELECT damoov.alert(n.state, count(*)) "
		"FROM unnest($1) AS n (state) "
		"GROUP BY n.state "
		"ORDER BY n.state DESC",
		TEXTARRAYOID);
	Datum	   *states = palloc(Max(1, list_length(answered)) * sizeof(Datum));
	int			count = 0;
	ListCell   *cell;
	Datum		argument;

	foreach(cell, answered)
	{
		const char *state = ((Download *) lfirst(cell))->ended;

		if (state)
			states[count++] = CStringGetTextDatum(state);
	}
	if (count == 0)
		return;
	argument = sql_array(states, NULL, count, TEXTOID);
	sql_run(&plan, &argument, NULL);
}

bool
downloads_store(Downloads *downloads)
{
	List	   *answered = answered_downloads(downloads);
	List	   *stored = NIL;
	int			scope;
	ListCell   *cell;
	Fault		fault = {0};

	if (answered == NIL)
		return true;
	scope = sql_enter();
	foreach(cell, answered)
	{
		Download   *download = lfirst(cell);

		download->stored = sql_try(store_answer, download, &fault) || refuse(download, &fault);
		if (download->stored)
			stored = lappend(stored, download);
		if (fault_is_passing(fault.sqlstate))
			break;
	}
	notify_stored(stored);
	alert_ended(stored);
	sql_leave(scope);
	return !fault_is_passing(fault.sqlstate);
}

/* ----- giving back ----- */

void
downloads_release(Downloads *downloads)
{
	static SqlPlan plan = SQL_PLAN(
		"UPDATE damoov.downloads AS d "
		"SET leased_until = NULL, attempts = d.attempts - 1 "
		"FROM unnest($1, $2) AS n (kind, object_id) "
		"WHERE d.kind = n.kind AND d.object_id = n.object_id AND d.attempts > 0 "
		"AND d.leased_by = $3 AND d.leased_by_start = $4",
		TEXTARRAYOID, UUIDARRAYOID, INT4OID, TIMESTAMPTZOID);
	Datum	   *kinds = palloc(Max(1, downloads->count) * sizeof(Datum));
	Datum	   *ids = palloc(Max(1, downloads->count) * sizeof(Datum));
	List	   *locked = NIL;
	int			count = 0;
	dlist_iter	iter;
	Datum		arguments[4];
	int			scope;

	dlist_foreach(iter, &downloads->list)
	{
		Download   *download = dlist_container(Download, node, iter.cur);

		locked = lappend(locked, &download->object_id);
		kinds[count] = CStringGetTextDatum(dataset_kind_name(download->kind));
		ids[count++] = UUIDPGetDatum(&download->object_id);
	}
	if (count == 0)
		return;
	scope = sql_enter();
	lock_for_storing(locked);
	arguments[0] = sql_array(kinds, NULL, count, TEXTOID);
	arguments[1] = sql_array(ids, NULL, count, UUIDOID);
	arguments[2] = Int32GetDatum(MyProcPid);
	arguments[3] = TimestampTzGetDatum(MyStartTimestamp);
	sql_run(&plan, arguments, NULL);
	sql_leave(scope);
}
