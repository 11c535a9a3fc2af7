/*
 * hide.h
 *	  Keeping secrets in the text of a statement out of the server log.
 */
#ifndef DAMOOV_HIDE_H
#define DAMOOV_HIDE_H

/*
 * Between this and hide_end(), no error or message contains the statement that
 * is running.  For SQL functions that are given a device token or a key.  The
 * caller provides the memory.  An error that leaves the function ends it, too.
 */
extern void hide_statement(ErrorContextCallback *hiding);
extern void hide_end(ErrorContextCallback *hiding);

#endif							/* DAMOOV_HIDE_H */
