/*
 * certificate.h
 *	  Keys of certificates that were fetched for pushes, and how much work
 *	  pushes may cause before their sender is known.
 *
 * All sessions share this when the library is preloaded; else each has its own.
 */
#ifndef DAMOOV_CERTIFICATE_H
#define DAMOOV_CERTIFICATE_H

#include <openssl/evp.h>

#include "base/fault.h"

/* While preloading: asks for the shared memory. */
extern void certificate_init(void);

/*
 * Is something known of the certificate at this URL?  Then *key is its key, for
 * the caller to free, or NULL with the fault filled: it could not be had.
 */
extern bool certificate_find(const char *url, EVP_PKEY **key, Fault *fault);

/* What was found there, for so many seconds at most. */
extern void certificate_keep(const char *url, EVP_PKEY *key, int seconds);
extern void certificate_keep_failure(const char *url, const Fault *fault);

/* May one more be fetched from this host now?  If so it is counted. */
extern bool certificate_may_fetch(const char *host);

/* May the log have a line for this reason now?  If so it is counted. */
extern bool certificate_may_log(const char *reason);

#endif							/* DAMOOV_CERTIFICATE_H */
