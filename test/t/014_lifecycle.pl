# What becomes of data while more of it arrives: originals are kept, trouble is
# told to listeners, and a person who is forgotten does not come back.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Stage;
use Damoov::Story;
use JSON::PP ();
use MIME::Base64;
use PostgreSQL::Test::Utils;
use Test::More;

my ($cloud, $node) = stage('lifecycle', databases => 'postgres');
add_source();

my $driver = driver();
my $other = token('other');

sub announce
{
	my ($person, $track, $document) = @_;
	$cloud->dataset($track, $person, $document) if $document;
	publish([ enriched($person, $track, 10) ]);
	return;
}

sub trips
{
	my ($track) = @_;
	return value("SELECT count(*) FROM damoov.trips WHERE track_token = '$track'");
}

# Tables with a row that holds the token in any spelling, or their user_id.
sub traces
{
	my ($person) = @_;
	my $digits = $person =~ s/-//gr;
	my @found;

	for my $table (
		split /\n/,
		value(
			"SELECT oid::regclass FROM pg_class WHERE relnamespace = 'damoov'::regnamespace AND relkind = 'r' ORDER BY 1"
		))
	{
		push @found, $table
		  if value(
			"SELECT count(*) FROM $table AS t WHERE replace(lower(t::text), '-', '') LIKE '%$digits%'
			OR t::text LIKE '%' || encode('$person', 'hex') || '%'");
	}
	return "@found";
}

###########################################################################
# Originals
###########################################################################

my $track = token('kept');
announce($other, $track, track_document(3, Distance => 7));
eventually { trips($track) == 1 } 'a trip is stored';
is( value(
		"SELECT kind, user_id = (SELECT user_id FROM damoov.trips WHERE track_token = object_id),
			document::jsonb #>> '{Result,Track,Distance}' FROM damoov.documents WHERE object_id = '$track'"
	),
	'processed|t|7',
	'... and its original');
value("UPDATE damoov.documents SET fetched_at = '2020-01-01'");
$cloud->dataset($track, $other, track_document(3, Distance => 8));
is( value("SELECT damoov_fetch_track('$track') > 0"),
	't', 'damoov_fetch_track() fetches it again');
is( value(
		"SELECT document::jsonb #>> '{Result,Track,Distance}', fetched_at > '2021-01-01' FROM damoov.documents"
	),
	'8|t',
	'... and keeps the newer original in its place');

###########################################################################
# Listeners
###########################################################################

my $listener = $node->background_psql('postgres');
$listener->query_safe('LISTEN damoov_alert');
my $heard = '';

sub hears
{
	$heard .= $listener->query('SELECT 1');
	return $heard =~ $_[0];
}

for my $state ('gone', 'failed')
{
	$cloud->fault(
		'api', 'status',
		target => token($state),
		times => undef,
		status => $state eq 'gone' ? 410 : 401);
	announce($other, token($state), track_document(1));
	eventually { hears(qr/"damoov_alert" with payload "\{"kind" : "$state", "count" : 1\}"/) }
	"a download that is $state is told";
}
publish(['not JSON']);
eventually { hears(qr/\{"kind" : "quarantine", "count" : 1\}/) }
'a new row in the quarantine is told';
$listener->quit;
value('DELETE FROM damoov.quarantine');

###########################################################################
# A person is forgotten while a dataset of theirs is on its way
###########################################################################

$track = token('flying');
publish([ map { heartbeat($driver, $_) } 1 .. 3 ]);
announce($driver, token('there'), track_document(5));
eventually { trips(token('there')) == 1 } 'a person with a trip';
$cloud->fault('api', 'delay', target => $track, seconds => 3);
announce($driver, $track, track_document(5));
eventually { $cloud->count_requests(object_id => $track) == 1 } '... and a fetch under way';
my $log = $node->log_size;
is( value("SELECT string_agg(table_name || ' ' || row_count, ', ' ORDER BY table_name) FROM damoov_forget('$driver')"),
	'documents 1, downloads 1, events 5, heartbeats 3, trip_points 5, trips 1, users 1',
	'... is forgotten');
is(traces($driver), '', '... everywhere');
eventually { ($cloud->requests(object_id => $track))[0]{status} } 'the dataset comes';

# late ones, readable and not, with one of somebody else behind them
publish(
	[
		heartbeat($driver, 2),
		heartbeat($driver, 4),
		enriched($driver, token('new'), 50),
		'{"Event": "HeartbeatReceived", "UserId": "' . uc($driver) . '"',
		heartbeat($other, 5)
	]);
# as raw delivery they may be encoded: what cannot be read is kept decoded
my $unreadable = qq({"Event": "HeartbeatReceived", "UserId": "$driver"});
my $strange = qq({"Event": "HeartbeatReceived", "UserId": "$other"});
publish(
	[
		encode_base64($unreadable), encode_base64($strange),
		map { compact({ specversion => '1.0', id => 1, source => 'x', type => 'x', data_base64 => encode_base64($_, '') }) }
		  $unreadable, $strange
	],
	raw => JSON::PP::true);
eventually { value('SELECT count(*) FROM damoov.heartbeats') == 1 } 'others go on';
eventually { $cloud->queue->{visible} + $cloud->queue->{in_flight} == 0 } '... and the queue is empty';
is(traces($driver), '', 'nothing of the forgotten person has come back');
is(value("SELECT string_agg(convert_from(body, 'UTF8'), ' ') FROM damoov.quarantine WHERE reason = 'missing_field'"),
	"$strange", '... also not in an encoding, in which others are not kept either');
is(value("SELECT bool_and(balanced) FROM damoov.ledger"), 't', 'the ledger balances');
is(scalar $node->log_lines(qr/ERROR|$driver/i, $log), 0, 'the log says nothing');
my $mark = $cloud->last_request;
like(
	$node->error_of("SELECT damoov_fetch_track('$track', '$driver')"),
	qr/^55000: person was forgotten/,
	'damoov_fetch_track() refuses');
is($cloud->count_requests(since => $mark, object_id => $track), 0, '... without asking');

###########################################################################
# Storing and forgetting at the same time
###########################################################################

my $third = token('third');
my $storing = $node->background_psql('postgres');
$storing->query_safe('BEGIN');
$storing->query_safe('SELECT count(*) FROM damoov_ingest($$' . compact(heartbeat($third, 1)) . '$$)');
my $forgetting = $node->start_sql("SELECT damoov_forget('$third')");
eventually {
	value("SELECT wait_event FROM pg_stat_activity WHERE pid = $forgetting->{pid}") eq 'advisory'
}
'forgetting waits for who stores the unknown person';
publish([ heartbeat($third, 2), heartbeat($other, 6) ]);
eventually {
	value("SELECT wait_event FROM pg_stat_activity WHERE pid = damoov.worker_pid()") eq 'advisory'
}
'... and the worker waits for the one who forgets';
$storing->query_safe('COMMIT');
$storing->quit;
unlike($node->finish_sql($forgetting), qr/ERROR/, 'the person is forgotten');
eventually { value('SELECT count(*) FROM damoov.heartbeats') == 2 } 'the worker goes on';
is(traces($third), '', 'nothing is left of the person');
is(scalar $node->log_lines(qr/deadlock|store_failed/, $log), 0, 'no deadlock');

$node->stop;
done_testing();
