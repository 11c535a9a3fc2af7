/*
 * gzip.c
 *	  Bytes that were compressed with gzip: see gzip.h.
 */
#include "postgres.h"

#include <zlib.h>

#include "compat.h"
#include "wire/gzip.h"

#define WITH_HEADER		(MAX_WBITS + 16)	/* of gzip, not of zlib */
#define HEADER_SIZE		18		/* and the end, where zlib's have less */
#define MEMORY_LEVEL	8		/* that of compressBound() */
#define FIRST_SIZE		(64 * 1024)
#define LEVEL			6		/* a twentieth larger than the best, in less than half of its time */

bool
gzip_is(const char *bytes, Size len)
{
	return len >= 2 && memcmp(bytes, "\x1F\x8B", 2) == 0;
}

/* Makes room for more; the last byte is that of the terminator. */
static bool
enlarge(z_stream *stream, char **out, Size *space)
{
	Size		filled = *space - stream->avail_out;
	Size		larger = *space == 0 ? FIRST_SIZE : *space * 2;
	char	   *buffer = realloc(*out, larger + 1);

	if (buffer == NULL)
		return false;
	*out = buffer;
	*space = larger;
	stream->next_out = (Bytef *) buffer + filled;
	stream->avail_out = (uInt) (larger - filled);
	return true;
}

static bool
only_zeros(const z_stream *stream)
{
	for (uInt i = 0; i < stream->avail_in; i++)
	{
		if (stream->next_in[i] != 0)
			return false;
	}
	return true;
}

static GzipResult
expand(z_stream *stream, Size max, char **out, Size *out_len)
{
	Size		space = 0;
	int			result = Z_OK;

	for (;;)
	{
		if (stream->avail_out == 0 && !enlarge(stream, out, &space))
			return GZIP_DAMAGED;
		result = inflate(stream, Z_NO_FLUSH);
		*out_len = space - stream->avail_out;
		if (*out_len > max)
			return GZIP_TOO_BIG;
		if (result == Z_OK || (result == Z_BUF_ERROR && stream->avail_out == 0))
			continue;
		if (result != Z_STREAM_END)
			return GZIP_DAMAGED;
		if (only_zeros(stream))
			break;
		if (inflateReset(stream) != Z_OK)
			return GZIP_DAMAGED;
	}
	(*out)[*out_len] = '\0';
	return GZIP_DONE;
}

GzipResult
gzip_expand(const char *bytes, Size len, Size max, char **out, Size *out_len)
{
	z_stream	stream = {.next_in = (Bytef *) bytes, .avail_in = (uInt) len};
	GzipResult	result = GZIP_DAMAGED;

	*out = NULL;
	if (len > PG_INT32_MAX || max > PG_INT32_MAX || inflateInit2(&stream, WITH_HEADER) != Z_OK)
		return GZIP_DAMAGED;
	result = expand(&stream, max, out, out_len);
	inflateEnd(&stream);
	if (result != GZIP_DONE)
	{
		free(*out);
		*out = NULL;
	}
	return result;
}

bytea *
gzip_compress(const char *bytes, Size len)
{
	z_stream	stream = {.next_in = (Bytef *) unconstify(char *, bytes), .avail_in = (uInt) len};
	Size		space = VARHDRSZ + compressBound(len) + HEADER_SIZE;
	bytea	   *out = palloc_extended(space, MCXT_ALLOC_HUGE);
	int			result = deflateInit2(&stream, LEVEL, Z_DEFLATED, WITH_HEADER, MEMORY_LEVEL,
									  Z_DEFAULT_STRATEGY);

	if (result == Z_OK)
	{
		stream.next_out = (Bytef *) VARDATA(out);
		stream.avail_out = (uInt) (space - VARHDRSZ);
		result = deflate(&stream, Z_FINISH);
		deflateEnd(&stream);
	}
	if (result != Z_STREAM_END)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("Could not compress %zu bytes.", len)));
	SET_VARSIZE(out, VARHDRSZ + stream.total_out);
	return out;
}
