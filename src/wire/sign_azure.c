/*-------------------------------------------------------------------------
 *
 * sign_azure.c
 *		Signatures of the Azure services: SAS tokens and SharedKey.
 *
 * Service Bus takes its key as the text it is; Event Grid and Storage decode
 * it from base64 first.  As in sign.c, all is a function of the arguments.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/formatting.h"

#include "compat.h"
#include "wire/sign.h"
#include "wire/sign_azure.h"

/* ----- SAS tokens ----- */

char *
sign_service_bus(const char *uri, const char *policy, const char *key, pg_time_t expires)
{
	char	   *resource = sign_encoded(uri);
	char	   *to_sign = psprintf("%s\n" INT64_FORMAT, resource, (int64) expires);
	char	   *signature = sign_hmac_base64(key, strlen(key), to_sign);

	return psprintf("SharedAccessSignature sr=%s&sig=%s&se=" INT64_FORMAT "&skn=%s",
					resource, sign_encoded(signature), (int64) expires, sign_encoded(policy));
}

/* HMAC with a key that is written in base64; NULL when it is not. */
static char *
sign_with_encoded_key(const char *key, const char *text)
{
	int			size = pg_b64_dec_len(strlen(key));
	char	   *bytes = palloc(size + 1);
	int			len = compat_b64_decode(key, strlen(key), bytes, size);
	char	   *signature = len > 0 ? sign_hmac_base64(bytes, len, text) : NULL;

	explicit_bzero(bytes, size);
	pfree(bytes);
	return signature;
}

char *
sign_event_grid(const char *uri, const char *key, pg_time_t expires)
{
	struct pg_tm *tm = pg_gmtime(&expires);
	char		expiry[32];
	char	   *to_sign;
	char	   *signature;

	if (tm == NULL || pg_strftime(expiry, sizeof(expiry), "%Y-%m-%dT%H:%M:%S", tm) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("cannot sign a request: the time is out of range")));
	to_sign = psprintf("r=%s&e=%s", sign_encoded(uri), sign_encoded(expiry));
	signature = sign_with_encoded_key(key, to_sign);
	if (signature == NULL)
		return NULL;
	return psprintf("SharedAccessSignature %s&s=%s", to_sign, sign_encoded(signature));
}

/* ----- SharedKey ----- */

static int
compare_names(const void *a, const void *b)
{
	return strcmp(((const SignHeader *) a)->name, ((const SignHeader *) b)->name);
}

static const char *
find_header(const SignSharedKeyInput *in, const char *name)
{
	for (int i = 0; i < in->nheaders; i++)
	{
		if (pg_strcasecmp(in->headers[i].name, name) == 0)
			return in->headers[i].value;
	}
	return "";
}

/* The standard headers, of which only the values are signed. */
static void
append_standard_headers(StringInfo to, const SignSharedKeyInput *in)
{
	appendStringInfo(to, "%s\n%s\n", find_header(in, "content-encoding"),
					 find_header(in, "content-language"));
	if (in->body_len > 0)
		appendStringInfo(to, "%zu", in->body_len);
	appendStringInfo(to, "\n%s\n%s\n", find_header(in, "content-md5"),
					 find_header(in, "content-type"));
	/* date is left empty: x-ms-date takes its place */
	appendStringInfo(to, "\n%s\n%s\n%s\n%s\n%s\n", find_header(in, "if-modified-since"),
					 find_header(in, "if-match"), find_header(in, "if-none-match"),
					 find_header(in, "if-unmodified-since"), find_header(in, "range"));
}

static void
append_ms_headers(StringInfo to, const SignSharedKeyInput *in)
{
	SignHeader *lines = palloc(Max(1, in->nheaders) * sizeof(SignHeader));
	int			n = 0;

	for (int i = 0; i < in->nheaders; i++)
	{
		const char *name = in->headers[i].name;

		if (pg_strncasecmp(name, "x-ms-", 5) == 0)
			lines[n++] = (SignHeader) {asc_tolower(name, strlen(name)), in->headers[i].value};
	}
	qsort(lines, n, sizeof(SignHeader), compare_names);
	for (int i = 0; i < n; i++)
		appendStringInfo(to, "%s:%s\n", lines[i].name, lines[i].value);
}

/* Parameters by name, with their decoded values. */
static void
append_parameters(StringInfo to, const char *query)
{
	SignHeader *lines;
	int			n = sign_split_query(query, &lines);

	for (int i = 0; i < n; i++)
	{
		char	   *name = sign_decoded(lines[i].name);

		lines[i] = (SignHeader) {asc_tolower(name, strlen(name)), sign_decoded(lines[i].value)};
	}
	qsort(lines, n, sizeof(SignHeader), compare_names);
	for (int i = 0; i < n; i++)
		appendStringInfo(to, "\n%s:%s", lines[i].name, lines[i].value);
}

char *
sign_shared_key(const SignSharedKeyInput *in)
{
	StringInfoData to_sign;
	char	   *signature;

	initStringInfo(&to_sign);
	appendStringInfo(&to_sign, "%s\n", in->method);
	append_standard_headers(&to_sign, in);
	append_ms_headers(&to_sign, in);
	appendStringInfo(&to_sign, "/%s%s", in->account, in->path);
	if (in->query)
		append_parameters(&to_sign, in->query);
	signature = sign_with_encoded_key(in->account_key, to_sign.data);
	return signature ? psprintf("SharedKey %s:%s", in->account, signature) : NULL;
}
