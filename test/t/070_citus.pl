# The tables that grow, spread over two machines by Citus: the story of a fleet,
# and all that can become of it, gives the same tables as on one machine.
#
# No distribution of Debian has Citus, so this is left out where the server has
# none.  See CONTRIBUTING.md for how to build it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Cloud;
use Damoov::Contents;
use Damoov::Node;
use Damoov::Story;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

chomp(my $share = `pg_config --sharedir`);
plan skip_all => 'this server has no Citus: what damoov_distribute() does is not tested'
  unless -e "$share/extension/citus.control";

my @distributed = qw(trip_points trip_events raw_points raw_events crash_buffers);
my $cloud = Damoov::Cloud->new;

###########################################################################
# One machine, and three
###########################################################################

sub new_worker
{
	my ($name) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
	$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'citus'
listen_addresses = '127.0.0.1'
max_prepared_transactions = 50
CONF
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION citus');
	return $node;
}

my $one = Damoov::Node->start_new('one', databases => 'postgres');
my @workers = map { new_worker("worker$_") } 1, 2;
my $many = Damoov::Node->start_new('many', databases => 'postgres', extension => 0, conf => <<'CONF');
shared_preload_libraries = 'citus, damoov'
listen_addresses = '127.0.0.1'
max_prepared_transactions = 50
CONF

$many->sql('CREATE EXTENSION citus; CREATE EXTENSION damoov');
$many->sql("SELECT citus_set_coordinator_host('127.0.0.1', " . $many->port . ')');

my %fetch = (options => { fetch => 'processed,raw,crash' });
for my $node ($one, $many)
{
	my $queue = $node->name;
	my $url = $cloud->base_url;

	$cloud->create_queue($queue);
	$node->sql("CREATE SERVER api TYPE 'api' FOREIGN DATA WRAPPER damoov
		OPTIONS (base_url '$url', crash_url '$url', fetch 'processed,raw,crash')");
	$node->add_source($cloud, queue => $queue, api => 0, user => 'PUBLIC');
}

sub both
{
	my ($sql) = @_;
	return map { $_->sql($sql) } $one, $many;
}

# Sends it to both, and waits until both have stored it.
sub arrives
{
	my ($texts, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	for my $node ($one, $many)
	{
		my $queue = $node->name;

		$cloud->publish($texts, queue => $queue);
		$node->wake;
		eventually
		{
			my $counts = $cloud->queue($queue);
			$counts->{visible} + $counts->{in_flight} == 0
			  && $node->sql('SELECT count(*) FROM damoov.downloads') == 0
		}
		"$queue: $name", 180;
	}
	return;
}

sub same
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(contents($many), contents($one), "$name: the same tables");
}

# Both give the same answer, which is not empty.
sub same_answer
{
	my ($sql, $name) = @_;
	my ($expected, $got) = both($sql);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	isnt($expected, '', $name);
	return is($got, $expected, '... the same on many machines');
}

###########################################################################
# Distributing what is there
###########################################################################

my $story = $cloud->fleet(
	drivers => 4,
	trips => 6,
	points => 25,
	seed => 11,
	publish => JSON::PP::false,
	tell => JSON::PP::true);
my @texts = @{ $story->{texts} };
my @first = splice @texts, 0, @texts / 2;

arrives(\@first, 'the first half of the story is told');
same('on one machine each');
like($many->error_of('SELECT damoov_distribute(0)'), qr/^22023: shards must be between 1 and/, 'no shards');
like($many->error_of('SELECT damoov_distribute(NULL)'), qr/^22023/, '... none at all');
like($many->error_of('SELECT damoov_distribute(65000)'), qr/^22023/, '... too many');
like($one->error_of('SELECT damoov_distribute()'),
	qr/^0A000: damoov_distribute\(\) requires the extension "citus" HINT: Add citus to/, 'no Citus');
$many->sql('CREATE ROLE lesser LOGIN');
like($many->error_of('SELECT damoov_distribute()', user => 'lesser'), qr/^42501/, 'a lesser role');
$many->sql('GRANT EXECUTE ON FUNCTION damoov_distribute(integer) TO lesser; GRANT USAGE ON SCHEMA damoov TO lesser;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA damoov TO lesser');
like($many->error_of('SELECT damoov_distribute()', user => 'lesser'), qr/^42501/, '... with the right to call it');

$many->sql("SELECT citus_add_node('127.0.0.1', " . $_->port . ')') for @workers;
$many->sql('BEGIN; SELECT damoov_distribute(4); ROLLBACK');
same('distributed, and rolled back');
my $listed = join "\n", map { "$_|8" } @distributed;
is($many->sql('SELECT * FROM damoov_distribute(8)'), $listed, 'the tables are distributed');
is($many->sql('SELECT * FROM damoov_distribute(16)'), $listed, '... once');
same('distributed');

sub lie_on_workers
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is( $many->sql(join ' UNION ALL ',
			map { "SELECT '$_' WHERE pg_relation_size('damoov.$_') > 0" } @distributed),
		'',
		"$name: the coordinator holds no row of them");
	is( $many->sql("SELECT count(DISTINCT nodeport) FROM run_command_on_placements('damoov.trip_points', 'SELECT count(*) FROM %s')
			WHERE result::bigint > 0"),
		2,
		'... each worker holds some');
	return;
}

lie_on_workers('distributed');

###########################################################################
# What becomes of them
###########################################################################

arrives(\@texts, 'the second half is told');
same('the whole story');
lie_on_workers('the whole story');
is($many->sql('SELECT count(*) FROM damoov.trips'), scalar @{ $story->{trips} }, '... all trips');
cmp_ok($many->sql('SELECT count(*) FROM damoov.removed_tracks'), '>', 2, '... merges and removals among it');

arrives($story->{texts}, 'all comes again');
same('all comes again');

my ($driver, $other) = split /\n/,
  $one->sql('SELECT device_token FROM damoov.trips JOIN damoov.users USING (user_id)
	GROUP BY 1 HAVING count(*) > 3 ORDER BY 1 LIMIT 2');
my @tracks = split /\n/,
  $one->sql("SELECT track_token FROM damoov.trips JOIN damoov.users USING (user_id) WHERE device_token = '$driver' ORDER BY 1");
my $late = 30 * 86400;

$cloud->dataset($tracks[0], $driver, track_document(7, Distance => 1.5));
arrives([ enriched($driver, $tracks[0], $late) ], 'a trip is replaced');
same('a trip is replaced');
is($many->sql("SELECT count(*) FROM damoov.trip_points JOIN damoov.trips USING (trip_id) WHERE track_token = '$tracks[0]'"),
	7, '... by one with fewer points');

my $merged = token('merged');
$cloud->dataset($merged, $driver, track_document(0, Points => [ map { point($_, New => $_) } 1 .. 1100 ]));
arrives([ enriched($driver, $merged, $late + 60, removed => [ @tracks[ 0, 1 ] ]) ], 'two trips are merged');
same('two trips are merged');
arrives([ removed($driver, $tracks[2], $late + 120) ], 'a track is removed');
same('a track is removed');
is( $many->sql('SELECT count(*) FROM damoov.trip_points'),
	$many->sql('SELECT sum(point_count) FROM damoov.trips'),
	'... no points are left of it');

# A worker that is down holds up what is for it, and nothing is blamed for that
$cloud->dataset(token('down', $_), $other, track_document(30)) for 1 .. 12;
$workers[0]->stop('immediate');
$cloud->publish([ map { enriched($other, token('down', $_), $late + 150 + $_) } 1 .. 12 ], queue => 'many');
$many->wake;
eventually
{
	$many->sql("SELECT count(*) FROM damoov.downloads WHERE last_error LIKE '%connection%'") > 0
}
'a worker is down: some trips cannot be stored';
is($many->sql("SELECT count(*) FROM damoov.downloads WHERE state <> 'waiting'"), 0, '... which are tried again');
is($many->sql('SELECT count(*) FROM damoov.quarantine'), 0, '... and none is put away');
$workers[0]->start;
$cloud->publish([ map { enriched($other, token('down', $_), $late + 150 + $_) } 1 .. 12 ], queue => 'one');
$_->wake('SELECT damoov_retry_downloads()') for $one, $many;
eventually { $_->sql("SELECT count(*) FROM damoov.trips WHERE track_token::text LIKE '646f776e-%'") == 12 } $_->name . ': all are stored' for $one, $many;
same('a worker was down');

both('BEGIN; DELETE FROM damoov.trips; ROLLBACK');
same('trips are deleted, and rolled back');
both('DELETE FROM damoov.trips WHERE false');

###########################################################################
# What is asked of them
###########################################################################

my $trip_id = $many->sql("SELECT trip_id FROM damoov.trips WHERE track_token = '$merged'");
for my $query (
	"SELECT * FROM damoov.trip_points WHERE trip_id = $trip_id ORDER BY seq",
	"SELECT count(*), avg(speed_kmh) FROM damoov.trip_points WHERE trip_id = $trip_id AND NOT is_filler",
	"SELECT * FROM damoov.trip_points AS p JOIN damoov.trip_events AS e USING (trip_id) WHERE p.trip_id = $trip_id",
	"SELECT t.track_token, p.* FROM damoov.trips AS t JOIN damoov.trip_points AS p USING (trip_id) WHERE trip_id = $trip_id")
{
	is(scalar(() = $many->sql("EXPLAIN $query") =~ /^ *Task Count: 1$/mg), 1, "one shard is asked: $query");
}
same_answer('SELECT count(*), sum(seq), max(recorded_at), round(avg(speed_kmh)::numeric, 6) FROM damoov.trip_points',
	'all points are asked');
same_answer('SELECT t.track_token, count(*), max(p.speed_kmh) FROM damoov.trips AS t JOIN damoov.trip_points AS p USING (trip_id)
	GROUP BY 1 ORDER BY 1', 'points and trips together');
same_answer('SELECT crash_token, sample_count, peak_at_ms, round(delta_v_ms::numeric, 6), speed_before_ms FROM damoov.crash_summary ORDER BY 1',
	'the view of crashes');
same_answer('SELECT table_name, path, count, sample FROM damoov.drift ORDER BY 1, 2', 'what has no column');
same_answer('SELECT c.crash_token, count(*), max(s.acceleration_x_ms2) FROM damoov.crash_samples AS s JOIN damoov.crashes AS c USING (crash_id)
	GROUP BY 1 ORDER BY 1', 'samples of crashes');

my $rights = 'GRANT USAGE ON SCHEMA damoov TO reader';
$many->sql("CREATE ROLE reader LOGIN; $rights; GRANT SELECT ON damoov.trips, damoov.trip_points TO reader;
	SELECT run_command_on_workers('$rights')");
is($many->sql('SET ROLE reader; SELECT count(*) FROM damoov.trips JOIN damoov.trip_points USING (trip_id)'),
	$many->sql('SELECT count(*) FROM damoov.trip_points'), 'a role reads what it may read');
like($many->error_of('SELECT * FROM damoov.trip_events', user => 'reader'), qr/^42501/, '... and nothing else');

# What is sent to the workers for a trip, when its transaction is open
sub commands
{
	my ($sql) = @_;
	my ($status, $out, $err) = $many->psql('postgres',
		"BEGIN; SELECT count(*) FROM damoov.trip_points WHERE trip_id = $trip_id;
		SET LOCAL citus.log_remote_commands = on; SET LOCAL client_min_messages = notice; $sql; ROLLBACK");
	return join ' ', $err =~ /issuing (COPY|DELETE|SELECT|INSERT|BEGIN|SAVEPOINT) /g;
}

my $document = quoted_document(track_document(900, Points => [ map { point($_, AlertType => 'acc', AlertValue => 3) } 1 .. 900 ]));
my $fresh = token('fresh');
$many->sql("SELECT damoov_ingest(" . quoted_document(enriched($driver, $fresh, $late + 180)) . ")");

sub quoted_document
{
	my ($document) = @_;
	return Damoov::Node::quoted(compact($document));
}

is(commands("SELECT damoov.store_dataset('processed', '$fresh', $document)") =~ s/BEGIN //r,
	'COPY COPY', 'a new trip takes two commands');
is(commands("SELECT damoov.store_dataset('processed', '$merged', $document)") =~ s/BEGIN //r,
	'DELETE COPY DELETE COPY', '... one that replaces another, four');
is( commands("SET LOCAL allow_system_table_mods = on; UPDATE pg_class SET relhastriggers = false WHERE oid IN (SELECT logicalrelid FROM pg_dist_partition);
		SELECT damoov.store_dataset('processed', '$fresh', $document)") =~ s/BEGIN //r,
	'COPY COPY', '... also if the tables had no trigger of Citus');
$many->sql("DELETE FROM damoov.events WHERE object_id = '$fresh'; DELETE FROM damoov.downloads; DELETE FROM damoov.receipts WHERE source = 'sql'");

###########################################################################
# Reading again, forgetting, retention
###########################################################################

is($_, '', 'there is nothing to read again') for both("SELECT * FROM damoov_reparse('-infinity', false)");
for my $node ($one, $many)
{
	my $id = $node->sql("SELECT trip_id FROM damoov.trips WHERE track_token = '$merged'");
	$node->sql("UPDATE damoov.trip_points SET speed_kmh = 0 WHERE trip_id = $id");
	$node->sql("DELETE FROM damoov.raw_points WHERE raw_track_id = (SELECT min(raw_track_id) FROM damoov.raw_tracks)");
}
same_answer("SELECT kind, changed FROM damoov_reparse('-infinity') ORDER BY 1, 2", 'what would be read again');
same_answer("SELECT kind, changed FROM damoov_reparse('-infinity', false) ORDER BY 1, 2", 'it is read again');
same('read again');

both("CALL damoov_pack('infinity')");
same('points are documents');
is($many->sql('SELECT count(*) FROM damoov.trip_points'), 0, '... and none are rows');
same_answer('SELECT count(*), sum(p.seq), round(avg(p.speed_kmh)::numeric, 6) FROM damoov.all_points AS p', 'points of documents are asked');
both("SELECT damoov_unpack(trip_id) FROM damoov.trips WHERE track_token::text ~ '[0-7]\$'");
same('points are rows again');
same_answer('SELECT count(*), sum(p.seq), round(avg(p.speed_kmh)::numeric, 6) FROM damoov.all_points AS p', 'points of rows and documents are asked');
both("SELECT damoov_unpack(trip_id) FROM damoov.trips");
same('all are rows again');

same_answer("SELECT * FROM damoov_forget('$driver')", 'a person is forgotten');
same('a person is forgotten');
arrives([ map { enriched($driver, $_, $late + 240) } @tracks ], 'a late repeat of a forgotten person');
same('a late repeat');

both("UPDATE damoov.trips SET enriched_at = '2020-01-01' WHERE user_id = (SELECT user_id FROM damoov.users WHERE device_token = '$other');
	UPDATE damoov.raw_tracks SET stored_at = '2020-01-01' WHERE user_id = (SELECT user_id FROM damoov.users WHERE device_token = '$other');
	UPDATE damoov.crashes SET header_received_at = '2020-01-01', buffer_received_at = '2020-01-01', completed_at = '2020-01-01', filtered_at = '2020-01-01'
	WHERE crash_token = (SELECT min(crash_token::text)::uuid FROM damoov.crashes)");
my $rows = $one->sql('SELECT count(*) FROM damoov.trip_points');
my $purge = join ' ', map { "-c damoov.$_" } 'keep_trips=1000d', 'keep_crashes=1000d';
for my $node ($one, $many)
{
	local $ENV{PGOPTIONS} = $purge;
	$node->sql('CALL damoov_purge(false)');
}
same('old trips are removed');
cmp_ok($one->sql('SELECT count(*) FROM damoov.trip_points'), '<', $rows, '... with their points');
both("DELETE FROM damoov.events; UPDATE damoov.crashes SET user_id = user_id");
for my $node ($one, $many)
{
	local $ENV{PGOPTIONS} = '-c damoov.keep_events=1000d';
	$node->sql('CALL damoov_purge(false)');
}
same('persons without anything are removed');
lie_on_workers('in the end');
is($many->sql("SELECT string_agg(DISTINCT problem, ' ') FROM (SELECT state AS problem FROM damoov.sources WHERE last_error IS NOT NULL) AS s"),
	'', 'no source has met an error');

done_testing();
