/*
 * sql.h
 *	  Saved plans and SPI in one place.
 *
 * A statement is a static SqlPlan; its plan is made at first use and kept for
 * the life of the process, while tables grow from nothing to millions of rows.
 * So all plans look rows up by an index, whatever the size of a table was when
 * they were made.  Values travel as parameters only.
 */
#ifndef DAMOOV_SQL_H
#define DAMOOV_SQL_H

#include "executor/spi.h"

#include "base/fault.h"

#define SQL_MAX_ARGS 64

typedef struct SqlPlan
{
	const char *text;
	int			nargs;
	Oid			argtypes[SQL_MAX_ARGS];
	bool		anew;			/* planned for its values each time: finds their partition */
	SPIPlanPtr	plan;			/* NULL until first use */
} SqlPlan;

/* Initializes one, with the types of its parameters. */
#define SQL_PLAN(statement, ...) { \
	.text = (statement), \
	.nargs = lengthof(((Oid[]) {__VA_ARGS__})), \
	.argtypes = {__VA_ARGS__} \
}

/*
 * Opens and closes a scope for statements: SPI connection, and a search_path
 * that no user can put objects into.  Needs a transaction with a snapshot.
 * The scope ends by itself when an error leaves the (sub)transaction.
 */
extern int	sql_enter(void);
extern void sql_leave(int scope);

/*
 * Runs the statement; isnull may be NULL.  Returns the number of rows, which
 * stand in SPI_tuptable until the next statement.  Errors are thrown.
 */
extern uint64 sql_run(SqlPlan *statement, const Datum *values,
					  const bool *isnull);

/*
 * Runs the statement by a plan for just these values, none of them NULL.  A
 * table that is distributed over servers (Citus) may need to see them.
 */
extern void sql_run_once(SqlPlan *statement, const Datum *values);

/* Makes a parameter one of a type whose OID is not known beforehand. */
extern void sql_set_type(SqlPlan *statement, int argument, Oid type);

/*
 * Raises 25000 in a transaction that would not see what others commit while it
 * waits for them.  At each door, before anything is locked or fetched.
 */
extern void sql_need_read_committed(void);

/* Column (from 1) of a result row; *isnull may be NULL for NOT NULL columns. */
extern Datum sql_value(uint64 row, int column, bool *isnull);

/* The same as text, palloc'd in context; NULL for null. */
extern char *sql_text(MemoryContext context, uint64 row, int column);

/* A one-dimensional array for a parameter; nulls may be NULL. */
extern Datum sql_array(const Datum *values, const bool *nulls, int count,
					   Oid type);

/*
 * Runs the step in a subtransaction of its own.  True when it is done, and its
 * work released to the transaction.  Else what it wrote is undone, nothing of
 * the subtransaction is left, and the fault has the error's SQLSTATE and
 * message, with REASON_STORE_FAILED.  Only when this session is cancelled the
 * error is thrown on, after the same cleaning up.
 *
 * What the step allocates in the memory context of the caller stays.  Needs a
 * transaction; may be called inside or outside of sql_enter().
 */
extern bool sql_try(void (*step) (void *argument), void *argument, Fault *fault);

/*
 * Runs the step in a subtransaction that is always rolled back, so that no lock
 * of what it has read stays.  An error is thrown on.
 */
extern void sql_look(void (*step) (void *argument), void *argument);

/*
 * The last call of a step for sql_try(): checks now what is deferred to the
 * commit, which is checked then, too.  Throws what would make the commit fail.
 */
extern void sql_check_deferred(void);

/*
 * The open transaction will be on disk, here and where a synchronous standby is
 * waited for, before its commit is answered.
 */
extern void sql_commit_durably(void);

#endif							/* DAMOOV_SQL_H */
