/*
 * record.h
 *	  Reads a JSON document into records with typed values, in one pass.
 *
 * A document is one record, as its table of members says; arrays in it can
 * hold records of another kind each (the points of a track).  A member without
 * a column goes to "extra" with its bytes as they stand.  A value that cannot
 * be used is left out and counted in a note: a wrong field never costs the
 * whole.
 *
 * Members called DeviceToken or UserId hold the person's credential.  They are
 * kept nowhere, at no depth.
 */
#ifndef DAMOOV_RECORD_H
#define DAMOOV_RECORD_H

#include "lib/stringinfo.h"

#include "dataset/keep.h"
#include "dataset/record_value.h"

#define RECORD_MAX_MEMBERS	64

typedef struct RecordState RecordState;

typedef struct Record
{
	const Member *members;
	int			nmembers;		/* at most RECORD_MAX_MEMBERS */

	/*
	 * Size of a row, which is a RecordRow unless there are offsets: then the
	 * values stand there as double, int32, int64, bool, TimestampTz, or uint8 for
	 * KIND_CODE; "finish" takes over given, seq and extra.
	 */
	Size		size;
	const int  *offsets;		/* one for each member with a column */

	/* looks at a record of a list that has been read whole; may be NULL */
	void		(*finish) (RecordState *state);
} Record;

#define MEMBER_BIT(member)	(UINT64CONST(1) << (member))

typedef struct RecordRow
{
	uint64		given;			/* bit MEMBER_BIT(i): value[i] is not NULL */
	int32		seq;			/* index in the list */
	int32		extra;			/* offset in RecordState.extras, -1 for none */
	RecordValue value[FLEXIBLE_ARRAY_MEMBER];
} RecordRow;

#define ROW_SIZE(members) \
	(offsetof(RecordRow, value) + (members) * sizeof(RecordValue))

static inline bool
row_has(const RecordRow *row, int member)
{
	return (row->given & MEMBER_BIT(member)) != 0;
}

/* The records of one kind: the document, or all elements of a list. */
struct RecordState
{
	const Record *record;
	uint32		(*note)[NOTES]; /* counts for each member */

	/* the one being read, or read last */
	void	   *row;
	uint64		given;
	uint64		seen;
	uint64		bad;			/* was there, but is of no use */
	int			group;			/* where we are in it */
	int			position;		/* of the member in the record */
	int8		order[RECORD_MAX_MEMBERS];	/* members of the one before */
	int			seq;
	int			extra;

	/* all of them */
	const char *list;			/* name of the list, NULL for the document */
	char	   *rows;
	int			count;
	int			room;			/* rows that there is memory for */
	StringInfoData extras;		/* each ended by a NUL byte */
	uint32		element_note;	/* elements that are no objects */
	uint32		extra_note;		/* extras that were too long */
};

typedef struct RecordReader RecordReader;

/*
 * Prepares for one document.  Its values go to the current context.  The
 * person's token is hidden in what is kept as it stands.  Faults call it by "what" ("track") and "what_kind" ("raw track").
 */
extern RecordReader *record_reader(const Record *record, const char *what,
								   const char *what_kind,
								   const pg_uuid_t *expected_token,
								   const char *device_token);

/* The number of a text of KIND_CODE that is known beforehand; from 1. */
extern int	record_add_text(RecordReader *reader, const char *text);
extern const Texts *record_texts(const RecordReader *reader);

/*
 * Reads the document.  False with the fault of json_walk(), or with
 *
 *	dataset_mismatch	22023, of another token than expected, or more than one
 */
extern bool record_read(RecordReader *reader, const char *text, Size len,
						Size max_len, Fault *fault);

extern RecordState *record_document(RecordReader *reader);
extern RecordState *record_list(RecordReader *reader, const Record *elements);

/* The same, a copy that outlives the reader. */
extern RecordState *record_take_list(RecordReader *reader,
									 const Record *elements);

static inline RecordRow *
record_row(const RecordState *state, int index)
{
	return (RecordRow *) (state->rows + (Size) index * state->record->size);
}

static inline void
record_note(RecordState *state, int member, Note note)
{
	state->note[member][note]++;
}

/*
 * A position, latitude and longitude being members one after the other, is
 * both numbers or none.  Sets both to NULL and notes why.
 */
extern void record_check_position(RecordState *state, int latitude);

/* Notes an end before its start, of a document that is a RecordRow. */
extern void record_check_end(RecordState *state, int start, int end);

/* After the checks: extra of the document or NULL, and the notes. */
extern char *record_extra(RecordReader *reader);
extern char **record_notes(RecordReader *reader, int *count);

/* Frees what was needed for reading; the rows stay. */
extern void record_free(RecordReader *reader);

/*
 * The fault for a document without what it should have, and what it seems to
 * be instead.  Returns false.
 */
extern bool record_refuse(const RecordReader *reader, const char *text,
						  Size len, const char *missing, Fault *fault);

#endif							/* DAMOOV_RECORD_H */
