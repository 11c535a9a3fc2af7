-- Bad input through damoov_ingest(jsonb): rows B1 to B86 of the table of
-- required behaviour.  Each case says how it ended: the SQLSTATE of jsonb's
-- own input ("json"), the SQLSTATE and message raised by damoov_ingest()
-- ("refused"), or the notes and values of what was stored; then it is undone.
--
-- Not here, for they need a worker, a webhook or a download: B71 for names
-- that resolve to a private address, B77, B79, B80 with data_base64, B81 to
-- B86.  B20 is done with 3 MB and with 1,000,000 keys, not with 256 MB.
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
SET extra_float_digits = 1;
SET client_min_messages = warning;
\set VERBOSITY terse
\pset null '-'

CREATE TEMP TABLE sample (event text PRIMARY KEY, note jsonb NOT NULL);
INSERT INTO sample VALUES
('heartbeat', '{
  "Event": "HeartbeatReceived",
  "Sender": "Damoov",
  "UserId": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5",
  "ClientId": "customer-000417",
  "Timestamp": "2024-05-14T14:05:02.1180557Z",
  "Object": {
    "Id": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5",
    "Type": "RawHeartbeat",
    "Uri": null
  },
  "Details": {
    "ChargeLevel": 63.5,
    "WifiEnabled": false,
    "GPSEnabled": true,
    "RealTimeLocationEnabled": false,
    "MobileDataEnabled": true,
    "NotUploadedTripsCount": 2,
    "InstanceId": "7e1f2a3b-4c5d-4e6f-9a0b-1c2d3e4f5a6b",
    "TimeReceived": "2024-05-14T14:04:58.3340216Z"
  }
}'),
('trip', '{
  "Event": "TrackEnrichmentFinished",
  "Sender": "Data Motion",
  "UserId": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5",
  "Object": {
    "Id": "c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d",
    "Type": "RichTrack",
    "Url": "https://mobilesdk.telematicssdk.com/mobilesdk/stage/track/get_track/v1?trackToken=c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d"
  },
  "Timestamp": "2024-05-14T17:20:44.0920017Z",
  "Details": {
    "ObjectReplaced": true,
    "TracksRemoved": [
      {
        "Id": "0d9e8f7a-1b2c-4d3e-8f40-5a6b7c8d9e0f",
        "Type": "RichTrack"
      }
    ]
  }
}');

-- Tries one payload and undoes it.  "shows" is a query for the values that matter.
CREATE FUNCTION pg_temp.try(payload text, shows text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    document jsonb;
    result text;
    more text;
BEGIN
    BEGIN
        document := payload::jsonb;
    EXCEPTION WHEN OTHERS THEN
        RETURN 'json ' || SQLSTATE;
    END;
    BEGIN
        SELECT coalesce(string_agg(i.outcome, ', '), 'nothing') INTO result FROM public.damoov_ingest(document) AS i;
        SELECT concat(result, '; ' || string_agg(n.note, '; ' ORDER BY e.event_id, n.i)) INTO result
        FROM damoov.events AS e, unnest(e.notes) WITH ORDINALITY AS n (note, i);
        IF shows IS NOT NULL THEN
            EXECUTE 'SELECT ' || shows INTO more;
            result := concat(result, ' => ', coalesce(more, 'NULL'));
        END IF;
        RAISE EXCEPTION SQLSTATE 'ZZ000';
    EXCEPTION
        WHEN SQLSTATE 'ZZ000' THEN
            RETURN result;
        WHEN OTHERS THEN
            RETURN format('refused %s %s', SQLSTATE, SQLERRM);
    END;
END
$$;
CREATE FUNCTION pg_temp.try_bytes(payload bytea) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN pg_temp.try(convert_from(payload, 'UTF8'));
EXCEPTION WHEN OTHERS THEN
    RETURN 'text ' || SQLSTATE;
END
$$;
-- The sample with members replaced (top), with members of Object or Details replaced, or without some
CREATE FUNCTION pg_temp.with_top(event text, changes text) RETURNS text LANGUAGE sql AS $$
    SELECT (s.note || changes::jsonb)::text FROM sample AS s WHERE s.event = with_top.event
$$;
CREATE FUNCTION pg_temp.with_object(event text, changes text) RETURNS text LANGUAGE sql AS $$
    SELECT jsonb_set(s.note, '{Object}', s.note -> 'Object' || changes::jsonb)::text FROM sample AS s WHERE s.event = with_object.event
$$;
CREATE FUNCTION pg_temp.with_details(event text, changes text) RETURNS text LANGUAGE sql AS $$
    SELECT jsonb_set(s.note, '{Details}', s.note -> 'Details' || changes::jsonb)::text FROM sample AS s WHERE s.event = with_details.event
$$;
CREATE FUNCTION pg_temp.with_time(stamp text) RETURNS text LANGUAGE sql AS $$
    SELECT pg_temp.with_top('heartbeat', jsonb_build_object('Timestamp', stamp)::text)
$$;
CREATE FUNCTION pg_temp.without(event text, VARIADIC path text[]) RETURNS text LANGUAGE sql AS $$
    SELECT (s.note #- path)::text FROM sample AS s WHERE s.event = without.event
$$;
-- The heartbeat as text with one piece of text replaced, for what jsonb_set() would repair
CREATE FUNCTION pg_temp.with_text(before text, after text) RETURNS text LANGUAGE sql AS $$
    SELECT replace(s.note::text, before, after) FROM sample AS s WHERE s.event = 'heartbeat'
$$;

SELECT count(*) AS events_before FROM damoov.events;
SELECT event, pg_temp.try(note::text) FROM sample ORDER BY event;

\echo *** B1 to B17: what is no JSON text, or no object
SELECT c.row, c.what, pg_temp.try_bytes(c.payload)
FROM (VALUES
    ('B1', 'empty', ''::bytea), ('B1', 'blanks', ' \011\012 '),
    ('B2', 'FF FE', '\xfffe'), ('B2', 'overlong', '\x22c0af22'), ('B2', 'surrogate', '\x22eda08022'), ('B2', 'cut', '\x22e282'),
    ('B2', 'Latin-1', '\x224de4727a22'), ('B3', 'UTF-16', '\xfffe7b007d00'), ('B3', 'UTF-16 without mark', '\x007b007d'),
    ('B4', 'byte order mark', '\xefbbbf7b7d'), ('B5', '00 byte', '\x7b22410042223a317d'), ('B5', '00 at the end', '\x7b7d00')
) AS c (row, what, payload);
SELECT c.row, left(c.payload, 40) AS payload, pg_temp.try(c.payload)
FROM (VALUES
    ('B6', pg_temp.with_text('customer-000417', 'a\u0000b')), ('B7', pg_temp.with_text('"Event"', '"Event\u0000x"')),
    ('B8', '{"a": "\ud800"}'), ('B8', '{"a": "\udc00"}'), ('B8', '{"a": "\ud800\ud800"}'),
    ('B10', '{"a": "\u12"}'), ('B10', '{"a": "\uZZZZ"}'), ('B10', '{"a": "\q"}'),
    ('B11', E'{"a": "x\ny"}'), ('B11', E'{"a": "x\ty"}'), ('B11', E'{"a": "x\001y"}'), ('B11', E'{"a":\001 1}'), ('B11', E'{"a":\013 1}'),
    ('B12', '{} x'), ('B12', '{}{}'), ('B12', E'{}\n{}'),
    ('B13', '{"a": 1,}'), ('B13', '[1,]'), ('B13', '{"a": 1 /* x */}'), ('B13', '{''a'': 1}'), ('B13', '{a: 1}'), ('B13', '{"a": yes}'),
    ('B14', '[01]'), ('B14', '[+1]'), ('B14', '[.5]'), ('B14', '[1.]'), ('B14', '[0x10]'), ('B14', '[1e]'), ('B14', '[-]'),
    ('B15', '[NaN]'), ('B15', '[Infinity]'), ('B15', '[-Infinity]'),
    ('B16', '{"Event": "Heart'), ('B16', '{"Event": "HeartbeatReceived"'), ('B16', '{"Event":'),
    ('B17', '"text"'), ('B17', '1'), ('B17', 'true'), ('B17', 'null'), ('B17', '[1]'), ('B17', '["a", null]'), ('B17', '[[]]'),
    ('B17', '[]'), ('B17', '{}')
) AS c (row, payload);
SELECT 'B9' AS row, pg_temp.try(pg_temp.with_text('customer-000417', '\ud83d\ude97 Zoë'), 'client_id FROM damoov.users');
SELECT count(*) AS events FROM damoov.events;

\echo *** B18 to B20: too deep, too big
SELECT c.row, c.what, pg_temp.try(c.payload)
FROM (VALUES
    ('B18', '64 levels', (SELECT pg_temp.with_top('heartbeat', format('{"Deep": %s1%s}', repeat('[', 63), repeat(']', 63))))),
    ('B18', '65 levels', (SELECT pg_temp.with_top('heartbeat', format('{"Deep": %s1%s}', repeat('[', 64), repeat(']', 64))))),
    ('B18', '1,001 levels', repeat('[', 1001) || repeat(']', 1001)),
    ('B18', '1,001 levels of objects', repeat('{"a":', 1001) || '1' || repeat('}', 1001)),
    ('B18', '100,000 levels', repeat('[', 100000) || repeat(']', 100000)),
    ('B19', 'below 2 MiB', pg_temp.with_top('heartbeat', format('{"Big": "%s"}', repeat('x', 2 * 1024 * 1024 - 2000)))),
    ('B19', 'above 2 MiB', pg_temp.with_top('heartbeat', format('{"Big": "%s"}', repeat('x', 2 * 1024 * 1024)))),
    ('B20', '3 MB of text', pg_temp.with_top('heartbeat', format('{"Big": "%s"}', repeat('x', 3000000)))),
    ('B20', '1,000,000 keys', (SELECT format('{%s}', string_agg(format('"k%s":1', i), ',')) FROM generate_series(1, 1000000) AS i))
) AS c (row, what, payload);
SELECT count(*) AS events FROM damoov.events;

\echo *** B21 to B24: members
SELECT c.row, c.what, pg_temp.try(c.payload, c.shows)
FROM (VALUES
    ('B21', 'soft field twice', pg_temp.with_text('"ClientId": "customer-000417"', '"ClientId": "a", "ClientId": "b"'), 'client_id FROM damoov.users'),
    ('B22', 'hard field twice', pg_temp.with_text('"Event": "HeartbeatReceived"', '"Event": "AccidentEventReceived", "Event": "HeartbeatReceived"'),
        'event FROM damoov.events'),
    ('B23', 'event, userid', replace(pg_temp.with_text('"Event"', '"event"'), '"UserId"', '"userid"'), 'event FROM damoov.events'),
    ('B23', 'event and EVENT', pg_temp.with_text('"Event": "HeartbeatReceived"', '"event": "HeartbeatReceived", "EVENT": "HeartbeatReceived"'), NULL),
    ('B23', 'Event and event', pg_temp.with_text('"Event": "HeartbeatReceived"', '"Event": "HeartbeatReceived", "event": "AccidentEventReceived"'),
        'event FROM damoov.events'),
    ('B23', 'object and OBJECT', pg_temp.with_text('"Object": ', '"object": {}, "OBJECT": '), NULL),
    ('B23', 'details, its members', replace(pg_temp.with_text('"Details"', '"DETAILS"'), '"ChargeLevel"', '"chargelevel"'),
        'charge_percent FROM damoov.heartbeats'),
    ('B24', 'unknown fields', pg_temp.with_text('"Sender"', '"New": {"a": [1, {"b": null}]}, "Sender"'), 'payload -> ''New'' FROM damoov.events')
) AS c (row, what, payload, shows);
SELECT count(*) AS events FROM damoov.events;

\echo *** B25 to B35: numbers and booleans
SELECT c.row, c.details, pg_temp.try(pg_temp.with_details('heartbeat', c.details), c.shows)
FROM (VALUES
    ('B25', '{"Exact": 9007199254740993}', 'payload #>> ''{Details,Exact}'' FROM damoov.events'),
    ('B25', '{"ChargeLevel": 33.333333333333336}', 'charge_percent FROM damoov.heartbeats'),
    ('B26', '{"NotUploadedTripsCount": 9223372036854775808}', 'waiting_trips FROM damoov.heartbeats'),
    ('B26', '{"NotUploadedTripsCount": 123456789012345678901234567890}', 'waiting_trips FROM damoov.heartbeats'),
    ('B26', '{"NotUploadedTripsCount": 2147483648}', 'waiting_trips FROM damoov.heartbeats'),
    ('B27', '{"ChargeLevel": 1e400}', 'charge_percent FROM damoov.heartbeats'),
    ('B27', '{"ChargeLevel": 1e-400}', 'charge_percent FROM damoov.heartbeats'),
    ('B27', '{"ChargeLevel": 1e100}', 'charge_percent FROM damoov.heartbeats'),
    ('B27', '{"New": 1e100}', 'charge_percent FROM damoov.heartbeats'),
    ('B30', '{"ChargeLevel": -0}', 'charge_percent FROM damoov.heartbeats'),
    ('B30', '{"ChargeLevel": -0.0}', 'charge_percent FROM damoov.heartbeats'),
    ('B30', '{"NotUploadedTripsCount": -0}', 'waiting_trips FROM damoov.heartbeats'),
    ('B31', '{"ChargeLevel": "NaN"}', 'charge_percent FROM damoov.heartbeats'),
    ('B31', '{"ChargeLevel": "Infinity"}', 'charge_percent FROM damoov.heartbeats'),
    ('B31', '{"ChargeLevel": "63.5"}', 'charge_percent FROM damoov.heartbeats'),
    ('B31', '{"NotUploadedTripsCount": "2"}', 'waiting_trips FROM damoov.heartbeats'),
    ('B32', '{"NotUploadedTripsCount": 12.5}', 'waiting_trips FROM damoov.heartbeats'),
    ('B33', '{"NotUploadedTripsCount": 1e2}', 'waiting_trips FROM damoov.heartbeats'),
    ('B33', '{"NotUploadedTripsCount": 100.0}', 'waiting_trips FROM damoov.heartbeats'),
    ('B34', '{"ChargeLevel": -5}', 'charge_percent FROM damoov.heartbeats'),
    ('B34', '{"ChargeLevel": 140}', 'charge_percent FROM damoov.heartbeats'),
    ('B34', '{"ChargeLevel": 100}', 'charge_percent FROM damoov.heartbeats'),
    ('B34', '{"ChargeLevel": 100.00001}', 'charge_percent FROM damoov.heartbeats'),
    ('B34', '{"NotUploadedTripsCount": -1}', 'waiting_trips FROM damoov.heartbeats'),
    ('B35', '{"WifiEnabled": "true"}', 'wifi_enabled FROM damoov.heartbeats'),
    ('B35', '{"GPSEnabled": 1}', 'gps_enabled FROM damoov.heartbeats'),
    ('B35', '{"MobileDataEnabled": "yes"}', 'mobile_data_enabled FROM damoov.heartbeats'),
    ('B35', '{"RealTimeLocationEnabled": {}}', 'real_time_location_enabled FROM damoov.heartbeats'),
    ('B35', '{"WifiEnabled": []}', 'wifi_enabled FROM damoov.heartbeats'),
    ('B35', '{"InstanceId": "7e1f2a3b"}', 'instance_id FROM damoov.heartbeats'),
    ('B35', '{"InstanceId": 7}', 'instance_id FROM damoov.heartbeats')
) AS c (row, details, shows);
SELECT c.row, c.what, left(pg_temp.try(c.payload), 13) AS try
FROM (VALUES
    ('B28', '1e131071', pg_temp.with_text('63.5', '1e131071')),
    ('B28', '1e131071 in a member nobody reads', pg_temp.with_text('63.5', '63.5, "Huge": 1e131071')),
    ('B28', '1,000 of 1e131071', pg_temp.with_text('63.5', '63.5, "Huge": [1e131071' || repeat(', 1e131071', 999) || ']')),
    ('B29', '1e131072', pg_temp.with_text('63.5', '1e131072')),
    ('B29', '100,000 digits', pg_temp.with_text('63.5', repeat('9', 100000))),
    ('B29', '200,000 digits', pg_temp.with_text('63.5', repeat('9', 200000)))
) AS c (row, what, payload);
-- a number in a member that nobody reads must not cost the values of the others
SELECT r.charge_percent, r.waiting_trips, cardinality(r.removed) AS removed
FROM damoov.read_notification(pg_temp.with_details('heartbeat', '{"New": 1e100}')::jsonb) AS r;
SELECT cardinality(r.removed) AS removed
FROM damoov.read_notification(pg_temp.with_details('trip', '{"New": 1e100}')::jsonb) AS r;
SELECT count(*) AS events FROM damoov.events;

\echo *** B36 to B50: times
SELECT c.row, c.stamp, pg_temp.try(pg_temp.with_time(c.stamp), 'concat_ws('' '', sent_at, CASE WHEN sent_text = payload ->> ''Timestamp'' THEN ''text kept'' END) FROM damoov.events')
FROM (VALUES
    ('B36', '2024-05-14T14:05:02.1180557Z'), ('B36', '2024-05-14T14:05:02.1180554Z'), ('B36', '2024-05-14T14:05:02.118055449Z'),
    ('B37', '2024-05-14T14:05:59.9999999Z'), ('B37', '2023-12-31T23:59:59.9999999Z'),
    ('B39', '2024-06-30T23:59:60Z'), ('B40', '2024-06-30T23:59:60.5Z'), ('B40', '2024-06-30T23:59:61Z'),
    ('B40', '2024-05-14T24:00:01Z'), ('B40', '2024-05-14T25:00:00Z'), ('B40', '2024-05-14T12:60:00Z'), ('B41', '2024-05-14T24:00:00Z'),
    ('B42', '2024-02-30T12:00:00Z'), ('B42', '2023-02-29T12:00:00Z'), ('B42', '2024-13-01T12:00:00Z'), ('B42', '2024-05-00T12:00:00Z'),
    ('B43', '0000-05-14T12:00:00Z'), ('B43', '-2020-05-14T12:00:00Z'), ('B43', '2024-05-14T12:00:00 BC'), ('B43', '2024-05-14T12:00:00Z BC'),
    ('B44', '0001-01-01T00:00:00'), ('B44', '0001-01-01T00:00:00Z'),
    ('B45', '9999-12-31T23:59:59.9999999'), ('B45', '294277-01-01T00:00:00Z'), ('B45', '1969-12-31T23:59:59Z'),
    ('B46', '2024-05-14T14:05:02'),
    ('B47', '2024-05-14T14:05:02+16:00'), ('B47', '2024-05-14T14:05:02+25:00'), ('B47', '2024-05-14T14:05:02+5'), ('B47', '2024-05-14T14:05:02+05:60'),
    ('B47', '2024-05-14T14:05:02+02:00'), ('B47', '2024-05-14T14:05:02-0530'),
    ('B48', 'now'), ('B48', 'today'), ('B48', 'yesterday'), ('B48', 'infinity'), ('B48', '-infinity'), ('B48', 'epoch'), ('B48', 'J2451187'),
    ('B48', '2020-202'), ('B48', '2024-05-14T14:05:02 Europe/Berlin'), ('B48', '2024-05-14T14:05:02CEST'),
    ('B49', '01/02/2020'), ('B49', '1595256294'), ('B49', '1595256294000'), ('B49', ''), ('B49', '2024-05-14'), ('B49', '2024-05-14 14:05:02'),
    ('B49', '2024-05-14T14:05Z'), ('B49', ' 2024-05-14T14:05:02Z'), ('B49', '2024-05-14T14:05:02Z '), ('B49', '2024-05-14t14:05:02z'),
    ('B49', '2024-05-14T14:05:02,5Z'), ('B49', '2024-05-14T14:05:02.Z'), ('B49', '2024-05-14T14:05:02.1234567890Z'), ('B49', '２０２６-05-14T14:05:02Z')
) AS c (row, stamp);
SELECT c.row, c.what, pg_temp.try(c.payload, c.shows)
FROM (VALUES
    ('B38', 'two 100 ns apart', format('[%s, %s]', pg_temp.with_time('2024-05-14T14:05:02.1180557Z'), pg_temp.with_time('2024-05-14T14:05:02.1180558Z')),
        'count(*) FROM damoov.events'),
    ('B44', 'empty date, soft', pg_temp.with_details('heartbeat', '{"TimeReceived": "0001-01-01T00:00:00"}'), 'received_at FROM damoov.heartbeats'),
    ('B45', 'end of time, soft', pg_temp.with_details('heartbeat', '{"TimeReceived": "9999-12-31T23:59:59.9999999"}'), 'received_at FROM damoov.heartbeats'),
    ('B46', 'no zone, soft', pg_temp.with_details('heartbeat', '{"TimeReceived": "2024-05-14T14:05:02"}'), 'received_at FROM damoov.heartbeats'),
    ('B48', 'word, soft', pg_temp.with_details('heartbeat', '{"TimeReceived": "now"}'), 'received_at FROM damoov.heartbeats'),
    ('B49', 'null', pg_temp.with_top('heartbeat', '{"Timestamp": null}'), NULL),
    ('B49', 'absent', pg_temp.without('heartbeat', 'Timestamp'), NULL),
    ('B49', 'number', pg_temp.with_top('heartbeat', '{"Timestamp": 1595256294}'), NULL),
    ('B49', 'object', pg_temp.with_top('heartbeat', '{"Timestamp": {}}'), NULL),
    ('B50', '2 days ahead', pg_temp.with_time(to_char(now() AT TIME ZONE 'UTC' + interval '2 days', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')), NULL),
    ('B50', '25 hours ahead', pg_temp.with_time(to_char(now() AT TIME ZONE 'UTC' + interval '25 hours', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')), NULL),
    ('B50', '23 hours ahead', pg_temp.with_time(to_char(now() AT TIME ZONE 'UTC' + interval '23 hours', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')), NULL),
    ('B50', '20 years back', pg_temp.with_time(to_char(now() AT TIME ZONE 'UTC' - interval '20 years', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')), NULL)
) AS c (row, what, payload, shows);
-- B46: the session's zone has no effect
SET timezone = 'America/St_Johns';
SELECT 'B46' AS row, pg_temp.try(pg_temp.with_time('2024-05-14T14:05:02'), 'sent_at AT TIME ZONE ''UTC'' FROM damoov.events');
SET timezone = 'UTC';
SELECT count(*) AS events FROM damoov.events;

\echo *** B51 to B62: hard and soft fields
SELECT c.row, c.what, pg_temp.try(c.payload, c.shows)
FROM (VALUES
    ('B51', 'letters', pg_temp.with_top('heartbeat', '{"UserId": "b6xxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxec"}'), NULL),
    ('B51', '35 characters', pg_temp.with_top('heartbeat', '{"UserId": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b"}'), NULL),
    ('B51', '37 characters', pg_temp.with_top('heartbeat', '{"UserId": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b55"}'), NULL),
    ('B51', 'full-width digit', pg_temp.with_top('heartbeat', '{"UserId": "５b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5"}'), NULL),
    ('B51', 'blank', pg_temp.with_top('heartbeat', '{"UserId": " 5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5"}'), NULL),
    ('B51', 'Object.Id', pg_temp.with_object('trip', '{"Id": "c4a8f0d2"}'), NULL),
    ('B52', 'upper case', pg_temp.with_top('heartbeat', '{"UserId": "5B0C7D1E-2F34-4A56-8B79-C0D1E2F3A4B5"}'), 'device_token FROM damoov.users'),
    ('B52', 'braces', pg_temp.with_top('heartbeat', '{"UserId": "{5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5}"}'), 'device_token FROM damoov.users'),
    ('B52', 'no hyphens', pg_temp.with_top('heartbeat', '{"UserId": "5b0c7d1e2f344a568b79c0d1e2f3a4b5"}'), 'device_token FROM damoov.users'),
    ('B52', 'open brace', pg_temp.with_top('heartbeat', '{"UserId": "{5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5"}'), NULL),
    ('B53', 'UserId all zero', pg_temp.with_top('heartbeat', '{"UserId": "00000000-0000-0000-0000-000000000000"}'), NULL),
    ('B53', 'Object.Id all zero', pg_temp.with_object('heartbeat', '{"Id": "00000000-0000-0000-0000-000000000000"}'), NULL),
    ('B54', 'UserId missing', pg_temp.without('heartbeat', 'UserId'), NULL),
    ('B54', 'UserId null', pg_temp.with_top('heartbeat', '{"UserId": null}'), NULL),
    ('B54', 'UserId empty', pg_temp.with_top('heartbeat', '{"UserId": ""}'), NULL),
    ('B54', 'UserId a number', pg_temp.with_top('heartbeat', '{"UserId": 5}'), NULL),
    ('B54', 'Object missing', pg_temp.without('heartbeat', 'Object'), NULL),
    ('B54', 'Object.Id missing', pg_temp.without('heartbeat', 'Object', 'Id'), NULL),
    ('B54', 'Object.Id null', pg_temp.with_object('heartbeat', '{"Id": null}'), NULL),
    ('B54', 'Object.Id empty', pg_temp.with_object('heartbeat', '{"Id": ""}'), NULL),
    ('B54', 'Object.Id an array', pg_temp.with_object('heartbeat', '{"Id": ["5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5"]}'), NULL),
    ('B54', 'Event missing', pg_temp.without('heartbeat', 'Event'), NULL),
    ('B54', 'Event null', pg_temp.with_top('heartbeat', '{"Event": null}'), NULL),
    ('B54', 'Event empty', pg_temp.with_top('heartbeat', '{"Event": ""}'), NULL),
    ('B55', 'in Event', pg_temp.with_top('heartbeat', '{"Event": "''; DROP TABLE damoov.events; --"}'), 'event FROM damoov.events'),
    ('B55', 'in ClientId', pg_temp.with_top('heartbeat', '{"ClientId": "''; DROP TABLE damoov.events; --"}'), 'client_id FROM damoov.users'),
    ('B55', 'in UserId', pg_temp.with_top('heartbeat', '{"UserId": "''; DROP TABLE damoov.events; --"}'), NULL),
    ('B55', 'in Reason', pg_temp.with_top('trip', '{"Event": "IncomingTrackRemoved", "Details": {"Reason": "$$; DROP TABLE damoov.events; --"}}'),
        'vendor_reason FROM damoov.removed_tracks'),
    ('B56', 'ClientId of 10 MB', pg_temp.with_top('heartbeat', format('{"ClientId": "%s"}', repeat('x', 10000000))), NULL),
    ('B56', 'ClientId of 1,000 characters', pg_temp.with_top('heartbeat', format('{"ClientId": "%s"}', repeat('ü', 1000))), 'length(client_id) FROM damoov.users'),
    ('B56', 'ClientId of 1,001 characters', pg_temp.with_top('heartbeat', format('{"ClientId": "%s"}', repeat('x', 1001))), 'length(client_id) FROM damoov.users'),
    ('B56', 'ClientId with control characters', pg_temp.with_top('heartbeat', '{"ClientId": "a\u0001\u001b[31m\r\nb\u007f"}'), 'client_id = E''a\x01\x1b[31m\r\nb\x7f'' FROM damoov.users'),
    ('B56', 'ClientId a number', pg_temp.with_top('heartbeat', '{"ClientId": 417}'), 'client_id FROM damoov.users'),
    ('B57', 'unknown', pg_temp.with_top('heartbeat', '{"Event": "VehicleDataReceived"}'), 'event FROM damoov.events'),
    ('B57', 'other case', pg_temp.with_top('heartbeat', '{"Event": "HEARTBEATRECEIVED"}'), 'event FROM damoov.events'),
    ('B57', 'trailing blank', pg_temp.with_top('heartbeat', '{"Event": "HeartbeatReceived "}'), 'quote_literal(event) FROM damoov.events'),
    ('B58', 'Event a number', pg_temp.with_top('heartbeat', '{"Event": 3}'), NULL),
    ('B58', 'Event an object', pg_temp.with_top('heartbeat', '{"Event": {}}'), NULL),
    ('B58', 'Event an array', pg_temp.with_top('heartbeat', '{"Event": ["HeartbeatReceived"]}'), NULL),
    ('B58', 'Event a boolean', pg_temp.with_top('heartbeat', '{"Event": true}'), NULL),
    ('B59', 'Object null', pg_temp.with_top('heartbeat', '{"Object": null}'), NULL),
    ('B59', 'Object an array', pg_temp.with_top('heartbeat', '{"Object": [{"Id": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5"}]}'), NULL),
    ('B59', 'Object a text', pg_temp.with_top('heartbeat', '{"Object": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5"}'), NULL),
    ('B59', 'Details a text', pg_temp.with_top('heartbeat', '{"Details": "text"}'), NULL),
    ('B59', 'Details an array', pg_temp.with_top('heartbeat', '{"Details": []}'), NULL),
    ('B60', 'Details missing', pg_temp.without('heartbeat', 'Details'), 'to_jsonb(h) - ''user_id''::text FROM damoov.heartbeats AS h'),
    ('B60', 'Details null', pg_temp.with_top('heartbeat', '{"Details": null}'), 'count(*) FROM damoov.heartbeats'),
    ('B60', 'Details empty', pg_temp.with_top('trip', '{"Details": {}}'), 'count(*) FROM damoov.downloads'),
    ('B61', 'Object.Type of another event', pg_temp.with_object('heartbeat', '{"Type": "RichTrack"}'), 'object_type FROM damoov.events'),
    ('B61', 'Object.Type a number', pg_temp.with_object('heartbeat', '{"Type": 1}'), 'object_type FROM damoov.events'),
    ('B61', 'Object.Type missing', pg_temp.without('heartbeat', 'Object', 'Type'), 'object_type FROM damoov.events'),
    ('B62', 'TracksRemoved null', pg_temp.with_details('trip', '{"TracksRemoved": null}'), 'count(*) FROM damoov.removed_tracks'),
    ('B62', 'TracksRemoved missing', pg_temp.without('trip', 'Details', 'TracksRemoved'), 'count(*) FROM damoov.removed_tracks'),
    ('B62', 'TracksRemoved empty', pg_temp.with_details('trip', '{"TracksRemoved": []}'), 'count(*) FROM damoov.removed_tracks')
) AS c (row, what, payload, shows);
SELECT 'B57' AS row, left(pg_temp.try(pg_temp.with_top('heartbeat', format('{"Event": "%s"}',
    (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1250) AS i)))), 13) AS "Event of 40,000 characters";
SELECT count(*) AS events FROM damoov.events;

\echo *** B63 to B68: removals, heartbeats, Uri
SELECT c.row, c.what, pg_temp.try(c.payload, c.shows)
FROM (VALUES
    ('B63', 'an object', pg_temp.with_details('trip', '{"TracksRemoved": {"Id": "0d9e8f7a-1b2c-4d3e-8f40-5a6b7c8d9e0f"}}'), NULL),
    ('B63', 'a text', pg_temp.with_details('trip', '{"TracksRemoved": "0d9e8f7a-1b2c-4d3e-8f40-5a6b7c8d9e0f"}'), NULL),
    ('B63', 'a number', pg_temp.with_details('trip', '{"TracksRemoved": 1}'), NULL),
    ('B63', 'texts', pg_temp.with_details('trip', '{"TracksRemoved": ["0d9e8f7a-1b2c-4d3e-8f40-5a6b7c8d9e0f"]}'), NULL),
    ('B63', 'arrays', pg_temp.with_details('trip', '{"TracksRemoved": [["0d9e8f7a-1b2c-4d3e-8f40-5a6b7c8d9e0f"]]}'), NULL),
    ('B63', 'null among good ones', pg_temp.with_details('trip', '{"TracksRemoved": [{"Id": "0d9e8f7a-1b2c-4d3e-8f40-5a6b7c8d9e0f"}, null]}'), NULL),
    ('B63', 'bad id among good ones', pg_temp.with_details('trip',
        '{"TracksRemoved": [{"Id": "0d9e8f7a-1b2c-4d3e-8f40-5a6b7c8d9e0f"}, {"Id": "b6xxxxx"}, {"Id": "1e2d3c4b-5a69-4788-9796-a5b4c3d2e1f0"}]}'), NULL),
    ('B63', 'no id among good ones', pg_temp.with_details('trip',
        '{"TracksRemoved": [{"Id": "0d9e8f7a-1b2c-4d3e-8f40-5a6b7c8d9e0f"}, {"Type": "RichTrack"}]}'), NULL),
    ('B63', 'an id that is a number', pg_temp.with_details('trip', '{"TracksRemoved": [{"Id": 7}]}'), NULL),
    ('B63', 'all zero', pg_temp.with_details('trip', '{"TracksRemoved": [{"Id": "00000000-0000-0000-0000-000000000000"}]}'), NULL),
    ('B64', 'itself', pg_temp.with_details('trip', '{"TracksRemoved": [{"Id": "c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d"}]}'),
        'concat((SELECT count(*) FROM damoov.removed_tracks), '' removed, '', (SELECT count(*) FROM damoov.downloads), '' wanted'')'),
    ('B64', 'one twice', pg_temp.with_details('trip',
        '{"TracksRemoved": [{"Id": "0d9e8f7a-1b2c-4d3e-8f40-5a6b7c8d9e0f"}, {"Id": "0D9E8F7A-1B2C-4D3E-8F40-5A6B7C8D9E0F"}]}'), 'count(*) FROM damoov.removed_tracks'),
    ('B64', '10,000', (SELECT pg_temp.with_details('trip', format('{"TracksRemoved": [%s]}', string_agg(format('{"Id": "%s"}', md5(i::text)), ',')))
        FROM generate_series(1, 10000) AS i), 'count(*) FROM damoov.removed_tracks'),
    ('B66', 'never seen', pg_temp.with_top('trip', '{}'), 'string_agg(concat_ws('' '', track_token, reason, replaced_by), '', '') FROM damoov.removed_tracks'),
    ('B67', 'two heartbeats', format('[%s, %s]', pg_temp.with_top('heartbeat', '{}'), pg_temp.with_time('2024-05-14T14:06:02Z')), 'count(*) FROM damoov.heartbeats'),
    ('B68', 'heartbeat with Uri null', pg_temp.with_object('heartbeat', '{"Uri": null}'), 'count(*) FROM damoov.heartbeats'),
    ('B68', 'trip with Uri', (SELECT replace(note::text, '"Url"', '"Uri"') FROM sample WHERE event = 'trip'), 'url FROM damoov.downloads')
) AS c (row, what, payload, shows);
-- B65 needs a track that is another user's: in replacement.sql, too
BEGIN;
SELECT outcome FROM damoov_ingest(pg_temp.with_object('trip', '{"Id": "0d9e8f7a-1b2c-4d3e-8f40-5a6b7c8d9e0f"}')::jsonb - 'Details');
SELECT 'B65' AS row, pg_temp.try(pg_temp.with_top('trip', '{"UserId": "5b0c7d1e-2f34-4a56-8b79-000000000002"}'));
SELECT count(*) AS removed FROM damoov.removed_tracks;
ROLLBACK;
SELECT count(*) AS events FROM damoov.events;

\echo *** B69 to B74: addresses
-- the words are left out where they are libcurl's judgement
SELECT c.row, c.url,
    regexp_replace(pg_temp.try(pg_temp.with_object('trip', jsonb_build_object('Url', c.url)::text)), '^(refused .....).*', '\1') AS try
FROM (VALUES
    ('B69', 'http://mobilesdk.telematicssdk.com/c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d'), ('B69', 'file:///etc/passwd'),
    ('B69', 'gopher://mobilesdk.telematicssdk.com/'), ('B69', 'data:text/plain,x'), ('B69', 'ftp://mobilesdk.telematicssdk.com/'),
    ('B69', 'https://mobilesdk.telematicssdk.com:22/'), ('B69', 'https://mobilesdk.telematicssdk.com:8443/'), ('B69', 'mobilesdk.telematicssdk.com/x'),
    ('B69', '//mobilesdk.telematicssdk.com/x'), ('B69', '/x'), ('B69', 'https:///x'),
    ('B70', 'https://mobilesdk.telematicssdk.com@evil.example/'), ('B70', 'https://user:pass@mobilesdk.telematicssdk.com/'),
    ('B70', 'https://mobilesdk.telematicssdk.com.evil.example/'), ('B70', 'https://eviltelematicssdk.com/'), ('B70', 'https://telematicssdk.com.evil/'),
    ('B70', 'https://mobilesdk.telematicssdk.com./'), ('B70', 'https://xn--telematcssdk-hcb.com/'), ('B70', 'https://mobilesdk.telematicssdk.соm/'),
    ('B70', 'https://evil.example/?https://mobilesdk.telematicssdk.com/'), ('B70', 'https://evil.example#.telematicssdk.com/'),
    ('B70', 'https://evil.example%2f.telematicssdk.com/'), ('B70', 'https://evil.example\.telematicssdk.com/'), ('B70', 'https://telematicssdk.com/'),
    ('B71', 'https://127.0.0.1/'), ('B71', 'https://[::1]/'), ('B71', 'https://169.254.169.254/latest/meta-data/'), ('B71', 'https://2130706433/'),
    ('B71', 'https://0x7f.1/'), ('B71', 'https://[::ffff:10.0.0.1]/'), ('B71', 'https://localhost/'), ('B71', 'http://127.0.0.1/'),
    ('B72', E'https://mobilesdk.telematicssdk.com/\r\nHost: x'), ('B72', 'https://mobilesdk.telematicssdk.com/a b'),
    ('B72', 'https://mobilesdk.telematicssdk.com\x'), ('B72', E'https://mobilesdk.telematicssdk.com/\x7f'), ('B72', ' https://mobilesdk.telematicssdk.com/'),
    ('B73', 'https://mobilesdk.telematicssdk.com/x?trackToken=0d9e8f7a-1b2c-4d3e-8f40-5a6b7c8d9e0f'),
    ('B73', 'https://MOBILESDK.TelematicsSDK.com/x?trackToken=C4A8F0D2-6B13-4E57-9D28-3F5E7A9B1C0D'),
    ('B73', 'https://api.damoov.com:443/x?trackToken=c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d')
) AS c (row, url);
SELECT 'B72' AS row, pg_temp.try(pg_temp.with_object('trip', format('{"Url": "https://mobilesdk.telematicssdk.com/%s"}', repeat('x', 2048)))) AS "more than 2 kB";
SELECT 'B72' AS row, pg_temp.try(replace(pg_temp.with_object('trip', '{"Url": "https://mobilesdk.telematicssdk.com/NUL"}'), 'NUL', '\u0000')) AS "NUL";
-- other events' addresses are judged the same way
SELECT 'B69' AS row, pg_temp.try(pg_temp.with_object('heartbeat', '{"Uri": "http://mobilesdk.telematicssdk.com/x"}')) AS heartbeat;
-- B74: tokens that are no ids never get into a URL
CREATE FUNCTION pg_temp.try_fetch(token text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN 'fetched ' || damoov_fetch_track(token, '5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5');
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END
$$;
SELECT 'B74' AS row, t.token, pg_temp.try_fetch(t.token)
FROM (VALUES ('../x'), ('a?b'), ('a#b'), ('%2e%2e'), (E'c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d\r\nX: y'), (''), ('c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d?x'),
    ('00000000-0000-0000-0000-000000000000')) AS t (token);
SELECT count(*) AS events FROM damoov.events;

\echo *** B75 to B80: envelopes
CREATE FUNCTION pg_temp.sns(changes text) RETURNS text LANGUAGE sql AS $$
    SELECT ('{"Type": "Notification", "MessageId": "9b1e2f30-4a5b-5c6d-8e7f-001122334455", "TopicArn": "arn:aws:sns:eu-central-1:000000000000:x",
        "Timestamp": "2024-05-14T16:01:19.120Z", "SignatureVersion": "1", "Signature": "RXhhbXBsZQ=="}'::jsonb || changes::jsonb)::text
$$;
SELECT c.row, c.what, pg_temp.try(c.payload, c.shows)
FROM (VALUES
    ('B75', 'SubscriptionConfirmation', pg_temp.sns('{"Type": "SubscriptionConfirmation", "Message": "x", "SubscribeURL": "https://evil.example/"}'),
        'concat(event, '' '', (SELECT count(*) FROM damoov.downloads)) FROM damoov.events'),
    ('B76', 'no Message', pg_temp.sns('{}'), NULL),
    ('B76', 'Message null', pg_temp.sns('{"Message": null}'), NULL),
    ('B76', 'Message an object', pg_temp.sns((SELECT jsonb_build_object('Message', note)::text FROM sample WHERE event = 'heartbeat')), NULL),
    ('B76', 'Message no JSON', pg_temp.sns('{"Message": "{\"Event\": "}'), NULL),
    ('B76', 'Message empty', pg_temp.sns('{"Message": ""}'), NULL),
    ('B76', 'Message a number', pg_temp.sns('{"Message": "5"}'), NULL),
    ('B76', 'wrapped twice', pg_temp.sns((SELECT jsonb_build_object('Message', pg_temp.sns(jsonb_build_object('Message', note::text)::text))::text
        FROM sample WHERE event = 'heartbeat')), NULL),
    ('B76', 'hard field missing inside', pg_temp.sns(jsonb_build_object('Message', pg_temp.without('heartbeat', 'UserId'))::text), NULL),
    ('B76', 'hard field twice inside', pg_temp.sns(jsonb_build_object('Message',
        pg_temp.with_text('"Event": "HeartbeatReceived"', '"Event": "AccidentEventReceived", "Event": "HeartbeatReceived"'))::text), 'event FROM damoov.events'),
    ('B76', '\u0000 inside', pg_temp.sns(jsonb_build_object('Message', pg_temp.with_text('customer-000417', 'a\u0000b'))::text), NULL),
    ('B76', 'too deep inside', pg_temp.sns(jsonb_build_object('Message', repeat('[', 1001) || repeat(']', 1001))::text), NULL),
    -- what an envelope holds is read as text and kept as jsonb: both have to see the same
    ('B22', 'Object twice inside, the last without Id', pg_temp.sns(jsonb_build_object('Message', (SELECT replace(note::text, '"Sender"',
        '"Object": {"Type": "RichTrack"}, "Sender"') FROM sample WHERE event = 'trip'))::text), 'count(*) FROM damoov.removed_tracks'),
    ('B27', '1e100 inside', pg_temp.sns(jsonb_build_object('Message', (SELECT replace(note::text, '"Sender"',
        '"New": 1e100, "Sender"') FROM sample WHERE event = 'trip'))::text), 'count(*) FROM damoov.removed_tracks'),
    ('B19', '1.4 MB as sent, 2.1 MB as jsonb prints it', pg_temp.sns(jsonb_build_object('Message', (SELECT replace(note::text, '"Sender"',
        '"New": [1' || repeat(',1', 700000) || '], "Sender"') FROM sample WHERE event = 'trip'))::text), 'count(*) FROM damoov.removed_tracks'),
    ('B78', 'no envelope', pg_temp.with_top('heartbeat', '{}'), NULL),
    ('B80', 'one bad in an array', format('[%s, %s, %s]', pg_temp.with_top('heartbeat', '{}'), pg_temp.without('heartbeat', 'UserId'), pg_temp.with_top('trip', '{}')), NULL),
    ('B80', 'an array in an array', format('[[%s]]', pg_temp.with_top('heartbeat', '{}')), NULL)
) AS c (row, what, payload, shows);
-- the element is named
\set VERBOSITY default
SELECT outcome FROM damoov_ingest((SELECT jsonb_agg(note ORDER BY event) || '[{"Event": "HeartbeatReceived"}]' FROM sample));
\set VERBOSITY terse

SELECT count(*) AS events_after, (SELECT count(*) FROM damoov.users) AS users, (SELECT count(*) FROM damoov.receipts) AS receipts,
    (SELECT count(*) FROM damoov.quarantine) AS quarantine, (SELECT count(*) FROM damoov.downloads) AS downloads
FROM damoov.events;
