/*
 * trip_document.c
 *	  The dataset of a trip in place of the rows of its points: see
 *	  trip_document.h.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/sql.h"
#include "compat.h"
#include "dataset/trip_document.h"
#include "wire/gzip.h"

SQL_FUNCTION(damoov_document_text);

StorePoints
trip_document_form(const pg_uuid_t *track_token, StorePoints otherwise)
{
	static SqlPlan plan = SQL_PLAN(
		"SELECT EXISTS (SELECT FROM damoov.trip_documents AS d WHERE d.trip_id = t.trip_id) "
		"FROM damoov.trips AS t WHERE t.track_token = $1",
		UUIDOID);
	Datum		argument = UUIDPGetDatum(track_token);

	if (sql_run(&plan, &argument, NULL) == 0)
		return otherwise;
	return DatumGetBool(sql_value(0, 1, NULL)) ? STORE_DOCUMENT : STORE_ROWS;
}

static void
drop(int64 trip_id)
{
	static SqlPlan plan = SQL_PLAN(
		"DELETE FROM damoov.trip_documents AS d WHERE d.trip_id = $1",
		INT8OID);
	Datum		argument = Int64GetDatum(trip_id);

	sql_run(&plan, &argument, NULL);
}

void
trip_document_keep(int64 trip_id, const TripDocument *document)
{
	static SqlPlan plan = SQL_PLAN(
		"INSERT INTO damoov.trip_documents AS d (trip_id, document) "
		"VALUES ($1, $2) "
		"ON CONFLICT ON CONSTRAINT trip_documents_pkey DO UPDATE "
		"SET fetched_at = EXCLUDED.fetched_at, document = EXCLUDED.document "
		"WHERE $3 IS NULL OR damoov.document_text(d.document) <> $3",
		INT8OID, BYTEAOID, TEXTOID);
	Datum		arguments[3];
	bool		isnull[3] = {0};

	if (document == NULL)
	{
		drop(trip_id);
		return;
	}
	arguments[0] = Int64GetDatum(trip_id);
	arguments[1] = PointerGetDatum(document->gzip);
	isnull[2] = document->fetched;
	arguments[2] = PointerGetDatum(document->original);
	sql_run(&plan, arguments, isnull);
}

/*
 * How large it may be was asked when it came; a lower setting of today must not
 * hide points that are stored.
 */
char *
trip_document_text(const bytea *gzip, int64 trip_id, Size *len)
{
	char	   *expanded;
	char	   *text;
	GzipResult	result = gzip_expand(VARDATA_ANY(gzip), VARSIZE_ANY_EXHDR(gzip),
									 MaxAllocSize - 1, &expanded, len);

	if (result != GZIP_DONE)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("document of a trip is not gzip, or damaged"),
				 trip_id != 0 ? errdetail("It is that of trip " INT64_FORMAT ".", trip_id) : 0));
	/* it is malloc'd, so nothing may throw before it is free */
	text = palloc_extended(*len + 1, MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);
	if (text != NULL)
		memcpy(text, expanded, *len + 1);
	free(expanded);
	if (text == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("Failed on request of size %zu.", *len + 1)));
	return text;
}

Datum
damoov_document_text(PG_FUNCTION_ARGS)
{
	Size		len;
	char	   *text = trip_document_text(PG_GETARG_BYTEA_PP(0), 0, &len);

	/* what is stored has been read, but the function is anybody's */
	(void) pg_verify_mbstr(PG_UTF8, text, (int) len, false);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(text, (int) len));
}
