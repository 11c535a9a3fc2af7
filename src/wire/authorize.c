/*
 * authorize.c
 *	  Signs a request that is about to be started: see authorize.h.
 */
#include "postgres.h"

#include "wire/authorize.h"

static void
add_headers(HttpRequest *request, const SignHeader *headers, int count)
{
	for (int i = 0; i < count; i++)
		http_header(request, headers[i].name, headers[i].value);
}

void
authorize_v4(HttpRequest *request, const SignV4Input *in)
{
	SignV4Output signature;

	sign_v4(in, &signature);
	add_headers(request, in->headers, in->nheaders);
	http_header(request, "x-amz-date", signature.amz_date);
	if (in->session_token)
		http_header(request, "x-amz-security-token", in->session_token);
	http_header(request, "Authorization", signature.authorization);
}

void
authorize_storage(HttpRequest *request, SignSharedKeyInput *in, const char *version, pg_time_t now)
{
	char		date[64];
	SignHeader	headers[] = {{"x-ms-date", date}, {"x-ms-version", version}};

	/* the server's own names of days and months are English, whatever lc_time is */
	pg_strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", pg_gmtime(&now));
	in->headers = headers;
	in->nheaders = lengthof(headers);
	add_headers(request, headers, lengthof(headers));
	if (in->account_key)
		http_header(request, "Authorization", sign_shared_key(in));
}
