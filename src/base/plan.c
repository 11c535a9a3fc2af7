/*
 * plan.c
 *	  Plans that hold when the tables have grown: see plan.h.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "nodes/pathnodes.h"
#include "optimizer/plancat.h"
#include "utils/lsyscache.h"
#include "utils/selfuncs.h"

#include "base/plan.h"
#include "guc.h"

/* Large enough for an index, and small enough to cost no compilation. */
#define MANY_ROWS	100000.0
#define MANY_PAGES	2000

static get_relation_info_hook_type next_relation_info = NULL;
static get_relation_stats_hook_type next_relation_stats = NULL;

static bool
is_ours(Oid relation)
{
	return damoov_plan_lookups && OidIsValid(relation) &&
		get_rel_namespace(relation) == get_namespace_oid("damoov", true);
}

static void
enlarge(PlannerInfo *root, Oid relation, bool inhparent, RelOptInfo *rel)
{
	ListCell   *cell;

	if (next_relation_info)
		next_relation_info(root, relation, inhparent, rel);
	if (!is_ours(relation))
		return;
	rel->pages = Max(rel->pages, MANY_PAGES);
	rel->tuples = Max(rel->tuples, MANY_ROWS);
	foreach(cell, rel->indexlist)
	{
		IndexOptInfo *index = lfirst(cell);

		index->pages = Max(index->pages, MANY_PAGES / 4);
		index->tuples = Max(index->tuples, MANY_ROWS);
	}
}

/* True without statistics: there are none. */
static bool
hide_statistics(PlannerInfo *root, RangeTblEntry *entry, AttrNumber column,
				VariableStatData *statistics)
{
	if (next_relation_stats && next_relation_stats(root, entry, column, statistics))
		return true;
	return entry->rtekind == RTE_RELATION && is_ours(entry->relid);
}

void
plan_init(void)
{
	next_relation_info = get_relation_info_hook;
	get_relation_info_hook = enlarge;
	next_relation_stats = get_relation_stats_hook;
	get_relation_stats_hook = hide_statistics;
}
