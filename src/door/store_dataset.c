/*
 * store_dataset.c
 *	  The SQL functions that store one dataset at once: damoov_fetch_track()
 *	  what it fetches, damoov.store_dataset() what it is given.
 *
 * Nothing is locked or written while waiting for the network.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/fault.h"
#include "base/hide.h"
#include "base/options.h"
#include "base/sql.h"
#include "base/uuid.h"
#include "compat.h"
#include "dataset/dataset.h"
#include "door/download.h"
#include "door/fetch.h"
#include "door/lock.h"
#include "door/object.h"
#include "door/person.h"
#include "guc.h"
#include "wire/http.h"

SQL_FUNCTION(damoov_fetch_track);
SQL_FUNCTION(damoov_fetch_track_uuid);
SQL_FUNCTION(damoov_store_dataset);

static void
need_person(Dataset *dataset)
{
	char		id[UUID_TEXT_SIZE];

	if (!object_find_person(dataset))
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA),
				 errmsg("no person is known for object \"%s\"",
						uuid_format(&dataset->key.object_id, id)),
				 dataset->key.kind == DATASET_PROCESSED
				 ? errhint("Pass the device token as the second argument of damoov_fetch_track().") : 0));
}

/* ----- damoov_fetch_track ----- */

/*
 * The waiting download that this takes the place of, if there is one.  Any source
 * can announce any track, so only that of the same person counts: the source
 * chooses who is sent the person's token.
 */
static int64
waiting_version(const Fetch *fetch, char **source)
{
	static SqlPlan plan = SQL_PLAN(
		"SELECT d.version, CASE WHEN u.device_token::text = $2 THEN damoov.source_of(d.source, d.source_owner) ELSE $3 END "
		"FROM damoov.downloads AS d "
		"LEFT JOIN damoov.users AS u USING (user_id) "
		"WHERE d.kind = 'processed' AND d.object_id = $1",
		UUIDOID, TEXTOID, TEXTOID);
	Datum		arguments[] = {
		UUIDPGetDatum(&fetch->dataset.key.object_id),
		CStringGetTextDatum(fetch->dataset.device_token),
		CStringGetTextDatum(OPTIONS_NO_SOURCE)
	};

	*source = MemoryContextStrdup(fetch->context, OPTIONS_NO_SOURCE);
	if (sql_run(&plan, arguments, NULL) == 0)
		return 0;
	*source = sql_text(fetch->context, 0, 2);
	return DatumGetInt64(sql_value(0, 1, NULL));
}

/* token NULL: none that can be read was given */
static void
check_token(const char *name, const pg_uuid_t *token)
{
	if (token == NULL || uuid_is_zero(token))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s token is not a UUID", name)));
}

static void
parse_token(const char *name, const char *text, pg_uuid_t *token)
{
	check_token(name, uuid_parse(text, token) ? token : NULL);
}

static void
raise_fetch_fault(const Fetch *fetch)
{
	Fault		fault = fetch->fault;

	fault.message = psprintf("could not fetch the track: %s", fault.message);
	if (fetch->status == 404 || fetch->status == 410)
		fault.sqlstate = ERRCODE_NO_DATA;
	else if (fetch->status == 401 || fetch->status == 403)
		fault.sqlstate = ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION;
	fault_raise(&fault);
}

typedef struct TrackFetch
{
	Fetch		fetch;
	const pg_uuid_t *person;	/* as given, or NULL */
	int64		version;		/* of the waiting download, or 0 */
} TrackFetch;

/* A step for sql_look(): whose it is, and where. */
static void
prepare(void *argument)
{
	TrackFetch *track = argument;
	Dataset    *dataset = &track->fetch.dataset;
	int			scope = sql_enter();
	char	   *source;

	if (track->person)
		uuid_format(track->person, dataset->device_token);
	else
		need_person(dataset);
	person_refuse_forgotten(dataset->device_token);
	track->version = waiting_version(&track->fetch, &source);
	fetch_find(&track->fetch, source, NULL);
	sql_leave(scope);
}

static void
fetch_now(Fetch *fetch)
{
	if (!fetch->answered)
		fetch_send(fetch);
	while (!fetch->answered)
	{
		(void) http_wait(fetch->http, -1);
		CHECK_FOR_INTERRUPTS();
	}
	if (fetch->dataset.content == NULL)
		raise_fetch_fault(fetch);
}

static int64
store_track(TrackFetch *track)
{
	Dataset    *dataset = &track->fetch.dataset;
	int			scope = sql_enter();
	int64		trip_id;
	Datum		row_id;

	lock_for_storing(track->person
					 ? list_make2(&dataset->key.object_id, unconstify(pg_uuid_t *, track->person))
					 : list_make1(&dataset->key.object_id));
	person_refuse_forgotten(dataset->device_token);
	if (track->person)
		dataset->key.user_id = person_of_new_token(track->person);
	if (!dataset_store(dataset, true, &trip_id))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("track was removed"),
				 errhint("Its row in damoov.removed_tracks says when and why.")));
	downloads_finish(DATASET_PROCESSED, &dataset->key.object_id, track->version);
	row_id = Int64GetDatum(trip_id);
	dataset_notify(DATASET_PROCESSED, &row_id, 1);
	sql_leave(scope);
	return trip_id;
}

/* person NULL: whoever the track is known to be of */
static int64
fetch_track(const pg_uuid_t *track_token, const pg_uuid_t *person)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "damoov fetch",
												  ALLOCSET_DEFAULT_SIZES);
	TrackFetch *track = MemoryContextAllocZero(context, sizeof(TrackFetch));
	Fetch	   *fetch = &track->fetch;
	int64		trip_id;

	fetch->context = context;
	fetch->clock_offset_s = MemoryContextAllocZero(context, sizeof(int64));
	fetch->dataset.key.kind = DATASET_PROCESSED;
	fetch->dataset.key.object_id = *track_token;
	track->person = person;
	fetch->http = http_client(context);
	sql_look(prepare, track);
	fetch_now(fetch);
	trip_id = store_track(track);
	fetch_end(fetch);
	MemoryContextDelete(context);
	return trip_id;
}

Datum
damoov_fetch_track(PG_FUNCTION_ARGS)
{
	ErrorContextCallback hiding;
	pg_uuid_t	track_token;
	pg_uuid_t	person;
	int64		trip_id;

	hide_statement(&hiding);
	sql_need_read_committed();
	parse_token("track", PG_ARGISNULL(0) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(0)), &track_token);
	PreventCommandIfReadOnly("damoov_fetch_track()");
	if (!PG_ARGISNULL(1))
		parse_token("device", text_to_cstring(PG_GETARG_TEXT_PP(1)), &person);
	trip_id = fetch_track(&track_token, PG_ARGISNULL(1) ? NULL : &person);
	hide_end(&hiding);
	PG_RETURN_INT64(trip_id);
}

Datum
damoov_fetch_track_uuid(PG_FUNCTION_ARGS)
{
	ErrorContextCallback hiding;
	int64		trip_id;

	hide_statement(&hiding);
	sql_need_read_committed();
	check_token("track", PG_ARGISNULL(0) ? NULL : PG_GETARG_UUID_P(0));
	PreventCommandIfReadOnly("damoov_fetch_track()");
	if (!PG_ARGISNULL(1))
		check_token("device", PG_GETARG_UUID_P(1));
	trip_id = fetch_track(PG_GETARG_UUID_P(0), PG_ARGISNULL(1) ? NULL : PG_GETARG_UUID_P(1));
	hide_end(&hiding);
	PG_RETURN_INT64(trip_id);
}

/* ----- damoov.store_dataset ----- */

static char *
announced_url(const DatasetKey *key)
{
	static SqlPlan plan = SQL_PLAN(
		"SELECT coalesce(d.url, '') FROM damoov.downloads AS d "
		"WHERE d.kind = 'object' AND d.object_id = $1",
		UUIDOID);
	Datum		argument = UUIDPGetDatum(unconstify(pg_uuid_t *, &key->object_id));

	return sql_run(&plan, &argument, NULL) > 0 ? sql_text(CurrentMemoryContext, 0, 1) : "";
}

/*
 * Locks it, finds out whose it is, and reads it; false: of a person who was
 * forgotten.
 */
static bool
read_given(Dataset *dataset)
{
	bool		is_object = dataset->key.kind == DATASET_OBJECT;
	pg_uuid_t	announced = dataset->key.object_id;
	List	   *ids = list_make1(&announced);
	Fault		fault = {0};
	bool		forgotten = false;
	bool		done;
	char	   *url = NULL;

	if (is_object)
	{
		url = announced_url(&dataset->key);
		ids = object_ids(ids, dataset, url);
	}
	lock_for_storing(ids);
	if (is_object)
		done = object_identify(dataset, url, &forgotten, &fault);
	else
	{
		need_person(dataset);
		done = dataset_read(dataset, &fault);
	}
	if (!done)
		fault_raise(&fault);
	return !forgotten;
}

Datum
damoov_store_dataset(PG_FUNCTION_ARGS)
{
	ErrorContextCallback hiding;
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int			kind = dataset_kind(name);
	Dataset		dataset = {
		.key = {.object_id = *PG_GETARG_UUID_P(1)},
		.document = PG_GETARG_TEXT_PP(2),
		.store_points = damoov_store_points
	};
	int64		row_id;
	bool		stored;
	int			scope;

	hide_statement(&hiding);
	if (kind < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("kind of dataset \"%s\" is not known", name)));
	dataset.key.kind = kind;
	scope = sql_enter();
	stored = read_given(&dataset) && dataset_store(&dataset, false, &row_id);
	sql_leave(scope);
	hide_end(&hiding);
	if (!stored)
		PG_RETURN_NULL();
	PG_RETURN_INT64(row_id);
}
