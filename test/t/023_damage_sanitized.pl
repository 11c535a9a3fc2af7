# Damaged datasets and messages, once more, with everything of the extension
# compiled for AddressSanitizer and UndefinedBehaviorSanitizer.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Damage;
use Damoov::Node;
use Test::More;

# A finding aborts the server, and with that the test.  Some servers have options
# of their own for the sanitizers.
$ENV{UBSAN_OPTIONS} = 'abort_on_error=1:print_stacktrace=1';
my $node = Damoov::Node->start_new('damage', preload => 0);
install_damage($node, 'sanitized');

is($node->sql('SELECT damage.sanitizer()'), 'address', 'the sanitizer is at work');
is(readable_prefixes($node), join("\n", sort map { $_->[-2] } datasets($node), messages()),
	'each document can be read, and none that is cut off');
damage_all($node, every => 1, datasets => 6_000, messages => 6_000);
is(join("\n", $node->log_lines('Sanitizer|runtime error')), '', 'nothing was found');

ok(notices($node, $_->[0], $_->[1]), "... but what is wrong would have been: $_->[0]")
  for [ behind => 'AddressSanitizer' ],
	[ before => 'AddressSanitizer: use-after-poison' ],
	[ variable => 'runtime error: index 9 out of bounds' ];

done_testing();
