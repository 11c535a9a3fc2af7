-- The contestants, each a function; what they store is taken away again, untimed.
CREATE EXTENSION damoov;
CREATE SCHEMA bench;
CREATE TABLE bench.data AS
SELECT pg_read_file(:'data' || '/heartbeats.json') AS heartbeats, pg_read_file(:'data' || '/trip.json') AS trip;

CREATE TABLE bench.events (
    object_id uuid, event text, sent_at timestamptz, user_id uuid, client_id text, payload jsonb,
    PRIMARY KEY (object_id, event, sent_at));
CREATE TABLE bench.heartbeats (
    user_id uuid, reported_at timestamptz, charge double precision, wifi boolean, gps boolean,
    mobile boolean, real_time boolean, waiting integer, instance_id uuid, received_at timestamptz,
    PRIMARY KEY (user_id, reported_at));
CREATE TABLE bench.users (user_id uuid PRIMARY KEY, client_id text);

-- by hand: no check of anything
CREATE FUNCTION bench.bare_inserts() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO bench.users
    SELECT DISTINCT ON (1) (e ->> 'UserId')::uuid, e ->> 'ClientId'
    FROM bench.data, jsonb_array_elements(heartbeats::jsonb) AS e;
    INSERT INTO bench.events
    SELECT (e -> 'Object' ->> 'Id')::uuid, e ->> 'Event', (e ->> 'Timestamp')::timestamptz,
        (e ->> 'UserId')::uuid, e ->> 'ClientId', e
    FROM bench.data, jsonb_array_elements(heartbeats::jsonb) AS e
    ON CONFLICT DO NOTHING;
    INSERT INTO bench.heartbeats
    SELECT (e ->> 'UserId')::uuid, (e ->> 'Timestamp')::timestamptz, (d ->> 'ChargeLevel')::double precision,
        (d ->> 'WifiEnabled')::boolean, (d ->> 'GPSEnabled')::boolean, (d ->> 'MobileDataEnabled')::boolean,
        (d ->> 'RealTimeLocationEnabled')::boolean, (d ->> 'NotUploadedTripsCount')::integer,
        (d ->> 'InstanceId')::uuid, (d ->> 'TimeReceived')::timestamptz
    FROM bench.data, jsonb_array_elements(heartbeats::jsonb) AS e, LATERAL (SELECT e -> 'Details') AS x (d);
END
$$;

CREATE FUNCTION bench.ingest() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT count(*) FROM bench.data, damoov_ingest(heartbeats::jsonb));
END
$$;

CREATE FUNCTION bench.validate() RETURNS boolean LANGUAGE sql AS
    'SELECT trip::json IS NOT NULL FROM bench.data';

CREATE TABLE bench.points (
    trip_id bigint, seq bigint, point_id bigint, number integer, recorded_at timestamptz,
    latitude double precision, longitude double precision, total_meters double precision,
    speed double precision, mid_speed double precision, speed_limit double precision,
    speed_type text, alert_type text, alert_value double precision, cornering boolean,
    phone_usage boolean, lateral_ms2 double precision, course double precision, yaw double precision,
    height double precision, PRIMARY KEY (trip_id, seq));

CREATE FUNCTION bench.recordset() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO bench.points
    SELECT 1, r.seq, r."Id", r."Number", r."PointDate", r."Latitude", r."Longitude", r."TotalMeters", r."Speed",
        r."MidSpeed", nullif(r."SpeedLimit", 999), r."SpeedType", r."AlertType", r."AlertValue", r."Cornering",
        r."PhoneUsage", r."Lateral", r."Course", r."Yaw", r."Height"
    FROM bench.data, ROWS FROM (jsonb_to_recordset(trip::jsonb #> '{Result,Track,Points}') AS (
        "Id" bigint, "Number" integer, "PointDate" timestamptz, "Latitude" double precision,
        "Longitude" double precision, "TotalMeters" double precision, "Speed" double precision,
        "MidSpeed" double precision, "SpeedLimit" double precision, "SpeedType" text, "AlertType" text,
        "AlertValue" double precision, "Cornering" boolean, "PhoneUsage" boolean, "Lateral" double precision,
        "Course" double precision, "Yaw" double precision, "Height" double precision)) WITH ORDINALITY
        AS r ("Id", "Number", "PointDate", "Latitude", "Longitude", "TotalMeters", "Speed", "MidSpeed", "SpeedLimit",
        "SpeedType", "AlertType", "AlertValue", "Cornering", "PhoneUsage", "Lateral", "Course", "Yaw", "Height", seq);
END
$$;

-- the track belongs to somebody
SELECT damoov_ingest('{
    "Event": "TrackEnrichmentFinished", "UserId": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5",
    "Timestamp": "2026-03-02T08:00:00.0000000Z",
    "Object": {"Id": "c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d", "Type": "RichTrack"}}');

CREATE FUNCTION bench.store(keep_documents integer) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('damoov.keep_documents', keep_documents::text, false);
    RETURN (SELECT damoov.store_dataset('processed', 'c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d', trip) FROM bench.data);
END
$$;

CREATE FUNCTION bench.clear() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM bench.events;
    DELETE FROM bench.heartbeats;
    DELETE FROM bench.users;
    DELETE FROM bench.points;
    DELETE FROM damoov.events WHERE event = 'HeartbeatReceived';
    DELETE FROM damoov.heartbeats;
    DELETE FROM damoov.receipts;
    DELETE FROM damoov.trips;
END
$$;
