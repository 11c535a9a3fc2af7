/*
 * secret.h
 *	  Keys, tokens and texts that contain them: overwritten when they are not
 *	  needed any longer.
 *
 * Memory that is given back keeps its contents, and may turn up in a core file.
 */
#ifndef DAMOOV_SECRET_H
#define DAMOOV_SECRET_H

/* Overwrites a text; NULL is none. */
extern void secret_wipe(char *text);

/*
 * Has a text that was palloc'd in the current context overwritten when that goes.
 * Returns the text.
 */
extern char *secret_own(char *text);

/* A copy in the current context, overwritten when that goes. */
extern char *secret_keep(const char *text, Size len);

#endif							/* DAMOOV_SECRET_H */
