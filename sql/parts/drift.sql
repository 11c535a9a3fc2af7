-- ---------------------------------------------------------------------
-- What arrives and has no column
-- ---------------------------------------------------------------------

CREATE FUNCTION damoov.unknown_members(payload jsonb) RETURNS jsonb
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'damoov_unknown_members';
COMMENT ON FUNCTION damoov.unknown_members(jsonb) IS 'members of a notification that this version does not know: path and sample value, without UUIDs; NULL when there is none';

CREATE FUNCTION damoov.extra_members(extra jsonb) RETURNS jsonb
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'damoov_extra_members';
COMMENT ON FUNCTION damoov.extra_members(jsonb) IS 'members kept in a column extra: name and sample value, without UUIDs';

-- The tables are looked up in the catalog, as in damoov.person_tables, by
-- whoever may read the drift.  There are no rows of them in this.
CREATE FUNCTION damoov.extra_columns()
    RETURNS TABLE (table_name text, home text, key text, column_name text, has_stored_at boolean)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT t.table_name, coalesce(t.part_of, t.table_name), t.key, x.attname, EXISTS (
        SELECT
        FROM pg_attribute AS a
        WHERE a.attrelid = format('damoov.%I', coalesce(t.part_of, t.table_name))::regclass
            AND a.attname = 'stored_at' AND NOT a.attisdropped)
    FROM damoov.person_tables AS t
    JOIN pg_attribute AS x ON x.attrelid = format('damoov.%I', t.table_name)::regclass
        AND x.attname IN ('extra', 'vehicle_indicators') AND x.atttypid = 'jsonb'::regtype AND NOT x.attisdropped;
END;
COMMENT ON FUNCTION damoov.extra_columns() IS 'the columns that keep members without a column of their own, with the table that has the key of their rows; from the catalog, no rows';

-- A table that the caller may not read is left out, as its rows are in other
-- views.  Parts (points, samples) have no index that would find the few with
-- extra, so that only the newest 1000 are read.
CREATE FUNCTION damoov.extra_drift()
    RETURNS TABLE (table_name text, path text, first_seen timestamptz, last_seen timestamptz, count bigint, sample text)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    relation record;
    oldest text;
    documents boolean := has_table_privilege('damoov.all_points', 'SELECT')
        AND has_table_privilege('damoov.trip_documents', 'SELECT')
        AND has_function_privilege('damoov.document_points(bigint, bytea)', 'EXECUTE')
        AND has_function_privilege('@extschema@.damoov_points(bigint)', 'EXECUTE');
BEGIN
    -- the points in documents as well, for whoever may read these
    IF documents THEN
        documents := EXISTS (SELECT FROM damoov.trip_documents);
    END IF;
    FOR relation IN
        SELECT c.*, CASE WHEN c.column_name = 'extra' THEN '' ELSE 'VehicleIndicators.' END AS before,
            CASE WHEN documents AND c.table_name = 'trip_points' THEN 'all_points' ELSE c.table_name END AS rows_of
        FROM damoov.extra_columns() AS c
        WHERE has_table_privilege(format('damoov.%I', c.table_name), 'SELECT')
            AND has_table_privilege(format('damoov.%I', c.home), 'SELECT')
        ORDER BY c.table_name COLLATE "C"
    LOOP
        -- named, so that only their partitions are read
        IF relation.key IS NOT NULL THEN
            EXECUTE format('SELECT n.key::text FROM (SELECT h.%I AS key FROM damoov.%I AS h ORDER BY 1 DESC LIMIT 1000) AS n ORDER BY n.key LIMIT 1',
                relation.key, relation.home) INTO oldest;
        END IF;
        RETURN QUERY EXECUTE format(
            'SELECT %1$L, rtrim(%7$L || m.key, ''.''), min(%2$s), max(%2$s), count(*), min(m.value)'
            ' FROM (SELECT * FROM damoov.%3$I %4$s) AS h'
            ' %5$s CROSS JOIN LATERAL jsonb_each_text(damoov.extra_members('
            'CASE jsonb_typeof(%6$s) WHEN ''object'' THEN %6$s ELSE jsonb_build_object('''', %6$s) END)) AS m'
            ' WHERE %6$s IS NOT NULL GROUP BY m.key',
            relation.table_name,
            CASE WHEN relation.has_stored_at THEN 'h.stored_at' ELSE 'NULL::timestamptz' END,
            relation.home,
            CASE WHEN relation.key IS NOT NULL THEN format('ORDER BY %I DESC LIMIT 1000', relation.key) END,
            CASE WHEN relation.key IS NOT NULL THEN format('JOIN damoov.%I AS p ON p.%I = h.%2$I AND p.%2$I >= %L', relation.rows_of, relation.key, oldest) END,
            format('%s.%I', CASE WHEN relation.key IS NOT NULL THEN 'p' ELSE 'h' END, relation.column_name),
            relation.before);
    END LOOP;
END
$$;
COMMENT ON FUNCTION damoov.extra_drift() IS 'the part of damoov.drift that reads the columns extra, of every table that has one and that the caller may read, and vehicle_indicators';

-- Whoever reads damoov.events sees what its policies show him.  Others get what
-- holds no credential, if the table has no policies.
CREATE FUNCTION damoov.event_drift()
    RETURNS TABLE (event text, path text, first_seen timestamptz, last_seen timestamptz, count bigint, sample text)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT has_table_privilege('damoov.events', 'SELECT') THEN
        RETURN QUERY SELECT * FROM damoov.hidden_event_drift();
        RETURN;
    END IF;
    RETURN QUERY
    SELECT n.event, n.path, min(n.received_at), max(n.received_at), count(*), min(n.sample)
    FROM (
        SELECT h.event, 'Event' AS path, e.received_at, h.event AS sample
        FROM damoov.events AS e
        -- the name of an event may hold a UUID, too
        CROSS JOIN regexp_replace(e.event, '[0-9a-f](-*[0-9a-f]){31,}', '(hidden)', 'gi') AS h (event)
        WHERE e.outcome = 'unknown'
        UNION ALL
        SELECT regexp_replace(e.event, '[0-9a-f](-*[0-9a-f]){31,}', '(hidden)', 'gi'), m.key, e.received_at, m.value
        FROM damoov.events AS e
        CROSS JOIN LATERAL jsonb_each_text(damoov.unknown_members(e.payload)) AS m
        WHERE e.outcome <> 'control'
    ) AS n
    GROUP BY n.event, n.path;
END
$$;
COMMENT ON FUNCTION damoov.event_drift() IS 'the part of damoov.drift that reads damoov.events';

CREATE FUNCTION damoov.hidden_event_drift()
    RETURNS TABLE (event text, path text, first_seen timestamptz, last_seen timestamptz, count bigint, sample text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT (SELECT c.relrowsecurity FROM pg_class AS c WHERE c.oid = 'damoov.events'::regclass) THEN
        RETURN QUERY SELECT * FROM damoov.event_drift();
    END IF;
END
$$;
COMMENT ON FUNCTION damoov.hidden_event_drift() IS 'damoov.event_drift() for roles that must not read damoov.events, where the events are kept, and with them device tokens; nothing while that table has row-level security';

CREATE VIEW damoov.drift WITH (security_invoker) AS
SELECT 'events' AS table_name, n.event, n.path, n.first_seen, n.last_seen, n.count, n.sample
FROM damoov.event_drift() AS n
UNION ALL
SELECT x.table_name, NULL, x.path, x.first_seen, x.last_seen, x.count, x.sample
FROM damoov.extra_drift() AS x;
COMMENT ON VIEW damoov.drift IS 'what arrives and has no column: unknown events, unknown members of notifications, and members of datasets kept in extra or in vehicle_indicators of the tables that the reader may read (of points and samples those of the newest 1000); with a sample value that is no credential; UUIDs are not shown; reads all of events, seconds for a million';
COMMENT ON COLUMN damoov.drift.table_name IS 'table that keeps it';
COMMENT ON COLUMN damoov.drift.event IS 'event that has the member, NULL for datasets';
COMMENT ON COLUMN damoov.drift.path IS 'name of the member, with those above it; Event for an unknown event';
COMMENT ON COLUMN damoov.drift.first_seen IS 'first arrival, NULL for parts of trips and crashes';
COMMENT ON COLUMN damoov.drift.last_seen IS 'latest arrival, NULL for parts of trips and crashes';
COMMENT ON COLUMN damoov.drift.count IS 'how often it came';
COMMENT ON COLUMN damoov.drift.sample IS 'one of its values, UUIDs hidden';
