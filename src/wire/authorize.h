/*
 * authorize.h
 *	  Signs a request that is about to be started: sign.h makes signatures,
 *	  here they become headers.
 */
#ifndef DAMOOV_AUTHORIZE_H
#define DAMOOV_AUTHORIZE_H

#include "wire/http.h"
#include "wire/sign.h"
#include "wire/sign_azure.h"

/*
 * Signature Version 4 of AWS: adds the date, the session token and the
 * signature, and the headers that are signed.
 */
extern void authorize_v4(HttpRequest *request, const SignV4Input *in);

/*
 * What Azure Storage wants of a request at this time: a date, the version and,
 * if there is an account key, a signature.  Headers of "in" are filled here.
 */
extern void authorize_storage(HttpRequest *request, SignSharedKeyInput *in,
							  const char *version, pg_time_t now);

#endif							/* DAMOOV_AUTHORIZE_H */
