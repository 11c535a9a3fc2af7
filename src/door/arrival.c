/*
 * arrival.c
 *	  Events that have just become rows, and what they do: see arrival.h.
 *
 * The rules are SQL.  What they need has been read already, so it is handed to
 * them, instead of being read again from the rows.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "base/sql.h"
#include "door/arrival.h"

/* of damoov.arrival, in its order */
enum
{
	A_EVENT_ID, A_SOURCE, A_EVENT, A_USER_ID, A_OBJECT_ID, A_SENT_AT, A_DETAILS,
	A_INSTANCE_ID = A_DETAILS + NOTIFICATION_DETAILS - 1,
	A_COLUMNS
};

struct Arrivals
{
	Oid			type;
	TupleDesc	desc;
	Datum		source;
	Datum	   *values;
	int			count;
};

/* The extension may have been dropped and made again. */
static Oid
arrival_type(void)
{
	return GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("arrival"),
						   ObjectIdGetDatum(get_namespace_oid("damoov", false)));
}

Arrivals *
arrivals_begin(int room, const char *source)
{
	Arrivals   *arrivals = palloc0(sizeof(Arrivals));

	arrivals->type = arrival_type();
	arrivals->desc = lookup_rowtype_tupdesc_copy(arrivals->type, -1);
	if (arrivals->desc->natts != A_COLUMNS)
		elog(ERROR, "type damoov.arrival has %d columns instead of %d", arrivals->desc->natts, A_COLUMNS);
	arrivals->source = CStringGetTextDatum(source);
	arrivals->values = palloc(Max(1, room) * sizeof(Datum));
	return arrivals;
}

void
arrivals_add(Arrivals *arrivals, const Notification *n, int64 event_id, int64 user_id,
			 const pg_uuid_t *instance_id)
{
	Datum		values[A_COLUMNS] = {
		[A_EVENT_ID] = Int64GetDatum(event_id),
		[A_SOURCE] = arrivals->source,
		[A_EVENT] = CStringGetTextDatum(n->event),
		[A_USER_ID] = Int64GetDatum(user_id),
		[A_OBJECT_ID] = UUIDPGetDatum(&n->object_id),
		[A_SENT_AT] = TimestampTzGetDatum(n->sent_at)
	};
	bool		nulls[A_COLUMNS] = {false};

	memcpy(&values[A_DETAILS], n->details, NOTIFICATION_DETAILS * sizeof(Datum));
	memcpy(&nulls[A_DETAILS], n->nulls, NOTIFICATION_DETAILS * sizeof(bool));
	/* what the notification itself names comes first */
	if (nulls[A_INSTANCE_ID] && instance_id)
	{
		values[A_INSTANCE_ID] = UUIDPGetDatum(instance_id);
		nulls[A_INSTANCE_ID] = false;
	}
	arrivals->values[arrivals->count++] =
		HeapTupleGetDatum(heap_form_tuple(arrivals->desc, values, nulls));
}

void
arrivals_apply(Arrivals *arrivals)
{
	static SqlPlan plan = {.text = "SELECT damoov.apply_events($1, true)", .nargs = 1};
	Datum		argument;

	if (arrivals->count == 0)
		return;
	sql_set_type(&plan, 0, get_array_type(arrivals->type));
	argument = sql_array(arrivals->values, NULL, arrivals->count, arrivals->type);
	sql_run(&plan, &argument, NULL);
}
