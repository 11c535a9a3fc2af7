/*
 * json.h
 *	  The one-pass JSON reader: PostgreSQL's event parser behind limits.
 *
 * The reader keeps the path to where it is, so that a visitor can ask "am I at
 * Result.Track.Points[]?" without building a tree.  PostgreSQL's parser alone
 * decides whether a text is valid; the limits are checked before it starts.
 */
#ifndef DAMOOV_JSON_H
#define DAMOOV_JSON_H

#include "common/jsonapi.h"

#include "base/fault.h"

#define JSON_MAX_DEPTH		64
#define JSON_MAX_EXPONENT	1000
#define JSON_MAX_VALUES		20000000
#define JSON_MAX_NUMBER		64	/* characters of a number */
/* the same where exponents have been written out, as jsonb prints them */
#define JSON_MAX_PLAIN_NUMBER	(JSON_MAX_NUMBER + JSON_MAX_EXPONENT)

typedef struct JsonLimits
{
	Size		text;			/* bytes of the whole */
	int			number;			/* characters of a number */
} JsonLimits;

/* Those of a text that was not printed by jsonb. */
#define JSON_LIMITS(bytes)	((JsonLimits) {(bytes), JSON_MAX_NUMBER})

/* A piece of JSON text. */
typedef struct JsonSpan
{
	const char *start;
	Size		len;
} JsonSpan;

/*
 * Levels count containers: at level 0 stands the whole text; inside the
 * outermost object or array everything is at level 1, and so on.
 */
typedef struct JsonLevel
{
	JsonSpan	written;		/* name of the member being read, between its
								 * quotes; starts nowhere in an array */
	char	   *name;			/* the same read, by json_name() or for its escapes */
	int			index;			/* element being read, -1 in an object */
	const char *start;			/* first byte of that member's value */
} JsonLevel;

typedef struct JsonWalk JsonWalk;

/*
 * What a visitor gets to see.  Every callback may be NULL.  "text" and the
 * names are palloc'd in the current context and may be kept.  Callbacks must
 * not throw for bad input; they may set walk->stop to say why the text cannot
 * be used, and are not called again then.
 */
typedef struct JsonVisitor
{
	/* an object or array opens; walk->depth is already its inner level */
	void		(*enter) (JsonWalk *walk, bool is_array);
	/* it closes; walk->depth is still its inner level */
	void		(*leave) (JsonWalk *walk);
	void		(*scalar) (JsonWalk *walk, char *text, JsonTokenType type);
	/* a member or element has been read whole: its bytes as they stand */
	void		(*value) (JsonWalk *walk, const char *start, Size len);
} JsonVisitor;

struct JsonWalk
{
	int			depth;
	JsonLevel	level[JSON_MAX_DEPTH + 2];
	void	   *state;			/* the visitor's own */
	Fault		stop;			/* set by the visitor to refuse the text */

	/* private */
	const JsonVisitor *visitor;
	JsonLexContext *lexer;
	JsonParseErrorType error;	/* of a string with escapes, */
	const char *error_at;		/* which starts here */
};

/*
 * Reads the whole of text, which must be one JSON text and nothing else.
 * Returns false with the fault filled: too_big (54000; also for more than
 * JSON_MAX_VALUES values, since each takes memory), bad_utf8 (22021),
 * too_deep (54001), bad_number (22003), nul_char (22P05), bad_json (22P02), or
 * whatever the visitor put into walk->stop.
 */
extern bool json_walk(const char *text, Size len, JsonLimits limits,
					  const JsonVisitor *visitor, void *state, Fault *fault);

/*
 * Leaves out a byte order mark.  Some senders put one in front, and nobody but the
 * one who takes the text from outside knows what is the front.
 */
extern void json_skip_mark(const char **text, Size *len);

/*
 * Takes the next member or element out of rest, which is an object or array
 * to begin with.  The text is not validated: only brackets and quotes decide
 * where a value ends.  For the envelope of texts that are validated one by
 * one.  name may be NULL, and is empty in an array.  False at the
 * end, and where the text is broken.
 */
extern bool json_next(JsonSpan *rest, JsonSpan *name, JsonSpan *value);

/* Does it begin as an object does? */
extern bool json_is_object(JsonSpan text);

/* The first member of this name, which is compared as it is written. */
extern bool json_find(JsonSpan object, const char *name, JsonSpan *value);

/* The name of the member being read at a level, "" inside an array; palloc'd when asked for first. */
extern char *json_name(JsonWalk *walk, int level);

/* Is that the name?  Without reading it. */
static inline bool
json_is_named(const JsonWalk *walk, int number, const char *name)
{
	const JsonLevel *level = &walk->level[number];

	if (level->name)
		return strcmp(level->name, name) == 0;
	return level->written.start && strncmp(name, level->written.start, level->written.len) == 0 &&
		name[level->written.len] == '\0';
}

/* The text as a JSON string. */
extern char *json_quoted(const char *text);

/* Converts a number token; false when it is out of a double's range. */
extern bool json_double(const char *text, double *value);

/* Converts a number token without a fraction in value (1e2, 100.0); exact. */
extern bool json_int64(const char *text, int64 *value);

#endif							/* DAMOOV_JSON_H */
