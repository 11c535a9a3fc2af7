/*
 * server.c
 *	  What CREATE SERVER and ALTER SERVER say: refused at once if it can never
 *	  work.
 *
 * The validator does not see the TYPE of a server, an event trigger sees all of
 * it.  What is missing may still come, and is looked at when the source is
 * configured.
 */
#include "postgres.h"

#include "commands/defrem.h"
#include "commands/event_trigger.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "nodes/parsenodes.h"

#include "base/options.h"
#include "compat.h"
#include "provider/identity.h"
#include "provider/providers.h"
#include "provider/source.h"

SQL_FUNCTION(damoov_check_server);

static bool
is_listed(const char *types, const char *type)
{
	const char *found = strstr(types, type);
	Size		length = strlen(type);

	return found && length > 0 && strchr(type, ' ') == NULL &&
		(found == types || found[-1] == ' ') && (found[length] == '\0' || found[length] == ' ');
}

static void
check_type(const char *type)
{
	if (!is_listed(OPTIONS_SOURCES " " API_TYPE, type))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 type[0] ? errmsg("server type \"%s\" is not supported", type)
				 : errmsg("a server of the foreign-data wrapper \"damoov\" needs a type"),
				 errhint("Create it with one of these types: %s.", OPTIONS_SOURCES " " API_TYPE)));
}

static void
check_identity(const char *type, const char *value)
{
	const Provider *provider = providers_find(type);
	const IdentityWay *way = provider->ways;

	while (way->name && strcmp(way->name, value) != 0)
		way++;
	if (way->name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a server of type \"%s\" has no identity \"%s\"", type, value),
				 errhint("The manual lists the identities of each type under \"Temporary credentials\".")));
}

static void
check_options(const char *type, const List *options)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst(cell);

		if (!is_listed(options_types(option->defname), type))
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
					 errmsg("option \"%s\" does not belong to a server of type \"%s\"", option->defname, type),
					 errhint("It is an option of these types: %s.", options_types(option->defname))));
		if (strcmp(option->defname, "identity") == 0)
			check_identity(type, defGetString(option));
	}
}

Datum
damoov_check_server(PG_FUNCTION_ARGS)
{
	const Node *statement;
	const char *name = NULL;
	ForeignServer *server;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("damoov.check_server() was not called by an event trigger")));
	statement = ((EventTriggerData *) fcinfo->context)->parsetree;
	if (IsA(statement, CreateForeignServerStmt))
		name = ((const CreateForeignServerStmt *) statement)->servername;
	else if (IsA(statement, AlterForeignServerStmt))
		name = ((const AlterForeignServerStmt *) statement)->servername;
	server = name ? GetForeignServerByName(name, true) : NULL;
	if (server && options_is_server(server, NULL))
	{
		const char *type = server->servertype ? server->servertype : "";

		check_type(type);
		check_options(type, server->options);
	}
	PG_RETURN_NULL();
}
