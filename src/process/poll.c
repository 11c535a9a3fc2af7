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
 *	store			what came in, all of it together	(transaction),
 *					then apart what has failed before	(transaction)
 *	settle			only what was committed
 *
 * A unit that is stored (the messages of a source; one that has failed; one
 * dataset) has a subtransaction of its own: when it fails the others are stored
 * all the same.  A transaction waits for a lock once: behind the unit that had to
 * wait no other is begun, so that what is done already is committed, and the unit
 * comes last the next time.
 *
 * Events that race, and what decides:
 *	- a crash between commit and settle: redelivery, counted as duplicate
 *	- a notification during the fetch of its track: the row's version
 *	- a removal during the fetch: the track's lock and its tombstone
 *	- two sessions polling one source: the queue's own leases
 *	- two workers of one database: see source_list.c; downloads are leased
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "storage/proc.h"
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
#include "message/notification.h"
#include "process/partitions.h"
#include "process/poll.h"
#include "process/run_state.h"
#include "process/source_list.h"
#include "process/tally.h"
#include "provider/inbox.h"
#include "provider/source.h"
#include "wire/http.h"

#define HOUSEKEEPING_MS		5000	/* changed options are seen within this */
#define BUSY_HOUSEKEEPING_MS 1000
#define STORE_RETRY_BASE_MS 1000
#define STORE_RETRY_CAP_MS	30000
#define APART_UNITS			50		/* in one transaction */
#define MAX_SAID			16
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
	const TransactionHost *host;
	char	   *only_source;
	bool		obey_backoff;	/* of an earlier call: kept in damoov.sources */
	List	   *sources;		/* Source * */
	bool		installed;		/* the extension is there */
	bool		looked;			/* options and downloads were read once */
	int64		end_ms;			/* of receiving, 0: never */
	int64		housekeeping_ms;	/* due at */
	int64		store_at_ms;	/* after a failed transaction: not before */
	int			store_failures;
	Tally		storing;		/* in the open transaction */
	Tally		stored;			/* and not told yet */
	int64		datasets_told;
	bool		held_up;		/* a unit of the open transaction has waited in vain */
	bool		confirmed;		/* an answer to a confirmation is written in it */
	Fault		trouble;		/* with what is none of messages and datasets, the last */
	List	   *said;			/* char *, what was said of that already */
	bool		complained;		/* about any in the last look */
};

Poll *
poll_create(MemoryContext context, const char *only_source, const TransactionHost *host)
{
	Poll	   *poll = MemoryContextAllocZero(context, sizeof(Poll));

	poll->context = context;
	poll->turn_context = AllocSetContextCreate(context, "damoov turn", ALLOCSET_DEFAULT_SIZES);
	poll->http = http_client(context);
	poll->downloads = downloads_create(context, poll->http);
	poll->subscriptions = subscriptions_create(context, poll->http);
	poll->host = host;
	poll->only_source = only_source ? MemoryContextStrdup(context, only_source) : NULL;
	return poll;
}

/*
 * Ends receiving at this time of clock_ms(): long polls are shortened to end
 * before it, so that no message is delivered to a session that has ended.
 */
static void
poll_end_at(Poll *poll, int64 end_ms)
{
	poll->end_ms = end_ms;
}

/* ----- transactions ----- */

static void
forget_said(Poll *poll)
{
	list_free_deep(poll->said);
	poll->said = NIL;
}

/* Several things may fail by turns. */
static void
say_once(Poll *poll, const char *message)
{
	MemoryContext old;
	ListCell   *cell;

	foreach(cell, poll->said)
	{
		if (strcmp(lfirst(cell), message) == 0)
			return;
	}
	ereport(LOG, (errmsg("could not process sources and downloads: %s", message)));
	if (list_length(poll->said) == MAX_SAID)
		forget_said(poll);
	old = MemoryContextSwitchTo(poll->context);
	poll->said = lappend(poll->said, pstrdup(message));
	MemoryContextSwitchTo(old);
}

/* Says what cannot be done, once. */
static void
complain(Poll *poll, const Fault *fault)
{
	poll->complained = true;
	say_once(poll, fault->message);
	if (poll->trouble.sqlstate != 0)
		pfree(poll->trouble.message);
	poll->trouble = *fault;
	poll->trouble.message = MemoryContextStrdup(poll->context, fault->message);
}

/* A part of a transaction, which goes on without it when it fails. */
static bool
attempt(Poll *poll, void (*step) (void *argument), void *argument)
{
	Fault		fault = {0};

	if (sql_try(step, argument, &fault))
		return true;
	poll->held_up |= fault_is_passing(fault.sqlstate);
	complain(poll, &fault);
	return false;
}

/*
 * Runs the step in a transaction.  False, with the fault, when nothing of it is
 * kept.  What memory says of leases, messages and statuses follows.
 */
static bool
transact(Poll *poll, void (*step) (void *poll), Fault *fault)
{
	bool		done;
	ListCell   *cell;

	poll->held_up = false;
	memset(&poll->storing, 0, sizeof(Tally));
	done = transaction_run(poll->host, step, poll, fault);
	if (done)
		tally_add(&poll->stored, &poll->storing);
	downloads_end(poll->downloads, done);
	foreach(cell, poll->sources)
	{
		Source	   *source = lfirst(cell);

		inbox_end(source, done);
		/* a status that was not committed is still to be written */
		source->status_changed |= !done;
	}
	if (!done)
		subscriptions_forget_unstarted(poll->subscriptions);
	return done;
}

/* ----- housekeeping ----- */

static void
write_status(void *argument)
{
	run_state_write(argument);
}

static void
write_statuses(Poll *poll)
{
	ListCell   *cell;

	foreach(cell, poll->sources)
	{
		if (run_state_is_stale(lfirst(cell)))
			(void) attempt(poll, write_status, lfirst(cell));
	}
}

/* A step: what is set for a source, which is not asked before that is known. */
static void
look(void *argument)
{
	run_state_look(argument, false);
}

/* The same, and obeys the back-off of another session. */
static void
look_and_obey(void *argument)
{
	run_state_look(argument, true);
}

static void
pick(void *argument)
{
	downloads_pick(argument);
}

static bool
pick_downloads(Poll *poll)
{
	if (attempt(poll, pick, poll->downloads))
		return true;
	downloads_unpick(poll->downloads);
	return false;
}

static void
pick_subscription(void *argument)
{
	subscriptions_pick(((Poll *) argument)->subscriptions);
}

static void
housekeeping(void *argument)
{
	Poll	   *poll = argument;
	ListCell   *cell;

	/* dropped, or not created yet: wait for it quietly */
	poll->installed = lock_extension();
	if (!poll->installed)
		return;
	poll->sources = source_list_update(poll->sources, poll->context, poll->http, poll->only_source);
	foreach(cell, poll->sources)
	{
		Source	   *source = lfirst(cell);

		if (!source->gone)
			(void) attempt(poll, poll->obey_backoff ? look_and_obey : look, source);
	}
	write_statuses(poll);
	if (pick_downloads(poll))
		poll->looked = true;
	(void) attempt(poll, pick_subscription, poll);
}

/* ----- storing ----- */

/* Messages of a source that are stored together, or one that has failed before. */
typedef struct Unit
{
	Source	   *source;
	List	   *messages;		/* SourceMessage * */
	List	   *entries;
	IngestCare	care;
} Unit;

static Unit *
read_unit(Source *source, List *messages, IngestCare care)
{
	Unit	   *unit = palloc0(sizeof(Unit));
	ListCell   *cell;

	unit->source = source;
	unit->messages = messages;
	unit->care = care;
	foreach(cell, messages)
	{
		SourceMessage *message = lfirst(cell);

		unit->entries = message->fault.sqlstate == 0
			? ingest_read(unit->entries, message->body, message->body_len, NOTIFICATION_RAW)
			: ingest_refuse(unit->entries, message->body, message->body_len, &message->fault);
	}
	return unit;
}

static void
store_unit(void *argument)
{
	Unit	   *unit = argument;

	ingest_store(unit->entries, unit->source->name, unit->care);
}

static bool
try_unit(Poll *poll, Unit *unit, Fault *fault)
{
	bool		fresh;
	ListCell   *cell;

	if (!sql_try(store_unit, unit, fault))
	{
		poll->held_up |= fault_is_passing(fault->sqlstate);
		return false;
	}
	tally_entries(&poll->storing, unit->entries);
	fresh = ingest_has_stored(unit->entries);
	foreach(cell, unit->messages)
		inbox_stored(lfirst(cell), fresh, unit->care == INGEST_BLAME);
	return true;
}

static void
lock_ids(void *argument)
{
	int			scope = sql_enter();

	lock_for_storing(argument);
	sql_leave(scope);
}

/* What is stored needs the extension, and that nobody is being forgotten. */
static void
begin_storing(const Poll *poll)
{
	ListCell   *cell;

	if (!lock_extension())
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"damoov\" does not exist")));
	lock_ids(NIL);
	foreach(cell, poll->sources)
		inbox_replace_held(lfirst(cell));
}

static void
store_subscription(void *argument)
{
	subscriptions_store(((Poll *) argument)->subscriptions);
}

/* A step: all that came, but for what has failed before. */
static void
store_together(void *argument)
{
	Poll	   *poll = argument;
	List	   *units = NIL;
	List	   *ids = NIL;
	ListCell   *cell;
	Fault		fault = {0};

	begin_storing(poll);
	foreach(cell, poll->sources)
	{
		List	   *messages = inbox_together(lfirst(cell));
		Unit	   *unit = read_unit(lfirst(cell), messages, INGEST_DOUBT);

		if (messages != NIL)
			units = lappend(units, unit);
		ids = ingest_ids(ids, unit->entries);
	}
	/* in one order; what somebody else has got is waited for by its unit alone */
	(void) sql_try(lock_ids, downloads_ids(ids, poll->downloads), &fault);
	foreach(cell, units)
	{
		Unit	   *unit = lfirst(cell);

		if (!poll->held_up && !try_unit(poll, unit, &fault))
			inbox_failed(unit->source, unit->messages, &fault);
	}
	if (!poll->held_up)
		poll->held_up = !downloads_store(poll->downloads);
	poll->confirmed = !poll->held_up && subscriptions_have_answer(poll->subscriptions) &&
		attempt(poll, store_subscription, poll);
	write_statuses(poll);
	/* what was just stored may be due, and there may be room for more */
	(void) pick_downloads(poll);
}

/* The next that have failed together or one by one: the sources take turns. */
static List *
next_apart(Poll *poll, Source **source)
{
	MemoryContext old;
	List	   *messages;
	ListCell   *cell;

	foreach(cell, poll->sources)
	{
		*source = lfirst(cell);
		messages = inbox_next(*source, clock_ms());
		if (messages == NIL)
			continue;
		old = MemoryContextSwitchTo(poll->context);
		poll->sources = lappend(foreach_delete_current(poll->sources, cell), *source);
		MemoryContextSwitchTo(old);
		return messages;
	}
	return NIL;
}

/* A step: what has failed before. */
static void
store_apart(void *argument)
{
	Poll	   *poll = argument;
	Source	   *source;
	List	   *messages;

	begin_storing(poll);
	for (int count = 0; count < APART_UNITS && !poll->held_up &&
		 (messages = next_apart(poll, &source)) != NIL; count++)
	{
		IngestCare	care = inbox_is_to_blame(source, linitial(messages)) ? INGEST_BLAME : INGEST_DOUBT;
		Fault		fault = {0};

		if (!try_unit(poll, read_unit(source, messages, care), &fault))
			inbox_failed(source, messages, &fault);
	}
	write_statuses(poll);
}

/* When something is to be stored together, and when the rest is due. */
static int64
together_due_ms(const Poll *poll)
{
	int64		due_ms = subscriptions_have_answer(poll->subscriptions)
		? 0 : downloads_store_due_ms(poll->downloads);
	ListCell   *cell;

	foreach(cell, poll->sources)
		due_ms = Min(due_ms, inbox_together_due_ms(lfirst(cell)));
	return due_ms;
}

static int64
apart_due_ms(const Poll *poll)
{
	int64		due_ms = PG_INT64_MAX;
	ListCell   *cell;

	foreach(cell, poll->sources)
		due_ms = Min(due_ms, inbox_apart_due_ms(lfirst(cell)));
	return due_ms;
}

static int64
store_due_ms(const Poll *poll)
{
	return Max(poll->store_at_ms, Min(apart_due_ms(poll), together_due_ms(poll)));
}

/* The transaction as a whole: what keeps it from its end concerns all. */
static void
store_failed(Poll *poll, const Fault *fault)
{
	ListCell   *cell;

	poll->store_at_ms = clock_ms() +
		clock_backoff_ms(STORE_RETRY_BASE_MS, poll->store_failures++, STORE_RETRY_CAP_MS);
	foreach(cell, poll->sources)
	{
		if (inbox_has_waiting(lfirst(cell)))
			source_store_failed(lfirst(cell), fault->message);
	}
}

static void
store(Poll *poll)
{
	Fault		fault = {0};

	if (together_due_ms(poll) <= clock_ms())
	{
		poll->confirmed = false;
		if (!transact(poll, store_together, &fault))
		{
			store_failed(poll, &fault);
			return;
		}
		/* subscriptions are confirmed one at a time: look for the next at once */
		if (poll->confirmed && subscriptions_forget_stored(poll->subscriptions))
			poll->housekeeping_ms = 0;
	}
	if (apart_due_ms(poll) <= clock_ms() && !transact(poll, store_apart, &fault))
	{
		store_failed(poll, &fault);
		return;
	}
	poll->store_failures = 0;
	poll->store_at_ms = 0;
}

/* ----- the turn ----- */

/* Is the next look due sooner: is there more to come, or something to write? */
static bool
is_busy(const Poll *poll)
{
	ListCell   *cell;

	foreach(cell, poll->sources)
	{
		const Source *source = lfirst(cell);

		if (source->busy || run_state_is_stale(source))
			return true;
	}
	return downloads_in_flight(poll->downloads) > 0;
}

/*
 * Seconds the next receive may wait, -1: it is too late for another one.
 *
 * Some services end no receive before min_wait_seconds.  They are not asked if
 * that would be too late: what is delivered to a session that has ended stays
 * locked, and counts as a delivery.  Only the first receive of a call is
 * always made; it ends while the call finishes.
 */
static int
wait_seconds(const Poll *poll, const Source *source, int64 now_ms)
{
	int64		left_ms = poll->end_ms - now_ms;
	bool		first = source->last_poll_at == 0 && source->failures == 0;
	int64		shortest_ms = source->min_wait_seconds * (int64) 1000;

	/* the further receives of a busy source fetch what is there, and do not wait */
	if (source->receiving > 0)
		return poll->end_ms == 0 || left_ms > shortest_ms ? source->min_wait_seconds : -1;
	if (poll->end_ms == 0)
		return source->wait_seconds;
	if (left_ms < LAST_RECEIVE_MS || (left_ms < shortest_ms && !first))
		return -1;
	return Max(source->min_wait_seconds, Min(source->wait_seconds, (int) (left_ms / 1000)));
}

/* What can be left for later waits until there is room, but for one of each source. */
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
		inbox_tidy(source);
		if (source->settling == 0 || http_has_room(poll->http))
			source_settle_due(source, now_ms);
		source_renew_due(source, now_ms);
		source_measure_due(source, now_ms);
		while (source_may_receive(source, now_ms) &&
			   (source->receiving == 0 || http_has_room(poll->http)) &&
			   (seconds = wait_seconds(poll, source, now_ms)) >= 0)
			source_receive(source, seconds);
	}
}

static void
wait_at_most(long *wait_ms, int64 due_ms, int64 now_ms)
{
	*wait_ms = (long) Max(0, Min(*wait_ms, due_ms - now_ms));
}

/* How long to wait for the network and the latch: until something else is due. */
static long
idle_ms(const Poll *poll, long max_wait_ms, int64 now_ms)
{
	ListCell   *cell;

	wait_at_most(&max_wait_ms, poll->housekeeping_ms, now_ms);
	wait_at_most(&max_wait_ms, downloads_due_ms(poll->downloads), now_ms);
	wait_at_most(&max_wait_ms, store_due_ms(poll), now_ms);
	foreach(cell, poll->sources)
		wait_at_most(&max_wait_ms, source_due_ms(lfirst(cell), now_ms, now_ms + max_wait_ms), now_ms);
	return max_wait_ms;
}

static void
look_around(Poll *poll)
{
	Fault		fault = {0};

	poll->complained = false;
	if (!transact(poll, housekeeping, &fault))
		complain(poll, &fault);
	if (!poll->complained && poll->trouble.sqlstate)
	{
		pfree(poll->trouble.message);
		poll->trouble.sqlstate = 0;
		forget_said(poll);
	}
	poll->sources = source_list_tidy(poll->sources);
}

void
poll_turn(Poll *poll, long max_wait_ms)
{
	MemoryContext old = MemoryContextSwitchTo(poll->turn_context);
	int64		now_ms = clock_ms();
	bool		due = now_ms >= poll->housekeeping_ms || now_ms >= downloads_due_ms(poll->downloads);

	if (due)
		look_around(poll);
	if (poll->installed)
		start_requests(poll, now_ms);
	if (due)
		poll->housekeeping_ms = now_ms +
			(is_busy(poll) ? BUSY_HOUSEKEEPING_MS : HOUSEKEEPING_MS);
	if (http_wait(poll->http, idle_ms(poll, max_wait_ms, now_ms)))
		poll->housekeeping_ms = 0;	/* another session has stored something: look */
	CHECK_FOR_INTERRUPTS();
	if (poll->installed && store_due_ms(poll) <= clock_ms())
		store(poll);
	MemoryContextSwitchTo(old);
	MemoryContextReset(poll->turn_context);
}

Tally
poll_tally(Poll *poll)
{
	Tally		told = poll->stored;

	told.datasets = downloads_stored(poll->downloads) - poll->datasets_told;
	poll->datasets_told += told.datasets;
	memset(&poll->stored, 0, sizeof(Tally));
	return told;
}

/* Nothing is in flight, to be stored or waiting to be settled, but for what is held. */
static bool
poll_is_quiet(const Poll *poll)
{
	ListCell   *cell;

	foreach(cell, poll->sources)
	{
		if (!source_is_quiet(lfirst(cell)) || !inbox_is_quiet(lfirst(cell)))
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

		/* a source that is paused, has failed or has no time left will not be asked again */
		if (source->configured && source->state != SOURCE_PAUSED &&
			source->retry_at_ms <= clock_ms() && source->failures == 0 && !source->drained &&
			wait_seconds(poll, source, clock_ms()) >= 0)
			return false;
	}
	/* what becomes due later is left to the next call, but for what is held */
	return poll_is_quiet(poll) && apart_due_ms(poll) == PG_INT64_MAX &&
		downloads_due_ms(poll->downloads) > clock_ms() + HOUSEKEEPING_MS;
}

static void
leave(void *argument)
{
	Poll	   *poll = argument;

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
	{
		inbox_tidy(lfirst(cell));
		source_release(lfirst(cell));
	}
	while (is_settling(poll) && (now_ms = clock_ms()) < end_ms)
		(void) http_wait(poll->http, (long) (end_ms - now_ms));
}

/* Gives back what is leased and not stored, and writes the last status. */
static void
poll_leave(Poll *poll)
{
	Fault		fault = {0};

	poll_give_back(poll);
	if (poll->installed && !transact(poll, leave, &fault))
		complain(poll, &fault);
}

/* ----- CALL damoov_poll() ----- */

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

/* What was done; what is in the server log already, told to the caller, too. */
static void
tell(Poll *poll)
{
	Tally		tally = poll_tally(poll);
	ListCell   *cell;

	ereport(NOTICE, (errmsg("%s", tally_text(&tally))));
	foreach(cell, poll->sources)
	{
		Source	   *source = lfirst(cell);

		if (source->state == SOURCE_PAUSED && source->pause_reason)
			ereport(NOTICE,
					(errmsg("server \"%s\" is paused: %s", source->name, source->pause_reason)));
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
	MemoryContext old;
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
	old = CurrentMemoryContext;
	SPI_commit();
	MemoryContextSwitchTo(old);
	context = AllocSetContextCreate(PortalContext, "damoov poll", ALLOCSET_DEFAULT_SIZES);
	poll = poll_create(context, only_source, &transaction_of_procedure);
	/* a schedule must not defeat the back-off; a source that is named is asked at once */
	poll->obey_backoff = only_source == NULL;
	end_ms = clock_ms() + max_seconds * (int64) 1000;
	poll_end_at(poll, end_ms);
	while (clock_ms() < end_ms && !poll_is_drained(poll))
	{
		poll_turn(poll, (long) Max(1, end_ms - clock_ms()));
		if (!poll->looked && poll->trouble.sqlstate && !fault_is_passing(poll->trouble.sqlstate))
			fault_raise(&poll->trouble);
	}

	poll_end_at(poll, clock_ms());
	end_ms = clock_ms() + FINISH_MS;
	while (clock_ms() < end_ms && !poll_is_quiet(poll))
		poll_turn(poll, 100);
	/* last, for the caller's seconds are for the sources */
	partitions_make_due(poll->host);
	poll_leave(poll);
	tell(poll);
	MemoryContextDelete(context);
	SPI_finish();
	PG_RETURN_VOID();
}
