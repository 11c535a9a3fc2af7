/*
 * raw.h
 *	  Raw tracks, both formats: bytes to checked values, and those to rows.
 */
#ifndef DAMOOV_RAW_H
#define DAMOOV_RAW_H

#include "base/fault.h"
#include "utils/uuid.h"

typedef struct RawTrack RawTrack;

/*
 * Reads a raw track, which is palloc'd in the current context.  A field that
 * cannot be used is NULL and noted; false only when the whole is no use, with
 * one of the faults of json_walk() or
 *
 *	dataset_gone		02000, the platform answers 404 or 410
 *	dataset_error		08P01, it answers anything else than 200: may work later
 *	dataset_mismatch	22023, not a raw track, or that of another token
 *
 * expected_token may be NULL.  Bad input throws no error.
 */
extern bool raw_read(const char *text, Size len, Size max_len,
					 const pg_uuid_t *expected_token,
					 const char *device_token,
					 RawTrack **raw, Fault *fault);

/*
 * The ids in a key of exactly the documented form,
 * trips/filtered/{InstanceId}/{UserId}/{TrackToken}.json; false for any other.
 */
extern bool raw_ids_of_key(const char *key, pg_uuid_t *instance, pg_uuid_t *user);

/*
 * Stores the raw track: a new one, or in place of what is there of the same
 * token, whose raw_track_id stays.  Returns the raw_track_id.  Errors are
 * thrown.  The caller has called sql_enter().
 */
extern int64 raw_store(const RawTrack *raw, const pg_uuid_t *track_token,
					   int64 user_id);

#endif							/* DAMOOV_RAW_H */
