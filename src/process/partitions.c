/*
 * partitions.c
 *	  Partitions of points and events: see partitions.h.
 *
 * How they are made is said in the install script.
 */
#include "postgres.h"

#include "fmgr.h"

#include "base/bulk.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/sql.h"
#include "compat.h"
#include "door/lock.h"
#include "guc.h"
#include "process/partitions.h"

/* Far less than it takes to fill what is made ahead. */
#define LOOK_MS		30000
/* as damoov.make_partitions() */
#define LEAST_AHEAD	10000

SQL_FUNCTION(damoov_partition_size);

/*
 * Asked first, since damoov.make_partitions() reads the bounds of all partitions
 * from the catalog, which takes some 30 ms.  A partition that somebody has
 * dropped in between is left to it.
 */
static bool
are_made(void)
{
	static SqlPlan last = {.text =
		"SELECT greatest(pg_sequence_last_value('damoov.trips_trip_id_seq'), "
		"(SELECT max(t.trip_id) FROM damoov.trips AS t), 1), "
		"greatest(pg_sequence_last_value('damoov.raw_tracks_raw_track_id_seq'), "
		"(SELECT max(t.raw_track_id) FROM damoov.raw_tracks AS t), 1)"
	};
	static const char *const parts[][2] = {{"trip_points", "trip_events"}, {"raw_points", "raw_events"}};
	int64		ahead = Max(damoov_partition_ids, LEAST_AHEAD);

	sql_run(&last, NULL, NULL);
	for (int i = 0; i < (int) lengthof(parts); i++)
	{
		int64		next = DatumGetInt64(sql_value(0, i + 1, NULL)) + 1;

		/* the last ids of all have none */
		if (next > PG_INT64_MAX / 2)
			continue;
		for (int j = 0; j < (int) lengthof(parts[i]); j++)
		{
			if (!bulk_has_partition(parts[i][j], next) || !bulk_has_partition(parts[i][j], next + ahead))
				return false;
		}
	}
	return true;
}

static void
make_partitions(void *argument)
{
	static SqlPlan make = {.text = "SELECT damoov.make_partitions()"};
	int			scope;

	/* dropped, or not created yet */
	if (!lock_extension())
		return;
	scope = sql_enter();
	if (!are_made())
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
