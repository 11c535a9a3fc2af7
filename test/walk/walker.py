"""One session of a chapter: what it is about to do, and what it may be told."""

import re

from session import Fault, Lost, quoted

HIGHER = ("REPEATABLE READ", "SERIALIZABLE")


class Step:
    """A statement.  A door takes locks of damoov's.  What follows of it is done when it is committed: done(result);
    or when it is not: undone(known), not known after a session has ended."""

    def __init__(self, sql, what=None, door=False, done=None, undone=None, allow=(), level=None, returns=None):
        self.sql = sql
        self.what = what or sql
        self.door = door
        self.done = done
        self.undone = undone
        self.allow = allow
        self.level = level          # of the transaction that it begins, or that it has by itself
        self.returns = returns      # what it has to return: a problem, or None


class Walker:
    def __init__(self, chapter, name):
        self.chapter = chapter
        self.name = name
        rng = chapter.rng
        self.lock_timeout = rng.random() < 0.15
        self.default_level = rng.choice(HIGHER) if rng.random() < 0.15 else "READ COMMITTED"
        self.enter()

    def __str__(self):
        return self.name + f" {self.default_level.lower()}" * (self.default_level in HIGHER) + " with lock_timeout" * self.lock_timeout

    def enter(self):
        self.session = self.chapter.book.open("walk")
        self.session.run(f"SET default_transaction_isolation = {quoted(self.default_level.lower())}")
        if self.lock_timeout:
            self.session.run("SET lock_timeout = '30ms'")
        self.plan = []
        self.held = []              # leases
        self.step = None
        self.open = []              # steps of the open transaction, with their results
        self.level = self.default_level
        self.in_block = False
        self.calls = 0
        self.doomed = 0             # so many answers may tell that somebody has cancelled or ended it

    @property
    def busy(self):
        return self.session.busy

    # -- a step

    def go(self):
        self.step = step = self.plan.pop(0)
        if not self.in_block:
            self.level = step.level or self.default_level
            self.calls = 0
        if step.sql.startswith("BEGIN"):
            self.in_block = True
        if step.sql.startswith("ROLLBACK TO"):
            self.calls = 0
        self.calls += step.door
        self.line = f"{self.chapter.steps:3} {self.name}: {step.what}"
        self.chapter.say(self.line)
        self.session.start(step.sql)

    def take(self):
        """True when the step is done."""
        try:
            result = self.session.take()
        except Lost as lost:
            if not self.doomed:
                raise Fault(f"{self.name} lost its session: {lost}", [self.line]) from lost
            self.say("is ended")
            self.open.append((self.step, None))
            # what a transaction block did is undone, unless it was about to be committed
            self.give_up(known=self.in_block and self.step.sql != "COMMIT")
            self.session.close()
            self.enter()
            return True
        if result is None:
            return False
        self.hear(self.session.notices)
        if result.error:
            self.say(f"{result.code} {result.error['M']}")
            self.failed(result)
        else:
            self.say("done" if not result.rows or len(result.rows) > 1 else f"done: {result.value()}")
            self.succeeded(result)
        return True

    def say(self, text):
        self.chapter.say(f"      {self.name}: {text}")

    def hear(self, notices):
        for notice in notices:
            if notice.get("V", notice["S"]) == "WARNING" and not notice["C"].startswith("25P"):
                raise Fault(f"{self.name} was warned: {notice['M']}", [self.line])

    def succeeded(self, result):
        step = self.step
        problem = step.returns and step.returns(result)
        if problem:
            raise Fault(f"{self.name}: {problem}", [self.line, *[str(row) for row in result.rows]])
        self.open.append((step, result))
        if self.in_block and self.session.status == "I":
            self.in_block = False
            if result.tag != "COMMIT":
                self.give_up()
        if not self.in_block:
            committed, self.open = self.open, []
            for past, its_result in committed:
                if past.done:
                    past.done(its_result)
        self.doomed = max(0, self.doomed - 1)

    def failed(self, result):
        self.judge(result.error)
        self.open.append((self.step, result))
        self.give_up()
        self.in_block = self.session.status == "E"
        if self.in_block:
            self.plan = [Step("ROLLBACK")]
        else:
            self.plan = [Step("SELECT pg_advisory_unlock_all()")] if "pg_advisory" in self.step.sql else []
        self.doomed = max(0, self.doomed - 1)

    def give_up(self, known=True):
        """Nothing of the transaction holds."""
        undone, self.open = self.open, []
        for step, _ in undone:
            if step.undone:
                step.undone(known)

    # -- what a user may see

    def judge(self, error):
        code = error["C"]
        higher = self.level in HIGHER
        if code in self.step.allow:
            return
        if code in ("57014", "57P01") and self.doomed:
            return
        if code == "40001" and higher:
            return
        if code == "25000" and higher and error.get("H"):
            return
        if code == "55P03" and self.may_be_timed_out():
            return
        if code == "40P01" and self.is_users_circle(error.get("D", "")):
            return
        raise Fault(f"{self.name} sees {code}: {error['M']}", [self.line, *(error.get(field, "") for field in "DHWq")])

    def may_be_timed_out(self):
        return self.lock_timeout or "NOWAIT" in self.step.sql

    def is_users_circle(self, detail):
        """Not all that is thrown on says who was in it."""
        pids = {int(pid) for pid in re.findall(r"[Pp]rocess (\d+)", detail)}
        return any(walker.calls > 1 for walker in self.chapter.walkers if not pids or walker.session.pid in pids)

    def may_be_sent_again(self):
        """May a push be answered with 503?"""
        return (self.level in HIGHER or self.lock_timeout or self.doomed or
                any(walker.calls > 1 for walker in self.chapter.walkers))
