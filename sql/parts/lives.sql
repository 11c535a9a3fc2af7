-- ---------------------------------------------------------------------
-- Rules: what an event does to the other tables.  They act on what comes
-- through a door; rows put back by COPY, a restored dump or replication are
-- taken as they are.
-- ---------------------------------------------------------------------

CREATE FUNCTION damoov.ingesting() RETURNS boolean
    LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'damoov_ingesting';
REVOKE ALL ON FUNCTION damoov.ingesting() FROM PUBLIC;
COMMENT ON FUNCTION damoov.ingesting() IS 'true while this session stores through a door of damoov';

CREATE FUNCTION damoov.read_notification(
    payload jsonb,
    OUT client_id text,
    OUT url text,
    OUT track_started_at timestamptz,
    OUT track_ended_at timestamptz,
    OUT start_utc_offset_min integer,
    OUT vendor_reason text,
    OUT removed uuid[],
    OUT stage_at timestamptz,
    OUT passed_filters boolean,
    OUT received_at timestamptz,
    OUT charge_percent double precision,
    OUT wifi_enabled boolean,
    OUT gps_enabled boolean,
    OUT mobile_data_enabled boolean,
    OUT real_time_location_enabled boolean,
    OUT waiting_trips integer,
    OUT instance_id uuid,
    OUT event text,
    OUT object_type text
) RETURNS record
    LANGUAGE C STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'damoov_read_notification';
REVOKE ALL ON FUNCTION damoov.read_notification(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION damoov.read_notification(jsonb) IS 'checked values of a stored notification; what is absent or unusable is NULL, so is the name of an event that this version does not know';

CREATE FUNCTION damoov.read_object_event(
    payload jsonb,
    OUT url text,
    OUT announced_at timestamptz,
    OUT sequencer text
) RETURNS record
    LANGUAGE C STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'damoov_read_object_event';
REVOKE ALL ON FUNCTION damoov.read_object_event(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION damoov.read_object_event(jsonb) IS 'a record of S3 about a new object: s3://bucket/key, when, and the number that orders the events of one key; url is NULL when there is nothing to fetch';

CREATE FUNCTION damoov.source_instance(source text) RETURNS uuid
    LANGUAGE C STABLE STRICT AS 'MODULE_PATHNAME', 'damoov_source_instance';
REVOKE ALL ON FUNCTION damoov.source_instance(text) FROM PUBLIC;
COMMENT ON FUNCTION damoov.source_instance(text) IS 'option instance_id of a source, for notifications that do not name their instance; NULL when it has none';

-- A source can name the instance that it serves.  What it says takes nothing
-- away that only sources of other instances have told of.
CREATE FUNCTION damoov.other_tenant(source text, track_token uuid, user_id bigint) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT coalesce(bool_and(damoov.source_instance(e.source) <> damoov.source_instance(other_tenant.source)), false)
    FROM damoov.events AS e
    WHERE e.object_id = other_tenant.track_token AND e.user_id = other_tenant.user_id
        AND e.event IN ('TrackEnrichmentFinished', 'IncomingTrackReceived');
END;
REVOKE ALL ON FUNCTION damoov.other_tenant(text, uuid, bigint) FROM PUBLIC;
COMMENT ON FUNCTION damoov.other_tenant(text, uuid, bigint) IS
    'is this track known from sources of other instances only, by their option instance_id? False or NULL where a source does not name one';

-- The one place that says whether a track is alive.  At the same instant a
-- merge wins over an enrichment (keeping the part would double it), while an
-- enrichment wins over the rejection of an upload.
CREATE FUNCTION damoov.track_lives(track_token uuid, user_id bigint, enriched_at timestamptz) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT NOT EXISTS (
        SELECT
        FROM damoov.removed_tracks AS r
            LEFT JOIN damoov.events AS said USING (event_id)
        WHERE r.track_token = track_lives.track_token
            AND r.user_id = track_lives.user_id
            AND damoov.other_tenant(said.source, r.track_token, r.user_id) IS NOT TRUE
            AND (track_lives.enriched_at IS NULL
                OR r.removed_at > track_lives.enriched_at
                OR (r.removed_at = track_lives.enriched_at AND r.reason = 'replaced')));
END;
REVOKE ALL ON FUNCTION damoov.track_lives(uuid, bigint, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION damoov.track_lives(uuid, bigint, timestamptz) IS 'a track lives when its newest enrichment is newer than its newest removal';

-- From the events, and from rows that may outlive them
CREATE FUNCTION damoov.enriched_at(track_token uuid, user_id bigint) RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT greatest(
        (SELECT max(e.sent_at)
            FROM damoov.events AS e
            WHERE e.event = 'TrackEnrichmentFinished' AND e.object_id = enriched_at.track_token
                AND e.user_id = enriched_at.user_id),
        (SELECT d.wanted_at
            FROM damoov.downloads AS d
            WHERE d.kind = 'processed' AND d.object_id = enriched_at.track_token AND d.user_id = enriched_at.user_id),
        (SELECT t.enriched_at
            FROM damoov.trips AS t
            WHERE t.track_token = enriched_at.track_token AND t.user_id = enriched_at.user_id));
END;
REVOKE ALL ON FUNCTION damoov.enriched_at(uuid, bigint) FROM PUBLIC;
COMMENT ON FUNCTION damoov.enriched_at(uuid, bigint) IS 'time of the newest enrichment known of a person''s track';

-- Removing a track and storing its dataset exclude each other.  256 locks
-- serve for any number of tracks; 1684106095 is just damoov's own lock class.
CREATE FUNCTION damoov.lock_tracks(track_tokens uuid[]) RETURNS void
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT pg_advisory_xact_lock(1684106095, b.bucket)
    FROM (
        SELECT DISTINCT uuid_hash(t.token) & 255 AS bucket
        FROM unnest(track_tokens) AS t (token)
        ORDER BY 1
    ) AS b;
END;
REVOKE ALL ON FUNCTION damoov.lock_tracks(uuid[]) FROM PUBLIC;
COMMENT ON FUNCTION damoov.lock_tracks(uuid[]) IS 'takes the tracks'' locks until the end of the transaction, in one order for everyone';

-- Few enough ids for the channel's 8000 bytes
CREATE FUNCTION damoov.notify(channel text, kind text, ids bigint[]) RETURNS void
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT pg_notify(channel, json_build_object('kind', kind, 'count', cardinality(ids), 'ids', ids[1:300])::text);
END;
REVOKE ALL ON FUNCTION damoov.notify(text, text, bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION damoov.notify(text, text, bigint[]) IS 'tells listeners: kind, count and surrogate ids';

