/*
 * worker.h
 *	  The background worker of one database.
 */
#ifndef DAMOOV_WORKER_H
#define DAMOOV_WORKER_H

#include "postmaster/bgworker.h"

/* Describes the worker of a database, to be started by the launcher. */
extern void worker_describe(BackgroundWorker *worker, const char *database, int number,
							const char *role);

#endif							/* DAMOOV_WORKER_H */
