/*
 * envelope.h
 *	  What a transport wraps around a notification.
 */
#ifndef DAMOOV_ENVELOPE_H
#define DAMOOV_ENVELOPE_H

#include "fault.h"
#include "nodes/pg_list.h"
#include "utils/uuid.h"

/* One thing found in a delivered body. */
typedef struct EnvelopePart
{
	const char *text;			/* JSON text, not terminated */
	Size		len;
	const char *control;		/* kind of a transport's message, or NULL */
	pg_uuid_t	control_id;		/* its id, or a digest of its bytes */
	const char *control_time;	/* its time as received, "" if none */
	Fault		fault;			/* the part could not be unwrapped */
} EnvelopePart;

/*
 * Takes a body apart: a bare notification, an SNS envelope around one, or an
 * array of either.  Content decides, not configuration; one envelope is
 * opened, never a second inside it.  Returns the parts (EnvelopePart *), each
 * with its own fault if it has one; NIL with the fault filled when the body as
 * a whole is no JSON.  A UTF-8 byte order mark is skipped.
 */
extern List *envelope_open(const char *body, Size len, Fault *fault);

#endif							/* DAMOOV_ENVELOPE_H */
