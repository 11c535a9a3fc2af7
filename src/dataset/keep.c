/*
 * keep.c
 *	  Keeping members as they stand, but not the secrets in them: see keep.h.
 */
#include "postgres.h"


#include "base/json.h"
#include "dataset/keep.h"

#define REDACTED	"[redacted]"

bool
keep_is_secret(const char *name)
{
	return pg_strcasecmp(name, "DeviceToken") == 0 ||
		pg_strcasecmp(name, "UserId") == 0;
}

void
keep_hide(Secrets *secrets, const char *device_token)
{
	char	   *to = secrets->hidden;

	for (; *device_token && to < secrets->hidden + 2 * UUID_LEN; device_token++)
	{
		if (*device_token != '-')
			*to++ = pg_ascii_tolower((unsigned char) *device_token);
	}
	*to = '\0';
}

/* Length of the hidden token if it stands here, in any spelling; else 0. */
static Size
hidden_at(const char *hidden, const char *start, const char *end)
{
	const char *at = start;
	const char *digit = hidden;

	while (*digit && at < end)
	{
		if (*at == '-' && digit > hidden)
			at++;
		else if (pg_ascii_tolower((unsigned char) *at++) != *digit++)
			return 0;
	}
	return *digit == '\0' ? at - start : 0;
}

/* Strings may hold the token; nothing else is changed, so it stays JSON. */
static void
append_hiding(StringInfo object, const char *start, const char *end, const char *hidden)
{
	const char *at = start;
	bool		in_string = false;

	while (hidden[0] && at < end)
	{
		Size		len;

		if (*at == '"')
			in_string = !in_string;
		else if (in_string && *at == '\\')
			at++;
		else if (in_string && (len = hidden_at(hidden, at, end)) > 0)
		{
			appendBinaryStringInfo(object, start, (int) (at - start));
			appendStringInfoString(object, REDACTED);
			start = at = at + len;
			continue;
		}
		at++;
	}
	appendBinaryStringInfo(object, start, (int) (end - start));
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
		append_hiding(object, start, secret, secrets->hidden);
		appendBinaryStringInfo(object, "null", 4);
		start = secret + secrets->span[i].len;
	}
	append_hiding(object, start, end, secrets->hidden);
}

void
keep_append_member(StringInfo object, const char *name, const char *start,
					 Size len, const Secrets *secrets)
{
	char	   *quoted = json_quoted(name);

	append_hiding(object, quoted, quoted + strlen(quoted), secrets->hidden);
	pfree(quoted);
	appendStringInfoChar(object, ':');
	keep_append(object, start, len, secrets);
}
