-- ---------------------------------------------------------------------
-- What is in the way, and the statement that mends it
-- ---------------------------------------------------------------------

CREATE FUNCTION damoov.check_services(source text)
RETURNS TABLE (server text, level text, topic text, finding text, remedy text)
AS 'MODULE_PATHNAME', 'damoov_check_services' LANGUAGE C;
COMMENT ON FUNCTION damoov.check_services(text) IS 'the part of damoov_check() that asks services and reads files';

CREATE FUNCTION damoov.takes_option(catalog regclass, option text) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM damoov.check_options(ARRAY[option || '='], catalog);
    RETURN true;
EXCEPTION
    WHEN fdw_invalid_option_name THEN RETURN false;
    WHEN OTHERS THEN RETURN true;
END
$$;
COMMENT ON FUNCTION damoov.takes_option(regclass, text) IS 'does a server (pg_foreign_server) or a user mapping (pg_user_mapping) take this option?';

-- Of several user mappings that of the caller counts, then the owner's, then PUBLIC's.
CREATE FUNCTION damoov.mapping_remedy(server_oid oid, wanted text[], renew boolean) RETURNS text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('Fill in, and run: %s USER MAPPING FOR %s SERVER %I OPTIONS (%s)',
        CASE WHEN m.srvid IS NULL THEN 'CREATE' ELSE 'ALTER' END,
        CASE WHEN m.srvid IS NULL OR m.usename = current_user THEN 'CURRENT_USER' WHEN m.umuser = 0 THEN 'PUBLIC' ELSE quote_ident(m.usename) END,
        s.srvname, o.list)
    FROM pg_foreign_server AS s
    LEFT JOIN LATERAL (
        SELECT u.* FROM pg_user_mappings AS u
        WHERE u.srvid = s.oid AND (u.umuser IN (s.srvowner, 0) OR u.usename = current_user)
        ORDER BY u.usename = current_user DESC, u.umuser DESC LIMIT 1
    ) AS m ON true
    CROSS JOIN LATERAL (
        SELECT string_agg(format('%s%I ''...''', CASE WHEN m.srvid IS NULL THEN '' WHEN h.name IS NULL THEN 'ADD ' ELSE 'SET ' END, w.name), ', ' ORDER BY w.i)
        FROM unnest(CASE WHEN renew THEN ARRAY(SELECT split_part(x, '=', 1) FROM unnest(m.umoptions) AS x) ELSE wanted END) WITH ORDINALITY AS w (name, i)
        LEFT JOIN LATERAL (SELECT split_part(x, '=', 1) AS name FROM unnest(m.umoptions) AS x) AS h USING (name)
        WHERE w.name <> 'secret_file' AND (h.name IS NULL OR renew OR cardinality(wanted) = 1)
    ) AS o (list)
    WHERE s.oid = mapping_remedy.server_oid AND o.list IS NOT NULL
$$;
COMMENT ON FUNCTION damoov.mapping_remedy(oid, text[], boolean) IS 'the statement that gives a server''s user mapping these secrets, or, renew, all that it has';

-- What a finding names in quotes, and whether it is there already, decides.
CREATE FUNCTION damoov.source_remedy(source text, topic text, finding text) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    server pg_foreign_server := (SELECT s FROM pg_foreign_server AS s WHERE s.srvname = source_remedy.source);
    named text[] := ARRAY(SELECT m[1] FROM regexp_matches(finding, '"([a-z0-9_]+)"', 'g') AS m);
    secrets text[] := ARRAY(SELECT n FROM unnest(named) AS n WHERE damoov.takes_option('pg_user_mapping', n));
    option text := (SELECT n FROM unnest(named) AS n WHERE damoov.takes_option('pg_foreign_server', n) LIMIT 1);
BEGIN
    IF finding LIKE 'permission denied for foreign server%' THEN
        RETURN format('GRANT USAGE ON FOREIGN SERVER %I TO %I', source, current_user);
    ELSIF finding LIKE '%"damoov.allow_host_identity"%' THEN
        RETURN 'ALTER SYSTEM SET damoov.allow_host_identity = on; SELECT pg_reload_conf()';
    ELSIF topic = 'credentials' THEN
        RETURN coalesce(damoov.mapping_remedy(server.oid, secrets, true),
            'Renew the secrets where the source has them from, or let the service give them the right to receive.');
    ELSIF finding LIKE 'user mapping has both "connection_string"%' THEN
        RETURN regexp_replace(damoov.mapping_remedy(server.oid, ARRAY['connection_string'], false), '^.*(ALTER .*) OPTIONS.*', E'\\1 OPTIONS (DROP connection_string)');
    ELSIF finding LIKE 'option "endpoint" and the connection string%' THEN
        RETURN format('ALTER SERVER %I OPTIONS (DROP endpoint)', source);
    ELSIF finding LIKE 'server type %' THEN
        RETURN format('Create the server again, with a TYPE that is in the manual, after: DROP SERVER %I CASCADE', source);
    ELSIF option IS NOT NULL AND cardinality(secrets) = 0 OR finding LIKE 'option "%' AND option = named[1] THEN
        RETURN format('Fill in, and run: ALTER SERVER %I OPTIONS (%s %I ''...'')', source,
            CASE WHEN EXISTS (SELECT FROM unnest(server.srvoptions) AS x WHERE split_part(x, '=', 1) = option) THEN 'SET' ELSE 'ADD' END, option);
    ELSIF cardinality(secrets) > 0 THEN
        -- of alternatives the first
        RETURN damoov.mapping_remedy(server.oid, CASE WHEN finding LIKE '%neither%' THEN secrets[1:1] ELSE secrets END, false);
    ELSIF finding LIKE '%connection string%' THEN
        RETURN damoov.mapping_remedy(server.oid, ARRAY['connection_string'], false);
    END IF;
    RETURN format('Compare the options of server %I with those of the service.', source);
END
$$;
COMMENT ON FUNCTION damoov.source_remedy(text, text, text) IS 'what mends a finding about options or credentials of a source: a statement, with places to be filled in where only the user knows';

CREATE FUNCTION damoov.worker_databases() RETURNS SETOF text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(replace(m[1], '""', '"'), lower(m[2]))
    FROM regexp_matches(current_setting('damoov.databases'), '"((?:[^"]|"")*)"|([^,[:space:]]+)', 'g') AS m
$$;
COMMENT ON FUNCTION damoov.worker_databases() IS 'the databases in damoov.databases';

CREATE FUNCTION damoov.check_worker()
    RETURNS TABLE (level text, topic text, finding text, remedy text)
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    problem text := damoov.worker_problem();
    -- of one while others run
    why text := regexp_replace(problem, '^worker [0-9]+ of [0-9]+ does not run: ', '');
    role text := coalesce(nullif(current_setting('damoov.role'), ''), (SELECT r.rolname FROM pg_roles AS r WHERE r.rolname = 'damoov_engine'));
    worker pg_roles := (SELECT r FROM pg_roles AS r WHERE r.rolname = role);
    more_slots text := format('ALTER SYSTEM SET max_worker_processes = %s -- and restart the server', current_setting('max_worker_processes')::integer + 8);
BEGIN
    topic := 'worker';
    IF role IS NOT NULL AND worker.oid IS NULL THEN
        level := 'error'; finding := format('role "%s" of "damoov.role" does not exist', role); remedy := format('CREATE ROLE %I LOGIN', role);
        RETURN NEXT;
    ELSIF NOT worker.rolcanlogin THEN
        level := 'error'; finding := format('role "%s" of "damoov.role" is not permitted to log in', role); remedy := format('ALTER ROLE %I LOGIN', role);
        RETURN NEXT;
    ELSIF NOT has_database_privilege(worker.oid, current_database(), 'CONNECT') THEN
        level := 'error'; finding := format('role "%s" of the worker may not connect to the database', role);
        remedy := format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), role);
        RETURN NEXT;
    END IF;
    level := 'warning';
    FOR finding, remedy IN
        SELECT format('database "%s" of "damoov.databases" does not exist', n.name), format('CREATE DATABASE %I', n.name)
        FROM damoov.worker_databases() AS n (name)
        WHERE NOT EXISTS (SELECT FROM pg_database AS d WHERE d.datname = n.name)
    LOOP
        RETURN NEXT;
    END LOOP;
    CASE
        WHEN problem IS NULL THEN
            level := 'ok'; remedy := NULL;
            finding := CASE cardinality(damoov.worker_pids()) WHEN 1 THEN 'a background worker serves'
                ELSE format('%s background workers serve', cardinality(damoov.worker_pids())) END || ' this database';
        WHEN problem = 'the server is a standby' THEN
            level := 'ok'; finding := 'the server is a standby: its workers start when it is promoted'; remedy := NULL;
        WHEN problem = 'the library is not preloaded' THEN
            finding := problem || ': no background worker polls';
            remedy := CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE') THEN format('ALTER SYSTEM SET shared_preload_libraries = %s -- and restart the server',
                concat_ws(', ', (SELECT string_agg(quote_literal(trim(x, ' "')), ', ') FROM regexp_split_to_table(nullif(current_setting('shared_preload_libraries'), ''), ',') AS x), '''damoov'''))
                ELSE 'Add damoov to shared_preload_libraries and restart the server, or schedule CALL damoov_poll().' END;
        WHEN problem LIKE 'the database is not in %' THEN
            finding := 'no background worker polls for this database: ' || problem;
            remedy := format('ALTER SYSTEM SET damoov.databases = %L; SELECT pg_reload_conf()',
                concat_ws(', ', nullif(current_setting('damoov.databases'), ''), quote_ident(current_database())));
        WHEN why = 'the launcher does not run' OR why LIKE 'no background worker slot%' THEN
            level := CASE WHEN why = problem THEN 'error' ELSE 'warning' END; finding := problem; remedy := more_slots;
        WHEN why = 'the worker has not started yet' THEN
            finding := problem; remedy := 'Ask again; the server log says more.';
        ELSE
            level := 'error'; finding := CASE WHEN why = problem THEN 'the background worker of this database does not stay: ' ELSE '' END || problem;
            remedy := 'Remove the cause; it is started again by itself, within a minute.';
    END CASE;
    RETURN NEXT;
END
$$;
COMMENT ON FUNCTION damoov.check_worker() IS 'the part of damoov_check() about the background worker';

-- By the rights of the role that the worker runs as, whether or not it runs.
CREATE FUNCTION damoov.check_rights()
    RETURNS TABLE (level text, topic text, finding text, remedy text)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT 'error', 'rights', format('role "%s" of the worker lacks %s', m.rolname,
            array_to_string((array_agg(m.name ORDER BY m.name COLLATE "C"))[1:3], ', ') || CASE WHEN count(*) > 3 THEN format(' and %s more rights', count(*) - 3) ELSE '' END),
        format('SELECT damoov_grant(%L, ''worker'')', quote_ident(m.rolname))
    FROM (
        SELECT w.rolname, format('%s ON %s', r.privilege, r.object) AS name
        FROM pg_roles AS w
        CROSS JOIN damoov.rights AS r
        WHERE w.rolname = coalesce(nullif(current_setting('damoov.role'), ''), 'damoov_engine') AND NOT w.rolsuper
            AND r.what = 'worker' AND NOT CASE split_part(r.object, ' ', 1)
                WHEN 'SCHEMA' THEN has_schema_privilege(w.oid, r.objid, r.privilege)
                WHEN 'TABLE' THEN has_table_privilege(w.oid, r.objid, r.privilege)
                WHEN 'SEQUENCE' THEN has_sequence_privilege(w.oid, r.objid, r.privilege)
                WHEN 'ROUTINE' THEN has_function_privilege(w.oid, r.objid, r.privilege)
                -- it uses all servers
                ELSE has_server_privilege(w.oid, r.objid, r.privilege)
                    OR EXISTS (SELECT FROM pg_roles AS e WHERE e.rolname = 'damoov_engine' AND pg_has_role(w.oid, e.oid, 'USAGE'))
            END
    ) AS m
    GROUP BY m.rolname;
END
$$;
COMMENT ON FUNCTION damoov.check_rights() IS 'the part of damoov_check() about what the role of the worker may do';

-- ALTER DATABASE and ALTER ROLE take any name and value while the library is not
-- loaded; at the start of a session there is only a warning in the server log.
CREATE FUNCTION damoov.wrong_settings()
    RETURNS TABLE (finding text, remedy text)
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    entry record;
    problem text;
BEGIN
    PERFORM damoov.partition_size();    -- the library is loaded
    FOR entry IN
        SELECT split_part(x.x, '=', 1) AS name, substr(x.x, strpos(x.x, '=') + 1) AS value, d.datname, r.rolname
        FROM pg_db_role_setting AS s
        CROSS JOIN LATERAL unnest(s.setconfig) AS x (x)
        LEFT JOIN pg_database AS d ON d.oid = s.setdatabase
        LEFT JOIN pg_roles AS r ON r.oid = s.setrole
        WHERE x.x LIKE 'damoov.%' AND (s.setdatabase = 0 OR d.datname = current_database())
        ORDER BY 1, 3, 4
    LOOP
        problem := NULL;
        IF NOT EXISTS (SELECT FROM pg_settings AS g WHERE g.name = lower(entry.name)) THEN
            problem := 'there is no such setting';
        ELSE
            BEGIN
                PERFORM set_config(entry.name, entry.value, true);
                RAISE SQLSTATE '00Z00';
            EXCEPTION
                WHEN invalid_parameter_value THEN problem := SQLERRM;
                -- right, or not to be set by the caller
                WHEN OTHERS THEN NULL;
            END;
        END IF;
        IF problem IS NOT NULL THEN
            finding := format('setting "%s" of %s has no effect: %s', entry.name, coalesce('role "' || entry.rolname || '"', CASE WHEN entry.datname IS NULL THEN 'all roles' ELSE 'this database' END), problem);
            remedy := concat('ALTER ', coalesce(nullif(concat_ws(' IN ', 'ROLE ' || quote_ident(entry.rolname), 'DATABASE ' || quote_ident(entry.datname)), ''), 'ROLE ALL'),
                ' RESET ', quote_ident(split_part(entry.name, '.', 1)), '.', quote_ident(split_part(entry.name, '.', 2)));
            RETURN NEXT;
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION damoov.wrong_settings() IS 'settings damoov.* of this database and of roles that have no effect, because of their name or value';

CREATE FUNCTION damoov.check_settings()
    RETURNS TABLE (level text, topic text, finding text, remedy text)
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT 'warning', 'settings', w.finding, CASE s.source
            WHEN 'session' THEN format('RESET %s', s.name)
            WHEN 'database' THEN format('ALTER DATABASE %I RESET %s', current_database(), s.name)
            WHEN 'user' THEN format('ALTER ROLE %I RESET %s', session_user, s.name)
            WHEN 'database user' THEN format('ALTER ROLE %I IN DATABASE %I RESET %s', session_user, current_database(), s.name)
            ELSE format('ALTER SYSTEM SET %s = %s; SELECT pg_reload_conf()', s.name, w.good)
        END
    FROM (VALUES
        ('fsync', 'on', 'fsync is off: a crash can lose messages that the queue has forgotten'),
        ('damoov.allow_http_loopback', 'off', 'plain http to this machine is allowed')
    ) AS w (name, good, finding)
    JOIN pg_settings AS s USING (name)
    WHERE s.setting <> w.good
    UNION ALL
    -- of the worker, whatever is set for the caller
    SELECT 'error', 'settings', 'the worker stores nothing: its transactions are read-only by default',
        format('SET default_transaction_read_only = off; ALTER %s RESET default_transaction_read_only', coalesce(nullif(
            concat_ws(' IN ', 'ROLE ' || quote_ident(f.rolname), 'DATABASE ' || quote_ident(f.datname)), ''), 'ROLE ALL'))
    FROM (
        SELECT split_part(x.x, '=', 2) AS value, d.datname, r.rolname
        FROM pg_db_role_setting AS s
        CROSS JOIN LATERAL unnest(s.setconfig) AS x (x)
        LEFT JOIN pg_database AS d ON d.oid = s.setdatabase
        LEFT JOIN pg_roles AS r ON r.oid = s.setrole
        WHERE split_part(x.x, '=', 1) = 'default_transaction_read_only'
            AND (s.setdatabase = 0 OR d.datname = current_database())
            AND (s.setrole = 0 OR r.rolname = coalesce(nullif(current_setting('damoov.role'), ''), 'damoov_engine'))
        ORDER BY s.setrole <> 0 DESC, s.setdatabase <> 0 DESC
        LIMIT 1
    ) AS f
    WHERE f.value::boolean
    UNION ALL
    SELECT 'error', 'settings', 'the worker stores nothing: transactions are read-only by default',
        'ALTER SYSTEM SET default_transaction_read_only = off; SELECT pg_reload_conf()'
    FROM pg_settings AS s
    WHERE s.name = 'default_transaction_read_only' AND s.setting = 'on' AND s.source IN ('configuration file', 'command line')
    UNION ALL
    SELECT 'warning', 'settings', f.finding, f.remedy FROM damoov.wrong_settings() AS f
$$;
COMMENT ON FUNCTION damoov.check_settings() IS 'the part of damoov_check() about settings';

-- What sources and downloads have met.
CREATE FUNCTION damoov.check_state(source text)
    RETURNS TABLE (server text, level text, topic text, finding text, remedy text)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    SET lock_timeout = '1s'
AS $$
    SELECT s.source, f.level, f.topic, f.finding, f.remedy
    FROM damoov.servers AS s
    LEFT JOIN damoov.sources AS r ON r.server_oid = s.server_oid AND r.home = damoov.home()
    CROSS JOIN LATERAL (
        SELECT count(*) AS rows, max(q.message) AS message FROM damoov.quarantine AS q WHERE q.source = s.source
    ) AS q
    CROSS JOIN LATERAL (
        SELECT sum(p.received) AS received, sum(p.quarantined) AS quarantined
        FROM damoov.receipts AS p WHERE p.source = s.source AND p.received_at > now() - interval '1 day'
    ) AS p
    CROSS JOIN LATERAL (VALUES
        (1, 'warning', 'state', 'the source is paused' || CASE WHEN r.pause_reason <> 'damoov_pause' THEN ': ' || split_part(r.pause_reason, ';', 1) ELSE '' END,
            format('SELECT damoov_resume(%L)', s.source), r.paused),
        (2, 'error', 'state', r.last_error, 'Remove the cause. The source is asked again by itself; when it has waited long, at once after damoov_resume().',
            r.state = 'retrying'),
        (3, 'warning', 'state', format('the queue has not answered since %s', r.last_poll_at), format('CALL damoov_poll(%L)', s.source),
            r.state = 'polling' AND r.last_poll_at < now() - interval '15 minutes'),
        (4, 'error', 'quarantine', format('none of the %s messages of the last day could be understood: %s', p.received, q.message),
            'Find out who sends to the queue, and what; then see damoov.quarantine.', p.received > 0 AND p.received = p.quarantined),
        (5, 'warning', 'quarantine', format('%s messages could not be understood', q.rows),
            'Look at damoov.quarantine; SELECT damoov_retry(quarantine_id, mended) stores one.', q.rows > 0)
    ) AS f (i, level, topic, finding, remedy, holds)
    WHERE f.holds AND s.source = coalesce(check_state.source, s.source)
    UNION ALL
    SELECT NULL, 'warning', 'downloads', format('%s datasets could not be fetched or stored, the latest: %s', count(*),
        (array_agg(d.last_error ORDER BY d.last_error_at DESC NULLS LAST))[1]), 'SELECT damoov_retry_downloads()'
    FROM damoov.downloads AS d
    WHERE d.state = 'failed' AND check_state.source IS NULL
    HAVING count(*) > 0
    UNION ALL
    SELECT NULL, 'warning', 'partitions', format('%s of damoov.%I lie in its default partition, where retention deletes row by row',
        pg_size_pretty(damoov.partition_bytes(p.partition)), p.table_name), 'CALL damoov_purge(false)'
    FROM damoov.partitions AS p
    WHERE CASE WHEN p.is_default AND check_state.source IS NULL THEN damoov.least_id(p.partition, p.key) IS NOT NULL END
    UNION ALL
    SELECT NULL, 'error', 'partitions', format('damoov.%I has no default partition, so that storing fails where no partition was made', w.name),
        format(CASE WHEN to_regclass(format('damoov.%I', w.name || '_default')) IS NULL THEN 'CREATE TABLE damoov.%2$I PARTITION OF damoov.%1$I DEFAULT'
            ELSE 'ALTER TABLE damoov.%1$I ATTACH PARTITION damoov.%2$I DEFAULT' END, w.name, w.name || '_default')
    FROM unnest(ARRAY['trip_points', 'trip_events', 'raw_points', 'raw_events']) AS w (name)
    WHERE check_state.source IS NULL
        AND NOT EXISTS (SELECT FROM damoov.partitions AS p WHERE p.table_name = w.name AND p.is_default)
$$;
COMMENT ON FUNCTION damoov.check_state(text) IS 'the part of damoov_check() that reads what sources and downloads have met';

-- Of a prepared transaction no process is known.
CREATE FUNCTION damoov.check_locks()
    RETURNS TABLE (level text, topic text, finding text, remedy text)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT 'error', 'locks', concat('sources and downloads cannot be read', min(l.finding)),
        coalesce(min(l.remedy), 'Ask again. If it stays so, look at pg_locks and pg_prepared_xacts.')
    FROM (
        SELECT format(': process %s has locked damoov.%I', k.pid, min(c.relname)) AS finding,
            format('Wait for it, or end it: SELECT pg_terminate_backend(%s)', k.pid) AS remedy
        FROM pg_locks AS k
        JOIN pg_database AS d ON d.oid = k.database AND d.datname = current_database()
        JOIN pg_class AS c ON c.oid = k.relation AND c.relnamespace = 'damoov'::regnamespace
        WHERE k.mode = 'AccessExclusiveLock' AND k.granted AND k.pid <> pg_backend_pid()
        GROUP BY k.pid
        ORDER BY k.pid
        LIMIT 1
    ) AS l
$$;
COMMENT ON FUNCTION damoov.check_locks() IS 'the part of damoov_check() about tables that could not be read, because somebody has locked them for longer than a second';

-- The services first: nothing is locked while they are waited for.
CREATE FUNCTION damoov_check(source text DEFAULT NULL)
    RETURNS TABLE (server text, level text, topic text, finding text, remedy text)
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    FOR server, level, topic, finding, remedy IN SELECT * FROM damoov.check_services(source) LOOP
        IF level <> 'ok' AND remedy IS NULL THEN
            remedy := damoov.source_remedy(server, topic, finding);
        END IF;
        RETURN NEXT;
    END LOOP;
    BEGIN
        RETURN QUERY SELECT * FROM damoov.check_state(source);
    EXCEPTION
        WHEN lock_not_available OR deadlock_detected THEN
            RETURN QUERY SELECT NULL, f.* FROM damoov.check_locks() AS f;
    END;
    IF source IS NULL THEN
        RETURN QUERY
        SELECT NULL, f.* FROM damoov.check_worker() AS f
        UNION ALL
        SELECT NULL, f.* FROM damoov.check_rights() AS f
        UNION ALL
        SELECT NULL, f.* FROM damoov.check_settings() AS f
        UNION ALL
        SELECT NULL, f.* FROM damoov.check_additions() AS f;
    END IF;
END
$$;
COMMENT ON FUNCTION damoov_check(text) IS
    'looks for what is in the way of a source, or of all sources and this server: asks each service without taking a message, for at most 20 seconds, '
    'and looks at the worker, its rights, the settings and what sources and downloads have met; '
    'level is ok, warning or error; server is NULL for what concerns the whole; remedy is the statement that mends it, or says in words what is to be done; '
    'stores and consumes nothing; errors: 42704 no such server, 42809 not a source that is polled';
