#!/usr/bin/env python3
"""A random walk of two to four sessions that ends in the tables which the same events give one after the other.

It goes in chapters.  In each one sessions ingest, push, poll, forget, retry, purge, reparse, lease and answer,
in transactions of all isolation levels, some rolled back, some cancelled, while a user locks tables for a moment,
adds triggers, constraints and columns.  Then everybody ends what was begun, and it is compared twice: what the
committed events alone say, and what all tables say once the rest was delivered and every dataset fetched.  The
other side of the comparison is a second database, in which one session has done the same one after the other.

One statement at a time is started, and the next when each session is done or waits for another one's lock, so
that a seed gives one walk; but every fourth chapter is a storm, in which nobody waits for that.

What a user may see of it: serialization_failure, or a refusal with a hint, at a higher isolation level than read
committed; lock_not_available where he set a lock_timeout or said NOWAIT; a deadlock when one of those in it has
called more than once in its transaction, for then the order of locks was his.
"""

import argparse
import getpass
import random
import select
import sys
import time

from check import compare_at_end, compare_events, rules_hold
from cloud import Cloud
from session import Fault, Lost, Session, quoted
from story import Story
from tasks import Tasks
from walker import Walker

CHAPTER_STEPS = 50
PATIENCE = 60           # seconds in which something has to move
EMPTY = """DO $$
BEGIN
    EXECUTE (SELECT 'TRUNCATE ' || string_agg(c.oid::regclass::text, ', ')
        FROM pg_class AS c WHERE c.relnamespace = 'damoov'::regnamespace AND c.relkind IN ('r', 'p'));
END
$$"""


class Book:
    """What all chapters share: the server, the two databases, the stand-in clouds, and how to tell of a fault."""

    def __init__(self, options):
        self.options = options
        self.cloud = Cloud(options.cloud, options.store)
        self.control = self.open("walk")
        self.plain = self.open("plain")
        for session in (self.control, self.plain):
            for statement in prepared(options):
                session.run(statement)

    def open(self, database):
        return Session(self.options.socket, self.options.port, database, self.options.user, jit="off")

    def deadlocks(self):
        return int(self.control.value("SELECT deadlocks FROM pg_stat_database WHERE datname = 'walk'"))


def prepared(options):
    """Functions of the comparison, which regression tests have, too; and of leasing and answering without a wire."""
    with open(options.tables, encoding="utf-8") as file:
        yield "".join(line for line in file if not line.startswith("\\"))
    yield f"""CREATE OR REPLACE FUNCTION unit_lease(OUT kind text, OUT object_id uuid, OUT user_id bigint, OUT source text, OUT version bigint, OUT attempts integer)
        RETURNS SETOF record LANGUAGE C STRICT AS {quoted(options.module)}, 'unit_lease'"""
    yield f"""CREATE OR REPLACE FUNCTION unit_answer(kind text, object_id uuid, user_id bigint, source text, version bigint, attempts integer, status integer, body text)
        RETURNS void LANGUAGE C STRICT AS {quoted(options.module)}, 'unit_answer'"""


class Chapter:
    def __init__(self, book, number):
        self.book = book
        self.control = book.control
        self.number = number
        self.rng = random.Random(f"{book.options.seed}/{number}")
        self.storm = number % 4 == 0
        # with one call in a transaction the order of locks is never the user's
        self.single = self.rng.random() < 0.6
        self.story = Story(self.rng)
        self.trace = []
        self.steps = 0
        self.walkers = []
        self.tasks = Tasks(self)

    def say(self, text):
        self.trace.append(text)
        if self.book.options.verbose:
            print(f"  {text}", file=sys.stderr)

    # -- walking

    def walk(self, steps):
        self.set_out()
        try:
            while self.steps < steps:
                self.step()
            self.come_home()
        finally:
            # one may wait for another
            for walker in self.walkers:
                walker.session.bye()
            for walker in self.walkers:
                walker.session.close()
        self.say("all is quiet")
        if self.single and self.book.deadlocks() > self.deadlocks:
            raise Fault("a deadlock was met and hidden", [])
        compare_events(self)
        rules_hold(self)
        compare_at_end(self)

    def set_out(self):
        self.book.cloud.reset()
        for session in (self.control, self.book.plain):
            session.start(EMPTY)
        for session in (self.control, self.book.plain):
            session.wait()
        self.tasks.furnish()
        self.deadlocks = self.book.deadlocks()
        self.walkers = [Walker(self, name) for name in "ABCD"[:self.rng.randint(2, 4)]]
        self.title = (f"chapter {self.number}: {'a storm' if self.storm else 'step by step'}, "
                      f"{'one call' if self.single else 'many calls'} a transaction; {', '.join(map(str, self.walkers))}")

    def step(self):
        idle = [walker for walker in self.walkers if not walker.busy]
        if not idle:
            self.wait_for_any()
            return
        self.steps += 1
        walker = self.rng.choice(idle)
        if not walker.plan:
            walker.plan = self.tasks.new(walker)
        if walker.plan:
            walker.go()
        self.settle()

    def come_home(self):
        """What was begun is ended."""
        self.storm = False
        self.say("coming home")
        while any(walker.busy or walker.plan for walker in self.walkers):
            idle = [walker for walker in self.walkers if not walker.busy and walker.plan]
            if idle:
                idle[0].go()
                self.settle()
            else:
                self.wait_for_any()

    # -- waiting

    def settle(self):
        """Until each session is done or waits for another; in a storm only what is done is taken."""
        end = time.monotonic() + PATIENCE
        while busy := [walker for walker in self.walkers if walker.busy]:
            if self.take(busy, 0 if self.storm else 0.002):
                continue
            if self.storm or self.all_wait(busy):
                return
            if time.monotonic() > end:
                raise Fault(f"sessions hang: {', '.join(walker.name for walker in busy)}", [])

    def wait_for_any(self):
        end = time.monotonic() + PATIENCE
        while not self.take([walker for walker in self.walkers if walker.busy], 0.05):
            if time.monotonic() > end:
                raise Fault("no session goes on", [])

    def take(self, busy, seconds):
        """Takes what is there; true when somebody is done."""
        ready = select.select([walker.session for walker in busy], [], [], seconds)[0]
        done = [walker.take() for walker in busy if walker.session in ready]
        return bool(ready) and (any(done) or self.take(busy, seconds))

    def all_wait(self, busy):
        """Do all wait for locks of others, and not in a circle, which is about to be broken?"""
        pids = [walker.session.pid for walker in busy]
        rows = self.control.run(f"SELECT p, pg_blocking_pids(p) FROM unnest('{{{','.join(map(str, pids))}}}'::int[]) AS p")
        waits = {int(pid): {int(other) for other in blockers.strip("{}").split(",") if other} for pid, blockers in rows}
        if not all(waits.values()):
            return False
        if any(walker.lock_timeout for walker in busy):
            return False
        return not any(circle(waits, pid) for pid in pids)


def circle(waits, start):
    seen, front = set(), set(waits.get(start, ()))
    while front:
        if start in front:
            return True
        seen |= front
        front = set().union(*(waits.get(pid, set()) for pid in front)) - seen
    return False


def tell(book, chapter, fault):
    """All that is needed to look into it."""
    print(f"seed {book.options.seed}, chapter {chapter.number}, step {chapter.steps}: {fault}")
    for line in fault.lines[:40]:
        print(f"    {line}")
    print(f"  {getattr(chapter, 'title', 'not begun')}")
    print(f"  the way there (again: DAMOOV_WALK_SEED={book.options.seed} DAMOOV_WALK_CHAPTER={chapter.number}):")
    for line in chapter.trace[-book.options.trace:]:
        print(f"    {line}")
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--user", default=getpass.getuser())
    parser.add_argument("--cloud", required=True, type=int, help="port of the cloud with queue and datasets")
    parser.add_argument("--store", required=True, type=int, help="port of the cloud with the bucket")
    parser.add_argument("--tables", required=True, help="file that makes pg_temp.tables()")
    parser.add_argument("--module", required=True, help="test/unit, without its suffix")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=20261129)
    parser.add_argument("--chapter", type=int, help="this one only")
    parser.add_argument("--go-on", action="store_true", help="after a fault with the next chapter")
    parser.add_argument("--trace", type=int, default=80, help="so many of the last steps before a fault are shown")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    book = Book(options)
    steps, faults, number = 0, 0, options.chapter or 1
    began = time.monotonic()
    while steps < options.steps:
        chapter = Chapter(book, number)
        try:
            chapter.walk(CHAPTER_STEPS)
        except (Fault, Lost) as error:
            faults += 1
            tell(book, chapter, error if isinstance(error, Fault) else Fault(f"the server has ended a session: {error}", []))
            if not options.go_on:
                return 1
            if isinstance(error, Lost):
                time.sleep(5)
                book = Book(options)
        steps += chapter.steps
        number += 1
        if options.chapter:
            break
    print(f"{steps} steps in {number - (options.chapter or 1)} chapters, {time.monotonic() - began:.0f} s, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
