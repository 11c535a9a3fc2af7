/*
 * dataset.c
 *	  The kinds of datasets: see dataset.h.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/json.h"
#include "base/sql.h"
#include "dataset/crash.h"
#include "dataset/dataset.h"
#include "dataset/raw.h"
#include "dataset/record.h"
#include "dataset/track.h"
#include "guc.h"

typedef struct KindRules
{
	const char *name;
	DatasetAddress address;
	bool		(*read) (const Document *document, void **content, Fault *fault);
	bool		(*store) (const DatasetKey *key, const void *content, int64 *row_id);
	bool		is_track;		/* can be removed */
	const char *channel;		/* NOTIFY, NULL: none */
} KindRules;

static Size
max_document_bytes(void)
{
	return (Size) damoov_max_document_size * 1024;
}

/* ----- processed tracks ----- */

static bool
read_processed(const Document *document, void **content, Fault *fault)
{
	return (*content = track_read(document, fault)) != NULL;
}

/* What is known of a track: its newest enrichment, and whether it lives. */
static bool
track_state(const DatasetKey *key, TrackKey *track)
{
	static SqlPlan plan = SQL_PLAN(
		"SELECT n.enriched_at, n.revision, damoov.track_lives($1, $2, n.enriched_at) "
		"FROM (SELECT damoov.enriched_at($1, $2) AS enriched_at, greatest(count(*), "
		"(SELECT t.revision FROM damoov.trips AS t WHERE t.track_token = $1), 1)::int AS revision "
		"FROM damoov.events AS e "
		"WHERE e.event = 'TrackEnrichmentFinished' AND e.object_id = $1 AND e.user_id = $2) AS n",
		UUIDOID, INT8OID);
	Datum		arguments[] = {UUIDPGetDatum(&key->object_id), Int64GetDatum(key->user_id)};
	Datum		value;
	bool		isnull;

	sql_run(&plan, arguments, NULL);
	track->token = key->object_id;
	track->user_id = key->user_id;
	value = sql_value(0, 1, &isnull);
	track->has_enriched_at = !isnull;
	track->enriched_at = isnull ? 0 : DatumGetTimestampTz(value);
	track->revision = DatumGetInt32(sql_value(0, 2, NULL));
	return DatumGetBool(sql_value(0, 3, NULL));
}

static bool
store_processed(const DatasetKey *key, const void *content, int64 *row_id)
{
	TrackKey	track = {0};

	if (!track_state(key, &track))
		return false;
	*row_id = track_store(content, &track);
	return true;
}

/* ----- raw tracks ----- */

static bool
read_raw(const Document *document, void **content, Fault *fault)
{
	return (*content = raw_read(document, fault)) != NULL;
}

static bool
store_raw(const DatasetKey *key, const void *content, int64 *row_id)
{
	static SqlPlan plan = SQL_PLAN("SELECT damoov.recording_lives($1, $2)", UUIDOID, INT8OID);
	Datum		arguments[] = {UUIDPGetDatum(&key->object_id), Int64GetDatum(key->user_id)};

	sql_run(&plan, arguments, NULL);
	if (!DatumGetBool(sql_value(0, 1, NULL)))
		return false;
	*row_id = raw_store(content, &key->object_id, key->user_id);
	return true;
}

/* ----- crashes: nothing takes them away ----- */

static bool
read_crash(const Document *document, void **content, Fault *fault)
{
	return (*content = crash_header_read(document, fault)) != NULL;
}

static bool
store_crash(const DatasetKey *key, const void *content, int64 *row_id)
{
	*row_id = crash_header_store(content, &key->object_id, key->user_id);
	return true;
}

static bool
read_crash_buffer(const Document *document, void **content, Fault *fault)
{
	return (*content = crash_buffer_read(document, fault)) != NULL;
}

static bool
store_crash_buffer(const DatasetKey *key, const void *content, int64 *row_id)
{
	*row_id = crash_buffer_store(content, &key->object_id, key->user_id);
	return true;
}

/* ----- the kinds ----- */

static const KindRules kinds[DATASET_KINDS + 1] = {
	[DATASET_PROCESSED] = {
		.name = "processed",
		.address = {"processed", false, "/mobilesdk/stage/track/get_track/v1?trackToken=", ""},
		.read = read_processed, .store = store_processed,
		.is_track = true, .channel = "damoov_trip"
	},
	[DATASET_RAW] = {
		.name = "raw",
		.address = {"raw", false, "/mobilesdk/incoming/incoming/tracks/received/", "/v1/"},
		.read = read_raw, .store = store_raw,
		.is_track = true
	},
	[DATASET_CRASH] = {
		.name = "crash",
		.address = {"crash", true, "/api/drivingevents/get/v1/Accidents/received/", ""},
		.read = read_crash, .store = store_crash,
		.channel = "damoov_crash"
	},
	[DATASET_CRASH_BUFFER] = {
		.name = "crash_buffer",
		.address = {"crash", true, "/api/drivingevents/get/v1/Accidents/extras/received/", ""},
		.read = read_crash_buffer, .store = store_crash_buffer,
		.channel = "damoov_crash"
	},
	/* not asked for by "fetch", without an address, and read as what it turns out to be */
	[DATASET_OBJECT] = {
		.name = "object",
		.address = {"", false, "", ""}
	},
};

const char *
dataset_kind_name(DatasetKind kind)
{
	return kinds[kind].name;
}

int
dataset_kind(const char *name)
{
	for (int i = 0; i < (int) lengthof(kinds); i++)
	{
		if (strcmp(kinds[i].name, name) == 0)
			return i;
	}
	return -1;
}

const DatasetAddress *
dataset_address(DatasetKind kind)
{
	return &kinds[kind].address;
}

bool
dataset_read(Dataset *dataset, Fault *fault)
{
	Document	document = {
		dataset->document, dataset->document_len, max_document_bytes(),
		&dataset->key.object_id, dataset->device_token
	};

	return kinds[dataset->key.kind].read(&document, &dataset->content, fault);
}

/* ----- what it is ----- */

static bool
stands_at(const JsonWalk *walk, int level, const char *name)
{
	return pg_strcasecmp(json_name(walk, level), name) == 0;
}

/* The envelopes tell the kinds of tracks apart. */
static void
look_at_object(JsonWalk *walk, bool is_array)
{
	DatasetIdentity *identity = walk->state;

	if (is_array)
		return;
	if (walk->depth == 3 && stands_at(walk, 1, "Result") && stands_at(walk, 2, "Track"))
		identity->kind = DATASET_PROCESSED;
	else if ((walk->depth == 2 && stands_at(walk, 1, "Track")) ||
			 (walk->depth == 3 && stands_at(walk, 1, "result") && stands_at(walk, 2, "TripData")))
		identity->kind = DATASET_RAW;
}

static void
take_id(const char *text, bool *given, pg_uuid_t *id)
{
	pg_uuid_t	found;

	if (uuid_parse(text, &found) && !uuid_is_zero(&found))
	{
		*given = true;
		*id = found;
	}
}

static void
look_at_value(JsonWalk *walk, char *text, JsonTokenType type)
{
	DatasetIdentity *identity = walk->state;
	pg_uuid_t	instance;

	if (type != JSON_TOKEN_STRING || walk->depth > 3)
		return;
	if (walk->depth == 1 && stands_at(walk, 1, "AccidentTrigger"))
		identity->kind = DATASET_CRASH;
	else if (walk->depth == 1 && stands_at(walk, 1, "Id"))
		take_id(text, &identity->has_object, &identity->object_id);
	else if (stands_at(walk, walk->depth, "TrackToken"))
		take_id(text, &identity->has_object, &identity->object_id);
	else if (stands_at(walk, walk->depth, "DeviceToken") || stands_at(walk, walk->depth, "UserId"))
		take_id(text, &identity->has_person, &identity->device_token);
	else if (walk->depth == 3 && stands_at(walk, 2, "S3Location") && stands_at(walk, 3, "Key") &&
			 !identity->has_person)
		identity->has_person = raw_ids_of_key(text, &instance, &identity->device_token);
}

bool
dataset_identify(const char *text, Size len, DatasetIdentity *identity, Fault *fault)
{
	static const JsonVisitor visitor = {.enter = look_at_object, .scalar = look_at_value};

	memset(identity, 0, sizeof(*identity));
	identity->kind = -1;
	return json_walk(text, len, max_document_bytes(), &visitor, identity, fault);
}

/* ----- storing ----- */

void
dataset_lock(const List *datasets)
{
	static SqlPlan plan = SQL_PLAN("SELECT damoov.lock_tracks($1)", UUIDARRAYOID);
	Datum	   *tokens = palloc(Max(1, list_length(datasets)) * sizeof(Datum));
	int			tracks = 0;
	ListCell   *cell;
	Datum		argument;

	foreach(cell, datasets)
	{
		Dataset    *dataset = lfirst(cell);

		if (kinds[dataset->key.kind].is_track)
			tokens[tracks++] = UUIDPGetDatum(&dataset->key.object_id);
	}
	if (tracks == 0)
		return;
	argument = sql_array(tokens, NULL, tracks, UUIDOID);
	sql_run(&plan, &argument, NULL);
}

/* Keeps the original, or sees to it that no older one stays. */
static void
keep_document(const Dataset *dataset, bool fetched)
{
	static SqlPlan keep = SQL_PLAN(
		"INSERT INTO damoov.documents AS d (kind, object_id, document, user_id) "
		"VALUES ($1, $2, $3, $5) "
		"ON CONFLICT ON CONSTRAINT documents_pkey DO UPDATE "
		"SET user_id = EXCLUDED.user_id, fetched_at = EXCLUDED.fetched_at, document = EXCLUDED.document "
		"WHERE $4 OR d.document <> EXCLUDED.document",
		TEXTOID, UUIDOID, TEXTOID, BOOLOID, INT8OID);
	static SqlPlan outdate = SQL_PLAN(
		"DELETE FROM damoov.documents AS d "
		"WHERE d.kind = $1 AND d.object_id = $2 AND ($4 OR d.document <> $3)",
		TEXTOID, UUIDOID, TEXTOID, BOOLOID);
	Datum		arguments[] = {
		CStringGetTextDatum(dataset_kind_name(dataset->key.kind)),
		UUIDPGetDatum(&dataset->key.object_id),
		PointerGetDatum(cstring_to_text_with_len(dataset->document, dataset->document_len)),
		BoolGetDatum(fetched),
		Int64GetDatum(dataset->key.user_id)
	};

	sql_run(damoov_keep_documents != 0 ? &keep : &outdate, arguments, NULL);
}

bool
dataset_store(const Dataset *dataset, bool fetched, int64 *row_id)
{
	if (!kinds[dataset->key.kind].store(&dataset->key, dataset->content, row_id))
		return false;
	keep_document(dataset, fetched);
	return true;
}

void
dataset_notify(DatasetKind kind, const Datum *row_ids, int count)
{
	static SqlPlan plan = SQL_PLAN("SELECT damoov.notify($1, 'stored', $2)", TEXTOID, INT8ARRAYOID);
	Datum		arguments[2];

	if (count == 0 || kinds[kind].channel == NULL)
		return;
	arguments[0] = CStringGetTextDatum(kinds[kind].channel);
	arguments[1] = sql_array(row_ids, NULL, count, INT8OID);
	sql_run(&plan, arguments, NULL);
}
