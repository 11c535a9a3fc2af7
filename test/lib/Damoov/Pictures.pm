# The demo's fleet in the tables, with a person of hostile names, and documents
# as an XML parser reads them.

package Damoov::Pictures;

use strict;
use warnings;

use Exporter 'import';
use FindBin;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT_OK = qw(load_fleet hostile read_xml HOSTILE SHOWN);

my $top = "$FindBin::RealBin/../..";

# A name as a client may send it, and what is shown of it.  Escapes are SQL's.
use constant HOSTILE => q{E'</text><script>alert("&amp;\\'1\\')</script>\\u202e\\x01<img src=x onerror=alert(2)>'};
use constant SHOWN => qq{</text><script>alert("&amp;'1')</script>\x{fffd}\x{fffd}<img src=x onerror=alert(2)>};

# With the same ids each time.
sub load_fleet
{
	my ($node) = @_;
	my $directory = PostgreSQL::Test::Utils::tempdir() . '/fleet';

	command_ok([ 'python3', "$top/test/cloud/fleet.py", '--dir', $directory, qw(--drivers 4 --trips 8 --points 120 --seed 7) ], 'a fleet');
	command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-v', "dir=$directory", '-f', "$top/demo/fleet.sql" ],
		'... is stored');
	return;
}

# The driver of most trips gets this name, and a place of it.
sub hostile
{
	my ($node) = @_;
	my $user = $node->safe_psql('postgres', 'SELECT user_id FROM damoov.trips GROUP BY user_id ORDER BY count(*) DESC, user_id LIMIT 1');

	$node->safe_psql('postgres', "UPDATE damoov.users SET client_id = " . HOSTILE . " WHERE user_id = $user;
		UPDATE damoov.trips SET address_start = " . HOSTILE . ', city_end = ' . HOSTILE . ', driving_tips = ' . HOSTILE . " WHERE user_id = $user");
	return $user;
}

sub read_xml
{
	my (@files) = @_;
	my ($json, $errors) = run_command([ 'python3', "$top/test/lib/read_xml.py", @files ]);

	return JSON::PP->new->decode($json);
}

1;
