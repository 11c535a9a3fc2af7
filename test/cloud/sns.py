"""What SNS puts into a queue that is subscribed to a topic, and what it pushes to one who is.

Pushes are signed with keys that the test makes; openssl signs, since Python's
standard library knows no RSA.
"""

import base64
import json
import re
import subprocess
import time
import uuid
from urllib.parse import parse_qsl

import faults
from wire import sized

ACCOUNT = "123456789012"
SUBSCRIPTION = "2b9c3d4e-5f60-4718-8293-a4b5c6d7e8f9"
CERTIFICATE = "SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"
DUMMY_SIGNATURE = base64.b64encode(b"a stand-in signs nothing").decode()


class Topic:
    def __init__(self, name, region, clock=time.time):
        self.arn = f"arn:aws:sns:{region}:{ACCOUNT}:{name}"
        self.host = f"https://sns.{region}.amazonaws.com"
        self.clock = clock

    def envelope(self, message, subject=None, message_id=None):
        members = {
            "Type": "Notification",
            "MessageId": message_id or str(uuid.uuid4()),
            "TopicArn": self.arn,
            "Subject": subject,
            "Message": message,
            "Timestamp": milliseconds(self.clock()),
            "SignatureVersion": "1",
            "Signature": DUMMY_SIGNATURE,
            "SigningCertURL": f"{self.host}/{CERTIFICATE}",
            "UnsubscribeURL": f"{self.host}/?Action=Unsubscribe&SubscriptionArn={self.arn}:{SUBSCRIPTION}",
        }
        return indented({name: value for name, value in members.items() if value is not None})

    def members(self, certificate, kind):
        """A pushed message, all but its signature."""
        about_subscription = {} if kind == "Notification" else {
            "Token": uuid.uuid4().hex * 8,
            "SubscribeURL": f"{self.host}/?Action=ConfirmSubscription&TopicArn={self.arn}",
        }
        return {
            "Type": kind,
            "MessageId": str(uuid.uuid4()),
            "TopicArn": self.arn,
            "Message": "You have chosen to subscribe to a topic.",
            "Timestamp": milliseconds(self.clock()),
            "SignatureVersion": "2",
            "SigningCertURL": f"{self.host}/SimpleNotificationService-{certificate}.pem",
            **about_subscription,
        }


# What is signed, in this order, by kind of message; written out once more than in the extension.
SIGNED = {
    "Notification": ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"],
    "SubscriptionConfirmation": ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"],
    "UnsubscribeConfirmation": ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"],
}
DIGESTS = {"1": "-sha1", "2": "-sha256"}
MODES = {"error", *faults.WAYS}


def signature(members, key_file):
    """What SNS would write into "Signature"."""
    text = "".join(f"{name}\n{members[name]}\n" for name in SIGNED[members["Type"]] if members.get(name) is not None)
    command = ["openssl", "dgst", DIGESTS[members["SignatureVersion"]], "-sign", key_file]
    signed = subprocess.run(command, input=text.encode(), capture_output=True, check=True)
    return base64.b64encode(signed.stdout).decode()


class Sns:
    """Certificates, and the one call of a subscriber: ConfirmSubscription, which needs no signature."""

    CERTIFICATE_PATH = re.compile(r"/SimpleNotificationService-[0-9A-Za-z]+\.pem")

    def __init__(self, fault_book, clock=time.time):
        self.faults = fault_book
        self.clock = clock
        self.certificates = {}      # path: bytes
        self.tokens = {}            # token: ARN of its topic
        self.confirmed = []

    def claims(self, request):
        return bool(self.CERTIFICATE_PATH.fullmatch(request.path)) or "Action=" in request.query

    def answer(self, request):
        target = "certificate" if self.CERTIFICATE_PATH.fullmatch(request.path) else "confirm"
        request.record["target"] = target
        perform = lambda: self._certificate(request) if target == "certificate" else self._confirm(request)
        fault = self.faults.take("sns", (target,))
        if not fault:
            return perform()
        if fault.mode == "error":
            return problem(int(fault.number("status", 500)), fault.code or "InternalError")
        return faults.WAYS[fault.mode](fault, request, perform)

    def _certificate(self, request):
        pem = self.certificates.get(request.path)
        if request.method != "GET" or request.query or pem is None:
            return problem(404, "NotFound")
        return sized(200, [("Content-Type", "binary/octet-stream")], pem)

    def _confirm(self, request):
        pairs = parse_qsl(request.query, strict_parsing=True)
        given = dict(pairs)
        if request.method not in ("GET", "POST") or request.path != "/" or len(given) != len(pairs):
            return problem(400, "MalformedQueryString")
        if given.get("Action") != "ConfirmSubscription" or given.get("Version") != "2010-03-31":
            return problem(400, "InvalidAction")
        if request.header("authorization") or set(given) != {"Action", "Version", "TopicArn", "Token"}:
            return problem(400, "InvalidParameter")
        if self.tokens.get(given["Token"]) != given["TopicArn"]:
            return problem(400, "InvalidParameter")
        self.confirmed.append(given["Token"])
        body = (f'<ConfirmSubscriptionResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><ConfirmSubscriptionResult>'
                f"<SubscriptionArn>{given['TopicArn']}:{SUBSCRIPTION}</SubscriptionArn></ConfirmSubscriptionResult>"
                f"<ResponseMetadata><RequestId>{uuid.uuid4()}</RequestId></ResponseMetadata></ConfirmSubscriptionResponse>")
        return sized(200, [("Content-Type", "text/xml")], body.encode())


def problem(status, code):
    body = f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>secret words</Message></Error></ErrorResponse>"
    return sized(status, [("Content-Type", "text/xml")], body.encode())


def milliseconds(seconds):
    whole = int(seconds)
    date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    return f"{date}.{int((seconds - whole) * 1000):03d}Z"


def indented(members):
    """AWS's own layout: two blanks of indent and a blank on either side of the colon."""
    lines = [f"  {json.dumps(name)} : {json.dumps(value, ensure_ascii=False)}" for name, value in members.items()]
    return "{\n" + ",\n".join(lines) + "\n}"
