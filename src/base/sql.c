/*
 * sql.c
 *	  Saved plans and SPI in one place: see sql.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "jit/jit.h"
#include "nodes/parsenodes.h"
#include "optimizer/cost.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/resowner.h"

#include "base/sql.h"
#include "compat.h"

SQL_FUNCTION(damoov_may_commit);
SQL_FUNCTION(damoov_need_read_committed);

int
sql_enter(void)
{
	int			scope = NewGUCNestLevel();

	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	return scope;
}

void
sql_leave(int scope)
{
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	AtEOXact_GUC(true, scope);
}

/*
 * Plans or runs the statement under settings which hold for nothing else.  A plan
 * that is kept is made here and run without them: they do not reach the triggers
 * that it fires and their statements.
 */
static int
with_lookups(SqlPlan *statement, const Datum *values, const char *nulls)
{
	volatile int result = 0;
	bool		seqscan = enable_seqscan;
	bool		hashjoin = enable_hashjoin;
	bool		mergejoin = enable_mergejoin;
	bool		material = enable_material;
	bool		bitmapscan = enable_bitmapscan;
	bool		sort = enable_sort;
	bool		jit = jit_enabled;

	PG_TRY();
	{
		enable_seqscan = enable_hashjoin = enable_mergejoin = enable_material = false;
		/* rows in the order of an index, of which a LIMIT needs a few */
		enable_bitmapscan = enable_sort = false;
		/* what has to be read as a whole seems to cost a fortune */
		jit_enabled = false;
		if (statement->anew)
			result = SPI_execute_plan(statement->plan, unconstify(Datum *, values),
									  nulls, false, 0);
		else
			ReleaseCachedPlan(SPI_plan_get_cached_plan(statement->plan),
							  CurrentResourceOwner);
	}
	PG_FINALLY();
	{
		enable_seqscan = seqscan;
		enable_hashjoin = hashjoin;
		enable_mergejoin = mergejoin;
		enable_material = material;
		enable_bitmapscan = bitmapscan;
		enable_sort = sort;
		jit_enabled = jit;
	}
	PG_END_TRY();
	return result;
}

uint64
sql_run(SqlPlan *statement, const Datum *values, const bool *isnull)
{
	char		nulls[SQL_MAX_ARGS];
	int			result;

	Assert(statement->nargs <= SQL_MAX_ARGS);
	if (statement->plan == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare_cursor(statement->text, statement->nargs,
											  statement->argtypes,
											  statement->anew ? CURSOR_OPT_CUSTOM_PLAN : CURSOR_OPT_GENERIC_PLAN);

		if (plan == NULL)
			elog(ERROR, "SPI_prepare failed: %s",
				 SPI_result_code_string(SPI_result));
		if (SPI_keepplan(plan) != 0)
			elog(ERROR, "SPI_keepplan failed");
		statement->plan = plan;
	}
	for (int i = 0; i < statement->nargs; i++)
		nulls[i] = isnull && isnull[i] ? 'n' : ' ';

	result = with_lookups(statement, values, nulls);
	if (!statement->anew)
		result = SPI_execute_plan(statement->plan, unconstify(Datum *, values),
								  nulls, false, 0);
	if (result < 0)
		elog(ERROR, "SPI_execute_plan failed: %s",
			 SPI_result_code_string(result));
	return SPI_processed;
}

void
sql_run_once(SqlPlan *statement, const Datum *values)
{
	int			result;

	result = SPI_execute_with_args(statement->text, statement->nargs,
								   statement->argtypes,
								   unconstify(Datum *, values), NULL, false, 0);
	if (result < 0)
		elog(ERROR, "SPI_execute_with_args failed: %s",
			 SPI_result_code_string(result));
}

void
sql_set_type(SqlPlan *statement, int argument, Oid type)
{
	if (statement->argtypes[argument] == type)
		return;
	if (statement->plan)
		SPI_freeplan(statement->plan);
	statement->plan = NULL;
	statement->argtypes[argument] = type;
}

Datum
sql_value(uint64 row, int column, bool *isnull)
{
	bool		null;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row],
									  SPI_tuptable->tupdesc, column, &null);

	if (isnull)
		*isnull = null;
	else if (null)
		elog(ERROR, "unexpected null in column %d", column);
	return value;
}

char *
sql_text(MemoryContext context, uint64 row, int column)
{
	char	   *text = SPI_getvalue(SPI_tuptable->vals[row],
									SPI_tuptable->tupdesc, column);

	return text ? MemoryContextStrdup(context, text) : NULL;
}

Datum
sql_array(const Datum *values, const bool *nulls, int count, Oid type)
{
	int16		length;
	bool		byvalue;
	char		align;
	int			dims[1] = {count};
	int			lower[1] = {1};

	get_typlenbyvalalign(type, &length, &byvalue, &align);
	return PointerGetDatum(construct_md_array(unconstify(Datum *, values),
											  unconstify(bool *, nulls),
											  1, dims, lower, type,
											  length, byvalue, align));
}

/*
 * NULL when the step is done.  Its subtransaction has ended in any case: whoever
 * catches what is thrown later must not find it open.
 */
static ErrorData *
run_in_subtransaction(void (*step) (void *argument), void *argument, bool keep)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		step(argument);
		if (keep)
			ReleaseCurrentSubTransaction();
		else
			RollbackAndReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

/*
 * Was this session cancelled?  A trigger may fail with the same SQLSTATE, when a
 * server that it asks was cancelled or shut down.
 */
static bool
is_cancel(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_QUERY_CANCELED && error->funcname &&
		strcmp(error->funcname, "ProcessInterrupts") == 0;
}

bool
sql_try(void (*step) (void *argument), void *argument, Fault *fault)
{
	ErrorData  *error = run_in_subtransaction(step, argument, true);

	if (error == NULL)
		return true;
	if (is_cancel(error))
		ReThrowError(error);
	fault_set_state(fault, error->sqlerrcode, REASON_STORE_FAILED, "%s", error->message);
	FreeErrorData(error);
	return false;
}

void
sql_need_read_committed(void)
{
	if (!IsolationUsesXactSnapshot())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
			 errmsg("damoov cannot store in a transaction of isolation level \"%s\"",
					XactIsoLevel == XACT_SERIALIZABLE ? "serializable" : "repeatable read"),
			 errdetail("It would not see rows that other transactions commit while it waits for their locks."),
			 errhint("Begin with BEGIN ISOLATION LEVEL READ COMMITTED, or make that the default: ALTER ROLE ... SET default_transaction_isolation = 'read committed'.")));
}

Datum
damoov_need_read_committed(PG_FUNCTION_ARGS)
{
	sql_need_read_committed();
	PG_RETURN_VOID();
}

void
sql_look(void (*step) (void *argument), void *argument)
{
	ErrorData  *error = run_in_subtransaction(step, argument, false);

	if (error)
		ReThrowError(error);
}

/* Functions of users run with the search_path that they have at the commit. */
static void
set_constraints_immediate(void *argument)
{
	ConstraintsSetStmt *statement = makeNode(ConstraintsSetStmt);
	int			scope = NewGUCNestLevel();

	(void) set_config_option("search_path", GetConfigOptionResetString("search_path"),
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	AfterTriggerSetState(statement);
	AtEOXact_GUC(true, scope);
}

void
sql_check_deferred(void)
{
	/* rolled back, for what is deferred stays so: others may mend it by the commit */
	sql_look(set_constraints_immediate, NULL);
}

void
sql_commit_durably(void)
{
	if (synchronous_commit < SYNCHRONOUS_COMMIT_REMOTE_FLUSH)
		(void) set_config_option("synchronous_commit", "on", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
	/* also when the caller sets it back */
	ForceSyncCommit();
}

/* Asked from a procedure, whose connection to SPI is still the current one. */
Datum
damoov_may_commit(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(SPI_inside_nonatomic_context());
}
