-- Trips of all shapes.  As rows, so that there can be what no dataset has: no time,
-- or one that stands still or goes back, places that are missing or none, over all
-- of the earth.
INSERT INTO damoov.users (user_id, device_token) VALUES (1, '5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5');
UPDATE damoov.users SET client_id = '=cmd|''/c calc''!A1';
SELECT damoov.make_partitions();
SELECT setseed(0.25);
CREATE TABLE shape AS
SELECT n, n % 40 AS points, n % 3 AS clock, n % 5 AS place, 360 * random() - 180 AS longitude, 180 * random() - 90 AS latitude FROM generate_series(1, 400) AS n;
INSERT INTO damoov.trips (trip_id, track_token, user_id, revision, started_at, ended_at, distance_km, origin, point_count, filler_count,
    min_latitude, min_longitude, max_latitude, max_longitude)
SELECT n, md5(n::text)::uuid, 1, 1, '2024-05-14Z'::timestamptz + n * interval '1 hour', '2024-05-14 00:30Z'::timestamptz + n * interval '1 hour', n, 'Bus',
    points, 0, -90, -180, 90, 180
FROM shape;
INSERT INTO damoov.trip_points (trip_id, seq, recorded_at, latitude, longitude, speed_kmh, alert_type, is_filler)
SELECT n, s,
    CASE clock WHEN 0 THEN '2024-05-14Z'::timestamptz + (s - s % 3) * interval '1.37 s' WHEN 1 THEN '2024-05-14Z'::timestamptz + floor(100 * random()) * interval '1 s' END,
    CASE WHEN random() < 0.05 THEN NULL WHEN place = 0 THEN 180 * random() - 90 WHEN place = 1 THEN latitude ELSE latitude + (2 * random() - 1) / 100 END,
    CASE WHEN random() < 0.05 THEN 'NaN' WHEN place = 0 THEN 360 * random() - 180 WHEN place = 1 THEN longitude WHEN place = 2 THEN (CASE WHEN random() < 0.5 THEN 180 ELSE -180 END) - sign(random() - 0.5) * 0.0
        WHEN place = 3 THEN mod((179.99 + s * 0.0031 + 180)::numeric, 360)::double precision - 180 ELSE longitude + (2 * random() - 1) / 100 END,
    100 * random(), NULL, s % 3 > 0
FROM shape, generate_series(1, points) AS s;
INSERT INTO damoov.trip_events (trip_id, seq, kind, first_seq, last_seq, started_at, latitude, longitude)
SELECT n, e, 'braking', e, e, '2024-05-14Z', CASE e WHEN 0 THEN latitude END, longitude FROM shape, generate_series(0, 1) AS e;
-- and one that is long
INSERT INTO damoov.trip_points (trip_id, seq, recorded_at, latitude, longitude, is_filler)
SELECT 40, s, '2024-05-14Z'::timestamptz + (s - s % 3) * interval '0.5 s', 51 + sin(s / 100.0) / 50, 7 + s / 5000.0, s % 3 > 0 FROM generate_series(1, 20000) AS s;
ANALYZE;
