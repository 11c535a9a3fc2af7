-- A batch costs as much when many were stored before it as in the beginning: the
-- same notifications and trips, a hundred batches of them, never analyzed and
-- never vacuumed.  What a batch reads is counted in pages.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/prelude.psql
\getenv builddir PG_ABS_BUILDDIR
\getenv dlsuffix PG_DLSUFFIX
\set module :builddir '/test/unit/damoov_unit' :dlsuffix
CREATE FUNCTION pg_temp.lease(OUT kind text, OUT object_id uuid, OUT user_id bigint, OUT source text, OUT version bigint, OUT attempts integer)
RETURNS SETOF record LANGUAGE C STRICT AS :'module', 'unit_lease';
CREATE FUNCTION pg_temp.answer(kind text, object_id uuid, user_id bigint, source text, version bigint, attempts integer, status integer, body text)
RETURNS void LANGUAGE C STRICT AS :'module', 'unit_answer';
CREATE SERVER flat_api TYPE 'api' FOREIGN DATA WRAPPER damoov OPTIONS (fetch 'processed,crash');

-- Tables and plans as they are in the beginning
SELECT pg_temp.empty_tables();
CREATE PROCEDURE pg_temp.alter_tables(change text) LANGUAGE plpgsql AS $$
DECLARE
    relation regclass;
BEGIN
    FOR relation IN SELECT c.oid FROM pg_class AS c WHERE c.relnamespace = 'damoov'::regnamespace AND c.relkind = 'r' LOOP
        EXECUTE format('ALTER TABLE %s %s', relation, change);
    END LOOP;
END
$$;
CALL pg_temp.alter_tables('SET (autovacuum_enabled = off)');
DISCARD PLANS;

-- The n-th batch: heartbeats of fifty persons, some twice; trips that come, one of
-- an earlier batch that goes, and one that two become; a crash
CREATE FUNCTION pg_temp.id(what text, n integer) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN md5(what || n)::uuid;
CREATE FUNCTION pg_temp.told(event text, what text, n integer, second integer, details jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql STABLE
RETURN jsonb_build_object('Event', event, 'UserId', pg_temp.id('person', n % 50), 'Object', jsonb_build_object('Id', pg_temp.id(what, n)),
    'Timestamp', to_char(pg_temp.minute(0) + second * interval '1 second', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'Details', details);
CREATE FUNCTION pg_temp.batch(n integer) RETURNS jsonb LANGUAGE sql STABLE RETURN (
    SELECT jsonb_agg(m ORDER BY o) FROM (
        SELECT o, pg_temp.told('HeartbeatReceived', 'person', o % 50, 1000 * n + least(o, 59)) FROM generate_series(1, 60) AS o
        UNION ALL
        SELECT 100 + o, pg_temp.told('TrackEnrichmentFinished', 'track', 50 * n + o, 1000 * n + o,
            CASE WHEN o = 1 AND n > 0 THEN jsonb_build_object('TracksRemoved', jsonb_build_array(
                jsonb_build_object('Id', pg_temp.id('track', 50 * n - 49)), jsonb_build_object('Id', pg_temp.id('track', 50 * n + 1)))) ELSE '{}' END)
        FROM generate_series(1, 20) AS o
        UNION ALL
        SELECT 200, pg_temp.told('IncomingTrackRemoved', 'track', 50 * n - 40, 1000 * n)
        UNION ALL
        SELECT 300, pg_temp.told('AccidentEventReceived', 'crash', n, 1000 * n)
    ) AS e (o, m));

CREATE TEMP TABLE leases (kind text, object_id uuid, user_id bigint, source text, version bigint, attempts integer);
CREATE TEMP TABLE counted (n integer, step text, pages integer);
CREATE FUNCTION pg_temp.count_pages(n integer, step text, statement text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    plan json;
BEGIN
    EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) ' || statement INTO plan;
    INSERT INTO pg_temp.counted
    VALUES (n, step, (plan -> 0 -> 'Plan' ->> 'Shared Hit Blocks')::integer + (plan -> 0 -> 'Plan' ->> 'Shared Read Blocks')::integer);
END
$$;
CREATE PROCEDURE pg_temp.store(first integer, last integer) LANGUAGE plpgsql AS $$
BEGIN
    FOR n IN first .. last LOOP
        PERFORM pg_temp.count_pages(n, 'notifications', format('SELECT count(*) FROM damoov_ingest(%L::jsonb)', pg_temp.batch(n)));
        COMMIT;
        DELETE FROM pg_temp.leases;
        PERFORM pg_temp.count_pages(n, 'leasing', 'INSERT INTO pg_temp.leases SELECT * FROM pg_temp.lease()');
        COMMIT;
        PERFORM pg_temp.count_pages(n, 'datasets', format('SELECT count(pg_temp.answer(kind, object_id, user_id, source, version, attempts, 200, CASE kind WHEN ''crash'' THEN %L ELSE %L END)) FROM pg_temp.leases',
            '{"Type": "Accident"}', '{"Result": {"Code": 200, "Track": {"Distance": 1, "Points": [{"Number": 1, "Latitude": 52, "Longitude": 8}]}}}'));
        COMMIT;
    END LOOP;
END
$$;
CALL pg_temp.store(1, 100);
SELECT (SELECT count(*) FROM damoov.events) AS events, (SELECT count(*) FROM damoov.trips) AS trips, (SELECT count(*) FROM damoov.heartbeats) AS heartbeats,
    (SELECT count(*) FROM damoov.crashes) AS crashes, (SELECT count(*) FROM damoov.removed_tracks) AS removed, (SELECT count(*) FROM damoov.downloads) AS downloads;

-- When the trees of the keys have got their second level, against the end
SELECT step, min(pages) FILTER (WHERE n BETWEEN 16 AND 25) AS early, min(pages) FILTER (WHERE n > 90) AS late
FROM counted
GROUP BY step
HAVING min(pages) FILTER (WHERE n > 90) > 1.1 * min(pages) FILTER (WHERE n BETWEEN 16 AND 25);
SELECT pg_temp.empty_tables();
CALL pg_temp.alter_tables('RESET (autovacuum_enabled)');
DROP SERVER flat_api;
