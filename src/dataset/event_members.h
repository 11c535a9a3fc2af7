/*
 * event_members.h
 *	  The members of an event as the phone reports it: a crash header is one,
 *	  and a raw track has a list of them.
 *
 * Speeds are m/s and accelerations m/s^2 in the vehicle's frame, gravity being
 * in the vertical one (units seen, not documented).
 */
#ifndef DAMOOV_EVENT_MEMBERS_H
#define DAMOOV_EVENT_MEMBERS_H

#include "dataset/record_value.h"

typedef enum EventMember
{
	EVENT_ID,
	EVENT_POINT_START,
	EVENT_START_LATITUDE,
	EVENT_START_LONGITUDE,
	EVENT_POINT_END,
	EVENT_END_LATITUDE,
	EVENT_END_LONGITUDE,
	EVENT_TIME_START
	/* the others are not referred to by number */
} EventMember;

#define EVENT_SPEED			NUMBER(0, 600)
#define EVENT_ACCELERATION	NUMBER(-10000, 10000)
#define EVENT_DURATION		NUMBER(0, 1e9)
#define SPREAD(low, high)	KIND_SPREAD, low, high, .none = NO_NUMBER
#define IN_START			.group = EVENT_POINT_START
#define IN_END				.group = EVENT_POINT_END

/* all but EVENT_ID: the id of the document in a crash header, that of one event in a raw track */
#define EVENT_MEMBERS \
	[EVENT_POINT_START] = {"PointStart", NULL, PLAIN(KIND_GROUP)}, \
	[EVENT_START_LATITUDE] = {"Latitude", "start_latitude", NUMBER(-90, 90), IN_START}, \
	[EVENT_START_LONGITUDE] = {"Longitude", "start_longitude", NUMBER(-180, 180), IN_START}, \
	[EVENT_POINT_END] = {"PointEnd", NULL, PLAIN(KIND_GROUP)}, \
	[EVENT_END_LATITUDE] = {"Latitude", "end_latitude", NUMBER(-90, 90), IN_END}, \
	[EVENT_END_LONGITUDE] = {"Longitude", "end_longitude", NUMBER(-180, 180), IN_END}, \
	[EVENT_TIME_START] = {"TimeStart", "started_at", EPOCH(KIND_EPOCH_MS)}, \
	/* other names of the same members */ \
	{"startPoint", NULL, PLAIN(KIND_ALIAS), .target = EVENT_POINT_START}, \
	{"endPoint", NULL, PLAIN(KIND_ALIAS), .target = EVENT_POINT_END}, \
	{"Type", "type", PLAIN(KIND_TEXT)}, \
	{"AccidentTrigger", "accident_trigger", PLAIN(KIND_TEXT), .none_text = "NOT_DEFINED"}, \
	{"Reliability", "reliability", KIND_NUMBER, 0, 100, .none = -1}, \
	{"Duration", "duration_ms", EVENT_DURATION}, \
	{"PureDuration", "pure_duration_ms", EVENT_DURATION}, \
	{"SpeedStart", "speed_start_ms", EVENT_SPEED}, \
	{"SpeedStop", "speed_stop_ms", EVENT_SPEED}, \
	{"SpeedMedian", "speed_median_ms", EVENT_SPEED}, \
	{"AccelerationDirect", "acceleration_direct_ms2", EVENT_ACCELERATION}, \
	{"AccelerationLateral", "acceleration_lateral_ms2", EVENT_ACCELERATION}, \
	{"AccelerationVertical", "acceleration_vertical_ms2", EVENT_ACCELERATION}, \
	{"AccelerationDirectEnd", "acceleration_direct_end_ms2", EVENT_ACCELERATION}, \
	{"AccelerationLateralEnd", "acceleration_lateral_end_ms2", EVENT_ACCELERATION}, \
	{"AccelerationVerticalEnd", "acceleration_vertical_end_ms2", EVENT_ACCELERATION}, \
	{"RangeDirect", "range_direct_ms2", SPREAD(-10000, 10000)}, \
	{"RangeLateral", "range_lateral_ms2", SPREAD(-10000, 10000)}, \
	{"RangeVertical", "range_vertical_ms2", SPREAD(-10000, 10000)}, \
	{"Accuracy", "range_accuracy_m", SPREAD(0, 1e7)}, \
	{"Speed", "range_speed_ms", SPREAD(0, 600)}

#endif							/* DAMOOV_EVENT_MEMBERS_H */
