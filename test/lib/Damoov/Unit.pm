# What the tests of single units share: test/unit/unit_NAME.pl tests the unit
# NAME.c by the SQL functions of test/unit/unit_NAME.c.  They run in one server,
# see 001_units.pl.

package Damoov::Unit;

use strict;
use warnings;

use Exporter 'import';
use FindBin;
use PostgreSQL::Test::Cluster;

our @EXPORT = qw(node functions query lit pick $seed);

# All random input comes from this seed.
our $seed = 20260115;

my $node;

# The server, which finds the module without its directory.
sub node
{
	return $node if $node;
	my $directory = ($ENV{DAMOOV_BUILD} // "$FindBin::RealBin/../..") . '/test/unit';

	die "test/unit is not built, run \"make unit\" first\n"
	  unless grep { -e "$directory/damoov_unit.$_" } qw(so dylib);
	$node = PostgreSQL::Test::Cluster->new('units');
	$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
	# Statements are logged only if they fail: see "secret in the server log".
	$node->append_conf('postgresql.conf',
		"log_statement = none\ndynamic_library_path = '$directory:\$libdir'");
	$node->start;
	return $node;
}

sub query
{
	my ($sql) = @_;
	return node()->safe_psql('postgres', $sql);
}

# Makes the functions of a unit: CREATE FUNCTION ... AS 'damoov_unit' LANGUAGE C.
sub functions
{
	query($_[0]);
	return;
}

sub lit
{
	my ($text) = @_;
	return 'NULL' unless defined $text;
	$text =~ s/'/''/g;
	return "'$text'";
}

sub pick
{
	return $_[ int rand @_ ];
}

1;
