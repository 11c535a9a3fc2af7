/*
 * inbox.c
 *	  Messages of a source from being received to being settled: see inbox.h.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/statistics.h"
#include "provider/inbox.h"

#define HOLD_BASE_MS		1000
#define HOLD_CAP_MS			30000
#define BLAME_ATTEMPTS		3
#define TOGETHER_MESSAGES	1000	/* then they are stored */
#define TOGETHER_MS			50		/* that the first of them waits for others */

/* ----- what waits ----- */

static bool
waits(const SourceMessage *message)
{
	return !message->settled && !message->stored && !message->storing;
}

/* The next message that waits, in the order of arrival; at is where it stands. */
typedef struct InboxPlace
{
	int			delivery;
	int			message;
} InboxPlace;

static SourceMessage *
next_waiting(const Source *source, InboxPlace *at)
{
	for (; at->delivery < list_length(source->inbox); at->delivery++, at->message = 0)
	{
		const Delivery *delivery = list_nth(source->inbox, at->delivery);

		while (at->message < delivery->count)
		{
			SourceMessage *message = &delivery->messages[at->message++];

			if (waits(message))
				return message;
		}
	}
	return NULL;
}

/* The next of those that have not failed. */
static SourceMessage *
next_fresh(const Source *source, InboxPlace *at)
{
	SourceMessage *message;

	while ((message = next_waiting(source, at)) != NULL && message->together > 0)
		;
	return message;
}

bool
inbox_has_waiting(const Source *source)
{
	InboxPlace	at = {0};

	return next_waiting(source, &at) != NULL;
}

int64
inbox_apart_due_ms(const Source *source)
{
	InboxPlace	at = {0};
	int64		due_ms = PG_INT64_MAX;
	SourceMessage *message;

	while (source->unstored && (message = next_waiting(source, &at)) != NULL)
	{
		if (message->together > 0)
			due_ms = Min(due_ms, message->due_ms);
	}
	return due_ms;
}

bool
inbox_is_quiet(const Source *source)
{
	ListCell   *cell;

	foreach(cell, source->inbox)
	{
		const Delivery *delivery = lfirst(cell);

		for (int i = 0; i < delivery->count; i++)
		{
			const SourceMessage *message = &delivery->messages[i];

			if (!message->settled && (message->stored || message->attempts == 0))
				return false;
		}
	}
	return true;
}

/*
 * A full queue gives more at once.  What is stored in one transaction costs less
 * the more it is, up to some hundreds.
 */
int64
inbox_together_due_ms(const Source *source)
{
	InboxPlace	at = {0};
	int			count = 0;
	ListCell   *cell;

	if (next_fresh(source, &at) == NULL)
		return PG_INT64_MAX;
	foreach(cell, source->inbox)
		count += ((const Delivery *) lfirst(cell))->count;
	if (!source->busy || count >= TOGETHER_MESSAGES)
		return 0;
	return ((const Delivery *) list_nth(source->inbox, at.delivery))->received_ms + TOGETHER_MS;
}

List *
inbox_together(const Source *source)
{
	InboxPlace	at = {0};
	List	   *messages = NIL;
	SourceMessage *message;

	while ((message = next_fresh(source, &at)) != NULL)
		messages = lappend(messages, message);
	return messages;
}

/* Those that follow, and were halved with it, up to so many. */
static List *
with_followers(const Source *source, SourceMessage *first, InboxPlace *at)
{
	List	   *messages = list_make1(first);
	SourceMessage *message;

	while (list_length(messages) < first->together && (message = next_waiting(source, at)) != NULL &&
		   message->together == first->together && message->attempts == 0)
		messages = lappend(messages, message);
	return messages;
}

/* What is held comes last. */
List *
inbox_next(const Source *source, int64 now_ms)
{
	InboxPlace	at = {0};
	SourceMessage *held = NULL;
	SourceMessage *message;

	while (source->unstored && (message = next_waiting(source, &at)) != NULL)
	{
		if (message->together == 0)
			continue;
		if (message->attempts == 0)
			return with_followers(source, message, &at);
		if (message->due_ms <= now_ms && (held == NULL || message->due_ms < held->due_ms))
			held = message;
	}
	return held ? list_make1(held) : NIL;
}

/* ----- what became of it ----- */

/* Fails any other with the same SQLSTATE? */
static bool
others_fail_alike(const Source *source, const SourceMessage *message)
{
	InboxPlace	at = {0};
	SourceMessage *other;

	while ((other = next_waiting(source, &at)) != NULL)
	{
		if (other != message && other->attempts > 0 && other->sqlstate == message->sqlstate)
			return true;
	}
	return false;
}

/*
 * When others of the source are stored, something is wrong with this one.  When
 * none is, it is blamed only if it is the only one, and never for a missing
 * right or table.
 */
bool
inbox_is_to_blame(const Source *source, const SourceMessage *message)
{
	bool		others_stored = source->stored > message->stored_before;

	if (message->attempts == 0 || fault_is_passing(message->sqlstate))
		return false;
	if (fault_is_transient(message->sqlstate))
		return others_stored && message->attempts >= BLAME_ATTEMPTS;
	return others_stored ||
		(message->attempts >= BLAME_ATTEMPTS && source->blamed != message->sqlstate &&
		 !others_fail_alike(source, message));
}

void
inbox_stored(SourceMessage *message, bool fresh, bool blamed)
{
	message->storing = true;
	message->fresh = fresh;
	message->blamed = blamed;
}

static void
hold(const Source *source, SourceMessage *message, const Fault *fault)
{
	if (message->attempts == 0)
		message->stored_before = source->stored;
	message->sqlstate = fault->sqlstate;
	message->due_ms = clock_ms() +
		clock_backoff_ms(HOLD_BASE_MS, message->attempts++, HOLD_CAP_MS);
}

/*
 * What had to wait in vain, for a lock perhaps, would do so again with each half,
 * and where the data was refused all of it was: these are tried one by one.
 */
static void
separate(const List *messages, const Fault *fault)
{
	bool		halve = fault_is_transient(fault->sqlstate) && !fault_is_passing(fault->sqlstate);
	int			half = halve ? (list_length(messages) + 1) / 2 : 1;
	ListCell   *cell;

	foreach(cell, messages)
		((SourceMessage *) lfirst(cell))->together = half;
}

void
inbox_failed(Source *source, const List *messages, const Fault *fault)
{
	SourceMessage *first = linitial(messages);

	if (first->together == 1)
		hold(source, first, fault);
	else
		separate(messages, fault);
	source_store_failed(source, fault->message);
}

void
inbox_end(Source *source, bool committed)
{
	bool		any = false;
	ListCell   *cell;

	foreach(cell, source->inbox)
	{
		Delivery   *delivery = lfirst(cell);
		int			stored = 0;

		for (int i = 0; i < delivery->count; i++)
		{
			SourceMessage *message = &delivery->messages[i];

			if (!message->storing)
				continue;
			stored++;
			message->storing = false;
			message->stored = committed;
			if (committed && message->fresh)
			{
				source->stored++;
				source->blamed = 0;
			}
			else if (committed && message->blamed)
				source->blamed = message->sqlstate;
		}
		any |= stored > 0;
		if (committed)
			statistics_delay(SUBJECT_SOURCE, source->name, DELAY_STORING,
							 clock_ms() - delivery->received_ms, stored);
	}
	if (committed && any && source->unstored && inbox_apart_due_ms(source) == PG_INT64_MAX)
		source_stores_again(source);
}

/* ----- settling ----- */

/*
 * A queue that cannot be told to wait delivers again what is held: the newest
 * copy takes the place of the older one.
 */
static void
take_place(Source *source, SourceMessage *message)
{
	InboxPlace	at = {0};
	SourceMessage *held;

	while ((held = next_waiting(source, &at)) != NULL)
	{
		if (held == message || held->attempts == 0 || held->body_len != message->body_len ||
			memcmp(held->body, message->body, held->body_len) != 0)
			continue;
		message->together = held->together;
		message->attempts = held->attempts;
		message->due_ms = held->due_ms;
		message->sqlstate = held->sqlstate;
		message->stored_before = held->stored_before;
		held->settled = true;
		return;
	}
}

void
inbox_replace_held(Source *source)
{
	InboxPlace	at = {0};
	SourceMessage *message;

	while (source->unstored && (message = next_waiting(source, &at)) != NULL)
	{
		if (message->together == 0)
			take_place(source, message);
	}
}

/* Those that are stored become a delivery of their own. */
static Delivery *
split(Delivery *delivery)
{
	Delivery   *stored = source_delivery(delivery->source, 0);

	for (int i = 0; i < delivery->count; i++)
	{
		SourceMessage *message = &delivery->messages[i];

		if (message->settled || !message->stored)
			continue;
		(void) source_message(stored, message->handle, "", 0);
		message->settled = true;
	}
	return stored;
}

/* Of what is not settled. */
static int
count_unsettled(const Delivery *delivery, bool stored)
{
	int			count = 0;
	int			at = -1;
	SourceMessage *message;

	while ((message = source_unsettled(delivery, &at)) != NULL)
		count += message->stored == stored;
	return count;
}

void
inbox_tidy(Source *source)
{
	ListCell   *cell;

	inbox_replace_held(source);
	foreach(cell, source->inbox)
	{
		Delivery   *delivery = lfirst(cell);

		/* the renewal's reply needs it as it is */
		if (delivery->renewing)
			continue;
		if (count_unsettled(delivery, false) > 0)
		{
			if (count_unsettled(delivery, true) > 0)
				source_line_up(split(delivery));
			continue;
		}
		source->inbox = foreach_delete_current(source->inbox, cell);
		source_line_up(delivery);
	}
}
