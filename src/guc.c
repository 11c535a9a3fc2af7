/*
 * guc.c
 *	  Every setting of the extension: variable, definition, check.
 */
#include "postgres.h"

#include <limits.h>

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/guc.h"
#include "utils/varlena.h"

#include "compat.h"
#include "guc.h"

char	   *damoov_databases;
char	   *damoov_role;
char	   *damoov_identity;
char	   *damoov_secrets_dir;
char	   *damoov_ca_file;
int			damoov_workers_per_database;
int			damoov_max_downloads;
int			damoov_max_document_size;
bool		damoov_allow_http_loopback;
bool		damoov_allow_host_identity;
int			damoov_partition_ids;
int			damoov_backfill_rate;
int			damoov_keep_events;
int			damoov_keep_heartbeats;
int			damoov_keep_trips;
int			damoov_keep_crashes;
int			damoov_keep_quarantine;
int			damoov_keep_receipts;
int			damoov_keep_documents;
int			damoov_store_points;

static const struct config_enum_entry points_names[] = {
	{"rows", STORE_ROWS, false},
	{"document", STORE_DOCUMENT, false},
	{NULL, 0, false}
};

static bool
check_databases(char **newval, void **extra, GucSource source)
{
	char	   *copy = pstrdup(*newval);
	List	   *names = NIL;
	bool		valid = SplitIdentifierString(copy, ',', &names);

	if (!valid)
		GUC_check_errdetail("List syntax is invalid.");
	list_free(names);
	pfree(copy);
	return valid;
}

static bool
check_secrets_dir(char **newval, void **extra, GucSource source)
{
	if ((*newval)[0] == '\0' || is_absolute_path(*newval))
		return true;
	GUC_check_errdetail("An absolute path is required.");
	return false;
}

/* Not PGC_SIGHUP: each database may have its own, by ALTER DATABASE; so may the size of partitions. */
#define KEEP(what, description, variable, value) \
	{"damoov.keep_" what, description, \
	"-1 means for ever; what is older goes with CALL damoov_purge(false).", \
	variable, value, -1, INT_MAX, PGC_SUSET, GUC_UNIT_MIN}

static const struct
{
	const char *name;
	const char *description;
	const char *more;
	char	  **variable;
	int			flags;
	GucStringCheckHook check;
}			texts[] = {
	{"damoov.databases", "Databases a background worker serves, separated by commas.", NULL,
	&damoov_databases, GUC_LIST_INPUT, check_databases},
	{"damoov.role", "Role the background workers run as.",
	"Empty means the role damoov_engine, which CREATE EXTENSION makes.", &damoov_role, 0, NULL},
	{"damoov.identity", "Name of this server, by which a copy of it is told from the original.",
	"Empty means that the file system and the inode of the data directory's PG_VERSION are looked at.",
	&damoov_identity, 0, NULL},
	{"damoov.secrets_dir", "Directory of the files named by the option secret_file.", NULL,
	&damoov_secrets_dir, GUC_SUPERUSER_ONLY, check_secrets_dir},
	{"damoov.ca_file", "File of certificate authorities to trust.",
	"Empty means the system's own.", &damoov_ca_file, GUC_SUPERUSER_ONLY, NULL},
};

static const struct
{
	const char *name;
	const char *description;
	const char *more;
	int		   *variable;
	int			value;
	int			min;
	int			max;
	GucContext	context;
	int			flags;
}			numbers[] = {
	{"damoov.workers_per_database", "Background workers that share the work of a database.", NULL,
	&damoov_workers_per_database, 1, 1, GUC_MAX_WORKERS, PGC_SIGHUP, 0},
	{"damoov.max_downloads", "Datasets that a worker fetches at the same time.", NULL,
	&damoov_max_downloads, 8, 1, 64, PGC_SIGHUP, 0},
	{"damoov.max_document_size", "Largest dataset that is accepted, after decompression.", NULL,
	&damoov_max_document_size, 64 * 1024, 1, 512 * 1024, PGC_SIGHUP, GUC_UNIT_KB},
	{"damoov.partition_size", "Trips, and raw tracks, whose points and events share a partition.",
	"Holds for partitions that are made from then on.",
	&damoov_partition_ids, 50000, 1000, INT_MAX, PGC_SUSET, 0},
	{"damoov.backfill_rate", "Lists of tracks that a backfill asks for in a minute.", NULL,
	&damoov_backfill_rate, 60, 1, 60000, PGC_SUSET, 0},
	KEEP("events", "How long notifications are kept.", &damoov_keep_events, -1),
	KEEP("heartbeats", "How long phone status reports are kept.", &damoov_keep_heartbeats, -1),
	KEEP("trips", "How long trips are kept after the platform's last word on them.",
		 &damoov_keep_trips, -1),
	KEEP("crashes", "How long crashes are kept after their latest stage.", &damoov_keep_crashes, -1),
	KEEP("quarantine", "How long messages and datasets that could not be understood are kept.",
		 &damoov_keep_quarantine, -1),
	KEEP("receipts", "How long the counts of messages are kept.", &damoov_keep_receipts, -1),
	KEEP("documents", "How long the originals of datasets are kept.",
		 &damoov_keep_documents, 30 * HOURS_PER_DAY * MINS_PER_HOUR),
};

static const struct
{
	const char *name;
	const char *description;
	const char *more;
	bool	   *variable;
}			switches[] = {
	{"damoov.allow_http_loopback", "Allows plain http to 127.0.0.1 and ::1, for tests and demos.", NULL,
	&damoov_allow_http_loopback},
	{"damoov.allow_host_identity", "Allows sources to use the cloud identity of the machine.",
	"Whoever may create a source can then read what the machine may read.",
	&damoov_allow_host_identity},
};

void
guc_define(void)
{
	for (int i = 0; i < (int) lengthof(texts); i++)
		DefineCustomStringVariable(texts[i].name, texts[i].description, texts[i].more,
								   texts[i].variable, "", PGC_SIGHUP, texts[i].flags,
								   texts[i].check, NULL, NULL);
	for (int i = 0; i < (int) lengthof(numbers); i++)
		DefineCustomIntVariable(numbers[i].name, numbers[i].description, numbers[i].more,
								numbers[i].variable, numbers[i].value, numbers[i].min,
								numbers[i].max, numbers[i].context, numbers[i].flags,
								NULL, NULL, NULL);
	for (int i = 0; i < (int) lengthof(switches); i++)
		DefineCustomBoolVariable(switches[i].name, switches[i].description, switches[i].more,
								 switches[i].variable, false, PGC_SUSET, 0,
								 NULL, NULL, NULL);
	DefineCustomEnumVariable("damoov.store_points", "What is stored of the points of a trip.",
							 "The option store_points of an api server wins over it.",
							 &damoov_store_points, STORE_ROWS, points_names, PGC_SUSET, 0,
							 NULL, NULL, NULL);
	MarkGUCPrefixReserved("damoov");
}

bool
guc_store_points(const char *name, StorePoints *value)
{
	for (const struct config_enum_entry *entry = points_names; entry->name; entry++)
	{
		if (pg_strcasecmp(entry->name, name) == 0)
		{
			*value = entry->val;
			return true;
		}
	}
	return false;
}

List *
guc_database_list(void)
{
	List	   *names = NIL;

	(void) SplitIdentifierString(pstrdup(damoov_databases), ',', &names);
	return names;
}
