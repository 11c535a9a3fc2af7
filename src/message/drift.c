/*
 * drift.c
 *	  What arrives and has no column: the functions behind damoov.drift.
 *
 * Both turn an object into { path: sample value } of what is new in it.  A
 * sample is for people to see what a member is like.  It never is what could be
 * a device token, nor anything whose name sounds like a credential.
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "base/uuid.h"
#include "compat.h"
#include "message/notification.h"

#define MAX_SAMPLE	100			/* bytes */
#define HIDDEN		"(hidden)"

SQL_FUNCTION(damoov_unknown_members);
SQL_FUNCTION(damoov_extra_members);

/* ----- samples ----- */

static bool
sounds_secret(const char *name)
{
	static const char *const parts[] = {
		"token", "secret", "password", "passwd", "pwd", "key", "auth", "credential",
		"cookie", "session", "jwt", "bearer", "signature", "userid", "user_id", "deviceid"
	};

	for (int i = 0; i < (int) lengthof(parts); i++)
	{
		if (strcasestr(name, parts[i]) != NULL)
			return true;
	}
	return false;
}

/* Any UUID may be a person's token, so none is shown, in whatever spelling. */
static bool
names_uuid(const char *text)
{
	const char *end = text + strlen(text);
	pg_uuid_t	found;

	for (; text < end; text++)
	{
		if (uuid_spelled(text, end, &found) > 0)
			return true;
	}
	return false;
}

static char *
sample(const char *name, const JsonbValue *value)
{
	char	   *text;

	if (sounds_secret(name))
		return HIDDEN;
	switch (value->type)
	{
		case jbvNull:
			return "null";
		case jbvBool:
			return value->val.boolean ? "true" : "false";
		case jbvNumeric:
			text = DatumGetCString(DirectFunctionCall1(numeric_out,
													   NumericGetDatum(value->val.numeric)));
			break;
		case jbvString:
			text = pnstrdup(value->val.string.val, value->val.string.len);
			break;
		case jbvBinary:
			return JsonContainerIsArray(value->val.binary.data) ? "(array)" : "(object)";
		default:
			return "";
	}
	/* the query of a URL may be a signature */
	if (strstr(text, "://") != NULL)
		*strchrnul(text, '?') = '\0';
	if (names_uuid(text))
		return HIDDEN;
	text[pg_mbcliplen(text, strlen(text), MAX_SAMPLE)] = '\0';
	return text;
}

static void
put_text(JsonbParseState **state, JsonbIteratorToken token, char *text)
{
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = text;
	value.val.string.len = strlen(text);
	(void) pushJsonbValue(state, token, &value);
}

static void
report(JsonbParseState **state, const char *before, const char *name, const JsonbValue *value)
{
	if (*state == NULL)
		(void) pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	put_text(state, WJB_KEY, psprintf("%s%s", before, names_uuid(name) ? HIDDEN : name));
	put_text(state, WJB_VALUE, sample(name, value));
}

/* ----- walking ----- */

/* Steps through an object's members, or an array's elements (name NULL). */
static bool
next_member(JsonbIterator **iterator, char **name, JsonbValue *value)
{
	JsonbValue	key;

	for (;;)
	{
		switch (JsonbIteratorNext(iterator, &key, true))
		{
			case WJB_KEY:
				*name = pnstrdup(key.val.string.val, key.val.string.len);
				(void) JsonbIteratorNext(iterator, value, true);
				return true;
			case WJB_ELEM:
				*name = NULL;
				*value = key;
				return true;
			case WJB_DONE:
				return false;
			default:
				break;
		}
	}
}

/* Finds what is not known of a notification, or all members. */
static void
find_new(JsonbParseState **state, JsonbContainer *container, bool all, const char *parent,
		 const char *before)
{
	JsonbIterator *iterator = JsonbIteratorInit(container);
	JsonbValue	value;
	char	   *name;

	check_stack_depth();
	while (next_member(&iterator, &name, &value))
	{
		bool		is_container = value.type == jbvBinary;

		if (name == NULL)
		{
			/* an element of an array whose members are known */
			if (is_container)
				find_new(state, value.val.binary.data, all, parent, before);
		}
		else if (all || !notification_knows(parent, name))
			report(state, before, name, &value);
		else if (is_container)
			find_new(state, value.val.binary.data, all, name,
					 psprintf("%s%s%s", before, name,
							  JsonContainerIsArray(value.val.binary.data) ? "[]." : "."));
	}
}

static Datum
new_members(FunctionCallInfo fcinfo, bool all)
{
	Jsonb	   *object = PG_GETARG_JSONB_P(0);
	JsonbParseState *state = NULL;	/* nothing found yet */

	if (JB_ROOT_IS_OBJECT(object))
		find_new(&state, &object->root, all, NULL, "");
	if (state == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

Datum
damoov_unknown_members(PG_FUNCTION_ARGS)
{
	return new_members(fcinfo, false);
}

Datum
damoov_extra_members(PG_FUNCTION_ARGS)
{
	return new_members(fcinfo, true);
}
