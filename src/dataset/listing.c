/*
 * listing.c
 *	  A page of the list of a person's tracks: see listing.h.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "base/json.h"
#include "base/sql.h"
#include "dataset/listing.h"

/* What comes is read by PostgreSQL's jsonb; here only its limits are checked. */
void *
listing_read(const Document *document, Fault *fault)
{
	static const JsonVisitor visitor = {0};

	if (!json_walk(document->text, document->len, JSON_LIMITS(document->max_len), &visitor, NULL, fault))
		return NULL;
	return cstring_to_text_with_len(document->text, document->len);
}

int64
listing_store(const void *content, const pg_uuid_t *listing, int64 user_id)
{
	static SqlPlan plan = SQL_PLAN("SELECT damoov.take_listing($1, $2, $3::jsonb)",
								   UUIDOID, INT8OID, TEXTOID);
	Datum		arguments[] = {
		UUIDPGetDatum(unconstify(pg_uuid_t *, listing)),
		Int64GetDatum(user_id),
		PointerGetDatum(content)
	};

	sql_run(&plan, arguments, NULL);
	return 0;
}
