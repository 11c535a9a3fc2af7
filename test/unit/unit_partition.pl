# The parts of Azure: where a token is got, and what it is for.

package Unit::Partition;

use strict;
use warnings;

use Damoov::Unit;
use Test::More;

functions(q{
CREATE FUNCTION unit_azure_token(audience text, host text) RETURNS text
AS 'damoov_unit' LANGUAGE C STRICT;
});

my %bus = (
	'fleet.servicebus.windows.net' => 'login.microsoftonline.com',
	'fleet.servicebus.usgovcloudapi.net' => 'login.microsoftonline.us',
	'fleet.servicebus.chinacloudapi.cn' => 'login.partner.microsoftonline.cn',
	'fleet.servicebus.usgovcloudapi.net.evil.example' => 'login.microsoftonline.com',
	'servicebus.usgovcloudapi.net' => 'login.microsoftonline.com',
	'bus.fleet.example' => 'login.microsoftonline.com',
	'' => 'login.microsoftonline.com');
my %queues = (
	'fleet.queue.core.windows.net' => 'login.microsoftonline.com',
	'fleet.z01.queue.storage.azure.net' => 'login.microsoftonline.com',
	'fleet.queue.core.usgovcloudapi.net' => 'login.microsoftonline.us',
	'fleet.queue.core.chinacloudapi.cn' => 'login.partner.microsoftonline.cn');
my %grids = (
	'fleet.westeurope-1.eventgrid.azure.net' => 'login.microsoftonline.com https://eventgrid.azure.net',
	'fleet.usgovvirginia-1.eventgrid.azure.us' => 'login.microsoftonline.us https://eventgrid.azure.us',
	'fleet.chinanorth3-1.eventgrid.azure.cn' => 'login.partner.microsoftonline.cn https://eventgrid.azure.cn',
	'events.fleet.example' => 'login.microsoftonline.com https://eventgrid.azure.net');

sub token
{
	my ($audience, $host) = @_;
	return query("SELECT unit_azure_token('$audience', '$host')");
}

is(token('https://servicebus.azure.net', $_), "$bus{$_} https://servicebus.azure.net", "token for \"$_\"") for sort keys %bus;
is(token('https://storage.azure.com', $_), "$queues{$_} https://storage.azure.com", "token for \"$_\"") for sort keys %queues;
is(token('https://eventgrid.azure.net', $_), $grids{$_}, "token for \"$_\"") for sort keys %grids;

1;
