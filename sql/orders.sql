-- The same set of events gives the same tables in every order of arrival, with
-- any repetition and grouping, and with datasets fetched and stored at any time
-- between.  A story is a set of steps, each a word:
--
--   a1       the enrichment of track a is finished, at minute 1
--   a3<bc    the same, and tracks b and c were merged into it
--   -a2      track a was found invalid
--   +a1      the recording of track a was received
--   4a1      the header of crash a was received, and so on up to stage 7;
--            4a1=NAME or 4a1=#4 under another name or a number
--   a1@2     the same of person 2; datasets are person 1's
--   lease    what waits to be fetched is leased, and asked for
--   answer   what was asked for is answered, the last first, and stored
--   fetch    both at once
--   a1&b2    both in one array
--
-- After its last step whatever still waits is fetched.  Then the tables are
-- compared: all of them, all columns, persons, events, trips and crashes under
-- their own names, without the keys and times the database gives.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/prelude.psql
SET jit = off;

-- Leasing and storing by the extension's own code, without a wire between
\getenv builddir PG_ABS_BUILDDIR
\getenv dlsuffix PG_DLSUFFIX
\set module :builddir '/test/unit/damoov_unit' :dlsuffix
CREATE FUNCTION pg_temp.lease(OUT kind text, OUT object_id uuid, OUT user_id bigint, OUT source text, OUT version bigint, OUT attempts integer)
RETURNS SETOF record LANGUAGE C STRICT AS :'module', 'unit_lease';
CREATE FUNCTION pg_temp.answer(kind text, object_id uuid, user_id bigint, source text, version bigint, attempts integer, status integer, body text)
RETURNS void LANGUAGE C STRICT AS :'module', 'unit_answer';
CREATE SERVER orders_api TYPE 'api' FOREIGN DATA WRAPPER damoov OPTIONS (fetch 'processed,raw,crash');

-- ---------------------------------------------------------------------
-- Words to events
-- ---------------------------------------------------------------------

CREATE FUNCTION pg_temp.object(letter text) RETURNS uuid LANGUAGE sql IMMUTABLE
RETURN ('aaaaaaaa-0000-4000-8000-00000000000' || letter)::uuid;
CREATE FUNCTION pg_temp.minute_of(at timestamptz) RETURNS integer LANGUAGE sql IMMUTABLE
RETURN extract(epoch FROM at - pg_temp.minute(0))::integer / 60;
CREATE FUNCTION pg_temp.sent(minute integer) RETURNS text LANGUAGE sql STABLE
RETURN to_char(pg_temp.minute(minute), 'YYYY-MM-DD"T"HH24:MI:SS.US"0Z"');

CREATE FUNCTION pg_temp.word(word text, OUT type text, OUT letter text, OUT minute integer, OUT parts text, OUT name text, OUT person integer) LANGUAGE sql IMMUTABLE AS $$
    SELECT m[1], m[2], m[3]::integer, m[4], m[5], coalesce(m[6], '1')::integer
    FROM regexp_match(word, '^([-+4-7]?)([a-f])(\d+)(?:<([a-f]+))?(?:=([^@]+))?(?:@(\d))?$') AS m
$$;

CREATE FUNCTION pg_temp.event(word text) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'Event', CASE WHEN w.name ~ '^#' THEN to_jsonb(substr(w.name, 2)::integer) ELSE to_jsonb(coalesce(w.name, k.event)) END,
        'UserId', pg_temp.person(w.person),
        'ClientId', word,
        'Object', jsonb_build_object('Id', pg_temp.object(w.letter),
            'Url', format('https://mobilesdk.telematicssdk.com/%s/%s', k.event, pg_temp.object(w.letter))),
        'Timestamp', pg_temp.sent(w.minute),
        'Details', CASE w.type
            WHEN '' THEN jsonb_build_object('TracksRemoved', (
                SELECT coalesce(jsonb_agg(jsonb_build_object('Id', pg_temp.object(p), 'Type', 'RichTrack')), '[]')
                FROM regexp_split_to_table(w.parts, '') AS p))
            WHEN '-' THEN jsonb_build_object('Reason', word, 'TrackStartDate', pg_temp.sent(-30))
            WHEN '6' THEN jsonb_build_object('PackageDateReceived', pg_temp.sent(w.minute), 'AccidentPassedFilters', w.minute % 2 = 1)
            ELSE '{}' END)
    FROM pg_temp.word(word) AS w
    JOIN (VALUES ('', 'TrackEnrichmentFinished'), ('-', 'IncomingTrackRemoved'), ('+', 'IncomingTrackReceived'),
        ('4', 'AccidentEventReceived'), ('5', 'AccidentEventExtraReceived'),
        ('6', 'AccidentEventCompletePackageReceived'), ('7', 'AccidentEventFiltered')) AS k (type, event) USING (type)
$$;

CREATE TEMP TABLE words (word text PRIMARY KEY, event jsonb);

-- ---------------------------------------------------------------------
-- The service: what it answers at a minute of the story
-- ---------------------------------------------------------------------

-- A dataset says of which minute it is.  "strict": what is no track any more is
-- gone, else it is still served.
CREATE FUNCTION pg_temp.served(story text[], strict boolean, kind text, object uuid, as_of integer, OUT status integer, OUT body text) LANGUAGE plpgsql STABLE AS $$
DECLARE
    of_minute integer;
    lives boolean;
BEGIN
    SELECT max(w.minute) FILTER (WHERE CASE served.kind WHEN 'processed' THEN w.type = '' WHEN 'raw' THEN w.type = '+'
            WHEN 'crash_buffer' THEN w.type = '5' ELSE w.type ~ '[467]' END AND pg_temp.object(w.letter) = object)
    INTO of_minute
    FROM unnest(story) AS s, pg_temp.word(s) AS w WHERE w.minute <= as_of;
    SELECT NOT EXISTS (
        SELECT FROM unnest(story) AS s, pg_temp.word(s) AS w
        WHERE w.minute BETWEEN of_minute AND as_of
            AND (w.type = '-' AND w.minute > of_minute AND pg_temp.object(w.letter) = object
                OR kind = 'processed' AND object IN (SELECT pg_temp.object(p) FROM regexp_split_to_table(w.parts, '') AS p WHERE p <> w.letter)))
    INTO lives;
    IF of_minute IS NULL OR strict AND NOT lives THEN
        status := 410;
        body := '';
        RETURN;
    END IF;
    status := 200;
    body := CASE kind
        WHEN 'processed' THEN jsonb_build_object('Result', jsonb_build_object('Code', 200, 'Track', jsonb_build_object('Distance', of_minute, 'New', of_minute, 'Points', (
            SELECT jsonb_agg(jsonb_build_object('Number', i, 'Latitude', 52, 'Longitude', 8 + i / 100.0, 'AlertType', 'acc', 'AlertValue', of_minute))
            FROM generate_series(1, 1 + of_minute % 2) AS i))))
        WHEN 'raw' THEN jsonb_build_object('Track', jsonb_build_object('CompanyId', of_minute, 'Events', '[{"Type": "Braking"}]'::jsonb, 'Points', (
            SELECT jsonb_agg(jsonb_build_object('Number', i, 'Speed', of_minute)) FROM generate_series(1, 1 + of_minute % 2) AS i)))
        WHEN 'crash' THEN jsonb_build_object('Type', 'Accident', 'Reliability', of_minute)
        ELSE jsonb_build_object('TimeStart', 1715701853420, 'Frequency', 100, 'Samples', (
            SELECT jsonb_agg(jsonb_build_object('Time', 1715701853420 + 10 * i, 'AccelerationX', of_minute)) FROM generate_series(1, 2) AS i))
        END::text;
END
$$;

-- ---------------------------------------------------------------------
-- What is compared
-- ---------------------------------------------------------------------

\i :srcdir/sql/tables.psql
-- Rows that only one of two has, without the columns that are null
CREATE FUNCTION pg_temp.difference(a jsonb, b jsonb) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT format('%s %s: %s', s.sign, t.key, jsonb_strip_nulls(r.value))
    FROM (VALUES ('-', a, b), ('+', b, a)) AS s (sign, one, other), jsonb_each(s.one) AS t, jsonb_array_elements(t.value) AS r
    WHERE r.value NOT IN (SELECT o.value FROM jsonb_array_elements(s.other -> t.key) AS o)
    ORDER BY t.key COLLATE "C", r.value::text COLLATE "C", s.sign
$$;

-- The same in short, to be read: trips (minute of enrichment and of the dataset,
-- revision, points, trip events), recordings, tombstones and crashes
CREATE FUNCTION pg_temp.in_short() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT concat_ws(' ',
        (SELECT string_agg(format('%s%s/%s/%s(%s,%s)', right(t.track_token::text, 1), pg_temp.minute_of(t.enriched_at), t.distance_km, t.revision,
                (SELECT count(*) FROM damoov.trip_points AS p WHERE p.trip_id = t.trip_id),
                (SELECT count(*) FROM damoov.trip_events AS e WHERE e.trip_id = t.trip_id)), ' ' ORDER BY t.track_token) FROM damoov.trips AS t),
        (SELECT string_agg(format('+%s%s(%s,%s)', right(t.track_token::text, 1), t.company_id,
                (SELECT count(*) FROM damoov.raw_points AS p WHERE p.raw_track_id = t.raw_track_id),
                (SELECT count(*) FROM damoov.raw_events AS e WHERE e.raw_track_id = t.raw_track_id)), ' ' ORDER BY t.track_token) FROM damoov.raw_tracks AS t),
        (SELECT string_agg(format('%s%s%s', right(r.track_token::text, 1), coalesce('>' || right(r.replaced_by::text, 1), '-'), pg_temp.minute_of(r.removed_at)),
            ' ' ORDER BY r.track_token, r.removed_at, r.replaced_by) FROM damoov.removed_tracks AS r),
        (SELECT string_agg(format('crash %s:%s,%s,%s,%s,%s,%s(%s)', right(c.crash_token::text, 1), pg_temp.minute_of(c.header_received_at),
                pg_temp.minute_of(c.buffer_received_at), pg_temp.minute_of(c.completed_at), pg_temp.minute_of(c.filtered_at), c.passed_filters, c.reliability, b.sample_count),
            ' ' ORDER BY c.crash_token) FROM damoov.crashes AS c LEFT JOIN damoov.crash_buffers AS b USING (crash_id)),
        (SELECT 'waiting: ' || string_agg(d.kind || right(d.object_id::text, 1), ' ' ORDER BY d.kind, d.object_id) FROM damoov.downloads AS d WHERE d.state = 'waiting'))
$$;

-- What was undone before is in the way
CREATE FUNCTION pg_temp.set_out(story text) RETURNS void LANGUAGE sql AS $$
    SELECT pg_temp.empty_tables();
    INSERT INTO pg_temp.words SELECT w, pg_temp.event(w) FROM string_to_table(story, ' ') AS w ON CONFLICT DO NOTHING
$$;

-- ---------------------------------------------------------------------
-- Taking steps
-- ---------------------------------------------------------------------

CREATE TYPE pg_temp.held AS (kind text, object_id uuid, user_id bigint, source text, version bigint, attempts integer, as_of integer);

-- One step; "held" are the leases that are not answered yet.  With "late" the
-- service is as old as the newest event that has arrived, and goes on serving
-- what was removed; without, it has reached the end of the story.
CREATE FUNCTION pg_temp.take(step text, story text[], late boolean, INOUT held pg_temp.held[]) LANGUAGE plpgsql AS $$
DECLARE
    lease pg_temp.held;
    events jsonb;
    served record;
BEGIN
    IF step NOT IN ('lease', 'answer', 'fetch') THEN
        SELECT jsonb_agg(w.event ORDER BY g.n) INTO events
        FROM string_to_table(step, '&') WITH ORDINALITY AS g (word, n) JOIN pg_temp.words AS w USING (word);
        PERFORM public.damoov_ingest(events);
    END IF;
    IF step IN ('lease', 'fetch') THEN
        held := held || ARRAY(
            SELECT (l.*, CASE WHEN late THEN (SELECT max(pg_temp.minute_of(e.sent_at)) FROM damoov.events AS e) ELSE 1000 END)::pg_temp.held
            FROM pg_temp.lease() AS l);
    END IF;
    IF step IN ('answer', 'fetch') THEN
        FOR lease IN SELECT h.* FROM unnest(held) WITH ORDINALITY AS h (kind, object_id, user_id, source, version, attempts, as_of, n) ORDER BY h.n DESC LOOP
            served := pg_temp.served(story, NOT late, lease.kind, lease.object_id, lease.as_of);
            IF lease.user_id <> (SELECT u.user_id FROM damoov.users AS u WHERE u.device_token = pg_temp.person(1)) THEN
                served.status := 403;
            END IF;
            PERFORM pg_temp.answer(lease.kind, lease.object_id, lease.user_id, lease.source, lease.version, lease.attempts, served.status, served.body);
        END LOOP;
        held := '{}';
    END IF;
END
$$;

-- All that is still to come
CREATE FUNCTION pg_temp.finish(story text[], late boolean, held pg_temp.held[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 5 LOOP
        held := pg_temp.take('answer', story, late, held);
        EXIT WHEN NOT EXISTS (SELECT FROM damoov.downloads AS d WHERE d.state = 'waiting');
        held := pg_temp.take('lease', story, late, held);
    END LOOP;
END
$$;

-- Whatever can make a difference later on: the tables, what could be leased, and
-- of each lease whether something newer was announced since
CREATE FUNCTION pg_temp.state(held pg_temp.held[]) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN md5(concat(pg_temp.tables(), (
        SELECT string_agg(concat_ws(',', kind, object_id, d.leased_until IS NULL, d.due_at <= clock_timestamp(), h.attempts, h.as_of, d.version = h.version),
            ' ' ORDER BY kind, object_id, h.version)
        FROM damoov.downloads AS d FULL JOIN unnest(held) AS h USING (kind, object_id))));
END
$$;

-- ---------------------------------------------------------------------
-- All orders
-- ---------------------------------------------------------------------

-- Takes the steps that are left, each one first, and undoes it; "seen" has the
-- states that were met.  Two orders that have led to one state go on alike, so
-- the second is not followed; what it leads to is known.
--   seen: state -> orders that lead on from it
--   ends: outcome -> the first order that has led there, its tables, in short
CREATE FUNCTION pg_temp.follow(story text[], late boolean, taken integer[], held pg_temp.held[], merge boolean, INOUT seen jsonb, INOUT ends jsonb, OUT orders bigint) LANGUAGE plpgsql AS $$
DECLARE
    state text := CASE WHEN merge THEN concat((SELECT string_agg(t::text, ',' ORDER BY t) FROM unnest(taken) AS t), ' ', pg_temp.state(held)) END;
    digest text;
    tables jsonb;
    below record;
    next_held pg_temp.held[];
BEGIN
    IF seen ? state THEN
        orders := seen ->> state;
        RETURN;
    END IF;
    orders := 0;
    IF cardinality(taken) = cardinality(story) THEN
        PERFORM pg_temp.finish(story, late, held);
        tables := pg_temp.tables();
        digest := md5(tables::text);
        IF NOT ends ? digest THEN
            ends := ends || jsonb_build_object(digest, jsonb_build_array(
                (SELECT string_agg(story[t], ' ' ORDER BY o) FROM unnest(taken) WITH ORDINALITY AS t (t, o)), tables, pg_temp.in_short()));
        END IF;
        orders := 1;
    END IF;
    FOR i IN 1 .. cardinality(story) LOOP
        CONTINUE WHEN i = ANY (taken);
        BEGIN
            next_held := pg_temp.take(story[i], story, late, held);
            below := pg_temp.follow(story, late, taken || i, next_held, merge, seen, ends);
            RAISE SQLSTATE 'ZZ000';
        EXCEPTION WHEN SQLSTATE 'ZZ000' THEN
            seen := below.seen;
            ends := below.ends;
            orders := orders + below.orders;
        END;
    END LOOP;
    IF merge THEN
        seen := seen || jsonb_build_object(state, orders);
    END IF;
END
$$;

-- A summary of the ends; the first two, and what differs, when there are two
CREATE FUNCTION pg_temp.judge(ends jsonb) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE count(*) WHEN 1 THEN min(value ->> 2)
        ELSE format(E'%s outcomes:\n  %s\n  %s\n', count(*), (array_agg(value ->> 0 ORDER BY key))[1], (array_agg(value ->> 0 ORDER BY key))[2])
            || (SELECT string_agg(d, E'\n') FROM pg_temp.difference((array_agg(value -> 1 ORDER BY key))[1], (array_agg(value -> 1 ORDER BY key))[2]) AS d) END
    FROM jsonb_each(ends)
$$;

CREATE FUNCTION pg_temp.all_orders(story text, late boolean DEFAULT true, merge boolean DEFAULT true, OUT orders bigint, OUT outcome text) LANGUAGE plpgsql AS $$
DECLARE
    found record;
BEGIN
    PERFORM pg_temp.set_out(story);
    found := pg_temp.follow(string_to_array(story, ' '), late, '{}', '{}', merge, '{}', '{}');
    orders := found.orders;
    outcome := pg_temp.judge(found.ends);
END
$$;

-- ---------------------------------------------------------------------
-- Some orders
-- ---------------------------------------------------------------------

-- Takes these ways, each from the beginning
CREATE FUNCTION pg_temp.these_orders(story text, late boolean, ways text[], OUT orders bigint, OUT outcome text) LANGUAGE plpgsql AS $$
DECLARE
    way text;
    step text;
    held pg_temp.held[];
    ends jsonb := '{}';
    tables jsonb;
    in_short text;
BEGIN
    PERFORM pg_temp.set_out(story);
    FOREACH way IN ARRAY ways LOOP
        BEGIN
            held := '{}';
            FOREACH step IN ARRAY string_to_array(way, ' ') LOOP
                held := pg_temp.take(step, string_to_array(story, ' '), late, held);
            END LOOP;
            PERFORM pg_temp.finish(string_to_array(story, ' '), late, held);
            tables := pg_temp.tables();
            in_short := pg_temp.in_short();
            RAISE SQLSTATE 'ZZ000';
        EXCEPTION WHEN SQLSTATE 'ZZ000' THEN
            IF NOT ends ? md5(tables::text) THEN
                ends := ends || jsonb_build_object(md5(tables::text), jsonb_build_array(way, tables, in_short));
            END IF;
        END;
    END LOOP;
    orders := cardinality(ways);
    outcome := pg_temp.judge(ends);
END
$$;

-- All orders of a few words, each order in one array
CREATE FUNCTION pg_temp.arrays(story text) RETURNS text[] LANGUAGE sql AS $$
    WITH RECURSIVE p (taken, way) AS (
        SELECT ARRAY[]::bigint[], ''
        UNION ALL
        SELECT p.taken || w.n, concat(p.way, '&', w.word)
        FROM p, string_to_table(story, ' ') WITH ORDINALITY AS w (word, n) WHERE w.n <> ALL (p.taken)
    )
    SELECT array_agg(substr(p.way, 2)) FROM p WHERE cardinality(p.taken) = cardinality(string_to_array(story, ' '))
$$;

-- Shuffles: every third word comes twice, every third in one array with the
-- one before, and about every fourth step leases or answers
CREATE FUNCTION pg_temp.shuffles(story text, seeds integer) RETURNS text[] LANGUAGE sql AS $$
    SELECT array_agg(w.way)
    FROM generate_series(1, seeds) AS s (seed), LATERAL (
        SELECT ltrim(string_agg(CASE
                WHEN d.word NOT IN ('lease', 'answer') AND d.before NOT IN ('lease', 'answer') AND hashtext(d.word || d.place) % 3 = 0 THEN '&' ELSE ' ' END
                || d.word, '' ORDER BY d.place)) AS way
        FROM (
            SELECT c.word, md5(format('%s %s %s', s.seed, c.word, c.copy)) AS place,
                lag(c.word, 1, 'lease') OVER (ORDER BY md5(format('%s %s %s', s.seed, c.word, c.copy))) AS before
            FROM (
                SELECT word, copy
                FROM string_to_table(story, ' ') AS word, generate_series(1, 2) AS copy
                WHERE copy = 1 OR hashtext(word || s.seed) % 3 = 0
                UNION ALL
                SELECT word, copy
                FROM unnest('{lease,answer}'::text[]) AS word, generate_series(1, cardinality(string_to_array(story, ' ')) / 4) AS copy) AS c
        ) AS d
    ) AS w
$$;

-- ---------------------------------------------------------------------
-- The stories
-- ---------------------------------------------------------------------

-- Every order of up to seven steps
SELECT s.story, CASE WHEN s.late THEN 'late' ELSE 'ahead' END AS service, o.orders, o.outcome
FROM (VALUES
    -- merges, also of merged and of merging tracks, and announced again
    (1, 'a1 b2 a3<b b4 -a5 lease answer', true),
    (2, 'a1 b2 a3<b b4 lease answer', false),
    (3, 'c1 b3<c a4<b c5 lease answer', true),
    (4, 'a1 b2 c3 a4<b c5<a b6 -a7', true),
    (5, 'c1 a2<c b3<c a4 lease answer', true),
    -- asked for again, while older answers are on their way
    (6, 'a1 a2 lease answer lease answer', true),
    (7, 'b2 a3<b b4 lease lease answer', true),
    -- found invalid before, between and after; and what was recorded
    (8, '-a1 a2 -a3 a4 lease answer', true),
    (9, '+a1 a2 -a3 +a4 b5<a lease answer', true),
    -- repeated
    (10, 'a1 b2 b2 a3<b lease answer', true),
    -- circles, a track that names itself, all at one instant
    (11, 'a1<b b2<a a3<b c3<ca lease answer', true),
    (12, 'a1 b1 a2<ab b3 lease answer', true),
    (13, 'a1<b b1 -a1 -b1 lease answer', true),
    -- another person's removal
    (14, 'b1 a2<b b3 -b4@2 lease answer', true),
    -- crashes, by their names, older names and numbers
    (15, '4a1 5a2 6a3 7a4 lease answer', true),
    (16, '4a1=#4 5a2=5 5a6=DataBufferReceived 6a3=CrashDataSetCompleted 7a4 lease answer', true),
    (17, '4a2 6a3 6a4 7a1 lease answer', true)
) AS s (n, story, late), pg_temp.all_orders(s.story, s.late) AS o
ORDER BY s.n;
-- states were rightly taken for equal: the same when each order is gone to its end
SELECT s.story, a.orders, b.orders AS one_by_one, a.outcome = b.outcome AS equal
FROM (VALUES (1, 'b2 a3<b b4 lease answer'), (2, 'b2 +b1 -b3 lease answer')) AS s (n, story),
    pg_temp.all_orders(s.story) AS a, pg_temp.all_orders(s.story, merge => false) AS b
ORDER BY s.n;

-- Every order in one array
SELECT s.story, o.*
FROM (VALUES
    (1, 'a1 b2 a3<b b4 -a5'), (2, 'c1 b2 b3<c a4<b c5'), (3, 'a1<b b2<a a3<b c3<ca'), (4, 'a1<b b1 -a1 -b1'), (5, '4a1 5a2 6a3 6a4 7a1')
) AS s (n, story), pg_temp.these_orders(s.story, true, pg_temp.arrays(s.story)) AS o
ORDER BY s.n;

-- Longer stories, shuffled, in arrays, with repetitions, leases and answers anywhere
\set merges 'a1 b2 c3 a4 b5<c d6 -d7 d8 a9<b e10<a b11 +a1 +b2 -b12 +b13 c14 c15<e f16 f17<cd d18 -f19 e20'
\set crashes '4a1 5a2 6a3 7a4 4b1=#4 5b2=#5 6b4=#6 6b5=6 7b9=#7 5c3=DataBufferReceived 6c6=CrashDataSetCompleted a7 b8<a +a9 4c8'
SELECT s.n, o.*
FROM (VALUES (1, :'merges', true, 100), (2, :'merges', false, 50), (3, :'crashes', true, 50)) AS s (n, story, late, seeds),
    pg_temp.these_orders(s.story, s.late, pg_temp.shuffles(s.story, s.seeds)) AS o
ORDER BY s.n;
SELECT pg_temp.empty_tables();
DROP SERVER orders_api;
