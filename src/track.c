/*
 * track.c
 *	  Processed tracks: bytes to checked values, and those to rows.
 *
 * One pass over the text.  Two tables say which member goes to which column and
 * what it must look like; a member that is in neither goes to "extra" with its
 * bytes as they stand.  A value that cannot be used becomes NULL and is counted
 * in a note: a wrong field never costs the trip.
 *
 * Facts about the fields, and which of them are assumed: docs/datasets.md.
 *
 * Memory: the track stays in the context of the caller of track_read().  The
 * parser's tokens go to a context of their own, which a point empties when it
 * has been read; outside the points each token is freed when it is done with.
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "bulk.h"
#include "json.h"
#include "sql.h"
#include "timestamp.h"
#include "track.h"
#include "trip_events.h"
#include "uuid.h"

#define TRACK_OK			200 /* Result.Code */
#define MAX_TEXTS			64	/* different SpeedTypes and AlertTypes */
#define MAX_TEXT			64	/* bytes of one */
#define MAX_EXTRA			(8 * 1024 * 1024)	/* far below a jsonb's limit */

/* ----------
 * What can be odd about a member
 * ----------
 */
typedef enum Note
{
	NOTE_NONE,
	NOTE_REPEATED,
	NOTE_MISSING,
	NOTE_NOT_NUMBER,
	NOTE_NOT_WHOLE,
	NOTE_NOT_BOOLEAN,
	NOTE_NOT_TEXT,
	NOTE_NOT_OBJECT,
	NOTE_NOT_ARRAY,
	NOTE_NOT_TIME,
	NOTE_NOT_UUID,
	NOTE_RANGE,
	NOTE_NEGATIVE,
	NOTE_ZONE,
	NOTE_NO_ZONE,
	NOTE_LEAP_SECOND,
	NOTE_END_OF_DAY,
	NOTE_BEFORE_START,
	NOTE_NULL_ISLAND,
	NOTE_TOO_LONG,
	NOTE_TOO_MANY,
	NOTES
} Note;

static const char *const note_text[NOTES] = {
	[NOTE_REPEATED] = "repeated, the last one counts",
	[NOTE_MISSING] = "missing",
	[NOTE_NOT_NUMBER] = "not a number",
	[NOTE_NOT_WHOLE] = "not a whole number",
	[NOTE_NOT_BOOLEAN] = "not a boolean",
	[NOTE_NOT_TEXT] = "not a text",
	[NOTE_NOT_OBJECT] = "not an object",
	[NOTE_NOT_ARRAY] = "not an array",
	[NOTE_NOT_TIME] = "not a point in time",
	[NOTE_NOT_UUID] = "not a UUID",
	[NOTE_RANGE] = "out of range",
	[NOTE_NEGATIVE] = "negative",
	[NOTE_ZONE] = "offset from UTC out of range",
	[NOTE_NO_ZONE] = "no offset from UTC, read as UTC",
	[NOTE_LEAP_SECOND] = "second 60, read as the next minute",
	[NOTE_END_OF_DAY] = "24:00:00, read as the next day",
	[NOTE_BEFORE_START] = "before StartDate",
	[NOTE_NULL_ISLAND] = "position 0/0",
	[NOTE_TOO_LONG] = "too long",
	[NOTE_TOO_MANY] = "too many different values"
};

/* ----------
 * Members and columns
 * ----------
 */
typedef enum Kind
{
	KIND_NUMBER,				/* double precision */
	KIND_INTEGER,				/* integer */
	KIND_BIGINT,				/* bigint */
	KIND_BOOLEAN,
	KIND_FLAG,					/* boolean, 0 and 1 do as well */
	KIND_TEXT,
	KIND_CODE,					/* text with few different values */
	KIND_TIME,					/* timestamptz */
	KIND_OBJECT,				/* jsonb, an object */
	KIND_ANY,					/* jsonb, anything */
	KIND_TOKEN,					/* id of the track */
	KIND_SECRET,				/* the person's credential: kept nowhere */
	KIND_POINTS
} Kind;

typedef struct Member
{
	const char *name;
	const char *column;			/* NULL: not stored under a name of its own */
	Kind		kind;
	double		low;			/* accepted range, both ends included */
	double		high;
	double		none;			/* number that stands for "no value" */
} Member;

#define NOTHING				NAN /* no number equals it */
#define NUMBER(low, high)	KIND_NUMBER, low, high, NOTHING
#define RATING				KIND_NUMBER, 0, 5, -1
#define SCORE				KIND_NUMBER, 0, 100, -1
#define COUNT				KIND_INTEGER, 0, 1e6, -1
#define PLAIN(kind)			kind, 0, 0, NOTHING

typedef enum TripMember
{
	TRIP_START_DATE,
	TRIP_END_DATE,
	TRIP_DISTANCE,
	TRIP_DURATION
	/* the others need no name */
} TripMember;

static const Member trip_members[] = {
	[TRIP_START_DATE] = {"StartDate", "started_at", PLAIN(KIND_TIME)},
	[TRIP_END_DATE] = {"EndDate", "ended_at", PLAIN(KIND_TIME)},
	[TRIP_DISTANCE] = {"Distance", "distance_km", NUMBER(0, 1e5)},
	/* stored although negative, with a note: see check_track */
	[TRIP_DURATION] = {"Duration", "duration_min", NUMBER(-1e6, 1e6)},
	{"Status", "status", PLAIN(KIND_TEXT)},
	{"AccelerationCount", "acceleration_count", COUNT},
	{"DecelerationCount", "braking_count", COUNT},
	{"AddressStart", "address_start", PLAIN(KIND_TEXT)},
	{"AddressEnd", "address_end", PLAIN(KIND_TEXT)},
	{"AddressStartParts", "address_start_parts", PLAIN(KIND_OBJECT)},
	{"AddressFinishParts", "address_end_parts", PLAIN(KIND_OBJECT)},
	{"CityStart", "city_start", PLAIN(KIND_TEXT)},
	{"CityFinish", "city_end", PLAIN(KIND_TEXT)},
	{"Rating", "rating", RATING},
	{"RatingCornering", "rating_cornering", RATING},
	{"RatingAcceleration", "rating_acceleration", RATING},
	{"RatingBraking", "rating_braking", RATING},
	{"RatingSpeeding", "rating_speeding", RATING},
	{"RatingPhoneUsage", "rating_phone_usage", RATING},
	{"RatingTimeOfDay", "rating_time_of_day", RATING},
	{"Rating100", "score", SCORE},
	{"RatingCornering100", "score_cornering", SCORE},
	{"RatingAcceleration100", "score_acceleration", SCORE},
	{"RatingBraking100", "score_braking", SCORE},
	{"RatingSpeeding100", "score_speeding", SCORE},
	{"RatingPhoneDistraction100", "score_phone_usage", SCORE},
	{"RatingTimeOfDay100", "score_time_of_day", SCORE},
	{"PhoneUsage", "phone_usage_min", NUMBER(0, 1e6)},
	{"MidOverSpeedMileage", "mid_speeding_km", NUMBER(0, 1e5)},
	{"HighOverSpeedMileage", "high_speeding_km", NUMBER(0, 1e5)},
	{"EcoScore", "eco_score", SCORE},
	{"EcoScoreFuel", "eco_score_fuel", SCORE},
	{"EcoScoreTyres", "eco_score_tyres", SCORE},
	{"EcoScoreBrakes", "eco_score_brakes", SCORE},
	{"EcoScoreDepreciation", "eco_score_depreciation", SCORE},
	{"TrackOriginCode", "origin", PLAIN(KIND_TEXT)},
	{"OriginChanged", "origin_changed", PLAIN(KIND_BOOLEAN)},
	{"ShareType", "share_type", PLAIN(KIND_TEXT)},
	{"DrivingTips", "driving_tips", PLAIN(KIND_TEXT)},
	{"BeaconId", "beacon_id", KIND_BIGINT, 0, 1e19, 0},
	{"Tags", "tags", PLAIN(KIND_ANY)},
	{"RatingReason", "rating_reason", PLAIN(KIND_TEXT)},
	{"Points", NULL, PLAIN(KIND_POINTS)},
	{"TrackToken", NULL, PLAIN(KIND_TOKEN)},
	{"DeviceToken", NULL, PLAIN(KIND_SECRET)},
	{"UserId", NULL, PLAIN(KIND_SECRET)}
};

#define TRIP_MEMBERS ((int) lengthof(trip_members))

/* in the order of damoov.trip_points, after trip_id and seq */
static const Member point_members[] = {
	[POINT_ID] = {"Id", "point_id", KIND_BIGINT, -1e19, 1e19, NOTHING},
	[POINT_NUMBER] = {"Number", "number", KIND_INTEGER, 0, INT_MAX, NOTHING},
	[POINT_RECORDED_AT] = {"PointDate", "recorded_at", PLAIN(KIND_TIME)},
	[POINT_LATITUDE] = {"Latitude", "latitude", NUMBER(-90, 90)},
	[POINT_LONGITUDE] = {"Longitude", "longitude", NUMBER(-180, 180)},
	[POINT_TOTAL_METERS] = {"TotalMeters", "total_meters", NUMBER(0, 1e8)},
	[POINT_SPEED] = {"Speed", "speed_kmh", NUMBER(0, 2000)},
	[POINT_MID_SPEED] = {"MidSpeed", "mid_speed_ms", NUMBER(0, 600)},
	/* a limit of 0 would make every point one of speeding */
	[POINT_SPEED_LIMIT] = {"SpeedLimit", "speed_limit_kmh",
	KIND_NUMBER, 1, 500, 999},
	[POINT_ALERT_VALUE] = {"AlertValue", "alert_value_ms2", NUMBER(-1000, 1000)},
	[POINT_LATERAL] = {"Lateral", "lateral_ms2", NUMBER(-1000, 1000)},
	[POINT_COURSE] = {"Course", "course_deg", NUMBER(0, 360)},
	[POINT_YAW] = {"Yaw", "yaw_deg", NUMBER(-1e7, 1e7)},
	[POINT_HEIGHT] = {"Height", "height_mm", NUMBER(-1e6, 1e8)},
	[POINT_SPEED_TYPE] = {"SpeedType", "speed_type", PLAIN(KIND_CODE)},
	[POINT_ALERT_TYPE] = {"AlertType", "alert_type", PLAIN(KIND_CODE)},
	[POINT_CORNERING] = {"Cornering", "cornering", PLAIN(KIND_BOOLEAN)},
	[POINT_PHONE_USAGE] = {"PhoneUsage", "phone_usage", PLAIN(KIND_FLAG)},
	{"DeviceToken", NULL, PLAIN(KIND_SECRET)},
	{"UserId", NULL, PLAIN(KIND_SECRET)}
};

#define POINT_MEMBERS ((int) lengthof(point_members))

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

/* one value of any kind */
typedef union Value
{
	double		number;
	int64		whole;
	bool		flag;
	TimestampTz at;
	char	   *text;
} Value;

typedef struct Texts
{
	int			count;
	const char *text[MAX_TEXTS];	/* [0] is NULL: no text */
} Texts;

typedef struct Box
{
	double		min_latitude;
	double		min_longitude;
	double		max_latitude;
	double		max_longitude;
} Box;

struct Track
{
	MemoryContext context;

	/* the trip: one value for each of trip_members */
	Value		value[TRIP_MEMBERS];
	bool		given[TRIP_MEMBERS];
	int			start_offset_min;
	int			end_offset_min;
	bool		has_start_offset;	/* of a date that is given */
	bool		has_end_offset;
	char	   *extra;			/* NULL for none */
	char	  **notes;
	int			nnotes;

	TrackPoint *points;
	int			npoints;
	int			room;			/* points that there is memory for */
	int			nfillers;
	int			nlocated;		/* points with a position */
	Box			box;
	Texts		texts;			/* of SpeedType and AlertType */
	StringInfoData extras;		/* of all points, each ended by a NUL byte */
};

/* ----------
 * Reading
 * ----------
 */
typedef enum Place
{
	PLACE_OUTSIDE,
	PLACE_TOP,					/* members of the outermost object */
	PLACE_RESULT,
	PLACE_TRACK,
	PLACE_POINTS,				/* elements */
	PLACE_POINT
} Place;

/* what to do with the bytes of the value being read, once it is whole */
typedef enum Keep
{
	KEEP_NOTHING,
	KEEP_EXTRA,
	KEEP_VALUE
} Keep;

typedef struct Reader
{
	Track	   *track;
	const pg_uuid_t *expected_token;
	MemoryContext work;			/* tokens outside the points */
	MemoryContext point_work;	/* tokens of one point */

	Place		place;
	int			skip_depth;		/* > 0: in a value that is not looked into */
	Keep		keep;
	int			member;			/* the one being read, -1 when unknown */

	/* the envelope */
	bool		has_result;
	bool		has_track;
	bool		has_code;
	char	   *code;			/* the token */
	char	   *status;
	bool		is_raw;
	StringInfoData outer_extra; /* of the envelope */
	StringInfoData inner_extra; /* of the track */

	bool		trip_seen[TRIP_MEMBERS];
	uint32		trip_note[TRIP_MEMBERS][NOTES];
	uint32		point_note[POINT_MEMBERS][NOTES];
	uint32		element_note;	/* elements of Points that are no objects */
	bool		extra_dropped;
	uint32		point_extra_dropped;

	/* the point being read */
	TrackPoint *point;
	uint32		seen;
	uint32		bad;			/* given, but of no use */
	int			position;		/* of the member in the point */
	int			order[POINT_MEMBERS];	/* members of the previous point */
} Reader;

static void track_enter(JsonWalk *walk, bool is_array);
static void track_leave(JsonWalk *walk, bool is_array);
static void track_scalar(JsonWalk *walk, char *text, JsonTokenType type);
static void track_value(JsonWalk *walk, const char *start, Size len);
static bool check_envelope(const Reader *reader, Fault *fault);
static void check_track(Reader *reader);
static void write_notes(Reader *reader);

static const JsonVisitor visitor = {
	track_enter, track_leave, track_scalar, track_value
};

static void
reader_init(Reader *reader, Track *track, const pg_uuid_t *expected_token)
{
	memset(reader, 0, sizeof(Reader));
	reader->track = track;
	reader->expected_token = expected_token;
	reader->work = AllocSetContextCreate(track->context, "damoov track tokens",
										 ALLOCSET_DEFAULT_SIZES);
	reader->point_work = AllocSetContextCreate(reader->work,
											   "damoov point tokens",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(reader->work);
	initStringInfo(&reader->outer_extra);
	initStringInfo(&reader->inner_extra);
	for (int i = 0; i < POINT_MEMBERS; i++)
		reader->order[i] = i;
}

bool
track_read(const char *text, Size len, Size max_len,
		   const pg_uuid_t *expected_token, Track **track, Fault *fault)
{
	MemoryContext caller = CurrentMemoryContext;
	Reader		reader;
	bool		done;

	*track = palloc0(sizeof(Track));
	(*track)->context = caller;
	/* the numbers that trip_events.h knows them by */
	(*track)->texts.text[ALERT_ACCELERATION] = "acc";
	(*track)->texts.text[ALERT_BRAKING] = "deacc";
	(*track)->texts.count = ALERT_BRAKING + 1;
	initStringInfo(&(*track)->extras);
	reader_init(&reader, *track, expected_token);

	done = json_walk(text, len, max_len, &visitor, &reader, fault) &&
		check_envelope(&reader, fault);
	MemoryContextSwitchTo(caller);
	if (done)
	{
		check_track(&reader);
		write_notes(&reader);
	}
	else
	{
		/* it was written in the middle of things */
		fault->message = pstrdup(fault->message);
		if (fault->detail)
			fault->detail = pstrdup(fault->detail);
		*track = NULL;
	}
	MemoryContextDelete(reader.work);
	return done;
}

/* ----------
 * Values
 * ----------
 */

/*
 * Reads what a number token mostly is: few digits, perhaps with a point.  Both
 * the digits and the power of ten are doubles without loss then, and one
 * division rounds like strtod(), which takes ten times as long.
 */
static inline bool
read_short_decimal(const char *text, int64 *digits, int *scale)
{
	const char *at = text + (*text == '-');
	uint64		sum = 0;
	int			count = 0;

	*scale = 0;
	for (; *at >= '0' && *at <= '9'; at++, count++)
		sum = sum * 10 + (*at - '0');
	if (*at == '.')
	{
		for (at++; *at >= '0' && *at <= '9'; at++, (*scale)++)
			sum = sum * 10 + (*at - '0');
	}
	if (*at != '\0' || count + *scale > 18)
		return false;
	*digits = *text == '-' ? -(int64) sum : (int64) sum;
	return true;
}

static inline bool
read_double(const char *text, double *value)
{
#if FLT_EVAL_METHOD == 0
	static const double power[] = {
		1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9,
		1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18
	};
	int64		digits;
	int			scale;

	if (read_short_decimal(text, &digits, &scale) &&
		digits <= INT64CONST(1) << 53 && digits >= -(INT64CONST(1) << 53))
	{
		*value = (double) digits / power[scale];
		return true;
	}
#endif
	return json_double(text, value);
}

static inline bool
read_int64(const char *text, int64 *value)
{
	int			scale;

	if (read_short_decimal(text, value, &scale) && scale == 0)
		return true;
	return json_int64(text, value);
}

static Note
judge_number(const Member *member, const char *text, Value *value, bool *given)
{
	if (!read_double(text, &value->number))
		return NOTE_RANGE;
	if (value->number == member->none)
		return NOTE_NONE;
	if (value->number < member->low || value->number > member->high)
		return NOTE_RANGE;
	*given = true;
	return NOTE_NONE;
}

static Note
judge_whole(const Member *member, const char *text, Value *value, bool *given)
{
	double		number;

	if (!read_int64(text, &value->whole))
	{
		if (json_double(text, &number) && number != rint(number))
			return NOTE_NOT_WHOLE;
		return NOTE_RANGE;
	}
	number = (double) value->whole;
	if (number == member->none)
		return NOTE_NONE;
	if (number < member->low || number > member->high)
		return NOTE_RANGE;
	*given = true;
	return NOTE_NONE;
}

static Note
judge_flag(const Member *member, const char *text, JsonTokenType type,
		   Value *value, bool *given)
{
	double		number;

	value->flag = type == JSON_TOKEN_TRUE;
	*given = type == JSON_TOKEN_TRUE || type == JSON_TOKEN_FALSE;
	if (!*given && member->kind == KIND_FLAG && type == JSON_TOKEN_NUMBER &&
		read_double(text, &number) && (number == 0 || number == 1))
	{
		value->flag = number == 1;
		*given = true;
	}
	return *given ? NOTE_NONE : NOTE_NOT_BOOLEAN;
}

static Note
judge_time(const char *text, ParsedTime *time, bool *given)
{
	switch (timestamp_parse(text, (int) strlen(text), time))
	{
		case TIME_OK:
			break;
		case TIME_EMPTY:
			return NOTE_NONE;
		case TIME_SYNTAX:
			return NOTE_NOT_TIME;
		case TIME_RANGE:
			return NOTE_RANGE;
		case TIME_ZONE:
			return NOTE_ZONE;
	}
	*given = true;
	if (!time->has_zone)
		return NOTE_NO_ZONE;
	if (time->leap_second)
		return NOTE_LEAP_SECOND;
	if (time->end_of_day)
		return NOTE_END_OF_DAY;
	return NOTE_NONE;
}

/* Number of the text, the same for equal ones; 0 when there are too many. */
static int
intern(Track *track, const char *text)
{
	Texts	   *texts = &track->texts;

	for (int i = 1; i < texts->count; i++)
	{
		if (strcmp(texts->text[i], text) == 0)
			return i;
	}
	if (texts->count == MAX_TEXTS)
		return 0;
	texts->text[texts->count] = MemoryContextStrdup(track->context, text);
	return texts->count++;
}

static Note
judge_code(Track *track, const char *text, Value *value, bool *given)
{
	if (*text == '\0')
		return NOTE_NONE;
	if (strlen(text) > MAX_TEXT)
		return NOTE_TOO_LONG;
	value->whole = intern(track, text);
	*given = value->whole > 0;
	return *given ? NOTE_NONE : NOTE_TOO_MANY;
}

/*
 * Judges a scalar other than null.  *given tells whether there is a value; the
 * note may come with and without one.
 */
static Note
judge(Reader *reader, const Member *member, char *text, JsonTokenType type,
	  Value *value, ParsedTime *time, bool *given)
{
	*given = false;
	switch (member->kind)
	{
		case KIND_NUMBER:
			if (type != JSON_TOKEN_NUMBER)
				return NOTE_NOT_NUMBER;
			return judge_number(member, text, value, given);
		case KIND_INTEGER:
		case KIND_BIGINT:
			if (type != JSON_TOKEN_NUMBER)
				return NOTE_NOT_NUMBER;
			return judge_whole(member, text, value, given);
		case KIND_BOOLEAN:
		case KIND_FLAG:
			return judge_flag(member, text, type, value, given);
		case KIND_TEXT:
			if (type != JSON_TOKEN_STRING)
				return NOTE_NOT_TEXT;
			*given = *text != '\0';
			if (*given)
				value->text = MemoryContextStrdup(reader->track->context, text);
			return NOTE_NONE;
		case KIND_CODE:
			if (type != JSON_TOKEN_STRING)
				return NOTE_NOT_TEXT;
			return judge_code(reader->track, text, value, given);
		case KIND_TIME:
			if (type != JSON_TOKEN_STRING)
				return NOTE_NOT_TIME;
			return judge_time(text, time, given);
		case KIND_OBJECT:
			return NOTE_NOT_OBJECT;
		case KIND_POINTS:
			return NOTE_NOT_ARRAY;
		case KIND_ANY:
		case KIND_TOKEN:
		case KIND_SECRET:
			break;
	}
	return NOTE_NONE;
}

/* What to note about a member that is an object or array and must not be. */
static Note
judge_container(const Member *member, bool is_array)
{
	switch (member->kind)
	{
		case KIND_NUMBER:
		case KIND_INTEGER:
		case KIND_BIGINT:
			return NOTE_NOT_NUMBER;
		case KIND_BOOLEAN:
		case KIND_FLAG:
			return NOTE_NOT_BOOLEAN;
		case KIND_TEXT:
		case KIND_CODE:
			return NOTE_NOT_TEXT;
		case KIND_TIME:
			return NOTE_NOT_TIME;
		case KIND_TOKEN:
			return NOTE_NOT_UUID;
		case KIND_OBJECT:
			return is_array ? NOTE_NOT_OBJECT : NOTE_NONE;
		case KIND_POINTS:
			return is_array ? NOTE_NONE : NOTE_NOT_ARRAY;
		case KIND_ANY:
		case KIND_SECRET:
			break;
	}
	return NOTE_NONE;
}

/* ----------
 * Extra members
 * ----------
 */

/* The person's credential must not end in a jsonb for all to read. */
static bool
is_secret(const char *name)
{
	return pg_strcasecmp(name, "DeviceToken") == 0 ||
		pg_strcasecmp(name, "UserId") == 0;
}

/* Name and value of a member.  Most names can be taken as they are. */
static void
append_member(StringInfo object, const char *name, const char *start, Size len)
{
	const char *at = name;

	while (*at >= ' ' && *at != '"' && *at != '\\')
		at++;
	if (*at == '\0')
	{
		appendStringInfoChar(object, '"');
		appendBinaryStringInfo(object, name, (int) (at - name));
		appendBinaryStringInfo(object, "\":", 2);
	}
	else
	{
		escape_json(object, name);
		appendStringInfoChar(object, ':');
	}
	appendBinaryStringInfo(object, start, (int) len);
}

/*
 * The member being read has no column.  What is kept of all of them together
 * is no longer than the document, and so below the limit of a StringInfo.
 */
static void
keep_extra(Reader *reader, const char *name, const char *start, Size len)
{
	StringInfo	object;

	switch (reader->place)
	{
		case PLACE_POINT:
			object = &reader->track->extras;
			appendStringInfoChar(object, reader->point->extra < 0 ? '{' : ',');
			if (reader->point->extra < 0)
				reader->point->extra = object->len - 1;
			break;
		case PLACE_TRACK:
			object = &reader->inner_extra;
			if (object->len > 0)
				appendStringInfoChar(object, ',');
			break;
		default:
			object = &reader->outer_extra;
			if (object->len > 0)
				appendStringInfoChar(object, ',');
	}
	append_member(object, name, start, len);
}

/* ----------
 * Members of the trip
 * ----------
 */
static int
find_trip_member(const char *name)
{
	for (int i = 0; i < TRIP_MEMBERS; i++)
	{
		if (strcmp(trip_members[i].name, name) == 0)
			return i;
	}
	return -1;
}

static inline void
note_trip(Reader *reader, int member, Note note)
{
	reader->trip_note[member][note]++;
}

/* Forgets the points of an earlier array of that name. */
static void
forget_points(Reader *reader)
{
	reader->track->npoints = 0;
	resetStringInfo(&reader->track->extras);
	memset(reader->point_note, 0, sizeof(reader->point_note));
	reader->element_note = 0;
	reader->point_extra_dropped = 0;
}

/* A member of the track begins; returns whether it is a known one. */
static bool
begin_trip_member(Reader *reader, const char *name)
{
	int			member = find_trip_member(name);

	reader->member = member;
	if (member < 0)
	{
		reader->keep = is_secret(name) ? KEEP_NOTHING : KEEP_EXTRA;
		return false;
	}
	reader->keep = KEEP_NOTHING;
	if (reader->trip_seen[member])
	{
		note_trip(reader, member, NOTE_REPEATED);
		reader->track->given[member] = false;
		if (trip_members[member].kind == KIND_POINTS)
			forget_points(reader);
	}
	reader->trip_seen[member] = true;
	return true;
}

static void
set_trip_time(Track *track, int member, const ParsedTime *time)
{
	track->value[member].at = time->at;
	if (member == TRIP_START_DATE)
	{
		track->has_start_offset = time->has_zone;
		track->start_offset_min = time->offset_min;
	}
	else
	{
		track->has_end_offset = time->has_zone;
		track->end_offset_min = time->offset_min;
	}
}

static void
check_token(JsonWalk *walk, Reader *reader, const char *text,
			JsonTokenType type)
{
	pg_uuid_t	token;

	if (type != JSON_TOKEN_STRING || !uuid_parse(text, &token))
		note_trip(reader, reader->member, NOTE_NOT_UUID);
	else if (reader->expected_token &&
			 !uuid_equal(&token, reader->expected_token))
		fault_set(&walk->stop, ERRCODE_INVALID_PARAMETER_VALUE,
				  "dataset_mismatch",
				  "dataset is that of another track");
}

/* The member being read goes to a jsonb column. */
static void
keep_value(Reader *reader, const char *start, Size len)
{
	Track	   *track = reader->track;
	char	   *text;

	if (len > MAX_EXTRA)
	{
		note_trip(reader, reader->member, NOTE_TOO_LONG);
		return;
	}
	text = MemoryContextAlloc(track->context, len + 1);
	memcpy(text, start, len);
	text[len] = '\0';
	track->value[reader->member].text = text;
	track->given[reader->member] = true;
}

static void
trip_scalar(JsonWalk *walk, Reader *reader, char *text, JsonTokenType type)
{
	Track	   *track = reader->track;
	const Member *member;
	ParsedTime	time;
	Note		note;

	if (!begin_trip_member(reader, json_name(walk, walk->depth)))
		return;
	member = &trip_members[reader->member];
	if (type == JSON_TOKEN_NULL)
		return;
	if (member->kind == KIND_TOKEN)
	{
		check_token(walk, reader, text, type);
		return;
	}
	if (member->kind == KIND_ANY)
	{
		reader->keep = KEEP_VALUE;
		return;
	}
	note = judge(reader, member, text, type, &track->value[reader->member],
				 &time, &track->given[reader->member]);
	if (note != NOTE_NONE)
		note_trip(reader, reader->member, note);
	if (member->kind == KIND_TIME && track->given[reader->member])
		set_trip_time(track, reader->member, &time);
}

/* ----------
 * Points
 * ----------
 */
static int
find_point_member(const char *name)
{
	for (int i = 0; i < POINT_MEMBERS; i++)
	{
		if (point_members[i].name[0] == name[0] &&
			strcmp(point_members[i].name, name) == 0)
			return i;
	}
	return -1;
}

static inline void
note_point(Reader *reader, int member, Note note)
{
	reader->point_note[member][note]++;
}

/* A member of a point begins; the guess is the order of the point before. */
static bool
begin_point_member(Reader *reader, const char *name)
{
	int			position = reader->position++;
	int			member = position < POINT_MEMBERS ? reader->order[position] : -1;

	if (member < 0 || strcmp(point_members[member].name, name) != 0)
	{
		member = find_point_member(name);
		if (position < POINT_MEMBERS)
			reader->order[position] = member;
	}
	reader->member = member;
	if (member < 0)
	{
		reader->keep = is_secret(name) ? KEEP_NOTHING : KEEP_EXTRA;
		return false;
	}
	reader->keep = KEEP_NOTHING;
	if (reader->seen & ((uint32) 1 << member))
	{
		note_point(reader, member, NOTE_REPEATED);
		reader->point->given &= ~((uint32) 1 << member);
		reader->bad &= ~((uint32) 1 << member);
	}
	reader->seen |= (uint32) 1 << member;
	return true;
}

static void
point_begin(Reader *reader, int seq)
{
	Track	   *track = reader->track;

	if (track->npoints == track->room)
	{
		if (track->room == 0)
		{
			track->room = 1024;
			track->points = MemoryContextAllocHuge(track->context, track->room *
												   sizeof(TrackPoint));
		}
		else
		{
			track->room *= 2;
			track->points = repalloc_huge(track->points, track->room *
										  sizeof(TrackPoint));
		}
	}
	reader->point = &track->points[track->npoints++];
	memset(reader->point, 0, sizeof(TrackPoint));
	reader->point->seq = seq;
	reader->point->extra = -1;
	reader->seen = 0;
	reader->bad = 0;
	reader->position = 0;
}

static void
set_point(TrackPoint *point, int member, Kind kind, const Value *value,
		  const ParsedTime *time)
{
	char	   *field = (char *) point + point_offset[member];

	switch (kind)
	{
		case KIND_NUMBER:
			*(double *) field = value->number;
			break;
		case KIND_INTEGER:
			*(int32 *) field = (int32) value->whole;
			break;
		case KIND_BIGINT:
			*(int64 *) field = value->whole;
			break;
		case KIND_BOOLEAN:
		case KIND_FLAG:
			*(bool *) field = value->flag;
			break;
		case KIND_CODE:
			*(uint8 *) field = (uint8) value->whole;
			break;
		case KIND_TIME:
			*(TimestampTz *) field = time->at;
			break;
		default:
			Assert(false);
	}
	point->given |= (uint32) 1 << member;
}

static void
point_scalar(JsonWalk *walk, Reader *reader, char *text, JsonTokenType type)
{
	const Member *member;
	ParsedTime	time;
	Value		value;
	bool		given;
	Note		note;

	if (!begin_point_member(reader, json_name(walk, walk->depth)) ||
		type == JSON_TOKEN_NULL)
		return;
	member = &point_members[reader->member];
	note = judge(reader, member, text, type, &value, &time, &given);
	if (note != NOTE_NONE)
		note_point(reader, reader->member, note);
	if (given)
		set_point(reader->point, reader->member, member->kind, &value, &time);
	else if (note != NOTE_NONE)
		reader->bad |= (uint32) 1 << reader->member;
}

/*
 * A position is both numbers or none.  Of half a position the missing half is
 * noted, unless it was there and has its note already.  0/0, in the Gulf of
 * Guinea, is what receivers without a fix report.
 */
static void
check_position(Reader *reader)
{
	const uint32 both = (1 << POINT_LATITUDE) | (1 << POINT_LONGITUDE);
	TrackPoint *point = reader->point;

	if ((point->given & both) == both)
	{
		if (point->latitude != 0 || point->longitude != 0)
			return;
		note_point(reader, POINT_LATITUDE, NOTE_NULL_ISLAND);
	}
	else
	{
		for (int i = POINT_LATITUDE; i <= POINT_LONGITUDE; i++)
		{
			if (((point->given | reader->bad) & (1 << i)) == 0)
				note_point(reader, i, NOTE_MISSING);
		}
	}
	point->given &= ~both;
}

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
point_end(Reader *reader)
{
	Track	   *track = reader->track;
	TrackPoint *point = reader->point;

	check_position(reader);
	if (!point_has(point, POINT_ALERT_TYPE))
		point->given &= ~(1 << POINT_ALERT_VALUE);
	point->is_filler = is_filler(point, track->npoints > 1 ? point - 1 : NULL);
	if (point->extra >= 0)
	{
		appendStringInfoChar(&track->extras, '}');
		if (track->extras.len - point->extra > MAX_EXTRA)
		{
			track->extras.len = point->extra;
			point->extra = -1;
			reader->point_extra_dropped++;
		}
		else
			appendStringInfoChar(&track->extras, '\0');
	}
}

/* ----------
 * Walking
 * ----------
 */

/* Does not look into the object or array that has just been opened. */
static void
skip(JsonWalk *walk, Reader *reader)
{
	reader->skip_depth = walk->depth;
}

/* Of two results or tracks none is more right than the other. */
static void
enter_result(JsonWalk *walk, Reader *reader)
{
	if (reader->has_result)
		fault_set(&walk->stop, ERRCODE_INVALID_PARAMETER_VALUE,
				  "dataset_mismatch", "dataset has more than one result");
	reader->has_result = true;
	reader->place = PLACE_RESULT;
}

static void
enter_track(JsonWalk *walk, Reader *reader)
{
	if (reader->has_track)
		fault_set(&walk->stop, ERRCODE_INVALID_PARAMETER_VALUE,
				  "dataset_mismatch", "dataset has more than one track");
	reader->has_track = true;
	reader->place = PLACE_TRACK;
}

static void
enter_trip_member(JsonWalk *walk, Reader *reader, bool is_array)
{
	const Member *member;
	Note		note;

	if (!begin_trip_member(reader, json_name(walk, walk->depth - 1)))
	{
		skip(walk, reader);
		return;
	}
	member = &trip_members[reader->member];
	note = judge_container(member, is_array);
	if (note != NOTE_NONE)
		note_trip(reader, reader->member, note);
	else if (member->kind == KIND_POINTS)
	{
		reader->place = PLACE_POINTS;
		return;
	}
	else if (member->kind == KIND_OBJECT || member->kind == KIND_ANY)
		reader->keep = KEEP_VALUE;
	skip(walk, reader);
}

static void
enter_point_member(JsonWalk *walk, Reader *reader, bool is_array)
{
	if (begin_point_member(reader, json_name(walk, walk->depth - 1)))
	{
		Note		note = judge_container(&point_members[reader->member],
										   is_array);

		if (note != NOTE_NONE)
			note_point(reader, reader->member, note);
		reader->bad |= (uint32) 1 << reader->member;
	}
	skip(walk, reader);
}

static void
track_enter(JsonWalk *walk, bool is_array)
{
	Reader	   *reader = walk->state;

	if (reader->skip_depth > 0)
		return;
	switch (reader->place)
	{
		case PLACE_OUTSIDE:
			if (is_array)
				skip(walk, reader);
			else
				reader->place = PLACE_TOP;
			break;
		case PLACE_TOP:
			if (strcmp(json_name(walk, 1), "Result") == 0 && !is_array)
				enter_result(walk, reader);
			else
			{
				reader->is_raw |= strcmp(json_name(walk, 1), "Track") == 0 ||
					strcmp(json_name(walk, 1), "result") == 0;
				reader->keep = is_secret(json_name(walk, 1)) ?
					KEEP_NOTHING : KEEP_EXTRA;
				skip(walk, reader);
			}
			break;
		case PLACE_RESULT:
			if (strcmp(json_name(walk, 2), "Track") == 0 && !is_array)
				enter_track(walk, reader);
			else
			{
				reader->keep = is_secret(json_name(walk, 2)) ?
					KEEP_NOTHING : KEEP_EXTRA;
				skip(walk, reader);
			}
			break;
		case PLACE_TRACK:
			enter_trip_member(walk, reader, is_array);
			break;
		case PLACE_POINTS:
			if (is_array)
			{
				reader->element_note++;
				skip(walk, reader);
				break;
			}
			point_begin(reader, walk->level[walk->depth - 1].index);
			reader->place = PLACE_POINT;
			MemoryContextSwitchTo(reader->point_work);
			break;
		case PLACE_POINT:
			enter_point_member(walk, reader, is_array);
			break;
	}
}

static void
track_leave(JsonWalk *walk, bool is_array)
{
	Reader	   *reader = walk->state;

	if (reader->skip_depth > 0)
	{
		if (walk->depth == reader->skip_depth)
			reader->skip_depth = 0;
		return;
	}
	reader->keep = KEEP_NOTHING;
	if (reader->place == PLACE_POINT)
	{
		point_end(reader);
		MemoryContextSwitchTo(reader->work);
		MemoryContextReset(reader->point_work);
	}
	reader->place--;
}

static void
envelope_scalar(JsonWalk *walk, Reader *reader, char *text, JsonTokenType type)
{
	const char *name = json_name(walk, walk->depth);

	reader->keep = is_secret(name) ? KEEP_NOTHING : KEEP_EXTRA;
	if (reader->place == PLACE_RESULT && strcmp(name, "Code") == 0)
	{
		reader->keep = KEEP_NOTHING;
		reader->has_code = type == JSON_TOKEN_NUMBER;
		reader->code = pstrdup(text);
	}
	else if (reader->place == PLACE_RESULT && strcmp(name, "Track") == 0)
		reader->keep = KEEP_NOTHING;
	else if (reader->place == PLACE_TOP && strcmp(name, "Status") == 0 &&
			 type == JSON_TOKEN_NUMBER)
		reader->status = pstrdup(text);
}

static void
track_scalar(JsonWalk *walk, char *text, JsonTokenType type)
{
	Reader	   *reader = walk->state;

	if (reader->skip_depth == 0)
	{
		switch (reader->place)
		{
			case PLACE_OUTSIDE:
				break;
			case PLACE_TOP:
			case PLACE_RESULT:
				envelope_scalar(walk, reader, text, type);
				break;
			case PLACE_TRACK:
				trip_scalar(walk, reader, text, type);
				break;
			case PLACE_POINTS:
				reader->element_note++;
				break;
			case PLACE_POINT:
				point_scalar(walk, reader, text, type);
				return;			/* freed with the point */
		}
	}
	pfree(text);
}

static void
track_value(JsonWalk *walk, const char *start, Size len)
{
	Reader	   *reader = walk->state;
	char	   *name = walk->level[walk->depth].name;

	if (reader->skip_depth == 0)
	{
		if (reader->keep == KEEP_VALUE)
			keep_value(reader, start, len);
		else if (reader->keep == KEEP_EXTRA)
			keep_extra(reader, name, start, len);
		reader->keep = KEEP_NOTHING;
	}
	if (name && (reader->place != PLACE_POINT || reader->skip_depth > 0))
	{
		pfree(name);
		walk->level[walk->depth].name = NULL;
	}
}

/* ----------
 * Looking at the whole
 * ----------
 */
static bool
check_envelope(const Reader *reader, Fault *fault)
{
	int64		code;

	if (reader->has_code &&
		(!read_int64(reader->code, &code) || code != TRACK_OK))
		return fault_set(fault, ERRCODE_PROTOCOL_VIOLATION, "dataset_error",
						 "platform answered with code %s instead of the track",
						 reader->code);
	if (reader->has_track)
		return true;
	if (reader->status)
		return fault_set(fault, ERRCODE_INVALID_PARAMETER_VALUE,
						 "dataset_mismatch",
						 "platform answered with status %s instead of the track",
						 reader->status);
	if (reader->is_raw)
		return fault_set(fault, ERRCODE_INVALID_PARAMETER_VALUE,
						 "dataset_mismatch",
						 "dataset is a raw track, not a processed one");
	return fault_set(fault, ERRCODE_INVALID_PARAMETER_VALUE,
					 "dataset_mismatch",
					 "dataset has no object Result.Track");
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

/* What is odd about values together; and the extra members in one object. */
static void
check_track(Reader *reader)
{
	Track	   *track = reader->track;
	StringInfo	outer = &reader->outer_extra;
	StringInfo	inner = &reader->inner_extra;
	int			points = find_trip_member("Points");

	measure_points(track);
	if (!reader->trip_seen[points])
		note_trip(reader, points, NOTE_MISSING);
	if (track->given[TRIP_START_DATE] && track->given[TRIP_END_DATE] &&
		track->value[TRIP_END_DATE].at < track->value[TRIP_START_DATE].at)
		note_trip(reader, TRIP_END_DATE, NOTE_BEFORE_START);
	if (track->given[TRIP_DURATION] && track->value[TRIP_DURATION].number < 0)
		note_trip(reader, TRIP_DURATION, NOTE_NEGATIVE);

	if ((Size) outer->len + inner->len > MAX_EXTRA)
		reader->extra_dropped = true;
	else if (outer->len + inner->len > 0)
		/* jsonb takes the last of equal names: the track's own */
		track->extra = psprintf("{%s%s%s}", outer->data,
								outer->len > 0 && inner->len > 0 ? "," : "",
								inner->data);
}

static void
add_note(Track *track, char *note)
{
	if (track->notes == NULL)
		track->notes = palloc((TRIP_MEMBERS + POINT_MEMBERS) * NOTES *
							  sizeof(char *));
	track->notes[track->nnotes++] = note;
}

static void
write_notes(Reader *reader)
{
	Track	   *track = reader->track;

	if (!reader->has_code)
		add_note(track, psprintf("Code: %s", note_text[reader->code ?
													   NOTE_NOT_NUMBER :
													   NOTE_MISSING]));
	for (int i = 0; i < TRIP_MEMBERS; i++)
	{
		for (Note note = NOTE_NONE + 1; note < NOTES; note++)
		{
			if (reader->trip_note[i][note] > 0)
				add_note(track, psprintf("%s: %s", trip_members[i].name,
										 note_text[note]));
		}
	}
	if (reader->extra_dropped)
		add_note(track, psprintf("extra: %s", note_text[NOTE_TOO_LONG]));
	if (reader->element_note > 0)
		add_note(track, psprintf("Points[]: %s (%u)",
								 note_text[NOTE_NOT_OBJECT],
								 reader->element_note));
	for (int i = 0; i < POINT_MEMBERS; i++)
	{
		for (Note note = NOTE_NONE + 1; note < NOTES; note++)
		{
			if (reader->point_note[i][note] > 0)
				add_note(track, psprintf("Points.%s: %s (%u)",
										 point_members[i].name,
										 note_text[note],
										 reader->point_note[i][note]));
		}
	}
	if (reader->point_extra_dropped > 0)
		add_note(track, psprintf("Points.extra: %s (%u)",
								 note_text[NOTE_TOO_LONG],
								 reader->point_extra_dropped));
}

/* ----------
 * Storing
 * ----------
 */

/* columns of damoov.trips that are not one member each, before the others */
typedef enum TripColumn
{
	TRIP_COL_TRACK_TOKEN,
	TRIP_COL_USER_ID,
	TRIP_COL_ENRICHED_AT,
	TRIP_COL_REVISION,
	TRIP_COL_START_UTC_OFFSET_MIN,
	TRIP_COL_END_UTC_OFFSET_MIN,
	TRIP_COL_POINT_COUNT,
	TRIP_COL_FILLER_COUNT,
	TRIP_COL_MIN_LATITUDE,
	TRIP_COL_MIN_LONGITUDE,
	TRIP_COL_MAX_LATITUDE,
	TRIP_COL_MAX_LONGITUDE,
	TRIP_COL_NOTES,
	TRIP_COL_EXTRA,
	TRIP_COLUMNS
} TripColumn;

static const BulkColumn trip_columns[TRIP_COLUMNS] = {
	[TRIP_COL_TRACK_TOKEN] = {"track_token", UUIDOID},
	[TRIP_COL_USER_ID] = {"user_id", INT8OID},
	[TRIP_COL_ENRICHED_AT] = {"enriched_at", TIMESTAMPTZOID},
	[TRIP_COL_REVISION] = {"revision", INT4OID},
	[TRIP_COL_START_UTC_OFFSET_MIN] = {"start_utc_offset_min", INT4OID},
	[TRIP_COL_END_UTC_OFFSET_MIN] = {"end_utc_offset_min", INT4OID},
	[TRIP_COL_POINT_COUNT] = {"point_count", INT4OID},
	[TRIP_COL_FILLER_COUNT] = {"filler_count", INT4OID},
	[TRIP_COL_MIN_LATITUDE] = {"min_latitude", FLOAT8OID},
	[TRIP_COL_MIN_LONGITUDE] = {"min_longitude", FLOAT8OID},
	[TRIP_COL_MAX_LATITUDE] = {"max_latitude", FLOAT8OID},
	[TRIP_COL_MAX_LONGITUDE] = {"max_longitude", FLOAT8OID},
	[TRIP_COL_NOTES] = {"notes", TEXTARRAYOID},
	[TRIP_COL_EXTRA] = {"extra", JSONBOID}
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

static SqlPlan upsert_trip;		/* written by prepare_upsert */

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

static Oid
kind_type(Kind kind)
{
	switch (kind)
	{
		case KIND_NUMBER:
			return FLOAT8OID;
		case KIND_INTEGER:
			return INT4OID;
		case KIND_BIGINT:
			return INT8OID;
		case KIND_BOOLEAN:
		case KIND_FLAG:
			return BOOLOID;
		case KIND_TEXT:
		case KIND_CODE:
			return TEXTOID;
		case KIND_TIME:
			return TIMESTAMPTZOID;
		case KIND_OBJECT:
		case KIND_ANY:
			return JSONBOID;
		case KIND_TOKEN:
		case KIND_SECRET:
		case KIND_POINTS:
			break;
	}
	elog(ERROR, "member of kind %d has no column", kind);
}

static Datum
value_datum(Kind kind, const Value *value)
{
	switch (kind_type(kind))
	{
		case FLOAT8OID:
			return Float8GetDatum(value->number);
		case INT4OID:
			return Int32GetDatum((int32) value->whole);
		case INT8OID:
			return Int64GetDatum(value->whole);
		case BOOLOID:
			return BoolGetDatum(value->flag);
		case TIMESTAMPTZOID:
			return TimestampTzGetDatum(value->at);
		default:
			return CStringGetTextDatum(value->text);
	}
}

static void
add_column(StringInfo names, StringInfo values, StringInfo updates,
		   const char *name, Oid type)
{
	int			number = ++upsert_trip.nargs;
	const char *comma = number > 1 ? ", " : "";

	/* jsonb travels as text and is parsed on arrival */
	upsert_trip.argtypes[number - 1] = type == JSONBOID ? TEXTOID : type;
	appendStringInfo(names, "%s%s", comma, name);
	appendStringInfo(values, "%s$%d%s", comma, number,
					 type == JSONBOID ? "::pg_catalog.jsonb" : "");
	appendStringInfo(updates, "%s%s = EXCLUDED.%s", comma, name, name);
}

static void
prepare_upsert(void)
{
	StringInfoData names;
	StringInfoData values;
	StringInfoData updates;

	if (upsert_trip.text != NULL)
		return;
	initStringInfo(&names);
	initStringInfo(&values);
	initStringInfo(&updates);
	upsert_trip.nargs = 0;
	for (int i = 0; i < TRIP_COLUMNS; i++)
		add_column(&names, &values, &updates, trip_columns[i].name,
				   trip_columns[i].type);
	for (int i = 0; i < TRIP_MEMBERS; i++)
	{
		if (trip_members[i].column)
			add_column(&names, &values, &updates, trip_members[i].column,
					   kind_type(trip_members[i].kind));
	}
	upsert_trip.text = MemoryContextStrdup(TopMemoryContext,
										   psprintf("INSERT INTO damoov.trips (%s) VALUES (%s) "
													"ON CONFLICT (track_token) DO UPDATE "
													"SET %s, stored_at = DEFAULT RETURNING trip_id",
													names.data, values.data,
													updates.data));
}

static Datum
notes_datum(const Track *track)
{
	Datum	   *texts = palloc(track->nnotes * sizeof(Datum));

	for (int i = 0; i < track->nnotes; i++)
		texts[i] = CStringGetTextDatum(track->notes[i]);
	return sql_array(texts, NULL, track->nnotes, TEXTOID);
}

static int64
store_trip(const Track *track, const TrackKey *key)
{
	Datum		values[SQL_MAX_ARGS] = {0};
	bool		isnull[SQL_MAX_ARGS] = {0};
	int			column = TRIP_COLUMNS;

	prepare_upsert();
	values[TRIP_COL_TRACK_TOKEN] = UUIDPGetDatum(&key->token);
	values[TRIP_COL_USER_ID] = Int64GetDatum(key->user_id);
	values[TRIP_COL_ENRICHED_AT] = TimestampTzGetDatum(key->enriched_at);
	isnull[TRIP_COL_ENRICHED_AT] = !key->has_enriched_at;
	values[TRIP_COL_REVISION] = Int32GetDatum(key->revision);
	values[TRIP_COL_START_UTC_OFFSET_MIN] = Int32GetDatum(track->start_offset_min);
	isnull[TRIP_COL_START_UTC_OFFSET_MIN] =
		!track->given[TRIP_START_DATE] || !track->has_start_offset;
	values[TRIP_COL_END_UTC_OFFSET_MIN] = Int32GetDatum(track->end_offset_min);
	isnull[TRIP_COL_END_UTC_OFFSET_MIN] =
		!track->given[TRIP_END_DATE] || !track->has_end_offset;
	values[TRIP_COL_POINT_COUNT] = Int32GetDatum(track->npoints);
	values[TRIP_COL_FILLER_COUNT] = Int32GetDatum(track->nfillers);
	values[TRIP_COL_MIN_LATITUDE] = Float8GetDatum(track->box.min_latitude);
	values[TRIP_COL_MIN_LONGITUDE] = Float8GetDatum(track->box.min_longitude);
	values[TRIP_COL_MAX_LATITUDE] = Float8GetDatum(track->box.max_latitude);
	values[TRIP_COL_MAX_LONGITUDE] = Float8GetDatum(track->box.max_longitude);
	for (int i = TRIP_COL_MIN_LATITUDE; i <= TRIP_COL_MAX_LONGITUDE; i++)
		isnull[i] = track->nlocated == 0;
	if (track->nnotes > 0)
		values[TRIP_COL_NOTES] = notes_datum(track);
	else
		isnull[TRIP_COL_NOTES] = true;
	if (track->extra)
		values[TRIP_COL_EXTRA] = CStringGetTextDatum(track->extra);
	else
		isnull[TRIP_COL_EXTRA] = true;

	for (int i = 0; i < TRIP_MEMBERS; i++)
	{
		if (trip_members[i].column == NULL)
			continue;
		if (track->given[i])
			values[column] = value_datum(trip_members[i].kind,
										 &track->value[i]);
		else
			isnull[column] = true;
		column++;
	}
	Assert(column == upsert_trip.nargs);
	if (sql_run(&upsert_trip, values, isnull) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("could not store the trip in table \"%s\"", "trips"),
				 errdetail("A rule or trigger kept the row away.")));
	return DatumGetInt64(sql_value(0, 1, NULL));
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
	if (point->extra >= 0)
		*value = DirectFunctionCall1(jsonb_in,
									 CStringGetDatum(rows->track->extras.data +
													 point->extra));
	else
		isnull[value - values] = true;
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
