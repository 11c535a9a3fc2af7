/*
 * eventgrid.c
 *	  Azure Event Grid, namespace topics: pull delivery.
 *
 * A receive leases events for the lock time of their event subscription; they
 * are acknowledged together after the commit.  Events are taken out of the
 * reply as the bytes they are, each to be judged by itself: one beyond the
 * limits must not hold up those beside it.  None is ever rejected, since the
 * service may drop it then; what cannot be read goes to the quarantine.
 *
 * The key signs tokens and is not sent.  A service's texts are never passed
 * on: codes are translated.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/json.h"
#include "utils/memutils.h"

#include "base/json.h"
#include "door/check.h"
#include "provider/identity.h"
#include "provider/source.h"
#include "wire/http.h"
#include "wire/reply.h"
#include "wire/sign.h"
#include "wire/url.h"

#define API_VERSION			"2024-06-01"
#define MAX_EVENTS			100
#define MIN_WAIT_SECONDS	10	/* the service takes no less */
#define MAX_WAIT_SECONDS	120
#define DEFAULT_WAIT_SECONDS 60
#define DEFAULT_LOCK_SECONDS 60
#define ANSWER_MS			15000	/* beyond the wait */
#define MAX_REPLY			(128 * 1024 * 1024) /* a hundred events of 1 MB */
#define TOKEN_SECONDS		3600
#define TOKEN_RENEW_SECONDS (TOKEN_SECONDS * 4 / 5)

/*
 * Not at once: who is restarted in a loop would use up in seconds how often
 * an event may be delivered.
 */
#define RELEASE_DELAY		"&releaseDelayInSeconds=10"

typedef struct EventGridConfig
{
	char	   *url;			/* of the event subscription */
	int			batch_size;
	int			lock_seconds;
	char	   *keys[2];		/* unless the source has an identity; the second
								 * may be NULL */
	int			key;			/* the one in use */
	char	   *token;			/* NULL: to be made */
	pg_time_t	renew_at;		/* its service's time */
} EventGridConfig;

/* A request and what it takes to send it again. */
typedef struct Call
{
	Source	   *source;
	Delivery   *delivery;		/* NULL: a receive or a check */
	SourceCheck *check;
	MemoryContext context;		/* of the receive or the delivery */
	const char *operation;
	const char *query;			/* behind the version */
	StringInfoData body;
	int			wait_seconds;
	int			asked;			/* events, by a receive */
	int			lock_seconds;
	void		(*done) (struct Call *call, HttpRequest *request);
	int			key;			/* it was signed with */
	int			refusals;
} Call;

extern const Provider eventgrid_provider;

/* ----- options ----- */

static bool
config_fault(Fault *fault, const char *problem)
{
	return fault_set(fault, ERRCODE_INVALID_PARAMETER_VALUE, REASON_CONFIGURATION, "%s", problem);
}

/* https://host/topics/topic/eventsubscriptions/subscription */
static bool
subscription_url(const ServerOptions *options, char **url, Fault *fault)
{
	const char *endpoint = options_get(options, "endpoint");
	const char *topic = options_get(options, "topic");
	const char *subscription = options_get(options, "subscription");
	UrlParts   *parts;
	StringInfoData text;

	if (endpoint == NULL)
		return config_fault(fault, "option \"endpoint\" is not set");
	if (topic == NULL)
		return config_fault(fault, "option \"topic\" is not set");
	if (subscription == NULL)
		return config_fault(fault, "option \"subscription\" is not set");
	if (!url_parse(endpoint, &parts, fault) || !url_scheme_allowed(parts))
		return config_fault(fault, "the endpoint is not an https URL");
	/* that of a custom topic ends in /api/events and cannot be pulled from */
	if (strcmp(parts->path, "/") != 0 || parts->query != NULL)
		return config_fault(fault, "option \"endpoint\" is not a namespace's, of the form https://name.region-1.eventgrid.azure.net");
	initStringInfo(&text);
	appendStringInfo(&text, "%s://%s/topics/", parts->scheme, parts->host_header);
	sign_append_encoded(&text, topic);
	appendStringInfoString(&text, "/eventsubscriptions/");
	sign_append_encoded(&text, subscription);
	*url = text.data;
	return true;
}

static bool
load_keys(EventGridConfig *config, const ServerOptions *options, Fault *fault)
{
	config->keys[0] = options_keep_secret(options, "access_key");
	config->keys[1] = options_keep_secret(options, "secondary_access_key");
	if (config->keys[0] == NULL)
		return config_fault(fault, "user mapping has no \"access_key\"");
	for (int i = 0; i < (int) lengthof(config->keys); i++)
	{
		if (config->keys[i] && sign_event_grid(config->url, config->keys[i], 0) == NULL)
			return config_fault(fault, i == 0 ? "\"access_key\" of the user mapping is not base64"
								: "\"secondary_access_key\" of the user mapping is not base64");
	}
	return true;
}

static void
forget_token(void *arg)
{
	EventGridConfig *config = arg;

	if (config->token)
	{
		explicit_bzero(config->token, strlen(config->token));
		pfree(config->token);
	}
	config->token = NULL;
}

static bool
eventgrid_configure(Source *source, const ServerOptions *options, Fault *fault)
{
	EventGridConfig *config = palloc0(sizeof(EventGridConfig));
	MemoryContextCallback *wipe = palloc0(sizeof(MemoryContextCallback));

	if (!subscription_url(options, &config->url, fault) ||
		!options_int_within(options, "batch_size", 1, MAX_EVENTS, MAX_EVENTS,
							&config->batch_size, fault) ||
		!options_int_within(options, "wait_seconds", MIN_WAIT_SECONDS, MAX_WAIT_SECONDS,
							DEFAULT_WAIT_SECONDS, &source->wait_seconds, fault) ||
		(source->identity == NULL && !load_keys(config, options, fault)))
		return false;
	config->lock_seconds = options_int(options, "lock_seconds", DEFAULT_LOCK_SECONDS);
	source->min_wait_seconds = MIN_WAIT_SECONDS;
	source->max_receives = 1;	/* it brings a hundred */
	wipe->func = forget_token;
	wipe->arg = config;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, wipe);
	source->config = config;
	return true;
}

/* ----- requests ----- */

static void
authorize(HttpRequest *request, Source *source)
{
	EventGridConfig *config = source->config;
	pg_time_t	now = source_time(source);
	char	   *bearer;

	if (source->identity)
	{
		bearer = psprintf("Bearer %s", identity_bearer(source->identity));
		http_header(request, "authorization", bearer);
		explicit_bzero(bearer, strlen(bearer));
		return;
	}

	if (config->token == NULL || now >= config->renew_at)
	{
		char	   *token = sign_event_grid(config->url, config->keys[config->key],
											now + TOKEN_SECONDS);

		forget_token(config);
		config->token = MemoryContextStrdup(source->config_context, token);
		config->renew_at = now + TOKEN_RENEW_SECONDS;
		explicit_bzero(token, strlen(token));
	}
	http_header(request, "authorization", config->token);
}

static void call_answered(HttpRequest *request, void *arg);

static void
send_call(Call *call)
{
	Source	   *source = call->source;
	EventGridConfig *config = source->config;
	MemoryContext old = MemoryContextSwitchTo(call->context);
	HttpRequest *request = http_request(source->http, "POST",
										psprintf("%s:%s?api-version=" API_VERSION "%s",
												 config->url, call->operation, call->query));

	request->body = call->body.data;
	request->body_len = call->body.len;
	request->max_bytes = MAX_REPLY;
	request->silence_seconds = call->wait_seconds;
	request->timeout_ms = call->wait_seconds * 1000 + ANSWER_MS;
	call->key = config->key;
	authorize(request, source);
	http_header(request, "accept", "application/json");
	/* libcurl leaves out a header without a value, its own, too */
	http_header(request, "content-type", call->body.len > 0 ? "application/json" : "");
	MemoryContextSwitchTo(old);
	http_start(request, call_answered, call);
}

/* A refused token is made anew, then with the other key; each once a call. */
static bool
try_again(Call *call, const HttpRequest *request)
{
	Source	   *source = call->source;
	EventGridConfig *config = source->config;

	/* an identity is renewed by others; and the options may be new by now */
	if (request->status != 401 || source->identity != NULL || !source->configured ||
		source->provider != &eventgrid_provider)
		return false;
	(void) source_correct_clock(source, request->date);
	forget_token(config);
	if (++call->refusals == 1)
		return true;
	if (call->refusals > 2 || config->keys[1] == NULL)
		return false;
	/* unless another call has changed it meanwhile */
	if (config->key == call->key)
		config->key = 1 - call->key;
	return true;
}

static void
call_answered(HttpRequest *request, void *arg)
{
	Call	   *call = arg;

	if (try_again(call, request))
		send_call(call);
	else
		call->done(call, request);	/* the end of the call */
	http_free(request);
}

/* ----- errors ----- */

typedef struct StatusMeaning
{
	int			status;
	SourceTrouble trouble;
	const char *words;
} StatusMeaning;

static const StatusMeaning meanings[] = {
	{400, TROUBLE_CONFIGURATION, "the service refuses an option's value"},
	{401, TROUBLE_CREDENTIALS, "the access key or token is not valid"},
	{403, TROUBLE_CREDENTIALS, "the access key or token has no right to receive, or the network is not let in"},
	{404, TROUBLE_CONFIGURATION, "the topic or its event subscription does not exist"},
	{429, TROUBLE_TRANSIENT, "the service asks to slow down"},
	{503, TROUBLE_TRANSIENT, "the service asks to slow down"},
};

/* Fills the fault for a reply that is no success. */
static SourceTrouble
read_error(const HttpRequest *request, Fault *fault)
{
	static const StatusMeaning failed = {0, TROUBLE_TRANSIENT, "the service failed"};
	static const StatusMeaning refused = {0, TROUBLE_CONFIGURATION, "the service refused the request"};
	const StatusMeaning *meaning = http_status_is_transient(request->status) ? &failed : &refused;
	const cJSON *error;

	if (request->status == 0)
	{
		*fault = request->fault;
		return TROUBLE_TRANSIENT;
	}
	for (int i = 0; i < (int) lengthof(meanings); i++)
	{
		if (meanings[i].status == request->status)
			meaning = &meanings[i];
	}
	error = cJSON_GetObjectItemCaseSensitive(reply_json(CurrentMemoryContext, request->reply,
														request->reply_len), "error");
	reply_fault(request, reply_text(error, "code"), reply_text(error, "tracking_id"),
				meaning->words, fault);
	return meaning->trouble;
}

/* ----- receive ----- */

static void
take_event(Delivery *delivery, JsonSpan item)
{
	SourceMessage *message = &delivery->messages[delivery->count];
	JsonSpan	properties;
	JsonSpan	event;
	const char *token = NULL;

	if (json_find(item, "brokerProperties", &properties))
		token = reply_text(reply_json(CurrentMemoryContext, properties.start, properties.len),
						   "lockToken");
	/* not settled: it comes again */
	if (token == NULL || !json_find(item, "event", &event))
	{
		ereport(LOG,
				(errmsg("damaged message from server \"%s\" is left in the queue",
						delivery->source->name)));
		return;
	}
	message->handle = MemoryContextStrdup(delivery->context, token);
	message->body = MemoryContextAlloc(delivery->context, event.len + 1);
	memcpy(message->body, event.start, event.len);
	message->body[event.len] = '\0';
	message->body_len = event.len;
	delivery->count++;
}

static int
count_items(JsonSpan array)
{
	JsonSpan	item;
	int			count = 0;

	while (json_next(&array, NULL, &item))
		count++;
	return count;
}

static void
received(Call *call, HttpRequest *request)
{
	Source	   *source = call->source;
	JsonSpan	reply = {request->reply, request->reply_len};
	JsonSpan	events;
	JsonSpan	item;
	Delivery   *delivery;
	SourceTrouble trouble = TROUBLE_TRANSIENT;
	Fault		fault = {0};
	int			count;

	if (request->status != 200)
		trouble = read_error(request, &fault);
	else if (!json_find(reply, "value", &events) || *events.start != '[')
		fault_set(&fault, ERRCODE_CONNECTION_FAILURE, REASON_PROVIDER,
				  "the reply could not be understood");
	if (fault.sqlstate != 0)
		source_failed(source, trouble, request->retry_after_s, &fault);
	else
	{
		count = count_items(events);
		delivery = source_delivery(source, count);
		delivery->renew_at_ms = source_renew_at_ms(call->lock_seconds);
		while (json_next(&events, NULL, &item))
			take_event(delivery, item);
		source_received(source, delivery, count >= call->asked);
	}
	MemoryContextDelete(call->context);
}

static void
eventgrid_receive(Source *source, int wait_seconds)
{
	const EventGridConfig *config = source->config;
	MemoryContext context = AllocSetContextCreate(source->context, "damoov eventgrid receive",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Call	   *call = palloc0(sizeof(Call));

	call->source = source;
	call->context = context;
	call->operation = "receive";
	call->query = psprintf("&maxEvents=%d&maxWaitTime=%d", config->batch_size, wait_seconds);
	initStringInfo(&call->body);
	call->wait_seconds = wait_seconds;
	call->asked = config->batch_size;
	call->lock_seconds = config->lock_seconds;
	call->done = received;
	MemoryContextSwitchTo(old);
	send_call(call);
}

/* ----- acknowledge, release, renew ----- */

/* Sends the lock tokens of what is not settled. */
static void
send_tokens(Delivery *delivery, const char *operation, const char *query,
			void (*done) (Call *call, HttpRequest *request))
{
	const EventGridConfig *config = delivery->source->config;
	MemoryContext old = MemoryContextSwitchTo(delivery->context);
	Call	   *call = palloc0(sizeof(Call));
	const char *separator = "";

	call->source = delivery->source;
	call->delivery = delivery;
	call->context = delivery->context;
	call->operation = operation;
	call->query = query;
	call->lock_seconds = config->lock_seconds;
	call->done = done;
	initStringInfo(&call->body);
	appendStringInfoString(&call->body, "{\"lockTokens\":[");
	for (int i = 0; i < delivery->count; i++)
	{
		if (delivery->messages[i].settled)
			continue;
		appendStringInfoString(&call->body, separator);
		escape_json(&call->body, delivery->messages[i].handle);
		separator = ",";
	}
	appendStringInfoString(&call->body, "]}");
	MemoryContextSwitchTo(old);
	send_call(call);
}

/*
 * What became of the lock tokens of one request.  Failures are told in one of
 * two shapes, by the version of the service.
 */
typedef struct Outcome
{
	const cJSON *succeeded;
	const cJSON *failed;
} Outcome;

static bool
read_outcome(const HttpRequest *request, Outcome *outcome)
{
	cJSON	   *json = reply_json(CurrentMemoryContext, request->reply, request->reply_len);

	outcome->succeeded = cJSON_GetObjectItemCaseSensitive(json, "succeededLockTokens");
	outcome->failed = cJSON_GetObjectItemCaseSensitive(json, "failedLockTokens");
	return cJSON_IsArray(outcome->succeeded) && cJSON_IsArray(outcome->failed);
}

/* The lock ran out, or is not known any more: the event comes again. */
static bool
is_lost(const cJSON *failed)
{
	const char *code = reply_text(cJSON_GetObjectItemCaseSensitive(failed, "error"), "code");

	if (code == NULL)
		code = reply_text(failed, "errorCode");
	return code && (strcmp(code, "TokenLost") == 0 || strcmp(code, "BadToken") == 0);
}

static void
mark_settled(Delivery *delivery, const char *token)
{
	for (int i = 0; token && i < delivery->count; i++)
	{
		if (strcmp(delivery->messages[i].handle, token) == 0)
			delivery->messages[i].settled = true;
	}
}

static void
acknowledged(Call *call, HttpRequest *request)
{
	const char *problem = "the service refused some of them";
	const cJSON *item;
	Outcome		outcome;
	Fault		fault = {0};

	if (request->status != 200)
	{
		(void) read_error(request, &fault);
		problem = fault.message;
	}
	else if (!read_outcome(request, &outcome))
		problem = "the reply could not be understood";
	else
	{
		cJSON_ArrayForEach(item, outcome.succeeded)
			mark_settled(call->delivery, cJSON_GetStringValue(item));
		cJSON_ArrayForEach(item, outcome.failed)
		{
			/* it is stored, and will come again as a duplicate */
			if (is_lost(item))
				mark_settled(call->delivery, reply_text(item, "lockToken"));
		}
	}
	source_settled(call->delivery, problem);
}

static void
released(Call *call, HttpRequest *request)
{
	source_released(call->delivery);
}

static void
renewed(Call *call, HttpRequest *request)
{
	int			soon = Max(1, call->lock_seconds / 2);
	int			lease = soon;
	const cJSON *item;
	Outcome		outcome;

	if (request->status == 200 && read_outcome(request, &outcome))
	{
		lease = cJSON_GetArraySize(outcome.succeeded) > 0 ? call->lock_seconds : 0;
		cJSON_ArrayForEach(item, outcome.failed)
		{
			if (!is_lost(item))
				lease = soon;
		}
	}
	source_renewed(call->delivery, lease);
}

static void
eventgrid_settle(Delivery *delivery)
{
	send_tokens(delivery, "acknowledge", "", acknowledged);
}

static void
eventgrid_release(Delivery *delivery)
{
	send_tokens(delivery, "release", RELEASE_DELAY, released);
}

static void
eventgrid_renew(Delivery *delivery)
{
	send_tokens(delivery, "renewLock", "", renewed);
}

/* ----- check ----- */

/*
 * Acknowledges a token that nobody has: to be told so takes all that a
 * receive takes, but no event.
 */
#define NO_TOKEN	"{\"lockTokens\":[\"bm8gdG9rZW4=\"]}"

static void
checked(Call *call, HttpRequest *request)
{
	SourceCheck *check = call->check;
	SourceTrouble trouble;
	Fault		fault = {0};

	check_clock(check, request->date);
	if (request->status == 200)
		check_add(check, FINDING_OK, "queue", "the event subscription can be read", NULL);
	else
	{
		trouble = read_error(request, &fault);
		check_trouble(check, trouble, &fault);
	}
	check_end(check);
}

static void
eventgrid_check(SourceCheck *check)
{
	MemoryContext old = MemoryContextSwitchTo(check->context);
	Call	   *call = palloc0(sizeof(Call));

	call->source = check->source;
	call->check = check;
	call->context = check->context;
	call->operation = "acknowledge";
	call->query = "";
	call->done = checked;
	initStringInfo(&call->body);
	appendStringInfoString(&call->body, NO_TOKEN);
	MemoryContextSwitchTo(old);
	send_call(call);
}

const Provider eventgrid_provider = {
	.type = "eventgrid",
	.audience = "https://eventgrid.azure.net",
	.configure = eventgrid_configure,
	.receive = eventgrid_receive,
	.settle = eventgrid_settle,
	.release = eventgrid_release,
	.renew = eventgrid_renew,
	.check = eventgrid_check,
};
