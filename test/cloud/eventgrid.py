"""Event Grid, namespace topics: pull delivery, behind tokens that are verified here."""

import base64
import binascii
import hashlib
import hmac
import itertools
import json
import re
import secrets
import threading
import time
import uuid
from datetime import datetime, timezone
from urllib.parse import parse_qsl, unquote

import faults
from wire import Gone, sized

KEY = "ZXZlbnQtZ3JpZC1wcmltYXJ5LWtleS1vZi0zMi1ieXRlcyE="
SECONDARY_KEY = "ZXZlbnQtZ3JpZC1zZWNvbmQta2V5LW9mLTMyLWJ5dGVzISE="
AUDIENCE = "https://eventgrid.azure.net"
VERSIONS = ("2023-06-01-preview", "2023-10-01-preview", "2023-11-01", "2024-06-01")
MAX_EVENTS, MIN_WAIT, MAX_WAIT = 100, 10, 120
RELEASE_DELAYS = (0, 10, 60, 600, 3600)
PATH = re.compile(r"/topics/([^/:]+)(?:/eventsubscriptions/([^/:]+))?:(\w+)")
PARAMETERS = {
    "receive": {"maxEvents", "maxWaitTime"},
    "acknowledge": set(),
    "release": {"releaseDelayInSeconds"},
    "reject": set(),
    "renewLock": set(),
    "publish": set(),
}




class EventGridError(Exception):
    def __init__(self, status, code, message, headers=()):
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = list(headers)


class TokenFailure(Exception):
    """A lock token that does not work, inside a reply that does."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code
        self.message = message


def bad_request(message):
    return EventGridError(400, "BadRequest", message)


def invalid(parameter):
    return EventGridError(400, "ArgumentInvalid", f"Invalid {parameter} parameter")


# ---- events and their locks ---------------------------------------------------------------------

class Event:
    def __init__(self, text, number):
        self.text = text            # JSON, as it will stand in replies
        self.number = number
        self.delivery_count = 0
        self.token = None           # of the newest delivery
        self.locked = False
        self.hidden_until = 0.0     # monotonic: the end of the lock, or of a release's delay


class Subscription:
    SETTINGS = ("lock_seconds", "max_delivery_count", "wait_cap", "notice_leavers", "reorder")

    def __init__(self, name):
        self.name = name
        self.lock_seconds = 60
        self.max_delivery_count = 10
        self.gone = False
        self.wait_cap = None        # seconds after which an empty receive is answered early
        self.notice_leavers = True
        self.reorder = False
        self.changed = threading.Condition()
        self.numbers = itertools.count()
        self.waiting_polls = self.sent = self.deleted = self.dropped = self.receives = self.empty_receives = 0
        self.purge()

    def purge(self):
        with self.changed:
            self.events = []

    def close(self):
        with self.changed:
            self.gone = True
            self.changed.notify_all()

    def set(self, **settings):
        if unknown := set(settings) - set(self.SETTINGS):
            raise ValueError(f"unknown settings {sorted(unknown)}")
        with self.changed:
            for name, value in settings.items():
                setattr(self, name, value)
            self.changed.notify_all()

    def put(self, texts):
        with self.changed:
            fresh = [Event(text, next(self.numbers)) for text in texts]
            self.events += fresh
            self.sent += len(fresh)
            self.changed.notify_all()
        return fresh

    def receive(self, limit, wait, connection):
        """Answers as soon as there is anything; else after the whole wait."""
        begin = time.monotonic()
        with self.changed:
            self.waiting_polls += 1
            try:
                while True:
                    found = self._hand_out(limit, connection)
                    allowed = wait if self.wait_cap is None else min(wait, self.wait_cap)
                    left = begin + allowed - time.monotonic()
                    if found or left <= 0:
                        self.receives += 1
                        self.empty_receives += not found
                        return found
                    self.changed.wait(min(left, self._next_surfacing()))
            finally:
                self.waiting_polls -= 1

    def _hand_out(self, limit, connection):
        if self.gone:
            raise not_found(f"Event subscription '{self.name}'")
        if self.notice_leavers and not connection.alive():
            raise Gone
        now = time.monotonic()
        self._drop_exhausted(now)
        ready = [event for event in self.events if event.hidden_until <= now]
        if self.reorder:
            ready.reverse()
        found = ready[:limit]
        for event in found:
            event.delivery_count += 1
            event.token = new_token()
            event.locked = True
            event.hidden_until = now + self.lock_seconds
        return found

    def _drop_exhausted(self, now):
        """Delivered as often as is allowed, and never acknowledged."""
        exhausted = [event for event in self.events
                     if event.hidden_until <= now and event.delivery_count >= self.max_delivery_count]
        self.dropped += len(exhausted)
        for event in exhausted:
            self.events.remove(event)

    def _next_surfacing(self):
        """Seconds to sleep at most; short enough to notice a client that leaves."""
        now = time.monotonic()
        return min([max(event.hidden_until - now, 0.001) for event in self.events] + [0.2])

    def settle(self, operation, token, delay=0):
        check_token(token)
        with self.changed:
            now = time.monotonic()
            event = next((event for event in self.events if event.token == token), None)
            if event is None or not event.locked or event.hidden_until <= now:
                raise TokenFailure("TokenLost", "Token has expired.")
            if operation == "renewLock":
                event.hidden_until = now + self.lock_seconds
            elif operation == "release":
                event.locked = False
                event.hidden_until = now + delay
            else:
                self.events.remove(event)
                self.deleted += operation == "acknowledge"
                self.dropped += operation == "reject"
            self.changed.notify_all()

    def expire_locks(self):
        with self.changed:
            for event in self.events:
                if event.locked:
                    event.locked, event.hidden_until = False, 0.0
            self.changed.notify_all()

    def counts(self):
        with self.changed:
            hidden = sum(event.hidden_until > time.monotonic() for event in self.events)
            return {"visible": len(self.events) - hidden, "in_flight": hidden, "deleted": self.deleted,
                    "dropped": self.dropped, "sent": self.sent, "receives": self.receives,
                    "empty_receives": self.empty_receives, "waiting_polls": self.waiting_polls}


def new_token():
    """Opaque base64; with the characters that a careless client gets wrong."""
    while True:
        inner = b"\n&\n$" + str(uuid.uuid4()).upper().encode() + b"\x12\x12\n\x10" + secrets.token_bytes(17)
        token = base64.b64encode(inner).decode()
        if "+" in token and "/" in token:
            return token


def check_token(token):
    try:
        known = base64.b64decode(token, validate=True).startswith(b"\n&\n$")
    except binascii.Error:
        known = False
    if not known:
        raise TokenFailure("BadToken", "Cannot decode lockToken")


def not_found(what):
    return EventGridError(404, "NotFound", f"{what} is not found")


# ---- CloudEvents --------------------------------------------------------------------------------

FORMS = ("data", "data_base64", "string")


def cloud_event(text, form, number):
    """The text of an event around a notification; the order of its members is nobody's business."""
    members = [
        ("specversion", '"1.0"'),
        ("source", '"/damoov/tests"'),
        ("id", json.dumps(str(uuid.uuid4()))),
        ("type", '"Damoov.Notification"'),
        ("time", json.dumps(datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"))),
    ]
    if not is_json(text) and form == "data":
        form = "data_base64"
    if form == "data":
        members.append(("data", text))
    elif form == "string":
        members.append(("data", json.dumps(text, ensure_ascii=False)))
    else:
        members.append(("datacontenttype", '"application/octet-stream"'))
        members.append(("data_base64", json.dumps(base64.b64encode(text.encode("utf-8", "surrogateescape")).decode())))
    turn = number % len(members)
    return as_object(members[turn:] + members[:turn])


def is_json(text):
    try:
        json.loads(text)
    except ValueError:
        return False
    except RecursionError:
        pass
    return True


def as_object(members):
    return "{" + ",".join(f'"{name}":{value}' for name, value in members) + "}"


# ---- authorization ------------------------------------------------------------------------------

class Verifier:
    """Keys, or tokens signed with one of them for something the request lies below."""

    def __init__(self, clock):
        self.identity = None        # who issues bearer tokens
        self.keys = {"access_key": KEY, "secondary_access_key": SECONDARY_KEY}
        self.clock = clock

    def verify(self, request):
        header = request.header("authorization") or ""
        scheme, _, value = header.partition(" ")
        if scheme == "SharedAccessKey":
            problem = None if value in self.keys.values() else "key is not known"
        elif scheme == "SharedAccessSignature":
            problem = self._token_problem(value, request)
        elif scheme == "Bearer" and self.identity:
            problem = self.identity.bearer_problem(header, AUDIENCE)
        else:
            problem = "no authorization"
        if problem:
            # as a careless service might: with the credential itself
            raise EventGridError(401, "Unauthorized", f"{problem}: {header}")

    def _token_problem(self, token, request):
        match = re.fullmatch(r"(r=([^&=]+)&e=([^&=]+))&s=([^&=]+)", token)
        if not match:
            return "malformed token"
        signed, resource, expiry, signature = match[1], unquote(match[2]), unquote(match[3]), unquote(match[4])
        request.record["expires"] = expiry
        if not any(hmac.compare_digest(self._signature(key, signed), signature) for key in self.keys.values() if key):
            return "wrong signature"
        if expiry_seconds(expiry) <= self.clock():
            return "token has expired"
        if not self._covers(resource, request):
            return "token is for another resource"
        return None

    @staticmethod
    def _signature(key, text):
        return base64.b64encode(hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()).decode()

    @staticmethod
    def _covers(resource, request):
        """By whole path segments, whatever the scheme."""
        resource = re.sub(r"^https?://", "", resource.lower()).rstrip("/")
        wanted = (request.header("host") + request.path).lower()
        return wanted.startswith(resource) and wanted[len(resource):][:1] in ("/", ":")


def expiry_seconds(text):
    for shape in ("%Y-%m-%dT%H:%M:%S", "%m/%d/%Y %I:%M:%S %p"):
        try:
            return datetime.strptime(text.removesuffix("Z"), shape).replace(tzinfo=timezone.utc).timestamp()
        except ValueError:
            pass
    return 0


# ---- service ------------------------------------------------------------------------------------

class EventGrid:
    SETTINGS = ("access_key", "secondary_access_key", "failure_shape")

    def __init__(self, fault_book, clock=time.time):
        self.faults = fault_book
        self.clock = clock
        self.verifier = Verifier(clock)
        self.subscriptions = {}     # (topic, name)
        self.failure_shape = "error"
        self.replies = itertools.count()

    def create(self, name, **settings):
        """Makes the subscription "topic/name", or changes the settings of the one there is."""
        topic, _, subscription = name.partition("/")
        found = self.subscriptions.setdefault((topic, subscription), Subscription(subscription))
        found.set(**settings)
        return found

    def set(self, settings):
        self.failure_shape = settings.get("failure_shape", self.failure_shape)
        self.verifier.keys.update({name: settings[name] for name in self.verifier.keys if name in settings})

    def drop(self, name):
        self.queue(name).close()
        del self.subscriptions[tuple(name.split("/"))]

    def queue(self, name):
        found = self.subscriptions.get(tuple(name.split("/")))
        if found is None:
            raise not_found(f"Event subscription '{name}'")
        return found

    def publish(self, name, texts, order):
        """Notifications in CloudEvents, in one form or in all by turns; raw: the texts are the events."""
        form, raw = order.get("form"), order.get("raw", False)
        if form is not None and form not in FORMS:
            raise ValueError(f"form is one of {list(FORMS)}")
        if raw and not all(is_json(text) for text in texts):
            raise ValueError("an event is JSON")
        first = self.queue(name).sent
        return self.queue(name).put([text if raw else cloud_event(text, form or FORMS[number % len(FORMS)], number)
                                     for number, text in enumerate(texts, first)])

    # -- one request

    def claims(self, request):
        return request.path.startswith("/topics/")

    def answer(self, request):
        try:
            subscription, operation, parameters = self._read(request)
            fault = self.faults.take("eventgrid", (operation, request.record["queue"]))
            if fault:
                return self._misbehave(fault, request, subscription, operation, parameters)
            return self._perform(request, subscription, operation, parameters)
        except EventGridError as error:
            return self._failure(error)

    def _read(self, request):
        match = PATH.fullmatch(unquote(request.path))
        topic, subscription, operation = match.groups() if match else (None, None, None)
        request.record["target"] = operation
        request.record["queue"] = f"{topic}/{subscription}"
        parameters = dict(parse_qsl(request.query, keep_blank_values=True))
        request.record["parameters"] = parameters
        if operation not in PARAMETERS or (operation == "publish") != (subscription is None):
            raise EventGridError(404, "NotFound", "The path is not found")
        if request.method != "POST":
            raise EventGridError(405, "MethodNotAllowed", "Only POST is allowed")
        if request.header("content-length") is None:
            raise EventGridError(411, "LengthRequired", "A length is required")
        self.verifier.verify(request)
        if parameters.pop("api-version", None) not in VERSIONS:
            raise bad_request("Unsupported api-version")
        if unknown := set(parameters) - PARAMETERS[operation]:
            raise bad_request(f"Unknown parameter {min(unknown)}")
        if operation not in ("receive", "publish"):
            request.record["tokens"] = read_tokens(request)
        return self._subscription(topic, subscription), operation, parameters

    def _subscription(self, topic, name):
        if topic not in {known for known, _ in self.subscriptions}:
            raise not_found(f"Topic '{topic}'")
        if name is not None and (topic, name) not in self.subscriptions:
            raise not_found(f"Event subscription '{name}'")
        return self.subscriptions.get((topic, name))

    def _perform(self, request, subscription, operation, parameters, spoiled=0, spoil=None):
        if operation == "publish":
            raise bad_request("'data' attribute is required")    # events come by the control interface
        if operation == "receive":
            return self._receive(subscription, request, parameters)
        return self._settle(subscription, operation, request, parameters, spoiled, spoil)

    def _receive(self, subscription, request, parameters):
        if request.body or request.header("content-type"):
            raise bad_request("A receive has no body")
        limit = number(parameters, "maxEvents", 1, 1, MAX_EVENTS)
        wait = number(parameters, "maxWaitTime", 60, MIN_WAIT, MAX_WAIT)
        found = subscription.receive(limit, wait, request.connection)
        request.record["events"] = len(found)
        turn = next(self.replies)
        items = ",".join(delivered(event, turn + at) for at, event in enumerate(found))
        return sized(200, [("Content-Type", "application/json; charset=utf-8")], f'{{"value":[{items}]}}'.encode())

    def _settle(self, subscription, operation, request, parameters, spoiled, spoil):
        """The first `spoiled` tokens fail with `spoil` without being carried out."""
        delay = number(parameters, "releaseDelayInSeconds", 0, 0, 3600)
        if delay not in RELEASE_DELAYS:
            raise invalid("releaseDelayInSeconds")
        succeeded, failed = [], []
        for at, token in enumerate(request.record["tokens"]):
            try:
                if at < spoiled:
                    raise spoil
                subscription.settle(operation, token, delay)
                succeeded.append(token)
            except TokenFailure as failure:
                failed.append(self._told(token, failure))
        members = [("succeededLockTokens", json.dumps(succeeded)), ("failedLockTokens", json.dumps(failed))]
        if next(self.replies) % 2:
            members.reverse()
        return sized(200, [("Content-Type", "application/json")], as_object(members).encode())

    def _told(self, token, failure):
        if self.failure_shape == "flat":
            return {"lockToken": token, "errorCode": failure.code, "errorDescription": failure.message}
        return {"lockToken": token, "error": {"code": failure.code, "message": failure.message}}

    def _failure(self, error):
        now = datetime.fromtimestamp(self.clock(), timezone.utc)
        body = {"error": {"code": error.code, "message": error.message,
                          "timestamp_utc": now.strftime("%Y-%m-%dT%H:%M:%S.%f000+00:00"),
                          "tracking_id": str(uuid.uuid4()).upper()}}
        headers = [("Content-Type", "application/json; charset=utf-8"), ("broker-errorcode", error.code), *error.headers]
        return sized(error.status, headers, json.dumps(body, separators=(",", ":")).encode())

    # -- faults

    def _misbehave(self, fault, request, subscription, operation, parameters):
        def perform():
            return self._perform(request, subscription, operation, parameters)

        if fault.mode == "error":
            raise EventGridError(fault.number("status", 500), fault.code or "InternalServerError",
                                 fault.message or "The stand-in was told to fail.",
                                 faults.retry_after(fault, self.clock()))
        if fault.mode == "fail_tokens":
            failure = TokenFailure(fault.code or "InternalServerError", fault.message or "The stand-in was told to fail.")
            return self._perform(request, subscription, operation, parameters, fault.number("count", 1), failure)
        if fault.mode == "recorded":
            headers = {name: value for name, value in fault.headers.items() if name not in ("Content-Length", "Date")}
            return sized(fault.status, list(headers.items()), fault.body.encode())
        if fault.mode == "expire_locks":
            subscription.expire_locks()
            return perform()
        return faults.WAYS[fault.mode](fault, request, perform)


MODES = {"error", "fail_tokens", "expire_locks", "recorded", *faults.WAYS}


def number(parameters, name, default, low, high):
    text = parameters.get(name)
    if text is None:
        return default
    if not text.isdecimal():
        raise bad_request("Error parsing query parameters: invalid digit found in string")
    if not low <= int(text) <= high:
        raise invalid(name)
    return int(text)


def read_tokens(request):
    if request.header("content-type") != "application/json":
        raise EventGridError(415, "UnsupportedMediaType", "The body is application/json")
    try:
        body = json.loads(request.body)
    except ValueError:
        raise bad_request("The body is not JSON") from None
    tokens = body.get("lockTokens") if isinstance(body, dict) else None
    if not isinstance(tokens, list) or set(body) != {"lockTokens"} or not tokens \
            or len(tokens) > MAX_EVENTS or not all(isinstance(token, str) for token in tokens):
        raise bad_request("The body is {\"lockTokens\":[...]}")
    return tokens


def delivered(event, turn):
    """One item of a reply. Bit by bit of `turn` another order of members."""
    properties = [("lockToken", json.dumps(event.token)), ("deliveryCount", event.delivery_count)]
    if turn % 2:
        properties.reverse()
    members = [("brokerProperties", as_object(properties)), ("event", event.text)]
    if turn // 2 % 2:
        members.reverse()
    return as_object(members)
