-- ---------------------------------------------------------------------
-- Several machines: the tables that grow, spread by Citus
-- ---------------------------------------------------------------------

-- What the function asks of Citus it asks by EXECUTE: without the extension
-- there are neither its functions nor its tables.
CREATE FUNCTION damoov_distribute(shards integer DEFAULT 32)
    RETURNS TABLE (table_name text, shard_count integer)
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    max_shards CONSTANT integer := 64000;    -- of Citus
    part record;
    first text;
    together integer;
    problem text;
BEGIN
    IF (shards BETWEEN 1 AND max_shards) IS NOT TRUE THEN
        RAISE EXCEPTION 'shards must be between 1 and %', max_shards USING ERRCODE = 'invalid_parameter_value';
    ELSIF NOT EXISTS (SELECT FROM pg_extension AS e WHERE e.extname = 'citus') THEN
        RAISE EXCEPTION 'damoov_distribute() requires the extension "citus"'
            USING ERRCODE = 'feature_not_supported',
                  HINT = 'Add citus to shared_preload_libraries, before damoov, restart the server, CREATE EXTENSION citus, and add the workers with citus_add_node().';
    END IF;
    PERFORM damoov.lock_people(true);
    -- by the id of what the rows belong to, so that all that is of one trip is
    -- in one place
    FOR part IN
        SELECT format('damoov.%I', p.name) AS name, p.name AS table_name, p.key
        FROM (VALUES
            ('trip_points', 'trip_id'),
            ('trip_events', 'trip_id'),
            ('raw_points', 'raw_track_id'),
            ('raw_events', 'raw_track_id'),
            ('crash_buffers', 'crash_id')
        ) AS p (name, key)
    LOOP
        EXECUTE 'SELECT count(*) FROM pg_dist_shard AS s WHERE s.logicalrelid = $1::regclass' INTO shard_count USING part.name;
        IF shard_count = 0 THEN
            EXECUTE 'SELECT create_distributed_table($1::regclass, $2, shard_count => $3, colocate_with => $4)'
            USING part.name, part.key, CASE WHEN first IS NULL THEN shards END, coalesce(first, 'none');
            -- the rows were copied
            EXECUTE 'SELECT truncate_local_data_after_distributing_table($1::regclass)' USING part.name;
            shard_count := coalesce(together, shards);
        END IF;
        first := coalesce(first, part.name);
        together := shard_count;
        table_name := part.table_name;
        RETURN NEXT;
    END LOOP;
    -- The engine's role is closed to clients, of which the coordinator is one.
    -- Each worker by itself: they would wait for each other.
    EXECUTE $sql$
        SELECT format('%s:%s: %s', c.nodename, c.nodeport, c.result)
        FROM run_command_on_workers($worker$
            DO $do$
            BEGIN
                SET LOCAL citus.enable_alter_role_propagation = off;
                ALTER ROLE damoov_engine CONNECTION LIMIT -1;
            END
            $do$
            $worker$) AS c
        WHERE NOT c.success$sql$
    INTO problem;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'could not let the coordinator log in on a worker as "damoov_engine"'
            USING ERRCODE = 'connection_exception', DETAIL = problem;
    END IF;
END
$$;
COMMENT ON FUNCTION damoov_distribute(integer) IS 'spreads points and events of trips and raw tracks, and crash buffers, over the workers of Citus, in so many shards, with the rows that are there; all other tables stay on the coordinator; may be called again, after a worker was added, too: what is distributed stays as it is; returns the tables with the number of their shards; errors: 0A000 no Citus, 22023 bad number of shards, 08000 a worker refuses, 25000 isolation level';
