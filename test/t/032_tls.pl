# https: a certificate has to be right in every respect, for the queue and for
# the datasets.

use strict;
use warnings;

use Cwd qw(abs_path);
use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Cloud;
use Damoov::Node;
use Damoov::Story;
use PostgreSQL::Test::Utils;
use Test::More;

my $directory = abs_path(PostgreSQL::Test::Utils::tempdir());
my $driver = token('driver');
my $next = 0;

###########################################################################
# Certificates
###########################################################################

sub openssl
{
	PostgreSQL::Test::Utils::system_or_bail('openssl', @_);
	return;
}

sub key
{
	my ($name) = @_;
	return (
		'-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
		'-keyout', "$directory/$name.key");
}

sub authority
{
	my ($name) = @_;
	openssl('req', '-x509', key($name), '-out', "$directory/$name.crt",
		'-subj', "/CN=$name", '-days', 30);
	return;
}

sub certificate
{
	my ($name, $issuer, $host, @validity) = @_;
	my $request = "$directory/$name.csr";

	openssl('req', key($name), '-out', $request, '-subj', "/CN=$name",
		'-addext', "subjectAltName=$host");
	openssl('x509', '-req', '-in', $request, '-out', "$directory/$name.crt",
		'-CA', "$directory/$issuer.crt", '-CAkey', "$directory/$issuer.key",
		'-CAcreateserial', '-copy_extensions', 'copy', @validity);
	return;
}

authority('trusted');
authority('stranger');
# newer releases refuse a negative number of days and take dates instead
my ($major, $minor) = `openssl version` =~ /^OpenSSL (\d+)\.(\d+)/;
my @valid = ('-days', 30);
my @over = $major > 3 || ($major == 3 && $minor >= 4)
  ? ('-not_before', '20240101000000Z', '-not_after', '20240201000000Z') : ('-days', -1);

certificate('good', 'trusted', 'IP:127.0.0.1', @valid);
certificate('wrong_host', 'trusted', 'DNS:elsewhere.example,IP:127.0.0.2', @valid);
certificate('expired', 'trusted', 'IP:127.0.0.1', @over);
certificate('unknown_issuer', 'stranger', 'IP:127.0.0.1', @valid);
openssl('req', '-x509', key('self_signed'), '-out',
	"$directory/self_signed.crt", '-subj', '/CN=127.0.0.1', '-addext',
	'subjectAltName=IP:127.0.0.1', '-days', 30);

sub cloud
{
	my ($name) = @_;
	return Damoov::Cloud->new(
		tls_cert => "$directory/$name.crt",
		tls_key => "$directory/$name.key");
}

###########################################################################
# The right one
###########################################################################

my $node = Damoov::Node->start_new('tls',
	conf => "damoov.allow_http_loopback = off\ndamoov.ca_file = '$directory/trusted.crt'");

sub value
{
	return $node->sql($_[0]);
}

my $good = cloud('good');
$node->add_source($good, name => 'good', options => { wait_seconds => 0 });
my $story = $good->fleet(drivers => 2, trips => 4, points => 20);
$node->poll;
is( value('SELECT count(*), sum(point_count) FROM damoov.trips'),
	scalar @{ $story->{trips} } . "|$story->{points}",
	'a good certificate: queue and datasets over https');
is(value("SELECT state, last_error FROM damoov.status WHERE source = 'good'"),
	'polling|', '... without a word');
is($good->queue->{visible} + $good->queue->{in_flight},
	0, '... and the queue is empty');
my ($trip) = @{ $story->{trips} };
like(value("SELECT damoov_fetch_track('$trip')"),
	qr/^\d+$/, '... and fetched by hand');

###########################################################################
# The wrong ones
###########################################################################

# what libcurl says around it differs from release to release
my %wrong = (
	wrong_host =>
	  qr/SSL: no alternative certificate subject name matches target .*'127\.0\.0\.1'/,
	expired => qr/SSL certificate .*: certificate has expired/,
	unknown_issuer =>
	  qr/SSL certificate .*: unable to get local issuer certificate/,
	self_signed => qr/SSL certificate .*: self.signed certificate/);

my %cloud;
for my $name (sort keys %wrong)
{
	$cloud{$name} = cloud($name);
	$node->add_source(
		$cloud{$name},
		name => $name,
		options => { wait_seconds => 0 });
	$cloud{$name}->publish([ heartbeat($driver, $next++) ]);
}
my $before = value('SELECT count(*) FROM damoov.events');
$good->publish([ heartbeat($driver, $next++) ]);
$node->poll(10);
is(value('SELECT count(*) FROM damoov.events'),
	$before + 1, 'other sources go on');

for my $name (sort keys %wrong)
{
	like(
		value("SELECT state, last_error FROM damoov.status WHERE source = '$name'"),
		qr/^retrying\|could not establish a verified TLS connection to "127\.0\.0\.1:\d+": $wrong{$name}/,
		"$name: said in the status");
	is($cloud{$name}->last_request, 0, '... and nothing was sent');
	is($cloud{$name}->queue->{visible}, 1, '... nor received');

	my $url = $cloud{$name}->base_url;
	value("ALTER SERVER api OPTIONS (SET base_url '$url')");
	like(
		$node->error_of("SELECT damoov_fetch_track('$trip')"),
		qr/^08006: could not fetch the track: could not establish a verified TLS connection to "127\.0\.0\.1:\d+": $wrong{$name}/,
		'... nor is a dataset fetched from it');
	is($cloud{$name}->last_request, 0, '... and no device token was sent');
}

# Neither the system's own authorities nor an empty file will do.
value("ALTER SERVER api OPTIONS (SET base_url '${\ $good->base_url}')");
for my $file ('', "$directory/stranger.crt", "$directory/none.crt")
{
	$node->adjust_conf('postgresql.conf', 'damoov.ca_file', "'$file'");
	$node->reload;
	ok( $node->poll_query_until('postgres',
			"SELECT current_setting('damoov.ca_file') = '$file'"),
		'another file of authorities');
	like(
		$node->error_of("SELECT damoov_fetch_track('$trip')"),
		qr/^08006: could not fetch the track: could not establish a verified TLS connection to "127\.0\.0\.1:\d+": /,
		'... and the good certificate is refused');
}

$node->stop;
done_testing();
