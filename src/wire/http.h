/*
 * http.h
 *	  libcurl and nothing but libcurl: requests in, replies out.
 *
 * One client holds one multi handle for everything a session has in flight:
 * long polls, settlements, downloads.  It waits on all sockets, the latch and
 * the postmaster together, and calls each request's "done" from its own loop,
 * never from inside libcurl, so that "done" may throw.
 *
 * All protection is set up here, in one place: https (or loopback, see url.h),
 * verified TLS, no redirect, no proxy and no netrc of the environment, own
 * byte counters, time limits.
 */
#ifndef DAMOOV_HTTP_H
#define DAMOOV_HTTP_H

#include "pgtime.h"

#include "base/fault.h"

typedef struct HttpClient HttpClient;
typedef struct HttpRequest HttpRequest;

typedef void (*HttpDone) (HttpRequest *request, void *arg);

struct HttpRequest
{
	/* set between http_request() and http_start() */
	const char *body;			/* must live until done; NULL: none */
	Size		body_len;
	Size		max_bytes;		/* of the reply, decoded */
	int			timeout_ms;		/* for the whole exchange */
	int			silence_seconds;	/* a long poll: no byte may come for so long */
	bool		public_only;	/* refuse addresses that are not public */
	bool		compressed;		/* offer gzip, and expand what is */
	bool		metadata_service;	/* may be a cloud's link-local http address */

	/* the reply, valid in "done" and until http_free() */
	int			status;			/* 0: no reply, see fault */
	const char *reply;			/* never NULL when status is set */
	Size		reply_len;
	const char *gzip;			/* what it was on the wire, NULL: not compressed */
	Size		gzip_len;
	int			retry_after_s;	/* -1: not told */
	pg_time_t	date;			/* the server's clock, 0: not told */
	Fault		fault;			/* why there is no usable reply */

	/* private to http.c */
	struct HttpTransfer *transfer;
};

/* Lives in context and is released with it. */
extern HttpClient *http_client(MemoryContext context);

/* A new request; the URL is checked for its scheme at http_start(). */
extern HttpRequest *http_request(HttpClient *client, const char *method,
								 const char *url);

/* The same below a context: when that goes, the request is broken off and "done" never called. */
extern HttpRequest *http_request_in(MemoryContext parent, HttpClient *client,
									const char *method, const char *url);

/* name is a constant.  A value of more than one line is refused at http_start(). */
extern void http_header(HttpRequest *request, const char *name, const char *value);

/* The value of a header of the reply, or NULL; valid as long as the reply. */
extern const char *http_reply_header(const HttpRequest *request, const char *name);

/* A time as HTTP writes it; 0 when it is none. */
extern pg_time_t http_date(const char *text);

/*
 * Sends it off, or lets it wait until there is a place for it: so many requests
 * may be in flight, whatever they are for, and the times of a request begin when
 * it is sent.  "done" is called exactly once unless the request is cancelled
 * with http_free().  A failure to start is also reported through "done".
 */
extern void http_start(HttpRequest *request, HttpDone done, void *arg);

/* Would another request that can be left for later be sent at once? */
extern bool http_has_room(const HttpClient *client);

/* Releases a request in any state; one in flight is broken off. */
extern void http_free(HttpRequest *request);

/*
 * Waits until a request is finished, the latch is set or the time is over,
 * and calls what is done.  timeout_ms -1 waits without limit.  Returns whether
 * the latch was set; the caller looks for interrupts then.
 */
extern bool http_wait(HttpClient *client, long timeout_ms);

/* True for a status that may be different at the next try. */
extern bool http_status_is_transient(int status);

#endif							/* DAMOOV_HTTP_H */
