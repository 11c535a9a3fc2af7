/*
 * header_lines.h
 *	  The header lines of a reply.
 *
 * No palloc and no error here: libcurl calls this.
 */
#ifndef DAMOOV_HEADER_LINES_H
#define DAMOOV_HEADER_LINES_H

typedef struct HeaderLines
{
	char	   *text;			/* malloc'd lines, each ends in NUL */
	Size		len;
	int			count;
	bool		too_many;
} HeaderLines;

/*
 * Adds a line, without its end.  A status line begins them again: the reply
 * before was an interim one.  False when there are too many, or memory is short.
 */
extern bool header_lines_add(HeaderLines *lines, const char *line, Size len);

/* The value of a header, or NULL; valid until a line is added. */
extern const char *header_lines_find(const HeaderLines *lines, const char *name);

extern void header_lines_free(HeaderLines *lines);

#endif							/* DAMOOV_HEADER_LINES_H */
