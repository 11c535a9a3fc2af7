/*
 * person.h
 *	  Persons: the lock that keeps storing and forgetting apart.
 */
#ifndef DAMOOV_PERSON_H
#define DAMOOV_PERSON_H

#include "utils/uuid.h"

/*
 * Taken, together with others who store, before anything of a person is
 * locked or written, and kept until the end of the transaction: whoever
 * forgets a person, alone, then meets no transaction that is half-way.  All
 * of these between sql_enter() and sql_leave().
 */
extern void person_lock(void);

/* False for a person who was forgotten meanwhile. */
extern bool person_exists(int64 user_id);

/* Raises 55000 when damoov_forget() was called for this token. */
extern void person_refuse_forgotten(const char *device_token);

/* Was damoov_forget() called for this token? */
extern bool person_is_forgotten(const pg_uuid_t *device_token);

/* Does the text hold the token of such a person, in any spelling? */
extern bool person_names_forgotten(const char *text, Size len);

/* The person of a token, added unless known. */
extern int64 person_of_new_token(const pg_uuid_t *device_token);

#endif							/* DAMOOV_PERSON_H */
