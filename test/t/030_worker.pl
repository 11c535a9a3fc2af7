# The launcher and its workers: who runs, for how long, at what cost, and what
# is left when one of them is killed.

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
use Time::HiRes qw(time);

my ($cloud, $node) = stage(
	'worker',
	databases => 'postgres, second, later',
	allows_streaming => 1);
my $driver = driver();

# Does the worker of the database take what is sent?
sub receives
{
	my ($name, $database, $queue, $seconds) = @_;
	my $before = events($database);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	publish(heartbeats(3), $queue ? (queue => $queue) : ());
	eventually { events($database) == $before + 3 } $name, $seconds;
}

sub waiting_polls
{
	return queue()->{waiting_polls};
}

sub processes
{
	my ($type, $database) = @_;
	return value("SELECT count(*) FROM pg_stat_activity WHERE backend_type = '$type'"
		  . ($database ? " AND datname = '$database'" : ''));
}

sub log_count
{
	my ($pattern, $offset) = @_;
	return scalar $node->log_lines($pattern, $offset);
}

###########################################################################
# Starting
###########################################################################

is(processes('damoov launcher'), 1, 'a launcher runs');
eventually { processes('damoov worker') == 1 } 'a worker runs';
is(worker_pid(),
	value("SELECT pid FROM pg_stat_activity WHERE backend_type = 'damoov worker'"),
	'... and the database knows its process id');
add_source(wake => 0);
receives('a new source is found by itself');

publish(heartbeats(1));
eventually { events() == 4 } 'a notification is stored';

# A trip, end to end
my $track = token('trip');
$cloud->dataset($track, $driver, track_document(20));
publish([ enriched($driver, $track, 100) ]);
eventually { value('SELECT sum(point_count) FROM damoov.trips') eq '20' }
'a trip is stored';

# Databases that are not there yet
is(log_count('could not start damoov worker for database "second": the database does not exist'),
	1, 'a database that does not exist is missed, once');
$cloud->create_queue('second');
value('CREATE DATABASE second');
value('CREATE EXTENSION damoov', 'second');
add_source(database => 'second', queue => 'second');
receives('... and is served when it was created', 'second', 'second');
is(log_count('database "later": the database does not exist'),
	1, '... while the other is still missed, quietly');
receives('each database has its own worker', 'postgres');
isnt(worker_pid(), worker_pid('second'), '... of its own');

# Which databases are served may change.
$node->adjust_conf('postgresql.conf', 'damoov.databases', "'postgres'");
$node->reload;
eventually { processes('damoov worker', 'second') == 0 }
'a database that is not listed any more loses its worker';
$node->adjust_conf('postgresql.conf', 'damoov.databases', "'postgres, second'");
$node->reload;
eventually { processes('damoov worker', 'second') == 1 }
'... and gets it back';
receives('... which works', 'second', 'second');

###########################################################################
# A queue that stays full
###########################################################################

# The service is asked how much waits, and the status says until when.
$cloud->fault('sqs', 'delay', target => 'ReceiveMessage', seconds => 0.5, times => undef);
publish(heartbeats(1200));
eventually {
	value("SELECT backlog BETWEEN 1 AND 1200 AND messages_per_second > 0 AND drained_at > last_poll_at "
		  . "FROM damoov.status WHERE source = 'queue'") eq 't'
} 'a busy worker knows how many messages wait, and until when';
my $asked = $cloud->requests(target => 'GetQueueAttributes');
cmp_ok($asked, '<=', 3, '... and seldom asks');
$cloud->clear_faults;
eventually { queue()->{visible} + queue()->{in_flight} == 0 } '... until the queue is empty';
eventually {
	value("SELECT backlog IS NULL AND drained_at IS NULL AND messages_per_second > 0 "
		  . "FROM damoov.status WHERE source = 'queue'") eq 't'
} '... then nothing waits';

# A key that has no right to be told works as before.
my $mark = $cloud->last_request;
$cloud->fault('sqs', 'error', target => 'GetQueueAttributes', status => 403, code => 'AccessDenied', times => undef);
$cloud->fault('sqs', 'delay', target => 'ReceiveMessage', seconds => 0.5, times => undef);
my $log_size = $node->log_size;
my $stored = events();
value('ALTER SERVER queue OPTIONS (ADD batch_size $$9$$)');    # a new look, at once
publish(heartbeats(1200));
eventually { $cloud->requests(since => $mark, target => 'GetQueueAttributes', status => 403) } 'a key may not know how many messages wait';
$cloud->clear_faults;
eventually { events() == $stored + 1200 } '... and receives all the same';
is($cloud->requests(since => $mark, target => 'GetQueueAttributes'), 1, '... it is asked once');
is($node->log_lines('could not|differs', $log_size), 0, '... without a word in the log');
value('ALTER SERVER queue OPTIONS (DROP batch_size)');

###########################################################################
# Idle
###########################################################################

sub ticks
{
	my ($pid) = @_;
	my @fields = split ' ',
	  (slurp_file("/proc/$pid/stat") =~ s/^.*\) //sr);
	return $fields[11] + $fields[12];
}

# six polls of a second each
my $pid = worker_pid();
my $polls = queue()->{receives};
eventually { queue()->{receives} > $polls } 'an idle worker polls';
$mark = $cloud->last_request;
my $since = queue()->{receives};
my $cpu = ticks($pid);
my $most = 0;
eventually
{
	my $waiting = waiting_polls();
	$most = $waiting if $waiting > $most;
	queue()->{receives} >= $since + 6;
} '... six times';
$cpu = ticks($pid) - $cpu;
is($most, 1, '... one at a time');
my @requests = grep { $_->{parameters}{QueueUrl} =~ m{/damoov$} }
  $cloud->requests(since => $mark, target => 'ReceiveMessage');
$polls = queue()->{receives} - $since;
ok(abs(@requests - $polls) <= 1, '... with one request for each')
  or diag(scalar @requests . " for $polls");
cmp_ok($cpu, '<=', 20, "... and $cpu ticks of CPU time in six seconds");

# Nothing is held while a poll waits.
value("ALTER SERVER queue OPTIONS (SET wait_seconds '20')");
eventually {
	grep { ($_->{parameters}{WaitTimeSeconds} // 0) == 20 && !defined $_->{status} }
	  $cloud->requests(target => 'ReceiveMessage')
} 'a long poll waits';
is( value(
		"SELECT backend_xmin, backend_xid, xact_start, state FROM pg_stat_activity WHERE pid = $pid"
	),
	'|||idle',
	'... without transaction, snapshot or transaction id');
is(value("SELECT count(*) FROM pg_locks WHERE pid = $pid"),
	0, '... and without a lock');

###########################################################################
# Woken, stopped, paused
###########################################################################

# SQL in another session has something to fetch.
$track = token('woken');
$cloud->dataset($track, $driver, track_document(2));
my $began = time;
value('SELECT damoov_ingest('
	  . Damoov::Node::quoted(compact(enriched($driver, $track, 200)))
	  . ')');
eventually {
	value("SELECT count(*) FROM damoov.trips WHERE track_token = '$track'") == 1
} 'damoov_ingest() of another session wakes the worker';
cmp_ok(time - $began, '<', 4.5, '... before it would have looked by itself');

# Ended during its long poll
is(waiting_polls(), 1, 'a long poll waits');
ends_at_once();
receives('... and goes on');

eventually { waiting_polls() == 1 } 'a long poll waits';
value("ALTER SERVER queue OPTIONS (SET wait_seconds '1')");
$began = time;
$node->restart;    # fast
cmp_ok(time - $began, '<', 15, '... when the server is shut down fast');
receives('... and it goes on');

# Paused and resumed.  The other database's polls are the clock.
sub for_a_while
{
	my ($name) = @_;
	my $beat = queue('second')->{receives};
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	eventually { queue('second')->{receives} >= $beat + 3 } $name;
}

sub polls_since
{
	my ($mark) = @_;
	return scalar grep { $_->{parameters}{QueueUrl} =~ m{/damoov$} }
	  $cloud->requests(since => $mark, target => 'ReceiveMessage');
}

$mark = $cloud->last_request;
value("SELECT damoov_pause('queue')");
for_a_while('a source is paused');
cmp_ok(polls_since($mark), '<=', 1, '... which takes effect with the next poll');
is(value("SELECT state, pause_reason FROM damoov.status WHERE source = 'queue'"),
	'paused|damoov_pause', '... says the status');
wake();
eventually { waiting_polls() == 0 } '... its last poll ends';
$mark = $cloud->last_request;
my $before = events();
publish(heartbeats(2));
for_a_while('... and for a while');
is(polls_since($mark), 0, '... nothing is asked for');
is(events(), $before, '... nothing is received');
is(queue()->{visible}, 2, '... of what waits');
value("SELECT damoov_resume('queue')");
eventually { events() == $before + 2 } '... until it is resumed';

value("ALTER SERVER queue OPTIONS (ADD paused 'true')");
wake();
eventually {
	value("SELECT state FROM damoov.status WHERE source = 'queue'") eq 'paused'
} 'option "paused" pauses';
eventually { waiting_polls() == 0 } '... without a poll';
value("ALTER SERVER queue OPTIONS (SET paused 'false')");
wake();
receives('... and without it, it goes on');

# Dropped and made again
my $log = $node->log_size;
value('DROP SERVER queue CASCADE');
wake();
eventually {
	value("SELECT count(*) FROM damoov.status WHERE source = 'queue'") == 0
	  && waiting_polls() == 0
} 'a dropped source is not polled';
add_source();
receives('... and made again, it goes on');

wake('DROP EXTENSION damoov CASCADE');
for_a_while('without the extension');
is(processes('damoov worker'), 2, '... the worker waits');
eventually { waiting_polls() == 0 } '... and does not poll';
value('CREATE EXTENSION damoov');
add_source();
receives('... and goes on when it is there again');
my @noise = grep { !/terminating|administrator/ }
  $node->log_lines(qr/damoov worker.*(ERROR|FATAL|PANIC)|(ERROR|FATAL|PANIC):  .*damoov/, $log);
is(scalar @noise, 0, '... and the log has no error of it')
  or diag(join "\n", @noise);

# A database is taken away.
$log = $node->log_size;
like(
	$node->error_of('DROP DATABASE second'),
	qr/^55006: database "second" is being accessed by other users/,
	'a served database is in use');
value('DROP DATABASE second WITH (FORCE)');
eventually { processes('damoov worker') == 1 } '... but can be dropped by force';
receives('... and the others go on');
cmp_ok(log_count('(FATAL|ERROR)', $log), '<=', 3, '... without an error storm')
  or diag(slurp_file($node->logfile, $log));

###########################################################################
# Killed
###########################################################################

$cloud->create_queue('damoov', visibility_timeout => 2);

busy_and_killed();

# Everything stops at once, twice.
$before = events();
my $story = $cloud->fleet(drivers => 6, trips => 6, points => 30, seed => 22);
my $rest = 1000 - $story->{notifications};
publish(heartbeats($rest));
for my $round (1 .. 2)
{
	my $now = events();
	eventually { events() > $now || queue()->{visible} == 0 } 'messages come';
	$node->stop('immediate');
	$node->start;
}
wait_for_all('after stopping at once',
	$before, $story->{distinct_notifications} + $rest);
story_is_complete('after stopping at once', $story);

###########################################################################
# With few rights
###########################################################################

# What a role needs to run the worker; at first a right is missing.
$node->sql('DROP SERVER queue CASCADE');
add_source();
value('CREATE ROLE damoov_worker LOGIN NOSUPERUSER;
	GRANT USAGE ON SCHEMA damoov TO damoov_worker;
	GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA damoov TO damoov_worker;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA damoov TO damoov_worker;
	GRANT USAGE ON ALL SEQUENCES IN SCHEMA damoov TO damoov_worker;
	GRANT USAGE ON FOREIGN SERVER queue, api TO damoov_worker;
	REVOKE INSERT ON damoov.events FROM damoov_worker');
value("ALTER SERVER api OPTIONS (ADD fetch 'processed,raw,crash')");
$node->append_conf('postgresql.conf', "damoov.role = 'damoov_worker'");
$log = $node->log_size;
$node->restart;
eventually { processes('damoov worker') == 1 } 'a worker with damoov.role';
is( value("SELECT usename FROM pg_stat_activity WHERE backend_type = 'damoov worker'"),
	'damoov_worker', '... runs as that role');
$before = events();
publish(heartbeats(1));
eventually { log_count('permission denied', $log) > 0 }
'... which has not all the rights it needs';
is(value('SELECT count(*) FROM damoov.quarantine'),
	0, '... that is not the message\'s fault');
is(in_queue(), 1, '... which stays in the queue');
eventually {
	value("SELECT state, last_error, last_error_at IS NOT NULL FROM damoov.status WHERE source = 'queue'")
	  eq 'retrying|could not store messages: permission denied for table events|t'
} '... and the status says why';
$mark = $cloud->last_request;
kill 'TERM', worker_pid();
eventually {
	$cloud->count_requests(
		since => $mark,
		target => 'ChangeMessageVisibilityBatch') >= 1
} '... and a worker that leaves gives it back';
value('GRANT INSERT ON damoov.events TO damoov_worker');
eventually { events() == $before + 1 } '... and is stored when it has them';
eventually {
	value("SELECT state, last_error, failures, retry_at FROM damoov.status WHERE source = 'queue'")
	  eq 'polling||0|'
} '... which clears the status';
$log = $node->log_size;
receives('... as all others');
$track = token('role');
$cloud->dataset($track, $driver, track_document(2));
publish([ enriched($driver, $track, 300) ]);
eventually {
	value("SELECT count(*) FROM damoov.trips WHERE track_token = '$track'") == 1
} '... and fetches';

# all kinds of notifications and datasets, a bad one, and a removal
$before = value('SELECT count(*) FROM damoov.quarantine');
$story = $cloud->fleet(drivers => 3, trips => 5, points => 12, seed => 23);
publish(
	[
		enriched($driver, token('role'), 301),
		removed($driver, token('role'), 302),
		'{"Event": "TrackEnrichmentFinished"}'
	]);
eventually {
	in_queue() == 0
	  && value("SELECT count(*) FROM damoov.downloads WHERE state = 'waiting'") == 0
} '... takes a whole story';
story_is_complete('with few rights', $story);
is(value("SELECT count(*) FROM damoov.trips WHERE track_token = '${\ token('role')}'"),
	0, '... and what it takes away');
is(value('SELECT count(*) FROM damoov.quarantine'),
	$before + 1, '... a bad notification');
is( value('SELECT count(*), bool_and(header_stored_at IS NOT NULL), count(b) FROM damoov.crashes AS c
		LEFT JOIN damoov.crash_buffers AS b USING (crash_id) WHERE crash_token IN ('
		  . join(', ', map { "'$_'" } @{ $story->{crashes} }) . ')'),
	join('|', scalar @{ $story->{crashes} }, 't', scalar @{ $story->{crashes} }),
	'... crashes with header and buffer');
is(value('SELECT count(*) FROM damoov.raw_tracks'), 15, '... raw tracks');
is( value('SELECT string_agg(DISTINCT kind, $$ $$ ORDER BY kind) FROM damoov.documents'),
	'crash crash_buffer processed raw', '... and originals');
is(log_count('permission denied', $log), 0, '... with the rights it has');
$node->adjust_conf('postgresql.conf', 'damoov.role', "'nobody_known'");
$log = $node->log_size;
$node->restart;
eventually { log_count('role "nobody_known" does not exist', $log) >= 1 }
'a role that does not exist is said in the log';
$before = log_count('role "nobody_known" does not exist', $log);
$node->adjust_conf('postgresql.conf', 'damoov.role', "'damoov_worker'");
$node->reload;
receives('... and can be corrected without a restart');

###########################################################################
# A standby
###########################################################################

$node->backup('copy');
my $standby = Damoov::Node->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
receives('the primary goes on');
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', 'SELECT count(*) FROM damoov.events'),
	events(), 'the standby has it, too');
is( $standby->safe_psql(
		'postgres',
		"SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'damoov%'"
	),
	0,
	'... without a process of its own');
like(
	$standby->error_of('CALL damoov_poll(max_seconds => 1)'),
	qr/^25006: cannot execute damoov_poll\(\) during recovery|^25006: /,
	'... and refuses to poll');
$node->stop('immediate');
$standby->promote;
$before =
  $standby->safe_psql('postgres', 'SELECT count(*) FROM damoov.events');
publish(heartbeats(5));
eventually {
	$standby->safe_psql('postgres', 'SELECT count(*) FROM damoov.events')
	  == $before + 5
} 'after promotion its worker goes on';
$standby->stop;

done_testing();
