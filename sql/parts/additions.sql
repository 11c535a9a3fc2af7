-- ---------------------------------------------------------------------
-- What others have added to the tables of the extension
-- ---------------------------------------------------------------------

-- pg_dump leaves the tables of an extension to CREATE EXTENSION, with all that
-- hangs on them.  Partitions that were made later are dumped as tables.
CREATE FUNCTION damoov.table_parts() RETURNS TABLE (table_name text, kind text, name text, statement text)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH relation AS (
        SELECT c.oid, c.relname::text AS name
        FROM pg_extension AS e
        JOIN pg_depend AS d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
        JOIN pg_class AS c ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
        WHERE e.extname = 'damoov' AND c.relkind IN ('r', 'p')
    )
    -- of a partition only what it has by itself
    SELECT r.name, 'column', a.attname::text, format('ALTER TABLE damoov.%I ADD %I %s', r.name, a.attname, format_type(a.atttypid, a.atttypmod))
    FROM relation AS r
    JOIN pg_attribute AS a ON a.attrelid = r.oid
    WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attinhcount = 0
    UNION ALL
    -- a constraint of another kind is an index, or the server's own
    SELECT r.name, 'constraint', k.conname, format('ALTER TABLE damoov.%I ADD CONSTRAINT %I %s', r.name, k.conname, pg_get_constraintdef(k.oid))
    FROM relation AS r
    JOIN pg_constraint AS k ON k.conrelid = r.oid
    WHERE k.contype IN ('c', 'f') AND k.conparentid = 0 AND k.coninhcount = 0
    UNION ALL
    SELECT r.name, CASE i.relkind WHEN 'I' THEN 'partitioned index' ELSE 'index' END, i.relname, coalesce(
        (SELECT format('ALTER TABLE damoov.%I ADD CONSTRAINT %I %s', r.name, k.conname, pg_get_constraintdef(k.oid))
            FROM pg_constraint AS k WHERE k.conindid = i.oid AND k.conrelid = r.oid AND k.contype IN ('p', 'u', 'x')),
        pg_get_indexdef(i.oid))
    FROM relation AS r
    JOIN pg_index AS x ON x.indrelid = r.oid
    JOIN pg_class AS i ON i.oid = x.indexrelid
    WHERE NOT i.relispartition
    UNION ALL
    SELECT r.name, 'trigger', t.tgname, pg_get_triggerdef(t.oid)
    FROM relation AS r
    JOIN pg_trigger AS t ON t.tgrelid = r.oid
    WHERE NOT t.tgisinternal AND t.tgparentid = 0
    UNION ALL
    SELECT r.name, 'rule', w.rulename, pg_get_ruledef(w.oid)
    FROM relation AS r
    JOIN pg_rewrite AS w ON w.ev_class = r.oid
    UNION ALL
    SELECT r.name, 'policy', p.polname, concat_ws(' ', format('CREATE POLICY %I ON damoov.%I AS %s FOR %s TO', p.polname, r.name,
            CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
            CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END),
        (SELECT string_agg(CASE o.role WHEN 0 THEN 'PUBLIC' ELSE o.role::regrole::text END, ', ') FROM unnest(p.polroles) AS o (role)),
        'USING (' || pg_get_expr(p.polqual, r.oid) || ')', 'WITH CHECK (' || pg_get_expr(p.polwithcheck, r.oid) || ')')
    FROM relation AS r
    JOIN pg_policy AS p ON p.polrelid = r.oid
    UNION ALL
    SELECT r.name, 'row security', s.action, format('ALTER TABLE damoov.%I %s ROW LEVEL SECURITY', r.name, s.action)
    FROM relation AS r
    JOIN pg_class AS c ON c.oid = r.oid
    CROSS JOIN LATERAL (VALUES ('ENABLE', c.relrowsecurity), ('FORCE', c.relforcerowsecurity)) AS s (action, holds)
    WHERE s.holds
$$;
COMMENT ON FUNCTION damoov.table_parts() IS 'columns, constraints, indexes, triggers, rules, policies and row security of the tables of the extension, with the statement that makes each';

-- Looked up here and now, when nobody else has been at the tables.
DO $$
BEGIN
    EXECUTE pg_catalog.format('CREATE FUNCTION damoov.made_parts() RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN %L::pg_catalog.text[]',
        (SELECT pg_catalog.array_agg(pg_catalog.concat_ws(' ', p.kind, p.table_name, p.name) ORDER BY p.table_name COLLATE "C", p.kind, p.name COLLATE "C") FROM damoov.table_parts() AS p));
END
$$;
COMMENT ON FUNCTION damoov.made_parts() IS 'those of damoov.table_parts() that the extension has made, as "kind table name"';

CREATE FUNCTION damoov.check_additions()
    RETURNS TABLE (level text, topic text, finding text, remedy text)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT f.level, 'dump', format(f.finding, p.kind, p.name, p.table_name), f.remedy
    FROM damoov.table_parts() AS p
    CROSS JOIN LATERAL (VALUES
        ('error', p.kind = 'column', 'a dump cannot be restored as it is: it has rows with the %s "%s" of damoov.%I, but does not make it',
            'Move it to a table of your own; to restore a dump that has it, after CREATE EXTENSION and before the rows: ' || p.statement),
        ('error', p.kind = 'partitioned index', 'a dump cannot be restored as it is: it has parts of the %s "%s" of damoov.%I, but does not make it',
            'Drop it, and make it on each partition instead, also on the default one, as which others are made.'),
        ('error', p.kind = 'row security', 'a restored dump shows more rows to who may read them: it does not keep the %s "%s" of damoov.%I',
            'Keep it in a file with your policies, to be run after a restore: ' || p.statement),
        ('warning', p.kind NOT IN ('column', 'partitioned index', 'row security'), 'a dump does not keep the %s "%s" of damoov.%I', CASE
            WHEN p.name IN ('trips_gis_idx', 'crashes_gis_idx', 'crashes_gis_geography_idx') THEN 'After a restore: SELECT @extschema@.damoov_enable_postgis()'
            ELSE 'Keep what you add in a file, to be run after a restore: ' || p.statement
        END)
    ) AS f (level, holds, finding, remedy)
    WHERE f.holds AND concat_ws(' ', p.kind, p.table_name, p.name) <> ALL (damoov.made_parts())
    ORDER BY f.level, p.table_name, p.kind, p.name
$$;
COMMENT ON FUNCTION damoov.check_additions() IS 'the part of damoov_check() about what others have added to the tables, which a dump does not keep';
