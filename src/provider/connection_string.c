/*
 * connection_string.c
 *	  What Azure's portal gives to be pasted: see connection_string.h.
 */
#include "postgres.h"

#include <ctype.h>

#include "base/options.h"
#include "base/secret.h"
#include "provider/connection_string.h"

typedef struct Span
{
	const char *text;
	Size		len;
} Span;

typedef struct Pair
{
	Span		name;
	Span		value;			/* its text is NULL: no "=" in this part */
} Pair;

static Span
trimmed(const char *text, Size len)
{
	while (len > 0 && isspace((unsigned char) *text))
		text++, len--;
	while (len > 0 && isspace((unsigned char) text[len - 1]))
		len--;
	return (Span) {text, len};
}

/* Takes the next part that is not empty; false at the end. */
static bool
next_pair(const char **at, Pair *pair)
{
	Span		part = {NULL, 0};
	const char *equals;

	while (**at != '\0' && part.len == 0)
	{
		Size		len = strcspn(*at, ";");

		part = trimmed(*at, len);
		*at += len;
		if (**at == ';')
			(*at)++;
	}
	if (part.len == 0)
		return false;
	equals = memchr(part.text, '=', part.len);
	*pair = (Pair) {.name = part};
	if (equals)
	{
		pair->name = trimmed(part.text, equals - part.text);
		pair->value = trimmed(equals + 1, part.text + part.len - equals - 1);
	}
	return true;
}

static bool
has_name(const Pair *pair, const char *name)
{
	return strlen(name) == pair->name.len &&
		pg_strncasecmp(name, pair->name.text, pair->name.len) == 0;
}

char *
connection_string_get(const char *text, const char *name)
{
	Pair		pair;

	while (text && next_pair(&text, &pair))
	{
		if (has_name(&pair, name) && pair.value.len > 0)
			return secret_keep(pair.value.text, pair.value.len);
	}
	return NULL;
}

bool
connection_string_check(const char *text, const char *const *names, Fault *fault)
{
	uint32		seen = 0;
	Pair		pair;

	while (next_pair(&text, &pair))
	{
		/* what stands there may be a key: it is not quoted */
		if (pair.value.text == NULL)
			return options_fault(fault, "connection string has a part that is not of the form Name=value");
		for (int i = 0; names[i]; i++)
		{
			if (!has_name(&pair, names[i]))
				continue;
			if (seen & ((uint32) 1 << i))
				return options_fault(fault, "connection string has %s twice", names[i]);
			if (pair.value.len == 0)
				return options_fault(fault, "connection string has an empty %s", names[i]);
			seen |= (uint32) 1 << i;
		}
	}
	return true;
}
