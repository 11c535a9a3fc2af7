/*
 * record_store.h
 *	  Records to rows: columns and values as the tables of members say.
 */
#ifndef DAMOOV_RECORD_STORE_H
#define DAMOOV_RECORD_STORE_H

#include "base/bulk.h"
#include "dataset/record.h"

/* A table with one row for each document.  A static variable of the caller. */
typedef struct RecordTable
{
	const char *name;			/* in schema damoov */
	const char *key;			/* the unique column */
	const char *id;				/* the column whose value is wanted */
	const BulkColumn *columns;	/* those that are no members, the key first */
	int			ncolumns;
	int			nkept;			/* so many of them are never updated */
	const Record *record;		/* NULL for none */

	/* private */
	SqlPlan		upsert;
} RecordTable;

/*
 * Inserts the row, or updates the one with the same key.  Returns the id.
 * The caller has called sql_enter(); errors are thrown.
 */
extern int64 record_upsert(RecordTable *table, const Datum *columns,
						   const bool *isnull, const RecordRow *row);

/*
 * A table with one row for each record of a list: the id of the document, seq,
 * the members, extra.  A static variable of the caller.
 */
typedef struct RecordRows
{
	BulkTable	table;			/* name only */
	const char *parent;			/* the column with the id */
	const Record *record;

	/* private */
	BulkColumn	columns[SQL_MAX_ARGS];
} RecordRows;

extern void record_insert_rows(RecordRows *rows, int64 parent_id,
							   const RecordState *list);

/* text[], false when there are none */
extern bool record_notes_datum(char **notes, int count, Datum *value);

/* jsonb of the extra members of a row, for bulk_insert() */
extern bool record_extra_datum(const char *extras, int extra, Datum *value);

#endif							/* DAMOOV_RECORD_STORE_H */
