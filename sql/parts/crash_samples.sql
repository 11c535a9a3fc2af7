-- ---------------------------------------------------------------------
-- Samples in crash buffers
-- ---------------------------------------------------------------------

-- No buffer has been published, so nothing here relies on a name or a form.
-- What looks like samples is looked for: an array of objects, or arrays of
-- numbers side by side.  Names count without case and punctuation, and together
-- with the name of what they stand in, so that ACC_X, accelerationX,
-- {"Acc": {"X": 1}} and {"Acc": [1, 2, 3]} are the same.  What has been
-- understood is taken out of the document, and the rest is "extra".
-- docs/damoov-datasets.md has the rules.
--
-- Functions that set no search_path become part of the statement that calls
-- them for each value; their bodies are bound to their objects.

-- An array of at most four elements has the axes of one value; a column, a
-- longer one, has one value of each sample.
CREATE FUNCTION damoov.crash_shape(item jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE
        WHEN jsonb_typeof(item) <> 'array' THEN jsonb_typeof(item)
        WHEN jsonb_array_length(item) <= 4 THEN 'axes'
        WHEN jsonb_typeof(item -> 0) IN ('object', 'array') THEN 'list'
        ELSE 'column'
    END;
END;
COMMENT ON FUNCTION damoov.crash_shape(jsonb) IS 'type of a value in a crash buffer; arrays are axes, a column, or a list';

CREATE FUNCTION damoov.crash_members(item jsonb, many integer)
    RETURNS TABLE (step text, name text, n integer, value jsonb)
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT o.name, o.name, NULL, o.value
    FROM jsonb_each(CASE jsonb_typeof(item) WHEN 'object' THEN item ELSE '{}' END) AS o (name, value)
    UNION ALL
    SELECT (a.n - 1)::text, NULL, a.n::integer, a.value
    FROM jsonb_array_elements(CASE WHEN jsonb_typeof(item) <> 'array' THEN '[]' WHEN many IS NULL THEN item
        ELSE jsonb_path_query_array(item, '$[0 to $last]', jsonb_build_object('last', many - 1)) END) WITH ORDINALITY AS a (value, n);
END;
COMMENT ON FUNCTION damoov.crash_members(jsonb, integer) IS 'members of an object, or that many first elements of an array; NULL: all';

CREATE FUNCTION damoov.crash_name(name text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT regexp_replace(lower(name COLLATE "C"), '[^a-z0-9]', '', 'g');
END;
COMMENT ON FUNCTION damoov.crash_name(text) IS 'name of a member of a crash buffer without case and punctuation';

CREATE FUNCTION damoov.crash_field(name text, around text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT f.field
    FROM (VALUES
        (1, damoov.crash_name(name)),
        (2, regexp_replace(damoov.crash_name(around), '^(.+?)(data|samples|values|series|readings|buffer)+$', E'\\1') || damoov.crash_name(name))
    ) AS n (priority, name)
    CROSS JOIN LATERAL (
        SELECT CASE
            WHEN n.name ~ '^(acc|a|accel|accelerations?|accelerometer)[xyz]$' THEN 'acceleration_' || right(n.name, 1)
            WHEN n.name ~ '^(gyro|g|gyr|gyroscope|rotation|rotationrate|angularvelocity)[xyz]$' THEN 'gyroscope_' || right(n.name, 1)
            WHEN n.name ~ '^(time|timestamp|offset|elapsed)(ms)?$|^(t|ts|ticktimestamp|tick|sampletime|date|datetime|pointdate|timeoffset)$' THEN 'time'
            WHEN n.name ~ '^(gps)?speed(ms)?$|^(midspeed|velocity)$' THEN 'speed'
            WHEN n.name ~ '^(index|sampleindex|number|seq|sequence|i)$' THEN 'index'
            WHEN n.name ~ '^(devicetoken|userid)$' THEN 'person'
        END AS field
    ) AS f
    WHERE f.field IS NOT NULL
    ORDER BY n.priority
    LIMIT 1;
END;
COMMENT ON FUNCTION damoov.crash_field(text, text) IS 'the field of a sample that a member holds, found by its name, or by its name and that of the member around it; NULL if it is none';

-- In an array of samples a place is the way to a value from its sample, among
-- columns the way to a column from the document.
CREATE FUNCTION damoov.crash_places(document jsonb, around text, many integer)
    RETURNS TABLE (series text[], in_columns boolean, label text, size integer, is_outer boolean, place text[], field text)
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    -- samples: at which steps of the path there are samples that it is in
    RETURN QUERY
    WITH RECURSIVE container AS (
        SELECT '{}'::text[] AS path, damoov.crash_shape(document) AS shape, NULL::text AS name, around, around AS label,
            '{}'::integer[] AS samples, document AS value
        UNION ALL
        SELECT c.path || m.step, damoov.crash_shape(m.value), m.name, c.label, coalesce(m.name, c.label),
            CASE WHEN c.shape IN ('object', 'axes') THEN c.samples ELSE '{}' END
                || CASE WHEN c.shape <> 'object' AND jsonb_typeof(m.value) = 'object' THEN ARRAY[cardinality(c.path) + 1] ELSE '{}' END,
            m.value
        FROM container AS c
        CROSS JOIN LATERAL damoov.crash_members(c.value, many) AS m
        WHERE jsonb_typeof(m.value) IN ('object', 'array')
    ), leaf AS (
        SELECT c.path, c.path || m.step AS whole_path, c.shape = 'column' AS in_columns, c.samples,
            CASE c.shape WHEN 'object' THEN m.name WHEN 'axes' THEN substr('xyz', m.n, 1) WHEN 'column' THEN c.name END AS name,
            CASE c.shape WHEN 'column' THEN c.around ELSE c.label END AS around
        FROM container AS c
        CROSS JOIN LATERAL damoov.crash_members(c.value, many) AS m
        WHERE jsonb_typeof(m.value) NOT IN ('object', 'array')
    ), known AS MATERIALIZED (
        SELECT n.name, n.around, damoov.crash_field(n.name, n.around) AS field
        FROM (SELECT DISTINCT l.name, l.around FROM leaf AS l WHERE l.name <> '') AS n
    ), found AS (
        SELECT DISTINCT CASE WHEN l.in_columns THEN l.path[:s.depth] ELSE l.whole_path[:s.depth - 1] END AS series, l.in_columns,
            s.depth IS NOT DISTINCT FROM l.samples[1] AS is_outer,
            CASE WHEN l.in_columns THEN l.path ELSE l.whole_path[s.depth + 1:] END AS place, k.field
        FROM leaf AS l
        JOIN known AS k ON k.name = l.name AND k.around = l.around AND k.field IS NOT NULL
        CROSS JOIN LATERAL unnest(CASE WHEN l.in_columns THEN ARRAY[coalesce(l.samples[cardinality(l.samples)], 0)] ELSE l.samples END) AS s (depth)
    )
    SELECT f.series, f.in_columns, c.label, jsonb_array_length(c.value), f.is_outer, f.place, f.field
    FROM found AS f
    JOIN container AS c ON c.path = CASE WHEN f.in_columns THEN f.place ELSE f.series END
    WHERE f.field <> 'person' OR cardinality(f.place) = 1;
END
$$;
COMMENT ON FUNCTION damoov.crash_places(jsonb, text, integer) IS 'paths of a document that hold values of samples, judged by that many first elements of its arrays (NULL: all)';

-- What nothing is left of goes as well; in an array null marks the place.
CREATE FUNCTION damoov.crash_without(item jsonb, path text[]) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    above text[] := trim_array(path, least(1, cardinality(path)));
BEGIN
    IF path = '{}' THEN
        RETURN NULL;
    END IF;
    item := CASE jsonb_typeof(item #> above) WHEN 'array' THEN jsonb_set(item, path, 'null') ELSE item #- path END;
    IF item #> above = '{}' OR jsonb_typeof(item #> above) = 'array' AND NOT jsonb_path_exists(item #> above, 'strict $[*] ? (@ != null)') THEN
        RETURN damoov.crash_without(item, above);
    END IF;
    RETURN item;
END
$$;
COMMENT ON FUNCTION damoov.crash_without(jsonb, text[]) IS 'a document without the value at a path; NULL when nothing is left';

CREATE FUNCTION damoov.crash_date(value text) RETURNS timestamptz
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT CASE
        WHEN value !~ ('^((19[7-9]|2[01][0-9])[0-9]|2200)-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])'
            'T(([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]([.][0-9]{1,9})?|60([.]0{1,9})?)|24:00:00([.]0{1,9})?)(Z|[+-](0[0-9]|1[0-5]):?[0-5][0-9])?$') THEN NULL
        WHEN substr(value, 9, 2)::integer
            > extract(day FROM make_date(left(value, 4)::integer, substr(value, 6, 2)::integer, 1) + interval '1 month -1 day') THEN NULL
        WHEN value ~ '(Z|[+-][0-9][0-9]:?[0-9][0-9])$' THEN value::timestamptz
        ELSE (value || 'Z')::timestamptz
    END;
END;
COMMENT ON FUNCTION damoov.crash_date(text) IS 'point in time written as YYYY-MM-DDThh:mm:ss[.fraction][zone], UTC without one; NULL when it is none, or not of 1970 to 2200';

-- Reads one place of all items.  An item that has a number already keeps it, and
-- its value is not taken, unless the place repeats what is known ("again").
CREATE FUNCTION damoov.crash_take(field text, place text[], again boolean, items jsonb[], INOUT numbers double precision[],
    OUT taken boolean[], OUT is_whole boolean, OUT dates boolean, OUT notes text[])
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    low CONSTANT numeric := CASE field WHEN 'time' THEN -1e19 WHEN 'speed' THEN 0 ELSE -10000 END;
    high CONSTANT numeric := CASE field WHEN 'time' THEN 1e19 WHEN 'speed' THEN 600 ELSE 10000 END;
BEGIN
    SELECT array_agg(coalesce(j.before, j.number)), array_agg(coalesce(j.taken, false)), bool_and(j.taken) IS NOT FALSE,
        bool_or(j.type = 'string' AND j.number IS NOT NULL), array_agg(j.note) FILTER (WHERE j.note IS NOT NULL)
    INTO numbers, taken, is_whole, dates, notes
    FROM (
        SELECT v.*, CASE
                WHEN v.type IS NULL THEN NULL
                WHEN v.type = 'null' THEN true
                WHEN field = 'index' THEN v.value IN (to_jsonb(v.n), to_jsonb(v.n - 1))
                ELSE v.number IS NOT NULL AND (v.before IS NULL OR again AND v.before = v.number)
            END AS taken, CASE
                WHEN v.type IS NULL OR v.type = 'null' OR v.before IS NOT NULL OR field IN ('index', 'person') THEN NULL
                WHEN v.type IN ('object', 'array') AND place <> '{}' THEN NULL
                WHEN v.type = 'number' THEN CASE WHEN v.number IS NULL THEN 'out of range' END
                WHEN v.type <> 'string' OR field <> 'time' THEN 'not a number'
                WHEN v.value #>> '{}' !~ '^[0-9]{4,}-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9]' THEN 'not a point in time'
                WHEN v.number IS NULL THEN 'out of range'
                WHEN v.value #>> '{}' !~ '(Z|[+-][0-9][0-9]:?[0-9][0-9])$' THEN 'no offset from UTC, read as UTC'
            END AS note
        FROM (
            SELECT i.*, jsonb_typeof(i.value) AS type, CASE jsonb_typeof(i.value)
                    -- a double holds no smaller one
                    WHEN 'number' THEN CASE WHEN i.value::numeric BETWEEN low AND high AND (abs(i.value::numeric) > 2.5e-324 OR i.value = '0')
                        THEN i.value::double precision END
                    WHEN 'string' THEN CASE WHEN field = 'time' THEN (extract(epoch FROM damoov.crash_date(i.value #>> '{}')) * 1000)::double precision END
                END AS number
            FROM (
                SELECT u.item #> place AS value, u.before, u.n
                FROM unnest(items, crash_take.numbers) WITH ORDINALITY AS u (item, before, n)
                OFFSET 0
            ) AS i
            OFFSET 0
        ) AS v
        OFFSET 0
    ) AS j;
END
$$;
COMMENT ON FUNCTION damoov.crash_take(text, text[], boolean, jsonb[], double precision[]) IS 'the values at a path of each item: the numbers, merged with those found before; which items were taken; whether all were; and a note for each unusual value';
