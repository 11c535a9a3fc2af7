/*
 * worker.c
 *	  A background worker of one database: runs the engine for ever.
 *
 * Started by the launcher, which also restarts it.  It ends by an error or by
 * SIGTERM only.  A transaction that fails is rolled back and tried again; what
 * is in memory stays there and nothing of it is settled; at the end it is
 * given back.
 */
#include "postgres.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "access/xact.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/rights.h"
#include "base/wakeup.h"
#include "compat.h"
#include "guc.h"
#include "process/partitions.h"
#include "process/poll.h"
#include "process/tally.h"
#include "process/transaction.h"
#include "process/worker.h"

#define TURN_MS			60000
#define NO_ROLE_MS		1000
#define KEPT_MEMORY		(32 * 1024 * 1024)
#define TELL_MS			60000	/* a line of the log, at most */

/* What a worker is told, in bgw_extra. */
typedef struct WorkerOrder
{
	char		database[NAMEDATALEN];
	char		role[NAMEDATALEN];	/* "": there is none for it yet */
} WorkerOrder;

StaticAssertDecl(sizeof(WorkerOrder) <= BGW_EXTRALEN, "the order of a worker does not fit");

pg_noreturn PGDLLEXPORT void damoov_worker_main(Datum argument);

void
worker_describe(BackgroundWorker *worker, const char *database, int number, const char *role)
{
	WorkerOrder *order = (WorkerOrder *) worker->bgw_extra;

	memset(worker, 0, sizeof(*worker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = BGW_NEVER_RESTART;	/* the launcher does, with back-off */
	worker->bgw_notify_pid = MyProcPid;
	strlcpy(worker->bgw_library_name, "damoov", sizeof(worker->bgw_library_name));
	strlcpy(worker->bgw_function_name, "damoov_worker_main", sizeof(worker->bgw_function_name));
	worker->bgw_main_arg = Int32GetDatum(number);
	if (number > 1)
		snprintf(worker->bgw_name, BGW_MAXLEN, "damoov worker %d for database \"%s\"", number, database);
	else
		snprintf(worker->bgw_name, BGW_MAXLEN, "damoov worker for database \"%s\"", database);
	strlcpy(worker->bgw_type, "damoov worker", BGW_MAXLEN);
	strlcpy(order->database, database, NAMEDATALEN);
	strlcpy(order->role, role, NAMEDATALEN);
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

/*
 * What a trigger of somebody has set for its session would hold for all that is
 * stored later, also when the trigger is gone: a transaction that is read-only by
 * default stores nothing.
 */
static void
after_transaction(void)
{
	own_resources();
	ResetAllOptions();
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

/* By which it is known in pg_stat_activity and, if it is to be, in the log. */
static void
tell_name(int number)
{
	char		name[NAMEDATALEN] = "damoov worker";

	if (damoov_workers_per_database > 1)
		snprintf(name, NAMEDATALEN, "damoov worker %d of %d", number, damoov_workers_per_database);
	pgstat_report_appname(name);
}

/* What was done since the last line, when that is a while ago. */
static void
tell_work(Poll *poll, const char *database)
{
	static int64 due_ms = 0;
	static Tally tally;
	Tally		more = poll_tally(poll);
	char	   *text;

	tally_add(&tally, &more);
	if (tally_is_empty(&tally) || clock_ms() < due_ms)
		return;
	text = tally_text(&tally);
	ereport(LOG, (errmsg("damoov worker for database \"%s\": %s", database, text)));
	pfree(text);
	memset(&tally, 0, sizeof(tally));
	due_ms = clock_ms() + TELL_MS;
}

/*
 * The role comes with the extension, and with the role another worker: this one
 * has too many rights, and does nothing but wait.
 */
pg_noreturn static void
await_role(void)
{
	for (;;)
	{
		bool		found;

		CHECK_FOR_INTERRUPTS();
		StartTransactionCommand();
		found = OidIsValid(get_role_oid(RIGHTS_ENGINE_ROLE, true));
		CommitTransactionCommand();
		if (found)
			proc_exit(0);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 NO_ROLE_MS, compat_wait_event("DamoovRole"));
		ResetLatch(MyLatch);
	}
}

/*
 * A transaction takes some megabytes and frees them.  They are kept for the next:
 * when the C library returned them to the system, taking them again page by page
 * was a third of the work for a notification.
 */
static void
keep_memory(void)
{
#ifdef __GLIBC__
	(void) mallopt(M_MMAP_THRESHOLD, KEPT_MEMORY);
	(void) mallopt(M_TRIM_THRESHOLD, KEPT_MEMORY);
#endif
}

void
damoov_worker_main(Datum argument)
{
	const WorkerOrder *order = (const WorkerOrder *) MyBgworkerEntry->bgw_extra;
	int			number = DatumGetInt32(argument);
	static const TransactionHost host = {begin_transaction, commit_transaction, abort_transaction};
	MemoryContext context;
	Poll	   *poll;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	keep_memory();
	wakeup_worker_starts(order->database, number);
	BackgroundWorkerInitializeConnection(order->database, order->role[0] ? order->role : NULL, 0);
	if (order->role[0] == '\0')
		await_role();
	wakeup_register_worker();
	tell_name(number);
	own_resources();

	context = AllocSetContextCreate(TopMemoryContext, "damoov worker", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	poll = poll_create(context, NULL, &host);
	before_shmem_exit(give_back, PointerGetDatum(poll));
	ereport(LOG,
			(number > 1
			 ? errmsg("damoov worker %d started for database \"%s\"", number, order->database)
			 : errmsg("damoov worker started for database \"%s\"", order->database)));
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			tell_name(number);
		}
		partitions_make_due(&host);
		poll_turn(poll, TURN_MS);
		tell_work(poll, order->database);
	}
}
