/*
 * unit_sign_azure.c
 *	  SQL functions over wire/sign_azure.c, for tests only.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "unit.h"
#include "wire/sign.h"
#include "wire/sign_azure.h"

PG_FUNCTION_INFO_V1(unit_sign_service_bus);
PG_FUNCTION_INFO_V1(unit_hmac);
PG_FUNCTION_INFO_V1(unit_sign_event_grid);
PG_FUNCTION_INFO_V1(unit_sign_shared_key);

static Datum
signature_datum(const char *text)
{
	return CStringGetTextDatum(text ? text : "not base64");
}

Datum
unit_sign_service_bus(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(sign_service_bus(unit_text(fcinfo, 0), unit_text(fcinfo, 1),
													  unit_text(fcinfo, 2), PG_GETARG_INT64(3))));
}

Datum
unit_hmac(PG_FUNCTION_ARGS)
{
	char	   *key = unit_text(fcinfo, 0);

	PG_RETURN_TEXT_P(cstring_to_text(sign_hmac_base64(key, strlen(key), unit_text(fcinfo, 1))));
}

Datum
unit_sign_event_grid(PG_FUNCTION_ARGS)
{
	return signature_datum(sign_event_grid(unit_text(fcinfo, 0), unit_text(fcinfo, 1),
										PG_GETARG_INT64(2)));
}

Datum
unit_sign_shared_key(PG_FUNCTION_ARGS)
{
	SignSharedKeyInput in = {0};

	in.method = unit_text(fcinfo, 0);
	in.path = unit_text(fcinfo, 1);
	in.query = unit_text(fcinfo, 2);
	in.nheaders = unit_headers(fcinfo, 3, &in.headers);
	in.body_len = PG_GETARG_INT32(4);
	in.account = unit_text(fcinfo, 5);
	in.account_key = unit_text(fcinfo, 6);
	return signature_datum(sign_shared_key(&in));
}
