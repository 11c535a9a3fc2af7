\echo Use "CREATE EXTENSION damoov" to load this file. \quit

-- ---------------------------------------------------------------------
-- The schema
-- ---------------------------------------------------------------------

DO $$
BEGIN
    IF pg_catalog.getdatabaseencoding() <> 'UTF8' THEN
        RAISE EXCEPTION 'damoov requires a database with encoding UTF8'
            USING ERRCODE = 'feature_not_supported',
                  HINT = 'Create the database with ENCODING ''UTF8'' TEMPLATE template0.';
    END IF;
END
$$;

CREATE SCHEMA damoov;
COMMENT ON SCHEMA damoov IS 'telematics received from Damoov: tables, views and internal functions';
