/*
 * unit_download.c
 *	  Downloads without a wire, for tests only: leasing and storing as two
 *	  steps that a test can take when it likes, undo and take again.
 *
 * What happens between them is the test's: it decides what the service
 * answers, and when.  All else is src/door/download.c itself, which is included
 * here for what it does not export.
 */
#include "door/download.c"

#include "funcapi.h"

SQL_FUNCTION(unit_lease);
SQL_FUNCTION(unit_answer);

/* The settings are the extension's; this copy of them has fixed values. */
static Downloads *
no_downloads(void)
{
	static HttpClient *client = NULL;

	if (client == NULL)
		client = http_client(TopMemoryContext);
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
			CStringGetTextDatum(api_kind_name(download->key.kind)),
			UUIDPGetDatum(&download->key.object_id),
			Int64GetDatum(download->key.user_id),
			CStringGetTextDatum(download->source),
			Int64GetDatum(download->version),
			Int32GetDatum(download->attempts)
		};
		bool		nulls[lengthof(values)] = {0};

		if (download->answered)
			elog(ERROR, "it would not be fetched: %s", download->fault.message);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* The service answers what was leased, with a status and a body. */
Datum
unit_answer(PG_FUNCTION_ARGS)
{
	Downloads  *downloads = no_downloads();
	Download   *download = download_create(downloads);
	text	   *body = PG_GETARG_TEXT_PP(7);

	download->key.kind = api_kind(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	download->key.object_id = *PG_GETARG_UUID_P(1);
	download->key.user_id = PG_GETARG_INT64(2);
	download->source = text_to_cstring(PG_GETARG_TEXT_PP(3));
	download->version = PG_GETARG_INT64(4);
	download->attempts = PG_GETARG_INT32(5);
	download->started = true;
	download->request = http_request(downloads->http, "GET", "");
	download->request->status = PG_GETARG_INT32(6);
	download->request->reply = VARDATA_ANY(body);
	download->request->reply_len = VARSIZE_ANY_EXHDR(body);
	download_done(download->request, download);
	downloads_store(downloads);
	downloads_forget_stored(downloads);
	PG_RETURN_VOID();
}
