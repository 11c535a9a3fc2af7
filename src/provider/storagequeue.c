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

#include "lib/stringinfo.h"
#include "utils/memutils.h"

#include "base/secret.h"
#include "door/check.h"
#include "provider/identity.h"
#include "provider/queue_list.h"
#include "provider/source.h"
#include "wire/http.h"
#include "wire/reply.h"
#include "wire/sign.h"
#include "wire/url.h"

#define QUEUE_VERSION		"2021-12-02"
#define QUEUE_BATCH			32	/* the most the service hands out */
#define QUEUE_MAX_REPLY		(16 * 1024 * 1024)	/* 32 texts of 64 kB, escaped */
#define QUEUE_ANSWER_MS		30000
#define QUEUE_AT_ONCE		4	/* requests in flight for one delivery */
#define QUEUE_LEASE_S		60
#define QUEUE_MAX_LEASE_S	604800
#define QUEUE_PAUSE_MIN_MS	1000
#define QUEUE_PAUSE_MAX_MS	30000
#define QUEUE_MAX_DEQUEUES	5

typedef struct QueueConfig
{
	char	   *url;			/* of the queue's messages */
	char	   *path;			/* of that */
	char	   *account;
	char	   *account_key;	/* NULL: the SAS opens the queue, or a token */
	char	   *sas;			/* without its "?"; not with a key or token */
	int			visibility_seconds;
	int			max_dequeues;
} QueueConfig;

static void queue_received(HttpRequest *request, void *arg);
static void queue_checked(HttpRequest *request, void *arg);
static void round_answered(HttpRequest *request, void *arg);

/* ----- options ----- */

static bool
config_fault(Fault *fault, const char *problem)
{
	return fault_set(fault, ERRCODE_INVALID_PARAMETER_VALUE, REASON_CONFIGURATION, "%s", problem);
}

/*
 * The value of a name in a connection string, "Name=value;Name=value".  A
 * value ends at a semicolon and may contain "="; NULL when it is not there.
 */
static const char *
connection_part(const char *at, const char *name, Size *len)
{
	Size		name_len = strlen(name);

	while (at && *at)
	{
		at += strspn(at, "; \t\r\n");
		*len = strcspn(at, ";\r\n");
		if (*len > name_len && at[name_len] == '=' && pg_strncasecmp(at, name, name_len) == 0)
		{
			at += name_len + 1;
			*len -= name_len + 1;
			while (*len > 0 && (at[*len - 1] == ' ' || at[*len - 1] == '\t'))
				(*len)--;
			return *len > 0 ? at : NULL;
		}
		at += *len;
	}
	return NULL;
}

/* An option of the mapping, else a part of its connection string, or NULL. */
static char *
credential(const ServerOptions *options, const char *option, const char *part)
{
	const char *value = option ? options_secret(options, option) : NULL;
	Size		len = value ? strlen(value) : 0;

	if (value == NULL)
		value = connection_part(options_secret(options, "connection_string"), part, &len);
	return value ? secret_keep(value, len) : NULL;
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
		return config_fault(fault, "option \"queue\" is not set");
	if (!is_queue_name(queue))
		return config_fault(fault, "option \"queue\" is not the name of a Storage queue");
	if (endpoint == NULL)
		return config_fault(fault, "option \"endpoint\" is not set, and the user mapping names no account");
	if (!url_parse(endpoint, &parts, fault) || !url_scheme_allowed(parts) || parts->query)
		return config_fault(fault, "the endpoint is not an https URL");
	len = strlen(parts->path);
	while (len > 0 && parts->path[len - 1] == '/')
		len--;
	config->path = psprintf("%.*s/%s/messages", (int) len, parts->path, queue);
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
		return sign_shared_key(&probe) ? true : config_fault(fault, "\"account_key\" is not base64");
	config->sas = credential(options, "sas", "SharedAccessSignature");
	if (config->sas == NULL)
		return config_fault(fault, "user mapping has neither \"account_key\" nor \"sas\" nor a \"connection_string\" with one of them");
	if (config->sas[0] == '?')
		config->sas++;
	if (!url_parse(psprintf("%s?%s", config->url, config->sas), &parts, fault))
		return config_fault(fault, "\"sas\" is not the query of a URL");
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
	config->max_dequeues = options_int(options, "max_dequeue_count", QUEUE_MAX_DEQUEUES);
	source->pause_min_ms = QUEUE_PAUSE_MIN_MS;
	source->pause_max_ms = QUEUE_PAUSE_MAX_MS;
	source->config = config;
	return true;
}

/* ----- requests ----- */

/* All headers that the service wants of a request to this path and query. */
static void
authorize(HttpRequest *request, const Source *source, const char *method,
		  const char *path, const char *query)
{
	const QueueConfig *config = source->config;
	pg_time_t	now = source_time(source);
	char		date[64];
	SignHeader	headers[] = {{"x-ms-date", date}, {"x-ms-version", QUEUE_VERSION}};
	SignSharedKeyInput input = {
		.method = method, .path = path, .query = query,
		.headers = headers, .nheaders = lengthof(headers),
		.account = config->account, .account_key = config->account_key
	};

	/* the server's own names of days and months are English, whatever lc_time is */
	pg_strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", pg_gmtime(&now));
	for (int i = 0; i < (int) lengthof(headers); i++)
		http_header(request, headers[i].name, headers[i].value);
	if (source->identity)
		http_header(request, "authorization", psprintf("Bearer %s", identity_bearer(source->identity)));
	else if (config->account_key)
		http_header(request, "authorization", sign_shared_key(&input));
}

/* A request to the queue's messages, or with an item of the path to one. */
static void
send_request(Source *source, MemoryContext context, const char *method, const char *item,
			 const char *query, HttpDone done, void *arg)
{
	const QueueConfig *config = source->config;
	MemoryContext old = MemoryContextSwitchTo(context);
	char	   *url = psprintf("%s%s?%s%s%s", config->url, item, query,
							   config->sas ? "&" : "", config->sas ? config->sas : "");
	HttpRequest *request = http_request(source->http, method, url);

	if (strcmp(method, "PUT") == 0)
	{
		/* of no bytes, which has to be said; libcurl would add a type */
		request->body = "";
		http_header(request, "content-type", "");
	}
	request->max_bytes = QUEUE_MAX_REPLY;
	request->timeout_ms = QUEUE_ANSWER_MS;
	authorize(request, source, method, psprintf("%s%s", config->path, item), query);
	MemoryContextSwitchTo(old);
	http_start(request, done, arg);
}

/* ----- errors ----- */

typedef struct QueueError
{
	const char *code;
	SourceTrouble trouble;
	bool		clock;			/* may mean that our clock is wrong */
	const char *words;
} QueueError;

static const QueueError errors[] = {
	{"QueueNotFound", TROUBLE_CONFIGURATION, false, "the queue does not exist"},
	{"ResourceNotFound", TROUBLE_CONFIGURATION, false, "the queue does not exist"},
	{"QueueBeingDeleted", TROUBLE_CONFIGURATION, false, "the queue is being deleted"},
	{"QueueDisabled", TROUBLE_CONFIGURATION, false, "the queue is disabled"},
	{"OutOfRangeQueryParameterValue", TROUBLE_CONFIGURATION, false, "the service refuses an option's value"},
	{"AuthenticationFailed", TROUBLE_CREDENTIALS, true, "the signature was refused; the account key or the SAS is wrong, or the SAS has expired"},
	{"InvalidAuthenticationInfo", TROUBLE_CREDENTIALS, false, "the token or the authorization is not valid"},
	{"NoAuthenticationInformation", TROUBLE_CREDENTIALS, false, "the service found no authorization"},
	{"AuthorizationFailure", TROUBLE_CREDENTIALS, false, "the account's network rules refuse this client"},
	{"AuthorizationPermissionMismatch", TROUBLE_CREDENTIALS, false, "the SAS or role has no right to process the queue's messages"},
	{"AuthorizationServiceMismatch", TROUBLE_CREDENTIALS, false, "the SAS is not for queues"},
	{"AuthorizationResourceTypeMismatch", TROUBLE_CREDENTIALS, false, "the SAS is not for messages"},
	{"AuthorizationProtocolMismatch", TROUBLE_CREDENTIALS, false, "the SAS is not for this protocol"},
	{"AuthorizationSourceIPMismatch", TROUBLE_CREDENTIALS, false, "the SAS is not for this client's address"},
	{"InsufficientAccountPermissions", TROUBLE_CREDENTIALS, false, "the account has no right to process the queue's messages"},
	{"KeyBasedAuthenticationNotPermitted", TROUBLE_CREDENTIALS, false, "the account does not allow keys"},
	{"AccountIsDisabled", TROUBLE_CREDENTIALS, false, "the account is disabled"},
	{"ServerBusy", TROUBLE_TRANSIENT, false, "the service asks to slow down"},
	{"OperationTimedOut", TROUBLE_TRANSIENT, false, "the service did not finish in time"},
	{"InternalError", TROUBLE_TRANSIENT, false, "the service failed"},
};

static const QueueError *
find_error(const HttpRequest *request)
{
	static const QueueError transient = {"", TROUBLE_TRANSIENT, false, "the service failed"};
	static const QueueError closed = {"", TROUBLE_CREDENTIALS, false, "the service refused the authorization"};
	static const QueueError refused = {"", TROUBLE_CONFIGURATION, false, "the service refused the request"};

	const char *code = reply_error_code(request);

	for (int i = 0; i < (int) lengthof(errors); i++)
	{
		if (strcmp(errors[i].code, code) == 0)
			return &errors[i];
	}
	if (http_status_is_transient(request->status))
		return &transient;
	return request->status == 401 || request->status == 403 ? &closed : &refused;
}

/* Fills the fault for a reply that is no success. */
static const QueueError *
read_error(const HttpRequest *request, Fault *fault)
{
	const QueueError *error = find_error(request);

	reply_fault(request, NULL, NULL, error->words, fault);
	return error;
}

/* ----- receive ----- */

/* One receive in flight. */
typedef struct QueueReceive
{
	Source	   *source;
	MemoryContext context;
	int			lease_seconds;	/* as asked for */
	int			max_dequeues;
	bool		again;			/* repeated with a corrected clock */
} QueueReceive;

static void
start_receive(QueueReceive *receive)
{
	char	   *query = MemoryContextAlloc(receive->context, 64);

	snprintf(query, 64, "numofmessages=%d&visibilitytimeout=%d", QUEUE_BATCH, receive->lease_seconds);
	send_request(receive->source, receive->context, "GET", "", query, queue_received, receive);
}

static void
queue_receive(Source *source, int wait_seconds)
{
	const QueueConfig *config = source->config;
	MemoryContext context = AllocSetContextCreate(source->context, "damoov storage queue receive",
												  ALLOCSET_SMALL_SIZES);
	QueueReceive *receive = MemoryContextAllocZero(context, sizeof(QueueReceive));

	receive->source = source;
	receive->context = context;
	receive->lease_seconds = config->visibility_seconds;
	receive->max_dequeues = config->max_dequeues;
	start_receive(receive);
}

/* What settles a message: its place below the queue and its receipt. */
static char *
handle_of(const char *id, const char *receipt)
{
	StringInfoData handle;

	initStringInfo(&handle);
	appendStringInfoChar(&handle, '/');
	sign_append_encoded(&handle, id);
	appendStringInfoString(&handle, "?popreceipt=");
	sign_append_encoded(&handle, receipt);
	return handle.data;
}

static void
take_messages(Delivery *delivery, const QueuedMessage *found, int count, int max_dequeues)
{
	MemoryContext old = MemoryContextSwitchTo(delivery->context);

	for (int i = 0; i < count; i++)
	{
		SourceMessage *message = &delivery->messages[delivery->count++];

		message->handle = handle_of(found[i].id, found[i].receipt);
		message->body = pstrdup(found[i].text);
		message->body_len = strlen(found[i].text);
		if (found[i].dequeue_count > max_dequeues)
			fault_set(&message->fault, ERRCODE_PROGRAM_LIMIT_EXCEEDED, REASON_POISON,
					  "message was received %d times and not settled", found[i].dequeue_count - 1);
	}
	MemoryContextSwitchTo(old);
}

static void
receive_succeeded(QueueReceive *receive, const HttpRequest *request)
{
	Source	   *source = receive->source;
	QueuedMessage *found;
	int			count = queue_list_read(request->reply, request->reply_len, QUEUE_BATCH, &found);
	Delivery   *delivery;
	Fault		fault = {0};

	if (count < 0)
	{
		fault_set(&fault, ERRCODE_CONNECTION_FAILURE, REASON_PROVIDER,
				  "the reply could not be understood");
		source_failed(source, TROUBLE_TRANSIENT, -1, &fault);
		return;
	}
	delivery = source_delivery(source, count);
	take_messages(delivery, found, count, receive->max_dequeues);
	delivery->renew_at_ms = source_renew_at_ms(receive->lease_seconds);
	source_received(source, delivery, count == QUEUE_BATCH);
}

/* Can requests still be made?  The options may have changed meanwhile. */
static bool
is_usable(const Source *source)
{
	return source->configured &&
		(source->identity == NULL || identity_usable(source->identity));
}

/* False: it is under way once more. */
static bool
receive_failed(QueueReceive *receive, const HttpRequest *request)
{
	Source	   *source = receive->source;
	const QueueError *error;
	Fault		fault = {0};

	if (request->status == 0)
	{
		source_failed(source, TROUBLE_TRANSIENT, -1, &request->fault);
		return true;
	}
	error = read_error(request, &fault);
	if (error->clock && !receive->again && is_usable(source) &&
		source_correct_clock(source, request->date))
	{
		receive->again = true;
		start_receive(receive);
		return false;
	}
	source_failed(source, error->trouble, request->retry_after_s, &fault);
	return true;
}

static void
queue_received(HttpRequest *request, void *arg)
{
	QueueReceive *receive = arg;
	MemoryContext old = MemoryContextSwitchTo(receive->context);
	bool		ended = true;

	if (request->status == 200)
		receive_succeeded(receive, request);
	else
		ended = receive_failed(receive, request);
	MemoryContextSwitchTo(old);
	http_free(request);
	if (ended)
		MemoryContextDelete(receive->context);
}

/* ----- one request for each message of a delivery ----- */

typedef struct QueueRound QueueRound;

struct QueueRound
{
	Delivery   *delivery;
	const char *method;
	const char *query;			/* behind the receipt */
	void		(*succeeded) (SourceMessage *message, const HttpRequest *request);
	void		(*ended) (QueueRound *round);
	int			lease_seconds;
	int			next;			/* message to ask for */
	int			in_flight;
	const char *problem;		/* with one of them */
};

/* What a request in flight belongs to. */
typedef struct QueueItem
{
	QueueRound *round;
	SourceMessage *message;
} QueueItem;

static void
send_item(QueueRound *round, SourceMessage *message)
{
	Delivery   *delivery = round->delivery;
	QueueItem  *item = MemoryContextAlloc(delivery->context, sizeof(QueueItem));
	char	   *path = MemoryContextStrdup(delivery->context, message->handle);
	char	   *receipt = strchr(path, '?');
	char	   *query;

	*receipt++ = '\0';
	query = MemoryContextAlloc(delivery->context, strlen(receipt) + strlen(round->query) + 1);
	strcpy(query, receipt);
	strcat(query, round->query);
	item->round = round;
	item->message = message;
	round->in_flight++;
	send_request(delivery->source, delivery->context, round->method, path, query,
				 round_answered, item);
}

/* Sends as many as may be in flight.  The round, and it may be the delivery, is gone when it ends. */
static void
round_go_on(QueueRound *round)
{
	Delivery   *delivery = round->delivery;

	while (round->next < delivery->count && round->in_flight < QUEUE_AT_ONCE)
	{
		SourceMessage *message = &delivery->messages[round->next++];

		if (message->settled)
			continue;
		if (is_usable(delivery->source))
			send_item(round, message);
		else
			round->problem = "the options or the credentials have changed";
	}
	if (round->in_flight == 0)
		round->ended(round);
}

/* The lease is over: the message comes again, or somebody else has it. */
static bool
is_lost(const HttpRequest *request)
{
	const char *code = reply_error_code(request);

	return strcmp(code, "MessageNotFound") == 0 || strcmp(code, "PopReceiptMismatch") == 0;
}

static void
round_answered(HttpRequest *request, void *arg)
{
	QueueItem  *item = arg;
	QueueRound *round = item->round;
	Delivery   *delivery = round->delivery;
	MemoryContext old = MemoryContextSwitchTo(delivery->context);
	Fault		fault = {0};

	round->in_flight--;
	if (request->status == 204)
		round->succeeded(item->message, request);
	else if (is_lost(request))
		item->message->settled = true;
	else if (request->status == 0)
		round->problem = pstrdup(request->fault.message);
	else
	{
		if (read_error(request, &fault)->clock)
			(void) source_correct_clock(delivery->source, request->date);
		round->problem = fault.message;
	}
	MemoryContextSwitchTo(old);
	http_free(request);
	round_go_on(round);
}

static void
start_round(Delivery *delivery, QueueRound round)
{
	QueueRound *kept = MemoryContextAlloc(delivery->context, sizeof(QueueRound));

	*kept = round;
	kept->delivery = delivery;
	round_go_on(kept);
}

/* ----- settle ----- */

static void
message_deleted(SourceMessage *message, const HttpRequest *request)
{
	message->settled = true;
}

static void
settling_ended(QueueRound *round)
{
	source_settled(round->delivery, round->problem);
}

static void
queue_settle(Delivery *delivery)
{
	start_round(delivery, (QueueRound) {.method = "DELETE", .query = "",
				.succeeded = message_deleted, .ended = settling_ended});
}

/* ----- renew ----- */

/* The receipt that was used is void now. */
static void
message_renewed(SourceMessage *message, const HttpRequest *request)
{
	const char *receipt = http_reply_header(request, "x-ms-popreceipt");
	StringInfoData handle;

	if (receipt == NULL)
	{
		message->settled = true;	/* cannot be any more: it comes again */
		return;
	}
	initStringInfo(&handle);
	appendBinaryStringInfo(&handle, message->handle, strcspn(message->handle, "?"));
	appendStringInfoString(&handle, "?popreceipt=");
	sign_append_encoded(&handle, receipt);
	pfree(message->handle);
	message->handle = handle.data;
}

/* What could not be extended now may be later: a receipt outlives its lease. */
static void
renewing_ended(QueueRound *round)
{
	source_renewed(round->delivery, round->problem ? Max(1, round->lease_seconds / 4) : round->lease_seconds);
}

static void
queue_renew(Delivery *delivery)
{
	const QueueConfig *config = delivery->source->config;
	char	   *query = MemoryContextAlloc(delivery->context, 64);

	snprintf(query, 64, "&visibilitytimeout=%d", config->visibility_seconds);
	start_round(delivery, (QueueRound) {.method = "PUT", .query = query,
				.succeeded = message_renewed, .ended = renewing_ended,
				.lease_seconds = config->visibility_seconds});
}

/* ----- release ----- */

static void
message_released(SourceMessage *message, const HttpRequest *request)
{
}

static void
releasing_ended(QueueRound *round)
{
	source_released(round->delivery);
}

static void
queue_release(Delivery *delivery)
{
	start_round(delivery, (QueueRound) {.method = "PUT", .query = "&visibilitytimeout=0",
				.succeeded = message_released, .ended = releasing_ended});
}

/* ----- check ----- */

static void
judge_queue(SourceCheck *check)
{
	const QueueConfig *config = check->source->config;

	check_add(check, FINDING_OK, "queue", "the queue can be read", NULL);
	if (config->visibility_seconds < QUEUE_LEASE_S)
		check_add(check, FINDING_WARNING, "queue",
				  psprintf("messages come back after %d seconds, also while they are being stored",
						   config->visibility_seconds),
				  psprintf("Set the option \"visibility_seconds\" to %d or more.", QUEUE_LEASE_S));
}

static void
queue_check(SourceCheck *check)
{
	send_request(check->source, check->context, "GET", "", "peekonly=true&numofmessages=1",
				 queue_checked, check);
}

static void
queue_checked(HttpRequest *request, void *arg)
{
	SourceCheck *check = arg;
	Fault		fault = {0};
	const QueueError *error;

	check_clock(check, request->date);
	if (request->status == 200)
		judge_queue(check);
	else if (request->status == 0)
		check_trouble(check, TROUBLE_TRANSIENT, &request->fault);
	else
	{
		error = read_error(request, &fault);
		if (error->clock && source_correct_clock(check->source, request->date))
		{
			http_free(request);
			queue_check(check);
			return;
		}
		if (strcmp(error->code, "AuthorizationPermissionMismatch") == 0)
			check_add(check, FINDING_WARNING, "queue", "the SAS or role may not look at messages without taking them",
					  "Allow \"read\" to have the queue looked at here; receiving does not need it.");
		else
			check_trouble(check, error->trouble, &fault);
	}
	check_end(check);
	http_free(request);
}

const Provider storagequeue_provider = {
	.type = "storagequeue",
	.audience = "https://storage.azure.com",
	.configure = queue_configure,
	.receive = queue_receive,
	.settle = queue_settle,
	.release = queue_release,
	.renew = queue_renew,
	.check = queue_check,
};
