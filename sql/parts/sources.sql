-- ---------------------------------------------------------------------
-- Sources: foreign servers of a wrapper that has a validator and no handler,
-- and their run state
-- ---------------------------------------------------------------------

CREATE FUNCTION damoov.check_options(options text[], catalog oid) RETURNS void
    LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'damoov_check_options';
COMMENT ON FUNCTION damoov.check_options(text[], oid) IS 'validator of the foreign-data wrapper: refuses unknown options (HV00D) and unusable values (22023)';

CREATE FOREIGN DATA WRAPPER damoov VALIDATOR damoov.check_options;
COMMENT ON FOREIGN DATA WRAPPER damoov IS 'sources of telematics: CREATE SERVER ... TYPE ''sqs'' FOREIGN DATA WRAPPER damoov';

CREATE FUNCTION damoov.check_server() RETURNS event_trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'damoov_check_server';
COMMENT ON FUNCTION damoov.check_server() IS 'event trigger: refuses a server whose type (22023) or options (HV00D) can never work';

CREATE EVENT TRIGGER damoov_check_server ON ddl_command_end
    WHEN TAG IN ('CREATE SERVER', 'ALTER SERVER')
    EXECUTE FUNCTION damoov.check_server();
COMMENT ON EVENT TRIGGER damoov_check_server IS 'refuses servers of the foreign-data wrapper damoov that can never work';

CREATE VIEW damoov.servers WITH (security_invoker) AS
SELECT s.srvname::text AS source, s.srvtype AS type, s.oid AS server_oid
FROM pg_catalog.pg_foreign_server AS s
JOIN pg_catalog.pg_foreign_data_wrapper AS w ON w.oid = s.srvfdw
WHERE w.fdwname = 'damoov' AND s.srvtype IS DISTINCT FROM 'api';
COMMENT ON VIEW damoov.servers IS 'the foreign servers that are sources of messages';
COMMENT ON COLUMN damoov.servers.source IS 'name of the foreign server';
COMMENT ON COLUMN damoov.servers.type IS 'its TYPE';
COMMENT ON COLUMN damoov.servers.server_oid IS 'its OID';

-- A row belongs to the server object: a server that is renamed keeps it, a new
-- one of an old name gets one of its own.  OIDs mean something in their own
-- database only; a dump carries the name, by which its rows are found again.
CREATE TABLE damoov.sources (
    server_oid oid NOT NULL,
    home text NOT NULL,
    place text NOT NULL,
    source text NOT NULL,
    paused boolean NOT NULL DEFAULT false,
    pause_reason text,
    state text NOT NULL DEFAULT 'new' CONSTRAINT sources_state_check
        CHECK (state IN ('new', 'polling', 'retrying', 'auth_failed', 'misconfigured', 'paused')),
    last_poll_at timestamptz,
    last_message_at timestamptz,
    last_error text,
    last_error_at timestamptz,
    failures integer NOT NULL DEFAULT 0,
    retry_at timestamptz,
    backlog bigint,
    backlog_at timestamptz,
    CONSTRAINT sources_pkey PRIMARY KEY (server_oid, home)
);
COMMENT ON TABLE damoov.sources IS 'run state of each source; options stand in its foreign server';
COMMENT ON COLUMN damoov.sources.server_oid IS 'OID of the foreign server, in the database that home names';
COMMENT ON COLUMN damoov.sources.home IS 'cluster and database the row was written in; elsewhere (a restored dump) all sources start paused';
COMMENT ON COLUMN damoov.sources.place IS 'where that database lay; elsewhere (a copy of the data directory) all sources start paused, but not after a fail-over';
COMMENT ON COLUMN damoov.sources.source IS 'name of the foreign server when it was last looked at';
COMMENT ON COLUMN damoov.sources.paused IS 'no message is received while true; see damoov_pause(), damoov_resume()';
COMMENT ON COLUMN damoov.sources.pause_reason IS 'who or what paused it';
COMMENT ON COLUMN damoov.sources.state IS 'new, polling, retrying, auth_failed, misconfigured or paused';
COMMENT ON COLUMN damoov.sources.last_poll_at IS 'last answered receive; written at most once a minute while idle';
COMMENT ON COLUMN damoov.sources.last_message_at IS 'last time messages came';
COMMENT ON COLUMN damoov.sources.last_error IS 'why the last request failed; kept until it works again';
COMMENT ON COLUMN damoov.sources.last_error_at IS 'when';
COMMENT ON COLUMN damoov.sources.failures IS 'failed requests in a row';
COMMENT ON COLUMN damoov.sources.backlog IS 'messages that wait in the queue, as the service has told (approximate, documented); asked of a queue that stays full for two seconds, and again every ten; NULL otherwise, where the service does not tell (type eventgrid), and where the credentials have no right to be told';
COMMENT ON COLUMN damoov.sources.backlog_at IS 'when the service was asked';
COMMENT ON COLUMN damoov.sources.retry_at IS 'no request before this time';

CREATE FUNCTION damoov.home() RETURNS text
    LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'damoov_home';
COMMENT ON FUNCTION damoov.home() IS 'identity of this cluster and database, as "system identifier/database oid"';

CREATE FUNCTION damoov.place() RETURNS text
    LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'damoov_place';
COMMENT ON FUNCTION damoov.place() IS 'where this database lies: "identity ..." as damoov.identity says, or "file ..." with file system, inode and time of creation of the data directory''s PG_VERSION';

CREATE FUNCTION damoov.was_standby() RETURNS boolean
    LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'damoov_was_standby';
COMMENT ON FUNCTION damoov.was_standby() IS 'was this server started as a standby, with the library preloaded? Once promoted, it takes over';

-- A name says little: whoever may create servers can give one the name of a
-- dropped one, or one that so far only damoov_ingest() was told.  The options of
-- a server say who gets device tokens.  Names of roles survive a dump.
CREATE FUNCTION damoov.source_owner(source text) RETURNS name
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (
        SELECT pg_get_userbyid(s.srvowner)
        FROM pg_foreign_server AS s
        JOIN pg_foreign_data_wrapper AS w ON w.oid = s.srvfdw
        WHERE s.srvname = source AND w.fdwname = 'damoov'
    );
END
$$;
COMMENT ON FUNCTION damoov.source_owner(text) IS 'owner of the server of this name, NULL when there is none';

CREATE FUNCTION damoov.source_of(source text, source_owner name) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    owner CONSTANT name := damoov.source_owner(source);
BEGIN
    RETURN CASE
        WHEN owner IS NULL OR owner = source_owner
            OR (SELECT r.rolsuper FROM pg_roles AS r WHERE r.rolname = owner) THEN source
        ELSE 'sql'
    END;
END
$$;
COMMENT ON FUNCTION damoov.source_of(text, name) IS 'the source whose options apply to what came through one of this name, whose server had this owner: itself if its server still has that owner or a superuser, else sql, as of what came through none';

CREATE FUNCTION damoov.source_instance(source text) RETURNS uuid
    LANGUAGE C STABLE STRICT AS 'MODULE_PATHNAME', 'damoov_source_instance';
COMMENT ON FUNCTION damoov.source_instance(text) IS 'option instance_id of a source, for notifications that do not name their instance; NULL when it has none';

-- A database that was restored or copied must not drain the original's queue:
-- all its sources are paused until damoov_resume(), also those that the original
-- had no row of, or knew by another name.  A push goes to whom it is sent to.
CREATE FUNCTION damoov.pause_elsewhere() RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    here text := damoov.home();
    this_place text := damoov.place();
    moved text;
BEGIN
    IF NOT EXISTS (SELECT FROM damoov.sources AS s WHERE s.home <> here OR s.place <> this_place) THEN
        RETURN;
    END IF;
    -- a promoted standby takes over
    IF damoov.was_standby() THEN
        UPDATE damoov.sources AS s SET place = this_place WHERE s.home = here AND s.place <> this_place;
    END IF;
    -- whoever takes the rows of a dump away is the one that pauses
    WITH restored AS (
        DELETE FROM damoov.sources AS s WHERE s.home <> here RETURNING s.*
    ), kept AS (
        INSERT INTO damoov.sources
        SELECT v.server_oid, here, this_place, r.source, r.paused, r.pause_reason, r.state, r.last_poll_at, r.last_message_at,
            r.last_error, r.last_error_at, r.failures, r.retry_at
        FROM restored AS r
        JOIN damoov.servers AS v USING (source)
        ON CONFLICT ON CONSTRAINT sources_pkey DO NOTHING
    )
    SELECT 'this database was restored from a dump of another, or upgraded' INTO moved
    FROM restored HAVING count(*) > 0;
    IF moved IS NULL AND EXISTS (SELECT FROM damoov.sources AS s WHERE s.place <> this_place) THEN
        moved := 'the data directory was copied or moved, or damoov.identity has changed';
    END IF;
    IF moved IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO damoov.sources AS s (server_oid, home, place, source, paused, pause_reason, state)
    SELECT v.server_oid, here, this_place, v.source, true,
        format('%s; if it is to take the messages: SELECT damoov_resume(%L)', moved, v.source), 'paused'
    FROM damoov.servers AS v
    WHERE v.type IS DISTINCT FROM 'webhook'
    ORDER BY v.server_oid
    ON CONFLICT ON CONSTRAINT sources_pkey DO UPDATE
    SET place = EXCLUDED.place, paused = true, pause_reason = EXCLUDED.pause_reason, state = 'paused';
    UPDATE damoov.sources AS s SET place = this_place WHERE s.place <> this_place;
    RAISE LOG 'all sources of database "%" are paused: %', current_database(), moved
        USING HINT = 'SELECT damoov_resume(source) for those that are to take messages here.';
END
$$;
COMMENT ON FUNCTION damoov.pause_elsewhere() IS 'pauses all sources of a database that was restored or copied, once; a promoted standby takes over instead';

-- Its rows follow the servers.  What waits is fetched with the options of its source.
CREATE FUNCTION damoov.follow_servers() RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM damoov.pause_elsewhere();
    IF EXISTS (SELECT FROM damoov.sources AS s JOIN damoov.servers AS v USING (server_oid) WHERE s.source <> v.source) THEN
        UPDATE damoov.downloads AS d SET source = v.source
        FROM damoov.sources AS s
        JOIN damoov.servers AS v USING (server_oid)
        WHERE s.source <> v.source AND d.source = s.source;
        UPDATE damoov.sources AS s SET source = v.source
        FROM damoov.servers AS v
        WHERE v.server_oid = s.server_oid AND s.source <> v.source;
    END IF;
    DELETE FROM damoov.sources AS s
    WHERE NOT EXISTS (SELECT FROM damoov.servers AS v WHERE v.server_oid = s.server_oid);
END
$$;
COMMENT ON FUNCTION damoov.follow_servers() IS 'brings damoov.sources up to date: restored or copied, renamed, dropped';

CREATE FUNCTION damoov.run_state(server_oid oid, OUT paused boolean, OUT resumed boolean, OUT wait_ms bigint, OUT pause_reason text)
    RETURNS record
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM damoov.follow_servers();
    INSERT INTO damoov.sources (server_oid, home, place, source)
    SELECT v.server_oid, damoov.home(), damoov.place(), v.source
    FROM damoov.servers AS v
    WHERE v.server_oid = run_state.server_oid
    ON CONFLICT ON CONSTRAINT sources_pkey DO NOTHING;
    -- a server that is just being dropped has none: it is not to be asked
    SELECT
        coalesce(bool_or(s.paused), true),
        coalesce(bool_or(s.state = 'new' AND s.retry_at IS NULL), false),
        coalesce(max(greatest(extract(epoch FROM s.retry_at - clock_timestamp()) * 1000, 0)), 0),
        max(CASE s.pause_reason WHEN 'damoov_pause' THEN 'damoov_pause() was called' ELSE s.pause_reason END) FILTER (WHERE s.paused)
    INTO paused, resumed, wait_ms, pause_reason
    FROM damoov.sources AS s
    WHERE s.server_oid = run_state.server_oid;
END
$$;
COMMENT ON FUNCTION damoov.run_state(oid) IS 'what damoov.sources says of a source, which is entered there: is it paused and why, was its row emptied by damoov_resume(), and how long is it still not to be asked';

-- The row of a source by its name, for the caller to change.
CREATE FUNCTION damoov.enter_source(source text) RETURNS oid
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found_oid oid := (SELECT v.server_oid FROM damoov.servers AS v WHERE v.source = enter_source.source);
BEGIN
    IF found_oid IS NULL THEN
        RAISE EXCEPTION 'source "%" does not exist', source USING ERRCODE = 'undefined_object';
    END IF;
    PERFORM damoov.run_state(found_oid);
    RETURN found_oid;
END
$$;
COMMENT ON FUNCTION damoov.enter_source(text) IS 'OID of a source by its name, once it is in damoov.sources; errors: 42704 no such source';

CREATE FUNCTION damoov_pause(source text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    entered oid := damoov.enter_source(source);
BEGIN
    UPDATE damoov.sources AS s
    SET paused = true, pause_reason = 'damoov_pause', state = 'paused'
    WHERE s.server_oid = entered;
    PERFORM damoov.wake_worker();
END
$$;
COMMENT ON FUNCTION damoov_pause(text) IS 'stops receiving from a source: a receive that waits for messages is ended, and what the service has handed out before is still taken; errors: 42704 no such source';

CREATE FUNCTION damoov_resume(source text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    entered oid := damoov.enter_source(source);
BEGIN
    UPDATE damoov.sources AS s
    SET paused = false, pause_reason = NULL, state = 'new', failures = 0, retry_at = NULL
    WHERE s.server_oid = entered;
    PERFORM damoov.wake_worker();
END
$$;
COMMENT ON FUNCTION damoov_resume(text) IS 'receives again from a paused source, also after a restore elsewhere, and forgets its back-off; errors: 42704 no such source';
