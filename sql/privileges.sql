-- Who may do what: a role without rights, a reader, a role that may ingest
-- and nothing else; and that no error quotes a device token.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/prelude.psql

CREATE ROLE regress_damoov_nobody;
CREATE ROLE regress_damoov_reader;
CREATE ROLE regress_damoov_ingest;

-- SQLSTATE of a statement, which is undone
CREATE FUNCTION pg_temp.attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RAISE EXCEPTION SQLSTATE '00Z00';
EXCEPTION
    WHEN SQLSTATE '00Z00' THEN RETURN 'done';
    WHEN OTHERS THEN RETURN SQLSTATE;
END
$$;

-- One person, a bit of everything.  The token must not get out.
\set token 5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5
CREATE TEMP TABLE note (n integer, note jsonb);
INSERT INTO note
SELECT n, jsonb_build_object('Event', event, 'Sender', 'Damoov', 'UserId', :'token', 'ClientId', 'customer-000417',
    'Object', object, 'Timestamp', format('2024-05-14T10:0%s:00.1234567Z', n), 'Details', details)
FROM (VALUES
    (1, 'IncomingTrackReceived', '{"Id": "c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d", "Type": "IncomingTrack"}'::jsonb,
        '{"TrackStartDate": "2024-05-14T08:00:00.0000000+02:00", "TrackFinishDate": "2024-05-14T09:00:00.0000000+02:00"}'::jsonb),
    (2, 'TrackEnrichmentFinished', '{"Id": "c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d", "Type": "RichTrack"}', '{"ObjectReplaced": false, "TracksRemoved": []}'),
    (3, 'TrackEnrichmentFinished', '{"Id": "c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d", "Type": "RichTrack"}',
        '{"ObjectReplaced": true, "TracksRemoved": [{"Id": "0d9e8f7a-1b2c-4d3e-8f40-5a6b7c8d9e0f"}, {"Id": "1e2d3c4b-5a69-4788-9796-a5b4c3d2e1f0"}]}'),
    (4, 'IncomingTrackRemoved', '{"Id": "a1f2e3d4-c5b6-4a79-8897-a6b5c4d3e2f1", "Type": "IncomingTrackSummary"}', '{"Reason": "Insufficient Track length"}'),
    (5, 'AccidentEventReceived', '{"Id": "f3b1d6a2-9c40-4e85-b7d3-2a6c8e0f1b47", "Type": "Accident"}', '{"DateReceived": "2024-05-14T09:00:00Z"}'),
    (6, 'AccidentEventFiltered', '{"Id": "f3b1d6a2-9c40-4e85-b7d3-2a6c8e0f1b47", "Type": "Accident"}', '{"DateFiltered": "2024-05-14T09:00:00Z"}'),
    (7, 'HeartbeatReceived', jsonb_build_object('Id', :'token', 'Type', 'RawHeartbeat', 'Uri', NULL),
        '{"ChargeLevel": 63.5, "InstanceId": "7e1f2a3b-4c5d-4e6f-9a0b-1c2d3e4f5a6b"}'),
    (8, 'NewEvent', jsonb_build_object('Id', :'token', 'Type', 'New'), '{}')
) AS e (n, event, object, details);
SELECT pg_temp.empty_tables();
SELECT count(*) FROM damoov_ingest((SELECT jsonb_agg(note ORDER BY n) FROM note));
SELECT count(*) FROM damoov_ingest((SELECT note FROM note WHERE n = 7));
-- ... in undocumented members, in the spellings of others
SELECT count(*) FROM damoov_ingest((SELECT jsonb_agg(
        jsonb_set(n.note, '{Timestamp}', '"2024-05-14T11:00:00Z"') || format('{"Event": "%1$s", "Companion": "%2$s", "New": {"x": "%2$s"}, "%2$s": 1,
            "Text": "%3$s of %2$s", "Long": "%4$s%2$s"}', CASE WHEN n.n = 7 THEN 'HeartbeatReceived' ELSE 'New' || s.spelling END, s.spelling, repeat('x', 5), repeat('ü', 40))::jsonb)
    FROM note AS n, (VALUES (:'token'), (upper(:'token')), ('{' || :'token' || '}'), (replace(:'token', '-', ''))) AS s (spelling) WHERE n.n IN (7, 8)));
INSERT INTO damoov.quarantine (source, reason, sqlstate, message, body, body_digest)
VALUES ('q', 'bad_json', '22P02', 'invalid JSON text, line 1, byte 1', :'token', '\x00');
INSERT INTO damoov.sources (server_oid, home, place, source) VALUES (1, damoov.home(), damoov.place(), 'q');
INSERT INTO damoov.forgotten (token_digest) VALUES (sha256('somebody'));
-- datasets that name the person where the platform does, and deep in something unknown
SELECT d.kind, damoov.store_dataset(d.kind, d.object_id, replace(replace(replace(d.document, '@', :'token'), '^', upper(:'token')), '~', replace(:'token', '-', ''))) IS NOT NULL AS stored
FROM (VALUES
    ('processed', 'c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d'::uuid, '{"Companion": "@", "Result": {"Code": 200, "Track": {"Owner": "@", "Spelled": ["^", "{@}", "~", "is ^!"], "~": 1,
        "Tags": ["@"], "AddressStartParts": {"City": "~"}, "Nested": {"@": {"\"x": "^"}, "UserId": "@"}, "Other": "\\\"@\\\" 5",
        "Points": [{"Number": 1, "Speed": 30, "SpeedLimit": 20, "Who": "~"}, {"Number": 2, "New": {"a": ["@"]}}]}}}'),
    ('raw', 'c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d'::uuid, '{"success": true, "status_code": 200, "message": "@", "result": {
        "S3Location": {"Bucket": "b", "S3Url": "https://b.example/trips/filtered/7e1f2a3b-4c5d-4e6f-9a0b-1c2d3e4f5a6b/@/c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d.json?user=@",
            "Key": "trips/filtered/7e1f2a3b-4c5d-4e6f-9a0b-1c2d3e4f5a6b/@/c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d.json", "Owner": "@"},
        "TripData": {"DeviceToken": "@", "UserId": "@", "Points": [{"Number": 1, "devicetoken": "@", "New": {"UserId": "@"}}],
            "LastKnownPoints": [{"DeviceToken": "@"}], "Events": [{"Type": "Accident", "USERID": "@", "Whose": "@", "New": [{"UserId": "@"}]}]}}}'),
    ('crash', 'f3b1d6a2-9c40-4e85-b7d3-2a6c8e0f1b47', '{"Type": "Accident", "Whose": "~", "userId": "@", "New": [{"DeviceToken": "@"}]}'),
    ('crash_buffer', 'f3b1d6a2-9c40-4e85-b7d3-2a6c8e0f1b47', '{"UserId": "@", "New": {"DEVICETOKEN": "@", "Phone": "^"}, "Whose": "@",
        "Samples": [{"AccX": 1, "AccY": 2, "AccZ": 3, "UserId": "@"}, {"AccX": 1, "AccY": 2, "AccZ": 3, "New": {"UserId": "@"}}]}')
) AS d (kind, object_id, document);

CREATE TEMP TABLE member AS
SELECT i.type, i.identity,
    CASE i.type
        -- not NULL: a strict function is not called then, and its rights are not asked for
        WHEN 'function' THEN format('SELECT %s(%s)', p.oid::regproc, a.arguments)
        WHEN 'procedure' THEN format('CALL %s(%s)', p.oid::regproc, a.arguments)
        WHEN 'sequence' THEN format('SELECT nextval(%L)', i.identity)
        WHEN 'foreign-data wrapper' THEN 'CREATE SERVER regress_damoov_x FOREIGN DATA WRAPPER ' || i.identity
        WHEN 'schema' THEN format('CREATE TABLE %s.x (x integer)', i.identity)
        WHEN 'type' THEN format('CREATE TEMP TABLE regress_damoov_x (x %s)', i.identity)
        ELSE 'SELECT count(*) FROM ' || i.identity
    END AS statement
FROM pg_depend AS d
CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, 0) AS i
LEFT JOIN pg_proc AS p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
CROSS JOIN LATERAL (
    SELECT string_agg(format('%L::%s', CASE
            WHEN t.type::regtype::text LIKE '%[]' OR t.type = 'jsonb'::regtype THEN '{}'
            WHEN t.type = 'uuid'::regtype THEN 'c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d'
            WHEN t.type IN ('timestamptz'::regtype, 'date'::regtype) THEN '2024-01-01'
            WHEN t.type = 'boolean'::regtype THEN 'true'
            WHEN t.type = 'bytea'::regtype THEN ''
            ELSE '0' END, t.type::regtype), ', ' ORDER BY t.i) AS arguments
    FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS t (type, i)
) AS a
WHERE d.refclassid = 'pg_extension'::regclass
    AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'damoov') AND d.deptype = 'e' AND i.type <> 'event trigger'
    -- since 17 row types and array types are members, too
    AND NOT EXISTS (
        SELECT FROM pg_type AS t LEFT JOIN pg_class AS c ON c.oid = t.typrelid
        WHERE d.classid = 'pg_type'::regclass AND t.oid = d.objid AND (t.typcategory = 'A' OR c.relkind <> 'c'));
GRANT SELECT ON member TO PUBLIC;
GRANT SELECT ON note TO PUBLIC;

-- A role without rights can do nothing with any object
SET ROLE regress_damoov_nobody;
SELECT m.type, pg_temp.attempt(m.statement) AS result, count(*) FROM member AS m GROUP BY 1, 2 ORDER BY 1, 2;
SELECT 1 FROM damoov_ingest((SELECT note FROM note WHERE n = 7));
SELECT damoov_fetch_track('c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d');
SELECT damoov_pause('q');
SELECT damoov_resume('q');
CALL damoov_poll();
SELECT * FROM damoov.status;
RESET ROLE;
-- ... nor when it may look into the schema
GRANT USAGE ON SCHEMA damoov TO regress_damoov_nobody;
SET ROLE regress_damoov_nobody;
SELECT m.type, pg_temp.attempt(m.statement) AS result, count(*) FROM member AS m GROUP BY 1, 2 ORDER BY 1, 2;
RESET ROLE;
REVOKE USAGE ON SCHEMA damoov FROM regress_damoov_nobody;
-- EXECUTE on the door is not enough: it runs with the caller's rights
GRANT EXECUTE ON FUNCTION damoov_ingest(jsonb, text) TO regress_damoov_nobody;
SET ROLE regress_damoov_nobody;
SELECT pg_temp.attempt('SELECT FROM damoov_ingest((SELECT note FROM note WHERE n = 7))');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION damoov_ingest(jsonb, text) FROM regress_damoov_nobody;

-- A reader: all tables and views but those that hold device tokens
SELECT damoov_grant('regress_damoov_reader', 'reader') > 0 AS granted;
CREATE FUNCTION pg_temp.readable(relation text, OUT result text, OUT rows bigint, OUT shows_token boolean) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SELECT count(*), coalesce(bool_or(t::text ~* %L), false) FROM %s AS t', '5b0c7d1e-?2f34-?4a56-?8b79-?c0d1e2f3a4b5', relation) INTO rows, shows_token;
    result := 'read';
EXCEPTION WHEN insufficient_privilege THEN
    result := SQLSTATE;
END
$$;
SET ROLE regress_damoov_reader;
SELECT m.identity, r.* FROM member AS m, pg_temp.readable(m.identity) AS r
-- which partitions there are, and what is in which, how many rights, and what was counted, other tests decide
WHERE m.type IN ('table', 'view') AND m.identity !~ '^damoov\.(partitions|members|rights|grants|activity|stat_.*|.*_default)$' ORDER BY m.identity COLLATE "C";
-- every view there is
SELECT c.relname AS unreadable FROM pg_class AS c, pg_temp.readable(c.oid::regclass::text) AS r
WHERE c.relnamespace = 'damoov'::regnamespace AND c.relkind IN ('v', 'm') AND (r.result <> 'read' OR r.shows_token IS NOT FALSE);
SELECT table_name, event, path, count, sample FROM damoov.drift ORDER BY table_name, event COLLATE "C", path COLLATE "C";
RESET ROLE;
-- Who may read the view and one of the tables only sees the events, and the drift of that table
CREATE ROLE regress_damoov_drift;
GRANT USAGE ON SCHEMA damoov TO regress_damoov_drift;
GRANT SELECT ON damoov.drift, damoov.trips TO regress_damoov_drift;
GRANT EXECUTE ON FUNCTION damoov.event_drift(), damoov.hidden_event_drift(), damoov.extra_drift(), damoov.extra_columns(), damoov.extra_members(jsonb) TO regress_damoov_drift;
SET ROLE regress_damoov_drift;
SELECT table_name, count(*) FROM damoov.drift GROUP BY table_name ORDER BY table_name;
SELECT FROM damoov.extra_columns() WHERE table_name = 'trip_points' AND home = 'trips' AND key = 'trip_id';
RESET ROLE;
REVOKE ALL ON ALL TABLES IN SCHEMA damoov FROM regress_damoov_drift;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA damoov FROM regress_damoov_drift;
REVOKE ALL ON SCHEMA damoov FROM regress_damoov_drift;
DROP ROLE regress_damoov_drift;
SET ROLE regress_damoov_reader;
SELECT extra, tags, address_start_parts FROM damoov.trips;
SELECT extra FROM damoov.trip_points ORDER BY seq;
-- it writes nothing and calls nothing
SELECT s.statement, pg_temp.attempt(s.statement)
FROM (VALUES
    ('DELETE FROM damoov.trips'), ('UPDATE damoov.trips SET notes = NULL'), ('INSERT INTO damoov.sources (server_oid, home, place, source) VALUES (2, ''y'', ''z'', ''x'')'),
    ('TRUNCATE damoov.trip_points'), ('SELECT FROM damoov_ingest((SELECT note FROM note WHERE n = 7))'),
    ('SELECT device_token FROM damoov.users'), ('SELECT payload FROM damoov.events'), ('SELECT url FROM damoov.downloads'), ('SELECT body FROM damoov.quarantine'),
    ('SELECT damoov_pause(''q'')'), ('SELECT damoov.wake_worker()'), ('SELECT damoov_fetch_track(''c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d'')'),
    ('CREATE TABLE damoov.x (x integer)')
) AS s (statement);
RESET ROLE;
-- the same search finds the token where it is
SELECT m.identity, r.shows_token FROM member AS m, pg_temp.readable(m.identity) AS r
WHERE m.type IN ('table', 'view') AND r.shows_token ORDER BY m.identity COLLATE "C";
-- a sample of what has no column does not show the query of a URL
SELECT damoov.unknown_members('{"Event": "x", "Link": "https://a.example/b?sig=secret", "Plain": "why?"}');

-- The least rights that let a role ingest every event
CREATE TEMP TABLE needed (n serial, privilege text, object text);
INSERT INTO needed (privilege, object) VALUES
    ('USAGE', 'SCHEMA damoov'),
    ('EXECUTE', 'FUNCTION damoov_ingest(jsonb, text)'),
    ('EXECUTE', 'FUNCTION damoov.ingesting()'),
    ('EXECUTE', 'FUNCTION damoov.read_notification(jsonb)'),
    ('EXECUTE', 'FUNCTION damoov.enriched_at(uuid, bigint)'),
    ('EXECUTE', 'FUNCTION damoov.other_tenant(text, uuid, bigint)'),
    ('EXECUTE', 'FUNCTION damoov.track_lives(uuid, bigint, timestamptz)'),
    ('EXECUTE', 'FUNCTION damoov.lock_objects(uuid[])'),
    ('EXECUTE', 'FUNCTION damoov.lock_people(boolean)'),
    ('EXECUTE', 'FUNCTION damoov.need_read_committed()'),
    ('EXECUTE', 'FUNCTION damoov.token_digest(uuid)'),
    ('EXECUTE', 'FUNCTION damoov.apply_events(damoov.arrival[], boolean)'),
    ('EXECUTE', 'FUNCTION damoov.crash_stages(uuid[])'),
    ('EXECUTE', 'FUNCTION damoov.fetches(text, text)'),
    ('EXECUTE', 'FUNCTION damoov.source_instance(text)'),
    ('EXECUTE', 'FUNCTION damoov.source_owner(text)'),
    ('EXECUTE', 'FUNCTION damoov.recording_lives(uuid, bigint)'),
    ('EXECUTE', 'FUNCTION damoov.take_away(uuid[])'),
    ('EXECUTE', 'FUNCTION damoov.foreign_removals(integer[], uuid[], uuid[], text)'),
    ('EXECUTE', 'FUNCTION damoov.notify(text, text, bigint[])'),
    ('SELECT', 'damoov.forgotten'),
    ('USAGE', 'SEQUENCE damoov.events_event_id_seq'),
    ('SELECT', 'damoov.users'), ('INSERT', 'damoov.users'), ('UPDATE', 'damoov.users'),
    ('SELECT', 'damoov.events'), ('INSERT', 'damoov.events'),
    ('SELECT', 'damoov.redeliveries'), ('INSERT', 'damoov.redeliveries'), ('UPDATE', 'damoov.redeliveries'),
    ('INSERT', 'damoov.receipts'),
    ('SELECT', 'damoov.heartbeats'), ('INSERT', 'damoov.heartbeats'), ('UPDATE', 'damoov.heartbeats'),
    ('SELECT', 'damoov.crashes'), ('INSERT', 'damoov.crashes'), ('UPDATE', 'damoov.crashes'),
    ('SELECT', 'damoov.removed_tracks'), ('INSERT', 'damoov.removed_tracks'),
    ('SELECT', 'damoov.downloads'), ('INSERT', 'damoov.downloads'), ('UPDATE', 'damoov.downloads'), ('DELETE', 'damoov.downloads'),
    ('SELECT', 'damoov.trips'), ('DELETE', 'damoov.trips'),
    ('SELECT', 'damoov.trip_points'), ('DELETE', 'damoov.trip_points'),
    ('SELECT', 'damoov.trip_documents'), ('DELETE', 'damoov.trip_documents'),
    ('SELECT', 'damoov.trip_events'), ('DELETE', 'damoov.trip_events'),
    ('SELECT', 'damoov.raw_tracks'), ('DELETE', 'damoov.raw_tracks'),
    ('SELECT', 'damoov.raw_points'), ('DELETE', 'damoov.raw_points'),
    ('SELECT', 'damoov.raw_events'), ('DELETE', 'damoov.raw_events'),
    ('SELECT', 'damoov.documents'), ('DELETE', 'damoov.documents');
SELECT format('GRANT %s ON %s TO regress_damoov_ingest', privilege, object) FROM needed ORDER BY n \gexec
-- Ingests everything, twice, with one right missing; undone
CREATE FUNCTION pg_temp.ingest_without(privilege text, object text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    stored bigint;
BEGIN
    IF privilege IS NOT NULL THEN
        EXECUTE format('REVOKE %s ON %s FROM regress_damoov_ingest', privilege, object);
    END IF;
    SET LOCAL ROLE regress_damoov_ingest;
    SELECT count(*) INTO stored FROM note AS n, LATERAL public.damoov_ingest(n.note) AS i;
    SELECT stored + count(*) INTO stored FROM public.damoov_ingest((SELECT jsonb_agg(n.note) FROM note AS n)) AS i;
    RAISE EXCEPTION SQLSTATE '00Z00';
EXCEPTION
    WHEN SQLSTATE '00Z00' THEN RETURN format('%s done', stored);
    WHEN OTHERS THEN RETURN SQLSTATE;
END
$$;
SELECT pg_temp.empty_tables();
INSERT INTO damoov.users (device_token) VALUES (:'token');
INSERT INTO damoov.trips (track_token, user_id, enriched_at, revision, point_count, filler_count)
SELECT '0d9e8f7a-1b2c-4d3e-8f40-5a6b7c8d9e0f', user_id, '2024-05-14T10:01:00Z', 1, 2, 0 FROM damoov.users;
INSERT INTO damoov.raw_tracks (track_token, user_id, format, point_count, event_count)
SELECT 'a1f2e3d4-c5b6-4a79-8897-a6b5c4d3e2f1', user_id, 1, 0, 0 FROM damoov.users;
SELECT pg_temp.ingest_without(NULL, NULL);
SELECT n.privilege, n.object, pg_temp.ingest_without(n.privilege, n.object) AS without_it FROM needed AS n ORDER BY n.n;
-- really, and then it cannot read what others ingested but through SELECT
SET ROLE regress_damoov_ingest;
SELECT i.event, i.outcome FROM damoov_ingest((SELECT jsonb_agg(note ORDER BY n) FROM note)) AS i;
SELECT s.statement, pg_temp.attempt(s.statement)
FROM (VALUES
    ('DELETE FROM damoov.events'), ('UPDATE damoov.events SET payload = ''{}'''), ('DELETE FROM damoov.users'), ('DELETE FROM damoov.heartbeats'),
    ('TRUNCATE damoov.trips'), ('UPDATE damoov.trips SET notes = NULL'), ('DELETE FROM damoov.removed_tracks'), ('SELECT FROM damoov.receipts'),
    ('SELECT body FROM damoov.quarantine'), ('SELECT damoov_pause(''q'')'), ('CREATE TABLE damoov.x (x integer)')
) AS s (statement);
RESET ROLE;
SELECT count(*) AS trips FROM damoov.trips;
-- what is fetched does not depend on who stores the notification: the role has no right to any of these servers
CREATE FUNCTION pg_temp.queued(VARIADIC servers text[]) RETURNS TABLE (superuser text, role text) LANGUAGE plpgsql AS $$
DECLARE
    server text;
BEGIN
    FOREACH server IN ARRAY servers LOOP
        EXECUTE 'CREATE SERVER regress_damoov_' || replace(server, '(', 'FOREIGN DATA WRAPPER damoov OPTIONS (');
    END LOOP;
    TRUNCATE damoov.downloads, damoov.events, damoov.redeliveries;
    PERFORM public.damoov_ingest(jsonb_agg(n.note), 'regress_damoov_source') FROM note AS n;
    superuser := string_agg(d.kind, ', ' ORDER BY d.kind) FROM damoov.downloads AS d;
    TRUNCATE damoov.downloads, damoov.events, damoov.redeliveries;
    SET LOCAL ROLE regress_damoov_ingest;
    PERFORM public.damoov_ingest(jsonb_agg(n.note), 'regress_damoov_source') FROM note AS n;
    RESET ROLE;
    role := string_agg(d.kind, ', ' ORDER BY d.kind) FROM damoov.downloads AS d;
    DROP SERVER IF EXISTS regress_damoov_a, regress_damoov_b, regress_damoov_source;
    RETURN NEXT;
END
$$;
SELECT * FROM pg_temp.queued(VARIADIC '{}');
SELECT * FROM pg_temp.queued($$a TYPE 'api' (fetch 'processed,raw')$$);
SELECT * FROM pg_temp.queued($$a TYPE 'api' (fetch 'raw')$$, $$source TYPE 'webhook' (api 'regress_damoov_a')$$);
-- named, and another one as well; one that is not there; an option that cannot be read
SELECT * FROM pg_temp.queued($$a TYPE 'api' (fetch 'crash')$$, $$b TYPE 'api' (fetch 'raw')$$, $$source TYPE 'webhook' (api 'regress_damoov_a')$$);
SELECT * FROM pg_temp.queued($$source TYPE 'webhook' (api 'regress_damoov_a')$$);
SELECT * FROM pg_temp.queued($$a TYPE 'api' (fetch 'processed;raw')$$);
-- one of two could be meant
SELECT * FROM pg_temp.queued($$a TYPE 'api' (fetch 'crash')$$, $$b TYPE 'api' (fetch 'raw')$$);

-- Objects planted in the path of the caller are not used
SELECT pg_temp.empty_tables();
CREATE SCHEMA regress_damoov_trap;
CREATE FUNCTION regress_damoov_trap.trap(text, text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''trapped''; END';
CREATE FUNCTION regress_damoov_trap.trap(uuid, uuid) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''trapped''; END';
CREATE FUNCTION regress_damoov_trap.trap(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''trapped''; END';
CREATE OPERATOR regress_damoov_trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = regress_damoov_trap.trap);
CREATE OPERATOR regress_damoov_trap.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = regress_damoov_trap.trap);
CREATE OPERATOR regress_damoov_trap.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = regress_damoov_trap.trap);
CREATE FUNCTION regress_damoov_trap.nextval(regclass) RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''trapped''; END';
CREATE FUNCTION regress_damoov_trap.unnest(anyarray) RETURNS SETOF anyelement LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''trapped''; END';
CREATE FUNCTION regress_damoov_trap.string_to_array(text, text) RETURNS text[] LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''trapped''; END';
CREATE TEMP TABLE users (device_token uuid, user_id bigint);
CREATE TEMP TABLE events (event text);
CREATE TEMP TABLE arrived (event text);
SET search_path = regress_damoov_trap, pg_catalog, pg_temp, public;
SELECT 'a'::text = 'b'::text AS this_is_trapped;
SELECT i.event, i.outcome FROM public.damoov_ingest((SELECT pg_catalog.jsonb_agg(note ORDER BY n) FROM note)) AS i;
SHOW search_path;
-- a procedure that commits has declared its variables before it can set the path
CREATE DOMAIN regress_damoov_trap.text AS pg_catalog.text CHECK (regress_damoov_trap.trap(VALUE, VALUE));
SELECT text 'a' AS this_is_trapped;
CALL public.damoov_retry_all();
CALL public.damoov_purge();
CALL public.damoov_pack('-infinity');
SHOW search_path;
RESET search_path;
SELECT (SELECT count(*) FROM pg_temp.users) AS temp_users, (SELECT count(*) FROM damoov.users) AS users, (SELECT count(*) FROM damoov.events) AS events;
DROP TABLE pg_temp.users, pg_temp.events, pg_temp.arrived;
DROP SCHEMA regress_damoov_trap CASCADE;

-- No error of the door quotes the device token: message, detail, hint and context of every way to fail
SELECT pg_temp.empty_tables();
SELECT count(*) FROM damoov_ingest((SELECT note || '{"UserId": "5b0c7d1e-2f34-4a56-8b79-000000000002"}' FROM note WHERE n = 2));
CREATE FUNCTION pg_temp.error_of(payload jsonb, OUT state text, OUT quotes boolean) LANGUAGE plpgsql AS $$
DECLARE
    message text;
    detail text;
    hint text;
    context text;
    constraint_name text;
BEGIN
    PERFORM public.damoov_ingest(payload);
    RAISE EXCEPTION SQLSTATE '00Z00';
EXCEPTION
    WHEN SQLSTATE '00Z00' THEN
        state := 'stored';
    WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
            hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT, constraint_name = CONSTRAINT_NAME;
        -- also a part of it, however it is written
        quotes := regexp_replace(concat_ws(' ', message, detail, hint, context, constraint_name), '[^0-9a-z]', '', 'gi') ~* '5b0c7d1e|8b79c0d1|c0d1e2f3a4b5';
END
$$;
SELECT e.state, bool_or(e.quotes) AS quotes
FROM (
    -- every member missing, null, of every wrong type, or with the token itself in it
    SELECT s.note #- p.path AS payload FROM note AS s, (VALUES ('{Event}'::text[]), ('{UserId}'), ('{Object}'), ('{Object,Id}'), ('{Timestamp}')) AS p (path)
    UNION ALL
    SELECT jsonb_set(s.note, p.path, v.value) FROM note AS s,
        (VALUES ('{Event}'::text[]), ('{UserId}'), ('{Object}'), ('{Object,Id}'), ('{Object,Url}'), ('{Timestamp}'), ('{Details}'), ('{Details,TracksRemoved}'), ('{ClientId}')) AS p (path),
        (VALUES ('null'::jsonb), ('""'), ('5'), ('true'), ('{}'), ('[]'), ('[1]'), ('[{"Id": "x"}]'), ('"x"'),
            (to_jsonb('5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5'::text)), (to_jsonb('5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5x'::text)),
            (to_jsonb('5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4'::text)), (to_jsonb('https://evil.example/5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5'::text)),
            (jsonb_build_array(jsonb_build_object('Id', '5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5-5')))) AS v (value)
    UNION ALL
    SELECT jsonb_set(s.note, '{Timestamp}', to_jsonb(t.stamp)) FROM note AS s,
        (VALUES ('2024-02-30T00:00:00Z'), ('2024-02-20T00:00:00+20:00'), ('now'), ('9999-12-31T23:59:59Z'), ('2199-01-01T00:00:00Z')) AS t (stamp)
    UNION ALL
    SELECT jsonb_build_array(s.note, s.note - 'Event') FROM note AS s
    UNION ALL
    -- envelopes whose text is cut off in the middle of the token, or anywhere
    SELECT jsonb_build_object('Type', 'Notification', 'MessageId', 'm', 'TopicArn', 'a', 'Message', left(s.note::text, i))
    FROM note AS s, generate_series(0, length(s.note::text) - 1, 7) AS i
    UNION ALL
    SELECT jsonb_build_object('Type', 'Notification', 'MessageId', 'm', 'TopicArn', 'a', 'Message', overlay(s.note::text PLACING c.c FROM i FOR 1))
    FROM note AS s, generate_series(1, length(s.note::text) - 1, 11) AS i, (VALUES ('"'), ('{'), (E'\x01'), ('\u0000'), ('\q')) AS c (c)
    UNION ALL
    -- too deep, too big, too long, a number out of range, another person's track
    SELECT s.note || jsonb_build_object('Deep', (repeat('[', 70) || repeat(']', 70))::jsonb) FROM note AS s
    UNION ALL SELECT s.note || jsonb_build_object('Big', repeat('x', 2200000)) FROM note AS s WHERE s.n = 7
    UNION ALL SELECT s.note || jsonb_build_object('Event', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1000) AS i)) FROM note AS s WHERE s.n = 7
    UNION ALL SELECT s.note || '{"Number": 1e5000}' FROM note AS s
    UNION ALL SELECT jsonb_set(s.note, '{Details,TracksRemoved}', '[{"Id": "c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d"}]')
        || '{"Object": {"Id": "aaaaaaaa-0000-4000-8000-000000000001"}}' FROM note AS s WHERE s.n = 3
) AS b, pg_temp.error_of(b.payload) AS e
GROUP BY e.state ORDER BY e.state;
SELECT count(*) AS events FROM damoov.events;
-- nor does trying a quarantined message again, which casts its text
CREATE FUNCTION pg_temp.retry_error(body bytea, mended jsonb, OUT state text, OUT quotes boolean) LANGUAGE plpgsql AS $$
DECLARE
    message text;
    detail text;
    hint text;
    context text;
BEGIN
    INSERT INTO damoov.quarantine (quarantine_id, source, reason, sqlstate, message, body, body_digest)
    VALUES (-1, 'q', 'bad_json', '22P02', 'invalid JSON text, line 1, byte 1', body, sha256(body));
    PERFORM public.damoov_retry(-1, mended);
    RAISE EXCEPTION SQLSTATE '00Z00';
EXCEPTION
    WHEN SQLSTATE '00Z00' THEN
        state := 'stored';
    WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
            hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT;
        quotes := regexp_replace(concat_ws(' ', message, detail, hint, context), '[^0-9a-z]', '', 'gi') ~* '5b0c7d1e|8b79c0d1|c0d1e2f3a4b5';
END
$$;
SELECT b.what, e.state, coalesce(e.quotes, false) AS quotes
FROM note AS s, LATERAL (VALUES
    (1, 'as it is', convert_to(s.note::text, 'UTF8'), NULL::jsonb),
    (2, 'cut after the token', convert_to('{"UserId": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5', 'UTF8'), NULL),
    (3, 'text after the token', convert_to('{"UserId": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5" x', 'UTF8'), NULL),
    (4, 'token without quotes', convert_to('{"UserId": 5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5}', 'UTF8'), NULL),
    (5, 'NUL after the token', convert_to('{"UserId": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5\u0000"}', 'UTF8'), NULL),
    (6, 'no UTF-8', convert_to('{"UserId": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5', 'UTF8') || '\xff', NULL),
    (7, 'mended, still bad', convert_to('{', 'UTF8'), '{"UserId": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5"}'),
    (8, 'mended', convert_to('{', 'UTF8'), s.note)
) AS b (n, what, body, mended), pg_temp.retry_error(b.body, b.mended) AS e
WHERE s.n = 7 ORDER BY b.n;

SELECT pg_temp.empty_tables();
REVOKE ALL ON ALL TABLES IN SCHEMA damoov FROM regress_damoov_ingest;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA damoov FROM regress_damoov_ingest;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA damoov FROM regress_damoov_ingest;
REVOKE ALL ON FUNCTION damoov_ingest(jsonb, text) FROM regress_damoov_ingest;
SELECT damoov_revoke('regress_damoov_reader', 'reader') > 0 AS revoked;
REVOKE ALL ON SCHEMA damoov FROM regress_damoov_ingest;
DROP ROLE regress_damoov_nobody;
DROP ROLE regress_damoov_reader;
DROP ROLE regress_damoov_ingest;

-- What others have granted meanwhile would not be seen
\set VERBOSITY sqlstate
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT damoov_revoke('pg_monitor', 'monitor');
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT damoov_grant('pg_monitor', 'monitor');
ROLLBACK;
