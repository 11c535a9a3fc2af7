# Azure Event Grid: everything that is published to a namespace topic is stored
# once and acknowledged after the commit, whatever the service does meanwhile.

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

my $driver = driver();

# A worker whose poll waits while the rest is tested; with a talkative log.
my ($far, $worker) = stage(
	'eventgrid_worker',
	type => 'eventgrid',
	databases => 'postgres',
	conf => "log_min_messages = debug5\nlog_error_verbosity = verbose");
create();
add_source();

my ($cloud, $node) = stage('eventgrid', type => 'eventgrid');

# Empty receives end at once unless told otherwise.
sub configure
{
	my (%settings) = @_;
	return create(undef, lock_seconds => 60, wait_cap => 0.1, %settings);
}

# A receive has begun that knows what is set now.
sub receives_anew
{
	wake();
	my $mark = $far->last_request;
	eventually { requests('receive', since => $mark) >= 3 } 'the worker receives';
	return;
}

# Each event that is held is given back once, for ten seconds later.
sub given_back_once
{
	my ($held, $mark) = @_;
	my @tokens = map {
		my $release = $_;
		map { "$_ $release->{status} $release->{parameters}{releaseDelayInSeconds}" } @{ $release->{tokens} }
	} requests('release', since => $mark);
	my %once = map { $_ => 1 } @tokens;

	is(scalar @tokens, $held, '... and gives back what it holds');
	is(scalar keys %once, $held, '... each event once');
	is(scalar(grep { !/ 200 10$/ } @tokens), 0, '... for ten seconds later');
	return;
}

###########################################################################
# A thousand notifications
###########################################################################

configure();
add_source();
thousand();
is(queue()->{dropped}, 0, '... none was rejected');
is(scalar(grep { ($_->{status} // 0) != 200 } requests($_)),
	0, "... and no $_ was refused")
  for qw(receive acknowledge);
# ten that bring a hundred each; empty ones follow while datasets are fetched
cmp_ok(scalar(requests('receive')), '<', 20, '... received by the hundred');
is(scalar(grep { $_->{parameters}{maxEvents} != 100 } requests('receive')),
	0, '... as it was asked for');
is(scalar(grep { $_->{headers}{authorization} ne 'SharedAccessSignature' }
		requests('receive'), requests('acknowledge')),
	0, '... by tokens: the key is not sent');
my %expiry = map { $_->{expires} => 1 } requests('receive'), requests('acknowledge');
is(scalar keys %expiry, 1, '... one for all of them');

# Each receive takes its time, so that those in flight are seen together.
my $since = $cloud->last_request;
$cloud->fault('eventgrid', 'delay', target => 'receive', seconds => 0.5, times => undef);
arrives('a full queue', 1500);
$cloud->clear_faults;
is($cloud->most_at_once(since => $since, target => 'receive'), 4, '... four receives at once while it is full');
is(value("SELECT backlog FROM damoov.status WHERE source = 'queue'"), '', '... of which nobody tells what waits');

###########################################################################
# What a service may do
###########################################################################

arrives("the notification as $_", 20, form => $_)
  for qw(data data_base64 string);
arrives('the same event three times', 1, repeat => 3);
create(undef, reorder => JSON::PP::true);
arrives('in another order', 250);
configure(reorder => JSON::PP::false);

my $log = $node->log_size;
$cloud->settings(clock_offset => 7200);
arrives('the clock of the service is two hours ahead', 15);
like(slurp_file($node->logfile, $log),
	qr/clock of server "queue" differs by 7[12]\d\d seconds/,
	'... and the log says so');
$cloud->settings(clock_offset => 0);

# Failures inside a reply that is a success, in the shapes of both versions
for my $shape (qw(error flat))
{
	my $mark = $cloud->last_request;
	$cloud->settings(failure_shape => $shape);
	$cloud->fault('eventgrid', 'fail_tokens', target => 'acknowledge', count => $_)
	  for 3, 1;
	arrives("some lock tokens fail ($shape)", 10);
	is(join(' ', map { scalar @{ $_->{tokens} } } requests('acknowledge', since => $mark)),
		'10 3 1', '... and only those are tried again');

	# the locks are over: nothing to retry, it comes again
	my $before = events();
	$log = $node->log_size;
	$mark = $cloud->last_request;
	$cloud->fault('eventgrid', 'expire_locks', target => 'acknowledge');
	publish(heartbeats(10));
	drains("the locks run out before the acknowledgement ($shape)", $before, 10);
	is(join(' ', map { scalar @{ $_->{tokens} } } requests('acknowledge', since => $mark)),
		'10 10', '... acknowledged when they came again');

	configure(lock_seconds => 1);
	$cloud->fault('eventgrid', 'fail_tokens', target => 'acknowledge',
		count => 100, code => 'BadToken', message => "secret of $driver");
	publish(heartbeats(5));
	$before += 10;
	drains("the service does not know its tokens ($shape)", $before, 5);
	configure();
	is(scalar $node->log_lines('could not settle|secret of', $log),
		0, '... of which the log says nothing');
}

troubled($_, 12, { lock_seconds => 60, wait_cap => 0.1 }, { lock_seconds => 1, wait_cap => 0.1 })
  for [ 'drop' ],
  [ 'drop', reset => 1 ],
  [ 'error', status => 500 ],
  [ 'error', status => 503, retry_after => 1, code => 'ServerBusy' ],
  [ 'error', status => 429, code => 'TooManyRequests' ],
  [ 'error', status => 401, code => 'Unauthorized' ],
  [ 'html' ],
  [ 'drip', pieces => 5, seconds => 0.1 ],
  [ 'truncate' ];

# Replies that are no replies
my $item = '{"brokerProperties":{"deliveryCount":1%s},"event":' . compact(heartbeat($driver, 9000)) . '}';
for my $body ('', 'null', '[]', '{}', '{"value":null}', '{"value":{}}', '{"value":[{"brokerProperties":{"lockToken":"x"')
{
	$log = $node->log_size;
	$cloud->fault('eventgrid', 'recorded', target => 'receive', status => 200, headers => {}, body => $body);
	my $before = events();
	publish(heartbeats(1));
	drains("the reply is $body", $before, 1);
	is(scalar $node->log_lines('server "queue": the reply could not be understood', $log),
		1, '... and the log says so');
}
for my $broken (sprintf($item, ''), sprintf($item, ',"lockToken":7'), '{"brokerProperties":{"lockToken":"x"}}', '7')
{
	my $before = events();
	$log = $node->log_size;
	$cloud->fault('eventgrid', 'recorded', target => 'receive', status => 200, headers => {},
		body => qq({"more":[{"value":1}],"value":[$broken,$broken]}));
	$node->poll;
	is(scalar $node->log_lines('damaged message from server "queue" is left in the queue', $log),
		2, 'an event that cannot be settled is not stored');
	is(events(), $before, '... but left');
}

# The work was done and only its answer is lost: these come again.
configure(lock_seconds => 1);
my $before = events();
$cloud->fault('eventgrid', 'drop', target => 'receive', perform => 1);
publish(heartbeats(10));
drains('a received batch is lost on its way', $before, 10);
configure();
$cloud->fault('eventgrid', 'drop', target => 'acknowledge', perform => 1);
arrives('acknowledged, but nobody heard of it', 10);
is(queue()->{dropped}, 0, 'nothing was ever dropped');

###########################################################################
# Poison
###########################################################################

# The bytes of an event are those that were published: numbers, escapes,
# members that stand twice.
my $exact =
  '{"specversion":"1.0", "id":"1","source":"s","type":"t","data":{"Event":"Odd","A":1.10,"A":1E+2,"B":"\u00e9\/" }}';
my $deep = '{"specversion":"1.0","id":"2","source":"s","type":"t","data":'
  . '[' x 200 . ']' x 200 . '}';
my $nul = '{"specversion":"1.0","id":"3","source":"s","type":"t","data":{"Event":"Heartbeat\u0000Received"}}';
my $long = '{"specversion":"1.0","id":"4","source":"s","type":"t","data":{"Event":"Odd","A":' . '1' x 2000 . '}}';
my $brackets = compact(
	{
		specversion => '1.0',
		id => '5',
		source => 's"}]}',
		type => '\\',
		data => { %{ heartbeats(1)->[0] }, Note => ']}"\\' }
	});
$before = events();
my $mark = $cloud->last_request;
publish(heartbeats(4));
publish([ $exact, $deep, $nul, $long, $brackets, '7', 'null', '{}' ], raw => 1);
publish(['no JSON at all']);
publish(heartbeats(4));
$node->poll;
is(scalar(requests('receive', since => $mark, status => 200)),
	2, 'poison in one reply with others');
is(events() - $before, 9, '... the others are stored');
is(in_queue(), 0, '... the subscription is empty');
is(queue()->{dropped}, 0, '... and nothing was rejected');
is( value(
		q{SELECT string_agg(convert_from(body, 'UTF8'), E'\n' ORDER BY body) FROM damoov.quarantine}
	),
	join("\n", sort $exact, $deep, $nul, $long, '7', 'null', '{}', 'no JSON at all'),
	'... which is kept with its exact bytes');
is(ledger('balanced'), 't', '... and the ledger is balanced');

###########################################################################
# Sessions and transactions
###########################################################################

two_at_once(300);
settled_after_commit(settles => 1);

# The service ends no receive within ten seconds: a short call makes one all
# the same, and waits for it; another is not begun when it would end too late.
configure(wait_cap => undef);
$mark = $cloud->last_request;
$node->poll(2);
is_deeply(
	[ map { "$_->{status} $_->{parameters}{maxWaitTime}" } requests('receive', since => $mark) ],
	['200 10'],
	'a short call makes a receive and waits for its end');
$mark = $cloud->last_request;
$before = events();
publish(heartbeats(1));
$node->poll(9);
is(events() - $before, 1, 'a short call receives what is there');
is(scalar(requests('receive', since => $mark)),
	1, '... and begins no receive that would end too late');
my $poller = $node->start_sql('CALL damoov_poll(max_seconds => 60)');
eventually { queue()->{waiting_polls} == 1 } 'a long poll waits';
value("SELECT pg_cancel_backend($poller->{pid})");
like($node->finish_sql($poller), qr/57014/, '... and is cancelled');
eventually { queue()->{waiting_polls} == 0 } '... and gone';

# What the service hands to a session that has left comes back after the lock.
configure(wait_cap => undef, lock_seconds => 2, notice_leavers => JSON::PP::false);
$poller = $node->start_sql('CALL damoov_poll(max_seconds => 60)');
eventually { queue()->{waiting_polls} == 1 } 'a long poll waits';
value("SELECT pg_cancel_backend($poller->{pid})");
like($node->finish_sql($poller), qr/57014/, '... and is cancelled');
$before = events();
publish(heartbeats(1));
eventually { queue()->{in_flight} == 1 }
'... which the service does not notice';
configure(lock_seconds => 60, notice_leavers => JSON::PP::true);
drains('what it handed out then', $before, 1);

###########################################################################
# What was recorded of the service
###########################################################################

my $recordings = ($ENV{DAMOOV_RECORDINGS} // '') . '/eventgrid-pull-2023-2024.json';
my %recorded = -f $recordings
  ? map { $_->{source}{file} => $_->{exchanges} } @{ decode_json(slurp_file($recordings))->{groups} }
  : ();

sub operation
{
	my ($exchange) = @_;
	return $exchange->{uri} =~ /:(\w+)\?/ ? $1 : '';
}

# Has the service answer with these exchanges of a recording, each in its turn.
sub replay
{
	my ($service, $name, @which) = @_;
	my @exchanges = @{ $recorded{$name} }[@which];

	$service->fault(
		'eventgrid', 'recorded',
		target => operation($_),
		status => $_->{status},
		headers => $_->{headers},
		body => compact($_->{body})) for @exchanges;
	return @exchanges;
}

# What the quarantine keeps of an event: decoded, what was encoded.
sub kept
{
	my ($event) = @_;
	return decode_base64($event->{data_base64}) if exists $event->{data_base64};
	return ref $event->{data} ? compact($event) : $event->{data};
}

# Were the events stored as they were recorded, and the requests made that
# were recorded?  Theirs is no notification, and ends in the quarantine.
sub replayed
{
	my ($name, $service, $server, $since, @exchanges) = @_;
	my @wanted = map { kept($_->{event}) } map { @{ $_->{body}{value} // [] } } @exchanges;
	my %wanted = map { $_ => 1 } @wanted;
	my @made = $service->requests(since => $since);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	my $stored = $server->sql(q{SELECT convert_from(body, 'UTF8') FROM damoov.quarantine});
	is(scalar(grep { index($stored, $_) < 0 } keys %wanted), 0,
		"$name: its events are kept");
	is($service->pending_faults, 0, '... all its replies were asked for');
	for my $exchange (grep { $_->{request_body}{lockTokens} } @exchanges)
	{
		my ($request) = grep { $_->{target} eq operation($exchange) } @made;
		my %tokens = map { $_ => 1 } @{ $request->{tokens} };
		is_deeply([ sort keys %tokens ], [ sort @{ $exchange->{request_body}{lockTokens} } ],
			'... with the lock tokens of ' . operation($exchange));
	}
	is(scalar(grep { $_->{target} eq 'acknowledge' } @made),
		scalar(grep { operation($_) eq 'acknowledge' } @exchanges),
		'... and acknowledged once');
	return;
}

if (%recorded)
{
	for my $story (
		[ 'recording_publishes_multiple_cloud_events.json', 0, 1, 2 ],
		[ 'TestSendEventsAndReceiveEvents.json', 0, 1 ],
		[ 'TestFailedAck.json', 0, 1 ],
		[ 'TestFailedAck.json', 0, 2 ])
	{
		my ($name, @which) = @$story;

		$mark = $cloud->last_request;
		$log = $node->log_size;
		my @exchanges = replay($cloud, $name, @which);
		$node->poll;
		replayed($name, $cloud, $node, $mark, @exchanges);
		is(scalar $node->log_lines('could not', $log), 0, '... without trouble');
	}

	# of lock tokens that are not ours: none of ours is acknowledged by it
	$mark = $cloud->last_request;
	replay($cloud,
		'test_eg_client_exceptions.pyTestEGClientExceptionstest_acknowledge_cloud_event_invalid_token.json', 0);
	arrives('another lock token is not known', 2);
	is(join(' ', map { scalar @{ $_->{tokens} } } requests('acknowledge', since => $mark)),
		'2 2', '... and ours are acknowledged again');

	for my $refusal (
		[ 'not_found', 'the topic or its event subscription does not exist (NotFound, HTTP status 404)' ],
		[ 'timeout_max_value', "the service refuses an option's value (ArgumentInvalid, HTTP status 400)" ],
		[ 'max_events_negative', "the service refuses an option's value (BadRequest, HTTP status 400)" ])
	{
		my ($name, $error) = @$refusal;

		replay($cloud, "test_eg_client_exceptions.pyTestEGClientExceptionstest_receive_cloud_event_$name.json", 0);
		add_source(name => 'recorded');
		value("CALL damoov_poll('recorded', 1)");
		is(value("SELECT last_error FROM damoov.status WHERE source = 'recorded'"),
			$error, "recorded refusal: $name");
		value('DROP SERVER recorded CASCADE');
	}
}

###########################################################################
# Keys
###########################################################################

my ($second, $third) = map { encode_base64($_, '') }
  'second key, made for this test!!', 'third key, made for this test!!!';

sub user_mapping
{
	return value("ALTER USER MAPPING FOR CURRENT_USER SERVER queue OPTIONS ($_[0])");
}

user_mapping("ADD secondary_access_key '$second'");
$cloud->settings(access_key => $second, secondary_access_key => undef);
$log = $node->log_size;
arrives('only the second key is valid', 5);
arrives('... and once more', 5);
is(scalar $node->log_lines('could not', $log), 0, '... which is no trouble');
$cloud->settings(access_key => $third);
user_mapping("SET access_key '$third'");
arrives('the first key is replaced', 5);
user_mapping('DROP secondary_access_key');
arrives('... and the only one', 5);

# Entra ID instead of a key
$mark = $cloud->last_request;
value('DROP SERVER queue CASCADE');
add_source(entra($cloud, 'access_key'));
arrives('a token of Entra ID', 5);
is(join(' ', sort keys %{ { map { $_->{headers}{authorization} => 1 } requests('receive', since => $mark) } }),
	'Bearer', '... is what is sent');
value('DROP SERVER queue CASCADE');

###########################################################################
# What can be wrong
###########################################################################

# options and secrets, then the status and how many requests it costs
my %wrong = (
	no_endpoint => [ { endpoint => undef }, {}, 'misconfigured', 0,
		'option "endpoint" is not set' ],
	no_topic => [ { topic => undef }, {}, 'misconfigured', 0,
		'option "topic" is not set' ],
	no_subscription => [ { subscription => undef }, {}, 'misconfigured', 0,
		'option "subscription" is not set' ],
	plain_http => [ { endpoint => 'http://ns.westeurope-1.eventgrid.azure.net' },
		{}, 'misconfigured', 0, 'the endpoint is not an https URL' ],
	custom_topic => [
		{ endpoint => 'https://topic.westeurope-1.eventgrid.azure.net/api/events' },
		{}, 'misconfigured', 0,
		'option "endpoint" is not a namespace\'s, of the form https://name.region-1.eventgrid.azure.net'
	],
	short_wait => [ { wait_seconds => 9 }, {}, 'misconfigured', 0,
		'option "wait_seconds" must be between 10 and 120 for a server of type "eventgrid"' ],
	no_key => [ {}, { access_key => undef }, 'misconfigured', 0,
		'user mapping has no "access_key"' ],
	odd_key => [ {}, { access_key => 'no base64!' }, 'misconfigured', 0,
		'"access_key" of the user mapping is not base64' ],
	odd_second_key => [ {}, { access_key => $third, secondary_access_key => 'no base64!' },
		'misconfigured', 0,
		'"secondary_access_key" of the user mapping is not base64' ],
	wrong_key => [ {}, { access_key => $second }, 'auth_failed', 2,
		'the access key or token is not valid (Unauthorized, HTTP status 401)' ],
	wrong_keys => [ {}, { access_key => $second, secondary_access_key => $second },
		'auth_failed', 3,
		'the access key or token is not valid (Unauthorized, HTTP status 401)' ],
	wrong_topic => [ { topic => 'nowhere' }, { access_key => $third }, 'misconfigured', 1,
		'the topic or its event subscription does not exist (NotFound, HTTP status 404)' ],
	wrong_subscription => [ { subscription => 'nobody' }, { access_key => $third },
		'misconfigured', 1,
		'the topic or its event subscription does not exist (NotFound, HTTP status 404)' ]);

for my $name (sort keys %wrong)
{
	my ($options, $secrets, $state, $requests, $error) = @{ $wrong{$name} };

	$log = $node->log_size;
	$mark = $cloud->last_request;
	add_source(name => $name, options => $options, secrets => $secrets);
	value("CALL damoov_poll('$name', 1)");
	is(value("SELECT state, last_error FROM damoov.status WHERE source = '$name'"),
		"$state|$error", "$name: status");
	is(scalar($cloud->requests(since => $mark)), $requests, "$name: requests");
	is( scalar $node->log_lines(
			"LOG:  could not receive messages from server \"$name\": \Q$error\E\$", $log),
		1,
		"$name: said once in the log");
	value("DROP SERVER $name CASCADE");
}

# What a refusal of the service means
for my $refusal (
	[ 400, 'ArgumentInvalid', 'misconfigured', "the service refuses an option's value" ],
	[ 403, 'Forbidden', 'auth_failed',
		'the access key or token has no right to receive, or the network is not let in' ],
	[ 410, 'Gone', 'misconfigured', 'the service refused the request' ],
	[ 504, 'GatewayTimeout', 'retrying', 'the service failed' ])
{
	my ($status, $code, $state, $words) = @$refusal;

	$cloud->fault('eventgrid', 'error', target => 'receive', status => $status,
		code => $code, message => "said of $third");
	add_source(name => 'refused', secrets => { access_key => $third });
	value("CALL damoov_poll('refused', 1)");
	is( value("SELECT state, last_error FROM damoov.status WHERE source = 'refused'"),
		"$state|$words ($code, HTTP status $status)",
		"HTTP status $status");
	value('DROP SERVER refused CASCADE');
	$cloud->clear_faults;
}
like(
	slurp_file($node->logfile, $log),
	qr/DETAIL:  The service calls this request "[0-9A-F]{8}-[0-9A-F-]{27}"/,
	'the log has the name of the request');
like($node->error_of("CREATE SERVER odd FOREIGN DATA WRAPPER damoov OPTIONS (batch_size '101')"),
	qr/^22023: option "batch_size" must be an integer between 1 and 100/,
	'a batch of more than any type takes is refused at once');
$node->add_source($cloud, name => 'large', options => { batch_size => 11 });
value("CALL damoov_poll('large', 1)");
is( value("SELECT last_error FROM damoov.status WHERE source = 'large'"),
	'option "batch_size" must be between 1 and 10 for a server of type "sqs"',
	'... and one of more than this type takes, in the status');
$node->stop;

###########################################################################
# The worker
###########################################################################

enter('eventgrid_worker');

# The poll that began with this test: libcurl would not wait longer than thirty
# seconds for the first byte by itself.
my @polls = requests('receive');
eventually { time - $polls[0]{time} > 33 } 'a minute of silence is waited for';
@polls = requests('receive');
like(join(' ', map { $_->{status} // 'waits' } @polls), qr/^(200 )*waits$/,
	'... and no poll breaks off');
is($polls[0]{parameters}{maxWaitTime}, 60, '... of sixty seconds');
publish(heartbeats(2));
eventually { events() == 2 && queue()->{deleted} == 2 }
'... and answered when something comes';

# Ended during its long poll
eventually { queue()->{waiting_polls} == 1 } 'a long poll waits';
ends_at_once();

# While nothing can be stored, the locks are kept.
create(undef, lock_seconds => 4, wait_cap => 0.2);
value("ALTER SERVER queue OPTIONS (ADD lock_seconds '4')");
refuse('events');
receives_anew();
$mark = $far->last_request;
$far->fault('eventgrid', 'error', target => 'renewLock', status => 503);
publish(heartbeats(5));
eventually { requests('renewLock', since => $mark, status => 200) >= 3 }
'events that cannot be stored are renewed';
is(join(' ', map { scalar @{ $_->{tokens} } } (requests('renewLock', since => $mark))[ 1 .. 3 ]),
	'5 5 5', '... all of them');
is(scalar(requests('acknowledge', since => $mark)), 0, '... not acknowledged');
is(value("SELECT last_error FROM damoov.status WHERE source = 'queue'"),
	'could not store messages: no room for the test', '... and the status says why');

# A worker that leaves gives them back, but not at once.
my $pid = worker_pid();
my $began = time;
kill 'TERM', $pid;
eventually { !kill 0, $pid } 'a worker that cannot store is terminated';
cmp_ok(time - $began, '<', 1, '... and ends within a second');
given_back_once(5, $mark);
is(queue()->{in_flight}, 5, '... when it is there again');
allow('events');
eventually { events() == 7 && queue()->{deleted} == 7 } '... which is stored then';
is(queue()->{dropped}, 0, '... and nothing was dropped');
is(value('SELECT sum(duplicate) FROM damoov.ledger'), 0,
	'... nor delivered twice: the locks were kept');

# Locks that run out: what comes again takes the place of the copy that is held.
create(undef, lock_seconds => 1, wait_cap => 0.2, max_delivery_count => 1000);
value("ALTER SERVER queue OPTIONS (SET lock_seconds '60')");
refuse('events');
receives_anew();
$mark = $far->last_request;
publish(heartbeats(5));
eventually { grep({ ($_->{events} // 0) == 5 } requests('receive', since => $mark)) >= 3 } 'events that are held come again';
$pid = worker_pid();
kill 'TERM', $pid;
eventually { !kill 0, $pid } '... until the worker is terminated';
given_back_once(5, $mark);
allow('events');
eventually { events() == 12 && queue()->{deleted} == 12 } '... and they are stored';
is(value('SELECT sum(duplicate) FROM damoov.ledger'), 0, '... by one copy of each');
value("ALTER SERVER queue OPTIONS (SET lock_seconds '2')");

# The same as it was recorded
if (%recorded)
{
	create(undef, lock_seconds => 2, wait_cap => 0.2);
	refuse('quarantine');
	$mark = $far->last_request;
	my @exchanges = replay($far, 'TestReleaseWithDelay.json', 0, 1);
	eventually { requests('renewLock', since => $mark) > 0 } 'a recorded event cannot be stored';
	$pid = worker_pid();
	kill 'TERM', $pid;
	eventually { !kill 0, $pid } '... and is given back';
	allow('quarantine');
	push @exchanges, replay($far, 'TestReleaseWithDelay.json', 2, 3);
	eventually { $far->pending_faults == 0 } '... and comes again';
	replayed('TestReleaseWithDelay.json', $far, $worker, $mark, @exchanges);

	for my $story ([ 'TestRenewEventLocks.json', 0, 1, 2 ],
		[ 'recording_renews_a_cloud_event.json', 2, 3 ])
	{
		my ($name, @which) = @$story;

		value('TRUNCATE damoov.quarantine');
		refuse('quarantine');
		$mark = $far->last_request;
		@exchanges = replay($far, $name, @which);
		eventually { requests('renewLock', since => $mark, status => 200) > 0 } "$name: is renewed";
		allow('quarantine');
		eventually { requests('acknowledge', since => $mark, status => 200) > 0 } '... and acknowledged';
		push @exchanges, { uri => ':acknowledge?' } if @which < 3;
		replayed($name, $far, $worker, $mark, @exchanges);
	}
	create(undef, wait_cap => undef);
	publish(heartbeats(1));
	eventually { queue()->{deleted} == 13 } 'the subscription goes on';
}

# Killed in the middle; the server restarts all its processes.
create(undef, wait_cap => 2);    # a receive that has begun does not know of a new key
busy_and_killed();
is(queue()->{dropped}, 0, '... and nothing was dropped');

# A wrong key while it runs, with a service that repeats what it was sent
$far->settings(access_key => $second, secondary_access_key => undef);
eventually {
	value("SELECT state, last_error FROM damoov.status WHERE source = 'queue'") eq
	  'auth_failed|the access key or token is not valid (Unauthorized, HTTP status 401)'
} 'a key that is not valid any more is noticed';
my @activity = value('SELECT query FROM pg_stat_activity');
value("ALTER USER MAPPING FOR CURRENT_USER SERVER queue OPTIONS (SET access_key '$second')");
my $stored = events();
publish(heartbeats(3));
eventually { events() == $stored + 3 } '... and replaced without a restart';

# Secrets are nowhere.
has_no_secret(
	[ Damoov::Cloud::EVENTGRID_KEY, $second, $third, 'SharedAccessSignature', '&s=', '%26s%3D', 'sig=' ],
	[ 'the log', slurp_file($worker->logfile) ],
	[ 'the other log', slurp_file($node->logfile) ],
	[ 'damoov.status', value('SELECT to_jsonb(s) FROM damoov.status AS s') ],
	[ 'damoov.sources', value('SELECT to_jsonb(s) FROM damoov.sources AS s') ],
	[ 'pg_stat_activity', @activity ],
	[ 'pg_foreign_server', value('SELECT srvoptions FROM pg_foreign_server') ]);
$worker->stop;

done_testing();
