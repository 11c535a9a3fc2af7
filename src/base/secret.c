/*
 * secret.c
 *	  Keys, tokens and what contains them: see secret.h.
 */
#include "postgres.h"


#include "base/secret.h"

void
secret_wipe(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
}

typedef struct OwnSecret
{
	MemoryContextCallback callback;
	char	   *text;
	Size		len;			/* as it was: it may be cut into pieces */
} OwnSecret;

static void
wipe(void *arg)
{
	OwnSecret  *secret = arg;

	explicit_bzero(secret->text, secret->len);
}

char *
secret_own(char *text)
{
	OwnSecret  *secret = palloc(sizeof(OwnSecret));

	secret->text = text;
	secret->len = strlen(text);
	secret->callback.func = wipe;
	secret->callback.arg = secret;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &secret->callback);
	return text;
}

char *
secret_keep(const char *text, Size len)
{
	return secret_own(pnstrdup(text, len));
}
