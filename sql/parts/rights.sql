-- ---------------------------------------------------------------------
-- Who may do what: at first nobody but the role of the background worker
-- ---------------------------------------------------------------------

-- Default privileges (ALTER DEFAULT PRIVILEGES) may have granted what was made
-- above.  What the extension makes is found in the catalog, so that nothing can
-- be left out.
DO $$
DECLARE
    item record;
BEGIN
    FOR item IN
        SELECT DISTINCT o.kind, i.identity, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::pg_catalog.regrole::text END AS grantee
        FROM pg_catalog.pg_extension AS e
        JOIN pg_catalog.pg_depend AS d
            ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid AND d.deptype = 'e'
        JOIN (
            SELECT 'pg_catalog.pg_namespace'::pg_catalog.regclass, n.oid, 'SCHEMA', n.nspowner, n.nspacl,
                pg_catalog.acldefault('n', n.nspowner)
            FROM pg_catalog.pg_namespace AS n
            UNION ALL
            SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, c.oid, CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
                c.relowner, c.relacl, pg_catalog.acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner)
            FROM pg_catalog.pg_class AS c
            WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
            UNION ALL
            SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, p.oid, 'ROUTINE', p.proowner, p.proacl,
                pg_catalog.acldefault('f', p.proowner)
            FROM pg_catalog.pg_proc AS p
            UNION ALL
            SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, t.oid, 'TYPE', t.typowner, t.typacl,
                pg_catalog.acldefault('T', t.typowner)
            FROM pg_catalog.pg_type AS t
            -- an array has the rights of its elements
            WHERE t.typelem = 0
            UNION ALL
            SELECT 'pg_catalog.pg_foreign_data_wrapper'::pg_catalog.regclass, w.oid, 'FOREIGN DATA WRAPPER', w.fdwowner, w.fdwacl,
                pg_catalog.acldefault('F', w.fdwowner)
            FROM pg_catalog.pg_foreign_data_wrapper AS w
        ) AS o (classid, objid, kind, owner, acl, usual_acl) USING (classid, objid)
        CROSS JOIN LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, 0) AS i
        CROSS JOIN LATERAL pg_catalog.aclexplode(coalesce(o.acl, o.usual_acl)) AS a
        WHERE e.extname = 'damoov' AND a.grantee <> o.owner
    LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON %s %s FROM %s CASCADE', item.kind, item.identity, item.grantee);
    END LOOP;
END
$$;

-- The background worker runs as a role that has these rights and no others,
-- unless damoov.role names another.  No client can log in as it.  Policies are for
-- those who read: a row that the worker stores must not depend on them.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolname = 'damoov_engine') THEN
        CREATE ROLE damoov_engine LOGIN CONNECTION LIMIT 0 BYPASSRLS;
        COMMENT ON ROLE damoov_engine IS 'background workers of the extension damoov';
    ELSIF NOT EXISTS (
        -- as it is made above; of another database, perhaps
        SELECT
        FROM pg_catalog.pg_roles AS r
        WHERE r.rolname = 'damoov_engine' AND r.rolcanlogin AND r.rolconnlimit = 0 AND r.rolbypassrls
            AND NOT (r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication))
    THEN
        RAISE EXCEPTION 'role "damoov_engine" exists and is not that of damoov''s workers'
            USING ERRCODE = 'duplicate_object',
                  HINT = 'Rename it: ALTER ROLE damoov_engine RENAME TO ...';
    END IF;
    IF NOT pg_catalog.has_database_privilege('damoov_engine', pg_catalog.current_database(), 'CONNECT') THEN
        EXECUTE pg_catalog.format('GRANT CONNECT ON DATABASE %I TO damoov_engine', pg_catalog.current_database());
    END IF;
END
$$;
GRANT USAGE ON SCHEMA damoov TO damoov_engine;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA damoov TO damoov_engine;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA damoov TO damoov_engine;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA damoov TO damoov_engine;
