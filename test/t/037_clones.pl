# Whose is the state of a source, and where: a server that is renamed keeps it, a
# new one of an old name has none; a copy of the data directory takes no message
# of the original, a promoted standby takes over.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Node;
use Damoov::Stage;
use Damoov::Story;
use PostgreSQL::Test::Utils;
use Test::More;

my ($cloud, $node) = stage('clones', databases => 'postgres', allows_streaming => 1, conf => "wal_log_hints = on\nwal_keep_size = 1GB");

sub state_of
{
	my ($source, $on) = @_;
	return ($on // $node)->sql("SELECT state FROM damoov.status WHERE source = '$source'");
}

sub gets_state
{
	my ($source, $state, $name, $on) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	eventually { state_of($source, $on) eq $state } $name;
}

sub receives_of
{
	my ($queue, $mark) = @_;
	return scalar grep { ($_->{parameters}{QueueUrl} // '') =~ m{/$queue$} }
	  $cloud->requests(since => $mark, target => 'ReceiveMessage');
}

###########################################################################
# Renamed, dropped, made again
###########################################################################

add_source(name => 'old');
gets_state('old', 'polling', 'a source is polled');
value("SELECT damoov_pause('old'); ALTER SERVER old RENAME TO new");
is(state_of('new'), 'paused', 'a paused source that is renamed stays paused');
eventually { queue()->{waiting_polls} == 0 } '... its last poll ends';
my $mark = $cloud->last_request;
publish(heartbeats(1));
wake();
eventually { value("SELECT source FROM damoov.sources") eq 'new' } '... the worker has seen its name';
$node->poll;
is(receives_of('damoov', $mark), 0, '... and is not asked');
is(events(), 0, '... nor is anything taken');
value("SELECT damoov_resume('new')");
eventually { events() == 1 } '... until it is resumed';
is(value('SELECT DISTINCT source FROM damoov.events'), 'new', '... under its new name');
is(value('SELECT count(*) FROM damoov.sources'), 1, '... with one row');

# While it polls: its downloads go with it.
publish([ enriched(driver(), token('renamed'), 1) ]);
eventually { value("SELECT last_status FROM damoov.downloads WHERE source = 'new'") eq '404' } 'a download waits';
value('ALTER SERVER new RENAME TO newer');
wake();
eventually { value('SELECT source FROM damoov.downloads') eq 'newer' } '... and gets the new name';
publish(heartbeats(1));
eventually { value("SELECT count(*) FROM damoov.events WHERE source = 'newer'") == 1 } '... as what comes then';

# Another one under an old name
$cloud->create_queue('other');
value("SELECT damoov_pause('newer'); ALTER SERVER newer RENAME TO newest");
add_source(name => 'newer', queue => 'other');
gets_state('newer', 'polling', 'a new source of an old name is not paused');
is(state_of('newest'), 'paused', '... the other still is');
value("SELECT damoov_pause('newer')");
value('DROP SERVER newer CASCADE');
add_source(name => 'newer', queue => 'other');
gets_state('newer', 'polling', 'a source that was dropped while it was paused and made again is not paused');
value('DROP SERVER newest CASCADE');
wake();
eventually { value("SELECT string_agg(source, ' ') FROM damoov.sources") eq 'newer' } 'the state of dropped servers goes';

# A long poll takes nothing for a source that is paused or gone, nor does it keep
# the next one of its name from asking.
sub long_polls
{
	return scalar grep { ($_->{parameters}{WaitTimeSeconds} // 0) == 20 && !defined $_->{status} }
	  $cloud->requests(target => 'ReceiveMessage');
}

value("ALTER SERVER newer OPTIONS (SET wait_seconds '20')");
wake();
eventually { queue('other')->{waiting_polls} == 1 && long_polls() > 0 } 'a long poll waits';
value("SELECT damoov_pause('newer')");
eventually { queue('other')->{waiting_polls} == 0 } '... and ends when the source is paused', 10;
publish(heartbeats(1), queue => 'other');
$node->poll;
is(in_queue('other'), 1, '... so that it takes nothing');
value("SELECT damoov_resume('newer')");
eventually { in_queue('other') == 0 } '... until it is resumed';
eventually { queue('other')->{waiting_polls} == 1 } 'a long poll waits';
value('DROP SERVER newer CASCADE');
$mark = $cloud->last_request;
add_source(name => 'newer', queue => 'other');
eventually { receives_of('other', $mark) > 0 } '... the server is made again, and asked at once', 10;
publish(heartbeats(1), queue => 'other');
eventually { in_queue('other') == 0 } '... and takes what comes', 10;

###########################################################################
# Copies of the data directory
###########################################################################

value('DROP SERVER newer CASCADE');
add_source(name => 'queue');
add_source(name => 'second', queue => 'other');
value("CREATE SERVER push TYPE 'webhook' FOREIGN DATA WRAPPER damoov");
gets_state($_, 'polling', "$_ is polled") for qw(queue second);
is(value('SELECT count(DISTINCT place), count(*) FROM damoov.sources'), '1|2', 'the sources know where they are');

# The original, without the row of a source, as if that had never been looked at
$node->stop;
$node->start;
gets_state('queue', 'polling', 'a server that was stopped goes on where it is');
$node->backup('copy');
$node->adjust_conf('postgresql.conf', 'damoov.databases', "''");
$node->reload;
eventually { value("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'damoov worker'") == 0 } 'its worker ends';
value("DELETE FROM damoov.sources WHERE source = 'second'");
$node->backup('without_worker');
$node->stop;

# Another server on a copy; %options of init_from_backup(), and lines of its configuration.
sub copy_of
{
	my ($name, $backup, $conf, %options) = @_;
	my $copy = Damoov::Node->new($name);

	$copy->init_from_backup($node, $backup, %options);
	$copy->append_conf('postgresql.conf', $conf);
	$copy->start;
	return $copy;
}

my $why = 'the data directory was copied or moved, or damoov.identity has changed; if it is to take the messages: SELECT damoov_resume';

sub takes_nothing
{
	my ($copy, $name) = @_;
	my $before = $copy->sql('SELECT count(*) FROM damoov.events');
	my $waiting = in_queue() + in_queue('other');
	my $mark = $cloud->last_request;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	publish(heartbeats(1));
	publish(heartbeats(1), queue => 'other');
	gets_state($_, 'paused', "$name: $_ is paused", $copy) for qw(queue second);
	$copy->poll;
	is( $copy->sql("SELECT string_agg(source || ':' || pause_reason, ', ' ORDER BY source) FROM damoov.status WHERE state = 'paused'"),
		"queue:$why('queue'), second:$why('second')", '... says why, and how to go on');
	is(state_of('push', $copy), 'listening', '... pushes are taken');
	is(scalar $cloud->requests(since => $mark, target => 'ReceiveMessage'), 0, '... nothing is asked for');
	is(in_queue() + in_queue('other'), $waiting + 2, '... nothing is taken');
	is($copy->sql('SELECT count(*) FROM damoov.events'), $before, '... nothing is stored');
}

# a snapshot, as the worker finds it
my $copy = copy_of('snapshot', 'copy', "damoov.databases = 'postgres'");
takes_nothing($copy, 'snapshot');
like(
	slurp_file($copy->logfile),
	qr/LOG:  all sources of database "postgres" are paused: the data directory was copied or moved/,
	'... the log says it');
$copy->restart;
takes_nothing($copy, 'snapshot, restarted');
$copy->sql("SELECT damoov_resume('queue')");
eventually { in_queue() == 0 } '... until it is resumed';
is(state_of('second', $copy), 'paused', '... each by itself');
$copy->restart;
gets_state('queue', 'polling', '... which stays', $copy);
$copy->stop;

# point-in-time recovery, as CALL damoov_poll() finds it, of a server that has no worker
$copy = copy_of('recovery', 'without_worker', "shared_preload_libraries = ''\nrestore_command = 'false'", has_restoring => 1, standby => 0);
eventually { $copy->sql('SELECT pg_is_in_recovery()') eq 'f' } 'a copy is recovered';
$copy->poll;
takes_nothing($copy, 'recovered, without a worker');
$copy->stop;

# A name of its own: the same one is the same server, another one is not.
$node->start;
$node->append_conf('postgresql.conf', "damoov.identity = 'production'");
$node->reload;
$node->poll;
is(state_of('queue'), 'paused', 'a server that gets a name is another one');
value("SELECT damoov_resume('queue'), damoov_resume('second')");
$node->poll;
is(in_queue() + in_queue('other'), 0, '... until its sources are resumed');
is(value('SELECT DISTINCT place FROM damoov.sources'), 'identity production', '... and have its name');
$node->backup('named');
$node->stop;
publish(heartbeats(1));
$copy = copy_of('moved', 'named', '');
$copy->poll;
is(in_queue(), 0, 'a copy that has the same damoov.identity goes on');
$copy->stop;
$copy = copy_of('renamed', 'named', "damoov.identity = 'staging'");
$copy->poll;
takes_nothing($copy, 'another damoov.identity');
$copy->stop;

###########################################################################
# Fail-over
###########################################################################

$node->start;
$node->adjust_conf('postgresql.conf', 'damoov.identity', "''");
$node->adjust_conf('postgresql.conf', 'damoov.databases', "'postgres'");
$node->reload;
eventually { value("SELECT count(*) FROM damoov.sources WHERE place LIKE 'file %'") == 2 } 'without a name again, a server is where it lies';
value("SELECT damoov_resume('queue'), damoov_resume('second'), damoov_pause('second')");
eventually { in_queue() == 0 } '... and goes on';
my $original = value('SELECT DISTINCT place FROM damoov.sources');
$node->backup('standby');
my $standby = copy_of('standby', 'standby', '', has_streaming => 1);
publish(heartbeats(1));
eventually { in_queue() == 0 } 'with a standby, the primary goes on';
$node->wait_for_catchup($standby);
is(state_of('queue', $standby), 'polling', 'the standby shows the state');
$node->stop('immediate');
my $before = $standby->sql('SELECT count(*) FROM damoov.events');
$standby->promote;
publish(heartbeats(2));
eventually { $standby->sql('SELECT count(*) FROM damoov.events') == $before + 2 } 'a standby that is promoted takes over';
is($standby->sql("SELECT state FROM damoov.status WHERE source IN ('queue', 'second') ORDER BY source"),
	"polling\npaused", '... what is paused stays paused');
isnt($standby->sql('SELECT DISTINCT place FROM damoov.sources'), $original, '... in a place of its own');
$standby->restart;
publish(heartbeats(1));
eventually { $standby->sql('SELECT count(*) FROM damoov.events') == $before + 3 } '... and goes on when it is started again';
# the former primary comes back as a standby, by pg_rewind, and takes over again
$standby->sql('CHECKPOINT');
$standby->stop;
$node->start;
$node->stop;
command_ok([ 'pg_rewind', '--source-pgdata', $standby->data_dir, '--target-pgdata', $node->data_dir ], 'the former primary is rewound');
$node->settle;
$standby->start;
$node->enable_streaming($standby);
$node->set_standby_mode;
$node->start;
$standby->wait_for_catchup($node);
$standby->stop;
$node->promote;
$before = events();
publish(heartbeats(1));
eventually { events() == $before + 1 } '... and takes over, when it is promoted itself';
is(value('SELECT DISTINCT place FROM damoov.sources'), $original, '... where it was before');
$node->stop;

done_testing();
