/*
 * topic.c
 *	  Topics of SNS: see topic.h.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/fault.h"
#include "door/certificate.h"
#include "door/topic.h"
#include "wire/http.h"
#include "wire/url.h"

#define FETCH_MS			5000	/* SNS waits for 15 s */
#define MAX_CERTIFICATE		(64 * 1024)

/* ----- what a server lists ----- */

bool
topic_is_listed(const ServerOptions *options, const char *topic_arn)
{
	const char *topics = options_get(options, "topic_arns");
	char	   *state = NULL;

	if (topics == NULL)
		return false;
	for (char *topic = strtok_r(pstrdup(topics), ", \t\r\n", &state); topic;
		 topic = strtok_r(NULL, ", \t\r\n", &state))
	{
		if (strcmp(topic, topic_arn) == 0)
			return true;
	}
	return false;
}

bool
topic_address(const ServerOptions *options, const char *topic_arn,
			  char **base_url, bool *is_test, Fault *fault)
{
	const char *endpoint = options_get(options, "endpoint");
	UrlParts   *parts;

	if (!topic_is_listed(options, topic_arn))
		return fault_set_state(fault, ERRCODE_INSUFFICIENT_PRIVILEGE, REASON_CONFIGURATION,
						 "topic is not listed in option \"topic_arns\"");
	*base_url = sns_topic_host(topic_arn);
	if (*base_url == NULL)
		return fault_set(fault, REASON_CONFIGURATION,
						 "option \"topic_arns\" lists what is not the ARN of an SNS topic");
	*is_test = endpoint != NULL;
	if (endpoint == NULL)
		return true;
	/* whoever chooses the host of the certificate can sign for any topic: tests only */
	if (!url_parse(endpoint, &parts, fault) || !url_scheme_allowed(parts) ||
		strcmp(parts->scheme, "http") != 0)
		return fault_set(fault, REASON_CONFIGURATION,
						 "option \"endpoint\" of a webhook server is for tests: plain http to loopback while \"damoov.allow_http_loopback\" is on");
	*base_url = psprintf("http://%s", parts->host_header);
	return true;
}

/* ----- fetching one ----- */

static void
fetch_done(HttpRequest *request, void *arg)
{
	*(bool *) arg = true;
}

/* In the caller's transaction, which has locked and written nothing yet. */
static HttpRequest *
fetch(MemoryContext context, const char *url, bool is_test)
{
	HttpClient *http = http_client(context);
	HttpRequest *request = http_request(http, "GET", url);
	bool	   *done = MemoryContextAllocZero(context, sizeof(bool));

	request->max_bytes = MAX_CERTIFICATE;
	request->timeout_ms = FETCH_MS;
	request->public_only = !is_test;
	http_start(request, fetch_done, done);
	while (!*done)
	{
		(void) http_wait(http, -1);
		CHECK_FOR_INTERRUPTS();
	}
	return request;
}

static EVP_PKEY *
fetch_key(const char *url, const char *topic_arn, bool is_test, Fault *fault)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "damoov certificate",
												  ALLOCSET_DEFAULT_SIZES);
	HttpRequest *request = fetch(context, url, is_test);
	EVP_PKEY   *key = NULL;
	int			seconds = 0;

	if (request->status == 200)
		key = sns_certificate_key(request->reply, request->reply_len, topic_arn, &seconds, fault);
	else if (request->status >= 400 && !http_status_is_transient(request->status))
		fault_set(fault, REASON_BAD_SIGNATURE, "certificate of the SNS message does not exist");
	else
		fault_set(fault, REASON_NO_CERTIFICATE,
				  "certificate of the SNS message could not be fetched");
	if (key)
		certificate_keep(url, key, seconds);
	MemoryContextDelete(context);
	return key;
}

EVP_PKEY *
topic_key(const char *url, const char *topic_arn, bool is_test, Fault *fault)
{
	EVP_PKEY   *key;
	UrlParts   *parts;

	if (certificate_find(url, &key, fault))
		return key;
	if (!url_parse(url, &parts, fault))
		return NULL;
	if (!certificate_may_fetch(parts->host))
	{
		fault_set(fault, REASON_NO_CERTIFICATE,
				  "too many certificates of SNS messages were asked for a moment ago");
		return NULL;
	}
	key = fetch_key(url, topic_arn, is_test, fault);
	if (key == NULL)
		certificate_keep_failure(url, fault);
	return key;
}
