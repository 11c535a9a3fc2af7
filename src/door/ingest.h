/*
 * ingest.h
 *	  The door for notifications: delivered bodies to committed rows.
 */
#ifndef DAMOOV_INGEST_H
#define DAMOOV_INGEST_H

#include "base/fault.h"
#include "message/envelope.h"
#include "message/notification.h"
#include "message/part.h"

typedef enum IngestOutcome
{
	INGEST_STORED,
	INGEST_DUPLICATE,
	INGEST_UNKNOWN,
	INGEST_CONTROL,
	INGEST_QUARANTINED,
	INGEST_OUTCOMES
} IngestOutcome;

/* One notification on its way: read in memory first, stored later. */
typedef struct IngestEntry
{
	EnvelopePart part;
	Notification notification;	/* unless control or fault */
	const char *body;			/* exact bytes for the quarantine */
	Size		body_len;
	Fault		fault;			/* refused: goes to the quarantine */
	bool		forgotten;		/* about an erased person: dropped as a duplicate */
	IngestOutcome outcome;		/* set by ingest_store */
	int64		event_id;		/* 0: no row of damoov.events */
} IngestEntry;

/*
 * Reads a delivered body and appends its entries (IngestEntry *) to the list.
 * Touches no table; palloc'd in the current context.  Never throws for bad
 * input: what cannot be read is an entry with a fault.
 */
extern List *ingest_read(List *entries, const char *body, Size len, NotificationOrigin origin);

/* The same for a body that is not to be read, with what is wrong with it. */
extern List *ingest_refuse(List *entries, const char *body, Size len, const Fault *fault);

/* What is done with an entry that the database refuses. */
typedef enum IngestCare
{
	INGEST_DECIDE,				/* passing errors, missing rights and tables are thrown,
								 * what else is refused goes to the quarantine */
	INGEST_DOUBT,				/* the same, but when nothing of the lot can be stored
								 * only bad data goes there, all else is thrown */
	INGEST_BLAME				/* only passing errors are thrown */
} IngestCare;

/*
 * Appends what has to be locked to store the entries, for lock_for_storing():
 * ids that live as long as the entries.  ingest_store() locks it, too; whoever
 * stores more than one list in a transaction locks for all of them first.
 */
extern List *ingest_ids(List *ids, const List *entries);

/*
 * Stores entries of one source inside the caller's transaction, which will be
 * on disk when it is committed: events with all that follows from them, the
 * quarantine, the receipt.  If storing all of them fails, they are stored one
 * by one, and those that fail go to the quarantine as store_failed.  When one
 * is thrown nothing is stored and nothing may be settled.
 */
extern void ingest_store(List *entries, const char *source, IngestCare care);

/*
 * The same for SQL: all of them, or none, since what cannot be read or stored is
 * thrown, the first of it.
 */
extern void ingest_store_all(List *entries, const char *source);

/* Is something new and known among them?  After ingest_store(). */
extern bool ingest_has_stored(const List *entries);

extern const char *ingest_outcome_name(IngestOutcome outcome);

#endif							/* DAMOOV_INGEST_H */
