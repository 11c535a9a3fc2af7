/*
 * queue_list.c
 *	  The XML in which an Azure Storage queue hands out messages:
 *
 *	list	:= <QueueMessagesList> message* </QueueMessagesList>
 *	message	:= <QueueMessage> leaf* </QueueMessage>
 *
 * Leaves that are not needed are read over.
 */
#include "postgres.h"

#include "provider/queue_list.h"
#include "wire/xml.h"

static bool
read_count(const char *text, int *count)
{
	Size		digits = strspn(text, "0123456789");

	if (*count >= 0 || digits == 0 || digits > 9 || text[digits] != '\0')
		return false;
	*count = atoi(text);
	return true;
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
put_leaf(QueuedMessage *message, const XmlElement *leaf)
{
	if (leaf->text == NULL)
		return false;
	if (strcmp(leaf->name, "MessageId") == 0)
		return put_once(&message->id, leaf->text);
	if (strcmp(leaf->name, "PopReceipt") == 0)
		return put_once(&message->receipt, leaf->text);
	if (strcmp(leaf->name, "DequeueCount") == 0)
		return read_count(leaf->text, &message->dequeue_count);
	if (strcmp(leaf->name, "MessageText") == 0)
		return put_once(&message->text, leaf->text);
	return true;
}

static bool
is_complete(const QueuedMessage *message)
{
	return message->id && message->id[0] && message->receipt && message->receipt[0] &&
		message->text && message->dequeue_count >= 0;
}

/* The messages are those below the root, and end with the document. */
static int
read_messages(const XmlDocument *document, int max, QueuedMessage *messages)
{
	int			count = 0;

	for (int i = 1; i < document->count; i++)
	{
		const XmlElement *element = &document->elements[i];

		if (element->depth == 1)
		{
			if (count == max || strcmp(element->name, "QueueMessage") != 0)
				return -1;
			messages[count++].dequeue_count = -1;
		}
		else if (!put_leaf(&messages[count - 1], element))
			return -1;
	}
	for (int i = 0; i < count; i++)
	{
		if (!is_complete(&messages[i]))
			return -1;
	}
	return count;
}

int
queue_list_read(const char *xml, Size len, int max, QueuedMessage **messages)
{
	XmlDocument *document = xml_read(xml, len);
	const XmlElement *root = document ? &document->elements[0] : NULL;

	*messages = palloc0(max * sizeof(QueuedMessage));
	if (root == NULL || strcmp(root->name, "QueueMessagesList") != 0 ||
		(root->text && root->text[strspn(root->text, " \t\r\n")] != '\0'))
		return -1;
	return read_messages(document, max, *messages);
}
