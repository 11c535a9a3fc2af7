/*
 * bulk.h
 *	  Storing many rows at once, and fast.
 */
#ifndef DAMOOV_BULK_H
#define DAMOOV_BULK_H

#include "base/sql.h"

typedef struct BulkColumn
{
	const char *name;
	Oid			type;
} BulkColumn;

/*
 * A static variable of the caller.  The table may have other columns, too, and
 * in any order: they get their defaults.  The first column is a bigint, by which
 * the table may be partitioned.
 */
typedef struct BulkTable
{
	const char *name;			/* in schema damoov */
	const BulkColumn *columns;
	int			ncolumns;		/* at most SQL_MAX_ARGS */

	/* private */
	SqlPlan		insert;
} BulkTable;

/*
 * Gives one row: values in the order of the columns.  isnull is all false
 * before.  Called once for each row, in order; what it pallocs in the current
 * context lives until the row is stored.
 */
typedef void (*BulkFill) (void *state, int64 row, Datum *values, bool *isnull);

/*
 * Inserts rows 0 to nrows - 1, whose first column is the key, into the table, as
 * the current user and in the current transaction, between sql_enter() and
 * sql_leave().  All errors are thrown.
 */
extern void bulk_insert(BulkTable *table, int64 key, int64 nrows,
						BulkFill fill, void *state);

/*
 * Has a table of schema damoov a partition for rows with this key, other than
 * the default one?  True if it is not partitioned.
 */
extern bool bulk_has_partition(const char *table, int64 key);

#endif							/* DAMOOV_BULK_H */
