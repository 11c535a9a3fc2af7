# Every class of error at every door, inside and outside of a transaction block: what a
# user's trigger raises is answered as it should be, and leaves nothing behind in the
# session.  What is answered as stored afterwards is stored.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Node;
use Damoov::Stage;
use Damoov::Story;
use PostgreSQL::Test::Utils;
use Test::More;

my ($cloud, $node) = stage('sqlstates', preload => 0);
my $driver = driver();
my $second = 0;

# What may be gone by itself, and what somebody has to mend, which a push has to wait for.
my %passing = map { $_ => 1 } qw(08006 40001 40P01 53100 53200 55P03 57014 57P01 58030);
my %waits = (%passing, map { $_ => 1 } qw(42501 42P01));
my @states = (
	sort keys %waits,
	qw(03000 09000 0A000 0B000 0F000 0L000 0P000 0Z000 20000 21000 22012 22023 23502 23505 24000 25006
	  25P02 26000 27000 28000 2B000 2D000 2F000 34000 38000 39000 3B000 3D000 3F000 44000 54000 55000
	  55006 72000 F0000 HV000 P0001 P0004 XX000 XX001));
$waits{'25006'} = $passing{'25006'} = 1;

add_source(options => { wait_seconds => 0 });
$node->sql(q{CREATE SERVER push TYPE 'webhook' FOREIGN DATA WRAPPER damoov;
	CREATE USER MAPPING FOR CURRENT_USER SERVER push OPTIONS (webhook_secret 'ALongRandomText');
	CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF current_setting('test.sqlstate', true) <> '' THEN
			RAISE EXCEPTION 'on purpose' USING ERRCODE = current_setting('test.sqlstate');
		END IF;
		RETURN NEW;
	END $$;
	CREATE TRIGGER fail BEFORE INSERT ON damoov.heartbeats FOR EACH ROW EXECUTE FUNCTION fail();
	CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON damoov.trips FOR EACH ROW EXECUTE FUNCTION fail()});

my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_safe('\set VERBOSITY sqlstate');

# Output and errors of a statement in the one session of this test.
sub run
{
	my ($sql) = @_;
	$session->{stderr} = '';
	my $output = $session->query($sql);
	return $output . $session->{stderr};
}

sub fails_with
{
	my ($sqlstate) = @_;
	run("SET test.sqlstate = '$sqlstate'");
	return;
}

sub beat
{
	return compact(heartbeat($driver, ++$second));
}

sub push_
{
	my ($body) = @_;
	return "SELECT a ->> 'status', a ->> 'body' FROM damoov_webhook(convert_to("
	  . Damoov::Node::quoted($body)
	  . q{, 'UTF8'), '{"Authorization": "ALongRandomText"}') AS a};
}

sub ingest
{
	my ($body) = @_;
	return 'SELECT outcome FROM damoov_ingest(' . Damoov::Node::quoted($body) . ')';
}

# Is the session out of any transaction, and is what it stores stored?
sub works_afterwards
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $before = value('SELECT count(*) FROM damoov.heartbeats');
	my $problems = run('BEGIN') . run('ROLLBACK');
	my $answer = run(push_(beat()));

	is( join(' ', $problems, $answer =~ /^(200)\|.*"stored": 1/, value('SELECT count(*) FROM damoov.heartbeats') - $before),
		' 200 1', "$name: the session goes on, and stores")
	  or diag("$problems$answer");
	return;
}

###########################################################################
# SQL doors
###########################################################################

value("INSERT INTO damoov.quarantine (source, reason, sqlstate, message, body, body_digest)
	SELECT 'sql', 'bad_json', '22P02', 'made', b, sha256(b) FROM convert_to('${\ beat()}', 'UTF8') AS b");
my $track = token('track');
run(ingest(compact(enriched($driver, $track, 5000))));
my $document = Damoov::Node::quoted(compact(track_document(3)));

for my $state (@states)
{
	my $expected = $waits{$state} ? qr/^503\|/ : qr/^200\|.*"stored": 0.*"quarantined": 1/;

	fails_with($state);
	like(run(push_(beat())), $expected, "$state at damoov_webhook()");
	fails_with('');
	works_afterwards("$state at damoov_webhook()");

	my %call = (
		'damoov_ingest()' => ingest(beat()),
		'damoov_retry()' => 'SELECT outcome FROM damoov_retry((SELECT min(quarantine_id) FROM damoov.quarantine))',
		'damoov.store_dataset()' => "SELECT damoov.store_dataset('processed', '$track', $document)");
	for my $door (sort keys %call)
	{
		fails_with($state);
		like(run($call{$door}), qr/ERROR:\s+$state/, "$state at $door");
		fails_with('');
	}
	works_afterwards("$state at others");

	# in a block: the application's own row, a push that fails, one that does not
	my $before = value('SELECT count(*) FROM damoov.heartbeats');
	my @said = map { run($_) } 'CREATE TABLE IF NOT EXISTS app (n int)', 'BEGIN', 'INSERT INTO app VALUES (1)',
	  "SET LOCAL test.sqlstate = '$state'", push_(beat()), "SET LOCAL test.sqlstate = ''", push_(beat()), 'SAVEPOINT s',
	  "SET LOCAL test.sqlstate = '$state'", ingest(beat()), 'ROLLBACK TO s', "SET LOCAL test.sqlstate = ''", ingest(beat()),
	  'COMMIT';
	like($said[4], $expected, "$state in a block");
	like($said[6], qr/^200\|.*"stored": 1/, '... another push is stored');
	is(value('SELECT count(*) FROM damoov.heartbeats') - $before, 2, '... and stays, and what is ingested after a savepoint');
	is(value('SELECT count(*) FROM app'), 1, '... with the rows of the application');
	run('DELETE FROM app');
	works_afterwards("$state in a block");
}

###########################################################################
# CALL damoov_poll()
###########################################################################

for my $state (qw(22012 23505 40001 42P01 53100 55P03 57014 57P01 P0001 XX000))
{
	my $before = value('SELECT count(*) FROM damoov.heartbeats');
	my $kept = value('SELECT count(*) FROM damoov.quarantine');

	create('damoov', visibility_timeout => 1);
	publish([ beat() ]);
	fails_with($state);
	unlike(run("CALL damoov_poll('queue', 1)"), qr/ERROR/, "$state at damoov_poll() does not end it");
	fails_with('');
	is(value('SELECT count(*) FROM damoov.heartbeats') - $before, 0, '... nothing is stored');
	is(value('SELECT count(*) FROM damoov.quarantine') - $kept, $state eq '22012' ? 1 : 0,
		'... but bad data in the quarantine');
	works_afterwards("$state at damoov_poll()");
	eventually { run("CALL damoov_poll('queue', 1)"); in_queue() == 0 } '... it is stored the next time, or settled';
	is(value('SELECT count(*) FROM damoov.heartbeats') - $before, $state eq '22012' ? 1 : 2, '... once');
}

# Cancelled while it stores: that ends the call, and nothing more.
my $blocker = $node->background_psql('postgres');
$blocker->query_safe('BEGIN; LOCK TABLE damoov.heartbeats');
publish([ beat() ]);
my $pid = run('SELECT pg_backend_pid()');
my $canceller = $node->start_sql(
	"DO \$\$ BEGIN
		FOR i IN 1 .. 6000 LOOP
			EXIT WHEN EXISTS (SELECT FROM pg_locks WHERE pid = $pid AND NOT granted);
			PERFORM pg_sleep(0.01);
		END LOOP;
		PERFORM pg_cancel_backend($pid);
	END \$\$");
like(run("CALL damoov_poll('queue', 60)"), qr/ERROR:\s+57014/, 'a call that stores is cancelled');
$node->finish_sql($canceller);
$blocker->query_safe('ROLLBACK');
$blocker->quit;
works_afterwards('cancelled');

$session->quit;
$node->stop;
done_testing();
