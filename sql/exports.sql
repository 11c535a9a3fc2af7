-- Trips as GeoJSON, GPX, EWKB and encoded polylines
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/prelude.psql

CREATE FUNCTION pg_temp.point(at text, latitude double precision, longitude double precision, speed double precision DEFAULT 36, besides jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('PointDate', '2024-05-14T12:' || at || '+02:00', 'Latitude', latitude, 'Longitude', longitude, 'Speed', speed, 'MidSpeed', 10, 'Height', 62000) || besides
$$;
-- as the platform writes it: with the time and the number of the point before
CREATE FUNCTION pg_temp.filler(at text, latitude double precision, longitude double precision) RETURNS jsonb LANGUAGE sql AS $$
    SELECT pg_temp.point(at, latitude, longitude, 30, '{"MidSpeed": 0, "Course": 0, "Height": 0}')
$$;
CREATE TEMP TABLE story AS
SELECT s.n, s.name, ('c4a8f0d2-6b13-4e57-9d28-' || lpad(s.n::text, 12, '0'))::uuid AS track, jsonb_build_object('Result', jsonb_build_object('Code', 200, 'Track',
    jsonb_build_object('StartDate', pg_temp.minute(10 * s.n), 'EndDate', pg_temp.minute(10 * s.n + 5), 'Distance', 8.412, 'Rating100', 80, 'TrackOriginCode', 'Bus', 'Points', s.points))) AS document
FROM (VALUES
    (1, 'a drive', jsonb_build_array(pg_temp.point('00:00', 51.5, 7), pg_temp.filler('00:00', 51.5, 7.001), pg_temp.point('00:04', 51.5, 7.004, 50.5, '{"AlertType": "deacc", "AlertValue": -3.5, "Speed": 72, "SpeedLimit": 50, "SpeedType": "high"}'),
        pg_temp.point('00:06.5', 51.123456789012, 7.1))),
    (2, 'one point', jsonb_build_array(pg_temp.point('00:00', -51.5, -7.25))),
    (3, 'no point', '[]'::jsonb),
    (4, 'no place', jsonb_build_array(pg_temp.point('00:00', 91, 7), '{"PointDate": "2024-05-14T12:00:01+02:00", "AlertType": "acc", "AlertValue": 4, "MidSpeed": 10}'::jsonb, pg_temp.point('00:02', 51, 181))),
    (5, 'places that are missing', jsonb_build_array(pg_temp.point('00:00', NULL, 7), pg_temp.point('00:01', 51, 7), pg_temp.point('00:02', 51.1, NULL), pg_temp.point('00:03', 51.2, 7.2))),
    -- Fiji: to the east, along it, back, and again to the east
    (6, 'the antimeridian', jsonb_build_array(pg_temp.point('00:00', -17, 179.5), pg_temp.point('00:10', -18, -179.5), pg_temp.point('00:20', -18, -179.25), pg_temp.point('00:30', -18, 179.75),
        pg_temp.point('00:40', -16, -179.75), pg_temp.point('00:50', -16, -179))),
    (7, 'on the antimeridian', jsonb_build_array(pg_temp.point('00:00', -17, 180), pg_temp.point('00:10', -17.5, -180), pg_temp.point('00:20', -18, -179))),
    -- the clock goes back, stands still, and goes on; there is no time at the ends
    (8, 'a clock', jsonb_build_array('{"Latitude": 51, "Longitude": 6.9}'::jsonb, pg_temp.point('00:10', 51, 7), pg_temp.point('00:05', 51, 7.001), pg_temp.point('00:05', 51, 7.001), pg_temp.point('00:20', 51, 7.002),
        '{"Latitude": 51, "Longitude": 7.1}'::jsonb, '{"Latitude": 51, "Longitude": 7.2, "PointDate": ""}'::jsonb)),
    (9, 'no time', '[{"Latitude": 51, "Longitude": 7}, {"Latitude": 51, "Longitude": 7.1}]'),
    (10, 'Google''s example', jsonb_build_array(pg_temp.point('00:00', 38.5, -120.2), pg_temp.point('01:00', 40.7, -120.95), pg_temp.point('02:00', 43.252, -126.453))),
    (11, 'the poles and the ends', jsonb_build_array(pg_temp.point('00:00', 90, -180), pg_temp.point('01:00', -90, 180), pg_temp.point('02:00', 0, 0), pg_temp.point('03:00', 0.000004999, -0.000005)))
) AS s (n, name, points);
SELECT count(*) FROM damoov_ingest((SELECT jsonb_agg(jsonb_build_object('Event', 'TrackEnrichmentFinished', 'UserId', '5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5',
    'Timestamp', '2024-05-14T13:00:00Z', 'Object', jsonb_build_object('Id', track))) FROM story));

CREATE FUNCTION pg_temp.store() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM damoov.trips;
    ALTER TABLE damoov.trips ALTER trip_id RESTART;
    RETURN (SELECT count(damoov.store_dataset('processed', s.track, s.document::text)) FROM (SELECT * FROM story ORDER BY n) AS s);
END
$$;
SET damoov.store_points = 'rows';
SELECT pg_temp.store();
SELECT trip_id, s.name, t.point_count FROM damoov.trips AS t JOIN story AS s ON s.track = t.track_token WHERE t.trip_id = s.n ORDER BY trip_id;

-- Lines: longitude first; a time and a speed for each vertex; cut at the antimeridian
SELECT jsonb_pretty(damoov_trip_geojson(1) #- '{properties,user_id}');
SELECT trip_id, damoov_trip_geojson(trip_id) -> 'geometry' AS geometry FROM damoov.trips ORDER BY trip_id;
SELECT trip_id, damoov_trip_geojson(trip_id) #> '{properties,coordinateProperties}' AS vertices FROM damoov.trips WHERE trip_id IN (2, 3, 4, 6, 7, 8, 9) ORDER BY trip_id;

-- A time of its own for each vertex: between two known ones, by the way; before and behind them, by milliseconds
SELECT n, round(metres) AS metres, passed_at FROM damoov.trip_vertices(8);
SELECT trip_id FROM (SELECT t.trip_id, v.passed_at - lag(v.passed_at) OVER (PARTITION BY t.trip_id ORDER BY v.n) AS step FROM damoov.trips AS t, damoov.trip_vertices(t.trip_id) AS v) AS s WHERE step < interval '1 millisecond';
SELECT round(damoov.metres_between(0, 0, 0, 180)) AS half_round, round(damoov.metres_between(90, 0, 89, 55)) AS degree, damoov.metres_between(0, 0, NULL, 0) AS of_nowhere,
    round(damoov.metres_between(0, 179.5, 0, -179.5)) AS across, damoov.metres_between(51, 7, 51, 7) AS none;

-- Points and events; those without a place are no points, and events without geometry
SELECT jsonb_pretty(damoov_trip_geojson(1, 'events'));
SELECT f -> 'id' AS seq, f -> 'geometry' AS geometry, f -> 'properties' AS properties FROM jsonb_array_elements(damoov_trip_geojson(1, 'points') -> 'features') AS f;
SELECT trip_id, jsonb_array_length(damoov_trip_geojson(trip_id, 'points') -> 'features') AS points, jsonb_array_length(damoov_trip_geojson(trip_id, 'events') -> 'features') AS events FROM damoov.trips ORDER BY trip_id;
SELECT damoov_trip_geojson(3, 'points'), damoov_trip_geojson(4, 'events') #> '{features,0,geometry}' AS geometry;

SELECT damoov_trip_gpx(trip_id) FROM damoov.trips WHERE trip_id IN (1, 3, 7, 9) ORDER BY trip_id;
SELECT trip_id, damoov_trip_wkb(trip_id) FROM damoov.trips WHERE trip_id IN (2, 3, 9) ORDER BY trip_id;
-- the first is the example of Google's description
SELECT damoov_polyline(10) AS five, damoov_polyline(10, 6) AS six, damoov_polyline(10, 0) AS none, damoov_polyline(11, 9) AS nine, damoov_polyline(11) AS ends;
SELECT trip_id, damoov_polyline(trip_id) FROM damoov.trips ORDER BY trip_id;

-- Infinities and NaN, which rows can have
BEGIN;
UPDATE damoov.trip_points SET latitude = 'NaN', longitude = 'Infinity' WHERE trip_id = 1 AND seq = 1;
UPDATE damoov.trip_points SET recorded_at = 'infinity', speed_kmh = '-Infinity' WHERE trip_id = 1 AND seq = 2;
SELECT damoov_trip_geojson(1) -> 'geometry' AS geometry, damoov_trip_geojson(1) #> '{properties,coordinateProperties}' AS vertices;
ROLLBACK;

-- An unknown trip, and what there is not
SELECT damoov_trip_geojson(0), damoov_trip_geojson(0, 'events'), damoov_trip_gpx(0), damoov_trip_wkb(0), damoov_polyline(0), damoov_trip_geojson(NULL), damoov_trip_geojson(1, NULL);
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT damoov_trip_geojson(1, 'Line');
SELECT damoov_polyline(1, 10);
SELECT damoov_trips_geojson(NULL, NULL, '{1, 2, 3}');
\set VERBOSITY sqlstate
SELECT damoov_trip_geojson(0, '');
SELECT damoov_polyline(1, -1);
SELECT damoov_trips_geojson(NULL, NULL, '{}');
SELECT damoov_trips_geojson(NULL, NULL, '{1,2,3,91}');
SELECT damoov_trips_geojson(NULL, NULL, '{1,4,3,2}');
SELECT damoov_trips_geojson(NULL, NULL, '{1,2,3,NULL}');
SELECT damoov_trips_geojson(NULL, NULL, '{1,2,3,NaN}');
SELECT damoov_trips_geojson(NULL, NULL, '{-181,2,3,4}');
SELECT damoov_trips_geojson(NULL, NULL, '{{1,2,3,4}}');
SELECT damoov_trips_geojson(NULL, NULL, '[0:3]={1,2,3,4}');
\set VERBOSITY terse

-- Many: by time, box and person; the latest first
CREATE FUNCTION pg_temp.found(since timestamptz, until timestamptz, bbox double precision[] DEFAULT NULL, person bigint DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
    SELECT concat(j ->> 'numberMatched', ' ', j ->> 'numberReturned', ' ', j ->> 'numberLeftOut', ' ', jsonb_path_query_array(j, '$.features[*].id')) FROM damoov_trips_geojson(since, until, bbox, person) AS j
$$;
SELECT jsonb_pretty(damoov_trips_geojson(pg_temp.minute(10), pg_temp.minute(20)) #- '{features,0,properties,user_id}');
SELECT pg_temp.found(NULL, NULL) AS every, pg_temp.found(pg_temp.minute(30), NULL) AS since, pg_temp.found(NULL, pg_temp.minute(30)) AS until, pg_temp.found(pg_temp.minute(30), pg_temp.minute(30)) AS never;
SELECT pg_temp.found(NULL, NULL, '{7.1, 51, 8, 52}') AS ruhr, pg_temp.found(NULL, NULL, '{179.6, -18, -179.6, -15}') AS fiji, pg_temp.found(pg_temp.minute(65), NULL, '{179.6, -18, -179.6, -15}') AS late,
    pg_temp.found(NULL, NULL, '{-180, -90, 180, 90}') AS world, pg_temp.found(NULL, NULL, '{20, 20, 20, 20}') AS nothing;
SELECT pg_temp.found(NULL, NULL, NULL, user_id) AS of_one, pg_temp.found(NULL, pg_temp.minute(15), '{-180, -90, 180, 90}', user_id) AS all_of_it, pg_temp.found(NULL, NULL, NULL, user_id + 1) AS of_another FROM damoov.trips WHERE trip_id = 1;

-- No more than 1,000 trips, and of each no more than 100 vertices, the ends among them
INSERT INTO damoov.trips (trip_id, track_token, user_id, revision, point_count, filler_count)
SELECT 1000 + n, md5(n::text)::uuid, t.user_id, 1, 0, 0 FROM damoov.trips AS t, generate_series(1, 1500) AS n WHERE t.trip_id = 1;
SELECT left(pg_temp.found(NULL, NULL), 52) AS found, jsonb_array_length(damoov_trips_geojson(NULL, NULL) -> 'features') AS features;
INSERT INTO damoov.trip_points (trip_id, seq, latitude, longitude, is_filler)
SELECT 2500, n, 51 + CASE WHEN n > 2000 THEN 0.1 ELSE n / 20000.0 END, 7 + CASE WHEN n > 2000 THEN (n - 2000) / 10000.0 ELSE 0 END, false FROM generate_series(0, 5000) AS n
UNION ALL SELECT 2499, n, 51, 7, false FROM generate_series(1, 200) AS n
UNION ALL SELECT 2498, n, 51 + sin(n) / 10, 7 + n / 1000.0, false FROM generate_series(1, 100) AS n;
SELECT f -> 'id' AS trip_id, jsonb_array_length(c) AS vertices, c -> 0 AS first, c -> -1 AS last, c @> '[[7, 51.1]]' AS has_corner
FROM jsonb_path_query(damoov_trips_geojson(NULL, NULL), '$.features[*] ? (@.id > 2497)') AS f, jsonb_path_query(f, '$.geometry.coordinates') AS c ORDER BY 1;
DELETE FROM damoov.trips WHERE trip_id > 1000;

-- The same, whichever way points are stored, and in another time zone
CREATE FUNCTION pg_temp.exports() RETURNS TABLE (trip_id bigint, line jsonb, points jsonb, events jsonb, gpx text, wkb bytea, polyline text, many jsonb) LANGUAGE sql AS $$
    SELECT trip_id, damoov_trip_geojson(trip_id), damoov_trip_geojson(trip_id, 'points'), damoov_trip_geojson(trip_id, 'events'), damoov_trip_gpx(trip_id), damoov_trip_wkb(trip_id),
        damoov_polyline(trip_id), damoov_trips_geojson(NULL, NULL)
    FROM damoov.trips
$$;
CREATE TEMP TABLE as_rows AS SELECT * FROM pg_temp.exports();
SET damoov.store_points = 'document';
SELECT pg_temp.store();
SET timezone = 'Asia/Kolkata';
SET extra_float_digits = -5;
SET datestyle = 'German';
SET intervalstyle = 'sql_standard';
SELECT (SELECT count(*) FROM damoov.trip_points) AS rows, (SELECT count(*) FROM damoov.trip_documents) AS documents, (SELECT count(*) FROM (TABLE as_rows INTERSECT SELECT * FROM pg_temp.exports()) AS s) AS same;
RESET extra_float_digits;
RESET intervalstyle;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';

-- In a view, by a reader
CREATE ROLE regress_damoov_map;
SELECT damoov_grant('regress_damoov_map', 'reader') > 0 AS granted;
CREATE VIEW public.regress_map WITH (security_invoker) AS SELECT trip_id, damoov_trip_geojson(trip_id) AS line, damoov_trip_gpx(trip_id) AS gpx, damoov_trip_wkb(trip_id) AS wkb, damoov_polyline(trip_id) AS polyline FROM damoov.trips;
GRANT SELECT ON public.regress_map TO regress_damoov_map;
SET ROLE regress_damoov_map;
SELECT count(line), count(gpx), count(wkb), count(polyline) FROM public.regress_map;
SELECT damoov_trips_geojson(NULL, NULL) -> 'numberMatched' AS matched;
RESET ROLE;
DROP VIEW public.regress_map;
DROP OWNED BY regress_damoov_map;
DROP ROLE regress_damoov_map;

SELECT pg_temp.empty_tables();
