/*
 * reply.h
 *	  JSON of a provider: what wraps messages, never the messages themselves.
 *
 * cJSON takes replies apart; it is too lenient to judge what is stored.
 */
#ifndef DAMOOV_REPLY_H
#define DAMOOV_REPLY_H

#include <cjson/cJSON.h>

#include "base/fault.h"
#include "wire/http.h"

/* The tree lives until context goes; NULL when the text is not JSON. */
extern cJSON *reply_json(MemoryContext context, const char *text, Size len);

/* A string member of an object, or NULL. */
extern const char *reply_text(const cJSON *object, const char *name);

/* The service's code for what went wrong, as a header tells it; "" if none. */
extern const char *reply_error_code(const HttpRequest *request);

/*
 * Fills the fault for a reply that is no success: our words, the service's
 * code (or NULL) and the status; its name for the request (or NULL: that of a
 * header) in the detail.  Both are the service's text, and are left out when
 * they do not look like what they should be.
 */
extern void reply_fault(const HttpRequest *request, const char *code, const char *request_id,
						const char *words, Fault *fault);

#endif							/* DAMOOV_REPLY_H */
