# Who gets which credential: the device token goes to the platform and to nobody
# else, whatever hosts are allowed.

package Unit::Api;

use strict;
use warnings;

use Damoov::Unit;
use Test::More;

functions(q{
CREATE FUNCTION unit_api_credential(hosts text, base_url text, s3_endpoint text, url text)
RETURNS text AS 'damoov_unit' LANGUAGE C;
});

my $platform = 'https://mobilesdk.telematicssdk.com';

# Options: hosts (that of the URL), base_url, s3_endpoint.
sub credential
{
	my ($url, %options) = @_;
	my $hosts = $options{hosts} // lc(($url =~ m{^\w+://([^/:?]+)})[0]);

	return query('SELECT unit_api_credential('
		  . join(', ', lit($hosts), lit($options{base_url} // $platform), lit($options{s3_endpoint}), lit($url)) . ')');
}

is(credential($_), 'token', "$_ is the platform's")
  for "$platform/a", 'https://api.telematicssdk.com/a', 'https://x.y.damoov.com/a', 'https://API.Damoov.com/a';
is(credential('https://proxy.example:8443/a', base_url => 'https://proxy.example:8443', hosts => ''),
	'token', 'and so is what the operator says is');
is(credential('https://proxy.example/a', base_url => 'https://proxy.example:8443'),
	'nothing', '... at its own port only');

for my $host ('fleet.s3.eusc-de-east-1.amazonaws.eu', 'fleet.s3.eu-west-1.amazonaws.com', 'fleet.blob.core.windows.net')
{
	is(credential("https://$host/a"), 'key', "$host is a store of a kind that is known");
}
for my $host (
	'fleet.s3.xx-new-1.amazonaws.example', 'fleet.blob.core.newcloud.example',
	'storage.googleapis.com', 'fleet.r2.cloudflarestorage.com', 'files.example',
	'telematicssdk.com', 'damoov.com', 'xtelematicssdk.com', 'xdamoov.com',
	'api.telematicssdk.com.files.example', 'api.damoov.com.cn', '192.0.2.1')
{
	is(credential("https://$host/a"), 'nothing', "$host may be allowed, and gets nothing");
	is(credential("https://$host/a", hosts => "*.@{[$host =~ s/^[^.]*\.//r]}"), 'nothing', '... by its domain, too')
	  if $host =~ /\..*\./;
}
is(credential('https://api.telematicssdk.com/a?X-Amz-Signature=x'), 'nothing', 'nor what opens itself');
is(credential('https://store.example:9000/trips/a', hosts => 'store.example/trips', s3_endpoint => 'https://store.example:9000'),
	'key', 'a store of the operator');
is(credential('https://api.telematicssdk.com:8443/a'), 'URL has a port that is not allowed', 'the platform at another port');
is(credential('https://files.example/a', hosts => '*.telematicssdk.com'), 'URL has a host that is not allowed', 'what is not allowed');

1;
