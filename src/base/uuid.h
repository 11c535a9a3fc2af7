/*
 * uuid.h
 *	  UUIDs from foreign text, without errors being thrown.
 */
#ifndef DAMOOV_UUID_H
#define DAMOOV_UUID_H

#include "utils/uuid.h"

#define UUID_TEXT_SIZE 37

/*
 * Accepts what PostgreSQL's uuid accepts: any case, surrounding braces, a
 * hyphen after any group of four digits.  False for everything else.
 */
extern bool uuid_parse(const char *text, pg_uuid_t *uuid);

/* Length of the UUID that text begins with, with hyphens or without; 0: none. */
extern int	uuid_prefix(const char *text, pg_uuid_t *uuid);

/*
 * The same in any spelling, in a text that ends at "end" and may hold anything:
 * hyphens anywhere or nowhere, bytes of two-byte characters, and each character
 * perhaps as an escape of JSON or of a URL, or as one inside of another.  It
 * begins where its first digit does, whatever stands before or behind.
 */
extern Size uuid_spelled(const char *text, const char *end, pg_uuid_t *uuid);

/* True for the all-zero UUID, the platform's "none". */
extern bool uuid_is_zero(const pg_uuid_t *uuid);

/* Writes the canonical form into buffer, which holds UUID_TEXT_SIZE bytes. */
extern char *uuid_format(const pg_uuid_t *uuid, char *buffer);

static inline bool
uuid_equal(const pg_uuid_t *a, const pg_uuid_t *b)
{
	return memcmp(a->data, b->data, UUID_LEN) == 0;
}

#endif							/* DAMOOV_UUID_H */
