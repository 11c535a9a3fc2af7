# Which network addresses are public.

package Unit::Address;

use strict;
use warnings;

use Damoov::Unit;
use Test::More;

functions(q{
CREATE FUNCTION unit_address(address text) RETURNS boolean
AS 'damoov_unit' LANGUAGE C STRICT;
});

my %public = (
	t => [
		qw(1.1.1.1 9.255.255.255 11.0.0.0 52.95.110.1 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0
		  169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 192.169.0.0 198.17.255.255
		  198.20.0.0 223.255.255.255 2600:9000::1 2a05:d018::1
		  64:ff9b::1.1.1.1 64:ff9b::345f:6e01)
	],
	f => [
		qw(0.0.0.0 10.0.0.1 100.64.0.1 127.0.0.1 127.255.255.255 169.254.169.254 169.254.170.2 172.16.0.1 172.31.255.255
		  192.0.0.1 192.0.2.1 192.168.0.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 240.0.0.1 255.255.255.255
		  :: ::1 ::ffff:1.1.1.1 ::ffff:127.0.0.1 ::7f00:1 fc00::1 fd00:ec2::254 fe80::1 ff02::1 100::1
		  2001::1 2001:db8::1 2002:7f00:1:: 2002:101:101::
		  64:ff9b::127.0.0.1 64:ff9b::169.254.169.254 64:ff9b::10.0.0.1 64:ff9b::a9fe:a9fe 64:ff9b::
		  64:ff9b:0:0:0:1:101:101 64:ff9b:1::1.1.1.1 64:ff9b:1:fffe::1.1.1.1 64:ff9c::1.1.1.1)
	]);

for my $expected (sort keys %public)
{
	is(query('SELECT unit_address(' . lit($_) . ')'), $expected,
		"$_ is " . ($expected eq 't' ? '' : 'not ') . 'public')
	  for @{ $public{$expected} };
}

1;
