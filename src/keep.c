/*
 * keep.c
 *	  Keeping members as they stand, but not the secrets in them: see keep.h.
 */
#include "postgres.h"

#include "utils/json.h"
#include "utils/memutils.h"

#include "keep.h"

bool
keep_is_secret(const char *name)
{
	return pg_strcasecmp(name, "DeviceToken") == 0 ||
		pg_strcasecmp(name, "UserId") == 0;
}

void
keep_add_secret(Secrets *secrets, const char *start, Size len)
{
	/* one inside another has come before it */
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
		appendBinaryStringInfo(object, start, (int) (secret - start));
		appendBinaryStringInfo(object, "null", 4);
		start = secret + secrets->span[i].len;
	}
	appendBinaryStringInfo(object, start, (int) (end - start));
}

void
keep_append_member(StringInfo object, const char *name, const char *start,
					 Size len, const Secrets *secrets)
{
	const char *at = name;

	/* most names can be taken as they are */
	while (*at >= ' ' && *at != '"' && *at != '\\')
		at++;
	if (*at == '\0')
	{
		appendStringInfoChar(object, '"');
		appendBinaryStringInfo(object, name, (int) (at - name));
		appendBinaryStringInfo(object, "\":", 2);
	}
	else
	{
		escape_json(object, name);
		appendStringInfoChar(object, ':');
	}
	keep_append(object, start, len, secrets);
}
