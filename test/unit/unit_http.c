/*
 * unit_http.c
 *	  SQL functions over wire/http.c, for tests only.
 *
 * libcurl fails when it is told to, and is watched from then on: nothing may be
 * done with the handle that has failed, nor with what is in it.  All else is
 * src/wire/http.c itself, which is included here.
 */
#include "postgres.h"

#include <curl/curl.h>

#define MAX_HANDLES 16

static const char *failing = "";	/* the call that is to fail next */
static CURLM *dead = NULL;		/* the handle of which it was */
static CURLM *home[MAX_HANDLES];	/* where these are */
static CURL *handle[MAX_HANDLES];
static int	nhandles = 0;
static int	touched = 0;		/* calls that had to be left */

static void
move_handle(CURL *curl, CURLM *multi)
{
	int			i = 0;

	while (i < nhandles && handle[i] != curl)
		i++;
	if (i == nhandles && nhandles < MAX_HANDLES)
		handle[nhandles++] = curl;
	home[i] = multi;
}

static CURLMcode
failure(const char *call, CURLM *multi)
{
	touched += multi == dead;
	if (strcmp(call, failing) != 0)
		return CURLM_OK;
	failing = "";
	dead = multi;
	return CURLM_INTERNAL_ERROR;
}

static CURLMcode
unit_add(CURLM *multi, CURL *curl)
{
	CURLMcode	result = failure("add", multi);

	move_handle(curl, multi);
	return result != CURLM_OK ? result : curl_multi_add_handle(multi, curl);
}

static CURLMcode
unit_remove(CURLM *multi, CURL *curl)
{
	CURLMcode	result = failure("remove", multi);

	if (result == CURLM_OK)
		result = curl_multi_remove_handle(multi, curl);
	if (result == CURLM_OK)
		move_handle(curl, NULL);
	return result;
}

static CURLMcode
unit_action(CURLM *multi, curl_socket_t fd, int flags, int *running)
{
	CURLMcode	result = failure("action", multi);

	return result != CURLM_OK ? result : curl_multi_socket_action(multi, fd, flags, running);
}

static CURLMcode
unit_cleanup(CURLM *multi)
{
	(void) failure("cleanup", multi);
	return curl_multi_cleanup(multi);
}

static void
unit_easy_cleanup(CURL *curl)
{
	for (int i = 0; i < nhandles; i++)
		touched += handle[i] == curl && home[i] != NULL;
	curl_easy_cleanup(curl);
}

#define curl_multi_add_handle unit_add
#define curl_multi_remove_handle unit_remove
#define curl_multi_socket_action unit_action
#define curl_multi_cleanup unit_cleanup
#define curl_easy_cleanup unit_easy_cleanup

#include "wire/http.c"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <unistd.h>

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(unit_http_failure);
PG_FUNCTION_INFO_V1(unit_http_sockets);
PG_FUNCTION_INFO_V1(unit_http_places);
PG_FUNCTION_INFO_V1(unit_http_header);

/* A port of this machine that takes connections and never says a word. */
static int
silent_port(int *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t	len = sizeof(address);
	int			fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *) &address, len) != 0 || listen(fd, 1024) != 0 ||
		getsockname(fd, (struct sockaddr *) &address, &len) != 0)
		elog(ERROR, "could not listen: %m");
	*port = ntohs(address.sin_port);
	return fd;
}

static void
note_fault(HttpRequest *request, void *arg)
{
	appendStringInfo((StringInfo) arg, "%d %s\n", request->status, request->fault.message);
	http_free(request);
}

static void
start_polling(HttpClient *client, int port, int silence_seconds, StringInfo told)
{
	char	   *url = psprintf("http://127.0.0.1:%d/", port);
	HttpRequest *request = http_request(client, "GET", url);

	request->max_bytes = 1000;
	request->timeout_ms = 300;
	request->silence_seconds = silence_seconds;
	http_start(request, note_fault, told);
}

static void
start(HttpClient *client, int port, StringInfo told)
{
	start_polling(client, port, 0, told);
}

static void
wait_for(HttpClient *client, StringInfo told, int lines)
{
	for (int i = 0; i < 20; i++)
	{
		int			found = 0;

		for (char *at = told->data; (at = strchr(at, '\n')) != NULL; at++)
			found++;
		if (found >= lines)
			return;
		(void) http_wait(client, 500);
		CHECK_FOR_INTERRUPTS();
	}
	appendStringInfoString(told, "nothing more\n");
}

/*
 * Three requests while this call of libcurl fails once, one after it, and an end
 * in the middle of two more, at which the call fails again if "again".  Returns
 * what each was told, and how often a dead handle was touched.
 */
Datum
unit_http_failure(PG_FUNCTION_ARGS)
{
	char	   *call = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool		again = PG_GETARG_BOOL(1);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "http",
												  ALLOCSET_DEFAULT_SIZES);
	HttpClient *client = http_client(context);
	StringInfoData told;
	int			port;
	int			fd = silent_port(&port);

	damoov_allow_http_loopback = true;
	dead = NULL;
	nhandles = touched = 0;
	initStringInfo(&told);
	failing = call;
	for (int i = 0; i < 3; i++)
		start(client, port, &told);
	wait_for(client, &told, 3);
	start(client, port, &told);
	wait_for(client, &told, 4);
	start(client, port, &told);
	start(client, port, &told);
	(void) http_wait(client, 50);
	failing = again ? call : "";
	MemoryContextDelete(context);
	failing = "";
	close(fd);
	appendStringInfo(&told, "touched %d", touched);
	PG_RETURN_TEXT_P(cstring_to_text(told.data));
}

/* How many more descriptors the server lets others have. */
static int
free_descriptors(void)
{
	int			count = 0;

	while (AcquireExternalFD())
		count++;
	for (int i = 0; i < count; i++)
		ReleaseExternalFD();
	return count;
}

/*
 * So many requests at once, while only "limit" descriptors may be had; then the
 * same once more.  Returns what each was told, and how many descriptors are
 * lost afterwards.
 */
Datum
unit_http_sockets(PG_FUNCTION_ARGS)
{
	int			requests = PG_GETARG_INT32(0);
	int			limit = PG_GETARG_INT32(1);
	int			before = free_descriptors();
	int			others = Max(0, before - limit);
	StringInfoData told;
	int			port;
	int			fd = silent_port(&port);

	damoov_allow_http_loopback = true;
	initStringInfo(&told);
	for (int i = 0; i < others; i++)
		(void) AcquireExternalFD();
	for (int round = 1; round <= 2; round++)
	{
		MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "http",
													  ALLOCSET_DEFAULT_SIZES);
		HttpClient *client = http_client(context);

		for (int i = 0; i < requests; i++)
			start(client, port, &told);
		wait_for(client, &told, requests * round);
		MemoryContextDelete(context);
	}
	for (int i = 0; i < others; i++)
		ReleaseExternalFD();
	close(fd);
	appendStringInfo(&told, "lost %d", before - free_descriptors());
	PG_RETURN_TEXT_P(cstring_to_text(told.data));
}

/* What was told, and how often. */
static void
count_lines(StringInfo told, int *silent, int *other)
{
	*silent = *other = 0;
	for (char *line = strtok(told->data, "\n"); line; line = strtok(NULL, "\n"))
	{
		if (strstr(line, "in time"))
			(*silent)++;
		else
			(*other)++;
	}
}

/*
 * So many long polls and then so many other requests at once, of which the server
 * allows so many descriptors.  Returns how many were in flight at the most, how
 * many of the others before any long poll had ended, and how all have ended.
 */
Datum
unit_http_places(PG_FUNCTION_ARGS)
{
	int			polls = PG_GETARG_INT32(0);
	int			others = PG_GETARG_INT32(1);
	int			safe = max_safe_fds;
	HttpClient *client;
	StringInfoData told;
	StringInfoData result;
	int			port;
	int			fd = silent_port(&port);
	int			most = 0;
	int			beside = 0;
	int			silent;
	int			other;
	bool		room;

	damoov_allow_http_loopback = true;
	max_safe_fds = PG_GETARG_INT32(2);
	client = http_client(CurrentMemoryContext);
	initStringInfo(&told);
	initStringInfo(&result);
	for (int i = 0; i < polls; i++)
		start_polling(client, port, 20, &told);
	room = http_has_room(client);
	for (int i = 0; i < others; i++)
		start(client, port, &told);
	beside = client->places.taken - client->places.long_polls;
	while (!dlist_is_empty(&client->transfers))
	{
		most = Max(most, client->places.taken);
		(void) http_wait(client, 500);
		CHECK_FOR_INTERRUPTS();
	}
	max_safe_fds = safe;
	close(fd);
	count_lines(&told, &silent, &other);
	appendStringInfo(&result, "room %d, most %d, beside %d, silent %d, other %d, left %d", room,
					 most, beside, silent, other, client->places.taken + client->nwaiting);
	PG_RETURN_TEXT_P(cstring_to_text(result.data));
}

/* What a request with this header is told by a server that says nothing. */
Datum
unit_http_header(PG_FUNCTION_ARGS)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "http",
												  ALLOCSET_DEFAULT_SIZES);
	HttpClient *client = http_client(context);
	HttpRequest *request;
	StringInfoData told;
	int			port;
	int			fd = silent_port(&port);

	damoov_allow_http_loopback = true;
	initStringInfo(&told);
	request = http_request(client, "GET", psprintf("http://127.0.0.1:%d/", port));
	request->max_bytes = 1000;
	request->timeout_ms = 300;
	http_header(request, "x-value", text_to_cstring(PG_GETARG_TEXT_PP(0)));
	http_start(request, note_fault, &told);
	wait_for(client, &told, 1);
	MemoryContextDelete(context);
	close(fd);
	PG_RETURN_TEXT_P(cstring_to_text(told.data));
}
