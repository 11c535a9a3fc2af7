/*
 * wakeup.h
 *	  Which worker serves which database, why none does, and waking it.
 */
#ifndef DAMOOV_WAKEUP_H
#define DAMOOV_WAKEUP_H

/* While preloading: asks for the shared memory. */
extern void wakeup_init(void);

/* This process is the launcher until it exits. */
extern void wakeup_register_launcher(void);

/* No worker of this database runs, and why. */
extern void wakeup_report(const char *database, const char *problem);

/*
 * What ends this process from now on is reported as the problem of the
 * database, whose name has to stay.
 */
extern void wakeup_worker_starts(const char *database);

/* Makes this process the worker of its database until it exits. */
extern void wakeup_register_worker(const char *database);

/*
 * Wakes this database's worker once the current transaction has committed:
 * something was stored that it may have to fetch.
 */
extern void wakeup_at_commit(void);

#endif							/* DAMOOV_WAKEUP_H */
