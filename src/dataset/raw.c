/*
 * raw.c
 *	  Raw tracks, both formats: bytes to checked values, and those to rows.
 *
 * The tables here say which member goes to which column and what it must look
 * like; record.c does the rest.  Facts about the fields, and which of them are
 * assumed: docs/damoov-datasets.md.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "base/fault.h"
#include "base/json.h"
#include "base/sql.h"
#include "base/uuid.h"
#include "dataset/event_members.h"
#include "dataset/raw.h"
#include "dataset/record.h"
#include "dataset/record_check.h"
#include "dataset/record_store.h"
#include "dataset/record_value.h"

#define RAW_OK				200 /* status_code */
#define RAW_NOT_FOUND		404
#define RAW_GONE			410

/* ----- points ----- */

typedef enum RawPointMember
{
	RAW_POINT_NUMBER,
	RAW_POINT_LATITUDE,
	RAW_POINT_LONGITUDE,
	RAW_POINT_QUANTILE
	/* the others are not referred to by number */
} RawPointMember;

#define ACCELERATION		NUMBER(-10000, 10000)
#define GYROSCOPE			NUMBER(-10000, 10000)
#define SENSOR_QUANTILES	KIND_SPREAD4, -10000, 10000, NO_NUMBER, \
	.group = RAW_POINT_QUANTILE

/* in the order of damoov.raw_points, after raw_track_id and seq */
static const Member point_members[] = {
	[RAW_POINT_NUMBER] = {"Number", "number", KIND_INTEGER, 0, PG_INT32_MAX, .none = NO_NUMBER},
	[RAW_POINT_LATITUDE] = {"Latitude", "latitude", NUMBER(-90, 90)},
	[RAW_POINT_LONGITUDE] = {"Longitude", "longitude", NUMBER(-180, 180)},
	[RAW_POINT_QUANTILE] = {"Quantile", NULL, PLAIN(KIND_GROUP)},
	{"PointDate", "recorded_at", PLAIN(KIND_TIME)},
	{"TickTimestamp", "ticked_at", EPOCH(KIND_EPOCH_S)},
	{"TotalMeters", "total_meters", NUMBER(0, 1e8)},
	{"Speed", "speed_kmh", NUMBER(0, 2000)},
	{"MidSpeed", "mid_speed_ms", NUMBER(0, 600)},
	{"Accuracy", "accuracy_m", NUMBER(0, 1e7)},
	{"Height", "height_mm", NUMBER(-1e6, 1e8)},
	{"Course", "course_deg", NUMBER(0, 360)},
	{"Yaw", "yaw_deg", NUMBER(-1e7, 1e7)},
	{"Lateral", "lateral_ms2", NUMBER(-1000, 1000)},
	{"Acceleration", "acceleration_ms2", ACCELERATION},
	{"Deceleration", "deceleration_ms2", ACCELERATION},
	{"AccelerationX", "acceleration_x_ms2", ACCELERATION},
	{"AccelerationY", "acceleration_y_ms2", ACCELERATION},
	{"AccelerationZ", "acceleration_z_ms2", ACCELERATION},
	{"AccelerationXOriginal", "acceleration_x_original_ms2", ACCELERATION},
	{"AccelerationYOriginal", "acceleration_y_original_ms2", ACCELERATION},
	{"AccelerationZOriginal", "acceleration_z_original_ms2", ACCELERATION},
	{"GyroscopeX", "gyroscope_x_rad_s", GYROSCOPE},
	{"GyroscopeY", "gyroscope_y_rad_s", GYROSCOPE},
	{"GyroscopeZ", "gyroscope_z_rad_s", GYROSCOPE},
	{"GyroscopeXOriginal", "gyroscope_x_original_rad_s", GYROSCOPE},
	{"GyroscopeYOriginal", "gyroscope_y_original_rad_s", GYROSCOPE},
	{"GyroscopeZOriginal", "gyroscope_z_original_rad_s", GYROSCOPE},
	{"AccelerationX", "acceleration_x_quantiles_ms2", SENSOR_QUANTILES},
	{"AccelerationY", "acceleration_y_quantiles_ms2", SENSOR_QUANTILES},
	{"AccelerationZ", "acceleration_z_quantiles_ms2", SENSOR_QUANTILES},
	{"GyroscopeX", "gyroscope_x_quantiles_rad_s", SENSOR_QUANTILES},
	{"GyroscopeY", "gyroscope_y_quantiles_rad_s", SENSOR_QUANTILES},
	{"GyroscopeZ", "gyroscope_z_quantiles_rad_s", SENSOR_QUANTILES},
	/* yes or no in one published model, a number in two others */
	{"EstablishedIndexA", "established_index_a", KIND_DEGREE, -1e9, 1e9, .none = NO_NUMBER},
	{"EstablishedIndexB", "established_index_b", KIND_DEGREE, -1e9, 1e9, .none = NO_NUMBER},
	{"DeviceBlocked", "device_blocked", PLAIN(KIND_FLAG)},
	{"ScreenOn", "screen_on", PLAIN(KIND_FLAG)},
	{"VehicleIndicators", "vehicle_indicators", PLAIN(KIND_ANY)}
};

static void
finish_point(RecordState *state)
{
	record_check_position(state, RAW_POINT_LATITUDE);
}

static const Record point_record = {
	RECORD_MEMBERS(point_members),
	.finish = finish_point
};

/* ----- events ----- */

static const Member event_members[] = {
	[EVENT_ID] = {"Id", "event_token", PLAIN(KIND_UUID)},
	EVENT_MEMBERS,
	{"PrevEventSpeed", "speed_previous_ms", EVENT_SPEED}
};

static void
finish_event(RecordState *state)
{
	record_check_position(state, EVENT_START_LATITUDE);
	record_check_position(state, EVENT_END_LATITUDE);
}

static const Record event_record = {
	RECORD_MEMBERS(event_members),
	.finish = finish_event
};

/* ----- the track ----- */

typedef enum RawMember
{
	RAW_STATUS_CODE,
	RAW_SUCCESS,
	RAW_RESULT,
	RAW_TRACK,
	RAW_S3_LOCATION,
	RAW_S3_URL,
	RAW_S3_KEY,
	RAW_START_DATE,
	RAW_START_OFFSET,
	RAW_END_DATE,
	RAW_END_OFFSET,
	RAW_INSTANCE_ID,
	RAW_COMPANY_ID,
	RAW_POINTS
	/* the others need no name */
} RawMember;

/* in the order of the record's lists */
typedef enum RawList
{
	RAW_LIST_POINTS,
	RAW_LIST_EVENTS
} RawList;

#define IN_RESULT			.group = RAW_RESULT
#define IN_TRACK			.group = RAW_TRACK
#define IN_S3				.group = RAW_S3_LOCATION

static const Member raw_members[] = {
	[RAW_STATUS_CODE] = {"status_code", NULL, PLAIN(KIND_STATUS)},
	[RAW_SUCCESS] = {"success", NULL, PLAIN(KIND_BOOLEAN)},
	[RAW_RESULT] = {"result", "result", PLAIN(KIND_ENVELOPE)},
	/* called TripData in format 2 */
	[RAW_TRACK] = {"Track", "track", PLAIN(KIND_BODY)},
	/* URL and key contain the person's credential, and are stored without it */
	[RAW_S3_LOCATION] = {"S3Location", NULL, PLAIN(KIND_CLOSED_GROUP), IN_RESULT},
	[RAW_S3_URL] = {"S3Url", NULL, PLAIN(KIND_TEXT), IN_S3},
	[RAW_S3_KEY] = {"Key", NULL, PLAIN(KIND_TEXT), IN_S3},
	[RAW_START_DATE] = {"StartDate", "started_at", PLAIN(KIND_LOCAL_TIME), IN_TRACK},
	[RAW_START_OFFSET] = OFFSET_OF_TIME("start_utc_offset_min"),
	[RAW_END_DATE] = {"EndDate", "ended_at", PLAIN(KIND_LOCAL_TIME), IN_TRACK},
	[RAW_END_OFFSET] = OFFSET_OF_TIME("end_utc_offset_min"),
	[RAW_INSTANCE_ID] = {"InstanceId", NULL, PLAIN(KIND_UUID), IN_TRACK},
	[RAW_COMPANY_ID] = {"CompanyId", "company_id", KIND_BIGINT, -1e19, 1e19, 0, IN_TRACK},
	[RAW_POINTS] = {"Points", NULL, PLAIN(KIND_LIST), IN_TRACK,
	.target = RAW_LIST_POINTS},
	{"Events", NULL, PLAIN(KIND_LIST), IN_TRACK, .target = RAW_LIST_EVENTS},
	{"message", NULL, PLAIN(KIND_IGNORED)},
	{"error", NULL, PLAIN(KIND_EXTRA)},
	{"TrackToken", NULL, PLAIN(KIND_TOKEN), IN_RESULT},
	{"TripData", NULL, PLAIN(KIND_ALIAS), IN_RESULT, .target = RAW_TRACK},
	{"Bucket", "s3_bucket", PLAIN(KIND_TEXT), IN_S3},
	{"TrackToken", NULL, PLAIN(KIND_TOKEN), IN_TRACK},
	{"StartReason", "start_reason", PLAIN(KIND_TEXT), IN_TRACK},
	{"StopReason", "stop_reason", PLAIN(KIND_TEXT), IN_TRACK},
	{"CompanyID", NULL, PLAIN(KIND_ALIAS), IN_TRACK, .target = RAW_COMPANY_ID},
	{"Tags", "tags", PLAIN(KIND_ANY), IN_TRACK},
	{"LastKnownPoints", "last_known_points", PLAIN(KIND_ANY), IN_TRACK},
	/* the name in format 2 is not published */
	{"Waypoints", NULL, PLAIN(KIND_ALIAS), IN_TRACK, .target = RAW_POINTS},
	{"WayPoints", NULL, PLAIN(KIND_ALIAS), IN_TRACK, .target = RAW_POINTS}
};

/* ----- the whole ----- */

static bool
check_status(const RecordRow *row, Fault *fault)
{
	const char *status = row->value[RAW_STATUS_CODE].text;
	int64		code;

	if (row_has(row, RAW_STATUS_CODE) &&
		(!json_int64(status, &code) || code != RAW_OK))
	{
		bool		gone = json_int64(status, &code) &&
			(code == RAW_NOT_FOUND || code == RAW_GONE);

		return fault_set(fault, gone ? REASON_DATASET_GONE : REASON_DATASET_ERROR,
						 "platform answered with code %s instead of the track", status);
	}
	if (row_has(row, RAW_SUCCESS) && !row->value[RAW_SUCCESS].flag)
		return fault_set(fault, REASON_DATASET_ERROR,
						 "platform answered without success instead of the track");
	return true;
}

static bool
check_track(Content *content, const Document *document, Fault *fault)
{
	RecordState *track = &content->document;

	if (!check_status(track->row, fault))
		return false;
	if ((track->seen & MEMBER_BIT(RAW_TRACK)) == 0)
		return record_refuse(track->record, document,
							 "object Track or result.TripData", fault);
	if ((track->seen & MEMBER_BIT(RAW_POINTS)) == 0)
		record_note(track, RAW_POINTS, NOTE_MISSING);
	record_check_end(track, RAW_START_DATE, RAW_END_DATE);
	return true;
}

const Record raw_record = {
	RECORD_MEMBERS(raw_members),
	.lists = {[RAW_LIST_POINTS] = &point_record, [RAW_LIST_EVENTS] = &event_record},
	.what = "track",
	.what_kind = "raw track",
	.check = check_track
};

/* The end of the ids, in any spelling, that stand here and overlap. */
static const char *
spelled_ids_end(const char *at, const char *end)
{
	const char *behind = at;

	do
	{
		pg_uuid_t	uuid;
		Size		len = uuid_spelled(at, end, &uuid);

		behind = Max(behind, at + len);
	} while (++at < behind);
	return behind;
}

/*
 * A path like trips/filtered/{InstanceId}/{UserId}/{TrackToken}.json, with the
 * person's credential in it.  Only the ids that are known to be something else
 * stay; a star takes the place of all others.
 */
static char *
hide_ids(const char *path, const pg_uuid_t *track, const pg_uuid_t *instance)
{
	/* the query may be a signature: it is cut off */
	const char *end = path + strcspn(path, "?");
	StringInfoData text;

	initStringInfo(&text);
	while (path < end)
	{
		pg_uuid_t	uuid;
		int			length = uuid_prefix(path, &uuid);
		const char *hidden = spelled_ids_end(path, end);

		if (length > 0 && (uuid_equal(&uuid, track) ||
						   (instance && uuid_equal(&uuid, instance))))
		{
			appendBinaryStringInfo(&text, path, length);
			path += length;
		}
		else if (hidden > path)
		{
			appendStringInfoChar(&text, '*');
			path = hidden;
		}
		else
			appendStringInfoChar(&text, *path++);
	}
	return text.data;
}

bool
raw_ids_of_key(const char *key, pg_uuid_t *instance, pg_uuid_t *user)
{
	static const char start[] = "trips/filtered/";
	int			length;

	if (strncmp(key, start, strlen(start)) != 0)
		return false;
	key += strlen(start);
	length = uuid_prefix(key, instance);
	if (length == 0 || key[length] != '/')
		return false;
	key += length + 1;
	length = uuid_prefix(key, user);
	return length > 0 && key[length] == '/';
}

/* ----- storing ----- */

static RecordRows points_table = {.name = "raw_points"};
static RecordRows events_table = {.name = "raw_events"};

static RecordTable raw_table = {
	.name = "raw_tracks",
	.id = "raw_track_id",
	.stored_at = "stored_at",
	.record = &raw_record,
	.lists = {[RAW_LIST_POINTS] = &points_table, [RAW_LIST_EVENTS] = &events_table}
};

/* The instance that the track names, else that in its path; false: neither does. */
static bool
find_instance(const RecordRow *row, pg_uuid_t *instance)
{
	pg_uuid_t	user;

	if (row_has(row, RAW_INSTANCE_ID))
	{
		*instance = *row->value[RAW_INSTANCE_ID].uuid;
		return true;
	}
	return row_has(row, RAW_S3_KEY) &&
		raw_ids_of_key(row->value[RAW_S3_KEY].text, instance, &user);
}

static RecordColumn
location_column(const char *name, const RecordRow *row, RawMember member,
				const pg_uuid_t *track, const pg_uuid_t *instance)
{
	RecordColumn column = {name, TEXTOID, (Datum) 0, !row_has(row, member)};

	if (!column.isnull)
		column.value = CStringGetTextDatum(hide_ids(row->value[member].text,
													track, instance));
	return column;
}

int64
raw_store(const void *content, const pg_uuid_t *track_token, int64 user_id)
{
	static SqlPlan lives = SQL_PLAN("SELECT damoov.recording_lives($1, $2)", UUIDOID, INT8OID);
	Datum		arguments[] = {UUIDPGetDatum(track_token), Int64GetDatum(user_id)};
	const RecordState *track = &((const Content *) content)->document;
	const RecordState *lists = ((const Content *) content)->lists;
	const RecordRow *row = track->row;
	pg_uuid_t	instance;
	bool		has_instance = find_instance(row, &instance);
	RecordColumn columns[] = {
		{"track_token", UUIDOID, .value = UUIDPGetDatum(track_token)},
		{"format", INT4OID, .value = Int32GetDatum(track->seen & MEMBER_BIT(RAW_RESULT) ? 2 : 1)},
		{"instance_id", UUIDOID, UUIDPGetDatum(&instance), !has_instance},
		{"point_count", INT4OID, .value = Int32GetDatum(lists[RAW_LIST_POINTS].count)},
		{"event_count", INT4OID, .value = Int32GetDatum(lists[RAW_LIST_EVENTS].count)},
		location_column("s3_url", row, RAW_S3_URL, track_token, has_instance ? &instance : NULL),
		location_column("s3_key", row, RAW_S3_KEY, track_token, has_instance ? &instance : NULL)
	};

	sql_run(&lives, arguments, NULL);
	if (!DatumGetBool(sql_value(0, 1, NULL)))
		return 0;
	return record_store(&raw_table, content, user_id, columns, lengthof(columns));
}
