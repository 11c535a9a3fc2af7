/*
 * json.c
 *	  The one-pass JSON reader: see json.h.
 *
 * pg_parse_json recurses and checks the stack with an error; it also accepts
 * numbers that would grow to 131 kB as numeric.  Therefore depth and numbers
 * are checked before it is called, so that reading foreign bytes never throws.
 */
#include "postgres.h"

#include <errno.h>
#include <float.h>
#include <math.h>

#include "mb/pg_wchar.h"
#include "utils/json.h"

#include "base/json.h"
#include "compat.h"

void
json_skip_mark(const char **text, Size *len)
{
	if (*len >= 3 && memcmp(*text, "\xEF\xBB\xBF", 3) == 0)
	{
		*text += 3;
		*len -= 3;
	}
}

/* ----- limits ----- */

typedef enum ByteKind
{
	BYTE_OTHER,
	BYTE_QUOTE,
	BYTE_COMMA,
	BYTE_OPEN,
	BYTE_CLOSE,
	BYTE_DIGIT,					/* begins a number; so does a minus */
	BYTE_IN_NUMBER,
	BYTE_EXPONENT
} ByteKind;

/* A table, for each byte of each text passes through here. */
static const uint8 byte_kind[256] = {
	['"'] = BYTE_QUOTE, [','] = BYTE_COMMA,
	['{'] = BYTE_OPEN, ['['] = BYTE_OPEN, ['}'] = BYTE_CLOSE, [']'] = BYTE_CLOSE,
	['0'] = BYTE_DIGIT, ['1'] = BYTE_DIGIT, ['2'] = BYTE_DIGIT, ['3'] = BYTE_DIGIT,
	['4'] = BYTE_DIGIT, ['5'] = BYTE_DIGIT, ['6'] = BYTE_DIGIT, ['7'] = BYTE_DIGIT,
	['8'] = BYTE_DIGIT, ['9'] = BYTE_DIGIT,
	['-'] = BYTE_DIGIT, ['+'] = BYTE_IN_NUMBER, ['.'] = BYTE_IN_NUMBER,
	['e'] = BYTE_EXPONENT, ['E'] = BYTE_EXPONENT
};

static inline ByteKind
kind_of(const char *at)
{
	return byte_kind[(unsigned char) *at];
}

/* The text is not terminated; the exponent ends at "end" at the latest, and may be empty. */
static bool
is_large_exponent(const char *at, const char *end)
{
	int			value = 0;

	if (at < end && (*at == '+' || *at == '-'))
		at++;
	for (; at < end && isdigit((unsigned char) *at) && value <= JSON_MAX_EXPONENT; at++)
		value = value * 10 + (*at - '0');
	return value > JSON_MAX_EXPONENT;
}

/* Returns the end of the number that starts at "at", or NULL with a fault. */
static inline const char *
check_number(const char *at, const char *end, int max_number, Fault *fault)
{
	const char *start = at;
	const char *exponent = NULL;

	for (; at < end && kind_of(at) >= BYTE_DIGIT; at++)
	{
		if (kind_of(at) == BYTE_EXPONENT)
			exponent = at + 1;
	}
	if (at - start > max_number)
	{
		fault_set(fault, REASON_BAD_NUMBER, "number of more than %d characters", max_number);
		return NULL;
	}
	if (exponent && is_large_exponent(exponent, at))
	{
		fault_set(fault, REASON_BAD_NUMBER, "number with an exponent beyond %d",
				  JSON_MAX_EXPONENT);
		return NULL;
	}
	return at;
}

/* Sets the highest bit of each byte that is zero, and perhaps of one behind such a byte. */
#define ZERO_BYTES(word) \
	(((word) - UINT64CONST(0x0101010101010101)) & ~(word) & UINT64CONST(0x8080808080808080))

/* The first quote or backslash, or the end; eight bytes at a time. */
static inline const char *
find_quote(const char *at, const char *end)
{
	uint64		word;

	for (; end - at >= (int) sizeof(word); at += sizeof(word))
	{
		memcpy(&word, at, sizeof(word));
		if ((ZERO_BYTES(word ^ UINT64CONST(0x2222222222222222)) |
			 ZERO_BYTES(word ^ UINT64CONST(0x5C5C5C5C5C5C5C5C))) != 0)
			break;
	}
	while (at < end && *at != '"' && *at != '\\')
		at++;
	return at;
}

/* Returns the byte after the closing quote; NULL when there is none. */
static inline const char *
skip_string(const char *at, const char *end)
{
	for (at = find_quote(at + 1, end); at < end; at = find_quote(at, end))
	{
		if (*at == '"')
			return at + 1;
		/* the byte behind a backslash ends nothing */
		at += Min(2, end - at);
	}
	return NULL;
}

/* Depth, how many values there are, and size of numbers, before anything recurses or converts. */
static bool
check_limits(const char *text, Size len, int max_number, Fault *fault)
{
	const char *at = text;
	const char *end = text + len;
	int			depth = 0;
	int			values = 1;

	while (at != NULL && at < end)
	{
		ByteKind	kind = kind_of(at);

		if (kind == BYTE_QUOTE)
			at = skip_string(at, end);
		else if (kind == BYTE_DIGIT)
		{
			at = check_number(at, end, max_number, fault);
			if (at == NULL)
				return false;
		}
		else
		{
			depth += (kind == BYTE_OPEN) - (kind == BYTE_CLOSE);
			if (depth > JSON_MAX_DEPTH)
				return fault_set(fault, REASON_TOO_DEEP,
								 "JSON text is nested deeper than %d levels", JSON_MAX_DEPTH);
			/* each but the first stands behind one of these */
			values += kind == BYTE_COMMA || kind == BYTE_OPEN;
			if (values > JSON_MAX_VALUES)
				return fault_set(fault, REASON_TOO_BIG, "JSON text has more than %d values",
								 JSON_MAX_VALUES);
			at++;
		}
	}
	return true;
}

static bool
is_one_of(char c, const char *characters)
{
	return c != '\0' && strchr(characters, c) != NULL;
}

static const char *
skip_blanks(const char *at, const char *end)
{
	while (at < end && is_one_of(*at, " \t\r\n"))
		at++;
	return at;
}

/* ----- walking ----- */

/* The token starts at "at". */
static bool
set_parse_fault(JsonParseErrorType error, const char *text, const char *at, Fault *fault)
{
	int			line = 1;

	/* the parser's own detail quotes the input, which may hold a token */
	if (error == JSON_UNICODE_CODE_POINT_ZERO)
		return fault_set(fault, REASON_NUL_CHAR, "\\u0000 cannot be converted to text");
	for (const char *c = text; c < at; c++)
		line += *c == '\n';
	return fault_set(fault, REASON_BAD_JSON, "invalid JSON text, line %d, byte %d",
					 line, (int) (at - text) + 1);
}

static inline bool
stopped(const JsonWalk *walk)
{
	return walk->stop.sqlstate != 0;
}

/* An object or array, which the token that opens it tells. */
static JsonAction
on_open(void *arg)
{
	JsonWalk   *walk = arg;
	JsonLevel  *inner = &walk->level[++walk->depth];

	inner->written.start = inner->name = NULL;
	inner->index = -1;
	inner->start = NULL;
	if (walk->visitor->enter && !stopped(walk))
		walk->visitor->enter(walk, walk->lexer->token_type == JSON_TOKEN_ARRAY_START);
	JSON_ACTION_DONE;
}

static JsonAction
on_close(void *arg)
{
	JsonWalk   *walk = arg;

	if (walk->visitor->leave && !stopped(walk))
		walk->visitor->leave(walk);
	walk->depth--;
	JSON_ACTION_DONE;
}

/*
 * The value of a string token, from quote to quote.  The parser is not asked to
 * build it, which it does byte by byte; where a backslash stands in it, the
 * server's lexer reads it once more.
 */
static char *
string_value(JsonWalk *walk, const char *start, const char *end)
{
	JsonLexContext *lexer;
	JsonParseErrorType error;
	char	   *value;

	if (memchr(start, '\\', end - start) == NULL)
	{
		Size		len = end - start - 2;

		value = palloc(len + 1);
		memcpy(value, start + 1, len);
		value[len] = '\0';
		return value;
	}
	lexer = compat_json_lexer(start, end - start, PG_UTF8, true);
	error = json_lex(lexer);
	value = pstrdup(error == JSON_SUCCESS ? lexer->strval->data : "");
	/* it takes a kilobyte, and there may be millions of such strings */
	compat_json_lexer_free(lexer);
	if (error != JSON_SUCCESS && walk->error == JSON_SUCCESS)
	{
		walk->error = error;
		walk->error_at = start;
	}
	return value;
}

/*
 * The name of the member whose value starts here, as it is written: the string
 * before the colon.  Tells whether there are escapes in it.
 */
static JsonSpan
name_before(const char *value, bool *has_escapes)
{
	const char *end = value - 1;
	const char *start;
	const char *at;

	*has_escapes = false;
	while (*end != '"')
		end--;
	for (start = end - 1;; start--)
	{
		*has_escapes |= *start == '\\';
		if (*start != '"')
			continue;
		/* behind an odd number of backslashes it is part of the name */
		for (at = start; at[-1] == '\\'; at--)
			;
		if ((start - at) % 2 == 0)
			return (JsonSpan) {start + 1, end - start - 1};
	}
}

/* Also to see whether its escapes are right, which the parser has not looked at. */
static char *
read_name(JsonWalk *walk, JsonLevel *level)
{
	const char *start = level->written.start - 1;

	level->name = string_value(walk, start, start + level->written.len + 2);
	return level->name;
}

char *
json_name(JsonWalk *walk, int number)
{
	static char none[] = "";
	JsonLevel  *level = &walk->level[number];

	if (level->name)
		return level->name;
	return level->written.start ? read_name(walk, level) : none;
}

static JsonAction
on_field_start(void *arg, char *name, bool isnull)
{
	JsonWalk   *walk = arg;
	JsonLevel  *level = &walk->level[walk->depth];
	const char *value = walk->lexer->token_start;
	bool		has_escapes = false;

	level->name = NULL;
	level->start = value;
	/* the text may end behind the colon */
	level->written = value ? name_before(value, &has_escapes) : (JsonSpan) {NULL, 0};
	if (has_escapes)
		(void) read_name(walk, level);
	JSON_ACTION_DONE;
}

static JsonAction
on_element_start(void *arg, bool isnull)
{
	JsonWalk   *walk = arg;

	walk->level[walk->depth].index++;
	walk->level[walk->depth].start = walk->lexer->token_start;
	JSON_ACTION_DONE;
}

static void
value_read(JsonWalk *walk)
{
	const char *start = walk->level[walk->depth].start;

	if (walk->visitor->value && !stopped(walk))
		walk->visitor->value(walk, start,
							 walk->lexer->prev_token_terminator - start);
}

static JsonAction
on_field_end(void *arg, char *name, bool isnull)
{
	value_read(arg);
	JSON_ACTION_DONE;
}

static JsonAction
on_element_end(void *arg, bool isnull)
{
	value_read(arg);
	JSON_ACTION_DONE;
}

static JsonAction
on_scalar(void *arg, char *text, JsonTokenType type)
{
	JsonWalk   *walk = arg;

	if (type == JSON_TOKEN_STRING)
		text = string_value(walk, walk->level[walk->depth].start,
							walk->lexer->prev_token_terminator);
	if (walk->visitor->scalar && !stopped(walk))
		walk->visitor->scalar(walk, text, type);
	else if (text)
		pfree(text);
	JSON_ACTION_DONE;
}

bool
json_walk(const char *text, Size len, JsonLimits limits,
		  const JsonVisitor *visitor, void *state, Fault *fault)
{
	JsonWalk	walk = {0};
	JsonSemAction actions = {0};
	JsonParseErrorType error;

	if (len > limits.text)
		return fault_set(fault, REASON_TOO_BIG,
						 "JSON text of %zu bytes exceeds the limit of %zu bytes", len,
						 limits.text);
	if (!pg_verify_mbstr(PG_UTF8, text, (int) len, true) ||
		memchr(text, '\0', len) != NULL)
		return fault_set(fault, REASON_BAD_UTF8, "invalid byte sequence for encoding \"UTF8\"");
	if (!check_limits(text, len, limits.number, fault))
		return false;

	walk.visitor = visitor;
	walk.state = state;
	walk.lexer = compat_json_lexer(text, len, PG_UTF8, false);
	walk.level[0].index = -1;
	/* a text that is nothing but a scalar */
	walk.level[0].start = skip_blanks(text, text + len);
	actions.semstate = &walk;
	actions.object_start = actions.array_start = on_open;
	actions.object_end = actions.array_end = on_close;
	actions.object_field_start = on_field_start;
	actions.object_field_end = on_field_end;
	actions.array_element_start = on_element_start;
	actions.array_element_end = on_element_end;
	actions.scalar = on_scalar;

	error = pg_parse_json(walk.lexer, &actions);
	if (walk.error != JSON_SUCCESS)
		return set_parse_fault(walk.error, text, walk.error_at, fault);
	if (error != JSON_SUCCESS)
		return set_parse_fault(error, text, walk.lexer->token_start ? walk.lexer->token_start : text + len,
							   fault);
	if (walk.stop.sqlstate != 0)
	{
		*fault = walk.stop;
		return false;
	}
	return true;
}

/* ----- spans ----- */

/* Returns the byte after the value that starts here; NULL when it does not end. */
static const char *
skip_value(const char *at, const char *end)
{
	int			depth = 0;

	if (at < end && is_one_of(*at, "}],:"))
		return NULL;
	while (at != NULL && at < end)
	{
		if (*at == '"')
			at = skip_string(at, end);
		else if (depth == 0 && is_one_of(*at, "}],: \t\r\n"))
			return at;
		else
		{
			depth += (*at == '{' || *at == '[') - (*at == '}' || *at == ']');
			at++;
		}
		if (at != NULL && depth == 0 && (at[-1] == '"' || at[-1] == '}' || at[-1] == ']'))
			return at;
	}
	return NULL;
}

bool
json_next(JsonSpan *rest, JsonSpan *name, JsonSpan *value)
{
	const char *end = rest->start + rest->len;
	const char *at = skip_blanks(rest->start, end);
	const char *behind;
	JsonSpan	no_name = {at, 0};

	if (at == end || !is_one_of(*at, "{[,"))
		return false;
	at = skip_blanks(at + 1, end);
	behind = skip_value(at, end);
	if (behind && *at == '"' && skip_blanks(behind, end) < end && *skip_blanks(behind, end) == ':')
	{
		no_name = (JsonSpan) {at + 1, behind - at - 2};
		at = skip_blanks(skip_blanks(behind, end) + 1, end);
		behind = skip_value(at, end);
	}
	if (behind == NULL)
		return false;
	if (name)
		*name = no_name;
	*value = (JsonSpan) {at, behind - at};
	*rest = (JsonSpan) {behind, end - behind};
	return true;
}

bool
json_is_object(JsonSpan text)
{
	const char *end = text.start + text.len;
	const char *at = skip_blanks(text.start, end);

	return at < end && *at == '{';
}

bool
json_find(JsonSpan object, const char *name, JsonSpan *value)
{
	JsonSpan	found;

	if (!json_is_object(object))
		return false;
	while (json_next(&object, &found, value))
	{
		if (found.len == strlen(name) && memcmp(found.start, name, found.len) == 0)
			return true;
	}
	return false;
}

char *
json_quoted(const char *text)
{
	StringInfoData quoted;

	initStringInfo(&quoted);
	escape_json(&quoted, text);
	return quoted.data;
}

/* ----- numbers ----- */

/*
 * Reads what a number token mostly is: few digits, perhaps with a point.
 */
static inline bool
short_decimal(const char *text, int64 *digits, int *scale)
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
	if (*at != '\0' || count == 0 || count + *scale > 18)
		return false;
	*digits = *text == '-' ? -(int64) sum : (int64) sum;
	return true;
}

bool
json_double(const char *text, double *value)
{
	char	   *end;
#if FLT_EVAL_METHOD == 0
	static const double power[] = {
		1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9,
		1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18
	};
	int64		digits;
	int			scale;

	/*
	 * A double represents both the digits and the power of ten exactly here,
	 * and one division gives the result of strtod() in a tenth of the time.
	 */
	if (short_decimal(text, &digits, &scale) &&
		digits <= INT64CONST(1) << 53 && digits >= -(INT64CONST(1) << 53))
	{
		*value = (double) digits / power[scale];
		return true;
	}
#endif

	errno = 0;
	*value = strtod(text, &end);
	if (*end != '\0' || !isfinite(*value))
		return false;
	/* an underflow to zero would change the value silently */
	if (errno == ERANGE && *value == 0.0)
		return false;
	if (*value == 0.0)
		*value = 0.0;			/* no negative zero */
	return true;
}

bool
json_int64(const char *text, int64 *value)
{
	int			scale;
	char	   *end;
	double		rounded;

	if (short_decimal(text, value, &scale) && scale == 0)
		return true;
	errno = 0;
	*value = strtoll(text, &end, 10);
	if (*end == '\0')
		return errno == 0;
	/* 1e2 and 100.0 are whole numbers, too; below 2^53 a double is exact */
	if (!json_double(text, &rounded) || rounded != rint(rounded) ||
		fabs(rounded) >= 9007199254740992.0)
		return false;
	*value = (int64) rounded;
	return true;
}
