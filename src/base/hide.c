/*
 * hide.c
 *	  Keeping secrets in the text of a statement out of the server log.
 */
#include "postgres.h"

#include "base/hide.h"

static void
hide(void *arg)
{
	errhidestmt(true);
}

void
hide_statement(ErrorContextCallback *hiding)
{
	hiding->callback = hide;
	hiding->arg = NULL;
	hiding->previous = error_context_stack;
	error_context_stack = hiding;
}

void
hide_end(ErrorContextCallback *hiding)
{
	error_context_stack = hiding->previous;
}
