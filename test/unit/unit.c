/*
 * unit.c
 *	  What the tests of single units share: see unit.h.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "unit.h"

PG_MODULE_MAGIC;

char *
unit_text(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

Datum
unit_record(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
											 values, nulls));
}

char *
unit_bytes(FunctionCallInfo fcinfo, int n, Size *len)
{
	char	   *hex = unit_text(fcinfo, n);
	char	   *bytes;

	*len = 0;
	if (hex == NULL)
		return NULL;
	bytes = palloc(strlen(hex) / 2 + 1);
	*len = hex_decode(hex, strlen(hex), bytes);
	return bytes;
}

int
unit_headers(FunctionCallInfo fcinfo, int n, const SignHeader **result)
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
