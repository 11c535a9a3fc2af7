#!/usr/bin/python3
"""Runs the works and tells their figures; see docs/performance.md. test/bench/run calls it, with a server at hand."""

import argparse
import json
import os
import pathlib
import platform
import shutil
import time

import documents
import growth
import queues
import sizing
import storing
import waiting
from harness import Report, Server, Stub, fail

WORKS = {
    "stub": queues.stub,
    "notifications": queues.notifications,
    "distant": queues.distant,
    "trips": queues.trips,
    "points": queues.points,
    "documents": storing.documents,
    "pictures": storing.pictures,
    "ingest": storing.ingest,
    "workers": queues.workers,
    "providers": queues.providers,
    "raw": queues.raw,
    "crashes": queues.crashes,
    "latency": waiting.latency,
    "idle": waiting.idle,
    "full": growth.full,
    "many_trips": growth.many_trips,
    "messages": growth.messages,
    "scale": sizing.scale,
}


class Bench:
    def __init__(self, server, stub, directory, chosen):
        self.server, self.stub = server, stub
        self.documents = directory
        self.temporary = os.environ["TMPDIR"]
        self.node_path = os.environ["BENCH_NODE_PATH"]
        self.receives = chosen.receives
        self.profile = chosen.profile
        self.report = None      # of the work that runs
        self.quick, self.rounds = chosen.quick, chosen.rounds or (1 if chosen.quick or chosen.scale else 5)

    def size(self, full, quick):
        return quick if self.quick else full


def arguments():
    parser = argparse.ArgumentParser(prog="test/bench/run", description="Measures damoov, and what one would write by hand.",
                                     epilog=f"Works: {', '.join(WORKS)}")
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: for whoever works on it")
    parser.add_argument("--rounds", type=int, help="instead of 5, or 1 with --quick or --scale")
    parser.add_argument("--receives", type=int, default=8, help="that a peer has in flight; 8 if not said, as many as damoov has")
    parser.add_argument("--profile", action="store_true", help="tells where the time goes, with perf, which makes all of it slower")
    parser.add_argument("--scale", action="store_true", help="the work \"scale\" alone: what docs/scale.md is made of")
    parser.add_argument("--json", metavar="FILE", help="writes all values there")
    parser.add_argument("works", nargs="*", metavar="WORK", help="all but scale, if none is named")
    chosen = parser.parse_args()
    chosen.works = ["scale"] if chosen.scale else chosen.works or [name for name in WORKS if name != "scale"]
    if unknown := set(chosen.works) - set(WORKS):
        parser.error(f"there is no work {min(unknown)}; the works are {', '.join(WORKS)}")
    return chosen


def fsync_ms(directory):
    """The median time that a write of a page takes to reach the disk."""
    times = []
    with open(os.path.join(directory, "fsync"), "wb") as file:
        for _ in range(50):
            began = time.perf_counter()
            file.write(bytes(8192))
            file.flush()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    return sorted(times)[25] * 1e3


def machine(server):
    model = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    return {"date": time.strftime("%Y-%m-%d %H:%M"), "commit": os.environ.get("BENCH_COMMIT", ""),
            "processor": model[0] if model else platform.machine(), "processors": os.cpu_count(),
            "kernel": platform.release(), "load": os.getloadavg()[0], "fsync ms": round(fsync_ms(os.environ["TMPDIR"]), 3),
            "server": server.execute("SELECT version()")[0][0].split(" (")[0]}


def measure(bench, facts, names, path):
    """Writes what there is after each work, since a later one may fail."""
    works = {}
    for name in names:
        report = bench.report = Report(name, "")
        began = time.time()
        WORKS[name](bench, report)
        print("\n" + "\n".join(report.lines()) + f"\n  ({time.time() - began:.0f} s)", flush=True)
        works[name] = report.data()
        if path:
            result = {"machine": facts, "quick": bench.quick, "rounds": bench.rounds, "works": works}
            pathlib.Path(path).write_text(json.dumps(result, indent=1) + "\n")


def main():
    chosen = arguments()
    if "BENCH_SOCKET" not in os.environ:
        return                  # only the command line was to be looked at
    if chosen.profile and not shutil.which("perf"):
        fail("--profile needs perf, which comes with linux-perf or linux-tools")
    directory = pathlib.Path(os.environ["TMPDIR"]) / "documents"
    directory.mkdir()
    server = Server(os.environ["BENCH_SOCKET"], keep_databases=chosen.quick)
    stub = Stub(directory)
    try:
        documents.write(directory, stub.url, 8 if chosen.quick else 40)
        server.prepare(stub.url)
        facts = machine(server)
        bench = Bench(server, stub, directory, chosen)
        print(f"{', '.join(f'{name} {value}' for name, value in facts.items())}\n"
              f"Medians of {bench.rounds}; below them how many times better a row is than the best of others, by medians.", flush=True)
        measure(bench, facts, chosen.works, chosen.json)
    finally:
        stub.stop()


main()
