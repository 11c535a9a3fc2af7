"""Who may use a storage account: SharedKey or a token in a header, or a SAS in the query. Written apart from the signer."""

import base64
import hmac
import time
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qsl

SKEW_SECONDS = 15 * 60
AUDIENCE = "https://storage.azure.com"
STANDARD = ("content-encoding", "content-language", "content-length", "content-md5", "content-type", "date",
            "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range")


class Refusal(Exception):
    def __init__(self, code, status=403):
        super().__init__(code)
        self.code = code
        self.status = status


def parameters(query):
    return dict(parse_qsl(query, keep_blank_values=True))


def string_to_sign(account, request):
    fields = dict(request.fields)
    if fields.get("content-length") == "0":
        del fields["content-length"]
    if "x-ms-date" in fields:
        fields.pop("date", None)
    lines = [request.method, *(fields.get(name, "") for name in STANDARD)]
    lines += [f"{name}:{fields[name]}" for name in sorted(fields) if name.startswith("x-ms-")]
    lines.append(f"/{account}{request.path}")
    lines += [f"{name}:{value}" for name, value in sorted((name.lower(), value) for name, value in parameters(request.query).items())]
    return "\n".join(lines)


class Verifier:
    """bearer_problem(header, audience) judges a token, and answers None when it is good."""

    def __init__(self, account, key, clock=time.time, bearer_problem=None):
        self.account = account
        self.key = key
        self.clock = clock
        self.bearer_problem = bearer_problem

    def sign(self, text):
        return base64.b64encode(hmac.digest(base64.b64decode(self.key), text.encode(), "sha256")).decode()

    def verify(self, request, right, sas_text):
        """Raises a Refusal unless the request may do what needs this right of a SAS; sas_text(query) is what the
        signature of one has to be of."""
        query = parameters(request.query)
        authorization = request.header("authorization")
        if "sig" in query:
            if authorization:
                raise Refusal("InvalidAuthenticationInfo", 400)
            self._verify_sas(query, right, sas_text(query))
        elif self.bearer_problem and (authorization or "").startswith("Bearer "):
            if self.bearer_problem(authorization, AUDIENCE):
                raise Refusal("InvalidAuthenticationInfo", 401)
        else:
            self._verify_key(request, authorization or "")

    def _verify_key(self, request, authorization):
        try:
            date = parsedate_to_datetime(request.header("x-ms-date")).timestamp()
        except (TypeError, ValueError):
            raise Refusal("AuthenticationFailed") from None
        if abs(date - self.clock()) > SKEW_SECONDS:
            raise Refusal("AuthenticationFailed")
        expected = f"SharedKey {self.account}:{self.sign(string_to_sign(self.account, request))}"
        if not hmac.compare_digest(authorization, expected):
            raise Refusal("AuthenticationFailed")

    def _verify_sas(self, query, right, text):
        if not hmac.compare_digest(query["sig"], self.sign(text)):
            raise Refusal("AuthenticationFailed")
        if time.strptime(query.get("se", ""), "%Y-%m-%dT%H:%M:%SZ") < time.gmtime(self.clock()):
            raise Refusal("AuthenticationFailed")
        if right not in query.get("sp", ""):
            raise Refusal("AuthorizationPermissionMismatch")
