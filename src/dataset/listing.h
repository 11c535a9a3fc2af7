/*
 * listing.h
 *	  A page of the list of a person's tracks, by which damoov_backfill() finds
 *	  those that no notification has told of.
 *
 * It is asked for like a dataset, so that it is leased, tried again and put
 * behind live work by the same rules; but nothing of it is kept.
 */
#ifndef DAMOOV_LISTING_H
#define DAMOOV_LISTING_H

#include "utils/uuid.h"

#include "base/fault.h"
#include "dataset/record.h"

/* NULL with the fault filled when it is no JSON within the limits. */
extern void *listing_read(const Document *document, Fault *fault);

/* What is to be done with it: damoov.take_listing().  Returns 0: it has no row. */
extern int64 listing_store(const void *content, const pg_uuid_t *listing, int64 user_id);

#endif							/* DAMOOV_LISTING_H */
