# What is left of a failure of libcurl's multi interface: requests that have
# failed, and a handle that nothing more is done with.

package Unit::Http;

use strict;
use warnings;

use Damoov::Unit;
use Test::More;

functions(q{
CREATE FUNCTION unit_http_failure(call text, again boolean)
RETURNS text AS 'damoov_unit' LANGUAGE C STRICT;
CREATE FUNCTION unit_http_sockets(requests integer, "limit" integer)
RETURNS text AS 'damoov_unit' LANGUAGE C STRICT;
CREATE FUNCTION unit_http_places(polls integer, others integer, descriptors integer)
RETURNS text AS 'damoov_unit' LANGUAGE C STRICT;
CREATE FUNCTION unit_http_header(value text)
RETURNS text AS 'damoov_unit' LANGUAGE C STRICT;
});

my $failed = '0 exchange with "host" failed: Internal error';
my $silent = '0 no answer from "host" in time';

sub told
{
	my ($call, $again) = @_;
	return query("SELECT unit_http_failure('$call', $again)") =~ s/127\.0\.0\.1:\d+/host/gr;
}

for my $case (
	[ 'nothing', ($silent) x 4 ],
	[ 'action', ($failed) x 3, $silent ],
	[ 'add', $failed, ($silent) x 3 ],
	# the first has its answer when it is taken back; the others are lost with it
	[ 'remove', $silent, $failed, $failed, $silent ])
{
	my ($call, @lines) = @$case;

	for my $again (qw(false true))
	{
		is(told($call, $again), join("\n", @lines, 'touched 0'),
			"failure of libcurl at $call" . ($again eq 'true' ? ', and at the end' : ''));
	}
}

# One descriptor is for what the server waits with, and one is left.
my $full = '0 could not connect to "host": this process has too many open files';
my $told = query('SELECT unit_http_sockets(12, 6)') =~ s/127\.0\.0\.1:\d+/host/gr;

is(() = $told =~ /^\Q$full\E$/mg, 16, 'more connections than the server can spare fail, and can be tried again');
is(() = $told =~ /^\Q$silent\E$/mg, 8, '... the others do not');
like($told, qr/^lost 0$/m, '... and each descriptor is given back');

# Whatever is asked for, so many requests are in flight, and the others wait: they do not fail.
for my $case (
	[ 'few', 5, 5, 1000, 'room 1, most 10, beside 5, silent 10' ],
	[ 'many long polls', 300, 0, 1000, 'room 0, most 96, beside 0, silent 300' ],
	[ 'many others', 0, 300, 1000, 'room 1, most 128, beside 128, silent 300' ],
	[ 'others beside many long polls', 200, 40, 1000, 'room 0, most 128, beside 32, silent 240' ],
	[ 'a server with few descriptors', 30, 10, 48, 'room 0, most 8, beside 2, silent 40' ])
{
	my ($name, $polls, $others, $descriptors, $expected) = @$case;

	is(query("SELECT unit_http_places($polls, $others, $descriptors)"),
		"$expected, other 0, left 0", "requests in flight: $name");
}

# What stands behind the end of a line would be a header of its own.
like(query('SELECT unit_http_header($$a b$$)'), qr/^\Q0 no answer from\E/, 'a value of one line is sent');
like(query("SELECT unit_http_header(E'$_')"), qr{^0 value of header "x-value" has more than one line$}, "... one with $_ is not")
  for 'a\nHost: b', 'a\r\nHost: b', 'a\rb', 'a\n';

1;
