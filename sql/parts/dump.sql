-- ---------------------------------------------------------------------
-- Everything here is the user's data: a dump keeps it
-- ---------------------------------------------------------------------

DO $$
DECLARE
    relation regclass;
BEGIN
    FOR relation IN
        SELECT c.oid
        FROM pg_catalog.pg_class AS c
        WHERE c.relnamespace = 'damoov'::pg_catalog.regnamespace AND c.relkind IN ('r', 'p', 'S')
    LOOP
        PERFORM pg_catalog.pg_extension_config_dump(relation, '');
    END LOOP;
END
$$;
