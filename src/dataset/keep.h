/*
 * keep.h
 *	  Keeping members as they stand, but not the secrets in them.
 *
 * Members called DeviceToken or UserId hold the person's credential.  It is
 * stored in damoov.users only.  In what is kept of a document, null takes its
 * place, and "[redacted]" where another text contains it.
 */
#ifndef DAMOOV_KEEP_H
#define DAMOOV_KEEP_H

#include "lib/stringinfo.h"
#include "utils/uuid.h"

/* What must not be kept of a text: values, in order, and a person's token. */
typedef struct Secrets
{
	bool		hides;			/* there is a token */
	pg_uuid_t	hidden;
	bool		named;			/* a member of a secret name was met */
	int			count;
	int			room;
	struct SecretSpan
	{
		const char *start;
		Size		len;
	}		   *span;			/* palloc'd where the first one was added */
} Secrets;

/*
 * Hides the device token of a person wherever a text holds it, in every spelling
 * of uuid_spelled(), which is the search of damoov_forget() as well.
 */
extern void keep_hide(Secrets *secrets, const char *device_token);
extern void keep_hide_end(Secrets *secrets);

/* True for the names of members that hold the person's credential; notes it. */
extern bool keep_is_secret(Secrets *secrets, const char *name);

/* Adds a value that must not be kept; inner ones have to be added before outer ones. */
extern void keep_add_secret(Secrets *secrets, const char *start, Size len);

/* Appends a part of the text, a whole value. */
extern void keep_append(StringInfo object, const char *start, Size len,
						const Secrets *secrets);

/*
 * A whole document as it may be kept: NULL when it may as it stands.  "named" says
 * whether its reader has met a member of a secret name.
 */
extern char *keep_document(const char *text, Size len, const char *device_token, bool named);

/* Appends "name":value. */
extern void keep_append_member(StringInfo object, const char *name,
							   const char *start, Size len,
							   const Secrets *secrets);

/* The text of a string, or a palloc'd one without the token that it holds. */
extern const char *keep_text(const Secrets *secrets, const char *text);

/* True for the token itself. */
extern bool keep_is_token(const Secrets *secrets, const pg_uuid_t *id);

#endif							/* DAMOOV_KEEP_H */
