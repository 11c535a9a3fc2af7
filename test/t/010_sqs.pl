# CALL damoov_poll() against a queue: everything that is sent is stored once
# and leaves the queue, whatever the queue does meanwhile.  No worker runs.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Cloud;
use Damoov::Stage;
use Damoov::Story;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my ($cloud, $node) = stage('sqs');
my $driver = driver();

###########################################################################
# A thousand notifications
###########################################################################

add_source(options => { wait_seconds => 0 });
thousand();
is($cloud->count_requests(status => 403), 0, '... and no signature was refused');

###########################################################################
# What a queue may do
###########################################################################

arrives('raw delivery', 25, raw => 1);
arrives('SNS envelopes', 25);
arrives('the same message three times', 1, repeat => 3);

for my $spelling ('{}', '[]', 'null')
{
	$cloud->settings(empty_reply => $spelling);
	arrives("empty reply $spelling", 3);
	is(value('SELECT state, last_error FROM damoov.status'),
		'polling|', '... is no trouble');
}
$cloud->settings(empty_reply => '{}');

for my $offset (3600, -3600)
{
	my $log = $node->log_size;
	$cloud->settings(clock_offset => $offset);
	arrives("the cloud's clock is $offset seconds off", 15);
	like(slurp_file($node->logfile, $log),
		qr/clock of server "queue" differs by -?3\d\d\d seconds/,
		'... and the log says so');
}
$cloud->settings(clock_offset => 0);

# the first three of ten, then one of those three
my $mark = $cloud->last_request;
$cloud->fault('sqs', 'fail_entries',
	target => 'DeleteMessageBatch', count => 3);
$cloud->fault('sqs', 'fail_entries',
	target => 'DeleteMessageBatch', count => 1);
arrives('some entries of a batch cannot be deleted', 10);
is_deeply(
	[
		map { scalar @{ $_->{parameters}{Entries} } }
		  $cloud->requests(since => $mark, target => 'DeleteMessageBatch')
	],
	[ 10, 3, 1 ],
	'... and only the failed ones are tried again');

troubled($_, 12, { visibility_timeout => 30 }, { visibility_timeout => 1 })
  for [ 'drop' ],
  [ 'drop', reset => 1 ],
  [ 'error', status => 500 ],
  [ 'error', status => 503, retry_after => 1, code => 'ServiceUnavailable' ],
  [ 'error', status => 403, code => 'RequestThrottled' ],
  [ 'html' ],
  [ 'truncate' ];

# The work was done and only its answer is lost: these come again.
create('damoov', visibility_timeout => 1);
$cloud->fault('sqs', 'drop', target => 'ReceiveMessage', perform => 1);
publish(heartbeats(10));
drains('a received batch is lost on its way', events(), 10);
create('damoov', visibility_timeout => 30);
$cloud->fault('sqs', 'drop', target => 'DeleteMessageBatch', perform => 1);
arrives('deleted, but nobody heard of it', 10);

# The body is not what its digest says.
create('damoov', visibility_timeout => 1);
$cloud->fault('sqs', 'bad_md5', target => 'ReceiveMessage');
my $before = events();
publish(heartbeats(1));
my $log = $node->log_size;
$node->poll;
is(events() - $before, 0, 'a damaged message is not stored');
is(in_queue(), 1, '... nor settled');
is(scalar $node->log_lines('damaged message from server "queue"', $log),
	1, '... but reported');
eventually { $node->poll; in_queue() == 0 } '... and comes later';
is(events() - $before, 1, '... whole');
create('damoov', visibility_timeout => 30);

###########################################################################
# Poison
###########################################################################

my $other = token('other');
my $deep = '{"Event":' x 2000 . '1' . '}' x 2000;
my $cut = compact(heartbeat($driver, 5000));
chop $cut;

# one's own track, and then somebody else's merge of it
my $victim = token('victim');
$cloud->dataset($victim, $driver, track_document(5));
publish([ enriched($driver, $victim, 10) ]);
$node->poll;
$cloud->dataset(token('thief'), $other, track_document(5));

my %poison = (
	bad_json => $cut,
	too_deep => $deep,
	nul_char => '{"Event":"Heartbeat\u0000Received"}',
	missing_field => '{"Event":"HeartbeatReceived"}',
	bad_type => '"just a text"',
	cross_user =>
	  compact(enriched($other, token('thief'), 20, removed => [$victim])));
$before = events();
publish([ @{ heartbeats(4) }, values %poison, @{ heartbeats(4) } ],
	raw => 1);
$node->poll;
is(events() - $before, 8, 'poison: the others are stored');
is(in_queue(), 0, '... the queue is empty');
is( value(
		'SELECT string_agg(reason, $$ $$ ORDER BY reason) FROM damoov.quarantine'
	),
	join(' ', sort keys %poison),
	'... and each has its reason');
is( value(
		"SELECT convert_from(body, 'UTF8') FROM damoov.quarantine WHERE reason = 'bad_json'"
	),
	$cut,
	'... with the exact bytes');
is( value("SELECT count(*) FROM damoov.trips WHERE track_token = '$victim'"),
	1, '... and nobody took the trip of another');

# UTF-8 that JSON allows as escapes only
publish(['{"Event":"\ud800"}'], raw => 1);
$node->poll;
is( value(
		"SELECT reason FROM damoov.quarantine ORDER BY quarantine_id DESC LIMIT 1"),
	'bad_json', 'half of a surrogate pair is quarantined');

# the same poison again is an attempt, not a second row
publish([$cut], raw => 1);
$node->poll;
is( value(
		"SELECT count(*), max(attempts) FROM damoov.quarantine WHERE reason = 'bad_json' AND sqlstate = '22P02' AND body LIKE '%Heartbeat%'"
	),
	'1|2',
	'poison that comes again is counted');
is(ledger('bool_and(balanced), sum(quarantined)'),
	't|8', 'the ledger is balanced');

###########################################################################
# Sessions and transactions
###########################################################################

two_at_once(300);

like(
	$node->error_of('BEGIN; CALL damoov_poll(); COMMIT;'),
	qr/^2D000: damoov_poll\(\) cannot run inside a transaction block/,
	'not inside a transaction block');
like($node->error_of('CALL damoov_poll(max_seconds => 0)'),
	qr/^22023: /, 'at least a second');
like($node->error_of("CALL damoov_poll('nobody')"),
	qr/^42704: server "nobody" does not exist/, 'a source that exists');
like($node->error_of("CALL damoov_poll('api')"),
	qr/^42809: server "api" is not a source of messages/, '... that is one');

settled_after_commit(settles => 1);
create('damoov', visibility_timeout => 1);
cancelled_while_storing();
create('damoov', visibility_timeout => 30);

# The time is kept: the long poll of the server would take longer.
value('ALTER SERVER queue OPTIONS (SET wait_seconds $$20$$)');
my $began = time;
$node->poll(3);
my $took = time - $began;
ok($took > 1.5 && $took < 15, "max_seconds 3 took $took s");

# No transaction is open while a long poll waits, but that of the CALL.
my $poller = $node->start_sql('CALL damoov_poll(max_seconds => 4)');
eventually { $cloud->queue->{waiting_polls} == 1 } 'a long poll waits';
is( value(
		"SELECT backend_xmin, backend_xid FROM pg_stat_activity WHERE pid = $poller->{pid}"
	),
	'|',
	'... without snapshot and transaction id');
is( value(
		"SELECT string_agg(locktype, ' ') FROM pg_locks WHERE pid = $poller->{pid} AND locktype <> 'virtualxid'"
	),
	'',
	'... and without a lock');
is($node->finish_sql($poller), '', '... and it ends');

# A long poll can be cancelled.
$poller = $node->start_sql('CALL damoov_poll(max_seconds => 60)');
eventually { $cloud->queue->{waiting_polls} == 1 } 'a long poll waits';
$began = time;
value("SELECT pg_cancel_backend($poller->{pid})");
like($node->finish_sql($poller), qr/57014/, '... is cancelled');
cmp_ok(time - $began, '<', 10, '... and does not wait for its end');
eventually { $cloud->queue->{waiting_polls} == 0 } '... and gone';
value('ALTER SERVER queue OPTIONS (SET wait_seconds $$0$$)');

###########################################################################
# Other ways to name and open a queue
###########################################################################

my $guarded = Damoov::Cloud->new(session_token => 'SESSION/TOKEN+EXAMPLE==');
value('DROP SERVER queue CASCADE');
$node->add_source(
	$guarded,
	name => 'guarded',
	api => 0,
	options => {
		queue_url => 'https://sqs.eu-west-1.amazonaws.com/123456789012/damoov',
		region => undef,
		endpoint => $guarded->base_url,
		wait_seconds => 0
	});
$before = events();
$guarded->publish(heartbeats(20));
$node->poll;
is(events() - $before, 20,
	'session token, region of the queue URL and an endpoint');
is($guarded->queue->{deleted}, 20, '... and settled with them');
is($guarded->count_requests(status => 403), 0, '... and nothing was refused');

# Both sources at once, one of them named
$node->add_source($cloud, api => 0, options => { wait_seconds => 0 });
$guarded->publish(heartbeats(3));
publish(heartbeats(4));
$before = events();
value("CALL damoov_poll('guarded', 10)");
is(events() - $before, 3, 'one source is polled');
$node->poll;
is(events() - $before, 7, 'all sources are polled');

# The same through both is one event.
my $twice = heartbeats(1);
$_->publish($twice) for $cloud, $guarded;
$before = events();
$node->poll;
is(events() - $before, 1, 'the same through two sources is one event');
is(ledger('bool_and(balanced)'), 't', 'the ledger is balanced');

$node->stop;
done_testing();
