/*
 * messages.c
 *	  The notifications that the stub hands out: see messages.h.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "messages.h"

#define FIRST_SENT		1772352000	/* 2026-03-01 08:00 UTC */
#define SENT_STEP_MS	137

typedef enum PieceKind
{
	PIECE_TEXT,
	PIECE_OBJECT,
	PIECE_USER,
	PIECE_CLIENT,
	PIECE_TIME,
	PIECE_KINDS
} PieceKind;

static const char *const marks[PIECE_KINDS] = {
	[PIECE_OBJECT] = MARK_OBJECT,
	[PIECE_USER] = MARK_USER,
	[PIECE_CLIENT] = MARK_CLIENT,
	[PIECE_TIME] = MARK_TIME,
};

typedef struct Piece
{
	PieceKind	kind;
	const char *text;
	size_t		len;
} Piece;

typedef struct Template
{
	Piece		pieces[32];
	int			count;
} Template;

static Buffer source;
static Template templates[64];
static int	ntemplates;
static long nusers;

/* A well-known mixing of bits (splitmix64): ids must not come in order. */
static uint64_t
mix(uint64_t value)
{
	value += 0x9e3779b97f4a7c15;
	value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
	value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
	return value ^ (value >> 31);
}

double
message_chance(long number)
{
	return (double) (mix(number ^ 0x5eed) >> 11) / (double) (1UL << 53);
}

void
message_uuid(char *text, unsigned long kind, unsigned long number)
{
	static const char digits[] = "0123456789abcdef";
	uint64_t	halves[2];

	halves[0] = mix((number << 2) + kind);
	halves[1] = mix(halves[0]);
	for (int at = 0, nibble = 0; at < UUID_LEN; at++)
	{
		if (at == 8 || at == 13 || at == 18 || at == 23)
			text[at] = '-';
		else
		{
			text[at] = digits[halves[nibble / 16] >> (nibble % 16 * 4) & 15];
			nibble++;
		}
	}
	text[14] = '4';
	text[19] = '8';
	text[UUID_LEN] = '\0';
}

/* The next mark in the text, or its end. */
static const char *
find_mark(const char *text, PieceKind *kind)
{
	const char *found = text + strlen(text);

	*kind = PIECE_TEXT;
	for (int i = PIECE_OBJECT; i < PIECE_KINDS; i++)
	{
		const char *at = strstr(text, marks[i]);

		if (at && at < found)
		{
			found = at;
			*kind = i;
		}
	}
	return found;
}

static void
add_piece(Template *template, PieceKind kind, const char *text, size_t len)
{
	if (template->count == sizeof(template->pieces) / sizeof(Piece))
		die("a template has too many pieces");
	template->pieces[template->count++] = (Piece) {kind, text, len};
}

static void
read_template(Template *template, const char *line)
{
	PieceKind	kind;

	template->count = 0;
	do
	{
		const char *mark = find_mark(line, &kind);

		add_piece(template, PIECE_TEXT, line, mark - line);
		line = mark;
		if (kind != PIECE_TEXT)
		{
			add_piece(template, kind, NULL, 0);
			line += strlen(marks[kind]);
		}
	} while (kind != PIECE_TEXT);
}

void
messages_load(const char *path, long users)
{
	buffer_free(&source);
	buffer_read_file(&source, path);
	nusers = users;
	ntemplates = 0;
	for (char *line = strtok(source.data, "\n"); line; line = strtok(NULL, "\n"))
	{
		if (ntemplates == sizeof(templates) / sizeof(Template))
			die("%s has too many templates", path);
		read_template(&templates[ntemplates++], line);
	}
	if (ntemplates == 0)
		die("%s is empty", path);
}

/* Each message is sent a little later than the one before; the digits go to 100 ns. */
static void
write_time(Buffer *out, long number)
{
	long		ms = number * SENT_STEP_MS;
	time_t		seconds = FIRST_SENT + ms / 1000;
	struct tm	utc;

	gmtime_r(&seconds, &utc);
	buffer_printf(out, "%04d-%02d-%02dT%02d:%02d:%02d.%03ld0001Z",
				  utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
				  utc.tm_hour, utc.tm_min, utc.tm_sec, ms % 1000);
}

void
message_write(Buffer *out, long number)
{
	const Template *template = &templates[number % ntemplates];
	unsigned long user = mix(number) % nusers;
	char		uuid[UUID_LEN + 1];

	for (const Piece *piece = template->pieces; piece < template->pieces + template->count; piece++)
	{
		switch (piece->kind)
		{
			case PIECE_OBJECT:
				message_uuid(uuid, 1, number);
				buffer_put(out, uuid, UUID_LEN);
				break;
			case PIECE_USER:
				message_uuid(uuid, 2, user);
				buffer_put(out, uuid, UUID_LEN);
				break;
			case PIECE_CLIENT:
				buffer_printf(out, "customer-%08lu", user);
				break;
			case PIECE_TIME:
				write_time(out, number);
				break;
			default:
				buffer_put(out, piece->text, piece->len);
		}
	}
}
