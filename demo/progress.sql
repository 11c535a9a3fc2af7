-- Two lines: "t" when the database has what the fleet did, and what it has.
-- The variable summary is what the fleet does in all, as JSON.
CREATE TEMPORARY VIEW now AS
SELECT
    (SELECT coalesce(sum(received), 0) FROM damoov.ledger) AS notifications,
    (SELECT count(*) FROM damoov.trips) AS trips,
    (SELECT count(*) FROM damoov.trip_points) AS points,
    (SELECT count(*) FROM damoov.crashes) AS crashes,
    (SELECT count(*) FROM damoov.heartbeats) AS heartbeats,
    (SELECT count(*) FROM damoov.downloads) AS downloads;

SELECT now.notifications >= (s.summary ->> 'notifications')::integer
    AND now.trips = jsonb_array_length(s.summary -> 'trips')
    AND now.points = (s.summary ->> 'points')::integer
    AND now.crashes = jsonb_array_length(s.summary -> 'crashes')
    AND now.heartbeats = (s.summary ->> 'heartbeats')::integer
    AND now.downloads = 0
FROM now, (SELECT :'summary'::jsonb) AS s (summary);

SELECT format('%s of %s notifications: %s trips, %s points, %s crashes, %s heartbeats; %s downloads wait',
    notifications, :'summary'::jsonb ->> 'notifications', trips, points, crashes, heartbeats, downloads)
FROM now;
