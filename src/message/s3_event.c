/*
 * s3_event.c
 *	  What stores tell of their buckets: see s3_event.h.
 *
 * A record says that an object is there, not what it is; that is found out when
 * it has been fetched.  Here it gets an address: "s3://bucket/key", with the
 * region and the version that the record names, or the URL of a blob.
 *
 * Whoever tells it, what happened is named as S3 does, for the rules in SQL.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "base/fault.h"
#include "base/json.h"
#include "base/text.h"
#include "base/timestamp.h"
#include "compat.h"
#include "message/part.h"
#include "message/s3_event.h"
#include "wire/storage_name.h"
#include "wire/url.h"

SQL_FUNCTION(damoov_read_object_event);

#define CREATED				"ObjectCreated:"
#define REMOVED				"ObjectRemoved:"
#define BRIDGE_SOURCE		"aws.s3"
#define STORAGE_EVENT		"Microsoft.Storage."
#define MAX_RECORDS			10000	/* S3 sends one, and no queue takes more */

static const JsonLimits record_limits = {2 * 1024 * 1024, JSON_MAX_PLAIN_NUMBER};

typedef struct S3Record
{
	const char *event_version;
	const char *event_source;
	const char *event_name;
	const char *event_time;
	const char *region;
	const char *bucket;
	const char *key;			/* encoded as in forms */
	const char *size;
	const char *version_id;
	const char *sequencer;
	const char *reason;			/* which request did it */
	const char *detail_type;	/* EventBridge */
	const char *source;
	const char *plain_key;
	const char *grid_type;		/* Event Grid, or a CloudEvent of it */
	const char *url;
} S3Record;

#define AT(member)	offsetof(S3Record, member)

/* where the members stand: their names, from the outermost */
static const struct
{
	const char *path[3];
	Size		offset;
}			record_members[] = {
	/* S3, MinIO and Ceph */
	{{"eventVersion"}, AT(event_version)},
	{{"eventSource"}, AT(event_source)},
	{{"eventName"}, AT(event_name)},
	{{"eventTime"}, AT(event_time)},
	{{"awsRegion"}, AT(region)},
	{{"s3", "bucket", "name"}, AT(bucket)},
	{{"s3", "object", "key"}, AT(key)},
	{{"s3", "object", "size"}, AT(size)},
	{{"s3", "object", "versionId"}, AT(version_id)},
	{{"s3", "object", "sequencer"}, AT(sequencer)},
	/* EventBridge */
	{{"detail-type"}, AT(detail_type)},
	{{"source"}, AT(source)},
	{{"time"}, AT(event_time)},
	{{"region"}, AT(region)},
	{{"detail", "bucket", "name"}, AT(bucket)},
	{{"detail", "object", "key"}, AT(plain_key)},
	{{"detail", "object", "size"}, AT(size)},
	{{"detail", "object", "version-id"}, AT(version_id)},
	{{"detail", "object", "sequencer"}, AT(sequencer)},
	{{"detail", "reason"}, AT(reason)},
	/* Event Grid */
	{{"eventType"}, AT(grid_type)},
	{{"type"}, AT(grid_type)},
	{{"data", "url"}, AT(url)},
	{{"data", "contentLength"}, AT(size)},
	{{"data", "sequencer"}, AT(sequencer)},
	{{"data", "api"}, AT(reason)},
};

/* ----- one record ----- */

static void
on_member(JsonWalk *walk, char *text, JsonTokenType type)
{
	S3Record   *record = walk->state;

	if (type != JSON_TOKEN_STRING && type != JSON_TOKEN_NUMBER)
		return;
	for (int i = 0; i < (int) lengthof(record_members); i++)
	{
		int			depth = 0;

		while (depth < 3 && record_members[i].path[depth] && depth < walk->depth &&
			   strcmp(json_name(walk, depth + 1), record_members[i].path[depth]) == 0)
			depth++;
		if (depth == walk->depth && (depth == 3 || record_members[i].path[depth] == NULL))
			*(const char **) ((char *) record + record_members[i].offset) = text;
	}
}

static bool
read_record(const char *text, Size len, S3Record *record, Fault *fault)
{
	static const JsonVisitor visitor = {.scalar = on_member};

	memset(record, 0, sizeof(*record));
	return json_walk(text, len, record_limits, &visitor, record, fault);
}

static bool
plain(const char *text, const char *characters)
{
	return text_consists_of(text, strlen(text), characters);
}

#define LETTERS TEXT_LOWER TEXT_DIGITS "-"

static bool
record_fault(Fault *fault, const char *problem)
{
	return fault_set(fault, REASON_ENVELOPE, "record of a bucket %s", problem);
}

/* S3 itself, or what speaks like it. */
static bool
is_s3(const char *source)
{
	return strcmp(source, "aws:s3") == 0 || strcmp(source, "minio:s3") == 0 ||
		strcmp(source, "ceph:s3") == 0;
}

static bool
begins_with(const char *text, const char *start)
{
	return text && strncmp(text, start, strlen(start)) == 0;
}

/* What happened, in the words of S3. */
static const char *
name_event(const char *told, const char *created, const char *removed, const char *reason)
{
	if (strcmp(told, created) == 0)
		return psprintf(CREATED "%s", reason ? reason : "");
	if (strcmp(told, removed) == 0)
		return psprintf(REMOVED "%s", reason ? reason : "");
	return told;
}

/* Checks who tells it, and brings the name of the event into one form. */
static bool
check_source(S3Record *record, Fault *fault)
{
	if (!begins_with(record->grid_type, STORAGE_EVENT))
		record->grid_type = NULL;
	if (record->grid_type)
		record->event_name = name_event(record->grid_type, STORAGE_EVENT "BlobCreated",
										STORAGE_EVENT "BlobDeleted", record->reason);
	else if (record->detail_type)
	{
		if (record->source == NULL || strcmp(record->source, BRIDGE_SOURCE) != 0)
			return record_fault(fault, "is not one of S3");
		record->event_name = name_event(record->detail_type, "Object Created",
										"Object Deleted", record->reason);
	}
	else if (record->event_source == NULL || !is_s3(record->event_source))
		return record_fault(fault, "is not one of S3");
	else if (!begins_with(record->event_version, "2."))
		return record_fault(fault, "has a version that is not known");
	if (record->event_name == NULL || record->event_name[0] == '\0' || strlen(record->event_name) > 200)
		return record_fault(fault, "has no name of an event");
	if (begins_with(record->event_name, "s3:"))
		record->event_name += strlen("s3:");
	return true;
}

/* What stands for the object: its bucket and its place there, encoded. */
static bool
check_record(S3Record *record, char **object, Fault *fault)
{
	UrlParts   *parts;
	char	   *path;

	if (!check_source(record, fault))
		return false;
	if (record->grid_type)
	{
		if (record->url == NULL || !url_parse(record->url, &parts, fault))
			return record_fault(fault, "has no address");
		*object = psprintf("%s%s", parts->host_header, parts->path);
		return true;
	}
	/* capitals and underscores are in names that were given before 2018 */
	if (record->bucket == NULL || !plain(record->bucket, TEXT_LETTERS TEXT_DIGITS "-._"))
		return record_fault(fault, "does not name a bucket");
	path = record->plain_key ? storage_encode_key(record->plain_key)
		: storage_encode_path(record->key ? record->key : "", true);
	*object = psprintf("%s/%s", record->bucket, path);
	return path[0] != '\0' || record_fault(fault, "has no key");
}

/*
 * What there is to fetch.  Nothing for a removal, nor for the empty objects
 * that stand for folders.
 */
static char *
object_url(const S3Record *record, const char *object)
{
	StringInfoData url;

	if (!begins_with(record->event_name, CREATED) ||
		(record->size && strcmp(record->size, "0") == 0) ||
		object[strlen(object) - 1] == '/')
		return NULL;
	if (record->grid_type)
		return pstrdup(record->url);
	initStringInfo(&url);
	appendStringInfo(&url, "s3://%s", object);
	if (record->region && plain(record->region, LETTERS))
		appendStringInfo(&url, "?region=%s", record->region);
	if (record->version_id && record->version_id[0] && strcmp(record->version_id, "null") != 0)
		appendStringInfo(&url, "%cversionId=%s", strchr(url.data, '?') ? '&' : '?',
						 storage_encode_path(record->version_id, false));
	return url.data;
}

static EnvelopePart *
record_part(const char *text, Size len)
{
	EnvelopePart *part = part_make(text, len);
	S3Record	record;
	char	   *object;

	if (!read_record(text, len, &record, &part->fault) ||
		!check_record(&record, &object, &part->fault))
		return part;
	part->control = record.event_name;
	part->control_time = psprintf("%s%s%s", record.event_time ? record.event_time : "",
								  record.sequencer ? " " : "",
								  record.sequencer ? record.sequencer : "");
	part_digest_id(object, strlen(object), &part->control_id);
	part->names_object = true;
	return part;
}

/* ----- the message ----- */

/* A message without an array of records, which is one itself. */
static bool
is_record(const S3Outline *outline)
{
	return begins_with(outline->grid_type, STORAGE_EVENT) ||
		(outline->detail_type && outline->source && strcmp(outline->source, BRIDGE_SOURCE) == 0);
}

static void
on_record(JsonWalk *walk, const char *start, Size len)
{
	List	  **parts = walk->state;

	if (walk->depth != 1)
		return;
	if (list_length(*parts) == MAX_RECORDS)
		fault_set(&walk->stop, REASON_TOO_BIG, "message holds more than %d records",
				  MAX_RECORDS);
	else
		*parts = lappend(*parts, record_part(start, len));
}

static List *
record_parts(const S3Outline *outline, Fault *fault)
{
	static const JsonVisitor visitor = {.value = on_record};
	JsonLimits	limits = {outline->records_len, JSON_MAX_PLAIN_NUMBER};
	List	   *parts = NIL;

	if (json_walk(outline->records, outline->records_len, limits, &visitor, &parts, fault) &&
		parts == NIL)
		record_fault(fault, "is missing");
	return parts;
}

List *
s3_event_parts(const S3Outline *outline, const char *text, Size len)
{
	List	   *parts;
	EnvelopePart *part;

	if (is_record(outline))
		return list_make1(record_part(text, len));
	if (outline->records)
	{
		part = part_make(text, len);
		parts = record_parts(outline, &part->fault);
		return part->fault.sqlstate != 0 ? list_make1(part) : parts;
	}
	if (outline->service == NULL || strcmp(outline->service, "Amazon S3") != 0 ||
		outline->event == NULL || strcmp(outline->event, "s3:TestEvent") != 0)
		return NIL;
	part = part_make(text, len);
	part->control = outline->event;
	if (outline->time)
		part->control_time = outline->time;
	part_digest_id(text, len, &part->control_id);
	return list_make1(part);
}

/* ----- SQL ----- */

/* For damoov.apply_events(): of a stored record. */
Datum
damoov_read_object_event(PG_FUNCTION_ARGS)
{
	Jsonb	   *payload = PG_GETARG_JSONB_P(0);
	char	   *text;
	TupleDesc	desc;
	S3Record	record;
	ParsedTime	time;
	char	   *object;
	char	   *url;
	Fault		fault = {0};
	Datum		values[3] = {0};
	bool		nulls[3] = {true, true, true};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	text = JsonbToCString(NULL, &payload->root, VARSIZE(payload));
	if (read_record(text, strlen(text), &record, &fault) &&
		check_record(&record, &object, &fault) &&
		(url = object_url(&record, object)) != NULL)
	{
		values[0] = CStringGetTextDatum(url);
		nulls[0] = false;
		if (record.event_time &&
			timestamp_parse(record.event_time, strlen(record.event_time), &time) == TIME_OK)
		{
			values[1] = TimestampTzGetDatum(time.at);
			nulls[1] = false;
		}
		if (record.sequencer && strlen(record.sequencer) <= 64 &&
			plain(record.sequencer, "0123456789abcdefABCDEF"))
		{
			values[2] = CStringGetTextDatum(record.sequencer);
			nulls[2] = false;
		}
	}
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}
