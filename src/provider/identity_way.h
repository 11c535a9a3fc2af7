/*
 * identity_way.h
 *	  A way to get credentials: what identity.c wants of it, and gives to it.
 *
 * An ask is one attempt.  It lives in a context of its own, with its request
 * and all secrets it handles, which are overwritten when that goes: nothing
 * is to be wiped by hand.  The context stays until the function of the way
 * that has ended the ask returns.
 */
#ifndef DAMOOV_IDENTITY_WAY_H
#define DAMOOV_IDENTITY_WAY_H

#include "provider/identity.h"
#include "wire/http.h"
#include "pgtime.h"

/* One attempt to get credentials, in as many requests as it takes. */
typedef struct IdentityAsk IdentityAsk;

typedef struct IdentityWay
{
	const char *name;			/* value of the option "identity" */
	bool		is_aws;
	bool		of_host;		/* whoever may run here has them: see damoov.allow_host_identity */
	bool		(*configure) (Identity *identity, const ServerOptions *options, Fault *fault);
	/* ends in identity_got_...() or identity_refused() */
	void		(*ask) (IdentityAsk *ask);
} IdentityWay;

extern const IdentityWay identity_aws_ways[];
extern const IdentityWay identity_azure_ways[];

struct Identity
{
	const IdentityWay *way;
	struct HttpClient *http;
	MemoryContext context;
	IdentityAsk *asking;		/* under way, or NULL */

	/* settings, NULL where the way does not need them */
	const char *audience;
	char	   *endpoint;		/* of the token service, no slash at the end */
	char	   *tenant_id;
	char	   *client_id;
	char	   *client_secret;
	char	   *region;
	char	   *role_arn;
	char	   *external_id;
	char	   *profile;
	AwsKeys		own_keys;		/* that assume a role */

	/* what was got */
	MemoryContext got_context;
	int			number;			/* of these, among all */
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

/* A request of an ask, and its sending; the body is guarded, on_reply gets every HTTP status. */
extern HttpRequest *identity_request(IdentityAsk *ask, const char *method, const char *url);
extern void identity_send(IdentityAsk *ask, HttpRequest *request, char *body,
						  void (*on_reply) (IdentityAsk *ask, const HttpRequest *request));

/* The ends of an ask. */
extern void identity_got_bearer(IdentityAsk *ask, const char *token, pg_time_t expires_at);
extern void identity_got_keys(IdentityAsk *ask, const AwsKeys *keys, pg_time_t expires_at);
extern void identity_refused(IdentityAsk *ask, bool transient, const char *problem);

/* What a code of a service means; the last has none and stands for all others. */
typedef struct IdentityWords
{
	const char *code;
	const char *words;
} IdentityWords;

extern const char *identity_words(const IdentityWords *known, const char *code);

/* Option, else variable of the server's environment, else NULL; a copy. */
extern char *identity_setting(const ServerOptions *options, const char *option,
							  const char *variable);
extern bool identity_needs(const char *value, const char *option, Fault *fault);

/* The whole of a small file that the environment names, without line ends, guarded; or NULL. */
extern char *identity_read_file(const char *path);

#endif							/* DAMOOV_IDENTITY_WAY_H */
