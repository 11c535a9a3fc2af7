/*-------------------------------------------------------------------------
 *
 * sign.h
 *		Signatures for requests to cloud services: AWS in sign.c, Azure in
 *		sign_azure.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DAMOOV_SIGN_H
#define DAMOOV_SIGN_H

#include "lib/stringinfo.h"
#include "pgtime.h"

/* buffer for a SHA-256 in hexadecimal, with its terminator */
#define SIGN_SHA256_HEX_SIZE	65

/* stands for the hash of a body that is not signed (S3) */
#define SIGN_UNSIGNED_PAYLOAD	"UNSIGNED-PAYLOAD"

/* A header, or a parameter of a query. */
typedef struct SignHeader
{
	const char *name;			/* in any case */
	const char *value;
} SignHeader;

typedef struct SignV4Input
{
	const char *method;			/* upper case */
	const char *host;			/* as sent: with the port unless default */
	const char *path;			/* as sent, begins with a slash */
	const char *query;			/* as sent, without '?', or NULL */

	/*
	 * Headers to sign beside host, x-amz-date and x-amz-security-token, which
	 * are added here and must not be in the list.  For S3 the list has to
	 * contain x-amz-content-sha256, equal to the body hash.
	 */
	const SignHeader *headers;
	int			nheaders;

	const char *body;			/* may be NULL if body_len is 0 */
	Size		body_len;
	const char *body_hash;		/* NULL: SHA-256 of body; else used as it is */

	const char *access_key_id;
	const char *secret_access_key;
	const char *session_token;	/* or NULL */
	const char *region;
	const char *service;		/* "s3" has path rules of its own */
	pg_time_t	now;			/* Unix epoch, corrected for clock skew */
} SignV4Input;

typedef struct SignV4Output
{
	char		amz_date[17];	/* to be sent as x-amz-date */
	char	   *authorization;	/* to be sent as authorization */
	char	   *canonical_hash; /* of the canonical request, for tests */
} SignV4Output;

/* Signs a request by AWS Signature Version 4. */
extern void sign_v4(const SignV4Input *in, SignV4Output *out);

/* SHA-256 of some bytes, as sent in headers. */
extern void sign_sha256_hex(const void *data, Size len, char *hex);

/* What the Azure signatures are made of; the result is base64. */
extern char *sign_hmac_base64(const void *key, Size key_len, const char *text);

/* Percent-encodes all but A-Z a-z 0-9 - . _ ~ */
extern void sign_append_encoded(StringInfo to, const char *text);
extern char *sign_encoded(const char *text);

/* Takes percent-encoding away; a "%" without two digits behind it stays. */
extern char *sign_decoded(const char *text);

/* The parameters of a query as they are written; returns their number. */
extern int	sign_split_query(const char *query, SignHeader **parameters);

#endif							/* DAMOOV_SIGN_H */
