/*
 * shared.h
 *	  Memory that all processes of the server share.
 *
 * There is some only when the library is preloaded.  One lock guards all of it:
 * it is held for a few instructions, by those who push and by workers that
 * start.
 */
#ifndef DAMOOV_SHARED_H
#define DAMOOV_SHARED_H

#include "storage/lwlock.h"

/*
 * While preloading: asks for a piece, of zeros at first.  *place, a variable
 * that lives for ever, points to it once the server is up, and stays NULL else.
 */
extern void shared_request(const char *name, Size size, void **place);

/* Copies a text into an array of so many bytes, cut off at the end of a character if it is longer. */
extern void shared_text(char *to, const char *from, int size);

/* Nothing to be locked where nothing is shared. */
extern void shared_lock(LWLockMode mode);
extern void shared_unlock(void);

#endif							/* DAMOOV_SHARED_H */
