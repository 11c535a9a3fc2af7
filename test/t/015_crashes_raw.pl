# Crashes and raw tracks through the queue: what is fetched and in which order,
# every value as it was sent, and what a removal takes away.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Node;
use Damoov::Stage;
use Damoov::Story;
use Encode ();
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my ($cloud, $node) = stage('crashes', databases => 'postgres');
my $directory = PostgreSQL::Test::Utils::tempdir();
my $driver = driver();

# The documents of a fleet, as the cloud has them.
sub write_fleet
{
	my ($name, %knobs) = @_;
	my ($out, $err);
	IPC::Run::run(
		[
			'python3', "$FindBin::RealBin/../cloud/fleet.py",
			'--dir', "$directory/$name",
			map { ("--$_", $knobs{$_}) } sort keys %knobs
		],
		'>', \$out, '2>', \$err) or die $err;
	return;
}

# Ids of a kind of dataset that the fleet has.
sub ids
{
	my ($name, $kind) = @_;
	my @ids = sort map { m{/$kind-([0-9a-f-]+)\.json$} }
	  glob "$directory/$name/datasets/$kind-*.json";
	return @ids;
}

# A dataset as an SQL literal.
sub document
{
	my ($name, $kind, $id) = @_;
	return Damoov::Node::quoted(
		Encode::decode('UTF-8',
			slurp_file("$directory/$name/datasets/$kind-$id.json")));
}

sub in_list
{
	return join ', ', map { "'$_'" } @_;
}

sub is_over
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return eventually {
		my $queue = $cloud->queue;
		$queue->{visible} + $queue->{in_flight} == 0
		  && value(
			"SELECT count(*) FROM damoov.downloads WHERE state = 'waiting'") == 0
	} $name;
}

# Different ids of a kind that were asked for.
sub asked_for
{
	my ($kind, $since) = @_;
	my %ids = map { ($_->{object_id} => 1) }
	  $cloud->requests(target => $kind, since => $since);
	return join ' ', sort keys %ids;
}

# Columns and the members they hold: rows in which they differ.  An item is
# one element of a list in the document, the row the one with its index.
sub differing
{
	my ($columns) = @_;
	return join ' OR ',
	  map { "r.$_ IS DISTINCT FROM $columns->{$_}" } sort keys %$columns;
}

sub number
{
	my ($member) = @_;
	return "(i ->> '$member')::float8";
}

sub numbers
{
	my %columns = @_;
	return map { ($_ => number($columns{$_})) } keys %columns;
}

sub spread
{
	my ($member, $type) = @_;
	return 'ARRAY['
	  . join(', ',
		map { "(i #>> '{$member,$_}')::$type" }
		  qw(Min Quantile_05 Median Quantile_95 Max))
	  . ']';
}

###########################################################################
# What is fetched unless somebody says otherwise
###########################################################################

my %small = (drivers => 3, trips => 4, points => 12, seed => 41);
write_fleet('default', %small);
$node->add_source($cloud);
my $story = $cloud->fleet(%small);
is_over('a fleet tells its story');

isnt(join(' ', ids('default', 'raw')), '', 'raw tracks are there');
is($cloud->count_requests(target => 'raw'), 0, '... and none is asked for');
is(value('SELECT count(*) FROM damoov.raw_tracks'), 0, '... nor stored');
is(asked_for($_), join(' ', ids('default', $_)), "... but of kind $_ are all")
  for qw(crash crash_buffer);
is( value(
		'SELECT count(*), (SELECT count(*) FROM damoov.crash_buffers) FROM damoov.crashes WHERE header_stored_at IS NOT NULL'
	),
	join('|', map { scalar(my @all = ids('default', $_)) } qw(crash crash_buffer)),
	'... and stored');

###########################################################################
# Every value
###########################################################################

my %fleet = (drivers => 4, trips => 5, points => 60, seed => 42);
write_fleet('all', %fleet);
value("ALTER SERVER api OPTIONS (ADD fetch 'processed,raw,crash')");
my $mark = $cloud->last_request;
$story = $cloud->fleet(%fleet, shuffle => 3);
is_over('with raw tracks, in any order');
is(asked_for($_, $mark), join(' ', ids('all', $_)), "all of kind $_ are fetched")
  for qw(raw crash crash_buffer);
is( value(
		'SELECT string_agg(t.track_token::text, $$ $$ ORDER BY t.track_token) FROM damoov.trips AS t JOIN damoov.users AS u USING (user_id) WHERE u.device_token IN ('
		  . in_list(@{ $story->{drivers} }) . ')'),
	join(' ', sort @{ $story->{trips} }),
	'... beside the trips');
is(value('SELECT count(*) FROM damoov.quarantine') + value('SELECT count(*) FROM damoov.downloads'),
	0, '... without trouble');

my %crash_columns = (
	type => "i ->> 'Type'",
	accident_trigger => "i ->> 'AccidentTrigger'",
	started_at =>
	  "timestamptz 'epoch' + (i ->> 'TimeStart')::bigint * interval '1 millisecond'",
	numbers(
		reliability => 'Reliability',
		duration_ms => 'Duration',
		pure_duration_ms => 'PureDuration',
		speed_start_ms => 'SpeedStart',
		speed_stop_ms => 'SpeedStop',
		speed_median_ms => 'SpeedMedian',
		map {
			my $axis = $_;
			("acceleration_\L${axis}_ms2" => "Acceleration$axis",
				"acceleration_\L${axis}_end_ms2" => "Acceleration${axis}End")
		} qw(Direct Lateral Vertical)),
	start_latitude => "(i #>> '{PointStart,Latitude}')::float8",
	start_longitude => "(i #>> '{PointStart,Longitude}')::float8",
	end_latitude => "(i #>> '{PointEnd,Latitude}')::float8",
	end_longitude => "(i #>> '{PointEnd,Longitude}')::float8",
	range_direct_ms2 => spread('RangeDirect', 'float8'),
	range_lateral_ms2 => spread('RangeLateral', 'float8'),
	range_vertical_ms2 => spread('RangeVertical', 'float8'),
	range_accuracy_m => spread('Accuracy', 'float8'),
	range_speed_ms => spread('Speed', 'float8'));
my @crashes = ids('all', 'crash');
cmp_ok(scalar @crashes, '>', 1, 'there are crashes');
for my $crash (@crashes)
{
	is( value(
			"SELECT r.notes, r.extra FROM damoov.crashes AS r, (VALUES ("
			  . document('all', 'crash', $crash)
			  . "::jsonb)) AS d (i) WHERE r.crash_token = '$crash' AND NOT ("
			  . differing(\%crash_columns) . ')'),
		'|',
		'crash header: every value, and nothing left over');
}

my %sample_columns = (
	at_ms => "((i ->> 'Time')::bigint - (d ->> 'TimeStart')::bigint)::float8",
	recorded_at =>
	  "timestamptz 'epoch' + (i ->> 'Time')::bigint * interval '1 millisecond'",
	numbers(
		speed_ms => 'GpsSpeed',
		map {
			("acceleration_\L${_}_ms2" => "Acceleration$_",
				"gyroscope_\L${_}_rad_s" => "Gyroscope$_")
		} qw(X Y Z)));
for my $crash (ids('all', 'crash_buffer'))
{
	is( value(
			"SELECT count(*), count(*) FILTER (WHERE " . differing(\%sample_columns) . "),
				bool_and(b.sample_count = jsonb_array_length(d -> 'Samples') AND b.frequency_hz = (d ->> 'Frequency')::float8)
			FROM (VALUES (" . document('all', 'crash_buffer', $crash) . "::jsonb)) AS v (d)
			CROSS JOIN LATERAL jsonb_array_elements(d -> 'Samples') WITH ORDINALITY AS s (i, n)
			JOIN damoov.crashes AS c ON c.crash_token = '$crash'
			JOIN damoov.crash_buffers AS b ON b.crash_id = c.crash_id
			JOIN damoov.crash_samples AS r ON r.crash_id = c.crash_id AND r.seq = s.n - 1"),
		'1000|0|t',
		'crash buffer: every value of every sample');
}
is( value(
		'SELECT count(*), bool_and(sample_count = 1000 AND peak_acceleration_ms2 BETWEEN 40 AND 60
			AND delta_v_ms > 0 AND peak_at BETWEEN started_at - interval $$1 second$$ AND started_at + interval $$1 second$$)
		FROM damoov.crash_summary WHERE crash_token IN (' . in_list(@crashes) . ')'),
	scalar @crashes . '|t',
	'crash_summary has one row for each');
is( value('SELECT count(*), count(*) FILTER (WHERE passed_filters) FROM damoov.crashes WHERE crash_token IN ('
		  . in_list(@crashes) . ')'),
	"@{[ scalar @crashes ]}|$story->{crashes_passed}",
	'... beside the stages that the notifications told');

my %point_columns = (
	number => "(i ->> 'Number')::int",
	recorded_at => "(i ->> 'PointDate')::timestamptz",
	ticked_at =>
	  "timestamptz 'epoch' + (i ->> 'TickTimestamp')::bigint * interval '1 second'",
	numbers(
		latitude => 'Latitude',
		longitude => 'Longitude',
		total_meters => 'TotalMeters',
		speed_kmh => 'Speed',
		mid_speed_ms => 'MidSpeed',
		accuracy_m => 'Accuracy',
		height_mm => 'Height',
		course_deg => 'Course',
		yaw_deg => 'Yaw',
		lateral_ms2 => 'Lateral',
		acceleration_ms2 => 'Acceleration',
		deceleration_ms2 => 'Deceleration',
		map {
			("acceleration_\L${_}_ms2" => "Acceleration$_",
				"acceleration_\L${_}_original_ms2" => "Acceleration${_}Original",
				"gyroscope_\L${_}_rad_s" => "Gyroscope$_",
				"gyroscope_\L${_}_original_rad_s" => "Gyroscope${_}Original")
		} qw(X Y Z)),
	(
		map {
			("acceleration_\L${_}_quantiles_ms2" => spread("Quantile,Acceleration$_", 'real'),
				"gyroscope_\L${_}_quantiles_rad_s" => spread("Quantile,Gyroscope$_", 'real'))
		} qw(X Y Z)),
	(
		map { ("established_index_\L$_" => "(i ->> 'EstablishedIndex$_')::boolean::int") }
		  qw(A B)),
	device_blocked => "(i ->> 'DeviceBlocked')::boolean",
	screen_on => "(i ->> 'ScreenOn')::boolean",
	extra => 'NULL');
my ($points, $wrong, $rows) = (0, 0, 0);
for my $track (ids('all', 'raw'))
{
	my @counts = split /\|/, value(
		"SELECT count(r), count(*) FILTER (WHERE " . differing(\%point_columns) . "), count(*),
			bool_and(t.point_count = jsonb_array_length(d #> '{Track,Points}')
				AND t.event_count = jsonb_array_length(d #> '{Track,Events}')
				AND t.started_at = (d #>> '{Track,StartDate}')::timestamptz
				AND t.ended_at = (d #>> '{Track,EndDate}')::timestamptz
				AND t.last_known_points = d #> '{Track,LastKnownPoints}'
				AND t.notes IS NULL AND t.extra IS NULL)
		FROM (VALUES (" . document('all', 'raw', $track) . "::jsonb)) AS v (d)
		CROSS JOIN LATERAL jsonb_array_elements(d #> '{Track,Points}') WITH ORDINALITY AS p (i, n)
		JOIN damoov.raw_tracks AS t ON t.track_token = '$track'
		LEFT JOIN damoov.raw_points AS r ON r.raw_track_id = t.raw_track_id AND r.seq = p.n - 1");
	$points += $counts[0];
	$wrong += $counts[1] + ($counts[2] == $counts[0] ? 0 : 1);
	$rows += ($counts[3] // '') eq 't';
}
cmp_ok($points, '>', 0, "raw tracks: $points points");
is($wrong, 0, '... every value of every point');
is($rows, scalar(my @tracks = ids('all', 'raw')), '... and of every track');
is( value(
		'SELECT count(*) FROM damoov.raw_events AS e JOIN damoov.raw_tracks AS t USING (raw_track_id)
			WHERE e.event_token IS NULL OR e.type NOT IN ($$Acceleration$$, $$Braking$$) OR e.extra IS NOT NULL'),
	0,
	'... and their events are read');

# Credentials that the documents repeat are kept nowhere else.
is( value(
		'SELECT count(*) FROM damoov.users AS u, damoov.raw_tracks AS t WHERE t::text LIKE $$%$$ || u.device_token || $$%$$'),
	0,
	'no raw track holds a device token');

###########################################################################
# Taken away
###########################################################################

sub received
{
	my ($user, $track, $seconds) = @_;
	return {
		Event => 'IncomingTrackReceived',
		Sender => 'Data Motion',
		UserId => $user,
		Object => { Id => $track, Type => 'IncomingTrack' },
		Timestamp => moment($seconds),
		Details => {
			TrackStartDate => '2026-03-02T08:00:00.0000000+01:00',
			TrackFinishDate => '2026-03-02T08:05:00.0000000+01:00'
		}
	};
}

sub raw_document
{
	my ($track) = @_;
	return {
		Track => {
			StartDate => '2026-03-02T08:00:00+0100',
			EndDate => '2026-03-02T08:05:00+0100',
			TrackToken => $track,
			DeviceToken => $driver,
			Points => [ map { { Number => $_, Latitude => 51.95, Longitude => 7.62 } } 1 .. 5 ],
			Events => [],
			LastKnownPoints => []
		}
	};
}

# What of a raw track is there: tracks, points, downloads.
sub raw
{
	my ($track) = @_;
	return value(
		"SELECT (SELECT count(*) FROM damoov.raw_tracks WHERE track_token = '$track'),
			(SELECT count(*) FROM damoov.raw_points AS p JOIN damoov.raw_tracks AS t USING (raw_track_id) WHERE t.track_token = '$track'),
			(SELECT count(*) FROM damoov.downloads WHERE object_id = '$track')");
}

my $orphans =
  'SELECT count(*) FROM damoov.raw_points WHERE raw_track_id NOT IN (SELECT raw_track_id FROM damoov.raw_tracks)';

my $track = token('raw');
$cloud->dataset($track, $driver, raw_document($track), 'raw');
publish([ received($driver, $track, 100) ]);
eventually { raw($track) eq '1|5|0' } 'a raw track is stored';
publish([ removed($driver, $track, 50), heartbeat($driver, 1) ]);
is_over('a removal comes that is older');
is(raw($track), '1|5|0', '... and changes nothing');
publish([ removed($driver, $track, 150) ]);
eventually { raw($track) eq '0|0|0' } 'a newer one takes it away';
is(value($orphans), 0, '... with its points');
publish([ received($driver, $track, 120) ]);
is_over('an older one of its notifications comes late');
is(raw($track), '0|0|0', '... and does not bring it back');
publish([ received($driver, $track, 200) ]);
eventually { raw($track) eq '1|5|0' } '... but a newer one does';

# during the fetch
$track = token('raw', 2);
$cloud->dataset($track, $driver, raw_document($track), 'raw');
$cloud->fault('api', 'delay', target => $track, seconds => 4);
publish([ received($driver, $track, 100) ]);
eventually { $cloud->count_requests(object_id => $track) == 1 } 'a fetch is under way';
publish([ removed($driver, $track, 150) ]);
eventually {
	value("SELECT count(*) FROM damoov.removed_tracks WHERE track_token = '$track'") == 1
} '... when the track is removed';
eventually { $cloud->count_requests(object_id => $track, status => 200) == 1 } '... which comes';
publish([ received($driver, token('raw'), 300) ]);
is_over('... and something after it');
is(raw($track), '0|0|0', '... and is dropped');

###########################################################################
# What goes first
###########################################################################

sub crash_stage
{
	my ($event, $crash, $seconds) = @_;
	return {
		Event => $event,
		Sender => 'Data Motion',
		UserId => $driver,
		Object => { Id => $crash, Type => 'Accident' },
		Timestamp => moment($seconds),
		Details => { DateReceived => moment($seconds) }
	};
}

value('ALTER SYSTEM SET damoov.max_downloads = 1');
$node->reload;
my ($trip, $crash) = map { token($_) } qw(trip crash);
$cloud->dataset($trip, $driver, track_document(1));
$cloud->dataset($trip, $driver, raw_document($trip), 'raw');
$cloud->dataset($crash, $driver, { Id => $crash, Type => 'Accident', TimeStart => 1772434800000 }, 'crash');
$cloud->dataset($crash, $driver, { TimeStart => 1772434800000, Samples => [] }, 'crash_buffer');
eventually { value('SHOW damoov.max_downloads') eq '1' } 'one download at a time';

# all four begin to wait in the same moment
$mark = $cloud->last_request;
value(
	'SELECT count(*) FROM damoov_ingest('
	  . Damoov::Node::quoted(
		compact(
			[
				received($driver, $trip, 510),
				enriched($driver, $trip, 520),
				crash_stage('AccidentEventExtraReceived', $crash, 530),
				crash_stage('AccidentEventReceived', $crash, 540)
			]))
	  . ')');
is_over('a trip and a crash are fetched');
is( join(' ', map { $_->{target} } grep { ($_->{object_id} // '') =~ /^($trip|$crash)$/ }
		  $cloud->requests(since => $mark)),
	'crash crash_buffer processed raw',
	'crashes go before trips, and raw tracks last');

# A queue full of trips, with crashes at its end.  No trip is answered, so that
# there is room for none; a crash is fetched all the same, while trips wait.
value('ALTER SYSTEM SET damoov.max_downloads = 3');
value('ALTER SERVER api OPTIONS (SET fetch $$processed,crash$$)');
$node->reload;
my @trips = map { token('trip', 1000 + $_) } 1 .. 100;
my @late = map { token('crash', 1000 + $_) } 1 .. 5;
for my $id (@trips, @late)
{
	$cloud->dataset($id, $driver, track_document(1));
	$cloud->dataset($id, $driver, { Id => $id, Type => 'Accident', TimeStart => 1772434800000 }, 'crash');
}
eventually { value('SHOW damoov.max_downloads') eq '3' } 'three downloads at a time';
$mark = $cloud->last_request;
$cloud->fault('api', 'hold', target => 'processed', times => undef);
publish([ map { enriched($driver, $trips[$_], 600 + $_) } 0 .. $#trips ]);
eventually { $cloud->requests(since => $mark, target => 'processed') == 3 } '... all of them busy with trips';
publish([ map { crash_stage('AccidentEventReceived', $late[$_], 800 + $_) } 0 .. $#late ]);
my $of_crashes = "crash_token IN ('" . join("', '", @late) . "')";
eventually { value("SELECT count(*) FROM damoov.crashes WHERE header_stored_at IS NOT NULL AND $of_crashes") eq '5' }
'crashes behind a hundred trips are stored, while no trip is answered';
my @asked = grep { $_->{target} =~ /^(processed|crash)$/ } $cloud->requests(since => $mark);
is(scalar(grep { $_->{target} eq 'processed' } @asked), 3, '... with three of the trips under way');
is( value("SELECT count(*) FROM damoov.events WHERE event = 'TrackEnrichmentFinished' AND object_id IN ('" . join("', '", @trips) . "')"),
	100, '... and all of them known');

# The other way round: crashes that are not answered take all of the room.
my @more = map { token('more', $_) } 1 .. 6;
$cloud->dataset($_, $driver, { Id => $_, Type => 'Accident', TimeStart => 1772434800000 }, 'crash') for @more;
$cloud->fault('api', 'hold', target => 'crash', times => undef);
publish([ map { crash_stage('AccidentEventReceived', $more[$_], 900 + $_) } 0 .. $#more ]);
eventually { value('SELECT count(*) FROM damoov.downloads WHERE kind = $$crash$$ AND attempts = 0') eq '5' } 'one crash more than there is room for';
is(value('SELECT count(*) FROM damoov.downloads WHERE attempts > 0'), 4, '... is all that is begun');
$cloud->clear_faults;
is_over('all is answered');
my @order = map { $_->{target} } grep { $_->{target} =~ /^(processed|crash)$/ } $cloud->requests(since => $mark);
is(join(' ', @order[0 .. 2]), 'processed processed processed', 'three trips went before the crashes');
# those that are asked for together may come in any order
is(scalar(grep { $_ eq 'crash' } @order[3 .. 16]), 11, '... and of the others those alone that went with the last of them');
is(value('SELECT count(*) FROM damoov.trips WHERE track_token IN ($$' . join('$$, $$', @trips) . '$$)'), 100, '... which are stored, too');

$node->stop;
done_testing();
