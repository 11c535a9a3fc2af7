/*
 * timestamp.c
 *	  Strict reader of the points in time found in Damoov data.
 *
 * The server's own input of timestamptz accepts far too much ("now", Julian
 * days, dates without a time, zone names) and depends on the settings of the
 * session.  Here there is one form:
 *
 *		YYYY-MM-DDThh:mm:ss[.fraction][Z | +hh:mm | +hhmm]
 *
 * with a fraction of one to nine digits, rounded half up to microseconds, and
 * UTC when no zone is given.  The caller keeps the text as received: two
 * events 100 ns apart may be read as the same microsecond.
 *
 * It runs once for every point of a trip, hundreds at a time, hence no
 * sscanf(), no allocation and no copying.  The text need not be terminated.
 */
#include "postgres.h"

#include <math.h>

#include "utils/datetime.h"

#include "base/timestamp.h"

/* from the year on: "-MM-DDThh:mm:ss" */
#define BODY_LENGTH				15
#define MAX_FRACTION_DIGITS		9
#define MAX_OFFSET_HOUR			15

/*
 * The plausible range as a half-open interval, in days since 2000-01-01.  It ends
 * far from the year 9999, which .NET writes for "never".
 */
#define FIRST_DAY				(UNIX_EPOCH_JDATE - POSTGRES_EPOCH_JDATE)
#define END_DAY					73414	/* 2201-01-01 */
#define IS_PLAUSIBLE(at) \
	((at) >= FIRST_DAY * USECS_PER_DAY && (at) < END_DAY * USECS_PER_DAY)

/* what is written, before it is judged */
typedef struct Fields
{
	int			year;			/* -1: more digits than four, or BC */
	int			month;
	int			day;
	int			hour;
	int			minute;
	int			second;
	int			micros;			/* 1000000 if rounded up to the next second */
	bool		fraction;		/* is any digit of the fraction not zero? */
} Fields;

static inline bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The value of two digits, or -1. */
static inline int
two_digits(const char *p)
{
	if (!is_digit(p[0]) || !is_digit(p[1]))
		return -1;
	return (p[0] - '0') * 10 + (p[1] - '0');
}

/*
 * Read the year.  One with a sign or more than four digits is well-formed,
 * though never in range.  Returns where it ends, or NULL.
 */
static const char *
read_year(const char *p, const char *end, Fields *f)
{
	const char *start;

	if (end - p > 4 && p[4] == '-' &&
		two_digits(p) >= 0 && two_digits(p + 2) >= 0)
	{
		f->year = two_digits(p) * 100 + two_digits(p + 2);
		return p + 4;
	}

	if (p < end && (*p == '-' || *p == '+'))
		p++;
	for (start = p; p < end && is_digit(*p); p++)
		;
	f->year = -1;
	return p - start >= 4 ? p : NULL;
}

/* Read month to second.  Returns where they end, or NULL. */
static const char *
read_body(const char *p, const char *end, Fields *f)
{
	if (end - p < BODY_LENGTH || p[0] != '-' || p[3] != '-' ||
		p[6] != 'T' || p[9] != ':' || p[12] != ':')
		return NULL;

	f->month = two_digits(p + 1);
	f->day = two_digits(p + 4);
	f->hour = two_digits(p + 7);
	f->minute = two_digits(p + 10);
	f->second = two_digits(p + 13);
	if ((f->month | f->day | f->hour | f->minute | f->second) < 0)
		return NULL;
	return p + BODY_LENGTH;
}

/* Read the fraction, if there is one.  Returns where it ends, or NULL. */
static const char *
read_fraction(const char *p, const char *end, Fields *f)
{
	int			nanos = 0;
	int			digits = 0;

	f->micros = 0;
	f->fraction = false;
	if (p == end || *p != '.')
		return p;

	for (p++; p < end && is_digit(*p) && digits < MAX_FRACTION_DIGITS; p++)
	{
		nanos = nanos * 10 + (*p - '0');
		digits++;
	}
	if (digits == 0 || (p < end && is_digit(*p)))
		return NULL;
	for (; digits < MAX_FRACTION_DIGITS; digits++)
		nanos *= 10;
	f->micros = (nanos + 500) / 1000;
	f->fraction = nanos > 0;
	return p;
}

/* Read the zone, which is all the rest. */
static TimeResult
read_zone(const char *p, const char *end, ParsedTime *out)
{
	Size		len = end - p;
	int			hour;
	int			minute;

	if (len == 0)
		return TIME_OK;
	out->has_zone = true;
	if (*p == 'Z')
		return len == 1 ? TIME_OK : TIME_SYNTAX;
	if (*p != '+' && *p != '-')
		return TIME_SYNTAX;

	if (len == 6 && p[3] == ':')
		minute = two_digits(p + 4);
	else if (len == 5)
		minute = two_digits(p + 3);
	else
		return TIME_ZONE;
	hour = two_digits(p + 1);
	if (hour < 0 || hour > MAX_OFFSET_HOUR || minute < 0 || minute > 59)
		return TIME_ZONE;
	out->offset_min = hour * 60 + minute;
	if (*p == '-')
		out->offset_min = -out->offset_min;
	return TIME_OK;
}

static TimeResult
read_text(const char *p, const char *end, Fields *f, ParsedTime *out)
{
	bool		before_christ = false;

	if (end - p > 3 && memcmp(end - 3, " BC", 3) == 0)
	{
		before_christ = true;
		end -= 3;
	}
	p = read_year(p, end, f);
	if (p != NULL)
		p = read_body(p, end, f);
	if (p != NULL)
		p = read_fraction(p, end, f);
	if (p == NULL)
		return TIME_SYNTAX;
	if (before_christ)
		f->year = -1;
	return read_zone(p, end, out);
}

static bool
is_empty_date(const Fields *f)
{
	return f->year == 1 && f->month == 1 && f->day == 1 &&
		f->hour == 0 && f->minute == 0 && f->second == 0 && !f->fraction;
}

/* Is there such a date, and such a time of day? */
static bool
fields_exist(const Fields *f)
{
	if (f->year < 1 || f->month < 1 || f->month > MONTHS_PER_YEAR ||
		f->day < 1 || f->day > day_tab[isleap(f->year)][f->month - 1])
		return false;
	if (f->hour > 24 || f->minute > 59 || f->second > 60)
		return false;
	if (f->hour == 24 && (f->minute > 0 || f->second > 0 || f->fraction))
		return false;
	return f->second < 60 || !f->fraction;
}

/*
 * Read a point in time.  Unless the result is TIME_OK, out->at is zero.
 */
TimeResult
timestamp_parse(const char *text, int len, ParsedTime *out)
{
	Fields		f;
	TimeResult	result;
	int64		seconds;
	TimestampTz at;

	memset(out, 0, sizeof(*out));
	result = read_text(text, text + len, &f, out);
	if (result != TIME_OK)
		return result;
	if (is_empty_date(&f))
		return TIME_EMPTY;
	if (!fields_exist(&f))
		return TIME_RANGE;

	seconds = date2j(f.year, f.month, f.day) - POSTGRES_EPOCH_JDATE;
	seconds = seconds * HOURS_PER_DAY + f.hour;
	seconds = seconds * MINS_PER_HOUR + f.minute - out->offset_min;
	seconds = seconds * SECS_PER_MINUTE + f.second;
	at = seconds * USECS_PER_SEC + f.micros;
	if (!IS_PLAUSIBLE(at))
		return TIME_RANGE;

	out->at = at;
	out->leap_second = f.second == 60;
	out->end_of_day = f.hour == 24;
	return TIME_OK;
}

static const struct
{
	int			sqlstate;
	const char *words;
}			results[] = {
	[TIME_OK] = {ERRCODE_SUCCESSFUL_COMPLETION, NULL},
	[TIME_EMPTY] = {ERRCODE_DATETIME_FIELD_OVERFLOW, "is the empty date"},
	[TIME_SYNTAX] = {ERRCODE_INVALID_DATETIME_FORMAT, "is not a date and time in ISO 8601 format"},
	[TIME_RANGE] = {ERRCODE_DATETIME_FIELD_OVERFLOW, "is out of range"},
	[TIME_ZONE] = {ERRCODE_INVALID_TIME_ZONE_DISPLACEMENT_VALUE, "has an invalid time zone offset"},
};

int
timestamp_sqlstate(TimeResult result)
{
	return results[result].sqlstate;
}

/*
 * What is wrong, in words that follow the quoted text in a message:
 * timestamp "..." is out of range.  NULL for TIME_OK.
 */
const char *
timestamp_fault(TimeResult result)
{
	return results[result].words;
}

/*
 * Convert a number of seconds or milliseconds since 1970, for those fields
 * that are documented to hold one.  False if it is not plausible; the value
 * may be anything, infinite and not-a-number included.
 */
bool
timestamp_from_epoch(double value, bool milliseconds, TimestampTz *out)
{
	double		micros = value * (milliseconds ? 1e3 : 1e6);
	TimestampTz at;

	/* written so that a NaN fails, too */
	if (!(micros >= 0 && micros < 9e15))
		return false;
	at = (TimestampTz) rint(micros) + FIRST_DAY * USECS_PER_DAY;
	if (!IS_PLAUSIBLE(at))
		return false;
	*out = at;
	return true;
}
