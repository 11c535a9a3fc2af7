/*
 * check.c
 *	  What damoov_check() asks of services and files.
 *
 * Asks every source what its provider can tell without taking a message.
 * Nothing is stored and nothing is consumed; as with damoov_fetch_track(), the
 * caller waits for the network.  What tables, catalogs and settings tell, and
 * the statements that mend it, are in sql/parts/check.sql.
 */
#include "postgres.h"

#include <unistd.h>

#include "fmgr.h"
#include "foreign/foreign.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/options.h"
#include "compat.h"
#include "door/api.h"
#include "guc.h"
#include "provider/finding.h"
#include "provider/providers.h"
#include "provider/source.h"
#include "wire/http.h"

SQL_FUNCTION(damoov_check_services);

#define CHECK_MS			20000	/* for all sources together */
#define ANSWER_MS			10000
#define MAX_REPLY			(1024 * 1024)

typedef struct Doctor
{
	MemoryContext context;
	HttpClient *http;
	bool		only_one;		/* source was asked for */
	List	   *all;			/* Findings * */
	List	   *apis;			/* char *: api servers looked at, "" for the defaults */
} Doctor;

static Findings *
start_findings(Doctor *doctor, const char *source)
{
	Findings   *findings = findings_create(doctor->context, source);
	MemoryContext old = MemoryContextSwitchTo(doctor->context);

	doctor->all = lappend(doctor->all, findings);
	MemoryContextSwitchTo(old);
	return findings;
}

/* ----- sources ----- */

static void
check_source(Doctor *doctor, const char *name)
{
	ForeignServer *server = GetForeignServerByName(name, false);
	Findings   *findings = start_findings(doctor, name);
	Source	   *source = source_create(doctor->context, doctor->http, server,
									   providers_find(server->servertype));
	Fault		fault = {0};

	if (!source_try_configure(source, &fault))
	{
		finding_trouble(findings, TROUBLE_CONFIGURATION, &fault);
		findings->done = true;
		return;
	}
	if (source->option_paused)
		finding_add(findings, FINDING_WARNING, "options", "the source is paused by its option",
					psprintf("ALTER SERVER %s OPTIONS (DROP paused)", quote_identifier(name)));
	source_check(source, findings);
}

/* ----- the api servers ----- */

typedef struct ApiQuestion
{
	Findings   *findings;
	const char *url;
} ApiQuestion;

/* Any HTTP status will do: the host was found, and its certificate is good. */
static void
api_answered(HttpRequest *request, void *arg)
{
	ApiQuestion *question = arg;
	Findings   *findings = question->findings;

	if (request->status == 0)
		finding_add(findings, FINDING_ERROR, "api", request->fault.message,
				  request->fault.reason == REASON_TLS_FAILED
				  ? "Set \"damoov.ca_file\" to a file with the authority that signed the service's certificate."
				  : "Allow connections from this server to the host, or correct the option \"base_url\" of the api server.");
	else
		finding_add(findings, FINDING_OK, "api", psprintf("\"%s\" can be reached", question->url), NULL);
	findings->done = true;
	http_free(request);
}

/* The statement for what is wrong with an api server or with the choice of one. */
static const char *
api_remedy(const char *source, const char *api, const Fault *fault)
{
	char		option[NAMEDATALEN];

	if (api != NULL && GetForeignServerByName(api, true) == NULL)
		return psprintf("CREATE SERVER %s TYPE 'api' FOREIGN DATA WRAPPER damoov", quote_identifier(api));
	if (api != NULL && strncmp(fault->message, "permission denied", strlen("permission denied")) == 0)
		return psprintf("GRANT USAGE ON FOREIGN SERVER %s TO %s", quote_identifier(api),
						quote_identifier(GetUserNameFromId(GetUserId(), false)));
	if (api != NULL && sscanf(fault->message, "option \"%63[a-z0-9_]\"", option) == 1)
		return psprintf("Fill in, and run: ALTER SERVER %s OPTIONS (SET %s '...')",
						quote_identifier(api), option);
	if (source == NULL)
		return "Drop one of the two, give one an owner who is no superuser, or name the source when you call damoov_ingest().";
	return api == NULL
		? psprintf("Fill in, and run: ALTER SERVER %s OPTIONS (ADD api '...')", quote_identifier(source))
		: psprintf("Fill in, and run: ALTER SERVER %s OPTIONS (SET api '...')", quote_identifier(source));
}

static void
ask_api(Doctor *doctor, Findings *findings, const Api *api)
{
	ApiQuestion *question = MemoryContextAllocZero(doctor->context, sizeof(ApiQuestion));
	HttpRequest *request;

	question->findings = findings;
	question->url = api->base_url;
	request = http_request(doctor->http, "GET", psprintf("%s/", api->base_url));
	request->max_bytes = MAX_REPLY;
	request->timeout_ms = ANSWER_MS;
	http_start(request, api_answered, question);
}

/* Notes that this api server is looked at; false if it was before. */
static bool
is_new_api(Doctor *doctor, const char *name)
{
	ListCell   *cell;
	MemoryContext old;

	foreach(cell, doctor->apis)
	{
		if (strcmp(lfirst(cell), name) == 0)
			return false;
	}
	old = MemoryContextSwitchTo(doctor->context);
	doctor->apis = lappend(doctor->apis, pstrdup(name));
	MemoryContextSwitchTo(old);
	return true;
}

/*
 * That of this source, or, NULL, of what comes from no server.  An api server of
 * several sources is looked at once.  It is asked for an answer when all sources
 * are.
 */
static void
check_api(Doctor *doctor, const char *source)
{
	Findings   *findings;
	Api		   *api;
	char	   *name = NULL;
	Fault		fault = {0};
	bool		found = api_find(source ? source : "", &name, &fault);

	if (found && !is_new_api(doctor, name ? name : ""))
		return;
	findings = start_findings(doctor, source);
	if (!found || !api_load(source ? source : "", &api, &fault))
		/* nothing need come from no server */
		finding_add(findings, found || source ? FINDING_ERROR : FINDING_WARNING, "api", fault.message,
					api_remedy(source, name, &fault));
	else if (!doctor->only_one)
	{
		ask_api(doctor, findings, api);
		return;
	}
	findings->done = true;
}

/* ----- files of this server ----- */

static void
check_files(Doctor *doctor)
{
	Findings   *findings = start_findings(doctor, NULL);

	if (damoov_ca_file && damoov_ca_file[0] && access(damoov_ca_file, R_OK) != 0)
		finding_add(findings, FINDING_ERROR, "settings", "the file of \"damoov.ca_file\" cannot be read",
					"Let the user of the server read it, or trust the system's authorities: ALTER SYSTEM RESET damoov.ca_file");
	if (damoov_secrets_dir && damoov_secrets_dir[0] && access(damoov_secrets_dir, R_OK | X_OK) != 0)
		finding_add(findings, FINDING_ERROR, "settings", "the directory of \"damoov.secrets_dir\" cannot be read",
					"Let the user of the server read it.");
	findings->done = true;
}

/* ----- damoov.check_services() ----- */

static bool
all_done(const Doctor *doctor)
{
	ListCell   *cell;

	foreach(cell, doctor->all)
	{
		if (!((Findings *) lfirst(cell))->done)
			return false;
	}
	return true;
}

static void
wait_for_answers(Doctor *doctor)
{
	int64		end_ms = clock_ms() + CHECK_MS;
	ListCell   *cell;

	while (!all_done(doctor) && clock_ms() < end_ms)
	{
		(void) http_wait(doctor->http, (long) Max(1, end_ms - clock_ms()));
		CHECK_FOR_INTERRUPTS();
	}
	foreach(cell, doctor->all)
	{
		Findings   *findings = lfirst(cell);

		if (!findings->done)
			finding_add(findings, FINDING_ERROR, "connection", "there was no answer in time",
						"Allow connections from this server to the host.");
	}
}

static void
return_findings(FunctionCallInfo fcinfo, const Doctor *doctor)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *all;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	foreach(all, doctor->all)
	{
		const Findings *findings = lfirst(all);

		foreach(cell, findings->list)
		{
			const Finding *finding = lfirst(cell);
			Datum		values[5] = {0};
			bool		nulls[5] = {0};

			nulls[0] = findings->source == NULL;
			if (findings->source)
				values[0] = CStringGetTextDatum(findings->source);
			values[1] = CStringGetTextDatum(finding_level_name(finding->level));
			values[2] = CStringGetTextDatum(finding->topic);
			values[3] = CStringGetTextDatum(finding->text);
			nulls[4] = finding->remedy == NULL;
			if (finding->remedy)
				values[4] = CStringGetTextDatum(finding->remedy);
			tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		}
	}
}

/* The servers to look at: the one that is named, or all sources of messages. */
static List *
names_to_check(const char *only)
{
	List	   *names = NIL;
	ListCell   *cell;

	if (only)
		return list_make1(unconstify(char *, only));
	foreach(cell, options_server_names())
	{
		ForeignServer *server = GetForeignServerByName(lfirst(cell), true);

		if (server && source_is_polled(server->servertype))
			names = lappend(names, lfirst(cell));
	}
	return names;
}

static void
refuse_other_servers(const char *name)
{
	ForeignServer *server = GetForeignServerByName(name, true);

	if (server == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("server \"%s\" does not exist", name)));
	if (!source_is_polled(server->servertype))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("server \"%s\" is not a source of messages that is polled", name)));
}

Datum
damoov_check_services(PG_FUNCTION_ARGS)
{
	char	   *only = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
	Doctor		doctor = {0};
	ListCell   *cell;

	if (only)
		refuse_other_servers(only);
	doctor.context = AllocSetContextCreate(CurrentMemoryContext, "damoov check",
										   ALLOCSET_DEFAULT_SIZES);
	doctor.http = http_client(doctor.context);
	doctor.only_one = only != NULL;
	if (only == NULL)
	{
		check_files(&doctor);
		check_api(&doctor, NULL);
	}
	foreach(cell, names_to_check(only))
	{
		check_source(&doctor, lfirst(cell));
		check_api(&doctor, lfirst(cell));
	}
	wait_for_answers(&doctor);
	return_findings(fcinfo, &doctor);
	MemoryContextDelete(doctor.context);
	return (Datum) 0;
}
