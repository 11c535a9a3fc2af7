/*
 * arrival.h
 *	  Events that have just become rows of damoov.events, and what they do to
 *	  the other tables.
 */
#ifndef DAMOOV_ARRIVAL_H
#define DAMOOV_ARRIVAL_H

#include "utils/uuid.h"

#include "message/notification.h"

typedef struct Arrivals Arrivals;

/* Room for this many, from one source; inside of sql_enter(). */
extern Arrivals *arrivals_begin(int room, const char *source);

/* Adds one; instance_id is that of the source, NULL: none. */
extern void arrivals_add(Arrivals *arrivals, const Notification *notification, int64 event_id,
						 int64 user_id, const pg_uuid_t *instance_id);

/* Carries all of them into the other tables: damoov.apply_events(). */
extern void arrivals_apply(Arrivals *arrivals);

#endif							/* DAMOOV_ARRIVAL_H */
