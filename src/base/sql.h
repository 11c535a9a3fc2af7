/*
 * sql.h
 *	  Saved plans and SPI in one place.
 *
 * A statement is a static SqlPlan; its plan is made at first use and kept for
 * the life of the process.  Values travel as parameters only.
 */
#ifndef DAMOOV_SQL_H
#define DAMOOV_SQL_H

#include "executor/spi.h"

#define SQL_MAX_ARGS 64

typedef struct SqlPlan
{
	const char *text;
	int			nargs;
	Oid			argtypes[SQL_MAX_ARGS];
	SPIPlanPtr	plan;			/* NULL until first use */
} SqlPlan;

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

/* Column (from 1) of a result row; *isnull may be NULL for NOT NULL columns. */
extern Datum sql_value(uint64 row, int column, bool *isnull);

/* The same as text, palloc'd in context; NULL for null. */
extern char *sql_text(MemoryContext context, uint64 row, int column);

/* A one-dimensional array for a parameter; nulls may be NULL. */
extern Datum sql_array(const Datum *values, const bool *nulls, int count,
					   Oid type);

#endif							/* DAMOOV_SQL_H */
