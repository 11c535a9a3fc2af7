-- No statement of a door, a rule or the queue of downloads reads a table as a
-- whole, also by a plan that was made while it was empty: what a step reads is
-- counted in pages, when the tables are new and when they have grown.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/prelude.psql
\getenv builddir PG_ABS_BUILDDIR
\getenv dlsuffix PG_DLSUFFIX
\set module :builddir '/test/unit/damoov_unit' :dlsuffix
CREATE FUNCTION pg_temp.lease(OUT kind text, OUT object_id uuid, OUT user_id bigint, OUT source text, OUT version bigint, OUT attempts integer)
RETURNS SETOF record LANGUAGE C STRICT AS :'module', 'unit_lease';
CREATE FUNCTION pg_temp.answer(kind text, object_id uuid, user_id bigint, source text, version bigint, attempts integer, status integer, body text)
RETURNS void LANGUAGE C STRICT AS :'module', 'unit_answer';

-- in many partitions
DROP EXTENSION damoov;
CREATE EXTENSION damoov;
SET damoov.partition_size = 1000;
SELECT damoov.make_partitions() AS partitions;
CREATE SERVER plans_api TYPE 'api' FOREIGN DATA WRAPPER damoov OPTIONS (fetch 'processed,raw,crash');

-- No statistics are taken meanwhile: plans are made anew after that.
SELECT pg_temp.empty_tables();
CREATE FUNCTION pg_temp.on_all_tables(action text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    relation regclass;
BEGIN
    FOR relation IN SELECT c.oid FROM pg_class AS c WHERE c.relnamespace = 'damoov'::regnamespace AND c.relkind = 'r' LOOP
        EXECUTE format('ALTER TABLE %s %s', relation, action);
    END LOOP;
END
$$;
SELECT pg_temp.on_all_tables('SET (autovacuum_enabled = off)');

CREATE FUNCTION pg_temp.id(what text, n integer) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN md5(what || n)::uuid;
CREATE FUNCTION pg_temp.event(event text, what text, n integer, minute integer, details jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql STABLE
RETURN jsonb_build_object('Event', event, 'UserId', pg_temp.id('person', n % 10), 'ClientId', 'c-' || minute, 'Object', jsonb_build_object('Id', pg_temp.id(what, n)),
    'Timestamp', to_char(pg_temp.minute(minute), 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'Details', details);
CREATE FUNCTION pg_temp.in_bucket(n integer, sequencer integer) RETURNS jsonb LANGUAGE sql STABLE
RETURN jsonb_build_object('Records', jsonb_build_array(jsonb_build_object('eventVersion', '2.1', 'eventSource', 'aws:s3', 'awsRegion', 'eu-west-1',
    'eventTime', '2024-05-14T10:00:00.000Z', 'eventName', 'ObjectCreated:Put', 's3', jsonb_build_object('s3SchemaVersion', '1.0', 'bucket', '{"name": "fleet"}'::jsonb,
        'object', jsonb_build_object('key', 'exports/' || n || '.json', 'size', 10, 'sequencer', lpad(sequencer::text, 8, '0'))))));
CREATE FUNCTION pg_temp.document(kind text) RETURNS text LANGUAGE sql IMMUTABLE
RETURN CASE kind
    WHEN 'processed' THEN '{"Result": {"Code": 200, "Track": {"Distance": 1, "Points": [{"Number": 1, "Latitude": 52, "Longitude": 8}]}}}'
    WHEN 'raw' THEN '{"Track": {"CompanyId": 1, "Events": [{"Type": "Braking"}], "Points": [{"Number": 1, "Speed": 1}]}}'
    WHEN 'crash' THEN '{"Type": "Accident"}'
    ELSE '{"TimeStart": 1715701853420, "Samples": [{"AccX": 1, "AccY": 2, "AccZ": 3}]}' END;

-- The steps, of the n-th round; what makes a trip comes before what takes it away
CREATE TEMP TABLE step (n serial, name text, statement text);
INSERT INTO step (name, statement) VALUES
    ('a new person', $$damoov_ingest(pg_temp.event('HeartbeatReceived', 'new', @, @) || jsonb_build_object('UserId', pg_temp.id('new', @)))$$),
    ('a heartbeat', $$damoov_ingest(pg_temp.event('HeartbeatReceived', 'person', 1, @) || jsonb_build_object('UserId', pg_temp.id('person', 1)))$$),
    ('the same again', $$damoov_ingest(pg_temp.event('HeartbeatReceived', 'person', 1, @) || jsonb_build_object('UserId', pg_temp.id('person', 1)))$$),
    ('an event that is not known', $$damoov_ingest(pg_temp.event('SomethingNew', 'other', @, @))$$),
    ('a track', $$damoov_ingest(pg_temp.event('IncomingTrackReceived', 'track', @, @))$$),
    ('its enrichment', $$damoov_ingest(pg_temp.event('TrackEnrichmentFinished', 'track', @, @))$$),
    ('a crash', $$damoov_ingest(pg_temp.event('AccidentEventReceived', 'crash', @, @))$$),
    ('its buffer', $$damoov_ingest(pg_temp.event('AccidentEventExtraReceived', 'crash', @, @))$$),
    ('its end', $$damoov_ingest(pg_temp.event('AccidentEventCompletePackageReceived', 'crash', @, @, '{"AccidentPassedFilters": true}'))$$),
    ('leasing', $$count(*) FROM pg_temp.keep_leases()$$),
    ('answering', $$count(pg_temp.answer(kind, object_id, user_id, source, version, attempts, 200, pg_temp.document(kind))) FROM leases WHERE kind <> 'raw'$$),
    ('answering with nothing', $$count(pg_temp.answer(kind, object_id, user_id, source, version, attempts, 500, '')) FROM leases WHERE kind = 'raw'$$),
    ('looking for what is due', $$count(*) FROM pg_temp.lease()$$),
    ('storing what is given', $$damoov.store_dataset('raw', pg_temp.id('track', @), pg_temp.document('raw'))$$),
    ('a merge', $$damoov_ingest(pg_temp.event('TrackEnrichmentFinished', 'track', @ + 10, @, jsonb_build_object('TracksRemoved', jsonb_build_array(jsonb_build_object('Id', pg_temp.id('track', @))))))$$),
    ('a removal', $$damoov_ingest(pg_temp.event('IncomingTrackRemoved', 'track', @, @ + 1))$$),
    ('an object of a bucket', $$damoov_ingest(pg_temp.in_bucket(@, 2))$$),
    ('an older one', $$damoov_ingest(pg_temp.in_bucket(@, 1))$$),
    ('a message that cannot be read', $$damoov_webhook('x@', '{"Authorization": "ALongRandomText"}')$$),
    ('the same mended', $$damoov_retry(max(quarantine_id), pg_temp.event('HeartbeatReceived', 'person', 2, 2 * @) || jsonb_build_object('UserId', pg_temp.id('person', 2))) FROM damoov.quarantine$$);
CREATE TEMP TABLE leases (kind text, object_id uuid, user_id bigint, source text, version bigint, attempts integer);
CREATE FUNCTION pg_temp.keep_leases() RETURNS SETOF leases LANGUAGE sql AS 'DELETE FROM leases; INSERT INTO leases SELECT * FROM pg_temp.lease() RETURNING *';
CREATE SERVER plans_push TYPE 'webhook' FOREIGN DATA WRAPPER damoov;
CREATE USER MAPPING FOR CURRENT_USER SERVER plans_push OPTIONS (webhook_secret 'ALongRandomText');
-- somebody was forgotten, so that it is looked for
INSERT INTO damoov.forgotten (token_digest) SELECT damoov.token_digest(pg_temp.id('forgotten', n)) FROM generate_series(1, 3) AS n;

CREATE FUNCTION pg_temp.pages(statement text) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    plan json;
BEGIN
    EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) SELECT ' || statement INTO plan;
    RETURN (plan -> 0 -> 'Plan' ->> 'Shared Hit Blocks')::integer + (plan -> 0 -> 'Plan' ->> 'Shared Read Blocks')::integer;
END
$$;
CREATE TEMP TABLE counted (round integer, n integer, pages integer);
CREATE FUNCTION pg_temp.rounds(first integer, last integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    entry record;
BEGIN
    FOR round IN first .. last LOOP
        FOR entry IN SELECT s.n, replace(s.statement, '@', (10 * round)::text) AS statement FROM pg_temp.step AS s ORDER BY s.n LOOP
            INSERT INTO pg_temp.counted VALUES (round, entry.n, pg_temp.pages(entry.statement));
        END LOOP;
        -- would not be fetched
        DELETE FROM damoov.downloads WHERE kind = 'object';
    END LOOP;
END
$$;

-- Every plan is made, and made for good
SELECT pg_temp.rounds(1, 12);
SELECT (SELECT count(*) FROM damoov.trips) AS trips, (SELECT count(*) FROM damoov.raw_tracks) AS raw_tracks, (SELECT count(*) FROM damoov.crashes WHERE type IS NOT NULL) AS crashes,
    (SELECT count(*) FROM damoov.crash_buffers) AS buffers, (SELECT count(*) FROM damoov.removed_tracks) AS removed, (SELECT count(*) FROM damoov.quarantine) AS quarantined;

-- The tables grow, half of all for the person of the steps, half for 10,000
-- others; and 50,000 downloads are postponed
INSERT INTO damoov.users (device_token) SELECT pg_temp.id('many', n) FROM generate_series(1, 10000) AS n;
CREATE TEMP TABLE many AS
SELECT (row_number() OVER (ORDER BY user_id, o))::integer AS n, CASE o WHEN 1 THEN p.one ELSE u.user_id END AS user_id
FROM damoov.users AS u, (SELECT user_id FROM damoov.users WHERE device_token = pg_temp.id('person', 0)) AS p (one), generate_series(1, 2) AS o
WHERE u.client_id IS NULL;
INSERT INTO damoov.events (source, event, outcome, user_id, object_id, sent_at, sent_text, payload)
SELECT 'sql', k.event, 'stored', user_id, pg_temp.id(k.event, n), now(), '', pg_temp.event(k.event, 'many', n, 1)
FROM many, (VALUES ('HeartbeatReceived'), ('TrackEnrichmentFinished'), ('AccidentEventReceived')) AS k (event);
INSERT INTO damoov.events (source, event, outcome, object_id, sent_text, payload)
SELECT 'sql', 'ObjectCreated:Put', 'control', pg_temp.id('object', n), '', pg_temp.in_bucket(n, 1) -> 'Records' -> 0 FROM many;
INSERT INTO damoov.redeliveries SELECT event_id, 'sql', 1 FROM damoov.events ON CONFLICT DO NOTHING;
INSERT INTO damoov.heartbeats (user_id, reported_at) SELECT user_id, now() - n * interval '1 second' FROM many;
INSERT INTO damoov.crashes (crash_token, user_id) SELECT pg_temp.id('crashes', n), user_id FROM many;
INSERT INTO damoov.removed_tracks (track_token, removed_at, event_id, user_id, reason) SELECT pg_temp.id('removed', n), now(), n, user_id, 'invalid' FROM many;
INSERT INTO damoov.trips (track_token, user_id, revision, point_count, filler_count) SELECT pg_temp.id('trips', n), user_id, 1, 1, 0 FROM many;
INSERT INTO damoov.trip_points (trip_id, seq, is_filler) SELECT trip_id, 0, false FROM damoov.trips ON CONFLICT DO NOTHING;
INSERT INTO damoov.trip_events (trip_id, seq, kind, first_seq, last_seq) SELECT trip_id, 0, 'braking', 0, 0 FROM damoov.trips ON CONFLICT DO NOTHING;
INSERT INTO damoov.raw_tracks (track_token, user_id, format, point_count, event_count) SELECT pg_temp.id('raw', n), user_id, 1, 1, 0 FROM many;
INSERT INTO damoov.raw_points (raw_track_id, seq) SELECT raw_track_id, 0 FROM damoov.raw_tracks ON CONFLICT DO NOTHING;
INSERT INTO damoov.raw_events (raw_track_id, seq) SELECT raw_track_id, 0 FROM damoov.raw_tracks ON CONFLICT DO NOTHING;
INSERT INTO damoov.documents (kind, object_id, user_id, document) SELECT 'processed', pg_temp.id('trips', n), user_id, '' FROM many;
INSERT INTO damoov.quarantine (source, reason, sqlstate, message, body, body_digest)
SELECT 'sql', 'bad_json', '22P02', '', b, b FROM many, int4send(n) AS b;
INSERT INTO damoov.forgotten (token_digest) SELECT damoov.token_digest(pg_temp.id('forgotten', n)) FROM many WHERE n > 3;
INSERT INTO damoov.downloads (kind, object_id, user_id, source, priority, due_at, queued_at)
SELECT 'processed', pg_temp.id('postponed', n), (SELECT user_id FROM many WHERE many.n = 1), 'sql', p, now() + n * interval '1 minute', now() - interval '1 day'
FROM (VALUES (10), (20)) AS p (p), generate_series(1, 25000) AS n ON CONFLICT DO NOTHING;
INSERT INTO damoov.downloads (kind, object_id, user_id, source, priority, state)
SELECT 'raw', pg_temp.id('gone', n), (SELECT user_id FROM many WHERE many.n = 1), 'sql', 30, 'gone' FROM generate_series(1, 20000) AS n;

-- A few pages more are the height of the trees
SELECT pg_temp.rounds(13, 14);
SELECT s.name, min(c.pages) FILTER (WHERE round > 12) AS pages, min(c.pages) FILTER (WHERE round <= 12) AS pages_before
FROM counted AS c JOIN step AS s USING (n)
GROUP BY s.n, s.name
HAVING min(c.pages) FILTER (WHERE round > 12) > 2 * min(c.pages) FILTER (WHERE round <= 12) + 50
ORDER BY s.n;
SELECT (SELECT count(*) FROM damoov.trips) AS trips, (SELECT count(*) FROM damoov.raw_tracks) AS raw_tracks, (SELECT count(*) FROM damoov.crashes WHERE type IS NOT NULL) AS crashes,
    (SELECT count(*) FROM damoov.crash_buffers) AS buffers, (SELECT count(*) FROM damoov.removed_tracks) AS removed, (SELECT count(*) FROM damoov.quarantine) AS quarantined;

SELECT pg_temp.empty_tables();
SELECT pg_temp.on_all_tables('RESET (autovacuum_enabled)');
DROP SERVER plans_api;
DROP SERVER plans_push CASCADE;
