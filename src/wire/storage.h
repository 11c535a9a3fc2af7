/*
 * storage.h
 *	  Datasets in the customer's own store: S3 and its kin, Azure blobs.
 */
#ifndef DAMOOV_STORAGE_H
#define DAMOOV_STORAGE_H

#include "base/fault.h"
#include "wire/http.h"
#include "wire/storage_name.h"

typedef struct Storage Storage;

/*
 * Prepares requests for an object with the secrets of a source's user mapping;
 * needs a transaction.  False with the fault filled (storage_access) when
 * there are none that fit.  palloc'd; the secrets are wiped when the current
 * memory context goes.
 */
extern bool storage_open(StorageKind kind, const char *url, const char *source,
						 Storage **storage, Fault *fault);

/* The address to ask; it may hold a credential. */
extern const char *storage_url(const Storage *storage);

/* Adds the headers that open the object; offset: the store's clock less ours. */
extern void storage_authorize(const Storage *storage, HttpRequest *request,
							  int64 clock_offset_s);

/*
 * After a refusal: is another try at once worth while?  Learns the bucket's
 * region, or the store's clock.  The host stays the same.
 */
extern bool storage_learn(Storage *storage, const HttpRequest *request,
						  int64 *clock_offset_s);

/*
 * Judges a reply: true when it is the object, whole.  Else the fault's reason is
 *
 *	storage_access		keys, rights, or an archived object: works once somebody
 *						has mended it
 *	storage_refused		will not work with this URL
 *	http_status			the status says what to do
 *	damaged				the bytes are not those the store has
 */
extern bool storage_check(const Storage *storage, const HttpRequest *request, Fault *fault);

#endif							/* DAMOOV_STORAGE_H */
