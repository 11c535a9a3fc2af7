/*
 * trip_document.h
 *	  The dataset of a trip in place of the rows of its points.
 *
 * It is kept as gzip, as it came if it came so, but without the person's device
 * token: whoever may read points may read it.
 */
#ifndef DAMOOV_TRIP_DOCUMENT_H
#define DAMOOV_TRIP_DOCUMENT_H

#include "utils/uuid.h"

#include "guc.h"

typedef struct TripDocument
{
	text	   *original;
	bytea	   *gzip;			/* the same */
	bool		fetched;		/* just now, and not given once more */
} TripDocument;

/* How the points of a track's trip are stored; "otherwise" when there is no trip. */
extern StorePoints trip_document_form(const pg_uuid_t *track_token, StorePoints otherwise);

/*
 * Keeps it for the trip, in place of what is there; what was not fetched and is
 * the same keeps its time.  NULL: none is kept.  Between sql_enter() and
 * sql_leave().
 */
extern void trip_document_keep(int64 trip_id, const TripDocument *document);

/* What was compressed; palloc'd.  Throws what is wrong with it. */
extern char *trip_document_text(const bytea *gzip, int64 trip_id, Size *len);

#endif							/* DAMOOV_TRIP_DOCUMENT_H */
