# damoov_fetch_track(): every number of a trip arrives as it was sent, and
# whatever else an address may answer ends in an error that says so.

use strict;
use warnings;

use Cwd qw(abs_path);
use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Cloud;
use Damoov::Node;
use Damoov::Story;
use Encode ();
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $cloud = Damoov::Cloud->new;
my $elsewhere = Damoov::Cloud->new;

# What the environment says of proxies and passwords must not matter.
my $closed = PostgreSQL::Test::Cluster::get_free_port();
my $home = PostgreSQL::Test::Utils::tempdir();
append_to_file("$home/.netrc",
	"machine 127.0.0.1 login netrc password netrc\n");
chmod 0600, "$home/.netrc";
my $node = do
{
	my $proxy = "http://127.0.0.1:$closed";
	local %ENV = (
		%ENV,
		HOME => abs_path($home),
		map { ($_ => $proxy, uc $_ => $proxy) }
		  qw(http_proxy https_proxy all_proxy));
	delete @ENV{qw(no_proxy NO_PROXY)};
	Damoov::Node->start_new('fetch',
		conf => 'damoov.max_document_size = 1MB');
};
$node->add_api($cloud);
$node->sql("ALTER SERVER api OPTIONS (ADD store_points 'rows')");

my $driver = token('driver');

sub fetch
{
	my ($track, $token) = @_;
	return
	    'SELECT damoov_fetch_track('
	  . Damoov::Node::quoted($track) . ', '
	  . (defined $token ? Damoov::Node::quoted($token) : 'NULL') . ')';
}

sub trips
{
	return $node->sql('SELECT count(*) FROM damoov.trips');
}

###########################################################################
# Column by column
###########################################################################

my $expected_trip = "$FindBin::RealBin/../lib/expected_trip.py";

sub python
{
	my ($mode, $input) = @_;
	my ($out, $err);
	IPC::Run::run([ 'python3', $expected_trip, $mode ],
		'<', \$input, '>', \$out, '2>', \$err)
	  or die "expected_trip.py $mode: $err";
	return $out;
}

# Columns that are not in the dataset.
my $own = "ARRAY['trip_id', 'user_id', 'track_token', 'enriched_at', 'revision', 'stored_at']";

sub stored_rows
{
	my ($trip_id) = @_;
	return $node->sql(
		qq{SET TimeZone = 'UTC';
		SELECT json_build_object(
			'trip', (SELECT json_object_agg(c.key, c.value)
				FROM damoov.trips AS t, json_each(to_json(t)) AS c
				WHERE t.trip_id = $trip_id AND c.key <> ALL ($own)),
			'points', (SELECT coalesce(json_agg(r ORDER BY seq), '[]') FROM
				(SELECT p.seq, (SELECT json_object_agg(c.key, c.value)
					FROM json_each(to_json(p)) AS c WHERE c.key <> 'trip_id') AS r
				FROM damoov.all_points AS p WHERE p.trip_id = $trip_id) AS a),
			'events', (SELECT coalesce(json_agg(r ORDER BY seq), '[]') FROM
				(SELECT e.seq, (SELECT json_object_agg(c.key, c.value)
					FROM json_each(to_json(e)) AS c WHERE c.key <> 'trip_id') AS r
				FROM damoov.trip_events AS e WHERE e.trip_id = $trip_id) AS a))});
}

# The points as a document first, and then as rows.
sub is_stored_as_sent
{
	my ($name, $text, $track, $token) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my @expected = split /\n/, python('expected', $text);

	for my $form (qw(document rows))
	{
		$node->sql("ALTER SERVER api OPTIONS (SET store_points '$form')");
		my $trip_id = $node->sql(fetch($track, $token));
		my @stored = split /\n/, python('canonical', stored_rows($trip_id));

		is($node->sql("SELECT count(*) FROM damoov.trip_documents WHERE trip_id = $trip_id"),
			$form eq 'rows' ? 0 : 1, "$name: stored as $form");
		is(scalar @stored, scalar @expected, '... rows');
		my @wrong = grep { ($stored[$_] // '') ne $expected[$_] } 0 .. $#expected;
		is(scalar @wrong, 0, '... every value of every row');
		diag("stored:   $stored[$_]\nexpected: $expected[$_]")
		  for grep { defined } @wrong[ 0 .. 2 ];
	}
	return;
}

# The fleet's documents, as the cloud has them.
my $directory = PostgreSQL::Test::Utils::tempdir();
my %of_driver;

sub write_fleet
{
	my ($name, @knobs) = @_;
	my ($out, $err);
	IPC::Run::run(
		[
			'python3', "$FindBin::RealBin/../cloud/fleet.py",
			@knobs, '--dir', "$directory/$name"
		],
		'>', \$out, '2>', \$err) or die $err;
	$_->{Event} eq 'TrackEnrichmentFinished'
	  and $of_driver{ $_->{Object}{Id} } = $_->{UserId}
	  for map { decode_json($_) } split /\n/,
	  slurp_file("$directory/$name/notifications.ndjson");
	return decode_json($out);
}

sub dataset_text
{
	my ($name, $track) = @_;
	return Encode::decode('UTF-8',
		slurp_file("$directory/$name/datasets/processed-$track.json"));
}

write_fleet('long', qw(--drivers 1 --trips 1 --points 900 --seed 11));
my ($long) = keys %of_driver;
my $long_text = dataset_text('long', $long);
$cloud->dataset($long, $of_driver{$long}, $long_text);
is_stored_as_sent('a trip of 900 points', Encode::encode('UTF-8', $long_text),
	$long, $of_driver{$long});
is( $node->sql(
		"SELECT count(*), min(seq), max(seq), count(*) FILTER (WHERE is_filler) > 100 FROM damoov.trip_points"
	),
	'900|0|899|t',
	'... all of them, fillers among them');
cmp_ok($node->sql('SELECT count(DISTINCT kind) FROM damoov.trip_events'),
	'>=', 4, '... and several kinds of trip events');

# Towns in all zones, merged and silent trips, exponents, unknown limits
my $fleet = write_fleet('fleet', qw(--drivers 6 --trips 5 --points 60 --seed 3));
for my $track (@{ $fleet->{trips} })
{
	my $text = dataset_text('fleet', $track);
	$cloud->dataset($track, $of_driver{$track}, $text);
	is_stored_as_sent("trip $track", Encode::encode('UTF-8', $text),
		$track, $of_driver{$track});
}

# Written by hand: format 1 and 2 of the platform, and one that is odd.
my %by_hand = (
	'format 1' => q({"Result":{"Track":{"StartDate":"2024-05-14T17:42:10+02:00","EndDate":"2024-05-14T17:57:58+02:00","Status":"Active","Distance":8.412,"Duration":15.8,"AccelerationCount":1,"DecelerationCount":1,"AddressStart":"Example Street 1, Exampletown","AddressEnd":"Sample Road 22, Exampletown","AddressStartParts":{"CountryCode":"EX","City":"Exampletown","House":"1"},"AddressFinishParts":{"CountryCode":"EX","PostalCode":"00002"},"CityStart":"Exampletown","CityFinish":"Exampletown","Rating":3.0,"RatingCornering":4,"RatingTimeOfDay":5,"Rating100":64,"RatingPhoneDistraction100":88,"PhoneUsage":0.45,"MidOverSpeedMileage":0.152,"HighOverSpeedMileage":0.143,"EcoScore":88,"EcoScoreTyres":94,"TrackOriginCode":"OriginalDriver","OriginChanged":false,"ShareType":"NotShared","DrivingTips":"Safety score 64.\r\n- strong braking, -3.41 m/s2","BeaconId":0,"Points":[
{"Id":6700000100,"Number":12,"PointDate":"2024-05-14T17:42:09+02:00","Latitude":51.96021,"Longitude":7.62671,"TotalMeters":64.118207,"Speed":7.415999889373779,"MidSpeed":2.059999942779541,"SpeedLimit":50,"SpeedType":"norm","AlertType":"","AlertValue":0,"Cornering":false,"PhoneUsage":false,"Lateral":0,"Course":58.20000076293945,"Yaw":-2.214068,"Height":62340},
{"Id":6700000101,"Number":12,"PointDate":"2024-05-14T17:42:09+02:00","Latitude":51.96034,"Longitude":7.62693,"TotalMeters":64.118207,"Speed":7.415999889373779,"MidSpeed":0,"SpeedLimit":50,"SpeedType":"norm","AlertType":"","AlertValue":0,"Cornering":false,"PhoneUsage":false,"Lateral":0,"Course":0,"Yaw":0,"Height":0},
{"Id":6700000103,"Number":25,"PointDate":"2024-05-14T17:42:23+02:00","Latitude":51.96103,"Longitude":7.62812,"TotalMeters":193.410258,"Speed":44.316001892089844,"MidSpeed":12.3100004196167,"SpeedLimit":999,"SpeedType":"norm","AlertType":"acc","AlertValue":2.9184770584106445,"Cornering":false,"PhoneUsage":false,"Lateral":3.4e-12,"Course":61.400001525878906,"Yaw":2.905117,"Height":62500},
{"Id":6700000106,"Number":34,"PointDate":"2024-05-14T17:42:32+02:00","Latitude":51.96158,"Longitude":7.6299,"TotalMeters":346.033871,"Speed":68.11199951171875,"MidSpeed":18.920000076293945,"SpeedLimit":50,"SpeedType":"mid","AlertType":"","AlertValue":0,"Cornering":false,"PhoneUsage":true,"Lateral":0,"Course":70.5,"Yaw":3,"Height":62100},
{"Id":6700000109,"Number":47,"PointDate":"2024-05-14T17:42:45+02:00","Latitude":51.96077,"Longitude":7.63247,"TotalMeters":571.440926,"Speed":35.56800079345703,"MidSpeed":9.880000114440918,"SpeedLimit":30,"SpeedType":"norm","AlertType":"deacc","AlertValue":-3.4120635986328125,"Cornering":true,"PhoneUsage":false,"Lateral":0,"Course":128,"Yaw":38.770163,"Height":61875},
{"Id":6700000110,"Number":61,"PointDate":"2024-05-14T17:42:59+02:00","Latitude":51.96066,"Longitude":7.63269,"TotalMeters":601.4,"Speed":0,"MidSpeed":0,"SpeedLimit":50,"SpeedType":"norm","AlertType":"","AlertValue":0,"Cornering":false,"PhoneUsage":false,"Lateral":0,"Course":127.30000305175781,"Yaw":41.112103,"Height":61850}]},"Code":200}}),

	'format 2' => q({"Result":{"Track":{"TrackToken":"TOKEN","DeviceToken":"SECRET","StartDate":"2024-05-14T17:42:10+02:00","EndDate":"2024-05-14T17:57:58+02:00","Status":"Active","Distance":8.412,"Duration":15.8,"AddressStart":null,"AddressStartParts":null,"Rating":3.0,"Rating100":64,"TrackOriginCode":"Passanger","OriginChanged":true,"ShareType":"Shared","DrivingTips":null,"Tags":[{"Tag":"Business","Source":"CustomerApp","Type":"TrackTag"}],"Points":[]},"Code":200}}),

	'odd' => q({"Result":{"Code":200,"Server":"eu-7","Track":{"StartDate":"2026-03-02T08:00:00.5","EndDate":"2026-03-02T07:00:00.1234567+05:45","Distance":-1,"Duration":-15.25,"Rating":-1,"Rating100":101,"RatingBraking":"4","EcoScore":12.345678901234567,"AccelerationCount":2.5,"DecelerationCount":1e2,"BeaconId":9007199254740993,"Status":"","OriginChanged":1,"AddressEnd":5,"AddressStartParts":"none","DrivingTips":"\u00e9\ud83d\ude97 \"tips\"","Rating":4.5,"New":{"a":[1,2.50,{"b":null}]},"UserId":"SECRET","Tags":[],"Points":[
{"Number":1,"PointDate":"2026-03-02T08:00:00+0100","Latitude":0,"Longitude":0,"Speed":0.1,"SpeedLimit":0.5,"SpeedType":"odd \u00fc","AlertType":"swerve","AlertValue":1.7,"PhoneUsage":1,"Course":361,"MidSpeed":0,"Height":0},
{"Number":2,"PointDate":"2026-03-02T08:00:00Z","Latitude":91,"Longitude":7.5,"Speed":100,"SpeedLimit":50,"AlertType":"acc","AlertValue":null,"PhoneUsage":0,"Cornering":true,"TotalMeters":10,"Height":-0.0,"Course":0,"MidSpeed":0},
"not a point",
{"Number":2,"Latitude":12.5,"Longitude":-0.0,"MidSpeed":0,"Course":0,"Height":0,"Speed":100,"SpeedLimit":50,"Extra":{"x":1}},
{"Id":9223372036854775807,"Number":3,"PointDate":"2026-03-02T07:59:00Z","Latitude":-12.123456789012345,"Longitude":-179.99999999999997,"Speed":2.2250738585072014e-308,"TotalMeters":5,"Lateral":"0","Yaw":1e6,"Height":1},
{}]}}}));

for my $name (sort keys %by_hand)
{
	my $track = token('hand', length $name);
	my $text = $by_hand{$name} =~ s/TOKEN/\U$track/r =~ s/SECRET/$driver/r;

	$cloud->dataset($track, $driver, $text);
	is_stored_as_sent($name, $text, $track, $driver);
}
is( $node->sql(
		"SELECT count(*) FROM damoov.trips WHERE to_jsonb(trips)::text LIKE '%$driver%'"
	),
	0, 'the credential inside of a dataset is not kept');

###########################################################################
# How it may come
###########################################################################

my ($request) = $cloud->requests(object_id => $long);
is($request->{device_token}, $of_driver{$long}, 'the device token is sent');
is($request->{headers}{'accept-encoding'}, 'gzip', '... and gzip is offered');
is( join(' ',
		grep { exists $request->{headers}{$_} }
		  qw(authorization cookie proxy-authorization)),
	'',
	'... and nothing of the environment: no proxy, no netrc');
is($cloud->count_requests(path => qr/$driver/), 0,
	'no address has a device token in it');

for my $mode (qw(content_length close_delimited))
{
	$cloud->fault('api', $mode, target => $long);
	is($node->sql(fetch($long)), 1, "framing $mode: the same trip_id");
}
$cloud->fault('api', 'drip', target => $long, pieces => 8, seconds => 0.05);
is($node->sql(fetch($long)), 1, 'byte by byte');
is_stored_as_sent('... a trip of 900 points, stored again',
	Encode::encode('UTF-8', $long_text), $long);

###########################################################################
# What is asked for
###########################################################################

my $before = trips();
my $mark = $cloud->last_request;
for my $token ('../x', 'a?b', 'a#b', '%2e%2e', '', ' ',
	"$long\r\nDeviceToken: x", "$long/", "$long ", substr($long, 1),
	'00000000-0000-0000-0000-000000000000', "\xef\xbc\x90" . substr $long, 1)
{
	is( $node->error_of(fetch($token, $driver)),
		'22023: track token is not a UUID',
		'track token "' . ($token =~ s/[^ -~]/./gr) . '" is refused');
}
like($node->error_of(fetch($long, 'x')),
	qr/^22023: device token is not a UUID/, 'device token "x" is refused');
like($node->error_of('SELECT damoov_fetch_track(NULL)'),
	qr/^22023: /, 'no track token is refused');
is( $node->error_of(fetch(token('nobody'))),
	'02000: no person is known for object "'
	  . token('nobody')
	  . '" HINT: Pass the device token as the second argument of damoov_fetch_track().',
	'a track nobody knows');
is($cloud->last_request, $mark, '... and nothing was asked for');
is( $node->sql(fetch("{\U$long}")), 1,
	'a UUID in another spelling is the same track');

# The person out of the event log.
my $announced = token('told');
$cloud->dataset($announced, $driver, track_document(3));
$node->sql('SELECT damoov_ingest('
	  . Damoov::Node::quoted(compact(enriched($driver, $announced, 100)))
	  . ')');
is( $node->sql('SELECT count(*) FROM damoov.downloads'), 1,
	'a track is announced');
like($node->sql(fetch($announced)), qr/^\d+$/, '... and fetched by hand');
is( $node->sql(
		"SELECT enriched_at = '2026-03-02 07:01:40.123457+00', revision FROM damoov.trips WHERE track_token = '$announced'"
	),
	't|1',
	'... with the time of its enrichment');
is($node->sql('SELECT count(*) FROM damoov.downloads'),
	0, '... and wanted no more');

# A removed track stays removed.
$node->sql('SELECT damoov_ingest('
	  . Damoov::Node::quoted(compact(removed($driver, $announced, 200)))
	  . ')');
like($node->error_of(fetch($announced, $driver)),
	qr/^55000: track was removed/, 'a removed track is not brought back');

###########################################################################
# What may come instead
###########################################################################

my $track = token('fault');
$before = trips();

sub refused
{
	my ($name, $error) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	like($node->error_of(fetch($track, $driver)),
		qr/^$error$/, $name);
}

sub status_error
{
	my ($sqlstate, $status) = @_;
	return
	  qr/$sqlstate: could not fetch the track: the service answered with HTTP status $status/;
}

refused('no such dataset', status_error('02000', 404));
$cloud->dataset($track, $driver, track_document(200));
for my $case ([ 410, '02000' ], [ 401, '28000' ], [ 403, '28000' ],
	[ 500, '08006' ], [ 503, '08006' ], [ 429, '08006' ], [ 204, '08006' ],
	[ 304, '08006' ])
{
	my ($status, $sqlstate) = @$case;
	$cloud->fault('api', 'status', target => $track, status => $status);
	refused("status $status", status_error($sqlstate, $status));
}
like($node->error_of(fetch($track, token('wrong'))),
	status_error('28000', 401), 'somebody else\'s device token');

my $seen = $elsewhere->last_request;
for my $status (301, 302, 303, 307, 308)
{
	$cloud->fault(
		'api', 'redirect',
		target => $track,
		status => $status,
		location => $elsewhere->base_url
		  . "/mobilesdk/stage/track/get_track/v1?trackToken=$track");
	refused("redirect $status", status_error('08006', $status));
}
is($elsewhere->last_request, $seen, '... and nobody went there');

for my $case (
	[ 'truncate', '08006', qr/.*/ ],
	[ 'short_length', '08006', qr/.*/ ],
	[ 'drop', '08006', qr/.*/ ],
	[ 'wrong_encoding', '08006', qr/.*/ ],
	[ 'endless', '54000', qr/reply exceeds the limit of 1048576 bytes/ ],
	[ 'bomb', '54000', qr/reply exceeds the limit of 1048576 bytes/ ],
	[ 'html', '22P02', qr/.*/, status => 200 ],
	[ 'html', '08006', qr/the service answered with HTTP status 502/ ],
	[
		'status', '22P02', qr/.*/, status => 200, body => ''
	],
	[
		'result_code', '08P01',
		qr/platform answered with code 500 instead of the track/
	])
{
	my ($mode, $sqlstate, $message, %options) = @$case;
	my $began = time;
	$cloud->fault('api', $mode, target => $track, %options);
	refused(join(' ', $mode, %options),
		qr/$sqlstate: could not fetch the track: $message/);
	cmp_ok(time - $began, '<', 30, '... soon');
}

# Of another track, of nothing, and a large one
my %document = (
	'another track' => [
		'22023', 'dataset is that of another track',
		compact(track_document(2, TrackToken => $long))
	],
	'an empty object' => [ '22023', 'dataset has no object Result.Track', '{}' ],
	'a list' => [ '[0-9A-Z]{5}', '.*', '[]' ],
	'two documents' => [ '22P02', '.*', '{}{}' ],
	'a NUL' => [ '22P05', '.*', '{"Result":{"Track":{"Status":"\u0000"},"Code":200}}' ],
	'a deep one' => [ '54001', '.*', '[' x 5000 . ']' x 5000 ],
	'a large one' => [ '54000', 'reply exceeds the limit of 1048576 bytes', '"' . 'x' x 1_100_000 . '"' ]);
for my $name (sort keys %document)
{
	my ($sqlstate, $message, $text) = @{ $document{$name} };
	$cloud->dataset($track, $driver, $text);
	refused("the dataset is $name",
		qr/$sqlstate: could not fetch the track: $message/);
}
$cloud->dataset($track, $driver, track_document(200));
is(trips(), $before, 'nothing of all that was stored');
is($node->sql('SELECT point_count FROM damoov.trips WHERE trip_id = 1'),
	900, '... and nothing was lost');

# A fault after it has been stored leaves what is there.
$node->sql(fetch($track, $driver));
$cloud->fault('api', 'result_code', target => $track);
refused('an error for a track that is here',
	qr/08P01: could not fetch the track: .*/);
is( $node->sql(
		"SELECT count(*) FROM damoov.trip_points JOIN damoov.trips USING (trip_id) WHERE track_token = '$track'"
	),
	200, '... leaves it alone');

###########################################################################
# Ending it
###########################################################################

# The first statement is cut short; the next one works in the same session.
sub cut_short
{
	my ($name, $mode, %options) = @_;
	$cloud->fault('api', $mode, target => $track, seconds => 30, %options);
	my ($status, $out, $err) = $node->psql(
		'postgres',
		"\\set VERBOSITY verbose
		SET statement_timeout = '500ms';
		SELECT clock_timestamp() AS began \\gset
		${\ fetch($track)};
		RESET statement_timeout;
		SELECT clock_timestamp() - :'began' BETWEEN '0.4 s' AND '1.5 s';
		${\ fetch($long)};",
		on_error_stop => 0);

	like($err, qr/ERROR:  57014: /, "$name: ends with 57014");
	is($out, "t\n1", '... within a second, and the session is of use');
	return;
}

cut_short('statement_timeout, no answer', 'delay');
cut_short('statement_timeout, half an answer', 'stall');
cut_short('statement_timeout, a slow answer', 'drip', seconds => 0.2, pieces => 100);

$cloud->fault('api', 'stall', target => $track, seconds => 30);
$mark = $cloud->last_request;
my $session = $node->start_sql(fetch($track));
eventually { $cloud->last_request > $mark } 'a fetch is under way';
my $began = time;
$node->sql("SELECT pg_cancel_backend($session->{pid})");
like($node->finish_sql($session), qr/57014/, '... is cancelled');
cmp_ok(time - $began, '<', 15, '... and does not wait for its end');

$cloud->fault('api', 'stall', target => $track, seconds => 30);
$mark = $cloud->last_request;
$session = $node->start_sql(fetch($track));
eventually { $cloud->last_request > $mark } 'a fetch is under way';
$began = time;
$node->sql("SELECT pg_terminate_backend($session->{pid})");
eventually {
	$node->sql(
		"SELECT count(*) FROM pg_stat_activity WHERE pid = $session->{pid}") == 0
} '... and the session is terminated', 15;
$session->{run}->kill_kill;

###########################################################################
# Where it may go
###########################################################################

like(
	$node->error_of(
		'SET damoov.allow_http_loopback = off; ' . fetch($long)),
	qr/^22023: could not fetch the track: option "base_url" of the api server is not an https URL/,
	'plain http without the setting');
for my $url (
	'http://127.0.0.2:' . $cloud->port,
	'http://localhost:' . $cloud->port,
	'http://example.com', 'ftp://127.0.0.1', 'file:///etc/passwd')
{
	$node->sql("ALTER SERVER api OPTIONS (SET base_url '$url')");
	like(
		$node->error_of(fetch($long)),
		qr/^22023: could not fetch the track: option "base_url" of the api server is not an https URL/,
		"$url: only https, or loopback by its number");
}

# Not everybody may do this.
$node->sql('CREATE ROLE nobody LOGIN');
like($node->error_of(fetch($long), user => 'nobody'),
	qr/^42501: permission denied for function damoov_fetch_track/,
	'not everybody');

$node->stop;
done_testing();
