/*
 * users_code.c
 *	  Whose rights the functions of users have in the engine: see users_code.h.
 *
 * Whatever an expression, a trigger or another function calls comes through the
 * server's function manager, which asks us about each function that is not built
 * in.  So nothing has to be searched for in the catalogs, where it could also
 * change between the search and the call.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/syscache.h"

#include "base/users_code.h"

/* What a call has changed, and has to restore; kept with the function's lookup. */
typedef struct Caller
{
	bool		changed;
	Oid			user;
	int			context;
	Datum		next_private;	/* of another extension's hook */
} Caller;

static bool guarded = false;
static needs_fmgr_hook_type next_needs_hook = NULL;
static fmgr_hook_type next_hook = NULL;

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

/* Nobody may be made to run what is of a role with fewer rights. */
static void
check_owner(const FormData_pg_proc *function)
{
	if (has_privs_of_role(function->proowner, GetUserId()))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("function %s of role \"%s\" must not run with the rights of role \"%s\"",
					NameStr(function->proname), GetUserNameFromId(function->proowner, false),
					GetUserNameFromId(GetUserId(), false)),
			 errhint("Make it SECURITY DEFINER, or change its owner.")));
}

static void
begin_call(Oid function, Caller *caller)
{
	HeapTuple	tuple = find_function(function);
	const FormData_pg_proc *form = (const FormData_pg_proc *) GETSTRUCT(tuple);

	caller->changed = false;
	if (form->prosecdef)
		;						/* the server has set its owner already */
	else if (is_users_trigger(form))
	{
		GetUserIdAndSecContext(&caller->user, &caller->context);
		SetUserIdAndSecContext(form->proowner, caller->context | SECURITY_LOCAL_USERID_CHANGE);
		caller->changed = true;
	}
	else
		check_owner(form);
	ReleaseSysCache(tuple);
}

/* After an error, the end of the (sub)transaction restores the user. */
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
		if (guarded)
			begin_call(function->fn_oid, caller);
	}
	else if (event == FHET_END && caller->changed)
		SetUserIdAndSecContext(caller->user, caller->context);
	if (next_hook)
		next_hook(event, function, &caller->next_private);
}

void
users_code_init(void)
{
	next_needs_hook = needs_fmgr_hook;
	needs_fmgr_hook = needs_hook;
	next_hook = fmgr_hook;
	fmgr_hook = on_call;
}

bool
users_code_guard(bool on)
{
	bool		before = guarded;

	guarded = on;
	return before;
}
