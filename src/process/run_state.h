/*
 * run_state.h
 *	  The row of a source in damoov.sources: is it paused, how is it.
 */
#ifndef DAMOOV_RUN_STATE_H
#define DAMOOV_RUN_STATE_H

#include "provider/source.h"

/*
 * Reads the options and the row.  obey_backoff: also that of another session, when
 * this one has not asked yet.
 */
extern void run_state_look(Source *source, bool obey_backoff);

/* Is there something to write? */
extern bool run_state_is_stale(const Source *source);

/* Writes it, unless somebody has the row locked: then it is left for later. */
extern void run_state_write(Source *source);

#endif							/* DAMOOV_RUN_STATE_H */
