/*
 * wakeup.h
 *	  Which workers serve which database, why one does not, how they share its
 *	  sources, and waking them.
 */
#ifndef DAMOOV_WAKEUP_H
#define DAMOOV_WAKEUP_H

/* While preloading: asks for the shared memory. */
extern void wakeup_init(void);

/* This process is the launcher until it exits. */
extern void wakeup_register_launcher(void);

/* This worker of a database, they are numbered from 1, does not run, and why. */
extern void wakeup_report(const char *database, int number, const char *problem);

/* A worker has ended, and nothing is left of its process: the others take over. */
extern void wakeup_report_end(const char *database);

/* How many workers of all databases have ended so. */
extern uint32 wakeup_ends(void);

/*
 * What ends this process from now on is reported as the problem of this worker
 * of the database, whose name has to stay.
 */
extern void wakeup_worker_starts(const char *database, int number);

/* Makes this process that worker until it exits. */
extern void wakeup_register_worker(void);

/*
 * Is this session to receive from a source?  rank: its place among the sources of
 * the database, from 0.  A worker shares them with the others that run, and helps
 * with one that another has called for help with; who is no worker may ask any.
 */
extern bool wakeup_is_my_share(Oid source, int rank);

/* Calls the other workers to help with this source; InvalidOid: no longer. */
extern void wakeup_call_for_help(Oid source);

/*
 * Wakes this database's workers once the current transaction has committed:
 * something was stored that they may have to fetch.
 */
extern void wakeup_at_commit(void);

#endif							/* DAMOOV_WAKEUP_H */
