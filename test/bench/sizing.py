"""What docs/scale.md is made of: what a trip takes, by mode, workers and partitions, and what a fleet takes therefore."""

import os
import time

from documents import POINTS
from growth import FILL, without_vacuum
from harness import TICK, backend_cpu_seconds, cpu_seconds
from queues import run_worker

FORMS = ("rows", "document")
TRIPS_A_DAY = 3             # of each driver
NOTIFICATIONS = 2           # of each trip: it was received, it was enriched
BUSIEST_HOUR = 0.1          # part of the day's trips
KEEP_ORIGINALS = 30         # days, the default of damoov.keep_documents
TRIPS = 100_000             # that are there already
PARTITIONS = 100            # in which they are

# Bytes of what is stored: of the tables, and of their indexes.
SIZES = """
    SELECT CASE WHEN c.relname ~ '^trip_points' THEN 'points'
            WHEN c.relname ~ '^trip(s$|_events)' THEN 'trip'
            WHEN c.relname = 'trip_documents' THEN 'document'
            WHEN c.relname = 'documents' THEN 'original'
            ELSE 'notification' END,
        sum(pg_table_size(c.oid))::bigint, sum(pg_indexes_size(c.oid))::bigint
    FROM pg_class AS c WHERE c.relnamespace = 'damoov'::regnamespace AND c.relkind = 'r' GROUP BY 1
"""

MAKE_PARTITIONS = """
    SET damoov.partition_size = {size};
    DO $$
    BEGIN
        FOR first_id IN 1 .. {trips} BY 10000 LOOP      -- made ahead, as many at least
            PERFORM setval('damoov.trips_trip_id_seq', first_id), damoov.make_partitions();
        END LOOP;
        PERFORM setval('damoov.trips_trip_id_seq', 1, false);
    END
    $$;
"""


def sizes(db):
    return {part: (table, indexes) for part, table, indexes in db.execute(SIZES)}


def server_cpu_seconds(server):
    """Of all processes of the server, also of those that have ended."""
    def fields(pid):
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()

    postmaster = fields(server.control.get_backend_pid())[1]
    ended = sum(map(int, fields(postmaster)[13:15])) / TICK
    total = cpu_seconds(postmaster) + ended
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if fields(pid)[1] == postmaster:
                total += cpu_seconds(pid)
        except (FileNotFoundError, ProcessLookupError):
            pass
    return total


def fill(bench, name, partitions, points):
    """A database with trips of so many points in so many partitions."""
    bench.server.execute(f"CREATE DATABASE {name} TEMPLATE pristine")
    connection = bench.server.connect(name)
    with connection.cursor() as cursor:
        cursor.execute(MAKE_PARTITIONS.format(size=TRIPS // partitions, trips=TRIPS))
        cursor.execute(FILL.format(count=TRIPS, users=5000, points=points))
    connection.close()


def store(bench, report, form, workers, template, count, there):
    """Notes the rate; returns the bytes of each part for a trip."""
    with bench.server.database(workers=workers, template=template, strategy="file_copy") as db:
        before = sizes(db)
        backend = db.value("SELECT pg_backend_pid()")
        db.execute("SET max_parallel_workers_per_gather = 0")
        used = server_cpu_seconds(bench.server) - backend_cpu_seconds(backend)      # which checks what was stored
        run = run_worker(bench, db, "trips", count, there=there)
        used = server_cpu_seconds(bench.server) - backend_cpu_seconds(backend) - used
        parts = {part: [(end - begin) / count for begin, end in zip(before[part], after)] for part, after in sizes(db).items()}
    partitions = PARTITIONS if there else 1
    report.note(f"{form}, workers: {workers}, partitions: {partitions}",
                **run.metrics(), **{"of the server": used / count * 1e3, "WAL bytes a trip": run.wal_bytes / count})
    return parts


def retain(bench, report, template, partitions, points):
    """Half of all partitions are due at once."""
    with bench.server.database(workers=0, template=template, strategy="file_copy") as db:
        backend = db.value("SELECT pg_backend_pid()")
        # no trip is younger than the last one of that half
        minutes = db.value("SELECT ceil(extract(epoch FROM now() - t.enriched_at) / 60)::integer FROM damoov.trips AS t WHERE t.trip_id = %s", TRIPS // 2)
        db.execute("SELECT set_config('damoov.keep_trips', %s, false)", f"{minutes - 1}min")
        began, used = time.time(), backend_cpu_seconds(backend)
        db.execute("CALL damoov_purge(false)")
        seconds, used = time.time() - began, backend_cpu_seconds(backend) - used
        left = db.value("SELECT count(*) FROM damoov.trips")
        db.check({"damoov.trip_points": left * points})
    report.note(f"retention, {partitions // 2} partitions, {points} points a trip",
                **{"trips": TRIPS - left, "seconds": seconds, "CPU us a trip": used / (TRIPS - left) * 1e6})


def forecast(report, drivers, bytes_each, cpu_each):
    """What a fleet takes, by what was measured."""
    trips = drivers * TRIPS_A_DAY
    second = trips * BUSIEST_HOUR / 3600
    row = {"trips a day": trips, "busiest, a second": second}
    for form in FORMS:
        parts = {part: sum(both) for part, both in bytes_each[form].items()}
        kept = parts["points"] + parts["document"] + parts["trip"] + parts["notification"] * NOTIFICATIONS
        row[f"{form}, GB a year"] = (kept * trips * 365 + parts["original"] * trips * KEEP_ORIGINALS) / 1e9
        row[f"{form}, cores"] = second * cpu_each[form] / 1e3
    report.note(f"{drivers:,} drivers", **row)


@without_vacuum
def scale(bench, report):
    count, points = bench.size(2_000, 200), bench.size(100, 1)
    there = {"events": TRIPS, "trips": TRIPS, "trip_points": TRIPS * points}
    report.title = (f"{count:,} trips of {POINTS} points as rows and as documents, in an empty database, "
                    f"and in one with {TRIPS * points:,} points in {PARTITIONS} partitions")
    fill(bench, "many_partitions", PARTITIONS, points)
    fill(bench, "two_partitions", 2, 1)
    each = {}
    for _ in range(bench.rounds):
        for form in FORMS:
            bench.server.set("damoov.store_points", form)
            for template, rows in (("pristine", None), ("many_partitions", there)):
                for workers in (1, 2):
                    parts = store(bench, report, form, workers, template, count, rows)
                    if not rows and workers == 1:
                        each[form] = parts
        bench.server.execute("ALTER SYSTEM RESET damoov.store_points")
        retain(bench, report, "many_partitions", PARTITIONS, points)
        retain(bench, report, "two_partitions", 2, 1)
    for form in FORMS:
        report.ratio(f"{form}, workers: 1, partitions: {PARTITIONS}", "per second", f"{form}, workers: 1, partitions: 1")
        report.ratio(f"{form}, workers: 2, partitions: 1", "per second", f"{form}, workers: 1, partitions: 1")
        report.note(f"{form}, bytes of a trip", **{part: sum(both) for part, both in each[form].items()},
                    **{"keys of points": each[form]["points"][1]})
    report.ratio("document, workers: 1, partitions: 1", "CPU ms each", "rows, workers: 1, partitions: 1")
    cpu = {form: report.median(f"{form}, workers: 1, partitions: 1", "of the server") for form in FORMS}
    for drivers in (100, 1_000, 10_000, 100_000, 1_000_000):
        forecast(report, drivers, each, cpu)
    bench.server.drop("many_partitions")
    bench.server.drop("two_partitions")
