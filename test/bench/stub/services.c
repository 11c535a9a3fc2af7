/*
 * services.c
 *	  The services that the stub plays: see services.h.
 */
#include <ctype.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "datasets.h"
#include "messages.h"
#include "queue.h"
#include "services.h"

#define JSON	"Content-Type: application/json\r\n"
#define AWS_JSON "Content-Type: application/x-amz-json-1.0\r\n"
#define XML		"Content-Type: application/xml\r\n"
#define LOCK_FORMAT "00000000-0000-4000-8000-%012lx"

static Buffer text;				/* of one message */

double
services_number(const char *in, const char *name, double otherwise)
{
	const char *at = strstr(in, name);

	if (at == NULL)
		return otherwise;
	at += strlen(name);
	return atof(at + strspn(at, "\": ="));
}

/* Moves behind the next text of this name in a JSON document; NULL: there is none. */
static char *
next_text(char **at, const char *name, size_t *len)
{
	char	   *found = strstr(*at, name);
	char	   *end;

	if (found == NULL)
		return NULL;
	found += strlen(name);
	found += strspn(found, ": ");
	if (*found != '"' || (end = strchr(found + 1, '"')) == NULL)
		return NULL;
	*at = end + 1;
	*len = end - found - 1;
	return found + 1;
}

static const char *
message_text(long number)
{
	text.len = 0;
	message_write(&text, number);
	return text.data;
}

static void
put_json_string(Buffer *out, const char *from)
{
	const char *special;

	buffer_put(out, "\"", 1);
	while ((special = strpbrk(from, "\"\\")) != NULL)
	{
		buffer_put(out, from, special - from);
		buffer_put(out, "\\", 1);
		buffer_put(out, special, 1);
		from = special + 1;
	}
	buffer_put(out, from, strlen(from));
	buffer_put(out, "\"", 1);
}

/* ----- Amazon SQS ----- */

static void
put_md5(Buffer *out, const char *of)
{
	static const EVP_MD *md5;
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int len;

	if (md5 == NULL)
		md5 = EVP_md5();
	EVP_Digest(of, strlen(of), digest, &len, md5, NULL);
	for (unsigned int i = 0; i < len; i++)
		buffer_printf(out, "%02x", digest[i]);
}

static void
sqs_hand_out(Reply *reply, long first, int count)
{
	buffer_put(&reply->headers, AWS_JSON, strlen(AWS_JSON));
	buffer_printf(&reply->body, count > 0 ? "{\"Messages\":[" : "{}");
	for (long number = first; number < first + count; number++)
	{
		const char *body = message_text(number);

		buffer_printf(&reply->body, "%s{\"MessageId\":\"" LOCK_FORMAT "\",\"ReceiptHandle\":\"%ld\",\"MD5OfBody\":\"",
					  number > first ? "," : "", number, number);
		put_md5(&reply->body, body);
		buffer_printf(&reply->body, "\",\"Body\":");
		put_json_string(&reply->body, body);
		buffer_put(&reply->body, "}", 1);
	}
	if (count > 0)
		buffer_printf(&reply->body, "]}");
}

static void
sqs_delete(const Request *request, Reply *reply)
{
	char	   *at = request->body;
	char	   *value;
	size_t		len;
	int			count = 0;

	buffer_printf(&reply->headers, AWS_JSON);
	buffer_printf(&reply->body, "{\"Successful\":[");
	while ((value = next_text(&at, "\"ReceiptHandle\"", &len)) != NULL)
		queue_settle(atol(value));
	at = request->body;
	while ((value = next_text(&at, "\"Id\"", &len)) != NULL)
		buffer_printf(&reply->body, "%s{\"Id\":\"%.*s\"}", count++ > 0 ? "," : "", (int) len, value);
	buffer_printf(&reply->body, "]}");
}

static Receive
sqs_answer(const Request *request, Reply *reply)
{
	const char *action = strchr(request->target, '.') + 1;

	if (strcmp(action, "ReceiveMessage") == 0)
		return (Receive) {
			sqs_hand_out, (int) services_number(request->body, "MaxNumberOfMessages", 1),
				services_number(request->body, "WaitTimeSeconds", 0)
		};
	if (strcmp(action, "DeleteMessageBatch") == 0)
		sqs_delete(request, reply);
	else
		reply->status = 400;
	return (Receive) {0};
}

/* ----- Azure Service Bus ----- */

static void
bus_hand_out(Reply *reply, long first, int count)
{
	const char *body;

	reply->status = count > 0 ? 201 : 204;
	if (count == 0)
		return;
	buffer_printf(&reply->headers, "BrokerProperties: {\"DeliveryCount\":1,\"LockToken\":\"" LOCK_FORMAT "\","
				  "\"SequenceNumber\":%ld,\"State\":\"Active\"}\r\n", first, first);
	body = message_text(first);
	buffer_put(&reply->body, body, strlen(body));
}

/* /entity/messages/head?timeout=20, or /entity/messages/number/lock */
static Receive
bus_answer(const Request *request, Reply *reply)
{
	const char *place = strstr(request->path, "/messages/") + strlen("/messages/");

	if (strcmp(place, "head") == 0)
		return (Receive) {bus_hand_out, 1, services_number(request->query, "timeout", 60)};
	reply->status = 200;
	if (strcmp(request->method, "DELETE") == 0)
		queue_settle(atol(place));
	return (Receive) {0};
}

/* ----- Azure Event Grid ----- */

static void
put_event(Buffer *out, const char *members, long number, const char *data)
{
	buffer_printf(out, "{%s,\"id\":\"" LOCK_FORMAT "\",\"data\":%s}", members, number, data);
}

static void
grid_hand_out(Reply *reply, long first, int count)
{
	buffer_printf(&reply->headers, JSON);
	buffer_printf(&reply->body, "{\"value\":[");
	for (long number = first; number < first + count; number++)
	{
		buffer_printf(&reply->body, "%s{\"brokerProperties\":{\"lockToken\":\"%ld\",\"deliveryCount\":1},\"event\":",
					  number > first ? "," : "", number);
		put_event(&reply->body, "\"specversion\":\"1.0\",\"source\":\"/bench\",\"type\":\"Damoov.Notification\"",
				  number, message_text(number));
		buffer_put(&reply->body, "}", 1);
	}
	buffer_printf(&reply->body, "]}");
}

/* Acknowledges the lock tokens of {"lockTokens":["1","2"]}. */
static void
grid_acknowledge(const Request *request, Reply *reply)
{
	const char *tokens = strchr(request->body, '[');
	size_t		len = tokens ? strcspn(tokens, "]") : 0;

	for (const char *at = tokens; at && at < tokens + len; at++)
	{
		if (*at == '"' && isdigit((unsigned char) at[1]))
			queue_settle(atol(at + 1));
	}
	buffer_printf(&reply->headers, JSON);
	buffer_printf(&reply->body, "{\"failedLockTokens\":[],\"succeededLockTokens\":%.*s]}",
				  len ? (int) len : 1, len ? tokens : "[");
}

/* /topics/name/eventsubscriptions/name:operation */
static Receive
grid_answer(const Request *request, Reply *reply)
{
	const char *operation = strrchr(request->path, ':');

	if (operation && strcmp(operation, ":receive") == 0)
		return (Receive) {
			grid_hand_out, (int) services_number(request->query, "maxEvents", 1),
				services_number(request->query, "maxWaitTime", 60)
		};
	grid_acknowledge(request, reply);
	return (Receive) {0};
}

/* ----- Azure Storage queues ----- */

/* A message is an event of a custom topic, in base64. */
static void
put_storage_text(Buffer *out, long number)
{
	static Buffer event;
	static Buffer encoded;

	event.len = encoded.len = 0;
	put_event(&event, "\"subject\":\"telematics\",\"eventType\":\"Damoov.Notification\",\"dataVersion\":\"1.0\","
			  "\"metadataVersion\":\"1\",\"eventTime\":\"2026-03-01T08:00:00.1234567Z\",\"topic\":\"/bench\"",
			  number, message_text(number));
	while (encoded.room < event.len * 2)
		buffer_put(&encoded, event.data, event.len);
	encoded.len = EVP_EncodeBlock((unsigned char *) encoded.data, (unsigned char *) event.data, (int) event.len);
	buffer_put(out, encoded.data, encoded.len);
}

static void
storage_hand_out(Reply *reply, long first, int count)
{
	buffer_printf(&reply->headers, XML);
	buffer_printf(&reply->body, "<?xml version=\"1.0\" encoding=\"utf-8\"?><QueueMessagesList>");
	for (long number = first; number < first + count; number++)
	{
		buffer_printf(&reply->body, "<QueueMessage><MessageId>" LOCK_FORMAT "</MessageId>"
					  "<PopReceipt>%ld</PopReceipt><DequeueCount>1</DequeueCount><MessageText>", number, number);
		put_storage_text(&reply->body, number);
		buffer_printf(&reply->body, "</MessageText></QueueMessage>");
	}
	buffer_printf(&reply->body, "</QueueMessagesList>");
}

/* There is no long poll. */
static Receive
storage_answer(const Request *request, Reply *reply)
{
	if (strcmp(request->method, "GET") == 0)
		return (Receive) {storage_hand_out, (int) services_number(request->query, "numofmessages", 1), 0};
	reply->status = 204;
	if (strcmp(request->method, "DELETE") == 0)
		queue_settle((long) services_number(request->query, "popreceipt", -1));
	return (Receive) {0};
}

/* ----- the platform ----- */

static const struct
{
	const char *path;
	const char *kind;
}			addresses[] = {
	{"/mobilesdk/stage/track/get_track/", "processed"},
	{"/mobilesdk/incoming/incoming/tracks/received/", "raw"},
	{"/api/drivingevents/get/v1/Accidents/extras/received/", "crash_buffer"},
	{"/api/drivingevents/get/v1/Accidents/received/", "crash"},
};

/* The last UUID of a text, or NULL. */
static const char *
find_uuid(const char *in)
{
	for (long start = (long) strlen(in) - UUID_LEN; start >= 0; start--)
	{
		const char *at = in + start;

		if (at[8] == '-' && at[13] == '-' && at[18] == '-' && at[23] == '-')
			return at;
	}
	return NULL;
}

static bool
dataset_answer(const Request *request, Reply *reply)
{
	const char *object = find_uuid(request->query);

	if (object == NULL)
		object = find_uuid(request->path);
	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++)
	{
		if (strncmp(request->path, addresses[i].path, strlen(addresses[i].path)) != 0)
			continue;
		if (strlen(request->device_token) != UUID_LEN)
			reply->status = 401;
		else if (object == NULL || !dataset_write(&reply->body, addresses[i].kind, object, request->device_token))
			reply->status = 404;
		else
			queue_count_dataset();
		buffer_printf(&reply->headers, JSON "Content-Encoding: gzip\r\n");
		return true;
	}
	return false;
}

/* ----- all of them ----- */

Receive
services_answer(const Request *request, Reply *reply)
{
	reply->status = 200;
	if (strncmp(request->target, "AmazonSQS.", 10) == 0)
		return sqs_answer(request, reply);
	if (strncmp(request->path, "/bus/messages/", 14) == 0)
		return bus_answer(request, reply);
	if (strncmp(request->path, "/topics/", 8) == 0)
		return grid_answer(request, reply);
	if (strncmp(request->path, "/storage/", 9) == 0)
		return storage_answer(request, reply);
	if (!dataset_answer(request, reply))
		reply->status = 404;
	return (Receive) {0};
}
