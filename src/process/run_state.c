/*
 * run_state.c
 *	  The row of a source in damoov.sources: see run_state.h.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/sql.h"
#include "door/api.h"
#include "process/run_state.h"

#define STATUS_INTERVAL_MS	60000	/* last_poll_at of an idle source */

/* Reads the options, and whether it is clear who serves the downloads. */
static void
configure(Source *source)
{
	char	   *api;
	Fault		fault = {0};

	if (api_find(source->name, &api, &fault))
		source_configure(source);
	else
		source_refuse(source, &fault);
}

static void
read_row(Source *source, bool obey_backoff)
{
	static SqlPlan plan = SQL_PLAN(
		"SELECT r.paused, r.resumed, r.wait_ms, r.pause_reason FROM damoov.run_state($1) AS r",
		OIDOID);
	Datum		argument = ObjectIdGetDatum(source->server);
	bool		paused;
	bool		resumed;
	int64		wait_ms;
	char	   *reason;
	int			scope = sql_enter();

	sql_run(&plan, &argument, NULL);
	paused = DatumGetBool(sql_value(0, 1, NULL));
	resumed = DatumGetBool(sql_value(0, 2, NULL));
	wait_ms = DatumGetInt64(sql_value(0, 3, NULL));
	if (source->state == SOURCE_NEW && obey_backoff)
		source->retry_at_ms = clock_ms() + wait_ms;
	/* damoov_resume() has emptied the row: forget the back-off here, too */
	if (resumed && source->failures > 0 && !source->status_changed)
	{
		source->failures = 0;
		source->retry_at_ms = 0;
	}
	reason = source->option_paused
		? MemoryContextStrdup(source->context, "its option \"paused\" says so")
		: sql_text(source->context, 0, 4);
	if (source->pause_reason)
		pfree(source->pause_reason);
	source->pause_reason = reason;
	source_set_paused(source, paused || source->option_paused);
	source->looked = true;
	sql_leave(scope);
}

void
run_state_look(Source *source, bool obey_backoff)
{
	configure(source);
	read_row(source, obey_backoff);
}

bool
run_state_is_stale(const Source *source)
{
	return !source->gone &&
		(source->status_changed ||
		 (source->last_poll_at != source->status_poll_at &&
		  clock_ms() - source->status_written_ms > STATUS_INTERVAL_MS));
}

void
run_state_write(Source *source)
{
	static SqlPlan plan = SQL_PLAN(
		"UPDATE damoov.sources AS s "
		"SET state = $2, last_poll_at = coalesce($3, s.last_poll_at), "
		"last_message_at = coalesce($4, s.last_message_at), last_error = $5, last_error_at = $6, "
		"failures = $7, retry_at = $8, backlog = $9, backlog_at = $10 "
		"FROM (SELECT f.server_oid, f.home FROM damoov.sources AS f "
		"WHERE f.server_oid = $1 AND f.home = damoov.home() FOR NO KEY UPDATE SKIP LOCKED) AS free "
		"WHERE s.server_oid = free.server_oid AND s.home = free.home",
		OIDOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, TIMESTAMPTZOID, INT4OID, TIMESTAMPTZOID, INT8OID, TIMESTAMPTZOID);
	Datum		values[] = {
		ObjectIdGetDatum(source->server),
		CStringGetTextDatum(source_state_name(source->state)),
		TimestampTzGetDatum(source->last_poll_at),
		TimestampTzGetDatum(source->last_message_at),
		source->error ? CStringGetTextDatum(source->error) : (Datum) 0,
		TimestampTzGetDatum(source->error_at),
		Int32GetDatum(source->failures),
		TimestampTzGetDatum(source->retry_at),
		Int64GetDatum(source->backlog),
		TimestampTzGetDatum(source->backlog_at)
	};
	bool		nulls[] = {
		false, false, source->last_poll_at == 0, source->last_message_at == 0,
		source->error == NULL, source->error == NULL, false, source->retry_at == 0,
		source->backlog < 0, source->backlog < 0
	};
	int			scope = sql_enter();

	/* not while somebody else has the row locked: it can wait */
	if (sql_run(&plan, values, nulls) > 0)
	{
		source->status_changed = false;
		source->status_written_ms = clock_ms();
		source->status_poll_at = source->last_poll_at;
	}
	sql_leave(scope);
}
