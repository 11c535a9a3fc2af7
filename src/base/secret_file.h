/*
 * secret_file.h
 *	  Secrets in files of the directory "damoov.secrets_dir".
 */
#ifndef DAMOOV_SECRET_FILE_H
#define DAMOOV_SECRET_FILE_H

#include "nodes/pg_list.h"

#include "base/fault.h"

#define SECRET_FILE_NAME_MAX	64	/* characters */

/* May a secret file be named so?  It never leads to another directory. */
extern bool secret_file_is_named(const char *name);

/*
 * Appends the KEY=value lines of a file to the list, as DefElem.  False with the
 * fault filled when the file, or a line of it, cannot be used.
 */
extern bool secret_file_load(const char *name, List **secrets, Fault *fault);

#endif							/* DAMOOV_SECRET_FILE_H */
