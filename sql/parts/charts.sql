-- ---------------------------------------------------------------------
-- Charts: speed along a trip, sensors around a crash
-- ---------------------------------------------------------------------

-- Where the run changes, the line has a gap.
CREATE FUNCTION damoov.chart_line(x double precision[], y double precision[], runs integer[]) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    breaks CONSTANT boolean[] := (SELECT array_agg(r.run IS DISTINCT FROM r.before OR r.run IS DISTINCT FROM r.after ORDER BY r.n)
        FROM unnest(runs, NULL::integer || runs[:cardinality(runs) - 1], runs[2:]) WITH ORDINALITY AS r (run, before, after, n));
BEGIN
    RETURN (
        SELECT string_agg(CASE WHEN k.run = k.run_before THEN ' ' ELSE 'M' END || damoov.pixels(k.x) || ' ' || damoov.pixels(k.y)
            || CASE WHEN k.run = k.run_before THEN '' ELSE 'L' || damoov.pixels(k.x) || ' ' || damoov.pixels(k.y) END, '' ORDER BY k.position)
        FROM (
            SELECT p.position, x[p.position] AS x, y[p.position] AS y, runs[p.position] AS run, runs[lag(p.position) OVER (ORDER BY p.position)] AS run_before
            FROM unnest(damoov.simplify(x, y, breaks, 0.4, 1000)) AS p (position)
        ) AS k);
END
$$;
COMMENT ON FUNCTION damoov.chart_line(double precision[], double precision[], integer[]) IS 'the path of a line through these points, with at most 1,000 of them, and a gap where the run changes; NULL without points';

CREATE FUNCTION damoov.chart_grid(y double precision, height double precision, x_from double precision, x_to double precision, x_unit text,
    y_to double precision, y_unit text) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    RETURN (
        SELECT concat(
            (SELECT string_agg(format('<path class="dv-g" d="M60 %1$sH780"/><text class="dv-n dv-r" x="54" y="%2$s">%3$s</text>',
                    damoov.pixels(y + height - g * s.step / y_to * height), damoov.pixels(y + height - g * s.step / y_to * height + 4), trim_scale((g * s.step)::numeric)), '' ORDER BY g)
                FROM (SELECT damoov.round_below(y_to / 3) AS step) AS s, generate_series(0, floor(y_to / s.step)::integer) AS g),
            (SELECT string_agg(format('<path class="dv-g" d="M%1$s %2$sV%3$s"/><text class="dv-n dv-c" x="%1$s" y="%4$s">%5$s</text>',
                    damoov.pixels(60 + (g * s.step - x_from) / (x_to - x_from) * 720), damoov.pixels(y), damoov.pixels(y + height), damoov.pixels(y + height + 16),
                    trim_scale((g * s.step)::numeric)), '' ORDER BY g)
                FROM (SELECT damoov.round_below((x_to - x_from) / 5) AS step) AS s, generate_series(ceil(x_from / s.step)::integer, floor(x_to / s.step)::integer) AS g),
            format('<text class="dv-n" x="20" y="%s">%s</text>', damoov.pixels(y - 10), damoov.markup(y_unit)),
            format('<text class="dv-n dv-r" x="780" y="%s">', damoov.pixels(y + height + 32)) || damoov.markup(x_unit) || '</text>'));
END
$$;
COMMENT ON FUNCTION damoov.chart_grid(double precision, double precision, double precision, double precision, text, double precision, text) IS 'the lines and numbers of a chart from y downwards; its values begin at 0; x_unit may be NULL';

-- Distance runs on where a point does not know its own, or one behind.
CREATE FUNCTION damoov_speed_svg(trip_id bigint, miles boolean DEFAULT false) RETURNS damoov."image/svg+xml"
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET extra_float_digits = 0
AS $$
#variable_conflict use_variable
DECLARE
    unit CONSTANT double precision := CASE WHEN miles THEN 1.609344 ELSE 1 END;
    speed_unit CONSTANT text := CASE WHEN miles THEN 'mph' ELSE 'km/h' END;
    length_unit text := CASE WHEN miles THEN 'mi' ELSE 'km' END;
    trip record;
    way record;
    x double precision[];
    lines record;
    content text := '<text x="20" y="80">No speed of this trip is known.</text>';
    bottom double precision := 100;
BEGIN
    SELECT t.trip_id, damoov.driver_text(u.client_id, t.user_id) AS driver, damoov.time_text(t.started_at, t.start_utc_offset_min) AS began
    INTO trip
    FROM damoov.trips AS t
    LEFT JOIN damoov.users AS u USING (user_id)
    WHERE t.trip_id = damoov_speed_svg.trip_id;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT array_agg(p.at) AS at, min(p.at) AS at_from, max(p.at) AS at_to, array_agg(p.speed) AS speeds, array_agg(p.max_speed) AS limits,
        count(p.speed) AS known, greatest(max(p.speed), max(p.max_speed), 10) AS top
    INTO way
    FROM (
        SELECT max(damoov.usable(n.total_meters, 0, 1e8)) OVER (ORDER BY n.seq) / 1000 / unit AS at,
            damoov.usable(n.speed_kmh, 0, 1000) / unit AS speed,
            damoov.usable(n.speed_limit_kmh, 1, 998) / unit AS max_speed
        FROM @extschema@.damoov_points(damoov_speed_svg.trip_id) AS n
        ORDER BY n.seq
    ) AS p;
    IF way.known > 0 THEN
        -- without distances, one point after the other
        IF way.at_to - way.at_from > 0.001 THEN
            x := ARRAY(SELECT 60 + (coalesce(a, way.at_from) - way.at_from) / (way.at_to - way.at_from) * 720 FROM unnest(way.at) AS a);
        ELSE
            length_unit := 'points';
            way.at_from := 0;
            way.at_to := greatest(cardinality(way.at) - 1, 1);
            x := ARRAY(SELECT 60 + (n - 1) / way.at_to * 720 FROM generate_series(1, cardinality(way.at)) AS n);
        END IF;
        bottom := 330;
        SELECT damoov.chart_line(array_agg(p.x) FILTER (WHERE p.speed IS NOT NULL), array_agg(300 - p.speed / way.top * 220) FILTER (WHERE p.speed IS NOT NULL),
                array_agg(p.run) FILTER (WHERE p.speed IS NOT NULL)) AS speed
        INTO lines
        FROM (
            SELECT u.x, u.speed, count(*) FILTER (WHERE u.speed IS NULL) OVER (ORDER BY u.n)::integer AS run
            FROM unnest(x, way.speeds) WITH ORDINALITY AS u (x, speed, n)
        ) AS p;
        content := concat(damoov.chart_grid(80, 220, 0, way.at_to - way.at_from, length_unit, way.top, speed_unit),
            -- a limit holds until the next point
            (SELECT '<path class="dv-l dv-q" d="' || damoov.chart_line(array_agg(s.x ORDER BY s.n, s.x), array_agg(300 - s.max_speed / way.top * 220 ORDER BY s.n, s.x),
                    array_agg(s.run ORDER BY s.n, s.x)) || '"/>'
                FROM (
                    SELECT u.n, e.x, u.max_speed, count(*) FILTER (WHERE u.max_speed IS NULL) OVER (ORDER BY u.n)::integer AS run
                    FROM unnest(x, x[2:] || x[cardinality(x)], way.limits) WITH ORDINALITY AS u (x, x_next, max_speed, n)
                    CROSS JOIN LATERAL (VALUES (u.x), (u.x_next)) AS e (x)
                ) AS s
                WHERE s.max_speed IS NOT NULL),
            '<path class="dv-l dv-v" d="', lines.speed, '"/>',
            '<path class="dv-l dv-v" d="M560 22h22"/><text x="588" y="26">speed</text><path class="dv-l dv-q" d="M660 22h22"/><text x="688" y="26">limit</text>');
    END IF;
    RETURN damoov.picture('dv-speed-' || trip.trip_id, bottom + 10, format('The speed along trip %s', trip.trip_id),
        format('Speed and limit in %s over the distance in %s', speed_unit, length_unit), concat_ws(E' \u00b7 ', format('Trip %s: speed', trip.trip_id), trip.began), trip.driver, content);
END
$$;
COMMENT ON FUNCTION damoov_speed_svg(bigint, boolean) IS 'speed and limit over the distance of a trip as an SVG document, in km/h or mph; NULL when there is no such trip';

CREATE FUNCTION damoov.verdict_text(passed_filters boolean) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE WHEN passed_filters THEN 'a crash' WHEN NOT passed_filters THEN 'a false alarm' ELSE 'not judged yet' END;
END;
COMMENT ON FUNCTION damoov.verdict_text(boolean) IS 'what the platform takes a suspected crash for';

-- The acceleration is what damoov.measure_impact() looks at: without gravity,
-- which is the median of each axis.
CREATE FUNCTION damoov_crash_svg(crash_id bigint, miles boolean DEFAULT false) RETURNS damoov."image/svg+xml"
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET extra_float_digits = 0
AS $$
#variable_conflict use_variable
DECLARE
    unit CONSTANT double precision := CASE WHEN miles THEN 1.609344 ELSE 1 END;
    speed_unit CONSTANT text := CASE WHEN miles THEN 'mph' ELSE 'km/h' END;
    crash record;
    span record;
    drawn record;
    content text := '<text x="20" y="80">No samples of this crash are known.</text>';
    bottom double precision := 110;
BEGIN
    SELECT c.crash_id, damoov.driver_text(u.client_id, c.user_id) AS driver, damoov.time_text(coalesce(s.peak_at, s.started_at), NULL) AS began,
        damoov.verdict_text(c.passed_filters) AS verdict, coalesce(s.peak_at_ms, 0) AS peak_at_ms, s.peak_at_ms IS NOT NULL AS has_peak,
        damoov.number_text(s.peak_acceleration_ms2, 1) AS peak
    INTO crash
    FROM damoov.crashes AS c
    JOIN damoov.crash_summary AS s ON s.crash_id = c.crash_id
    LEFT JOIN damoov.users AS u ON u.user_id = c.user_id
    WHERE c.crash_id = damoov_crash_svg.crash_id;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    WITH sample AS MATERIALIZED (
        SELECT s.seq, damoov.usable(s.at_ms - crash.peak_at_ms, -1e9, 1e9) / 1000 AS at, damoov.usable(s.acceleration_x_ms2, -1e4, 1e4) AS ax,
            damoov.usable(s.acceleration_y_ms2, -1e4, 1e4) AS ay, damoov.usable(s.acceleration_z_ms2, -1e4, 1e4) AS az,
            damoov.usable(s.speed_ms, 0, 300) * 3.6 / unit AS speed
        FROM damoov.crash_samples AS s
        WHERE s.crash_id = damoov_crash_svg.crash_id
    ), gravity AS (
        SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY s.ax) AS gx, percentile_cont(0.5) WITHIN GROUP (ORDER BY s.ay) AS gy,
            percentile_cont(0.5) WITHIN GROUP (ORDER BY s.az) AS gz
        FROM sample AS s
    )
    SELECT array_agg(p.at) AS at, array_agg(p.acceleration) AS acceleration, array_agg(p.speed) AS speed, min(p.at) AS at_from,
        greatest(max(p.at), min(p.at) + 0.001) AS at_to, greatest(max(p.acceleration), 1) AS top, greatest(max(p.speed), 10) AS speed_top
    INTO span
    FROM (
        SELECT s.at, s.speed, sqrt(round((s.ax - g.gx) * 1e6) ^ 2 + round((s.ay - g.gy) * 1e6) ^ 2 + round((s.az - g.gz) * 1e6) ^ 2) / 1e6 AS acceleration
        FROM sample AS s
        CROSS JOIN gravity AS g
        WHERE s.at BETWEEN -5 AND 5 OR NOT crash.has_peak AND s.at BETWEEN 0 AND 60
        ORDER BY s.at, s.seq
    ) AS p;
    IF span.at IS NOT NULL THEN
        bottom := 430;
        SELECT damoov.chart_line(array_agg(p.x) FILTER (WHERE p.acceleration IS NOT NULL), array_agg(240 - p.acceleration / span.top * 160) FILTER (WHERE p.acceleration IS NOT NULL),
                array_agg(p.run) FILTER (WHERE p.acceleration IS NOT NULL)) AS acceleration,
            -- comes about once a second
            damoov.chart_line(array_agg(p.x) FILTER (WHERE p.speed IS NOT NULL), array_agg(400 - p.speed / span.speed_top * 90) FILTER (WHERE p.speed IS NOT NULL),
                array_agg(0) FILTER (WHERE p.speed IS NOT NULL)) AS speed
        INTO drawn
        FROM (
            SELECT 60 + (u.at - span.at_from) / (span.at_to - span.at_from) * 720 AS x, u.acceleration, u.speed,
                count(*) FILTER (WHERE u.acceleration IS NULL) OVER (ORDER BY u.n)::integer AS run
            FROM unnest(span.at, span.acceleration, span.speed) WITH ORDINALITY AS u (at, acceleration, speed, n)
        ) AS p;
        content := concat(
            damoov.chart_grid(80, 160, span.at_from, span.at_to, CASE WHEN crash.has_peak THEN 'seconds from the impact' ELSE 'seconds' END, span.top, E'acceleration without gravity, m/s\u00b2'),
            damoov.chart_grid(310, 90, span.at_from, span.at_to, NULL, span.speed_top, 'speed, ' || speed_unit),
            '<path class="dv-l dv-v" d="' || drawn.acceleration || '"/>', '<path class="dv-l dv-v" d="' || drawn.speed || '"/>',
            CASE WHEN crash.has_peak THEN format('<path class="dv-l dv-q" d="M%1$s 80V240M%1$s 310V400"><title>the impact</title></path>',
                damoov.pixels(60 - span.at_from / (span.at_to - span.at_from) * 720)) END);
    END IF;
    RETURN damoov.picture('dv-crash-' || crash.crash_id, bottom, format('The sensors around crash %s', crash.crash_id),
        concat_ws(', ', format('Acceleration and speed (%s) around the moment', speed_unit), 'the greatest acceleration is ' || crash.peak || E' m/s\u00b2', 'judged as ' || crash.verdict),
        concat_ws(E' \u00b7 ', format('Crash %s', crash.crash_id), crash.began, crash.verdict, crash.peak || E' m/s\u00b2'), crash.driver, content);
END
$$;
COMMENT ON FUNCTION damoov_crash_svg(bigint, boolean) IS 'acceleration and speed around a suspected crash as an SVG document, 5 seconds before and after the impact, in km/h or mph; NULL when there is no such crash';
