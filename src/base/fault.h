/*
 * fault.h
 *	  Expected trouble as a value.
 *
 * Inside the worker a malformed message or a refused request is an everyday
 * event, not an exception: it travels as a Fault and ends in the quarantine or
 * in a status row.  Only the SQL functions turn one into an error.
 */
#ifndef DAMOOV_FAULT_H
#define DAMOOV_FAULT_H

#include "compat.h"

typedef struct Fault
{
	int			sqlstate;		/* 0: no fault */
	const char *reason;			/* short code of the quarantine, "bad_json" */
	char	   *message;		/* error style: lower case, no full stop */
	char	   *detail;			/* whole sentence, or NULL */
} Fault;

/* Fills fault and returns false, so that a check reads: return fault_set(...) */
extern bool fault_set(Fault *fault, int sqlstate, const char *reason,
					  const char *format,...) pg_attribute_printf(4, 5);

/* Raises the fault as an error: for the SQL functions. */
pg_noreturn extern void fault_raise(const Fault *fault);

/*
 * True for errors of the surroundings, which may be gone at the next try
 * (deadlock, full disk, missing right): not the fault of what is stored.
 */
extern bool fault_is_transient(int sqlstate);

#endif							/* DAMOOV_FAULT_H */
