# Versions agree, and whoever has an older one gets to the newest: META.json,
# the control file, the scripts and what the server finds of them.

use strict;
use warnings;

use FindBin;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$FindBin::RealBin/../..";
my $build = $ENV{DAMOOV_BUILD} // $top;

my ($default) = slurp_file("$top/damoov.control") =~ /^default_version\s*=\s*'([^']+)'/m;
my $meta = decode_json(slurp_file("$top/META.json"));
my %scripts;    # text by name
my @versions;   # that can be made without another one before

# the newest is built, and perhaps elsewhere
foreach my $path (map { glob "$_/sql/damoov--*.sql" } $top, $build)
{
	my ($name) = $path =~ m{([^/]+)$};

	$scripts{$name} = slurp_file($path);
}
push @versions, map { /^damoov--([^-]+)\.sql$/ ? $1 : () } keys %scripts;

###########################################################################
# The files
###########################################################################

ok(defined $default, 'the control file has a default version');
is($meta->{version}, "$default.0", 'META.json has it with three parts');
is($meta->{provides}{damoov}{version}, $meta->{version}, 'also where it says what it provides');
foreach my $file (@{ $meta->{provides}{damoov} }{qw(file docfile)})
{
	ok(-e "$top/$file" || -e "$build/$file", "META.json names $file, which exists");
}
is($meta->{provides}{damoov}{file}, "sql/damoov--$default.sql", 'the script is that of the default version');
is($meta->{name}, 'damoov', 'META.json names the extension');
is($meta->{'meta-spec'}{version}, '1.0.0', 'and the specification it follows');

ok(scalar(@versions), 'there are install scripts');
foreach my $name (sort keys %scripts)
{
	my ($target) = $name =~ /--([^-]+)\.sql$/;
	my $from = $name =~ /^damoov--[^-]+--/;
	my $command = $from ? "ALTER EXTENSION damoov UPDATE TO '$target'" : 'CREATE EXTENSION damoov';
	my ($line) = split /\n/, $scripts{$name};

	is($line, qq{\\echo Use "$command" to load this file. \\quit}, "$name refuses to be read by psql");
}

###########################################################################
# The server
###########################################################################

my $node = PostgreSQL::Test::Cluster->new('versions');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->start;

is( $node->safe_psql('postgres', q{SELECT default_version FROM pg_available_extensions WHERE name = 'damoov'}),
	$default, 'the server knows the default version');
is( $node->safe_psql(
		'postgres', q{SELECT string_agg(version, ' ' ORDER BY version COLLATE "C") FROM pg_available_extension_versions WHERE name = 'damoov'}),
	join(' ', sort keys %{ { map { ($_ => 1) } map { /--([^-]+)\.sql$/ ? $1 : () } keys %scripts } }),
	'and the versions there are scripts for');
is( $node->safe_psql(
		'postgres',
		qq{SELECT string_agg(source, ' ') FROM pg_extension_update_paths('damoov') WHERE target = '$default' AND source <> target AND path IS NULL}),
	'', 'a way leads from every version to the default one');

# Read by psql after all, a script changes nothing
foreach my $name (sort keys %scripts)
{
	my $file = PostgreSQL::Test::Utils::tempdir . "/$name";

	# from a file: psql stops reading at \quit, which a pipe would not survive
	append_to_file($file, $scripts{$name});
	my ($out) = run_command([ 'psql', '-X', '-A', '-t', '-q', '-d', $node->connstr('postgres'), '-f', $file ]);

	is($out, ($scripts{$name} =~ /^\\echo (.*) \\quit/)[0], "psql prints the first line of $name");
	is( $node->safe_psql('postgres', q{SELECT count(*) FROM pg_namespace WHERE nspname = 'damoov'}),
		'0', 'and nothing else');
}

# What a database holds of the extension, without the order it came in
sub shape
{
	my ($database) = @_;

	return $node->safe_psql(
		$database, q{
SELECT string_agg(line, E'\n' ORDER BY line COLLATE "C") FROM (
	SELECT i.type || ' ' || i.identity || coalesce(' -- ' || obj_description(d.objid, d.classid::regclass::name), '')
	FROM pg_depend AS d, pg_identify_object(d.classid, d.objid, 0) AS i
	WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
		AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'damoov')
	UNION ALL
	SELECT format('column %s.%s %s %s %s %s', a.attrelid::regclass, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
		pg_get_expr(v.adbin, v.adrelid), col_description(a.attrelid, a.attnum))
	FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
	LEFT JOIN pg_attrdef AS v ON v.adrelid = a.attrelid AND v.adnum = a.attnum
	WHERE c.relnamespace = 'damoov'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
	UNION ALL
	SELECT format('constraint %s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
	FROM pg_constraint WHERE connamespace = 'damoov'::regnamespace
	UNION ALL
	SELECT pg_get_indexdef(c.oid) FROM pg_class AS c WHERE c.relnamespace = 'damoov'::regnamespace AND c.relkind = 'i'
	UNION ALL
	SELECT pg_get_triggerdef(t.oid) FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
	WHERE c.relnamespace = 'damoov'::regnamespace AND NOT t.tgisinternal
	UNION ALL
	SELECT pg_get_functiondef(p.oid) || ' ' || p.proacl::text FROM pg_proc AS p JOIN pg_depend AS d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass
	WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'damoov')
	UNION ALL
	SELECT c.relname || ' ' || pg_get_viewdef(c.oid) FROM pg_class AS c WHERE c.relnamespace = 'damoov'::regnamespace AND c.relkind = 'v'
	UNION ALL
	SELECT format('dumped %s %s', c.oid::regclass, x.condition) FROM pg_extension AS e, unnest(e.extconfig, e.extcondition) AS x (oid, condition)
	JOIN pg_class AS c ON c.oid = x.oid WHERE e.extname = 'damoov'
) AS l (line)});
}

# An older version, updated step by step or at once, is the newest version
$node->safe_psql('postgres', 'CREATE DATABASE fresh');
$node->safe_psql('fresh', 'CREATE EXTENSION damoov');
my $fresh = shape('fresh');
like($fresh, qr/^table damoov\.events -- /m, 'the shape of an installed extension is told');
foreach my $version (sort @versions)
{
	(my $database = "from_$version") =~ s/\W/_/g;

	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, "CREATE EXTENSION damoov VERSION '$version'; ALTER EXTENSION damoov UPDATE");
	is($node->safe_psql($database, q{SELECT extversion FROM pg_extension WHERE extname = 'damoov'}), $default, "$version gets to $default");
	is(shape($database), $fresh, 'and is what a new one is');
}
my ($code, $out, $err) = $node->psql('fresh', "ALTER EXTENSION damoov UPDATE TO '0.1'");
isnt($code, 0, 'no way leads to a version that never was');
$node->stop;

done_testing();
