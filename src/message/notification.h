/*
 * notification.h
 *	  One Damoov notification: bytes to checked values.
 */
#ifndef DAMOOV_NOTIFICATION_H
#define DAMOOV_NOTIFICATION_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/uuid.h"

#include "base/fault.h"

/* the vendor's messages are below 1 kB; no transport carries more than this */
#define NOTIFICATION_MAX_SIZE	(2 * 1024 * 1024)

/* Where the text comes from decides what is asked of it. */
typedef enum NotificationOrigin
{
	NOTIFICATION_RAW,			/* from a queue: judged by all rules */
	NOTIFICATION_JSONB,			/* printed from jsonb, which knows no duplicates
								 * and writes exponents out */
	NOTIFICATION_STORED			/* judged when it came in: only its values are
								 * asked for */
} NotificationOrigin;

typedef enum EventKind
{
	EVENT_UNKNOWN,
	EVENT_TRACK_RECEIVED,
	EVENT_TRACK_REMOVED,
	EVENT_TRACK_ENRICHED,
	EVENT_CRASH_RECEIVED,		/* the vendor's 4 */
	EVENT_CRASH_BUFFER,			/* 5 */
	EVENT_CRASH_COMPLETE,		/* 6 */
	EVENT_CRASH_FILTERED,		/* 7 */
	EVENT_HEARTBEAT
} EventKind;

typedef struct Notification
{
	/* hard fields: a notification without them is refused */
	EventKind	kind;
	char	   *event;			/* current spelling */
	pg_uuid_t	device_token;
	pg_uuid_t	object_id;
	TimestampTz sent_at;
	char	   *sent_text;		/* Timestamp as received */

	/* soft fields: NULL when absent or unusable */
	char	   *object_type;
	char	   *url;
	pg_uuid_t  *removed;		/* TracksRemoved without itself */
	int			nremoved;

	List	   *notes;			/* of char *, "member: reason" */

	/* what the rules are applied to, as in damoov.arrival */
	const Datum *details;
	const bool *nulls;
} Notification;

/* The last of them is the instance. */
#define NOTIFICATION_DETAILS	17

/*
 * Reads one notification from its JSON text; everything is palloc'd in the
 * current context.  Returns false with the fault filled; never throws for bad
 * input.
 */
extern bool notification_read(const char *text, Size len, NotificationOrigin origin,
							  Notification *notification, Fault *fault);

/*
 * Is this member known, in any case, below the member "parent" (NULL: on top)?
 * Also true for what the vendor documents and we do not use.
 */
extern bool notification_knows(const char *parent, const char *name);

#endif							/* DAMOOV_NOTIFICATION_H */
