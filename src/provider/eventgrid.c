/*
 * eventgrid.c
 *	  Azure Event Grid, namespace topics: pull delivery.
 *
 * A receive leases events for the lock time of their event subscription; they
 * are acknowledged together after the commit.  Events are taken out of the
 * reply as the bytes they are, each to be judged by itself: one beyond the
 * limits must not affect the others.  None is ever rejected, since the service
 * may drop it then; what cannot be read goes to the quarantine.
 *
 * The key signs tokens and is not sent.  A service's texts are never passed
 * on: codes are translated.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "base/fault.h"
#include "base/json.h"
#include "base/options.h"
#include "provider/call.h"
#include "provider/finding.h"
#include "provider/identity.h"
#include "provider/identity_azure.h"
#include "provider/source.h"
#include "provider/token.h"
#include "wire/http.h"
#include "wire/reply.h"
#include "wire/sign.h"
#include "wire/sign_azure.h"
#include "wire/url.h"

#define API_VERSION			"2024-06-01"
#define MAX_EVENTS			100
#define RECEIVES			4	/* in flight while they are full; each may bring 100 MB */
#define MIN_WAIT_SECONDS	10	/* the service takes no less */
#define MAX_WAIT_SECONDS	120
#define DEFAULT_WAIT_SECONDS 60
#define DEFAULT_LOCK_SECONDS 60

/*
 * Not at once: a server that restarts in a loop would use up the number of
 * deliveries within seconds.
 */
#define RELEASE_DELAY		"&releaseDelayInSeconds=10"

typedef struct EventGridConfig
{
	char	   *url;			/* of the event subscription */
	int			batch_size;
	int			lock_seconds;
	Token		token;			/* unless the source has an identity */
} EventGridConfig;

/* ----- options ----- */

/* https://host/topics/topic/eventsubscriptions/subscription */
static bool
subscription_url(const ServerOptions *options, char **url, Fault *fault)
{
	const char *endpoint = options_get(options, "endpoint");
	const char *topic = options_get(options, "topic");
	const char *subscription = options_get(options, "subscription");
	UrlParts   *parts;

	if (endpoint == NULL)
		return options_fault(fault, "option \"endpoint\" is not set");
	if (topic == NULL)
		return options_fault(fault, "option \"topic\" is not set");
	if (subscription == NULL)
		return options_fault(fault, "option \"subscription\" is not set");
	if (!url_parse(endpoint, &parts, fault) || !url_scheme_allowed(parts))
		return options_fault(fault, "the endpoint is not an https URL");
	/* that of a custom topic ends in /api/events and cannot be pulled from */
	if (strcmp(parts->path, "/") != 0 || parts->query != NULL)
		return options_fault(fault, "option \"endpoint\" is not a namespace's, of the form https://name.region-1.eventgrid.azure.net");
	*url = psprintf("%s://%s/topics/%s/eventsubscriptions/%s", parts->scheme, parts->host_header,
					sign_encoded(topic), sign_encoded(subscription));
	return true;
}

static char *
sign_token(const void *owner, const char *key, pg_time_t expires)
{
	return sign_event_grid(((const EventGridConfig *) owner)->url, key, expires);
}

static bool
load_keys(EventGridConfig *config, const ServerOptions *options, Fault *fault)
{
	static const char *const names[] = {"access_key", "secondary_access_key"};
	char	   *keys[lengthof(names)];

	for (int i = 0; i < (int) lengthof(names); i++)
	{
		keys[i] = options_keep_secret(options, names[i]);
		if (keys[i] == NULL && i == 0)
			return options_fault(fault, "user mapping has no \"%s\"", names[i]);
		if (keys[i] && sign_token(config, keys[i], 0) == NULL)
			return options_fault(fault, "\"%s\" of the user mapping is not base64", names[i]);
	}
	config->token = (Token) {
		.context = CurrentMemoryContext, .sign = sign_token, .owner = config,
		.keys = {keys[0], keys[1]}
	};
	return true;
}

static bool
eventgrid_configure(Source *source, const ServerOptions *options, Fault *fault)
{
	EventGridConfig *config = palloc0(sizeof(EventGridConfig));

	if (!subscription_url(options, &config->url, fault) ||
		!options_int_within(options, "batch_size", 1, MAX_EVENTS, MAX_EVENTS,
							&config->batch_size, fault) ||
		!options_int_within(options, "wait_seconds", MIN_WAIT_SECONDS, MAX_WAIT_SECONDS,
							DEFAULT_WAIT_SECONDS, &source->wait_seconds, fault) ||
		(source->identity == NULL && !load_keys(config, options, fault)))
		return false;
	config->lock_seconds = options_int(options, "lock_seconds", DEFAULT_LOCK_SECONDS);
	source->min_wait_seconds = MIN_WAIT_SECONDS;
	identity_set_service(source->identity, config->url);
	source->max_receives = RECEIVES;
	source->token = source->identity ? NULL : &config->token;
	source->config = config;
	return true;
}

/* ----- requests ----- */

static const char *
eventgrid_url(Call *call)
{
	return psprintf("%s:%s?api-version=" API_VERSION "%s",
					((EventGridConfig *) call->source->config)->url, call->path, call->query);
}

static void
eventgrid_sign(Call *call, HttpRequest *request)
{
	http_header(request, "accept", "application/json");
	if (call->body)
		http_header(request, "content-type", "application/json");
}

static void
prepare_receive(Call *call)
{
	const EventGridConfig *config = call->source->config;

	call->query = psprintf("&maxEvents=%d&maxWaitTime=%d", config->batch_size, call->wait_seconds);
	call->asked = config->batch_size;
	call->lease_seconds = config->lock_seconds;
}

/* The lock tokens of what is not settled. */
static void
prepare_tokens(Call *call)
{
	SourceMessage *message;
	StringInfoData body;
	int			at = -1;

	initStringInfo(&body);
	while ((message = source_unsettled(call->delivery, &at)) != NULL)
		appendStringInfo(&body, "%s%s", body.len > 0 ? "," : "{\"lockTokens\":[",
						 json_quoted(message->handle));
	appendStringInfoString(&body, "]}");
	call->body = body.data;
}

/*
 * Acknowledges a lock token that does not exist.  The answer to that needs the
 * same rights and settings as a receive, and takes no event.
 */
static void
prepare_check(Call *call)
{
	call->body = "{\"lockTokens\":[\"bm8gdG9rZW4=\"]}";
}

/* ----- replies ----- */

static void
take_event(Delivery *delivery, JsonSpan item)
{
	JsonSpan	properties;
	JsonSpan	event;
	const char *token = NULL;

	if (json_find(item, "brokerProperties", &properties))
		token = reply_text(reply_json(CurrentMemoryContext, properties.start, properties.len),
						   "lockToken");
	if (!json_find(item, "event", &event))
		event.start = NULL;
	(void) source_message(delivery, token, event.start, event.len);
}

static bool
received(Call *call)
{
	JsonSpan	reply = {call->request->reply, call->request->reply_len};
	JsonSpan	events;
	JsonSpan	item;
	Delivery   *delivery;

	if (!json_find(reply, "value", &events) || *events.start != '[')
		return false;
	delivery = source_delivery(call->source, call->lease_seconds);
	while (json_next(&events, NULL, &item))
		take_event(delivery, item);
	source_received(call->source, delivery, delivery->count >= call->asked);
	return true;
}

/*
 * What became of the lock tokens of one request, each in the array's elements.
 * False when the reply is none.
 */
static bool
read_outcome(const Call *call, const cJSON **succeeded, const cJSON **failed)
{
	cJSON	   *json = reply_json(call->context, call->request->reply, call->request->reply_len);

	*succeeded = cJSON_GetObjectItemCaseSensitive(json, "succeededLockTokens");
	*failed = cJSON_GetObjectItemCaseSensitive(json, "failedLockTokens");
	return cJSON_IsArray(*succeeded) && cJSON_IsArray(*failed);
}

/*
 * The lock ran out, or is not known any more: the event comes again.  Failures
 * are told in one of two shapes, by the version of the service.
 */
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

/* What is lost is stored, and will come again as a duplicate. */
static bool
acknowledged(Call *call)
{
	const cJSON *succeeded;
	const cJSON *failed;
	const cJSON *item;

	if (!read_outcome(call, &succeeded, &failed))
		return false;
	cJSON_ArrayForEach(item, succeeded)
		mark_settled(call->delivery, cJSON_GetStringValue(item));
	cJSON_ArrayForEach(item, failed)
	{
		if (is_lost(item))
			mark_settled(call->delivery, reply_text(item, "lockToken"));
	}
	return true;
}

/* Lost locks are not renewed again; if all are lost, nothing is. */
static bool
renewed(Call *call)
{
	bool		complete = true;
	const cJSON *succeeded;
	const cJSON *failed;
	const cJSON *item;

	if (!read_outcome(call, &succeeded, &failed))
		return false;
	cJSON_ArrayForEach(item, failed)
		complete &= is_lost(item);
	if (complete && cJSON_GetArraySize(succeeded) == 0)
		call->delivery->lease_seconds = 0;
	return complete;
}

static bool
checked(Call *call)
{
	if (call->request->status != 200)
		return false;
	finding_add(call->findings, FINDING_OK, "queue", "the event subscription can be read", NULL);
	return true;
}

/* ----- the service ----- */

static const ServiceError errors[] = {
	{400, NULL, TROUBLE_CONFIGURATION, "the service refuses an option's value"},
	{401, NULL, TROUBLE_CREDENTIALS, "the access key or token is not valid"},
	{403, NULL, TROUBLE_CREDENTIALS, "the access key or token has no right to receive, or the network is not let in"},
	{404, NULL, TROUBLE_CONFIGURATION, "the topic or its event subscription does not exist"},
	{429, NULL, TROUBLE_THROTTLED, "the service asks to slow down"},
	{503, NULL, TROUBLE_TRANSIENT, "the service asks to slow down"},
	{0}
};

static void
read_error(const HttpRequest *request, const char **code, const char **request_id)
{
	const cJSON *json = reply_json(CurrentMemoryContext, request->reply, request->reply_len);
	const cJSON *error = cJSON_GetObjectItemCaseSensitive(json, "error");

	*code = reply_text(error, "code");
	*request_id = reply_text(error, "tracking_id");
}

const Service eventgrid_service = {
	.provider = {
		.type = "eventgrid",
		.ways = identity_azure_ways,
		.audience = "https://eventgrid.azure.net",
		.configure = eventgrid_configure,
		CALL_FUNCTIONS
	},
	.operations = {
		[CALL_RECEIVE] = {"POST", "receive", "", prepare_receive, received},
		[CALL_SETTLE] = {"POST", "acknowledge", "", prepare_tokens, acknowledged},
		[CALL_RENEW] = {"POST", "renewLock", "", prepare_tokens, renewed},
		[CALL_RELEASE] = {"POST", "release", RELEASE_DELAY, prepare_tokens, NULL},
		[CALL_CHECK] = {"POST", "acknowledge", "", prepare_check, checked},
	},
	.errors = errors,
	.max_reply = 128 * 1024 * 1024, /* a hundred events of 1 MB */
	.answer_ms = 15000,
	.url = eventgrid_url,
	.sign = eventgrid_sign,
	.read_error = read_error,
};
