-- What transports wrap around a notification: bytes in, outcome, event or
-- error out, through damoov.ingest_bytes() as a queue's body and, where the
-- bytes are JSON, through damoov_ingest(jsonb).
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/prelude.psql
\pset null '-'

CREATE FUNCTION pg_temp.sns(message jsonb, changes jsonb DEFAULT '{}') RETURNS jsonb IMMUTABLE LANGUAGE sql AS $$
    SELECT jsonb_build_object('Type', 'Notification', 'MessageId', '9b1e2f30-4a5b-5c6d-8e7f-001122334455',
        'TopicArn', 'arn:aws:sns:eu-central-1:000000000000:x', 'Message', message, 'Timestamp', '2024-05-14T16:01:19.120Z') || changes
$$;
CREATE FUNCTION pg_temp.cloud(data jsonb, changes jsonb DEFAULT '{}') RETURNS jsonb IMMUTABLE LANGUAGE sql AS $$
    SELECT jsonb_build_object('specversion', '1.0', 'id', '7a0e1d2c-3b4a-4958-8776-655443322111', 'source', '/x',
        'type', 'HeartbeatReceived', 'time', '2024-05-14T16:01:18Z', 'data', data) || changes
$$;
CREATE FUNCTION pg_temp.bytes(t text) RETURNS bytea IMMUTABLE LANGUAGE sql AS $$ SELECT convert_to(t, 'UTF8') $$;
-- base64 on one line
CREATE FUNCTION pg_temp.base64(b bytea) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT replace(encode(b, 'base64'), E'\n', '') $$;
CREATE FUNCTION pg_temp.base64(t text) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT pg_temp.base64(convert_to(t, 'UTF8')) $$;
-- little-endian number of some bytes
CREATE FUNCTION pg_temp.le(value integer, width integer) RETURNS bytea IMMUTABLE LANGUAGE sql AS $$
    SELECT string_agg(substr(int4send(value), 5 - i, 1), '' ORDER BY i) FROM generate_series(1, width) AS i
$$;
-- a text record; one type byte for each width of its length
CREATE FUNCTION pg_temp.record(type text, width integer, content bytea) RETURNS bytea IMMUTABLE LANGUAGE sql AS $$
    SELECT decode(type, 'hex') || pg_temp.le(length(content), width) || content
$$;
CREATE FUNCTION pg_temp.element(name text, space text DEFAULT 'http://schemas.microsoft.com/2003/10/Serialization/') RETURNS bytea IMMUTABLE LANGUAGE sql AS $$
    SELECT '\x40'::bytea || pg_temp.le(length(name), 1) || pg_temp.bytes(name)
        || '\x08'::bytea || pg_temp.le(length(space), 1) || pg_temp.bytes(space)
$$;
CREATE FUNCTION pg_temp.utf16(t text) RETURNS bytea IMMUTABLE LANGUAGE sql AS $$
    SELECT string_agg(CASE WHEN ascii(c) < 65536 THEN pg_temp.le(ascii(c), 2)
        ELSE pg_temp.le(55296 + (ascii(c) - 65536) / 1024, 2) || pg_temp.le(56320 + (ascii(c) - 65536) % 1024, 2) END, '' ORDER BY i)
    FROM string_to_table(t, NULL) WITH ORDINALITY AS s (c, i)
$$;

-- Stores a body, says how it ended, and undoes it
CREATE FUNCTION pg_temp.try_bytes(body bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    SELECT string_agg(format('%s %s', i.outcome, i.event), ', ') INTO result FROM damoov.ingest_bytes(body, 'queue') AS i;
    RAISE EXCEPTION SQLSTATE 'ZZ000';
EXCEPTION
    WHEN SQLSTATE 'ZZ000' THEN RETURN coalesce(result, 'nothing');
    WHEN OTHERS THEN RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
CREATE FUNCTION pg_temp.try_jsonb(body bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    payload jsonb;
    result text;
BEGIN
    BEGIN
        payload := convert_from(body, 'UTF8')::jsonb;
    EXCEPTION WHEN OTHERS THEN
        RETURN NULL;
    END;
    SELECT string_agg(format('%s %s', i.outcome, i.event), ', ') INTO result FROM damoov_ingest(payload, 'queue') AS i;
    RAISE EXCEPTION SQLSTATE 'ZZ000';
EXCEPTION
    WHEN SQLSTATE 'ZZ000' THEN RETURN coalesce(result, 'nothing');
    WHEN OTHERS THEN RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;

CREATE TEMP TABLE body (n serial, what text NOT NULL, body bytea NOT NULL);

\echo *** what is unwrapped
INSERT INTO body (what, body)
SELECT v.what, v.body
FROM pg_temp.note() AS note, pg_temp.note(2) AS other,
    LATERAL (VALUES
    (1, 'bare', pg_temp.bytes(note::text)),
    (2, 'bare, BOM and white space', '\xefbbbf'::bytea || pg_temp.bytes(E' \r\n\t' || note::text || E'\n')),
    (3, 'SNS', pg_temp.bytes(pg_temp.sns(to_jsonb(note::text))::text)),
    (4, 'Event Grid', pg_temp.bytes(pg_temp.grid(note)::text)),
    (5, 'Event Grid, data a string', pg_temp.bytes(pg_temp.grid(to_jsonb(note::text))::text)),
    (6, 'Event Grid, data an array', pg_temp.bytes(pg_temp.grid(jsonb_build_array(note, other))::text)),
    (7, 'Event Grid, a batch', pg_temp.bytes(jsonb_build_array(pg_temp.grid(note), pg_temp.grid(other))::text)),
    (8, 'Event Grid, BOM', '\xefbbbf'::bytea || pg_temp.bytes(pg_temp.grid(note)::text)),
    (9, 'CloudEvent', pg_temp.bytes(pg_temp.cloud(note)::text)),
    (10, 'CloudEvent, data a string', pg_temp.bytes(pg_temp.cloud(to_jsonb(note::text))::text)),
    (11, 'CloudEvent, data_base64', pg_temp.bytes((pg_temp.cloud(NULL, jsonb_build_object('data_base64', pg_temp.base64(note::text))) - 'data')::text)),
    (12, 'CloudEvent, data_base64 with BOM, data null',
        pg_temp.bytes(pg_temp.cloud('null', jsonb_build_object('data_base64', pg_temp.base64('\xefbbbf'::bytea || pg_temp.bytes(note::text))))::text)),
    (13, 'CloudEvent, data_base64 of an array', pg_temp.bytes((pg_temp.cloud(NULL, jsonb_build_object('data_base64',
        pg_temp.base64(jsonb_build_array(note, other)::text))) - 'data')::text)),
    (14, 'CloudEvent with an extension', pg_temp.bytes(pg_temp.cloud(note, '{"comexampleextension": 5, "datacontenttype": "application/json"}')::text)),
    (15, 'CloudEvent without id, type and time', pg_temp.bytes((pg_temp.cloud(note) - '{id,type,time}'::text[])::text)),
    (16, 'CloudEvents, a batch', pg_temp.bytes(jsonb_build_array(pg_temp.cloud(note), pg_temp.cloud(other))::text)),
    (17, 'a batch of everything', pg_temp.bytes(jsonb_build_array(note, pg_temp.cloud(other), pg_temp.grid(pg_temp.note(3)),
        pg_temp.sns(to_jsonb(pg_temp.note(4)::text)))::text)),
    (18, 'JSON string', pg_temp.bytes(to_jsonb(note::text)::text)),
    (19, 'JSON string of an array', pg_temp.bytes(to_jsonb(jsonb_build_array(note, other)::text)::text)),
    (20, 'JSON string of an Event Grid event', pg_temp.bytes(to_jsonb(pg_temp.grid(note)::text)::text)),
    (21, 'base64', pg_temp.bytes(pg_temp.base64(note::text))),
    (22, 'base64 in lines', pg_temp.bytes(E'\n' || encode(pg_temp.bytes(note::text), 'base64') || E'\r\n')),
    (23, 'base64 with BOM in it', pg_temp.bytes(pg_temp.base64('\xefbbbf'::bytea || pg_temp.bytes(note::text)))),
    (24, 'base64 of an Event Grid event', pg_temp.bytes(pg_temp.base64(pg_temp.grid(note)::text))),
    (25, 'base64 of a CloudEvent with data_base64', pg_temp.bytes(pg_temp.base64((pg_temp.cloud(NULL, jsonb_build_object('data_base64',
        pg_temp.base64(note::text))) - 'data')::text))),
    (26, 'base64 of an array', pg_temp.bytes(pg_temp.base64(jsonb_build_array(note, other)::text))),
    (27, '.NET string, 99', pg_temp.element('string') || pg_temp.record('99', 1, pg_temp.bytes((note - 'Details')::text))),
    (28, '.NET string, 98 and end', pg_temp.element('string') || pg_temp.record('98', 1, pg_temp.bytes((note - 'Details')::text)) || '\x01'),
    (29, '.NET string, 9b', pg_temp.element('string') || pg_temp.record('9b', 2, pg_temp.bytes(note::text))),
    (30, '.NET string, 9a and end', pg_temp.element('string') || pg_temp.record('9a', 2, pg_temp.bytes(note::text)) || '\x01'),
    (31, '.NET string, 9d', pg_temp.element('string') || pg_temp.record('9d', 4, pg_temp.bytes(note::text))),
    (32, '.NET string, 9c and end', pg_temp.element('string') || pg_temp.record('9c', 4, pg_temp.bytes(note::text)) || '\x01'),
    (33, '.NET string, b9', pg_temp.element('string') || pg_temp.record('b9', 2, pg_temp.utf16((note || '{"ClientId": "Müller 🚗"}')::text))),
    (34, '.NET string, b8 and end', pg_temp.element('string') || pg_temp.record('b8', 2, pg_temp.utf16(note::text)) || '\x01'),
    (35, '.NET string, bb', pg_temp.element('string') || pg_temp.record('bb', 4, pg_temp.utf16(note::text))),
    (36, '.NET string, joined', pg_temp.element('string') || pg_temp.record('98', 1, pg_temp.bytes(left(note::text, 7)))
        || pg_temp.record('b6', 1, pg_temp.utf16(substr(note::text, 8, 5))) || '\xa8' || pg_temp.record('9b', 2, pg_temp.bytes(substr(note::text, 13)))),
    (37, '.NET string, every byte a record', pg_temp.element('string') || (SELECT string_agg(pg_temp.record('98', 1, substr(b.b, i, 1)), '' ORDER BY i)
        FROM pg_temp.bytes((note || '{"ClientId": "Müller 🚗"}')::text) AS b (b), generate_series(1, length(b.b)) AS i) || '\x01'),
    (38, '.NET string, empty record that ends', pg_temp.element('string') || pg_temp.record('9a', 2, pg_temp.bytes(note::text)) || '\xa9'),
    (39, '.NET bytes, 9f', pg_temp.element('base64Binary') || pg_temp.record('9f', 1, pg_temp.bytes((note - 'Details')::text))),
    (40, '.NET bytes, a1', pg_temp.element('base64Binary') || pg_temp.record('a1', 2, pg_temp.bytes(note::text))),
    (41, '.NET bytes, a2, 9e and end', pg_temp.element('base64Binary') || pg_temp.record('a2', 4, pg_temp.bytes(left(note::text, -9)))
        || pg_temp.record('9e', 1, pg_temp.bytes(right(note::text, 9))) || '\x01'),
    (42, '.NET string with BOM', pg_temp.element('string') || pg_temp.record('9b', 2, '\xefbbbf'::bytea || pg_temp.bytes(note::text))),
    (43, '.NET string of an Event Grid event', pg_temp.element('string') || pg_temp.record('9b', 2, pg_temp.bytes(pg_temp.grid(note)::text))),
    (44, '.NET string of an SNS envelope', pg_temp.element('string') || pg_temp.record('9b', 2, pg_temp.bytes(pg_temp.sns(to_jsonb(note::text))::text))),
    (45, 'SNS, BOM in it', pg_temp.bytes(pg_temp.sns(to_jsonb(U&'\FEFF' || note::text))::text)),
    (46, 'Event Grid, data a string with BOM', pg_temp.bytes(pg_temp.grid(to_jsonb(U&'\FEFF' || note::text))::text)),
    (47, 'CloudEvent, data a string with BOM', pg_temp.bytes(pg_temp.cloud(to_jsonb(U&'\FEFF' || note::text))::text)),
    (48, 'JSON string with BOM', pg_temp.bytes(to_jsonb(U&'\FEFF' || note::text)::text))
) AS v (n, what, body)
ORDER BY v.n;
SELECT n, what, pg_temp.try_bytes(body) AS bytes, pg_temp.try_jsonb(body) AS jsonb FROM body ORDER BY n;
-- what is stored is the notification, not the wrapping
CREATE TEMP TABLE kept AS SELECT n, NULL::jsonb AS payload FROM body LIMIT 0;
DO $$
DECLARE
    b record;
BEGIN
    FOR b IN SELECT * FROM body LOOP
        BEGIN
            PERFORM damoov.ingest_bytes(b.body, 'queue');
            RAISE EXCEPTION SQLSTATE 'ZZ000' USING DETAIL = (SELECT payload FROM damoov.events ORDER BY sent_at LIMIT 1);
        EXCEPTION WHEN SQLSTATE 'ZZ000' THEN
            DECLARE
                detail text;
            BEGIN
                GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
                INSERT INTO kept VALUES (b.n, detail::jsonb);
            END;
        END;
    END LOOP;
END
$$;
SELECT count(*) AS kept, count(*) FILTER (WHERE k.payload - 'Details' - 'ClientId' = pg_temp.note() - 'Details') AS as_sent FROM kept AS k;
SELECT DISTINCT payload ->> 'ClientId' AS client_id, count(*) AS times FROM kept WHERE payload ? 'ClientId' GROUP BY 1;

\echo *** what transports say about themselves
TRUNCATE body RESTART IDENTITY;
INSERT INTO body (what, body)
SELECT v.what, pg_temp.bytes(v.body)
FROM (VALUES
    (1, 'Event Grid validation', jsonb_build_array(pg_temp.grid('{"validationCode": "8c1d2e3f", "validationUrl": "https://evil.example/"}',
        '{"eventType": "Microsoft.EventGrid.SubscriptionValidationEvent"}'))::text),
    (2, 'Event Grid deletion', pg_temp.grid('{"eventSubscriptionId": "x"}', '{"eventType": "Microsoft.EventGrid.SubscriptionDeletedEvent"}')::text),
    (3, 'deletion as a CloudEvent', pg_temp.cloud('{"eventSubscriptionId": "x"}', '{"type": "Microsoft.EventGrid.SubscriptionDeletedEvent"}')::text),
    (4, 'a CloudEvent without data', (pg_temp.cloud(NULL, '{"type": "Microsoft.EventGrid.Other", "id": "no uuid"}') - 'data')::text),
    (5, 'deletion in base64', pg_temp.base64(pg_temp.grid('{}', '{"eventType": "Microsoft.EventGrid.SubscriptionDeletedEvent"}')::text)),
    (6, 'SNS', pg_temp.sns('"x"', '{"Type": "SubscriptionConfirmation"}')::text),
    (7, 'one among notifications', jsonb_build_array(pg_temp.note(), pg_temp.grid('{}', '{"eventType": "Microsoft.EventGrid.SubscriptionDeletedEvent"}'))::text),
    (8, 'a notification about Microsoft', pg_temp.grid(pg_temp.note(), '{"eventType": "microsoft.eventgrid"}')::text)
) AS v (n, what, body)
ORDER BY v.n;
SELECT n, what, pg_temp.try_bytes(body) AS bytes, pg_temp.try_jsonb(body) AS jsonb FROM body ORDER BY n;
BEGIN;
SELECT count(*) FROM body AS b, damoov.ingest_bytes(b.body, 'queue');
SELECT event, object_id, sent_text, user_id, payload - '{topic,subject,dataVersion,metadataVersion}'::text[] AS payload
FROM damoov.events WHERE outcome = 'control' ORDER BY event COLLATE "C", sent_text, object_id;
ROLLBACK;

\echo *** what is damaged, or wrapped as nobody does
TRUNCATE body RESTART IDENTITY;
INSERT INTO body (what, body)
SELECT v.what, v.body
FROM pg_temp.note() AS note,
    LATERAL (VALUES
    (1, 'empty', ''::bytea),
    (2, 'white space', pg_temp.bytes(E' \n')),
    (3, 'BOM alone', '\xefbbbf'),
    (4, 'two BOMs', '\xefbbbfefbbbf'::bytea || pg_temp.bytes(note::text)),
    (5, 'UTF-16', '\xfffe'::bytea || pg_temp.utf16(note::text)),
    (6, 'words', pg_temp.bytes('hello, world')),
    (7, 'a number', pg_temp.bytes('5')),
    (8, 'null', pg_temp.bytes('null')),
    (9, 'true, which is base64, too', pg_temp.bytes('true')),
    (10, 'JSON string of words', pg_temp.bytes('"hello, world"')),
    (11, 'JSON string in a JSON string', pg_temp.bytes(to_jsonb(to_jsonb(note::text)::text)::text)),
    (12, 'JSON string of broken JSON', pg_temp.bytes(to_jsonb('{"Event": '::text)::text)),
    (13, 'JSON string of base64', pg_temp.bytes(to_jsonb(pg_temp.base64(note::text))::text)),
    (14, 'array of JSON strings', pg_temp.bytes(jsonb_build_array(note::text)::text)),
    (15, 'JSON string of an array of arrays', pg_temp.bytes(to_jsonb(jsonb_build_array(jsonb_build_array(note))::text)::text)),
    (16, 'text after the JSON string', pg_temp.bytes(to_jsonb(note::text)::text || 'x')),
    (20, 'base64 of base64', pg_temp.bytes(pg_temp.base64(pg_temp.base64(note::text)))),
    (21, 'base64 of words', pg_temp.bytes(pg_temp.base64('hello, world'::text))),
    (22, 'base64 of broken JSON', pg_temp.bytes(pg_temp.base64('{"Event": '::text))),
    (23, 'base64 of bad UTF-8', pg_temp.bytes(pg_temp.base64('\x7b22ff22'::bytea))),
    (24, 'base64 without padding', pg_temp.bytes(rtrim(pg_temp.base64(note::text || repeat(' ', (3 - octet_length(note::text) % 3) % 3 + 1)), '='))),
    (25, 'base64 with a wrong character', pg_temp.bytes(overlay(pg_temp.base64(note::text) PLACING '-' FROM 20))),
    (26, 'base64 of JSON string', pg_temp.bytes(pg_temp.base64(to_jsonb(note::text)::text))),
    (27, 'base64 with NUL', pg_temp.bytes(pg_temp.base64(note::text)) || '\x00'),
    (30, 'SNS: Message twice', pg_temp.bytes(left(pg_temp.sns(to_jsonb(note::text))::text, -1) || ', "Message": "x"}')),
    (31, 'SNS: Message twice, once an object', pg_temp.bytes(left(pg_temp.sns(to_jsonb(note::text))::text, -1) || ', "Message": {}}')),
    (32, 'SNS: Timestamp twice', pg_temp.bytes(left(pg_temp.sns(to_jsonb(note::text))::text, -1) || ', "Timestamp": 5}')),
    (33, 'SNS: confirmation and notification', pg_temp.bytes(left(pg_temp.sns(to_jsonb(note::text))::text, -1) || ', "Type": "SubscriptionConfirmation"}')),
    (34, 'SNS around Event Grid', pg_temp.bytes(pg_temp.sns(to_jsonb(pg_temp.grid(note)::text))::text)),
    (35, 'SNS and Event Grid at once', pg_temp.bytes((pg_temp.sns(to_jsonb(note::text)) || pg_temp.grid(note))::text)),
    (40, 'Event Grid: data null', pg_temp.bytes(pg_temp.grid('null')::text)),
    (41, 'Event Grid: no data', pg_temp.bytes((pg_temp.grid(note) - 'data')::text)),
    (42, 'Event Grid: data a number', pg_temp.bytes(pg_temp.grid('5')::text)),
    (43, 'Event Grid: data words', pg_temp.bytes(pg_temp.grid('"hello"')::text)),
    (44, 'Event Grid: data a string in a string', pg_temp.bytes(pg_temp.grid(to_jsonb(to_jsonb(note::text)::text))::text)),
    (45, 'Event Grid: data another event', pg_temp.bytes(pg_temp.grid(pg_temp.grid(note))::text)),
    (46, 'Event Grid: data a CloudEvent in a string', pg_temp.bytes(pg_temp.grid(to_jsonb(pg_temp.cloud(note)::text))::text)),
    (47, 'Event Grid: eventType no string', pg_temp.bytes(pg_temp.grid(note, '{"eventType": 5}')::text)),
    (48, 'Event Grid: data twice', pg_temp.bytes(left(pg_temp.grid(note)::text, -1) || ', "data": {}}')),
    (49, 'Event Grid: eventType twice', pg_temp.bytes(left(pg_temp.grid(note)::text, -1) || ', "eventType": "Microsoft.EventGrid.SubscriptionDeletedEvent"}')),
    (50, 'Event Grid: id twice', pg_temp.bytes(left(pg_temp.grid(note)::text, -1) || ', "id": "6f0e1d2c-3b4a-4958-8776-655443322110"}')),
    (51, 'Event Grid: without a hard field', pg_temp.bytes(pg_temp.grid(note - 'UserId')::text)),
    (52, 'Event Grid: one bad in a batch', pg_temp.bytes(jsonb_build_array(pg_temp.grid(note), pg_temp.grid('{}'))::text)),
    (53, 'Event Grid: an array of arrays', pg_temp.bytes(jsonb_build_array(jsonb_build_array(pg_temp.grid(note)))::text)),
    (54, 'Event Grid: data an array of events', pg_temp.bytes(pg_temp.grid(jsonb_build_array(pg_temp.grid(note)))::text)),
    (60, 'CloudEvent: no data', pg_temp.bytes((pg_temp.cloud(note) - 'data')::text)),
    (61, 'CloudEvent: data null', pg_temp.bytes(pg_temp.cloud('null')::text)),
    (62, 'CloudEvent: data and data_base64', pg_temp.bytes(pg_temp.cloud(note, jsonb_build_object('data_base64', pg_temp.base64(note::text)))::text)),
    (63, 'CloudEvent: data_base64 no base64', pg_temp.bytes((pg_temp.cloud(NULL, '{"data_base64": "{}"}') - 'data')::text)),
    (64, 'CloudEvent: data_base64 a number', pg_temp.bytes((pg_temp.cloud(NULL, '{"data_base64": 5}') - 'data')::text)),
    (65, 'CloudEvent: data_base64 null', pg_temp.bytes((pg_temp.cloud(NULL, '{"data_base64": null}') - 'data')::text)),
    (66, 'CloudEvent: data_base64 empty', pg_temp.bytes((pg_temp.cloud(NULL, '{"data_base64": ""}') - 'data')::text)),
    (67, 'CloudEvent: data_base64 of words', pg_temp.bytes((pg_temp.cloud(NULL, jsonb_build_object('data_base64', pg_temp.base64('hello'::text))) - 'data')::text)),
    (68, 'CloudEvent: data_base64 of another', pg_temp.bytes((pg_temp.cloud(NULL, jsonb_build_object('data_base64', pg_temp.base64(pg_temp.cloud(note)::text))) - 'data')::text)),
    (69, 'CloudEvent: version 0.3', pg_temp.bytes(pg_temp.cloud(note, '{"specversion": "0.3"}')::text)),
    (70, 'CloudEvent: version a number', pg_temp.bytes(pg_temp.cloud(note, '{"specversion": 1.0}')::text)),
    (71, 'CloudEvent: version twice', pg_temp.bytes(left(pg_temp.cloud(note)::text, -1) || ', "specversion": "1.0"}')),
    (72, 'CloudEvent: data_base64 twice', pg_temp.bytes('{"data_base64": "x", ' || substr((pg_temp.cloud(NULL, jsonb_build_object('data_base64', pg_temp.base64(note::text))) - 'data')::text, 2))),
    (73, 'CloudEvent: type a number', pg_temp.bytes(pg_temp.cloud(note, '{"type": 5}')::text)),
    (74, 'CloudEvent and Event Grid at once', pg_temp.bytes((pg_temp.cloud(note) || pg_temp.grid(note))::text)),
    (75, 'CloudEvent: SNS inside', pg_temp.bytes(pg_temp.cloud(pg_temp.sns(to_jsonb(note::text)))::text)),
    (80, '.NET object', pg_temp.element('Notification', 'http://schemas.datacontract.org/2004/07/Example') || '\x0901690929687474703a2f2f'::bytea),
    (81, '.NET string of another name space', pg_temp.element('string', 'http://schemas.microsoft.com/2003/10/Other/') || pg_temp.record('9b', 2, pg_temp.bytes(note::text))),
    (82, '.NET element of another name', pg_temp.element('int') || pg_temp.record('9b', 2, pg_temp.bytes(note::text))),
    (83, '.NET string of the vector, no notification', '\x4006737472696e670833'::bytea || pg_temp.bytes('http://schemas.microsoft.com/2003/10/Serialization/')
        || '\x990d7b224576656e74223a2258227d'),
    (84, '.NET string, empty', pg_temp.element('string') || '\xa9'),
    (85, '.NET string, no end', pg_temp.element('string') || pg_temp.record('9a', 2, pg_temp.bytes(note::text))),
    (86, '.NET string, more after the end', pg_temp.element('string') || pg_temp.record('9b', 2, pg_temp.bytes(note::text)) || '\x01'),
    (87, '.NET string, a length beyond the body', pg_temp.element('string') || '\x9dffffffff'::bytea || pg_temp.bytes(note::text)),
    (88, '.NET string, a length of 2 GB', pg_temp.element('string') || '\x9dffffff7f'::bytea || pg_temp.bytes(note::text)),
    (89, '.NET string, an element inside', pg_temp.element('string') || pg_temp.element('string') || pg_temp.record('9b', 2, pg_temp.bytes(note::text)) || '\x01'),
    (90, '.NET string of bytes', pg_temp.element('string') || pg_temp.record('a1', 2, pg_temp.bytes(note::text))),
    (91, '.NET bytes of text', pg_temp.element('base64Binary') || pg_temp.record('9b', 2, pg_temp.bytes(note::text))),
    (92, '.NET string, half a UTF-16 pair', pg_temp.element('string') || pg_temp.record('b9', 2, pg_temp.utf16('{"') || '\x3dd8'::bytea || pg_temp.utf16('"}'))),
    (93, '.NET string, the second half first', pg_temp.element('string') || pg_temp.record('b9', 2, pg_temp.utf16('{"') || '\x97de'::bytea || pg_temp.utf16('"}'))),
    (94, '.NET string, ends in half a pair', pg_temp.element('string') || pg_temp.record('b9', 2, pg_temp.utf16('{"') || '\x3dd8'::bytea)),
    (95, '.NET string, UTF-16 of odd length', pg_temp.element('string') || pg_temp.record('b9', 2, pg_temp.utf16(note::text) || '\x20'::bytea)),
    (96, '.NET string of NUL', pg_temp.element('string') || pg_temp.record('99', 1, '\x7b00'::bytea)),
    (97, '.NET string of words', pg_temp.element('string') || pg_temp.record('99', 1, pg_temp.bytes('hello'))),
    (98, '.NET string of base64', pg_temp.element('string') || pg_temp.record('9b', 2, pg_temp.bytes(pg_temp.base64(note::text)))),
    (99, '.NET string of a JSON string', pg_temp.element('string') || pg_temp.record('9b', 2, pg_temp.bytes(to_jsonb(note::text)::text))),
    (100, 'an address', pg_temp.bytes('@' || note::text))
) AS v (n, what, body)
ORDER BY v.n;
SELECT what, pg_temp.try_bytes(body) AS bytes, pg_temp.try_jsonb(body) AS jsonb FROM body ORDER BY n;

\echo *** nothing that is cut short or altered hurts
-- every prefix of every kind of wrapping is refused
CREATE TEMP TABLE wrapping (what text, body bytea);
INSERT INTO wrapping
SELECT v.what, v.body
FROM (SELECT pg_temp.note() - 'Details') AS n (note),
    LATERAL (VALUES
    ('SNS', pg_temp.bytes(pg_temp.sns(to_jsonb(note::text))::text)),
    ('Event Grid', pg_temp.bytes(pg_temp.grid(note)::text)),
    ('CloudEvent', pg_temp.bytes((pg_temp.cloud(NULL, jsonb_build_object('data_base64', pg_temp.base64(note::text))) - 'data')::text)),
    ('JSON string', pg_temp.bytes(to_jsonb(note::text)::text)),
    ('base64', pg_temp.bytes(pg_temp.base64(note::text))),
    ('.NET string', pg_temp.element('string') || pg_temp.record('9b', 2, pg_temp.bytes(note::text))),
    ('.NET string, UTF-16', pg_temp.element('string') || pg_temp.record('b9', 2, pg_temp.utf16(note::text)))
) AS v (what, body);
SELECT w.what, left(t.t, 5) AS sqlstate, count(*) > 0 AS some
FROM wrapping AS w, generate_series(0, length(w.body) - 1) AS i, pg_temp.try_bytes(substr(w.body, 1, i)) AS t (t)
GROUP BY 1, 2 ORDER BY 1, 2;
-- any byte altered: stored or refused for a reason of ours, never an internal error
SELECT DISTINCT left(t.t, 5) AS ends
FROM wrapping AS w, generate_series(0, length(w.body) - 1) AS i, (VALUES (0), (34), (64), (92), (123), (153), (255)) AS b (b),
    pg_temp.try_bytes(set_byte(w.body, i, b.b)) AS t (t)
ORDER BY 1;
-- depth and size
SELECT v.what, pg_temp.try_bytes(v.body) AS bytes
FROM (VALUES
    (1, 'deep', pg_temp.bytes(repeat('[', 100000))),
    (2, 'deep in base64', pg_temp.bytes(pg_temp.base64(repeat('{"data":', 100000)))),
    (3, 'deep in .NET', pg_temp.element('string') || pg_temp.record('9d', 4, pg_temp.bytes(repeat('{"data":', 100000)))),
    (4, 'deep in data', pg_temp.bytes(format('{"specversion": "1.0", "data": %s}', to_jsonb(repeat('[', 100000))))),
    (5, '9 MB', pg_temp.bytes(repeat(' ', 9000000))),
    (6, '9 MB of base64', pg_temp.bytes('ew' || repeat('A', 9000000))),
    (7, '9 MB of .NET', pg_temp.element('string') || pg_temp.record('bb', 4, decode(repeat('2000', 4500000), 'hex'))),
    (8, '60,000 elements', pg_temp.bytes('[' || repeat('0,', 60000) || '0]')),
    (9, '60,000 elements in data', pg_temp.bytes(format('{"specversion": "1.0", "data": [%s0]}', repeat('0,', 60000)))),
    (10, '60,000 elements in two', pg_temp.bytes(format('[%1$s, %1$s]', format('{"specversion": "1.0", "data": [%s0]}', repeat('0,', 30000)))))
) AS v (n, what, body)
ORDER BY v.n;
SELECT (SELECT count(*) FROM damoov.events) AS events, (SELECT count(*) FROM damoov.quarantine) AS quarantine, (SELECT count(*) FROM damoov.receipts) AS receipts;
