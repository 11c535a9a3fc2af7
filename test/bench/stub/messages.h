/*
 * messages.h
 *	  The notifications that the stub hands out: made of a few templates and a
 *	  number, so that a million of them take no memory and are the same in each
 *	  run.
 */
#ifndef MESSAGES_H
#define MESSAGES_H

#include "buffer.h"

/* What stands in a template, or in a dataset, for what differs. */
#define MARK_OBJECT		"00000000-0000-4000-8000-0000000000b1"
#define MARK_USER		"00000000-0000-4000-8000-0000000000b2"
#define MARK_CLIENT		"customer-########"
#define MARK_TIME		"2000-01-01T00:00:00.0000000Z"
#define UUID_LEN		36

/* Takes the templates from a file, a line each, for so many users. */
extern void messages_load(const char *path, long users);

extern void message_write(Buffer *out, long number);

/* A number from 0 to 1 that is always the same for this message. */
extern double message_chance(long number);

/* The id of an object or user, with its terminating zero. */
extern void message_uuid(char *text, unsigned long kind, unsigned long number);

#endif							/* MESSAGES_H */
