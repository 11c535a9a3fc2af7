/*
 * dataset.h
 *	  The kinds of datasets: how each is read, when it is wanted, where it goes.
 */
#ifndef DAMOOV_DATASET_H
#define DAMOOV_DATASET_H

#include "door/api.h"

/* Who a dataset is about; it does not tell that itself, or not reliably. */
typedef struct DatasetKey
{
	DatasetKind kind;
	pg_uuid_t	object_id;
	int64		user_id;
} DatasetKey;

/*
 * Reads a document in memory; palloc'd.  False with the fault filled; never
 * throws for bad input.  What is kept as it stands does not show the person's
 * device token.
 */
extern bool dataset_read(const DatasetKey *key, const char *device_token,
						 const char *text, Size len,
						 void **dataset, Fault *fault);

/* What a document says of itself. */
typedef struct DatasetIdentity
{
	int			kind;			/* -1: cannot be told */
	bool		has_object;
	pg_uuid_t	object_id;
	bool		has_person;
	pg_uuid_t	device_token;
} DatasetIdentity;

/* Looks what a document is that was not asked for; false when it is no JSON. */
extern bool dataset_identify(const char *text, Size len,
							 DatasetIdentity *identity, Fault *fault);

/*
 * Takes the locks that keep a removal and the storing of its track apart, for
 * all datasets that the transaction is going to store, at once.
 */
extern void dataset_lock(const DatasetKey *const *keys, int count);

/*
 * Stores a dataset by the rules of its kind, all of it or nothing.  False when
 * it is not wanted any more: its track was removed meanwhile.  *row_id is the
 * surrogate key of the row.  Throws on database errors.
 */
extern bool dataset_store(const DatasetKey *key, const void *dataset, int64 *row_id);

/* Tells listeners of what was stored, ids only; 0 rows: nothing. */
extern void dataset_notify(DatasetKind kind, const Datum *row_ids, int count);

#endif							/* DAMOOV_DATASET_H */
