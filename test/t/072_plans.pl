# Whatever the documents and views ask reads in proportion to its answer: the
# database of a fleet that has driven for a year, in which the pages are counted
# that each statement reads.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Documents;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('plans');
$node->init(extra => [ '--encoding=UTF8', '--no-locale' ]);
$node->append_conf('postgresql.conf', <<'CONF');
fsync = off
full_page_writes = off
autovacuum = off
shared_buffers = 512MB
max_wal_size = 8GB
timezone = 'UTC'
CONF
$node->start;

###########################################################################
# 100,000 trips, 500,000 notifications, 800,000 reports, 20,000 crashes, 1,000 of them with samples
###########################################################################

# No rule acts on rows that are put back.
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION damoov;
SELECT damoov.make_partitions();
SET client_min_messages = warning;
SET session_replication_role = replica;
SET synchronous_commit = off;
CREATE FUNCTION id(what text, n integer) RETURNS uuid LANGUAGE sql STABLE RETURN md5(what || n)::uuid;
CREATE FUNCTION minute(n double precision) RETURNS timestamptz LANGUAGE sql STABLE RETURN '2026-01-01Z'::timestamptz + n * interval '1 minute';

-- the indexes of the largest tables are made at the end, which is faster
CREATE TABLE later AS SELECT * FROM pg_indexes WHERE schemaname = 'damoov' AND tablename IN ('events', 'heartbeats', 'trips') AND indexname <> 'events_pkey';
DO $$
DECLARE
    i record;
BEGIN
    FOR i IN TABLE later LOOP
        EXECUTE format('ALTER TABLE damoov.%I DROP CONSTRAINT IF EXISTS %I', i.tablename, i.indexname);
        EXECUTE format('DROP INDEX IF EXISTS damoov.%I', i.indexname);
    END LOOP;
END
$$;

INSERT INTO damoov.users (user_id, device_token) SELECT n, id('person', n) FROM generate_series(1, 2000) AS n;
INSERT INTO damoov.heartbeats (user_id, reported_at, charge_percent, waiting_trips)
SELECT 1 + n % 500, minute(n * 0.65), 50, CASE WHEN n > 799500 AND n % 4 = 0 THEN 1 ELSE 0 END FROM generate_series(1, 800000) AS n;

-- a trip each five minutes, of some kilometres, in a country of 500 by 500
INSERT INTO damoov.trips (trip_id, track_token, user_id, revision, started_at, stored_at, distance_km, address_start, address_end,
    point_count, filler_count, min_latitude, min_longitude, max_latitude, max_longitude)
SELECT n, id('track', n), 1 + n % 2000, 1, minute(n * 5), minute(n * 5 + 30), 5, repeat('x', 60), repeat('y', 60),
    900, 100, y, x, y + 0.05, x + 0.05
FROM (SELECT n, 48 + n * 79 % 5000 / 1000.0 AS y, 8 + n * 1049 % 5003 / 1000.0 AS x FROM generate_series(1, 100000) AS n) AS t;
INSERT INTO damoov.trip_events (trip_id, seq, kind, first_seq, last_seq, max_excess_kmh)
SELECT n, k, CASE k WHEN 0 THEN 'speeding' ELSE 'braking' END, k, k, CASE k WHEN 0 THEN n * 31 % 1009 / 10.0 END
FROM generate_series(1, 100000) AS n, generate_series(0, 3) AS k;
-- half of what was recorded is a part of another by now, some of a part of it
INSERT INTO damoov.removed_tracks (track_token, removed_at, event_id, user_id, reason, replaced_by)
SELECT id('part', n), minute(n), n, 1 + (n - (n % 10 = 0)::integer) % 2000, 'replaced', CASE WHEN n % 10 = 0 THEN id('part', n - 1) ELSE id('track', n) END
FROM generate_series(1, 50000) AS n;

INSERT INTO damoov.events (source, event, outcome, user_id, object_id, sent_at, sent_text, received_at, payload)
SELECT 'queue', CASE WHEN n % 125 = 0 THEN 'AccidentEventReceived' WHEN n % 5 < 3 THEN 'HeartbeatReceived' WHEN n % 5 = 3 THEN 'IncomingTrackReceived'
        ELSE 'TrackEnrichmentFinished' END,
    'stored', 1 + n % 2000, id('object', n), minute(n - n * 31 % 60), n::text, minute(n),
    jsonb_build_object('Event', 'TrackEnrichmentFinished', 'Details', repeat('x', 150))
FROM generate_series(1, 500000) AS n;
DO $$
DECLARE
    i record;
BEGIN
    FOR i IN TABLE later LOOP
        EXECUTE i.indexdef;
    END LOOP;
END
$$;
INSERT INTO damoov.receipts (source, received_at, received, stored, duplicate, unknown, control, quarantined)
SELECT 'queue', minute(n * 1440), 1440, 1440, 0, 0, 0, 0 FROM generate_series(1, 350) AS n;
INSERT INTO damoov.quarantine (source, reason, sqlstate, message, body, body_digest)
SELECT 'queue', 'bad_json', '22P02', 'it is no JSON', b, sha256(b) FROM generate_series(1, 50) AS n, int4send(n) AS b;

INSERT INTO damoov.crashes (crash_id, crash_token, user_id, filtered_at, passed_filters, started_at, start_latitude, start_longitude)
SELECT n, id('crash', n), 1 + n % 2000, CASE WHEN n % 2 = 0 THEN minute(n * 25) END, true, minute(n * 25), 48 + n % 5, 8 + n % 5 FROM generate_series(1, 20000) AS n;
INSERT INTO damoov.crash_buffers (crash_id, started_at, sample_count, at_ms, acceleration_x_ms2, acceleration_y_ms2, acceleration_z_ms2, speed_ms)
SELECT n, minute(n * 500), 400, a.at_ms, a.x, a.y, a.z, a.speed
FROM generate_series(1, 1000) AS n, (
    SELECT array_agg(i * 10.0::float8 ORDER BY i) AS at_ms, array_agg(i * 7919 % 1000 / 100.0::float8 ORDER BY i) AS x,
        array_agg(i * 104729 % 1000 / 100.0::float8 ORDER BY i) AS y, array_agg(9.8::float8 ORDER BY i) AS z, array_agg(13.5::float8 ORDER BY i) AS speed
    FROM generate_series(1, 400) AS i) AS a;

-- points of 90 days in one partition, of which retention has deleted 30 twice
CREATE PROCEDURE drive(first integer, last integer) LANGUAGE sql AS $$
    INSERT INTO damoov.trip_points (trip_id, seq, is_filler, recorded_at)
    SELECT 1000000 + day * 20 + i, s, false, minute(day * 1440 + i * 60 + s / 10.0)
    FROM generate_series(first, last) AS day, generate_series(1, 20) AS i, generate_series(1, 200) AS s
$$;
CALL drive(1, 60);
DELETE FROM damoov.trip_points WHERE trip_id BETWEEN 1000000 AND 1000620;
VACUUM damoov.trip_points_default;
CALL drive(61, 90);
DELETE FROM damoov.trip_points WHERE trip_id BETWEEN 1000621 AND 1001220;
VACUUM damoov.trip_points_default;
CALL drive(91, 120);
VACUUM ANALYZE;
SQL

###########################################################################
# How much a statement reads
###########################################################################

my $json = JSON::PP->new;

sub pages_and_rows
{
	my ($statement) = @_;
	my $plan = $json->decode($node->safe_psql('postgres', "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) $statement"))->[0]{Plan};

	return ($plan->{'Shared Hit Blocks'} + $plan->{'Shared Read Blocks'}, $plan->{'Actual Rows'});
}

# So many rows are found, and with a few pages for the way to each
sub reads_its_answer
{
	my ($name, $statement, $expected, $per_row, $fixed) = @_;
	my ($pages, $rows) = pages_and_rows($statement);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$per_row //= 5;
	$fixed //= 60;
	note "$name: $pages pages for $rows rows";
	is($rows, $expected, "$name: $expected rows") if defined $expected;
	return cmp_ok($pages, '<=', $fixed + $per_row * $rows, "$name: pages in proportion");
}

my $id = sub { "md5('$_[0]$_[1]')::uuid" };

reads_its_answer('the latest report of each person', 'SELECT * FROM damoov.devices', 500);
reads_its_answer('crashes and their impact', 'SELECT * FROM damoov.crash_summary', 20000);
reads_its_answer('one crash', 'SELECT * FROM damoov.crash_summary WHERE crash_id = 17', 1);
reads_its_answer('the samples of one crash', 'SELECT * FROM damoov.crash_samples WHERE crash_id = 17', 400);
reads_its_answer('what went into a trip', 'SELECT * FROM damoov.trip_lineage WHERE trip_id = 19', 2);
reads_its_answer('... by its token', 'SELECT * FROM damoov.trip_lineage WHERE part_of = ' . $id->('track', 19), 2);
reads_its_answer('... by the token of a part', 'SELECT * FROM damoov.trip_lineage WHERE part = ' . $id->('part', 20), 2);
reads_its_answer('... all of it', 'SELECT * FROM damoov.trip_lineage', 55000, 40);
reads_its_answer('trips stored since', "SELECT * FROM damoov.trips WHERE stored_at >= minute(495000)", 1007, 1);
reads_its_answer('trips through an area',
	"SELECT * FROM damoov.trips WHERE box(point(min_longitude, min_latitude), point(max_longitude, max_latitude)) && '((8.4, 50.2), (8.5, 50.3))'");
reads_its_answer('trips of a day', "SELECT * FROM damoov.trips WHERE started_at >= minute(1440) AND started_at < minute(2880)", 288, 1);
reads_its_answer('notifications of a kind and day',
	"SELECT * FROM damoov.events WHERE event = 'HeartbeatReceived' AND received_at >= minute(144000) AND received_at < minute(145440)", undef, 1);
reads_its_answer('... of a rare kind',
	"SELECT * FROM damoov.events WHERE event = 'AccidentEventReceived' AND received_at >= minute(144000) AND received_at < minute(145440)", undef, 5);
reads_its_answer('... by their own time',
	"SELECT * FROM damoov.events WHERE event = 'HeartbeatReceived' AND sent_at >= minute(144000) AND sent_at < minute(145440)", undef, 1);
reads_its_answer('points of a day, in pages of rows that are gone',
	"SELECT * FROM damoov.trip_points WHERE recorded_at >= minute(144000) AND recorded_at < minute(145440)", 4000, 0.05);

# What a statement reads that is no part of its answer: devices looks at all
# persons, partitions and grants at the catalog, and so do the plans that
# damoov_points() makes; drift reads all notifications, as it says; the
# notifications of a day are counted by their kinds
my %more = ('damoov.devices' => 2500, 'damoov.partitions' => 1000, 'damoov.grants' => 12000, 'damoov_points' => 500, 'damoov.drift' => 60000, 'damoov.events' => 200);

foreach my $document ('README.md', map { "docs/$_" } qw(damoov.md reference.md how-do-i.md))
{
	foreach my $statement (map { split /;[^\n]*\n/ } Damoov::Documents::sql_blocks(slurp_file("$FindBin::RealBin/../../$document")))
	{
		$statement =~ s/\A(?:\s|--.*\n)+//;
		# the days of the examples, in this year
		$statement =~ s/'2024-/'2026-/g;
		my ($relation) = $statement =~ /\ASELECT.*?\bFROM (damoov\.\w+|damoov_points)/s or next;

		reads_its_answer("$document: " . $statement =~ s/\s+/ /gr, $statement, undef, 5, $more{$relation});
	}
}

# To the next person of a backfill, who was never told of
$node->safe_psql('postgres', q{INSERT INTO damoov.users (user_id, device_token) VALUES (3000, id('person', 3000));
	SELECT damoov_backfill('2026-01-01', '2026-02-01'); UPDATE damoov.backfills SET at_person = 2000});
reads_its_answer('the next person of a backfill', 'SELECT damoov.next_window(job_id, true) FROM damoov.backfills', 1, 5, 3000);
is($node->safe_psql('postgres', 'SELECT at_person FROM damoov.backfills'), 3000, '... who is asked about');

# The board, of a day; a statement that groups reads the rows that it groups.
my $board = $json->decode(slurp_file("$FindBin::RealBin/../../monitoring/grafana.json"));
my %grouped = ('Messages a minute' => 60, 'Trips by hour' => 400);

foreach my $panel (@{ $board->{panels} })
{
	foreach my $target (@{ $panel->{targets} // [] })
	{
		my $statement = $target->{rawSql} =~ s/\$__timeFilter\((\w+)\)/$1 BETWEEN minute(144000) AND minute(145440)/gr;

		reads_its_answer("the board: $panel->{title}", $statement, undef, 3, 60 + ($grouped{ $panel->{title} } // 0));
	}
}
# The exporters, each 15 seconds
my $metrics = slurp_file("$FindBin::RealBin/../../monitoring/postgres_exporter.yaml");
my @queries = $metrics =~ /^  query: \|\n((?:    .*\n|\n)+)/mg;

cmp_ok(scalar @queries, '>=', 6, 'the exporters have queries');
reads_its_answer('an exporter: ' . $_ =~ s/\s+/ /gr, $_, undef, 5, 100) for @queries;

$node->stop('immediate');
done_testing();
