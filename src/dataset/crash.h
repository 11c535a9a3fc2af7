/*
 * crash.h
 *	  Crashes: their header, which says what happened, and their buffer, which
 *	  has the sensors' samples around it.
 *
 * Both readers take a document into the current context.  A field that cannot
 * be used is NULL and noted; NULL only when the whole is no use, with one of
 * the faults of json_walk() or
 *
 *	dataset_mismatch	22023, another dataset, or that of another crash
 *
 * expected may be NULL.  Bad input throws no error.
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

typedef struct CrashBuffer CrashBuffer;

extern Content *crash_header_read(const Document *document, Fault *fault);
extern int64 crash_header_store(const Content *content,
								const pg_uuid_t *crash_token, int64 user_id);

/*
 * The format of a buffer is not published: any spelling is tried, see
 * docs/datasets.md.  What is not understood is kept as it is.
 */
extern CrashBuffer *crash_buffer_read(const Document *document, Fault *fault);
extern int64 crash_buffer_store(const CrashBuffer *buffer,
								const pg_uuid_t *crash_token, int64 user_id);

#endif							/* DAMOOV_CRASH_H */
