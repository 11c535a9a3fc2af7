"""A stand-in for the cloud around the extension: AWS SQS and SNS, Azure Service Bus, Event Grid and Storage queues, Damoov's download API, and control.

Start it and read the line "listening on PORT"; README.md has the rest.
"""

import argparse
import os
import signal
import ssl
import sys
import threading
import time
from collections import deque

from api import Api
from control import Control
from eventgrid import EventGrid
from faults import FaultBook
from identity import Identity
from sigv4 import Credentials
from servicebus import Policy, ServiceBus
from sns import Sns
from sqs import Sqs
from storage import S3, Blob
from storagequeue import StorageQueue
from wire import Hangup, Gone, Server, sized

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
LISTEN_KEY = "bm90LWEta2V5LWp1c3QtdGhlLXByaW1hcnktb25lIQ=="
SECOND_KEY = "bm90LWEta2V5LWp1c3QtdGhlLXNlY29uZC1vbmUhIQ=="
RECORD_LIMIT = 20_000       # a record takes some kilobytes


def policies():
    return [Policy("listen", LISTEN_KEY, SECOND_KEY), Policy("send", SECOND_KEY, claims=("Send",)),
            Policy("manage", LISTEN_KEY, SECOND_KEY, claims=("Listen", "Send", "Manage")),
            Policy("below", LISTEN_KEY, path="/below")]


class Recorder:
    """The latest requests but those to the control interface, from the moment they came in."""

    def __init__(self):
        self.lock = threading.Lock()
        self.number = 0
        self.records = deque(maxlen=RECORD_LIMIT)

    def note(self, request, now):
        record = request.record
        record.update(time=now, connection=request.connection.number, method=request.method, path=request.target,
                      target=None, status=None, answered=None, headers=presentable(request.fields))
        with self.lock:
            self.number += 1
            record["number"] = self.number
            self.records.append(record)

    def answered(self, request, status):
        """Counted on, so that it is known what began before that and what after."""
        with self.lock:
            self.number += 1
            request.record.update(status=status, answered=self.number)

    def since(self, number):
        """Those above a number; of a negative number so many of the latest."""
        with self.lock:
            if number < 0:
                return [dict(record) for record in list(self.records)[number:]]
            return [dict(record) for record in self.records if record["number"] > number]

    def clear(self):
        with self.lock:
            self.records.clear()


def presentable(fields):
    """Of Authorization only the scheme: enough to see that it was sent, and to whom."""
    if "authorization" not in fields:
        return fields
    return {**fields, "authorization": fields["authorization"].split(" ")[0]}


class Cloud:
    """The services on one port. The first that claims a request answers it."""

    def __init__(self, port=0, region="eu-west-1", credentials=Credentials("AKIDEXAMPLE", SECRET),
                 queues=("damoov",), tls=None, clock_offset=0):
        self.region = region
        self.clock_offset = clock_offset
        self.faults = FaultBook()
        self.recorder = Recorder()
        self.sqs = Sqs(region, credentials, self.faults, self.clock)
        self.eventgrid = EventGrid(self.faults, self.clock)
        self.api = Api(self.faults, self.clock)
        self.s3 = S3(region, credentials, self.faults, self.clock)
        self.blob = Blob(self.faults, self.clock)
        self.identity = Identity(region, credentials, self.sqs, self.clock)
        self.eventgrid.verifier.identity = self.identity
        self.sns = Sns(self.faults, self.clock)
        self.servicebus = ServiceBus(policies(), self.identity, self.faults, self.clock)
        self.control = Control(self)
        self.storagequeue = StorageQueue(self.faults, self.clock, self.identity.bearer_problem)
        self.stores = {"sqs": self.sqs, "servicebus": self.servicebus, "eventgrid": self.eventgrid, "storagequeue": self.storagequeue}
        self.services = [self.identity, self.sns, self.sqs, self.eventgrid, self.storagequeue, self.servicebus, self.api, self.s3, self.blob]
        for name in queues:
            self.sqs.create(name)
        self.server = Server(self.answer, port, tls, self.clock)
        self.port = self.server.port
        self.base_url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def clock(self):
        return time.time() + self.clock_offset

    def answer(self, request):
        if self.control.claims(request):
            return self.control.answer(request)
        self.recorder.note(request, self.clock())
        try:
            reply = self._served(request)
        except (Hangup, Gone):
            self.recorder.answered(request, 0)
            raise
        self.recorder.answered(request, reply.status)
        return reply

    def _served(self, request):
        for service in self.services:
            if service.claims(request):
                return service.answer(request)
        return sized(404, [("Content-Type", "text/plain")], b"nothing here\n")


def tls_context(certificate, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


def fleet_order(text):
    """drivers=3,trips=8 as an order for the control interface."""
    pairs = [item.partition("=") for item in text.split(",")]
    return {name: int(value) if value.lstrip("-").isdigit() else value for name, _, value in pairs}


def end_with_stdin():
    while sys.stdin.buffer.read(4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def options(arguments):
    parser = argparse.ArgumentParser(description="A stand-in cloud for tests and demo.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--region", default="eu-west-1")
    parser.add_argument("--access-key-id", default="AKIDEXAMPLE")
    parser.add_argument("--secret-access-key", default=SECRET)
    parser.add_argument("--session-token")
    parser.add_argument("--queue", action="append", help="a queue to begin with (repeatable; default damoov)")
    parser.add_argument("--tls-cert")
    parser.add_argument("--tls-key")
    parser.add_argument("--clock-offset", type=float, default=0, help="seconds the cloud's clock is ahead")
    parser.add_argument("--fleet", type=fleet_order, help="drivers=3,trips=8,points=120,seed=1: publish at the start")
    parser.add_argument("--exit-with-stdin", action="store_true")
    return parser.parse_args(arguments)


def main(arguments=None):
    chosen = options(arguments)
    tls = tls_context(chosen.tls_cert, chosen.tls_key) if chosen.tls_cert else None
    credentials = Credentials(chosen.access_key_id, chosen.secret_access_key, chosen.session_token)
    cloud = Cloud(chosen.port, chosen.region, credentials, chosen.queue or ["damoov"], tls, chosen.clock_offset)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if chosen.exit_with_stdin:
        threading.Thread(target=end_with_stdin, daemon=True).start()
    if chosen.fleet:
        cloud.control.post_fleet(chosen.fleet)
    print(f"listening on {cloud.port}", flush=True)
    try:
        cloud.server.serve()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
