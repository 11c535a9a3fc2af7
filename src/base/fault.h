/*
 * fault.h
 *	  Expected trouble as a value.
 *
 * Inside the worker a malformed message or a refused request is expected: it
 * is passed as a Fault and ends in the quarantine or in a status row.  Only
 * the SQL functions turn one into an error.
 */
#ifndef DAMOOV_FAULT_H
#define DAMOOV_FAULT_H

/*
 * The kind of a fault, which decides what is done about it; for the names see
 * fault_reason_name().
 */
typedef enum Reason
{
	REASON_NONE,

	/* of a message or dataset */
	REASON_BAD_JSON,
	REASON_BAD_UTF8,
	REASON_NUL_CHAR,
	REASON_TOO_DEEP,
	REASON_TOO_BIG,
	REASON_BAD_NUMBER,
	REASON_BAD_TYPE,
	REASON_BAD_TIME,
	REASON_BAD_UUID,
	REASON_CLOCK_SKEW,
	REASON_DUP_KEY,
	REASON_MISSING_FIELD,
	REASON_ENVELOPE,
	REASON_POISON,
	REASON_CROSS_USER,
	REASON_CROSS_TENANT,
	REASON_STORE_FAILED,

	/* of a dataset */
	REASON_DATASET_MISMATCH,
	REASON_DATASET_UNKNOWN,
	REASON_DATASET_ERROR,
	REASON_DATASET_GONE,
	REASON_NOT_JSON,
	REASON_DAMAGED,

	/* of what the operator has set */
	REASON_CONFIGURATION,
	REASON_SECRET_FILE,
	REASON_IDENTITY,
	REASON_BAD_URL,

	/* of the wire and the services */
	REASON_UNREACHABLE,
	REASON_TIMEOUT,
	REASON_TLS_FAILED,
	REASON_HTTP_STATUS,
	REASON_PROVIDER,
	REASON_STORAGE_ACCESS,
	REASON_STORAGE_REFUSED,
	REASON_BAD_SIGNATURE,
	REASON_NO_CERTIFICATE,

	REASONS
} Reason;

typedef struct Fault
{
	int			sqlstate;		/* 0: no fault */
	Reason		reason;
	char	   *message;		/* error style: lower case, no full stop */
	char	   *detail;			/* whole sentence, or NULL */
	char	   *hint;			/* the same: what to do */
} Fault;

/* The SQLSTATE of a reason, for all its faults but few. */
extern int	fault_reason_sqlstate(Reason reason);

/* Fills fault and returns false, so that a check reads: return fault_set(...) */
#define fault_set(fault, reason, ...) \
	fault_set_state(fault, fault_reason_sqlstate(reason), reason, __VA_ARGS__)

/* The same with an SQLSTATE of its own. */
extern bool fault_set_state(Fault *fault, int sqlstate, Reason reason,
							const char *format,...) pg_attribute_printf(4, 5);

/* The short code that damoov.quarantine shows: "bad_json". */
extern const char *fault_reason_name(Reason reason);

/* Is it one of these names? */
extern bool fault_is_reason(const char *name);

/* Raises the fault as an error: for the SQL functions. */
#define fault_raise(fault)	ereport(ERROR, fault_report(fault))

/* The fault as arguments of ereport(). */
extern int	fault_report(const Fault *fault);

/*
 * True for errors that may be gone at the next try, without anybody's doing:
 * deadlock, lock, full disk, lost connection.
 */
extern bool fault_is_passing(int sqlstate);

/*
 * True for those, and for a missing right or table, which somebody has to mend:
 * errors of the surroundings, as it seems, and not the fault of what is stored.
 */
extern bool fault_is_transient(int sqlstate);

#endif							/* DAMOOV_FAULT_H */
