"""What one would write by hand in Python: psycopg2, http.client, a thread and a connection for each receive.

    peer.py URL MODE RECEIVES DOWNLOADS

MODE is row, multi-row or copy. The database is that of the PG... variables. Says when it is ready, and begins with the
first line of its standard input. Reads the queue until it is empty, then fetches what was announced; says in a line of
JSON when that ended, and ends with its standard input.
"""

import gzip
import http.client
import io
import json
import queue
import sys
import threading
import time
from urllib.parse import urlsplit

import psycopg2
from psycopg2.extras import execute_values

EVENTS = "events(source, event, user_id, client_id, object_id, object_type, sent_at, sent_text, payload)"
HEARTBEATS = ("heartbeats(user_id, reported_at, received_at, charge_percent, wifi_enabled, gps_enabled, mobile_data_enabled, "
              "real_time_location_enabled, waiting_trips, instance_id)")
DOWNLOADS = "downloads(object_id, user_id, url)"
TRIP = {"started_at": "StartDate", "ended_at": "EndDate", "distance_km": "Distance", "duration_min": "Duration",
        "status": "Status", "origin": "TrackOriginCode", "share_type": "ShareType", "address_start": "AddressStart",
        "address_end": "AddressEnd", "city_start": "CityStart", "city_end": "CityFinish", "rating": "Rating",
        "score": "Rating100", "score_acceleration": "RatingAcceleration100", "score_braking": "RatingBraking100",
        "score_cornering": "RatingCornering100", "score_speeding": "RatingSpeeding100",
        "score_phone_usage": "RatingPhoneDistraction100", "driving_tips": "DrivingTips"}
TRIPS = f"trips(track_token, user_id, point_count, {', '.join(TRIP)})"
POINTS = ("trip_points(trip_id, seq, point_id, number, recorded_at, latitude, longitude, total_meters, speed_kmh, mid_speed_ms, "
          "speed_limit_kmh, alert_value_ms2, lateral_ms2, course_deg, yaw_deg, height_mm, speed_type, alert_type, cornering, "
          "phone_usage, is_filler)")


# ---- the services -------------------------------------------------------------------------------

class Services:
    def __init__(self, url):
        self.connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)

    def _sqs(self, action, **parameters):
        body = json.dumps({"QueueUrl": "https://sqs.eu-west-1.amazonaws.com/000000000000/damoov", **parameters})
        self.connection.request("POST", "/", body.encode(), {"X-Amz-Target": f"AmazonSQS.{action}",
                                                             "Content-Type": "application/x-amz-json-1.0"})
        return json.loads(self.connection.getresponse().read())

    def receive(self):
        return self._sqs("ReceiveMessage", MaxNumberOfMessages=10, WaitTimeSeconds=0).get("Messages", [])

    def delete(self, messages):
        self._sqs("DeleteMessageBatch", Entries=[{"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                                                 for number, message in enumerate(messages)])

    def track(self, url, user_id):
        place = urlsplit(url)
        self.connection.request("GET", f"{place.path}?{place.query}", headers={"DeviceToken": user_id, "Accept-Encoding": "gzip"})
        return json.loads(gzip.decompress(self.connection.getresponse().read()))["Result"]["Track"]


# ---- the tables ---------------------------------------------------------------------------------

def copy_text(value):
    if value is None:
        return "\\N"
    if isinstance(value, str):
        return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    return str(value)


def copy(cursor, target, rows):
    lines = io.StringIO("".join("\t".join(map(copy_text, row)) + "\n" for row in rows))
    cursor.copy_expert(f"COPY {target} FROM STDIN", lines)


def insert(cursor, mode, table, rows):
    """Rows that are there already are left alone."""
    if not rows:
        return
    if mode == "row":
        for row in rows:
            cursor.execute(f"INSERT INTO peer.{table} VALUES ({', '.join(['%s'] * len(row))}) ON CONFLICT DO NOTHING", row)
    elif mode == "multi-row":
        execute_values(cursor, f"INSERT INTO peer.{table} VALUES %s ON CONFLICT DO NOTHING", rows, page_size=len(rows))
    else:
        name, columns = table[:-1].split("(")
        cursor.execute(f"CREATE TEMP TABLE IF NOT EXISTS new_{name} AS SELECT {columns} FROM peer.{name} WHERE false")
        copy(cursor, f"new_{table}", rows)
        cursor.execute(f"INSERT INTO peer.{table} SELECT * FROM new_{name} ON CONFLICT DO NOTHING")
        cursor.execute(f"TRUNCATE new_{name}")


def event_row(body, note):
    return ("queue", note["Event"], note["UserId"], note.get("ClientId"), note["Object"]["Id"], note["Object"]["Type"],
            note["Timestamp"], note["Timestamp"], body)


def heartbeat_row(note):
    details = note["Details"]
    return (note["UserId"], note["Timestamp"], details["TimeReceived"], details["ChargeLevel"], details["WifiEnabled"],
            details["GPSEnabled"], details["MobileDataEnabled"], details["RealTimeLocationEnabled"],
            details["NotUploadedTripsCount"], details["InstanceId"])


def store_notifications(db, mode, messages):
    notes = [(message["Body"], json.loads(message["Body"])) for message in messages]
    with db, db.cursor() as cursor:
        insert(cursor, mode, EVENTS, [event_row(body, note) for body, note in notes])
        insert(cursor, mode, HEARTBEATS, [heartbeat_row(note) for _, note in notes if note["Event"] == "HeartbeatReceived"])
        insert(cursor, mode, DOWNLOADS, [(note["Object"]["Id"], note["UserId"], note["Object"]["Url"])
                                         for _, note in notes if note["Event"] == "TrackEnrichmentFinished"])


def point_row(trip_id, seq, p):
    limit, alert, course, height, mid_speed = p["SpeedLimit"], p["AlertType"], p["Course"], p["Height"], p["MidSpeed"]
    return (trip_id, seq, p["Id"], p["Number"], p["PointDate"], p["Latitude"], p["Longitude"], p["TotalMeters"], p["Speed"],
            mid_speed, None if limit == 999 else limit, p["AlertValue"] if alert else None, p["Lateral"], course, p["Yaw"], height,
            p["SpeedType"], alert or None, p["Cornering"], p["PhoneUsage"], course == 0 and height == 0 and mid_speed == 0)


def store_trip(db, mode, object_id, user_id, track):
    with db, db.cursor() as cursor:
        values = (object_id, user_id, len(track["Points"]), *(track.get(name) for name in TRIP.values()))
        cursor.execute(f"INSERT INTO peer.{TRIPS} VALUES ({', '.join(['%s'] * len(values))}) RETURNING trip_id", values)
        trip_id = cursor.fetchone()[0]
        rows = [point_row(trip_id, seq, point) for seq, point in enumerate(track["Points"])]
        if mode == "copy":
            copy(cursor, f"peer.{POINTS}", rows)
        else:
            insert(cursor, mode, POINTS, rows)
        cursor.execute("DELETE FROM peer.downloads WHERE object_id = %s", (object_id,))


# ---- the work -----------------------------------------------------------------------------------

def receive_all(services, db, mode):
    while messages := services.receive():
        store_notifications(db, mode, messages)
        services.delete(messages)


def fetch_all(services, db, mode, waiting):
    while True:
        try:
            object_id, user_id, url = waiting.get_nowait()
        except queue.Empty:
            return
        store_trip(db, mode, object_id, user_id, services.track(url, user_id))


def together(work, *workers):
    """Each worker in a thread of its own; an error of one is one of all."""
    errors = []

    def run(worker):
        try:
            work(*worker)
        except Exception as error:      # noqa: BLE001, passed on below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def main(url, mode, receives, downloads):
    workers = [(Services(url), psycopg2.connect(""), mode) for _ in range(max(int(receives), int(downloads)))]
    print("ready", flush=True)
    sys.stdin.readline()
    together(receive_all, *workers[:int(receives)])
    waiting = queue.Queue()
    db = workers[0][1]
    with db, db.cursor() as cursor:
        cursor.execute("SELECT object_id, user_id, url FROM peer.downloads")
        for row in cursor:
            waiting.put(row)
    together(lambda *worker: fetch_all(*worker, waiting), *workers[:int(downloads)])
    print(json.dumps({"ended": time.time()}), flush=True)
    sys.stdin.read()


main(*sys.argv[1:])
