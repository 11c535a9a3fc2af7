/*
 * fetch.h
 *	  One dataset over the network: which address is asked for it, and the
 *	  answer.
 */
#ifndef DAMOOV_FETCH_H
#define DAMOOV_FETCH_H

#include "base/fault.h"
#include "dataset/dataset.h"
#include "wire/http.h"
#include "wire/storage.h"

typedef struct Fetch
{
	/* set by the caller */
	MemoryContext context;		/* holds all below; outlives the request */
	HttpClient *http;
	int64	   *clock_offset_s; /* the stores' clock minus ours: learnt here */
	Dataset		dataset;		/* with its kind, object and device token */

	/* the address */
	char	   *url;			/* NULL: not decided, or refused */
	bool		private_allowed;
	Storage    *storage;		/* NULL: from the platform */

	HttpRequest *request;		/* NULL: none in flight */
	bool		again;			/* sent again with the region or clock that the store told */

	/*
	 * The answer.  The dataset has a document when the status is 200, unless
	 * it arrived damaged, and content when it could be read, too.  An object
	 * of a bucket is not read: see object.h.
	 */
	bool		answered;
	int			status;			/* 0: none */
	int			retry_after_s;
	Fault		fault;			/* why there is no dataset */
} Fetch;

/*
 * Decides the address, by what a notification told (NULL: nothing) and the api
 * server of the source.  If it is not allowed, the fetch counts as answered,
 * with the fault.  Needs a transaction.
 */
extern void fetch_find(Fetch *fetch, const char *source, const char *url);

/* Sends the request; the answer comes while the caller waits with http_wait(). */
extern void fetch_send(Fetch *fetch);

/* Breaks the request off, if any, and wipes the token; the context is the caller's. */
extern void fetch_end(Fetch *fetch);

#endif							/* DAMOOV_FETCH_H */
