/*
 * ingest_sql.c
 *	  damoov_ingest(): notifications from SQL, which raises what the worker would
 *	  keep in the quarantine.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "base/fault.h"
#include "base/hide.h"
#include "base/json.h"
#include "compat.h"
#include "door/api.h"
#include "door/ingest.h"
#include "message/notification.h"

#define MAX_SOURCE	1000

SQL_FUNCTION(damoov_ingest);
SQL_FUNCTION(damoov_ingest_bytes);

/* The worker refuses such a URL when it fetches; a caller can be told now. */
static bool
check_url(const Notification *notification, const char *source, Fault *fault)
{
	Api		   *api;
	ApiTarget	target;

	if (notification->url == NULL || notification->kind == EVENT_UNKNOWN)
		return true;
	return api_load(source, &api, fault) &&
		api_check_url(api, notification->url, &target, fault);
}

/* Stores the entries or raises for the first that cannot be, and returns rows. */
static void
store_or_raise(FunctionCallInfo fcinfo, List *entries, const char *source)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *cell;

	foreach(cell, entries)
	{
		IngestEntry *entry = lfirst(cell);

		if (entry->fault.sqlstate == 0)
			(void) check_url(&entry->notification, source, &entry->fault);
	}
	ingest_store_all(entries, source);

	InitMaterializedSRF(fcinfo, 0);
	foreach(cell, entries)
	{
		IngestEntry *entry = lfirst(cell);
		const char *event = entry->part.control ? entry->part.control : entry->notification.event;
		Datum		values[] = {
			Int64GetDatum(entry->event_id),
			CStringGetTextDatum(event),
			CStringGetTextDatum(ingest_outcome_name(entry->outcome))
		};
		bool		nulls[] = {entry->event_id == 0, false, false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

/*
 * A few bytes of jsonb can hold a number of 131,072 digits.  They are refused
 * before they are printed.
 */
static void
refuse_huge_numbers(Jsonb *payload)
{
	JsonbIterator *iterator = JsonbIteratorInit(&payload->root);
	Datum		largest = DirectFunctionCall3(numeric_in, CStringGetDatum("1e1000"),
											  ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	JsonbValue	value;
	JsonbIteratorToken token;

	while ((token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE)
	{
		Datum		number;

		if ((token != WJB_VALUE && token != WJB_ELEM) || value.type != jbvNumeric)
			continue;
		number = NumericGetDatum(value.val.numeric);
		if (DatumGetInt32(DirectFunctionCall1(numeric_scale, number)) > JSON_MAX_PLAIN_NUMBER ||
			DatumGetBool(DirectFunctionCall2(numeric_gt,
											 DirectFunctionCall1(numeric_abs, number), largest)))
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("number with an exponent beyond %d", JSON_MAX_EXPONENT)));
	}
}

Datum
damoov_ingest(PG_FUNCTION_ARGS)
{
	Jsonb	   *payload;
	char	   *source;
	ErrorContextCallback hiding;
	char	   *body;

	if (PG_ARGISNULL(0))
	{
		InitMaterializedSRF(fcinfo, 0);
		return (Datum) 0;
	}
	hide_statement(&hiding);
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("source of a notification must not be NULL")));
	payload = PG_GETARG_JSONB_P(0);
	source = text_to_cstring(PG_GETARG_TEXT_PP(1));
	/* it stands in indexes */
	if (strlen(source) > MAX_SOURCE)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("source of a notification must not be longer than %d bytes", MAX_SOURCE)));
	refuse_huge_numbers(payload);
	body = JsonbToCString(NULL, &payload->root, VARSIZE(payload));
	store_or_raise(fcinfo, ingest_read(NIL, body, strlen(body), NOTIFICATION_JSONB), source);
	hide_end(&hiding);
	return (Datum) 0;
}

/* What a queue delivered, byte for byte: for damoov_retry(). */
Datum
damoov_ingest_bytes(PG_FUNCTION_ARGS)
{
	bytea	   *body = PG_GETARG_BYTEA_PP(0);
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(1));
	ErrorContextCallback hiding;

	hide_statement(&hiding);
	store_or_raise(fcinfo, ingest_read(NIL, VARDATA_ANY(body), VARSIZE_ANY_EXHDR(body), NOTIFICATION_RAW), source);
	hide_end(&hiding);
	return (Datum) 0;
}
