/*
 * socket_set.h
 *	  A changing set of sockets, waited for together with the latch and the
 *	  postmaster.
 */
#ifndef DAMOOV_SOCKET_SET_H
#define DAMOOV_SOCKET_SET_H

#include "storage/latch.h"

typedef struct SocketSet
{
	uint32	   *events;			/* WL_SOCKET_* by descriptor; malloc'd */
	int			space;			/* descriptors for which there is room */
	int			count;			/* that are watched */
	bool		changed;		/* since "waiting" was made */
	WaitEventSet *waiting;
} SocketSet;

/*
 * From now on the socket is watched for these events; 0: not at all.  False when
 * memory is short.  Never throws: it is called from inside libcurl.
 */
extern bool socket_set_watch(SocketSet *set, pgsocket fd, uint32 events);

/*
 * WaitEventSetWait() for the sockets and WL_LATCH_SET; the end of the postmaster
 * ends the process.
 */
extern int	socket_set_wait(SocketSet *set, long timeout_ms, WaitEvent *occurred,
							int noccurred, uint32 wait_event);

/* Watches nothing any longer and gives all memory back; never throws. */
extern void socket_set_clear(SocketSet *set);

#endif							/* DAMOOV_SOCKET_SET_H */
