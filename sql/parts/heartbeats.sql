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
);
CREATE INDEX heartbeats_reported_at_idx ON damoov.heartbeats USING brin (reported_at);
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

CREATE VIEW damoov.devices WITH (security_invoker) AS
SELECT DISTINCT ON (h.user_id)
    h.user_id,
    h.reported_at,
    h.received_at,
    h.charge_percent,
    h.wifi_enabled,
    h.gps_enabled,
    h.mobile_data_enabled,
    h.real_time_location_enabled,
    h.waiting_trips,
    h.instance_id
FROM damoov.heartbeats AS h
ORDER BY h.user_id, h.reported_at DESC;
COMMENT ON VIEW damoov.devices IS 'the latest phone status of each person';
