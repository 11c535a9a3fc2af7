/*
 * wakeup.c
 *	  Which workers serve which database, and waking them: see wakeup.h.
 *
 * Shared memory holds process ids, and for each worker why it does not run: an
 * error that ends a process is known to that process only.  Without
 * shared_preload_libraries there is none, and nobody to wake.
 *
 * The sources of a database are dealt out to the workers that run, in order.
 * That follows from the process ids alone: nothing has to be renewed, and what
 * a worker leaves behind is the others' as soon as it has ended.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "base/shared.h"
#include "base/wakeup.h"
#include "compat.h"
#include "guc.h"

#define MAX_SLOTS	256
#define MAX_PROBLEM 256

SQL_FUNCTION(damoov_worker_pid);
SQL_FUNCTION(damoov_worker_pids);
SQL_FUNCTION(damoov_worker_problem);
SQL_FUNCTION(damoov_wake_worker);

/* Of a worker that was wanted since the server was started. */
typedef struct WorkerSlot
{
	char		database[NAMEDATALEN];	/* "": free */
	int			number;			/* among those of its database, from 1 */
	Oid			oid;			/* of the database */
	int			pid;			/* 0: it does not run */
	Oid			crowded;		/* source that it cannot manage alone, 0: none */
	char		problem[MAX_PROBLEM];	/* why it does not run, "": not known */
} WorkerSlot;

typedef struct WorkerTable
{
	int			launcher;		/* its process id, 0: it does not run */
	uint32		ends;			/* of workers */
	WorkerSlot	slot[MAX_SLOTS];
} WorkerTable;

static WorkerTable *workers = NULL;
static WorkerSlot *mine = NULL; /* of this process, if it is a registered worker */
static const char *my_database;
static int	my_number;
static bool wake_pending = false;
static bool callback_registered = false;
static char last_error[MAX_PROBLEM];	/* of this worker */
static emit_log_hook_type previous_log_hook = NULL;

void
wakeup_init(void)
{
	shared_request("damoov workers", sizeof(WorkerTable), (void **) &workers);
}

/* ----- the table ----- */

/* The slot of a worker, or else a free one, NULL when all are taken; the lock is held. */
static WorkerSlot *
find_slot(const char *database, int number)
{
	WorkerSlot *free = NULL;

	for (int i = MAX_SLOTS - 1; i >= 0; i--)
	{
		WorkerSlot *slot = &workers->slot[i];

		if (slot->number == number && strcmp(slot->database, database) == 0)
			return slot;
		if (slot->database[0] == '\0')
			free = slot;
	}
	return free;
}

static WorkerSlot *
set_slot(const char *database, int number, int pid, const char *problem)
{
	WorkerSlot *slot;

	if (workers == NULL)
		return NULL;
	shared_lock(LW_EXCLUSIVE);
	slot = find_slot(database, number);
	if (slot)
	{
		strlcpy(slot->database, database, NAMEDATALEN);
		slot->number = number;
		slot->pid = pid;
		slot->oid = pid ? MyDatabaseId : InvalidOid;
		slot->crowded = InvalidOid;
		strlcpy(slot->problem, problem, MAX_PROBLEM);
	}
	shared_unlock();
	return slot;
}

/* Process ids of the workers that serve a database, with room for GUC_MAX_WORKERS. */
static int
find_workers(const char *database, Oid oid, int *pids)
{
	int			count = 0;

	if (workers == NULL)
		return 0;
	shared_lock(LW_SHARED);
	for (int i = 0; i < MAX_SLOTS && count < GUC_MAX_WORKERS; i++)
	{
		const WorkerSlot *slot = &workers->slot[i];

		if (slot->pid != 0 && (database ? strcmp(slot->database, database) == 0 : slot->oid == oid))
			pids[count++] = slot->pid;
	}
	shared_unlock();
	return count;
}

/* All of a database, by its name or its OID, but for this process if others is true. */
static void
wake_workers(const char *database, Oid oid, bool others)
{
	int			pids[GUC_MAX_WORKERS];
	int			count = find_workers(database, oid, pids);

	for (int i = 0; i < count; i++)
	{
		PGPROC	   *worker = others && pids[i] == MyProcPid ? NULL : BackendPidGetProc(pids[i]);

		if (worker != NULL)
			SetLatch(&worker->procLatch);
	}
}

/* ----- the launcher ----- */

void
wakeup_report(const char *database, int number, const char *problem)
{
	(void) set_slot(database, number, 0, problem);
}

void
wakeup_report_end(const char *database)
{
	if (workers == NULL)
		return;
	shared_lock(LW_EXCLUSIVE);
	workers->ends++;
	shared_unlock();
	wake_workers(database, InvalidOid, false);
}

uint32
wakeup_ends(void)
{
	return workers ? workers->ends : 0;
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

/* ----- a worker ----- */

/* An error that is reported in a worker is the one that ends it. */
static void
note_error(ErrorData *error)
{
	if (error->elevel >= ERROR && error->sqlerrcode != ERRCODE_ADMIN_SHUTDOWN && error->message)
		strlcpy(last_error, error->message, MAX_PROBLEM);
	if (previous_log_hook)
		previous_log_hook(error);
}

/* Its sources are the others' now. */
static void
worker_ends(int code, Datum arg)
{
	mine = NULL;
	wakeup_report(my_database, my_number, last_error);
	wake_workers(my_database, InvalidOid, true);
}

void
wakeup_worker_starts(const char *database, int number)
{
	my_database = database;
	my_number = number;
	previous_log_hook = emit_log_hook;
	emit_log_hook = note_error;
	before_shmem_exit(worker_ends, (Datum) 0);
}

void
wakeup_register_worker(void)
{
	mine = set_slot(my_database, my_number, MyProcPid, "");
	wake_workers(my_database, InvalidOid, true);
}

bool
wakeup_is_my_share(Oid source, int rank)
{
	int			running = 0;
	int			before_me = 0;
	bool		called = false;

	if (mine == NULL)
		return true;
	shared_lock(LW_SHARED);
	for (int i = 0; i < MAX_SLOTS; i++)
	{
		const WorkerSlot *slot = &workers->slot[i];

		if (slot->pid == 0 || slot->oid != MyDatabaseId)
			continue;
		running++;
		before_me += slot->number < mine->number;
		called |= slot != mine && slot->crowded == source;
	}
	shared_unlock();
	return called || rank % Max(1, running) == before_me;
}

void
wakeup_call_for_help(Oid source)
{
	if (mine == NULL || mine->crowded == source)
		return;
	shared_lock(LW_EXCLUSIVE);
	mine->crowded = source;
	shared_unlock();
	wake_workers(my_database, InvalidOid, true);
}

/* ----- waking ----- */

static void
wake_after_commit(XactEvent event, void *arg)
{
	if (wake_pending && event == XACT_EVENT_COMMIT)
		wake_workers(NULL, MyDatabaseId, false);
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
damoov_wake_worker(PG_FUNCTION_ARGS)
{
	wakeup_at_commit();
	PG_RETURN_VOID();
}

/* ----- what users are told ----- */

Datum
damoov_worker_pid(PG_FUNCTION_ARGS)
{
	int			pids[GUC_MAX_WORKERS];

	if (find_workers(NULL, MyDatabaseId, pids) == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT32(pids[0]);
}

Datum
damoov_worker_pids(PG_FUNCTION_ARGS)
{
	int			pids[GUC_MAX_WORKERS];
	int			count = find_workers(NULL, MyDatabaseId, pids);
	Datum		values[GUC_MAX_WORKERS];

	for (int i = 0; i < count; i++)
		values[i] = Int32GetDatum(pids[i]);
	PG_RETURN_ARRAYTYPE_P(construct_array(values, count, INT4OID, sizeof(int32), true, TYPALIGN_INT));
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

/* The first of this database's workers that does not run, 0: all do; and why. */
static int
find_missing(const char *database, char *problem)
{
	int			missing = 0;

	shared_lock(LW_SHARED);
	for (int number = 1; number <= damoov_workers_per_database && missing == 0; number++)
	{
		const WorkerSlot *slot = find_slot(database, number);

		if (slot && slot->pid != 0 && slot->oid == MyDatabaseId)
			continue;
		missing = number;
		strlcpy(problem, slot ? slot->problem : "", MAX_PROBLEM);
	}
	shared_unlock();
	/* it may have been cut off within a character */
	problem[pg_mbcliplen(problem, strlen(problem), strlen(problem))] = '\0';
	if (problem[0] == '\0')
		strlcpy(problem, "the worker has not started yet", MAX_PROBLEM);
	return missing;
}

Datum
damoov_worker_problem(PG_FUNCTION_ARGS)
{
	const char *database = get_database_name(MyDatabaseId);
	char		problem[MAX_PROBLEM] = "";
	int			pids[GUC_MAX_WORKERS];
	int			missing;

	if (RecoveryInProgress())
		PG_RETURN_TEXT_P(cstring_to_text("the server is a standby"));
	if (workers == NULL)
		PG_RETURN_TEXT_P(cstring_to_text("the library is not preloaded"));
	if (!is_listed(database))
		PG_RETURN_TEXT_P(cstring_to_text("the database is not in \"damoov.databases\""));
	if (workers->launcher == 0)
		PG_RETURN_TEXT_P(cstring_to_text("the launcher does not run"));
	missing = find_missing(database, problem);
	if (missing == 0)
		PG_RETURN_NULL();
	if (find_workers(NULL, MyDatabaseId, pids) == 0)
		PG_RETURN_TEXT_P(cstring_to_text(problem));
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("worker %d of %d does not run: %s", missing,
											  damoov_workers_per_database, problem)));
}
