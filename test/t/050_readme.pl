# Every SQL block of the README, the manual and the reference runs, in the order
# in which it is read; the reference and the architecture name all that there is,
# and every link leads somewhere, also those of messages and comments.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Documents;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$FindBin::RealBin/../..";
my %text = map { s{^\Q$top/\E}{}r => slurp_file($_) } map { glob "$top/$_" } qw(*.md docs/*.md);
my $reference = $text{'docs/reference.md'};

my $node = PostgreSQL::Test::Cluster->new('readme');
$node->init(extra => [ '--encoding=UTF8', '--no-locale' ]);
$node->append_conf('postgresql.conf', 'wal_level = logical');
$node->start;

# The SQL blocks of a document, in a database that is made for it or that another
# one has left, or a copy of one.
my %made;

sub run_blocks
{
	my ($document, $database, $at_least, $copied) = @_;
	my @blocks = Damoov::Documents::sql_blocks($text{$document});

	cmp_ok(scalar @blocks, '>=', $at_least, "$document has SQL blocks");
	$node->safe_psql('postgres', "CREATE DATABASE \"$database\" TEMPLATE " . ($copied // 'template1')) unless $made{$database}++;
	foreach my $block (@blocks)
	{
		my ($first_line) = split /\n/, $block;
		my ($status, $stdout, $stderr) = $node->psql($database, $block, on_error_stop => 1);

		is($status, 0, "$document: block runs: $first_line") or diag $stderr;
		unlike($stderr, qr/WARNING/, '... without a warning');
	}
}

run_blocks('README.md', 'readme', 2);
run_blocks('docs/damoov.md', 'manual', 20);
run_blocks('docs/reference.md', 'manual', 1);
run_blocks('docs/how-do-i.md', 'how-to', 20);
run_blocks('docs/maps.md', 'maps', 2, 'readme');
run_blocks('docs/pictures.md', 'pictures', 2);
is( $node->safe_psql('manual', 'SELECT charge_percent, waiting_trips FROM damoov.devices'),
	'63.5|2', 'the heartbeat of the manual was stored');

# The roles of the manual can do what it says
sub as_role
{
	my ($role, $sql) = @_;
	my ($status, $stdout, $stderr) = $node->psql('manual', "SET ROLE $role; $sql", extra_params => ['-vVERBOSITY=sqlstate']);

	return $status == 0 ? $stdout : $stderr;
}

is(as_role('fleet_reader', 'SELECT count(*) > 0 FROM damoov.status; SELECT count(*) FROM damoov.drift'),
	"t\n0", 'the reader reads views that call functions');
like(as_role('fleet_reader', 'SELECT * FROM damoov.users'), qr/42501/, '... and no device token');
is(as_role('fleet_monitor', 'SELECT count(*) > 0 FROM damoov.status'), 't', 'the role that watches reads the state of the sources');
like(as_role('fleet_monitor', 'SELECT body FROM damoov.quarantine'), qr/42501/, '... and no message');

# What the README says that a reader of damoov.drift needs is enough
my ($rule) = $text{'README.md'} =~ /^(- A reader role needs.*?)(?=^- )/ms or die 'the README has no rule for readers';
my @called = $rule =~ /`(damoov\.\w+\([^)]*\))`/g;
my $drift = q{SELECT count(*) FROM damoov.drift WHERE table_name = 'events' AND path = 'New'};

$node->safe_psql('manual', q{SELECT FROM damoov_ingest((SELECT jsonb_set(payload, '{Timestamp}', '"2024-05-15T00:00:00Z"') || '{"New": 1}' FROM damoov.events LIMIT 1));
	CREATE ROLE drift_reader; GRANT USAGE ON SCHEMA damoov TO drift_reader; GRANT SELECT ON damoov.drift TO drift_reader;} .
	  join('', map { "GRANT EXECUTE ON FUNCTION $_ TO drift_reader;" } @called));
is(as_role('drift_reader', $drift), '1', 'what the README says is enough to read the drift');

is( as_role(
		'fleet_operator', q{
		SELECT outcome FROM damoov_ingest((SELECT payload FROM damoov.events LIMIT 1));
		SELECT damoov_pause('trips_eu'), damoov_resume('trips_eu');
		SELECT damoov_retry_downloads()}),
	"duplicate\n|\n0", 'the operator operates');
like(as_role('fleet_operator', q{SELECT damoov_forget('5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5')}),
	qr/42501/, '... and forgets nobody');
is($node->safe_psql('manual', q{SELECT string_agg(concat(role, ' ', what, missing), ', ' ORDER BY role) FROM damoov.grants WHERE role LIKE 'fleet%'}),
	'fleet_monitor monitor, fleet_operator operator, fleet_reader reader, fleet_worker worker', 'each role is what the manual calls it');

# The names in the first column of its tables
my %has_row = map { $_ => 1 } map { /`([\w.]+)`/g } $reference =~ /^\| ([^|]*) \|/mg;

# What the reference describes is what there is
my %documented = map { $_ => 1 } $reference =~ /\b(damoov_[a-z_]+)\(/g;
my @functions = split /\n/, $node->safe_psql('manual', q{
	SELECT proname FROM pg_proc
	WHERE pronamespace = 'public'::regnamespace AND proname LIKE 'damoov\_%'});
is_deeply([ grep { !$documented{$_} } @functions ], [], 'every function is in the reference');

my @settings = split /\n/, $node->safe_psql('manual', q{
	LOAD 'damoov';
	SELECT name FROM pg_settings WHERE name LIKE 'damoov.%'});
is_deeply([ grep { !$has_row{$_} } @settings ], [], 'every setting has a row in the reference');

my @relations = split /\n/, $node->safe_psql('manual', q{
	SELECT relname FROM pg_class
	WHERE relnamespace = 'damoov'::regnamespace AND relkind IN ('r', 'p', 'v') AND NOT relispartition});
is_deeply([ grep { !$has_row{$_} } @relations ], [], 'every table and view has a row in the reference');

my @options = slurp_file("$top/src/base/options.c") =~ /\{"(\w+)", (?:ForeignServer|UserMapping)RelationId/g;
cmp_ok(scalar @options, '>', 20, 'there are options');
is_deeply([ grep { "$reference$text{'docs/damoov.md'}" !~ /`$_`/ } @options ], [], 'every option is in the reference, or under Temporary credentials');

# The architecture has a row for each file of a floor, and for each part of the
# install script
sub rows
{
	my ($section) = @_;
	my ($table) = $text{'docs/architecture.md'} =~ /^#+ \Q$section\E.*?\n(.*?)(?=^#|\z)/ms;

	return join ' ', sort(($table // '') =~ /^\| `(\w+)` \|/mg);
}

sub stems
{
	my %stem = map { m{([^/]+)\.\w+$} ? ($1 => 1) : () } @_;

	return join ' ', sort keys %stem;
}

foreach my $floor (sort map { m{/src/(\w+)/$} } glob "$top/src/*/")
{
	is(rows("src/$floor:"), stems(glob "$top/src/$floor/*.[ch]"), "the architecture lists the files of src/$floor");
}
is(rows('The install script'), stems(glob "$top/sql/parts/*.sql"), '... and the parts of the install script');

# Each invariant names its tests, and they are there
my ($invariants) = $text{'docs/architecture.md'} =~ /^## Invariants.*?\n(.*?)(?=^## )/ms;
my @invariants = ($invariants // '') =~ /^(\| \d+ \|.*)$/mg;
cmp_ok(scalar @invariants, '>', 10, 'there are invariants');
foreach my $invariant (@invariants)
{
	my ($number, $tests) = $invariant =~ /^\| (\d+) \|.*\|([^|]*)\|$/;
	my @tests = $tests =~ /`([^`]*\.(?:pl|sql|spec|py))`/g;

	cmp_ok(scalar @tests, '>', 0, "invariant $number names a test");
	is_deeply([ grep { !-e "$top/$_" } @tests ], [], '... that is there');
}

# Each promise, and each fault and threat that is tested, names its tests, and they are there
my $promises = $text{'docs/promises.md'};
my ($promised) = $promises =~ /^## The promises.*?\n(.*?)(?=^## )/ms;
my @promises = grep { !/^\| Promise / } ($promised // '') =~ /^(\| \w.*)$/mg;
cmp_ok(scalar @promises, '>', 40, 'there are promises');
is_deeply([ grep { !/`[^`]*\.(?:pl|sql|spec)`/ } @promises ], [], 'each promise names a test');
my %named_test = map { $_ => 1 } $promises =~ m{`((?:test|sql|specs)/[^`*]*\.[^`]*)`}g;
is_deeply([ grep { !-e "$top/$_" } sort keys %named_test ], [], '... that is there');

my @risks = map { [ map { s/^ +| +$//gr } split /\|/ ] } $promises =~ /^\| ([FT]\d+ \|.*) \|$/mg;
is_deeply([ sort map { $_->[0] } @risks ], [ sort(map("F$_", 1 .. 40), map("T$_", 1 .. 29)) ], 'each fault and threat has one row');
is_deeply([ grep { @$_ < 4 || $_->[2] !~ /^(?:whole|in part|none)$/ } @risks ], [], '... that says how far it is tested');
is_deeply([ map { $_->[0] } grep { $_->[2] =~ /^(?:whole|in part)$/ && $_->[3] !~ /`[^`]+`/ } @risks ], [], '... and by what');
is_deeply([ map { $_->[0] } grep { $_->[2] ne 'whole' && ($_->[4] // '') eq '' } @risks ], [], '... or what is not, and why');

# Every test proves something; prelude.spec is what others use, and the install script is made there
is_deeply([ grep { !/prelude\.spec$|--/ && !$named_test{$_} && ($invariants // '') !~ /`\Q$_\E`/ }
		map { s{^\Q$top/\E}{}r } map { glob "$top/$_" } qw(test/t/*.pl sql/*.sql specs/*.spec) ],
	[], 'every test is named by a promise, a fault, a threat or an invariant');

# Links: to files, and to headings as they are named on a web page
sub anchors
{
	my ($text) = @_;

	$text =~ s/^( *)```.*?^\1```$//msg;
	return map { lc s/[^\w\- ]//gr =~ s/ /-/gr } $text =~ /^#+ (.*)$/mg;
}

# What is installed has to do without the rest
my %installed = map { $_ => 1 } map { split / / } slurp_file("$top/Makefile") =~ /^DOCS += (.*)$/m;
cmp_ok(scalar keys %installed, '>', 1, 'documents are installed');

foreach my $document (sort keys %text)
{
	my ($folder) = $document =~ m{^(.*/)?};
	my @broken;

	while ($text{$document} =~ /\]\(([^)\s]+)\)/g)
	{
		my ($file, $anchor) = $1 =~ /^([^#]*)#?(.*)$/;

		next if $file =~ /^https:/;
		my $path = $file eq '' ? $document : ($folder // '') . $file;
		push @broken, "$file, which is not installed" if $installed{$document} && !$installed{$path};
		push @broken, "$file#$anchor"
		  unless -e "$top/$path" && ($anchor eq '' || grep { $_ eq $anchor } anchors(slurp_file("$top/$path")));
	}
	is_deeply(\@broken, [], "the links of $document lead somewhere");
}

# Documents and sections that are named elsewhere: in messages, comments, tests
# and tables of files
sub headings
{
	my ($document) = @_;

	return map { $_ => 1 } slurp_file("$top/$document") =~ /^#+ (.*)$/mg;
}

my %in_manual = headings('docs/damoov.md');
my $named = 0;

foreach my $file (qw(README.md CONTRIBUTING.md META.json Makefile docs/architecture.md),
	map { s{^\Q$top/\E}{}r } map { glob "$top/$_" } qw(src/*.[ch] src/*/*.[ch] sql/*.sql sql/parts/*.sql test/t/*.pl test/lib/Damoov/*.pm test/*.bash))
{
	my $content = slurp_file("$top/$file");
	my @missing;

	# of 002_house.pl, which makes trees of its own, only the comment
	$content =~ s/^[^#].*$//mg if $file =~ /002_house/;
	push @missing, grep { !-e "$top/$_" } $content =~ m{\b(docs/[\w-]+\.md)\b}g;
	while ($content =~ /\bunder\s+\*([^*]+)\*\s+in\s+`(docs\/[\w-]+\.md)`/g)
	{
		my ($heading, $document) = ($1, $2);
		my %there = headings($document);

		$named++;
		push @missing, "$heading in $document" unless $there{$heading};
	}
	while ($content =~ /The manual[^"]*? under \\"([^"\\]+)\\"/g)
	{
		$named++;
		push @missing, "$1 in the manual" unless $in_manual{$1};
	}
	is_deeply(\@missing, [], "what $file names in the documents is there") if @missing;
}
cmp_ok($named, '>=', 6, 'sections are named in other places, and they are there');

# The manual says what each of the others answers
is_deeply([ grep { $_ ne 'docs/damoov.md' && $text{'docs/damoov.md'} !~ m{^\| \[\Q${\($_ =~ s{^docs/}{}r)}\E\]\(}m } sort keys %installed ], [],
	'the manual leads to every document that is installed');

$node->stop;
done_testing();
