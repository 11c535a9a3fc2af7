-- ---------------------------------------------------------------------
-- Running it: the worker, the same work in a session, and how it is
-- ---------------------------------------------------------------------

CREATE FUNCTION damoov.worker_pid() RETURNS integer
    LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'damoov_worker_pid';
COMMENT ON FUNCTION damoov.worker_pid() IS 'process id of this database''s background worker, or of the first of several; NULL when none runs';

CREATE FUNCTION damoov.worker_pids() RETURNS integer[]
    LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'damoov_worker_pids';
COMMENT ON FUNCTION damoov.worker_pids() IS 'process ids of all background workers of this database';

CREATE FUNCTION damoov.worker_problem() RETURNS text
    LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'damoov_worker_problem';
COMMENT ON FUNCTION damoov.worker_problem() IS 'why no background worker serves this database, or fewer than wanted, with the error that ended the last one; NULL while all do';

CREATE FUNCTION damoov.wake_worker() RETURNS void
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'damoov_wake_worker';
COMMENT ON FUNCTION damoov.wake_worker() IS 'makes this database''s workers look at its tables once this transaction has committed';

CREATE PROCEDURE damoov_poll(source text DEFAULT NULL, max_seconds integer DEFAULT 50)
    LANGUAGE C AS 'MODULE_PATHNAME', 'damoov_poll';
COMMENT ON PROCEDURE damoov_poll(text, integer) IS 'does in this session what the worker does: receives until every source has answered an empty receive and no download is due, at most max_seconds; several at once are safe; must not run inside a transaction block (2D000)';

CREATE VIEW damoov.status WITH (security_invoker) AS
SELECT
    s.source,
    s.type,
    CASE
        WHEN s.type = 'webhook' AND NOT coalesce(r.paused, false) THEN 'listening'
        WHEN m.moved AND s.server_oid IS NOT NULL AND s.type IS DISTINCT FROM 'webhook' THEN 'paused'
        ELSE coalesce(r.state, CASE WHEN s.server_oid IS NOT NULL THEN 'new' END)
    END AS state,
    w.pid AS worker_pid,
    w.problem AS worker_problem,
    cardinality(w.pids) AS workers,
    r.last_poll_at,
    CASE
        WHEN s.type = 'webhook' THEN (SELECT max(p.received_at) FROM damoov.receipts AS p WHERE p.source = s.source)
        ELSE r.last_message_at
    END AS last_message_at,
    t.per_second AS messages_per_second,
    r.backlog,
    r.backlog_at + r.backlog / nullif(t.per_second, 0) * interval '1 second' AS drained_at,
    r.last_error,
    r.last_error_at,
    r.failures,
    r.retry_at,
    CASE WHEN m.moved AND s.server_oid IS NOT NULL AND s.type IS DISTINCT FROM 'webhook' THEN 'this database was restored, copied or moved'
        ELSE r.pause_reason END AS pause_reason,
    coalesce(s.waiting, 0) AS downloads_waiting,
    coalesce(s.failed, 0) AS downloads_failed,
    s.oldest AS oldest_download_at,
    s.last_download_error,
    coalesce(s.quarantined, 0) AS quarantined
FROM (SELECT damoov.worker_pid() AS pid, damoov.worker_pids() AS pids, damoov.worker_problem() AS problem) AS w
-- before damoov.pause_elsewhere() has found it
CROSS JOIN (
    SELECT NOT (pg_catalog.pg_is_in_recovery() OR damoov.was_standby())
        AND EXISTS (SELECT FROM damoov.sources AS o WHERE o.home <> damoov.home() OR o.place <> damoov.place()) AS moved
) AS m
LEFT JOIN (
    damoov.servers AS v
    FULL JOIN (
        SELECT
            source,
            count(*) FILTER (WHERE state = 'waiting') AS waiting,
            count(*) FILTER (WHERE state <> 'waiting') AS failed,
            min(queued_at) FILTER (WHERE state = 'waiting') AS oldest,
            (array_agg(last_error ORDER BY last_error_at DESC) FILTER (WHERE last_error IS NOT NULL))[1] AS last_download_error
        FROM damoov.downloads
        GROUP BY source
    ) AS d USING (source)
    FULL JOIN (SELECT source, count(*) AS quarantined FROM damoov.quarantine GROUP BY source) AS q USING (source)
) AS s ON true
LEFT JOIN damoov.sources AS r ON r.server_oid = s.server_oid AND r.home = damoov.home()
LEFT JOIN LATERAL (
    SELECT round(sum(p.received) / greatest(1, extract(epoch FROM now() - min(p.received_at))), 1) AS per_second
    FROM damoov.receipts AS p
    WHERE p.source = s.source AND p.received_at > now() - interval '1 minute'
) AS t ON true;
COMMENT ON COLUMN damoov.status.workers IS 'how many background workers of this database run; damoov.workers_per_database says how many are wanted';
COMMENT ON COLUMN damoov.status.messages_per_second IS 'messages received per second, over the last minute or since the first one in it; NULL without any';
COMMENT ON COLUMN damoov.status.backlog IS 'messages that wait in the queue: see damoov.sources';
COMMENT ON COLUMN damoov.status.drained_at IS 'when the queue will be empty, if messages go on being received at this rate and no others come; NULL where backlog is';
COMMENT ON VIEW damoov.status IS 'one row a source (one without a source when there is none), and one for each other name that downloads or quarantined messages came by: is the worker alive, and why not, what does the source do, what failed last, how many downloads wait';
COMMENT ON COLUMN damoov.status.source IS 'foreign server, or the name given to damoov_ingest() or of a server that was dropped; NULL when there is none';
COMMENT ON COLUMN damoov.status.type IS 'its TYPE; NULL for a name without a server';
COMMENT ON COLUMN damoov.status.state IS 'new, polling, retrying, auth_failed, misconfigured, paused, or listening for type webhook; NULL for a name without a server';
COMMENT ON COLUMN damoov.status.worker_pid IS 'process id of this database''s background worker, or of the first of several; NULL when none runs';
COMMENT ON COLUMN damoov.status.worker_problem IS 'why no background worker serves this database, or fewer than wanted; NULL while all do';
COMMENT ON COLUMN damoov.status.last_message_at IS 'last time messages came';
COMMENT ON COLUMN damoov.status.downloads_waiting IS 'datasets that this source told of last and that are still to be downloaded';
COMMENT ON COLUMN damoov.status.downloads_failed IS '... that cannot be, or do not exist';
COMMENT ON COLUMN damoov.status.oldest_download_at IS 'when the one that waits longest was first wanted';
COMMENT ON COLUMN damoov.status.last_download_error IS 'why the latest one that failed did';
COMMENT ON COLUMN damoov.status.quarantined IS 'rows in the quarantine that came through this source';
