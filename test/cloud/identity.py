"""Token services: STS and the metadata services of AWS, Entra ID and the managed identities of Azure.

SQS accepts the temporary keys of AWS until they are told to have expired.
"""

import json
import secrets
import threading
import time
from urllib.parse import parse_qsl

import sigv4
from wire import sized

FORM = "application/x-www-form-urlencoded"
ROLE = "arn:aws:iam::123456789012:role/reader"
ROLE_NAME = "reader"
EXTERNAL_ID = "external-id-example"
WEB_TOKEN = "web.identity.token"
CONTAINER_TOKEN = "Bearer container-token-example"
TENANT = "11111111-2222-4333-8444-555555555555"
CLIENT = "66666666-7777-4888-8999-aaaaaaaaaaaa"
CLIENT_SECRET = "client~secret+example/with=signs&more"
FEDERATED_TOKEN = "federated.token.example"
ROLES = "/latest/meta-data/iam/security-credentials/"
TOKEN_PATH = f"/{TENANT}/oauth2/v2.0/token"
AUDIENCES = ("https://servicebus.azure.net", "https://eventgrid.azure.net", "https://storage.azure.com")
ENTRA_ERRORS = {7000215: "invalid_client", 700016: "unauthorized_client", 90002: "invalid_request"}


class Refused(Exception):
    def __init__(self, status, body, content_type="application/json"):
        super().__init__(status)
        self.reply = sized(status, [("Content-Type", content_type)], body.encode())


class Identity:
    def __init__(self, region, credentials, sqs, clock=time.time):
        self.clock = clock
        self.sqs = sqs
        self.life = 3600
        self.failures = []              # statuses to answer with first
        self.released = threading.Event()
        self.released.set()
        self.sessions = set()
        self.tokens = {}                # bearer token: (audience, end)
        self.own = sigv4.Verifier(credentials, region, "sts", clock)
        self.routes = {
            ("PUT", "/latest/api/token"): self._session,
            ("GET", ROLES): self._role,
            ("GET", ROLES + ROLE_NAME): self._instance_keys,
            ("GET", "/container/credentials"): self._container_keys,
            ("GET", "/metadata/identity/oauth2/token"): self._managed_identity,
            ("POST", TOKEN_PATH): self._entra,
        }

    def order(self, order):
        """life: of what is issued from now on; fail: statuses; hold: answers wait; expire: what SQS accepts."""
        self.life = order.get("life", self.life)
        self.failures += order.get("fail", [])
        if "hold" in order:
            (self.released.clear if order["hold"] else self.released.set)()
        if order.get("expire"):
            self.sqs.verifier.retire_issued()
            self.tokens.clear()

    def bearer_problem(self, authorization, audience):
        """None when the header holds a token that was issued for the audience."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme != "Bearer" or token not in self.tokens:
            return "unknown token"
        granted, end = self.tokens[token]
        if granted != audience:
            return "wrong audience"
        return "expired token" if end <= self.clock() else None

    # -- requests

    def claims(self, request):
        return ((request.method, request.path) in self.routes or request.path.endswith("/oauth2/v2.0/token")
                or (request.path == "/" and (request.header("content-type") or "").startswith(FORM)))

    def answer(self, request):
        self.released.wait(60)
        if self.failures:
            return sized(self.failures.pop(0), [("Content-Type", "text/plain")], b"not now")
        try:
            if request.path == "/":
                return self._sts(request)
            return self.routes.get((request.method, request.path), self._no_tenant)(request)
        except Refused as refused:
            return refused.reply

    # -- AWS

    def _new_keys(self):
        number = secrets.token_hex(8).upper()
        keys = sigv4.Credentials(f"ASIA{number}", secrets.token_urlsafe(30), "session/" + secrets.token_urlsafe(60))
        self.sqs.verifier.issue(keys)
        return keys, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.clock() + self.life))

    def _sts(self, request):
        form = dict(parse_qsl(request.body.decode(), strict_parsing=True))
        action = form.get("Action")
        request.record["target"] = action
        expected = {"Version": "2011-06-15", "RoleArn": ROLE, "RoleSessionName": "damoov"}
        if action == "AssumeRole":
            self._check_signature(request)
            expected["ExternalId"] = EXTERNAL_ID
        elif action == "AssumeRoleWithWebIdentity":
            if request.header("authorization"):
                raise Refused(400, sts_error("IncompleteSignature"), "text/xml")
            if form.get("WebIdentityToken") != WEB_TOKEN:
                raise Refused(400, sts_error("InvalidIdentityToken"), "text/xml")
        if any(form.get(name) != value for name, value in expected.items()):
            raise Refused(403, sts_error("AccessDenied"), "text/xml")
        keys, end = self._new_keys()
        return sized(200, [("Content-Type", "text/xml")], f"""<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <{action}Result>
    <AssumedRoleUser><Arn>{ROLE}/damoov</Arn></AssumedRoleUser>
    <Credentials>
      <AccessKeyId>{keys.access_key_id}</AccessKeyId>
      <SecretAccessKey>{keys.secret_access_key}</SecretAccessKey>
      <SessionToken>{keys.session_token}</SessionToken>
      <Expiration>{end}</Expiration>
    </Credentials>
  </{action}Result>
  <ResponseMetadata><RequestId>c6104cbe-af31-11e0-8154-cbc7ccf896c7</RequestId></ResponseMetadata>
</{action}Response>""".encode())

    def _check_signature(self, request):
        try:
            self.own.verify(request.method, request.path, request.query, request.headers, request.body)
        except sigv4.Refusal as refusal:
            raise Refused(403, sts_error(refusal.code), "text/xml") from None

    def _session(self, request):
        if not 1 <= int(request.header("x-aws-ec2-metadata-token-ttl-seconds") or 0) <= 21600:
            raise Refused(400, "")
        session = secrets.token_urlsafe(40)
        self.sessions.add(session)
        return sized(200, [("Content-Type", "text/plain")], session.encode())

    def _check_session(self, request):
        if request.header("x-aws-ec2-metadata-token") not in self.sessions:
            raise Refused(401, "")

    def _role(self, request):
        self._check_session(request)
        return sized(200, [("Content-Type", "text/plain")], ROLE_NAME.encode())

    def _instance_keys(self, request):
        self._check_session(request)
        return self._metadata_keys()

    def _container_keys(self, request):
        if request.header("authorization") != CONTAINER_TOKEN:
            raise Refused(401, "")
        return self._metadata_keys()

    def _metadata_keys(self):
        keys, end = self._new_keys()
        return as_json(200, {"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": keys.access_key_id,
                             "SecretAccessKey": keys.secret_access_key, "Token": keys.session_token, "Expiration": end})

    # -- Azure

    def _new_token(self, audience):
        token = "eyJ0eXAi." + secrets.token_urlsafe(200) + "." + secrets.token_urlsafe(40)
        self.tokens[token] = audience, self.clock() + self.life
        return token

    def _entra(self, request):
        if not (request.header("content-type") or "").startswith(FORM):
            raise Refused(400, "{}")
        form = dict(parse_qsl(request.body.decode(), strict_parsing=True))
        audience = form.get("scope", "").removesuffix("/.default")
        if form.get("grant_type") != "client_credentials" or audience not in AUDIENCES:
            raise entra_error(400, 90002)
        if form.get("client_id") != CLIENT:
            raise entra_error(400, 700016)
        if form.get("client_secret") != CLIENT_SECRET and not (
                form.get("client_assertion") == FEDERATED_TOKEN and form.get("client_assertion_type", "").endswith(":jwt-bearer")):
            raise entra_error(401, 7000215)
        return as_json(200, {"token_type": "Bearer", "expires_in": self.life, "ext_expires_in": self.life,
                             "access_token": self._new_token(audience)})

    def _no_tenant(self, request):
        raise entra_error(400, 90002)

    def _managed_identity(self, request):
        query = dict(parse_qsl(request.query))
        if request.header("metadata") != "true" or query.get("api-version") != "2018-02-01":
            raise Refused(400, json.dumps({"error": "invalid_request"}))
        if query.get("resource") not in AUDIENCES or query.get("client_id", CLIENT) != CLIENT:
            raise Refused(400, json.dumps({"error": "invalid_resource"}))
        return as_json(200, {"access_token": self._new_token(query["resource"]), "client_id": CLIENT,
                             "expires_in": str(self.life), "expires_on": str(int(self.clock() + self.life)),
                             "resource": query["resource"], "token_type": "Bearer"})


def as_json(status, value):
    return sized(status, [("Content-Type", "application/json; charset=utf-8")], json.dumps(value).encode())


def entra_error(status, number):
    return Refused(status, json.dumps({
        "error": ENTRA_ERRORS[number], "error_codes": [number], "trace_id": "0",
        "error_description": f"AADSTS{number}: what the service has to say, {CLIENT} among it."}))


def sts_error(code):
    return (f"<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>{code}</Code>"
            f"<Message>words</Message></Error><RequestId>0</RequestId></ErrorResponse>")
