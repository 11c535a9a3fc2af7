/*
 * datasets.c
 *	  The documents that the stub hands out: see datasets.h.
 */
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "datasets.h"
#include "messages.h"

#define MAX_DOCUMENTS	256
#define MAX_PIECES		16
#define LEVEL			6

typedef struct Piece
{
	const char *mark;			/* NULL: the compressed bytes below */
	Buffer		bytes;
	uLong		crc;
	size_t		len;			/* before compressing */
} Piece;

typedef struct Document
{
	char		kind[32];
	Piece		pieces[MAX_PIECES];
	int			count;
} Document;

static Document documents[MAX_DOCUMENTS];
static int	ndocuments;
static int	last;				/* handed out */

/* Ends at a byte, and is not the last block of its stream. */
static void
compress_piece(Piece *piece, const char *text, size_t len)
{
	z_stream	stream = {.next_in = (Bytef *) text, .avail_in = len};
	Bytef		bytes[65536];

	piece->len = len;
	piece->crc = crc32(0, (const Bytef *) text, len);
	if (deflateInit2(&stream, LEVEL, Z_DEFLATED, -MAX_WBITS, 9, Z_DEFAULT_STRATEGY) != Z_OK)
		die("could not compress");
	do
	{
		stream.next_out = bytes;
		stream.avail_out = sizeof(bytes);
		deflate(&stream, Z_FULL_FLUSH);
		buffer_put(&piece->bytes, bytes, sizeof(bytes) - stream.avail_out);
	} while (stream.avail_out == 0);
	deflateEnd(&stream);
}

static const char *
find_mark(const char *text, const char **mark)
{
	const char *object = strstr(text, MARK_OBJECT);
	const char *user = strstr(text, MARK_USER);
	bool		is_object = object && (user == NULL || object < user);

	*mark = is_object ? MARK_OBJECT : user ? MARK_USER : NULL;
	return is_object ? object : user ? user : text + strlen(text);
}

static void
read_document(Document *document, const char *text)
{
	const char *mark;

	do
	{
		const char *end = find_mark(text, &mark);

		if (document->count + 2 > MAX_PIECES)
			die("a document has too many pieces");
		compress_piece(&document->pieces[document->count++], text, end - text);
		text = end;
		if (mark)
		{
			document->pieces[document->count++].mark = mark;
			text += UUID_LEN;
		}
	} while (mark);
}

void
datasets_load(const char *directory)
{
	Buffer		pattern = {0};
	glob_t		found;

	buffer_printf(&pattern, "%s/*-*.json", directory);
	if (glob(pattern.data, 0, NULL, &found) != 0)
		die("there is no %s", pattern.data);
	for (size_t i = 0; i < found.gl_pathc; i++)
	{
		Document   *document = &documents[ndocuments++];
		Buffer		text = {0};

		if (ndocuments > MAX_DOCUMENTS)
			die("there are too many documents");
		sscanf(strrchr(found.gl_pathv[i], '/') + 1, "%31[a-z_]", document->kind);
		buffer_read_file(&text, found.gl_pathv[i]);
		read_document(document, text.data);
		buffer_free(&text);
	}
	globfree(&found);
	buffer_free(&pattern);
}

/* A block that is not compressed: its head, then the id. */
static void
put_stored(Buffer *out, const char *id)
{
	static const unsigned char head[] = {0, UUID_LEN, 0, 255 - UUID_LEN, 255};

	buffer_put(out, head, sizeof(head));
	buffer_put(out, id, UUID_LEN);
}

static void
put_little_endian(Buffer *out, uLong value)
{
	unsigned char bytes[] = {value, value >> 8, value >> 16, value >> 24};

	buffer_put(out, bytes, sizeof(bytes));
}

static void
write_document(Buffer *out, const Document *document, const char *object, const char *user)
{
	static const unsigned char head[] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3};
	static const unsigned char end[] = {3, 0};	/* an empty last block */
	uLong		crc = 0;
	uLong		len = 0;

	buffer_put(out, head, sizeof(head));
	for (const Piece *piece = document->pieces; piece < document->pieces + document->count; piece++)
	{
		const char *id = piece->mark && strcmp(piece->mark, MARK_USER) == 0 ? user : object;
		size_t		piece_len = piece->mark ? UUID_LEN : piece->len;

		if (piece->mark)
			put_stored(out, id);
		else
			buffer_put(out, piece->bytes.data, piece->bytes.len);
		crc = crc32_combine(crc, piece->mark ? crc32(0, (const Bytef *) id, UUID_LEN) : piece->crc, piece_len);
		len += piece_len;
	}
	buffer_put(out, end, sizeof(end));
	put_little_endian(out, crc);
	put_little_endian(out, len);
}

bool
dataset_write(Buffer *out, const char *kind, const char *object, const char *user)
{
	for (int i = 0; i < ndocuments; i++)
	{
		last = (last + 1) % ndocuments;
		if (strcmp(documents[last].kind, kind) == 0)
		{
			write_document(out, &documents[last], object, user);
			return true;
		}
	}
	return false;
}
