# With PostGIS: views with its types, over indexes that plans use and storing
# does not mind; vector tiles; and all of it goes and comes again.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Cloud;
use Damoov::Node;
use Damoov::Story;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$FindBin::RealBin/../..";
my $cloud = Damoov::Cloud->new;
my $node = Damoov::Node->start_new('postgis', databases => 'postgres', conf => "timezone = 'America/New_York'");

sub value { my ($sql, $database) = @_; return $node->sql($sql, $database) }

sub tile
{
	my ($arguments) = @_;
	my ($hex, $output) = (value("SELECT encode(damoov_tile($arguments), 'hex')") . "\n", '');

	IPC::Run::run([ 'python3', "$top/test/lib/map_formats.py", 'tile' ], '<', \$hex, '>&', \$output);
	return $output =~ s/\n1 read\n//r;
}

###########################################################################
# Without it, and switched on
###########################################################################

like($node->error_of("SELECT $_"), qr/^0A000: .*postgis.*HINT: CREATE EXTENSION postgis/, "without PostGIS: $_")
  for 'damoov_enable_postgis()', 'damoov_tile(0, 0, 0)';
value('SELECT damoov_disable_postgis()');

# Anywhere but where names are looked for without a schema
value('CREATE SCHEMA "G is"; CREATE EXTENSION postgis SCHEMA "G is"');
value('CREATE ROLE reader LOGIN; SELECT damoov_grant(\'reader\', \'reader\'); CREATE ROLE stranger LOGIN; GRANT USAGE ON SCHEMA "G is" TO reader, stranger');
# whoever owns the schema could put there what a reader takes for ours
value('CREATE SCHEMA damoov_gis AUTHORIZATION stranger');
like($node->error_of('SELECT damoov_enable_postgis()'), qr/^42P06: schema "damoov_gis" exists and belongs to another role/, 'the schema of another role is not used');
value('DROP SCHEMA damoov_gis');
value('SET standard_conforming_strings = off; SET escape_string_warning = off; SELECT damoov_enable_postgis(); SELECT damoov_enable_postgis()');
is(value(q{SELECT string_agg(format('%s.%s %s %s', f_table_name, f_geometry_column, type, srid), ', ' ORDER BY f_table_name COLLATE "C", f_geometry_column COLLATE "C")
	FROM "G is".geometry_columns WHERE f_table_schema = 'damoov_gis'}),
	'crashes.end_point POINT 4326, crashes.start_point POINT 4326, places.shape GEOMETRY 4326, trip_events.place POINT 4326, trip_events.trip_bounds POLYGON 4326, '
	  . 'trips.bounds POLYGON 4326, trips.end_point POINT 4326, trips.line LINESTRINGM 4326, trips.start_point POINT 4326',
	'programs find the columns with their types');
is(value(q{SELECT string_agg(format('%s.%s', c.relname, a.attname), ', ') FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
	WHERE c.relnamespace = 'damoov_gis'::regnamespace AND c.relkind = 'v' AND col_description(c.oid, a.attnum) IS NULL}), '', 'each column has a comment');
is(value(q{SELECT count(*) FROM pg_depend AS d JOIN pg_class AS c ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
	WHERE d.deptype = 'e' AND (c.relnamespace = 'damoov_gis'::regnamespace OR c.relname LIKE '%gis%idx') AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'damoov')}),
	'0', 'what was made is no member of the extension');

# The worker, which is no superuser, stores into tables with these indexes
my $driver = token('driver');
my $track = token('trip');
$node->add_source($cloud);
$cloud->dataset($track, $driver, track_document(900, Distance => 899 * 0.011126));
$cloud->publish([ enriched($driver, $track, 10) ]);
eventually { value('SELECT sum(point_count) FROM damoov.trips') eq '900' } 'the worker stores a trip';

###########################################################################
# Lines
###########################################################################

is(value(q{SELECT abs("G is".ST_Length(line_geography) / 1000 / distance_km - 1) < 0.001 AND "G is".ST_NPoints(line) = 900 FROM damoov_gis.trips}),
	't', 'a line is as long as the trip');
value(slurp_file("$top/test/lib/shapes.sql") =~ s/\(1, '5b0c/(1000, '5b0c/r =~ s/::uuid, 1, 1,/::uuid, 1000, 1,/r =~ s/SELECT n, md5\(n/SELECT 1000 + n, md5(n/r
	  =~ s/SELECT n, s,/SELECT 1000 + n, s,/r =~ s/SELECT n, e,/SELECT 1000 + n, e,/r =~ s/SELECT 40, s/SELECT 1040, s/r);
is(value(q{SELECT count(*), bool_and("G is".ST_IsValidTrajectory(line)), bool_and("G is".ST_SRID(line) = 4326), count(*) FILTER (WHERE "G is".ST_NPoints(line) > 1000)
	FROM damoov_gis.trips WHERE trip_id > 1000}),
	'400|t|t|1', 'PostGIS reads the EWKB of all trips: valid trajectories');
is(value(q{SELECT count(*) FROM damoov_gis.trips AS t, LATERAL (SELECT "G is".ST_MakeLine("G is".ST_SetSRID("G is".ST_MakePoint(longitude, latitude), 4326) ORDER BY seq) AS line
		FROM damoov_points(t.trip_id) WHERE latitude < 91 AND longitude < 181) AS p
	WHERE "G is".ST_NPoints(p.line) > 1 AND NOT "G is".ST_OrderingEquals("G is".ST_Force2D(t.line), p.line)}),
	'0', '... through the points');
is(value(q{SELECT count(*) FROM damoov_gis.trips AS t, LATERAL (SELECT longitude, latitude FROM damoov_points(t.trip_id) WHERE latitude < 91 AND longitude < 181 ORDER BY seq LIMIT 1) AS p
	WHERE ("G is".ST_X(start_point), "G is".ST_Y(start_point)) IS DISTINCT FROM (longitude, latitude)}), '0', '... from where they start');
is(value(q{SELECT count(*) FROM damoov_gis.trip_events WHERE place IS NULL}) . ' ' . value(q{SELECT count("G is".ST_X(place)) FROM damoov_gis.trip_events}),
	'400 400', 'events have a place, where it is known');
value(q{INSERT INTO damoov.crashes (crash_id, crash_token, user_id, start_latitude, start_longitude) VALUES (1, gen_random_uuid(), 1000, 52.5, 13.4), (2, gen_random_uuid(), 1000, NULL, 13.4)});
is(value(q{SELECT crash_id, "G is".ST_AsText(start_point), end_point FROM damoov_gis.crashes WHERE "G is".ST_DWithin(start_geography, 'POINT(13.41 52.5)'::"G is".geography, 700)}),
	'1|POINT(13.4 52.5)|', 'a crash is found where it began');

###########################################################################
# Places, as PostGIS judges them: areas exactly, circles on an ellipsoid
###########################################################################

value(<<'SQL');
SELECT setseed(0.5);
INSERT INTO damoov.places (name, latitude, longitude, radius_m)
SELECT 'circle ' || n, latitude + (random() - 0.5) / 50, longitude + (random() - 0.5) / 50, 50 + 500 * random() FROM shape WHERE place = 4 AND abs(latitude) < 80 AND abs(longitude) < 179;
INSERT INTO damoov.places (name, area)
SELECT format('area %s %s', n, row_number() OVER ()), jsonb_build_object('type', 'Polygon', 'coordinates', jsonb_build_array(
	jsonb_build_array(jsonb_build_array(x, y), jsonb_build_array(x + 0.006, y + random() / 1000), jsonb_build_array(x + 0.005, y + 0.005), jsonb_build_array(x, y + 0.006), jsonb_build_array(x, y)),
	jsonb_build_array(jsonb_build_array(x + 0.001, y + 0.001), jsonb_build_array(x + 0.001, y + 0.003), jsonb_build_array(x + 0.003, y + 0.003), jsonb_build_array(x + 0.001, y + 0.001))))
FROM (SELECT n, latitude + (random() - 0.5) / 50 AS y, longitude + (random() - 0.5) / 50 AS x FROM shape, generate_series(1, 10) WHERE place = 4 AND abs(latitude) < 80 AND abs(longitude) < 179) AS s;
CREATE TABLE judged AS
SELECT p.place_id, p.area IS NOT NULL AS is_area, t.trip_id, (SELECT c.passes FROM damoov.touches(t.trip_id, p.place_id) AS c) AS passes,
	"G is".ST_Intersects(t.line, s.shape) AS meets,
	"G is".ST_Distance(t.line_geography, "G is".ST_SetSRID("G is".ST_MakePoint(p.longitude, p.latitude), 4326)::"G is".geography) / p.radius_m AS share
FROM damoov.places AS p JOIN damoov_gis.places AS s USING (place_id) JOIN damoov_gis.trips AS t ON t.trip_id = 1000 + substring(p.name FROM '\d+')::integer;
SQL
is(value('SELECT count(*) FROM judged WHERE is_area AND passes <> coalesce(meets, false)'), '0', 'an area is passed by those trips that intersect it');
is(value('SELECT count(*) FROM judged WHERE NOT is_area AND CASE WHEN passes THEN share > 1.01 ELSE share < 0.99 END'), '0', 'a circle by those that come near enough');
cmp_ok($_, '>=', 10, 'there are enough of each') for split /\|/, value('SELECT count(*) FILTER (WHERE is_area AND passes), count(*) FILTER (WHERE is_area AND NOT passes), count(*) FILTER (WHERE NOT is_area AND passes),
	count(*) FILTER (WHERE NOT is_area AND NOT passes) FROM judged');

###########################################################################
# Plans
###########################################################################

value(<<'SQL');
INSERT INTO damoov.trips (trip_id, track_token, user_id, revision, started_at, point_count, filler_count, min_latitude, min_longitude, max_latitude, max_longitude)
SELECT 10000 + n, md5(n || 'many')::uuid, 1000, 1, '2020-01-01Z'::timestamptz + n * interval '1 hour', 0, 0, y, x, y + 0.05, x + 0.05
FROM (SELECT n, 48 + n * 79 % 5000 / 1000.0 AS y, 8 + n * 1049 % 5003 / 1000.0 AS x FROM generate_series(1, 20000) AS n) AS t;
INSERT INTO damoov.crashes (crash_id, crash_token, user_id, start_latitude, start_longitude)
SELECT n + 10, md5(n || 'crash')::uuid, 1000, 48 + n * 79 % 5000 / 1000.0, 8 + n * 1049 % 5003 / 1000.0 FROM generate_series(1, 5000) AS n;
SQL
value('VACUUM ANALYZE damoov.trips'), value('VACUUM ANALYZE damoov.crashes');

sub uses
{
	my ($index, $query) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return like(value("SET search_path = public, \"G is\"; EXPLAIN $query"), qr/(?:Index Scan using|Bitmap Index Scan on) $index/, "an index serves: $query");
}

uses('trips_gis_idx', 'SELECT trip_id FROM damoov_gis.trips WHERE bounds && ST_MakeEnvelope(9, 49, 9.1, 49.1, 4326)');
uses('trips_gis_idx', 'SELECT trip_id FROM damoov_gis.trips WHERE bounds && ST_MakeEnvelope(9, 49, 9.1, 49.1, 4326) AND ST_Intersects(line, ST_MakeEnvelope(9, 49, 9.1, 49.1, 4326))');
uses('trips_gis_idx', 'SELECT place FROM damoov_gis.trip_events WHERE trip_bounds && ST_MakeEnvelope(9, 49, 9.1, 49.1, 4326)');
uses('crashes_gis_idx', 'SELECT crash_id FROM damoov_gis.crashes WHERE ST_Intersects(start_point, ST_MakeEnvelope(9, 49, 9.1, 49.1, 4326))');
uses('crashes_gis_geography_idx', "SELECT crash_id FROM damoov_gis.crashes WHERE ST_DWithin(start_geography, 'POINT(9 49)'::geography, 500)");

###########################################################################
# Tiles
###########################################################################

# A trip in Muenster: 51.95 to 52.04 north, 7.62 east
value(q{INSERT INTO damoov.trip_events (trip_id, seq, kind, first_seq, last_seq, latitude, longitude) SELECT trip_id, 0, 'braking', 0, 0, 52, 7.62 FROM damoov.trips WHERE point_count = 900});
my $trip = 'trips 1 distance_km,origin,score,started_at,user_id';
like(tile(q{10, 533, 338, '2026-01-01Z'}), qr/^$trip$/, 'a tile has the trip that crosses it');
is(tile(q{10, 533, 342, '2026-01-01Z'}), 'nothing', '... another one has not');
like(tile(q{10, 533, 338, '2026-01-01Z', '2026-03-02Z'}), qr/^nothing$/, '... nor one of another time');
like(tile(q{14, 8538, 5411, '2026-01-01Z'}), qr/^$trip; events 1 kind,seq,trip_id$/, 'a close one has the event, too');
like(tile('0, 0, 0'), qr/^trips \d+ /, 'the whole world is a tile');
like(tile("3, $_, 2"), qr/^(?:trips \d+ .*|nothing)$/, "... and its parts: $_") for 0 .. 7;
is(join(' ', map { $node->error_of("SELECT damoov_tile($_)") =~ /^(\w+)/ } '-1, 0, 0', '25, 0, 0', '1, 2, 0', '1, 0, 2', '1, -1, 0', '1, NULL, 0'), join(' ', ('22023') x 6), 'no other tiles');

###########################################################################
# Rights, dumps, and switched off
###########################################################################

is($node->safe_psql('postgres', 'SELECT count(line) FROM damoov_gis.trips WHERE trip_id < 1100; SELECT length(damoov_tile(0, 0, 0)) > 0', extra_params => [ '-U', 'reader' ]), "100\nt", 'a reader reads it');
like($node->error_of('SELECT * FROM damoov_gis.trips', user => 'stranger'), qr/^42501/, '... a stranger does not');
like($node->error_of("SELECT $_()", user => 'reader'), qr/^42501/, "... nor may a reader call $_") for 'damoov_enable_postgis', 'damoov_disable_postgis';
like(value(q{SELECT string_agg(finding || ': ' || remedy, E'\n') FROM damoov_check() WHERE topic = 'dump'}),
	qr/index "crashes_gis_geography_idx".*\n.*index "crashes_gis_idx".*\n.*"trips_gis_idx" of damoov.trips: After a restore: SELECT public.damoov_enable_postgis\(\)$/, 'damoov_check() says what a dump does not keep');

my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $node->connstr('postgres') ], 'it is dumped');
value('CREATE DATABASE restored');
command_ok([ 'pg_restore', '-e', '-d', $node->connstr('restored'), $dump ], '... and restored');
is(value('SELECT count(*), count(line) FROM damoov_gis.trips WHERE trip_id < 1100', 'restored'), "100|100", '... with the views');
value('SELECT damoov_enable_postgis()', 'restored');
is(value(q{SELECT count(*) FROM pg_indexes WHERE indexname LIKE '%gis%idx' AND schemaname = 'damoov'}, 'restored'), '3', '... and the indexes when it is called again');

value('CREATE VIEW mine AS SELECT * FROM damoov_gis.trips');
like($node->error_of('SELECT damoov_disable_postgis()'), qr/^2BP01/, 'what others hang on it is not removed');
like($node->error_of('DROP EXTENSION postgis'), qr/^2BP01/, '... nor PostGIS below it');
value('DROP VIEW mine; SELECT damoov_disable_postgis(); SELECT damoov_disable_postgis()');
value('DROP EXTENSION postgis');
is(value(q{SELECT count(*) FROM pg_class WHERE relname LIKE '%gis%'}) . value(q{SELECT count(*) FROM pg_namespace WHERE nspname = 'damoov_gis'}), '00', 'nothing is left');
like(value('SELECT damoov_trip_wkb(trip_id) FROM damoov.trips WHERE point_count = 900'), qr/^\\x0102000060/, '... but what needs no PostGIS');

$node->stop;
done_testing();
