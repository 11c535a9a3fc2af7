-- ---------------------------------------------------------------------
-- Jobs of a backfill: beginning, pausing, ending, and how far they are
-- ---------------------------------------------------------------------

CREATE FUNCTION damoov.begin_backfill(since timestamptz, until timestamptz, person bigint, source text, fetches boolean, compares boolean)
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    job damoov.backfills;
BEGIN
    IF since IS NULL OR until IS NULL THEN
        RAISE EXCEPTION 'since and until must not be null' USING ERRCODE = 'null_value_not_allowed';
    ELSIF since >= until OR since < '1970-01-01Z' OR until > '2200-01-01Z' THEN
        RAISE EXCEPTION 'since must be before until, and both between 1970 and 2200' USING ERRCODE = 'invalid_parameter_value';
    ELSIF person IS NOT NULL AND NOT EXISTS (SELECT FROM damoov.users AS u WHERE u.user_id = person) THEN
        RAISE EXCEPTION 'person % does not exist', person USING ERRCODE = 'undefined_object';
    ELSIF source IS NOT NULL AND NOT EXISTS (SELECT FROM damoov.servers AS s WHERE s.source = begin_backfill.source) THEN
        RAISE EXCEPTION 'source "%" does not exist', source USING ERRCODE = 'undefined_object';
    END IF;
    PERFORM damoov.need_read_committed();
    PERFORM damoov.lock_people(false);
    INSERT INTO damoov.backfills (since, until, person, source, source_owner, fetches, compares)
    VALUES (begin_backfill.since, begin_backfill.until, begin_backfill.person, begin_backfill.source,
        damoov.source_owner(begin_backfill.source), begin_backfill.fetches, begin_backfill.compares)
    RETURNING * INTO job;
    PERFORM damoov.next_window(job.job_id, false);
    RETURN job.job_id;
END
$$;
COMMENT ON FUNCTION damoov.begin_backfill(timestamptz, timestamptz, bigint, text, boolean, boolean) IS 'what damoov_backfill() and damoov_reconcile() do';

CREATE FUNCTION damoov_backfill(since timestamptz, until timestamptz DEFAULT now(), person bigint DEFAULT NULL, source text DEFAULT NULL)
    RETURNS bigint
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT damoov.begin_backfill(since, until, person, source, true, false)
$$;
COMMENT ON FUNCTION damoov_backfill(timestamptz, timestamptz, bigint, text) IS 'asks the platform for the tracks of all known persons, or of one (user_id), that started in this time, and fetches those that are missing or changed, behind live work; returns the id of the job, which the worker and damoov_poll() work on; errors: 22004 no time, 22023 not a time in between, 25000 isolation level, 42704 no such person or source';

CREATE FUNCTION damoov_reconcile(since timestamptz, until timestamptz DEFAULT now(), person bigint DEFAULT NULL, source text DEFAULT NULL, repair boolean DEFAULT false)
    RETURNS bigint
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT damoov.begin_backfill(since, until, person, source, repair IS TRUE, true)
$$;
COMMENT ON FUNCTION damoov_reconcile(timestamptz, timestamptz, bigint, text, boolean) IS 'compares the trips of this time with the lists of the platform: what differs is in damoov.differences once the job, whose id is returned, is done; nothing is changed unless repair, which fetches what is missing here or has changed; errors as damoov_backfill()';

-- The row of a job that has not ended, for the caller to change.
CREATE FUNCTION damoov.take_job(job_id bigint) RETURNS damoov.backfills
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    job damoov.backfills;
BEGIN
    PERFORM damoov.need_read_committed();
    PERFORM damoov.lock_people(false);
    SELECT b.* INTO job FROM damoov.backfills AS b WHERE b.job_id = take_job.job_id FOR UPDATE;
    IF job.job_id IS NULL THEN
        RAISE EXCEPTION 'job % does not exist', job_id USING ERRCODE = 'undefined_object';
    ELSIF job.state IN ('done', 'cancelled') THEN
        RAISE EXCEPTION 'job % is %', job_id, job.state USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    -- Who stores the list has its row, and waits for that of the job: it will find that it is
    -- not waited for, and delete it.
    DELETE FROM damoov.downloads AS d
    WHERE (d.kind, d.object_id) IN (
        SELECT w.kind, w.object_id FROM damoov.downloads AS w WHERE w.kind = 'listing' AND w.object_id = job.listing FOR UPDATE SKIP LOCKED);
    RETURN job;
END
$$;
COMMENT ON FUNCTION damoov.take_job(bigint) IS 'locks a job, which waits for no list any more; errors: 42704 no such job, 55000 it has ended';

CREATE FUNCTION damoov.stop_job(job_id bigint, state text, ended_at timestamptz) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM damoov.take_job(job_id);
    UPDATE damoov.backfills AS b SET state = stop_job.state, listing = NULL, ended_at = stop_job.ended_at WHERE b.job_id = stop_job.job_id;
END
$$;
COMMENT ON FUNCTION damoov.stop_job(bigint, text, timestamptz) IS 'what damoov_backfill_pause() and damoov_backfill_cancel() do; errors as damoov.take_job()';

CREATE FUNCTION damoov_backfill_pause(job_id bigint) RETURNS void
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT damoov.stop_job(job_id, 'paused', NULL)
$$;
COMMENT ON FUNCTION damoov_backfill_pause(bigint) IS 'lets a job ask for no further list; what it has queued is fetched; errors: 42704 no such job, 55000 it has ended';

CREATE FUNCTION damoov_backfill_resume(job_id bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    job CONSTANT damoov.backfills := damoov.take_job(job_id);
BEGIN
    UPDATE damoov.backfills AS b SET state = 'running' WHERE b.job_id = job.job_id;
    -- damoov_purge() may have removed the person meanwhile, who had nothing
    IF EXISTS (SELECT FROM damoov.users AS u WHERE u.user_id = job.at_person FOR KEY SHARE) THEN
        PERFORM damoov.ask_for_list(job.job_id);
    ELSE
        PERFORM damoov.next_window(job.job_id, true);
    END IF;
END
$$;
COMMENT ON FUNCTION damoov_backfill_resume(bigint) IS 'lets a paused job go on where it was; errors: 42704 no such job, 55000 it has ended';

CREATE FUNCTION damoov_backfill_cancel(job_id bigint) RETURNS void
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT damoov.stop_job(job_id, 'cancelled', clock_timestamp())
$$;
COMMENT ON FUNCTION damoov_backfill_cancel(bigint) IS 'ends a job; what it has queued is fetched all the same; errors: 42704 no such job, 55000 it has ended';

CREATE VIEW damoov.stat_progress_backfill WITH (security_invoker) AS
SELECT
    b.job_id,
    CASE WHEN b.compares THEN 'reconcile' ELSE 'backfill' END AS job,
    b.state,
    b.persons_done,
    b.persons_failed,
    n.persons AS persons_total,
    b.window_start,
    b.lists,
    b.tracks_seen,
    b.queued,
    b.last_error,
    b.started_at,
    b.ended_at,
    CASE WHEN b.state = 'running'
        THEN b.started_at + (now() - b.started_at) * n.persons / nullif(b.persons_done + b.persons_failed, 0)
    END AS estimated_end
FROM damoov.backfills AS b
CROSS JOIN LATERAL (
    SELECT CASE WHEN b.person IS NULL THEN (SELECT count(u.user_id) FROM damoov.users AS u) ELSE 1 END AS persons
) AS n;
COMMENT ON VIEW damoov.stat_progress_backfill IS 'jobs of damoov_backfill() and damoov_reconcile(), and how far they have come; their datasets are rows of damoov.downloads with priority 40 until they are stored';
COMMENT ON COLUMN damoov.stat_progress_backfill.job IS 'backfill or reconcile';
COMMENT ON COLUMN damoov.stat_progress_backfill.persons_total IS 'persons that are known now, or 1';
COMMENT ON COLUMN damoov.stat_progress_backfill.estimated_end IS 'when the last list will have come, if all persons take as long as those before; NULL when that cannot be told';
