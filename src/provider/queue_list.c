/*
 * queue_list.c
 *	  The XML in which an Azure Storage queue hands out messages.
 *
 * No library that is needed anyway reads XML, and PostgreSQL may be built
 * without it, hence a reader for exactly this reply:
 *
 *	list	:= [BOM] [declaration] <QueueMessagesList> message* </QueueMessagesList>
 *	message	:= <QueueMessage> leaf* </QueueMessage>
 *	leaf	:= <Name> text </Name>
 *
 * where <Name/> stands for an empty element.  There is nothing in it to
 * recurse into.  Leaves that are not needed are read over; everything else
 * that XML allows (attributes, comments, processing instructions, document
 * types with their entities) the service does not write and is refused.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

#include "provider/queue_list.h"

#define NAME_MAX_LEN	64
#define DECLARATION_MAX	256

/* at the first character that is not read yet; what is read ends in NUL */
typedef struct Reader
{
	const char *at;
} Reader;

typedef struct Tag
{
	char		name[NAME_MAX_LEN];
	bool		closing;		/* </name> */
	bool		empty;			/* <name/> */
} Tag;

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void
skip_blanks(Reader *reader)
{
	while (is_blank(*reader->at))
		reader->at++;
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

/* A name, of the characters that names of this service have. */
static bool
read_name(Reader *reader, char *name)
{
	Size		len = strspn(reader->at, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");

	if (len == 0 || len >= NAME_MAX_LEN)
		return false;
	memcpy(name, reader->at, len);
	name[len] = '\0';
	reader->at += len;
	return true;
}

static bool
read_tag(Reader *reader, Tag *tag)
{
	if (!skip_text(reader, "<"))
		return false;
	tag->closing = skip_text(reader, "/");
	if (!read_name(reader, tag->name))
		return false;
	skip_blanks(reader);
	tag->empty = !tag->closing && skip_text(reader, "/");
	return skip_text(reader, ">");
}

/* A tag between elements, where only blanks may stand. */
static bool
next_tag(Reader *reader, Tag *tag)
{
	skip_blanks(reader);
	return read_tag(reader, tag);
}

static bool
closes(const Tag *tag, const char *name)
{
	return tag->closing && strcmp(tag->name, name) == 0;
}

static bool
opens(const Tag *tag, const char *name)
{
	return !tag->closing && strcmp(tag->name, name) == 0;
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
read_number(Reader *reader, StringInfo text)
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
	appendBinaryStringInfo(text, (char *) utf8, pg_utf_mblen(utf8));
	return true;
}

static bool
read_reference(Reader *reader, StringInfo text)
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
			appendStringInfoChar(text, known[i].meaning);
			return true;
		}
	}
	return skip_text(reader, "&#") && read_number(reader, text);
}

/* Appends characters as they stand; XML knows one way to end a line. */
static bool
append_plain(StringInfo text, const char *from, Size len)
{
	for (Size i = 0; i < len; i++)
	{
		unsigned char c = from[i];

		if (c < 0x20 && !is_blank(c))
			return false;
		if (c == '\r' && i + 1 < len && from[i + 1] == '\n')
			continue;
		appendStringInfoChar(text, c == '\r' ? '\n' : c);
	}
	return true;
}

/* <![CDATA[...]]>, of which the beginning is read. */
static bool
read_cdata(Reader *reader, StringInfo text)
{
	const char *end = strstr(reader->at, "]]>");

	if (end == NULL || !append_plain(text, reader->at, end - reader->at))
		return false;
	reader->at = end + 3;
	return true;
}

/* Everything up to the next tag. */
static bool
read_text(Reader *reader, StringInfo text)
{
	for (;;)
	{
		Size		len = strcspn(reader->at, "<&");

		if (!append_plain(text, reader->at, len))
			return false;
		reader->at += len;
		if (skip_text(reader, "<![CDATA["))
		{
			if (!read_cdata(reader, text))
				return false;
		}
		else if (*reader->at != '&')
			return *reader->at == '<';
		else if (!read_reference(reader, text))
			return false;
	}
}

/* ----- messages ----- */

static bool
read_count(const char *text, int *count)
{
	Size		digits = strspn(text, "0123456789");

	if (digits == 0 || digits > 9 || text[digits] != '\0')
		return false;
	*count = atoi(text);
	return true;
}

/* The text of an element whose opening tag is read. */
static char *
read_leaf(Reader *reader, const Tag *opening)
{
	StringInfoData text;
	Tag			closing;

	initStringInfo(&text);
	if (opening->empty)
		return text.data;
	if (!read_text(reader, &text) || !read_tag(reader, &closing) ||
		!closes(&closing, opening->name))
		return NULL;
	return text.data;
}

static bool
put_once(char **member, char *text)
{
	if (*member != NULL)
		return false;
	*member = text;
	return true;
}

static bool
read_message(Reader *reader, QueuedMessage *message)
{
	Tag			tag;
	char	   *count = NULL;

	for (;;)
	{
		char	   *text;
		bool		known = true;

		if (!next_tag(reader, &tag))
			return false;
		if (closes(&tag, "QueueMessage"))
			break;
		if (tag.closing || (text = read_leaf(reader, &tag)) == NULL)
			return false;
		if (strcmp(tag.name, "MessageId") == 0)
			known = put_once(&message->id, text);
		else if (strcmp(tag.name, "PopReceipt") == 0)
			known = put_once(&message->receipt, text);
		else if (strcmp(tag.name, "DequeueCount") == 0)
			known = put_once(&count, text);
		else if (strcmp(tag.name, "MessageText") == 0)
			known = put_once(&message->text, text);
		if (!known)
			return false;
	}
	return message->id && message->id[0] && message->receipt && message->receipt[0] &&
		message->text && count && read_count(count, &message->dequeue_count);
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

static int
read_messages(Reader *reader, int max, QueuedMessage *messages)
{
	int			count = 0;
	Tag			tag;

	for (;;)
	{
		if (!next_tag(reader, &tag))
			return -1;
		if (closes(&tag, "QueueMessagesList"))
			return count;
		if (!opens(&tag, "QueueMessage") || tag.empty || count == max ||
			!read_message(reader, &messages[count++]))
			return -1;
	}
}

int
queue_list_read(const char *xml, Size len, int max, QueuedMessage **messages)
{
	Reader		reader = {xml};
	Tag			tag;
	int			count = 0;

	*messages = palloc0(max * sizeof(QueuedMessage));
	/* this also ends at a NUL inside */
	if (pg_encoding_verifymbstr(PG_UTF8, xml, len) != (int) len)
		return -1;
	(void) skip_text(&reader, "\xEF\xBB\xBF");
	if (!skip_declaration(&reader) || !next_tag(&reader, &tag) ||
		!opens(&tag, "QueueMessagesList"))
		return -1;
	if (!tag.empty)
		count = read_messages(&reader, max, *messages);
	skip_blanks(&reader);
	return *reader.at == '\0' ? count : -1;
}
