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
extern bool downloads_have_answers(const Downloads *downloads);

/*
 * Leases due rows while there is room.  Inside a transaction; the requests
 * start with downloads_start() after its commit, or are forgotten with it.
 */
extern void downloads_pick(Downloads *downloads);
extern void downloads_start(Downloads *downloads);
extern void downloads_forget_unstarted(Downloads *downloads);

/*
 * Appends what has to be locked to store the answers that are here, like
 * ingest_ids(); downloads_store() locks it, too.
 */
extern List *downloads_ids(List *ids, Downloads *downloads);

/*
 * Stores all answers that are here, or reschedules what failed.  Inside a
 * transaction; when it is rolled back, call again: the answers are kept until
 * downloads_forget_stored() after the commit.
 */
extern void downloads_store(Downloads *downloads);
extern void downloads_forget_stored(Downloads *downloads);

/*
 * When downloads_pick() should be called again, by clock_ms(); far in
 * the future when no row waits or there is no room.
 */
extern int64 downloads_due_ms(const Downloads *downloads);

/*
 * A dataset was stored that was asked for at this version of its row: that
 * goes when nothing newer was announced since, else it is due again at once.
 * Between sql_enter() and sql_leave().
 */
extern void downloads_finish(DatasetKind kind, const pg_uuid_t *object_id, int64 version);

/* Gives the leases of what is in flight back; inside a transaction. */
extern void downloads_release(Downloads *downloads);

#endif							/* DAMOOV_DOWNLOAD_H */
