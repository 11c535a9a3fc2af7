/*
 * wakeup.h
 *	  Which worker serves which database, and waking it.
 */
#ifndef DAMOOV_WAKEUP_H
#define DAMOOV_WAKEUP_H

/* While preloading: asks for the shared memory. */
extern void wakeup_init(void);

/* Makes this process the worker of its database until it exits. */
extern void wakeup_register_worker(void);

/*
 * Wakes this database's worker once the current transaction has committed:
 * something was stored that it may have to fetch.
 */
extern void wakeup_at_commit(void);

#endif							/* DAMOOV_WAKEUP_H */
