# Credentials that have to be asked for: temporary keys of AWS, tokens of Entra
# ID.  They are got once, renewed before they end and at once when refused, and
# stand in no log.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Cloud;
use Damoov::Node;
use Damoov::Story;
use PostgreSQL::Test::Utils;
use Test::More;

my $cloud = Damoov::Cloud->new;
my $base = $cloud->base_url;
my $files = PostgreSQL::Test::Utils::tempdir();
my $role = 'arn:aws:iam::123456789012:role/reader';
my $beats = 0;

# The postmaster's environment says where the machine's own identity is.
append_to_file("$files/web_token", "web.identity.token\n");
append_to_file("$files/container_token", 'Bearer container-token-example');
append_to_file("$files/credentials",
	"; of the machine\n[default]\naws_access_key_id = AKIDOTHER\naws_secret_access_key = x\n"
	  . "[damoov]\n# a comment\naws_access_key_id = AKIDFILE\naws_secret_access_key = "
	  . Damoov::Cloud::SECRET
	  . "\n");
local %ENV = (
	%ENV,
	AWS_WEB_IDENTITY_TOKEN_FILE => "$files/web_token",
	AWS_EC2_METADATA_SERVICE_ENDPOINT => $base,
	AWS_CONTAINER_CREDENTIALS_FULL_URI => "$base/container/credentials",
	AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE => "$files/container_token",
	AWS_SHARED_CREDENTIALS_FILE => "$files/credentials");

my $node = Damoov::Node->start_new(
	'identity',
	databases => 'postgres',
	conf => 'damoov.allow_host_identity = on');

sub status
{
	my ($name) = @_;
	return $node->sql(
		"SELECT state || '|' || coalesce(last_error, '') FROM damoov.status WHERE source = '$name'"
	);
}

# A heartbeat through the queue arrives.
sub flows
{
	my ($queue, $name) = @_;

	$cloud->publish([ heartbeat(token('driver'), ++$beats) ],
		queue => $queue);
	my $expected = $beats;
	eventually
	{
		$node->sql("SELECT count(*) FROM damoov.heartbeats") == $expected
	}
	$name or die "nothing arrives: ${\ status($queue)}";
	return;
}

sub asked
{
	my ($path, $since) = @_;
	return $cloud->count_requests(path => $path, since => $since // 0);
}

# Every way to keys of AWS: its options, its secrets, and what it asks for.
my %way = (
	assume_role => {
		options => {
			role_arn => $role,
			external_id => 'external-id-example',
			identity_endpoint => $base
		},
		paths => [qr{^/$}]
	},
	web_identity => {
		options => { role_arn => $role, identity_endpoint => $base },
		secrets => { access_key_id => undef, secret_access_key => undef },
		paths => [qr{^/$}]
	},
	instance => {
		secrets => { access_key_id => undef, secret_access_key => undef },
		paths => [
			qr{^/latest/api/token$},
			qr{^/latest/meta-data/iam/security-credentials/$},
			qr{^/latest/meta-data/iam/security-credentials/reader$}
		]
	},
	container => {
		secrets => { access_key_id => undef, secret_access_key => undef },
		paths => [qr{^/container/credentials$}]
	},
	shared_file => {
		options => { profile => 'damoov' },
		secrets => { access_key_id => undef, secret_access_key => undef },
		paths => []
	});

for my $name (sort keys %way)
{
	my $way = $way{$name};

	# what the token service gives is accepted, or what stands in the file
	$cloud->settings(
		access_key_id => 'AKIDFILE',
		secret_access_key => Damoov::Cloud::SECRET,
		session_token => undef)
	  if $name eq 'shared_file';
	$cloud->create_queue($name);
	my $mark = $cloud->last_request;
	$node->add_source(
		$cloud,
		name => $name,
		queue => $name,
		options => { identity => $name, %{ $way->{options} // {} } },
		secrets => $way->{secrets});
	flows($name, "$name: messages arrive");
	flows($name, "$name: and more of them");
	is(status($name), 'polling|', "$name: status");
	for my $path (@{ $way->{paths} })
	{
		my @requests = grep { ($_->{target} // '') ne 'ReceiveMessage' && ($_->{target} // '') ne 'DeleteMessageBatch' }
		  $cloud->requests(path => $path, since => $mark);
		is(scalar @requests, 1, "$name: $path is asked once");
	}
	$node->wake("DROP SERVER $name CASCADE");
}

# Renewal, on the way that takes three requests.
my $keys = qr{^/latest/meta-data/iam/security-credentials/reader$};
$cloud->create_queue('renewed');
$cloud->order('identity', life => 4);
my $mark = $cloud->last_request;
$node->add_source(
	$cloud,
	name => 'renewed',
	queue => 'renewed',
	options => { identity => 'instance' },
	secrets => $way{instance}{secrets});
eventually { asked($keys, $mark) >= 3 } 'keys are renewed before they end';
flows('renewed', 'messages arrive all the time');
is(scalar(grep { ($_->{status} // 0) >= 400 } $cloud->requests(since => $mark)),
	0, 'no request was refused');

# Refused before their time: new ones are asked for at once.
$cloud->order('identity', life => 3600);
$mark = $cloud->last_request;
# a request is there before its answer: keys that are made after the order hold
eventually { $cloud->count_requests(path => $keys, since => $mark, status => 200) >= 1 } 'keys with a long life';
$mark = $cloud->last_request;
$cloud->order('identity', expire => JSON::PP::true);
# the first may come by a receive that had begun before
flows('renewed', 'messages arrive after the end of the keys');
eventually { asked($keys, $mark) >= 1 } 'new keys are asked for';
flows('renewed', 'messages arrive after keys were refused');
is(asked($keys, $mark), 1, 'new keys were asked for once');
eventually { status('renewed') eq 'polling|' } 'status is mended';

# A token service that cannot answer is asked again.
$cloud->order('identity', fail => [ 503, 503 ], expire => JSON::PP::true);
flows('renewed', 'messages arrive after the token service failed');
like(slurp_file($node->logfile),
	qr/could not get credentials from the machine's metadata service: it cannot answer now \(HTTP status 503\)/,
	'the log says what was in the way');

# Options change while the service is asked: its late answer harms nobody.
$mark = $cloud->last_request;
$cloud->order('identity', hold => JSON::PP::true, expire => JSON::PP::true);
eventually { asked(qr{^/latest/api/token$}, $mark) == 1 } 'the token service is asked';
$node->sql("ALTER SERVER renewed OPTIONS (ADD role_arn 'x')");
my $worker = $node->sql('SELECT damoov.worker_pid()');
eventually
{
	$node->sql("SELECT state FROM damoov.status WHERE source = 'renewed'") eq
	  'new'
}
'the new options are read meanwhile';
$cloud->order('identity', hold => JSON::PP::false);
flows('renewed', 'messages arrive with the new options');
is($node->sql('SELECT damoov.worker_pid()'), $worker, 'nobody crashed');
$node->sql('DROP SERVER renewed CASCADE');

# What is wrong is said in own words.
my %wrong = (
	other_role => {
		options => {
			identity => 'assume_role',
			role_arn => "${role}s",
			external_id => 'external-id-example',
			identity_endpoint => $base
		},
		error => qr/^auth_failed\|could not get credentials from STS: the role may not be assumed \(HTTP status 403\)$/
	},
	wrong_key => {
		options => {
			identity => 'assume_role',
			role_arn => $role,
			external_id => 'external-id-example',
			identity_endpoint => $base
		},
		secrets => { secret_access_key => 'WrongSecretKeyEXAMPLE' },
		error => qr/^auth_failed\|could not get credentials from STS: the signature was refused; the secret access key is wrong/
	},
	no_role => {
		options => { identity => 'assume_role' },
		error => qr/^misconfigured\|option "role_arn" is not set and cannot be told otherwise$/
	},
	no_profile => {
		options => { identity => 'shared_file', profile => 'nobody' },
		error => qr/^auth_failed\|could not get credentials from the shared credentials file: the profile is not there or has no keys$/
	});

for my $name (sort keys %wrong)
{
	$cloud->create_queue($name);
	$node->add_source(
		$cloud,
		name => $name,
		queue => $name,
		options => $wrong{$name}{options},
		secrets => $wrong{$name}{secrets});
	eventually { status($name) =~ $wrong{$name}{error} } "$name: is said"
	  or diag(status($name));
	$node->wake("DROP SERVER $name CASCADE");
}

# The machine's identity is the superuser's to lend.
$node->append_conf('postgresql.conf', 'damoov.allow_host_identity = off');
$node->reload;
$cloud->create_queue('lent');
$node->add_source(
	$cloud,
	name => 'lent',
	queue => 'lent',
	options => { identity => 'instance' },
	secrets => $way{instance}{secrets});
eventually
{
	status('lent') =~ /^misconfigured\|option "identity" uses the machine's identity/
}
'the machine\'s identity is not lent by default';

# No secret anywhere.
my $log = slurp_file($node->logfile);
unlike($log, qr/session\/|ASIA|web\.identity|container-token|WrongSecret/,
	'no credential stands in the log');

$node->stop;
$cloud->stop;
done_testing();
