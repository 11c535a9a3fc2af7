# Pushes of SNS through damoov_webhook(): what is signed for a listed topic is
# stored, and what is forged, altered or replayed changes nothing.

use strict;
use warnings;

use Cwd qw(abs_path);
use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Node;
use Damoov::Stage;
use Damoov::Story;
use JSON::PP;
use POSIX qw(strftime);
use PostgreSQL::Test::Utils;
use Test::More;

my $directory = abs_path(PostgreSQL::Test::Utils::tempdir());
my $json = JSON::PP->new->canonical->allow_nonref;
my $topic = 'arn:aws:sns:eu-west-1:123456789012:damoov';
# not preloaded at first: each session knows nothing of what others have asked for
my ($cloud, $node) = stage('webhook', preload => 0);
my $driver = driver();
my $url = $cloud->base_url;

###########################################################################
# Certificates
###########################################################################

# Options: host, bits, algorithm, validity.
sub certificate
{
	my ($name, %options) = @_;
	my $host = $options{host} // 'sns.amazonaws.com';
	my @key = $options{curve}
	  ? ('ec', '-pkeyopt', "ec_paramgen_curve:$options{curve}")
	  : ('rsa:' . ($options{bits} // 2048));

	PostgreSQL::Test::Utils::system_or_bail('openssl', 'req', '-newkey', @key,
		'-nodes', '-keyout', "$directory/$name.key", '-out', "$directory/$name.csr",
		'-subj', "/CN=$host", '-addext', "subjectAltName=DNS:$host");
	PostgreSQL::Test::Utils::system_or_bail('openssl', 'x509', '-req', '-in',
		"$directory/$name.csr", '-signkey', "$directory/$name.key", '-out',
		"$directory/$name.crt", '-copy_extensions', 'copy',
		@{ $options{validity} // [ '-days', 30 ] });
	$cloud->certificate($name, slurp_file("$directory/$name.crt"));
	return;
}

# newer releases refuse a negative number of days and take dates instead
my ($major, $minor) = `openssl version` =~ /^OpenSSL (\d+)\.(\d+)/;
my @over = $major > 3 || ($major == 3 && $minor >= 4)
  ? ('-not_before', '20240101000000Z', '-not_after', '20240201000000Z') : ('-days', -1);

certificate('good');
certificate('regional', host => 'sns.eu-west-1.amazonaws.com');
certificate('expired', validity => \@over);
certificate('stranger', host => 'sns.evil.example');
certificate('wildcard', host => '*.amazonaws.com');
certificate('short', bits => 1024);
certificate('curve', curve => 'prime256v1');
$cloud->certificate('nonsense', "-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n");
$cloud->certificate('encrypted', "-----BEGIN CERTIFICATE-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\nAAAA\n-----END CERTIFICATE-----\n");

sub signed
{
	my (%options) = @_;
	my $key = delete $options{key} // $options{certificate} // 'good';
	return $cloud->signed(certificate => 'good', key_file => "$directory/$key.key", %options);
}

# A signed notification about a heartbeat of ours.
my $beats = 0;

sub beat
{
	my (%options) = @_;
	my $members = { Message => compact(heartbeat($driver, ++$beats)), %{ delete $options{members} // {} } };
	return signed(%options, members => $members);
}

###########################################################################
# Pushing
###########################################################################

sub call
{
	my ($body, $headers) = @_;
	utf8::encode($body) if utf8::is_utf8($body);
	return sprintf "damoov_webhook('\\x%s', %s)", unpack('H*', $body),
	  Damoov::Node::quoted($json->encode($headers // { 'x-amz-sns-message-type' => 'Notification' }));
}

# "status body" of the answer
sub push_
{
	my ($body, $headers) = @_;
	return value("SELECT a ->> 'status', a ->> 'body' FROM " . call($body, $headers) . ' AS a');
}

$node->sql(<<'SQL');
CREATE FUNCTION snapshot(without text[] DEFAULT '{}') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    r record;
    part text;
    result text := '';
BEGIN
    FOR r IN SELECT oid::regclass AS name, relname, relkind FROM pg_class
        WHERE relnamespace = 'damoov'::regnamespace AND relkind IN ('r', 'S') AND relname::text <> ALL (without)
            AND (relkind = 'r' OR without = '{}') ORDER BY relname
    LOOP
        EXECUTE format('SELECT coalesce(string_agg(t.t::text, E''\n'' ORDER BY t.t::text), '''') FROM (SELECT %s FROM %s AS t) AS t (t)',
            CASE r.relkind WHEN 'r' THEN 't' ELSE 'last_value' END, r.name) INTO part;
        result := result || r.relname || ': ' || part || E'\n';
    END LOOP;
    RETURN result;
END
$$;
SQL

sub changes_nothing
{
	my ($what, $body, $expected, $headers) = @_;
	my $before = value('SELECT snapshot()');
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	like(push_($body, $headers), $expected, $what);
	is(value('SELECT snapshot()'), $before, '... and changes nothing');
	return;
}

is(push_(beat()), '404|{"error": "there is no server of type \"webhook\""}', 'off without a server');

$node->sql("CREATE SERVER push TYPE 'webhook' FOREIGN DATA WRAPPER damoov OPTIONS (topic_arns 'arn:aws:sns:eu-west-1:123456789012:other, $topic', endpoint '$url')");
$node->add_api($cloud);
is(value("SELECT state, last_error FROM damoov.status WHERE source = 'push'"), 'listening|', 'a server is listening');

###########################################################################
# What is signed is stored
###########################################################################

my $stored = '200|{"stored": 1, "duplicate": 0, "unknown": 0, "control": 0, "quarantined": 0}';
for my $version ('1', '2')
{
	is(push_(beat(members => { SignatureVersion => $version })), $stored, "SignatureVersion $version");
}
is(push_(beat(members => { Subject => 'with a subject, Ünïcode' })), $stored, 'with a Subject');
is(push_(beat(certificate => 'regional')), $stored, 'a certificate for the regional host');
is(push_(beat(members => { Timestamp => strftime('%Y-%m-%dT%H:%M:%S.000Z', gmtime(time - 3600)) })),
	$stored, 'the last retry, an hour later');
is(push_(beat(members => { Timestamp => strftime('%Y-%m-%dT%H:%M:%S.000Z', gmtime(time + 7200)) })),
	$stored, 'our clock is behind');
my $null_subject = beat();
$null_subject =~ s/"Message"/"Subject" : null,\n  "Message"/;
is(push_($null_subject), $stored, 'Subject null counts as absent');
is(push_(signed(members => { Message => compact([ map { heartbeat($driver, $_) } 100, 101 ]) })),
	$stored =~ s/"stored": 1/"stored": 2/r, 'an array in one message');
is(push_(signed(members => { Message => 'hello from the console' })),
	'200|{"stored": 0, "duplicate": 0, "unknown": 0, "control": 0, "quarantined": 1}', 'no JSON: quarantined, and taken');
is(push_(signed(type => 'UnsubscribeConfirmation')),
	'200|{"stored": 0, "duplicate": 0, "unknown": 0, "control": 1, "quarantined": 0}', 'unsubscribed: kept as control');
is(value("SELECT DISTINCT source FROM damoov.events"), 'push', 'the source is the server');
is(value("SELECT last_message_at > now() - interval '1 hour' FROM damoov.status WHERE source = 'push'"),
	't', '... and the status shows that it lives');
is(value('SELECT bool_and(balanced) FROM damoov.ledger'), 't', 'the ledger balances');

# one session fetches a certificate once
my $mark = $cloud->last_request;
is(value('SELECT count(*) FROM (' . join(' UNION ALL ', map { 'SELECT ' . call(beat()) } 1 .. 3) . ') AS x'),
	3, 'three in one session');
is($cloud->count_requests(since => $mark, target => 'certificate'), 1, '... need the certificate once');
my ($request) = $cloud->requests(since => $mark, target => 'certificate');
is($request->{path}, '/SimpleNotificationService-good.pem', '... without anything behind its name');

###########################################################################
# A replay
###########################################################################

my $body = beat();
is(push_($body), $stored, 'a push');
my $before = value("SELECT snapshot('{receipts,redeliveries}')");
is(push_($body), '200|{"stored": 0, "duplicate": 1, "unknown": 0, "control": 0, "quarantined": 0}', '... again');
is(value("SELECT snapshot('{receipts,redeliveries}')"), $before, '... is a duplicate and changes nothing');
changes_nothing('an old one', beat(members => { Timestamp => '2024-05-14T16:01:19.120Z' }), qr/^403\|.*too old/);
changes_nothing('one without a time', beat(members => { Timestamp => 'now' }), qr/^403\|.*too old/);

###########################################################################
# Every signed member altered in turn
###########################################################################

my %other = (
	Message => compact(heartbeat($driver, 999)),
	MessageId => token('mess'),
	Subject => 'another',
	SubscribeURL => 'https://evil.example/',
	Timestamp => strftime('%Y-%m-%dT%H:%M:%S.999Z', gmtime),
	Token => 'f' x 64,
	TopicArn => 'arn:aws:sns:eu-west-1:123456789012:other',
	Type => 'UnsubscribeConfirmation');

sub altered
{
	my ($text, $name, $value) = @_;
	my $members = $json->decode($text);
	$members->{$name} = $value;
	delete $members->{$name} unless defined $value;
	return $json->encode($members);
}

for my $version ('1', '2')
{
	my %members = (SignatureVersion => $version);
	my $notification = beat(members => { %members, Subject => 'one' });
	my $confirmation = signed(type => 'SubscriptionConfirmation', members => \%members);

	for my $name (qw(Message MessageId Subject Timestamp TopicArn))
	{
		changes_nothing("version $version, another $name", altered($notification, $name, $other{$name}), qr/^403\|.*signature/);
	}
	changes_nothing("version $version, Subject taken away", altered($notification, 'Subject'), qr/^403\|.*signature/);
	for my $name (qw(Message MessageId SubscribeURL Timestamp Token TopicArn Type))
	{
		changes_nothing("version $version, confirmation with another $name",
			altered($confirmation, $name, $other{$name}), qr/^403\|.*signature/);
	}
	changes_nothing("version $version, a notification become a confirmation",
		altered(altered(altered($notification, 'Type', 'SubscriptionConfirmation'), 'Token', 'x'), 'SubscribeURL', 'x'),
		qr/^403\|.*signature/);
}
my $plain = beat();
changes_nothing('a Subject added', altered($plain, 'Subject', 'x'), qr/^403\|.*signature/);
changes_nothing('the other version', altered($plain, 'SignatureVersion', '1'), qr/^403\|.*signature/);
changes_nothing('version 3', altered($plain, 'SignatureVersion', '3'), qr/^403\|.*SignatureVersion/);
changes_nothing('version as a number', altered($plain, 'SignatureVersion', 2), qr/^403\|.*not a string/);
changes_nothing('no signature', altered($plain, 'Signature'), qr/^403\|.*has no/);
changes_nothing('an empty signature', altered($plain, 'Signature', ''), qr/^403\|.*signature/);
changes_nothing('a signature that is no base64', altered($plain, 'Signature', '!'), qr/^403\|.*signature/);
changes_nothing('a huge signature', altered($plain, 'Signature', 'A' x 100_000), qr/^403\|.*signature/);
changes_nothing('a signature of another message', altered($plain, 'Signature', $json->decode(beat())->{Signature}), qr/^403\|.*signature/);
changes_nothing('another type', altered($plain, 'Type', 'Other'), qr/^403\|.*Type/);
my $lines = beat();
changes_nothing('a line feed moved from one member to the next',
	altered(altered($lines, 'Message', 'x'), 'MessageId', "y\nMessageId\nz"), qr/^403\|.*signature/);
changes_nothing('a member twice, the first one signed', $plain =~ s/\n\}$/,\n  "Message" : "{}"\n}/r, qr/^403\|.*twice/);
changes_nothing('a member twice, the last one signed', $plain =~ s/^\{/{"Message" : "{}",/r, qr/^403\|.*twice/);
changes_nothing('a member twice, once null', $plain =~ s/^\{/{"TopicArn" : null,/r, qr/^403\|.*twice/);
changes_nothing('Event beside the envelope', $plain =~ s/^\{/{"Event" : "HeartbeatReceived",/r, qr/^403\|.*neither signed/);
changes_nothing('in an array', "[$plain]", qr/^403\|.*neither signed/);
changes_nothing('in a JSON string', $json->encode($plain), qr/^403\|.*neither signed/);
is(push_($plain), $stored, 'what was altered all the time is stored as it was signed');

###########################################################################
# Other keys and certificates
###########################################################################

changes_nothing('another key', beat(key => 'stranger'), qr/^403\|.*signature/);
changes_nothing("an $_->[0] certificate", beat(certificate => $_->[0]), $_->[1])
  for ([ expired => qr/^403\|.*expired/ ], [ stranger => qr/^403\|.*issued/ ],
	[ wildcard => qr/^403\|.*issued/ ], [ short => qr/^403\|.*sound/ ], [ curve => qr/^403\|.*sound/ ]);
changes_nothing("a $_ certificate", beat(certificate => $_, key => 'good'), qr/^403\|.*cannot be read/) for qw(nonsense encrypted);
changes_nothing('a certificate that is not there', beat(certificate => 'missing', key => 'good'), qr/^403\|.*does not exist/);

# addresses that are not exactly that of the topic's certificates are never asked
my $host = 'https://sns.eu-west-1.amazonaws.com';
my $name = '/SimpleNotificationService-good.pem';
my @urls = (
	"http://sns.eu-west-1.amazonaws.com$name", "https://sns.eu-west-1.amazonaws.com:443$name",
	"https://sns.eu-west-1.amazonaws.com.$name", "https://sns.eu-west-1.amazonaws.com\@evil.example$name",
	"https://user:pass\@sns.eu-west-1.amazonaws.com$name", "https://sns.eu-west-2.amazonaws.com$name",
	"https://sns.s3-us-west-2.amazonaws.com$name", "https://sns.eu-west-1.amazonaws.com.evil.example$name",
	"https://sns.eu-west-1.amazonaws.com.cn$name", "https://snsxeu-west-1.amazonaws.com$name",
	"https://evil.example/sns.eu-west-1.amazonaws.com$name", "https://sns.eu-west-1.amazonaws.com\\$name",
	"$host$name?x=1", "$host$name#x", "$host$name/", "$host/$name", "$host/x$name", "$host/../SimpleNotificationService-good.pem",
	"$host/SimpleNotificationService-../x.pem", "$host/SimpleNotificationService-a%2fb.pem", "$host/SimpleNotificationService-.pem",
	"$host/SimpleNotificationService-good.pem\n", "$host/SimpleNotificationService-good.PEM", "$host/simplenotificationservice-good.pem",
	"$host/SimpleNotificationService-good.pem.exe", "$host/bucket/good.pem", " $host$name", "HTTPS://sns.eu-west-1.amazonaws.com$name",
	"$host/SimpleNotificationService-" . ('a' x 65) . '.pem', "$url$name", 'file:///etc/passwd', '', 'x' x 10_000);
$mark = $cloud->last_request;
changes_nothing("certificate at " . substr($_, 0, 80), beat(members => { SigningCertURL => $_ }), qr/^403\|.*no address of SNS/) for @urls;
is($cloud->count_requests(since => $mark), 0, 'none of them was asked');

###########################################################################
# Other topics
###########################################################################

$mark = $cloud->last_request;
for my $arn ('arn:aws:sns:eu-west-1:666666666666:damoov', "$topic ", uc $topic, "$topic.fifo", '', ',', 'arn')
{
	changes_nothing("topic \"$arn\"", beat(members => { TopicArn => $arn }), qr/^403\|.*not listed/);
}
is($cloud->count_requests(since => $mark), 0, 'nothing was asked for them');

###########################################################################
# Nothing is lost when the certificate cannot be had
###########################################################################

$body = beat();
$cloud->fault('sns', 'error', target => 'certificate', status => 500);
changes_nothing('SNS is out of order', $body, qr/^503\|.*could not be fetched/);
$cloud->fault('sns', 'drop', target => 'certificate');
changes_nothing('SNS hangs up', $body, qr/^503\|.*could not be fetched/);
$cloud->fault('sns', 'html', target => 'certificate', status => 302);
changes_nothing('SNS sends elsewhere', $body, qr/^503\|.*could not be fetched/);
$mark = $cloud->last_request;
$cloud->fault('sns', 'error', target => 'certificate');
is(value("SELECT string_agg(a ->> 'status', ' ') FROM (" . join(' UNION ALL ', map { 'SELECT ' . call($body) } 1 .. 5) . ') AS x (a)'),
	'503 503 503 503 503', 'five in one session');
is($cloud->count_requests(since => $mark, target => 'certificate'), 1, '... ask once for a while');
is(push_($body), $stored, 'tried again it is stored');

$node->sql("SELECT damoov_pause('push')");
changes_nothing('a paused source', beat(), qr/^503\|.*paused/);
is(value("SELECT state FROM damoov.status WHERE source = 'push'"), 'paused', '... says so');
$node->sql("SELECT damoov_resume('push')");
is(push_(beat()), $stored, '... and takes pushes again');

$body = beat();
my $blocker = $node->background_psql('postgres');
$blocker->query_safe('BEGIN; LOCK damoov.events IN ACCESS EXCLUSIVE MODE');
is(value("SET lock_timeout = 100; SELECT a ->> 'status' FROM " . call($body) . ' AS a'), '503', 'the table is locked: try again');
$blocker->query_safe('ROLLBACK');
$blocker->quit;
is(push_($body), $stored, '... is stored then');

###########################################################################
# A stand-in counts only in tests
###########################################################################

$node->sql("ALTER SERVER push OPTIONS (SET endpoint 'https://evil.example')");
changes_nothing('another host by option', beat(), qr/^503\|.*server log/);
is(scalar $node->log_lines(qr/could not accept push: option "endpoint" of a webhook server is for tests/), 1, '... which the log explains');
$node->sql("ALTER SERVER push OPTIONS (SET endpoint '$url')");
is(value("SET damoov.allow_http_loopback = off; SELECT a ->> 'status' FROM " . call(beat()) . ' AS a'),
	'503', 'without the setting the stand-in is not asked');
is(value('SET damoov.allow_http_loopback = on; SELECT ' . call(beat()) . "->> 'status';"
		. "SET damoov.allow_http_loopback = off; SELECT " . call(beat()) . "->> 'status'"),
	"200\n503", '... nor is its certificate remembered');

###########################################################################
# Subscriptions
###########################################################################

sub subscription
{
	return value("SELECT state, attempts, token IS NULL, last_error FROM damoov.subscriptions ORDER BY subscription_id DESC LIMIT 1");
}

changes_nothing('a confirmation of a stranger', signed(type => 'SubscriptionConfirmation', key => 'stranger'), qr/^403\|/);
$mark = $cloud->last_request;
$body = signed(type => 'SubscriptionConfirmation', members => { SubscribeURL => "$url/evil" });
is(push_($body), '200|{"stored": 0, "duplicate": 0, "unknown": 0, "control": 1, "quarantined": 0}', 'a subscription asks to be confirmed');
is(subscription(), 'waiting|0|f|', '... waits');
is($cloud->count_requests(since => $mark, target => 'confirm'), 0, '... and nobody is asked from inside the push');
$node->poll(2);
is(subscription(), 'confirmed|1|t|', 'CALL damoov_poll() confirms it');
is_deeply([ $cloud->confirmed ], [ $json->decode($body)->{Token} ], '... by the token');
is($cloud->count_requests(since => $mark, path => qr/evil/), 0, '... and never at the message\'s own address');
$before = value("SELECT snapshot('{receipts,redeliveries}')");
push_($body);
$node->poll(2);
is(value("SELECT snapshot('{receipts,redeliveries}')"), $before, 'a replayed one changes nothing');
is($cloud->confirmed, 1, '... and is not confirmed again');

# SNS refuses, or the topic is taken off the list meanwhile
$cloud->fault('sns', 'error', target => 'confirm', status => 400, code => 'InvalidParameter');
push_(signed(type => 'SubscriptionConfirmation'));
$node->poll(2);
is(subscription(), 'waiting|1|f|SNS answered with status 400 (InvalidParameter)', 'a refusal is kept, without SNS\'s words');
$node->sql("ALTER SERVER push OPTIONS (SET topic_arns 'arn:aws:sns:eu-west-1:123456789012:other')");
$node->sql('UPDATE damoov.subscriptions SET due_at = now()');
$node->poll(2);
is(subscription(), 'waiting|2|f|topic is not listed in option "topic_arns"', 'a topic that is not listed any more is not confirmed');
$node->sql("UPDATE damoov.subscriptions SET due_at = now(), requested_at = now() - interval '3 days' WHERE state = 'waiting'");
$node->poll(2);
is(subscription(), 'failed|3|t|topic is not listed in option "topic_arns"', '... and is given up after two days');
is(value("SELECT count(*) FROM damoov.subscriptions WHERE state = 'waiting'"), 0, 'none waits');
$node->sql("ALTER SERVER push OPTIONS (SET topic_arns '$topic')");

# three at once in one call; then the worker by itself
push_(signed(type => 'SubscriptionConfirmation')) for 1 .. 3;
$node->poll(2);
is(scalar(my @three = $cloud->confirmed), 4, 'several are confirmed in one call');
like($node->error_of("CALL damoov_poll('push')"), qr/^42809: server "push" is not a source of messages that is polled/, 'a webhook is not polled');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'damoov'\ndamoov.databases = 'postgres'");
$node->restart;
eventually { value('SELECT damoov.worker_pid() IS NOT NULL') eq 't' } 'the worker starts';
push_(signed(type => 'SubscriptionConfirmation'));
eventually { subscription() eq 'confirmed|1|t|' } '... and confirms a subscription';
is(value("SELECT count(*) FROM damoov.sources WHERE source = 'push' AND last_error IS NOT NULL"), 0, '... and does not poll the webhook');

###########################################################################
# What strangers can make us do
###########################################################################

my $forged = 0;

# Each names a certificate that nobody has named before.
sub forge
{
	return beat(key => 'stranger', members =>
		{ SigningCertURL => "$host/SimpleNotificationService-forged" . ++$forged . '.pem' });
}

# Returns how many were answered with each status.
sub in_one_session
{
	return value('SELECT string_agg(n || $$ x $$ || status, $$, $$ ORDER BY status) FROM (SELECT a ->> $$status$$, count(*) FROM ('
		  . join(' UNION ALL ', map { 'SELECT ' . call($_) } @_) . ') AS x (a) GROUP BY 1) AS y (status, n)');
}

sub refusals
{
	my ($start, $reason) = @_;
	return scalar(() = substr(slurp_file($node->logfile), $start) =~ /LOG:  could not accept push: $reason/g);
}

certificate('later');
$node->restart;
my $start = -s $node->logfile;
$mark = $cloud->last_request;
is(push_(beat(certificate => 'regional')), $stored, 'a certificate that is known');
push_(forge()) for 1 .. 12;
is($cloud->count_requests(since => $mark, target => 'certificate'), 5, '... and twelve strangers in as many sessions: five are asked for in all');
is(in_one_session(map { forge() } 1 .. 12), '12 x 503', '... and for the next ones none, as long as they cannot be told from others');
like(push_(beat(certificate => 'later')), qr/^503\|.*too many/, '... be it a genuine one that is not known');
is(in_one_session(map { beat(key => 'stranger', certificate => 'regional') } 1 .. 12), '12 x 403', 'forged ones that name a known one are refused by it');
is(push_(beat(certificate => 'regional')), $stored, '... and genuine ones are stored, in a session that has asked for none');
is($cloud->count_requests(since => $mark, target => 'certificate'), 5, '... so that still no more is asked for');
is(refusals($start, $_->[1]), 1, "the log has one line for $_->[0]")
  for [ 'certificates that do not exist', 'certificate of the SNS message does not exist' ],
  [ 'those that are not asked for', 'too many certificates' ], [ 'wrong signatures', 'signature of the SNS message' ];
$start = -s $node->logfile;
in_one_session(map { ('{}', altered(beat(), 'TopicArn', 'x')) } 1 .. 50);
is(refusals($start, 'push is neither'), 1, 'a hundred pushes without a secret or a known topic: a line');
is(refusals($start, ''), 2, '... for each of both');

# the same in a session without shared memory
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
$mark = $cloud->last_request;
$start = -s $node->logfile;
is(in_one_session(map { forge() } 1 .. 12), '5 x 403, 7 x 503', 'twelve strangers in a session: five are looked at');
is($cloud->count_requests(since => $mark, target => 'certificate'), 5, '... by asking five times');
is(refusals($start, ''), 2, '... with a line for each reason');
is(push_(beat()), $stored, 'another session is not affected');

###########################################################################
# Nothing of it in the log
###########################################################################

$node->sql("CREATE USER MAPPING FOR CURRENT_USER SERVER push OPTIONS (webhook_secret 'hunter2hunter2')");
my $headers = { Authorization => 'Bearer hunter2hunter2' };
my $bare = compact(heartbeat($driver, 500));
is(push_($bare, $headers), $stored, 'a shared secret');
like($node->error_of('BEGIN READ ONLY; SELECT ' . call($bare, $headers)), qr/^25006:/, 'a transaction that cannot write');
like($node->error_of('SELECT ' . (call($bare) =~ s/, '.*/, '["hunter2hunter2"]')/r)), qr/^22023:/, 'headers that are none');
my $log = slurp_file($node->logfile);
unlike($log, qr/$driver|secret words|hunter2|[0-9a-f]{64}/, 'neither tokens, secrets, bodies nor what services say are in the log');
unlike($log, qr/ERROR:.*webhook.*\n.*STATEMENT/, '... nor statements');

$node->stop;
done_testing();
