/*
 * storage_name.c
 *	  What names and addresses say of a store: see storage_name.h.
 *
 * Everything here is a function of its arguments.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "base/text.h"
#include "wire/partition.h"
#include "wire/sign.h"
#include "wire/storage_name.h"

/*
 * Takes [bucket.]s3[.dualstack][.region] of an Amazon host apart.  The label of
 * the service is the last one that begins with "s3": s3, s3-fips,
 * s3-accesspoint, and s3-eu-west-1 of old.
 */
static bool
split_s3_host(const char *host, char **bucket, char **region)
{
	char	   *labels = aws_labels(host);
	char	   *service;
	char	   *rest;
	char	   *vpce;

	*bucket = *region = NULL;
	if (labels == NULL)
		return false;
	vpce = strrchr(labels, '.');
	if (vpce && strcmp(vpce, ".vpce") == 0)
		*vpce = '\0';
	for (service = labels + strlen(labels);; service--)
	{
		if ((service == labels || service[-1] == '.') &&
			strncmp(service, "s3", 2) == 0 &&
			(service[2] == '\0' || service[2] == '.' || service[2] == '-'))
			break;
		if (service == labels)
			return false;
	}
	if (service > labels)
		*bucket = pnstrdup(labels, service - 1 - labels);
	rest = strchrnul(service, '.');
	if (*rest == '.' && strncmp(rest, ".dualstack.", 11) == 0)
		rest += 10;
	if (*rest == '.' && strchr(rest + 1, '.') == NULL)
		*region = pstrdup(rest + 1);
	else if (*rest == '\0' && strncmp(service, "s3-", 3) == 0 &&
			 strspn(service + strlen(service) - 1, "0123456789") == 1 &&
			 strncmp(service, "s3-external-", 12) != 0)
		*region = pstrdup(service + 3);
	return true;
}

StorageKind
storage_of_host(const char *host)
{
	char	   *bucket;
	char	   *region;

	if (split_s3_host(host, &bucket, &region))
		return STORAGE_S3;
	return azure_account(host) ? STORAGE_BLOB : STORAGE_NONE;
}

char *
storage_region(const char *host)
{
	char	   *bucket;
	char	   *region;

	return split_s3_host(host, &bucket, &region) ? region : NULL;
}

bool
storage_bucket_in_path(const char *host)
{
	char	   *bucket;
	char	   *region;

	/*
	 * bucket.vpce-1a2b-3c4d.s3...: there "bucket" is part of the name, and the
	 * bucket is in the path
	 */
	return split_s3_host(host, &bucket, &region) &&
		(bucket == NULL || strncmp(bucket, "bucket.vpce-", 12) == 0 ||
		 strncmp(bucket, "vpce-", 5) == 0);
}

bool
storage_url_is_signed(const UrlParts *url)
{
	static const char *const names[] = {"sig", "X-Amz-Signature", "Signature", "X-Goog-Signature"};
	const char *at = url->query;

	while (at)
	{
		Size		len = strcspn(at, "=&");

		for (int i = 0; i < (int) lengthof(names); i++)
		{
			if (strlen(names[i]) == len && pg_strncasecmp(at, names[i], len) == 0)
				return true;
		}
		at = strchr(at, '&');
		at = at ? at + 1 : NULL;
	}
	return false;
}

/* The query without its region, which is given back by itself; NULL: none. */
static char *
take_region(const char *query, char **region)
{
	StringInfoData rest;
	char	   *copy = pstrdup(query ? query : "");
	char	   *state = NULL;

	*region = NULL;
	initStringInfo(&rest);
	for (char *item = strtok_r(copy, "&", &state); item; item = strtok_r(NULL, "&", &state))
	{
		if (strncmp(item, "region=", 7) == 0 &&
			item[7 + strspn(item + 7, "abcdefghijklmnopqrstuvwxyz0123456789-")] == '\0')
			*region = pstrdup(item + 7);
		else
			appendStringInfo(&rest, "%s%s", rest.len ? "&" : "", item);
	}
	return rest.len ? rest.data : NULL;
}

char *
storage_s3_address(const UrlParts *url, const char *endpoint)
{
	char	   *region;
	char	   *query = take_region(url->query, &region);
	const char *domain = aws_domain(region ? region : STORAGE_DEFAULT_REGION);
	char	   *host;

	/*
	 * The certificate of Amazon's hosts covers one more label, and a label has no
	 * capitals and underscores, as buckets of old have.
	 */
	if (endpoint)
		host = psprintf("%s/%s", endpoint, url->host);
	else if (!text_consists_of(url->host, strlen(url->host), TEXT_LOWER TEXT_DIGITS "-"))
		host = psprintf("https://s3.%s.%s/%s", region ? region : STORAGE_DEFAULT_REGION, domain,
						url->host);
	else if (region)
		host = psprintf("https://%s.s3.%s.%s", url->host, region, domain);
	else
		host = psprintf("https://%s.s3.%s", url->host, domain);
	return psprintf("%s%s%s%s", host, url->path, query ? "?" : "", query ? query : "");
}

char *
storage_encode_key(const char *key)
{
	StringInfoData text;
	char		byte[2] = "";

	initStringInfo(&text);
	for (; *key; key++)
	{
		byte[0] = *key;
		if (*key == '/')
			appendStringInfoChar(&text, '/');
		else
			sign_append_encoded(&text, byte);
	}
	return text.data;
}

char *
storage_encode_path(const char *path, bool form)
{
	char	   *spelled = pstrdup(path);

	for (char *at = spelled; form && (at = strchr(at, '+')) != NULL;)
		*at = ' ';
	return storage_encode_key(sign_decoded(spelled));
}
