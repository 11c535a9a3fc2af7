/*
 * progress.c
 *	  How far a call of damoov_purge() or damoov_reparse() has come, for
 *	  damoov.stat_progress_purge and damoov.stat_progress_reparse: the server's
 *	  own pg_stat_progress_* views know its own commands alone.
 *
 * It is in shared memory, since the transaction that tells of it is not
 * committed yet.  Without a free place, or without that memory, nothing is shown.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/progress.h"
#include "base/shared.h"
#include "compat.h"

#define MAX_CALLS	64

SQL_FUNCTION(damoov_report_progress);
SQL_FUNCTION(damoov_progress);

typedef struct Call
{
	int			pid;			/* 0: free */
	Oid			database;
	Oid			role;
	char		command[NAMEDATALEN];
	char		phase[NAMEDATALEN];
	TimestampTz started_at;
	int64		done;
	int64		total;			/* -1: not known */
	int64		rows;
} Call;

static Call *calls = NULL;		/* of MAX_CALLS */
static Call *own = NULL;
static int	own_level;			/* of the subtransaction that began it */

void
progress_init(void)
{
	shared_request("damoov progress", MAX_CALLS * sizeof(Call), (void **) &calls);
}

static void
end_call(void)
{
	if (own == NULL)
		return;
	shared_lock(LW_EXCLUSIVE);
	own->pid = 0;
	shared_unlock();
	own = NULL;
}

/* The last transaction may have been committed. */
static void
session_ends(int code, Datum argument)
{
	end_call();
}

/* damoov_purge() goes on after a commit, but nothing goes on after an error. */
static void
transaction_ends(XactEvent event, void *argument)
{
	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		end_call();
}

static void
subtransaction_ends(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *argument)
{
	if (event == SUBXACT_EVENT_ABORT_SUB && own_level >= GetCurrentTransactionNestLevel())
		end_call();
}

/* A place for this session; own stays NULL when there is none. */
static void
begin_call(const char *command)
{
	static bool registered = false;

	if (!registered)
	{
		RegisterXactCallback(transaction_ends, NULL);
		RegisterSubXactCallback(subtransaction_ends, NULL);
		before_shmem_exit(session_ends, (Datum) 0);
		registered = true;
	}
	shared_lock(LW_EXCLUSIVE);
	for (int i = 0; own == NULL && i < MAX_CALLS; i++)
	{
		if (calls[i].pid == 0)
			own = &calls[i];
	}
	if (own)
	{
		memset(own, 0, sizeof(Call));
		own->pid = MyProcPid;
		own->database = MyDatabaseId;
		own->role = GetUserId();
		shared_text(own->command, command, NAMEDATALEN);
		own->started_at = GetCurrentTimestamp();
		own_level = GetCurrentTransactionNestLevel();
	}
	shared_unlock();
}

/* (command, phase, done, total, rows); without a phase the call has ended. */
Datum
damoov_report_progress(PG_FUNCTION_ARGS)
{
	char	   *phase;

	if (calls == NULL || PG_ARGISNULL(0))
		PG_RETURN_VOID();
	if (PG_ARGISNULL(1))
	{
		end_call();
		PG_RETURN_VOID();
	}
	phase = text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (own == NULL)
		begin_call(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	if (own == NULL)
		PG_RETURN_VOID();
	shared_lock(LW_EXCLUSIVE);
	shared_text(own->phase, phase, NAMEDATALEN);
	own->done = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT64(2);
	own->total = PG_ARGISNULL(3) ? -1 : PG_GETARG_INT64(3);
	own->rows = PG_ARGISNULL(4) ? 0 : PG_GETARG_INT64(4);
	shared_unlock();
	PG_RETURN_VOID();
}

Datum
damoov_progress(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *command = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Call	   *copy;

	InitMaterializedSRF(fcinfo, 0);
	if (calls == NULL)
		return (Datum) 0;
	/* nothing is allocated under the lock */
	copy = palloc(MAX_CALLS * sizeof(Call));
	shared_lock(LW_SHARED);
	memcpy(copy, calls, MAX_CALLS * sizeof(Call));
	shared_unlock();
	for (int i = 0; i < MAX_CALLS; i++)
	{
		Call	   *call = &copy[i];
		bool		nulls[7] = {false, false, false, false, false, call->total < 0, false};

		if (call->pid == 0 || call->database != MyDatabaseId || strcmp(call->command, command) != 0)
			continue;
		tuplestore_putvalues(result->setResult, result->setDesc, (Datum[])
							 {
								 Int32GetDatum(call->pid), ObjectIdGetDatum(call->role), TimestampTzGetDatum(call->started_at),
								 CStringGetTextDatum(call->phase), Int64GetDatum(call->done), Int64GetDatum(call->total),
								 Int64GetDatum(call->rows)
							 }, nulls);
	}
	return (Datum) 0;
}
