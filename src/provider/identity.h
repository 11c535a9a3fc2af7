/*
 * identity.h
 *	  Temporary credentials: they come from a service, and are renewed before
 *	  they expire.
 *
 * Entra ID gives bearer tokens for the Azure sources; AWS gives temporary keys
 * for SQS.  A provider names the ways to them that it knows, and the option
 * "identity" chooses one.
 *
 * An ask is one attempt.  It lives in a context of its own with its request
 * and the secrets it handles, which are overwritten when that goes: nothing
 * has to be wiped by hand.  The context stays until the function of the way
 * that has ended the ask returns.
 */
#ifndef DAMOOV_IDENTITY_H
#define DAMOOV_IDENTITY_H

#include "pgtime.h"

#include "base/fault.h"
#include "base/options.h"
#include "wire/http.h"

typedef struct Identity Identity;
typedef struct IdentityAsk IdentityAsk;

/* Keys of AWS: permanent ones have no session token. */
typedef struct AwsKeys
{
	char	   *access_key_id;
	char	   *secret_access_key;
	char	   *session_token;	/* or NULL */
} AwsKeys;

/*
 * fault NULL: there are fresh credentials.  transient: the service may answer
 * at the next try.
 */
typedef void (*IdentityDone) (void *arg, bool transient, const Fault *fault);

typedef struct IdentityWay
{
	const char *name;			/* value of the option "identity"; NULL: end of list */
	bool		of_host;		/* every process of this machine can get them: see damoov.allow_host_identity */

	/* Reads the settings; NULL: there are none. */
	bool		(*configure) (Identity *identity, const ServerOptions *options, Fault *fault);

	/*
	 * Ends in identity_got() or identity_refused(); or returns at once what
	 * will not do.
	 */
	const char *(*ask) (IdentityAsk *ask);
} IdentityWay;

struct Identity
{
	const IdentityWay *way;
	HttpClient *http;
	MemoryContext context;
	MemoryContextCallback release;
	IdentityAsk *asking;		/* under way, or NULL */

	/* settings, NULL where the way does not need them */
	const char *audience;		/* in the public part of the cloud */
	const char *host;			/* of the service that it is for; never NULL */
	char	   *endpoint;		/* of the token service, no slash at the end */
	char	   *tenant_id;
	char	   *client_id;
	char	   *client_secret;
	char	   *region;
	char	   *role_arn;
	char	   *external_id;
	char	   *profile;
	AwsKeys		own_keys;		/* that assume a role */

	/* what was got; valid until control returns to http_wait() */
	MemoryContext got_context;
	int			number;			/* that no other credentials have */
	char	   *bearer;
	AwsKeys		keys;
	pg_time_t	renew_at;
	pg_time_t	expires_at;		/* 0: nothing was got yet */
};

struct IdentityAsk
{
	Identity   *identity;		/* NULL: gone in the meantime */
	MemoryContext context;		/* of this ask alone */
	MemoryContextCallback release;
	IdentityDone done;
	void	   *arg;
	void		(*on_reply) (IdentityAsk *ask, const HttpRequest *request);
	const char *service;		/* for messages: "Entra ID" */
	pg_time_t	now;			/* by the service's clock if it told */
	char	   *session;		/* of the instance's metadata service */

	/* how it ended */
	bool		ended;
	bool		transient;
	Fault		fault;			/* none: there are fresh credentials */
};

/* ----- called by sources ----- */

/*
 * Reads the options; the identity lives in the current context.  *identity is
 * NULL when the option is not set and the mapping's own secrets are to be
 * used.  audience is what a bearer token is for ("https://storage.azure.com").
 */
extern bool identity_load(const ServerOptions *options, const IdentityWay *ways,
						  const char *audience, HttpClient *http, Identity **identity,
						  Fault *fault);

/* Tells the address of the service they are for; "identity" may be NULL. */
extern void identity_set_service(Identity *identity, const char *url);

/* The access keys of a user mapping, in the current context. */
extern bool identity_own_keys(const ServerOptions *options, AwsKeys *keys, Fault *fault);

/* Are there credentials, and are they still valid? */
extern bool identity_usable(const Identity *identity);

/* Is it time to ask for new ones? */
extern bool identity_due(const Identity *identity);

/* They were refused: ask for new ones. */
extern void identity_expire(Identity *identity);

/*
 * Asks for credentials.  "done" is called exactly once, even when the identity
 * has gone in between; never when context has.
 */
extern void identity_ask(Identity *identity, MemoryContext context, IdentityDone done, void *arg);

/* ----- called by ways ----- */

/* Option, else variable of the server's environment, else NULL; a copy. */
extern char *identity_setting(const ServerOptions *options, const char *option,
							  const char *variable);
extern bool identity_needs(const char *value, const char *option, Fault *fault);

/* The whole of a small file that the environment names, without line ends; or NULL. */
extern char *identity_read_file(const char *path);

/* A request of an ask, and its sending; on_reply gets every HTTP status. */
extern HttpRequest *identity_request(IdentityAsk *ask, const char *method, const char *url);
extern void identity_send(IdentityAsk *ask, HttpRequest *request, char *body,
						  void (*on_reply) (IdentityAsk *ask, const HttpRequest *request));

/* What the codes of a service mean; the last has none and stands for all others. */
typedef struct IdentityWords
{
	const char *code;
	const char *words;
} IdentityWords;

extern const char *identity_words(const IdentityWords *known, const char *code);

/* The ends of an ask: it got a token or keys, the other being NULL, or neither. */
extern void identity_got(IdentityAsk *ask, const char *bearer, const AwsKeys *keys,
						 pg_time_t expires_at);
extern void identity_refused(IdentityAsk *ask, bool transient, const char *problem);

#endif							/* DAMOOV_IDENTITY_H */
