/*
 * download.c
 *	  The door for datasets: see download.h.
 *
 * Per download: lease the row (committed) -> fetch and read in memory, with no
 * transaction -> one transaction that checks whether the dataset is still
 * wanted, stores it and removes the row.  A notification that came meanwhile
 * has given the row another version; then the row stays and is fetched again.
 * Without a row somebody else has stored what is newer, or nobody wants it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/sql.h"
#include "base/uuid.h"
#include "compat.h"
#include "dataset/dataset.h"
#include "dataset/document.h"
#include "door/api.h"
#include "door/download.h"
#include "door/person.h"
#include "guc.h"
#include "wire/http.h"
#include "wire/storage.h"

#define FETCH_TIMEOUT_MS	120000
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

SQL_FUNCTION(damoov_fetch_track);
SQL_FUNCTION(damoov_store_dataset);

typedef struct Download
{
	dlist_node	node;
	Downloads  *owner;
	MemoryContext context;
	HttpRequest *request;		/* NULL: none in flight */
	bool		started;		/* its lease is committed */
	bool		answered;
	bool		stored;			/* waits for the commit */
	const char *ended;			/* "gone" or "failed" instead, NULL: not so */

	/* the row */
	DatasetKey	key;
	char	   *source;
	char	   *url;			/* to be fetched */
	bool		private_allowed;
	Storage    *storage;		/* NULL: from the platform */
	bool		again;			/* repeated with what a refusal taught */
	char		device_token[UUID_TEXT_SIZE];
	int64		version;
	int			attempts;

	/* the answer */
	DatasetKey	found;			/* what the object of a bucket has turned out to be */
	bool		forgotten;		/* about an erased person */
	void	   *dataset;		/* NULL: see fault */
	Fault		fault;
	int			status;
	int			retry_after_s;
	char	   *document;		/* as received, of an answer with status 200 */
	Size		document_len;
} Download;

struct Downloads
{
	MemoryContext context;
	HttpClient *http;
	dlist_head	list;
	int			count;
	int64		due_ms;			/* of the next row, by clock_ms() */
	bool		took_over;		/* leases of sessions that are gone */
	int64		clock_offset_s; /* the stores' clock minus ours */
};

static void download_done(HttpRequest *request, void *arg);

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
download_create(Downloads *downloads)
{
	MemoryContext context = AllocSetContextCreate(downloads->context, "damoov download",
												  ALLOCSET_DEFAULT_SIZES);
	Download   *download = MemoryContextAllocZero(context, sizeof(Download));

	download->context = context;
	download->owner = downloads;
	dlist_push_tail(&downloads->list, &download->node);
	downloads->count++;
	return download;
}

static bool
has_failed(const Download *download, Reason reason)
{
	return download->fault.sqlstate != 0 && download->fault.reason == reason;
}

/* Of what was asked for it is known before. */
static const DatasetKey *
dataset_key(const Download *download)
{
	return download->key.kind == DATASET_OBJECT ? &download->found : &download->key;
}

static void
download_free(Download *download)
{
	dlist_delete(&download->node);
	download->owner->count--;
	if (download->request)
		http_free(download->request);
	explicit_bzero(download->device_token, sizeof(download->device_token));
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

		if (download->started && download->answered && !download->stored)
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

static bool
find_target(Download *download, const char *url, Fault *fault)
{
	Api		   *api;
	ApiTarget	target;

	if (!api_load(download->source, &api, fault))
		return false;
	if (url == NULL)
		url = api_dataset_url(api, download->key.kind, &download->key.object_id);
	if (!api_check_url(api, url, &target, fault))
		return false;
	download->url = target.url;
	download->private_allowed = target.private_allowed;
	return target.storage == STORAGE_NONE ||
		storage_open(target.storage, target.url, download->source, &download->storage, fault);
}

/* Decides the address; what must not be fetched is answered right away. */
static void
choose_url(Download *download, const char *url)
{
	MemoryContext old = MemoryContextSwitchTo(download->context);

	if (!find_target(download, url, &download->fault))
		download->answered = true;
	MemoryContextSwitchTo(old);
}

static void
take_row(Downloads *downloads, uint64 row, char **url)
{
	Download   *download = download_create(downloads);
	bool		nobody;			/* knows yet whose it is */
	Datum		value;

	download->key.kind = api_kind(sql_text(download->context, row, 1));
	download->key.object_id = *DatumGetUUIDP(sql_value(row, 2, NULL));
	value = sql_value(row, 3, &nobody);
	download->key.user_id = nobody ? 0 : DatumGetInt64(value);
	value = sql_value(row, 4, &nobody);
	if (!nobody)
		uuid_format(DatumGetUUIDP(value), download->device_token);
	*url = sql_text(download->context, row, 5);
	download->version = DatumGetInt64(sql_value(row, 6, NULL));
	download->source = sql_text(download->context, row, 7);
	download->attempts = DatumGetInt32(sql_value(row, 8, NULL));
}

static void
find_next_due(Downloads *downloads)
{
	static SqlPlan plan = {
		.text = "SELECT (extract(epoch FROM min(greatest(d.due_at, d.leased_until)) "
		"- clock_timestamp()) * 1000)::bigint "
		"FROM damoov.downloads AS d WHERE d.state = 'waiting'",
	};
	bool		isnull;
	Datum		value;

	sql_run(&plan, NULL, NULL);
	value = sql_value(0, 1, &isnull);
	downloads->due_ms = isnull ? PG_INT64_MAX
		: clock_ms() + Max(PICK_INTERVAL_MS, DatumGetInt64(value));
}

/* What a session that is gone had leased need not wait for the lease's end. */
static void
take_over_leases(void)
{
	static SqlPlan plan = {
		.text = "UPDATE damoov.downloads AS d SET leased_until = NULL "
		"WHERE d.state = 'waiting' AND d.leased_until IS NOT NULL "
		"AND NOT EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.pid = d.leased_by)",
	};

	sql_run(&plan, NULL, NULL);
}

void
downloads_pick(Downloads *downloads)
{
	static SqlPlan plan = {
		.text = "WITH due AS MATERIALIZED (SELECT d.kind, d.object_id, d.user_id FROM damoov.downloads AS d "
		"WHERE d.state = 'waiting' AND d.due_at <= clock_timestamp() "
		"AND (d.leased_until IS NULL OR d.leased_until <= clock_timestamp()) "
		"ORDER BY d.priority, d.queued_at LIMIT $1 FOR UPDATE SKIP LOCKED) "
		"UPDATE damoov.downloads AS d SET attempts = d.attempts + 1, "
		"leased_until = clock_timestamp() + $2 * interval '1 second', leased_by = pg_backend_pid() "
		"FROM due LEFT JOIN damoov.users AS u ON u.user_id = due.user_id "
		"WHERE d.kind = due.kind AND d.object_id = due.object_id "
		"RETURNING d.kind, d.object_id, d.user_id, u.device_token, d.url, d.version, d.source, d.attempts",
		.nargs = 2, .argtypes = {INT4OID, INT4OID}
	};
	int			room = damoov_max_downloads - downloads->count;
	Datum		arguments[] = {Int32GetDatum(room), Int32GetDatum(LEASE_SECONDS)};
	uint64		rows;
	char	  **urls;
	dlist_iter	iter;
	int			at = 0;
	int			scope;

	if (room <= 0)
		return;
	scope = sql_enter();
	if (!downloads->took_over)
		take_over_leases();
	downloads->took_over = true;
	rows = sql_run(&plan, arguments, NULL);
	urls = palloc(Max(1, rows) * sizeof(char *));
	for (uint64 row = 0; row < rows; row++)
		take_row(downloads, row, &urls[row]);
	if (rows < (uint64) room)
		find_next_due(downloads);
	else
		downloads->due_ms = 0;	/* as soon as there is room */
	sql_leave(scope);

	/* the new ones stand at the end, in the order of the rows */
	dlist_foreach(iter, &downloads->list)
	{
		Download   *download = dlist_container(Download, node, iter.cur);

		if (!download->started && download->url == NULL && !download->answered)
			choose_url(download, urls[at++]);
	}
}

/* ----- fetching ----- */

static void
send_request(Download *download)
{
	Downloads  *owner = download->owner;
	const char *url = download->storage ? storage_url(download->storage) : download->url;
	HttpRequest *request = http_request(owner->http, "GET", url);

	request->max_bytes = (Size) damoov_max_document_size * 1024;
	request->timeout_ms = FETCH_TIMEOUT_MS;
	request->public_only = !download->private_allowed;
	request->compressed = true;
	if (download->storage)
		storage_authorize(download->storage, request, owner->clock_offset_s);
	else
	{
		http_header(request, "DeviceToken", download->device_token);
		http_header(request, "Accept", "application/json");
	}
	download->request = request;
	http_start(request, download_done, download);
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
		if (download->answered)
			continue;			/* refused before it was asked */
		send_request(download);
	}
}

void
downloads_forget_unstarted(Downloads *downloads)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &downloads->list)
	{
		Download   *download = dlist_container(Download, node, iter.cur);

		if (!download->started)
			download_free(download);
	}
}

/*
 * Fills the fault for a reply without a usable dataset.  A redirect is refused
 * like any other status: it would carry the device token elsewhere.
 */
static bool
read_answer(Download *download, const HttpRequest *request)
{
	if (request->status == 0)
	{
		download->fault = request->fault;
		download->fault.message = pstrdup(request->fault.message);
		return false;
	}
	if (download->storage && !storage_check(download->storage, request, &download->fault))
		return false;
	if (request->status != 200)
		return fault_set(&download->fault, ERRCODE_CONNECTION_FAILURE, REASON_HTTP_STATUS,
						 "the service answered with HTTP status %d", request->status);
	/* what lay in a bucket is looked at when it is to be stored */
	if (download->key.kind == DATASET_OBJECT)
		return true;
	return dataset_read(&download->key, download->device_token,
						request->reply, request->reply_len,
						&download->dataset, &download->fault);
}

static void
download_done(HttpRequest *request, void *arg)
{
	Download   *download = arg;
	MemoryContext old = MemoryContextSwitchTo(download->context);

	if (download->storage && !download->again &&
		storage_learn(download->storage, request, &download->owner->clock_offset_s))
	{
		download->again = true;
		http_free(request);
		send_request(download);
		MemoryContextSwitchTo(old);
		return;
	}
	download->answered = true;
	download->status = request->status;
	download->retry_after_s = request->retry_after_s;
	if (!read_answer(download, request))
		download->dataset = NULL;
	/* what is damaged must not be looked at again */
	if (request->status == 200 && !has_failed(download, REASON_DAMAGED))
	{
		download->document = pnstrdup(request->reply, request->reply_len);
		download->document_len = request->reply_len;
	}
	download->request = NULL;
	MemoryContextSwitchTo(old);
	http_free(request);
}

/* ----- storing ----- */

/*
 * The row goes when nothing newer was announced since it was leased, else it
 * is due again at once.
 */
static void
finish_row(const Download *download)
{
	static SqlPlan plan = {
		.text = "WITH finished AS (DELETE FROM damoov.downloads AS d "
		"WHERE d.object_id = $1 AND d.version = $2 AND d.kind = $3) "
		"UPDATE damoov.downloads AS d SET leased_until = NULL "
		"WHERE d.object_id = $1 AND d.version <> $2 AND d.kind = $3",
		.nargs = 3, .argtypes = {UUIDOID, INT8OID, TEXTOID}
	};
	Datum		arguments[] = {
		UUIDPGetDatum(&download->key.object_id),
		Int64GetDatum(download->version),
		CStringGetTextDatum(api_kind_name(download->key.kind))
	};

	sql_run(&plan, arguments, NULL);
}

/* State after a failure, and how long to wait; see the header of the file. */
static const char *
judge_failure(const Download *download, int64 *wait_ms)
{
	*wait_ms = clock_backoff_ms(RETRY_BASE_MS, download->attempts - 1, RETRY_CAP_MS);
	if (download->retry_after_s > 0)
		*wait_ms = Max(*wait_ms, Min(download->retry_after_s, RETRY_AFTER_CAP_S) * (int64) 1000);

	if (has_failed(download, REASON_BAD_URL) || has_failed(download, REASON_TOO_BIG) ||
		has_failed(download, REASON_STORAGE_REFUSED) || has_failed(download, REASON_NOT_JSON))
		return "failed";
	if (has_failed(download, REASON_STORAGE_ACCESS))
	{
		*wait_ms = Max(*wait_ms, clock_backoff_ms(2 * ACCESS_RETRY_MS, download->attempts - 1,
												   ACCESS_CAP_MS));
		return download->attempts < ACCESS_ATTEMPTS ? "waiting" : "failed";
	}
	if (download->status == 0 || http_status_is_transient(download->status))
		return "waiting";
	if (download->status == 410 || has_failed(download, REASON_DATASET_GONE))
		return "gone";
	if (download->status == 404)
		return download->attempts < GONE_ATTEMPTS ? "waiting" : "gone";
	if (download->status == 200)
		return download->attempts < UNREADABLE_ATTEMPTS ? "waiting" : "failed";
	return download->attempts < REFUSED_ATTEMPTS ? "waiting" : "failed";
}

static void
quarantine_document(const Download *download)
{
	static SqlPlan plan = {
		.text = "INSERT INTO damoov.quarantine AS q "
		"(source, reason, sqlstate, message, body, body_digest, kind, object_id) "
		"VALUES ($1, $2, $3, $4, $5, sha256($5), $6, $7) "
		"ON CONFLICT ON CONSTRAINT quarantine_source_digest_key "
		"DO UPDATE SET attempts = q.attempts + 1",
		.nargs = 7, .argtypes = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, BYTEAOID, TEXTOID, UUIDOID}
	};
	Datum		arguments[] = {
		CStringGetTextDatum(download->source),
		CStringGetTextDatum(fault_reason_name(download->fault.reason)),
		CStringGetTextDatum(unpack_sql_state(download->fault.sqlstate)),
		CStringGetTextDatum(download->fault.message),
		PointerGetDatum(cstring_to_text_with_len(download->document, download->document_len)),
		CStringGetTextDatum(api_kind_name(download->key.kind)),
		UUIDPGetDatum(&download->key.object_id)
	};

	sql_run(&plan, arguments, NULL);
}

static void
store_failure(Download *download)
{
	/* a newer notification has started the count anew: it is due at once */
	static SqlPlan plan = {
		.text = "UPDATE damoov.downloads AS d SET leased_until = NULL, "
		"state = CASE WHEN d.version = $2 THEN $3 ELSE d.state END, "
		"due_at = CASE WHEN d.version = $2 THEN clock_timestamp() + $4 * interval '1 millisecond' "
		"ELSE d.due_at END, "
		"last_status = $5, last_error = $6, last_error_at = clock_timestamp() "
		"WHERE d.object_id = $1 AND d.kind = $7 RETURNING d.state",
		.nargs = 7, .argtypes = {UUIDOID, INT8OID, TEXTOID, INT8OID, INT4OID, TEXTOID, TEXTOID}
	};
	int64		wait_ms;
	const char *state = judge_failure(download, &wait_ms);
	Datum		arguments[] = {
		UUIDPGetDatum(&download->key.object_id),
		Int64GetDatum(download->version),
		CStringGetTextDatum(state),
		Int64GetDatum(wait_ms),
		Int32GetDatum(download->status),
		CStringGetTextDatum(download->fault.message),
		CStringGetTextDatum(api_kind_name(download->key.kind))
	};
	char		id[UUID_TEXT_SIZE];

	if (sql_run(&plan, arguments, NULL) == 0 ||
		strcmp(sql_text(CurrentMemoryContext, 0, 1), "waiting") == 0)
		return;
	download->ended = state;
	/* what is no JSON (reports in a bucket) stays where it is */
	if (download->document && !has_failed(download, REASON_NOT_JSON))
		quarantine_document(download);
	ereport(LOG,
			(errmsg("could not fetch %s dataset \"%s\": %s",
					api_kind_name(download->key.kind),
					uuid_format(&download->key.object_id, id), download->fault.message),
			 errdetail("It stays in damoov.downloads as \"%s\" after %d attempts.",
					   state, download->attempts)));
}

/* With its original; false when it is not wanted any more. */
static bool
store_dataset(const Download *download, bool fetched, int64 *row_id)
{
	if (!dataset_store(dataset_key(download), download->dataset, row_id))
		return false;
	document_keep(dataset_key(download), download->document, download->document_len, fetched);
	return true;
}

typedef struct Storing
{
	Download   *download;
	bool		stored;			/* false: it is not wanted any more */
	int64		row_id;
} Storing;

static void
store_step(void *argument)
{
	Storing    *storing = argument;

	storing->stored = store_dataset(storing->download, true, &storing->row_id);
}

/*
 * A dataset that the database refuses must not hold up the others: it fails
 * alone.  What may work later is thrown on.
 */
static bool
try_store(Storing *storing)
{
	Download   *download = storing->download;
	Fault		fault = {0};
	MemoryContext old;

	if (sql_try(store_step, storing, &fault))
		return true;
	if (fault_is_transient(fault.sqlstate))
		fault_raise(&fault);
	old = MemoryContextSwitchTo(download->context);
	fault_set(&download->fault, fault.sqlstate, fault.reason,
			  "could not store the dataset: %s", fault.message);
	MemoryContextSwitchTo(old);
	return false;
}

/* Its row, locked: whoever fetches the same has to wait. */
static bool
is_awaited(const Download *download)
{
	static SqlPlan plan = {
		.text = "SELECT FROM damoov.downloads AS d WHERE d.object_id = $1 AND d.kind = $2 FOR UPDATE",
		.nargs = 2, .argtypes = {UUIDOID, TEXTOID}
	};
	Datum		arguments[] = {
		UUIDPGetDatum(&download->key.object_id),
		CStringGetTextDatum(api_kind_name(download->key.kind))
	};

	return sql_run(&plan, arguments, NULL) > 0;
}

/* ----- objects of a bucket ----- */

/* The person of an object by what notifications and datasets told; false: none. */
static bool
known_person(DatasetKey *key, pg_uuid_t *device_token, bool *is_buffer)
{
	static SqlPlan plan = {
		.text = "SELECT u.user_id, u.device_token, EXISTS (SELECT FROM damoov.events AS e "
		"WHERE e.object_id = $1 AND e.event = 'AccidentEventExtraReceived') "
		"FROM damoov.users AS u WHERE u.user_id = coalesce("
		"(SELECT e.user_id FROM damoov.events AS e WHERE e.object_id = $1 AND e.event IN "
		"('TrackEnrichmentFinished', 'IncomingTrackReceived', 'IncomingTrackRemoved', "
		"'AccidentEventReceived', 'AccidentEventExtraReceived', "
		"'AccidentEventCompletePackageReceived', 'AccidentEventFiltered') "
		"ORDER BY e.sent_at DESC LIMIT 1), "
		"(SELECT t.user_id FROM damoov.trips AS t WHERE t.track_token = $1), "
		"(SELECT r.user_id FROM damoov.raw_tracks AS r WHERE r.track_token = $1), "
		"(SELECT c.user_id FROM damoov.crashes AS c WHERE c.crash_token = $1))",
		.nargs = 1, .argtypes = {UUIDOID}
	};
	Datum		argument = UUIDPGetDatum(&key->object_id);

	*is_buffer = false;
	if (sql_run(&plan, &argument, NULL) == 0)
		return false;
	key->user_id = DatumGetInt64(sql_value(0, 1, NULL));
	*device_token = *DatumGetUUIDP(sql_value(0, 2, NULL));
	*is_buffer = DatumGetBool(sql_value(0, 3, NULL));
	return true;
}

static bool
person_of_token(const pg_uuid_t *device_token, int64 *user_id)
{
	static SqlPlan plan = {
		.text = "SELECT u.user_id FROM damoov.users AS u WHERE u.device_token = $1",
		.nargs = 1, .argtypes = {UUIDOID}
	};
	Datum		argument = UUIDPGetDatum(unconstify(pg_uuid_t *, device_token));

	if (sql_run(&plan, &argument, NULL) == 0)
		return false;
	*user_id = DatumGetInt64(sql_value(0, 1, NULL));
	return true;
}

/*
 * The ids in an address.  The last one that is not a person's is the object's;
 * a person must be known already, for anybody can write a name.
 */
static void
look_at_address(const char *url, bool *has_object, pg_uuid_t *object,
				bool *has_person, pg_uuid_t *person, int64 *user_id)
{
	const char *end = strchrnul(url, '?');

	*has_object = *has_person = false;
	while (url < end)
	{
		pg_uuid_t	id;
		int			length = uuid_prefix(url, &id);

		if (length == 0)
		{
			url++;
			continue;
		}
		if (!*has_person && person_of_token(&id, user_id))
		{
			*has_person = true;
			*person = id;
		}
		else
		{
			*has_object = true;
			*object = id;
		}
		url += length;
	}
}

static bool
object_fault(Download *download, int sqlstate, Reason reason, const char *problem)
{
	return fault_set(&download->fault, sqlstate, reason, "object of a bucket %s", problem);
}

/*
 * Whose it is: what notifications said of the object holds against everybody
 * else; then the document itself, then a known person in the address.
 */
static bool
find_owner(Download *download, const DatasetIdentity *identity,
		   const pg_uuid_t *address_person, int64 address_user, bool *is_buffer)
{
	DatasetKey *found = &download->found;
	pg_uuid_t	token;

	if (known_person(found, &token, is_buffer))
	{
		uuid_format(&token, download->device_token);
		if (identity->has_person && !uuid_equal(&token, &identity->device_token))
			return object_fault(download, ERRCODE_INSUFFICIENT_PRIVILEGE, REASON_CROSS_USER,
								"names another person than its notifications");
		return true;
	}
	if (identity->has_person)
	{
		/* who is not known becomes a person when the rest is right */
		download->forgotten = person_is_forgotten(&identity->device_token);
		found->user_id = 0;
		uuid_format(&identity->device_token, download->device_token);
		return true;
	}
	if (address_person == NULL)
		return object_fault(download, ERRCODE_NO_DATA, REASON_DATASET_UNKNOWN,
							"does not tell whose it is, and no notification has");
	found->user_id = address_user;
	uuid_format(address_person, download->device_token);
	return true;
}

/* Finds out what an object is and reads it; false with the fault filled. */
static bool
identify_object(Download *download)
{
	const char *text = download->document;
	DatasetIdentity identity;
	bool		address_object;
	bool		has_address_person;
	pg_uuid_t	address_id;
	pg_uuid_t	address_person;
	int64		address_user = 0;
	bool		is_buffer = false;

	download->fault.sqlstate = 0;
	download->forgotten = false;
	while (*text == ' ' || *text == '\t' || *text == '\r' || *text == '\n')
		text++;
	if (*text != '{')
		return object_fault(download, ERRCODE_INVALID_TEXT_REPRESENTATION, REASON_NOT_JSON,
							"is not a JSON object");
	if (!dataset_identify(download->document, download->document_len, &identity, &download->fault))
		return false;
	look_at_address(download->url, &address_object, &address_id, &has_address_person,
					&address_person, &address_user);
	if (!identity.has_object && !address_object)
		return object_fault(download, ERRCODE_NO_DATA, REASON_DATASET_UNKNOWN,
							"has no id, neither in the document nor in its key");
	download->found.object_id = identity.has_object ? identity.object_id : address_id;
	if (!find_owner(download, &identity, has_address_person ? &address_person : NULL,
					address_user, &is_buffer))
		return false;
	if (download->forgotten)
		return true;
	if (identity.kind < 0 && !is_buffer)
		return object_fault(download, ERRCODE_NO_DATA, REASON_DATASET_UNKNOWN,
							"is no dataset of a kind that is known");
	download->found.kind = identity.kind < 0 ? DATASET_CRASH_BUFFER : identity.kind;
	if (!dataset_read(&download->found, download->device_token,
					  download->document, download->document_len,
					  &download->dataset, &download->fault))
		return false;
	if (download->found.user_id == 0)
		download->found.user_id = person_of_new_token(&identity.device_token);
	return true;
}

/* Again at each try to store: what is known of the object may have changed. */
static void
identify_answer(Download *download)
{
	MemoryContext old;

	if (download->key.kind != DATASET_OBJECT || download->document == NULL)
		return;
	old = MemoryContextSwitchTo(download->context);
	download->dataset = NULL;
	/* what is not understood would be kept, and with it who was forgotten */
	if (!identify_object(download))
		download->forgotten = person_names_forgotten(download->document, download->document_len);
	MemoryContextSwitchTo(old);
}

/* True when a row was stored; not so for what was removed meanwhile. */
static bool
store_answer(Download *download, int64 *row_id)
{
	Storing		storing = {.download = download};

	if (!is_awaited(download))
		return false;
	if (download->dataset == NULL || !try_store(&storing))
	{
		store_failure(download);
		return false;
	}
	finish_row(download);
	*row_id = storing.row_id;
	return storing.stored;
}

/* Tells listeners of downloads that will not be tried again by themselves. */
static void
alert_ended(Download *const *downloads, int count)
{
	static SqlPlan plan = {
		.text = "SELECT pg_notify('damoov_alert', json_build_object('kind', $1, 'count', $2)::text)",
		.nargs = 2, .argtypes = {TEXTOID, INT4OID}
	};
	static const char *const states[] = {"gone", "failed"};

	for (int i = 0; i < (int) lengthof(states); i++)
	{
		int			ended = 0;
		Datum		arguments[2];

		for (int j = 0; j < count; j++)
			ended += downloads[j]->ended && strcmp(downloads[j]->ended, states[i]) == 0;
		if (ended == 0)
			continue;
		arguments[0] = CStringGetTextDatum(states[i]);
		arguments[1] = Int32GetDatum(ended);
		sql_run(&plan, arguments, NULL);
	}
}

/* Those whose answer is here, in the order in which they were leased. */
static Download **
answered_downloads(Downloads *downloads, int *count)
{
	Download  **found = palloc(Max(1, downloads->count) * sizeof(Download *));
	dlist_iter	iter;

	*count = 0;
	dlist_foreach(iter, &downloads->list)
	{
		Download   *download = dlist_container(Download, node, iter.cur);

		if (download->started && download->answered)
			found[(*count)++] = download;
	}
	return found;
}

void
downloads_store(Downloads *downloads)
{
	int			count;
	Download  **answered = answered_downloads(downloads, &count);
	const DatasetKey **keys = palloc(Max(1, count) * sizeof(DatasetKey *));
	Datum	   *row_ids[DATASET_KINDS];
	int			stored[DATASET_KINDS] = {0};
	int			known = 0;
	int			scope = sql_enter();

	for (int kind = 0; kind < DATASET_KINDS; kind++)
		row_ids[kind] = palloc(Max(1, count) * sizeof(Datum));
	person_lock();
	for (int i = 0; i < count; i++)
	{
		identify_answer(answered[i]);
		if (answered[i]->dataset)
			keys[known++] = dataset_key(answered[i]);
	}
	dataset_lock(keys, known);
	for (int i = 0; i < count; i++)
	{
		Download   *download = answered[i];
		int64		row_id;

		download->ended = NULL;
		/* what comes for a forgotten person leaves no trace */
		if (download->forgotten)
			finish_row(download);
		else if (((download->dataset == NULL && download->key.kind == DATASET_OBJECT) ||
				  person_exists(dataset_key(download)->user_id)) &&
				 store_answer(download, &row_id))
		{
			DatasetKind kind = dataset_key(download)->kind;

			row_ids[kind][stored[kind]++] = Int64GetDatum(row_id);
		}
		download->stored = true;
	}
	for (int kind = 0; kind < DATASET_KINDS; kind++)
		dataset_notify(kind, row_ids[kind], stored[kind]);
	alert_ended(answered, count);
	sql_leave(scope);
}

void
downloads_forget_stored(Downloads *downloads)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &downloads->list)
	{
		Download   *download = dlist_container(Download, node, iter.cur);

		if (download->stored)
			download_free(download);
	}
}

void
downloads_release(Downloads *downloads)
{
	static SqlPlan plan = {
		.text = "UPDATE damoov.downloads AS d SET leased_until = NULL, attempts = d.attempts - 1 "
		"FROM unnest($1, $2) AS n (kind, object_id) "
		"WHERE d.kind = n.kind AND d.object_id = n.object_id AND d.attempts > 0",
		.nargs = 2, .argtypes = {TEXTARRAYOID, UUIDARRAYOID}
	};
	Datum	   *kinds = palloc(Max(1, downloads->count) * sizeof(Datum));
	Datum	   *ids = palloc(Max(1, downloads->count) * sizeof(Datum));
	int			count = 0;
	dlist_iter	iter;
	Datum		arguments[2];
	int			scope;

	dlist_foreach(iter, &downloads->list)
	{
		Download   *download = dlist_container(Download, node, iter.cur);

		kinds[count] = CStringGetTextDatum(api_kind_name(download->key.kind));
		ids[count++] = UUIDPGetDatum(&download->key.object_id);
	}
	if (count == 0)
		return;
	scope = sql_enter();
	person_lock();
	arguments[0] = sql_array(kinds, NULL, count, TEXTOID);
	arguments[1] = sql_array(ids, NULL, count, UUIDOID);
	sql_run(&plan, arguments, NULL);
	sql_leave(scope);
}

/* ----- damoov_fetch_track ----- */

/* The person an object belongs to, by all that is known of it. */
static void
find_person(Download *download)
{
	static SqlPlan plan = {
		.text = "SELECT u.user_id, u.device_token FROM damoov.users AS u WHERE u.user_id = coalesce("
		"(SELECT d.user_id FROM damoov.downloads AS d WHERE d.kind = $2 AND d.object_id = $1), "
		"(SELECT t.user_id FROM damoov.trips AS t WHERE t.track_token = $1), "
		"(SELECT c.user_id FROM damoov.crashes AS c WHERE c.crash_token = $1), "
		"(SELECT e.user_id FROM damoov.events AS e WHERE e.object_id = $1 AND e.event IN "
		"('TrackEnrichmentFinished', 'IncomingTrackReceived') ORDER BY e.sent_at DESC LIMIT 1))",
		.nargs = 2, .argtypes = {UUIDOID, TEXTOID}
	};
	Datum		arguments[] = {
		UUIDPGetDatum(&download->key.object_id),
		CStringGetTextDatum(api_kind_name(download->key.kind))
	};
	char		id[UUID_TEXT_SIZE];

	if (sql_run(&plan, arguments, NULL) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA),
				 errmsg("no person is known for object \"%s\"",
						uuid_format(&download->key.object_id, id)),
				 download->key.kind == DATASET_PROCESSED
				 ? errhint("Pass the device token as the second argument of damoov_fetch_track().") : 0));
	download->key.user_id = DatumGetInt64(sql_value(0, 1, NULL));
	uuid_format(DatumGetUUIDP(sql_value(0, 2, NULL)), download->device_token);
}

static void
add_person(Download *download, const char *text)
{
	pg_uuid_t	token;

	if (!uuid_parse(text, &token) || uuid_is_zero(&token))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("device token is not a UUID")));
	uuid_format(&token, download->device_token);
	person_refuse_forgotten(download->device_token);
	download->key.user_id = person_of_new_token(&token);
}

static void
current_row(Download *download)
{
	static SqlPlan plan = {
		.text = "SELECT d.version, d.source FROM damoov.downloads AS d "
		"WHERE d.kind = 'processed' AND d.object_id = $1",
		.nargs = 1, .argtypes = {UUIDOID}
	};
	Datum		argument = UUIDPGetDatum(&download->key.object_id);

	download->source = pstrdup("sql");
	if (sql_run(&plan, &argument, NULL) > 0)
	{
		download->version = DatumGetInt64(sql_value(0, 1, NULL));
		download->source = sql_text(download->context, 0, 2);
	}
}

static void
raise_fetch_fault(const Download *download)
{
	Fault		fault = download->fault;

	fault.message = psprintf("could not fetch the track: %s", fault.message);
	if (download->status == 404 || download->status == 410)
		fault.sqlstate = ERRCODE_NO_DATA;
	else if (download->status == 401 || download->status == 403)
		fault.sqlstate = ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION;
	fault_raise(&fault);
}

static void
fetch_now(Download *download)
{
	Downloads  *owner = download->owner;

	owner->http = http_client(download->context);
	choose_url(download, NULL);
	if (!download->answered)
		send_request(download);
	while (!download->answered)
	{
		(void) http_wait(owner->http, -1);
		CHECK_FOR_INTERRUPTS();
	}
	if (download->dataset == NULL)
		raise_fetch_fault(download);
}

static int64
fetch_track(const char *track_token, const char *device_token)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "damoov fetch",
												  ALLOCSET_DEFAULT_SIZES);
	Downloads  *downloads = downloads_create(context, NULL);
	Download   *download = download_create(downloads);
	const DatasetKey *key = &download->key;
	int64		trip_id;
	Datum		row_id;
	int			scope;

	if (!uuid_parse(track_token, &download->key.object_id) ||
		uuid_is_zero(&download->key.object_id))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("track token is not a UUID")));
	PreventCommandIfReadOnly("damoov_fetch_track()");

	download->key.kind = DATASET_PROCESSED;
	scope = sql_enter();
	current_row(download);
	if (device_token == NULL)
		find_person(download);
	else
		add_person(download, device_token);
	fetch_now(download);

	person_lock();
	person_refuse_forgotten(download->device_token);
	dataset_lock(&key, 1);
	if (!store_dataset(download, true, &trip_id))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("track was removed"),
				 errhint("Its history stands in damoov.removed_tracks.")));
	finish_row(download);
	row_id = Int64GetDatum(trip_id);
	dataset_notify(key->kind, &row_id, 1);
	sql_leave(scope);
	MemoryContextDelete(context);
	return trip_id;
}

Datum
damoov_fetch_track(PG_FUNCTION_ARGS)
{
	int64		trip_id = 0;

	/* the statement may hold a device token: no error of any kind shows it */
	PG_TRY();
	{
		trip_id = fetch_track(PG_ARGISNULL(0) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(0)),
							  PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1)));
	}
	PG_CATCH();
	{
		errhidestmt(true);
		PG_RE_THROW();
	}
	PG_END_TRY();
	PG_RETURN_INT64(trip_id);
}

static void
find_object_url(Download *download)
{
	static SqlPlan plan = {
		.text = "SELECT d.url FROM damoov.downloads AS d WHERE d.kind = 'object' AND d.object_id = $1",
		.nargs = 1, .argtypes = {UUIDOID}
	};
	Datum		argument = UUIDPGetDatum(&download->key.object_id);

	download->url = "";
	if (sql_run(&plan, &argument, NULL) > 0)
		download->url = sql_text(download->context, 0, 1);
}

Datum
damoov_store_dataset(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	text	   *document = PG_GETARG_TEXT_PP(2);
	Download	download = {.context = CurrentMemoryContext};
	const DatasetKey *key = &download.key;
	int			kind = api_kind(name);
	bool		stored = false;
	int64		row_id = 0;
	int			scope;

	if (kind < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("kind of dataset \"%s\" is not known", name)));
	download.key.kind = kind;
	download.key.object_id = *PG_GETARG_UUID_P(1);
	download.document = pnstrdup(VARDATA_ANY(document), VARSIZE_ANY_EXHDR(document));
	download.document_len = VARSIZE_ANY_EXHDR(document);
	scope = sql_enter();
	person_lock();
	if (kind != DATASET_OBJECT)
	{
		find_person(&download);
		if (!dataset_read(key, download.device_token, download.document, download.document_len,
						  &download.dataset, &download.fault))
			fault_raise(&download.fault);
	}
	else
	{
		find_object_url(&download);
		if (!identify_object(&download))
			fault_raise(&download.fault);
		key = &download.found;
	}
	if (!download.forgotten)
	{
		dataset_lock(&key, 1);
		stored = store_dataset(&download, false, &row_id);
	}
	sql_leave(scope);
	if (!stored)
		PG_RETURN_NULL();
	PG_RETURN_INT64(row_id);
}
