# Datasets that a queue announces: fetched again when that makes sense, given
# up visibly when it does not, and never stored against what is known by then.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Cloud;
use Damoov::Stage;
use Damoov::Story;
use PostgreSQL::Test::Utils;
use Test::More;

my $elsewhere = Damoov::Cloud->new;
my ($cloud, $node) = stage(
	'downloads',
	databases => 'postgres',
	conf => 'damoov.max_downloads = 3');
add_source();

my $driver = driver();

sub download
{
	my ($track, $columns) = @_;
	return value(
		"SELECT $columns FROM damoov.downloads WHERE object_id = '$track'");
}

# What of a track is stored: revision, distance, points.
sub trip
{
	my ($track) = @_;
	return value(
		"SELECT t.revision, t.distance_km, count(p) FROM damoov.trips AS t
		LEFT JOIN damoov.trip_points AS p USING (trip_id)
		WHERE t.track_token = '$track' GROUP BY t.trip_id");
}

sub fetches
{
	my ($track) = @_;
	return $cloud->requests(object_id => $track);
}

# Is it over, one way or the other?
sub settled
{
	my ($track) = @_;
	return download($track, 'state') ne 'waiting' && value(
		"SELECT count(*) FROM damoov.events WHERE object_id = '$track'") > 0;
}

# Sends the notification; its dataset is ready unless it is undef.
sub announce
{
	my ($track, $document, %options) = @_;
	my $seconds = delete $options{seconds} // 10;

	$cloud->dataset($track, $driver, $document) if $document;
	publish([ enriched($driver, $track, $seconds, %options) ]);
	return;
}

###########################################################################
# Again, and when
###########################################################################

my $track = token('late');
$cloud->fault(
	'api', 'status',
	target => $track,
	status => 429,
	retry_after => 2);
announce($track, track_document(4));
eventually { trip($track) eq '1|12.5|4' } 'status 429, then stored';
my @fetches = fetches($track);
is(join(' ', map { $_->{status} } @fetches), '429 200', '... at the second try');
cmp_ok($fetches[1]{time} - $fetches[0]{time},
	'>=', 1.99, '... and not before the two seconds it was told');

# All kinds of passing trouble at once; each its own track.
my %passing = (
	down => [ 'status', status => 500 ],
	gate => [ 'html', status => 502 ],
	busy => [ 'status', status => 503, retry_after_date => 2 ],
	cut => [ 'truncate' ],
	gone => [ 'drop', reset => 1 ],
	page => [ 'html', status => 200 ],
	code => [ 'result_code' ],
	name => [ 'wrong_encoding' ],
	none => [ 'status', status => 404, times => 3 ]);
for my $name (sort keys %passing)
{
	my ($mode, %options) = @{ $passing{$name} };
	$cloud->fault('api', $mode, target => token($name), %options);
	announce(token($name), track_document(2));
}
eventually { trip(token($_)) eq '1|12.5|2' } "passing trouble, @{ $passing{$_} }: stored"
  for sort keys %passing;
is(value('SELECT count(*) FROM damoov.downloads'),
	0, '... and nothing is left to be fetched');
is(value('SELECT count(*) FROM damoov.quarantine'),
	0, '... nor in quarantine');

@fetches = fetches(token('none'));
is(join(' ', map { $_->{status} } @fetches), '404 404 404 200',
	'404 until the dataset is there');
ok( $fetches[2]{time} - $fetches[1]{time} >
	  ($fetches[1]{time} - $fetches[0]{time}) / 2
	  && $fetches[3]{time} - $fetches[2]{time} > 1.9,
	'... asked less and less often');

###########################################################################
# For good
###########################################################################

# never there; refused; unreadable each time; too large
my %forever = (
	hole => [ 'gone', 404, qr/HTTP status 404/, 5, 'status', status => 404 ],
	past => [ 'gone', 410, qr/HTTP status 410/, 1, 'status', status => 410 ],
	lock => [ 'failed', 401, qr/HTTP status 401/, 2, 'status', status => 401 ],
	move => [
		'failed', 302, qr/HTTP status 302/, 2, 'redirect',
		location => $elsewhere->base_url
	],
	huge => [ 'failed', 0, qr/reply exceeds the limit/, 1, 'bomb' ]);
$node->sql('ALTER SYSTEM SET damoov.max_document_size = 256');
$node->reload;
for my $name (sort keys %forever)
{
	my ($state, $status, $error, $tries, $mode, %options) =
	  @{ $forever{$name} };
	$cloud->fault('api', $mode,
		target => token($name),
		times => undef, %options);
	announce(token($name), track_document(2));
}
for my $name (sort keys %forever)
{
	my ($state, $status, $error, $tries) = @{ $forever{$name} };
	my $token = token($name);

	eventually { settled($token) } "$name: ends";
	like(
		download($token, 'state, last_status, attempts, last_error'),
		qr/^$state\|$status\|$tries\|.*$error/,
		"$name: as $state, and stays visible");
	my @fetches = fetches($token);
	is(scalar @fetches, $tries, "$name: tries");
	is(scalar $node->log_lines(
			qr/could not fetch processed dataset "$token": .*$error/),
		1, "$name: and the log says so, once");
}
is($elsewhere->last_request, 0, 'no redirect was followed');
is(value('SELECT downloads_failed FROM damoov.status WHERE source = $$queue$$'),
	scalar keys %forever, 'the status counts them');

# A new notification tries anew.
$cloud->clear_faults;
announce(token('hole'), undef, seconds => 20);
eventually { trip(token('hole')) eq '2|12.5|2' }
'a new notification of a track that was given up brings it';

###########################################################################
# What happens during a fetch
###########################################################################

# The first answer is on its way when the track changes.
$track = token('change');
$cloud->fault('api', 'delay', target => $track, seconds => 2);
announce($track, track_document(3, Distance => 1));
eventually { fetches($track) == 1 } 'a fetch is under way';
announce($track, track_document(5, Distance => 2), seconds => 30);
eventually { trip($track) eq '2|2|5' }
'a notification during the fetch: the new revision is there';
eventually { download($track, 'version') eq '' } '... and nothing is left';
cmp_ok(scalar fetches($track), '>=', 2, '... it was fetched again');
is( value(
		"SELECT enriched_at = '2026-03-02 07:00:30.123457+00' FROM damoov.trips WHERE track_token = '$track'"
	),
	't',
	'... with the time of the newer one');
my $trip_id =
  value("SELECT trip_id FROM damoov.trips WHERE track_token = '$track'");
announce($track, track_document(6, Distance => 3), seconds => 40);
eventually { trip($track) eq '3|3|6' } 'a third revision';
is(value("SELECT trip_id FROM damoov.trips WHERE track_token = '$track'"),
	$trip_id, '... of the same trip_id');

# The platform takes the track away meanwhile.
$track = token('remove');
$cloud->fault('api', 'delay', target => $track, seconds => 2);
announce($track, track_document(3));
eventually { fetches($track) == 1 } 'a fetch is under way';
publish([ removed($driver, $track, 30) ]);
eventually {
	value(
		"SELECT count(*) FROM damoov.removed_tracks WHERE track_token = '$track'")
	  == 1
} '... when its track is removed';
eventually { (fetches($track))[0]{status} } '... the dataset comes';

# whatever is announced later is stored after that answer
announce(token('after'), track_document(1));
eventually { trip(token('after')) eq '1|12.5|1' } '... and another one after it';
is(trip($track), '', '... and is dropped');
is(download($track, 'state'), '', '... and not wanted any more');

# ... and a removal that is older than the enrichment does not.
publish([ removed($driver, $track, 31), enriched($driver, $track, 32) ]);
eventually { trip($track) eq '2|12.5|3' } 'an enrichment after the removal';

###########################################################################
# Addresses that somebody made up
###########################################################################

my $port = $elsewhere->port;
my $path = '/mobilesdk/stage/track/get_track/v1?trackToken=';
my %forged = (
	1 => "https://evil.example$path",
	2 => "http://169.254.169.254$path",
	3 => "https://169.254.169.254$path",
	4 => "http://127.0.0.1:$port$path",
	5 => 'http://user@127.0.0.1:' . $cloud->port . $path,
	6 => "https://mobilesdk.telematicssdk.com\@evil.example$path",
	7 => "https://mobilesdk.telematicssdk.com.evil.example$path",
	8 => "https://mobilesdk.telematicssdk.com.$path",
	9 => "https://mobilesdk.telematicssdk.com:8443$path",
	10 => "http://localhost:$port$path",
	11 => "http://2130706433:$port$path",
	12 => "http://[::ffff:127.0.0.1]:$port$path",
	13 => "file:///etc/passwd",
	14 => "gopher://127.0.0.1:$port/",
	15 => 'http://127.0.0.1:' . $cloud->port . "\\\@evil.example$path",
	16 => 'http://127.0.0.1:' . $cloud->port . "/a\r\nHost: evil$path",
	17 => 'https://telematicssdk.com' . $path,
	18 => 'not a url',
	19 => 'https://mobilesdk.telematicssdk.com/' . 'x' x 3000);
my $mark = $cloud->last_request;
publish(
	[
		map { enriched($driver, token('forged', $_), 10, url => $forged{$_}) }
		sort keys %forged
	]);
for my $number (sort { $a <=> $b } keys %forged)
{
	my $token = token('forged', $number);
	my $shown = substr($forged{$number}, 0, 70) =~ s/[^ -~]/./gr;
	eventually { settled($token) } "forged: $shown";
	like(
		download($token, 'state, attempts, last_error'),
		qr/^failed\|[01]\|.*\bURL\b/,
		"... is refused ($number)");
}
is( $cloud->count_requests(since => $mark, target => 'processed')
	  + $elsewhere->last_request,
	0,
	'... and nobody was asked');
is( value(
		"SELECT count(*) FROM damoov.downloads WHERE last_error LIKE '%trackToken%'"
	),
	0, '... and no address is repeated in an error');

# The address itself is fine; without one it is built from the id.
my %good = (
	1 => $cloud->base_url . $path . token('good', 1),
	2 => undef);
$cloud->dataset(token('good', $_), $driver, track_document(2)) for keys %good;
publish(
	[
		map { enriched($driver, token('good', $_), 10, url => $good{$_}) }
		sort keys %good
	]);
eventually { trip(token('good', $_)) eq '1|12.5|2' } "address $_ is used"
  for sort keys %good;

###########################################################################
# How many at once
###########################################################################

$cloud->fault('api', 'delay', times => 12, seconds => 0.5);
announce(token('many', $_), track_document(1)) for 1 .. 12;
my ($most, $there) = (0, 0);
eventually
{
	my $waiting = grep { !defined $_->{status} }
	  $cloud->requests(target => 'processed');
	$most = $waiting if $waiting > $most;
	value(
		"SELECT count(*) FROM damoov.trips WHERE track_token::text LIKE '${\ substr token('many', 1), 0, 9}%'"
	) == 12;
} 'twelve slow datasets arrive';
is($most, 3, '... never more than damoov.max_downloads of them at once');

###########################################################################
# Merges
###########################################################################

my ($one, $two, $kept) = map { token('merge', $_) } 1 .. 3;
announce($_, track_document(10)) for $one, $two, $kept;
eventually { trip($_) eq '1|12.5|10' } 'a trip before the merge'
  for $one, $two, $kept;
announce(
	$kept,
	track_document(30, Distance => 37.5),
	seconds => 60,
	removed => [ $one, $two ]);
eventually { trip($kept) eq '2|37.5|30' } 'two trips are merged into a third';
is(trip($_), '', '... and are gone') for $one, $two;
is( value(
		'SELECT count(*) FROM damoov.trip_points AS p WHERE NOT EXISTS
		(SELECT FROM damoov.trips AS t WHERE t.trip_id = p.trip_id)'
	),
	0,
	'... with their points');
is( value(
		"SELECT string_agg(reason || ' ' || replaced_by, ', ') FROM damoov.removed_tracks WHERE track_token IN ('$one', '$two')"
	),
	"replaced $kept, replaced $kept",
	'... and the lineage says where they went');

# An older enrichment of a merged track comes late.
publish(
	[ enriched($driver, $one, 20), heartbeat($driver, 4711) ], raw => 1);
eventually {
	value("SELECT count(*) FROM damoov.events WHERE object_id = '$one'") == 2
} 'an older notification of a merged trip comes late';
is(trip($one) . download($one, 'state'), '', '... and changes nothing');

# The whole story in any order
my $story = $cloud->fleet(
	drivers => 4,
	trips => 8,
	points => 20,
	seed => 5,
	shuffle => 99);
eventually {
	value('SELECT count(*) FROM damoov.events WHERE received_at > now()') == 0
	  && $cloud->queue->{visible} + $cloud->queue->{in_flight} == 0
	  && value("SELECT count(*) FROM damoov.downloads WHERE state = 'waiting'") == 0
} 'a fleet tells its story in a wild order';
is( value(
		'SELECT string_agg(t.track_token::text, $$ $$ ORDER BY t.track_token) FROM damoov.trips AS t JOIN damoov.users AS u USING (user_id) WHERE u.device_token IN ('
		  . join(', ', map { "'$_'" } @{ $story->{drivers} }) . ')'),
	join(' ', sort @{ $story->{trips} }),
	'... the right trips are alive');
for my $into (sort keys %{ $story->{merges} })
{
	my @gone = sort @{ $story->{merges}{$into} };
	is( value(
			"SELECT count(DISTINCT track_token) FROM damoov.removed_tracks WHERE reason = 'replaced' AND track_token IN ("
			  . join(', ', map { "'$_'" } @gone) . ')'),
		scalar @gone,
		"... lineage of $into");
}

$node->stop;
done_testing();
