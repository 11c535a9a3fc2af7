# Bytes that were compressed with gzip.

package Unit::Gzip;

use strict;
use warnings;

use Compress::Raw::Zlib qw(crc32);
use Damoov::Unit;
use IO::Compress::Gzip qw(gzip $GzipError);
use IO::Uncompress::Gunzip qw(gunzip $GunzipError);
use Test::More;

functions(q{
CREATE FUNCTION unit_gzip(bytes_hex text, max integer)
RETURNS text AS 'damoov_unit' LANGUAGE C STRICT;
CREATE FUNCTION unit_gzip_compress(bytes_hex text)
RETURNS bytea AS 'damoov_unit' LANGUAGE C STRICT;
});

sub zip
{
	my ($text, @options) = @_;
	my $bytes;
	gzip(\$text => \$bytes, @options) or die $GzipError;
	return $bytes;
}

sub expanded
{
	my ($bytes, $max) = @_;
	return query("SELECT unit_gzip('" . unpack('H*', $bytes) . "', " . ($max // 1_000_000) . ')');
}

# The same with a checksum of the header of so many bytes; Perl's own has only
# half of it.
sub checked
{
	my ($bytes, $length) = @_;
	my $header = substr $bytes, 0, $length;

	substr($header, 3, 1) |= "\x02";
	return $header . pack('v', crc32($header) & 0xffff) . substr $bytes, $length;
}

my $text = join ' ', map { $_ * 7919 % 10007 } 1 .. 30_000;
my $zipped = zip($text);

is(expanded(zip('a')), 'a', 'gzip of one byte');
is(expanded(zip('')), '', '... of none');
is(expanded($zipped), $text, '... of more than is expanded at once');
is(expanded(checked(zip('a', -Name => 'a.json', -Comment => 'b'), 10 + length "a.json\0b\0")), 'a', '... with a name');
is(expanded(zip('a') . zip('') . zip('b')), 'ab', '... in several members');
is(expanded(zip('a') . "\0" x 512), 'a', '... with zeros behind it');
is(expanded(zip('ab'), 2), 'ab', '... as long as it may be');
is(expanded(zip('abc'), 2), 'too big', '... longer');
is(expanded(zip('ab') . zip('c'), 2), 'too big', '... by a second member');
is(expanded(zip('a' x 50_000_000), 1_000_000), 'too big', 'a bomb');
for my $case (
	[ 'the half of it', substr $zipped, 0, length($zipped) / 2 ],
	[ 'all but a byte', substr $zipped, 0, -1 ],
	[ 'the header alone', substr $zipped, 0, 10 ],
	[ 'two bytes', "\x1F\x8B" ],
	[ 'nothing', '' ],
	[ 'another checksum', substr($zipped, 0, -8) . "\0\0\0\0" . substr($zipped, -4) ],
	[ 'something behind it', zip('a') . "\0x" ],
	[ 'half a second member', zip('a') . substr zip('b'), 0, -1 ],
	[ 'text', '{"a": 1}' ])
{
	my ($name, $bytes) = @$case;
	is(expanded($bytes), 'damaged', "gzip: $name is damage");
}

# What is made is what others read; noise gets longer by it.
sub compressed
{
	my ($text) = @_;
	my $hex = query("SELECT encode(unit_gzip_compress('" . unpack('H*', $text) . "'), 'hex')");
	my $bytes = pack 'H*', $hex;
	my $expanded;

	gunzip(\$bytes => \$expanded) or return "no gzip: $GunzipError";
	return ($expanded eq $text ? 'the same' : 'something else', length $bytes);
}

my $noise = join '', map { chr(int rand 256) } 1 .. 300_000;
for my $case ([ 'nothing', '' ], [ 'a byte', 'a' ], [ 'a text', $text ], [ 'noise', $noise ])
{
	my ($name, $bytes) = @$case;
	is((compressed($bytes))[0], 'the same', "$name, compressed");
}
cmp_ok((compressed($text))[1], '<', length($text) / 2, 'a text gets shorter');

1;
