/*
 * secret.c
 *	  Keys, tokens and what contains them: see secret.h.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/secret.h"

void
secret_wipe(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
}

static void
wipe(void *text)
{
	secret_wipe(text);
}

char *
secret_own(char *text)
{
	MemoryContextCallback *callback = palloc(sizeof(MemoryContextCallback));

	callback->func = wipe;
	callback->arg = text;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	return text;
}

char *
secret_keep(const char *text, Size len)
{
	return secret_own(pnstrdup(text, len));
}
