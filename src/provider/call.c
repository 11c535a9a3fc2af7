/*
 * call.c
 *	  One call of a provider over HTTP: see call.h.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/fault.h"
#include "base/secret.h"
#include "provider/call.h"
#include "provider/finding.h"
#include "provider/identity.h"
#include "provider/source.h"
#include "provider/token.h"
#include "wire/http.h"
#include "wire/reply.h"

static void call_answered(HttpRequest *request, void *arg);

static const Service *
service_of(const Source *source)
{
	return (const Service *) source->provider;
}

/* ----- credentials ----- */

static void
authorize(Call *call)
{
	Source	   *source = call->source;
	Identity   *identity = source->identity;
	Token	   *token = source->token;

	if (token)
		http_header(call->request, "authorization", token_text(token, source_time(source)));
	else if (identity && identity->bearer)
	{
		char	   *bearer = psprintf("Bearer %s", identity->bearer);

		http_header(call->request, "authorization", bearer);
		secret_wipe(bearer);
	}
	call->credentials = token ? token->number : identity ? identity->number : 0;
}

/*
 * After a refusal: is there anything left to try?  New credentials may have
 * come meanwhile; a token is made anew, then with the other key; a signature
 * may have been refused for its time.  How many messages wait is not worth it:
 * who may receive need not have the right to be told, and another key or time
 * would not change that.
 */
static bool
try_again(Call *call)
{
	Source	   *source = call->source;
	Token	   *token = source->token;
	const HttpRequest *request = call->request;

	if (call->purpose == CALL_MEASURE || !source_is_usable(source) ||
		(request->status != 400 && request->status != 401 && request->status != 403))
		return false;
	if (source->identity && call->credentials != source->identity->number)
		return call->refusals++ == 0;
	if (token)
	{
		if (request->status != 401)
			return false;
		if (call->credentials == token->number)
			(void) source_correct_clock(source, request->date);
		return token_replace(token, call->credentials, call->refusals++, source_time(source));
	}
	if (call->corrected || !source_correct_clock(source, request->date))
		return false;
	call->corrected = true;
	return true;
}

/*
 * Learns from a success.  The clock is corrected only if the service is ahead,
 * because then our tokens would expire too early.  An older date may just mean
 * that the reply had to wait.
 */
static void
hear(const Call *call)
{
	Source	   *source = call->source;

	if (source->token == NULL || call->request->status / 100 != 2)
		return;
	source->token->refusals = 0;
	if (call->request->date > source_time(source))
		(void) source_correct_clock(source, call->request->date);
}

/* ----- sending ----- */

static Call *
call_create(Source *source, CallPurpose purpose)
{
	MemoryContext context = AllocSetContextCreate(purpose == CALL_RECEIVE
												  ? source->receive_context : source->context,
												  "damoov call", ALLOCSET_SMALL_SIZES);
	Call	   *call = MemoryContextAllocZero(context, sizeof(Call));

	call->context = context;
	call->source = source;
	call->purpose = purpose;
	return call;
}

static void
call_send(Call *call)
{
	Source	   *source = call->source;
	const Service *service = service_of(source);
	const Operation *operation = &service->operations[call->purpose];
	MemoryContext old = MemoryContextSwitchTo(call->context);
	HttpRequest *request;

	call->method = operation->method;
	call->path = operation->path;
	call->query = operation->query;
	if (operation->prepare)
		operation->prepare(call);
	request = http_request_in(call->context, source->http, call->method, service->url(call));
	call->request = request;
	request->body = call->body;
	request->body_len = call->body ? strlen(call->body) : 0;
	/* POST and PUT have a body; libcurl would add a type to one of no bytes */
	if (call->body == NULL && call->method[0] == 'P')
	{
		request->body = "";
		http_header(request, "content-type", "");
	}
	request->max_bytes = service->max_reply;
	request->timeout_ms = call->wait_seconds * 1000 + service->answer_ms;
	request->silence_seconds = call->wait_seconds;
	authorize(call);
	if (service->sign)
		service->sign(call, request);
	MemoryContextSwitchTo(old);
	http_start(request, call_answered, call);
}

void
call_receive(Source *source, int wait_seconds)
{
	Call	   *call = call_create(source, CALL_RECEIVE);

	call->wait_seconds = wait_seconds;
	call_send(call);
}

void
call_measure(Source *source)
{
	Call	   *call;

	if (service_of(source)->operations[CALL_MEASURE].method == NULL)
	{
		source_measured(source, -1);
		return;
	}
	call = call_create(source, CALL_MEASURE);
	call->backlog = -1;
	call_send(call);
}

void
call_check(Source *source)
{
	Call	   *call = call_create(source, CALL_CHECK);

	call->findings = source->findings;
	call_send(call);
}

/* ----- all messages of a delivery ----- */

static void
delivery_ended(Delivery *delivery, CallPurpose purpose)
{
	const char *problem = delivery->problem;

	if (purpose == CALL_SETTLE)
		source_settled(delivery, problem ? problem : "the service refused some of them");
	else if (purpose == CALL_RENEW)
		source_renewed(delivery, problem != NULL);
	else
		source_released(delivery);
}

/*
 * Sends as many as may be in flight; when none is, the delivery has ended and
 * may have been freed.
 */
static void
delivery_go_on(Delivery *delivery, CallPurpose purpose)
{
	Source	   *source = delivery->source;
	const Service *service = service_of(source);
	SourceMessage *message;
	Call	   *call;

	while (service->operations[purpose].method && delivery->calls < Max(1, service->at_once) &&
		   (message = source_unsettled(delivery, &delivery->at)) != NULL)
	{
		if (!source_is_usable(source))
		{
			delivery->problem = "the options or the credentials have changed";
			break;
		}
		call = call_create(source, purpose);
		call->delivery = delivery;
		if (service->at_once > 0)
			call->message = message;
		else
			delivery->at = delivery->count;
		delivery->calls++;
		call_send(call);
	}
	if (delivery->calls == 0)
		delivery_ended(delivery, purpose);
}

static void
delivery_start(Delivery *delivery, CallPurpose purpose)
{
	delivery->at = -1;
	delivery->problem = NULL;
	delivery_go_on(delivery, purpose);
}

void
call_settle(Delivery *delivery)
{
	delivery_start(delivery, CALL_SETTLE);
}

void
call_renew(Delivery *delivery)
{
	delivery_start(delivery, CALL_RENEW);
}

void
call_release(Delivery *delivery)
{
	delivery_start(delivery, CALL_RELEASE);
}

/* ----- answers ----- */

bool
call_read_backlog(Call *call, const char *number, char end)
{
	char	   *stop;
	int64		backlog = strtoll(number, &stop, 10);

	if (*number < '0' || *number > '9' || *stop != end)
		return false;
	call->backlog = backlog;
	return true;
}

/* False: it is an error, or cannot be understood. */
static bool
read_reply(Call *call)
{
	const Service *service = service_of(call->source);
	const Operation *operation = &service->operations[call->purpose];
	bool		success = call->request->status / 100 == 2;
	bool		lost = !success && call->message && service->is_lost(call);

	if (call->message && (lost || (success && call->purpose == CALL_SETTLE)))
		call->message->settled = true;
	if (operation->answered && (success || call->purpose == CALL_CHECK))
		return operation->answered(call);
	return success || lost;
}

static const ServiceError *
find_error(const Call *call)
{
	static const ServiceError failed = {0, NULL, TROUBLE_TRANSIENT, "the service failed"};
	static const ServiceError refused = {0, NULL, TROUBLE_CONFIGURATION, "the service refused the request"};
	const Service *service = service_of(call->source);
	const HttpRequest *request = call->request;

	for (const ServiceError *row = service->errors; row->words; row++)
	{
		if ((row->status == 0 || row->status == request->status) &&
			(row->code == NULL || strcmp(row->code, call->code) == 0 ||
			 (service->codes_in_text && strstr(request->reply, row->code))))
			return row;
	}
	return http_status_is_transient(request->status) ? &failed : &refused;
}

/* Fills the fault for a reply that is an error or cannot be understood. */
static Trouble
reply_trouble(const Call *call, const char *request_id, Fault *fault)
{
	const ServiceError *error;

	if (call->request->status / 100 == 2)
	{
		fault_set(fault, REASON_PROVIDER, "the reply could not be understood");
		return TROUBLE_TRANSIENT;
	}
	error = find_error(call);
	reply_fault(call->request, call->code, request_id, error->words, fault);
	return error->trouble;
}

/* Seconds to wait before the next request; 0: the service does not ask for any. */
static int
retry_after_s(const Call *call)
{
	const HttpRequest *request = call->request;

	if (request->retry_after_s <= 0 && (request->status == 429 || request->status == 503))
		return service_of(call->source)->throttled_seconds;
	return request->retry_after_s;
}

/* Reports how the call has ended; fault NULL: successfully.  The delivery may be freed then. */
static void
call_ended(Call *call, Trouble trouble, const Fault *fault)
{
	Delivery   *delivery = call->delivery;

	if (call->purpose == CALL_RECEIVE)
	{
		/* what came has been passed on where it was read */
		if (fault)
			source_failed(call->source, trouble, retry_after_s(call), fault);
	}
	else if (call->purpose == CALL_MEASURE)
		source_measured(call->source, call->backlog);
	else if (call->purpose == CALL_CHECK)
	{
		if (fault)
			finding_trouble(call->findings, trouble, fault);
		call->findings->done = true;
	}
	else
	{
		if (fault)
			delivery->problem = MemoryContextStrdup(delivery->context, fault->message);
		delivery->calls--;
		delivery_go_on(delivery, call->purpose);
	}
}

static void
call_answered(HttpRequest *request, void *arg)
{
	Call	   *call = arg;
	const Service *service = service_of(call->source);
	MemoryContext old = MemoryContextSwitchTo(call->context);
	const char *request_id = NULL;
	Trouble		trouble = TROUBLE_TRANSIENT;
	Fault		fault = {0};

	call->code = NULL;
	if (request->status / 100 != 2 && service->read_error)
		service->read_error(request, &call->code, &request_id);
	if (call->code == NULL)
		call->code = reply_error_code(request);
	hear(call);
	if (call->findings && call->refusals == 0 && !call->corrected)
		finding_clock(call->findings, request->date);
	if (request->status == 0)
		fault = request->fault;
	else if (!read_reply(call))
	{
		if (try_again(call))
		{
			http_free(request);
			MemoryContextSwitchTo(old);
			call_send(call);
			return;
		}
		trouble = reply_trouble(call, request_id, &fault);
	}
	call_ended(call, trouble, fault.sqlstate ? &fault : NULL);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(call->context);
}
