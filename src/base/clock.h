/*
 * clock.h
 *	  Time within one process, and how long to wait before the next attempt.
 */
#ifndef DAMOOV_CLOCK_H
#define DAMOOV_CLOCK_H

/*
 * Milliseconds of a clock that only goes forward.  Only differences mean
 * something, and only within one process.
 */
extern int64 clock_ms(void);

/*
 * Random wait in milliseconds, between half of and the whole of
 * base_ms * 2^attempt, but no more than cap_ms.
 */
extern int64 clock_backoff_ms(int64 base_ms, int attempt, int64 cap_ms);

#endif							/* DAMOOV_CLOCK_H */
