/*
 * inbox.h
 *	  Messages of a source from being received to being settled: which are to be
 *	  stored, and what became of it.
 *
 * As long as nothing goes wrong all are stored together.  Those that could not be
 * stored together are halved, until it is known which of them cannot be; that one
 * is held and tried again by itself, less and less often.  What comes meanwhile
 * is stored together as before.
 */
#ifndef DAMOOV_INBOX_H
#define DAMOOV_INBOX_H

#include "base/fault.h"
#include "provider/source.h"

/* Does anything wait to be stored? */
extern bool inbox_has_waiting(const Source *source);

/* Is nothing there but what is held? */
extern bool inbox_is_quiet(const Source *source);

/*
 * When those that are to be stored together should be, by clock_ms(): at once,
 * or a little later when more are on their way; PG_INT64_MAX: there are none.
 */
extern int64 inbox_together_due_ms(const Source *source);

/* All that are to be stored together (SourceMessage *), or NIL. */
extern List *inbox_together(const Source *source);

/* When what has failed before is to be stored, by clock_ms(); PG_INT64_MAX: nothing has. */
extern int64 inbox_apart_due_ms(const Source *source);

/* The next of these, as many as may be stored together (SourceMessage *), or NIL. */
extern List *inbox_next(const Source *source, int64 now_ms);

/*
 * Is it the message that cannot be stored, and not its source as a whole?  Then
 * it belongs into the quarantine.
 */
extern bool inbox_is_to_blame(const Source *source, const SourceMessage *message);

/*
 * In the open transaction it is stored.  fresh: something came of it that was not
 * known; blamed: it went to the quarantine, see above.
 */
extern void inbox_stored(SourceMessage *message, bool fresh, bool blamed);

/*
 * They could not be stored together: now each half of them is tried.  One that
 * could not be stored by itself is held.
 */
extern void inbox_failed(Source *source, const List *messages, const Fault *fault);

/* The transaction has ended. */
extern void inbox_end(Source *source, bool committed);

/*
 * What was delivered again while it is held takes the place of the older copy.
 * Before anything of it is stored, for else each copy counts as a failed message.
 */
extern void inbox_replace_held(Source *source);

/* Puts in line to be settled what is stored, and drops what has come again. */
extern void inbox_tidy(Source *source);

#endif							/* DAMOOV_INBOX_H */
