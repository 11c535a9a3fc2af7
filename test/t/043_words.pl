# A word when it matters: what a poll has done and what is paused, a word that is
# no kind or reason, a setting or a server that can have no effect.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Stage;
use Damoov::Story;
use PostgreSQL::Test::Utils;
use Test::More;

my ($cloud, $node) = stage('words', preload => 0);
my $driver = driver();
add_source();

# What a statement says beside its rows.
sub says
{
	my ($sql) = @_;
	my ($code, $out, $err) = $node->psql('postgres', $sql);

	return $err =~ s/^psql:<stdin>:\d+: //mgr;
}

###########################################################################
# What a poll has done
###########################################################################

is(says('CALL damoov_poll()'), 'NOTICE:  messages: 0 received; datasets: 0 stored', 'a poll that had nothing to do says so');
my $track = token('trip');
$cloud->dataset($track, $driver, track_document(20));
my $beats = heartbeats(2);
publish([ @$beats, enriched($driver, $track, 10) ]);
publish([$beats->[0]]);
publish(['no notification']);
is(says('CALL damoov_poll()'), 'NOTICE:  messages: 5 received (3 stored, 1 duplicate, 1 quarantined); datasets: 1 stored', 'a poll says what became of messages, and how many datasets came');
value(q{SELECT damoov_pause('queue')});
is(says('CALL damoov_poll()'), qq{NOTICE:  messages: 0 received; datasets: 0 stored\nNOTICE:  server "queue" is paused: damoov_pause() was called}, '... which source is paused, and why');
value(q{SELECT damoov_resume('queue'); ALTER SERVER queue OPTIONS (paused 'true')});
like(says('CALL damoov_poll()'), qr/^NOTICE:  server "queue" is paused: its option "paused" says so$/m, '... by its option');
value(q{ALTER SERVER queue OPTIONS (DROP paused)});

###########################################################################
# Words and types
###########################################################################

like($node->error_of(q{SELECT damoov_retry_downloads('trip')}),
	qr/^22023: there is no kind of dataset "trip" HINT: The kinds are processed, raw, crash, crash_buffer, object and listing\.$/, 'a kind that there is not');
is(value(q{SELECT damoov_retry_downloads('processed')}), 0, '... and one that there is');
like($node->error_of(q{CALL damoov_retry_all('bad json')}), qr/^22023: there is no reason "bad json" HINT: See the column "reason"/, 'a reason that there is not');
like($node->error_of(q{BEGIN; CALL damoov_retry_all(); COMMIT}), qr/^2D000/, 'a transaction block');

my $as_uuid = value(qq{SELECT damoov_fetch_track('$track'::uuid, '$driver'::uuid) = damoov_fetch_track('$track'::uuid)});
is($as_uuid, 't', 'tokens of the type uuid: a track is fetched');
like($node->error_of(q{SELECT damoov_fetch_track('00000000-0000-0000-0000-000000000000'::uuid)}), qr/^22023: track token is not a UUID/, '... and no token is none');
like($node->error_of(q{SELECT damoov_fetch_track(NULL::uuid)}), qr/^22023: track token is not a UUID/, '... nor is NULL');
like($node->error_of(qq{SELECT damoov_fetch_track('$track'::uuid, '00000000-0000-0000-0000-000000000000')}), qr/^22023: device token is not a UUID/, '... also of a device');

# Servers that can never work
value(q{CREATE EXTENSION postgres_fdw; CREATE SERVER others TYPE 'kafka' FOREIGN DATA WRAPPER postgres_fdw; ALTER SERVER others OPTIONS (host 'x')})
  if value(q{SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw'});
my $sqs = q{TYPE 'sqs' FOREIGN DATA WRAPPER damoov OPTIONS (queue_url 'https://sqs.eu-west-1.amazonaws.com/123456789012/damoov')};
for my $case (
	[ q{CREATE SERVER x TYPE 'kafka' FOREIGN DATA WRAPPER damoov}, qr/^22023: server type "kafka" is not supported HINT: Create it with one of these types: sqs servicebus/ ],
	[ q{CREATE SERVER x TYPE 'servicebus eventgrid' FOREIGN DATA WRAPPER damoov}, qr/^22023: server type "servicebus eventgrid" is not supported/ ],
	[ q{CREATE SERVER x TYPE 'bus' FOREIGN DATA WRAPPER damoov}, qr/^22023: server type "bus" is not supported/ ],
	[ q{CREATE SERVER x FOREIGN DATA WRAPPER damoov}, qr/^22023: a server of the foreign-data wrapper "damoov" needs a type/ ],
	[ q{CREATE SERVER x TYPE 'servicebus' FOREIGN DATA WRAPPER damoov OPTIONS (queue_url 'x')},
		qr/^HV00D: option "queue_url" does not belong to a server of type "servicebus" HINT: It is an option of these types: sqs\.$/ ],
	[ q{CREATE SERVER x TYPE 'api' FOREIGN DATA WRAPPER damoov OPTIONS (paused 'on')}, qr/^HV00D: option "paused" does not belong to a server of type "api" HINT: It is an option of these types: sqs servicebus/ ],
	[ q{CREATE SERVER x TYPE 'storagequeue' FOREIGN DATA WRAPPER damoov OPTIONS (wait_seconds '1')}, qr/^HV00D: option "wait_seconds" does not belong/ ],
	[ q{CREATE SERVER x TYPE 'servicebus' FOREIGN DATA WRAPPER damoov OPTIONS (identity 'assume_role')}, qr/^22023: a server of type "servicebus" has no identity "assume_role"/ ],
	[ "CREATE SERVER x $sqs; ALTER SERVER x OPTIONS (ADD entity 'q')", qr/^HV00D: option "entity" does not belong to a server of type "sqs"/ ],
	[ q{CREATE SERVER IF NOT EXISTS x TYPE 'kafka' FOREIGN DATA WRAPPER damoov; ALTER SERVER x RENAME TO y; ALTER SERVER y OPTIONS (ADD region 'eu-west-1')}, qr/^no error/ ],
	[ q{SELECT damoov.check_server()}, qr/^0A000|^39P01/ ])
{
	my ($statement, $error) = @$case;

	like($node->error_of($statement), $error, $statement);
}
is(value(q{SELECT srvtype FROM pg_foreign_server WHERE srvname = 'y'}), 'sqs', 'what is refused has not been made or changed');
value('DROP SERVER y');

# The quarantine: what can be stored now, what still cannot, what has another reason
my $good = Damoov::Story::compact(heartbeats(1)->[0]);
value(qq{DELETE FROM damoov.quarantine;
	INSERT INTO damoov.quarantine (source, reason, sqlstate, message, body, body_digest)
	SELECT 'queue', q.reason, '22000', 'x', convert_to(q.body, 'UTF8'), sha256(convert_to(q.body, 'UTF8'))
	FROM (VALUES ('clock_skew', } . Damoov::Node::quoted($good) . qq{), ('clock_skew', '[1'), ('bad_json', '[')) AS q (reason, body)});
is(value(q{SET default_transaction_isolation = 'repeatable read'; CALL damoov_retry_all('clock_skew')}), '1|1', 'what has one reason is tried again');
is(value(q{SELECT string_agg(convert_from(body, 'UTF8'), ' ' ORDER BY quarantine_id) FROM damoov.quarantine}), '[1 [', '... and what still cannot be stored stays');
is(value(q{CALL damoov_retry_all()}), '0|2', 'everything is');
is(value(q{SET search_path = public, pg_temp; CALL damoov_retry_all(); SHOW search_path}), "0|2\npublic, pg_temp", '... and the path stays as it is');
is(value('SELECT min(attempts), max(attempts) FROM damoov.quarantine'), '3|4', '... and each try is counted');

is(value(qq{SELECT string_agg(table_name, ' ' ORDER BY table_name) LIKE '%trips%users' FROM damoov_forget('$driver'::uuid)}), 't', 'a person is forgotten by a uuid');
is(value(qq{SELECT count(*) FROM damoov_forget('$driver')}), 0, '... and a literal is a text');
like($node->error_of(q{SELECT damoov_forget(NULL::uuid)}), qr/^22023: device token is not a UUID/, '... and NULL is nobody');

###########################################################################
# Settings that have no effect
###########################################################################

# While the library is not loaded, anything can be set
value(q{ALTER DATABASE postgres SET damoov.keep_trip = '90d'; ALTER DATABASE postgres SET damoov.keep_events = '90 dais'; ALTER DATABASE postgres SET damoov.keep_crashes = '90d'});
value(q{CREATE ROLE app; ALTER ROLE app IN DATABASE postgres SET damoov.keep_heartbeats = 'x'; ALTER ROLE app SET damoov.other = 1; ALTER ROLE ALL SET damoov.keep_receipts = 'y'});
my $wrong = q{SELECT finding, remedy FROM damoov_check() WHERE finding LIKE 'setting %' ORDER BY finding};
is(value($wrong), join("\n",
	'setting "damoov.keep_events" of this database has no effect: invalid value for parameter "damoov.keep_events": "90 dais"|ALTER DATABASE postgres RESET damoov.keep_events',
	'setting "damoov.keep_heartbeats" of role "app" has no effect: invalid value for parameter "damoov.keep_heartbeats": "x"|ALTER ROLE app IN DATABASE postgres RESET damoov.keep_heartbeats',
	'setting "damoov.keep_receipts" of all roles has no effect: invalid value for parameter "damoov.keep_receipts": "y"|ALTER ROLE ALL RESET damoov.keep_receipts',
	'setting "damoov.keep_trip" of this database has no effect: there is no such setting|ALTER DATABASE postgres RESET damoov.keep_trip',
	'setting "damoov.other" of role "app" has no effect: there is no such setting|ALTER ROLE app RESET damoov.other'), 'the check finds names and values that are wrong');
my $purge = says('CALL damoov_purge()');
is(() = $purge =~ /^WARNING:  setting "damoov\.keep_\w+" of .* has no effect/mg, 4, 'so does a purge');
like($purge, qr/^HINT:  ALTER DATABASE postgres RESET damoov\.keep_trip$/m, '... which names the remedy');
like($purge, qr/^NOTICE:  events: kept for ever$/m, '... and keeps what it is not told to remove');
like($purge, qr/^NOTICE:  crashes: would remove 0$/m, '... but for what is right');
value($_) for map { (split /\|/)[1] } split /\n/, value($wrong);
is(value($wrong), '', 'the remedies help');
unlike(says('CALL damoov_purge()'), qr/WARNING/, '... all');

###########################################################################
# The log of the worker
###########################################################################

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'damoov'\ndamoov.databases = 'postgres'");
$node->restart;
my $log = $node->log_size;
my $began = time;
value(qq{DELETE FROM damoov.forgotten});
for my $round (1 .. 3)
{
	my $before = events();
	publish(heartbeats(2));
	eventually { events() == $before + 2 } 'the worker stores';
}
eventually { $node->log_lines(qr/LOG:  damoov worker for database "postgres": messages: \d+ received \(\d+ stored\); datasets: 0 stored$/, $log) } 'it says what it has done';
cmp_ok(scalar($node->log_lines(qr/damoov worker for database "postgres": messages: /, $log)), '<=', 1 + (time - $began) / 60, '... once a minute at most, however often it stores');

$node->stop;
$cloud->stop;
done_testing();
