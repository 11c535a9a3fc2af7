/*
 * trip_events.c
 *	  What happened on a trip, derived from its measured points.
 *
 * One pass over the points with at most one open event per kind.  Fillers are
 * not measured and are skipped: they neither end an event nor count.
 */
#include "postgres.h"

#include "dataset/record.h"
#include "dataset/record_value.h"
#include "dataset/trip_events.h"

#define KINDS			(TRIP_SPEEDING - TRIP_ACCELERATION + 1)

typedef enum TripEventMember
{
	EVENT_KIND,
	EVENT_FIRST_SEQ,
	EVENT_LAST_SEQ,
	EVENT_STARTED_AT,
	EVENT_ENDED_AT,
	EVENT_LATITUDE,
	EVENT_LONGITUDE,
	EVENT_LENGTH,
	EVENT_PEAK,
	EVENT_MAX_SPEED,
	EVENT_MAX_EXCESS
} TripEventMember;

static const Member event_members[] = {
	[EVENT_KIND] = DERIVED("kind", KIND_CODE),
	[EVENT_FIRST_SEQ] = DERIVED("first_seq", KIND_INTEGER),
	[EVENT_LAST_SEQ] = DERIVED("last_seq", KIND_INTEGER),
	[EVENT_STARTED_AT] = DERIVED("started_at", KIND_TIME),
	[EVENT_ENDED_AT] = DERIVED("ended_at", KIND_TIME),
	[EVENT_LATITUDE] = DERIVED("latitude", KIND_NUMBER),
	[EVENT_LONGITUDE] = DERIVED("longitude", KIND_NUMBER),
	[EVENT_LENGTH] = DERIVED("length_m", KIND_NUMBER),
	[EVENT_PEAK] = DERIVED("peak_ms2", KIND_NUMBER),
	[EVENT_MAX_SPEED] = DERIVED("max_speed_kmh", KIND_NUMBER),
	[EVENT_MAX_EXCESS] = DERIVED("max_excess_kmh", KIND_NUMBER)
};

const Record trip_event_record = {RECORD_MEMBERS(event_members)};

/* An event that the points so far have not ended. */
typedef struct OpenEvent
{
	int			number;			/* of the row, -1: none */
	const RecordRow *first;
} OpenEvent;

static bool
is_true(const RecordRow *point, PointMember member)
{
	return row_has(point, member) && point->value[member].flag;
}

static bool
has_alert(const RecordRow *point, TripEventCode alert)
{
	return row_has(point, POINT_ALERT_TYPE) &&
		point->value[POINT_ALERT_TYPE].whole == alert;
}

static double
excess(const RecordRow *point)
{
	return point->value[POINT_SPEED].number -
		point->value[POINT_SPEED_LIMIT].number;
}

/* Is the point part of an event of this kind? */
static bool
takes_part(const RecordRow *point, TripEventCode kind)
{
	switch (kind)
	{
		case TRIP_ACCELERATION:
			return has_alert(point, ALERT_ACCELERATION);
		case TRIP_BRAKING:
			return has_alert(point, ALERT_BRAKING);
		case TRIP_CORNERING:
			return is_true(point, POINT_CORNERING);
		case TRIP_PHONE_USAGE:
			return is_true(point, POINT_PHONE_USAGE);
		case TRIP_SPEEDING:
			return row_has(point, POINT_SPEED) &&
				row_has(point, POINT_SPEED_LIMIT) && excess(point) > 0;
		default:
			return false;
	}
}

static void
copy_value(RecordRow *event, TripEventMember member, const RecordRow *point,
		   PointMember from)
{
	if (row_has(point, from))
		row_set(event, member, point->value[from]);
}

static void
begin_event(RecordState *events, OpenEvent *open, TripEventCode kind,
			const RecordRow *point)
{
	RecordRow  *event = record_add_row(events);

	open->number = event->seq = events->count - 1;
	open->first = point;
	row_set(event, EVENT_KIND, (RecordValue) {.whole = kind});
	row_set(event, EVENT_FIRST_SEQ, (RecordValue) {.whole = point->seq});
	copy_value(event, EVENT_STARTED_AT, point, POINT_RECORDED_AT);
	copy_value(event, EVENT_LATITUDE, point, POINT_LATITUDE);
	copy_value(event, EVENT_LONGITUDE, point, POINT_LONGITUDE);
}

/*
 * The state lasted until here at least.  Points may be out of order.  If an
 * event would end before it starts, its end is left NULL, because tstzrange()
 * fails for such a pair.
 */
static void
reach(RecordRow *event, const RecordRow *first, const RecordRow *point)
{
	event->given &= ~(MEMBER_BIT(EVENT_ENDED_AT) | MEMBER_BIT(EVENT_LENGTH));
	if (!row_has(first, POINT_RECORDED_AT) ||
		point->value[POINT_RECORDED_AT].at >= first->value[POINT_RECORDED_AT].at)
		copy_value(event, EVENT_ENDED_AT, point, POINT_RECORDED_AT);
	if (row_has(first, POINT_TOTAL_METERS) &&
		row_has(point, POINT_TOTAL_METERS))
	{
		double		length = point->value[POINT_TOTAL_METERS].number -
			first->value[POINT_TOTAL_METERS].number;

		if (length >= 0)
			row_set(event, EVENT_LENGTH, (RecordValue) {.number = length});
	}
}

/* Takes over a number that is further from 0 than what there is. */
static void
push(RecordRow *event, TripEventMember member, double number)
{
	if (!row_has(event, member) ||
		fabs(number) > fabs(event->value[member].number))
		row_set(event, member, (RecordValue) {.number = number});
}

static void
extend_event(RecordRow *event, TripEventCode kind, const RecordRow *first,
			 const RecordRow *point)
{
	row_set(event, EVENT_LAST_SEQ, (RecordValue) {.whole = point->seq});
	reach(event, first, point);
	if ((kind == TRIP_ACCELERATION || kind == TRIP_BRAKING) &&
		row_has(point, POINT_ALERT_VALUE))
		push(event, EVENT_PEAK, point->value[POINT_ALERT_VALUE].number);
	if (row_has(point, POINT_SPEED))
		push(event, EVENT_MAX_SPEED, point->value[POINT_SPEED].number);
	if (kind == TRIP_SPEEDING)
		push(event, EVENT_MAX_EXCESS, excess(point));
}

void
trip_events_derive(const RecordState *points, RecordState *events)
{
	OpenEvent	open[KINDS];

	for (int i = 0; i < KINDS; i++)
		open[i].number = -1;

	/* kinds are opened in their order, so the list comes out ordered */
	for (int i = 0; i < points->count; i++)
	{
		const RecordRow *point = record_row(points, i);

		if (point->value[POINT_IS_FILLER].flag)
			continue;
		for (int j = 0; j < KINDS; j++)
		{
			TripEventCode kind = TRIP_ACCELERATION + j;
			bool		inside = takes_part(point, kind);

			if (inside && open[j].number < 0)
				begin_event(events, &open[j], kind, point);
			if (open[j].number < 0)
				continue;
			if (inside)
				extend_event(record_row(events, open[j].number), kind,
							 open[j].first, point);
			else
			{
				reach(record_row(events, open[j].number), open[j].first, point);
				open[j].number = -1;
			}
		}
	}
}
