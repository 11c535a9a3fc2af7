/*
 * download.c
 *	  Leases of downloads: see download.h.
 *
 * Per download: lease the row (committed) -> fetch and read in memory, with no
 * transaction -> one transaction that checks whether the dataset is still
 * wanted, stores it and removes the row.  A notification that came meanwhile
 * has given the row another version; then the row stays and is fetched again.
 * Without a row somebody else has stored what is newer, or nobody wants it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/ilist.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/sql.h"
#include "base/uuid.h"
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
#define PICK_INTERVAL_MS	50	/* rows locked by others may look due */
#define GONE_ATTEMPTS		5	/* the notification may overtake the data */
#define REFUSED_ATTEMPTS	2
#define UNREADABLE_ATTEMPTS 5
#define ACCESS_RETRY_MS		300000	/* somebody has to mend keys or rights */
#define ACCESS_CAP_MS		3600000
#define ACCESS_ATTEMPTS		48

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

	bool		started;		/* its lease is committed */
	Fetch		fetch;
	bool		forgotten;		/* about an erased person */

	bool		stored;			/* settled in the open transaction */
	int64		row_id;			/* what it became, 0: nothing */
	const char *ended;			/* "gone" or "failed" instead, NULL: not so */
} Download;

struct Downloads
{
	MemoryContext context;
	HttpClient *http;
	dlist_head	list;			/* in the order of leasing */
	int			count;
	int64		due_ms;			/* of the next row, by clock_ms() */
	bool		took_over;		/* leases of sessions that are gone */
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

bool
downloads_have_answers(const Downloads *downloads)
{
	dlist_iter	iter;

	dlist_foreach(iter, &unconstify(Downloads *, downloads)->list)
	{
		Download   *download = dlist_container(Download, node, iter.cur);

		if (download->started && download->fetch.answered && !download->stored)
			return true;
	}
	return false;
}

int64
downloads_due_ms(const Downloads *downloads)
{
	return downloads->count < damoov_max_downloads ? downloads->due_ms : PG_INT64_MAX;
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

/* Everything is copied: what SPI returned goes with the scope. */
static void
take_row(Downloads *downloads, uint64 row)
{
	Download   *download = download_create(downloads,
										   dataset_kind(sql_text(CurrentMemoryContext, row, 1)),
										   DatumGetUUIDP(sql_value(row, 2, NULL)));
	Dataset    *dataset = &download->fetch.dataset;
	bool		nobody;			/* knows yet whose it is */
	Datum		value;

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

/* What a session that is gone had leased need not wait for the lease's end. */
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
		"AND NOT EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.pid = d.leased_by) "
		"FOR UPDATE OF d SKIP LOCKED) AS n) "
		"UPDATE damoov.downloads AS d "
		"SET leased_until = NULL "
		"FROM gone "
		"WHERE d.kind = gone.kind AND d.object_id = gone.object_id",
		TIMESTAMPTZOID);
	Datum		now = TimestampTzGetDatum(GetCurrentTimestamp());

	sql_run(&plan, &now, NULL);
}

/* Leases what is due; the new ones stand at the end of the list. */
static void
lease_due(Downloads *downloads, int room)
{
	static SqlPlan plan = SQL_PLAN(
		WITH_LEVELS
		", due AS MATERIALIZED ("
		"SELECT n.kind, n.object_id, n.user_id "
		"FROM level AS l "
		"CROSS JOIN LATERAL (SELECT d.kind, d.object_id, d.user_id "
		"FROM damoov.downloads AS d "
		"WHERE d.state = 'waiting' AND d.priority = l.priority AND d.due_at <= $1 "
		"AND (d.leased_until IS NULL OR d.leased_until <= $1) "
		"ORDER BY d.due_at "
		"LIMIT $2 FOR UPDATE SKIP LOCKED) AS n "
		"LIMIT $2) "
		"UPDATE damoov.downloads AS d "
		"SET attempts = d.attempts + 1, "
		"leased_until = $1 + $3 * interval '1 second', "
		"leased_by = pg_backend_pid() "
		"FROM due "
		"LEFT JOIN damoov.users AS u ON u.user_id = due.user_id "
		"WHERE d.kind = due.kind AND d.object_id = due.object_id "
		"RETURNING d.kind, d.object_id, d.user_id, u.device_token, d.url, d.version, d.source, d.attempts",
		TIMESTAMPTZOID, INT4OID, INT4OID);
	Datum		arguments[] = {
		TimestampTzGetDatum(GetCurrentTimestamp()),
		Int32GetDatum(room),
		Int32GetDatum(LEASE_SECONDS)
	};
	int			scope = sql_enter();
	uint64		rows;

	if (!downloads->took_over)
		take_over_leases();
	downloads->took_over = true;
	rows = sql_run(&plan, arguments, NULL);
	for (uint64 row = 0; row < rows; row++)
		take_row(downloads, row);
	if (rows < (uint64) room)
		find_next_due(downloads);
	else
		downloads->due_ms = 0;	/* as soon as there is room */
	sql_leave(scope);
}

void
downloads_pick(Downloads *downloads)
{
	int			room = damoov_max_downloads - downloads->count;
	dlist_iter	iter;

	if (room <= 0)
		return;
	lease_due(downloads, room);
	dlist_foreach(iter, &downloads->list)
	{
		Download   *download = dlist_container(Download, node, iter.cur);

		if (!download->started && download->fetch.url == NULL && !download->fetch.answered)
			fetch_find(&download->fetch, download->source, download->url);
	}
}

void
downloads_start(Downloads *downloads)
{
	dlist_iter	iter;

	dlist_foreach(iter, &downloads->list)
	{
		Download   *download = dlist_container(Download, node, iter.cur);

		if (download->started)
			continue;
		download->started = true;
		/* unless it was refused before it was asked */
		if (!download->fetch.answered)
			fetch_send(&download->fetch);
	}
}

/* Those that are stored, or those whose lease is not committed. */
static void
forget(Downloads *downloads, bool stored)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &downloads->list)
	{
		Download   *download = dlist_container(Download, node, iter.cur);

		if (stored ? download->stored : !download->started)
			download_free(download);
	}
}

void
downloads_forget_unstarted(Downloads *downloads)
{
	forget(downloads, false);
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
		"WHERE d.kind = $1 AND d.object_id = $2 AND d.version <> $3",
		TEXTOID, UUIDOID, INT8OID);
	Datum		arguments[] = {
		CStringGetTextDatum(dataset_kind_name(kind)),
		UUIDPGetDatum(unconstify(pg_uuid_t *, object_id)),
		Int64GetDatum(version)
	};

	sql_run(&plan, arguments, NULL);
}

static bool
has_failed(const Download *download, Reason reason)
{
	return download->fetch.fault.sqlstate != 0 && download->fetch.fault.reason == reason;
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

static void
store_failure(Download *download)
{
	/* a newer notification has started the count anew: it is due at once */
	static SqlPlan plan = SQL_PLAN(
		"UPDATE damoov.downloads AS d "
		"SET leased_until = NULL, "
		"state = CASE WHEN d.version = $3 THEN $4 ELSE d.state END, "
		"due_at = CASE WHEN d.version = $3 "
		"THEN clock_timestamp() + $5 * interval '1 millisecond' ELSE d.due_at END, "
		"last_status = $6, last_error = $7, last_error_at = clock_timestamp() "
		"WHERE d.kind = $1 AND d.object_id = $2 "
		"RETURNING d.state",
		TEXTOID, UUIDOID, INT8OID, TEXTOID, INT8OID, INT4OID, TEXTOID);
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
		CStringGetTextDatum(fetch->fault.message)
	};
	char		id[UUID_TEXT_SIZE];

	if (sql_run(&plan, arguments, NULL) == 0 ||
		strcmp(sql_text(CurrentMemoryContext, 0, 1), "waiting") == 0)
		return;
	download->ended = state;
	/* what is no JSON (reports in a bucket) stays where it is */
	if (fetch->dataset.document && !has_failed(download, REASON_NOT_JSON))
	{
		Refused		refused = {fetch->dataset.document, fetch->dataset.document_len, &fetch->fault};

		quarantine_insert(download->source, kind, &download->object_id, &refused, 1);
	}
	ereport(LOG,
			(errmsg("could not fetch %s dataset \"%s\": %s",
					kind, uuid_format(&download->object_id, id), fetch->fault.message),
			 errdetail("It stays in damoov.downloads as \"%s\" after %d attempts.",
					   state, download->attempts)));
}

static void
store_step(void *argument)
{
	Download   *download = argument;

	if (!dataset_store(&download->fetch.dataset, true, &download->row_id))
		download->row_id = 0;	/* it is not wanted any more */
}

/*
 * A dataset that the database refuses must not hold up the others: it fails
 * alone.  What may work later is thrown on.
 */
static bool
try_store(Download *download)
{
	Fault		fault = {0};
	MemoryContext old;

	if (sql_try(store_step, download, &fault))
		return true;
	if (fault_is_transient(fault.sqlstate))
		fault_raise(&fault);
	download->row_id = 0;
	old = MemoryContextSwitchTo(download->context);
	fault_set_state(&download->fetch.fault, fault.sqlstate, fault.reason,
			  "could not store the dataset: %s", fault.message);
	MemoryContextSwitchTo(old);
	return false;
}

/* Its row, locked: whoever fetches the same has to wait. */
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

	if (download->kind != DATASET_OBJECT || dataset->document == NULL)
		return;
	old = MemoryContextSwitchTo(download->context);
	download->fetch.fault.sqlstate = 0;
	/* what is not understood would be kept, and with it who was forgotten */
	if (!object_identify(dataset, download->fetch.url, &download->forgotten, &download->fetch.fault))
		download->forgotten = person_names_forgotten(dataset->document, dataset->document_len);
	MemoryContextSwitchTo(old);
}

/* Stores the answer, or what is wrong with it, and settles the row. */
static void
store_answer(Download *download)
{
	const Dataset *dataset = &download->fetch.dataset;
	bool		unidentified = download->kind == DATASET_OBJECT && dataset->content == NULL;

	download->ended = NULL;
	download->row_id = 0;
	/* what comes for a forgotten person leaves no trace */
	if (!download->forgotten)
	{
		if ((!unidentified && !person_exists(dataset->key.user_id)) || !is_awaited(download))
			return;
		if (dataset->content == NULL || !try_store(download))
		{
			store_failure(download);
			return;
		}
	}
	downloads_finish(download->kind, &download->object_id, download->version);
}

/* ----- storing all that is here ----- */

/* Those whose answer is here. */
static List *
answered_downloads(Downloads *downloads)
{
	List	   *answered = NIL;
	dlist_iter	iter;

	dlist_foreach(iter, &downloads->list)
	{
		Download   *download = dlist_container(Download, node, iter.cur);

		if (download->started && download->fetch.answered)
			answered = lappend(answered, download);
	}
	return answered;
}

List *
downloads_ids(List *ids, Downloads *downloads)
{
	ListCell   *cell;

	foreach(cell, answered_downloads(downloads))
	{
		Download   *download = lfirst(cell);
		const Dataset *dataset = &download->fetch.dataset;

		ids = lappend(ids, &download->object_id);
		if (download->kind == DATASET_OBJECT && dataset->document)
			ids = object_ids(ids, dataset, download->fetch.url);
	}
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

void
downloads_store(Downloads *downloads)
{
	List	   *answered = answered_downloads(downloads);
	int			scope = sql_enter();
	ListCell   *cell;

	lock_for_storing(downloads_ids(NIL, downloads));
	foreach(cell, answered)
	{
		Download   *download = lfirst(cell);

		identify(download);
		store_answer(download);
		download->stored = true;
	}
	notify_stored(answered);
	alert_ended(answered);
	sql_leave(scope);
}

void
downloads_forget_stored(Downloads *downloads)
{
	forget(downloads, true);
}

/* ----- giving back ----- */

void
downloads_release(Downloads *downloads)
{
	static SqlPlan plan = SQL_PLAN(
		"UPDATE damoov.downloads AS d "
		"SET leased_until = NULL, attempts = d.attempts - 1 "
		"FROM unnest($1, $2) AS n (kind, object_id) "
		"WHERE d.kind = n.kind AND d.object_id = n.object_id AND d.attempts > 0",
		TEXTARRAYOID, UUIDARRAYOID);
	Datum	   *kinds = palloc(Max(1, downloads->count) * sizeof(Datum));
	Datum	   *ids = palloc(Max(1, downloads->count) * sizeof(Datum));
	List	   *locked = NIL;
	int			count = 0;
	dlist_iter	iter;
	Datum		arguments[2];
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
	sql_run(&plan, arguments, NULL);
	sql_leave(scope);
}
