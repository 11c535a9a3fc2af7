-- Points as rows of damoov.trip_points, and as the dataset that they came in: the same answers, whichever way a trip is
-- stored, and from one to the other and back.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/prelude.psql

\set person '''5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5'''

CREATE FUNCTION pg_temp.note(event text, object uuid, sent text DEFAULT '2024-05-14T10:00:00Z', details jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('Event', event, 'UserId', '5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5', 'Timestamp', sent,
        'Object', jsonb_build_object('Id', object), 'Details', details)
$$;

-- A trip, and what is odd about some.  ~ is the person's token, ^ the same as it may be escaped
CREATE FUNCTION pg_temp.trip(points text, besides text DEFAULT '') RETURNS text LANGUAGE sql AS $$
    SELECT format('{"Result": {"Code": 200, "Track": {"StartDate": "2024-05-14T17:42:10+02:00", "EndDate": "2024-05-14T17:57:58+02:00", "Distance": 8.412%s%s}}}',
        ', "Points": ' || points, besides)
$$;
CREATE TEMP TABLE story AS
SELECT s.name, ('c4a8f0d2-6b13-4e57-9d28-' || lpad(row_number() OVER (ORDER BY s.name COLLATE "C")::text, 12, '0'))::uuid AS track,
    replace(replace(s.document, '~', '5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5'), '^', '\u0035b0c7D1E2f344a568B79c0d1e2f3a4\u00625') AS document
FROM (VALUES
    ('a long drive', pg_temp.trip((
        SELECT jsonb_agg(jsonb_build_object('Id', 6700000000 + n, 'Number', n - (n % 3 = 2)::int, 'PointDate', '2024-05-14T17:42:10+02:00'::timestamptz + n * interval '1.37 s',
            'Latitude', 51.96 + sin(n) / 700, 'Longitude', 7.6 + n / 9999.0, 'TotalMeters', n * 7.415999889373779, 'Speed', 50 + 40 * sin(n / 20.0),
            'MidSpeed', CASE n % 3 WHEN 2 THEN 0 ELSE n / 7.0 END, 'SpeedLimit', CASE n % 11 WHEN 0 THEN 999 ELSE 50 END,
            'SpeedType', (ARRAY['norm', 'mid', 'high'])[1 + n % 3], 'AlertType', (ARRAY['', 'acc', 'deacc'])[1 + n / 7 % 3], 'AlertValue', n % 5 - 2.5,
            'Cornering', n % 50 < 4, 'PhoneUsage', n % 90 < 9, 'Lateral', 3.4e-12 * n, 'Course', CASE n % 3 WHEN 2 THEN 0 ELSE n % 360 END,
            'Yaw', n / 3.0, 'Height', CASE n % 3 WHEN 2 THEN 0 ELSE 62340 - n END) ORDER BY n)::text
        FROM generate_series(0, 899) AS n))),
    ('no points', pg_temp.trip(NULL)),
    ('an empty list', pg_temp.trip('[]')),
    ('a list that is none', pg_temp.trip('{"Number": 1}')),
    ('two lists', pg_temp.trip('[{"Number": 1}, {"Number": 2}]', ', "Points": [{"Number": 3}]')),
    ('elements that are none', pg_temp.trip('[1, {"Number": 1}, [{"Number": 2}], null, {"Number": 3, "Number": 4}, {}]')),
    ('values that are none', pg_temp.trip('[{"Number": 1.5, "Latitude": "51", "Longitude": 7, "Speed": true, "PointDate": "yesterday", "Cornering": 1, "PhoneUsage": 1},
        {"Latitude": 0, "Longitude": 0}, {"Latitude": 91, "Longitude": -0.0}, {"Lateral": -0.0, "Yaw": 1e-300, "Id": 1e3, "Height": 1e300, "Course": 360.0}]')),
    ('times', pg_temp.trip('[{"PointDate": "2024-05-14T24:00:00Z"}, {"PointDate": "2024-05-14 17:42:10"}, {"PointDate": "2024-05-14T17:42:60.1234567+0530"}, {"PointDate": ""}]')),
    ('members without a column', pg_temp.trip('[{"Number": 1, "Tilt": 0.2500, "Odd": {"b": [1.0, 1e2, "\ud83d\ude97 \u0007"], "a": null}}, {"": "", "a\"b": "\\"}, {"Tilt": 1, "Tilt": 2}]', ', "Engine": {"Rpm": [1, 2]}')),
    ('many alerts', pg_temp.trip((SELECT '[' || string_agg(format('{"AlertType": "kind %s", "AlertValue": %1$s}', n), ', ') || ']' FROM generate_series(1, 99) AS n))),
    ('the person by name', pg_temp.trip('[{"Number": 1, "DeviceToken": "~"}, {"Odd": {"UserId": "~", "b": 1}}]', ', "deviceTOKEN": "somebody else", "Engine": {"userid": 7}')),
    ('the person in texts', pg_temp.trip('[{"SpeedType": "norm", "Odd": "is ~ here"}, {"SpeedType": "of ^", "AlertType": "^"}, {"~": 1, "^": 2}]', ', "DrivingTips": "^", "CityStart": "~"')),
    ('the person in what is of no use', pg_temp.trip('[{"Number": "~"}, "~", ["^"], {"Latitude": "^"}]'))
) AS s (name, document);
SELECT count(*) FROM damoov_ingest((SELECT jsonb_agg(pg_temp.note('TrackEnrichmentFinished', track)) FROM story));

-- All that can be asked of a trip, but for when it was stored
CREATE FUNCTION pg_temp.answers() RETURNS TABLE (name text, trip jsonb, points text, events text) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY
    SELECT s.name, to_jsonb(t) - 'stored_at',
        (SELECT string_agg(p::text, E'\n' ORDER BY p.seq) FROM damoov.all_points AS p WHERE p.trip_id = t.trip_id),
        (SELECT string_agg(e::text, E'\n' ORDER BY e.seq) FROM damoov.trip_events AS e WHERE e.trip_id = t.trip_id)
    FROM story AS s
    JOIN damoov.trips AS t ON t.track_token = s.track;
END
$$;
CREATE FUNCTION pg_temp.store() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    -- as the first time
    DELETE FROM damoov.trips;
    ALTER TABLE damoov.trips ALTER trip_id RESTART;
    RETURN (SELECT count(damoov.store_dataset('processed', s.track, s.document)) FROM story AS s);
END
$$;
CREATE FUNCTION pg_temp.places(OUT rows bigint, OUT documents bigint, OUT originals bigint) LANGUAGE plpgsql AS $$
BEGIN
    SELECT (SELECT count(DISTINCT trip_id) FROM damoov.trip_points), (SELECT count(*) FROM damoov.trip_documents), (SELECT count(*) FROM damoov.documents)
    INTO rows, documents, originals;
END
$$;

-- By rows, and by documents
SHOW damoov.store_points;
SET damoov.store_points = 'lines';
SELECT pg_temp.store();
SELECT * FROM pg_temp.places();
CREATE TEMP TABLE as_rows AS SELECT * FROM pg_temp.answers();
SELECT name, (trip ->> 'point_count')::int AS point_count, regexp_count(points, '\n') + 1 AS points, regexp_count(events, '\n') + 1 AS events FROM as_rows ORDER BY name COLLATE "C";
CREATE TEMP TABLE drift_of_rows AS SELECT table_name, path, count, sample FROM damoov.drift WHERE table_name <> 'events';
SELECT * FROM drift_of_rows ORDER BY table_name, path COLLATE "C";
CREATE FUNCTION pg_temp.differs() RETURNS TABLE (name text) LANGUAGE sql AS $$
    SELECT name FROM (TABLE as_rows UNION SELECT * FROM pg_temp.answers()) AS a GROUP BY name HAVING count(*) > 1
    UNION ALL SELECT name FROM story WHERE track NOT IN (SELECT track_token FROM damoov.trips)
$$;
SET damoov.store_points = 'document';
SELECT pg_temp.store();
SELECT * FROM pg_temp.places();
SELECT * FROM pg_temp.differs();
SELECT count(*) AS points, count(DISTINCT trip_id) AS trips FROM damoov.all_points;
SELECT t.trip_id FROM damoov.trips AS t WHERE t.point_count <> (SELECT count(*) FROM damoov_points(t.trip_id));
SELECT count(*) FROM damoov_points(NULL);
SELECT * FROM drift_of_rows EXCEPT SELECT table_name, path, count, sample FROM damoov.drift WHERE table_name <> 'events';
-- the person stands in none, and what has no secret is kept as it came
SELECT s.name, damoov.document_text(d.document) = s.document AS as_it_came,
    :person IN (SELECT damoov.spelled_uuids(convert_to(damoov.document_text(d.document), 'UTF8'))) AS names_person
FROM damoov.trip_documents AS d JOIN damoov.trips AS t USING (trip_id) JOIN story AS s ON s.track = t.track_token ORDER BY s.name COLLATE "C";
SELECT jsonb_pretty(damoov.document_text(d.document)::jsonb #> '{Result,Track}') FROM damoov.trip_documents AS d JOIN damoov.trips AS t USING (trip_id) JOIN story AS s ON s.track = t.track_token
WHERE s.name LIKE 'the person %' ORDER BY s.name COLLATE "C";

-- A condition on trip_id finds the one trip, also behind a join: each table is looked up by its key
CREATE FUNCTION pg_temp.reads(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
        -- whichever partitions there are
        RETURN NEXT regexp_replace(substring(line, '(?:Seq|Index|Index Only|Function) Scan.* on \w+|Cond: .*trip_id'),
            'trip_points_(default|p\d+)', 'trip_points', 'g');
    END LOOP;
END
$$;
BEGIN;
SET LOCAL enable_seqscan = off;
SET LOCAL enable_bitmapscan = off;
SET LOCAL enable_hashjoin = off;
SET LOCAL enable_mergejoin = off;
SELECT DISTINCT r COLLATE "C" AS r FROM pg_temp.reads('SELECT seq, latitude FROM damoov.all_points WHERE trip_id = 7') AS r WHERE r IS NOT NULL ORDER BY 1;
SELECT DISTINCT r COLLATE "C" AS r FROM pg_temp.reads('SELECT seq, latitude FROM damoov.users AS u JOIN damoov.trips AS t USING (user_id) JOIN damoov.all_points AS p USING (trip_id) WHERE u.user_id = 7') AS r WHERE r IS NOT NULL ORDER BY 1;
ROLLBACK;

-- What is stored once more keeps its form, and the same document its time
UPDATE damoov.trip_documents SET fetched_at = '2024-05-15 00:00Z';
SET damoov.store_points = 'rows';
SELECT count(damoov.store_dataset('processed', track, CASE WHEN name = 'an empty list' THEN document || ' ' ELSE document END)) FROM story;
SELECT * FROM pg_temp.places();
SELECT * FROM pg_temp.differs();
SELECT s.name FROM damoov.trip_documents AS d JOIN damoov.trips AS t USING (trip_id) JOIN story AS s ON s.track = t.track_token WHERE d.fetched_at > '2024-05-16';

-- From documents to rows and back: the same, bit for bit
SELECT sum(damoov_unpack(trip_id)) AS made FROM damoov.trips;
SELECT * FROM pg_temp.places();
SELECT * FROM pg_temp.differs();
SELECT count(*) AS with_their_time FROM damoov.documents WHERE fetched_at < '2024-05-16';
SELECT damoov_unpack(trip_id) AS once_more FROM damoov.trips ORDER BY trip_id LIMIT 1;
SELECT damoov_unpack(-1) AS unknown, damoov_unpack(NULL) AS none;
CALL damoov_pack('2024-05-14T10:00:00Z');
CALL damoov_pack(NULL);
CALL damoov_pack('2024-05-14T10:00:00.000001Z');
SELECT * FROM pg_temp.places();
SELECT * FROM pg_temp.differs();
SELECT count(*) AS with_their_time FROM damoov.trip_documents WHERE fetched_at < '2024-05-16';
CALL damoov_pack('infinity');
SELECT * FROM pg_temp.differs();
-- with damoov.keep_documents = 0 nothing is put back, and points are not lost
SET damoov.keep_documents = 0;
SELECT damoov_unpack(trip_id) AS made FROM damoov.trips WHERE point_count = 900;
SELECT * FROM pg_temp.places();
SELECT * FROM pg_temp.differs();
SET damoov.store_points = 'document';
SELECT pg_temp.store();
SELECT * FROM pg_temp.places();
SELECT * FROM pg_temp.differs();
RESET damoov.keep_documents;

-- What the original does not give stays as it is: rows that somebody has changed, or added a column to; without an
-- original; with one that is none
SELECT sum(damoov_unpack(trip_id)) AS made FROM damoov.trips;
UPDATE damoov.trip_points AS p SET number = 7 FROM damoov.trips AS t WHERE t.trip_id = p.trip_id AND p.seq = 899;
UPDATE damoov.trip_points AS p SET extra = extra || '{"Tilt": 0.25}' WHERE p.extra @> '{"Tilt": 0.25}';
UPDATE damoov.documents AS d SET document = '{"Result": 1}' FROM damoov.trips AS t JOIN story AS s ON s.track = t.track_token WHERE d.object_id = t.track_token AND s.name = 'times';
DELETE FROM damoov.documents AS d USING story AS s WHERE d.object_id = s.track AND s.name = 'many alerts';
ALTER TABLE damoov.trip_points ADD mine text;
CALL damoov_pack('infinity');
SELECT * FROM pg_temp.places();
SELECT count(damoov_unpack(trip_id)) AS made FROM damoov.trips;
ALTER TABLE damoov.trip_points DROP mine;
CALL damoov_pack('infinity');
SELECT s.name AS left_as_rows FROM damoov.trips AS t JOIN story AS s ON s.track = t.track_token WHERE NOT EXISTS (SELECT FROM damoov.trip_documents AS d WHERE d.trip_id = t.trip_id) ORDER BY s.name COLLATE "C";
SELECT * FROM pg_temp.differs();

-- Reparse reads them, and changes nothing that is right
SET damoov.store_points = 'rows';
SELECT pg_temp.store();
CALL damoov_pack('infinity');
SELECT kind, count(*) FROM damoov_reparse('-infinity', false) GROUP BY kind;
UPDATE damoov.trips SET distance_km = 1 WHERE point_count = 900;
DELETE FROM damoov.trip_events;
SELECT kind, s.name, changed FROM damoov_reparse('-infinity', false) JOIN story AS s ON s.track = object_id ORDER BY s.name COLLATE "C";
SELECT * FROM pg_temp.differs();
SELECT * FROM pg_temp.places();

-- A reader sees the points of the trips that he may see, and needs rights on what the view reads
CREATE ROLE regress_damoov_points;
GRANT USAGE ON SCHEMA damoov TO regress_damoov_points;
GRANT SELECT ON damoov.all_points, damoov.trips, damoov.trip_points TO regress_damoov_points;
GRANT EXECUTE ON FUNCTION damoov_points(bigint), damoov.document_points(bigint, bytea) TO regress_damoov_points;
SET ROLE regress_damoov_points;
SELECT count(*) FROM damoov.all_points;
RESET ROLE;
GRANT SELECT ON damoov.trip_documents TO regress_damoov_points;
ALTER TABLE damoov.trips ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON damoov.trips USING (point_count > 50);
SET ROLE regress_damoov_points;
SELECT trip_id > 0 AS known, count(*) FROM damoov.all_points GROUP BY trip_id ORDER BY count;
RESET ROLE;
DROP POLICY mine ON damoov.trips;
ALTER TABLE damoov.trips DISABLE ROW LEVEL SECURITY;
DROP OWNED BY regress_damoov_points;
DROP ROLE regress_damoov_points;

-- Triggers that swallow rows: nothing of the trip changes (27000)
CREATE FUNCTION pg_temp.swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER swallow BEFORE INSERT OR DELETE ON damoov.trip_points FOR EACH ROW EXECUTE FUNCTION pg_temp.swallow();
\set VERBOSITY sqlstate
SELECT damoov_unpack(trip_id) FROM damoov.trips WHERE point_count = 900;
DROP TRIGGER swallow ON damoov.trip_points;
SELECT damoov_unpack(trip_id) AS made FROM damoov.trips WHERE point_count = 900;
CREATE TRIGGER swallow BEFORE INSERT OR DELETE ON damoov.trip_points FOR EACH ROW EXECUTE FUNCTION pg_temp.swallow();
CALL damoov_pack('infinity');
DROP TRIGGER swallow ON damoov.trip_points;
CALL damoov_pack('infinity');
\set VERBOSITY terse

-- A document lives as long as its trip, whatever originals do
UPDATE damoov.trip_documents SET fetched_at = '2020-01-01';
SET client_min_messages = notice;
CALL damoov_purge(false);
SET client_min_messages = warning;
SELECT * FROM pg_temp.places();
SELECT outcome FROM damoov_ingest((SELECT pg_temp.note('IncomingTrackRemoved', track, '2024-05-14T11:00:00Z', '{"Reason": "short"}') FROM story WHERE name = 'times'));
SELECT * FROM pg_temp.places();
SELECT outcome FROM damoov_ingest((SELECT pg_temp.note('TrackEnrichmentFinished', b.track, '2024-05-14T11:00:00Z', jsonb_build_object('TracksRemoved', jsonb_build_array(jsonb_build_object('Id', a.track))))
    FROM story AS a, story AS b WHERE a.name = 'two lists' AND b.name = 'an empty list'));
SELECT * FROM pg_temp.places();
SELECT name FROM pg_temp.differs();
SELECT * FROM damoov.person_tables WHERE table_name = 'trip_documents';
SELECT table_name, row_count FROM damoov_forget(:person) WHERE table_name ~ '^trip';
SELECT * FROM pg_temp.places();

-- Where it may not be called, and what is damaged
\set VERBOSITY sqlstate
BEGIN;
CALL damoov_pack('infinity');
ROLLBACK;
SELECT damoov.document_text('\x00');
SELECT * FROM damoov.document_points(1, '\x1f8b');
SELECT count(*) FROM damoov.document_points(1, NULL);

SELECT pg_temp.empty_tables();
