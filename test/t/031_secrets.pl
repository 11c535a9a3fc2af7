# Secrets stay where they are.  A story full of trouble with the most talkative
# log there is; afterwards nothing of a secret is anywhere it could be read.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Cloud;
use Damoov::Node;
use Damoov::Story;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $token = 'SessionTokenEXAMPLE/with+odd==signs';
my $second = 'SecondSessionTokenEXAMPLE';
my $wrong = 'WrongSecretEXAMPLEwithoutMeaning';
my $driver = token('driver');
my $other = token('other');

my $cloud = Damoov::Cloud->new(session_token => $token);
my $node = Damoov::Node->start_new(
	'secrets',
	databases => 'postgres',
	conf => "log_min_messages = debug5\nlog_error_verbosity = verbose");

# Setting them up is the operator's own statement; it must not be logged here.
my $listener = $node->background_psql('postgres');
$listener->query_safe('LISTEN damoov_trip; LISTEN damoov_crash; LISTEN damoov_alert');
$node->add_source($cloud);

my (@activity, @errors);

# Samples what everybody with pg_read_all_stats can see of our processes.
sub watch
{
	push @activity,
	  $node->sql(
		"SELECT backend_type, application_name, query, wait_event FROM pg_stat_activity WHERE backend_type LIKE 'damoov%' OR query LIKE 'CALL%'"
	  );
	return 1;
}

sub error_of
{
	push @errors, $node->error_of($_[0]);
	return $errors[-1];
}

###########################################################################
# The story
###########################################################################

my $story = $cloud->fleet(drivers => 3, trips => 4, points => 20);
eventually {
	watch()
	  && $node->sql('SELECT count(*) FROM damoov.trips') == @{ $story->{trips} }
} 'a fleet with a session token';

# wrong secret, wrong token, unknown key, nothing to reach
my $closed = PostgreSQL::Test::Cluster::get_free_port();
$node->add_source(
	$cloud,
	name => 'wrong_secret',
	secrets => { secret_access_key => $wrong });
$node->add_source(
	$cloud,
	name => 'wrong_token',
	secrets => { session_token => $second });
$node->add_source(
	$cloud,
	name => 'unreachable',
	options => { endpoint => "http://127.0.0.1:$closed" });
for my $source (qw(wrong_secret wrong_token unreachable))
{
	eventually {
		watch()
		  && $node->sql(
			"SELECT last_error IS NOT NULL FROM damoov.status WHERE source = '$source'"
		  ) eq 't'
	} "$source: has an error";
}

# Notifications that are no good, all of them with a credential inside
my $cut = compact(heartbeat($driver, 1));
chop $cut;
$cloud->publish(
	[
		$cut,
		compact({ %{ heartbeat($driver, 2) }, Timestamp => $driver }),
		compact({ %{ heartbeat($driver, 3) }, Event => { $driver => $driver } }),
		compact({ %{ heartbeat($driver, 4) }, Object => $driver }),
		compact({ %{ heartbeat($driver, 5) }, UserId => "$driver$driver" }),
		compact({ %{ heartbeat($driver, 6) }, Event => "New$driver" }),
		qq({"UserId":"$driver","UserId":"$other","Event":"HeartbeatReceived"}),
		qq({"$driver":) x 3000,
		qq(<xml>$driver</xml>)
	],
	raw => 1);

# Datasets that are no good, and addresses that lead away
my $n = 0;
my @notifications;
for my $fault (
	[ 'status', status => 401, body => $driver ],
	[ 'status', status => 410, body => $driver ],
	[ 'html', status => 200 ],
	[ 'truncate' ],
	[ 'drop' ],
	[ 'result_code' ],
	[ 'wrong_encoding' ])
{
	my ($mode, %options) = @$fault;
	my $track = token('bad', ++$n);
	$cloud->dataset($track, $driver, track_document(2));
	$cloud->fault('api', $mode, target => $track, times => undef, %options);
	push @notifications, enriched($driver, $track, 10);
}
my $query = "?trackToken=$driver&secret=$wrong";
push @notifications,
  map { enriched($driver, token('url', ++$n), 10, url => $_) }
  "https://evil.example/$query", "http://127.0.0.1:$closed/$query",
  "https://user:$wrong\@evil.example/$query", $cloud->base_url . "/lost$query";
$cloud->dataset(token('odd'), $driver,
	track_document(2, Distance => $driver, DrivingTips => [$driver]));
push @notifications, enriched($driver, token('odd'), 10);
$cloud->publish(\@notifications);
eventually {
	watch()
	  && $node->sql('SELECT count(*) FROM damoov.quarantine') >= 7
	  && $node->sql(
		'SELECT count(*) FROM damoov.downloads WHERE last_error IS NOT NULL') == $n
} 'bad notifications and datasets are noticed';
watch();

# The doors of SQL, with errors
for my $payload (
	{ %{ heartbeat($driver, 10) }, Timestamp => "never$driver" },
	{ %{ heartbeat($driver, 11) }, UserId => "$driver-x" },
	{ %{ heartbeat($driver, 12) }, Object => $driver })
{
	isnt(
		error_of(
			'SELECT damoov_ingest('
			  . Damoov::Node::quoted(compact($payload)) . ')'),
		'',
		'damoov_ingest() refuses');
}
$node->sql(
	q(CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''not this one''; END'));
$node->sql(
	"CREATE TRIGGER refuse BEFORE INSERT ON damoov.events FOR EACH ROW WHEN (new.sent_text = '${\ moment(13)}') EXECUTE FUNCTION refuse()"
);
my $refused = Damoov::Node::quoted(compact(heartbeat($driver, 13)));
like(error_of("SELECT damoov_ingest($refused)"),
	qr/P0001/, 'the database refuses what damoov_ingest() stores');
like(
	error_of(
		"SELECT damoov_retry(min(quarantine_id), $refused) FROM damoov.quarantine WHERE kind = 'message'"
	),
	qr/P0001/,
	'... and damoov_retry()');
like(error_of("SELECT damoov_retry(0, $refused)"),
	qr/02000/, '... which does not know the entry');
my $good = token('good');
$cloud->dataset($good, $driver, track_document(2));
like(error_of("SELECT damoov_fetch_track('$good', '$driver$driver')"),
	qr/22023/, 'damoov_fetch_track() refuses a device token');
like(error_of("SELECT damoov_fetch_track('$good-', '$driver')"),
	qr/22023/, '... and a track token beside one');
like(error_of("SELECT damoov_fetch_track('$good', '$other')"),
	qr/28000/, '... another one\'s');
like(error_of("SELECT damoov_fetch_track('${\ token('lost')}', '$driver')"),
	qr/HTTP status 404/, '... without a dataset');
$cloud->fault('api', 'html', target => $good, status => 200);
like(error_of("SELECT damoov_fetch_track('$good', '$driver')"),
	qr/22P02/, '... with a wrong one');
$node->sql("SELECT damoov_fetch_track('$good', '$driver')");

# The session token is replaced while the worker polls.
$cloud->settings(session_token => $second);
eventually {
	watch()
	  && $node->sql(
		"SELECT last_error ~ 'session token' FROM damoov.status WHERE source = 'queue'"
	  ) eq 't'
} 'an expired session token is said';
$node->sql(
	"ALTER USER MAPPING FOR CURRENT_USER SERVER queue OPTIONS (SET session_token '$second')"
);
$cloud->publish([ heartbeat($driver, 20) ]);
eventually {
	watch()
	  && $node->sql(
		"SELECT count(*) FROM damoov.events WHERE sent_text = '${\ moment(20)}'")
	  == 1
} '... and the new one is used';
push @errors, $node->psql('postgres', 'CALL damoov_poll(max_seconds => 3)');

###########################################################################
# Where it could be
###########################################################################

my @secrets = (
	Damoov::Cloud::SECRET, $wrong, $token, $second,
	$driver, $other, @{ $story->{drivers} },
	'trackToken=', 'Signature=', 'AWS4-HMAC-SHA256', 'X-Amz-Security-Token');
my $pattern = join '|',
  map { (quotemeta, quotemeta(tr/-//dr)) } @secrets;

sub has_no_secret
{
	my ($where, $text) = @_;
	my %found = map { ($_ => 1) } $text =~ /^(.*(?:$pattern).*)$/gmi;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is(scalar keys %found, 0, "no secret in $where");
	diag($_) for (map { substr $_, 0, 300 } sort keys %found)[ 0 .. (keys %found > 4 ? 4 : keys(%found) - 1) ];
	return;
}

# a secret behind a mistyped name, and in the place of an option of the server
push @errors, map { $node->error_of($_) } (
	'CREATE SERVER mistyped TYPE $$sqs$$ FOREIGN DATA WRAPPER damoov OPTIONS (secret_acces_key ' . "'$wrong')",
	'CREATE SERVER mistyped TYPE $$sqs$$ FOREIGN DATA WRAPPER damoov OPTIONS (connection_string ' . "'$wrong')");
is($node->log_lines('ERROR:.* option "(secret_acces_key|connection_string)"', 0), 2, 'options that a server does not have are in the log');
has_no_secret('the log', slurp_file($node->logfile));
has_no_secret('pg_stat_activity', join "\n", @activity);
has_no_secret('errors', join "\n", map { $_ // '' } @errors);
has_no_secret('damoov.status',
	$node->sql('SELECT to_jsonb(s) FROM damoov.status AS s'));
has_no_secret('damoov.sources',
	$node->sql('SELECT to_jsonb(s) FROM damoov.sources AS s'));
has_no_secret(
	'errors of downloads',
	$node->sql('SELECT last_error, last_status FROM damoov.downloads'));
has_no_secret('reasons of the quarantine',
	$node->sql('SELECT source, reason, sqlstate, message FROM damoov.quarantine')
);
has_no_secret('notes',
	$node->sql('SELECT notes FROM damoov.events UNION ALL SELECT notes FROM damoov.trips')
);
has_no_secret(
	'trips',
	$node->sql(
		"SELECT to_jsonb(t) FROM damoov.trips AS t WHERE track_token <> '${\ token('odd')}'"
	));
cmp_ok(scalar @activity, '>', 5, '... looked at often enough');

# NOTIFY goes to everybody: ids and counts only
my $heard = $listener->query('SELECT 1');
my @payloads = $heard =~ /notification "damoov_\w+" with payload "(.*)" received/g;
cmp_ok(scalar @payloads, '>', 0, 'the channel has spoken');
for my $payload (@payloads)
{
	my $message = decode_json($payload);
	my $odd = grep { ref $_ ? grep { /\D/ } @$_ : !/^(\d+|[a-z_]+)$/ }
	  values %$message;
	ok($odd == 0 && length $payload < 8000, '... of ids and counts only')
	  or diag($payload);
}
$listener->quit;

$node->stop;
done_testing();
