/*
 * tally.c
 *	  What the engine has done, in numbers: see tally.h.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "nodes/pg_list.h"

#include "door/ingest.h"
#include "process/tally.h"

void
tally_entries(Tally *tally, const List *entries)
{
	ListCell   *cell;

	foreach(cell, entries)
		tally->messages[((IngestEntry *) lfirst(cell))->outcome]++;
}

void
tally_add(Tally *tally, const Tally *other)
{
	for (int i = 0; i < INGEST_OUTCOMES; i++)
		tally->messages[i] += other->messages[i];
	tally->datasets += other->datasets;
}

static int64
received(const Tally *tally)
{
	int64		sum = 0;

	for (int i = 0; i < INGEST_OUTCOMES; i++)
		sum += tally->messages[i];
	return sum;
}

bool
tally_is_empty(const Tally *tally)
{
	return received(tally) == 0 && tally->datasets == 0;
}

char *
tally_text(const Tally *tally)
{
	StringInfoData text;
	const char *before = " (";

	initStringInfo(&text);
	appendStringInfo(&text, "messages: " INT64_FORMAT " received", received(tally));
	for (int i = 0; i < INGEST_OUTCOMES; i++)
	{
		if (tally->messages[i] == 0)
			continue;
		appendStringInfo(&text, "%s" INT64_FORMAT " %s", before, tally->messages[i], ingest_outcome_name(i));
		before = ", ";
	}
	appendStringInfo(&text, "%s; datasets: " INT64_FORMAT " stored", received(tally) > 0 ? ")" : "", tally->datasets);
	return text.data;
}
