# Signatures of Azure: published vectors, and SharedKey against a text to sign
# that is written out here.

package Unit::SignAzure;

use strict;
use warnings;

use Damoov::Unit;
use Digest::SHA qw(hmac_sha256);
use MIME::Base64;
use Test::More;

functions(q{
CREATE FUNCTION unit_sign_service_bus(uri text, policy text, key text, expires bigint)
RETURNS text AS 'damoov_unit' LANGUAGE C;
CREATE FUNCTION unit_hmac(key text, input text)
RETURNS text AS 'damoov_unit' LANGUAGE C;
CREATE FUNCTION unit_sign_event_grid(uri text, key text, expires bigint)
RETURNS text AS 'damoov_unit' LANGUAGE C;
CREATE FUNCTION unit_sign_shared_key(
    method text, path text, query text, headers text[], body_len integer,
    account text, account_key text)
RETURNS text AS 'damoov_unit' LANGUAGE C;
});

my $azure_key = 'dGVzdC1rZXktZm9yLXZlY3RvcnMtMzItYnl0ZXMhISE=';
my %service_bus = (
	'https://contoso.servicebus.windows.net/' =>
	  'kEykfFA5ac5I9vCqDv8D25ZLIpO12oQ19LI0aaTDJ%2FI%3D',
	'https://contoso.servicebus.windows.net/telematics' =>
	  'YoZP5yd%2FKsQwWRJhwLcttROA0fM%2FyxnqIEGQZhTTEYU%3D',
	'https://contoso.servicebus.windows.net/trips/subscriptions/pg+a' =>
	  '3rL5TEctU%2BMd9VMxashm6CoI3lqbo1v9hkhzVSK79ZU%3D');

for my $uri (sort keys %service_bus)
{
	my $resource =
	  $uri =~ s{([^A-Za-z0-9._~-])}{sprintf '%%%02X', ord $1}ger;
	is( query(
			"SELECT unit_sign_service_bus('$uri', 'listen', '$azure_key', 1800000000)"
		),
		"SharedAccessSignature sr=$resource&sig=$service_bus{$uri}&se=1800000000&skn=listen",
		"Service Bus token for $uri");
}
is( query(
		"SELECT unit_hmac('$azure_key', 'https%3a%2f%2fcontoso.servicebus.windows.net%2ftelematics'"
		  . " || chr(10) || '1800000000')"),
	'KYfW0/FaIOefhGQuhuhiPAaYGx9kkBlrS5nDH1AAbag=',
	'signature over an address encoded in lower case');
is( query(
		"SELECT unit_sign_event_grid('https://contoso.westeurope-1.eventgrid.azure.net', '$azure_key', 1800000000)"
	),
	'SharedAccessSignature r=https%3A%2F%2Fcontoso.westeurope-1.eventgrid.azure.net'
	  . '&e=2027-01-15T08%3A00%3A00&s=qGRqO%2Bqfj9GOYkkoXs7erByjO%2FHGSoECV937bVQYOkk%3D',
	'Event Grid token');
is( query(
		"SELECT unit_sign_event_grid('https://contoso', 'no base64!', 1800000000)"
	),
	'not base64',
	'a key for Event Grid is base64');

my $to_sign = join("\n",
	'PUT', '', '', '11', '', 'text/plain', '', '', '', '', '', '',
	'x-ms-date:Fri, 15 Jan 2027 08:00:00 GMT',
	'x-ms-version:2021-12-02',
	'/acc/acc/queue/messages/id', 'popreceipt:a+b/c==', 'visibilitytimeout:30');
is( query(
		q{SELECT unit_sign_shared_key('PUT', '/acc/queue/messages/id',
		'visibilitytimeout=30&PopReceipt=a%2Bb%2Fc%3D%3D',
		ARRAY['x-ms-version', '2021-12-02', 'Content-Type', 'text/plain',
			'X-MS-Date', 'Fri, 15 Jan 2027 08:00:00 GMT'], 11, 'acc', }
		  . "'$azure_key')"),
	'SharedKey acc:'
	  . encode_base64(hmac_sha256($to_sign, decode_base64($azure_key)), ''),
	'SharedKey');
is( query(
		q{SELECT unit_sign_shared_key('GET', '/queue', NULL, '{}', 0, 'acc', 'no base64!')}
	),
	'not base64',
	'an account key is base64');

1;
