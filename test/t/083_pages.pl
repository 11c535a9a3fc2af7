# The pages of a fleet and of a trip, in a browser: what they show is what the
# tables have, text is text, nothing runs, nothing is asked for, and they can be
# used without a mouse and without seeing them.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Node;
use Damoov::Pictures qw(load_fleet hostile read_xml SHOWN);
use Encode qw(decode);
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# test/run installs it wherever there is apt
my $browser = $ENV{DAMOOV_BROWSER};
plan skip_all => 'without apt there is no browser of Debian' if !$browser;

my $node = Damoov::Node->start_new('pages', preload => 0);
load_fleet($node);
my $user = hostile($node);
my $directory = PostgreSQL::Test::Utils::tempdir();

sub value
{
	return $node->safe_psql('postgres', $_[0]);
}

# Through the shell's way of the documents: psql -Atc.
sub page
{
	my ($name, $call) = @_;
	my $file = "$directory/$name.html";

	command_ok([ 'psql', '-X', '-At', '-d', $node->connstr('postgres'), '-o', $file, '-c', "SELECT $call" ], "the page $name is written");
	return $file;
}

# Runs the browser, without a network; what it printed, and what it said.
sub browse
{
	my ($file, @arguments) = @_;
	my ($out, $err) = ('', '');
	my $done = IPC::Run::run(
		[
			$browser, qw(--headless --no-sandbox --no-first-run --disable-gpu --disable-dev-shm-usage --disable-extensions --disable-sync --disable-default-apps
			  --disable-background-networking --disable-component-update --hide-scrollbars --enable-logging=stderr --proxy-server=127.0.0.1:1),
			"--user-data-dir=$directory/profile", @arguments, "file://$file"
		],
		'<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));

	$done or diag($err);
	return (decode('UTF-8', $out), $err);
}

# The document as the browser has it, what its console says, and which
# addresses it asked for; but for those that the browser asks on its own account.
sub look_at
{
	my ($file) = @_;
	my $net = "$directory/net.json";
	my ($dom, $said) = browse($file, "--log-net-log=$net", '--dump-dom');
	my %asked;

	foreach my $event (@{ JSON::PP->new->decode(slurp_file($net))->{events} })
	{
		my $url = ref $event->{params} eq 'HASH' ? $event->{params}{url} : undef;
		next if !defined $url || $url =~ m{^(?:file|data|about|chrome|chrome-untrusted|devtools):} || $url =~ m{^https?://[\w.-]+\.(?:google|googleapis|gstatic|gvt1)\.com[/:]};
		$asked{$url} = 1;
	}
	return { dom => $dom, console => [ $said =~ /^.*CONSOLE.*$/mg ], asked => [ sort keys %asked ] };
}

# The rows of a table as lists of texts, without the headings.
sub rows
{
	my ($dom, $id) = @_;
	my ($table) = $dom =~ m{<table id="$id">.*?<tbody>(.*?)</tbody>}s;

	return map { [ map { s/<[^>]*>//gr } m{<t[hd][^>]*>(.*?)</t[hd]>}sg ] } ($table // '') =~ m{<tr>(.*?)</tr>}sg;
}

sub property
{
	my ($dom, $id, $name) = @_;
	my ($row) = grep { $_->[0] eq $name } rows($dom, $id);

	return $row->[1];
}

###########################################################################
# That the browser would tell
###########################################################################

my $bad = "$directory/bad.html";
append_to_file($bad, '<!DOCTYPE html><html lang="en"><title>x</title><img src="http://192.0.2.1/asked.png"><script>console.log("ran"); document.title = "ran"</script></html>');
my $seen = look_at($bad);
like("@{ $seen->{console} }", qr/"ran"/, 'a script that runs is seen');
is_deeply($seen->{asked}, ['http://192.0.2.1/asked.png'], '... and a request to another address');
like($seen->{dom}, qr{<title>ran</title>}, '... and what it does');

###########################################################################
# The pages
###########################################################################

my $trip = value("SELECT min(trip_id) FROM damoov.trips WHERE user_id = $user");
my $merged = value('SELECT min(trip_id) FROM damoov.trip_lineage WHERE trip_id IS NOT NULL');
my %pages = (
	fleet => page('fleet', q{damoov_fleet_html('2026-01-01', '2027-01-01')}),
	trip => page('trip', "damoov_trip_html($trip)"),
	merged => page('merged', "damoov_trip_html($merged, true)"),
	empty => page('empty', q{damoov_fleet_html('2020-01-01', '2020-01-02')}));
my $read = read_xml(values %pages);
my %seen;

foreach my $name (sort keys %pages)
{
	my $file = $pages{$name};
	my $xml = $read->{$file};

	is($xml->{error}, undef, "the page $name is well-formed");
	my %count;
	$count{$_}++ foreach @{ $xml->{elements} };
	is_deeply([ map { $_ => $count{$_} } qw(html main header footer nav h1) ], [ map { $_ => 1 } qw(html main header footer nav h1) ], '... has landmarks and a heading');
	is($count{caption} // 0, $count{table} // 0, '... a caption for each table');
	my %id = map { $_ => 1 } @{ $xml->{ids} };
	is(scalar keys %id, scalar @{ $xml->{ids} }, '... ids that are there once');
	is_deeply([ grep { !$id{$_} } @{ $xml->{labels} } ], [], '... labels that are there');
	is_deeply([ grep { !/^#/ ? $_ ne 'data:,' : !$id{ substr $_, 1 } } @{ $xml->{targets} } ], [], '... links that lead somewhere in it');
	is_deeply([ grep { /^(?:script|img|iframe|object|embed|form|input)$/ } @{ $xml->{elements} } ], [], '... and nothing that runs');

	$seen{$name} = look_at($file);
	is_deeply($seen{$name}{console}, [], '... nothing on the console of a browser');
	is_deeply($seen{$name}{asked}, [], '... which asks nobody for anything');
	is(scalar(() = $seen{$name}{dom} =~ /<script/g), 0, '... and finds no script');
	like($seen{$name}{dom}, qr{^<!DOCTYPE html>\s*<html lang="en">.*<title>[^<]+</title>}s, '... in its language, with a title');
}

###########################################################################
# What they show is what there is
###########################################################################

my $fleet = $seen{fleet}{dom};
is(property($fleet, 'summary-table', 'Trips'), value('SELECT count(*) FROM damoov.trips'), 'trips');
is(property($fleet, 'summary-table', 'Drivers'), value('SELECT count(DISTINCT user_id) FROM damoov.trips'), 'drivers');
is(property($fleet, 'summary-table', 'Distance'), value(q{SELECT round(sum(distance_km)::numeric, 1) || ' km' FROM damoov.trips}), 'kilometres');
is(property($fleet, 'summary-table', 'Suspected crashes'), value('SELECT count(*) FROM damoov.crashes'), 'crashes');
is_deeply([ sort { $a <=> $b } map { $_->[0] } rows($fleet, 'trips-table') ], [ split /\n/, value('SELECT trip_id FROM damoov.trips ORDER BY trip_id') ], 'each trip has a row');
is_deeply({ map { $_->[1] => $_->[2] } rows($fleet, 'drivers-table') },
	{ map { split /\|/ } split /\n/, value('SELECT user_id, count(*) FROM damoov.trips GROUP BY user_id') }, 'drivers have their trips');
is_deeply({ map { $_->[0] => $_->[1] } rows($fleet, 'events-table') },
	{ map { split /\|/ } split /\n/, value(q{SELECT replace(kind, '_', ' '), count(*) FROM damoov.trip_events GROUP BY kind}) }, 'events are counted by kind');
is_deeply({ map { $_->[0] => $_->[2] } rows($fleet, 'merges-table') },
	{ map { split /\|/ } split /\n/, value('SELECT trip_id, count(DISTINCT part) FROM damoov.trip_lineage WHERE trip_id IS NOT NULL GROUP BY trip_id') }, 'merges are those of the lineage');
is_deeply({ map { $_->[0] => $_->[3] } rows($fleet, 'crashes-table') },
	{ map { split /\|/ } split /\n/, value(q{SELECT crash_id, CASE passed_filters WHEN true THEN 'a crash' WHEN false THEN 'a false alarm' ELSE 'not judged yet' END FROM damoov.crashes}) },
	'crashes have their verdict');
is_deeply({ map { $_->[1] => $_->[2] } rows($fleet, 'phones-table') },
	{ map { split /\|/ } split /\n/, value('SELECT user_id, waiting_trips FROM damoov.devices WHERE waiting_trips > 0') }, 'phones hold back what they report');
is(scalar(() = $fleet =~ /<svg /g), 9, 'six ways and three crashes are drawn');
is_deeply([ map { scalar rows($seen{empty}{dom}, $_) } qw(trips-table drivers-table crashes-table) ], [ 0, 0, 0 ], 'a period without trips has none');

my @events = rows($seen{trip}{dom}, 'events-table');
is(scalar @events, value("SELECT count(*) FROM damoov.trip_events WHERE trip_id = $trip"), 'the page of a trip has its events');
is(property($seen{trip}{dom}, 'trip-table', 'Points'), value("SELECT point_count FROM damoov.trips WHERE trip_id = $trip"), '... its points');
is(scalar(rows($seen{merged}{dom}, 'merges-table')), value("SELECT count(*) FROM damoov.trip_lineage WHERE trip_id = $merged"), '... what was merged into it');
is(property($seen{merged}{dom}, 'trip-table', 'Distance'), value("SELECT round((distance_km / 1.609344)::numeric, 1) || ' mi' FROM damoov.trips WHERE trip_id = $merged"),
	'... in miles, where they are asked for');

###########################################################################
# Hostile names, tokens, light and dark
###########################################################################

# as the browser writes a text
my $shown = SHOWN =~ s/&/&amp;/gr =~ s/</&lt;/gr =~ s/>/&gt;/gr;
foreach my $name (qw(trip fleet))
{
	my $text = property($seen{$name}{dom}, 'trip-table', 'From') // '';

	is($text, $shown, 'a hostile address is shown as text') if $name eq 'trip';
	cmp_ok(scalar(() = $seen{$name}{dom} =~ /\Q${\substr($shown, 0, 60)}\E/g), '>', 1, "a hostile name is shown as text on the page $name");
}
foreach my $name (sort keys %pages)
{
	my $text = slurp_file($pages{$name});

	is_deeply([ grep { index($text, $_) >= 0 } split /\n/, value('SELECT device_token FROM damoov.users UNION SELECT track_token FROM damoov.trips
		UNION SELECT crash_token FROM damoov.crashes UNION SELECT track_token FROM damoov.removed_tracks') ], [], "no token is on the page $name");
}

# They are kept with the logs of a run that fails
foreach my $name (qw(fleet trip))
{
	my %shot;

	foreach my $scheme (qw(light dark))
	{
		my $picture = "$PostgreSQL::Test::Utils::log_path/083_pages_${name}_$scheme.png";
		browse($pages{$name}, "--screenshot=$picture", '--window-size=1000,2400', $scheme eq 'dark' ? '--force-dark-mode' : ());
		$shot{$scheme} = -f $picture ? slurp_file($picture) : '';
		like($shot{$scheme}, qr/^\x89PNG/, "the page $name can be seen on $scheme ground");
	}
	isnt($shot{light}, $shot{dark}, '... which look different');
}

$node->stop;
done_testing();
