/*
 * simplify.c
 *	  A line with fewer points: Douglas and Peucker's way, the worst first.
 *
 * Of all stretches between two points that are kept, the one that lies furthest
 * from its line is split next, until none lies further off than is allowed, or
 * as many points are kept as may be.  So no shape of a line makes it take more
 * than "most" passes over the points, and what it gives up when there are too
 * many is what can be seen least.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/binaryheap.h"
#include "miscadmin.h"
#include "utils/array.h"

#include "compat.h"

SQL_FUNCTION(damoov_simplify);

/* the points that are given, and what is allowed */
typedef struct Line
{
	const float8 *x;
	const float8 *y;
	const bool *breaks;			/* NULL: there are none */
	float8		tolerance;
	int			count;
} Line;

/* between two points that are kept: where it is to be split */
typedef struct Stretch
{
	int			first;
	int			last;
	int			furthest;
	float8		distance;
} Stretch;

static int
compare_stretches(Datum a, Datum b, void *arg)
{
	float8		left = ((Stretch *) DatumGetPointer(a))->distance;
	float8		right = ((Stretch *) DatumGetPointer(b))->distance;

	return left < right ? -1 : left > right ? 1 : 0;
}

/* From a point to the nearest one of a straight stretch, which may have no length. */
static float8
distance_from(const Line *line, int first, int last, int point)
{
	float8		dx = line->x[last] - line->x[first];
	float8		dy = line->y[last] - line->y[first];
	float8		px = line->x[point] - line->x[first];
	float8		py = line->y[point] - line->y[first];
	float8		square = dx * dx + dy * dy;
	float8		along = square > 0 ? (px * dx + py * dy) / square : 0;

	along = along < 0 ? 0 : along > 1 ? 1 : along;
	return hypot(px - along * dx, py - along * dy);
}

/* A break counts as if it lay further off than is allowed. */
static void
find_furthest(const Line *line, Stretch *stretch)
{
	stretch->distance = -1;
	for (int point = stretch->first + 1; point < stretch->last; point++)
	{
		float8		distance = distance_from(line, stretch->first, stretch->last, point);

		if (line->breaks != NULL && line->breaks[point])
			distance += 2 * line->tolerance;
		if (distance > stretch->distance)
		{
			stretch->distance = distance;
			stretch->furthest = point;
		}
	}
}

static void
add_stretch(const Line *line, binaryheap *stretches, int first, int last)
{
	Stretch    *stretch;

	if (last - first < 2)
		return;
	CHECK_FOR_INTERRUPTS();
	stretch = palloc(sizeof(Stretch));
	stretch->first = first;
	stretch->last = last;
	find_furthest(line, stretch);
	if (stretch->distance > line->tolerance)
		binaryheap_add(stretches, PointerGetDatum(stretch));
	else
		pfree(stretch);
}

/* Marks the points that are kept, at most so many. */
static int
simplify(const Line *line, int most, bool *kept)
{
	binaryheap *stretches = binaryheap_allocate(most, compare_stretches, NULL);
	int			count = 2;

	kept[0] = kept[line->count - 1] = true;
	add_stretch(line, stretches, 0, line->count - 1);
	while (count < most && !binaryheap_empty(stretches))
	{
		Stretch    *worst = (Stretch *) DatumGetPointer(binaryheap_remove_first(stretches));

		kept[worst->furthest] = true;
		count++;
		add_stretch(line, stretches, worst->first, worst->furthest);
		add_stretch(line, stretches, worst->furthest, worst->last);
		pfree(worst);
	}
	binaryheap_free(stretches);
	return count;
}

static int
length_of(ArrayType *array)
{
	if (ARR_NDIM(array) > 1 || ARR_HASNULL(array))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("coordinates must be arrays of one dimension without NULL")));
	return ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
}

/* of an array without NULL */
static void *
contents_of(ArrayType *array)
{
	return (char *) array + ARR_OVERHEAD_NONULLS(ARR_NDIM(array));
}

static void
check_numbers(const float8 *numbers, int count)
{
	for (int i = 0; i < count; i++)
	{
		if (!isfinite(numbers[i]))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("coordinates must be finite")));
	}
}

static ArrayType *
positions_of(const bool *kept, int total, int count)
{
	Datum	   *positions = palloc(count * sizeof(Datum));

	for (int i = 0, next = 0; i < total; i++)
	{
		if (kept[i])
			positions[next++] = Int32GetDatum(i + 1);
	}
	return construct_array(positions, count, INT4OID, sizeof(int32), true, TYPALIGN_INT);
}

Datum
damoov_simplify(PG_FUNCTION_ARGS)
{
	ArrayType  *x = PG_GETARG_ARRAYTYPE_P(0);
	ArrayType  *y = PG_GETARG_ARRAYTYPE_P(1);
	ArrayType  *breaks = PG_GETARG_ARRAYTYPE_P(2);
	int			most = PG_GETARG_INT32(4);
	Line		line = {
		.x = contents_of(x),
		.y = contents_of(y),
		.tolerance = PG_GETARG_FLOAT8(3),
		.count = length_of(x)
	};
	bool	   *kept;
	int			count;

	if (length_of(y) != line.count || (length_of(breaks) != line.count && length_of(breaks) != 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("coordinates must be as many in each direction")));
	if (!(line.tolerance >= 0) || most < 2)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("tolerance must not be negative, and at least two points are to be kept")));
	check_numbers(line.x, line.count);
	check_numbers(line.y, line.count);
	if (length_of(breaks) > 0)
		line.breaks = contents_of(breaks);
	if (line.count == 0)
		PG_RETURN_ARRAYTYPE_P(construct_empty_array(INT4OID));
	kept = palloc0(line.count * sizeof(bool));
	kept[0] = true;
	count = line.count == 1 ? 1 : simplify(&line, Min(most, line.count), kept);
	PG_RETURN_ARRAYTYPE_P(positions_of(kept, line.count, count));
}
