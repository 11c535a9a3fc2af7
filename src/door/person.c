/*
 * person.c
 *	  Persons: see person.h.
 *
 * What is erased, and in which order, is said by damoov.erase_person() in the
 * install script.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "base/hide.h"
#include "base/sql.h"
#include "base/uuid.h"
#include "compat.h"
#include "door/person.h"

SQL_FUNCTION(damoov_forget);
SQL_FUNCTION(damoov_forget_uuid);
SQL_FUNCTION(damoov_spelled_uuids);

bool
person_exists(int64 user_id)
{
	static SqlPlan plan = SQL_PLAN("SELECT FROM damoov.users AS u WHERE u.user_id = $1", INT8OID);
	Datum		argument = Int64GetDatum(user_id);

	return sql_run(&plan, &argument, NULL) > 0;
}

bool
person_is_forgotten(const pg_uuid_t *device_token)
{
	static SqlPlan plan = SQL_PLAN("SELECT damoov.is_forgotten($1)", UUIDOID);
	Datum		argument = UUIDPGetDatum(unconstify(pg_uuid_t *, device_token));

	sql_run(&plan, &argument, NULL);
	return DatumGetBool(sql_value(0, 1, NULL));
}

void
person_refuse_forgotten(const char *device_token)
{
	pg_uuid_t	token;

	if (uuid_parse(device_token, &token) && person_is_forgotten(&token))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("person was forgotten"),
				 errdetail("damoov.forgotten keeps a mark of each person that damoov_forget() erased.")));
}

bool
person_names_forgotten(const char *text, Size len)
{
	static SqlPlan plan = SQL_PLAN("SELECT damoov.names_forgotten($1)", BYTEAOID);
	Datum		argument = PointerGetDatum(cstring_to_text_with_len(text, len));

	sql_run(&plan, &argument, NULL);
	return DatumGetBool(sql_value(0, 1, NULL));
}

int64
person_of_new_token(const pg_uuid_t *device_token)
{
	static SqlPlan plan = SQL_PLAN(
		"WITH added AS (INSERT INTO damoov.users (device_token) "
		"SELECT $1 WHERE NOT EXISTS (SELECT FROM damoov.users AS u WHERE u.device_token = $1) "
		"ON CONFLICT DO NOTHING RETURNING user_id) "
		"SELECT user_id FROM added UNION ALL "
		"SELECT u.user_id FROM damoov.users AS u WHERE u.device_token = $1",
		UUIDOID);
	Datum		argument = UUIDPGetDatum(unconstify(pg_uuid_t *, device_token));

	if (sql_run(&plan, &argument, NULL) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not store the person because of a concurrent change")));
	return DatumGetInt64(sql_value(0, 1, NULL));
}

/* ----- names in texts ----- */

typedef struct Search
{
	const char *at;
	const char *end;
} Search;

/*
 * Of each place, for they may overlap: digits before a token are those of
 * another UUID, too.
 */
Datum
damoov_spelled_uuids(PG_FUNCTION_ARGS)
{
	FuncCallContext *call;
	Search	   *search;
	pg_uuid_t  *found = palloc(sizeof(pg_uuid_t));

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext old;
		bytea	   *body;

		call = SRF_FIRSTCALL_INIT();
		old = MemoryContextSwitchTo(call->multi_call_memory_ctx);
		body = PG_GETARG_BYTEA_P_COPY(0);
		search = palloc(sizeof(Search));
		search->at = VARDATA(body);
		search->end = search->at + VARSIZE(body) - VARHDRSZ;
		call->user_fctx = search;
		MemoryContextSwitchTo(old);
	}
	call = SRF_PERCALL_SETUP();
	search = call->user_fctx;
	while (search->at < search->end)
	{
		CHECK_FOR_INTERRUPTS();
		if (uuid_spelled(search->at++, search->end, found) > 0)
			SRF_RETURN_NEXT(call, UUIDPGetDatum(found));
	}
	SRF_RETURN_DONE(call);
}

/* ----- damoov_forget ----- */

static void
erase(const pg_uuid_t *token, ReturnSetInfo *result)
{
	static SqlPlan plan = SQL_PLAN(
		"SELECT e.table_name, e.row_count FROM damoov.erase_person($1) AS e",
		UUIDOID);
	Datum		argument = UUIDPGetDatum(token);
	int			scope = sql_enter();
	uint64		rows = sql_run(&plan, &argument, NULL);

	for (uint64 row = 0; row < rows; row++)
		tuplestore_puttuple(result->setResult, SPI_tuptable->vals[row]);
	sql_leave(scope);
}

/* token NULL: none that can be read was given */
static void
forget(FunctionCallInfo fcinfo, const pg_uuid_t *token)
{
	if (token == NULL || uuid_is_zero(token))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("device token is not a UUID")));
	PreventCommandIfReadOnly("damoov_forget()");
	InitMaterializedSRF(fcinfo, 0);
	erase(token, (ReturnSetInfo *) fcinfo->resultinfo);
}

Datum
damoov_forget(PG_FUNCTION_ARGS)
{
	ErrorContextCallback hiding;
	pg_uuid_t	token;
	bool		given;

	hide_statement(&hiding);
	given = !PG_ARGISNULL(0) && uuid_parse(text_to_cstring(PG_GETARG_TEXT_PP(0)), &token);
	forget(fcinfo, given ? &token : NULL);
	hide_end(&hiding);
	return (Datum) 0;
}

Datum
damoov_forget_uuid(PG_FUNCTION_ARGS)
{
	ErrorContextCallback hiding;

	hide_statement(&hiding);
	forget(fcinfo, PG_ARGISNULL(0) ? NULL : PG_GETARG_UUID_P(0));
	hide_end(&hiding);
	return (Datum) 0;
}
