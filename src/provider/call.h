/*
 * call.h
 *	  One call of a provider over HTTP: what all providers have in common.
 *
 * A provider describes its service in a table: how each purpose is asked for,
 * how requests are signed, what its errors mean.  A call is sent, sent again
 * when the service has told the right time or there are other credentials, and
 * ends in the functions of source.h or in a finding.
 *
 * A call lives in a context of its own below its source, with its request.
 * When the source goes, the request is broken off and nothing calls back.  A
 * delivery counts its calls, and is not given back before the last has ended.
 */
#ifndef DAMOOV_CALL_H
#define DAMOOV_CALL_H

#include "base/fault.h"
#include "provider/finding.h"
#include "provider/source.h"
#include "wire/http.h"

typedef enum CallPurpose
{
	CALL_RECEIVE,
	CALL_SETTLE,
	CALL_RENEW,
	CALL_RELEASE,
	CALL_MEASURE,
	CALL_CHECK,
	CALL_PURPOSES
} CallPurpose;

typedef struct Call Call;

/* How one purpose is asked for. */
typedef struct Operation
{
	const char *method;			/* NULL: the service does not do this */
	const char *path;			/* behind the provider's own, or an action */
	const char *query;

	/*
	 * Completes path, query and body; runs before each sending, with the
	 * options as they are then.  NULL: there is nothing to complete.
	 */
	void		(*prepare) (Call *call);

	/*
	 * Reads the reply to a success; of a check, any reply.  False when it
	 * cannot be understood, or is the error that its status says.  NULL:
	 * nothing has to be read.
	 */
	bool		(*answered) (Call *call);
} Operation;

struct Call
{
	Source	   *source;
	CallPurpose purpose;
	Delivery   *delivery;		/* what is settled, renewed or released */
	SourceMessage *message;		/* of a service that is asked for one at a time */
	Findings   *findings;		/* of a check */
	MemoryContext context;		/* current in all functions of the provider */

	/* what is asked */
	const char *method;
	const char *path;
	const char *query;
	const char *body;			/* NULL: none, or one of no bytes */
	int			wait_seconds;	/* of a receive: to wait so long, */
	int			asked;			/* for so many messages, */
	int			lease_seconds;	/* which are ours so long */
	int			max_receives;	/* a message that came more often is poison */

	/* what is answered */
	HttpRequest *request;
	int64		backlog;		/* to a measure, -1: nothing */
	const char *code;			/* of an error, "" if none */

	/* private to call.c */
	int			credentials;	/* number of those it was sent with */
	int			refusals;
	bool		corrected;		/* repeated with the service's time */
};

/* What an error means; the first row that fits does. */
typedef struct ServiceError
{
	int			status;			/* 0: any */
	const char *code;			/* NULL: any */
	Trouble		trouble;
	const char *words;			/* NULL: end of list */
} ServiceError;

typedef struct Service
{
	Provider	provider;		/* its functions are CALL_FUNCTIONS */
	Operation	operations[CALL_PURPOSES];
	const ServiceError *errors;
	bool		codes_in_text;	/* codes are searched for in the text of the reply */
	int			at_once;		/* calls for one message each that are in flight
								 * for a delivery; 0: one call for all */
	Size		max_reply;
	int			answer_ms;		/* beyond the wait of a receive */
	int			throttled_seconds;	/* to wait when the service does not say */

	const char *(*url) (Call *call);

	/* Adds the headers that the service wants; NULL: none. */
	void		(*sign) (Call *call, HttpRequest *request);

	/* Code and name of a request that failed; NULL: those of the headers. */
	void		(*read_error) (const HttpRequest *request, const char **code,
							   const char **request_id);

	/* Is a message not ours any more?  Then there is nothing left to be done. */
	bool		(*is_lost) (const Call *call);
} Service;

extern void call_receive(Source *source, int wait_seconds);
extern void call_settle(Delivery *delivery);
extern void call_renew(Delivery *delivery);
extern void call_release(Delivery *delivery);
extern void call_measure(Source *source);
extern void call_check(Source *source);

/* Reads how many messages wait, a number that ends in this character; false when it is none. */
extern bool call_read_backlog(Call *call, const char *number, char end);

/* The functions of a provider that is the first member of a Service. */
#define CALL_FUNCTIONS \
	.receive = call_receive, .settle = call_settle, .renew = call_renew, \
	.release = call_release, .measure = call_measure, .check = call_check

#endif							/* DAMOOV_CALL_H */
