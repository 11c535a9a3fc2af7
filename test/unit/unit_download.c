/*
 * unit_download.c
 *	  Downloads without a wire, for tests only: leasing and storing as two
 *	  steps that a test can take when it likes, undo and take again.
 *
 * What happens between them is the test's: it decides what the service
 * answers, and when.  All else is the extension's own code; what it does not
 * export is why two of its files are included here.
 */
#include "door/download.c"
#include "door/fetch.c"

#include "fmgr.h"
#include "funcapi.h"

#include "compat.h"

SQL_FUNCTION(unit_lease);
SQL_FUNCTION(unit_answer);
SQL_FUNCTION(unit_downloads);

/* The settings are the extension's; this copy of them has fixed values. */
static Downloads *
no_downloads(void)
{
	static HttpClient *client = NULL;

	if (client == NULL)
		client = http_client(TopMemoryContext);
	damoov_allow_http_loopback = true;
	damoov_max_downloads = 64;
	damoov_max_document_size = 1024;
	damoov_keep_documents = -1;
	return downloads_create(CurrentMemoryContext, client);
}

/* Leases what is due; returns what the session would have to remember. */
Datum
unit_lease(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Downloads  *downloads = no_downloads();
	dlist_iter	iter;

	InitMaterializedSRF(fcinfo, 0);
	downloads_pick(downloads);
	dlist_foreach(iter, &downloads->list)
	{
		Download   *download = dlist_container(Download, node, iter.cur);
		Datum		values[] = {
			CStringGetTextDatum(dataset_kind_name(download->kind)),
			UUIDPGetDatum(&download->object_id),
			Int64GetDatum(download->fetch.dataset.key.user_id),
			CStringGetTextDatum(download->source),
			Int64GetDatum(download->version),
			Int32GetDatum(download->attempts)
		};
		bool		nulls[lengthof(values)] = {0};

		if (download->fetch.answered)
			elog(ERROR, "it would not be fetched: %s", download->fetch.fault.message);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* The service answers what was leased, with a status and a body. */
Datum
unit_answer(PG_FUNCTION_ARGS)
{
	Downloads  *downloads = no_downloads();
	Download   *download = download_create(downloads,
										   dataset_kind(text_to_cstring(PG_GETARG_TEXT_PP(0))),
										   PG_GETARG_UUID_P(1));
	HttpRequest *request = http_request(downloads->http, "GET", "");
	text	   *body = PG_GETARG_TEXT_PP(7);

	download->fetch.dataset.key.user_id = PG_GETARG_INT64(2);
	download->source = text_to_cstring(PG_GETARG_TEXT_PP(3));
	download->version = PG_GETARG_INT64(4);
	download->attempts = PG_GETARG_INT32(5);
	download->leased = download->started = true;
	download->fetch.request = request;
	download->fetch.url = pstrdup("");	/* the document tells what it is */
	request->status = PG_GETARG_INT32(6);
	request->reply = VARDATA_ANY(body);
	request->reply_len = VARSIZE_ANY_EXHDR(body);
	fetch_done(request, &download->fetch);
	downloads_store(downloads);
	downloads_end(downloads, true);
	PG_RETURN_VOID();
}

/* One step of a session that fetches; returns how many it has under way. */
Datum
unit_downloads(PG_FUNCTION_ARGS)
{
	static Downloads *downloads = NULL;
	char	   *step = text_to_cstring(PG_GETARG_TEXT_PP(0));

	if (downloads == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		downloads = no_downloads();
		MemoryContextSwitchTo(old);
	}
	if (strcmp(step, "pick") == 0)
		downloads_pick(downloads);
	else if (strcmp(step, "commit") == 0 || strcmp(step, "roll back") == 0)
		downloads_end(downloads, step[0] == 'c');
	else if (strcmp(step, "release") == 0)
		downloads_release(downloads);
	PG_RETURN_INT32(downloads->count);
}
