/*
 * record.h
 *	  Reads a JSON document into records with typed values, in one pass.
 *
 * A document is one record, as its table of members says; arrays in it can
 * hold records of another kind each (the points of a track).  A member without
 * a column goes to "extra" with its bytes as they stand.  A value that cannot
 * be used is left out and counted in a note: one wrong field does not make the
 * whole document unusable.
 *
 * Members called DeviceToken or UserId hold the person's credential.  They are
 * never kept, at any depth.
 */
#ifndef DAMOOV_RECORD_H
#define DAMOOV_RECORD_H

#include "lib/stringinfo.h"
#include "nodes/pg_list.h"

#include "base/fault.h"
#include "dataset/record_value.h"

#define RECORD_MAX_MEMBERS	64
#define RECORD_MAX_LISTS	4
#define RECORD_MAX_CODES	8

typedef struct RecordState RecordState;
typedef struct Content Content;

/* A text, and what is known of it beforehand. */
typedef struct Document
{
	const char *text;
	Size		len;
	Size		max_len;
	const pg_uuid_t *expected;	/* whose it should be, NULL: any */
	const char *device_token;	/* the person's; is not kept */
} Document;

typedef struct Record
{
	const Member *members;
	int			nmembers;		/* at most RECORD_MAX_MEMBERS */

	/* looks at a record of a list that has been read whole; may be NULL */
	void		(*finish) (RecordState *state);

	/* of a document only: kinds of its lists, those of members first */
	const struct Record *lists[RECORD_MAX_LISTS];
	const char *what;			/* "track": what faults call it */
	const char *what_kind;		/* "raw track" */
	const char *codes[RECORD_MAX_CODES];	/* texts of KIND_CODE with numbers
											 * that are known, from 1 */

	/* judges a document that has been read; false with the fault filled */
	bool		(*check) (Content *content, const Document *document,
						  Fault *fault);
} Record;

#define RECORD_MEMBERS(array)	.members = (array), .nmembers = lengthof(array)
#define MEMBER_BIT(member)		(UINT64CONST(1) << (member))

typedef struct RecordRow
{
	uint64		given;			/* bit MEMBER_BIT(i): value[i] is not NULL */
	int32		seq;			/* index in the list */
	int32		extra;			/* offset in RecordState.extras, -1 for none */
	RecordValue value[FLEXIBLE_ARRAY_MEMBER];
} RecordRow;

#define ROW_SIZE(record) \
	(offsetof(RecordRow, value) + (record)->nmembers * sizeof(RecordValue))

static inline bool
row_has(const RecordRow *row, int member)
{
	return (row->given & MEMBER_BIT(member)) != 0;
}

static inline void
row_set(RecordRow *row, int member, RecordValue value)
{
	row->value[member] = value;
	row->given |= MEMBER_BIT(member);
}

/* The records of one kind: the document, or all elements of a list. */
struct RecordState
{
	const Record *record;
	const char *list;			/* name of the list, NULL for the document */

	/* the one being read, or read last */
	RecordRow  *row;
	uint64		seen;
	uint64		bad;			/* was there, but is of no use */
	int			group;			/* being read */
	int			position;		/* of the member in the record */
	int8		order[RECORD_MAX_MEMBERS];	/* members of the previous record */

	/* all of them */
	MemoryContext context;		/* where they are */
	char	   *rows;
	int			count;
	int			room;			/* rows that memory is taken for */
	StringInfoData extras;		/* each ended by a NUL byte */

	/* what was odd, until the notes are written */
	uint32		(*note)[NOTES]; /* counts for each member */
	uint32		element_note;	/* elements that are no objects */
	uint32		extra_note;		/* extras that were too long */
};

/* What has been read of a document. */
struct Content
{
	RecordState document;
	RecordState lists[RECORD_MAX_LISTS];	/* as in the record */
	int			nlists;
	Texts		texts;			/* of KIND_CODE */
	char	   *extra;			/* members without a column, NULL for none */
	List	   *notes;			/* of char *: what was odd */
	bool		names_person;	/* has members that hold the person's credential */
};

/*
 * Reads a document into the current context.  NULL with the fault of
 * json_walk(), that of the record's check, or
 *
 *	dataset_mismatch	22023, of another object than expected, or more than one
 */
extern Content *record_read(const Record *record, const Document *document,
							Fault *fault);

/* Adds a row without values to a list. */
extern RecordRow *record_add_row(RecordState *list);

static inline RecordRow *
record_row(const RecordState *state, int index)
{
	return (RecordRow *) (state->rows + index * ROW_SIZE(state->record));
}

/* Counts what is odd about a value of the record that is being read. */
static inline void
record_note(RecordState *state, int member, Note note)
{
	state->note[member][note]++;
}

#endif							/* DAMOOV_RECORD_H */
