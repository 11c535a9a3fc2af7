/*
 * worker.c
 *	  The background worker of one database: runs the engine for ever.
 *
 * Started by the launcher, which also restarts it.  It ends by an error or by
 * SIGTERM only.  A transaction that fails is rolled back and tried again; what
 * is in memory stays there and nothing of it is settled; at the end it is
 * given back.
 */
#include "postgres.h"

#include "access/xact.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "base/fault.h"
#include "base/wakeup.h"
#include "compat.h"
#include "guc.h"
#include "process/poll.h"
#include "process/transaction.h"
#include "process/worker.h"

#define TURN_MS			60000

pg_noreturn PGDLLEXPORT void damoov_worker_main(Datum argument);

void
worker_describe(BackgroundWorker *worker, const char *database)
{
	memset(worker, 0, sizeof(*worker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = BGW_NEVER_RESTART;	/* the launcher does, with back-off */
	worker->bgw_notify_pid = MyProcPid;
	strlcpy(worker->bgw_library_name, "damoov", sizeof(worker->bgw_library_name));
	strlcpy(worker->bgw_function_name, "damoov_worker_main", sizeof(worker->bgw_function_name));
	snprintf(worker->bgw_name, BGW_MAXLEN, "damoov worker for database \"%s\"", database);
	strlcpy(worker->bgw_type, "damoov worker", BGW_MAXLEN);
	strlcpy(worker->bgw_extra, database, BGW_EXTRALEN);
}

/*
 * Messages are hashed and requests signed outside of transactions, too;
 * OpenSSL's contexts need a resource owner then.
 */
static void
own_resources(void)
{
	static ResourceOwner owner = NULL;

	if (owner == NULL)
		owner = ResourceOwnerCreate(NULL, "damoov worker");
	CurrentResourceOwner = owner;
}

static void
begin_transaction(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, "storing");
}

static void
after_transaction(void)
{
	own_resources();
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
}

static void
commit_transaction(void)
{
	CommitTransactionCommand();
	after_transaction();
}

/* The worker goes on, whatever has failed. */
static bool
abort_transaction(bool committing)
{
	HOLD_INTERRUPTS();
	AbortOutOfAnyTransaction();
	RESUME_INTERRUPTS();
	after_transaction();
	return true;
}

/* Called when the worker exits for any reason, before its transaction and its memory are gone. */
static void
give_back(int code, Datum poll)
{
	poll_give_back((Poll *) DatumGetPointer(poll));
}

void
damoov_worker_main(Datum argument)
{
	static const TransactionHost host = {begin_transaction, commit_transaction, abort_transaction};
	MemoryContext context;
	Poll	   *poll;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(MyBgworkerEntry->bgw_extra,
										 damoov_role && damoov_role[0] ? damoov_role : NULL, 0);
	wakeup_register_worker();
	pgstat_report_appname("damoov worker");
	own_resources();

	context = AllocSetContextCreate(TopMemoryContext, "damoov worker", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	poll = poll_create(context, NULL, &host);
	before_shmem_exit(give_back, PointerGetDatum(poll));
	ereport(LOG,
			(errmsg("damoov worker started for database \"%s\"", MyBgworkerEntry->bgw_extra)));
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		poll_turn(poll, TURN_MS);
	}
}
