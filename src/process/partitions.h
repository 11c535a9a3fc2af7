/*
 * partitions.h
 *	  Partitions of points and events, made before they are needed.
 */
#ifndef DAMOOV_PARTITIONS_H
#define DAMOOV_PARTITIONS_H

#include "process/transaction.h"

/*
 * Makes what is missing, in a transaction of its own, when it has not been
 * looked at for a while.  Without partitions storing goes on: a failure is said
 * in the log, and no more.
 */
extern void partitions_make_due(const TransactionHost *host);

#endif							/* DAMOOV_PARTITIONS_H */
