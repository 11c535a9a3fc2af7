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
 * only when memory is short, the hash library fails or the time is absurd.
 * Such an error hides the statement that led to it, and key material is
 * wiped on every way out.
 *
 * The worker signs between transactions, where there is no resource owner,
 * but the server's hash contexts insist on one: see owner_enter().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/cryptohash.h"
#include "common/hmac.h"
#include "common/sha2.h"
#include "lib/stringinfo.h"
#include "utils/resowner.h"

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

/* all that has to be forgotten afterwards */
typedef struct KeyMaterial
{
	char	   *seed;			/* prefix and secret access key */
	Size		seed_len;
	uint8		key[PG_SHA256_DIGEST_LENGTH];
} KeyMaterial;

/*
 * Error context: keep the statement, which may contain a secret, out of the
 * server log.
 */
static void
hide_statement(void *arg)
{
	errhidestmt(true);
}

/*
 * The server registers every hash context with CurrentResourceOwner and does
 * not check that there is one.  Lend it one where there is none; returns NULL
 * if nothing had to be done.  Hash contexts are freed before any error is
 * thrown, so the owner is empty when owner_leave() deletes it.
 */
static ResourceOwner
owner_enter(void)
{
	if (CurrentResourceOwner != NULL)
		return NULL;
	CurrentResourceOwner = ResourceOwnerCreate(NULL, "damoov signature");
	return CurrentResourceOwner;
}

static void
owner_leave(ResourceOwner lent)
{
	if (lent == NULL)
		return;
	CurrentResourceOwner = NULL;
	ResourceOwnerDelete(lent);
}

static void
hash_failed(const char *reason)
{
	ereport(ERROR,
			(errcode(ERRCODE_INTERNAL_ERROR),
			 errmsg("could not compute the signature of a request: %s",
					reason)));
}

static void
to_hex(const uint8 *digest, char *hex)
{
	static const char digits[] = "0123456789abcdef";
	int			i;

	for (i = 0; i < PG_SHA256_DIGEST_LENGTH; i++)
	{
		*hex++ = digits[digest[i] >> 4];
		*hex++ = digits[digest[i] & 0x0F];
	}
	*hex = '\0';
}

static void
sha256_hex(const void *data, Size len, char *hex)
{
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	pg_cryptohash_ctx *ctx = pg_cryptohash_create(PG_SHA256);

	if (ctx == NULL)
		hash_failed("out of memory");
	if (pg_cryptohash_init(ctx) < 0 ||
		(len > 0 && pg_cryptohash_update(ctx, data, len) < 0) ||
		pg_cryptohash_final(ctx, digest, sizeof(digest)) < 0)
	{
		const char *reason = pg_cryptohash_error(ctx);	/* a constant */

		pg_cryptohash_free(ctx);
		hash_failed(reason);
	}
	pg_cryptohash_free(ctx);
	to_hex(digest, hex);
}

/* The result may overwrite the key. */
static void
hmac_sha256(const void *key, Size key_len, const char *text, uint8 *result)
{
	pg_hmac_ctx *ctx = pg_hmac_create(PG_SHA256);

	if (ctx == NULL)
		hash_failed("out of memory");
	if (pg_hmac_init(ctx, key, key_len) < 0 ||
		pg_hmac_update(ctx, (const uint8 *) text, strlen(text)) < 0 ||
		pg_hmac_final(ctx, result, PG_SHA256_DIGEST_LENGTH) < 0)
	{
		const char *reason = pg_hmac_error(ctx);	/* a constant */

		pg_hmac_free(ctx);
		hash_failed(reason);
	}
	pg_hmac_free(ctx);
}

/*
 * SHA-256 of some bytes as 64 lower-case digits, for those who have to send
 * it in a header.
 */
void
sign_sha256_hex(const void *data, Size len, char *hex)
{
	ResourceOwner lent = owner_enter();

	PG_TRY();
	{
		sha256_hex(data, len, hex);
	}
	PG_FINALLY();
	{
		owner_leave(lent);
	}
	PG_END_TRY();
}

/*
 * The signature of the Azure services: HMAC-SHA256 of a text, in base64.
 * Throws as sign_v4() does, with the statement hidden.
 */
char *
sign_hmac_base64(const void *key, Size key_len, const char *text)
{
	ErrorContextCallback hide = {0};
	ResourceOwner lent;
	uint8		signature[PG_SHA256_DIGEST_LENGTH];
	int			size = pg_b64_enc_len(sizeof(signature));
	char	   *result = palloc(size + 1);

	hide.callback = hide_statement;
	hide.previous = error_context_stack;
	error_context_stack = &hide;
	lent = owner_enter();

	PG_TRY();
	{
		hmac_sha256(key, key_len, text, signature);
	}
	PG_FINALLY();
	{
		owner_leave(lent);
	}
	PG_END_TRY();

	error_context_stack = hide.previous;
	result[compat_b64_encode(signature, sizeof(signature), result, size)] = '\0';
	return result;
}

/* Locale-free, unlike isalnum(). */
static bool
is_unreserved(unsigned char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		(c >= '0' && c <= '9') ||
		c == '-' || c == '_' || c == '.' || c == '~';
}

static void
append_encoded_byte(StringInfo to, unsigned char c)
{
	if (is_unreserved(c))
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

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

static void
append_decoded(StringInfo to, const char *text, Size len)
{
	for (Size i = 0; i < len; i++)
	{
		char		c = text[i];

		if (c == '%' && i + 2 < len &&
			hex_value(text[i + 1]) >= 0 && hex_value(text[i + 2]) >= 0)
		{
			c = (char) (hex_value(text[i + 1]) << 4 | hex_value(text[i + 2]));
			i += 2;
		}
		appendStringInfoChar(to, c);
	}
}

char *
sign_decoded(const char *text, Size len)
{
	StringInfoData buf;

	initStringInfo(&buf);
	append_decoded(&buf, text, len);
	return buf.data;
}

/*
 * Encode part of a query.  What is percent-encoded already comes out in the
 * one canonical spelling, the rest is encoded now, for the service does the
 * same with what it receives.
 */
static char *
canonical_query_part(const char *part, Size len)
{
	StringInfoData decoded;
	StringInfoData buf;

	initStringInfo(&decoded);
	initStringInfo(&buf);
	append_decoded(&decoded, part, len);
	for (int i = 0; i < decoded.len; i++)
		append_encoded_byte(&buf, decoded.data[i]);
	return buf.data;
}

static int
compare_parameters(const void *a, const void *b)
{
	const Pair *left = a;
	const Pair *right = b;
	int			result = strcmp(left->name, right->name);

	return result != 0 ? result : strcmp(left->value, right->value);
}

/*
 * Split a query into encoded and sorted parameters; returns their number.
 */
static int
split_query(const char *query, Pair **result)
{
	Pair	   *pairs = palloc(sizeof(Pair) * (strlen(query) / 2 + 1));
	int			n = 0;

	while (*query != '\0')
	{
		Size		len = strcspn(query, "&");
		Size		name_len = strcspn(query, "=&");

		if (len > 0)
		{
			Size		skip = Min(name_len + 1, len);	/* with the '=' */

			pairs[n].name = canonical_query_part(query, name_len);
			pairs[n].value = canonical_query_part(query + skip, len - skip);
			pairs[n].position = n;
			n++;
		}
		query += len;
		if (*query == '&')
			query++;
	}
	qsort(pairs, n, sizeof(Pair), compare_parameters);
	*result = pairs;
	return n;
}

static void
append_query(StringInfo to, const char *query)
{
	Pair	   *pairs;
	int			n = query == NULL ? 0 : split_query(query, &pairs);
	int			i;

	for (i = 0; i < n; i++)
		appendStringInfo(to, "%s%s=%s",
						 i > 0 ? "&" : "", pairs[i].name, pairs[i].value);
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

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
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
		if (!is_blank(*value))
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
	char	   *lower = pstrdup(name);
	char	   *c;

	for (c = lower; *c != '\0'; c++)
		*c = pg_ascii_tolower((unsigned char) *c);
	pairs[*n].name = lower;
	pairs[*n].value = canonical_header_value(value);
	pairs[*n].position = *n;
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
		sha256_hex(in->body, in->body_len, body_hash);
	appendStringInfo(&request, "\n%s\n%s", names->data,
					 in->body_hash != NULL ? in->body_hash : body_hash);

	sha256_hex(request.data, request.len, hash);
	return hash;
}

/*
 * Derive the key of the day, region and service, and sign with it.
 */
static void
v4_signature(const SignV4Input *in, const char *date, const char *to_sign,
			 KeyMaterial *secret, char *hex)
{
	uint8	   *key = secret->key;
	uint8		signature[PG_SHA256_DIGEST_LENGTH];

	hmac_sha256(secret->seed, secret->seed_len, date, key);
	hmac_sha256(key, sizeof(secret->key), in->region, key);
	hmac_sha256(key, sizeof(secret->key), in->service, key);
	hmac_sha256(key, sizeof(secret->key), V4_TERMINATOR, key);
	hmac_sha256(key, sizeof(secret->key), to_sign, signature);
	to_hex(signature, hex);
}

static void
v4_sign(const SignV4Input *in, SignV4Output *out, KeyMaterial *secret)
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
				 errmsg("cannot sign a request: the time is out of range")));
	strlcpy(date, out->amz_date, sizeof(date));

	initStringInfo(&names);
	out->canonical_hash = v4_canonical_hash(in, out->amz_date, &names);
	scope = psprintf("%s/%s/%s/" V4_TERMINATOR,
					 date, in->region, in->service);
	to_sign = psprintf(V4_ALGORITHM "\n%s\n%s\n%s",
					   out->amz_date, scope, out->canonical_hash);
	v4_signature(in, date, to_sign, secret, signature);
	out->authorization =
		psprintf(V4_ALGORITHM " Credential=%s/%s, SignedHeaders=%s, Signature=%s",
				 in->access_key_id, scope, names.data, signature);
}

/*
 * Sign a request by AWS Signature Version 4.  The caller sends exactly what
 * he passed in, plus the headers host, x-amz-date (from the result),
 * x-amz-security-token (if he gave one) and authorization (from the result).
 */
void
sign_v4(const SignV4Input *in, SignV4Output *out)
{
	ErrorContextCallback hide = {0};
	KeyMaterial secret = {0};
	ResourceOwner lent;

	hide.callback = hide_statement;
	hide.previous = error_context_stack;
	error_context_stack = &hide;
	secret.seed_len = strlen(V4_KEY_PREFIX) + strlen(in->secret_access_key);
	secret.seed = palloc(secret.seed_len + 1);
	lent = owner_enter();

	PG_TRY();
	{
		strcpy(secret.seed, V4_KEY_PREFIX);
		strcat(secret.seed, in->secret_access_key);
		v4_sign(in, out, &secret);
	}
	PG_FINALLY();
	{
		explicit_bzero(secret.seed, secret.seed_len);
		explicit_bzero(secret.key, sizeof(secret.key));
		owner_leave(lent);
	}
	PG_END_TRY();

	pfree(secret.seed);
	error_context_stack = hide.previous;
}
