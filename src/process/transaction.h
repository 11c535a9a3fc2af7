/*
 * transaction.h
 *	  How the engine runs a transaction: the same way in the worker and in a
 *	  procedure.
 */
#ifndef DAMOOV_TRANSACTION_H
#define DAMOOV_TRANSACTION_H

#include "base/fault.h"

/*
 * How a process runs transactions.  After begin() one is open, in which nothing
 * was done.  commit() may throw.  recover() is called in place of what is left of
 * the two when something was thrown: by commit(), or because the session was
 * cancelled.  It ends the transaction if that is still open; false: the error is
 * to be thrown on.
 */
typedef struct TransactionHost
{
	void		(*begin) (void);
	void		(*commit) (void);
	bool		(*recover) (bool committing);
} TransactionHost;

/* In a procedure that SPI_connect_ext() was told of: SPI_OPT_NONATOMIC. */
extern const TransactionHost transaction_of_procedure;

/*
 * Runs the step in a transaction of its own, READ COMMITTED, in which nothing waits
 * longer for a lock than half a second.  False, with the fault, when nothing of it
 * is kept; the process can go on.  Only when a procedure is cancelled the error is
 * thrown on.
 */
extern bool transaction_run(const TransactionHost *host, void (*step) (void *argument),
							void *argument, Fault *fault);

#endif							/* DAMOOV_TRANSACTION_H */
