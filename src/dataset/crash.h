/*
 * crash.h
 *	  Crashes: their header, which says what happened, and their buffer, which
 *	  has the sensors' samples around it.
 *
 * What cannot be used is NULL and noted; the whole is no use with one of the
 * faults of json_walk() or
 *
 *	dataset_mismatch	22023, another dataset, or that of another crash
 *
 * Both store functions find the crash by its token, or add it, and return the
 * crash_id; what the notifications told of it is left alone.  Errors are
 * thrown.  The caller has called sql_enter().
 */
#ifndef DAMOOV_CRASH_H
#define DAMOOV_CRASH_H

#include "utils/uuid.h"

#include "base/fault.h"
#include "dataset/record.h"

extern const Record crash_record;
extern int64 crash_header_store(const void *content, const pg_uuid_t *crash_token, int64 user_id);

/*
 * The format of a buffer is not published: any spelling is tried, see
 * docs/damoov-datasets.md.  What is not understood is kept as it is.  Reads it into the
 * current context; NULL with the fault filled when it is no JSON.
 */
extern void *crash_buffer_read(const Document *document, Fault *fault);
extern int64 crash_buffer_store(const void *content, const pg_uuid_t *crash_token, int64 user_id);

#endif							/* DAMOOV_CRASH_H */
