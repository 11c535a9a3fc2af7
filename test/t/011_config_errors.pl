# What is wrong with a source is said once, in damoov.status and in the log,
# without a secret and without a storm of requests; what is mended is taken up
# without a restart.

use strict;
use warnings;

use Cwd qw(abs_path);
use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Cloud;
use Damoov::Node;
use Damoov::Stage;
use Damoov::Story;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;

my ($cloud, $node) = stage('config', databases => 'postgres');
my $closed = PostgreSQL::Test::Cluster::get_free_port();

# What is wrong, what is said, how many requests it costs, whether it will be
# tried again by itself, how to mend it.
my %case = (
	wrong_secret => {
		source => { secrets => { secret_access_key => 'WrongSecretKeyEXAMPLE' } },
		state => 'auth_failed',
		error =>
		  qr/the signature was refused; the secret access key is wrong \(SignatureDoesNotMatch, HTTP status 403\)/,
		waits => 1,
		mend =>
		  "ALTER USER MAPPING FOR CURRENT_USER SERVER wrong_secret OPTIONS (SET secret_access_key '${\ Damoov::Cloud::SECRET}')"
	},
	unknown_key => {
		source => { secrets => { access_key_id => 'AKIDUNKNOWN' } },
		state => 'auth_failed',
		error =>
		  qr/the access key is not valid \(InvalidClientTokenId, HTTP status 403\)/,
		waits => 1,
		mend =>
		  "ALTER USER MAPPING FOR CURRENT_USER SERVER unknown_key OPTIONS (SET access_key_id 'AKIDEXAMPLE')"
	},
	needless_token => {
		source => { secrets => { session_token => 'SessionTokenEXAMPLE' } },
		state => 'auth_failed',
		error =>
		  qr/the access key is not valid \(InvalidClientTokenId, HTTP status 403\)/,
		waits => 1,
		mend =>
		  'ALTER USER MAPPING FOR CURRENT_USER SERVER needless_token OPTIONS (DROP session_token)'
	},
	missing_queue => {
		source => { options => { queue_url => $cloud->queue_url('nowhere') } },
		state => 'misconfigured',
		error =>
		  qr/the queue does not exist \(QueueDoesNotExist, HTTP status 400\)/,
		requests => 1,
		waits => 1,
		mend =>
		  "ALTER SERVER missing_queue OPTIONS (SET queue_url '${\ $cloud->queue_url('missing_queue')}')"
	},
	wrong_region => {
		source => { options => { region => 'eu-west-2' } },
		state => 'auth_failed',
		error =>
		  qr/the signature was refused; the secret access key is wrong \(SignatureDoesNotMatch, HTTP status 403\)/,
		waits => 1,
		mend => "ALTER SERVER wrong_region OPTIONS (SET region 'eu-west-1')"
	},
	unreachable => {
		source => { options => { endpoint => "http://127.0.0.1:$closed" } },
		state => 'retrying',
		error => qr/.*127\.0\.0\.1:$closed.*/,
		requests => 0,
		waits => 1,
		mend => 'ALTER SERVER unreachable OPTIONS (DROP endpoint)'
	},
	malformed_url => {
		source => { options => { queue_url => $cloud->base_url . '/damoov' } },
		state => 'misconfigured',
		error =>
		  qr{option "queue_url" is not a queue URL of the form https://host/account/name},
		requests => 0,
		mend =>
		  "ALTER SERVER malformed_url OPTIONS (SET queue_url '${\ $cloud->queue_url('malformed_url')}')"
	},
	missing_url => {
		source => { options => { queue_url => undef } },
		state => 'misconfigured',
		error => qr/option "queue_url" is not set/,
		requests => 0,
		mend =>
		  "ALTER SERVER missing_url OPTIONS (ADD queue_url '${\ $cloud->queue_url('missing_url')}')"
	},
	missing_region => {
		source => { options => { region => undef } },
		state => 'misconfigured',
		error =>
		  qr/option "region" is not set and cannot be told from "queue_url"/,
		requests => 0,
		mend => "ALTER SERVER missing_region OPTIONS (ADD region 'eu-west-1')"
	},
	plain_http => {
		source =>
		  { options => { endpoint => 'http://sqs.eu-west-1.amazonaws.com' } },
		state => 'misconfigured',
		error => qr/the endpoint is not an https URL/,
		requests => 0,
		mend => "ALTER SERVER plain_http OPTIONS (DROP endpoint)"
	},
	long_visibility => {
		source => { options => { visibility_seconds => 43201 } },
		state => 'misconfigured',
		error =>
		  qr/option "visibility_seconds" must be between 0 and 43200 for a server of type "sqs"/,
		requests => 0,
		mend =>
		  "ALTER SERVER long_visibility OPTIONS (SET visibility_seconds '43200')"
	},
	missing_mapping => {
		source => { mapping => 0 },
		state => 'misconfigured',
		error =>
		  qr/user mapping has no "access_key_id" or no "secret_access_key"/,
		requests => 0,
		mend =>
		  "CREATE USER MAPPING FOR CURRENT_USER SERVER missing_mapping OPTIONS (access_key_id 'AKIDEXAMPLE', secret_access_key '${\ Damoov::Cloud::SECRET}')"
	},
	unsupported_type => {
		source => { type => 'kafka' },
		state => 'misconfigured',
		error => qr/server type "kafka" is not supported/,
		requests => 0,
		mend => undef
	});

sub requests_of
{
	my ($queue) = @_;
	return scalar grep {
		($_->{parameters}{QueueUrl} // '') =~ m{/$queue$}
	} $cloud->requests(target => 'ReceiveMessage');
}

sub events_of
{
	my ($source) = @_;
	return $node->sql(
		"SELECT count(*) FROM damoov.events WHERE source = '$source'");
}

###########################################################################
# Everything that can be wrong, at once
###########################################################################

my $log = $node->log_size;
# a type that there is not is refused otherwise
$node->sql('ALTER EVENT TRIGGER damoov_check_server DISABLE');
for my $name (sort keys %case)
{
	$cloud->create_queue($name);
	$node->add_source(
		$cloud,
		name => $name,
		queue => $name,
		%{ $case{$name}{source} });
}
$node->sql('ALTER EVENT TRIGGER damoov_check_server ENABLE');
$node->add_source($cloud, name => 'healthy');

status_gets("$_ is noticed", $_, 'last_error IS NOT NULL')
  for sort keys %case;

# Long enough for a second look at the options, and for a storm.
my $polls = $cloud->queue->{receives};
eventually { $cloud->queue->{receives} > $polls + 7 }
'the healthy source is polled meanwhile';

for my $name (sort keys %case)
{
	my $case = $case{$name};
	my ($state, $error) = split /\|/, status($name, 'state, last_error'), 2;

	is($state, $case->{state}, "$name: state");
	like($error, qr/^$case->{error}$/, "$name: error");
	my @lines = $node->log_lines("server \"$name\"", $log);
	is(scalar @lines, 1, "$name: said once in the log")
	  or diag(join "\n", grep { defined } @lines[ 0 .. 2 ]);
	like(
		$lines[0] // '',
		qr/LOG:  could not receive messages from server "$name": $case->{error}$/,
		"$name: ... in the same words");

	# whose a request is that was refused for its signature, nobody knows
	is(requests_of($name eq 'missing_queue' ? 'nowhere' : $name),
		$case->{requests}, "$name: requests")
	  if $case->{state} ne 'auth_failed';

	# in the moment of a retry, the time it waited for is over
	if ($case->{waits})
	{
		status_gets("$name: waits", $name, 'retry_at > now()');
	}
	else
	{
		is(status($name, 'retry_at'), '', "$name: has nothing to wait for");
	}
}
my @credentials = grep { $_->{state} eq 'auth_failed' } values %case;
eventually { $cloud->count_requests(status => 403) >= 2 * @credentials }
'wrong credentials are tried a second time';
is( $cloud->count_requests(status => 403),
	2 * @credentials,
	'wrong credentials: asked once more in case of a new secret, then given up');
is(status('healthy', 'state, last_error'),
	'polling|', 'a healthy source does not mind');
cmp_ok(status('unreachable', 'failures'),
	'<=', 8, 'an unreachable queue is tried less and less often');

unlike(
	slurp_file($node->logfile, $log),
	qr/WrongSecretKeyEXAMPLE|SessionTokenEXAMPLE|\Q${\ Damoov::Cloud::SECRET}\E|Signature=/,
	'no secret in the log');

###########################################################################
# Mended, one after the other
###########################################################################

$node->sql($_) for grep { defined } map { $case{$_}{mend} } sort keys %case;
wake();
for my $name (sort keys %case)
{
	next unless defined $case{$name}{mend};
	publish(heartbeats(1), queue => $name);
	eventually { events_of($name) == 1 }
	"$name is mended: receives";
	status_gets('... and the error is gone', $name,
		"state = 'polling' AND last_error IS NULL AND retry_at IS NULL");
}

###########################################################################
# Rights
###########################################################################

$node->sql('CREATE DATABASE byhand');
$node->sql('CREATE EXTENSION damoov', 'byhand');
$cloud->create_queue('closed');
$node->add_source($cloud, name => 'closed', queue => 'closed', database => 'byhand');
$node->sql(
	'CREATE ROLE limited LOGIN;
	GRANT USAGE ON SCHEMA damoov TO limited;
	GRANT ALL ON ALL TABLES IN SCHEMA damoov TO limited;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA damoov TO limited;
	GRANT EXECUTE ON PROCEDURE damoov_poll TO limited', 'byhand');
is( $node->error_of(
		"CALL damoov_poll('closed', 5)",
		database => 'byhand',
		user => 'limited'),
	'42501: permission denied for foreign server closed',
	'no USAGE on the server: refused');
$node->psql(
	'byhand',
	'CALL damoov_poll(max_seconds => 2)',
	extra_params => [ '-U', 'limited' ]);
is( $node->sql(
		'SELECT state, last_error FROM damoov.status WHERE source = $$closed$$',
		'byhand'),
	'misconfigured|permission denied for foreign server closed',
	'... or said in the status');
is(requests_of('closed'), 0, '... and its queue is not asked');
$node->sql('REVOKE EXECUTE ON PROCEDURE damoov_poll FROM limited', 'byhand');
is( $node->error_of(
		'CALL damoov_poll()',
		database => 'byhand',
		user => 'limited'),
	'42501: permission denied for procedure damoov_poll',
	'no right to the procedure: refused');

###########################################################################
# Secret files
###########################################################################

my $guarded = Damoov::Cloud->new(secret_access_key => 'FirstSecretEXAMPLE');
my $directory = abs_path($node->basedir) . '/secrets';
my %text = (
	first =>
	  "# of the queue\naccess_key_id=AKIDEXAMPLE\nsecret_access_key=FirstSecretEXAMPLE\n",
	second =>
	  "access_key_id=AKIDEXAMPLE\r\nsecret_access_key=SecondSecretEXAMPLE\r\n");

sub refused
{
	my ($what, $error) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	# have the worker look now, instead of within five seconds
	wake();
	status_gets("refused: $what", 'filed',
		'last_error = ' . Damoov::Node::quoted($error));
}

# As one should: the new file takes the place of the old one at once.
sub write_secret
{
	my ($name, $text, $mode) = @_;
	open my $file, '>', "$directory/.new" or die $!;
	print $file $text;
	close $file;
	chmod $mode // 0600, "$directory/.new" or die $!;
	rename "$directory/.new", "$directory/$name" or die $!;
}

mkdir $directory or die $!;
write_secret('queue.conf', $text{first});
$guarded->create_queue('damoov');
$log = $node->log_size;
$node->add_source(
	$guarded,
	name => 'filed',
	secrets => {
		access_key_id => undef,
		secret_access_key => undef,
		secret_file => 'queue.conf'
	});
refused(
	'a secret file without damoov.secrets_dir',
	'could not use secret file "queue.conf": "damoov.secrets_dir" is not set');

$node->append_conf('postgresql.conf', "damoov.secrets_dir = '$directory'");
$node->reload;
$guarded->publish(heartbeats(1));
eventually { events_of('filed') == 1 } '... works when it is set';

$guarded->settings(secret_access_key => 'SecondSecretEXAMPLE');
write_secret('queue.conf', $text{second});
$guarded->publish(heartbeats(1));
eventually { events_of('filed') == 2 }
'... and a new secret is taken up when the file is replaced', 15;

# What is refused
my $file = 'could not use secret file "queue.conf"';

write_secret('queue.conf', $text{second}, 0644);
refused('a file that others can read', "$file: writable by its group or open to others");
write_secret('queue.conf', $text{second}, 0660);
refused('a file that a group can write', "$file: writable by its group or open to others");
rename "$directory/queue.conf", "$directory/real.conf" or die $!;
refused('a file that is gone', "$file: does not exist");
chmod 0600, "$directory/real.conf";
my $outside = PostgreSQL::Test::Utils::tempdir() . '/outside.conf';
rename "$directory/real.conf", $outside or die $!;
symlink $outside, "$directory/queue.conf" or die $!;
refused('a symbolic link that leads out of the directory',
	"$file: a symbolic link leads out of \"damoov.secrets_dir\"");
unlink "$directory/queue.conf";
POSIX::mkfifo("$directory/queue.conf", 0600) or die $!;
refused('a pipe', "$file: not a regular file");
unlink "$directory/queue.conf";
write_secret('queue.conf', "access_key_id AKIDEXAMPLE\n");
refused('a line that cannot be read', "$file: line 1 is not KEY=value");
write_secret('queue.conf', "# of the queue\r\n\r\nregion=none\r\n  = AKIDEXAMPLE\r\n");
refused('a line without a name, behind others', "$file: line 4 is not KEY=value");
write_secret('queue.conf', join "\0", split //, $text{second});
refused('another encoding', "$file: not a text");
write_secret('queue.conf', "# access_key_id=AKIDEXAMPLE\n");
refused('a file without the keys',
	'user mapping has no "access_key_id" or no "secret_access_key"');

# As an editor may save it, and as Kubernetes mounts it
mkdir "$directory/..data" or die $!;
write_secret('..data/queue.conf',
	"\xEF\xBB\xBF" . $text{second} =~ s/=/ = /gr =~ s/^/\t/gmr =~ s/\n/  \r\n/gr);
unlink "$directory/queue.conf";
symlink '..data/queue.conf', "$directory/queue.conf" or die $!;
wake();
$guarded->publish(heartbeats(1));
eventually { events_of('filed') == 3 } 'the right file again';

like(
	$node->error_of(
		"ALTER USER MAPPING FOR CURRENT_USER SERVER filed OPTIONS (SET secret_file '$_')"
	),
	qr/^22023: option "secret_file" must be a plain file name/,
	"the name \"$_\" is refused")
  for '../queue.conf', '/etc/passwd', 'a/b', '..', '.', '', 'a b', 'x' x 65;
like(
	$node->error_of(
		"ALTER SERVER filed OPTIONS (ADD secret_access_key 'x')"),
	qr/^HV00D: option "secret_access_key" does not belong to a server/,
	'a secret does not belong to a server');
unlike(
	slurp_file($node->logfile, $log),
	qr/FirstSecretEXAMPLE|SecondSecretEXAMPLE/,
	'no secret in the log');

$node->stop;
done_testing();
