"""What all works have in common: databases, the stub, what processes use, and figures."""

import contextlib
import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import threading
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
PATIENCE = 600          # seconds for any single measurement, unless a work says otherwise
TICK = os.sysconf("SC_CLK_TCK")
SECRETS = {
    "sqs": {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "wJalrXUtnFEMI"},
    "servicebus": {"shared_access_key_name": "bench", "shared_access_key": "bm90IGEgc2VjcmV0"},
    "eventgrid": {"access_key": "bm90IGEgc2VjcmV0"},
    "storagequeue": {"sas": "sv=2021-12-02&sp=pu&sig=EXAMPLE"},
}


def fail(text):
    sys.exit(f"test/bench/run: {text}")


def wait_for(condition, what, patience=PATIENCE, pause=0.01):
    """The first result that is true."""
    end = time.time() + patience
    while not (result := condition()):
        if time.time() > end:
            fail(f"{what}: not within {patience} seconds")
        time.sleep(pause)
    return result


# ---- processes ----------------------------------------------------------------------------------

def cpu_seconds(pid):
    """User and system time of all threads of a process."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def backend_cpu_seconds(pid):
    """The same of a process with one thread, of which most systems know more than ticks of the clock."""
    try:
        return int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except FileNotFoundError:
        return cpu_seconds(pid)


def private_mb(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024


class Watch:
    """Looks at processes of the server from time to time: their largest private memory, and their CPU at any time."""

    def __init__(self, *pids, seconds=0.05):
        self.pids, self.seconds = pids, seconds
        self.samples, self.peak_mb, self.gone = [], 0, False
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._look()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
        if not self.gone:
            self._look()

    def _run(self):
        try:
            while not self.ended.wait(self.seconds):
                self._look()
        except (FileNotFoundError, ProcessLookupError):
            self.gone = True

    def _look(self):
        self.samples.append((time.time(), sum(map(backend_cpu_seconds, self.pids))))
        self.peak_mb = max(self.peak_mb, *map(private_mb, self.pids))

    @property
    def cpu(self):
        return self.samples[-1][1] - self.samples[0][1]

    def cpu_at(self, moment):
        """Between two samples, in proportion."""
        for (t0, c0), (t1, c1) in itertools.pairwise(self.samples):
            if moment <= t1:
                return c0 + (c1 - c0) * min(1, max(0, (moment - t0) / (t1 - t0)))
        return self.samples[-1][1]


# ---- the stub -----------------------------------------------------------------------------------

class Stub:
    def __init__(self, directory):
        self.process = subprocess.Popen([HERE / "stub" / "stub", directory], stdout=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{self.process.stdout.readline().split()[-1]}"

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def ask(self, order, **parameters):
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        with urllib.request.urlopen(f"{self.url}/_{order}?{query}", timeout=60) as reply:
            return reply.read().decode()

    def start(self, kind, count, rate=0, delay_ms=0):
        """A queue with so many messages about a twentieth as many persons."""
        self.ask("start", kind=kind, count=count, users=max(10, count // 20), rate=rate, delay=delay_ms)

    def statistics(self):
        return json.loads(self.ask("statistics"))

    def marks(self, name):
        """When each thousandth of the messages was settled, or of the datasets handed out."""
        return json.loads(self.ask("marks"))[name]

    def bodies(self, kind, count):
        self.start(kind, 0)
        return json.loads(self.ask("bodies", count=count))

    def published(self, count):
        return json.loads(self.ask("published", count=count))


# ---- databases ----------------------------------------------------------------------------------

class Database:
    """A new database with workers of its own, so that each measurement finds the same."""

    def __init__(self, server, name, workers):
        self.server, self.name = server, name
        self.connection = server.connect(name)
        self.pids = wait_for(lambda: self.running(workers), "starting a worker") if workers else []
        self.pid = self.pids[0] if workers else None

    def running(self, count):
        """The process ids of its workers, once there are so many."""
        pids = self.value("SELECT damoov.worker_pids()")
        return pids if len(pids) == count else None

    def execute(self, statement, *arguments):
        with self.connection.cursor() as cursor:
            cursor.execute(statement, arguments or None)
            return cursor.fetchall() if cursor.description else None

    def value(self, statement, *arguments):
        return self.execute(statement, *arguments)[0][0]

    def add_source(self, kind, url, **options):
        place = {
            "sqs": {"queue_url": f"{url}/000000000000/damoov", "region": "eu-west-1"},
            "servicebus": {"endpoint": url, "entity": "bus"},
            "eventgrid": {"endpoint": url, "topic": "bench", "subscription": "bench"},
            "storagequeue": {"endpoint": f"{url}/storage", "queue": "bench"},
        }[kind]
        self.execute(f"CREATE SERVER source TYPE '{kind}' FOREIGN DATA WRAPPER damoov OPTIONS ({option_list(place | options)}); "
                     f"CREATE USER MAPPING FOR CURRENT_USER SERVER source OPTIONS ({option_list(SECRETS[kind])}); "
                     "SELECT damoov.wake_worker()")

    def fetch(self, kinds):
        self.execute(f"ALTER SERVER platform OPTIONS (ADD fetch '{kinds}')")

    def check(self, expected):
        """Ends the run if a table does not hold as many rows; None: any number."""
        tables = [table for table, count in expected.items() if count is not None]
        found = self.execute("SELECT " + ", ".join(f"(SELECT count(*) FROM {table})" for table in tables))[0]
        wrong = [f"{table} has {count} rows, not {expected[table]}" for table, count in zip(tables, found) if count != expected[table]]
        if wrong:
            fail("; ".join(wrong))

    def size(self, *tables):
        """With their partitions."""
        return sum(self.value("SELECT pg_total_relation_size(%s) + coalesce((SELECT sum(pg_total_relation_size(t.relid)) "
                              "FROM pg_partition_tree(%s) AS t WHERE t.isleaf), 0)::bigint", table, table) for table in tables)

    def backends(self):
        """Of clients, without this one."""
        return [pid for pid, in self.execute("SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
                                             "AND backend_type = 'client backend' AND pid <> pg_backend_pid()")]


def option_list(options):
    return ", ".join(f"{name} '{value}'" for name, value in options.items())


class Server:
    """The throw-away cluster that test/bench/run has started."""

    def __init__(self, socket, keep_databases):
        self.socket, self.keep_databases = socket, keep_databases
        self.numbers = itertools.count(1)
        self.control = self.connect("postgres")

    def connect(self, database):
        import psycopg2     # not needed for reading the command line

        connection = psycopg2.connect(host=self.socket, port=5432, dbname=database)
        connection.autocommit = True
        return connection

    def execute(self, statement):
        with self.control.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else None

    def set(self, name, value):
        self.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        self.execute("SELECT pg_reload_conf()")

    def prepare(self, url):
        """The template of all databases."""
        self.execute("CREATE DATABASE pristine")
        connection = self.connect("pristine")
        with connection.cursor() as cursor:
            cursor.execute("CREATE EXTENSION damoov; CREATE SERVER platform TYPE 'api' FOREIGN DATA WRAPPER damoov "
                           f"OPTIONS (base_url '{url}', crash_url '{url}', allowed_hosts '127.0.0.1')")
            cursor.execute((HERE / "peers" / "schema.sql").read_text())
            cursor.execute((HERE / "setup.sql").read_text())
        connection.close()

    @contextlib.contextmanager
    def database(self, workers=1, template="pristine", strategy="wal_log"):
        name = f"run{next(self.numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY {strategy}")
        if workers:
            self.set("damoov.workers_per_database", workers)
            self.set("damoov.databases", name)
        self.execute("CHECKPOINT")
        database = Database(self, name, workers)
        yield database
        database.connection.close()
        if workers:
            self.set("damoov.databases", "")
            # they are gone from pg_stat_activity before the receives that they wait for are
            wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in database.pids), "ending a worker")
        # takes a checkpoint, and what is small goes with the cluster
        if not self.keep_databases:
            self.drop(name)

    def drop(self, name):
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def wal_position(self):
        return int(self.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")[0][0])


# ---- figures ------------------------------------------------------------------------------------

class Report:
    """The figures of one work: rows of metrics, of which the median counts; and ratios of medians."""

    def __init__(self, name, title):
        self.name, self.title = name, title
        self.rows, self.ratios, self.profiles = {}, {}, {}

    def note(self, row, **metrics):
        for metric, value in metrics.items():
            self.rows.setdefault(row, {}).setdefault(metric, []).append(value)

    def median(self, row, metric):
        return statistics.median(self.rows[row][metric])

    def ratio(self, row, metric, *others):
        """How many times better the row is than the best of the others."""
        less = metric.startswith("CPU")
        best = (min if less else max)(others, key=lambda other: self.median(other, metric))
        if not self.median(best, metric) * self.median(row, metric):
            return                              # too short to be told
        ratio = self.median(row, metric) / self.median(best, metric)
        self.ratios[f"{metric}: {row} against {best}"] = 1 / ratio if less else ratio

    def data(self):
        rows = {row: {metric: {"median": statistics.median(values), "values": values} for metric, values in metrics.items()}
                for row, metrics in self.rows.items()}
        return {"title": self.title, "rows": rows, "ratios": self.ratios, "profiles": self.profiles}

    def tables(self):
        """Rows in a row that have a metric in common."""
        metrics, rows = [], {}
        for row, values in self.rows.items():
            if rows and not set(metrics) & set(values):
                yield metrics, rows
                metrics, rows = [], {}
            metrics, rows = list(dict.fromkeys([*metrics, *values])), {**rows, row: values}
        yield metrics, rows

    def lines(self):
        width = max(len(row) for row in self.rows)
        yield f"{self.name}: {self.title}"
        for metrics, rows in self.tables():
            columns = [max(len(metric), 10) for metric in metrics]
            yield f"  {'':{width}}  " + "  ".join(f"{metric:>{column}}" for metric, column in zip(metrics, columns))
            for row, values in rows.items():
                cells = [number(statistics.median(values[metric])) if metric in values else "" for metric in metrics]
                yield f"  {row:{width}}  " + "  ".join(f"{cell:>{column}}" for cell, column in zip(cells, columns))
        for name, value in self.ratios.items():
            yield f"  {value:.2f}  {name}"
        for row, lines in self.profiles.items():
            yield f"  profile of {row}:"
            yield from (f"    {line}" for line in lines)


def number(value):
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
