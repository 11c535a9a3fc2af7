/*
 * reply.c
 *	  JSON of a provider: see reply.h.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "reply.h"

static void
free_json(void *json)
{
	cJSON_Delete(json);
}

cJSON *
reply_json(MemoryContext context, const char *text, Size len)
{
	MemoryContextCallback *callback = MemoryContextAllocZero(context, sizeof(*callback));
	cJSON	   *json = cJSON_ParseWithLength(text, len);

	callback->func = free_json;
	callback->arg = json;
	MemoryContextRegisterResetCallback(context, callback);
	return json;
}

const char *
reply_text(const cJSON *object, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	return cJSON_IsString(item) ? item->valuestring : NULL;
}
