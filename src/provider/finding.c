/*
 * finding.c
 *	  Problems of a source, and how to correct them: see finding.h.
 */
#include "postgres.h"

#include <time.h>

#include "utils/memutils.h"

#include "guc.h"
#include "provider/finding.h"

#define CLOCK_TOLERANCE_S	60

Findings *
findings_create(MemoryContext context, const char *source)
{
	Findings   *findings = MemoryContextAllocZero(context, sizeof(Findings));

	findings->context = context;
	findings->source = source ? MemoryContextStrdup(context, source) : NULL;
	return findings;
}

void
finding_add(Findings *findings, FindingLevel level, const char *topic,
			const char *text, const char *remedy)
{
	MemoryContext old = MemoryContextSwitchTo(findings->context);
	Finding    *finding = palloc0(sizeof(Finding));

	finding->level = level;
	finding->topic = topic;
	finding->text = pstrdup(text);
	finding->remedy = remedy ? pstrdup(remedy) : NULL;
	findings->list = lappend(findings->list, finding);
	MemoryContextSwitchTo(old);
}

/* The remedy for a fault that no statement mends; for others see damoov.source_remedy(). */
static const char *
remedy_for(Trouble trouble, const Fault *fault)
{
	if (fault->reason == REASON_TLS_FAILED)
		return "Set \"damoov.ca_file\" to a file with the authority that signed the service's certificate.";
	if (fault->reason == REASON_UNREACHABLE || fault->reason == REASON_TIMEOUT)
		return "Allow connections from this server to the host, and see that its name can be resolved.";
	if (fault->reason == REASON_SECRET_FILE)
		return damoov_secrets_dir && damoov_secrets_dir[0]
			? "Correct the file, its owner or its mode; the manual says what it has to be."
			: "Fill in, and run: ALTER SYSTEM SET damoov.secrets_dir = '...'; SELECT pg_reload_conf()";
	return trouble == TROUBLE_TRANSIENT || trouble == TROUBLE_THROTTLED ? "Try again later." : NULL;
}

void
finding_trouble(Findings *findings, Trouble trouble, const Fault *fault)
{
	finding_add(findings, FINDING_ERROR,
				trouble == TROUBLE_CREDENTIALS ? "credentials" :
				trouble == TROUBLE_CONFIGURATION ? "options" : "connection",
				fault->message, remedy_for(trouble, fault));
}

void
finding_clock(Findings *findings, pg_time_t date)
{
	int64		offset = (int64) date - (int64) time(NULL);

	if (date != 0 && llabs(offset) > CLOCK_TOLERANCE_S)
		finding_add(findings, FINDING_WARNING, "clock",
					psprintf("this server's clock differs from the service's by " INT64_FORMAT " seconds",
							 offset),
					"Synchronize the clock of the database server; until then requests are signed with the service's time.");
}

const char *
finding_level_name(FindingLevel level)
{
	static const char *const names[] = {
		[FINDING_OK] = "ok",
		[FINDING_WARNING] = "warning",
		[FINDING_ERROR] = "error",
	};

	return names[level];
}
