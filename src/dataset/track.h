/*
 * track.h
 *	  Processed tracks: bytes to checked values, and those to rows.
 */
#ifndef DAMOOV_TRACK_H
#define DAMOOV_TRACK_H

#include "datatype/timestamp.h"
#include "utils/uuid.h"

#include "base/fault.h"
#include "dataset/record.h"

/* What the dataset itself does not tell, or not reliably. */
typedef struct TrackKey
{
	pg_uuid_t	token;
	int64		user_id;
	bool		has_enriched_at;
	TimestampTz enriched_at;
	int			revision;
} TrackKey;

/*
 * Reads a processed track into the current context.  A field that cannot be
 * used is NULL and noted in the trip; NULL only when the whole is no use, with
 * one of the faults of record_read() or
 *
 *	dataset_error		08P01, Result.Code is not 200: may work later
 *	dataset_mismatch	22023, not a processed track
 *
 * Bad input throws no error.
 */
extern Content *track_read(const Document *document, Fault *fault);

/*
 * Stores the track: a new trip, or in place of what is there of the same token,
 * whose trip_id stays.  Returns the trip_id.  Errors are thrown.  The caller
 * has called sql_enter().
 */
extern int64 track_store(const Content *content, const TrackKey *key);

#endif							/* DAMOOV_TRACK_H */
