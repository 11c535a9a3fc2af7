# While bytes are on the wire no session that waits for them has locked or written
# anything, whatever door it came through.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Node;
use Damoov::Stage;
use Damoov::Story;
use POSIX qw(strftime);
use PostgreSQL::Test::Utils;
use Test::More;

my ($cloud, $node) = stage('waiting', preload => 0);
my $topic = 'arn:aws:sns:eu-west-1:123456789012:damoov';
my $driver = driver();

add_source();
$node->sql("CREATE SERVER push TYPE 'webhook' FOREIGN DATA WRAPPER damoov
		OPTIONS (topic_arns '$topic', endpoint '" . $cloud->base_url . "')");

# Runs the statement, whose request is answered late, and looks meanwhile.  on:
# what in the cloud is asked.
sub holds_nothing
{
	my ($name, $sql, %on) = @_;
	my $mark = $cloud->last_request;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$cloud->fault($on{where}, 'delay', target => $on{target}, seconds => 3);
	my $session = $node->start_sql("SET application_name = 'waits'; $sql");
	eventually { $cloud->count_requests(since => $mark, target => $on{target}) > 0 } "$name waits for an answer";
	is( value(
			"SELECT string_agg(DISTINCT concat_ws(' ', l.locktype, l.relation::regclass, l.mode), ', ') FROM pg_locks AS l
			WHERE l.pid = $session->{pid} AND l.locktype <> 'virtualxid'"
		),
		'', '... and holds no lock');
	is(value("SELECT backend_xid FROM pg_stat_activity WHERE pid = $session->{pid}"), '', '... nor has it written');
	is($cloud->count_requests(since => $mark, target => $on{target}, status => ''), 1, '... while it waits');
	return $node->finish_sql($session);
}

my $track = token('track');
$cloud->dataset($track, $driver, track_document(3));
is(holds_nothing('damoov_fetch_track() of somebody new', "SELECT damoov_fetch_track('$track', '$driver')", where => 'api', target => 'processed'),
	'', '... and stores it');
is(holds_nothing('damoov_fetch_track()', "SELECT damoov_fetch_track('$track')", where => 'api', target => 'processed'), '', '... and stores it');
is(value('SELECT count(*) FROM damoov.trips'), 1, '... as one trip');

my $message = compact({
	Type => 'Notification',
	MessageId => token('message'),
	TopicArn => $topic,
	Message => compact(heartbeat($driver, 1)),
	Timestamp => strftime('%Y-%m-%dT%H:%M:%S.000Z', gmtime),
	SignatureVersion => '1',
	Signature => 'QUJD' x 86,
	SigningCertURL => 'https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-' . 'a' x 32 . '.pem'
});
holds_nothing('damoov_webhook()', 'SELECT damoov_webhook(convert_to(' . Damoov::Node::quoted($message) . q{, 'UTF8'), '{}')},
	where => 'sns', target => 'certificate');
is(value('SELECT count(*) FROM damoov.heartbeats'), 0, '... and stores nothing without a certificate');

holds_nothing('damoov_check()', 'SELECT * FROM damoov_check()', where => 'sqs', target => 'GetQueueAttributes');
publish([]);
holds_nothing('damoov_poll()', "CALL damoov_poll('queue', 5)", where => 'sqs', target => 'ReceiveMessage');

$node->stop;
done_testing();
