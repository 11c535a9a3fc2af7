/*
 * raw.h
 *	  Raw tracks, both formats: bytes to checked values, and those to rows.
 */
#ifndef DAMOOV_RAW_H
#define DAMOOV_RAW_H

#include "utils/uuid.h"

#include "dataset/record.h"

/*
 * What cannot be used of a raw track is NULL and noted; the whole is no use
 * with one of the faults of record_read() or
 *
 *	dataset_gone		02000, the platform answers 404 or 410
 *	dataset_error		08P01, it answers anything else than 200: may work later
 *	dataset_mismatch	22023, not a raw track
 */
extern const Record raw_record;

/*
 * The ids in a key of exactly the documented form,
 * trips/filtered/{InstanceId}/{UserId}/{TrackToken}.json; false for any other.
 */
extern bool raw_ids_of_key(const char *key, pg_uuid_t *instance, pg_uuid_t *user);

/*
 * Stores the raw track: a new one, or in place of what is there of the same
 * token, whose raw_track_id stays.  Returns the raw_track_id, 0 when the track
 * was removed.  Errors are thrown.  The caller has called sql_enter().
 */
extern int64 raw_store(const void *content, const pg_uuid_t *track_token, int64 user_id);

#endif							/* DAMOOV_RAW_H */
