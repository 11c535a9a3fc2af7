/*
 * header_lines.c
 *	  The header lines of a reply: see header_lines.h.
 */
#include "postgres.h"

#include "wire/header_lines.h"

#define MAX_HEADERS			200
#define MAX_HEADER_BYTES	(256 * 1024)

/* The value of the header on this line; NULL when it is another header. */
static const char *
header_value(const char *line, Size len, const char *name)
{
	Size		name_len = strlen(name);
	const char *at;

	if (len <= name_len || line[name_len] != ':' ||
		pg_strncasecmp(line, name, name_len) != 0)
		return NULL;
	for (at = line + name_len + 1; at < line + len && *at == ' '; at++)
		;
	return at;
}

bool
header_lines_add(HeaderLines *lines, const char *line, Size len)
{
	char	   *text;

	if (len > 5 && memcmp(line, "HTTP/", 5) == 0)
		lines->len = 0;
	while (len > 0 && (line[len - 1] == '\r' || line[len - 1] == '\n'))
		len--;
	if (++lines->count > MAX_HEADERS || lines->len + len + 1 > MAX_HEADER_BYTES)
	{
		lines->too_many = true;
		return false;
	}
	text = realloc(lines->text, lines->len + len + 1);
	if (text == NULL)
		return false;
	memcpy(text + lines->len, line, len);
	text[lines->len + len] = '\0';
	lines->text = text;
	lines->len += len + 1;
	return true;
}

const char *
header_lines_find(const HeaderLines *lines, const char *name)
{
	const char *line = lines->text;

	while (line && line < lines->text + lines->len)
	{
		const char *value = header_value(line, strlen(line), name);

		if (value)
			return value;
		line += strlen(line) + 1;
	}
	return NULL;
}

void
header_lines_free(HeaderLines *lines)
{
	free(lines->text);
	lines->text = NULL;
	lines->len = 0;
}
