/*
 * uuid.c
 *	  UUIDs from foreign text: see uuid.h.
 */
#include "postgres.h"

#include "base/text.h"
#include "base/uuid.h"

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
