"""What damoov.trips, trip_points and trip_events must hold for a processed track.

    expected_trip.py expected < dataset.json    rows by the rules of docs/damoov-datasets.md, canonical
    expected_trip.py canonical < rows.json      rows as the server gives them, canonical

Canonical: one JSON value a line, members sorted, numbers as Python's repr writes them (that
is exact), so that two texts are equal when every row and every bit is.  Written apart from
the C code on purpose: Python's json and float are the judges here.
"""

import json
import re
import sys
from datetime import datetime, timedelta, timezone

SECRETS = {"devicetoken", "userid"}


# ---- canonical text -----------------------------------------------------------------------------

def plain(value):
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2 ** 53:
        return int(value)       # 50.0 is written 50; -0.0 is 0
    return value


def canonical(value):
    return json.dumps(plain(value), sort_keys=True, ensure_ascii=False)


def write(rows):
    print(canonical(rows["trip"]))
    for row in rows["points"] + rows["events"]:
        print(canonical(row))


# ---- values -------------------------------------------------------------------------------------
# A reader takes a value and gives (what is stored, note); both None for null.

def number(low, high, none=None):
    def read(value):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None, "not a number"
        if none is not None and value == none:
            return None, None
        return (float(value), None) if low <= value <= high else (None, "out of range")
    return read


def whole(low, high, none=None):
    def read(value):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None, "not a number"
        if isinstance(value, float) and value == value and abs(value) != float("inf") and not value.is_integer():
            return None, "not a whole number"
        if none is not None and value == none:
            return None, None
        return (int(value), None) if low <= value <= high else (None, "out of range")
    return read


def boolean(value):
    return (value, None) if isinstance(value, bool) else (None, "not a boolean")


def flag(value):
    if not isinstance(value, bool) and isinstance(value, (int, float)) and value in (0, 1):
        return value == 1, None
    return boolean(value)


def text(value):
    return (value or None, None) if isinstance(value, str) else (None, "not a text")


def code(value):
    if isinstance(value, str) and len(value.encode()) > 64:
        return None, "too long"
    return text(value)


def an_object(value):
    return (value, None) if isinstance(value, dict) else (None, "not an object")


def anything(value):
    return value, None


class Moment:
    def __init__(self, at, offset):
        self.at = at
        self.offset = offset

    def __str__(self):
        """As to_json() writes a timestamptz when TimeZone is UTC."""
        fraction = f".{self.at.microsecond:06d}".rstrip("0") if self.at.microsecond else ""
        return self.at.strftime("%Y-%m-%dT%H:%M:%S") + fraction + "+00:00"


TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)?")


def time(value):
    parts = TIME.fullmatch(value) if isinstance(value, str) else None
    if not parts:
        return None, "not a point in time"
    if parts[1].startswith("0001-01-01T00:00:00"):
        return None, None
    moment = datetime.fromisoformat(parts[1]).replace(tzinfo=timezone.utc)
    moment += timedelta(microseconds=(int((parts[2] or "0").ljust(9, "0")) + 500) // 1000)
    if not parts[3]:
        return Moment(moment, None), "no offset from UTC, read as UTC"
    offset = 0
    if parts[3] != "Z":
        digits = parts[3].replace(":", "")
        offset = (int(digits[1:3]) * 60 + int(digits[3:5])) * (-1 if digits[0] == "-" else 1)
    return Moment(moment - timedelta(minutes=offset), offset), None


# ---- members and columns ------------------------------------------------------------------------

RATING, SCORE, COUNT = number(0, 5, -1), number(0, 100, -1), whole(0, 1_000_000, -1)
PARTS = ("Acceleration", "Braking", "Cornering", "Speeding", "TimeOfDay")


def snake(name):
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


TRIP = {
    "StartDate": ("started_at", time), "EndDate": ("ended_at", time),
    "Distance": ("distance_km", number(0, 100_000)), "Duration": ("duration_min", number(-1_000_000, 1_000_000)),
    "Status": ("status", text), "TrackOriginCode": ("origin", text), "OriginChanged": ("origin_changed", boolean),
    "ShareType": ("share_type", text), "AddressStart": ("address_start", text), "AddressEnd": ("address_end", text),
    "AddressStartParts": ("address_start_parts", an_object), "AddressFinishParts": ("address_end_parts", an_object),
    "CityStart": ("city_start", text), "CityFinish": ("city_end", text),
    "AccelerationCount": ("acceleration_count", COUNT), "DecelerationCount": ("braking_count", COUNT),
    "Rating": ("rating", RATING), "RatingPhoneUsage": ("rating_phone_usage", RATING),
    "Rating100": ("score", SCORE), "RatingPhoneDistraction100": ("score_phone_usage", SCORE),
    **{f"Rating{part}": (f"rating_{snake(part)}", RATING) for part in PARTS},
    **{f"Rating{part}100": (f"score_{snake(part)}", SCORE) for part in PARTS},
    "EcoScore": ("eco_score", SCORE),
    **{f"EcoScore{part}": (f"eco_score_{snake(part)}", SCORE) for part in ("Brakes", "Depreciation", "Fuel", "Tyres")},
    "PhoneUsage": ("phone_usage_min", number(0, 1_000_000)),
    "MidOverSpeedMileage": ("mid_speeding_km", number(0, 100_000)),
    "HighOverSpeedMileage": ("high_speeding_km", number(0, 100_000)),
    "DrivingTips": ("driving_tips", text), "BeaconId": ("beacon_id", whole(0, 2 ** 63 - 1, 0)),
    "Tags": ("tags", anything), "RatingReason": ("rating_reason", text),
}
POINT = {
    "Id": ("point_id", whole(-2 ** 63, 2 ** 63 - 1)), "Number": ("number", whole(0, 2 ** 31 - 1)),
    "PointDate": ("recorded_at", time),
    "Latitude": ("latitude", number(-90, 90)), "Longitude": ("longitude", number(-180, 180)),
    "TotalMeters": ("total_meters", number(0, 1e8)), "Speed": ("speed_kmh", number(0, 2000)),
    "MidSpeed": ("mid_speed_ms", number(0, 600)), "SpeedLimit": ("speed_limit_kmh", number(1, 500, 999)),
    "AlertValue": ("alert_value_ms2", number(-1000, 1000)), "Lateral": ("lateral_ms2", number(-1000, 1000)),
    "Course": ("course_deg", number(0, 360)), "Yaw": ("yaw_deg", number(-1e7, 1e7)),
    "Height": ("height_mm", number(-1e6, 1e8)), "SpeedType": ("speed_type", code), "AlertType": ("alert_type", code),
    "Cornering": ("cornering", boolean), "PhoneUsage": ("phone_usage", flag),
}


class Members(dict):
    """A JSON object that remembers which names came more than once; the last one counts."""

    def __init__(self, pairs):
        super().__init__(pairs)
        names = [name for name, _ in pairs]
        self.repeated = {name for name in names if names.count(name) > 1}


def columns(members, table, note, apart=()):
    """The row's columns, and what is left over."""
    row = {column: None for column, _ in table.values()}
    extra = {}
    for name, value in members.items():
        if name in table:
            if name in members.repeated:
                note(name, "repeated, the last one counts")
            stored, remark = table[name][1](value) if value is not None else (None, None)
            row[table[name][0]] = stored
            if remark:
                note(name, remark)
        elif name not in apart and name.lower() not in SECRETS:
            extra[name] = value
    return row, extra or None


class Notes:
    def __init__(self):
        self.trip = set()
        self.points = {}

    def of_trip(self, name, remark):
        self.trip.add(f"{name}: {remark}")

    def of_point(self, name, remark):
        self.points[name, remark] = self.points.get((name, remark), 0) + 1

    def all(self):
        lines = self.trip | {f"Points.{name}: {remark} ({count})" if name != "[]" else f"Points[]: {remark} ({count})"
                             for (name, remark), count in self.points.items()}
        return sorted(lines) or None


# ---- points -------------------------------------------------------------------------------------

def position(row, members, note):
    """Both or none."""
    given = [members.get(axis) is not None for axis in ("Latitude", "Longitude")]
    for axis, there in zip(("Latitude", "Longitude"), given):
        if not there:
            note(axis, "missing")
    if row["latitude"] == 0 and row["longitude"] == 0:
        note("Latitude", "position 0/0")
        row["latitude"] = None
    if row["latitude"] is None or row["longitude"] is None:
        row["latitude"] = row["longitude"] = None


def points_of(track, notes):
    rows, before = [], None
    for seq, members in enumerate(track.get("Points") or []):
        if not isinstance(members, dict):
            notes.of_point("[]", "not an object")
            continue
        row, extra = columns(members, POINT, notes.of_point)
        position(row, members, notes.of_point)
        if row["alert_type"] is None:
            row["alert_value_ms2"] = None
        standing = row["mid_speed_ms"] == 0 and row["course_deg"] == 0 and row["height_mm"] == 0
        repeats = row["number"] is None or (before is not None and before["number"] == row["number"])
        row.update(seq=seq, extra=extra, is_filler=standing and repeats)
        rows.append(row)
        before = row
    return rows


# ---- trip events --------------------------------------------------------------------------------

def speeding(row):
    return None not in (row["speed_kmh"], row["speed_limit_kmh"]) and row["speed_kmh"] > row["speed_limit_kmh"]


KINDS = [
    ("acceleration", lambda row: row["alert_type"] == "acc"),
    ("braking", lambda row: row["alert_type"] == "deacc"),
    ("cornering", lambda row: bool(row["cornering"])),
    ("phone_usage", lambda row: bool(row["phone_usage"])),
    ("speeding", speeding),
]


def runs(rows, takes_part):
    """(points of a run, the measured point after it or the last of it)"""
    run = []
    for row in rows:
        if takes_part(row):
            run.append(row)
        elif run:
            yield run, row
            run = []
    if run:
        yield run, run[-1]


def largest(values, key=lambda value: value):
    return max((value for value in values if value is not None), key=key, default=None)


def event(kind, run, reaches):
    first = run[0]
    start, end = first["recorded_at"], reaches["recorded_at"]
    length = None
    if None not in (first["total_meters"], reaches["total_meters"]):
        length = reaches["total_meters"] - first["total_meters"]
    return {
        "kind": kind, "first_seq": first["seq"], "last_seq": run[-1]["seq"], "started_at": start,
        "ended_at": None if start and end and end.at < start.at else end,
        "latitude": first["latitude"], "longitude": first["longitude"],
        "length_m": length if length is None or length >= 0 else None,
        "peak_ms2": largest((row["alert_value_ms2"] for row in run), abs) if kind in ("acceleration", "braking") else None,
        "max_speed_kmh": largest(row["speed_kmh"] for row in run),
        "max_excess_kmh": largest(row["speed_kmh"] - row["speed_limit_kmh"] for row in run) if kind == "speeding" else None,
    }


def events_of(rows):
    measured = [row for row in rows if not row["is_filler"]]
    found = [(run[0]["seq"], order, event(kind, run, reaches))
             for order, (kind, takes_part) in enumerate(KINDS) for run, reaches in runs(measured, takes_part)]
    return [{"seq": seq, **row} for seq, (_, _, row) in enumerate(sorted(found, key=lambda item: item[:2]))]


# ---- trip ---------------------------------------------------------------------------------------

def edge(rows, column, pick):
    values = [row[column] for row in rows if row[column] is not None]
    return pick(values) if values else None


def expected(document):
    track, notes = document["Result"]["Track"], Notes()
    rows = points_of(track, notes)
    trip, extra = columns(track, TRIP, notes.of_trip, apart=("Points", "TrackToken"))
    beside = {name: value for holder, known in ((document, "Result"), (document["Result"], ("Track", "Code")))
              for name, value in holder.items() if name not in known and name.lower() not in SECRETS}
    extra = {**beside, **(extra or {})} or None
    start, end = trip["started_at"], trip["ended_at"]
    if start and end and end.at < start.at:
        notes.of_trip("EndDate", "before StartDate")
    if trip["duration_min"] is not None and trip["duration_min"] < 0:
        notes.of_trip("Duration", "negative")
    trip.update(
        start_utc_offset_min=start.offset if start else None, end_utc_offset_min=end.offset if end else None,
        point_count=len(rows), filler_count=sum(row["is_filler"] for row in rows),
        min_latitude=edge(rows, "latitude", min), max_latitude=edge(rows, "latitude", max),
        min_longitude=edge(rows, "longitude", min), max_longitude=edge(rows, "longitude", max),
        extra=extra, notes=notes.all())
    return {"trip": told(trip), "points": [told(row) for row in rows], "events": [told(row) for row in events_of(rows)]}


def told(row):
    return {column: str(value) if isinstance(value, Moment) else value for column, value in row.items()}


def main():
    source = sys.stdin.buffer.read().decode("utf-8")
    sys.stdout.reconfigure(encoding="utf-8")
    if sys.argv[1:] == ["expected"]:
        write(expected(json.loads(source, object_pairs_hook=Members)))
    else:
        rows = json.loads(source)
        rows["trip"]["notes"] = sorted(rows["trip"]["notes"] or []) or None
        write(rows)


if __name__ == "__main__":
    main()
