"""Works about time: how long a message takes, and what a source costs while there is none."""

import http.client
import json
import threading
import time
from statistics import quantiles

from harness import Watch, fail, wait_for
from queues import check_stub, run_worker


def percentile(values, percent):
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def note_latencies(report, row, seconds):
    """The last tenth by itself: it tells whether more and more messages wait."""
    report.note(row, **{"p50 ms": percentile(seconds, 50) * 1e3, "p99 ms": percentile(seconds, 99) * 1e3,
                        "max ms": max(seconds) * 1e3, "p50 ms at the end": percentile(seconds[-len(seconds) // 10:], 50) * 1e3})


def watch(bench, name, count, patience):
    """In a session of its own, which begins at once."""
    connection = bench.server.connect(name)

    def run():
        with connection.cursor() as cursor:
            cursor.execute("CALL bench.watch(%s, %s)", (count, f"{patience} s"))

    thread = threading.Thread(target=run)
    thread.start()
    return thread, connection


def seen_latencies(bench, db, count, rate):
    """From the time at which a message can be received until others see its row."""
    db.add_source("sqs", bench.stub.url)
    time.sleep(1)                                   # for the first receive of an idle source
    thread, connection = watch(bench, db.name, count, 60 + count / rate)
    bench.stub.start("mixed", count, rate)
    thread.join()
    connection.close()
    db.check({"damoov.events": count, "damoov.quarantine": 0})
    wait_for(lambda: bench.stub.statistics()["settled"] >= count, "settling")
    check_stub(bench, count)
    found = [seconds for seconds, in db.execute("SELECT bench.latencies(%s)", bench.stub.published(count))]
    if min(found) < 0:
        fail("a row was seen before its message was sent")
    return found


def bare_latencies(bench, count, rate):
    """The stub's own answer to a receive that waits."""
    bench.stub.start("mixed", count, rate)
    connection = http.client.HTTPConnection(bench.stub.url.removeprefix("http://"), timeout=60)
    received, end = [], time.time() + 60 + count / rate
    while len(received) < count:
        if time.time() > end:
            fail(f"only {len(received)} of {count} messages came")
        connection.request("POST", "/", b'{"MaxNumberOfMessages":10,"WaitTimeSeconds":20}', {"X-Amz-Target": "AmazonSQS.ReceiveMessage"})
        messages = json.loads(connection.getresponse().read()).get("Messages", [])
        received += [time.time()] * len(messages)
    return [at - published for at, published in zip(received, bench.stub.published(count))]


def latency(bench, report):
    count, rate, seconds = bench.size(100, 30), bench.size(5, 15), bench.size(20, 3)
    report.title = "from a message that can be received to a row that others see"
    for _ in range(bench.rounds):
        note_latencies(report, "the stub's own answer, idle", bare_latencies(bench, count, rate))
        with bench.server.database() as db:
            note_latencies(report, "damoov, idle", seen_latencies(bench, db, count, rate))
        with bench.server.database() as db:
            most = run_worker(bench, db, "mixed", bench.size(20000, 3000)).metrics()["per second"]
        with bench.server.database() as db:
            busy = max(1, int(0.8 * most))
            note_latencies(report, "damoov, at 80 % of its rate", seen_latencies(bench, db, busy * seconds, busy))
            report.note("damoov, at 80 % of its rate", **{"per second": busy})


def idle(bench, report):
    seconds, wait = bench.size(60, 6), bench.size(20, 2)
    report.title = f"{seconds} seconds without messages, with a receive that waits {wait} seconds"
    for _ in range(bench.rounds):
        with bench.server.database() as db:
            bench.stub.start("mixed", 0)
            db.add_source("sqs", bench.stub.url, wait_seconds=wait)
            time.sleep(1)
            launcher = db.value("SELECT pid FROM pg_stat_activity WHERE backend_type = 'damoov launcher'")
            before = bench.stub.statistics()["requests"]
            with Watch(db.pid, seconds=seconds) as worker, Watch(launcher, seconds=seconds) as launcher:
                time.sleep(seconds)
            requests = bench.stub.statistics()["requests"] - before
            report.note("worker", **{"requests": requests, "polls that fit": seconds / wait, "CPU %": worker.cpu / seconds * 100,
                                     "private MB": worker.peak_mb})
            report.note("launcher", **{"CPU %": launcher.cpu / seconds * 100, "private MB": launcher.peak_mb})
