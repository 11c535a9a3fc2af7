/*
 * unit_storage_name.c
 *	  SQL functions over wire/storage_name.c, for tests only.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "unit.h"
#include "wire/partition.h"
#include "wire/storage_name.h"
#include "wire/url.h"

PG_FUNCTION_INFO_V1(unit_storage_host);
PG_FUNCTION_INFO_V1(unit_storage_signed);
PG_FUNCTION_INFO_V1(unit_s3_address);
PG_FUNCTION_INFO_V1(unit_encode_path);

/* "s3 region path", "blob account" or "none". */
Datum
unit_storage_host(PG_FUNCTION_ARGS)
{
	char	   *host = unit_text(fcinfo, 0);
	char	   *region = storage_region(host);

	switch (storage_of_host(host))
	{
		case STORAGE_S3:
			return CStringGetTextDatum(psprintf("s3 %s%s", region ? region : "-",
												storage_bucket_in_path(host) ? " path" : ""));
		case STORAGE_BLOB:
			return CStringGetTextDatum(psprintf("blob %s", azure_account(host)));
		default:
			return CStringGetTextDatum("none");
	}
}

Datum
unit_storage_signed(PG_FUNCTION_ARGS)
{
	UrlParts	url = {.query = unit_text(fcinfo, 0)};

	PG_RETURN_BOOL(storage_url_is_signed(&url));
}

Datum
unit_s3_address(PG_FUNCTION_ARGS)
{
	UrlParts	url = {
		.host = unit_text(fcinfo, 0), .path = unit_text(fcinfo, 1), .query = unit_text(fcinfo, 2)
	};

	return CStringGetTextDatum(storage_s3_address(&url, unit_text(fcinfo, 3)));
}

Datum
unit_encode_path(PG_FUNCTION_ARGS)
{
	return CStringGetTextDatum(storage_encode_path(unit_text(fcinfo, 0), PG_GETARG_BOOL(1)));
}
