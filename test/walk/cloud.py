"""The stand-in cloud's control interface: queue and datasets in one, the bucket in another."""

import http.client
import json

from story import BUCKET, compact, dataset, enveloped, key_of

QUEUE = "damoov"


class Cloud:
    def __init__(self, port, store):
        self.cloud = http.client.HTTPConnection("127.0.0.1", port)
        self.store = http.client.HTTPConnection("127.0.0.1", store)

    def reset(self):
        order(self.cloud, "reset")
        order(self.store, "reset")

    def serve(self, thing, kind, at):
        """The newest dataset of a thing from now on."""
        if kind == "object":
            order(self.store, "object", store="s3", container=BUCKET, key=key_of(thing), document=dataset(kind, thing, at))
        else:
            order(self.cloud, "dataset", kind=kind, id=thing.id, device_token=thing.person.id, document=dataset(kind, thing, at))

    def publish(self, event):
        value = {"Records": [event.payload]} if event.kind == "object" else event.payload
        order(self.cloud, "publish", queue=QUEUE, notifications=[compact(value)], raw=event.number % 2 == 0)

    def waiting(self):
        counts = order(self.cloud, f"queue?name={QUEUE}", "GET")
        return counts["visible"] + counts["in_flight"]


def order(connection, name, method="POST", **members):
    connection.request(method, f"/_control/{name}", json.dumps(members) if method == "POST" else None)
    reply = connection.getresponse()
    text = reply.read()
    if reply.status != 200:
        raise RuntimeError(f"{name}: {reply.status} {text.decode()}")
    return json.loads(text)
