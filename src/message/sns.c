/*
 * sns.c
 *	  Amazon SNS messages as they are pushed: see sns.h.
 *
 * The certificate is trusted because it comes from the host of SNS over
 * verified TLS.  Its own chain cannot be verified, because SNS serves this
 * certificate alone.  So only its validity, the name it was issued to and its
 * key are checked.
 */
#include "postgres.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "datatype/timestamp.h"
#include "lib/stringinfo.h"

#include "base/json.h"
#include "base/text.h"
#include "compat.h"
#include "message/sns.h"
#include "wire/partition.h"

#define MAX_BODY			(1024 * 1024)	/* SNS pushes at most 256 KiB */
#define MAX_SIGNATURE		1024
#define MAX_CERTIFICATE_NAME 64
#define MIN_KEY_BITS		2048
#define CERTIFICATE_PREFIX	"/SimpleNotificationService-"
#define CERTIFICATE_SUFFIX	".pem"

typedef enum Use
{
	USE_ALWAYS,
	USE_OPTIONAL,				/* signed when it is there */
	USE_CONFIRMATION,			/* part of messages about subscriptions only */
} Use;

static const struct
{
	const char *name;
	Use			use;
}			members[SNS_MEMBERS] = {
	[SNS_MESSAGE] = {"Message", USE_ALWAYS},
	[SNS_MESSAGE_ID] = {"MessageId", USE_ALWAYS},
	[SNS_SUBJECT] = {"Subject", USE_OPTIONAL},
	[SNS_SUBSCRIBE_URL] = {"SubscribeURL", USE_CONFIRMATION},
	[SNS_TIMESTAMP] = {"Timestamp", USE_ALWAYS},
	[SNS_TOKEN] = {"Token", USE_CONFIRMATION},
	[SNS_TOPIC_ARN] = {"TopicArn", USE_ALWAYS},
	[SNS_TYPE] = {"Type", USE_ALWAYS},
	[SNS_SIGNATURE] = {"Signature", USE_ALWAYS},
	[SNS_SIGNATURE_VERSION] = {"SignatureVersion", USE_ALWAYS},
	[SNS_CERTIFICATE_URL] = {"SigningCertURL", USE_ALWAYS},
};

typedef struct Reading
{
	SnsMessage *message;
	bool		has_event;		/* a notification, not an envelope */
	bool		seen[SNS_MEMBERS];
	bool		repeated;
	bool		mistyped;
	char	   *string;			/* the string being read */
} Reading;

/* ----- the message ----- */

static void
on_scalar(JsonWalk *walk, char *text, JsonTokenType type)
{
	if (walk->depth == 1)
		((Reading *) walk->state)->string = type == JSON_TOKEN_STRING ? text : NULL;
}

static void
on_value(JsonWalk *walk, const char *start, Size len)
{
	Reading    *reading = walk->state;
	const char *name = json_name(walk, 1);

	if (walk->depth != 1)
		return;
	reading->has_event |= strcmp(name, "Event") == 0;
	for (int i = 0; i < SNS_MEMBERS; i++)
	{
		if (strcmp(name, members[i].name) != 0)
			continue;
		reading->repeated |= reading->seen[i];
		reading->seen[i] = true;
		if (*start == '"')
			reading->message->value[i] = reading->string;
		else if (*start != 'n')
			reading->mistyped = true;
	}
}

static bool
refuse(Fault *fault, const char *problem)
{
	return fault_set(fault, REASON_ENVELOPE, "SNS message %s", problem);
}

bool
sns_is_confirmation(const SnsMessage *message)
{
	return strcmp(message->value[SNS_TYPE], "SubscriptionConfirmation") == 0;
}

static bool
is_notification(const SnsMessage *message)
{
	return strcmp(message->value[SNS_TYPE], "Notification") == 0;
}

/* Is this member signed in a message of this type? */
static bool
is_used(const SnsMessage *message, SnsMember member)
{
	switch (members[member].use)
	{
		case USE_ALWAYS:
			return true;
		case USE_OPTIONAL:
			return is_notification(message) && message->value[member] != NULL;
		case USE_CONFIRMATION:
			return !is_notification(message);
	}
	return false;
}

static bool
check_members(const SnsMessage *message, Fault *fault)
{
	const char *version = message->value[SNS_SIGNATURE_VERSION];

	if (!is_notification(message) && !sns_is_confirmation(message) &&
		strcmp(message->value[SNS_TYPE], "UnsubscribeConfirmation") != 0)
		return refuse(fault, "has an unknown \"Type\"");
	for (int i = 0; i < SNS_MEMBERS; i++)
	{
		if (is_used(message, i) && message->value[i] == NULL)
			return refuse(fault, psprintf("has no \"%s\"", members[i].name));
	}
	if (strcmp(version, "1") != 0 && strcmp(version, "2") != 0)
		return refuse(fault, "has an unknown \"SignatureVersion\"");
	return true;
}

bool
sns_read(const char *body, Size len, SnsMessage *message, Fault *fault)
{
	static const JsonVisitor visitor = {.scalar = on_scalar, .value = on_value};
	Reading		reading = {.message = message};
	Fault		ignored = {0};

	memset(message, 0, sizeof(SnsMessage));
	json_skip_mark(&body, &len);
	if (!json_walk(body, len, JSON_LIMITS(MAX_BODY), &visitor, &reading, &ignored) ||
		reading.has_event ||
		message->value[SNS_TYPE] == NULL || message->value[SNS_MESSAGE_ID] == NULL ||
		message->value[SNS_TOPIC_ARN] == NULL)
		return false;
	if (reading.repeated)
		refuse(fault, "has a member twice");
	else if (reading.mistyped)
		refuse(fault, "has a member that is not a string");
	else
		(void) check_members(message, fault);
	return true;
}

/* ----- where it comes from ----- */

/* arn:aws:sns:eu-west-1:123456789012:name */
static bool
parse_topic(const char *arn, char **region)
{
	const char *part[6];

	for (int i = 0; i < 6; i++)
	{
		part[i] = i == 0 ? arn : strchr(part[i - 1], ':');
		if (part[i] == NULL)
			return false;
		if (i > 0)
			part[i]++;
	}
	if (strncmp(arn, "arn:", 4) != 0 || strncmp(part[2], "sns:", 4) != 0 ||
		!text_consists_of(part[3], part[4] - part[3] - 1, TEXT_LOWER TEXT_DIGITS "-") ||
		part[5] - part[4] - 1 != 12 || !text_consists_of(part[4], 12, TEXT_DIGITS) ||
		strlen(part[5]) > 256 ||
		!text_consists_of(part[5], strlen(part[5]), TEXT_LETTERS TEXT_DIGITS "_-."))
		return false;
	*region = pnstrdup(part[3], part[4] - part[3] - 1);
	return aws_has_region(pnstrdup(part[1], part[2] - part[1] - 1), *region);
}

char *
sns_topic_host(const char *topic_arn)
{
	char	   *region;

	if (!parse_topic(topic_arn, &region))
		return NULL;
	return psprintf("https://sns.%s.%s", region, aws_domain(region));
}

const char *
sns_certificate_path(const char *url, const char *topic_arn)
{
	const char *host = sns_topic_host(topic_arn);
	Size		host_len = host ? strlen(host) : 0;
	const char *path = url + host_len;
	const char *name = path + strlen(CERTIFICATE_PREFIX);
	Size		name_len;

	/* compared byte by byte: two parsers could take a URL apart differently */
	if (host == NULL || strncmp(url, host, host_len) != 0 ||
		strncmp(path, CERTIFICATE_PREFIX, strlen(CERTIFICATE_PREFIX)) != 0)
		return NULL;
	name_len = strspn(name, TEXT_LETTERS TEXT_DIGITS);
	if (name_len == 0 || name_len > MAX_CERTIFICATE_NAME ||
		strcmp(name + name_len, CERTIFICATE_SUFFIX) != 0)
		return NULL;
	return path;
}

/* ----- the certificate ----- */

/* A certificate with a pass phrase is not accepted. */
static int
no_pass_phrase(char *buffer, int size, int writing, void *arg)
{
	return -1;
}

static X509 *
read_certificate(const char *pem, Size len)
{
	BIO		   *bio = BIO_new_mem_buf(pem, (int) len);
	X509	   *certificate = NULL;

	if (bio)
		certificate = PEM_read_bio_X509(bio, NULL, no_pass_phrase, NULL);
	BIO_free(bio);
	return certificate;
}

static bool
is_issued_to(X509 *certificate, const char *host)
{
	return X509_check_host(certificate, host, 0, X509_CHECK_FLAG_NO_WILDCARDS, NULL) == 1;
}

/* The host's name is "sns", a region and the domain of its part of Amazon. */
static const char *
certificate_problem(X509 *certificate, EVP_PKEY *key, const char *host)
{
	const char *domain = strchr(strchr(host, '.') + 1, '.') + 1;

	if (X509_cmp_current_time(X509_get0_notBefore(certificate)) >= 0)
		return "is not valid yet";
	if (X509_cmp_current_time(X509_get0_notAfter(certificate)) <= 0)
		return "has expired";
	if (!is_issued_to(certificate, "sns.amazonaws.com") && !is_issued_to(certificate, host) &&
		!is_issued_to(certificate, psprintf("sns.%s", domain)))
		return "was not issued to SNS";
	if (key == NULL || EVP_PKEY_base_id(key) != EVP_PKEY_RSA ||
		EVP_PKEY_bits(key) < MIN_KEY_BITS)
		return "has no sound RSA key";
	return NULL;
}

EVP_PKEY *
sns_certificate_key(const char *pem, Size len, const char *topic_arn,
					int *seconds_left, Fault *fault)
{
	const char *host = sns_topic_host(topic_arn) + strlen("https://");
	X509	   *certificate = read_certificate(pem, len);
	EVP_PKEY   *key = certificate ? X509_get_pubkey(certificate) : NULL;
	const char *problem = "cannot be read";
	int			days = 0;

	if (certificate)
	{
		problem = certificate_problem(certificate, key, host);
		if (ASN1_TIME_diff(&days, seconds_left, NULL, X509_get0_notAfter(certificate)) != 1)
			*seconds_left = 0;
		*seconds_left += Min(days, 365) * SECS_PER_DAY;
	}
	X509_free(certificate);
	ERR_clear_error();
	if (problem == NULL)
		return key;
	EVP_PKEY_free(key);
	fault_set(fault, REASON_BAD_SIGNATURE, "certificate of the SNS message %s", problem);
	return NULL;
}

/* ----- the signature ----- */

static char *
text_to_sign(const SnsMessage *message, Size *len)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < SNS_SIGNED_MEMBERS; i++)
	{
		if (is_used(message, i))
			appendStringInfo(&text, "%s\n%s\n", members[i].name, message->value[i]);
	}
	*len = text.len;
	return text.data;
}

SnsVerdict
sns_verify(const SnsMessage *message, EVP_PKEY *key)
{
	const char *encoded = message->value[SNS_SIGNATURE];
	unsigned char signature[MAX_SIGNATURE];
	int			signature_len = -1;
	Size		len;
	char	   *text = text_to_sign(message, &len);
	EVP_MD_CTX *context;
	SnsVerdict	verdict = SNS_UNVERIFIABLE;

	if (strlen(encoded) <= MAX_SIGNATURE)
		signature_len = compat_b64_decode(encoded, strlen(encoded), signature, sizeof(signature));
	if (signature_len < 0)
		return SNS_INVALID;
	context = EVP_MD_CTX_new();
	if (context &&
		EVP_DigestVerifyInit(context, NULL,
							 strcmp(message->value[SNS_SIGNATURE_VERSION], "1") == 0
							 ? EVP_sha1() : EVP_sha256(), NULL, key) == 1)
		verdict = EVP_DigestVerify(context, signature, signature_len,
								   (const unsigned char *) text, len) == 1
			? SNS_VALID : SNS_INVALID;
	EVP_MD_CTX_free(context);
	ERR_clear_error();
	return verdict;
}
