/*
 * quarantine.h
 *	  What could not be understood: kept byte for byte, with the reason.
 */
#ifndef DAMOOV_QUARANTINE_H
#define DAMOOV_QUARANTINE_H

#include "base/fault.h"
#include "utils/uuid.h"

typedef struct Refused
{
	const char *body;
	Size		body_len;
	const Fault *fault;
} Refused;

/*
 * Keeps what was refused of a source. kind is "message", or that of a dataset
 * with the id of its object; else object_id is NULL.  What is there already,
 * or occurs twice, does not become a second row.  Between sql_enter() and
 * sql_leave().
 */
extern void quarantine_insert(const char *source, const char *kind, const pg_uuid_t *object_id,
							  const Refused *refused, int count);

#endif							/* DAMOOV_QUARANTINE_H */
