/*
 * raw_store.c
 *	  Raw tracks: checked values to rows.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "dataset/raw_data.h"
#include "dataset/record_store.h"

/* columns of damoov.raw_tracks that are not one member each */
typedef enum RawColumn
{
	RAW_COL_TRACK_TOKEN,
	RAW_COL_USER_ID,
	RAW_COL_FORMAT,
	RAW_COL_INSTANCE_ID,
	RAW_COL_S3_URL,
	RAW_COL_S3_KEY,
	RAW_COL_POINT_COUNT,
	RAW_COL_EVENT_COUNT,
	RAW_COL_NOTES,
	RAW_COL_EXTRA,
	RAW_COL_STORED_AT,
	RAW_COLUMNS
} RawColumn;

static const BulkColumn raw_columns[RAW_COLUMNS] = {
	[RAW_COL_TRACK_TOKEN] = {"track_token", UUIDOID},
	[RAW_COL_USER_ID] = {"user_id", INT8OID},
	[RAW_COL_FORMAT] = {"format", INT4OID},
	[RAW_COL_INSTANCE_ID] = {"instance_id", UUIDOID},
	[RAW_COL_S3_URL] = {"s3_url", TEXTOID},
	[RAW_COL_S3_KEY] = {"s3_key", TEXTOID},
	[RAW_COL_POINT_COUNT] = {"point_count", INT4OID},
	[RAW_COL_EVENT_COUNT] = {"event_count", INT4OID},
	[RAW_COL_NOTES] = {"notes", TEXTARRAYOID},
	[RAW_COL_EXTRA] = {"extra", JSONBOID},
	[RAW_COL_STORED_AT] = {"stored_at", TIMESTAMPTZOID}
};

static RecordTable raw_table = {
	.name = "raw_tracks",
	.key = "track_token",
	.id = "raw_track_id",
	.columns = raw_columns,
	.ncolumns = lengthof(raw_columns),
	.record = &raw_record
};

static RecordRows points_table = {
	.table.name = "raw_points",
	.parent = "raw_track_id",
	.record = &raw_point_record
};

static RecordRows events_table = {
	.table.name = "raw_events",
	.parent = "raw_track_id",
	.record = &raw_event_record
};

static SqlPlan delete_points = {
	.text = "DELETE FROM damoov.raw_points WHERE raw_track_id = $1",
	.nargs = 1,
	.argtypes = {INT8OID}
};

static SqlPlan delete_events = {
	.text = "DELETE FROM damoov.raw_events WHERE raw_track_id = $1",
	.nargs = 1,
	.argtypes = {INT8OID}
};

static bool
text_datum(const char *text, Datum *value)
{
	if (text == NULL)
		return false;
	*value = CStringGetTextDatum(text);
	return true;
}

static int64
store_track(const RawTrack *raw, const pg_uuid_t *track_token, int64 user_id)
{
	Datum		values[RAW_COLUMNS];
	bool		isnull[RAW_COLUMNS] = {0};

	values[RAW_COL_TRACK_TOKEN] = UUIDPGetDatum(track_token);
	values[RAW_COL_USER_ID] = Int64GetDatum(user_id);
	values[RAW_COL_FORMAT] = Int32GetDatum(raw->format);
	values[RAW_COL_INSTANCE_ID] = UUIDPGetDatum(&raw->instance);
	isnull[RAW_COL_INSTANCE_ID] = !raw->has_instance;
	isnull[RAW_COL_S3_URL] = !text_datum(raw->s3_url, &values[RAW_COL_S3_URL]);
	isnull[RAW_COL_S3_KEY] = !text_datum(raw->s3_key, &values[RAW_COL_S3_KEY]);
	values[RAW_COL_POINT_COUNT] = Int32GetDatum(raw->points->count);
	values[RAW_COL_EVENT_COUNT] = Int32GetDatum(raw->events->count);
	isnull[RAW_COL_NOTES] = !record_notes_datum(raw->notes, raw->nnotes,
												&values[RAW_COL_NOTES]);
	isnull[RAW_COL_EXTRA] = raw->extra == NULL ||
		!record_extra_datum(raw->extra, 0, &values[RAW_COL_EXTRA]);
	values[RAW_COL_STORED_AT] =
		TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	return record_upsert(&raw_table, values, isnull, raw->track);
}

int64
raw_store(const RawTrack *raw, const pg_uuid_t *track_token, int64 user_id)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext work = AllocSetContextCreate(caller, "damoov raw storing",
											   ALLOCSET_DEFAULT_SIZES);
	int64		raw_track_id;
	Datum		id;

	MemoryContextSwitchTo(work);
	raw_track_id = store_track(raw, track_token, user_id);
	id = Int64GetDatum(raw_track_id);
	sql_run(&delete_points, &id, NULL);
	sql_run(&delete_events, &id, NULL);
	record_insert_rows(&points_table, raw_track_id, raw->points);
	record_insert_rows(&events_table, raw_track_id, raw->events);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
	return raw_track_id;
}
