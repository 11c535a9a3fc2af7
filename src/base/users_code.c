/*
 * users_code.c
 *	  Whose rights the functions of users have in the engine: see users_code.h.
 *
 * Whatever an expression, a trigger or another function calls comes through the
 * server's function manager, which asks us about each function that is not built
 * in.  So nothing has to be searched for in the catalogs, where it could also
 * change between the search and the call.
 *
 * A trigger belongs to nobody: whoever has the right TRIGGER on a table may have
 * attached a function that is not his.  So a trigger function gets its owner's
 * rights only where nobody with fewer rights has that.
 *
 * Nor does the condition (WHEN) of a trigger belong to anybody.  The server computes
 * it with the rights of who writes, and does not ask us about what is built in, which
 * can run SQL and read files.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/reltrigger.h"
#include "utils/syscache.h"

#include "base/users_code.h"

/* What a call has changed, and has to restore; kept with the function's lookup. */
typedef struct Caller
{
	bool		changed;
	Oid			user;
	int			context;
	int			settings;		/* nest level of them; 0: they are kept */
	Datum		next_private;	/* of another extension's hook */
} Caller;

static bool guarded = false;
static Oid	engine = InvalidOid;	/* whose rights are guarded: after SET ROLE not the session's */
static needs_fmgr_hook_type next_needs_hook = NULL;
static fmgr_hook_type next_hook = NULL;
static ExecutorStart_hook_type next_start = NULL;

/* The row of the function; released by the caller. */
static HeapTuple
find_function(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	return tuple;
}

/* The extension's own triggers are part of the engine. */
static bool
is_users_trigger(const FormData_pg_proc *function)
{
	return function->prorettype == TRIGGEROID &&
		function->pronamespace != get_namespace_oid("damoov", true);
}

static bool
needs_hook(Oid function)
{
	HeapTuple	tuple;
	const FormData_pg_proc *form;
	bool		needed;

	if (next_needs_hook && next_needs_hook(function))
		return true;
	if (!guarded)
		return false;
	tuple = find_function(function);
	form = (const FormData_pg_proc *) GETSTRUCT(tuple);
	needed = is_users_trigger(form) || !superuser_arg(form->proowner);
	ReleaseSysCache(tuple);
	return needed;
}

/* May a role without the rights of this one attach triggers to the table? */
static bool
is_open_to_others(Oid table, Oid role)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	Oid			owner;
	bool		isnull;
	Datum		value;
	bool		open;

	if (!HeapTupleIsValid(tuple))
		return false;
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	open = !has_privs_of_role(owner, role);
	value = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_relacl, &isnull);
	if (!isnull)
	{
		Acl		   *acl = DatumGetAclPCopy(value);
		Oid		   *roles;
		int			count = aclmembers(acl, &roles);

		open |= aclmask(acl, ACL_ID_PUBLIC, owner, ACL_TRIGGER, ACLMASK_ANY) != 0;
		for (int i = 0; i < count; i++)
			open |= !has_privs_of_role(roles[i], role) &&
				aclmask(acl, roles[i], owner, ACL_TRIGGER, ACLMASK_ANY) != 0;
		pfree(roles);
		pfree(acl);
	}
	ReleaseSysCache(tuple);
	return open;
}

/* The table of a trigger, InvalidOid if it is gone. */
static Oid
table_of(Oid trigger)
{
	Relation	catalog = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			table = InvalidOid;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(trigger));
	scan = systable_beginscan(catalog, TriggerOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		table = ((Form_pg_trigger) GETSTRUCT(tuple))->tgrelid;
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return table;
}

/* Could only roles with all rights of the function's owner attach it where it is attached? */
static bool
is_attached_by_owner(const FormData_pg_proc *function)
{
	Relation	catalog = table_open(DependRelationId, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		by_owner = true;

	ScanKeyInit(&key[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(ProcedureRelationId));
	ScanKeyInit(&key[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(function->oid));
	scan = systable_beginscan(catalog, DependReferenceIndexId, true, NULL, 2, key);
	while (by_owner && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend depend = (Form_pg_depend) GETSTRUCT(tuple);

		if (depend->classid == TriggerRelationId)
			by_owner = !is_open_to_others(table_of(depend->objid), function->proowner);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return by_owner;
}

/* Nobody may be made to run what is of a role with fewer rights. */
static void
check_owner(const FormData_pg_proc *function, Oid user)
{
	if (has_privs_of_role(function->proowner, user))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("function %s of role \"%s\" must not run with the rights of role \"%s\"",
					NameStr(function->proname), GetUserNameFromId(function->proowner, false),
					GetUserNameFromId(user, false)),
			 errhint("Make it SECURITY DEFINER, or change its owner.")));
}

/* Whose rights a function is to have, which are never more than its owner's. */
static Oid
user_of(const FormData_pg_proc *function)
{
	if (!is_users_trigger(function))
		return GetUserId();
	return is_attached_by_owner(function) ? function->proowner : engine;
}

static void
begin_call(Oid function, Caller *caller)
{
	HeapTuple	tuple = find_function(function);
	const FormData_pg_proc *form = (const FormData_pg_proc *) GETSTRUCT(tuple);

	/* a search_path of somebody's would decide what the session calls next */
	if (!has_privs_of_role(form->proowner, engine))
		caller->settings = NewGUCNestLevel();
	/* of those the server has set the owner already */
	if (!form->prosecdef)
	{
		Oid			user = user_of(form);

		check_owner(form, user);
		GetUserIdAndSecContext(&caller->user, &caller->context);
		caller->changed = user != caller->user;
		if (caller->changed)
			SetUserIdAndSecContext(user, caller->context | SECURITY_LOCAL_USERID_CHANGE);
	}
	ReleaseSysCache(tuple);
}

static void
end_call(const Caller *caller)
{
	if (caller->settings)
		AtEOXact_GUC(false, caller->settings);
	if (caller->changed)
		SetUserIdAndSecContext(caller->user, caller->context);
}

/* After an error, the end of the (sub)transaction restores the user and the settings. */
static void
on_call(FmgrHookEventType event, FmgrInfo *function, Datum *private)
{
	Caller	   *caller = (Caller *) DatumGetPointer(*private);

	if (caller == NULL)
	{
		caller = MemoryContextAllocZero(function->fn_mcxt, sizeof(Caller));
		*private = PointerGetDatum(caller);
	}
	if (event == FHET_START)
	{
		caller->changed = false;
		caller->settings = 0;
		if (guarded)
			begin_call(function->fn_oid, caller);
	}
	else if (event == FHET_END)
		end_call(caller);
	if (next_hook)
		next_hook(event, function, &caller->next_private);
}

/* ----- conditions of triggers ----- */

/* The extension's own condition is no user's. */
static bool
is_mutable(Oid function, void *context)
{
	if (func_volatile(function) == PROVOLATILE_IMMUTABLE)
		return false;
	return get_func_namespace(function) != get_namespace_oid("damoov", true) ||
		strcmp(get_func_name(function), "ingesting") != 0;
}

static bool
calls_mutable(Node *node, void *context)
{
	if (node == NULL)
		return false;
	return check_functions_in_node(node, is_mutable, context) ||
		expression_tree_walker(node, calls_mutable, context);
}

/* What is immutable can do nothing but compute. */
static void
check_condition(Relation table, const Trigger *trigger)
{
	if (trigger->tgqual == NULL || trigger->tgenabled == TRIGGER_DISABLED ||
		!is_open_to_others(RelationGetRelid(table), GetUserId()) ||
		!calls_mutable(stringToNode(trigger->tgqual), NULL))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("condition of trigger \"%s\" on table \"%s\" must not be computed with the rights of role \"%s\"",
					trigger->tgname, RelationGetRelationName(table),
					GetUserNameFromId(GetUserId(), false)),
			 errdetail("It calls functions that are not immutable, and roles without the rights of this role may create triggers on the table."),
			 errhint("Move the condition into the function of the trigger, or revoke TRIGGER on the table from other roles.")));
}

void
users_code_check(Relation table)
{
	for (int i = 0; guarded && table->trigdesc && i < table->trigdesc->numtriggers; i++)
		check_condition(table, &table->trigdesc->triggers[i]);
}

/* Conditions are computed after this. */
static void
on_start(QueryDesc *query, int flags)
{
	ListCell   *cell;

	if (next_start)
		next_start(query, flags);
	else
		standard_ExecutorStart(query, flags);
	foreach(cell, query->estate->es_opened_result_relations)
		users_code_check(((ResultRelInfo *) lfirst(cell))->ri_RelationDesc);
}

void
users_code_init(void)
{
	next_start = ExecutorStart_hook;
	ExecutorStart_hook = on_start;
	next_needs_hook = needs_fmgr_hook;
	needs_fmgr_hook = needs_hook;
	next_hook = fmgr_hook;
	fmgr_hook = on_call;
}

bool
users_code_guard(bool on)
{
	bool		before = guarded;

	if (on && !before)
		engine = GetUserId();
	guarded = on;
	return before;
}
