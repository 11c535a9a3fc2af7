/*
 * source_list.c
 *	  The sources that a session polls: see source_list.h.
 *
 * Each source is asked by one of the workers of its database, so that an idle
 * one costs as many requests as if there was one worker.  One that stays full is
 * asked by the others, too: a queue hands each message to one of them.
 */
#include "postgres.h"

#include "foreign/foreign.h"
#include "utils/memutils.h"

#include "base/options.h"
#include "base/wakeup.h"
#include "process/source_list.h"
#include "provider/inbox.h"
#include "provider/providers.h"
#include "provider/source.h"

static int
compare_oids(const ListCell *a, const ListCell *b)
{
	Oid			one = ((const ForeignServer *) lfirst(a))->serverid;
	Oid			other = ((const ForeignServer *) lfirst(b))->serverid;

	return one < other ? -1 : one > other;
}

/* In an order that a new one does not change for the others. */
static List *
polled_servers(void)
{
	List	   *servers = NIL;
	ListCell   *cell;

	foreach(cell, options_server_names())
	{
		ForeignServer *server = GetForeignServerByName(lfirst(cell), true);

		if (server && source_is_polled(server->servertype))
			servers = lappend(servers, server);
	}
	list_sort(servers, compare_oids);
	return servers;
}

/* A server that was dropped and came back under its name is another source. */
static Source *
find_source(const List *sources, Oid server)
{
	ListCell   *cell;

	foreach(cell, sources)
	{
		Source	   *source = lfirst(cell);

		if (source->server == server)
			return source;
	}
	return NULL;
}

List *
source_list_update(List *sources, MemoryContext context, struct HttpClient *http, const char *only)
{
	List	   *servers = polled_servers();
	Oid			crowded = InvalidOid;
	ListCell   *cell;

	foreach(cell, sources)
		((Source *) lfirst(cell))->gone = true;
	foreach(cell, servers)
	{
		ForeignServer *server = lfirst(cell);
		bool		mine = only ? strcmp(only, server->servername) == 0
			: wakeup_is_my_share(server->serverid, foreach_current_index(cell));
		Source	   *source = find_source(sources, server->serverid);

		if (source == NULL && mine)
		{
			MemoryContext old = MemoryContextSwitchTo(context);

			source = source_create(context, http, server, providers_find(server->servertype));
			sources = lappend(sources, source);
			MemoryContextSwitchTo(old);
		}
		if (source == NULL)
			continue;
		source_rename(source, server->servername);
		source->gone = false;
		source->left = !mine;
		if (source->crowded)
			crowded = source->server;
	}
	wakeup_call_for_help(crowded);
	return sources;
}

List *
source_list_tidy(List *sources)
{
	ListCell   *cell;

	foreach(cell, sources)
	{
		Source	   *source = lfirst(cell);

		source_break_off(source);
		if (!(source->gone || source->left) || !source_is_quiet(source) || source->inbox != NIL)
			continue;
		sources = foreach_delete_current(sources, cell);
		source_free(source);
	}
	return sources;
}
