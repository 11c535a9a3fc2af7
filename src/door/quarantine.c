/*
 * quarantine.c
 *	  What could not be understood: see quarantine.h.
 *
 * How it is tried again is said by damoov.retry() in the install script.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "base/hide.h"
#include "base/sql.h"
#include "compat.h"
#include "door/quarantine.h"

SQL_FUNCTION(damoov_is_reason);

SQL_FUNCTION(damoov_retry);

void
quarantine_insert(const char *source, const char *kind, const pg_uuid_t *object_id,
				  const Refused *refused, int count)
{
	static SqlPlan plan = SQL_PLAN(
		"INSERT INTO damoov.quarantine AS q "
		"(source, kind, object_id, reason, sqlstate, message, body, body_digest) "
		"SELECT $1, $2, $3, n.reason, n.sqlstate, n.message, n.body, sha256(n.body) "
		"FROM (SELECT DISTINCT ON (body) * "
		"FROM unnest($4, $5, $6, $7) AS n (reason, sqlstate, message, body)) AS n "
		"ON CONFLICT ON CONSTRAINT quarantine_source_digest_key DO UPDATE "
		"SET attempts = q.attempts + 1, reason = EXCLUDED.reason, "
		"sqlstate = EXCLUDED.sqlstate, message = EXCLUDED.message",
		TEXTOID, TEXTOID, UUIDOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, BYTEAARRAYOID);
	Datum	   *values = palloc(4 * Max(1, count) * sizeof(Datum));
	Datum	   *reasons = values;
	Datum	   *sqlstates = values + count;
	Datum	   *messages = values + 2 * count;
	Datum	   *bodies = values + 3 * count;
	Datum		arguments[7];
	bool		nulls[7] = {[2] = object_id == NULL};

	if (count == 0)
		return;
	for (int i = 0; i < count; i++)
	{
		const Fault *fault = refused[i].fault;

		reasons[i] = CStringGetTextDatum(fault_reason_name(fault->reason));
		sqlstates[i] = CStringGetTextDatum(unpack_sql_state(fault->sqlstate));
		messages[i] = CStringGetTextDatum(fault->message);
		bodies[i] = PointerGetDatum(cstring_to_text_with_len(refused[i].body, refused[i].body_len));
	}
	arguments[0] = CStringGetTextDatum(source);
	arguments[1] = CStringGetTextDatum(kind);
	arguments[2] = UUIDPGetDatum(unconstify(pg_uuid_t *, object_id));
	arguments[3] = sql_array(reasons, NULL, count, TEXTOID);
	arguments[4] = sql_array(sqlstates, NULL, count, TEXTOID);
	arguments[5] = sql_array(messages, NULL, count, TEXTOID);
	arguments[6] = sql_array(bodies, NULL, count, BYTEAOID);
	sql_run(&plan, arguments, nulls);
}

/* The mended text holds a device token. */
Datum
damoov_retry(PG_FUNCTION_ARGS)
{
	static SqlPlan plan = SQL_PLAN(
		"SELECT r.event_id, r.event, r.outcome FROM damoov.retry($1, $2) AS r",
		INT8OID, JSONBOID);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		arguments[] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)};
	bool		nulls[] = {PG_ARGISNULL(0), PG_ARGISNULL(1)};
	ErrorContextCallback hiding;
	uint64		rows;
	int			scope;

	hide_statement(&hiding);
	InitMaterializedSRF(fcinfo, 0);
	scope = sql_enter();
	rows = sql_run(&plan, arguments, nulls);
	for (uint64 row = 0; row < rows; row++)
		tuplestore_puttuple(result->setResult, SPI_tuptable->vals[row]);
	sql_leave(scope);
	hide_end(&hiding);
	return (Datum) 0;
}

Datum
damoov_is_reason(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(fault_is_reason(text_to_cstring(PG_GETARG_TEXT_PP(0))));
}
