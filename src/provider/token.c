/*
 * token.c
 *	  An access token that is signed with one of two keys: see token.h.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/secret.h"
#include "provider/token.h"

#define TOKEN_SECONDS		3600	/* validity of a token */
#define TOKEN_DUE_SECONDS	(TOKEN_SECONDS / 5 * 4) /* replaced after this time */

static void
make_token(Token *token, pg_time_t now)
{
	static int	last_number = 0;
	char	   *text = token->sign(token->owner, token->keys[token->key], now + TOKEN_SECONDS);
	MemoryContext context = AllocSetContextCreate(token->context, "damoov token",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	token->text = secret_keep(text, strlen(text));
	MemoryContextSwitchTo(old);
	if (token->text_context)
		MemoryContextDelete(token->text_context);
	token->text_context = context;
	secret_wipe(text);
	token->number = ++last_number;
	token->due = now + TOKEN_DUE_SECONDS;
}

const char *
token_text(Token *token, pg_time_t now)
{
	if (token->sign && (token->text == NULL || now >= token->due))
		make_token(token, now);
	return token->text;
}

bool
token_replace(Token *token, int number, int attempts, pg_time_t now)
{
	if (token->sign == NULL)
		return false;
	if (number == token->number)
	{
		if (token->refusals++ > 0 && token->keys[1])
			token->key = !token->key;
		make_token(token, now);
	}
	return attempts < (token->keys[1] ? 2 : 1);
}
