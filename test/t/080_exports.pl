# Trips as GeoJSON, GPX, EWKB and encoded polylines are what programs elsewhere
# read: by the rules of each format, in code of the test's own, for trips of all
# shapes; they are found through indexes, and CSV carries no formula.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Documents;
use Damoov::Node;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$FindBin::RealBin/../..";
my $node = Damoov::Node->start_new('exports', preload => 0, conf => "timezone = 'America/New_York'");

# What a program makes of a text: its output, with what it says on errors.
sub made_of
{
	my ($text, @command) = @_;
	my $output = '';

	IPC::Run::run(\@command, '<', \$text, '>&', \$output);
	return $output;
}

sub formats { my ($what, $text) = @_; return made_of($text // '', 'python3', "$top/test/lib/map_formats.py", $what) }

is(formats('self-test'), '', 'faults of GeoJSON are found');

###########################################################################
# Trips of all shapes
###########################################################################

$node->sql(slurp_file("$top/test/lib/shapes.sql"));

my $lines = $node->sql(<<'SQL');
SELECT jsonb_build_object('line', damoov_trip_geojson(trip_id), 'points_geojson', damoov_trip_geojson(trip_id, 'points'), 'events', damoov_trip_geojson(trip_id, 'events'),
	'ewkb', encode(damoov_trip_wkb(trip_id), 'hex'), 'polyline_5', damoov_polyline(trip_id), 'polyline_6', damoov_polyline(trip_id, 6),
	'points', (SELECT jsonb_agg(jsonb_build_array(longitude, latitude, extract(epoch FROM recorded_at)) ORDER BY seq)
		FROM damoov_points(trip_id) WHERE latitude < 91 AND longitude < 181))
FROM damoov.trips ORDER BY trip_id
SQL
is(formats('trips', "$lines\n"), "400 read\n", 'each trip is the same in GeoJSON, EWKB and polylines');
like($lines, qr/MultiLineString/, '... some of which cross the antimeridian');
is(formats('geojson', $node->sql('SELECT damoov_trips_geojson(NULL, NULL)') . "\n"), "1 read\n", 'a collection of all of them is GeoJSON');
is($node->sql(q{SELECT max(jsonb_array_length(c)) BETWEEN 90 AND 102 FROM jsonb_path_query(damoov_trips_geojson(NULL, NULL), '$.features[*].geometry.coordinates') AS c}),
	't', '... of lines with few vertices');
unlike($lines . $node->sql('SELECT string_agg(damoov_trip_gpx(trip_id), NULL) FROM damoov.trips'),
	qr/5b0c7d1e|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}/, 'nothing holds an id of the platform');

is($node->sql('SET standard_conforming_strings = off; SET escape_string_warning = off; SELECT md5(string_agg(damoov_trip_wkb(trip_id), NULL ORDER BY trip_id)) FROM damoov.trips'),
	$node->sql('SELECT md5(string_agg(damoov_trip_wkb(trip_id), NULL ORDER BY trip_id)) FROM damoov.trips'), 'EWKB is the same where a backslash escapes');

# Numbers whose products are none, and times that others have written
$node->sql(<<'SQL');
INSERT INTO damoov.trips (trip_id, track_token, user_id, revision, point_count, filler_count, min_latitude, min_longitude, max_latitude, max_longitude)
SELECT n, md5('tiny' || n)::uuid, 1, 1, 3, 0, 0, 0, 0, 1 FROM generate_series(501, 502) AS n;
INSERT INTO damoov.trip_points (trip_id, seq, recorded_at, latitude, longitude, is_filler) VALUES
	(501, 1, '2024-05-14Z', 1e-200, 0, false), (501, 2, '2024-05-14Z', 0, 5e-324, false), (501, 3, NULL, 0, -1e-170, false),
	(502, 1, '4713-01-02Z BC', 0, 0, false), (502, 2, '294276-12-30Z', 0, 1, false), (502, 3, NULL, 0, 1, false);
INSERT INTO damoov.trip_points (trip_id, seq, latitude, longitude, is_filler)
SELECT 501, s, 1e-200 * (s % 7), 1e-200 * (s % 5), false FROM generate_series(4, 200) AS s;
INSERT INTO damoov.places (name, latitude, longitude, radius_m) VALUES ('tiny', 0, 1e-200, 20);
INSERT INTO damoov.places (name, area) VALUES ('area', '{"type": "Polygon", "coordinates": [[[1e-200, -1e-200], [1, -1], [1, 1], [-1, 1], [1e-200, -1e-200]]]}');
SQL
is($node->sql(q{SELECT damoov_trip_geojson(501) #>> '{geometry,coordinates,1}', damoov_trip_geojson(502) #>> '{properties,coordinateProperties,times,0}',
	length(damoov_trip_gpx(501)) > 500, length(damoov_trip_wkb(502)), damoov_polyline(501) LIKE '????%'}), '[0, 0]||t|85|t', 'numbers next to nothing, and times far away, are no errors');
is($node->sql(q{SELECT jsonb_array_length(damoov_trips_geojson(NULL, NULL) -> 'features')}), 402, '... nor for a map');
is($node->sql(q{SELECT string_agg(name || starts, ' ' ORDER BY name) FROM damoov.trip_places WHERE trip_id = 501}), 'areatrue tinytrue', '... nor at a place');
$node->sql('DELETE FROM damoov.places; DELETE FROM damoov.trips WHERE trip_id > 500');

###########################################################################
# GPX
###########################################################################

my $folder = PostgreSQL::Test::Utils::tempdir();
my @schema = ('xmllint', '--noout', '--relaxng', "$top/test/lib/gpx11.rng");

append_to_file("$folder/$_.gpx", $node->sql("SELECT damoov_trip_gpx($_)")) for 1 .. 120;
my @files = glob "$folder/*.gpx";
is(made_of('', @schema, @files), join('', map { "$_ validates\n" } @files), 'GPX is as its schema says');
my $gpx = slurp_file("$folder/30.gpx");
cmp_ok(scalar(() = $gpx =~ /<trkpt/g), '>', 20, '... and has points');
unlike($gpx, qr/<time>(?!\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z<)/, '... with times in UTC');
like($gpx, qr/<time>2024-05-14T00:00:0/, '... that are those of the points');
foreach my $fault ('s/ version="1.1"//', 's/lon="[^"]*"/lon="180"/', 's/lat="[^"]*"/lat="90.1"/', 's/<time>[^<]*/<time>14.05.2024/', 's/<name>/<named>/; s/<\/name>/<\/named>/')
{
	my $wrong = slurp_file("$folder/30.gpx");
	eval "\$wrong =~ $_; 1" or die $@ for split /; /, $fault;
	like(made_of($wrong, @schema, '-'), qr/fails to validate/, "the schema refuses $fault");
}

###########################################################################
# Plans
###########################################################################

$node->sql(<<'SQL');
INSERT INTO damoov.users (user_id, device_token) SELECT n, md5(n::text)::uuid FROM generate_series(2, 200) AS n;
INSERT INTO damoov.trips (trip_id, track_token, user_id, revision, started_at, point_count, filler_count, min_latitude, min_longitude, max_latitude, max_longitude)
SELECT 1000 + n, md5(n || 'many')::uuid, 2 + n % 199, 1, '2020-01-01Z'::timestamptz + n * interval '1 hour', 0, 0, y, x, y + 0.05, x + 0.05
FROM (SELECT n, 48 + n * 79 % 5000 / 1000.0 AS y, 8 + n * 1049 % 5003 / 1000.0 AS x FROM generate_series(1, 20000) AS n) AS t;
SQL
$node->safe_psql('postgres', 'VACUUM ANALYZE damoov.trips');

# How many trips a call finds, and the indexes of damoov.trips that its plans have.
sub indexes
{
	my ($arguments) = @_;
	my ($status, $stdout, $stderr) = $node->psql('postgres', <<"SQL");
LOAD 'auto_explain';
SET auto_explain.log_min_duration = 0;
SET auto_explain.log_nested_statements = on;
SET auto_explain.log_level = notice;
SELECT damoov_trips_geojson($arguments) ->> 'numberMatched';
SQL
	my %used = map { $_ => 1 } $stderr =~ /(Seq Scan on trips\b|trips_\w+_idx)/g;

	return join ' ', $stdout, sort keys %used;
}

is(indexes(q{'2021-01-01Z', '2021-01-02Z'}), '24 trips_started_at_idx', 'trips are found by time');
is(indexes(q{'2020-01-01Z', '2023-01-01Z', '{9, 49, 9.05, 49.05}'}), '8 trips_bounds_idx', '... by a box');
is(indexes(q{NULL, NULL, '{9, 49, 9.05, 49.05}'}) =~ s/^\d+ //r, 'trips_bounds_idx', '... at any time');
is(indexes(q{NULL, '2023-01-01Z', '{179, 49, -179, 49.05}'}), '0 trips_bounds_idx', '... on both sides of the antimeridian');
is(indexes(q{'2021-01-01Z', '2021-02-01Z', NULL, 17}), '3 trips_user_id_started_at_idx', '... by person');

like($node->sql('EXPLAIN SELECT * FROM damoov.trip_places WHERE place_id = 1'), qr/Index Scan (?:using|on) trips_bounds_idx/, 'trips that pass a place are found by its box');

###########################################################################
# CSV
###########################################################################

# The view is the one of the documents.
my ($csv) = slurp_file("$top/docs/how-do-i.md") =~ /^### Export CSV\n(.*?)^### /ms;
$node->sql($_) for Damoov::Documents::sql_blocks($csv);
$node->sql(<<'SQL');
INSERT INTO damoov.users (user_id, device_token, client_id)
SELECT 300 + n, md5('formula' || n)::uuid, text
FROM unnest(ARRAY['=1+1', '+1', '-1', '@SUM(A1)', E'\t=1', E'\r=1', 'customer-1', 'a=1', '''=1', '"=1', '1-2', E'a\n=1']) WITH ORDINALITY AS t (text, n);
INSERT INTO damoov.trips (trip_id, track_token, user_id, revision, started_at, point_count, filler_count)
SELECT 100000 + user_id, md5('csv' || user_id)::uuid, user_id, 1, '2025-01-01Z', 0, 0 FROM damoov.users WHERE user_id > 300;
SQL
my $table = $node->sql(q{COPY (SELECT client_id FROM export_trips WHERE started_at = '2025-01-01Z' ORDER BY trip_id) TO STDOUT (FORMAT csv)});
is($table, join("\n", q{'=1+1}, q{'+1}, q{'-1}, q{'@SUM(A1)}, qq{'\t=1}, qq{"'\r=1"}, 'customer-1', 'a=1', q{'=1}, '"""=1"', '1-2', qq{"a\n=1"}),
	'a client id that begins as a formula gets an apostrophe, another one stays as it is');

$node->stop;
done_testing();
