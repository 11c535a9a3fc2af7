/*
 * storage_name.h
 *	  What host names and URLs tell about a store of objects.
 */
#ifndef DAMOOV_STORAGE_NAME_H
#define DAMOOV_STORAGE_NAME_H

#include "wire/url.h"

/* of a bucket of which nothing else is told */
#define STORAGE_DEFAULT_REGION	"us-east-1"

typedef enum StorageKind
{
	STORAGE_NONE,				/* the platform: it gets the device token */
	STORAGE_S3,
	STORAGE_BLOB,
	STORAGE_OTHER				/* any other host; the URL opens the object */
} StorageKind;

/* What the name of a host says of it: S3, blob or none. */
extern StorageKind storage_of_host(const char *host);

/* The region that an S3 host names, or NULL. */
extern char *storage_region(const char *host);

/* Does an S3 host (of Amazon) have the bucket in its path, not in its name? */
extern bool storage_bucket_in_path(const char *host);

/* Does the query open the object: a presigned URL, or one with a SAS? */
extern bool storage_url_is_signed(const UrlParts *url);

/*
 * The address of "s3://bucket/key?region=R&versionId=V".  "endpoint" (scheme,
 * host, port) takes the place of Amazon's own hosts unless it is NULL.
 */
extern char *storage_s3_address(const UrlParts *url, const char *endpoint);

/* A key, which is not encoded, as the path in an address. */
extern char *storage_encode_key(const char *key);

/*
 * A path in the one spelling that S3 signs, whatever spelling it has; in that
 * of forms "+" is a blank.
 */
extern char *storage_encode_path(const char *path, bool form);

#endif							/* DAMOOV_STORAGE_NAME_H */
