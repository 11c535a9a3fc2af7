# Trying again: a quarantined message or dataset leaves the quarantine mended,
# or as it is once its cause is gone; a download that failed is made due.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Node;
use Damoov::Stage;
use Damoov::Story;
use PostgreSQL::Test::Utils;
use Test::More;

my ($cloud, $node) = stage('retry', databases => 'postgres');
my ($driver, $other) = (driver(), token('other'));

add_source();

sub sums
{
	return ledger('sum(received), sum(stored), sum(duplicate), sum(quarantined), sum(difference)');
}

sub quarantine
{
	return $node->sql("SELECT string_agg(reason, ' ' ORDER BY reason) FROM damoov.quarantine");
}

sub id_of
{
	my ($reason) = @_;
	return $node->sql("SELECT quarantine_id FROM damoov.quarantine WHERE reason = '$reason'");
}

sub retry
{
	my ($id, $mended) = @_;
	return $node->sql("SELECT event, outcome FROM damoov_retry($id" . (defined $mended ? ', ' . Damoov::Node::quoted($mended) : '') . ')');
}

###########################################################################
# Messages
###########################################################################

my $cut = substr compact(heartbeat($driver, 1)), 0, -1;
my $nobody = heartbeat($driver, 2);
delete $nobody->{UserId};
my $merge = enriched($driver, token('whole'), 20, removed => [ token('part') ]);

# the part seems to be another driver's
publish([ enriched($other, token('part'), 10) ]);
eventually { $node->sql('SELECT count(*) FROM damoov.downloads') == 1 } 'a track is announced';
publish([ $cut, $nobody, $merge ], raw => 1);
eventually { quarantine() eq 'bad_json cross_user missing_field' } 'three messages are quarantined';
eventually { $cloud->queue->{deleted} == 4 } '... and settled';
is(sums(), '4|1|0|3|0', '... and in the ledger');

my $id = id_of('bad_json');
like($node->error_of("SELECT damoov_retry($id)"), qr/^22P02: /, 'as it is it is refused again');
like($node->error_of("SELECT damoov_retry($id, '{}')"), qr/^22023: notification has no "Object"/, '... and mended badly, too');
is(quarantine(), 'bad_json cross_user missing_field', '... and stays');
is(sums(), '4|1|0|3|0', '... and counts once');
like($node->error_of('SELECT damoov_retry(0)'), qr/^02000: quarantine entry 0 does not exist/, 'one that is not there');

is(retry($id, "$cut}"), 'HeartbeatReceived|stored', 'mended it is stored');
is(quarantine(), 'cross_user missing_field', '... and leaves the quarantine');
is($node->sql('SELECT source FROM damoov.events WHERE event = $$HeartbeatReceived$$'), 'queue', '... as a message of its source');
is(sums(), '5|2|0|3|0', '... received once more, and stored');
is(retry(id_of('missing_field'), "$cut}"), 'HeartbeatReceived|duplicate', 'mended to what is there already: a duplicate');

# the other driver's claim was wrong
$node->sql("SELECT damoov_forget('$other')");
is(retry(id_of('cross_user')), 'TrackEnrichmentFinished|stored', 'as it is, once its cause is gone');
is($node->sql("SELECT reason FROM damoov.removed_tracks WHERE track_token = '${\token('part')}'"), 'replaced', '... with all that follows');
is(quarantine(), '', 'the quarantine is empty');
is($node->sql('SELECT bool_and(balanced) FROM damoov.ledger'), 't', '... and the ledger balanced');

###########################################################################
# Datasets
###########################################################################

# Its dataset is there now: what damoov_retry() queued is fetched as ever.
$cloud->dataset(token('whole'), $driver, track_document(3));
cmp_ok($node->sql('SELECT damoov_retry_downloads()'), '>=', 0, 'what waits is made due');
eventually { $node->sql('SELECT count(*) FROM damoov.trips') == 1 } '... and fetched';

my $spoilt = token('spoilt');
$cloud->dataset($spoilt, $driver, '{"Result": {"Code": 200, "Track": 5}}');
publish([ enriched($driver, $spoilt, 30) ]);
# not as long as five tries take
eventually {
	$node->sql("UPDATE damoov.downloads SET due_at = now() WHERE object_id = '$spoilt'; SELECT damoov.wake_worker()");
	$node->sql("SELECT state FROM damoov.downloads WHERE object_id = '$spoilt'") eq 'failed'
} 'a dataset that is none fails';
is($node->sql("SELECT kind, object_id FROM damoov.quarantine"), "processed|$spoilt", '... and is quarantined');
$id = $node->sql('SELECT quarantine_id FROM damoov.quarantine');
like($node->error_of("SELECT damoov_retry($id)"), qr/^22023: /, '... and refused again');
my $mended = compact(track_document(2));
is($node->sql("SELECT count(*) FROM damoov_retry($id, '$mended')"), 0, 'mended');
is($node->sql("SELECT point_count FROM damoov.trips WHERE track_token = '$spoilt'"), 2, '... it is a trip');
is($node->sql('SELECT count(*) FROM damoov.downloads') . quarantine(), '0', '... and neither failed nor quarantined any more');

# A service that comes back
my @late = map { token('late', $_) } 1 .. 3;
$cloud->fault('api', 'status', target => $_, status => 410, times => 1) for @late;
publish([ map { enriched($driver, $_, 40) } @late ]);
eventually { $node->sql("SELECT count(*) FROM damoov.downloads WHERE state = 'gone'") == 3 } 'datasets are gone';
$cloud->dataset($_, $driver, track_document(1)) for @late;
is($node->sql("SELECT damoov_retry_downloads('raw')"), 0, 'none of another kind is made due');
is($node->sql("SELECT damoov_retry_downloads('processed', '$late[0]')"), 1, 'one by its id');
eventually { $node->sql("SELECT count(*) FROM damoov.trips WHERE track_token = '$late[0]'") == 1 } '... is fetched';
is($node->sql("SELECT count(*) FROM damoov.downloads WHERE state = 'gone'"), 2, '... the others are not');
is($node->sql('SELECT damoov_retry_downloads()'), 2, 'all there are');
eventually { $node->sql('SELECT count(*) FROM damoov.downloads') == 0 } '... are fetched';
is($node->sql('SELECT damoov_retry_downloads()'), 0, 'and there is none left');

$node->stop;
done_testing();
