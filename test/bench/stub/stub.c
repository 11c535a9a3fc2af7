/*
 * stub.c
 *	  The other side of the measurements: queues and datasets over HTTP.
 *
 *		stub DIRECTORY		prints "listening on PORT", and serves until it is ended
 *
 * DIRECTORY holds the templates of messages (KIND.ndjson) and the documents
 * (KIND-NUMBER.json).  One thread answers all: it has to be cheap, since it
 * shares the processors with what is measured.
 *
 *		GET /_start?kind=K&count=N&users=N&rate=R&delay=MS	starts again
 *		GET /_statistics
 *		GET /_marks						when each thousandth was settled, and handed out
 *		GET /_bodies?from=N&count=N		messages as a JSON array
 *		GET /_published?count=N			when each became visible
 *		GET /_end						ends receives that wait
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "datasets.h"
#include "messages.h"
#include "queue.h"
#include "services.h"

#define MAX_EVENTS		64
#define MAX_CONNECTIONS 1024

typedef struct Connection
{
	int			fd;
	Buffer		in;
	Buffer		out;
	size_t		sent;
	Receive		receive;		/* a receive that waits */
	double		wait_until;
	double		due;			/* of the answer, 0: at once */
} Connection;

static const char *directory;
static int	epoll_fd;
static Connection *connections[MAX_CONNECTIONS];	/* by descriptor */
static int	last_fd;
static double delay_s;			/* of each answer: how far away the services are */

/* ----- answers ----- */

static void
close_connection(Connection *connection)
{
	connections[connection->fd] = NULL;
	close(connection->fd);
	buffer_free(&connection->in);
	buffer_free(&connection->out);
	free(connection);
}

static void
watch(Connection *connection, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = connection};

	epoll_ctl(epoll_fd, EPOLL_CTL_MOD, connection->fd, &event);
}

/* False: the connection is gone. */
static bool
send_out(Connection *connection)
{
	while (connection->sent < connection->out.len)
	{
		ssize_t		len = send(connection->fd, connection->out.data + connection->sent,
							   connection->out.len - connection->sent, MSG_NOSIGNAL);

		if (len < 0 && errno == EAGAIN)
		{
			watch(connection, EPOLLIN | EPOLLOUT);
			return true;
		}
		if (len < 0)
		{
			close_connection(connection);
			return false;
		}
		connection->sent += len;
	}
	connection->out.len = connection->sent = 0;
	return true;
}

static bool
finish(Connection *connection, const Reply *reply, bool at_once)
{
	buffer_printf(&connection->out, "HTTP/1.1 %d OK\r\n", reply->status);
	if (reply->headers.len)
		buffer_put(&connection->out, reply->headers.data, reply->headers.len);
	if (reply->status != 204)
		buffer_printf(&connection->out, "Content-Length: %zu\r\n", reply->body.len);
	buffer_put(&connection->out, "\r\n", 2);
	if (reply->body.len)
		buffer_put(&connection->out, reply->body.data, reply->body.len);
	connection->receive.hand_out = NULL;
	if (!at_once && delay_s > 0)
	{
		connection->due = now() + delay_s;
		return true;
	}
	return send_out(connection);
}

/* The one reply at a time; its memory is used again. */
static Reply *
new_reply(void)
{
	static Reply reply;

	reply.status = 200;
	reply.headers.len = reply.body.len = 0;
	return &reply;
}

/* Answers a receive with what is there. */
static bool
hand_out(Connection *connection)
{
	Reply	   *reply = new_reply();
	int			count;
	long		first = queue_take(connection->receive.max, &count);

	if (count == 0)
		queue_statistics.empty++;
	connection->receive.hand_out(reply, first, count);
	return finish(connection, reply, false);
}

/* ----- control ----- */

static void
start(const char *query)
{
	char		kind[32] = "";
	Buffer		path = {0};
	const char *at = strstr(query, "kind=");
	static bool loaded;

	/* not before: documents name the port of the stub */
	if (!loaded)
		datasets_load(directory);
	loaded = true;

	if (at)
		sscanf(at + 5, "%31[a-z_]", kind);
	if (kind[0])
	{
		buffer_printf(&path, "%s/%s.ndjson", directory, kind);
		messages_load(path.data, (long) services_number(query, "users", 1000));
		buffer_free(&path);
	}
	delay_s = services_number(query, "delay", 0) / 1000;
	queue_start((long) services_number(query, "count", 0), services_number(query, "rate", 0));
}

static void
put_times(Buffer *out, const char *name, const double *times, int count)
{
	buffer_printf(out, "\"%s\":[", name);
	for (int i = 0; i < count; i++)
		buffer_printf(out, "%s%.6f", i ? "," : "", times[i]);
	buffer_put(out, "]", 1);
}

static void
put_statistics(Buffer *out)
{
	const QueueStatistics *s = &queue_statistics;
	int			waiting = 0;

	for (int fd = 0; fd <= last_fd; fd++)
		waiting += connections[fd] && connections[fd]->receive.hand_out;
	buffer_printf(out, "{\"count\":%ld,\"next\":%ld,\"settled\":%ld,\"wrong\":%ld,\"receives\":%ld,\"empty\":%ld,"
				  "\"requests\":%ld,\"datasets\":%ld,\"waiting\":%d,\"first\":%.6f,\"last\":%.6f",
				  s->count, s->next, s->settled, s->wrong, s->receives, s->empty,
				  s->requests, s->datasets, waiting, s->first, s->last);
	buffer_put(out, "}", 1);
}

static void
put_marks(Buffer *out)
{
	buffer_put(out, "{", 1);
	put_times(out, "settled", queue_statistics.settled_marks, QUEUE_MARKS);
	buffer_put(out, ",", 1);
	put_times(out, "datasets", queue_statistics.dataset_marks, QUEUE_MARKS);
	buffer_put(out, "}", 1);
}

static void
put_bodies(Buffer *out, const char *query)
{
	long		first = (long) services_number(query, "from", 0);
	long		count = (long) services_number(query, "count", 0);

	buffer_put(out, "[", 1);
	for (long number = first; number < first + count; number++)
	{
		if (number > first)
			buffer_put(out, ",", 1);
		message_write(out, number);
	}
	buffer_put(out, "]", 1);
}

static void
put_published(Buffer *out, const char *query)
{
	long		count = (long) services_number(query, "count", 0);

	buffer_put(out, "[", 1);
	for (long number = 0; number < count; number++)
		buffer_printf(out, "%s%.6f", number ? "," : "", queue_published(number));
	buffer_put(out, "]", 1);
}

static void
end_receives(void)
{
	for (int fd = 0; fd <= last_fd; fd++)
	{
		if (connections[fd] && connections[fd]->receive.hand_out)
			connections[fd]->wait_until = 0;
	}
}

static void
control(const Request *request, Reply *reply)
{
	if (strcmp(request->path, "/_start") == 0)
		start(request->query);
	else if (strcmp(request->path, "/_statistics") == 0)
		put_statistics(&reply->body);
	else if (strcmp(request->path, "/_marks") == 0)
		put_marks(&reply->body);
	else if (strcmp(request->path, "/_bodies") == 0)
		put_bodies(&reply->body, request->query);
	else if (strcmp(request->path, "/_published") == 0)
		put_published(&reply->body, request->query);
	else if (strcmp(request->path, "/_end") == 0)
		end_receives();
	else
		reply->status = 404;
}

/* ----- requests ----- */

static bool
answer(Connection *connection, const Request *request)
{
	Reply	   *reply = new_reply();
	bool		is_control = strncmp(request->path, "/_", 2) == 0;

	if (is_control)
		control(request, reply);
	else
	{
		queue_statistics.requests++;
		connection->receive = services_answer(request, reply);
		if (connection->receive.hand_out)
		{
			queue_statistics.receives++;
			connection->wait_until = now() + connection->receive.wait_seconds;
			return true;		/* see serve_waiting() */
		}
	}
	return finish(connection, reply, is_control);
}

/* The value of a header in these lines, ended by a zero; or "". */
static const char *
header(char *lines, const char *name)
{
	size_t		len = strlen(name);

	for (char *line = lines; line; line = strchr(line, '\n'))
	{
		line += *line == '\n';
		if (strncasecmp(line, name, len) == 0 && line[len] == ':')
		{
			char	   *value = line + len + 1 + strspn(line + len + 1, " ");

			return strndup(value, strcspn(value, "\r\n"));
		}
	}
	return NULL;
}

/*
 * Answers the first request in the buffer if it is complete; false: there is
 * none, or the connection is gone.
 */
static bool
take_request(Connection *connection)
{
	char	   *end = connection->in.len ? strstr(connection->in.data, "\r\n\r\n") : NULL;
	char	   *lines;
	char	   *value[3];
	size_t		head_len;
	size_t		body_len;
	char		saved;
	Request		request = {.query = ""};
	char	   *query;
	bool		alive;

	if (end == NULL || connection->receive.hand_out || connection->due > 0)
		return false;
	head_len = end + 4 - connection->in.data;
	lines = strchr(connection->in.data, '\n');
	*end = '\0';
	value[0] = (char *) header(lines, "Content-Length");
	body_len = value[0] ? strtoul(value[0], NULL, 10) : 0;
	if (connection->in.len < head_len + body_len)
	{
		*end = '\r';
		free(value[0]);
		return false;
	}
	value[1] = (char *) header(lines, "X-Amz-Target");
	value[2] = (char *) header(lines, "DeviceToken");
	request.target = value[1] ? value[1] : "";
	request.device_token = value[2] ? value[2] : "";
	request.method = strtok(connection->in.data, " ");
	request.path = strtok(NULL, " ");
	if ((query = strchr(request.path, '?')) != NULL)
	{
		*query = '\0';
		request.query = query + 1;
	}
	request.body = connection->in.data + head_len;
	saved = request.body[body_len];
	request.body[body_len] = '\0';
	alive = answer(connection, &request);
	if (alive)
	{
		request.body[body_len] = saved;
		buffer_drop(&connection->in, head_len + body_len);
	}
	for (int i = 0; i < 3; i++)
		free(value[i]);
	return alive;
}

static void
read_in(Connection *connection)
{
	char		bytes[65536];
	ssize_t		len = recv(connection->fd, bytes, sizeof(bytes), 0);

	if (len < 0 && errno == EAGAIN)
		return;
	if (len <= 0)
	{
		close_connection(connection);
		return;
	}
	buffer_put(&connection->in, bytes, len);
	(void) take_request(connection);
}

/* ----- the loop ----- */

/* Serves receives that wait and answers that are due; the time of the next. */
static double
serve_waiting(void)
{
	double		next = INFINITY;

	for (int fd = 0; fd <= last_fd; fd++)
	{
		Connection *connection = connections[fd];

		if (connection == NULL)
			continue;
		if (connection->receive.hand_out)
		{
			if (queue_is_empty() && connection->wait_until > now())
				next = fmin(next, fmin(queue_due(), connection->wait_until));
			else if (!hand_out(connection))
				continue;
		}
		if (connection->due > 0 && connection->due <= now())
		{
			connection->due = 0;
			if (!send_out(connection))
				continue;
			(void) take_request(connection);
		}
		if (connection->due > 0)
			next = fmin(next, connection->due);
	}
	return next;
}

static void
accept_connection(int listener)
{
	int			fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	int			on = 1;
	Connection *connection;
	struct epoll_event event = {.events = EPOLLIN};

	if (fd < 0)
		return;
	if (fd >= MAX_CONNECTIONS)
		die("there are too many connections");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	connection = calloc(1, sizeof(Connection));
	connection->fd = fd;
	connections[fd] = connection;
	last_fd = fd > last_fd ? fd : last_fd;
	event.data.ptr = connection;
	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static void
serve(struct epoll_event *event, int listener)
{
	Connection *connection = event->data.ptr;

	if (connection == NULL)
	{
		accept_connection(listener);
		return;
	}
	if (event->events & EPOLLOUT)
	{
		if (!send_out(connection))
			return;
		if (connection->out.len == 0)
			watch(connection, EPOLLIN);
	}
	if (event->events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		read_in(connection);
}

/* Waits to the microsecond: epoll_wait() knows milliseconds only. */
static void
wait_until(double time)
{
	struct pollfd ready = {.fd = epoll_fd, .events = POLLIN};
	double		left = fmax(0, time - now());
	struct timespec timeout = {.tv_sec = (time_t) left, .tv_nsec = (long) ((left - floor(left)) * 1e9)};

	ppoll(&ready, 1, isinf(time) ? NULL : &timeout, NULL);
}

static int
listen_somewhere(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t	len = sizeof(address);
	struct epoll_event event = {.events = EPOLLIN};
	int			listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (bind(listener, (struct sockaddr *) &address, sizeof(address)) != 0 || listen(listener, 128) != 0)
		die("could not listen: %s", strerror(errno));
	getsockname(listener, (struct sockaddr *) &address, &len);
	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
	printf("listening on %d\n", ntohs(address.sin_port));
	fflush(stdout);
	return listener;
}

int
main(int argc, char **argv)
{
	struct epoll_event events[MAX_EVENTS];
	int			listener;

	if (argc != 2)
		die("usage: stub DIRECTORY");
	directory = argv[1];
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	listener = listen_somewhere();
	for (;;)
	{
		int			count;

		wait_until(serve_waiting());
		count = epoll_wait(epoll_fd, events, MAX_EVENTS, 0);
		for (int i = 0; i < count; i++)
			serve(&events[i], listener);
	}
}
