-- ---------------------------------------------------------------------
-- Pages: a trip, a fleet
-- ---------------------------------------------------------------------

-- The policy leaves a browser nothing to ask for and nothing to run, should a
-- text ever become markup.
CREATE FUNCTION damoov.page(title text, heading text, introduction text, sections text[]) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    RETURN (
        SELECT concat('<!DOCTYPE html>', E'\n', '<html lang="en"><head><meta charset="utf-8"/>'
                '<meta http-equiv="Content-Security-Policy" content="default-src ''none''; style-src ''unsafe-inline''; img-src data:"/>'
                '<meta name="viewport" content="width=device-width, initial-scale=1"/><meta name="color-scheme" content="light dark"/>'
                '<meta name="referrer" content="no-referrer"/><link rel="icon" href="data:,"/><title>', damoov.markup(title), '</title><style>'
                'body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:62rem;padding:1rem;background:#fff;color:#1f2328}'
                'a{color:#0550ae}a:focus-visible,summary:focus-visible,div:focus-visible{outline:3px solid #0969da}'
                'table{border-collapse:collapse;margin:.5rem 0}caption{white-space:nowrap;text-align:left;font-weight:600;padding:.25rem 0}'
                'th,td{border-bottom:1px solid #d0d7de;padding:.25rem .75rem .25rem 0;text-align:left;vertical-align:top}'
                'td,th{overflow-wrap:break-word;max-width:20rem}td{font-variant-numeric:tabular-nums}.damoov-wide{overflow-x:auto}'
                'figure{margin:1rem 0}svg.dv{max-width:100%;height:auto}nav ul{padding:0;display:flex;flex-wrap:wrap;gap:1rem;list-style:none}'
                '.damoov-skip{position:absolute;left:-99rem}.damoov-skip:focus{position:static}'
                '@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}a{color:#79c0ff}th,td{border-color:#353c46}}'
                '@media print{nav,.damoov-skip{display:none}}'
                '</style></head>', E'\n', '<body><a class="damoov-skip" href="#content">Skip to the content</a><header><h1>', damoov.markup(heading), '</h1><p dir="auto">',
                damoov.markup(introduction), '</p></header>', E'\n', '<nav aria-label="Sections"><ul>', (
                    SELECT string_agg(format('<li><a href="#%s">%s</a></li>', m.id, m.heading), '' ORDER BY s.n)
                    FROM unnest(sections) WITH ORDINALITY AS s (markup, n)
                    CROSS JOIN LATERAL (SELECT substring(s.markup, 'id="([^"]*)"'), substring(s.markup, '<h2[^>]*>([^<]*)<')) AS m (id, heading)),
                '</ul></nav>', E'\n', '<main id="content">', array_to_string(sections, E'\n'), '</main>', E'\n', '<footer><p>Made by damoov.</p></footer></body></html>'));
END
$$;
COMMENT ON FUNCTION damoov.page(text, text, text, text[]) IS 'an HTML document, well-formed as XML, too; sections are markup, all else is text';

CREATE FUNCTION damoov.page_section(id text, heading text, content text[]) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT format('<section aria-labelledby="%s"><h2 id="%1$s">%s</h2>%s</section>', id, damoov.markup(heading), array_to_string(content, ''));
END;
COMMENT ON FUNCTION damoov.page_section(text, text, text[]) IS 'a section of a page with what is in it, as markup';

CREATE FUNCTION damoov.page_row(cells text[]) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    RETURN (
        SELECT '<tr>' || string_agg(CASE WHEN c.n = 1 THEN format('<th scope="row" dir="auto">%s</th>', coalesce(damoov.markup(c.cell), '&#8211;'))
            ELSE format('<td dir="auto">%s</td>', coalesce(damoov.markup(c.cell), '&#8211;')) END, '' ORDER BY c.n) || '</tr>'
        FROM unnest(cells) WITH ORDINALITY AS c (cell, n));
END
$$;
COMMENT ON FUNCTION damoov.page_row(text[]) IS 'a row of a table; all cells are text, the first is what the row is about';

CREATE FUNCTION damoov.page_table(id text, caption text, headings text[], rows text, left_out bigint DEFAULT 0) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    RETURN (
        SELECT concat(
            CASE WHEN rows IS NULL THEN format('<p id="%s">%s: none.</p>', id, damoov.markup(caption)) ELSE
                format('<div class="damoov-wide" role="region" aria-labelledby="%s-caption" tabindex="0"><table id="%1$s"><caption id="%1$s-caption">%s</caption><thead><tr>%s</tr></thead><tbody>%s</tbody></table></div>',
                    id, damoov.markup(caption), (SELECT string_agg(format('<th scope="col">%s</th>', damoov.markup(h.heading)), '' ORDER BY h.n)
                        FROM unnest(headings) WITH ORDINALITY AS h (heading, n)), rows) END,
            CASE WHEN left_out > 0 THEN format('<p id="%s-left-out">%s more are not shown.</p>', id, left_out) END));
END
$$;
COMMENT ON FUNCTION damoov.page_table(text, text, text[], text, bigint) IS 'a table with a caption, and how many rows it does without; rows are markup';

CREATE FUNCTION damoov.page_figure(picture text, caption text) RETURNS text
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT format('<figure>%s<figcaption dir="auto">%s</figcaption></figure>', picture, damoov.markup(caption));
END;
COMMENT ON FUNCTION damoov.page_figure(text, text) IS 'a picture with a caption; NULL without a picture';

CREATE FUNCTION damoov.crash_table(caption text, crash_ids bigint[], left_out bigint DEFAULT 0) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    RETURN damoov.page_table('crashes-table', caption, ARRAY['Crash', 'Driver', 'When', 'Verdict', 'Reliability', E'Peak, m/s\u00b2', 'Change of speed, m/s'], (
        SELECT string_agg(damoov.page_row(ARRAY[s.crash_id::text, damoov.driver_text(u.client_id, s.user_id), damoov.time_text(coalesce(s.peak_at, s.started_at, c.header_received_at), NULL),
            damoov.verdict_text(s.passed_filters), damoov.number_text(s.reliability, 0), damoov.number_text(s.peak_acceleration_ms2, 1), damoov.number_text(s.delta_v_ms, 1)]),
            '' ORDER BY array_position(crash_ids, s.crash_id))
        FROM damoov.crash_summary AS s
        JOIN damoov.crashes AS c ON c.crash_id = s.crash_id
        LEFT JOIN damoov.users AS u ON u.user_id = s.user_id
        WHERE s.crash_id = ANY (crash_ids)), left_out);
END
$$;
COMMENT ON FUNCTION damoov.crash_table(text, bigint[], bigint) IS 'a table of crashes, in this order';

CREATE FUNCTION damoov_trip_html(trip_id bigint, miles boolean DEFAULT false) RETURNS damoov."text/html"
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    most_events CONSTANT bigint := 500;
    most_merges CONSTANT bigint := 100;
    most_crashes CONSTANT bigint := 5;
    trip damoov.trips;
    driver text;
    found_events record;
    found_merges record;
    found_crashes bigint[];
BEGIN
    SELECT t.* INTO trip FROM damoov.trips AS t WHERE t.trip_id = damoov_trip_html.trip_id;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    driver := damoov.driver_text((SELECT u.client_id FROM damoov.users AS u WHERE u.user_id = trip.user_id), trip.user_id);
    SELECT string_agg(damoov.page_row(ARRAY[e.seq::text, damoov.event_name(e.kind), damoov.time_text(e.started_at, trip.start_utc_offset_min), damoov.number_text(e.length_m, 0),
            damoov.number_text(e.peak_ms2, 1), damoov.speed_text(e.max_speed_kmh, miles), damoov.speed_text(e.max_excess_kmh, miles)]), '' ORDER BY e.seq)
            FILTER (WHERE e.rank <= most_events) AS rows,
        count(*) FILTER (WHERE e.rank > most_events) AS left_out
    INTO found_events
    FROM (SELECT n.*, row_number() OVER (ORDER BY n.seq) AS rank FROM damoov.trip_events AS n WHERE n.trip_id = trip.trip_id) AS e;
    -- the parts have no ids of their own any more, and tokens are shown to nobody
    SELECT string_agg(damoov.page_row(ARRAY[l.rank::text, damoov.time_text(l.removed_at, NULL), l.hops::text]), '' ORDER BY l.rank) FILTER (WHERE l.rank <= most_merges) AS rows,
        count(*) FILTER (WHERE l.rank > most_merges) AS left_out
    INTO found_merges
    FROM (
        SELECT n.removed_at, n.hops, row_number() OVER (ORDER BY n.removed_at, n.hops, n.part) AS rank
        FROM damoov.trip_lineage AS n
        WHERE n.part_of = trip.track_token AND n.trip_id = trip.trip_id
    ) AS l;
    found_crashes := ARRAY(
        SELECT s.crash_id
        FROM damoov.crash_summary AS s
        WHERE s.user_id = trip.user_id AND s.started_at BETWEEN trip.started_at AND trip.ended_at
        ORDER BY s.started_at, s.crash_id
        LIMIT most_crashes);
    RETURN damoov.page(format('Trip %s', trip.trip_id), format('Trip %s', trip.trip_id), driver, ARRAY[
        damoov.page_section('way', 'The way', ARRAY[damoov.page_figure(@extschema@.damoov_trip_svg(trip.trip_id, miles), 'The way, coloured by speed against the limit')]),
        damoov.page_section('speed', 'Speed', ARRAY[damoov.page_figure(@extschema@.damoov_speed_svg(trip.trip_id, miles), 'Speed and limit over the distance')]),
        damoov.page_section('trip', 'The trip', ARRAY[damoov.page_table('trip-table', 'What is known of the trip', '{Property,Value}', concat(
            damoov.page_row(ARRAY['Driver', driver]),
            damoov.page_row(ARRAY['Number of the driver', trip.user_id::text]),
            damoov.page_row(ARRAY['Start', damoov.time_text(trip.started_at, trip.start_utc_offset_min)]),
            damoov.page_row(ARRAY['End', damoov.time_text(trip.ended_at, trip.end_utc_offset_min)]),
            damoov.page_row(ARRAY['From', left(trip.address_start, 300)]),
            damoov.page_row(ARRAY['To', left(trip.address_end, 300)]),
            damoov.page_row(ARRAY['Distance', damoov.distance_text(trip.distance_km, miles)]),
            damoov.page_row(ARRAY['Minutes', damoov.number_text(trip.duration_min, 0)]),
            damoov.page_row(ARRAY['Transport', left(trip.origin, 80)]),
            damoov.page_row(ARRAY['Distance at 10 to 20 km/h above the limit', damoov.distance_text(trip.mid_speeding_km, miles)]),
            damoov.page_row(ARRAY['Distance at more', damoov.distance_text(trip.high_speeding_km, miles)]),
            damoov.page_row(ARRAY['Minutes with the phone in use', damoov.number_text(trip.phone_usage_min, 1)]),
            damoov.page_row(ARRAY['Points', trip.point_count::text]),
            damoov.page_row(ARRAY['Tips', left(trip.driving_tips, 2000)])))]),
        damoov.page_section('scores', 'Scores', ARRAY[damoov.page_table('scores-table', 'Scores, 0 to 100, and ratings, 0 to 5; more is better', '{Of,Score,Rating}', (
            SELECT string_agg(damoov.page_row(ARRAY[s.name, damoov.number_text(s.score, 0), damoov.number_text(s.rating, 1)]), '' ORDER BY s.n)
            FROM (VALUES (1, 'all together', trip.score, trip.rating), (2, 'acceleration', trip.score_acceleration, trip.rating_acceleration),
                (3, 'braking', trip.score_braking, trip.rating_braking), (4, 'cornering', trip.score_cornering, trip.rating_cornering),
                (5, 'speeding', trip.score_speeding, trip.rating_speeding), (6, 'phone usage', trip.score_phone_usage, trip.rating_phone_usage),
                (7, 'time of day', trip.score_time_of_day, trip.rating_time_of_day), (8, 'economy', trip.eco_score, NULL)) AS s (n, name, score, rating)))]),
        damoov.page_section('events', 'Events', ARRAY[damoov.page_table('events-table', 'Events on the way',
            ARRAY['No.', 'Kind', 'Began', 'Metres', E'Peak, m/s\u00b2', 'Highest speed', 'Most above the limit'], found_events.rows, found_events.left_out)]),
        damoov.page_section('merges', 'Merges', ARRAY[damoov.page_table('merges-table', 'Tracks that were merged into this trip', '{No.,Merged,Merges in between}', found_merges.rows, found_merges.left_out)]),
        damoov.page_section('crashes', 'Crashes', ARRAY[damoov.crash_table('Suspected crashes of the driver during the trip', found_crashes),
            (SELECT string_agg(damoov.page_figure(@extschema@.damoov_crash_svg(c, miles), format('Crash %s', c)), '') FROM unnest(found_crashes) AS c)])]);
END
$$;
COMMENT ON FUNCTION damoov_trip_html(bigint, boolean) IS 'a page about a trip that needs nothing else: pictures, scores, events, merges, crashes; in kilometres or miles; NULL when there is no such trip';
