/*
 * reply.c
 *	  JSON of a provider: see reply.h.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "wire/reply.h"

#define MAX_REQUEST_ID	63

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

/* The value of the first of these headers that is there, or "". */
static const char *
first_header(const HttpRequest *request, const char *const *names, int count)
{
	for (int i = 0; i < count; i++)
	{
		const char *value = http_reply_header(request, names[i]);

		if (value)
			return value;
	}
	return "";
}

const char *
reply_error_code(const HttpRequest *request)
{
	static const char *const names[] = {
		"x-amzn-query-error", "x-ms-error-code", "broker-errorcode"
	};
	const char *value = first_header(request, names, lengthof(names));

	/* AWS writes who is to blame behind it: "NonExistentQueue;Sender" */
	return pnstrdup(value, strcspn(value, "; "));
}

void
reply_fault(const HttpRequest *request, const char *code, const char *request_id,
			const char *words, Fault *fault)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.";
	static const char *const ids[] = {"x-amzn-requestid", "x-ms-request-id"};
	static const char id_letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_:.";

	if (code == NULL || code[0] == '\0')
		code = reply_error_code(request);
	if (!consists_of(code, letters))
		code = "";
	fault_set(fault, ERRCODE_CONNECTION_FAILURE, REASON_PROVIDER, "%s (%s%sHTTP status %d)",
			  words, code, *code ? ", " : "", request->status);
	if (request_id == NULL)
		request_id = first_header(request, ids, lengthof(ids));
	if (consists_of(request_id, id_letters) && strlen(request_id) <= MAX_REQUEST_ID)
		fault->detail = psprintf("The service calls this request \"%s\".", request_id);
}
