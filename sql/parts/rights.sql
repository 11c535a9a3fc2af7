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
