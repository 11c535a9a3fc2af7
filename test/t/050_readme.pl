# Every SQL block of the README runs, in the order in which it is read.
use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $readme = slurp_file("$FindBin::RealBin/../../README.md");
my @blocks = $readme =~ /^```sql\n(.*?)^```$/msg;
cmp_ok(scalar @blocks, '>=', 6, 'the README has SQL blocks');

my $node = PostgreSQL::Test::Cluster->new('readme');
$node->init(extra => [ '--encoding=UTF8', '--no-locale' ]);
$node->start;

foreach my $i (0 .. $#blocks)
{
	my ($first_line) = split /\n/, $blocks[$i];
	my ($status, $stdout, $stderr) =
	  $node->psql('postgres', $blocks[$i], on_error_stop => 1);
	is($status, 0, "block runs: $first_line") or diag $stderr;
}
is( $node->safe_psql('postgres', 'SELECT charge_percent, waiting_trips FROM damoov.devices'),
	'63.5|2', 'the heartbeat of the README was stored');

# and what the README says of the objects is what there is
my %documented = map { $_ => 1 } $readme =~ /\b(damoov_[a-z_]+)\(/g;
my @functions = split /\n/, $node->safe_psql('postgres', q{
	SELECT proname FROM pg_proc
	WHERE pronamespace = 'public'::regnamespace AND proname LIKE 'damoov\_%'});
is_deeply([ grep { !$documented{$_} } @functions ], [], 'every function is in the README');

my @settings = split /\n/, $node->safe_psql('postgres', q{
	LOAD 'damoov';
	SELECT name FROM pg_settings WHERE name LIKE 'damoov.%'});
is_deeply([ grep { index($readme, "`$_`") < 0 } @settings ], [], 'every setting is in the README');

my @relations = split /\n/, $node->safe_psql('postgres', q{
	SELECT relname FROM pg_class
	WHERE relnamespace = 'damoov'::regnamespace AND relkind IN ('r', 'v') AND relname <> 'servers'});
is_deeply([ grep { $readme !~ /`$_`/ } @relations ], [], 'every table and view is in the README');

$node->stop;
done_testing();
