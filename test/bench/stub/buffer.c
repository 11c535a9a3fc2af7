/*
 * buffer.c
 *	  Bytes that grow at the end: see buffer.h.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buffer.h"

void
die(const char *format,...)
{
	va_list		arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(1);
}

static void
make_room(Buffer *buffer, size_t len)
{
	if (buffer->len + len < buffer->room)
		return;
	while (buffer->len + len >= buffer->room)
		buffer->room = buffer->room ? buffer->room * 2 : 4096;
	buffer->data = realloc(buffer->data, buffer->room);
	if (buffer->data == NULL)
		die("out of memory");
}

void
buffer_put(Buffer *buffer, const void *bytes, size_t len)
{
	make_room(buffer, len);
	memcpy(buffer->data + buffer->len, bytes, len);
	buffer->len += len;
	buffer->data[buffer->len] = '\0';
}

void
buffer_printf(Buffer *buffer, const char *format,...)
{
	va_list		arguments;
	int			len;

	make_room(buffer, 256);
	for (;;)
	{
		va_start(arguments, format);
		len = vsnprintf(buffer->data + buffer->len, buffer->room - buffer->len, format, arguments);
		va_end(arguments);
		if ((size_t) len < buffer->room - buffer->len)
			break;
		make_room(buffer, len);
	}
	buffer->len += len;
}

void
buffer_drop(Buffer *buffer, size_t len)
{
	memmove(buffer->data, buffer->data + len, buffer->len - len + 1);
	buffer->len -= len;
}

void
buffer_free(Buffer *buffer)
{
	free(buffer->data);
	*buffer = (Buffer) {0};
}

void
buffer_read_file(Buffer *buffer, const char *path)
{
	char		bytes[65536];
	size_t		len;
	FILE	   *file = fopen(path, "rb");

	if (file == NULL)
		die("could not open %s: %s", path, strerror(errno));
	while ((len = fread(bytes, 1, sizeof(bytes), file)) > 0)
		buffer_put(buffer, bytes, len);
	if (ferror(file))
		die("could not read %s", path);
	fclose(file);
}
