/*
 * source.h
 *	  A source of messages, and the interface of its provider.
 *
 * A provider knows how to receive, settle and release messages of one kind of
 * queue.  It knows nothing of tables; what it delivers is stored by others and
 * settled only after the commit.  Nothing here speaks HTTP, so that a provider
 * of another protocol could stand beside the others.
 *
 * A provider keeps what it has under way in contexts below that of the source.
 * A source that is freed takes it along: nothing calls back any more.
 */
#ifndef DAMOOV_SOURCE_H
#define DAMOOV_SOURCE_H

#include "base/fault.h"
#include "base/options.h"
#include "datatype/timestamp.h"
#include "foreign/foreign.h"
#include "nodes/pg_list.h"
#include "pgtime.h"
#include "provider/finding.h"

struct HttpClient;
struct Identity;
struct IdentityWay;
struct Token;

typedef struct Source Source;

typedef struct SourceMessage
{
	char	   *handle;			/* what the provider settles it by */
	char	   *body;
	Size		body_len;
	bool		settled;		/* nothing is to be done with it any more */
	Fault		fault;			/* set: not to be read, but quarantined */

	/* of inbox.c */
	bool		storing;		/* stored by the open transaction */
	bool		fresh;			/* ... and new */
	bool		blamed;			/* ... as what cannot be stored */
	bool		stored;			/* committed, to be settled */
	int			together;		/* it may be stored with so many at most, 0: with all */
	int			attempts;		/* to store it by itself, that failed */
	int64		due_ms;			/* not to be stored before, monotonic clock */
	int			sqlstate;		/* of the last failure */
	int64		stored_before;	/* its first failure: see Source.stored */
} SourceMessage;

/* The messages of one receive; freed together. */
typedef struct Delivery
{
	Source	   *source;
	MemoryContext context;		/* holds this struct and everything below */
	int			count;
	int			room;
	Size		bytes;			/* of all bodies */
	int64		received_ms;	/* monotonic clock */
	SourceMessage *messages;
	int			attempts;		/* to settle it */
	int64		settle_at_ms;	/* not before, monotonic clock */
	int			lease_seconds;	/* 0: not to be renewed */
	int64		renew_at_ms;	/* its lease needs renewal then, 0: never */
	bool		renewing;		/* a renewal is in flight */

	/* of its provider */
	int			calls;			/* in flight */
	int			at;				/* the last message that was asked for */
	const char *problem;		/* with one of them, or NULL */
} Delivery;

typedef struct Provider
{
	const char *type;			/* TYPE of its foreign servers */
	const struct IdentityWay *ways; /* to credentials that are asked for */
	const char *audience;		/* of a bearer token, or NULL */

	/* Reads the options into source->config; false with the fault filled. */
	bool		(*configure) (Source *source, const ServerOptions *options, Fault *fault);

	/* Starts one receive; it ends in source_received() or source_failed(). */
	void		(*receive) (Source *source, int wait_seconds);

	/* Starts settling what is not settled yet; ends in source_settled(). */
	void		(*settle) (Delivery *delivery);

	/* Gives messages back at once instead of letting their lease run out. */
	void		(*release) (Delivery *delivery);

	/*
	 * Extends the lease of messages that could not be stored yet; ends in
	 * source_renewed().  Called only for a delivery with renew_at_ms.
	 */
	void		(*renew) (Delivery *delivery);

	/* Asks how many messages wait; ends in source_measured(). */
	void		(*measure) (Source *source);

	/* Fills source->findings without taking a message, and sets its "done". */
	void		(*check) (Source *source);
} Provider;

typedef enum SourceState
{
	SOURCE_NEW,					/* not asked yet */
	SOURCE_POLLING,
	SOURCE_RETRYING,
	SOURCE_AUTH_FAILED,
	SOURCE_MISCONFIGURED,
	SOURCE_PAUSED
} SourceState;

struct Source
{
	Oid			server;			/* whose state it is, whatever its name */
	char	   *name;
	MemoryContext context;		/* of the source itself */
	MemoryContext receive_context;	/* of receives in flight */
	const Provider *provider;	/* NULL: none for its server's TYPE */
	struct HttpClient *http;

	/* the options, replaced as a whole when one of them changes */
	MemoryContext config_context;
	void	   *config;			/* the provider's own */
	struct Identity *identity;	/* credentials that are asked for, or NULL */
	struct Token *token;		/* the provider's own, or NULL */
	int			wait_seconds;
	int			min_wait_seconds;	/* the service ends no receive before, 0: any time */
	int			max_receives;	/* in flight while messages come; one when idle */
	int			pause_min_ms;	/* after an empty receive, doubling: for a */
	int			pause_max_ms;	/* queue without long poll; 0: none */
	char		fingerprint[65];	/* of all options and secrets */
	bool		configured;
	bool		option_paused;	/* option "paused" */
	bool		looked;			/* is it paused?  That was read */
	char	   *pause_reason;	/* while it is, or NULL */
	Findings   *findings;		/* of a check, or NULL */

	/* what it is doing */
	SourceState state;
	int			receiving;		/* receives in flight */
	bool		authorizing;	/* credentials are being asked for */
	int			settling;		/* settlements in flight */
	bool		measuring;		/* it is being asked how many messages wait */
	bool		crowded;		/* it stays full: others may help */
	int64		busy_since_ms;	/* monotonic clock; 0: it is not */
	int64		measure_at_ms;	/* not before, monotonic clock */
	List	   *inbox;			/* Delivery *: received, not all stored */
	List	   *outbox;			/* Delivery *: stored, to be settled */
	bool		busy;			/* the last receive was full: ask for more */
	bool		drained;		/* an empty receive was answered */
	int			failures;		/* in a row */
	int64		retry_at_ms;	/* no receive before, monotonic clock */
	int			pause_ms;		/* the last one */
	int64		pause_until_ms; /* no receive before: the queue was empty */
	bool		unstored;		/* something that came could not be stored yet */
	int64		stored;			/* messages, so far, that were new */
	int			blamed;			/* SQLSTATE of the last message that went to the quarantine
								 * alone, 0: others were stored since */
	int64		clock_offset_s; /* the provider's clock minus ours */
	bool		gone;			/* its server was dropped */
	bool		left;			/* to another worker */

	/* what damoov.sources should say */
	bool		status_changed;
	char	   *error;			/* NULL: none */
	TimestampTz error_at;
	TimestampTz last_poll_at;
	TimestampTz last_message_at;
	int64		backlog;		/* messages that waited, about; -1: not known */
	TimestampTz backlog_at;
	TimestampTz retry_at;
	int64		status_written_ms;	/* monotonic clock */
	TimestampTz status_poll_at; /* last_poll_at as written */
};

/* ----- called by the engine ----- */

extern Source *source_create(MemoryContext context, struct HttpClient *http,
							 const ForeignServer *server, const Provider *provider);

/* Its server may have got another name. */
extern void source_rename(Source *source, const char *name);

/* Breaks off what is in flight; see source_is_quiet(). */
extern void source_free(Source *source);

/*
 * Ends the long poll of a source that is paused or gone, which would take what
 * comes meanwhile.  Receives that bring messages are awaited.
 */
extern void source_break_off(Source *source);

/* Is nothing in flight or waiting to be settled?  See inbox_is_quiet(), too. */
extern bool source_is_quiet(const Source *source);

/*
 * Reads the options anew; needs a transaction.  What is wrong with them
 * becomes the source's error.
 */
extern void source_configure(Source *source);

/* The same for what is wrong with something else that the source needs. */
extern void source_refuse(Source *source, const Fault *fault);

/* The same without a trace in the log or the state; false with the fault filled. */
extern bool source_try_configure(Source *source, Fault *fault);

/*
 * Asks a source that has been busy for a while how many messages wait, and
 * again from time to time.
 */
extern void source_measure_due(Source *source, int64 now_ms);

/* Is a server of this TYPE (may be NULL) polled for messages? */
extern bool source_is_polled(const char *type);

/* Has the provider look at its queue; asks for credentials first if it needs them. */
extern void source_check(Source *source, Findings *findings);

extern void source_set_paused(Source *source, bool paused);

/* Asks for credentials when that is due. */
extern void source_authorize(Source *source, int64 now_ms);

/* May another receive be started now? */
extern bool source_may_receive(const Source *source, int64 now_ms);
extern void source_receive(Source *source, int wait_seconds);

/* Settles what is due in the outbox; drops what was tried too often. */
extern void source_settle_due(Source *source, int64 now_ms);

/* Renews leases of what waits in the inbox. */
extern void source_renew_due(Source *source, int64 now_ms);

/* When something is due without anything happening on the wire, or max_ms. */
extern int64 source_due_ms(const Source *source, int64 now_ms, int64 max_ms);

/* Gives back what was received and not stored. */
extern void source_release(Source *source);

/* Something that was received could not be stored; it is kept and tried again. */
extern void source_store_failed(Source *source, const char *problem);

/* All of that is stored now. */
extern void source_stores_again(Source *source);

/* Puts a delivery in line to be settled that has left the inbox. */
extern void source_line_up(Delivery *delivery);

/* ----- called by providers ----- */

/* Can requests be made?  The options may have changed meanwhile. */
extern bool source_is_usable(const Source *source);

/* lease_seconds 0: it is not to be renewed. */
extern Delivery *source_delivery(Source *source, int lease_seconds);

/*
 * The next message that is not settled yet, or NULL; at is its place, and that
 * of the one before, -1 to begin with.
 */
extern SourceMessage *source_unsettled(const Delivery *delivery, int *at);

/*
 * Adds a message, of which everything is copied; another one may move it.
 * NULL: body or handle is missing; what cannot be settled is left in the
 * queue, and the log says so.
 */
extern SourceMessage *source_message(Delivery *delivery, const char *handle,
									 const char *body, Size body_len);

extern void source_received(Source *source, Delivery *delivery, bool full);

/* -1: it could not be learnt. */
extern void source_measured(Source *source, int64 backlog);

extern void source_failed(Source *source, Trouble trouble,
						  int retry_after_s, const Fault *fault);
extern void source_settled(Delivery *delivery, const char *problem);
extern void source_released(Delivery *delivery);

/* Renewed or, when it failed, to be tried again while the lease still holds. */
extern void source_renewed(Delivery *delivery, bool failed);

/*
 * Learns from a reply's date how far our clock is off; true when it was off by
 * more than a minute from what was known, so that signing again is worth a try.
 */
extern bool source_correct_clock(Source *source, pg_time_t date);

/* Our time, corrected by what is known of the provider's clock. */
extern pg_time_t source_time(const Source *source);

extern const char *source_state_name(SourceState state);

#endif							/* DAMOOV_SOURCE_H */
