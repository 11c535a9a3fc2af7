-- ---------------------------------------------------------------------
-- Reading and storing crash buffers
-- ---------------------------------------------------------------------

-- Times come as seconds, milliseconds, micro- or nanoseconds, since 1970, since
-- the phone was started or since the recording began; nothing tells which.  The
-- samples are about 10 ms apart, and that tells the unit; then their size tells
-- where they count from.  A twentieth at either end is left out: some are wrong.
CREATE FUNCTION damoov.crash_times(numbers double precision[], dates boolean, frequency_hz double precision,
    INOUT started_at timestamptz, INOUT notes text[], OUT at_ms double precision[])
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    many CONSTANT integer := cardinality(numbers);
    sorted CONSTANT double precision[] := ARRAY(SELECT t FROM unnest(numbers) AS t WHERE t IS NOT NULL ORDER BY t);
    given CONSTANT integer := cardinality(sorted);
    low CONSTANT double precision := sorted[given / 20 + 1];
    high CONSTANT double precision := sorted[given - given / 20];
    step CONSTANT double precision := (high - low) / nullif(given - 1 - given / 20 * 2, 0);
    first_at CONSTANT double precision := t FROM unnest(numbers) AS t WHERE t IS NOT NULL LIMIT 1;
    unit double precision;
    origin double precision := 0;
BEGIN
    IF given = 0 THEN
        IF frequency_hz IS NULL THEN
            notes := notes || format('time: missing (%s)', many);
            RETURN;
        END IF;
        notes := notes || 'time: missing, computed from the frequency'::text;
        at_ms := ARRAY(SELECT i * 1000 / frequency_hz FROM generate_series(0, many - 1) AS i ORDER BY i);
        RETURN;
    END IF;
    unit := CASE
        WHEN dates THEN 1
        WHEN step > 0 THEN CASE WHEN step < 0.5 THEN 1e3 WHEN step < 1e3 THEN 1 WHEN step < 1e6 THEN 1e-3 ELSE 1e-6 END
        -- without steps, by what the present looks like in each unit
        WHEN high >= 1e17 THEN 1e-6 WHEN high >= 1e14 THEN 1e-3 WHEN high >= 1e11 OR high < 1e8 THEN 1 ELSE 1e3
    END;
    -- of the years 2001 to 2200
    IF dates OR low * unit >= 980000000000 AND high * unit < 7260000000000 THEN
        IF started_at IS NULL THEN
            notes := notes || 'start: missing, that of the first sample'::text;
            started_at := CASE WHEN first_at * unit BETWEEN 0 AND 7289654399999 THEN to_timestamp(first_at * unit / 1000) END;
        END IF;
        origin := coalesce((extract(epoch FROM started_at) * 1000)::double precision, first_at * unit);
    ELSIF low * unit < -600000 OR high * unit > 600000 THEN
        -- no recording is that long
        notes := notes || 'time: of a clock of its own, counted from the first sample'::text;
        origin := first_at * unit;
    END IF;
    at_ms := ARRAY(SELECT CASE WHEN abs(t * unit - origin) <= 1e9 THEN t * unit - origin END FROM unnest(numbers) WITH ORDINALITY AS n (t, i) ORDER BY i);
    notes := notes || ARRAY(
        SELECT format('time: %s (%s)', n.note, n.times)
        FROM (VALUES
            ('out of range', given - (SELECT count(*) FROM unnest(at_ms) AS t WHERE t IS NOT NULL)),
            ('missing', many - given)
        ) AS n (note, times)
        WHERE n.times > 0);
END
$$;
COMMENT ON FUNCTION damoov.crash_times(double precision[], boolean, double precision, timestamptz, text[]) IS 'times converted to milliseconds from the start; finds out their unit and origin';

-- What the document says of all samples: members of it and of objects in it.
CREATE FUNCTION damoov.crash_header(document jsonb, crash_token uuid,
    OUT started_at timestamptz, OUT frequency_hz double precision, OUT notes text[], OUT rest jsonb)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    member record;
    text_value text;
    number numeric;
    has_id boolean := false;
BEGIN
    rest := document;
    notes := '{}';
    FOR member IN
        WITH RECURSIVE inside AS (
            SELECT ARRAY[m.name] AS path, m.value
            FROM damoov.crash_members(document, 0) AS m
            WHERE m.name IS NOT NULL
            UNION ALL
            SELECT i.path || m.name, m.value
            FROM inside AS i
            CROSS JOIN LATERAL damoov.crash_members(i.value, 0) AS m
            WHERE m.name IS NOT NULL AND jsonb_typeof(i.value) = 'object' AND jsonb_typeof(m.value) <> 'array'
        )
        SELECT i.path, i.value, jsonb_typeof(i.value) AS type, w.what
        FROM inside AS i
        CROSS JOIN LATERAL damoov.crash_name(i.path[cardinality(i.path)]) AS n (name)
        CROSS JOIN LATERAL (
            SELECT CASE
                WHEN jsonb_typeof(i.value) IN ('object', 'array') THEN NULL
                -- the credential of the person has been taken away before
                WHEN i.value = 'null' THEN CASE WHEN n.name ~ '^(devicetoken|userid)$' AND cardinality(i.path) = 1 THEN 'person' END
                WHEN n.name ~ '^(id|uuid|guid|accidentid|crashid|eventid)$' THEN 'id'
                WHEN n.name ~ '^((time|date|timestamp)start|start(time|date|edat|timestamp)?)$' THEN 'start'
                WHEN n.name ~ '^(frequency(hz)?|sampl(e|ing)(rate|frequency)|hz)$' THEN 'frequency'
            END
        ) AS w (what)
        WHERE w.what IS NOT NULL
        ORDER BY cardinality(i.path), i.path
    LOOP
        text_value := member.value #>> '{}';
        IF member.what = 'id' AND NOT has_id THEN
            has_id := member.type = 'string'
                AND text_value ~* '^([0-9a-f]{4}(-?[0-9a-f]{4}){7}|[{][0-9a-f]{4}(-?[0-9a-f]{4}){7}[}])$';
            IF NOT has_id THEN
                notes := notes || 'id: not a UUID'::text;
                CONTINUE;
            ELSIF text_value::uuid <> crash_token THEN
                notes := notes || 'id: not that of the crash, kept in extra'::text;
                CONTINUE;
            END IF;
        ELSIF member.what = 'start' AND started_at IS NULL THEN
            -- seconds or milliseconds since 1970, of the years 1973 to 2200
            number := CASE WHEN member.type = 'number' THEN member.value::numeric END;
            started_at := CASE
                WHEN member.type = 'string' THEN damoov.crash_date(text_value)
                WHEN number BETWEEN 1e8 AND 7289654399 THEN to_timestamp(number::double precision)
                WHEN number BETWEEN 1e11 AND 7289654399999 THEN to_timestamp(number::double precision / 1000)
            END;
            IF started_at IS NULL THEN
                notes := notes || 'start: not a point in time'::text;
                CONTINUE;
            ELSIF member.type = 'string' AND text_value !~ '(Z|[+-][0-9][0-9]:?[0-9][0-9])$' THEN
                notes := notes || 'start: no offset from UTC, read as UTC'::text;
            END IF;
        ELSIF member.what = 'frequency' AND frequency_hz IS NULL THEN
            IF (member.type = 'number' AND member.value::numeric BETWEEN 1e-300 AND 1e5) IS NOT TRUE THEN
                notes := notes || 'frequency: out of range'::text;
                CONTINUE;
            END IF;
            frequency_hz := member.value::double precision;
        ELSIF member.what <> 'person' THEN
            CONTINUE;
        END IF;
        rest := damoov.crash_without(rest, member.path);
    END LOOP;
END
$$;
COMMENT ON FUNCTION damoov.crash_header(jsonb, uuid) IS 'start and frequency of a crash buffer; rest is the document without the members that were read';

-- The first ten elements of an array tell what it is.
CREATE FUNCTION damoov.crash_series(document jsonb)
    RETURNS TABLE (path text[], in_columns boolean, label text, size integer, is_outer boolean, accelerations bigint, gyroscopes bigint, places text[], fields text[])
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT s.*
    FROM (
        SELECT p.series, p.in_columns, min(p.label), max(p.size) AS size, bool_or(p.is_outer),
            count(DISTINCT p.field) FILTER (WHERE p.field ~ '^acc') AS accelerations,
            count(DISTINCT p.field) FILTER (WHERE p.field ~ '^gyr') AS gyroscopes,
            array_agg(p.place::text ORDER BY p.field <> 'time', p.field, cardinality(p.place), length(p.place::text), p.place),
            array_agg(p.field ORDER BY p.field <> 'time', p.field, cardinality(p.place), length(p.place::text), p.place) AS fields
        FROM damoov.crash_places(document, '', 10) AS p
        GROUP BY p.series, p.in_columns
        HAVING bool_or(p.field ~ '^(acc|gyr)')
    ) AS s
    ORDER BY s.accelerations * 10 + s.gyroscopes * 2 + ('time' = ANY (s.fields))::integer + ('speed' = ANY (s.fields))::integer DESC, s.size DESC, s.series;
END;
COMMENT ON FUNCTION damoov.crash_series(jsonb) IS 'arrays that look like samples, in order of preference: those with most axes, then the longest';

CREATE FUNCTION damoov.crash_numbers(numbers double precision[], field integer) RETURNS double precision[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE WHEN count(v.number) > 0 THEN array_agg(v.number) END FROM unnest(numbers[field:field]) AS v (number);
END;
COMMENT ON FUNCTION damoov.crash_numbers(double precision[], integer) IS 'the numbers of one field; NULL when there are none';

-- The items are samples, or the values of one column; numbers has a row for each
-- field.  The places are those of the first items; others are looked for in
-- what is left of all.
CREATE FUNCTION damoov.crash_read_items(label text, again boolean, places text[], fields text[],
    INOUT items jsonb[], INOUT numbers double precision[], INOUT dates boolean, INOUT notes text[])
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    columns CONSTANT text[] := '{time,acceleration_x,acceleration_y,acceleration_z,gyroscope_x,gyroscope_y,gyroscope_z,speed}';
    path text[];
    n integer;
    names text[];
    part record;
BEGIN
    FOR turn IN 1..2 LOOP
        names := '{}';
        FOR i IN 1..cardinality(places) LOOP
            path := places[i];
            n := array_position(columns, fields[i]);
            SELECT t.* INTO part
            FROM damoov.crash_take(fields[i], path, again AND n = 1, items, damoov.crash_numbers(numbers, n)) AS t;
            IF n IS NOT NULL THEN
                numbers[n:n][1:cardinality(items)] := part.numbers;
            END IF;
            dates := dates OR part.dates;
            notes := notes || ARRAY(SELECT format('%s: %s (%s)', fields[i], v, count(*)) FROM unnest(part.notes) AS v GROUP BY v ORDER BY v);
            IF cardinality(path) = 1 AND part.is_whole THEN
                names := names || path;
            ELSE
                items := ARRAY(
                    SELECT CASE WHEN NOT u.taken THEN u.item WHEN path <> '{}' THEN damoov.crash_without(u.item, path) END
                    FROM unnest(items, part.taken) AS u (item, taken));
            END IF;
        END LOOP;
        IF names <> '{}' THEN
            items := ARRAY(SELECT CASE jsonb_typeof(v) WHEN 'object' THEN nullif(v - names, '{}') ELSE v END FROM unnest(items) AS v);
        END IF;
        EXIT WHEN turn = 2 OR array_remove(items, NULL) = '{}';
        SELECT array_agg(p.place::text), array_agg(p.field) INTO places, fields
        FROM (
            SELECT p.place, p.field
            FROM damoov.crash_places(to_jsonb(items), label, NULL) AS p
            WHERE p.series = '{}' AND p.place::text <> ALL (places)
            ORDER BY p.field <> 'time', p.field, cardinality(p.place), length(p.place::text), p.place
            LIMIT 100
        ) AS p;
        EXIT WHEN places IS NULL;
    END LOOP;
END
$$;
COMMENT ON FUNCTION damoov.crash_read_items(text, boolean, text[], text[], jsonb[], double precision[], boolean, text[]) IS 'takes all known values out of an array of samples, or out of a column';

CREATE FUNCTION damoov.crash_put(document jsonb, path text[], items jsonb[]) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT CASE
        WHEN array_remove(items, NULL) = '{}' THEN damoov.crash_without(document, path)
        WHEN path = '{}' THEN to_jsonb(items)
        ELSE jsonb_set(document, path, to_jsonb(items))
    END;
END;
COMMENT ON FUNCTION damoov.crash_put(jsonb, text[], jsonb[]) IS 'a document in which the rest of an array, after values were taken out, replaces the array';

CREATE FUNCTION damoov.read_crash_buffer(document jsonb, crash_token uuid) RETURNS damoov.crash_buffers
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    buffer damoov.crash_buffers;
    series record;
    main record;
    header record;
    items jsonb[];
    numbers double precision[];
    rest jsonb := document;
    dates boolean := false;
    others integer := 0;
    strangers integer := 0;
    notes text[] := '{}';
BEGIN
    buffer.sample_count := 0;
    FOR series IN SELECT s.* FROM damoov.crash_series(document) AS s LOOP
        items := ARRAY(SELECT e FROM jsonb_array_elements(CASE WHEN NOT series.in_columns THEN document #> series.path ELSE '[]' END) AS e);
        IF main IS NULL THEN
            main := series;
            buffer.sample_count := main.size;
            numbers := array_fill(NULL::double precision, ARRAY[8, main.size]);
            strangers := (SELECT count(*) FROM unnest(items) AS i WHERE jsonb_typeof(i) <> 'object');
        ELSIF series.in_columns OR series.path[:cardinality(main.path)] = main.path AND NOT (main.in_columns AND main.path = '{}') THEN
            CONTINUE;
        ELSIF main.in_columns OR main.gyroscopes > 0 OR series.accelerations > 0 OR series.size <> main.size OR EXISTS (
            -- a gyroscope may have a series of its own, but of the same clock
            SELECT
            FROM damoov.crash_take('time', series.places[array_position(series.fields, 'time')]::text[], false, items, NULL) AS t (times),
                unnest(t.times, damoov.crash_numbers(numbers, 1)) AS n (its, ours)
            WHERE n.its <> n.ours)
        THEN
            others := others + series.is_outer::integer;
            CONTINUE;
        ELSE
            main.gyroscopes := series.gyroscopes;
        END IF;
        IF series.in_columns THEN
            FOR i IN 1..cardinality(series.places) LOOP
                SELECT r.* INTO items, numbers, dates, notes
                FROM damoov.crash_read_items('', false, '{"{}"}', series.fields[i:i],
                    ARRAY(SELECT e FROM jsonb_array_elements(document #> series.places[i]::text[]) AS e), numbers, dates, notes) AS r;
                rest := damoov.crash_put(rest, series.places[i]::text[], items);
            END LOOP;
        ELSE
            SELECT r.* INTO items, numbers, dates, notes
            FROM damoov.crash_read_items(series.label, series.path <> main.path, series.places, series.fields, items, numbers, dates, notes) AS r;
            rest := damoov.crash_put(rest, series.path, items);
        END IF;
    END LOOP;
    SELECT h.* INTO header FROM damoov.crash_header(rest, crash_token) AS h;
    buffer.started_at := header.started_at;
    buffer.frequency_hz := header.frequency_hz;
    buffer.extra := header.rest;
    buffer.notes := array_remove(header.notes || ARRAY[
            CASE WHEN main IS NULL THEN 'samples: none found, the document is kept in extra' END,
            CASE WHEN strangers > 0 THEN format('samples[]: not an object (%s)', strangers) END,
            CASE WHEN others > 0 THEN format('other series: kept in extra (%s)', others) END
        ] || notes, NULL);
    IF main IS NOT NULL THEN
        SELECT t.* INTO buffer.started_at, buffer.notes, buffer.at_ms
        FROM damoov.crash_times(ARRAY(SELECT unnest(numbers[1:1])), dates, buffer.frequency_hz, buffer.started_at, buffer.notes) AS t;
        buffer.acceleration_x_ms2 := damoov.crash_numbers(numbers, 2);
        buffer.acceleration_y_ms2 := damoov.crash_numbers(numbers, 3);
        buffer.acceleration_z_ms2 := damoov.crash_numbers(numbers, 4);
        buffer.gyroscope_x_rad_s := damoov.crash_numbers(numbers, 5);
        buffer.gyroscope_y_rad_s := damoov.crash_numbers(numbers, 6);
        buffer.gyroscope_z_rad_s := damoov.crash_numbers(numbers, 7);
        buffer.speed_ms := damoov.crash_numbers(numbers, 8);
    END IF;
    buffer.notes := nullif(buffer.notes, '{}');
    RETURN buffer;
END
$$;
COMMENT ON FUNCTION damoov.read_crash_buffer(jsonb, uuid) IS 'the content of a crash buffer as a row without ids; rules in docs/damoov-datasets.md';

-- An extra of more than 8 MB is not kept.
CREATE FUNCTION damoov.store_crash_buffer(crash_token uuid, user_id bigint, document text, is_readable boolean) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    max_extra CONSTANT integer := 8 * 1024 * 1024;
    buffer damoov.crash_buffers;
    missing text;
BEGIN
    IF is_readable THEN
        buffer := damoov.read_crash_buffer(document::jsonb, crash_token);
    ELSE
        buffer.sample_count := 0;
        buffer.notes := ARRAY['samples: too many values, the document is kept in extra'];
        buffer.extra := CASE WHEN octet_length(document) <= max_extra THEN document::jsonb END;
    END IF;
    IF octet_length(document) > max_extra AND (NOT is_readable OR octet_length(buffer.extra::text) > max_extra) THEN
        buffer.extra := NULL;
        buffer.notes := buffer.notes || 'extra: too long'::text;
    END IF;
    INSERT INTO damoov.crashes AS c (crash_token, user_id, buffer_stored_at)
    VALUES (store_crash_buffer.crash_token, store_crash_buffer.user_id, now())
    ON CONFLICT ON CONSTRAINT crashes_crash_token_key DO UPDATE SET buffer_stored_at = EXCLUDED.buffer_stored_at
    RETURNING c.crash_id INTO buffer.crash_id;
    missing := CASE WHEN NOT FOUND THEN 'crashes' END;
    IF missing IS NULL THEN
        INSERT INTO damoov.crash_buffers AS b (crash_id, started_at, frequency_hz, sample_count, at_ms,
            acceleration_x_ms2, acceleration_y_ms2, acceleration_z_ms2, gyroscope_x_rad_s, gyroscope_y_rad_s, gyroscope_z_rad_s,
            speed_ms, notes, extra)
        VALUES (buffer.crash_id, buffer.started_at, buffer.frequency_hz, buffer.sample_count, buffer.at_ms,
            buffer.acceleration_x_ms2, buffer.acceleration_y_ms2, buffer.acceleration_z_ms2,
            buffer.gyroscope_x_rad_s, buffer.gyroscope_y_rad_s, buffer.gyroscope_z_rad_s,
            buffer.speed_ms, buffer.notes, buffer.extra)
        ON CONFLICT ON CONSTRAINT crash_buffers_pkey DO UPDATE
        SET started_at = EXCLUDED.started_at, frequency_hz = EXCLUDED.frequency_hz,
            sample_count = EXCLUDED.sample_count, at_ms = EXCLUDED.at_ms,
            acceleration_x_ms2 = EXCLUDED.acceleration_x_ms2, acceleration_y_ms2 = EXCLUDED.acceleration_y_ms2,
            acceleration_z_ms2 = EXCLUDED.acceleration_z_ms2, gyroscope_x_rad_s = EXCLUDED.gyroscope_x_rad_s,
            gyroscope_y_rad_s = EXCLUDED.gyroscope_y_rad_s, gyroscope_z_rad_s = EXCLUDED.gyroscope_z_rad_s,
            speed_ms = EXCLUDED.speed_ms, notes = EXCLUDED.notes, extra = EXCLUDED.extra;
        missing := CASE WHEN NOT FOUND THEN 'crash_buffers' END;
    END IF;
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION 'could not store a row in table "%"', missing
            USING ERRCODE = 'object_not_in_prerequisite_state', DETAIL = 'A rule or trigger prevented the row from being stored.';
    END IF;
    RETURN buffer.crash_id;
END
$$;
COMMENT ON FUNCTION damoov.store_crash_buffer(uuid, bigint, text, boolean) IS 'stores a crash buffer; without samples if is_readable is false, because it has too many values; returns the crash_id';
