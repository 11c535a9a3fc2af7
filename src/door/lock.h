/*
 * lock.h
 *	  The locks of storing: all that a transaction needs, up front and in one
 *	  order, so that what is decided afterwards is decided by what is committed,
 *	  and nobody waits in a circle.
 */
#ifndef DAMOOV_LOCK_H
#define DAMOOV_LOCK_H

#include "nodes/pg_list.h"
#include "utils/uuid.h"

/* Is the extension there?  If so, it stays until the transaction ends. */
extern bool lock_extension(void);

/*
 * Locks, until the end of the transaction, what these ids (pg_uuid_t *) stand
 * for: tracks, crashes, objects of a bucket, and persons, by their device
 * tokens.  No ids are right for what is written about no object.
 *
 * Before that it takes, together with others who store, the lock that keeps
 * storing and forgetting apart: whoever forgets a person, alone, then meets no
 * transaction that is half-way.
 *
 * Before anything is read that a decision depends on, and before a row is
 * locked or written; between sql_enter() and sql_leave().  Raises 25000 where
 * what was committed meanwhile would not be seen, see sql_need_read_committed().
 */
extern void lock_for_storing(const List *ids);

#endif							/* DAMOOV_LOCK_H */
