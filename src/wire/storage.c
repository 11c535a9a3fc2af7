/*
 * storage.c
 *	  Datasets in the customer's own store: see storage.h.
 *
 * A store gets what opens its objects and nothing else: never the device
 * token, and the keys of a source go only to hosts that are of their kind, a
 * SAS only to those of its account.  A store's error text is not passed on, for
 * that of a refused signature repeats the request; codes are translated.
 */
#include "postgres.h"

#include <time.h>

#include "common/md5.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "utils/memutils.h"

#include "base/fault.h"
#include "base/options.h"
#include "base/secret.h"
#include "compat.h"
#include "wire/authorize.h"
#include "wire/partition.h"
#include "wire/reply.h"
#include "wire/sign.h"
#include "wire/sign_azure.h"
#include "wire/storage.h"
#include "wire/url.h"
#include "wire/xml.h"

#define BLOB_VERSION		"2021-12-02"
#define CLOCK_TOLERANCE_S	60

struct Storage
{
	StorageKind kind;
	UrlParts   *parts;			/* of url */
	char	   *url;
	bool		sign;			/* with a key; else the URL opens the object */
	char	   *region;
	char	   *access_key_id;
	char	   *secret_access_key;
	char	   *session_token;	/* or NULL */
	char	   *account_name;
	char	   *account_key;
};

/* ----- keys ----- */

static void
set_query(Storage *storage, const char *query)
{
	const UrlParts *parts = storage->parts;

	storage->url = secret_own(psprintf("%s://%s%s%s%s", parts->scheme, parts->host_header,
									   parts->path, query ? "?" : "", query ? query : ""));
}

static bool
take_s3_keys(Storage *storage, const ServerOptions *options, Fault *fault)
{
	const char *region = options_get(options, "region");

	storage->access_key_id = options_keep_secret(options, "access_key_id");
	storage->secret_access_key = options_keep_secret(options, "secret_access_key");
	storage->session_token = options_keep_secret(options, "session_token");
	if (storage->access_key_id == NULL || storage->secret_access_key == NULL)
		return fault_set(fault, REASON_STORAGE_ACCESS,
						 "user mapping of server \"%s\" has no \"access_key_id\" or no \"secret_access_key\"",
						 options->name);
	storage->region = storage_region(storage->parts->host);
	if (storage->region == NULL)
		storage->region = pstrdup(region ? region : STORAGE_DEFAULT_REGION);
	storage->parts->path = storage_encode_path(storage->parts->path, false);
	set_query(storage, storage->parts->query);
	storage->sign = true;
	return true;
}

/* An account is named by the host, or by the path where the host is a setting. */
static bool
is_of_account(const UrlParts *parts, const char *account)
{
	Size		len = strlen(account);
	const char *host = azure_account(parts->host);

	if (host == NULL && strncmp(parts->path + 1, account, len) == 0 && parts->path[1 + len] == '/')
		return true;
	if (host == NULL)
		host = parts->host;
	return strncmp(host, account, len) == 0 &&
		(host[len] == '\0' || host[len] == '.' || strcmp(host + len, "-secondary") == 0);
}

/* A key that cannot be decoded is noticed here, before there is a request. */
static bool
is_base64(const char *account_key)
{
	SignSharedKeyInput input = {
		.method = "GET", .path = "/", .account = "", .account_key = account_key
	};

	return sign_shared_key(&input) != NULL;
}

static bool
take_blob_keys(Storage *storage, const ServerOptions *options, Fault *fault)
{
	char	   *sas = options_keep_secret(options, "sas");
	const char *query = storage->parts->query;

	storage->account_name = options_keep_secret(options, "account_name");
	storage->account_key = options_keep_secret(options, "account_key");
	if (storage->account_name == NULL || (storage->account_key == NULL && sas == NULL))
		return fault_set(fault, REASON_STORAGE_ACCESS,
						 "user mapping of server \"%s\" has no \"account_name\", or neither \"account_key\" nor \"sas\"",
						 options->name);
	if (storage->account_key && !is_base64(storage->account_key))
		return fault_set(fault, REASON_STORAGE_ACCESS,
						 "\"account_key\" of the user mapping of server \"%s\" is not base64",
						 options->name);
	if (!is_of_account(storage->parts, storage->account_name))
		return fault_set(fault, REASON_STORAGE_ACCESS,
						 "\"account_name\" of the user mapping of server \"%s\" is not the account of the URL",
						 options->name);
	storage->sign = storage->account_key != NULL;
	if (!storage->sign)
	{
		const char *words = sas + (sas[0] == '?');

		set_query(storage, query ? secret_own(psprintf("%s&%s", query, words)) : words);
	}
	return true;
}

bool
storage_open(StorageKind kind, const char *url, const char *source,
			 Storage **storage, Fault *fault)
{
	Storage    *out = palloc0(sizeof(Storage));
	ServerOptions *options;
	Fault		unreadable = {0};
	bool		done;

	*storage = out;
	out->kind = kind;
	out->url = secret_keep(url, strlen(url));
	if (!url_parse(url, &out->parts, fault))
		return false;
	/* a URL with its own signature is sent as it is written */
	if (kind == STORAGE_OTHER || storage_url_is_signed(out->parts))
		return true;
	if (!options_load(source, &options, &unreadable))
		return fault_set(fault, REASON_STORAGE_ACCESS,
						 "no key for the store of the dataset: %s", unreadable.message);
	done = kind == STORAGE_S3 ? take_s3_keys(out, options, fault)
		: take_blob_keys(out, options, fault);
	options_wipe(options);
	return done;
}

const char *
storage_url(const Storage *storage)
{
	return storage->url;
}

/* ----- requests ----- */

static void
authorize_s3(const Storage *storage, HttpRequest *request, pg_time_t now)
{
	char		empty_hash[SIGN_SHA256_HEX_SIZE];
	SignHeader	headers[] = {{"x-amz-content-sha256", empty_hash}};
	SignV4Input input = {
		.method = "GET", .host = storage->parts->host_header,
		.path = storage->parts->path, .query = storage->parts->query,
		.headers = headers, .nheaders = lengthof(headers),
		.body_hash = empty_hash,
		.access_key_id = storage->access_key_id,
		.secret_access_key = storage->secret_access_key,
		.session_token = storage->session_token,
		.region = storage->region, .service = "s3", .now = now
	};

	sign_sha256_hex("", 0, empty_hash);
	authorize_v4(request, &input);
}

static void
authorize_blob(const Storage *storage, HttpRequest *request, pg_time_t now)
{
	SignSharedKeyInput input = {
		.method = "GET",
		.path = storage->parts->path, .query = storage->parts->query,
		.account = storage->account_name, .account_key = storage->account_key
	};

	authorize_storage(request, &input, BLOB_VERSION, now);
}

void
storage_authorize(const Storage *storage, HttpRequest *request, int64 clock_offset_s)
{
	pg_time_t	now = (pg_time_t) time(NULL) + clock_offset_s;

	if (storage->sign && storage->kind == STORAGE_S3)
		authorize_s3(storage, request, now);
	else if (storage->sign)
		authorize_blob(storage, request, now);
}

/* ----- replies ----- */

typedef struct StorageError
{
	const char *code;
	Reason		reason;
	const char *words;
} StorageError;

#define ACCESS	REASON_STORAGE_ACCESS
#define STATUS	REASON_HTTP_STATUS

static const StorageError errors[] = {
	/* S3 */
	{"NoSuchKey", STATUS, "the object does not exist"},
	{"NoSuchVersion", STATUS, "the object does not exist"},
	{"NoSuchBucket", ACCESS, "the bucket does not exist"},
	{"AccessDenied", ACCESS, "the access key has no right to read the object, or there is none"},
	{"AllAccessDisabled", ACCESS, "the access key has no right to read the object"},
	{"InvalidAccessKeyId", ACCESS, "the access key is not valid"},
	{"SignatureDoesNotMatch", ACCESS, "the signature was refused; the secret access key is wrong"},
	{"ExpiredToken", ACCESS, "the session token has expired"},
	{"InvalidToken", ACCESS, "the session token is not valid"},
	{"TokenRefreshRequired", ACCESS, "the session token has expired"},
	{"RequestTimeTooSkewed", ACCESS, "the request's time was refused"},
	{"InvalidObjectState", ACCESS, "the object is archived"},
	{"PermanentRedirect", ACCESS, "the bucket lies in another region than the URL says"},
	{"TemporaryRedirect", ACCESS, "the bucket cannot be read in its region yet"},
	{"AuthorizationHeaderMalformed", ACCESS, "the request was signed for another region than the bucket's"},
	{"SlowDown", STATUS, "the service asks to slow down"},
	/* blobs */
	{"BlobNotFound", STATUS, "the object does not exist"},
	{"ResourceNotFound", STATUS, "the object does not exist"},
	{"ContainerNotFound", ACCESS, "the container does not exist"},
	{"AuthenticationFailed", ACCESS, "the signature was refused; the key is wrong, or the SAS has expired"},
	{"AuthorizationFailure", ACCESS, "the account refuses the key, or this host"},
	{"AuthorizationPermissionMismatch", ACCESS, "the SAS has no right to read"},
	{"AuthorizationResourceTypeMismatch", ACCESS, "the SAS has no right to read"},
	{"AuthorizationServiceMismatch", ACCESS, "the SAS has no right to read"},
	{"InvalidAuthenticationInfo", ACCESS, "the signature was refused"},
	{"NoAuthenticationInformation", ACCESS, "the store found no signature"},
	{"KeyBasedAuthenticationNotPermitted", ACCESS, "the account does not allow keys"},
	{"PublicAccessNotPermitted", ACCESS, "the account does not allow public access"},
	{"AccountIsDisabled", ACCESS, "the account is disabled"},
	{"BlobArchived", ACCESS, "the object is archived"},
	{"ServerBusy", STATUS, "the service asks to slow down"},
};

/* Foreign text: to be compared, not to be passed on. */
static const char *
error_code(const HttpRequest *request)
{
	const char *code = xml_text(xml_read(request->reply, request->reply_len), "Code");

	return code && code[0] ? code : reply_error_code(request);
}

static bool
is_intact(const HttpRequest *request)
{
	uint8		digest[MD5_DIGEST_LENGTH];
	const char *told = http_reply_header(request, "content-md5");
	char		text[32];
	const char *error = NULL;
	int			len;

	/* the checksum is that of the bytes on the wire; gzip has one itself */
	if (told == NULL || request->gzip)
		return true;
	if (!pg_md5_binary(request->reply, request->reply_len, digest, &error))
		return true;			/* MD5 is not available, as under FIPS */
	len = compat_b64_encode(digest, sizeof(digest), text, sizeof(text) - 1);
	return len > 0 && strncmp(text, told, len) == 0;
}

bool
storage_check(const Storage *storage, const HttpRequest *request, Fault *fault)
{
	StorageError unknown = {"", STATUS, "the store refused the request"};
	const StorageError *error = &unknown;
	const char *code;
	Reason		reason;

	if (request->status == 200)
		return is_intact(request) ||
			fault_set(fault, REASON_DAMAGED,
					  "the object's bytes do not have the checksum that the store tells");
	code = error_code(request);
	for (int i = 0; i < (int) lengthof(errors); i++)
	{
		if (strcmp(errors[i].code, code) == 0)
			error = &errors[i];
	}
	if (error == &unknown && (request->status == 401 || request->status == 403))
		unknown.reason = ACCESS;
	reason = error->reason;
	/* no setting can help, only a notification with another URL */
	if (!storage->sign && reason == ACCESS && storage->account_name == NULL)
		reason = REASON_STORAGE_REFUSED;
	return fault_set(fault, reason, "%s (%s%sHTTP status %d)", error->words,
					 error == &unknown ? "" : code, error == &unknown ? "" : ", ",
					 request->status);
}

static bool
learn_region(Storage *storage, const HttpRequest *request)
{
	const char *region = http_reply_header(request, "x-amz-bucket-region");

	if (request->status != 301 && request->status != 400)
		return false;
	if (region == NULL)
		region = xml_text(xml_read(request->reply, request->reply_len), "Region");
	if (region == NULL || region[0] == '\0' || strcmp(region, storage->region) == 0 ||
		region[strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-")] != '\0')
		return false;
	storage->region = MemoryContextStrdup(GetMemoryChunkContext(storage), region);
	return true;
}

static bool
learn_clock(const HttpRequest *request, int64 *clock_offset_s)
{
	const char *code = error_code(request);
	int64		offset = request->date - (int64) time(NULL);

	if (request->date == 0 ||
		(strcmp(code, "RequestTimeTooSkewed") != 0 && strcmp(code, "AuthenticationFailed") != 0) ||
		llabs(offset - *clock_offset_s) <= CLOCK_TOLERANCE_S)
		return false;
	*clock_offset_s = offset;
	return true;
}

bool
storage_learn(Storage *storage, const HttpRequest *request, int64 *clock_offset_s)
{
	if (!storage->sign || request->status < 300)
		return false;
	return (storage->kind == STORAGE_S3 && learn_region(storage, request)) ||
		learn_clock(request, clock_offset_s);
}
