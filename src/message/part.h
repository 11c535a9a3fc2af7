/*
 * part.h
 *	  One thing found in a delivered body.
 */
#ifndef DAMOOV_PART_H
#define DAMOOV_PART_H

#include "utils/uuid.h"

#include "base/fault.h"

typedef struct EnvelopePart
{
	const char *text;			/* JSON text, not terminated */
	Size		len;
	bool		decoded;		/* it does not stand in the body as it is */
	const char *control;		/* kind of a transport's or store's message, or
								 * NULL */
	pg_uuid_t	control_id;		/* its id, or a digest of its bytes */
	const char *control_time;	/* its time as received, "" if none */
	bool		names_object;	/* of a bucket, whose key may name a person */
	Fault		fault;			/* the part could not be unwrapped */
} EnvelopePart;

/* A part of which nothing is known but its text. */
extern EnvelopePart *part_make(const char *text, Size len);

/* An id for something that has none: a digest of bytes that stand for it. */
extern void part_digest_id(const char *bytes, Size len, pg_uuid_t *id);

#endif							/* DAMOOV_PART_H */
