/*
 * identity.h
 *	  Credentials that have to be asked for: they come from a service, live for
 *	  a while and are renewed before they end.
 *
 * Entra ID gives bearer tokens for the Azure sources; AWS gives temporary keys
 * for SQS.  Which of the ways is used says the option "identity".
 */
#ifndef DAMOOV_IDENTITY_H
#define DAMOOV_IDENTITY_H

#include "base/fault.h"
#include "base/options.h"

struct HttpClient;

typedef struct Identity Identity;

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

/*
 * Reads the options; the identity lives in the current context.  *identity is
 * NULL when the option is not set and the mapping's own secrets are to be
 * used.  audience is what a bearer token is for ("https://storage.azure.com"),
 * NULL for the keys of AWS.
 */
extern bool identity_load(const ServerOptions *options, const char *audience,
						  struct HttpClient *http, Identity **identity, Fault *fault);

/* Are there credentials, and are they still valid? */
extern bool identity_usable(const Identity *identity);

/* Is it time to ask for new ones? */
extern bool identity_due(const Identity *identity);

/* A number that no other credentials have. */
extern int	identity_number(const Identity *identity);

/* They were refused: ask for new ones. */
extern void identity_expire(Identity *identity);

/* The access keys of a user mapping; they live in the current context. */
extern bool identity_own_keys(const ServerOptions *options, AwsKeys *keys, Fault *fault);

/*
 * Asks for credentials.  "done" is called exactly once, even when the identity
 * has gone in between; never when context has.
 */
extern void identity_ask(Identity *identity, MemoryContext context,
						 IdentityDone done, void *arg);

/* What was got; valid until control returns to http_wait(). */
extern const char *identity_bearer(const Identity *identity);
extern const AwsKeys *identity_aws_keys(const Identity *identity);

#endif							/* DAMOOV_IDENTITY_H */
