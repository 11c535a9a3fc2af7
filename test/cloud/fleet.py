"""Invented drivers, their drives, and the notifications and datasets Damoov would make of them.

Everything follows from the seed: the same knobs give the same bytes. Members, spellings
and oddities of the documents are those the platform is known for; places are invented.
"""

import argparse
import hashlib
import json
import math
import os
import struct
import sys
import uuid
from collections import Counter
from datetime import datetime, timedelta, timezone
from random import Random
from typing import NamedTuple, Optional

MOBILE = "https://mobilesdk.telematicssdk.com"
CRASHES = "https://api.telematicssdk.com"
START = "2026-03-02T07:00:00Z"
FIRST_POINT_ID = 5_562_646_835      # above 2^31, as seen
UNKNOWN_LIMIT = 999
METRES_A_DEGREE = 111_320
TOP_SPEED = 40                      # m/s
RAW_POINTS = 30                     # a real raw track has one a second and takes megabytes
KNOBS = ("drivers", "trips", "points", "seed", "start", "base_url")


# ---- small things -------------------------------------------------------------------------------

def compact(document):
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def float32(value):
    """The residue of a value that went through a 32-bit float."""
    return struct.unpack("f", struct.pack("f", value))[0]


def new_uuid(rng):
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def local(moment):
    return moment.isoformat(timespec="seconds")


def local_without_colon(moment):
    return moment.strftime("%Y-%m-%dT%H:%M:%S%z")


def ticks(moment, rng):
    """UTC in ticks of 100 ns: seven digits, the last of them below a microsecond."""
    moment = moment.astimezone(timezone.utc) + timedelta(microseconds=rng.randrange(1_000_000))
    return f"{moment.strftime('%Y-%m-%dT%H:%M:%S.%f')}{rng.randrange(10)}Z"


def local_ticks(moment):
    zone = moment.strftime("%z")
    return f"{moment.strftime('%Y-%m-%dT%H:%M:%S')}.0000000{zone[:3]}:{zone[3:]}"


def epoch_ms(moment):
    return round(moment.timestamp() * 1000)


# ---- drivers ------------------------------------------------------------------------------------

class Town(NamedTuple):
    name: str
    country: str
    latitude: float
    longitude: float
    offset_minutes: int
    height_mm: int
    streets: tuple


TOWNS = [
    Town("Exampletown", "EX", 51.951, 7.618, 60, 62_000, ("Example Street", "Sample Road", "Mill Lane", "Station Square")),
    Town("Port Specimen", "XU", 41.602, -93.611, -360, 291_000, ("1st Avenue", "Prairie Boulevard", "County Road 7")),
    Town("Namunapura", "XI", 12.962, 77.583, 330, 918_000, ("Lake Road", "Temple Street", "Ring Road")),
    Town("Vila Exemplo", "XB", -23.561, -46.642, -180, 760_000, ("Rua das Acácias", "Avenida do Exemplo", "Praça Nova")),
    Town("Nåmnebølling", "XN", 59.913, 10.739, 60, 23_000, ("Møllegata", "Åsveien", "Østre Brygge")),
    Town("Udaharanpur", "XP", 27.701, 85.322, 345, 1_350_000, ("Garden Path", "Bridge Road", "Hill Road")),
]


class Driver(NamedTuple):
    device_token: str
    client_id: Optional[str]
    instance_id: str
    town: Town

    @property
    def zone(self):
        return timezone(timedelta(minutes=self.town.offset_minutes))


def driver(rng, number, instance_id):
    if number == 0:
        client_id = "Łukasz Ångström – Fahrer 7 🚗"
    else:
        client_id = None if number % 3 == 1 else f"customer-{number:06d}"
    return Driver(new_uuid(rng), client_id, instance_id, TOWNS[number % len(TOWNS)])


# ---- a drive ------------------------------------------------------------------------------------

class Car:
    """Moves along an invented grid of streets towards a goal that it never quite needs to reach."""

    LIMITS = (30, 50, 50, 50, 70, 100, UNKNOWN_LIMIT)

    def __init__(self, rng, latitude, longitude):
        self.rng = rng
        self.latitude = latitude
        self.longitude = longitude
        self.goal = (latitude + rng.uniform(-0.06, 0.06), longitude + rng.uniform(-0.09, 0.09))
        self.course = rng.uniform(0, 360)
        self.yaw = rng.uniform(-4, 4)
        self.metres = rng.uniform(20, 90)
        self.speed = rng.uniform(1, 4)
        self.limit = 50
        self.haste = 1.0
        self.junction = rng.uniform(100, 400)

    def move(self, seconds, pull=None):
        """Drives on; a pull in m/s^2 overrides the calm foot. True when the car turned off."""
        before = self.speed
        wish = (50 if self.limit == UNKNOWN_LIMIT else self.limit) * self.haste / 3.6
        calm = min(max((wish - self.speed) / max(seconds, 1), -1.6), 1.4)
        self.speed = min(max(0.0, self.speed + (calm if pull is None else pull) * seconds), TOP_SPEED)
        turned = self.junction <= 0 and self._turn()
        self._bend(self.rng.gauss(0, 1.5))
        self._advance((before + self.speed) / 2 * seconds)
        return turned

    def _turn(self):
        self.junction = self.rng.uniform(150, 700)
        self.limit = self.rng.choice(self.LIMITS)
        ways = (0, 88, -88)
        way = self.rng.choice(ways) if self.rng.random() < 0.25 else min(ways, key=self._off_goal)
        self._bend(way)
        return way != 0

    def _off_goal(self, way):
        north, east = self.goal[0] - self.latitude, self.goal[1] - self.longitude
        bearing = math.degrees(math.atan2(east * math.cos(math.radians(self.latitude)), north))
        return abs((bearing - self.course - way + 180) % 360 - 180)

    def _bend(self, degrees):
        self.course = (self.course + degrees) % 360
        self.yaw += degrees

    def _advance(self, metres):
        angle = math.radians(self.course)
        self.latitude += metres * math.cos(angle) / METRES_A_DEGREE
        self.longitude += metres * math.sin(angle) / (METRES_A_DEGREE * math.cos(math.radians(self.latitude)))
        self.metres += metres
        self.junction -= metres


def layout(rng, points):
    """Which points are measured; the others are fillers. The first and the last are measured."""
    kinds = []
    while len(kinds) < points - 1:
        kinds += [True] + [False] * rng.choice((0, 0, 1, 1, 2, 3))
    return kinds[:points - 1] + [True]


class Plot:
    """What happens at which measured point."""

    def __init__(self, rng, measured):
        middle = range(2, max(3, measured - 2))
        some = max(1, measured // 80)
        self.last = measured - 1
        self.pulls = {rng.choice(middle): rng.uniform(2.5, 3.4) for _ in range(some)}
        self.pulls |= {rng.choice(middle): -rng.uniform(2.8, 4.1) for _ in range(some)}
        self.twin = rng.choice(middle)              # shares its second with its predecessor
        self.tiny = rng.choice(middle)              # has a Lateral in exponent form
        self.unknown = rng.choice(middle)           # has no speed limit
        phone = rng.choice(middle)
        self.phone = range(phone, phone + max(1, measured // 20))
        hasty = rng.choice(middle)
        self.hasty = range(hasty, hasty + max(2, measured // 8))


def trip(rng, points=120, start=None, town=TOWNS[0], place=None, first_id=FIRST_POINT_ID):
    """The points of one drive, exactly so many."""
    start = start or datetime(2026, 3, 2, 8, 0, tzinfo=timezone(timedelta(hours=1)))
    car = Car(rng, *(place or (town.latitude + rng.uniform(-0.02, 0.02), town.longitude + rng.uniform(-0.03, 0.03))))
    kinds = layout(rng, points)
    plot = Plot(rng, sum(kinds))
    number, moment, step, made = rng.randrange(5, 20), start, 0, []
    for is_measured in kinds:
        if not is_measured:
            made.append(filler(rng, made[-1]))
            continue
        seconds = 0 if step in (0, plot.twin) else 3 if step in plot.pulls else rng.randrange(2, 9)
        number += max(seconds, 1)
        moment += timedelta(seconds=seconds)
        made.append(measured(car, plot, step, seconds, number, moment, town))
        step += 1
    lay_fillers(made)
    return [{"Id": first_id + at, **point} for at, point in enumerate(made)]


def measured(car, plot, step, seconds, number, moment, town):
    car.haste = 1.45 if step in plot.hasty else 0.95
    pull = -car.speed / max(seconds, 1) if step == plot.last else plot.pulls.get(step)
    turned = car.move(seconds, pull)
    if step == plot.last:
        car.speed = 0.0
    limit = UNKNOWN_LIMIT if step == plot.unknown else car.limit
    alert = plot.pulls.get(step, 0) if step != plot.last else 0
    mid_speed = float32(round(car.speed, 2))
    speed = float32(round(mid_speed * 3.6, 3))
    return {
        "Number": number,
        "PointDate": local(moment),
        "Latitude": round(car.latitude, 5),
        "Longitude": round(car.longitude, 5),
        "TotalMeters": round(car.metres, 6),
        "Speed": speed,
        "MidSpeed": mid_speed,
        "SpeedLimit": limit,
        "SpeedType": speed_type(speed, limit),
        "AlertType": "acc" if alert > 0 else "deacc" if alert < 0 else "",
        "AlertValue": float32(alert) if alert else 0,
        "Cornering": bool(turned and car.speed > 6),
        "PhoneUsage": step in plot.phone,
        "Lateral": car.rng.uniform(1, 9) * 1e-12 if step == plot.tiny else 0,
        "Course": float32(round(car.course, 1)),
        "Yaw": round(car.yaw, 6),
        "Height": round(town.height_mm + 9_000 * math.sin(car.metres / 900) + car.rng.uniform(-150, 150)),
    }


def filler(rng, before):
    """A point of the road's geometry: the values of the measured point before it, or none."""
    limit = rng.choice(Car.LIMITS[:5]) if rng.random() < 0.1 else before["SpeedLimit"]
    return {**before, "MidSpeed": 0, "SpeedLimit": limit, "AlertType": "", "AlertValue": 0, "Cornering": False,
            "PhoneUsage": False, "Lateral": 0, "Course": 0, "Yaw": 0, "Height": 0}


def is_filler(point):
    return point["Course"] == 0 and point["Height"] == 0


def lay_fillers(points):
    """Spreads each run of fillers between the measured points on either side."""
    stops = [at for at, point in enumerate(points) if not is_filler(point)]
    for left, right in zip(stops, stops[1:]):
        for at in range(left + 1, right):
            share = (at - left) / (right - left)
            for axis in ("Latitude", "Longitude"):
                points[at][axis] = round(points[left][axis] + share * (points[right][axis] - points[left][axis]), 5)


def speed_type(speed, limit):
    over = speed - limit if limit != UNKNOWN_LIMIT else 0
    return "high" if over >= 20 else "mid" if over >= 10 else "norm"


# ---- documents ----------------------------------------------------------------------------------

def address(rng, town, house):
    street = rng.choice(town.streets)
    parts = {"CountryCode": town.country, "City": town.name, "District": f"{town.name} County", "Street": street,
             "House": str(house), "PostalCode": f"{rng.randrange(100, 99999):05d}"}
    return f"{street} {house}, {town.name}, {town.name} County", parts


def mileage(points, wanted):
    """Kilometres driven at a speed type."""
    steps = zip(points, points[1:])
    return round(sum(b["TotalMeters"] - a["TotalMeters"] for a, b in steps if b["SpeedType"] == wanted) / 1000, 3)


def percent(points, weight):
    return round(100 * sum(weight(point) for point in points) / len(points))


def phone_minutes(points):
    real = [point for point in points if not is_filler(point)]
    spans = [moment_of(b) - moment_of(a) for a, b in zip(real, real[1:]) if b["PhoneUsage"]]
    return round(sum(spans, timedelta()).total_seconds() / 60, 2)


def moment_of(point):
    return datetime.fromisoformat(point["PointDate"])


def tips(score, points):
    lines = [f"- strong {'acceleration' if point['AlertType'] == 'acc' else 'braking'}, "
             f"{point['AlertValue']:.2f} m/s2, {point['PointDate'][11:19]}" for point in points if point["AlertType"]]
    return "\r\n".join([f"Safety score {score}. Points were lost here:", *lines])


def processed_track(rng, points, town, origin="OriginalDriver", tags=None, silent=False):
    """The answer of get_track. `silent` leaves the texts null."""
    start, end = moment_of(points[0]), moment_of(points[-1])
    if rng.random() < 0.5:
        start += timedelta(seconds=1)               # a first point may precede its trip
    alerts = Counter(point["AlertType"] for point in points)
    from_text, from_parts = address(rng, town, rng.randrange(1, 41))
    to_text, to_parts = address(rng, town, rng.randrange(41, 81))
    scores = {name: max(0, 100 - rng.randrange(8) - cost) for name, cost in (
        ("Cornering", percent(points, lambda point: 5 * point["Cornering"])), ("Acceleration", 12 * alerts["acc"]),
        ("Braking", 12 * alerts["deacc"]), ("Speeding", percent(points, lambda point: 2 * (point["SpeedType"] == "high"))),
        ("PhoneUsage", percent(points, lambda point: 3 * point["PhoneUsage"])), ("TimeOfDay", 0))}
    overall = round(sum(scores.values()) / len(scores))
    track = {
        "StartDate": local(start), "EndDate": local(end), "Status": "Active",
        "Distance": round((points[-1]["TotalMeters"] - points[0]["TotalMeters"]) / 1000, 3),
        "Duration": round((end - start).total_seconds() / 60, 2),
        "AccelerationCount": alerts["acc"], "DecelerationCount": alerts["deacc"],
        "AddressStart": None if silent else from_text, "AddressEnd": None if silent else to_text,
        "AddressStartParts": None if silent else from_parts, "AddressFinishParts": None if silent else to_parts,
        "CityStart": None if silent else town.name, "CityFinish": None if silent else town.name,
        "Rating": overall / 20,
        **{f"Rating{name}": round(score / 20) for name, score in scores.items()},
        "Rating100": overall,
        **{f"Rating{name}100": scores[name] for name in ("Cornering", "Acceleration", "Braking", "Speeding")},
        "RatingPhoneDistraction100": scores["PhoneUsage"],
        "PhoneUsage": phone_minutes(points),
        "MidOverSpeedMileage": mileage(points, "mid"), "HighOverSpeedMileage": mileage(points, "high"),
        **{f"EcoScore{name}": rng.randrange(70, 100) for name in ("", "Fuel", "Tyres", "Brakes", "Depreciation")},
        "TrackOriginCode": origin, "OriginChanged": origin != "OriginalDriver", "ShareType": "NotShared",
        "DrivingTips": None if silent else tips(overall, points), "BeaconId": 0,
    }
    if tags is not None:
        track["Tags"] = [{"Tag": tag, "Source": "CustomerApp", "Type": "TrackTag"} for tag in tags]
    track["Points"] = points
    return {"Result": {"Track": track, "Code": 200}}


def raw_track(rng, owner, track_token, points):
    real = [point for point in points if not is_filler(point)]
    return raw_frame(owner, track_token, moment_of(points[0]), moment_of(points[-1]),
                     [raw_point(rng, number, point) for number, point in enumerate(real[:RAW_POINTS])],
                     [known_point(rng, point) for point in real[:2]],
                     [raw_event(rng, point) for point in real if point["AlertType"]])


def removed_track(owner, track_token, start, end):
    return raw_frame(owner, track_token, start, end, [], [], [])


def raw_frame(owner, track_token, start, end, points, known, events):
    return {"Track": {
        "StartDate": local_without_colon(start), "EndDate": local_without_colon(end),
        "Points": points, "LastKnownPoints": known, "Events": events,
        "StartReason": "MotionDetected", "StopReason": "LowSpeedTimeout",
        "DeviceToken": owner.device_token, "CompanyId": 4711, "TrackToken": track_token,
    }}


def raw_point(rng, number, point):
    moment = moment_of(point)
    axes = {f"{sensor}{axis}": round(rng.gauss(9.8 if sensor + axis == "AccelerationZ" else 0, spread), 6)
            for sensor, spread in (("Acceleration", 0.4), ("Gyroscope", 0.01)) for axis in "XYZ"}
    pull = point["AlertValue"]
    return {
        "Number": number, "TotalMeters": point["TotalMeters"], "Speed": point["Speed"], "MidSpeed": point["MidSpeed"],
        "PointDate": local_without_colon(moment), "TickTimestamp": int(moment.timestamp()),
        "Latitude": point["Latitude"], "Longitude": point["Longitude"], "Height": float(point["Height"]),
        "Course": point["Course"], "Yaw": point["Yaw"], "Lateral": 0,
        "Acceleration": max(pull, 0), "Deceleration": max(-pull, 0),
        **axes, **{f"{name}Original": round(value * 0.97, 6) for name, value in axes.items()},
        "Accuracy": round(rng.uniform(3, 15), 1), "EstablishedIndexA": number > 5, "EstablishedIndexB": number > 5,
        "DeviceBlocked": True, "ScreenOn": False, "VehicleIndicators": None,
        "Quantile": {name: spread_around(value, 0.4 if name.startswith("A") else 0.02) for name, value in axes.items()},
    }


def known_point(rng, point):
    return {"Latitude": round(point["Latitude"] - 0.00004, 7), "Longitude": point["Longitude"],
            "Accuracy": round(rng.uniform(9, 25), 2),
            "PointDate": local_without_colon(moment_of(point) - timedelta(seconds=15)), "PointOrigin": "Track"}


def spread_around(median, width):
    return {"Min": round(median - width, 4), "Max": round(median + width, 4), "Median": round(median, 4),
            "Quantile_95": round(median + 0.8 * width, 4), "Quantile_05": round(median - 0.8 * width, 4)}


def raw_event(rng, point):
    """What the phone itself made of a harsh moment; its reliability is sometimes not computed."""
    kind = "Acceleration" if point["AlertType"] == "acc" else "Braking"
    event = phone_event(rng, new_uuid(rng).upper(), kind, "NOT_DEFINED", moment_of(point), point)
    reliability = -1.0 if rng.random() < 0.3 else event["Reliability"]
    return {**event, "Reliability": reliability, "Duration": 1823.0, "PureDuration": 162.0, "PrevEventSpeed": event["SpeedStart"]}


def crash_header(rng, crash_id, moment, point):
    return phone_event(rng, crash_id, "Accident", "ACCELERATION_LOW_SPEED_THRESHOLD", moment, point)


def phone_event(rng, event_id, kind, trigger, moment, point):
    speed = max(point["MidSpeed"], 4.0)
    return {
        "Id": event_id, "Type": kind, "AccidentTrigger": trigger,
        "Reliability": float32(rng.uniform(30, 95)), "TimeStart": epoch_ms(moment),
        "Duration": rng.randrange(8000, 10000), "PureDuration": float32(rng.uniform(1500, 4000)),
        "SpeedStart": round(speed, 4), "SpeedStop": 0.2114, "SpeedMedian": round(speed / 2, 4),
        "AccelerationLateral": round(rng.gauss(0, 0.3), 6), "AccelerationDirect": round(-rng.uniform(2, 5), 6),
        "AccelerationVertical": round(rng.gauss(9.8, 0.2), 6),
        "AccelerationLateralEnd": 0.041926, "AccelerationDirectEnd": -0.598713, "AccelerationVerticalEnd": 9.802166,
        "PointStart": {"Latitude": point["Latitude"], "Longitude": point["Longitude"]},
        "PointEnd": {"Latitude": round(point["Latitude"] + 0.000065, 7), "Longitude": point["Longitude"]},
        "RangeDirect": spread_around(-17.5, 28.7), "RangeVertical": spread_around(9.8, 1.6),
        "RangeLateral": spread_around(0, 1.0), "Accuracy": spread_around(4.8, 0.4),
        "Speed": spread_around(speed / 2, speed / 2),
    }


def crash_buffer(crash_id, moment, point, frequency=100):
    """Five seconds before the crash and five after it."""
    first, speed = epoch_ms(moment) - 5000, max(point["MidSpeed"], 4.0)
    samples = [sample(index, first + index * 1000 // frequency, index / frequency - 5, speed)
               for index in range(10 * frequency)]
    return {"Id": crash_id, "TimeStart": first, "Frequency": frequency, "Samples": samples}


def sample(index, time_ms, seconds, speed):
    blow = math.exp(-(seconds / 0.02) ** 2)
    return {
        "Index": index, "Time": time_ms,
        "AccelerationX": round(-0.5 - 45.7 * blow, 4), "AccelerationY": round(7.9 * blow, 4),
        "AccelerationZ": round(9.8 + 12.4 * blow, 4),
        "GyroscopeX": round(0.8 * blow, 4), "GyroscopeY": round(-1.9 * blow, 4), "GyroscopeZ": round(0.3 * blow, 4),
        "GpsSpeed": round(speed if seconds <= 0 else max(0.0, speed * (1 - seconds / 0.1)), 2),
    }


# ---- notifications ------------------------------------------------------------------------------

class Dataset(NamedTuple):
    kind: str
    id: str
    device_token: str
    text: str


class Step(NamedTuple):
    """One notification and the datasets that are there by then."""

    notification: dict
    datasets: list

    @property
    def text(self):
        return compact(self.notification)


class Writer:
    """Writes notifications and dates them."""

    def __init__(self, rng, base_url):
        self.rng = rng
        self.mobile = base_url or MOBILE
        self.crashes = base_url or CRASHES

    def _notification(self, event, owner, target, moment, details, with_client=False):
        client = {"ClientId": owner.client_id} if with_client and owner.client_id else {}
        return {"Event": event, "Sender": "Data Motion", "UserId": owner.device_token, **client,
                "Object": target, "Timestamp": ticks(moment, self.rng), "Details": details}

    def received(self, owner, track_token, moment, start, end):
        url = f"{self.mobile}/mobilesdk/incoming/incoming/tracks/received/{track_token}/v1/"
        target = {"Id": track_token, "Type": "IncomingTrack", "Url": url}
        return self._notification("IncomingTrackReceived", owner, target, moment,
                                  {"TrackStartDate": local_ticks(start), "TrackFinishDate": local_ticks(end)})

    def removed(self, owner, track_token, moment, start, end, reason):
        url = f"{self.mobile}/mobilesdk/incoming/incoming/tracks/removed/{track_token}/v1/"
        target = {"Id": track_token, "Type": "IncomingTrackSummary", "Url": url}
        return self._notification("IncomingTrackRemoved", owner, target, moment,
                                  {"TrackStartDate": local_ticks(start), "TrackFinishDate": local_ticks(end), "Reason": reason})

    def enriched(self, owner, track_token, moment, replaced=False, tracks_removed=()):
        url = f"{self.mobile}/mobilesdk/stage/track/get_track/v1?trackToken={track_token}"
        target = {"Id": track_token, "Type": "RichTrack", "Url": url}
        return self._notification("TrackEnrichmentFinished", owner, target, moment,
                                  {"ObjectReplaced": replaced,
                                   "TracksRemoved": [{"Id": token, "Type": "RichTrack"} for token in tracks_removed]})

    def accident(self, event, owner, crash_id, moment, details):
        extra = event == "AccidentEventExtraReceived"
        url = f"{self.crashes}/api/drivingevents/get/v1/Accidents/{'extras/' if extra else ''}received/{crash_id}"
        target = {"Id": crash_id, "Type": "AccidentExtra" if extra else "Accident", "Url": url}
        return self._notification(event, owner, target, moment, details, with_client=True)

    def heartbeat(self, owner, moment, waiting):
        """The one that has Uri for Url, another sender, and Timestamp before Object."""
        client = {"ClientId": owner.client_id} if owner.client_id else {}
        return {"Event": "HeartbeatReceived", "Sender": "Damoov", "UserId": owner.device_token, **client,
                "Timestamp": ticks(moment, self.rng),
                "Object": {"Id": owner.device_token, "Type": "RawHeartbeat", "Uri": None},
                "Details": {
                    "ChargeLevel": round(self.rng.uniform(15, 100), 1), "WifiEnabled": self.rng.random() < 0.4,
                    "GPSEnabled": True, "RealTimeLocationEnabled": False, "MobileDataEnabled": self.rng.random() < 0.9,
                    "NotUploadedTripsCount": waiting, "InstanceId": owner.instance_id,
                    "TimeReceived": ticks(moment - timedelta(seconds=5), self.rng)}}


# ---- story --------------------------------------------------------------------------------------

class Track(NamedTuple):
    id: str
    points: list
    traits: dict        # how its processed document is made


class Diary:
    """What one driver does, trip after trip. The first driver does a bit of everything."""

    def __init__(self, rng, number, owner, writer, story):
        self.rng = rng
        self.first = number == 0
        self.owner = owner
        self.writer = writer
        self.story = story
        self.tracks = []        # alive
        self.place = None

    def write(self, trips, points, start):
        moment = start.astimezone(self.owner.zone) + timedelta(minutes=self.rng.randrange(60))
        self._heartbeat(moment - timedelta(minutes=20), 0)
        for number in range(trips):
            moment = self._day_part(number, points, moment)
        self._heartbeat(moment, self.rng.randrange(3))

    def _day_part(self, number, points, moment):
        track = self._drive(number, points, moment)
        end = moment_of(track.points[-1])
        done = self._arrive(track, end)
        if self._happens(number == 1, 0.12):
            self._enrich_again(track, done + timedelta(minutes=8))
        if len(self.tracks) >= 3 and self._happens(number == 2, 0.12):
            self._merge(done + timedelta(minutes=15))
        if self._happens(number == 0, 0.08):
            self._crash(track)
        if self._happens(number == 0, 0.1):
            self._discard(end + timedelta(minutes=5))
        if number % 3 == 2:
            self._heartbeat(end + timedelta(minutes=18), self.rng.randrange(3))
        return end + timedelta(minutes=self.rng.randrange(40, 160))

    def _happens(self, surely, chance):
        """The draw is made in any case, so that one event does not shift all later ones."""
        return (self.rng.random() < chance) | (self.first and surely)

    def _drive(self, number, points, moment):
        made = trip(self.rng, points, moment, self.owner.town, self.place, self.story.point_ids(points))
        self.place = made[-1]["Latitude"], made[-1]["Longitude"]
        traits = {
            "origin": "Passanger" if self.first and number == 0 else "OriginalDriver",
            "tags": ["Business"] if number % 3 == 1 else [] if number % 3 == 2 else None,
            "silent": number % 4 == 3,
        }
        track = Track(new_uuid(self.rng), made, traits)
        self.tracks.append(track)
        return track

    def _arrive(self, track, end):
        """The upload and, a little later, its enrichment."""
        uploaded = end + timedelta(seconds=self.rng.randrange(40, 200))
        enriched = uploaded + timedelta(seconds=self.rng.randrange(30, 150))
        raw = self._dataset("raw", track.id, raw_track(self.rng, self.owner, track.id, track.points))
        self.story.tell(self.writer.received(self.owner, track.id, uploaded, moment_of(track.points[0]), end), [raw])
        self.story.tell(self.writer.enriched(self.owner, track.id, enriched), [self._processed(track)])
        return enriched

    def _dataset(self, kind, object_id, document):
        return Dataset(kind, object_id, self.owner.device_token, compact(document))

    def _processed(self, track):
        document = processed_track(self.rng, track.points, self.owner.town, **track.traits)
        return self._dataset("processed", track.id, document)

    def _enrich_again(self, track, moment):
        """New points, with limits that were unknown the first time."""
        first_id = self.story.point_ids(len(track.points))
        points = [known_limit({**point, "Id": first_id + at}) for at, point in enumerate(track.points)]
        self._replace(Track(track.id, points, track.traits), moment)

    def _merge(self, moment):
        """The two trips before the last become part of the last."""
        *_, one, two, kept = self.tracks
        for gone in (one, two):
            self.tracks.remove(gone)
        self.story.merges[kept.id] = [one.id, two.id] + self.story.merges.get(kept.id, [])
        points = joined((one.points, two.points, kept.points), self.story.point_ids)
        self._replace(Track(kept.id, points, kept.traits), moment, [one.id, two.id])

    def _replace(self, track, moment, removed=()):
        at = next(at for at, old in enumerate(self.tracks) if old.id == track.id)
        self.tracks[at] = track
        notification = self.writer.enriched(self.owner, track.id, moment, True, removed)
        self.story.tell(notification, [self._processed(track)])

    def _discard(self, moment):
        track_token, end = new_uuid(self.rng), moment + timedelta(seconds=self.rng.randrange(60, 240))
        reason = self.rng.choice(("Insufficient Track length", "Walking"))
        remains = self._dataset("removed", track_token, removed_track(self.owner, track_token, moment, end))
        notification = self.writer.removed(self.owner, track_token, end + timedelta(minutes=2), moment, end, reason)
        self.story.removed.append(track_token)
        self.story.tell(notification, [remains])

    def _crash(self, track):
        """Every third crash is a false alarm, which ends before the last stage."""
        point = track.points[len(track.points) // 2]
        moment, crash_id = moment_of(point), new_uuid(self.rng)
        passed = len(self.story.crashes) % 3 != 2
        header = self._dataset("crash", crash_id, crash_header(self.rng, crash_id, moment, point))
        samples = self._dataset("crash_buffer", crash_id, crash_buffer(crash_id, moment, point))
        arrived, complete = ticks(moment + timedelta(seconds=8), self.rng), ticks(moment + timedelta(seconds=26), self.rng)
        stages = [
            ("AccidentEventReceived", 10, {"DateReceived": arrived}, [header]),
            ("AccidentEventExtraReceived", 28, {"DateReceived": complete}, [samples]),
            ("AccidentEventCompletePackageReceived", 30, {"PackageDateReceived": complete, "AccidentPassedFilters": passed}, []),
            ("AccidentEventFiltered", 33, {"DateFiltered": ticks(moment + timedelta(seconds=31), self.rng)}, []),
        ]
        self.story.crashes.append(crash_id)
        self.story.crashes_passed += passed
        for event, later, details, datasets in stages if passed else stages[:3]:
            self.story.tell(self.writer.accident(event, self.owner, crash_id, moment + timedelta(seconds=later), details), datasets)

    def _heartbeat(self, moment, waiting):
        self.story.heartbeats += 1
        self.story.tell(self.writer.heartbeat(self.owner, moment, waiting), [])


def known_limit(point):
    if point["SpeedLimit"] != UNKNOWN_LIMIT:
        return point
    return {**point, "SpeedLimit": 50, "SpeedType": speed_type(point["Speed"], 50)}


def joined(drives, point_ids):
    """One drive of several: new ids, numbers and metres that go on counting."""
    points, number, metres = [], 0, 0.0
    for drive in drives:
        points += [{**point, "Number": point["Number"] + number, "TotalMeters": round(point["TotalMeters"] + metres, 6)}
                   for point in drive]
        number, metres = points[-1]["Number"], points[-1]["TotalMeters"]
    first_id = point_ids(len(points))
    return [{**point, "Id": first_id + at} for at, point in enumerate(points)]


class Story:
    """All notifications in the order of their time, some of them twice."""

    def __init__(self):
        self.steps = []
        self.deliveries = []
        self.drivers = []           # (driver, tracks alive at the end)
        self.next_point_id = FIRST_POINT_ID
        self.merges, self.removed, self.crashes = {}, [], []
        self.crashes_passed = self.heartbeats = 0

    def point_ids(self, count):
        first = self.next_point_id
        self.next_point_id += count + 100
        return first

    def tell(self, notification, datasets):
        self.steps.append(Step(notification, datasets))

    def finish(self, rng):
        """Puts all in order; a repeated notification comes again a few places later."""
        self.steps.sort(key=lambda step: step.notification["Timestamp"])
        placed = list(enumerate(self.steps))
        for number, step in enumerate(self.steps):
            if rng.random() < 0.08 or number == 1:
                placed.append((number + rng.randrange(1, 6) + 0.5, Step(step.notification, [])))
        self.deliveries = [step for _, step in sorted(placed, key=lambda item: item[0])]

    def datasets(self):
        """The newest of each kind and id."""
        newest = {(data.kind, data.id): data for step in self.steps for data in step.datasets}
        return list(newest.values())

    def summary(self):
        return {
            "drivers": [owner.device_token for owner, _ in self.drivers],
            "trips": [track.id for _, tracks in self.drivers for track in tracks],
            "points": sum(len(track.points) for _, tracks in self.drivers for track in tracks),
            "merges": self.merges, "removed": self.removed,
            "crashes": self.crashes, "crashes_passed": self.crashes_passed,
            "heartbeats": self.heartbeats,
            "notifications": len(self.deliveries), "distinct_notifications": len(self.steps),
        }


def tell(drivers=3, trips=8, points=120, seed=1, start=START, base_url=None):
    """The story of a fleet."""
    story, begin = Story(), datetime.fromisoformat(start.replace("Z", "+00:00"))
    instance_id = new_uuid(Random(f"{seed}/instance"))
    for number in range(drivers):
        rng = Random(f"{seed}/driver/{number}")
        diary = Diary(rng, number, driver(rng, number, instance_id), Writer(rng, base_url), story)
        diary.write(trips, points, begin)
        story.drivers.append((diary.owner, diary.tracks))
    story.finish(Random(f"{seed}/order"))
    return story


# ---- command line -------------------------------------------------------------------------------

def digest_of(story):
    texts = [step.text for step in story.deliveries] + [data.text for step in story.steps for data in step.datasets]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def write_out(story, directory):
    os.makedirs(os.path.join(directory, "datasets"), exist_ok=True)
    with open(os.path.join(directory, "notifications.ndjson"), "w", encoding="utf-8") as file:
        file.writelines(step.text + "\n" for step in story.deliveries)
    for data in story.datasets():
        with open(os.path.join(directory, "datasets", f"{data.kind}-{data.id}.json"), "w", encoding="utf-8", newline="") as file:
            file.write(data.text)


def main():
    parser = argparse.ArgumentParser(description="Writes an invented fleet's notifications and datasets.")
    for name, default in (("drivers", 3), ("trips", 8), ("points", 120), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--start", default=START)
    parser.add_argument("--base-url")
    parser.add_argument("--dir", help="where notifications.ndjson and datasets/ go")
    parser.add_argument("--check", action="store_true", help="make the fleet twice and compare the bytes")
    chosen = parser.parse_args()
    knobs = {name: getattr(chosen, name) for name in KNOBS}
    story = tell(**knobs)
    if chosen.check and digest_of(story) != digest_of(tell(**knobs)):
        sys.exit("two runs differ")
    if chosen.dir:
        write_out(story, chosen.dir)
    print(json.dumps(story.summary(), indent=1))


if __name__ == "__main__":
    main()
