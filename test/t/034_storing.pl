# What cannot be stored holds up nothing else: a message, a dataset, a source; locks,
# triggers and constraints of users; and the error stands where it belongs.  What is
# settled or answered is on disk.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Node;
use Damoov::Stage;
use Damoov::Story;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my ($cloud, $node) = stage(
	'storing',
	databases => 'postgres',
	conf => "wal_writer_delay = 10s\nautovacuum = off");
my $driver = driver();
my $seconds = 0;

$cloud->create_queue($_) for qw(one two);
add_source(name => $_, queue => $_) for qw(one two);
eventually { worker_pid() } 'a worker runs';
my $worker = worker_pid();

sub beat
{
	my ($person) = @_;
	return heartbeat($person // $driver, ++$seconds);
}

sub send_to
{
	my ($queue, @notifications) = @_;
	publish(\@notifications, queue => $queue);
	return;
}

sub beats
{
	my ($person) = @_;
	return value('SELECT count(*) FROM damoov.heartbeats JOIN damoov.users USING (user_id)'
		  . ($person ? " WHERE device_token = '$person'" : ''));
}

sub quarantined
{
	return value(
		"SELECT string_agg(source || ' ' || reason || ' ' || sqlstate || ' ' || message, ', ' ORDER BY quarantine_id) FROM damoov.quarantine");
}

# Nothing is left anywhere, and the worker is the one that it was.
sub all_is_settled
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	eventually { in_queue('one') + in_queue('two') == 0 } "$name: the queues are empty";
	eventually {
		value("SELECT count(*) FROM damoov.sources WHERE state = 'polling' AND last_error IS NULL") == 2
	} '... the sources say that all is well';
	is(worker_pid(), $worker, '... and the worker is the same');
	is(value('SELECT bool_and(balanced) FROM damoov.ledger'), 't', '... and the ledger balances');
	value('TRUNCATE damoov.quarantine');
	return;
}

# A statement of a user, in a transaction that stays open.
sub open_transaction
{
	my ($sql) = @_;
	my $session = $node->background_psql('postgres');
	$session->query_safe("BEGIN; $sql");
	return $session;
}

sub close_transaction
{
	my ($session) = @_;
	$session->query_safe('COMMIT');
	$session->quit;
	return;
}

sub trigger
{
	my ($table, $when, $body) = @_;
	value("CREATE OR REPLACE FUNCTION users_own() RETURNS trigger LANGUAGE plpgsql AS
			\$\$BEGIN $body; RETURN NULL; END\$\$;
		CREATE TRIGGER users_own AFTER INSERT ON damoov.$table FOR EACH ROW $when EXECUTE FUNCTION users_own()");
	return;
}

sub drop_trigger
{
	my ($table) = @_;
	value("DROP TRIGGER users_own ON damoov.$table");
	return;
}

sub when_charged
{
	my ($percent) = @_;
	return "WHEN (NEW.charge_percent = $percent)";
}

sub charged
{
	my ($percent) = @_;
	my $beat = beat();
	$beat->{Details}{ChargeLevel} = $percent;
	return $beat;
}

###########################################################################
# Locks
###########################################################################

# Somebody's new person is not committed: others of the same source and of another
# one go on, and what waits is stored when it can be.
my ($held, $free) = (token('held'), token('free'));
my $session = open_transaction('SELECT count(*) FROM damoov_ingest(' . Damoov::Node::quoted(compact(beat($held))) . ')');
send_to('one', beat($held), beat($free), beat($held));
send_to('two', beat($free));
eventually { beats($free) == 2 } 'a person is locked: others are stored, of the same source and of another', 20;
eventually { status('one', 'state, last_error') =~ /^retrying\|could not store messages: .*lock timeout/ }
'... and the source says why it waits';
like(status('two', 'state, last_error'), qr/^polling\|$/, '... the other has no trouble');
my $began = time;
send_to('two', beat($free)) for 1 .. 5;
eventually { beats($free) == 7 } '... which goes on', 20;
cmp_ok(time - $began, '<', 8, '... and is held up little');
close_transaction($session);
eventually { beats($held) == 3 } '... and what was held is stored when it can be';
all_is_settled('a locked person');

# A row of damoov.sources is locked: only its status waits.
$session = open_transaction("SELECT damoov_pause('two')");
my $before = beats();
send_to('one', beat());
send_to('two', beat());
eventually { beats() == $before + 2 } 'a status is locked: all is stored', 20;
$session->query_safe('ROLLBACK');
$session->quit;
all_is_settled('a locked status');

# Datasets: their tables are locked, or the row of a download.
my ($kept, $other) = (token('kept'), token('other'));
$cloud->dataset($_, $driver, track_document(3)) for $kept, $other;
$session = open_transaction('LOCK TABLE damoov.trip_points IN SHARE MODE');
send_to('one', enriched($driver, $kept, 10));
eventually { value("SELECT last_error FROM damoov.downloads WHERE object_id = '$kept'") =~ /could not store the dataset: .*lock timeout/ }
'trips are locked: the download says so', 20;
$before = beats();
send_to($_, beat()) for qw(one two);
eventually { beats() == $before + 2 } '... notifications go on', 20;
is(value("SELECT count(*) FROM damoov.sources WHERE state = 'polling' AND last_error IS NULL"), 2, '... of sources without trouble');
close_transaction($session);
eventually { value("SELECT count(*) FROM damoov.trips WHERE track_token = '$kept'") == 1 } '... and the trip is stored when it can be';
value("INSERT INTO damoov.downloads (kind, object_id, user_id, source, priority, due_at)
	SELECT 'processed', '$kept', user_id, 'one', 20, now() + interval '1 day' FROM damoov.users WHERE device_token = '$driver'");
$session = open_transaction("UPDATE damoov.downloads SET due_at = now() WHERE object_id = '$kept'");
send_to('one', enriched($driver, $other, 10), enriched($driver, $kept, 20));
send_to('two', beat());
eventually { value("SELECT count(*) FROM damoov.trips WHERE track_token = '$other'") == 1 && beats() == $before + 3 }
'a download is locked: others go on', 20;
close_transaction($session);
eventually { value("SELECT revision FROM damoov.trips WHERE track_token = '$kept'") == 2 } '... and it is stored when it can be';
all_is_settled('locked datasets');

###########################################################################
# Triggers
###########################################################################

# A table that is missing: the message that meets it goes to the quarantine when
# others are stored, and all wait when none is.
trigger('heartbeats', when_charged(66), 'INSERT INTO no_table VALUES (1)');
$before = beats();
send_to('one', beat(), charged(66), beat());
eventually { beats() == $before + 2 } 'a trigger fails for one message: others are stored';
send_to('one', beat());
eventually { quarantined() ne '' } '... and it goes to the quarantine';
like(quarantined(), qr/^one store_failed 42P01 could not store notification: relation "no_table" does not exist$/, '... with its error');
all_is_settled('a trigger that fails for one');
drop_trigger('heartbeats');

for my $error ("'INSERT INTO no_table VALUES (1)'", "'RAISE EXCEPTION ''on purpose'''", "'RAISE not_null_violation'")
{
	trigger('heartbeats', '', "EXECUTE format('DO \$x\$ BEGIN %s; END \$x\$', " . $error . ')');
	$before = beats();
	send_to('one', map { beat() } 1 .. 4);
	eventually { status('one', 'state, last_error') =~ /^retrying\|could not store messages: / } "$error for all: the source waits, and says why";
	my $number = value("SELECT last_error_at FROM damoov.sources WHERE source = 'one'");
	send_to('one', beat());
	eventually { value("SELECT last_error_at > '$number'::timestamptz + interval '5 seconds' FROM damoov.sources WHERE source = 'one'") eq 't' }
	'... for a while';
	cmp_ok(value('SELECT count(*) FROM damoov.quarantine'), '<=', 1, '... without sending all to the quarantine') or diag(quarantined());
	drop_trigger('heartbeats');
	my $kept = value('SELECT count(*) FROM damoov.quarantine');
	eventually { beats() == $before + 5 - $kept } '... and all are stored when it is mended';
	all_is_settled('a trigger that fails for all');
}

# Alone, and refused again and again
trigger('heartbeats', when_charged(66), "RAISE EXCEPTION 'on purpose'");
send_to('two', charged(66));
eventually { quarantined() eq 'two store_failed P0001 could not store notification: on purpose' } 'one that comes alone goes to the quarantine';
all_is_settled('one alone');
drop_trigger('heartbeats');

# A dataset
trigger('trips', '', 'INSERT INTO no_table VALUES (1)');
my $trip = token('trip');
$cloud->dataset($trip, $driver, track_document(3));
$before = beats();
send_to('one', enriched($driver, $trip, 10), beat());
eventually { value("SELECT state, last_status, last_error FROM damoov.downloads WHERE object_id = '$trip'") =~
	  /^waiting\|200\|could not store the dataset: relation "no_table" does not exist$/ } 'a trip cannot be stored: its download says why';
send_to($_, beat()) for qw(one two);
eventually { beats() == $before + 3 } '... notifications go on';
drop_trigger('trips');
value('SELECT damoov_retry_downloads()');
eventually { value("SELECT count(*) FROM damoov.trips WHERE track_token = '$trip'") == 1 } '... and it is stored when that is mended';
all_is_settled('a trip');

# The worker is cancelled while it stores.
$session = open_transaction('LOCK TABLE damoov.events IN SHARE MODE');
$before = beats();
send_to('one', beat());
eventually { value("SELECT count(*) FROM pg_locks WHERE pid = $worker AND NOT granted") > 0 && value("SELECT pg_cancel_backend($worker)") }
'the worker is cancelled while it waits';
close_transaction($session);
eventually { beats() == $before + 1 } '... and goes on';
all_is_settled('cancelled');

###########################################################################
# What shows at the commit
###########################################################################

# A constraint that is checked then isolates one message, and one dataset; so it does
# in a call, and at a push.
value('CREATE TABLE bonus (trip_id bigint REFERENCES damoov.trips DEFERRABLE INITIALLY DEFERRED);
	INSERT INTO bonus SELECT trip_id FROM damoov.trips WHERE track_token IN (' . "'$kept', '$other', '$trip')");
my @merged = map { token('merged', $_) } 1 .. 3;
$cloud->dataset($_, $driver, track_document(3)) for @merged;
$before = beats();
send_to('one', enriched($driver, $merged[0], 100, removed => [$kept]), beat());
send_to('two', beat());
eventually { beats() == $before + 2 } 'a merge fails at its commit: others are stored';
like(quarantined(), qr/^one store_failed 23503 could not store notification: update or delete on table "trips"/, '... and the merge is in the quarantine');
all_is_settled('a deferred constraint');

# What only the commit itself shows: nothing of it is settled, and it is stored again.
value("CREATE SEQUENCE tries;
	CREATE FUNCTION fail_once() RETURNS trigger LANGUAGE plpgsql AS
		\$\$BEGIN IF nextval('public.tries') = 2 THEN RAISE EXCEPTION 'not this time'; END IF; RETURN NULL; END\$\$;
	CREATE CONSTRAINT TRIGGER fail_once AFTER INSERT ON damoov.heartbeats
		DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail_once()");
$before = beats();
send_to('one', beat());
eventually { value('SELECT last_value FROM tries') >= 4 } 'a commit fails, and what it was to store is tried again';
eventually { beats() == $before + 1 } '... until it is stored';
is(value('SELECT count(*) FROM damoov.quarantine'), 0, '... since it is not to blame');
value('DROP TRIGGER fail_once ON damoov.heartbeats');
all_is_settled('a commit that fails');

value('CREATE FUNCTION check_later() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN
		INSERT INTO seen VALUES (NEW.trip_id);
		IF NEW.distance_km = 66 THEN RAISE EXCEPTION $x$not this one$x$; END IF;
		RETURN NULL;
	END$$;
	CREATE TABLE seen (trip_id bigint);
	CREATE CONSTRAINT TRIGGER check_later AFTER INSERT ON damoov.trips DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION check_later()');
my ($bad, $good) = (token('bad'), token('good'));
$cloud->dataset($bad, $driver, track_document(3, Distance => 66));
$cloud->dataset($good, $driver, track_document(3));
send_to('one', enriched($driver, $_, 10)) for $bad, $good;
eventually { value("SELECT count(*) FROM damoov.trips WHERE track_token = '$good'") == 1 } 'a constraint trigger refuses a trip: another is stored';
is(value('SELECT count(*) FROM seen'), 1, '... for which it ran once, with the search_path of the session');
eventually { value("SELECT last_error FROM damoov.downloads WHERE object_id = '$bad'") eq 'could not store the dataset: not this one' }
'... and the download says why';
value("DROP TRIGGER check_later ON damoov.trips; DELETE FROM damoov.downloads");
all_is_settled('a constraint trigger');

$node->sql(q{CREATE SERVER push TYPE 'webhook' FOREIGN DATA WRAPPER damoov;
	CREATE USER MAPPING FOR CURRENT_USER SERVER push OPTIONS (webhook_secret 'ALongRandomText')});

sub push_
{
	my ($body) = @_;
	return "SELECT a ->> 'status', a ->> 'body' FROM damoov_webhook(convert_to("
	  . Damoov::Node::quoted($body)
	  . q{, 'UTF8'), '{"Authorization": "ALongRandomText"}') AS a};
}

$before = beats();
my $both = '[' . join(', ', map { compact($_) } enriched($driver, $merged[1], 100, removed => [$other]), beat()) . ']';
like(value(push_($both)), qr/^200\|.*"stored": 1.*"quarantined": 1/, 'a push of two, one of which would fail at the commit');
is(beats(), $before + 1, '... stores the other');
value('TRUNCATE damoov.quarantine');

# What the application itself has left to be mended by its commit is not the push's fault.
my $next = value("SELECT max(trip_id) + 1000 FROM damoov.trips");
like(value("BEGIN; INSERT INTO bonus VALUES ($next); " . push_(compact(beat())) . "; DELETE FROM bonus WHERE trip_id = $next; COMMIT"),
	qr/^200\|.*"stored": 1/, 'a push inside of a transaction that is not in order yet');
is(beats(), $before + 2, '... is stored');
value('DELETE FROM bonus');

###########################################################################
# Whatever the database's defaults are
###########################################################################

value('CREATE TABLE how (isolation text, times int DEFAULT 1)');
trigger('heartbeats', '', 'INSERT INTO public.how VALUES (current_setting($x$transaction_isolation$x$))');
value('ALTER DATABASE postgres SET default_transaction_isolation = serializable;
	ALTER DATABASE postgres SET synchronous_commit = off');
$node->restart;
eventually { worker_pid() } 'a worker runs';
$worker = worker_pid();
send_to('one', beat());
eventually { value('SELECT count(*) FROM how') == 1 } 'the worker stores';
value("SELECT damoov_pause('one'), damoov_pause('two')");
wake();
eventually { value("SELECT count(*) FROM damoov.sources WHERE state = 'paused'") == 2 } '... and is paused';
value("CALL damoov_poll('one', 1)");
value("ALTER SERVER one OPTIONS (SET wait_seconds '0')");

# With no worker
$node->adjust_conf('postgresql.conf', 'damoov.databases', "''");
$node->restart;
value("SELECT damoov_resume('one'), damoov_resume('two')");
send_to('one', beat());
value("CALL damoov_poll('one', 5)");
is(value('SELECT string_agg(isolation, $$ $$) FROM how'), 'read committed read committed', 'worker and CALL run READ COMMITTED');
drop_trigger('heartbeats');
value('ALTER DATABASE postgres RESET default_transaction_isolation');

# A crash right after the answer or the settlement loses nothing, though the
# database commits lazily.
$node->append_conf('postgresql.conf', 'fsync = on');
for my $door ('damoov_webhook()', 'damoov_ingest()', 'damoov_poll()', 'the worker')
{
	my $body = beat();

	value('CHECKPOINT');
	$before = beats();
	if ($door eq 'the worker')
	{
		$node->adjust_conf('postgresql.conf', 'damoov.databases', "'postgres'");
		$node->restart;
		eventually { worker_pid() } 'a worker runs';
		value('CHECKPOINT');
	}
	if ($door =~ /webhook/)
	{
		like(value(push_(compact($body))), qr/^200\|.*"stored": 1/, "$door answers");
	}
	elsif ($door =~ /ingest/)
	{
		is(value('SELECT outcome FROM damoov_ingest(' . Damoov::Node::quoted(compact($body)) . ')'), 'stored', "$door answers");
	}
	else
	{
		my $deleted = queue('one')->{deleted};
		send_to('one', $body);
		value("CALL damoov_poll('one', 5)") if $door =~ /poll/;
		eventually { queue('one')->{deleted} == $deleted + 1 } "$door settles";
	}
	$node->stop('immediate');
	$node->start;
	is(beats(), $before + 1, '... and a crash of the server loses nothing');
}

$node->stop;
done_testing();
