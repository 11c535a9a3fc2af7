/*
 * document.c
 *	  The originals of stored datasets: see document.h.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "base/sql.h"
#include "dataset/document.h"
#include "guc.h"

void
document_keep(const DatasetKey *key, const char *text, Size len, bool fetched)
{
	static SqlPlan keep = {
		.text = "INSERT INTO damoov.documents AS d (kind, object_id, document, user_id) "
		"VALUES ($1, $2, $3, $5) ON CONFLICT ON CONSTRAINT documents_pkey DO UPDATE "
		"SET user_id = EXCLUDED.user_id, fetched_at = EXCLUDED.fetched_at, document = EXCLUDED.document "
		"WHERE $4 OR d.document <> EXCLUDED.document",
		.nargs = 5, .argtypes = {TEXTOID, UUIDOID, TEXTOID, BOOLOID, INT8OID}
	};
	static SqlPlan outdate = {
		.text = "DELETE FROM damoov.documents AS d "
		"WHERE d.kind = $1 AND d.object_id = $2 AND ($4 OR d.document <> $3)",
		.nargs = 4, .argtypes = {TEXTOID, UUIDOID, TEXTOID, BOOLOID}
	};
	Datum		arguments[] = {
		CStringGetTextDatum(api_kind_name(key->kind)),
		UUIDPGetDatum(&key->object_id),
		PointerGetDatum(cstring_to_text_with_len(text, len)),
		BoolGetDatum(fetched),
		Int64GetDatum(key->user_id)
	};

	sql_run(damoov_keep_documents != 0 ? &keep : &outdate, arguments, NULL);
}
