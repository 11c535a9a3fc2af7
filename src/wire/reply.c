/*
 * reply.c
 *	  JSON of a provider: see reply.h.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/fault.h"
#include "base/text.h"
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
	static const char *const ids[] = {"x-amzn-requestid", "x-ms-request-id"};

	if (code == NULL || code[0] == '\0')
		code = reply_error_code(request);
	if (!text_consists_of(code, strlen(code), TEXT_LETTERS TEXT_DIGITS "."))
		code = "";
	fault_set(fault, REASON_PROVIDER, "%s (%s%sHTTP status %d)", words, code, *code ? ", " : "",
			  request->status);
	if (request_id == NULL)
		request_id = first_header(request, ids, lengthof(ids));
	if (strlen(request_id) <= MAX_REQUEST_ID &&
		text_consists_of(request_id, strlen(request_id), TEXT_LETTERS TEXT_DIGITS "-_:."))
		fault->detail = psprintf("The service calls this request \"%s\".", request_id);
}
