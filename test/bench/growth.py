"""Works about size: a backlog that is drained in one go, and tables that are full."""

from documents import POINTS
from queues import DATASETS, cpu_each, run_worker


def drain(bench, report, kind, count, batches):
    """One run, without the vacuum that would help; what comes last is compared with what came first."""
    with bench.server.database() as db:
        run = run_worker(bench, db, kind, count, patience=6 * 3600)
    marks = [run.statistics["first"], *bench.stub.marks("datasets" if kind in DATASETS else "settled")]
    used = [run.watch.cpu_at(moment) for moment in marks]

    def note(row, first, last):
        """From one thousandth to another."""
        done = count * (last - first) / 1000
        report.note(row, **{"per second": done / (marks[last] - marks[first])}, **cpu_each(kind, (used[last] - used[first]) / done))

    batch = 1000 // batches
    for thousandths in (1, 10, 100, 1000):
        if thousandths * 10 >= batch:           # less comes at once
            note(f"the first {count * thousandths // 1000:,}", 0, thousandths)
    note("batch 1", 0, batch)
    note(f"batch {batches}", 1000 - batch, 1000)
    note("the last tenth", 900, 1000)
    report.note("all, settled", **run.metrics(), **{"peak MB": run.watch.peak_mb})
    for metric in ("per second", *cpu_each(kind, 0)):
        report.ratio(f"batch {batches}", metric, "batch 1")
        report.ratio("the last tenth", metric, f"the first {count // 10:,}")


def without_vacuum(work):
    def run(bench, report):
        bench.server.set("autovacuum", "off")
        work(bench, report)
        bench.server.set("autovacuum", "on")
    return run


@without_vacuum
def messages(bench, report):
    count, batches = bench.size(1_000_000, 20_000), bench.size(100, 4)
    report.title = f"a backlog of {count:,} notifications, {batches} batches of {count // batches:,}, without autovacuum"
    drain(bench, report, "mixed", count, batches)


@without_vacuum
def many_trips(bench, report):
    count, batches = bench.size(10_000, 200), bench.size(100, 4)
    report.title = f"{count:,} trips of {POINTS} points, {batches} batches of {count // batches}, without autovacuum"
    drain(bench, report, "trips", count, batches)


# Rows as they are after years, put there without the rules; nothing is analyzed.
FILL = """
    INSERT INTO damoov.users (device_token, client_id)
    SELECT gen_random_uuid(), 'old-' || n FROM generate_series(1, {users}) AS n;
    INSERT INTO damoov.events (source, event, outcome, user_id, object_id, object_type, sent_at, sent_text, payload)
    SELECT 'source', 'TrackEnrichmentFinished', 'stored', 1 + n % {users}, o.id, 'RichTrack', t.at, t.at::text,
        jsonb_build_object('Event', 'TrackEnrichmentFinished', 'Sender', 'Data Motion', 'Timestamp', t.at::text,
            'Object', jsonb_build_object('Id', o.id, 'Type', 'RichTrack'), 'Details', jsonb_build_object('ObjectReplaced', false))
    FROM generate_series(1, {count}) AS n,
        LATERAL (SELECT gen_random_uuid() AS id WHERE n > 0) AS o,
        LATERAL (SELECT timestamptz '2025-01-01 00:00+00' + n * interval '7 s' AS at) AS t;
    INSERT INTO damoov.trips (track_token, user_id, enriched_at, revision, started_at, ended_at, point_count, filler_count)
    SELECT object_id, user_id, sent_at, 1, sent_at - interval '1 hour', sent_at - interval '10 min', {points}, 0
    FROM damoov.events;
    INSERT INTO damoov.trip_points (trip_id, seq, recorded_at, latitude, longitude, is_filler)
    SELECT trip_id, seq, started_at + seq * interval '3 s', 51 + seq * 1e-5, 7, false
    FROM damoov.trips, generate_series(0, {points} - 1) AS seq
"""


@without_vacuum
def full(bench, report):
    count, points = bench.size(1_000_000, 20_000), 10
    there = {"events": count, "trips": count, "trip_points": count * points}
    sizes = {"mixed": bench.size(20_000, 2_000), "trips": bench.size(300, 20)}
    report.title = f"the rate with {count:,} events and as many trips of {points} points in the tables, without autovacuum"
    bench.server.execute("CREATE DATABASE full_tables TEMPLATE pristine")
    connection = bench.server.connect("full_tables")
    with connection.cursor() as cursor:
        cursor.execute(FILL.format(count=count, users=count // 20, points=points))
    connection.close()
    for _ in range(bench.rounds):
        for kind, size in sizes.items():
            for template, name in (("pristine", "empty"), ("full_tables", "full")):
                with bench.server.database(template=template, strategy="file_copy") as db:
                    run = run_worker(bench, db, kind, size, there=there if name == "full" else None)
                    report.note(f"{kind}, {name}", **run.metrics())
    for kind in sizes:
        for metric in ("per second", *cpu_each(kind, 0)):
            report.ratio(f"{kind}, full", metric, f"{kind}, empty")
    bench.server.drop("full_tables")
