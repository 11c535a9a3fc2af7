/*
 * drift.c
 *	  What arrives and has no column: the functions behind damoov.drift.
 *
 * Both turn an object into { path: sample value } of what is new in it.  A
 * sample is for people to see what a member is like.  It never is a device
 * token, nor anything whose name sounds like a credential.
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "compat.h"
#include "notification.h"
#include "uuid.h"

#define MAX_SAMPLE	100			/* bytes */
#define HIDDEN		"(hidden)"

SQL_FUNCTION(damoov_unknown_members);
SQL_FUNCTION(damoov_extra_members);

typedef struct Drift
{
	bool		has_token;
	char		token[UUID_TEXT_SIZE];	/* lower case, no hyphens */
	JsonbParseState *state;		/* NULL: nothing found yet */
} Drift;

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

/* Lower case, without hyphens: every spelling of a UUID becomes one. */
static char *
plain_hex(const char *text)
{
	char	   *plain = palloc(strlen(text) + 1);
	char	   *at = plain;

	for (; *text; text++)
	{
		if (*text != '-')
			*at++ = pg_ascii_tolower((unsigned char) *text);
	}
	*at = '\0';
	return plain;
}

static void
set_token(Drift *drift, const pg_uuid_t *token)
{
	char		id[UUID_TEXT_SIZE];

	drift->has_token = true;
	strlcpy(drift->token, plain_hex(uuid_format(token, id)), sizeof(drift->token));
}

static char *
sample(const Drift *drift, const char *name, const JsonbValue *value)
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
	if (drift->has_token && strstr(plain_hex(text), drift->token) != NULL)
		return HIDDEN;
	text[pg_mbcliplen(text, strlen(text), MAX_SAMPLE)] = '\0';
	return text;
}

static void
put_text(Drift *drift, JsonbIteratorToken token, char *text)
{
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = text;
	value.val.string.len = strlen(text);
	(void) pushJsonbValue(&drift->state, token, &value);
}

static void
report(Drift *drift, const char *before, const char *name, const JsonbValue *value)
{
	if (drift->state == NULL)
		(void) pushJsonbValue(&drift->state, WJB_BEGIN_OBJECT, NULL);
	put_text(drift, WJB_KEY, psprintf("%s%s", before, name));
	put_text(drift, WJB_VALUE, sample(drift, name, value));
}

static Datum
finish(FunctionCallInfo fcinfo, Drift *drift)
{
	if (drift->state == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(JsonbValueToJsonb(pushJsonbValue(&drift->state, WJB_END_OBJECT, NULL)));
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

static void
find_unknown(Drift *drift, JsonbContainer *container, const char *parent, const char *before)
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
				find_unknown(drift, value.val.binary.data, parent, before);
		}
		else if (!notification_knows(parent, name))
			report(drift, before, name, &value);
		else if (is_container)
			find_unknown(drift, value.val.binary.data, name,
						 psprintf("%s%s%s", before, name,
								  JsonContainerIsArray(value.val.binary.data) ? "[]." : "."));
	}
}

/* The device token of a notification stands in itself. */
static void
find_token(Drift *drift, JsonbContainer *container)
{
	JsonbIterator *iterator = JsonbIteratorInit(container);
	JsonbValue	value;
	char	   *name;
	pg_uuid_t	token;

	while (!drift->has_token && next_member(&iterator, &name, &value))
	{
		if (name != NULL && pg_strcasecmp(name, "UserId") == 0 && value.type == jbvString &&
			uuid_parse(pnstrdup(value.val.string.val, value.val.string.len), &token))
			set_token(drift, &token);
	}
}

Datum
damoov_unknown_members(PG_FUNCTION_ARGS)
{
	Jsonb	   *payload = PG_GETARG_JSONB_P(0);
	Drift		drift = {0};

	if (!JB_ROOT_IS_OBJECT(payload))
		PG_RETURN_NULL();
	find_token(&drift, &payload->root);
	find_unknown(&drift, &payload->root, NULL, "");
	return finish(fcinfo, &drift);
}

Datum
damoov_extra_members(PG_FUNCTION_ARGS)
{
	Jsonb	   *extra = PG_GETARG_JSONB_P(0);
	Drift		drift = {0};
	JsonbIterator *iterator;
	JsonbValue	value;
	char	   *name;

	if (!JB_ROOT_IS_OBJECT(extra))
		PG_RETURN_NULL();
	set_token(&drift, PG_GETARG_UUID_P(1));
	iterator = JsonbIteratorInit(&extra->root);
	while (next_member(&iterator, &name, &value))
		report(&drift, "", name, &value);
	return finish(fcinfo, &drift);
}
