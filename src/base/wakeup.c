/*
 * wakeup.c
 *	  Which worker serves which database, and waking it: see wakeup.h.
 *
 * Shared memory holds process ids only.  Without shared_preload_libraries
 * there is none, and nobody to wake.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"

#include "base/shared.h"
#include "base/wakeup.h"
#include "compat.h"

#define MAX_WORKERS 64

SQL_FUNCTION(damoov_worker_pid);
SQL_FUNCTION(damoov_wake_worker);

typedef struct WorkerSlot
{
	Oid			database;
	int			pid;			/* 0: free */
} WorkerSlot;

typedef struct WorkerTable
{
	WorkerSlot	slot[MAX_WORKERS];
} WorkerTable;

static WorkerTable *workers = NULL;
static bool wake_pending = false;
static bool callback_registered = false;

void
wakeup_init(void)
{
	shared_request("damoov workers", sizeof(WorkerTable), (void **) &workers);
}

static void
free_slot(int code, Datum arg)
{
	shared_lock(LW_EXCLUSIVE);
	for (int i = 0; i < MAX_WORKERS; i++)
	{
		if (workers->slot[i].pid == MyProcPid)
			workers->slot[i].pid = 0;
	}
	shared_unlock();
}

void
wakeup_register_worker(void)
{
	if (workers == NULL)
		return;
	before_shmem_exit(free_slot, (Datum) 0);
	shared_lock(LW_EXCLUSIVE);
	for (int i = 0; i < MAX_WORKERS; i++)
	{
		if (workers->slot[i].pid != 0)
			continue;
		workers->slot[i].pid = MyProcPid;
		workers->slot[i].database = MyDatabaseId;
		break;
	}
	shared_unlock();
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
		if (workers->slot[i].database == MyDatabaseId)
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

Datum
damoov_wake_worker(PG_FUNCTION_ARGS)
{
	wakeup_at_commit();
	PG_RETURN_VOID();
}
