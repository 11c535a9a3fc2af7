-- ---------------------------------------------------------------------
-- Pictures: what all of them are made of, and the way of a trip
-- ---------------------------------------------------------------------

-- A server such as PostgREST hands out what a function returns as what the name of
-- its type says, in whichever schema that is.  Theirs is the schema of the
-- extension: many who use such a server have a type "text/html" beside their
-- functions already, and CREATE EXTENSION would fail.
CREATE DOMAIN damoov."image/svg+xml" AS text;
COMMENT ON DOMAIN damoov."image/svg+xml" IS 'a picture; PostgREST and its like send it with this media type';
CREATE DOMAIN damoov."text/html" AS text;
COMMENT ON DOMAIN damoov."text/html" IS 'a page; PostgREST and its like send it with this media type';

-- Characters that XML does not have, and those that turn the direction of what
-- stands around them, are shown as U+FFFD.  They are written as JSON, which is read
-- after the encoding of the database has been checked, and other escapes are not.
CREATE FUNCTION damoov.markup(value text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT replace(replace(replace(replace(replace(translate(value,
        E'\x01\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7f'
            || (E'"\\u0080\\u0081\\u0082\\u0083\\u0084\\u0085\\u0086\\u0087\\u0088\\u0089\\u008a\\u008b\\u008c\\u008d\\u008e\\u008f\\u0090\\u0091\\u0092\\u0093\\u0094\\u0095'
            '\\u0096\\u0097\\u0098\\u0099\\u009a\\u009b\\u009c\\u009d\\u009e\\u009f\\u202a\\u202b\\u202c\\u202d\\u202e\\u2066\\u2067\\u2068\\u2069\\ufffe\\uffff"'::jsonb #>> '{}'),
        repeat(chr(65533), 72)),
        '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&quot;'), '''', '&#39;');
END;
COMMENT ON FUNCTION damoov.markup(text) IS 'a text for XML and HTML, as content or in quotes';

CREATE FUNCTION damoov.simplify(x double precision[], y double precision[], breaks boolean[], tolerance double precision, most integer) RETURNS integer[]
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 100000 AS 'MODULE_PATHNAME', 'damoov_simplify';
COMMENT ON FUNCTION damoov.simplify(double precision[], double precision[], boolean[], double precision, integer) IS 'the positions of the points of a line that are enough to draw it: none of the others lies further off than the tolerance, unless most are too few; points that are breaks are kept before others; errors: 22023 arrays of different lengths, with NULL or values that are not finite';

-- Tenths of a pixel are more than can be seen.
CREATE FUNCTION damoov.pixels(value double precision) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT (round(value * 10) / 10)::text;
END;
COMMENT ON FUNCTION damoov.pixels(double precision) IS 'a length in a picture';

-- The small functions here are put in the place of their calls, which the planner
-- does only for one that is not STRICT if it has a CASE, and not IMMUTABLE if it
-- calls what is STABLE.  Those with a query are in plpgsql, which keeps its plan.

-- What is next to nothing would be an underflow in the next division.
CREATE FUNCTION damoov.usable(value double precision, lowest double precision, highest double precision) RETURNS double precision
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE WHEN value BETWEEN lowest AND highest THEN round(value * 1e7) / 1e7 END;
END;
COMMENT ON FUNCTION damoov.usable(double precision, double precision, double precision) IS 'a number that can be computed with, to seven digits behind the point; NULL when it is out of the range or none';

CREATE FUNCTION damoov.number_text(value double precision, digits integer, unit numeric DEFAULT 1) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE WHEN value BETWEEN -1e15 AND 1e15 THEN round(value::numeric / unit, digits)::text END;
END;
COMMENT ON FUNCTION damoov.number_text(double precision, integer, numeric) IS 'a number in this unit, with so many digits behind the point; NULL when it is infinite or none';

CREATE FUNCTION damoov.distance_text(km double precision, miles boolean) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE WHEN miles THEN damoov.number_text(km, 1, 1.609344) || ' mi' ELSE damoov.number_text(km, 1) || ' km' END;
END;
COMMENT ON FUNCTION damoov.distance_text(double precision, boolean) IS 'a distance in kilometres or miles';

CREATE FUNCTION damoov.speed_text(kmh double precision, miles boolean) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE WHEN miles THEN damoov.number_text(kmh, 0, 1.609344) || ' mph' ELSE damoov.number_text(kmh, 0) || ' km/h' END;
END;
COMMENT ON FUNCTION damoov.speed_text(double precision, boolean) IS 'a speed in km/h or mph';

-- A time that is no time of a drive is not shown.
CREATE FUNCTION damoov.time_text(at timestamptz, utc_offset_min integer) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE
        WHEN at NOT BETWEEN '1900-01-01Z' AND '9999-12-01Z' THEN NULL
        WHEN utc_offset_min BETWEEN -1440 AND 1440 THEN
            to_char(at AT TIME ZONE 'UTC' + utc_offset_min * interval '1 minute', 'YYYY-MM-DD HH24:MI') || ' UTC'
            || to_char(sign(utc_offset_min) * (abs(utc_offset_min) / 60 * 100 + abs(utc_offset_min) % 60), 'FMSG00:00')
        ELSE to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC'
    END;
END;
COMMENT ON FUNCTION damoov.time_text(timestamptz, integer) IS 'a time in the local time of an offset to UTC, with the offset; in UTC without one';

CREATE FUNCTION damoov.driver_text(client_id text, user_id bigint) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE
        WHEN client_id ~ '[^[:space:]]' THEN CASE WHEN length(client_id) > 80 THEN left(client_id, 77) || '...' ELSE client_id END
        ELSE 'driver ' || user_id
    END;
END;
COMMENT ON FUNCTION damoov.driver_text(text, bigint) IS 'how a person is called in pictures and pages: the client''s id, at most 80 characters, or the surrogate id';

CREATE FUNCTION damoov.round_below(value double precision) RETURNS double precision
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT p.power * CASE WHEN value >= 5 * p.power THEN 5 WHEN value >= 2 * p.power THEN 2 ELSE 1 END
    FROM (SELECT 10 ^ floor(log(value)) AS power) AS p;
END;
COMMENT ON FUNCTION damoov.round_below(double precision) IS 'the greatest 1, 2 or 5 times a power of ten that is not greater; for positive values';

-- Words are drawn in every picture; how wide a line is tells what its colour
-- tells, too.  Custom properties are not known to all that draw SVG.
CREATE FUNCTION damoov.picture_style() RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT '<style>'
        '.dv{font:12px system-ui,sans-serif}.dv-bg{fill:#fff}.dv text{fill:#1f2328}.dv .dv-h{font-size:15px;font-weight:600}'
        '.dv .dv-n{fill:#57606a}.dv .dv-r{text-anchor:end}.dv .dv-c{text-anchor:middle}'
        '.dv .dv-g{stroke:#d0d7de;stroke-width:1;fill:none}.dv .dv-k{stroke:#1f2328;stroke-width:2;fill:none}'
        '.dv .dv-l{fill:none;stroke-linejoin:round;stroke-linecap:round}'
        '.dv .dv-s0{stroke:#8c959f;stroke-width:3}.dv .dv-s1{stroke:#0969da;stroke-width:3}.dv .dv-s2{stroke:#bf8700;stroke-width:4}'
        '.dv .dv-s3{stroke:#d1570a;stroke-width:5}.dv .dv-s4{stroke:#cf222e;stroke-width:6}'
        '.dv .dv-v{stroke:#0969da;stroke-width:1.5}.dv .dv-q{stroke:#cf222e;stroke-width:1.5;stroke-dasharray:5 3}'
        '.dv .dv-e{fill:#1f2328;stroke:#fff;stroke-width:1.5}'
        '@media(prefers-color-scheme:dark){.dv .dv-bg{fill:#15181d}.dv text{fill:#e6edf3}.dv .dv-n{fill:#9ea7b3}'
        '.dv .dv-g{stroke:#353c46}.dv .dv-k{stroke:#e6edf3}.dv .dv-s0{stroke:#8b949e}.dv .dv-s1{stroke:#58a6ff}.dv .dv-s2{stroke:#e3b341}'
        '.dv .dv-s3{stroke:#f0883e}.dv .dv-s4{stroke:#ff7b72}.dv .dv-v{stroke:#58a6ff}.dv .dv-q{stroke:#ff7b72}'
        '.dv .dv-e{fill:#e6edf3;stroke:#15181d}}'
        '</style>';
END;
COMMENT ON FUNCTION damoov.picture_style() IS 'the colours of pictures, on light and on dark ground';

-- Ids are those of the whole page that a picture stands in.
CREATE FUNCTION damoov.picture(id text, height double precision, title text, description text, heading text, driver text, content text) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT format('<svg xmlns="http://www.w3.org/2000/svg" class="dv" viewBox="0 0 800 %1$s" width="800" height="%1$s" role="img" aria-labelledby="%2$s-t %2$s-d">'
            '<title id="%2$s-t">%3$s</title><desc id="%2$s-d">%4$s</desc>%5$s<rect class="dv-bg" width="800" height="%1$s"/>'
            '<text class="dv-h" x="20" y="26">%6$s</text><text class="dv-n" x="20" y="44">%7$s</text>%8$s</svg>',
        damoov.pixels(height), id, damoov.markup(title), damoov.markup(description), damoov.picture_style(), damoov.markup(heading),
        damoov.markup(driver), content);
END;
COMMENT ON FUNCTION damoov.picture(text, double precision, text, text, text, text, text) IS 'an SVG document of 800 by height; content is markup, all else is text';

CREATE FUNCTION damoov.event_name(kind text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT replace(left(kind, 20), '_', ' ');
END;
COMMENT ON FUNCTION damoov.event_name(text) IS 'a kind of event in words';

CREATE FUNCTION damoov.event_text(kind text, started_at timestamptz, peak_ms2 double precision, max_speed_kmh double precision, max_excess_kmh double precision, miles boolean) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT concat_ws(', ', damoov.event_name(kind),
        to_char(CASE WHEN started_at BETWEEN '1900-01-01Z' AND '9999-12-01Z' THEN started_at END AT TIME ZONE 'UTC', 'HH24:MI:SS') || ' UTC',
        damoov.number_text(peak_ms2, 1) || ' m/s' || chr(178),
        damoov.speed_text(max_speed_kmh, miles), damoov.speed_text(max_excess_kmh, miles) || ' above the limit');
END;
COMMENT ON FUNCTION damoov.event_text(text, timestamptz, double precision, double precision, double precision, boolean) IS 'an event in a line of text';

CREATE FUNCTION damoov.event_mark(kind text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE kind
        WHEN 'acceleration' THEN 'M0 -7L7 6H-7Z'
        WHEN 'braking' THEN 'M0 7L7 -6H-7Z'
        WHEN 'cornering' THEN 'M0 -7L7 0 0 7 -7 0Z'
        WHEN 'phone_usage' THEN 'M-4 -7H4V7H-4Z'
        ELSE 'M-5 0A5 5 0 1 0 5 0A5 5 0 1 0 -5 0Z'
    END;
END;
COMMENT ON FUNCTION damoov.event_mark(text) IS 'the outline by which an event of this kind is marked';

CREATE FUNCTION damoov.speed_class(speed_kmh double precision, speed_limit_kmh double precision) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE
        WHEN speed_kmh BETWEEN 0 AND 1000 AND speed_limit_kmh BETWEEN 1 AND 998 THEN
            CASE WHEN speed_kmh <= speed_limit_kmh THEN 1 WHEN speed_kmh < speed_limit_kmh + 10 THEN 2 WHEN speed_kmh < speed_limit_kmh + 20 THEN 3 ELSE 4 END
        ELSE 0
    END;
END;
COMMENT ON FUNCTION damoov.speed_class(double precision, double precision) IS 'speed against the limit: 0 one of them is not known, 1 within it, 2 less than 10 km/h above, 3 less than 20, 4 more';

CREATE FUNCTION damoov.legend(classes integer[], trip_events jsonb, y double precision, miles boolean) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    RETURN (
        SELECT concat(
            (SELECT string_agg(format('<path class="dv-l dv-s%s" d="M%s %sh22"/><text x="%s" y="%s">%s</text>', c.class,
                    damoov.pixels(20 + (c.n - 1) * 152), damoov.pixels(y - 4), damoov.pixels(48 + (c.n - 1) * 152), damoov.pixels(y),
                    (CASE WHEN miles THEN '{limit not known,within the limit,up to 6 mph over,6 to 12 mph over,12 mph over or more}'
                        ELSE '{limit not known,within the limit,up to 10 km/h over,10 to 20 km/h over,20 km/h over or more}' END::text[])[c.class + 1]), '' ORDER BY c.n)
                FROM (SELECT d.class, row_number() OVER (ORDER BY d.class) AS n FROM (SELECT DISTINCT unnest(classes) AS class) AS d) AS c),
            (SELECT string_agg(format('<path class="dv-e" transform="translate(%s %s)" d="%s"/><text x="%s" y="%s">%s</text>',
                    damoov.pixels(31 + (k.n - 1) * 152), damoov.pixels(y + 20), damoov.event_mark(k.kind), damoov.pixels(48 + (k.n - 1) * 152), damoov.pixels(y + 24),
                    damoov.markup(format('%s (%s)', damoov.event_name(k.kind), k.count))), '' ORDER BY k.n)
                FROM (SELECT e.key AS kind, e.value AS count, row_number() OVER (ORDER BY e.key COLLATE "C") AS n FROM jsonb_each_text(trip_events) AS e) AS k)));
END
$$;
COMMENT ON FUNCTION damoov.legend(integer[], jsonb, double precision, boolean) IS 'what the colours and marks of a way mean, as far as there are such, in two lines from y on';

CREATE FUNCTION damoov.turn(degrees double precision) RETURNS double precision
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT degrees - 360 * round(degrees / 360);
END;
COMMENT ON FUNCTION damoov.turn(double precision) IS 'an angle between -180 and 180 degrees';

-- A stretch between two points that are kept has the colour of the worst between.
CREATE FUNCTION damoov.draw_way(x double precision[], y double precision[], classes integer[]) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    breaks CONSTANT boolean[] := (SELECT array_agg(c.class <> c.before ORDER BY c.n)
        FROM unnest(classes, 1 || classes[:cardinality(classes) - 1]) WITH ORDINALITY AS c (class, before, n));
    kept CONSTANT integer[] := damoov.simplify(x, y, breaks, 0.4, 1000);
BEGIN
    RETURN (
        SELECT string_agg(format('<path class="dv-l dv-s%s" d="%s"/>', w.class, w.path), '' ORDER BY w.class)
        FROM (
            SELECT s.class, string_agg(CASE WHEN s.class = s.class_before THEN ' ' ELSE format('M%s %sL', damoov.pixels(x[s.first]), damoov.pixels(y[s.first])) END
                || damoov.pixels(x[s.last]) || ' ' || damoov.pixels(y[s.last]), '' ORDER BY s.n) AS path
            FROM (
                SELECT g.n, g.class, lag(g.class) OVER (ORDER BY g.n) AS class_before, kept[g.n] AS first, kept[g.n + 1] AS last
                FROM (
                    SELECT width_bucket(c.position::integer, kept) AS n, max(c.class) AS class
                    FROM unnest(classes) WITH ORDINALITY AS c (class, position)
                    GROUP BY 1
                ) AS g
                WHERE g.n < cardinality(kept)
            ) AS s
            GROUP BY s.class
        ) AS w);
END
$$;
COMMENT ON FUNCTION damoov.draw_way(double precision[], double precision[], integer[]) IS 'a line in the colours of its classes, with at most 1,000 points; NULL for less than two';

CREATE FUNCTION damoov.scale_bar(metres_per_pixel double precision, y double precision, miles boolean) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    RETURN (
        SELECT format('<path class="dv-k" d="M%1$s %2$sv6h%3$sv-6"/><text class="dv-c" x="%4$s" y="%5$s">%6$s</text>',
            damoov.pixels(770 - b.length), damoov.pixels(y - 6), damoov.pixels(b.length), damoov.pixels(770 - b.length / 2), damoov.pixels(y - 6), b.label)
        FROM (
            SELECT n.number * u.metres / metres_per_pixel AS length, format('%s %s', n.number::numeric, u.unit) AS label
            FROM (VALUES (1, 'm', 1.0, false), (2, 'km', 1000.0, false), (1, 'ft', 0.3048, true), (2, 'mi', 1609.344, true)) AS u (rank, unit, metres, miles)
            CROSS JOIN LATERAL (SELECT damoov.round_below(150 * metres_per_pixel / u.metres) AS number) AS n
            WHERE u.miles = scale_bar.miles AND (u.rank = 1 OR n.number >= 1)
            ORDER BY u.rank DESC
            LIMIT 1
        ) AS b);
END
$$;
COMMENT ON FUNCTION damoov.scale_bar(double precision, double precision, boolean) IS 'the scale of a map, with its lower end at y';

-- Degrees are turned into metres around the middle of the way; longitudes are
-- counted from that of the first point, so that a way may cross the 180th.
CREATE FUNCTION damoov_trip_svg(trip_id bigint, miles boolean DEFAULT false) RETURNS damoov."image/svg+xml"
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET extra_float_digits = 0
AS $$
#variable_conflict use_variable
DECLARE
    metres_a_degree CONSTANT double precision := 111195;
    most_marks CONSTANT integer := 200;
    trip record;
    way record;
    origin double precision;
    middle double precision;
    mid_latitude double precision;
    metres_east double precision;
    width double precision;
    height double precision;
    scale double precision;
    centre double precision;
    marks record;
    content text;
    bottom double precision;
BEGIN
    SELECT t.trip_id, damoov.driver_text(u.client_id, t.user_id) AS driver, damoov.time_text(t.started_at, t.start_utc_offset_min) AS began,
        damoov.distance_text(t.distance_km, miles) AS distance,
        left(t.city_start, 80) AS city_start, left(t.city_end, 80) AS city_end
    INTO trip
    FROM damoov.trips AS t
    LEFT JOIN damoov.users AS u USING (user_id)
    WHERE t.trip_id = damoov_trip_svg.trip_id;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT count(*) AS points, array_agg(p.longitude) AS longitudes, array_agg(p.latitude) AS latitudes, array_agg(p.class) AS classes INTO way
    FROM (
        SELECT damoov.usable(n.longitude, -180, 180) AS longitude, damoov.usable(n.latitude, -90, 90) AS latitude, damoov.speed_class(n.speed_kmh, n.speed_limit_kmh) AS class
        FROM @extschema@.damoov_points(damoov_trip_svg.trip_id) AS n
        WHERE n.latitude BETWEEN -90 AND 90 AND n.longitude BETWEEN -180 AND 180
        ORDER BY n.seq
    ) AS p;
    IF way.points = 0 THEN
        bottom := 100;
        content := '<text x="20" y="80">No position of this trip is known.</text>';
    ELSE
        origin := way.longitudes[1];
        SELECT (max(l) + min(l)) / 2, max(l) - min(l) INTO mid_latitude, height FROM unnest(way.latitudes) AS l;
        metres_east := cos(radians(mid_latitude)) * metres_a_degree;
        SELECT array_agg(n.east), (max(n.east) + min(n.east)) / 2, max(n.east) - min(n.east) INTO way.longitudes, middle, width
        FROM (SELECT damoov.turn(l - origin) AS east FROM unnest(way.longitudes) AS l) AS n;
        -- who stands still is not shown as wandering
        scale := greatest(width * metres_east / 720, height * metres_a_degree / 480, 0.15);
        height := greatest(height * metres_a_degree / scale, 120);
        centre := 70 + height / 2;
        SELECT array_agg(400 + (u.east - middle) * metres_east / scale), array_agg(centre - (u.north - mid_latitude) * metres_a_degree / scale)
        INTO way.longitudes, way.latitudes
        FROM unnest(way.longitudes, way.latitudes) AS u (east, north);
        SELECT string_agg(format('<path class="dv-e" transform="translate(%s %s)" d="%s"><title>%s</title></path>', damoov.pixels(n.x), damoov.pixels(n.y),
                damoov.event_mark(n.kind), damoov.markup(n.text)), '' ORDER BY n.seq) FILTER (WHERE n.rank <= most_marks) AS marks,
            count(*) FILTER (WHERE n.rank > most_marks) AS left_out
        INTO marks
        FROM (
            SELECT e.seq, e.kind, row_number() OVER (ORDER BY e.seq) AS rank,
                400 + (damoov.turn(damoov.usable(e.longitude, -180, 180) - origin) - middle) * metres_east / scale AS x,
                centre - (damoov.usable(e.latitude, -90, 90) - mid_latitude) * metres_a_degree / scale AS y,
                damoov.event_text(e.kind, e.started_at, e.peak_ms2, e.max_speed_kmh, e.max_excess_kmh, miles) AS text
            FROM damoov.trip_events AS e
            WHERE e.trip_id = damoov_trip_svg.trip_id AND e.latitude BETWEEN -90 AND 90 AND e.longitude BETWEEN -180 AND 180
        ) AS n;
        bottom := 90 + height;
        content := concat(damoov.draw_way(way.longitudes, way.latitudes, way.classes), marks.marks,
            format('<circle class="dv-e" cx="%s" cy="%s" r="6"><title>start</title></circle>', damoov.pixels(way.longitudes[1]), damoov.pixels(way.latitudes[1])),
            format('<rect class="dv-e" x="%s" y="%s" width="12" height="12"><title>end</title></rect>', damoov.pixels(way.longitudes[way.points] - 6),
                damoov.pixels(way.latitudes[way.points] - 6)),
            '<path class="dv-k" d="M770 48V22M764 31L770 22L776 31"/><text class="dv-c" x="752" y="40">N</text>',
            damoov.scale_bar(scale, bottom + 14, miles),
            CASE WHEN marks.left_out > 0 THEN format('<text class="dv-n" x="20" y="%s">%s further events are not marked.</text>', damoov.pixels(bottom + 14), marks.left_out) END,
            damoov.legend(way.classes, (SELECT jsonb_object_agg(e.kind, e.count)
                FROM (SELECT left(e.kind, 20), count(*) FROM damoov.trip_events AS e WHERE e.trip_id = damoov_trip_svg.trip_id GROUP BY 1 ORDER BY 1 LIMIT 5) AS e (kind, count)),
                bottom + 38, miles));
        bottom := bottom + 76;
    END IF;
    RETURN damoov.picture('dv-way-' || trip.trip_id, bottom, format('The way of trip %s', trip.trip_id),
        concat_ws(', ', 'Speed against the limit and events on the way', trip.began, trip.distance, 'from ' || trip.city_start, 'to ' || trip.city_end),
        concat_ws(E' \u00b7 ', format('Trip %s', trip.trip_id), trip.began, trip.distance), trip.driver, content);
END
$$;
COMMENT ON FUNCTION damoov_trip_svg(bigint, boolean) IS 'the way of a trip as an SVG document: coloured by speed against the limit, events as marks, a scale in kilometres or miles; NULL when there is no such trip';
