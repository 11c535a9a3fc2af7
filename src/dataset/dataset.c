/*
 * dataset.c
 *	  The kinds of datasets: see dataset.h.
 */
#include "postgres.h"

#include "access/toast_internals.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "base/json.h"
#include "base/sql.h"
#include "dataset/crash.h"
#include "dataset/dataset.h"
#include "dataset/keep.h"
#include "dataset/listing.h"
#include "dataset/raw.h"
#include "dataset/record.h"
#include "dataset/track.h"
#include "dataset/trip_document.h"
#include "guc.h"
#include "wire/gzip.h"

typedef struct KindRules
{
	const char *name;
	DatasetAddress address;

	/* how it is read: by a table of members, or else by a function of its own */
	const Record *record;
	void	   *(*read) (const Document *document, Fault *fault);

	/* returns the row's id, 0 when the dataset is not wanted any more */
	int64		(*store) (const void *content, const pg_uuid_t *object_id, int64 user_id);
	/* the same with the document in place of rows; NULL: it has none that could be left out */
	int64		(*store_document) (const void *content, const pg_uuid_t *object_id, int64 user_id,
								   const TripDocument *document);
	const char *channel;		/* NOTIFY, NULL: none */
} KindRules;

static Size
max_document_bytes(void)
{
	return (Size) damoov_max_document_size * 1024;
}

static const KindRules kinds[DOWNLOAD_KINDS] = {
	[DATASET_PROCESSED] = {
		.name = "processed",
		.address = {"processed", false, "/mobilesdk/stage/track/get_track/v1?trackToken=", ""},
		.record = &track_record, .store = track_store, .store_document = track_store_document,
		.channel = "damoov_trip"
	},
	[DATASET_RAW] = {
		.name = "raw",
		.address = {"raw", false, "/mobilesdk/incoming/incoming/tracks/received/", "/v1/"},
		.record = &raw_record, .store = raw_store
	},
	[DATASET_CRASH] = {
		.name = "crash",
		.address = {"crash", true, "/api/drivingevents/get/v1/Accidents/received/", ""},
		.record = &crash_record, .store = crash_header_store,
		.channel = "damoov_crash"
	},
	[DATASET_CRASH_BUFFER] = {
		.name = "crash_buffer",
		.address = {"crash", true, "/api/drivingevents/get/v1/Accidents/extras/received/", ""},
		.read = crash_buffer_read, .store = crash_buffer_store,
		.channel = "damoov_crash"
	},
	/* not in the option "fetch", without an address, and read as what its content is */
	[DATASET_OBJECT] = {
		.name = "object",
		.address = {"", false, "", ""}
	},
	/* behind its path comes the query of damoov.downloads.url */
	[DATASET_LISTING] = {
		.name = "listing",
		.address = {"", false, "/mobilesdk/stage/track/get_tracks/v1", ""},
		.read = listing_read, .store = listing_store
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
	const KindRules *kind = &kinds[dataset->key.kind];
	JsonSpan	text = dataset_text(dataset);
	Document	document = {
		text.start, text.len, max_document_bytes(),
		&dataset->key.object_id, dataset->device_token
	};

	dataset->content = kind->record ? record_read(kind->record, &document, fault) :
		kind->read(&document, fault);
	return dataset->content != NULL;
}

/* ----- what it is ----- */

static bool
stands_at(JsonWalk *walk, int level, const char *name)
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
	{
		pfree(text);
		return;
	}
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
dataset_identify(const Dataset *dataset, DatasetIdentity *identity, Fault *fault)
{
	static const JsonVisitor visitor = {.enter = look_at_object, .scalar = look_at_value};
	JsonSpan	text = dataset_text(dataset);

	memset(identity, 0, sizeof(*identity));
	identity->kind = -1;
	return json_walk(text.start, text.len, JSON_LIMITS(max_document_bytes()), &visitor, identity, fault);
}

/* ----- storing ----- */

/*
 * What TOAST would do in the end, done before the executor copies the long text
 * from one row to the next.
 */
static Datum
compressed(text *document)
{
	Datum		shorter = (Datum) 0;

#ifdef USE_LZ4
	shorter = toast_compress_datum(PointerGetDatum(document), TOAST_LZ4_COMPRESSION);
#endif
	return shorter != (Datum) 0 ? shorter : PointerGetDatum(document);
}

/* Keeps the original, or deletes an older one. */
static void
keep_original(const Dataset *dataset, bool fetched)
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
	bool		keeps = damoov_keep_documents != 0;
	Datum		arguments[] = {
		CStringGetTextDatum(dataset_kind_name(dataset->key.kind)),
		UUIDPGetDatum(&dataset->key.object_id),
		keeps ? compressed(dataset->document) : PointerGetDatum(dataset->document),
		BoolGetDatum(fetched),
		Int64GetDatum(dataset->key.user_id)
	};

	sql_run(keeps ? &keep : &outdate, arguments, NULL);
}

/* The document has taken its place. */
static void
drop_original(const DatasetKey *key)
{
	static SqlPlan plan = SQL_PLAN(
		"DELETE FROM damoov.documents AS d WHERE d.kind = $1 AND d.object_id = $2",
		TEXTOID, UUIDOID);
	Datum		arguments[] = {
		CStringGetTextDatum(dataset_kind_name(key->kind)),
		UUIDPGetDatum(unconstify(pg_uuid_t *, &key->object_id))
	};

	sql_run(&plan, arguments, NULL);
}

/*
 * The document as it is kept, and what it reads as.  Where a secret was taken out
 * it is read again, so that what is stored is what will be read from it; false
 * when that could not be.
 */
static bool
make_document(const Dataset *dataset, TripDocument *document, Content **content)
{
	JsonSpan	original = dataset_text(dataset);
	char	   *kept = keep_document(original.start, original.len, dataset->device_token,
									 (*content)->names_person);
	Document	again = {.text = kept, .device_token = ""};
	Fault		ignored = {0};

	if (kept == NULL)
	{
		document->original = dataset->document;
		document->gzip = dataset->gzip ? dataset->gzip
			: gzip_compress(original.start, original.len);
		return true;
	}
	again.len = again.max_len = strlen(kept);
	document->original = cstring_to_text_with_len(kept, again.len);
	document->gzip = gzip_compress(kept, again.len);
	*content = record_read(kinds[dataset->key.kind].record, &again, &ignored);
	return *content != NULL;
}

static bool
wants_document(const Dataset *dataset, bool fetched)
{
	StorePoints form = dataset->store_points;

	if (kinds[dataset->key.kind].store_document == NULL)
		return false;
	if (!fetched)
		form = trip_document_form(&dataset->key.object_id, form);
	return form == STORE_DOCUMENT;
}

bool
dataset_store(const Dataset *dataset, bool fetched, int64 *row_id)
{
	const KindRules *kind = &kinds[dataset->key.kind];
	const DatasetKey *key = &dataset->key;
	TripDocument document = {.fetched = fetched};
	Content    *content = dataset->content;

	if (wants_document(dataset, fetched) && make_document(dataset, &document, &content))
	{
		*row_id = kind->store_document(content, &key->object_id, key->user_id, &document);
		if (*row_id != 0)
			drop_original(key);
	}
	else
	{
		*row_id = kind->store(dataset->content, &key->object_id, key->user_id);
		if (*row_id != 0)
			keep_original(dataset, fetched);
	}
	return *row_id != 0;
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
