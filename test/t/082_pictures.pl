# Pictures of trips and crashes are SVG that a parser reads and that asks for
# nothing; text is text; a trip has the same whether its points are rows or a
# document; and the one in the README is what is drawn today.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Node;
use Damoov::Pictures qw(load_fleet hostile read_xml SHOWN);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$FindBin::RealBin/../..";
my $node = Damoov::Node->start_new('pictures', preload => 0, conf => "damoov.store_points = 'rows'");
load_fleet($node);
my $directory = PostgreSQL::Test::Utils::tempdir();

# A picture as the function gives it, in a file.
sub draw
{
	my ($call) = @_;
	my $file = "$directory/" . $call =~ s/\W+/_/gr . '.svg';

	append_to_file($file, $node->safe_psql('postgres', "SELECT $call"));
	return $file;
}

###########################################################################
# The README
###########################################################################

# What it says and is made of is the same; another machine may round otherwise.
my $drawn = $node->safe_psql('postgres', slurp_file("$top/demo/picture.sql"));
my $kept = slurp_file("$top/docs/trip.svg") =~ s/\n\z//r;
my $number = qr/-?\d+(?:\.\d+)?/;
my @drawn = $drawn =~ /$number/g;
my @kept = $kept =~ /$number/g;
is($drawn =~ s/$number/#/gr, $kept =~ s/$number/#/gr, 'the picture in the README is drawn like this today; if not, see CONTRIBUTING.md')
  and is(scalar(grep { abs($drawn[$_] - $kept[$_]) > 0.2 } 0 .. $#kept), 0, '... with these numbers');

###########################################################################
# All pictures of the fleet
###########################################################################

my $user = hostile($node);
my @trips = split /\n/, $node->safe_psql('postgres', 'SELECT trip_id FROM damoov.trips ORDER BY trip_id');
my @crashes = split /\n/, $node->safe_psql('postgres', 'SELECT crash_id FROM damoov.crashes ORDER BY crash_id');
my $theirs = $node->safe_psql('postgres', "SELECT min(trip_id) FROM damoov.trips WHERE user_id = $user");
cmp_ok(scalar @trips, '>', 20, 'there are trips');
cmp_ok(scalar @crashes, '>', 1, 'there are crashes');
my %calls = map { draw($_) => $_ } (map { ("damoov_trip_svg($_)", "damoov_speed_svg($_, true)") } @trips), (map { "damoov_crash_svg($_)" } @crashes);
my $read = read_xml(sort keys %calls);
my @known = qw(circle desc path rect style svg text title);
my @named = qw(aria-labelledby class cx cy d height id r role transform viewBox width x y);

foreach my $file (sort keys %calls)
{
	my $picture = $read->{$file};

	if (!is($picture->{error}, undef, "$calls{$file} is well-formed"))
	{
		diag(slurp_file($file));
		next;
	}
	my %known = map { $_ => 1 } @known, map { "\@$_" } @named;
	is($picture->{root}, '{http://www.w3.org/2000/svg}svg', '... and SVG');
	is_deeply([ grep { !$known{$_} } @{ $picture->{elements} }, map { "\@$_" } @{ $picture->{attributes} } ], [], '... with nothing that runs or asks for anything');
	my %id = map { $_ => 1 } @{ $picture->{ids} };
	is_deeply([ grep { !$id{$_} } @{ $picture->{labels} } ], [], '... with a title and a description');
}
foreach my $call ("damoov_trip_svg($theirs)", "damoov_speed_svg($theirs, true)")
{
	my ($file) = grep { $calls{$_} eq $call } keys %calls;
	my @texts = @{ $read->{$file}{texts} };

	# a name of more than 80 characters is shortened
	my $shown = length(SHOWN) > 80 ? substr(SHOWN, 0, 77) . '...' : SHOWN;
	cmp_ok(scalar(grep { $_ eq $shown } @texts), '==', 1, "$call shows a hostile name as text");
}
my ($marks, $events) = split /\|/, $node->safe_psql('postgres', q{
	SELECT sum(regexp_count(damoov_trip_svg(t.trip_id), '<path class="dv-e"[^>]*><title>')), (SELECT count(*) FROM damoov.trip_events WHERE latitude IS NOT NULL)
	FROM damoov.trips AS t});
is($marks, $events, 'each event is marked');
is($node->safe_psql('postgres', q{
	SELECT count(*) FROM damoov.trips AS t, (SELECT device_token FROM damoov.users UNION ALL SELECT track_token FROM damoov.trips) AS s (token)
	WHERE position(s.token::text IN damoov_trip_svg(t.trip_id) || damoov_speed_svg(t.trip_id)) > 0}), 0, 'no picture has a token');

###########################################################################
# Rows and documents
###########################################################################

my $all = q{SELECT md5(string_agg(damoov_trip_svg(trip_id) || damoov_speed_svg(trip_id), '' ORDER BY trip_id)) FROM damoov.trips};
my $of_rows = $node->safe_psql('postgres', $all);
is($node->safe_psql('postgres', q{CALL damoov_pack('infinity')}), scalar(@trips) . '|0', 'points become documents');
is($node->safe_psql('postgres', $all), $of_rows, '... and the pictures are the same');
is($node->safe_psql('postgres', "SET default_transaction_read_only = on; $all"), $of_rows, '... in a transaction that only reads, too');

# A line that has a corner at each of very many points would take hours
$node->safe_psql('postgres', 'CREATE TABLE line AS SELECT array_agg(n::double precision) AS x, array_agg((n % 2)::double precision) AS y FROM generate_series(1, 1000000) AS n');
my $timed_out;
my ($code, $out, $err) = $node->psql('postgres', q{
	SET statement_timeout = '100ms';
	SELECT cardinality(damoov.simplify(x, y, '{}', 0, 1000000)) FROM line}, timeout => $PostgreSQL::Test::Utils::timeout_default, timed_out => \$timed_out);
like($err, qr/canceling statement due to statement timeout/, 'a line of very many points is given up when it is cancelled');

$node->stop;
done_testing();
