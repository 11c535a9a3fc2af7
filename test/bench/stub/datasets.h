/*
 * datasets.h
 *	  The documents that the stub hands out, compressed once.
 *
 * A document that names its object or its user differs from reply to reply.
 * It is compressed in pieces between the marks, and the ids are put in between
 * without compressing them: a gzip stream may hold both.
 */
#ifndef DATASETS_H
#define DATASETS_H

#include <stdbool.h>

#include "buffer.h"

/* Reads all files DIRECTORY/KIND-*.json. */
extern void datasets_load(const char *directory);

/* The next document of this kind, for this object and user; false: there is none. */
extern bool dataset_write(Buffer *out, const char *kind, const char *object, const char *user);

#endif							/* DATASETS_H */
