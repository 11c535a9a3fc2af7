# Event Grid through an Azure Storage queue, against the vendor's emulator and
# against the stand-in: everything that is sent is stored once and leaves the
# queue, whatever the queue does meanwhile.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Azurite;
use Damoov::Node;
use Damoov::Stage;
use Damoov::StorageQueue;
use Damoov::Story;
use Encode qw(encode_utf8);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw();

my ($cloud, $node) = stage('storagequeue', type => 'storagequeue', databases => 'watched');
my $azurite = Damoov::Azurite->new;
my %service = (
	azurite => Damoov::StorageQueue->new($azurite->base_url),
	cloud => Damoov::StorageQueue->new($cloud->base_url));
my $driver = driver();
my $next = 0;

# JSON texts.
sub texts
{
	my ($count) = @_;
	return map { compact($_) } @{ heartbeats($count) };
}

# As Event Grid delivers.
sub grid_events
{
	return map { grid_event($_, token('event', $next++)) } @_;
}

sub new_database
{
	my ($name) = @_;
	$node->sql("CREATE DATABASE $name");
	$node->sql('CREATE EXTENSION damoov', $name);
	return;
}

# A source of the emulator or of the stand-in.
sub add_source_of
{
	my ($where, %given) = @_;
	my %options = (endpoint => $service{$where}->endpoint, %{ $given{options} // {} });

	$service{$where}->create($given{queue} // 'damoov');
	add_source(%given, options => \%options);
	return;
}

sub sas_of
{
	my ($queue, %options) = @_;
	return (account_key => undef, sas => Damoov::StorageQueue::sas($queue, %options));
}

# What tells one request from another, of both services alike: its status, the
# names of its headers and of the elements in its body.
my %of_the_connection = map { $_ => 1 }
  qw(connection keep-alive server transfer-encoding content-length date);

sub shape
{
	my ($reply) = @_;
	my @headers =
	  grep { !$of_the_connection{$_} } sort keys %{ $reply->{headers} };
	my @elements = $reply->{content} =~ /<(\w+)/g;

	return join ' ', $reply->{status}, "@headers", "@elements",
	  $reply->{headers}{'x-ms-error-code'} // ();
}

###########################################################################
# The stand-in is what the emulator is
###########################################################################

sub conversation
{
	my ($client) = @_;
	my @shapes;
	my $ask = sub {
		my ($name, @request) = @_;
		my $reply = $client->request(@request);
		push @shapes, "$name: " . shape($reply);
		return $reply;
	};
	my $messages = 'talk/messages';
	my $wrong_key = Damoov::StorageQueue::KEY =~ s/^..../AAAA/r;
	my $text = '<QueueMessage><MessageText>a &lt; b</MessageText></QueueMessage>';

	$ask->('create', 'PUT', 'talk', {});
	$ask->('create again', 'PUT', 'talk', {});
	$ask->('get none', 'GET', $messages, { numofmessages => 32, visibilitytimeout => 60 });
	$ask->('put', 'POST', $messages, {}, body => $text) for 1 .. 2;
	$ask->('peek', 'GET', $messages, { peekonly => 'true', numofmessages => 1 });
	$ask->('count', 'GET', 'talk', { comp => 'metadata' });
	my $got = $ask->('get', 'GET', $messages, { numofmessages => 32, visibilitytimeout => 60 });
	my @ids = $got->{content} =~ m{<MessageId>(.*?)</MessageId>}g;
	my @receipts = $got->{content} =~ m{<PopReceipt>(.*?)</PopReceipt>}g;
	my $renewed = $ask->('renew', 'PUT', "$messages/$ids[0]",
		{ popreceipt => $receipts[0], visibilitytimeout => 60 });
	$ask->('delete with the old receipt', 'DELETE', "$messages/$ids[0]",
		{ popreceipt => $receipts[0] });
	$ask->('renew with the old receipt', 'PUT', "$messages/$ids[0]",
		{ popreceipt => $receipts[0], visibilitytimeout => 60 });
	$ask->('delete', 'DELETE', "$messages/$ids[0]",
		{ popreceipt => $renewed->{headers}{'x-ms-popreceipt'} });
	$ask->('delete again', 'DELETE', "$messages/$ids[0]",
		{ popreceipt => $renewed->{headers}{'x-ms-popreceipt'} });
	$ask->('renew what is gone', 'PUT', "$messages/$ids[0]",
		{ popreceipt => $receipts[0], visibilitytimeout => 60 });
	$ask->('give back', 'PUT', "$messages/$ids[1]",
		{ popreceipt => $receipts[1], visibilitytimeout => 0 });
	$ask->('get what was given back', 'GET', $messages, { visibilitytimeout => 60 });
	$ask->('too many', 'GET', $messages, { numofmessages => 33 });
	$ask->("lease of $_", 'GET', $messages, { visibilitytimeout => $_ }) for 0, 604801;
	$ask->("count with a SAS to $_", 'GET', 'talk', { comp => 'metadata' },
		sas => Damoov::StorageQueue::sas('talk', rights => $_)) for 'pu', 'r';
	$ask->('no queue', 'GET', 'nowhere/messages', {});
	$ask->('wrong key', 'GET', $messages, {}, key => $wrong_key);
	$ask->('SAS', 'GET', $messages, {}, sas => Damoov::StorageQueue::sas('talk'));
	$ask->('SAS without right', 'GET', $messages, {},
		sas => Damoov::StorageQueue::sas('talk', rights => 'a'));
	$ask->('SAS that expired', 'GET', $messages, {},
		sas => Damoov::StorageQueue::sas('talk', seconds => -60));
	$ask->('SAS of another queue', 'GET', $messages, {},
		sas => Damoov::StorageQueue::sas('other'));
	return @shapes;
}

is_deeply(
	[ conversation($service{cloud}) ],
	[ conversation($service{azurite}) ],
	'the stand-in answers as the emulator does');

###########################################################################
# A thousand notifications
###########################################################################

my $story =
  $cloud->fleet(drivers => 10, trips => 10, points => 12, shuffle => 7, publish => JSON::PP::false, tell => 1);
my @thousand = map { encode_utf8($_) } @{ $story->{texts} };
push @thousand, texts(1000 - @thousand);

my $tables = join ', ',
  map { "(SELECT count(*) FROM damoov.$_)" } qw(events trips trip_points trip_events crashes heartbeats users downloads);

# Puts them into a queue and wants them all in a database of their own.
sub story
{
	my ($name, $where, %given) = @_;
	my $messages = $given{messages};
	my $queue = $given{database} =~ tr/_/-/r;

	new_database($given{database});
	add_source_of($where, %given, queue => $queue);
	$service{$where}->put($queue, $messages, encode => $given{encode});
	$node->poll(120, $given{database});
	is($service{$where}->count($queue), 0, "$name: the queue is empty");
	is( $node->sql(
			'SELECT received, stored, duplicate, quarantined, balanced FROM damoov.ledger',
			$given{database}),
		join('|', scalar @$messages, $given{stored},
			@$messages - $given{stored}, 0, 't'),
		'... each is stored once');
	return $node->sql("SELECT $tables", $given{database});
}

my $distinct = $story->{distinct_notifications} + @thousand - $story->{notifications};
my $result = story(
	'Azurite, base64, SharedKey', 'azurite',
	database => 'azurite_base64',
	messages => [ grid_events(@thousand) ],
	encode => 1,
	stored => $distinct);
is( $node->sql(
		'SELECT string_agg(track_token::text, $$ $$ ORDER BY track_token) FROM damoov.trips',
		'azurite_base64'),
	join(' ', sort @{ $story->{trips} }),
	'... the trips alive are there, and no others');
is($node->sql('SELECT count(*) FROM damoov.trip_points', 'azurite_base64'),
	$story->{points}, '... with all their points');
is( story(
		'Azurite, plain, SAS', 'azurite',
		database => 'azurite_plain',
		messages => \@thousand,
		secrets => { sas_of('azurite-plain') },
		stored => $distinct),
	$result,
	'... in the same tables');
is( story(
		'stand-in, each twice, base64, SAS', 'cloud',
		database => 'cloud_twice',
		messages => [ map { $_, $_ } grid_events(@thousand) ],
		encode => 1,
		secrets => { sas_of('cloud-twice') },
		stored => $distinct),
	$result,
	'... in the same tables');
is( scalar(grep { $_->{target} ne 'GetQueueMetadata' } $cloud->requests(status => 403)),
	4, 'nothing was refused but in the conversation');

$cloud->reset_all;    # its records are many now

###########################################################################
# What a queue may do
###########################################################################

sub left
{
	my ($queue) = @_;
	return $service{cloud}->count($queue // 'damoov');
}

# Sends as many new heartbeats, receives, and wants them all.
sub arrives_at
{
	my ($what, $count, $where) = @_;
	my $before = events();

	$service{ $where // 'cloud' }->put('damoov', [ texts($count) ]);
	$node->poll;
	is(events() - $before, $count, "$what: each is stored once");
	is($service{ $where // 'cloud' }->count('damoov'), 0, "$what: the queue is empty");
	return;
}

sub asked
{
	my ($target, $mark) = @_;
	return $cloud->requests(since => $mark, target => $target);
}

add_source_of('cloud');
arrives_at('less than a batch', 31);
arrives_at('a batch', 32);
my $mark = $cloud->last_request;
arrives_at('three batches', 96);
my @receives = asked('GetMessages', $mark);
is_deeply(
	[ $receives[0]{parameters}{numofmessages}, $receives[0]{parameters}{visibilitytimeout} ],
	[ 32, 60 ],
	'a receive asks for 32 messages and a minute');
my @deletes = asked('DeleteMessage', $mark);
is(scalar @deletes, 96, 'each message is deleted once');
my %connections = map { $_->{connection} => 1 } @deletes;
cmp_ok(scalar keys %connections, '>=', 4, '... several at the same time');

# How many wait: the right to read is needed
measured('a key', 1200, 1.5, 1);
value('ALTER USER MAPPING FOR CURRENT_USER SERVER queue OPTIONS (DROP account_key, ADD sas $$'
	  . Damoov::StorageQueue::sas('damoov') . '$$)');
measured('a SAS to process and update', 1200, 1.5, 0);
value('ALTER USER MAPPING FOR CURRENT_USER SERVER queue OPTIONS (SET sas $$'
	  . Damoov::StorageQueue::sas('damoov', rights => 'rpu') . '$$)');
measured('a SAS to read, process and update', 1200, 1.5, 1);
value('DROP SERVER queue CASCADE');
add_source_of('cloud');

for my $where ('azurite', 'cloud')
{
	my $client = $service{$where};
	my $before;

	if ($where eq 'azurite')
	{
		$node->sql('DROP SERVER queue CASCADE');
		add_source_of('azurite');
	}
	# all that XML has to spell in another way, and a text beyond ASCII
	my $text = compact(
		{
			%{ heartbeats(1)->[0] },
			Sender => "<a & \"b\"> ']]> \x{e4}\x{20ac}\x{1f600}"
		});
	$client->put('damoov', [ " \r\n\t" . encode_utf8($text) ]);
	$node->poll;
	is( $node->sql(
			"SELECT payload->>'Sender' FROM damoov.events ORDER BY event_id DESC LIMIT 1"),
		encode_utf8("<a & \"b\"> ']]> \x{e4}\x{20ac}\x{1f600}"),
		"$where: a text with everything XML has to escape");

	# received and given back, five times and four times
	my ($poison, $late) = texts(2);
	my %rounds = ($poison => 5, $late => 4);
	for my $message ($poison, $late)
	{
		$client->put('damoov', [$message]);
		for (1 .. $rounds{$message})
		{
			my $got = $client->request('GET', 'damoov/messages', { visibilitytimeout => 60 });
			my ($id) = $got->{content} =~ m{<MessageId>(.*?)<};
			my ($receipt) = $got->{content} =~ m{<PopReceipt>(.*?)<};
			$client->request('PUT', "damoov/messages/$id",
				{ popreceipt => $receipt, visibilitytimeout => 0 });
		}
		$before = events();
		$node->poll;
		is(events() - $before, $message eq $late ? 1 : 0,
			"$where: a message that was received $rounds{$message} times before");
		is($client->count('damoov'), 0, '... leaves the queue');
	}
	is( $node->sql(
			"SELECT reason, message, convert_from(body, 'UTF8') FROM damoov.quarantine ORDER BY quarantine_id DESC LIMIT 1"
		),
		"poison|message was received 5 times and not settled|$poison",
		"$where: ... the first is in the quarantine as it is");
	if ($where eq 'azurite')
	{
		$node->sql('DROP SERVER queue CASCADE');
		add_source_of('cloud');
	}
}
$node->sql("ALTER SERVER queue OPTIONS (ADD max_dequeue_count '1')");
my ($message) = texts(1);
$service{cloud}->put('damoov', [$message]);
$service{cloud}->request('GET', 'damoov/messages', { visibilitytimeout => 1 });
eventually { $node->poll; left() == 0 } 'a message that was received once before';
is( $node->sql(
		"SELECT message FROM damoov.quarantine ORDER BY quarantine_id DESC LIMIT 1"),
	'message was received 1 times and not settled',
	'... is poison where the option says so');
is( $node->sql(
		"SELECT outcome FROM damoov_retry((SELECT max(quarantine_id) FROM damoov.quarantine))"),
	'stored',
	'... and can be stored from the quarantine');
$node->sql('ALTER SERVER queue OPTIONS (DROP max_dequeue_count)');

# what is no notification
my $quarantined = $node->sql('SELECT count(*) FROM damoov.quarantine');
$service{cloud}->put('damoov', [ '', 'no JSON', '{"Event":"HeartbeatReceived"}' ]);
$node->poll;
is(left(), 0, 'what is no notification leaves the queue');
is($node->sql('SELECT count(*) FROM damoov.quarantine') - $quarantined,
	3, '... for the quarantine');

# in the form of Event Grid, put there by the stand-in
my $before = events();
publish(heartbeats(3));
$node->poll;
is(events() - $before, 3, 'events in base64');

# what happens to receives, then to deletes
for my $trouble (
	[ 'drop' ],
	[ 'drop', reset => 1 ],
	[ 'error', status => 500, code => 'OperationTimedOut' ],
	[ 'error', status => 503, code => 'ServerBusy', retry_after => 1 ],
	[ 'html' ],
	[ 'truncate' ])
{
	my ($mode, %options) = @$trouble;
	my $name = join ' ', @$trouble;

	# a lost answer leaves its messages in flight until their lease ends
	$node->sql("ALTER SERVER queue OPTIONS (ADD visibility_seconds '2')");
	$before = events();
	$cloud->fault('storagequeue', $mode, target => 'GetMessages', %options);
	$service{cloud}->put('damoov', [ texts(12) ]);
	eventually { $node->poll(10); left() == 0 }
	"receive fails ($name): the queue gets empty";
	is(events() - $before, 12, '... each is stored once');
	$node->sql('ALTER SERVER queue OPTIONS (DROP visibility_seconds)');

	# the answer of a delete has no body to be cut
	next if $mode eq 'truncate';
	$cloud->fault('storagequeue', $mode, target => 'DeleteMessage', times => 5, %options);
	arrives_at("settling fails ($name)", 12);
	is($cloud->pending_faults, 0, '... and the faults were met');
}

$node->sql("ALTER SERVER queue OPTIONS (ADD visibility_seconds '2')");
$before = events();
$cloud->fault('storagequeue', 'body', target => 'GetMessages',
	text => '<QueueMessagesList><QueueMessage>');
$service{cloud}->put('damoov', [ texts(2) ]);
$node->poll(10);
is($node->sql("SELECT state, last_error FROM damoov.status WHERE source = 'queue'"),
	'retrying|the reply could not be understood', 'a damaged list');
eventually { $node->poll(10); left() == 0 } '... is asked for again';
is(events() - $before, 2, '... each is stored once');

# The work was done and only its answer is lost.
$before = events();
$cloud->fault('storagequeue', 'drop', target => 'GetMessages', perform => 1);
$service{cloud}->put('damoov', [ texts(10) ]);
eventually { $node->poll(10); left() == 0 }
'a received batch is lost on its way and comes again';
is(events() - $before, 10, '... each is stored once');
my $log = $node->log_size;
$mark = $cloud->last_request;
$cloud->fault('storagequeue', 'drop', target => 'DeleteMessage', perform => 1);
arrives_at('deleted, but nobody heard of it', 1);
is_deeply(
	[ map { $_->{status} } asked('DeleteMessage', $mark) ],
	[ 0, 404 ],
	'... is asked once more, and then known to be gone');

# Somebody else has it, and it comes again.
$mark = $cloud->last_request;
$before = events();
$cloud->fault('storagequeue', 'error', target => 'DeleteMessage', status => 400, code => 'PopReceiptMismatch');
$service{cloud}->put('damoov', [ texts(1) ]);
$node->poll;
is(scalar asked('DeleteMessage', $mark), 1, 'a lease was lost: it is not tried again');
eventually { $node->poll; left() == 0 } '... the message comes again';
is(events() - $before, 1, '... and is a duplicate');
is(scalar $node->log_lines('could not settle', $log), 0, '... nobody is told');
$node->sql('ALTER SERVER queue OPTIONS (DROP visibility_seconds)');

for my $offset (3600, -3600)
{
	$log = $node->log_size;
	$cloud->settings(clock_offset => $offset);
	$service{cloud}{offset} = $offset;
	arrives_at("the cloud's clock is $offset seconds off", 15);
	like(slurp_file($node->logfile, $log),
		qr/clock of server "queue" differs by -?3\d\d\d seconds/,
		'... and the log says so');
}
$cloud->settings(clock_offset => 0);
$service{cloud}{offset} = 0;

my @put = (send => sub { $service{cloud}->put('damoov', [ texts($_[0]) ]) }, left => \&left);
two_at_once(200, @put);
settled_after_commit(settles => 5, @put);
is($node->sql("SELECT bool_and(balanced) FROM damoov.ledger"), 't', 'the ledger is balanced');

###########################################################################
# What may be wrong with a source
###########################################################################

my $wrong_key = Damoov::StorageQueue::KEY =~ s/^..../AAAA/r;
my $endpoint = $service{cloud}->endpoint;
my %case = (
	'a wrong key' => [
		{ secrets => { account_key => $wrong_key } },
		'auth_failed|the signature was refused; the account key or the SAS is wrong, or the SAS has expired (AuthenticationFailed, HTTP status 403)'
	],
	'a wrong account' => [
		{ secrets => { account_name => 'somebody' } },
		'auth_failed|the signature was refused; the account key or the SAS is wrong, or the SAS has expired (AuthenticationFailed, HTTP status 403)'
	],
	'no queue of this name' => [
		{ queue => 'nowhere' },
		'misconfigured|the queue does not exist (QueueNotFound, HTTP status 404)'
	],
	'a SAS that expired' => [
		{ secrets => { sas_of('damoov', seconds => -60) } },
		'auth_failed|the signature was refused; the account key or the SAS is wrong, or the SAS has expired (AuthenticationFailed, HTTP status 403)'
	],
	'a SAS without the right' => [
		{ secrets => { sas_of('damoov', rights => 'a') } },
		'auth_failed|the SAS or role has no right to process the queue\'s messages (AuthorizationPermissionMismatch, HTTP status 403)'
	],
	'a SAS that is none' => [
		{ secrets => { account_key => undef, sas => 'two words' } },
		'misconfigured|"sas" is not the query of a URL'
	],
	'a key that is none' => [
		{ secrets => { account_key => 'no base64!' } },
		'misconfigured|"account_key" is not base64'
	],
	'no key' => [
		{ secrets => { account_key => undef } },
		'misconfigured|user mapping has neither "account_key" nor "sas" nor a "connection_string" with one of them'
	],
	'no queue' => [ { options => { queue => undef } }, 'misconfigured|option "queue" is not set' ],
	'no name of a queue' => [
		{ options => { queue => 'Trips/eu' } },
		'misconfigured|option "queue" is not the name of a Storage queue'
	],
	'no endpoint' => [
		{ options => { endpoint => undef } },
		'misconfigured|option "endpoint" is not set, and the user mapping names no account'
	],
	'plain http' => [
		{ options => { endpoint => 'http://telematics.queue.core.windows.net' } },
		'misconfigured|the endpoint is not an https URL'
	],
	'no lease' => [
		{ options => { visibility_seconds => 0 } },
		'misconfigured|option "visibility_seconds" must be between 1 and 604800 for a server of type "storagequeue"'
	],
	'an account of a connection string' => [
		{
			options => { endpoint => undef },
			secrets => {
				account_key => undef,
				connection_string =>
				  "DefaultEndpointsProtocol=https;AccountName=telematics;AccountKey=$wrong_key;EndpointSuffix=localhost:1"
			}
		},
		qr/^retrying\|.*telematics\.queue\.localhost:1/
	]);

$log = $node->log_size;
for my $name (sort keys %case)
{
	my ($source, $status) = @{ $case{$name} };
	add_source(%$source, name => 'wrong', api => 0);
	$mark = $cloud->last_request;
	$node->sql("CALL damoov_poll('wrong', 2)");
	my $said = $node->sql("SELECT state, last_error FROM damoov.status WHERE source = 'wrong'");
	ref $status ? like($said, $status, $name) : is($said, $status, $name);
	cmp_ok($cloud->count_requests(since => $mark), '<=', 1, '... without a storm of requests');
	$node->sql('DROP SERVER wrong CASCADE');
}

# connection strings as they are pasted
for my $pasted (
	"DefaultEndpointsProtocol=http;AccountName=telematics;AccountKey=${\ Damoov::StorageQueue::KEY};QueueEndpoint=$endpoint;",
	" queueendpoint=$endpoint/ ;\r\n accountkey=${\ Damoov::StorageQueue::KEY}\n",
	"BlobEndpoint=https://blob.invalid/;QueueEndpoint=$endpoint/;SharedAccessSignature="
	. Damoov::StorageQueue::sas('damoov'))
{
	$node->sql('DROP SERVER queue CASCADE');
	add_source(
		options => { endpoint => undef },
		secrets => { account_key => undef, connection_string => $pasted });
	arrives_at('a connection string', 3);
}
$node->sql('DROP SERVER queue CASCADE');
add_source_of('cloud', secrets => { account_key => undef, sas => '?' . Damoov::StorageQueue::sas('damoov') });
arrives_at('a SAS with its question mark', 3);

# A token of Entra ID, which the vendor's emulator checks over TLS only.
my %entra = entra($cloud, 'account_key');
$node->sql('DROP SERVER queue CASCADE');
add_source_of('cloud', %entra);
$mark = $cloud->last_request;
arrives_at('a token', 40);
is_deeply(
	[ sort { $a cmp $b } keys %{ { map { $_->{headers}{authorization} => 1 } asked('DeleteMessage', $mark) } } ],
	['Bearer'],
	'... and nothing but the token');

###########################################################################
# damoov_check()
###########################################################################

sub findings
{
	return $node->sql(
		"SELECT level || '|' || topic || '|' || finding FROM damoov_check('queue') WHERE server IS NOT NULL AND topic <> 'quarantine'");
}

$service{cloud}->put('damoov', [ texts(1) ]);
for my $case (
	[ 'a key', {}, {}, 'ok|queue|the queue can be read' ],
	[ 'a token', @entra{qw(options secrets)}, 'ok|queue|the queue can be read' ],
	[ 'a SAS that may look', {}, { sas_of('damoov', rights => 'rpu') }, 'ok|queue|the queue can be read' ],
	[ 'a SAS that may not', {}, { sas_of('damoov') },
		'warning|queue|the SAS or role may not look at messages without taking them' ],
	[ 'a short lease', { visibility_seconds => 30 }, {},
		"ok|queue|the queue can be read\nwarning|queue|messages come back after 30 seconds, also while they are being stored" ],
	[ 'no queue of this name', { queue => 'nowhere' }, {},
		'error|options|the queue does not exist (QueueNotFound, HTTP status 404)' ])
{
	my ($name, $options, $secrets, $found) = @$case;
	$node->sql('DROP SERVER queue CASCADE');
	add_source_of('cloud', options => $options, secrets => $secrets);
	is(findings(), $found, "checked with $name");
}
$cloud->settings(clock_offset => 3600);
$node->sql('DROP SERVER queue CASCADE');
add_source();
like(findings(), qr/^ok\|queue/m, 'a wrong clock is corrected');
like(findings(), qr/^warning\|clock/m, '... and said');
$cloud->settings(clock_offset => 0);
$node->poll;
is(left(), 0, 'the message was left to be received');

###########################################################################
# The worker
###########################################################################

new_database('watched');
$cloud->create_queue('beat');
$service{cloud}->create('watched');
$node->add_source($cloud, database => 'watched', name => 'beat', queue => 'beat');
add_source(database => 'watched', queue => 'watched');

sub watched
{
	my ($sql) = @_;
	return $node->sql($sql, 'watched');
}

sub watched_stored
{
	return events('watched');
}

sub receives_of_watched
{
	my ($since) = @_;
	return scalar grep { $_->{object_id} eq 'watched' } asked('GetMessages', $since);
}

# The long polls of another source of the same worker are the clock, of a second.
sub beats
{
	my ($count) = @_;
	my $seen = $cloud->queue('beat')->{receives};
	until ($cloud->queue('beat')->{receives} >= $seen + $count)
	{
		Time::HiRes::usleep(20_000);
	}
	return;
}

eventually { receives_of_watched(0) > 0 } 'the worker asks the queue';
beats(3);
$mark = $cloud->last_request;
beats(10);
cmp_ok(receives_of_watched($mark), '<=', 4, 'an empty queue is asked less and less');
# Receives that were in flight together find the queue empty one after the other,
# each later than the pause after the one before: it begins anew with the last.
$cloud->fault('storagequeue', 'delay', target => 'watched', seconds => $_) for 0, 1.5, 3, 4.5, 9;
$mark = $cloud->last_request;
publish(heartbeats(32), queue => 'watched');
eventually { $cloud->pending_faults == 0 && !grep { !$_->{answered} } asked('GetMessages', $mark) } 'several receives find nothing', 60;
my ($last) = sort { $b <=> $a } map { $_->{answered} } asked('GetMessages', $mark);
eventually { asked('GetMessages', $last) > 0 } '... and the queue is asked again';
my ($again) = asked('GetMessages', $last);
cmp_ok(scalar(grep { $_->{number} < $again->{number} } asked('ReceiveMessage', $last)),
	'<=', 4, '... as soon as after a single receive that finds nothing');
$service{cloud}->put('watched', [ texts(100) ]);
eventually { watched_stored() == 132 } '... and not forgotten';
$mark = $cloud->last_request;
# it would not be asked twice within this time without them
eventually { receives_of_watched($mark) >= 2 } '... after messages it is asked often again', 25;
eventually { $service{cloud}->count('watched') == 0 } '... and the queue is empty';

# Messages that cannot be stored yet are kept from others.
my $lease = 10;
refuse('events', 'watched');
wake("ALTER SERVER queue OPTIONS (ADD visibility_seconds '$lease')", 'watched');
eventually { grep { $_->{parameters}{visibilitytimeout} == $lease } asked('GetMessages', $mark) }
'the lease is short';
$mark = $cloud->last_request;
$before = watched_stored();
$cloud->fault('storagequeue', 'error', target => 'UpdateMessage', status => 503);
$service{cloud}->put('watched', [ texts(6) ]);
eventually { (grep { $_->{status} == 204 } asked('UpdateMessage', $mark)) >= 12 }
'while nothing can be stored, leases are renewed';
is_deeply(
	[ sort map { $_->{status} } grep { $_->{status} != 204 } asked('UpdateMessage', $mark) ],
	[503],
	'... each with the newest receipt, and again when it failed');
is(watched_stored() - $before, 0, '... nothing is stored');
is(watched("SELECT state FROM damoov.status WHERE source = 'queue'"),
	'retrying', '... says the status');
allow('events', 'watched');
eventually { $service{cloud}->count('watched') == 0 } 'when they can be stored, they leave the queue';
is(watched_stored() - $before, 6, '... each is stored once');
is( scalar(grep { $_->{status} != 204 } asked('DeleteMessage', $mark)),
	0, '... and deleted with the newest receipt');
is(watched('SELECT sum(duplicate) FROM damoov.ledger'), 0, '... and came once');

# What a worker holds when it ends is given back.
refuse('events', 'watched');
$mark = $cloud->last_request;
$before = watched_stored();
$service{cloud}->put('watched', [ texts(3) ]);
eventually { watched("SELECT last_error FROM damoov.status WHERE source = 'queue'") =~ /no room/ }
'messages wait to be stored';
$mark = $cloud->last_request;
$node->restart;
is( scalar(grep { $_->{parameters}{visibilitytimeout} eq '0' && $_->{status} == 204 } asked('UpdateMessage', $mark)),
	3, '... and are given back at a shutdown');

# A server that comes back with another type does not get what the old one left.
eventually { (grep { $_->{parameters}{visibilitytimeout} eq $lease } asked('UpdateMessage', $mark)) >= 3 }
'the next worker has them';
my $worker = watched('SELECT damoov.worker_pid()');
$cloud->create_queue('other');
watched(
	'BEGIN; DROP SERVER queue CASCADE;'
	  . "CREATE SERVER queue TYPE 'sqs' FOREIGN DATA WRAPPER damoov "
	  . Damoov::Node::options_sql(($cloud->access('sqs', 'other'))[0])
	  . '; CREATE USER MAPPING FOR CURRENT_USER SERVER queue '
	  . Damoov::Node::options_sql(($cloud->access('sqs', 'other'))[1])
	  . '; SELECT damoov.wake_worker(); COMMIT');
eventually { $cloud->queue('other')->{waiting_polls} + $cloud->queue('other')->{receives} > 0 }
'... while their server is replaced by one of another type';
allow('events', 'watched');
eventually { watched_stored() == $before + 3 } '... they are stored';
eventually { $service{cloud}->count('watched') == 0 } '... and leave their queue';
is(watched('SELECT damoov.worker_pid()'), $worker, '... and the worker lives');

# Killed, and shut down in the middle, with the emulator.
watched('DROP SERVER queue CASCADE');
add_source_of(
	'azurite',
	database => 'watched',
	queue => 'killed',
	options => { visibility_seconds => 3 });
$before = watched_stored();
$service{azurite}->put('killed', [ texts(300) ]);
eventually { watched_stored() > $before } 'a worker is busy';
my $pid = watched('SELECT damoov.worker_pid()');
kill 'KILL', $pid;
eventually { $node->has_another_worker($pid, 'watched') }
'... is killed, and the server comes back';
$service{azurite}->put('killed', [ texts(100) ]);
$node->restart;
eventually { $service{azurite}->count('killed') == 0 } 'killed and shut down: the queue gets empty';
is(watched_stored() - $before, 400, '... each is stored once');
is(watched('SELECT bool_and(balanced) FROM damoov.ledger'), 't', '... and the ledger is balanced');

# No secret came out.
my $words = slurp_file($node->logfile) . watched('SELECT string_agg(s::text, $$ $$) FROM damoov.status AS s');
ok(index($words, $_) < 0, 'a secret is not told')
  for Damoov::StorageQueue::KEY, $wrong_key, 'sig=', 'SharedKey ';

$node->stop;
$azurite->stop;
done_testing();
