# Several databases, brought together for reports, by the statements of
# docs/scale.md.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Node;
use Damoov::Story;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($numbers, $publish, $reports) = grep { /^-- (?:on each server|in the database of the reports)/ }
  slurp_file("$FindBin::RealBin/../../docs/scale.md") =~ /^```sql\n(.*?)^```$/msg;
my %node = map { $_ => Damoov::Node->start_new("server_$_", extension => 0, allows_streaming => 'logical') } 1, 2;
my $bureau = PostgreSQL::Test::Cluster->new('reports');

$bureau->init;
$bureau->start;
for my $number (sort keys %node)
{
	$node{$number}->sql('CREATE DATABASE fleet');
	$node{$number}->sql('CREATE EXTENSION damoov', 'fleet');
	$node{$number}->sql($numbers =~ s/RESTART WITH 2/RESTART WITH $number/gr, 'fleet');
	$node{$number}->sql($publish, 'fleet');
}

my %track = map { $_ => token('trip', $_) } 1, 2, 3;

sub ingest
{
	my ($number, @notifications) = @_;
	$node{$number}->sql('SELECT damoov_ingest(' . Damoov::Node::quoted(compact($_)) . ')', 'fleet') for @notifications;
	return;
}

sub store
{
	my ($number, $driver, $track, %members) = @_;
	ingest($number, enriched($driver, $track, 10));
	$node{$number}->sql("SELECT damoov.store_dataset('processed', '$track', "
		  . Damoov::Node::quoted(compact(track_document(3, %members))) . ')', 'fleet');
	return;
}

store(1, token('one'), $track{1}, Distance => 1);
for my $number (sort keys %node)
{
	my ($host, $port) = ($node{$number}->host, $node{$number}->port);
	$reports =~ s/host=10\.0\.1\.$number/host=$host port=$port/ or die;
}
$bureau->safe_psql('postgres', $reports);
store(1, token('one'), $track{3}, Distance => 4);
store(2, token('two'), $track{2}, Distance => 2);

sub comes
{
	my ($sql, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	ok($bureau->poll_query_until('postgres', $sql, $expected), $name);
	return;
}

comes('SELECT string_agg(distance_km::text, $$ $$ ORDER BY distance_km), count(DISTINCT trip_id), count(DISTINCT user_id) FROM damoov.trips JOIN damoov.users USING (user_id)',
	'1 2 4|3|2', 'the trips of both servers come together, those that were there first included');
store(2, token('two'), $track{2}, Distance => 8);
comes('SELECT max(distance_km) FROM damoov.trips', '8', 'a trip is replaced');
ingest(1, enriched(token('one'), token('trip', 4), 20, removed => [ $track{1} ]));
comes('SELECT count(*) FROM damoov.trips', '2', 'a merged trip goes');
$node{1}->sql("SELECT damoov_forget('" . token('one') . "')", 'fleet');
comes('SELECT (SELECT count(*) FROM damoov.trips), (SELECT count(*) FROM damoov.users)', '1|1', 'a forgotten person goes');
is($bureau->safe_psql('postgres', q{SELECT count(*) FROM pg_attribute
		WHERE attname = 'device_token' AND attrelid = 'damoov.users'::regclass}),
	0, '... and no device token was ever there');

done_testing();
