/*
 * source_list.h
 *	  The sources that a session polls: those that exist, and of several workers
 *	  each its own.
 */
#ifndef DAMOOV_SOURCE_LIST_H
#define DAMOOV_SOURCE_LIST_H

#include "nodes/pg_list.h"

struct HttpClient;

/*
 * Returns the list (Source *) with those that are new, in this context; notes
 * which are gone, and which another worker asks from now on.  only: the name of
 * the one that is wanted, or NULL.  Inside a transaction.
 */
extern List *source_list_update(List *sources, MemoryContext context, struct HttpClient *http,
								const char *only);

/*
 * Returns it without those that are gone or another worker's, once all that they
 * have received is stored and settled.
 */
extern List *source_list_tidy(List *sources);

#endif							/* DAMOOV_SOURCE_LIST_H */
