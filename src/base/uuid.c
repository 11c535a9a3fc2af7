/*
 * uuid.c
 *	  UUIDs from foreign text: see uuid.h.
 */
#include "postgres.h"

#include "base/text.h"
#include "base/uuid.h"

#define MAX_BACKSLASHES		64

bool
uuid_parse(const char *text, pg_uuid_t *uuid)
{
	bool		braced = *text == '{';
	const char *at = braced ? text + 1 : text;

	for (int i = 0; i < UUID_LEN; i++)
	{
		int			high = text_hex_digit(at[0]);
		int			low = high < 0 ? -1 : text_hex_digit(at[1]);

		if (low < 0)
			return false;
		uuid->data[i] = (unsigned char) (high << 4 | low);
		at += 2;
		if (*at == '-' && i % 2 == 1 && i < UUID_LEN - 1)
			at++;
	}
	if (braced && *at++ != '}')
		return false;
	return *at == '\0';
}

int
uuid_prefix(const char *text, pg_uuid_t *uuid)
{
	char		copy[UUID_TEXT_SIZE];

	for (int length = 36; length >= 32; length -= 4)
	{
		if (strnlen(text, length) < (Size) length)
			continue;
		memcpy(copy, text, length);
		copy[length] = '\0';
		if (copy[0] != '{' && uuid_parse(copy, uuid))
			return length;
	}
	return 0;
}

/*
 * The character at *at, which moves behind it, with escapes undone; -1 when there
 * is none.  What was undone may begin an escape itself: %2530, \\u0030, %5Cu0030
 * and \u002530 are all a 0.  Without "backslashes" one of these stands for itself.
 */
static int
spelled_char(const char **at, const char *end, bool backslashes, int depth)
{
	int			c = *at < end && depth < 4 ? (unsigned char) *(*at)++ : -1;

	while (c == '%' || (c == '\\' && backslashes))
	{
		int			digits = 2;
		int			value = 0;

		if (c == '\\')
		{
			/* each escape of an escape doubles them; a long row is no escape */
			for (int i = 0; i < MAX_BACKSLASHES; i++)
			{
				c = spelled_char(at, end, false, depth + 1);
				if (c != '\\')
					break;
			}
			if (c != 'u' && c != 'x')
				return -1;
			digits = c == 'u' ? 4 : 2;
		}
		while (digits-- > 0)
		{
			int			digit = spelled_char(at, end, true, depth + 1);

			if (digit < 0 || digit > 127 || (digit = text_hex_digit((char) digit)) < 0)
				return -1;
			value = value << 4 | digit;
		}
		c = value;
	}
	return c;
}

Size
uuid_spelled(const char *text, const char *end, pg_uuid_t *uuid)
{
	const char *at = text;

	for (int i = 0; i < 2 * UUID_LEN;)
	{
		int			c = spelled_char(&at, end, true, 0);
		int			digit = c >= 0 && c < 128 ? text_hex_digit((char) c) : -1;

		if (digit >= 0)
		{
			unsigned char *byte = &uuid->data[i / 2];

			*byte = i % 2 == 0 ? digit << 4 : *byte | digit;
			i++;
		}
		else if (i == 0 || (c != '-' && c != '\0'))
			return 0;
	}
	return at - text;
}

bool
uuid_is_zero(const pg_uuid_t *uuid)
{
	static const pg_uuid_t zero = {{0}};

	return uuid_equal(uuid, &zero);
}

char *
uuid_format(const pg_uuid_t *uuid, char *buffer)
{
	static const char digits[] = "0123456789abcdef";
	char	   *at = buffer;

	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*at++ = '-';
		*at++ = digits[uuid->data[i] >> 4];
		*at++ = digits[uuid->data[i] & 15];
	}
	*at = '\0';
	return buffer;
}
