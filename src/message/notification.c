/*
 * notification.c
 *	  One Damoov notification: bytes to checked values.
 *
 * One table names every member we know, where it stands and whether it is
 * hard (without it the notification is refused) or soft (it becomes NULL and
 * a note).  Reading fills two cells a member: what stood under the exact name
 * and what stood under another spelling of case, which counts only when the
 * exact name is absent.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/json.h"
#include "base/sql.h"
#include "base/timestamp.h"
#include "base/uuid.h"
#include "compat.h"
#include "message/notification.h"

SQL_FUNCTION(damoov_read_notification);

#define MAX_CLIENT_ID	1000	/* characters; a reference is not longer */
#define MAX_EVENT_NAME	200 /* it is part of a key */
#define MAX_AHEAD		(INT64CONST(24) * USECS_PER_HOUR)
#define OLD_YEARS		10

typedef enum Member
{
	M_EVENT,
	M_USER_ID,
	M_CLIENT_ID,
	M_TIMESTAMP,
	M_OBJECT,
	M_DETAILS,
	M_OBJECT_ID,
	M_OBJECT_TYPE,
	M_OBJECT_URL,
	M_OBJECT_URI,
	M_TRACK_START,
	M_TRACK_FINISH,
	M_REASON,
	M_TRACKS_REMOVED,
	M_DATE_RECEIVED,
	M_PACKAGE_DATE,
	M_PASSED_FILTERS,
	M_DATE_FILTERED,
	M_CHARGE_LEVEL,
	M_WIFI,
	M_GPS,
	M_MOBILE_DATA,
	M_REAL_TIME,
	M_WAITING_TRIPS,
	M_INSTANCE_ID,
	M_TIME_RECEIVED,
	MEMBER_COUNT
} Member;

/* of damoov.read_notification() and damoov.arrival, in their order */
typedef enum Column
{
	C_CLIENT_ID, C_URL, C_TRACK_STARTED, C_TRACK_ENDED, C_START_OFFSET, C_REASON, C_REMOVED,
	C_STAGE_AT, C_PASSED_FILTERS, C_TIME_RECEIVED, C_CHARGE, C_WIFI, C_GPS, C_MOBILE_DATA,
	C_REAL_TIME, C_WAITING_TRIPS, C_INSTANCE_ID, C_EVENT, C_OBJECT_TYPE, COLUMN_COUNT
} Column;

StaticAssertDecl(C_INSTANCE_ID + 1 == NOTIFICATION_DETAILS, "an arrival ends with the instance");

typedef struct MemberSpec
{
	int			parent;			/* M_OBJECT, M_DETAILS or -1 */
	const char *name;
	bool		hard;
} MemberSpec;

static const MemberSpec specs[MEMBER_COUNT] = {
	[M_EVENT] = {-1, "Event", true},
	[M_USER_ID] = {-1, "UserId", true},
	[M_CLIENT_ID] = {-1, "ClientId", false},
	[M_TIMESTAMP] = {-1, "Timestamp", true},
	[M_OBJECT] = {-1, "Object", true},
	[M_DETAILS] = {-1, "Details", false},
	[M_OBJECT_ID] = {M_OBJECT, "Id", true},
	[M_OBJECT_TYPE] = {M_OBJECT, "Type", false},
	[M_OBJECT_URL] = {M_OBJECT, "Url", false},
	[M_OBJECT_URI] = {M_OBJECT, "Uri", false},
	[M_TRACK_START] = {M_DETAILS, "TrackStartDate", false},
	[M_TRACK_FINISH] = {M_DETAILS, "TrackFinishDate", false},
	[M_REASON] = {M_DETAILS, "Reason", false},
	[M_TRACKS_REMOVED] = {M_DETAILS, "TracksRemoved", false},
	[M_DATE_RECEIVED] = {M_DETAILS, "DateReceived", false},
	[M_PACKAGE_DATE] = {M_DETAILS, "PackageDateReceived", false},
	[M_PASSED_FILTERS] = {M_DETAILS, "AccidentPassedFilters", false},
	[M_DATE_FILTERED] = {M_DETAILS, "DateFiltered", false},
	[M_CHARGE_LEVEL] = {M_DETAILS, "ChargeLevel", false},
	[M_WIFI] = {M_DETAILS, "WifiEnabled", false},
	[M_GPS] = {M_DETAILS, "GPSEnabled", false},
	[M_MOBILE_DATA] = {M_DETAILS, "MobileDataEnabled", false},
	[M_REAL_TIME] = {M_DETAILS, "RealTimeLocationEnabled", false},
	[M_WAITING_TRIPS] = {M_DETAILS, "NotUploadedTripsCount", false},
	[M_INSTANCE_ID] = {M_DETAILS, "InstanceId", false},
	[M_TIME_RECEIVED] = {M_DETAILS, "TimeReceived", false},
};

/* The events, their Object.Type, and which Details member dates the stage. */
typedef struct EventSpec
{
	const char *name;
	const char *object_type;
	int			stage_member;	/* -1: none */
} EventSpec;

static const EventSpec events[] = {
	[EVENT_TRACK_RECEIVED] = {"IncomingTrackReceived", "IncomingTrack", -1},
	[EVENT_TRACK_REMOVED] = {"IncomingTrackRemoved", "IncomingTrackSummary", -1},
	[EVENT_TRACK_ENRICHED] = {"TrackEnrichmentFinished", "RichTrack", -1},
	[EVENT_CRASH_RECEIVED] = {"AccidentEventReceived", "Accident", M_DATE_RECEIVED},
	[EVENT_CRASH_BUFFER] = {"AccidentEventExtraReceived", "AccidentExtra", M_DATE_RECEIVED},
	[EVENT_CRASH_COMPLETE] = {"AccidentEventCompletePackageReceived", "Accident", M_PACKAGE_DATE},
	[EVENT_CRASH_FILTERED] = {"AccidentEventFiltered", "Accident", M_DATE_FILTERED},
	[EVENT_HEARTBEAT] = {"HeartbeatReceived", "RawHeartbeat", -1},
};

/* Older names, the portal's numbers, and the vendor's own misspelling. */
static const struct
{
	const char *alias;
	EventKind	kind;
}			aliases[] = {
	{"DataBufferReceived", EVENT_CRASH_BUFFER},
	{"CrashDataSetCompleted", EVENT_CRASH_COMPLETE},
	{"TrackEnrichementFinished", EVENT_TRACK_ENRICHED},
	{"4", EVENT_CRASH_RECEIVED},
	{"5", EVENT_CRASH_BUFFER},
	{"6", EVENT_CRASH_COMPLETE},
	{"7", EVENT_CRASH_FILTERED},
};

/* JSON_TOKEN_INVALID stands for "absent" */
typedef struct Cell
{
	JsonTokenType type;
	char	   *text;			/* scalars only */
	const char *name;			/* as spelled */
	bool		repeated;		/* seen more than once */
	bool		differs;		/* with different values */
	bool		respelled;		/* by different spellings of case */
} Cell;

typedef struct Reading
{
	Cell		exact[MEMBER_COUNT];
	Cell		variant[MEMBER_COUNT];
	const Cell *cell[MEMBER_COUNT]; /* the one that counts, or NULL */
	bool		top_is_object;
	List	   *removed;		/* texts of TracksRemoved[].Id, NULL: no Id */
	bool		bad_removed;	/* an element that is no object */
	Notification *out;
	Datum		values[COLUMN_COUNT];
	bool		nulls[COLUMN_COUNT];
} Reading;

/* ----- collecting the members ----- */

static int
find_member(int parent, const char *name, bool *exact)
{
	for (int i = 0; i < MEMBER_COUNT; i++)
	{
		/* the first letter, in either case, tells most of them apart */
		if (specs[i].parent == parent && ((specs[i].name[0] ^ name[0]) & ~0x20) == 0 &&
			pg_strcasecmp(specs[i].name, name) == 0)
		{
			*exact = strcmp(specs[i].name, name) == 0;
			return i;
		}
	}
	return -1;
}

bool
notification_knows(const char *parent, const char *name)
{
	/* documented, without a meaning for the tables */
	static const MemberSpec unused[] = {
		{-1, "Sender", false},
		{M_DETAILS, "ObjectReplaced", false},
		{M_TRACKS_REMOVED, "Id", false},
		{M_TRACKS_REMOVED, "Type", false},
	};
	int			at = -1;
	bool		exact;

	if (parent != NULL)
	{
		at = find_member(-1, parent, &exact);
		if (at < 0)
			at = find_member(M_DETAILS, parent, &exact);
	}
	for (int i = 0; i < (int) lengthof(unused); i++)
	{
		if (unused[i].parent == at && pg_strcasecmp(unused[i].name, name) == 0)
			return true;
	}
	return find_member(at, name, &exact) >= 0;
}

/* The member that stands at the walk's current place, or -1. */
static int
current_member(JsonWalk *walk, int depth, bool *exact)
{
	bool		parent_exact = true;
	int			parent = -1;
	int			member;

	if (depth == 2)
	{
		parent = find_member(-1, json_name(walk, 1), &parent_exact);
		if (parent != M_OBJECT && parent != M_DETAILS)
			return -1;
	}
	else if (depth != 1)
		return -1;
	member = find_member(parent, json_name(walk, depth), exact);
	*exact = *exact && parent_exact;
	return member;
}

/* The last of two objects counts, as in jsonb; their members must not mix. */
static void
forget_members(Reading *reading, int parent)
{
	for (int i = 0; i < MEMBER_COUNT; i++)
	{
		if (specs[i].parent != parent)
			continue;
		memset(&reading->exact[i], 0, sizeof(Cell));
		memset(&reading->variant[i], 0, sizeof(Cell));
	}
}

static void
put_cell(Reading *reading, JsonWalk *walk, int depth, JsonTokenType type, char *text)
{
	bool		exact = false;
	int			member = current_member(walk, depth, &exact);
	Cell	   *cell;

	if (member < 0)
		return;
	cell = exact ? &reading->exact[member] : &reading->variant[member];
	if (cell->type != JSON_TOKEN_INVALID)
	{
		cell->repeated = true;
		cell->differs |= cell->type != type || text == NULL ||
			strcmp(cell->text, text) != 0;
		if (text == NULL)
			forget_members(reading, member);
		cell->respelled |= strcmp(cell->name, json_name(walk, depth)) != 0;
	}
	cell->type = type;
	cell->text = text;
	cell->name = json_name(walk, depth);
}

static bool
in_tracks_removed(JsonWalk *walk)
{
	return walk->depth >= 3 &&
		pg_strcasecmp(json_name(walk, 1), "Details") == 0 &&
		pg_strcasecmp(json_name(walk, 2), "TracksRemoved") == 0;
}

static void
on_enter(JsonWalk *walk, bool is_array)
{
	Reading    *reading = walk->state;

	if (walk->depth == 1)
		reading->top_is_object = !is_array;
	else if (walk->depth <= 3)
		put_cell(reading, walk, walk->depth - 1,
				 is_array ? JSON_TOKEN_ARRAY_START : JSON_TOKEN_OBJECT_START, NULL);

	if (!in_tracks_removed(walk))
		return;
	if (walk->depth == 3)
	{
		/* a repeated TracksRemoved: the last one counts, as in jsonb */
		reading->removed = NIL;
		reading->bad_removed = false;
	}
	else if (walk->depth == 4)
	{
		reading->bad_removed |= is_array;
		reading->removed = lappend(reading->removed, NULL);
	}
}

static void
on_scalar(JsonWalk *walk, char *text, JsonTokenType type)
{
	Reading    *reading = walk->state;

	put_cell(reading, walk, walk->depth, type, text);
	if (!in_tracks_removed(walk))
		return;
	if (walk->depth == 3)
		reading->bad_removed = true;
	else if (walk->depth == 4 && type == JSON_TOKEN_STRING &&
			 reading->removed != NIL && pg_strcasecmp(json_name(walk, 4), "Id") == 0)
		llast(reading->removed) = text;
}

/* ----- notes ----- */

static void
add_note(Reading *reading, Member member, const char *reason)
{
	const char *parent = specs[member].parent < 0 ? "" : specs[specs[member].parent].name;

	reading->out->notes = lappend(reading->out->notes,
								  psprintf("%s%s%s: %s", parent, *parent ? "." : "",
										   specs[member].name, reason));
}

/* ----- hard members ----- */

static bool
duplicate_fault(const char *name, Fault *fault)
{
	return fault_set(fault, REASON_DUP_KEY, "notification has more than one \"%s\"", name);
}

/* Decides for each member which cell counts. */
static bool
settle_cells(Reading *reading, bool refuse_duplicates, Fault *fault)
{
	for (int i = 0; i < MEMBER_COUNT; i++)
	{
		const Cell *exact = &reading->exact[i];
		const Cell *variant = &reading->variant[i];

		if (exact->type != JSON_TOKEN_INVALID)
			reading->cell[i] = exact;
		else if (variant->type != JSON_TOKEN_INVALID)
		{
			if (specs[i].hard && variant->respelled)
				return duplicate_fault(specs[i].name, fault);
			reading->cell[i] = variant;
			add_note(reading, i, "other spelling of case");
		}
		if (reading->cell[i] == NULL || !reading->cell[i]->repeated)
			continue;
		if (specs[i].hard && reading->cell[i]->differs && refuse_duplicates)
			return duplicate_fault(specs[i].name, fault);
		add_note(reading, i, "repeated, the last one taken");
	}

	if (reading->cell[M_OBJECT] == NULL)
		return fault_set(fault, REASON_MISSING_FIELD, "notification has no \"Object\"");
	if (reading->cell[M_OBJECT]->type != JSON_TOKEN_OBJECT_START)
		return fault_set(fault, REASON_BAD_TYPE,
						 "\"Object\" of the notification is not a JSON object");
	if (reading->cell[M_DETAILS] != NULL &&
		reading->cell[M_DETAILS]->type != JSON_TOKEN_OBJECT_START &&
		reading->cell[M_DETAILS]->type != JSON_TOKEN_NULL)
		return fault_set(fault, REASON_BAD_TYPE,
						 "\"Details\" of the notification is not a JSON object");
	return true;
}

/* Text of a member, or NULL when it is absent, null or empty. */
static const char *
filled(const Reading *reading, Member member)
{
	const Cell *cell = reading->cell[member];

	if (cell == NULL || cell->type == JSON_TOKEN_NULL ||
		(cell->type == JSON_TOKEN_STRING && cell->text[0] == '\0'))
		return NULL;
	return cell->text ? cell->text : "";
}

static bool
missing_fault(Member member, Fault *fault)
{
	return fault_set(fault, REASON_MISSING_FIELD, "notification has no \"%s%s\"",
					 member == M_OBJECT_ID ? "Object." : "", specs[member].name);
}

static bool
type_fault(Member member, Fault *fault)
{
	return fault_set(fault, REASON_BAD_TYPE,
					 "\"%s%s\" of the notification has the wrong JSON type",
					 member == M_OBJECT_ID ? "Object." : "", specs[member].name);
}

static bool
read_event(Reading *reading, Fault *fault)
{
	Notification *out = reading->out;
	const char *name = filled(reading, M_EVENT);
	JsonTokenType type;

	if (name == NULL)
		return missing_fault(M_EVENT, fault);
	out->kind = EVENT_UNKNOWN;
	out->event = pstrdup(name);
	type = reading->cell[M_EVENT]->type;
	for (int i = 0; i < (int) lengthof(aliases); i++)
	{
		if (strcmp(name, aliases[i].alias) == 0)
		{
			out->kind = aliases[i].kind;
			out->event = pstrdup(events[out->kind].name);
			return true;
		}
	}
	if (type != JSON_TOKEN_STRING)
		return type_fault(M_EVENT, fault);
	if (strlen(name) > MAX_EVENT_NAME)
		return fault_set(fault, REASON_TOO_BIG,
						 "\"Event\" of the notification is longer than %d bytes",
						 MAX_EVENT_NAME);
	for (int i = EVENT_UNKNOWN + 1; i < (int) lengthof(events); i++)
	{
		if (strcmp(name, events[i].name) == 0)
			out->kind = i;
	}
	return true;
}

static bool
read_id(Reading *reading, Member member, pg_uuid_t *id, Fault *fault)
{
	const char *text = filled(reading, member);

	if (text == NULL)
		return missing_fault(member, fault);
	if (reading->cell[member]->type != JSON_TOKEN_STRING)
		return type_fault(member, fault);
	/* the text is not quoted: UserId is a credential */
	if (!uuid_parse(text, id))
		return fault_set(fault, REASON_BAD_UUID, "\"%s%s\" of the notification is not a UUID",
						 member == M_OBJECT_ID ? "Object." : "", specs[member].name);
	if (uuid_is_zero(id))
		return missing_fault(member, fault);
	return true;
}

static bool
read_sent_at(Reading *reading, bool refuse_future, Fault *fault)
{
	TimestampTz now = GetCurrentTimestamp();
	const Cell *cell = reading->cell[M_TIMESTAMP];
	ParsedTime	time;
	TimeResult	result = TIME_SYNTAX;

	if (cell == NULL)
		return missing_fault(M_TIMESTAMP, fault);
	if (cell->type == JSON_TOKEN_STRING)
		result = timestamp_parse(cell->text, strlen(cell->text), &time);
	if (result != TIME_OK)
		return fault_set_state(fault, timestamp_sqlstate(result), REASON_BAD_TIME,
						 "\"Timestamp\" of the notification %s",
						 timestamp_fault(result));
	if (refuse_future && time.at > now + MAX_AHEAD)
		return fault_set(fault, REASON_CLOCK_SKEW,
						 "\"Timestamp\" of the notification is more than 24 hours ahead");
	if (!time.has_zone)
		add_note(reading, M_TIMESTAMP, "no zone, read as UTC");
	if (time.leap_second)
		add_note(reading, M_TIMESTAMP, "second 60");
	if (time.end_of_day)
		add_note(reading, M_TIMESTAMP, "hour 24");
	if (time.at < now - OLD_YEARS * DAYS_PER_YEAR * USECS_PER_DAY)
		add_note(reading, M_TIMESTAMP, "far in the past");
	reading->out->sent_at = time.at;
	reading->out->sent_text = cell->text;
	return true;
}

static bool
read_removed(Reading *reading, Fault *fault)
{
	Notification *out = reading->out;
	const Cell *cell = reading->cell[M_TRACKS_REMOVED];
	bool		self = false;
	ListCell   *element;

	if (cell == NULL || cell->type == JSON_TOKEN_NULL)
		return true;
	if (cell->type != JSON_TOKEN_ARRAY_START || reading->bad_removed)
		return fault_set(fault, REASON_BAD_TYPE,
						 "\"TracksRemoved\" of the notification is not an array of objects");
	out->removed = palloc(Max(1, list_length(reading->removed)) * sizeof(pg_uuid_t));
	foreach(element, reading->removed)
	{
		const char *text = lfirst(element);
		pg_uuid_t  *id = &out->removed[out->nremoved];
		bool		given = text != NULL && text[0] != '\0';
		int			number = foreach_current_index(element) + 1;

		if (given && !uuid_parse(text, id))
			return fault_set(fault, REASON_BAD_UUID,
							 "\"Id\" of element %d of \"TracksRemoved\" is not a UUID", number);
		if (!given || uuid_is_zero(id))
			return fault_set(fault, REASON_MISSING_FIELD,
							 "element %d of \"TracksRemoved\" has no \"Id\"", number);
		if (uuid_equal(id, &out->object_id))
			self = true;
		else
			out->nremoved++;
	}
	if (self)
		add_note(reading, M_TRACKS_REMOVED, "names the track itself, ignored");
	return true;
}

/* ----- soft members ----- */

static void
put(Reading *reading, Column column, Datum value)
{
	reading->values[column] = value;
	reading->nulls[column] = false;
}

static void
put_text(Reading *reading, Column column, const char *text)
{
	if (text)
		put(reading, column, CStringGetTextDatum(text));
}

static char *
soft_string(Reading *reading, Member member)
{
	const char *text = filled(reading, member);

	if (text == NULL)
		return NULL;
	if (reading->cell[member]->type != JSON_TOKEN_STRING)
	{
		add_note(reading, member, "not a string");
		return NULL;
	}
	return unconstify(char *, text);
}

static void
read_text(Reading *reading, Member member, Column column)
{
	const char *text = soft_string(reading, member);

	if (text && member == M_CLIENT_ID && pg_mbstrlen(text) > MAX_CLIENT_ID)
		add_note(reading, member, "too long");
	else
		put_text(reading, column, text);
}

static void
read_time(Reading *reading, Member member, Column column)
{
	const char *text = soft_string(reading, member);
	ParsedTime	time;
	TimeResult	result;

	if (text == NULL)
		return;
	result = timestamp_parse(text, strlen(text), &time);
	if (result == TIME_OK)
	{
		put(reading, column, TimestampTzGetDatum(time.at));
		if (!time.has_zone)
			add_note(reading, member, "no zone, read as UTC");
		else if (member == M_TRACK_START)
			put(reading, C_START_OFFSET, Int32GetDatum(time.offset_min));
	}
	else if (result != TIME_EMPTY)	/* the platform's "no date" */
		add_note(reading, member, "not a time");
}

static void
read_bool(Reading *reading, Member member, Column column)
{
	JsonTokenType type = reading->cell[member]->type;

	if (type == JSON_TOKEN_TRUE || type == JSON_TOKEN_FALSE)
		put(reading, column, BoolGetDatum(type == JSON_TOKEN_TRUE));
	else
		add_note(reading, member, "not a boolean");
}

/* From 0 on: a percentage, or a count. */
static void
read_number(Reading *reading, Member member, Column column)
{
	const Cell *cell = reading->cell[member];
	const bool	whole = member == M_WAITING_TRIPS;
	const double max = whole ? PG_INT32_MAX : 100;
	int64		integer;
	double		number;

	if (cell->type != JSON_TOKEN_NUMBER || (whole && !json_int64(cell->text, &integer)))
		add_note(reading, member, whole ? "not an integer" : "not a number");
	else if (!json_double(cell->text, &number) || number < 0 || number > max)
		add_note(reading, member, "out of range");
	else
		put(reading, column, whole ? Int32GetDatum((int32) number) : Float8GetDatum(number));
}

static void
read_uuid(Reading *reading, Member member, Column column)
{
	const char *text = soft_string(reading, member);
	pg_uuid_t  *uuid = palloc(sizeof(pg_uuid_t));

	if (text == NULL)
		return;
	if (!uuid_parse(text, uuid))
		add_note(reading, member, "not a UUID");
	else if (!uuid_is_zero(uuid))
		put(reading, column, UUIDPGetDatum(uuid));
}

static void
read_object(Reading *reading)
{
	Notification *out = reading->out;
	char		id[UUID_TEXT_SIZE];

	out->object_type = soft_string(reading, M_OBJECT_TYPE);
	if (out->object_type && out->kind != EVENT_UNKNOWN &&
		strcmp(out->object_type, events[out->kind].object_type) != 0)
		add_note(reading, M_OBJECT_TYPE, "not the type of this event");

	out->url = soft_string(reading, M_OBJECT_URL);
	if (out->url == NULL)
		out->url = soft_string(reading, M_OBJECT_URI);
	if (out->url && strcasestr(out->url, uuid_format(&out->object_id, id)) == NULL)
		add_note(reading, M_OBJECT_URL, "does not name the object");
}

/* Those that become a column; they are read when they are not empty. */
static const struct
{
	Member		member;
	Column		column;
	void		(*read) (Reading *reading, Member member, Column column);
}			soft_members[] = {
	{M_CLIENT_ID, C_CLIENT_ID, read_text},
	{M_REASON, C_REASON, read_text},
	{M_TRACK_START, C_TRACK_STARTED, read_time},
	{M_TRACK_FINISH, C_TRACK_ENDED, read_time},
	{M_TIME_RECEIVED, C_TIME_RECEIVED, read_time},
	{M_DATE_RECEIVED, C_STAGE_AT, read_time},
	{M_PACKAGE_DATE, C_STAGE_AT, read_time},
	{M_DATE_FILTERED, C_STAGE_AT, read_time},
	{M_PASSED_FILTERS, C_PASSED_FILTERS, read_bool},
	{M_WIFI, C_WIFI, read_bool},
	{M_GPS, C_GPS, read_bool},
	{M_MOBILE_DATA, C_MOBILE_DATA, read_bool},
	{M_REAL_TIME, C_REAL_TIME, read_bool},
	{M_CHARGE_LEVEL, C_CHARGE, read_number},
	{M_WAITING_TRIPS, C_WAITING_TRIPS, read_number},
	{M_INSTANCE_ID, C_INSTANCE_ID, read_uuid},
};

static void
read_soft_members(Reading *reading)
{
	EventKind	kind = reading->out->kind;

	read_object(reading);
	for (int i = 0; i < (int) lengthof(soft_members); i++)
	{
		Member		member = soft_members[i].member;

		/* each event has one that dates its stage, or none */
		if (soft_members[i].column == C_STAGE_AT &&
			(kind == EVENT_UNKNOWN || events[kind].stage_member != (int) member))
			continue;
		if (filled(reading, member))
			soft_members[i].read(reading, member, soft_members[i].column);
	}
}

/* ----- the whole ----- */

static const JsonLimits limits[] = {
	[NOTIFICATION_RAW] = {NOTIFICATION_MAX_SIZE, JSON_MAX_NUMBER},
	[NOTIFICATION_JSONB] = {NOTIFICATION_MAX_SIZE, JSON_MAX_PLAIN_NUMBER},
	[NOTIFICATION_STORED] = {MaxAllocSize, PG_INT32_MAX},
};

static Datum
removed_ids(const Notification *notification)
{
	Datum	   *ids = palloc(Max(1, notification->nremoved) * sizeof(Datum));

	for (int i = 0; i < notification->nremoved; i++)
		ids[i] = UUIDPGetDatum(&notification->removed[i]);
	return sql_array(ids, NULL, notification->nremoved, UUIDOID);
}

static bool
read_all(Reading *reading, const char *text, Size len, NotificationOrigin origin,
		 Notification *notification, Fault *fault)
{
	static const JsonVisitor visitor = {
		.enter = on_enter,
		.scalar = on_scalar,
	};

	memset(reading->nulls, true, sizeof(reading->nulls));
	memset(notification, 0, sizeof(*notification));
	reading->out = notification;
	if (!json_walk(text, len, limits[origin], &visitor, reading, fault))
		return false;
	if (!reading->top_is_object)
		return fault_set(fault, REASON_BAD_TYPE, "notification is not a JSON object");
	if (!settle_cells(reading, origin == NOTIFICATION_RAW, fault) ||
		!read_event(reading, fault) ||
		!read_id(reading, M_USER_ID, &notification->device_token, fault) ||
		!read_id(reading, M_OBJECT_ID, &notification->object_id, fault) ||
		!read_sent_at(reading, origin != NOTIFICATION_STORED, fault) ||
		!read_removed(reading, fault))
		return false;
	read_soft_members(reading);
	put(reading, C_REMOVED, removed_ids(notification));
	put_text(reading, C_URL, notification->url);
	notification->details = reading->values;
	notification->nulls = reading->nulls;
	return true;
}

bool
notification_read(const char *text, Size len, NotificationOrigin origin,
				  Notification *notification, Fault *fault)
{
	return read_all(palloc0(sizeof(Reading)), text, len, origin, notification, fault);
}

/* ----- SQL ----- */

/* All is null when it cannot be read. */
Datum
damoov_read_notification(PG_FUNCTION_ARGS)
{
	Jsonb	   *payload = PG_GETARG_JSONB_P(0);
	Reading    *reading = palloc0(sizeof(Reading));
	char	   *text;
	TupleDesc	desc;
	Notification n;
	Fault		fault = {0};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	text = JsonbToCString(NULL, &payload->root, VARSIZE(payload));
	if (read_all(reading, text, strlen(text), NOTIFICATION_STORED, &n, &fault))
	{
		put_text(reading, C_EVENT, n.kind == EVENT_UNKNOWN ? NULL : n.event);
		put_text(reading, C_OBJECT_TYPE, n.object_type);
	}
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), reading->values,
											 reading->nulls));
}
