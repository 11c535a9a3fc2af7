/*
 * unit_json.c
 *	  SQL functions over base/json.c, for tests only.
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/json.h"
#include "compat.h"
#include "unit.h"

PG_FUNCTION_INFO_V1(unit_json_items);
PG_FUNCTION_INFO_V1(unit_json_memory);

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

/* Bytes that are still taken when the text has been read by a visitor who keeps nothing. */
Datum
unit_json_memory(PG_FUNCTION_ARGS)
{
	static const JsonVisitor visitor = {0};
	text	   *input = PG_GETARG_TEXT_PP(0);
	Size		len = VARSIZE_ANY_EXHDR(input);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "unit", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	Fault		fault = {0};
	bool		done = json_walk(VARDATA_ANY(input), len, JSON_LIMITS(len), &visitor, NULL, &fault);
	Size		taken = MemoryContextMemAllocated(context, true);

	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	PG_RETURN_INT64(done ? (int64) taken : -1);
}
