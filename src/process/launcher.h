/*
 * launcher.h
 *	  Starts one worker per database and keeps them running.
 */
#ifndef DAMOOV_LAUNCHER_H
#define DAMOOV_LAUNCHER_H

/* While preloading: registers the launcher with the postmaster. */
extern void launcher_register(void);

#endif							/* DAMOOV_LAUNCHER_H */
