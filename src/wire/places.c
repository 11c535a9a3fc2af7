/*
 * places.c
 *	  How many requests may be in flight at the same time: see places.h.
 */
#include "postgres.h"

#include "storage/fd.h"

#include "wire/places.h"

#define MAX_IN_FLIGHT		128

/*
 * The server lets all extensions of a process have a third of its descriptors.
 * A request may try two addresses at the same time, and other extensions need
 * descriptors as well.
 */
int
places_count(void)
{
	return Max(2, Min(MAX_IN_FLIGHT, max_safe_fds / 6));
}

bool
places_free(const Places *places, bool long_poll)
{
	int			count = places_count();

	return places->taken < count &&
		(!long_poll || places->long_polls < count - Max(1, count / 4));
}

void
places_take(Places *places, bool long_poll)
{
	places->taken++;
	places->long_polls += long_poll;
}

void
places_leave(Places *places, bool long_poll)
{
	places->taken--;
	places->long_polls -= long_poll;
}
