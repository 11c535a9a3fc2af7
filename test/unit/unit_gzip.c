/*
 * unit_gzip.c
 *	  SQL functions over wire/gzip.c, for tests only.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "unit.h"
#include "wire/gzip.h"

PG_FUNCTION_INFO_V1(unit_gzip);

/* The text that was compressed, "damaged" or "too big". */
Datum
unit_gzip(PG_FUNCTION_ARGS)
{
	Size		len;
	char	   *bytes = unit_bytes(fcinfo, 0, &len);
	char	   *expanded;
	Size		expanded_len;
	Datum		text;

	switch (gzip_expand(bytes, len, PG_GETARG_INT32(1), &expanded, &expanded_len))
	{
		case GZIP_DONE:
			text = PointerGetDatum(cstring_to_text_with_len(expanded, (int) expanded_len));
			free(expanded);
			return text;
		case GZIP_DAMAGED:
			return CStringGetTextDatum("damaged");
		case GZIP_TOO_BIG:
			return CStringGetTextDatum("too big");
	}
	PG_RETURN_NULL();
}

PG_FUNCTION_INFO_V1(unit_gzip_compress);

Datum
unit_gzip_compress(PG_FUNCTION_ARGS)
{
	Size		len;
	char	   *bytes = unit_bytes(fcinfo, 0, &len);

	PG_RETURN_BYTEA_P(gzip_compress(bytes, len));
}
