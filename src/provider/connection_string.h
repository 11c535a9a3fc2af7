/*
 * connection_string.h
 *	  Connection strings of Azure: "Name=value;Name=value".
 *
 * Names are the same in any case; blanks and line ends around names and values
 * do not count.  A value may contain "=".
 */
#ifndef DAMOOV_CONNECTION_STRING_H
#define DAMOOV_CONNECTION_STRING_H

#include "base/fault.h"

/*
 * The first value of a name that is not empty, or NULL; text may be NULL.  It
 * may be a secret, and is overwritten when the current context goes.  A part
 * ends at one of these characters.
 */
extern char *connection_string_get(const char *text, const char *name, const char *ends);

/*
 * Is it well formed, its parts ended by semicolons, and has it none of these
 * names (the last is NULL) twice or without a value?  Other names mean nothing.
 */
extern bool connection_string_check(const char *text, const char *const *names, Fault *fault);

#endif							/* DAMOOV_CONNECTION_STRING_H */
