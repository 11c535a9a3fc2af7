/*
 * document.h
 *	  The originals of stored datasets.
 */
#ifndef DAMOOV_DOCUMENT_H
#define DAMOOV_DOCUMENT_H

#include "dataset/dataset.h"

/*
 * Keeps the document of a dataset that was just stored, or sees to it that no
 * older one stays, as damoov.keep_documents says.  In the transaction that
 * stored it, between sql_enter() and sql_leave().  Without "fetched" a
 * document that is there already keeps its time.
 */
extern void document_keep(const DatasetKey *key, const char *text, Size len,
						  bool fetched);

#endif							/* DAMOOV_DOCUMENT_H */
