"""Verifies AWS Signature Version 4 from the request as it stood on the wire.

It is written apart from every signer on purpose: what it rebuilds comes from the raw
request line, headers and body, never from what a client library meant to send.
"""

import calendar
import hashlib
import hmac
import re
import sys
import time
from functools import lru_cache
from typing import NamedTuple, Optional
from urllib.parse import quote_from_bytes, unquote_to_bytes

ALGORITHM = "AWS4-HMAC-SHA256"
SKEW_SECONDS = 15 * 60
UNSIGNED = "UNSIGNED-PAYLOAD"


class Refusal(Exception):
    """A request that is not let in, with the code AWS gives for it."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code
        self.message = message


class Credentials(NamedTuple):
    access_key_id: str
    secret_access_key: str
    session_token: Optional[str] = None


class Claim(NamedTuple):
    """What the Authorization header says of itself."""

    access_key_id: str
    day: str
    region: str
    service: str
    signed: list
    signature: str


class Verifier:
    def __init__(self, credentials, region, service, clock=time.time):
        self.credentials = credentials
        self.region = region
        self.service = service
        self.clock = clock
        self.issued = {}                # temporary credentials by their access key id
        self.retired_tokens = set()

    def issue(self, credentials):
        """These hold, too."""
        self.issued[credentials.access_key_id] = credentials

    def retire_issued(self):
        self.retired_tokens.update(credentials.session_token for credentials in self.issued.values())
        self.issued.clear()

    def rotate(self, credentials):
        """From now on only the new credentials hold; the former session token has expired."""
        if self.credentials.session_token not in (None, credentials.session_token):
            self.retired_tokens.add(self.credentials.session_token)
        self.credentials = credentials

    def verify(self, method, path, query, headers, body):
        fields = collect(headers)
        claim = read_claim(one(fields, "authorization"))
        date = one(fields, "x-amz-date")
        credentials = self.issued.get(claim.access_key_id, self.credentials)
        self._check_token(credentials, one(fields, "x-amz-security-token"))
        self._check_scope(credentials, claim, date)
        self._check_time(date)
        check_signed_headers(claim.signed, fields)
        canonical = canonical_request(method, path, query, fields, claim.signed,
                                      payload_hash(fields, body), self.service)
        expected = signature(credentials.secret_access_key, date, self.region, self.service, canonical)
        if not hmac.compare_digest(expected, claim.signature):
            raise mismatch("The request signature we calculated does not match the signature you provided. "
                           "Check your AWS Secret Access Key and signing method.")

    def _check_token(self, credentials, token):
        if token == credentials.session_token:
            return
        if token in self.retired_tokens:
            raise Refusal("ExpiredToken", "The security token included in the request is expired")
        raise Refusal("InvalidClientTokenId", "The security token included in the request is invalid.")

    def _check_scope(self, credentials, claim, date):
        if claim.access_key_id != credentials.access_key_id:
            raise Refusal("InvalidClientTokenId", "The security token included in the request is invalid.")
        if date is None:
            raise incomplete("Authorization header requires existence of an 'X-Amz-Date' header.")
        if not re.fullmatch(r"\d{8}T\d{6}Z", date):
            raise incomplete("Date must be in ISO-8601 'basic format'.")
        if claim.day != date[:8]:
            raise mismatch(f"Date in Credential scope does not match YYYYMMDD from X-Amz-Date: {claim.day} != {date[:8]}.")
        if claim.region != self.region:
            raise mismatch(f"Credential should be scoped to a valid region, not '{claim.region}'.")
        if claim.service != self.service:
            raise mismatch(f"Credential should be scoped to correct service: '{self.service}'.")

    def _check_time(self, date):
        then, now = epoch(date), self.clock()
        if then < now - SKEW_SECONDS:
            raise mismatch(f"Signature expired: {date} is now earlier than {basic(now - SKEW_SECONDS)} "
                           f"({basic(now)} - 15 min.)")
        if then > now + SKEW_SECONDS:
            raise mismatch(f"Signature not yet current: {date} is still later than {basic(now + SKEW_SECONDS)} "
                           f"({basic(now)} + 15 min.)")


def mismatch(message):
    return Refusal("SignatureDoesNotMatch", message)


def incomplete(message):
    return Refusal("IncompleteSignature", message)


@lru_cache(maxsize=64)
def epoch(date):
    """Cached, because a busy client signs thousands of requests with one second."""
    try:
        return calendar.timegm(time.strptime(date, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        raise incomplete("Date must be in ISO-8601 'basic format'.") from None


def basic(seconds):
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))


def collect(headers):
    """Lower-case name -> list of values, in the order of arrival."""
    fields = {}
    for name, value in headers:
        fields.setdefault(name.lower(), []).append(value)
    return fields


def one(fields, name):
    values = fields.get(name, [None])
    if len(values) > 1:
        raise incomplete(f"'{name}' is sent more than once.")
    return values[0]


def read_claim(authorization):
    if not authorization:
        raise Refusal("MissingAuthenticationToken", "Request is missing Authentication Token")
    algorithm, _, rest = authorization.partition(" ")
    if algorithm != ALGORITHM:
        raise incomplete(f"Unsupported AWS 'algorithm': '{algorithm}'.")
    parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    for name in ("Credential", "SignedHeaders", "Signature"):
        if not parts.get(name):
            raise incomplete(f"Authorization header requires '{name}' parameter.")
    scope = parts["Credential"].split("/")
    if len(scope) != 5 or scope[4] != "aws4_request":
        raise incomplete("Credential must have exactly 5 slash-delimited elements, the last being 'aws4_request'.")
    return Claim(*scope[:4], parts["SignedHeaders"].split(";"), parts["Signature"])


def check_signed_headers(signed, fields):
    if signed != sorted(set(signed)) or any(name != name.lower() for name in signed):
        raise mismatch("SignedHeaders must be lower case, sorted and without repetition.")
    for name in signed:
        if name not in fields:
            raise mismatch(f"'{name}' is named as a SignedHeader, but it does not exist in the HTTP request")
    required = [name for name in fields if name.startswith("x-amz-") or name == "content-type"]
    for name in ["host", "x-amz-date", *required]:
        if name not in signed:
            raise mismatch(f"'{name}' must be a 'SignedHeader' in the AWS Authorization.")


def payload_hash(fields, body):
    actual = hashlib.sha256(body).hexdigest()
    stated = one(fields, "x-amz-content-sha256")
    if stated == UNSIGNED:
        return UNSIGNED
    if stated not in (None, actual):
        raise mismatch("The provided 'x-amz-content-sha256' header does not match what was computed.")
    return actual


def canonical_request(method, path, query, fields, signed, body_hash, service):
    lines = [method, canonical_path(path, service), canonical_query(query)]
    lines += [f"{name}:{','.join(' '.join(value.split()) for value in fields[name])}" for name in signed]
    return "\n".join([*lines, "", ";".join(signed), body_hash])


def canonical_path(path, service):
    """S3 paths count as they stand; all others are normalised and encoded once more."""
    raw = path.encode("latin-1")
    if service == "s3":
        return encode(unquote_to_bytes(raw), safe="/")
    return encode(normalise(raw), safe="/") or "/"


def normalise(path):
    kept = []
    for segment in path.split(b"/"):
        if segment == b"..":
            kept = kept[:-1]
        elif segment not in (b"", b"."):
            kept.append(segment)
    slash = b"/" if kept and path.endswith((b"/", b"/.", b"/..")) else b""
    return b"/" + b"/".join(kept) + slash


def canonical_query(query):
    pairs = [item.partition("=") for item in query.split("&") if item]
    encoded = sorted((recode(name), recode(value)) for name, _, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)


def recode(text):
    return encode(unquote_to_bytes(text.encode("latin-1")))


def encode(data, safe=""):
    return quote_from_bytes(data, safe=safe + "-_.~")


def digest(key, text):
    return hmac.digest(key, text.encode("utf-8"), "sha256")


@lru_cache(maxsize=64)
def signing_key(secret, day, region, service):
    key = ("AWS4" + secret).encode("utf-8")
    for part in (day, region, service, "aws4_request"):
        key = digest(key, part)
    return key


def canonical_hash(canonical):
    return hashlib.sha256(canonical.encode("latin-1")).hexdigest()


def signature(secret, date, region, service, canonical):
    scope = f"{date[:8]}/{region}/{service}/aws4_request"
    to_sign = "\n".join([ALGORITHM, date, scope, canonical_hash(canonical)])
    return digest(signing_key(secret, date[:8], region, service), to_sign).hex()


# ---- self test ----------------------------------------------------------------------------------

EXAMPLE = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
EXAMPLE_TOKEN = "SESSIONTOKENEXAMPLE"
RECEIVE_BODY = (b'{"QueueUrl":"https://sqs.eu-west-1.amazonaws.com/123456789012/damoov",'
                b'"MaxNumberOfMessages":10,"WaitTimeSeconds":20}')
RECEIVE_HEADERS = [("Content-Type", "application/x-amz-json-1.0"), ("Host", "sqs.eu-west-1.amazonaws.com"),
                   ("X-Amz-Date", "20260115T120000Z"), ("X-Amz-Target", "AmazonSQS.ReceiveMessage")]
EMPTY_HASH = hashlib.sha256(b"").hexdigest()


class Case(NamedTuple):
    """A request whose right signature is published."""

    name: str
    signature: str
    method: str = "GET"
    path: str = "/"
    query: str = ""
    headers: list = []
    body: bytes = b""
    region: str = "us-east-1"
    service: str = "service"
    credentials: Credentials = EXAMPLE
    canonical_hash: Optional[str] = None

    @property
    def fields(self):
        published = [("Host", "example.amazonaws.com"), ("X-Amz-Date", "20150830T123600Z")]
        own = {name.lower() for name, _ in self.headers}
        return self.headers + [field for field in published if field[0].lower() not in own]

    @property
    def date(self):
        return dict((name.lower(), value) for name, value in self.fields)["x-amz-date"]

    def signed(self, signature=None, drop=()):
        """The headers with an Authorization; some names may be left out of its list."""
        names = sorted({name.lower() for name, _ in self.fields} - set(drop))
        scope = f"{self.date[:8]}/{self.region}/{self.service}/aws4_request"
        value = (f"{ALGORITHM} Credential={self.credentials.access_key_id}/{scope}, "
                 f"SignedHeaders={';'.join(names)}, Signature={signature or self.signature}")
        return self.fields + [("Authorization", value)]

    def verifier(self, later=0):
        now = epoch(self.date) + later
        return Verifier(self.credentials, self.region, self.service, lambda: now)


SQS = dict(method="POST", body=RECEIVE_BODY, region="eu-west-1", service="sqs")
RECEIVE = Case("receive", "65fabfbeac1e8dab6398498f1f3a8e30c1b8616238cbf56b6f6e1d50c9ff614c", headers=RECEIVE_HEADERS,
               canonical_hash="501d2ac758074c0cbf15ccaf45686dc7f508bf256478f5ba7607ce8946fafd91", **SQS)
CASES = [
    RECEIVE,
    Case("receive with a token", "2ada32314254b7d83313e453d138b7d73d4e9cdeb1ac35c13e43808ba54db89f",
         headers=RECEIVE_HEADERS + [("X-Amz-Security-Token", EXAMPLE_TOKEN)],
         credentials=EXAMPLE._replace(session_token=EXAMPLE_TOKEN),
         canonical_hash="64c3643c8124151c4824e20f03403dc9b2a345498c920c84108c28a64b09c36e", **SQS),
    Case("s3 object", "f9f74c59ba21466138fc18885699ab93988f63fe3f945438f65a7c1c341232ff",
         path="/exports/2026-01-15/trip%20A%2BB.json", query="versionId=abc%2Fdef&partNumber=1",
         headers=[("Host", "my-bucket.s3.eu-west-1.amazonaws.com"), ("X-Amz-Date", "20260115T120000Z"),
                  ("X-Amz-Content-Sha256", EMPTY_HASH)],
         canonical_hash="a601a0c694b094e62f5740afd88dd727ecc91661503e3ab935d3febfe61ff950",
         region="eu-west-1", service="s3"),
    Case("get-vanilla", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    Case("post-vanilla", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b", method="POST"),
    Case("get-vanilla-query-order-key-case", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
         query="Param2=value2&Param1=value1"),
    Case("get-vanilla-empty-query-key", "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
         query="Param1=value1"),
    Case("get-utf8", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
         path="/\u1234".encode("utf-8").decode("latin-1")),
    Case("get-relative", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31", path="/example/.."),
    Case("get-space", "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741", path="/example space/"),
    Case("get-header-key-duplicate", "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
         headers=[("My-Header1", "value2"), ("My-Header1", "value2"), ("My-Header1", "value1")]),
    Case("get-header-value-trim", "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
         headers=[("My-Header1", " value1"), ("My-Header2", ' "a   b   c"')]),
    Case("post-x-www-form-urlencoded", "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
         method="POST", headers=[("Content-Type", "application/x-www-form-urlencoded")], body=b"Param1=value1"),
]


def verdict(verifier, case, headers, body=None):
    """The refusal's code and message in one text; empty when the request is let in."""
    try:
        verifier.verify(case.method, case.path, case.query, headers, case.body if body is None else body)
    except Refusal as refusal:
        return f"{refusal.code}: {refusal.message}"
    return ""


def accepted(case):
    fields = collect(case.fields)
    canonical = canonical_request(case.method, case.path, case.query, fields, sorted(fields),
                                  payload_hash(fields, case.body), case.service)
    right_hash = case.canonical_hash in (None, canonical_hash(canonical))
    return right_hash and verdict(case.verifier(), case, case.signed()) == ""


def refusals():
    """(name, what came back, how it has to begin)"""
    case = RECEIVE
    verifier = case.verifier()
    scope = "AKIDEXAMPLE/20260115/eu-west-1/sqs"

    def edited(old, new):
        return [(name, value.replace(old, new)) for name, value in case.signed()]

    yield "no authorization", verdict(verifier, case, case.fields), "MissingAuthenticationToken"
    yield "other algorithm", verdict(verifier, case, edited(ALGORITHM, "AWS4-X")), "IncompleteSignature"
    yield "no signature", verdict(verifier, case, edited("Signature=", "Nothing=")), "IncompleteSignature"
    yield "unknown key", verdict(verifier, case, edited("AKIDEXAMPLE", "AKIDOTHER")), "InvalidClientTokenId"
    yield "other region", verdict(verifier, case, edited(scope, scope.replace("eu-", "us-"))), "SignatureDoesNotMatch: Cred"
    yield "other service", verdict(verifier, case, edited(scope, scope.replace("sqs", "sns"))), "SignatureDoesNotMatch: Cred"
    yield "other day", verdict(verifier, case, edited(scope, scope.replace("0115", "0116"))), "SignatureDoesNotMatch: Date"
    yield "other body", verdict(verifier, case, case.signed(), b"{}"), "SignatureDoesNotMatch: The request"
    yield "old", verdict(case.verifier(901), case, case.signed()), "SignatureDoesNotMatch: Signature expired: "
    yield "early", verdict(case.verifier(-901), case, case.signed()), "SignatureDoesNotMatch: Signature not yet current: "
    yield "edge of the window", verdict(case.verifier(900), case, case.signed()), ""
    for name in ("host", "content-type", "x-amz-date", "x-amz-target"):
        yield f"unsigned {name}", verdict(verifier, case, case.signed(drop=[name])), f"SignatureDoesNotMatch: '{name}' must"
    unsent = [field for field in case.signed() if field[0] != "X-Amz-Target"]
    yield "listed, not sent", verdict(verifier, case, unsent), "SignatureDoesNotMatch: 'x-amz-target' is named"
    twice = case.signed() + [("x-amz-date", case.date)]
    yield "date twice", verdict(verifier, case, twice), "IncompleteSignature"
    with_token = case.signed() + [("X-Amz-Security-Token", EXAMPLE_TOKEN)]
    yield "unasked token", verdict(verifier, case, with_token), "InvalidClientTokenId"
    verifier.rotate(EXAMPLE._replace(session_token="FIRST"))
    yield "missing token", verdict(verifier, case, case.signed()), "InvalidClientTokenId"
    verifier.rotate(EXAMPLE._replace(session_token="SECOND"))
    expired = case.signed() + [("X-Amz-Security-Token", "FIRST")]
    yield "expired token", verdict(verifier, case, expired), "ExpiredToken"


def self_test():
    failures = [case.name for case in CASES if not accepted(case)]
    outcomes = list(refusals())
    failures += [f"{name}: {got!r}" for name, got, begins in outcomes
                 if not got.startswith(begins) or bool(got) != bool(begins)]
    for failure in failures:
        print("failed:", failure)
    print(f"{len(CASES) + len(outcomes) - len(failures)} passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    if sys.argv[1:] != ["--self-test"]:
        sys.exit("usage: sigv4.py --self-test")
    sys.exit(self_test())
