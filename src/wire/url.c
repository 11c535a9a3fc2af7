/*
 * url.c
 *	  Checking URLs that come from outside: see url.h.
 */
#include "postgres.h"

#include <curl/curl.h>

#include "utils/formatting.h"

#include "guc.h"
#include "wire/url.h"

#define URL_MAX 2048

static bool
url_fault(const char *problem, Fault *fault)
{
	/* the URL itself is not quoted: its query may be a credential */
	return fault_set(fault, REASON_BAD_URL, "URL %s", problem);
}

static bool
plain_characters(const char *text)
{
	for (const char *at = text; *at; at++)
	{
		if (*at <= ' ' || *at >= 0x7f || *at == '\\' || *at == '#')
			return false;
	}
	return true;
}

/* One part as palloc'd text, NULL when the URL does not have it. */
static char *
url_part(CURLU *url, CURLUPart part, unsigned flags)
{
	char	   *text = NULL;
	char	   *copy = NULL;

	if (curl_url_get(url, part, &text, flags) == CURLUE_OK)
	{
		copy = pstrdup(text);
		curl_free(text);
	}
	return copy;
}

static char *
lower(char *text)
{
	return text ? asc_tolower(text, strlen(text)) : NULL;
}

static bool
fill_parts(CURLU *url, UrlParts *parts, Fault *fault)
{
	char	   *port;
	Size		len;

	if (url_part(url, CURLUPART_USER, 0) || url_part(url, CURLUPART_PASSWORD, 0))
		return url_fault("contains a user name", fault);
	parts->scheme = lower(url_part(url, CURLUPART_SCHEME, 0));
	parts->host = url_part(url, CURLUPART_HOST, 0);
	/* the name of a bucket is no host's */
	if (parts->scheme == NULL || strcmp(parts->scheme, "s3") != 0)
		parts->host = lower(parts->host);
	if (parts->scheme == NULL || parts->host == NULL || parts->host[0] == '\0')
		return url_fault("has no host", fault);
	len = strlen(parts->host);
	if (parts->host[len - 1] == '.')
		return url_fault("has a host with a trailing dot", fault);
	port = url_part(url, CURLUPART_PORT, CURLU_DEFAULT_PORT);
	parts->port = port ? atoi(port) : 0;
	port = url_part(url, CURLUPART_PORT, CURLU_NO_DEFAULT_PORT);
	parts->host_header = port ? psprintf("%s:%d", parts->host, parts->port) : pstrdup(parts->host);
	/* the header keeps the brackets of an IPv6 address, the name does not */
	if (parts->host[0] == '[')
	{
		parts->host[len - 1] = '\0';
		parts->host++;
	}
	parts->path = url_part(url, CURLUPART_PATH, 0);
	if (parts->path == NULL)
		parts->path = pstrdup("/");
	parts->query = url_part(url, CURLUPART_QUERY, 0);
	return true;
}

bool
url_parse(const char *text, UrlParts **parts, Fault *fault)
{
	UrlParts   *out = palloc0(sizeof(UrlParts));
	CURLU	   *url;
	bool		valid;

	if (strlen(text) > URL_MAX)
		return url_fault("is too long", fault);
	if (!plain_characters(text))
		return url_fault("contains characters that are not allowed", fault);
	url = curl_url();
	if (url == NULL)
		elog(ERROR, "out of memory");
	valid = curl_url_set(url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME | CURLU_PATH_AS_IS) == CURLUE_OK;
	if (!valid)
		url_fault("cannot be understood", fault);
	else
		valid = fill_parts(url, out, fault);
	curl_url_cleanup(url);
	*parts = out;
	return valid;
}

bool
url_scheme_allowed(const UrlParts *parts)
{
	if (strcmp(parts->scheme, "https") == 0)
		return true;
	return damoov_allow_http_loopback && strcmp(parts->scheme, "http") == 0 &&
		(strcmp(parts->host, "127.0.0.1") == 0 || strcmp(parts->host, "::1") == 0);
}

bool
url_is_metadata_service(const UrlParts *parts)
{
	static const char *const hosts[] = {
		"169.254.169.254", "fd00:ec2::254", /* of a machine */
		"169.254.170.2", "169.254.170.23", "fd00:ec2::23"	/* of a container */
	};

	for (int i = 0; i < (int) lengthof(hosts); i++)
	{
		if (strcmp(parts->host, hosts[i]) == 0)
			return strcmp(parts->scheme, "http") == 0;
	}
	return false;
}

bool
url_host_matches(const char *host, const char *pattern)
{
	Size		host_len = strlen(host);
	Size		suffix_len;

	if (pattern[0] != '*' || pattern[1] != '.')
		return strcmp(host, pattern) == 0;
	suffix_len = strlen(pattern + 1);	/* with its dot */
	return host_len > suffix_len &&
		strcmp(host + host_len - suffix_len, pattern + 1) == 0;
}
