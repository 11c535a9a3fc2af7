# Azure Service Bus: everything that is sent is stored once and completed after
# its commit, whatever the service does meanwhile; and what is wrong with a
# source is said without a secret.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Cloud;
use Damoov::Stage;
use Damoov::Story;
use JSON::PP;
use MIME::Base64;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my ($cloud, $node) = stage('servicebus', type => 'servicebus');
my $driver = driver();

# While this runs, a poll of another entity waits longer than a transfer may
# be silent; see the end.  In a database of its own, no other call polls it.
create($_) for 'damoov', 'quiet';
$node->add_api($cloud);
$node->sql('CREATE DATABASE quiet');
$node->sql('CREATE EXTENSION damoov', 'quiet');
add_source(name => 'quiet', queue => 'quiet', database => 'quiet', api => 0, options => { wait_seconds => 60 });
my $quiet = $node->start_sql("CALL damoov_poll('quiet', 45)", database => 'quiet');
eventually { queue('quiet')->{waiting_polls} == 1 } 'a long poll waits';

###########################################################################
# A thousand notifications
###########################################################################

add_source(options => { wait_seconds => 0 });

my $mark = $cloud->last_request;
thousand();
my @receives = requests('Receive', since => $mark);
is(scalar(grep { $_->{status} == 201 } @receives),
	1000, '... each was received once');
is( scalar(grep { $_->{target} ne 'GetEntity' } $cloud->requests(since => $mark, status => 401)),
	0, '... no signature was refused');
my %tokens = map { ($_->{parameters}{token} => 1) } @receives;
is(scalar keys %tokens, 1, '... all with one token');
is( scalar(grep { exists $_->{headers}{'content-type'} } @receives),
	0, '... and nothing is said of a type of nothing');

###########################################################################
# How many at once
###########################################################################

# Every receive takes its time, so that those in flight are seen together.
for my $receivers (undef, 3)
{
	my $entity = 'wide' . ($receivers // '');
	create($entity);
	add_source(
		name => $entity,
		queue => $entity,
		options => { wait_seconds => 0, receivers => $receivers });
	$cloud->fault('servicebus', 'delay',
		target => $entity, seconds => 0.2, times => 40);
	publish(heartbeats(60), queue => $entity);
	my $before = events();
	value("CALL damoov_poll('$entity', 30)");
	is(events() - $before, 60, "$entity: each is stored once");
	is(queue($entity)->{most_receiving},
		$receivers // 8, '... with so many receives at once');
	is(in_queue($entity), 0, '... and the queue is empty');
	$cloud->clear_faults;
	value("DROP SERVER $entity CASCADE");
}

# One message alone costs two receives: its own, and one that finds no more.
# Another may begin between its being stored and being completed.
create('single');
add_source(
	name => 'single',
	queue => 'single',
	options => { wait_seconds => 0 });
publish(heartbeats(1), queue => 'single');
value("CALL damoov_poll('single', 30)");
my $queue = queue('single');
cmp_ok($queue->{receives}, '<', 8, 'a single message is not searched for eight times');
is($queue->{deleted}, 1, '... and completed');
value('DROP SERVER single CASCADE');

###########################################################################
# What the service may do
###########################################################################

troubled($_, 6, { lock_seconds => 30 }, { lock_seconds => 1 })
  for [ 'drop' ],
  [ 'drop', reset => 1 ],
  [ 'error', status => 500 ],
  [ 'error', status => 503, retry_after => 1 ],
  [ 'error', status => 503 ],
  [ 'error', status => 429 ],
  [ 'html' ],
  [ 'truncate' ],
  [ 'stall', seconds => 0.3 ],
  [ 'drip', pieces => 5, seconds => 0.05 ];

# Received, and the answer is lost; completed, and nobody heard of it.
create('damoov', lock_seconds => 1);
$cloud->fault('servicebus', 'drop', target => 'Receive', perform => 1);
publish(heartbeats(3));
drains('a received message is lost on its way', events(), 3);
create('damoov', lock_seconds => 30);
my $log = $node->log_size;
$cloud->fault('servicebus', 'drop', target => 'Complete', perform => 1);
arrives('completed, but nobody heard of it', 3);

# Locks that are lost: the message is stored, comes again, and is a duplicate.
create('damoov', lock_seconds => 1);
for my $loss (
	[ 'Receive', 'expire_lock' ],
	[ 'Complete', 'error', status => 404 ],
	[ 'Complete', 'empty_error', status => 404 ],
	[ 'Complete', 'error', status => 409 ],
	[ 'Complete', 'error', status => 410 ])
{
	my ($target, $mode, %options) = @$loss;
	my $name = join ' ', @$loss;
	my $duplicates = ledger('duplicate');

	$cloud->fault('servicebus', $mode, target => $target, %options);
	publish(heartbeats(1));
	drains("a lock is lost ($name)", events(), 1);
	is(ledger('duplicate, balanced'), $duplicates + 1 . '|t', '... and came twice');
}
is($node->log_lines('could not settle', $log), 0, '... which is no trouble');
is(value("SELECT state, last_error FROM damoov.status WHERE source = 'queue'"),
	'polling|', '... nor in the status');
create('damoov', lock_seconds => 30);

# Replies that cannot be understood
for my $text (undef, '', 'x', '[]', '{"SequenceNumber":"1"}',
	'{"SequenceNumber":1,"LockToken":"../../other"}',
	'{"SequenceNumber":1.5,"LockToken":"00000000-0000-4000-8000-000000000001"}')
{
	my $name = $text // 'none';

	create('damoov', lock_seconds => 1);
	$log = $node->log_size;
	$cloud->fault('servicebus', 'properties', target => 'Receive', text => $text);
	my $before = events();
	publish(heartbeats(1));
	$node->poll(10);
	is($node->log_lines('the reply could not be understood', $log),
		1, "BrokerProperties: $name");
	drains('... it comes again', $before, 1);
}
create('damoov', lock_seconds => 30);

###########################################################################
# Messages
###########################################################################

# Numbers that neither an int nor a double holds
for my $number ('9007199254740993', '4611686018427387905', '9223372036854775000')
{
	create("number$number", first_number => JSON::PP->new->allow_bignum->decode($number));
	add_source(
		name => 'numbered',
		queue => "number$number",
		options => { wait_seconds => 0 });
	publish(heartbeats(3), queue => "number$number");
	my $before = events();
	value("CALL damoov_poll('numbered', 10)");
	is(events() - $before, 3, "SequenceNumber $number: stored");
	my $queue = queue("number$number");
	is("$queue->{deleted} $queue->{in_flight}", '3 0', '... and completed');
	value('DROP SERVER numbered CASCADE');
}

$cloud->fault('servicebus', 'headers', target => 'Receive', kilobytes => 100);
arrives('100 kB of headers', 1);
arrives('a foreign content type', 1, content_type => 'application/atom+xml; type=entry');
arrives(
	'custom properties',
	1,
	properties => { 'aeg-event-type' => 'Notification', hello => "a \"world\"", n => 42 },
	broker => { Label => "\x{fc}ber", SessionId => 'x' });
arrives('the same three times', 1, repeat => 3);

# What is no notification comes into the quarantine as it is.
my $bom = encode_base64("\xef\xbb\xbf" . compact(heartbeats(1)->[0]), '');
my %poison = (
	'garbage' => join('', map { chr } 0 .. 255),
	'an empty body' => '',
	'a NUL byte behind JSON' => "{}\0{}",
	'half of a notification' => substr(compact(heartbeat($driver, 1)), 0, 99));
my $before = events();
publish([ $bom, map { encode_base64($_, '') } @poison{ sort keys %poison } ],
	encoding => 'base64');
publish(heartbeats(1));
$node->poll;
is(events() - $before, 2, 'a byte order mark is skipped, garbage does not hinder');
is(in_queue(), 0, '... and the queue is empty');
for my $name (sort keys %poison)
{
	is( value(
			"SELECT count(*) FROM damoov.quarantine WHERE body = decode('"
			  . unpack('H*', $poison{$name})
			  . "', 'hex')"),
		1,
		"$name is quarantined as it came");
}
is(ledger('quarantined, balanced'), '4|t', '... and the ledger is balanced');

###########################################################################
# Sessions and transactions
###########################################################################

my @call = (call => "CALL damoov_poll('queue', 30)");
two_at_once(200, @call);
settled_after_commit(settles => 5, @call);
create('damoov', lock_seconds => 1);
cancelled_while_storing(@call);
create('damoov', lock_seconds => 30);

###########################################################################
# Tokens
###########################################################################

for my $target (qw(Receive Complete))
{
	$mark = $cloud->last_request;
	$cloud->fault('servicebus', 'error',
		target => $target, status => 401, message => 'ExpiredToken: The token is expired.');
	arrives("401 once at $target", 3);
	is($cloud->count_requests(since => $mark, status => 401), 1, '... was met');
}
is(value("SELECT state, last_error FROM damoov.status WHERE source = 'queue'"),
	'polling|', '... and is no trouble');

for my $offset (3600, -3600)
{
	$cloud->settings(clock_offset => $offset);
	arrives("the service's clock is $offset seconds off", 5);
}
$cloud->settings(clock_offset => 0);

# The key that is first wrong, then right
value('DROP SERVER queue CASCADE');
add_source(
	options => { wait_seconds => 0 },
	secrets => {
		shared_access_key => 'a key that was replaced',
		secondary_access_key => Damoov::Cloud::SECOND_KEY
	});
$mark = $cloud->last_request;
arrives('the first key was replaced', 5);
is($cloud->count_requests(since => $mark, status => 401),
	2, '... it was tried twice');
is( scalar(grep { $_->{parameters}{key} == 1 } requests('Complete', since => $mark)),
	5, '... and the second is used');
is(value("SELECT state, last_error FROM damoov.status WHERE source = 'queue'"),
	'polling|', '... which is no trouble');
value('DROP SERVER queue CASCADE');

###########################################################################
# Connection strings, and other ways to name an entity
###########################################################################

my $key = Damoov::Cloud::LISTEN_KEY;
my $any = 'Endpoint=sb://contoso.servicebus.windows.net/';
my $ready = $cloud->bus_token(3000, 'named');
create('named');
create("topic/subscriptions/$_") for qw(pg other);
create('below/pg+a b');

my %way = (
	'a connection string of a namespace' =>
	  [ 'named', "$any;SharedAccessKeyName=listen;SharedAccessKey=$key" ],
	'... in another order, with a semicolon behind it' =>
	  [ 'named', "SharedAccessKey=$key;$any;SharedAccessKeyName=listen;" ],
	'... in other letters, with blanks and lines' => [
		'named',
		" \n endpoint = sb://contoso.servicebus.windows.net ;\n sharedaccesskeyname=listen;\r\n  SHAREDACCESSKEY= $key\n;\n"
	],
	'... with parts that mean nothing here' => [
		'named',
		"$any;SharedAccessKeyName=listen;TransportType=Amqp;SharedAccessKey=$key;UseDevelopmentEmulator=false"
	],
	'... of an entity' => [
		undef,
		"$any;SharedAccessKeyName=listen;SharedAccessKey=$key;EntityPath=named"
	],
	'... of a topic' => [
		'topic/subscriptions/pg',
		"$any;SharedAccessKeyName=listen;SharedAccessKey=$key;EntityPath=Topic"
	],
	'... with a ready token' => [ 'named', "$any;SharedAccessSignature=$ready" ],
	'a subscription' => ['topic/subscriptions/pg'],
	'... in other letters' => ['Topic/Subscriptions/PG'],
	'a name to encode, and a policy of what is above it' =>
	  [ 'below/pg+a b', undef, 'below' ]);

for my $name (sort { $b =~ /^a/ <=> $a =~ /^a/ || $a cmp $b } keys %way)
{
	my ($entity, $string, $policy) = @{ $way{$name} };
	my $sent = !defined $entity ? 'named' : $entity =~ /^topic/i ? 'topic' : $entity;

	add_source(
		queue => $entity,
		options => { wait_seconds => 0, entity => $entity },
		secrets => {
			connection_string => $string,
			shared_access_key_name => defined $string ? undef : $policy // 'listen',
			shared_access_key => defined $string ? undef : $key
		});
	$mark = $cloud->last_request;
	$before = events();
	publish(heartbeats(3), queue => $sent);
	$node->poll;
	is(events() - $before, 3, "$name: stored");
	is(in_queue($sent eq 'topic' ? 'topic/subscriptions/pg' : $sent),
		0, '... and completed')
	  or diag(value('SELECT last_error FROM damoov.status'));
	is($cloud->count_requests(since => $mark, status => 401), 0, '... at once');
	value('DROP SERVER queue CASCADE');
}
cmp_ok(in_queue('topic/subscriptions/other'),
	'>=', 9, 'another subscription keeps its own');

# Dead letters: delivered once, which is all the queue allows
create('mortal', max_delivery_count => 1, lock_seconds => 1);
add_source(queue => 'mortal', options => { wait_seconds => 0 });
$cloud->fault('servicebus', 'drop', target => 'mortal', perform => 1);
publish(heartbeats(1), queue => 'mortal');
$node->poll(5);
eventually { in_queue('mortal') == 0 } 'a message dies';
is(in_queue('mortal/$deadletterqueue'), 1, '... and is among the dead letters');
create('topic/subscriptions/mortal', max_delivery_count => 1, lock_seconds => 1);
$cloud->fault('servicebus', 'drop',
	target => 'topic/subscriptions/mortal', perform => 1);
value("ALTER SERVER queue OPTIONS (SET entity 'topic/subscriptions/mortal')");
publish(heartbeats(1), queue => 'topic/subscriptions/mortal');
$node->poll(5);
eventually { in_queue('topic/subscriptions/mortal') == 0 } 'one of a subscription, too';
for my $entity ('mortal/$deadletterqueue',
	'topic/subscriptions/mortal/$DeadLetterQueue')
{
	$before = events();
	value("ALTER SERVER queue OPTIONS (SET entity '$entity')");
	$node->poll;
	is(events() - $before, 1, "$entity can be read");
	is(in_queue($entity), 0, '... and is empty then');
}
value('DROP SERVER queue CASCADE');

$node->finish_sql($quiet);
is($node->log_lines('server "quiet"'),
	0, 'a long poll of 45 s was not taken for a stalled transfer');
is(queue('quiet')->{receives}, 1, '... and was one');
$node->sql('DROP DATABASE quiet');

###########################################################################
# How many wait
###########################################################################

# A policy that may only listen is not told.  Neither its other key is tried then,
# nor another time.
add_source(
	options => { wait_seconds => 0 },
	secrets => { secondary_access_key => Damoov::Cloud::SECOND_KEY });
$mark = $cloud->last_request;
measured('a policy that may listen', 60, 0.7, 0);
my %used = map { ($_->{parameters}{token} => 1) } requests('Receive', since => $mark), requests('Complete', since => $mark);
is(scalar keys %used, 1, '... and the same token is used');
value('ALTER USER MAPPING FOR CURRENT_USER SERVER queue OPTIONS (SET shared_access_key_name $$manage$$)');
measured('a policy that may manage', 60, 0.7, 1);
$cloud->fault('servicebus', 'html', target => 'GetEntity', status => 200);
measured('a description that is none', 60, 0.7, 0);
value("ALTER SERVER queue OPTIONS (SET entity 'damoov/\$deadletterqueue')");
measured('dead letters', 60, 0.7, 1, queue => 'damoov/$deadletterqueue');
value('DROP SERVER queue CASCADE');

###########################################################################
# The worker
###########################################################################


create($_) for qw(damoov clock);
add_source();
$node->append_conf('postgresql.conf', "damoov.databases = 'postgres'");
$node->reload;

sub receives
{
	my ($name, %options) = @_;
	my $before = events();
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	publish(heartbeats(3), %options);
	eventually { events() == $before + 3 } $name;
	return;
}

# one poll when idle
receives('a worker receives');
my $since = queue()->{receives};
my $most = 0;
eventually
{
	my $waiting = queue()->{waiting_polls};
	$most = $waiting if $waiting > $most;
	queue()->{receives} >= $since + 5;
} 'an idle worker polls';
is($most, 1, '... one at a time');

# A token is used for four fifths of its hour.  The service's clock jumps; the
# worker takes the time from its replies.
sub tokens_after
{
	my ($offset) = @_;
	$cloud->settings(clock_offset => $offset);
	my $since = queue()->{receives};
	eventually { queue()->{receives} >= $since + 3 } "the service is $offset seconds ahead";
	my @polls = (requests('Receive', since => $mark, entity => 'damoov'))[ -2, -1 ];
	return map { $_->{parameters}{token} } @polls;
}
$mark = $cloud->last_request;
my ($first) = tokens_after(0);
is_deeply([ tokens_after(2700) ], [ $first, $first ], '... the token is still good');
my @later = tokens_after(2990);
is($later[0], $later[1], '... replaced once');
isnt($later[0], $first, '... before it ends');
is($cloud->count_requests(since => $mark, status => 401),
	0, '... and none was refused');
$cloud->settings(clock_offset => 0);

# Rotation: the keys are replaced one after the other, and nobody notices.
value("ALTER USER MAPPING FOR CURRENT_USER SERVER queue OPTIONS (ADD secondary_access_key '${\ Damoov::Cloud::SECOND_KEY}')");
wake();
receives('with two keys');
$log = $node->log_size;
$cloud->settings(listen_keys => [ 'new primary', Damoov::Cloud::SECOND_KEY ]);
receives('... when the first is replaced');
value("ALTER USER MAPPING FOR CURRENT_USER SERVER queue OPTIONS (SET shared_access_key 'new primary')");
wake();
receives('... when the new one is told');
$cloud->settings(listen_keys => [ 'new primary', 'new secondary' ]);
receives('... when the second is replaced');
is($node->log_lines('could not', $log), 0, '... without a complaint');
$cloud->settings(
	listen_keys => [ Damoov::Cloud::LISTEN_KEY, Damoov::Cloud::SECOND_KEY ]);
value("ALTER USER MAPPING FOR CURRENT_USER SERVER queue OPTIONS (SET shared_access_key '$key', DROP secondary_access_key)");
wake();

# Locks are renewed while the database refuses to store.  A renewal that failed is
# tried again in a quarter of the time: long enough for a slow machine.
create('damoov', lock_seconds => 6);
refuse('events');
$before = events();
my $duplicates = ledger('duplicate');
my $received = queue()->{receives} - queue()->{empty_receives};
publish(heartbeats(3));
eventually { queue()->{renewed} >= 6 } 'locks are renewed while nothing can be stored';
$cloud->fault('servicebus', 'error', target => 'Renew', status => 503);
eventually { $cloud->pending_faults == 0 } '... a renewal fails';
$since = queue()->{renewed};
eventually { queue()->{renewed} >= $since + 3 } '... and is tried again in time';
is( queue()->{receives} - queue()->{empty_receives} - $received,
	3, '... nothing was delivered twice');
like(
	value("SELECT state || ': ' || last_error FROM damoov.status WHERE source = 'queue'"),
	qr/^retrying: could not store messages: no room for the test/,
	'... the status says why');
allow('events');
eventually { events() == $before + 3 && in_queue() == 0 } '... then they are stored and completed';
is(ledger('duplicate, balanced'), "$duplicates|t", '... once');

# Paused and resumed.  Another source's polls are the clock.
add_source(name => 'clock', queue => 'clock');
sub for_a_while
{
	my $beat = queue('clock')->{receives};
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	eventually { queue('clock')->{receives} >= $beat + 3 } $_[0];
	return;
}
for my $pause (
	[ "SELECT damoov_pause('queue')", "SELECT damoov_resume('queue')" ],
	[ "ALTER SERVER queue OPTIONS (ADD paused 'true')", "ALTER SERVER queue OPTIONS (DROP paused)" ])
{
	wake($pause->[0]);
	eventually {
		value("SELECT state FROM damoov.status WHERE source = 'queue'") eq 'paused'
		  && queue()->{waiting_polls} == 0
	} "paused by $pause->[0]";
	$mark = $cloud->last_request;
	$before = events();
	publish(heartbeats(2));
	for_a_while('... for a while');
	is(scalar(requests('Receive', since => $mark, entity => 'damoov')),
		0, '... nothing is asked for');
	wake($pause->[1]);
	eventually { events() == $before + 2 } '... until it is resumed';
}
value('DROP SERVER clock CASCADE');

# Ended during a poll of a minute
value("ALTER SERVER queue OPTIONS (SET wait_seconds '60')");
$mark = $cloud->last_request;
wake();
eventually {
	grep { ($_->{parameters}{timeout} // 0) == 60 && !defined $_->{status} }
	  requests('Receive', since => $mark, entity => 'damoov')
} 'a poll of a minute waits';
is( value('SELECT backend_xmin, backend_xid, xact_start, state FROM pg_stat_activity WHERE pid = damoov.worker_pid()'),
	'|||idle', '... without transaction, snapshot or transaction id');
ends_at_once();
value("ALTER SERVER queue OPTIONS (SET wait_seconds '1')");
eventually { queue()->{waiting_polls} == 1 } '... polls';
publish(heartbeats(1));
wake();

# Killed in the middle
eventually { in_queue() == 0 } 'the queue is empty';
busy_and_killed();
is(queue()->{abandoned}, 0, 'no message was ever given back');
value('DROP SERVER queue CASCADE');

$node->stop;
done_testing();
