CREATE FUNCTION damoov.take_away(track_tokens uuid[]) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM damoov.lock_tracks(track_tokens);

    DELETE FROM damoov.trips AS t
    WHERE t.track_token = ANY (track_tokens)
        AND NOT damoov.track_lives(t.track_token, t.user_id, t.enriched_at);

    DELETE FROM damoov.downloads AS w
    WHERE w.kind = 'processed' AND w.object_id = ANY (track_tokens)
        AND NOT damoov.track_lives(w.object_id, w.user_id, damoov.enriched_at(w.object_id, w.user_id));

    DELETE FROM damoov.raw_tracks AS t
    WHERE t.track_token = ANY (track_tokens)
        AND NOT damoov.recording_lives(t.track_token, t.user_id);

    DELETE FROM damoov.downloads AS w
    WHERE w.kind = 'raw' AND w.object_id = ANY (track_tokens)
        AND NOT damoov.recording_lives(w.object_id, w.user_id);
END
$$;
REVOKE ALL ON FUNCTION damoov.take_away(uuid[]) FROM PUBLIC;
COMMENT ON FUNCTION damoov.take_away(uuid[]) IS 'removes those of the tracks that their tombstones have ended, with what waits to be fetched of them';

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
REVOKE ALL ON FUNCTION damoov.remove_tracks() FROM PUBLIC;
COMMENT ON FUNCTION damoov.remove_tracks() IS 'trigger: a new tombstone takes the trip and its waiting download away';

CREATE TRIGGER removed_tracks_remove
    AFTER INSERT ON damoov.removed_tracks
    REFERENCING NEW TABLE AS arrived
    FOR EACH STATEMENT
    WHEN (damoov.ingesting())
    EXECUTE FUNCTION damoov.remove_tracks();
COMMENT ON TRIGGER removed_tracks_remove ON damoov.removed_tracks IS 'takes removed trips away';

CREATE FUNCTION damoov.delete_trip_parts() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM damoov.trip_points AS p USING gone AS g WHERE p.trip_id = g.trip_id;
    DELETE FROM damoov.trip_events AS e USING gone AS g WHERE e.trip_id = g.trip_id;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION damoov.delete_trip_parts() FROM PUBLIC;
COMMENT ON FUNCTION damoov.delete_trip_parts() IS 'trigger: points and trip events go with their trip';

CREATE TRIGGER trips_delete
    AFTER DELETE ON damoov.trips
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT
    EXECUTE FUNCTION damoov.delete_trip_parts();
COMMENT ON TRIGGER trips_delete ON damoov.trips IS 'points and trip events go with their trip';

CREATE FUNCTION damoov.delete_raw_parts() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM damoov.raw_points AS p USING gone AS g WHERE p.raw_track_id = g.raw_track_id;
    DELETE FROM damoov.raw_events AS e USING gone AS g WHERE e.raw_track_id = g.raw_track_id;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION damoov.delete_raw_parts() FROM PUBLIC;
COMMENT ON FUNCTION damoov.delete_raw_parts() IS 'trigger: points and events go with their raw track';

CREATE TRIGGER raw_tracks_delete
    AFTER DELETE ON damoov.raw_tracks
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT
    EXECUTE FUNCTION damoov.delete_raw_parts();
COMMENT ON TRIGGER raw_tracks_delete ON damoov.raw_tracks IS 'points and events go with their raw track';

CREATE FUNCTION damoov.delete_documents() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('DELETE FROM damoov.documents AS d USING gone AS g WHERE d.kind = ANY ($1) AND d.object_id = g.%I', TG_ARGV[0])
    USING TG_ARGV[1:];
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION damoov.delete_documents() FROM PUBLIC;
COMMENT ON FUNCTION damoov.delete_documents() IS 'trigger: the originals go with their row; arguments: column of the object''s id, kinds of datasets';

CREATE TRIGGER trips_documents
    AFTER DELETE ON damoov.trips
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT
    EXECUTE FUNCTION damoov.delete_documents('track_token', 'processed');
COMMENT ON TRIGGER trips_documents ON damoov.trips IS 'the original goes with its trip';

CREATE TRIGGER raw_tracks_documents
    AFTER DELETE ON damoov.raw_tracks
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT
    EXECUTE FUNCTION damoov.delete_documents('track_token', 'raw');
COMMENT ON TRIGGER raw_tracks_documents ON damoov.raw_tracks IS 'the original goes with its raw track';

CREATE TRIGGER crashes_documents
    AFTER DELETE ON damoov.crashes
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT
    EXECUTE FUNCTION damoov.delete_documents('crash_token', 'crash', 'crash_buffer');
COMMENT ON TRIGGER crashes_documents ON damoov.crashes IS 'the originals go with their crash';

