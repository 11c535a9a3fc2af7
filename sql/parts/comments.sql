-- ---------------------------------------------------------------------
-- Comments of columns that a view takes from a table as they are
-- ---------------------------------------------------------------------

DO $$
DECLARE
    taken record;
BEGIN
    FOR taken IN
        SELECT v.attrelid::pg_catalog.regclass AS view, v.attname AS name, pg_catalog.col_description(t.attrelid, t.attnum) AS comment
        FROM (VALUES
            ('all_points', 'trip_points'),
            ('crash_samples', 'crash_buffers'),
            ('crash_summary', 'crashes'),
            ('crash_summary', 'crash_buffers'),
            ('devices', 'heartbeats'),
            ('download_status', 'downloads'),
            ('stat_progress_backfill', 'backfills'),
            ('status', 'sources'),
            ('trip_places', 'places'),
            ('trip_places', 'trips')
        ) AS n (view, source)
        JOIN pg_catalog.pg_attribute AS v ON v.attrelid = ('damoov.' || n.view)::pg_catalog.regclass
        JOIN pg_catalog.pg_attribute AS t ON t.attrelid = ('damoov.' || n.source)::pg_catalog.regclass AND t.attname = v.attname
        WHERE pg_catalog.col_description(v.attrelid, v.attnum) IS NULL
        ORDER BY n.source COLLATE "C"    -- the last one is that of crashes
    LOOP
        EXECUTE pg_catalog.format('COMMENT ON COLUMN %s.%I IS %L', taken.view, taken.name, taken.comment);
    END LOOP;
END
$$;
