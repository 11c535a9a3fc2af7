/*
 * api.h
 *	  Where datasets are fetched from, and where never.
 */
#ifndef DAMOOV_API_H
#define DAMOOV_API_H

#include "base/fault.h"
#include "nodes/pg_list.h"
#include "wire/storage.h"
#include "utils/uuid.h"

typedef enum DatasetKind
{
	DATASET_PROCESSED,			/* the trip behind TrackEnrichmentFinished */
	DATASET_RAW,				/* the recording behind IncomingTrackReceived */
	DATASET_CRASH,				/* the header of a crash */
	DATASET_CRASH_BUFFER,		/* its samples */
	DATASET_KINDS,
	DATASET_OBJECT = DATASET_KINDS	/* in a bucket: its content tells which of
									 * them it is */
} DatasetKind;

typedef struct Api
{
	char	   *base_url;		/* scheme and host, no slash at the end */
	char	   *crash_url;		/* the same for crashes */
	char	   *s3_endpoint;	/* a store beside the public ones, NULL: none */
	char	   *blob_endpoint;
	List	   *hosts;			/* char *: "name" or "*.suffix", maybe "/bucket" */
	bool		fetch[DATASET_KINDS];
} Api;

/*
 * The api server a source's downloads use: the one it names, else the only one
 * there is, else the vendor's defaults.  "source" may be anything that is no
 * server (such as 'sql').  Needs a transaction; palloc'd.
 */
extern bool api_load(const char *source, Api **api, Fault *fault);

/* The kind's name in damoov.downloads; and back, -1 for an unknown one. */
extern const char *api_kind_name(DatasetKind kind);
extern int	api_kind(const char *name);

/* Address of a dataset, for notifications that do not tell one. */
extern char *api_dataset_url(const Api *api, DatasetKind kind, const pg_uuid_t *object_id);

/* Is this kind to be fetched, by the option "fetch"? */
extern bool api_fetches(const Api *api, DatasetKind kind);

typedef struct ApiTarget
{
	char	   *url;			/* to be asked; of an s3:// URL its address */
	StorageKind storage;		/* a store must not see the device token */
	bool		private_allowed;	/* named exactly by the operator: may resolve
									 * to an address that is not public */
} ApiTarget;

/* May a dataset be fetched from this URL, and how? */
extern bool api_check_url(const Api *api, const char *url,
						  ApiTarget *target, Fault *fault);

#endif							/* DAMOOV_API_H */
