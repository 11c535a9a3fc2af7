/*
 * record_data.h
 *	  The state of a record's reader; for record.c and record_check.c only.
 */
#ifndef DAMOOV_RECORD_DATA_H
#define DAMOOV_RECORD_DATA_H

#include "dataset/record.h"

#define MAX_LISTS			4

typedef enum Place
{
	PLACE_OUTSIDE,
	PLACE_DOCUMENT,
	PLACE_LIST,
	PLACE_ELEMENT
} Place;

/* what to do with the bytes of the value being read, once it is whole */
typedef enum Keep
{
	KEEP_NOTHING,
	KEEP_EXTRA,
	KEEP_VALUE
} Keep;

struct RecordReader
{
	/* what every value needs */
	Place		place;
	Keep		keep;
	int			skip_depth;		/* > 0: in a value that is not looked into */
	int			member;			/* being read */
	RecordState *state;			/* of the record being read */
	Spread	   *spread;			/* being read */

	RecordState *list;			/* the one being in */
	bool		in_body;
	int			outer_group[JSON_MAX_DEPTH + 2];	/* around that of a level */
	Secrets		secrets;		/* in the value being read */

	ValueMemory memory;
	MemoryContext work;			/* tokens outside the lists */
	MemoryContext element_work; /* tokens of one element */
	const char *what;
	const char *what_kind;
	const pg_uuid_t *expected_token;

	RecordState document;
	RecordState lists[MAX_LISTS];
	int			nlists;
	StringInfoData outer_extra; /* of the document */
	StringInfoData inner_extra; /* of its body */
};

/* "PointStart.Latitude"; envelopes and bodies are no part of the name. */
extern char *record_path_name(const Record *record, int group,
							  const char *name);

#endif							/* DAMOOV_RECORD_DATA_H */
