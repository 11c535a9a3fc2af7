/*
 * buffer.h
 *	  Bytes that grow at the end.
 */
#ifndef BUFFER_H
#define BUFFER_H

#include <stddef.h>

typedef struct Buffer
{
	char	   *data;			/* ends in a zero that does not count */
	size_t		len;
	size_t		room;
} Buffer;

extern void buffer_put(Buffer *buffer, const void *bytes, size_t len);
extern void buffer_printf(Buffer *buffer, const char *format,...) __attribute__((format(printf, 2, 3)));

/* Takes bytes away at the front. */
extern void buffer_drop(Buffer *buffer, size_t len);

extern void buffer_free(Buffer *buffer);

/* The whole of a file; ends the program when it cannot be read. */
extern void buffer_read_file(Buffer *buffer, const char *path);

extern void die(const char *format,...) __attribute__((format(printf, 1, 2), noreturn));

#endif							/* BUFFER_H */
