/*
 * object.h
 *	  The person of an object, and what an object of a bucket is.
 *
 * All of it between sql_enter() and sql_leave().
 */
#ifndef DAMOOV_OBJECT_H
#define DAMOOV_OBJECT_H

#include "nodes/pg_list.h"

#include "base/fault.h"
#include "dataset/dataset.h"

/*
 * The person the object of a dataset belongs to, by what notifications and rows
 * tell: fills user_id and device_token.  False: nobody is known.
 */
extern bool object_find_person(Dataset *dataset);

/*
 * Appends the ids (pg_uuid_t *) that a document which lay at the URL in a bucket
 * may be about, object and person: what has to be locked for it.
 */
extern List *object_ids(List *ids, const Dataset *dataset, const char *url);

/*
 * Finds out what a document is that lay at the URL in a bucket, of which kind
 * and whose, and reads it: the dataset's key, token and content.  False with
 * the fault filled.  When it is about a person who was forgotten it is not read
 * and *forgotten says so.  May add a person, but never for a document that
 * cannot be read.
 */
extern bool object_identify(Dataset *dataset, const char *url, bool *forgotten, Fault *fault);

#endif							/* DAMOOV_OBJECT_H */
