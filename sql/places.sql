-- Places, and the trips that begin, end or pass there
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/prelude.psql

INSERT INTO damoov.users (user_id, device_token) VALUES (1, '5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5');
-- Trips as lists of longitude and latitude
CREATE TEMP TABLE way (trip_id bigint, name text, places point[]);
INSERT INTO way VALUES
    (1, 'from west to east', '{"(7.0,51.0)","(7.1,51.0)","(7.2,51.0)"}'),
    (2, 'a step over it', '{"(7.08,51.0)","(7.12,51.0)"}'),
    (3, 'past it', '{"(7.0,51.02)","(7.2,51.02)"}'),
    (4, 'around it', '{"(7.0,50.9)","(7.0,51.1)","(7.2,51.1)","(7.2,50.9)"}'),
    (5, 'to it', '{"(7.3,51.0)","(7.2,51.0)","(7.1001,51.0001)"}'),
    (6, 'there and back', '{"(7.1,51.0)","(7.3,51.0)","(7.1,51.0)"}'),
    (7, 'a single point', '{"(7.1,51.0)"}'),
    (8, 'nowhere', NULL),
    (9, 'across the antimeridian', '{"(179.99,-17.0)","(-179.99,-17.0)"}'),
    (10, 'the other way', '{"(-179.9,-17.0)","(-179.999,-17.0)"}'),
    (11, 'at the pole', '{"(0,89.999)","(90,89.9999)"}'),
    (12, 'standing still', '{"(7.12,51.0)","(7.12,51.0)"}');
INSERT INTO damoov.trips (trip_id, track_token, user_id, revision, started_at, point_count, filler_count, min_longitude, min_latitude, max_longitude, max_latitude)
SELECT w.trip_id, md5(w.trip_id::text)::uuid, 1, 1, pg_temp.minute(w.trip_id::integer), count(p), 0, min(p[0]), min(p[1]), max(p[0]), max(p[1])
FROM way AS w LEFT JOIN LATERAL unnest(w.places) AS p ON true GROUP BY w.trip_id;
INSERT INTO damoov.trip_points (trip_id, seq, longitude, latitude, is_filler)
SELECT w.trip_id, 2 * p.n, p.place[0], p.place[1], false FROM way AS w, unnest(w.places) WITH ORDINALITY AS p (place, n)
-- and points without a place between
UNION ALL SELECT w.trip_id, 2 * n - 1, NULL, 51, false FROM way AS w, generate_series(1, cardinality(w.places) + 1) AS n;

CREATE FUNCTION pg_temp.touched() RETURNS TABLE (place text, passes text, starts text, ends text) LANGUAGE sql AS $$
    SELECT p.name, string_agg(t.trip_id::text, ' ' ORDER BY t.trip_id), string_agg(t.trip_id::text, ' ' ORDER BY t.trip_id) FILTER (WHERE t.starts), string_agg(t.trip_id::text, ' ' ORDER BY t.trip_id) FILTER (WHERE t.ends)
    FROM damoov.places AS p LEFT JOIN damoov.trip_places AS t USING (place_id) GROUP BY p.place_id, p.name ORDER BY p.place_id
$$;

INSERT INTO damoov.places (name, latitude, longitude, radius_m) VALUES
    ('depot', 51, 7.1, 500),
    ('too small for two of them', 51.0002, 7.1, 20),
    ('Fiji', -17, 180, 200),
    ('... east of it', -17, -179.999, 500),
    ('the pole', 90, 0, 50),
    ('elsewhere', 10, 10, 50000);
INSERT INTO damoov.places (name, area) VALUES
    ('a square', '{"type": "Polygon", "coordinates": [[[7.09, 50.99], [7.11, 50.99], [7.11, 51.01], [7.09, 51.01], [7.09, 50.99]]]}'),
    ('a strip between points', '{"type": "Polygon", "coordinates": [[[7.101, 50.99], [7.102, 50.99], [7.102, 51.01], [7.101, 51.01], [7.101, 50.99]]]}'),
    ('with a hole around 7.12', '{"type": "Polygon", "coordinates": [[[7.115, 50.99], [7.125, 50.99], [7.125, 51.01], [7.115, 51.01], [7.115, 50.99]],
        [[7.117, 50.995], [7.123, 50.995], [7.123, 51.005], [7.117, 51.005], [7.117, 50.995]]]}'),
    ('two parts', '{"type": "MultiPolygon", "coordinates": [[[[6.99, 50.99], [7.01, 50.99], [7.01, 51.01], [6.99, 50.99]]], [[[7.19, 50.99], [7.21, 50.99], [7.21, 51.01], [7.19, 51.01], [7.19, 50.99]]]]}'),
    ('L', '{"type": "Polygon", "coordinates": [[[6.9, 50.8], [7.05, 50.8], [7.05, 50.85], [6.95, 50.85], [6.95, 51.2], [6.9, 51.2], [6.9, 50.8]]]}');
SELECT * FROM pg_temp.touched();
SELECT name, bounds FROM damoov.places WHERE place_id IN (3, 5, 10) ORDER BY place_id;
SELECT p.name, t.trip_id, t.user_id, t.started_at, t.starts, t.ends FROM damoov.trip_places AS t JOIN damoov.places AS p USING (place_id) WHERE t.trip_id = 5 ORDER BY place_id;

-- What is no place
\set VERBOSITY sqlstate
INSERT INTO damoov.places (name, latitude, longitude) VALUES ('x', 51, 7);
INSERT INTO damoov.places (name) VALUES ('x');
INSERT INTO damoov.places (name, latitude, longitude, radius_m) VALUES ('x', 91, 7, 1);
INSERT INTO damoov.places (name, latitude, longitude, radius_m) VALUES ('x', 51, 'NaN', 1);
INSERT INTO damoov.places (name, latitude, longitude, radius_m) VALUES ('x', 51, 7, 0);
INSERT INTO damoov.places (name, latitude, longitude, radius_m) VALUES ('x', 51, 7, 'Infinity');
INSERT INTO damoov.places (name, latitude, longitude, radius_m, area) VALUES ('x', 51, 7, 1, '{"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}');
INSERT INTO damoov.places (name, latitude, longitude, radius_m) VALUES ('depot', 51, 7, 1);
INSERT INTO damoov.places (name, area) VALUES ('x', '{"type": "Point", "coordinates": [1, 2]}');
\set VERBOSITY terse
SELECT a AS area FROM unnest(ARRAY['{}', '[]', '1', 'null', '{"type": "Polygon"}', '{"type": "Polygon", "coordinates": []}', '{"type": "Polygon", "coordinates": 1}', '{"type": "Polygon", "coordinates": [[]]}', '{"type": "Polygon", "coordinates": [1]}',
    '{"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [0, 0]]]}', '{"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1]]]}', '{"type": "Polygon", "coordinates": [[[0, 0], [1, "0"], [1, 1], [0, 0]]]}',
    '{"type": "Polygon", "coordinates": [[[0, 0], [181, 0], [1, 1], [0, 0]]]}', '{"type": "Polygon", "coordinates": [[[0, 0], [1, 91], [1, 1], [0, 0]]]}', '{"type": "Polygon", "coordinates": [[[0, 0], 1, [1, 1], [0, 0]]]}',
    '{"type": "Polygon", "coordinates": [[[0, 0], [1], [1, 1], [0, 0]]]}', '{"type": "MultiPolygon", "coordinates": [[]]}', '{"type": "MultiPolygon", "coordinates": {}}',
    '{"type": "MultiPolygon", "coordinates": [[[[0, 0], [1, 0], [1, 1], [0, 0]]], []]}', '{"type": "MultiPolygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}']::jsonb[]) AS a
WHERE damoov.is_area(a);

-- A place that is moved; a person that is forgotten
UPDATE damoov.places SET latitude = 50.9, longitude = 7.2 WHERE name = 'depot';
SELECT * FROM pg_temp.touched() WHERE place = 'depot';
SELECT sum(row_count) > 0 AS forgotten FROM damoov_forget('5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5');
SELECT count(*) AS touched, (SELECT count(*) FROM damoov.places) AS places FROM damoov.trip_places;

-- Readers read, operators write
CREATE ROLE regress_damoov_reader;
CREATE ROLE regress_damoov_operator;
SELECT damoov_grant('regress_damoov_reader', 'reader') > 0 AS reader, damoov_grant('regress_damoov_operator', 'operator') > 0 AS operator;
SET ROLE regress_damoov_operator;
INSERT INTO damoov.places (name, latitude, longitude, radius_m) VALUES ('of an operator', 51, 7.1, 500);
INSERT INTO damoov.places (name, area) VALUES ('... too', '{"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}');
SET ROLE regress_damoov_reader;
SELECT count(*) FROM damoov.places;
SELECT count(*) FROM damoov.trip_places;
\set VERBOSITY sqlstate
INSERT INTO damoov.places (name, latitude, longitude, radius_m) VALUES ('of a reader', 51, 7.1, 500);
DELETE FROM damoov.places;
RESET ROLE;
DROP OWNED BY regress_damoov_reader, regress_damoov_operator;
DROP ROLE regress_damoov_reader, regress_damoov_operator;

SELECT pg_temp.empty_tables();
