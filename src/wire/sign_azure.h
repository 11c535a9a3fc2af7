/*
 * sign_azure.h
 *	  Signatures of Azure: Service Bus, Event Grid, Storage.
 */
#ifndef DAMOOV_SIGN_AZURE_H
#define DAMOOV_SIGN_AZURE_H

#include "wire/sign.h"

/*
 * A token of Azure Service Bus for everything below a URI such as
 * "https://name.servicebus.windows.net/queue", as value of the header
 * "authorization".  The key is used as the text it is.
 */
extern char *sign_service_bus(const char *uri, const char *policy, const char *key,
							  pg_time_t expires);

/*
 * The same for Azure Event Grid and everything below a namespace, topic or
 * subscription.  NULL: the key is not base64.
 */
extern char *sign_event_grid(const char *uri, const char *key, pg_time_t expires);

typedef struct SignSharedKeyInput
{
	const char *method;			/* upper case */
	const char *path;			/* as sent, begins with a slash */
	const char *query;			/* as sent, without '?', or NULL */
	const SignHeader *headers;	/* x-ms-date, x-ms-version and all others sent */
	int			nheaders;
	Size		body_len;
	const char *account;
	const char *account_key;	/* base64 */
} SignSharedKeyInput;

/*
 * SharedKey of Azure Storage (queues and blobs): the value of the header
 * "authorization", or NULL when the key is not base64.
 */
extern char *sign_shared_key(const SignSharedKeyInput *in);

#endif							/* DAMOOV_SIGN_AZURE_H */
