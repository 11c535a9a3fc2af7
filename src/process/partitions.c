/*
 * partitions.c
 *	  Partitions of points and events: see partitions.h.
 *
 * How they are made is said in the install script.
 */
#include "postgres.h"

#include "fmgr.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/sql.h"
#include "compat.h"
#include "door/lock.h"
#include "guc.h"
#include "process/partitions.h"

/*
 * Less than it takes to fill what is made ahead, and seldom enough that an idle
 * worker takes no time for it.
 */
#define LOOK_MS		120000

SQL_FUNCTION(damoov_partition_size);

static void
make_partitions(void *argument)
{
	static SqlPlan make = {.text = "SELECT damoov.make_partitions()"};
	int			scope;

	/* dropped, or not created yet */
	if (!lock_extension())
		return;
	scope = sql_enter();
	sql_run(&make, NULL, NULL);
	sql_leave(scope);
}

void
partitions_make_due(const TransactionHost *host)
{
	static int64 due_ms = 0;
	static int	said = 0;		/* SQLSTATE of what is in the log already */
	Fault		fault = {0};

	if (clock_ms() < due_ms)
		return;
	due_ms = clock_ms() + LOOK_MS;
	if (transaction_run(host, make_partitions, NULL, &fault))
		said = 0;
	else if (said != fault.sqlstate && !fault_is_passing(fault.sqlstate))
	{
		said = fault.sqlstate;
		ereport(LOG, (errmsg("could not make partitions: %s", fault.message)));
	}
}

Datum
damoov_partition_size(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(damoov_partition_ids);
}
