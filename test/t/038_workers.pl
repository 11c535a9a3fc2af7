# Several workers of one database: how they share its sources and downloads, and
# what the others do when one of them ends.
#
# DAMOOV_WORKERS_TRIPS=5000 makes the last part longer, DAMOOV_WORKERS_SEED
# chooses who is killed, how and when.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Node;
use Damoov::Stage;
use Damoov::Story;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my ($cloud, $node) = stage(
	'workers',
	databases => 'postgres',
	conf => "damoov.workers_per_database = 2\nmax_worker_processes = 8");
my $driver = driver();

sub set
{
	my ($name, $value) = @_;
	value("ALTER SYSTEM SET $name = '$value'");
	$node->reload;
	return;
}

# Numbers and process ids of the workers that run, by their names.
sub names
{
	my ($database) = @_;
	return value("SELECT string_agg(application_name, ', ' ORDER BY application_name) FROM pg_stat_activity "
		  . "WHERE backend_type = 'damoov worker' AND datname = '"
		  . ($database // 'postgres') . "'");
}

sub pid_of
{
	my ($number) = @_;
	return value("SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'damoov worker $number of %'");
}

# Trips of so many points, numbered from here on; their tracks.
my $trips = 0;

sub send_trips
{
	my ($count, %fault) = @_;
	my @tracks = map { token('trip', ++$trips) } 1 .. $count;

	$cloud->dataset($_, $driver, track_document(3)) for @tracks;
	$cloud->fault('api', 'hold', target => $_, times => undef) for $fault{held} ? @tracks : ();
	publish([ map { enriched($driver, $tracks[$_], $trips * 10 + $_) } 0 .. $#tracks ]);
	return @tracks;
}

sub stored
{
	my (@tracks) = @_;
	return value('SELECT count(*) FROM damoov.trips WHERE track_token IN ('
		  . join(', ', map { "'$_'" } @tracks) . ')');
}

sub waiting_polls
{
	my (@queues) = @_;
	my $count = 0;
	$count += queue($_)->{waiting_polls} for @queues;
	return $count;
}

###########################################################################
# Sources
###########################################################################

eventually { names() eq 'damoov worker 1 of 2, damoov worker 2 of 2' } 'two workers run, by name';
is(value("SELECT workers, worker_problem, worker_pid = ANY (damoov.worker_pids()) FROM damoov.status"),
	'2||t', '... says the status');
like(value("SELECT string_agg(finding, ' ') FROM damoov_check() WHERE topic = 'worker'"),
	qr/^2 background workers serve this database$/, '... and the doctor');

$cloud->create_queue($_) for qw(second third);
add_source(wake => 0);
add_source(name => 'second', queue => 'second', wake => 0);
add_source(name => 'third', queue => 'third', options => { wait_seconds => 20 });
my @queues = qw(damoov second third);
eventually { waiting_polls(@queues) == 3 } 'each source is asked';
my $mark = $cloud->last_request;
eventually { queue('damoov')->{receives} >= 3 } '... again and again';
my %connections;
$connections{ $_->{parameters}{QueueUrl} }{ $_->{connection} } = 1
  for $cloud->requests(since => $mark, target => 'ReceiveMessage');
is(waiting_polls('third'), 1, '... by one of them each');
is(scalar(grep { keys %{ $connections{$_} } > 1 } keys %connections), 0, '... over one connection each');

# A queue that stays full is more than the eight requests of one worker.
sub asked_at_once
{
	return scalar grep { !defined $_->{status} && $_->{parameters}{QueueUrl} =~ m{/damoov$} }
	  $cloud->requests(since => $mark, target => 'ReceiveMessage');
}
$mark = $cloud->last_request;
$cloud->fault('sqs', 'delay', target => 'ReceiveMessage', seconds => 0.5, times => undef);
publish(heartbeats(1500));
eventually { asked_at_once() > 8 } 'another worker helps with a full queue';
$cloud->clear_faults;
eventually { events() == 1500 && in_queue() == 0 } '... until it is empty';
eventually { waiting_polls('damoov') == 1 } '... and leaves it to the first one then';
my $before = events();

# One that does not work, and one that is paused
value("SELECT damoov_pause('third')");
wake("ALTER USER MAPPING FOR CURRENT_USER SERVER second OPTIONS (SET secret_access_key 'wrong')");
status_gets('a source fails', 'second', "state = 'auth_failed'");
status_gets('another is paused', 'third', "state = 'paused'");
publish(heartbeats(20));
eventually { events() == $before + 20 } '... which do not hold up the third';

# A worker ends, and its share is the other's.
for my $number (1, 2)
{
	$before = events();

	ok($node->poll_query_until('postgres', "SELECT cardinality(damoov.worker_pids()) = 2"), 'both run');
	my $pid = pid_of($number);
	kill 'TERM', $pid;
	eventually { !kill 0, $pid } 'one is terminated';
	publish(heartbeats(20));
	eventually { events() == $before + 20 } "without worker $number";
}
value("ALTER USER MAPPING FOR CURRENT_USER SERVER second OPTIONS (SET secret_access_key '" . Damoov::Cloud::SECRET . "');
	SELECT damoov_resume('third')");
$before = events();
publish(heartbeats(5), queue => $_) for qw(second third);
eventually { events() == $before + 10 } 'a source that is mended or resumed goes on, whoever asks it';

###########################################################################
# Downloads
###########################################################################

# As many requests that are not answered as a worker may have
set('damoov.max_downloads', 2);
my @held = send_trips(2, held => 1);
eventually { $cloud->count_requests(target => 'processed') == 2 } 'the platform does not answer';
my @others = send_trips(10);
eventually { stored(@others) == 10 } '... the other worker fetches what comes then';
is(stored(@held), 0, '... before the first ones are here');

# A worker ends for good.  What it has leased for minutes is taken over, and
# sooner than by those who look for the leases of all sessions each minute.
push @held, send_trips(2, held => 1);
eventually { value('SELECT count(DISTINCT leased_by) FROM damoov.downloads') == 2 } 'each worker has leased some';
set('damoov.workers_per_database', 1);
eventually { names() eq 'damoov worker' } '... and one of them ends';
$cloud->clear_faults;
eventually { stored(@held) == 4 } '... whose downloads are the other one\'s', 40;
set('damoov.max_downloads', 8);
set('damoov.workers_per_database', 2);
eventually { names() eq 'damoov worker 1 of 2, damoov worker 2 of 2' } '... which gets another beside it';

# One whose rows another session has locked does not hold up the others.
value('CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
	PERFORM pg_advisory_xact_lock_shared(38); RETURN NEW; END$$;
	CREATE TRIGGER stop BEFORE INSERT ON damoov.trips FOR EACH ROW
	WHEN (NEW.point_count = 4) EXECUTE FUNCTION stop()');
my $blocker = $node->background_psql('postgres');
$blocker->query_safe('SELECT pg_advisory_lock(38)');
my $track = token('trip', ++$trips);
$cloud->dataset($track, $driver, track_document(4));
publish([ enriched($driver, $track, 5000) ]);
ok($node->poll_query_until('postgres', "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 38 AND NOT granted)"),
	'a worker waits for a lock');
@others = send_trips(20);
eventually { stored(@others) == 20 } '... others are stored meanwhile';
$blocker->query_safe('SELECT pg_advisory_unlock(38)');
$blocker->quit;
eventually { stored($track) == 1 } '... and that one when it may';
value('DROP FUNCTION stop() CASCADE');

###########################################################################
# More, fewer, too many
###########################################################################

set('damoov.workers_per_database', 3);
eventually { names() eq join ', ', map { "damoov worker $_ of 3" } 1 .. 3 } 'a third one is started';
set('damoov.workers_per_database', 20);
eventually {
	value('SELECT DISTINCT worker_problem FROM damoov.status') =~
	  /^worker \d+ of 20 does not run: no background worker slot is free/
} 'there are fewer places than workers wanted';
like(value("SELECT format('%s|%s|%s', level, finding, remedy) FROM damoov_check() WHERE topic = 'worker'"),
	qr/^warning\|worker \d+ of 20 does not run: no background worker slot is free.*\|ALTER SYSTEM SET max_worker_processes = 16 -- and restart the server$/,
	'... says the doctor');
cmp_ok(value('SELECT DISTINCT workers FROM damoov.status'), '>', 1, '... though some run');
$before = events();
publish(heartbeats(5), queue => $_) for @queues;
eventually { events() == $before + 15 } '... and ask all sources';
set('damoov.workers_per_database', 1);
eventually { names() eq 'damoov worker' } 'one is left';
publish(heartbeats(5), queue => $_) for @queues;
eventually { events() == $before + 30 } '... which asks all sources';
set('damoov.workers_per_database', 2);
eventually { names() eq 'damoov worker 1 of 2, damoov worker 2 of 2' } '... and is joined by a second one';

# The launcher ends: the next one starts workers of its own, beside none.
my %old = map { $_ => 1 } split /,/, value("SELECT array_to_string(damoov.worker_pids(), ',')");
kill 'TERM', value("SELECT pid FROM pg_stat_activity WHERE backend_type = 'damoov launcher'");
eventually {
	my @pids = split /,/, value("SELECT string_agg(pid::text, ',') FROM pg_stat_activity WHERE backend_type = 'damoov worker'");
	@pids == 2 && !grep { $old{$_} } @pids
} 'another launcher has started two others';

# A database is taken away, or gets another name.
value('CREATE DATABASE other');
value('CREATE EXTENSION damoov', 'other');
set('damoov.databases', 'postgres, other');
eventually { names('other') eq 'damoov worker 1 of 2, damoov worker 2 of 2' } 'another database has two of its own';
set('damoov.databases', 'postgres');
eventually { names('other') eq '' } '... which let go';
value('ALTER DATABASE other RENAME TO renamed');
set('damoov.databases', 'postgres, renamed');
eventually { names('renamed') eq 'damoov worker 1 of 2, damoov worker 2 of 2' } '... so that it can be renamed';
value('DROP DATABASE renamed WITH (FORCE)');
eventually { names('renamed') eq '' } '... or dropped';
set('damoov.databases', 'postgres');

###########################################################################
# Killed at random
###########################################################################

my $wanted = $ENV{DAMOOV_WORKERS_TRIPS} || 300;
my $seed = $ENV{DAMOOV_WORKERS_SEED} || 11;
my $kills = $wanted >= 1000 ? 24 : 5;
srand $seed;
value("DROP SERVER $_ CASCADE") for qw(second third);
create(undef, visibility_timeout => 5);
eventually { names() eq 'damoov worker 1 of 2, damoov worker 2 of 2' } 'two workers run';

$before = events();
my $trips_before = value('SELECT count(*) FROM damoov.trips');
value("SELECT damoov_pause('queue')");
eventually { waiting_polls('damoov') == 0 } '... and ask for nothing yet';
my @stories = map {
	$cloud->fleet(drivers => 30, trips => 10, points => 12, seed => 1000 * $seed + $_, shuffle => $seed)
} 1 .. POSIX::ceil($wanted / 300);
my ($expected, $distinct) = (0, 0);
for my $story (@stories)
{
	$expected += @{ $story->{trips} };
	$distinct += $story->{distinct_notifications};
}
value("SELECT damoov_resume('queue')");
my $began = time;
$cloud->fault('api', 'delay', seconds => 0.1, times => undef);
my @killed;

# Of the running ones any, when so many trips are stored; one statement, for the
# server may be starting again.
for my $kill (1 .. $kills)
{
	my $threshold = int(($kill - 0.5 + rand(0.5)) * $expected / ($kills + 1));
	my $victim = int rand 2;
	my $signal = rand() < 0.34 ? 'KILL' : 'TERM';
	my $end = time + 90;

	while (time < $end)
	{
		my ($now, $pids) = split /\|/,
		  answer("SELECT (SELECT count(*) FROM damoov.trips) - $trips_before, array_to_string(damoov.worker_pids(), ',')");
		my @pids = split /,/, $pids // '';

		if (@pids && $now >= $threshold)
		{
			kill $signal, $pids[ $victim % @pids ];
			push @killed, "$signal at $now";
			last;
		}
		usleep(5_000);
	}
}
is(scalar @killed, $kills, "$expected trips, seed $seed: " . join ', ', @killed);
$cloud->clear_faults;

sub answer
{
	my ($sql) = @_;
	my ($code, $out) = $node->psql('postgres', $sql);
	return $code == 0 ? $out : '';
}
eventually { answer('SELECT count(*) = 0 FROM damoov.downloads') eq 't' && in_queue() == 0 }
'nothing is left in the queue or to be fetched', 600;
note(sprintf '%d trips in %.1f seconds', $expected, time - $began);
story_is_complete('killed at random', $_) for @stories;
is(value('SELECT count(*) FROM damoov.trips') - $trips_before, $expected, 'each trip is stored once');
is(events() - $before, $distinct, '... each notification');
is(value('SELECT count(*) FROM (SELECT FROM damoov.events GROUP BY event, object_id, user_id, sent_text HAVING count(*) > 1) AS twice'),
	0, '... none twice');
is(value('SELECT count(*) FROM (SELECT FROM damoov.trips GROUP BY track_token HAVING count(*) > 1) AS twice'),
	0, '... no trip twice');
is(value('SELECT count(*) FROM damoov.trip_points AS p WHERE NOT EXISTS (SELECT FROM damoov.trips AS t WHERE t.trip_id = p.trip_id)') ,
	0, '... no points without their trip');
is(value('SELECT count(*) FROM damoov.quarantine'), 0, '... nothing in the quarantine');
is(value('SELECT bool_and(balanced) FROM damoov.ledger'), 't', '... the ledger is balanced');

done_testing();
