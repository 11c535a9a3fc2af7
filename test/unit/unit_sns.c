/*
 * unit_sns.c
 *	  SQL functions over message/sns.c, for tests only.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "message/sns.h"
#include "unit.h"

PG_FUNCTION_INFO_V1(unit_sns_host);

Datum
unit_sns_host(PG_FUNCTION_ARGS)
{
	char	   *host = sns_topic_host(unit_text(fcinfo, 0));

	if (host == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(host));
}
