/*
 * socket_set.c
 *	  A changing set of sockets: see socket_set.h.
 *
 * The table is indexed by descriptor and grows with them, so that there is no
 * limit but that of the process.  It changes inside of libcurl and is therefore
 * malloc'd; what the server waits with is made anew outside of it.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "compat.h"
#include "wire/socket_set.h"

bool
socket_set_watch(SocketSet *set, pgsocket fd, uint32 events)
{
	if (fd >= set->space)
	{
		int			space = Max(fd + 1, set->space * 2);
		uint32	   *larger = realloc(set->events, space * sizeof(uint32));

		if (larger == NULL)
			return false;
		memset(larger + set->space, 0, (space - set->space) * sizeof(uint32));
		set->events = larger;
		set->space = space;
	}
	set->count += (events != 0) - (set->events[fd] != 0);
	set->events[fd] = events;
	set->changed = true;
	return true;
}

static void
free_waiting(SocketSet *set)
{
	WaitEventSet *waiting = set->waiting;

	/* what is made next may fail, and this must not be freed twice */
	set->waiting = NULL;
	if (waiting)
		FreeWaitEventSet(waiting);
}

static void
make_waiting(SocketSet *set)
{
	free_waiting(set);
	set->waiting = compat_wait_event_set(set->count + 2);
	AddWaitEventToSet(set->waiting, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set->waiting, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	for (int fd = 0; fd < set->space; fd++)
	{
		if (set->events[fd])
			AddWaitEventToSet(set->waiting, set->events[fd], fd, NULL, NULL);
	}
	set->changed = false;
}

int
socket_set_wait(SocketSet *set, long timeout_ms, WaitEvent *occurred, int noccurred,
				uint32 wait_event)
{
	if (set->changed || set->waiting == NULL)
		make_waiting(set);
	return WaitEventSetWait(set->waiting, timeout_ms, occurred, noccurred, wait_event);
}

void
socket_set_clear(SocketSet *set)
{
	free_waiting(set);
	free(set->events);
	memset(set, 0, sizeof(SocketSet));
}
