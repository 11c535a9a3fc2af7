/*
 * sns.h
 *	  Amazon SNS messages as they are pushed: what is signed, and by whom.
 *
 * Whoever knows the address of a gateway can send to it, so nothing of a
 * message counts until its signature is verified, and nothing that the
 * signature does not cover counts at all.
 */
#ifndef DAMOOV_SNS_H
#define DAMOOV_SNS_H

#include <openssl/evp.h>

#include "base/fault.h"

/* Members, those that are signed first and in the order of signing. */
typedef enum SnsMember
{
	SNS_MESSAGE,
	SNS_MESSAGE_ID,
	SNS_SUBJECT,
	SNS_SUBSCRIBE_URL,
	SNS_TIMESTAMP,
	SNS_TOKEN,
	SNS_TOPIC_ARN,
	SNS_TYPE,
	SNS_SIGNED_MEMBERS,
	SNS_SIGNATURE = SNS_SIGNED_MEMBERS,
	SNS_SIGNATURE_VERSION,
	SNS_CERTIFICATE_URL,
	SNS_MEMBERS
} SnsMember;

typedef struct SnsMessage
{
	const char *value[SNS_MEMBERS]; /* NULL: absent */
} SnsMessage;

typedef enum SnsVerdict
{
	SNS_VALID,
	SNS_INVALID,
	SNS_UNVERIFIABLE			/* this OpenSSL does not know the algorithm */
} SnsVerdict;

/*
 * Is the body an SNS message?  If so, the fault says why it cannot be used: a
 * member twice, missing or of another type, an unknown Type or version.
 */
extern bool sns_read(const char *body, Size len, SnsMessage *message, Fault *fault);

/* Is the subscription asking to be confirmed? */
extern bool sns_is_confirmation(const SnsMessage *message);

/*
 * "https://sns.eu-west-1.amazonaws.com" for a topic there; NULL when the text
 * is not the ARN of a topic.
 */
extern char *sns_topic_host(const char *topic_arn);

/*
 * The path of a certificate's URL, which must be below the topic's host and
 * written as SNS writes it, byte for byte; else NULL.
 */
extern const char *sns_certificate_path(const char *url, const char *topic_arn);

/*
 * The key in a certificate that is valid now and was issued to SNS; the
 * caller frees it.  NULL with the fault filled.
 */
extern EVP_PKEY *sns_certificate_key(const char *pem, Size len, const char *topic_arn,
									 int *seconds_left, Fault *fault);

extern SnsVerdict sns_verify(const SnsMessage *message, EVP_PKEY *key);

#endif							/* DAMOOV_SNS_H */
