/*
 * launcher.c
 *	  Starts the workers of each database of damoov.databases and keeps them going.
 *
 * The launcher is connected to no database in particular.  At every tick it
 * compares the wanted state (the setting) with the actual one (its workers): a
 * worker that ended is started again after a wait, which doubles if it ended
 * soon after its start and is short again if it had run for a minute; the
 * worker of a database that is no longer listed is ended, and so is one that
 * runs as another role than it should, or is one too many.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "base/rights.h"
#include "base/wakeup.h"
#include "compat.h"
#include "guc.h"
#include "process/launcher.h"
#include "process/worker.h"

#define TICK_MS			60000
#define RESTART_BASE_MS 1000
#define RESTART_CAP_MS	60000
#define HEALTHY_MS		60000

pg_noreturn PGDLLEXPORT void damoov_launcher_main(Datum argument);

typedef struct WorkerState
{
	char		database[NAMEDATALEN];
	int			number;			/* among those of its database, from 1 */
	char		role[NAMEDATALEN];	/* that it was started with */
	BackgroundWorkerHandle *handle; /* NULL: not running */
	bool		wanted;
	int			failures;
	int64		started_ms;
	int64		restart_ms;		/* not before */
	bool		complained;		/* about what keeps it from starting */
} WorkerState;

static List *workers = NIL;		/* WorkerState * */

void
launcher_register(void)
{
	BackgroundWorker launcher = {0};

	launcher.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	launcher.bgw_start_time = BgWorkerStart_RecoveryFinished;
	launcher.bgw_restart_time = 5;
	strlcpy(launcher.bgw_library_name, "damoov", sizeof(launcher.bgw_library_name));
	strlcpy(launcher.bgw_function_name, "damoov_launcher_main", sizeof(launcher.bgw_function_name));
	strlcpy(launcher.bgw_name, "damoov launcher", BGW_MAXLEN);
	strlcpy(launcher.bgw_type, "damoov launcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&launcher);
}

static WorkerState *
find_worker(const char *database, int number)
{
	MemoryContext old;
	ListCell   *cell;
	WorkerState *state;

	foreach(cell, workers)
	{
		state = lfirst(cell);
		if (state->number == number && strcmp(state->database, database) == 0)
			return state;
	}
	old = MemoryContextSwitchTo(TopMemoryContext);
	state = palloc0(sizeof(WorkerState));
	strlcpy(state->database, database, NAMEDATALEN);
	state->number = number;
	workers = lappend(workers, state);
	MemoryContextSwitchTo(old);
	return state;
}

/*
 * Names of the databases that accept connections, as String nodes; and the role
 * for workers, "" as long as there is none.
 */
static List *
existing_databases(MemoryContext context, const char **role)
{
	List	   *names = NIL;
	Relation	catalog;
	SysScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	catalog = table_open(DatabaseRelationId, AccessShareLock);
	scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext old = MemoryContextSwitchTo(context);

		if (form->datallowconn && !form->datistemplate)
			names = lappend(names, makeString(pstrdup(NameStr(form->datname))));
		MemoryContextSwitchTo(old);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	*role = damoov_role && damoov_role[0] ? damoov_role
		: OidIsValid(get_role_oid(RIGHTS_ENGINE_ROLE, true)) ? RIGHTS_ENGINE_ROLE : "";
	CommitTransactionCommand();
	/* the memory context after a commit differs between releases */
	MemoryContextSwitchTo(context);
	return names;
}

static void
complain(WorkerState *state, const char *problem)
{
	wakeup_report(state->database, state->number, problem);
	if (!state->complained)
		ereport(LOG,
				(state->number > 1
				 ? errmsg("could not start damoov worker %d for database \"%s\": %s",
						  state->number, state->database, problem)
				 : errmsg("could not start damoov worker for database \"%s\": %s",
						  state->database, problem)));
	state->complained = true;
}

static void
start_worker(WorkerState *state, const char *role, int64 now_ms)
{
	BackgroundWorker worker;
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	bool		registered;

	/* the handle lives as long as the worker */
	strlcpy(state->role, role, NAMEDATALEN);
	worker_describe(&worker, state->database, state->number, state->role);
	registered = RegisterDynamicBackgroundWorker(&worker, &state->handle);
	MemoryContextSwitchTo(old);
	if (!registered)
	{
		state->handle = NULL;
		complain(state, "no background worker slot is free (see \"max_worker_processes\")");
		state->restart_ms = now_ms + RESTART_CAP_MS / 6;
		return;
	}
	state->complained = false;
	state->started_ms = now_ms;
}

/* Notices the end of a worker and decides when it may start again. */
static void
check_end(WorkerState *state, int64 now_ms)
{
	pid_t		pid;

	if (state->handle == NULL ||
		GetBackgroundWorkerPid(state->handle, &pid) != BGWH_STOPPED)
		return;
	pfree(state->handle);
	state->handle = NULL;
	wakeup_report_end(state->database);
	if (now_ms - state->started_ms > HEALTHY_MS)
		state->failures = 0;
	state->restart_ms = now_ms +
		clock_backoff_ms(RESTART_BASE_MS, state->failures++, RESTART_CAP_MS);
}

/*
 * Notes which workers are wanted: the first ones of all databases before any
 * second one.  Returns how long until that may be different.
 */
static long
want_workers(const List *listed, const List *existing, int count)
{
	long		wait_ms = TICK_MS;
	ListCell   *cell;

	foreach(cell, workers)
		((WorkerState *) lfirst(cell))->wanted = false;
	for (int number = 1; number <= count; number++)
	{
		foreach(cell, listed)
		{
			WorkerState *state = find_worker(lfirst(cell), number);

			state->wanted = state->handle != NULL ||
				list_member(existing, makeString(state->database));
			if (state->wanted)
				continue;
			wait_ms = RESTART_CAP_MS / 6;
			if (number == 1)
				complain(state, "the database does not exist");
		}
	}
	return wait_ms;
}

/* One look at everything; returns how long until the next is needed. */
static long
tick(MemoryContext context)
{
	List	   *listed = guc_database_list();
	const char *role = "";
	List	   *existing = listed == NIL ? NIL : existing_databases(context, &role);
	int64		now_ms = clock_ms();
	ListCell   *cell;
	long		wait_ms;

	/* one worker is enough to wait for a role */
	wait_ms = want_workers(listed, existing, role[0] ? damoov_workers_per_database : 1);
	foreach(cell, workers)
	{
		WorkerState *state = lfirst(cell);

		check_end(state, now_ms);
		if (state->handle && (!state->wanted || strcmp(state->role, role) != 0))
			TerminateBackgroundWorker(state->handle);
		else if (state->wanted && state->handle == NULL && now_ms >= state->restart_ms)
			start_worker(state, role, now_ms);
		if (state->wanted && state->handle == NULL)
			wait_ms = Min(wait_ms, Max(10, state->restart_ms - now_ms));
	}
	return wait_ms;
}

/* The next launcher does not know them, and starts others. */
static void
end_workers(int code, Datum arg)
{
	ListCell   *cell;

	foreach(cell, workers)
	{
		WorkerState *state = lfirst(cell);

		if (state->handle)
			TerminateBackgroundWorker(state->handle);
	}
}

void
damoov_launcher_main(Datum argument)
{
	MemoryContext context;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	wakeup_register_launcher();
	before_shmem_exit(end_workers, (Datum) 0);
	pgstat_report_appname("damoov launcher");
	context = AllocSetContextCreate(TopMemoryContext, "damoov launcher", ALLOCSET_SMALL_SIZES);
	for (;;)
	{
		long		wait_ms;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		MemoryContextSwitchTo(context);
		wait_ms = tick(context);
		MemoryContextSwitchTo(TopMemoryContext);
		MemoryContextReset(context);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 wait_ms, compat_wait_event("DamoovLauncher"));
		ResetLatch(MyLatch);
	}
}
