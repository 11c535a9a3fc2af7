/*
 * poll.c
 *	  The engine: see poll.h.
 *
 * A turn never has a transaction open while bytes are on the wire:
 *
 *	housekeeping	options, pauses, status, leases		(transaction)
 *	start			receives and downloads
 *	wait			sockets, latch, postmaster; "done" callbacks fill the
 *					inboxes and the downloads' answers
 *	store			what came in, all of it together	(transaction)
 *	settle			only what that transaction has committed
 *
 * Events that race, and what decides:
 *	- a crash between commit and settle: redelivery, counted as duplicate
 *	- a notification during the fetch of its track: the row's version
 *	- a removal during the fetch: the track's lock and its tombstone
 *	- two sessions polling one source: the queue's own leases
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/options.h"
#include "base/sql.h"
#include "compat.h"
#include "door/download.h"
#include "door/ingest.h"
#include "door/lock.h"
#include "door/subscribe.h"
#include "process/poll.h"
#include "provider/providers.h"
#include "provider/source.h"
#include "wire/http.h"

#define HOUSEKEEPING_MS		5000	/* changed options are seen within this */
#define BUSY_HOUSEKEEPING_MS 1000
#define STATUS_INTERVAL_MS	60000	/* last_poll_at of an idle source */
#define STORE_RETRY_BASE_MS 1000
#define STORE_RETRY_CAP_MS	30000
#define LAST_RECEIVE_MS		1000	/* no receive is worth it after this */
#define FINISH_MS			10000	/* to settle what is stored, at the end */
#define GIVE_BACK_MS		500		/* for what is not stored, at a shutdown */

SQL_FUNCTION(damoov_poll);

struct Poll
{
	MemoryContext context;
	MemoryContext turn_context; /* reset with every turn */
	HttpClient *http;
	Downloads  *downloads;
	Subscriptions *subscriptions;
	PollTransaction transaction;
	char	   *only_source;
	bool		obey_backoff;	/* of an earlier call: kept in damoov.sources */
	List	   *sources;		/* Source * */
	bool		installed;		/* the extension is there */
	bool		looked;			/* options and downloads were read once */
	int64		end_ms;			/* of receiving, 0: never */
	int64		housekeeping_ms;	/* due at */
	int64		store_at_ms;	/* after a failed transaction: not before */
	int			store_failures;
};

Poll *
poll_create(MemoryContext context, const char *only_source, PollTransaction transaction)
{
	Poll	   *poll = MemoryContextAllocZero(context, sizeof(Poll));

	poll->context = context;
	poll->turn_context = AllocSetContextCreate(context, "damoov turn", ALLOCSET_DEFAULT_SIZES);
	poll->http = http_client(context);
	poll->downloads = downloads_create(context, poll->http);
	poll->subscriptions = subscriptions_create(context, poll->http);
	poll->transaction = transaction;
	poll->only_source = only_source ? MemoryContextStrdup(context, only_source) : NULL;
	return poll;
}

/*
 * Ends receiving at this time of clock_ms(): long polls are cut to end
 * before it, so that no message is handed to a session that leaves.
 */
static void
poll_end_at(Poll *poll, int64 end_ms)
{
	poll->end_ms = end_ms;
}

/* ----- housekeeping ----- */

/*
 * A server that was dropped and came back with another type is another source:
 * what the old one has received can be settled by its own provider only.
 */
static Source *
find_source(const Poll *poll, const char *name, const Provider *provider)
{
	ListCell   *cell;

	foreach(cell, poll->sources)
	{
		Source	   *source = lfirst(cell);

		if (strcmp(source->name, name) == 0 && source->provider == provider)
			return source;
	}
	return NULL;
}

/* Is this server a source of messages that this session polls? */
static bool
is_wanted(const Poll *poll, const ForeignServer *server)
{
	if (poll->only_source)
		return strcmp(poll->only_source, server->servername) == 0;
	return source_is_polled(server->servertype);
}

static void
update_sources(Poll *poll)
{
	List	   *names = options_server_names();
	ListCell   *cell;

	foreach(cell, poll->sources)
		((Source *) lfirst(cell))->gone = true;
	foreach(cell, names)
	{
		ForeignServer *server = GetForeignServerByName(lfirst(cell), true);
		const Provider *provider;
		Source	   *source;
		MemoryContext old;

		if (server == NULL || !is_wanted(poll, server))
			continue;
		provider = providers_find(server->servertype);
		source = find_source(poll, server->servername, provider);
		if (source == NULL)
		{
			old = MemoryContextSwitchTo(poll->context);
			source = source_create(poll->context, poll->http, server->servername, provider);
			poll->sources = lappend(poll->sources, source);
			MemoryContextSwitchTo(old);
		}
		source->gone = false;
		source_configure(source);
	}
}

static void
read_run_state(const Poll *poll, Source *source)
{
	static SqlPlan plan = {
		.text = "SELECT r.paused, r.resumed, r.wait_ms FROM damoov.run_state($1) AS r",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Datum		argument = CStringGetTextDatum(source->name);
	bool		paused;
	bool		resumed;
	int64		wait_ms;

	sql_run(&plan, &argument, NULL);
	paused = DatumGetBool(sql_value(0, 1, NULL));
	resumed = DatumGetBool(sql_value(0, 2, NULL));
	wait_ms = DatumGetInt64(sql_value(0, 3, NULL));
	if (source->state == SOURCE_NEW && poll->obey_backoff)
		source->retry_at_ms = clock_ms() + wait_ms;
	/* damoov_resume() has emptied the row: forget the back-off here, too */
	if (resumed && source->failures > 0 && !source->status_changed)
	{
		source->failures = 0;
		source->retry_at_ms = 0;
	}
	source_set_paused(source, paused || source->option_paused);
}

static void
write_status(Source *source)
{
	static SqlPlan plan = {
		.text = "UPDATE damoov.sources AS s SET state = $2, last_poll_at = coalesce($3, s.last_poll_at), "
		"last_message_at = coalesce($4, s.last_message_at), last_error = $5, last_error_at = $6, "
		"failures = $7, retry_at = $8 WHERE s.source = $1",
		.nargs = 8,
		.argtypes = {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, TIMESTAMPTZOID,
		INT4OID, TIMESTAMPTZOID}
	};
	TimestampTz now = GetCurrentTimestamp();
	bool		stale = source->last_poll_at > source->status_written_at &&
		TimestampDifferenceExceeds(source->status_written_at, now, STATUS_INTERVAL_MS);
	Datum		values[] = {
		CStringGetTextDatum(source->name),
		CStringGetTextDatum(source_state_name(source->state)),
		TimestampTzGetDatum(source->last_poll_at),
		TimestampTzGetDatum(source->last_message_at),
		source->error ? CStringGetTextDatum(source->error) : (Datum) 0,
		TimestampTzGetDatum(source->error_at),
		Int32GetDatum(source->failures),
		TimestampTzGetDatum(source->retry_at)
	};
	bool		nulls[] = {
		false, false, source->last_poll_at == 0, source->last_message_at == 0,
		source->error == NULL, source->error == NULL, false, source->retry_at == 0
	};

	if (!source->status_changed && !stale)
		return;
	sql_run(&plan, values, nulls);
	source->status_changed = false;
	source->status_written_at = now;
}

/* Is the extension there?  If so, it stays until the transaction ends. */
static bool
hold_extension(void)
{
	Oid			extension = get_extension_oid("damoov", true);

	if (!OidIsValid(extension))
		return false;
	LockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock);
	return get_extension_oid("damoov", true) == extension;
}

static void
housekeeping(Poll *poll)
{
	ListCell   *cell;
	int			scope;

	/* dropped, or not created yet: wait for it quietly */
	poll->installed = hold_extension();
	if (!poll->installed)
		return;
	update_sources(poll);
	scope = sql_enter();
	foreach(cell, poll->sources)
	{
		Source	   *source = lfirst(cell);

		if (source->gone)
			continue;
		read_run_state(poll, source);
		write_status(source);
	}
	sql_leave(scope);
	downloads_pick(poll->downloads);
	subscriptions_pick(poll->subscriptions);
	poll->looked = true;
}

/* A dropped server's source goes when what it has received is stored and settled. */
static void
drop_gone_sources(Poll *poll)
{
	ListCell   *cell;

	foreach(cell, poll->sources)
	{
		Source	   *source = lfirst(cell);

		if (!source->gone || !source_is_quiet(source))
			continue;
		poll->sources = foreach_delete_current(poll->sources, cell);
		source_free(source);
	}
}

/* ----- storing ----- */

/* What a source has received, as entries. */
static List *
read_inbox(const Source *source)
{
	List	   *entries = NIL;
	ListCell   *cell;

	foreach(cell, source->inbox)
	{
		Delivery   *delivery = lfirst(cell);

		for (int i = 0; i < delivery->count; i++)
		{
			SourceMessage *message = &delivery->messages[i];

			entries = message->fault.sqlstate == 0
				? ingest_read(entries, message->body, message->body_len)
				: ingest_refuse(entries, message->body, message->body_len, &message->fault);
		}
	}
	return entries;
}

/* All that is to be stored is locked at once, whichever source it came from. */
static void
store_inboxes(Poll *poll)
{
	List	   *batches = NIL;
	List	   *ids = downloads_ids(NIL, poll->downloads);
	int			scope;
	ListCell   *cell;
	ListCell   *batch;

	foreach(cell, poll->sources)
	{
		List	   *entries = read_inbox(lfirst(cell));

		batches = lappend(batches, entries);
		ids = ingest_ids(ids, entries);
	}
	/* not before: memory that is taken inside goes with the scope */
	scope = sql_enter();
	lock_for_storing(ids);
	sql_leave(scope);
	forboth(cell, poll->sources, batch, batches)
	{
		if (lfirst(batch) != NIL)
			ingest_store(lfirst(batch), ((Source *) lfirst(cell))->name);
	}
}

static void
write_statuses(Poll *poll)
{
	int			scope = sql_enter();
	ListCell   *cell;

	foreach(cell, poll->sources)
	{
		Source	   *source = lfirst(cell);

		if (!source->gone)
			write_status(source);
	}
	sql_leave(scope);
}

static void
store_everything(Poll *poll)
{
	if (!hold_extension())
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"damoov\" does not exist")));
	store_inboxes(poll);
	if (downloads_have_answers(poll->downloads))
		downloads_store(poll->downloads);
	if (subscriptions_have_answer(poll->subscriptions))
		subscriptions_store(poll->subscriptions);
	write_statuses(poll);
	/* what was just stored may be due, and room may have become free */
	downloads_pick(poll->downloads);
}

static bool
has_work_to_store(const Poll *poll)
{
	ListCell   *cell;

	foreach(cell, poll->sources)
	{
		if (((Source *) lfirst(cell))->inbox != NIL)
			return true;
	}
	return downloads_have_answers(poll->downloads) ||
		subscriptions_have_answer(poll->subscriptions);
}

/* Everything received is committed: from now on it may be settled. */
static void
after_commit(Poll *poll)
{
	ListCell   *cell;

	foreach(cell, poll->sources)
	{
		Source	   *source = lfirst(cell);
		ListCell   *delivery;

		foreach(delivery, source->inbox)
			source_stored(lfirst(delivery));
		list_free(source->inbox);
		source->inbox = NIL;
	}
	downloads_forget_stored(poll->downloads);
	/* subscriptions are confirmed one at a time: look for the next at once */
	if (subscriptions_forget_stored(poll->subscriptions))
		poll->housekeeping_ms = 0;
}

/*
 * Runs the step in a transaction.  NULL when it was committed; else what kept it
 * from that, and what memory says of leases and statuses is put right, for the
 * rollback has undone them.
 */
static char *
transact(Poll *poll, void (*step) (Poll *poll))
{
	char	   *problem = poll->transaction(step, poll);
	ListCell   *cell;

	if (problem == NULL)
		return NULL;
	downloads_forget_unstarted(poll->downloads);
	subscriptions_forget_unstarted(poll->subscriptions);
	/* the statuses that the transaction had written are still to be written */
	foreach(cell, poll->sources)
		((Source *) lfirst(cell))->status_changed = true;
	return problem;
}

static void
store(Poll *poll)
{
	char	   *problem = transact(poll, store_everything);
	ListCell   *cell;

	if (problem == NULL)
	{
		poll->store_failures = 0;
		poll->store_at_ms = 0;
		after_commit(poll);
		return;
	}
	poll->store_at_ms = clock_ms() +
		clock_backoff_ms(STORE_RETRY_BASE_MS, poll->store_failures++, STORE_RETRY_CAP_MS);
	foreach(cell, poll->sources)
	{
		if (((Source *) lfirst(cell))->inbox != NIL)
			source_store_failed(lfirst(cell), problem);
	}
}

/* ----- the turn ----- */

static bool
is_busy(const Poll *poll)
{
	ListCell   *cell;

	foreach(cell, poll->sources)
	{
		if (((Source *) lfirst(cell))->busy)
			return true;
	}
	return downloads_in_flight(poll->downloads) > 0;
}

/*
 * Seconds the next receive may wait, -1: it is too late for another one.
 *
 * A service that ends none before min_wait_seconds is not asked when it would
 * end too late: what it hands to a session that left is leased to nobody, and
 * uses up how often it may be delivered.  Only a call's first receive is made
 * in any case, and ends while the call finishes.
 */
static int
wait_seconds(const Poll *poll, const Source *source, int64 now_ms)
{
	int64		left_ms = poll->end_ms - now_ms;
	bool		first = source->last_poll_at == 0 && source->failures == 0;
	int64		shortest_ms = source->min_wait_seconds * (int64) 1000;

	/* the further receives of a busy source fetch what is there, and do not wait */
	if (source->receiving > 0)
		return poll->end_ms == 0 || left_ms > 0 ? source->min_wait_seconds : -1;
	if (poll->end_ms == 0)
		return source->wait_seconds;
	if (left_ms < LAST_RECEIVE_MS || (left_ms < shortest_ms && !first))
		return -1;
	return Max(source->min_wait_seconds, Min(source->wait_seconds, (int) (left_ms / 1000)));
}

static void
start_requests(Poll *poll, int64 now_ms)
{
	ListCell   *cell;

	downloads_start(poll->downloads);
	subscriptions_start(poll->subscriptions);
	foreach(cell, poll->sources)
	{
		Source	   *source = lfirst(cell);
		int			seconds;

		source_authorize(source, now_ms);
		source_settle_due(source, now_ms);
		source_renew_due(source, now_ms);
		while (source_may_receive(source, now_ms) &&
			   (seconds = wait_seconds(poll, source, now_ms)) >= 0)
			source_receive(source, seconds);
	}
}

static void
wait_at_most(long *wait_ms, int64 due_ms, int64 now_ms)
{
	*wait_ms = (long) Max(0, Min(*wait_ms, due_ms - now_ms));
}

/* How long to wait for the wire and the latch: until something else is due. */
static long
idle_ms(const Poll *poll, long max_wait_ms, int64 now_ms)
{
	ListCell   *cell;

	wait_at_most(&max_wait_ms, poll->housekeeping_ms, now_ms);
	wait_at_most(&max_wait_ms, downloads_due_ms(poll->downloads), now_ms);
	if (has_work_to_store(poll))
		wait_at_most(&max_wait_ms, poll->store_at_ms, now_ms);
	foreach(cell, poll->sources)
		wait_at_most(&max_wait_ms, source_due_ms(lfirst(cell), now_ms, now_ms + max_wait_ms), now_ms);
	return max_wait_ms;
}

void
poll_turn(Poll *poll, long max_wait_ms)
{
	MemoryContext old = MemoryContextSwitchTo(poll->turn_context);
	int64		now_ms = clock_ms();

	if (now_ms >= poll->housekeeping_ms || now_ms >= downloads_due_ms(poll->downloads))
	{
		(void) transact(poll, housekeeping);
		poll->housekeeping_ms = now_ms +
			(is_busy(poll) ? BUSY_HOUSEKEEPING_MS : HOUSEKEEPING_MS);
		drop_gone_sources(poll);
	}
	if (poll->installed)
		start_requests(poll, now_ms);
	if (http_wait(poll->http, idle_ms(poll, max_wait_ms, now_ms)))
		poll->housekeeping_ms = 0;	/* another session has stored something: look */
	CHECK_FOR_INTERRUPTS();
	if (poll->installed && has_work_to_store(poll) &&
		clock_ms() >= poll->store_at_ms)
		store(poll);
	MemoryContextSwitchTo(old);
	MemoryContextReset(poll->turn_context);
}

/* Nothing is in flight, received or waiting to be settled. */
static bool
poll_is_quiet(const Poll *poll)
{
	ListCell   *cell;

	foreach(cell, poll->sources)
	{
		if (!source_is_quiet(lfirst(cell)))
			return false;
	}
	return downloads_in_flight(poll->downloads) == 0 && subscriptions_are_quiet(poll->subscriptions);
}

/* Have all sources answered an empty receive, and is nothing left to do? */
static bool
poll_is_drained(const Poll *poll)
{
	ListCell   *cell;

	if (!poll->looked)
		return false;
	foreach(cell, poll->sources)
	{
		Source	   *source = lfirst(cell);

		/* one that is paused, in trouble or out of time will not be asked again */
		if (source->configured && source->state != SOURCE_PAUSED &&
			source->retry_at_ms <= clock_ms() && source->failures == 0 && !source->drained &&
			wait_seconds(poll, source, clock_ms()) >= 0)
			return false;
	}
	/* what is due only later is the next call's */
	return poll_is_quiet(poll) &&
		downloads_due_ms(poll->downloads) > clock_ms() + HOUSEKEEPING_MS;
}

static void
leave(Poll *poll)
{
	downloads_release(poll->downloads);
	write_statuses(poll);
}

static bool
is_settling(const Poll *poll)
{
	ListCell   *cell;

	foreach(cell, poll->sources)
	{
		if (((Source *) lfirst(cell))->settling > 0)
			return true;
	}
	return false;
}

void
poll_give_back(Poll *poll)
{
	int64		end_ms = clock_ms() + GIVE_BACK_MS;
	int64		now_ms;
	ListCell   *cell;

	foreach(cell, poll->sources)
		source_release(lfirst(cell));
	while (is_settling(poll) && (now_ms = clock_ms()) < end_ms)
		(void) http_wait(poll->http, (long) (end_ms - now_ms));
}

/* Gives back what is leased and not stored, and writes the last status. */
static void
poll_leave(Poll *poll)
{
	poll_give_back(poll);
	if (poll->installed)
		(void) transact(poll, leave);
}

/* ----- CALL damoov_poll() ----- */

/*
 * SPI_commit() opens the next transaction at once.  That one has no snapshot,
 * no transaction id and no lock while the wire is waited for.
 */
static char *
procedure_transaction(void (*step) (Poll *poll), Poll *poll)
{
	MemoryContext old = CurrentMemoryContext;

	/* has no snapshot yet, see damoov_poll() */
	XactIsoLevel = XACT_READ_COMMITTED;
	PushActiveSnapshot(GetTransactionSnapshot());
	if (synchronous_commit < SYNCHRONOUS_COMMIT_REMOTE_FLUSH)
		(void) set_config_option("synchronous_commit", "on", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
	step(poll);
	PopActiveSnapshot();
	SPI_commit();
	MemoryContextSwitchTo(old);
	return NULL;
}

static void
check_source_exists(const char *name)
{
	ServerOptions *options;
	Fault		fault = {0};

	if (!options_load(name, &options, &fault))
		fault_raise(&fault);
	options_wipe(options);
	if (!source_is_polled(options->type))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("server \"%s\" is not a source of messages that is polled", name)));
}

/* What is in the server log already, told to the caller, too. */
static void
tell_troubles(const Poll *poll)
{
	ListCell   *cell;

	foreach(cell, poll->sources)
	{
		Source	   *source = lfirst(cell);

		if (source->error)
			ereport(NOTICE,
					(errmsg("could not receive messages from server \"%s\": %s",
							source->name, source->error)));
	}
}

Datum
damoov_poll(PG_FUNCTION_ARGS)
{
	CallContext *call = castNode(CallContext, fcinfo->context);
	char	   *only_source = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
	int			max_seconds = PG_ARGISNULL(1) ? 50 : PG_GETARG_INT32(1);
	int64		end_ms;
	MemoryContext context;
	Poll	   *poll;

	if (max_seconds < 1 || max_seconds > 86400)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_seconds must be between 1 and 86400")));
	if (call->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("damoov_poll() cannot run inside a transaction block")));
	PreventCommandIfReadOnly("damoov_poll()");
	if (only_source)
		check_source_exists(only_source);

	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect_ext failed");
	/* the transaction of the CALL itself has a snapshot, and with it its level */
	SPI_commit();
	context = AllocSetContextCreate(PortalContext, "damoov poll", ALLOCSET_DEFAULT_SIZES);
	poll = poll_create(context, only_source, procedure_transaction);
	/* a schedule must not defeat the back-off; who names a source wants it asked */
	poll->obey_backoff = only_source == NULL;
	end_ms = clock_ms() + max_seconds * (int64) 1000;
	poll_end_at(poll, end_ms);
	while (clock_ms() < end_ms && !poll_is_drained(poll))
		poll_turn(poll, (long) Max(1, end_ms - clock_ms()));

	poll_end_at(poll, clock_ms());
	end_ms = clock_ms() + FINISH_MS;
	while (clock_ms() < end_ms && !poll_is_quiet(poll))
		poll_turn(poll, 100);
	poll_leave(poll);
	tell_troubles(poll);
	MemoryContextDelete(context);
	SPI_finish();
	PG_RETURN_VOID();
}
