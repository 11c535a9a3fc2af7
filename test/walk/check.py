"""What has to be true when everybody is at home: see walk.py."""

import json
import time

from session import Fault, quoted
from story import NEW, compact
from tasks import answer

STAGES = ("crash_token", "user_id", "header_received_at", "buffer_received_at", "completed_at", "filtered_at", "passed_filters")
# how it runs, and no data
LEFT_OUT = ("sources", "subscriptions")
QUEUE_PATIENCE = 30

RULES = {
    "a download of what is no track any more": """
        SELECT w.kind, w.object_id, w.state FROM damoov.downloads AS w
        WHERE w.kind = 'processed' AND NOT damoov.track_lives(w.object_id, w.user_id, damoov.enriched_at(w.object_id, w.user_id))
            OR w.kind = 'raw' AND NOT damoov.recording_lives(w.object_id, w.user_id)""",
    "a track that was removed": """
        SELECT 'trip', t.track_token FROM damoov.trips AS t WHERE NOT damoov.track_lives(t.track_token, t.user_id, t.enriched_at)
        UNION ALL
        SELECT 'raw', t.track_token FROM damoov.raw_tracks AS t WHERE NOT damoov.recording_lives(t.track_token, t.user_id)""",
    "an object of a bucket that is not fetched as it was told of last": """
        SELECT w.object_id, w.wanted_at, n.announced_at FROM damoov.downloads AS w, LATERAL (
            SELECT o.announced_at FROM damoov.events AS e, damoov.read_object_event(e.payload) AS o
            WHERE e.object_id = w.object_id ORDER BY o.sequencer DESC LIMIT 1) AS n
        WHERE w.kind = 'object' AND w.wanted_at IS DISTINCT FROM n.announced_at""",
    "a track that nobody fetches": f"""
        SELECT e.object_id, max(e.sent_at) FROM damoov.events AS e
        WHERE e.event = 'TrackEnrichmentFinished' AND e.sent_at >= '{NEW}'
        GROUP BY e.object_id, e.user_id
        HAVING damoov.track_lives(e.object_id, e.user_id, max(e.sent_at))
            AND NOT EXISTS (SELECT FROM damoov.trips AS t WHERE t.track_token = e.object_id AND t.enriched_at = max(e.sent_at))
            AND NOT EXISTS (SELECT FROM damoov.downloads AS w WHERE w.kind = 'processed' AND w.object_id = e.object_id)""",
    "a recording that nobody fetches": """
        SELECT e.object_id FROM damoov.events AS e
        WHERE e.event = 'IncomingTrackReceived' AND damoov.recording_lives(e.object_id, e.user_id)
            AND NOT EXISTS (SELECT FROM damoov.raw_tracks AS t WHERE t.track_token = e.object_id)
            AND NOT EXISTS (SELECT FROM damoov.downloads AS w WHERE w.kind = 'raw' AND w.object_id = e.object_id)""",
    "a crash that nobody fetches": """
        SELECT e.event, e.object_id FROM damoov.events AS e
        WHERE e.event LIKE 'Accident%'
            AND NOT EXISTS (
                SELECT FROM damoov.crashes AS c LEFT JOIN damoov.crash_buffers AS b USING (crash_id)
                WHERE c.crash_token = e.object_id
                    AND CASE e.event WHEN 'AccidentEventExtraReceived' THEN b.crash_id IS NOT NULL ELSE c.header_stored_at IS NOT NULL END)
            AND NOT EXISTS (
                SELECT FROM damoov.downloads AS w
                WHERE w.object_id = e.object_id AND w.kind = CASE e.event WHEN 'AccidentEventExtraReceived' THEN 'crash_buffer' ELSE 'crash' END)""",
    "a ledger out of balance": "SELECT * FROM damoov.ledger WHERE NOT balanced",
}


def rules_hold(chapter):
    for name, query in RULES.items():
        rows = chapter.control.run(query)
        if rows:
            raise Fault(f"there is {name}", map(str, rows))
    if chapter.tasks.doubtful:
        return
    received = dict(chapter.control.run("SELECT source, sum(received) FROM damoov.receipts GROUP BY source"))
    for source, count in chapter.tasks.received.items():
        if int(received.get(source, 0)) != count:
            raise Fault(f"{count} messages of source {source} were answered, {received.get(source, 0)} counted")


# ---- what the committed events alone say --------------------------------------------------------

def compare_events(chapter):
    committed = [event for event in chapter.story.events if event.committed or has_arrived(chapter, event)]
    forgotten = set(chapter.tasks.forgotten)
    rest = [event for event in chapter.story.events if event not in committed]
    tell(chapter, committed, forgotten)
    chapter.untold = rest
    if chapter.tasks.doubtful:
        return
    walked, plain = (json.loads(session.value("SELECT pg_temp.tables()")) for session in (chapter.control, chapter.book.plain))
    for tables in (walked, plain):
        simplify(chapter, tables)
    # who is known by a dataset alone has said nothing yet
    known = {user["device_token"] for user in plain["users"]}
    walked["users"] = [user for user in walked["users"]
                       if user["device_token"] in known or any(user[name] for name in ("client_id", "instance_id"))]
    differ(walked, plain, "what the committed events say")


def has_arrived(chapter, event):
    if not event.published:
        return False
    if not hasattr(chapter, "arrived"):
        chapter.arrived = [json.loads(row[0]) for row in chapter.control.run("SELECT payload FROM damoov.events WHERE source = 'queue'")]
    return event.payload in chapter.arrived


def simplify(chapter, tables):
    """Without what comes of datasets, and what purging may have removed already or not."""
    begin = NEW.strftime("%Y")
    tables["heartbeats"] = [row for row in tables["heartbeats"] if row["reported_at"] >= begin]
    tables["crashes"] = [{name: row[name] for name in STAGES} for row in tables["crashes"]]
    for name in set(tables) - {"events", "users", "removed_tracks", "heartbeats", "crashes", "forgotten"}:
        del tables[name]


def tell(chapter, events, forgotten=()):
    """One after the other, in some order."""
    orders = [("tell", event) for event in events] + [("forget", person) for person in sorted(forgotten, key=lambda person: person.id)]
    chapter.rng.shuffle(orders)
    for what, subject in orders:
        if what == "tell":
            ingest(chapter.book.plain, subject)
        else:
            chapter.book.plain.run(f"SELECT damoov_forget({quoted(subject.id)})")


def ingest(session, event):
    value = {"Records": [event.payload]} if event.kind == "object" else event.payload
    session.run(f"SELECT damoov_ingest({quoted(compact(value))}, {quoted(event.source)})")


# ---- what all tables say ------------------------------------------------------------------------

def compare_at_end(chapter):
    empty_queue(chapter)
    for person in chapter.tasks.forgotten:
        chapter.control.run(f"SELECT damoov_forget({quoted(person.id)})")
    for event in chapter.untold:
        if not event.published:
            ingest(chapter.control, event)
    mend(chapter)
    tell(chapter, chapter.untold)
    ends = []
    for session in (chapter.control, chapter.book.plain):
        fetch_all(chapter, session)
        session.run("CALL damoov_purge(false)")
        ends.append(json.loads(session.value("SELECT pg_temp.tables()")))
    for tables in ends:
        for name in LEFT_OUT:
            del tables[name]
    differ(*ends, "what all tables say")


def empty_queue(chapter):
    """What was published is stored, or somebody's who is forgotten; nothing of it is lost."""
    end = time.monotonic() + QUEUE_PATIENCE
    while chapter.book.cloud.waiting():
        chapter.control.run("CALL damoov_poll('queue', max_seconds => 2)")
        if time.monotonic() > end:
            raise Fault("the queue does not get empty", map(str, chapter.control.run("SELECT * FROM damoov.status")))
    chapter.__dict__.pop("arrived", None)
    for event in chapter.story.events:
        if event.published and event.person not in chapter.tasks.forgotten and not has_arrived(chapter, event):
            raise Fault(f"a message of the queue is lost: {event}")


def mend(chapter):
    for number, body, kind in chapter.control.run("SELECT quarantine_id, convert_from(body, 'UTF8'), kind FROM damoov.quarantine"):
        event = chapter.tasks.damaged.get(body)
        if kind != "message" or event is None:
            raise Fault(f"in the quarantine there is a {kind} that was not damaged", [body])
        chapter.control.run(f"SELECT damoov_retry({number}, {quoted(compact(event.payload))})")


def fetch_all(chapter, session):
    for _ in range(20):
        session.run("SELECT damoov_retry_downloads()")
        leases = session.run("SELECT kind, object_id, user_id, source, version, attempts FROM unit_lease()")
        if not leases:
            return
        for lease in leases:
            status, text = chapter.story.document(lease[0], chapter.tasks.thing_id(lease, session), chapter.story.now())
            session.run(answer(lease, status, text))
    raise Fault("there is always something to be fetched", map(str, leases))


def differ(walked, plain, what):
    lines = []
    for name in sorted(plain):
        ours, theirs = ([compact({key: value for key, value in row.items() if value is not None}) for row in tables[name]]
                        for tables in (walked, plain))
        lines += [f"+ {name}: {row}" for row in ours if row not in theirs] + [f"- {name}: {row}" for row in theirs if row not in ours]
        if not lines and sorted(ours) != sorted(theirs):
            lines.append(f"{name}: {len(ours)} rows instead of {len(theirs)}")
    if lines:
        raise Fault(f"the walk (+) has led elsewhere than the same one after the other (-): {what}", lines)
