-- ---------------------------------------------------------------------
-- Running it
-- ---------------------------------------------------------------------

CREATE FUNCTION damoov.home() RETURNS text
    LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'damoov_home';
REVOKE ALL ON FUNCTION damoov.home() FROM PUBLIC;
COMMENT ON FUNCTION damoov.home() IS 'identity of this cluster and database, as "system identifier/database oid"';

CREATE FUNCTION damoov.worker_pid() RETURNS integer
    LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'damoov_worker_pid';
REVOKE ALL ON FUNCTION damoov.worker_pid() FROM PUBLIC;
COMMENT ON FUNCTION damoov.worker_pid() IS 'process id of this database''s background worker, NULL when none runs';

CREATE FUNCTION damoov_check(source text DEFAULT NULL)
RETURNS TABLE (server text, level text, topic text, finding text, remedy text)
AS 'MODULE_PATHNAME' LANGUAGE C;
REVOKE ALL ON FUNCTION damoov_check(text) FROM PUBLIC;
COMMENT ON FUNCTION damoov_check(text) IS
    'looks for what is in the way of a source, or of all sources and this server: asks each service without taking a message, for at most 20 seconds; '
    'level is ok, warning or error; server is NULL for what concerns the whole; remedy is the statement or setting that mends it; '
    'stores and consumes nothing; errors: 42704 no such server, 42809 not a source of messages';

CREATE FUNCTION damoov_pause(source text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM damoov.servers AS s WHERE s.source = damoov_pause.source) THEN
        RAISE EXCEPTION 'source "%" does not exist', source USING ERRCODE = 'undefined_object';
    END IF;
    INSERT INTO damoov.sources AS s (source, home, paused, pause_reason, state)
    VALUES (damoov_pause.source, damoov.home(), true, 'damoov_pause', 'paused')
    ON CONFLICT ON CONSTRAINT sources_pkey DO UPDATE
    SET paused = true, pause_reason = 'damoov_pause', state = 'paused';
    PERFORM damoov.wake_worker();
END
$$;
REVOKE ALL ON FUNCTION damoov_pause(text) FROM PUBLIC;
COMMENT ON FUNCTION damoov_pause(text) IS 'stops receiving from a source at the next poll; errors: 42704 no such source';

CREATE FUNCTION damoov_resume(source text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM damoov.servers AS s WHERE s.source = damoov_resume.source) THEN
        RAISE EXCEPTION 'source "%" does not exist', source USING ERRCODE = 'undefined_object';
    END IF;
    INSERT INTO damoov.sources AS s (source, home)
    VALUES (damoov_resume.source, damoov.home())
    ON CONFLICT ON CONSTRAINT sources_pkey DO UPDATE
    SET home = damoov.home(), paused = false, pause_reason = NULL, state = 'new', failures = 0, retry_at = NULL;
    PERFORM damoov.wake_worker();
END
$$;
REVOKE ALL ON FUNCTION damoov_resume(text) FROM PUBLIC;
COMMENT ON FUNCTION damoov_resume(text) IS 'receives again from a paused source, also after a restore elsewhere, and forgets its back-off; errors: 42704 no such source';

CREATE FUNCTION damoov.wake_worker() RETURNS void
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'damoov_wake_worker';
REVOKE ALL ON FUNCTION damoov.wake_worker() FROM PUBLIC;
COMMENT ON FUNCTION damoov.wake_worker() IS 'makes this database''s worker look at its tables once this transaction has committed';

CREATE VIEW damoov.servers AS
SELECT s.srvname::text AS source, s.srvtype AS type, s.oid AS server_oid
FROM pg_catalog.pg_foreign_server AS s
JOIN pg_catalog.pg_foreign_data_wrapper AS w ON w.oid = s.srvfdw
WHERE w.fdwname = 'damoov' AND s.srvtype IS DISTINCT FROM 'api';
COMMENT ON VIEW damoov.servers IS 'the foreign servers that are sources of messages';

CREATE VIEW damoov.status AS
SELECT
    s.source,
    s.type,
    CASE
        WHEN s.type = 'webhook' AND NOT coalesce(r.paused, false) THEN 'listening'
        ELSE coalesce(r.state, CASE WHEN s.source IS NOT NULL THEN 'new' END)
    END AS state,
    w.pid AS worker_pid,
    r.last_poll_at,
    CASE
        WHEN s.type = 'webhook' THEN (SELECT max(p.received_at) FROM damoov.receipts AS p WHERE p.source = s.source)
        ELSE r.last_message_at
    END AS last_message_at,
    r.last_error,
    r.last_error_at,
    r.failures,
    r.retry_at,
    r.pause_reason,
    d.waiting AS downloads_waiting,
    d.failed AS downloads_failed,
    d.oldest AS oldest_download_at,
    d.last_error AS last_download_error,
    q.quarantined
FROM (SELECT damoov.worker_pid() AS pid) AS w
CROSS JOIN (
    SELECT
        count(*) FILTER (WHERE state = 'waiting') AS waiting,
        count(*) FILTER (WHERE state <> 'waiting') AS failed,
        min(queued_at) FILTER (WHERE state = 'waiting') AS oldest,
        (array_agg(last_error ORDER BY last_error_at DESC) FILTER (WHERE last_error IS NOT NULL))[1] AS last_error
    FROM damoov.downloads
) AS d
CROSS JOIN (SELECT count(*) AS quarantined FROM damoov.quarantine) AS q
LEFT JOIN damoov.servers AS s ON true
LEFT JOIN damoov.sources AS r ON r.source = s.source;
COMMENT ON VIEW damoov.status IS 'one row a source (one without a source when there is none): is the worker alive, what does the source do, what failed last, how many downloads wait';

CREATE VIEW damoov.trip_lineage AS
WITH RECURSIVE merge (part, part_of, removed_at) AS (
    -- announced once or many times
    SELECT r.track_token, r.replaced_by, max(r.removed_at)
    FROM damoov.removed_tracks AS r
    WHERE r.reason = 'replaced'
    GROUP BY r.track_token, r.replaced_by
), step (part, part_of, removed_at, hops) AS (
    SELECT m.part, m.part_of, m.removed_at, 1
    FROM merge AS m
    UNION ALL
    SELECT s.part, m.part_of, m.removed_at, s.hops + 1
    FROM step AS s
    JOIN merge AS m ON m.part = s.part_of
) CYCLE part_of SET is_cycle USING path
SELECT DISTINCT s.part, s.part_of, s.hops, s.removed_at, t.trip_id, s.is_cycle
FROM step AS s
LEFT JOIN damoov.trips AS t ON t.track_token = s.part_of;
COMMENT ON VIEW damoov.trip_lineage IS 'which tracks went into which: part went, over hops merges, into part_of at removed_at; trip_id is the trip part_of is today, NULL when that is gone or not fetched; is_cycle marks tracks that were merged in a circle';

CREATE VIEW damoov.ledger AS
SELECT
    source,
    (received_at AT TIME ZONE 'UTC')::date AS day,
    sum(received)::bigint AS received,
    sum(stored)::bigint AS stored,
    sum(duplicate)::bigint AS duplicate,
    sum(unknown)::bigint AS unknown,
    sum(control)::bigint AS control,
    sum(quarantined)::bigint AS quarantined,
    sum(received)::bigint - sum(stored + duplicate + unknown + control + quarantined)::bigint AS difference,
    sum(received) = sum(stored + duplicate + unknown + control + quarantined) AS balanced
FROM damoov.receipts
GROUP BY source, day;
COMMENT ON VIEW damoov.ledger IS 'received = stored + duplicate + unknown + control + quarantined, per source and UTC day';
COMMENT ON COLUMN damoov.ledger.difference IS 'received less all the others: messages lost, or counted twice when negative; 0 unless something is wrong';
COMMENT ON COLUMN damoov.ledger.balanced IS 'difference is 0';

