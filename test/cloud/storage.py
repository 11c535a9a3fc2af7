"""Stores of objects: S3 and Azure blobs, path style, for reading only.

Each checks who asks with its own code from the raw request, and neither takes a
request that shows a device token.
"""

import base64
import gzip
import hashlib
import re
import time
from urllib.parse import parse_qsl, quote, unquote

import faults
import sharedkey
import sigv4
from sigv4 import Refusal
from wire import sized

ACCOUNT = "fleetstore"
ACCOUNT_KEY = base64.b64encode(b"an account key for the stand-in, 64 bytes long when decoded......").decode()
SAS_VERSION = "2021-12-02"
NOBODY = hashlib.sha256(b"").hexdigest()


class Object:
    """The bytes as they are stored, and the headers that go out with them."""

    def __init__(self, body, compressed=False, content_md5=True):
        self.body = gzip.compress(body, mtime=0) if compressed else body
        digest = hashlib.md5(self.body).digest()
        self.headers = [("Content-Type", "application/json"), ("ETag", f'"{digest.hex()}"')]
        if compressed:
            self.headers.append(("Content-Encoding", "gzip"))
        self.md5 = base64.b64encode(digest).decode() if content_md5 else None


class Store:
    """What both have in common: containers of objects, faults, XML errors."""

    def __init__(self, where, fault_book, clock):
        self.where = where
        self.faults = fault_book
        self.clock = clock
        self.clear()

    def clear(self):
        self.containers = {}

    def put(self, container, key, found, version=None):
        objects = self.containers.setdefault(container, {})
        objects[key, version] = found
        if version is not None:
            objects[key, None] = found

    def answer(self, request):
        container, key = self.locate(request.path)
        request.record["target"] = self.where
        request.record["object_id"] = f"{container}/{key}"
        request.record["device_token"] = request.header("devicetoken")
        fault = self.faults.take(self.where, (key, container))
        deliver = lambda: self._deliver(request, container, key, fault)
        if fault and fault.mode in faults.WAYS:
            return faults.WAYS[fault.mode](fault, request, deliver)
        if fault and fault.mode == "error":
            headers = faults.retry_after(fault, self.clock())
            return self.refuse(fault.number("status", 503), fault.code or "SlowDown", fault.message or "As ordered.", headers)
        return deliver()

    def _deliver(self, request, container, key, fault):
        if request.header("devicetoken") is not None:
            return self.refuse(400, "DeviceTokenSeen", "A device token is none of a store's business.")
        if request.method != "GET":
            return self.refuse(405, "MethodNotAllowed", "Objects are for reading here.")
        try:
            self.verify(request, container)
        except (sharedkey.Refusal, Refusal) as refusal:
            return self.refuse(*self.explain(refusal))
        found, missing = self.find(request, container, key)
        if found is None:
            return self.refuse(404, missing, "It is not there.")
        headers = list(found.headers)
        md5 = "AAAAAAAAAAAAAAAAAAAAAA==" if fault and fault.mode == "bad_md5" else found.md5
        if md5 is not None:
            headers.append(("Content-MD5", md5))
        return sized(200, headers, found.body)


# ---- S3 -----------------------------------------------------------------------------------------

class S3(Store):
    STATUS = {"IncompleteSignature": 400, "ExpiredToken": 400, "AuthorizationHeaderMalformed": 400, "InvalidRequest": 400,
              "PermanentRedirect": 301}
    CODES = {"InvalidClientTokenId": "InvalidAccessKeyId", "MissingAuthenticationToken": "AccessDenied"}

    def __init__(self, region, credentials, fault_book, clock):
        super().__init__("s3", fault_book, clock)
        self.region = region
        self.verifier = sigv4.Verifier(credentials, region, "s3", clock)

    def clear(self):
        super().clear()
        self.regions = {}           # of buckets that lie elsewhere: (region, how a wrong one is refused)

    def claims(self, request):
        return self.locate(request.path)[0] in self.containers

    def locate(self, path):
        bucket, _, key = path[1:].partition("/")
        return bucket, unquote(key)

    def find(self, request, bucket, key):
        query = dict(parse_qsl(request.query, keep_blank_values=True))
        version = query.get("versionId")
        return self.containers[bucket].get((key, version)), "NoSuchVersion" if version else "NoSuchKey"

    def verify(self, request, bucket):
        region, refusal = self.regions.get(bucket, (self.region, "AuthorizationHeaderMalformed"))
        if "X-Amz-Signature" in dict(parse_qsl(request.query)):
            return self._verify_presigned(request, region)
        fields = sigv4.collect(request.headers)
        claim = sigv4.read_claim(sigv4.one(fields, "authorization"))
        if sigv4.one(fields, "x-amz-content-sha256") != NOBODY:
            raise Refusal("InvalidRequest", "x-amz-content-sha256 is missing or not that of an empty body")
        if claim.region != region:
            raise Refusal(refusal, region)
        date = sigv4.one(fields, "x-amz-date") or ""
        if abs(sigv4.epoch(date) - self.clock()) > sigv4.SKEW_SECONDS:
            raise Refusal("RequestTimeTooSkewed", "The difference between the request time and the current time is too large.")
        self.verifier.region = region
        self.verifier.verify(request.method, request.path, request.query, request.headers, request.body)

    def _verify_presigned(self, request, region):
        query = dict(parse_qsl(request.query, keep_blank_values=True))
        if request.header("authorization") or request.header("x-amz-content-sha256"):
            raise Refusal("InvalidRequest", "Only one auth mechanism allowed")
        if sigv4.epoch(query["X-Amz-Date"]) + int(query["X-Amz-Expires"]) < self.clock():
            raise Refusal("AccessDenied", "Request has expired")
        rest = "&".join(item for item in request.query.split("&") if not item.startswith("X-Amz-Signature="))
        if self._presignature(request.path, rest, request.header("host"), query["X-Amz-Date"], region) != query["X-Amz-Signature"]:
            raise Refusal("SignatureDoesNotMatch", "The request signature we calculated does not match the one you provided.")

    def _presignature(self, path, query, host, date, region):
        canonical = sigv4.canonical_request("GET", path, query, {"host": [host]}, ["host"], sigv4.UNSIGNED, "s3")
        return sigv4.signature(self.verifier.credentials.secret_access_key, date, region, "s3", canonical)

    def presign(self, base_url, bucket, key, expires=300):
        """A URL that opens the object by itself."""
        date = sigv4.basic(self.clock())
        path = f"/{bucket}/{quote(key)}"
        scope = f"{self.verifier.credentials.access_key_id}/{date[:8]}/{self.region}/s3/aws4_request"
        query = (f"X-Amz-Algorithm={sigv4.ALGORITHM}&X-Amz-Credential={quote(scope, safe='')}&X-Amz-Date={date}"
                 f"&X-Amz-Expires={expires}&X-Amz-SignedHeaders=host")
        host = base_url.split("//")[1]
        return f"{base_url}{path}?{query}&X-Amz-Signature={self._presignature(path, query, host, date, self.region)}"

    def explain(self, refusal):
        code = self.CODES.get(refusal.code, refusal.code)
        return self.STATUS.get(code, 403), code, refusal.message

    def refuse(self, status, code, message, headers=()):
        region = ""
        if code in ("AuthorizationHeaderMalformed", "PermanentRedirect"):
            region = f"<Region>{message}</Region>" if code != "PermanentRedirect" else ""
            headers = [*headers, ("x-amz-bucket-region", message)] if code == "PermanentRedirect" else headers
            headers = [*headers, ("Location", "http://127.0.0.1:9/elsewhere")]
        body = (f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message>{region}'
                f"<RequestId>4442587FB7D0A2F9</RequestId><HostId>x</HostId></Error>").encode()
        return sized(status, [("x-amz-request-id", "4442587FB7D0A2F9"), ("Content-Type", "application/xml"), *headers], body)


# ---- blobs --------------------------------------------------------------------------------------

class Blob(Store):
    def __init__(self, fault_book, clock):
        super().__init__("blob", fault_book, clock)
        self.account = ACCOUNT
        self.key = ACCOUNT_KEY
        self.verifier = sharedkey.Verifier(ACCOUNT, ACCOUNT_KEY, clock)

    def claims(self, request):
        return request.path.startswith(f"/{self.account}/")

    def locate(self, path):
        container, _, key = path.removeprefix(f"/{self.account}/").partition("/")
        return container, unquote(key)

    def find(self, request, container, key):
        objects = self.containers.get(container)
        return (None, "ContainerNotFound") if objects is None else (objects.get((key, None)), "BlobNotFound")

    def verify(self, request, container):
        if "sig" not in sharedkey.parameters(request.query):
            if request.header("authorization") is None:
                raise sharedkey.Refusal("NoAuthenticationInformation", 401)
            if not re.fullmatch(r"\d{4}-\d\d-\d\d", request.header("x-ms-version") or ""):
                raise sharedkey.Refusal("InvalidAuthenticationInfo", 400)
        self.verifier.verify(request, "r", lambda query: self._sas_text(query, *self.locate(request.path)))

    def _sas_text(self, query, container, key):
        resource = f"/blob/{self.account}/{container}" + (f"/{key}" if query["sr"] == "b" else "")
        given = lambda name: query.get(name, "")
        return "\n".join([given("sp"), given("st"), given("se"), resource, given("si"), given("sip"), given("spr"), given("sv"),
                          given("sr"), "", given("ses"), "", "", "", "", ""])

    def sas(self, container, key=None, seconds=300, permissions="r"):
        """A query that opens a container, or one blob."""
        expiry = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.clock() + seconds))
        query = {"sv": SAS_VERSION, "sr": "b" if key else "c", "sp": permissions, "se": expiry}
        signature = self.verifier.sign(self._sas_text(query, container, key))
        return "&".join(f"{name}={quote(value, safe='')}" for name, value in [*query.items(), ("sig", signature)])

    def explain(self, refusal):
        return refusal.status, refusal.code, "Server failed to authenticate the request."

    def refuse(self, status, code, message, headers=()):
        body = f'\ufeff<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'.encode()
        return sized(status, [("x-ms-error-code", code), ("x-ms-request-id", "63e1a0c5-501e-0021-5f7b-000000000000"),
                              ("Content-Type", "application/xml"), *headers], body)


MODES = {*faults.WAYS, "error", "bad_md5"}
