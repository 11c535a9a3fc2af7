/*
 * xml.c
 *	  The little XML in which services answer: see xml.h.
 *
 * No library that is needed anyway reads XML, and PostgreSQL may be built
 * without it, hence a reader for exactly this:
 *
 *	document	:= [BOM] [declaration] element
 *	element		:= <Name> (text | element*) </Name>
 *
 * where <Name/> stands for an empty element, and the outermost may have
 * attributes, which are read over.  Nothing recurses.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

#include "wire/xml.h"

#define LETTERS			"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"
#define NAME_LETTERS	LETTERS "0123456789-.:"
#define BLANKS			" \t\r\n"

#define NAME_MAX_LEN	64
#define DECLARATION_MAX	256
#define MAX_DEPTH		16
#define MAX_ELEMENTS	1000

typedef struct Reader
{
	const char *at;				/* not read yet; what is read ends in NUL */
	StringInfoData text;		/* in front of the tag that is being read */
	XmlDocument *document;
	XmlElement *open[MAX_DEPTH];	/* whose ends are to come */
	int			depth;
} Reader;

typedef struct Tag
{
	char		name[NAME_MAX_LEN];
	bool		closing;		/* </name> */
	bool		empty;			/* <name/> */
} Tag;

static void
skip_blanks(Reader *reader)
{
	reader->at += strspn(reader->at, BLANKS);
}

static bool
skip_text(Reader *reader, const char *text)
{
	Size		len = strlen(text);

	if (strncmp(reader->at, text, len) != 0)
		return false;
	reader->at += len;
	return true;
}

/* ----- tags ----- */

/* A name, of the characters that names of these services have. */
static bool
read_name(Reader *reader, char *name)
{
	Size		len = strspn(reader->at, NAME_LETTERS);

	if (len == 0 || len >= NAME_MAX_LEN || strspn(reader->at, LETTERS) == 0)
		return false;
	memcpy(name, reader->at, len);
	name[len] = '\0';
	reader->at += len;
	return true;
}

/* name="value", with a blank in front of it and either kind of quotes. */
static bool
skip_attributes(Reader *reader)
{
	for (;;)
	{
		char		name[NAME_MAX_LEN];
		bool		separate = strspn(reader->at, BLANKS) > 0;
		char		quote;

		skip_blanks(reader);
		if (strchr("/>", *reader->at))
			return true;
		if (!separate || !read_name(reader, name))
			return false;
		skip_blanks(reader);
		if (!skip_text(reader, "="))
			return false;
		skip_blanks(reader);
		quote = *reader->at++;
		if (quote != '"' && quote != '\'')
			return false;
		reader->at += strcspn(reader->at, quote == '"' ? "<\"" : "<'");
		if (*reader->at != quote)
			return false;
		reader->at++;
	}
}

static bool
read_tag(Reader *reader, Tag *tag)
{
	if (!skip_text(reader, "<"))
		return false;
	tag->closing = skip_text(reader, "/");
	if (!read_name(reader, tag->name))
		return false;
	if (reader->document->count == 0 && !skip_attributes(reader))
		return false;
	skip_blanks(reader);
	tag->empty = !tag->closing && skip_text(reader, "/");
	return skip_text(reader, ">");
}

/* ----- text ----- */

/* What XML 1.0 calls a character. */
static bool
is_xml_character(long c)
{
	return c == '\t' || c == '\n' || c == '\r' || (c >= 0x20 && c <= 0xD7FF) ||
		(c >= 0xE000 && c <= 0xFFFD) || (c >= 0x10000 && c <= 0x10FFFF);
}

/* &#10; or &#xA;, of which the two first characters are read. */
static bool
read_number(Reader *reader)
{
	bool		hex = skip_text(reader, "x");
	Size		digits = strspn(reader->at, hex ? "0123456789ABCDEFabcdef" : "0123456789");
	long		number;
	unsigned char utf8[MAX_MULTIBYTE_CHAR_LEN];

	/* leading zeros are allowed, but nobody writes so many */
	if (digits == 0 || digits > 10)
		return false;
	number = strtol(reader->at, NULL, hex ? 16 : 10);
	reader->at += digits;
	if (!is_xml_character(number) || !skip_text(reader, ";"))
		return false;
	unicode_to_utf8((pg_wchar) number, utf8);
	appendBinaryStringInfo(&reader->text, (char *) utf8, pg_utf_mblen(utf8));
	return true;
}

static bool
read_reference(Reader *reader)
{
	static const struct
	{
		const char *spelling;
		char		meaning;
	}			known[] = {
		{"&lt;", '<'}, {"&gt;", '>'}, {"&amp;", '&'}, {"&quot;", '"'}, {"&apos;", '\''},
	};

	for (int i = 0; i < (int) lengthof(known); i++)
	{
		if (skip_text(reader, known[i].spelling))
		{
			appendStringInfoChar(&reader->text, known[i].meaning);
			return true;
		}
	}
	return skip_text(reader, "&#") && read_number(reader);
}

/* Takes characters as they stand; XML knows one way to end a line. */
static bool
read_plain(Reader *reader, Size len)
{
	const char *from = reader->at;

	for (Size i = 0; i < len; i++)
	{
		unsigned char c = from[i];

		if (c < 0x20 && !strchr(BLANKS, c))
			return false;
		if (c == '\r' && i + 1 < len && from[i + 1] == '\n')
			continue;
		appendStringInfoChar(&reader->text, c == '\r' ? '\n' : c);
	}
	reader->at += len;
	return true;
}

/* <![CDATA[...]]>, of which the beginning is read. */
static bool
read_cdata(Reader *reader)
{
	const char *end = strstr(reader->at, "]]>");

	return end && read_plain(reader, end - reader->at) && skip_text(reader, "]]>");
}

/* Everything up to the next tag. */
static bool
read_text(Reader *reader)
{
	resetStringInfo(&reader->text);
	for (;;)
	{
		if (!read_plain(reader, strcspn(reader->at, "<&")))
			return false;
		if (skip_text(reader, "<![CDATA["))
		{
			if (!read_cdata(reader))
				return false;
		}
		else if (*reader->at != '&')
			return *reader->at == '<';
		else if (!read_reference(reader))
			return false;
	}
}

/* ----- elements ----- */

/* An element begins; what stands in front of it was "blank" or not. */
static bool
begin_element(Reader *reader, const Tag *tag, bool blank)
{
	XmlDocument *document = reader->document;
	XmlElement *element = &document->elements[document->count];

	if (document->count == MAX_ELEMENTS || reader->depth == MAX_DEPTH || !blank)
		return false;
	if (reader->depth > 0)
		reader->open[reader->depth - 1]->text = NULL;
	document->count++;
	element->name = pstrdup(tag->name);
	element->depth = reader->depth;
	element->text = pstrdup("");
	if (!tag->empty)
		reader->open[reader->depth++] = element;
	return true;
}

static bool
end_element(Reader *reader, const Tag *tag, bool blank)
{
	XmlElement *element;

	if (reader->depth == 0)
		return false;
	element = reader->open[--reader->depth];
	if (strcmp(element->name, tag->name) != 0)
		return false;
	if (element->text == NULL)
		return blank;
	element->text = pstrdup(reader->text.data);
	return true;
}

static bool
read_elements(Reader *reader)
{
	do
	{
		const char *from = reader->at;
		bool		blank;
		Tag			tag;

		if (!read_text(reader))
			return false;
		blank = from + strspn(from, BLANKS) == reader->at;
		if (!read_tag(reader, &tag))
			return false;
		if (!(tag.closing ? end_element(reader, &tag, blank) : begin_element(reader, &tag, blank)))
			return false;
	} while (reader->depth > 0);
	skip_blanks(reader);
	return *reader->at == '\0';
}

/* Only UTF-8 is read, whatever the declaration says of it. */
static bool
skip_declaration(Reader *reader)
{
	const char *end;

	if (strncmp(reader->at, "<?xml ", 6) != 0)
		return true;
	end = strstr(reader->at, "?>");
	if (end == NULL || end - reader->at > DECLARATION_MAX)
		return false;
	reader->at = end + 2;
	return true;
}

XmlDocument *
xml_read(const char *text, Size len)
{
	Reader		reader = {.at = text};

	/* this also ends at a NUL inside */
	if (pg_encoding_verifymbstr(PG_UTF8, text, (int) len) != (int) len)
		return NULL;
	initStringInfo(&reader.text);
	reader.document = palloc0(sizeof(XmlDocument));
	reader.document->elements = palloc(MAX_ELEMENTS * sizeof(XmlElement));
	(void) skip_text(&reader, "\xEF\xBB\xBF");
	if (!skip_declaration(&reader) || !read_elements(&reader))
		return NULL;
	return reader.document;
}

char *
xml_text(const XmlDocument *document, const char *name)
{
	for (int i = 0; document && i < document->count; i++)
	{
		if (strcmp(document->elements[i].name, name) == 0)
			return document->elements[i].text;
	}
	return NULL;
}
