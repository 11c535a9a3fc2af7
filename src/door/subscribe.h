/*
 * subscribe.h
 *	  Confirming subscriptions to SNS topics that push to us.
 */
#ifndef DAMOOV_SUBSCRIBE_H
#define DAMOOV_SUBSCRIBE_H

#include "wire/http.h"

typedef struct Subscriptions Subscriptions;

extern Subscriptions *subscriptions_create(MemoryContext context, HttpClient *http);

/* Leases one that is due, if none is at work; needs a transaction. */
extern void subscriptions_pick(Subscriptions *subscriptions);

/* Asks SNS to confirm what was leased by a transaction that has committed. */
extern void subscriptions_start(Subscriptions *subscriptions);

/* Writes what SNS said; needs a transaction. */
extern bool subscriptions_have_answer(const Subscriptions *subscriptions);
extern void subscriptions_store(Subscriptions *subscriptions);

/* After a commit; true when there was something. */
extern bool subscriptions_forget_stored(Subscriptions *subscriptions);

/* After a rollback: what it leased is not leased. */
extern void subscriptions_forget_unstarted(Subscriptions *subscriptions);

/* Nothing is at work, and nothing more was due. */
extern bool subscriptions_are_quiet(const Subscriptions *subscriptions);

#endif							/* DAMOOV_SUBSCRIBE_H */
