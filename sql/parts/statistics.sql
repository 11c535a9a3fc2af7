-- ---------------------------------------------------------------------
-- Statistics, kept in the memory of the server: no table is written for them
-- ---------------------------------------------------------------------

CREATE FUNCTION damoov.source_statistics(
    OUT source text, OUT received bigint, OUT stored bigint, OUT duplicate bigint, OUT unknown bigint, OUT control bigint,
    OUT quarantined bigint, OUT batches bigint, OUT requests bigint, OUT failures bigint, OUT throttled bigint, OUT bytes bigint,
    OUT settled bigint, OUT settle_failures bigint, OUT per_second double precision,
    OUT newest_age_ms double precision, OUT oldest_age_ms double precision,
    OUT lag_p50_ms double precision, OUT lag_p95_ms double precision, OUT lag_p99_ms double precision,
    OUT storing_p50_ms double precision, OUT storing_p95_ms double precision, OUT storing_p99_ms double precision,
    OUT stats_reset timestamptz
) RETURNS SETOF record
    LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'damoov_source_statistics';
COMMENT ON FUNCTION damoov.source_statistics() IS 'what damoov.stat_sources shows';

CREATE FUNCTION damoov.download_statistics(
    OUT kind text, OUT requests bigint, OUT stored bigint, OUT failures bigint, OUT throttled bigint,
    OUT p50_ms double precision, OUT p95_ms double precision, OUT p99_ms double precision, OUT stats_reset timestamptz
) RETURNS SETOF record
    LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'damoov_download_statistics';
COMMENT ON FUNCTION damoov.download_statistics() IS 'what damoov.stat_downloads shows';

CREATE FUNCTION damoov.activities(
    OUT at timestamptz, OUT activity text, OUT name text, OUT count bigint, OUT duration_ms double precision, OUT problem text
) RETURNS SETOF record
    LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'damoov_activities';
COMMENT ON FUNCTION damoov.activities() IS 'what damoov.activity shows';

CREATE VIEW damoov.stat_sources WITH (security_invoker) AS
SELECT
    s.source, s.received, s.stored, s.duplicate, s.unknown, s.control, s.quarantined, s.batches, s.requests, s.failures,
    s.throttled, s.bytes, s.settled, s.settle_failures, s.per_second, s.newest_age_ms, s.oldest_age_ms,
    s.lag_p50_ms, s.lag_p95_ms, s.lag_p99_ms, s.storing_p50_ms, s.storing_p95_ms, s.storing_p99_ms, s.stats_reset
FROM damoov.source_statistics() AS s;
COMMENT ON VIEW damoov.stat_sources IS 'what each source did since stats_reset, of all workers and sessions; empty where the library is not in shared_preload_libraries';
COMMENT ON COLUMN damoov.stat_sources.source IS 'foreign server, or the source argument of damoov_ingest(); the first 63 bytes of its name';
COMMENT ON COLUMN damoov.stat_sources.received IS 'messages in committed batches: the sum of the next five columns';
COMMENT ON COLUMN damoov.stat_sources.stored IS 'messages that became a row of damoov.events';
COMMENT ON COLUMN damoov.stat_sources.duplicate IS 'messages that had been stored before';
COMMENT ON COLUMN damoov.stat_sources.unknown IS 'events this version does not know, kept';
COMMENT ON COLUMN damoov.stat_sources.control IS 'messages of the transport, kept';
COMMENT ON COLUMN damoov.stat_sources.quarantined IS 'messages stored in damoov.quarantine';
COMMENT ON COLUMN damoov.stat_sources.batches IS 'batches that were committed, each of one or more messages';
COMMENT ON COLUMN damoov.stat_sources.requests IS 'receive requests that were sent';
COMMENT ON COLUMN damoov.stat_sources.failures IS 'requests for messages or credentials that failed';
COMMENT ON COLUMN damoov.stat_sources.throttled IS 'failures where the service asked to wait';
COMMENT ON COLUMN damoov.stat_sources.bytes IS 'bytes of the bodies of received messages';
COMMENT ON COLUMN damoov.stat_sources.settled IS 'messages that were deleted from the queue after they were stored';
COMMENT ON COLUMN damoov.stat_sources.settle_failures IS 'requests to delete messages that failed; they are tried again, or the messages come again as duplicates';
COMMENT ON COLUMN damoov.stat_sources.per_second IS 'messages per second in committed batches, over the last minute';
COMMENT ON COLUMN damoov.stat_sources.newest_age_ms IS 'age of the newest message of the last batch when it was committed, milliseconds since its Timestamp; NULL when it had none that was new';
COMMENT ON COLUMN damoov.stat_sources.oldest_age_ms IS 'the same of the oldest one';
COMMENT ON COLUMN damoov.stat_sources.lag_p50_ms IS 'half of the notifications were stored within so many milliseconds of their Timestamp; of percentiles the next greater quarter of a power of two is told';
COMMENT ON COLUMN damoov.stat_sources.lag_p95_ms IS '95 of a hundred';
COMMENT ON COLUMN damoov.stat_sources.lag_p99_ms IS '99 of a hundred';
COMMENT ON COLUMN damoov.stat_sources.storing_p50_ms IS 'half of the messages were committed within so many milliseconds after they were received; queues only';
COMMENT ON COLUMN damoov.stat_sources.storing_p95_ms IS '95 of a hundred';
COMMENT ON COLUMN damoov.stat_sources.storing_p99_ms IS '99 of a hundred';
COMMENT ON COLUMN damoov.stat_sources.stats_reset IS 'since when is counted: the first message or request after the start of the server, or damoov_stat_reset()';

CREATE VIEW damoov.stat_downloads WITH (security_invoker) AS
SELECT d.kind, d.requests, d.stored, d.failures, d.throttled, d.p50_ms, d.p95_ms, d.p99_ms, d.stats_reset
FROM damoov.download_statistics() AS d;
COMMENT ON VIEW damoov.stat_downloads IS 'what downloads of each kind did since stats_reset, of all workers and sessions; empty where the library is not in shared_preload_libraries';
COMMENT ON COLUMN damoov.stat_downloads.kind IS 'as in damoov.downloads';
COMMENT ON COLUMN damoov.stat_downloads.requests IS 'downloads that were begun';
COMMENT ON COLUMN damoov.stat_downloads.stored IS 'downloads whose dataset was stored, or not wanted any more';
COMMENT ON COLUMN damoov.stat_downloads.failures IS 'downloads that brought no dataset that could be stored; most are tried again';
COMMENT ON COLUMN damoov.stat_downloads.throttled IS 'failures where the service asked to wait (status 429 or 503)';
COMMENT ON COLUMN damoov.stat_downloads.p50_ms IS 'half of the downloads were committed within so many milliseconds after they were begun, whatever came of them; of percentiles the next greater quarter of a power of two is told';
COMMENT ON COLUMN damoov.stat_downloads.p95_ms IS '95 of a hundred';
COMMENT ON COLUMN damoov.stat_downloads.p99_ms IS '99 of a hundred';
COMMENT ON COLUMN damoov.stat_downloads.stats_reset IS 'since when is counted: the first download after the start of the server, or damoov_stat_reset()';

CREATE VIEW damoov.activity WITH (security_invoker) AS
SELECT a.at, a.activity, a.name, a.count, a.duration_ms, a.problem
FROM damoov.activities() AS a
ORDER BY a.at DESC;
COMMENT ON VIEW damoov.activity IS 'what was done last, the newest first: up to 200 receives, batches, downloads and troubles of all databases of the server, of which those of this one are shown; empty where the library is not in shared_preload_libraries';
COMMENT ON COLUMN damoov.activity.at IS 'when it ended';
COMMENT ON COLUMN damoov.activity.activity IS 'receive, store (a batch was committed), settle (only when it failed) or download';
COMMENT ON COLUMN damoov.activity.name IS 'source, or kind of the dataset';
COMMENT ON COLUMN damoov.activity.count IS 'messages or datasets';
COMMENT ON COLUMN damoov.activity.duration_ms IS 'from the start of a download to the commit, milliseconds; NULL for others';
COMMENT ON COLUMN damoov.activity.problem IS 'why it failed, up to 255 bytes; NULL when it worked';

CREATE FUNCTION damoov_stat_reset() RETURNS void
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'damoov_reset_statistics';
COMMENT ON FUNCTION damoov_stat_reset() IS 'begins the statistics of this database anew, and forgets damoov.activity';

-- How far a long call has come.  In shared memory too: what its transaction has
-- written is not seen before it is committed.
CREATE FUNCTION damoov.report_progress(command text, phase text, done bigint, total bigint, rows bigint) RETURNS void
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'damoov_report_progress';
COMMENT ON FUNCTION damoov.report_progress(text, text, bigint, bigint, bigint) IS 'how far the call that makes this one has come; phase NULL: it has ended';

CREATE FUNCTION damoov.progress(
    command text,
    OUT pid integer, OUT role oid, OUT started_at timestamptz, OUT phase text, OUT done bigint, OUT total bigint, OUT rows bigint
) RETURNS SETOF record
    LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'damoov_progress';
COMMENT ON FUNCTION damoov.progress(text) IS 'what the views damoov.stat_progress_* show';

CREATE VIEW damoov.stat_progress_purge WITH (security_invoker) AS
SELECT p.pid, pg_catalog.pg_get_userbyid(p.role) AS role, p.started_at, p.phase, p.done AS phases_done, p.total AS phases_total, p.rows
FROM damoov.progress('purge') AS p;
COMMENT ON VIEW damoov.stat_progress_purge IS 'calls of damoov_purge() in this database that run now; empty where the library is not in shared_preload_libraries';
COMMENT ON COLUMN damoov.stat_progress_purge.pid IS 'process id of the session';
COMMENT ON COLUMN damoov.stat_progress_purge.role IS 'role that has called it';
COMMENT ON COLUMN damoov.stat_progress_purge.started_at IS 'when it was called';
COMMENT ON COLUMN damoov.stat_progress_purge.phase IS 'table that is looked at; at the end partitions, which are dropped, made and split';
COMMENT ON COLUMN damoov.stat_progress_purge.phases_done IS 'tables that are done with';
COMMENT ON COLUMN damoov.stat_progress_purge.phases_total IS 'all of them, and the partitions';
COMMENT ON COLUMN damoov.stat_progress_purge.rows IS 'rows removed so far, of all tables; what hangs on them is not counted';

CREATE VIEW damoov.stat_progress_reparse WITH (security_invoker) AS
SELECT p.pid, pg_catalog.pg_get_userbyid(p.role) AS role, p.started_at, p.phase, p.done, p.total, p.rows AS changes
FROM damoov.progress('reparse') AS p;
COMMENT ON VIEW damoov.stat_progress_reparse IS 'calls of damoov_reparse() in this database that run now; empty where the library is not in shared_preload_libraries';
COMMENT ON COLUMN damoov.stat_progress_reparse.pid IS 'process id of the session';
COMMENT ON COLUMN damoov.stat_progress_reparse.role IS 'role that has called it';
COMMENT ON COLUMN damoov.stat_progress_reparse.started_at IS 'when it was called';
COMMENT ON COLUMN damoov.stat_progress_reparse.phase IS 'learning (which unknown events are known now), events, documents';
COMMENT ON COLUMN damoov.stat_progress_reparse.done IS 'events or documents of the phase that were read';
COMMENT ON COLUMN damoov.stat_progress_reparse.total IS 'all of them; NULL while learning';
COMMENT ON COLUMN damoov.stat_progress_reparse.changes IS 'documents whose rows have changed, or were refused, so far';
