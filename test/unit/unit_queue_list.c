/*
 * unit_queue_list.c
 *	  SQL functions over provider/queue_list.c, for tests only.
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "provider/queue_list.h"
#include "unit.h"

PG_FUNCTION_INFO_V1(unit_queue_list);

/* One line for each message, or "damaged". */
Datum
unit_queue_list(PG_FUNCTION_ARGS)
{
	Size		len;
	char	   *bytes = unit_bytes(fcinfo, 0, &len);
	QueuedMessage *messages;
	StringInfoData lines;
	int			count;

	bytes[len] = '\0';
	count = queue_list_read(bytes, len, PG_GETARG_INT32(1), &messages);
	if (count < 0)
		PG_RETURN_TEXT_P(cstring_to_text("damaged"));
	initStringInfo(&lines);
	for (int i = 0; i < count; i++)
		appendStringInfo(&lines, "%s %s %d [%s]\n", messages[i].id, messages[i].receipt,
						 messages[i].dequeue_count, messages[i].text);
	PG_RETURN_TEXT_P(cstring_to_text(lines.data));
}
