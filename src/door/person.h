/*
 * person.h
 *	  Persons: who is known, who was forgotten.
 *
 * All of it between sql_enter() and sql_leave().
 */
#ifndef DAMOOV_PERSON_H
#define DAMOOV_PERSON_H

#include "utils/uuid.h"

/* False for a person who was forgotten meanwhile. */
extern bool person_exists(int64 user_id);

/* Raises 55000 when damoov_forget() was called for this token. */
extern void person_refuse_forgotten(const char *device_token);

/* Was damoov_forget() called for this token? */
extern bool person_is_forgotten(const pg_uuid_t *device_token);

/* Does the text hold the token of such a person, in any spelling? */
extern bool person_names_forgotten(const char *text, Size len);

/* The person of a token, added unless known; its token is locked. */
extern int64 person_of_new_token(const pg_uuid_t *device_token);

#endif							/* DAMOOV_PERSON_H */
