/*
 * fault.c
 *	  Expected trouble as a value: see fault.h.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "base/fault.h"

bool
fault_set(Fault *fault, int sqlstate, const char *reason,
		  const char *format,...)
{
	StringInfoData text;

	initStringInfo(&text);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, format);
		needed = appendStringInfoVA(&text, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&text, needed);
	}
	fault->sqlstate = sqlstate;
	fault->reason = reason;
	fault->message = text.data;
	fault->detail = NULL;
	return false;
}

void
fault_raise(const Fault *fault)
{
	/* the statement may hold the notification, and with it a device token */
	ereport(ERROR,
			(errcode(fault->sqlstate),
			 errhidestmt(true),
			 errmsg("%s", fault->message),
			 fault->detail ? errdetail("%s", fault->detail) : 0));
	pg_unreachable();
}

bool
fault_is_transient(int sqlstate)
{
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case ERRCODE_TO_CATEGORY(ERRCODE_CONNECTION_EXCEPTION):
		case ERRCODE_TO_CATEGORY(ERRCODE_TRANSACTION_ROLLBACK):
		case ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES):
		case ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION):
			/* a missing right or table is not the message's fault either */
		case ERRCODE_TO_CATEGORY(ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION):
			return true;
	}
	return sqlstate == ERRCODE_LOCK_NOT_AVAILABLE ||
		sqlstate == ERRCODE_READ_ONLY_SQL_TRANSACTION;
}
