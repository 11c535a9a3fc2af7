/*
 * poll.h
 *	  The engine: receive, store, settle, fetch; for the worker and for
 *	  CALL damoov_poll().
 */
#ifndef DAMOOV_POLL_H
#define DAMOOV_POLL_H

#include "process/tally.h"
#include "process/transaction.h"

typedef struct Poll Poll;

/* only_source NULL: all sources.  Lives in context. */
extern Poll *poll_create(MemoryContext context, const char *only_source, const TransactionHost *host);

/*
 * Runs one turn: starts what is due, waits at most max_wait_ms for something
 * to happen, stores what came, settles what is stored.
 */
extern void poll_turn(Poll *poll, long max_wait_ms);

/* What was done since the last call. */
extern Tally poll_tally(Poll *poll);

/*
 * Gives back what is received and not stored, and lets settlements in flight
 * end; takes half a second at most.
 */
extern void poll_give_back(Poll *poll);

#endif							/* DAMOOV_POLL_H */
