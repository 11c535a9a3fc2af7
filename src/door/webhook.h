/*
 * webhook.h
 *	  The door for pushes: SNS, Event Grid, CloudEvents behind a gateway.
 */
#ifndef DAMOOV_WEBHOOK_H
#define DAMOOV_WEBHOOK_H

#include "base/fault.h"
#include "base/options.h"

/*
 * Where a topic's SNS is asked, without a slash at the end; *is_test: it is a
 * stand-in on loopback.  False with the fault filled when the server does not
 * list the topic or its options cannot be used.
 */
extern bool webhook_topic_url(const ServerOptions *options, const char *topic_arn,
							  char **base_url, bool *is_test, Fault *fault);

#endif							/* DAMOOV_WEBHOOK_H */
