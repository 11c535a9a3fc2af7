-- ---------------------------------------------------------------------
-- What will be lost, and when
-- ---------------------------------------------------------------------

-- How long others keep what has not been fetched yet: the platform 14 days what
-- was recorded and 24 months what was processed (documented), services of
-- queues what they keep by default, or at most where they have no default.
CREATE FUNCTION damoov.kept_elsewhere(what text, kind text) RETURNS interval
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN what = 'message' THEN CASE kind WHEN 'sqs' THEN interval '4 days' WHEN 'servicebus' THEN interval '14 days' ELSE interval '7 days' END
    WHEN kind = 'processed' THEN interval '24 months'
    WHEN kind NOT IN ('object', 'listing') THEN interval '14 days'
END;
COMMENT ON FUNCTION damoov.kept_elsewhere(text, text) IS 'how long messages stay in a queue of this type, or datasets of this kind at the platform (documented defaults); NULL where it is not known';

CREATE VIEW damoov.at_risk WITH (security_invoker) AS
WITH waiting AS (
    SELECT 'dataset' AS what, d.source, d.kind, count(*) AS count, min(coalesce(d.wanted_at, d.queued_at)) AS since,
        damoov.kept_elsewhere('dataset', d.kind) AS kept,
        CASE d.state
            WHEN 'waiting' THEN 'datasets still wait to be fetched'
            WHEN 'failed' THEN 'datasets could not be fetched, and are not tried again'
            ELSE 'the platform does not have these datasets any more'
        END AS problem,
        format('SELECT damoov_retry_downloads(%L)', d.kind) AS remedy,
        CASE d.state WHEN 'waiting' THEN NULL WHEN 'failed' THEN 'warning' ELSE 'lost' END AS least
    FROM damoov.downloads AS d
    GROUP BY d.source, d.kind, d.state
    UNION ALL
    SELECT 'message', s.source, s.type, s.backlog, s.last_poll_at, damoov.kept_elsewhere('message', s.type),
        concat('no messages are received: ', coalesce(s.pause_reason, CASE s.state WHEN 'paused' THEN 'the option "paused" of the server is set' END,
            s.last_error, s.worker_problem, s.state)),
        CASE
            WHEN s.state = 'paused' AND s.pause_reason IS NULL THEN format('ALTER SERVER %I OPTIONS (SET paused ''false'')', s.source)
            WHEN s.state = 'paused' THEN format('SELECT damoov_resume(%L)', s.source)
            WHEN s.state IN ('auth_failed', 'misconfigured', 'retrying') THEN format('SELECT * FROM damoov_check(%L)', s.source)
            ELSE format('CALL damoov_poll(%L)', s.source)
        END, NULL
    FROM damoov.status AS s
    -- an idle source writes once a minute that it was asked
    WHERE s.type <> 'webhook' AND s.last_poll_at < now() - interval '10 minutes'
    UNION ALL
    SELECT 'quarantine', q.source, NULL, count(*), min(q.received_at), g.setting::integer * interval '1 minute',
        'damoov_purge() will remove what could not be understood', 'CALL damoov_retry_all()', NULL
    FROM damoov.quarantine AS q
    JOIN pg_catalog.pg_settings AS g ON g.name = 'damoov.keep_quarantine' AND g.setting <> '-1'
    GROUP BY q.source, g.setting
    UNION ALL
    -- nothing is lost by that, unless whoever sends has stopped sending here
    SELECT 'silence', s.source, s.type, NULL, s.last_message_at, NULL,
        -- the receipts of that week may have been removed
        concat('no message came since then', ', of about ' || nullif(round(u.received / 7), 0) || ' a day in the week before'),
        format('SELECT * FROM damoov_check(%L)', s.source), 'warning'
    FROM damoov.status AS s
    CROSS JOIN LATERAL (
        SELECT sum(r.received) AS received
        FROM damoov.receipts AS r
        WHERE r.source = s.source AND r.received_at > s.last_message_at - interval '7 days' AND r.received_at <= s.last_message_at
    ) AS u
    WHERE s.type IS NOT NULL AND s.state IN ('polling', 'listening')
        AND s.last_message_at < now() - greatest(interval '12 hours', 20 * interval '7 days' / greatest(u.received, 1))
)
SELECT
    w.what,
    CASE
        WHEN w.least = 'lost' OR now() >= w.since + w.kept THEN 'lost'
        WHEN now() >= w.since + 0.8 * w.kept THEN 'danger'
        ELSE 'warning'
    END AS level,
    w.source, w.kind, w.count, w.since, w.since + w.kept AS lost_at, w.problem, w.remedy
FROM waiting AS w
WHERE w.least IS NOT NULL OR now() >= w.since + 0.5 * w.kept;
COMMENT ON VIEW damoov.at_risk IS 'what will be lost, and when: shown when half of the time has passed for which it is kept, and whatever is not tried again by itself';
COMMENT ON COLUMN damoov.at_risk.what IS 'dataset (not fetched yet), message (in a queue that is not asked), quarantine (near the end of damoov.keep_quarantine) or silence (of a source that had messages)';
COMMENT ON COLUMN damoov.at_risk.level IS 'warning from half of the time on, danger from 80 % on, lost after all of it, or when the platform has said so';
COMMENT ON COLUMN damoov.at_risk.source IS 'source that told of it';
COMMENT ON COLUMN damoov.at_risk.kind IS 'kind of the datasets, or type of the source';
COMMENT ON COLUMN damoov.at_risk.count IS 'how many; of messages as many as the service told last, NULL when it did not';
COMMENT ON COLUMN damoov.at_risk.since IS 'since when the oldest waits; of messages, when the queue was asked last';
COMMENT ON COLUMN damoov.at_risk.lost_at IS 'when the first will be lost, by the defaults of the platform and of the service (documented); NULL when that is not known';
COMMENT ON COLUMN damoov.at_risk.problem IS 'what is wrong';
COMMENT ON COLUMN damoov.at_risk.remedy IS 'statement that mends it, or says what is to be mended';
