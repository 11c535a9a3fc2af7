/*
 * trip_events.h
 *	  What happened on a trip, derived from its measured points.
 *
 * The definition for users stands in docs/damoov-datasets.md.
 */
#ifndef DAMOOV_TRIP_EVENTS_H
#define DAMOOV_TRIP_EVENTS_H

#include "dataset/record.h"

/* the members of a point, in the order of the columns */
typedef enum PointMember
{
	POINT_ID,
	POINT_NUMBER,
	POINT_RECORDED_AT,
	POINT_LATITUDE,
	POINT_LONGITUDE,
	POINT_TOTAL_METERS,
	POINT_SPEED,
	POINT_MID_SPEED,
	POINT_SPEED_LIMIT,
	POINT_ALERT_VALUE,
	POINT_LATERAL,
	POINT_COURSE,
	POINT_YAW,
	POINT_HEIGHT,
	POINT_SPEED_TYPE,
	POINT_ALERT_TYPE,
	POINT_CORNERING,
	POINT_PHONE_USAGE,
	POINT_IS_FILLER
} PointMember;

/* Texts that events are told by, the record's codes: others have other numbers. */
typedef enum TripEventCode
{
	CODE_NONE,
	/* alert types with a meaning */
	ALERT_ACCELERATION,
	ALERT_BRAKING,
	/* kinds of events */
	TRIP_ACCELERATION,
	TRIP_BRAKING,
	TRIP_CORNERING,
	TRIP_PHONE_USAGE,
	TRIP_SPEEDING
} TripEventCode;

#define TRIP_EVENT_CODES \
	"acc", "deacc", \
	"acceleration", "braking", "cornering", "phone_usage", "speeding"

extern const Record trip_event_record;

/* Finds the events of a trip, ordered by first point and kind. */
extern void trip_events_derive(const RecordState *points, RecordState *events);

#endif							/* DAMOOV_TRIP_EVENTS_H */
