/*
 * check.h
 *	  What a provider tells of its queue without taking a message: for
 *	  damoov_check().
 */
#ifndef DAMOOV_CHECK_H
#define DAMOOV_CHECK_H

#include "base/fault.h"
#include "nodes/pg_list.h"
#include "pgtime.h"
#include "provider/source.h"

typedef enum FindingLevel
{
	FINDING_OK,
	FINDING_WARNING,			/* works, but not always or not for long */
	FINDING_ERROR
} FindingLevel;

typedef struct Finding
{
	const char *source;			/* NULL: of the server as a whole */
	FindingLevel level;
	const char *topic;			/* "clock", "credentials", "queue" ... */
	const char *text;			/* what was found */
	const char *remedy;			/* statement or setting that mends it, or NULL */
} Finding;

typedef struct SourceCheck
{
	Source	   *source;
	MemoryContext context;		/* of the findings */
	List	   *findings;		/* Finding * */
	bool		done;
} SourceCheck;

/* Adds a finding; the texts are copied. */
extern void check_add(SourceCheck *check, FindingLevel level, const char *topic,
					  const char *text, const char *remedy);

/* The service did not answer as hoped: fault's words, with the usual remedy for the trouble. */
extern void check_trouble(SourceCheck *check, SourceTrouble trouble, const Fault *fault);

/* Compares the service's clock with ours; 0: not told. */
extern void check_clock(SourceCheck *check, pg_time_t date);

/* The provider has nothing more to say. */
extern void check_end(SourceCheck *check);

#endif							/* DAMOOV_CHECK_H */
