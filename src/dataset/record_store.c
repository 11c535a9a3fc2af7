/*
 * record_store.c
 *	  Records to rows: see record_store.h.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "dataset/record_store.h"


static Oid
kind_type(MemberKind kind)
{
	switch (kind)
	{
		case KIND_NUMBER:
		case KIND_DEGREE:
			return FLOAT8OID;
		case KIND_INTEGER:
		case KIND_OFFSET:
			return INT4OID;
		case KIND_BIGINT:
			return INT8OID;
		case KIND_BOOLEAN:
		case KIND_FLAG:
			return BOOLOID;
		case KIND_TEXT:
			return TEXTOID;
		case KIND_TIME:
		case KIND_LOCAL_TIME:
		case KIND_EPOCH_S:
		case KIND_EPOCH_MS:
			return TIMESTAMPTZOID;
		case KIND_UUID:
			return UUIDOID;
		case KIND_OBJECT:
		case KIND_ANY:
			return JSONBOID;
		case KIND_SPREAD:
			return FLOAT8ARRAYOID;
		case KIND_SPREAD4:
			return FLOAT4ARRAYOID;
		default:
			break;
	}
	return InvalidOid;
}

/* Does the member have a column of its own? */
static bool
has_column(const Member *member)
{
	return member->column != NULL && OidIsValid(kind_type(member->kind));
}

static Datum
spread_datum(const Spread *spread, Oid element)
{
	Datum		items[SPREAD_ITEMS];
	bool		isnull[SPREAD_ITEMS];

	for (int i = 0; i < SPREAD_ITEMS; i++)
	{
		isnull[i] = !spread->given[i];
		items[i] = element == FLOAT4OID ?
			Float4GetDatum((float4) spread->item[i]) :
			Float8GetDatum(spread->item[i]);
	}
	return sql_array(items, isnull, SPREAD_ITEMS, element);
}

static Datum
value_datum(MemberKind kind, const RecordValue *value)
{
	switch (kind_type(kind))
	{
		case FLOAT8OID:
			return Float8GetDatum(value->number);
		case INT4OID:
			return Int32GetDatum((int32) value->whole);
		case INT8OID:
			return Int64GetDatum(value->whole);
		case BOOLOID:
			return BoolGetDatum(value->flag);
		case TIMESTAMPTZOID:
			return TimestampTzGetDatum(value->at);
		case UUIDOID:
			return UUIDPGetDatum(value->uuid);
		case FLOAT8ARRAYOID:
			return spread_datum(value->spread, FLOAT8OID);
		case FLOAT4ARRAYOID:
			return spread_datum(value->spread, FLOAT4OID);
		case JSONBOID:
			return DirectFunctionCall1(jsonb_in, CStringGetDatum(value->text));
		default:
			return CStringGetTextDatum(value->text);
	}
}

/* Adds the columns of the record's members to a list; returns how many. */
static int
record_columns(const Record *record, BulkColumn *columns)
{
	int			count = 0;

	for (int i = 0; i < record->nmembers; i++)
	{
		const Member *member = &record->members[i];

		if (!has_column(member))
			continue;
		columns[count].name = member->column;
		columns[count].type = kind_type(member->kind);
		count++;
	}
	return count;
}

/* The values for these columns; returns how many. */
static int
record_fill(const Record *record, const RecordRow *row, Datum *values,
			bool *isnull)
{
	int			column = 0;

	for (int i = 0; i < record->nmembers; i++)
	{
		if (!has_column(&record->members[i]))
			continue;
		isnull[column] = !row_has(row, i);
		if (!isnull[column])
			values[column] = value_datum(record->members[i].kind,
										 &row->value[i]);
		column++;
	}
	return column;
}

bool
record_notes_datum(char **notes, int count, Datum *value)
{
	Datum	   *texts;

	if (count == 0)
		return false;
	texts = palloc(count * sizeof(Datum));
	for (int i = 0; i < count; i++)
		texts[i] = CStringGetTextDatum(notes[i]);
	*value = sql_array(texts, NULL, count, TEXTOID);
	return true;
}

bool
record_extra_datum(const char *extras, int extra, Datum *value)
{
	if (extra < 0)
		return false;
	*value = DirectFunctionCall1(jsonb_in, CStringGetDatum(extras + extra));
	return true;
}

/* Writes the statement: INSERT INTO t (a, b) VALUES ($1, $2) ON CONFLICT ... */
static void
prepare_upsert(RecordTable *table)
{
	BulkColumn	columns[SQL_MAX_ARGS];
	int			count = table->ncolumns;
	StringInfoData names;
	StringInfoData values;
	StringInfoData updates;

	if (table->upsert.text != NULL)
		return;
	memcpy(columns, table->columns, count * sizeof(BulkColumn));
	if (table->record)
		count += record_columns(table->record, columns + count);
	Assert(count <= SQL_MAX_ARGS);
	initStringInfo(&names);
	initStringInfo(&values);
	initStringInfo(&updates);
	for (int i = 0; i < count; i++)
	{
		const char *comma = i > 0 ? ", " : "";

		table->upsert.argtypes[i] = columns[i].type;
		appendStringInfo(&names, "%s%s", comma, columns[i].name);
		appendStringInfo(&values, "%s$%d", comma, i + 1);
		if (i >= table->nkept)
			appendStringInfo(&updates, "%s%s = EXCLUDED.%s",
							 i > table->nkept ? ", " : "",
							 columns[i].name, columns[i].name);
	}
	table->upsert.nargs = count;
	table->upsert.text =
		MemoryContextStrdup(TopMemoryContext,
							psprintf("INSERT INTO damoov.%s (%s) VALUES (%s) "
									 "ON CONFLICT (%s) DO UPDATE SET %s "
									 "RETURNING %s",
									 table->name, names.data, values.data,
									 table->key, updates.data, table->id));
}

int64
record_upsert(RecordTable *table, const Datum *columns, const bool *isnull,
			  const RecordRow *row)
{
	Datum		values[SQL_MAX_ARGS];
	bool		nulls[SQL_MAX_ARGS];

	prepare_upsert(table);
	memcpy(values, columns, table->ncolumns * sizeof(Datum));
	memcpy(nulls, isnull, table->ncolumns * sizeof(bool));
	if (table->record)
		(void) record_fill(table->record, row, values + table->ncolumns,
						   nulls + table->ncolumns);
	if (sql_run(&table->upsert, values, nulls) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("could not store a row in table \"%s\"", table->name),
				 errdetail("A rule or trigger kept the row away.")));
	return DatumGetInt64(sql_value(0, 1, NULL));
}

/* ----- lists ----- */

/* state of fill_row */
typedef struct ListFill
{
	int64		parent_id;
	const RecordState *list;
} ListFill;

static void
fill_row(void *state, int64 number, Datum *values, bool *isnull)
{
	const ListFill *fill = state;
	const RecordState *list = fill->list;
	const RecordRow *row = record_row(list, (int) number);
	int			column = 2;

	values[0] = Int64GetDatum(fill->parent_id);
	values[1] = Int32GetDatum(row->seq);
	column += record_fill(list->record, row, values + column, isnull + column);
	isnull[column] = !record_extra_datum(list->extras.data, row->extra,
										 &values[column]);
}

static void
prepare_rows(RecordRows *rows)
{
	BulkColumn *column = rows->columns;

	if (rows->table.columns != NULL)
		return;
	*column++ = (BulkColumn) {rows->parent, INT8OID};
	*column++ = (BulkColumn) {"seq", INT4OID};
	column += record_columns(rows->record, column);
	*column++ = (BulkColumn) {"extra", JSONBOID};
	rows->table.ncolumns = (int) (column - rows->columns);
	Assert(rows->table.ncolumns <= SQL_MAX_ARGS);
	rows->table.columns = rows->columns;
}

void
record_insert_rows(RecordRows *rows, int64 parent_id, const RecordState *list)
{
	ListFill	fill = {parent_id, list};

	prepare_rows(rows);
	bulk_insert(&rows->table, list->count, fill_row, &fill);
}
