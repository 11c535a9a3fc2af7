/*
 * topic.h
 *	  Topics of SNS that a webhook server lists: the base URL of their SNS, and
 *	  the keys that sign their messages.
 */
#ifndef DAMOOV_TOPIC_H
#define DAMOOV_TOPIC_H

#include "base/fault.h"
#include "base/options.h"
#include "message/sns.h"

extern bool topic_is_listed(const ServerOptions *options, const char *topic_arn);

/*
 * The base URL of SNS for a topic, without a slash at the end; *is_test: it is
 * a stand-in on loopback.  False with the fault filled when the server does
 * not list the topic or its options cannot be used.
 */
extern bool topic_address(const ServerOptions *options, const char *topic_arn,
						  char **base_url, bool *is_test, Fault *fault);

/*
 * The key in the certificate at a URL that was checked, for the caller to free;
 * it is fetched unless it is known.  NULL with the fault's reason
 *
 *	bad_signature	SNS has no such certificate, or it is no use
 *	no_certificate	SNS could not be asked: may work later
 */
extern EVP_PKEY *topic_key(const char *url, const char *topic_arn, bool is_test, Fault *fault);

#endif							/* DAMOOV_TOPIC_H */
