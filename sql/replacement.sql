-- Merged and dropped tracks: which trips, downloads and tombstones are left.
-- A track lives when its newest enrichment is newer than its newest removal.
-- That the order of arrival does not matter is shown in orders.sql.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/prelude.psql

-- Tracks are known by a letter
CREATE FUNCTION pg_temp.track(letter text) RETURNS uuid LANGUAGE sql IMMUTABLE
RETURN ('aaaaaaaa-0000-4000-8000-00000000000' || letter)::uuid;
CREATE FUNCTION pg_temp.letter(track uuid) RETURNS text LANGUAGE sql IMMUTABLE
RETURN right(track::text, 1);

-- TrackEnrichmentFinished of a track, taking others away
CREATE FUNCTION pg_temp.enriched(track text, minute integer, removes text[] DEFAULT '{}', person integer DEFAULT 1) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object(
        'Event', 'TrackEnrichmentFinished',
        'Sender', 'Data Motion',
        'UserId', pg_temp.person(person),
        'Object', jsonb_build_object('Id', pg_temp.track(track), 'Type', 'RichTrack',
            'Url', 'https://mobilesdk.telematicssdk.com/mobilesdk/stage/track/get_track/v1?trackToken=' || pg_temp.track(track) || '&m=' || minute),
        'Timestamp', to_char(pg_temp.minute(minute), 'YYYY-MM-DD"T"HH24:MI:SS.US"0Z"'),
        'Details', jsonb_build_object('ObjectReplaced', removes <> '{}',
            'TracksRemoved', (SELECT coalesce(jsonb_agg(jsonb_build_object('Id', pg_temp.track(r), 'Type', 'RichTrack')), '[]') FROM unnest(removes) AS r)))
$$;
-- IncomingTrackRemoved
CREATE FUNCTION pg_temp.dropped(track text, minute integer, person integer DEFAULT 1) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object(
        'Event', 'IncomingTrackRemoved',
        'Sender', 'Data Motion',
        'UserId', pg_temp.person(person),
        'Object', jsonb_build_object('Id', pg_temp.track(track), 'Type', 'IncomingTrackSummary',
            'Url', 'https://mobilesdk.telematicssdk.com/mobilesdk/incoming/incoming/tracks/removed/' || pg_temp.track(track) || '/v1/'),
        'Timestamp', to_char(pg_temp.minute(minute), 'YYYY-MM-DD"T"HH24:MI:SS.US"0Z"'),
        'Details', '{"TrackStartDate": "2024-05-14T09:00:00.0000000+02:00", "TrackFinishDate": "2024-05-14T09:20:00.0000000+02:00", "Reason": "Insufficient Track length"}'::jsonb)
$$;
-- Stands for a dataset that was downloaded: a trip, three points, one trip
-- event; its download is done
CREATE FUNCTION pg_temp.fetched(track text, minute integer, person integer DEFAULT 1) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO damoov.users (device_token) VALUES (pg_temp.person(person)) ON CONFLICT DO NOTHING;
    INSERT INTO damoov.trips (track_token, user_id, enriched_at, revision, point_count, filler_count)
    SELECT pg_temp.track(track), u.user_id, pg_temp.minute(minute), 1, 3, 0 FROM damoov.users AS u WHERE u.device_token = pg_temp.person(person);
    INSERT INTO damoov.trip_points (trip_id, seq, is_filler)
    SELECT t.trip_id, i, false FROM damoov.trips AS t, generate_series(0, 2) AS i WHERE t.track_token = pg_temp.track(track);
    INSERT INTO damoov.trip_events (trip_id, seq, kind, first_seq, last_seq)
    SELECT t.trip_id, 0, 'braking', 0, 1 FROM damoov.trips AS t WHERE t.track_token = pg_temp.track(track);
    DELETE FROM damoov.downloads AS d WHERE d.object_id = pg_temp.track(track);
END
$$;

-- What is left, as letters and minutes: wanted tracks, trips with points and
-- trip events, tombstones
CREATE FUNCTION pg_temp.left_over(OUT wanted text, OUT trips text, OUT tombstones text) LANGUAGE plpgsql AS $$
BEGIN
    wanted := (SELECT string_agg(format('%s@%s', pg_temp.letter(d.object_id), extract(epoch FROM d.wanted_at - pg_temp.minute(0))::integer / 60), ' '
        ORDER BY d.object_id) FROM damoov.downloads AS d);
    trips := (SELECT string_agg(format('%s@%s(%s,%s)', pg_temp.letter(t.track_token), extract(epoch FROM t.enriched_at - pg_temp.minute(0))::integer / 60,
        (SELECT count(*) FROM damoov.trip_points AS p WHERE p.trip_id = t.trip_id),
        (SELECT count(*) FROM damoov.trip_events AS e WHERE e.trip_id = t.trip_id)), ' ' ORDER BY t.track_token) FROM damoov.trips AS t);
    tombstones := (SELECT string_agg(format('%s%s@%s', pg_temp.letter(r.track_token), coalesce('<' || pg_temp.letter(r.replaced_by), 'x'),
        extract(epoch FROM r.removed_at - pg_temp.minute(0))::integer / 60), ' '
        ORDER BY r.track_token, r.removed_at, r.reason, r.replaced_by) FROM damoov.removed_tracks AS r);
END
$$;
-- Stores payloads in this order and undoes it; "fetched" holds [track, minute] pairs of trips that are there before
CREATE FUNCTION pg_temp.outcome_of(payloads jsonb[], there jsonb DEFAULT '[]', OUT wanted text, OUT trips text, OUT tombstones text)
LANGUAGE plpgsql STRICT AS $$
DECLARE
    payload jsonb;
    trip jsonb;
BEGIN
    FOR trip IN SELECT value FROM jsonb_array_elements(there) LOOP
        PERFORM pg_temp.fetched(trip ->> 0, (trip ->> 1)::integer);
    END LOOP;
    FOREACH payload IN ARRAY payloads LOOP
        PERFORM public.damoov_ingest(payload);
    END LOOP;
    SELECT l.* INTO wanted, trips, tombstones FROM pg_temp.left_over() AS l;
    RAISE EXCEPTION SQLSTATE 'ZZ000';
EXCEPTION WHEN SQLSTATE 'ZZ000' THEN
    NULL;
END
$$;
SELECT pg_temp.empty_tables();

-- A merge takes trip, points, trip events and waiting downloads away and keeps the lineage
SELECT pg_temp.fetched('b', 1), pg_temp.fetched('c', 1), pg_temp.fetched('d', 1);
SELECT i.event, i.outcome FROM damoov_ingest(pg_temp.enriched('e', 2)) AS i;
SELECT * FROM pg_temp.left_over();
SELECT i.event, i.outcome FROM damoov_ingest(pg_temp.enriched('a', 3, '{b,c,e}')) AS i;
SELECT * FROM pg_temp.left_over();
SELECT count(*) AS points FROM damoov.trip_points;
SELECT count(*) AS trip_events FROM damoov.trip_events;
SELECT pg_temp.letter(r.track_token) AS track, r.removed_at, r.reason, pg_temp.letter(r.replaced_by) AS replaced_by, e.event, e.sent_text
FROM damoov.removed_tracks AS r JOIN damoov.events AS e USING (event_id) ORDER BY r.track_token;
-- a late first notification of a removed track does not bring it back
SELECT i.outcome FROM damoov_ingest(pg_temp.enriched('b', 1)) AS i;
SELECT * FROM pg_temp.left_over();
-- a newer one does
SELECT i.outcome FROM damoov_ingest(pg_temp.enriched('b', 4)) AS i;
SELECT * FROM pg_temp.left_over();

-- A trip whose dataset is older than the removal goes, even when a newer one is on its way
SELECT pg_temp.empty_tables();
SELECT w.way, o.wanted, o.trips, o.tombstones
FROM (VALUES
    (1, 'old trip, removal', ARRAY[pg_temp.enriched('a', 2, '{b}')]),
    (2, 'old trip, newer enrichment, removal', ARRAY[pg_temp.enriched('b', 3), pg_temp.enriched('a', 2, '{b}')]),
    (3, 'old trip, removal, newer enrichment', ARRAY[pg_temp.enriched('a', 2, '{b}'), pg_temp.enriched('b', 3)]),
    (4, 'old trip, older removal', ARRAY[pg_temp.enriched('a', 0, '{b}')]),
    (5, 'old trip, removal in one array with the newer enrichment', ARRAY[jsonb_build_array(pg_temp.enriched('a', 2, '{b}'), pg_temp.enriched('b', 3))])
) AS w (i, way, events), pg_temp.outcome_of(w.events, '[["b", 1]]') AS o
ORDER BY w.i;

-- A late notification about a track that lives makes it fetched again, so that its revision counts them all
SELECT pg_temp.empty_tables();
SELECT w.way, o.wanted, o.trips, o.tombstones
FROM (VALUES
    (1, 'newer trip, removal, old enrichment', ARRAY[pg_temp.enriched('a', 2, '{b}'), pg_temp.enriched('b', 1)]),
    (2, 'newer trip, old enrichment, removal', ARRAY[pg_temp.enriched('b', 1), pg_temp.enriched('a', 2, '{b}')])
) AS w (i, way, events), pg_temp.outcome_of(w.events, '[["b", 3]]') AS o
ORDER BY w.i;

-- What is wanted anew after a removal is not taken for what was wanted before
SELECT pg_temp.empty_tables();
SELECT i.outcome FROM damoov_ingest(pg_temp.enriched('b', 1)) AS i;
CREATE TEMP TABLE leased AS SELECT version FROM damoov.downloads;
SELECT i.outcome FROM damoov_ingest(pg_temp.enriched('a', 2, '{b}')) AS i;
SELECT i.outcome FROM damoov_ingest(pg_temp.enriched('b', 3)) AS i;
SELECT d.version = l.version AS same_version FROM damoov.downloads AS d, leased AS l WHERE d.object_id = pg_temp.track('b');

-- A removal of a track never seen leaves a tombstone, which keeps the track out later
SELECT pg_temp.empty_tables();
SELECT w.way, o.wanted, o.trips, o.tombstones
FROM (VALUES
    (1, 'merge only', ARRAY[pg_temp.enriched('a', 2, '{b}')]),
    (2, 'merge, then the older track', ARRAY[pg_temp.enriched('a', 2, '{b}'), pg_temp.enriched('b', 1)]),
    (3, 'the older track, then merge', ARRAY[pg_temp.enriched('b', 1), pg_temp.enriched('a', 2, '{b}')]),
    (4, 'both in one array', ARRAY[jsonb_build_array(pg_temp.enriched('b', 1), pg_temp.enriched('a', 2, '{b}'))]),
    (5, 'dropped only', ARRAY[pg_temp.dropped('b', 2)]),
    (6, 'dropped, then the older track', ARRAY[pg_temp.dropped('b', 2), pg_temp.enriched('b', 1)]),
    (7, 'the older track, then dropped', ARRAY[pg_temp.enriched('b', 1), pg_temp.dropped('b', 2)]),
    (8, 'dropped, then the newer track', ARRAY[pg_temp.dropped('b', 2), pg_temp.enriched('b', 3)]),
    -- at the same instant: a merge wins over an enrichment, an enrichment over a drop
    (10, 'merge = enrichment', ARRAY[pg_temp.enriched('a', 2, '{b}'), pg_temp.enriched('b', 2)]),
    (11, 'enrichment = merge', ARRAY[pg_temp.enriched('b', 2), pg_temp.enriched('a', 2, '{b}')]),
    (12, '[enrichment = merge]', ARRAY[jsonb_build_array(pg_temp.enriched('b', 2), pg_temp.enriched('a', 2, '{b}'))]),
    (13, 'drop = enrichment', ARRAY[pg_temp.dropped('b', 2), pg_temp.enriched('b', 2)]),
    (14, 'enrichment = drop', ARRAY[pg_temp.enriched('b', 2), pg_temp.dropped('b', 2)]),
    (15, '[enrichment = drop]', ARRAY[jsonb_build_array(pg_temp.enriched('b', 2), pg_temp.dropped('b', 2))])
) AS w (i, way, events), pg_temp.outcome_of(w.events) AS o
ORDER BY w.i;
SELECT 'trip = merge' AS way, o.wanted, o.trips, o.tombstones FROM pg_temp.outcome_of(ARRAY[pg_temp.enriched('a', 2, '{b}')], '[["b", 2]]') AS o
UNION ALL
SELECT 'trip = drop', o.wanted, o.trips, o.tombstones FROM pg_temp.outcome_of(ARRAY[pg_temp.dropped('b', 2)], '[["b", 2]]') AS o;

-- Source and address of a download are those of the newest notification, in both orders
CREATE FUNCTION pg_temp.from_sources(VARIADIC payloads jsonb[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    payload jsonb;
    result text;
BEGIN
    FOREACH payload IN ARRAY payloads LOOP
        PERFORM public.damoov_ingest(payload - 'from', payload ->> 'from');
    END LOOP;
    SELECT concat_ws(' ', d.source, right(d.url, 3), u.device_token, d.wanted_at) INTO result
    FROM damoov.downloads AS d JOIN damoov.users AS u USING (user_id);
    RAISE EXCEPTION SQLSTATE 'ZZ000';
EXCEPTION WHEN SQLSTATE 'ZZ000' THEN
    RETURN result;
END
$$;
SELECT 'older, newer' AS way, pg_temp.from_sources(pg_temp.enriched('a', 1) || '{"from": "old"}', pg_temp.enriched('a', 2) || '{"from": "new"}')
UNION ALL
SELECT 'newer, older', pg_temp.from_sources(pg_temp.enriched('a', 2) || '{"from": "new"}', pg_temp.enriched('a', 1) || '{"from": "old"}');
SELECT 'older, newer of another person' AS way,
    pg_temp.from_sources(pg_temp.enriched('a', 1) || '{"from": "s"}', pg_temp.enriched('a', 2, '{}', 2) || '{"from": "s"}')
UNION ALL
SELECT 'newer of another person, older', pg_temp.from_sources(pg_temp.enriched('a', 2, '{}', 2) || '{"from": "s"}', pg_temp.enriched('a', 1) || '{"from": "s"}');

-- A track that names itself is not removed; one that is named twice is one tombstone
SELECT o.wanted, o.trips, o.tombstones
FROM pg_temp.outcome_of(ARRAY[pg_temp.enriched('a', 2, '{a,b,b,b}')], '[["a", 1], ["b", 1]]') AS o;
SELECT i.outcome FROM damoov_ingest(pg_temp.enriched('a', 2, '{a,b,b,b}')) AS i;
SELECT notes FROM damoov.events;
SELECT pg_temp.empty_tables();

-- The lineage of a chain can be followed to its end, and back
SELECT count(*) FROM damoov_ingest(jsonb_build_array(pg_temp.enriched('a', 3, '{b,e}'), pg_temp.enriched('b', 2, '{c,d}'), pg_temp.enriched('c', 1))) AS i;
SELECT pg_temp.fetched('a', 3);
SELECT pg_temp.letter(part) AS part, pg_temp.letter(part_of) AS part_of, hops, removed_at, trip_id = (SELECT t.trip_id FROM damoov.trips AS t) AS is_trip, is_cycle
FROM damoov.trip_lineage ORDER BY part, hops, part_of;
SELECT string_agg(pg_temp.letter(part_of), ' ' ORDER BY hops) AS what_became_of_c FROM damoov.trip_lineage WHERE part = pg_temp.track('c');
SELECT string_agg(pg_temp.letter(part) || hops, ' ' ORDER BY hops, part) AS what_went_into_a FROM damoov.trip_lineage WHERE part_of = pg_temp.track('a');
SELECT * FROM pg_temp.left_over();
-- a part that is announced again is a trip of its own, and its history stays
SELECT i.outcome FROM damoov_ingest(pg_temp.enriched('c', 4)) AS i;
SELECT * FROM pg_temp.left_over();
SELECT string_agg(pg_temp.letter(part_of), ' ' ORDER BY hops) AS what_became_of_c FROM damoov.trip_lineage WHERE part = pg_temp.track('c');
SELECT pg_temp.empty_tables();

-- ... and has an end when tracks were merged in a circle
SELECT count(*) FROM damoov_ingest(jsonb_build_array(pg_temp.enriched('a', 1, '{b}'), pg_temp.enriched('b', 2, '{a}'), pg_temp.enriched('c', 3, '{a}'))) AS i;
SELECT count(*) > 0 AS has_an_end, bool_or(is_cycle) AS has_a_circle FROM damoov.trip_lineage;
SELECT pg_temp.empty_tables();

-- Another person's track: refused, whether its trip is here or only wanted, and nothing is deleted
SELECT pg_temp.fetched('b', 1), pg_temp.fetched('c', 1, 2);
SELECT i.outcome FROM damoov_ingest(pg_temp.enriched('d', 1)) AS i;
\set VERBOSITY sqlstate
SELECT i.outcome FROM damoov_ingest(pg_temp.enriched('a', 5, '{b}', 2)) AS i;
SELECT i.outcome FROM damoov_ingest(pg_temp.enriched('a', 5, '{d}', 2)) AS i;
-- also when only one of several is another person's, or one of several notifications
SELECT i.outcome FROM damoov_ingest(pg_temp.enriched('a', 5, '{c,b}', 2)) AS i;
SELECT i.outcome FROM damoov_ingest(jsonb_build_array(pg_temp.enriched('e', 5, '{b}', 1), pg_temp.enriched('a', 5, '{b}', 2))) AS i;
\set VERBOSITY terse
SELECT i.outcome FROM damoov_ingest(pg_temp.enriched('a', 5, '{b}', 2)) AS i;
SELECT * FROM pg_temp.left_over();
SELECT count(*) AS events FROM damoov.events;
-- a tombstone binds the person it came from: it neither removes another's trip nor keeps it out
SELECT i.outcome FROM damoov_ingest(pg_temp.dropped('b', 5, 2)) AS i;
SELECT i.outcome FROM damoov_ingest(pg_temp.enriched('a', 5, '{f}', 2)) AS i;
SELECT i.outcome FROM damoov_ingest(pg_temp.enriched('f', 4)) AS i;
SELECT * FROM pg_temp.left_over();
SELECT pg_temp.empty_tables();

-- 10,000 tracks in one notification, of which 2,000 are here
INSERT INTO damoov.users (device_token) VALUES (pg_temp.person(1));
INSERT INTO damoov.trips (track_token, user_id, enriched_at, revision, point_count, filler_count)
SELECT md5(i::text)::uuid, (SELECT user_id FROM damoov.users), pg_temp.minute(1), 1, 2, 0 FROM generate_series(1, 2001) AS i;
INSERT INTO damoov.trip_points (trip_id, seq, is_filler) SELECT t.trip_id, i, false FROM damoov.trips AS t, generate_series(0, 1) AS i;
INSERT INTO damoov.trip_events (trip_id, seq, kind, first_seq, last_seq) SELECT t.trip_id, 0, 'speeding', 0, 1 FROM damoov.trips AS t;
SELECT i.event, i.outcome
FROM damoov_ingest(jsonb_set(pg_temp.enriched('a', 2), '{Details,TracksRemoved}',
    (SELECT jsonb_agg(jsonb_build_object('Id', md5(i::text)::uuid, 'Type', 'RichTrack')) FROM generate_series(2, 10001) AS i))) AS i;
SELECT (SELECT count(*) FROM damoov.removed_tracks) AS tombstones, (SELECT count(*) FROM damoov.trips) AS trips,
    (SELECT count(*) FROM damoov.trip_points) AS points, (SELECT count(*) FROM damoov.trip_events) AS trip_events;
SELECT pg_temp.empty_tables();

-- Points and trip events go with their trip, whoever deletes it
SELECT pg_temp.fetched('a', 1), pg_temp.fetched('b', 1), pg_temp.fetched('c', 1);
DELETE FROM damoov.trips WHERE track_token <> pg_temp.track('c');
SELECT * FROM pg_temp.left_over();
SELECT (SELECT count(*) FROM damoov.trip_points) AS points, (SELECT count(*) FROM damoov.trip_events) AS trip_events;
DELETE FROM damoov.trips WHERE false;
SELECT (SELECT count(*) FROM damoov.trip_points) AS points, (SELECT count(*) FROM damoov.trip_events) AS trip_events;

-- Tombstones that are put back take nothing away
INSERT INTO damoov.removed_tracks (track_token, removed_at, event_id, user_id, reason)
SELECT pg_temp.track('c'), pg_temp.minute(9), -1, user_id, 'invalid' FROM damoov.users;
SELECT * FROM pg_temp.left_over();
-- and a lineage without a successor, or a successor without a lineage, cannot be written
INSERT INTO damoov.removed_tracks (track_token, removed_at, event_id, user_id, reason)
SELECT pg_temp.track('c'), pg_temp.minute(9), -2, user_id, 'replaced' FROM damoov.users;
INSERT INTO damoov.removed_tracks (track_token, removed_at, event_id, user_id, reason, replaced_by)
SELECT pg_temp.track('c'), pg_temp.minute(9), -2, user_id, 'invalid', pg_temp.track('a') FROM damoov.users;

-- The rule itself
SELECT r.enriched, damoov.track_lives(pg_temp.track('c'), u.user_id, pg_temp.minute(r.enriched)) AS lives,
    damoov.track_lives(pg_temp.track('c'), u.user_id + 1, pg_temp.minute(r.enriched)) AS of_another_lives
FROM damoov.users AS u, (VALUES (8), (9), (10), (NULL)) AS r (enriched) ORDER BY r.enriched;
SELECT pg_temp.empty_tables();

-- ---------------------------------------------------------------------
-- Sources that name their instance: what one says takes nothing away that
-- only others have told of, in either order of arrival
-- ---------------------------------------------------------------------
BEGIN;
CREATE SERVER regress_here TYPE 'sqs' FOREIGN DATA WRAPPER damoov OPTIONS (instance_id '7e1f2a3b-4c5d-4e6f-9a0b-000000000001');
CREATE SERVER regress_there TYPE 'sqs' FOREIGN DATA WRAPPER damoov OPTIONS (instance_id '7e1f2a3b-4c5d-4e6f-9a0b-000000000002');
CREATE FUNCTION pg_temp.told(payload jsonb, source text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT i.outcome FROM damoov_ingest(payload, source) AS i);
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
CREATE FUNCTION pg_temp.awaited() RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(pg_temp.letter(d.object_id), '' ORDER BY d.object_id) FROM damoov.downloads AS d
    WHERE d.object_id IN (pg_temp.track('e'), pg_temp.track('f'))
$$;
SAVEPOINT before;
-- the removal comes last
SELECT pg_temp.told(pg_temp.enriched('e', 1), 'regress_here') AS "part",
    pg_temp.told(pg_temp.enriched('f', 5, ARRAY['e']), 'regress_there') AS "merge of another instance",
    pg_temp.told(pg_temp.dropped('e', 6), 'regress_there') AS "drop by another instance",
    pg_temp.awaited() AS awaited;
SELECT pg_temp.told(pg_temp.enriched('f', 5, ARRAY['e']), 'regress_here') AS "merge of the same", pg_temp.awaited() AS awaited;
ROLLBACK TO before;
-- the removal comes first
SELECT pg_temp.told(pg_temp.enriched('f', 5, ARRAY['e']), 'regress_there') AS "merge of another instance",
    pg_temp.told(pg_temp.enriched('e', 1), 'regress_here') AS "part", pg_temp.awaited() AS awaited;
ROLLBACK TO before;
-- a source that names none belongs to all
SELECT pg_temp.told(pg_temp.enriched('e', 1), 'regress_here') AS "part",
    pg_temp.told(pg_temp.enriched('f', 5, ARRAY['e']), 'sql') AS "merge", pg_temp.awaited() AS awaited;
ROLLBACK;
