-- ---------------------------------------------------------------------
-- Plans: what looks rows up is sure to use an index, also by a plan that was
-- made when the table was empty.  These functions only read, so that nobody's
-- trigger is planned under these settings.  What is asked for each object is
-- written in PL/pgSQL, which keeps plans: a function in SQL plans anew in each
-- statement that calls it.
-- ---------------------------------------------------------------------

DO $$
DECLARE
    function pg_catalog.regprocedure;
BEGIN
    FOREACH function IN ARRAY ARRAY[
        'damoov.crash_stages(uuid[])',
        'damoov.enriched_at(uuid, bigint)',
        'damoov.foreign_removals(integer[], uuid[], uuid[], text)',
        'damoov.is_forgotten(uuid)',
        'damoov.names_forgotten(bytea)',
        'damoov.newest_objects(uuid[])',
        'damoov.other_tenant(text, uuid, bigint)',
        'damoov.person_of_object(text, uuid)',
        'damoov.recording_lives(uuid, bigint)',
        'damoov.track_lives(uuid, bigint, timestamptz)'
    ] LOOP
        EXECUTE pg_catalog.format('ALTER FUNCTION %s SET enable_seqscan = off', function);
        EXECUTE pg_catalog.format('ALTER FUNCTION %s SET enable_hashjoin = off', function);
        EXECUTE pg_catalog.format('ALTER FUNCTION %s SET enable_mergejoin = off', function);
    END LOOP;
END
$$;
