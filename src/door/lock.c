/*
 * lock.c
 *	  The locks of storing: see lock.h.
 *
 * What they are is said in the install script.
 */
#include "postgres.h"

#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "storage/lmgr.h"

#include "base/sql.h"
#include "base/uuid.h"
#include "door/lock.h"

bool
lock_extension(void)
{
	Oid			extension = get_extension_oid("damoov", true);

	if (!OidIsValid(extension))
		return false;
	LockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock);
	return get_extension_oid("damoov", true) == extension;
}

void
lock_for_storing(const List *ids)
{
	static SqlPlan people = {.text = "SELECT damoov.lock_people(false)"};
	static SqlPlan objects = SQL_PLAN("SELECT damoov.lock_objects($1)", UUIDARRAYOID);
	Datum	   *values;
	int			count = 0;
	ListCell   *cell;
	Datum		argument;

	sql_run(&people, NULL, NULL);
	if (ids == NIL)
		return;
	values = palloc(list_length(ids) * sizeof(Datum));
	foreach(cell, ids)
		values[count++] = UUIDPGetDatum((pg_uuid_t *) lfirst(cell));
	argument = sql_array(values, NULL, count, UUIDOID);
	sql_run(&objects, &argument, NULL);
}
