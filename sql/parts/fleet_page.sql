-- ---------------------------------------------------------------------
-- The page of a fleet
-- ---------------------------------------------------------------------

-- Tables have a bound, so that a page can be read; totals are of all trips.  The
-- platform's numbers are checked: what is out of their range adds nothing.
CREATE FUNCTION damoov_fleet_html(since timestamptz DEFAULT now() - interval '7 days', until timestamptz DEFAULT now(), miles boolean DEFAULT false) RETURNS damoov."text/html"
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    period CONSTANT text := concat_ws(' ', 'All trips that began', 'from ' || damoov.time_text(since, NULL) || ' on', 'before ' || damoov.time_text(until, NULL));
    most_drivers CONSTANT bigint := 100;
    most_trips CONSTANT bigint := 200;
    most_rows CONSTANT bigint := 100;
    most_pictures CONSTANT integer := 6;
    most_crash_pictures CONSTANT integer := 3;
    unit_name CONSTANT text := CASE WHEN miles THEN 'mi' ELSE 'km' END;
    total record;
    found_trips record;
    found_kinds record;
    found_merges record;
    found_crashes record;
    found_phones record;
BEGIN
    WITH driver AS MATERIALIZED (
        SELECT t.user_id, count(*) AS trips, coalesce(sum(damoov.usable(t.distance_km, 0, 1e6)), 0) AS km,
            coalesce(sum(damoov.usable(t.duration_min, 0, 1e6)), 0) AS minutes,
            sum(damoov.usable(t.score, 0, 100) * damoov.usable(t.distance_km, 0, 1e6)) AS score_km,
            sum(CASE WHEN t.score BETWEEN 0 AND 100 THEN damoov.usable(t.distance_km, 0, 1e6) END) AS scored_km
        FROM damoov.trips AS t
        WHERE t.started_at >= since AND t.started_at < until
        GROUP BY t.user_id
    )
    SELECT coalesce(sum(d.trips), 0)::bigint AS trips, count(*) AS persons, coalesce(sum(d.km), 0) AS km, coalesce(sum(d.minutes), 0) / 60 AS hours,
        sum(d.score_km) / nullif(sum(d.scored_km), 0) AS score, (
            SELECT string_agg(damoov.page_row(ARRAY[damoov.driver_text(u.client_id, n.user_id), n.user_id::text, n.trips::text, damoov.distance_text(n.km, miles),
                damoov.number_text(n.score_km / nullif(n.scored_km, 0), 0)]), '' ORDER BY n.km DESC, n.user_id)
            FROM (SELECT * FROM driver ORDER BY km DESC, user_id LIMIT most_drivers) AS n
            LEFT JOIN damoov.users AS u ON u.user_id = n.user_id
        ) AS driver_rows
    INTO total
    FROM driver AS d;

    SELECT string_agg(damoov.page_row(ARRAY[t.trip_id::text, damoov.driver_text(u.client_id, t.user_id), damoov.time_text(t.started_at, t.start_utc_offset_min), left(t.city_start, 80),
            left(t.city_end, 80), damoov.distance_text(t.distance_km, miles), damoov.number_text(t.duration_min, 0), damoov.number_text(t.score, 0)]),
            '' ORDER BY t.started_at DESC, t.trip_id DESC) AS rows,
        total.trips - count(*) AS left_out,
        (array_agg(t.trip_id ORDER BY t.started_at DESC, t.trip_id DESC))[:most_pictures] AS pictured
    INTO found_trips
    FROM (
        SELECT n.*
        FROM damoov.trips AS n
        WHERE n.started_at >= since AND n.started_at < until
        ORDER BY n.started_at DESC, n.trip_id DESC
        LIMIT most_trips
    ) AS t
    LEFT JOIN damoov.users AS u ON u.user_id = t.user_id;

    SELECT string_agg(damoov.page_row(ARRAY[k.name, k.events::text, k.trips::text, damoov.number_text(k.events * 100 * CASE WHEN miles THEN 1.609344 ELSE 1 END / nullif(total.km, 0), 1),
            damoov.number_text(k.peak, 1), damoov.speed_text(k.excess, miles)]), '' ORDER BY k.events DESC, k.name COLLATE "C") AS rows
    INTO found_kinds
    FROM (
        SELECT damoov.event_name(e.kind) AS name, count(*) AS events, count(DISTINCT e.trip_id) AS trips, max(abs(damoov.usable(e.peak_ms2, -1e4, 1e4))) AS peak,
            max(damoov.usable(e.max_excess_kmh, 0, 1000)) AS excess
        FROM damoov.trips AS t
        JOIN damoov.trip_events AS e ON e.trip_id = t.trip_id
        WHERE t.started_at >= since AND t.started_at < until
        GROUP BY damoov.event_name(e.kind)
        ORDER BY count(*) DESC
        LIMIT most_rows
    ) AS k;

    -- which trips have parts says one table; all that went into them, the lineage
    SELECT string_agg(damoov.page_row(ARRAY[m.trip_id::text, damoov.driver_text(u.client_id, m.user_id), m.parts::text, damoov.time_text(m.last_at, NULL)]), '' ORDER BY m.last_at DESC, m.trip_id DESC) AS rows,
        coalesce(max(m.all_trips), 0) - count(*) AS left_out
    INTO found_merges
    FROM (
        SELECT p.trip_id, p.user_id, p.all_trips, count(DISTINCT l.part) AS parts, max(l.removed_at) AS last_at
        FROM (
            SELECT t.trip_id, t.user_id, t.track_token, count(*) OVER () AS all_trips
            FROM damoov.trips AS t
            WHERE t.started_at >= since AND t.started_at < until
                AND EXISTS (SELECT FROM damoov.removed_tracks AS r WHERE r.replaced_by = t.track_token AND r.user_id = t.user_id)
            ORDER BY t.started_at DESC, t.trip_id DESC
            LIMIT most_rows
        ) AS p
        JOIN damoov.trip_lineage AS l ON l.part_of = p.track_token AND l.trip_id = p.trip_id
        GROUP BY p.trip_id, p.user_id, p.all_trips
    ) AS m
    LEFT JOIN damoov.users AS u ON u.user_id = m.user_id;

    SELECT coalesce(array_agg(c.crash_id ORDER BY c.at DESC, c.crash_id DESC), '{}') AS ids, coalesce(max(c.all_crashes), 0) AS count INTO found_crashes
    FROM (
        SELECT n.crash_id, n.at, count(*) OVER () AS all_crashes
        FROM (
            SELECT s.crash_id, coalesce(s.peak_at, s.started_at, r.header_received_at, r.buffer_received_at, r.completed_at, r.filtered_at) AS at
            FROM damoov.crash_summary AS s
            JOIN damoov.crashes AS r ON r.crash_id = s.crash_id
        ) AS n
        WHERE n.at >= since AND n.at < until
        ORDER BY n.at DESC, n.crash_id DESC
        LIMIT most_rows
    ) AS c;

    SELECT string_agg(damoov.page_row(ARRAY[damoov.driver_text(u.client_id, d.user_id), d.user_id::text, d.waiting_trips::text, damoov.time_text(d.reported_at, NULL),
            damoov.number_text(d.charge_percent, 0) || ' %', CASE WHEN d.wifi_enabled THEN 'on' WHEN NOT d.wifi_enabled THEN 'off' END,
            CASE WHEN d.mobile_data_enabled THEN 'on' WHEN NOT d.mobile_data_enabled THEN 'off' END]), '' ORDER BY d.waiting_trips DESC, d.user_id) AS rows,
        coalesce(max(d.all_phones), 0) - count(*) AS left_out, coalesce(max(d.all_phones), 0) AS count
    INTO found_phones
    FROM (
        SELECT n.*, count(*) OVER () AS all_phones
        FROM damoov.devices AS n
        WHERE n.waiting_trips > 0
        ORDER BY n.waiting_trips DESC, n.user_id
        LIMIT most_rows
    ) AS d
    LEFT JOIN damoov.users AS u ON u.user_id = d.user_id;

    RETURN damoov.page('Fleet', 'Fleet', period, ARRAY[
        damoov.page_section('summary', 'Summary', ARRAY[damoov.page_table('summary-table', 'The fleet in numbers', '{Property,Value}', concat(
            damoov.page_row(ARRAY['Trips', total.trips::text]),
            damoov.page_row(ARRAY['Drivers', total.persons::text]),
            damoov.page_row(ARRAY['Distance', damoov.distance_text(total.km, miles)]),
            damoov.page_row(ARRAY['Hours', damoov.number_text(total.hours, 1)]),
            damoov.page_row(ARRAY['Mean score by distance', damoov.number_text(total.score, 0)]),
            damoov.page_row(ARRAY['Suspected crashes', found_crashes.count::text]),
            damoov.page_row(ARRAY['Phones that hold trips back', found_phones.count::text])))]),
        damoov.page_section('drivers', 'Drivers', ARRAY[damoov.page_table('drivers-table', 'Drivers by distance', '{Driver,Number,Trips,Distance,Mean score}', total.driver_rows, total.persons - most_drivers)]),
        damoov.page_section('trips', 'Trips', ARRAY[damoov.page_table('trips-table', 'Trips, the latest first', '{Trip,Driver,Start,From,To,Distance,Minutes,Score}', found_trips.rows, found_trips.left_out),
            (SELECT string_agg(damoov.page_figure(@extschema@.damoov_trip_svg(p.trip_id, miles), format('The way of trip %s', p.trip_id)), '' ORDER BY p.n)
                FROM unnest(found_trips.pictured) WITH ORDINALITY AS p (trip_id, n))]),
        damoov.page_section('events', 'Events', ARRAY[damoov.page_table('events-table', 'Events on these trips',
            ARRAY['Kind', 'Events', 'On trips', format('On 100 %s', unit_name), E'Hardest, m/s\u00b2', 'Most above the limit'], found_kinds.rows)]),
        damoov.page_section('merges', 'Merges', ARRAY[damoov.page_table('merges-table', 'Trips that other tracks were merged into', '{Trip,Driver,Tracks,Last merge}', found_merges.rows, found_merges.left_out)]),
        damoov.page_section('crashes', 'Crashes', ARRAY[damoov.crash_table('Suspected crashes, the latest first', found_crashes.ids, found_crashes.count - cardinality(found_crashes.ids)),
            (SELECT string_agg(damoov.page_figure(@extschema@.damoov_crash_svg(p.crash_id, miles), format('Crash %s', p.crash_id)), '' ORDER BY p.n)
                FROM unnest(found_crashes.ids[:most_crash_pictures]) WITH ORDINALITY AS p (crash_id, n))]),
        damoov.page_section('phones', 'Phones', ARRAY[damoov.page_table('phones-table', 'Phones that hold trips back, as they last reported',
            ARRAY['Driver', 'Number', 'Trips on the phone', 'Reported', 'Battery', 'Wi-Fi', 'Mobile data'], found_phones.rows, found_phones.left_out)])]);
END
$$;
COMMENT ON FUNCTION damoov_fleet_html(timestamptz, timestamptz, boolean) IS 'a page about the trips that began in a period, the last seven days by default, and the crashes in it, that needs nothing else; phones are those of now; tables show at most 100 rows, that of trips 200, and say how many they leave out; in kilometres or miles';
