/*
 * options.c
 *	  Options of foreign servers and user mappings: see options.h.
 *
 * The validator sees options but not the server's TYPE, so it checks that an
 * option exists and that its value can be read.  Whether the type has it, an
 * event trigger checks (door/server.c); whether its value fits the type is
 * checked when the source is configured, and shown in damoov.status.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/reloptions.h"
#include "access/table.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "base/hide.h"
#include "base/options.h"
#include "base/rights.h"
#include "base/secret.h"
#include "base/secret_file.h"
#include "base/uuid.h"
#include "compat.h"
#include "guc.h"

#define WRAPPER_NAME		"damoov"
#define HOST_HINT	"Write the secrets into the user mapping, or have a superuser set the option, and \"host_secrets\" of the foreign server."

SQL_FUNCTION(damoov_check_options);
SQL_FUNCTION(damoov_source_instance);

typedef enum OptionKind
{
	OPTION_TEXT,
	OPTION_INTEGER,
	OPTION_BOOLEAN,
	OPTION_UUID,
	OPTION_IDENTITY,
	OPTION_HOST_SECRETS,
	OPTION_FILE_NAME
} OptionKind;

typedef struct OptionSpec
{
	const char *name;
	Oid			catalog;		/* of the object it belongs to */
	OptionKind	kind;
	int			min;
	int			max;
	const char *types;			/* of servers that take it; NULL: all sources */
} OptionSpec;

static const OptionSpec specs[] = {
	/* of several types, which check narrower ranges; a source may have the region of a store */
	{"endpoint", ForeignServerRelationId, OPTION_TEXT, 0, 0, "sqs servicebus eventgrid storagequeue webhook"},
	{"wait_seconds", ForeignServerRelationId, OPTION_INTEGER, 0, 120, "sqs servicebus eventgrid"},
	{"batch_size", ForeignServerRelationId, OPTION_INTEGER, 1, 100, "sqs eventgrid"},
	/* sqs */
	{"queue_url", ForeignServerRelationId, OPTION_TEXT, 0, 0, "sqs"},
	{"region", ForeignServerRelationId, OPTION_TEXT, 0, 0, NULL},
	{"visibility_seconds", ForeignServerRelationId, OPTION_INTEGER, 0, 604800, "sqs storagequeue"},
	/* eventgrid */
	{"topic", ForeignServerRelationId, OPTION_TEXT, 0, 0, "eventgrid"},
	{"subscription", ForeignServerRelationId, OPTION_TEXT, 0, 0, "eventgrid"},
	{"lock_seconds", ForeignServerRelationId, OPTION_INTEGER, 1, 300, "eventgrid"},
	/* storagequeue */
	{"queue", ForeignServerRelationId, OPTION_TEXT, 0, 0, "storagequeue"},
	{"max_dequeue_count", ForeignServerRelationId, OPTION_INTEGER, 1, 1000, "storagequeue"},
	/* servicebus, beside endpoint and wait_seconds */
	{"entity", ForeignServerRelationId, OPTION_TEXT, 0, 0, "servicebus"},
	{"receivers", ForeignServerRelationId, OPTION_INTEGER, 1, 64, "servicebus"},
	/* api */
	{"base_url", ForeignServerRelationId, OPTION_TEXT, 0, 0, "api"},
	{"crash_url", ForeignServerRelationId, OPTION_TEXT, 0, 0, "api"},
	{"allowed_hosts", ForeignServerRelationId, OPTION_TEXT, 0, 0, "api"},
	{"fetch", ForeignServerRelationId, OPTION_TEXT, 0, 0, "api"},
	{"store_points", ForeignServerRelationId, OPTION_TEXT, 0, 0, "api"},
	{"s3_endpoint", ForeignServerRelationId, OPTION_TEXT, 0, 0, "api"},
	{"blob_endpoint", ForeignServerRelationId, OPTION_TEXT, 0, 0, "api"},
	/* temporary credentials */
	{"identity", ForeignServerRelationId, OPTION_IDENTITY, 0, 0, "sqs servicebus eventgrid storagequeue"},
	{"identity_endpoint", ForeignServerRelationId, OPTION_TEXT, 0, 0, "sqs servicebus eventgrid storagequeue"},
	{"tenant_id", ForeignServerRelationId, OPTION_TEXT, 0, 0, "servicebus eventgrid storagequeue"},
	{"client_id", ForeignServerRelationId, OPTION_TEXT, 0, 0, "servicebus eventgrid storagequeue"},
	{"role_arn", ForeignServerRelationId, OPTION_TEXT, 0, 0, "sqs"},
	{"external_id", ForeignServerRelationId, OPTION_TEXT, 0, 0, "sqs"},
	{"profile", ForeignServerRelationId, OPTION_TEXT, 0, 0, "sqs"},
	{"client_secret", UserMappingRelationId, OPTION_TEXT, 0, 0, NULL},
	/* webhook */
	{"topic_arns", ForeignServerRelationId, OPTION_TEXT, 0, 0, "webhook"},
	{"secret_header", ForeignServerRelationId, OPTION_TEXT, 0, 0, "webhook"},
	/* every source */
	{"api", ForeignServerRelationId, OPTION_TEXT, 0, 0, NULL},
	{"paused", ForeignServerRelationId, OPTION_BOOLEAN, 0, 0, NULL},
	{"instance_id", ForeignServerRelationId, OPTION_UUID, 0, 0, NULL},
	{"host_secrets", ForeignServerRelationId, OPTION_HOST_SECRETS, 0, 0, NULL},
	/* secrets */
	{"access_key_id", UserMappingRelationId, OPTION_TEXT, 0, 0, NULL},
	{"secret_access_key", UserMappingRelationId, OPTION_TEXT, 0, 0, NULL},
	{"session_token", UserMappingRelationId, OPTION_TEXT, 0, 0, NULL},
	{"account_name", UserMappingRelationId, OPTION_TEXT, 0, 0, NULL},
	{"account_key", UserMappingRelationId, OPTION_TEXT, 0, 0, NULL},
	{"sas", UserMappingRelationId, OPTION_TEXT, 0, 0, NULL},
	{"access_key", UserMappingRelationId, OPTION_TEXT, 0, 0, NULL},
	{"secondary_access_key", UserMappingRelationId, OPTION_TEXT, 0, 0, NULL},
	{"shared_access_key_name", UserMappingRelationId, OPTION_TEXT, 0, 0, NULL},
	{"shared_access_key", UserMappingRelationId, OPTION_TEXT, 0, 0, NULL},
	{"connection_string", UserMappingRelationId, OPTION_TEXT, 0, 0, NULL},
	{"webhook_secret", UserMappingRelationId, OPTION_TEXT, 0, 0, NULL},
	{"secret_file", UserMappingRelationId, OPTION_FILE_NAME, 0, 0, NULL},
};

/* ----- what belongs to the machine ----- */

/*
 * Does this option use what is the operator's: a file, the identity of the
 * machine, or the permission to do so?  An identity is the machine's unless it is
 * known to be got with secrets of the user mapping.
 */
static bool
is_of_host(OptionKind kind, const char *value)
{
	bool		flag;

	switch (kind)
	{
		case OPTION_FILE_NAME:
			return true;
		case OPTION_IDENTITY:
			return strcmp(value, "assume_role") != 0 && strcmp(value, "client_credentials") != 0;
		case OPTION_HOST_SECRETS:
			return parse_bool(value, &flag) && flag;
		default:
			return false;
	}
}

/* ----- the validator ----- */

static bool
has_control_characters(const char *value)
{
	for (; *value; value++)
	{
		if ((unsigned char) *value < ' ' || *value == 0x7f)
			return true;
	}
	return false;
}

/*
 * Where the request goes, the owner of a server decides; so whoever has the
 * operator's secrets used must be allowed to read them.
 */
static void
check_host_right(const OptionSpec *spec, const char *value)
{
	if (!is_of_host(spec->kind, value) || rights_use_host(GetUserId()))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to set option \"%s\"", spec->name),
			 errdetail("Only superusers and members of role \"pg_read_server_files\" may have secrets of the server's machine used."),
			 errhint("%s", HOST_HINT)));
}

static void
check_value(const OptionSpec *spec, const char *value)
{
	long		number;
	bool		flag;
	pg_uuid_t	uuid;
	char	   *end;

	switch (spec->kind)
	{
		case OPTION_TEXT:
		case OPTION_IDENTITY:
			if (value[0] == '\0')
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("option \"%s\" must not be empty", spec->name)));
			/* it may become part of a line of a request; a connection string may have several */
			if (spec->catalog == ForeignServerRelationId && has_control_characters(value))
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("option \"%s\" must not contain control characters", spec->name)));
			break;
		case OPTION_INTEGER:
			errno = 0;
			number = strtol(value, &end, 10);
			if (errno != 0 || end == value || *end != '\0' ||
				number < spec->min || number > spec->max)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("option \"%s\" must be an integer between %d and %d",
								spec->name, spec->min, spec->max)));
			break;
		case OPTION_BOOLEAN:
		case OPTION_HOST_SECRETS:
			if (!parse_bool(value, &flag))
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("option \"%s\" requires a Boolean value", spec->name)));
			break;
		case OPTION_UUID:
			if (!uuid_parse(value, &uuid))
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("option \"%s\" must be a UUID", spec->name)));
			break;
		case OPTION_FILE_NAME:
			if (!secret_file_is_named(value))
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("option \"%s\" must be a plain file name", spec->name),
						 errdetail("Letters, digits, \"_\", \".\" and \"-\" are allowed, at most %d characters; the directory is set by \"damoov.secrets_dir\".",
								   SECRET_FILE_NAME_MAX)));
			break;
	}
}

static const char *
object_kind(Oid catalog)
{
	switch (catalog)
	{
		case UserMappingRelationId:
			return "user mapping";
		case ForeignDataWrapperRelationId:
			return "foreign-data wrapper";
		case ForeignServerRelationId:
			return "server";
		default:
			return "foreign table";
	}
}

static int
option_distance(const char *a, const char *b)
{
	if (strlen(a) > 255 || strlen(b) > 255)
		return PG_INT32_MAX;
	return varstr_levenshtein(a, strlen(a), b, strlen(b), 1, 1, 1, true);
}

static void
refuse_option(const char *name, Oid catalog)
{
	const OptionSpec *nearest = NULL;
	int			best = PG_INT32_MAX;

	for (int i = 0; i < (int) lengthof(specs); i++)
	{
		int			distance = option_distance(name, specs[i].name);

		if (strcmp(name, specs[i].name) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
					 errmsg("option \"%s\" does not belong to a %s", name, object_kind(catalog)),
					 errhint("It is an option of the %s.", object_kind(specs[i].catalog))));
		if (specs[i].catalog == catalog && distance < best)
		{
			best = distance;
			nearest = &specs[i];
		}
	}
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
			 errmsg("invalid option \"%s\" for a %s", name, object_kind(catalog)),
			 nearest && best <= Max(3, (int) strlen(name) / 2)
			 ? errhint("Perhaps you meant the option \"%s\".", nearest->name)
			 : nearest ? 0 : errhint("There are no valid options in this context.")));
}

Datum
damoov_check_options(PG_FUNCTION_ARGS)
{
	List	   *options = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);
	ErrorContextCallback hiding;
	ListCell   *cell;

	/* a mistyped name may stand before a secret */
	hide_statement(&hiding);
	foreach(cell, options)
	{
		DefElem    *option = lfirst(cell);
		const OptionSpec *found = NULL;

		for (int i = 0; i < (int) lengthof(specs) && !found; i++)
		{
			if (specs[i].catalog == catalog && strcmp(specs[i].name, option->defname) == 0)
				found = &specs[i];
		}
		if (!found)
			refuse_option(option->defname, catalog);
		else
		{
			check_value(found, defGetString(option));
			check_host_right(found, defGetString(option));
		}
	}
	hide_end(&hiding);
	PG_RETURN_VOID();
}

const char *
options_types(const char *name)
{
	for (int i = 0; i < (int) lengthof(specs); i++)
	{
		if (specs[i].catalog == ForeignServerRelationId && strcmp(specs[i].name, name) == 0)
			return specs[i].types ? specs[i].types : OPTIONS_SOURCES;
	}
	return "";
}

/* ----- reading ----- */

static int
compare_names(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

List *
options_server_names(void)
{
	Oid			wrapper = get_foreign_data_wrapper_oid(WRAPPER_NAME, true);
	List	   *names = NIL;
	Relation	catalog;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (!OidIsValid(wrapper))
		return NIL;
	catalog = table_open(ForeignServerRelationId, AccessShareLock);
	scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_foreign_server form = (Form_pg_foreign_server) GETSTRUCT(tuple);

		if (form->srvfdw == wrapper)
			names = lappend(names, pstrdup(NameStr(form->srvname)));
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	list_sort(names, compare_names);
	return names;
}

/* Options of one user's mapping; false when he has none. */
static bool
mapping_options(Oid user, Oid server, List **options)
{
	HeapTuple	tuple = SearchSysCache2(USERMAPPINGUSERSERVER,
										ObjectIdGetDatum(user),
										ObjectIdGetDatum(server));
	Datum		value;
	bool		isnull;

	if (!HeapTupleIsValid(tuple))
		return false;
	value = SysCacheGetAttr(USERMAPPINGUSERSERVER, tuple,
							Anum_pg_user_mapping_umoptions, &isnull);
	*options = isnull ? NIL : untransformRelOptions(value);
	ReleaseSysCache(tuple);
	return true;
}

static const char *
find_option(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst(cell);

		if (strcmp(option->defname, name) == 0)
			return defGetString(option);
	}
	return NULL;
}

char *
options_of_server(const char *name, const char *option)
{
	ForeignServer *server = GetForeignServerByName(name, true);
	const char *value = server ? find_option(server->options, option) : NULL;

	return value ? pstrdup(value) : NULL;
}

bool
options_is_server(const ForeignServer *server, const char *type)
{
	return server != NULL && server->fdwid == get_foreign_data_wrapper_oid(WRAPPER_NAME, true) &&
		(type == NULL || (server->servertype && strcmp(server->servertype, type) == 0));
}

ForeignServer *
options_source(const char *name)
{
	ForeignServer *server = GetForeignServerByName(name, true);

	if (!options_is_server(server, NULL) ||
		(strcmp(name, OPTIONS_NO_SOURCE) == 0 && !superuser_arg(server->owner)))
		return NULL;
	return server;
}

/* The owner may have changed since the options were set, or what he may do. */
static bool
check_owner(const ServerOptions *options, Fault *fault)
{
	const char *file = find_option(options->secrets, "secret_file");
	const char *identity = find_option(options->options, "identity");

	if (options->may_use_host ||
		(file == NULL && (identity == NULL || !is_of_host(OPTION_IDENTITY, identity))))
		return true;
	fault_set_state(fault, ERRCODE_INSUFFICIENT_PRIVILEGE, REASON_CONFIGURATION,
					"role \"%s\", owner of server \"%s\", may not have option \"%s\" used",
					GetUserNameFromId(options->owner, false), options->name,
					file ? "secret_file" : "identity");
	fault->hint = pstrdup(HOST_HINT);
	return false;
}

bool
options_load(const char *name, ServerOptions **options, Fault *fault)
{
	ForeignServer *server = GetForeignServerByName(name, true);
	ServerOptions *out;
	const char *file;

	if (server == NULL)
		return fault_set_state(fault, ERRCODE_UNDEFINED_OBJECT, REASON_CONFIGURATION,
						 "server \"%s\" does not exist", name);
	if (!options_is_server(server, NULL))
		return fault_set_state(fault, ERRCODE_WRONG_OBJECT_TYPE, REASON_CONFIGURATION,
						 "server \"%s\" is not a server of the foreign-data wrapper \"%s\"",
						 name, WRAPPER_NAME);
	if (object_aclcheck(ForeignServerRelationId, server->serverid,
						GetUserId(), ACL_USAGE) != ACLCHECK_OK && !rights_are_engine())
		return fault_set_state(fault, ERRCODE_INSUFFICIENT_PRIVILEGE, REASON_CONFIGURATION,
						 "permission denied for foreign server %s", name);

	out = palloc0(sizeof(ServerOptions));
	out->server = server->serverid;
	out->name = server->servername;
	out->type = server->servertype ? server->servertype : pstrdup("");
	out->options = server->options;
	out->owner = server->owner;
	out->may_use_host = rights_use_host(server->owner) || options_bool(out, "host_secrets");
	(void) (mapping_options(GetUserId(), server->serverid, &out->secrets) ||
			mapping_options(server->owner, server->serverid, &out->secrets) ||
			mapping_options(InvalidOid, server->serverid, &out->secrets));
	if (!check_owner(out, fault))
		return false;
	file = find_option(out->secrets, "secret_file");
	if (file != NULL && !secret_file_load(file, &out->secrets, fault))
		return false;
	*options = out;
	return true;
}

void
options_wipe(ServerOptions *options)
{
	ListCell   *cell;

	foreach(cell, options->secrets)
		secret_wipe(defGetString(lfirst(cell)));
}

const char *
options_get(const ServerOptions *options, const char *name)
{
	return find_option(options->options, name);
}

const char *
options_secret(const ServerOptions *options, const char *name)
{
	return find_option(options->secrets, name);
}

char *
options_keep_secret(const ServerOptions *options, const char *name)
{
	const char *value = options_secret(options, name);

	return value ? secret_keep(value, strlen(value)) : NULL;
}

int
options_int(const ServerOptions *options, const char *name, int default_value)
{
	const char *value = options_get(options, name);

	return value ? atoi(value) : default_value;
}

bool
options_int_within(const ServerOptions *options, const char *name, int min, int max,
				   int default_value, int *value, Fault *fault)
{
	*value = options_int(options, name, default_value);
	if (*value >= min && *value <= max)
		return true;
	return fault_set(fault, REASON_CONFIGURATION,
					 "option \"%s\" must be between %d and %d for a server of type \"%s\"",
					 name, min, max, options->type);
}

bool
options_bool(const ServerOptions *options, const char *name)
{
	const char *value = options_get(options, name);
	bool		flag = false;

	return value && parse_bool(value, &flag) && flag;
}

Datum
damoov_source_instance(PG_FUNCTION_ARGS)
{
	ForeignServer *source = options_source(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	const char *value = source ? find_option(source->options, "instance_id") : NULL;
	pg_uuid_t  *instance = palloc(sizeof(pg_uuid_t));

	if (value == NULL || !uuid_parse(value, instance))
		PG_RETURN_NULL();
	PG_RETURN_UUID_P(instance);
}
