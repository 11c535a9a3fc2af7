-- ---------------------------------------------------------------------
-- Retention
-- ---------------------------------------------------------------------

CREATE PROCEDURE damoov_purge(dry_run boolean DEFAULT true)
    LANGUAGE C AS 'MODULE_PATHNAME', 'damoov_purge';
REVOKE ALL ON PROCEDURE damoov_purge(boolean) FROM PUBLIC;
COMMENT ON PROCEDURE damoov_purge(boolean) IS 'removes what is older than the settings damoov.keep_* say, and folds the receipts of whole days; a transaction for each 1000 rows, so it must not run inside a transaction block (2D000); says what it does for each kind, and only that while dry_run';
