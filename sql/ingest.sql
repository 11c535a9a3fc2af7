-- The door for good notifications: what is stored, and that the same set of
-- events gives the same tables in every order, grouping and repetition.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/prelude.psql

-- Every table of damoov without surrogate keys and wall clocks; persons,
-- events and trips stand under their own names instead.  What says how often
-- something came (redeliveries, receipts) is left out, for it may differ.
CREATE FUNCTION pg_temp.snapshot() RETURNS jsonb LANGUAGE plpgsql
SET timezone = 'UTC' SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    relation record;
    row_text text;
    rows jsonb;
    result jsonb := '{}';
BEGIN
    FOR relation IN
        SELECT c.oid, c.relname,
            array_agg(a.attname::text) AS columns
        FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace = 'damoov'::regnamespace AND c.relkind IN ('r', 'p')
            AND c.relname NOT IN ('redeliveries', 'receipts')
        GROUP BY c.oid, c.relname
    LOOP
        row_text := 'to_jsonb(t) - ''{user_id,event_id,trip_id,crash_id,quarantine_id,first_seen_at,due_at,queued_at,stored_at,version,leased_until}''::text[]';
        IF relation.relname IN ('events', 'quarantine') THEN
            row_text := row_text || ' - ''received_at''::text';
        END IF;
        IF 'user_id' = ANY (relation.columns) THEN
            row_text := row_text || ' || jsonb_build_object(''person'', (SELECT u.device_token FROM damoov.users AS u WHERE u.user_id = t.user_id))';
        END IF;
        IF 'event_id' = ANY (relation.columns) AND relation.relname <> 'events' THEN
            row_text := row_text || ' || jsonb_build_object(''caused_by'', (SELECT jsonb_build_array(e.event, e.object_id, e.sent_text)'
                ' FROM damoov.events AS e WHERE e.event_id = t.event_id))';
        END IF;
        IF 'trip_id' = ANY (relation.columns) AND relation.relname <> 'trips' THEN
            row_text := row_text || ' || jsonb_build_object(''trip'', (SELECT r.track_token FROM damoov.trips AS r WHERE r.trip_id = t.trip_id))';
        END IF;
        EXECUTE format('SELECT coalesce(jsonb_agg(r.r ORDER BY r.r::text COLLATE "C"), ''[]'') FROM (SELECT %s AS r FROM %s AS t) AS r',
            row_text, relation.oid::regclass) INTO rows;
        result := result || jsonb_build_object(relation.relname, rows);
    END LOOP;
    RETURN result;
END
$$;

-- Stores payloads one call each, in this order, takes the snapshot and undoes it all
CREATE FUNCTION pg_temp.outcome_of(VARIADIC payloads jsonb[]) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    payload jsonb;
    result jsonb;
BEGIN
    FOREACH payload IN ARRAY payloads LOOP
        PERFORM public.damoov_ingest(payload);
    END LOOP;
    result := pg_temp.snapshot();
    RAISE EXCEPTION SQLSTATE 'ZZ000';
EXCEPTION WHEN SQLSTATE 'ZZ000' THEN
    RETURN result;
END
$$;

-- What differs between two snapshots, table by table
CREATE FUNCTION pg_temp.difference(a jsonb, b jsonb) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(format('%s: %s <> %s', x.key, x.value, b -> x.key), E'\n' ORDER BY x.key), 'none')
    FROM jsonb_each(a) AS x WHERE x.value <> b -> x.key
$$;

-- All orders of the numbers 1 to n
CREATE FUNCTION pg_temp.permutations(n integer) RETURNS SETOF integer[] LANGUAGE sql AS $$
    WITH RECURSIVE p (taken) AS (
        SELECT ARRAY[]::integer[]
        UNION ALL
        SELECT p.taken || i FROM p, generate_series(1, n) AS i WHERE i <> ALL (p.taken)
    )
    SELECT p.taken FROM p WHERE cardinality(p.taken) = n
$$;

-- The eight notifications of the vendor's page: three about one track and four
-- about one crash with one Timestamp each, and a heartbeat.  Values are invented.
CREATE TEMP TABLE note (n integer PRIMARY KEY, note jsonb NOT NULL);
INSERT INTO note VALUES
(1, '{
  "Event": "IncomingTrackRemoved",
  "Sender": "Data Motion",
  "UserId": "e1f2a616-896d-4610-9bef-000000000275",
  "Object": {
    "Id": "9a47f5eb-7aca-48c3-b698-000000000d29",
    "Type": "IncomingTrackSummary",
    "Url": "https://mobilesdk.telematicssdk.com/mobilesdk/incoming/incoming/tracks/removed/9a47f5eb-7aca-48c3-b698-000000000d29/v1/"
  },
  "Timestamp": "2020-07-20T14:44:54.9074056Z",
  "Details": {
    "TrackStartDate": "2020-04-29T09:20:48.0000000-06:00",
    "TrackFinishDate": "2020-04-29T09:57:02.0000000-06:00",
    "Reason": "Insufficient Track length"
  }
}'),
(2, '{
  "Event": "IncomingTrackReceived",
  "Sender": "Data Motion",
  "UserId": "e1f2a616-896d-4610-9bef-000000000275",
  "Object": {
    "Id": "9a47f5eb-7aca-48c3-b698-000000000d29",
    "Type": "IncomingTrack",
    "Url": "https://mobilesdk.telematicssdk.com/mobilesdk/incoming/incoming/tracks/received/9a47f5eb-7aca-48c3-b698-000000000d29/v1/"
  },
  "Timestamp": "2020-07-20T14:44:54.9074056Z",
  "Details": {
    "TrackStartDate": "2020-04-29T09:20:48.0000000-06:00",
    "TrackFinishDate": "2020-04-29T09:57:02.0000000-06:00"
  }
}'),
(3, '{
  "Event": "TrackEnrichmentFinished",
  "Sender": "Data Motion",
  "UserId": "e1f2a616-896d-4610-9bef-000000000275",
  "Object": {
    "Id": "9a47f5eb-7aca-48c3-b698-000000000d29",
    "Type": "RichTrack",
    "Url": "https://mobilesdk.telematicssdk.com/mobilesdk/stage/track/get_track/v1?trackToken=9a47f5eb-7aca-48c3-b698-000000000d29"
  },
  "Timestamp": "2020-07-20T14:44:54.9074056Z",
  "Details": {
    "ObjectReplaced": true,
    "TracksRemoved": [
      {
        "Id": "33a7f5eb-7aca-48c3-b698-000000000d29",
        "Type": "RichTrack"
      },
      {
        "Id": "44a7f5eb-7aca-48c3-b698-000000000d29",
        "Type": "RichTrack"
      }
    ]
  }
}'),
(4, '{
  "Event": "AccidentEventReceived",
  "Sender": "Data Motion",
  "UserId": "e1f2a616-896d-4610-9bef-000000000275",
  "ClientId": "User 1234",
  "Object": {
    "Id": "9a47f5eb-7aca-48c3-b698-000000000d29",
    "Type": "Accident",
    "Url": "https://api.telematicssdk.com/api/drivingevents/get/v1/Accidents/received/9a47f5eb-7aca-48c3-b698-000000000d29"
  },
  "Timestamp": "2021-07-20T14:44:54.9074056Z",
  "Details": {
    "DateReceived": "2021-07-20T14:42:54.8884056Z"
  }
}'),
(5, '{
  "Event": "AccidentEventExtraReceived",
  "Sender": "Data Motion",
  "UserId": "e1f2a616-896d-4610-9bef-000000000275",
  "ClientId": "User 1234",
  "Object": {
    "Id": "9a47f5eb-7aca-48c3-b698-000000000d29",
    "Type": "AccidentExtra",
    "Url": "https://api.telematicssdk.com/api/drivingevents/get/v1/Accidents/extras/received/9a47f5eb-7aca-48c3-b698-000000000d29"
  },
  "Timestamp": "2021-07-20T14:44:54.9074056Z",
  "Details": {
    "DateReceived": "2021-07-20T14:42:54.8884056Z"
  }
}'),
(6, '{
  "Event": "AccidentEventCompletePackageReceived",
  "Sender": "Data Motion",
  "UserId": "e1f2a616-896d-4610-9bef-000000000275",
  "ClientId": "User 1234",
  "Object": {
    "Id": "9a47f5eb-7aca-48c3-b698-000000000d29",
    "Type": "Accident",
    "Url": "https://api.telematicssdk.com/api/drivingevents/get/v1/Accidents/received/9a47f5eb-7aca-48c3-b698-000000000d29"
  },
  "Timestamp": "2021-07-20T14:44:54.9074056Z",
  "Details": {
    "PackageDateReceived": "2021-07-20T14:42:54.8884056Z",
    "AccidentPassedFilters":  true
  }
}'),
(7, '{
  "Event": "AccidentEventFiltered",
  "Sender": "Data Motion",
  "UserId": "e1f2a616-896d-4610-9bef-000000000275",
  "ClientId": "User 1234",
  "Object": {
    "Id": "9a47f5eb-7aca-48c3-b698-000000000d29",
    "Type": "Accident",
    "Url": "https://api.telematicssdk.com/api/drivingevents/get/v1/Accidents/received/9a47f5eb-7aca-48c3-b698-000000000d29"
  },
  "Timestamp": "2021-07-20T14:44:54.9074056Z",
  "Details": {
    "DateFiltered": "2021-07-20T14:42:54.8884056Z"
  }
}'),
(8, '{
  "Event": "HeartbeatReceived",
  "Sender": "Damoov",
  "UserId": "4abf7a0f-d4ed-4a38-867c-000000000089",
  "ClientId": "Gocha",
  "Timestamp": "2023-09-18T22:38:02.4974696Z",
  "Object": {
    "Id": "4abf7a0f-d4ed-4a38-867c-000000000089",
    "Type": "RawHeartbeat",
    "Uri": null
  },
  "Details": {
    "ChargeLevel": 89.4,
    "WifiEnabled": true,
    "GPSEnabled": true,
    "RealTimeLocationEnabled": false,
    "MobileDataEnabled": true,
    "NotUploadedTripsCount": 6,
    "InstanceId": "3a1c8fd7-4133-404a-82e9-000000000362",
    "TimeReceived": "2023-09-18T22:37:53.7273284Z"
  }
}');
-- the same, each in an SNS envelope
CREATE TEMP TABLE wrapped AS
SELECT n, jsonb_build_object(
    'Type', 'Notification',
    'MessageId', '9b1e2f30-4a5b-5c6d-8e7f-00000000000' || n,
    'TopicArn', 'arn:aws:sns:eu-central-1:000000000000:damoov-events',
    'Message', note::text,
    'Timestamp', '2024-05-14T16:01:19.120Z',
    'SignatureVersion', '1',
    'Signature', 'RXhhbXBsZSBvbmx5',
    'SigningCertURL', 'https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-example.pem') AS note
FROM note;

-- One by one
SELECT pg_temp.empty_tables();
SELECT n.n, i.event, i.outcome FROM note AS n, damoov_ingest(n.note) AS i ORDER BY n.n;
CREATE TEMP TABLE one_by_one AS SELECT pg_temp.snapshot() AS taken;

-- What is in the tables now
SELECT device_token, client_id, client_id_at, instance_id, instance_id_at FROM damoov.users ORDER BY device_token;
SELECT e.source, e.event, e.outcome, u.device_token, e.object_id, e.object_type, e.sent_at, e.sent_text, e.payload = n.note AS payload_kept
FROM damoov.events AS e JOIN damoov.users AS u USING (user_id) JOIN note AS n ON n.note ->> 'Event' = e.event ORDER BY n.n;
SELECT r.track_token, r.removed_at, e.event AS caused_by, r.reason, r.replaced_by, r.vendor_reason,
    r.track_started_at, r.track_ended_at, r.start_utc_offset_min
FROM damoov.removed_tracks AS r JOIN damoov.events AS e USING (event_id) ORDER BY r.track_token;
SELECT kind, object_id, source, url, priority, state, wanted_at, attempts FROM damoov.downloads ORDER BY kind, object_id;
SELECT c.crash_token, c.header_received_at, c.buffer_received_at, c.completed_at, c.filtered_at, c.passed_filters
FROM damoov.crashes AS c ORDER BY c.crash_token;
SELECT h.reported_at, h.received_at, h.charge_percent, h.wifi_enabled, h.gps_enabled, h.mobile_data_enabled,
    h.real_time_location_enabled, h.waiting_trips, h.instance_id
FROM damoov.heartbeats AS h ORDER BY h.reported_at;
SELECT count(*) AS trips FROM damoov.trips;
SELECT count(*) AS redeliveries FROM damoov.redeliveries;

-- Every grouping, order and repetition gives the same tables
SELECT pg_temp.empty_tables();
SELECT w.way, pg_temp.difference(o.taken, w.taken)
FROM one_by_one AS o, LATERAL (VALUES
    (1, 'one by one', (SELECT pg_temp.outcome_of(VARIADIC array_agg(note ORDER BY n)) FROM note)),
    (2, 'one array', (SELECT pg_temp.outcome_of(jsonb_agg(note ORDER BY n)) FROM note)),
    (3, 'reversed', (SELECT pg_temp.outcome_of(VARIADIC array_agg(note ORDER BY n DESC)) FROM note)),
    (4, 'one array, reversed', (SELECT pg_temp.outcome_of(jsonb_agg(note ORDER BY n DESC)) FROM note)),
    (5, 'each twice', (SELECT pg_temp.outcome_of(VARIADIC array_agg(note ORDER BY n)) FROM (SELECT * FROM note UNION ALL SELECT * FROM note) AS d)),
    (6, 'all, then all again reversed', (SELECT pg_temp.outcome_of(VARIADIC array_agg(note ORDER BY n)
        || array_agg(note ORDER BY n DESC)) FROM note)),
    (7, 'one array, each twice', (SELECT pg_temp.outcome_of(jsonb_agg(note ORDER BY n)) FROM (SELECT * FROM note UNION ALL SELECT * FROM note) AS d)),
    (8, 'the array twice', (SELECT pg_temp.outcome_of(jsonb_agg(note ORDER BY n), jsonb_agg(note ORDER BY n DESC)) FROM note)),
    (9, 'SNS envelopes', (SELECT pg_temp.outcome_of(VARIADIC array_agg(note ORDER BY n)) FROM wrapped)),
    (10, 'SNS envelopes, reversed', (SELECT pg_temp.outcome_of(VARIADIC array_agg(note ORDER BY n DESC)) FROM wrapped)),
    (11, 'array of SNS envelopes', (SELECT pg_temp.outcome_of(jsonb_agg(note ORDER BY n)) FROM wrapped)),
    (12, 'an SNS envelope around the array', (SELECT pg_temp.outcome_of((SELECT note FROM wrapped WHERE n = 1)
        || jsonb_build_object('Message', jsonb_agg(note ORDER BY n)::text)) FROM note)),
    (13, 'bare and in envelopes mixed', (SELECT pg_temp.outcome_of(jsonb_agg(note ORDER BY n))
        FROM (SELECT * FROM note UNION ALL SELECT * FROM wrapped) AS d))
) AS w (i, way, taken)
ORDER BY w.i;
-- the comparison itself can fail
SELECT pg_temp.difference(o.taken, (SELECT pg_temp.outcome_of(VARIADIC array_agg(note ORDER BY n)) FROM note WHERE n <> 8)) = 'none' AS equal
FROM one_by_one AS o;

-- The same through calls that commit by themselves, with settings of the session that must not matter
SET timezone = 'Australia/Lord_Howe';
SET datestyle = 'German, DMY';
SET intervalstyle = 'sql_standard';
SET extra_float_digits = -10;
SET bytea_output = 'escape';
SET xmlbinary = 'hex';
SET standard_conforming_strings = off;
SELECT count(*) FROM (SELECT i.outcome FROM note AS n, damoov_ingest(n.note) AS i ORDER BY n.n) AS i WHERE outcome = 'stored';
RESET standard_conforming_strings;
RESET xmlbinary;
RESET bytea_output;
RESET extra_float_digits;
RESET intervalstyle;
SET datestyle = 'ISO, YMD';
SET timezone = 'UTC';
SELECT pg_temp.difference(o.taken, pg_temp.snapshot()) FROM one_by_one AS o;

-- What others commit meanwhile must be seen; where it would not be, each door refuses
SELECT 'BEGIN ISOLATION LEVEL ' || level, 'SELECT ' || door, 'ROLLBACK'
FROM (VALUES (1, 'REPEATABLE READ'), (2, 'SERIALIZABLE')) AS l (l, level),
    (VALUES (2, $$damoov_ingest((SELECT note FROM note WHERE n = 1))$$),
        (3, $$damoov.ingest_bytes(convert_to((SELECT note FROM note WHERE n = 1)::text, 'UTF8'), 'q')$$), (4, $$damoov_webhook('', '{}')$$), (5, $$damoov_webhook_postgrest('')$$),
        (6, $$damoov_fetch_track('c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d', '5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5')$$),
        (7, $$damoov.store_dataset('processed', 'c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d', '{}')$$), (8, $$damoov_retry(1)$$),
        (9, $$damoov_retry_downloads()$$), (10, $$damoov_reparse('-infinity')$$), (11, $$damoov_forget('5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5')$$)) AS d (d, door)
ORDER BY l, d
\gexec
\set VERBOSITY default
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT damoov.need_read_committed();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
\set VERBOSITY terse

-- The stages of a crash; that their order does not matter is shown in orders.sql
CREATE TEMP TABLE stage AS
SELECT (n.note || jsonb_build_object('Timestamp', format('2024-05-14T15:51:0%s.0000001Z', n.n))) AS note, n.n - 3 AS n
FROM note AS n WHERE n.n BETWEEN 4 AND 7;
SELECT pg_temp.empty_tables();
-- each stage alone sets its own time, and nothing else
SELECT s.note ->> 'Event' AS event, jsonb_strip_nulls(r.row - '{crash_token,person}'::text[]) AS crash
FROM stage AS s, LATERAL (SELECT pg_temp.outcome_of(s.note) -> 'crashes' -> 0 AS row) AS r ORDER BY s.n;
-- without its date a stage has the Timestamp of the notification; the newest verdict of stage 6 holds, in either order
SELECT w.way, r.row -> 'header_received_at' AS header_received_at, r.row -> 'completed_at' AS completed_at, r.row -> 'passed_filters' AS passed
FROM (SELECT
        (SELECT note - 'Details' FROM stage WHERE n = 1) AS header,
        (SELECT note FROM stage WHERE n = 3) AS passed,
        (SELECT note || '{"Timestamp": "2024-05-14T15:51:09Z", "Details": {"PackageDateReceived": "2024-05-14T15:51:08Z", "AccidentPassedFilters": false}}' FROM stage WHERE n = 3) AS failed,
        (SELECT note || '{"Timestamp": "2024-05-14T15:51:09Z", "Details": {"DateFiltered": "2024-05-14T15:51:08Z", "AccidentPassedFilters": false}}' FROM stage WHERE n = 4) AS stage_7
    ) AS s,
    LATERAL (VALUES
        (1, 'header', pg_temp.outcome_of(s.header)),
        (2, 'passed, failed', pg_temp.outcome_of(s.passed, s.failed)),
        (3, 'failed, passed', pg_temp.outcome_of(s.failed, s.passed)),
        (4, '[passed, failed]', pg_temp.outcome_of(jsonb_build_array(s.passed, s.failed))),
        (5, 'passed, stage 7 with another verdict', pg_temp.outcome_of(s.passed, s.stage_7))
    ) AS w (i, way, taken),
    LATERAL (SELECT w.taken -> 'crashes' -> 0 AS row) AS r
ORDER BY w.i;

-- Other names of the crash events: numbers as number and as text, older names, the vendor's misspelling
SELECT a.alias, i.event, i.outcome
FROM (VALUES (1, '4'::jsonb), (2, '5'), (3, '6'), (4, '7'), (5, '"4"'), (6, '"5"'), (7, '"6"'), (8, '"7"'),
        (9, '"DataBufferReceived"'), (10, '"CrashDataSetCompleted"'), (11, '"TrackEnrichementFinished"')) AS a (n, alias),
    LATERAL (SELECT note || jsonb_build_object('Event', a.alias, 'Timestamp', format('2024-05-14T16:00:%s.5Z', 10 + a.n)) AS note FROM note WHERE n = 4) AS n,
    LATERAL damoov_ingest(n.note - 'Details') AS i
ORDER BY a.n;
SELECT e.sent_text, e.event, e.payload -> 'Event' AS as_sent FROM damoov.events AS e ORDER BY e.sent_at;
SELECT header_received_at, buffer_received_at, completed_at, filtered_at FROM damoov.crashes;
-- an alias and the current name are one event
SELECT event, outcome FROM damoov_ingest((SELECT note || '{"Event": "AccidentEventReceived", "Timestamp": "2024-05-14T16:00:11.5Z"}' FROM note WHERE n = 4));

-- Events nobody knows yet are kept
SELECT pg_temp.empty_tables();
SELECT i.event, i.outcome
FROM (VALUES (1, 'VehicleDataReceived'), (2, 'heartbeatreceived'), (3, 'HeartbeatReceived '), (4, '8'), (5, '44'), (6, 'Ünbekannt')) AS a (n, name),
    damoov_ingest((SELECT note || jsonb_build_object('Event', a.name) FROM note WHERE n = 8)) AS i
ORDER BY a.n;
SELECT i.event, i.outcome FROM damoov_ingest((SELECT note || '{"Event": "VehicleDataReceived"}' FROM note WHERE n = 8)) AS i;
SELECT event, outcome, object_id, sent_text, payload -> 'Details' ->> 'ChargeLevel' AS charge FROM damoov.events ORDER BY event COLLATE "C";
-- they act on nothing, not even on the person's reference
SELECT (SELECT count(*) FROM damoov.heartbeats) AS heartbeats, (SELECT count(*) FROM damoov.downloads) AS downloads,
    (SELECT count(client_id) FROM damoov.users) AS client_ids;

-- Messages of the transport are kept, too
SELECT i.event, i.outcome FROM damoov_ingest('{
  "Type": "SubscriptionConfirmation",
  "MessageId": "1f2e3d4c-5b6a-5978-8877-665544332211",
  "Token": "0123456789abcdefexampletoken",
  "TopicArn": "arn:aws:sns:eu-central-1:000000000000:damoov-events",
  "Message": "Example text: open SubscribeURL to confirm the subscription.",
  "SubscribeURL": "https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&Token=0123456789abcdefexampletoken",
  "Timestamp": "2024-05-14T08:00:00.000Z",
  "SignatureVersion": "1",
  "Signature": "RXhhbXBsZSBvbmx5",
  "SigningCertURL": "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-example.pem"
}') AS i;
SELECT event, outcome, user_id, object_id, sent_at, sent_text, payload ->> 'Token' AS token FROM damoov.events WHERE outcome = 'control';
SELECT i.event, i.outcome FROM damoov.events AS e, damoov_ingest(e.payload) AS i WHERE e.outcome = 'control';
-- one whose MessageId is no UUID is known by its bytes
SELECT i.event, i.outcome
FROM (VALUES (1, 'a'), (2, 'b'), (3, 'a')) AS t (n, text),
    damoov_ingest(jsonb_build_object('Type', 'UnsubscribeConfirmation', 'MessageId', 'not a uuid', 'TopicArn', 'arn', 'Message', t.text)) AS i
ORDER BY t.n;

-- Duplicates are found by what they are, not by how they came
SELECT pg_temp.empty_tables();
CREATE TEMP TABLE first_time AS SELECT i.* FROM damoov_ingest((SELECT note FROM note WHERE n = 8)) AS i;
SELECT v.what, i.outcome, i.event_id = f.event_id AS same_event
FROM first_time AS f, note AS n, LATERAL (VALUES
    (1, 'the same', n.note, 'sql'),
    (2, 'through another source', n.note, 'other'),
    (3, 'with another sender', n.note || '{"Sender": "Somebody"}', 'sql'),
    (4, 'with a member more', n.note || '{"New": [1, 2, 3]}', 'sql'),
    (5, 'UserId in capitals', n.note || jsonb_build_object('UserId', upper(n.note ->> 'UserId')), 'sql'),
    (6, 'without hyphens', n.note || jsonb_build_object('UserId', replace(n.note ->> 'UserId', '-', '')), 'sql'),
    (7, 'in braces', n.note || jsonb_build_object('UserId', format('{%s}', n.note ->> 'UserId')), 'sql'),
    (8, 'another Timestamp, 100 ns later', n.note || '{"Timestamp": "2023-09-18T22:38:02.4974697Z"}', 'sql'),
    (9, 'the same instant in another spelling', n.note || '{"Timestamp": "2023-09-19T00:38:02.4974696+02:00"}', 'sql'),
    (10, 'another event', n.note || '{"Event": "HeartbeatLost"}', 'sql'),
    (11, 'another object', n.note || '{"Object": {"Id": "4abf7a0f-d4ed-4a38-867c-000000000090"}}', 'sql'),
    (12, 'another person', n.note || '{"UserId": "4abf7a0f-d4ed-4a38-867c-000000000090"}', 'sql')
) AS v (i, what, note, source), damoov_ingest(v.note, v.source) AS i
WHERE n.n = 8
ORDER BY v.i;
SELECT e.event = 'HeartbeatReceived' AS heartbeat, e.source AS first_source, r.source, r.times
FROM damoov.redeliveries AS r JOIN damoov.events AS e USING (event_id) ORDER BY r.source COLLATE "C";
-- twice in one array: one is the event, the other the duplicate, with one id
SELECT count(DISTINCT i.event_id) AS ids, array_agg(i.outcome ORDER BY i.outcome) AS outcomes
FROM damoov_ingest((SELECT jsonb_build_array(note, note, note) || '[]' FROM note WHERE n = 7)) AS i;

-- ClientId: of the newest notification that carries one, in whatever order they come
SELECT pg_temp.empty_tables();
CREATE TEMP TABLE reference AS
SELECT r.n, n.note || jsonb_build_object('ClientId', r.client_id, 'Timestamp', r.sent) AS note
FROM note AS n, (VALUES
    (1, '"first"'::jsonb, '2024-05-14T10:00:00Z'), (2, '"second"', '2024-05-14T11:00:00Z'),
    (3, 'null', '2024-05-14T12:00:00Z'), (4, '""', '2024-05-14T13:00:00Z')) AS r (n, client_id, sent)
WHERE n.n = 8;
SELECT count(*) AS orders, r.users -> 0 ->> 'client_id' AS client_id, r.users -> 0 ->> 'client_id_at' AS client_id_at
FROM pg_temp.permutations(4) AS p (p),
    LATERAL (SELECT pg_temp.outcome_of(VARIADIC array_agg(s.note ORDER BY array_position(p.p, s.n))) -> 'users' AS users FROM reference AS s) AS r
GROUP BY 2, 3 ORDER BY 2;
SELECT count(*) AS orders, r.users -> 0 ->> 'client_id' AS client_id
FROM pg_temp.permutations(4) AS p (p),
    LATERAL (SELECT pg_temp.outcome_of(jsonb_agg(s.note ORDER BY array_position(p.p, s.n))) -> 'users' AS users FROM reference AS s) AS r
GROUP BY 2 ORDER BY 2;
-- two at the same instant: one answer, whatever the order
SELECT pg_temp.difference(
    pg_temp.outcome_of(n.note || '{"ClientId": "a"}', n.note || '{"ClientId": "B", "Timestamp": "2023-09-18T22:38:02.49746960Z"}'),
    pg_temp.outcome_of(n.note || '{"ClientId": "B", "Timestamp": "2023-09-18T22:38:02.49746960Z"}', n.note || '{"ClientId": "a"}'))
FROM note AS n WHERE n.n = 8;

-- Heartbeats: the same Object.Id at another time is another report; two within
-- one microsecond are two events and one report, the same one in every order and grouping
SELECT pg_temp.empty_tables();
CREATE TEMP TABLE beat AS
SELECT b.n, n.note || jsonb_build_object('Timestamp', b.sent, 'ClientId', b.client_id)
    || jsonb_build_object('Details', n.note -> 'Details' || jsonb_build_object('ChargeLevel', b.charge)) AS note
FROM note AS n, (VALUES
    (1, '2024-05-14T10:00:00.1234566Z', 'a', 90), (2, '2024-05-14T10:00:00.1234567Z', 'b', 10),
    (3, '2024-05-14T10:00:00.1234600Z', 'c', 50)) AS b (n, sent, client_id, charge)
WHERE n.n = 8;
SELECT count(*) AS orders, jsonb_array_length(t.taken -> 'events') AS events, r.reports
FROM pg_temp.permutations(3) AS p (p),
    LATERAL (SELECT pg_temp.outcome_of(VARIADIC array_agg(s.note ORDER BY array_position(p.p, s.n))) AS taken FROM beat AS s) AS t,
    LATERAL (SELECT jsonb_agg(jsonb_build_array(h ->> 'reported_at', h -> 'charge_percent') ORDER BY h ->> 'reported_at') AS reports
        FROM jsonb_array_elements(t.taken -> 'heartbeats') AS h) AS r
GROUP BY 2, 3 ORDER BY 3;
SELECT count(*) AS orders_as_array, jsonb_array_length(t.taken -> 'events') AS events, r.reports
FROM pg_temp.permutations(3) AS p (p),
    LATERAL (SELECT pg_temp.outcome_of(jsonb_agg(s.note ORDER BY array_position(p.p, s.n))) AS taken FROM beat AS s) AS t,
    LATERAL (SELECT jsonb_agg(jsonb_build_array(h ->> 'reported_at', h -> 'charge_percent') ORDER BY h ->> 'reported_at') AS reports
        FROM jsonb_array_elements(t.taken -> 'heartbeats') AS h) AS r
GROUP BY 2, 3 ORDER BY 3;
-- damoov.devices has the latest of each person, also when an older one comes last
SELECT count(*) FROM beat AS b, damoov_ingest(b.note) AS i;
SELECT i.outcome FROM damoov_ingest((SELECT note || '{"Timestamp": "2024-05-13T10:00:00Z"}' FROM beat WHERE n = 1)) AS i;
SELECT i.outcome FROM damoov_ingest((SELECT note || '{"UserId": "4abf7a0f-d4ed-4a38-867c-000000000090"}' FROM beat WHERE n = 1)) AS i;
SELECT u.device_token, d.reported_at, d.received_at, d.charge_percent, d.wifi_enabled, d.gps_enabled, d.mobile_data_enabled,
    d.real_time_location_enabled, d.waiting_trips, d.instance_id
FROM damoov.devices AS d JOIN damoov.users AS u USING (user_id) ORDER BY u.device_token;
SELECT count(*) AS reports FROM damoov.heartbeats;

-- Offsets: the instant is right and the local time of driving is not lost
SELECT pg_temp.empty_tables();
SELECT o.track_start, (t.taken -> 'removed_tracks' -> 0 ->> 'track_started_at')::timestamptz AS track_started_at,
    t.taken -> 'removed_tracks' -> 0 -> 'start_utc_offset_min' AS start_utc_offset_min,
    t.taken -> 'events' -> 0 -> 'notes' AS notes
FROM note AS n, (VALUES
        (1, '2024-04-29T09:20:48.0000000-06:00'), (2, '2024-04-29T20:50:48.5+05:30'), (3, '2024-04-29T18:20:48+0300'),
        (4, '2024-04-29T15:20:48Z'), (5, '2024-04-29T15:20:48'), (6, '0001-01-01T00:00:00'), (7, 'yesterday')) AS o (n, track_start),
    LATERAL (SELECT pg_temp.outcome_of(n.note || jsonb_build_object('Timestamp', '2024-05-01T00:00:00Z',
        'Details', n.note -> 'Details' || jsonb_build_object('TrackStartDate', o.track_start))) AS taken) AS t
WHERE n.n = 1 ORDER BY o.n;

-- What is odd but acceptable is noted
SELECT i.outcome FROM damoov_ingest((SELECT note || '{"Timestamp": "2024-05-01T00:00:00"}' FROM note WHERE n = 8)) AS i;
SELECT i.outcome FROM damoov_ingest((SELECT note - 'ClientId' - 'Object' || '{"clientid": 5, "Timestamp": "2024-05-01T00:00:00Z",
    "object": {"id": "4abf7a0f-d4ed-4a38-867c-000000000089", "Type": "Heartbeat"}}' FROM note WHERE n = 8)) AS i;
SELECT sent_text, notes FROM damoov.events ORDER BY sent_text COLLATE "C";

-- A trip event may say Uri instead of Url, or nothing
SELECT o.object - 'Id' AS object, t.taken -> 'downloads' -> 0 -> 'url' AS url
FROM note AS n, (VALUES
        (1, '{"Id": "9a47f5eb-7aca-48c3-b698-000000000d29", "Uri": "https://mobilesdk.telematicssdk.com/x/9a47f5eb-7aca-48c3-b698-000000000d29"}'::jsonb),
        (2, '{"Id": "9a47f5eb-7aca-48c3-b698-000000000d29", "Url": null, "Uri": "https://mobilesdk.telematicssdk.com/y/9a47f5eb-7aca-48c3-b698-000000000d29"}'),
        (3, '{"Id": "9a47f5eb-7aca-48c3-b698-000000000d29", "Url": null}'),
        (4, '{"Id": "9a47f5eb-7aca-48c3-b698-000000000d29"}')) AS o (n, object),
    LATERAL (SELECT pg_temp.outcome_of(n.note || jsonb_build_object('Object', o.object)) AS taken) AS t
WHERE n.n = 3 ORDER BY o.n;

-- The ledger adds up, also for a call that stores nothing new
SELECT pg_temp.empty_tables();
SELECT count(*) FROM damoov_ingest((SELECT jsonb_agg(note) FROM note), 'first');
SELECT count(*) FROM damoov_ingest((SELECT jsonb_agg(note) FROM note), 'first');
SELECT count(*) FROM note AS n, damoov_ingest(n.note, 'second');
SELECT count(*) FROM damoov_ingest((SELECT note || '{"Event": "New"}' FROM note WHERE n = 8), 'second');
SELECT count(*) FROM damoov_ingest('{"Type": "UnsubscribeConfirmation", "MessageId": "1", "TopicArn": "arn", "Message": ""}', 'second');
SELECT source, sum(received) AS received, sum(stored) AS stored, sum(duplicate) AS duplicate, sum(unknown) AS unknown,
    sum(control) AS control, sum(quarantined) AS quarantined, bool_and(balanced) AS balanced
FROM damoov.ledger GROUP BY source ORDER BY source COLLATE "C";
SELECT (SELECT count(*) FROM damoov.events) AS events, (SELECT sum(times) FROM damoov.redeliveries) AS redeliveries;
SELECT sum(received) = sum(stored + duplicate + unknown + control + quarantined) AS balanced FROM damoov.receipts;

-- ... and says what is missing, or counted twice
BEGIN;
UPDATE damoov.receipts SET stored = stored - 2 WHERE source = 'first' AND stored > 0;
UPDATE damoov.receipts SET unknown = unknown + 3 WHERE source = 'second' AND unknown > 0;
SELECT source, difference, balanced FROM damoov.ledger ORDER BY source COLLATE "C";
ROLLBACK;
SELECT DISTINCT difference, balanced FROM damoov.ledger;

-- Nothing in, nothing out
SELECT * FROM damoov_ingest('[]');
SELECT * FROM damoov_ingest(NULL);
SELECT * FROM damoov_ingest((SELECT note FROM note WHERE n = 8), NULL);

-- Undone with its transaction or savepoint
SELECT pg_temp.empty_tables();
BEGIN;
SELECT outcome FROM damoov_ingest((SELECT note FROM note WHERE n = 7));
SAVEPOINT here;
SELECT outcome FROM damoov_ingest((SELECT note FROM note WHERE n = 8));
SELECT outcome FROM damoov_ingest((SELECT note - 'UserId' FROM note WHERE n = 8));
ROLLBACK TO SAVEPOINT here;
SELECT outcome FROM damoov_ingest((SELECT note FROM note WHERE n = 7));
COMMIT;
SELECT e.event, r.times FROM damoov.events AS e LEFT JOIN damoov.redeliveries AS r USING (event_id);
SELECT sum(received) AS received, sum(stored) AS stored, sum(duplicate) AS duplicate FROM damoov.receipts;
-- A read-only transaction says so
BEGIN READ ONLY;
\set VERBOSITY sqlstate
SELECT outcome FROM damoov_ingest((SELECT note FROM note WHERE n = 8));
\set VERBOSITY terse
ROLLBACK;

-- The rules act on what comes through a door, not on rows that are put back
SELECT damoov.ingesting();
SELECT pg_temp.empty_tables();
INSERT INTO damoov.users (user_id, device_token) VALUES (-1, '4abf7a0f-d4ed-4a38-867c-000000000089');
INSERT INTO damoov.events (event_id, source, event, outcome, user_id, object_id, sent_at, sent_text, payload)
SELECT -1, 'copy', 'HeartbeatReceived', 'stored', -1, '4abf7a0f-d4ed-4a38-867c-000000000089', '2023-09-18T22:38:02.49747Z', '2023-09-18T22:38:02.4974696Z', note
FROM note WHERE n = 8;
SELECT count(*) AS heartbeats FROM damoov.heartbeats;
-- ... also after an error inside the door
SELECT outcome FROM damoov_ingest('{"Event": 4}');
SELECT damoov.ingesting();
-- and an event that was put back is a duplicate
SELECT event_id, outcome FROM damoov_ingest((SELECT note FROM note WHERE n = 8));
SELECT count(*) AS heartbeats FROM damoov.heartbeats;

SELECT pg_temp.empty_tables();

-- Without a source nothing is lost in silence
SELECT count(*) FROM damoov_ingest(NULL);
\set VERBOSITY sqlstate
SELECT count(*) FROM damoov_ingest('{}', NULL);
SELECT count(*) FROM damoov_ingest('{}', repeat('x', 1001));

-- Each source counts its own
CREATE SERVER eu TYPE 'sqs' FOREIGN DATA WRAPPER damoov OPTIONS (queue_url 'https://sqs.eu-central-1.amazonaws.com/1/q', region 'eu-central-1', paused 'true');
INSERT INTO damoov.downloads (kind, object_id, user_id, source, priority, state)
SELECT n.kind, gen_random_uuid(), NULL, n.source, 20, n.state
FROM (VALUES ('object', 'eu', 'waiting'), ('object', 'eu', 'waiting'), ('object', 'gone', 'failed')) AS n (kind, source, state);
INSERT INTO damoov.quarantine (source, reason, sqlstate, message, body, body_digest) VALUES ('eu', 'bad_json', '22P02', 'example', '', '');
SELECT source, type, state, downloads_waiting, downloads_failed, quarantined
FROM damoov.status
ORDER BY source COLLATE "C";
DROP SERVER eu;
SELECT pg_temp.empty_tables();
