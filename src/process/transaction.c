/*
 * transaction.c
 *	  How the engine runs a transaction: see transaction.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/sql.h"
#include "base/users_code.h"
#include "process/transaction.h"

#define LOCK_MS		500

/* Whatever the database's own defaults are. */
static void
set_up(void)
{
	if (XactIsoLevel != XACT_READ_COMMITTED)
		(void) set_config_option("transaction_isolation", "read committed", PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	if (LockTimeout == 0 || LockTimeout > LOCK_MS)
		(void) set_config_option("lock_timeout", psprintf("%d", LOCK_MS), PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	/* in a parallel worker nobody looks at the functions of users */
	(void) set_config_option("max_parallel_workers_per_gather", "0", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	PushActiveSnapshot(GetTransactionSnapshot());
}

bool
transaction_run(const TransactionHost *host, void (*step) (void *argument), void *argument,
				Fault *fault)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool done = false;
	volatile bool committing = false;
	bool		guarded = users_code_guard(true);

	PG_TRY();
	{
		host->begin();
		MemoryContextSwitchTo(context);
		set_up();
		done = sql_try(step, argument, fault);
		PopActiveSnapshot();
		committing = true;
		host->commit();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		if (!host->recover(committing))
		{
			(void) users_code_guard(guarded);
			ReThrowError(error);
		}
		MemoryContextSwitchTo(context);
		done = fault_set_state(fault, error->sqlerrcode, REASON_STORE_FAILED, "%s", error->message);
	}
	PG_END_TRY();
	(void) users_code_guard(guarded);
	MemoryContextSwitchTo(context);
	return done;
}

/* ----- of a procedure ----- */

/*
 * SPI_commit() opens the next transaction at once.  That one has no snapshot,
 * no transaction id and no lock while we wait for the network.
 */
static void
use_open_transaction(void)
{
}

/* A commit that fails has ended its transaction, and opened the next. */
static bool
is_next_open(bool committing)
{
	return committing;
}

const TransactionHost transaction_of_procedure = {use_open_transaction, SPI_commit, is_next_open};
