-- ---------------------------------------------------------------------
-- Originals of the stored datasets
-- ---------------------------------------------------------------------

-- The texts are compressed by TOAST, with LZ4 where the server has it: the
-- default method would take a quarter of the time of storing a trip.
CREATE TABLE damoov.documents (
    kind text NOT NULL,
    object_id uuid NOT NULL,
    user_id bigint NOT NULL CONSTRAINT documents_user_id_fkey REFERENCES damoov.users,
    fetched_at timestamptz NOT NULL DEFAULT now(),
    document text NOT NULL,
    CONSTRAINT documents_pkey PRIMARY KEY (kind, object_id)
);
DO $$
BEGIN
    ALTER TABLE damoov.documents ALTER document SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
    NULL;    -- built without it
END
$$;
CREATE INDEX documents_user_id_idx ON damoov.documents (user_id);
COMMENT ON TABLE damoov.documents IS 'originals of the stored datasets, the newest of each, as long as damoov.keep_documents says; may hold a device token';
COMMENT ON COLUMN damoov.documents.kind IS 'kind of the dataset, as in damoov.downloads';
COMMENT ON COLUMN damoov.documents.object_id IS 'the object, as in damoov.downloads';
COMMENT ON COLUMN damoov.documents.user_id IS 'person';
COMMENT ON COLUMN damoov.documents.fetched_at IS 'when it came, database clock';
COMMENT ON COLUMN damoov.documents.document IS 'JSON text as received, decompressed';

CREATE FUNCTION damoov.delete_documents() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    objects uuid[];
BEGIN
    -- not a join, as in damoov.delete_parts()
    EXECUTE format('SELECT array_agg(g.%I) FROM gone AS g', TG_ARGV[0]) INTO objects;
    EXECUTE 'DELETE FROM damoov.documents AS d WHERE d.kind = ANY ($1) AND d.object_id = ANY ($2)' USING TG_ARGV[1:], objects;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION damoov.delete_documents() IS 'trigger: deletes the originals with their row; arguments: column of the object''s id, kinds of datasets';

CREATE TRIGGER trips_documents
    AFTER DELETE ON damoov.trips
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT
    EXECUTE FUNCTION damoov.delete_documents('track_token', 'processed');
COMMENT ON TRIGGER trips_documents ON damoov.trips IS 'deletes the original with its trip';

CREATE TRIGGER raw_tracks_documents
    AFTER DELETE ON damoov.raw_tracks
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT
    EXECUTE FUNCTION damoov.delete_documents('track_token', 'raw');
COMMENT ON TRIGGER raw_tracks_documents ON damoov.raw_tracks IS 'deletes the original with its raw track';

CREATE TRIGGER crashes_documents
    AFTER DELETE ON damoov.crashes
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT
    EXECUTE FUNCTION damoov.delete_documents('crash_token', 'crash', 'crash_buffer');
COMMENT ON TRIGGER crashes_documents ON damoov.crashes IS 'deletes the originals with their crash';
