-- Pictures and pages: what is in them, hostile text, odd trips, bounds.  That they are well-formed and how a browser shows
-- them is asked by test/t/082_pictures.pl and 083_pages.pl.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/prelude.psql
SELECT pg_temp.empty_tables();

-- Text: characters that XML does not have, that end it, or that turn what stands around them
SELECT damoov.markup('<script>"''&amp;'), damoov.markup(E'a\x01b\x0bc\x1f\x7f\u0085'), damoov.markup(E'a\u202eb\u2066\ufffe\uffff'),
    damoov.markup(E'\t\n\r') = E'\t\n\r' AS blank, damoov.markup('Łukasz שלום 🚗');
-- these and no others are taken out or made markup of
SELECT count(*) FROM generate_series(1, 1114111) AS c WHERE c NOT BETWEEN 55296 AND 57343 AND damoov.markup(chr(c)) = E'\ufffd' AND chr(c) <> E'\ufffd';
SELECT string_agg(chr(c), '' ORDER BY c) FROM generate_series(32, 1114111) AS c WHERE c NOT BETWEEN 55296 AND 57343 AND length(damoov.markup(chr(c))) <> 1;
SELECT damoov.driver_text(NULL, 7), damoov.driver_text(E' \n', 7), damoov.driver_text('customer-7', 7), length(damoov.driver_text(repeat('x', 81), 7));

-- Numbers and times, also such as there are none of
SELECT v, damoov.number_text(v, 1), damoov.usable(v, -1e9, 1e9), damoov.pixels(v), damoov.distance_text(v, false), damoov.speed_text(v, true)
FROM unnest('{0, -0.04, 12.345, 1e300, 5e-324, NaN, Infinity, -Infinity, NULL}'::double precision[]) AS v;
SELECT v, damoov.round_below(v) FROM unnest('{0.001, 0.9, 1, 1.9, 2, 4.9, 5, 9.99, 123456}'::double precision[]) AS v;
SELECT t, o, damoov.time_text(t, o)
FROM (VALUES ('2024-05-14 10:00Z'::timestamptz, NULL), ('2024-05-14 10:00Z', 120), ('2024-05-14 23:30Z', 330), ('2024-05-14 10:00Z', -210), ('2024-05-14 10:00Z', 0),
    ('2024-05-14 10:00Z', -30), ('2024-05-14 10:00Z', 2147483647), ('infinity', 0), ('-infinity', 0), ('294276-12-31Z', 1440), ('4713-01-01 BC', -1440), (NULL, 60)) AS s (t, o);
SELECT s, l, damoov.speed_class(s, l) FROM (VALUES (50.0, 50.0), (50.1, 50), (59.9, 50), (60, 50), (69.9, 50), (70, 50), (NULL, 50), (50, NULL), (50, 999), ('NaN', 50), (50, 'NaN'), (-1, 50)) AS v (s, l);
SELECT damoov.turn(d) FROM unnest('{-359, -180, 0, 179, 181, 359}'::double precision[]) AS d;
SELECT damoov.scale_bar(m, 100, b) FROM (VALUES (0.15, false), (0.15, true), (8, false), (8, true), (30000, false)) AS v (m, b);

-- A line with fewer points
SELECT damoov.simplify('{}', '{}', '{}', 1, 10), damoov.simplify('{3}', '{4}', '{}', 1, 10), damoov.simplify('{3, 3}', '{4, 4}', '{}', 1, 10);
SELECT damoov.simplify('{0, 1, 2, 3}', '{0, 0, 0, 0}', '{}', 0.5, 10) AS straight, damoov.simplify('{0, 1, 2, 3}', '{0, 0, 2, 0}', '{}', 0.5, 10) AS corner,
    damoov.simplify('{0, 1, 2, 3}', '{0, 0.6, 2, 0}', '{}', 0.5, 3) AS worst_first, damoov.simplify('{0, 1, 2, 1, 0}', '{0, 0, 0, 0, 0}', '{}', 0.5, 10) AS there_and_back,
    damoov.simplify('{0, 1, 2, 3}', '{0, 0, 0, 0}', '{f, f, t, f}', 0.5, 10) AS breaks, damoov.simplify('{0, 1, 2, 3, 4}', '{0, 5, 0, 0, 0}', '{f, f, f, t, f}', 0.5, 3) AS break_last,
    damoov.simplify(NULL, '{1}', '{}', 1, 10) AS none;
-- what is left out lies within the tolerance, unless there are too many; all ways give the same
CREATE FUNCTION pg_temp.off(x double precision[], y double precision[], kept integer[]) RETURNS double precision LANGUAGE sql AS $$
    SELECT max(lseg(point(x[a.p], y[a.p]), point(x[b.p], y[b.p])) <-> point(x[i], y[i]))
    FROM unnest(kept) WITH ORDINALITY AS a (p, n) JOIN unnest(kept) WITH ORDINALITY AS b (p, n) ON b.n = a.n + 1, generate_series(a.p, b.p) AS i
$$;
WITH line (name, x, y) AS (
    SELECT 'spiral', array_agg(n / 10.0 * cos(n / 20.0)), array_agg(n / 10.0 * sin(n / 20.0)) FROM generate_series(0, 2999) AS n
    UNION ALL SELECT 'saw', array_agg(n / 10.0), array_agg(n % 2 * 5.0) FROM generate_series(0, 2999) AS n
    UNION ALL SELECT 'steps', array_agg(n / 100 * 10.0), array_agg((n + 50) / 100 * 10.0) FROM generate_series(0, 2999) AS n
    UNION ALL SELECT 'standing', array_fill(7::double precision, '{3000}'), array_fill(7::double precision, '{3000}')
)
SELECT name, most, cardinality(k), pg_temp.off(x, y, k) <= 0.4 AS within, k[1] = 1 AND k[cardinality(k)] = 3000 AS both_ends
FROM line, unnest('{3000, 1000, 2}'::integer[]) AS most, damoov.simplify(x, y, '{}', 0.4, most) AS k ORDER BY name, most DESC;
\set VERBOSITY sqlstate
SELECT damoov.simplify('{1, 2}', '{1}', '{}', 1, 10);
SELECT damoov.simplify('{1, 2}', '{1, 2}', '{t}', 1, 10);
SELECT damoov.simplify('{1, NULL}', '{1, 2}', '{}', 1, 10);
SELECT damoov.simplify('{1, 2}', '{1, NaN}', '{}', 1, 10);
SELECT damoov.simplify('{Infinity, 2}', '{1, 2}', '{}', 1, 10);
SELECT damoov.simplify('{{1, 2}}', '{1, 2}', '{}', 1, 10);
SELECT damoov.simplify('{1, 2}', '{1, 2}', '{}', -1, 10);
SELECT damoov.simplify('{1, 2}', '{1, 2}', '{}', 'NaN', 10);
SELECT damoov.simplify('{1, 2}', '{1, 2}', '{}', 1, 1);
SELECT damoov.simplify('{0, 1, 2}', '{0, 1e300, -1e300}', '{}', 1, 10) IS NOT NULL AS too_large;
\set VERBOSITY terse

-- A person's trips: what is put back fires no rules
SET session_replication_role = replica;
INSERT INTO damoov.users (user_id, device_token, client_id) VALUES (1, pg_temp.person(1), 'customer-1'), (2, pg_temp.person(2), NULL), (3, pg_temp.person(3), E'<script>alert("&'')</script>\u202e\x01');
CREATE FUNCTION pg_temp.trip(id bigint, person bigint, began timestamptz DEFAULT '2024-05-14 10:00Z', km double precision DEFAULT 12.34) RETURNS void LANGUAGE sql AS $$
    INSERT INTO damoov.trips (trip_id, track_token, user_id, revision, started_at, ended_at, start_utc_offset_min, distance_km, duration_min, city_start, city_end, score, rating, point_count, filler_count)
    VALUES (id, md5('track' || id)::uuid, person, 1, began, began + interval '20 min', 120, km, 20, 'Neustadt', 'A & B', 80, 4, 0, 0)
$$;
CREATE FUNCTION pg_temp.point(id bigint, n integer, north double precision, east double precision, metres double precision, speed double precision, max_speed double precision) RETURNS void LANGUAGE sql AS $$
    INSERT INTO damoov.trip_points (trip_id, seq, latitude, longitude, total_meters, speed_kmh, speed_limit_kmh, is_filler) VALUES (id, n, north, east, metres, speed, max_speed, false)
$$;
CREATE FUNCTION pg_temp.lines(svg text) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT l FROM regexp_split_to_table(regexp_replace(svg, '<style>.*</style>', '<style/>'), '(?<=>)(?=<[a-z])') AS l
$$;

-- A trip as it should be: its colours, marks and measures
SELECT pg_temp.trip(1, 1);
SELECT pg_temp.point(1, n, 51 + n / 1000.0, 7 + n * n / 2000.0, n * 120, s, l)
FROM (VALUES (0, 0, 50), (1, 45, 50), (2, 48, 50), (3, 55, 50), (4, 65, 50), (5, 75, 50), (6, 60, NULL), (7, 60, NULL), (8, 90, 100), (9, 20, 100)) AS p (n, s, l);
INSERT INTO damoov.trip_events (trip_id, seq, kind, first_seq, last_seq, started_at, latitude, longitude, length_m, peak_ms2, max_speed_kmh, max_excess_kmh)
VALUES (1, 0, 'speeding', 3, 5, '2024-05-14 10:03Z', 51.003, 7.0045, 360, NULL, 75, 25), (1, 1, 'braking', 8, 9, '2024-05-14 10:08Z', 51.008, 7.032, 120, -3.25, 90, NULL),
    (1, 2, 'phone_usage', 9, 9, NULL, NULL, 7, NULL, NULL, NULL, NULL);
SELECT * FROM pg_temp.lines(damoov_trip_svg(1));
SELECT l FROM pg_temp.lines(damoov_trip_svg(1, true)) AS l WHERE l ~ 'mph| mi|ft';
SELECT * FROM pg_temp.lines(damoov_speed_svg(1));
SELECT l FROM pg_temp.lines(damoov_speed_svg(1, true)) AS l WHERE l ~ 'mph|mi<';

-- Odd trips: each is still a picture
CREATE TEMP TABLE odd (id integer, name text);
CREATE FUNCTION pg_temp.odd(name text, person integer DEFAULT 2) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    id CONSTANT integer := (SELECT 101 + count(*) FROM odd);
BEGIN
    INSERT INTO odd VALUES (id, name);
    PERFORM pg_temp.trip(id, person);
    RETURN id;
END
$$;
SELECT pg_temp.odd('no points') \g /dev/null
SELECT pg_temp.point(pg_temp.odd('one point'), 0, 51, 7, 0, 10, 50) \g /dev/null
SELECT pg_temp.odd('hostile text', 3) AS id \gset
UPDATE damoov.trips SET city_start = '<b>"', city_end = E'</svg>\x02' WHERE trip_id = :id;
INSERT INTO damoov.trip_events (trip_id, seq, kind, first_seq, last_seq, latitude, longitude) VALUES (:id, 0, '"><script>&', 0, 0, 51, 7);
SELECT pg_temp.point(:id, n, 51 + n, 7, n, 10, 50) FROM generate_series(0, 1) AS n \g /dev/null
SELECT pg_temp.odd('across the 180th meridian') AS id \gset
SELECT pg_temp.point(:id, n, -17, CASE WHEN n < 5 THEN 179.95 + n / 100.0 ELSE -180.05 + n / 100.0 END, n * 1000, 50, 60) FROM generate_series(0, 9) AS n \g /dev/null
SELECT pg_temp.odd('around the world, and the poles') AS id \gset
SELECT pg_temp.point(:id, n, -90 + n * 36, -180 + n * 72, n, 50, 60) FROM generate_series(0, 5) AS n \g /dev/null
SELECT pg_temp.odd('at the pole') AS id \gset
SELECT pg_temp.point(:id, n, 90, n * 90 - 180, 0, 50, 60) FROM generate_series(0, 4) AS n \g /dev/null
SELECT pg_temp.odd('standing') AS id \gset
SELECT pg_temp.point(:id, n, 51, 7, 0, 0, 50) FROM generate_series(0, 9) AS n \g /dev/null
SELECT pg_temp.odd('NULL, NaN and infinity in between') AS id \gset
SELECT pg_temp.point(:id, n, CASE n WHEN 1 THEN NULL WHEN 2 THEN 'NaN' WHEN 3 THEN 'Infinity' ELSE 51 + n / 1000.0 END, CASE n WHEN 4 THEN NULL WHEN 5 THEN '-Infinity' ELSE 7.0 END,
    CASE n WHEN 0 THEN NULL WHEN 6 THEN 'NaN' WHEN 7 THEN 1e300 WHEN 8 THEN -5 ELSE n * 100 END, CASE n WHEN 2 THEN NULL WHEN 3 THEN 'NaN' WHEN 4 THEN 'Infinity' WHEN 5 THEN 5e-324 ELSE 50 END,
    CASE n WHEN 7 THEN 'NaN' WHEN 8 THEN 1e308 WHEN 1 THEN NULL WHEN 2 THEN 5e-324 ELSE 60 END) FROM generate_series(0, 9) AS n \g /dev/null
SELECT pg_temp.odd('nothing but NULL') AS id \gset
SELECT pg_temp.point(:id, n, NULL, NULL, NULL, NULL, NULL) FROM generate_series(0, 9) AS n \g /dev/null
SELECT pg_temp.odd('speeds without distances') AS id \gset
SELECT pg_temp.point(:id, n, 51, 7 + n / 1e5, NULL, n, NULL) FROM generate_series(0, 9) AS n \g /dev/null
SELECT pg_temp.odd('distances next to nothing') AS id \gset
SELECT pg_temp.point(:id, n, n * 5e-324, n * 5e-324, n * 5e-324, 50, 60) FROM generate_series(0, 9) AS n \g /dev/null
SELECT pg_temp.odd('values of the trip that are none', 0) AS id \gset
UPDATE damoov.trips SET started_at = 'infinity', ended_at = '-infinity', start_utc_offset_min = 2147483647, distance_km = 'NaN', duration_min = 'Infinity', score = 5e-324, city_start = NULL WHERE trip_id = :id;
-- all of it is plain numbers: no point has got lost on the way, and none is out of the picture
SELECT name, count(*) FILTER (WHERE l ~ 'class="dv-l') AS lines, bool_or(l ~* 'nan|inf[^o]|e[-+][0-9]') AS no_number,
    string_agg(l, '') FILTER (WHERE l ~ '<text class="dv-h"|No position') AS heading
FROM odd, pg_temp.lines(damoov_trip_svg(id)) AS l GROUP BY id, name ORDER BY id;
SELECT name, count(*) FILTER (WHERE l ~ 'class="dv-l') AS lines, bool_or(l ~* 'nan|inf|e[-+][0-9]') AS no_number,
    string_agg(l, '') FILTER (WHERE l ~ 'dv-l dv-v" d="M[^5]') AS speed
FROM odd, pg_temp.lines(damoov_speed_svg(id)) AS l GROUP BY id, name ORDER BY id;
SELECT l FROM odd, pg_temp.lines(damoov_trip_svg(id)) AS l WHERE name IN ('hostile text', 'across the 180th meridian') AND l ~ '^<(path class="dv-(l|e)|desc|text class="dv-n" x="20" y="44")';
SELECT damoov_trip_svg(-1) IS NULL AND damoov_speed_svg(-1) IS NULL AND damoov_crash_svg(-1) IS NULL AND damoov_trip_html(-1) IS NULL AND damoov_trip_svg(NULL) IS NULL AS none;
-- whatever the session's formats are
SELECT md5(damoov_trip_svg(1) || damoov_speed_svg(1) || damoov_trip_html(1)) AS usual \gset
SET extra_float_digits = -15;
SET timezone = 'Asia/Kolkata';
SET datestyle = 'German';
SET lc_time = 'C';
SELECT md5(damoov_trip_svg(1) || damoov_speed_svg(1) || damoov_trip_html(1)) = :'usual' AS same;
RESET extra_float_digits;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';

-- Long trips: as large as is said at most, and as they were
SELECT pg_temp.trip(201, 1), pg_temp.trip(202, 1);
SELECT count(pg_temp.point(201, n, 51.9 + sin(n / 50.0) / 50 + sin(n) / 20000, 7.6 + n / 40000.0, n * 20, 50 + 30 * sin(n / 17.0), 50)) FROM generate_series(0, 4999) AS n;
-- all over the place, with another colour at each point
SELECT count(pg_temp.point(202, n, 51.9 + (n * 7919 % 5003) / 20000.0, 7.6 + (n * 104729 % 5009) / 20000.0, n * 20, n * 31 % 120, CASE WHEN n % 2 = 0 THEN 30 + n % 7 * 10 END)) FROM generate_series(0, 4999) AS n;
INSERT INTO damoov.trip_events (trip_id, seq, kind, first_seq, last_seq, started_at, latitude, longitude, peak_ms2, max_speed_kmh)
SELECT 202, n, (ARRAY['braking', 'acceleration', 'cornering', 'phone_usage', 'speeding'])[1 + n % 5], n, n, '2024-05-14 10:00Z', 52, 7.7, -3.3, 77 FROM generate_series(0, 599) AS n;
SELECT t, octet_length(damoov_trip_svg(t)) < 100000 AND octet_length(damoov_speed_svg(t)) < 100000 AS within, octet_length(damoov_trip_html(t)) < 400000 AS page FROM unnest('{201, 202}'::bigint[]) AS t;
SELECT substring(damoov_trip_svg(202), '>([0-9]* further events[^<]*)'), regexp_count(damoov_trip_svg(202), '<title>'), substring(damoov_trip_html(202), 'id="events-table-left-out">([^<]*)');
-- each point of the trip lies within half a pixel of its picture
SELECT pg_temp.trip(203, 1);
INSERT INTO damoov.trip_points (trip_id, seq, latitude, longitude, is_filler) SELECT 203, seq, latitude, longitude, false FROM damoov.trip_points WHERE trip_id = 201;
WITH drawn AS (
    SELECT row_number() OVER () AS n, point(v[1]::double precision, v[2]::double precision) AS p
    FROM regexp_matches(substring(damoov_trip_svg(203), '<path class="dv-l dv-s0" d="M([^"]*)"'), '([0-9.]+) ([0-9.]+)', 'g') AS v
), line AS (
    SELECT lseg(a.p, b.p) AS piece FROM drawn AS a JOIN drawn AS b ON b.n = a.n + 1
), box AS (
    SELECT min(longitude) AS west, max(latitude) AS north, 720 / (max(longitude) - min(longitude)) AS degree, cos(radians((max(latitude) + min(latitude)) / 2)) AS narrow
    FROM damoov.trip_points WHERE trip_id = 203
)
SELECT (SELECT count(*) FROM line) BETWEEN 50 AND 999 AS pieces, max(d.least) < 0.5 AS within
FROM (
    SELECT (SELECT min(l.piece <-> point(40 + (p.longitude - b.west) * b.degree, 70 + (b.north - p.latitude) * b.degree / b.narrow)) FROM line AS l) AS least
    FROM damoov.trip_points AS p, box AS b WHERE p.trip_id = 203 AND p.seq % 5 = 0
) AS d;

-- Crashes
INSERT INTO damoov.crashes (crash_id, crash_token, user_id, started_at, passed_filters, reliability)
SELECT n, md5('crash' || n)::uuid, CASE n WHEN 2 THEN 3 ELSE 1 END, '2024-05-14 10:05Z', CASE n WHEN 1 THEN true WHEN 2 THEN false END, 77 FROM generate_series(1, 4) AS n;
INSERT INTO damoov.crash_buffers (crash_id, started_at, sample_count, at_ms, acceleration_x_ms2, acceleration_y_ms2, acceleration_z_ms2, speed_ms)
SELECT 1, '2024-05-14 10:05Z', 1001, array_agg(n * 10.0 ORDER BY n), array_agg(CASE n WHEN 500 THEN -40 ELSE 0 END ORDER BY n), array_agg(CASE n WHEN 500 THEN 30 ELSE 0 END ORDER BY n),
    array_agg(9.81 ORDER BY n), array_agg(CASE WHEN n % 100 = 0 THEN CASE WHEN n <= 500 THEN 20 ELSE 0 END END ORDER BY n) FROM generate_series(0, 1000) AS n;
INSERT INTO damoov.crash_buffers (crash_id, started_at, sample_count, at_ms, acceleration_x_ms2, acceleration_y_ms2, acceleration_z_ms2, speed_ms)
VALUES (2, NULL, 6, '{0, 10, NULL, NaN, 20, Infinity}', '{NaN, 1e300, NULL, 0, 0, 5e-324}', '{1, 2, 3, 4, 5, 5e-324}', '{9.81, 9.81, NULL, NaN, -Infinity, 9}', '{NULL, NaN, 5e-324, 1e300, -1, 3}'), (3, NULL, 0, NULL, NULL, NULL, NULL, NULL);
SELECT * FROM pg_temp.lines(damoov_crash_svg(1)) AS l WHERE l !~ 'class="dv-g"';
SELECT l FROM pg_temp.lines(damoov_crash_svg(1, true)) AS l WHERE l ~ 'mph';
SELECT c, count(*), bool_or(l ~* 'nan|inf[^o]|e[-+][0-9]') AS no_number, string_agg(l, '') FILTER (WHERE l ~ '^<text class="dv-[hn]" x="20" y="(26|44|80)"|No samples') AS text
FROM generate_series(2, 4) AS c, pg_temp.lines(damoov_crash_svg(c)) AS l GROUP BY c ORDER BY c;

-- Pages: no token stands in one, and all text is text
INSERT INTO damoov.removed_tracks (track_token, removed_at, event_id, user_id, reason, replaced_by)
VALUES (md5('part')::uuid, '2024-05-14 11:00Z', 1, 1, 'replaced', md5('track1')::uuid), (md5('part of a part')::uuid, '2024-05-14 10:30Z', 2, 1, 'replaced', md5('part')::uuid);
INSERT INTO damoov.heartbeats (user_id, reported_at, charge_percent, waiting_trips, wifi_enabled) VALUES (3, '2024-05-14 12:00Z', 63.5, 4, false), (1, '2024-05-14 12:00Z', 'NaN', 0, NULL);
UPDATE damoov.trips SET driving_tips = '<img src="https://example.com/x">', address_start = '<a href="javascript:1">' WHERE trip_id = 1;
CREATE TEMP TABLE pages AS
SELECT 'trip ' || t AS name, damoov_trip_html(t) AS page FROM (SELECT 1 UNION ALL SELECT id FROM odd) AS n (t)
UNION ALL SELECT 'fleet', damoov_fleet_html('2024-05-14', '2024-05-15')
UNION ALL SELECT 'fleet of all times', damoov_fleet_html('-infinity', 'infinity')
UNION ALL SELECT 'empty fleet', damoov_fleet_html('2024-05-15', '2024-05-14');
SELECT name FROM pages WHERE page ~ '<(script|img|b|iframe|object|form)\M|(src|href|action)="(?!#|data:,")|url\(|@import|[\u0001-\u0008\u202e]' OR page !~ '^<!DOCTYPE html>\n<html lang="en">.*</html>$';
SELECT DISTINCT t.what FROM pages, (SELECT 'device', device_token FROM damoov.users UNION ALL SELECT 'track', track_token FROM damoov.trips UNION ALL SELECT 'crash', crash_token FROM damoov.crashes
    UNION ALL SELECT 'part', track_token FROM damoov.removed_tracks) AS t (what, token) WHERE position(t.token::text IN page) > 0;
CREATE FUNCTION pg_temp.cells(page text, id text) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT regexp_replace(regexp_replace(r[1], '</t[hd]>(?=<t)', ' | ', 'g'), '<[^>]*>|&#8211;', '', 'g')
    FROM regexp_matches(substring(page, '<table id="' || id || '">(.*?)</table>'), '<tr>(.*?)</tr>', 'g') AS r
$$;
SELECT c AS trip_1 FROM pages, unnest('{trip-table, scores-table, events-table, merges-table, crashes-table}'::text[]) AS t, pg_temp.cells(page, t) AS c WHERE name = 'trip 1';
SELECT c AS fleet FROM pages, unnest('{summary-table, drivers-table, events-table, merges-table, crashes-table, phones-table}'::text[]) AS t, pg_temp.cells(page, t) AS c WHERE name = 'fleet';
SELECT name, array_agg(c) FROM pages, pg_temp.cells(page, 'summary-table') AS c WHERE name ~ 'fleet' GROUP BY name ORDER BY name;
SELECT substring(page, '<header>.*</header>') FROM pages WHERE name ~ 'fleet' ORDER BY name;
SELECT name, regexp_count(page, '<figure>') AS pictures, regexp_count(page, 'id="[^"]*"') - (SELECT count(DISTINCT m[1]) FROM regexp_matches(page, 'id="([^"]*)"', 'g') AS m) AS ids_twice FROM pages WHERE name ~ 'fleet|trip 1$' ORDER BY name;
SELECT m[1] FROM pages, regexp_matches(page, '<p id="([^<]*)</p>', 'g') AS m WHERE name = 'empty fleet';
SELECT c FROM pg_temp.cells(damoov_trip_html(1, true), 'trip-table') AS c WHERE c ~ '^Dist' UNION ALL SELECT c FROM pg_temp.cells(damoov_fleet_html('2024-05-14', '2024-05-15', true), 'summary-table') AS c WHERE c ~ '^Dist';

-- A large fleet: bounded, and it says what is left out
INSERT INTO damoov.users (user_id, device_token) SELECT n, md5(n::text)::uuid FROM generate_series(1001, 1300) AS n;
SELECT count(pg_temp.trip(n, n, pg_temp.minute(n), 1 + n / 1000.0)) FROM generate_series(1001, 1300) AS n;
INSERT INTO damoov.removed_tracks (track_token, removed_at, event_id, user_id, reason, replaced_by)
SELECT md5('part' || n)::uuid, pg_temp.minute(n), 10 + n, n, 'replaced', md5('track' || n)::uuid FROM generate_series(1001, 1300) AS n;
INSERT INTO damoov.crashes (crash_id, crash_token, user_id, started_at) SELECT n, md5('crash' || n)::uuid, n, pg_temp.minute(n) FROM generate_series(1001, 1300) AS n;
INSERT INTO damoov.heartbeats (user_id, reported_at, waiting_trips) SELECT n, pg_temp.minute(n), 1 FROM generate_series(1001, 1300) AS n;
SELECT damoov_fleet_html(pg_temp.minute(1001), pg_temp.minute(1300)) AS page \gset
SELECT t.id, count(c) - 1 AS rows, substring(:'page', '<p id="' || t.id || '-left-out">([^<]*)') AS left_out
FROM unnest('{summary-table, drivers-table, trips-table, merges-table, crashes-table, phones-table}'::text[]) AS t (id) LEFT JOIN LATERAL pg_temp.cells(:'page', t.id) AS c ON true GROUP BY t.id ORDER BY t.id;
SELECT * FROM pg_temp.cells(:'page', 'summary-table');
SELECT octet_length(:'page') < 300000 AS within, regexp_count(:'page', '<figure>') AS pictures;

-- A reader may have all of them, also as a server such as PostgREST asks: by name, and as the type that it found
CREATE ROLE regress_damoov_viewer;
SELECT damoov_grant('regress_damoov_viewer', 'reader') > 0 AS granted;
SET ROLE regress_damoov_viewer;
SELECT damoov."text/html"(p.page) ~ '^<!DOCTYPE' AS page FROM damoov_trip_html(trip_id => 1, miles => true) AS p (page);
SELECT damoov."image/svg+xml"(p.picture) ~ '^<svg' AS picture FROM damoov_trip_svg(trip_id => '1') AS p (picture);
SELECT count(damoov_fleet_html(since => '2024-05-14', until => '2024-05-15')) AS fleet, count(damoov_fleet_html()) AS week, count(damoov_speed_svg(1)) AS speed, count(damoov_crash_svg(1)) AS crash;
RESET ROLE;
-- what a policy hides is in no page
ALTER TABLE damoov.trips ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON damoov.trips USING (user_id = 1);
SET ROLE regress_damoov_viewer;
SELECT damoov_trip_html(101) IS NULL AS hidden, damoov_trip_svg(101) IS NULL AS unseen, array_agg(c) FROM pg_temp.cells(damoov_fleet_html('2024-05-14', '2024-05-15'), 'drivers-table') AS c;
RESET ROLE;
DROP POLICY mine ON damoov.trips;
ALTER TABLE damoov.trips DISABLE ROW LEVEL SECURITY;
SELECT typname, typnamespace::regnamespace, typbasetype::regtype FROM pg_type WHERE typname ~ '/' ORDER BY typname;
DROP OWNED BY regress_damoov_viewer;
DROP ROLE regress_damoov_viewer;
RESET session_replication_role;

SELECT pg_temp.empty_tables();
