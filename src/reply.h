/*
 * reply.h
 *	  JSON of a provider: what wraps messages, never the messages themselves.
 *
 * cJSON takes replies apart; it is too lenient to judge what is stored.
 */
#ifndef DAMOOV_REPLY_H
#define DAMOOV_REPLY_H

#include <cjson/cJSON.h>

/* The tree lives until context goes; NULL when the text is not JSON. */
extern cJSON *reply_json(MemoryContext context, const char *text, Size len);

/* A string member of an object, or NULL. */
extern const char *reply_text(const cJSON *object, const char *name);

#endif							/* DAMOOV_REPLY_H */
