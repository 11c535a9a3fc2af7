"""Azure Storage queues of one account, named in the path as emulators do.

Everything is told in the code of a reply, which also stands in x-ms-error-code. Lists begin with a byte order
mark, and the messages of one list share their pop receipt; both happen, neither is promised.
"""

import base64
import json
import re
import secrets
import threading
import time
import uuid
from email.utils import formatdate
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import faults
import sharedkey
from wire import sized

ACCOUNT = "telematics"
ACCOUNT_KEY = base64.b64encode(b"an account key for the stand-in, which is 64 bytes long in all..").decode()
QUEUE_NAME = re.compile(r"[a-z0-9](-?[a-z0-9])+")
VERSION = re.compile(r"20\d\d-\d\d-\d\d")
LIFE_SECONDS = 7 * 86400
TEXT_LIMIT = 64 * 1024
MESSAGES = {
    "AuthenticationFailed": "Server failed to authenticate the request. Make sure the value of the Authorization header is "
                            "formed correctly including the signature.",
}


class QueueError(Exception):
    def __init__(self, code, status, headers=(), details=()):
        super().__init__(code)
        self.code = code
        self.status = status
        self.headers = list(headers)
        self.details = details      # more elements of the body


# ---- queues -------------------------------------------------------------------------------------

class Message:
    def __init__(self, text, now):
        self.id = str(uuid.uuid4())
        self.text = text
        self.inserted = now
        self.receipt = None
        self.visible_at = 0.0       # on the monotonic clock
        self.dequeue_count = 0


def new_receipt():
    """Base64 with all that has to be encoded in a query."""
    return base64.b64encode(b"\xfb\xff" + secrets.token_bytes(14)).decode() + "+/="


class Queue:
    """In the order of insertion; a message that comes back keeps its place. A receipt is good until the next one,
    also when its time is over."""

    def __init__(self, clock):
        self.clock = clock
        self.lock = threading.Lock()
        self.messages = {}
        self.sent = self.deleted = self.receives = self.empty_receives = 0

    def purge(self):
        with self.lock:
            self.messages.clear()

    def put(self, texts):
        fresh = [Message(text, self.clock()) for text in texts]
        with self.lock:
            self.sent += len(fresh)
            self.messages.update((message.id, message) for message in fresh)
        return fresh

    def get(self, limit, seconds):
        now = time.monotonic()
        receipt = new_receipt()
        with self.lock:
            found = [message for message in self.messages.values() if message.visible_at <= now][:limit]
            for message in found:
                message.receipt = receipt
                message.visible_at = now + seconds
                message.dequeue_count += 1
            self.receives += 1
            self.empty_receives += not found
        return found

    def peek(self, limit):
        now = time.monotonic()
        with self.lock:
            return [message for message in self.messages.values() if message.visible_at <= now][:limit]

    def delete(self, message_id, receipt):
        with self.lock:
            del self.messages[self._held(message_id, receipt).id]
            self.deleted += 1

    def update(self, message_id, receipt, seconds, text=None):
        with self.lock:
            message = self._held(message_id, receipt)
            message.receipt = new_receipt()
            message.visible_at = time.monotonic() + seconds
            message.text = message.text if text is None else text
        return message

    def _held(self, message_id, receipt):
        message = self.messages.get(message_id)
        if message is None:
            raise QueueError("MessageNotFound", 404)
        if message.receipt != receipt:
            raise QueueError("PopReceiptMismatch", 400)
        return message

    def counts(self):
        now = time.monotonic()
        with self.lock:
            in_flight = sum(message.visible_at > now for message in self.messages.values())
            return {"visible": len(self.messages) - in_flight, "in_flight": in_flight, "deleted": self.deleted,
                    "sent": self.sent, "receives": self.receives, "empty_receives": self.empty_receives}


# ---- service ------------------------------------------------------------------------------------

# the request: method, what stands behind the queue, name, right of a SAS, parameters it may have
ACTIONS = {
    ("GET", "messages"): ("GetMessages", "p", {"numofmessages", "visibilitytimeout"}),
    ("POST", "messages"): ("PutMessage", "a", {"visibilitytimeout", "messagettl"}),
    ("DELETE", "messages"): ("ClearMessages", "p", set()),
    ("DELETE", "message"): ("DeleteMessage", "p", {"popreceipt"}),
    ("PUT", "message"): ("UpdateMessage", "u", {"popreceipt", "visibilitytimeout"}),
    ("PUT", "queue"): ("CreateQueue", "-", set()),
    ("GET", "queue"): ("GetQueueMetadata", "r", {"comp"}),
}
PEEK = ("PeekMessages", "r", {"numofmessages", "peekonly"})
SAS_PARAMETERS = {"sv", "st", "se", "sp", "si", "sip", "spr", "sig"}
PATH = re.compile(rf"/{ACCOUNT}/(?P<queue>[^/]+)(?P<messages>/messages(/(?P<id>[^/]+))?)?")


def sas_text(query, queue):
    """What the signature of a SAS is made of."""
    given = [query.get(name, "") for name in ("sp", "st", "se", "si", "sip", "spr", "sv")]
    return "\n".join([*given[:3], f"/queue/{ACCOUNT}/{queue}", *given[3:]])


class StorageQueue:
    def __init__(self, fault_book, clock=time.time, bearer_problem=None):
        self.clock = clock
        self.faults = fault_book
        self.verifier = sharedkey.Verifier(ACCOUNT, ACCOUNT_KEY, clock, bearer_problem)
        self.queues = {}

    def create(self, name):
        return self.queues.setdefault(name, Queue(self.clock))

    def drop(self, name):
        del self.queues[name]

    def queue(self, name):
        if name not in self.queues:
            raise QueueError("QueueNotFound", 404)
        return self.queues[name]

    def publish(self, name, notifications, order):
        """As an Event Grid topic delivers: each in an event of its own, in base64; or plain, or as it is ("raw")."""
        form = order.get("form", "base64")
        texts = notifications if form == "raw" else [event(text, self.clock()) for text in notifications]
        if form == "base64":
            texts = [base64.b64encode(text.encode()).decode() for text in texts]
        return self.create(name).put(texts)

    # -- one request

    def claims(self, request):
        return request.path.startswith(f"/{ACCOUNT}/")

    def answer(self, request):
        try:
            place, action, query = self._read(request)
            fault = self.faults.take("storagequeue", (action, place["queue"]))
            if fault:
                return self._misbehave(fault, request, place, action, query)
            return self._perform(request, place, action, query)
        except QueueError as error:
            return failure(error)
        except sharedkey.Refusal as refusal:
            return failure(QueueError(refusal.code, refusal.status))

    def _read(self, request):
        place = PATH.fullmatch(request.path)
        kind = "queue" if place and not place["messages"] else "message" if place and place["id"] else "messages"
        if not place or (request.method, kind) not in ACTIONS:
            raise QueueError("InvalidUri" if not place else "UnsupportedHttpVerb", 400 if not place else 405)
        action, right, allowed = ACTIONS[request.method, kind]
        query = sharedkey.parameters(request.query)
        if action == "GetMessages" and query.get("peekonly") == "true":
            action, right, allowed = PEEK
        request.record["target"] = action
        request.record["object_id"] = place["queue"]
        request.record["parameters"] = {name: value for name, value in query.items() if name != "sig"}
        if not VERSION.fullmatch(request.header("x-ms-version") or ""):
            raise QueueError("InvalidHeaderValue", 400)
        self.verifier.verify(request, right, lambda query: sas_text(query, place["queue"]))
        if set(query) - allowed - SAS_PARAMETERS:
            raise QueueError("UnsupportedQueryParameter", 400)
        if request.method in ("PUT", "POST") and request.header("content-length") is None:
            raise QueueError("MissingContentLengthHeader", 411)
        return place, action, query

    def _perform(self, request, place, action, query):
        if action == "CreateQueue":
            return self._create(place["queue"])
        queue = self.queue(place["queue"])
        return getattr(self, action)(queue, place["id"], query, request.body)

    def _create(self, name):
        if not QUEUE_NAME.fullmatch(name) or not 3 <= len(name) <= 63:
            raise QueueError("InvalidResourceName", 400)
        known = name in self.queues
        self.create(name)
        return success(204 if known else 201)

    def GetQueueMetadata(self, queue, message_id, query, body):
        if query.get("comp") != "metadata":
            raise QueueError("InvalidQueryParameterValue", 400)
        return success(200, headers=[("x-ms-approximate-messages-count", len(queue.messages))])

    def GetMessages(self, queue, message_id, query, body):
        found = queue.get(number(query, "numofmessages", 1, 1, 32), number(query, "visibilitytimeout", 30, 1, 604800))
        return success(200, listed(found, self.clock(), (*LEASE, "DequeueCount", "MessageText")))

    def PeekMessages(self, queue, message_id, query, body):
        found = queue.peek(number(query, "numofmessages", 1, 1, 32))
        return success(200, listed(found, self.clock(), ("DequeueCount", "MessageText")))

    def PutMessage(self, queue, message_id, query, body):
        text = message_text(body)
        if len(text.encode()) > TEXT_LIMIT:
            raise QueueError("RequestBodyTooLarge", 413)
        return success(201, listed(queue.put([text]), self.clock(), LEASE))

    def ClearMessages(self, queue, message_id, query, body):
        queue.purge()
        return success(204)

    def DeleteMessage(self, queue, message_id, query, body):
        queue.delete(message_id, required(query, "popreceipt"))
        return success(204)

    def UpdateMessage(self, queue, message_id, query, body):
        required(query, "visibilitytimeout")
        message = queue.update(message_id, required(query, "popreceipt"), number(query, "visibilitytimeout", 0, 0, 604800),
                               message_text(body) if body else None)
        return success(204, headers=[("x-ms-popreceipt", message.receipt), ("x-ms-time-next-visible", moment(message, self.clock()))])

    # -- faults

    def _misbehave(self, fault, request, place, action, query):
        def perform():
            return self._perform(request, place, action, query)

        if fault.mode == "error":
            headers = faults.retry_after(fault, self.clock())
            raise QueueError(fault.code or "ServerBusy", fault.number("status", 503), headers)
        if fault.mode == "body":
            return sized(200, [("Content-Type", "application/xml")], fault.text.encode())
        return faults.WAYS[fault.mode](fault, request, perform)


MODES = {*faults.WAYS, "error", "body"}


# ---- the wire -----------------------------------------------------------------------------------

def required(query, name):
    if not query.get(name):
        raise QueueError("MissingRequiredQueryParameter", 400)
    return query[name]


def number(query, name, default, low, high):
    text = query.get(name, str(default))
    if not text.isdecimal():
        raise QueueError("InvalidQueryParameterValue", 400)
    if not low <= int(text) <= high:
        details = (("QueryParameterName", name), ("QueryParameterValue", text), ("MinimumAllowed", low), ("MaximumAllowed", high))
        raise QueueError("OutOfRangeQueryParameterValue", 400, details=details)
    return int(text)


def message_text(body):
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        raise QueueError("InvalidXmlDocument", 400) from None
    if root.tag != "QueueMessage" or [child.tag for child in root] != ["MessageText"]:
        raise QueueError("InvalidXmlDocument", 400)
    return root[0].text or ""


def moment(message, now):
    return formatdate(now + max(0, message.visible_at - time.monotonic()), usegmt=True)


def element(name, text):
    """As the cloud writes: a carriage return would not survive but as a reference."""
    return f"<{name}>{escape(str(text)).replace(chr(13), '&#xD;')}</{name}>" if text != "" else f"<{name} />"


LEASE = ("PopReceipt", "TimeNextVisible")


def listed(messages, now, more):
    """With these elements besides those that every list has."""
    items = []
    for message in messages:
        parts = {"PopReceipt": message.receipt or new_receipt(), "TimeNextVisible": moment(message, now),
                 "DequeueCount": message.dequeue_count, "MessageText": message.text}
        items.append("<QueueMessage>" + element("MessageId", message.id)
                     + element("InsertionTime", formatdate(message.inserted, usegmt=True))
                     + element("ExpirationTime", formatdate(message.inserted + LIFE_SECONDS, usegmt=True))
                     + "".join(element(name, parts[name]) for name in more) + "</QueueMessage>")
    inside = f"<QueueMessagesList>{''.join(items)}</QueueMessagesList>" if items else "<QueueMessagesList />"
    return f'\ufeff<?xml version="1.0" encoding="utf-8"?>{inside}'


def common():
    return [("Server", "Windows-Azure-Queue/1.0"), ("x-ms-request-id", str(uuid.uuid4())), ("x-ms-version", "2021-12-02")]


def success(status, text=None, headers=()):
    if text is not None:
        return sized(status, [*common(), *headers, ("Content-Type", "application/xml")], text.encode())
    return sized(status, [*common(), *headers], b"")


def failure(error):
    text = (f'\ufeff<?xml version="1.0" encoding="utf-8"?><Error><Code>{error.code}</Code>'
            f"<Message>{MESSAGES.get(error.code, 'It cannot be done.')}\nRequestId:{uuid.uuid4()}</Message>"
            f"{''.join(element(*detail) for detail in error.details)}</Error>")
    return sized(error.status, [*common(), ("x-ms-error-code", error.code), *error.headers, ("Content-Type", "application/xml")],
                 text.encode())


def event(text, now):
    """An event of an Event Grid custom topic with the notification as its data."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + ".1234567Z"
    frame = {"id": str(uuid.uuid4()), "subject": "telematics", "eventType": "Damoov.Notification", "eventTime": stamp,
             "dataVersion": "1.0", "metadataVersion": "1",
             "topic": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/fleet/providers/Microsoft.EventGrid/topics/damoov"}
    return json.dumps(frame, separators=(",", ":"))[:-1] + f',"data":{text}}}'
