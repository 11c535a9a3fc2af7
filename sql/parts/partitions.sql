-- ---------------------------------------------------------------------
-- Partitions of points and events, by ranges of the ids of their tracks
-- ---------------------------------------------------------------------

-- The default partition takes what has no other, so that storing never waits for
-- a partition to be made, and is what others are made like.  Each partition has
-- a key of its own, and the partitioned table none: a dump makes the partitions
-- after the extension, and then their keys, and a partition that is attached to
-- a table with a key gets its own at once, before the dump makes it a second time.
CREATE TABLE damoov.trip_points_default PARTITION OF damoov.trip_points (
    CONSTRAINT trip_points_default_pkey PRIMARY KEY (trip_id, seq)
) DEFAULT;
CREATE TABLE damoov.trip_events_default PARTITION OF damoov.trip_events (
    CONSTRAINT trip_events_default_pkey PRIMARY KEY (trip_id, seq)
) DEFAULT;
CREATE TABLE damoov.raw_points_default PARTITION OF damoov.raw_points (
    CONSTRAINT raw_points_default_pkey PRIMARY KEY (raw_track_id, seq)
) DEFAULT;
CREATE TABLE damoov.raw_events_default PARTITION OF damoov.raw_events (
    CONSTRAINT raw_events_default_pkey PRIMARY KEY (raw_track_id, seq)
) DEFAULT;
-- What retention has deleted leaves its times in the summary of a range of pages;
-- several intervals of each hold it apart from the rows that took its place.
CREATE INDEX trip_points_default_recorded_at_idx ON damoov.trip_points_default
    USING brin (recorded_at timestamptz_minmax_multi_ops) WITH (pages_per_range = 32);
CREATE INDEX raw_points_default_recorded_at_idx ON damoov.raw_points_default
    USING brin (recorded_at timestamptz_minmax_multi_ops) WITH (pages_per_range = 32);
CREATE INDEX trip_events_default_max_excess_kmh_idx ON damoov.trip_events_default (max_excess_kmh) WHERE kind = 'speeding';
COMMENT ON TABLE damoov.trip_points_default IS 'points of the trips that have no other partition; new partitions are made like it';
COMMENT ON TABLE damoov.trip_events_default IS 'events of the trips that have no other partition; new partitions are made like it';
COMMENT ON TABLE damoov.raw_points_default IS 'points of the raw tracks that have no other partition; new partitions are made like it';
COMMENT ON TABLE damoov.raw_events_default IS 'events of the raw tracks that have no other partition; new partitions are made like it';

-- Where changes are published as those of the partitioned table, all columns are
-- announced as its key; what is sent is the key of the partition, as the
-- subscriber, which looks for it in a partition, needs it.
ALTER TABLE damoov.trip_points REPLICA IDENTITY FULL;
ALTER TABLE damoov.trip_events REPLICA IDENTITY FULL;
ALTER TABLE damoov.raw_points REPLICA IDENTITY FULL;
ALTER TABLE damoov.raw_events REPLICA IDENTITY FULL;

CREATE VIEW damoov.partitions WITH (security_invoker) AS
SELECT
    p.relname::text AS table_name,
    w.part_of,
    w.key,
    c.relname::text AS partition,
    b.bound IS NULL AS is_default,
    -- MINVALUE and MAXVALUE, of partitions that others have made
    CASE WHEN b.bound[1] ~ '^-?[0-9]+$' THEN b.bound[1]::bigint WHEN b.bound IS NOT NULL THEN -9223372036854775808 END AS first_id,
    CASE WHEN b.bound[2] ~ '^-?[0-9]+$' THEN b.bound[2]::bigint WHEN b.bound IS NOT NULL THEN 9223372036854775807 END AS end_id
FROM (VALUES
    ('trip_points', 'trips', 'trip_id'),
    ('trip_events', 'trips', 'trip_id'),
    ('raw_points', 'raw_tracks', 'raw_track_id'),
    ('raw_events', 'raw_tracks', 'raw_track_id')
) AS w (table_name, part_of, key)
JOIN pg_catalog.pg_class AS p ON p.relnamespace = 'damoov'::pg_catalog.regnamespace AND p.relname = w.table_name
JOIN pg_catalog.pg_inherits AS i ON i.inhparent = p.oid
JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
-- No table is opened, since another may lock it: a bound names no column, and sizes
-- are not told.
CROSS JOIN LATERAL pg_catalog.regexp_match(pg_catalog.pg_get_expr(c.relpartbound, 0), 'FROM \(''?([^'')]*)''?\) TO \(''?([^'')]*)') AS b (bound);
COMMENT ON VIEW damoov.partitions IS 'partitions of points and events: those of the tracks (part_of) with first_id <= key < end_id; the default partition holds all others';
COMMENT ON COLUMN damoov.partitions.table_name IS 'the partitioned table';
COMMENT ON COLUMN damoov.partitions.part_of IS 'table of the tracks that its rows are parts of';
COMMENT ON COLUMN damoov.partitions.key IS 'column that decides about the partition';
COMMENT ON COLUMN damoov.partitions.partition IS 'table that is the partition';
COMMENT ON COLUMN damoov.partitions.is_default IS 'whether it holds what has no other partition';
COMMENT ON COLUMN damoov.partitions.first_id IS 'first key it may hold, NULL for the default partition';
COMMENT ON COLUMN damoov.partitions.end_id IS 'the key behind the last one, NULL for the default partition';

CREATE FUNCTION damoov.partition_size() RETURNS bigint
    LANGUAGE C STABLE AS 'MODULE_PATHNAME', 'damoov_partition_size';
COMMENT ON FUNCTION damoov.partition_size() IS 'the setting damoov.partition_size';

CREATE FUNCTION damoov.next_id(part_of text, key text) RETURNS bigint
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    id bigint;
BEGIN
    -- of rows that are replicated to here, the sequence knows nothing; the last
    -- ids of all get no partition, whose end would be too great
    EXECUTE format('SELECT least(greatest(s.last_value, (SELECT max(w.%I) FROM damoov.%I AS w)), 9000000000000000000) + 1 FROM %s AS s',
        key, part_of, pg_get_serial_sequence(format('damoov.%I', part_of), key)) INTO id;
    RETURN id;
END
$$;
COMMENT ON FUNCTION damoov.next_id(text, text) IS 'trips, or raw tracks, to come have this id or a greater one, but for the very first';

-- Partitions begin at multiples of the setting, but for neighbours that others
-- have made, or that were made when it was another.
CREATE FUNCTION damoov.range_at(table_name text, id bigint, OUT first_id bigint, OUT end_id bigint, OUT is_there boolean)
    LANGUAGE sql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(max(p.first_id) FILTER (WHERE p.holds), greatest(g.first_id, max(p.end_id) FILTER (WHERE p.end_id <= range_at.id))),
        coalesce(max(p.end_id) FILTER (WHERE p.holds), least(g.first_id + g.size, min(p.first_id) FILTER (WHERE p.first_id > range_at.id))),
        coalesce(bool_or(p.holds), false)
    FROM (SELECT s AS size, range_at.id - ((range_at.id % s) + s) % s AS first_id FROM damoov.partition_size() AS s) AS g
    LEFT JOIN (
        SELECT p.first_id, p.end_id, p.first_id <= range_at.id AND range_at.id < p.end_id AS holds
        FROM damoov.partitions AS p
        WHERE p.table_name = range_at.table_name AND NOT p.is_default
    ) AS p ON true
    GROUP BY g.first_id, g.size
$$;
COMMENT ON FUNCTION damoov.range_at(text, bigint) IS 'the partition that holds this id, or the one that it would get';

-- A table that is made with PARTITION OF would lock the partitioned table, and
-- with it all who read: attaching locks the default partition only.  Rows are
-- moved, and nothing else happens to them: nobody's trigger is fired with the
-- rights of the tables' owner.
CREATE FUNCTION damoov.add_partition(table_name text, rest text, key text, first_id bigint, end_id bigint) RETURNS bigint
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    SET session_replication_role = replica
    SET default_table_access_method = heap
AS $$
DECLARE
    made text := table_name || '_p' || first_id;
    columns text;
    grantee text;
    moved bigint;
BEGIN
    -- one that was detached has the name
    WHILE to_regclass(format('damoov.%I', made)) IS NOT NULL LOOP
        made := made || '_';
    END LOOP;
    EXECUTE format('CREATE TABLE damoov.%I (LIKE damoov.%I INCLUDING ALL EXCLUDING COMMENTS)', made, rest);
    EXECUTE format('ALTER TABLE damoov.%I OWNER TO %s', made,
        (SELECT c.relowner::regrole FROM pg_class AS c WHERE c.oid = format('damoov.%I', table_name)::regclass));
    -- default privileges: whoever may use the table needs no right on its partitions
    FOR grantee IN
        SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
        FROM pg_class AS c, aclexplode(c.relacl) AS a
        WHERE c.oid = format('damoov.%I', made)::regclass AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('REVOKE ALL ON damoov.%I FROM %s', made, grantee);
    END LOOP;
    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) INTO columns
    FROM pg_attribute AS a
    WHERE a.attrelid = format('damoov.%I', rest)::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '';
    EXECUTE format('INSERT INTO damoov.%I (%s) SELECT %2$s FROM damoov.%I WHERE %I >= $1 AND %4$I < $2', made, columns, rest, key)
    USING first_id, end_id;
    GET DIAGNOSTICS moved = ROW_COUNT;
    EXECUTE format('DELETE FROM damoov.%I WHERE %I >= $1 AND %2$I < $2', rest, key) USING first_id, end_id;
    EXECUTE format('ALTER TABLE damoov.%I ATTACH PARTITION damoov.%I FOR VALUES FROM (%s) TO (%s)', table_name, made, first_id, end_id);
    RETURN moved;
END
$$;
COMMENT ON FUNCTION damoov.add_partition(text, text, text, bigint, bigint) IS 'makes a partition, and moves to it what lies in the default partition (rest); returns how many rows';

-- One session at a time, and then what attaching locks anyway: nobody writes to
-- the default partition between a look at it and that.  Before rows are moved,
-- all others are kept out: a statement that has found its partitions already, and
-- waits for one of them, would look for the rows where they were.
CREATE FUNCTION damoov.lock_partitions(table_name text, rest text, moving boolean) RETURNS boolean
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- what is looked at under these locks must be what is there
    PERFORM damoov.need_read_committed();
    EXECUTE format('LOCK TABLE ONLY damoov.%I IN %s MODE', table_name, CASE WHEN moving THEN 'ACCESS EXCLUSIVE' ELSE 'SHARE UPDATE EXCLUSIVE' END);
    EXECUTE format('LOCK TABLE ONLY damoov.%I IN ACCESS EXCLUSIVE MODE', rest);
    RETURN true;
EXCEPTION
    WHEN lock_not_available OR deadlock_detected THEN RETURN false;
END
$$;
COMMENT ON FUNCTION damoov.lock_partitions(text, text, boolean) IS 'locks what is needed to add a partition, or also to move rows to it from the default partition (rest); false when somebody uses it; errors: 25000 isolation level';

-- A table is opened to be measured: its size is not known while it is locked.
CREATE FUNCTION damoov.partition_bytes(partition text) RETURNS bigint
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN pg_relation_size(format('damoov.%I', partition)::regclass);
EXCEPTION
    WHEN lock_not_available OR deadlock_detected OR undefined_table THEN RETURN NULL;
END
$$;
COMMENT ON FUNCTION damoov.partition_bytes(text) IS 'size of a partition; NULL when somebody has locked it for longer than lock_timeout';

-- The functions that follow have the rights of the tables' owner, so that the
-- worker needs no others than on rows.  What is locked is waited for only
-- shortly: a report may take hours, and others would wait behind us.
CREATE FUNCTION damoov.make_partitions() RETURNS integer
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET lock_timeout = '100ms'
AS $$
DECLARE
    relation record;
    range record;
    id bigint;
    goal bigint;
    made integer := 0;
BEGIN
    FOR relation IN
        SELECT p.table_name, p.key, p.part_of, p.partition FROM damoov.partitions AS p
        WHERE p.is_default
        ORDER BY p.table_name COLLATE "C" DESC
    LOOP
        -- attaching reads all of it
        CONTINUE WHEN (damoov.partition_bytes(relation.partition) < 64 * 1024 * 1024) IS NOT TRUE;
        id := damoov.next_id(relation.part_of, relation.key);
        goal := id + greatest(damoov.partition_size(), 10000);
        WHILE id <= goal AND id < 9000000000000000000 LOOP
            range := damoov.range_at(relation.table_name, id);
            IF NOT range.is_there THEN
                EXIT WHEN NOT damoov.lock_partitions(relation.table_name, relation.partition, false);
                range := damoov.range_at(relation.table_name, id);
            END IF;
            IF NOT range.is_there THEN
                -- what lies in the default partition stays there for now
                EXECUTE format('SELECT greatest($1, max(d.%I) + 1) FROM damoov.%I AS d WHERE d.%1$I >= $1 AND d.%1$I < $2', relation.key, relation.partition)
                INTO range.first_id USING range.first_id, range.end_id;
                IF range.first_id < range.end_id THEN
                    PERFORM damoov.add_partition(relation.table_name, relation.partition, relation.key, range.first_id, range.end_id);
                    made := made + 1;
                END IF;
            END IF;
            id := range.end_id;
        END LOOP;
    END LOOP;
    RETURN made;
END
$$;
COMMENT ON FUNCTION damoov.make_partitions() IS 'makes the partitions that the next trips and raw tracks will need, for damoov.partition_size ids and at least 10000; returns how many';

-- No lock of the look stays, since the partitioned table is locked first.  Nobody has
-- rights on a partition.
CREATE FUNCTION damoov.least_id(partition text, key text) RETURNS bigint
    LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    id bigint;
BEGIN
    EXECUTE format('SELECT min(d.%I) FROM damoov.%I AS d WHERE d.%1$I > -9000000000000000000', key, partition) INTO id;
    -- back to where the block began: the lock goes, the variable stays
    RAISE SQLSTATE 'DMV01';
EXCEPTION
    WHEN SQLSTATE 'DMV01' THEN RETURN id;
    WHEN lock_not_available OR deadlock_detected OR undefined_table THEN RETURN NULL;
END
$$;
COMMENT ON FUNCTION damoov.least_id(text, text) IS 'the least key in a partition; NULL when it has no rows, or when somebody has locked it for longer than lock_timeout';

CREATE FUNCTION damoov.split_default() RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET session_replication_role = replica
    SET lock_timeout = '1s'
AS $$
DECLARE
    relation record;
    range record;
    id bigint;
BEGIN
    -- points before events here and below, as they are stored: no deadlock
    FOR relation IN
        SELECT p.table_name, p.key, p.partition FROM damoov.partitions AS p
        WHERE p.is_default
        ORDER BY p.table_name COLLATE "C" DESC
    LOOP
        -- The room of rows that are gone is left to VACUUM: an older snapshot still
        -- sees them here.
        id := damoov.least_id(relation.partition, relation.key);
        CONTINUE WHEN (id < 9000000000000000000) IS NOT TRUE
            OR NOT damoov.lock_partitions(relation.table_name, relation.partition, true);
        id := damoov.least_id(relation.partition, relation.key);
        -- the other tables are for the next call, since whoever waits for this one
        -- may hold them
        IF id < 9000000000000000000 THEN
            range := damoov.range_at(relation.table_name, id);
            RETURN damoov.add_partition(relation.table_name, relation.partition, relation.key, range.first_id, range.end_id);
        END IF;
        RETURN 0;
    END LOOP;
    RETURN 0;
END
$$;
COMMENT ON FUNCTION damoov.split_default() IS 'moves rows of a default partition to a partition of their own, those of one range of ids; returns how many; 0 when there is nothing to do, or when somebody uses the table; errors: 25000 isolation level';

CREATE FUNCTION damoov.past_ranges(part_of text) RETURNS TABLE (key text, first_id bigint, end_id bigint)
    LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT DISTINCT p.key, p.first_id, p.end_id
    FROM damoov.partitions AS p
    WHERE p.part_of = past_ranges.part_of AND NOT p.is_default
        AND p.end_id <= (SELECT damoov.next_id(w.part_of, w.key) FROM damoov.partitions AS w WHERE w.part_of = past_ranges.part_of LIMIT 1)
    ORDER BY 2, 3;
END
$$;
COMMENT ON FUNCTION damoov.past_ranges(text) IS 'ranges of partitions that get no new trips, or raw tracks, any more';

CREATE FUNCTION damoov.range_partitions(part_of text, first_id bigint, end_id bigint) RETURNS text
    LANGUAGE sql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT string_agg(format('damoov.%I', p.partition), ', ' ORDER BY p.table_name COLLATE "C" DESC, p.first_id)
    FROM damoov.partitions AS p
    WHERE p.part_of = range_partitions.part_of AND NOT p.is_default
        AND p.first_id >= range_partitions.first_id AND p.end_id <= range_partitions.end_id
$$;
COMMENT ON FUNCTION damoov.range_partitions(text, bigint, bigint) IS 'names of the partitions of a range, as they are locked: points before events';

-- Before the rows of the tracks are locked: whoever stores a track locks its
-- partitions first, and its row later.
CREATE FUNCTION damoov.hold_partitions(part_of text, first_id bigint, end_id bigint) RETURNS boolean
    LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET lock_timeout = '1s'
AS $$
DECLARE
    names CONSTANT text := damoov.range_partitions(part_of, first_id, end_id);
BEGIN
    PERFORM damoov.need_read_committed();
    IF names IS NOT NULL THEN
        EXECUTE 'LOCK TABLE ' || names || ' IN ACCESS EXCLUSIVE MODE';
    END IF;
    RETURN names IS NOT NULL;
EXCEPTION
    WHEN lock_not_available OR deadlock_detected OR undefined_table THEN RETURN false;
END
$$;
COMMENT ON FUNCTION damoov.hold_partitions(text, bigint, bigint) IS 'locks the partitions of a range; false when there are none, or when somebody uses them; errors: 25000 isolation level';

-- Emptied first and dropped later: dropping locks the whole table, emptying only
-- what is old, and so can stay locked while the tracks are deleted.
CREATE FUNCTION damoov.empty_partitions(part_of text, first_id bigint, end_id bigint, held bigint) RETURNS boolean
    LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET session_replication_role = replica
AS $$
DECLARE
    key CONSTANT text := (SELECT min(p.key) FROM damoov.partitions AS p WHERE p.part_of = empty_partitions.part_of);
    others boolean;
BEGIN
    PERFORM damoov.need_read_committed();
    EXECUTE format('SELECT count(*) <> $3 FROM damoov.%I AS w WHERE w.%I >= $1 AND w.%2$I < $2', part_of, key)
    INTO others USING first_id, end_id, held;
    IF NOT others THEN
        EXECUTE 'TRUNCATE ' || damoov.range_partitions(part_of, first_id, end_id);
    END IF;
    RETURN NOT others;
END
$$;
COMMENT ON FUNCTION damoov.empty_partitions(text, bigint, bigint, bigint) IS 'empties the partitions of a range, which the caller has locked with damoov.hold_partitions(), and that has as many tracks as the caller holds, and deletes; false when it has others; errors: 25000 isolation level';

CREATE FUNCTION damoov.drop_partition() RETURNS integer
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET lock_timeout = '1s'
AS $$
DECLARE
    relation record;
    used boolean;
BEGIN
    PERFORM damoov.need_read_committed();
    FOR relation IN
        SELECT p.table_name, p.part_of, p.key, p.partition, p.first_id, p.end_id
        FROM (SELECT DISTINCT q.part_of FROM damoov.partitions AS q) AS w
        CROSS JOIN LATERAL damoov.past_ranges(w.part_of) AS r
        JOIN damoov.partitions AS p USING (part_of, first_id, end_id)
        -- one that is still used stays locked: points before events
        ORDER BY p.table_name COLLATE "C" DESC, p.first_id
    LOOP
        CONTINUE WHEN damoov.partition_bytes(relation.partition) IS DISTINCT FROM 0;
        BEGIN
            EXECUTE format('LOCK TABLE ONLY damoov.%I, damoov.%I IN ACCESS EXCLUSIVE MODE', relation.table_name, relation.partition);
            EXECUTE format('SELECT EXISTS (SELECT FROM damoov.%I) OR EXISTS (SELECT FROM damoov.%I AS w WHERE w.%I >= $1 AND w.%3$I < $2)',
                relation.partition, relation.part_of, relation.key)
            INTO used USING relation.first_id, relation.end_id;
            IF NOT used THEN
                EXECUTE format('DROP TABLE damoov.%I', relation.partition);
                RETURN 1;
            END IF;
        EXCEPTION
            WHEN lock_not_available OR deadlock_detected OR undefined_table THEN NULL;  -- the next time
        END;
    END LOOP;
    RETURN 0;
END
$$;
COMMENT ON FUNCTION damoov.drop_partition() IS 'drops a partition that is empty, whose tracks are all gone, and that gets no more; returns 1, or 0 when there is none, or when somebody uses the tables; errors: 25000 isolation level';
