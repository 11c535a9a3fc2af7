/*
 * users_code.h
 *	  Whose rights the functions of users have in the engine.
 *
 * A table may have triggers, defaults and constraints of users.  What the engine
 * stores must not lend them its rights: a trigger function runs with those of
 * its owner, as if it were SECURITY DEFINER; any other function runs only if its
 * owner has all rights of the role that it would run as; and the condition of a
 * trigger that a role with fewer rights may have created can do nothing but compute.
 */
#ifndef DAMOOV_USERS_CODE_H
#define DAMOOV_USERS_CODE_H

#include "utils/relcache.h"

/* When the library is loaded. */
extern void users_code_init(void);

/* From now on in this process, or no longer.  Returns what held before. */
extern bool users_code_guard(bool on);

/* Throws when the engine may not compute the condition of a trigger of this table. */
extern void users_code_check(Relation table);

#endif							/* DAMOOV_USERS_CODE_H */
