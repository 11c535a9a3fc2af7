-- ---------------------------------------------------------------------
-- Trips for maps: GeoJSON (RFC 7946), GPX 1.1, EWKB and Google's polylines.
-- Points are read through damoov_points(), since they need not be rows
-- ---------------------------------------------------------------------

-- The haversine formula on the mean radius; the factor keeps opposite places in
-- the domain of asin() when the sum of squares is rounded up.  Half a turn is added
-- and taken away, since the square of what is next to nothing would be an underflow.
CREATE FUNCTION damoov.metres_between(latitude double precision, longitude double precision, other_latitude double precision, other_longitude double precision)
    RETURNS double precision
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 2 * 6371008.8 * asin(0.999999999999999 * sqrt(
    power(sind((other_latitude - latitude + 360) / 2 - 180), 2)
    + cosd(latitude) * cosd(other_latitude) * power(sind((other_longitude - longitude + 360) / 2 - 180), 2)));
COMMENT ON FUNCTION damoov.metres_between(double precision, double precision, double precision, double precision) IS 'metres between two places on a sphere; errors: 22003 a place at infinity';

-- Fillers repeat the time of the point before, and clocks are set back.  A
-- vertex keeps its time if that is at least a millisecond for each step after
-- that of all before; another one gets a time between those of the nearest that
-- keep theirs, by the way between, and a millisecond for each step.  So "own"
-- and "due" are microseconds without these milliseconds, and due never falls.
CREATE FUNCTION damoov.trip_vertices(trip_id bigint)
    RETURNS TABLE (n integer, longitude double precision, latitude double precision, speed_kmh double precision, metres double precision, passed_at timestamptz)
    LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 10000 ROWS 1000
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH placed AS (
        SELECT row_number() OVER w AS n, p.longitude, p.latitude, p.speed_kmh,
            damoov.metres_between(lag(p.latitude) OVER w, lag(p.longitude) OVER w, p.latitude, p.longitude) AS step,
            CASE WHEN p.recorded_at BETWEEN '0001-01-01Z' AND '9999-12-31Z' THEN (extract(epoch FROM p.recorded_at) * 1000000)::bigint - 1000 * row_number() OVER w END AS own
        FROM @extschema@.damoov_points(trip_vertices.trip_id) AS p
        -- neither NULL nor NaN
        WHERE p.latitude BETWEEN -90 AND 90 AND p.longitude BETWEEN -180 AND 180
        WINDOW w AS (ORDER BY p.seq)
    ), timed AS (
        SELECT p.*, coalesce(sum(p.step) OVER w, 0) AS metres, max(p.own) OVER w AS latest,
            p.own > coalesce(max(p.own) OVER (w ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), p.own - 1) AS keeps
        FROM placed AS p
        WINDOW w AS (ORDER BY p.n)
    ), between_two AS (
        SELECT t.*,
            max(CASE WHEN t.keeps THEN t.metres END) OVER (ORDER BY t.n) AS metres_before,
            -- backwards: a frame that only grows is not summed up again for each row
            min(CASE WHEN t.keeps THEN t.own END) OVER (ORDER BY t.n DESC) AS next,
            min(CASE WHEN t.keeps THEN t.metres END) OVER (ORDER BY t.n DESC) AS metres_after
        FROM timed AS t
    )
    SELECT b.n::integer, b.longitude, b.latitude, CASE WHEN abs(b.speed_kmh) < 'Infinity' THEN b.speed_kmh END, b.metres,
        'epoch'::timestamptz + (1000 * b.n + coalesce(
            b.latest + ((b.next - b.latest) * ((b.metres - b.metres_before) / nullif(b.metres_after - b.metres_before, 0)))::bigint,
            b.latest, b.next)) * interval '1 microsecond'
    FROM between_two AS b
    ORDER BY b.n
$$;
COMMENT ON FUNCTION damoov.trip_vertices(bigint) IS 'the points of a trip that have a position, numbered from 1, with metres along the line and times that always grow: where a point has none of its own, or repeats one, it is interpolated; NULL when no point has one';

CREATE FUNCTION damoov.geojson_position(longitude double precision, latitude double precision) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN jsonb_build_array(trim_scale(round(longitude::numeric, 7)), trim_scale(round(latitude::numeric, 7)));
COMMENT ON FUNCTION damoov.geojson_position(double precision, double precision) IS 'a position of GeoJSON: longitude before latitude, to a centimetre';

-- In each of equal stretches of the way, the first vertex stays, and that which is
-- furthest from the straight line to the first one of the next: one look at each,
-- however many there are.  The distance is a product of degrees, which is enough to
-- compare those of one stretch; of tiny ones it would be an underflow.
CREATE FUNCTION damoov.thinned_vertices(trip_id bigint, most integer)
    RETURNS TABLE (n integer, longitude double precision, latitude double precision)
    LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 10000 ROWS 100
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH placed AS (
        SELECT row_number() OVER w AS n, p.longitude, p.latitude, lead(p.longitude, 1, p.longitude) OVER w AS next_longitude,
            lead(p.latitude, 1, p.latitude) OVER w AS next_latitude,
            damoov.metres_between(lag(p.latitude) OVER w, lag(p.longitude) OVER w, p.latitude, p.longitude) AS step
        FROM (
            SELECT r.seq, damoov.usable(r.longitude, -180, 180) AS longitude, damoov.usable(r.latitude, -90, 90) AS latitude
            FROM @extschema@.damoov_points(thinned_vertices.trip_id) AS r
        ) AS p
        WHERE p.latitude IS NOT NULL AND p.longitude IS NOT NULL
        WINDOW w AS (ORDER BY p.seq)
    ), measured AS (
        SELECT p.*, coalesce(sum(p.step) OVER (ORDER BY p.n), 0) AS metres, count(*) OVER () AS vertices
        FROM placed AS p
    ), divided AS (
        SELECT m.*, CASE
            WHEN m.vertices <= most THEN m.n
            -- the last one is a stretch of its own
            WHEN m.n = m.vertices THEN most
            ELSE floor((most / 2 - 1) * m.metres / (max(m.metres) OVER () + 1))
        END AS stretch
        FROM measured AS m
    ), compared AS (
        SELECT d.*, first_value(d.n) OVER w AS first_n, abs(
            (last_value(d.next_longitude) OVER w - first_value(d.longitude) OVER w) * (d.latitude - first_value(d.latitude) OVER w)
            - (last_value(d.next_latitude) OVER w - first_value(d.latitude) OVER w) * (d.longitude - first_value(d.longitude) OVER w)) AS off
        FROM divided AS d
        WINDOW w AS (PARTITION BY d.stretch ORDER BY d.n ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
    ), ranked AS (
        SELECT c.*, row_number() OVER (PARTITION BY c.stretch ORDER BY c.n = c.first_n DESC, c.off DESC, c.n) AS place
        FROM compared AS c
    )
    SELECT r.n::integer, r.longitude, r.latitude
    FROM ranked AS r
    WHERE r.place <= 2
    ORDER BY r.n
$$;
COMMENT ON FUNCTION damoov.thinned_vertices(bigint, integer) IS 'at most so many of the vertices of a trip, at least 4: those that show its shape';

-- A line that crosses the antimeridian is cut there, once on each side (RFC 7946,
-- 3.1.9): the vertices of a part before the cut, of the next one behind it.
CREATE FUNCTION damoov.line_geometry(longitudes double precision[], latitudes double precision[], times timestamptz[], speeds double precision[])
    RETURNS TABLE (geometry jsonb, passed_at jsonb, speed_kmh jsonb)
    LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 1
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
AS $$
    WITH step AS (
        SELECT v.*, lead(v.longitude) OVER w AS next_longitude, lead(v.latitude) OVER w AS next_latitude, lead(v.passed_at) OVER w AS next_at
        FROM unnest(longitudes, latitudes, times, speeds) WITH ORDINALITY AS v (longitude, latitude, passed_at, speed_kmh, n)
        WINDOW w AS (ORDER BY v.n)
    ), crossing AS (
        SELECT s.*, CASE WHEN s.next_longitude - s.longitude < -180 THEN 180 WHEN s.next_longitude - s.longitude > 180 THEN -180 END AS side
        FROM step AS s
    ), cut AS (
        SELECT c.*, 1 + count(c.side) OVER (ORDER BY c.n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS part,
            -- how much of the step is on this side
            coalesce((c.side - c.longitude) / nullif(c.next_longitude + 2 * c.side - c.longitude, 0), 0) AS share
        FROM crossing AS c
    ), vertex AS (
        SELECT c.part + x.further AS part, row_number() OVER (ORDER BY c.n, x.place) AS n, x.place, x.longitude, c.speed_kmh,
            CASE x.place WHEN 0 THEN c.latitude ELSE c.latitude + c.share * (c.next_latitude - c.latitude) END AS latitude,
            CASE x.place WHEN 0 THEN c.passed_at ELSE c.passed_at + c.share * (c.next_at - c.passed_at) END AS passed_at
        FROM cut AS c
        CROSS JOIN LATERAL (VALUES (0, 0, c.longitude), (1, 0, c.side), (2, 1, -c.side)) AS x (place, further, longitude)
        WHERE x.place = 0 OR c.side IS NOT NULL
    ), part AS (
        SELECT v.part, jsonb_agg(damoov.geojson_position(v.longitude, v.latitude) ORDER BY v.n) AS coordinates,
            jsonb_agg(v.passed_at ORDER BY v.n) AS passed_at,
            jsonb_agg(CASE v.place WHEN 0 THEN v.speed_kmh END ORDER BY v.n) AS speed_kmh
        FROM vertex AS v
        GROUP BY v.part
    ), line AS (
        SELECT count(*) AS parts, jsonb_agg(p.coordinates ORDER BY p.part) AS coordinates, jsonb_agg(p.passed_at ORDER BY p.part) AS passed_at,
            jsonb_agg(p.speed_kmh ORDER BY p.part) AS speed_kmh
        FROM part AS p
    )
    SELECT CASE
            WHEN l.parts > 1 THEN jsonb_build_object('type', 'MultiLineString', 'coordinates', l.coordinates)
            WHEN jsonb_array_length(l.coordinates -> 0) > 1 THEN jsonb_build_object('type', 'LineString', 'coordinates', l.coordinates -> 0)
            WHEN l.parts = 1 THEN jsonb_build_object('type', 'Point', 'coordinates', l.coordinates #> '{0,0}')
        END,
        CASE WHEN l.parts > 1 THEN l.passed_at ELSE coalesce(l.passed_at -> 0, '[]') END,
        CASE WHEN l.parts > 1 THEN l.speed_kmh ELSE coalesce(l.speed_kmh -> 0, '[]') END
    FROM line AS l
$$;
COMMENT ON FUNCTION damoov.line_geometry(double precision[], double precision[], timestamptz[], double precision[]) IS 'a line as a geometry of GeoJSON: a LineString, cut at the antimeridian a MultiLineString, with one vertex a Point, without NULL; and times and speeds in the same shape as its positions';

CREATE FUNCTION damoov.trip_properties(trip_id bigint) RETURNS jsonb
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
AS $$
    SELECT jsonb_build_object('trip_id', t.trip_id, 'user_id', t.user_id, 'started_at', t.started_at, 'ended_at', t.ended_at,
        'start_utc_offset_min', t.start_utc_offset_min, 'end_utc_offset_min', t.end_utc_offset_min, 'distance_km', t.distance_km,
        'duration_min', t.duration_min, 'origin', t.origin, 'score', t.score, 'score_acceleration', t.score_acceleration,
        'score_braking', t.score_braking, 'score_cornering', t.score_cornering, 'score_speeding', t.score_speeding,
        'score_phone_usage', t.score_phone_usage, 'eco_score', t.eco_score, 'point_count', t.point_count)
    FROM damoov.trips AS t
    WHERE t.trip_id = trip_properties.trip_id
$$;
COMMENT ON FUNCTION damoov.trip_properties(bigint) IS 'what a Feature of GeoJSON says of a trip; no id of the platform';

CREATE FUNCTION damoov_trip_geojson(trip_id bigint, what text DEFAULT 'line') RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE COST 10000
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
AS $$
DECLARE
    properties jsonb;
    answer jsonb;
BEGIN
    IF what NOT IN ('line', 'points', 'events') THEN
        RAISE EXCEPTION 'there is no GeoJSON of the "%" of a trip', what
            USING ERRCODE = 'invalid_parameter_value', HINT = 'There is "line", "points" and "events".';
    END IF;
    properties := damoov.trip_properties(trip_id);
    IF properties IS NULL THEN
        RETURN NULL;
    ELSIF what = 'line' THEN
        SELECT jsonb_build_object('type', 'Feature', 'id', trip_id, 'geometry', g.geometry,
            'properties', properties || jsonb_build_object('coordinateProperties', jsonb_build_object('times', g.passed_at, 'speeds', g.speed_kmh)))
        INTO answer
        FROM (
            SELECT array_agg(v.longitude ORDER BY v.n) AS longitudes, array_agg(v.latitude ORDER BY v.n) AS latitudes,
                array_agg(v.passed_at ORDER BY v.n) AS times, array_agg(v.speed_kmh ORDER BY v.n) AS speeds
            FROM damoov.trip_vertices(trip_id) AS v
        ) AS l
        CROSS JOIN LATERAL damoov.line_geometry(l.longitudes, l.latitudes, l.times, l.speeds) AS g;
        RETURN answer;
    ELSIF what = 'points' THEN
        SELECT jsonb_agg(jsonb_build_object('type', 'Feature', 'id', p.seq,
            'geometry', jsonb_build_object('type', 'Point', 'coordinates', damoov.geojson_position(p.longitude, p.latitude)),
            'properties', jsonb_build_object('seq', p.seq, 'recorded_at', p.recorded_at, 'total_meters', p.total_meters, 'speed_kmh', p.speed_kmh,
                'speed_limit_kmh', p.speed_limit_kmh, 'speed_type', p.speed_type, 'alert_type', p.alert_type, 'alert_value_ms2', p.alert_value_ms2,
                'cornering', p.cornering, 'phone_usage', p.phone_usage, 'course_deg', p.course_deg, 'is_filler', p.is_filler)) ORDER BY p.seq)
        INTO answer
        FROM @extschema@.damoov_points(trip_id) AS p
        WHERE p.latitude BETWEEN -90 AND 90 AND p.longitude BETWEEN -180 AND 180;
    ELSE
        SELECT jsonb_agg(jsonb_build_object('type', 'Feature', 'id', e.seq,
            'geometry', CASE WHEN e.latitude BETWEEN -90 AND 90 AND e.longitude BETWEEN -180 AND 180
                THEN jsonb_build_object('type', 'Point', 'coordinates', damoov.geojson_position(e.longitude, e.latitude)) END,
            'properties', jsonb_build_object('seq', e.seq, 'kind', e.kind, 'started_at', e.started_at, 'ended_at', e.ended_at, 'length_m', e.length_m,
                'peak_ms2', e.peak_ms2, 'max_speed_kmh', e.max_speed_kmh, 'max_excess_kmh', e.max_excess_kmh)) ORDER BY e.seq)
        INTO answer
        FROM damoov.trip_events AS e
        WHERE e.trip_id = damoov_trip_geojson.trip_id;
    END IF;
    RETURN jsonb_build_object('type', 'FeatureCollection', 'trip_id', trip_id, 'features', coalesce(answer, '[]'));
END
$$;
COMMENT ON FUNCTION damoov_trip_geojson(bigint, text) IS 'a trip as GeoJSON: its line, as a Feature, or its points or events, as a FeatureCollection; NULL when the trip is not there; errors: 22023 no such word, XX001 damaged document';

-- The statement is put together, so that it is planned for what is given.
CREATE FUNCTION damoov_trips_geojson(since timestamptz, until timestamptz, bbox double precision[] DEFAULT NULL, user_id bigint DEFAULT NULL) RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL SAFE COST 1000000
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    most_trips CONSTANT integer := 1000;
    most_vertices CONSTANT integer := 100;
    bounds CONSTANT text := 'box(point(t.min_longitude, t.min_latitude), point(t.max_longitude, t.max_latitude))';
    conditions text := 'true';
    matched bigint;
    found_ids bigint[];
BEGIN
    IF since IS NOT NULL THEN
        conditions := conditions || ' AND t.started_at >= $1';
    END IF;
    IF until IS NOT NULL THEN
        conditions := conditions || ' AND t.started_at < $2';
    END IF;
    IF bbox IS NOT NULL THEN
        IF (array_ndims(bbox) = 1 AND cardinality(bbox) = 4 AND array_lower(bbox, 1) = 1 AND bbox[1] BETWEEN -180 AND 180 AND bbox[3] BETWEEN -180 AND 180
            AND bbox[2] BETWEEN -90 AND bbox[4] AND bbox[4] <= 90) IS NOT TRUE
        THEN
            RAISE EXCEPTION 'bbox is not a bounding box'
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = 'It has west, south, east and north, in degrees: ARRAY[13.2, 52.4, 13.5, 52.6]. West is greater than east where it crosses the antimeridian.';
        ELSIF bbox[1] <= bbox[3] THEN
            conditions := conditions || format(' AND %s && box(point($3[1], $3[2]), point($3[3], $3[4]))', bounds);
        ELSE
            conditions := conditions || format(' AND (%1$s && box(point($3[1], $3[2]), point(180, $3[4])) OR %1$s && box(point(-180, $3[2]), point($3[3], $3[4])))', bounds);
        END IF;
    END IF;
    IF user_id IS NOT NULL THEN
        conditions := conditions || ' AND t.user_id = $4';
    END IF;
    EXECUTE format('SELECT max(n.matched), array_agg(n.trip_id ORDER BY n.started_at DESC NULLS LAST, n.trip_id DESC) FROM ('
        'SELECT t.trip_id, t.started_at, count(*) OVER () AS matched FROM damoov.trips AS t WHERE %s'
        ' ORDER BY t.started_at DESC NULLS LAST, t.trip_id DESC LIMIT %s) AS n', conditions, most_trips)
    INTO matched, found_ids USING since, until, bbox, user_id;
    RETURN jsonb_build_object('type', 'FeatureCollection', 'numberMatched', coalesce(matched, 0),
        'numberReturned', coalesce(cardinality(found_ids), 0), 'numberLeftOut', coalesce(matched - cardinality(found_ids), 0),
        'features', coalesce((
            SELECT jsonb_agg(jsonb_build_object('type', 'Feature', 'id', f.trip_id, 'geometry', g.geometry, 'properties', damoov.trip_properties(f.trip_id)) ORDER BY f.n)
            FROM unnest(found_ids) WITH ORDINALITY AS f (trip_id, n)
            CROSS JOIN LATERAL (
                SELECT array_agg(v.longitude ORDER BY v.n) AS longitudes, array_agg(v.latitude ORDER BY v.n) AS latitudes
                FROM damoov.thinned_vertices(f.trip_id, most_vertices) AS v
            ) AS l
            CROSS JOIN LATERAL damoov.line_geometry(l.longitudes, l.latitudes, NULL, NULL) AS g), '[]'));
END
$$;
COMMENT ON FUNCTION damoov_trips_geojson(timestamptz, timestamptz, double precision[], bigint) IS 'the latest 1,000 of the trips that began in a time, whose bounding box meets another one (west, south, east, north), of one person or all, as a FeatureCollection of lines of at most 100 vertices; numberLeftOut says how many more there are; NULL is no limit; errors: 22023 no bounding box, XX001 damaged document';

-- A text, since a server may be built without libxml.  180 degrees east is not in
-- the range of the schema, 180 degrees west is.
CREATE FUNCTION damoov_trip_gpx(trip_id bigint) RETURNS text
    LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 10000
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT concat(E'<?xml version="1.0" encoding="UTF-8"?>\n<gpx version="1.1" creator="damoov" xmlns="http://www.topografix.com/GPX/1/1">\n<trk>\n<name>Trip ',
        t.trip_id, E'</name>\n<trkseg>\n', string_agg(format(E'<trkpt lat="%s" lon="%s">%s</trkpt>\n', round(v.latitude::numeric, 7),
            CASE round(v.longitude::numeric, 7) WHEN 180 THEN -180 ELSE round(v.longitude::numeric, 7) END,
            '<time>' || to_char(v.passed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '</time>'), '' ORDER BY v.n) FILTER (WHERE v.n > 0),
        E'</trkseg>\n</trk>\n</gpx>\n')
    FROM damoov.trips AS t
    LEFT JOIN damoov.trip_vertices(damoov_trip_gpx.trip_id) AS v ON true
    WHERE t.trip_id = damoov_trip_gpx.trip_id
    GROUP BY t.trip_id
$$;
COMMENT ON FUNCTION damoov_trip_gpx(bigint) IS 'a trip as GPX 1.1: a track of one segment, with times in UTC; NULL when the trip is not there; errors: XX001 damaged document';

CREATE FUNCTION damoov.little_endian(big_endian bytea) RETURNS bytea
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN substr(big_endian, 8, 1) || substr(big_endian, 7, 1) || substr(big_endian, 6, 1) || substr(big_endian, 5, 1)
    || substr(big_endian, 4, 1) || substr(big_endian, 3, 1) || substr(big_endian, 2, 1) || substr(big_endian, 1, 1);
COMMENT ON FUNCTION damoov.little_endian(bytea) IS 'eight bytes in the opposite order';

-- 0x60000002 is a LineString (2) with M and with an SRID, 4326.  A line needs two
-- vertices: a single one stands twice.
CREATE FUNCTION damoov_trip_wkb(trip_id bigint) RETURNS bytea
    LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 10000
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT decode('0102000060e6100000', 'hex') || substr(damoov.little_endian(int8send(count(v.n))), 1, 4)
        || coalesce(string_agg(damoov.little_endian(float8send(v.longitude)) || damoov.little_endian(float8send(v.latitude))
            || damoov.little_endian(float8send(extract(epoch FROM v.passed_at)::double precision)), '' ORDER BY v.n), '')
    FROM damoov.trips AS t
    LEFT JOIN (
        SELECT a.n + x.further AS n, a.longitude, a.latitude,
            coalesce(a.passed_at, 'epoch'::timestamptz + a.n * interval '1 millisecond') + x.further * interval '1 millisecond' AS passed_at
        FROM (SELECT w.*, count(*) OVER () AS vertices FROM damoov.trip_vertices(damoov_trip_wkb.trip_id) AS w) AS a
        CROSS JOIN LATERAL generate_series(0, CASE a.vertices WHEN 1 THEN 1 ELSE 0 END) AS x (further)
    ) AS v ON true
    WHERE t.trip_id = damoov_trip_wkb.trip_id
    GROUP BY t.trip_id
$$;
COMMENT ON FUNCTION damoov_trip_wkb(bigint) IS 'the line of a trip as EWKB, a little-endian LineStringM of SRID 4326 whose M is seconds since 1970 and always grows; a single vertex stands twice, and without any the line is empty; NULL when the trip is not there; errors: XX001 damaged document';

-- Each number is the difference to the one before, with its sign in the last bit,
-- as digits of five bits, the last ones first; all but the last digit have a sixth.
CREATE FUNCTION damoov_polyline(trip_id bigint, digits integer DEFAULT 5) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE COST 10000
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF digits NOT BETWEEN 0 AND 9 THEN
        RAISE EXCEPTION 'a polyline cannot have % decimal places', digits
            USING ERRCODE = 'invalid_parameter_value', HINT = 'They are 0 to 9: most programs expect 5, some 6.';
    END IF;
    PERFORM FROM damoov.trips AS t WHERE t.trip_id = damoov_polyline.trip_id;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RETURN (
        WITH scaled AS (
            SELECT v.n, x.place, round(x.degrees::numeric, digits) * power(10::numeric, digits) AS value
            FROM damoov.trip_vertices(damoov_polyline.trip_id) AS v
            CROSS JOIN LATERAL (VALUES (1, v.latitude), (2, v.longitude)) AS x (place, degrees)
        ), changed AS (
            SELECT s.n, s.place, (s.value - lag(s.value, 1, 0.0) OVER (PARTITION BY s.place ORDER BY s.n))::bigint AS change
            FROM scaled AS s
        ), signed AS (
            SELECT c.n, c.place, CASE WHEN c.change < 0 THEN ~(c.change << 1) ELSE c.change << 1 END AS value
            FROM changed AS c
        )
        SELECT coalesce(string_agg(chr(63 + (s.value >> 5 * d.digit & 31)::integer + CASE WHEN s.value >> 5 * (d.digit + 1) > 0 THEN 32 ELSE 0 END),
            '' ORDER BY s.n, s.place, d.digit), '')
        FROM signed AS s
        CROSS JOIN LATERAL generate_series(0, 7) AS d (digit)
        WHERE d.digit = 0 OR s.value >> 5 * d.digit > 0);
END
$$;
COMMENT ON FUNCTION damoov_polyline(bigint, integer) IS 'the line of a trip as an encoded polyline of Google, with so many decimal places; empty without a vertex, NULL when the trip is not there; errors: 22023 digits not from 0 to 9, XX001 damaged document';
