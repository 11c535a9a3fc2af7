/*
 * url.h
 *	  Checking URLs that come from outside.
 */
#ifndef DAMOOV_URL_H
#define DAMOOV_URL_H

#include "base/fault.h"

typedef struct UrlParts
{
	char	   *scheme;			/* lower case */
	char	   *host;			/* lower case but for "s3", no brackets */
	int			port;			/* the scheme's own when none is given */
	char	   *host_header;	/* as to be sent: with the port unless default */
	char	   *path;			/* as written, "/" when none */
	char	   *query;			/* as written, NULL when none */
} UrlParts;

/*
 * Takes a URL apart with libcurl's own parser; palloc'd.  Refuses (22023) what
 * a URL of the platform never contains: user names, fragments, blanks, control
 * and non-ASCII characters, backslashes, a trailing dot, over 2 kB.
 */
extern bool url_parse(const char *text, UrlParts **parts, Fault *fault);

/*
 * True when requests may go there at all: https, or plain http to a loopback
 * address while damoov.allow_http_loopback is on.
 */
extern bool url_scheme_allowed(const UrlParts *parts);

/* True for plain http to the metadata service of a cloud's machine or container. */
extern bool url_is_metadata_service(const UrlParts *parts);

/* Matches "host" or "*.suffix", by whole labels; both in lower case. */
extern bool url_host_matches(const char *host, const char *pattern);

#endif							/* DAMOOV_URL_H */
