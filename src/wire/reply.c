/*
 * reply.c
 *	  JSON of a provider: see reply.h.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "wire/reply.h"

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

static bool
consists_of(const char *text, const char *characters)
{
	return text[0] != '\0' && text[strspn(text, characters)] == '\0';
}

void
reply_fault(const HttpRequest *request, const char *code, const char *request_id,
			const char *words, Fault *fault)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.";
	static const char id_letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_:.";

	if (code == NULL || code[0] == '\0')
		code = request->error_code;
	if (!consists_of(code, letters))
		code = "";
	fault_set(fault, ERRCODE_CONNECTION_FAILURE, REASON_PROVIDER, "%s (%s%sHTTP status %d)",
			  words, code, *code ? ", " : "", request->status);
	if (request_id == NULL)
		request_id = request->request_id;
	if (consists_of(request_id, id_letters) && strlen(request_id) < sizeof(request->request_id))
		fault->detail = psprintf("The service calls this request \"%s\".", request_id);
}
