/*
 * track.h
 *	  Processed tracks: bytes to checked values, and those to rows.
 */
#ifndef DAMOOV_TRACK_H
#define DAMOOV_TRACK_H

#include "utils/uuid.h"

#include "dataset/record.h"
#include "dataset/trip_document.h"

/*
 * What cannot be used of a processed track is NULL and noted; the whole is no
 * use with one of the faults of record_read() or
 *
 *	dataset_error		08P01, Result.Code is not 200: may work later
 *	dataset_mismatch	22023, not a processed track
 */
extern const Record track_record;

/*
 * Stores the track: a new trip, or in place of what is there of the same token,
 * whose trip_id stays.  Returns the trip_id, 0 when the track was removed.
 * Errors are thrown.  The caller has called sql_enter().
 */
extern int64 track_store(const void *content, const pg_uuid_t *track_token, int64 user_id);

/* The same with the document in place of the rows of its points. */
extern int64 track_store_document(const void *content, const pg_uuid_t *track_token,
								  int64 user_id, const TripDocument *document);

#endif							/* DAMOOV_TRACK_H */
