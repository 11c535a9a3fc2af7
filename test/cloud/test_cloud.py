"""Checks the stand-in itself: python3 -m unittest discover -s test/cloud"""

import base64
import gzip
import hashlib
import hmac
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import zlib
from datetime import datetime, timezone
from email.utils import formatdate
from random import Random
from urllib.parse import quote, unquote, urlencode
from xml.etree import ElementTree

import fleet
import servicebus
import sigv4
import storage
import storagequeue
from cloud import LISTEN_KEY, SECOND_KEY, SECRET, Cloud
from sigv4 import Credentials

HERE = os.path.dirname(os.path.abspath(__file__))
QUEUE_URL = "http://sqs.invalid/123456789012/damoov"
TOKEN = "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5"
TRACK = "c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d"
GET_TRACK = f"/mobilesdk/stage/track/get_track/v1?trackToken={TRACK}"


def hashed(data):
    return hashlib.sha256(data).hexdigest()


def keyed(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def sign(host, body, target, seconds=None, secret=SECRET, token=None):
    """The headers of a signed SQS request; written apart from the verifier."""
    date = datetime.fromtimestamp(seconds or time.time(), timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    headers = {"content-type": "application/x-amz-json-1.0", "host": host, "x-amz-date": date, "x-amz-target": target}
    if token:
        headers["x-amz-security-token"] = token
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    scope = f"{date[:8]}/eu-west-1/sqs/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n" + hashed(f"POST\n/\n\n{lines}\n{names}\n{hashed(body)}".encode())
    key = ("AWS4" + secret).encode()
    for part in scope.split("/"):
        key = keyed(key, part)
    headers["Authorization"] = (f"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{scope}, SignedHeaders={names}, "
                                f"Signature={keyed(key, text).hex()}")
    return headers


class CloudCase(unittest.TestCase):
    credentials = Credentials("AKIDEXAMPLE", SECRET)

    def setUp(self):
        self.cloud = Cloud(credentials=self.credentials)
        threading.Thread(target=self.cloud.server.serve, daemon=True).start()
        self.addCleanup(self.cloud.server.stop)
        self.connection = self.connect()

    def connect(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.cloud.port, timeout=10)
        self.addCleanup(connection.close)
        return connection

    def exchange(self, method, path, body=b"", headers=None, connection=None):
        connection = connection or self.connection
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response, response.read()

    def order(self, name, **order):
        response, body = self.exchange("POST", f"/_control/{name}", json.dumps(order).encode())
        self.assertEqual(response.status, 200, body)
        return json.loads(body)

    def ask(self, name):
        return json.loads(self.exchange("GET", f"/_control/{name}")[1])

    def send(self, action, parameters=None, connection=None, **signing):
        """(status, reply, headers) of a signed SQS call."""
        parameters = {"QueueUrl": QUEUE_URL} if parameters is None else parameters
        body = parameters if isinstance(parameters, bytes) else json.dumps(parameters).encode()
        headers = sign(f"127.0.0.1:{self.cloud.port}", body, f"AmazonSQS.{action}", **signing)
        response, reply = self.exchange("POST", "/", body, headers, connection)
        return response.status, json.loads(reply or b"{}"), response.headers

    def queue(self, action, connection=None, **parameters):
        status, reply, _ = self.send(action, {"QueueUrl": QUEUE_URL, **parameters}, connection)
        self.assertEqual(status, 200, reply)
        return reply

    def receive(self, **parameters):
        return self.queue("ReceiveMessage", MaxNumberOfMessages=10, **parameters).get("Messages") or []

    def code(self, action, parameters=None, **signing):
        status, reply, headers = self.send(action, parameters, **signing)
        self.assertGreaterEqual(status, 400)
        self.assertIn("x-amzn-RequestId", headers)
        self.assertRegex(headers["x-amzn-query-error"], r"^[\w.]+;(Sender|Receiver)$")
        return reply["__type"].partition("#")[2]

    def publish(self, *notifications, **order):
        return self.order("publish", queue="damoov", notifications=notifications, **order)


class SignatureTest(CloudCase):
    def test_published_examples(self):
        self.assertEqual(sigv4.self_test(), 0)

    def test_refusals(self):
        self.assertEqual(self.code("ReceiveMessage", secret="wrong"), "SignatureDoesNotMatch")
        self.assertEqual(self.code("ReceiveMessage", token="unasked"), "InvalidClientTokenId")
        self.assertEqual(self.exchange("POST", "/", b"{}")[0].status, 403)

    def test_clock(self):
        self.order("settings", clock_offset=3600)
        status, reply, headers = self.send("ReceiveMessage")
        self.assertEqual(status, 403)
        self.assertRegex(reply["message"], "^Signature expired: ")
        self.assertIn(datetime.fromtimestamp(self.cloud.clock(), timezone.utc).strftime(" %H:%M"), headers["Date"])
        self.assertEqual(self.send("ReceiveMessage", seconds=time.time() + 3600)[0], 200)

    def test_rotation(self):
        self.order("settings", session_token="one")
        self.assertEqual(self.code("ReceiveMessage"), "InvalidClientTokenId")
        self.assertEqual(self.send("ReceiveMessage", token="one")[0], 200)
        self.order("settings", session_token="two")
        self.assertEqual(self.code("ReceiveMessage", token="one"), "ExpiredToken")


class QueueTest(CloudCase):
    def test_receive_and_delete(self):
        self.publish({"Event": "A"}, {"Event": "B"}, raw=True)
        messages = self.receive(MessageSystemAttributeNames=["All"])
        self.assertEqual([message["Body"] for message in messages], ['{"Event":"A"}', '{"Event":"B"}'])
        self.assertEqual(messages[0]["MD5OfBody"], hashlib.md5(b'{"Event":"A"}').hexdigest())
        self.assertEqual(messages[0]["Attributes"]["ApproximateReceiveCount"], "1")
        entries = [{"Id": str(at), "ReceiptHandle": message["ReceiptHandle"]} for at, message in enumerate(messages)]
        self.assertEqual(self.queue("DeleteMessageBatch", Entries=entries), {"Successful": [{"Id": "0"}, {"Id": "1"}]})
        counts = self.ask("queue?name=damoov")
        self.assertEqual((counts["visible"], counts["in_flight"], counts["deleted"]), (0, 0, 2))

    def test_envelope(self):
        self.publish({"Event": "Ä"})
        body = self.receive()[0]["Body"]
        self.assertTrue(body.startswith('{\n  "Type" : "Notification",\n  "MessageId" : "'))
        self.assertEqual(json.loads(json.loads(body)["Message"]), {"Event": "Ä"})

    def test_redelivery_and_outdated_handle(self):
        self.publish("x", raw=True)
        first = self.receive(VisibilityTimeout=1)[0]["ReceiptHandle"]
        self.assertEqual(self.receive(), [])
        second = self.receive(WaitTimeSeconds=3, MessageSystemAttributeNames=["All"])[0]
        self.assertEqual(second["Attributes"]["ApproximateReceiveCount"], "2")
        self.queue("DeleteMessage", ReceiptHandle=first)
        self.assertEqual(self.ask("queue")["in_flight"], 1)
        self.queue("DeleteMessage", ReceiptHandle=second["ReceiptHandle"])
        self.assertEqual(self.ask("queue")["in_flight"], 0)

    def test_giving_back(self):
        self.publish("x", raw=True)
        handle = self.receive()[0]["ReceiptHandle"]
        self.queue("ChangeMessageVisibility", ReceiptHandle=handle, VisibilityTimeout=0)
        self.assertEqual(len(self.receive(VisibilityTimeout=0)), 1)
        self.assertEqual(len(self.receive()), 1)
        outdated = {"QueueUrl": QUEUE_URL, "ReceiptHandle": handle, "VisibilityTimeout": 0}
        self.assertEqual(self.code("ChangeMessageVisibility", outdated), "MessageNotInflight")

    def test_dead_letter(self):
        self.order("queue", queue="damoov", max_receive_count=2, dead_letter="dead")
        self.publish("x", raw=True)
        for _ in range(2):
            self.assertEqual(len(self.receive(VisibilityTimeout=0)), 1)
        self.assertEqual(self.receive(), [])
        self.assertEqual(self.ask("queue?name=dead")["visible"], 1)
        policy = self.queue("GetQueueAttributes", AttributeNames=["RedrivePolicy"])["Attributes"]["RedrivePolicy"]
        self.assertEqual(json.loads(policy)["maxReceiveCount"], 2)

    def test_long_poll_wakes_up(self):
        threading.Timer(0.2, lambda: self.cloud.sqs.queue("damoov").put(["x"])).start()
        begin = time.monotonic()
        self.assertEqual(len(self.receive(WaitTimeSeconds=20)), 1)
        self.assertLess(time.monotonic() - begin, 0.3)

    def test_nothing_goes_to_a_client_that_left(self):
        body = json.dumps({"QueueUrl": QUEUE_URL, "WaitTimeSeconds": 20}).encode()
        leaver = self.connect()
        leaver.request("POST", "/", body, sign(f"127.0.0.1:{self.cloud.port}", body, "AmazonSQS.ReceiveMessage"))
        self.wait_for_polls(1)
        leaver.close()
        self.publish("x", raw=True)
        self.assertEqual(len(self.receive()), 1)
        self.wait_for_polls(0)

    def wait_for_polls(self, number):
        deadline = time.monotonic() + 5
        while self.ask("queue")["waiting_polls"] != number:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    def test_empty_replies(self):
        for spelling, expected in (("[]", {"Messages": []}), ("null", {"Messages": None}), ("{}", {})):
            self.order("settings", empty_reply=spelling)
            self.assertEqual(self.queue("ReceiveMessage"), expected)

    def test_strictness(self):
        handle = {"ReceiptHandle": "x"}
        for expected, action, members in [
            ("SerializationException", "ReceiveMessage", {"Unknown": 1}),
            ("SerializationException", "ReceiveMessage", {"WaitTimeSeconds": "20"}),
            ("SerializationException", "ReceiveMessage", {"WaitTimeSeconds": True}),
            ("InvalidParameterValue", "ReceiveMessage", {"MaxNumberOfMessages": 11}),
            ("InvalidParameterValue", "ReceiveMessage", {"WaitTimeSeconds": 21}),
            ("InvalidParameterValue", "ReceiveMessage", {"VisibilityTimeout": 43201}),
            ("QueueDoesNotExist", "ReceiveMessage", {"QueueUrl": "https://sqs/1/other"}),
            ("ReceiptHandleIsInvalid", "DeleteMessage", handle),
            ("MissingParameter", "DeleteMessage", {}),
            ("EmptyBatchRequest", "DeleteMessageBatch", {"Entries": []}),
            ("TooManyEntriesInBatchRequest", "DeleteMessageBatch", {"Entries": [{"Id": str(n), **handle} for n in range(11)]}),
            ("BatchEntryIdsNotDistinct", "DeleteMessageBatch", {"Entries": [{"Id": "a", **handle}] * 2}),
            ("InvalidBatchEntryId", "DeleteMessageBatch", {"Entries": [{"Id": "a b", **handle}]}),
            ("UnknownOperationException", "NoSuchAction", {}),
            ("InvalidMessageContents", "SendMessage", {"MessageBody": "\x01"}),
        ]:
            with self.subTest(expected, members=members):
                self.assertEqual(self.code(action, {"QueueUrl": QUEUE_URL, **members}), expected)
        self.assertEqual(self.code("ReceiveMessage", b"[]"), "SerializationException")

    def test_failures_in_a_batch(self):
        reply = self.queue("DeleteMessageBatch", Entries=[{"Id": "a", "ReceiptHandle": "x"}])
        self.assertEqual(reply["Failed"][0]["Code"], "ReceiptHandleIsInvalid")
        self.assertTrue(reply["Failed"][0]["SenderFault"])

    def test_sending(self):
        sent = self.queue("SendMessage", MessageBody="ü")
        self.assertEqual(sent["MD5OfMessageBody"], hashlib.md5("ü".encode()).hexdigest())
        self.assertEqual(self.receive()[0]["MessageId"], sent["MessageId"])
        self.assertTrue(self.send("GetQueueUrl", {"QueueName": "damoov"})[1]["QueueUrl"].endswith("/damoov"))


class QueueFaultTest(CloudCase):
    def fault(self, mode, **order):
        self.order("fault", where="sqs", mode=mode, **order)

    def test_error(self):
        self.fault("error", target="ReceiveMessage", status=503, code="ServiceUnavailable", retry_after=7, times=2)
        for _ in range(2):
            status, reply, headers = self.send("ReceiveMessage")
            self.assertEqual((status, reply["__type"], headers["Retry-After"]),
                             (503, "com.amazonaws.sqs#ServiceUnavailable", "7"))
        self.assertEqual(self.receive(), [])

    def test_failing_entries(self):
        self.publish("x", "y", raw=True)
        entries = [{"Id": str(at), "ReceiptHandle": message["ReceiptHandle"]} for at, message in enumerate(self.receive())]
        self.fault("fail_entries", target="DeleteMessageBatch", count=1)
        reply = self.queue("DeleteMessageBatch", Entries=entries)
        self.assertEqual([entry["Id"] for entry in reply["Successful"]], ["1"])
        self.assertEqual(reply["Failed"][0], {"Id": "0", "SenderFault": False, "Code": "InternalFailure",
                                              "Message": "The stand-in was told to fail."})
        self.assertEqual(self.ask("queue")["in_flight"], 1)

    def test_lost_answer(self):
        self.publish("x", raw=True)
        for mode, kept in (("drop", 1), ("truncate", 0)):
            self.fault(mode, target="ReceiveMessage")
            with self.assertRaises((http.client.HTTPException, ConnectionError)):
                self.send("ReceiveMessage")
            self.connection.close()
            self.assertEqual(self.ask("queue")["visible"], kept)

    def test_other_faults(self):
        self.publish("x", raw=True)
        self.fault("bad_md5")
        self.assertNotEqual(self.receive(VisibilityTimeout=0)[0]["MD5OfBody"], hashlib.md5(b"x").hexdigest())
        self.fault("html")
        order = b'{"QueueUrl":"damoov"}'
        headers = sign(f"127.0.0.1:{self.cloud.port}", order, "AmazonSQS.ReceiveMessage")
        response, body = self.exchange("POST", "/", order, headers)
        self.assertEqual((response.status, body[:9]), (502, b"<!DOCTYPE"))
        self.fault("delay", seconds=0.2)
        begin = time.monotonic()
        self.assertEqual(len(self.receive()), 1)
        self.assertGreater(time.monotonic() - begin, 0.19)
        self.fault("error", times=None)
        self.assertEqual(self.ask("fault")[0]["mode"], "error")
        self.order("fault", clear=True)
        self.assertEqual(self.receive(), [])

    def test_records(self):
        self.receive()
        self.code("DeleteMessage", {"QueueUrl": QUEUE_URL})
        records = self.ask("requests")
        self.assertEqual([(record["target"], record["status"]) for record in records],
                         [("ReceiveMessage", 200), ("DeleteMessage", 400)])
        self.assertEqual(records[0]["parameters"]["MaxNumberOfMessages"], 10)
        self.assertEqual(records[0]["connection"], records[1]["connection"])
        self.assertEqual(self.ask(f"requests?since={records[0]['number']}"), records[1:])
        self.assertEqual(self.ask(f"requests?number={records[0]['number']}&fields=path,status"),
                         [{"path": records[0]["path"], "status": records[0]["status"]}])


class StorageQueueTest(CloudCase):
    """Refusals and rules; what a whole conversation looks like is compared with the vendor's emulator elsewhere."""

    def setUp(self):
        super().setUp()
        self.call("PUT", "trips")

    def call(self, method, path, query="", body=b"", key=storagequeue.ACCOUNT_KEY, sas=None, offset=0, drop=()):
        """(status, body, headers) of a request signed by SharedKey, or with a SAS appended."""
        path = f"/{storagequeue.ACCOUNT}/{path}"
        headers = {"x-ms-date": formatdate(self.cloud.clock() + offset, usegmt=True), "x-ms-version": "2021-12-02"}
        if body:
            headers["Content-Type"] = "application/xml"
        lines = [method, "", "", str(len(body)) if body else "", "", headers.get("Content-Type", "")] + [""] * 6
        lines += [f"{name}:{headers[name]}" for name in ("x-ms-date", "x-ms-version")]
        lines.append(f"/{storagequeue.ACCOUNT}{path}")
        lines += [f"{name}:{unquote(value)}" for name, _, value in sorted(item.partition("=") for item in query.split("&") if item)]
        if sas is None:
            signature = base64.b64encode(keyed(base64.b64decode(key), "\n".join(lines))).decode()
            headers["Authorization"] = f"SharedKey {storagequeue.ACCOUNT}:{signature}"
        query = "&".join(part for part in (query, sas) if part)
        headers = {name: value for name, value in headers.items() if name not in drop}
        response, reply = self.exchange(method, f"{path}?{query}" if query else path, body, headers)
        return response.status, reply, response.headers

    def code(self, *arguments, **options):
        status, reply, headers = self.call(*arguments, **options)
        self.assertGreaterEqual(status, 400)
        self.assertIn(f"<Code>{headers['x-ms-error-code']}</Code>".encode(), reply)
        return headers["x-ms-error-code"]

    def put(self, *texts):
        self.order("publish", service="storagequeue", queue="trips", notifications=texts, form="raw")

    def receive(self, query="numofmessages=32&visibilitytimeout=60"):
        """(id, encoded receipt, text) of each message."""
        status, reply, _ = self.call("GET", "trips/messages", query)
        self.assertEqual(status, 200)
        self.assertTrue(reply.startswith(b"\xef\xbb\xbf<?xml"))
        root = ElementTree.fromstring(reply.decode("utf-8-sig"))
        return [(item.findtext("MessageId"), quote(item.findtext("PopReceipt"), safe=""), item.findtext("MessageText")) for item in root]

    def sas(self, queue="trips", rights="pu", seconds=600):
        expiry = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
        text = f"{rights}\n\n{expiry}\n/queue/{storagequeue.ACCOUNT}/{queue}\n\n\n\n2021-12-02"
        signature = base64.b64encode(keyed(base64.b64decode(storagequeue.ACCOUNT_KEY), text)).decode()
        return f"sv=2021-12-02&sp={rights}&se={quote(expiry)}&sig={quote(signature, safe='')}"

    def test_a_message_is_leased_and_deleted(self):
        self.put("a & <b>", "two")
        first, second = self.receive()
        self.assertEqual((first[2], second[2]), ("a & <b>", "two"))
        self.assertEqual(first[1], second[1], "one receipt for a whole list")
        self.assertRegex(first[1], "%2B.*%2F.*%3D")
        self.assertEqual(self.receive(), [])
        self.assertEqual(self.call("DELETE", f"trips/messages/{first[0]}", f"popreceipt={first[1]}")[0], 204)
        self.assertEqual(self.code("DELETE", f"trips/messages/{first[0]}", f"popreceipt={first[1]}"), "MessageNotFound")
        self.assertEqual(self.ask("queue?service=storagequeue&name=trips")["in_flight"], 1)

    def test_a_receipt_ends_with_the_next_one_not_with_its_lease(self):
        self.put("one")
        [(message, receipt, _)] = self.receive("visibilitytimeout=1")
        status, _, headers = self.call("PUT", f"trips/messages/{message}", f"popreceipt={receipt}&visibilitytimeout=0")
        self.assertEqual(status, 204)
        self.assertEqual(self.code("DELETE", f"trips/messages/{message}", f"popreceipt={receipt}"), "PopReceiptMismatch")
        renewed = quote(headers["x-ms-popreceipt"], safe="")
        self.assertEqual(self.call("DELETE", f"trips/messages/{message}", f"popreceipt={renewed}")[0], 204)

    def test_a_receipt_has_to_be_encoded(self):
        self.put("one")
        [(message, receipt, _)] = self.receive()
        query = f"popreceipt={unquote(receipt)}"
        self.assertEqual(self.code("DELETE", f"trips/messages/{message}", query, sas=self.sas()), "PopReceiptMismatch")

    def test_who_may_not(self):
        wrong = base64.b64encode(b"x" * 64).decode()
        for expected, options in (
                ("AuthenticationFailed", {"key": wrong}),
                ("AuthenticationFailed", {"offset": 1000}), ("AuthenticationFailed", {"offset": -1000}),
                ("AuthenticationFailed", {"drop": ("Authorization",)}), ("AuthenticationFailed", {"drop": ("x-ms-date",)}),
                ("AuthenticationFailed", {"sas": self.sas(seconds=-60)}), ("AuthenticationFailed", {"sas": self.sas(queue="other")}),
                ("AuthenticationFailed", {"sas": self.sas() + "x"}),
                ("AuthorizationPermissionMismatch", {"sas": self.sas(rights="r")}),
                ("InvalidHeaderValue", {"drop": ("x-ms-version",)})):
            with self.subTest(expected, **options):
                self.assertEqual(self.code("GET", "trips/messages", **options), expected)
        self.assertEqual(self.call("GET", "trips/messages", sas=self.sas())[0], 200)
        self.assertEqual(self.call("GET", "trips/messages", offset=600)[0], 200)

    def test_what_is_refused(self):
        for expected, method, path, query in (
                ("QueueNotFound", "GET", "nowhere/messages", ""),
                ("OutOfRangeQueryParameterValue", "GET", "trips/messages", "numofmessages=33"),
                ("OutOfRangeQueryParameterValue", "GET", "trips/messages", "visibilitytimeout=0"),
                ("OutOfRangeQueryParameterValue", "GET", "trips/messages", "visibilitytimeout=604801"),
                ("InvalidQueryParameterValue", "GET", "trips/messages", "numofmessages=many"),
                ("UnsupportedQueryParameter", "GET", "trips/messages", "timeout=1&wait=1"),
                ("MissingRequiredQueryParameter", "DELETE", "trips/messages/x", ""),
                ("InvalidResourceName", "PUT", "UPPER", ""),
                ("UnsupportedHttpVerb", "PATCH", "trips/messages", "")):
            with self.subTest(expected, path=path, query=query):
                self.assertEqual(self.code(method, path, query), expected)

    def test_a_topic_delivers_events_in_base64(self):
        self.order("publish", service="storagequeue", queue="trips", notifications=[{"Event": "X"}])
        [(_, _, text)] = self.receive()
        event = json.loads(base64.b64decode(text))
        self.assertEqual((event["data"], event["eventType"]), ({"Event": "X"}, "Damoov.Notification"))

    def test_faults(self):
        self.order("fault", where="storagequeue", mode="error", target="GetMessages", retry_after=3)
        status, _, headers = self.call("GET", "trips/messages")
        self.assertEqual((status, headers["x-ms-error-code"], headers["Retry-After"]), (503, "ServerBusy", "3"))
        self.order("fault", where="storagequeue", mode="body", target="trips", text="<x/>")
        self.assertEqual(self.call("GET", "trips/messages")[:2], (200, b"<x/>"))
class SnsTest(CloudCase):
    def setUp(self):
        super().setUp()
        self.directory = tempfile.TemporaryDirectory()
        self.key = os.path.join(self.directory.name, "key")
        self.public = os.path.join(self.directory.name, "public")
        for command in (["genrsa", "-out", self.key, "2048"], ["rsa", "-in", self.key, "-pubout", "-out", self.public]):
            subprocess.run(["openssl", *command], check=True, capture_output=True)

    def tearDown(self):
        self.directory.cleanup()
        super().tearDown()

    def signed(self, **order):
        return json.loads(self.order("sign", certificate="good", key_file=self.key, **order)["body"])

    def verify(self, message, digest, text):
        path = os.path.join(self.directory.name, "signature")
        with open(path, "wb") as file:
            file.write(base64.b64decode(message["Signature"]))
        command = ["openssl", "dgst", digest, "-verify", self.public, "-signature", path]
        return subprocess.run(command, input=text.encode(), capture_output=True).returncode == 0

    def test_signatures(self):
        for version, digest in (("1", "-sha1"), ("2", "-sha256")):
            message = self.signed(members={"Message": "ü", "Subject": "s", "SignatureVersion": version})
            text = (f"Message\nü\nMessageId\n{message['MessageId']}\nSubject\ns\nTimestamp\n{message['Timestamp']}\n"
                    f"TopicArn\n{message['TopicArn']}\nType\nNotification\n")
            self.assertTrue(self.verify(message, digest, text))
            self.assertFalse(self.verify(message, digest, text + "x"))

    def test_certificates(self):
        self.order("certificate", certificate="good", pem="PEM")
        response, body = self.exchange("GET", "/SimpleNotificationService-good.pem")
        self.assertEqual((response.status, body), (200, b"PEM"))
        for path in ("/SimpleNotificationService-other.pem", "/SimpleNotificationService-good.pem?x=1"):
            self.assertEqual(self.exchange("GET", path)[0].status, 404)

    def test_confirmation(self):
        message = self.signed(type="SubscriptionConfirmation")
        query = urlencode({"Action": "ConfirmSubscription", "Version": "2010-03-31",
                           "TopicArn": message["TopicArn"], "Token": message["Token"]})
        for wrong in (query.replace("2010", "2011"), query.replace("damoov", "other"), query + "&X=1", query + "x",
                      query.replace("Confirm", "Un")):
            self.assertEqual(self.exchange("GET", f"/?{wrong}")[0].status, 400)
        self.assertEqual(self.exchange("GET", f"/?{query}", headers={"Authorization": "x"})[0].status, 400)
        self.assertEqual(self.ask("confirmed"), [])
        response, body = self.exchange("GET", f"/?{query}")
        self.assertEqual((response.status, b"<SubscriptionArn>" in body), (200, True))
        self.assertEqual(self.ask("confirmed"), [message["Token"]])

    def test_faults(self):
        self.order("fault", where="sns", mode="error", target="certificate", status=503)
        self.assertEqual(self.exchange("GET", "/SimpleNotificationService-good.pem")[0].status, 503)
        self.assertEqual(self.exchange("GET", "/SimpleNotificationService-good.pem")[0].status, 404)


def bus_token(resource, key=LISTEN_KEY, policy="listen", seconds=60):
    """A token of Service Bus; written apart from the verifier."""
    text = f"{quote(resource, safe='')}\n{int(time.time() + seconds)}"
    name, expiry = text.split("\n")
    digest = base64.b64encode(hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()).decode()
    return f"SharedAccessSignature sr={name}&sig={quote(digest, safe='')}&se={expiry}&skn={policy}"


class BusCase(CloudCase):
    def setUp(self):
        super().setUp()
        self.order("queue", service="servicebus", queue="trips", lock_seconds=30)

    def resource(self, path=""):
        return f"http://127.0.0.1:{self.cloud.port}{path}"

    def call(self, method, path, body=b"", connection=None, headers=None, **signing):
        token = bus_token(signing.pop("resource", self.resource("/")), **signing)
        return self.exchange(method, path, body, {"Authorization": token, **(headers or {})}, connection)

    def status(self, method, path, body=b"", **options):
        return self.call(method, path, body, **options)[0].status

    def detail(self, method, path, **options):
        """(status, text) of a refusal, which has the form of all refusals."""
        response, body = self.call(method, path, **options)
        self.assertEqual(response.headers["Content-Type"], "application/xml; charset=utf-8")
        self.assertEqual(response.headers["Transfer-Encoding"], "chunked")
        text = re.fullmatch(r"<Error><Code>(\d+)</Code><Detail>(.*)\.TrackingId:[0-9a-f-]{36}_G21,"
                            r"TimeStamp:\d\d/\d\d/\d{4} \d\d:\d\d:\d\d [AP]M</Detail></Error>", body.decode())
        self.assertEqual(int(text[1]), response.status)
        return response.status, text[2]

    def put(self, *bodies, queue="trips", **order):
        return self.order("publish", service="servicebus", queue=queue, notifications=bodies, **order)

    def lock(self, path="/trips", timeout=0):
        """(properties, lock URI, headers, body) of a received message; None when there is none."""
        response, body = self.call("POST", f"{path}/messages/head?timeout={timeout}")
        if response.status == 204:
            return None
        self.assertEqual(response.status, 201, body)
        properties = json.loads(response.headers["BrokerProperties"])
        return properties, f"{path}/messages/{properties['SequenceNumber']}/{properties['LockToken']}", response.headers, body

    def counts(self, queue="trips"):
        return self.ask(f"queue?service=servicebus&name={quote(queue)}")


class BusTest(BusCase):
    def test_receive_and_complete(self):
        self.put({"Event": "A"})
        properties, uri, headers, body = self.lock()
        self.assertEqual(body, b'{"Event":"A"}')
        self.assertEqual(headers["Location"], f"https://stand-in.servicebus.windows.net{uri}")
        self.assertEqual(headers["Transfer-Encoding"], "chunked")
        self.assertIsNone(headers["Content-Type"])
        self.assertRegex(headers["BrokerProperties"], '"TimeToLive":922337203685.47754')
        self.assertIsNone(self.lock())
        response, body = self.call("DELETE", uri)
        self.assertEqual((response.status, body), (200, b""))
        self.assertEqual(self.detail("DELETE", uri)[0], 404)
        self.assertEqual((self.counts()["deleted"], self.counts()["in_flight"]), (1, 0))

    def test_lock_by_message_id(self):
        self.put("x")
        properties, uri, *_ = self.lock()
        named = f"/TRIPS/Messages/{properties['MessageId']}/{properties['LockToken'].upper()}"
        self.assertEqual(self.status("DELETE", named), 200)

    def test_unlock_counts_and_changes_the_token(self):
        self.put("x")
        before, uri, *_ = self.lock()
        self.assertEqual(self.status("PUT", uri), 200)
        after, *_ = self.lock()
        self.assertEqual((before["DeliveryCount"], after["DeliveryCount"]), (1, 2))
        for name in ("MessageId", "SequenceNumber", "EnqueuedTimeUtc"):
            self.assertEqual(before[name], after[name])
        self.assertNotEqual(before["LockToken"], after["LockToken"])
        self.assertEqual([self.detail(method, uri)[0] for method in ("DELETE", "PUT", "POST")], [404] * 3)

    def test_lock_expires_unless_renewed(self):
        self.order("queue", service="servicebus", queue="trips", lock_seconds=1)
        self.put("x")
        before, uri, *_ = self.lock()
        for _ in range(3):
            time.sleep(0.5)
            self.assertEqual(self.status("POST", uri), 200)
        self.assertIsNone(self.lock())
        after, *_ = self.lock(timeout=3)
        self.assertEqual(after["DeliveryCount"], 2)
        self.assertEqual(self.detail("POST", uri)[0], 404)

    def test_dead_letters(self):
        self.order("queue", service="servicebus", queue="trips", max_delivery_count=2)
        self.put("x")
        for _ in range(2):
            self.assertEqual(self.status("PUT", self.lock()[1]), 200)
        self.assertIsNone(self.lock())
        properties, uri, headers, body = self.lock("/trips/$DeadLetterQueue")
        self.assertEqual((properties["DeliveryCount"], headers["DeadLetterReason"], body),
                         (3, '"MaxDeliveryCountExceeded"', b"x"))
        self.assertEqual(self.status("DELETE", uri, resource=self.resource("/trips")), 200)

    def test_topic(self):
        for name in ("a", "b"):
            self.order("queue", service="servicebus", queue=f"topic/subscriptions/{name}")
        self.put("x", "y", queue="Topic")
        self.put("z", queue="topic/subscriptions/b")
        for path, bodies in (("/topic/Subscriptions/A", [b"x", b"y"]), ("/TOPIC/subscriptions/b", [b"x", b"y", b"z"])):
            self.assertEqual([self.lock(path)[3] for _ in bodies], bodies)
            self.assertIsNone(self.lock(path))
        self.assertEqual(self.detail("POST", "/topic/messages/head")[0], 404)

    def test_waiting(self):
        threading.Timer(0.2, lambda: self.cloud.servicebus.send("trips", [b"x"])).start()
        begin = time.monotonic()
        response, _ = self.call("POST", "/trips/messages/head?timeout=20")
        self.assertEqual(response.status, 201)
        self.assertLess(time.monotonic() - begin, 5)
        begin = time.monotonic()
        response, body = self.call("POST", "/trips/messages/head?timeout=1")
        self.assertEqual((response.status, body, response.headers["Content-Length"]), (204, b"", "0"))
        self.assertGreater(time.monotonic() - begin, 0.9)

    def test_nothing_goes_to_a_client_that_left(self):
        leaver = self.connect()
        leaver.request("POST", "/trips/messages/head?timeout=20", b"", {"Authorization": bus_token(self.resource())})
        self.wait_for_polls(1)
        leaver.close()
        self.put("x")
        self.assertEqual(self.lock()[0]["DeliveryCount"], 1)
        self.wait_for_polls(0)

    def wait_for_polls(self, number):
        deadline = time.monotonic() + 5
        while self.counts()["waiting_polls"] != number:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    def test_sending(self):
        send = {"key": SECOND_KEY, "policy": "send"}
        headers = {"Content-Type": "text/plain", "BrokerProperties": '{"Label":"l","MessageId":"m"}',
                   "hello": '"a \\"word\\""', "number": "42", "truth": "true"}
        self.assertEqual(self.status("POST", "/trips/messages", bytes(range(256)), headers=headers, **send), 201)
        properties, _, got, body = self.lock()
        self.assertEqual((properties["Label"], properties["MessageId"], body), ("l", "m", bytes(range(256))))
        self.assertEqual([got[name] for name in ("Content-Type", "hello", "number", "truth")],
                         ["text/plain", '"a \\"word\\""', "42", "true"])
        batch = [{"Body": "one", "BrokerProperties": {"Label": "l"}}, {"Body": "two", "UserProperties": {"n": 1.5}}]
        kind = {"Content-Type": "application/vnd.microsoft.servicebus.json"}
        self.assertEqual(self.status("POST", "/trips/messages", json.dumps(batch).encode(), headers=kind, **send), 201)
        self.assertEqual([self.lock()[3] for _ in batch], [b"one", b"two"])

    def test_numbers_of_partitions(self):
        number = 2 ** 62 + 1
        self.order("queue", service="servicebus", queue="trips", first_number=number)
        self.put("x")
        properties, uri, *_ = self.lock()
        self.assertEqual(properties["SequenceNumber"], number)
        self.assertEqual(self.status("DELETE", uri), 200)

    def test_refusals(self):
        self.assertEqual(self.detail("POST", "/trips/messages/head?timeout=soon")[0], 400)
        self.assertEqual(self.detail("POST", "/nowhere/messages/head")[0], 404)
        self.order("queue", service="servicebus", queue="sessions", requires_session=True)
        status, text = self.detail("POST", "/sessions/messages/head?timeout=0")
        self.assertEqual(status, 400)
        self.assertIn("requires sessions", text)
        self.assertEqual(self.detail("GET", "/trips/messages/head")[0], 405)

    def test_length_is_required(self):
        for method in ("POST", "PUT"):
            with socket.create_connection(("127.0.0.1", self.cloud.port)) as client:
                client.sendall(f"{method} /trips/messages/1/{TRACK} HTTP/1.1\r\nHost: 127.0.0.1:{self.cloud.port}\r\n"
                               f"Authorization: {bus_token(self.resource())}\r\n\r\n".encode())
                self.assertTrue(client.recv(100).startswith(b"HTTP/1.1 411 "))


class BusTokenTest(BusCase):
    PATH = "/trips/messages/head?timeout=0"

    def refusal(self, path=PATH, **signing):
        status, text = self.detail("POST", path, **signing)
        self.assertEqual(status, 401)
        return text.partition(":")[0].partition(".")[0]

    def test_published_vector(self):
        key, text = "dGVzdC1rZXktZm9yLXZlY3RvcnMtMzItYnl0ZXMhISE=", "https%3A%2F%2Fcontoso.servicebus.windows.net%2Ftelematics"
        fields = {"sr": text, "se": "1800000000", "sig": "YoZP5yd%2FKsQwWRJhwLcttROA0fM%2FyxnqIEGQZhTTEYU%3D"}
        self.assertTrue(servicebus.fits(key, fields))
        self.assertFalse(servicebus.fits(key, {**fields, "se": "1800000001"}))

    def test_what_is_admitted(self):
        for resource in ("", "/", "/trips", "/TRIPS/", "/trips/messages/head"):
            self.assertEqual(self.status("POST", self.PATH, resource=self.resource(resource)), 204, resource)
        for scheme in ("https", "sb"):
            self.assertEqual(self.status("POST", self.PATH, resource=self.resource().replace("http", scheme)), 204)
        self.assertEqual(self.status("POST", self.PATH, key=SECOND_KEY), 204)

    def test_what_is_refused(self):
        self.assertEqual(self.refusal(key="wrong"), "InvalidSignature")
        self.assertEqual(self.refusal(policy="unknown"), "InvalidSignature")
        self.assertEqual(self.refusal(seconds=-1), "ExpiredToken")
        for resource in (self.resource("/trip"), self.resource("/trips/subscriptions"), "http://elsewhere/trips", "trips"):
            self.assertEqual(self.refusal(resource=resource), "InvalidAudience", resource)
        self.assertEqual(self.refusal(policy="below"), "InvalidAudience")
        self.assertEqual(self.refusal(key=SECOND_KEY, policy="send"), "Unauthorized access")
        self.assertEqual(self.refusal("/trips/messages"), "Unauthorized access")
        self.assertEqual(self.exchange("POST", self.PATH)[0].status, 401)
        for token in ("Bearer x", "SharedAccessSignature x", bus_token(self.resource()) + "&se=1"):
            self.assertEqual(self.exchange("POST", self.PATH, b"", {"Authorization": token})[0].status, 401)

    def test_keys_are_replaced(self):
        self.order("settings", listen_keys=["new", SECOND_KEY])
        self.assertEqual(self.refusal(), "InvalidSignature")
        self.assertEqual(self.status("POST", self.PATH, key="new"), 204)
        self.assertEqual(self.status("POST", self.PATH, key=SECOND_KEY), 204)

    def test_clock(self):
        self.order("settings", clock_offset=3600)
        self.assertEqual(self.refusal(), "ExpiredToken")
        self.assertEqual(self.status("POST", self.PATH, seconds=3660), 204)

    def test_records(self):
        self.call("POST", self.PATH, key=SECOND_KEY)
        self.refusal(key="wrong")
        first, second = self.ask("requests")[-2:]
        self.assertEqual((first["target"], first["status"], first["headers"]["authorization"]),
                         ("Receive", 204, "SharedAccessSignature"))
        self.assertEqual({name: first["parameters"][name] for name in ("entity", "timeout", "key")},
                         {"entity": "trips", "timeout": "0", "key": 1})
        self.assertNotIn("key", second["parameters"])
        self.assertEqual(self.ask("requests?since=-1"), [second])


class BusFaultTest(BusCase):
    def fault(self, mode, **order):
        self.order("fault", where="servicebus", mode=mode, **order)

    def test_errors(self):
        self.fault("error", target="Receive", status=503, message="busy", retry_after=7)
        response, body = self.call("POST", "/trips/messages/head?timeout=0")
        self.assertEqual((response.status, response.headers["Retry-After"]), (503, "7"))
        self.assertIn(b"<Detail>busy.TrackingId:", body)
        self.fault("empty_error", target="trips", status=410)
        response, body = self.call("POST", "/trips/messages/head?timeout=0")
        self.assertEqual((response.status, body), (410, b""))

    def test_lock_that_is_over(self):
        self.put("x")
        self.fault("expire_lock")
        _, uri, *_ = self.lock()
        self.assertEqual(self.detail("DELETE", uri)[0], 404)
        self.assertEqual(self.lock()[0]["DeliveryCount"], 2)

    def test_odd_headers(self):
        self.put("x", "y", "z")
        for text in ("nonsense", None):
            self.fault("properties", text=text)
            response, _ = self.call("POST", "/trips/messages/head?timeout=0")
            self.assertEqual((response.status, response.headers["BrokerProperties"]), (201, text))
        self.fault("headers", kilobytes=60)
        self.assertGreater(len(str(self.lock()[2])), 60_000)

    def test_lost_answer(self):
        self.put("x")
        for mode, options in (("drop", {}), ("drop", {"perform": True}), ("truncate", {})):
            self.fault(mode, **options)
            with self.assertRaises((http.client.HTTPException, ConnectionError)):
                self.call("POST", "/trips/messages/head?timeout=0")
            self.connection.close()
            self.put("x")


class BusFactsTest(BusCase):
    """The stand-in's replies have the form of the service's own."""

    OPTIONAL = {"strict-transport-security"}        # newer than the recording
    PATTERNS = {"time": r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", "guid": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"}

    def facts(self, file, groups=(2, *range(8, 16))):
        with open(file, encoding="utf-8") as source:
            return [exchange for exchange in json.load(source)["exchanges"] if exchange["group"] in groups]

    def kind(self, value):
        if isinstance(value, str):
            return next((name for name, pattern in self.PATTERNS.items() if re.fullmatch(pattern, value)), "text")
        return type(value).__name__

    def form(self, status, headers, body):
        """What the reply is made of, without what it says."""
        headers = {name.lower(): value for name, value in headers.items()}
        broker = json.loads(headers.get("brokerproperties", "{}"))
        custom = {name: self.kind(json.loads(headers[name])) for name in headers if name.startswith("prop")}
        return {"status": status, "headers": sorted(set(headers) - self.OPTIONAL), "date": self.kind(headers["date"]),
                "type": headers.get("content-type"), "broker": {name: self.kind(value) for name, value in broker.items()},
                "for ever": re.search(r'"TimeToLive":([0-9.]+)', headers.get("brokerproperties", "")) and "922337203685.47754"
                            in headers["brokerproperties"],
                "location": bool(re.fullmatch(r"https://[a-z-]+\.servicebus\.windows\.net/\w+/messages/\d+/[0-9a-f-]{36}",
                                              headers.get("location", ""))),
                "custom": custom,
                "error": bool(re.fullmatch(r"<Error><Code>\d+</Code><Detail>.*\.TrackingId:[0-9a-f-]{36}_G\d+,"
                                           r"TimeStamp:\d+/\d+/\d{4} \d+:\d\d:\d\d [AP]M</Detail></Error>", body))}

    def check(self, file):
        """Plays what was recorded, group by group, and compares each reply."""
        lock = None
        for exchange in self.facts(file):
            path = exchange["uri"].partition("?")[0]
            entity = path.split("/")[1]
            if path.lower().endswith("/messages"):
                self.order("queue", service="servicebus", queue=entity)
                properties = {"propint": 1, "propfloat": 2.5, "propdate": "Mon, 02 Mar 2026 06:00:00 PST", "propstring": "s"}
                described = {"content_type": "text/plain", "properties": properties} if exchange["group"] == 8 else {}
                self.put("x", queue=entity, **described)
                continue
            path = path if "/messages" in path.lower() else f"{path}/messages/head"     # of no entity at all
            if path.count("/") == 4:
                path = lock
            query = "?timeout=0" if path.lower().endswith("head") else ""
            response, body = self.call(exchange["method"], path + query)
            with self.subTest(file=file, group=exchange["group"], request=f"{exchange['method']} {exchange['uri']}"):
                self.assertEqual(self.form(response.status, response.headers, body.decode()),
                                 self.form(exchange["status"], exchange["headers"], exchange["body"]))
            if response.headers["Location"]:
                lock = response.headers["Location"].partition(".net")[2]

    def test_against_own_facts(self):
        self.check(os.path.join(HERE, "servicebus_facts.json"))

    def test_own_facts_against_recordings(self):
        """Where recordings of the service itself are at hand, they are asked, too."""
        own = self.facts(os.path.join(HERE, "servicebus_facts.json"))
        self.assertEqual(len(own), 31)
        for file in filter(os.path.exists, [os.path.join(os.environ.get("DAMOOV_RECORDINGS", ""), "servicebus-rest-2014.json")]):
            recorded = self.facts(file)
            forms = [[(item["group"], item["method"], self.form(item["status"], item["headers"], item["body"]))
                      for item in source] for source in (own, recorded)]
            self.assertEqual(*forms)
            self.check(file)

    def test_replay(self):
        own = [item for item in self.facts(os.path.join(HERE, "servicebus_facts.json"), (10,)) if item["uri"].count("/") > 2]
        self.order("replay", queue="queue10", exchanges=own)
        self.assertIsNotNone(self.call("POST", "/queue10/messages/head?timeout=0")[0].headers["Location"])
        self.assertIsNone(self.lock("/queue10"))
        self.assertEqual(self.detail("DELETE", f"/queue10/messages/1/{TRACK}")[0], 404)
        self.assertEqual(self.status("DELETE", own[1]["uri"]), 200)
        self.assertEqual(self.ask("replay?queue=queue10"), {"left": 0, "surprises": [f"DELETE /queue10/messages/1/{TRACK}"]})


class ApiTest(CloudCase):
    text = json.dumps({"Result": {"Track": {"DrivingTips": "x" * 50_000}, "Code": 200}})

    def setUp(self):
        super().setUp()
        self.order("dataset", kind="processed", id=TRACK, device_token=TOKEN, text=self.text)

    def get(self, path=GET_TRACK, token=TOKEN, coding="gzip"):
        return self.exchange("GET", path, headers={"DeviceToken": token, "Accept-Encoding": coding})

    def fault(self, mode, **order):
        self.order("fault", where="api", mode=mode, **order)

    def test_download(self):
        response, body = self.get()
        self.assertEqual(gzip.decompress(body).decode(), self.text)
        self.assertEqual((response.headers["Content-Encoding"], response.headers["Code"]), ("gzip", "200"))
        self.assertIsNone(response.headers["Content-Length"])
        response, body = self.get(coding="identity, gzip;q=0")
        self.assertEqual((response.headers["Content-Encoding"], body.decode()), (None, self.text))
        self.assertEqual(self.get(GET_TRACK.replace("trackToken", "TrackToken"))[0].status, 200)

    def test_addresses(self):
        base = "/mobilesdk/incoming/incoming/tracks"
        accidents = "/api/drivingevents/get/v1/Accidents"
        for kind, path in (("raw", f"{base}/received/{TRACK}/v1/"), ("removed", f"{base}/removed/{TRACK}/v1/"),
                           ("crash", f"{accidents}/received/{TRACK}"), ("crash_buffer", f"{accidents}/extras/received/{TRACK}")):
            self.assertEqual(self.get(path)[0].status, 404)
            self.order("dataset", kind=kind, id=TRACK, device_token=TOKEN, document={"Kind": kind})
            self.assertEqual(json.loads(gzip.decompress(self.get(path)[1])), {"Kind": kind})

    def listed(self, start="2024-05-01T00:00:00Z", end="2024-05-15T00:00:00Z", page=0, size=2, token=TOKEN):
        return self.get(f"/mobilesdk/stage/track/get_tracks/v1?startDate={start}&endDate={end}&pageNumber={page}&pageSize={size}", token)

    def test_lists(self):
        ids = [f"00000000-0000-4000-8000-00000000000{n}" for n in range(4)]
        for n, track in enumerate(ids):
            self.order("dataset", kind="processed", id=track, device_token=TRACK if n == 3 else TOKEN,
                       document={"Result": {"Track": {"StartDate": f"2024-05-1{4 - n}T01:00:00+02:00", "Distance": n, "Points": [1]}}})
        tracks = [json.loads(gzip.decompress(self.listed(page=page)[1]))["Result"]["Tracks"] for page in range(3)]
        self.assertEqual([[track["TrackToken"] for track in page] for page in tracks], [[ids[2], ids[1]], [ids[0]], []])
        self.assertEqual(tracks[0][0], {"TrackToken": ids[2], "StartDate": "2024-05-12T01:00:00+02:00", "Distance": 2})
        self.order("withdraw", kind="processed", ids=[ids[2]])
        self.order("list_limit", limit=1)
        self.assertEqual([track["TrackToken"] for track in json.loads(gzip.decompress(self.listed()[1]))["Result"]["Tracks"]], [ids[1]])
        self.assertEqual([self.listed(**wrong)[0].status for wrong in
                          ({"token": ""}, {"end": "2024-05-16T00:00:00Z"}, {"page": -1}, {"start": "2024-05-01T00:00:00"}, {"start": "x"})],
                         [401, 400, 400, 400, 400])

    def test_refusals(self):
        self.assertEqual(self.get(token="")[0].status, 401)
        self.assertEqual(self.get(token=TRACK)[0].status, 401)
        self.assertEqual(self.get(GET_TRACK.replace("c4", "c5"))[0].status, 404)
        self.assertEqual(self.get("/elsewhere")[0].status, 404)
        self.assertEqual([record["device_token"] for record in self.ask("requests")[:2]], ["", TRACK])

    def test_status(self):
        self.fault("status", target=TRACK.upper(), status=429, retry_after_date=60, body="later")
        response, body = self.get()
        self.assertEqual((response.status, body), (429, b"later"))
        self.assertRegex(response.headers["Retry-After"], "GMT$")
        self.assertEqual(self.get()[0].status, 200)

    def test_framings(self):
        for mode, length in (("content_length", str(len(self.text))), ("close_delimited", None)):
            self.fault(mode)
            response, body = self.get()
            self.assertEqual((response.headers["Content-Length"], response.headers["Transfer-Encoding"], body.decode()),
                             (length, None, self.text))
        self.fault("wrong_encoding")
        response, body = self.get()
        self.assertEqual((response.headers["Content-Encoding"], body.decode()), ("gzip", self.text))
        for mode in ("truncate", "short_length"):
            self.fault(mode)
            with self.assertRaises(http.client.IncompleteRead):
                self.get()
            self.connection.close()

    def test_instead_of_the_document(self):
        self.fault("redirect", location="https://elsewhere.invalid/")
        response, _ = self.get()
        self.assertEqual((response.status, response.headers["Location"]), (302, "https://elsewhere.invalid/"))
        self.fault("result_code")
        self.assertEqual(json.loads(self.get()[1]), {"Result": {"Code": 500}})
        self.fault("html", status=200)
        response, body = self.get()
        self.assertEqual((response.status, body[:9]), (200, b"<!DOCTYPE"))
        self.fault("bomb", megabytes=20)
        packed = self.get()[1]
        self.assertLess(len(packed), 40_000)
        self.assertEqual(len(zlib.decompress(packed, 31)), 20 * 1024 * 1024)

    def test_endless(self):
        self.fault("endless")
        self.connection.request("GET", GET_TRACK, headers={"DeviceToken": TOKEN})
        self.assertEqual(len(self.connection.getresponse().read(5_000_000)), 5_000_000)

    def test_slow_answers(self):
        for mode, order in (("stall", {"seconds": 0.2}), ("drip", {"seconds": 0.05, "pieces": 5})):
            self.fault(mode, **order)
            begin = time.monotonic()
            self.assertEqual(gzip.decompress(self.get()[1]).decode(), self.text)
            self.assertGreater(time.monotonic() - begin, 0.19)


class StorageTest(CloudCase):
    KEY = "2026/a b+c.json"
    PATH = "/trips/2026/a%20b%2Bc.json"

    def setUp(self):
        super().setUp()
        self.host = f"127.0.0.1:{self.cloud.port}"
        self.order("object", store="s3", container="trips", key=self.KEY, text="{}")
        self.blob = self.order("object", store="blob", container="exports", key=self.KEY, text="{}")["url"].split(self.host)[1]

    def signed(self, path=PATH, region="eu-west-1", seconds=None, secret=SECRET, **changes):
        """The headers of a signed S3 request; written apart from the verifier."""
        date = datetime.fromtimestamp(seconds or time.time(), timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        headers = {"host": self.host, "x-amz-content-sha256": hashed(b""), "x-amz-date": date}
        path, _, query = path.partition("?")
        lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        names = ";".join(sorted(headers))
        scope = f"{date[:8]}/{region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n" + hashed(f"GET\n{path}\n{query}\n{lines}\n{names}\n{hashed(b'')}".encode())
        key = ("AWS4" + secret).encode()
        for part in scope.split("/"):
            key = keyed(key, part)
        headers["Authorization"] = (f"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{scope}, SignedHeaders={names}, "
                                    f"Signature={keyed(key, text).hex()}")
        return {name: value for name, value in {**headers, **changes}.items() if value is not None}

    def answer(self, path, headers=None):
        """(status, code of the error or the body)."""
        response, body = self.exchange("GET", path, headers=headers)
        code = re.search(rb"<Code>(.*)</Code>", body)
        return response.status, code[1].decode() if code else body.decode()

    def test_s3(self):
        self.assertEqual(self.answer(self.PATH, self.signed()), (200, "{}"))
        self.assertEqual(self.answer("/trips/none", self.signed("/trips/none")), (404, "NoSuchKey"))
        self.assertEqual(self.answer(self.PATH), (403, "AccessDenied"))
        self.assertEqual(self.answer(self.PATH, self.signed(secret="wrong")), (403, "SignatureDoesNotMatch"))
        self.assertEqual(self.answer(self.PATH, self.signed(seconds=time.time() - 3600)), (403, "RequestTimeTooSkewed"))
        self.assertEqual(self.answer(self.PATH, self.signed(region="us-east-1")), (400, "AuthorizationHeaderMalformed"))
        self.assertEqual(self.answer(self.PATH, self.signed(**{"x-amz-content-sha256": None})), (400, "InvalidRequest"))
        self.assertEqual(self.answer(self.PATH, self.signed(DeviceToken=TOKEN)), (400, "DeviceTokenSeen"))

    def test_versions_and_regions(self):
        for version in ("1", "2"):
            self.order("object", store="s3", container="far", key="k", text=version, version=version, region="ap-south-1",
                       refusal="PermanentRedirect")
        self.assertEqual(self.answer("/far/k", self.signed("/far/k")), (301, "PermanentRedirect"))
        self.assertEqual(self.answer("/far/k", self.signed("/far/k", region="ap-south-1")), (200, "2"))
        self.assertEqual(self.answer("/far/k?versionId=1", self.signed("/far/k?versionId=1", region="ap-south-1")), (200, "1"))
        self.assertEqual(self.answer("/far/k?versionId=3", self.signed("/far/k?versionId=3", region="ap-south-1")), (404, "NoSuchVersion"))

    def test_presigned(self):
        path = self.order("presign", container="trips", key=self.KEY)["url"].split(self.host)[1]
        self.assertEqual(self.answer(path), (200, "{}"))
        self.assertEqual(self.answer(path, self.signed()), (400, "InvalidRequest"))
        self.assertEqual(self.answer(path.replace("Expires=300", "Expires=301")), (403, "SignatureDoesNotMatch"))
        path = self.order("presign", container="trips", key=self.KEY, expires=-1)["url"].split(self.host)[1]
        self.assertEqual(self.answer(path), (403, "AccessDenied"))

    def shared_key(self, path, date=None, **changes):
        """The headers of a blob request by SharedKey; written apart from the verifier."""
        date = date or time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
        path, _, query = path.partition("?")
        text = "GET" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:2021-12-02\n/fleetstore{path}"
        text += "".join("\n" + item.replace("=", ":") for item in sorted(query.split("&")) if item)
        signature = base64.b64encode(keyed(base64.b64decode(storage.ACCOUNT_KEY), text)).decode()
        headers = {"x-ms-date": date, "x-ms-version": "2021-12-02", "Authorization": f"SharedKey fleetstore:{signature}"}
        return {name: value for name, value in {**headers, **changes}.items() if value is not None}

    def test_shared_key(self):
        self.assertEqual(self.answer(self.blob, self.shared_key(self.blob)), (200, "{}"))
        self.assertEqual(self.answer(self.blob + "?snapshot=x", self.shared_key(self.blob + "?snapshot=x"))[0], 200)
        self.assertEqual(self.answer(self.blob + "?snapshot=x", self.shared_key(self.blob)), (403, "AuthenticationFailed"))
        none = "/fleetstore/exports/none"
        self.assertEqual(self.answer(none, self.shared_key(none)), (404, "BlobNotFound"))
        self.assertEqual(self.answer(self.blob), (401, "NoAuthenticationInformation"))
        self.assertEqual(self.answer(self.blob, self.shared_key(self.blob, Range="bytes=0-1")), (403, "AuthenticationFailed"))
        self.assertEqual(self.answer(self.blob, self.shared_key(self.blob, "Mon, 02 Mar 2026 07:00:00 GMT")), (403, "AuthenticationFailed"))
        self.assertEqual(self.answer(self.blob, self.shared_key(self.blob, DeviceToken=TOKEN)), (400, "DeviceTokenSeen"))

    def test_sas(self):
        for order in ({}, {"key": self.KEY}):
            sas = self.order("sas", container="exports", **order)["sas"]
            self.assertEqual(self.answer(f"{self.blob}?{sas}"), (200, "{}"))
            self.assertEqual(self.answer(f"{self.blob}?{sas}".replace("se=2", "se=3")), (403, "AuthenticationFailed"))
        sas = self.order("sas", container="exports", key="other")["sas"]
        self.assertEqual(self.answer(f"{self.blob}?{sas}"), (403, "AuthenticationFailed"))
        sas = self.order("sas", container="exports", seconds=-1)["sas"]
        self.assertEqual(self.answer(f"{self.blob}?{sas}"), (403, "AuthenticationFailed"))
        sas = self.order("sas", container="exports", permissions="w")["sas"]
        self.assertEqual(self.answer(f"{self.blob}?{sas}"), (403, "AuthorizationPermissionMismatch"))

    def test_faults(self):
        self.order("fault", where="s3", mode="error", status=503, code="SlowDown", retry_after=2)
        self.assertEqual(self.answer(self.PATH, self.signed()), (503, "SlowDown"))
        self.order("fault", where="s3", mode="bad_md5")
        self.assertNotEqual(self.exchange("GET", self.PATH, headers=self.signed())[0].headers["Content-MD5"], None)


class FleetTest(CloudCase):
    def test_same_seed_same_bytes(self):
        digests = {fleet.digest_of(fleet.tell(2, 4, 40, seed)) for seed in (1, 1, 2)}
        self.assertEqual(len(digests), 2)

    def test_small_fleets_have_everything(self):
        for seed in range(20):
            summary = fleet.tell(2, 4, 30, seed).summary()
            for name in ("merges", "crashes", "removed"):
                self.assertGreaterEqual(len(summary[name]), 1)
            self.assertGreater(summary["notifications"], summary["distinct_notifications"])
            self.assertGreaterEqual(summary["heartbeats"], 4)

    def test_number_of_points(self):
        for wanted in (1, 2, 3, 7, 114, 900):
            points = fleet.trip(Random(wanted), points=wanted)
            self.assertEqual(len(points), wanted)
            self.assertFalse(fleet.is_filler(points[-1]))

    def test_points_have_the_known_oddities(self):
        points = fleet.trip(Random(4), points=400)
        real = [point for point in points if not fleet.is_filler(point)]
        self.assertTrue(0.3 < len(real) / len(points) < 0.7)
        self.assertTrue(all(a["Id"] < b["Id"] for a, b in zip(points, points[1:])))
        self.assertGreater(points[0]["Id"], 2 ** 31)
        self.assertEqual({point["AlertType"] for point in points}, {"", "acc", "deacc"})
        self.assertEqual({point["SpeedType"] for point in points}, {"norm", "mid", "high"})
        for member in ("Cornering", "PhoneUsage"):
            self.assertEqual({point[member] for point in points}, {True, False})
        self.assertIn(999, {point["SpeedLimit"] for point in points})
        self.assertRegex(json.dumps(points), r'"Lateral": [\d.]+e-12')
        self.assertTrue(any(a["PointDate"] == b["PointDate"] for a, b in zip(real, real[1:])))
        self.assertTrue(all(abs(point["Speed"] - 3.6 * point["MidSpeed"]) < 0.01 for point in real))

    def test_only_own_earlier_tracks_are_removed(self):
        known, owner = set(), {}
        for step in fleet.tell(4, 9, 20, 7).steps:
            notification = step.notification
            if notification["Event"] == "TrackEnrichmentFinished":
                owner.setdefault(notification["Object"]["Id"], notification["UserId"])
                for track in notification["Details"]["TracksRemoved"]:
                    self.assertIn(track["Id"], known)
                    self.assertEqual(owner[track["Id"]], notification["UserId"])
                known.add(notification["Object"]["Id"])
            self.assertRegex(notification["Timestamp"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z$")

    def test_published_fleet_can_be_downloaded(self):
        summary = self.order("fleet", queue="damoov", drivers=2, trips=4, points=30, base_url="self", raw=True)
        received, downloaded = 0, 0
        while messages := self.receive():
            received += len(messages)
            for message in messages:
                downloaded += self.download(json.loads(message["Body"]))
        self.assertEqual(received, summary["notifications"])
        self.assertGreater(downloaded, 20)

    def download(self, notification):
        url = notification["Object"].get("Url")
        if url is None:
            return 0
        self.assertTrue(url.startswith(self.cloud.base_url))
        path = url.removeprefix(self.cloud.base_url)
        response, _ = self.exchange("GET", path, headers={"DeviceToken": notification["UserId"]})
        self.assertEqual(response.status, 200, url)
        return 1

    def test_paced_fleet(self):
        summary = self.order("fleet", drivers=1, trips=1, points=5, pace_ms=1)
        deadline = time.monotonic() + 5
        while self.ask("queue")["sent"] < summary["notifications"] and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertEqual(self.ask("queue")["sent"], summary["notifications"])


class ControlTest(CloudCase):
    def test_queues(self):
        self.order("queue", action="create", queue="second", visibility_timeout=5)
        self.order("publish", queue="second", notifications=["x"], repeat=3)
        self.assertEqual(self.ask("queue?name=second")["visible"], 3)
        self.order("queue", action="purge", queue="second")
        self.assertEqual(self.ask("queue?name=second")["visible"], 0)
        self.order("queue", action="delete", queue="second")
        self.assertEqual(self.exchange("GET", "/_control/queue?name=second")[0].status, 400)

    def test_wrong_orders(self):
        for name, order in (("fault", {"where": "sqs", "mode": "bomb"}), ("settings", {"colour": 1}), ("publish", [])):
            self.assertEqual(self.exchange("POST", f"/_control/{name}", json.dumps(order).encode())[0].status, 400)
        self.assertEqual(self.exchange("POST", "/_control/nothing")[0].status, 404)

    def test_reset(self):
        self.publish("x")
        self.receive()
        self.order("reset")
        self.assertEqual((self.ask("queue")["in_flight"], self.ask("requests")), (0, []))

    def test_malformed_requests(self):
        for text in (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", self.cloud.port)) as client:
                client.sendall(text)
                self.assertTrue(client.recv(100).startswith(b"HTTP/1.1 400 "))


class ProcessTest(unittest.TestCase):
    def start(self, *options, **popen):
        command = [sys.executable, os.path.join(HERE, "cloud.py"), *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **popen)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.assertRegex(process.stdout.readline(), r"^listening on \d+\n$")
        return process

    def test_ends_on_sigterm(self):
        process = self.start()
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(5), 0)

    def test_ends_with_stdin(self):
        process = self.start("--exit-with-stdin", "--fleet", "drivers=1,trips=1,points=5", stdin=subprocess.PIPE)
        process.stdin.close()
        self.assertEqual(process.wait(5), 0)


if __name__ == "__main__":
    unittest.main()
