/*-------------------------------------------------------------------------
 *
 * sign.c
 *		Signatures for requests to cloud services.
 *
 * AWS Signature Version 4 is written out here because libcurl's own signer
 * differs from version to version in what it signs (headers, query, path) and
 * cannot correct a wrong clock.  Everything in this file is a function of its
 * arguments: the time is one of them, nothing is read from the environment
 * and nothing is kept, so that published vectors can test every line.
 *
 * Results are palloc'd in the current memory context.  An error is thrown
 * only when memory is short, the hash library fails or the time is absurd; the
 * last two hide the statement that led to them.  Key material is wiped on every
 * way out.
 *
 * Hashes are OpenSSL's: the server's own insist on a resource owner, and the
 * worker signs between transactions, where there is none.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "common/base64.h"
#include "common/sha2.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/formatting.h"

#include "base/secret.h"
#include "base/text.h"
#include "compat.h"
#include "wire/sign.h"

#define V4_ALGORITHM	"AWS4-HMAC-SHA256"
#define V4_KEY_PREFIX	"AWS4"
#define V4_TERMINATOR	"aws4_request"

/* one header or query parameter, in canonical form */
typedef struct Pair
{
	char	   *name;
	char	   *value;
	int			position;		/* where it stood in the request */
} Pair;

static void
hash_failed(void)
{
	/* the statement may contain a secret */
	ereport(ERROR,
			(errcode(ERRCODE_INTERNAL_ERROR),
			 errmsg("could not compute the signature of a request"),
			 errhidestmt(true)));
}

static void
to_hex(const uint8 *digest, char *hex)
{
	hex[hex_encode((const char *) digest, PG_SHA256_DIGEST_LENGTH, hex)] = '\0';
}

void
sign_sha256_hex(const void *data, Size len, char *hex)
{
	uint8		digest[PG_SHA256_DIGEST_LENGTH];

	if (EVP_Digest(data, len, digest, NULL, EVP_sha256(), NULL) != 1)
		hash_failed();
	to_hex(digest, hex);
}

/* The result may overwrite the key. */
static bool
hmac_sha256(const void *key, Size key_len, const char *text, uint8 *result)
{
	return HMAC(EVP_sha256(), key, (int) key_len, (const uint8 *) text, strlen(text),
				result, NULL) != NULL;
}

char *
sign_hmac_base64(const void *key, Size key_len, const char *text)
{
	uint8		signature[PG_SHA256_DIGEST_LENGTH];
	int			size = pg_b64_enc_len(sizeof(signature));
	char	   *result = palloc(size + 1);

	if (!hmac_sha256(key, key_len, text, signature))
		hash_failed();
	result[compat_b64_encode(signature, sizeof(signature), result, size)] = '\0';
	return result;
}

static void
append_encoded_byte(StringInfo to, unsigned char c)
{
	if (c != '\0' && strchr(TEXT_LETTERS TEXT_DIGITS "-_.~", c))
		appendStringInfoChar(to, c);
	else
		appendStringInfo(to, "%%%02X", c);
}

void
sign_append_encoded(StringInfo to, const char *text)
{
	while (*text != '\0')
		append_encoded_byte(to, *text++);
}

char *
sign_encoded(const char *text)
{
	StringInfoData buf;

	initStringInfo(&buf);
	sign_append_encoded(&buf, text);
	return buf.data;
}

/* Takes the next byte off a text in which it may be percent-encoded. */
static unsigned char
next_byte(const char **text)
{
	const char *at = *text;
	int			high = at[0] == '%' ? text_hex_digit(at[1]) : -1;
	int			low = high >= 0 ? text_hex_digit(at[2]) : -1;

	*text += low >= 0 ? 3 : 1;
	return low >= 0 ? high << 4 | low : *at;
}

char *
sign_decoded(const char *text)
{
	StringInfoData buf;

	initStringInfo(&buf);
	while (*text)
		appendStringInfoChar(&buf, next_byte(&text));
	return buf.data;
}

/*
 * What is percent-encoded already comes out in the one canonical spelling, the
 * rest is encoded now, for the service does the same with what it receives.
 */
static char *
canonical_query_part(const char *part)
{
	StringInfoData buf;

	initStringInfo(&buf);
	while (*part)
		append_encoded_byte(&buf, next_byte(&part));
	return buf.data;
}

int
sign_split_query(const char *query, SignHeader **parameters)
{
	SignHeader *found = palloc(sizeof(SignHeader) * (strlen(query) / 2 + 1));
	int			n = 0;

	while (*query != '\0')
	{
		Size		len = strcspn(query, "&");
		Size		name_len = strcspn(query, "=&");
		Size		skip = Min(name_len + 1, len);	/* with the '=' */

		if (len > 0)
			found[n++] = (SignHeader) {pnstrdup(query, name_len),
			pnstrdup(query + skip, len - skip)};
		query += len;
		if (*query == '&')
			query++;
	}
	*parameters = found;
	return n;
}

static int
compare_parameters(const void *a, const void *b)
{
	const Pair *left = a;
	const Pair *right = b;
	int			result = strcmp(left->name, right->name);

	return result != 0 ? result : strcmp(left->value, right->value);
}

static void
append_query(StringInfo to, const char *query)
{
	SignHeader *parameters;
	int			n = query ? sign_split_query(query, &parameters) : 0;
	Pair	   *pairs = palloc(sizeof(Pair) * (n + 1));

	for (int i = 0; i < n; i++)
		pairs[i] = (Pair) {canonical_query_part(parameters[i].name),
		canonical_query_part(parameters[i].value), i};
	qsort(pairs, n, sizeof(Pair), compare_parameters);
	for (int i = 0; i < n; i++)
		appendStringInfo(to, "%s%s=%s", i > 0 ? "&" : "", pairs[i].name, pairs[i].value);
}

/*
 * Resolve "." and ".." and drop empty segments, as all services but S3 do
 * before they check a signature.
 */
static char *
normalized_path(const char *path)
{
	StringInfoData buf;
	Size		path_len = strlen(path);
	bool		open = path_len > 0 && path[path_len - 1] == '/';

	initStringInfo(&buf);
	while (*path != '\0')
	{
		Size		len = strcspn(path, "/");

		if (len == 2 && path[0] == '.' && path[1] == '.')
		{
			while (buf.len > 0 && buf.data[--buf.len] != '/')
				;
			buf.data[buf.len] = '\0';
		}
		else if (len > 0 && !(len == 1 && path[0] == '.'))
		{
			appendStringInfoChar(&buf, '/');
			appendBinaryStringInfo(&buf, path, len);
		}
		path += len;
		if (*path == '/')
			path++;
	}
	if (open || buf.len == 0)
		appendStringInfoChar(&buf, '/');
	return buf.data;
}

/*
 * S3 takes the path as it was sent.  The others normalize it and encode it
 * once more, percent signs included.
 */
static void
append_path(StringInfo to, const SignV4Input *in)
{
	const char *c;

	if (strcmp(in->service, "s3") == 0)
	{
		appendStringInfoString(to, in->path[0] == '\0' ? "/" : in->path);
		return;
	}
	for (c = normalized_path(in->path); *c != '\0'; c++)
	{
		if (*c == '/')
			appendStringInfoChar(to, '/');
		else
			append_encoded_byte(to, *c);
	}
}

/*
 * Trim a header value and fold each run of blanks in it to one space.
 */
static char *
canonical_header_value(const char *value)
{
	char	   *result = palloc(strlen(value) + 1);
	char	   *end = result;

	for (; *value != '\0'; value++)
	{
		if (!strchr(" \t\r\n", *value))
			*end++ = *value;
		else if (end > result && end[-1] != ' ')
			*end++ = ' ';
	}
	if (end > result && end[-1] == ' ')
		end--;
	*end = '\0';
	return result;
}

static void
add_header(Pair *pairs, int *n, const char *name, const char *value)
{
	pairs[*n] = (Pair) {asc_tolower(name, strlen(name)), canonical_header_value(value), *n};
	(*n)++;
}

/* Values of the same name stay in their order. */
static int
compare_headers(const void *a, const void *b)
{
	const Pair *left = a;
	const Pair *right = b;
	int			result = strcmp(left->name, right->name);

	return result != 0 ? result : left->position - right->position;
}

static int
sorted_headers(const SignV4Input *in, const char *amz_date, Pair **result)
{
	Pair	   *pairs = palloc(sizeof(Pair) * (in->nheaders + 3));
	int			n = 0;
	int			i;

	add_header(pairs, &n, "host", in->host);
	add_header(pairs, &n, "x-amz-date", amz_date);
	if (in->session_token != NULL)
		add_header(pairs, &n, "x-amz-security-token", in->session_token);
	for (i = 0; i < in->nheaders; i++)
		add_header(pairs, &n, in->headers[i].name, in->headers[i].value);
	qsort(pairs, n, sizeof(Pair), compare_headers);
	*result = pairs;
	return n;
}

/*
 * Append the header lines, and the list of their names to "names".  Values of
 * one name are joined by commas.
 */
static void
append_headers(StringInfo to, StringInfo names, const SignV4Input *in,
			   const char *amz_date)
{
	Pair	   *pairs;
	int			n = sorted_headers(in, amz_date, &pairs);
	int			i;

	for (i = 0; i < n; i++)
	{
		if (i > 0 && strcmp(pairs[i].name, pairs[i - 1].name) == 0)
		{
			appendStringInfo(to, ",%s", pairs[i].value);
			continue;
		}
		appendStringInfo(to, "%s%s:%s",
						 i > 0 ? "\n" : "", pairs[i].name, pairs[i].value);
		appendStringInfo(names, "%s%s", i > 0 ? ";" : "", pairs[i].name);
	}
	appendStringInfoChar(to, '\n');
}

/*
 * Hash of the canonical request; the names of the signed headers go to
 * "names".
 */
static char *
v4_canonical_hash(const SignV4Input *in, const char *amz_date,
				  StringInfo names)
{
	StringInfoData request;
	char		body_hash[SIGN_SHA256_HEX_SIZE];
	char	   *hash = palloc(SIGN_SHA256_HEX_SIZE);

	initStringInfo(&request);
	appendStringInfo(&request, "%s\n", in->method);
	append_path(&request, in);
	appendStringInfoChar(&request, '\n');
	append_query(&request, in->query);
	appendStringInfoChar(&request, '\n');
	append_headers(&request, names, in, amz_date);
	if (in->body_hash == NULL)
		sign_sha256_hex(in->body, in->body_len, body_hash);
	appendStringInfo(&request, "\n%s\n%s", names->data,
					 in->body_hash != NULL ? in->body_hash : body_hash);

	sign_sha256_hex(request.data, request.len, hash);
	return hash;
}

/* Derives the key of the day, region and service, and signs with it. */
static void
v4_signature(const SignV4Input *in, const char *date, const char *to_sign, char *hex)
{
	Size		seed_size = sizeof(V4_KEY_PREFIX) + strlen(in->secret_access_key);
	char	   *seed = palloc(seed_size);
	uint8		key[PG_SHA256_DIGEST_LENGTH];
	bool		done;

	snprintf(seed, seed_size, V4_KEY_PREFIX "%s", in->secret_access_key);
	done = hmac_sha256(seed, strlen(seed), date, key) &&
		hmac_sha256(key, sizeof(key), in->region, key) &&
		hmac_sha256(key, sizeof(key), in->service, key) &&
		hmac_sha256(key, sizeof(key), V4_TERMINATOR, key) &&
		hmac_sha256(key, sizeof(key), to_sign, key);

	secret_wipe(seed);
	if (!done)
	{
		explicit_bzero(key, sizeof(key));
		hash_failed();
	}
	/* the key has been replaced by the signature */
	to_hex(key, hex);
}

/*
 * The caller sends exactly what he passed in, plus the headers host, x-amz-date
 * (from the result), x-amz-security-token (if he gave one) and authorization
 * (from the result).
 */
void
sign_v4(const SignV4Input *in, SignV4Output *out)
{
	StringInfoData names;
	char		date[9];
	char	   *scope;
	char	   *to_sign;
	char		signature[SIGN_SHA256_HEX_SIZE];
	struct pg_tm *tm = pg_gmtime(&in->now);

	if (tm == NULL || pg_strftime(out->amz_date, sizeof(out->amz_date),
								  "%Y%m%dT%H%M%SZ", tm) != 16)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("cannot sign a request: the time is out of range"),
				 errhidestmt(true)));
	strlcpy(date, out->amz_date, sizeof(date));

	initStringInfo(&names);
	out->canonical_hash = v4_canonical_hash(in, out->amz_date, &names);
	scope = psprintf("%s/%s/%s/" V4_TERMINATOR,
					 date, in->region, in->service);
	to_sign = psprintf(V4_ALGORITHM "\n%s\n%s\n%s",
					   out->amz_date, scope, out->canonical_hash);
	v4_signature(in, date, to_sign, signature);
	out->authorization =
		psprintf(V4_ALGORITHM " Credential=%s/%s, SignedHeaders=%s, Signature=%s",
				 in->access_key_id, scope, names.data, signature);
}
