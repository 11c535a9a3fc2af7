/*
 * record_value.c
 *	  Checks one JSON value against what is expected of it: see record_value.h.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/memutils.h"

#include "base/timestamp.h"
#include "base/uuid.h"
#include "dataset/keep.h"
#include "dataset/record_value.h"

#define MAX_TEXT			64	/* bytes of a KIND_CODE */

const char *const note_text[NOTES] = {
	[NOTE_REPEATED] = "repeated, the last one counts",
	[NOTE_MISSING] = "missing",
	[NOTE_NOT_NUMBER] = "not a number",
	[NOTE_NOT_WHOLE] = "not a whole number",
	[NOTE_NOT_BOOLEAN] = "not a boolean",
	[NOTE_NOT_TEXT] = "not a text",
	[NOTE_NOT_OBJECT] = "not an object",
	[NOTE_NOT_ARRAY] = "not an array",
	[NOTE_NOT_TIME] = "not a point in time",
	[NOTE_NOT_UUID] = "not a UUID",
	[NOTE_RANGE] = "out of range",
	[NOTE_NEGATIVE] = "negative",
	[NOTE_ZONE] = "offset from UTC out of range",
	[NOTE_NO_ZONE] = "no offset from UTC, read as UTC",
	[NOTE_LEAP_SECOND] = "second 60, read as the next minute",
	[NOTE_END_OF_DAY] = "24:00:00, read as the next day",
	[NOTE_BEFORE_START] = "before StartDate",
	[NOTE_NULL_ISLAND] = "position 0/0",
	[NOTE_TOO_LONG] = "too long",
	[NOTE_TOO_MANY] = "too many different values"
};

const char *const spread_name[SPREAD_ITEMS] = {
	[SPREAD_MIN] = "Min",
	[SPREAD_Q05] = "Quantile_05",
	[SPREAD_MEDIAN] = "Median",
	[SPREAD_Q95] = "Quantile_95",
	[SPREAD_MAX] = "Max"
};

/* ----- numbers ----- */

static inline Note
judge_range(const Member *member, double number, JudgedValue *judged)
{
	if (number == member->none)
		return NOTE_NONE;
	judged->given = number >= member->low && number <= member->high;
	return judged->given ? NOTE_NONE : NOTE_RANGE;
}

static Note
judge_number(const Member *member, const char *text, JsonTokenType type,
			 ValueMemory *memory, JudgedValue *judged)
{
	if (!json_double(text, &judged->value.number))
		return NOTE_RANGE;
	return judge_range(member, judged->value.number, judged);
}

static Note
judge_whole(const Member *member, const char *text, JsonTokenType type,
			ValueMemory *memory, JudgedValue *judged)
{
	double		number;

	if (json_int64(text, &judged->value.whole))
		return judge_range(member, (double) judged->value.whole, judged);
	if (json_double(text, &number) && number != rint(number))
		return NOTE_NOT_WHOLE;
	return NOTE_RANGE;
}

static Note
judge_epoch(const Member *member, const char *text, JsonTokenType type,
			ValueMemory *memory, JudgedValue *judged)
{
	Note		note = judge_number(member, text, type, memory, judged);

	if (judged->given &&
		!timestamp_from_epoch(judged->value.number,
							  member->kind == KIND_EPOCH_MS,
							  &judged->value.at))
	{
		judged->given = false;
		return NOTE_RANGE;
	}
	return note;
}

/* ----- everything else ----- */

static Note
judge_flag(const Member *member, const char *text, JsonTokenType type,
		   ValueMemory *memory, JudgedValue *judged)
{
	double		number;

	judged->value.flag = type == JSON_TOKEN_TRUE;
	judged->given = type == JSON_TOKEN_TRUE || type == JSON_TOKEN_FALSE;
	if (!judged->given && member->kind == KIND_FLAG &&
		type == JSON_TOKEN_NUMBER && json_double(text, &number) &&
		(number == 0 || number == 1))
	{
		judged->value.flag = number == 1;
		judged->given = true;
	}
	return judged->given ? NOTE_NONE : NOTE_NOT_BOOLEAN;
}

static Note
judge_degree(const Member *member, const char *text, JsonTokenType type,
			 ValueMemory *memory, JudgedValue *judged)
{
	if (type == JSON_TOKEN_NUMBER)
		return judge_number(member, text, type, memory, judged);
	judged->value.number = type == JSON_TOKEN_TRUE ? 1 : 0;
	judged->given = type == JSON_TOKEN_TRUE || type == JSON_TOKEN_FALSE;
	return judged->given ? NOTE_NONE : NOTE_NOT_NUMBER;
}

static Note
judge_time(const Member *member, const char *text, JsonTokenType type,
		   ValueMemory *memory, JudgedValue *judged)
{
	static const Note notes[] = {
		[TIME_EMPTY] = NOTE_NONE, [TIME_SYNTAX] = NOTE_NOT_TIME,
		[TIME_RANGE] = NOTE_RANGE, [TIME_ZONE] = NOTE_ZONE
	};
	ParsedTime	time;
	TimeResult	result = timestamp_parse(text, (int) strlen(text), &time);

	if (result != TIME_OK)
		return notes[result];
	judged->value.at = time.at;
	judged->has_offset = time.has_zone;
	judged->offset_min = time.offset_min;
	judged->given = true;
	if (!time.has_zone)
		return NOTE_NO_ZONE;
	if (time.leap_second)
		return NOTE_LEAP_SECOND;
	if (time.end_of_day)
		return NOTE_END_OF_DAY;
	return NOTE_NONE;
}

static Note
judge_text(const Member *member, const char *text, JsonTokenType type,
		   ValueMemory *memory, JudgedValue *judged)
{
	judged->given = *text != '\0' &&
		(member->none_text == NULL || strcmp(text, member->none_text) != 0);
	/* what has no column is only compared */
	if (judged->given && member->column)
		text = keep_text(memory->secrets, text);
	if (judged->given)
		judged->value.text = MemoryContextStrdup(memory->context, text);
	return NOTE_NONE;
}

/* The number of a text, the same for equal texts; 0 when there are too many different ones. */
static int
intern(ValueMemory *memory, const char *text)
{
	Texts	   *texts = memory->texts;

	for (int i = 1; i < texts->count; i++)
	{
		if (strcmp(texts->text[i], text) == 0)
			return i;
	}
	if (texts->count == MAX_TEXTS)
		return 0;
	texts->text[texts->count] = MemoryContextStrdup(memory->context, text);
	return texts->count++;
}

static Note
judge_code(const Member *member, const char *text, JsonTokenType type,
		   ValueMemory *memory, JudgedValue *judged)
{
	if (*text == '\0')
		return NOTE_NONE;
	if (strlen(text) > MAX_TEXT)
		return NOTE_TOO_LONG;
	judged->value.whole = intern(memory, keep_text(memory->secrets, text));
	judged->given = judged->value.whole > 0;
	return judged->given ? NOTE_NONE : NOTE_TOO_MANY;
}

static Note
judge_uuid(const Member *member, const char *text, JsonTokenType type,
		   ValueMemory *memory, JudgedValue *judged)
{
	pg_uuid_t	uuid;

	if (!uuid_parse(text, &uuid))
		return NOTE_NOT_UUID;
	if (uuid_is_zero(&uuid) || keep_is_token(memory->secrets, &uuid))
		return NOTE_NONE;
	judged->value.uuid = MemoryContextAlloc(memory->context, sizeof(pg_uuid_t));
	*judged->value.uuid = uuid;
	judged->given = true;
	return NOTE_NONE;
}

/* ----- kinds ----- */

typedef Note (*Judge) (const Member *member, const char *text,
					   JsonTokenType type, ValueMemory *memory,
					   JudgedValue *judged);

typedef struct KindRules
{
	Oid			type;			/* of the column, invalid: none */
	Note		mismatch;		/* what a value of another type is not */
	Judge		judge;			/* of scalars; NULL: none is right */
	JsonTokenType token;		/* the only one it is given */
} KindRules;

#define NUMERIC		JSON_TOKEN_NUMBER
#define TEXTUAL		JSON_TOKEN_STRING
#define ANY_TOKEN	JSON_TOKEN_INVALID
#define NO_SCALAR	NULL, ANY_TOKEN

/* kinds that are left out take anything and have no column */
static const KindRules rules[] = {
	[KIND_NUMBER] = {FLOAT8OID, NOTE_NOT_NUMBER, judge_number, NUMERIC},
	[KIND_DEGREE] = {FLOAT8OID, NOTE_NOT_NUMBER, judge_degree, ANY_TOKEN},
	[KIND_INTEGER] = {INT4OID, NOTE_NOT_NUMBER, judge_whole, NUMERIC},
	[KIND_BIGINT] = {INT8OID, NOTE_NOT_NUMBER, judge_whole, NUMERIC},
	[KIND_BOOLEAN] = {BOOLOID, NOTE_NOT_BOOLEAN, judge_flag, ANY_TOKEN},
	[KIND_FLAG] = {BOOLOID, NOTE_NOT_BOOLEAN, judge_flag, ANY_TOKEN},
	[KIND_TEXT] = {TEXTOID, NOTE_NOT_TEXT, judge_text, TEXTUAL},
	[KIND_CODE] = {TEXTOID, NOTE_NOT_TEXT, judge_code, TEXTUAL},
	[KIND_TIME] = {TIMESTAMPTZOID, NOTE_NOT_TIME, judge_time, TEXTUAL},
	[KIND_LOCAL_TIME] = {TIMESTAMPTZOID, NOTE_NOT_TIME, judge_time, TEXTUAL},
	[KIND_OFFSET] = {INT4OID, NOTE_NONE, NO_SCALAR},
	[KIND_EPOCH_S] = {TIMESTAMPTZOID, NOTE_NOT_NUMBER, judge_epoch, NUMERIC},
	[KIND_EPOCH_MS] = {TIMESTAMPTZOID, NOTE_NOT_NUMBER, judge_epoch, NUMERIC},
	[KIND_UUID] = {UUIDOID, NOTE_NOT_UUID, judge_uuid, TEXTUAL},
	[KIND_OBJECT] = {JSONBOID, NOTE_NOT_OBJECT, NO_SCALAR},
	[KIND_ANY] = {JSONBOID, NOTE_NONE, NO_SCALAR},
	[KIND_SPREAD] = {FLOAT8ARRAYOID, NOTE_NOT_OBJECT, NO_SCALAR},
	[KIND_SPREAD4] = {FLOAT4ARRAYOID, NOTE_NOT_OBJECT, NO_SCALAR},
	[KIND_STATUS] = {InvalidOid, NOTE_NOT_NUMBER, judge_text, NUMERIC},
	[KIND_TOKEN] = {InvalidOid, NOTE_NOT_UUID, NO_SCALAR},
	[KIND_GROUP] = {InvalidOid, NOTE_NOT_OBJECT, NO_SCALAR},
	[KIND_CLOSED_GROUP] = {InvalidOid, NOTE_NOT_OBJECT, NO_SCALAR},
	[KIND_LIST] = {InvalidOid, NOTE_NOT_ARRAY, NO_SCALAR}
};

Oid
value_type(MemberKind kind)
{
	return rules[kind].type;
}

Note
value_judge(const Member *member, const char *text, JsonTokenType type,
			ValueMemory *memory, JudgedValue *judged)
{
	const KindRules *kind = &rules[member->kind];

	judged->given = false;
	judged->has_offset = false;
	if (kind->judge == NULL ||
		(kind->token != ANY_TOKEN && kind->token != type))
		return kind->mismatch;
	return kind->judge(member, text, type, memory, judged);
}

Note
value_judge_container(const Member *member, bool is_array)
{
	Note		mismatch = rules[member->kind].mismatch;

	return mismatch == (is_array ? NOTE_NOT_ARRAY : NOTE_NOT_OBJECT) ?
		NOTE_NONE : mismatch;
}
