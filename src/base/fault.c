/*
 * fault.c
 *	  Expected trouble as a value: see fault.h.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "base/fault.h"

bool
fault_set(Fault *fault, int sqlstate, Reason reason,
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

const char *
fault_reason_name(Reason reason)
{
	static const char *const names[REASONS] = {
		[REASON_BAD_JSON] = "bad_json",
		[REASON_BAD_UTF8] = "bad_utf8",
		[REASON_NUL_CHAR] = "nul_char",
		[REASON_TOO_DEEP] = "too_deep",
		[REASON_TOO_BIG] = "too_big",
		[REASON_BAD_NUMBER] = "bad_number",
		[REASON_BAD_TYPE] = "bad_type",
		[REASON_BAD_TIME] = "bad_time",
		[REASON_BAD_UUID] = "bad_uuid",
		[REASON_CLOCK_SKEW] = "clock_skew",
		[REASON_DUP_KEY] = "dup_key",
		[REASON_MISSING_FIELD] = "missing_field",
		[REASON_ENVELOPE] = "envelope",
		[REASON_POISON] = "poison",
		[REASON_CROSS_USER] = "cross_user",
		[REASON_CROSS_TENANT] = "cross_tenant",
		[REASON_STORE_FAILED] = "store_failed",
		[REASON_DATASET_MISMATCH] = "dataset_mismatch",
		[REASON_DATASET_UNKNOWN] = "dataset_unknown",
		[REASON_DATASET_ERROR] = "dataset_error",
		[REASON_DATASET_GONE] = "dataset_gone",
		[REASON_NOT_JSON] = "not_json",
		[REASON_DAMAGED] = "damaged",
		[REASON_CONFIGURATION] = "configuration",
		[REASON_SECRET_FILE] = "secret_file",
		[REASON_IDENTITY] = "identity",
		[REASON_BAD_URL] = "bad_url",
		[REASON_UNREACHABLE] = "unreachable",
		[REASON_TIMEOUT] = "timeout",
		[REASON_TLS_FAILED] = "tls_failed",
		[REASON_HTTP_STATUS] = "http_status",
		[REASON_PROVIDER] = "provider",
		[REASON_STORAGE_ACCESS] = "storage_access",
		[REASON_STORAGE_REFUSED] = "storage_refused",
		[REASON_BAD_SIGNATURE] = "bad_signature",
		[REASON_NO_CERTIFICATE] = "no_certificate",
	};

	return names[reason];
}

int
fault_report(const Fault *fault)
{
	errcode(fault->sqlstate);
	/* the statement may hold the notification, and with it a device token */
	errhidestmt(true);
	errmsg("%s", fault->message);
	return fault->detail ? errdetail("%s", fault->detail) : 0;
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
