# Names of others that lead to this machine: nothing is connected to, neither for
# a dataset nor for a certificate or a subscription.  And which names are asked for
# a token.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Node;
use Damoov::Story;
use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use POSIX qw(strftime);
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'needs LD_PRELOAD' unless $^O eq 'linux';

my $directory = PostgreSQL::Test::Utils::tempdir();
my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 5)
  or die "could not listen: $!\n";

system_or_bail($ENV{CC} // 'cc', '-shared', '-fPIC', '-o', "$directory/names.so", "$FindBin::RealBin/../lib/names.c", '-ldl');

# A server for which the name is this machine.
sub server
{
	my ($server, $name) = @_;
	local $ENV{LD_PRELOAD} = "$directory/names.so";
	local $ENV{TEST_NAME} = $name;
	local $ENV{TEST_PORT} = $listener->sockport;
	return Damoov::Node->start_new($server, preload => 0);
}

# Was there a connection?
sub connections
{
	my $count = 0;

	while (IO::Select->new($listener)->can_read(0))
	{
		$listener->accept->close;
		$count++;
	}
	return $count;
}

# Takes a connection while this runs in a session of its own.
sub connected_by
{
	my ($node, $sql) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $found = 0;

	$session->query_until(qr/started/, "\\echo started\n$sql;\n");
	if (IO::Select->new($listener)->can_read($PostgreSQL::Test::Utils::timeout_default))
	{
		$found = connections();
	}
	$session->{run}->kill_kill;
	return $found;
}

###########################################################################
# A certificate of SNS
###########################################################################

my $host = 'sns.eu-west-1.amazonaws.com';
my $topic = 'arn:aws:sns:eu-west-1:123456789012:damoov';
my $node = server('certificate', $host);
my %message = (
	Type => 'Notification', MessageId => 'm', TopicArn => $topic, Message => 'x', SignatureVersion => '2', Signature => 'AAAA',
	Timestamp => strftime('%Y-%m-%dT%H:%M:%S.000Z', gmtime),
	SigningCertURL => "https://$host/SimpleNotificationService-x.pem");

$node->sql("CREATE SERVER push TYPE 'webhook' FOREIGN DATA WRAPPER damoov OPTIONS (topic_arns '$topic')");
is($node->sql("SELECT damoov_webhook('\\x" . unpack('H*', encode_json(\%message)) . "', '{}') ->> 'body'"),
	'{"error": "certificate of the SNS message could not be fetched"}', 'a certificate at an address that is not public');
is(connections(), 0, '... is not asked for');

# nor is a subscription confirmed there
$node->sql("INSERT INTO damoov.subscriptions (source, topic_arn, token, token_digest) VALUES ('push', '$topic', 'token', 'x')");
$node->poll(2);
is($node->sql('SELECT last_error FROM damoov.subscriptions'), qq(host "$host" resolves to an address that is not public),
	'a subscription is not confirmed there');
is(connections(), 0, '... and nobody is asked');

# the name does lead here: the operator may name a host that is not public
$node->sql("CREATE SERVER api TYPE 'api' FOREIGN DATA WRAPPER damoov OPTIONS (base_url 'https://$host')");
my $fetch = "SELECT damoov_fetch_track('" . token('track') . "', '" . token('driver') . "')";
cmp_ok(connected_by($node, $fetch), '>', 0, '... where one that the operator names is connected to');
$node->stop;

###########################################################################
# A dataset
###########################################################################

$node = server('dataset', 'exports.damoov.com');
$node->sql("SELECT damoov_ingest(\$\$" . compact(enriched(token('driver'), token('track'), 1, url => 'https://exports.damoov.com/a')) . "\$\$)");
$node->poll(2);
is($node->sql('SELECT last_error FROM damoov.downloads'), 'host "exports.damoov.com" resolves to an address that is not public',
	'a dataset at an address that is not public');
is(connections(), 0, '... is not asked for');
$node->stop;

###########################################################################
# Entra ID of another part of Azure
###########################################################################

# nobody listens there any more: the error tells who was to be asked
$node = server('government', 'login.microsoftonline.us');
$listener->close;
my %sources = (
	servicebus => "endpoint 'https://fleet.servicebus.usgovcloudapi.net', entity 'q'",
	eventgrid => "endpoint 'https://fleet.usgovvirginia-1.eventgrid.azure.us', topic 't', subscription 's'",
	storagequeue => "endpoint 'https://fleet.queue.core.usgovcloudapi.net', queue 'damoov'");
for my $type (sort keys %sources)
{
	$node->sql("CREATE SERVER $type TYPE '$type' FOREIGN DATA WRAPPER damoov OPTIONS ($sources{$type},
			identity 'client_credentials', tenant_id 't', client_id 'c');
		CREATE USER MAPPING FOR CURRENT_USER SERVER $type OPTIONS (client_secret 'c')");
}
$node->poll(2);
is($node->sql("SELECT last_error FROM damoov.status WHERE source = '$_'"),
	'could not get credentials from Entra ID: could not connect to "login.microsoftonline.us"', "a $_ asks where it is")
  for sort keys %sources;

$node->stop;
done_testing();
