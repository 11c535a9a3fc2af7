# Names of stores: whose a host is, and where an object lies.

package Unit::StorageName;

use strict;
use warnings;

use Damoov::Unit;
use Test::More;

functions(q{
CREATE FUNCTION unit_storage_host(host text) RETURNS text
AS 'damoov_unit' LANGUAGE C STRICT;
CREATE FUNCTION unit_storage_signed(query text) RETURNS boolean
AS 'damoov_unit' LANGUAGE C;
CREATE FUNCTION unit_s3_address(bucket text, path text, query text, endpoint text)
RETURNS text AS 'damoov_unit' LANGUAGE C;
CREATE FUNCTION unit_encode_path(path text, form boolean) RETURNS text
AS 'damoov_unit' LANGUAGE C STRICT;
});

my %hosts = (
	'trips.s3.eu-west-1.amazonaws.com' => 's3 eu-west-1',
	'my.dotted.bucket.s3.eu-west-1.amazonaws.com' => 's3 eu-west-1',
	's3.eu-west-1.amazonaws.com' => 's3 eu-west-1 path',
	'trips.s3.amazonaws.com' => 's3 -',
	's3.amazonaws.com' => 's3 - path',
	'trips.s3-eu-west-1.amazonaws.com' => 's3 eu-west-1',
	's3-us-gov-west-1.amazonaws.com' => 's3 us-gov-west-1 path',
	's3-external-1.amazonaws.com' => 's3 - path',
	'trips.s3.dualstack.ap-south-1.amazonaws.com' => 's3 ap-south-1',
	's3.dualstack.ap-south-1.amazonaws.com' => 's3 ap-south-1 path',
	'trips.s3-fips.us-east-2.amazonaws.com' => 's3 us-east-2',
	'trips.s3-fips.dualstack.us-east-2.amazonaws.com' => 's3 us-east-2',
	'trips.s3.cn-north-1.amazonaws.com.cn' => 's3 cn-north-1',
	's3.cn-north-1.amazonaws.com.cn' => 's3 cn-north-1 path',
	'trips.s3.us-gov-east-1.amazonaws.com' => 's3 us-gov-east-1',
	'trips.s3.eusc-de-east-1.amazonaws.eu' => 's3 eusc-de-east-1',
	's3.eusc-de-east-1.amazonaws.eu' => 's3 eusc-de-east-1 path',
	'trips.s3.us-iso-east-1.c2s.ic.gov' => 's3 us-iso-east-1',
	'trips.s3.us-isob-east-1.sc2s.sgov.gov' => 's3 us-isob-east-1',
	'trips.s3.eu-isoe-west-1.cloud.adc-e.uk' => 's3 eu-isoe-west-1',
	'trips.s3.us-isof-south-1.csp.hci.ic.gov' => 's3 us-isof-south-1',
	'xamazonaws.eu' => 'none',
	's3.xamazonaws.eu' => 'none',
	'trips.bucket.vpce-1a2b-3c.s3.us-east-1.vpce.amazonaws.com' => 's3 us-east-1',
	'bucket.vpce-1a2b-3c.s3.us-east-1.vpce.amazonaws.com' => 's3 us-east-1 path',
	's3-data.s3.us-west-2.amazonaws.com' => 's3 us-west-2',
	'point-123456789012.s3-accesspoint.eu-west-1.amazonaws.com' => 's3 eu-west-1',
	'sqs.eu-west-1.amazonaws.com' => 'none',
	'amazonaws.com' => 'none',
	's3.eu-west-1.amazonaws.com.evil.example' => 'none',
	'trips.s3.eu-west-1.amazonaws.example' => 'none',
	's3x.eu-west-1.amazonaws.com' => 'none',
	'fleet.blob.core.windows.net' => 'blob fleet',
	'fleet-secondary.blob.core.windows.net' => 'blob fleet-secondary',
	'fleet.blob.core.chinacloudapi.cn' => 'blob fleet',
	'fleet.blob.core.usgovcloudapi.net' => 'blob fleet',
	'fleet.z01.blob.storage.azure.net' => 'blob fleet',
	'fleet.dfs.core.windows.net' => 'blob fleet',
	'fleet.dfs.core.usgovcloudapi.net' => 'blob fleet',
	'fleet.z01.dfs.storage.azure.net' => 'blob fleet',
	'blob.core.windows.net' => 'none',
	'fleet.queue.core.windows.net' => 'none',
	'fleet.blob.core.windows.net.evil.example' => 'none',
	'mobilesdk.telematicssdk.com' => 'none');
is(query('SELECT unit_storage_host(' . lit($_) . ')'), $hosts{$_}, "host $_")
  for sort keys %hosts;

for ([ 'sv=1&sig=x', 't' ], [ 'X-Amz-Signature=x', 't' ], [ 'a=1&x-amz-signature=x', 't' ],
	[ 'SIG=x', 't' ], [ 'X-Goog-Signature=1', 't' ], [ 'trackToken=x', 'f' ], [ 'sigx=1&a=sig', 'f' ],
	[ '', 'f' ], [ undef, 'f' ])
{
	is(query('SELECT unit_storage_signed(' . lit($_->[0]) . ')'), $_->[1],
		'opens its object: ' . ($_->[0] // 'no query'));
}

for (
	[ 'trips', '/a/b%20c.json', undef, undef, 'https://trips.s3.amazonaws.com/a/b%20c.json' ],
	[ 'trips', '/a', 'region=eu-west-1', undef, 'https://trips.s3.eu-west-1.amazonaws.com/a' ],
	[ 'trips', '/a', 'region=eusc-de-east-1', undef, 'https://trips.s3.eusc-de-east-1.amazonaws.eu/a' ],
	[ 'Old_Trips', '/a', 'region=us-east-1', undef, 'https://s3.us-east-1.amazonaws.com/Old_Trips/a' ],
	[ 'my.trips', '/a', 'region=us-iso-east-1', undef, 'https://s3.us-iso-east-1.c2s.ic.gov/my.trips/a' ],
	[ 'trips', '/a', 'region=cn-north-1&versionId=x%2F', undef, 'https://trips.s3.cn-north-1.amazonaws.com.cn/a?versionId=x%2F' ],
	[ 'my.trips', '/a', 'versionId=1&region=eu-west-1', undef, 'https://s3.eu-west-1.amazonaws.com/my.trips/a?versionId=1' ],
	[ 'trips', '/a', 'region=evil.example/', undef, 'https://trips.s3.amazonaws.com/a?region=evil.example/' ],
	[ 'trips', '/a', 'region=eu-west-1&versionId=1', 'https://store.example:9000', 'https://store.example:9000/trips/a?versionId=1' ])
{
	my $wanted = pop @$_;
	is(query('SELECT unit_s3_address(' . join(', ', map { lit($_) } @$_) . ')'), $wanted, "address $wanted");
}

for ([ q{/a b/+:=&(1)'!*~%2b%41%2F%zz%C3%A4}, 'false', '/a%20b/%2B%3A%3D%26%281%29%27%21%2A~%2BA/%25zz%C3%A4' ],
	[ 'a+b%2Bc/%C3%BC', 'true', 'a%20b%2Bc/%C3%BC' ])
{
	is(query('SELECT unit_encode_path(' . lit($_->[0]) . ", $_->[1])"), $_->[2], "path $_->[0]");
}

1;
