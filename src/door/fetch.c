/*
 * fetch.c
 *	  One dataset over the network: see fetch.h.
 *
 * The platform is sent the person's device token; a store is sent a signature
 * by the keys of the source, or the one in the URL.  Neither gets the
 * credentials of the other.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "base/fault.h"
#include "base/json.h"
#include "dataset/dataset.h"
#include "door/api.h"
#include "door/fetch.h"
#include "guc.h"
#include "wire/storage_name.h"

#define FETCH_TIMEOUT_MS	120000

/* ----- the address ----- */

static bool
find_target(Fetch *fetch, const char *source, const char *url)
{
	const DatasetKey *key = &fetch->dataset.key;
	Fault	   *fault = &fetch->fault;
	Api		   *api;
	ApiTarget	target;

	if (!api_load(source, &api, fault))
		return false;
	if (key->kind == DATASET_LISTING)
		url = psprintf("%s%s%s", api->base_url, dataset_address(key->kind)->before, url ? url : "");
	else if (url == NULL)
		url = api_dataset_url(api, key->kind, &key->object_id);
	if (!api_check_url(api, url, &target, fault))
		return false;
	fetch->url = target.url;
	fetch->dataset.store_points = api->store_points;
	fetch->private_allowed = target.private_allowed;
	return target.storage == STORAGE_NONE ||
		storage_open(target.storage, target.url, source, &fetch->storage, fault);
}

void
fetch_find(Fetch *fetch, const char *source, const char *url)
{
	MemoryContext old = MemoryContextSwitchTo(fetch->context);

	fetch->answered = !find_target(fetch, source, url);
	MemoryContextSwitchTo(old);
}

/* ----- the answer ----- */

/*
 * Fills the fault for a reply without a usable dataset.  A redirect is refused
 * like any other status: it would carry the device token elsewhere.
 */
static bool
read_answer(Fetch *fetch, const HttpRequest *request)
{
	Fault	   *fault = &fetch->fault;

	if (request->status == 0)
	{
		*fault = request->fault;
		fault->message = pstrdup(request->fault.message);
		return false;
	}
	if (fetch->storage && !storage_check(fetch->storage, request, fault))
		return false;
	if (request->status != 200)
		return fault_set(fault, REASON_HTTP_STATUS, "the service answered with HTTP status %d",
						 request->status);
	return true;
}

static void
take_answer(Fetch *fetch, const HttpRequest *request)
{
	Dataset    *dataset = &fetch->dataset;
	bool		usable = read_answer(fetch, request);

	fetch->answered = true;
	fetch->status = request->status;
	fetch->retry_after_s = request->retry_after_s;
	/* damaged bytes are not kept */
	if (request->status == 200 && (usable || fetch->fault.reason != REASON_DAMAGED))
	{
		const char *text = request->reply;
		Size		len = request->reply_len;

		json_skip_mark(&text, &len);
		dataset->document = cstring_to_text_with_len(text, len);
		if (request->gzip && text == request->reply && dataset->store_points == STORE_DOCUMENT)
			dataset->gzip = (bytea *) cstring_to_text_with_len(request->gzip, request->gzip_len);
	}
	if (usable && dataset->key.kind != DATASET_OBJECT)
		(void) dataset_read(dataset, &fetch->fault);
}

static void
fetch_done(HttpRequest *request, void *arg)
{
	Fetch	   *fetch = arg;
	MemoryContext old = MemoryContextSwitchTo(fetch->context);

	if (fetch->storage && !fetch->again &&
		storage_learn(fetch->storage, request, fetch->clock_offset_s))
	{
		fetch->again = true;
		fetch->request = NULL;
		http_free(request);
		fetch_send(fetch);
	}
	else
	{
		take_answer(fetch, request);
		fetch->request = NULL;
		http_free(request);
	}
	MemoryContextSwitchTo(old);
}

/* ----- the request ----- */

void
fetch_send(Fetch *fetch)
{
	const char *url = fetch->storage ? storage_url(fetch->storage) : fetch->url;
	HttpRequest *request = http_request(fetch->http, "GET", url);

	fetch->request = request;
	request->max_bytes = (Size) damoov_max_document_size * 1024;
	request->timeout_ms = FETCH_TIMEOUT_MS;
	request->public_only = !fetch->private_allowed;
	request->compressed = true;
	if (fetch->storage)
		storage_authorize(fetch->storage, request, *fetch->clock_offset_s);
	else
	{
		http_header(request, "DeviceToken", fetch->dataset.device_token);
		http_header(request, "Accept", "application/json");
	}
	http_start(request, fetch_done, fetch);
}

void
fetch_end(Fetch *fetch)
{
	if (fetch->request)
		http_free(fetch->request);
	fetch->request = NULL;
	explicit_bzero(fetch->dataset.device_token, sizeof(fetch->dataset.device_token));
}
