CREATE FUNCTION damoov_forget(device_token text)
    RETURNS TABLE (table_name text, row_count bigint)
    LANGUAGE C VOLATILE ROWS 10 AS 'MODULE_PATHNAME', 'damoov_forget';
REVOKE ALL ON FUNCTION damoov_forget(text) FROM PUBLIC;
COMMENT ON FUNCTION damoov_forget(text) IS 'erases a person from every table, quarantined bodies that name them included, and drops what still arrives about them; returns what was erased; errors: 22023 bad token';

CREATE PROCEDURE damoov_purge(dry_run boolean DEFAULT true)
    LANGUAGE C AS 'MODULE_PATHNAME', 'damoov_purge';
REVOKE ALL ON PROCEDURE damoov_purge(boolean) FROM PUBLIC;
COMMENT ON PROCEDURE damoov_purge(boolean) IS 'removes what is older than the settings damoov.keep_* say, and folds the receipts of whole days; a transaction for each 1000 rows, so it must not run inside a transaction block (2D000); says what it does for each kind, and only that while dry_run';

