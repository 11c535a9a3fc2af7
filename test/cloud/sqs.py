"""SQS: queues with visibility and redelivery, behind the AWS JSON 1.0 protocol."""

import base64
import heapq
import itertools
import json
import re
import secrets
import threading
import time
import uuid
from collections import deque
from hashlib import md5

import faults
import sigv4
from wire import Gone, sized

ACCOUNT = "123456789012"
CONTENT_TYPE = "application/x-amz-json-1.0"
BATCH_LIMIT = 10
SIZE_LIMIT = 1024 * 1024
ENTRY_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")
HANDLE = re.compile(rb"([0-9a-f-]{36}) [0-9a-f]{32}")
FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
EMPTY_REPLIES = {"{}": {}, "[]": {"Messages": []}, "null": {"Messages": None}}

# The code that clients of the older protocol saw, where it differs.
OLDER_CODES = {
    "QueueDoesNotExist": "AWS.SimpleQueueService.NonExistentQueue",
    **{code: f"AWS.SimpleQueueService.{code}" for code in
       ("MessageNotInflight", "TooManyEntriesInBatchRequest", "EmptyBatchRequest",
        "BatchEntryIdsNotDistinct", "InvalidBatchEntryId", "BatchRequestTooLong")},
}
REFUSAL_STATUS = {"IncompleteSignature": 400}       # all other refusals are 403


class SqsError(Exception):
    def __init__(self, code, message, status=400, headers=(), namespace="com.amazonaws.sqs"):
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.headers = list(headers)
        self.namespace = namespace


# ---- queues -------------------------------------------------------------------------------------

class Message:
    def __init__(self, body, attributes, sent):
        self.id = str(uuid.uuid4())
        self.body = body
        self.md5 = md5(body.encode("utf-8", "surrogateescape")).hexdigest()
        self.attributes = attributes
        self.sent = sent
        self.first_received = None
        self.receive_count = 0
        self.handle = None          # of the newest receipt
        self.hidden_until = 0.0     # on the monotonic clock


class Queue:
    """A standard queue. A message is in `messages` until it is deleted, and besides either
    in `ready` or, while it is in flight, in `hidden`. Both may hold stale entries, which
    are dropped when they surface."""

    def __init__(self, name, clock=time.time, visibility_timeout=30):
        self.name = name
        self.clock = clock
        self.visibility_timeout = visibility_timeout
        self.max_receive_count = None
        self.dead_letter = None
        self.created = clock()
        self.gone = False
        self.changed = threading.Condition()
        self.order = itertools.count()
        self.waiting_polls = self.sent = self.deleted = self.receives = self.empty_receives = 0
        self.purge()

    def purge(self):
        with self.changed:
            self.messages = {}
            self.ready = deque()
            self.hidden = []

    def close(self):
        with self.changed:
            self.gone = True
            self.changed.notify_all()

    def put(self, bodies, attributes=None, delay=0):
        now = self.clock()
        fresh = [Message(body, attributes or {}, now) for body in bodies]
        with self.changed:
            self.sent += len(fresh)
            for message in fresh:
                self.messages[message.id] = message
                self._hide(message, delay)
            self.changed.notify_all()
        return fresh

    def receive(self, limit, visibility, wait, connection):
        """Up to `limit` messages; waits for the first. Nothing is handed to a client that has left."""
        deadline = time.monotonic() + wait
        with self.changed:
            self.waiting_polls += 1
            try:
                while True:
                    found = self._hand_out(limit, visibility, connection)
                    left = deadline - time.monotonic()
                    if found or left <= 0:
                        self.receives += 1
                        self.empty_receives += not found
                        return found
                    self.changed.wait(min(left, self._next_surfacing()))
            finally:
                self.waiting_polls -= 1

    def delete(self, handle):
        """An outdated handle is accepted, but the message stays."""
        with self.changed:
            message = self.messages.get(message_id(handle))
            if message and message.handle == handle:
                del self.messages[message.id]
                self.deleted += 1

    def change_visibility(self, handle, seconds):
        with self.changed:
            message = self.messages.get(message_id(handle))
            if not message or message.handle != handle or message.hidden_until <= time.monotonic():
                raise SqsError("MessageNotInflight", "The message referred to is not in flight.")
            self._hide(message, seconds)
            self.changed.notify_all()

    def counts(self):
        with self.changed:
            now = time.monotonic()
            in_flight = sum(message.hidden_until > now for message in self.messages.values())
            return {"visible": len(self.messages) - in_flight, "in_flight": in_flight, "deleted": self.deleted,
                    "sent": self.sent, "receives": self.receives, "empty_receives": self.empty_receives,
                    "waiting_polls": self.waiting_polls}

    def _hide(self, message, seconds):
        """Out of sight for so long; not at all for 0."""
        if seconds <= 0:
            message.hidden_until = 0.0
            self.ready.append(message)
            return
        message.hidden_until = time.monotonic() + seconds
        heapq.heappush(self.hidden, (message.hidden_until, next(self.order), message))

    def _surface(self):
        now = time.monotonic()
        while self.hidden and self.hidden[0][0] <= now:
            until, _, message = heapq.heappop(self.hidden)
            if message.hidden_until == until:
                message.hidden_until = 0.0
                self.ready.append(message)

    def _next_surfacing(self):
        """Seconds to sleep at most; short enough to notice a client that leaves."""
        nearest = self.hidden[0][0] - time.monotonic() if self.hidden else 1
        return min(max(nearest, 0.001), 0.2)

    def _hand_out(self, limit, visibility, connection):
        if self.gone:
            raise no_such_queue()
        if not connection.alive():
            raise Gone
        self._surface()
        found = []
        while self.ready and len(found) < limit:
            message = self.ready.popleft()
            if message.id in self.messages and not message.hidden_until and not self._retire(message):
                self._receipt(message, self.visibility_timeout if visibility is None else visibility)
                found.append(message)
        return found

    def _receipt(self, message, visibility):
        message.receive_count += 1
        message.first_received = message.first_received or self.clock()
        message.handle = new_handle(message)
        if visibility:
            self._hide(message, visibility)
        else:
            heapq.heappush(self.hidden, (0.0, next(self.order), message))

    def _retire(self, message):
        """Too many receipts without a delete: the message moves to the dead-letter queue."""
        if self.dead_letter is None or message.receive_count < self.max_receive_count:
            return False
        del self.messages[message.id]
        self.dead_letter.adopt(message)
        return True

    def adopt(self, message):
        with self.changed:
            self.messages[message.id] = message
            self.ready.append(message)
            self.changed.notify_all()


def new_handle(message):
    return base64.b64encode(f"{message.id} {secrets.token_hex(16)}".encode()).decode()


def message_id(handle):
    """The message inside a handle; clients have to take it as opaque."""
    try:
        parts = HANDLE.fullmatch(base64.b64decode(handle, validate=True))
    except ValueError:
        parts = None
    if not parts:
        raise SqsError("ReceiptHandleIsInvalid", f'The input receipt handle "{handle[:80]}" is not a valid receipt handle.')
    return parts[1].decode()


def no_such_queue():
    return SqsError("QueueDoesNotExist", "The specified queue does not exist.")


# ---- parameters ---------------------------------------------------------------------------------

class Member:
    def __init__(self, kind, required=False, low=None, high=None, of=None):
        self.kind = kind
        self.required = required
        self.low = low
        self.high = high
        self.of = of                # members of the entries of a batch


TEXT, NUMBER, NAMES, MAP = str, int, "names", dict
QUEUE = {"QueueUrl": Member(TEXT, required=True)}
RECEIPT = {"ReceiptHandle": Member(TEXT, required=True)}
TIMEOUT = {"VisibilityTimeout": Member(NUMBER, required=True, low=0, high=43200)}
CONTENT = {
    "MessageBody": Member(TEXT, required=True),
    "DelaySeconds": Member(NUMBER, low=0, high=900),
    "MessageAttributes": Member(MAP),
    "MessageSystemAttributes": Member(MAP),
}


def batch(members):
    return {**QUEUE, "Entries": Member(list, required=True, of={"Id": Member(TEXT, required=True), **members})}


ACTIONS = {
    "ReceiveMessage": {
        **QUEUE,
        "MaxNumberOfMessages": Member(NUMBER, low=1, high=BATCH_LIMIT),
        "WaitTimeSeconds": Member(NUMBER, low=0, high=20),
        "VisibilityTimeout": Member(NUMBER, low=0, high=43200),
        "AttributeNames": Member(NAMES),
        "MessageSystemAttributeNames": Member(NAMES),
        "MessageAttributeNames": Member(NAMES),
        "ReceiveRequestAttemptId": Member(TEXT),
    },
    "DeleteMessage": {**QUEUE, **RECEIPT},
    "DeleteMessageBatch": batch(RECEIPT),
    "ChangeMessageVisibility": {**QUEUE, **RECEIPT, **TIMEOUT},
    "ChangeMessageVisibilityBatch": batch({**RECEIPT, **TIMEOUT}),
    "SendMessage": {**QUEUE, **CONTENT},
    "SendMessageBatch": batch(CONTENT),
    "GetQueueAttributes": {**QUEUE, "AttributeNames": Member(NAMES)},
    "GetQueueUrl": {"QueueName": Member(TEXT, required=True), "QueueOwnerAWSAccountId": Member(TEXT)},
}


def check_members(given, members, check_ranges=True):
    for name, value in given.items():
        if name not in members:
            raise malformed(f"Unknown member {name}")
        check_type(name, value, members[name])
    for name, member in members.items():
        if member.required and given.get(name) is None:
            raise SqsError("MissingParameter", f"The request must contain the parameter {name}.")
        if check_ranges:
            check_range(name, given.get(name), member)


def check_type(name, value, member):
    if member.kind is NAMES:
        fits = isinstance(value, list) and all(isinstance(item, str) for item in value)
    elif member.of:
        fits = isinstance(value, list) and all(isinstance(item, dict) for item in value)
    else:
        fits = isinstance(value, member.kind) and not isinstance(value, bool)
    if not fits:
        raise malformed(f"Member {name} has the wrong type")


def check_range(name, value, member):
    if value is not None and member.low is not None and not member.low <= value <= member.high:
        raise SqsError("InvalidParameterValue",
                       f"Value {value} for parameter {name} is invalid. Reason: Must be between {member.low} and {member.high}.")


def check_batch(entries, members):
    """Ranges are the entries' own affair: they fail one by one, not the whole batch."""
    if not entries:
        raise SqsError("EmptyBatchRequest", "There should be at least one entry in the request.")
    if len(entries) > BATCH_LIMIT:
        raise SqsError("TooManyEntriesInBatchRequest",
                       f"Maximum number of entries per request are {BATCH_LIMIT}. You have sent {len(entries)}.")
    for entry in entries:
        check_members(entry, members, check_ranges=False)
        if not ENTRY_ID.fullmatch(entry["Id"]):
            raise SqsError("InvalidBatchEntryId", "A batch entry id can only contain alphanumeric characters, hyphens and "
                                                  "underscores. It can be at most 80 letters long.")
    if len({entry["Id"] for entry in entries}) < len(entries):
        raise SqsError("BatchEntryIdsNotDistinct", "Two or more batch entries in the request have the same Id.")


def check_content(body):
    if not body or FORBIDDEN.search(body):
        raise SqsError("InvalidMessageContents", "The message is empty or contains characters outside the allowed set.")
    if len(body.encode("utf-8")) > SIZE_LIMIT:
        raise SqsError("InvalidParameterValue",
                       f"One or more parameters are invalid. Reason: Message must be shorter than {SIZE_LIMIT} bytes.")


def malformed(message):
    return SqsError("SerializationException", message, namespace="com.amazon.coral.service")


# ---- service ------------------------------------------------------------------------------------

class Sqs:
    def __init__(self, region, credentials, fault_book, clock=time.time):
        self.region = region
        self.clock = clock
        self.faults = fault_book
        self.verifier = sigv4.Verifier(credentials, region, "sqs", clock)
        self.empty_reply = "{}"
        self.queues = {}

    def create(self, name, visibility_timeout=None, max_receive_count=None, dead_letter=None):
        """Makes the queue or changes the settings of the one there is."""
        queue = self.queues.setdefault(name, Queue(name, self.clock))
        if visibility_timeout is not None:
            queue.visibility_timeout = visibility_timeout
        if dead_letter is not None:
            queue.dead_letter = self.queues.get(dead_letter) or self.create(dead_letter)
            queue.max_receive_count = max_receive_count or 3
        return queue

    def drop(self, name):
        self.queue(name).close()
        del self.queues[name]

    def queue(self, name):
        if name not in self.queues:
            raise no_such_queue()
        return self.queues[name]

    def url(self, name):
        return f"https://sqs.{self.region}.amazonaws.com/{ACCOUNT}/{name}"

    # -- one request

    def claims(self, request):
        return request.path == "/" or (request.header("x-amz-target") or "").startswith("AmazonSQS.")

    def answer(self, request):
        try:
            action, parameters = self._read(request)
            fault = self.faults.take("sqs", (action, queue_name(parameters)))
            if fault:
                return self._misbehave(fault, request, action, parameters)
            return success(self._perform(request, action, parameters))
        except SqsError as error:
            return failure(error)

    def _read(self, request):
        action = (request.header("x-amz-target") or "").removeprefix("AmazonSQS.")
        request.record["target"] = action
        self._authenticate(request)
        if request.method != "POST" or action not in ACTIONS:
            raise SqsError("UnknownOperationException", f"Unknown operation {action}.", 404, namespace="com.amazon.coral.service")
        if request.header("content-type") != CONTENT_TYPE:
            raise malformed(f"Content-Type has to be {CONTENT_TYPE}")
        parameters = read_object(request.body)
        request.record["parameters"] = parameters
        check_members(parameters, ACTIONS[action])
        return action, parameters

    def _authenticate(self, request):
        try:
            self.verifier.verify(request.method, request.path, request.query, request.headers, request.body)
        except sigv4.Refusal as refusal:
            raise SqsError(refusal.code, refusal.message, REFUSAL_STATUS.get(refusal.code, 403),
                           namespace="com.amazon.coral.service") from None

    def _perform(self, request, action, parameters, spoiled=0, spoil=None):
        if action == "GetQueueUrl":
            return {"QueueUrl": self.url(self.queue(parameters["QueueName"]).name)}
        queue = self.queue(queue_name(parameters))
        if action == "ReceiveMessage":
            return self._receive(queue, parameters, request.connection)
        if action == "GetQueueAttributes":
            return self._attributes(queue, parameters.get("AttributeNames", []))
        if action.endswith("Batch"):
            return self._batch(queue, action, parameters["Entries"], spoiled, spoil)
        return SINGLE[action](queue, parameters)

    def _receive(self, queue, parameters, connection):
        found = queue.receive(parameters.get("MaxNumberOfMessages", 1), parameters.get("VisibilityTimeout"),
                              parameters.get("WaitTimeSeconds", 0), connection)
        if not found:
            return EMPTY_REPLIES[self.empty_reply]
        wanted = parameters.get("MessageSystemAttributeNames", []) + parameters.get("AttributeNames", [])
        return {"Messages": [described(message, wanted, parameters.get("MessageAttributeNames", [])) for message in found]}

    def _batch(self, queue, action, entries, spoiled, spoil):
        """The first `spoiled` entries fail with the error `spoil` without being carried out."""
        members = ACTIONS[action]["Entries"].of
        check_batch(entries, members)
        single = SINGLE[action.removesuffix("Batch")]
        successful, failed = [], []
        for number, entry in enumerate(entries):
            try:
                if number < spoiled:
                    raise spoil
                check_members(entry, members)
                successful.append({"Id": entry["Id"], **single(queue, entry)})
            except SqsError as error:
                failed.append({"Id": entry["Id"], "SenderFault": error.status < 500,
                               "Code": error.code, "Message": error.message})
        result = {"Successful": successful}
        return {**result, "Failed": failed} if failed else result

    def _attributes(self, queue, names):
        counts = queue.counts()
        everything = {
            "QueueArn": f"arn:aws:sqs:{self.region}:{ACCOUNT}:{queue.name}",
            "ApproximateNumberOfMessages": counts["visible"],
            "ApproximateNumberOfMessagesNotVisible": counts["in_flight"],
            "ApproximateNumberOfMessagesDelayed": 0,
            "CreatedTimestamp": int(queue.created),
            "LastModifiedTimestamp": int(queue.created),
            "VisibilityTimeout": queue.visibility_timeout,
            "MaximumMessageSize": SIZE_LIMIT,
            "MessageRetentionPeriod": 4 * 86400,
            "DelaySeconds": 0,
            "ReceiveMessageWaitTimeSeconds": 0,
            "SqsManagedSseEnabled": "true",
        }
        if queue.dead_letter:
            everything["RedrivePolicy"] = json.dumps({
                "deadLetterTargetArn": f"arn:aws:sqs:{self.region}:{ACCOUNT}:{queue.dead_letter.name}",
                "maxReceiveCount": queue.max_receive_count}, separators=(",", ":"))
        if unknown := set(names) - {"All", "RedrivePolicy", "Policy"} - set(everything):
            raise SqsError("InvalidAttributeName", f"Unknown Attribute {min(unknown)}.")
        chosen = {name: str(value) for name, value in everything.items() if "All" in names or name in names}
        return {"Attributes": chosen} if chosen else {}

    # -- faults

    def _misbehave(self, fault, request, action, parameters):
        def perform():
            return success(self._perform(request, action, parameters))

        if fault.mode == "error":
            raise self._ordered_error(fault)
        if fault.mode == "fail_entries":
            return success(self._perform(request, action, parameters, fault.number("count", 1), self._ordered_error(fault)))
        if fault.mode == "bad_md5":
            return success(spoil_digests(self._perform(request, action, parameters)))
        return faults.WAYS[fault.mode](fault, request, perform)

    def _ordered_error(self, fault):
        return SqsError(fault.code or "InternalFailure", fault.message or "The stand-in was told to fail.",
                        fault.number("status", 500), faults.retry_after(fault, self.clock()))


MODES = {"error", "fail_entries", "bad_md5", *faults.WAYS}


def delete(queue, parameters):
    queue.delete(parameters["ReceiptHandle"])
    return {}


def change_visibility(queue, parameters):
    queue.change_visibility(parameters["ReceiptHandle"], parameters["VisibilityTimeout"])
    return {}


def send(queue, parameters):
    check_content(parameters["MessageBody"])
    message, = queue.put([parameters["MessageBody"]], parameters.get("MessageAttributes"), parameters.get("DelaySeconds", 0))
    return {"MessageId": message.id, "MD5OfMessageBody": message.md5}


SINGLE = {"DeleteMessage": delete, "ChangeMessageVisibility": change_visibility, "SendMessage": send}


def queue_name(parameters):
    """Only the end of the URL counts: clients may reach the queue under any host."""
    return (parameters.get("QueueUrl") or parameters.get("QueueName") or "").rsplit("/", 1)[-1]


def read_object(body):
    try:
        value = json.loads(body)
    except ValueError:
        raise malformed("The body is not JSON") from None
    if not isinstance(value, dict):
        raise malformed("Start of structure or map found where not expected.")
    return value


def described(message, wanted, wanted_attributes):
    system = {
        "SenderId": "AIDAEXAMPLESENDER",
        "SentTimestamp": str(int(message.sent * 1000)),
        "ApproximateReceiveCount": str(message.receive_count),
        "ApproximateFirstReceiveTimestamp": str(int(message.first_received * 1000)),
    }
    chosen = {name: value for name, value in system.items() if "All" in wanted or name in wanted}
    shown = {name: value for name, value in message.attributes.items()
             if "All" in wanted_attributes or ".*" in wanted_attributes or name in wanted_attributes}
    result = {"MessageId": message.id, "ReceiptHandle": message.handle, "MD5OfBody": message.md5, "Body": message.body}
    if chosen:
        result["Attributes"] = chosen
    if shown:
        result["MessageAttributes"] = shown
    return result


def spoil_digests(result):
    messages = [{**message, "MD5OfBody": message["MD5OfBody"][::-1]} for message in result.get("Messages") or []]
    return {**result, "Messages": messages}


def success(result):
    return sized(200, head_fields(), as_bytes(result))


def as_bytes(result):
    """Escapes, as the real one; only bytes that are no characters go out as they are."""
    text = json.dumps(result, ensure_ascii=False)
    raw = any("\udc80" <= character <= "\udcff" for character in text)
    return text.encode("utf-8", "surrogateescape") if raw else json.dumps(result).encode()


def failure(error):
    side = "Sender" if error.status < 500 else "Receiver"
    headers = head_fields() + [("x-amzn-query-error", f"{OLDER_CODES.get(error.code, error.code)};{side}"), *error.headers]
    body = {"__type": f"{error.namespace}#{error.code}", "message": error.message}
    return sized(error.status, headers, json.dumps(body).encode())


def head_fields():
    return [("x-amzn-RequestId", str(uuid.uuid4())), ("Content-Type", CONTENT_TYPE)]
