-- ---------------------------------------------------------------------
-- Who may do what.  At first nobody but the role of the background worker, and
-- whoever watches the server
-- ---------------------------------------------------------------------

-- What the extension makes is found in the catalog, so that nothing can be left out.
CREATE VIEW damoov.members WITH (security_invoker) AS
WITH made AS (
    SELECT d.classid, d.objid
    FROM pg_catalog.pg_extension AS e
    JOIN pg_catalog.pg_depend AS d
        ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid AND d.deptype = 'e'
    WHERE e.extname = 'damoov'
)
SELECT
    o.classid::pg_catalog.regclass AS classid,
    o.objid,
    CASE
        WHEN o.kind = 'ROUTINE' AND o.schema = 'damoov'::pg_catalog.regnamespace THEN 'internal function'
        WHEN o.kind = 'ROUTINE' THEN 'function'
        WHEN o.kind = 'FOREIGN SERVER' THEN 'server'
        ELSE i.type
    END AS kind,
    o.name::text AS name,
    pg_catalog.concat(o.kind, ' ', i.identity) AS object,
    o.owner,
    coalesce(o.acl, o.usual_acl) AS acl
FROM (
    SELECT m.classid, m.objid, 'SCHEMA', n.oid, n.nspname, n.nspowner, n.nspacl, pg_catalog.acldefault('n', n.nspowner)
    FROM made AS m JOIN pg_catalog.pg_namespace AS n ON n.oid = m.objid
    WHERE m.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
    UNION ALL
    SELECT m.classid, m.objid, CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.relnamespace, c.relname, c.relowner, c.relacl,
        pg_catalog.acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner)
    FROM made AS m JOIN pg_catalog.pg_class AS c ON c.oid = m.objid
    WHERE m.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL
    SELECT m.classid, m.objid, 'ROUTINE', p.pronamespace, p.proname, p.proowner, p.proacl, pg_catalog.acldefault('f', p.proowner)
    FROM made AS m JOIN pg_catalog.pg_proc AS p ON p.oid = m.objid
    WHERE m.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
    UNION ALL
    -- an array has the rights of its elements
    SELECT m.classid, m.objid, 'TYPE', t.typnamespace, t.typname, t.typowner, t.typacl, pg_catalog.acldefault('T', t.typowner)
    FROM made AS m JOIN pg_catalog.pg_type AS t ON t.oid = m.objid AND t.typelem = 0
    WHERE m.classid = 'pg_catalog.pg_type'::pg_catalog.regclass
        -- since 17 the rows of tables are members, too; pg_dump knows no rights of theirs
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_class AS r WHERE r.oid = t.typrelid AND r.relkind <> 'c')
    UNION ALL
    SELECT m.classid, m.objid, 'FOREIGN DATA WRAPPER', NULL, w.fdwname, w.fdwowner, w.fdwacl, pg_catalog.acldefault('F', w.fdwowner)
    FROM made AS m JOIN pg_catalog.pg_foreign_data_wrapper AS w ON w.oid = m.objid
    WHERE m.classid = 'pg_catalog.pg_foreign_data_wrapper'::pg_catalog.regclass
    UNION ALL
    SELECT 'pg_catalog.pg_foreign_server'::pg_catalog.regclass, s.oid, 'FOREIGN SERVER', NULL, s.srvname, s.srvowner, s.srvacl,
        pg_catalog.acldefault('S', s.srvowner)
    FROM pg_catalog.pg_foreign_server AS s JOIN pg_catalog.pg_foreign_data_wrapper AS w ON w.oid = s.srvfdw
    WHERE w.fdwname = 'damoov'
) AS o (classid, objid, kind, schema, name, owner, acl, usual_acl)
CROSS JOIN LATERAL pg_catalog.pg_identify_object(o.classid, o.objid, 0) AS i;
COMMENT ON VIEW damoov.members IS 'what the extension has made, and the servers of its wrapper, with their owners and access lists';
COMMENT ON COLUMN damoov.members.classid IS 'system catalog of the object';
COMMENT ON COLUMN damoov.members.objid IS 'OID of the object';
COMMENT ON COLUMN damoov.members.kind IS 'schema, table, view, sequence, function, internal function, type, foreign-data wrapper or server';
COMMENT ON COLUMN damoov.members.name IS 'name, without its schema';
COMMENT ON COLUMN damoov.members.object IS 'the object as GRANT names it';
COMMENT ON COLUMN damoov.members.owner IS 'OID of its owner';
COMMENT ON COLUMN damoov.members.acl IS 'who may do what with it';

-- The one table of rights.  Each kind of role may also do what the kinds before
-- it may: a right is named where it comes first.  A view shows what its reader
-- may read, so that a new one is for every reader; a new table is not, until it
-- is named here.  Nobody but its owner has what is not named.
CREATE VIEW damoov.rights WITH (security_invoker) AS
WITH level (rank, what) AS (VALUES
    (1, 'monitor'), (2, 'reader'), (3, 'worker'), (4, 'operator')
), decision (rank, kind, names, privileges, columns) AS (VALUES
    -- how sources and downloads are, and who has rights; nothing about persons
    (1, 'schema', NULL::text[], '{USAGE}'::text[], NULL::text[]),
    (1, 'view', '{activity, at_risk, grants, ledger, members, partitions, rights, servers, stat_downloads, stat_progress_purge,
        stat_progress_reparse, stat_sources, status}', '{SELECT}', NULL),
    (1, 'table', '{receipts, sources}', '{SELECT}', NULL),
    (1, 'table', '{downloads}', '{SELECT}', '{kind, source, state, wanted_at, queued_at, last_error, last_error_at}'),
    (1, 'table', '{quarantine}', '{SELECT}', '{quarantine_id, source, received_at}'),
    (1, 'internal function', '{activities, download_statistics, kept_elsewhere, home, place, progress, rights_of, source_statistics, was_standby, worker_pid,
        worker_pids, worker_problem}', '{EXECUTE}', NULL),
    -- everything but device tokens and other credentials
    (2, 'view', NULL, '{SELECT}', NULL),
    (2, 'table', '{backfills, crash_buffers, crashes, differences, forgotten, heartbeats, raw_events, raw_points, raw_tracks, redeliveries, removed_tracks,
        places, trip_documents, trip_events, trip_points, trips}', '{SELECT}', NULL),
    (2, 'table', '{downloads}', '{SELECT}',
        '{object_id, user_id, host, priority, attempts, due_at, last_status}'),
    (2, 'table', '{events}', '{SELECT}', '{event_id, user_id, received_at}'),
    (2, 'table', '{users}', '{SELECT}', '{user_id, client_id, client_id_at, instance_id, instance_id_at, first_seen_at}'),
    (2, 'table', '{quarantine}', '{SELECT}', '{kind, object_id, reason, sqlstate, message, attempts}'),
    (2, 'function', '{damoov_crash_svg, damoov_fleet_html, damoov_points, damoov_polyline, damoov_speed_svg, damoov_tile,
        damoov_trip_geojson, damoov_trip_gpx, damoov_trip_html, damoov_trip_svg, damoov_trip_wkb, damoov_trips_geojson}', '{EXECUTE}', NULL),
    (2, 'internal function', '{document_points, event_drift, extra_columns, extra_drift, extra_members, hidden_event_drift,
        area_rings, geojson_position, gis_schema, line_geometry, little_endian, metres_between, thinned_vertices, touches,
        trip_properties, trip_vertices, unknown_members}', '{EXECUTE}', NULL),
    -- what pictures and pages are made of
    (2, 'internal function', '{chart_grid, chart_line, crash_table, distance_text, draw_way, driver_text, event_mark, event_name,
        event_text, legend, markup, number_text, page, page_figure, page_row, page_section, page_table, picture, picture_style, pixels,
        round_below, scale_bar, simplify, speed_class, speed_text, time_text, turn, usable, verdict_text}', '{EXECUTE}', NULL),
    -- stores, for all servers
    (3, 'table', NULL, '{SELECT, INSERT, UPDATE, DELETE}', NULL),
    (3, 'sequence', NULL, '{USAGE}', NULL),
    (3, 'internal function', NULL, '{EXECUTE}', NULL),
    (3, 'server', NULL, '{USAGE}', NULL),
    -- looks after all that, but neither erases a person nor gives rights
    (4, 'function', '{damoov_backfill, damoov_backfill_cancel, damoov_backfill_pause, damoov_backfill_resume, damoov_check, damoov_fetch_track, damoov_ingest, damoov_pack, damoov_pause, damoov_poll, damoov_purge,
        damoov_reconcile, damoov_reparse, damoov_resume, damoov_retry, damoov_retry_all, damoov_retry_downloads, damoov_stat_reset,
        damoov_unpack}', '{EXECUTE}', NULL)
), member AS (
    SELECT m.*
    FROM damoov.members AS m
    LEFT JOIN pg_catalog.pg_class AS c ON m.kind = 'table' AND c.oid = m.objid
    -- the rights on a partitioned table are enough
    WHERE c.relispartition IS NOT TRUE
), allowed AS (
    SELECT l.what, l.rank, m.classid, m.objid, p.privilege, c.column_name, min(d.rank) = l.rank AS is_first
    FROM decision AS d
    JOIN level AS l ON l.rank >= d.rank
    JOIN member AS m ON m.kind = d.kind AND (d.names IS NULL OR m.name = ANY (d.names))
    CROSS JOIN LATERAL pg_catalog.unnest(d.privileges) AS p (privilege)
    CROSS JOIN LATERAL pg_catalog.unnest(coalesce(d.columns, '{NULL}')) AS c (column_name)
    GROUP BY l.what, l.rank, m.classid, m.objid, p.privilege, c.column_name
)
SELECT a.what, a.rank, m.object, a.privilege, a.column_name, a.is_first, m.classid, m.objid, m.owner, m.acl, c.attacl AS column_acl
FROM (
    SELECT n.*, bool_or(n.column_name IS NULL) OVER (PARTITION BY n.what, n.classid, n.objid, n.privilege) AS is_whole
    FROM allowed AS n
) AS a
JOIN member AS m USING (classid, objid)
LEFT JOIN pg_catalog.pg_attribute AS c ON c.attrelid = a.objid AND c.attname = a.column_name
WHERE a.column_name IS NULL OR NOT a.is_whole;
COMMENT ON VIEW damoov.rights IS 'what each kind of role may do, right by right: what damoov_grant() grants';
COMMENT ON COLUMN damoov.rights.what IS 'kind of role: monitor, reader, worker or operator';
COMMENT ON COLUMN damoov.rights.rank IS 'place of the kind: each has all rights of those before it';
COMMENT ON COLUMN damoov.rights.object IS 'the object, as GRANT names it';
COMMENT ON COLUMN damoov.rights.privilege IS 'the right';
COMMENT ON COLUMN damoov.rights.column_name IS 'column that it is for, NULL for the whole object';
COMMENT ON COLUMN damoov.rights.is_first IS 'whether no kind before it has this right';
COMMENT ON COLUMN damoov.rights.classid IS 'system catalog of the object';
COMMENT ON COLUMN damoov.rights.objid IS 'OID of the object';
COMMENT ON COLUMN damoov.rights.owner IS 'OID of its owner';
COMMENT ON COLUMN damoov.rights.acl IS 'access list of the object';
COMMENT ON COLUMN damoov.rights.column_acl IS 'access list of the column';

-- Granted by the owner: only that does a GRANT of his add, and a REVOKE take away.
CREATE FUNCTION damoov.rights_of(role oid)
    RETURNS TABLE (what text, rank integer, object text, privilege text, column_name text, is_first boolean, owner oid, is_held boolean)
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT r.what, r.rank, r.object, r.privilege, r.column_name, r.is_first, r.owner,
        coalesce(r.acl @> i.item, false) OR coalesce(r.column_acl @> i.item, false)
            -- this one may use all servers
            OR (r.classid = 'pg_foreign_server'::regclass AND EXISTS (
                SELECT FROM pg_roles AS e WHERE e.oid = rights_of.role AND e.rolname = 'damoov_engine'))
    FROM damoov.rights AS r
    CROSS JOIN LATERAL makeaclitem(rights_of.role, r.owner, r.privilege, false) AS i (item)
$$;
COMMENT ON FUNCTION damoov.rights_of(oid) IS 'damoov.rights, and which of them the owners have granted to this role itself; 0 is PUBLIC';

CREATE VIEW damoov.grants WITH (security_invoker) AS
SELECT DISTINCT ON (n.role, n.grantee) n.role, n.what, n.granted, n.missing
FROM (
    SELECT
        g.grantee,
        CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.pg_get_userbyid(g.grantee)::text END AS role,
        r.what,
        r.rank,
        count(*) FILTER (WHERE r.is_held) AS granted,
        pg_catalog.array_agg(pg_catalog.concat(r.privilege, ' (' || pg_catalog.quote_ident(r.column_name) || ')', ' ON ', r.object)
            ORDER BY r.object, r.privilege, r.column_name) FILTER (WHERE NOT r.is_held) AS missing
    FROM (
        SELECT a.grantee FROM damoov.members AS m CROSS JOIN LATERAL pg_catalog.aclexplode(m.acl) AS a WHERE a.grantee <> m.owner
        UNION
        SELECT a.grantee
        FROM damoov.members AS m
        JOIN pg_catalog.pg_attribute AS c ON c.attrelid = m.objid AND m.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
        CROSS JOIN LATERAL pg_catalog.aclexplode(c.attacl) AS a
        WHERE a.grantee <> m.owner
    ) AS g
    CROSS JOIN LATERAL damoov.rights_of(g.grantee) AS r
    GROUP BY g.grantee, r.what, r.rank
    HAVING bool_or(r.is_held AND r.is_first)
) AS n
ORDER BY n.role, n.grantee, n.rank DESC;
COMMENT ON VIEW damoov.grants IS 'roles that have rights on what the extension has made, by whatever means they were granted; not by membership in other roles';
COMMENT ON COLUMN damoov.grants.role IS 'the role';
COMMENT ON COLUMN damoov.grants.what IS 'kind of role: the first one that may do all that this role may';
COMMENT ON COLUMN damoov.grants.granted IS 'how many of the rights of that kind it has';
COMMENT ON COLUMN damoov.grants.missing IS 'which it has not: damoov_grant() grants them; NULL when it has all';

-- As the caller, and so by the right to grant that he has: as owner, or as one
-- who has all rights of the owner.  A lesser one would be told of what he cannot
-- grant by warnings only.
CREATE FUNCTION damoov.change_rights(role regrole, what text, granting boolean) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    grantee CONSTANT name := (SELECT r.rolname FROM pg_roles AS r WHERE r.oid = role);
    item record;
    changed bigint := 0;
BEGIN
    IF role IS NULL OR what IS NULL THEN
        RAISE EXCEPTION 'role and kind of role must not be null' USING ERRCODE = 'null_value_not_allowed';
    ELSIF grantee IS NULL THEN
        RAISE EXCEPTION 'role with OID % does not exist', role::oid USING ERRCODE = 'undefined_object';
    ELSIF NOT EXISTS (SELECT FROM damoov.rights AS r WHERE r.what = change_rights.what) THEN
        RAISE EXCEPTION 'there is no kind of role "%"', what
            USING ERRCODE = 'invalid_parameter_value', HINT = 'The kinds are monitor, reader, worker and operator.';
    END IF;
    -- two at once would update the same access lists
    PERFORM pg_advisory_xact_lock(1684106095, 257);
    FOR item IN
        SELECT r.object, r.owner, count(*) AS number, CASE
            WHEN granting THEN string_agg(concat(r.privilege, ' (' || quote_ident(r.column_name) || ')'), ', ')
            -- of the whole, and with it of each column
            ELSE string_agg(DISTINCT r.privilege, ', ')
        END AS privileges
        FROM damoov.rights_of(role) AS r
        -- an owner has all rights
        WHERE r.what = change_rights.what AND r.is_held <> granting AND r.owner <> role
        GROUP BY r.object, r.owner
        ORDER BY r.object COLLATE "C"
    LOOP
        IF NOT pg_has_role(item.owner, 'USAGE') THEN
            RAISE EXCEPTION 'must be owner of %', item.object USING ERRCODE = 'insufficient_privilege';
        END IF;
        EXECUTE format(CASE WHEN granting THEN 'GRANT %s ON %s TO %I' ELSE 'REVOKE %s ON %s FROM %I' END, item.privileges, item.object, grantee);
        changed := changed + item.number;
    END LOOP;
    RETURN changed;
END
$$;
COMMENT ON FUNCTION damoov.change_rights(regrole, text, boolean) IS 'what damoov_grant() and damoov_revoke() do';

CREATE FUNCTION damoov_grant(role regrole, what text) RETURNS bigint
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    -- an older snapshot shows what was granted then
    SELECT damoov.need_read_committed();
    SELECT damoov.change_rights(role, what, true)
$$;
COMMENT ON FUNCTION damoov_grant(regrole, text) IS 'gives a role the rights of a monitor, reader, worker or operator that it does not have yet; returns how many; to be called again when an upgrade or a new server has brought further ones; errors: 22004 nothing given, 22023 no such kind, 25000 isolation level, 42704 no such role, 42501 the caller does not own what is granted';

CREATE FUNCTION damoov_revoke(role regrole, what text) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    revoked bigint;
    others text;
BEGIN
    PERFORM damoov.need_read_committed();
    revoked := damoov.change_rights(role, what, false);
    SELECT string_agg(DISTINCT format('"%s"', pg_get_userbyid(a.grantor)), ', ') INTO others
    FROM damoov.rights AS r
    CROSS JOIN LATERAL (SELECT * FROM aclexplode(r.acl) UNION ALL SELECT * FROM aclexplode(r.column_acl)) AS a
    WHERE r.what = damoov_revoke.what AND a.grantee = role AND a.privilege_type = r.privilege AND a.grantor <> r.owner;
    IF others IS NOT NULL THEN
        RAISE WARNING 'role "%" still has rights that were granted by %', pg_get_userbyid(role), others
            USING HINT = 'Whoever has granted a right can revoke it.';
    END IF;
    RETURN revoked;
END
$$;
COMMENT ON FUNCTION damoov_revoke(regrole, text) IS 'takes the rights of a monitor, reader, worker or operator from a role, also those that its owner granted by hand and that other kinds have as well; returns how many; errors as damoov_grant(), 2BP01 the role has granted them to others';

-- Default privileges (ALTER DEFAULT PRIVILEGES) may have granted what was made above.
DO $$
DECLARE
    item record;
BEGIN
    FOR item IN
        SELECT DISTINCT m.object, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::pg_catalog.regrole::text END AS grantee
        FROM damoov.members AS m
        CROSS JOIN LATERAL pg_catalog.aclexplode(m.acl) AS a
        WHERE m.kind <> 'server' AND a.grantee <> m.owner
    LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON %s FROM %s CASCADE', item.object, item.grantee);
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
SELECT damoov.change_rights('damoov_engine', 'worker', true);
SELECT damoov.change_rights('pg_monitor', 'monitor', true);
