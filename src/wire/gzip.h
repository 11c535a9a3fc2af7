/*
 * gzip.h
 *	  Bytes that were compressed with gzip.
 */
#ifndef DAMOOV_GZIP_H
#define DAMOOV_GZIP_H

typedef enum GzipResult
{
	GZIP_DONE,
	GZIP_DAMAGED,				/* also: memory is short */
	GZIP_TOO_BIG
} GzipResult;

/* Do the bytes begin as gzip does?  No text begins so. */
extern bool gzip_is(const char *bytes, Size len);

/*
 * Expands gzip of one or several members, behind which there may be zeros, to no
 * more than so many bytes; malloc'd and terminated by NUL.  Never throws.
 */
extern GzipResult gzip_expand(const char *bytes, Size len, Size max, char **out, Size *out_len);

/* Compresses them; palloc'd.  Throws only when memory is short. */
extern bytea *gzip_compress(const char *bytes, Size len);

#endif							/* DAMOOV_GZIP_H */
