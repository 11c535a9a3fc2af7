/*
 * ingest.c
 *	  The door for notifications: see ingest.h.
 *
 * damoov_ingest(), see ingest_sql.c, and the worker share all of it.  They differ
 * in what a bad notification does: from SQL it raises, in the worker it is kept
 * in the quarantine.  What a stored event means for the other tables is said in the
 * install script, by damoov.apply_events(), not here.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/fault.h"
#include "base/sql.h"
#include "base/statistics.h"
#include "base/wakeup.h"
#include "compat.h"
#include "door/arrival.h"
#include "door/ingest.h"
#include "door/lock.h"
#include "door/person.h"
#include "door/quarantine.h"
#include "message/part.h"

SQL_FUNCTION(damoov_ingesting);

StaticAssertDecl(INGEST_OUTCOMES == (int) OUTCOME_COUNTERS, "outcomes of messages are counted in their order");

/* The rules in the install script act only while this is above 0. */
static int	ingesting = 0;

/* ----- reading ----- */

static void
read_part(IngestEntry *entry, NotificationOrigin origin)
{
	if (entry->part.fault.sqlstate != 0)
		entry->fault = entry->part.fault;
	else if (entry->part.control == NULL)
		(void) notification_read(entry->part.text, entry->part.len, origin,
								 &entry->notification, &entry->fault);
}

List *
ingest_refuse(List *entries, const char *body, Size len, const Fault *fault)
{
	IngestEntry *entry = palloc0(sizeof(IngestEntry));

	entry->body = body;
	entry->body_len = len;
	entry->fault = *fault;
	return lappend(entries, entry);
}

List *
ingest_read(List *entries, const char *body, Size len, NotificationOrigin origin)
{
	Fault		fault = {0};
	List	   *parts = envelope_open(body, len, &fault);
	ListCell   *cell;

	/* each message of a queue has an outcome, also an empty array */
	if (fault.sqlstate == 0 && parts == NIL && origin == NOTIFICATION_RAW)
		fault_set(&fault, REASON_BAD_TYPE, "array holds no notification");
	if (fault.sqlstate != 0)
		return ingest_refuse(entries, body, len, &fault);
	foreach(cell, parts)
	{
		IngestEntry *entry = palloc0(sizeof(IngestEntry));
		bool		by_itself;

		entry->part = *(EnvelopePart *) lfirst(cell);
		/*
		 * What the quarantine keeps: of several parts each by itself, a single
		 * one as delivered.  What was encoded is kept decoded, so that
		 * damoov_forget() finds device tokens in it.
		 */
		by_itself = list_length(parts) > 1 || entry->part.decoded;
		entry->body = by_itself ? entry->part.text : body;
		entry->body_len = by_itself ? entry->part.len : len;
		read_part(entry, origin);
		entries = lappend(entries, entry);
	}
	return entries;
}

const char *
ingest_outcome_name(IngestOutcome outcome)
{
	static const char *const names[] = {
		[INGEST_STORED] = "stored",
		[INGEST_DUPLICATE] = "duplicate",
		[INGEST_UNKNOWN] = "unknown",
		[INGEST_CONTROL] = "control",
		[INGEST_QUARANTINED] = "quarantined",
	};

	return names[outcome];
}

/* ----- statements: one for the whole batch each ----- */

/* Columns of a batch, transposed into arrays for unnest(). */
typedef struct Columns
{
	int			count;
	int			rows;
	int			space;
	Oid			types[12];
	Datum	   *values[12];
	bool	   *nulls[12];
} Columns;

static Columns *
columns_make(int space, int count, const Oid *types)
{
	Columns    *columns = palloc0(sizeof(Columns));

	columns->count = count;
	columns->space = space;
	for (int i = 0; i < count; i++)
	{
		columns->types[i] = types[i];
		columns->values[i] = palloc0(Max(1, space) * sizeof(Datum));
		columns->nulls[i] = palloc0(Max(1, space) * sizeof(bool));
	}
	return columns;
}

static void
columns_put(Columns *columns, int column, bool given, Datum value)
{
	columns->values[column][columns->rows] = value;
	columns->nulls[column][columns->rows] = !given;
}

static void
columns_put_text(Columns *columns, int column, const char *text)
{
	columns_put(columns, column, text != NULL,
				text ? CStringGetTextDatum(text) : (Datum) 0);
}

/*
 * Runs a statement over the columns, with the source as one more parameter if
 * it takes one.  Returns the number of rows, see entry_of_row().
 */
static uint64
columns_run(SqlPlan *plan, Columns *columns, const char *source)
{
	Datum		arguments[lengthof(columns->types) + 1];

	for (int i = 0; i < columns->count; i++)
		arguments[i] = sql_array(columns->values[i], columns->nulls[i],
								 columns->rows, columns->types[i]);
	if (plan->nargs > columns->count)
		arguments[columns->count] = CStringGetTextDatum(source);
	return sql_run(plan, arguments, NULL);
}

/* The statements number the entries, and return a number as first column. */
static IngestEntry *
entry_of_row(const List *entries, uint64 row)
{
	return list_nth(entries, DatumGetInt32(sql_value(row, 1, NULL)));
}

static bool
is_notification(const IngestEntry *entry)
{
	return entry->fault.sqlstate == 0 && entry->part.control == NULL;
}

/* Becomes a row of damoov.events, unless that is there already. */
static bool
is_event(const IngestEntry *entry)
{
	return entry->fault.sqlstate == 0 && !entry->forgotten;
}

/*
 * Adds the persons that are not known yet, but not those that damoov_forget()
 * has erased: nothing of their entries is kept.
 */
static void
add_users(List *entries)
{
	static SqlPlan plan = SQL_PLAN(
		"WITH n AS MATERIALIZED ("
		"SELECT n.*, EXISTS ("
		"SELECT FROM damoov.forgotten AS f WHERE f.token_digest = damoov.token_digest(n.token)) AS forgotten "
		"FROM unnest($1, $2) AS n (entry, token) "
		"WHERE NOT EXISTS (SELECT FROM damoov.users AS u WHERE u.device_token = n.token)), "
		"added AS ("
		"INSERT INTO damoov.users (device_token) "
		"SELECT DISTINCT n.token FROM n WHERE NOT n.forgotten "
		"ORDER BY n.token "
		"ON CONFLICT DO NOTHING) "
		"SELECT n.entry FROM n WHERE n.forgotten",
		INT4ARRAYOID, UUIDARRAYOID);
	Oid			types[] = {INT4OID, UUIDOID};
	Columns    *columns = columns_make(list_length(entries), 2, types);
	ListCell   *cell;
	uint64		found;

	foreach(cell, entries)
	{
		IngestEntry *entry = lfirst(cell);

		entry->forgotten = false;
		if (!is_notification(entry))
			continue;
		columns_put(columns, 0, true, Int32GetDatum(foreach_current_index(cell)));
		columns_put(columns, 1, true, UUIDPGetDatum(&entry->notification.device_token));
		columns->rows++;
	}
	found = columns_run(&plan, columns, NULL);
	for (uint64 row = 0; row < found; row++)
	{
		IngestEntry *entry = entry_of_row(entries, row);

		entry->forgotten = true;
		entry->outcome = INGEST_DUPLICATE;
	}
}

/* A merge may remove only tracks of its own person and instance. */
static void
refuse_foreign_removals(List *entries, const char *source)
{
	static SqlPlan plan = SQL_PLAN(
		"SELECT f.entry, f.of_other_tenant "
		"FROM damoov.foreign_removals($1, $2, $3, $4) AS f",
		INT4ARRAYOID, UUIDARRAYOID, UUIDARRAYOID, TEXTOID);
	Oid			types[] = {INT4OID, UUIDOID, UUIDOID};
	Columns    *columns;
	ListCell   *cell;
	int			removals = 0;
	uint64		found;

	foreach(cell, entries)
		removals += ((IngestEntry *) lfirst(cell))->notification.nremoved;
	if (removals == 0)
		return;

	columns = columns_make(removals, 3, types);
	foreach(cell, entries)
	{
		IngestEntry *entry = lfirst(cell);

		for (int i = 0; is_notification(entry) && i < entry->notification.nremoved; i++)
		{
			columns_put(columns, 0, true, Int32GetDatum(foreach_current_index(cell)));
			columns_put(columns, 1, true, UUIDPGetDatum(&entry->notification.removed[i]));
			columns_put(columns, 2, true, UUIDPGetDatum(&entry->notification.device_token));
			columns->rows++;
		}
	}
	found = columns_run(&plan, columns, source);
	for (uint64 row = 0; row < found; row++)
	{
		IngestEntry *entry = entry_of_row(entries, row);

		if (DatumGetBool(sql_value(row, 2, NULL)))
			fault_set(&entry->fault, REASON_CROSS_TENANT,
					  "\"TracksRemoved\" names a track of another instance");
		else
			fault_set(&entry->fault, REASON_CROSS_USER,
					  "\"TracksRemoved\" names a track of another user");
	}
}

/* Notes joined by line feeds, which no note contains. */
static char *
join_notes(const List *notes)
{
	StringInfoData text;
	ListCell   *cell;

	if (notes == NIL)
		return NULL;
	initStringInfo(&text);
	foreach(cell, notes)
		appendStringInfo(&text, "%s%s", text.len ? "\n" : "", (char *) lfirst(cell));
	return text.data;
}

/* The business key and the rest of a row of damoov.events. */
enum
{
	E_NUMBER, E_EVENT, E_TOKEN, E_OBJECT, E_SENT_TEXT, E_KEY_COLUMNS,
	E_OUTCOME = E_KEY_COLUMNS, E_TYPE, E_SENT_AT, E_PAYLOAD, E_NOTES, E_COLUMNS
};

static const Oid event_types[E_COLUMNS] = {
	INT8OID, TEXTOID, UUIDOID, UUIDOID, TEXTOID,
	TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID, TEXTOID
};

static void
put_event(Columns *columns, int64 number, IngestEntry *entry)
{
	const Notification *n = &entry->notification;
	bool		control = entry->part.control != NULL;

	entry->outcome = control ? INGEST_CONTROL :
		n->kind == EVENT_UNKNOWN ? INGEST_UNKNOWN : INGEST_STORED;
	columns_put(columns, E_NUMBER, true, Int64GetDatum(number));
	columns_put_text(columns, E_EVENT, control ? entry->part.control : n->event);
	columns_put(columns, E_TOKEN, !control, UUIDPGetDatum(&n->device_token));
	columns_put(columns, E_OBJECT, true,
				UUIDPGetDatum(control ? &entry->part.control_id : &n->object_id));
	columns_put_text(columns, E_SENT_TEXT,
					 control ? entry->part.control_time : n->sent_text);
	if (columns->count == E_COLUMNS)
	{
		columns_put_text(columns, E_OUTCOME, ingest_outcome_name(entry->outcome));
		columns_put_text(columns, E_TYPE, n->object_type);
		columns_put(columns, E_SENT_AT, !control, TimestampTzGetDatum(n->sent_at));
		columns_put(columns, E_PAYLOAD, true,
					PointerGetDatum(cstring_to_text_with_len(entry->part.text,
															 entry->part.len)));
		columns_put_text(columns, E_NOTES, join_notes(n->notes));
	}
	columns->rows++;
}

/*
 * What cannot be read is kept in the quarantine, but not if it contains the
 * token of a forgotten person.
 */
static bool
names_forgotten(const IngestEntry *entry)
{
	return person_names_forgotten(entry->body, entry->body_len);
}

/* The key of an object may name a person who was forgotten. */
static void
drop_forgotten_objects(List *entries)
{
	ListCell   *cell;

	foreach(cell, entries)
	{
		IngestEntry *entry = lfirst(cell);

		if (entry->fault.sqlstate != 0 || !entry->part.names_object || !names_forgotten(entry))
			continue;
		entry->forgotten = true;
		entry->outcome = INGEST_DUPLICATE;
	}
}

/* Objects of a bucket are fetched, too. */
static void
queue_objects(const List *entries)
{
	static SqlPlan plan = SQL_PLAN("SELECT damoov.queue_objects($1, $2)", INT8ARRAYOID, UUIDARRAYOID);
	Oid			types[] = {INT8OID, UUIDOID};
	Columns    *columns = columns_make(list_length(entries), 2, types);
	ListCell   *cell;

	foreach(cell, entries)
	{
		const IngestEntry *entry = lfirst(cell);

		if (entry->event_id == 0 || !entry->part.names_object)
			continue;
		columns_put(columns, 0, true, Int64GetDatum(entry->event_id));
		columns_put(columns, 1, true, UUIDPGetDatum(&entry->part.control_id));
		columns->rows++;
	}
	if (columns->rows > 0)
		columns_run(&plan, columns, NULL);
}

/* The rules for what became rows: row is that of insert_events(). */
static void
take_arrival(Arrivals *arrivals, const IngestEntry *entry, uint64 row)
{
	Datum		instance;
	bool		no_instance;

	if (entry->outcome != INGEST_STORED)
		return;
	instance = sql_value(row, 3, &no_instance);
	arrivals_add(arrivals, &entry->notification, entry->event_id,
				 DatumGetInt64(sql_value(row, 2, NULL)),
				 no_instance ? NULL : DatumGetUUIDP(instance));
}

/* Ascending; those of what is not inserted are never used. */
static int64 *
draw_event_ids(int count)
{
	static SqlPlan plan = SQL_PLAN(
		"SELECT nextval('damoov.events_event_id_seq') FROM generate_series(1, $1)", INT4OID);
	Datum		argument = Int32GetDatum(count);
	int64	   *ids = palloc(Max(1, count) * sizeof(int64));

	sql_run(&plan, &argument, NULL);
	for (int i = 0; i < count; i++)
		ids[i] = DatumGetInt64(sql_value(i, 1, NULL));
	return ids;
}

static int
compare_ids(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return (x > y) - (x < y);
}

/*
 * Nobody else stores the same keys meanwhile, which are locked.  So the rows are
 * inserted in the order of their numbers, which is the fastest for the index.
 */
static void
insert_events(List *entries, const char *source)
{
	static SqlPlan plan = SQL_PLAN(
		"INSERT INTO damoov.events (event_id, source, event, outcome, user_id, "
		"object_id, object_type, sent_at, sent_text, payload, notes) "
		"SELECT n.event_id, $11, n.event, n.outcome, u.user_id, "
		"n.object_id, n.object_type, n.sent_at, n.sent_text, n.payload::jsonb, string_to_array(n.notes, E'\\n') "
		"FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) AS n "
		"(event_id, event, token, object_id, sent_text, outcome, object_type, sent_at, payload, notes) "
		"LEFT JOIN damoov.users AS u ON u.device_token = n.token "
		"ON CONFLICT ON CONSTRAINT events_business_key DO NOTHING "
		"RETURNING event_id, user_id, (SELECT damoov.source_instance($11))",
		INT8ARRAYOID, TEXTARRAYOID, UUIDARRAYOID, UUIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTOID);
	Columns    *columns = columns_make(list_length(entries), E_COLUMNS, event_types);
	Arrivals   *arrivals = arrivals_begin(list_length(entries), source);
	IngestEntry **events = palloc(Max(1, list_length(entries)) * sizeof(IngestEntry *));
	int64	   *ids;
	int			count = 0;
	ListCell   *cell;
	uint64		rows;

	foreach(cell, entries)
	{
		IngestEntry *entry = lfirst(cell);

		entry->event_id = 0;
		if (is_event(entry))
			events[count++] = entry;
	}
	ids = draw_event_ids(count);
	for (int i = 0; i < count; i++)
		put_event(columns, ids[i], events[i]);
	rows = columns_run(&plan, columns, source);
	for (uint64 row = 0; row < rows; row++)
	{
		int64		id = DatumGetInt64(sql_value(row, 1, NULL));
		const int64 *found = bsearch(&id, ids, count, sizeof(int64), compare_ids);

		/* unless a trigger has changed it */
		if (found == NULL)
			continue;
		events[found - ids]->event_id = id;
		take_arrival(arrivals, events[found - ids], row);
	}
	arrivals_apply(arrivals);
	queue_objects(entries);
}

/* What was not inserted is there already: count it and learn its id. */
static void
count_duplicates(List *entries, const char *source)
{
	static SqlPlan plan = SQL_PLAN(
		"WITH n AS ("
		"SELECT n.*, u.user_id "
		"FROM unnest($1, $2, $3, $4, $5) AS n (entry, event, token, object_id, sent_text) "
		"LEFT JOIN damoov.users AS u ON u.device_token = n.token), "
		"known AS ("
		"SELECT n.entry, e.event_id "
		"FROM n "
		"JOIN damoov.events AS e ON e.event = n.event AND e.object_id = n.object_id "
		"AND e.sent_text = n.sent_text AND e.user_id IS NOT DISTINCT FROM n.user_id), "
		"counted AS ("
		"INSERT INTO damoov.redeliveries AS r (event_id, source, times) "
		"SELECT k.event_id, $6, count(*) FROM known AS k "
		"GROUP BY k.event_id "
		"ORDER BY k.event_id "
		"ON CONFLICT ON CONSTRAINT redeliveries_pkey DO UPDATE SET times = r.times + EXCLUDED.times) "
		"SELECT k.entry::integer, k.event_id FROM known AS k",
		INT8ARRAYOID, TEXTARRAYOID, UUIDARRAYOID, UUIDARRAYOID, TEXTARRAYOID, TEXTOID);
	Columns    *columns = columns_make(list_length(entries), E_KEY_COLUMNS, event_types);
	ListCell   *cell;
	uint64		rows;

	foreach(cell, entries)
	{
		IngestEntry *entry = lfirst(cell);

		if (is_event(entry) && entry->event_id == 0)
			put_event(columns, foreach_current_index(cell), entry);
	}
	if (columns->rows == 0)
		return;
	rows = columns_run(&plan, columns, source);
	for (uint64 row = 0; row < rows; row++)
	{
		IngestEntry *entry = entry_of_row(entries, row);

		entry->event_id = DatumGetInt64(sql_value(row, 2, NULL));
		entry->outcome = INGEST_DUPLICATE;
	}
}

/*
 * Puts entries with a fault into the quarantine, except those that contain the
 * token of a forgotten person.
 */
static void
quarantine_refused(List *entries, const char *source)
{
	Refused    *refused = palloc(Max(1, list_length(entries)) * sizeof(Refused));
	int			count = 0;
	ListCell   *cell;

	foreach(cell, entries)
	{
		IngestEntry *entry = lfirst(cell);

		if (entry->fault.sqlstate == 0)
			continue;
		entry->event_id = 0;
		entry->outcome = names_forgotten(entry) ? INGEST_DUPLICATE : INGEST_QUARANTINED;
		if (entry->outcome == INGEST_QUARANTINED)
			refused[count++] = (Refused) {entry->body, entry->body_len, &entry->fault};
	}
	quarantine_insert(source, "message", NULL, refused, count);
}

static void
insert_receipt(List *entries, const char *source)
{
	static SqlPlan plan = SQL_PLAN(
		"INSERT INTO damoov.receipts "
		"(source, received, stored, duplicate, unknown, control, quarantined) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7)",
		TEXTOID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID);
	int64		counts[INGEST_OUTCOMES] = {0};
	TimestampTz *sent_at = palloc(Max(1, list_length(entries)) * sizeof(TimestampTz));
	int			new = 0;
	Datum		arguments[2 + INGEST_OUTCOMES];
	ListCell   *cell;

	foreach(cell, entries)
	{
		const IngestEntry *entry = lfirst(cell);

		counts[entry->outcome]++;
		if (entry->outcome == INGEST_STORED)
			sent_at[new++] = entry->notification.sent_at;
	}
	arguments[0] = CStringGetTextDatum(source);
	arguments[1] = Int64GetDatum(list_length(entries));
	for (int i = 0; i < INGEST_OUTCOMES; i++)
		arguments[2 + i] = Int64GetDatum(counts[i]);
	sql_run(&plan, arguments, NULL);
	statistics_batch(source, counts, sent_at, new);
}

/* Whoever has sent it is told that it is stored, and the worker what to fetch. */
static void
finish_storing(void)
{
	sql_commit_durably();
	wakeup_at_commit();
}

/* ----- storing a batch ----- */

typedef struct Batch
{
	List	   *entries;
	const char *source;
	bool		look_ahead;		/* to errors of the commit */
} Batch;

/* A step for sql_try(); may be called again for the same entries. */
static void
store_batch(void *argument)
{
	const Batch *batch = argument;

	ingesting++;
	PG_TRY();
	{
		add_users(batch->entries);
		drop_forgotten_objects(batch->entries);
		refuse_foreign_removals(batch->entries, batch->source);
		insert_events(batch->entries, batch->source);
		count_duplicates(batch->entries, batch->source);
		if (batch->look_ahead)
			sql_check_deferred();
	}
	PG_FINALLY();
	{
		ingesting--;
	}
	PG_END_TRY();
}

bool
ingest_has_stored(const List *entries)
{
	ListCell   *cell;

	foreach(cell, entries)
	{
		const IngestEntry *entry = lfirst(cell);

		if (entry->fault.sqlstate == 0 && entry->outcome == INGEST_STORED)
			return true;
	}
	return false;
}

/* False, with the error in the fault; thrown is what the care leaves to the caller. */
static bool
try_store(Batch *batch, IngestCare care, Fault *fault)
{
	if (sql_try(store_batch, batch, fault))
		return true;
	if (care == INGEST_BLAME
		? fault_is_passing(fault->sqlstate) : fault_is_transient(fault->sqlstate))
		fault_raise(fault);
	return false;
}

/*
 * What could not be stored together, for this reason: each half of it is tried, and
 * so on until it is known which entries cannot be stored; these become faults.
 */
static void
store_halves(const Batch *batch, IngestCare care, const Fault *reason)
{
	int			count = list_length(batch->entries);
	Batch		halves[2] = {*batch, *batch};
	Fault		fault = {0};

	if (count == 1)
	{
		((IngestEntry *) linitial(batch->entries))->fault = *reason;
		return;
	}
	halves[0].entries = list_truncate(list_copy(batch->entries), count / 2);
	halves[1].entries = list_copy_tail(batch->entries, count / 2);
	for (int i = 0; i < 2; i++)
	{
		if (!try_store(&halves[i], care, &fault))
			store_halves(&halves[i], care, &fault);
	}
}

List *
ingest_ids(List *ids, const List *entries)
{
	ListCell   *cell;

	foreach(cell, entries)
	{
		IngestEntry *entry = lfirst(cell);
		Notification *n = &entry->notification;

		if (entry->fault.sqlstate != 0)
			continue;
		if (entry->part.control)
			ids = lappend(ids, &entry->part.control_id);
		else
		{
			ids = lappend(ids, &n->object_id);
			ids = lappend(ids, &n->device_token);
		}
		for (int i = 0; i < n->nremoved; i++)
			ids = lappend(ids, &n->removed[i]);
	}
	return ids;
}

/*
 * What the database has refused goes to the quarantine as such.  Where nothing
 * could be stored it may be the table or a trigger that refuses everything.
 */
static void
judge_refused(List *entries, IngestCare care)
{
	bool		doubtful = care == INGEST_DOUBT && !ingest_has_stored(entries);
	ListCell   *cell;

	foreach(cell, entries)
	{
		Fault	   *fault = &((IngestEntry *) lfirst(cell))->fault;

		if (fault->sqlstate == 0 || fault->reason != REASON_STORE_FAILED)
			continue;
		if (doubtful && ERRCODE_TO_CATEGORY(fault->sqlstate) !=
			ERRCODE_TO_CATEGORY(ERRCODE_DATA_EXCEPTION))
			fault_raise(fault);
		fault->message = psprintf("could not store notification: %s", fault->message);
	}
}

static void
check_deferred(void *argument)
{
	sql_check_deferred();
}

void
ingest_store(List *entries, const char *source, IngestCare care)
{
	Batch		batch = {.entries = entries, .source = source};
	int			scope = sql_enter();
	Fault		fault = {0};

	lock_for_storing(ingest_ids(NIL, entries));
	/* not when it is the caller who has left something to be mended by the commit */
	batch.look_ahead = sql_try(check_deferred, NULL, &fault);
	if (!try_store(&batch, care, &fault))
	{
		store_halves(&batch, care, &fault);
		judge_refused(entries, care);
	}
	quarantine_refused(entries, source);
	insert_receipt(entries, source);
	sql_leave(scope);
	finish_storing();
}

static void
raise_first_fault(const List *entries)
{
	ListCell   *cell;

	foreach(cell, entries)
	{
		Fault		fault = ((IngestEntry *) lfirst(cell))->fault;

		if (fault.sqlstate == 0)
			continue;
		if (list_length(entries) > 1)
			fault.detail = psprintf("The error is in element %d of %d.",
									foreach_current_index(cell) + 1,
									list_length(entries));
		fault_raise(&fault);
	}
}

void
ingest_store_all(List *entries, const char *source)
{
	Batch		batch = {.entries = entries, .source = source};
	int			scope;

	raise_first_fault(entries);
	scope = sql_enter();
	lock_for_storing(ingest_ids(NIL, entries));
	store_batch(&batch);
	/* removals of another person's tracks are found there */
	raise_first_fault(entries);
	insert_receipt(entries, source);
	sql_leave(scope);
	finish_storing();
}

Datum
damoov_ingesting(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(ingesting > 0);
}
