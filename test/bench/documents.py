"""Writes what the stub hands out: templates of notifications, and datasets, in the shape of the stand-in's fleet."""

import json
import pathlib
import random
import re
import sys
from datetime import timedelta

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "cloud"))
import fleet  # noqa: E402

# as in stub/messages.h
OBJECT = "00000000-0000-4000-8000-0000000000b1"
USER = "00000000-0000-4000-8000-0000000000b2"
CLIENT = "customer-########"
TIME = "2000-01-01T00:00:00.0000000Z"

POINTS = 900
RAW_BYTES = 1_200_000
TEMPLATES = 40


def owner():
    return fleet.Driver(USER, CLIENT, "7e1f2a3b-4c5d-4e6f-9a0b-1c2d3e4f5a6b", fleet.TOWNS[0])


def drive(seed, points=POINTS):
    return fleet.trip(random.Random(seed), points=points)


def template(notification):
    """With marks for the times; ClientId where the platform may put it."""
    text = fleet.compact({**notification, "ClientId": CLIENT})
    return re.sub(r'("(?:Timestamp|TimeReceived|DateReceived)":)"[^"]*"', rf'\1"{TIME}"', text)


def write_templates(directory, name, notifications):
    (directory / f"{name}.ndjson").write_text("".join(template(one) + "\n" for one in notifications))


def mixed(writer, moment, number):
    """Half of them reports of phones, then tracks that have arrived and tracks that were rejected."""
    end = moment + timedelta(minutes=37)
    if number % 10 < 5:
        return writer.heartbeat(owner(), moment, number % 3)
    if number % 10 < 8:
        return writer.received(owner(), OBJECT, moment, moment, end)
    return writer.removed(owner(), OBJECT, moment, moment, end, "Insufficient Track length")


def write_notifications(directory, base_url):
    writer = fleet.Writer(random.Random(3), base_url)
    moment = fleet.moment_of(drive(1, 10)[0])
    end = moment + timedelta(minutes=37)
    write_templates(directory, "mixed", [mixed(writer, moment, number) for number in range(TEMPLATES)])
    write_templates(directory, "heartbeats", [writer.heartbeat(owner(), moment, number % 3) for number in range(TEMPLATES)])
    write_templates(directory, "trips", [writer.enriched(owner(), OBJECT, moment)])
    write_templates(directory, "raw", [writer.received(owner(), OBJECT, moment, moment, end)])
    write_templates(directory, "crashes", [writer.accident("AccidentEventExtraReceived", owner(), OBJECT, moment,
                                                           {"DateReceived": TIME})])


def write_dataset(directory, kind, number, document):
    (directory / f"{kind}-{number:02d}.json").write_text(fleet.compact(document))


def raw_track(seed):
    """As long as a phone makes them: a point each second of an hour or so."""
    fleet.RAW_POINTS = sys.maxsize
    points, track = 500, {}
    while len(fleet.compact(track)) < RAW_BYTES:
        points = points * 5 // 4
        track = fleet.raw_track(random.Random(seed), owner(), OBJECT, drive(seed, points))
    while len(fleet.compact(track)) > RAW_BYTES:
        track["Track"]["Points"].pop()
    return track


def write_datasets(directory, tracks):
    for number in range(tracks):
        write_dataset(directory, "processed", number,
                      fleet.processed_track(random.Random(number), drive(number), fleet.TOWNS[0]))
    for number in range(4):
        points = drive(number, 20)
        write_dataset(directory, "raw", number, raw_track(number))
        write_dataset(directory, "crash_buffer", number, fleet.crash_buffer(OBJECT, fleet.moment_of(points[9]), points[9]))


def write(directory, base_url, tracks):
    write_notifications(directory, base_url)
    write_datasets(directory, tracks)
