/*
 * token.h
 *	  An access token that is signed with one of two keys, as Azure's services
 *	  want them, so that a key can be replaced while the other is in use.
 *
 * A token is kept and used for most of its life.  It lives in a context of its
 * own, and is overwritten when that goes.
 */
#ifndef DAMOOV_TOKEN_H
#define DAMOOV_TOKEN_H

#include "pgtime.h"

/*
 * Signs a token that is valid until "expires"; palloc'd. owner is what was
 * given when the Token was made.
 */
typedef char *(*TokenSign) (const void *owner, const char *key, pg_time_t expires);

typedef struct Token
{
	/* given by its owner; sign NULL: text is somebody else's, and stays */
	MemoryContext context;		/* of the options it is made from */
	TokenSign	sign;
	const void *owner;
	char	   *keys[2];		/* the second may be NULL */
	char	   *text;			/* value of "authorization"; NULL: to be made */

	/* private to token.c */
	int			key;			/* the one in use */
	MemoryContext text_context;
	int			number;			/* of this text, among all */
	pg_time_t	due;			/* to be replaced then */
	int			refusals;		/* of this token and those before, in a row */
} Token;

/* Value of "authorization"; "now" is the service's time. */
extern const char *token_text(Token *token, pg_time_t now);

/*
 * A request that was sent with the token of this number was refused; so were
 * so many attempts of it before.  False when it has tried everything.  Makes
 * a new token, then one with the other key; requests that were in flight with
 * the same token count once.
 */
extern bool token_replace(Token *token, int number, int attempts, pg_time_t now);

#endif							/* DAMOOV_TOKEN_H */
