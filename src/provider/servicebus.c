/*
 * servicebus.c
 *	  Azure Service Bus: peek-lock over HTTPS, complete after the commit.
 *
 * A receive brings one message, so that several are in flight while messages
 * come.  A lock is renewed while its message waits to be stored, and otherwise
 * runs out: giving a message back would count as a delivery at once, and after
 * ten deliveries (the default) it is moved to the dead-letter queue.
 *
 * Requests go to the configured host alone.  The URI of a lock is built from
 * the message's number and lock token; "Location" is not followed, since the
 * token would travel with it.
 *
 * A server's error text is never passed on.  Status and text are translated.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "base/fault.h"
#include "base/json.h"
#include "base/options.h"
#include "base/secret.h"
#include "base/uuid.h"
#include "provider/call.h"
#include "provider/connection_string.h"
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

#define RECEIVERS			8
#define WAIT_SECONDS		20
#define WAIT_SECONDS_MAX	60
#define LOCK_SECONDS		60	/* of an entity, unless a message tells */
#define LOCK_SECONDS_MAX	300
#define DEAD_LETTERS		"/$deadletterqueue"
#define API_VERSION			"2021-05"	/* of descriptions */

/*
 * A lock that nobody has.  To be told so takes everything that a receive
 * takes, but no message.
 */
#define NO_LOCK				"0/00000000-0000-0000-0000-000000000000"

typedef struct BusConfig
{
	char	   *root;			/* of all requests: "https://host/entity/messages/" */
	char	   *resource;		/* what tokens are for: "https://host/entity" */
	char	   *description;	/* URL of that of the entity */
	const char *counted;		/* what waits, in the description */
	int			receivers;
	char	   *policy;			/* of the keys */
	Token		token;
} BusConfig;

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
		return options_fault(fault, "the endpoint is not of the form https://host or sb://host");
	if (strcmp(parts->path, "/") != 0 || parts->query != NULL)
		return options_fault(fault, "the endpoint names more than a host; queues and subscriptions are named by option \"entity\"");
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
		return options_fault(fault, "option \"endpoint\" is not set");
	if (!read_endpoint(option ? option : string_part, base, fault))
		return false;
	if (option && string_part && !read_endpoint(string_part, &other, fault))
		return false;
	if (other && strncmp(*base, "https:", 6) == 0 && strcmp(*base, other) != 0)
		return options_fault(fault, "option \"endpoint\" and the connection string name different hosts");
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
		return options_fault(fault, "option \"entity\" is not set");
	if (option && string_part && !is_within(option, string_part))
		return options_fault(fault, "option \"entity\" is not within EntityPath of the connection string");
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
		return options_fault(fault, "option \"entity\" is not of the form queue or topic/subscriptions/name");
	config->resource = psprintf("%s/%s", base, main);
	config->root = psprintf("%s%s%s/messages/", base, path, dead_letters ? DEAD_LETTERS : "");
	config->description = psprintf("%s%s?api-version=" API_VERSION, base, path);
	config->counted = dead_letters ? "DeadLetterMessageCount>" : "ActiveMessageCount>";
	return true;
}

static char *
sign_token(const void *owner, const char *key, pg_time_t expires)
{
	const BusConfig *config = owner;

	return sign_service_bus(config->resource, config->policy, key, expires);
}

/* It becomes a header as it stands. */
static bool
set_ready_token(BusConfig *config, const char *token, Fault *fault)
{
	bool		clean = strncmp(token, "SharedAccessSignature ", 22) == 0;

	for (const char *at = token; *at; at++)
		clean &= *at >= ' ' && *at < 0x7f;
	if (!clean)
		return options_fault(fault, "SharedAccessSignature of the connection string is not of the form SharedAccessSignature sr=...");
	config->token.text = secret_keep(token, strlen(token));
	return true;
}

static bool
set_credentials(BusConfig *config, const ServerOptions *options, const char *string, Fault *fault)
{
	char	   *policy = options_keep_secret(options, "shared_access_key_name");
	char	   *keys[2] = {
		options_keep_secret(options, "shared_access_key"),
		options_keep_secret(options, "secondary_access_key")
	};
	const char *signature = connection_string_get(string, "SharedAccessSignature", ";");

	if (string)
	{
		if (policy || keys[0])
			return options_fault(fault, "user mapping has both \"connection_string\" and \"shared_access_key_name\" or \"shared_access_key\"");
		policy = connection_string_get(string, "SharedAccessKeyName", ";");
		keys[0] = connection_string_get(string, "SharedAccessKey", ";");
	}
	if (signature && (policy || keys[0] || keys[1]))
		return options_fault(fault, "connection string has SharedAccessSignature, which does not go with a key");
	if (signature)
		return set_ready_token(config, signature, fault);
	if (policy == NULL || keys[0] == NULL)
		return options_fault(fault, "%s", string
							 ? "connection string has no SharedAccessKeyName or no SharedAccessKey"
							 : "user mapping has no \"shared_access_key_name\" or no \"shared_access_key\"");
	config->policy = policy;
	config->token = (Token) {
		.context = CurrentMemoryContext, .sign = sign_token, .owner = config,
		.keys = {keys[0], keys[1]}
	};
	return true;
}

static bool
check_connection_string(const char *string, Fault *fault)
{
	static const char *const names[] = {
		"Endpoint", "EntityPath", "SharedAccessKeyName", "SharedAccessKey",
		"SharedAccessSignature", "UseDevelopmentEmulator", NULL
	};
	const char *emulator = connection_string_get(string, "UseDevelopmentEmulator", ";");

	if (!connection_string_check(string, names, fault))
		return false;
	if (emulator && pg_strcasecmp(emulator, "false") != 0)
		return options_fault(fault, "connection string is for the emulator, which cannot be read over HTTP");
	return true;
}

static bool
bus_configure(Source *source, const ServerOptions *options, Fault *fault)
{
	BusConfig  *config = palloc0(sizeof(BusConfig));
	const char *string = options_secret(options, "connection_string");
	const char *entity;
	char	   *base;

	if (string && !check_connection_string(string, fault))
		return false;
	if (!choose_base(options_get(options, "endpoint"),
					 connection_string_get(string, "Endpoint", ";"), &base, fault) ||
		!choose_entity(options_get(options, "entity"),
					   connection_string_get(string, "EntityPath", ";"), &entity, fault) ||
		!set_uris(config, base, entity, fault) ||
		(source->identity == NULL && !set_credentials(config, options, string, fault)))
		return false;
	if (!options_int_within(options, "wait_seconds", 0, WAIT_SECONDS_MAX, WAIT_SECONDS,
							&source->wait_seconds, fault))
		return false;
	identity_set_service(source->identity, base);
	config->receivers = options_int(options, "receivers", RECEIVERS);
	source->max_receives = 1;
	source->token = source->identity ? NULL : &config->token;
	source->config = config;
	return true;
}

/* ----- requests ----- */

static const char *
bus_url(Call *call)
{
	const BusConfig *config = call->source->config;

	return call->purpose == CALL_MEASURE ? config->description
		: psprintf("%s%s", config->root, call->path);
}

static void
prepare_receive(Call *call)
{
	call->path = psprintf("head?timeout=%d", call->wait_seconds);
}

/* The lock of a message: completed by DELETE, renewed by POST. */
static void
prepare_lock(Call *call)
{
	call->path = call->message->handle;
}

/* ----- replies ----- */

/* "number/token" of a message, which names its lock; NULL: it is not told. */
static char *
lock_of(const char *properties, const cJSON *json)
{
	JsonSpan	all = {properties, strlen(properties)};
	const char *token = reply_text(json, "LockToken");
	pg_uuid_t	uuid;
	char		text[UUID_TEXT_SIZE];
	JsonSpan	number;
	int64		value;

	/* from its digits: cJSON makes a double of it */
	if (!cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(json, "SequenceNumber")) ||
		!json_find(all, "SequenceNumber", &number) ||
		!json_int64(pnstrdup(number.start, number.len), &value) ||
		token == NULL || !uuid_parse(token, &uuid))
		return NULL;
	return psprintf(INT64_FORMAT "/%s", value, uuid_format(&uuid, text));
}

/* Both times are the service's. */
static int
lock_seconds(const HttpRequest *request, const cJSON *json)
{
	const char *until = reply_text(json, "LockedUntilUtc");
	pg_time_t	end = until ? http_date(until) : 0;

	if (end == 0 || request->date == 0)
		return LOCK_SECONDS;
	return (int) Max(1, Min(end - request->date, LOCK_SECONDS_MAX));
}

static bool
take_message(Call *call)
{
	const HttpRequest *request = call->request;
	const char *properties = http_reply_header(request, "BrokerProperties");
	cJSON	   *json = properties ? reply_json(call->context, properties, strlen(properties)) : NULL;
	const char *lock = json ? lock_of(properties, json) : NULL;
	Delivery   *delivery;

	/* one that cannot be settled comes again when its lock has run out */
	if (lock == NULL)
		return false;
	delivery = source_delivery(call->source, lock_seconds(request, json));
	(void) source_message(delivery, lock, request->reply, request->reply_len);
	source_received(call->source, delivery, true);
	return true;
}

/* One more receive with every message, so that a few messages do not cause many empty receives. */
static void
set_receives(Source *source, bool empty)
{
	if (source->configured)
		source->max_receives = empty ? 1
			: Min(((BusConfig *) source->config)->receivers, source->max_receives + 1);
}

static bool
received(Call *call)
{
	bool		empty = call->request->status == 204;

	set_receives(call->source, empty);
	if (!empty)
		return take_message(call);
	source_received(call->source, source_delivery(call->source, 0), false);
	return true;
}

/*
 * The description is a page of Atom, full of what nobody here wants to know; an
 * entity that is not there is described by an empty one.  Those that somebody
 * has locked are among them.
 */
static bool
measured(Call *call)
{
	const Source *source = call->source;
	const char *name = source->configured ? ((BusConfig *) source->config)->counted : NULL;
	const char *number = name ? strstr(call->request->reply, name) : NULL;

	return number && call_read_backlog(call, number + strlen(name), '<');
}

/* The lock is lost: the message comes again, or was settled before. */
static bool
lock_is_lost(const Call *call)
{
	int			status = call->request->status;

	return status == 404 || status == 409 || status == 410;
}

static bool
checked(Call *call)
{
	if (call->request->status != 200 &&
		(!lock_is_lost(call) || strstr(call->request->reply, "No service is hosted")))
		return false;
	finding_add(call->findings, FINDING_OK, "queue", "the entity can be read", NULL);
	return true;
}

/* ----- the service ----- */

#define NO_ENTITY	"the entity does not exist; option \"entity\" names a queue, or a subscription as topic/subscriptions/name"

/* The text only chooses words, it decides nothing. */
static const ServiceError errors[] = {
	{0, "requires sessions", TROUBLE_CONFIGURATION, "the entity requires sessions, which the service does not offer over HTTP"},
	{400, NULL, TROUBLE_CONFIGURATION, "the service finds the request malformed"},
	{401, "ExpiredToken", TROUBLE_CREDENTIALS, "the token has expired"},
	{401, "ignature", TROUBLE_CREDENTIALS, "the signature was refused; the shared access key is wrong"},
	{401, "Listen", TROUBLE_CREDENTIALS, "the shared access policy has no \"Listen\" claim"},
	{401, NULL, TROUBLE_CREDENTIALS, "the shared access policy or its key was refused"},
	{403, NULL, TROUBLE_CREDENTIALS, "access was refused: a network rule forbids it, or a quota is used up"},
	{404, NULL, TROUBLE_CONFIGURATION, NO_ENTITY},
	{410, NULL, TROUBLE_CONFIGURATION, NO_ENTITY},
	{429, NULL, TROUBLE_THROTTLED, "the service asks to slow down"},
	{503, NULL, TROUBLE_TRANSIENT, "the service asks to slow down"},
	{0}
};

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

static void
read_error(const HttpRequest *request, const char **code, const char **request_id)
{
	*request_id = tracking_id(request->reply);
}

const Service servicebus_service = {
	.provider = {
		.type = "servicebus",
		.ways = identity_azure_ways,
		.audience = "https://servicebus.azure.net",
		.configure = bus_configure,
		CALL_FUNCTIONS
	},
	.operations = {
		[CALL_RECEIVE] = {"POST", NULL, NULL, prepare_receive, received},
		[CALL_SETTLE] = {"DELETE", NULL, NULL, prepare_lock, NULL},
		[CALL_RENEW] = {"POST", NULL, NULL, prepare_lock, NULL},
		[CALL_MEASURE] = {"GET", NULL, NULL, NULL, measured},
		[CALL_CHECK] = {"POST", NO_LOCK, NULL, NULL, checked},
	},
	.errors = errors,
	.codes_in_text = true,
	.at_once = 1,
	.max_reply = 64 * 1024 * 1024,
	.answer_ms = 15000,
	.throttled_seconds = 2,
	.url = bus_url,
	.read_error = read_error,
	.is_lost = lock_is_lost,
};
