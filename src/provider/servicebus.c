/*
 * servicebus.c
 *	  Azure Service Bus: peek-lock over HTTPS, complete after the commit.
 *
 * A receive brings one message, so that several are in flight while messages
 * come.  A lock is renewed while its message waits to be stored, and otherwise
 * runs out: giving a message back would cost it a delivery at once, and after
 * ten of them (the default) it is in the dead-letter queue.
 *
 * Requests go to the configured host alone.  The URI of a lock is built from
 * the message's number and lock token; "Location" is not followed, since the
 * token would travel with it.
 *
 * A server's error text is never passed on.  Status and text are translated.
 */
#include "postgres.h"

#include <ctype.h>

#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "utils/memutils.h"

#include "base/json.h"
#include "base/secret.h"
#include "base/uuid.h"
#include "door/check.h"
#include "provider/identity.h"
#include "provider/source.h"
#include "wire/http.h"
#include "wire/sign.h"
#include "wire/url.h"

#define RECEIVERS			8
#define WAIT_SECONDS		20
#define WAIT_SECONDS_MAX	60
#define ANSWER_MS			15000	/* beyond the long poll */
#define MAX_MESSAGE			(64 * 1024 * 1024)
#define MAX_PROPERTIES		(64 * 1024)
#define TOKEN_SECONDS		3600	/* a token is valid so long, */
#define TOKEN_DUE_SECONDS	(TOKEN_SECONDS / 5 * 4) /* and used so long */
#define LOCK_SECONDS		60	/* of an entity, unless a message tells */
#define LOCK_SECONDS_MAX	300
#define THROTTLED_SECONDS	2	/* to wait when the service does not say */
#define DEAD_LETTERS		"/$deadletterqueue"

typedef struct BusConfig
{
	char	   *root;			/* of all requests: "https://host/entity/messages/" */
	char	   *resource;		/* what tokens are for: "https://host/entity" */
	int			receivers;
	int			lock_seconds;	/* as the last message told */

	char	   *policy;			/* NULL: the token is somebody else's */
	char	   *keys[2];		/* the second may be NULL */
	int			key;			/* the one in use */

	char	   *token;			/* value of "Authorization" */
	int			token_number;
	pg_time_t	token_due;		/* to be replaced then */
	int			refusals;		/* of tokens, in a row */
} BusConfig;

/* A request on its way. */
typedef struct BusCall
{
	Source	   *source;
	Delivery   *delivery;		/* what is settled or renewed, or NULL */
	SourceCheck *check;			/* who asks, or NULL */
	MemoryContext context;
	int			wait_seconds;	/* of a receive */
	int			token_number;	/* it was sent with this token */
	int			refusals;
} BusCall;

static void bus_received(HttpRequest *request, void *arg);
static void bus_settled(HttpRequest *request, void *arg);
static void bus_renewed(HttpRequest *request, void *arg);

static bool
config_fault(Fault *fault, const char *problem)
{
	return fault_set(fault, ERRCODE_INVALID_PARAMETER_VALUE, REASON_CONFIGURATION, "%s", problem);
}

/* ----- connection strings ----- */

typedef struct ConnectionString
{
	char	   *endpoint;
	char	   *entity;
	char	   *policy;
	char	   *key;
	char	   *signature;
	char	   *emulator;
} ConnectionString;

static const struct
{
	const char *name;
	Size		offset;
}			string_parts[] = {
	{"Endpoint", offsetof(ConnectionString, endpoint)},
	{"EntityPath", offsetof(ConnectionString, entity)},
	{"SharedAccessKeyName", offsetof(ConnectionString, policy)},
	{"SharedAccessKey", offsetof(ConnectionString, key)},
	{"SharedAccessSignature", offsetof(ConnectionString, signature)},
	{"UseDevelopmentEmulator", offsetof(ConnectionString, emulator)},
};

static void
trim(const char **text, Size *len)
{
	while (*len > 0 && isspace((unsigned char) **text))
		(*text)++, (*len)--;
	while (*len > 0 && isspace((unsigned char) (*text)[*len - 1]))
		(*len)--;
}

/* One "Name=value"; names that mean nothing here are passed over. */
static bool
take_pair(ConnectionString *parts, const char *pair, Size len, Fault *fault)
{
	const char *value = memchr(pair, '=', len);
	Size		name_len;
	Size		value_len;

	/* what stands there may be a key: it is not quoted */
	if (value == NULL)
		return config_fault(fault, "connection string has a part that is not of the form Name=value");
	name_len = value - pair;
	value++;
	value_len = len - name_len - 1;
	trim(&pair, &name_len);
	trim(&value, &value_len);
	for (int i = 0; i < (int) lengthof(string_parts); i++)
	{
		char	  **part = (char **) ((char *) parts + string_parts[i].offset);

		if (strlen(string_parts[i].name) != name_len ||
			pg_strncasecmp(string_parts[i].name, pair, name_len) != 0)
			continue;
		if (*part != NULL)
			return fault_set(fault, ERRCODE_INVALID_PARAMETER_VALUE, REASON_CONFIGURATION,
							 "connection string has %s twice", string_parts[i].name);
		if (value_len == 0)
			return fault_set(fault, ERRCODE_INVALID_PARAMETER_VALUE, REASON_CONFIGURATION,
							 "connection string has an empty %s", string_parts[i].name);
		*part = secret_keep(value, value_len);
	}
	return true;
}

static bool
read_connection_string(const char *text, ConnectionString *parts, Fault *fault)
{
	while (*text != '\0')
	{
		const char *pair = text;
		Size		len = strcspn(text, ";");

		text += len;
		if (*text == ';')
			text++;
		trim(&pair, &len);
		if (len > 0 && !take_pair(parts, pair, len, fault))
			return false;
	}
	if (parts->emulator && pg_strcasecmp(parts->emulator, "false") != 0)
		return config_fault(fault, "connection string is for the emulator, which cannot be read over HTTP");
	return true;
}

/* ----- options ----- */

/* "sb://host/" or "https://host/" becomes "https://host". */
static bool
read_endpoint(const char *endpoint, char **base, Fault *fault)
{
	bool		is_sb = pg_strncasecmp(endpoint, "sb://", 5) == 0;
	UrlParts   *parts;

	if (is_sb)
		endpoint = psprintf("https://%s", endpoint + 5);
	if (!url_parse(endpoint, &parts, fault) || !url_scheme_allowed(parts))
		return config_fault(fault, "the endpoint is not of the form https://host or sb://host");
	if (strcmp(parts->path, "/") != 0 || parts->query != NULL)
		return config_fault(fault, "the endpoint names more than a host; queues and subscriptions are named by option \"entity\"");
	/* a port behind sb:// is that of another protocol */
	*base = psprintf("%s://%s", parts->scheme, is_sb ? parts->host : parts->host_header);
	return true;
}

/* An endpoint on loopback stands in for the one of the connection string. */
static bool
choose_base(const char *option, const char *string_part, char **base, Fault *fault)
{
	char	   *other = NULL;

	if (option == NULL && string_part == NULL)
		return config_fault(fault, "option \"endpoint\" is not set");
	if (!read_endpoint(option ? option : string_part, base, fault))
		return false;
	if (option && string_part && !read_endpoint(string_part, &other, fault))
		return false;
	if (other && strncmp(*base, "https:", 6) == 0 && strcmp(*base, other) != 0)
		return config_fault(fault, "option \"endpoint\" and the connection string name different hosts");
	return true;
}

/* Is this the entity, or something below it, such as a subscription? */
static bool
is_within(const char *entity, const char *outer)
{
	Size		len = strlen(outer);

	return pg_strncasecmp(entity, outer, len) == 0 &&
		(entity[len] == '\0' || entity[len] == '/');
}

static bool
choose_entity(const char *option, const char *string_part, const char **entity, Fault *fault)
{
	*entity = option ? option : string_part;
	if (*entity == NULL)
		return config_fault(fault, "option \"entity\" is not set");
	if (option && string_part && !is_within(option, string_part))
		return config_fault(fault, "option \"entity\" is not within EntityPath of the connection string");
	return true;
}

/* "/topic/subscriptions/a%20b" of "topic/subscriptions/a b", or NULL. */
static char *
entity_path(const char *entity)
{
	StringInfoData path;

	initStringInfo(&path);
	for (;;)
	{
		Size		len = strcspn(entity, "/");
		char	   *name = pnstrdup(entity, len);

		if (len == 0 || name[strcspn(name, "\\?#%\"<>")] != '\0' ||
			strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
			return NULL;
		for (const char *at = name; *at; at++)
		{
			if (*at < ' ' || *at >= 0x7f)
				return NULL;
		}
		appendStringInfoChar(&path, '/');
		sign_append_encoded(&path, name);
		if (entity[len] == '\0')
			return path.data;
		entity += len + 1;
	}
}

/* A token for a queue also opens its dead letters, whose path is not encoded. */
static bool
set_uris(BusConfig *config, const char *base, const char *entity, Fault *fault)
{
	Size		len = strlen(entity);
	Size		suffix = strlen(DEAD_LETTERS);
	bool		dead_letters = len > suffix && pg_strcasecmp(entity + len - suffix, DEAD_LETTERS) == 0;
	char	   *main = pnstrdup(entity, dead_letters ? len - suffix : len);
	char	   *path = entity_path(main);

	if (path == NULL)
		return config_fault(fault, "option \"entity\" is not of the form queue or topic/subscriptions/name");
	config->resource = psprintf("%s/%s", base, main);
	config->root = psprintf("%s%s%s/messages/", base, path, dead_letters ? DEAD_LETTERS : "");
	return true;
}

static void
wipe_token(void *arg)
{
	BusConfig  *config = arg;

	if (config->token)
		explicit_bzero(config->token, strlen(config->token));
}

/* It becomes a header as it stands. */
static bool
set_ready_token(BusConfig *config, const char *token, Fault *fault)
{
	bool		clean = strncmp(token, "SharedAccessSignature ", 22) == 0;

	for (const char *at = token; *at; at++)
		clean &= *at >= ' ' && *at < 0x7f;
	if (!clean)
		return config_fault(fault, "SharedAccessSignature of the connection string is not of the form SharedAccessSignature sr=...");
	config->token = pstrdup(token);
	return true;
}

static bool
set_credentials(BusConfig *config, const ServerOptions *options, const ConnectionString *string,
				Fault *fault)
{
	bool		whole = options_secret(options, "connection_string") != NULL;

	config->policy = options_keep_secret(options, "shared_access_key_name");
	config->keys[0] = options_keep_secret(options, "shared_access_key");
	config->keys[1] = options_keep_secret(options, "secondary_access_key");
	if (whole && (config->policy || config->keys[0]))
		return config_fault(fault, "user mapping has both \"connection_string\" and \"shared_access_key_name\" or \"shared_access_key\"");
	if (string->signature && (string->policy || string->key || config->keys[1]))
		return config_fault(fault, "connection string has SharedAccessSignature, which does not go with a key");
	if (string->signature)
		return set_ready_token(config, string->signature, fault);
	if (whole)
	{
		config->policy = string->policy;
		config->keys[0] = string->key;
	}
	if (config->policy == NULL || config->keys[0] == NULL)
		return config_fault(fault, whole
							? "connection string has no SharedAccessKeyName or no SharedAccessKey"
							: "user mapping has no \"shared_access_key_name\" or no \"shared_access_key\"");
	return true;
}

static bool
bus_configure(Source *source, const ServerOptions *options, Fault *fault)
{
	BusConfig  *config = palloc0(sizeof(BusConfig));
	MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));
	const char *text = options_secret(options, "connection_string");
	ConnectionString string = {0};
	const char *entity;
	char	   *base;

	callback->func = wipe_token;
	callback->arg = config;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	if (text && !read_connection_string(text, &string, fault))
		return false;
	if (!choose_base(options_get(options, "endpoint"), string.endpoint, &base, fault) ||
		!choose_entity(options_get(options, "entity"), string.entity, &entity, fault) ||
		!set_uris(config, base, entity, fault) ||
		(source->identity == NULL && !set_credentials(config, options, &string, fault)))
		return false;
	if (!options_int_within(options, "wait_seconds", 0, WAIT_SECONDS_MAX, WAIT_SECONDS,
							&source->wait_seconds, fault))
		return false;
	config->receivers = options_int(options, "receivers", RECEIVERS);
	config->lock_seconds = LOCK_SECONDS;
	source->max_receives = 1;
	source->config = config;
	return true;
}

/* ----- tokens ----- */

static void
replace_token(Source *source)
{
	BusConfig  *config = source->config;
	pg_time_t	now = source_time(source);
	char	   *token = sign_service_bus(config->resource, config->policy,
										 config->keys[config->key], now + TOKEN_SECONDS);

	wipe_token(config);
	if (config->token)
		pfree(config->token);
	config->token = MemoryContextStrdup(source->config_context, token);
	explicit_bzero(token, strlen(token));
	config->token_number++;
	config->token_due = now + TOKEN_DUE_SECONDS;
}

/* Tells a token of Entra ID from the one before it. */
static int
bearer_number(const Source *source)
{
	const char *bearer = identity_bearer(source->identity);

	return (int) hash_bytes((const unsigned char *) bearer, strlen(bearer));
}

/* Signs in; the only place that knows how. */
static void
authorize(HttpRequest *request, BusCall *call)
{
	BusConfig  *config = call->source->config;

	if (call->source->identity)
	{
		char	   *bearer = psprintf("Bearer %s", identity_bearer(call->source->identity));

		call->token_number = bearer_number(call->source);
		http_header(request, "Authorization", bearer);
		explicit_bzero(bearer, strlen(bearer));
		return;
	}
	if (config->policy && (config->token == NULL || source_time(call->source) >= config->token_due))
		replace_token(call->source);
	call->token_number = config->token_number;
	http_header(request, "Authorization", config->token);
}

/*
 * After a 401: a new token with the service's time, then with the other key.
 * Requests that were in flight with the same token count once.  False when
 * this request has tried them all.
 */
static bool
try_another_token(BusCall *call, const HttpRequest *request)
{
	BusConfig  *config = call->source->config;

	if (!call->source->configured)
		return false;
	/* one of Entra ID is asked for elsewhere, and may be here meanwhile */
	if (call->source->identity)
		return identity_usable(call->source->identity) && call->refusals++ == 0 &&
			call->token_number != bearer_number(call->source);
	if (config->policy == NULL)
		return false;
	if (call->token_number == config->token_number)
	{
		(void) source_correct_clock(call->source, request->date);
		if (config->refusals++ > 0 && config->keys[1])
			config->key = !config->key;
		replace_token(call->source);
	}
	return call->refusals++ < (config->keys[1] ? 2 : 1);
}

/*
 * What every reply tells.  A token may live too long, but not too short: only
 * a service that is ahead matters.  One that seems behind may be a reply that
 * had to wait for us.
 */
static void
hear(BusCall *call, const HttpRequest *request)
{
	Source	   *source = call->source;

	if (!source->configured || request->status / 100 != 2)
		return;
	((BusConfig *) source->config)->refusals = 0;
	if (request->date > source_time(source))
		(void) source_correct_clock(source, request->date);
}

/* ----- requests ----- */

static void
send_request(BusCall *call, const char *method, const char *path, int wait_seconds, HttpDone done)
{
	const BusConfig *config = call->source->config;
	MemoryContext old = MemoryContextSwitchTo(call->context);
	HttpRequest *request = http_request(call->source->http, method,
										psprintf("%s%s", config->root, path));

	/* the service wants a length with every POST, and no type of nothing */
	if (strcmp(method, "POST") == 0)
	{
		request->body = "";
		http_header(request, "Content-Type", "");
	}
	request->max_bytes = MAX_MESSAGE;
	request->timeout_ms = wait_seconds * 1000 + ANSWER_MS;
	request->silence_seconds = wait_seconds;
	authorize(request, call);
	MemoryContextSwitchTo(old);
	http_start(request, done, call);
}

static void
start_receive(BusCall *call)
{
	MemoryContext old = MemoryContextSwitchTo(call->context);

	send_request(call, "POST", psprintf("head?timeout=%d", call->wait_seconds),
				 call->wait_seconds, bus_received);
	MemoryContextSwitchTo(old);
}

static void
bus_receive(Source *source, int wait_seconds)
{
	MemoryContext context = AllocSetContextCreate(source->context, "damoov service bus receive",
												  ALLOCSET_SMALL_SIZES);
	BusCall    *call = MemoryContextAllocZero(context, sizeof(BusCall));

	call->source = source;
	call->context = context;
	call->wait_seconds = wait_seconds;
	start_receive(call);
}

/* The lock of a message: completed by DELETE, renewed by POST. */
static void
send_to_lock(Delivery *delivery, const char *method, HttpDone done)
{
	BusCall    *call = MemoryContextAllocZero(delivery->context, sizeof(BusCall));

	call->source = delivery->source;
	call->delivery = delivery;
	call->context = delivery->context;
	send_request(call, method, delivery->messages[0].handle, 0, done);
}

static void
bus_settle(Delivery *delivery)
{
	send_to_lock(delivery, "DELETE", bus_settled);
}

static void
bus_renew(Delivery *delivery)
{
	send_to_lock(delivery, "POST", bus_renewed);
}

static void
bus_release(Delivery *delivery)
{
	/* see the top of this file */
	source_released(delivery);
}

/* ----- errors ----- */

typedef struct BusError
{
	int			status;			/* 0: any */
	const char *mark;			/* stands in the text */
	SourceTrouble trouble;
	const char *words;
} BusError;

#define NO_ENTITY	"the entity does not exist; option \"entity\" names a queue, or a subscription as topic/subscriptions/name"

/* The first that fits.  The text only chooses words, it decides nothing. */
static const BusError errors[] = {
	{0, "requires sessions", TROUBLE_CONFIGURATION, "the entity requires sessions, which the service does not offer over HTTP"},
	{400, "", TROUBLE_CONFIGURATION, "the service finds the request malformed"},
	{401, "ExpiredToken", TROUBLE_CREDENTIALS, "the token has expired"},
	{401, "ignature", TROUBLE_CREDENTIALS, "the signature was refused; the shared access key is wrong"},
	{401, "Listen", TROUBLE_CREDENTIALS, "the shared access policy has no \"Listen\" claim"},
	{401, "", TROUBLE_CREDENTIALS, "the shared access policy or its key was refused"},
	{403, "", TROUBLE_CREDENTIALS, "access was refused: a network rule forbids it, or a quota is used up"},
	{404, "", TROUBLE_CONFIGURATION, NO_ENTITY},
	{410, "", TROUBLE_CONFIGURATION, NO_ENTITY},
	{429, "", TROUBLE_TRANSIENT, "the service asks to slow down"},
	{503, "", TROUBLE_TRANSIENT, "the service asks to slow down"},
};

static const BusError *
find_error(const HttpRequest *request)
{
	static const BusError transient = {0, "", TROUBLE_TRANSIENT, "the service failed"};
	static const BusError refused = {0, "", TROUBLE_CONFIGURATION, "the service refused the request"};

	for (int i = 0; i < (int) lengthof(errors); i++)
	{
		if ((errors[i].status == 0 || errors[i].status == request->status) &&
			strstr(request->reply, errors[i].mark))
			return &errors[i];
	}
	return http_status_is_transient(request->status) ? &transient : &refused;
}

/* The service's name for a request, out of "...TrackingId:name_G21,TimeStamp:..." */
static char *
tracking_id(const char *text)
{
	const char *id = strstr(text, "TrackingId:");
	Size		len;

	if (id == NULL)
		return NULL;
	id += strlen("TrackingId:");
	len = strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-");
	return len > 0 && len < 64 ? pnstrdup(id, len) : NULL;
}

/* Fills the fault for a reply that is no success. */
static const BusError *
read_error(const HttpRequest *request, Fault *fault)
{
	const BusError *error = find_error(request);
	const char *id = tracking_id(request->reply);

	fault_set(fault, ERRCODE_CONNECTION_FAILURE, REASON_PROVIDER, "%s (HTTP status %d)",
			  error->words, request->status);
	if (id)
		fault->detail = psprintf("The service calls this request \"%s\".", id);
	return error;
}

/* The message is not ours any more: it comes again, or was settled before. */
static bool
lock_is_lost(const HttpRequest *request)
{
	return request->status == 404 || request->status == 409 || request->status == 410;
}

/* ----- replies ----- */

typedef struct BrokerProperties
{
	int64		sequence_number;
	bool		has_number;
	pg_uuid_t	lock_token;
	bool		has_token;
	pg_time_t	locked_until;	/* 0: not told */
} BrokerProperties;

static void
on_property(JsonWalk *walk, char *text, JsonTokenType type)
{
	BrokerProperties *properties = walk->state;
	const char *name = json_name(walk, 1);

	if (walk->depth != 1)
		return;
	if (strcmp(name, "SequenceNumber") == 0 && type == JSON_TOKEN_NUMBER)
		properties->has_number = json_int64(text, &properties->sequence_number);
	else if (strcmp(name, "LockToken") == 0 && type == JSON_TOKEN_STRING)
		properties->has_token = uuid_parse(text, &properties->lock_token);
	else if (strcmp(name, "LockedUntilUtc") == 0 && type == JSON_TOKEN_STRING)
		properties->locked_until = http_date(text);
}

/* Nothing of it that matters here is other than ASCII, whatever the encoding. */
static bool
read_properties(const HttpRequest *request, BrokerProperties *properties)
{
	static const JsonVisitor visitor = {.scalar = on_property};
	const char *header = http_reply_header(request, "BrokerProperties");
	Fault		fault = {0};
	char	   *text;

	memset(properties, 0, sizeof(*properties));
	if (header == NULL)
		return false;
	text = pstrdup(header);
	for (char *at = text; *at; at++)
	{
		if (IS_HIGHBIT_SET(*at))
			*at = '?';
	}
	return json_walk(text, strlen(text), MAX_PROPERTIES, &visitor, properties, &fault) &&
		properties->has_number && properties->has_token;
}

/* Both times are the service's. */
static int
lock_seconds(const HttpRequest *request, const BrokerProperties *properties)
{
	if (properties->locked_until == 0 || request->date == 0)
		return LOCK_SECONDS;
	return (int) Max(1, Min(properties->locked_until - request->date, LOCK_SECONDS_MAX));
}

static void
take_message(BusCall *call, const HttpRequest *request, const BrokerProperties *properties)
{
	Source	   *source = call->source;
	Delivery   *delivery = source_delivery(source, 1);
	SourceMessage *message = &delivery->messages[0];
	int			lease = lock_seconds(request, properties);
	char		token[UUID_TEXT_SIZE];

	message->body = MemoryContextAlloc(delivery->context, request->reply_len + 1);
	memcpy(message->body, request->reply, request->reply_len);
	message->body[request->reply_len] = '\0';
	message->body_len = request->reply_len;
	message->handle = MemoryContextStrdup(delivery->context,
										  psprintf(INT64_FORMAT "/%s", properties->sequence_number,
												   uuid_format(&properties->lock_token, token)));
	delivery->count = 1;
	delivery->renew_at_ms = source_renew_at_ms(lease);
	if (source->configured)
		((BusConfig *) source->config)->lock_seconds = lease;
	source_received(source, delivery, true);
}

/* One more with every message: few of them do not cost many empty receives. */
static void
set_receives(Source *source, bool empty)
{
	if (source->configured)
		source->max_receives = empty ? 1
			: Min(((BusConfig *) source->config)->receivers, source->max_receives + 1);
}

static void
receive_succeeded(BusCall *call, const HttpRequest *request)
{
	Source	   *source = call->source;
	BrokerProperties properties;
	Fault		fault = {0};

	set_receives(source, request->status == 204);
	if (request->status == 204)
		source_received(source, source_delivery(source, 0), false);
	else if (read_properties(request, &properties))
		take_message(call, request, &properties);
	else
	{
		/* cannot be settled; comes again when its lock has run out */
		fault_set(&fault, ERRCODE_CONNECTION_FAILURE, REASON_PROVIDER,
				  "the reply could not be understood");
		source_failed(source, TROUBLE_TRANSIENT, -1, &fault);
	}
}

/* True when it is under way once more. */
static bool
receive_failed(BusCall *call, const HttpRequest *request)
{
	Fault		fault = {0};
	const BusError *error;
	int			wait_s = request->retry_after_s;

	if (request->status == 0)
	{
		source_failed(call->source, TROUBLE_TRANSIENT, -1, &request->fault);
		return false;
	}
	if (request->status == 401 && try_another_token(call, request))
	{
		start_receive(call);
		return true;
	}
	if (wait_s < 0 && (request->status == 429 || request->status == 503))
		wait_s = THROTTLED_SECONDS;
	error = read_error(request, &fault);
	source_failed(call->source, error->trouble, wait_s, &fault);
	return false;
}

static void
bus_received(HttpRequest *request, void *arg)
{
	BusCall    *call = arg;
	MemoryContext old = MemoryContextSwitchTo(call->context);
	bool		again = false;

	hear(call, request);
	if (request->status == 201 || request->status == 204)
		receive_succeeded(call, request);
	else
		again = receive_failed(call, request);
	MemoryContextSwitchTo(old);
	http_free(request);
	if (!again)
		MemoryContextDelete(call->context);
}

static void
bus_settled(HttpRequest *request, void *arg)
{
	BusCall    *call = arg;
	Delivery   *delivery = call->delivery;
	MemoryContext old = MemoryContextSwitchTo(delivery->context);
	const char *problem = NULL;
	Fault		fault = {0};

	hear(call, request);
	if (request->status / 100 == 2 || lock_is_lost(request))
		delivery->messages[0].settled = true;
	else if (request->status == 0)
		problem = pstrdup(request->fault.message);
	else
	{
		if (request->status == 401)
			(void) try_another_token(call, request);
		read_error(request, &fault);
		problem = fault.message;
	}
	MemoryContextSwitchTo(old);
	http_free(request);
	source_settled(delivery, problem);
}

static void
bus_renewed(HttpRequest *request, void *arg)
{
	BusCall    *call = arg;
	Delivery   *delivery = call->delivery;
	MemoryContext old = MemoryContextSwitchTo(delivery->context);
	int			lease = 0;

	hear(call, request);
	if (call->source->configured && !lock_is_lost(request))
		lease = ((BusConfig *) call->source->config)->lock_seconds;
	if (request->status == 401)
		(void) try_another_token(call, request);
	/* what failed is tried again while the lock still holds */
	if (request->status / 100 != 2 && lease > 0)
		lease = Max(1, lease / 2);
	MemoryContextSwitchTo(old);
	http_free(request);
	source_renewed(delivery, lease);
}

/* ----- check ----- */

static void bus_checked(HttpRequest *request, void *arg);

/*
 * Asks for a lock that nobody has.  To be told so takes everything that a
 * receive takes, but no message.
 */
static void
ask_for_no_lock(BusCall *call)
{
	send_request(call, "POST", "0/00000000-0000-0000-0000-000000000000", 0, bus_checked);
}

static void
bus_checked(HttpRequest *request, void *arg)
{
	BusCall    *call = arg;
	SourceCheck *check = call->check;
	Fault		fault = {0};
	const BusError *error;

	if (request->status == 401 && try_another_token(call, request))
	{
		http_free(request);
		ask_for_no_lock(call);
		return;
	}
	check_clock(check, request->date);
	if (request->status == 0)
		check_trouble(check, TROUBLE_TRANSIENT, &request->fault);
	else if (request->status == 200 ||
			 (lock_is_lost(request) && strstr(request->reply, "No service is hosted") == NULL))
		check_add(check, FINDING_OK, "queue", "the entity can be read", NULL);
	else
	{
		error = read_error(request, &fault);
		check_trouble(check, error->trouble, &fault);
	}
	http_free(request);
	check_end(check);
}

static void
bus_check(SourceCheck *check)
{
	BusCall    *call = MemoryContextAllocZero(check->context, sizeof(BusCall));

	call->source = check->source;
	call->check = check;
	call->context = check->context;
	ask_for_no_lock(call);
}

const Provider servicebus_provider = {
	.type = "servicebus",
	.audience = "https://servicebus.azure.net",
	.configure = bus_configure,
	.receive = bus_receive,
	.settle = bus_settle,
	.release = bus_release,
	.renew = bus_renew,
	.check = bus_check,
};
