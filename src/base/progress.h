/*
 * progress.h
 *	  How far long calls have come.
 */
#ifndef DAMOOV_PROGRESS_H
#define DAMOOV_PROGRESS_H

/* While preloading: asks for the shared memory. */
extern void progress_init(void);

#endif							/* DAMOOV_PROGRESS_H */
