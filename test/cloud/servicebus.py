"""Azure Service Bus: queues and topic subscriptions over HTTPS, with locks and dead letters."""

import base64
import hashlib
import hmac
import json
import re
import threading
import time
import uuid
from collections import deque
from email.utils import formatdate
from urllib.parse import parse_qs, unquote, urlsplit

import faults
from wire import Gone, chunked, in_chunks, sized

HOST = "stand-in.servicebus.windows.net"        # Location names it: nobody may go there
XML = "application/xml; charset=utf-8"
AUDIENCE = "https://servicebus.azure.net"
DEAD_LETTERS = "/$deadletterqueue"
FOR_EVER = "922337203685.47754"                 # as the service writes it; no float of Python's prints so
ENTITY = re.compile(r"/(.+)/messages(?:/(head|[^/]+/[^/]+))?", re.IGNORECASE)
OPERATIONS = {("POST", "head"): "Receive", ("DELETE", "head"): "ReceiveAndDelete", ("POST", ""): "Send",
              ("DELETE", "lock"): "Complete", ("PUT", "lock"): "Unlock", ("POST", "lock"): "Renew"}
BATCH = "application/vnd.microsoft.servicebus.json"
API_VERSIONS = ("2017-04", "2021-05")
DESCRIPTION = (
    f'<entry xmlns="http://www.w3.org/2005/Atom"><id>https://{HOST}/{{path}}?api-version=2021-05</id><title type="text">{{path}}</title>'
    '<published>2026-01-01T00:00:00Z</published><author><name>stand-in</name></author>'
    f'<link rel="self" href="https://{HOST}/{{path}}?api-version=2021-05"/><content type="application/xml"><{{kind}}Description '
    'xmlns="http://schemas.microsoft.com/netservices/2010/10/servicebus/connect" xmlns:i="http://www.w3.org/2001/XMLSchema-instance">'
    '<LockDuration>PT1M</LockDuration><MessageCount>{all}</MessageCount><Status>Active</Status>'
    '<CountDetails xmlns:d2p1="http://schemas.microsoft.com/netservices/2011/06/servicebus">'
    '<d2p1:ActiveMessageCount>{active}</d2p1:ActiveMessageCount><d2p1:DeadLetterMessageCount>{dead}</d2p1:DeadLetterMessageCount>'
    '<d2p1:ScheduledMessageCount>0</d2p1:ScheduledMessageCount><d2p1:TransferMessageCount>0</d2p1:TransferMessageCount>'
    '<d2p1:TransferDeadLetterMessageCount>0</d2p1:TransferDeadLetterMessageCount></CountDetails></{kind}Description></content></entry>')


class BusError(Exception):
    def __init__(self, status, detail, headers=()):
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = list(headers)


def no_such_entity():
    return BusError(404, "No service is hosted at the specified address.")


def lock_lost():
    return BusError(404, "The lock supplied is invalid. Either the lock expired, or the message has already been removed.")


# ---- tokens -------------------------------------------------------------------------------------

class Policy:
    """A shared access policy of the namespace, or of what lies below a path."""

    def __init__(self, name, primary, secondary=None, claims=("Listen",), path=""):
        self.name = name
        self.keys = [key for key in (primary, secondary) if key]
        self.claims = set(claims)
        self.path = path.lower()


class Gate:
    """Judges tokens over the text of sr as it came."""

    def __init__(self, policies, identity, clock):
        self.identity = identity                # knows the tokens of Entra ID
        self.policies = {policy.name: policy for policy in policies}
        self.clock = clock

    def admit(self, request, claim, refusal=None):
        """Which key has signed: 0 the primary, 1 the secondary; "bearer" for a token of Entra ID."""
        header = request.header("authorization")
        if not header:
            raise BusError(401, "MissingToken: The security token is missing.")
        if header.startswith("Bearer "):
            if problem := self.identity.bearer_problem(header, AUDIENCE):
                raise BusError(401, f"InvalidToken: {problem}")
            return "bearer"
        scheme, _, text = header.partition(" ")
        pairs = [item.partition("=") for item in text.split("&")]
        fields = {name: value for name, _, value in pairs}
        if scheme != "SharedAccessSignature" or len(fields) != len(pairs) or set(fields) != {"sr", "sig", "se", "skn"} \
                or not fields["se"].isascii() or not fields["se"].isdecimal():
            raise BusError(401, "MalformedToken: The security token is malformed.")
        policy = self.policies.get(unquote(fields["skn"]))
        signer = policy and next((at for at, key in enumerate(policy.keys) if fits(key, fields)), None)
        if signer is None:
            raise BusError(401, "InvalidSignature: The token has an invalid signature.")
        if int(fields["se"]) <= self.clock():
            raise BusError(401, "ExpiredToken: The token is expired.")
        self._check_scope(unquote(fields["sr"]), request, policy)
        if claim not in policy.claims:
            raise BusError(401, refusal or f"Unauthorized access. '{claim}' claim(s) are required to perform this operation.")
        return signer

    def _check_scope(self, resource, request, policy):
        parts = urlsplit(resource)
        path = unquote(request.path)
        if parts.scheme.lower() not in ("http", "https", "sb") or parts.netloc.lower() != request.header("host").lower() \
                or not within(path, parts.path) or not within(path, policy.path):
            raise BusError(401, "InvalidAudience: The token is for another resource.")


def fits(key, fields):
    digest = hmac.new(key.encode(), f"{fields['sr']}\n{fields['se']}".encode(), hashlib.sha256).digest()
    return hmac.compare_digest(base64.b64encode(digest).decode(), unquote(fields["sig"]))


def within(path, outer):
    """By whole names, in any case."""
    outer = outer.lower().rstrip("/")
    return not outer or path.lower() == outer or path.lower().startswith(outer + "/")


# ---- entities -----------------------------------------------------------------------------------

class Message:
    def __init__(self, body, number, topic_number, enqueued, content_type=None, properties=None, broker=None):
        self.body = body
        self.number = number
        self.topic_number = topic_number        # 0 in a queue
        self.enqueued = enqueued
        self.content_type = content_type
        self.properties = dict(properties or {})
        self.broker = {"MessageId": uuid.uuid4().hex, **(broker or {})}
        self.delivery_count = 0
        self.lock_token = None
        self.locked_until = 0.0                 # on the monotonic clock

    def broker_properties(self, clock, locked):
        members = {"DeliveryCount": self.delivery_count, "EnqueuedSequenceNumber": self.topic_number,
                   "EnqueuedTimeUtc": rfc1123(self.enqueued), "SequenceNumber": self.number, "State": "Active",
                   "TimeToLive": None, **self.broker}
        if locked:
            members["LockToken"] = self.lock_token
            members["LockedUntilUtc"] = rfc1123(clock() + self.locked_until - time.monotonic())
        text = json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return text.replace('"TimeToLive":null', f'"TimeToLive":{FOR_EVER}')


def rfc1123(seconds):
    return formatdate(seconds, usegmt=True)


class Entity:
    """A queue or a subscription; messages leave it when they are completed or dead."""

    def __init__(self, path, clock, dead=None):
        self.path = path
        self.clock = clock
        self.dead = dead                        # None: this is the dead-letter queue itself
        self.lock_seconds = 60
        self.max_delivery_count = 10
        self.requires_session = False
        self.first_number = 1
        self.gone = False
        self.changed = threading.Condition()
        self.sent = self.completed = self.abandoned = self.renewed = self.receives = self.empty_receives = 0
        self.receiving = self.most_receiving = self.waiting_polls = 0
        self.purge()

    def purge(self):
        with self.changed:
            self.messages = {}

    def close(self):
        with self.changed:
            self.gone = True
            self.changed.notify_all()

    def put(self, bodies, topic_number=0, **described):
        with self.changed:
            fresh = [Message(body, self._number(), topic_number, self.clock(), **described) for body in bodies]
            self.messages.update((message.number, message) for message in fresh)
            self.changed.notify_all()
        return fresh

    def _number(self):
        self.sent += 1
        return self.first_number + self.sent - 1

    def receive(self, wait, connection, destroy=False):
        """The first message that is free, after at most so many seconds; None when there is none."""
        deadline = time.monotonic() + wait
        with self.changed:
            self.waiting_polls += 1
            try:
                while True:
                    message = self._take(connection, destroy)
                    left = deadline - time.monotonic()
                    if message or left <= 0:
                        self.receives += 1
                        self.empty_receives += message is None
                        return message
                    self.changed.wait(min(left, self._next_expiry()))
            finally:
                self.waiting_polls -= 1

    def _take(self, connection, destroy):
        if self.gone:
            raise no_such_entity()
        if not connection.alive():
            raise Gone
        self._bury()
        now = time.monotonic()
        message = next((message for message in self.messages.values() if message.locked_until <= now), None)
        if message:
            message.delivery_count += 1
            message.lock_token = str(uuid.uuid4())
            message.locked_until = now + self.lock_seconds
            if destroy:
                del self.messages[message.number]
        return message

    def _bury(self):
        """What was delivered too often goes to the dead letters as soon as it is free."""
        if not self.dead:
            return
        now = time.monotonic()
        for message in list(self.messages.values()):
            if message.locked_until <= now and message.delivery_count >= self.max_delivery_count:
                del self.messages[message.number]
                message.properties |= {"DeadLetterReason": "MaxDeliveryCountExceeded",
                                       "DeadLetterErrorDescription": "Message could not be consumed."}
                self.dead.inherit(message)

    def inherit(self, message):
        with self.changed:
            message.locked_until = 0.0
            self.messages[message.number] = message
            self.sent += 1
            self.changed.notify_all()

    def _next_expiry(self):
        """Seconds to sleep at most; short enough to notice a client that leaves."""
        now = time.monotonic()
        left = [message.locked_until - now for message in self.messages.values() if message.locked_until > now]
        return min([0.2, *(max(0.001, seconds) for seconds in left)])

    def locked(self, name, token):
        """The message of a lock URI, if the lock still holds."""
        for message in self.messages.values():
            if name in (str(message.number), message.broker["MessageId"]) and message.lock_token == token.lower() \
                    and message.locked_until > time.monotonic():
                return message
        raise lock_lost()

    def complete(self, name, token):
        with self.changed:
            del self.messages[self.locked(name, token).number]
            self.completed += 1

    def unlock(self, name, token):
        with self.changed:
            self.locked(name, token).locked_until = 0.0
            self.abandoned += 1
            self.changed.notify_all()

    def renew(self, name, token):
        with self.changed:
            self.locked(name, token).locked_until = time.monotonic() + self.lock_seconds
            self.renewed += 1

    def described(self):
        """As the service describes it; what is locked is active, too."""
        with self.changed:
            self._bury()
            dead = len(self.dead.messages) if self.dead else 0
            kind = "Subscription" if "/subscriptions/" in self.path.lower() else "Queue"
            return DESCRIPTION.format(path=self.path, kind=kind, all=len(self.messages) + dead,
                                      active=len(self.messages), dead=dead)

    def counts(self):
        with self.changed:
            self._bury()
            now = time.monotonic()
            in_flight = sum(message.locked_until > now for message in self.messages.values())
            return {"visible": len(self.messages) - in_flight, "in_flight": in_flight, "deleted": self.completed,
                    **{name: getattr(self, name) for name in
                       ("sent", "receives", "empty_receives", "waiting_polls", "receiving", "most_receiving",
                        "abandoned", "renewed")}}


class Script:
    """Recorded replies, to be asked for in order; a lock that was renewed can be renewed again."""

    def __init__(self, exchanges):
        self.exchanges = deque(exchanges)
        self.renewed = None
        self.surprises = []
        self.lock = threading.Lock()

    def answer(self, request, operation):
        with self.lock:
            expected = self.exchanges[0] if self.exchanges else None
            if expected and (request.method, request.path.lower()) == \
                    (expected["method"], expected["uri"].partition("?")[0].lower()):
                if operation == "Renew":
                    self.renewed = expected
                return recorded(self.exchanges.popleft())
            if operation == "Renew" and self.renewed and request.path.lower() == self.renewed["uri"].partition("?")[0].lower():
                return recorded(self.renewed)
            if operation == "Receive":
                return nothing()
            self.surprises.append(f"{request.method} {request.target}")
        raise lock_lost()


def recorded(exchange):
    headers = [(name, value) for name, value in exchange["headers"].items()
               if name.lower() not in ("date", "transfer-encoding", "content-length", "connection")]
    body = exchange["body"].encode()
    framed = any(name.lower() == "transfer-encoding" for name in exchange["headers"])
    return chunked(exchange["status"], headers, [in_chunks(body)]) if framed else sized(exchange["status"], headers, body)


# ---- service ------------------------------------------------------------------------------------

class ServiceBus:
    def __init__(self, policies, identity, fault_book, clock=time.time):
        self.clock = clock
        self.faults = fault_book
        self.gate = Gate(policies, identity, clock)
        self.entities = {}                      # by path in lower case
        self.topics = {}                        # numbers of topics
        self.scripts = {}

    def create(self, path, lock_seconds=None, max_delivery_count=None, requires_session=None, first_number=None):
        """Makes a queue ("trips") or a subscription ("topic/subscriptions/name"), or changes the one there is."""
        if path.lower() not in self.entities:
            dead = Entity(path + DEAD_LETTERS, self.clock)
            self.entities[dead.path.lower()] = dead
            self.entities[path.lower()] = Entity(path, self.clock, dead)
        entity = self.entities[path.lower()]
        for part in (entity, entity.dead):
            if part and lock_seconds is not None:
                part.lock_seconds = lock_seconds
        for name, value in (("max_delivery_count", max_delivery_count), ("requires_session", requires_session),
                            ("first_number", first_number)):
            if value is not None:
                setattr(entity, name, value)
        return entity

    def drop(self, path):
        self.queue(path).close()
        for name in (path, path + DEAD_LETTERS):
            self.entities.pop(name.lower(), None)

    def queue(self, path):
        try:
            return self.entities[path.lower()]
        except KeyError:
            raise no_such_entity() from None

    def publish(self, path, notifications, order):
        return self.send(path, [as_bytes(text, order) for text in notifications], **described(order))

    def send(self, path, bodies, **described):
        """To a queue, or to every subscription of a topic; also to one subscription alone."""
        if path.lower() in self.entities:
            return self.queue(path).put(bodies, **described)
        below = [entity for name, entity in self.entities.items()
                 if name.startswith(f"{path.lower()}/subscriptions/") and entity.dead]
        if not below:
            raise no_such_entity()
        sent = []
        for body in bodies:
            number = self.topics[path.lower()] = self.topics.get(path.lower(), 0) + 1
            broker = {"MessageId": uuid.uuid4().hex, **(described.get("broker") or {})}
            for entity in below:
                sent += entity.put([body], number, **{**described, "broker": broker})
        return sent

    # -- one request

    def claims(self, request):
        return ENTITY.fullmatch(unquote(request.path)) is not None or self._described(request) is not None

    def _described(self, request):
        """The entity that is asked about, not for messages."""
        return self.entities.get(unquote(request.path).strip("/").lower())

    def _describe(self, request, entity):
        request.record["target"] = "GetEntity"
        request.record["parameters"] = {"entity": entity.path, **query_of(request)}
        if request.method != "GET":
            raise BusError(405, "The method is not allowed here.")
        if query_of(request).get("api-version") not in API_VERSIONS:
            raise BusError(400, "The API version is not supported.")
        # the role that a receiver needs is not enough
        if self.gate.admit(request, "Manage", "Manage,EntityRead claims required for this operation.") == "bearer":
            raise BusError(401, "SubCode=40100: Unauthorized : Unauthorized access for 'GetEntity'.")
        return self._served(request, "GetEntity", entity.path, "")

    def answer(self, request):
        if entity := self._described(request):
            try:
                return self._describe(request, entity)
            except BusError as error:
                return failure(error, self.clock())
        entity = None
        try:
            path, rest, operation = parse(request)
            entity = self.entities.get(path.lower())
            request.record["target"] = operation
            request.record["parameters"] = parameters = {"entity": path, **query_of(request)}
            check_framing(request)
            parameters["key"] = self.gate.admit(request, "Send" if operation == "Send" else "Listen")
            parameters["token"] = hashlib.sha256(request.header("authorization").encode()).hexdigest()[:16]
            if entity and operation.startswith("Receive"):
                with entity.changed:
                    entity.receiving += 1
                    entity.most_receiving = max(entity.most_receiving, entity.receiving)
                try:
                    return self._served(request, operation, path, rest)
                finally:
                    with entity.changed:
                        entity.receiving -= 1
            return self._served(request, operation, path, rest)
        except BusError as error:
            return failure(error, self.clock())

    def _served(self, request, operation, path, rest):
        fault = self.faults.take("servicebus", (operation, path))
        if fault:
            return self._misbehave(fault, request, operation, path, rest)
        return self._perform(request, operation, path, rest)

    def _perform(self, request, operation, path, rest):
        if operation == "GetEntity":
            return sized(200, [("Content-Type", "application/atom+xml;type=entry;charset=utf-8")], self.queue(path).described().encode())
        if path.lower() in self.scripts:
            return self.scripts[path.lower()].answer(request, operation)
        if operation == "Send":
            return self._send(request, path)
        entity = self.queue(path)
        if entity.requires_session:
            raise BusError(400, "It is not possible for an entity that requires sessions to create a non-sessionful message receiver.")
        if operation in ("Receive", "ReceiveAndDelete"):
            return self._receive(request, entity, operation)
        name, _, token = rest.partition("/")
        {"Complete": entity.complete, "Unlock": entity.unlock, "Renew": entity.renew}[operation](unquote(name), token)
        return empty(200)

    def _receive(self, request, entity, operation):
        destroy = operation == "ReceiveAndDelete"
        message = entity.receive(timeout_of(request), request.connection, destroy)
        if not message:
            return nothing()
        headers = [("Server", "Microsoft-HTTPAPI/2.0"), ("Strict-Transport-Security", "max-age=31536000")]
        if message.content_type:
            headers.append(("Content-Type", message.content_type))
        if not destroy:
            headers.append(("Location", f"https://{HOST}/{entity.path}/messages/{message.number}/{message.lock_token}"))
        headers.append(("BrokerProperties", message.broker_properties(self.clock, not destroy)))
        headers += [(name, literal(value)) for name, value in message.properties.items()]
        return chunked(200 if destroy else 201, headers, [in_chunks(message.body)])

    def _send(self, request, path):
        content_type = request.header("content-type")
        if content_type == BATCH:
            for item in json.loads(request.body):
                self.send(path, [item["Body"].encode()], broker=item.get("BrokerProperties"),
                             properties=item.get("UserProperties"))
            return empty(201)
        broker = json.loads(request.header("brokerproperties") or "{}")
        self.send(path, [request.body], content_type=content_type, broker=broker, properties=custom(request))
        return empty(201)

    # -- faults

    def _misbehave(self, fault, request, operation, path, rest):
        def perform():
            return self._perform(request, operation, path, rest)

        if fault.mode == "error":
            status = fault.number("status", 500)
            raise BusError(status, fault.message or "The stand-in was told to fail.", faults.retry_after(fault, self.clock()))
        if fault.mode == "empty_error":
            return sized(fault.number("status", 404), [], b"")
        if fault.mode == "expire_lock":
            return self._with_expired_lock(perform, path)
        if fault.mode == "properties":
            return with_header(perform(), "BrokerProperties", fault.text)
        if fault.mode == "headers":
            return padded(perform(), fault.number("kilobytes", 100))
        return faults.WAYS[fault.mode](fault, request, perform)

    def _with_expired_lock(self, perform, path):
        """The lock is over when the reply arrives."""
        reply = perform()
        entity = self.queue(path)
        with entity.changed:
            for message in entity.messages.values():
                message.locked_until = 0.0
        return reply


MODES = {"error", "empty_error", "expire_lock", "properties", "headers", *faults.WAYS}


def as_bytes(text, order):
    """With "encoding" base64 tests can send what is no text."""
    return base64.b64decode(text) if order.get("encoding") == "base64" else text.encode()


def described(order):
    return {name: order[name] for name in ("content_type", "properties", "broker") if name in order}


def parse(request):
    path, rest = ENTITY.fullmatch(unquote(request.path)).groups(default="")
    kind = "head" if rest.lower() == "head" else "lock" if rest else ""
    operation = OPERATIONS.get((request.method, kind))
    if operation is None:
        raise BusError(405, "The method is not allowed here.")
    return path, rest, operation


def query_of(request):
    return {name: values[-1] for name, values in parse_qs(request.query).items()}


def check_framing(request):
    if request.method in ("POST", "PUT") and request.header("content-length") is None:
        raise BusError(411, "The length is missing.")


def timeout_of(request):
    text = query_of(request).get("timeout", "60")
    if not text.isascii() or not text.isdecimal():
        raise BusError(400, "The timeout is not a number of seconds.")
    return int(text)


def custom(request):
    """Custom properties: headers whose names are nobody else's, with JSON literals as values."""
    known = {"authorization", "brokerproperties", "content-type", "content-length", "host", "accept", "accept-encoding",
             "user-agent", "connection", "expect"}
    return {name: json.loads(value) for name, value in request.headers if name.lower() not in known}


def literal(value):
    return json.dumps(value, ensure_ascii=True)


def nothing():
    return sized(204, [("Content-Type", XML), ("Server", "Microsoft-HTTPAPI/2.0")], b"")


def empty(status):
    return chunked(status, [("Content-Type", XML), ("Server", "Microsoft-HTTPAPI/2.0")], [in_chunks(b"")])


def failure(error, now):
    stamp = time.strftime("%m/%d/%Y %I:%M:%S %p", time.gmtime(now))
    text = f"{error.detail}.TrackingId:{uuid.uuid4()}_G21,TimeStamp:{stamp}"
    body = f"<Error><Code>{error.status}</Code><Detail>{text}</Detail></Error>".encode()
    return chunked(error.status, [("Content-Type", XML), ("Server", "Microsoft-HTTPAPI/2.0"), *error.headers], [in_chunks(body)])


def with_header(reply, name, value):
    """Another value, or none."""
    reply.headers = [pair for pair in reply.headers if pair[0] != name]
    if value is not None:
        reply.headers.append((name, value))
    return reply


def padded(reply, kilobytes):
    reply.headers += [(f"x-padding-{at}", "x" * 1000) for at in range(kilobytes)]
    return reply
