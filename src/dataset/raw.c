/*
 * raw.c
 *	  Raw tracks, both formats: bytes to checked values.
 *
 * The tables here say which member goes to which column and what it must look
 * like; record.c does the rest.  Facts about the fields, and which of them are
 * assumed: docs/datasets.md.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/uuid.h"
#include "dataset/event_members.h"
#include "dataset/raw_data.h"

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
	/* the others need no name */
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
	{"TickTimestamp", "ticked_at", KIND_EPOCH_S, 0, 0, .none = 0},
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

const Record raw_point_record = {
	.members = point_members,
	.nmembers = lengthof(point_members),
	.size = ROW_SIZE(lengthof(point_members)),
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

const Record raw_event_record = {
	.members = event_members,
	.nmembers = lengthof(event_members),
	.size = ROW_SIZE(lengthof(event_members)),
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

#define IN_RESULT			.group = RAW_RESULT
#define IN_TRACK			.group = RAW_TRACK
#define IN_S3				.group = RAW_S3_LOCATION

static const Member raw_members[] = {
	[RAW_STATUS_CODE] = {"status_code", NULL, PLAIN(KIND_STATUS)},
	[RAW_SUCCESS] = {"success", NULL, PLAIN(KIND_BOOLEAN)},
	[RAW_RESULT] = {"result", "result", PLAIN(KIND_ENVELOPE)},
	/* called TripData in format 2 */
	[RAW_TRACK] = {"Track", "track", PLAIN(KIND_BODY)},
	/* the path names the person: neither is stored as it stands */
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
	.elements = &raw_point_record},
	{"Events", NULL, PLAIN(KIND_LIST), IN_TRACK, .elements = &raw_event_record},
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

const Record raw_record = {
	.members = raw_members,
	.nmembers = lengthof(raw_members),
	.size = ROW_SIZE(lengthof(raw_members))
};

/* ----- the whole ----- */

static bool
check_status(const RecordRow *row, Fault *fault)
{
	const char *status = row->value[RAW_STATUS_CODE].text;
	int64		code;

	if (row_has(row, RAW_STATUS_CODE) &&
		(!value_int64(status, &code) || code != RAW_OK))
	{
		bool		gone = value_int64(status, &code) &&
			(code == RAW_NOT_FOUND || code == RAW_GONE);

		return fault_set(fault,
						 gone ? ERRCODE_NO_DATA : ERRCODE_PROTOCOL_VIOLATION,
						 gone ? REASON_DATASET_GONE : REASON_DATASET_ERROR,
						 "platform answered with code %s instead of the track",
						 status);
	}
	if (row_has(row, RAW_SUCCESS) && !row->value[RAW_SUCCESS].flag)
		return fault_set(fault, ERRCODE_PROTOCOL_VIOLATION, REASON_DATASET_ERROR,
						 "platform answered without success instead of the track");
	return true;
}

/*
 * A path like trips/filtered/{InstanceId}/{UserId}/{TrackToken}.json, with the
 * person's credential in it.  Only the ids that are known to be something else
 * stay; a star takes the place of all others.
 */
static char *
hide_ids(const char *path, const pg_uuid_t *track, const pg_uuid_t *instance)
{
	StringInfoData text;

	initStringInfo(&text);
	/* a query would be a signature */
	while (*path != '\0' && *path != '?')
	{
		pg_uuid_t	uuid;
		int			length = uuid_prefix(path, &uuid);

		if (length == 0)
			appendStringInfoChar(&text, *path++);
		else
		{
			if ((track && uuid_equal(&uuid, track)) ||
				(instance && uuid_equal(&uuid, instance)))
				appendBinaryStringInfo(&text, path, length);
			else
				appendStringInfoChar(&text, '*');
			path += length;
		}
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

static void
read_location(RawTrack *raw, const pg_uuid_t *token)
{
	const RecordRow *row = raw->track;
	pg_uuid_t	user;

	if (row_has(row, RAW_INSTANCE_ID))
	{
		raw->instance = *row->value[RAW_INSTANCE_ID].uuid;
		raw->has_instance = true;
	}
	else if (row_has(row, RAW_S3_KEY))
		raw->has_instance = raw_ids_of_key(row->value[RAW_S3_KEY].text,
										   &raw->instance, &user);
	if (row_has(row, RAW_S3_KEY))
		raw->s3_key = hide_ids(row->value[RAW_S3_KEY].text, token,
							   raw->has_instance ? &raw->instance : NULL);
	if (row_has(row, RAW_S3_URL))
		raw->s3_url = hide_ids(row->value[RAW_S3_URL].text, token,
							   raw->has_instance ? &raw->instance : NULL);
}

static RawTrack *
make_track(RecordReader *reader, const pg_uuid_t *token)
{
	RecordState *document = record_document(reader);
	RawTrack   *raw = palloc0(sizeof(RawTrack));

	if ((document->seen & MEMBER_BIT(RAW_POINTS)) == 0)
		record_note(document, RAW_POINTS, NOTE_MISSING);
	record_check_end(document, RAW_START_DATE, RAW_END_DATE);
	raw->format = document->seen & MEMBER_BIT(RAW_RESULT) ? 2 : 1;
	raw->track = document->row;
	read_location(raw, token);
	raw->points = record_take_list(reader, &raw_point_record);
	raw->events = record_take_list(reader, &raw_event_record);
	raw->extra = record_extra(reader);
	raw->notes = record_notes(reader, &raw->nnotes);
	return raw;
}

bool
raw_read(const char *text, Size len, Size max_len,
		 const pg_uuid_t *expected_token, const char *device_token,
		 RawTrack **raw, Fault *fault)
{
	RecordReader *reader = record_reader(&raw_record, "track", "raw track",
										 expected_token, device_token);
	RecordState *document = record_document(reader);
	bool		done = record_read(reader, text, len, max_len, fault) &&
		check_status(document->row, fault);

	if (done && (document->seen & MEMBER_BIT(RAW_TRACK)) == 0)
		done = record_refuse(reader, text, len,
							 "object Track or result.TripData", fault);
	*raw = done ? make_track(reader, expected_token) : NULL;
	record_free(reader);
	return done;
}
