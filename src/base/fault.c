/*
 * fault.c
 *	  Expected trouble as a value: see fault.h.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "base/fault.h"

static const struct
{
	const char *name;
	int			sqlstate;
}			reasons[REASONS] =
{
	[REASON_BAD_JSON] = {"bad_json", ERRCODE_INVALID_TEXT_REPRESENTATION},
	[REASON_BAD_UTF8] = {"bad_utf8", ERRCODE_CHARACTER_NOT_IN_REPERTOIRE},
	[REASON_NUL_CHAR] = {"nul_char", ERRCODE_UNTRANSLATABLE_CHARACTER},
	[REASON_TOO_DEEP] = {"too_deep", ERRCODE_STATEMENT_TOO_COMPLEX},
	[REASON_TOO_BIG] = {"too_big", ERRCODE_PROGRAM_LIMIT_EXCEEDED},
	[REASON_BAD_NUMBER] = {"bad_number", ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE},
	[REASON_BAD_TYPE] = {"bad_type", ERRCODE_INVALID_PARAMETER_VALUE},
	[REASON_BAD_TIME] = {"bad_time", ERRCODE_INVALID_DATETIME_FORMAT},
	[REASON_BAD_UUID] = {"bad_uuid", ERRCODE_INVALID_TEXT_REPRESENTATION},
	[REASON_CLOCK_SKEW] = {"clock_skew", ERRCODE_DATETIME_FIELD_OVERFLOW},
	[REASON_DUP_KEY] = {"dup_key", ERRCODE_INVALID_PARAMETER_VALUE},
	[REASON_MISSING_FIELD] = {"missing_field", ERRCODE_INVALID_PARAMETER_VALUE},
	[REASON_ENVELOPE] = {"envelope", ERRCODE_INVALID_PARAMETER_VALUE},
	[REASON_POISON] = {"poison", ERRCODE_PROGRAM_LIMIT_EXCEEDED},
	[REASON_CROSS_USER] = {"cross_user", ERRCODE_INSUFFICIENT_PRIVILEGE},
	[REASON_CROSS_TENANT] = {"cross_tenant", ERRCODE_INSUFFICIENT_PRIVILEGE},
	[REASON_STORE_FAILED] = {"store_failed", ERRCODE_INTERNAL_ERROR},
	[REASON_DATASET_MISMATCH] = {"dataset_mismatch", ERRCODE_INVALID_PARAMETER_VALUE},
	[REASON_DATASET_UNKNOWN] = {"dataset_unknown", ERRCODE_NO_DATA},
	[REASON_DATASET_ERROR] = {"dataset_error", ERRCODE_PROTOCOL_VIOLATION},
	[REASON_DATASET_GONE] = {"dataset_gone", ERRCODE_NO_DATA},
	[REASON_NOT_JSON] = {"not_json", ERRCODE_INVALID_TEXT_REPRESENTATION},
	[REASON_DAMAGED] = {"damaged", ERRCODE_CONNECTION_FAILURE},
	[REASON_CONFIGURATION] = {"configuration", ERRCODE_INVALID_PARAMETER_VALUE},
	[REASON_SECRET_FILE] = {"secret_file", ERRCODE_CONFIG_FILE_ERROR},
	[REASON_IDENTITY] = {"identity", ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION},
	[REASON_BAD_URL] = {"bad_url", ERRCODE_INVALID_PARAMETER_VALUE},
	[REASON_UNREACHABLE] = {"unreachable", ERRCODE_CONNECTION_FAILURE},
	[REASON_TIMEOUT] = {"timeout", ERRCODE_CONNECTION_FAILURE},
	[REASON_TLS_FAILED] = {"tls_failed", ERRCODE_CONNECTION_FAILURE},
	[REASON_HTTP_STATUS] = {"http_status", ERRCODE_CONNECTION_FAILURE},
	[REASON_PROVIDER] = {"provider", ERRCODE_CONNECTION_FAILURE},
	[REASON_STORAGE_ACCESS] = {"storage_access", ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION},
	[REASON_STORAGE_REFUSED] = {"storage_refused", ERRCODE_CONNECTION_FAILURE},
	[REASON_BAD_SIGNATURE] = {"bad_signature", ERRCODE_INVALID_PARAMETER_VALUE},
	[REASON_NO_CERTIFICATE] = {"no_certificate", ERRCODE_CONNECTION_FAILURE},
};

bool
fault_set_state(Fault *fault, int sqlstate, Reason reason, const char *format,...)
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
	fault->hint = NULL;
	return false;
}

const char *
fault_reason_name(Reason reason)
{
	return reasons[reason].name;
}

bool
fault_is_reason(const char *name)
{
	for (int i = REASON_NONE + 1; i < (int) lengthof(reasons); i++)
	{
		if (strcmp(reasons[i].name, name) == 0)
			return true;
	}
	return false;
}

int
fault_reason_sqlstate(Reason reason)
{
	return reasons[reason].sqlstate;
}

int
fault_report(const Fault *fault)
{
	errcode(fault->sqlstate);
	/* the statement may hold the notification, and with it a device token */
	errhidestmt(true);
	errmsg("%s", fault->message);
	if (fault->detail)
		errdetail("%s", fault->detail);
	return fault->hint ? errhint("%s", fault->hint) : 0;
}

bool
fault_is_passing(int sqlstate)
{
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case ERRCODE_TO_CATEGORY(ERRCODE_CONNECTION_EXCEPTION):
		case ERRCODE_TO_CATEGORY(ERRCODE_TRANSACTION_ROLLBACK):
		case ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES):
		case ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION):
			return true;
	}
	return sqlstate == ERRCODE_LOCK_NOT_AVAILABLE ||
		sqlstate == ERRCODE_IO_ERROR ||
		sqlstate == ERRCODE_READ_ONLY_SQL_TRANSACTION;
}

bool
fault_is_transient(int sqlstate)
{
	return fault_is_passing(sqlstate) ||
		ERRCODE_TO_CATEGORY(sqlstate) ==
		ERRCODE_TO_CATEGORY(ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION);
}
