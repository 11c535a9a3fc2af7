/*
 * unit_partition.c
 *	  SQL functions over wire/partition.c, for tests only.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "unit.h"
#include "wire/partition.h"

PG_FUNCTION_INFO_V1(unit_azure_token);

/* Where a token for a host is got, and for which audience. */
Datum
unit_azure_token(PG_FUNCTION_ARGS)
{
	char	   *host = unit_text(fcinfo, 1);

	return CStringGetTextDatum(psprintf("%s %s", azure_login(host),
										azure_audience(unit_text(fcinfo, 0), host)));
}
