# Bad input at both doors, by the table in test/lib/Damoov/BadInput.pm.
#
# The SQL door comes first, each case by itself and undone.  Then everything
# goes through one queue, many in a poll: nothing raises, each message ends as
# the table says, and what stands behind them is stored.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::BadInput qw(cases USER TRACK);
use Damoov::Cloud;
use Damoov::Node;
use Damoov::Story;
use Encode;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $cloud = Damoov::Cloud->new;
my $node = Damoov::Node->start_new('bad_input', conf => "damoov.max_document_size = 1MB\ntimezone = 'America/St_Johns'");
my @cases = cases();

###########################################################################
# Each case gets ids of its own
###########################################################################

sub own_ids
{
	my ($prefix, $text) = @_;
	my $ids = qr/5b0c7d1e|c4a8f0d2|0d9e8f7a|9b1e2f30/i;

	$text =~ s/($ids)/$1 =~ m{[A-Z]} ? uc $prefix : $prefix/ge;
	$text =~ s/BASE/$cloud->base_url/ge;
	return $text;
}

sub offer_dataset
{
	my ($case) = @_;
	my $document = $case->{dataset};

	$cloud->dataset($case->{track}, $case->{user}, ref $document ? track_document(1) : $document);
	$cloud->fault('api', $document->[0], target => $case->{track}, times => undef,
		$document->[0] eq 'bomb' ? (megabytes => 8) : ())
	  if ref $document;
	return;
}

my $number = 0;
for my $case (@cases)
{
	$case->{number} = ++$number;
	$case->{prefix} = sprintf 'd%07x', $number;
	@$case{qw(body first user track)} =
	  map { own_ids($case->{prefix}, $_) } $case->{body}, $case->{first} // '[]', USER, TRACK;
	offer_dataset($case) if $case->{dataset};
}
my %rows = map { ($_->{row} => 1) } @cases;
is(join(' ', grep { !$rows{"B$_"} } 1 .. 86), '74 79', 'the table has every row but two that have no message');

###########################################################################
# The SQL door
###########################################################################

$node->add_source($cloud, options => { wait_seconds => 0 });
$node->sql("ALTER SERVER api OPTIONS (allowed_hosts '*.telematicssdk.com, *.damoov.com, *.localhost')");

my $table = "$PostgreSQL::Test::Utils::tmp_check/bad_input_$$";
open my $file, '>', $table or die "could not write $table: $!";
for my $case (@cases)
{
	my $shows = '\N';
	if (my ($relation, $expression) = @{ $case->{shows} })
	{
		$shows = "SELECT ($expression)::text FROM damoov.$relation AS t WHERE t.user_id IN (SELECT u.user_id FROM damoov.users AS u WHERE u.device_token::text LIKE '$case->{prefix}%')";
		$shows =~ s/\\/\\\\/g;
	}
	print $file join("\t",
		$case->{number}, $case->{prefix}, '\\\\x' . unpack('H*', $case->{body}),
		$case->{dataset} ? ($case->{user}, $case->{track}) : ('\N', '\N'),
		$case->{first}, $shows)
	  . "\n";
}
close $file or die "could not write $table: $!";

$node->sql(<<"SQL");
CREATE SCHEMA t;
CREATE TABLE t.cases (n integer, prefix text, body bytea, device_token text, track_token text, first jsonb, shows text);
COPY t.cases FROM '$table';

-- how a case's messages have ended
CREATE FUNCTION t.state(c t.cases) RETURNS text LANGUAGE sql AS \$\$
    SELECT concat_ws(', ',
        (SELECT string_agg(e.outcome || coalesce(' (' || array_to_string(e.notes, '; ') || ')', ''), ', ' ORDER BY e.event_id)
         FROM damoov.events AS e
         LEFT JOIN damoov.users AS u USING (user_id)
         WHERE coalesce(u.device_token, e.object_id)::text LIKE c.prefix || '%'),
        (SELECT string_agg(q.reason, ', ' ORDER BY q.quarantine_id)
         FROM damoov.quarantine AS q
         WHERE q.body_digest = sha256(c.body)
            OR (length(q.body) < 10000 AND lower(replace(encode(q.body, 'escape'), '-', '')) LIKE '%' || c.prefix || '%')))
\$\$;
CREATE FUNCTION t.shown(c t.cases) RETURNS text LANGUAGE plpgsql AS \$\$
DECLARE
    result text;
BEGIN
    IF c.shows IS NOT NULL THEN
        EXECUTE c.shows INTO result;
    END IF;
    RETURN result;
END
\$\$;
-- the SQL door; undone
CREATE FUNCTION t.try(c t.cases, OUT result text, OUT message text, OUT shown text) LANGUAGE plpgsql AS \$\$
DECLARE
    document jsonb;
BEGIN
    IF c.track_token IS NULL THEN
        document := convert_from(c.body, 'UTF8')::jsonb;
    END IF;
    message := '';
    IF c.track_token IS NULL THEN
        PERFORM public.damoov_ingest(c.first) WHERE c.first <> '[]';
        PERFORM public.damoov_ingest(document);
        result := t.state(c);
    ELSE
        PERFORM public.damoov_fetch_track(c.track_token, c.device_token);
        result := 'stored';
    END IF;
    shown := t.shown(c);
    RAISE SQLSTATE 'ZZ000';
EXCEPTION
    WHEN SQLSTATE 'ZZ000' THEN
        NULL;
    WHEN OTHERS THEN
        result := SQLSTATE;
        -- jsonb's own words are not ours
        message := CASE WHEN message IS NOT NULL THEN SQLERRM END;
END
\$\$;
-- the worker's, after a poll
CREATE FUNCTION t.ended(c t.cases, OUT result text, OUT message text, OUT shown text, OUT sqlstate text) LANGUAGE sql AS \$\$
    SELECT CASE
        WHEN c.track_token IS NULL THEN t.state(c)
        WHEN EXISTS (SELECT FROM damoov.trips AS p WHERE p.track_token = c.track_token::uuid) THEN 'stored'
        ELSE (SELECT d.state || CASE WHEN d.state = 'waiting' THEN '' ELSE ': ' || d.last_error END
            FROM damoov.downloads AS d WHERE d.object_id = c.track_token::uuid)
    END, q.message, t.shown(c), q.sqlstate
    FROM (SELECT) AS x
    LEFT JOIN damoov.quarantine AS q ON q.body_digest = sha256(c.body)
\$\$;
SQL

# What a function of t says about each case.
sub ask
{
	my ($function) = @_;
	my $lines = $node->sql(
		"SELECT to_jsonb(r) || jsonb_build_object('n', c.n) FROM t.cases AS c CROSS JOIN LATERAL t.$function(c) AS r ORDER BY c.n");

	return map { my $answer = JSON::PP->new->utf8->decode($_); ($answer->{n} => $answer) } split /\n/, $lines;
}

sub judge
{
	my ($door, $case, $answer) = @_;
	my $expected = $case->{$door};
	my $name = "$case->{row} $case->{what}, $door";
	my $shown = $case->{shows};
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return if !defined $expected;
	$name = encode('UTF-8', decode('UTF-8', $name));
	$name =~ s/[^\x20-\x7e]/?/g;
	is($answer->{result}, $expected, $name);
	is($answer->{shown}, defined $shown->[2] ? decode('UTF-8', $shown->[2]) : undef, "... $shown->[0]: $shown->[1]")
	  if @$shown && ($door eq 'queue' || $answer->{result} !~ /^\w{5}$/);
	return;
}

my %sql = ask('try');
judge('sql', $_, $sql{ $_->{number} }) for @cases;
is($node->sql('SELECT count(*) FROM damoov.events UNION ALL SELECT count(*) FROM damoov.receipts'), "0\n0", 'nothing of it stays');

like($node->error_of("SELECT to_jsonb(repeat('x', 256 * 1024 * 1024))"), qr/^54000/, 'B20 256 MiB, jsonb itself');
my ($status, $out, $err) = $node->psql('postgres', q(SELECT damoov_ingest('[{}, {}]')));
like($err, qr/notification has no "Object"\nDETAIL:  The error is in element 1 of 2\./, 'B80 the first bad one is told');
for my $token ('../x', 'a?b', 'a#b', '%2e%2e', "${\TRACK}\r\nX: y", '', "${\TRACK}?x", '00000000-0000-0000-0000-000000000000')
{
	like($node->error_of("SELECT damoov_fetch_track(" . Damoov::Node::quoted($token) . ", '${\USER}')"),
		qr/^22023: track token is not a UUID/, 'B74 a token that is none');
}

###########################################################################
# The queue's door
###########################################################################

# What is no UTF-8 goes out as the bytes it is.  No queue carries a 00 byte:
# these are asked of the same reader by themselves.
sub send_all
{
	my @bodies = map { decode('UTF-8', $_->{body}, sub { join '', map { chr(0xDC00 + $_) } @_ }) }
	  grep { defined $_->{queue} && $_->{body} !~ /\0/ } @_;

	# a few at a time: the cloud takes 16 MB
	while (@bodies)
	{
		my $size = 0;
		my $count = grep { ($size += length) < 4_000_000 } @bodies;
		$cloud->publish([ splice @bodies, 0, $count || 1 ], raw => 1);
	}
	return;
}

for my $case (grep { $_->{body} =~ /\0/ } @cases)
{
	like($node->error_of("SELECT damoov.ingest_bytes(body, 'queue') FROM t.cases WHERE n = $case->{number}"),
		qr/^$case->{sql}: invalid byte sequence/, "$case->{row} $case->{what}, as bytes");
	$case->{queue} = undef;
}

my $driver = token('driver');
my $log = $node->log_size;
$cloud->publish([ grep { $_ ne '[]' } map { $_->{first} } @cases ], raw => 1);
$node->poll;
send_all(@cases);
$cloud->publish([ heartbeat($driver, 1) ]);
$node->poll(300);

my $queue = $cloud->queue;
is("$queue->{visible} $queue->{in_flight}", '0 0', 'the queue is empty');
is($queue->{deleted}, $queue->{sent}, '... all of it settled');
is($node->sql("SELECT count(*) FROM damoov.heartbeats JOIN damoov.users USING (user_id) WHERE device_token = '$driver'"),
	1, 'what stands behind bad input is stored');
is($node->sql("SELECT bool_and(balanced) FROM damoov.ledger"), 't', 'the ledger is balanced');
cmp_ok($node->sql("SELECT sum(received) FROM damoov.ledger"), '>=', $queue->{sent}, '... and knows all of them');
is($node->sql("SELECT state, last_error FROM damoov.status"), 'polling|', 'the source is well');
is(scalar $node->log_lines('(ERROR|FATAL|PANIC):', $log), 0, 'nothing has raised');
is($cloud->count_requests(path => qr/subscribed/), 0, 'B75 nobody visited the SubscribeURL');

# jsonb prints these in other words than were sent
my %reworded = map { ($_ => 1) } qw(B20 B22 B28 B29);
my %queue = ask('ended');
for my $case (@cases)
{
	my ($sql, $ended) = ($sql{ $case->{number} }, $queue{ $case->{number} });

	judge('queue', $case, $ended);
	is("$ended->{sqlstate} $ended->{message}", "$sql->{result} $sql->{message}", '... told in the same words')
	  if defined $case->{queue} && $ended->{message} && $sql->{message} && !$reworded{ $case->{row} };
}

# The same again, through the worker
my $figures = 'SELECT (SELECT count(*) FROM damoov.events), (SELECT count(*) FROM damoov.quarantine), (SELECT count(*) FROM damoov.removed_tracks)';
my $before = $node->sql($figures);
my $stored = "SELECT count(*) FROM damoov.events WHERE object_id = '$driver'";
send_all(@cases);
$node->sql("ALTER SYSTEM SET damoov.databases = 'postgres'");
$node->sql('ALTER SERVER queue OPTIONS (SET wait_seconds $$1$$)');
$node->reload;
eventually { my $now = $cloud->queue; $now->{deleted} == $now->{sent} } 'the worker settles all of it, too';
is($node->sql($figures), $before, '... as what is there already');
$cloud->publish([ heartbeat($driver, 2) ]);
eventually { $node->sql($stored) == 2 } '... and stores what stands behind';
is($node->sql('SELECT bool_and(balanced) FROM damoov.ledger'), 't', '... and the ledger is balanced');
is(scalar $node->log_lines('(ERROR|FATAL|PANIC):', $log), 0, '... and nothing has raised');

# B85: a trip of 1,000,000 points
my $long = token('long');
$node->sql('ALTER SYSTEM SET damoov.max_document_size = $$16MB$$');
$node->reload;
my $points = join ',', ('{"Yaw":1}') x 1_000_000;
$cloud->dataset($long, $driver, qq({"Result":{"Code":200,"Track":{"Points":[$points]}}}));
eventually { $node->sql('SHOW damoov.max_document_size') eq '16MB' } 'B85 a large limit';
my $fetched = $node->sql("SELECT damoov_fetch_track('$long', '$driver');
	SELECT regexp_replace(pg_read_file('/proc/self/status'), '.*VmHWM:\\s+(\\d+) kB.*', '\\1')");
my ($trip_id, $peak) = split /\n/, $fetched;
is($node->sql("SELECT point_count, (SELECT count(*) FROM damoov.trip_points WHERE trip_id = $trip_id) FROM damoov.trips WHERE trip_id = $trip_id"),
	'1000000|1000000', '... 1,000,000 points, SQL door');
cmp_ok($peak, '<', 512 * 1024, "... in $peak kB of memory");
$node->sql("DELETE FROM damoov.trips WHERE trip_id = $trip_id");
$cloud->publish([ enriched($driver, $long, 4) ]);
eventually { $node->sql("SELECT point_count FROM damoov.trips WHERE track_token = '$long'") eq '1000000' } '... the worker\'s';

$node->stop;
done_testing();
