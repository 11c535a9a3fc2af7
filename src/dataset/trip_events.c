/*
 * trip_events.c
 *	  What happened on a trip, derived from its measured points.
 *
 * One pass over the points with at most one open event per kind.  Fillers are
 * no measurement and are passed over: they neither end an event nor count.
 */
#include "postgres.h"

#include <math.h>

#include "utils/memutils.h"

#include "dataset/trip_events.h"

typedef struct EventList
{
	TripEvent  *events;
	int			count;
	int			room;
} EventList;

static const char *const kind_name[TRIP_EVENT_KINDS] = {
	[TRIP_ACCELERATION] = "acceleration",
	[TRIP_BRAKING] = "braking",
	[TRIP_CORNERING] = "cornering",
	[TRIP_PHONE_USAGE] = "phone_usage",
	[TRIP_SPEEDING] = "speeding"
};

const char *
trip_event_name(TripEventKind kind)
{
	return kind_name[kind];
}

/* Is the point part of an event of this kind? */
static bool
takes_part(const TrackPoint *point, TripEventKind kind)
{
	switch (kind)
	{
		case TRIP_ACCELERATION:
			return point_has(point, POINT_ALERT_TYPE) &&
				point->alert_type == ALERT_ACCELERATION;
		case TRIP_BRAKING:
			return point_has(point, POINT_ALERT_TYPE) &&
				point->alert_type == ALERT_BRAKING;
		case TRIP_CORNERING:
			return point_has(point, POINT_CORNERING) && point->cornering;
		case TRIP_PHONE_USAGE:
			return point_has(point, POINT_PHONE_USAGE) && point->phone_usage;
		case TRIP_SPEEDING:
			return point_has(point, POINT_SPEED) &&
				point_has(point, POINT_SPEED_LIMIT) &&
				point->speed_kmh > point->speed_limit_kmh;
		case TRIP_EVENT_KINDS:
			break;
	}
	return false;
}

/* Returns the number of a new event that starts at the point. */
static int
open_event(EventList *list, TripEventKind kind, const TrackPoint *point)
{
	TripEvent  *event;

	if (list->count == list->room)
	{
		list->room = list->room ? list->room * 2 : 16;
		if (list->events == NULL)
			list->events = palloc(list->room * sizeof(TripEvent));
		else
			list->events = repalloc_huge(list->events,
										 list->room * sizeof(TripEvent));
	}
	event = &list->events[list->count];
	memset(event, 0, sizeof(TripEvent));
	event->kind = kind;
	event->first = point;
	return list->count++;
}

static void
extend_event(TripEvent *event, const TrackPoint *point)
{
	event->last = point;
	event->reaches = point;
	if ((event->kind == TRIP_ACCELERATION || event->kind == TRIP_BRAKING) &&
		point_has(point, POINT_ALERT_VALUE) &&
		(!event->has_peak ||
		 fabs(point->alert_value_ms2) > fabs(event->peak_ms2)))
	{
		event->has_peak = true;
		event->peak_ms2 = point->alert_value_ms2;
	}
	if (point_has(point, POINT_SPEED) &&
		(!event->has_max_speed || point->speed_kmh > event->max_speed_kmh))
	{
		event->has_max_speed = true;
		event->max_speed_kmh = point->speed_kmh;
	}
	if (event->kind == TRIP_SPEEDING)
		event->max_excess_kmh = Max(event->max_excess_kmh,
									point->speed_kmh - point->speed_limit_kmh);
}

TripEvent *
trip_events_derive(const TrackPoint *points, int npoints, int *nevents)
{
	EventList	list = {0};
	int			open[TRIP_EVENT_KINDS];

	for (int kind = 0; kind < TRIP_EVENT_KINDS; kind++)
		open[kind] = -1;

	/* kinds are opened in their order, so the list comes out ordered */
	for (int i = 0; i < npoints; i++)
	{
		const TrackPoint *point = &points[i];

		if (point->is_filler)
			continue;
		for (int kind = 0; kind < TRIP_EVENT_KINDS; kind++)
		{
			if (takes_part(point, kind))
			{
				if (open[kind] < 0)
					open[kind] = open_event(&list, kind, point);
				extend_event(&list.events[open[kind]], point);
			}
			else if (open[kind] >= 0)
			{
				list.events[open[kind]].reaches = point;
				open[kind] = -1;
			}
		}
	}
	*nevents = list.count;
	return list.events;
}

/*
 * Points may be out of order.  An event that ended before it began would break
 * every tstzrange() over the table, so then its end is not known.
 */
bool
trip_event_ended_at(const TripEvent *event, TimestampTz *ended_at)
{
	if (!point_has(event->reaches, POINT_RECORDED_AT))
		return false;
	*ended_at = event->reaches->recorded_at;
	return !point_has(event->first, POINT_RECORDED_AT) ||
		*ended_at >= event->first->recorded_at;
}

bool
trip_event_length(const TripEvent *event, double *length_m)
{
	if (!point_has(event->first, POINT_TOTAL_METERS) ||
		!point_has(event->reaches, POINT_TOTAL_METERS))
		return false;
	*length_m = event->reaches->total_meters - event->first->total_meters;
	return *length_m >= 0;
}
