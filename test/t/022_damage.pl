# Damaged datasets and messages: bits flipped, cut off, spans deleted and
# doubled.  The server does not crash, nothing is stored half, and each message
# ends in one way.  CONTRIBUTING.md says how to do one case again, and more.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Damage;
use Damoov::Node;
use Test::More;

my $node = Damoov::Node->start_new('damage', preload => 0);
install_damage($node, 'plain');

is(readable_prefixes($node), join("\n", sort map { $_->[-2] } datasets($node), messages()),
	'each document can be read, and none that is cut off');
damage_all($node, every => 4, datasets => 120_000, messages => 80_000);

ok(notices($node, 'behind', 'terminated by signal'),
	'reading behind the end of a document would have been noticed');

done_testing();
