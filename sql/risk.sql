-- What will be lost, and when
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/prelude.psql
SELECT pg_temp.empty_tables();

CREATE SERVER queue TYPE 'sqs' FOREIGN DATA WRAPPER damoov OPTIONS (queue_url 'https://sqs.eu-central-1.amazonaws.com/1/q', region 'eu-central-1', paused 'true');
CREATE SERVER push TYPE 'webhook' FOREIGN DATA WRAPPER damoov;
INSERT INTO damoov.sources (server_oid, home, place, source, state)
SELECT s.server_oid, damoov.home(), damoov.place(), s.source, 'polling' FROM damoov.servers AS s;
INSERT INTO damoov.users (user_id, device_token) VALUES (-1, '4abf7a0f-d4ed-4a38-867c-000000000001');
SELECT * FROM damoov.at_risk;

-- Datasets: by their kind, state and source, the oldest of them
CREATE PROCEDURE pg_temp.wanted(kind text, state text, source text, ages interval[]) LANGUAGE sql AS $$
    INSERT INTO damoov.downloads (kind, object_id, user_id, source, priority, state, wanted_at, queued_at)
    SELECT kind, gen_random_uuid(), -1, source, 20, state, now() - age, now() FROM unnest(ages) AS age
$$;
CREATE VIEW pg_temp.risks AS
SELECT what, level, source, kind, count, date_trunc('hour', now() - since) AS age, lost_at > now() AS in_time, problem, remedy
FROM damoov.at_risk
ORDER BY what, source, kind, problem;
CALL pg_temp.wanted('raw', 'waiting', 'queue', '{1 hour, 7 days -1 hour}');
SELECT * FROM pg_temp.risks;
CALL pg_temp.wanted('raw', 'waiting', 'queue', '{7 days 1 hour}');
SELECT * FROM pg_temp.risks;
CALL pg_temp.wanted('raw', 'waiting', 'other', '{11 days 5 hours}');
CALL pg_temp.wanted('crash', 'waiting', 'queue', '{15 days}');
CALL pg_temp.wanted('processed', 'failed', 'queue', '{1 hour, 2 hours}');
CALL pg_temp.wanted('processed', 'gone', 'queue', '{1 hour}');
SELECT * FROM pg_temp.risks;
-- of an object nothing is known
CALL pg_temp.wanted('object', 'waiting', 'queue', '{900 days}');
SELECT * FROM pg_temp.risks WHERE kind = 'object';
-- a list stays where it is
CALL pg_temp.wanted('listing', 'waiting', 'queue', '{900 days}');
SELECT * FROM pg_temp.risks WHERE kind = 'listing';
DELETE FROM damoov.downloads;

-- Messages: of queues that are not asked
CREATE PROCEDURE pg_temp.asked(state text, ago interval, paused boolean DEFAULT false) LANGUAGE sql AS $$
    UPDATE damoov.sources SET state = asked.state, last_poll_at = now() - ago, last_message_at = now() - ago, paused = asked.paused,
        pause_reason = CASE WHEN asked.paused THEN 'somebody' END, last_error = CASE WHEN asked.state = 'auth_failed' THEN 'the key is wrong' END
$$;
CALL pg_temp.asked('auth_failed', '47 hours');
SELECT * FROM pg_temp.risks;
CALL pg_temp.asked('auth_failed', '49 hours');
SELECT * FROM pg_temp.risks;
CALL pg_temp.asked('paused', '80 hours', true);
SELECT * FROM pg_temp.risks;
-- by its option, which damoov_resume() does not change
CALL pg_temp.asked('paused', '80 hours');
SELECT what, source, problem, remedy FROM pg_temp.risks;
CALL pg_temp.asked('polling', '100 hours');
SELECT what, level, source, kind, age, remedy FROM pg_temp.risks;

-- Silence: longer than is usual for the source
CALL pg_temp.asked('polling', '1 minute');
UPDATE damoov.sources SET last_message_at = now() - interval '13 hours';
SELECT * FROM pg_temp.risks;
INSERT INTO damoov.receipts (source, received_at, received, stored, duplicate, unknown, control, quarantined)
SELECT source, now() - interval '13 hours' - n * interval '1 day', 100, 100, 0, 0, 0, 0
FROM generate_series(0, 30) AS n, unnest('{queue,push}'::text[]) AS source;
SELECT * FROM pg_temp.risks;
-- one message a day is no silence after 13 hours
UPDATE damoov.receipts SET received = 1, stored = 1 WHERE source = 'queue';
SELECT what, source FROM pg_temp.risks;
-- nothing is said of how many came, when their receipts are gone
DELETE FROM damoov.receipts;
UPDATE damoov.sources SET last_message_at = now() - interval '150 days';
SELECT what, source, problem FROM pg_temp.risks;

-- The quarantine, if it is removed at all
UPDATE damoov.sources SET last_message_at = now();
INSERT INTO damoov.quarantine (source, reason, sqlstate, message, body, body_digest, received_at)
VALUES ('queue', 'bad_json', '22P02', 'example', 'a', 'a', now() - interval '9 days'), ('queue', 'bad_json', '22P02', 'example', 'b', 'b', now());
SELECT * FROM pg_temp.risks;
SET damoov.keep_quarantine = '30d';
SELECT * FROM pg_temp.risks;
SET damoov.keep_quarantine = '10d';
SELECT * FROM pg_temp.risks;
DROP SERVER queue;
DROP SERVER push;
SELECT pg_temp.empty_tables();
