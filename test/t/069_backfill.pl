# What the platform has and no notification has told of: damoov_backfill() and
# damoov_reconcile() against a stand-in that lists a person's tracks.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Node;
use Damoov::Stage;
use Damoov::Story;
use PostgreSQL::Test::Utils;
use Test::More;

my ($cloud, $node) = stage('told', databases => 'postgres');
my $empty;

# Trips with all that belongs to them, without ids and times of arrival.
my $contents = q{
	SELECT md5(string_agg(x.trip || x.points || x.events, E'\n' ORDER BY x.trip)), count(*)
	FROM (
		SELECT (to_jsonb(t) - '{trip_id,user_id,enriched_at,stored_at,revision,replaced_tracks}'::text[])::text AS trip,
			(SELECT coalesce(jsonb_agg(to_jsonb(p) - 'trip_id' ORDER BY p.seq), '[]')::text FROM damoov_points(t.trip_id) AS p) AS points,
			(SELECT coalesce(jsonb_agg(to_jsonb(e) - 'trip_id' ORDER BY e.seq), '[]')::text FROM damoov.trip_events AS e WHERE e.trip_id = t.trip_id) AS events
		FROM damoov.trips AS t) AS x};

sub job_is
{
	my ($job, $columns, $expected, $what, $seconds) = @_;
	my $asked = "SELECT $columns FROM damoov.stat_progress_backfill WHERE job_id = $job";
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return (eventually { value($asked) eq $expected } $what, $seconds // 90) || diag(value($asked));
}

# '' while the server starts again
sub answer
{
	my ($sql) = @_;
	my ($code, $out) = $empty->psql('postgres', $sql);
	return $code == 0 ? $out : '';
}

sub idle
{
	return value('SELECT count(*) FROM damoov.downloads WHERE state = $$waiting$$') == 0;
}

###########################################################################
# The same by notifications and by lists
###########################################################################

create();
add_source();
$node->add_api($cloud);
$node->safe_psql('postgres', q{ALTER DATABASE postgres SET damoov.backfill_rate = 60000});
my $story = $cloud->fleet(queue => 'damoov', drivers => 6, trips => 20, points => 5);
my $trips = @{ $story->{trips} };
eventually { value('SELECT count(*) FROM damoov.trips') == $trips && idle() } 'the trips of a fleet are stored';
# the platform does not list what was merged or removed
$cloud->order('withdraw', kind => 'processed', ids => [ split /\n/, value('SELECT DISTINCT track_token FROM damoov.removed_tracks') ]);
my $told = value($contents);
my $time = value(q{SELECT format('%L, %L', min(started_at) - interval '30 days', max(started_at) + interval '30 days') FROM damoov.trips});
my @persons = split /\n/, value('SELECT device_token FROM damoov.users ORDER BY user_id');

(undef, $empty) = stage('empty', cloud => $cloud, databases => 'postgres');
$empty->safe_psql('postgres', q{ALTER DATABASE postgres SET damoov.backfill_rate = 60000});
$empty->add_api($cloud);
value('INSERT INTO damoov.users (device_token) VALUES ' . join ', ', map { "('$_')" } @persons);

# with answers that fail, pages that are short, and workers that die
$cloud->order('list_limit', limit => 3);
$cloud->fault('api', 'status', status => 429, retry_after => 1, target => 'listing');
$cloud->fault('api', 'status', status => 500, every => 10, times => undef);
my $mark = $cloud->last_request;
my $job = value("SELECT damoov_backfill($time)");
for my $kill (1 .. 8)
{
	my $at = int($trips * $kill / 10);
	eventually {
		my ($stored, $pid) = split /\|/, answer('SELECT (SELECT count(*) FROM damoov.trips), damoov.worker_pid()');
		$pid && $stored >= $at && kill($kill % 4 == 0 ? 'KILL' : 'TERM', $pid)
	} "a worker is ended after $at trips", 15;
}
eventually { answer("SELECT state = 'done' FROM damoov.backfills") eq 't' } 'the job is done', 120;
job_is($job, 'job, state, persons_done, persons_failed, persons_total, ended_at IS NOT NULL', 'backfill|done|' . @persons . '|0|' . @persons . '|t', '... with all persons');
eventually { idle() } '... and all is fetched';
is(value($contents), $told, 'the tables are those that notifications bring');
is(value("SELECT tracks_seen >= $trips, queued FROM damoov.backfills"), "t|$trips", '... each track is queued once');
is(value('SELECT count(*) FROM damoov.quarantine'), 0, '... and nothing was refused');
is($cloud->most_at_once(since => $mark, target => 'listing'), 1, 'one list at a time is asked for');

$cloud->clear_faults;
$cloud->order('list_limit', limit => 1000);
$job = value("SELECT damoov_backfill($time)");
job_is($job, 'state, queued, tracks_seen', "done|0|$trips", 'a second job finds nothing');

###########################################################################
# Differences
###########################################################################

my $differences = q{SELECT string_agg(concat_ws(' ', difference, n), ', ' ORDER BY difference) FROM (SELECT difference, count(*) AS n FROM damoov.differences WHERE job_id = %s GROUP BY 1) AS d};
my @tokens = split /\n/, value('SELECT track_token FROM damoov.trips ORDER BY trip_id');
value("DELETE FROM damoov.trips WHERE track_token IN ('$tokens[0]', '$tokens[5]')");
value("UPDATE damoov.trips SET distance_km = distance_km + 1 WHERE track_token = '$tokens[1]'");
$cloud->order('withdraw', kind => 'processed', ids => [ $tokens[2] ]);
$job = value("SELECT damoov_reconcile($time)");
job_is($job, 'job, state, queued', 'reconcile|done|0', 'lists are compared');
is(value(sprintf $differences, $job), 'changed 1, missing_here 2, missing_there 1', '... and what differs is kept');
is(value("SELECT count(*) FROM damoov.differences AS d JOIN damoov.trips AS t USING (track_token) WHERE d.difference = 'changed' AND d.here ->> 'distance_km' <> d.there ->> 'distance_km' AND d.day = (t.started_at AT TIME ZONE 'UTC' + t.start_utc_offset_min * interval '1 minute')::date"),
	1, '... what, of which day');
ok(idle(), '... but nothing is fetched');
$job = value("SELECT damoov_reconcile($time, repair => true)");
job_is($job, 'state, queued', 'done|3', 'repaired');
eventually { idle() } '... all is fetched';
$job = value("SELECT damoov_reconcile($time)");
job_is($job, 'state', 'done', '... and compared again');
is(value(sprintf $differences, $job), 'missing_there 1', 'only what the platform does not have is left');
is(value("SELECT count(*) FROM damoov.trips WHERE track_token = '$tokens[2]'"), 1, '... which stays');

###########################################################################
# What is not to come back, and what comes first
###########################################################################

my ($person, $token) = split /\|/, value('SELECT user_id, device_token FROM damoov.users ORDER BY user_id LIMIT 1');
value("DELETE FROM damoov.trips; SELECT damoov_backfill_pause(j.job_id) FROM damoov_backfill($time) AS j (job_id)");
$job = value('SELECT max(job_id) FROM damoov.backfills');
job_is($job, 'state', 'paused', 'a job is paused');
eventually { idle() } '... and waits for nothing';
value("SELECT count(*) FROM damoov_forget('$token')");
$mark = $cloud->last_request;
value("SELECT damoov_backfill_resume($job)");
job_is($job, 'state, persons_done', 'done|' . (@persons - 1), 'it goes on where it was, without the person that was forgotten meanwhile');
eventually { idle() } '... and all is fetched';
is(value("SELECT count(*) FROM damoov.users WHERE user_id = $person OR device_token = '$token'"), 0, '... nor is that one there again');
is($cloud->count_requests(since => $mark, device_token => $token), 0, '... nor asked about');

# While the list is on its way
value('DELETE FROM damoov.trips');
$cloud->fault('api', 'delay', seconds => 2, target => 'listing');
($person, $token) = split /\|/, value('SELECT user_id, device_token FROM damoov.users ORDER BY user_id LIMIT 1');
$job = value("SELECT damoov_backfill($time)");
eventually { value('SELECT count(*) FROM damoov.downloads WHERE kind = $$listing$$ AND leased_until IS NOT NULL') == 1 } 'a list is on its way';
value("SELECT count(*) FROM damoov_forget('$token')");
job_is($job, 'state, persons_done', 'done|' . (@persons - 2), 'the person is forgotten, and the others go on');
eventually { idle() } '... and all is fetched';

# A person whose list cannot be had
$cloud->fault('api', 'status', status => 410, target => 'listing');
$job = value("SELECT damoov_backfill($time)");
job_is($job, 'state, persons_done, persons_failed, last_error', 'done|' . (@persons - 3) . '|1|the service answered with HTTP status 410', 'a list that there is not stops no other');
$cloud->fault('api', 'status', status => 200, body => '{"Result": {"Code": 500}}', target => 'listing', times => undef);
$job = value("SELECT damoov_backfill($time, person => (SELECT max(user_id) FROM damoov.users))");
job_is($job, 'state, persons_done, persons_failed', 'done|0|1', 'nor does what is no list');
$cloud->clear_faults;

# Cancelled
value("SELECT damoov_backfill_cancel(j.job_id) FROM damoov_backfill($time) AS j (job_id)");
$job = value('SELECT max(job_id) FROM damoov.backfills');
job_is($job, 'state, ended_at IS NOT NULL', 'cancelled|t', 'a job is cancelled');
eventually { idle() } '... and waits for nothing';
my $error = sub { return $empty->error_of($_[0]) };
like($error->("SELECT damoov_backfill_resume($job)"), qr/^55000: job $job is cancelled/, '... and cannot go on');
like($error->('SELECT damoov_backfill_pause(-1)'), qr/^42704: job -1 does not exist/, 'a job that there is not');
like($error->("SELECT damoov_backfill(NULL)"), qr/^22004: since and until must not be null/, 'no time');
like($error->("SELECT damoov_backfill('2024-02-01Z', '2024-01-01Z')"), qr/^22023: since must be before until/, 'times in the wrong order');
like($error->("SELECT damoov_backfill('-infinity')"), qr/^22023: since must be before until/, '... without an end');
like($error->("SELECT damoov_backfill($time, person => -1)"), qr/^42704: person -1 does not exist/, 'a person that there is not');
like($error->("SELECT damoov_backfill($time, source => 'x')"), qr/^42704: source "x" does not exist/, 'a source that there is not');

###########################################################################
# What no platform would send
###########################################################################

# In a transaction that the worker does not see, and that is rolled back
sub tried { return value(join ';', 'BEGIN', @_, 'ROLLBACK') }
sub listed { my ($tracks) = @_; return "SELECT damoov.take_listing(listing, at_person, '{\"Result\": {\"Tracks\": [$tracks]}}') FROM damoov.backfills WHERE state = 'running'" }
my ($one, $other) = ('aaaaaaaa-0000-4000-8000-000000000001', 'aaaaaaaa-0000-4000-8000-000000000002');
my @pair = map { "{\"TrackToken\": \"$_\"}" } $one, $other;
my $begin = sub { return "INSERT INTO damoov.users (user_id, device_token) VALUES (999, '$one'), (998, '$other'); SELECT FROM damoov_reconcile('2024-03-25Z', '2024-05-01Z', person => 999, repair => true)" };

like(tried($begin->(), "INSERT INTO damoov.trips (track_token, user_id, revision, point_count, filler_count, distance_km) VALUES ('$one', 998, 1, 0, 0, 77)",
		"INSERT INTO damoov.downloads (kind, object_id, user_id, source, priority, state) VALUES ('processed', '$other', 998, 'x', 20, 'failed')",
		"INSERT INTO damoov.differences SELECT job_id, '$one', 998, NULL, 'missing_there' FROM damoov.backfills WHERE state = 'running'",
		listed(join ', ', @pair), "SELECT d.user_id, d.difference, d.here FROM damoov.differences AS d JOIN damoov.backfills AS b USING (job_id) WHERE b.state = 'running' ORDER BY 1",
		"SELECT user_id, state FROM damoov.downloads WHERE kind = 'processed' AND object_id IN ('$one', '$other')"),
	qr/^\n*998\|missing_there\|\n999\|missing_here\|\n998\|failed$/, 'what is another person\'s is neither told of nor changed');
is(tried($begin->(), listed(join ', ', map { "{\"TrackToken\": \"aaaaaaaa-0000-4000-8000-00000000001$_->[0]\", \"StartDate\": \"$_->[1]\"}" } [ 1, '2024-02-31T00:00:00' ], [ 2, '2024-02-29 1' ], [ 3, 'then' ]),
		"SELECT string_agg(coalesce(d.day::text, 'none'), ' ' ORDER BY d.track_token) FROM damoov.differences AS d JOIN damoov.backfills AS b USING (job_id) WHERE b.state = 'running'") =~ s/^\n+//r,
	'none 2024-02-29 none', 'a day that there is not is no reason to refuse a list');
is(tried($begin->(), listed(join ', ', @pair), listed(join ', ', reverse @pair), "SELECT page, window_start FROM damoov.backfills WHERE state = 'running'") =~ s/^\n+//r,
	'0|2024-04-07 00:00:00+00', 'a page that comes again in another order is the last one');
like($error->(join ';', 'BEGIN', $begin->(), "UPDATE damoov.backfills SET page = 1000 WHERE state = 'running'", listed($pair[0])),
	qr/^22023: list of tracks has more than 1000 pages/, 'pages do not come for ever');
is(tried("SET TimeZone = 'Europe/Berlin'", $begin->(), "SELECT substring(url, 'endDate=([^&]*)') FROM damoov.downloads WHERE priority = 50", "DELETE FROM damoov.downloads WHERE priority = 50", "SET TimeZone = 'UTC'",
		listed(''), "SELECT substring(url, 'startDate=([^&]*)') FROM damoov.downloads WHERE priority = 50") =~ s/^\n+//r,
	"2024-04-07T00:00:00Z\n\n2024-04-07T00:00:00Z", 'windows leave no gap, in whichever time zone the sessions are');
like(tried('CREATE ROLE first; CREATE ROLE second; GRANT USAGE ON FOREIGN DATA WRAPPER damoov TO first, second', "CREATE SERVER of_first TYPE 'webhook' FOREIGN DATA WRAPPER damoov; ALTER SERVER of_first OWNER TO first",
		"INSERT INTO damoov.users (user_id, device_token) VALUES (999, '$one')", "SELECT FROM damoov_backfill('2024-03-25Z', '2024-05-01Z', person => 999, source => 'of_first')",
		'SELECT damoov.source_of(source, source_owner) FROM damoov.downloads WHERE priority = 50', 'ALTER SERVER of_first OWNER TO second', listed($pair[0]),
		'SELECT kind, damoov.source_of(source, source_owner) FROM damoov.downloads WHERE priority IN (40, 50) ORDER BY 1',
		'DELETE FROM damoov.backfills', "INSERT INTO damoov.events (source, sent_at, event, object_id, user_id, payload, outcome) VALUES ('of_first', now(), 'TrackEnrichmentFinished', '$one', 999, '{}', 'stored')",
		"SELECT FROM damoov_backfill('2024-03-25Z', '2024-05-01Z', person => 999)", 'SELECT source, damoov.source_of(source, source_owner) FROM damoov.downloads WHERE priority = 50 ORDER BY due_at DESC LIMIT 1'),
	qr/^\n*of_first\n+listing\|sql\nlisting\|sql\nprocessed\|sql\n+of_first\|sql$/, 'a server that another role has made under the name of a source gets no device tokens');
is(tried('SET extra_float_digits = 0', "INSERT INTO damoov.users (user_id, device_token) VALUES (999, '$one')",
		"INSERT INTO damoov.trips (track_token, user_id, revision, point_count, filler_count, distance_km, started_at) VALUES ('$one', 999, 1, 0, 0, 1.2345678901234567, '2024-04-01Z')",
		"SELECT FROM damoov_reconcile('2024-03-25Z', '2024-05-01Z', person => 999)", "SELECT here -> 'distance_km' FROM damoov.differences WHERE user_id = 999",
		listed("{\"TrackToken\": \"$one\", \"Distance\": 1.2345678901234567}"), "SELECT count(*) FROM damoov.differences WHERE user_id = 999") =~ s/^\n+//r,
	"1.2345678901234567\n\n0", 'a number is the same, however many digits a session shows');
is(tried($begin->(), "SELECT FROM (SELECT damoov_backfill_pause(max(job_id)) FROM damoov.backfills) AS b", "DELETE FROM damoov.users WHERE user_id = 999",
		"SELECT FROM (SELECT damoov_backfill_resume(max(job_id)) FROM damoov.backfills) AS b", "SELECT state FROM damoov.backfills ORDER BY job_id DESC LIMIT 1") =~ s/^\n+//r,
	'done', 'a job goes on without a person who was removed while it was paused');

# Live work comes first: with one download at a time, a trip that is told of while
# hundreds wait is the next.
value('DELETE FROM damoov.trips');
$empty->safe_psql('postgres', q{ALTER SYSTEM SET damoov.max_downloads = 1; SELECT pg_reload_conf()});
$cloud->fault('api', 'delay', seconds => 0.2, target => 'processed', times => undef);
$job = value("SELECT damoov_backfill($time)");
eventually { value('SELECT count(*) FROM damoov.downloads WHERE priority = 40') > 7 } 'trips of a person are queued';
my ($live, $driver) = (token('live'), value('SELECT max(device_token::text) FROM damoov.users'));
$cloud->dataset($live, $driver, Damoov::Story::compact(track_document(3)));
$mark = $cloud->last_request;
value("SELECT count(*) FROM damoov_ingest(" . Damoov::Node::quoted(Damoov::Story::compact(enriched($driver, $live, 1))) . "::jsonb)");
eventually { value("SELECT count(*) FROM damoov.trips WHERE track_token = '$live'") == 1 } 'a trip that is told of meanwhile is stored';
my @asked = map { $_->{object_id} } $cloud->requests(since => $mark, target => 'processed');
my ($place) = grep { $asked[$_] eq $live } 0 .. $#asked;
cmp_ok($place, '<=', 1, '... after one other at most');
cmp_ok(value('SELECT count(*) FROM damoov.downloads WHERE priority = 40'), '>', 2, '... while others wait');
$cloud->clear_faults;

# What jobs have found is not kept for ever, nor the persons for it
eventually { idle() } 'all is fetched';
value("SELECT damoov_backfill_pause(j.job_id) FROM damoov_backfill($time) AS j (job_id)");
value(q{UPDATE damoov.backfills SET ended_at = now() - interval '20 days' WHERE compares});
$empty->safe_psql('postgres', q{SET damoov.keep_quarantine = '10d'; CALL damoov_purge(false)});
is(value('SELECT count(*) FILTER (WHERE compares), count(*) FILTER (WHERE NOT compares) > 1, (SELECT count(*) FROM damoov.differences) FROM damoov.backfills'), '0|t|0',
	'jobs that ended long ago are removed, with what they have found');

$empty->stop;
$node->stop;
$cloud->stop;
done_testing();
