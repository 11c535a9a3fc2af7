/*-------------------------------------------------------------------------
 *
 * unit.c
 *		SQL functions over the pure parts of the extension, for tests only.
 *
 * The extension itself does not offer these functions.  This module compiles
 * the same source files and is loaded by its absolute path, see
 * test/t/001_units.pl.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "base/json.h"
#include "base/timestamp.h"
#include "provider/queue_list.h"
#include "wire/sign.h"
#include "wire/storage_name.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(unit_sign_v4);
PG_FUNCTION_INFO_V1(unit_sha256);
PG_FUNCTION_INFO_V1(unit_sign_service_bus);
PG_FUNCTION_INFO_V1(unit_hmac);
PG_FUNCTION_INFO_V1(unit_sign_event_grid);
PG_FUNCTION_INFO_V1(unit_sign_shared_key);
PG_FUNCTION_INFO_V1(unit_storage_host);
PG_FUNCTION_INFO_V1(unit_storage_signed);
PG_FUNCTION_INFO_V1(unit_s3_address);
PG_FUNCTION_INFO_V1(unit_encode_path);
PG_FUNCTION_INFO_V1(unit_queue_list);
PG_FUNCTION_INFO_V1(unit_timestamp);
PG_FUNCTION_INFO_V1(unit_epoch);
PG_FUNCTION_INFO_V1(unit_timestamp_speed);
PG_FUNCTION_INFO_V1(unit_json_items);

/* The argument as a string, NULL for an SQL null. */
static char *
text_arg(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

static Datum
record(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
											 values, nulls));
}

/* Bytes from hexadecimal, so that a body may contain NUL. */
static char *
bytes_arg(FunctionCallInfo fcinfo, int n, Size *len)
{
	char	   *hex = text_arg(fcinfo, n);
	char	   *bytes;

	*len = 0;
	if (hex == NULL)
		return NULL;
	bytes = palloc(strlen(hex) / 2 + 1);
	*len = hex_decode(hex, strlen(hex), bytes);
	return bytes;
}

/* Headers from an array of names and values by turns. */
static int
headers_arg(FunctionCallInfo fcinfo, int n, const SignHeader **result)
{
	SignHeader *headers;
	Datum	   *elements;
	int			count;
	int			i;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), TEXTOID, -1, false,
					  TYPALIGN_INT, &elements, NULL, &count);
	headers = palloc(sizeof(SignHeader) * (count / 2 + 1));
	for (i = 0; i + 1 < count; i += 2)
	{
		headers[i / 2].name = TextDatumGetCString(elements[i]);
		headers[i / 2].value = TextDatumGetCString(elements[i + 1]);
	}
	*result = headers;
	return count / 2;
}

/* Sign as the worker does: outside any transaction, without an owner. */
static void
sign_without_owner(const SignV4Input *in, SignV4Output *out)
{
	ResourceOwner owner = CurrentResourceOwner;

	CurrentResourceOwner = NULL;
	PG_TRY();
	{
		sign_v4(in, out);
		if (CurrentResourceOwner != NULL)
			elog(ERROR, "signing left a resource owner behind");
	}
	PG_FINALLY();
	{
		CurrentResourceOwner = owner;
	}
	PG_END_TRY();
}

Datum
unit_sign_v4(PG_FUNCTION_ARGS)
{
	SignV4Input in = {0};
	SignV4Output out = {0};
	Datum		values[3];
	bool		nulls[3] = {0};

	in.method = text_arg(fcinfo, 0);
	in.host = text_arg(fcinfo, 1);
	in.path = text_arg(fcinfo, 2);
	in.query = text_arg(fcinfo, 3);
	in.nheaders = headers_arg(fcinfo, 4, &in.headers);
	in.body = bytes_arg(fcinfo, 5, &in.body_len);
	in.body_hash = text_arg(fcinfo, 6);
	in.access_key_id = text_arg(fcinfo, 7);
	in.secret_access_key = text_arg(fcinfo, 8);
	in.session_token = text_arg(fcinfo, 9);
	in.region = text_arg(fcinfo, 10);
	in.service = text_arg(fcinfo, 11);
	in.now = PG_GETARG_INT64(12);
	if (PG_GETARG_BOOL(13))
		sign_without_owner(&in, &out);
	else
		sign_v4(&in, &out);

	values[0] = CStringGetTextDatum(out.amz_date);
	values[1] = CStringGetTextDatum(out.authorization);
	values[2] = CStringGetTextDatum(out.canonical_hash);
	return record(fcinfo, values, nulls);
}

Datum
unit_sha256(PG_FUNCTION_ARGS)
{
	char		hex[SIGN_SHA256_HEX_SIZE];
	Size		len;
	char	   *bytes = bytes_arg(fcinfo, 0, &len);

	sign_sha256_hex(bytes, len, hex);
	PG_RETURN_TEXT_P(cstring_to_text(hex));
}

Datum
unit_sign_service_bus(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(sign_service_bus(text_arg(fcinfo, 0), text_arg(fcinfo, 1),
													  text_arg(fcinfo, 2), PG_GETARG_INT64(3))));
}

Datum
unit_hmac(PG_FUNCTION_ARGS)
{
	char	   *key = text_arg(fcinfo, 0);

	PG_RETURN_TEXT_P(cstring_to_text(sign_hmac_base64(key, strlen(key), text_arg(fcinfo, 1))));
}

static Datum
signature_datum(const char *text)
{
	return CStringGetTextDatum(text ? text : "not base64");
}

Datum
unit_sign_event_grid(PG_FUNCTION_ARGS)
{
	return signature_datum(sign_event_grid(text_arg(fcinfo, 0), text_arg(fcinfo, 1),
										PG_GETARG_INT64(2)));
}

Datum
unit_sign_shared_key(PG_FUNCTION_ARGS)
{
	SignSharedKeyInput in = {0};

	in.method = text_arg(fcinfo, 0);
	in.path = text_arg(fcinfo, 1);
	in.query = text_arg(fcinfo, 2);
	in.nheaders = headers_arg(fcinfo, 3, &in.headers);
	in.body_len = PG_GETARG_INT32(4);
	in.account = text_arg(fcinfo, 5);
	in.account_key = text_arg(fcinfo, 6);
	return signature_datum(sign_shared_key(&in));
}

/* One line for each message, or "damaged". */
Datum
unit_queue_list(PG_FUNCTION_ARGS)
{
	Size		len;
	char	   *bytes = bytes_arg(fcinfo, 0, &len);
	QueuedMessage *messages;
	StringInfoData lines;
	int			count;

	bytes[len] = '\0';
	count = queue_list_read(bytes, len, PG_GETARG_INT32(1), &messages);
	if (count < 0)
		PG_RETURN_TEXT_P(cstring_to_text("damaged"));
	initStringInfo(&lines);
	for (int i = 0; i < count; i++)
		appendStringInfo(&lines, "%s %s %d [%s]\n", messages[i].id, messages[i].receipt,
						 messages[i].dequeue_count, messages[i].text);
	PG_RETURN_TEXT_P(cstring_to_text(lines.data));
}

static const char *
result_name(TimeResult result)
{
	switch (result)
	{
		case TIME_OK:
			return "ok";
		case TIME_EMPTY:
			return "empty";
		case TIME_SYNTAX:
			return "syntax";
		case TIME_RANGE:
			return "range";
		case TIME_ZONE:
			return "zone";
	}
	return "unknown";
}

/*
 * The reader gets the text without its terminator but with digits behind it,
 * which would show if it read too far.
 */
Datum
unit_timestamp(PG_FUNCTION_ARGS)
{
	char	   *text = text_arg(fcinfo, 0);
	ParsedTime	time;
	TimeResult	result;
	const char *fault;
	Datum		values[8];
	bool		nulls[8] = {0};

	result = timestamp_parse(psprintf("%s99", text), strlen(text), &time);
	fault = timestamp_fault(result);

	values[0] = CStringGetTextDatum(result_name(result));
	values[1] = TimestampTzGetDatum(time.at);
	values[2] = Int32GetDatum(time.offset_min);
	values[3] = BoolGetDatum(time.has_zone);
	values[4] = BoolGetDatum(time.leap_second);
	values[5] = BoolGetDatum(time.end_of_day);
	values[6] = CStringGetTextDatum(unpack_sql_state(timestamp_sqlstate(result)));
	values[7] = fault != NULL ? CStringGetTextDatum(fault) : (Datum) 0;
	nulls[1] = result != TIME_OK;
	nulls[7] = fault == NULL;
	return record(fcinfo, values, nulls);
}

Datum
unit_epoch(PG_FUNCTION_ARGS)
{
	TimestampTz at;

	if (!timestamp_from_epoch(PG_GETARG_FLOAT8(0), PG_GETARG_BOOL(1), &at))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(at);
}

/* Read the same text many times; returns how many were good. */
Datum
unit_timestamp_speed(PG_FUNCTION_ARGS)
{
	char	   *text = text_arg(fcinfo, 0);
	int			len = strlen(text);
	int			rounds = PG_GETARG_INT32(1);
	int			good = 0;

	while (rounds-- > 0)
	{
		ParsedTime	time;

		if (timestamp_parse(text, len, &time) == TIME_OK)
			good++;
	}
	PG_RETURN_INT32(good);
}

/* "s3 region path", "blob account" or "none". */
Datum
unit_storage_host(PG_FUNCTION_ARGS)
{
	char	   *host = text_arg(fcinfo, 0);
	char	   *region = storage_region(host);

	switch (storage_of_host(host))
	{
		case STORAGE_S3:
			return CStringGetTextDatum(psprintf("s3 %s%s", region ? region : "-",
												storage_bucket_in_path(host) ? " path" : ""));
		case STORAGE_BLOB:
			return CStringGetTextDatum(psprintf("blob %s", storage_account(host)));
		default:
			return CStringGetTextDatum("none");
	}
}

Datum
unit_storage_signed(PG_FUNCTION_ARGS)
{
	UrlParts	url = {.query = text_arg(fcinfo, 0)};

	PG_RETURN_BOOL(storage_url_is_signed(&url));
}

Datum
unit_s3_address(PG_FUNCTION_ARGS)
{
	UrlParts	url = {
		.host = text_arg(fcinfo, 0), .path = text_arg(fcinfo, 1), .query = text_arg(fcinfo, 2)
	};

	return CStringGetTextDatum(storage_s3_address(&url, text_arg(fcinfo, 3)));
}

Datum
unit_encode_path(PG_FUNCTION_ARGS)
{
	return CStringGetTextDatum(storage_encode_path(text_arg(fcinfo, 0), PG_GETARG_BOOL(1)));
}

/* What json_next() finds: "name=value" of each member, then the rest. */
Datum
unit_json_items(PG_FUNCTION_ARGS)
{
	text	   *input = PG_GETARG_TEXT_PP(0);
	JsonSpan	rest = {VARDATA_ANY(input), VARSIZE_ANY_EXHDR(input)};
	JsonSpan	name;
	JsonSpan	value;
	StringInfoData found;

	initStringInfo(&found);
	while (json_next(&rest, &name, &value))
		appendStringInfo(&found, "%.*s=%.*s|", (int) name.len, name.start,
						 (int) value.len, value.start);
	appendBinaryStringInfo(&found, rest.start, rest.len);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(found.data, found.len));
}
