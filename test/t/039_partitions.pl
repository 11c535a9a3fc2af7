# Partitions of points and events: made by the worker and by CALL, while others
# store, and where changes are replicated.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Node;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $partitions = 'SELECT count(*) FROM damoov.partitions WHERE NOT is_default';
my $node = Damoov::Node->start_new('made', databases => 'postgres', conf => "wal_level = logical\nmax_wal_senders = 4\nmax_replication_slots = 4\nmax_locks_per_transaction = 256");

###########################################################################
# Who makes them
###########################################################################

ok($node->poll_query_until('postgres', "SELECT count(*) >= 8 FROM damoov.partitions WHERE NOT is_default"), 'the worker makes partitions');
is($node->sql("SELECT string_agg(DISTINCT relowner::regrole::text || coalesce(relacl::text, ''), ' ') FROM pg_class
	WHERE relnamespace = 'damoov'::regnamespace AND relispartition AND relname ~ '_p[0-9]+\$'"),
	$node->sql("SELECT relowner::regrole FROM pg_class WHERE oid = 'damoov.trip_points'::regclass"),
	'... which belong to the owner of the tables, and to nobody else');
$node->sql('CREATE DATABASE called');
$node->sql('CREATE EXTENSION damoov', 'called');
$node->poll(1, 'called');
is($node->sql($partitions, 'called'), 8, 'CALL damoov_poll() makes them');
$node->sql('DROP EXTENSION damoov', 'called');
is($node->sql("SELECT count(*) FROM pg_class WHERE relname ~ '^trip_points'", 'called'), 0, 'DROP EXTENSION takes them along');
$node->sql('CREATE EXTENSION damoov', 'called');
$node->sql('CALL damoov_purge(false)', 'called');
is($node->sql($partitions, 'called'), 8, 'damoov_purge() makes them');

###########################################################################
# While others store
###########################################################################

# Each session stores trips with ids of its own, which are far apart, while two
# others make, split and drop partitions.
$node->sql(q{
	INSERT INTO damoov.users (device_token) SELECT md5('p')::uuid;
	CREATE PROCEDURE store_many(session integer) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. 150 LOOP
			PERFORM setval('damoov.trips_trip_id_seq', 200000 + i * 400 + session * 7);
			PERFORM damoov_ingest(jsonb_build_object('Event', 'TrackEnrichmentFinished', 'UserId', md5('p')::uuid,
				'Object', jsonb_build_object('Id', md5(session || 'x' || i)::uuid), 'Timestamp', '2024-05-14T10:00:00Z'));
			PERFORM damoov.store_dataset('processed', md5(session || 'x' || i)::uuid,
				'{"Result": {"Code": 200, "Track": {"Points": [{"Number": 1, "AlertType": "acc", "MidSpeed": 1}, {"Number": 2, "MidSpeed": 1}]}}}');
			COMMIT;
		END LOOP;
	END $$;
	CREATE PROCEDURE look_after() LANGUAGE plpgsql AS $$
	DECLARE
		patience CONSTANT timestamptz := clock_timestamp() + '2 minutes';
	BEGIN
		WHILE (SELECT count(*) FROM damoov.trips) < 300 AND clock_timestamp() < patience LOOP
			-- what another has locked is left for the next time
			BEGIN
				PERFORM damoov.make_partitions();
			EXCEPTION WHEN lock_not_available THEN NULL;
			END;
			COMMIT;
			BEGIN
				PERFORM damoov.split_default();
			EXCEPTION WHEN lock_not_available THEN NULL;
			END;
			COMMIT;
			BEGIN
				PERFORM damoov.drop_partition();
			EXCEPTION WHEN lock_not_available THEN NULL;
			END;
			COMMIT;
		END LOOP;
	END $$;
}, 'called');
my @sessions = map {
	my ($in, $out, $err) = ('', '', '');
	my $run = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('called'), '-c', 'SET damoov.partition_size = 1000', '-c', $_ ], \$in, \$out, \$err);
	{ run => $run, err => \$err };
} 'CALL store_many(1)', 'CALL store_many(2)', 'CALL look_after()', 'CALL look_after()';
for my $session (@sessions)
{
	$session->{run}->finish;
	is(${ $session->{err} }, '', 'a session of several ends without an error');
}
is( $node->sql(q{
	SELECT (SELECT count(*) FROM damoov.trips), count(*), count(DISTINCT p.tableoid) > 1,
		count(*) FILTER (WHERE NOT r.is_default AND p.trip_id >= r.first_id AND p.trip_id < r.end_id
			OR r.is_default AND NOT EXISTS (SELECT FROM damoov.partitions AS o WHERE o.table_name = r.table_name AND p.trip_id >= o.first_id AND p.trip_id < o.end_id))
	FROM damoov.trip_points AS p JOIN pg_class AS c ON c.oid = p.tableoid JOIN damoov.partitions AS r ON r.partition = c.relname}, 'called'),
	'300|600|t|600', 'every row is there, and in its place');
$node->sql('CALL damoov_purge(false)', 'called');
is($node->sql('SELECT count(*), count(*) FILTER (WHERE tableoid = $$damoov.trip_points_default$$::regclass) FROM damoov.trip_points', 'called'),
	'600|0', '... and after damoov_purge() none in the default partition');

###########################################################################
# Logical replication
###########################################################################

my $subscriber = Damoov::Node->start_new('subscriber', conf => 'max_locks_per_transaction = 256');
my $rows = q{SELECT string_agg(concat(p.trip_id, ' ', p.seq, ' ', p.speed_kmh), ', ' ORDER BY p.trip_id, p.seq) FROM damoov.trip_points AS p};

sub is_replicated
{
	my ($expected, $what) = @_;

	$node->wait_for_catchup('fleet');
	is($subscriber->sql($rows), $expected, $what);
	return;
}

$node->sql(q{
	INSERT INTO damoov.users (device_token) SELECT md5('p')::uuid;
	INSERT INTO damoov.trips (track_token, user_id, enriched_at, revision, point_count, filler_count)
	SELECT md5('' || n)::uuid, user_id, '2020-01-01', 1, 1, 0 FROM damoov.users, generate_series(1, 4) AS n;
	INSERT INTO damoov.trip_points (trip_id, seq, is_filler) VALUES (1, 0, false);
	CREATE PUBLICATION fleet FOR TABLES IN SCHEMA damoov WITH (publish_via_partition_root = true)});
$subscriber->sql('TRUNCATE damoov.sources');
$subscriber->sql("CREATE SUBSCRIPTION fleet CONNECTION 'host=" . $node->host . ' port=' . $node->port . " dbname=postgres' PUBLICATION fleet");
$subscriber->wait_for_subscription_sync($node, 'fleet');
is_replicated('1 0 ', 'rows that were there are copied');
$node->sql('INSERT INTO damoov.trip_points (trip_id, seq, is_filler) VALUES (2, 0, false), (2, 1, false), (3, 0, false)');
is_replicated('1 0 , 2 0 , 2 1 , 3 0 ', 'new ones follow');
$node->sql('UPDATE damoov.trip_points SET speed_kmh = 5 WHERE trip_id = 2 AND seq = 1; DELETE FROM damoov.trips WHERE trip_id = 3');
is_replicated('1 0 , 2 0 , 2 1 5', '... changes and removals, too');
is($subscriber->sql('SELECT DISTINCT tableoid::regclass FROM damoov.trip_points'), 'damoov.trip_points_default', 'the subscriber has partitions of its own');
$subscriber->sql('CALL damoov_purge(false)');
is($subscriber->sql('SELECT DISTINCT tableoid::regclass FROM damoov.trip_points'), 'damoov.trip_points_p0', '... to which damoov_purge() moves the rows');
$node->sql('UPDATE damoov.trip_points SET speed_kmh = 6 WHERE trip_id = 2 AND seq = 0; DELETE FROM damoov.trips WHERE trip_id = 1');
is_replicated('2 0 6, 2 1 5', 'changes reach them there');
# retention of a whole partition: what is emptied there is dropped here
$node->sql(q{SELECT setval('damoov.trips_trip_id_seq', 60000);
	INSERT INTO damoov.trips (track_token, user_id, enriched_at, revision, point_count, filler_count) SELECT md5('new')::uuid, user_id, now(), 1, 1, 0 FROM damoov.users;
	INSERT INTO damoov.trip_points (trip_id, seq, is_filler) VALUES (60001, 0, false)});
$node->sql("SET damoov.keep_trips = '30d'; CALL damoov_purge(false)");
is($node->sql("$rows; SELECT to_regclass('damoov.trip_points_p0')"), "60001 0 \n", 'a partition is dropped where it came from');
$node->wait_for_catchup('fleet');
$subscriber->sql('CALL damoov_purge(false)');
is($subscriber->sql("$rows; SELECT to_regclass('damoov.trip_points_p0')"), "60001 0 \n", '... and where it was replicated to, when its trips are gone');

$subscriber->sql('DROP SUBSCRIPTION fleet');
$subscriber->stop;
$node->stop;
done_testing();
