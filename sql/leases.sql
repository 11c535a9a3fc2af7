-- Leases of downloads belong to a session: who has another's process id, who lost
-- one, and who is gone.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/prelude.psql
\getenv builddir PG_ABS_BUILDDIR
\getenv dlsuffix PG_DLSUFFIX
\set module :builddir '/test/unit/damoov_unit' :dlsuffix
CREATE FUNCTION pg_temp.downloads(step text) RETURNS integer LANGUAGE C STRICT AS :'module', 'unit_downloads';
CREATE FUNCTION pg_temp.answer(kind text, object_id uuid, user_id bigint, source text, version bigint, attempts integer, status integer, body text)
RETURNS void LANGUAGE C STRICT AS :'module', 'unit_answer';

CREATE FUNCTION pg_temp.track(number integer) RETURNS uuid LANGUAGE sql IMMUTABLE
RETURN ('aaaaaaaa-0000-4000-8000-00000000000' || number)::uuid;
CREATE FUNCTION pg_temp.want(number integer, leased_by integer DEFAULT NULL, leased_by_start timestamptz DEFAULT NULL) RETURNS void LANGUAGE sql AS $$
    INSERT INTO damoov.downloads (kind, object_id, user_id, source, priority, leased_until, leased_by, leased_by_start)
    SELECT 'processed', pg_temp.track(number), user_id, 'sql', 20,
        CASE WHEN want.leased_by IS NOT NULL THEN now() + interval '5 minutes' END, want.leased_by, want.leased_by_start
    FROM damoov.users
$$;
CREATE VIEW pg_temp.me AS
SELECT a.pid, a.backend_start FROM pg_stat_activity AS a WHERE a.pid = pg_backend_pid();
CREATE VIEW pg_temp.leases AS
SELECT right(d.object_id::text, 1) AS track, d.attempts, d.leased_until > now() AS leased, (d.leased_by, d.leased_by_start) = (m.pid, m.backend_start) AS mine
FROM damoov.downloads AS d, pg_temp.me AS m
ORDER BY d.object_id;

BEGIN;
INSERT INTO damoov.users (device_token) VALUES (pg_temp.person(1));

-- Of a session that lives; of one that had our process id before; of one that is gone
SELECT pg_temp.want(1, pid, backend_start), pg_temp.want(2, pid, backend_start - interval '1 day'), pg_temp.want(3, 2147483647, backend_start)
FROM pg_temp.me;
SELECT pg_temp.downloads('pick');
SELECT * FROM pg_temp.leases;

-- What was committed stays when a later transaction fails, and what was not goes
SELECT pg_temp.downloads('commit'), pg_temp.want(4), pg_temp.downloads('pick'), pg_temp.downloads('roll back');

-- Of what is under way nothing is begun twice, though its lease looks over when the clock jumps
UPDATE damoov.downloads SET leased_until = now() - interval '1 hour' WHERE object_id = pg_temp.track(2);
SELECT pg_temp.downloads('pick'), pg_temp.downloads('commit');

-- One is given back only by who has it
UPDATE damoov.downloads SET leased_by_start = leased_by_start - interval '1 hour', leased_until = now() + interval '5 minutes'
WHERE object_id = pg_temp.track(3);
SELECT pg_temp.downloads('release');
SELECT * FROM pg_temp.leases;

-- Who has lost one, and answers late, takes nothing from who has it now: neither with a dataset nor with an error
SELECT pg_temp.want(5, pid, backend_start - interval '1 day') FROM pg_temp.me;
SELECT pg_temp.answer(kind, object_id, user_id, source, version - 1, 1, a.status, a.body)
FROM damoov.downloads, (VALUES (200, '{"Result": {"Code": 200, "Track": {"Distance": 5, "Points": []}}}'), (500, '')) AS a (status, body)
WHERE object_id = pg_temp.track(5);
SELECT l.*, d.last_error FROM pg_temp.leases AS l, damoov.downloads AS d WHERE l.track = '5' AND d.object_id = pg_temp.track(5);
-- his own ends, with both
UPDATE damoov.downloads AS d SET leased_by_start = m.backend_start FROM pg_temp.me AS m WHERE d.object_id = pg_temp.track(5);
SELECT pg_temp.answer(kind, object_id, user_id, source, version - 1, 1, 500, '') FROM damoov.downloads WHERE object_id = pg_temp.track(5);
SELECT l.*, d.last_error FROM pg_temp.leases AS l, damoov.downloads AS d WHERE l.track = '5' AND d.object_id = pg_temp.track(5);
UPDATE damoov.downloads AS d SET leased_until = now() + interval '5 minutes' WHERE d.object_id = pg_temp.track(5);
SELECT pg_temp.answer(kind, object_id, user_id, source, version - 1, 1, 200, '{"Result": {"Code": 200, "Track": {"Distance": 5, "Points": []}}}')
FROM damoov.downloads WHERE object_id = pg_temp.track(5);
SELECT * FROM pg_temp.leases WHERE track = '5';
ROLLBACK;
