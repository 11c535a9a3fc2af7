# Unit tests of the pure parts of the extension, each named after its unit:
# test/unit/unit_NAME.pl.  They are reached through test/unit, a module that
# compiles the same sources; "make unit" has to be run before.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Unit;
use Test::More;

for my $path (sort glob "$FindBin::RealBin/../unit/unit_*.pl")
{
	do $path or die $@ || "could not read $path: $!\n";
}

node()->stop;
done_testing();
