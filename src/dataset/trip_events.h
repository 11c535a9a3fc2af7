/*
 * trip_events.h
 *	  What happened on a trip, derived from its measured points.
 *
 * The definition for users stands in docs/datasets.md.
 */
#ifndef DAMOOV_TRIP_EVENTS_H
#define DAMOOV_TRIP_EVENTS_H

#include "datatype/timestamp.h"

/* the values of a point that may be missing, in the order of the columns */
typedef enum PointField
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
	POINT_FIELDS
} PointField;

/* Numbers that stand for the alert types with a meaning, others are larger. */
#define ALERT_ACCELERATION	1
#define ALERT_BRAKING		2

/* A trip can have a million of these: keep it compact. */
typedef struct TrackPoint
{
	int64		point_id;
	TimestampTz recorded_at;
	double		latitude;
	double		longitude;
	double		total_meters;
	double		speed_kmh;
	double		mid_speed_ms;
	double		speed_limit_kmh;
	double		alert_value_ms2;
	double		lateral_ms2;
	double		course_deg;
	double		yaw_deg;
	double		height_mm;
	uint32		given;			/* bit 1 << PointField: not NULL */
	int32		seq;			/* index in the document */
	int32		number;
	int32		extra;			/* offset of its extra members, -1 for none */
	uint8		speed_type;		/* number of an interned text */
	uint8		alert_type;
	bool		cornering;
	bool		phone_usage;
	bool		is_filler;
} TrackPoint;

static inline bool
point_has(const TrackPoint *point, PointField field)
{
	return (point->given & ((uint32) 1 << field)) != 0;
}

/* in the order of the CHECK on damoov.trip_events.kind */
typedef enum TripEventKind
{
	TRIP_ACCELERATION,
	TRIP_BRAKING,
	TRIP_CORNERING,
	TRIP_PHONE_USAGE,
	TRIP_SPEEDING,
	TRIP_EVENT_KINDS
} TripEventKind;

typedef struct TripEvent
{
	TripEventKind kind;
	const TrackPoint *first;
	const TrackPoint *last;
	const TrackPoint *reaches;	/* where the state had ended, see the docs */
	bool		has_peak;
	bool		has_max_speed;
	double		peak_ms2;
	double		max_speed_kmh;
	double		max_excess_kmh; /* speeding only */
} TripEvent;

extern const char *trip_event_name(TripEventKind kind);

/*
 * Finds the events of a trip, ordered by first point and kind.  They point
 * into points; the array is palloc'd.
 */
extern TripEvent *trip_events_derive(const TrackPoint *points, int npoints,
									 int *nevents);

/* False when the points that bound the event do not tell. */
extern bool trip_event_ended_at(const TripEvent *event, TimestampTz *ended_at);
extern bool trip_event_length(const TripEvent *event, double *length_m);

#endif							/* DAMOOV_TRIP_EVENTS_H */
