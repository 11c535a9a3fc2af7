# The statistics of sources and downloads: they count what was committed, what the
# stand-in has seen, and nothing that was undone.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Node;
use Damoov::Stage;
use Damoov::Story;
use JSON::PP;
use POSIX qw(strftime);
use PostgreSQL::Test::Utils;
use Test::More;

my ($cloud, $node) = stage('statistics', databases => 'postgres');
my $outcomes = 'received, stored, duplicate, unknown, control, quarantined';

sub source_is
{
	my ($what, $columns, $expected, $source) = @_;
	$source //= 'queue';
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return (eventually { value("SELECT $columns FROM damoov.stat_sources WHERE source = '$source'") eq $expected } $what)
	  || !diag(value("SELECT $columns FROM damoov.stat_sources WHERE source = '$source'"));
}

sub notes
{
	my ($condition) = @_;
	return value("SELECT count(*) FROM damoov.activity WHERE $condition");
}

is(value('SELECT count(*) FROM damoov.stat_sources'), 0, 'nothing was done yet');
is(value('SELECT count(*) FROM damoov.stat_downloads'), 0, '... nor fetched');

###########################################################################
# A queue
###########################################################################

create('damoov', visibility_timeout => 600);
add_source();
my $heartbeats = heartbeats(25);
publish($heartbeats);
source_is('what came is counted', "$outcomes, settled", '25|25|0|0|0|0|25');
publish([ @$heartbeats[ 0 .. 4 ] ]);
publish([ '{"Event": ' ], raw => JSON::PP::true);
publish([ { %{ heartbeats(1)->[0] }, Event => 'SomethingNew' } ]);
source_is('... by its outcome', "$outcomes, settled", '32|25|5|1|0|1|32');
is(value("SELECT $outcomes FROM damoov.stat_sources WHERE source = 'queue'"),
	ledger($outcomes), '... as in the ledger');
is(value("SELECT s.batches = count(*) FROM damoov.stat_sources AS s JOIN damoov.receipts AS r USING (source) WHERE source = 'queue' GROUP BY s.batches"),
	't', '... each batch once');
is(value("SELECT requests >= 4, bytes > 25 * 100, per_second > 0, failures, throttled, settle_failures FROM damoov.stat_sources WHERE source = 'queue'"),
	't|t|t|0|0|0', '... with requests, bytes and a rate');
is(value("SELECT storing_p50_ms > 0, storing_p50_ms <= storing_p95_ms, storing_p95_ms <= storing_p99_ms, storing_p99_ms < 120000 FROM damoov.stat_sources WHERE source = 'queue'"),
	't|t|t|t', '... and the time until they were stored');
cmp_ok(notes("activity = 'receive' AND name = 'queue' AND problem IS NULL"), '>', 0, 'receives are noted');
is(notes("activity = 'store' AND name = 'queue'"), value("SELECT batches FROM damoov.stat_sources WHERE source = 'queue'"), '... and batches');

$cloud->fault('sqs', 'error', target => 'DeleteMessageBatch', status => 500);
publish(heartbeats(3));
source_is('a settlement fails, and is done later', 'stored, settled, settle_failures', '28|35|1');
is(notes("activity = 'settle' AND count = 3 AND problem IS NOT NULL"), 1, '... which is noted');

my $failures = value("SELECT failures FROM damoov.stat_sources WHERE source = 'queue'");
$cloud->fault('sqs', 'error', target => 'ReceiveMessage', status => 503, retry_after => 1);
source_is('a receive fails, since the service has too much to do', 'failures, throttled', $failures + 1 . '|1');
is(notes("activity = 'receive' AND problem LIKE '%503%'"), 1, '... which is noted, and why');
$cloud->fault('sqs', 'error', target => 'ReceiveMessage', status => 400, code => 'RequestThrottled');
source_is('... or says so in other words', 'failures, throttled', $failures + 2 . '|2');
$cloud->fault('sqs', 'error', target => 'ReceiveMessage', status => 500);
source_is('... or fails for no reason', 'failures, throttled', $failures + 3 . '|2');

###########################################################################
# Sessions
###########################################################################

sub ingest
{
	my (@messages) = @_;
	return "SELECT count(*) FROM damoov_ingest('" . encode_json(\@messages) . "', 'by hand');\n";
}

my @messages = @{ heartbeats(6) };
$_->{Timestamp} = strftime('%Y-%m-%dT%H:%M:%SZ', gmtime(time - 100)) for @messages;
$messages[0]{Timestamp} = strftime('%Y-%m-%dT%H:%M:%SZ', gmtime(time - 1000));
value("BEGIN;\n" . ingest($messages[0]) . 'ROLLBACK');
is(value("SELECT count(*) FROM damoov.stat_sources WHERE source = 'by hand'"), 0, 'what is rolled back does not count');
value("BEGIN;\nSAVEPOINT a;\n" . ingest($messages[1]) . "ROLLBACK TO a;\n"
	  . "SAVEPOINT b;\nSAVEPOINT c;\n" . ingest(@messages[ 0, 5 ]) . "RELEASE c;\nRELEASE b;\nCOMMIT");
source_is('... nor to a savepoint; what is released does', "$outcomes, batches", '2|2|0|0|0|0|1', 'by hand');
is(value("SELECT newest_age_ms BETWEEN 100000 AND 400000, oldest_age_ms BETWEEN 1000000 AND 1300000, lag_p50_ms BETWEEN 100000 AND 400000, lag_p99_ms BETWEEN 1000000 AND 1600000 FROM damoov.stat_sources WHERE source = 'by hand'"),
	't|t|t|t', '... and how old they were');
is(value("SELECT storing_p50_ms IS NULL AND requests = 0 AND settled = 0 FROM damoov.stat_sources WHERE source = 'by hand'"), 't', '... there was no queue');
# a character is not cut, and statistics of many are not mixed
my $long = "\x{fc}" x 40;
utf8::encode($long);
value("SELECT count(*) FROM damoov_ingest('" . encode_json([ $messages[2] ]) . "', '$long')");
is(value("SELECT count(*) FROM damoov.stat_sources WHERE source = repeat('\x{c3}\x{bc}', 31)"), 1, 'a long name is cut between characters');
value(join '', map { "SELECT count(*) FROM damoov_ingest('" . encode_json([ $messages[3] ]) . "', 'source $_');\n" } 1 .. 150);
is(value("SELECT count(*) <= 128 AND bool_or(source = 'source 150') FROM damoov.stat_sources"), 't', 'there is room for so many; the last are kept');

###########################################################################
# Downloads
###########################################################################

value('SELECT damoov_stat_reset()');
is(value("SELECT coalesce(sum(received), 0), coalesce(sum(batches), 0) FROM damoov.stat_sources"), '0|0', 'the statistics begin anew');
is(value("SELECT bool_and(stats_reset > now() - interval '1 minute') FROM damoov.stat_sources"), 't', '... which is told');
is(notes("activity = 'store'"), 0, '... without what was noted');

$node->add_api($cloud);
my $story = $cloud->fleet(queue => 'damoov', drivers => 2, trips => 5, points => 5);
eventually { value('SELECT count(*) FROM damoov.trips') == @{ $story->{trips} } && value('SELECT count(*) FROM damoov.downloads') == 0 } 'the trips of a fleet are stored';
is(value("SELECT stored >= @{[ scalar @{ $story->{trips} } ]}, requests >= stored, failures, p50_ms > 0 AND p50_ms <= p99_ms FROM damoov.stat_downloads WHERE kind = 'processed'"),
	't|t|0|t', '... and counted');
cmp_ok(notes("activity = 'download' AND name = 'processed' AND duration_ms > 0"), '>=', 5, '... each is noted');
cmp_ok(notes('true'), '<=', 200, '... of which not more than 200 are kept');
$node->sql('CREATE DATABASE other');
$node->sql('CREATE EXTENSION damoov', 'other');
is($node->sql('SELECT (SELECT count(*) FROM damoov.stat_sources) + (SELECT count(*) FROM damoov.activity)', 'other'), 0, 'another database does not see them');

###########################################################################
# How far calls have come
###########################################################################

# While another session holds a table, the call waits for it.
sub progress_at
{
	my ($call, $held, $columns, $expected, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $holder = $node->background_psql('postgres');
	$holder->query_safe("BEGIN; LOCK TABLE damoov.$held IN ACCESS EXCLUSIVE MODE");
	my $session = $node->start_sql($call);
	my $shown = q{SELECT string_agg(concat_ws('|', p.pid IS NOT NULL, p.role, p.started_at <= now(), }
	  . "$columns), ' ') FROM damoov.stat_progress_" . ($call =~ /purge/ ? 'purge' : 'reparse') . ' AS p';
	(eventually { value($shown) eq "t|postgres|t|$expected" } $what) || diag(value($shown));
	return ($holder, $session, $shown);
}

# A trip that is old, and what a person has been told of it, too.
value('DELETE FROM damoov.redeliveries; UPDATE damoov.events SET received_at = now() - interval $$3 years$$ WHERE event = $$HeartbeatReceived$$;'
	  . 'UPDATE damoov.trips SET stored_at = now() - interval $$3 years$$, enriched_at = now() - interval $$3 years$$ WHERE trip_id IN (SELECT min(trip_id) FROM damoov.trips)');
my $old = value(q{SELECT count(*) FROM damoov.events WHERE event = 'HeartbeatReceived'}) + 1;
my ($holder, $session, $shown) = progress_at(
	"SET damoov.keep_events = '730d'; SET damoov.keep_trips = '730d'; SET damoov.keep_quarantine = '730d'; CALL damoov_purge(false)",
	'quarantine', 'p.phase, p.phases_done, p.phases_total, p.rows', "quarantine|6|14|$old", 'a purge tells where it is, and what is gone');
is($node->sql('SELECT count(*) FROM damoov.stat_progress_purge', 'other'), 0, '... not to another database');
$holder->quit;
is($node->finish_sql($session), '', '... which goes on');
is(value($shown), '', '... until it ends');

($holder, $session, $shown) = progress_at("SET damoov.keep_heartbeats = '730d'; CALL damoov_purge(false)", 'heartbeats', 'p.phase, p.rows', 'heartbeats|0', 'it begins anew');
value('SELECT pg_cancel_backend(pid) FROM damoov.stat_progress_purge');
(eventually { value($shown) eq '' } '... or is cancelled');
$holder->quit;
$node->finish_sql($session);

my $documents = value(q{INSERT INTO damoov.documents (kind, object_id, user_id, document, fetched_at)
	SELECT 'raw', gen_random_uuid(), min(user_id), '{}', now() FROM damoov.users, generate_series(1, 3) GROUP BY generate_series;
	SELECT count(*) FILTER (WHERE kind <> 'raw'), count(*) FROM damoov.documents});
my $known = value(q{SELECT count(*) FROM damoov.events WHERE outcome = 'stored'});
($holder, $session, $shown) = progress_at("SELECT count(*) FROM damoov_reparse('-infinity')", 'heartbeats',
	'p.phase, p.done, p.total, p.changes', "events|0|$known|0", 'reparse tells of the events it reads');
$holder->quit;
$node->finish_sql($session);
($holder, $session, $shown) = progress_at("SELECT count(*) FROM damoov_reparse('-infinity')", 'raw_points',
	'p.phase, p.done, p.total, p.changes', "documents|$documents|0", '... then of documents');
$holder->quit;
$node->finish_sql($session);
is(value($shown), '', '... until it ends');
is(value(q{DO $$ BEGIN PERFORM damoov.report_progress('purge', 'x', 1, 2, 3); RAISE EXCEPTION 'over'; EXCEPTION WHEN raise_exception THEN NULL; END $$;
	SELECT count(*) FROM damoov.stat_progress_purge}), 0, 'a call that has failed, and was caught, is not shown');
value(q{SELECT damoov.report_progress('purge', 'x', 1, 2, 3)});
eventually { value('SELECT count(*) FROM damoov.stat_progress_purge') == 0 } '... nor one of a session that has ended';

my $plain = Damoov::Node->start_new('plain', preload => 0);
$plain->sql("CALL damoov_purge(false)");
$plain->sql("SELECT count(*) FROM damoov_ingest('" . encode_json([ $messages[0] ]) . "')");
is($plain->sql('SELECT damoov_stat_reset(); SELECT (SELECT count(*) FROM damoov.stat_sources) + (SELECT count(*) FROM damoov.stat_downloads) + (SELECT count(*) FROM damoov.activity) + (SELECT count(*) FROM damoov.stat_progress_purge)'), "\n0", 'without preload nothing is counted');

$plain->stop;
$node->stop;
$cloud->stop;
done_testing();
