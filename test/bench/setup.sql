-- What works in a session (storing.py, latency.py) call.
CREATE SCHEMA bench;

-- Status reports by hand: no check of anything.
CREATE TABLE bench.events (
    object_id uuid, event text, sent_at timestamptz, user_id uuid, client_id text, payload jsonb,
    PRIMARY KEY (object_id, event, sent_at));
CREATE TABLE bench.heartbeats (
    user_id uuid, reported_at timestamptz, charge double precision, wifi boolean, gps boolean,
    mobile boolean, real_time boolean, waiting integer, instance_id uuid, received_at timestamptz,
    PRIMARY KEY (user_id, reported_at));
CREATE TABLE bench.users (user_id uuid PRIMARY KEY, client_id text);

CREATE FUNCTION bench.bare_inserts(reports jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO bench.users
    SELECT DISTINCT ON (1) (e ->> 'UserId')::uuid, e ->> 'ClientId' FROM jsonb_array_elements(reports) AS e
    ON CONFLICT DO NOTHING;
    INSERT INTO bench.events
    SELECT (e -> 'Object' ->> 'Id')::uuid, e ->> 'Event', (e ->> 'Timestamp')::timestamptz,
        (e ->> 'UserId')::uuid, e ->> 'ClientId', e
    FROM jsonb_array_elements(reports) AS e
    ON CONFLICT DO NOTHING;
    INSERT INTO bench.heartbeats
    SELECT (e ->> 'UserId')::uuid, (e ->> 'Timestamp')::timestamptz, (d ->> 'ChargeLevel')::double precision,
        (d ->> 'WifiEnabled')::boolean, (d ->> 'GPSEnabled')::boolean, (d ->> 'MobileDataEnabled')::boolean,
        (d ->> 'RealTimeLocationEnabled')::boolean, (d ->> 'NotUploadedTripsCount')::integer,
        (d ->> 'InstanceId')::uuid, (d ->> 'TimeReceived')::timestamptz
    FROM jsonb_array_elements(reports) AS e, LATERAL (SELECT e -> 'Details') AS x (d)
    ON CONFLICT DO NOTHING;
END
$$;

-- Trips from their documents.
CREATE TABLE bench.documents (object_id uuid, document text);
-- a partition: the table itself has no keys
CREATE TABLE bench.copied (LIKE damoov.trip_points_default INCLUDING ALL);

CREATE FUNCTION bench.validate() RETURNS bigint LANGUAGE sql AS
    'SELECT count(document::json) FROM bench.documents';

CREATE TABLE bench.points (
    document_id uuid, seq bigint, point_id bigint, number integer, recorded_at timestamptz,
    latitude double precision, longitude double precision, total_meters double precision,
    speed double precision, mid_speed double precision, speed_limit double precision,
    speed_type text, alert_type text, alert_value double precision, cornering boolean,
    phone_usage boolean, lateral_ms2 double precision, course double precision, yaw double precision,
    height double precision, PRIMARY KEY (document_id, seq));

CREATE FUNCTION bench.recordset() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO bench.points
    SELECT d.object_id, r.seq, r."Id", r."Number", r."PointDate", r."Latitude", r."Longitude", r."TotalMeters", r."Speed",
        r."MidSpeed", nullif(r."SpeedLimit", 999), r."SpeedType", r."AlertType", r."AlertValue", r."Cornering",
        r."PhoneUsage", r."Lateral", r."Course", r."Yaw", r."Height"
    FROM bench.documents AS d,
        ROWS FROM (jsonb_to_recordset(d.document::jsonb #> '{Result,Track,Points}') AS (
            "Id" bigint, "Number" integer, "PointDate" timestamptz, "Latitude" double precision,
            "Longitude" double precision, "TotalMeters" double precision, "Speed" double precision,
            "MidSpeed" double precision, "SpeedLimit" double precision, "SpeedType" text, "AlertType" text,
            "AlertValue" double precision, "Cornering" boolean, "PhoneUsage" boolean, "Lateral" double precision,
            "Course" double precision, "Yaw" double precision, "Height" double precision)) WITH ORDINALITY
            AS r ("Id", "Number", "PointDate", "Latitude", "Longitude", "TotalMeters", "Speed", "MidSpeed", "SpeedLimit",
            "SpeedType", "AlertType", "AlertValue", "Cornering", "PhoneUsage", "Lateral", "Course", "Yaw", "Height", seq);
END
$$;

CREATE FUNCTION bench.store(keep_documents integer) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('damoov.keep_documents', keep_documents::text, false);
    RETURN (SELECT count(damoov.store_dataset('processed', object_id, document)) FROM bench.documents);
END
$$;

-- Empty tables, and not such with dead rows.
CREATE PROCEDURE bench.clear() LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE bench.events, bench.heartbeats, bench.users, bench.points, bench.copied;
    TRUNCATE damoov.trips, damoov.trip_points, damoov.trip_events, damoov.documents, damoov.heartbeats, damoov.receipts;
    DELETE FROM damoov.events WHERE event = 'HeartbeatReceived';
END
$$;

-- Notes which event was the last one that others could see, and since when.
CREATE UNLOGGED TABLE bench.seen (event_id bigint PRIMARY KEY, seen_at timestamptz);

CREATE PROCEDURE bench.watch(events bigint, patience interval) LANGUAGE plpgsql AS $$
DECLARE
    began timestamptz := clock_timestamp();
    times timestamptz[] := '{}';
    ids bigint[] := '{}';
    last bigint := 0;
    found bigint;
    quiet integer := 0;
BEGIN
    LOOP
        PERFORM pg_sleep(0.0005);
        COMMIT;
        found := (SELECT max(event_id) FROM damoov.events);
        quiet := quiet + 1;
        IF found > last THEN
            times := times || clock_timestamp();
            ids := ids || found;
            last := found;
            quiet := 0;
        ELSIF quiet % 200 = 0 THEN
            EXIT WHEN (SELECT count(*) FROM damoov.events) >= events;
            IF clock_timestamp() > began + patience THEN
                RAISE EXCEPTION '% events did not arrive within %', events, patience;
            END IF;
        END IF;
    END LOOP;
    INSERT INTO bench.seen SELECT * FROM unnest(ids, times);
END
$$;

-- How long each event took, in their order, by the time at which the stub has made it visible:
-- the time it was sent at tells its number.
CREATE FUNCTION bench.latencies(published double precision[]) RETURNS SETOF double precision LANGUAGE sql AS $$
    SELECT extract(epoch FROM (SELECT s.seen_at FROM bench.seen AS s WHERE s.event_id >= e.event_id ORDER BY s.event_id LIMIT 1))
        - published[1 + round(extract(epoch FROM e.sent_at - '2026-03-01 08:00+00') / 0.137)::integer]
    FROM damoov.events AS e
    ORDER BY e.event_id
$$;
