/*
 * record_check.h
 *	  Checks of whole records, for the kinds of datasets.
 */
#ifndef DAMOOV_RECORD_CHECK_H
#define DAMOOV_RECORD_CHECK_H

#include "base/fault.h"
#include "dataset/record.h"

/*
 * A position, latitude and longitude being members one after the other, is
 * both numbers or none.  Sets both to NULL and notes why.
 */
extern void record_check_position(RecordState *state, int latitude);

/* Notes an end before its start. */
extern void record_check_end(RecordState *document, int start, int end);

/*
 * Fills the fault for a document without what it should have, saying what it
 * seems to be instead.  Returns false.
 */
extern bool record_refuse(const Record *record, const Document *document,
						  const char *missing, Fault *fault);

#endif							/* DAMOOV_RECORD_CHECK_H */
