# damoov_check(), the doctor: it finds what is in the way, names what mends it,
# and takes no message.

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
my $node = Damoov::Node->start_new('check');
my $closed = PostgreSQL::Test::Cluster::get_free_port();

sub findings
{
	my ($source) = @_;
	return $node->sql(
		"SELECT level || '|' || topic || '|' || finding || '|' || coalesce(remedy, '') FROM damoov_check("
		  . (defined $source ? "'$source'" : '')
		  . ') WHERE server IS '
		  . (defined $source ? 'NOT NULL' : 'NULL'));
}

# The rows of which level, topic and finding match.
sub rows
{
	my ($pattern, $source) = @_;
	return grep { /$pattern/m } split /^(?=(?:ok|warning|error)\|)/m, findings($source);
}

# What mends a finding, '' when there is none.
sub remedy
{
	my ($pattern, $source) = @_;
	my ($row) = rows($pattern, $source);
	return defined $row ? (split /\|/, $row =~ s/\n$//r, 4)[3] : "no row is like $pattern:\n" . findings($source);
}

# The remedy is a statement, which runs and makes the finding go.  Options: source;
# fill (what the user has to fill in, in order); restart (1: takes effect then);
# user (who runs it).
sub mends
{
	my ($pattern, $statement, %options) = @_;
	my $remedy = remedy($pattern, $options{source});
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	my $sql = $remedy;
	if ($options{fill})
	{
		like($sql, qr/^Fill in, and run: /, "$pattern: the remedy has to be filled in");
		$sql =~ s/^Fill in, and run: //;
		$sql =~ s/'\.\.\.'/"'" . shift(@{ $options{fill} }) . "'"/ge;
		is(scalar @{ $options{fill} }, 0, "$pattern: ... in each place");
	}
	like($remedy, $statement, "$pattern: the remedy is a statement");
	my ($status, $out, $err) = $node->psql('postgres', $sql, on_error_stop => 1);
	$err =~ s/^\S+ NOTICE: .*\n?//mg;
	is("$status $err", '0 ', "$pattern: ... which runs");
	$node->restart if $options{restart};
	eventually { !rows($pattern, $options{source}) } "$pattern: ... and mends it";
	return;
}

# A queue that is in order.
$cloud->create_queue('dead');
$cloud->create_queue('queue',
	visibility_timeout => 120, dead_letter => 'dead');
$cloud->publish([ heartbeat(token('driver'), 1) ], queue => 'queue');
$node->add_source($cloud, queue => 'queue');
is(findings('queue'), 'ok|queue|the queue can be read; about 1 messages wait|',
	'a queue in order');
is($cloud->queue('queue')->{visible}, 1, '... its message was not taken');
is($cloud->count_requests(target => 'ReceiveMessage'), 0, '... nor asked for');

# A table that somebody has locked is a finding, and in the way of no other one.
my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN; LOCK TABLE damoov.quarantine IN ACCESS EXCLUSIVE MODE');
my $pid = $holder->query_safe('SELECT pg_backend_pid()');
is(findings('queue'), 'ok|queue|the queue can be read; about 1 messages wait|', 'a table is locked: the queue is in order');
is(join('', rows('\|locks\|')),
	"error|locks|sources and downloads cannot be read: process $pid has locked damoov.quarantine|Wait for it, or end it: SELECT pg_terminate_backend($pid)\n",
	'... and who has locked it is told');
is(scalar rows('\|worker\|'), 1, '... and how the worker is');
$holder->quit;
is(scalar rows('\|locks\|'), 0, '... until he leaves it');

# The same of every other type: all but the message is looked at.
my %place = (
	servicebus => 'damoov',
	storagequeue => 'damoov',
	eventgrid => 'trips/damoov');
my %key = (
	servicebus => 'shared_access_key',
	storagequeue => 'account_key',
	eventgrid => 'access_key');
for my $type (sort keys %place)
{
	my @queue = ($place{$type}, service => $type);

	$cloud->create_queue(@queue);
	$cloud->publish(
		[ heartbeat(token('driver'), 2) ],
		service => $type,
		queue => $place{$type});
	$node->add_source($cloud, name => $type, type => $type, queue => $place{$type});
	like(findings($type), qr/^ok\|queue\|the [a-z ]+ can be read\|$/m, "$type: in order");
	is($cloud->queue($place{$type}, $type)->{visible},
		1, '... its message was not taken');
	$node->sql("ALTER USER MAPPING FOR CURRENT_USER SERVER $type OPTIONS (SET $key{$type} 'V3Jvbmcga2V5IG9mIHRoaXJ0eS10d28gYnl0ZXMuLi4=')");
	like(findings($type), qr/^error\|credentials\|.*\|Fill in, and run: ALTER USER MAPPING FOR CURRENT_USER SERVER $type OPTIONS \(SET .*$key{$type} '\.\.\.'/m,
		"$type: a wrong key");
	$node->sql("DROP SERVER $type CASCADE");
}

# What works, but not always.
$cloud->create_queue('poor', visibility_timeout => 30);
$node->add_source($cloud, name => 'poor', queue => 'poor');
like(findings('poor'),
	qr/^warning\|queue\|messages come back after 30 seconds/m,
	'a short visibility timeout');
like(findings('poor'),
	qr/^warning\|queue\|the queue has no dead-letter queue\|Give the queue a redrive policy/m,
	'no dead-letter queue');
mends('come back after 30 seconds', qr/^ALTER SERVER poor OPTIONS \(ADD /, source => 'poor');
$node->sql("ALTER SERVER poor OPTIONS (SET visibility_seconds '40')");
mends('come back after 40 seconds', qr/^ALTER SERVER poor OPTIONS \(SET /, source => 'poor');

# The clock.
$cloud->settings(clock_offset => 7200);
like(findings('queue'), qr/^ok\|queue/m, 'a wrong clock is corrected');
like(findings('queue'),
	qr/^warning\|clock\|this server's clock differs from the service's by (7199|7200|7201) seconds\|Synchronize the clock/m,
	'... and said');
$cloud->settings(clock_offset => 0);

# What does not work.
$node->sql("SELECT damoov_pause('queue')");
like(findings('queue'),
	qr/^warning\|state\|the source is paused\|SELECT damoov_resume\('queue'\)$/m, 'a pause');
mends('the source is paused', qr/^SELECT damoov_resume/, source => 'queue');
$node->sql("ALTER SERVER queue OPTIONS (ADD paused 'true')");
mends('the source is paused by its option', qr/^ALTER SERVER queue OPTIONS \(DROP paused\)/, source => 'queue');
my %wrong = (
	wrong_secret => [
		{ secrets => { secret_access_key => 'WrongSecretKeyEXAMPLE' } },
		qr/^error\|credentials\|the signature was refused; the secret access key is wrong.*\|Fill in, and run: ALTER USER MAPPING FOR CURRENT_USER SERVER wrong_secret OPTIONS \(SET access_key_id '\.\.\.', SET secret_access_key '\.\.\.'\)/
	],
	no_queue => [
		{ queue => 'nowhere' },
		qr/^error\|options\|the queue does not exist.*\|Compare the options of server no_queue/
	],
	no_region => [
		{ options => { region => undef } },
		qr/^error\|options\|option "region" is not set.*\|Fill in, and run: ALTER SERVER no_region OPTIONS \(ADD region '\.\.\.'\)/
	],
	closed_port => [
		{ options => { endpoint => "http://127.0.0.1:$closed" } },
		qr/^error\|connection\|could not connect to "127\.0\.0\.1:$closed"\|Allow connections/
	],
	no_role => [
		{
			options => {
				identity => 'assume_role',
				role_arn => 'other',
				identity_endpoint => $cloud->base_url
			}
		},
		qr/^error\|credentials\|could not get credentials from STS: the role may not be assumed/
	]);

for my $name (sort keys %wrong)
{
	my ($options, $expected) = @{ $wrong{$name} };

	$node->add_source($cloud, name => $name, %$options);
	like(findings($name), $expected, "$name: found, with its remedy");
}
$cloud->fault(
	'sqs', 'error',
	code => 'AccessDenied',
	status => 403,
	target => 'GetQueueAttributes');
like(findings('queue'),
	qr/^warning\|queue\|the access key may not read the queue's settings\|Allow "sqs:GetQueueAttributes"/,
	'settings that may not be read');
like($node->error_of("SELECT * FROM damoov_check('nobody')"),
	qr/42704: server "nobody" does not exist/, 'a server that is not there');
like($node->error_of("SELECT * FROM damoov_check('api')"),
	qr/42809: server "api" is not a source of messages that is polled/, 'a server that is no source');

unlike(slurp_file($node->logfile),
	qr/could not receive messages/, 'looking leaves nothing in the log');

# What is missing is added, where it belongs; what is wrong is set.
my ($options, $secrets) = $cloud->access('sqs', 'queue');
mends('"region" is not set', qr/ALTER SERVER no_region/, source => 'no_region', fill => ['eu-west-1']);
mends('signature was refused', qr/ALTER USER MAPPING/, source => 'wrong_secret', fill => [ @$secrets{qw(access_key_id secret_access_key)} ]);
$node->add_source($cloud, name => 'no_mapping', queue => 'queue', mapping => 0);
mends('user mapping has no', qr/CREATE USER MAPPING FOR CURRENT_USER SERVER no_mapping/,
	source => 'no_mapping', fill => [ @$secrets{qw(access_key_id secret_access_key)} ]);
$node->add_source($cloud, name => 'no_secret', queue => 'queue', user => 'PUBLIC', secrets => { secret_access_key => undef });
mends('user mapping has no', qr/ALTER USER MAPPING FOR PUBLIC SERVER no_secret OPTIONS \(ADD secret_access_key/,
	source => 'no_secret', fill => [ $secrets->{secret_access_key} ]);
$node->sql("ALTER USER MAPPING FOR PUBLIC SERVER no_secret OPTIONS (DROP secret_access_key, DROP access_key_id, ADD secret_file 'nowhere')");
like(remedy('secrets_dir', 'no_secret'), qr/^Fill in, and run: ALTER SYSTEM SET damoov.secrets_dir = '...'; SELECT pg_reload_conf/, 'a secret file needs the directory');
$node->sql("ALTER SYSTEM SET damoov.secrets_dir = '" . PostgreSQL::Test::Utils::tempdir() . "'");
$node->sql('SELECT pg_reload_conf()');
ok($node->poll_query_until('postgres', "SELECT count(*) > 0 FROM damoov_check('no_secret') AS c WHERE c.remedy LIKE 'Correct the file%'"),
	'... and has to be corrected where it is');
$node->sql('ALTER SYSTEM RESET damoov.secrets_dir');
$node->sql('SELECT pg_reload_conf()');
# The api server that a source names, of which there may be several
$node->add_source($cloud, name => 'other_api', queue => 'queue');
$node->sql("ALTER SERVER other_api OPTIONS (ADD api 'nowhere')");
mends('server "nowhere" does not exist', qr/^CREATE SERVER nowhere TYPE 'api'/, source => 'other_api');
$node->sql("ALTER SERVER nowhere OPTIONS (ADD fetch 'procesed')");
mends('"procesed"', qr/ALTER SERVER nowhere OPTIONS \(SET fetch/, source => 'other_api', fill => ['crash']);
$node->sql('DROP SERVER other_api CASCADE; DROP SERVER nowhere');
$node->sql("CREATE SERVER bus TYPE 'servicebus' FOREIGN DATA WRAPPER damoov OPTIONS (endpoint 'https://one.servicebus.windows.net', entity 'q');
	CREATE USER MAPPING FOR CURRENT_USER SERVER bus OPTIONS (connection_string
		'Endpoint=sb://other.servicebus.windows.net/;SharedAccessKeyName=n;SharedAccessKey=V3Jvbmcga2V5IG9mIHRoaXJ0eS10d28gYnl0ZXMuLi4=')");
mends('name different hosts', qr/^ALTER SERVER bus OPTIONS \(DROP endpoint\)/, source => 'bus');
$node->sql("ALTER USER MAPPING FOR CURRENT_USER SERVER bus OPTIONS (ADD shared_access_key_name 'n')");
mends('has both', qr/^ALTER USER MAPPING FOR CURRENT_USER SERVER bus OPTIONS \(DROP connection_string\)/, source => 'bus');
$node->sql("ALTER SERVER bus OPTIONS (DROP entity)");
mends('"endpoint" is not set', qr/ALTER SERVER bus OPTIONS \(ADD endpoint/, source => 'bus', fill => ['https://one.servicebus.windows.net']);
mends('"entity" is not set', qr/ALTER SERVER bus OPTIONS \(ADD entity/, source => 'bus', fill => ['q']);
$node->sql("ALTER EVENT TRIGGER damoov_check_server DISABLE; CREATE SERVER strange TYPE 'kafka' FOREIGN DATA WRAPPER damoov; ALTER EVENT TRIGGER damoov_check_server ENABLE");
like(remedy('type "kafka"', 'strange'), qr/DROP SERVER strange CASCADE$/, 'a type that there is not');
$node->sql('DROP SERVER strange; DROP SERVER bus CASCADE; DROP SERVER no_secret CASCADE; DROP SERVER no_mapping CASCADE');

# A role that operates, and has no right on a server
$node->sql('CREATE ROLE operator LOGIN;
	GRANT USAGE ON SCHEMA damoov TO operator;
	GRANT SELECT ON ALL TABLES IN SCHEMA damoov TO operator;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA damoov TO operator;
	GRANT EXECUTE ON FUNCTION damoov_check(text) TO operator');
my $denied = $node->safe_psql('postgres', q{SELECT finding, remedy FROM damoov_check('queue') WHERE level = 'error'}, extra_params => [ '-U', 'operator' ]);
is($denied, join("\n", map { "permission denied for foreign server $_|GRANT USAGE ON FOREIGN SERVER $_ TO operator" } qw(queue api)), 'a caller without a right');
$node->sql($_) foreach $denied =~ /\|(.*)$/mg;
unlike($node->safe_psql('postgres', q{SELECT finding FROM damoov_check('queue')}, extra_params => [ '-U', 'operator' ]),
	qr/permission denied/, '... gets it');

# What has happened
$node->sql("UPDATE damoov.sources SET state = 'polling', last_poll_at = now() - interval '1 hour' WHERE source = 'queue'");
mends('has not answered since', qr/^CALL damoov_poll\('queue'\)$/, source => 'queue');
$node->sql("INSERT INTO damoov.downloads (kind, object_id, source, priority, state, attempts, last_error, last_error_at)
	VALUES ('object', gen_random_uuid(), 'queue', 10, 'failed', 5, 'no such object', now())");
like(findings(), qr/^warning\|downloads\|1 datasets could not be fetched or stored, the latest: no such object\|/m, 'failed downloads');
mends('datasets could not be fetched', qr/^SELECT damoov_retry_downloads\(\)$/);
$node->sql('DELETE FROM damoov.downloads; DELETE FROM damoov.receipts');
$cloud->publish(['no notification'], queue => 'queue');
$node->poll;
like(findings('queue'), qr/^error\|quarantine\|none of the 1 messages of the last day could be understood: /m, 'a source whose every message fails');
like(findings('queue'), qr/^warning\|quarantine\|1 messages could not be understood\|/m, '... they are in the quarantine');
$node->sql("DROP SERVER $_ CASCADE") for qw(closed_port no_queue no_region no_role poor wrong_secret);
$node->add_source($cloud, name => 'second', queue => 'queue');

# The server as a whole.
like(findings(), qr/^ok\|api\|"\Q${\ $cloud->base_url}\E" can be reached\|$/m,
	'the api server');
is( $node->sql(
		"SELECT string_agg(DISTINCT server, ' ' ORDER BY server) FROM damoov_check()"
	),
	'queue second',
	'all sources are looked at');
like($node->error_of("SELECT * FROM damoov_check('nobody')"),
	qr/42704: server "nobody" does not exist/, 'a server that is not there');

$node->sql("ALTER SERVER api OPTIONS (SET base_url 'http://127.0.0.1:$closed')");
like(findings(),
	qr/^error\|api\|could not connect to "127\.0\.0\.1:$closed"\|.*"base_url"/m,
	'an api server that is not there');
$node->sql("ALTER SERVER api OPTIONS (SET base_url '${\ $cloud->base_url}')");

###########################################################################
# The worker: what is configured, and what runs
###########################################################################

sub set
{
	my ($setting, $value) = @_;
	$node->sql("ALTER SYSTEM SET $setting = '$value'");
	return;
}

sub worker_is_well
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	eventually { rows('^ok\|worker\|a background worker serves this database') } $name;
	is($node->sql('SELECT count(DISTINCT worker_pid), max(worker_problem) FROM damoov.status'), '1|', '... the status says so');
}

sub problem
{
	return $node->sql('SELECT DISTINCT worker_problem FROM damoov.status');
}

is(problem(), 'the database is not in "damoov.databases"', 'the status says what is wrong, too');
mends('^warning\|worker\|no background worker polls for this database', qr/^ALTER SYSTEM SET damoov\.databases = 'postgres'; SELECT pg_reload_conf\(\)$/);
worker_is_well('the worker runs');
set('damoov.databases', 'postgres, "No such"');
$node->reload;
mends('database "No such" of "damoov.databases" does not exist', qr/^CREATE DATABASE "No such"$/);
mends('^warning\|settings\|fsync is off', qr/^ALTER SYSTEM SET fsync = /);
$node->sql('ALTER DATABASE postgres SET damoov.allow_http_loopback = on');
like(remedy('plain http'), qr/^ALTER DATABASE postgres RESET damoov\.allow_http_loopback$/, 'a setting of the database');
mends('plain http', qr/^ALTER DATABASE/) if $node->sql('ALTER SYSTEM SET damoov.allow_http_loopback = off') eq '' && do { $node->reload; 1 };
$node->sql('ALTER SYSTEM RESET damoov.allow_http_loopback');
$node->reload;

# the library, the launcher, a slot for the worker
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "'plpgsql'");
$node->restart;
is(problem(), 'the library is not preloaded', 'a library that is not preloaded');
mends('the library is not preloaded', qr/^ALTER SYSTEM SET shared_preload_libraries = 'plpgsql', 'damoov' -- and restart the server$/, restart => 1);
worker_is_well('... the worker runs again');
for my $scarce ([ 1, 'the launcher does not run' ], [ 2, 'no background worker slot is free (see "max_worker_processes")' ])
{
	my ($slots, $problem) = @$scarce;

	set('max_worker_processes', $slots);
	$node->restart;
	eventually { problem() eq $problem } "with $slots background workers: $problem";
	mends($problem =~ s/ \(.*//r, qr/^ALTER SYSTEM SET max_worker_processes = \d+ -- and restart the server$/, restart => 1);
	worker_is_well('... the worker runs again');
}

# its role; a receive of another server of the same queue would bring what is told of below
$node->sql('DROP SERVER second CASCADE');
set('damoov.role', 'robot');
$node->restart;
eventually { problem() eq 'role "robot" does not exist' } 'a worker that dies at each start says why';
like(remedy('does not stay: role "robot" does not exist'), qr/^Remove the cause/, '... the check says it');
mends('role "robot" of "damoov.role" does not exist', qr/^CREATE ROLE robot LOGIN$/);
$node->sql('ALTER ROLE robot NOLOGIN');
mends('role "robot" of "damoov.role" is not permitted to log in', qr/^ALTER ROLE robot LOGIN$/);
$node->sql('REVOKE CONNECT ON DATABASE postgres FROM PUBLIC');
mends('role "robot" of the worker may not connect', qr/^GRANT CONNECT ON DATABASE postgres TO robot$/);
worker_is_well('a worker of a role runs');
like(findings(), qr/^error\|rights\|role "robot" of the worker lacks DELETE ON TABLE damoov.backfills, [^|]* and \d+ more rights\|/m, '... but lacks all rights');
mends('role "robot" of the worker lacks', qr/^SELECT damoov_grant\('robot', 'worker'\)$/);
is(scalar rows('\|rights\|'), 0, '... until it is given them');
$cloud->publish([ heartbeat(token('driver'), 3) ], queue => 'queue');
eventually { $node->sql('SELECT count(*) FROM damoov.heartbeats') >= 1 } '... and works';
# a right that is missed with the first message
$node->sql('REVOKE INSERT ON damoov.events FROM robot');
$cloud->publish([ heartbeat(token('driver'), 4) ], queue => 'queue');
eventually { rows('^error\|state\|could not store messages: permission denied for table events', 'queue') } 'a source that cannot store anything';
mends('lacks INSERT ON TABLE damoov.events', qr/^SELECT damoov_grant\('robot', 'worker'\)$/);
eventually { !rows('^error\|', 'queue') } '... can, then';
# a worker that may not write at all cannot say so in the status; it says it once in the log
for my $where ('ROLE robot', 'DATABASE postgres')
{
	my $mark = -s $node->logfile;
	my ($changes, $last) = (0, '');
	$node->sql("ALTER $where SET default_transaction_read_only = on; SELECT pg_terminate_backend(damoov.worker_pid())");
	eventually { PostgreSQL::Test::Utils::slurp_file($node->logfile, $mark) =~ /could not process sources and downloads: cannot execute/ } "$where: transactions are read-only";
	eventually {
		my $now = $node->sql('SELECT state_change FROM pg_stat_activity WHERE pid = damoov.worker_pid()');
		$changes++ if $now ne $last;
		$last = $now;
		$changes > 12;
	} '... the worker tries again';
	my %said;
	$said{$_}++ for PostgreSQL::Test::Utils::slurp_file($node->logfile, $mark) =~ /(could not process sources .*)/g;
	is_deeply([ grep { $said{$_} > 1 } keys %said ], [], '... and says so once');
	mends('the worker stores nothing', qr/^SET default_transaction_read_only = off; ALTER $where RESET default_transaction_read_only$/);
	$node->sql('SELECT pg_terminate_backend(damoov.worker_pid())');
	worker_is_well('... and then runs');
}

$node->stop;
$cloud->stop;
done_testing();
