/*
 * dotnet.c
 *	  Strings in .NET binary XML: see dotnet.h.
 *
 * The format is [MC-NBFX].  Only what a serialized string or byte array needs
 * is read here: one element, its name space, text records, its end.  A text
 * record of odd type ends the element, too.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

#include "message/dotnet.h"

#define RECORD_END			0x01
#define RECORD_XMLNS		0x08
#define RECORD_ELEMENT		0x40
#define RECORD_EMPTY_TEXT	0xA8

typedef enum TextKind
{
	TEXT_UTF8,
	TEXT_BYTES,
	TEXT_UTF16
} TextKind;

/* Even types; each has one length of 1, 2 or 4 bytes, in this order. */
static const struct
{
	uint8		first;
	TextKind	kind;
}			text_records[] = {
	{0x98, TEXT_UTF8}, {0x9E, TEXT_BYTES}, {0xB6, TEXT_UTF16}
};

typedef struct Reader
{
	const uint8 *at;
	const uint8 *end;
} Reader;

static bool
read_byte(Reader *reader, uint8 *byte)
{
	if (reader->at == reader->end)
		return false;
	*byte = *reader->at++;
	return true;
}

/* A length of "size" bytes, little-endian, and what it is the length of. */
static bool
read_counted(Reader *reader, int size, const uint8 **start, Size *len)
{
	uint8		byte;

	*len = 0;
	for (int i = 0; i < size; i++)
	{
		if (!read_byte(reader, &byte))
			return false;
		*len |= (Size) byte << (8 * i);
	}
	if (*len > (Size) (reader->end - reader->at))
		return false;
	*start = reader->at;
	reader->at += *len;
	return true;
}

/*
 * Names and name spaces: their lengths take one byte, for all we look for are
 * shorter than 128 bytes.
 */
static bool
read_name(Reader *reader, uint8 record, const uint8 **name, Size *len)
{
	uint8		type;

	return read_byte(reader, &type) && type == record &&
		read_counted(reader, 1, name, len) && *len < 128;
}

static bool
is_text(const uint8 *bytes, Size len, const char *text)
{
	return len == strlen(text) && memcmp(bytes, text, len) == 0;
}

static bool
read_element(Reader *reader, bool *is_string, bool *is_bytes)
{
	static const char scheme[] = "http://";
	const uint8 *name;
	const uint8 *space;
	Size		name_len;
	Size		space_len;
	bool		serialized;

	if (!read_name(reader, RECORD_ELEMENT, &name, &name_len) ||
		!read_name(reader, RECORD_XMLNS, &space, &space_len) ||
		space_len < strlen(scheme) || memcmp(space, scheme, strlen(scheme)) != 0)
		return false;
	serialized = is_text(space, space_len,
						 "http://schemas.microsoft.com/2003/10/Serialization/");
	*is_string = serialized && is_text(name, name_len, "string");
	*is_bytes = serialized && is_text(name, name_len, "base64Binary");
	return true;
}

/*
 * Appends text in UTF-16LE; *first_half is the first half of a surrogate pair
 * left over from the record before, or 0.
 */
static bool
append_utf16(StringInfo text, const uint8 *bytes, Size len, pg_wchar *first_half)
{
	if (len % 2 != 0)
		return false;
	for (Size i = 0; i < len; i += 2)
	{
		pg_wchar	c = bytes[i] | bytes[i + 1] << 8;
		unsigned char encoded[4];

		/* a second half has to follow a first half, and nothing else may */
		if (is_utf16_surrogate_second(c) != (*first_half != 0))
			return false;
		if (is_utf16_surrogate_first(c))
		{
			*first_half = c;
			continue;
		}
		if (*first_half != 0)
			c = surrogate_pair_to_codepoint(*first_half, c);
		*first_half = 0;
		unicode_to_utf8(c, encoded);
		appendBinaryStringInfo(text, (char *) encoded, pg_utf_mblen(encoded));
	}
	return true;
}

/* Appends one text record; the type has been read. */
static bool
read_text(Reader *reader, uint8 type, bool of_bytes, StringInfo text,
		  pg_wchar *first_half)
{
	for (int i = 0; i < (int) lengthof(text_records); i++)
	{
		int			width = ((type & 0xFE) - text_records[i].first) / 2;
		TextKind	kind = text_records[i].kind;
		const uint8 *start;
		Size		len;

		if (width < 0 || width > 2 || (type & 0xFE) < text_records[i].first)
			continue;
		if (of_bytes != (kind == TEXT_BYTES) ||
			!read_counted(reader, 1 << width, &start, &len))
			return false;
		if (kind == TEXT_UTF16)
			return append_utf16(text, start, len, first_half);
		if (*first_half != 0)
			return false;
		appendBinaryStringInfo(text, (const char *) start, (int) len);
		return true;
	}
	return (type & 0xFE) == RECORD_EMPTY_TEXT;
}

bool
dotnet_is_element(const char *body, Size len)
{
	Reader		reader = {(const uint8 *) body, (const uint8 *) body + len};
	bool		is_string;
	bool		is_bytes;

	return read_element(&reader, &is_string, &is_bytes);
}

bool
dotnet_read(const char *body, Size len, char **text, Size *text_len, Fault *fault)
{
	Reader		reader = {(const uint8 *) body, (const uint8 *) body + len};
	bool		is_string;
	bool		is_bytes;
	StringInfoData joined;
	pg_wchar	first_half = 0;
	uint8		type = 0;

	if (!read_element(&reader, &is_string, &is_bytes) || !(is_string || is_bytes))
		return fault_set(fault, REASON_ENVELOPE,
						 ".NET binary XML holds neither a string nor bytes");
	initStringInfo(&joined);
	do
	{
		if (!read_byte(&reader, &type) ||
			(type != RECORD_END &&
			 !read_text(&reader, type, is_bytes, &joined, &first_half)))
			return fault_set(fault, REASON_ENVELOPE, "text in .NET binary XML is damaged");
	} while (type % 2 == 0);
	if (first_half != 0 || reader.at != reader.end)
		return fault_set(fault, REASON_ENVELOPE, ".NET binary XML does not end after the text");
	*text = joined.data;
	*text_len = joined.len;
	return true;
}
