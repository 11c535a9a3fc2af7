/*
 * keep.c
 *	  Keeping members as they stand, but not the secrets in them: see keep.h.
 */
#include "postgres.h"

#include <ctype.h>

#include "base/fault.h"
#include "base/json.h"
#include "base/text.h"
#include "base/uuid.h"
#include "dataset/keep.h"

#define REDACTED	"[redacted]"

bool
keep_is_secret(Secrets *secrets, const char *name)
{
	bool		is_secret = pg_strcasecmp(name, "DeviceToken") == 0 ||
		pg_strcasecmp(name, "UserId") == 0;

	secrets->named |= is_secret;
	return is_secret;
}

void
keep_hide(Secrets *secrets, const char *device_token)
{
	secrets->hides = uuid_parse(device_token, &secrets->hidden);
}

void
keep_hide_end(Secrets *secrets)
{
	secrets->hides = false;
	explicit_bzero(&secrets->hidden, sizeof(secrets->hidden));
}

/* Length of the hidden token if it stands here, in any spelling; else 0. */
static Size
hidden_at(const pg_uuid_t *hidden, const char *at, const char *end)
{
	pg_uuid_t	found;
	Size		len = uuid_spelled(at, end, &found);

	return len > 0 && uuid_equal(&found, hidden) ? len : 0;
}

/*
 * The end of what cannot be cut in a JSON text: of an escape or a single byte
 * of a string, of a whole number outside of strings.
 */
static const char *
unit_end(const char *at, const char *end, bool in_string)
{
	const char *behind = at + 1;

	if (in_string && *at == '\\')
		behind = at + (end - at > 1 && at[1] == 'u' ? 6 : 2);
	else if (!in_string && (*at == '-' || isdigit((unsigned char) *at)))
	{
		while (behind < end && *behind && strchr(TEXT_DIGITS "+-.eE", *behind))
			behind++;
	}
	return Min(behind, end);
}

/*
 * The token may begin at any byte of a unit, as it does for whoever searches
 * the text.  Whole units are cut, so that what is left stays JSON.
 */
static const char *
find_hidden(const pg_uuid_t *hidden, const char *at, const char *behind, const char *end)
{
	for (; at < behind; at++)
	{
		Size		len = hidden_at(hidden, at, end);

		if (len > 0)
			return at + len;
	}
	return NULL;
}

/* Appends a part of a JSON text, with "[redacted]" in place of the token. */
static void
append_hiding(StringInfo object, const char *start, const char *end, const Secrets *secrets)
{
	const char *at = start;
	bool		in_string = false;

	while (secrets->hides && at < end)
	{
		const char *behind = unit_end(at, end, in_string);
		const char *token_end = find_hidden(&secrets->hidden, at, behind, end);

		if (*at == '"')
			in_string = !in_string;
		if (token_end != NULL)
		{
			appendBinaryStringInfo(object, start, (int) (at - start));
			appendStringInfoString(object, in_string ? REDACTED : "\"" REDACTED "\"");
			while (behind < token_end)
				behind = unit_end(behind, end, in_string);
			start = behind;
		}
		at = behind;
	}
	appendBinaryStringInfo(object, start, (int) (end - start));
}

const char *
keep_text(const Secrets *secrets, const char *text)
{
	const char *end = text + strlen(text);
	const char *at = text;
	StringInfoData kept = {0};

	if (!secrets->hides || end - text < 2 * UUID_LEN)
		return text;
	while (at < end)
	{
		Size		len = hidden_at(&secrets->hidden, at, end);

		if (len > 0)
		{
			if (kept.data == NULL)
				initStringInfo(&kept);
			appendBinaryStringInfo(&kept, text, (int) (at - text));
			appendStringInfoString(&kept, REDACTED);
			text = at + len;
		}
		at += Max(len, 1);
	}
	if (kept.data == NULL)
		return text;
	appendStringInfoString(&kept, text);
	return kept.data;
}

bool
keep_is_token(const Secrets *secrets, const pg_uuid_t *id)
{
	return secrets->hides && uuid_equal(id, &secrets->hidden);
}

void
keep_add_secret(Secrets *secrets, const char *start, Size len)
{
	/* values inside this one were added before it, and are covered by it */
	while (secrets->count > 0 &&
		   secrets->span[secrets->count - 1].start >= start)
		secrets->count--;
	if (secrets->count == secrets->room)
	{
		secrets->room = secrets->room ? secrets->room * 2 : 8;
		if (secrets->span == NULL)
			secrets->span = palloc(secrets->room * sizeof(*secrets->span));
		else
			secrets->span = repalloc_huge(secrets->span, secrets->room *
										  sizeof(*secrets->span));
	}
	secrets->span[secrets->count].start = start;
	secrets->span[secrets->count].len = len;
	secrets->count++;
}

void
keep_append(StringInfo object, const char *start, Size len,
			 const Secrets *secrets)
{
	const char *end = start + len;

	for (int i = 0; i < secrets->count; i++)
	{
		const char *secret = secrets->span[i].start;

		if (secret < start || secret >= end)
			continue;
		append_hiding(object, start, secret, secrets);
		appendBinaryStringInfo(object, "null", 4);
		start = secret + secrets->span[i].len;
	}
	append_hiding(object, start, end, secrets);
}

void
keep_append_member(StringInfo object, const char *name, const char *start,
					 Size len, const Secrets *secrets)
{
	char	   *quoted = json_quoted(name);

	append_hiding(object, quoted, quoted + strlen(quoted), secrets);
	pfree(quoted);
	appendStringInfoChar(object, ':');
	keep_append(object, start, len, secrets);
}

/* ----- whole documents ----- */

/* May the byte be part of a token, in any spelling? */
static inline bool
may_spell(char c)
{
	return isxdigit((unsigned char) c) || c == '-' || c == '%' || c == '\\' || c == 'u' || c == 'x';
}

/* Does a text that holds no NUL hold the token?  It stands in a row of so many such bytes at least. */
static bool
holds_token(const Secrets *secrets, const char *text, Size len)
{
	const Size	least = 2 * UUID_LEN;
	const char *end = text + len;

	if (!secrets->hides)
		return false;
	for (const char *at = text; (Size) (end - at) >= least;)
	{
		const char *row = at + least;

		while (row > at && may_spell(row[-1]))
			row--;
		/* no token reaches across the byte before the row */
		if (row > at)
		{
			at = row;
			continue;
		}
		if (hidden_at(&secrets->hidden, at, end) > 0)
			return true;
		at++;
	}
	return false;
}

static void
find_secret(JsonWalk *walk, const char *start, Size len)
{
	if (walk->level[walk->depth].written.start &&
		keep_is_secret(walk->state, json_name(walk, walk->depth)))
		keep_add_secret(walk->state, start, len);
}

/* A document that was read has no fault. */
char *
keep_document(const char *text, Size len, const char *device_token, bool named)
{
	static const JsonVisitor visitor = {.value = find_secret};
	Secrets		secrets = {0};
	StringInfoData kept;
	Fault		ignored = {0};

	keep_hide(&secrets, device_token);
	if (!named && !holds_token(&secrets, text, len))
	{
		keep_hide_end(&secrets);
		return NULL;
	}
	(void) json_walk(text, len, JSON_LIMITS(len), &visitor, &secrets, &ignored);
	initStringInfo(&kept);
	keep_append(&kept, text, len, &secrets);
	keep_hide_end(&secrets);
	return kept.data;
}
