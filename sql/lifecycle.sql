-- What becomes of stored data: forgetting persons, kept documents, retention,
-- rebuilding, and what arrives without a column.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/prelude.psql

\set ann '''a0000000-0000-4000-8000-00000000000a'''
\set bob '''b0000000-0000-4000-8000-00000000000b'''

CREATE FUNCTION pg_temp.note(event text, person uuid, object uuid, sent text, details jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('Event', event, 'UserId', person, 'Timestamp', sent, 'Sender', 'Damoov',
        'Object', jsonb_build_object('Id', object), 'Details', details)
$$;
CREATE FUNCTION pg_temp.document(rating numeric, extra text DEFAULT '') RETURNS text LANGUAGE sql AS $$
    SELECT format('{"Result": {"Code": 200, "Track": {"StartDate": "2024-05-14T10:00:00+02:00", "EndDate": "2024-05-14T10:01:00+02:00", "Rating": %s, %s
        "Points": [{"Number": 1, "PointDate": "2024-05-14T10:00:00+02:00", "Latitude": 50.1, "Longitude": 8.6, "Speed": 30, "SpeedLimit": 20},
            {"Number": 2, "PointDate": "2024-05-14T10:00:03+02:00", "Latitude": 50.2, "Longitude": 8.7, "Speed": 10, "SpeedLimit": 20, "AxisTilt": 7}]}}}',
        rating, extra)
$$;
-- How many rows each table holds, empty ones left out
CREATE FUNCTION pg_temp.counts() RETURNS TABLE (table_name text, row_count bigint) LANGUAGE plpgsql AS $$
BEGIN
    FOR table_name IN SELECT c.relname FROM pg_class AS c
        WHERE c.relnamespace = 'damoov'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname NOT IN ('receipts', 'sources') ORDER BY 1
    LOOP
        EXECUTE format('SELECT count(*) FROM damoov.%I', table_name) INTO row_count;
        IF row_count > 0 THEN
            RETURN NEXT;
        END IF;
    END LOOP;
END
$$;
-- Every row of damoov that names a person by token or is said to be theirs
CREATE FUNCTION pg_temp.traces(person text) RETURNS TABLE (table_name text) LANGUAGE plpgsql AS $$
DECLARE
    found boolean;
BEGIN
    FOR table_name IN SELECT c.relname FROM pg_class AS c
        WHERE c.relnamespace = 'damoov'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM damoov.%I AS t WHERE replace(lower(to_jsonb(t)::text), ''-'', '''') LIKE ''%%'' || $1 || ''%%''
            OR to_jsonb(t)::text LIKE ''%%'' || $2 || ''%%'')', table_name) INTO found
            USING replace(lower(person), '-', ''), substr(encode(convert_to(person, 'UTF8'), 'hex'), 1, 60);
        IF found THEN
            RETURN NEXT;
        END IF;
    END LOOP;
END
$$;
CREATE FUNCTION pg_temp.fill() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    ann uuid := 'a0000000-0000-4000-8000-00000000000a';
    bob uuid := 'b0000000-0000-4000-8000-00000000000b';
    person uuid;
    digit text;
BEGIN
    FOREACH person IN ARRAY ARRAY[ann, bob] LOOP
        digit := left(person::text, 1);
        PERFORM public.damoov_ingest(jsonb_build_array(
            pg_temp.note('HeartbeatReceived', person, person, '2024-05-14T08:00:00Z', '{"ChargeLevel": 63.5}'),
            pg_temp.note('TrackEnrichmentFinished', person, (digit || '1111111-0000-4000-8000-000000000001')::uuid, '2024-05-14T09:00:00Z',
                jsonb_build_object('TracksRemoved', jsonb_build_array(jsonb_build_object('Id', digit || '2222222-0000-4000-8000-000000000002')))),
            pg_temp.note('TrackEnrichmentFinished', person, (digit || '3333333-0000-4000-8000-000000000003')::uuid, '2024-05-14T09:00:00Z'),
            pg_temp.note('AccidentEventReceived', person, (digit || '4444444-0000-4000-8000-000000000004')::uuid, '2024-05-14T09:00:00Z'),
            pg_temp.note('SomethingNew', person, person, '2024-05-14T09:00:00Z', '{"Mood": "fine"}')));
        -- again: a redelivery
        PERFORM public.damoov_ingest(pg_temp.note('SomethingNew', person, person, '2024-05-14T09:00:00Z', '{"Mood": "fine"}'));
        PERFORM damoov.store_dataset('processed', (digit || '1111111-0000-4000-8000-000000000001')::uuid, pg_temp.document(4.5));
        DELETE FROM damoov.downloads WHERE object_id = (digit || '1111111-0000-4000-8000-000000000001')::uuid;
        INSERT INTO damoov.quarantine (source, reason, sqlstate, message, body, body_digest)
        SELECT 'regress', 'bad_json', '22P02', 'is not JSON', b.body, sha256(b.body)
        FROM unnest(ARRAY[person::text, upper(person::text), replace(person::text, '-', '')]) AS s (spelling),
            convert_to('{"UserId": "' || spelling || '"', 'UTF8') AS b (body);
        INSERT INTO damoov.quarantine (source, kind, object_id, reason, sqlstate, message, body, body_digest)
        VALUES ('regress', 'processed', (digit || '3333333-0000-4000-8000-000000000003')::uuid, 'dataset_error', '08P01', 'is not 200',
            convert_to(digit, 'UTF8'), sha256(convert_to(digit, 'UTF8')));
    END LOOP;
END
$$;

-- ---------------------------------------------------------------------
-- Forgetting
-- ---------------------------------------------------------------------

SELECT pg_temp.fill();
SELECT * FROM pg_temp.counts();
SELECT * FROM damoov_forget(upper(:ann)) ORDER BY table_name;
-- nothing of her is left, half of everything is there
SELECT * FROM pg_temp.traces(:ann);
SELECT * FROM pg_temp.counts();
SELECT encode(token_digest, 'hex') = encode(sha256(convert_to(:ann, 'UTF8')), 'hex') AS digest FROM damoov.forgotten;

-- A late redelivery is dropped, alone or among others; her dataset has no person any more
SELECT * FROM damoov_ingest(pg_temp.note('HeartbeatReceived', :ann, :ann, '2024-05-14T08:00:01Z'));
SELECT event_id IS NULL AS dropped, event, outcome FROM damoov_ingest(jsonb_build_array(
    pg_temp.note('HeartbeatReceived', :ann, :ann, '2024-05-14T08:00:02Z'),
    pg_temp.note('HeartbeatReceived', :bob, :bob, '2024-05-14T08:00:02Z'),
    pg_temp.note('TrackEnrichmentFinished', :ann, 'a3333333-0000-4000-8000-000000000003', '2024-05-14T09:00:00Z',
        '{"TracksRemoved": [{"Id": "b1111111-0000-4000-8000-000000000001"}]}')));
SELECT damoov.store_dataset('processed', 'a1111111-0000-4000-8000-000000000001', pg_temp.document(4));
SELECT damoov_fetch_track('a1111111-0000-4000-8000-000000000001', :ann);
SELECT damoov.names_forgotten(convert_to('{"x": "{A0000000-00004000-8000-00000000000A}"', 'UTF8')),
    damoov.names_forgotten(convert_to('{"x": "b0000000-0000-4000-8000-00000000000b"}', 'UTF8'));
SELECT * FROM pg_temp.traces(:ann);
SELECT sum(received) = sum(stored + duplicate + unknown + control + quarantined) AS balanced, sum(duplicate) AS duplicate FROM damoov.receipts;

-- Twice, an unknown person, bad tokens: these are not repeated
SELECT * FROM damoov_forget(:ann);
SELECT * FROM damoov_forget('c0000000-0000-4000-8000-00000000000c');
SELECT count(*) FROM damoov.forgotten;
SELECT * FROM damoov_ingest(pg_temp.note('HeartbeatReceived', 'c0000000-0000-4000-8000-00000000000c', 'c0000000-0000-4000-8000-00000000000c', '2024-05-14T08:00:01Z'));
SELECT damoov_forget('secret');
SELECT damoov_forget(NULL);
SELECT damoov_forget('00000000-0000-0000-0000-000000000000');
BEGIN READ ONLY;
SELECT damoov_forget(:bob);
ROLLBACK;
-- One transaction
BEGIN;
SELECT count(*) > 5 AS erased FROM damoov_forget(:bob);
ROLLBACK;
SELECT count(*) FROM damoov.users;
-- Tables that hold nothing of a person; the body of quarantine is searched
SELECT c.relname FROM pg_class AS c
WHERE c.relnamespace = 'damoov'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname NOT IN (SELECT table_name FROM damoov.person_tables)
ORDER BY 1;
-- A new table of persons is not left out, neither one of parts
BEGIN;
CREATE TABLE damoov.regress_more (more_id bigint PRIMARY KEY, user_id bigint REFERENCES damoov.users);
CREATE TABLE damoov.regress_more_parts (more_id bigint REFERENCES damoov.regress_more, n integer);
INSERT INTO damoov.regress_more SELECT 1, user_id FROM damoov.users;
INSERT INTO damoov.regress_more_parts VALUES (1, 1), (1, 2);
SELECT * FROM damoov_forget(:bob) WHERE table_name LIKE 'regress%' ORDER BY 1;
ROLLBACK;

-- In whatever spelling, and whatever stands before and behind
CREATE FUNCTION pg_temp.spelled(token text, format text) RETURNS text LANGUAGE sql IMMUTABLE
RETURN (SELECT string_agg(format(format, c, lpad(to_hex(ascii(c)), 2, '0'), left(lpad(to_hex(ascii(c)), 2, '0'), 1), right(to_hex(ascii(c)), 1)), '' ORDER BY n)
    FROM string_to_table(token, NULL) WITH ORDINALITY AS s (c, n));
CREATE FUNCTION pg_temp.spellings(token uuid) RETURNS TABLE (n bigint, name text, body bytea) LANGUAGE sql AS $$
    SELECT row_number() OVER (), s.name, convert_to(s.body, 'UTF8')
    FROM (VALUES
        ('hyphens', token::text), ('capitals', upper(token::text)), ('digits', replace(token::text, '-', '')), ('hyphens everywhere', pg_temp.spelled(token::text, '%1$s--')),
        ('of a URL', pg_temp.spelled(token::text, '%%%2$s')), ('one digit of it', '%' || to_hex(ascii(left(token::text, 1))) || substr(token::text, 2)),
        ('the last one', left(token::text, 35) || '%' || to_hex(ascii(right(token::text, 1)))),
        ('twice', pg_temp.spelled(token::text, '%%25%2$s')), ('three times', pg_temp.spelled(token::text, '%%2525%2$s')), ('hyphens of it', replace(token::text, '-', '%2D')),
        ('of JSON', pg_temp.spelled(token::text, '\u00%2$s')), ('one digit of it', '\u00' || to_hex(ascii(left(token::text, 1))) || substr(token::text, 2)),
        ('in a text in a text', pg_temp.spelled(token::text, '\\u00%2$s')), ('and again', pg_temp.spelled(token::text, '\\\\u00%2$s')),
        ('of C', pg_temp.spelled(token::text, '\x%2$s')),
        ('of a URL in JSON', pg_temp.spelled(token::text, '\u0025%2$s')), ('every character', pg_temp.spelled(token::text, '\u0025\u003%3$s%4$s')),
        ('of JSON in a URL', pg_temp.spelled(token::text, '%%5Cu00%2$s')), ('of texts in it', pg_temp.spelled(token::text, '%%5C%%5cu00%2$s'))
    ) AS s (name, body)
    UNION ALL
    SELECT 100, 'two bytes, the greater first', decode(pg_temp.spelled(token::text, '00%2$s'), 'hex')
    UNION ALL
    SELECT 101, 'two bytes, the smaller first', decode(pg_temp.spelled(token::text, '%2$s00'), 'hex')
$$;
SELECT s.name, bool_and(damoov.names_forgotten(convert_to(b.before, 'UTF8') || s.body || convert_to(b.behind, 'UTF8'))) AS noticed,
    bool_or(damoov.names_forgotten(convert_to(b.before, 'UTF8') || o.body || convert_to(b.behind, 'UTF8'))) AS another
FROM pg_temp.spellings(:ann) AS s JOIN pg_temp.spellings('a0000000-0000-4000-8000-00000000000b') AS o USING (n, name),
    (VALUES ('', ''), ('exports/2024-05-14-', '.json'), ('abc', 'def'), ('-', '-'), ('{', '}'), ('%', ''), ('%2', ''), ('\', ''), ('\u00', ''), ('a0000000-0000-4000-8000-000000000000', '0'),
        ('00000000-0000-4000-8000-0000000000001-', '-00000000-0000-4000-8000-000000000000'), ('ä', 'ö'), ('"', '"')) AS b (before, behind)
GROUP BY s.n, s.name ORDER BY s.n;
SELECT damoov.names_forgotten(convert_to(left(:ann, 35), 'UTF8')), damoov.names_forgotten(''), damoov.names_forgotten('%%%%%%%%a\\\\\\u\\u00'), damoov.names_forgotten(convert_to(repeat('%', 100000), 'UTF8'));
-- ... at each door, and what is there already goes with the person
CREATE FUNCTION pg_temp.bucket_event(key text) RETURNS jsonb LANGUAGE sql
RETURN jsonb_build_object('Records', jsonb_build_array(jsonb_build_object('eventVersion', '2.1', 'eventSource', 'aws:s3', 'awsRegion', 'eu-west-1', 'eventTime', '2024-05-14T10:00:00Z',
    'eventName', 'ObjectCreated:Put', 's3', jsonb_build_object('bucket', '{"name": "fleet"}'::jsonb, 'object', jsonb_build_object('key', key, 'size', 1, 'sequencer', '01')))));
CREATE SERVER regress_push TYPE 'webhook' FOREIGN DATA WRAPPER damoov;
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_push OPTIONS (webhook_secret 'ALongRandomText');
CREATE FUNCTION pg_temp.take_everything(person uuid) RETURNS TABLE (events bigint, downloads bigint, quarantine bigint) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM public.damoov_ingest(pg_temp.bucket_event('exports/2024-05-14-' || s.n || '/7' || convert_from(s.body, 'UTF8') || '.json')) FROM pg_temp.spellings(person) AS s WHERE s.n < 100;
    PERFORM public.damoov_webhook('7' || s.body || s.n::text::bytea, '{"Authorization": "ALongRandomText"}') FROM pg_temp.spellings(person) AS s;
    RETURN QUERY SELECT (SELECT count(*) FROM damoov.events AS e WHERE e.outcome = 'control'), (SELECT count(*) FROM damoov.downloads AS d WHERE d.kind = 'object'),
        (SELECT count(*) FROM damoov.quarantine AS q WHERE q.source = 'regress_push');
END
$$;
BEGIN;
SELECT * FROM pg_temp.take_everything(:ann);
SELECT * FROM pg_temp.take_everything('c0000000-0000-4000-8000-00000000000d');
SELECT * FROM damoov_forget('c0000000-0000-4000-8000-00000000000d') ORDER BY 1;
SELECT * FROM pg_temp.take_everything('c0000000-0000-4000-8000-00000000000d');
ROLLBACK;
DROP SERVER regress_push CASCADE;
-- Who comes back is welcome without the mark
DELETE FROM damoov.forgotten WHERE token_digest = damoov.token_digest(:ann);
SELECT event, outcome FROM damoov_ingest(pg_temp.note('HeartbeatReceived', :ann, :ann, '2024-05-14T08:00:01Z'));
SELECT pg_temp.empty_tables();

-- What is kept of a dataset holds no token either, wherever it stands: % is a spelling of it, with something around it
CREATE FUNCTION pg_temp.keep(person uuid, spelling text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    dataset record;
    kept record;
    found boolean;
    places integer := 0;
BEGIN
    PERFORM pg_temp.empty_tables();
    PERFORM public.damoov_ingest(pg_temp.note(n.event, person, n.object, '2024-05-14T09:00:00Z'))
    FROM (VALUES ('IncomingTrackReceived', 'a1111111-0000-4000-8000-000000000001'::uuid), ('TrackEnrichmentFinished', 'a1111111-0000-4000-8000-000000000001'),
        ('AccidentEventReceived', 'a4444444-0000-4000-8000-000000000004')) AS n (event, object);
    FOR dataset IN
        SELECT d.kind, d.object_id, replace(d.document, '%', spelling) AS document
        FROM (VALUES
            ('processed', 'a1111111-0000-4000-8000-000000000001'::uuid, '{"Out": "%", "Result": {"Code": 200, "Track": {"%": 1, "Owner": "%", "Two": "%%", "DrivingTips": "by %", "AddressStartParts": {"City": "%", "%": 1},
                "Tags": ["%"], "Deep": [{"%": {"\"x": ["%"]}}], "Last": "%", "Points": [{"Number": 1, "SpeedType": "%", "%": "%", "Who": ["%"]}]}}}'),
            ('raw', 'a1111111-0000-4000-8000-000000000001', '{"success": true, "status_code": 200, "result": {"Other": "%", "S3Location": {"Bucket": "%", "S3Url": "https://b.example/%/x.json", "Key": "trips/filtered/x/%/y.json"},
                "TripData": {"StartReason": "%", "Tags": {"%": "%"}, "%": "%", "Points": [{"Number": 1, "%": ["%"], "VehicleIndicators": {"%": "%"}}], "Events": [{"Type": "%", "AccidentTrigger": "%", "%": "%", "New": {"x": "%"}}]}}}'),
            ('crash', 'a4444444-0000-4000-8000-000000000004', '{"Type": "%", "AccidentTrigger": "%", "%": "%", "New": [{"%": "%"}]}'),
            ('crash_buffer', 'a4444444-0000-4000-8000-000000000004', '{"Whose": "%", "%": "%", "New": {"Phone": "%"}, "Samples": [{"AccX": 1, "AccY": 2, "AccZ": 3, "%": "%"}, {"AccX": 1, "AccY": 2, "AccZ": 3, "New": {"x": "%"}}]}')
        ) AS d (kind, object_id, document)
    LOOP
        PERFORM damoov.store_dataset(dataset.kind, dataset.object_id, dataset.document);
        -- the original is what came, and goes with the person
        IF NOT EXISTS (SELECT FROM damoov.documents AS o WHERE o.kind = dataset.kind AND o.document = dataset.document) THEN
            RETURN 'no original of ' || dataset.kind;
        END IF;
    END LOOP;
    FOR kept IN
        SELECT c.relname FROM pg_class AS c
        WHERE c.relnamespace = 'damoov'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
            AND c.relname NOT IN ('users', 'events', 'documents') ORDER BY 1
    LOOP
        EXECUTE format('SELECT coalesce(bool_or($1 IN (SELECT damoov.spelled_uuids(convert_to(replace(t::text, ''""'', ''"''), ''UTF8'')))), false),
            $2 + coalesce(sum(cardinality(string_to_array(t::text, ''[redacted]'')) - 1), 0) FROM damoov.%I AS t', kept.relname) INTO found, places USING person, places;
        IF found THEN
            RETURN 'in ' || kept.relname;
        END IF;
    END LOOP;
    RETURN 'hidden at ' || places || ' places';
END
$$;
-- (a SpeedType of more than 64 bytes is left out)
SELECT s.name, count(*) AS surroundings, string_agg(DISTINCT pg_temp.keep(:ann, b.before || convert_from(s.body, 'UTF8') || b.behind), '; ') AS result
FROM pg_temp.spellings(:ann) AS s,
    (VALUES ('', ''), ('x', 'y'), ('exports/2024-05-14-', '.json'), ('abc', 'def'), ('-', '-'), ('{', '}'), ('\\', ''), ('\"', '\"'), ('\/', '\/'), ('\u0041', '\u0041'), ('ä', 'ö'),
        ('\\\\\\\\', '\\'), ('00000000-0000-4000-8000-0000000000001-', '-00000000-0000-4000-8000-000000000000')) AS b (before, behind)
WHERE s.n < 100 AND s.name <> 'of C'
GROUP BY s.n, s.name ORDER BY s.n;
-- ... where it begins within an escape, and as a number
SELECT pg_temp.keep('00410042-0000-4000-8000-00000000000c', '\u00410042-0000-4000-8000-00000000000c') AS within_an_escape;
SELECT pg_temp.keep('00410042-0000-4000-8000-000000000041', '00410042-0000-4000-8000-0000000000\u0034\u0031') AS at_the_end;
SELECT pg_temp.empty_tables();
SELECT count(*) FROM damoov_ingest(pg_temp.note('TrackEnrichmentFinished', '12345678-9012-4345-8789-012345678901', 'a1111111-0000-4000-8000-000000000001', '2024-05-14T09:00:00Z'));
SELECT damoov.store_dataset('processed', 'a1111111-0000-4000-8000-000000000001', '{"Result": {"Code": 200, "Track": {"Points": [], "Serial": 12345678901243458789012345678901, "More": [-1234567890124345878901234567890155, 1, {"x": 912345678901243458789012345678901}]}}}') IS NOT NULL AS stored;
SELECT extra FROM damoov.trips;
-- ... and no view shows what could be one
SELECT damoov.extra_members(jsonb_build_object('x' || s.name, convert_from(s.body, 'UTF8'), convert_from(s.body, 'UTF8'), 1)) FROM pg_temp.spellings(:ann) AS s WHERE s.n < 100 ORDER BY s.n;
-- a search in a row of backslashes does not take longer with each of them
SELECT count(*) FROM damoov.spelled_uuids(convert_to(repeat('\', 1000000), 'UTF8'));
SELECT pg_temp.empty_tables();

-- ---------------------------------------------------------------------
-- Originals
-- ---------------------------------------------------------------------

SELECT pg_temp.fill();
SHOW damoov.keep_documents;
SELECT kind, object_id, user_id = (SELECT user_id FROM damoov.trips WHERE track_token = object_id) AS same_person, document = pg_temp.document(4.5) AS as_stored
FROM damoov.documents ORDER BY object_id;
-- the newest one; the same again keeps its time
UPDATE damoov.documents SET fetched_at = '2024-05-15 00:00Z';
SELECT count(damoov.store_dataset(kind, object_id, document)) FROM damoov.documents WHERE object_id = 'a1111111-0000-4000-8000-000000000001';
SELECT fetched_at FROM damoov.documents WHERE object_id = 'a1111111-0000-4000-8000-000000000001';
SELECT damoov.store_dataset('processed', 'a1111111-0000-4000-8000-000000000001', pg_temp.document(3)) IS NOT NULL AS stored;
SELECT fetched_at > '2024-05-16' AS now, document = pg_temp.document(3) AS newest FROM damoov.documents WHERE object_id = 'a1111111-0000-4000-8000-000000000001';
-- what is refused is not kept
SELECT damoov.store_dataset('processed', 'a1111111-0000-4000-8000-000000000001', '{"Result": {"Code": 500}}');
-- none is kept, and none that is out of date stays
SET damoov.keep_documents = 0;
SELECT damoov.store_dataset('processed', 'a1111111-0000-4000-8000-000000000001', pg_temp.document(2)) IS NOT NULL AS stored;
SELECT count(damoov.store_dataset(kind, object_id, document)) FROM damoov.documents;
SELECT object_id FROM damoov.documents;
RESET damoov.keep_documents;
-- it goes with its trip
SELECT outcome FROM damoov_ingest(pg_temp.note('IncomingTrackRemoved', :bob, 'b1111111-0000-4000-8000-000000000001', '2024-05-14T10:00:00Z'));
SELECT * FROM damoov.documents;
INSERT INTO damoov.documents (kind, object_id, user_id, document) SELECT k.kind, crash_token, user_id, '{}' FROM damoov.crashes, (VALUES ('crash'), ('crash_buffer')) AS k (kind);
DELETE FROM damoov.crashes WHERE crash_token = 'b4444444-0000-4000-8000-000000000004';
SELECT kind, object_id FROM damoov.documents ORDER BY kind;
SELECT table_name, row_count FROM damoov_forget(:ann) WHERE table_name = 'documents';
-- the text names the unit differently from release to release
\set VERBOSITY sqlstate
SET damoov.keep_documents = -2;
\set VERBOSITY terse
SELECT pg_temp.empty_tables();

-- ---------------------------------------------------------------------
-- Retention
-- ---------------------------------------------------------------------

SET client_min_messages = notice;
SELECT pg_temp.fill();
SELECT count(*) AS receipts FROM damoov.receipts;
-- by default only originals go, and only with false
CALL damoov_purge();
BEGIN;
CALL damoov_purge();
CALL damoov_purge(false);
ROLLBACK;
BEGIN READ ONLY;
CALL damoov_purge(false);
ROLLBACK;
SET default_transaction_read_only = on;
CALL damoov_purge(false);
RESET default_transaction_read_only;
UPDATE damoov.documents SET fetched_at = now() - interval '29 days 23 hours' WHERE object_id = 'a1111111-0000-4000-8000-000000000001';
UPDATE damoov.documents SET fetched_at = now() - interval '30 days 1 hour' WHERE object_id = 'b1111111-0000-4000-8000-000000000001';
CALL damoov_purge();
CALL damoov_purge(false);
SELECT object_id FROM damoov.documents;

-- everything, but what could still be needed against redeliveries
SET damoov.keep_events = '10d';
SET damoov.keep_heartbeats = '90d';
SET damoov.keep_trips = '90d';
SET damoov.keep_crashes = '90d';
SET damoov.keep_quarantine = '10d';
SET damoov.keep_receipts = '20d';
CALL damoov_purge(false);
SELECT * FROM pg_temp.counts();
UPDATE damoov.events SET received_at = now() - interval '13 days';
UPDATE damoov.quarantine SET received_at = now() - interval '13 days' WHERE kind = 'message';
CALL damoov_purge(false);
SELECT * FROM pg_temp.counts();
UPDATE damoov.events SET received_at = now() - interval '15 days';
CALL damoov_purge(false);
SELECT * FROM pg_temp.counts();

-- crashes of which no stage is known, by what was fetched of them; what has ended; and who has nothing any more,
-- neither here nor in tables of others
SELECT table_name, row_count FROM pg_temp.counts();
INSERT INTO damoov.crashes (crash_token, user_id, header_stored_at, header_received_at)
SELECT c.crash_token, user_id, c.stored_at, c.received_at FROM damoov.users, (VALUES
    ('b5555555-0000-4000-8000-000000000001'::uuid, now() - interval '91 days', NULL), ('b5555555-0000-4000-8000-000000000002', now() - interval '89 days', NULL),
    ('b5555555-0000-4000-8000-000000000003', NULL, NULL), ('b5555555-0000-4000-8000-000000000004', NULL, NULL), ('b5555555-0000-4000-8000-000000000005', NULL, NULL),
    ('b5555555-0000-4000-8000-000000000006', now() - interval '91 days', now() - interval '89 days'),
    ('b5555555-0000-4000-8000-000000000007', now() - interval '89 days', now() - interval '91 days')) AS c (crash_token, stored_at, received_at)
WHERE device_token = :bob;
UPDATE damoov.crashes AS c SET buffer_stored_at = now() - b.days * interval '1 day'
FROM (VALUES ('b5555555-0000-4000-8000-000000000003'::uuid, 91), ('b5555555-0000-4000-8000-000000000004', 89)) AS b (crash_token, days)
WHERE c.crash_token = b.crash_token;
UPDATE damoov.downloads SET state = 'gone', last_error_at = now() - interval '9 days' WHERE object_id = 'a4444444-0000-4000-8000-000000000004';
UPDATE damoov.downloads SET state = 'failed', last_error_at = now() - interval '11 days' WHERE object_id = 'a3333333-0000-4000-8000-000000000003';
UPDATE damoov.downloads SET state = 'gone', queued_at = now() - interval '11 days' WHERE object_id = 'b3333333-0000-4000-8000-000000000003';
UPDATE damoov.downloads SET queued_at = now() - interval '11 days' WHERE object_id = 'b4444444-0000-4000-8000-000000000004';
INSERT INTO damoov.subscriptions (source, topic_arn, token_digest, state, requested_at, confirmed_at)
SELECT 'q', s.state || s.days, s.topic::bytea, s.state, now() - s.days * interval '1 day', CASE s.state WHEN 'confirmed' THEN now() - s.days * interval '1 day' END
FROM (VALUES ('1', 'confirmed', 19), ('2', 'confirmed', 21), ('3', 'failed', 19), ('4', 'failed', 21), ('5', 'waiting', 21)) AS s (topic, state, days);
INSERT INTO damoov.users (device_token) SELECT ('e0000000-0000-4000-8000-00000000000' || n)::uuid FROM generate_series(1, 3) AS n;
CREATE SCHEMA regress_own;
CREATE TABLE regress_own.fleet (driver bigint REFERENCES damoov.users, name text);
INSERT INTO regress_own.fleet SELECT user_id, 'e2' FROM damoov.users WHERE device_token = 'e0000000-0000-4000-8000-000000000002';
CALL damoov_purge(true);
CALL damoov_purge(false);
SELECT crash_token FROM damoov.crashes ORDER BY 1;
SELECT object_id, state FROM damoov.downloads ORDER BY 1;
SELECT topic_arn, state FROM damoov.subscriptions ORDER BY 1;
SELECT device_token FROM damoov.users ORDER BY 1;
-- who may not look into those tables removes nobody
UPDATE damoov.downloads SET state = 'failed', last_error_at = now() - interval '11 days' WHERE object_id = 'a4444444-0000-4000-8000-000000000004';
CREATE ROLE regress_damoov_purge;
GRANT USAGE ON SCHEMA damoov TO regress_damoov_purge;
GRANT ALL ON ALL TABLES IN SCHEMA damoov TO regress_damoov_purge;
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA damoov TO regress_damoov_purge;
GRANT EXECUTE ON PROCEDURE damoov_purge(boolean) TO regress_damoov_purge;
SET ROLE regress_damoov_purge;
CALL damoov_purge(false);
RESET ROLE;
SELECT device_token FROM damoov.users ORDER BY 1;
DROP SCHEMA regress_own CASCADE;
DROP OWNED BY regress_damoov_purge;
DROP ROLE regress_damoov_purge;
TRUNCATE damoov.crashes, damoov.downloads CASCADE;
DELETE FROM damoov.users WHERE device_token NOT IN (:ann, :bob);

-- many rows: more than one transaction
INSERT INTO damoov.heartbeats (user_id, reported_at)
SELECT user_id, now() - interval '91 days' - n * interval '1 second' FROM damoov.users, generate_series(1, 1100) AS n;
INSERT INTO damoov.heartbeats (user_id, reported_at) SELECT user_id, now() - interval '89 days' FROM damoov.users;
CALL damoov_purge(false);
SELECT count(*) FROM damoov.heartbeats;

-- receipts: the ledger is the same before and after, but for what is too old
TRUNCATE damoov.receipts;
INSERT INTO damoov.receipts (source, received_at, received, stored, duplicate, unknown, control, quarantined)
SELECT s.source, date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - d * interval '1 day' + n * interval '30 seconds', n, n - 1, 1, 0, 0, 0
FROM (VALUES ('one'), ('two')) AS s (source), generate_series(0, 25) AS d, generate_series(1, 60) AS n;
CREATE TEMP TABLE before AS SELECT * FROM damoov.ledger;
SELECT count(*) FROM damoov.receipts;
CALL damoov_purge(true);
CALL damoov_purge(false);
SELECT source, count(*) AS rows, count(*) FILTER (WHERE received_at >= date_trunc('day', now() - interval '1 day')) AS recent
FROM damoov.receipts GROUP BY source ORDER BY source;
SELECT count(*) AS days, bool_and(l.balanced) AS balanced, count(*) FILTER (WHERE b IS DISTINCT FROM l) AS differ
FROM before AS b FULL JOIN damoov.ledger AS l USING (source, day) WHERE day > now() - interval '20 days';
SELECT min(day) > now() - interval '21 days' AS oldest_gone FROM damoov.ledger;
CALL damoov_purge(false);
RESET ALL;
SET timezone = 'UTC';
SET client_min_messages = warning;
SELECT pg_temp.empty_tables();

-- ---------------------------------------------------------------------
-- Rebuilding
-- ---------------------------------------------------------------------

SELECT pg_temp.fill();
SELECT outcome FROM damoov_ingest(pg_temp.note('AccidentEventCompletePackageReceived', :ann, 'a4444444-0000-4000-8000-000000000004', '2024-05-14T09:01:00Z',
    '{"AccidentPassedFilters": true}') || '{"ClientId": "c-1"}');
SELECT outcome FROM damoov_ingest(pg_temp.note('HeartbeatReceived', :ann, :ann, '2024-05-14T09:02:00Z', '{"InstanceId": "7e1f2a3b-4c5d-4e6f-9a0b-1c2d3e4f5a6b"}'));
CREATE TEMP VIEW state AS
SELECT (SELECT jsonb_agg(u ORDER BY user_id) FROM damoov.users AS u) AS users,
    (SELECT jsonb_agg(h ORDER BY user_id, reported_at) FROM damoov.heartbeats AS h) AS heartbeats,
    (SELECT jsonb_agg(c ORDER BY crash_id) FROM damoov.crashes AS c) AS crashes,
    (SELECT jsonb_agg(r ORDER BY r::text) FROM damoov.removed_tracks AS r) AS removed_tracks,
    (SELECT jsonb_agg(t ORDER BY trip_id) FROM damoov.trips AS t) AS trips,
    (SELECT jsonb_agg(p ORDER BY trip_id, seq) FROM damoov.trip_points AS p) AS trip_points,
    (SELECT jsonb_agg(to_jsonb(d) - 'version' ORDER BY d.kind, d.object_id) FROM damoov.downloads AS d) AS downloads,
    (SELECT jsonb_agg(d ORDER BY kind, object_id) FROM damoov.documents AS d) AS documents;
CREATE TEMP TABLE good AS SELECT * FROM state;
-- nothing has changed
SELECT * FROM damoov_reparse('-infinity');
SELECT * FROM damoov_reparse('-infinity', false);
SELECT g IS NOT DISTINCT FROM s AS same FROM good AS g, state AS s;
-- as an older version, or someone, may have left the rows
UPDATE damoov.users SET client_id = 'wrong', instance_id = NULL WHERE device_token = :ann;
UPDATE damoov.heartbeats SET charge_percent = NULL, waiting_trips = 3;
UPDATE damoov.crashes SET passed_filters = NULL, header_received_at = '2020-01-01' WHERE crash_token = 'a4444444-0000-4000-8000-000000000004';
UPDATE damoov.removed_tracks SET vendor_reason = 'wrong' WHERE track_token = 'a2222222-0000-4000-8000-000000000002';
DELETE FROM damoov.removed_tracks WHERE track_token = 'b2222222-0000-4000-8000-000000000002';
UPDATE damoov.trips SET rating = NULL, notes = '{wrong}' WHERE track_token = 'a1111111-0000-4000-8000-000000000001';
UPDATE damoov.trip_points SET speed_kmh = 1 WHERE trip_id = (SELECT trip_id FROM damoov.trips WHERE track_token = 'b1111111-0000-4000-8000-000000000001');
CREATE TEMP TABLE bad AS SELECT * FROM state;
-- the persons by name
CREATE TEMP VIEW person AS SELECT user_id, CASE device_token WHEN :ann THEN 'ann' ELSE 'bob' END AS person FROM damoov.users;
SELECT kind, object_id, changed, person FROM damoov_reparse('-infinity') JOIN person USING (user_id) ORDER BY kind, person, object_id;
SELECT b IS NOT DISTINCT FROM s AS same FROM bad AS b, state AS s;
SELECT count(*) FROM damoov_reparse('infinity', false);
SELECT kind, object_id, changed, person FROM damoov_reparse('-infinity', false) JOIN person USING (user_id) ORDER BY kind, person, object_id;
SELECT key FROM good AS g, state AS s, jsonb_each(to_jsonb(g)) AS a JOIN jsonb_each(to_jsonb(s)) AS b USING (key) WHERE a.value <> b.value AND key <> 'trips' ORDER BY 1;
SELECT count(*) FROM damoov_reparse('-infinity');
-- an original that is refused stops nothing, a tombstone found again takes its trip away
UPDATE damoov.documents SET document = '{"Result": {"Code": 200}}' WHERE object_id = 'a1111111-0000-4000-8000-000000000001';
UPDATE damoov.trips SET track_token = 'b2222222-0000-4000-8000-000000000002' WHERE track_token = 'b1111111-0000-4000-8000-000000000001';
UPDATE damoov.documents SET object_id = 'b2222222-0000-4000-8000-000000000002' WHERE object_id = 'b1111111-0000-4000-8000-000000000001';
DELETE FROM damoov.removed_tracks WHERE track_token = 'b2222222-0000-4000-8000-000000000002';
SELECT kind, object_id, changed, person FROM damoov_reparse('-infinity', false) JOIN person USING (user_id) ORDER BY kind, person, object_id;
SELECT track_token, rating FROM damoov.trips;
SELECT damoov_reparse(NULL);
-- what an older version did not know
BEGIN;
SELECT count(*) FROM damoov_ingest(jsonb_build_array(
    pg_temp.note('TrackEnrichmentFinished', :ann, 'a7777777-0000-4000-8000-000000000001', '2024-05-14T10:00:00Z', '{"TracksRemoved": [{"Id": "a7777777-0000-4000-8000-000000000002"}]}'),
    pg_temp.note('IncomingTrackRemoved', :ann, 'a7777777-0000-4000-8000-000000000003', '2024-05-14T10:00:00Z', '{"Reason": "short"}'),
    pg_temp.note('HeartbeatReceived', :ann, :ann, '2024-05-14T10:00:00Z', '{"ChargeLevel": 7}'),
    pg_temp.note('DataBufferReceived', :ann, 'a7777777-0000-4000-8000-000000000004', '2024-05-14T10:00:00Z'),
    pg_temp.note('DataBufferReceived', :ann, 'a7777777-0000-4000-8000-000000000005', '2024-05-14T10:00:00Z'),
    pg_temp.note('StillNew', :ann, 'a7777777-0000-4000-8000-000000000006', '2024-05-14T10:00:00Z')));
CREATE TEMP TABLE known AS SELECT * FROM state;
CREATE TEMP TABLE told AS SELECT event_id, event, outcome FROM damoov.events;
UPDATE damoov.events SET outcome = 'unknown', event = payload ->> 'Event' WHERE sent_at = '2024-05-14T10:00:00Z' AND object_id <> 'a7777777-0000-4000-8000-000000000005';
DELETE FROM damoov.removed_tracks WHERE track_token::text LIKE 'a7777777%';
DELETE FROM damoov.heartbeats WHERE reported_at = '2024-05-14T10:00:00Z';
DELETE FROM damoov.crashes WHERE crash_token = 'a7777777-0000-4000-8000-000000000004';
DELETE FROM damoov.downloads WHERE object_id IN ('a7777777-0000-4000-8000-000000000001', 'a7777777-0000-4000-8000-000000000004');
-- one has come again under its name of today: that of before stays what it was
INSERT INTO damoov.events (source, event, outcome, user_id, object_id, sent_at, sent_text, payload)
SELECT source, 'DataBufferReceived', 'unknown', user_id, object_id, sent_at, sent_text, payload FROM damoov.events WHERE object_id = 'a7777777-0000-4000-8000-000000000005';
CREATE TEMP TABLE unknown AS SELECT * FROM state;
SELECT kind, object_id, changed, person FROM damoov_reparse('-infinity') JOIN person USING (user_id) WHERE kind NOT IN ('processed') ORDER BY kind, person, object_id;
SELECT u IS NOT DISTINCT FROM s AS same FROM unknown AS u, state AS s;
SELECT count(*) FROM damoov_reparse('infinity', false);
SELECT count(*) FROM damoov_reparse('-infinity', false);
SELECT event, outcome, count(*) FROM damoov.events WHERE sent_at = '2024-05-14T10:00:00Z' GROUP BY event, outcome ORDER BY event COLLATE "C", outcome;
SELECT count(*) AS differ FROM told AS t JOIN damoov.events AS e USING (event_id) WHERE (t.event, t.outcome) IS DISTINCT FROM (e.event, e.outcome);
-- but for the new crash_id
SELECT key FROM known AS g, state AS s, jsonb_each(to_jsonb(g)) AS a JOIN jsonb_each(to_jsonb(s)) AS b USING (key) WHERE a.value <> b.value AND key <> 'trips' ORDER BY 1;
SELECT count(*) FROM damoov_reparse('-infinity');
ROLLBACK;
-- a buffer of a crash and a raw track belong to what a dataset has become, and go with it
BEGIN;
INSERT INTO damoov.crash_buffers (crash_id, sample_count) SELECT crash_id, 0 FROM damoov.crashes;
INSERT INTO damoov.raw_tracks (track_token, user_id, format, point_count, event_count)
SELECT track_token, user_id, 1, 1, 0 FROM damoov.trips;
INSERT INTO damoov.raw_points (raw_track_id, seq) SELECT raw_track_id, 0 FROM damoov.raw_tracks;
SELECT kind, (damoov.dataset_rows(kind, id) ->> part) IS NOT NULL AS has_part
FROM (SELECT 'crash_buffer', crash_token, 'crash_buffers' FROM damoov.crashes
    UNION ALL SELECT 'raw', track_token, 'raw_points' FROM damoov.raw_tracks) AS d (kind, id, part);
INSERT INTO damoov.documents (kind, object_id, user_id, document) SELECT 'raw', track_token, user_id, '{}' FROM damoov.raw_tracks;
DELETE FROM damoov.raw_tracks;
DELETE FROM damoov.crashes;
SELECT * FROM pg_temp.counts() WHERE table_name ~ 'raw|crash';
SELECT count(*) FROM damoov.documents WHERE kind = 'raw';
ROLLBACK;
-- what is refused of one stops nobody else's: documents of which nothing else is known, or that a trigger does not
-- like, and the events of one person; that is told, and those stay as they were
BEGIN;
INSERT INTO damoov.documents (kind, object_id, user_id, document)
SELECT d.kind, d.object_id, user_id, d.document FROM damoov.users, (VALUES
    ('crash', 'b9999999-0000-4000-8000-000000000001'::uuid, '{"Type": "Accident"}'), ('crash', 'b9999999-0000-4000-8000-000000000002', '[]'),
    ('raw', 'b9999999-0000-4000-8000-000000000003', '{"Track": {"Points": [{"Number": 1}]}}'), ('processed', 'b9999999-0000-4000-8000-000000000004', pg_temp.document(5))) AS d (kind, object_id, document)
WHERE device_token = :bob;
SELECT outcome FROM damoov_ingest((SELECT jsonb_agg(pg_temp.note('HeartbeatReceived', p, p, '2024-05-14T11:00:00Z', '{"ChargeLevel": 9}'))
    FROM (SELECT ('c0000000-0000-4000-8000-00000000000' || n)::uuid AS p FROM generate_series(1, 5) AS n) AS p));
UPDATE damoov.heartbeats SET charge_percent = 1 WHERE charge_percent = 9;
UPDATE damoov.events SET outcome = 'unknown' WHERE user_id = (SELECT user_id FROM damoov.users WHERE device_token = 'c0000000-0000-4000-8000-000000000003');
DELETE FROM damoov.heartbeats WHERE user_id = (SELECT user_id FROM damoov.users WHERE device_token = 'c0000000-0000-4000-8000-000000000003');
CREATE FUNCTION pg_temp.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT u.device_token::text FROM damoov.users AS u WHERE u.user_id = NEW.user_id) ~ TG_ARGV[1] THEN
        RAISE USING MESSAGE = 'I do not like that', ERRCODE = TG_ARGV[0];
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER refuse BEFORE INSERT ON damoov.heartbeats FOR EACH ROW EXECUTE FUNCTION pg_temp.refuse('P0001', '^c.*[135]$');
CREATE TRIGGER refuse BEFORE INSERT ON damoov.trips FOR EACH ROW WHEN (NEW.track_token = 'b9999999-0000-4000-8000-000000000004') EXECUTE FUNCTION pg_temp.refuse('23514', '.');
SELECT r.kind, r.object_id, CASE WHEN r.kind IN ('event', 'heartbeat') THEN count(*) END AS count, r.changed = '{(refused)}' AS refused FROM damoov_reparse('-infinity', false) AS r
GROUP BY r.kind, r.object_id, r.changed ORDER BY r.kind, r.object_id, refused;
SELECT u.device_token, e.outcome, h.charge_percent
FROM damoov.users AS u JOIN damoov.events AS e USING (user_id) LEFT JOIN damoov.heartbeats AS h USING (user_id) WHERE u.device_token::text ~ '^c' ORDER BY 1;
-- what may pass is no refusal
CREATE TRIGGER full_disk BEFORE INSERT ON damoov.heartbeats FOR EACH ROW EXECUTE FUNCTION pg_temp.refuse('53100', '.');
SELECT damoov_reparse('-infinity', false);
ROLLBACK;
-- stages whose events are gone stay
DELETE FROM damoov.redeliveries;
DELETE FROM damoov.events WHERE event = 'AccidentEventReceived';
SELECT count(*) FROM damoov_reparse('-infinity', false);
SELECT count(header_received_at) AS headers FROM damoov.crashes;
SELECT pg_temp.empty_tables();

-- ---------------------------------------------------------------------
-- What arrives and has no column
-- ---------------------------------------------------------------------

SELECT damoov.unknown_members('{"Event": "x", "UserId": "A0000000-0000-4000-8000-00000000000A", "sender": 1, "Version": 2,
    "Object": {"Id": "x", "Url": null, "Uri": null, "TYPE": "x", "Checksum": "a0000000000040008000-00000000000a!"},
    "Details": {"ObjectReplaced": true, "InstanceId": "x", "Speed": 1.50, "ApiKey": "hunter2", "Nested": {"x": [1]}, "List": [], "Nothing": null,
        "TracksRemoved": [{"Id": "x", "Type": "y"}, {"Id": "z", "Cause": "overlap"}, 1], "Sender": false},
    "UserId2": "hunter2", "Id": "x"}') AS unknown;
SELECT damoov.unknown_members('{"Event": "x", "UserId": 1, "Object": [], "Details": null}') IS NULL AS none, damoov.unknown_members('[1]') IS NULL AS none;
SELECT length(damoov.unknown_members(jsonb_build_object('x', repeat('ä', 1000))) ->> 'x') AS clipped;
SELECT pg_temp.fill();
SELECT outcome FROM damoov_ingest(pg_temp.note('HeartbeatReceived', :bob, :bob, '2024-05-14T09:02:00Z', '{"Temperature": 21.5, "SessionToken": "hunter2"}'));
SELECT outcome FROM damoov_ingest(pg_temp.note('HeartbeatReceived', :bob, :bob, '2024-05-14T09:03:00Z', '{"Temperature": 20.5}') || '{"Region": "eu"}');
SELECT damoov.store_dataset('processed', 'b1111111-0000-4000-8000-000000000001',
    pg_temp.document(4.5, format('"FuelType": "diesel", "Owner": "%s", "DeviceToken": "%1$s",', upper(:bob)))) IS NOT NULL AS stored;
SELECT table_name, event, path, count, first_seen <= last_seen AS seen, sample FROM damoov.drift ORDER BY table_name, event, path;
SELECT count(*) FROM damoov_forget(:bob);
SELECT table_name, event, path, count, sample FROM damoov.drift ORDER BY table_name, event, path;
-- a new table with extra is not left out
BEGIN;
CREATE TABLE damoov.regress_more (more_id bigint PRIMARY KEY, user_id bigint, extra jsonb);
CREATE TABLE damoov.regress_more_parts (more_id bigint, extra jsonb);
INSERT INTO damoov.regress_more SELECT 1, user_id, '{"New": 1}' FROM damoov.users;
INSERT INTO damoov.regress_more_parts VALUES (1, '{"Newer": 2}'), (1, NULL);
SELECT table_name, path, count, first_seen, sample FROM damoov.drift WHERE table_name LIKE 'regress%' ORDER BY 1;
ROLLBACK;
-- VehicleIndicators have a column as a whole, but what is in them has none
SELECT outcome FROM damoov_ingest(pg_temp.note('IncomingTrackReceived', :ann, 'a1111111-0000-4000-8000-000000000009', '2024-05-14T09:02:00Z'));
SELECT damoov.store_dataset('raw', 'a1111111-0000-4000-8000-000000000009', '{"Track": {"Points": [{"Number": 1, "VehicleIndicators": {"Rpm": 900, "Fuel": null}},
    {"Number": 2, "VehicleIndicators": {"Rpm": 1200}}, {"Number": 3, "VehicleIndicators": [1]}, {"Number": 4, "VehicleIndicators": null}, {"Number": 5}]}}') IS NOT NULL AS stored;
SELECT path, count, first_seen <= last_seen AS seen, sample FROM damoov.drift WHERE table_name = 'raw_points' ORDER BY path;
SELECT pg_temp.empty_tables();

-- ---------------------------------------------------------------------
-- Persons that others refer to
-- ---------------------------------------------------------------------

DO $$ BEGIN PERFORM pg_temp.fill(); END $$;
\set VERBOSITY sqlstate
-- what has foreign keys of PostgreSQL is out of the way
CREATE PROCEDURE pg_temp.leave(kept text) LANGUAGE plpgsql AS $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT t.table_name FROM damoov.person_tables AS t
        WHERE t.table_name NOT IN ('users', kept) ORDER BY t.part_of IS NULL, t.dependents, 1
    LOOP
        EXECUTE format('DELETE FROM damoov.%I', name);
    END LOOP;
END
$$;
BEGIN;
CALL pg_temp.leave('events');
SELECT count(*) > 0 AS events, (SELECT count(*) FROM damoov.heartbeats) AS heartbeats FROM damoov.events;
SAVEPOINT s;
DELETE FROM damoov.users;
ROLLBACK TO s;
UPDATE damoov.users SET user_id = user_id + 1000;
ROLLBACK TO s;
TRUNCATE damoov.users CASCADE;
ROLLBACK TO s;
UPDATE damoov.users SET user_id = user_id + 0;
ROLLBACK;
BEGIN;
CALL pg_temp.leave('heartbeats');
SELECT count(*) AS events, (SELECT count(*) > 0 FROM damoov.heartbeats) AS heartbeats FROM damoov.events;
SAVEPOINT s;
\set VERBOSITY terse
DELETE FROM damoov.users WHERE device_token = :ann;
ROLLBACK TO s;
\set VERBOSITY sqlstate
UPDATE damoov.users SET user_id = user_id + 1000;
ROLLBACK TO s;
TRUNCATE damoov.users CASCADE;
ROLLBACK TO s;
DELETE FROM damoov.heartbeats;
DELETE FROM damoov.users;
SELECT count(*) FROM damoov.users;
ROLLBACK;
\set VERBOSITY default
SELECT pg_temp.empty_tables();

-- ---------------------------------------------------------------------
-- Listeners
-- ---------------------------------------------------------------------

LISTEN damoov_trip;
LISTEN damoov_crash;
LISTEN damoov_alert;
-- psql tells the process that notified, and ids vary
\o | sed -e 's/ received from .*//' -e 's/\[[0-9, ]*\]/[...]/' > notifications.tmp
DO $$ BEGIN PERFORM pg_temp.fill(); END $$;
DO $$ BEGIN PERFORM public.damoov_ingest(pg_temp.note('AccidentEventFiltered', 'a0000000-0000-4000-8000-00000000000a', ('a4444444-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, '2024-05-14T09:01:00Z'))
    FROM generate_series(5, 6) AS n; END $$;
DO $$ BEGIN PERFORM public.damoov_ingest(jsonb_agg(pg_temp.note('AccidentEventFiltered', 'a0000000-0000-4000-8000-00000000000a', ('a4444444-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, '2024-05-14T09:01:00Z')))
    FROM generate_series(1001, 1400) AS n; END $$;
-- nothing for a redelivery, for other events, for a message quarantined again, for a rebuild
DO $$ BEGIN PERFORM public.damoov_ingest(pg_temp.note('AccidentEventFiltered', 'a0000000-0000-4000-8000-00000000000a', 'a4444444-0000-4000-8000-000000000005', '2024-05-14T09:01:00Z')); END $$;
DO $$ BEGIN PERFORM public.damoov_ingest(pg_temp.note('HeartbeatReceived', 'a0000000-0000-4000-8000-00000000000a', 'a0000000-0000-4000-8000-00000000000a', '2024-05-14T09:01:00Z')); END $$;
INSERT INTO damoov.quarantine AS q (source, reason, sqlstate, message, body, body_digest)
SELECT source, reason, sqlstate, message, body, body_digest FROM damoov.quarantine
ON CONFLICT ON CONSTRAINT quarantine_source_digest_key DO UPDATE SET attempts = q.attempts + 1;
DO $$ BEGIN PERFORM public.damoov_reparse('-infinity', false); END $$;
-- a trip that is merged into another, once; one that is not here, or lives; a person with a trip and a crash
DO $$ BEGIN PERFORM public.damoov_ingest(jsonb_agg(pg_temp.note('TrackEnrichmentFinished', 'a0000000-0000-4000-8000-00000000000a', 'a1111111-0000-4000-8000-00000000000f', '2024-05-14T09:0' || n || ':00Z',
    '{"TracksRemoved": [{"Id": "a1111111-0000-4000-8000-000000000001"}]}'))) FROM generate_series(2, 3) AS n; END $$;
DO $$ BEGIN PERFORM public.damoov_ingest(pg_temp.note('IncomingTrackRemoved', 'a0000000-0000-4000-8000-00000000000a', 'a1111111-0000-4000-8000-000000000001', '2024-05-14T09:04:00Z')); END $$;
DO $$ BEGIN PERFORM public.damoov_ingest(pg_temp.note('IncomingTrackRemoved', 'b0000000-0000-4000-8000-00000000000b', 'b1111111-0000-4000-8000-000000000001', '2024-05-14T08:00:00Z')); END $$;
DO $$ BEGIN PERFORM public.damoov_forget('b0000000-0000-4000-8000-00000000000b'); END $$;
\o
-- printed by psql itself: a pipe's output would come at any time
\set notifications `cat notifications.tmp; rm -f notifications.tmp`
\echo :notifications
UNLISTEN *;
SELECT pg_temp.empty_tables();

-- Several machines are a matter of Citus, which a server of Debian does not have
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT * FROM damoov_distribute();
SELECT * FROM damoov_distribute(0);
SELECT * FROM damoov_distribute(NULL);
