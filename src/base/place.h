/*
 * place.h
 *	  Which database this is, and where it lies: what a copy does not have.
 */
#ifndef DAMOOV_PLACE_H
#define DAMOOV_PLACE_H

/* To be called while libraries are preloaded: is the server started as a standby? */
extern void place_init(void);

#endif							/* DAMOOV_PLACE_H */
