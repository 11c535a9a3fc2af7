/*
 * queue_list.h
 *	  The XML in which an Azure Storage queue hands out messages.
 */
#ifndef DAMOOV_QUEUE_LIST_H
#define DAMOOV_QUEUE_LIST_H

typedef struct QueuedMessage
{
	char	   *id;
	char	   *receipt;
	int			dequeue_count;
	char	   *text;			/* unescaped, "" when empty */
} QueuedMessage;

/*
 * Reads a reply of at most so many messages, terminated by NUL; palloc'd.
 * Returns their number, -1 when it is anything but a well-formed list of
 * complete messages.
 */
extern int	queue_list_read(const char *xml, Size len, int max, QueuedMessage **messages);

#endif							/* DAMOOV_QUEUE_LIST_H */
