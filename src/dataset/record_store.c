/*
 * record_store.c
 *	  Datasets to rows: see record_store.h.
 *
 * The statements and lists of columns are made from the tables of members when
 * a table is used first.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/bulk.h"
#include "base/sql.h"
#include "dataset/record.h"
#include "dataset/record_store.h"
#include "dataset/record_value.h"

/* ----- values ----- */

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
jsonb_datum(const char *text)
{
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(text));
}

static Datum
notes_datum(const List *notes)
{
	Datum	   *texts = palloc(list_length(notes) * sizeof(Datum));
	ListCell   *cell;

	foreach(cell, notes)
		texts[foreach_current_index(cell)] = CStringGetTextDatum(lfirst(cell));
	return sql_array(texts, NULL, list_length(notes), TEXTOID);
}

static Datum
value_datum(MemberKind kind, RecordValue value, const Datum *texts)
{
	switch (kind)
	{
		case KIND_NUMBER:
		case KIND_DEGREE:
			return Float8GetDatum(value.number);
		case KIND_INTEGER:
		case KIND_OFFSET:
			return Int32GetDatum((int32) value.whole);
		case KIND_BIGINT:
			return Int64GetDatum(value.whole);
		case KIND_BOOLEAN:
		case KIND_FLAG:
			return BoolGetDatum(value.flag);
		case KIND_CODE:
			return texts[value.whole];
		case KIND_TIME:
		case KIND_LOCAL_TIME:
		case KIND_EPOCH_S:
		case KIND_EPOCH_MS:
			return TimestampTzGetDatum(value.at);
		case KIND_UUID:
			return UUIDPGetDatum(value.uuid);
		case KIND_OBJECT:
		case KIND_ANY:
			return jsonb_datum(value.text);
		case KIND_SPREAD:
			return spread_datum(value.spread, FLOAT8OID);
		case KIND_SPREAD4:
			return spread_datum(value.spread, FLOAT4OID);
		default:
			return CStringGetTextDatum(value.text);
	}
}

/* ----- members ----- */

static inline bool
has_column(const Member *member)
{
	return member->column != NULL && member->kind < KIND_STATUS;
}

/* Adds the columns of the record's members to a list; returns its end. */
static BulkColumn *
add_columns(const Record *record, BulkColumn *column)
{
	for (int i = 0; i < record->nmembers; i++)
	{
		const Member *member = &record->members[i];

		if (has_column(member))
			*column++ = (BulkColumn) {member->column, value_type(member->kind)};
	}
	return column;
}

/* The values for these columns; returns how many. */
static int
fill_columns(const Record *record, const RecordRow *row, const Datum *texts,
			 Datum *values, bool *isnull)
{
	int			column = 0;

	for (int i = 0; i < record->nmembers; i++)
	{
		const Member *member = &record->members[i];

		if (!has_column(member))
			continue;
		isnull[column] = !row_has(row, i);
		if (!isnull[column])
			values[column] = value_datum(member->kind, row->value[i], texts);
		column++;
	}
	return column;
}

/* ----- lists ----- */

/* state of fill_row */
typedef struct ListFill
{
	int64		parent_id;
	const RecordState *list;
	Datum		texts[MAX_TEXTS];
} ListFill;

static void
set_texts(ListFill *fill, const Texts *texts)
{
	for (int i = 1; i < texts->count; i++)
		fill->texts[i] = CStringGetTextDatum(texts->text[i]);
}

static void
fill_row(void *state, int64 number, Datum *values, bool *isnull)
{
	const ListFill *fill = state;
	const RecordState *list = fill->list;
	const RecordRow *row = record_row(list, (int) number);
	int			column = 2;

	values[0] = Int64GetDatum(fill->parent_id);
	values[1] = Int32GetDatum(row->seq);
	column += fill_columns(list->record, row, fill->texts, values + column,
						   isnull + column);
	/* a derived list has no such column, and nothing for it */
	isnull[column] = row->extra < 0;
	if (row->extra >= 0)
		values[column] = jsonb_datum(list->extras.data + row->extra);
}

static void
prepare_rows(RecordRows *rows, const char *parent, const Record *record)
{
	BulkColumn *column = rows->columns;

	if (rows->table.columns != NULL)
		return;
	*column++ = (BulkColumn) {parent, INT8OID};
	*column++ = (BulkColumn) {"seq", INT4OID};
	column = add_columns(record, column);
	if (!rows->derived)
		*column++ = (BulkColumn) {"extra", JSONBOID};
	rows->table.name = rows->name;
	rows->table.ncolumns = (int) (column - rows->columns);
	Assert(rows->table.ncolumns < SQL_MAX_ARGS);
	rows->empty.anew = true;
	rows->empty.nargs = 1;
	rows->empty.argtypes[0] = INT8OID;
	rows->empty.text =
		MemoryContextStrdup(TopMemoryContext,
							psprintf("DELETE FROM damoov.%s WHERE %s = $1",
									 rows->name, parent));
	rows->table.columns = rows->columns;
}

static void
replace_rows(RecordRows *rows, const char *parent, ListFill *fill, bool is_new)
{
	Datum		id = Int64GetDatum(fill->parent_id);

	prepare_rows(rows, parent, fill->list->record);
	if (!is_new)
		sql_run(&rows->empty, &id, NULL);
	bulk_insert(&rows->table, fill->parent_id, fill->list->count, fill_row, fill);
}

/* Where the columns of a result stand among those of the rows; -1: nowhere. */
static void
map_result(const RecordRows *rows, TupleDesc descriptor, int *map)
{
	for (int i = 0; i < descriptor->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(descriptor, i);

		map[i] = rows->table.ncolumns - 1;
		while (map[i] >= 0 &&
			   (strcmp(NameStr(attribute->attname), rows->columns[map[i]].name) != 0 ||
				attribute->atttypid != rows->columns[map[i]].type))
			map[i]--;
	}
}

void
record_list_rows(RecordRows *rows, const char *parent, int64 parent_id,
				 const RecordState *list, const Texts *texts,
				 TupleDesc descriptor, Tuplestorestate *store)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext row = AllocSetContextCreate(caller, "damoov row", ALLOCSET_DEFAULT_SIZES);
	ListFill	fill = {.parent_id = parent_id, .list = list};
	int		   *map = palloc(descriptor->natts * sizeof(int));
	Datum	   *result = palloc0(descriptor->natts * sizeof(Datum));
	bool	   *nulls = palloc(descriptor->natts * sizeof(bool));

	prepare_rows(rows, parent, list->record);
	map_result(rows, descriptor, map);
	set_texts(&fill, texts);
	MemoryContextSwitchTo(row);
	for (int number = 0; number < list->count; number++)
	{
		Datum		values[SQL_MAX_ARGS];
		bool		isnull[SQL_MAX_ARGS] = {0};

		CHECK_FOR_INTERRUPTS();
		fill_row(&fill, number, values, isnull);
		for (int i = 0; i < descriptor->natts; i++)
		{
			nulls[i] = map[i] < 0 || isnull[map[i]];
			if (!nulls[i])
				result[i] = values[map[i]];
		}
		tuplestore_putvalues(store, descriptor, result, nulls);
		MemoryContextReset(row);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(row);
}

/* ----- documents ----- */

/* Writes the statement: INSERT INTO t (a, b) VALUES ($1, $2) ON CONFLICT ... */
static void
prepare_upsert(RecordTable *table, const RecordColumn *own, int nown)
{
	BulkColumn	columns[SQL_MAX_ARGS];
	BulkColumn *end = columns;
	StringInfoData names;
	StringInfoData values;
	StringInfoData updates;

	if (table->upsert.text != NULL)
		return;
	for (int i = 0; i < nown; i++)
		*end++ = (BulkColumn) {own[i].name, own[i].type};
	end = add_columns(table->record, end);
	*end++ = (BulkColumn) {"notes", TEXTARRAYOID};
	*end++ = (BulkColumn) {"extra", JSONBOID};
	*end++ = (BulkColumn) {"user_id", INT8OID};
	table->upsert.nargs = (int) (end - columns);
	Assert(table->upsert.nargs <= SQL_MAX_ARGS);
	initStringInfo(&names);
	initStringInfo(&values);
	initStringInfo(&updates);
	for (int i = 0; i < table->upsert.nargs; i++)
	{
		const char *name = columns[i].name;

		table->upsert.argtypes[i] = columns[i].type;
		appendStringInfo(&names, "%s, ", name);
		appendStringInfo(&values, "$%d, ", i + 1);
		/* the key comes first, the person last */
		if (i > 0 && i < table->upsert.nargs - table->keeps_person)
			appendStringInfo(&updates, "%s = EXCLUDED.%s, ", name, name);
	}
	/* the subquery sees the table as it was before */
	table->upsert.text =
		MemoryContextStrdup(TopMemoryContext,
							psprintf("INSERT INTO damoov.%s AS n (%s%s) VALUES (%snow()) "
									 "ON CONFLICT (%s) DO UPDATE SET %s%s = now() RETURNING n.%s, "
									 "NOT EXISTS (SELECT FROM damoov.%s AS o WHERE o.%s = n.%s)",
									 table->name, names.data, table->stored_at, values.data,
									 own[0].name, updates.data, table->stored_at, table->id,
									 table->name, table->id, table->id));
}

/* Returns the id; is_new: it was not there before, and has no lists. */
static int64
upsert(RecordTable *table, const Content *content, int64 user_id,
	   const Datum *texts, const RecordColumn *own, int nown, bool *is_new)
{
	Datum		values[SQL_MAX_ARGS];
	bool		isnull[SQL_MAX_ARGS] = {0};
	int			column = nown;

	prepare_upsert(table, own, nown);
	for (int i = 0; i < nown; i++)
	{
		values[i] = own[i].value;
		isnull[i] = own[i].isnull;
	}
	column += fill_columns(table->record, content->document.row, texts,
						   values + column, isnull + column);
	isnull[column] = content->notes == NIL;
	values[column] = isnull[column] ? (Datum) 0 : notes_datum(content->notes);
	column++;
	isnull[column] = content->extra == NULL;
	values[column] = isnull[column] ? (Datum) 0 : jsonb_datum(content->extra);
	column++;
	values[column] = Int64GetDatum(user_id);
	if (sql_run(&table->upsert, values, isnull) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("could not store a row in table \"%s\"", table->name),
				 errdetail("A rule or trigger prevented the row from being stored.")));
	*is_new = DatumGetBool(sql_value(0, 2, NULL));
	return DatumGetInt64(sql_value(0, 1, NULL));
}

int64
record_store(RecordTable *table, const Content *content, int64 user_id,
			 const RecordColumn *columns, int ncolumns)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext work = AllocSetContextCreate(caller, "damoov record storing",
											   ALLOCSET_DEFAULT_SIZES);
	ListFill	fill = {0};
	bool		is_new;

	MemoryContextSwitchTo(work);
	set_texts(&fill, &content->texts);
	fill.parent_id = upsert(table, content, user_id, fill.texts, columns,
							ncolumns, &is_new);
	for (int i = 0; i < content->nlists; i++)
	{
		fill.list = &content->lists[i];
		replace_rows(table->lists[i], table->id, &fill, is_new);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
	return fill.parent_id;
}
