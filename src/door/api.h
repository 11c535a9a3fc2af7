/*
 * api.h
 *	  Where datasets may be fetched from.
 */
#ifndef DAMOOV_API_H
#define DAMOOV_API_H

#include "nodes/pg_list.h"

#include "base/fault.h"
#include "dataset/dataset.h"
#include "guc.h"
#include "wire/storage_name.h"

typedef struct Api
{
	char	   *base_url;		/* scheme and host, no slash at the end */
	char	   *crash_url;		/* the same for crashes */
	char	   *s3_endpoint;	/* a store beside the public ones, NULL: none */
	char	   *blob_endpoint;
	List	   *hosts;			/* char *: "name" or "*.suffix", maybe "/bucket" */
	bool		fetch[DATASET_KINDS];	/* by the option "fetch" */
	StorePoints store_points;
} Api;

/*
 * The name of the api server a source's downloads use: the one it names, else the
 * only one that may serve it, else NULL for the vendor's defaults.  "source" may be
 * anything that is no server (such as 'sql').  False with the fault filled when two
 * would serve it, or the one it names may not.  Needs a transaction; palloc'd.
 */
extern bool api_find(const char *source, char **name, Fault *fault);

/* What that one says.  Needs a transaction; palloc'd. */
extern bool api_load(const char *source, Api **api, Fault *fault);

/* Address of a dataset, for notifications that do not tell one. */
extern char *api_dataset_url(const Api *api, DatasetKind kind, const pg_uuid_t *object_id);

typedef struct ApiTarget
{
	char	   *url;			/* to be asked; of an s3:// URL its address */
	StorageKind storage;		/* only STORAGE_NONE may see the device token */
	bool		private_allowed;	/* named exactly by the operator: may resolve
									 * to an address that is not public */
} ApiTarget;

/* May a dataset be fetched from this URL, and how? */
extern bool api_check_url(const Api *api, const char *url,
						  ApiTarget *target, Fault *fault);

#endif							/* DAMOOV_API_H */
