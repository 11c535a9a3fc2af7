/*
 * subscribe.c
 *	  Confirming subscriptions to SNS topics: see subscribe.h.
 *
 * SNS pushes nothing until a token it has sent comes back to it.  The door
 * (webhook.c) keeps tokens of verified messages in damoov.subscriptions; here
 * the engine sends them to the host that the topic's ARN names, and only for
 * topics that are listed at that moment.  One at a time is enough.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/fault.h"
#include "base/options.h"
#include "base/sql.h"
#include "door/subscribe.h"
#include "door/topic.h"
#include "wire/sign.h"
#include "wire/xml.h"

#define ANSWER_MS		10000
#define MAX_REPLY		(64 * 1024)

typedef enum Stage
{
	STAGE_IDLE,
	STAGE_PICKED,				/* leased, if the transaction commits */
	STAGE_ASKED,
	STAGE_ANSWERED				/* to be written */
} Stage;

struct Subscriptions
{
	MemoryContext context;		/* of the one at work, reset when done */
	HttpClient *http;
	Stage		stage;
	bool		looked;			/* the last look found nothing due */
	int64		id;
	char	   *url;
	bool		is_test;
	bool		confirmed;
	char	   *error;			/* why not */
};

Subscriptions *
subscriptions_create(MemoryContext context, HttpClient *http)
{
	Subscriptions *s = MemoryContextAllocZero(context, sizeof(Subscriptions));

	s->context = AllocSetContextCreate(context, "damoov subscription", ALLOCSET_SMALL_SIZES);
	s->http = http;
	return s;
}

static void
set_idle(Subscriptions *s)
{
	MemoryContextReset(s->context);
	s->stage = STAGE_IDLE;
	s->confirmed = false;
	s->url = NULL;
	s->error = NULL;
}

/* Sets the URL to ask, or the error that keeps us from asking. */
static void
prepare(Subscriptions *s, const char *source, const char *topic_arn, const char *token)
{
	ServerOptions *options;
	Fault		fault = {0};
	char	   *base_url;
	bool		usable = false;

	if (options_load(source, &options, &fault))
	{
		usable = topic_address(options, topic_arn, &base_url, &s->is_test, &fault);
		options_wipe(options);
	}
	if (usable)
		s->url = psprintf("%s/?Action=ConfirmSubscription&Version=2010-03-31&TopicArn=%s&Token=%s",
						  base_url, sign_encoded(topic_arn), sign_encoded(token));
	else
		s->error = fault.message;
}

void
subscriptions_pick(Subscriptions *s)
{
	static SqlPlan plan = {
		.text = "SELECT s.subscription_id, s.source, s.topic_arn, s.token FROM damoov.lease_subscription() AS s"
	};
	MemoryContext old;
	int			scope;
	const char *source;
	const char *topic_arn;
	const char *token;

	if (s->stage != STAGE_IDLE)
		return;
	scope = sql_enter();
	s->looked = sql_run(&plan, NULL, NULL) == 0;
	if (!s->looked)
	{
		s->id = DatumGetInt64(sql_value(0, 1, NULL));
		source = sql_text(s->context, 0, 2);
		topic_arn = sql_text(s->context, 0, 3);
		token = sql_text(s->context, 0, 4);
		old = MemoryContextSwitchTo(s->context);
		prepare(s, source, topic_arn, token);
		MemoryContextSwitchTo(old);
		s->stage = STAGE_PICKED;
	}
	sql_leave(scope);
}

/* The service's code for what is wrong; its text is never passed on. */
static char *
error_code(const XmlDocument *answer)
{
	const char *code = xml_text(answer, "Code");
	Size		len = code ? strspn(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz.") : 0;

	return len > 0 && len <= 64 ? psprintf(" (%s)", pnstrdup(code, len)) : "";
}

static void
confirm_done(HttpRequest *request, void *arg)
{
	Subscriptions *s = arg;
	MemoryContext old = MemoryContextSwitchTo(s->context);
	XmlDocument *answer = xml_read(request->reply, request->reply_len);

	s->confirmed = request->status == 200 && xml_text(answer, "SubscriptionArn");
	if (!s->confirmed)
		s->error = request->status == 0 ? pstrdup(request->fault.message)
			: psprintf("SNS answered with status %d%s", request->status,
					   error_code(answer));
	s->stage = STAGE_ANSWERED;
	MemoryContextSwitchTo(old);
	http_free(request);
}

void
subscriptions_start(Subscriptions *s)
{
	HttpRequest *request;

	if (s->stage != STAGE_PICKED)
		return;
	if (s->error)
	{
		s->stage = STAGE_ANSWERED;
		return;
	}
	s->stage = STAGE_ASKED;
	request = http_request(s->http, "GET", s->url);
	request->max_bytes = MAX_REPLY;
	request->timeout_ms = ANSWER_MS;
	request->public_only = !s->is_test;
	http_start(request, confirm_done, s);
}

bool
subscriptions_have_answer(const Subscriptions *s)
{
	return s->stage == STAGE_ANSWERED;
}

void
subscriptions_store(Subscriptions *s)
{
	static SqlPlan plan = SQL_PLAN("SELECT damoov.settle_subscription($1, $2, $3)",
								   INT8OID, BOOLOID, TEXTOID);
	Datum		values[] = {
		Int64GetDatum(s->id),
		BoolGetDatum(s->confirmed),
		s->error ? CStringGetTextDatum(s->error) : (Datum) 0
	};
	bool		nulls[] = {false, false, s->error == NULL};
	int			scope = sql_enter();

	sql_run(&plan, values, nulls);
	sql_leave(scope);
	if (s->confirmed)
		ereport(LOG, (errmsg("a subscription to an SNS topic was confirmed")));
}

bool
subscriptions_forget_stored(Subscriptions *s)
{
	if (s->stage != STAGE_ANSWERED)
		return false;
	set_idle(s);
	return true;
}

void
subscriptions_forget_unstarted(Subscriptions *s)
{
	if (s->stage == STAGE_PICKED)
		set_idle(s);
}

bool
subscriptions_are_quiet(const Subscriptions *s)
{
	return s->stage == STAGE_IDLE && s->looked;
}
