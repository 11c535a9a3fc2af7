/*
 * crash_buffer.h
 *	  The samples of a crash buffer; for the files crash_buffer*.c only.
 */
#ifndef DAMOOV_CRASH_BUFFER_H
#define DAMOOV_CRASH_BUFFER_H

#include "dataset/crash.h"
#include "datatype/timestamp.h"
#include "dataset/json_tree.h"
#include "nodes/pg_list.h"

/* what a sample can have, in the order of the columns */
typedef enum SampleField
{
	SAMPLE_TIME,
	SAMPLE_ACCELERATION_X,
	SAMPLE_ACCELERATION_Y,
	SAMPLE_ACCELERATION_Z,
	SAMPLE_GYROSCOPE_X,
	SAMPLE_GYROSCOPE_Y,
	SAMPLE_GYROSCOPE_Z,
	SAMPLE_SPEED,
	SAMPLE_FIELDS,
	SAMPLE_INDEX = SAMPLE_FIELDS,	/* recognized, not stored */
	SAMPLE_NOTHING
} SampleField;

/* what the document can say of all samples */
typedef enum HeaderField
{
	HEADER_ID,
	HEADER_START,
	HEADER_FREQUENCY,
	HEADER_NOTHING
} HeaderField;

#define CRASH_MAX_AXES		4	/* an array so short is not a series */

/* What a value is by its name, or by that and the name around it. */
extern SampleField crash_classify(const JsonNode *node);
extern HeaderField crash_classify_header(const JsonNode *node);

/* one value for each sample; NaN stands for NULL */
struct CrashBuffer
{
	int			count;
	double	   *value[SAMPLE_FIELDS];	/* NULL: not one sample has it */
	bool		has_start;
	TimestampTz started_at;
	double		frequency_hz;	/* 0: not given */
	char	   *extra;			/* NULL for none */
	List	   *notes;			/* of char * */
};

/*
 * Turns the times as they came into milliseconds from the start, whatever
 * their unit and beginning.  "dates" says that they are milliseconds since
 * 1970 by their form.
 */
extern void crash_buffer_set_times(CrashBuffer *buffer, bool dates);

extern void crash_buffer_note(CrashBuffer *buffer, const char *name,
							  const char *text, int count);

#endif							/* DAMOOV_CRASH_BUFFER_H */
