/*
 * record_value.c
 *	  One JSON value against what is expected of it: see record_value.h.
 */
#include "postgres.h"

#include <float.h>

#include "utils/memutils.h"

#include "base/timestamp.h"
#include "base/uuid.h"
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

/*
 * Reads what a number token mostly is: few digits, perhaps with a point.  Both
 * the digits and the power of ten are doubles without loss then, and one
 * division rounds like strtod(), which takes ten times as long.
 */
static inline bool
read_short_decimal(const char *text, int64 *digits, int *scale)
{
	const char *at = text + (*text == '-');
	uint64		sum = 0;
	int			count = 0;

	*scale = 0;
	for (; *at >= '0' && *at <= '9'; at++, count++)
		sum = sum * 10 + (*at - '0');
	if (*at == '.')
	{
		for (at++; *at >= '0' && *at <= '9'; at++, (*scale)++)
			sum = sum * 10 + (*at - '0');
	}
	if (*at != '\0' || count + *scale > 18)
		return false;
	*digits = *text == '-' ? -(int64) sum : (int64) sum;
	return true;
}

static inline bool
read_double(const char *text, double *value)
{
#if FLT_EVAL_METHOD == 0
	static const double power[] = {
		1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9,
		1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18
	};
	int64		digits;
	int			scale;

	if (read_short_decimal(text, &digits, &scale) &&
		digits <= INT64CONST(1) << 53 && digits >= -(INT64CONST(1) << 53))
	{
		*value = (double) digits / power[scale];
		return true;
	}
#endif
	return json_double(text, value);
}

static inline bool
read_int64(const char *text, int64 *value)
{
	int			scale;

	if (read_short_decimal(text, value, &scale) && scale == 0)
		return true;
	return json_int64(text, value);
}

bool
value_double(const char *text, double *value)
{
	return read_double(text, value);
}

bool
value_int64(const char *text, int64 *value)
{
	return read_int64(text, value);
}

static Note
judge_number(const Member *member, const char *text, JudgedValue *judged)
{
	double		number;

	if (!read_double(text, &number))
		return NOTE_RANGE;
	if (number == member->none)
		return NOTE_NONE;
	if (unlikely(number < member->low || number > member->high))
		return NOTE_RANGE;
	judged->value.number = number;
	judged->given = true;
	return NOTE_NONE;
}

static Note
judge_whole(const Member *member, const char *text, JudgedValue *judged)
{
	double		number;

	if (!read_int64(text, &judged->value.whole))
	{
		if (json_double(text, &number) && number != rint(number))
			return NOTE_NOT_WHOLE;
		return NOTE_RANGE;
	}
	number = (double) judged->value.whole;
	if (number == member->none)
		return NOTE_NONE;
	if (number < member->low || number > member->high)
		return NOTE_RANGE;
	judged->given = true;
	return NOTE_NONE;
}

static Note
judge_epoch(const Member *member, const char *text, JudgedValue *judged)
{
	double		number;

	if (!read_double(text, &number))
		return NOTE_RANGE;
	if (number == member->none)
		return NOTE_NONE;
	if (!timestamp_from_epoch(number, member->kind == KIND_EPOCH_MS,
							  &judged->value.at))
		return NOTE_RANGE;
	judged->given = true;
	return NOTE_NONE;
}

/* ----- everything else ----- */

static Note
judge_flag(const Member *member, const char *text, JsonTokenType type,
		   JudgedValue *judged)
{
	double		number;

	judged->value.flag = type == JSON_TOKEN_TRUE;
	judged->given = type == JSON_TOKEN_TRUE || type == JSON_TOKEN_FALSE;
	if (!judged->given && member->kind == KIND_FLAG &&
		type == JSON_TOKEN_NUMBER && read_double(text, &number) &&
		(number == 0 || number == 1))
	{
		judged->value.flag = number == 1;
		judged->given = true;
	}
	return judged->given ? NOTE_NONE : NOTE_NOT_BOOLEAN;
}

static Note
judge_degree(const Member *member, const char *text, JsonTokenType type,
			 JudgedValue *judged)
{
	if (type == JSON_TOKEN_NUMBER)
		return judge_number(member, text, judged);
	judged->value.number = type == JSON_TOKEN_TRUE ? 1 : 0;
	judged->given = type == JSON_TOKEN_TRUE || type == JSON_TOKEN_FALSE;
	return judged->given ? NOTE_NONE : NOTE_NOT_NUMBER;
}

static Note
judge_time(const char *text, JudgedValue *judged)
{
	ParsedTime	time;

	switch (timestamp_parse(text, (int) strlen(text), &time))
	{
		case TIME_OK:
			break;
		case TIME_EMPTY:
			return NOTE_NONE;
		case TIME_SYNTAX:
			return NOTE_NOT_TIME;
		case TIME_RANGE:
			return NOTE_RANGE;
		case TIME_ZONE:
			return NOTE_ZONE;
	}
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
judge_text(const Member *member, const char *text, ValueMemory *memory,
		   JudgedValue *judged)
{
	judged->given = *text != '\0' &&
		(member->none_text == NULL || strcmp(text, member->none_text) != 0);
	if (judged->given)
		judged->value.text = MemoryContextStrdup(memory->context, text);
	return NOTE_NONE;
}

/* Number of the text, the same for equal ones; 0 when there are too many. */
static int
intern(ValueMemory *memory, const char *text)
{
	Texts	   *texts = &memory->texts;

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
judge_code(const char *text, ValueMemory *memory, JudgedValue *judged)
{
	if (*text == '\0')
		return NOTE_NONE;
	if (strlen(text) > MAX_TEXT)
		return NOTE_TOO_LONG;
	judged->value.whole = intern(memory, text);
	judged->given = judged->value.whole > 0;
	return judged->given ? NOTE_NONE : NOTE_TOO_MANY;
}

static Note
judge_uuid(const char *text, ValueMemory *memory, JudgedValue *judged)
{
	pg_uuid_t	uuid;

	if (!uuid_parse(text, &uuid))
		return NOTE_NOT_UUID;
	if (uuid_is_zero(&uuid))
		return NOTE_NONE;
	judged->value.uuid = MemoryContextAlloc(memory->context, sizeof(pg_uuid_t));
	*judged->value.uuid = uuid;
	judged->given = true;
	return NOTE_NONE;
}

/* What a value of another type is not. */
static Note
note_kind(MemberKind kind)
{
	switch (kind)
	{
		case KIND_NUMBER:
		case KIND_DEGREE:
		case KIND_INTEGER:
		case KIND_BIGINT:
		case KIND_EPOCH_S:
		case KIND_EPOCH_MS:
		case KIND_STATUS:
			return NOTE_NOT_NUMBER;
		case KIND_BOOLEAN:
		case KIND_FLAG:
			return NOTE_NOT_BOOLEAN;
		case KIND_TEXT:
		case KIND_CODE:
			return NOTE_NOT_TEXT;
		case KIND_TIME:
		case KIND_LOCAL_TIME:
			return NOTE_NOT_TIME;
		case KIND_UUID:
		case KIND_TOKEN:
			return NOTE_NOT_UUID;
		case KIND_OBJECT:
		case KIND_SPREAD:
		case KIND_SPREAD4:
		case KIND_GROUP:
		case KIND_CLOSED_GROUP:
			return NOTE_NOT_OBJECT;
		case KIND_LIST:
			return NOTE_NOT_ARRAY;
		case KIND_OFFSET:
		case KIND_ANY:
		case KIND_EXTRA:
		case KIND_IGNORED:
		case KIND_ALIAS:
		case KIND_ENVELOPE:
		case KIND_BODY:
			break;
	}
	return NOTE_NONE;
}

Note
value_judge(const Member *member, const char *text, JsonTokenType type,
			ValueMemory *memory, JudgedValue *judged)
{
	judged->given = false;
	judged->has_offset = false;
	switch (member->kind)
	{
		case KIND_NUMBER:
			if (type != JSON_TOKEN_NUMBER)
				break;
			return judge_number(member, text, judged);
		case KIND_DEGREE:
			return judge_degree(member, text, type, judged);
		case KIND_INTEGER:
		case KIND_BIGINT:
			if (type != JSON_TOKEN_NUMBER)
				break;
			return judge_whole(member, text, judged);
		case KIND_EPOCH_S:
		case KIND_EPOCH_MS:
			if (type != JSON_TOKEN_NUMBER)
				break;
			return judge_epoch(member, text, judged);
		case KIND_STATUS:
			if (type != JSON_TOKEN_NUMBER)
				break;
			return judge_text(member, text, memory, judged);
		case KIND_BOOLEAN:
		case KIND_FLAG:
			return judge_flag(member, text, type, judged);
		case KIND_TEXT:
			if (type != JSON_TOKEN_STRING)
				break;
			return judge_text(member, text, memory, judged);
		case KIND_CODE:
			if (type != JSON_TOKEN_STRING)
				break;
			return judge_code(text, memory, judged);
		case KIND_TIME:
		case KIND_LOCAL_TIME:
			if (type != JSON_TOKEN_STRING)
				break;
			return judge_time(text, judged);
		case KIND_UUID:
			if (type != JSON_TOKEN_STRING)
				break;
			return judge_uuid(text, memory, judged);
		default:
			break;
	}
	return note_kind(member->kind);
}

Note
value_judge_container(const Member *member, bool is_array)
{
	Note		mismatch = note_kind(member->kind);

	if ((mismatch == NOTE_NOT_OBJECT && !is_array) ||
		(mismatch == NOTE_NOT_ARRAY && is_array))
		return NOTE_NONE;
	return mismatch;
}
