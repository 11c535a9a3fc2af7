-- ---------------------------------------------------------------------
-- Doors: how data comes in
-- ---------------------------------------------------------------------

CREATE FUNCTION damoov_ingest(payload jsonb, source text DEFAULT 'sql')
    RETURNS TABLE (event_id bigint, event text, outcome text)
    LANGUAGE C VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'damoov_ingest';
COMMENT ON FUNCTION damoov_ingest(jsonb, text) IS 'stores one notification, an array of them, or either inside an SNS envelope; outcome is stored, duplicate, unknown or control; NULL stores nothing; bad input raises (22004 no source, 22023, 22P02, 22007, 22008, 22009, 42501, 42622 source too long, 54000, 54001) and stores nothing';

CREATE FUNCTION damoov.ingest_bytes(body bytea, source text)
    RETURNS TABLE (event_id bigint, event text, outcome text)
    LANGUAGE C VOLATILE STRICT ROWS 1 AS 'MODULE_PATHNAME', 'damoov_ingest_bytes';
COMMENT ON FUNCTION damoov.ingest_bytes(bytea, text) IS 'as damoov_ingest(), for the exact bytes that a queue delivered';

CREATE FUNCTION damoov_webhook(body bytea, headers jsonb) RETURNS jsonb
    LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'damoov_webhook';
COMMENT ON FUNCTION damoov_webhook(bytea, jsonb) IS 'takes a push from an HTTP gateway: the exact bytes of the body and an object of the headers; returns what to answer: status (200 taken, 403 neither signed by SNS for a listed topic nor with the secret, 404 no server of type webhook, 503 try again), headers, body; may fetch SNS''s certificate, for at most 5 seconds';

-- PostgREST calls a function with one unnamed bytea for application/octet-stream
CREATE FUNCTION damoov_webhook_postgrest(bytea) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    answer jsonb;
BEGIN
    answer := @extschema@.damoov_webhook(coalesce($1, ''),
        coalesce(nullif(current_setting('request.headers', true), ''), '{}')::jsonb);
    PERFORM set_config('response.status', answer ->> 'status', true);
    PERFORM set_config('response.headers', (
        SELECT coalesce(jsonb_agg(jsonb_build_object(h.key, h.value)), '[]')
        FROM jsonb_each_text(answer -> 'headers') AS h)::text, true);
    RETURN nullif(answer ->> 'body', '')::jsonb;
END
$$;
COMMENT ON FUNCTION damoov_webhook_postgrest(bytea) IS 'damoov_webhook() in the shape that PostgREST calls: the body as the one unnamed parameter, headers from request.headers; sets response.status and response.headers';

CREATE FUNCTION damoov_fetch_track(track_token text, device_token text DEFAULT NULL)
    RETURNS bigint
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'damoov_fetch_track';
COMMENT ON FUNCTION damoov_fetch_track(text, text) IS 'downloads a processed track now and returns its trip_id; the person is taken from the event log when no device token is given; errors: 22023 bad token, 02000 person unknown or dataset gone, 08006 no answer, 55000 track removed, 57014 cancelled';

CREATE FUNCTION damoov_fetch_track(track_token uuid, device_token uuid DEFAULT NULL)
    RETURNS bigint
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'damoov_fetch_track_uuid';
COMMENT ON FUNCTION damoov_fetch_track(uuid, uuid) IS 'the same for tokens of the type uuid';

CREATE FUNCTION damoov.store_dataset(kind text, object_id uuid, document text) RETURNS bigint
    LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'damoov_store_dataset';
COMMENT ON FUNCTION damoov.store_dataset(text, uuid, text) IS 'stores a document as if it had just been fetched; the person is taken from what is known of the object; returns the row''s id, NULL when it is not wanted any more; errors as damoov_fetch_track()';

CREATE FUNCTION damoov.retry(quarantine_id bigint, mended jsonb)
    RETURNS TABLE (event_id bigint, event text, outcome text)
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    entry damoov.quarantine;
    removed bigint;
BEGIN
    PERFORM damoov.lock_people(false);
    -- what is executed is planned by the size that the tables have now
    EXECUTE 'SELECT q.* FROM damoov.quarantine AS q WHERE q.quarantine_id = $1' INTO entry USING quarantine_id;
    IF entry.quarantine_id IS NULL THEN
        NULL;  -- said below
    ELSIF entry.kind <> 'message' THEN
        PERFORM damoov.store_dataset(entry.kind, entry.object_id,
            coalesce(mended::text, convert_from(entry.body, 'UTF8')));
        EXECUTE $sql$DELETE FROM damoov.downloads AS d WHERE d.kind = $1 AND d.object_id = $2 AND d.state = 'failed'$sql$
        USING entry.kind, entry.object_id;
    ELSIF mended IS NOT NULL THEN
        RETURN QUERY SELECT i.* FROM @extschema@.damoov_ingest(mended, entry.source) AS i;
    ELSE
        RETURN QUERY SELECT i.* FROM damoov.ingest_bytes(entry.body, entry.source) AS i;
    END IF;
    -- Its row comes last, after the locks of objects: another session may have
    -- been faster.
    EXECUTE 'DELETE FROM damoov.quarantine AS q WHERE q.quarantine_id = $1' USING quarantine_id;
    GET DIAGNOSTICS removed = ROW_COUNT;
    IF removed = 0 THEN
        RAISE EXCEPTION 'quarantine entry % does not exist', quarantine_id USING ERRCODE = '02000';
    END IF;
END
$$;
COMMENT ON FUNCTION damoov.retry(bigint, jsonb) IS 'what damoov_retry() does';

CREATE FUNCTION damoov_retry(quarantine_id bigint, mended jsonb DEFAULT NULL)
    RETURNS TABLE (event_id bigint, event text, outcome text)
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'damoov_retry';
COMMENT ON FUNCTION damoov_retry(bigint, jsonb) IS 'stores a quarantined message or dataset again, as it is or mended; it leaves the quarantine when that works, else the error of damoov_ingest() is raised and it stays; errors: 02000 no such entry';

CREATE FUNCTION damoov.is_reason(reason text) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'damoov_is_reason';
COMMENT ON FUNCTION damoov.is_reason(text) IS 'is this a code that the column reason of damoov.quarantine may hold?';

-- Each in a transaction of its own: it takes the locks of what it stores, and
-- one that still cannot be stored stays, and holds up no other.
CREATE PROCEDURE damoov_retry_all(
    reason text DEFAULT NULL,
    INOUT stored bigint DEFAULT NULL,
    INOUT kept bigint DEFAULT NULL
)
    LANGUAGE plpgsql
AS $$
DECLARE
    path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
    may_commit CONSTANT boolean := damoov.may_commit();
    entries bigint[];
    entry bigint;
    said pg_catalog.text := '';
BEGIN
    SET LOCAL search_path = pg_catalog, pg_temp;
    IF NOT may_commit THEN
        RAISE EXCEPTION 'damoov_retry_all() cannot run inside a transaction block'
            USING ERRCODE = 'invalid_transaction_termination';
    ELSIF current_setting('transaction_read_only')::boolean THEN
        RAISE EXCEPTION 'cannot execute damoov_retry_all() in a read-only transaction'
            USING ERRCODE = 'read_only_sql_transaction';
    ELSIF NOT damoov.is_reason(reason) THEN
        RAISE EXCEPTION 'there is no reason "%"', reason
            USING ERRCODE = 'invalid_parameter_value', HINT = 'See the column "reason" of damoov.quarantine.';
    END IF;
    entries := ARRAY(
        SELECT q.quarantine_id
        FROM damoov.quarantine AS q
        WHERE damoov_retry_all.reason IS NULL OR q.reason = damoov_retry_all.reason
        ORDER BY q.quarantine_id);
    stored := 0;
    kept := 0;
    FOREACH entry IN ARRAY entries LOOP
        COMMIT;
        SET LOCAL search_path = pg_catalog, pg_temp;
        SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
        BEGIN
            PERFORM @extschema@.damoov_retry(entry);
            stored := stored + 1;
        EXCEPTION
            -- somebody else was faster
            WHEN SQLSTATE '02000' THEN kept := kept + (SELECT count(*) FROM damoov.quarantine AS q WHERE q.quarantine_id = entry);
            WHEN OTHERS THEN
                kept := kept + 1;
                UPDATE damoov.quarantine AS q SET attempts = q.attempts + 1 WHERE q.quarantine_id = entry;
                IF said <> SQLERRM THEN
                    said := SQLERRM;
                    RAISE NOTICE '% and perhaps more: %', entry, said;
                END IF;
        END;
    END LOOP;
    PERFORM set_config('search_path', path, true);
END
$$;
COMMENT ON PROCEDURE damoov_retry_all(text, bigint, bigint) IS 'stores again what is in the quarantine, all or that with one reason, each in a transaction of its own, so it must not run inside a transaction block (2D000); returns how many were stored, and how many are kept because they still cannot be, and a notice says why, where the reason changes; errors: 22023 no such reason';

CREATE FUNCTION damoov.ingesting() RETURNS boolean
    LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'damoov_ingesting';
COMMENT ON FUNCTION damoov.ingesting() IS 'true while this session stores through a door of damoov';
