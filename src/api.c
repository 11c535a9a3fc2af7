/*
 * api.c
 *	  Where datasets are fetched from, and where never: see api.h.
 *
 * A notification tells a URL and we add the person's permanent credential to
 * the request, so a forged notification must not be able to choose the host.
 */
#include "postgres.h"

#include "foreign/foreign.h"
#include "utils/builtins.h"
#include "utils/varlena.h"

#include "api.h"
#include "options.h"
#include "url.h"
#include "uuid.h"

#define DEFAULT_BASE_URL	"https://mobilesdk.telematicssdk.com"
#define DEFAULT_HOSTS		"*.telematicssdk.com, *.damoov.com"
#define TRACK_PATH			"/mobilesdk/stage/track/get_track/v1?trackToken="

/* The name of the api server, or NULL when the defaults hold. */
static char *
find_api_server(const char *source)
{
	char	   *only = NULL;
	int			found = 0;
	ListCell   *cell;
	ServerOptions *options;
	Fault		ignored = {0};

	if (GetForeignServerByName(source, true) != NULL &&
		options_load(source, &options, &ignored) &&
		options_get(options, "api") != NULL)
		return pstrdup(options_get(options, "api"));

	foreach(cell, options_server_names())
	{
		ForeignServer *server = GetForeignServerByName(lfirst(cell), true);

		if (server && server->servertype && strcmp(server->servertype, "api") == 0)
		{
			only = server->servername;
			found++;
		}
	}
	return found == 1 ? only : NULL;
}

static List *
split_hosts(const char *text)
{
	List	   *hosts = NIL;
	char	   *copy = pstrdup(text);
	char	   *state = NULL;

	for (char *host = strtok_r(copy, ", ", &state); host; host = strtok_r(NULL, ", ", &state))
	{
		for (char *at = host; *at; at++)
			*at = pg_ascii_tolower((unsigned char) *at);
		hosts = lappend(hosts, host);
	}
	return hosts;
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
	char	   *server = find_api_server(source);
	ServerOptions *options = NULL;
	const char *base_url = NULL;
	const char *hosts = NULL;
	UrlParts   *parts;

	if (server != NULL)
	{
		if (!options_load(server, &options, fault))
			return false;
		base_url = options_get(options, "base_url");
		hosts = options_get(options, "allowed_hosts");
	}
	out->base_url = without_slash(base_url ? base_url : DEFAULT_BASE_URL);
	out->hosts = split_hosts(hosts ? hosts : DEFAULT_HOSTS);
	if (!url_parse(out->base_url, &parts, fault) || !url_scheme_allowed(parts))
		return fault_set(fault, ERRCODE_INVALID_PARAMETER_VALUE, "configuration",
						 "option \"base_url\" of server \"%s\" is not an https URL",
						 server ? server : "");
	*api = out;
	return true;
}

char *
api_track_url(const Api *api, const pg_uuid_t *track)
{
	char		id[UUID_TEXT_SIZE];

	return psprintf("%s%s%s", api->base_url, TRACK_PATH, uuid_format(track, id));
}

/* Scheme, host and port of the operator's own setting. */
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

bool
api_check_url(const Api *api, const char *url, bool *private_allowed, Fault *fault)
{
	UrlParts   *parts;
	ListCell   *cell;

	*private_allowed = false;
	if (!url_parse(url, &parts, fault))
		return false;
	if (!url_scheme_allowed(parts))
		return fault_set(fault, ERRCODE_INVALID_PARAMETER_VALUE, "bad_url",
						 "URL is not an https URL");
	if (same_place(parts, api->base_url))
	{
		*private_allowed = true;
		return true;
	}
	if (strcmp(parts->scheme, "https") != 0 || parts->port != 443)
		return fault_set(fault, ERRCODE_INVALID_PARAMETER_VALUE, "bad_url",
						 "URL has a port that is not allowed");
	foreach(cell, api->hosts)
	{
		const char *pattern = lfirst(cell);

		if (url_host_matches(parts->host, pattern))
		{
			*private_allowed = pattern[0] != '*';
			return true;
		}
	}
	return fault_set(fault, ERRCODE_INVALID_PARAMETER_VALUE, "bad_url",
					 "URL has a host that is not allowed");
}
