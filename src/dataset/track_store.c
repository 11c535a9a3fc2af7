/*
 * track_store.c
 *	  Processed tracks: checked values to rows.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "dataset/record_store.h"
#include "dataset/track_data.h"

/* columns of damoov.trips that are not one member each, before the others */
typedef enum TripColumn
{
	TRIP_COL_TRACK_TOKEN,
	TRIP_COL_USER_ID,
	TRIP_COL_ENRICHED_AT,
	TRIP_COL_REVISION,
	TRIP_COL_POINT_COUNT,
	TRIP_COL_FILLER_COUNT,
	TRIP_COL_MIN_LATITUDE,
	TRIP_COL_MIN_LONGITUDE,
	TRIP_COL_MAX_LATITUDE,
	TRIP_COL_MAX_LONGITUDE,
	TRIP_COL_NOTES,
	TRIP_COL_EXTRA,
	TRIP_COL_STORED_AT,
	TRIP_COLUMNS
} TripColumn;

static const BulkColumn trip_columns[TRIP_COLUMNS] = {
	[TRIP_COL_TRACK_TOKEN] = {"track_token", UUIDOID},
	[TRIP_COL_USER_ID] = {"user_id", INT8OID},
	[TRIP_COL_ENRICHED_AT] = {"enriched_at", TIMESTAMPTZOID},
	[TRIP_COL_REVISION] = {"revision", INT4OID},
	[TRIP_COL_POINT_COUNT] = {"point_count", INT4OID},
	[TRIP_COL_FILLER_COUNT] = {"filler_count", INT4OID},
	[TRIP_COL_MIN_LATITUDE] = {"min_latitude", FLOAT8OID},
	[TRIP_COL_MIN_LONGITUDE] = {"min_longitude", FLOAT8OID},
	[TRIP_COL_MAX_LATITUDE] = {"max_latitude", FLOAT8OID},
	[TRIP_COL_MAX_LONGITUDE] = {"max_longitude", FLOAT8OID},
	[TRIP_COL_NOTES] = {"notes", TEXTARRAYOID},
	[TRIP_COL_EXTRA] = {"extra", JSONBOID},
	[TRIP_COL_STORED_AT] = {"stored_at", TIMESTAMPTZOID}
};

/* in the order of damoov.trip_points */
static const BulkColumn point_columns[] = {
	{"trip_id", INT8OID},
	{"seq", INT4OID},
	{"point_id", INT8OID},
	{"number", INT4OID},
	{"recorded_at", TIMESTAMPTZOID},
	{"latitude", FLOAT8OID},
	{"longitude", FLOAT8OID},
	{"total_meters", FLOAT8OID},
	{"speed_kmh", FLOAT8OID},
	{"mid_speed_ms", FLOAT8OID},
	{"speed_limit_kmh", FLOAT8OID},
	{"alert_value_ms2", FLOAT8OID},
	{"lateral_ms2", FLOAT8OID},
	{"course_deg", FLOAT8OID},
	{"yaw_deg", FLOAT8OID},
	{"height_mm", FLOAT8OID},
	{"speed_type", TEXTOID},
	{"alert_type", TEXTOID},
	{"cornering", BOOLOID},
	{"phone_usage", BOOLOID},
	{"is_filler", BOOLOID},
	{"extra", JSONBOID}
};

static const BulkColumn event_columns[] = {
	{"trip_id", INT8OID},
	{"seq", INT4OID},
	{"kind", TEXTOID},
	{"first_seq", INT4OID},
	{"last_seq", INT4OID},
	{"started_at", TIMESTAMPTZOID},
	{"ended_at", TIMESTAMPTZOID},
	{"latitude", FLOAT8OID},
	{"longitude", FLOAT8OID},
	{"length_m", FLOAT8OID},
	{"peak_ms2", FLOAT8OID},
	{"max_speed_kmh", FLOAT8OID},
	{"max_excess_kmh", FLOAT8OID}
};

static RecordTable trips_table = {
	.name = "trips",
	.key = "track_token",
	.id = "trip_id",
	.columns = trip_columns,
	.ncolumns = lengthof(trip_columns),
	.record = &track_record
};

static BulkTable points_table = {
	.name = "trip_points",
	.columns = point_columns,
	.ncolumns = lengthof(point_columns)
};

static BulkTable events_table = {
	.name = "trip_events",
	.columns = event_columns,
	.ncolumns = lengthof(event_columns)
};

static SqlPlan delete_points = {
	.text = "DELETE FROM damoov.trip_points WHERE trip_id = $1",
	.nargs = 1,
	.argtypes = {INT8OID}
};

static SqlPlan delete_events = {
	.text = "DELETE FROM damoov.trip_events WHERE trip_id = $1",
	.nargs = 1,
	.argtypes = {INT8OID}
};

/* state of the fill callbacks */
typedef struct PointRows
{
	int64		trip_id;
	const Track *track;
	Datum		text[MAX_TEXTS];
} PointRows;

typedef struct EventRows
{
	int64		trip_id;
	const TripEvent *events;
	Datum		kind[TRIP_EVENT_KINDS];
} EventRows;

static int64
store_trip(const Track *track, const TrackKey *key)
{
	Datum		values[TRIP_COLUMNS];
	bool		isnull[TRIP_COLUMNS] = {0};

	values[TRIP_COL_TRACK_TOKEN] = UUIDPGetDatum(&key->token);
	values[TRIP_COL_USER_ID] = Int64GetDatum(key->user_id);
	values[TRIP_COL_ENRICHED_AT] = TimestampTzGetDatum(key->enriched_at);
	isnull[TRIP_COL_ENRICHED_AT] = !key->has_enriched_at;
	values[TRIP_COL_REVISION] = Int32GetDatum(key->revision);
	values[TRIP_COL_POINT_COUNT] = Int32GetDatum(track->npoints);
	values[TRIP_COL_FILLER_COUNT] = Int32GetDatum(track->nfillers);
	values[TRIP_COL_MIN_LATITUDE] = Float8GetDatum(track->box.min_latitude);
	values[TRIP_COL_MIN_LONGITUDE] = Float8GetDatum(track->box.min_longitude);
	values[TRIP_COL_MAX_LATITUDE] = Float8GetDatum(track->box.max_latitude);
	values[TRIP_COL_MAX_LONGITUDE] = Float8GetDatum(track->box.max_longitude);
	for (int i = TRIP_COL_MIN_LATITUDE; i <= TRIP_COL_MAX_LONGITUDE; i++)
		isnull[i] = track->nlocated == 0;
	isnull[TRIP_COL_NOTES] = !record_notes_datum(track->notes, track->nnotes,
												 &values[TRIP_COL_NOTES]);
	isnull[TRIP_COL_EXTRA] = track->extra == NULL ||
		!record_extra_datum(track->extra, 0, &values[TRIP_COL_EXTRA]);
	values[TRIP_COL_STORED_AT] =
		TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	return record_upsert(&trips_table, values, isnull, track->trip);
}

static void
fill_point(void *state, int64 row, Datum *values, bool *isnull)
{
	const PointRows *rows = state;
	const TrackPoint *point = &rows->track->points[row];
	Datum	   *value = values;
	int			fields = 2;		/* columns before the first PointField */

	*value++ = Int64GetDatum(rows->trip_id);
	*value++ = Int32GetDatum(point->seq);
	*value++ = Int64GetDatum(point->point_id);
	*value++ = Int32GetDatum(point->number);
	*value++ = TimestampTzGetDatum(point->recorded_at);
	*value++ = Float8GetDatum(point->latitude);
	*value++ = Float8GetDatum(point->longitude);
	*value++ = Float8GetDatum(point->total_meters);
	*value++ = Float8GetDatum(point->speed_kmh);
	*value++ = Float8GetDatum(point->mid_speed_ms);
	*value++ = Float8GetDatum(point->speed_limit_kmh);
	*value++ = Float8GetDatum(point->alert_value_ms2);
	*value++ = Float8GetDatum(point->lateral_ms2);
	*value++ = Float8GetDatum(point->course_deg);
	*value++ = Float8GetDatum(point->yaw_deg);
	*value++ = Float8GetDatum(point->height_mm);
	*value++ = rows->text[point->speed_type];
	*value++ = rows->text[point->alert_type];
	*value++ = BoolGetDatum(point->cornering);
	*value++ = BoolGetDatum(point->phone_usage);
	for (int field = 0; field < POINT_FIELDS; field++)
		isnull[fields + field] = !point_has(point, field);
	*value++ = BoolGetDatum(point->is_filler);
	isnull[value - values] = !record_extra_datum(rows->track->extras,
												 point->extra, value);
}

static void
store_points(const Track *track, int64 trip_id)
{
	PointRows	rows = {0};

	rows.trip_id = trip_id;
	rows.track = track;
	for (int i = 1; i < track->texts.count; i++)
		rows.text[i] = CStringGetTextDatum(track->texts.text[i]);
	bulk_insert(&points_table, track->npoints, fill_point, &rows);
}

static void
fill_event(void *state, int64 row, Datum *values, bool *isnull)
{
	const EventRows *rows = state;
	const TripEvent *event = &rows->events[row];
	const TrackPoint *first = event->first;
	TimestampTz ended_at = 0;
	double		length_m = 0;

	values[0] = Int64GetDatum(rows->trip_id);
	values[1] = Int32GetDatum((int32) row);
	values[2] = rows->kind[event->kind];
	values[3] = Int32GetDatum(first->seq);
	values[4] = Int32GetDatum(event->last->seq);
	values[5] = TimestampTzGetDatum(first->recorded_at);
	isnull[5] = !point_has(first, POINT_RECORDED_AT);
	isnull[6] = !trip_event_ended_at(event, &ended_at);
	values[6] = TimestampTzGetDatum(ended_at);
	values[7] = Float8GetDatum(first->latitude);
	isnull[7] = !point_has(first, POINT_LATITUDE);
	values[8] = Float8GetDatum(first->longitude);
	isnull[8] = !point_has(first, POINT_LONGITUDE);
	isnull[9] = !trip_event_length(event, &length_m);
	values[9] = Float8GetDatum(length_m);
	values[10] = Float8GetDatum(event->peak_ms2);
	isnull[10] = !event->has_peak;
	values[11] = Float8GetDatum(event->max_speed_kmh);
	isnull[11] = !event->has_max_speed;
	values[12] = Float8GetDatum(event->max_excess_kmh);
	isnull[12] = event->kind != TRIP_SPEEDING;
}

static void
store_events(const Track *track, int64 trip_id)
{
	EventRows	rows = {0};
	int			nevents;

	rows.trip_id = trip_id;
	rows.events = trip_events_derive(track->points, track->npoints, &nevents);
	for (int i = 0; i < TRIP_EVENT_KINDS; i++)
		rows.kind[i] = CStringGetTextDatum(trip_event_name(i));
	bulk_insert(&events_table, nevents, fill_event, &rows);
}

int64
track_store(const Track *track, const TrackKey *key)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext work = AllocSetContextCreate(caller, "damoov track storing",
											   ALLOCSET_DEFAULT_SIZES);
	int64		trip_id;
	Datum		id;

	MemoryContextSwitchTo(work);
	trip_id = store_trip(track, key);
	id = Int64GetDatum(trip_id);
	sql_run(&delete_points, &id, NULL);
	sql_run(&delete_events, &id, NULL);
	store_points(track, trip_id);
	store_events(track, trip_id);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
	return trip_id;
}
