"""Works that begin at a queue: damoov's worker, and what one would write by hand."""

import json
import os
import subprocess
import time

from documents import POINTS
from harness import HERE, PATIENCE, Watch, backend_cpu_seconds, cpu_seconds, fail, wait_for
from profiling import profiled

PEERS = {"Node": ["node", HERE / "peers" / "peer.js"], "Python": ["/usr/bin/python3", HERE / "peers" / "peer.py"]}
DOWNLOADS = 8           # at a time, as damoov.max_downloads

# for each kind of messages: how many rows come of one
ROWS = {
    "mixed": {"events": 1, "heartbeats": 0.5, "downloads": 0, "quarantine": 0},
    "heartbeats": {"events": 1, "heartbeats": 1, "quarantine": 0},
    "trips": {"events": 1, "trips": 1, "trip_points": POINTS, "downloads": 0, "quarantine": 0},
    "raw": {"events": 1, "raw_tracks": 1, "downloads": 0, "quarantine": 0},
    "crashes": {"events": 1, "crash_buffers": 1, "downloads": 0, "quarantine": 0},
}
DATASETS = ("trips", "raw", "crashes")
ONLY_DAMOOV = ("quarantine",)
# the points of a trip may be a document: of what the view reads of it, the number is the same
VIEWS = {"damoov.trip_points": "damoov.all_points"}


def expected(schema, kind, count, there):
    """The rows of each table; there: those that were in it before."""
    return {VIEWS.get(f"{schema}.{table}", f"{schema}.{table}"): round(rows * count) + there.get(table, 0)
            for table, rows in ROWS[kind].items() if schema == "damoov" or table not in ONLY_DAMOOV}


def check_stub(bench, count):
    statistics = bench.stub.statistics()
    if statistics["settled"] != count or statistics["wrong"]:
        fail(f"of {count} messages {statistics['settled']} were settled, {statistics['wrong']} wrongly")
    return statistics


def is_done(bench, db, kind, count, watch):
    """Has all been settled, and is nothing left to be fetched?"""
    if watch.gone:
        fail("the worker has ended")
    statistics = bench.stub.statistics()
    if statistics["settled"] < count:
        return False
    return kind not in DATASETS or (statistics["datasets"] >= count and db.value("SELECT NOT EXISTS (SELECT FROM damoov.downloads)"))


def cpu_each(kind, seconds):
    """Of the worker; of a peer with its backends."""
    return {"CPU ms each": seconds * 1e3} if kind in DATASETS else {"CPU us each": seconds * 1e6}


class Run:
    """One measurement of damoov's worker, or of a peer."""

    def __init__(self, bench, kind, count, ended, cpu, wal_bytes, watch=None):
        self.statistics = check_stub(bench, count)
        self.kind, self.count, self.watch = kind, count, watch
        self.seconds = ended - self.statistics["first"]
        self.cpu, self.wal_bytes = cpu, wal_bytes

    def metrics(self):
        return {"per second": self.count / self.seconds, **cpu_each(self.kind, self.cpu / self.count)}


def run_worker(bench, db, kind, count, provider="sqs", delay_ms=0, patience=PATIENCE, there=None):
    """Ends when all is stored and settled. there: the rows that tables had before."""
    bench.stub.start(kind, count, delay_ms=delay_ms)
    wal = bench.server.wal_position()
    with Watch(*db.pids) as watch, profiled(bench, bench.report, f"the worker, {provider}, {kind}", db.pid):
        db.add_source(provider, bench.stub.url)
        wait_for(lambda: is_done(bench, db, kind, count, watch), f"{count} messages of kind {kind}", patience)
        ended = time.time() if kind in DATASETS else bench.stub.statistics()["last"]
    db.check(expected("damoov", kind, count, there or {}))
    return Run(bench, kind, count, ended, watch.cpu, bench.server.wal_position() - wal, watch)


def peer_cpu_seconds(process, backends):
    return cpu_seconds(process.pid) + sum(map(backend_cpu_seconds, backends))


def run_peer(bench, db, peer, mode, kind, count, receives, delay_ms=0):
    bench.stub.start(kind, count, delay_ms=delay_ms)
    environment = {**os.environ, "PGHOST": bench.server.socket, "PGPORT": "5432", "PGDATABASE": db.name,
                   "NODE_PATH": bench.node_path}
    wal = bench.server.wal_position()
    # a script that does one thing after another, or one with as much at a time as the worker
    with subprocess.Popen([*PEERS[peer], bench.stub.url, mode, str(receives), str(DOWNLOADS if receives > 1 else 1)],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        if process.stdout.readline() != "ready\n":
            fail(f"{peer} could not begin")
        backends = db.backends()
        used = peer_cpu_seconds(process, backends)
        process.stdin.write("\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            fail(f"{peer} {mode} has failed")
        used = peer_cpu_seconds(process, backends) - used
        process.stdin.close()
    db.check(expected("peer", kind, count, {}))
    return Run(bench, kind, count, json.loads(line)["ended"], used, bench.server.wal_position() - wal)


# ---- works --------------------------------------------------------------------------------------

# peers of several connections use all processors, and so does damoov if it is told to
WORKERS = {"damoov": 1, "damoov, 2 workers": 2}


def compare(bench, report, kind, count, modes, delay_ms=0, sizes=()):
    """damoov and all peers in turn; sizes: tables whose bytes a point are told, by schema."""
    peers = {f"{peer}, {mode}, {receives} at a time": (peer, mode, receives) for peer in PEERS for mode, receives in modes}
    for _ in range(bench.rounds):
        for name, workers in WORKERS.items():
            with bench.server.database(workers=workers) as db:
                run = run_worker(bench, db, kind, count, delay_ms=delay_ms)
                report.note(name, **run.metrics(), **bytes_a_point(run, db, "damoov", sizes))
        for name, (peer, mode, receives) in peers.items():
            with bench.server.database(workers=0) as db:
                run = run_peer(bench, db, peer, mode, kind, count, receives, delay_ms)
                report.note(name, **run.metrics(), **bytes_a_point(run, db, "peer", sizes))
    for metric in ("per second", *cpu_each(kind, 0)):
        for name in WORKERS:
            report.ratio(name, metric, *peers)
        if alone := [name for name, (_, _, receives) in peers.items() if receives == 1]:
            report.ratio("damoov", metric, *alone)


def bytes_a_point(run, db, schema, sizes):
    if not sizes:
        return {}
    points = run.count * POINTS
    metrics = {"WAL bytes a point": run.wal_bytes / points, "disk bytes a point": db.size(f"{schema}.trip_points") / points}
    if schema == "damoov":
        metrics["original, bytes a point"] = db.size("damoov.documents") / points
    return metrics


def notifications(bench, report):
    count = bench.size(20000, 3000)
    modes = [("multi-row", bench.receives), ("multi-row", 1)]
    if not bench.quick:
        modes += [("row", bench.receives), ("copy", bench.receives)]
    report.title = f"{count:,} notifications from SQS to rows, settled"
    compare(bench, report, "mixed", count, modes)


def distant(bench, report):
    count = bench.size(20000, 500)
    report.title = f"{count:,} notifications from a queue whose answers take 10 ms"
    compare(bench, report, "mixed", count, [("multi-row", bench.receives)], delay_ms=10)


def trips(bench, report):
    count = bench.size(300, 60)
    modes = [("copy", bench.receives), ("copy", 1)]
    if not bench.quick:
        modes += [("multi-row", bench.receives), ("row", bench.receives)]
    report.title = f"{count} trips of {POINTS} points, from the notification to rows"
    compare(bench, report, "trips", count, modes, sizes=("trip_points",))


def workers(bench, report):
    # the second one helps with a queue that has been full for two seconds
    sizes = {"trips": bench.size(3000, 300), "mixed": bench.size(120_000, 60_000)}
    report.title = "several workers of one database: " + ", ".join(f"{count:,} messages of kind {kind}" for kind, count in sizes.items())
    for _ in range(bench.rounds):
        for kind, count in sizes.items():
            for number in (1, 2):
                with bench.server.database(workers=number) as db:
                    run = run_worker(bench, db, kind, count)
                    report.note(f"{kind}, {number}", **run.metrics())
    for kind in sizes:
        for metric in ("per second", *cpu_each(kind, 0)):
            report.ratio(f"{kind}, 2", metric, f"{kind}, 1")


# what is stored of the points, and how long the originals are kept
FORMS = {"rows, with the originals": ("rows", "30d"), "rows alone": ("rows", "0"), "documents": ("document", "30d")}


def points(bench, report):
    count = bench.size(300, 60)
    report.title = f"{count} trips of {POINTS} points, from the notification to what is stored of them"
    for _ in range(bench.rounds):
        for name, (form, keep) in FORMS.items():
            bench.server.set("damoov.keep_documents", keep)
            bench.server.set("damoov.store_points", form)
            with bench.server.database() as db:
                run = run_worker(bench, db, "trips", count)
                stored = db.size("damoov.trip_points", "damoov.trip_documents", "damoov.documents")
                db.execute("SET jit = off")     # what a single trip does without
                began = time.time()
                db.execute("SELECT sum(p.speed_kmh) FROM damoov.trips AS t CROSS JOIN LATERAL damoov_points(t.trip_id) AS p")
                report.note(name, **run.metrics(), **{"WAL bytes a trip": run.wal_bytes / count, "disk bytes a trip": stored / count,
                                                      "read, ms a trip": (time.time() - began) / count * 1e3})
    bench.server.execute("ALTER SYSTEM RESET damoov.keep_documents")
    bench.server.execute("ALTER SYSTEM RESET damoov.store_points")
    for name in list(FORMS)[:2]:
        for metric in ("per second", *cpu_each("trips", 0)):
            report.ratio("documents", metric, name)


def datasets(bench, report, kind, fetch, count, title):
    report.title = title
    for _ in range(bench.rounds):
        with bench.server.database() as db:
            db.fetch(fetch)
            run = run_worker(bench, db, kind, count)
            report.note("damoov", **run.metrics(), **{"peak MB": run.watch.peak_mb})


def raw(bench, report):
    count = bench.size(100, 10)
    datasets(bench, report, "raw", "processed,crash,raw", count, f"{count} raw tracks of 1.2 MB, from the notification to rows")


def crashes(bench, report):
    count = bench.size(200, 20)
    datasets(bench, report, "crashes", "processed,crash", count, f"{count} crash buffers of 1,000 samples, from the notification to rows")


def providers(bench, report):
    count = bench.size(20000, 2000)
    report.title = f"{count:,} notifications from each kind of queue to rows, settled"
    for _ in range(bench.rounds):
        for provider in ("sqs", "servicebus", "eventgrid", "storagequeue"):
            with bench.server.database() as db:
                run = run_worker(bench, db, "mixed", count, provider)
                report.note(provider, **run.metrics(), **{"requests each": run.statistics["requests"] / count})


def stub(bench, report):
    """Not of damoov: what the stub could serve."""
    messages, tracks = bench.size(200000, 20000), bench.size(3000, 300)
    report.title = "how fast the stub answers a client that stores nothing"
    for _ in range(bench.rounds):
        bench.stub.start("mixed", messages)
        output = subprocess.run(["/usr/bin/python3", HERE / "peers" / "bare.py", bench.stub.url, str(bench.receives), str(messages), str(tracks)],
                                capture_output=True, text=True, check=True).stdout
        answers = json.loads(output)
        report.note("messages, received and deleted", **{"per second": answers["messages"]})
        report.note(f"datasets of {POINTS} points", **{"per second": answers["datasets"]})
