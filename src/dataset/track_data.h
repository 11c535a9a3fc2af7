/*
 * track_data.h
 *	  What track.c reads and track_store.c stores; for these two only.
 */
#ifndef DAMOOV_TRACK_DATA_H
#define DAMOOV_TRACK_DATA_H

#include "dataset/record.h"
#include "dataset/track.h"
#include "dataset/trip_events.h"

/* members of the document that are known by number; the others need none */
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

typedef struct Box
{
	double		min_latitude;
	double		min_longitude;
	double		max_latitude;
	double		max_longitude;
} Box;

struct Track
{
	RecordRow  *trip;			/* of track_record */
	char	   *extra;			/* NULL for none */
	char	  **notes;
	int			nnotes;

	TrackPoint *points;
	int			npoints;
	int			nfillers;
	int			nlocated;		/* points with a position */
	Box			box;
	Texts		texts;			/* of SpeedType and AlertType */
	const char *extras;			/* where TrackPoint.extra points into */
};

extern const Record track_record;

#endif							/* DAMOOV_TRACK_DATA_H */
