/*
 * source.c
 *	  A source of messages: what every provider has in common.
 *
 * Keeps the run state of a source, decides when it may be asked again, and
 * says in one sentence what is wrong with it.  A problem is logged when it
 * begins or changes, not at each retry.
 */
#include "postgres.h"

#include <time.h>

#include "lib/stringinfo.h"
#include "nodes/parsenodes.h"
#include "nodes/value.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/options.h"
#include "base/secret.h"
#include "base/statistics.h"
#include "provider/finding.h"
#include "provider/identity.h"
#include "provider/source.h"
#include "wire/sign.h"

/* while messages come, receives in flight; one when idle */
#define MAX_RECEIVES			8	/* unless the provider says otherwise */
#define INBOX_MESSAGES			2000	/* waiting to be stored: then no receive begins */
#define INBOX_BYTES				(8 * 1024 * 1024)	/* the same */

#define RETRY_BASE_MS			1000
#define RETRY_CAP_MS			60000
#define CREDENTIALS_FIRST_RETRY_MS 6000	/* the options are read anew in between */
#define CREDENTIALS_RETRY_MS	300000
#define CONFIGURATION_RETRY_MS	60000
#define RETRY_AFTER_CAP_S		900
#define SETTLE_BASE_MS			500
#define SETTLE_ATTEMPTS			6
#define MEASURE_FIRST_MS		2000	/* of a busy source: how many messages wait? */
#define MEASURE_MS				10000	/* and again */
#define UNMEASURED_MS			60000	/* the same, where it could not be learnt */
#define MAX_SETTLING			16	/* each takes a connection */
#define CLOCK_TOLERANCE_S		60

const char *
source_state_name(SourceState state)
{
	static const char *const names[] = {
		[SOURCE_NEW] = "new",
		[SOURCE_POLLING] = "polling",
		[SOURCE_RETRYING] = "retrying",
		[SOURCE_AUTH_FAILED] = "auth_failed",
		[SOURCE_MISCONFIGURED] = "misconfigured",
		[SOURCE_PAUSED] = "paused",
	};

	return names[state];
}

/* ----- life ----- */

Source *
source_create(MemoryContext parent, struct HttpClient *http, const ForeignServer *server,
			  const Provider *provider)
{
	MemoryContext context = AllocSetContextCreate(parent, "damoov source", ALLOCSET_SMALL_SIZES);
	Source	   *source = MemoryContextAllocZero(context, sizeof(Source));

	source->context = context;
	source->provider = provider;
	source->http = http;
	source->server = server->serverid;
	source->name = MemoryContextStrdup(context, server->servername);
	source->receive_context = AllocSetContextCreate(context, "damoov receives",
													ALLOCSET_SMALL_SIZES);
	source->config_context = AllocSetContextCreate(context, "damoov source options",
												   ALLOCSET_SMALL_SIZES);
	source->state = SOURCE_NEW;
	source->backlog = -1;
	return source;
}

void
source_rename(Source *source, const char *name)
{
	if (strcmp(source->name, name) == 0)
		return;
	pfree(source->name);
	source->name = MemoryContextStrdup(source->context, name);
}

void
source_free(Source *source)
{
	MemoryContextDelete(source->context);
}

void
source_break_off(Source *source)
{
	if (source->busy || (source->state != SOURCE_PAUSED && !source->gone))
		return;
	MemoryContextReset(source->receive_context);
	source->receiving = 0;
}

bool
source_is_quiet(const Source *source)
{
	return source->receiving == 0 && source->settling == 0 && source->outbox == NIL;
}

static void
set_state(Source *source, SourceState state)
{
	if (source->state != state)
		source->status_changed = true;
	source->state = state;
}

/* What a source is doing does not show while it is paused. */
static void
set_activity(Source *source, SourceState state)
{
	if (source->state != SOURCE_PAUSED)
		set_state(source, state);
}

/* message NULL: none */
static void
keep_error(Source *source, const char *message)
{
	if (source->error)
		pfree(source->error);
	source->error = message ? MemoryContextStrdup(source->context, message) : NULL;
	source->error_at = GetCurrentTimestamp();
	source->status_changed = true;
}

static void
forget_trouble(Source *source)
{
	source->failures = 0;
	source->retry_at_ms = 0;
	source->retry_at = 0;
	keep_error(source, NULL);
}

static void
set_error(Source *source, const Fault *fault)
{
	if (source->error && strcmp(source->error, fault->message) == 0)
		return;
	keep_error(source, fault->message);
	ereport(LOG,
			(errmsg("could not receive messages from server \"%s\": %s",
					source->name, fault->message),
			 fault->detail ? errdetail("%s", fault->detail) : 0,
			 fault->hint ? errhint("%s", fault->hint) : 0));
}

/* ----- options ----- */

static void
append_options(StringInfo text, List *options)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst(cell);
		const char *value = strVal(option->arg);

		appendStringInfo(text, "%s=%zu:%s;", option->defname, strlen(value), value);
	}
}

/* A digest, so that no copy of a secret is kept for comparing. */
static void
take_fingerprint(const ServerOptions *options, char *fingerprint)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "%s;%d;", options->type, options->may_use_host);
	append_options(&text, options->options);
	append_options(&text, options->secrets);
	sign_sha256_hex(text.data, text.len, fingerprint);
	secret_wipe(text.data);
	pfree(text.data);
}

static void
misconfigured(Source *source, const Fault *fault)
{
	source->configured = false;
	set_error(source, fault);
	set_state(source, SOURCE_MISCONFIGURED);
}

/* Reads the options into the source; false with the fault filled. */
static bool
take_options(Source *source, const ServerOptions *options, Fault *fault)
{
	const Provider *provider = source->provider;
	MemoryContext old = MemoryContextSwitchTo(source->config_context);

	source->configured = false;
	source->config = NULL;
	source->identity = NULL;
	source->token = NULL;
	source->wait_seconds = options_int(options, "wait_seconds", 20);
	source->min_wait_seconds = 0;
	source->max_receives = MAX_RECEIVES;
	source->pause_min_ms = source->pause_max_ms = 0;
	source->pause_ms = 0;
	source->pause_until_ms = 0;
	source->measure_at_ms = 0;
	source->option_paused = options_bool(options, "paused");
	source->clock_offset_s = 0;
	if (provider == NULL || strcmp(provider->type, options->type) != 0)
		fault_set_state(fault, ERRCODE_FDW_INVALID_OPTION_NAME, REASON_CONFIGURATION,
				  "server type \"%s\" is not supported", options->type);
	else
		source->configured =
			identity_load(options, provider->ways, provider->audience, source->http,
						  &source->identity, fault) &&
			provider->configure(source, options, fault);
	MemoryContextSwitchTo(old);
	return source->configured;
}

bool
source_try_configure(Source *source, Fault *fault)
{
	ServerOptions *options;
	bool		valid;

	if (!options_load(source->name, &options, fault))
		return false;
	valid = take_options(source, options, fault);
	options_wipe(options);
	return valid;
}

void
source_refuse(Source *source, const Fault *fault)
{
	source->fingerprint[0] = '\0';
	misconfigured(source, fault);
}

void
source_configure(Source *source)
{
	ServerOptions *options;
	Fault		fault = {0};
	char		fingerprint[SIGN_SHA256_HEX_SIZE];

	if (!options_load(source->name, &options, &fault))
	{
		source_refuse(source, &fault);
		return;
	}
	take_fingerprint(options, fingerprint);
	if (strcmp(fingerprint, source->fingerprint) != 0)
	{
		/* requests in flight hold what they need; only the options are replaced */
		source->configured = false;
		source->fingerprint[0] = '\0';
		MemoryContextReset(source->config_context);
		forget_trouble(source);
		if (!take_options(source, options, &fault))
			misconfigured(source, &fault);
		else
			set_activity(source, SOURCE_NEW);
		strcpy(source->fingerprint, fingerprint);
	}
	options_wipe(options);
}

bool
source_is_polled(const char *type)
{
	return type == NULL ||
		(strcmp(type, "api") != 0 && strcmp(type, WEBHOOK_TYPE) != 0);
}

void
source_set_paused(Source *source, bool paused)
{
	if (paused)
		set_state(source, SOURCE_PAUSED);
	else if (source->state == SOURCE_PAUSED)
		set_state(source, source->configured ? SOURCE_NEW : SOURCE_MISCONFIGURED);
}

/* ----- trouble ----- */

static bool
is_authorized(const Source *source)
{
	return source->identity == NULL || identity_usable(source->identity);
}

bool
source_is_usable(const Source *source)
{
	return source->configured && is_authorized(source);
}

/* Something is wrong: say so, and wait before the next attempt. */
static void
trouble(Source *source, Trouble kind, int retry_after_s, const Fault *fault)
{
	int64		now_ms = clock_ms();
	SourceState state = SOURCE_RETRYING;
	int64		wait_ms;

	source->busy = false;
	/* receives in flight at the same time fail together: they count as one failure */
	if (source->failures == 0 || now_ms >= source->retry_at_ms)
		source->failures++;
	wait_ms = clock_backoff_ms(RETRY_BASE_MS, source->failures - 1, RETRY_CAP_MS);
	if (kind == TROUBLE_CREDENTIALS)
	{
		state = SOURCE_AUTH_FAILED;
		/*
		 * the first retry comes soon, the others rarely; a changed secret ends
		 * the wait, see source_configure()
		 */
		wait_ms = source->failures > 1 ? CREDENTIALS_RETRY_MS : CREDENTIALS_FIRST_RETRY_MS;
		/* new credentials are worth an attempt at once */
		if (source->failures == 1 && source->identity && is_authorized(source))
			wait_ms = 0;
		if (source->identity)
			identity_expire(source->identity);
	}
	else if (kind == TROUBLE_CONFIGURATION)
	{
		state = SOURCE_MISCONFIGURED;
		wait_ms = CONFIGURATION_RETRY_MS;
	}
	if (retry_after_s > 0)
		wait_ms = Max(wait_ms, Min(retry_after_s, RETRY_AFTER_CAP_S) * (int64) 1000);
	source->retry_at_ms = now_ms + wait_ms;
	source->retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), wait_ms);
	set_error(source, fault);
	source->error_at = GetCurrentTimestamp();
	source->status_changed = true;
	set_activity(source, state);
	statistics_count(SUBJECT_SOURCE, source->name, COUNT_FAILURES, 1);
	if (kind == TROUBLE_THROTTLED || retry_after_s > 0)
		statistics_count(SUBJECT_SOURCE, source->name, COUNT_THROTTLED, 1);
	statistics_note("receive", source->name, 0, -1, fault->message);
}

/* ----- credentials ----- */

static void
authorized(void *arg, bool transient, const Fault *fault)
{
	Source	   *source = arg;

	source->authorizing = false;
	/* the old credentials may still be valid */
	if (fault && source->configured && !is_authorized(source))
		trouble(source, transient ? TROUBLE_TRANSIENT : TROUBLE_CREDENTIALS, -1, fault);
}

void
source_authorize(Source *source, int64 now_ms)
{
	if (!source->configured || source->gone || source->state == SOURCE_PAUSED ||
		source->identity == NULL || source->authorizing ||
		now_ms < source->retry_at_ms || !identity_due(source->identity))
		return;
	source->authorizing = true;
	identity_ask(source->identity, source->context, authorized, source);
}

static void
authorized_to_check(void *arg, bool transient, const Fault *fault)
{
	Source	   *source = arg;

	if (fault == NULL)
		source->provider->check(source);
	else
	{
		finding_trouble(source->findings,
						transient ? TROUBLE_TRANSIENT : TROUBLE_CREDENTIALS, fault);
		source->findings->done = true;
	}
}

void
source_check(Source *source, Findings *findings)
{
	source->findings = findings;
	if (source->identity)
		identity_ask(source->identity, source->context, authorized_to_check, source);
	else
		source->provider->check(source);
}

/* ----- receiving ----- */

static bool
inbox_is_full(const Source *source)
{
	int			messages = 0;
	Size		bytes = 0;
	ListCell   *cell;

	foreach(cell, source->inbox)
	{
		const Delivery *delivery = lfirst(cell);

		messages += delivery->count;
		bytes += delivery->bytes;
	}
	return messages >= INBOX_MESSAGES || bytes >= INBOX_BYTES;
}

bool
source_may_receive(const Source *source, int64 now_ms)
{
	return source->looked && source_is_usable(source) && !source->gone && !source->left &&
		source->state != SOURCE_PAUSED && now_ms >= source->retry_at_ms && now_ms >= source->pause_until_ms &&
		source->receiving < (source->busy ? source->max_receives : 1) &&
		!inbox_is_full(source);
}

void
source_receive(Source *source, int wait_seconds)
{
	source->receiving++;
	statistics_count(SUBJECT_SOURCE, source->name, COUNT_REQUESTS, 1);
	if (source->state == SOURCE_NEW)
		set_state(source, SOURCE_POLLING);
	source->provider->receive(source, wait_seconds);
}

static int64
renew_at(int lease_seconds)
{
	return lease_seconds > 0 ? clock_ms() + lease_seconds * (int64) 500 : 0;
}

Delivery *
source_delivery(Source *source, int lease_seconds)
{
	MemoryContext context = AllocSetContextCreate(source->context, "damoov delivery",
												  ALLOCSET_SMALL_SIZES);
	Delivery   *delivery = MemoryContextAllocZero(context, sizeof(Delivery));

	delivery->source = source;
	delivery->context = context;
	delivery->lease_seconds = lease_seconds;
	delivery->renew_at_ms = renew_at(lease_seconds);
	return delivery;
}

SourceMessage *
source_message(Delivery *delivery, const char *handle, const char *body, Size body_len)
{
	SourceMessage *message;

	/* not settled: it comes again */
	if (handle == NULL || body == NULL)
	{
		ereport(LOG,
				(errmsg("damaged message from server \"%s\" is left in the queue",
						delivery->source->name)));
		return NULL;
	}
	if (delivery->count == delivery->room)
	{
		delivery->room = Max(16, delivery->room * 2);
		message = MemoryContextAllocZero(delivery->context, delivery->room * sizeof(SourceMessage));
		if (delivery->count > 0)
			memcpy(message, delivery->messages, delivery->count * sizeof(SourceMessage));
		delivery->messages = message;
	}
	message = &delivery->messages[delivery->count];
	message->handle = MemoryContextStrdup(delivery->context, handle);
	message->body = MemoryContextAlloc(delivery->context, body_len + 1);
	memcpy(message->body, body, body_len);
	message->body[body_len] = '\0';
	message->body_len = body_len;
	delivery->bytes += body_len;
	delivery->count++;
	return message;
}

/* Nothing of the source may be in flight any more. */
static void
free_delivery(Delivery *delivery)
{
	Assert(delivery->calls == 0);
	MemoryContextDelete(delivery->context);
}

SourceMessage *
source_unsettled(const Delivery *delivery, int *at)
{
	while (++*at < delivery->count)
	{
		if (!delivery->messages[*at].settled)
			return &delivery->messages[*at];
	}
	return NULL;
}

static bool
is_settled(const Delivery *delivery)
{
	int			at = -1;

	return source_unsettled(delivery, &at) == NULL;
}

/* A queue without long poll is asked again only after a pause when it was empty. */
static void
pause_when_empty(Source *source, bool empty)
{
	/* of receives that were in flight together, the last one decides */
	if (empty && source->receiving > 0)
		return;
	source->pause_ms = empty
		? Min(source->pause_max_ms, Max(source->pause_min_ms, source->pause_ms * 2)) : 0;
	source->pause_until_ms = source->pause_ms > 0 ? clock_ms() + source->pause_ms : 0;
}

/* ----- how many messages wait ----- */

void
source_measure_due(Source *source, int64 now_ms)
{
	if (!source->busy || source->state == SOURCE_PAUSED || source->measuring || !source_is_usable(source))
		return;
	if (source->busy_since_ms == 0)
		source->busy_since_ms = now_ms;
	if (now_ms < Max(source->busy_since_ms + MEASURE_FIRST_MS, source->measure_at_ms))
		return;
	source->crowded = true;
	source->measuring = true;
	source->provider->measure(source);
}

void
source_measured(Source *source, int64 backlog)
{
	source->measuring = false;
	source->measure_at_ms = clock_ms() + (backlog < 0 ? UNMEASURED_MS : MEASURE_MS);
	/* more would be no time that can be told */
	source->backlog = Min(backlog, PG_INT32_MAX);
	source->backlog_at = GetCurrentTimestamp();
	source->status_changed = true;
}

/* The queue is empty, or nearly so. */
static void
forget_backlog(Source *source)
{
	source->busy_since_ms = 0;
	source->crowded = false;
	source->status_changed |= source->backlog >= 0;
	source->backlog = -1;
}

void
source_received(Source *source, Delivery *delivery, bool full)
{
	MemoryContext old = MemoryContextSwitchTo(source->context);

	source->receiving--;
	source->busy = full;
	if (!full)
		forget_backlog(source);
	source->drained = delivery->count == 0 && source->receiving == 0;
	pause_when_empty(source, delivery->count == 0);
	source->last_poll_at = GetCurrentTimestamp();
	statistics_count(SUBJECT_SOURCE, source->name, COUNT_BYTES, delivery->bytes);
	statistics_note("receive", source->name, delivery->count, -1, NULL);
	if (!source->unstored && (source->error || source->failures > 0))
	{
		ereport(LOG, (errmsg("receiving messages from server \"%s\" again", source->name)));
		forget_trouble(source);
	}
	if (!source->unstored)
		set_activity(source, SOURCE_POLLING);
	if (delivery->count > 0)
	{
		source->last_message_at = source->last_poll_at;
		source->status_changed = true;
		delivery->received_ms = clock_ms();
		source->inbox = lappend(source->inbox, delivery);
	}
	else
		free_delivery(delivery);
	MemoryContextSwitchTo(old);
}

void
source_failed(Source *source, Trouble kind, int retry_after_s, const Fault *fault)
{
	source->receiving--;
	/* refused with credentials that are being replaced: that is known already */
	if (kind == TROUBLE_CREDENTIALS && source->failures > 0 && !is_authorized(source))
	{
		source->busy = false;
		return;
	}
	trouble(source, kind, retry_after_s, fault);
}

/* ----- the provider's clock ----- */

bool
source_correct_clock(Source *source, pg_time_t date)
{
	int64		offset;

	if (date == 0)
		return false;
	offset = date - (int64) time(NULL);
	if (llabs(offset - source->clock_offset_s) <= CLOCK_TOLERANCE_S)
		return false;
	source->clock_offset_s = offset;
	ereport(LOG,
			(errmsg("clock of server \"%s\" differs by " INT64_FORMAT " seconds",
					source->name, offset),
			 errdetail("Requests are signed with its time.")));
	return true;
}

pg_time_t
source_time(const Source *source)
{
	return (pg_time_t) time(NULL) + source->clock_offset_s;
}

/* ----- renewing ----- */

void
source_renew_due(Source *source, int64 now_ms)
{
	ListCell   *cell;

	if (!source_is_usable(source))
		return;
	foreach(cell, source->inbox)
	{
		Delivery   *delivery = lfirst(cell);

		if (delivery->renew_at_ms == 0 || now_ms < delivery->renew_at_ms || delivery->renewing)
			continue;
		delivery->renewing = true;
		source->provider->renew(delivery);
	}
}

void
source_renewed(Delivery *delivery, bool failed)
{
	int			lease_seconds = delivery->lease_seconds;

	if (failed)
		lease_seconds = Max(1, lease_seconds / 2);
	delivery->renewing = false;
	delivery->renew_at_ms = is_settled(delivery) ? 0 : renew_at(lease_seconds);
}

/* ----- settling ----- */

void
source_store_failed(Source *source, const char *problem)
{
	char	   *message = psprintf("could not store messages: %s", problem);

	if (source->error == NULL || strcmp(source->error, message) != 0)
		ereport(LOG,
				(errmsg("could not store messages of server \"%s\": %s", source->name, problem)));
	keep_error(source, message);
	source->unstored = true;
	set_activity(source, SOURCE_RETRYING);
}

void
source_stores_again(Source *source)
{
	source->unstored = false;
	forget_trouble(source);
	set_activity(source, SOURCE_POLLING);
}

void
source_line_up(Delivery *delivery)
{
	MemoryContext old = MemoryContextSwitchTo(delivery->source->context);

	delivery->source->outbox = lappend(delivery->source->outbox, delivery);
	MemoryContextSwitchTo(old);
}

static void
give_up(Delivery *delivery, const char *problem)
{
	ereport(LOG,
			(errmsg("could not settle messages of server \"%s\": %s",
					delivery->source->name, problem),
			 errdetail("They are stored and will be delivered again as duplicates.")));
	free_delivery(delivery);
}

/* Nobody renews the credentials of a server that was dropped. */
static void
give_up_all(Source *source)
{
	ListCell   *cell;

	foreach(cell, source->outbox)
	{
		Delivery   *delivery = lfirst(cell);

		source->outbox = foreach_delete_current(source->outbox, cell);
		give_up(delivery, "its credentials have expired");
	}
}

void
source_settle_due(Source *source, int64 now_ms)
{
	ListCell   *cell;

	if (!source_is_usable(source))
	{
		if (source->gone)
			give_up_all(source);
		return;
	}
	foreach(cell, source->outbox)
	{
		Delivery   *delivery = lfirst(cell);

		if (source->settling >= MAX_SETTLING)
			break;
		if (now_ms < delivery->settle_at_ms)
			continue;
		source->outbox = foreach_delete_current(source->outbox, cell);
		source->settling++;
		delivery->attempts++;
		source->provider->settle(delivery);
	}
}

static void
wait_at_most(int64 *due_ms, int64 other_ms, int64 now_ms)
{
	if (other_ms > now_ms && other_ms < *due_ms)
		*due_ms = other_ms;
}

int64
source_due_ms(const Source *source, int64 now_ms, int64 max_ms)
{
	ListCell   *cell;

	if (source->configured)
	{
		wait_at_most(&max_ms, source->retry_at_ms, now_ms);
		wait_at_most(&max_ms, source->pause_until_ms, now_ms);
	}
	foreach(cell, source->outbox)
	{
		Delivery   *delivery = lfirst(cell);

		if (source->settling < MAX_SETTLING)
			wait_at_most(&max_ms, Max(now_ms + 1, delivery->settle_at_ms), now_ms);
	}
	foreach(cell, source->inbox)
	{
		Delivery   *delivery = lfirst(cell);

		if (delivery->renew_at_ms > 0 && !delivery->renewing)
			wait_at_most(&max_ms, Max(now_ms + 1, delivery->renew_at_ms), now_ms);
	}
	return max_ms;
}

void
source_release(Source *source)
{
	ListCell   *cell;

	if (!source_is_usable(source))
		return;
	foreach(cell, source->inbox)
	{
		Delivery   *delivery = lfirst(cell);

		/* one that is being renewed comes back when its lease ends */
		if (delivery->renewing)
			continue;
		source->settling++;
		source->provider->release(delivery);
	}
	list_free(source->inbox);
	source->inbox = NIL;
}

/* Whether it worked does not matter: the lease ends by itself. */
void
source_released(Delivery *delivery)
{
	delivery->source->settling--;
	free_delivery(delivery);
}

void
source_settled(Delivery *delivery, const char *problem)
{
	Source	   *source = delivery->source;

	source->settling--;
	if (is_settled(delivery))
	{
		statistics_count(SUBJECT_SOURCE, source->name, COUNT_SETTLED, delivery->count);
		free_delivery(delivery);
		return;
	}
	statistics_count(SUBJECT_SOURCE, source->name, COUNT_SETTLE_FAILURES, 1);
	statistics_note("settle", source->name, delivery->count, -1, problem);
	if (delivery->attempts < SETTLE_ATTEMPTS)
	{
		delivery->settle_at_ms = clock_ms() +
			clock_backoff_ms(SETTLE_BASE_MS, delivery->attempts, RETRY_CAP_MS);
		source_line_up(delivery);
	}
	else
		give_up(delivery, problem);
}
