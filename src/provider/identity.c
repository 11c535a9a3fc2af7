/*
 * identity.c
 *	  Credentials that have to be asked for: see identity.h.
 *
 * Keeps what was got, says when to ask again, and ends an ask whose identity
 * has gone: options can be replaced while a token service is being asked.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/pg_prng.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#include "guc.h"
#include "provider/identity_ways.h"
#include "wire/url.h"

#define ANSWER_MS			10000
#define MAX_REPLY			(256 * 1024)
#define MAX_FILE			(64 * 1024)
#define RETRY_S				60	/* while the old credentials are still good */

static void on_done(HttpRequest *request, void *arg);

/* ----- options ----- */

static bool
config_fault(Fault *fault, const char *problem)
{
	return fault_set(fault, ERRCODE_INVALID_PARAMETER_VALUE, REASON_CONFIGURATION, "%s", problem);
}

char *
identity_setting(const ServerOptions *options, const char *option, const char *variable)
{
	const char *value = options_get(options, option);

	if (value == NULL && variable != NULL)
		value = getenv(variable);
	return value && value[0] ? pstrdup(value) : NULL;
}

bool
identity_needs(const char *value, const char *option, Fault *fault)
{
	return value != NULL ||
		fault_set(fault, ERRCODE_INVALID_PARAMETER_VALUE, REASON_CONFIGURATION,
				  "option \"%s\" is not set and cannot be told otherwise", option);
}

static const IdentityWay *
find_way(const char *name, bool is_aws)
{
	const IdentityWay *ways = is_aws ? identity_aws_ways : identity_azure_ways;

	while (ways->name && strcmp(ways->name, name) != 0)
		ways++;
	return ways->name ? ways : NULL;
}

/* An ask that is under way must not come back to an identity that is gone. */
static void
leave_ask(void *arg)
{
	Identity   *identity = arg;

	if (identity->asking)
		identity->asking->identity = NULL;
}

static void
forget_ask(void *arg)
{
	IdentityAsk *ask = arg;

	if (ask->identity)
		ask->identity->asking = NULL;
}

static void
wipe(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
}

static void
wipe_got(void *arg)
{
	Identity   *identity = arg;

	wipe(identity->bearer);
	wipe(identity->keys.secret_access_key);
	wipe(identity->keys.session_token);
}

static bool
read_endpoint(Identity *identity, const ServerOptions *options, Fault *fault)
{
	const char *text = options_get(options, "identity_endpoint");
	UrlParts   *parts;

	if (text == NULL)
		return true;
	if (!url_parse(text, &parts, fault) || !url_scheme_allowed(parts))
		return config_fault(fault, "option \"identity_endpoint\" is not an https URL");
	identity->endpoint = psprintf("%s://%s", parts->scheme, parts->host_header);
	return true;
}

bool
identity_load(const ServerOptions *options, const char *audience,
			  struct HttpClient *http, Identity **identity, Fault *fault)
{
	const char *name = options_get(options, "identity");
	const IdentityWay *way;
	Identity   *out;
	MemoryContextCallback *leave;

	*identity = NULL;
	if (name == NULL)
		return true;
	way = find_way(name, audience == NULL);
	if (way == NULL)
		return config_fault(fault, "option \"identity\" has a value that this type of server does not know");
	if (way->of_host && !damoov_allow_host_identity)
		return config_fault(fault, "option \"identity\" uses the machine's identity, which \"damoov.allow_host_identity\" does not allow");

	out = palloc0(sizeof(Identity));
	out->way = way;
	out->http = http;
	out->audience = audience;
	out->context = CurrentMemoryContext;
	leave = palloc0(sizeof(MemoryContextCallback));
	leave->func = leave_ask;
	leave->arg = out;
	MemoryContextRegisterResetCallback(out->context, leave);
	if (!read_endpoint(out, options, fault) || !way->configure(out, options, fault))
		return false;
	*identity = out;
	return true;
}

char *
identity_read_file(const char *path)
{
	int			fd = OpenTransientFile(path, O_RDONLY | O_NONBLOCK);
	struct stat st;
	char	   *text;
	ssize_t		len = -1;

	if (fd < 0)
		return NULL;
	text = palloc(MAX_FILE + 1);
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		len = read(fd, text, MAX_FILE);
	CloseTransientFile(fd);
	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		len--;
	if (len <= 0)
		return NULL;
	text[len] = '\0';
	return text;
}

/* ----- what is kept ----- */

bool
identity_usable(const Identity *identity)
{
	return identity->expires_at > time(NULL);
}

bool
identity_due(const Identity *identity)
{
	return time(NULL) >= identity->renew_at;
}

void
identity_expire(Identity *identity)
{
	identity->renew_at = identity->expires_at = 0;
}

const char *
identity_bearer(const Identity *identity)
{
	return identity->bearer;
}

const AwsKeys *
identity_aws_keys(const Identity *identity)
{
	return &identity->keys;
}

/* Renewed at 80 % of the life, spread a little; times are the service's. */
static void
take_lifetime(Identity *identity, pg_time_t now, pg_time_t expires_at)
{
	pg_time_t	life = expires_at - now;
	pg_time_t	spread = (pg_time_t) (pg_prng_double(&pg_global_prng_state) * life / 20);

	identity->expires_at = time(NULL) + life;
	identity->renew_at = time(NULL) + life * 4 / 5 - spread;
}

static MemoryContext
renew_got_context(Identity *identity)
{
	MemoryContextCallback *callback;

	if (identity->got_context)
		MemoryContextDelete(identity->got_context);
	identity->bearer = NULL;
	memset(&identity->keys, 0, sizeof(AwsKeys));
	identity->got_context = AllocSetContextCreate(identity->context, "damoov credentials",
												  ALLOCSET_SMALL_SIZES);
	callback = MemoryContextAllocZero(identity->got_context, sizeof(*callback));
	callback->func = wipe_got;
	callback->arg = identity;
	MemoryContextRegisterResetCallback(identity->got_context, callback);
	return identity->got_context;
}

/* ----- asking ----- */

void
identity_ask(Identity *identity, MemoryContext parent, IdentityDone done, void *arg)
{
	MemoryContext context = AllocSetContextCreate(parent, "damoov identity",
												  ALLOCSET_SMALL_SIZES);
	IdentityAsk *ask = MemoryContextAllocZero(context, sizeof(IdentityAsk));
	MemoryContext old = MemoryContextSwitchTo(context);

	ask->identity = identity;
	ask->context = context;
	ask->done = done;
	ask->arg = arg;
	ask->now = time(NULL);
	ask->release.func = forget_ask;
	ask->release.arg = ask;
	MemoryContextRegisterResetCallback(context, &ask->release);
	identity->asking = ask;
	identity->way->ask(ask);
	MemoryContextSwitchTo(old);
}

HttpRequest *
identity_request(IdentityAsk *ask, const char *method, const char *url)
{
	HttpRequest *request = http_request(ask->identity->http, method, url);

	request->max_bytes = MAX_REPLY;
	request->timeout_ms = ANSWER_MS;
	request->metadata_service = ask->identity->way->of_host;
	return request;
}

void
identity_send(IdentityAsk *ask, HttpRequest *request, char *body,
			  void (*on_reply) (IdentityAsk *ask, const HttpRequest *request))
{
	ask->on_reply = on_reply;
	ask->body = body;
	request->body = body;
	request->body_len = body ? strlen(body) : 0;
	http_start(request, on_done, ask);
}

static void
end_ask(IdentityAsk *ask, bool transient, const Fault *fault)
{
	ask->done(ask->arg, transient, fault);
	MemoryContextSwitchTo(MemoryContextGetParent(ask->context));
	MemoryContextDelete(ask->context);
}

static void
on_done(HttpRequest *request, void *arg)
{
	IdentityAsk *ask = arg;
	MemoryContext old = MemoryContextSwitchTo(ask->context);

	wipe(ask->body);
	ask->body = NULL;
	if (request->date != 0)
		ask->now = request->date;
	if (ask->identity == NULL)
		end_ask(ask, true, NULL);
	else if (request->status == 0)
		identity_refused(ask, true, request->fault.message);
	else
		ask->on_reply(ask, request);
	MemoryContextSwitchTo(old);
	http_free(request);
}

void
identity_got_bearer(IdentityAsk *ask, const char *token, pg_time_t expires_at)
{
	Identity   *identity = ask->identity;
	MemoryContext context = renew_got_context(identity);

	identity->bearer = MemoryContextStrdup(context, token);
	take_lifetime(identity, ask->now, expires_at);
	end_ask(ask, false, NULL);
}

void
identity_got_keys(IdentityAsk *ask, const AwsKeys *keys, pg_time_t expires_at)
{
	Identity   *identity = ask->identity;
	MemoryContext context = renew_got_context(identity);

	identity->keys.access_key_id = MemoryContextStrdup(context, keys->access_key_id);
	identity->keys.secret_access_key = MemoryContextStrdup(context, keys->secret_access_key);
	if (keys->session_token)
		identity->keys.session_token = MemoryContextStrdup(context, keys->session_token);
	take_lifetime(identity, ask->now, expires_at);
	end_ask(ask, false, NULL);
}

void
identity_refused(IdentityAsk *ask, bool transient, const char *problem)
{
	Fault		fault = {0};

	fault_set(&fault,
			  transient ? ERRCODE_CONNECTION_FAILURE : ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
			  REASON_IDENTITY, "could not get credentials from %s: %s", ask->service, problem);
	if (identity_usable(ask->identity))
		ask->identity->renew_at = time(NULL) + RETRY_S;
	end_ask(ask, transient, &fault);
}
