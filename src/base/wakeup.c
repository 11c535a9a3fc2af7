/*
 * wakeup.c
 *	  Which worker serves which database, and waking it: see wakeup.h.
 *
 * Shared memory holds process ids, and for each database why its worker does
 * not run: an error that ends a process is known to that process only.  Without
 * shared_preload_libraries there is none, and nobody to wake.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/builtins.h"

#include "base/shared.h"
#include "base/wakeup.h"
#include "compat.h"
#include "guc.h"

#define MAX_WORKERS 64
#define MAX_PROBLEM 256

SQL_FUNCTION(damoov_worker_pid);
SQL_FUNCTION(damoov_worker_problem);
SQL_FUNCTION(damoov_wake_worker);

/* Of a database that a worker was wanted for, since the server was started. */
typedef struct WorkerSlot
{
	char		database[NAMEDATALEN];	/* "": free */
	Oid			oid;
	int			pid;			/* 0: no worker runs */
	char		problem[MAX_PROBLEM];	/* why not, "": not known */
} WorkerSlot;

typedef struct WorkerTable
{
	int			launcher;		/* its process id, 0: it does not run */
	WorkerSlot	slot[MAX_WORKERS];
} WorkerTable;

static WorkerTable *workers = NULL;
static bool wake_pending = false;
static bool callback_registered = false;
static char last_error[MAX_PROBLEM];	/* of this worker */
static emit_log_hook_type previous_log_hook = NULL;

void
wakeup_init(void)
{
	shared_request("damoov workers", sizeof(WorkerTable), (void **) &workers);
}

/* The slot of a database, NULL when all are taken; the lock is held. */
static WorkerSlot *
find_slot(const char *database)
{
	WorkerSlot *free = NULL;

	for (int i = MAX_WORKERS - 1; i >= 0; i--)
	{
		if (strcmp(workers->slot[i].database, database) == 0)
			return &workers->slot[i];
		if (workers->slot[i].database[0] == '\0')
			free = &workers->slot[i];
	}
	if (free)
		strlcpy(free->database, database, NAMEDATALEN);
	return free;
}

static void
set_slot(const char *database, int pid, const char *problem)
{
	WorkerSlot *slot;

	if (workers == NULL)
		return;
	shared_lock(LW_EXCLUSIVE);
	slot = find_slot(database);
	if (slot)
	{
		slot->pid = pid;
		slot->oid = pid ? MyDatabaseId : InvalidOid;
		strlcpy(slot->problem, problem, MAX_PROBLEM);
	}
	shared_unlock();
}

void
wakeup_report(const char *database, const char *problem)
{
	set_slot(database, 0, problem);
}

static void
launcher_ends(int code, Datum arg)
{
	workers->launcher = 0;
}

void
wakeup_register_launcher(void)
{
	if (workers == NULL)
		return;
	before_shmem_exit(launcher_ends, (Datum) 0);
	workers->launcher = MyProcPid;
}

/* An error that is reported in a worker is the one that ends it. */
static void
note_error(ErrorData *error)
{
	if (error->elevel >= ERROR && error->sqlerrcode != ERRCODE_ADMIN_SHUTDOWN && error->message)
		strlcpy(last_error, error->message, MAX_PROBLEM);
	if (previous_log_hook)
		previous_log_hook(error);
}

static void
worker_ends(int code, Datum database)
{
	wakeup_report((const char *) DatumGetPointer(database), last_error);
}

void
wakeup_worker_starts(const char *database)
{
	previous_log_hook = emit_log_hook;
	emit_log_hook = note_error;
	before_shmem_exit(worker_ends, PointerGetDatum(database));
}

void
wakeup_register_worker(const char *database)
{
	set_slot(database, MyProcPid, "");
}

/* Process id of this database's worker, 0 when there is none. */
static int
worker_pid(void)
{
	int			pid = 0;

	if (workers == NULL)
		return 0;
	shared_lock(LW_SHARED);
	for (int i = 0; i < MAX_WORKERS && pid == 0; i++)
	{
		if (workers->slot[i].oid == MyDatabaseId)
			pid = workers->slot[i].pid;
	}
	shared_unlock();
	return pid;
}

static void
wake_after_commit(XactEvent event, void *arg)
{
	if (wake_pending && event == XACT_EVENT_COMMIT)
	{
		int			pid = worker_pid();
		PGPROC	   *worker = pid ? BackendPidGetProc(pid) : NULL;

		if (worker != NULL)
			SetLatch(&worker->procLatch);
	}
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
		wake_pending = false;
}

void
wakeup_at_commit(void)
{
	if (workers == NULL)
		return;
	if (!callback_registered)
	{
		RegisterXactCallback(wake_after_commit, NULL);
		callback_registered = true;
	}
	wake_pending = true;
}

Datum
damoov_worker_pid(PG_FUNCTION_ARGS)
{
	int			pid = worker_pid();

	if (pid == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT32(pid);
}

/* Is this database among those that workers serve? */
static bool
is_listed(const char *database)
{
	ListCell   *cell;

	foreach(cell, guc_database_list())
	{
		if (strcmp(lfirst(cell), database) == 0)
			return true;
	}
	return false;
}

Datum
damoov_worker_problem(PG_FUNCTION_ARGS)
{
	const char *database = get_database_name(MyDatabaseId);
	char		problem[MAX_PROBLEM] = "";
	WorkerSlot *slot;

	if (RecoveryInProgress())
		PG_RETURN_TEXT_P(cstring_to_text("the server is a standby"));
	if (workers == NULL)
		PG_RETURN_TEXT_P(cstring_to_text("the library is not preloaded"));
	if (!is_listed(database))
		PG_RETURN_TEXT_P(cstring_to_text("the database is not in \"damoov.databases\""));
	if (workers->launcher == 0)
		PG_RETURN_TEXT_P(cstring_to_text("the launcher does not run"));
	if (worker_pid() != 0)
		PG_RETURN_NULL();
	shared_lock(LW_EXCLUSIVE);
	slot = find_slot(database);
	if (slot)
		strlcpy(problem, slot->problem, MAX_PROBLEM);
	shared_unlock();
	if (problem[0] == '\0')
		PG_RETURN_TEXT_P(cstring_to_text("the worker has not started yet"));
	/* it may have been cut off within a character */
	PG_RETURN_TEXT_P(cstring_to_text_with_len(problem,
											  pg_mbcliplen(problem, strlen(problem), strlen(problem))));
}

Datum
damoov_wake_worker(PG_FUNCTION_ARGS)
{
	wakeup_at_commit();
	PG_RETURN_VOID();
}
