/*
 * track.c
 *	  Processed tracks: bytes to checked values, and those to rows.
 *
 * Tables say which member goes to which column and what it must look like;
 * record.c does the rest.  Facts about the fields, and which of them are
 * assumed: docs/damoov-datasets.md.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/fault.h"
#include "base/json.h"
#include "base/sql.h"
#include "base/uuid.h"
#include "compat.h"
#include "dataset/keep.h"
#include "dataset/record.h"
#include "dataset/record_check.h"
#include "dataset/record_store.h"
#include "dataset/record_value.h"
#include "dataset/track.h"
#include "dataset/trip_document.h"
#include "dataset/trip_events.h"
#include "wire/gzip.h"

SQL_FUNCTION(damoov_document_points);
SQL_FUNCTION(damoov_pack_document);

#define TRACK_OK			200 /* Result.Code */

/* ----- points ----- */

/*
 * Between measured points the platform inserts points of the road's geometry.
 * They repeat the Number of the point before, and their MidSpeed, Course and
 * Height are 0.  A measured point at a standstill has MidSpeed 0, too, but
 * keeps its Course and Height; one without a fix may have all three 0, but a
 * Number of its own.  Without a Number, the three zeros alone decide.
 */
static bool
is_filler(const RecordRow *point, const RecordRow *before)
{
	const uint64 needed = MEMBER_BIT(POINT_MID_SPEED) |
		MEMBER_BIT(POINT_COURSE) | MEMBER_BIT(POINT_HEIGHT);

	if ((point->given & needed) != needed ||
		point->value[POINT_MID_SPEED].number != 0 ||
		point->value[POINT_COURSE].number != 0 ||
		point->value[POINT_HEIGHT].number != 0)
		return false;
	if (!row_has(point, POINT_NUMBER))
		return true;
	return before != NULL && row_has(before, POINT_NUMBER) &&
		before->value[POINT_NUMBER].whole == point->value[POINT_NUMBER].whole;
}

static void
finish_point(RecordState *points)
{
	RecordRow  *point = points->row;
	const RecordRow *before = points->count > 1 ?
		record_row(points, points->count - 2) : NULL;

	record_check_position(points, POINT_LATITUDE);
	/* without an alert, AlertValue means nothing */
	if (!row_has(point, POINT_ALERT_TYPE))
		point->given &= ~MEMBER_BIT(POINT_ALERT_VALUE);
	row_set(point, POINT_IS_FILLER,
			(RecordValue) {.flag = is_filler(point, before)});
}

static const Member point_members[] = {
	[POINT_ID] = {"Id", "point_id", KIND_BIGINT, -1e19, 1e19, .none = NO_NUMBER},
	[POINT_NUMBER] = {"Number", "number", KIND_INTEGER, 0, PG_INT32_MAX, .none = NO_NUMBER},
	[POINT_RECORDED_AT] = {"PointDate", "recorded_at", PLAIN(KIND_TIME)},
	[POINT_LATITUDE] = {"Latitude", "latitude", NUMBER(-90, 90)},
	[POINT_LONGITUDE] = {"Longitude", "longitude", NUMBER(-180, 180)},
	[POINT_TOTAL_METERS] = {"TotalMeters", "total_meters", NUMBER(0, 1e8)},
	[POINT_SPEED] = {"Speed", "speed_kmh", NUMBER(0, 2000)},
	[POINT_MID_SPEED] = {"MidSpeed", "mid_speed_ms", NUMBER(0, 600)},
	/* a limit of 0 would make every point one of speeding */
	[POINT_SPEED_LIMIT] = {"SpeedLimit", "speed_limit_kmh", KIND_NUMBER, 1, 500, .none = 999},
	[POINT_ALERT_VALUE] = {"AlertValue", "alert_value_ms2", NUMBER(-1000, 1000)},
	[POINT_LATERAL] = {"Lateral", "lateral_ms2", NUMBER(-1000, 1000)},
	[POINT_COURSE] = {"Course", "course_deg", NUMBER(0, 360)},
	[POINT_YAW] = {"Yaw", "yaw_deg", NUMBER(-1e7, 1e7)},
	[POINT_HEIGHT] = {"Height", "height_mm", NUMBER(-1e6, 1e8)},
	[POINT_SPEED_TYPE] = {"SpeedType", "speed_type", PLAIN(KIND_CODE)},
	[POINT_ALERT_TYPE] = {"AlertType", "alert_type", PLAIN(KIND_CODE)},
	[POINT_CORNERING] = {"Cornering", "cornering", PLAIN(KIND_BOOLEAN)},
	[POINT_PHONE_USAGE] = {"PhoneUsage", "phone_usage", PLAIN(KIND_FLAG)},
	[POINT_IS_FILLER] = DERIVED("is_filler", KIND_BOOLEAN)
};
static const Record point_record = {
	RECORD_MEMBERS(point_members),
	.finish = finish_point
};

/* ----- trips ----- */

/* members that are known by number; the others need none */
typedef enum TripMember
{
	TRIP_CODE,
	TRIP_RESULT,
	TRIP_TRACK,
	TRIP_START_DATE,
	TRIP_START_OFFSET,
	TRIP_END_DATE,
	TRIP_END_OFFSET,
	TRIP_DISTANCE,
	TRIP_DURATION,
	TRIP_POINTS
} TripMember;

/* in the order of the record's lists */
typedef enum TripList
{
	TRIP_LIST_POINTS,
	TRIP_LIST_EVENTS
} TripList;

#define RATING				KIND_NUMBER, 0, 5, -1
#define SCORE				KIND_NUMBER, 0, 100, -1
#define COUNT				KIND_INTEGER, 0, 1e6, -1
#define IN_TRACK			.group = TRIP_TRACK

static const Member trip_members[] = {
	[TRIP_CODE] = {"Code", NULL, PLAIN(KIND_STATUS), .group = TRIP_RESULT},
	[TRIP_RESULT] = {"Result", "result", PLAIN(KIND_ENVELOPE)},
	[TRIP_TRACK] = {"Track", "track", PLAIN(KIND_BODY), .group = TRIP_RESULT},
	[TRIP_START_DATE] = {"StartDate", "started_at", PLAIN(KIND_LOCAL_TIME),
	IN_TRACK},
	[TRIP_START_OFFSET] = OFFSET_OF_TIME("start_utc_offset_min"),
	[TRIP_END_DATE] = {"EndDate", "ended_at", PLAIN(KIND_LOCAL_TIME), IN_TRACK},
	[TRIP_END_OFFSET] = OFFSET_OF_TIME("end_utc_offset_min"),
	[TRIP_DISTANCE] = {"Distance", "distance_km", NUMBER(0, 1e5), IN_TRACK},
	/* stored although negative, with a note: see check_trip */
	[TRIP_DURATION] = {"Duration", "duration_min", NUMBER(-1e6, 1e6), IN_TRACK},
	[TRIP_POINTS] = {"Points", NULL, PLAIN(KIND_LIST), IN_TRACK,
	.target = TRIP_LIST_POINTS},
	{"Status", "status", PLAIN(KIND_TEXT), IN_TRACK},
	{"AccelerationCount", "acceleration_count", COUNT, IN_TRACK},
	{"DecelerationCount", "braking_count", COUNT, IN_TRACK},
	{"AddressStart", "address_start", PLAIN(KIND_TEXT), IN_TRACK},
	{"AddressEnd", "address_end", PLAIN(KIND_TEXT), IN_TRACK},
	{"AddressStartParts", "address_start_parts", PLAIN(KIND_OBJECT), IN_TRACK},
	{"AddressFinishParts", "address_end_parts", PLAIN(KIND_OBJECT), IN_TRACK},
	{"CityStart", "city_start", PLAIN(KIND_TEXT), IN_TRACK},
	{"CityFinish", "city_end", PLAIN(KIND_TEXT), IN_TRACK},
	{"Rating", "rating", RATING, IN_TRACK},
	{"RatingCornering", "rating_cornering", RATING, IN_TRACK},
	{"RatingAcceleration", "rating_acceleration", RATING, IN_TRACK},
	{"RatingBraking", "rating_braking", RATING, IN_TRACK},
	{"RatingSpeeding", "rating_speeding", RATING, IN_TRACK},
	{"RatingPhoneUsage", "rating_phone_usage", RATING, IN_TRACK},
	{"RatingTimeOfDay", "rating_time_of_day", RATING, IN_TRACK},
	{"Rating100", "score", SCORE, IN_TRACK},
	{"RatingCornering100", "score_cornering", SCORE, IN_TRACK},
	{"RatingAcceleration100", "score_acceleration", SCORE, IN_TRACK},
	{"RatingBraking100", "score_braking", SCORE, IN_TRACK},
	{"RatingSpeeding100", "score_speeding", SCORE, IN_TRACK},
	{"RatingPhoneDistraction100", "score_phone_usage", SCORE, IN_TRACK},
	{"RatingTimeOfDay100", "score_time_of_day", SCORE, IN_TRACK},
	{"PhoneUsage", "phone_usage_min", NUMBER(0, 1e6), IN_TRACK},
	{"MidOverSpeedMileage", "mid_speeding_km", NUMBER(0, 1e5), IN_TRACK},
	{"HighOverSpeedMileage", "high_speeding_km", NUMBER(0, 1e5), IN_TRACK},
	{"EcoScore", "eco_score", SCORE, IN_TRACK},
	{"EcoScoreFuel", "eco_score_fuel", SCORE, IN_TRACK},
	{"EcoScoreTyres", "eco_score_tyres", SCORE, IN_TRACK},
	{"EcoScoreBrakes", "eco_score_brakes", SCORE, IN_TRACK},
	{"EcoScoreDepreciation", "eco_score_depreciation", SCORE, IN_TRACK},
	{"TrackOriginCode", "origin", PLAIN(KIND_TEXT), IN_TRACK},
	{"OriginChanged", "origin_changed", PLAIN(KIND_BOOLEAN), IN_TRACK},
	{"ShareType", "share_type", PLAIN(KIND_TEXT), IN_TRACK},
	{"DrivingTips", "driving_tips", PLAIN(KIND_TEXT), IN_TRACK},
	{"BeaconId", "beacon_id", KIND_BIGINT, 0, 1e19, 0, IN_TRACK},
	{"Tags", "tags", PLAIN(KIND_ANY), IN_TRACK},
	{"RatingReason", "rating_reason", PLAIN(KIND_TEXT), IN_TRACK},
	{"TrackToken", NULL, PLAIN(KIND_TOKEN), IN_TRACK}
};

StaticAssertDecl(lengthof(trip_members) <= RECORD_MAX_MEMBERS,
				 "too many members");

static bool
check_envelope(RecordState *trip, const Document *document, Fault *fault)
{
	const RecordRow *row = trip->row;
	int64		code;

	if (!row_has(row, TRIP_CODE))
	{
		if (trip->note[TRIP_CODE][NOTE_NOT_NUMBER] == 0)
			record_note(trip, TRIP_CODE, NOTE_MISSING);
	}
	else if (!json_int64(row->value[TRIP_CODE].text, &code) ||
			 code != TRACK_OK)
		return fault_set(fault, REASON_DATASET_ERROR,
						 "platform answered with code %s instead of the track",
						 row->value[TRIP_CODE].text);
	if (trip->seen & MEMBER_BIT(TRIP_TRACK))
		return true;
	return record_refuse(trip->record, document, "object Result.Track", fault);
}

static bool
check_trip(Content *content, const Document *document, Fault *fault)
{
	RecordState *trip = &content->document;
	const RecordRow *row = trip->row;

	if (!check_envelope(trip, document, fault))
		return false;
	/* what is odd about values together */
	if ((trip->seen & MEMBER_BIT(TRIP_POINTS)) == 0)
		record_note(trip, TRIP_POINTS, NOTE_MISSING);
	record_check_end(trip, TRIP_START_DATE, TRIP_END_DATE);
	if (row_has(row, TRIP_DURATION) && row->value[TRIP_DURATION].number < 0)
		record_note(trip, TRIP_DURATION, NOTE_NEGATIVE);
	trip_events_derive(&content->lists[TRIP_LIST_POINTS],
					   &content->lists[TRIP_LIST_EVENTS]);
	return true;
}

const Record track_record = {
	RECORD_MEMBERS(trip_members),
	.lists = {[TRIP_LIST_POINTS] = &point_record, [TRIP_LIST_EVENTS] = &trip_event_record},
	.what = "track",
	.what_kind = "processed track",
	.codes = {TRIP_EVENT_CODES},
	.check = check_trip
};

/* ----- storing ----- */

static RecordRows points_table = {.name = "trip_points"};
static RecordRows events_table = {.name = "trip_events", .derived = true};

static RecordTable trips_table = {
	.name = "trips",
	.id = "trip_id",
	.stored_at = "stored_at",
	.record = &track_record,
	.lists = {[TRIP_LIST_POINTS] = &points_table, [TRIP_LIST_EVENTS] = &events_table}
};

typedef struct Box
{
	int			fillers;
	int			located;		/* points with a position */
	double		min_latitude;
	double		min_longitude;
	double		max_latitude;
	double		max_longitude;
} Box;

static Box
measure_points(const RecordState *points)
{
	Box			box = {0};

	for (int i = 0; i < points->count; i++)
	{
		const RecordRow *point = record_row(points, i);
		double		latitude = point->value[POINT_LATITUDE].number;
		double		longitude = point->value[POINT_LONGITUDE].number;

		box.fillers += point->value[POINT_IS_FILLER].flag;
		if (!row_has(point, POINT_LATITUDE))
			continue;
		if (box.located++ == 0)
		{
			box.min_latitude = box.max_latitude = latitude;
			box.min_longitude = box.max_longitude = longitude;
			continue;
		}
		box.min_latitude = Min(box.min_latitude, latitude);
		box.max_latitude = Max(box.max_latitude, latitude);
		box.min_longitude = Min(box.min_longitude, longitude);
		box.max_longitude = Max(box.max_longitude, longitude);
	}
	return box;
}

/* What is known of a track: its newest enrichment, and whether it lives. */
typedef struct TrackState
{
	bool		lives;
	Datum		enriched_at;
	bool		never_enriched;
	Datum		revision;
} TrackState;

static TrackState
track_state(const pg_uuid_t *track_token, int64 user_id)
{
	static SqlPlan plan = SQL_PLAN(
		"SELECT n.enriched_at, n.revision, damoov.track_lives($1, $2, n.enriched_at) "
		"FROM (SELECT damoov.enriched_at($1, $2) AS enriched_at, greatest(count(*), "
		"(SELECT t.revision FROM damoov.trips AS t WHERE t.track_token = $1), 1)::int AS revision "
		"FROM damoov.events AS e "
		"WHERE e.event = 'TrackEnrichmentFinished' AND e.object_id = $1 "
		"AND e.user_id IS NOT DISTINCT FROM $2) AS n",
		UUIDOID, INT8OID);
	Datum		arguments[] = {UUIDPGetDatum(track_token), Int64GetDatum(user_id)};
	TrackState	state;

	sql_run(&plan, arguments, NULL);
	state.enriched_at = sql_value(0, 1, &state.never_enriched);
	state.revision = sql_value(0, 2, NULL);
	state.lives = DatumGetBool(sql_value(0, 3, NULL));
	return state;
}

/* document: in place of the rows of the points, NULL for the rows */
static int64
store(const Content *content, const pg_uuid_t *track_token, int64 user_id,
	  const TripDocument *document)
{
	TrackState	state = track_state(track_token, user_id);
	const RecordState *points = &content->lists[TRIP_LIST_POINTS];
	Box			box = measure_points(points);
	bool		nowhere = box.located == 0;
	const RecordColumn columns[] = {
		{"track_token", UUIDOID, .value = UUIDPGetDatum(track_token)},
		{"enriched_at", TIMESTAMPTZOID, state.enriched_at, state.never_enriched},
		{"revision", INT4OID, .value = state.revision},
		{"point_count", INT4OID, .value = Int32GetDatum(points->count)},
		{"filler_count", INT4OID, .value = Int32GetDatum(box.fillers)},
		{"min_latitude", FLOAT8OID, Float8GetDatum(box.min_latitude), nowhere},
		{"min_longitude", FLOAT8OID, Float8GetDatum(box.min_longitude), nowhere},
		{"max_latitude", FLOAT8OID, Float8GetDatum(box.max_latitude), nowhere},
		{"max_longitude", FLOAT8OID, Float8GetDatum(box.max_longitude), nowhere}
	};

	Content		rows = *content;
	int64		trip_id;

	if (!state.lives)
		return 0;
	if (document)
		rows.lists[TRIP_LIST_POINTS].count = 0;
	trip_id = record_store(&trips_table, &rows, user_id, columns, lengthof(columns));
	trip_document_keep(trip_id, document);
	return trip_id;
}

int64
track_store(const void *content, const pg_uuid_t *track_token, int64 user_id)
{
	return store(content, track_token, user_id, NULL);
}

int64
track_store_document(const void *content, const pg_uuid_t *track_token, int64 user_id,
					 const TripDocument *document)
{
	return store(content, track_token, user_id, document);
}

/* ----- points of a document ----- */

/*
 * Reads what is kept of a track into memory; NULL with the fault.  The token of
 * the person does not stand in it any more.
 */
static Content *
read_kept(const char *text, Size len, Fault *fault)
{
	Document	document = {text, len, len, NULL, ""};

	return record_read(&track_record, &document, fault);
}

Datum
damoov_document_points(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext work = AllocSetContextCreate(caller, "damoov points of a document",
											   ALLOCSET_DEFAULT_SIZES);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Fault		fault = {0};
	Content    *content;
	char	   *text;
	Size		len;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	MemoryContextSwitchTo(work);
	text = trip_document_text(PG_GETARG_BYTEA_PP(1), PG_GETARG_INT64(0), &len);
	content = read_kept(text, len, &fault);
	if (content == NULL)
		fault_raise(&fault);
	record_list_rows(&points_table, trips_table.id, PG_GETARG_INT64(0), &content->lists[TRIP_LIST_POINTS],
					 &content->texts, result->setDesc, result->setResult);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
	return (Datum) 0;
}

/* NULL when it could not be read: points of rows are not given up for it. */
Datum
damoov_pack_document(PG_FUNCTION_ARGS)
{
	const char *original = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char		device_token[UUID_TEXT_SIZE];
	Fault		fault = {0};
	Content    *content = read_kept(original, strlen(original), &fault);
	char	   *kept;

	if (content == NULL)
		PG_RETURN_NULL();
	uuid_format(PG_GETARG_UUID_P(1), device_token);
	kept = keep_document(original, strlen(original), device_token, content->names_person);
	if (kept == NULL)
		kept = unconstify(char *, original);
	PG_RETURN_BYTEA_P(gzip_compress(kept, strlen(kept)));
}
