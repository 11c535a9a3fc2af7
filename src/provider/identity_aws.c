/*
 * identity_aws.c
 *	  Temporary keys of AWS for SQS.
 *
 * Where they come from is the usual set: the shared credentials file, the
 * metadata service of a machine (IMDSv2) or of a container, and the token
 * service STS.  Facts: documented.  Variables are those of the postmaster's
 * environment, so that somebody who can only execute SQL cannot choose a file
 * or an address.
 */
#include "postgres.h"

#include <time.h>

#include "utils/timestamp.h"

#include "base/fault.h"
#include "base/options.h"
#include "base/secret.h"
#include "base/text.h"
#include "base/timestamp.h"
#include "provider/identity.h"
#include "provider/identity_aws.h"
#include "wire/authorize.h"
#include "wire/http.h"
#include "wire/partition.h"
#include "wire/reply.h"
#include "wire/sign.h"
#include "wire/url.h"
#include "wire/xml.h"

#define METADATA			"http://169.254.169.254"
#define CONTAINER			"http://169.254.170.2"
#define ROLES_PATH			"/latest/meta-data/iam/security-credentials/"
#define SESSION_SECONDS		"21600"
#define SESSION_NAME		"damoov"
#define FILE_LIFE_S			300 /* a credentials file is read again after that */
#define STS_TYPE			"application/x-www-form-urlencoded; charset=utf-8"

static bool
refuse_status(IdentityAsk *ask, const HttpRequest *request, const char *words)
{
	bool		transient = http_status_is_transient(request->status);

	if (request->status == 200)
		return false;
	identity_refused(ask, transient,
					 psprintf("%s (HTTP status %d)",
							  transient ? "it cannot answer now" : words, request->status));
	return true;
}

static void
not_understood(IdentityAsk *ask)
{
	identity_refused(ask, true, "the reply could not be understood");
}

/* Keys with their end as ISO 8601 text. */
static void
take_keys(IdentityAsk *ask, const AwsKeys *keys, const char *expiration)
{
	ParsedTime	end;

	if (keys->access_key_id == NULL || keys->secret_access_key == NULL ||
		keys->session_token == NULL || expiration == NULL ||
		timestamp_parse(expiration, strlen(expiration), &end) != TIME_OK)
		not_understood(ask);
	else
		identity_got(ask, NULL, keys, timestamptz_to_time_t(end.at));
}

/* ----- shared credentials file ----- */

static bool
configure_shared_file(Identity *identity, const ServerOptions *options, Fault *fault)
{
	identity->profile = identity_setting(options, "profile", "AWS_PROFILE");
	if (identity->profile == NULL)
		identity->profile = pstrdup("default");
	return true;
}

/* Reads the profile's section; comments and other members are passed over. */
static void
read_profile(char *text, const char *profile, AwsKeys *keys)
{
	char	   *section = psprintf("[%s]", profile);
	char	   *state = NULL;
	bool		inside = false;

	for (char *line = strtok_r(text, "\n", &state); line; line = strtok_r(NULL, "\n", &state))
	{
		char	   *value = strchr(line, '=');
		char	   *name;

		if (line[0] == '[')
			inside = strcmp(text_trim(line), section) == 0;
		else if (inside && value != NULL && line[0] != '#' && line[0] != ';')
		{
			*value++ = '\0';
			name = text_trim(line);
			if (strcmp(name, "aws_access_key_id") == 0)
				keys->access_key_id = text_trim(value);
			else if (strcmp(name, "aws_secret_access_key") == 0)
				keys->secret_access_key = text_trim(value);
			else if (strcmp(name, "aws_session_token") == 0)
				keys->session_token = text_trim(value);
		}
	}
}

static const char *
ask_shared_file(IdentityAsk *ask)
{
	const char *path = getenv("AWS_SHARED_CREDENTIALS_FILE");
	const char *home = getenv("HOME");
	AwsKeys		keys = {0};
	char	   *text;

	ask->service = "the shared credentials file";
	if (path == NULL && home != NULL)
		path = psprintf("%s/.aws/credentials", home);
	text = path ? identity_read_file(path) : NULL;
	if (text == NULL)
		return "there is no readable file";
	read_profile(text, ask->identity->profile, &keys);
	if (keys.access_key_id == NULL || keys.secret_access_key == NULL)
		return "the profile is not there or has no keys";
	identity_got(ask, NULL, &keys, ask->now + FILE_LIFE_S);
	return NULL;
}

/* ----- metadata services ----- */

static void
on_metadata_keys(IdentityAsk *ask, const HttpRequest *request)
{
	cJSON	   *json;
	AwsKeys		keys;

	if (refuse_status(ask, request, "it refused to give keys"))
		return;
	json = reply_json(ask->context, request->reply, request->reply_len);
	keys.access_key_id = unconstify(char *, reply_text(json, "AccessKeyId"));
	keys.secret_access_key = unconstify(char *, reply_text(json, "SecretAccessKey"));
	keys.session_token = unconstify(char *, reply_text(json, "Token"));
	take_keys(ask, &keys, reply_text(json, "Expiration"));
}

static const char *
instance_endpoint(const Identity *identity)
{
	const char *variable = getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT");

	return identity->endpoint ? identity->endpoint : variable ? variable : METADATA;
}

static HttpRequest *
instance_request(IdentityAsk *ask, const char *path)
{
	HttpRequest *request = identity_request(ask, "GET",
											psprintf("%s%s", instance_endpoint(ask->identity), path));

	http_header(request, "x-aws-ec2-metadata-token", ask->session);
	return request;
}

/* What a header or a path may be made of. */
static bool
is_plain(const char *text)
{
	return text_consists_of(text, strlen(text), TEXT_LETTERS TEXT_DIGITS "-._~+/=,@");
}

static void
on_role(IdentityAsk *ask, const HttpRequest *request)
{
	char	   *role;

	if (refuse_status(ask, request, "no role is attached to the machine"))
		return;
	role = pnstrdup(request->reply, strcspn(request->reply, "\r\n"));
	if (!is_plain(role) || strchr(role, '/'))
		not_understood(ask);
	else
		identity_send(ask, instance_request(ask, psprintf(ROLES_PATH "%s", role)), NULL,
					  on_metadata_keys);
}

static void
on_session(IdentityAsk *ask, const HttpRequest *request)
{
	if (refuse_status(ask, request, "it refused to open a session"))
		return;
	ask->session = secret_keep(request->reply, request->reply_len);
	if (!is_plain(ask->session))
		not_understood(ask);
	else
		identity_send(ask, instance_request(ask, ROLES_PATH), NULL, on_role);
}

/* Version 2 of the service: a session first, which a forged request cannot open. */
static const char *
ask_instance(IdentityAsk *ask)
{
	const char *disabled = getenv("AWS_EC2_METADATA_DISABLED");
	HttpRequest *request;

	ask->service = "the machine's metadata service";
	if (disabled && pg_strcasecmp(disabled, "true") == 0)
		return "environment variable AWS_EC2_METADATA_DISABLED forbids it";
	request = identity_request(ask, "PUT", psprintf("%s/latest/api/token",
													instance_endpoint(ask->identity)));
	http_header(request, "x-aws-ec2-metadata-token-ttl-seconds", SESSION_SECONDS);
	/* a body, although empty, makes libcurl send its length */
	identity_send(ask, request, pstrdup(""), on_session);
	return NULL;
}

/* The value for the header "authorization" of a container's service, "" if none; NULL: unusable. */
static const char *
container_authorization(void)
{
	const char *path = getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
	const char *value = path ? identity_read_file(path) : getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN");

	if (value == NULL)
		return path ? NULL : "";
	return strpbrk(value, "\r\n") ? NULL : value;
}

/* A full address must be https, loopback or one of the known metadata services. */
static bool
container_url_allowed(const char *url)
{
	UrlParts   *parts;
	Fault		ignored = {0};

	return url_parse(url, &parts, &ignored) &&
		(url_scheme_allowed(parts) || url_is_metadata_service(parts));
}

static const char *
ask_container(IdentityAsk *ask)
{
	const char *relative = getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
	const char *url = getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");
	const char *authorization = container_authorization();
	HttpRequest *request;

	ask->service = "the container's credentials service";
	if (relative)
		url = psprintf("%s%s", ask->identity->endpoint ? ask->identity->endpoint : CONTAINER, relative);
	if (url == NULL || !container_url_allowed(url))
		return "the environment names no usable address";
	if (authorization == NULL)
		return "the authorization token named in the environment cannot be used";
	request = identity_request(ask, "GET", url);
	if (authorization[0])
		http_header(request, "authorization", authorization);
	identity_send(ask, request, NULL, on_metadata_keys);
	return NULL;
}

/* ----- STS ----- */

static bool
configure_role(Identity *identity, const ServerOptions *options, Fault *fault)
{
	identity->role_arn = identity_setting(options, "role_arn", "AWS_ROLE_ARN");
	identity->region = identity_setting(options, "region", "AWS_REGION");
	if (identity->region == NULL)
		identity->region = identity_setting(options, "region", "AWS_DEFAULT_REGION");
	if (!identity_needs(identity->role_arn, "role_arn", fault) ||
		!identity_needs(identity->region, "region", fault))
		return false;
	if (identity->endpoint == NULL)
		identity->endpoint = psprintf("https://sts.%s.%s", identity->region,
									  aws_domain(identity->region));
	return true;
}

static bool
configure_assume_role(Identity *identity, const ServerOptions *options, Fault *fault)
{
	identity->external_id = identity_setting(options, "external_id", NULL);
	return identity_own_keys(options, &identity->own_keys, fault) &&
		configure_role(identity, options, fault);
}

static void
append_field(StringInfo body, const char *name, const char *value)
{
	appendStringInfo(body, "&%s=", name);
	sign_append_encoded(body, value);
}

static const IdentityWords sts_words[] = {
	{"AccessDenied", "the role may not be assumed"},
	{"InvalidClientTokenId", "the access key is not valid"},
	{"SignatureDoesNotMatch", "the signature was refused; the secret access key is wrong"},
	{"InvalidIdentityToken", "the web identity token is not valid"},
	{"ExpiredTokenException", "the web identity token has expired"},
	{NULL, "the request was refused"}
};

static char *
secret_element(const XmlDocument *answer, const char *name)
{
	char	   *text = xml_text(answer, name);

	return text ? secret_own(text) : NULL;
}

static void
on_sts(IdentityAsk *ask, const HttpRequest *request)
{
	XmlDocument *answer = xml_read(request->reply, request->reply_len);
	char	   *code;
	AwsKeys		keys;

	if (request->status != 200)
	{
		code = xml_text(answer, "Code");
		if (code && strcmp(code, "IDPCommunicationError") == 0)
			identity_refused(ask, true, "it cannot reach the identity provider");
		else
			(void) refuse_status(ask, request, identity_words(sts_words, code));
		return;
	}
	keys.access_key_id = xml_text(answer, "AccessKeyId");
	keys.secret_access_key = secret_element(answer, "SecretAccessKey");
	keys.session_token = secret_element(answer, "SessionToken");
	take_keys(ask, &keys, xml_text(answer, "Expiration"));
}

static void
start_body(StringInfo body, const Identity *identity, const char *action)
{
	initStringInfo(body);
	appendStringInfo(body, "Action=%s&Version=2011-06-15", action);
	append_field(body, "RoleArn", identity->role_arn);
	append_field(body, "RoleSessionName", SESSION_NAME);
}

/* Not signed: the token is the proof.  Its file is renewed by whoever runs the server. */
static const char *
ask_web_identity(IdentityAsk *ask)
{
	const char *path = getenv("AWS_WEB_IDENTITY_TOKEN_FILE");
	char	   *token = path ? identity_read_file(path) : NULL;
	HttpRequest *request;
	StringInfoData body;

	ask->service = "STS";
	if (token == NULL)
		return "environment variable AWS_WEB_IDENTITY_TOKEN_FILE names no readable file";
	start_body(&body, ask->identity, "AssumeRoleWithWebIdentity");
	append_field(&body, "WebIdentityToken", token);
	request = identity_request(ask, "POST", psprintf("%s/", ask->identity->endpoint));
	http_header(request, "content-type", STS_TYPE);
	identity_send(ask, request, body.data, on_sts);
	return NULL;
}

static const char *
ask_assume_role(IdentityAsk *ask)
{
	const Identity *identity = ask->identity;
	HttpRequest *request = identity_request(ask, "POST", psprintf("%s/", identity->endpoint));
	SignHeader	type = {"content-type", STS_TYPE};
	SignV4Input input;
	StringInfoData body;

	ask->service = "STS";
	start_body(&body, identity, "AssumeRole");
	if (identity->external_id)
		append_field(&body, "ExternalId", identity->external_id);
	input = (SignV4Input) {
		.method = "POST", .host = strstr(identity->endpoint, "://") + 3, .path = "/",
		.headers = &type, .nheaders = 1,
		.body = body.data, .body_len = body.len,
		.access_key_id = identity->own_keys.access_key_id,
		.secret_access_key = identity->own_keys.secret_access_key,
		.session_token = identity->own_keys.session_token,
		.region = identity->region, .service = "sts",
		.now = (pg_time_t) time(NULL),
	};
	authorize_v4(request, &input);
	identity_send(ask, request, body.data, on_sts);
	return NULL;
}

const IdentityWay identity_aws_ways[] = {
	{"shared_file", true, configure_shared_file, ask_shared_file},
	{"instance", true, NULL, ask_instance},
	{"container", true, NULL, ask_container},
	{"web_identity", true, configure_role, ask_web_identity},
	{"assume_role", false, configure_assume_role, ask_assume_role},
	{.name = NULL}
};
