/*
 * crash_time.c
 *	  The clock of a crash buffer.
 *
 * Times come as seconds, milliseconds, micro- or nanoseconds, since 1970, since
 * the phone was started or since the recording began; nothing tells which.  The
 * samples are about 10 ms apart, and that tells the unit; then their size tells
 * where they count from.
 */
#include "postgres.h"

#include <math.h>

#include "base/timestamp.h"
#include "dataset/crash_buffer.h"

/* milliseconds since 1970: of the years 2001 to 2200 */
#define FIRST_EPOCH_MS		980000000000.0
#define END_EPOCH_MS		7260000000000.0
#define MAX_OFFSET_MS		600000.0	/* no recording is that long */
#define MAX_AT_MS			1e9		/* nor is any time so far from its start */

/* Where the times are, but for a twentieth at either end: some may be wrong. */
typedef struct Extent
{
	int			count;
	double		first;
	double		low;
	double		high;
	int			steps;			/* from low to high */
} Extent;

static int
compare_doubles(const void *a, const void *b)
{
	double		left = *(const double *) a;
	double		right = *(const double *) b;

	return left < right ? -1 : left > right;
}

static Extent
measure(const double *time, int count)
{
	Extent		extent = {0};
	double	   *sorted = palloc(count * sizeof(double));

	for (int i = 0; i < count; i++)
	{
		if (!isnan(time[i]))
			sorted[extent.count++] = time[i];
	}
	if (extent.count > 0)
	{
		int			cut = extent.count / 20;

		extent.first = sorted[0];
		qsort(sorted, extent.count, sizeof(double), compare_doubles);
		extent.low = sorted[cut];
		extent.high = sorted[extent.count - 1 - cut];
		extent.steps = extent.count - 1 - 2 * cut;
	}
	pfree(sorted);
	return extent;
}

/* Milliseconds in one unit of the times. */
static double
find_unit(const Extent *extent)
{
	if (extent->high > extent->low)
	{
		double		step = (extent->high - extent->low) / extent->steps;

		return step < 0.5 ? 1e3 : step < 1e3 ? 1 : step < 1e6 ? 1e-3 : 1e-6;
	}
	/* without steps, by what the present looks like in each unit */
	return extent->high >= 1e17 ? 1e-6 : extent->high >= 1e14 ? 1e-3 :
		extent->high >= 1e11 || extent->high < 1e8 ? 1 : 1e3;
}

static double
epoch_ms(TimestampTz at)
{
	return (double) (at / 1000) + (double) (at % 1000) / 1e3 +
		(double) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1e3;
}

/* What is to be taken off the times; sets the start if nothing else did. */
static double
find_origin(CrashBuffer *buffer, const Extent *extent, double unit, bool dates)
{
	double		first = extent->first * unit;

	if (dates || (extent->low * unit >= FIRST_EPOCH_MS &&
				  extent->high * unit < END_EPOCH_MS))
	{
		if (buffer->has_start)
			return epoch_ms(buffer->started_at);
		crash_buffer_note(buffer, "start", "missing, that of the first sample",
						  0);
		buffer->has_start = timestamp_from_epoch(first, true,
												 &buffer->started_at);
		return buffer->has_start ? epoch_ms(buffer->started_at) : first;
	}
	if (extent->low * unit >= -MAX_OFFSET_MS &&
		extent->high * unit <= MAX_OFFSET_MS)
		return 0;
	crash_buffer_note(buffer, "time",
					  "of a clock of its own, counted from the first sample",
					  0);
	return first;
}

/* Without times the frequency has to do, if there is one. */
static void
compute_times(CrashBuffer *buffer)
{
	if (buffer->frequency_hz == 0)
	{
		crash_buffer_note(buffer, "time", "missing", buffer->count);
		return;
	}
	crash_buffer_note(buffer, "time", "missing, computed from the frequency",
					  0);
	buffer->value[SAMPLE_TIME] = palloc(buffer->count * sizeof(double));
	for (int i = 0; i < buffer->count; i++)
		buffer->value[SAMPLE_TIME][i] = i * 1000.0 / buffer->frequency_hz;
}

void
crash_buffer_set_times(CrashBuffer *buffer, bool dates)
{
	double	   *time = buffer->value[SAMPLE_TIME];
	Extent		extent = {0};
	double		unit;
	double		origin;
	int			far = 0;

	if (time != NULL)
		extent = measure(time, buffer->count);
	if (extent.count == 0)
	{
		buffer->value[SAMPLE_TIME] = NULL;
		compute_times(buffer);
		return;
	}
	unit = dates ? 1 : find_unit(&extent);
	origin = find_origin(buffer, &extent, unit, dates);
	for (int i = 0; i < buffer->count; i++)
	{
		time[i] = time[i] * unit - origin;
		if (fabs(time[i]) > MAX_AT_MS)
		{
			time[i] = NAN;
			far++;
		}
	}
	if (far > 0)
		crash_buffer_note(buffer, "time", "out of range", far);
	if (extent.count < buffer->count)
		crash_buffer_note(buffer, "time", "missing",
						  buffer->count - extent.count);
}
