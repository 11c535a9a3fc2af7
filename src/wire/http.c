/*
 * http.c
 *	  libcurl and nothing but libcurl: see http.h.
 *
 * Nothing here throws from inside a libcurl callback: they write into malloc'd
 * memory that the transfer owns, and return "stop" when a limit is reached.
 * Everything of libcurl is owned by a transfer or the client, which release
 * it when their memory context goes.
 */
#include "postgres.h"

#include <curl/curl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/ilist.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#include "base/secret.h"
#include "compat.h"
#include "guc.h"
#include "wire/address.h"
#include "wire/gzip.h"
#include "wire/header_lines.h"
#include "wire/http.h"
#include "wire/places.h"
#include "wire/socket_set.h"
#include "wire/url.h"

#if LIBCURL_VERSION_NUM < 0x074c00
#error "damoov needs libcurl 7.76 or later"
#endif

#define CONNECT_TIMEOUT_MS	10000
#define LOW_SPEED_BYTES		100
#define LOW_SPEED_SECONDS	30
#define IDLE_HANDLES		16

typedef struct HttpTransfer
{
	HttpRequest request;
	HttpClient *client;
	MemoryContextCallback release;
	MemoryContext context;		/* of this transfer alone */
	dlist_node	node;			/* in client->transfers */
	CURL	   *curl;
	struct curl_slist *headers;
	char		error[CURL_ERROR_SIZE];
	char	   *method;
	char	   *url;
	char	   *host;			/* with its port, for messages */
	const char *split_header;	/* name of one whose value would end its line, or NULL */
	char	   *buffer;			/* malloc'd reply */
	char	   *gzip;			/* malloc'd, what was expanded */
	Size		buffer_size;
	Size		received;
	HeaderLines lines;			/* of the reply */
	bool		too_big;
	bool		refused_address;
	bool		no_socket;		/* as many are open as may be */
	bool		waiting;		/* for a place */
	bool		started;		/* libcurl has it */
	bool		finished;		/* to be reported */
	CURLcode	result;
	const char *broken;			/* why libcurl could not go on at all, or NULL */
	HttpDone	done;
	void	   *done_arg;
} HttpTransfer;

struct HttpClient
{
	MemoryContext context;
	MemoryContextCallback release;
	CURLM	   *multi;			/* NULL: none yet, or given up */
	CURL	   *idle[IDLE_HANDLES]; /* for reuse: a handle costs */
	int			nidle;
	dlist_head	transfers;
	int			nwaiting;		/* for a place */
	Places		places;			/* of those that are started */
	bool		unreported;		/* a transfer is finished */
	SocketSet	sockets;
	long		timer_ms;		/* as libcurl asked, -1: none */
	instr_time	timer_set;
};

static bool global_done = false;
static uint32 wait_event = 0;

static void client_release(void *arg);
static void transfer_release(void *arg);
static int	on_socket(CURL *curl, curl_socket_t fd, int what, void *arg, void *unused);
static int	on_timer(CURLM *multi, long timeout_ms, void *arg);
static curl_socket_t on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address);
static int	on_close(void *arg, curl_socket_t fd);
static size_t on_body(char *data, size_t size, size_t count, void *arg);
static size_t on_header(char *data, size_t size, size_t count, void *arg);
static int	on_progress(void *arg, curl_off_t total, curl_off_t now,
						curl_off_t up_total, curl_off_t up_now);

/* ----- client ----- */

#define multi_setopt(multi, option, value) \
	do { \
		if (curl_multi_setopt(multi, option, value) != CURLM_OK) \
			elog(ERROR, "could not set libcurl option " #option); \
	} while (0)

#define easy_setopt(curl, option, value) \
	do { \
		if (curl_easy_setopt(curl, option, value) != CURLE_OK) \
			elog(ERROR, "could not set libcurl option " #option); \
	} while (0)

/*
 * libcurl's resolver runs in threads.  They inherit the signal mask, and a
 * PostgreSQL signal handler must not run in one of them, so that all signals
 * are blocked while libcurl may start one.
 */
static void
block_signals(sigset_t *saved)
{
	sigset_t	all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, saved);
}

static void
restore_signals(const sigset_t *saved)
{
	pthread_sigmask(SIG_SETMASK, saved, NULL);
}

HttpClient *
http_client(MemoryContext context)
{
	HttpClient *client;

	if (!global_done)
	{
		if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
			elog(ERROR, "could not initialize libcurl");
		wait_event = compat_wait_event("DamoovHttp");
		global_done = true;
	}
	client = MemoryContextAllocZero(context, sizeof(HttpClient));
	client->context = context;
	client->timer_ms = -1;
	dlist_init(&client->transfers);
	client->release.func = client_release;
	client->release.arg = client;
	MemoryContextRegisterResetCallback(context, &client->release);

	return client;
}

static bool
is_long_poll(const HttpTransfer *transfer)
{
	return transfer->request.silence_seconds > 0;
}

static void
leave_place(HttpTransfer *transfer)
{
	transfer->started = false;
	places_leave(&transfer->client->places, is_long_poll(transfer));
}

static void
stop_waiting(HttpTransfer *transfer)
{
	if (transfer->waiting)
		transfer->client->nwaiting--;
	transfer->waiting = false;
}

static void
open_multi(HttpClient *client)
{
	client->multi = curl_multi_init();
	if (client->multi == NULL)
		elog(ERROR, "out of memory");
	multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
	multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
	multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long) places_count());
}

/*
 * After a failure of its multi interface, libcurl may follow dead pointers,
 * even when it is asked to clean up.  So the handle stays behind as it is, with
 * the handles and sockets in it; the requests have failed, and the next one
 * gets a new handle.  Never throws.
 */
static void
give_up(HttpClient *client, CURLMcode failure)
{
	dlist_iter	iter;

	client->multi = NULL;
	client->timer_ms = -1;
	client->unreported = true;
	socket_set_clear(&client->sockets);
	dlist_foreach(iter, &client->transfers)
	{
		HttpTransfer *transfer = dlist_container(HttpTransfer, node, iter.cur);

		if (!transfer->started)
			continue;
		leave_place(transfer);
		transfer->curl = NULL;
		transfer->finished = true;
		transfer->broken = curl_multi_strerror(failure);	/* a constant */
	}
}

/* Takes a transfer back from libcurl; never throws. */
static void
detach(HttpTransfer *transfer)
{
	CURLMcode	result;

	if (!transfer->started)
		return;
	result = curl_multi_remove_handle(transfer->client->multi, transfer->curl);
	if (result != CURLM_OK)
		give_up(transfer->client, result);	/* this one as well */
	else
		leave_place(transfer);
}

static void
client_release(void *arg)
{
	HttpClient *client = arg;
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &client->transfers)
		transfer_release(dlist_container(HttpTransfer, node, iter.cur));
	while (client->nidle > 0)
		curl_easy_cleanup(client->idle[--client->nidle]);
	if (client->multi)
		curl_multi_cleanup(client->multi);
	client->multi = NULL;
	socket_set_clear(&client->sockets);
}

/* ----- requests ----- */

HttpRequest *
http_request(HttpClient *client, const char *method, const char *url)
{
	return http_request_in(client->context, client, method, url);
}

HttpRequest *
http_request_in(MemoryContext parent, HttpClient *client, const char *method, const char *url)
{
	MemoryContext context = AllocSetContextCreate(parent, "damoov http request",
												  ALLOCSET_SMALL_SIZES);
	HttpTransfer *transfer = MemoryContextAllocZero(context, sizeof(HttpTransfer));

	transfer->client = client;
	transfer->context = context;
	transfer->method = MemoryContextStrdup(context, method);
	transfer->url = MemoryContextStrdup(context, url);
	transfer->request.transfer = transfer;
	transfer->request.retry_after_s = -1;
	transfer->request.reply = "";
	dlist_push_tail(&client->transfers, &transfer->node);
	transfer->release.func = transfer_release;
	transfer->release.arg = transfer;
	MemoryContextRegisterResetCallback(context, &transfer->release);
	return &transfer->request;
}

void
http_header(HttpRequest *request, const char *name, const char *value)
{
	HttpTransfer *transfer = request->transfer;
	char	   *line;
	struct curl_slist *list;

	/* what follows would be a header of its own */
	if (strpbrk(value, "\r\n"))
	{
		transfer->split_header = name;
		return;
	}
	line = psprintf("%s: %s", name, value);
	list = curl_slist_append(transfer->headers, line);

	/* a value may be a credential */
	secret_wipe(line);
	pfree(line);
	if (list == NULL)
		elog(ERROR, "out of memory");
	transfer->headers = list;
}

static void
wipe_headers(HttpTransfer *transfer)
{
	for (struct curl_slist *item = transfer->headers; item; item = item->next)
		secret_wipe(item->data);
	curl_slist_free_all(transfer->headers);
	transfer->headers = NULL;
}

/* Gives everything back but the memory context; runs once and never throws. */
static void
transfer_release(void *arg)
{
	HttpTransfer *transfer = arg;
	HttpClient *client = transfer->client;

	if (client == NULL)
		return;
	detach(transfer);
	stop_waiting(transfer);
	transfer->client = NULL;
	dlist_delete(&transfer->node);
	if (transfer->curl)
	{
		curl_easy_reset(transfer->curl);
		if (client->nidle < IDLE_HANDLES)
			client->idle[client->nidle++] = transfer->curl;
		else
			curl_easy_cleanup(transfer->curl);
		transfer->curl = NULL;
	}
	wipe_headers(transfer);
	free(transfer->buffer);
	header_lines_free(&transfer->lines);
	transfer->buffer = NULL;
	free(transfer->gzip);
	transfer->gzip = NULL;
}

void
http_free(HttpRequest *request)
{
	MemoryContext context = request->transfer->context;

	transfer_release(request->transfer);
	MemoryContextDelete(context);
}

static CURL *
take_handle(HttpClient *client)
{
	CURL	   *curl;

	if (client->nidle > 0)
		return client->idle[--client->nidle];
	curl = curl_easy_init();
	if (curl == NULL)
		elog(ERROR, "out of memory");
	return curl;
}

static void
close_the_edge(HttpTransfer *transfer)
{
	CURL	   *curl = transfer->curl;
	bool		plain = damoov_allow_http_loopback || transfer->request.metadata_service;

#if LIBCURL_VERSION_NUM >= 0x075500
	easy_setopt(curl, CURLOPT_PROTOCOLS_STR,
				plain ? "http,https" : "https");
#else
	easy_setopt(curl, CURLOPT_PROTOCOLS,
				(long) (plain ? CURLPROTO_HTTP | CURLPROTO_HTTPS : CURLPROTO_HTTPS));
#endif
	easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
	easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
	easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
	easy_setopt(curl, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	if (damoov_ca_file && damoov_ca_file[0])
		easy_setopt(curl, CURLOPT_CAINFO, damoov_ca_file);
	easy_setopt(curl, CURLOPT_PROXY, "");
	easy_setopt(curl, CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, on_open);
	easy_setopt(curl, CURLOPT_OPENSOCKETDATA, transfer);
	easy_setopt(curl, CURLOPT_CLOSESOCKETFUNCTION, on_close);
}

static void
set_limits(HttpTransfer *transfer)
{
	CURL	   *curl = transfer->curl;

	easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long) CONNECT_TIMEOUT_MS);
	easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long) transfer->request.timeout_ms);
	easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, (long) LOW_SPEED_BYTES);
	easy_setopt(curl, CURLOPT_LOW_SPEED_TIME,
				(long) (LOW_SPEED_SECONDS + transfer->request.silence_seconds));
	easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
#if LIBCURL_VERSION_NUM >= 0x075700
	/* wait for no name server that is silent, when a request ends without it */
	easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L);
#endif
	easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
	easy_setopt(curl, CURLOPT_XFERINFODATA, transfer);
	easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
	easy_setopt(curl, CURLOPT_WRITEDATA, transfer);
	easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
	easy_setopt(curl, CURLOPT_HEADERDATA, transfer);
	easy_setopt(curl, CURLOPT_ERRORBUFFER, transfer->error);
}

static void
set_request(HttpTransfer *transfer)
{
	CURL	   *curl = transfer->curl;
	HttpRequest *request = &transfer->request;

	easy_setopt(curl, CURLOPT_URL, transfer->url);
	easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
	easy_setopt(curl, CURLOPT_PRIVATE, transfer);
	easy_setopt(curl, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	easy_setopt(curl, CURLOPT_USERAGENT, "damoov/1.0");
	if (request->compressed)
		http_header(request, "accept-encoding", "gzip");
	easy_setopt(curl, CURLOPT_HTTPHEADER, transfer->headers);
	if (request->body != NULL)
	{
		easy_setopt(curl, CURLOPT_POST, 1L);
		easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) request->body_len);
		easy_setopt(curl, CURLOPT_POSTFIELDS, request->body);
	}
	easy_setopt(curl, CURLOPT_CUSTOMREQUEST, transfer->method);
}

/* libcurl's own check knows the scheme only, not that http is allowed to loopback alone. */
static bool
check_request(HttpTransfer *transfer)
{
	UrlParts   *parts;
	MemoryContext old = MemoryContextSwitchTo(transfer->context);
	bool		allowed = url_parse(transfer->url, &parts, &transfer->request.fault);

	transfer->host = allowed ? parts->host_header : NULL;

	if (allowed && !url_scheme_allowed(parts) &&
		!(transfer->request.metadata_service && url_is_metadata_service(parts)))
		allowed = fault_set(&transfer->request.fault, REASON_BAD_URL,
							"URL is not an https URL");
	if (allowed && transfer->split_header)
		allowed = fault_set(&transfer->request.fault, REASON_CONFIGURATION,
							"value of header \"%s\" has more than one line", transfer->split_header);
	MemoryContextSwitchTo(old);
	return allowed;
}

static void
start_transfer(HttpTransfer *transfer)
{
	HttpClient *client = transfer->client;
	CURLMcode	result;

	if (client->multi == NULL)
		open_multi(client);
	transfer->curl = take_handle(client);
	close_the_edge(transfer);
	set_limits(transfer);
	set_request(transfer);
	transfer->started = true;
	places_take(&client->places, is_long_poll(transfer));
	result = curl_multi_add_handle(client->multi, transfer->curl);
	if (result != CURLM_OK)
		give_up(client, result);
}

/* Starts what waits for a place, in the order in which it came. */
static void
start_waiting(HttpClient *client)
{
	dlist_iter	iter;

	if (client->nwaiting == 0)
		return;
	dlist_foreach(iter, &client->transfers)
	{
		HttpTransfer *transfer = dlist_container(HttpTransfer, node, iter.cur);

		if (!transfer->waiting || !places_free(&client->places, is_long_poll(transfer)))
			continue;
		stop_waiting(transfer);
		start_transfer(transfer);
	}
}

/* A place is not taken before those that wait for one: see start_waiting(). */
void
http_start(HttpRequest *request, HttpDone done, void *arg)
{
	HttpTransfer *transfer = request->transfer;
	HttpClient *client = transfer->client;

	transfer->done = done;
	transfer->done_arg = arg;
	if (!check_request(transfer))
	{
		transfer->finished = true;
		client->unreported = true;
		return;
	}
	transfer->waiting = true;
	client->nwaiting++;
	start_waiting(client);
}

bool
http_has_room(const HttpClient *client)
{
	return client->nwaiting == 0 && places_free(&client->places, true);
}

/* ----- callbacks of libcurl: no palloc, no ereport ----- */

static int
on_socket(CURL *curl, curl_socket_t fd, int what, void *arg, void *unused)
{
	HttpClient *client = arg;
	uint32		events = 0;

	if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
		events |= WL_SOCKET_READABLE;
	if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
		events |= WL_SOCKET_WRITEABLE;
	return socket_set_watch(&client->sockets, fd, events) ? 0 : -1;
}

static int
on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	HttpClient *client = arg;

	client->timer_ms = timeout_ms;
	INSTR_TIME_SET_CURRENT(client->timer_set);
	return 0;
}

/*
 * The server has to know of each descriptor, for else it takes what is left for
 * its own files.  One more must be free: what it waits with needs it.
 */
static bool
reserve_socket(void)
{
	if (!AcquireExternalFD())
		return false;
	if (AcquireExternalFD())
	{
		ReleaseExternalFD();
		return true;
	}
	ReleaseExternalFD();
	return false;
}

static int
on_close(void *arg, curl_socket_t fd)
{
	ReleaseExternalFD();
	return close(fd);
}

/* Called for every address before it is connected to, after resolving. */
static curl_socket_t
on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	HttpTransfer *transfer = arg;

	if (transfer->request.public_only && !address_is_public(&address->addr))
	{
		transfer->refused_address = true;
		return CURL_SOCKET_BAD;
	}
	if (reserve_socket())
	{
		curl_socket_t fd = socket(address->family, address->socktype | SOCK_CLOEXEC,
								  address->protocol);

		if (fd != CURL_SOCKET_BAD)
			return fd;
		ReleaseExternalFD();
	}
	transfer->no_socket = true;
	return CURL_SOCKET_BAD;
}

static size_t
on_body(char *data, size_t size, size_t count, void *arg)
{
	HttpTransfer *transfer = arg;
	Size		needed = transfer->received + size * count;

	if (needed > transfer->request.max_bytes)
	{
		transfer->too_big = true;
		return 0;
	}
	if (needed + 1 > transfer->buffer_size)
	{
		Size		larger = Max(needed + 1, transfer->buffer_size * 2);
		char	   *buffer = realloc(transfer->buffer, larger);

		if (buffer == NULL)
			return 0;
		transfer->buffer = buffer;
		transfer->buffer_size = larger;
	}
	memcpy(transfer->buffer + transfer->received, data, size * count);
	transfer->received = needed;
	transfer->buffer[needed] = '\0';
	return size * count;
}

const char *
http_reply_header(const HttpRequest *request, const char *name)
{
	return header_lines_find(&request->transfer->lines, name);
}

pg_time_t
http_date(const char *text)
{
	time_t		at = curl_getdate(text, NULL);

	return at > 0 ? at : 0;
}

static size_t
on_header(char *data, size_t size, size_t count, void *arg)
{
	HttpTransfer *transfer = arg;

	if (header_lines_add(&transfer->lines, data, size * count))
		return size * count;
	transfer->too_big |= transfer->lines.too_many;
	return 0;
}

static int
on_progress(void *arg, curl_off_t total, curl_off_t now,
			curl_off_t up_total, curl_off_t up_now)
{
	HttpTransfer *transfer = arg;

	/* bytes as received: a broken encoding may never produce a body to count */
	if (now > (curl_off_t) transfer->request.max_bytes)
		transfer->too_big = true;
	return transfer->too_big || QueryCancelPending || ProcDiePending;
}

/* ----- waiting ----- */

/* Milliseconds until libcurl wants to be called, -1: it does not. */
static long
timer_left(HttpClient *client)
{
	instr_time	now;

	if (client->timer_ms < 0)
		return -1;
	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, client->timer_set);
	return Max(0, client->timer_ms - (long) INSTR_TIME_GET_MILLISEC(now));
}

static void
drive(HttpClient *client, curl_socket_t fd, int flags)
{
	int			running;
	sigset_t	saved;
	CURLMcode	result;

	if (client->multi == NULL)
		return;
	block_signals(&saved);
	result = curl_multi_socket_action(client->multi, fd, flags, &running);
	restore_signals(&saved);
	if (result != CURLM_OK)
		give_up(client, result);
}

/*
 * Words for a failure, the same each time it happens: libcurl's own text of a
 * failed connection contains a duration.
 */
static void
set_fault(HttpTransfer *transfer)
{
	Fault	   *fault = &transfer->request.fault;
	const char *host = transfer->host;
	MemoryContext old = MemoryContextSwitchTo(transfer->context);

	if (transfer->too_big)
		fault_set(fault, REASON_TOO_BIG, "reply exceeds the limit of %zu bytes",
				  transfer->request.max_bytes);
	else if (transfer->refused_address)
		/* the next answer of the name server may be another one */
		fault_set(fault, REASON_UNREACHABLE,
				  "host \"%s\" resolves to an address that is not public", host);
	else if (transfer->no_socket && transfer->result == CURLE_COULDNT_CONNECT)
		fault_set(fault, REASON_UNREACHABLE,
				  "could not connect to \"%s\": this process has too many open files", host);
	else if (transfer->result == CURLE_COULDNT_RESOLVE_HOST)
		fault_set(fault, REASON_UNREACHABLE, "could not resolve host \"%s\"", host);
	else if (transfer->result == CURLE_COULDNT_CONNECT)
		fault_set(fault, REASON_UNREACHABLE, "could not connect to \"%s\"", host);
	else if (transfer->result == CURLE_OPERATION_TIMEDOUT)
		fault_set(fault, REASON_TIMEOUT, "no answer from \"%s\" in time", host);
	else if (transfer->result == CURLE_PEER_FAILED_VERIFICATION ||
			 transfer->result == CURLE_SSL_CONNECT_ERROR ||
			 transfer->result == CURLE_SSL_CACERT_BADFILE)
		fault_set(fault, REASON_TLS_FAILED,
				  "could not establish a verified TLS connection to \"%s\": %s", host,
				  transfer->error[0] ? transfer->error : curl_easy_strerror(transfer->result));
	else
		fault_set(fault, REASON_UNREACHABLE, "exchange with \"%s\" failed: %s", host,
				  transfer->broken ? transfer->broken : curl_easy_strerror(transfer->result));
	MemoryContextSwitchTo(old);
}

static void
take_reply(HttpTransfer *transfer)
{
	HttpRequest *request = &transfer->request;
	const char *date = http_reply_header(request, "date");
	curl_off_t	wait_s = 0;
	long		status = 0;

	curl_easy_getinfo(transfer->curl, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(transfer->curl, CURLINFO_RETRY_AFTER, &wait_s);
	request->status = (int) status;
	/* negative: a date that has passed */
	if (http_reply_header(request, "retry-after"))
		request->retry_after_s = (int) Min(Max(wait_s, 0), PG_INT32_MAX);
	request->date = date ? http_date(date) : 0;
	request->reply = transfer->buffer ? transfer->buffer : "";
	request->reply_len = transfer->received;
}

/*
 * Expands gzip.  The bytes tell what they are: Content-Encoding in a store is
 * what somebody once wrote there ("utf-8", "aws-chunked"), or was forgotten.
 */
static CURLcode
expand_reply(HttpTransfer *transfer)
{
	HttpRequest *request = &transfer->request;
	const char *told = http_reply_header(request, "content-encoding");
	GzipResult	result;

	if (!gzip_is(transfer->buffer, transfer->received))
		return told && transfer->received > 0 && strcasestr(told, "gzip")
			? CURLE_BAD_CONTENT_ENCODING : CURLE_OK;
	transfer->gzip = transfer->buffer;
	request->gzip = transfer->gzip;
	request->gzip_len = transfer->received;
	result = gzip_expand(request->gzip, request->gzip_len, request->max_bytes,
						 &transfer->buffer, &transfer->received);
	transfer->too_big |= result == GZIP_TOO_BIG;
	return result == GZIP_DONE ? CURLE_OK : CURLE_BAD_CONTENT_ENCODING;
}

static void
finish(HttpTransfer *transfer, CURLcode result)
{
	if (result == CURLE_OK && transfer->request.compressed)
		result = expand_reply(transfer);
	transfer->result = result;
	if (result == CURLE_OK)
		take_reply(transfer);
	transfer->finished = true;
	transfer->client->unreported = true;
	detach(transfer);
	wipe_headers(transfer);
}

static void
collect_finished(HttpClient *client)
{
	CURLMsg    *message;
	int			left;

	while (client->multi && (message = curl_multi_info_read(client->multi, &left)) != NULL)
	{
		char	   *transfer = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
		finish((HttpTransfer *) transfer, message->data.result);
	}
}

/* "done" may start and free requests, so look from the top each time. */
static bool
report_finished(HttpClient *client)
{
	dlist_iter	iter;

	dlist_foreach(iter, &client->transfers)
	{
		HttpTransfer *transfer = dlist_container(HttpTransfer, node, iter.cur);

		if (!transfer->finished)
			continue;
		if (transfer->result != CURLE_OK || transfer->broken)
			set_fault(transfer);
		transfer->finished = false;
		transfer->done(&transfer->request, transfer->done_arg);
		return true;
	}
	return false;
}

static int
curl_flags(uint32 events)
{
	return (events & WL_SOCKET_READABLE ? CURL_CSELECT_IN : 0) |
		(events & WL_SOCKET_WRITEABLE ? CURL_CSELECT_OUT : 0);
}

bool
http_wait(HttpClient *client, long timeout_ms)
{
	WaitEvent	events[32];
	long		timer;
	bool		latch_set = false;
	int			count;

	start_waiting(client);
	timer = timer_left(client);
	if (timer >= 0 && (timeout_ms < 0 || timer < timeout_ms))
		timeout_ms = timer;
	if (client->unreported)
		timeout_ms = 0;
	count = socket_set_wait(&client->sockets, timeout_ms, events, lengthof(events), wait_event);
	for (int i = 0; i < count; i++)
	{
		if (events[i].events & WL_LATCH_SET)
		{
			ResetLatch(MyLatch);
			latch_set = true;
		}
		else
			drive(client, events[i].fd, curl_flags(events[i].events));
	}
	if (timer_left(client) == 0)
	{
		client->timer_ms = -1;
		drive(client, CURL_SOCKET_TIMEOUT, 0);
	}
	collect_finished(client);
	while (report_finished(client))
		;
	client->unreported = false;
	return latch_set;
}

bool
http_status_is_transient(int status)
{
	return status == 408 || status == 425 || status == 429 || status >= 500;
}
