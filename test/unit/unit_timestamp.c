/*
 * unit_timestamp.c
 *	  SQL functions over base/timestamp.c, for tests only.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/timestamp.h"
#include "unit.h"

PG_FUNCTION_INFO_V1(unit_timestamp);
PG_FUNCTION_INFO_V1(unit_epoch);
PG_FUNCTION_INFO_V1(unit_timestamp_speed);

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
	char	   *text = unit_text(fcinfo, 0);
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
	return unit_record(fcinfo, values, nulls);
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
	char	   *text = unit_text(fcinfo, 0);
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
