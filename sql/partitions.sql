-- Points and events lie in partitions by the ids of their tracks: made ahead,
-- found when rows are stored and read, dropped when all in them is old.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/prelude.psql
DROP EXTENSION damoov;
CREATE EXTENSION damoov;
CREATE FUNCTION pg_temp.id(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN md5('track' || n)::uuid;
-- Stores a trip or a raw track, as the worker does; tells in which partitions its rows are
CREATE FUNCTION pg_temp.store(n bigint, kind text DEFAULT 'processed', at timestamptz DEFAULT '2024-05-14 10:00:00Z') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    PERFORM public.damoov_ingest(jsonb_build_object('Event', CASE kind WHEN 'raw' THEN 'IncomingTrackReceived' ELSE 'TrackEnrichmentFinished' END,
        'UserId', '5b0c7d1e-2f34-4a56-8b79-000000000001', 'Object', jsonb_build_object('Id', pg_temp.id(n)), 'Timestamp', to_char(at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"')));
    PERFORM damoov.store_dataset(kind, pg_temp.id(n), CASE kind
        WHEN 'raw' THEN '{"Track": {"CompanyId": 1, "Events": [{"Type": "Braking"}], "Points": [{"Number": 1, "Speed": 1}, {"Number": 2, "Speed": 1}]}}'
        ELSE '{"Result": {"Code": 200, "Track": {"Distance": 1, "Points": [{"Number": 1, "Latitude": 52, "Longitude": 8, "AlertType": "acc", "MidSpeed": 1},
            {"Number": 2, "Latitude": 52, "Longitude": 8, "MidSpeed": 1}]}}}' END);
    SELECT string_agg(format('%s in %s', r.count, r.relation), ', ' ORDER BY r.relation::text COLLATE "C") INTO result FROM (
        SELECT count(*), p.tableoid::regclass FROM damoov.trip_points AS p WHERE p.trip_id = (SELECT t.trip_id FROM damoov.trips AS t WHERE t.track_token = pg_temp.id(n)) GROUP BY 2
        UNION ALL SELECT count(*), e.tableoid::regclass FROM damoov.trip_events AS e WHERE e.trip_id = (SELECT t.trip_id FROM damoov.trips AS t WHERE t.track_token = pg_temp.id(n)) GROUP BY 2
        UNION ALL SELECT count(*), p.tableoid::regclass FROM damoov.raw_points AS p WHERE p.raw_track_id = (SELECT t.raw_track_id FROM damoov.raw_tracks AS t WHERE t.track_token = pg_temp.id(n)) GROUP BY 2
        UNION ALL SELECT count(*), e.tableoid::regclass FROM damoov.raw_events AS e WHERE e.raw_track_id = (SELECT t.raw_track_id FROM damoov.raw_tracks AS t WHERE t.track_token = pg_temp.id(n)) GROUP BY 2
    ) AS r (count, relation);
    RETURN result;
END
$$;
CREATE FUNCTION pg_temp.ranges() RETURNS TABLE (partition text, first_id bigint, end_id bigint) LANGUAGE sql AS $$
    SELECT p.partition, p.first_id, p.end_id FROM damoov.partitions AS p WHERE p.table_name = 'trip_points' AND NOT p.is_default ORDER BY p.first_id
$$;
-- the partitions that this transaction has locked
CREATE FUNCTION pg_temp.locked() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT DISTINCT c.relname FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation
    WHERE l.pid = pg_backend_pid() AND c.relnamespace = 'damoov'::regnamespace AND c.relispartition AND c.relkind = 'r' ORDER BY 1
$$;

-- Before there are others, the default partition takes everything
SELECT pg_temp.store(1);
SELECT level, topic, finding, remedy FROM damoov_check() WHERE topic = 'partitions';
-- Made by the worker's role, which owns nothing; once
SET ROLE damoov_engine;
SELECT damoov.make_partitions(), damoov.make_partitions() AS again;
RESET ROLE;
SELECT table_name, partition, first_id, end_id FROM damoov.partitions WHERE NOT is_default ORDER BY partition COLLATE "C";
-- like the default partition: key, index, constraints, and nobody's rights
SELECT c.oid::regclass AS relation, replace(c.relacl::text, 'Dxtm', 'Dxt') AS relacl, (SELECT string_agg(replace(pg_get_indexdef(i.indexrelid), c.relname, '@'), E'\n' ORDER BY 1) FROM pg_index AS i WHERE i.indrelid = c.oid) AS indexes
FROM pg_class AS c WHERE c.oid IN ('damoov.trip_points_p2'::regclass, 'damoov.raw_events_p50000'::regclass);
-- what comes now has a place of its own, and comes there again
SELECT pg_temp.store(2) AS trip, pg_temp.store(2, at => '2024-05-14 11:00:00Z') AS again, pg_temp.store(2, 'raw') AS raw;
SELECT pg_temp.store(1, at => '2024-05-14 11:00:00Z') AS old;
-- what lies in the default partition moves
SELECT damoov.split_default() AS moved, damoov.split_default() AS moved, damoov.split_default() AS none;
SELECT * FROM pg_temp.ranges();
SELECT tableoid::regclass, trip_id, seq FROM damoov.trip_points ORDER BY trip_id, seq;
SELECT level, topic, finding, remedy FROM damoov_check() WHERE topic = 'partitions';

-- A trip is read, stored again and removed in one partition, and no other is locked
EXPLAIN (COSTS OFF) SELECT * FROM damoov.trip_points WHERE trip_id = 2;
EXPLAIN (COSTS OFF) SELECT * FROM damoov.trip_events WHERE trip_id = 2 AND seq = 0;
EXPLAIN (COSTS OFF) SELECT * FROM damoov.raw_points WHERE raw_track_id = 1;
BEGIN;
SELECT damoov.store_dataset('processed', pg_temp.id(2), '{"Result": {"Code": 200, "Track": {"Points": [{"Number": 1, "Latitude": 52, "Longitude": 8}]}}}') AS trip_id;
SELECT * FROM pg_temp.locked();
ROLLBACK;
BEGIN;
DELETE FROM damoov.trips WHERE track_token = pg_temp.id(2);
DELETE FROM damoov.raw_tracks WHERE track_token = pg_temp.id(2);
SELECT * FROM pg_temp.locked();
SELECT count(*) FROM damoov.trip_points WHERE trip_id = 2;
ROLLBACK;
BEGIN;
SELECT count(*) FROM damoov_points(2);
SELECT * FROM pg_temp.locked();
SELECT count(*) FROM damoov.all_points WHERE trip_id = 2;
SELECT * FROM pg_temp.locked();
ROLLBACK;
BEGIN;
SELECT damoov.pack_trips(ARRAY[2]) AS packed;
SELECT * FROM pg_temp.locked();
SELECT damoov_unpack(2) AS points;
SELECT * FROM pg_temp.locked();
ROLLBACK;
-- as many pages as before, however many partitions there are
CREATE FUNCTION pg_temp.pages(statement text) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    plan json;
BEGIN
    EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) ' || statement INTO plan;
    RETURN (plan -> 0 -> 'Plan' ->> 'Shared Hit Blocks')::integer + (plan -> 0 -> 'Plan' ->> 'Shared Read Blocks')::integer;
END
$$;
SELECT pg_temp.pages('SELECT * FROM damoov.trip_points WHERE trip_id = 2') AS pages;

-- Another size holds for new ranges only, which end where others begin
SET damoov.partition_size = 3000;
SELECT damoov.make_partitions();
SELECT setval('damoov.trips_trip_id_seq', 94000);
SELECT damoov.make_partitions();
SELECT * FROM pg_temp.ranges();
RESET damoov.partition_size;
-- far ahead: others are not made on the way; nor at the end of all ids
SELECT setval('damoov.trips_trip_id_seq', 7000000000);
SELECT pg_temp.store(3);
SELECT damoov.make_partitions();
SELECT pg_temp.store(4);
SELECT damoov.split_default(), damoov.split_default();
SELECT * FROM pg_temp.ranges();
SELECT setval('damoov.raw_tracks_raw_track_id_seq', 9223372036854775806);
SELECT damoov.make_partitions(), pg_temp.store(4, 'raw');
SELECT damoov.split_default();
SELECT pg_temp.store(4, 'raw', '2024-05-14 12:00:00Z');
DELETE FROM damoov.raw_tracks WHERE raw_track_id > 9000000000000000000;
SELECT setval('damoov.raw_tracks_raw_track_id_seq', 10);
-- negative ones, by hand
INSERT INTO damoov.trip_points (trip_id, seq, is_filler) VALUES (-1, 0, false), (-50001, 0, false), (-9223372036854775808, 0, false);
SELECT damoov.split_default(), damoov.split_default(), damoov.split_default();
SELECT tableoid::regclass, trip_id FROM damoov.trip_points WHERE trip_id < 0 ORDER BY 2;
DELETE FROM damoov.trip_points WHERE trip_id < 0;
-- one that is gone: what comes meanwhile is not lost, and the rest of the range is made again
DELETE FROM damoov.trips WHERE trip_id > 60000;
SELECT setval('damoov.trips_trip_id_seq', 60000);
DROP TABLE damoov.trip_points_p50000;
ALTER TABLE damoov.trip_events DETACH PARTITION damoov.trip_events_p50000;
SELECT pg_temp.store(5);
SELECT damoov.make_partitions();
SELECT pg_temp.store(6);
DROP TABLE damoov.trip_events_p50000;
-- ids that begin again
DELETE FROM damoov.trips;
SELECT setval('damoov.trips_trip_id_seq', 100);
SELECT damoov.make_partitions(), pg_temp.store(7);
-- partitions that others have made, of any shape
DROP TABLE damoov.trip_points_p2, damoov.trip_events_p2;
CREATE TABLE damoov.trip_points_low PARTITION OF damoov.trip_points FOR VALUES FROM (MINVALUE) TO (-100000);
CREATE TABLE damoov.trip_points_mine PARTITION OF damoov.trip_points FOR VALUES FROM (120) TO (200) PARTITION BY LIST (is_filler);
CREATE TABLE damoov.trip_points_mine_yes PARTITION OF damoov.trip_points_mine FOR VALUES IN (true);
CREATE TABLE damoov.trip_points_mine_no PARTITION OF damoov.trip_points_mine FOR VALUES IN (false);
DELETE FROM damoov.trips WHERE track_token = pg_temp.id(7);
SELECT damoov.make_partitions();
SELECT pg_temp.store(8);
SELECT setval('damoov.trips_trip_id_seq', 150);
SELECT pg_temp.store(9), pg_temp.store(9, at => '2024-05-14 12:00:00Z') AS again;
SELECT * FROM pg_temp.ranges();
DROP EXTENSION damoov;
CREATE EXTENSION damoov;

-- What others add is in new partitions, too, and rows that are moved start no trigger
CREATE ROLE regress_damoov_adder;
CREATE FUNCTION pg_temp.spy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING '% %', TG_OP, TG_TABLE_NAME; RETURN coalesce(NEW, OLD); END $$;
ALTER TABLE damoov.trip_points ADD COLUMN gone integer, ADD COLUMN own integer DEFAULT 7, ADD COLUMN twice double precision GENERATED ALWAYS AS (speed_kmh * 2) STORED;
ALTER TABLE damoov.trip_points DROP COLUMN gone;
CREATE INDEX own_index ON damoov.trip_points (speed_kmh);
CREATE TRIGGER spy BEFORE INSERT OR DELETE ON damoov.trip_points FOR EACH ROW EXECUTE FUNCTION pg_temp.spy();
CREATE TRIGGER spy_truncate BEFORE TRUNCATE ON damoov.trip_points_default FOR EACH STATEMENT EXECUTE FUNCTION pg_temp.spy();
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO regress_damoov_adder, PUBLIC;
INSERT INTO damoov.trip_points (trip_id, seq, speed_kmh, is_filler) VALUES (1, 0, 3, false);
SELECT damoov.split_default(), damoov.split_default();
SELECT damoov.make_partitions();
SELECT tableoid::regclass, own, twice FROM damoov.trip_points;
-- from 17 on there is one right more
SELECT relname, replace(relacl::text, 'Dxtm', 'Dxt') AS relacl FROM pg_class WHERE relnamespace = 'damoov'::regnamespace AND relname ~ '^trip_points_p[0-9]+$' ORDER BY 1;
SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'damoov.trip_points_p0'::regclass ORDER BY 1;
-- 42501: only those who may
SET ROLE regress_damoov_adder;
SELECT damoov.make_partitions();
RESET ROLE;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM regress_damoov_adder, PUBLIC;
DROP EXTENSION damoov;
CREATE EXTENSION damoov;

-- Retention: a partition in which all is old is dropped, of others the rows are deleted
SET damoov.keep_trips = '30d';
SET damoov.partition_size = 1000;
SELECT damoov.make_partitions();
INSERT INTO damoov.users (device_token) VALUES (pg_temp.person(1));
-- three thousand trips: of the first two thousand all are old, of the third one is not
INSERT INTO damoov.trips (trip_id, track_token, user_id, enriched_at, revision, point_count, filler_count)
OVERRIDING SYSTEM VALUE SELECT n, pg_temp.id(n), u.user_id, now() - CASE n WHEN 2500 THEN interval '1 day' ELSE interval '1 year' END, 1, 2, 0
FROM damoov.users AS u, generate_series(0, 2999) AS n;
SELECT setval('damoov.trips_trip_id_seq', 3000);
INSERT INTO damoov.trip_points (trip_id, seq, is_filler) SELECT t.trip_id, s, false FROM damoov.trips AS t, generate_series(0, 1) AS s;
INSERT INTO damoov.trip_events (trip_id, seq, kind, first_seq, last_seq) SELECT t.trip_id, 0, 'braking', 0, 1 FROM damoov.trips AS t;
-- ... and points of a trip that is not there
INSERT INTO damoov.raw_points (raw_track_id, seq) VALUES (1, 0);
SELECT setval('damoov.raw_tracks_raw_track_id_seq', 1500);
SET client_min_messages = notice;
CALL damoov_purge();
CALL damoov_purge(false);
SET client_min_messages = warning;
SELECT table_name, partition FROM damoov.partitions WHERE first_id < 4000 ORDER BY 1, first_id;
SELECT count(*) AS trips, (SELECT count(*) FROM damoov.trip_points) AS points, (SELECT count(*) FROM damoov.trip_events) AS events FROM damoov.trips;
-- a role that may delete rows, and no more
CREATE FUNCTION pg_temp.refill() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO damoov.trips (trip_id, track_token, user_id, enriched_at, revision, point_count, filler_count)
    SELECT n, pg_temp.id(n), u.user_id, now() - interval '1 year', 1, 2, 0 FROM damoov.users AS u, generate_series(3000, 3999) AS n;
    PERFORM setval('damoov.trips_trip_id_seq', 4000);
    INSERT INTO damoov.trip_points (trip_id, seq, is_filler) SELECT t.trip_id, 0, false FROM damoov.trips AS t WHERE t.trip_id >= 3000;
    RETURN (SELECT count(*) FROM damoov.trips);
END
$$;
SELECT pg_temp.refill();
GRANT USAGE ON SCHEMA damoov TO regress_damoov_adder;
GRANT SELECT, UPDATE, DELETE, INSERT ON ALL TABLES IN SCHEMA damoov TO regress_damoov_adder;
GRANT EXECUTE ON FUNCTION damoov.may_commit(), damoov.need_read_committed(), damoov.lock_people(boolean), damoov.try_lock_object(uuid),
    damoov.report_progress(text, text, bigint, bigint, bigint) TO regress_damoov_adder;
GRANT EXECUTE ON PROCEDURE damoov_purge(boolean) TO regress_damoov_adder;
SET ROLE regress_damoov_adder;
CALL damoov_purge(false);
RESET ROLE;
SELECT count(*) AS trips, (SELECT count(*) FROM damoov.trip_points) AS points, to_regclass('damoov.trip_points_p3000') AS partition FROM damoov.trips;
-- a policy hides trips from a role: what it does not see stays
SELECT pg_temp.refill();
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA damoov TO regress_damoov_adder;
ALTER TABLE damoov.trips ENABLE ROW LEVEL SECURITY;
CREATE POLICY odd ON damoov.trips TO regress_damoov_adder USING (trip_id % 2 = 1);
SET ROLE regress_damoov_adder;
CALL damoov_purge(false);
RESET ROLE;
ALTER TABLE damoov.trips DISABLE ROW LEVEL SECURITY;
SELECT count(*) AS trips, (SELECT count(*) FROM damoov.trip_points AS p WHERE p.trip_id >= 3000) AS points, to_regclass('damoov.trip_points_p3000') AS partition
FROM damoov.trips WHERE trip_id >= 3000;
-- nor does a person go whose heartbeats it does not see
INSERT INTO damoov.users (user_id, device_token) VALUES (-1, '4abf7a0f-d4ed-4a38-867c-0000000000f1');
INSERT INTO damoov.heartbeats (user_id, reported_at) VALUES (-1, now());
ALTER TABLE damoov.heartbeats ENABLE ROW LEVEL SECURITY;
SET damoov.keep_events = '1d';
SET damoov.keep_trips = -1;
SET ROLE regress_damoov_adder;
CALL damoov_purge(false);
RESET ROLE;
ALTER TABLE damoov.heartbeats DISABLE ROW LEVEL SECURITY;
SELECT user_id FROM damoov.users WHERE user_id = -1;
DELETE FROM damoov.heartbeats WHERE user_id = -1;
DELETE FROM damoov.users WHERE user_id = -1;
SET damoov.keep_trips = '30d';
RESET damoov.keep_events;
-- a partition whose rows went one by one follows
DELETE FROM damoov.trips WHERE trip_id >= 3000;
SELECT count(*) FROM damoov.trip_points WHERE trip_id >= 3000;
CALL damoov_purge(false);
SELECT to_regclass('damoov.trip_points_p3000') AS partition, to_regclass('damoov.trip_points_p2000') IS NOT NULL AS other;

DROP OWNED BY regress_damoov_adder;
DROP ROLE regress_damoov_adder;
-- DROP EXTENSION takes all partitions along, without CASCADE
DROP EXTENSION damoov;
SELECT count(*) FROM pg_class WHERE relname ~ '^(trip|raw)_(points|events)';
CREATE EXTENSION damoov;

-- What is looked at before a table is emptied, dropped or moved is what is there.
SELECT pg_temp.empty_tables();
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT damoov.drop_partition();
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT damoov.hold_partitions('trips', 0, 50000);
ROLLBACK;
INSERT INTO damoov.trip_points (trip_id, seq, is_filler) VALUES (-1, 0, false);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT damoov.split_default();
ROLLBACK;
DELETE FROM damoov.trip_points;

-- A default partition of another name, and one that is gone
ALTER TABLE damoov.trip_points_default RENAME TO rest_of_points;
INSERT INTO damoov.trip_points (trip_id, seq, is_filler) VALUES (-1, 0, false);
SELECT damoov.split_default();
SELECT topic, finding, remedy FROM damoov_check() WHERE topic = 'partitions';
ALTER TABLE damoov.rest_of_points RENAME TO trip_points_default;
ALTER TABLE damoov.trip_points DETACH PARTITION damoov.trip_points_default;
SELECT topic, finding, remedy FROM damoov_check() WHERE topic = 'partitions';
SELECT remedy FROM damoov_check() WHERE topic = 'partitions'
\gexec
SELECT topic, finding, remedy FROM damoov_check() WHERE topic = 'partitions';
DELETE FROM damoov.trip_points;

-- A trip that a trigger keeps, keeps its points; the others go.
SELECT setval('damoov.trips_trip_id_seq', 1);
SELECT damoov.make_partitions() > 0 AS made;
INSERT INTO damoov.users (device_token) VALUES ('5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5');
INSERT INTO damoov.trips (trip_id, track_token, user_id, enriched_at, revision, point_count, filler_count)
SELECT n, md5('kept' || n)::uuid, user_id, '2020-01-01', 1, 1, 0 FROM damoov.users, generate_series(1, 3) AS n;
INSERT INTO damoov.trip_points (trip_id, seq, is_filler) SELECT n, 0, false FROM generate_series(1, 3) AS n;
SELECT setval('damoov.trips_trip_id_seq', 200000);
CREATE FUNCTION pg_temp.hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN CASE WHEN old.trip_id <> 2 THEN old END; END $$;
CREATE TRIGGER hold BEFORE DELETE ON damoov.trips FOR EACH ROW EXECUTE FUNCTION pg_temp.hold();
SET damoov.keep_trips = '30d';
CALL damoov_purge(false);
SELECT t.trip_id, p.seq, p.tableoid::regclass FROM damoov.trips AS t LEFT JOIN damoov.trip_points AS p USING (trip_id);
DROP TRIGGER hold ON damoov.trips;
RESET damoov.keep_trips;

-- Trips are emptied with their points, also by one command
TRUNCATE damoov.trips RESTART IDENTITY;
SELECT count(*) FROM damoov.trip_points;
INSERT INTO damoov.trip_points (trip_id, seq, is_filler) VALUES (1, 0, false);
TRUNCATE damoov.trips, damoov.trip_points;
SELECT count(*) FROM damoov.trip_points;
INSERT INTO damoov.raw_points (raw_track_id, seq) VALUES (1, 0);
TRUNCATE damoov.raw_tracks;
SELECT count(*) FROM damoov.raw_points;
