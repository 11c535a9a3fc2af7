-- ---------------------------------------------------------------------
-- Rebuilding typed rows from what is kept
-- ---------------------------------------------------------------------

CREATE FUNCTION damoov.changed_columns(before jsonb, after jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT array_agg(key ORDER BY key COLLATE "C")
    FROM jsonb_each(coalesce(before, '{}')) AS b
    FULL JOIN jsonb_each(coalesce(after, '{}')) AS a USING (key)
    WHERE nullif(b.value, 'null') IS DISTINCT FROM nullif(a.value, 'null');
END;
COMMENT ON FUNCTION damoov.changed_columns(jsonb, jsonb) IS 'members of two objects that differ; NULL when none does';

CREATE FUNCTION damoov.dataset_rows(kind text, object_id uuid) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    home text := CASE kind WHEN 'processed' THEN 'trips' WHEN 'raw' THEN 'raw_tracks' ELSE 'crashes' END;
    token text := CASE WHEN home = 'crashes' THEN 'crash_token' ELSE 'track_token' END;
    part record;
    digest text;
    result jsonb;
BEGIN
    EXECUTE format('SELECT to_jsonb(t) - ''{stored_at,header_stored_at,buffer_stored_at}''::text[] FROM damoov.%I AS t WHERE t.%I = $1', home, token)
    INTO result USING object_id;
    -- every table that has its key, with persons of its own or not
    FOR part IN
        SELECT c.relname AS table_name, o.attname AS key
        FROM pg_constraint AS k
        JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
        JOIN pg_attribute AS o ON o.attname = a.attname AND o.attrelid <> k.conrelid
        JOIN pg_class AS c ON c.oid = o.attrelid AND c.relnamespace = 'damoov'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        WHERE k.conrelid = format('damoov.%I', home)::regclass AND k.contype = 'p'
    LOOP
        EXECUTE format('SELECT md5(string_agg(p::text, E''\n'' ORDER BY p::text COLLATE "C")) FROM damoov.%I AS p WHERE p.%I = $1',
            part.table_name, part.key)
        INTO digest USING (result ->> part.key)::bigint;
        result := result || jsonb_build_object(part.table_name, digest);
    END LOOP;
    RETURN result;
END
$$;
COMMENT ON FUNCTION damoov.dataset_rows(text, uuid) IS 'the stored form of a dataset: its row, with a digest for each table of parts, without the time it was stored';

CREATE FUNCTION damoov.reparse_documents(since timestamptz)
    RETURNS TABLE (kind text, object_id uuid, changed text[], user_id bigint)
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    entry record;
    before jsonb;
    total CONSTANT bigint := (SELECT count(*) FROM damoov.documents AS d WHERE d.fetched_at >= since)
        + (SELECT count(*) FROM damoov.trip_documents AS d WHERE d.fetched_at >= since);
    done bigint := 0;
    changes bigint := 0;
BEGIN
    FOR entry IN
        -- what is compressed is not expanded before it is its turn
        SELECT d.kind, d.object_id, d.user_id, d.document, NULL::bytea AS packed
        FROM damoov.documents AS d
        WHERE d.fetched_at >= since
        UNION ALL
        SELECT 'processed', t.track_token, t.user_id, NULL, d.document
        FROM damoov.trip_documents AS d
        JOIN damoov.trips AS t USING (trip_id)
        WHERE d.fetched_at >= since
        ORDER BY 1, 2
    LOOP
        PERFORM damoov.report_progress('reparse', 'documents', done, total, changes);
        done := done + 1;
        kind := entry.kind;
        object_id := entry.object_id;
        user_id := entry.user_id;
        before := damoov.dataset_rows(kind, object_id);
        BEGIN
            PERFORM damoov.store_dataset(kind, object_id, coalesce(entry.document, damoov.document_text(entry.packed)));
            changed := damoov.changed_columns(before, damoov.dataset_rows(kind, object_id));
            IF changed IS NULL THEN
                RAISE SQLSTATE 'DM001';
            END IF;
        EXCEPTION
            WHEN SQLSTATE 'DM001' THEN
                -- the same rows are not written again
                CONTINUE;
            WHEN transaction_rollback OR insufficient_resources OR lock_not_available OR system_error THEN
                RAISE;
            WHEN OTHERS THEN
                changed := ARRAY['(refused)'];
        END;
        changes := changes + 1;
        RETURN NEXT;
    END LOOP;
END
$$;
COMMENT ON FUNCTION damoov.reparse_documents(timestamptz) IS 'the part of damoov_reparse() that reads datasets';

-- Leaves out an event that has arrived again meanwhile under its current name,
-- and all but one of those that get the same name.
CREATE FUNCTION damoov.learn_events(since timestamptz) RETURNS bigint[]
    LANGUAGE sql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH known AS (
        SELECT DISTINCT ON (d.event, e.object_id, e.user_id, e.sent_text) e.event_id, d.event, d.object_type
        FROM damoov.events AS e
        CROSS JOIN damoov.read_notification(e.payload) AS d
        WHERE e.outcome = 'unknown' AND e.received_at >= since AND d.event IS NOT NULL
            AND NOT EXISTS (
                SELECT
                FROM damoov.events AS s
                WHERE (s.event, s.object_id, s.user_id, s.sent_text) = (d.event, e.object_id, e.user_id, e.sent_text)
                    AND s.event_id <> e.event_id)
        ORDER BY d.event, e.object_id, e.user_id, e.sent_text, e.event_id
    ), learnt AS (
        UPDATE damoov.events AS e
        SET outcome = 'stored', event = k.event, object_type = k.object_type
        FROM known AS k
        WHERE e.event_id = k.event_id
        RETURNING e.event_id
    )
    SELECT coalesce(array_agg(l.event_id ORDER BY l.event_id), '{}') FROM learnt AS l;
END;
COMMENT ON FUNCTION damoov.learn_events(timestamptz) IS 'the part of damoov_reparse() that finds unknown events this version knows, which are stored ones from then on; returns their ids';

-- Removes all that these events have led to, and applies the rules again.
-- Events that have just become known have led to nothing yet; their datasets
-- are to be fetched.
CREATE FUNCTION damoov.reparse_events(event_ids bigint[], learnt bigint[])
    RETURNS TABLE (kind text, object_id uuid, changed text[], user_id bigint)
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    fresh bigint[] := ARRAY(SELECT i.id FROM unnest(event_ids) AS i (id) WHERE i.id = ANY (learnt));
    old_downloads damoov.downloads[] := ARRAY(
        SELECT w
        FROM damoov.downloads AS w
        WHERE w.object_id IN (SELECT e.object_id FROM damoov.events AS e WHERE e.event_id = ANY (fresh)));
    old_users damoov.users[];
    old_heartbeats damoov.heartbeats[];
    old_crashes damoov.crashes[];
    old_removed damoov.removed_tracks[];
    tokens uuid[];
BEGIN
    old_users := ARRAY(
        SELECT u
        FROM damoov.users AS u
        WHERE u.user_id IN (SELECT e.user_id FROM damoov.events AS e WHERE e.event_id = ANY (event_ids)));
    UPDATE damoov.users AS u
    SET client_id = NULL, client_id_at = NULL
    FROM damoov.events AS e
    WHERE e.event_id = ANY (event_ids) AND e.user_id = u.user_id AND e.sent_at = u.client_id_at;
    UPDATE damoov.users AS u
    SET instance_id = NULL, instance_id_at = NULL
    FROM damoov.events AS e
    WHERE e.event_id = ANY (event_ids) AND e.user_id = u.user_id AND e.sent_at = u.instance_id_at
        AND e.event = 'HeartbeatReceived';

    WITH gone AS (
        DELETE FROM damoov.heartbeats AS h
        USING damoov.events AS e
        WHERE e.event_id = ANY (event_ids) AND e.event = 'HeartbeatReceived'
            AND h.user_id = e.user_id AND h.reported_at = e.sent_at
        RETURNING h.*
    )
    SELECT array_agg(g::damoov.heartbeats) INTO old_heartbeats FROM gone AS g;

    -- a crash keeps its row; of its stages those whose events are still known
    old_crashes := ARRAY(
        SELECT c
        FROM damoov.crashes AS c
        WHERE c.crash_token IN (
            SELECT e.object_id FROM damoov.events AS e WHERE e.event_id = ANY (event_ids) AND e.event LIKE 'Accident%'));
    UPDATE damoov.crashes AS c
    SET header_received_at = CASE WHEN NOT s.header THEN c.header_received_at END,
        buffer_received_at = CASE WHEN NOT s.buffer THEN c.buffer_received_at END,
        completed_at = CASE WHEN NOT s.completed THEN c.completed_at END,
        filtered_at = CASE WHEN NOT s.filtered THEN c.filtered_at END,
        passed_filters = CASE WHEN NOT s.completed THEN c.passed_filters END
    FROM (
        SELECT
            o.crash_token,
            bool_or(e.event = 'AccidentEventReceived') AS header,
            bool_or(e.event = 'AccidentEventExtraReceived') AS buffer,
            bool_or(e.event = 'AccidentEventCompletePackageReceived') AS completed,
            bool_or(e.event = 'AccidentEventFiltered') AS filtered
        FROM unnest(old_crashes) AS o
        JOIN damoov.events AS e ON e.object_id = o.crash_token AND e.event IN ('AccidentEventReceived',
            'AccidentEventExtraReceived', 'AccidentEventCompletePackageReceived', 'AccidentEventFiltered')
        GROUP BY o.crash_token
    ) AS s
    WHERE c.crash_token = s.crash_token;

    WITH gone AS (
        DELETE FROM damoov.removed_tracks AS r WHERE r.event_id = ANY (event_ids) RETURNING r.*
    )
    SELECT array_agg(g::damoov.removed_tracks) INTO old_removed FROM gone AS g;

    PERFORM damoov.apply_events(damoov.arrivals(ARRAY(
        SELECT i.id FROM unnest(event_ids) AS i (id) WHERE i.id <> ALL (fresh))), false);
    PERFORM damoov.apply_events(damoov.arrivals(fresh), true);
    -- whose server their source was when they came is not known
    UPDATE damoov.downloads AS w
    SET source_owner = NULL
    FROM damoov.events AS e
    WHERE e.event_id = ANY (fresh) AND w.object_id = e.object_id AND w.source_owner IS NOT NULL;
    tokens := ARRAY(SELECT r.track_token FROM damoov.removed_tracks AS r WHERE r.event_id = ANY (event_ids));
    PERFORM damoov.take_away(tokens);

    -- Object.Id of a heartbeat is the person's token
    RETURN QUERY
    SELECT 'event', CASE WHEN e.event <> 'HeartbeatReceived' THEN e.object_id END, '{outcome}'::text[], e.user_id
    FROM damoov.events AS e
    WHERE e.event_id = ANY (fresh)
    ORDER BY e.event_id;

    RETURN QUERY
    SELECT 'download', w.object_id, c.changed, w.user_id
    FROM damoov.downloads AS w
    LEFT JOIN unnest(old_downloads) AS o ON (o.kind, o.object_id) = (w.kind, w.object_id)
    CROSS JOIN LATERAL damoov.changed_columns(to_jsonb(o), to_jsonb(w)) AS c (changed)
    WHERE c.changed IS NOT NULL AND w.object_id IN (SELECT e.object_id FROM damoov.events AS e WHERE e.event_id = ANY (fresh))
    ORDER BY w.object_id, w.kind;

    RETURN QUERY
    SELECT 'user', NULL::uuid, c.changed, o.user_id
    FROM unnest(old_users) AS o
    JOIN damoov.users AS u ON u.user_id = o.user_id
    CROSS JOIN LATERAL damoov.changed_columns(to_jsonb(o), to_jsonb(u)) AS c (changed)
    WHERE c.changed IS NOT NULL
    ORDER BY o.user_id;

    RETURN QUERY
    SELECT 'heartbeat', NULL::uuid, array_agg(DISTINCT c.name ORDER BY c.name), n.user_id
    FROM (
        SELECT DISTINCT e.user_id, e.sent_at
        FROM damoov.events AS e
        WHERE e.event_id = ANY (event_ids) AND e.event = 'HeartbeatReceived'
    ) AS n
    LEFT JOIN unnest(old_heartbeats) AS o ON o.user_id = n.user_id AND o.reported_at = n.sent_at
    LEFT JOIN damoov.heartbeats AS h ON h.user_id = n.user_id AND h.reported_at = n.sent_at
    CROSS JOIN LATERAL unnest(damoov.changed_columns(to_jsonb(o), to_jsonb(h))) AS c (name)
    GROUP BY n.user_id
    ORDER BY n.user_id;

    RETURN QUERY
    SELECT 'crash', t.crash_token, c.changed, t.user_id
    FROM damoov.crashes AS t
    LEFT JOIN unnest(old_crashes) AS o ON o.crash_token = t.crash_token
    CROSS JOIN LATERAL damoov.changed_columns(to_jsonb(o), to_jsonb(t)) AS c (changed)
    WHERE c.changed IS NOT NULL AND t.crash_token IN (
        SELECT e.object_id FROM damoov.events AS e WHERE e.event_id = ANY (event_ids) AND e.event LIKE 'Accident%')
    ORDER BY t.crash_token;

    RETURN QUERY
    SELECT 'removed_track', k.track_token, array_agg(DISTINCT c.name ORDER BY c.name), min(k.user_id)
    FROM (
        SELECT coalesce(o.track_token, r.track_token) AS track_token, coalesce(o.user_id, r.user_id) AS user_id,
            damoov.changed_columns(to_jsonb(o), to_jsonb(r)) AS changed
        FROM unnest(old_removed) AS o
        FULL JOIN (SELECT x.* FROM damoov.removed_tracks AS x WHERE x.event_id = ANY (event_ids)) AS r
            ON (r.track_token, r.removed_at, r.event_id) = (o.track_token, o.removed_at, o.event_id)
    ) AS k
    CROSS JOIN LATERAL unnest(k.changed) AS c (name)
    GROUP BY k.track_token
    ORDER BY k.track_token;
END
$$;
COMMENT ON FUNCTION damoov.reparse_events(bigint[], bigint[]) IS 'the part of damoov_reparse() that reads events';

-- What the database refuses of one person stops nobody else's.
CREATE FUNCTION damoov.reparse_batch(event_ids bigint[], learnt bigint[])
    RETURNS TABLE (kind text, object_id uuid, changed text[], user_id bigint)
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    people bigint[];
    half integer;
BEGIN
    BEGIN
        RETURN QUERY SELECT r.* FROM damoov.reparse_events(event_ids, learnt) AS r;
        RETURN;
    EXCEPTION
        WHEN transaction_rollback OR insufficient_resources OR lock_not_available OR system_error THEN
            RAISE;
        WHEN OTHERS THEN
            people := ARRAY(SELECT DISTINCT e.user_id FROM damoov.events AS e WHERE e.event_id = ANY (event_ids) ORDER BY 1);
    END;
    half := cardinality(people) / 2;
    IF half = 0 THEN
        -- is learnt another time
        UPDATE damoov.events AS e
        SET outcome = 'unknown', event = coalesce(e.payload ->> 'Event', e.event)
        WHERE e.event_id = ANY (event_ids) AND e.event_id = ANY (learnt);
        RETURN QUERY SELECT 'event', NULL::uuid, ARRAY['(refused)'], people[1];
        RETURN;
    END IF;
    FOR part IN 0 .. 1 LOOP
        RETURN QUERY
        SELECT r.*
        FROM damoov.reparse_batch(ARRAY(
            SELECT e.event_id
            FROM damoov.events AS e
            WHERE e.event_id = ANY (event_ids) AND (e.user_id > people[half]) = (part = 1)), learnt) AS r;
    END LOOP;
END
$$;
COMMENT ON FUNCTION damoov.reparse_batch(bigint[], bigint[]) IS 'calls damoov.reparse_events() for many persons at once; if that fails, for half of them each, down to single ones';

CREATE FUNCTION damoov_reparse(since timestamptz, dry_run boolean DEFAULT true)
    RETURNS TABLE (kind text, object_id uuid, changed text[], user_id bigint)
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    learnt bigint[];
    batch record;
    done bigint := 0;
BEGIN
    IF since IS NULL THEN
        RAISE EXCEPTION 'since must not be null' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    PERFORM damoov.lock_people(true);
    PERFORM damoov.report_progress('reparse', 'learning', 0, NULL, 0);
    BEGIN
        learnt := damoov.learn_events(since);
        -- All of a person's events in one batch, about 1000 a batch.  Events of
        -- the same instant count as one with those that came since.
        FOR batch IN
            SELECT array_agg(n.event_id) AS event_ids, sum(count(*)) OVER () AS total
            FROM (
                SELECT e.event_id, rank() OVER (ORDER BY e.user_id) / 1000 AS number
                FROM damoov.events AS e
                WHERE e.outcome = 'stored' AND (e.user_id, e.sent_at) IN (
                    SELECT s.user_id, s.sent_at
                    FROM damoov.events AS s
                    WHERE s.outcome = 'stored' AND s.received_at >= since)
            ) AS n
            GROUP BY n.number
            ORDER BY n.number
        LOOP
            PERFORM damoov.report_progress('reparse', 'events', done, batch.total::bigint, 0);
            RETURN QUERY SELECT r.* FROM damoov.reparse_batch(batch.event_ids, learnt) AS r;
            done := done + cardinality(batch.event_ids);
        END LOOP;
        RETURN QUERY SELECT r.* FROM damoov.reparse_documents(since) AS r;
        IF dry_run IS NOT FALSE THEN
            RAISE SQLSTATE 'DM002';
        END IF;
    EXCEPTION WHEN SQLSTATE 'DM002' THEN
        NULL;
    END;
    PERFORM damoov.report_progress('reparse', NULL, NULL, NULL, NULL);
END
$$;
COMMENT ON FUNCTION damoov_reparse(timestamptz, boolean) IS 'makes the typed rows anew from the events received and the originals fetched since then, one transaction in which nothing else is stored; events that were unknown and are not any more become stored, and their datasets are to be fetched; returns what changes, and does not do it while dry_run; object_id is NULL for persons and heartbeats, as theirs is the device token; changed is {(refused)} for a document, or the events of a person, that cannot be stored, which stay as they were; errors: 22004 no time, 25000 isolation level';
