-- What CREATE EXTENSION makes, who may use it, the validator, and that
-- nothing stays behind.  Leaves the extension installed for the other files.
\set VERBOSITY terse
SET client_min_messages = warning;

-- Runs a statement, says how it ended, and undoes it
CREATE FUNCTION pg_temp.attempt(statement text, OUT state text, OUT message text, OUT hint text)
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RAISE EXCEPTION SQLSTATE 'ZZ000' USING MESSAGE = 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
END
$$;

-- Objects that were there before are neither taken over nor replaced
BEGIN;
CREATE SCHEMA damoov;
SELECT state, message FROM pg_temp.attempt('CREATE EXTENSION damoov');
ROLLBACK;
BEGIN;
CREATE FUNCTION damoov_ingest(payload jsonb, source text DEFAULT 'sql') RETURNS TABLE (event_id bigint, event text, outcome text)
    LANGUAGE sql AS 'SELECT 1::bigint, ''planted'', ''planted''';
SELECT state, message FROM pg_temp.attempt('CREATE EXTENSION damoov');
SELECT count(*) AS schemas_left FROM pg_namespace WHERE nspname = 'damoov';
ROLLBACK;

-- Not trusted: CREATE on the database is not enough
CREATE ROLE regress_damoov_owner;
-- the database's name differs from runner to runner
\set ECHO none
SELECT format('GRANT CREATE ON DATABASE %I TO regress_damoov_owner', current_database()) \gexec
\set ECHO all
GRANT CREATE ON SCHEMA public TO regress_damoov_owner;
SET ROLE regress_damoov_owner;
SELECT state, message FROM pg_temp.attempt('CREATE EXTENSION damoov');
RESET ROLE;
REVOKE CREATE ON SCHEMA public FROM regress_damoov_owner;
\set ECHO none
SELECT format('REVOKE CREATE ON DATABASE %I FROM regress_damoov_owner', current_database()) \gexec
\set ECHO all
DROP ROLE regress_damoov_owner;

CREATE EXTENSION damoov;

SELECT superuser, trusted, relocatable, schema, requires
FROM pg_available_extension_versions WHERE name = 'damoov' AND version = '1.0';
SELECT extversion, extrelocatable, extnamespace::regnamespace FROM pg_extension WHERE extname = 'damoov';
CREATE SCHEMA regress_damoov_other;
SELECT state, message FROM pg_temp.attempt('ALTER EXTENSION damoov SET SCHEMA regress_damoov_other');
DROP SCHEMA regress_damoov_other;

-- What it makes
CREATE TEMP VIEW member AS
SELECT d.classid, d.objid, i.type, i.identity
FROM pg_depend AS d
CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, 0) AS i
WHERE d.refclassid = 'pg_extension'::regclass
    AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'damoov')
    AND d.deptype = 'e'
    -- since 17 row types and array types are members, too
    AND NOT EXISTS (
        SELECT FROM pg_type AS t LEFT JOIN pg_class AS c ON c.oid = t.typrelid
        WHERE d.classid = 'pg_type'::regclass AND t.oid = d.objid AND (t.typcategory = 'A' OR c.relkind <> 'c'));
SELECT type, identity FROM member ORDER BY type COLLATE "C", identity COLLATE "C";
SELECT tgrelid::regclass AS on_table, tgname AS trigger, tgfoid::regproc AS function
FROM pg_trigger JOIN member ON objid = tgrelid AND classid = 'pg_class'::regclass
WHERE NOT tgisinternal ORDER BY tgrelid::regclass::text COLLATE "C", tgname;

-- Every object that users meet has a comment, also columns and triggers: none without
SELECT type, identity FROM member
WHERE type <> 'sequence' AND obj_description(objid, classid::regclass::name) IS NULL
UNION ALL
SELECT 'column', format('%s.%s', a.attrelid::regclass, a.attname)
FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
WHERE c.relnamespace = 'damoov'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped
    AND col_description(a.attrelid, a.attnum) IS NULL
UNION ALL
SELECT 'trigger', format('%s on %s', t.tgname, t.tgrelid::regclass)
FROM pg_trigger AS t JOIN member AS m ON m.objid = t.tgrelid AND m.classid = 'pg_class'::regclass
WHERE NOT t.tgisinternal AND obj_description(t.oid, 'pg_trigger') IS NULL
ORDER BY 1, 2;

-- Every table has a key, which changes of rows need where they are published; those of a
-- partitioned one are the keys of its partitions, of which all columns are announced: none without
SELECT c.oid::regclass AS without_key
FROM pg_class AS c
WHERE c.relnamespace = 'damoov'::regnamespace AND c.relkind IN ('r', 'p')
    AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conrelid = c.oid AND k.contype = 'p')
    AND (c.relkind = 'r' OR c.relreplident <> 'f');

-- Every function fixes its search_path, is a BEGIN ATOMIC body bound to its objects, or is C; a procedure
-- that commits can have no setting and does it by itself, first of all and after each COMMIT: none that does not
SELECT p.oid::regprocedure AS unfixed
FROM pg_proc AS p JOIN member AS m ON m.objid = p.oid AND m.classid = 'pg_proc'::regclass
JOIN pg_language AS l ON l.oid = p.prolang
WHERE l.lanname <> 'c' AND p.prosqlbody IS NULL
    AND NOT coalesce(p.proconfig && ARRAY['search_path=pg_catalog, pg_temp'], false)
    AND (p.prokind <> 'p' OR p.prosrc ~ '(\nBEGIN|COMMIT;)\n(?! *SET LOCAL search_path = pg_catalog, pg_temp;\n)')
ORDER BY 1;
-- Some run with their owner's rights: they show of events what holds no credential, and look after partitions
SELECT p.oid::regprocedure AS security_definer
FROM pg_proc AS p JOIN member AS m ON m.objid = p.oid AND m.classid = 'pg_proc'::regclass
WHERE p.prosecdef ORDER BY 1;
-- plpgsql bodies name what they use with its schema: unqualified table names would be looked up in pg_catalog only
SELECT p.oid::regprocedure AS unqualified
FROM pg_proc AS p JOIN member AS m ON m.objid = p.oid AND m.classid = 'pg_proc'::regclass
JOIN pg_language AS l ON l.oid = p.prolang
WHERE l.lanname = 'plpgsql'
    AND p.prosrc ~ '(INTO|UPDATE|JOIN|DELETE FROM) +(users|forgotten|events|redeliveries|quarantine|receipts|trips|trip_points|trip_events|removed_tracks|raw_tracks|raw_points|raw_events|crashes|crash_buffers|heartbeats|downloads|documents|sources|subscriptions)\M'
ORDER BY 1;

-- Every function says what the planner may assume
SELECT p.oid::regprocedure AS function, p.prokind AS kind, p.provolatile AS volatile, p.proisstrict AS strict, p.proparallel AS parallel
FROM pg_proc AS p JOIN member AS m ON m.objid = p.oid AND m.classid = 'pg_proc'::regclass
WHERE p.prorettype <> 'trigger'::regtype
ORDER BY p.oid::regprocedure::text COLLATE "C";

-- Nothing is granted to PUBLIC: a role made now has no right on anything
CREATE ROLE regress_damoov_nobody;
SELECT m.identity, p.privilege
FROM member AS m, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS p (privilege)
WHERE m.type IN ('table', 'view') AND has_table_privilege('regress_damoov_nobody', m.objid, p.privilege)
UNION ALL
SELECT m.identity, p.privilege || ' on a column'
FROM member AS m, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) AS p (privilege)
WHERE m.type IN ('table', 'view') AND has_any_column_privilege('regress_damoov_nobody', m.objid, p.privilege)
UNION ALL
SELECT m.identity, p.privilege
FROM member AS m, unnest(ARRAY['USAGE', 'SELECT', 'UPDATE']) AS p (privilege)
WHERE m.type = 'sequence' AND has_sequence_privilege('regress_damoov_nobody', m.objid, p.privilege)
UNION ALL
SELECT m.identity, 'EXECUTE'
FROM member AS m
WHERE m.classid = 'pg_proc'::regclass AND has_function_privilege('regress_damoov_nobody', m.objid, 'EXECUTE')
UNION ALL
SELECT m.identity, p.privilege
FROM member AS m, unnest(ARRAY['USAGE', 'CREATE']) AS p (privilege)
WHERE m.type = 'schema' AND has_schema_privilege('regress_damoov_nobody', m.objid, p.privilege)
UNION ALL
SELECT m.identity, 'USAGE'
FROM member AS m
WHERE m.type = 'type' AND has_type_privilege('regress_damoov_nobody', m.objid, 'USAGE')
UNION ALL
SELECT m.identity, 'USAGE'
FROM member AS m
WHERE m.type = 'foreign-data wrapper' AND has_foreign_data_wrapper_privilege('regress_damoov_nobody', m.objid, 'USAGE')
ORDER BY 1, 2;
-- ... and the lists themselves name nobody but the owner, the worker and who watches the server (no list at all means PUBLIC for a function)
SELECT m.identity, coalesce(a.acl::text, 'default') AS acl
FROM member AS m
JOIN LATERAL (
    SELECT p.proacl AS acl, true AS open_by_default FROM pg_proc AS p WHERE p.oid = m.objid AND m.classid = 'pg_proc'::regclass
    UNION ALL SELECT c.relacl, false FROM pg_class AS c WHERE c.oid = m.objid AND m.classid = 'pg_class'::regclass
    UNION ALL SELECT n.nspacl, false FROM pg_namespace AS n WHERE n.oid = m.objid AND m.classid = 'pg_namespace'::regclass
    UNION ALL SELECT w.fdwacl, false FROM pg_foreign_data_wrapper AS w
        WHERE w.oid = m.objid AND m.classid = 'pg_foreign_data_wrapper'::regclass
) AS a ON true
WHERE (a.acl IS NULL AND a.open_by_default)
    OR EXISTS (SELECT FROM aclexplode(a.acl) AS x WHERE x.grantee NOT IN (x.grantor, 'damoov_engine'::regrole, 'pg_monitor'::regrole))
ORDER BY 1;

-- Settings
SELECT name, vartype, unit, min_val, max_val, boot_val, context
FROM pg_settings WHERE name LIKE 'damoov.%' ORDER BY name COLLATE "C";
SELECT state, message FROM pg_temp.attempt('SET damoov.max_download = 3');
SELECT state, message FROM pg_temp.attempt('SET damoov.max_downloads = 3');
ALTER SYSTEM SET damoov.databases = 'one, , two';
ALTER SYSTEM SET damoov.max_downloads = 65;
SET ROLE regress_damoov_nobody;
SELECT s.statement, a.state
FROM (VALUES ('SHOW damoov.secrets_dir'), ('SHOW damoov.ca_file'), ('SET damoov.allow_http_loopback = on')) AS s (statement),
    pg_temp.attempt(s.statement) AS a;
RESET ROLE;

-- The validator: every option is accepted where it belongs
CREATE SERVER regress_damoov_sqs TYPE 'sqs' FOREIGN DATA WRAPPER damoov
    OPTIONS (queue_url 'https://sqs.eu-central-1.amazonaws.com/000000000000/damoov', region 'eu-central-1',
        endpoint 'https://vpce-example.sqs.eu-central-1.vpce.amazonaws.com', wait_seconds '20', batch_size '10',
        visibility_seconds '604800', paused 'true', api 'regress_damoov_api',
        instance_id '7e1f2a3b-4c5d-4e6f-9a0b-1c2d3e4f5a6b');
CREATE SERVER regress_damoov_api TYPE 'api' FOREIGN DATA WRAPPER damoov
    OPTIONS (base_url 'https://mobilesdk.telematicssdk.com', crash_url 'https://api.telematicssdk.com',
        allowed_hosts '*.telematicssdk.com, *.damoov.com', fetch 'processed,crash');
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_damoov_sqs
    OPTIONS (access_key_id 'AKIDEXAMPLE', secret_access_key 'not a secret', session_token 'none', secret_file 'trips_eu-1.env');
SELECT source, type FROM damoov.servers ORDER BY source;
-- the least and the greatest values
ALTER SERVER regress_damoov_sqs OPTIONS (SET wait_seconds '0', SET batch_size '1', SET visibility_seconds '0', SET paused 'off');
ALTER SERVER regress_damoov_sqs OPTIONS (DROP wait_seconds, DROP instance_id);
ALTER USER MAPPING FOR CURRENT_USER SERVER regress_damoov_sqs OPTIONS (DROP secret_file);

-- What it refuses.  HV00D: no such option here; 22023: no such value
SELECT s.options, a.*
FROM (VALUES
    -- the nearest name is told
    (1, 'queue_ur ''x'''), (2, 'queueurl ''x'''), (3, '"Region" ''x'''), (4, 'wait_second ''1'''), (5, 'allowed_host ''x'''),
    (6, 'visibility_timeout ''1'''), (7, 'bas_url ''x'''), (8, 'x ''x'''),
    -- secrets do not belong to a server, which everybody may read
    (9, 'access_key_id ''x'''), (10, 'secret_access_key ''x'''), (11, 'session_token ''x'''), (12, 'secret_file ''x'''),
    -- values
    (20, 'wait_seconds ''121'''), (21, 'wait_seconds ''-1'''), (22, 'wait_seconds ''5s'''), (23, 'wait_seconds '''''),
    (24, 'wait_seconds ''1e1'''), (25, 'wait_seconds ''4294967301'''), (26, 'wait_seconds ''99999999999999999999'''),
    (27, 'batch_size ''0'''), (28, 'batch_size ''101'''), (29, 'visibility_seconds ''604801'''),
    (30, 'queue_url '''''), (31, 'region '''''), (32, 'paused ''maybe'''), (33, 'paused '''''),
    (34, 'instance_id ''7e1f2a3b'''), (35, 'instance_id '''''),
    -- one line of a request would become two
    (36, 'region e''eu\r\nX-Other: 1'''), (37, 'queue_url e''https://sqs.example.com/q\n'''), (38, 'external_id e''x\x7f''')
) AS s (n, options), pg_temp.attempt('CREATE SERVER regress_damoov_x TYPE ''sqs'' FOREIGN DATA WRAPPER damoov OPTIONS (' || s.options || ')') AS a
ORDER BY s.n;
SELECT s.options, a.*
FROM (VALUES
    (1, 'acces_key_id ''x'''), (2, 'secret_key ''x'''), (3, 'password ''x'''), (4, 'queue_url ''x'''), (5, 'paused ''on'''),
    (20, 'access_key_id '''''), (21, 'secret_file '''''), (22, 'secret_file ''.'''), (23, 'secret_file ''..'''),
    (24, 'secret_file ''../x'''), (25, 'secret_file ''/etc/passwd'''), (26, 'secret_file ''a b'''), (27, 'secret_file ''a%2fb'''),
    (28, 'secret_file ''' || repeat('x', 65) || '''')
) AS s (n, options), pg_temp.attempt('CREATE USER MAPPING FOR regress_damoov_nobody SERVER regress_damoov_sqs OPTIONS (' || s.options || ')') AS a
ORDER BY s.n;
SELECT a.state FROM pg_temp.attempt('CREATE USER MAPPING FOR regress_damoov_nobody SERVER regress_damoov_sqs OPTIONS (secret_file '''
    || repeat('x', 64) || ''')') AS a;
-- neither the wrapper nor a foreign table has options
SELECT s.statement, a.*
FROM (VALUES
    ('ALTER FOREIGN DATA WRAPPER damoov OPTIONS (ADD region ''x'')'),
    ('ALTER FOREIGN DATA WRAPPER damoov OPTIONS (ADD nothing ''x'')'),
    ('CREATE FOREIGN TABLE regress_damoov_table (a integer) SERVER regress_damoov_sqs OPTIONS (access_key_id ''x'')')
) AS s (statement), pg_temp.attempt(s.statement) AS a;
-- a refused value is never repeated: it may be the secret in the wrong place
SELECT bool_or(concat(a.*) LIKE '%hunter2%') AS repeated
FROM (VALUES
    ('CREATE SERVER x TYPE ''sqs'' FOREIGN DATA WRAPPER damoov OPTIONS (secret_access_key ''hunter2'')'),
    ('CREATE SERVER x TYPE ''sqs'' FOREIGN DATA WRAPPER damoov OPTIONS (wait_seconds ''hunter2'')'),
    ('CREATE SERVER x TYPE ''sqs'' FOREIGN DATA WRAPPER damoov OPTIONS (paused ''hunter2'')'),
    ('CREATE SERVER x TYPE ''sqs'' FOREIGN DATA WRAPPER damoov OPTIONS (instance_id ''hunter2'')'),
    ('CREATE USER MAPPING FOR regress_damoov_nobody SERVER regress_damoov_sqs OPTIONS (secret_file ''hunter2/'')'),
    ('CREATE USER MAPPING FOR regress_damoov_nobody SERVER regress_damoov_sqs OPTIONS (secret_acces_key ''hunter2'')')
) AS s (statement), pg_temp.attempt(s.statement) AS a;

-- A source protects the extension
SELECT state, message FROM pg_temp.attempt('DROP EXTENSION damoov');
SELECT count(*) FROM pg_extension WHERE extname = 'damoov';
DROP SERVER regress_damoov_api;
DROP SERVER regress_damoov_sqs CASCADE;

-- An event through the door, so that this session holds prepared statements
SELECT event, outcome FROM damoov_ingest('{"Event": "HeartbeatReceived", "UserId": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5",
    "Timestamp": "2024-05-14T14:05:02.1180557Z", "Object": {"Id": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5", "Type": "RawHeartbeat"}}');

-- DROP EXTENSION leaves nothing behind
DROP VIEW member;
DROP EXTENSION damoov;
SELECT
    (SELECT count(*) FROM pg_namespace WHERE nspname = 'damoov') AS schemas,
    (SELECT count(*) FROM pg_proc AS p WHERE p.proname LIKE 'damoov%' OR p.probin LIKE '%damoov%') AS functions,
    (SELECT count(*) FROM pg_foreign_data_wrapper WHERE fdwname = 'damoov') AS wrappers,
    (SELECT count(*) FROM pg_type AS t WHERE t.typname IN ('trips', '_trips', 'events', '_events')) AS types,
    (SELECT count(*) FROM pg_event_trigger) AS event_triggers,
    (SELECT count(*) FROM pg_extension WHERE extname = 'damoov') AS extensions;

-- Another schema for the functions; dropped and made again in one transaction
BEGIN;
CREATE SCHEMA regress_damoov_other;
CREATE EXTENSION damoov SCHEMA regress_damoov_other;
SELECT p.pronamespace::regnamespace AS schema, p.proname AS function
FROM pg_proc AS p WHERE p.proname LIKE 'damoov\_%' ORDER BY p.proname COLLATE "C";
SELECT event, outcome FROM regress_damoov_other.damoov_ingest('{"Event": "HeartbeatReceived", "UserId": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5",
    "Timestamp": "2024-05-14T14:05:02.1180557Z", "Object": {"Id": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5", "Type": "RawHeartbeat"}}');
DROP EXTENSION damoov;
DROP SCHEMA regress_damoov_other;
CREATE EXTENSION damoov;
SELECT event, outcome FROM damoov_ingest('{"Event": "HeartbeatReceived", "UserId": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5",
    "Timestamp": "2024-05-14T14:05:02.1180557Z", "Object": {"Id": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5", "Type": "RawHeartbeat"}}');
DROP EXTENSION damoov;
CREATE EXTENSION damoov;
COMMIT;
SELECT event, outcome FROM damoov_ingest('{"Event": "HeartbeatReceived", "UserId": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5",
    "Timestamp": "2024-05-14T14:05:02.1180557Z", "Object": {"Id": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5", "Type": "RawHeartbeat"}}');
-- a dropped extension may also come back by rollback
BEGIN;
DROP EXTENSION damoov;
ROLLBACK;
SELECT event, outcome FROM damoov_ingest('{"Event": "HeartbeatReceived", "UserId": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5",
    "Timestamp": "2024-05-14T14:05:02.1180557Z", "Object": {"Id": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5", "Type": "RawHeartbeat"}}');
SELECT count(*) AS events FROM damoov.events;
-- everything that holds the user's data is in a dump
SELECT c.oid::regclass AS not_dumped
FROM pg_class AS c, pg_extension AS e
WHERE e.extname = 'damoov' AND c.relnamespace = 'damoov'::regnamespace AND c.relkind IN ('r', 'p', 'S')
    AND NOT coalesce(c.oid = ANY (e.extconfig), false)
ORDER BY 1;

DROP EXTENSION damoov;
CREATE EXTENSION damoov;
DROP ROLE regress_damoov_nobody;

-- UTF8 databases only
SELECT current_database() AS regression_database \gset
CREATE DATABASE regress_damoov_latin1 ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C';
\c regress_damoov_latin1
SET client_min_messages = warning;
\set VERBOSITY sqlstate
CREATE EXTENSION damoov;
\set VERBOSITY terse
CREATE EXTENSION damoov;
SELECT count(*) AS schemas_left FROM pg_namespace WHERE nspname = 'damoov';
\c :regression_database
DROP DATABASE regress_damoov_latin1;
CREATE DATABASE regress_damoov_ascii ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C';
\c regress_damoov_ascii
\set VERBOSITY terse
CREATE EXTENSION damoov;
\c :regression_database
DROP DATABASE regress_damoov_ascii;
