"""Where the time of a process of the server goes, as perf sees it; only with --profile."""

import contextlib
import os
import re
import signal
import subprocess
import time

from harness import wait_for

LINES = 16


@contextlib.contextmanager
def profiled(bench, report, row, pid):
    """Of a row that is measured several times, the last one is told."""
    if not bench.profile:
        yield
        return
    path = os.path.join(bench.temporary, "perf.data")
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)
    recorder = subprocess.Popen(["perf", "record", "-q", "-F", "1999", "-p", str(pid), "-o", path],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: os.path.exists(path), "starting perf", 10)
    time.sleep(0.3)         # it has begun to write, and is about to look
    yield
    recorder.send_signal(signal.SIGINT)
    recorder.wait()
    report.profiles[row] = [*shares(path, "dso", 8), *shares(path, "symbol,dso", LINES)]


def shares(path, by, lines):
    """Per cent of the time in user space, largest first."""
    report = subprocess.run(["perf", "report", "--stdio", "-q", "--no-children", "-s", by, "-i", path], capture_output=True, text=True)
    found = re.findall(r"^ +([\d.]+% .*?)[ -]*$", report.stdout, re.M)
    return [" ".join(line.split()) for line in found[:lines]] or ["too short to be seen"]
