/*
 * dataset.h
 *	  The kinds of datasets: what each is called, where the platform serves it,
 *	  how it is read, when it is wanted and where it goes.
 */
#ifndef DAMOOV_DATASET_H
#define DAMOOV_DATASET_H

#include "base/fault.h"
#include "base/json.h"
#include "base/uuid.h"
#include "compat.h"
#include "guc.h"

typedef enum DatasetKind
{
	DATASET_PROCESSED,			/* the trip behind TrackEnrichmentFinished */
	DATASET_RAW,				/* the recording behind IncomingTrackReceived */
	DATASET_CRASH,				/* the header of a crash */
	DATASET_CRASH_BUFFER,		/* its samples */
	DATASET_KINDS,
	DATASET_OBJECT = DATASET_KINDS, /* in a bucket: its content tells which of
									 * them it is */
	DATASET_LISTING,			/* no dataset: a list of them, see listing.h */
	DOWNLOAD_KINDS
} DatasetKind;

/* The kind's name in damoov.downloads; and back, -1 for an unknown one. */
extern const char *dataset_kind_name(DatasetKind kind);
extern int	dataset_kind(const char *name);

/* Where the platform serves a kind of dataset. */
typedef struct DatasetAddress
{
	const char *option;			/* what the option "fetch" calls it */
	bool		is_crash;		/* below crash_url instead of base_url */
	const char *before;			/* its path: before and behind the id */
	const char *behind;
} DatasetAddress;

extern const DatasetAddress *dataset_address(DatasetKind kind);

/* What a dataset belongs to; the document does not say that, or not reliably. */
typedef struct DatasetKey
{
	DatasetKind kind;
	pg_uuid_t	object_id;
	int64		user_id;
} DatasetKey;

/* A document on its way into the tables. */
typedef struct Dataset
{
	DatasetKey	key;
	char		device_token[UUID_TEXT_SIZE];	/* the person's */
	text	   *document;		/* as received, detoasted; NULL: none */
	bytea	   *gzip;			/* the same, NULL: not at hand */
	StorePoints store_points;
	void	   *content;		/* as its kind reads it, NULL: not read */
} Dataset;

static inline JsonSpan
dataset_text(const Dataset *dataset)
{
	return (JsonSpan) {VARDATA_ANY(dataset->document), VARSIZE_ANY_EXHDR(dataset->document)};
}

/*
 * Reads the document in memory; palloc'd.  False with the fault filled and no
 * content; never throws for bad input.  What is kept as it stands does not show
 * the person's device token.  Needs no user_id.
 */
extern bool dataset_read(Dataset *dataset, Fault *fault);

/* What a document says of itself. */
typedef struct DatasetIdentity
{
	int			kind;			/* -1: cannot be told */
	bool		has_object;
	pg_uuid_t	object_id;
	bool		has_person;
	pg_uuid_t	device_token;
} DatasetIdentity;

/* Finds out what the object of a bucket is; false when it is not JSON. */
extern bool dataset_identify(const Dataset *dataset, DatasetIdentity *identity, Fault *fault);

/*
 * Stores a dataset that was read by the rules of its kind, all of it or
 * nothing, and with it its document, as damoov.keep_documents says, or in place
 * of the rows of its points.  Without "fetched" a document that is there already
 * keeps its time, and a trip the form that it has.  False when the
 * dataset is not wanted any more: its track was removed meanwhile.  *row_id is
 * the surrogate key of the row.  Its object is locked.  Between sql_enter() and
 * sql_leave(); throws on database errors.
 */
extern bool dataset_store(const Dataset *dataset, bool fetched, int64 *row_id);

/* Tells listeners of what was stored, ids only; 0 rows: nothing. */
extern void dataset_notify(DatasetKind kind, const Datum *row_ids, int count);

#endif							/* DAMOOV_DATASET_H */
