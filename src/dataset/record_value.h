/*
 * record_value.h
 *	  Checks one JSON value against what is expected of it.
 *
 * A dataset is described by tables of members: what a member is called, which
 * column it goes to, and what it must look like.  A value that does not is no
 * error; it is left out, and a note says why.
 */
#ifndef DAMOOV_RECORD_VALUE_H
#define DAMOOV_RECORD_VALUE_H

#include <math.h>

#include "datatype/timestamp.h"
#include "utils/uuid.h"

#include "base/json.h"

#define RECORD_MAX_EXTRA	(8 * 1024 * 1024)	/* far below a jsonb's limit */

/* What can be odd about a member. */
typedef enum Note
{
	NOTE_NONE,
	NOTE_REPEATED,
	NOTE_MISSING,
	NOTE_NOT_NUMBER,
	NOTE_NOT_WHOLE,
	NOTE_NOT_BOOLEAN,
	NOTE_NOT_TEXT,
	NOTE_NOT_OBJECT,
	NOTE_NOT_ARRAY,
	NOTE_NOT_TIME,
	NOTE_NOT_UUID,
	NOTE_RANGE,
	NOTE_NEGATIVE,
	NOTE_ZONE,
	NOTE_NO_ZONE,
	NOTE_LEAP_SECOND,
	NOTE_END_OF_DAY,
	NOTE_BEFORE_START,
	NOTE_NULL_ISLAND,
	NOTE_TOO_LONG,
	NOTE_TOO_MANY,
	NOTES
} Note;

extern const char *const note_text[NOTES];

typedef enum MemberKind
{
	KIND_NUMBER,				/* double precision */
	KIND_DEGREE,				/* double precision; true and false are 1 and 0 */
	KIND_INTEGER,				/* integer */
	KIND_BIGINT,				/* bigint */
	KIND_BOOLEAN,
	KIND_FLAG,					/* boolean, 0 and 1 do as well */
	KIND_TEXT,
	KIND_CODE,					/* text with few different values */
	KIND_TIME,					/* timestamptz */
	KIND_LOCAL_TIME,			/* same; the next member gets the UTC offset */
	KIND_OFFSET,				/* integer; that next member */
	KIND_EPOCH_S,				/* timestamptz from seconds since 1970 */
	KIND_EPOCH_MS,				/* timestamptz from milliseconds since 1970 */
	KIND_UUID,
	KIND_OBJECT,				/* jsonb, an object */
	KIND_ANY,					/* jsonb, anything */

	/* an object that sums up many numbers: see Spread */
	KIND_SPREAD,				/* double precision[] */
	KIND_SPREAD4,				/* real[] */

	/* without a column */
	KIND_STATUS,				/* number as text, checked by the reader of the dataset */
	KIND_TOKEN,					/* id of the whole: compared, not stored */
	KIND_EXTRA,					/* goes to extra, but not as null */
	KIND_IGNORED,

	/* objects and arrays with members of their own */
	KIND_ALIAS,					/* another name of member "target" */
	KIND_GROUP,					/* object whose members belong to this record */
	KIND_CLOSED_GROUP,			/* same; of unknown members nothing is kept */
	KIND_ENVELOPE,				/* same, but just a wrapping; at most one */
	KIND_BODY,					/* same: what is in the wrapping */
	KIND_LIST					/* array of records of another kind */
} MemberKind;

/* Position of a group without a position: of members outside every group. */
#define GROUP_NONE		0		/* so the first member of a table is no group */

typedef struct Member
{
	const char *name;
	const char *column;			/* of an envelope or body: what to call it */
	MemberKind	kind;
	double		low;			/* accepted range, both ends included */
	double		high;
	double		none;			/* number that stands for "no value" */
	const char *none_text;		/* text that does, beside the empty one */
	int			group;			/* number of the group it is in */
	int			target;			/* KIND_ALIAS: that member; KIND_LIST: its
								 * number among the record's lists */
} Member;

#define NO_NUMBER			NAN /* no number equals it */
#define NUMBER(low, high)	KIND_NUMBER, low, high, .none = NO_NUMBER
#define PLAIN(kind)			kind, .none = NO_NUMBER
#define EPOCH(kind)			kind, -HUGE_VAL, HUGE_VAL, .none = 0
/* a column that is worked out from other members; no name can find it */
#define DERIVED(column, kind)	{"", column, PLAIN(kind), .group = -1}
/* the member that stands after one of KIND_LOCAL_TIME */
#define OFFSET_OF_TIME(column)	DERIVED(column, KIND_OFFSET)

/* {Min, Max, Median, Quantile_05, Quantile_95}; arrays have this order. */
typedef enum SpreadItem
{
	SPREAD_MIN,
	SPREAD_Q05,
	SPREAD_MEDIAN,
	SPREAD_Q95,
	SPREAD_MAX,
	SPREAD_ITEMS
} SpreadItem;

typedef struct Spread
{
	double		item[SPREAD_ITEMS];
	bool		given[SPREAD_ITEMS];
} Spread;

extern const char *const spread_name[SPREAD_ITEMS];

/* one value of any kind */
typedef union RecordValue
{
	double		number;
	int64		whole;			/* of KIND_CODE the number of the text */
	bool		flag;
	TimestampTz at;
	char	   *text;			/* KIND_TEXT, KIND_STATUS, jsonb */
	pg_uuid_t  *uuid;
	Spread	   *spread;
} RecordValue;

#define MAX_TEXTS			69	/* 63 of a document's own, and what we add */

/* the texts of KIND_CODE, each once */
typedef struct Texts
{
	int			count;
	const char *text[MAX_TEXTS];	/* [0] is NULL: no text */
} Texts;

/* memory for values, the texts seen so far, and what no value may hold */
typedef struct ValueMemory
{
	MemoryContext context;		/* of the values */
	Texts	   *texts;
	const struct Secrets *secrets;
} ValueMemory;

typedef struct JudgedValue
{
	bool		given;			/* there is a value */
	bool		has_offset;
	int			offset_min;		/* from UTC, of times with one */
	RecordValue value;
} JudgedValue;

/*
 * Judges a scalar other than null.  The note may come with a value and
 * without one.
 */
extern Note value_judge(const Member *member, const char *text,
						JsonTokenType type, ValueMemory *memory,
						JudgedValue *judged);

/* What to note about a member that is an object or array and must not be. */
extern Note value_judge_container(const Member *member, bool is_array);

/* Type of the column for values of this kind, invalid for those without one. */
extern Oid	value_type(MemberKind kind);

#endif							/* DAMOOV_RECORD_VALUE_H */
