/*
 * finding.h
 *	  Problems of a source, and how to correct them: for damoov_check().
 */
#ifndef DAMOOV_FINDING_H
#define DAMOOV_FINDING_H

#include "base/fault.h"
#include "nodes/pg_list.h"
#include "pgtime.h"

/* The kind of a problem decides how long to wait, and what the status says. */
typedef enum Trouble
{
	TROUBLE_TRANSIENT,			/* may work again at any time */
	TROUBLE_THROTTLED,			/* the same: the service asks to slow down */
	TROUBLE_CREDENTIALS,		/* key, secret or policy */
	TROUBLE_CONFIGURATION		/* the queue is not what the options say */
} Trouble;

typedef enum FindingLevel
{
	FINDING_OK,
	FINDING_WARNING,			/* works now, but may fail */
	FINDING_ERROR
} FindingLevel;

typedef struct Finding
{
	FindingLevel level;
	const char *topic;			/* "clock", "credentials", "queue" ... */
	const char *text;			/* what was found */
	const char *remedy;			/* statement or setting that mends it, or NULL */
} Finding;

/* All that was found of one source, or of the server as a whole. */
typedef struct Findings
{
	const char *source;			/* NULL: the server */
	MemoryContext context;		/* of the findings */
	List	   *list;			/* Finding * */
	bool		done;			/* the check is finished */
} Findings;

extern Findings *findings_create(MemoryContext context, const char *source);

/* Adds a finding; text and remedy are copied, the topic is a constant. */
extern void finding_add(Findings *findings, FindingLevel level, const char *topic,
						const char *text, const char *remedy);

/* Adds a fault as a finding, with the usual remedy for its kind of trouble. */
extern void finding_trouble(Findings *findings, Trouble trouble, const Fault *fault);

/* Compares the service's clock with ours; 0: not told. */
extern void finding_clock(Findings *findings, pg_time_t date);

extern const char *finding_level_name(FindingLevel level);

#endif							/* DAMOOV_FINDING_H */
