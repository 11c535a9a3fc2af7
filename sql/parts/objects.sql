-- ---------------------------------------------------------------------
-- Objects of a bucket: what is announced of them; and whose an object is
-- ---------------------------------------------------------------------

CREATE FUNCTION damoov.read_object_event(
    payload jsonb,
    OUT url text,
    OUT announced_at timestamptz,
    OUT sequencer text
) RETURNS record
    LANGUAGE C STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'damoov_read_object_event';
COMMENT ON FUNCTION damoov.read_object_event(jsonb) IS 'a record of S3 about a new object: s3://bucket/key, when, and the number that orders the events of one key; url is NULL when there is nothing to fetch';

-- A sequencer is hexadecimal; the shorter of two is padded with zeros on the
-- right.  Of what is known of a key only the newest is fetched, in whichever
-- order it came.
CREATE FUNCTION damoov.newest_objects(object_ids uuid[])
    RETURNS TABLE (event_id bigint, object_id uuid, source text, url text, announced_at timestamptz)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT DISTINCT ON (e.object_id) e.event_id, e.object_id, e.source, o.url, o.announced_at
    FROM damoov.events AS e
    CROSS JOIN damoov.read_object_event(e.payload) AS o
    WHERE e.outcome = 'control'
        -- not LIKE, which could be looked up by the name instead of the object
        AND left(e.event, 14) = 'ObjectCreated:'
        AND e.object_id = ANY (object_ids)
        AND o.url IS NOT NULL
    ORDER BY e.object_id, rpad(lower(o.sequencer), 64, '0') COLLATE "C" DESC NULLS LAST,
        o.announced_at DESC NULLS LAST, e.event_id DESC;
END;
COMMENT ON FUNCTION damoov.newest_objects(uuid[]) IS 'the newest event known of each of these objects of a bucket, with what is to be fetched';

CREATE FUNCTION damoov.queue_objects(event_ids bigint[], object_ids uuid[]) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO damoov.downloads AS w (kind, object_id, source, source_owner, url, priority, wanted_at)
    SELECT 'object', n.object_id, n.source, damoov.source_owner(n.source), n.url, 15, n.announced_at
    FROM damoov.newest_objects(object_ids) AS n
    WHERE n.event_id = ANY (event_ids)
    ORDER BY n.object_id
    ON CONFLICT (kind, object_id) DO UPDATE
    SET version = EXCLUDED.version,
        source = EXCLUDED.source,
        source_owner = EXCLUDED.source_owner,
        url = EXCLUDED.url,
        wanted_at = EXCLUDED.wanted_at,
        state = 'waiting',
        attempts = 0,
        due_at = EXCLUDED.due_at;
END
$$;
COMMENT ON FUNCTION damoov.queue_objects(bigint[], uuid[]) IS 'queues the objects that these events report, unless a newer event of them is known';

-- The newest notification says whose an object is, rows that outlive it after
-- that.  A removal says it last: it may speak of what is another's.
CREATE FUNCTION damoov.person_of_object(kind text, object_id uuid) RETURNS bigint
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN coalesce(
        (SELECT d.user_id
            FROM damoov.downloads AS d
            WHERE d.kind = person_of_object.kind AND d.object_id = person_of_object.object_id),
        (SELECT e.user_id
            FROM damoov.events AS e
            WHERE e.object_id = person_of_object.object_id
                AND e.event IN ('TrackEnrichmentFinished', 'IncomingTrackReceived', 'IncomingTrackRemoved',
                    'AccidentEventReceived', 'AccidentEventExtraReceived',
                    'AccidentEventCompletePackageReceived', 'AccidentEventFiltered')
            ORDER BY e.event = 'IncomingTrackRemoved', e.sent_at DESC
            LIMIT 1),
        (SELECT t.user_id FROM damoov.trips AS t WHERE t.track_token = person_of_object.object_id),
        (SELECT r.user_id FROM damoov.raw_tracks AS r WHERE r.track_token = person_of_object.object_id),
        (SELECT c.user_id FROM damoov.crashes AS c WHERE c.crash_token = person_of_object.object_id),
        (SELECT d.user_id
            FROM damoov.documents AS d
            WHERE d.kind = person_of_object.kind AND d.object_id = person_of_object.object_id));
END
$$;
COMMENT ON FUNCTION damoov.person_of_object(text, uuid) IS 'the person of an object, for a dataset of this kind, from events, downloads and stored rows; NULL if none is known';
