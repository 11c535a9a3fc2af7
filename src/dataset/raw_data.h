/*
 * raw_data.h
 *	  What raw.c reads and raw_store.c stores; for these two only.
 */
#ifndef DAMOOV_RAW_DATA_H
#define DAMOOV_RAW_DATA_H

#include "dataset/raw.h"
#include "dataset/record.h"

struct RawTrack
{
	int			format;			/* 1 or 2 */
	RecordRow  *track;			/* of raw_record */
	char	   *s3_url;			/* without credentials */
	char	   *s3_key;
	bool		has_instance;
	pg_uuid_t	instance;
	char	   *extra;			/* NULL for none */
	char	  **notes;
	int			nnotes;
	const RecordState *points;
	const RecordState *events;
};

extern const Record raw_record;
extern const Record raw_point_record;
extern const Record raw_event_record;

#endif							/* DAMOOV_RAW_DATA_H */
