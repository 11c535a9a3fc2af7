/*
 * text.c
 *	  Small checks of text from outside: see text.h.
 */
#include "postgres.h"

#include "base/text.h"

bool
text_consists_of(const char *text, Size len, const char *characters)
{
	return len > 0 && strspn(text, characters) >= len;
}

char *
text_trim(char *text)
{
	char	   *end = text + strlen(text);

	while (end > text && strchr(" \t\r", end[-1]))
		*--end = '\0';
	return text + strspn(text, " \t");
}

int
text_hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}
