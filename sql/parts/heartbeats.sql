-- ---------------------------------------------------------------------
-- Heartbeats: what phones report of themselves
-- ---------------------------------------------------------------------

-- users_kept is its foreign key to users: see there.
CREATE TABLE damoov.heartbeats (
    user_id bigint NOT NULL,
    reported_at timestamptz NOT NULL,
    received_at timestamptz,
    charge_percent double precision,
    wifi_enabled boolean,
    gps_enabled boolean,
    mobile_data_enabled boolean,
    real_time_location_enabled boolean,
    waiting_trips integer,
    instance_id uuid,
    CONSTRAINT heartbeats_pkey PRIMARY KEY (user_id, reported_at)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.02);
CREATE INDEX heartbeats_reported_at_idx ON damoov.heartbeats
    USING brin (reported_at timestamptz_minmax_multi_ops) WITH (pages_per_range = 32);
COMMENT ON TABLE damoov.heartbeats IS 'phone status reports';
COMMENT ON COLUMN damoov.heartbeats.user_id IS 'person';
COMMENT ON COLUMN damoov.heartbeats.reported_at IS 'Timestamp of the notification';
COMMENT ON COLUMN damoov.heartbeats.received_at IS 'TimeReceived: arrival at the platform';
COMMENT ON COLUMN damoov.heartbeats.charge_percent IS 'ChargeLevel, percent, may be fractional';
COMMENT ON COLUMN damoov.heartbeats.wifi_enabled IS 'WifiEnabled';
COMMENT ON COLUMN damoov.heartbeats.gps_enabled IS 'GPSEnabled';
COMMENT ON COLUMN damoov.heartbeats.mobile_data_enabled IS 'MobileDataEnabled';
COMMENT ON COLUMN damoov.heartbeats.real_time_location_enabled IS 'RealTimeLocationEnabled';
COMMENT ON COLUMN damoov.heartbeats.waiting_trips IS 'NotUploadedTripsCount: trips still on the phone';
COMMENT ON COLUMN damoov.heartbeats.instance_id IS 'InstanceId: instance of the person at that time';

-- From person to person along the key: each step reads one entry of the index,
-- however many reports a person has.
CREATE VIEW damoov.devices WITH (security_invoker) AS
WITH RECURSIVE latest AS (
    (SELECT h.* FROM damoov.heartbeats AS h ORDER BY h.user_id DESC, h.reported_at DESC LIMIT 1)
    UNION ALL
    SELECT n.*
    FROM latest AS l
    CROSS JOIN LATERAL (
        SELECT h.*
        FROM damoov.heartbeats AS h
        WHERE h.user_id < l.user_id
        ORDER BY h.user_id DESC, h.reported_at DESC
        LIMIT 1
    ) AS n
)
SELECT l.* FROM latest AS l;
COMMENT ON VIEW damoov.devices IS 'the latest phone status of each person';
