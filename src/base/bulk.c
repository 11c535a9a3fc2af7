/*
 * bulk.c
 *	  Storing many rows at once, and fast: see bulk.h.
 *
 * The fast way puts tuples straight into the heap, a page at a time, and into
 * the indexes; it knows neither triggers nor rules, defaults, checks or
 * policies.  If a user has added any of these to a table, its rows are
 * inserted by an INSERT from arrays instead: the result is the same, it only
 * takes longer.  So are those of a table that Citus has distributed, which
 * sends what comes of one statement in one COPY.  Both ways check what INSERT
 * checks: privilege, NOT NULL, unique.
 *
 * Of a partitioned table, all rows of a call belong to one partition, which the
 * key tells.  INSERT asks for rights and policies of the table that it names, so
 * those of the partition are not looked at.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace_d.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/rls.h"

#include "base/bulk.h"
#include "base/users_code.h"
#include "compat.h"

/*
 * Rows at a time.  With more than a hundred tuples at once, the first have
 * left the processor's cache before the indexes are filled.  For statements,
 * larger batches are faster.
 */
#define BATCH_TUPLES	100
#define BATCH_ARRAYS	10000

/*
 * Are the rows of this table elsewhere?  Citus keeps a list of the tables that
 * it has spread over servers, whose own heap stays empty and must not be
 * written to.
 */
static bool
is_distributed(Oid relid)
{
	static SqlPlan look = SQL_PLAN(
		"SELECT FROM pg_catalog.pg_dist_partition AS d WHERE d.logicalrelid = $1",
		REGCLASSOID);
	Datum		relation = ObjectIdGetDatum(relid);

	return OidIsValid(get_relname_relid("pg_dist_partition", PG_CATALOG_NAMESPACE)) &&
		sql_run(&look, &relation, NULL) > 0;
}

/*
 * Can the fast way do all that an INSERT that names the one would do, with rows
 * that go to the other, which is the same or its partition?
 */
static bool
is_plain(Relation named, Relation target)
{
	const TupleConstr *constraints = RelationGetDescr(target)->constr;
	Oid			relid = RelationGetRelid(named);

	if (target->rd_rel->relkind != RELKIND_RELATION ||
		target->rd_rel->relam != HEAP_TABLE_AM_OID ||
		target->rd_rel->relispartition != (named != target) ||
		named->rd_rel->relhasrules)
		return false;
	/* deferrable constraints and foreign keys are triggers, too */
	if (named->trigdesc != NULL || target->trigdesc != NULL)
		return false;
	if (constraints != NULL && constraints->num_check > 0)
		return false;
	if (check_enable_rls(relid, InvalidOid, true) != RLS_NONE)
		return false;
	/* without the right on the table, INSERT checks the rights on columns */
	return pg_class_aclcheck(relid, GetUserId(), ACL_INSERT) == ACLCHECK_OK;
}

/*
 * The partition that rows with this key belong to; InvalidOid when it cannot be
 * told by the key alone.
 */
static Oid
find_partition(Relation table, Datum value)
{
	PartitionKey key = RelationGetPartitionKey(table);
	PartitionDesc partitions = RelationGetPartitionDesc(table, true);
	PartitionBoundInfo bounds = partitions->boundinfo;
	bool		is_equal;
	int			index;

	if (key->strategy != PARTITION_STRATEGY_RANGE || key->partnatts != 1 ||
		key->partattrs[0] != 1 || key->parttypid[0] != INT8OID || partitions->nparts == 0)
		return InvalidOid;
	index = partition_range_datum_bsearch(key->partsupfunc, key->partcollation,
										  bounds, 1, &value, &is_equal);
	index = bounds->indexes[index + 1];
	if (index < 0)
		index = bounds->default_index;
	return index < 0 ? InvalidOid : partitions->oids[index];
}

/*
 * Opens the table that takes rows with this key: the table itself or one of its
 * partitions.  What was the default partition's before it was locked may be
 * another's, so it is looked up once more.
 */
static Relation
open_target(Relation table, int64 key)
{
	Oid			partition;
	Relation	target;

	if (table->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		return table;
	while (OidIsValid(partition = find_partition(table, Int64GetDatum(key))))
	{
		target = table_open(partition, RowExclusiveLock);
		if (find_partition(table, Int64GetDatum(key)) == partition)
			return target;
		table_close(target, NoLock);
	}
	return table;
}

/*
 * Finds our columns in the table as it stands now: map has their indexes in
 * the tuple descriptor.  False when one of them is missing or has another
 * type, or when another column needs a value that we do not give (a default,
 * NOT NULL).
 */
static bool
map_columns(Relation relation, const BulkTable *table, int *map)
{
	TupleDesc	descriptor = RelationGetDescr(relation);
	int			found = 0;

	for (int i = 0; i < descriptor->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(descriptor, i);
		int			column;

		if (attribute->attisdropped)
			continue;
		for (column = 0; column < table->ncolumns; column++)
		{
			if (strcmp(table->columns[column].name,
					   NameStr(attribute->attname)) == 0)
				break;
		}
		if (attribute->attgenerated != '\0' || attribute->attidentity != '\0')
			return false;
		if (column == table->ncolumns)
		{
			/* a domain may have a default or forbid NULL */
			if (attribute->atthasdef || attribute->attnotnull ||
				get_typtype(attribute->atttypid) == TYPTYPE_DOMAIN)
				return false;
			continue;
		}
		if (attribute->atttypid != table->columns[column].type ||
			attribute->atttypmod != -1)
			return false;
		map[column] = i;
		found++;
	}
	return found == table->ncolumns;
}

static void
fill_slot(TupleTableSlot *slot, Relation relation, const BulkTable *table,
		  const int *map, int64 row, BulkFill fill, void *state)
{
	Datum		values[SQL_MAX_ARGS];
	bool		isnull[SQL_MAX_ARGS] = {0};

	fill(state, row, values, isnull);
	ExecClearTuple(slot);
	memset(slot->tts_isnull, true,
		   slot->tts_tupleDescriptor->natts * sizeof(bool));
	for (int column = 0; column < table->ncolumns; column++)
	{
		int			attribute = map[column];

		if (!isnull[column])
		{
			slot->tts_values[attribute] = values[column];
			slot->tts_isnull[attribute] = false;
		}
		else if (TupleDescAttr(slot->tts_tupleDescriptor, attribute)->attnotnull)
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("null value in column \"%s\" of relation \"%s\" violates not-null constraint",
							table->columns[column].name, table->name),
					 errtablecol(relation, attribute + 1)));
	}
	ExecStoreVirtualTuple(slot);
}

static void
insert_tuples(Relation relation, const BulkTable *table, const int *map,
			  int64 nrows, BulkFill fill, void *state)
{
	EState	   *estate = CreateExecutorState();
	MemoryContext caller = MemoryContextSwitchTo(estate->es_query_cxt);
	MemoryContext batch = AllocSetContextCreate(estate->es_query_cxt,
												"damoov bulk batch",
												ALLOCSET_DEFAULT_SIZES);
	ResultRelInfo *target = makeNode(ResultRelInfo);
	int			nslots = (int) Min(nrows, BATCH_TUPLES);
	TupleTableSlot **slots = palloc(nslots * sizeof(TupleTableSlot *));
	BulkInsertState progress = GetBulkInsertState();
	CommandId	command = GetCurrentCommandId(true);

	if (!relation->rd_islocaltemp)
		PreventCommandIfReadOnly("INSERT");
	InitResultRelInfo(target, relation, 0, NULL, 0);
	ExecOpenIndices(target, false);
	for (int i = 0; i < nslots; i++)
		slots[i] = table_slot_create(relation, &estate->es_tupleTable);

	MemoryContextSwitchTo(batch);
	for (int64 done = 0; done < nrows;)
	{
		int			count = (int) Min(nrows - done, nslots);

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < count; i++)
			fill_slot(slots[i], relation, table, map, done + i, fill, state);
		table_multi_insert(relation, slots, count, command, 0, progress);
		for (int i = 0; i < count; i++)
		{
			if (target->ri_NumIndices > 0)
				list_free(compat_insert_index_tuples(target, slots[i], estate));
			ExecClearTuple(slots[i]);
		}
		done += count;
		ResetPerTupleExprContext(estate);
		MemoryContextReset(batch);
	}

	table_finish_bulk_insert(relation, 0);
	FreeBulkInsertState(progress);
	ExecCloseIndices(target);
	ExecResetTupleTable(estate->es_tupleTable, false);
	MemoryContextSwitchTo(caller);
	FreeExecutorState(estate);
	CommandCounterIncrement();
}

/* An array cannot be an element of an array, so arrays are passed as text. */
static Oid
travel_type(Oid type)
{
	return OidIsValid(get_array_type(type)) ? type : TEXTOID;
}

/*
 * What travels as text.  The output function is looked up for each value: what
 * a kept FmgrInfo remembers would have to outlive the batch.
 */
static void
values_to_text(Oid type, Datum *values, const bool *nulls, int count)
{
	Oid			function;
	bool		is_varlena;

	if (travel_type(type) == type)
		return;
	getTypeOutputInfo(type, &function, &is_varlena);
	for (int i = 0; i < count; i++)
	{
		if (!nulls[i])
			values[i] = CStringGetTextDatum(OidOutputFunctionCall(function, values[i]));
	}
}

/* Writes the statement: INSERT INTO t (a, b) SELECT a, b FROM unnest ... */
static void
prepare_insert(BulkTable *table)
{
	StringInfoData names;
	StringInfoData sources;
	StringInfoData values;
	StringInfoData text;

	if (table->insert.text != NULL)
		return;
	initStringInfo(&names);
	initStringInfo(&sources);
	initStringInfo(&values);
	initStringInfo(&text);
	for (int column = 0; column < table->ncolumns; column++)
	{
		const char *comma = column > 0 ? ", " : "";

		const char *name = quote_identifier(table->columns[column].name);
		Oid			type = table->columns[column].type;
		Oid			travels = travel_type(type);

		appendStringInfo(&names, "%s%s", comma, name);
		appendStringInfo(&sources, "%spg_catalog.unnest($%d)", comma,
						 column + 1);
		appendStringInfo(&values, "%s%s%s%s", comma, name,
						 travels == type ? "" : "::",
						 travels == type ? "" : format_type_be_qualified(type));
		table->insert.argtypes[column] = get_array_type(travels);
	}
	appendStringInfo(&text,
					 "INSERT INTO damoov.%s (%s) SELECT %s FROM ROWS FROM (%s) AS r (%s)",
					 quote_identifier(table->name), names.data, values.data,
					 sources.data, names.data);
	table->insert.nargs = table->ncolumns;
	table->insert.text = MemoryContextStrdup(TopMemoryContext, text.data);
}

static void
insert_arrays(BulkTable *table, int64 nrows, BulkFill fill, void *state)
{
	MemoryContext batch = AllocSetContextCreate(CurrentMemoryContext,
												"damoov bulk batch",
												ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(batch);
	int			ncolumns = table->ncolumns;

	prepare_insert(table);
	for (int64 done = 0; done < nrows;)
	{
		int			count = (int) Min(nrows - done, BATCH_ARRAYS);
		Datum	   *values = palloc(ncolumns * count * sizeof(Datum));
		bool	   *nulls = palloc(ncolumns * count * sizeof(bool));
		Datum		arrays[SQL_MAX_ARGS];

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < count; i++)
		{
			Datum		row_values[SQL_MAX_ARGS];
			bool		row_nulls[SQL_MAX_ARGS] = {0};

			fill(state, done + i, row_values, row_nulls);
			for (int column = 0; column < ncolumns; column++)
			{
				values[column * count + i] = row_values[column];
				nulls[column * count + i] = row_nulls[column];
			}
		}
		for (int column = 0; column < ncolumns; column++)
		{
			Oid			type = table->columns[column].type;
			Datum	   *of_column = values + column * count;
			bool	   *isnull = nulls + column * count;

			values_to_text(type, of_column, isnull, count);
			arrays[column] = sql_array(of_column, isnull, count,
									   travel_type(type));
		}
		sql_run_once(&table->insert, arrays);
		done += count;
		MemoryContextReset(batch);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(batch);
}

void
bulk_insert(BulkTable *table, int64 key, int64 nrows, BulkFill fill, void *state)
{
	Relation	relation;
	Relation	target;
	int			map[SQL_MAX_ARGS];

	Assert(table->ncolumns <= SQL_MAX_ARGS);
	if (nrows == 0)
		return;
	relation = table_openrv(makeRangeVar("damoov",
										 unconstify(char *, table->name), -1),
							RowExclusiveLock);
	target = open_target(relation, key);
	if (is_plain(relation, target) && map_columns(relation, table, map) &&
		map_columns(target, table, map) && !is_distributed(RelationGetRelid(relation)))
		insert_tuples(target, table, map, nrows, fill, state);
	else
	{
		/* an INSERT does not know when it starts where its rows will go */
		users_code_check(target);
		insert_arrays(table, nrows, fill, state);
	}
	if (target != relation)
		table_close(target, NoLock);
	table_close(relation, NoLock);
}

bool
bulk_has_partition(const char *table, int64 key)
{
	Relation	relation = table_openrv(makeRangeVar("damoov", unconstify(char *, table), -1),
										AccessShareLock);
	bool		has = true;

	if (relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
	{
		PartitionDesc partitions = RelationGetPartitionDesc(relation, true);
		Oid			partition = find_partition(relation, Int64GetDatum(key));
		int			common = partitions->boundinfo ? partitions->boundinfo->default_index : -1;

		has = OidIsValid(partition) && (common < 0 || partitions->oids[common] != partition);
	}
	table_close(relation, NoLock);
	return has;
}
