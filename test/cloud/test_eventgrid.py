"""Checks the stand-in of Event Grid, by itself and against what is known of the real one."""

import base64
import hashlib
import hmac
import json
import os
import re
import threading
import time
import unittest
from datetime import datetime, timezone
from urllib.parse import quote, urlsplit

from eventgrid import KEY, SECONDARY_KEY
from test_cloud import HERE, CloudCase

PATH = "/topics/trips/eventsubscriptions/damoov"
RECORDINGS = os.environ.get("DAMOOV_RECORDINGS", os.path.join(HERE, "../../../shared/recordings"))

# ---- what replies of the real service look like -------------------------------------------------

# A type, an object with exactly these members, a list of such items, or one of several.
RECEIVED = {"value": [{"brokerProperties": {"lockToken": str, "deliveryCount": int}, "event": dict}]}
SETTLED = {
    "succeededLockTokens": [str],
    "failedLockTokens": [({"lockToken": str, "error": {"code": str, "message": str}},
                          {"lockToken": str, "errorCode": str, "errorDescription": str})],
}
REFUSED = {"error": {"code": str, "message": str, "timestamp_utc": str, "tracking_id": str}}
FACTS = {       # of a success: Content-Type and body
    "receive": ("application/json; charset=utf-8", RECEIVED),
    "acknowledge": ("application/json", SETTLED),
    "release": ("application/json", SETTLED),
    "reject": ("application/json", SETTLED),
    "renewLock": ("application/json", SETTLED),
}
TOKEN_FAILURES = {"BadToken": "Cannot decode lockToken", "TokenLost": "Token has expired."}
REFUSALS = [    # path and query of a receive; status, code and message
    ("/topics/faketopic/eventsubscriptions/damoov:receive", "", 404, "NotFound", "Topic 'faketopic' is not found"),
    (f"{PATH}:receive", "maxWaitTime=121", 400, "ArgumentInvalid", "Invalid maxWaitTime parameter"),
    (f"{PATH}:receive", "maxEvents=-20", 400, "BadRequest",
     "Error parsing query parameters: invalid digit found in string"),
]


def fits(value, shape):
    if isinstance(shape, type):
        return isinstance(value, shape)
    if isinstance(shape, tuple):
        return any(fits(value, one) for one in shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(item, shape[0]) for item in value)
    return isinstance(value, dict) and set(value) == set(shape) and all(fits(value[name], shape[name]) for name in shape)


class FactCase(unittest.TestCase):
    def check_success(self, operation, status, headers, body):
        content_type, shape = FACTS[operation]
        self.assertEqual((status, headers["Content-Type"]), (200, content_type))
        self.assertTrue(fits(body, shape), body)
        for failed in body.get("failedLockTokens", []):
            told = failed.get("error") or {"code": failed["errorCode"], "message": failed["errorDescription"]}
            self.assertEqual(told["message"], TOKEN_FAILURES[told["code"]])
        for item in body.get("value", []):
            self.assertEqual(item["event"]["specversion"], "1.0")

    def check_refusal(self, status, headers, body):
        self.assertGreaterEqual(status, 400)
        self.assertEqual(headers["Content-Type"], "application/json; charset=utf-8")
        self.assertTrue(fits(body, REFUSED), body)
        self.assertEqual(headers["broker-errorcode"], body["error"]["code"])
        self.assertRegex(body["error"]["timestamp_utc"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}\+00:00$")
        self.assertRegex(body["error"]["tracking_id"], r"^[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}$")


def recorded_exchanges():
    """What was recorded of the real service, where the recordings are at hand."""
    path = os.path.join(RECORDINGS, "eventgrid-pull-2023-2024.json")
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [exchange for group in json.load(file)["groups"] for exchange in group["exchanges"]]


class RecordingsTest(FactCase):
    def test_facts_are_facts(self):
        for exchange in recorded_exchanges():
            with self.subTest(exchange["uri"]):
                operation = re.search(r":(\w+)\?", exchange["uri"])[1]
                if exchange["status"] >= 400:
                    self.check_refusal(exchange["status"], exchange["headers"], exchange["body"])
                elif operation != "publish":
                    self.check_success(operation, exchange["status"], exchange["headers"], exchange["body"])

    def test_refusals_are_facts(self):
        refused = [exchange for exchange in recorded_exchanges()
                   if exchange["status"] >= 400 and ":receive" in exchange["uri"]]
        for exchange in refused:
            error = exchange["body"]["error"]
            self.assertIn((exchange["status"], error["code"], error["message"]), [known[2:] for known in REFUSALS])
        self.assertIn(len(refused), (0, len(REFUSALS)))


# ---- the stand-in -------------------------------------------------------------------------------

def sign(resource, key=KEY, seconds=3600):
    """Written apart from the verifier."""
    expiry = datetime.fromtimestamp(time.time() + seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    text = f"r={quote(resource, safe='')}&e={quote(expiry, safe='')}"
    digest = hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()
    return f"SharedAccessSignature {text}&s={quote(base64.b64encode(digest).decode(), safe='')}"


class GridCase(CloudCase, FactCase):
    def setUp(self):
        super().setUp()
        self.subscribe(wait_cap=0)

    def subscribe(self, **settings):
        self.order("queue", service="eventgrid", action="create", queue="trips/damoov", **settings)

    def publish(self, *notifications, **order):
        return self.order("publish", service="eventgrid", queue="trips/damoov", notifications=notifications, **order)

    def counts(self):
        return self.ask("queue?service=eventgrid&name=trips/damoov")

    def call(self, path, query="", body=None, authorization=None, version="2024-06-01", method="POST", connection=None):
        headers = {"Authorization": authorization or sign(f"http://127.0.0.1:{self.cloud.port}/topics")}
        if body is not None:
            headers["Content-Type"] = "application/json"
        query = "&".join(filter(None, (version and f"api-version={version}", query)))
        response, reply = self.exchange(method, f"{path}?{query}", json.dumps(body).encode() if body is not None else b"",
                                        headers, connection)
        return response.status, response.headers, json.loads(reply)

    def operate(self, operation, tokens=None, query=""):
        """The reply of a success, which looks as it should."""
        status, headers, body = self.call(f"{PATH}:{operation}", query, tokens and {"lockTokens": tokens})
        self.check_success(operation, status, headers, body)
        return body

    def receive(self, query="maxEvents=100"):
        return self.operate("receive", query=query)["value"]

    def receive_token(self):
        item, = self.receive()
        return item["brokerProperties"]["lockToken"]

    def code(self, *arguments, **named):
        status, headers, body = self.call(*arguments, **named)
        self.check_refusal(status, headers, body)
        return status, body["error"]["code"]


class AuthorizationTest(GridCase):
    def test_tokens(self):
        base = f"http://127.0.0.1:{self.cloud.port}"
        for resource in (base, f"{base}/", f"{base}/topics/trips", base + PATH, (base + PATH).upper()):
            for key in (KEY, SECONDARY_KEY):
                with self.subTest(resource, key=key):
                    self.assertEqual(self.call(f"{PATH}:receive", authorization=sign(resource, key))[0], 200)
        self.assertEqual(self.call(f"{PATH}:receive", authorization=f"SharedAccessKey {KEY}")[0], 200)

    def test_refusals(self):
        base = f"http://127.0.0.1:{self.cloud.port}"
        other = base64.b64encode(b"another key").decode()
        for authorization in (sign(base, other), sign(base, seconds=-1), sign(f"{base}/topics/tri"), sign(f"{base}/topics/other"),
                              sign(f"{base}{PATH}x"), sign("http://127.0.0.2"), sign(base).replace("&s=", "&s=A"),
                              sign(base) + "&skn=x", "SharedAccessSignature", f"SharedAccessKey {other}", "Bearer x"):
            with self.subTest(authorization):
                self.assertEqual(self.code(f"{PATH}:receive", authorization=authorization), (401, "Unauthorized"))

    def test_rotation(self):
        base = f"http://127.0.0.1:{self.cloud.port}"
        fresh = base64.b64encode(b"fresh").decode()
        self.order("settings", access_key=fresh, secondary_access_key=None)
        self.assertEqual(self.call(f"{PATH}:receive", authorization=sign(base, fresh))[0], 200)
        for key in (KEY, SECONDARY_KEY):
            self.assertEqual(self.code(f"{PATH}:receive", authorization=sign(base, key))[0], 401)


class PullTest(GridCase):
    def test_receive_and_acknowledge(self):
        self.publish({"Event": "Ä"}, {"Event": "B"}, form="data")
        items = self.receive()
        self.assertEqual([item["event"]["data"] for item in items], [{"Event": "Ä"}, {"Event": "B"}])
        self.assertEqual([item["brokerProperties"]["deliveryCount"] for item in items], [1, 1])
        tokens = [item["brokerProperties"]["lockToken"] for item in items]
        for token in tokens:
            self.assertTrue(set("+/=") <= set(token))
        self.assertEqual(self.receive(), [])
        self.assertEqual(self.operate("acknowledge", tokens)["succeededLockTokens"], tokens)
        counts = self.counts()
        self.assertEqual((counts["visible"], counts["in_flight"], counts["deleted"]), (0, 0, 2))

    def test_forms(self):
        for form in ("data", "data_base64", "string"):
            self.publish({"Event": form}, form=form)
        events = [item["event"] for item in self.receive()]
        self.assertEqual(events[0]["data"], {"Event": "data"})
        self.assertEqual(json.loads(base64.b64decode(events[1]["data_base64"])), {"Event": "data_base64"})
        self.assertEqual(json.loads(events[2]["data"]), {"Event": "string"})
        self.publish("no JSON")
        self.assertEqual(base64.b64decode(self.receive()[0]["event"]["data_base64"]), b"no JSON")

    def test_bytes_and_order_of_members(self):
        text = '{"specversion":"1.0", "data":{"A":1.10,"A":"\\u00e9"}}'
        self.publish(*[text] * 8, raw=True)
        _, body = self.exchange("POST", f"{PATH}:receive?api-version=2024-06-01&maxEvents=8", b"",
                                {"Authorization": f"SharedAccessKey {KEY}"})
        self.assertEqual(body.decode().count(text), 8)
        starts = {match[1] for match in re.finditer(r'[\[,]\{"(brokerProperties|event)":', body.decode())}
        firsts = {match[1] for match in re.finditer(r'"brokerProperties":\{"(\w+)"', body.decode())}
        self.assertEqual((starts, firsts), ({"brokerProperties", "event"}, {"lockToken", "deliveryCount"}))

    def test_locks(self):
        self.publish("x")
        first = self.receive_token()
        self.assertEqual(self.operate("release", [first])["failedLockTokens"], [])
        item, = self.receive()
        second = item["brokerProperties"]["lockToken"]
        self.assertEqual(item["brokerProperties"]["deliveryCount"], 2)
        self.assertNotEqual(first, second)
        self.assert_failure("acknowledge", first, "TokenLost")
        self.assert_failure("acknowledge", "faketoken", "BadToken")
        self.operate("release", [second], "releaseDelayInSeconds=10")
        self.assertEqual(self.receive(), [])
        self.assert_failure("renewLock", second, "TokenLost")
        self.assertEqual(self.counts()["in_flight"], 1)

    def assert_failure(self, operation, token, code):
        failed, = self.operate(operation, [token])["failedLockTokens"]
        self.assertEqual(failed["error"]["code"], code)
        self.order("settings", failure_shape="flat")
        failed, = self.operate(operation, [token])["failedLockTokens"]
        self.assertEqual(failed["errorCode"], code)
        self.order("settings", failure_shape="error")

    def test_expiry_and_renewal(self):
        self.subscribe(lock_seconds=1, wait_cap=5)
        self.publish("x")
        token = self.receive_token()
        for _ in range(3):
            time.sleep(0.5)
            self.assertEqual(self.operate("renewLock", [token])["succeededLockTokens"], [token])
        self.assertEqual(self.counts()["in_flight"], 1)
        item, = self.receive()
        self.assertEqual(item["brokerProperties"]["deliveryCount"], 2)
        self.assert_failure("acknowledge", token, "TokenLost")

    def test_dropping(self):
        self.subscribe(max_delivery_count=2)
        self.publish("x", "y")
        tokens = [item["brokerProperties"]["lockToken"] for item in self.receive()]
        self.operate("reject", tokens[:1])
        self.operate("release", tokens[1:])
        self.operate("release", [self.receive_token()])
        self.assertEqual(self.receive(), [])
        self.assertEqual(self.counts()["dropped"], 2)

    def test_wait(self):
        self.subscribe(wait_cap=None)
        threading.Timer(0.2, lambda: self.cloud.eventgrid.publish("trips/damoov", ["x"], {})).start()
        self.assertEqual(len(self.receive("maxWaitTime=60")), 1)
        threading.Timer(0.2, lambda: self.cloud.eventgrid.queue("trips/damoov").set(wait_cap=0)).start()
        self.assertEqual(self.receive("maxWaitTime=60"), [])

    def test_who_has_left(self):
        for notices, delivered in ((True, 1), (False, 0)):
            self.subscribe(wait_cap=None, notice_leavers=notices)
            leaver = self.connect()
            leaver.request("POST", f"{PATH}:receive?api-version=2024-06-01", b"", {"Authorization": f"SharedAccessKey {KEY}"})
            self.wait_for_polls(1)
            leaver.close()
            self.publish("x")
            self.wait_for_polls(0)
            self.subscribe(wait_cap=0)
            self.assertEqual(len(self.receive()), delivered)

    def wait_for_polls(self, number):
        deadline = time.monotonic() + 5
        while self.counts()["waiting_polls"] != number:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    def test_reorder(self):
        self.subscribe(reorder=True)
        self.publish({"Event": 1}, {"Event": 2}, form="data")
        self.assertEqual([item["event"]["data"]["Event"] for item in self.receive()], [2, 1])

    def test_known_refusals(self):
        for path, query, status, code, message in REFUSALS:
            with self.subTest(query or path):
                told, headers, body = self.call(path, query)
                self.check_refusal(told, headers, body)
                self.assertEqual((told, body["error"]["code"], body["error"]["message"]), (status, code, message))

    def test_strictness(self):
        token = {"lockTokens": ["x"]}
        for expected, operation, query, body in [
            ((400, "ArgumentInvalid"), "receive", "maxEvents=0", None),
            ((400, "ArgumentInvalid"), "receive", "maxEvents=101", None),
            ((400, "ArgumentInvalid"), "receive", "maxWaitTime=9", None),
            ((400, "BadRequest"), "receive", "maxWaitTime=ten", None),
            ((400, "BadRequest"), "receive", "unknown=1", None),
            ((400, "BadRequest"), "receive", "", {}),
            ((400, "ArgumentInvalid"), "release", "releaseDelayInSeconds=11", token),
            ((400, "BadRequest"), "acknowledge", "releaseDelayInSeconds=10", token),
            ((400, "BadRequest"), "acknowledge", "", {}),
            ((400, "BadRequest"), "acknowledge", "", {"lockTokens": []}),
            ((400, "BadRequest"), "acknowledge", "", {"lockTokens": [1]}),
            ((400, "BadRequest"), "acknowledge", "", {"lockTokens": ["x"] * 101}),
            ((400, "BadRequest"), "acknowledge", "", {**token, "more": 1}),
            ((404, "NotFound"), "unknown", "", token),
        ]:
            with self.subTest(operation, query=query, body=body):
                self.assertEqual(self.code(f"{PATH}:{operation}", query, body), expected)
        for version in (None, "2020-01-01"):
            self.assertEqual(self.code(f"{PATH}:receive", version=version), (400, "BadRequest"))
        self.assertEqual(self.code(f"{PATH}x:receive"), (404, "NotFound"))
        self.assertEqual(self.code(f"{PATH}:receive", method="GET")[0], 405)
        self.assertEqual(self.exchange("POST", f"{PATH}:acknowledge?api-version=2024-06-01", b"{}",
                                       {"Authorization": f"SharedAccessKey {KEY}"})[0].status, 415)


class GridFaultTest(GridCase):
    def fault(self, mode, **order):
        self.order("fault", where="eventgrid", mode=mode, **order)

    def test_errors(self):
        self.fault("error", status=503, code="ServerBusy", retry_after=2, target="receive")
        status, headers, body = self.call(f"{PATH}:receive")
        self.check_refusal(status, headers, body)
        self.assertEqual((status, headers["Retry-After"]), (503, "2"))
        self.assertEqual(self.receive(), [])

    def test_failing_tokens(self):
        self.publish("x", "y")
        tokens = [item["brokerProperties"]["lockToken"] for item in self.receive()]
        self.fault("fail_tokens", code="InternalServerError", target="acknowledge")
        _, _, reply = self.call(f"{PATH}:acknowledge", body={"lockTokens": tokens})
        self.assertEqual([failed["lockToken"] for failed in reply["failedLockTokens"]], tokens[:1])
        self.assertEqual(reply["succeededLockTokens"], tokens[1:])
        self.fault("expire_locks", target="trips/damoov")
        failed, = self.operate("acknowledge", tokens[:1])["failedLockTokens"]
        self.assertEqual(failed["error"]["code"], "TokenLost")
        self.assertEqual(self.counts()["visible"], 1)

    def test_lost_answer(self):
        self.publish("x")
        self.fault("drop", perform=True, target="receive")
        with self.assertRaises(ConnectionError):
            self.call(f"{PATH}:receive", connection=self.connect())
        self.assertEqual(self.counts()["in_flight"], 1)

    def test_records(self):
        self.receive("maxEvents=7")
        record = self.ask("requests")[-1]
        self.assertEqual((record["target"], record["queue"], record["parameters"]), ("receive", "trips/damoov", {"maxEvents": "7"}))
        self.assertEqual(urlsplit(record["path"]).path, f"{PATH}:receive")
        self.assertNotIn("sig", json.dumps(record["headers"]).lower().replace("sharedaccesssignature", ""))

    def test_wrong_orders(self):
        for name, order in (("fault", {"where": "eventgrid", "mode": "bad_md5"}),
                            ("publish", {"service": "eventgrid", "queue": "trips/nobody", "notifications": ["x"]}),
                            ("publish", {"service": "eventgrid", "queue": "trips/damoov", "notifications": ["x"], "form": "xml"}),
                            ("queue", {"service": "eventgrid", "queue": "trips/damoov", "colour": 1}),
                            ("publish", {"service": "eventgrid", "queue": "trips/damoov", "notifications": ["x"], "raw": True})):
            self.assertEqual(self.exchange("POST", f"/_control/{name}", json.dumps(order).encode())[0].status, 400)


if __name__ == "__main__":
    unittest.main()
