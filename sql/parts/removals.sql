-- ---------------------------------------------------------------------
-- Tracks that the platform takes away: tombstones, whether a track lives, and
-- what goes with it when it does not
-- ---------------------------------------------------------------------

CREATE TABLE damoov.removed_tracks (
    track_token uuid NOT NULL,
    removed_at timestamptz NOT NULL,
    event_id bigint NOT NULL,
    user_id bigint NOT NULL CONSTRAINT removed_tracks_user_id_fkey REFERENCES damoov.users,
    reason text NOT NULL CONSTRAINT removed_tracks_reason_check CHECK (reason IN ('replaced', 'invalid')),
    replaced_by uuid,
    vendor_reason text,
    track_started_at timestamptz,
    track_ended_at timestamptz,
    start_utc_offset_min integer,
    CONSTRAINT removed_tracks_pkey PRIMARY KEY (track_token, removed_at, event_id),
    CONSTRAINT removed_tracks_replaced_by_check CHECK ((reason = 'replaced') = (replaced_by IS NOT NULL))
);
CREATE INDEX removed_tracks_user_id_idx ON damoov.removed_tracks (user_id);
CREATE INDEX removed_tracks_replaced_by_idx ON damoov.removed_tracks (replaced_by);
COMMENT ON TABLE damoov.removed_tracks IS 'tracks that the platform has removed or merged, also those that were never received here';
COMMENT ON COLUMN damoov.removed_tracks.track_token IS 'the removed track';
COMMENT ON COLUMN damoov.removed_tracks.removed_at IS 'Timestamp of the notification';
COMMENT ON COLUMN damoov.removed_tracks.event_id IS 'the notification in damoov.events';
COMMENT ON COLUMN damoov.removed_tracks.user_id IS 'person the notification was about; a removal acts on tracks of the same person only, and of the same instance where the sources name theirs';
COMMENT ON COLUMN damoov.removed_tracks.reason IS 'replaced (merged into another track) or invalid (dropped by the platform)';
COMMENT ON COLUMN damoov.removed_tracks.replaced_by IS 'the track it was merged into';
COMMENT ON COLUMN damoov.removed_tracks.vendor_reason IS 'Details.Reason as received';
COMMENT ON COLUMN damoov.removed_tracks.track_started_at IS 'Details.TrackStartDate, invalid tracks only';
COMMENT ON COLUMN damoov.removed_tracks.track_ended_at IS 'Details.TrackFinishDate, invalid tracks only';
COMMENT ON COLUMN damoov.removed_tracks.start_utc_offset_min IS 'minutes the phone''s local time was ahead of UTC at the start';

-- An object has few rows, a person may have very many: what is asked of both is
-- looked up by the object.  No index serves IS NOT DISTINCT FROM.

-- A source can name the instance that it serves.  A removal through it does
-- not affect tracks that only sources of other instances have announced.
CREATE FUNCTION damoov.other_tenant(source text, track_token uuid, user_id bigint) RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (
        SELECT coalesce(bool_and(damoov.source_instance(e.source) <> damoov.source_instance(other_tenant.source)), false)
        FROM damoov.events AS e
        WHERE e.object_id = other_tenant.track_token AND e.user_id IS NOT DISTINCT FROM other_tenant.user_id
            AND e.event IN ('TrackEnrichmentFinished', 'IncomingTrackReceived')
    );
END
$$;
COMMENT ON FUNCTION damoov.other_tenant(text, uuid, bigint) IS
    'is this track known from sources of other instances only, by their option instance_id? False or NULL where a source does not name one';

-- The one place that says whether a track is alive.  At the same instant a
-- merge wins over an enrichment (keeping the part would double it), while an
-- enrichment wins over the rejection of an upload.
CREATE FUNCTION damoov.track_lives(track_token uuid, user_id bigint, enriched_at timestamptz) RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN NOT EXISTS (
        SELECT
        FROM damoov.removed_tracks AS r
            LEFT JOIN damoov.events AS said USING (event_id)
        WHERE r.track_token = track_lives.track_token
            AND r.user_id IS NOT DISTINCT FROM track_lives.user_id
            AND damoov.other_tenant(said.source, r.track_token, r.user_id) IS NOT TRUE
            AND (track_lives.enriched_at IS NULL
                OR r.removed_at > track_lives.enriched_at
                OR (r.removed_at = track_lives.enriched_at AND r.reason = 'replaced')));
END
$$;
COMMENT ON FUNCTION damoov.track_lives(uuid, bigint, timestamptz) IS 'whether a track is to be kept: its newest enrichment is newer than its newest removal';

-- Merging removes processed tracks, not raw ones
CREATE FUNCTION damoov.recording_lives(track_token uuid, user_id bigint) RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN NOT EXISTS (
        SELECT
        FROM damoov.removed_tracks AS r
            LEFT JOIN damoov.events AS said USING (event_id)
        WHERE r.track_token = recording_lives.track_token
            AND r.user_id IS NOT DISTINCT FROM recording_lives.user_id
            AND damoov.other_tenant(said.source, r.track_token, r.user_id) IS NOT TRUE
            AND r.reason = 'invalid'
            AND r.removed_at > coalesce((
                SELECT max(e.sent_at)
                FROM damoov.events AS e
                WHERE e.event = 'IncomingTrackReceived' AND e.object_id = recording_lives.track_token
                    AND e.user_id IS NOT DISTINCT FROM recording_lives.user_id), '-infinity'));
END
$$;
COMMENT ON FUNCTION damoov.recording_lives(uuid, bigint) IS 'whether a raw track is to be kept: it was not found invalid after it was received';

-- From the events, and from rows that may outlive them
CREATE FUNCTION damoov.enriched_at(track_token uuid, user_id bigint) RETURNS timestamptz
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN greatest(
        (SELECT max(e.sent_at)
            FROM damoov.events AS e
            WHERE e.event = 'TrackEnrichmentFinished' AND e.object_id = enriched_at.track_token
                AND e.user_id IS NOT DISTINCT FROM enriched_at.user_id),
        (SELECT d.wanted_at
            FROM damoov.downloads AS d
            WHERE d.kind = 'processed' AND d.object_id = enriched_at.track_token AND d.user_id IS NOT DISTINCT FROM enriched_at.user_id),
        (SELECT t.enriched_at
            FROM damoov.trips AS t
            WHERE t.track_token = enriched_at.track_token AND t.user_id IS NOT DISTINCT FROM enriched_at.user_id));
END
$$;
COMMENT ON FUNCTION damoov.enriched_at(uuid, bigint) IS 'time of the newest enrichment known of a person''s track';

-- A merge may remove only tracks of its own person.  Tracks that are not known
-- yet get a tombstone that is bound to the person, see track_lives().
CREATE FUNCTION damoov.foreign_removals(entries integer[], track_tokens uuid[], device_tokens uuid[], source text)
    RETURNS TABLE (entry integer, of_other_tenant boolean)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT n.entry, damoov.other_tenant(foreign_removals.source, n.track_token, u.user_id) IS TRUE
    FROM unnest(entries, track_tokens, device_tokens) AS n (entry, track_token, device_token)
    JOIN damoov.users AS u ON u.device_token = n.device_token
    WHERE EXISTS (
            SELECT FROM damoov.trips AS t WHERE t.track_token = n.track_token AND t.user_id <> u.user_id)
        OR EXISTS (
            SELECT
            FROM damoov.downloads AS d
            WHERE d.kind = 'processed' AND d.object_id = n.track_token AND d.user_id <> u.user_id)
        OR damoov.other_tenant(foreign_removals.source, n.track_token, u.user_id);
END;
COMMENT ON FUNCTION damoov.foreign_removals(integer[], uuid[], uuid[], text) IS 'the removals of a batch that name a track of another person, or of another instance than that of the source';

-- What is executed is planned by the size that the tables have now.
CREATE FUNCTION damoov.take_away(track_tokens uuid[]) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    gone bigint[];
BEGIN
    EXECUTE 'WITH gone AS (DELETE FROM damoov.trips AS t WHERE t.track_token = ANY ($1)'
        ' AND NOT damoov.track_lives(t.track_token, t.user_id, t.enriched_at) RETURNING t.trip_id)'
        ' SELECT array_agg(g.trip_id ORDER BY g.trip_id) FROM gone AS g'
    INTO gone USING track_tokens;
    IF gone IS NOT NULL THEN
        PERFORM damoov.notify('damoov_trip', 'removed', gone);
    END IF;
    EXECUTE 'DELETE FROM damoov.raw_tracks AS t WHERE t.track_token = ANY ($1)'
        ' AND NOT damoov.recording_lives(t.track_token, t.user_id)'
    USING track_tokens;
    EXECUTE $sql$DELETE FROM damoov.downloads AS w WHERE w.kind IN ('processed', 'raw') AND w.object_id = ANY ($1)
        AND NOT CASE w.kind
            WHEN 'raw' THEN damoov.recording_lives(w.object_id, w.user_id)
            ELSE damoov.track_lives(w.object_id, w.user_id, damoov.enriched_at(w.object_id, w.user_id))
        END$sql$
    USING track_tokens;
END
$$;
COMMENT ON FUNCTION damoov.take_away(uuid[]) IS 'deletes those of the tracks that damoov.removed_tracks says are removed, with their downloads, and tells listeners';

CREATE FUNCTION damoov.remove_tracks() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM arrived) THEN
        PERFORM damoov.take_away(array_agg(DISTINCT a.track_token)) FROM arrived AS a;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION damoov.remove_tracks() IS 'trigger: deletes the trip of a removed track, and its waiting download';

CREATE TRIGGER removed_tracks_remove
    AFTER INSERT ON damoov.removed_tracks
    REFERENCING NEW TABLE AS arrived
    FOR EACH STATEMENT
    WHEN (damoov.ingesting())
    EXECUTE FUNCTION damoov.remove_tracks();
COMMENT ON TRIGGER removed_tracks_remove ON damoov.removed_tracks IS 'deletes the trips of removed tracks';

-- A part is followed to what it went into.  That it is one of those that went
-- into the other end says nothing new, but lets a plan begin there: whichever end
-- is asked for, only its own merges are read.
CREATE VIEW damoov.trip_lineage WITH (security_invoker) AS
SELECT DISTINCT p.track_token AS part, l.replaced_by AS part_of, s.hops, s.removed_at, t.trip_id, s.is_cycle, l.user_id, u.instance_id
FROM damoov.removed_tracks AS p
CROSS JOIN LATERAL (
    WITH RECURSIVE step (last_part, part_of, user_id, removed_at, hops) AS (
        -- announced once or many times
        SELECT r.track_token, r.replaced_by, r.user_id, max(r.removed_at), 1
        FROM damoov.removed_tracks AS r
        WHERE r.track_token = p.track_token AND r.reason = 'replaced'
        GROUP BY r.track_token, r.replaced_by, r.user_id
        UNION ALL
        SELECT s.part_of, m.part_of, s.user_id, m.removed_at, s.hops + 1
        FROM step AS s
        CROSS JOIN LATERAL (
            SELECT r.replaced_by, max(r.removed_at)
            FROM damoov.removed_tracks AS r
            WHERE r.track_token = s.part_of AND r.user_id = s.user_id AND r.reason = 'replaced'
            GROUP BY r.replaced_by
        ) AS m (part_of, removed_at)
    ) CYCLE part_of SET is_cycle USING path
    -- a planner that knew of no end would expect many, and read all tracks at once
    SELECT s.* FROM step AS s WHERE s.hops BETWEEN 1 AND 1000000
) AS s
JOIN damoov.removed_tracks AS l ON l.track_token = s.last_part AND l.replaced_by = s.part_of AND l.user_id = s.user_id
LEFT JOIN damoov.trips AS t ON t.track_token = l.replaced_by AND t.user_id = l.user_id
LEFT JOIN damoov.users AS u ON u.user_id = l.user_id
WHERE p.track_token = ANY (ARRAY(
    WITH RECURSIVE inside (part) AS (
        SELECT l.track_token
        UNION
        SELECT r.track_token FROM inside AS i JOIN damoov.removed_tracks AS r ON r.replaced_by = i.part
    )
    SELECT i.part FROM inside AS i));
COMMENT ON VIEW damoov.trip_lineage IS 'which tracks went into which: part went, over hops merges, into part_of at removed_at; trip_id is the trip part_of is today, NULL when that is gone or not fetched; is_cycle marks tracks that were merged in a circle';
COMMENT ON COLUMN damoov.trip_lineage.part IS 'the track that was merged into another one';
COMMENT ON COLUMN damoov.trip_lineage.part_of IS 'the track it went into, at once or by way of others';
COMMENT ON COLUMN damoov.trip_lineage.hops IS 'number of merges from part to part_of';
COMMENT ON COLUMN damoov.trip_lineage.removed_at IS 'Timestamp of the notification about the last of these merges';
COMMENT ON COLUMN damoov.trip_lineage.trip_id IS 'trip of part_of, NULL when it is gone or has not been fetched';
COMMENT ON COLUMN damoov.trip_lineage.is_cycle IS 'whether the tracks name each other in a circle';
COMMENT ON COLUMN damoov.trip_lineage.user_id IS 'person the merge was about';
COMMENT ON COLUMN damoov.trip_lineage.instance_id IS 'instance of the person, as in damoov.people';
