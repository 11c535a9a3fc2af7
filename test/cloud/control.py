"""The strings behind the stage: JSON over HTTP below /_control/, without any signature."""

import json
import random
import threading
import time
from urllib.parse import parse_qs, quote

import api
import eventgrid
import fleet
import servicebus
import sns
import sqs
import storage
import storagequeue
from faults import Fault
from sigv4 import Credentials
from wire import sized

PREFIX = "/_control/"
MODES = {"sqs": sqs.MODES, "servicebus": servicebus.MODES,
         "eventgrid": eventgrid.MODES, "storagequeue": storagequeue.MODES, "api": api.MODES,
         "s3": storage.MODES, "blob": storage.MODES, "sns": sns.MODES}


class Refused(Exception):
    """An order that cannot be carried out as given."""


class Control:
    def __init__(self, cloud):
        self.cloud = cloud

    def claims(self, request):
        return request.path.startswith(PREFIX)

    def answer(self, request):
        handler = getattr(self, f"{request.method.lower()}_{request.path.removeprefix(PREFIX)}", None)
        if handler is None:
            return reply(404, {"error": f"no {request.method} {request.path}"})
        try:
            return reply(200, handler(arguments(request)))
        except (Refused, ValueError, TypeError, KeyError, sqs.SqsError, servicebus.BusError,
                eventgrid.EventGridError, storagequeue.QueueError) as error:
            return reply(400, {"error": f"{type(error).__name__}: {error}"})

    # -- messages

    def post_publish(self, order):
        bodies = [as_text(item) for item in order["notifications"]] * order.get("repeat", 1)
        messages = self._publish(order, bodies)
        return {"published": len(messages), "message_ids": [getattr(message, "id", None) for message in messages]}

    def _publish(self, order, notifications):
        """Through SNS to an SQS queue unless "raw"; to another service as it wraps them."""
        store = self._store(order)
        if store is not self.cloud.sqs:
            return store.publish(order["queue"], notifications, order)
        queue = self._queue(order.get("queue"))
        if not order.get("raw", False):
            topic = sns.Topic(queue.name, self.cloud.region, self.cloud.clock)
            notifications = [topic.envelope(text, order.get("subject"), order.get("message_id")) for text in notifications]
        return queue.put(notifications)

    def _store(self, order):
        return self.cloud.stores[order.get("service", "sqs")]

    def _queue(self, name):
        return self.cloud.sqs.queue(name or next(iter(self.cloud.sqs.queues), None))

    def post_certificate(self, order):
        """Serves the text of a certificate where SNS would."""
        self.cloud.sns.certificates[f"/SimpleNotificationService-{order['certificate']}.pem"] = order["pem"].encode()
        return {}

    def post_sign(self, order):
        """A message of SNS as it is pushed; members that are given replace the usual ones, null takes one away."""
        topic = sns.Topic(order.get("topic", "damoov"), self.cloud.region, self.cloud.clock)
        members = {**topic.members(order["certificate"], order.get("type", "Notification")), **order.get("members", {})}
        members = {name: value for name, value in members.items() if value is not None}
        if "Token" in members:
            self.cloud.sns.tokens[members["Token"]] = members["TopicArn"]
        members["Signature"] = sns.signature(members, order["key_file"])
        return {"body": sns.indented(members)}

    def get_confirmed(self, order):
        return self.cloud.sns.confirmed

    def post_queue(self, order):
        store, action, name = self._store(order), order.get("action", "create"), order["queue"]
        if action == "create":
            store.create(name, **{key: value for key, value in order.items() if key not in ("service", "action", "queue")})
        elif action == "delete":
            store.drop(name)
        elif action == "purge":
            store.queue(name).purge()
        else:
            raise Refused(f"unknown action {action}")
        return {}

    def get_queue(self, order):
        store = self._store(order)
        return (self._queue(order.get("name")) if store is self.cloud.sqs else store.queue(order["name"])).counts()

    # -- replies that were recorded

    def post_replay(self, order):
        self.cloud.servicebus.scripts[order["queue"].lower()] = servicebus.Script(order["exchanges"])
        return {}

    def get_replay(self, order):
        script = self.cloud.servicebus.scripts[order["queue"].lower()]
        return {"left": len(script.exchanges), "surprises": script.surprises}

    # -- datasets and fleets

    def post_dataset(self, order):
        text = order["text"] if "text" in order else fleet.compact(order["document"])
        self.cloud.api.put(order["kind"], order["id"], order["device_token"], text.encode())
        return {}

    def post_withdraw(self, order):
        """The platform has these datasets no more, nor lists them."""
        return {"withdrawn": [self.cloud.api.datasets.pop((order["kind"], object_id.lower()), None) is not None for object_id in order["ids"]]}

    def post_list_limit(self, order):
        self.cloud.api.page_limit = int(order["limit"])
        return {}

    # -- stores

    def post_object(self, order):
        """An object of a bucket ("s3") or container ("blob"); answers its URL."""
        store = {"s3": self.cloud.s3, "blob": self.cloud.blob}[order.get("store", "s3")]
        container, key = order["container"], order["key"]
        text = order["text"] if "text" in order else fleet.compact(order["document"])
        store.put(container, key, storage.Object(text.encode(), order.get("gzip", False), order["store"] == "blob"),
                  order.get("version"))
        if order.get("region"):
            self.cloud.s3.regions[container] = order["region"], order.get("refusal", "AuthorizationHeaderMalformed")
        place = f"{self.cloud.blob.account}/{container}" if store is self.cloud.blob else container
        return {"url": f"{self.cloud.base_url}/{place}/{quote(key)}"}

    def post_presign(self, order):
        return {"url": self.cloud.s3.presign(self.cloud.base_url, order["container"], order["key"], order.get("expires", 300))}

    def post_sas(self, order):
        return {"sas": self.cloud.blob.sas(order["container"], order.get("key"), order.get("seconds", 300), order.get("permissions", "r")),
                "account_name": self.cloud.blob.account, "account_key": self.cloud.blob.key}

    def post_fleet(self, order):
        knobs = {name: order[name] for name in fleet.KNOBS if order.get(name) is not None}
        if knobs.get("base_url") == "self":
            knobs["base_url"] = self.cloud.base_url
        story = fleet.tell(**knobs)
        steps = story.deliveries
        if order.get("shuffle") is not None:
            random.Random(order["shuffle"]).shuffle(steps)
        if order.get("publish", True) and order.get("pace_ms"):
            threading.Thread(target=self._play, args=(order, steps), daemon=True).start()
            return story.summary()
        self._register(story.datasets())
        if order.get("publish", True):
            self._publish(order, [step.text for step in steps])
        if order.get("tell"):
            return {**story.summary(), "texts": [step.text for step in steps]}
        return story.summary()

    def _play(self, order, steps):
        """The story at its pace: a dataset is there just before its notification."""
        for step in steps:
            self._register(step.datasets)
            self._publish(order, [step.text])
            time.sleep(order["pace_ms"] / 1000)

    def _register(self, datasets):
        for dataset in datasets:
            self.cloud.api.put(dataset.kind, dataset.id, dataset.device_token, dataset.text.encode())

    # -- faults, settings, inspection

    def post_fault(self, order):
        if order.pop("clear", False):
            self.cloud.faults.clear(order.get("where"))
            return {}
        where, mode = order.get("where"), order.get("mode")
        if mode not in MODES.get(where, ()):
            raise Refused(f"no fault {mode} at {where}")
        if order.get("target") and where == "api":
            order["target"] = order["target"].lower()
        self.cloud.faults.add(Fault(**order))
        return {}

    def get_fault(self, order):
        return self.cloud.faults.pending()

    def post_settings(self, order):
        unknown = set(order) - {"empty_reply", "visibility_timeout", "clock_offset", "listen_keys", *Credentials._fields,
                                *eventgrid.EventGrid.SETTINGS}
        if unknown:
            raise Refused(f"unknown settings {sorted(unknown)}")
        if "empty_reply" in order:
            self._set_empty_reply(order["empty_reply"])
        self.cloud.eventgrid.set(order)
        for queue in self.cloud.sqs.queues.values():
            queue.visibility_timeout = order.get("visibility_timeout", queue.visibility_timeout)
        self.cloud.clock_offset = order.get("clock_offset", self.cloud.clock_offset)
        listen = self.cloud.servicebus.gate.policies["listen"]
        listen.keys = order.get("listen_keys", listen.keys)
        for verifier in (self.cloud.sqs.verifier, self.cloud.s3.verifier):
            verifier.rotate(verifier.credentials._replace(**{name: order[name] for name in Credentials._fields if name in order}))
        return self.get_settings({})

    def _set_empty_reply(self, spelling):
        if spelling not in sqs.EMPTY_REPLIES:
            raise Refused(f"empty_reply is one of {list(sqs.EMPTY_REPLIES)}")
        self.cloud.sqs.empty_reply = spelling

    def post_identity(self, order):
        self.cloud.identity.order(order)
        return {}

    def get_settings(self, order):
        return {"region": self.cloud.region, "empty_reply": self.cloud.sqs.empty_reply,
                "clock_offset": self.cloud.clock_offset,
                "access_key_id": self.cloud.sqs.verifier.credentials.access_key_id,
                "queues": {name: queue.visibility_timeout for name, queue in self.cloud.sqs.queues.items()}}

    def get_requests(self, order):
        """Those after a number, all or those with these values in these fields; whole, or no more than some fields."""
        found = self.cloud.recorder.since(int(order.pop("since", 0)))
        fields = order.pop("fields", None)
        found = [record for record in found if all(str(record.get(name)) == value for name, value in order.items())]
        return [{name: record.get(name) for name in fields.split(",")} for record in found] if fields else found

    def post_reset(self, order):
        """Empty queues, no faults, no datasets, no records; settings stay."""
        for queue in [*self.cloud.sqs.queues.values(), *self.cloud.servicebus.entities.values(),
                      *self.cloud.storagequeue.queues.values()]:
            queue.purge()
        for subscription in self.cloud.eventgrid.subscriptions.values():
            subscription.purge()
        self.cloud.faults.clear()
        self.cloud.api.datasets.clear()
        self.cloud.s3.clear()
        self.cloud.blob.clear()
        self.cloud.recorder.clear()
        return {}


def arguments(request):
    if request.method == "GET":
        return {name: values[-1] for name, values in parse_qs(request.query).items()}
    value = json.loads(request.body or b"{}")
    if not isinstance(value, dict):
        raise Refused("an order is a JSON object")
    return value


def as_text(notification):
    """A string goes out as it is, so that tests can send what is no JSON at all."""
    return notification if isinstance(notification, str) else fleet.compact(notification)


def reply(status, value):
    return sized(status, [("Content-Type", "application/json")], json.dumps(value).encode())
