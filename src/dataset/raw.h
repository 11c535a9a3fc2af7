/*
 * raw.h
 *	  Raw tracks, both formats: bytes to checked values, and those to rows.
 */
#ifndef DAMOOV_RAW_H
#define DAMOOV_RAW_H

#include "utils/uuid.h"

#include "base/fault.h"
#include "dataset/record.h"

/*
 * Reads a raw track into the current context.  A field that cannot be used is
 * NULL and noted; NULL only when the whole is no use, with one of the faults of
 * record_read() or
 *
 *	dataset_gone		02000, the platform answers 404 or 410
 *	dataset_error		08P01, it answers anything else than 200: may work later
 *	dataset_mismatch	22023, not a raw track
 *
 * Bad input throws no error.
 */
extern Content *raw_read(const Document *document, Fault *fault);

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
extern int64 raw_store(const Content *content, const pg_uuid_t *track_token,
					   int64 user_id);

#endif							/* DAMOOV_RAW_H */
