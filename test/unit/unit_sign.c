/*
 * unit_sign.c
 *	  SQL functions over wire/sign.c, for tests only.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/resowner.h"

#include "unit.h"
#include "wire/sign.h"

PG_FUNCTION_INFO_V1(unit_sign_v4);
PG_FUNCTION_INFO_V1(unit_sha256);

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

	in.method = unit_text(fcinfo, 0);
	in.host = unit_text(fcinfo, 1);
	in.path = unit_text(fcinfo, 2);
	in.query = unit_text(fcinfo, 3);
	in.nheaders = unit_headers(fcinfo, 4, &in.headers);
	in.body = unit_bytes(fcinfo, 5, &in.body_len);
	in.body_hash = unit_text(fcinfo, 6);
	in.access_key_id = unit_text(fcinfo, 7);
	in.secret_access_key = unit_text(fcinfo, 8);
	in.session_token = unit_text(fcinfo, 9);
	in.region = unit_text(fcinfo, 10);
	in.service = unit_text(fcinfo, 11);
	in.now = PG_GETARG_INT64(12);
	if (PG_GETARG_BOOL(13))
		sign_without_owner(&in, &out);
	else
		sign_v4(&in, &out);

	values[0] = CStringGetTextDatum(out.amz_date);
	values[1] = CStringGetTextDatum(out.authorization);
	values[2] = CStringGetTextDatum(out.canonical_hash);
	return unit_record(fcinfo, values, nulls);
}

Datum
unit_sha256(PG_FUNCTION_ARGS)
{
	char		hex[SIGN_SHA256_HEX_SIZE];
	Size		len;
	char	   *bytes = unit_bytes(fcinfo, 0, &len);

	sign_sha256_hex(bytes, len, hex);
	PG_RETURN_TEXT_P(cstring_to_text(hex));
}
