# damoov_check(), the doctor: it finds what is in the way, names what mends it,
# and takes no message.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Cloud;
use Damoov::Node;
use Damoov::Story;
use PostgreSQL::Test::Utils;
use Test::More;

my $cloud = Damoov::Cloud->new;
my $node = Damoov::Node->start_new('check');
my $closed = PostgreSQL::Test::Cluster::get_free_port();

sub findings
{
	my ($source) = @_;
	return $node->sql(
		"SELECT level || '|' || topic || '|' || finding || '|' || coalesce(remedy, '') FROM damoov_check("
		  . (defined $source ? "'$source'" : '')
		  . ') WHERE server IS '
		  . (defined $source ? 'NOT NULL' : 'NULL'));
}

# A queue that is in order.
$cloud->create_queue('dead');
$cloud->create_queue('queue',
	visibility_timeout => 120, dead_letter => 'dead');
$cloud->publish([ heartbeat(token('driver'), 1) ], queue => 'queue');
$node->add_source($cloud, queue => 'queue');
is(findings('queue'), 'ok|queue|the queue can be read; about 1 messages wait|',
	'a queue in order');
is($cloud->queue('queue')->{visible}, 1, '... its message was not taken');
is($cloud->count_requests(target => 'ReceiveMessage'), 0, '... nor asked for');

# The same of every other type: all but the message is looked at.
my %place = (
	servicebus => 'damoov',
	storagequeue => 'damoov',
	eventgrid => 'trips/damoov');
my %key = (
	servicebus => 'shared_access_key',
	storagequeue => 'account_key',
	eventgrid => 'access_key');
for my $type (sort keys %place)
{
	my @queue = ($place{$type}, service => $type);

	$cloud->create_queue(@queue);
	$cloud->publish(
		[ heartbeat(token('driver'), 2) ],
		service => $type,
		queue => $place{$type});
	$node->add_source($cloud, name => $type, type => $type, queue => $place{$type});
	like(findings($type), qr/^ok\|queue\|the [a-z ]+ can be read\|$/m, "$type: in order");
	is($cloud->queue($place{$type}, $type)->{visible},
		1, '... its message was not taken');
	$node->sql("ALTER USER MAPPING FOR CURRENT_USER SERVER $type OPTIONS (SET $key{$type} 'V3Jvbmcga2V5IG9mIHRoaXJ0eS10d28gYnl0ZXMuLi4=')");
	like(findings($type), qr/^error\|credentials\|.*ALTER USER MAPPING/m,
		"$type: a wrong key");
	$node->sql("DROP SERVER $type CASCADE");
}

# What works, but not always.
$cloud->create_queue('poor', visibility_timeout => 30);
$node->add_source($cloud, name => 'poor', queue => 'poor');
like(findings('poor'),
	qr/^warning\|queue\|messages come back after 30 seconds.*\|Set the queue's visibility timeout to 60 seconds or more/m,
	'a short visibility timeout');
like(findings('poor'),
	qr/^warning\|queue\|the queue has no dead-letter queue\|Give the queue a redrive policy/m,
	'no dead-letter queue');
$node->sql("ALTER SERVER poor OPTIONS (ADD visibility_seconds '120')");
unlike(findings('poor'), qr/come back/, 'the option mends the first');

# The clock.
$cloud->settings(clock_offset => 7200);
like(findings('queue'), qr/^ok\|queue/m, 'a wrong clock is corrected');
like(findings('queue'),
	qr/^warning\|clock\|this server's clock differs from the service's by (7199|7200|7201) seconds\|Synchronize the clock/m,
	'... and said');
$cloud->settings(clock_offset => 0);

# What does not work.
$node->sql("SELECT damoov_pause('queue')");
like(findings('queue'),
	qr/^warning\|state\|the source is paused\|SELECT damoov_resume\('queue'\)$/m, 'a pause');
$node->sql("SELECT damoov_resume('queue')");
my %wrong = (
	wrong_secret => [
		{ secrets => { secret_access_key => 'WrongSecretKeyEXAMPLE' } },
		qr/^error\|credentials\|the signature was refused; the secret access key is wrong.*\|.*ALTER USER MAPPING FOR \.\.\. SERVER wrong_secret/
	],
	no_queue => [
		{ queue => 'nowhere' },
		qr/^error\|options\|the queue does not exist.*\|Correct the options with ALTER SERVER no_queue/
	],
	no_region => [
		{ options => { region => undef } },
		qr/^error\|options\|option "region" is not set.*\|Correct the options with ALTER SERVER no_region/
	],
	closed_port => [
		{ options => { endpoint => "http://127.0.0.1:$closed" } },
		qr/^error\|connection\|could not connect to "127\.0\.0\.1:$closed"\|Allow connections/
	],
	no_role => [
		{
			options => {
				identity => 'assume_role',
				role_arn => 'other',
				identity_endpoint => $cloud->base_url
			}
		},
		qr/^error\|credentials\|could not get credentials from STS: the role may not be assumed/
	]);

for my $name (sort keys %wrong)
{
	my ($options, $expected) = @{ $wrong{$name} };

	$node->add_source($cloud, name => $name, %$options);
	like(findings($name), $expected, "$name: found, with its remedy");
}
$cloud->fault(
	'sqs', 'error',
	code => 'AccessDenied',
	status => 403,
	target => 'GetQueueAttributes');
like(findings('queue'),
	qr/^warning\|queue\|the access key may not read the queue's settings\|Allow "sqs:GetQueueAttributes"/,
	'settings that may not be read');
like($node->error_of("SELECT * FROM damoov_check('nobody')"),
	qr/42704: server "nobody" does not exist/, 'a server that is not there');
like($node->error_of("SELECT * FROM damoov_check('api')"),
	qr/42809: server "api" is not a source of messages/, 'a server that is no source');

# The server as a whole.
like(findings(),
	qr/^warning\|worker\|no background worker polls for this database\|.*ALTER SYSTEM SET damoov\.databases/m,
	'no worker');
like(findings(), qr/^ok\|api\|"\Q${\ $cloud->base_url}\E" can be reached\|$/m,
	'the api server');
is( $node->sql(
		"SELECT string_agg(DISTINCT server, ' ' ORDER BY server) FROM damoov_check()"
	),
	'closed_port no_queue no_region no_role poor queue wrong_secret',
	'all sources are looked at');
$node->sql("ALTER SERVER api OPTIONS (SET base_url 'http://127.0.0.1:$closed')");
like(findings(),
	qr/^error\|api\|could not connect to "127\.0\.0\.1:$closed"\|.*"base_url"/m,
	'an api server that is not there');
unlike(slurp_file($node->logfile),
	qr/could not receive messages/, 'looking leaves nothing in the log');

$node->stop;
$cloud->stop;
done_testing();
