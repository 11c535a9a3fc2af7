/*
 * clock.c
 *	  Time within one process: see clock.h.
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "portability/instr_time.h"

#include "base/clock.h"

int64
clock_ms(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MILLISEC(now);
}

int64
clock_backoff_ms(int64 base_ms, int attempt, int64 cap_ms)
{
	int64		longest = Min(cap_ms, base_ms << Min(attempt, 16));

	return longest / 2 + (int64) (pg_prng_double(&pg_global_prng_state) * (longest / 2));
}
