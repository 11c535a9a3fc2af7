"""Works in one session, without a queue: statements that take turns."""

import json
import os
import time

from documents import POINTS
from harness import backend_cpu_seconds, fail
from profiling import profiled


class Statement:
    """One contestant; what it stores is taken away again, untimed."""

    def __init__(self, name, run):
        self.name, self.run = name, run


def take_turns(bench, report, db, units, statements, unit):
    """Each runs once before, for caches and plans; then in turn."""
    backend = db.value("SELECT pg_backend_pid()")
    for statement in statements:
        db.execute("CALL bench.clear()")
        statement.run(db)
    for _ in range(bench.rounds * bench.size(3, 1)):
        for statement in statements:
            db.execute("CALL bench.clear()")
            with profiled(bench, report, statement.name, backend):
                used, began = backend_cpu_seconds(backend), time.time()
                statement.run(db)
                seconds, used = time.time() - began, backend_cpu_seconds(backend) - used
            report.note(statement.name, **{"per second": units / seconds, f"ms a {unit}": seconds / units * 1e3,
                                           f"CPU ms a {unit}": used / units * 1e3})


def in_one_transaction(text):
    return lambda db: db.execute(f"BEGIN; {text}; COMMIT")


# ---- documents ----------------------------------------------------------------------------------

def load_documents(bench, db, count):
    """Documents and the notifications that make them somebody's."""
    notifications = bench.stub.bodies("trips", count)
    db.execute("SELECT count(*) FROM damoov_ingest(%s)", json.dumps(notifications))
    paths = sorted(bench.documents.glob("processed-*.json"))
    for at, notification in enumerate(notifications):
        db.execute("INSERT INTO bench.documents VALUES (%s, %s)", notification["Object"]["Id"], paths[at % len(paths)].read_text())


def write_copies(bench, db, count):
    """The points of each document in a file, as COPY writes them."""
    paths = [os.path.join(bench.temporary, f"points-{at}") for at in range(count)]
    db.execute("SELECT bench.store(0)")
    trips = [trip for trip, in db.execute("SELECT trip_id FROM damoov.trips ORDER BY trip_id")]
    for trip, path in zip(trips, paths):
        db.execute(f"COPY (SELECT * FROM damoov.trip_points WHERE trip_id = {trip} ORDER BY seq) TO '{path}' WITH BINARY")
    db.check({"damoov.trip_points": count * POINTS})
    return "; ".join(f"COPY bench.copied FROM '{path}' WITH BINARY" for path in paths)


def documents(bench, report):
    count = bench.size(100, 10)
    report.title = f"{count} trips of {POINTS} points from their JSON, in one transaction"
    with bench.server.database(workers=0) as db:
        load_documents(bench, db, count)
        copies = write_copies(bench, db, count)
        take_turns(bench, report, db, count, [
            Statement("COPY BINARY of the points", in_one_transaction(copies)),
            Statement("json_in, which only validates", in_one_transaction("SELECT bench.validate()")),
            Statement("jsonb_to_recordset into a table", in_one_transaction("SELECT bench.recordset()")),
            Statement("stored by damoov", in_one_transaction("SELECT bench.store(0)")),
            Statement("stored, the original kept", in_one_transaction("SELECT bench.store(-1)")),
        ], "trip")
        for name in ("stored by damoov", "stored, the original kept"):
            for metric in ("per second", "CPU ms a trip"):
                report.ratio(name, metric, "COPY BINARY of the points")


# ---- pictures -----------------------------------------------------------------------------------

# each for one trip; the first is what the others are measured by
LOOKS = {"SELECT * FROM damoov_points()": "SELECT * FROM damoov_points(%s)", "damoov_trip_svg": "SELECT damoov_trip_svg(%s)",
         "damoov_speed_svg": "SELECT damoov_speed_svg(%s)", "damoov_trip_html": "SELECT damoov_trip_html(%s)"}


def check_pictures(db, count):
    """Each is there, and as small as is promised."""
    drawn = db.value("SELECT count(*) FROM damoov.trips AS t WHERE damoov_trip_svg(t.trip_id) ~ '^<svg .* class=\"dv-l dv-s'"
                     " AND octet_length(damoov_trip_svg(t.trip_id)) < 100000")
    if drawn != count:
        fail(f"{drawn} pictures of {count} trips")


def pictures(bench, report):
    count = bench.size(100, 40)
    report.title = f"{count} trips of {POINTS} points, read and drawn, a statement each"
    for form in ("rows", "document"):
        with bench.server.database(workers=0) as db:
            load_documents(bench, db, count)
            db.execute(f"SET damoov.store_points = '{form}'; SET jit = off; SELECT bench.store(0)")
            trips = [trip for trip, in db.execute("SELECT trip_id FROM damoov.trips ORDER BY trip_id")]
            check_pictures(db, count)
            backend = db.value("SELECT pg_backend_pid()")
            for _ in range(bench.rounds * bench.size(3, 1)):
                for name, statement in LOOKS.items():
                    with profiled(bench, report, name, backend):
                        used, began = backend_cpu_seconds(backend), time.time()
                        for trip in trips:
                            db.execute(statement, trip)
                        seconds, used = time.time() - began, backend_cpu_seconds(backend) - used
                    report.note(f"{name}, {form}", **{"ms a trip": seconds / count * 1e3, "CPU ms a trip": used / count * 1e3})
        reading, *drawing = (f"{name}, {form}" for name in LOOKS)
        for name in drawing:
            report.ratio(name, "CPU ms a trip", reading)


# ---- damoov_ingest ------------------------------------------------------------------------------

def call_each(statement, payloads):
    def run(db):
        for payload in payloads:
            db.execute(statement, payload)
    return run


def ingest(bench, report):
    count = bench.size(5000, 500)
    report.title = f"{count:,} status reports through damoov_ingest(), so many a call, each call a transaction"
    reports = bench.stub.bodies("heartbeats", count)
    with bench.server.database(workers=0) as db:
        for size in (1, 10, 100, 1000):
            payloads = [json.dumps(reports[at:at + size]) for at in range(0, count, size)]
            names = [f"damoov_ingest, {size} a call", f"inserts by hand, {size} a call"]
            take_turns(bench, report, db, count, [
                Statement(names[0], call_each("SELECT count(*) FROM damoov_ingest(%s)", payloads)),
                Statement(names[1], call_each("SELECT bench.bare_inserts(%s)", payloads)),
            ], "report")
            for metric in ("per second", "CPU ms a report"):
                report.ratio(names[0], metric, names[1])
