/*
 * places.h
 *	  How many requests may be in flight at the same time.
 */
#ifndef DAMOOV_PLACES_H
#define DAMOOV_PLACES_H

typedef struct Places
{
	int			taken;
	int			long_polls;		/* of these */
} Places;

/* How many there are; that many connections are kept open for later requests. */
extern int	places_count(void);

/* Is there one?  A long poll leaves some to requests that are answered at once. */
extern bool places_free(const Places *places, bool long_poll);

extern void places_take(Places *places, bool long_poll);
extern void places_leave(Places *places, bool long_poll);

#endif							/* DAMOOV_PLACES_H */
