/*
 * connection_string.c
 *	  Connection strings of Azure: see connection_string.h.
 */
#include "postgres.h"

#include <ctype.h>

#include "base/fault.h"
#include "base/options.h"
#include "base/secret.h"
#include "provider/connection_string.h"

static void
trim(const char **text, Size *len)
{
	while (*len > 0 && isspace((unsigned char) **text))
		(*text)++, (*len)--;
	while (*len > 0 && isspace((unsigned char) (*text)[*len - 1]))
		(*len)--;
}

typedef struct Pair
{
	const char *name;
	Size		name_len;
	const char *value;			/* NULL: no "=" in this part */
	Size		value_len;
} Pair;

/* Takes the next part that is not empty; false at the end. */
static bool
next_pair(const char **at, const char *ends, Pair *pair)
{
	*pair = (Pair) {0};
	while (**at != '\0' && pair->name_len == 0)
	{
		pair->name = *at;
		pair->name_len = strcspn(*at, ends);
		*at += pair->name_len;
		*at += **at != '\0';
		trim(&pair->name, &pair->name_len);
	}
	if (pair->name_len == 0)
		return false;
	pair->value = memchr(pair->name, '=', pair->name_len);
	if (pair->value)
	{
		pair->value++;
		pair->value_len = pair->name + pair->name_len - pair->value;
		pair->name_len -= pair->value_len + 1;
		trim(&pair->name, &pair->name_len);
		trim(&pair->value, &pair->value_len);
	}
	return true;
}

static bool
has_name(const Pair *pair, const char *name)
{
	return strlen(name) == pair->name_len &&
		pg_strncasecmp(name, pair->name, pair->name_len) == 0;
}

char *
connection_string_get(const char *text, const char *name, const char *ends)
{
	Pair		pair;

	while (text && next_pair(&text, ends, &pair))
	{
		if (has_name(&pair, name) && pair.value_len > 0)
			return secret_keep(pair.value, pair.value_len);
	}
	return NULL;
}

static bool
check_name(const char *text, const char *name, Fault *fault)
{
	int			count = 0;
	Pair		pair;

	while (next_pair(&text, ";", &pair))
	{
		/* the text may be a key: it is not quoted */
		if (pair.value == NULL)
			return options_fault(fault, "connection string has a part that is not of the form Name=value");
		if (!has_name(&pair, name))
			continue;
		if (count++ > 0)
			return options_fault(fault, "connection string has %s twice", name);
		if (pair.value_len == 0)
			return options_fault(fault, "connection string has an empty %s", name);
	}
	return true;
}

bool
connection_string_check(const char *text, const char *const *names, Fault *fault)
{
	while (*names && check_name(text, *names, fault))
		names++;
	return *names == NULL;
}
