"""What a session may take on: each task is a list of steps, drawn by the chapter's random numbers."""

from session import quoted
from story import ANNOUNCED, chosen, compact, damaged, gathered
from walker import HIGHER, Step

CALLS = {"ingest": 12, "push": 4, "answer": 6, "damage": 1, "retry": 1, "renew": 1, "reparse": 1, "forget": 0.5}
TASKS = {"call": 24, "block": 44, "void": 8, "savepoint": 4, "lease": 14, "poll": 3, "fetch": 2, "purge": 2,
         "gate": 12, "lock": 4, "row": 3, "ddl": 4, "cancel": 2, "terminate": 0.4}
SECRET = "ALongRandomText"
HEADERS = compact({"Authorization": SECRET})

# A gate in a user's trigger: who comes by waits while somebody has closed it
GATES = ("events", "removed_tracks", "downloads", "trips", "raw_tracks", "crashes", "users", "heartbeats", "quarantine", "documents")
OWN = """
DO $$
DECLARE
    piece text;
BEGIN
    FOR piece IN
        SELECT format('DROP TRIGGER %I ON %s', tgname, tgrelid::regclass) FROM pg_trigger WHERE tgname IN ('aa_gate', 'zz_gate', 'own_notes') AND tgparentid = 0
        UNION ALL
        SELECT format('ALTER TABLE %s DROP CONSTRAINT own_check', conrelid::regclass) FROM pg_constraint WHERE conname = 'own_check' AND coninhcount = 0
    LOOP
        EXECUTE piece;
    END LOOP;
END
$$;
DROP INDEX IF EXISTS damoov.own_index;
DROP TABLE IF EXISTS own;
CREATE TABLE own (number bigserial PRIMARY KEY, what text);
-- the lock goes with the subtransaction, also when that is cancelled
CREATE OR REPLACE FUNCTION pass_gate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(7, TG_ARGV[0]::integer);
    RAISE SQLSTATE 'GATE0';
EXCEPTION
    WHEN SQLSTATE 'GATE0' THEN
        RETURN NULL;
END
$$;
CREATE OR REPLACE FUNCTION note_down() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.own (what) VALUES (TG_TABLE_NAME || ' ' || TG_OP);
    RETURN NULL;
END
$$;
"""
# What a user adds to our tables, and how he takes it away again
CHECKS = {"events": "event <> ''", "heartbeats": "charge_percent < 1000", "trips": "distance_km < 1000", "trip_points": "seq >= 0",
          "trip_events": "seq >= 0", "raw_points": "seq >= 0", "crashes": "reliability < 1000", "crash_buffers": "sample_count >= 0",
          "downloads": "attempts >= 0", "users": "user_id > 0", "removed_tracks": "reason <> ''"}
LOCKED = ("events", "users", "trips", "trip_points", "downloads", "crashes", "removed_tracks", "heartbeats", "documents", "quarantine")
EMPTIED = ("trip_points", "trip_events", "raw_points", "raw_events", "crash_buffers", "quarantine", "redeliveries", "removed_tracks",
           "heartbeats", "documents", "subscriptions")


def furniture():
    pieces = {}
    for number, table in enumerate(GATES, 1):
        for name in ("aa_gate", "zz_gate"):
            pieces[f"{name} {table}"] = (
                f"CREATE TRIGGER {name} AFTER INSERT OR UPDATE OR DELETE ON damoov.{table} FOR EACH STATEMENT EXECUTE FUNCTION pass_gate({number})",
                f"DROP TRIGGER {name} ON damoov.{table}")
    for table, condition in CHECKS.items():
        pieces[f"check {table}"] = (f"ALTER TABLE damoov.{table} ADD CONSTRAINT own_check CHECK ({condition})",
                                    f"ALTER TABLE damoov.{table} DROP CONSTRAINT own_check")
    for table in ("trips", "trip_points", "crashes", "removed_tracks"):
        pieces[f"trigger {table}"] = (
            f"CREATE TRIGGER own_notes AFTER INSERT OR UPDATE OR DELETE ON damoov.{table} FOR EACH ROW EXECUTE FUNCTION note_down()",
            f"DROP TRIGGER own_notes ON damoov.{table}")
    pieces["column"] = "ALTER TABLE own ADD COLUMN at timestamptz DEFAULT now()", "ALTER TABLE own DROP COLUMN at"
    pieces["index"] = "CREATE INDEX own_index ON damoov.trips (distance_km)", "DROP INDEX damoov.own_index"
    return pieces


PIECES = furniture()


class Tasks:
    def __init__(self, chapter):
        self.chapter = chapter
        self.rng = chapter.rng
        self.story = chapter.story
        self.cloud = chapter.book.cloud
        self.pending = []           # events that were told in vain, and come again
        self.damaged = {}           # bodies in the quarantine, and what they should have been
        self.forgotten = set()      # persons
        self.doubtful = False       # something may have been committed, or not
        self.received = {source: 0 for source in ("sql", "push")}
        self.pieces = set()         # of the user's that are there
        self.altered = set()        # that somebody adds or drops
        self.digests = {}           # ids of objects of the bucket, and what they are

    # -- before the walk

    def furnish(self):
        """What a user has added before, some of it anew."""
        self.chapter.control.run(OWN)
        gates = sorted(piece for piece in PIECES if "gate" in piece)
        self.pieces = set(self.rng.sample(gates, self.rng.randint(0, 8)) + self.rng.sample(sorted(set(PIECES) - set(gates)), self.rng.randint(0, 4)))
        for piece in sorted(self.pieces):
            self.chapter.control.run(PIECES[piece][0])

    # -- choosing

    def new(self, walker):
        return getattr(self, f"task_{chosen(self.rng, TASKS)}")(walker)

    def level(self):
        return self.rng.choice(HIGHER) if self.rng.random() < 0.2 else "READ COMMITTED"

    def begin(self):
        level = self.level()
        steps = [Step(f"BEGIN ISOLATION LEVEL {level}", level=level)]
        if level in HIGHER and self.rng.random() < 0.5:
            steps.append(Step("SELECT count(*) FROM damoov.events"))
        return steps

    def call(self, walker, void=False):
        weights = {name: weight for name, weight in CALLS.items()
                   if (name != "answer" or (walker.held and not void)) and (name != "retry" or (self.damaged and not void)) and (name != "damage" or not void)}
        return getattr(self, f"call_{chosen(self.rng, weights)}")(walker, void)

    def task_call(self, walker):
        return [self.call(walker)]

    def task_block(self, walker):
        calls = 1 if self.chapter.single else self.rng.choice((1, 1, 2, 3))
        steps = self.begin() + [self.call(walker) for _ in range(calls)]
        if self.rng.random() < 0.2:
            steps.append(Step("INSERT INTO own (what) VALUES ('mine')"))
        return steps + [Step("COMMIT")]

    def task_void(self, walker):
        return self.begin() + [self.call(walker, void=True), Step("ROLLBACK")]

    def task_savepoint(self, walker):
        return self.begin() + [Step("SAVEPOINT s"), self.call(walker, void=True), Step("ROLLBACK TO SAVEPOINT s"), self.call(walker), Step("COMMIT")]

    # -- doors

    def events(self, most, void, source=None):
        """Some of one source: new ones, such that come again, and the same once more."""
        rng = self.rng
        events = []
        for _ in range(rng.randint(1, most)):
            again = [event for event in self.pending if source in (None, event.source)]
            told = [event for event in self.story.events if source in (None, event.source)]
            if again and rng.random() < 0.6:
                event = rng.choice(again)
            elif told and rng.random() < 0.2:
                event = rng.choice(told[-12:])
            else:
                event = self.happen(source, void)
            source = event.source
            # records of a bucket come in an envelope of their own
            if event not in events and (event.kind == "object") == ((events or [event])[0].kind == "object"):
                events.append(event)
            else:
                self.come_again([event])
        return events

    def come_again(self, events):
        self.pending += [event for event in events if event in self.story.events and not event.committed and event not in self.pending]

    def happen(self, source, void):
        event = self.story.event(source, void)
        if not void:
            for kind, kinds in ANNOUNCED.items():
                if event.kind in kinds:
                    self.cloud.serve(event.thing, kind, self.story.newest(kind, event.thing))
        return event

    def telling(self, events, void, source=None):
        """What is remembered of events that a step tells."""
        real = [event for event in events if event in self.story.events]

        def undone(known=True):
            self.doubtful |= not known
            self.come_again(events)

        def done(result):
            for event in real:
                event.committed = True
            self.pending = [event for event in self.pending if not event.committed]
            if source in self.received:
                self.received[source] += len(events)

        return {"done": None if void else done, "undone": undone}

    def call_ingest(self, walker, void):
        events = self.events(5, void)
        value = gathered(self.rng, events)
        return Step(f"SELECT event_id, event, outcome FROM damoov_ingest({quoted(compact(value))}, {quoted(events[0].source)})",
                    f"ingest {listed(events)}{' in vain' if void else ''}", door=True, **self.telling(events, void, events[0].source))

    def call_push(self, walker, void):
        events = self.events(3, void, "push")
        value = [event.payload for event in events] if len(events) > 1 else events[0].payload
        return self.push(walker, compact(value), f"push {listed(events)}{' in vain' if void else ''}", **self.telling(events, void, "push"))

    def push(self, walker, body, what, done=None, undone=None):
        """What is answered with 503 comes again."""
        def settled(result):
            if result.value() == "200":
                done(result)
            else:
                undone()

        def returns(result):
            if result.value() != "200" and not (result.value() == "503" and walker.may_be_sent_again()):
                return f"a push was answered with {result.value()}"
            return None

        return Step(f"SELECT damoov_webhook(convert_to({quoted(body)}, 'UTF8'), {quoted(HEADERS)}) ->> 'status'", what, door=True,
                    done=done and settled, undone=undone, returns=returns)

    def call_damage(self, walker, void):
        event = self.happen("push", False)
        body = damaged(event)

        def done(result):
            self.damaged[body] = event
            self.come_again([event])
            self.received["push"] += 1

        def undone(known=True):
            if not known:
                self.damaged[body] = event
                self.doubtful = True
            self.come_again([event])

        return self.push(walker, body, f"push damaged {event}", done, undone)

    def call_retry(self, walker, void):
        body = self.rng.choice(sorted(self.damaged))
        event = self.damaged[body]
        return Step(f"SELECT event_id, event, outcome FROM damoov_retry((SELECT quarantine_id FROM damoov.quarantine WHERE body = convert_to({quoted(body)}, 'UTF8')), "
                    f"{quoted(compact(event.payload))})", f"retry {event}", door=True, allow=("02000",), **self.telling([event], void, "push"))

    def call_renew(self, walker, void):
        return Step("SELECT damoov_retry_downloads()", door=True)

    def call_reparse(self, walker, void):
        since = self.rng.choice(("'-infinity'", "now() - interval '1 second'"))
        return Step(f"SELECT count(*) FROM damoov_reparse({since}, {self.rng.random() < 0.3})", door=True)

    def call_forget(self, walker, void):
        person = self.rng.choice(self.story.persons)

        def undone(known=True):
            if not known:
                self.forgotten.add(person)      # made sure of at the end
                self.doubtful = True

        return Step(f"SELECT table_name, row_count FROM damoov_forget({quoted(person.id)})", f"forget {person.id[:4]}{' in vain' if void else ''}", door=True,
                    done=None if void else lambda result: self.forgotten.add(person), undone=None if void else undone)

    # -- datasets

    def task_lease(self, walker):
        def done(result):
            walker.held += [(row, self.story.now()) for row in result.rows]
        return [Step("SELECT kind, object_id, user_id, source, version, attempts FROM unit_lease()", "lease", done=done, level=None)]

    def call_answer(self, walker, void):
        lease, as_of = walker.held.pop(self.rng.randrange(len(walker.held)))
        if self.rng.random() < 0.5:
            as_of = self.story.now()
        status, text = self.story.document(lease[0], self.thing_id(lease), as_of, self.rng.random() < 0.5)
        if self.rng.random() < 0.15:
            status, text = self.rng.choice(((503, ""), (404, ""), (401, ""), (200, "{") if int(lease[5]) < 4 else (500, "")))

        def undone(known=True):
            if known:
                walker.held.append((lease, as_of))

        return Step(answer(lease, status, text), f"answer {lease[0]} {lease[1][:4]} with {status}", door=True, undone=undone)

    def thing_id(self, lease, session=None):
        kind, object_id = lease[:2]
        if kind != "object":
            return object_id
        if object_id not in self.digests:
            key = (session or self.chapter.control).value(
                f"SELECT payload #>> '{{s3,object,key}}' FROM damoov.events WHERE object_id = {quoted(object_id)} LIMIT 1")
            self.digests[object_id] = key.removeprefix("exports/").removesuffix(".json")
        return self.digests[object_id]

    def task_poll(self, walker):
        for event in self.events(4, False, "queue"):
            self.cloud.publish(event)
            event.published = True
        # it runs at its own level, whatever the default is
        return [Step("CALL damoov_poll(max_seconds => 2)", door=True, level="READ COMMITTED")]

    def task_fetch(self, walker):
        track = self.rng.choice(self.story.tracks)
        token = f", {quoted(track.person.id)}" if self.rng.random() < 0.5 else ""
        # unknown, removed or forgotten; refused when somebody else's removal is all that is known of it
        return [Step(f"SELECT damoov_fetch_track({quoted(track.id)}{token})", f"fetch {track.id[:4]}", door=True, allow=("02000", "55000", "28000"))]

    # -- housekeeping, and what a user does

    def task_purge(self, walker):
        return [Step("CALL damoov_purge(false)", door=True)]

    def task_gate(self, walker):
        gates = [PIECES[piece][0] for piece in self.pieces if "gate" in piece]
        if not gates:
            return [self.alter()]
        number = self.rng.choice(sorted(gates)).split("(")[1].rstrip(")")
        return [Step(f"SELECT pg_advisory_lock(7, {number})", f"close the gate of {GATES[int(number) - 1]}"),
                Step(f"SELECT pg_advisory_unlock(7, {number})", f"open the gate of {GATES[int(number) - 1]}")]

    def task_lock(self, walker):
        mode = self.rng.choice(("SHARE", "EXCLUSIVE", "ACCESS EXCLUSIVE"))
        nowait = self.rng.choice(("", " NOWAIT"))
        return [Step("BEGIN", level=None), Step(f"LOCK TABLE damoov.{self.rng.choice(LOCKED)} IN {mode} MODE{nowait}"), Step("COMMIT")]

    def task_row(self, walker):
        table = self.rng.choice(("users", "downloads", "events", "trips", "crashes", "quarantine"))
        return [Step("BEGIN", level=None), Step(f"SELECT ctid FROM damoov.{table} LIMIT 1 FOR UPDATE SKIP LOCKED"), Step("COMMIT")]

    def task_ddl(self, walker):
        which = self.rng.random()
        if which < 0.2:
            return [Step(f"ANALYZE damoov.{self.rng.choice(LOCKED)}")]
        if which < 0.4:
            table = self.rng.choice(EMPTIED)
            return [Step(f"DO $$ BEGIN LOCK TABLE damoov.{table}; IF NOT EXISTS (SELECT FROM damoov.{table}) THEN TRUNCATE damoov.{table}; END IF; END $$",
                         f"truncate {table} if that is empty")]
        return [self.alter()]

    def alter(self):
        piece = self.rng.choice(sorted(set(PIECES) - self.altered))
        there = piece in self.pieces
        self.altered.add(piece)

        def done(result):
            self.altered.remove(piece)
            self.pieces ^= {piece}

        def undone(known=True):
            if known:
                self.altered.remove(piece)

        return Step(PIECES[piece][there], f"{'drop' if there else 'add'} {piece}", done=done, undone=undone)

    def task_cancel(self, walker):
        return self.end("pg_cancel_backend", "cancel")

    def task_terminate(self, walker):
        return self.end("pg_terminate_backend", "end")

    def end(self, function, what):
        """Not by a session of the walk, which might have to wait itself."""
        others = [other for other in self.chapter.walkers if other.busy]
        if others:
            other = self.rng.choice(others)
            other.doomed = 2        # in a storm the next one may be hit
            self.chapter.say(f"{self.chapter.steps:3}    {what} {other.name}")
            self.chapter.control.run(f"SELECT {function}({other.session.pid})")
        return []


def answer(lease, status, text):
    return f"SELECT unit_answer({', '.join(quoted(value) for value in [*lease, status, text])})"


def listed(events):
    return " ".join(map(str, events))
