-- ---------------------------------------------------------------------
-- Sources: foreign servers of a wrapper that has a validator and no handler,
-- and their run state
-- ---------------------------------------------------------------------

CREATE FUNCTION damoov.check_options(options text[], catalog oid) RETURNS void
    LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'damoov_check_options';
REVOKE ALL ON FUNCTION damoov.check_options(text[], oid) FROM PUBLIC;
COMMENT ON FUNCTION damoov.check_options(text[], oid) IS 'validator of the foreign-data wrapper: refuses unknown options (HV00D) and unusable values (22023)';

CREATE FOREIGN DATA WRAPPER damoov VALIDATOR damoov.check_options;
COMMENT ON FOREIGN DATA WRAPPER damoov IS 'sources of telematics: CREATE SERVER ... TYPE ''sqs'' FOREIGN DATA WRAPPER damoov';

CREATE VIEW damoov.servers WITH (security_invoker) AS
SELECT s.srvname::text AS source, s.srvtype AS type, s.oid AS server_oid
FROM pg_catalog.pg_foreign_server AS s
JOIN pg_catalog.pg_foreign_data_wrapper AS w ON w.oid = s.srvfdw
WHERE w.fdwname = 'damoov' AND s.srvtype IS DISTINCT FROM 'api';
COMMENT ON VIEW damoov.servers IS 'the foreign servers that are sources of messages';

CREATE TABLE damoov.sources (
    source text CONSTRAINT sources_pkey PRIMARY KEY,
    home text NOT NULL,
    paused boolean NOT NULL DEFAULT false,
    pause_reason text,
    state text NOT NULL DEFAULT 'new' CONSTRAINT sources_state_check
        CHECK (state IN ('new', 'polling', 'retrying', 'auth_failed', 'misconfigured', 'paused')),
    last_poll_at timestamptz,
    last_message_at timestamptz,
    last_error text,
    last_error_at timestamptz,
    failures integer NOT NULL DEFAULT 0,
    retry_at timestamptz
);
COMMENT ON TABLE damoov.sources IS 'run state of each source; options stand in its foreign server';
COMMENT ON COLUMN damoov.sources.source IS 'name of the foreign server';
COMMENT ON COLUMN damoov.sources.home IS 'cluster and database the source belongs to; elsewhere (a restored dump, a clone) it starts paused';
COMMENT ON COLUMN damoov.sources.paused IS 'no message is received while true; see damoov_pause(), damoov_resume()';
COMMENT ON COLUMN damoov.sources.pause_reason IS 'who or what paused it';
COMMENT ON COLUMN damoov.sources.state IS 'new, polling, retrying, auth_failed, misconfigured or paused';
COMMENT ON COLUMN damoov.sources.last_poll_at IS 'last answered receive; written at most once a minute while idle';
COMMENT ON COLUMN damoov.sources.last_message_at IS 'last time messages came';
COMMENT ON COLUMN damoov.sources.last_error IS 'why the last request failed; kept until it works again';
COMMENT ON COLUMN damoov.sources.last_error_at IS 'when';
COMMENT ON COLUMN damoov.sources.failures IS 'failed requests in a row';
COMMENT ON COLUMN damoov.sources.retry_at IS 'no request before this time';

CREATE FUNCTION damoov.home() RETURNS text
    LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'damoov_home';
REVOKE ALL ON FUNCTION damoov.home() FROM PUBLIC;
COMMENT ON FUNCTION damoov.home() IS 'identity of this cluster and database, as "system identifier/database oid"';

CREATE FUNCTION damoov.source_instance(source text) RETURNS uuid
    LANGUAGE C STABLE STRICT AS 'MODULE_PATHNAME', 'damoov_source_instance';
REVOKE ALL ON FUNCTION damoov.source_instance(text) FROM PUBLIC;
COMMENT ON FUNCTION damoov.source_instance(text) IS 'option instance_id of a source, for notifications that do not name their instance; NULL when it has none';

-- A database that was restored or cloned must not drain the original's queue:
-- elsewhere than at home a source is paused until damoov_resume().
CREATE FUNCTION damoov.run_state(source text, OUT paused boolean, OUT resumed boolean, OUT wait_ms bigint)
    RETURNS record
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO damoov.sources (source, home)
    VALUES (run_state.source, damoov.home())
    ON CONFLICT ON CONSTRAINT sources_pkey DO NOTHING;
    UPDATE damoov.sources AS s
    SET home = damoov.home(), paused = true, state = 'paused',
        pause_reason = format('this database was restored or cloned; SELECT damoov_resume(%L)', s.source)
    WHERE s.source = run_state.source AND s.home <> damoov.home();
    SELECT
        s.paused,
        s.state = 'new' AND s.retry_at IS NULL,
        coalesce(greatest(extract(epoch FROM s.retry_at - clock_timestamp()) * 1000, 0), 0)
    INTO paused, resumed, wait_ms
    FROM damoov.sources AS s
    WHERE s.source = run_state.source;
END
$$;
REVOKE ALL ON FUNCTION damoov.run_state(text) FROM PUBLIC;
COMMENT ON FUNCTION damoov.run_state(text) IS 'what damoov.sources says of a source, which is entered there: is it paused, was its row emptied by damoov_resume(), and how long is it still not to be asked';

CREATE FUNCTION damoov_pause(source text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM damoov.servers AS s WHERE s.source = damoov_pause.source) THEN
        RAISE EXCEPTION 'source "%" does not exist', source USING ERRCODE = 'undefined_object';
    END IF;
    INSERT INTO damoov.sources AS s (source, home, paused, pause_reason, state)
    VALUES (damoov_pause.source, damoov.home(), true, 'damoov_pause', 'paused')
    ON CONFLICT ON CONSTRAINT sources_pkey DO UPDATE
    SET paused = true, pause_reason = 'damoov_pause', state = 'paused';
    PERFORM damoov.wake_worker();
END
$$;
REVOKE ALL ON FUNCTION damoov_pause(text) FROM PUBLIC;
COMMENT ON FUNCTION damoov_pause(text) IS 'stops receiving from a source at the next poll; errors: 42704 no such source';

CREATE FUNCTION damoov_resume(source text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM damoov.servers AS s WHERE s.source = damoov_resume.source) THEN
        RAISE EXCEPTION 'source "%" does not exist', source USING ERRCODE = 'undefined_object';
    END IF;
    INSERT INTO damoov.sources AS s (source, home)
    VALUES (damoov_resume.source, damoov.home())
    ON CONFLICT ON CONSTRAINT sources_pkey DO UPDATE
    SET home = damoov.home(), paused = false, pause_reason = NULL, state = 'new', failures = 0, retry_at = NULL;
    PERFORM damoov.wake_worker();
END
$$;
REVOKE ALL ON FUNCTION damoov_resume(text) FROM PUBLIC;
COMMENT ON FUNCTION damoov_resume(text) IS 'receives again from a paused source, also after a restore elsewhere, and forgets its back-off; errors: 42704 no such source';
