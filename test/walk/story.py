"""What the platform tells in a chapter of the walk: persons and their objects, what happens to them, and what a
dataset holds at a moment.  All of it follows from the random numbers that it is given."""

import json
import uuid
from datetime import datetime, timedelta, timezone

NEW = datetime(2026, 6, 1, 10, tzinfo=timezone.utc)
OLD = datetime(2020, 1, 1, 10, tzinfo=timezone.utc)     # what purging removes
BUCKET = "fleet"
SOURCES = {"sql": 6, "push": 2, "queue": 2}             # the door of an event never changes, its row tells it
STAGES = {"4": "AccidentEventReceived", "5": "AccidentEventExtraReceived",
          "6": "AccidentEventCompletePackageReceived", "7": "AccidentEventFiltered"}
KINDS = {"enriched": 9, "invalid": 3, "received": 3, "4": 1, "5": 1, "6": 4, "7": 2, "heartbeat": 5, "object": 3, "strange": 1}
# which events announce a kind of dataset
ANNOUNCED = {"processed": {"enriched"}, "raw": {"received"}, "crash": {"4", "6", "7"}, "crash_buffer": {"5"}, "object": {"object"}}


def compact(value):
    return json.dumps(value, separators=(",", ":"))


def chosen(rng, weights):
    return rng.choices(list(weights), list(weights.values()))[0]


class Thing:
    """A track, a crash, an object of a bucket, or a person as the object of heartbeats."""

    def __init__(self, rng, person, old=False):
        self.id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        self.person = person
        self.base = OLD if old else NEW


class Event:
    """What happens to a thing.  The number orders events as the platform knows of them."""

    def __init__(self, number, kind, thing, person, at, source, payload, parts=()):
        self.number = number
        self.kind = kind
        self.thing = thing
        self.person = person
        self.at = at
        self.source = source
        self.payload = payload
        self.parts = parts
        self.committed = False
        self.published = False

    def __str__(self):
        name = {"enriched": "", "invalid": "-", "received": "+", "heartbeat": "beat ", "object": "s3 ", "strange": "? "}
        merged = "<" + ",".join(part.id[:4] for part in self.parts) if self.parts else ""
        return f"{name.get(self.kind, self.kind + ' ')}{self.thing.id[:4]}@{self.at}{merged}"


class Story:
    def __init__(self, rng):
        self.rng = rng
        self.persons = [Thing(rng, None) for _ in range(rng.randint(2, 3))]
        self.tracks, self.crashes, self.files = [], [], []
        for person in self.persons:
            person.person = person
            self.tracks += [Thing(rng, person, rng.random() < 0.2) for _ in range(rng.randint(2, 3))]
            # none is old: what is still fetched of one that was purged would be as old as that
            self.crashes.append(Thing(rng, person))
            self.files.append(Thing(rng, person))
        self.events = []            # all that is going to be told, sooner or later
        self.known = set()          # moments of an object's events, so that no two are one
        self.things = {thing.id: thing for thing in self.persons + self.tracks + self.crashes + self.files}

    # -- events

    def event(self, source=None, void=False):
        """Something that happens now; what is void is told in a transaction that is rolled back, and never again."""
        source = source or chosen(self.rng, SOURCES)
        while True:
            kind = chosen(self.rng, KINDS)
            if kind == "object" and source != "queue":
                continue            # of which the queue has the keys
            thing = self.rng.choice({"enriched": self.tracks, "invalid": self.tracks, "received": self.tracks, "object": self.files,
                                     "heartbeat": self.persons}.get(kind, self.crashes))
            at = self.rng.randint(1, 99)
            if (kind, thing, at) not in self.known:
                break
        self.known.add((kind, thing, at))
        event = self._told(kind, thing, at, source)
        if not void:
            self.events.append(event)
        return event

    def _told(self, kind, thing, at, source):
        rng, person, parts = self.rng, thing.person, ()
        base = OLD if kind == "heartbeat" and at % 4 == 0 else thing.base
        details = {}
        if kind == "enriched":
            own = [track for track in self.tracks if track.person is person and track is not thing]
            parts = rng.sample(own, rng.choice((0, 0, 1, min(2, len(own)))))
            details = {"TracksRemoved": [{"Id": part.id, "Type": "RichTrack"} for part in parts]}
        elif kind == "invalid":
            person = rng.choice(self.persons) if rng.random() < 0.1 else person
            details = {"Reason": f"reason {at}", "TrackStartDate": moment(base, 0)}
        elif kind == "6":
            details = {"PackageDateReceived": moment(base, at), "AccidentPassedFilters": rng.random() < 0.5}
        elif kind == "heartbeat":
            details = {"ChargeLevel": at, "WifiEnabled": rng.random() < 0.5}
            if rng.random() < 0.4:
                details["InstanceId"] = f"11111111-2222-4333-8444-{rng.randint(1, 3):012}"
        number = len(self.events)
        if kind == "object":
            return Event(number, kind, thing, None, at, source, record(thing, at))
        name = {"enriched": "TrackEnrichmentFinished", "invalid": "IncomingTrackRemoved", "received": "IncomingTrackReceived",
                "heartbeat": "HeartbeatReceived", "strange": "SomethingElseHappened"}.get(kind) or STAGES[kind]
        payload = {"Event": name, "UserId": person.id, "Object": {"Id": thing.id, "Type": "Any"},
                   "Timestamp": moment(base, at), "Details": details}
        if rng.random() < 0.3:
            payload["ClientId"] = f"client {rng.randint(1, 5)}"
        return Event(number, kind, thing, person, at, source, payload, parts)

    # -- datasets

    def now(self):
        return len(self.events)

    def newest(self, kind, thing, events=None):
        """When what a dataset of this kind holds was announced last; None: not yet."""
        return max((event.at for event in (self.events if events is None else events)
                    if event.thing is thing and event.kind in ANNOUNCED[kind]), default=None)

    def document(self, kind, object_id, as_of, strict=False):
        """Status and text of what the platform answers when it knows the events up to this number; None: not what is asked for.
        Strict: what is no track any more is gone."""
        thing = self.things[object_id]
        known = [event for event in self.events[:as_of] if event.thing is thing or thing in event.parts]
        newest = self.newest(kind, thing, known)
        if newest is None:
            return 410, ""
        if strict and self._is_dead(kind, thing, newest, known):
            return 410, ""
        return 200, compact(dataset(kind, thing, newest))

    def _is_dead(self, kind, thing, newest, known):
        for event in known:
            removed_at = (event.thing.base, event.at)
            if event.kind == "invalid" and event.person is thing.person and removed_at > (thing.base, newest):
                return True
            if kind == "processed" and thing in event.parts and removed_at >= (thing.base, newest):
                return True
        return False


def moment(base, at):
    return (base + timedelta(minutes=at)).strftime("%Y-%m-%dT%H:%M:%S.0000000Z")


def key_of(thing):
    return f"exports/{thing.id}.json"


def record(thing, at):
    """What S3 tells of an object."""
    return {"eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "eu-west-1", "eventName": "ObjectCreated:Put",
            "eventTime": (NEW + timedelta(minutes=at)).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "s3": {"s3SchemaVersion": "1.0", "bucket": {"name": BUCKET}, "object": {"key": key_of(thing), "size": 10, "sequencer": f"{at:08X}"}}}


def dataset(kind, thing, at):
    if kind in ("processed", "object"):
        track = {"Distance": at, "New": at, "Points": [
            {"Number": n, "Latitude": 52, "Longitude": 8 + n / 100, "AlertType": "acc", "AlertValue": at} for n in range(1, 2 + at % 2)]}
        if kind == "object":
            track |= {"TrackToken": thing.id, "DeviceToken": thing.person.id}
        return {"Result": {"Code": 200, "Track": track}}
    if kind == "raw":
        return {"Track": {"CompanyId": at, "Events": [{"Type": "Braking"}], "Points": [
            {"Number": n, "Speed": at} for n in range(1, 2 + at % 2)]}}
    if kind == "crash":
        return {"Type": "Accident", "Reliability": at}
    return {"TimeStart": 1715701853420, "Frequency": 100, "Samples": [
        {"Time": 1715701853420 + 10 * n, "AccelerationX": at} for n in (1, 2)]}


# ---- the ways in which an event comes -----------------------------------------------------------

def gathered(rng, events):
    """One value for damoov_ingest(): the event itself, an array, an envelope."""
    if events[0].kind == "object":
        value = {"Records": [event.payload for event in events]}
    elif len(events) > 1 or rng.random() < 0.2:
        value = [event.payload for event in events]
    else:
        value = events[0].payload
    return enveloped(value) if rng.random() < 0.2 else value


def enveloped(value):
    return {"Type": "Notification", "MessageId": "00000000-0000-4000-8000-000000000000", "TopicArn": "arn:aws:sns:eu-west-1:123456789012:damoov",
            "Timestamp": "2026-06-01T10:00:00.000Z", "Message": compact(value)}


def damaged(event):
    """What cannot be read, and still names the person."""
    return compact(event.payload)[:-1]
