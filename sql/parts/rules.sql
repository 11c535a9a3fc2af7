-- ---------------------------------------------------------------------
-- Rules: what an event does to the other tables.  The doors apply them to what
-- they have stored; rows put back by COPY, a restored dump or replication are
-- taken as they are.
-- ---------------------------------------------------------------------

-- The details are those of damoov.read_notification(), in its order.
CREATE TYPE damoov.arrival AS (
    event_id bigint,
    source text,
    event text,
    user_id bigint,
    object_id uuid,
    sent_at timestamptz,
    client_id text,
    url text,
    track_started_at timestamptz,
    track_ended_at timestamptz,
    start_utc_offset_min integer,
    vendor_reason text,
    removed uuid[],
    stage_at timestamptz,
    passed_filters boolean,
    received_at timestamptz,
    charge_percent double precision,
    wifi_enabled boolean,
    gps_enabled boolean,
    mobile_data_enabled boolean,
    real_time_location_enabled boolean,
    waiting_trips integer,
    instance_id uuid
);
COMMENT ON TYPE damoov.arrival IS 'an event with the values of its payload, and the instance of its source where it names none itself';

-- For what is stored already: what comes is read as it comes.
CREATE FUNCTION damoov.arrivals(event_ids bigint[]) RETURNS damoov.arrival[]
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT array_agg(ROW(
        e.event_id, e.source, e.event, e.user_id, e.object_id, e.sent_at, d.client_id, d.url,
        d.track_started_at, d.track_ended_at, d.start_utc_offset_min, d.vendor_reason, d.removed,
        d.stage_at, d.passed_filters, d.received_at, d.charge_percent, d.wifi_enabled, d.gps_enabled,
        d.mobile_data_enabled, d.real_time_location_enabled, d.waiting_trips,
        coalesce(d.instance_id, i.instance_id))::damoov.arrival ORDER BY e.event_id)
    FROM damoov.events AS e
    CROSS JOIN damoov.read_notification(e.payload) AS d
    JOIN (
        SELECT s.source, damoov.source_instance(s.source) AS instance_id
        FROM (SELECT DISTINCT x.source FROM damoov.events AS x WHERE x.event_id = ANY (event_ids)) AS s
    ) AS i USING (source)
    WHERE e.event_id = ANY (event_ids) AND e.outcome = 'stored';
END;
COMMENT ON FUNCTION damoov.arrivals(bigint[]) IS 'these events as the rules take them, without those that this version does not know';

-- All known stages of a crash, not just those that came now
CREATE FUNCTION damoov.crash_stages(crash_tokens uuid[])
    RETURNS TABLE (crash_token uuid, user_id bigint, header_received_at timestamptz, buffer_received_at timestamptz,
        completed_at timestamptz, filtered_at timestamptz, passed_filters boolean)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT
        e.object_id,
        (array_agg(e.user_id ORDER BY e.sent_at, e.sent_text))[1],
        min(coalesce(d.stage_at, e.sent_at)) FILTER (WHERE e.event = 'AccidentEventReceived'),
        min(coalesce(d.stage_at, e.sent_at)) FILTER (WHERE e.event = 'AccidentEventExtraReceived'),
        min(coalesce(d.stage_at, e.sent_at)) FILTER (WHERE e.event = 'AccidentEventCompletePackageReceived'),
        min(coalesce(d.stage_at, e.sent_at)) FILTER (WHERE e.event = 'AccidentEventFiltered'),
        (array_agg(d.passed_filters ORDER BY e.sent_at DESC, d.passed_filters DESC)
            FILTER (WHERE e.event = 'AccidentEventCompletePackageReceived' AND d.passed_filters IS NOT NULL))[1]
    FROM damoov.events AS e
    CROSS JOIN damoov.read_notification(e.payload) AS d
    WHERE e.object_id = ANY (crash_tokens)
        AND e.event IN ('AccidentEventReceived', 'AccidentEventExtraReceived',
            'AccidentEventCompletePackageReceived', 'AccidentEventFiltered')
    GROUP BY e.object_id;
END;
COMMENT ON FUNCTION damoov.crash_stages(uuid[]) IS 'the stages of each of these crashes, from all its events';

-- Everything here is about the events that came, which are locked: what else is
-- known of their objects and persons does not change meanwhile.  Only those
-- statements are run that have something to do.
CREATE FUNCTION damoov.apply_events(arrived damoov.arrival[], queue boolean) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    came CONSTANT text[] := ARRAY(SELECT DISTINCT a.event FROM unnest(arrived) AS a);
    crashes CONSTANT uuid[] := ARRAY(
        SELECT DISTINCT a.object_id FROM unnest(arrived) AS a WHERE a.event LIKE 'Accident%' ORDER BY 1);
    touched bigint[];
BEGIN
    -- The newest known reference and instance of each person.  What is executed
    -- is planned by the size that the table has now.
    IF EXISTS (SELECT FROM unnest(arrived) AS a WHERE a.client_id IS NOT NULL OR a.instance_id IS NOT NULL) THEN
        EXECUTE $sql$
            UPDATE damoov.users AS u
            SET client_id = CASE WHEN (n.client_id_at, n.client_id COLLATE "C") <= (u.client_id_at, u.client_id)
                    THEN u.client_id ELSE coalesce(n.client_id, u.client_id) END,
                client_id_at = greatest(u.client_id_at, n.client_id_at),
                instance_id = CASE WHEN (n.instance_id_at, n.instance_id) <= (u.instance_id_at, u.instance_id)
                    THEN u.instance_id ELSE coalesce(n.instance_id, u.instance_id) END,
                instance_id_at = greatest(u.instance_id_at, n.instance_id_at)
            FROM (
                SELECT
                    a.user_id,
                    (array_agg(a.client_id ORDER BY a.sent_at DESC, a.client_id COLLATE "C" DESC)
                        FILTER (WHERE a.client_id IS NOT NULL))[1] AS client_id,
                    max(a.sent_at) FILTER (WHERE a.client_id IS NOT NULL) AS client_id_at,
                    (array_agg(a.instance_id ORDER BY a.sent_at DESC, a.instance_id DESC)
                        FILTER (WHERE a.instance_id IS NOT NULL))[1] AS instance_id,
                    max(a.sent_at) FILTER (WHERE a.instance_id IS NOT NULL) AS instance_id_at
                FROM unnest($1) AS a
                WHERE a.client_id IS NOT NULL OR a.instance_id IS NOT NULL
                GROUP BY a.user_id
            ) AS n
            WHERE u.user_id = n.user_id
                AND ((n.client_id_at, n.client_id COLLATE "C") > (u.client_id_at, u.client_id)
                    OR (n.instance_id_at, n.instance_id) > (u.instance_id_at, u.instance_id)
                    OR (n.client_id_at IS NOT NULL AND u.client_id_at IS NULL)
                    OR (n.instance_id_at IS NOT NULL AND u.instance_id_at IS NULL))$sql$
        USING arrived;
    END IF;

    -- Two reports within one microsecond are one row; the greater one stays,
    -- whichever came first.
    IF 'HeartbeatReceived' = ANY (came) THEN
        INSERT INTO damoov.heartbeats AS h
        SELECT DISTINCT ON (a.user_id, a.sent_at)
            a.user_id, a.sent_at, a.received_at, a.charge_percent, a.wifi_enabled, a.gps_enabled,
            a.mobile_data_enabled, a.real_time_location_enabled, a.waiting_trips, a.instance_id
        FROM unnest(arrived) AS a
        WHERE a.event = 'HeartbeatReceived'
        ORDER BY a.user_id, a.sent_at, ROW(a.received_at, a.charge_percent, a.wifi_enabled, a.gps_enabled,
            a.mobile_data_enabled, a.real_time_location_enabled, a.waiting_trips, a.instance_id) DESC
        ON CONFLICT (user_id, reported_at) DO UPDATE
        SET received_at = EXCLUDED.received_at,
            charge_percent = EXCLUDED.charge_percent,
            wifi_enabled = EXCLUDED.wifi_enabled,
            gps_enabled = EXCLUDED.gps_enabled,
            mobile_data_enabled = EXCLUDED.mobile_data_enabled,
            real_time_location_enabled = EXCLUDED.real_time_location_enabled,
            waiting_trips = EXCLUDED.waiting_trips,
            instance_id = EXCLUDED.instance_id
        WHERE record_gt(EXCLUDED.*, h.*);
    END IF;

    IF crashes <> '{}' THEN
        WITH stored AS (
            INSERT INTO damoov.crashes AS c
                (crash_token, user_id, header_received_at, buffer_received_at, completed_at, filtered_at, passed_filters)
            SELECT s.* FROM damoov.crash_stages(crashes) AS s ORDER BY s.crash_token
            ON CONFLICT (crash_token) DO UPDATE
            SET user_id = EXCLUDED.user_id,
                header_received_at = least(c.header_received_at, EXCLUDED.header_received_at),
                buffer_received_at = least(c.buffer_received_at, EXCLUDED.buffer_received_at),
                completed_at = least(c.completed_at, EXCLUDED.completed_at),
                filtered_at = least(c.filtered_at, EXCLUDED.filtered_at),
                passed_filters = coalesce(EXCLUDED.passed_filters, c.passed_filters)
            RETURNING c.crash_id
        )
        SELECT array_agg(s.crash_id ORDER BY s.crash_id) INTO touched FROM stored AS s;
        IF queue THEN
            PERFORM damoov.notify('damoov_crash', 'stage', touched);
        END IF;
    END IF;

    -- Removals before downloads: the latter look at the tombstones
    IF 'IncomingTrackRemoved' = ANY (came) THEN
        INSERT INTO damoov.removed_tracks
            (track_token, removed_at, event_id, user_id, reason,
             vendor_reason, track_started_at, track_ended_at, start_utc_offset_min)
        SELECT
            a.object_id, a.sent_at, a.event_id, a.user_id, 'invalid',
            a.vendor_reason, a.track_started_at, a.track_ended_at, a.start_utc_offset_min
        FROM unnest(arrived) AS a
        WHERE a.event = 'IncomingTrackRemoved';
    END IF;
    IF EXISTS (SELECT FROM unnest(arrived) AS a WHERE a.removed <> '{}') THEN
        INSERT INTO damoov.removed_tracks (track_token, removed_at, event_id, user_id, reason, replaced_by)
        SELECT DISTINCT r.track_token, a.sent_at, a.event_id, a.user_id, 'replaced', a.object_id
        FROM unnest(arrived) AS a, unnest(a.removed) AS r (track_token)
        WHERE a.event = 'TrackEnrichmentFinished';
    END IF;

    IF NOT queue OR came <@ ARRAY['HeartbeatReceived', 'IncomingTrackRemoved'] THEN
        RETURN;
    END IF;
    WITH wanted AS MATERIALIZED (
        SELECT k.kind, k.priority, a.*
        FROM unnest(arrived) AS a
        JOIN (VALUES
            ('TrackEnrichmentFinished', 'processed', 20),
            ('IncomingTrackReceived', 'raw', 30),
            ('AccidentEventReceived', 'crash', 10),
            ('AccidentEventCompletePackageReceived', 'crash', 10),
            ('AccidentEventFiltered', 'crash', 10),
            ('AccidentEventExtraReceived', 'crash_buffer', 11)
        ) AS k (event, kind, priority) USING (event)
    ), fetched AS MATERIALIZED (
        SELECT s.source, s.kind, damoov.source_owner(s.source) AS source_owner
        FROM (SELECT DISTINCT n.source, n.kind FROM wanted AS n) AS s
        WHERE damoov.fetches(s.source, s.kind)
    )
    INSERT INTO damoov.downloads AS w (kind, object_id, user_id, source, source_owner, url, priority, wanted_at)
    SELECT DISTINCT ON (n.kind, n.object_id)
        n.kind, n.object_id, n.user_id, n.source, f.source_owner, n.url, n.priority, n.sent_at
    FROM wanted AS n
    JOIN fetched AS f USING (source, kind)
    WHERE (n.kind <> 'processed' OR damoov.track_lives(n.object_id, n.user_id, damoov.enriched_at(n.object_id, n.user_id)))
        AND (n.kind <> 'raw' OR damoov.recording_lives(n.object_id, n.user_id))
    ORDER BY n.kind, n.object_id, n.sent_at DESC, n.event_id
    ON CONFLICT (kind, object_id) DO UPDATE
    SET version = EXCLUDED.version,
        user_id = CASE WHEN w.wanted_at > EXCLUDED.wanted_at THEN w.user_id ELSE EXCLUDED.user_id END,
        source = CASE WHEN w.wanted_at > EXCLUDED.wanted_at THEN w.source ELSE EXCLUDED.source END,
        source_owner = CASE WHEN w.wanted_at > EXCLUDED.wanted_at THEN w.source_owner ELSE EXCLUDED.source_owner END,
        url = CASE WHEN w.wanted_at > EXCLUDED.wanted_at THEN w.url ELSE EXCLUDED.url END,
        wanted_at = greatest(w.wanted_at, EXCLUDED.wanted_at),
        state = 'waiting',
        attempts = 0,
        due_at = EXCLUDED.due_at;
END
$$;
COMMENT ON FUNCTION damoov.apply_events(damoov.arrival[], boolean) IS 'the rules: carries events into users, heartbeats, crashes and removed_tracks, and into downloads if their datasets are to be fetched';
