-- ---------------------------------------------------------------------
-- Retention
-- ---------------------------------------------------------------------

CREATE FUNCTION damoov.may_commit() RETURNS boolean
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'damoov_may_commit';
COMMENT ON FUNCTION damoov.may_commit() IS 'whether the procedure that calls it may end its transaction: not inside a transaction block';

-- It looks for old rows once for many transactions and removes 1000 of them in
-- each, by their physical address: it locks them, and then asks again whether
-- they are old.  What others hold, the row or its object, is left for the next
-- call, so that it neither waits nor deadlocks.  What belongs to a row is
-- deleted with it by triggers and foreign keys; points and events by whole
-- partitions, where that is possible.  A procedure that commits can
-- have no setting of its own, so search_path is set anew in each transaction,
-- like the isolation level.
CREATE PROCEDURE damoov_purge(dry_run boolean DEFAULT true)
    LANGUAGE plpgsql
AS $$
DECLARE
    find_rows CONSTANT integer := 100000;
    batch_rows CONSTANT integer := 1000;
    path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
    may_commit CONSTANT boolean := damoov.may_commit();
    rule pg_catalog.record;
    unused pg_catalog.text;
    old pg_catalog.tid[];
    held pg_catalog.tid[];
    locked bigint;
    gone bigint;
    removed bigint;
    total bigint;
    range pg_catalog.record;
    whole boolean;
    step pg_catalog.text;
    tables_done bigint := 0;
    all_rows bigint := 0;
    phases CONSTANT bigint := 14;
    -- who does not see all tracks cannot say that all are old
    parts CONSTANT boolean := pg_catalog.has_function_privilege('damoov.empty_partitions(pg_catalog.text,bigint,bigint,bigint)', 'EXECUTE')
        AND NOT pg_catalog.row_security_active('damoov.trips') AND NOT pg_catalog.row_security_active('damoov.raw_tracks');
BEGIN
    SET LOCAL search_path = pg_catalog, pg_temp;
    dry_run := dry_run IS NOT FALSE;
    IF NOT dry_run AND NOT may_commit THEN
        RAISE EXCEPTION 'damoov_purge() cannot run inside a transaction block'
            USING ERRCODE = 'invalid_transaction_termination';
    ELSIF NOT dry_run AND current_setting('transaction_read_only')::boolean THEN
        RAISE EXCEPTION 'cannot execute damoov_purge() in a read-only transaction'
            USING ERRCODE = 'read_only_sql_transaction';
    END IF;
    -- a typing error would keep rows for ever
    IF has_function_privilege('damoov.wrong_settings()', 'EXECUTE') THEN
        FOR rule IN SELECT w.finding, w.remedy FROM damoov.wrong_settings() AS w WHERE w.finding LIKE 'setting "damoov.keep%' LOOP
            RAISE WARNING '%', rule.finding USING HINT = rule.remedy;
        END LOOP;
    END IF;
    IF NOT dry_run THEN
        COMMIT;
        SET LOCAL search_path = pg_catalog, pg_temp;
        SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
    END IF;

    -- Nothing refers to a person x, neither here nor in tables of others; who may
    -- not look there, or does not see all rows, removes nobody.
    SELECT string_agg(CASE
            WHEN has_table_privilege(r.relation, 'SELECT') AND has_schema_privilege(r.schema, 'USAGE') AND NOT row_security_active(r.relation)
                THEN format('NOT EXISTS (SELECT FROM %s AS r WHERE r.%I = x.user_id)', r.relation, r.name)
            ELSE 'false'
        END, ' AND ' ORDER BY r.relation, r.name)
    INTO unused
    FROM (
        SELECT f.conrelid::regclass, a.attname, f.connamespace
        FROM pg_constraint AS f
        JOIN pg_attribute AS a ON a.attrelid = f.conrelid AND a.attnum = f.conkey[1]
        WHERE f.contype = 'f' AND f.confrelid = 'damoov.users'::regclass
        UNION
        SELECT format('damoov.%I', t.table_name)::regclass, 'user_id', 'damoov'::regnamespace
        FROM damoov.person_tables AS t
        WHERE t.part_of IS NULL AND t.table_name <> 'users'
    ) AS r (relation, name, schema);

    -- The list of what is removed: rows x for which the condition holds at the
    -- time $1, and what is done in addition with the rows removed.
    FOR rule IN
        -- Receipts of whole days in UTC, as in damoov.ledger, become one row a
        -- source and day.  A day that a batch cuts in two is found again.
        SELECT 0 AS position, 'receipts' AS table_name, 'would fold %s into days' AS would, 'folded %s into days' AS done,
            date_trunc('day', clock_timestamp() - interval '24 hours', 'UTC') AS before,
            'x.received_at < $1' AS condition,
            $sql$, sums AS (
                INSERT INTO damoov.receipts
                    (source, received_at, received, stored, duplicate, unknown, control, quarantined)
                SELECT g.source, date_trunc('day', g.received_at, 'UTC'), sum(g.received), sum(g.stored),
                    sum(g.duplicate), sum(g.unknown), sum(g.control), sum(g.quarantined)
                FROM gone AS g
                GROUP BY 1, 2)$sql$ AS besides,
            $sql$(SELECT r.ctid, r.source, r.received_at,
                    count(*) OVER (PARTITION BY r.source, date_trunc('day', r.received_at, 'UTC')) AS together
                FROM damoov.receipts AS r
                WHERE r.received_at < $1
                ORDER BY r.source, r.received_at) AS x
            WHERE x.together > 1$sql$ AS found,
            $sql$count(*) - count(DISTINCT (x.source, date_trunc('day', x.received_at, 'UTC')))$sql$ AS number,
            'true' AS lock
        UNION ALL
        SELECT r.position, r.table_name, 'would remove %s', 'removed %s',
            clock_timestamp() - nullif(s.setting, '-1')::integer * interval '1 minute',
            r.condition, r.besides, format('damoov.%I AS x WHERE %s', r.table_name, r.condition), 'count(*)',
            coalesce('damoov.try_lock_object(x.' || quote_ident(r.object) || ')', 'true')
        FROM (VALUES
            -- A tombstone goes with its event, and both stay 14 days after they
            -- arrived, the longest a queue keeps a message: until then an older
            -- event about the track may come again, and would bring it back.
            (1, 'events', 'keep_events', $sql$x.received_at < $1 AND (x.received_at < now() - interval '14 days'
                OR NOT EXISTS (SELECT FROM damoov.removed_tracks AS r WHERE r.event_id = x.event_id))$sql$,
                ', tombstones AS (DELETE FROM damoov.removed_tracks AS r USING gone AS g WHERE r.event_id = g.event_id)', 'object_id'),
            (2, 'heartbeats', 'keep_heartbeats', 'x.reported_at < $1', '', NULL),
            -- The age of a trip counts from the platform's newest
            -- notification, not from its own times: a phone with a wrong clock
            -- would have it removed at once, or never.
            (3, 'trips', 'keep_trips', 'coalesce(x.enriched_at, x.stored_at) < $1', '', NULL),
            (4, 'raw_tracks', 'keep_trips', 'x.stored_at < $1', '', NULL),
            -- Without a stage a crash is as old as what was fetched of it, and
            -- without that of no use.
            (5, 'crashes', 'keep_crashes',
                $sql$coalesce(greatest(x.header_received_at, x.buffer_received_at, x.completed_at, x.filtered_at),
                    greatest(x.header_stored_at, x.buffer_stored_at), '-infinity') < $1$sql$, '', NULL),
            (6, 'quarantine', 'keep_quarantine', 'x.received_at < $1', '', NULL),
            (7, 'documents', 'keep_documents', 'x.fetched_at < $1', '', NULL),
            -- a day as a whole
            (8, 'receipts', 'keep_receipts', $sql$date_trunc('day', x.received_at, 'UTC') < $1$sql$, '', NULL),
            -- what has ended, one way or the other
            (9, 'downloads', 'keep_quarantine',
                $sql$x.state <> 'waiting' AND coalesce(x.last_error_at, x.queued_at) < $1$sql$, '', 'object_id'),
            (10, 'subscriptions', 'keep_receipts',
                $sql$x.state <> 'waiting' AND coalesce(x.confirmed_at, x.requested_at) < $1$sql$, '', NULL),
            -- with the differences that a job has found, which hold their persons
            (11, 'backfills', 'keep_quarantine', 'x.ended_at < $1', '', NULL),
            -- who has nothing any more, after all else
            (12, 'users', 'keep_events', unused, '', 'device_token')
        ) AS r (position, table_name, keep, condition, besides, object)
        JOIN pg_settings AS s ON s.name = 'damoov.' || r.keep
        ORDER BY position
    LOOP
        PERFORM damoov.report_progress('purge', rule.table_name, tables_done, phases, all_rows);
        tables_done := tables_done + 1;
        -- Where all tracks of a partition are old, or gone, it goes as a whole.
        total := 0;
        FOR range IN SELECT r.* FROM damoov.past_ranges(rule.table_name) AS r WHERE parts AND NOT dry_run LOOP
            PERFORM damoov.lock_people(false);
            EXECUTE format('SELECT NOT EXISTS (SELECT FROM damoov.%I AS x WHERE x.%I >= $2 AND x.%2$I < $3 AND (%s) IS NOT TRUE)',
                rule.table_name, range.key, rule.condition)
            INTO whole USING rule.before, range.first_id, range.end_id;
            IF whole AND damoov.hold_partitions(rule.table_name, range.first_id, range.end_id) THEN
                EXECUTE format('WITH held AS MATERIALIZED (SELECT FROM damoov.%I AS x WHERE x.%I >= $2 AND x.%2$I < $3 AND %s FOR UPDATE SKIP LOCKED)'
                    ' SELECT count(*) FROM held', rule.table_name, range.key, rule.condition)
                INTO locked USING rule.before, range.first_id, range.end_id;
                BEGIN
                    gone := 0;
                    IF damoov.empty_partitions(rule.table_name, range.first_id, range.end_id, locked) THEN
                        EXECUTE format('DELETE FROM damoov.%I AS x WHERE x.%I >= $2 AND x.%2$I < $3 AND %s', rule.table_name, range.key, rule.condition)
                        USING rule.before, range.first_id, range.end_id;
                        GET DIAGNOSTICS gone = ROW_COUNT;
                        -- somebody's trigger keeps some: they keep their points
                        IF gone <> locked THEN
                            RAISE EXCEPTION USING ERRCODE = 'triggered_data_change_violation';
                        END IF;
                    END IF;
                EXCEPTION
                    WHEN triggered_data_change_violation THEN gone := 0;
                END;
                total := total + gone;
                all_rows := all_rows + gone;
                PERFORM damoov.report_progress('purge', rule.table_name, tables_done - 1, phases, all_rows);
            END IF;
            COMMIT;
            SET LOCAL search_path = pg_catalog, pg_temp;
            SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
        END LOOP;
        IF rule.before IS NULL THEN
            RAISE NOTICE '%: kept for ever', rule.table_name;
            CONTINUE;
        ELSIF dry_run THEN
            EXECUTE format('SELECT %s FROM %s', rule.number, rule.found) INTO total USING rule.before;
            RAISE NOTICE '%: %', rule.table_name, format(rule.would, total);
            CONTINUE;
        END IF;
        LOOP
            EXECUTE format('SELECT array_agg(n.ctid) FROM (SELECT x.ctid FROM %s LIMIT %s) AS n', rule.found, find_rows)
            INTO old USING rule.before;
            removed := 0;
            FOR start IN 1 .. coalesce(cardinality(old), 0) BY batch_rows LOOP
                PERFORM damoov.lock_people(false);
                EXECUTE format('SELECT array_agg(n.ctid) FROM (SELECT x.ctid FROM damoov.%I AS x'
                    ' WHERE x.ctid = ANY ($1) AND %s FOR UPDATE SKIP LOCKED) AS n', rule.table_name, rule.lock)
                INTO held USING old[start:start + batch_rows - 1];
                EXECUTE format('WITH gone AS (DELETE FROM damoov.%I AS x WHERE x.ctid = ANY ($2) AND %s RETURNING x.*)'
                    ' %s SELECT %s FROM gone AS x', rule.table_name, rule.condition, rule.besides, rule.number)
                INTO gone USING rule.before, held;
                removed := removed + gone;
                all_rows := all_rows + gone;
                PERFORM damoov.report_progress('purge', rule.table_name, tables_done - 1, phases, all_rows);
                COMMIT;
                SET LOCAL search_path = pg_catalog, pg_temp;
                SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
            END LOOP;
            total := total + removed;
            -- rows locked by others would be found again and again
            EXIT WHEN removed = 0 OR (removed = cardinality(old) AND removed < find_rows);
        END LOOP;
        RAISE NOTICE '%: %', rule.table_name, format(rule.done, total);
    END LOOP;
    PERFORM damoov.report_progress('purge', 'partitions', tables_done, phases, all_rows);
    -- what is empty now, what will be needed, what had no partition
    FOREACH step IN ARRAY ARRAY['drop_partition', 'make_partitions', 'split_default'] LOOP
        LOOP
            EXIT WHEN dry_run OR NOT parts;
            BEGIN
                EXECUTE format('SELECT damoov.%I()', step) INTO gone;
            EXCEPTION
                WHEN lock_not_available OR deadlock_detected THEN gone := 0;  -- the next time
            END;
            COMMIT;
            SET LOCAL search_path = pg_catalog, pg_temp;
            SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
            EXIT WHEN gone = 0;
        END LOOP;
    END LOOP;
    PERFORM damoov.report_progress('purge', NULL, NULL, NULL, NULL);
    PERFORM set_config('search_path', path, true);
END
$$;
COMMENT ON PROCEDURE damoov_purge(boolean) IS 'removes what is older than the settings damoov.keep_* say, and folds the receipts of whole days; a transaction for each 1000 rows, so it must not run inside a transaction block (2D000); says what it does for each kind, and only that while dry_run';
