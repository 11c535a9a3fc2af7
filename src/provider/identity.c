/*
 * identity.c
 *	  Temporary credentials: see identity.h.
 *
 * Keeps the credentials, says when to ask for new ones, and ends a request
 * whose identity is gone: options can be replaced while a token service is
 * being asked.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/pg_prng.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#include "base/secret.h"
#include "guc.h"
#include "provider/identity.h"
#include "wire/url.h"

#define ANSWER_MS			10000
#define MAX_REPLY			(256 * 1024)
#define MAX_FILE			(64 * 1024)
#define RETRY_S				60	/* while the old credentials are still good */

/* ----- options ----- */

char *
identity_setting(const ServerOptions *options, const char *option, const char *variable)
{
	const char *value = options_get(options, option);

	if (value == NULL && variable != NULL && options->may_use_host)
		value = getenv(variable);
	return value && value[0] ? pstrdup(value) : NULL;
}

bool
identity_needs(const char *value, const char *option, Fault *fault)
{
	return value != NULL ||
		options_fault(fault, "option \"%s\" is not set and cannot be told otherwise", option);
}

bool
identity_own_keys(const ServerOptions *options, AwsKeys *keys, Fault *fault)
{
	keys->access_key_id = options_keep_secret(options, "access_key_id");
	keys->secret_access_key = options_keep_secret(options, "secret_access_key");
	keys->session_token = options_keep_secret(options, "session_token");
	return (keys->access_key_id && keys->secret_access_key) ||
		options_fault(fault, "user mapping has no \"access_key_id\" or no \"secret_access_key\"");
}

const char *
identity_words(const IdentityWords *known, const char *code)
{
	while (known->code && (code == NULL || strcmp(known->code, code) != 0))
		known++;
	return known->words;
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

static bool
read_endpoint(Identity *identity, const ServerOptions *options, Fault *fault)
{
	const char *text = options_get(options, "identity_endpoint");
	UrlParts   *parts;

	if (text == NULL)
		return true;
	if (!url_parse(text, &parts, fault) || !url_scheme_allowed(parts))
		return options_fault(fault, "option \"identity_endpoint\" is not an https URL");
	identity->endpoint = psprintf("%s://%s", parts->scheme, parts->host_header);
	return true;
}

bool
identity_load(const ServerOptions *options, const IdentityWay *way, const char *audience,
			  HttpClient *http, Identity **identity, Fault *fault)
{
	const char *name = options_get(options, "identity");
	Identity   *out;

	*identity = NULL;
	if (name == NULL)
		return true;
	while (way->name && strcmp(way->name, name) != 0)
		way++;
	if (way->name == NULL)
		return options_fault(fault, "option \"identity\" has a value that this type of server does not know");
	if (way->of_host && !damoov_allow_host_identity)
		return options_fault(fault, "option \"identity\" uses the machine's identity, which \"damoov.allow_host_identity\" does not allow");

	out = palloc0(sizeof(Identity));
	out->way = way;
	out->http = http;
	out->audience = audience;
	out->host = "";
	out->context = CurrentMemoryContext;
	out->release.func = leave_ask;
	out->release.arg = out;
	MemoryContextRegisterResetCallback(out->context, &out->release);
	if (!read_endpoint(out, options, fault) ||
		(way->configure && !way->configure(out, options, fault)))
		return false;
	*identity = out;
	return true;
}

void
identity_set_service(Identity *identity, const char *url)
{
	UrlParts   *parts;
	Fault		ignored = {0};

	if (identity && url_parse(url, &parts, &ignored))
		identity->host = parts->host;
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
	secret_own(text);
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

/* ----- asking ----- */

/* Called outside of the code of the way, because the context of the ask is deleted. */
static void
leave_if_ended(IdentityAsk *ask)
{
	if (!ask->ended)
		return;
	ask->done(ask->arg, ask->transient, ask->fault.sqlstate ? &ask->fault : NULL);
	MemoryContextDelete(ask->context);
}

void
identity_ask(Identity *identity, MemoryContext parent, IdentityDone done, void *arg)
{
	MemoryContext context = AllocSetContextCreate(parent, "damoov identity",
												  ALLOCSET_SMALL_SIZES);
	IdentityAsk *ask = MemoryContextAllocZero(context, sizeof(IdentityAsk));
	MemoryContext old = MemoryContextSwitchTo(context);
	const char *problem;

	ask->identity = identity;
	ask->context = context;
	ask->done = done;
	ask->arg = arg;
	ask->now = time(NULL);
	ask->release.func = forget_ask;
	ask->release.arg = ask;
	MemoryContextRegisterResetCallback(context, &ask->release);
	identity->asking = ask;
	problem = identity->way->ask(ask);
	if (problem)
		identity_refused(ask, false, problem);
	MemoryContextSwitchTo(old);
	leave_if_ended(ask);
}

HttpRequest *
identity_request(IdentityAsk *ask, const char *method, const char *url)
{
	HttpRequest *request = http_request_in(ask->context, ask->identity->http, method, url);

	request->max_bytes = MAX_REPLY;
	request->timeout_ms = ANSWER_MS;
	request->metadata_service = ask->identity->way->of_host;
	return request;
}

static void
on_done(HttpRequest *request, void *arg)
{
	IdentityAsk *ask = arg;
	MemoryContext old = MemoryContextSwitchTo(ask->context);

	if (request->date != 0)
		ask->now = request->date;
	if (ask->identity == NULL)
		ask->ended = ask->transient = true;
	else if (request->status == 0)
		identity_refused(ask, true, request->fault.message);
	else
		ask->on_reply(ask, request);
	MemoryContextSwitchTo(old);
	http_free(request);
	leave_if_ended(ask);
}

void
identity_send(IdentityAsk *ask, HttpRequest *request, char *body,
			  void (*on_reply) (IdentityAsk *ask, const HttpRequest *request))
{
	ask->on_reply = on_reply;
	request->body = body;
	request->body_len = body ? strlen(body) : 0;
	if (body)
		secret_own(body);
	http_start(request, on_done, ask);
}

/* ----- how it ends ----- */

static char *
keep(const char *secret)
{
	return secret ? secret_keep(secret, strlen(secret)) : NULL;
}

/* Renewed at 80 % of the life, spread a little; times are the service's. */
void
identity_got(IdentityAsk *ask, const char *bearer, const AwsKeys *keys, pg_time_t expires_at)
{
	static int	last_number = 0;
	Identity   *identity = ask->identity;
	pg_time_t	life = expires_at - ask->now;
	pg_time_t	spread = (pg_time_t) (pg_prng_double(&pg_global_prng_state) * life / 20);
	MemoryContext context = AllocSetContextCreate(identity->context, "damoov credentials",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	identity->bearer = keep(bearer);
	if (keys)
	{
		identity->keys.access_key_id = keep(keys->access_key_id);
		identity->keys.secret_access_key = keep(keys->secret_access_key);
		identity->keys.session_token = keep(keys->session_token);
	}
	MemoryContextSwitchTo(old);
	if (identity->got_context)
		MemoryContextDelete(identity->got_context);
	identity->got_context = context;
	identity->number = ++last_number;
	identity->expires_at = time(NULL) + life;
	identity->renew_at = time(NULL) + life * 4 / 5 - spread;
	ask->ended = true;
}

void
identity_refused(IdentityAsk *ask, bool transient, const char *problem)
{
	fault_set_state(&ask->fault,
			  transient ? ERRCODE_CONNECTION_FAILURE : ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
			  REASON_IDENTITY, "could not get credentials from %s: %s", ask->service, problem);
	if (identity_usable(ask->identity))
		ask->identity->renew_at = time(NULL) + RETRY_S;
	ask->transient = transient;
	ask->ended = true;
}
