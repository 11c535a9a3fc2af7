/*
 * sqs.c
 *	  Amazon SQS: long poll, delete in batches after the commit.
 *
 * AWS JSON 1.0 protocol, requests signed with Signature Version 4.  The queue
 * is named in the body; requests go to the configured endpoint, else to the
 * region's, since queue URLs of emulators name hosts that do not resolve.
 *
 * A server's error text is never passed on: that of a refused signature
 * repeats the headers, the session token among them.  Codes are translated.
 */
#include "postgres.h"

#include "common/md5.h"
#include "lib/stringinfo.h"
#include "utils/json.h"
#include "utils/memutils.h"

#include "door/check.h"
#include "provider/identity.h"
#include "provider/source.h"
#include "wire/http.h"
#include "wire/reply.h"
#include "wire/sign.h"
#include "wire/url.h"

#define SQS_BATCH			10
#define SQS_VISIBILITY_SECONDS 43200
#define SQS_WAIT_SECONDS	20
#define SQS_ANSWER_MS		15000	/* beyond the long poll */
#define SQS_MAX_REPLY		(64 * 1024 * 1024)	/* ten bodies of 1 MiB, escaped */
#define CONTENT_TYPE		"application/x-amz-json-1.0"

typedef struct SqsConfig
{
	char	   *queue_url;
	char	   *region;
	char	   *endpoint;
	char	   *host_header;
	int			batch_size;
	int			visibility_seconds; /* -1: the queue's own */
	AwsKeys		keys;			/* unless the source has an identity */
} SqsConfig;

static void sqs_received(HttpRequest *request, void *arg);
static void sqs_settled(HttpRequest *request, void *arg);
static void sqs_released(HttpRequest *request, void *arg);

/* ----- options ----- */

static bool
config_fault(Fault *fault, const char *problem)
{
	return fault_set(fault, ERRCODE_INVALID_PARAMETER_VALUE, REASON_CONFIGURATION, "%s", problem);
}

/* "eu-west-1" out of "sqs.eu-west-1.amazonaws.com" and its kin, or NULL. */
static char *
region_of_host(const char *host)
{
	const char *start = NULL;
	const char *end;

	if (strncmp(host, "sqs.", 4) == 0)
		start = host + 4;
	else if (strncmp(host, "sqs-fips.", 9) == 0)
		start = host + 9;
	if (start == NULL || (end = strchr(start, '.')) == NULL)
		return NULL;
	return pnstrdup(start, end - start);
}

static bool
is_amazon_host(const char *host)
{
	return url_host_matches(host, "*.amazonaws.com") ||
		url_host_matches(host, "*.amazonaws.com.cn") ||
		url_host_matches(host, "*.api.aws");
}

/* https://host/account/name */
static bool
parse_queue_url(const char *text, UrlParts **parts, Fault *fault)
{
	const char *name;

	if (!url_parse(text, parts, fault) || (*parts)->query != NULL ||
		(name = strchr((*parts)->path + 1, '/')) == NULL ||
		name == (*parts)->path + 1 || name[1] == '\0' || strchr(name + 1, '/') != NULL)
		return config_fault(fault, "option \"queue_url\" is not a queue URL of the form https://host/account/name");
	return true;
}

static const char *
default_endpoint(const UrlParts *queue, const char *region)
{
	if (!is_amazon_host(queue->host))
		return psprintf("%s://%s", queue->scheme, queue->host_header);
	return psprintf("https://sqs.%s.amazonaws.com%s", region,
					url_host_matches(queue->host, "*.amazonaws.com.cn") ? ".cn" : "");
}

static char *
copy_text(const char *text)
{
	return text ? pstrdup(text) : NULL;
}

static bool
sqs_configure(Source *source, const ServerOptions *options, Fault *fault)
{
	SqsConfig  *config = palloc0(sizeof(SqsConfig));
	const char *endpoint = options_get(options, "endpoint");
	UrlParts   *queue;
	UrlParts   *host;

	config->queue_url = copy_text(options_get(options, "queue_url"));
	if (config->queue_url == NULL)
		return config_fault(fault, "option \"queue_url\" is not set");
	if (!parse_queue_url(config->queue_url, &queue, fault))
		return false;
	config->region = copy_text(options_get(options, "region"));
	if (config->region == NULL)
		config->region = region_of_host(queue->host);
	if (config->region == NULL)
		return config_fault(fault, "option \"region\" is not set and cannot be told from \"queue_url\"");
	if (endpoint == NULL)
		endpoint = default_endpoint(queue, config->region);
	if (!url_parse(endpoint, &host, fault) || !url_scheme_allowed(host))
		return config_fault(fault, "the endpoint is not an https URL");
	config->endpoint = psprintf("%s://%s/", host->scheme, host->host_header);
	config->host_header = host->host_header;
	if (!options_int_within(options, "batch_size", 1, SQS_BATCH, SQS_BATCH,
							&config->batch_size, fault) ||
		!options_int_within(options, "wait_seconds", 0, SQS_WAIT_SECONDS, SQS_WAIT_SECONDS,
							&source->wait_seconds, fault))
		return false;
	config->visibility_seconds = -1;
	if (options_get(options, "visibility_seconds") &&
		!options_int_within(options, "visibility_seconds", 0, SQS_VISIBILITY_SECONDS, 0,
							&config->visibility_seconds, fault))
		return false;
	config->keys.access_key_id = options_keep_secret(options, "access_key_id");
	config->keys.secret_access_key = options_keep_secret(options, "secret_access_key");
	config->keys.session_token = options_keep_secret(options, "session_token");
	if (source->identity == NULL &&
		(config->keys.access_key_id == NULL || config->keys.secret_access_key == NULL))
		return config_fault(fault, "user mapping has no \"access_key_id\" or no \"secret_access_key\"");
	source->config = config;
	return true;
}

/* ----- requests ----- */

static void
sign_request(HttpRequest *request, const Source *source, const char *target)
{
	const SqsConfig *config = source->config;
	const AwsKeys *keys = source->identity ? identity_aws_keys(source->identity) : &config->keys;
	SignHeader	headers[] = {
		{"content-type", CONTENT_TYPE},
		{"x-amz-target", target},
	};
	SignV4Input input = {
		.method = "POST", .host = config->host_header, .path = "/",
		.headers = headers, .nheaders = lengthof(headers),
		.body = request->body, .body_len = request->body_len,
		.access_key_id = keys->access_key_id,
		.secret_access_key = keys->secret_access_key,
		.session_token = keys->session_token,
		.region = config->region, .service = "sqs",
		.now = source_time(source),
	};
	SignV4Output signature;

	sign_v4(&input, &signature);
	for (int i = 0; i < (int) lengthof(headers); i++)
		http_header(request, headers[i].name, headers[i].value);
	http_header(request, "x-amz-date", signature.amz_date);
	if (keys->session_token)
		http_header(request, "x-amz-security-token", keys->session_token);
	http_header(request, "authorization", signature.authorization);
}

/* Sends an action; body is the members of its JSON object behind QueueUrl. */
static void
send_action(Source *source, MemoryContext context, const char *action,
			const char *members, int timeout_ms, HttpDone done, void *arg)
{
	const SqsConfig *config = source->config;
	HttpRequest *request = http_request(source->http, "POST", config->endpoint);
	MemoryContext old = MemoryContextSwitchTo(context);
	StringInfoData body;

	initStringInfo(&body);
	appendStringInfoString(&body, "{\"QueueUrl\":");
	escape_json(&body, config->queue_url);
	appendStringInfo(&body, "%s}", members);
	request->body = body.data;
	request->body_len = body.len;
	request->max_bytes = SQS_MAX_REPLY;
	request->timeout_ms = timeout_ms;
	sign_request(request, source, psprintf("AmazonSQS.%s", action));
	MemoryContextSwitchTo(old);
	http_start(request, done, arg);
}

/* One receive in flight: remembers what it was asked for. */
typedef struct SqsReceive
{
	Source	   *source;
	MemoryContext context;
	int			wait_seconds;
	int			asked;
	bool		again;			/* repeated with a corrected clock */
} SqsReceive;

static void
start_receive(SqsReceive *receive)
{
	const SqsConfig *config = receive->source->config;
	StringInfoData members;
	MemoryContext old = MemoryContextSwitchTo(receive->context);

	initStringInfo(&members);
	receive->asked = config->batch_size;
	appendStringInfo(&members, ",\"MaxNumberOfMessages\":%d,\"WaitTimeSeconds\":%d",
					 config->batch_size, receive->wait_seconds);
	if (config->visibility_seconds >= 0)
		appendStringInfo(&members, ",\"VisibilityTimeout\":%d", config->visibility_seconds);
	MemoryContextSwitchTo(old);
	send_action(receive->source, receive->context, "ReceiveMessage", members.data,
				receive->wait_seconds * 1000 + SQS_ANSWER_MS, sqs_received, receive);
}

static void
sqs_receive(Source *source, int wait_seconds)
{
	MemoryContext context = AllocSetContextCreate(source->context, "damoov sqs receive",
												  ALLOCSET_SMALL_SIZES);
	SqsReceive *receive = MemoryContextAllocZero(context, sizeof(SqsReceive));

	receive->source = source;
	receive->context = context;
	receive->wait_seconds = wait_seconds;
	start_receive(receive);
}

/* ----- errors ----- */

typedef struct SqsError
{
	const char *code;
	SourceTrouble trouble;
	bool		clock;			/* may mean that our clock is wrong */
	const char *words;
} SqsError;

static const SqsError errors[] = {
	{"QueueDoesNotExist", TROUBLE_CONFIGURATION, false, "the queue does not exist"},
	{"AWS.SimpleQueueService.NonExistentQueue", TROUBLE_CONFIGURATION, false, "the queue does not exist"},
	{"InvalidAddress", TROUBLE_CONFIGURATION, false, "option \"queue_url\" does not name a queue"},
	{"InvalidSecurity", TROUBLE_CONFIGURATION, false, "the service wants https and a version 4 signature"},
	{"UnsupportedOperation", TROUBLE_CONFIGURATION, false, "the queue does not support the operation"},
	{"InvalidParameterValue", TROUBLE_CONFIGURATION, false, "the service refuses an option's value"},
	{"AccessDenied", TROUBLE_CREDENTIALS, false, "the access key has no right to receive from the queue"},
	{"AccessDeniedException", TROUBLE_CREDENTIALS, false, "the access key has no right to receive from the queue"},
	{"KmsAccessDenied", TROUBLE_CREDENTIALS, false, "the access key has no right to decrypt the queue's messages"},
	{"KMS.AccessDeniedException", TROUBLE_CREDENTIALS, false, "the access key has no right to decrypt the queue's messages"},
	{"KmsDisabled", TROUBLE_CREDENTIALS, false, "the queue's encryption key is disabled"},
	{"KmsNotFound", TROUBLE_CREDENTIALS, false, "the queue's encryption key does not exist"},
	{"InvalidClientTokenId", TROUBLE_CREDENTIALS, false, "the access key is not valid"},
	{"UnrecognizedClientException", TROUBLE_CREDENTIALS, false, "the access key is not valid"},
	{"MissingAuthenticationToken", TROUBLE_CREDENTIALS, false, "the service found no signature"},
	{"MissingAuthenticationTokenException", TROUBLE_CREDENTIALS, false, "the service found no signature"},
	{"ExpiredToken", TROUBLE_CREDENTIALS, false, "the session token has expired"},
	{"ExpiredTokenException", TROUBLE_CREDENTIALS, false, "the session token has expired"},
	{"SignatureDoesNotMatch", TROUBLE_CREDENTIALS, true, "the signature was refused; the secret access key is wrong"},
	{"InvalidSignatureException", TROUBLE_CREDENTIALS, true, "the signature was refused; the secret access key is wrong"},
	{"IncompleteSignature", TROUBLE_CREDENTIALS, true, "the signature was refused"},
	{"IncompleteSignatureException", TROUBLE_CREDENTIALS, true, "the signature was refused"},
	{"RequestExpired", TROUBLE_TRANSIENT, true, "the request's time was refused"},
	{"RequestTimeTooSkewed", TROUBLE_TRANSIENT, true, "the request's time was refused"},
	{"RequestThrottled", TROUBLE_TRANSIENT, false, "the service asks to slow down"},
	{"ThrottlingException", TROUBLE_TRANSIENT, false, "the service asks to slow down"},
	{"Throttling", TROUBLE_TRANSIENT, false, "the service asks to slow down"},
	{"TooManyRequestsException", TROUBLE_TRANSIENT, false, "the service asks to slow down"},
	{"RequestLimitExceeded", TROUBLE_TRANSIENT, false, "the service asks to slow down"},
	{"OverLimit", TROUBLE_TRANSIENT, false, "too many messages of the queue are in flight"},
};

/* "com.amazonaws.sqs#QueueDoesNotExist:..." becomes "QueueDoesNotExist". */
static char *
error_code(MemoryContext context, const HttpRequest *request)
{
	cJSON	   *json = reply_json(context, request->reply, request->reply_len);
	const char *type = reply_text(json, "__type");
	const char *hash;

	if (type == NULL)
		type = reply_text(json, "Code");
	if (type == NULL)
		type = reply_error_code(request);
	hash = strchr(type, '#');
	type = hash ? hash + 1 : type;
	type = MemoryContextStrdup(context, type);
	*strchrnul(type, ':') = '\0';
	return unconstify(char *, type);
}

/* Fills the fault for a reply that is no success. */
static const SqsError *
read_error(MemoryContext context, const HttpRequest *request, Fault *fault)
{
	static const SqsError transient = {"", TROUBLE_TRANSIENT, false, "the service failed"};
	static const SqsError refused = {"", TROUBLE_CONFIGURATION, false, "the service refused the request"};
	const char *code = error_code(context, request);
	const SqsError *error = http_status_is_transient(request->status) ? &transient : &refused;

	for (int i = 0; i < (int) lengthof(errors); i++)
	{
		if (strcmp(errors[i].code, code) == 0)
			error = &errors[i];
	}
	reply_fault(request, code, NULL, error->words, fault);
	return error;
}

/* ----- replies ----- */

static bool
body_is_intact(const char *body, const char *md5)
{
	char		digest[33];
	const char *error = NULL;

	if (md5 == NULL)
		return true;
	return pg_md5_hash(body, strlen(body), digest, &error) && pg_strcasecmp(digest, md5) == 0;
}

static void
take_messages(Delivery *delivery, const cJSON *messages)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, messages)
	{
		SourceMessage *message = &delivery->messages[delivery->count];
		const char *body = reply_text(item, "Body");
		const char *handle = reply_text(item, "ReceiptHandle");

		/* not settled: it comes again */
		if (body == NULL || handle == NULL || !body_is_intact(body, reply_text(item, "MD5OfBody")))
		{
			ereport(LOG,
					(errmsg("damaged message from server \"%s\" is left in the queue",
							delivery->source->name)));
			continue;
		}
		message->body = MemoryContextStrdup(delivery->context, body);
		message->body_len = strlen(body);
		message->handle = MemoryContextStrdup(delivery->context, handle);
		delivery->count++;
	}
}

static void
receive_failed(SqsReceive *receive, const HttpRequest *request)
{
	Source	   *source = receive->source;
	const SqsError *error;
	Fault		fault = {0};

	if (request->status == 0)
	{
		source_failed(source, TROUBLE_TRANSIENT, -1, &request->fault);
		return;
	}
	error = read_error(receive->context, request, &fault);
	if (error->clock && !receive->again && source->configured &&
		source_correct_clock(source, request->date))
	{
		receive->again = true;
		start_receive(receive);
		return;
	}
	source_failed(source, error->trouble, request->retry_after_s, &fault);
}

static void
receive_succeeded(SqsReceive *receive, const HttpRequest *request)
{
	Source	   *source = receive->source;
	cJSON	   *json = reply_json(receive->context, request->reply, request->reply_len);
	const cJSON *messages;
	Delivery   *delivery;
	int			count;

	/* an empty queue is {}, {"Messages":[]} or {"Messages":null} */
	messages = cJSON_GetObjectItemCaseSensitive(json, "Messages");
	if (!cJSON_IsObject(json) ||
		(messages && !cJSON_IsArray(messages) && !cJSON_IsNull(messages)))
	{
		Fault		fault = {0};

		fault_set(&fault, ERRCODE_CONNECTION_FAILURE, REASON_PROVIDER,
				  "the reply could not be understood");
		source_failed(source, TROUBLE_TRANSIENT, -1, &fault);
		return;
	}
	count = cJSON_GetArraySize(messages);
	delivery = source_delivery(source, count);
	take_messages(delivery, messages);
	source_received(source, delivery, count >= receive->asked);
}

static void
sqs_received(HttpRequest *request, void *arg)
{
	SqsReceive *receive = arg;
	MemoryContext old = MemoryContextSwitchTo(receive->context);
	bool		again;

	if (request->status == 200)
		receive_succeeded(receive, request);
	else
	{
		again = receive->again;
		receive_failed(receive, request);
		if (receive->again != again)
		{
			MemoryContextSwitchTo(old);
			http_free(request);
			return;				/* under way once more */
		}
	}
	MemoryContextSwitchTo(old);
	http_free(request);
	MemoryContextDelete(receive->context);
}

/* ----- settle and release ----- */

/* Entries are named by their place in the delivery. */
static void
send_batch(Delivery *delivery, const char *action, const char *extra, HttpDone done)
{
	StringInfoData members;
	MemoryContext old = MemoryContextSwitchTo(delivery->context);
	const char *separator = "";

	initStringInfo(&members);
	appendStringInfoString(&members, ",\"Entries\":[");
	for (int i = 0; i < delivery->count; i++)
	{
		if (delivery->messages[i].settled)
			continue;
		appendStringInfo(&members, "%s{\"Id\":\"%d\",\"ReceiptHandle\":", separator, i);
		escape_json(&members, delivery->messages[i].handle);
		appendStringInfo(&members, "%s}", extra);
		separator = ",";
	}
	appendStringInfoChar(&members, ']');
	MemoryContextSwitchTo(old);
	send_action(delivery->source, delivery->context, action, members.data,
				SQS_ANSWER_MS, done, delivery);
}

static void
sqs_settle(Delivery *delivery)
{
	send_batch(delivery, "DeleteMessageBatch", "", sqs_settled);
}

static void
sqs_release(Delivery *delivery)
{
	send_batch(delivery, "ChangeMessageVisibilityBatch", ",\"VisibilityTimeout\":0", sqs_released);
}

/* All entries are settled but those that failed and may work later. */
static const char *
read_failed_entries(Delivery *delivery, const cJSON *json)
{
	const char *problem = NULL;
	const cJSON *item;

	for (int i = 0; i < delivery->count; i++)
		delivery->messages[i].settled = true;
	cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(json, "Failed"))
	{
		const char *id = reply_text(item, "Id");
		const char *code = reply_text(item, "Code");
		int			at = id ? atoi(id) : -1;

		/* the lease ran out: it will come again as a duplicate */
		if (at < 0 || at >= delivery->count ||
			(code && strstr(code, "ReceiptHandleIsInvalid")))
			continue;
		delivery->messages[at].settled = false;
		problem = "the service refused some of them";
	}
	return problem;
}

static void
sqs_settled(HttpRequest *request, void *arg)
{
	Delivery   *delivery = arg;
	MemoryContext old = MemoryContextSwitchTo(delivery->context);
	const char *problem = NULL;
	Fault		fault = {0};

	if (request->status == 200)
		problem = read_failed_entries(delivery, reply_json(delivery->context, request->reply, request->reply_len));
	else if (request->status == 0)
		problem = pstrdup(request->fault.message);
	else
	{
		if (read_error(delivery->context, request, &fault)->clock)
			(void) source_correct_clock(delivery->source, request->date);
		problem = fault.message;
	}
	MemoryContextSwitchTo(old);
	http_free(request);
	source_settled(delivery, problem);
}

static void
sqs_released(HttpRequest *request, void *arg)
{
	http_free(request);
	source_released(arg);
}

/* ----- check ----- */

#define SHORT_VISIBILITY_S	60
#define SHORT_RETENTION_S	86400

/* An attribute as a number: all of them are strings; -1 if it is not there. */
static int
attribute(const cJSON *attributes, const char *name)
{
	const char *text = reply_text(attributes, name);

	return text ? atoi(text) : -1;
}

static void
judge_queue(SourceCheck *check, const cJSON *attributes)
{
	const SqsConfig *config = check->source->config;
	int			visibility = config->visibility_seconds >= 0
		? config->visibility_seconds : attribute(attributes, "VisibilityTimeout");
	int			retention = attribute(attributes, "MessageRetentionPeriod");

	check_add(check, FINDING_OK, "queue",
			  psprintf("the queue can be read; about %d messages wait",
					   Max(0, attribute(attributes, "ApproximateNumberOfMessages"))), NULL);
	if (visibility >= 0 && visibility < SHORT_VISIBILITY_S)
		check_add(check, FINDING_WARNING, "queue",
				  psprintf("messages come back after %d seconds, also while they are being stored", visibility),
				  psprintf("Set the queue's visibility timeout to %d seconds or more, or the option \"visibility_seconds\".",
						   SHORT_VISIBILITY_S));
	if (reply_text(attributes, "RedrivePolicy") == NULL)
		check_add(check, FINDING_WARNING, "queue", "the queue has no dead-letter queue",
				  "Give the queue a redrive policy with a dead-letter queue.");
	if (retention >= 0 && retention < SHORT_RETENTION_S)
		check_add(check, FINDING_WARNING, "queue",
				  psprintf("messages are lost when this server is away for %d seconds", retention),
				  "Set the queue's message retention period to some days.");
}

static void
sqs_checked(HttpRequest *request, void *arg)
{
	SourceCheck *check = arg;
	Fault		fault = {0};
	const SqsError *error;

	check_clock(check, request->date);
	if (request->status == 200)
		judge_queue(check, cJSON_GetObjectItemCaseSensitive(reply_json(check->context, request->reply, request->reply_len),
															"Attributes"));
	else if (request->status == 0)
		check_trouble(check, TROUBLE_TRANSIENT, &request->fault);
	else
	{
		error = read_error(check->context, request, &fault);
		if (error->clock && source_correct_clock(check->source, request->date))
		{
			http_free(request);
			check->source->provider->check(check);
			return;
		}
		if (strncmp(error->code, "AccessDenied", 12) == 0)
			check_add(check, FINDING_WARNING, "queue", "the access key may not read the queue's settings",
					  "Allow \"sqs:GetQueueAttributes\" to see them here; receiving does not need it.");
		else
			check_trouble(check, error->trouble, &fault);
	}
	check_end(check);
	http_free(request);
}

static void
sqs_check(SourceCheck *check)
{
	send_action(check->source, check->context, "GetQueueAttributes", ",\"AttributeNames\":[\"All\"]",
				SQS_ANSWER_MS, sqs_checked, check);
}

const Provider sqs_provider = {
	.type = "sqs",
	.configure = sqs_configure,
	.receive = sqs_receive,
	.settle = sqs_settle,
	.release = sqs_release,
	.check = sqs_check,
};
