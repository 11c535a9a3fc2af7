-- ---------------------------------------------------------------------
-- Points of processed trips: as rows, or in the dataset that they came in
-- ---------------------------------------------------------------------

-- No foreign key to trips, as for damoov.trip_points; trips_delete takes it along.
CREATE TABLE damoov.trip_documents (
    trip_id bigint CONSTRAINT trip_documents_pkey PRIMARY KEY,
    fetched_at timestamptz NOT NULL DEFAULT now(),
    document bytea NOT NULL
);
-- it is compressed already
ALTER TABLE damoov.trip_documents ALTER document SET STORAGE EXTERNAL;
COMMENT ON TABLE damoov.trip_documents IS 'datasets of the trips whose points are no rows of damoov.trip_points; each lives as long as its trip, whatever damoov.keep_documents says';
COMMENT ON COLUMN damoov.trip_documents.trip_id IS 'trip';
COMMENT ON COLUMN damoov.trip_documents.fetched_at IS 'when it came, database clock';
COMMENT ON COLUMN damoov.trip_documents.document IS 'the JSON text as gzip, as it was received, but without the person''s device token';

CREATE FUNCTION damoov.document_text(document bytea) RETURNS text
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'damoov_document_text';
COMMENT ON FUNCTION damoov.document_text(bytea) IS 'the JSON text of a document in damoov.trip_documents; errors: XX001 not gzip, or damaged';

CREATE FUNCTION damoov.pack_document(document text, device_token uuid) RETURNS bytea
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'damoov_pack_document';
COMMENT ON FUNCTION damoov.pack_document(text, uuid) IS 'a dataset of a processed track as it stands in damoov.trip_documents; NULL when it could not be read';

-- The columns of damoov.trip_points, without those that a user may have added.
CREATE TYPE damoov.trip_point AS (
    trip_id bigint,
    seq integer,
    point_id bigint,
    number integer,
    recorded_at timestamptz,
    latitude double precision,
    longitude double precision,
    total_meters double precision,
    speed_kmh double precision,
    mid_speed_ms double precision,
    speed_limit_kmh double precision,
    alert_value_ms2 double precision,
    lateral_ms2 double precision,
    course_deg double precision,
    yaw_deg double precision,
    height_mm double precision,
    speed_type text,
    alert_type text,
    cornering boolean,
    phone_usage boolean,
    is_filler boolean,
    extra jsonb
);
COMMENT ON TYPE damoov.trip_point IS 'a point of a trip, with the columns of damoov.trip_points';

CREATE FUNCTION damoov.document_points(trip_id bigint, document bytea) RETURNS SETOF damoov.trip_point
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 100000 ROWS 1000 AS 'MODULE_PATHNAME', 'damoov_document_points';
COMMENT ON FUNCTION damoov.document_points(bigint, bytea) IS 'the points of a document in damoov.trip_documents, as they would be rows of damoov.trip_points; errors: XX001 not gzip, or damaged; those of damoov.store_dataset()';

-- Not in SQL, which Citus refuses where the id is not a constant; executed, so that
-- the partition of the trip is found before it is planned.
CREATE FUNCTION damoov_points(trip_id bigint) RETURNS SETOF damoov.trip_point
    LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 1000
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY EXECUTE 'SELECT p.trip_id, p.seq, p.point_id, p.number, p.recorded_at, p.latitude, p.longitude, p.total_meters,'
        ' p.speed_kmh, p.mid_speed_ms, p.speed_limit_kmh, p.alert_value_ms2, p.lateral_ms2, p.course_deg, p.yaw_deg, p.height_mm,'
        ' p.speed_type, p.alert_type, p.cornering, p.phone_usage, p.is_filler, p.extra'
        ' FROM damoov.trip_points AS p WHERE p.trip_id = $1'
    USING trip_id;
    RETURN QUERY EXECUTE 'SELECT r.* FROM damoov.trip_documents AS d CROSS JOIN LATERAL damoov.document_points(d.trip_id, d.document) AS r'
        ' WHERE d.trip_id = $1'
    USING trip_id;
END
$$;
COMMENT ON FUNCTION damoov_points(bigint) IS 'the points of a trip, whether they are rows of damoov.trip_points or in damoov.trip_documents';

-- trip_id is that of the trip: a condition on it, or a join, finds the trips
-- first, and only their points are read.
CREATE VIEW damoov.all_points WITH (security_invoker) AS
SELECT t.trip_id, p.seq, p.point_id, p.number, p.recorded_at, p.latitude, p.longitude, p.total_meters, p.speed_kmh, p.mid_speed_ms,
    p.speed_limit_kmh, p.alert_value_ms2, p.lateral_ms2, p.course_deg, p.yaw_deg, p.height_mm, p.speed_type, p.alert_type,
    p.cornering, p.phone_usage, p.is_filler, p.extra
FROM damoov.trips AS t
CROSS JOIN LATERAL @extschema@.damoov_points(t.trip_id) AS p;
COMMENT ON VIEW damoov.all_points IS 'points of all processed trips, whether they are rows of damoov.trip_points or in damoov.trip_documents, with the columns of the former; ask for few trips by trip_id, since a document is read as a whole';

-- A row that a user has added a column to differs, so that nothing of his is lost.
-- Rows are read and deleted by the id of their trip and not by a join, so that one
-- partition is looked at, and with Citus one server, which compares them itself:
-- texts of times are those of a session.
CREATE FUNCTION damoov.pack_trips(trip_ids bigint[]) RETURNS bigint
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    SET extra_float_digits = 3
AS $$
DECLARE
    trip record;
    differs boolean;
    packed bigint := 0;
BEGIN
    -- what is executed is planned by the size that the tables have now
    FOR trip IN EXECUTE $sql$
        SELECT t.trip_id, t.track_token, d.fetched_at, damoov.pack_document(d.document, u.device_token) AS document
        FROM damoov.trips AS t
        JOIN damoov.documents AS d ON d.kind = 'processed' AND d.object_id = t.track_token
        JOIN damoov.users AS u ON u.user_id = t.user_id
        WHERE t.trip_id = ANY ($1)
            AND NOT EXISTS (SELECT FROM damoov.trip_documents AS o WHERE o.trip_id = t.trip_id)
        -- whoever deletes the trip takes along what he sees of it
        FOR UPDATE OF t SKIP LOCKED$sql$
    USING trip_ids LOOP
        CONTINUE WHEN trip.document IS NULL;
        -- what others change meanwhile is waited for, and compared as it is then
        EXECUTE 'SELECT FROM damoov.trip_points AS p WHERE p.trip_id = $1 FOR UPDATE' USING trip.trip_id;
        EXECUTE $sql$
            SELECT md5(string_agg(p::text, E'\n' ORDER BY p.seq)) IS DISTINCT FROM (
                SELECT md5(string_agg(r::text, E'\n' ORDER BY r.seq)) FROM damoov.document_points($1, $2) AS r)
            FROM damoov.trip_points AS p
            WHERE p.trip_id = $1$sql$
        INTO differs USING trip.trip_id, trip.document;
        CONTINUE WHEN differs;
        INSERT INTO damoov.trip_documents (trip_id, fetched_at, document)
        VALUES (trip.trip_id, trip.fetched_at, trip.document);
        EXECUTE 'DELETE FROM damoov.trip_points AS p WHERE p.trip_id = $1' USING trip.trip_id;
        EXECUTE 'SELECT EXISTS (SELECT FROM damoov.trip_points AS p WHERE p.trip_id = $1)' INTO differs USING trip.trip_id;
        IF differs THEN
            RAISE EXCEPTION 'could not turn the points of trip % into a document: a trigger keeps them as rows', trip.trip_id
                USING ERRCODE = 'triggered_data_change_violation';
        END IF;
        EXECUTE 'DELETE FROM damoov.documents AS d WHERE d.kind = ''processed'' AND d.object_id = $1' USING trip.track_token;
        packed := packed + 1;
    END LOOP;
    RETURN packed;
END
$$;
COMMENT ON FUNCTION damoov.pack_trips(bigint[]) IS 'the part of damoov_pack() that turns rows into documents, where the original is kept and the same rows are read from it; returns of how many trips; their tracks are locked';

-- It looks for trips once for many transactions, and leaves those that others
-- hold, as damoov_purge() does.
CREATE PROCEDURE damoov_pack(
    before timestamptz,
    INOUT packed bigint DEFAULT NULL,
    INOUT left_as_rows bigint DEFAULT NULL
)
    LANGUAGE plpgsql
AS $$
DECLARE
    find_trips CONSTANT integer := 100000;
    batch_trips CONSTANT integer := 100;
    path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
    may_commit CONSTANT boolean := damoov.may_commit();
    last bigint;
    old bigint[];
    batch bigint[];
    done bigint;
BEGIN
    SET LOCAL search_path = pg_catalog, pg_temp;
    IF NOT may_commit THEN
        RAISE EXCEPTION 'damoov_pack() cannot run inside a transaction block'
            USING ERRCODE = 'invalid_transaction_termination';
    ELSIF current_setting('transaction_read_only')::boolean THEN
        RAISE EXCEPTION 'cannot execute damoov_pack() in a read-only transaction'
            USING ERRCODE = 'read_only_sql_transaction';
    END IF;
    COMMIT;
    SET LOCAL search_path = pg_catalog, pg_temp;
    SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
    packed := 0;
    left_as_rows := 0;
    LOOP
        EXECUTE 'SELECT array_agg(n.trip_id) FROM (SELECT t.trip_id'
            ' FROM damoov.documents AS d JOIN damoov.trips AS t ON t.track_token = d.object_id'
            ' WHERE d.kind = ''processed'' AND coalesce(t.enriched_at, t.stored_at) < $1 AND ($2 IS NULL OR t.trip_id > $2)'
            ' ORDER BY t.trip_id LIMIT $3) AS n'
        INTO old USING before, last, find_trips;
        EXIT WHEN old IS NULL;
        FOR start IN 1 .. cardinality(old) BY batch_trips LOOP
            PERFORM damoov.lock_people(false);
            batch := old[start:start + batch_trips - 1];
            done := damoov.pack_trips(ARRAY(
                SELECT t.trip_id FROM damoov.trips AS t WHERE t.trip_id = ANY (batch) AND damoov.try_lock_object(t.track_token)));
            packed := packed + done;
            left_as_rows := left_as_rows + cardinality(batch) - done;
            COMMIT;
            SET LOCAL search_path = pg_catalog, pg_temp;
            SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
        END LOOP;
        last := old[cardinality(old)];
    END LOOP;
    PERFORM set_config('search_path', path, true);
END
$$;
COMMENT ON PROCEDURE damoov_pack(timestamptz, bigint, bigint) IS 'keeps the points of trips that are older as the originals they came in, in place of rows, where the original is kept and gives the same rows; a transaction for each 100 trips, so it must not run inside a transaction block (2D000); returns how many trips it has packed, and how many with an original it has left as rows';

CREATE FUNCTION damoov_unpack(trip_id bigint) RETURNS bigint
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wanted bigint;
    made bigint;
BEGIN
    PERFORM damoov.lock_people(false);
    PERFORM damoov.lock_objects(ARRAY(SELECT t.track_token FROM damoov.trips AS t WHERE t.trip_id = damoov_unpack.trip_id));
    -- whoever deletes the trip takes along what he sees of it
    PERFORM FROM damoov.trips AS t WHERE t.trip_id = damoov_unpack.trip_id FOR UPDATE;
    -- by name: a user may have added columns
    EXECUTE (
        SELECT format('INSERT INTO damoov.trip_points (%1$s) SELECT %1$s FROM ('
            'SELECT p.* FROM damoov.trip_documents AS d CROSS JOIN LATERAL damoov.document_points(d.trip_id, d.document) AS p'
            ' WHERE d.trip_id = $1) AS r', string_agg(quote_ident(a.attname), ', '))
        FROM pg_attribute AS a
        WHERE a.attrelid = 'damoov.trip_point'::regclass AND a.attnum > 0)
    USING trip_id;
    GET DIAGNOSTICS made = ROW_COUNT;
    EXECUTE 'SELECT count(*) FROM damoov.trip_documents AS d CROSS JOIN LATERAL damoov.document_points(d.trip_id, d.document) WHERE d.trip_id = $1'
    INTO wanted USING trip_id;
    IF made <> wanted THEN
        RAISE EXCEPTION 'could not turn the document of trip % into rows: a trigger keeps % of % out', trip_id, wanted - made, wanted
            USING ERRCODE = 'triggered_data_change_violation';
    END IF;
    EXECUTE $sql$
        WITH gone AS (
            DELETE FROM damoov.trip_documents AS d WHERE d.trip_id = $1 RETURNING d.*
        ), kept AS (
            INSERT INTO damoov.documents (kind, object_id, user_id, fetched_at, document)
            SELECT 'processed', t.track_token, t.user_id, g.fetched_at, damoov.document_text(g.document)
            FROM gone AS g
            JOIN damoov.trips AS t USING (trip_id)
            WHERE current_setting('damoov.keep_documents') <> '0'
        )
        SELECT CASE WHEN count(*) > 0 THEN $2 END FROM gone$sql$
    INTO made USING trip_id, made;
    RETURN made;
END
$$;
COMMENT ON FUNCTION damoov_unpack(bigint) IS 'makes rows of the points of a trip that is in damoov.trip_documents, and puts the document back among the originals if such are kept; returns how many, NULL when the trip is not there; errors: 27000 a trigger keeps rows out, XX001 damaged document';
