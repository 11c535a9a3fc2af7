/*
 * track.c
 *	  Processed tracks: bytes to checked values.
 *
 * Two tables say which member goes to which column and what it must look like;
 * record.c does the rest.  Facts about the fields, and which of them are
 * assumed: docs/datasets.md.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "dataset/track_data.h"

#define TRACK_OK			200 /* Result.Code */

/* ----- members and columns ----- */

#define RATING				KIND_NUMBER, 0, 5, -1
#define SCORE				KIND_NUMBER, 0, 100, -1
#define COUNT				KIND_INTEGER, 0, 1e6, -1
#define IN_TRACK			.group = TRIP_TRACK

/* in the order of damoov.trip_points, after trip_id and seq */
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
	[POINT_SPEED_LIMIT] = {"SpeedLimit", "speed_limit_kmh",
	KIND_NUMBER, 1, 500, .none = 999},
	[POINT_ALERT_VALUE] = {"AlertValue", "alert_value_ms2", NUMBER(-1000, 1000)},
	[POINT_LATERAL] = {"Lateral", "lateral_ms2", NUMBER(-1000, 1000)},
	[POINT_COURSE] = {"Course", "course_deg", NUMBER(0, 360)},
	[POINT_YAW] = {"Yaw", "yaw_deg", NUMBER(-1e7, 1e7)},
	[POINT_HEIGHT] = {"Height", "height_mm", NUMBER(-1e6, 1e8)},
	[POINT_SPEED_TYPE] = {"SpeedType", "speed_type", PLAIN(KIND_CODE)},
	[POINT_ALERT_TYPE] = {"AlertType", "alert_type", PLAIN(KIND_CODE)},
	[POINT_CORNERING] = {"Cornering", "cornering", PLAIN(KIND_BOOLEAN)},
	[POINT_PHONE_USAGE] = {"PhoneUsage", "phone_usage", PLAIN(KIND_FLAG)}
};

/* where the columns of a point with a kind of their own stand in TrackPoint */
static const int point_offset[POINT_FIELDS] = {
	[POINT_ID] = offsetof(TrackPoint, point_id),
	[POINT_NUMBER] = offsetof(TrackPoint, number),
	[POINT_RECORDED_AT] = offsetof(TrackPoint, recorded_at),
	[POINT_LATITUDE] = offsetof(TrackPoint, latitude),
	[POINT_LONGITUDE] = offsetof(TrackPoint, longitude),
	[POINT_TOTAL_METERS] = offsetof(TrackPoint, total_meters),
	[POINT_SPEED] = offsetof(TrackPoint, speed_kmh),
	[POINT_MID_SPEED] = offsetof(TrackPoint, mid_speed_ms),
	[POINT_SPEED_LIMIT] = offsetof(TrackPoint, speed_limit_kmh),
	[POINT_ALERT_VALUE] = offsetof(TrackPoint, alert_value_ms2),
	[POINT_LATERAL] = offsetof(TrackPoint, lateral_ms2),
	[POINT_COURSE] = offsetof(TrackPoint, course_deg),
	[POINT_YAW] = offsetof(TrackPoint, yaw_deg),
	[POINT_HEIGHT] = offsetof(TrackPoint, height_mm),
	[POINT_SPEED_TYPE] = offsetof(TrackPoint, speed_type),
	[POINT_ALERT_TYPE] = offsetof(TrackPoint, alert_type),
	[POINT_CORNERING] = offsetof(TrackPoint, cornering),
	[POINT_PHONE_USAGE] = offsetof(TrackPoint, phone_usage)
};

static void finish_point(RecordState *state);

static const Record track_point_record = {
	.members = point_members,
	.nmembers = lengthof(point_members),
	.size = sizeof(TrackPoint),
	.offsets = point_offset,
	.finish = finish_point
};

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
	.elements = &track_point_record},
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

const Record track_record = {
	.members = trip_members,
	.nmembers = lengthof(trip_members),
	.size = ROW_SIZE(lengthof(trip_members))
};

/* ----- points ----- */

/*
 * Between measured points the platform inserts points of the road's geometry.
 * They repeat the Number of the point before, and their MidSpeed, Course and
 * Height are 0.  A measured point at a standstill has MidSpeed 0, too, but
 * keeps its Course and Height; one without a fix may have all three 0, but a
 * Number of its own.  Where there are no Numbers the three must do.
 */
static bool
is_filler(const TrackPoint *point, const TrackPoint *before)
{
	const uint32 needed = (1 << POINT_MID_SPEED) | (1 << POINT_COURSE) |
		(1 << POINT_HEIGHT);

	if ((point->given & needed) != needed ||
		point->mid_speed_ms != 0 || point->course_deg != 0 ||
		point->height_mm != 0)
		return false;
	if (!point_has(point, POINT_NUMBER))
		return true;
	return before != NULL && point_has(before, POINT_NUMBER) &&
		before->number == point->number;
}

static void
finish_point(RecordState *state)
{
	TrackPoint *point = state->row;

	record_check_position(state, POINT_LATITUDE);
	point->given = (uint32) state->given;
	point->seq = state->seq;
	point->extra = state->extra;
	/* what there is without an alert is no value of one */
	if (!point_has(point, POINT_ALERT_TYPE))
		point->given &= ~(1 << POINT_ALERT_VALUE);
	point->is_filler = is_filler(point, state->count > 1 ? point - 1 : NULL);
}

/* ----- the whole ----- */

static bool
check_envelope(RecordReader *reader, const char *text, Size len, Fault *fault)
{
	RecordState *document = record_document(reader);
	const RecordRow *row = document->row;
	int64		code;

	if (!row_has(row, TRIP_CODE))
	{
		if (document->note[TRIP_CODE][NOTE_NOT_NUMBER] == 0)
			record_note(document, TRIP_CODE, NOTE_MISSING);
	}
	else if (!value_int64(row->value[TRIP_CODE].text, &code) ||
			 code != TRACK_OK)
		return fault_set(fault, ERRCODE_PROTOCOL_VIOLATION, REASON_DATASET_ERROR,
						 "platform answered with code %s instead of the track",
						 row->value[TRIP_CODE].text);
	if (document->seen & MEMBER_BIT(TRIP_TRACK))
		return true;
	return record_refuse(reader, text, len, "object Result.Track", fault);
}

static void
measure_points(Track *track)
{
	for (int i = 0; i < track->npoints; i++)
	{
		const TrackPoint *point = &track->points[i];
		Box		   *box = &track->box;

		track->nfillers += point->is_filler;
		if (!point_has(point, POINT_LATITUDE))
			continue;
		if (track->nlocated++ == 0)
		{
			box->min_latitude = box->max_latitude = point->latitude;
			box->min_longitude = box->max_longitude = point->longitude;
			continue;
		}
		box->min_latitude = Min(box->min_latitude, point->latitude);
		box->max_latitude = Max(box->max_latitude, point->latitude);
		box->min_longitude = Min(box->min_longitude, point->longitude);
		box->max_longitude = Max(box->max_longitude, point->longitude);
	}
}

/* What is odd about values together. */
static void
check_trip(RecordState *document)
{
	const RecordRow *row = document->row;

	if ((document->seen & MEMBER_BIT(TRIP_POINTS)) == 0)
		record_note(document, TRIP_POINTS, NOTE_MISSING);
	record_check_end(document, TRIP_START_DATE, TRIP_END_DATE);
	if (row_has(row, TRIP_DURATION) && row->value[TRIP_DURATION].number < 0)
		record_note(document, TRIP_DURATION, NOTE_NEGATIVE);
}

static Track *
make_track(RecordReader *reader)
{
	RecordState *document = record_document(reader);
	RecordState *points = record_list(reader, &track_point_record);
	Track	   *track = palloc0(sizeof(Track));

	check_trip(document);
	track->trip = document->row;
	track->points = (TrackPoint *) points->rows;
	track->npoints = points->count;
	track->extras = points->extras.data;
	track->texts = *record_texts(reader);
	measure_points(track);
	track->extra = record_extra(reader);
	track->notes = record_notes(reader, &track->nnotes);
	return track;
}

bool
track_read(const char *text, Size len, Size max_len,
		   const pg_uuid_t *expected_token, const char *device_token,
		   Track **track, Fault *fault)
{
	RecordReader *reader = record_reader(&track_record, "track",
										 "processed track", expected_token,
										 device_token);
	bool		done;

	/* the numbers that trip_events.h knows them by */
	record_add_text(reader, "acc");
	record_add_text(reader, "deacc");
	done = record_read(reader, text, len, max_len, fault) &&
		check_envelope(reader, text, len, fault);
	*track = done ? make_track(reader) : NULL;
	record_free(reader);
	return done;
}
