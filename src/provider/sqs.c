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
#include "utils/builtins.h"

#include "base/fault.h"
#include "base/json.h"
#include "base/options.h"
#include "provider/call.h"
#include "provider/finding.h"
#include "provider/identity.h"
#include "provider/identity_aws.h"
#include "provider/source.h"
#include "wire/authorize.h"
#include "wire/http.h"
#include "wire/reply.h"
#include "wire/sign.h"
#include "wire/url.h"

#define SQS_BATCH			10
#define SQS_VISIBILITY_SECONDS 43200
#define SQS_WAIT_SECONDS	20
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

/* ----- options ----- */

/*
 * "eu-west-1" out of "sqs.eu-west-1.amazonaws.com" and its kin: behind the label
 * of the service, in front of which a VPC endpoint may have names; or NULL.
 */
static char *
region_of_host(const char *host)
{
	for (const char *label = host; label; label = strchr(label, '.'))
	{
		label += *label == '.';
		if (strncmp(label, "sqs.", 4) == 0 || strncmp(label, "sqs-fips.", 9) == 0)
		{
			const char *region = strchr(label, '.') + 1;
			const char *end = strchr(region, '.');

			return end ? pnstrdup(region, end - region) : NULL;
		}
	}
	return NULL;
}

/* https://host/account/name */
static bool
parse_queue_url(const char *text, UrlParts **parts, Fault *fault)
{
	const char *name;

	if (!url_parse(text, parts, fault) || (*parts)->query != NULL ||
		(name = strchr((*parts)->path + 1, '/')) == NULL ||
		name == (*parts)->path + 1 || name[1] == '\0' || strchr(name + 1, '/') != NULL)
		return options_fault(fault, "option \"queue_url\" is not a queue URL of the form https://host/account/name");
	return true;
}

static bool
sqs_configure(Source *source, const ServerOptions *options, Fault *fault)
{
	SqsConfig  *config = palloc0(sizeof(SqsConfig));
	const char *endpoint = options_get(options, "endpoint");
	UrlParts   *queue;
	UrlParts   *host;

	config->queue_url = identity_setting(options, "queue_url", NULL);
	if (config->queue_url == NULL)
		return options_fault(fault, "option \"queue_url\" is not set");
	if (!parse_queue_url(config->queue_url, &queue, fault))
		return false;
	config->region = identity_setting(options, "region", NULL);
	if (config->region == NULL)
		config->region = region_of_host(queue->host);
	if (config->region == NULL)
		return options_fault(fault, "option \"region\" is not set and cannot be told from \"queue_url\"");
	if (endpoint == NULL)
		endpoint = psprintf("%s://%s", queue->scheme, queue->host_header);
	if (!url_parse(endpoint, &host, fault) || !url_scheme_allowed(host))
		return options_fault(fault, "the endpoint is not an https URL");
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
	if (source->identity == NULL && !identity_own_keys(options, &config->keys, fault))
		return false;
	source->config = config;
	return true;
}

/* ----- requests ----- */

static const char *
sqs_url(Call *call)
{
	return ((SqsConfig *) call->source->config)->endpoint;
}

static void
sqs_sign(Call *call, HttpRequest *request)
{
	const Source *source = call->source;
	const SqsConfig *config = source->config;
	const AwsKeys *keys = source->identity ? &source->identity->keys : &config->keys;
	SignHeader	headers[] = {
		{"content-type", CONTENT_TYPE},
		{"x-amz-target", psprintf("AmazonSQS.%s", call->path)},
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

	authorize_v4(request, &input);
}

/* A JSON object: the queue, what else there is, and the members of the operation. */
static void
set_body(Call *call, const char *members)
{
	const SqsConfig *config = call->source->config;
	call->body = psprintf("{\"QueueUrl\":%s%s}", json_quoted(config->queue_url), members);
}

static void
prepare_receive(Call *call)
{
	const SqsConfig *config = call->source->config;
	const char *lease = config->visibility_seconds < 0 ? ""
		: psprintf(",\"VisibilityTimeout\":%d", config->visibility_seconds);

	call->asked = config->batch_size;
	call->lease_seconds = Max(0, config->visibility_seconds);
	set_body(call, psprintf(",\"MaxNumberOfMessages\":%d,\"WaitTimeSeconds\":%d%s",
							call->asked, call->wait_seconds, lease));
}

/* Entries are named by their place in the delivery. */
static void
prepare_batch(Call *call)
{
	SourceMessage *message;
	StringInfoData members;
	int			at = -1;

	initStringInfo(&members);
	while ((message = source_unsettled(call->delivery, &at)) != NULL)
		appendStringInfo(&members, "%s{\"Id\":\"%d\",\"ReceiptHandle\":%s%s}",
						 members.len > 0 ? "," : ",\"Entries\":[", at,
						 json_quoted(message->handle), call->query);
	appendStringInfoChar(&members, ']');
	set_body(call, members.data);
}

static void
prepare_renew(Call *call)
{
	call->query = psprintf(",\"VisibilityTimeout\":%d", call->delivery->lease_seconds);
	prepare_batch(call);
}

static void
prepare_check(Call *call)
{
	set_body(call, ",\"AttributeNames\":[\"All\"]");
}

static void
prepare_measure(Call *call)
{
	set_body(call, ",\"AttributeNames\":[\"ApproximateNumberOfMessages\"]");
}

/* ----- replies ----- */

static cJSON *
json_of(const Call *call)
{
	return reply_json(call->context, call->request->reply, call->request->reply_len);
}

static bool
body_is_intact(const char *body, const char *md5)
{
	char		digest[33];
	const char *error = NULL;

	if (body == NULL || md5 == NULL)
		return true;
	/* what cannot be computed, under FIPS, shows no damage; TLS has its own checksums */
	return !pg_md5_hash(body, strlen(body), digest, &error) || pg_strcasecmp(digest, md5) == 0;
}

static bool
received(Call *call)
{
	const cJSON *json = json_of(call);
	const cJSON *messages = cJSON_GetObjectItemCaseSensitive(json, "Messages");
	const cJSON *item;
	Delivery   *delivery;

	/* an empty queue is {}, {"Messages":[]} or {"Messages":null} */
	if (!cJSON_IsObject(json) ||
		(messages && !cJSON_IsArray(messages) && !cJSON_IsNull(messages)))
		return false;
	delivery = source_delivery(call->source, call->lease_seconds);
	cJSON_ArrayForEach(item, messages)
	{
		const char *body = reply_text(item, "Body");
		const char *handle = reply_text(item, "ReceiptHandle");

		if (!body_is_intact(body, reply_text(item, "MD5OfBody")))
			body = NULL;
		(void) source_message(delivery, handle, body, body ? strlen(body) : 0);
	}
	source_received(call->source, delivery, delivery->count >= call->asked);
	return true;
}

/* All entries are settled but those that failed and may work later. */
static bool
settled(Call *call)
{
	Delivery   *delivery = call->delivery;
	const cJSON *item;

	for (int i = 0; i < delivery->count; i++)
		delivery->messages[i].settled = true;
	cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(json_of(call), "Failed"))
	{
		const char *id = reply_text(item, "Id");
		const char *code = reply_text(item, "Code");
		int			at = id ? atoi(id) : -1;

		/* the lease ran out: it will come again as a duplicate */
		if (at < 0 || at >= delivery->count ||
			(code && strstr(code, "ReceiptHandleIsInvalid")))
			continue;
		delivery->messages[at].settled = false;
	}
	return true;
}

static bool
renewed(Call *call)
{
	return cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(json_of(call), "Failed")) == 0;
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
judge_queue(Call *call, const cJSON *attributes)
{
	const SqsConfig *config = call->source->config;
	Findings   *findings = call->findings;
	int			visibility = config->visibility_seconds >= 0
		? config->visibility_seconds : attribute(attributes, "VisibilityTimeout");
	int			retention = attribute(attributes, "MessageRetentionPeriod");

	finding_add(findings, FINDING_OK, "queue",
			  psprintf("the queue can be read; about %d messages wait",
					   Max(0, attribute(attributes, "ApproximateNumberOfMessages"))), NULL);
	if (visibility >= 0 && visibility < SHORT_VISIBILITY_S)
		finding_add(findings, FINDING_WARNING, "queue",
				  psprintf("messages come back after %d seconds, also while they are being stored", visibility),
				  psprintf("ALTER SERVER %s OPTIONS (%s visibility_seconds '%d')",
						   quote_identifier(findings->source),
						   config->visibility_seconds >= 0 ? "SET" : "ADD", SHORT_VISIBILITY_S));
	if (reply_text(attributes, "RedrivePolicy") == NULL)
		finding_add(findings, FINDING_WARNING, "queue", "the queue has no dead-letter queue",
				  "Give the queue a redrive policy with a dead-letter queue.");
	if (retention >= 0 && retention < SHORT_RETENTION_S)
		finding_add(findings, FINDING_WARNING, "queue",
				  psprintf("messages are lost when this server is away for %d seconds", retention),
				  "Set the queue's message retention period to some days.");
}

static bool
measured(Call *call)
{
	call->backlog = attribute(cJSON_GetObjectItemCaseSensitive(json_of(call), "Attributes"),
							  "ApproximateNumberOfMessages");
	return true;
}

static bool
checked(Call *call)
{
	if (call->request->status == 200)
		judge_queue(call, cJSON_GetObjectItemCaseSensitive(json_of(call), "Attributes"));
	else if (strncmp(call->code, "AccessDenied", 12) == 0)
		finding_add(call->findings, FINDING_WARNING, "queue", "the access key may not read the queue's settings",
					"Allow \"sqs:GetQueueAttributes\" to see them here; receiving does not need it.");
	else
		return false;
	return true;
}

/* ----- the service ----- */

static const ServiceError errors[] = {
	{0, "QueueDoesNotExist", TROUBLE_CONFIGURATION, "the queue does not exist"},
	{0, "AWS.SimpleQueueService.NonExistentQueue", TROUBLE_CONFIGURATION, "the queue does not exist"},
	{0, "InvalidAddress", TROUBLE_CONFIGURATION, "option \"queue_url\" does not name a queue"},
	{0, "InvalidSecurity", TROUBLE_CONFIGURATION, "the service wants https and a version 4 signature"},
	{0, "UnsupportedOperation", TROUBLE_CONFIGURATION, "the queue does not support the operation"},
	{0, "InvalidParameterValue", TROUBLE_CONFIGURATION, "the service refuses an option's value"},
	{0, "AccessDenied", TROUBLE_CREDENTIALS, "the access key has no right to receive from the queue"},
	{0, "AccessDeniedException", TROUBLE_CREDENTIALS, "the access key has no right to receive from the queue"},
	{0, "KmsAccessDenied", TROUBLE_CREDENTIALS, "the access key has no right to decrypt the queue's messages"},
	{0, "KMS.AccessDeniedException", TROUBLE_CREDENTIALS, "the access key has no right to decrypt the queue's messages"},
	{0, "KmsDisabled", TROUBLE_CREDENTIALS, "the queue's encryption key is disabled"},
	{0, "KmsNotFound", TROUBLE_CREDENTIALS, "the queue's encryption key does not exist"},
	{0, "InvalidClientTokenId", TROUBLE_CREDENTIALS, "the access key is not valid"},
	{0, "UnrecognizedClientException", TROUBLE_CREDENTIALS, "the access key is not valid"},
	{0, "MissingAuthenticationToken", TROUBLE_CREDENTIALS, "the service found no signature"},
	{0, "MissingAuthenticationTokenException", TROUBLE_CREDENTIALS, "the service found no signature"},
	{0, "ExpiredToken", TROUBLE_CREDENTIALS, "the session token has expired"},
	{0, "ExpiredTokenException", TROUBLE_CREDENTIALS, "the session token has expired"},
	{0, "SignatureDoesNotMatch", TROUBLE_CREDENTIALS, "the signature was refused; the secret access key is wrong"},
	{0, "InvalidSignatureException", TROUBLE_CREDENTIALS, "the signature was refused; the secret access key is wrong"},
	{0, "IncompleteSignature", TROUBLE_CREDENTIALS, "the signature was refused"},
	{0, "IncompleteSignatureException", TROUBLE_CREDENTIALS, "the signature was refused"},
	{0, "RequestExpired", TROUBLE_TRANSIENT, "the request's time was refused"},
	{0, "RequestTimeTooSkewed", TROUBLE_TRANSIENT, "the request's time was refused"},
	{0, "RequestThrottled", TROUBLE_THROTTLED, "the service asks to slow down"},
	{0, "ThrottlingException", TROUBLE_THROTTLED, "the service asks to slow down"},
	{0, "Throttling", TROUBLE_THROTTLED, "the service asks to slow down"},
	{0, "TooManyRequestsException", TROUBLE_THROTTLED, "the service asks to slow down"},
	{0, "RequestLimitExceeded", TROUBLE_THROTTLED, "the service asks to slow down"},
	{0, "OverLimit", TROUBLE_TRANSIENT, "too many messages of the queue are in flight"},
	{0}
};

/* "com.amazonaws.sqs#QueueDoesNotExist:..." becomes "QueueDoesNotExist". */
static void
read_error(const HttpRequest *request, const char **code, const char **request_id)
{
	cJSON	   *json = reply_json(CurrentMemoryContext, request->reply, request->reply_len);
	const char *type = reply_text(json, "__type");
	const char *hash;

	if (type == NULL)
		type = reply_text(json, "Code");
	if (type == NULL)
		return;
	hash = strchr(type, '#');
	type = hash ? hash + 1 : type;
	*code = pnstrdup(type, strcspn(type, ":"));
}

const Service sqs_service = {
	.provider = {
		.type = "sqs",
		.ways = identity_aws_ways,
		.configure = sqs_configure,
		CALL_FUNCTIONS
	},
	.operations = {
		[CALL_RECEIVE] = {"POST", "ReceiveMessage", "", prepare_receive, received},
		[CALL_SETTLE] = {"POST", "DeleteMessageBatch", "", prepare_batch, settled},
		[CALL_RENEW] = {"POST", "ChangeMessageVisibilityBatch", NULL, prepare_renew, renewed},
		[CALL_RELEASE] = {"POST", "ChangeMessageVisibilityBatch", ",\"VisibilityTimeout\":0",
		prepare_batch, NULL},
		[CALL_MEASURE] = {"POST", "GetQueueAttributes", "", prepare_measure, measured},
		[CALL_CHECK] = {"POST", "GetQueueAttributes", "", prepare_check, checked},
	},
	.errors = errors,
	.max_reply = 64 * 1024 * 1024,	/* ten bodies of 1 MiB, escaped */
	.answer_ms = 15000,
	.url = sqs_url,
	.sign = sqs_sign,
	.read_error = read_error,
};
