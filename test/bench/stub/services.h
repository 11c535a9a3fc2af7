/*
 * services.h
 *	  The services that the stub plays: Amazon SQS, Azure Service Bus, Event
 *	  Grid and Storage queues, and the platform that datasets come from.
 *
 * All queues are the same one (see queue.h) in another dialect.  Signatures are
 * not verified: what is measured is the client.
 */
#ifndef SERVICES_H
#define SERVICES_H

#include <stdbool.h>

#include "buffer.h"

typedef struct Request
{
	const char *method;
	const char *path;
	const char *query;			/* "" if there is none */
	const char *target;			/* headers: X-Amz-Target, or "" */
	const char *device_token;	/* DeviceToken, or "" */
	char	   *body;
} Request;

typedef struct Reply
{
	int			status;
	Buffer		headers;		/* lines of further headers */
	Buffer		body;
} Reply;

/* How messages are handed out, beginning with this one; none: an empty receive. */
typedef void (*HandOut) (Reply *reply, long first, int count);

/* A receive: it may wait until there is a message. */
typedef struct Receive
{
	HandOut		hand_out;		/* NULL: the request was none, and is answered */
	int			max;
	double		wait_seconds;
} Receive;

extern Receive services_answer(const Request *request, Reply *reply);

/* The number behind a name in a text, such as a query or a document. */
extern double services_number(const char *text, const char *name, double otherwise);

#endif							/* SERVICES_H */
