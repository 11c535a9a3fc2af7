/*
 * part.c
 *	  One thing found in a delivered body: see part.h.
 */
#include "postgres.h"

#include "base/uuid.h"
#include "message/part.h"
#include "wire/sign.h"

EnvelopePart *
part_make(const char *text, Size len)
{
	EnvelopePart *part = palloc0(sizeof(EnvelopePart));

	part->text = text;
	part->len = len;
	part->control_time = "";
	return part;
}

void
part_digest_id(const char *bytes, Size len, pg_uuid_t *id)
{
	char		digest[SIGN_SHA256_HEX_SIZE];

	sign_sha256_hex(bytes, len, digest);
	digest[2 * UUID_LEN] = '\0';
	(void) uuid_parse(digest, id);
}
