/*
 * storagequeue.c
 *	  Azure Storage queue, to which an Event Grid topic can deliver.
 *
 * There is no long poll: an empty queue answers at once, and is asked again
 * after a pause that grows.  Messages are deleted, extended and given back one
 * by one, a few at the same time.  Each is settled by its id and the newest
 * pop receipt; receipts of one reply may be equal.
 *
 * A server's error text is never passed on: that of a refused signature
 * repeats what was signed.  Codes, which stand in a header, are translated.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "base/fault.h"
#include "base/options.h"
#include "provider/call.h"
#include "provider/connection_string.h"
#include "provider/finding.h"
#include "provider/identity.h"
#include "provider/identity_azure.h"
#include "provider/queue_list.h"
#include "provider/source.h"
#include "wire/authorize.h"
#include "wire/http.h"
#include "wire/sign.h"
#include "wire/sign_azure.h"
#include "wire/url.h"

#define QUEUE_VERSION		"2021-12-02"
#define QUEUE_BATCH			32	/* the most the service hands out */
#define QUEUE_LEASE_S		60
#define QUEUE_MAX_LEASE_S	604800
#define QUEUE_PAUSE_MIN_MS	1000
#define QUEUE_PAUSE_MAX_MS	30000
#define QUEUE_MAX_DEQUEUES	5
#define MESSAGES			"/messages"

typedef struct QueueConfig
{
	char	   *url;			/* of the queue */
	char	   *path;			/* of that */
	char	   *account;
	char	   *account_key;	/* NULL: the SAS opens the queue, or a token */
	char	   *sas;			/* without its "?"; not with a key or token */
	int			visibility_seconds;
	int			max_dequeues;
} QueueConfig;

/* ----- options ----- */

/* An option of the mapping, else a part of its connection string, or NULL. */
static char *
credential(const ServerOptions *options, const char *option, const char *part)
{
	char	   *value = option ? options_keep_secret(options, option) : NULL;

	return value ? value
		: connection_string_get(options_secret(options, "connection_string"), part, ";\r\n");
}

static const char *
endpoint_of(const ServerOptions *options)
{
	const char *endpoint = options_get(options, "endpoint");
	const char *account;
	const char *suffix;

	if (endpoint == NULL)
		endpoint = credential(options, NULL, "QueueEndpoint");
	if (endpoint != NULL)
		return endpoint;
	account = credential(options, "account_name", "AccountName");
	suffix = credential(options, NULL, "EndpointSuffix");
	return account ? psprintf("https://%s.queue.%s", account, suffix ? suffix : "core.windows.net") : NULL;
}

/* The first label of the host, or with an emulator the first part of the path. */
static char *
account_of(const UrlParts *endpoint, Size path_len)
{
	if (path_len > 1)
		return pnstrdup(endpoint->path + 1, strcspn(endpoint->path + 1, "/"));
	return pnstrdup(endpoint->host, strcspn(endpoint->host, "."));
}

static bool
is_queue_name(const char *name)
{
	Size		len = strlen(name);

	return len >= 3 && len <= 63 &&
		strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

static bool
configure_place(QueueConfig *config, const ServerOptions *options, Fault *fault)
{
	const char *queue = options_get(options, "queue");
	const char *endpoint = endpoint_of(options);
	UrlParts   *parts;
	Size		len;

	if (queue == NULL)
		return options_fault(fault, "option \"queue\" is not set");
	if (!is_queue_name(queue))
		return options_fault(fault, "option \"queue\" is not the name of a Storage queue");
	if (endpoint == NULL)
		return options_fault(fault, "option \"endpoint\" is not set, and the user mapping names no account");
	if (!url_parse(endpoint, &parts, fault) || !url_scheme_allowed(parts) || parts->query)
		return options_fault(fault, "the endpoint is not an https URL");
	len = strlen(parts->path);
	while (len > 0 && parts->path[len - 1] == '/')
		len--;
	config->path = psprintf("%.*s/%s", (int) len, parts->path, queue);
	config->url = psprintf("%s://%s%s", parts->scheme, parts->host_header, config->path);
	config->account = credential(options, "account_name", "AccountName");
	if (config->account == NULL)
		config->account = account_of(parts, len);
	return true;
}

static bool
configure_secrets(QueueConfig *config, const ServerOptions *options, Fault *fault)
{
	SignSharedKeyInput probe = {.method = "GET", .path = "/", .account = config->account};
	UrlParts   *parts;

	probe.account_key = config->account_key = credential(options, "account_key", "AccountKey");
	if (config->account_key)
		return sign_shared_key(&probe) ? true : options_fault(fault, "\"account_key\" is not base64");
	config->sas = credential(options, "sas", "SharedAccessSignature");
	if (config->sas == NULL)
		return options_fault(fault, "user mapping has neither \"account_key\" nor \"sas\" nor a \"connection_string\" with one of them");
	if (config->sas[0] == '?')
		config->sas++;
	if (!url_parse(psprintf("%s?%s", config->url, config->sas), &parts, fault))
		return options_fault(fault, "\"sas\" is not the query of a URL");
	return true;
}

static bool
queue_configure(Source *source, const ServerOptions *options, Fault *fault)
{
	QueueConfig *config = palloc0(sizeof(QueueConfig));

	if (!configure_place(config, options, fault) ||
		(source->identity == NULL && !configure_secrets(config, options, fault)))
		return false;
	if (!options_int_within(options, "visibility_seconds", 1, QUEUE_MAX_LEASE_S, QUEUE_LEASE_S,
							&config->visibility_seconds, fault))
		return false;
	identity_set_service(source->identity, config->url);
	config->max_dequeues = options_int(options, "max_dequeue_count", QUEUE_MAX_DEQUEUES);
	source->pause_min_ms = QUEUE_PAUSE_MIN_MS;
	source->pause_max_ms = QUEUE_PAUSE_MAX_MS;
	source->config = config;
	return true;
}

/* ----- requests ----- */

static const char *
queue_url(Call *call)
{
	const QueueConfig *config = call->source->config;

	return psprintf("%s%s?%s%s%s", config->url, call->path, call->query,
					config->sas ? "&" : "", config->sas ? config->sas : "");
}

static void
queue_sign(Call *call, HttpRequest *request)
{
	const Source *source = call->source;
	const QueueConfig *config = source->config;
	SignSharedKeyInput input = {
		.method = call->method, .path = psprintf("%s%s", config->path, call->path),
		.query = call->query,
		.account = config->account, .account_key = config->account_key
	};

	authorize_storage(request, &input, QUEUE_VERSION, source_time(source));
}

static void
prepare_receive(Call *call)
{
	const QueueConfig *config = call->source->config;

	call->query = psprintf("numofmessages=%d&visibilitytimeout=%d", QUEUE_BATCH,
						   config->visibility_seconds);
	call->wait_seconds = 0;		/* the service answers at once */
	call->lease_seconds = config->visibility_seconds;
	call->max_receives = config->max_dequeues;
}

/* A handle is the place of a message and the query with its receipt. */
static void
prepare_message(Call *call)
{
	const char *handle = call->message->handle;
	Size		len = strcspn(handle, "?");

	call->path = pnstrdup(handle, len);
	call->query = psprintf("%s%s", handle + len + 1, call->query);
}

static void
prepare_renew(Call *call)
{
	call->query = psprintf("&visibilitytimeout=%d", call->delivery->lease_seconds);
	prepare_message(call);
}

/* ----- replies ----- */

/* What settles a message: its place below the queue and its receipt. */
static char *
handle_of(const char *place, const char *receipt)
{
	return psprintf("%s?popreceipt=%s", place, sign_encoded(receipt));
}

static void
take_message(Call *call, Delivery *delivery, const QueuedMessage *found)
{
	SourceMessage *message = source_message(delivery, handle_of(psprintf(MESSAGES "/%s", sign_encoded(found->id)), found->receipt),
											found->text, strlen(found->text));
	MemoryContext old = MemoryContextSwitchTo(delivery->context);

	if (found->dequeue_count > call->max_receives)
		fault_set(&message->fault, REASON_POISON,
				  "message was received %d times and not settled", found->dequeue_count - 1);
	MemoryContextSwitchTo(old);
}

static bool
received(Call *call)
{
	QueuedMessage *found;
	int			count = queue_list_read(call->request->reply, call->request->reply_len,
										QUEUE_BATCH, &found);
	Delivery   *delivery;

	if (count < 0)
		return false;
	delivery = source_delivery(call->source, call->lease_seconds);
	for (int i = 0; i < count; i++)
		take_message(call, delivery, &found[i]);
	source_received(call->source, delivery, count == QUEUE_BATCH);
	return true;
}

/* The receipt that was used is void now. */
static bool
renewed(Call *call)
{
	SourceMessage *message = call->message;
	const char *receipt = http_reply_header(call->request, "x-ms-popreceipt");

	if (receipt == NULL)
		message->settled = true;	/* it cannot be settled any more, and comes again */
	else
	{
		pfree(message->handle);
		message->handle = MemoryContextStrdup(call->delivery->context, handle_of(call->path, receipt));
	}
	return true;
}

/* The lease is over: the message comes again, or somebody else has it. */
static bool
is_lost(const Call *call)
{
	return strcmp(call->code, "MessageNotFound") == 0 ||
		strcmp(call->code, "PopReceiptMismatch") == 0;
}

/* Those that somebody has received are among them. */
static bool
measured(Call *call)
{
	const char *count = http_reply_header(call->request, "x-ms-approximate-messages-count");

	return count && call_read_backlog(call, count, '\0');
}

/* ----- check ----- */

static void
judge_queue(Call *call)
{
	const QueueConfig *config = call->source->config;

	finding_add(call->findings, FINDING_OK, "queue", "the queue can be read", NULL);
	if (config->visibility_seconds < QUEUE_LEASE_S)
		finding_add(call->findings, FINDING_WARNING, "queue",
					psprintf("messages come back after %d seconds, also while they are being stored",
							 config->visibility_seconds),
					psprintf("ALTER SERVER %s OPTIONS (SET visibility_seconds '%d')",
							 quote_identifier(call->findings->source), QUEUE_LEASE_S));
}

static bool
checked(Call *call)
{
	if (call->request->status == 200)
		judge_queue(call);
	else if (strcmp(call->code, "AuthorizationPermissionMismatch") == 0)
		finding_add(call->findings, FINDING_WARNING, "queue", "the SAS or role may not look at messages without taking them",
					"Allow \"read\" to have the queue looked at here; receiving does not need it.");
	else
		return false;
	return true;
}

/* ----- the service ----- */

static const ServiceError errors[] = {
	{0, "QueueNotFound", TROUBLE_CONFIGURATION, "the queue does not exist"},
	{0, "ResourceNotFound", TROUBLE_CONFIGURATION, "the queue does not exist"},
	{0, "QueueBeingDeleted", TROUBLE_CONFIGURATION, "the queue is being deleted"},
	{0, "QueueDisabled", TROUBLE_CONFIGURATION, "the queue is disabled"},
	{0, "OutOfRangeQueryParameterValue", TROUBLE_CONFIGURATION, "the service refuses an option's value"},
	{0, "AuthenticationFailed", TROUBLE_CREDENTIALS, "the signature was refused; the account key or the SAS is wrong, or the SAS has expired"},
	{0, "InvalidAuthenticationInfo", TROUBLE_CREDENTIALS, "the token or the authorization is not valid"},
	{0, "NoAuthenticationInformation", TROUBLE_CREDENTIALS, "the service found no authorization"},
	{0, "AuthorizationFailure", TROUBLE_CREDENTIALS, "the account's network rules refuse this client"},
	{0, "AuthorizationPermissionMismatch", TROUBLE_CREDENTIALS, "the SAS or role has no right to process the queue's messages"},
	{0, "AuthorizationServiceMismatch", TROUBLE_CREDENTIALS, "the SAS is not for queues"},
	{0, "AuthorizationResourceTypeMismatch", TROUBLE_CREDENTIALS, "the SAS is not for messages"},
	{0, "AuthorizationProtocolMismatch", TROUBLE_CREDENTIALS, "the SAS is not for this protocol"},
	{0, "AuthorizationSourceIPMismatch", TROUBLE_CREDENTIALS, "the SAS is not for this client's address"},
	{0, "InsufficientAccountPermissions", TROUBLE_CREDENTIALS, "the account has no right to process the queue's messages"},
	{0, "KeyBasedAuthenticationNotPermitted", TROUBLE_CREDENTIALS, "the account does not allow keys"},
	{0, "AccountIsDisabled", TROUBLE_CREDENTIALS, "the account is disabled"},
	{0, "ServerBusy", TROUBLE_TRANSIENT, "the service asks to slow down"},
	{0, "OperationTimedOut", TROUBLE_TRANSIENT, "the service did not finish in time"},
	{0, "InternalError", TROUBLE_TRANSIENT, "the service failed"},
	{401, NULL, TROUBLE_CREDENTIALS, "the service refused the authorization"},
	{403, NULL, TROUBLE_CREDENTIALS, "the service refused the authorization"},
	{0}
};

const Service storagequeue_service = {
	.provider = {
		.type = "storagequeue",
		.ways = identity_azure_ways,
		.audience = "https://storage.azure.com",
		.configure = queue_configure,
		CALL_FUNCTIONS
	},
	.operations = {
		[CALL_RECEIVE] = {"GET", MESSAGES, NULL, prepare_receive, received},
		[CALL_SETTLE] = {"DELETE", NULL, "", prepare_message, NULL},
		[CALL_RENEW] = {"PUT", NULL, NULL, prepare_renew, renewed},
		[CALL_RELEASE] = {"PUT", NULL, "&visibilitytimeout=0", prepare_message, NULL},
		[CALL_MEASURE] = {"GET", "", "comp=metadata", NULL, measured},
		[CALL_CHECK] = {"GET", MESSAGES, "peekonly=true&numofmessages=1", NULL, checked},
	},
	.errors = errors,
	.at_once = 4,
	.max_reply = 16 * 1024 * 1024,	/* 32 texts of 64 kB, escaped */
	.answer_ms = 30000,
	.url = queue_url,
	.sign = queue_sign,
	.is_lost = is_lost,
};
