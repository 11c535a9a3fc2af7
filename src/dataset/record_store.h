/*
 * record_store.h
 *	  Datasets to rows: columns and values as the tables of members say.
 */
#ifndef DAMOOV_RECORD_STORE_H
#define DAMOOV_RECORD_STORE_H

#include "utils/tuplestore.h"

#include "base/bulk.h"
#include "base/sql.h"
#include "dataset/record.h"
#include "dataset/record_value.h"

/*
 * A table with one row for each record of a list: the id of the document, seq,
 * the members, and extra.  A static variable of the caller.
 */
typedef struct RecordRows
{
	const char *name;			/* in schema damoov */
	bool		derived;		/* not from the document, so without extra */

	/* private */
	BulkTable	table;
	BulkColumn	columns[SQL_MAX_ARGS];
	SqlPlan		empty;
} RecordRows;

/*
 * A table with one row for each document: columns of its own, user_id, the
 * members, notes, extra, and when it was stored.  A static variable of the
 * caller.
 */
typedef struct RecordTable
{
	const char *name;			/* in schema damoov */
	const char *id;				/* the column whose value is wanted */
	const char *stored_at;		/* the column with the time */
	bool		keeps_person;	/* user_id is that of the first one */
	const Record *record;
	RecordRows *lists[RECORD_MAX_LISTS];	/* as in the record */

	/* private */
	SqlPlan		upsert;
} RecordTable;

/* A column that is no member, and its value. */
typedef struct RecordColumn
{
	const char *name;
	Oid			type;
	Datum		value;
	bool		isnull;
} RecordColumn;

/*
 * Inserts the row, or updates the one of the same key, which is the first of
 * the columns; then puts the lists in place of those that are there.  Returns
 * the id.  The columns are the same at each call.  The caller has called
 * sql_enter(); errors are thrown.
 */
extern int64 record_store(RecordTable *table, const Content *content,
						  int64 user_id, const RecordColumn *columns,
						  int ncolumns);

/*
 * The rows that a list would have in its table, by the names of its columns; what
 * a column of another name holds is NULL.
 */
extern void record_list_rows(RecordRows *rows, const char *parent, int64 parent_id,
							 const RecordState *list, const Texts *texts,
							 TupleDesc descriptor, Tuplestorestate *store);

#endif							/* DAMOOV_RECORD_STORE_H */
