/*
 * identity_azure.c
 *	  Bearer tokens of Entra ID for the Azure sources.
 *
 * Facts of the token services: documented.
 */
#include "postgres.h"

#include <time.h>

#include "base/fault.h"
#include "base/options.h"
#include "base/secret.h"
#include "provider/identity.h"
#include "provider/identity_azure.h"
#include "wire/http.h"
#include "wire/partition.h"
#include "wire/reply.h"
#include "wire/sign.h"

#define METADATA			"http://169.254.169.254"
#define ASSERTION_TYPE		"urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"

/* ----- settings ----- */

static bool
configure_client(Identity *identity, const ServerOptions *options, Fault *fault)
{
	identity->tenant_id = identity_setting(options, "tenant_id", "AZURE_TENANT_ID");
	identity->client_id = identity_setting(options, "client_id", "AZURE_CLIENT_ID");
	return identity_needs(identity->tenant_id, "tenant_id", fault) &&
		identity_needs(identity->client_id, "client_id", fault);
}

static bool
configure_client_credentials(Identity *identity, const ServerOptions *options, Fault *fault)
{
	identity->client_secret = options_keep_secret(options, "client_secret");
	if (identity->client_secret == NULL)
		return options_fault(fault, "user mapping has no \"client_secret\"");
	return configure_client(identity, options, fault);
}

static bool
configure_managed_identity(Identity *identity, const ServerOptions *options, Fault *fault)
{
	/* of several identities of one machine; none means its only one */
	identity->client_id = identity_setting(options, "client_id", NULL);
	return true;
}

/* ----- asking ----- */

/*
 * The number of Entra ID's error: "AADSTS7000215: Invalid client secret ...".
 * Only digits of the foreign text are passed on.
 */
static char *
error_number(const cJSON *json)
{
	const char *text = reply_text(json, "error_description");
	Size		len;

	if (text == NULL || strncmp(text, "AADSTS", 6) != 0)
		return NULL;
	len = strspn(text + 6, "0123456789");
	return len > 0 && len < 12 ? pnstrdup(text, 6 + len) : NULL;
}

static const IdentityWords error_words[] = {
	{"AADSTS7000215", "the client secret is wrong"},
	{"AADSTS7000222", "the client secret has expired"},
	{"AADSTS700016", "the application does not exist in the tenant"},
	{"AADSTS90002", "the tenant does not exist"},
	{"AADSTS900023", "the tenant is not valid"},
	{"AADSTS700024", "the federated token has expired"},
	{NULL, "the request was refused"}
};

static void
refused(IdentityAsk *ask, const HttpRequest *request)
{
	/* 410 comes from a metadata service that is being updated */
	bool		transient = http_status_is_transient(request->status) || request->status == 410;
	char	   *number = error_number(reply_json(ask->context, request->reply, request->reply_len));

	identity_refused(ask, transient,
					 psprintf("%s (%s%sHTTP status %d)",
							  transient ? "it cannot answer now" : identity_words(error_words, number),
							  number ? number : "", number ? ", " : "", request->status));
}

/* A number, which the metadata services write as a string; or 0. */
static int64
reply_number(const cJSON *json, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, name);

	if (cJSON_IsNumber(item))
		return (int64) item->valuedouble;
	return cJSON_IsString(item) ? strtoi64(item->valuestring, NULL, 10) : 0;
}

static void
on_token(IdentityAsk *ask, const HttpRequest *request)
{
	cJSON	   *json = reply_json(ask->context, request->reply, request->reply_len);
	const char *token = reply_text(json, "access_token");
	int64		seconds = reply_number(json, "expires_in");

	if (request->status != 200)
		refused(ask, request);
	else if (token == NULL || seconds <= 0 ||
			 token[strspn(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=")] != '\0')
		identity_refused(ask, true, "the reply could not be understood");
	else
		identity_got(ask, token, NULL, ask->now + seconds);
}

static char *
audience(const Identity *identity)
{
	return sign_encoded(azure_audience(identity->audience, identity->host));
}

static const char *
ask_entra(IdentityAsk *ask, const char *proof, const char *secret)
{
	const Identity *identity = ask->identity;
	const char *endpoint = identity->endpoint ? identity->endpoint
		: psprintf("https://%s", azure_login(identity->host));
	HttpRequest *request =
		identity_request(ask, "POST", psprintf("%s/%s/oauth2/v2.0/token", endpoint,
											   sign_encoded(identity->tenant_id)));
	char	   *body =
		psprintf("grant_type=client_credentials&client_id=%s&scope=%s%%2F.default%s%s",
				 sign_encoded(identity->client_id), audience(identity), proof,
				 secret_own(sign_encoded(secret)));

	ask->service = "Entra ID";
	http_header(request, "content-type", "application/x-www-form-urlencoded");
	identity_send(ask, request, body, on_token);
	return NULL;
}

static const char *
ask_client_credentials(IdentityAsk *ask)
{
	return ask_entra(ask, "&client_secret=", ask->identity->client_secret);
}

/* The token file is renewed by whoever runs the server, so it is read each time. */
static const char *
ask_workload(IdentityAsk *ask)
{
	const char *path = getenv("AZURE_FEDERATED_TOKEN_FILE");
	char	   *assertion = path ? identity_read_file(path) : NULL;

	ask->service = "Entra ID";
	if (assertion == NULL)
		return "environment variable AZURE_FEDERATED_TOKEN_FILE names no readable file";
	return ask_entra(ask, "&client_assertion_type=" ASSERTION_TYPE "&client_assertion=", assertion);
}

/* A virtual machine's metadata service, or the endpoint of App Service. */
static const char *
ask_managed_identity(IdentityAsk *ask)
{
	const Identity *identity = ask->identity;
	const char *endpoint = identity->endpoint ? identity->endpoint : METADATA;
	const char *app_service = identity->endpoint ? NULL : getenv("IDENTITY_ENDPOINT");
	const char *secret = getenv("IDENTITY_HEADER");
	bool		is_app = app_service && secret;
	char	   *url = is_app ? psprintf("%s?api-version=2019-08-01", app_service)
		: psprintf("%s/metadata/identity/oauth2/token?api-version=2018-02-01", endpoint);
	HttpRequest *request;

	ask->service = "the machine's identity service";
	url = psprintf("%s&resource=%s", url, audience(identity));
	if (identity->client_id)
		url = psprintf("%s&client_id=%s", url, sign_encoded(identity->client_id));
	request = identity_request(ask, "GET", url);
	if (is_app)
		http_header(request, "x-identity-header", secret);
	else
		http_header(request, "metadata", "true");
	identity_send(ask, request, NULL, on_token);
	return NULL;
}

const IdentityWay identity_azure_ways[] = {
	{"client_credentials", false, configure_client_credentials, ask_client_credentials},
	{"workload", true, configure_client, ask_workload},
	{"managed_identity", true, configure_managed_identity, ask_managed_identity},
	{.name = NULL}
};
