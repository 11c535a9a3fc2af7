/*
 * api.c
 *	  Where datasets may be fetched from: see api.h.
 *
 * A notification tells a URL and we add the person's permanent credential to
 * the request, so a forged notification must not be able to choose the host.
 */
#include "postgres.h"

#include "foreign/foreign.h"
#include "utils/builtins.h"
#include "utils/varlena.h"

#include "base/options.h"
#include "base/rights.h"
#include "base/uuid.h"
#include "compat.h"
#include "door/api.h"
#include "guc.h"
#include "wire/url.h"

SQL_FUNCTION(damoov_fetches);

#define DEFAULT_BASE_URL	"https://mobilesdk.telematicssdk.com"
#define DEFAULT_CRASH_URL	"https://api.telematicssdk.com"
#define DEFAULT_HOSTS		"*.telematicssdk.com, *.damoov.com"
#define DEFAULT_FETCH		"processed,crash"

/*
 * May the api server get what is downloaded for the source, device tokens among
 * it?  What came from no server is the operator's.
 */
static bool
serves(const ForeignServer *api, const ForeignServer *source)
{
	return rights_serve(api->owner, source ? source->owner : InvalidOid);
}

/*
 * The api servers that could be meant: the one that the source names, else all that
 * serve it.
 */
static List *
api_servers(const ForeignServer *source)
{
	char	   *named = source ? options_of_server(source->servername, "api") : NULL;
	List	   *servers = NIL;
	ListCell   *cell;

	if (named != NULL)
		return list_make1(named);
	foreach(cell, options_server_names())
	{
		ForeignServer *api = GetForeignServerByName(lfirst(cell), true);

		if (options_is_server(api, "api") && serves(api, source))
			servers = lappend(servers, api->servername);
	}
	return servers;
}

static bool
refuse_several(const ForeignServer *source, List *servers, Fault *fault)
{
	char	   *first = linitial(servers);

	fault_set(fault, REASON_CONFIGURATION, "api servers \"%s\" and \"%s\" would both serve %s",
			  first, (char *) lsecond(servers),
			  source ? psprintf("server \"%s\"", source->servername) : "what comes from no server");
	fault->hint = source
		? psprintf("Name one: ALTER SERVER %s OPTIONS (ADD api %s).",
				   quote_identifier(source->servername), quote_literal_cstr(first))
		: pstrdup("Drop one, or name the source that it came from.");
	return false;
}

bool
api_find(const char *source_name, char **name, Fault *fault)
{
	ForeignServer *source = options_source(source_name);
	List	   *servers = api_servers(source);
	ForeignServer *api;

	*name = NULL;
	if (list_length(servers) > 1)
		return refuse_several(source, servers, fault);
	if (servers == NIL)
		return true;
	*name = linitial(servers);
	api = GetForeignServerByName(*name, true);
	/* that it is not there is said when it is loaded */
	if (api == NULL)
		return true;
	if (!options_is_server(api, "api"))
		return fault_set(fault, REASON_CONFIGURATION,
						 "option \"api\" names server \"%s\", which is not of type \"api\"", *name);
	if (serves(api, source))
		return true;
	fault_set_state(fault, ERRCODE_INSUFFICIENT_PRIVILEGE, REASON_CONFIGURATION,
					"api server \"%s\" does not serve server \"%s\", which has another owner",
					*name, source_name);
	fault->hint = pstrdup("An api server serves the sources of its owner, or those of all when its owner is a superuser.");
	return false;
}

/* Words separated by commas or blanks; in lower case, but for a bucket behind a slash. */
static List *
split_words(const char *text)
{
	List	   *words = NIL;
	char	   *copy = pstrdup(text);
	char	   *state = NULL;

	for (char *word = strtok_r(copy, ", ", &state); word; word = strtok_r(NULL, ", ", &state))
	{
		for (char *at = word; *at && *at != '/'; at++)
			*at = pg_ascii_tolower((unsigned char) *at);
		words = lappend(words, word);
	}
	return words;
}

static bool
read_fetch(Api *api, const char *text, Fault *fault)
{
	ListCell   *cell;

	foreach(cell, split_words(text))
	{
		bool		known = false;

		for (int i = 0; i < DATASET_KINDS; i++)
		{
			if (strcmp(lfirst(cell), dataset_address(i)->option) == 0)
				known = api->fetch[i] = true;
		}
		if (!known)
			return fault_set(fault, REASON_CONFIGURATION,
							 "option \"fetch\" knows processed, raw and crash, not \"%s\"",
							 (char *) lfirst(cell));
	}
	return true;
}

static bool
read_store_points(Api *api, const char *name, Fault *fault)
{
	api->store_points = damoov_store_points;
	return name == NULL || guc_store_points(name, &api->store_points) ||
		fault_set(fault, REASON_CONFIGURATION,
				  "option \"store_points\" knows rows and document, not \"%s\"", name);
}

static bool
check_base_url(const char *option, const char *url, Fault *fault)
{
	UrlParts   *parts;

	if (url_parse(url, &parts, fault) && url_scheme_allowed(parts))
		return true;
	return fault_set(fault, REASON_CONFIGURATION,
					 "option \"%s\" of the api server is not an https URL", option);
}

/* Is the URL at the scheme, host and port of this base URL? */
static bool
same_place(const UrlParts *url, const char *base_url)
{
	UrlParts   *base;
	Fault		ignored = {0};

	return url_parse(base_url, &base, &ignored) &&
		strcmp(url->scheme, base->scheme) == 0 &&
		strcmp(url->host, base->host) == 0 &&
		url->port == base->port;
}

/* A store must not be at a host of the platform, since the two get different credentials. */
static bool
check_endpoint(const Api *api, const char *option, const char *url, Fault *fault)
{
	UrlParts   *parts;

	if (url == NULL)
		return true;
	if (!check_base_url(option, url, fault))
		return false;
	if (url_parse(url, &parts, fault) && strcmp(parts->path, "/") == 0 && parts->query == NULL &&
		!same_place(parts, api->base_url) && !same_place(parts, api->crash_url))
		return true;
	return fault_set(fault, REASON_CONFIGURATION,
					 "option \"%s\" of the api server must be scheme, host and port of a store, and not of the platform",
					 option);
}

static char *
without_slash(const char *url)
{
	char	   *copy = pstrdup(url);
	Size		len = strlen(copy);

	while (len > 0 && copy[len - 1] == '/')
		copy[--len] = '\0';
	return copy;
}

bool
api_load(const char *source, Api **api, Fault *fault)
{
	Api		   *out = palloc0(sizeof(Api));
	char	   *server;
	ServerOptions empty = {0};
	ServerOptions *options = &empty;
	const char *base_url;
	const char *crash_url;
	const char *hosts;
	const char *fetch;
	const char *s3_endpoint;
	const char *blob_endpoint;

	if (!api_find(source, &server, fault) ||
		(server != NULL && !options_load(server, &options, fault)))
		return false;
	base_url = options_get(options, "base_url");
	crash_url = options_get(options, "crash_url");
	hosts = options_get(options, "allowed_hosts");
	fetch = options_get(options, "fetch");
	s3_endpoint = options_get(options, "s3_endpoint");
	blob_endpoint = options_get(options, "blob_endpoint");
	out->s3_endpoint = s3_endpoint ? without_slash(s3_endpoint) : NULL;
	out->blob_endpoint = blob_endpoint ? without_slash(blob_endpoint) : NULL;
	out->base_url = without_slash(base_url ? base_url : DEFAULT_BASE_URL);
	out->crash_url = without_slash(crash_url ? crash_url : DEFAULT_CRASH_URL);
	out->hosts = split_words(hosts ? hosts : DEFAULT_HOSTS);
	*api = out;
	return check_base_url("base_url", out->base_url, fault) &&
		check_base_url("crash_url", out->crash_url, fault) &&
		check_endpoint(out, "s3_endpoint", out->s3_endpoint, fault) &&
		check_endpoint(out, "blob_endpoint", out->blob_endpoint, fault) &&
		read_fetch(out, fetch ? fetch : DEFAULT_FETCH, fault) &&
		read_store_points(out, options_get(options, "store_points"), fault);
}

char *
api_dataset_url(const Api *api, DatasetKind kind, const pg_uuid_t *object_id)
{
	const DatasetAddress *address = dataset_address(kind);
	char		id[UUID_TEXT_SIZE];

	return psprintf("%s%s%s%s", address->is_crash ? api->crash_url : api->base_url,
					address->before, uuid_format(object_id, id), address->behind);
}

/*
 * Is the URL at this store of the operator's?  The bucket or account may be in
 * the path or in the host name.
 */
static bool
at_endpoint(const UrlParts *url, const char *endpoint, bool *other_port)
{
	UrlParts   *store;
	Fault		ignored = {0};

	if (endpoint == NULL || !url_parse(endpoint, &store, &ignored) ||
		(strcmp(url->host, store->host) != 0 &&
		 !url_host_matches(url->host, psprintf("*.%s", store->host))))
		return false;
	if (strcmp(url->scheme, store->scheme) == 0 && url->port == store->port)
		return true;
	*other_port = true;
	return false;
}

/*
 * Does an entry of allowed_hosts allow it?  "host/bucket" allows one bucket
 * (or container) of a host.  A host that serves the buckets of everybody is
 * allowed only with a bucket.
 */
static bool
entry_allows(const char *entry, const UrlParts *url, bool shared, bool *exact)
{
	const char *slash = strchr(entry, '/');
	char	   *host = slash ? pnstrdup(entry, slash - entry) : pstrdup(entry);

	*exact = host[0] != '*';
	if (!url_host_matches(url->host, host))
		return false;
	if (slash == NULL)
		return !shared;
	return strcspn(url->path + 1, "/") == strlen(slash + 1) &&
		strncmp(url->path + 1, slash + 1, strlen(slash + 1)) == 0;
}

/*
 * Does the path contain "." or "..", in any spelling?  A proxy or the service
 * might resolve them.
 */
static bool
has_dot_segment(const char *path)
{
	while (*path == '/')
	{
		int			dots = 0;
		int			others = 0;

		for (path++; *path && *path != '/'; path++)
		{
			bool		encoded = pg_strncasecmp(path, "%2e", 3) == 0;

			if (encoded)
				path += 2;
			if (encoded || *path == '.')
				dots++;
			else
				others++;
		}
		if (others == 0 && (dots == 1 || dots == 2))
			return true;
	}
	return false;
}

/* Finds the address to ask; an s3:// URL names a bucket only. */
static bool
find_address(const Api *api, const char *url, ApiTarget *target, UrlParts **parts, Fault *fault)
{
	target->url = pstrdup(url);
	if (!url_parse(url, parts, fault))
		return false;
	if (strcmp((*parts)->scheme, "s3") != 0)
		return true;
	target->url = storage_s3_address(*parts, api->s3_endpoint);
	return url_parse(target->url, parts, fault);
}

/*
 * Whose hosts these are is known for sure.  An operator may allow any other; a
 * list of those that are stores would never be complete.
 */
static bool
is_platform(const char *host)
{
	ListCell   *cell;

	foreach(cell, split_words(DEFAULT_HOSTS))
	{
		if (url_host_matches(host, lfirst(cell)))
			return true;
	}
	return false;
}

static bool
url_refused(Fault *fault, const char *problem)
{
	return fault_set(fault, REASON_BAD_URL, "URL %s", problem);
}

bool
api_check_url(const Api *api, const char *url, ApiTarget *target, Fault *fault)
{
	UrlParts   *parts;
	bool		own_store;
	bool		other_port = false;
	ListCell   *cell;

	memset(target, 0, sizeof(*target));
	if (!find_address(api, url, target, &parts, fault))
		return false;
	if (!url_scheme_allowed(parts))
		return url_refused(fault, "is not an https URL");
	if (at_endpoint(parts, api->s3_endpoint, &other_port))
		target->storage = STORAGE_S3;
	else if (at_endpoint(parts, api->blob_endpoint, &other_port))
		target->storage = STORAGE_BLOB;
	own_store = target->storage != STORAGE_NONE;
	if (!own_store)
		target->storage = storage_of_host(parts->host);
	if (target->storage == STORAGE_NONE &&
		(same_place(parts, api->base_url) || same_place(parts, api->crash_url)))
	{
		target->private_allowed = true;
		return true;
	}
	if (target->storage == STORAGE_NONE &&
		(storage_url_is_signed(parts) || !is_platform(parts->host)))
		target->storage = STORAGE_OTHER;
	/* a store at another port is still a store, which must not get the device token */
	if (!own_store && (other_port || strcmp(parts->scheme, "https") != 0 || parts->port != 443))
		return url_refused(fault, "has a port that is not allowed");
	if (target->storage != STORAGE_NONE && has_dot_segment(parts->path))
		return url_refused(fault, "has a path that is not allowed");
	foreach(cell, api->hosts)
	{
		bool		exact;

		if (entry_allows(lfirst(cell), parts,
						 !own_store && storage_bucket_in_path(parts->host), &exact))
		{
			target->private_allowed = exact || own_store;
			return true;
		}
	}
	return url_refused(fault, target->storage == STORAGE_NONE || target->storage == STORAGE_OTHER
					   ? "has a host that is not allowed"
					   : "has a host or bucket that is not allowed");
}

/*
 * Does this server want it, or is it not known?  A server that is not there, or
 * whose option cannot be read, may want it: the download then fails with the
 * reason.
 */
static bool
may_want(const char *server, DatasetKind kind)
{
	char	   *fetch = options_of_server(server, "fetch");
	Api			api = {0};
	Fault		fault = {0};

	return GetForeignServerByName(server, true) == NULL ||
		!read_fetch(&api, fetch ? fetch : DEFAULT_FETCH, &fault) ||
		api.fetch[kind];
}

/*
 * Asks what the servers say, and not what the caller may do with them: what is
 * fetched does not depend on who stores the notification.  If one of several
 * could be meant, each of them is asked.
 */
static bool
is_wanted(const char *source, DatasetKind kind)
{
	List	   *servers = api_servers(options_source(source));
	ListCell   *cell;

	if (servers == NIL)
		return strstr(DEFAULT_FETCH, dataset_address(kind)->option) != NULL;
	foreach(cell, servers)
	{
		if (may_want(lfirst(cell), kind))
			return true;
	}
	return false;
}

Datum
damoov_fetches(PG_FUNCTION_ARGS)
{
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int			kind = dataset_kind(text_to_cstring(PG_GETARG_TEXT_PP(1)));

	PG_RETURN_BOOL(kind >= 0 && kind < DATASET_KINDS && is_wanted(source, kind));
}
