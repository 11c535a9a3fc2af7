# What the tests of sources have in common: a server, the stand-in cloud and a
# queue between them, the questions that all of them ask, and the scenes that
# each type of source has to play.
#
# stage() sets one up, and the functions are about the one that was set up last,
# or that enter() names.

package Damoov::Stage;

use strict;
use warnings;

use Exporter 'import';
use Damoov::Cloud;
use Damoov::Node;
use Damoov::Story;
use Test::More;
use Time::HiRes qw(time);

our @EXPORT = qw(stage enter driver heartbeats publish create add_source
  value events ledger status status_gets queue in_queue requests worker_pid wake
  arrives drains troubled thousand measured two_at_once settled_after_commit cancelled_while_storing
  ends_at_once refuse allow busy_and_killed wait_for_all story_is_complete
  has_no_secret entra);

# What a type of source calls its queue, and the requests that receive, settle, and
# ask how many messages wait.
my %type = (
	sqs => { queue => 'damoov', receive => 'ReceiveMessage', settle => 'DeleteMessageBatch', measure => 'GetQueueAttributes' },
	servicebus => { queue => 'damoov', receive => 'Receive', settle => 'Complete', measure => 'GetEntity' },
	storagequeue => { queue => 'damoov', receive => 'GetMessages', settle => 'DeleteMessage', measure => 'GetQueueMetadata' },
	eventgrid => { queue => 'trips/damoov', receive => 'receive', settle => 'acknowledge' });

my (%stages, $on);
my $beats = 0;

# Options: type (sqs), queue, cloud (one that is there, or options of one), and
# those of Damoov::Node.  Returns the cloud and the server.
sub stage
{
	my ($name, %options) = @_;
	my $type = delete $options{type} // 'sqs';
	my $queue = delete $options{queue} // $type{$type}{queue};
	my $cloud = delete $options{cloud} // {};

	$cloud = Damoov::Cloud->new(%$cloud) if ref $cloud eq 'HASH';
	$on = $stages{$name} = {
		%{ $type{$type} },
		type => $type,
		queue => $queue,
		cloud => $cloud,
		node => Damoov::Node->start_new($name, %options)
	};
	return @$on{qw(cloud node)};
}

sub enter
{
	my ($name) = @_;
	$on = $stages{$name} // die "no stage is named $name\n";
	return;
}

###########################################################################
# Sending
###########################################################################

sub driver
{
	return token('driver');
}

# Each call makes new ones.
sub heartbeats
{
	my ($count) = @_;
	return [ map { heartbeat(driver(), $beats++) } 1 .. $count ];
}

sub publish
{
	my ($notifications, %options) = @_;
	return $on->{cloud}->publish($notifications,
		service => $on->{type}, queue => $on->{queue}, %options);
}

# Makes a queue, or changes its settings.
sub create
{
	my ($queue, %settings) = @_;
	return $on->{cloud}->create_queue($queue // $on->{queue},
		service => $on->{type}, %settings);
}

sub add_source
{
	my (%given) = @_;
	return $on->{node}->add_source($on->{cloud},
		type => $on->{type}, queue => $on->{queue}, %given);
}

# Options and secrets for a token of Entra ID instead of a key; the name of the
# secret that is not used then.
sub entra
{
	my ($cloud, @keys) = @_;
	return (
		options => {
			identity => 'client_credentials',
			tenant_id => '11111111-2222-4333-8444-555555555555',
			client_id => '66666666-7777-4888-8999-aaaaaaaaaaaa',
			identity_endpoint => $cloud->base_url
		},
		secrets => {
			client_secret => 'client~secret+example/with=signs&more',
			map { ($_ => undef) } @keys
		});
}

###########################################################################
# Questions
###########################################################################

sub value
{
	my ($sql, $database) = @_;
	return $on->{node}->sql($sql, $database);
}

sub events
{
	my ($database) = @_;
	return value('SELECT count(*) FROM damoov.events', $database);
}

sub ledger
{
	my ($columns, $source) = @_;
	return value("SELECT $columns FROM damoov.ledger WHERE source = '" . ($source // 'queue') . "'");
}

sub status
{
	my ($source, $columns) = @_;
	return value("SELECT $columns FROM damoov.status WHERE source = '$source'");
}

# A test of its own: the status gets so that the condition is true.
sub status_gets
{
	my ($name, $source, $condition, $seconds) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return (eventually { status($source, $condition) eq 't' } $name, $seconds)
	  || !diag(status($source, 'state, last_error'));
}

# Counts of a queue.
sub queue
{
	my ($queue) = @_;
	return $on->{cloud}->queue($queue // $on->{queue}, $on->{type});
}

sub in_queue
{
	my $counts = queue(@_);
	return $counts->{visible} + $counts->{in_flight};
}

# Requests of an operation; filters as those of the cloud, and entity.
sub requests
{
	my ($target, %filter) = @_;
	my $entity = delete $filter{entity};
	return grep { !defined $entity || $_->{parameters}{entity} eq $entity }
	  $on->{cloud}->requests(target => $target, %filter);
}

sub worker_pid
{
	my ($database) = @_;
	return value('SELECT damoov.worker_pid()', $database);
}

sub wake
{
	my ($sql, $database) = @_;
	return $on->{node}->wake($sql, $database);
}

###########################################################################
# Scenes: each is some tests
###########################################################################

# Sends as many new heartbeats, receives, and wants them all.
sub arrives
{
	my ($what, $count, %options) = @_;
	my $before = events();
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	publish(heartbeats($count), %options);
	$on->{node}->poll;
	is(events() - $before, $count, "$what: each is stored once");
	is(in_queue($options{queue}), 0, "$what: the queue is empty");
	return;
}

# Polls until nothing is left, and wants so many more than before.
sub drains
{
	my ($what, $before, $count) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	eventually { $on->{node}->poll(10); in_queue() == 0 } "$what: the queue gets empty";
	is(events() - $before, $count, '... each is stored once');
	return;
}

# [mode, options] of a fault that happens to a receive, then to a settlement.  An
# answer that is cut leaves its messages to their lease, so the queue has short
# settings then, else long ones.
sub troubled
{
	my ($trouble, $count, $long, $short) = @_;
	my ($mode, %options) = @$trouble;
	my $name = join ' ', @$trouble;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	create(undef, %{ $mode eq 'truncate' ? $short : $long });
	$on->{cloud}->fault($on->{type}, $mode, target => $on->{receive}, %options);
	publish(heartbeats($count));
	drains("receive fails ($name)", events(), $count);

	$on->{cloud}->fault($on->{type}, $mode, target => $on->{settle}, %options);
	arrives("settling fails ($name)", $count);
	is($on->{cloud}->pending_faults, 0, '... and the faults were met');
	return;
}

# A story of a thousand notifications, through a queue that was not used yet.
sub thousand
{
	my ($cloud, $node) = @$on{qw(cloud node)};
	my $story = $cloud->fleet(
		service => $on->{type},
		queue => $on->{queue},
		drivers => 10,
		trips => 10,
		points => 12,
		shuffle => 7);
	my $more = 1000 - $story->{notifications};
	my $distinct = $story->{distinct_notifications} + $more;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	publish(heartbeats($more));
	$node->poll(50);
	is(events(), $distinct, 'a thousand notifications: each is stored once');
	is( value('SELECT string_agg(track_token::text, $$ $$ ORDER BY track_token) FROM damoov.trips'),
		join(' ', sort @{ $story->{trips} }),
		'... the trips alive are there, and no others');
	is(value('SELECT count(*) FROM damoov.trip_points'), $story->{points}, '... with all their points');
	is( value('SELECT count(*), count(*) FILTER (WHERE passed_filters) FROM damoov.crashes'),
		scalar @{ $story->{crashes} } . "|$story->{crashes_passed}",
		'... the crashes');
	is(value('SELECT count(*) FROM damoov.heartbeats'), $story->{heartbeats} + $more, '... the heartbeats');
	is(value('SELECT count(*) FROM damoov.downloads'), 0, '... and nothing is left to be fetched');
	is(value('SELECT count(*) FROM damoov.quarantine'), 0, '... nothing in the quarantine');

	my $counts = queue();
	is("$counts->{visible} $counts->{in_flight} $counts->{deleted}", '0 0 1000', '... and the queue is empty');
	is( ledger('received, stored, duplicate, quarantined, balanced'),
		join('|', 1000, $distinct, 1000 - $distinct, 0, 't'),
		'... and the ledger is balanced');
	return $story;
}

# A queue that stays full for some seconds, with so many messages and a delay of
# each receive.  told: will the service tell how many wait?  If not, that is no
# trouble, and is not asked again soon.
sub measured
{
	my ($what, $count, $delay, $told, %options) = @_;
	my ($cloud, $node) = @$on{qw(cloud node)};
	my $mark = $cloud->last_request;
	my $log = $node->log_size;
	my $before = events();
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$cloud->fault($on->{type}, 'delay', target => $on->{receive}, seconds => $delay, times => undef);
	publish(heartbeats($count), %options);
	my $session = $node->start_sql("CALL damoov_poll('queue', 60)");
	if ($told)
	{
		status_gets("$what: how many messages wait is known, and until when",
			'queue', "backlog BETWEEN 1 AND $count AND drained_at > last_message_at");
	}
	else
	{
		eventually { grep { $_->{status} } requests($on->{measure}, since => $mark) }
		"$what: it is asked how many messages wait";
		status_gets('... which is not told, while messages come',
			'queue', 'backlog IS NULL AND drained_at IS NULL AND messages_per_second > 0');
	}
	$cloud->clear_faults;
	is($node->finish_sql($session), '', '... the poll ends');
	is(events() - $before, $count, '... each is stored once');
	is(status('queue', 'state, last_error, failures, backlog, drained_at'), 'polling||0||', '... and nothing waits');
	my $asked = requests($on->{measure}, since => $mark);
	$told ? cmp_ok($asked, '<=', 3, '... it is seldom asked') : is($asked, 1, '... it is asked once');
	is($node->log_lines('could not|differs', $log), 0, '... without a word in the log');
	return;
}

# Two sessions poll at the same time.  send puts that many into the queue, where
# the control interface does not; left says how many are there.
sub two_at_once
{
	my ($count, %given) = @_;
	my $before = events();
	my $call = $given{call} // 'CALL damoov_poll(max_seconds => 30)';
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	_send($count, %given);
	my @sessions = map { $on->{node}->start_sql($call) } 1 .. 2;
	is($on->{node}->finish_sql($_), '', 'one of two polls ends') for @sessions;
	is(events() - $before, $count, 'two polls at once: each is stored once');
	is($given{left} ? $given{left}->() : in_queue(), 0, '... and the queue is empty');
	return;
}

sub _send
{
	my ($count, %given) = @_;
	return $given{send} ? $given{send}->($count) : publish(heartbeats($count));
}

# A poll that cannot store what it receives, for another session has a lock.
# Returns a mark, how many events there were, both sessions.
sub _poll_that_waits
{
	my (%given) = @_;
	my $node = $on->{node};
	my $mark = $on->{cloud}->last_request;
	my $before = events();
	my $blocker = $node->background_psql('postgres');

	$blocker->query_safe('BEGIN; LOCK TABLE damoov.events IN SHARE MODE');
	_send(5, %given);
	my $poller = $node->start_sql($given{call} // 'CALL damoov_poll(max_seconds => 30)');
	ok( $node->poll_query_until('postgres',
			"SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $poller->{pid} AND NOT granted)"),
		'a poll waits to store its messages');
	return ($mark, $before, $poller, $blocker);
}

# What is stored is settled only after the commit; settles: with so many requests.
sub settled_after_commit
{
	my (%given) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($mark, $before, $poller, $blocker) = _poll_that_waits(%given);
	my $node = $on->{node};
	my @since = (since => $mark);

	cmp_ok(scalar(grep { ($_->{status} // 0) =~ /^20[01]$/ } requests($on->{receive}, @since)),
		'>', 0, '... which are received');
	ok( $node->poll_query_until('postgres',
			"SELECT EXISTS (SELECT FROM damoov.sources WHERE last_error LIKE '%lock timeout')"),
		'... in vain');
	is(scalar(requests($on->{settle}, @since)), 0, '... and not settled');
	$blocker->query_safe('COMMIT');
	$blocker->quit;
	is($on->{node}->finish_sql($poller), '', 'they are stored');
	is(events() - $before, 5, '... once');
	# those that were tried by themselves are settled by themselves
	my $settles = requests($on->{settle}, @since);
	ok($given{settles} <= $settles && $settles <= 5, '... and settled then') or diag($settles);
	return;
}

# A poll that is cancelled while it stores settles nothing and gives nothing
# back: it comes again when its time is over.
sub cancelled_while_storing
{
	my (%given) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($mark, $before, $poller, $blocker) = _poll_that_waits(%given);

	value("SELECT pg_cancel_backend($poller->{pid})");
	like($on->{node}->finish_sql($poller), qr/57014/, 'a poll is cancelled');
	$blocker->quit;
	is(events() - $before, 0, '... nothing is stored');
	is(scalar(requests($on->{settle}, since => $mark)), 0, '... and nothing settled');
	drains('it comes again', $before, 5);
	return;
}

# A worker in its long poll is terminated.
sub ends_at_once
{
	my $pid = worker_pid();
	my $began = time;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	kill 'TERM', $pid;
	eventually { !kill 0, $pid } '... when the worker is terminated';
	cmp_ok(time - $began, '<', 1, '... it ends within a second');
	eventually { (worker_pid() || $pid) != $pid } '... and is started again';
	return;
}

# As if the disk was full: nothing can be stored in this table of damoov.
sub refuse
{
	my ($table, $database) = @_;
	value(
		"CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
			\$\$BEGIN RAISE EXCEPTION 'no room for the test' USING ERRCODE = '53100'; END\$\$;
		CREATE TRIGGER refuse BEFORE INSERT ON damoov.$table EXECUTE FUNCTION refuse()", $database);
	return;
}

sub allow
{
	my ($table, $database) = @_;
	value("DROP TRIGGER refuse ON damoov.$table", $database);
	return;
}

# A worker that stores a story is killed, and the server restarts all processes.
# Returns the story, and how many more events than now it makes of them.
sub busy_and_killed
{
	my $before = events();
	my $story = $on->{cloud}->fleet(
		service => $on->{type},
		queue => $on->{queue},
		drivers => 6,
		trips => 6,
		points => 30,
		seed => 21);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	publish(heartbeats(500));
	eventually { events() > $before } 'a worker is busy';
	my $pid = worker_pid();
	kill 'KILL', $pid;
	eventually { $on->{node}->has_another_worker($pid) } '... is killed, and the server comes back';
	wait_for_all('after kill -9', $before, $story->{distinct_notifications} + 500);
	story_is_complete('after kill -9', $story);
	return;
}

sub wait_for_all
{
	my ($name, $before, $count) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	eventually { in_queue() == 0 && ($on->{node}->psql('postgres', 'SELECT 1'))[0] == 0 }
	"$name: the queue is empty";

	# as if three minutes had passed: a fetch that was killed is taken over
	wake('UPDATE damoov.downloads SET leased_until = clock_timestamp()');
	eventually { value("SELECT count(*) FROM damoov.downloads WHERE state = 'waiting'") == 0 }
	"$name: nothing is left to be fetched";
	is(events(), $before + $count, "$name: each is stored once");
	is( value('SELECT count(*) FROM (SELECT FROM damoov.events GROUP BY event, object_id, user_id, sent_text HAVING count(*) > 1) AS twice'),
		0,
		"$name: none twice");
	is(value('SELECT bool_and(balanced) FROM damoov.ledger'), 't', "$name: the ledger is balanced");
	return;
}

sub story_is_complete
{
	my ($name, $story) = @_;
	my $drivers = join ', ', map { "'$_'" } @{ $story->{drivers} };
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is( value(
			"SELECT count(*), sum(point_count), sum((SELECT count(*) FROM damoov.trip_points AS p WHERE p.trip_id = t.trip_id))
			FROM damoov.trips AS t JOIN damoov.users AS u USING (user_id) WHERE u.device_token IN ($drivers)"),
		join('|', scalar @{ $story->{trips} }, $story->{points}, $story->{points}),
		"$name: all trips with all points");
	return;
}

# Places, each its name and its text, that must not hold any of the words.
sub has_no_secret
{
	my ($words, @places) = @_;
	my $pattern = join '|', map { quotemeta } @$words;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	for my $place (@places)
	{
		my ($name, $text) = @$place;
		my @found = $text =~ /^(.*(?:$pattern).*)$/gmi;
		is(scalar @found, 0, "no secret in $name") or diag(substr $found[0], 0, 300);
	}
	return;
}

1;
