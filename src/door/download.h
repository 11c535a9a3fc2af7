/*
 * download.h
 *	  Leases of downloads: from rows of damoov.downloads to typed rows.
 */
#ifndef DAMOOV_DOWNLOAD_H
#define DAMOOV_DOWNLOAD_H

#include "nodes/pg_list.h"

#include "dataset/dataset.h"
#include "wire/http.h"

/* What one session has under way; lives in the context given. */
typedef struct Downloads Downloads;

extern Downloads *downloads_create(MemoryContext context, HttpClient *http);

/* Fetches under way, and answers that wait to be stored. */
extern int	downloads_in_flight(const Downloads *downloads);

/* When one of those answers may be stored, by clock_ms(); PG_INT64_MAX: there is none. */
extern int64 downloads_store_due_ms(const Downloads *downloads);

/*
 * Leases due rows while there is room.  Inside a transaction; the requests
 * start with downloads_start() after its commit, or are forgotten with it.
 */
extern void downloads_pick(Downloads *downloads);

/* Forgets what downloads_pick() has leased when that was rolled back. */
extern void downloads_unpick(Downloads *downloads);

extern void downloads_start(Downloads *downloads);

/*
 * Appends what has to be locked to store the answers that are here, like
 * ingest_ids(); downloads_store() locks it, too, but for one after the other.
 */
extern List *downloads_ids(List *ids, Downloads *downloads);

/*
 * Stores all answers that are here, or reschedules what failed, each by itself:
 * why one cannot be stored is entered into its row.  Inside a transaction.  False:
 * one had to wait in vain, for a lock perhaps, and those behind it are left for
 * the next transaction.
 */
extern bool downloads_store(Downloads *downloads);

/* The transaction has ended: what it has leased and stored is so now, or is not. */
extern void downloads_end(Downloads *downloads, bool committed);

/*
 * When downloads_pick() should be called again, by clock_ms(); far in
 * the future when no row waits or there is no room.
 */
extern int64 downloads_due_ms(const Downloads *downloads);

/*
 * Called when a dataset has been stored that was requested at this version of
 * its row: deletes the row, or makes it due again at once if something newer
 * was announced since.  Between sql_enter() and sql_leave().
 */
extern void downloads_finish(DatasetKind kind, const pg_uuid_t *object_id, int64 version);

/* Datasets that have been stored and committed so far. */
extern int64 downloads_stored(const Downloads *downloads);

/* Gives the leases of what is in flight back; inside a transaction. */
extern void downloads_release(Downloads *downloads);

#endif							/* DAMOOV_DOWNLOAD_H */
