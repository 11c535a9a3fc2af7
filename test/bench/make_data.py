"""Writes the documents of the benchmark: a trip and a batch of heartbeats."""
import json
import pathlib
import random
import sys
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "cloud"))
import fleet

POINTS = 900
HEARTBEATS = 500
PHONES = 100


def heartbeat(rng, phones, number):
    phone = phones[number % len(phones)]
    return {
        "Event": "HeartbeatReceived", "Sender": "Damoov", "UserId": phone,
        "ClientId": "customer-%04d" % (number % len(phones)),
        "Timestamp": "2026-03-02T%02d:%02d:%02d.1180557Z" % (number // 3600, number // 60 % 60, number % 60),
        "Object": {"Id": phone, "Type": "RawHeartbeat", "Uri": None},
        "Details": {
            "ChargeLevel": round(rng.uniform(1, 100), 1), "WifiEnabled": False, "GPSEnabled": True,
            "RealTimeLocationEnabled": False, "MobileDataEnabled": True,
            "NotUploadedTripsCount": rng.randrange(4),
            "InstanceId": "7e1f2a3b-4c5d-4e6f-9a0b-1c2d3e4f5a6b",
            "TimeReceived": "2026-03-02T07:00:00.0000000Z"},
    }


def main(directory):
    rng = random.Random(1)
    phones = [str(uuid.UUID(int=rng.getrandbits(128), version=4)) for _ in range(PHONES)]
    heartbeats = [heartbeat(rng, phones, number) for number in range(HEARTBEATS)]
    (directory / "heartbeats.json").write_text(json.dumps(heartbeats))
    (directory / "trip.json").write_text(json.dumps(fleet.processed_track(rng, fleet.trip(rng, points=POINTS), fleet.TOWNS[0])))


main(pathlib.Path(sys.argv[1]))
