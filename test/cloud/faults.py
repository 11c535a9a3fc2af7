"""Orders to misbehave, and the ways of misbehaving that every service shares.

A way is a function (fault, request, perform) -> Reply. perform() does what was asked
and returns the proper reply: a way may call it, change what it returned, or leave it.
"""

import threading
from email.utils import formatdate

from wire import WATCH_SECONDS, Gone, Hangup, Reply, sized

HTML = b"<!DOCTYPE html>\r\n<html><head><title>Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>\r\n"


class Fault:
    def __init__(self, where, mode, target=None, times=1, **options):
        self.where = where
        self.mode = mode
        self.target = target        # an action, a queue, an object id or kind; None means all
        self.times = times          # None means until it is cleared
        self.options = options
        self.seen = 0
        self.opened = threading.Event()     # of "hold"

    def __getattr__(self, name):
        """An option; None when the order did not give it."""
        return self.__dict__["options"].get(name)

    def number(self, name, default):
        value = self.options.get(name)
        return default if value is None else value

    def described(self):
        return {"where": self.where, "mode": self.mode, "target": self.target, "times": self.times, **self.options}


class FaultBook:
    """Pending faults, oldest first."""

    def __init__(self):
        self.lock = threading.Lock()
        self.faults = []
        self.held = []              # by which somebody may be held

    def add(self, fault):
        with self.lock:
            self.faults.append(fault)
            if fault.mode == "hold":
                self.held.append(fault)

    def clear(self, where=None):
        """Also lets go whom they hold."""
        with self.lock:
            for fault in self.held:
                if where in (None, fault.where):
                    fault.opened.set()
            self.held, self.faults = ([fault for fault in faults if where not in (None, fault.where)] for faults in (self.held, self.faults))

    def pending(self):
        with self.lock:
            return [fault.described() for fault in self.faults]

    def take(self, where, targets):
        """The first fault meant for this request, or None."""
        if not self.faults:
            return None
        with self.lock:
            for fault in self.faults:
                if fault.where == where and (fault.target is None or fault.target in targets):
                    fault.seen += 1
                    # with "every", that one of so many requests
                    if fault.seen % fault.number("every", 1):
                        continue
                    self._use(fault)
                    return fault
        return None

    def _use(self, fault):
        if fault.times is not None:
            fault.times -= 1
            if fault.times <= 0:
                self.faults.remove(fault)


def retry_after(fault, now):
    """The Retry-After header, in seconds or as a date so many seconds ahead."""
    if fault.retry_after is not None:
        return [("Retry-After", fault.retry_after)]
    if fault.retry_after_date is not None:
        return [("Retry-After", formatdate(now + fault.retry_after_date, usegmt=True))]
    return []


def drop(fault, request, perform):
    """With "perform" the work is done and only its answer is lost."""
    if fault.perform:
        perform()
    raise Hangup(reset=bool(fault.reset))


def delay(fault, request, perform):
    request.connection.pause(fault.number("seconds", 1))
    return perform()


def hold(fault, request, perform):
    """Until the faults are cleared."""
    while not fault.opened.wait(WATCH_SECONDS):
        if not request.connection.alive():
            raise Gone
    return perform()


def stall(fault, request, perform):
    """Half of the body, silence, the other half."""
    reply = perform()
    reply.parts = halting(whole(reply), 2, request.connection, fault.number("seconds", 5))
    return reply


def drip(fault, request, perform):
    """A body that takes its time: `pieces` parts with `seconds` between them."""
    reply = perform()
    reply.parts = halting(whole(reply), fault.number("pieces", 20), request.connection, fault.number("seconds", 0.5))
    return reply


def halting(body, pieces, connection, seconds):
    size = max(1, -(-len(body) // pieces))
    for at in range(0, len(body), size):
        if at:
            connection.pause(seconds)
        yield body[at:at + size]


def truncate(fault, request, perform):
    """The framing promises the whole body; half of it comes, then the connection ends."""
    reply = perform()
    body = whole(reply)
    return Reply(reply.status, reply.headers, [body[:len(body) // 2]], keep=False)


def whole(reply):
    return b"".join(reply.parts)


def html(fault, request, perform):
    return sized(fault.number("status", 502), [("Content-Type", "text/html; charset=utf-8")], HTML)


WAYS = {"drop": drop, "delay": delay, "hold": hold, "stall": stall, "drip": drip, "truncate": truncate, "html": html}
