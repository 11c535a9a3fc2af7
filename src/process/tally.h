/*
 * tally.h
 *	  What the engine has done, in numbers, to be told.
 */
#ifndef DAMOOV_TALLY_H
#define DAMOOV_TALLY_H

#include "door/ingest.h"

typedef struct Tally
{
	int64		messages[INGEST_OUTCOMES];	/* by what became of them */
	int64		datasets;		/* stored */
} Tally;

/* Adds what became of these (IngestEntry *), after ingest_store(). */
extern void tally_entries(Tally *tally, const List *entries);

extern void tally_add(Tally *tally, const Tally *other);

extern bool tally_is_empty(const Tally *tally);

/* Such as "messages: 12 received (10 stored, 2 duplicate); datasets: 3 stored". */
extern char *tally_text(const Tally *tally);

#endif							/* DAMOOV_TALLY_H */
