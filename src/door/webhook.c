/*
 * webhook.c
 *	  The door for pushes: SNS, Event Grid, CloudEvents behind a gateway.
 *
 * damoov_webhook() gets a request from a gateway and says what to answer.
 * Anybody can send to a gateway, so nothing is written before the sender is
 * verified: a message of SNS by its signature and topic, any other push by a
 * shared secret.  Then it is stored like every other notification.
 *
 * The answers follow the senders' rules.  A push that was refused gets 403,
 * which neither SNS nor Event Grid tries again.  What may be right the next
 * time (no certificate yet, a deadlock, a setting that cannot be used) gets
 * 503.  What was understood and is bad is in the quarantine and gets 200.
 */
#include "postgres.h"

#include <openssl/crypto.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "base/fault.h"
#include "base/hide.h"
#include "base/json.h"
#include "base/options.h"
#include "base/rights.h"
#include "base/sql.h"
#include "base/timestamp.h"
#include "base/wakeup.h"
#include "compat.h"
#include "door/certificate.h"
#include "door/ingest.h"
#include "door/topic.h"
#include "message/envelope.h"
#include "message/notification.h"
#include "message/part.h"
#include "message/sns.h"
#include "wire/partition.h"
#include "wire/sign.h"

/* SNS retries for an hour; the rest allows for clocks that differ */
#define MAX_AGE				(INT64CONST(75) * USECS_PER_MINUTE)
#define MAX_TOKEN			1024
#define GRID_VALIDATION		"Microsoft.EventGrid.SubscriptionValidationEvent"

SQL_FUNCTION(damoov_webhook);

/* What the gateway is to send back. */
typedef struct Answer
{
	int			status;
	const char *body;			/* JSON text, or NULL */
	const char *origin;			/* whose handshake it is, or NULL */
} Answer;

typedef struct Push
{
	const char *body;
	Size		body_len;
	Jsonb	   *headers;
	List	   *servers;		/* ServerOptions *, of TYPE webhook */
	Fault		trouble;		/* why another server could not be loaded, if so */
} Push;

/* ----- answers ----- */

/* Once a minute for each reason: anybody can send, and must not fill the log. */
static void
log_refusal(const char *reason)
{
	if (certificate_may_log(reason))
		ereport(LOG, (errmsg("could not accept push: %s", reason)));
}

/* The reason is for the operator, who finds it in the sender's delivery log. */
static Answer
error_answer(int status, const char *reason)
{
	log_refusal(reason);
	return (Answer) {.status = status, .body = psprintf("{\"error\": %s}", json_quoted(reason))};
}

/*
 * Something is wrong on this side: the sender is asked to try again, and not
 * told what it is.
 */
static Answer
trouble_answer(const char *trouble)
{
	log_refusal(trouble);
	return (Answer) {.status = 503, .body = "{\"error\": \"not now, see the server log\"}"};
}

/*
 * No server accepts the push.  As long as the options of one cannot be read
 * that one might, so the sender has to try again.
 */
static Answer
refuse(const Push *push, const char *reason)
{
	if (push->trouble.sqlstate != 0)
		return trouble_answer(push->trouble.message);
	return error_answer(403, reason);
}

static Datum
answer_jsonb(const Answer *answer)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "{\"status\": %d, \"headers\": {", answer->status);
	if (answer->origin)
		appendStringInfo(&text, "\"WebHook-Allowed-Origin\": \"%s\", "
						 "\"WebHook-Allowed-Rate\": \"*\", \"Allow\": \"POST\"", answer->origin);
	else if (answer->body)
		appendStringInfoString(&text, "\"Content-Type\": \"application/json\"");
	appendStringInfo(&text, "}, \"body\": %s}", json_quoted(answer->body ? answer->body : ""));
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(text.data));
}

/* ----- the request ----- */

/*
 * The value of a header, whatever the case of its name; NULL when it is absent
 * or given twice with different values.  Some gateways write each value as an
 * array of those that came: {"name": ["value"]}.
 */
static char *
header(const Push *push, const char *name)
{
	JsonbIterator *iterator = JsonbIteratorInit(&push->headers->root);
	JsonbValue	value;
	JsonbIteratorToken token;
	int			depth = 0;
	bool		is_it = false;
	char	   *found = NULL;

	while ((token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE)
	{
		if (token == WJB_BEGIN_OBJECT || token == WJB_BEGIN_ARRAY)
			depth++;
		else if (token == WJB_END_OBJECT || token == WJB_END_ARRAY)
			depth--;
		else if (token == WJB_KEY && depth == 1)
			is_it = pg_strncasecmp(value.val.string.val, name, value.val.string.len) == 0 &&
				strlen(name) == (Size) value.val.string.len;
		else if (is_it && value.type == jbvString &&
				 ((token == WJB_VALUE && depth == 1) || (token == WJB_ELEM && depth == 2)))
		{
			char	   *text = pnstrdup(value.val.string.val, value.val.string.len);

			if (found && strcmp(found, text) != 0)
				return NULL;
			found = text;
		}
	}
	return found;
}

/*
 * Loads the webhook servers that can be used, and notes what is wrong with the
 * others.  False when there is none of either.
 */
static bool
load_servers(Push *push)
{
	bool		any = false;
	ListCell   *cell;

	foreach(cell, options_server_names())
	{
		ForeignServer *server = GetForeignServerByName(lfirst(cell), true);
		ServerOptions *options;

		if (!options_is_server(server, WEBHOOK_TYPE))
			continue;
		any = true;
		if (options_load(server->servername, &options, &push->trouble))
			push->servers = lappend(push->servers, options);
	}
	return any;
}

static void
wipe_servers(Push *push)
{
	ListCell   *cell;

	foreach(cell, push->servers)
		options_wipe(lfirst(cell));
}

typedef struct Pause
{
	Oid			server;
	bool		found;
} Pause;

static void
look_for_pause(void *argument)
{
	static SqlPlan plan = SQL_PLAN(
		"SELECT FROM damoov.sources WHERE server_oid = $1 AND home = damoov.home() AND paused",
		OIDOID);
	Pause	   *pause = argument;
	Datum		parameter = ObjectIdGetDatum(pause->server);
	int			scope = sql_enter();

	pause->found = sql_run(&plan, &parameter, NULL) > 0;
	sql_leave(scope);
}

/* Leaves no lock: a certificate may have to be fetched after this. */
static bool
is_paused(const ServerOptions *options)
{
	Pause		pause = {.server = options->server};

	sql_look(look_for_pause, &pause);
	return pause.found || options_bool(options, "paused");
}

/*
 * Which server takes the push, of those that would: a superuser's first, for a
 * topic can be listed by anybody.  NULL when there is none; also with the fault
 * filled when two owners claim it.
 */
static const ServerOptions *
choose_server(const Push *push, bool (*takes) (const Push *push, const ServerOptions *server,
											   const char *what),
			  const char *what, Fault *fault)
{
	const ServerOptions *found = NULL;
	bool		claimed = false;
	ListCell   *cell;

	foreach(cell, push->servers)
	{
		const ServerOptions *server = lfirst(cell);

		if (!takes(push, server, what) || (found && rights_serve(found->owner, server->owner)))
			continue;
		claimed = found && !rights_serve(server->owner, found->owner);
		found = server;
	}
	if (claimed)
		fault_set(fault, REASON_CONFIGURATION, "servers of different owners would take it");
	else if (found && push->trouble.sqlstate != 0 && !rights_serve(found->owner, InvalidOid))
		*fault = push->trouble;	/* it might be that one's */
	return fault->sqlstate == 0 ? found : NULL;
}

/* ----- storing ----- */

/* data.validationCode of Event Grid's handshake */
static void
on_validation_scalar(JsonWalk *walk, char *text, JsonTokenType type)
{
	if (walk->depth == 2 && type == JSON_TOKEN_STRING &&
		strcmp(json_name(walk, 1), "data") == 0 &&
		strcmp(json_name(walk, 2), "validationCode") == 0)
		*(char **) walk->state = text;
}

static char *
validation_code(List *entries)
{
	static const JsonVisitor visitor = {.scalar = on_validation_scalar};
	char	   *code = NULL;
	ListCell   *cell;

	foreach(cell, entries)
	{
		const EnvelopePart *part = &((IngestEntry *) lfirst(cell))->part;
		Fault		ignored = {0};

		if (part->control && strcmp(part->control, GRID_VALIDATION) == 0)
			(void) json_walk(part->text, part->len, JSON_LIMITS(NOTIFICATION_MAX_SIZE), &visitor,
							 &code, &ignored);
	}
	return code;
}

static Answer
stored_answer(List *entries)
{
	char	   *code = validation_code(entries);
	int			counts[INGEST_OUTCOMES] = {0};
	StringInfoData body;
	ListCell   *cell;

	if (code)
		return (Answer) {
			.status = 200,
			.body = psprintf("{\"validationResponse\": %s}", json_quoted(code))
		};
	initStringInfo(&body);
	foreach(cell, entries)
		counts[((IngestEntry *) lfirst(cell))->outcome]++;
	for (int i = 0; i < INGEST_OUTCOMES; i++)
		appendStringInfo(&body, "%s\"%s\": %d", i ? ", " : "{", ingest_outcome_name(i), counts[i]);
	appendStringInfoChar(&body, '}');
	return (Answer) {.status = 200, .body = body.data};
}

/* Has the worker confirm the subscription.  The URL in the message itself is not used. */
static void
ask_for_confirmation(const SnsMessage *message, const char *source)
{
	static SqlPlan plan = SQL_PLAN(
		"INSERT INTO damoov.subscriptions (source, topic_arn, token, token_digest) "
		"VALUES ($1, $2, $3, sha256(convert_to($3, 'UTF8'))) "
		"ON CONFLICT ON CONSTRAINT subscriptions_token_digest_key DO NOTHING",
		TEXTOID, TEXTOID, TEXTOID);
	Datum		arguments[] = {
		CStringGetTextDatum(source),
		CStringGetTextDatum(message->value[SNS_TOPIC_ARN]),
		CStringGetTextDatum(message->value[SNS_TOKEN])
	};

	sql_run(&plan, arguments, NULL);
	wakeup_at_commit();
}

typedef struct PushContent
{
	List	   *entries;
	const SnsMessage *message;	/* NULL: not from SNS */
	const char *source;
} PushContent;

static void
store_step(void *argument)
{
	const PushContent *content = argument;
	const SnsMessage *message = content->message;

	ingest_store(content->entries, content->source, INGEST_DECIDE);
	if (message && sns_is_confirmation(message) &&
		strlen(message->value[SNS_TOKEN]) <= MAX_TOKEN)
	{
		int			scope = sql_enter();

		ask_for_confirmation(message, content->source);
		sql_leave(scope);
	}
}

/*
 * A transient error is answered, not raised: a gateway might translate an
 * error into a status after which the sender does not try again.
 */
static Answer
store(const Push *push, const SnsMessage *message, const char *source)
{
	PushContent content = {
		.entries = ingest_read(NIL, push->body, push->body_len, NOTIFICATION_RAW),
		.message = message,
		.source = source
	};
	Fault		fault = {0};

	if (sql_try(store_step, &content, &fault))
		return stored_answer(content.entries);
	if (!fault_is_transient(fault.sqlstate))
		fault_raise(&fault);
	return trouble_answer(psprintf("could not store messages: %s", fault.message));
}

/* ----- SNS ----- */

static bool
is_fresh(const SnsMessage *message)
{
	const char *text = message->value[SNS_TIMESTAMP];
	ParsedTime	time;

	return timestamp_parse(text, strlen(text), &time) == TIME_OK &&
		time.at > GetCurrentTimestamp() - MAX_AGE;
}

static bool
lists_topic(const Push *push, const ServerOptions *server, const char *topic_arn)
{
	return topic_is_listed(server, topic_arn);
}

static Answer
take_sns(const Push *push, const SnsMessage *message)
{
	const char *topic_arn = message->value[SNS_TOPIC_ARN];
	Fault		fault = {0};
	const ServerOptions *server = choose_server(push, lists_topic, topic_arn, &fault);
	const char *path;
	char	   *base_url;
	bool		is_test;
	EVP_PKEY   *key;
	SnsVerdict	verdict;

	if (fault.sqlstate != 0)
		return trouble_answer(fault.message);
	if (server == NULL)
		return refuse(push, "topic is not listed in option \"topic_arns\"");
	if (is_paused(server))
		return error_answer(503, "source is paused");
	if (!topic_address(server, topic_arn, &base_url, &is_test, &fault))
		return trouble_answer(fault.message);
	path = sns_certificate_path(message->value[SNS_CERTIFICATE_URL], topic_arn);
	if (path == NULL)
		return error_answer(403, "SigningCertURL of the SNS message is no address of SNS in the region of its topic");
	if (!is_fresh(message))
		return error_answer(403, "SNS message is too old");

	key = topic_key(psprintf("%s%s", base_url, path), topic_arn, is_test, &fault);
	if (key == NULL)
		return error_answer(fault.reason == REASON_NO_CERTIFICATE ? 503 : 403, fault.message);
	verdict = sns_verify(message, key);
	EVP_PKEY_free(key);
	switch (verdict)
	{
		case SNS_VALID:
			return store(push, message, server->name);
		case SNS_UNVERIFIABLE:
			return trouble_answer("SHA-1 signatures cannot be verified here; set SignatureVersion 2 of the topic");
		case SNS_INVALID:
			break;
	}
	return error_answer(403, "signature of the SNS message is not valid");
}

/* ----- shared secrets ----- */

/* Compares digests, so that neither content nor length shows in the time. */
static bool
same_secret(const char *a, const char *b)
{
	char		digest_a[SIGN_SHA256_HEX_SIZE];
	char		digest_b[SIGN_SHA256_HEX_SIZE];

	sign_sha256_hex(a, strlen(a), digest_a);
	sign_sha256_hex(b, strlen(b), digest_b);
	return CRYPTO_memcmp(digest_a, digest_b, sizeof(digest_a)) == 0;
}

static bool
knows_secret(const Push *push, const ServerOptions *server, const char *unused)
{
	static const char bearer[] = "Bearer ";
	const char *secret = options_secret(server, "webhook_secret");
	const char *name = options_get(server, "secret_header");
	const char *given = header(push, name ? name : "Authorization");

	if (secret == NULL || secret[0] == '\0' || given == NULL)
		return false;
	if (pg_strncasecmp(given, bearer, strlen(bearer)) == 0)
		given += strlen(bearer);
	return same_secret(given, secret);
}

static Answer
take_other(const Push *push)
{
	Fault		fault = {0};
	const ServerOptions *server = choose_server(push, knows_secret, NULL, &fault);

	if (fault.sqlstate != 0)
		return trouble_answer(fault.message);
	if (server == NULL)
		return refuse(push, "push is neither signed by SNS nor does it carry the secret");
	if (is_paused(server))
		return error_answer(503, "source is paused");
	return store(push, NULL, server->name);
}

/*
 * CloudEvents asks beforehand, with OPTIONS, whether we take deliveries at
 * all.  This says yes to one service; each delivery still needs the secret.
 */
static Answer
take_handshake(const Push *push, const char *origin)
{
	Answer		result = {200, NULL, azure_event_grid(origin)};
	ListCell   *cell;

	foreach(cell, push->servers)
	{
		if (result.origin && options_secret(lfirst(cell), "webhook_secret") != NULL)
			return result;
	}
	return error_answer(403, "handshake of an origin that may not push");
}

static Answer
take(Push *push)
{
	char	   *origin = header(push, "WebHook-Request-Origin");
	SnsMessage	message;
	Fault		fault = {0};

	if (!load_servers(push))
		return error_answer(404, "there is no server of type \"webhook\"");
	if (push->body_len == 0 && origin)
		return take_handshake(push, origin);
	if (!sns_read(push->body, push->body_len, &message, &fault))
		return take_other(push);
	if (fault.sqlstate != 0)
		return error_answer(403, fault.message);
	return take_sns(push, &message);
}

Datum
damoov_webhook(PG_FUNCTION_ARGS)
{
	bytea	   *body = PG_GETARG_BYTEA_PP(0);
	Push		push = {
		.body = VARDATA_ANY(body),
		.body_len = VARSIZE_ANY_EXHDR(body),
		.headers = PG_GETARG_JSONB_P(1)
	};
	ErrorContextCallback hiding;
	Answer		result;

	/* the statement holds messages and a secret */
	hide_statement(&hiding);
	PreventCommandIfReadOnly("damoov_webhook()");
	if (!JB_ROOT_IS_OBJECT(push.headers))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("headers must be a JSON object")));
	sql_need_read_committed();
	result = take(&push);
	wipe_servers(&push);
	hide_end(&hiding);
	PG_RETURN_DATUM(answer_jsonb(&result));
}
