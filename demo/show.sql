\pset border 1
\pset linestyle unicode
\pset footer off
\pset null '-'

-- People are shown by the customer's reference where there is one.
CREATE TEMPORARY VIEW drivers AS
SELECT user_id, CASE WHEN length(name) > 16 THEN left(name, 15) || '…' ELSE name END AS driver
FROM damoov.users, coalesce(client_id, 'driver ' || user_id) AS name;

\echo 'The trips as they began, in the local time of the driver'
SELECT
    to_char(t.started_at AT TIME ZONE 'UTC' + t.start_utc_offset_min * interval '1 minute', 'Dy DD Mon HH24:MI') AS "start",
    d.driver,
    (t.address_start_parts ->> 'Street') || ' → ' || (t.address_end_parts ->> 'Street') AS "from → to",
    round(t.distance_km::numeric, 1) AS km,
    round(t.duration_min::numeric) AS min,
    t.score
FROM damoov.trips AS t
JOIN drivers AS d USING (user_id)
ORDER BY t.started_at, t.trip_id;

\echo 'What was noticed on the way'
SELECT
    replace(e.kind, '_', ' ') AS what,
    count(*) AS times,
    count(DISTINCT e.trip_id) AS "on trips",
    round(max(abs(e.peak_ms2))::numeric, 1) AS "hardest (m/s²)",
    round(max(e.max_excess_kmh)::numeric) AS "most above the limit (km/h)"
FROM damoov.trip_events AS e
GROUP BY e.kind
ORDER BY times DESC, what;

\echo 'Merges: several tracks turned out to be one trip; their own trips are gone'
SELECT
    left(r.replaced_by::text, 8) || '…' AS trip,
    string_agg(left(r.track_token::text, 8) || '…', ' and ' ORDER BY r.track_token) AS "swallowed the tracks",
    d.driver,
    round(t.distance_km::numeric, 1) AS "km now",
    t.point_count AS "points now",
    t.revision
FROM damoov.removed_tracks AS r
JOIN drivers AS d USING (user_id)
LEFT JOIN damoov.trips AS t ON t.track_token = r.replaced_by
WHERE r.reason = 'replaced'
GROUP BY r.replaced_by, r.removed_at, d.driver, t.trip_id
ORDER BY r.removed_at, r.replaced_by;

\echo 'Suspected crashes, stage by stage (UTC)'
SELECT
    d.driver,
    to_char(c.header_received_at, 'Dy DD Mon HH24:MI:SS') AS header,
    '+ ' || round(extract(epoch FROM c.buffer_received_at - c.header_received_at)) || ' s' AS "sensor data",
    '+ ' || round(extract(epoch FROM c.completed_at - c.header_received_at)) || ' s' AS complete,
    '+ ' || round(extract(epoch FROM c.filtered_at - c.header_received_at)) || ' s' AS filtered,
    CASE c.passed_filters WHEN true THEN 'a crash' WHEN false THEN 'a false alarm' ELSE 'not judged yet' END AS verdict,
    round(s.speed_before_ms * 3.6) || ' → ' || round(s.speed_after_ms * 3.6) AS "km/h",
    round((s.peak_acceleration_ms2 / 9.81)::numeric, 1) AS "peak (g)"
FROM damoov.crashes AS c
JOIN drivers AS d USING (user_id)
LEFT JOIN damoov.crash_summary AS s USING (crash_id)
ORDER BY c.header_received_at, c.crash_id;

\echo 'The phones, as they last reported (UTC)'
SELECT
    d.driver,
    to_char(p.reported_at, 'Dy DD Mon HH24:MI') AS "last heard of",
    round(p.charge_percent::numeric) || ' %' AS battery,
    CASE WHEN p.gps_enabled THEN 'on' ELSE 'off' END AS gps,
    CASE WHEN p.mobile_data_enabled THEN 'on' ELSE 'off' END AS "mobile data",
    p.waiting_trips AS "trips still on the phone"
FROM damoov.devices AS p
JOIN drivers AS d USING (user_id)
ORDER BY d.driver;

\echo 'The source'
SELECT source, type, state, worker_pid, last_error, downloads_waiting, downloads_failed, quarantined
FROM damoov.status;

\echo 'The ledger: every message received is accounted for'
SELECT source, day, received, stored, duplicate, unknown, control, quarantined, balanced
FROM damoov.ledger
ORDER BY source, day;
