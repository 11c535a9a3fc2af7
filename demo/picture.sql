-- The picture of a trip for the README: the first of those with the most points.
SELECT damoov_trip_svg(t.trip_id) FROM damoov.trips AS t ORDER BY t.point_count DESC, t.trip_id LIMIT 1;
