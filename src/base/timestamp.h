/*
 * timestamp.h
 *	  Strict reader of the points in time found in Damoov data.
 */
#ifndef DAMOOV_TIMESTAMP_H
#define DAMOOV_TIMESTAMP_H

#include "datatype/timestamp.h"

typedef enum TimeResult
{
	TIME_OK,
	TIME_EMPTY,					/* 0001-01-01T00:00:00, .NET for "not set" */
	TIME_SYNTAX,				/* 22007: not in the form we read */
	TIME_RANGE,					/* 22008: no such time, or implausible */
	TIME_ZONE					/* 22009: offset from UTC not usable */
} TimeResult;

typedef struct ParsedTime
{
	TimestampTz at;
	int			offset_min;		/* of the zone as written, east is positive */
	bool		has_zone;		/* if not, UTC was assumed */
	bool		leap_second;	/* was second 60 */
	bool		end_of_day;		/* was 24:00:00 */
} ParsedTime;

extern TimeResult timestamp_parse(const char *text, int len, ParsedTime *out);
extern int	timestamp_sqlstate(TimeResult result);
extern const char *timestamp_fault(TimeResult result);
extern bool timestamp_from_epoch(double value, bool milliseconds,
								 TimestampTz *out);

#endif							/* DAMOOV_TIMESTAMP_H */
