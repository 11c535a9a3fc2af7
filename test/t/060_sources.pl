# One story through every type of source gives the same tables, whether points are
# stored as rows or as documents; and a source that is down, slow or refused does
# not delay another.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Cloud;
use Damoov::Contents;
use Damoov::Node;
use Damoov::Story;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my @types = qw(sqs servicebus storagequeue eventgrid);
my $cloud = Damoov::Cloud->new;
my $node = Damoov::Node->start_new('sources', extension => 0);

# Queue and options of each type: a lease is short, so that what a killed
# worker held comes back soon.
my %queue = (eventgrid => 'trips/damoov');
my %lease = (
	sqs => { visibility_timeout => 10 },
	servicebus => { lock_seconds => 10 },
	storagequeue => {},
	eventgrid => { lock_seconds => 10, wait_cap => 0.2 });
my %options = (
	storagequeue => { visibility_seconds => 10 },
	eventgrid => { lock_seconds => 10 });
my %points = (servicebus => 'document', eventgrid => 'document');

sub queue_of
{
	my ($type) = @_;
	return $queue{$type} // 'damoov';
}

sub make_queue
{
	my ($type) = @_;
	return $cloud->create_queue(queue_of($type), service => $type, %{ $lease{$type} });
}

sub publish
{
	my ($type, $notifications) = @_;
	return $cloud->publish($notifications, service => $type, queue => queue_of($type));
}

sub waiting
{
	my ($type) = @_;
	my $counts = $cloud->queue(queue_of($type), $type);
	return $counts->{visible} + $counts->{in_flight};
}

sub add_source
{
	my ($type, %given) = @_;
	return $node->add_source(
		$cloud,
		name => $type,
		type => $type,
		queue => queue_of($type),
		%given,
		options => { %{ $options{$type} // {} }, %{ $given{options} // {} } });
}

sub make_database
{
	my ($name, $type) = @_;
	$node->sql("CREATE DATABASE $name");
	$node->sql('CREATE EXTENSION damoov', $name);
	$node->sql("ALTER DATABASE $name SET damoov.store_points = '" . ($points{$type} // 'rows') . "'");
	add_source($type, database => $name);
	return;
}

# ---------------------------------------------------------------------------
# The story
# ---------------------------------------------------------------------------

my $story = $cloud->fleet(
	drivers => 26,
	trips => 12,
	points => 5,
	seed => 60,
	publish => JSON::PP::false,
	tell => JSON::PP::true);
my $told = @{ $story->{texts} };
my $expected;

# Are the points where they are to be?
sub points_are_stored
{
	my ($type, $database) = @_;
	my ($there, $empty) = ($points{$type} // 'rows') eq 'rows' ? qw(trip_points trip_documents) : qw(trip_documents trip_points);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is($node->sql("SELECT (SELECT count(DISTINCT trip_id) FROM damoov.$there), (SELECT count(*) FROM damoov.$empty)", $database),
		scalar @{ $story->{trips} } . '|0', "$type: the points of all trips are in $there");
	return;
}

sub tells
{
	my ($database) = @_;
	return $node->sql('SELECT count(*) FROM damoov.events', $database) ==
	  $story->{distinct_notifications}
	  && $node->sql('SELECT count(*) FROM damoov.downloads', $database) == 0;
}

cmp_ok($told, '>=', 1000, "a story of $told notifications");

for my $type (@types)
{
	make_queue($type);
	make_database("once_$type", $type);
	publish($type, $story->{texts});
	$node->poll(120, "once_$type");
	is(waiting($type), 0, "$type: the queue is empty");
	ok(tells("once_$type"), "$type: the story is told");
	is( $node->sql(
			'SELECT sum(received), sum(difference) FROM damoov.ledger',
			"once_$type"),
		"$told|0",
		"$type: each message is accounted for");
	points_are_stored($type, "once_$type");
	$expected //= contents($node, "once_$type", 'whichever way');
	is(contents($node, "once_$type", 'whichever way'), $expected, "$type: the same tables");
}
like($expected, qr/^trips\|$_\|/m, 'with all trips')
  for scalar @{ $story->{trips} };

# ---------------------------------------------------------------------------
# Every message twice, and the workers killed in the middle
# ---------------------------------------------------------------------------

for my $type (@types)
{
	make_database("twice_$type", $type);
	publish($type, $story->{texts}) for 1 .. 2;
}
$node->sql("ALTER SYSTEM SET damoov.databases = '"
	  . join(', ', map { "twice_$_" } @types)
	  . "'");
$node->reload;
for my $type (@types)
{
	eventually
	{
		$node->sql('SELECT count(*) FROM damoov.events', "twice_$type") > 20
	}
	"$type: a worker is busy";
}
my @workers = split /\n/,
  $node->sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'damoov worker'");
kill 'KILL', $workers[0];
eventually { $node->has_another_worker($workers[0]) }
'one is killed, and all are started again';
for my $type (@types)
{
	eventually { tells("twice_$type") && waiting($type) == 0 } "$type: the story is told", 180;
	points_are_stored($type, "twice_$type");
	is(contents($node, "twice_$type", 'whichever way'), $expected, "$type: the same tables");
	cmp_ok(
		$node->sql(
			'SELECT sum(duplicate) FROM damoov.ledger', "twice_$type"),
		'>=', $told,
		"$type: what came twice is counted as duplicate");
}
$node->sql('ALTER SYSTEM RESET damoov.databases');
$node->reload;

# ---------------------------------------------------------------------------
# Side by side
# ---------------------------------------------------------------------------

# The worker polls two types; one of them does not work, the other does.
$node->sql('CREATE DATABASE pair');
$node->sql('CREATE EXTENSION damoov', 'pair');
$node->sql("ALTER SYSTEM SET damoov.databases = 'pair'");
$node->reload;

my %receive = (
	sqs => qr{^/$},
	servicebus => qr{/messages/head},
	storagequeue => qr{/messages\?numofmessages},
	eventgrid => qr{:receive});
my $wrong_key = 'V3Jvbmcga2V5IG9mIHRoaXJ0eS10d28gYnl0ZXMuLi4=';
my %wrong = (
	sqs => { secret_access_key => 'WrongSecretKeyEXAMPLE' },
	servicebus => { shared_access_key => $wrong_key },
	storagequeue => { account_key => $wrong_key },
	eventgrid => { access_key => $wrong_key });
my %fault = (
	down => [ 'error', status => 503 ],
	slow => [ 'delay', seconds => 600 ]);
my $beats = 0;

for my $at (0 .. $#types)
{
	my ($bad, $good) = ($types[$at], $types[ ($at + 1) % @types ]);

	for my $how (qw(down slow refused))
	{
		my ($mode, @how) = @{ $fault{$how} // [] };

		# names of their own: a source of the same name and type would wait for
		# what the last one has still to receive
		my ($source, $other) = map { "${_}_$how$at" } $bad, $good;

		$cloud->reset_all;
		$cloud->fault($bad, $mode, times => undef, @how) if $mode;
		add_source($bad,
			name => $source,
			database => 'pair',
			$how eq 'refused' ? (secrets => $wrong{$bad}) : ());
		add_source($good, name => $other, database => 'pair');
		if ($how eq 'slow')
		{
			eventually
			{
				$cloud->count_requests(path => $receive{$bad}, status => '') == 1
			}
			"$bad is slow";
		}
		else
		{
			eventually
			{
				$node->sql(
					"SELECT count(*) FROM damoov.sources WHERE source = '$source' AND last_error IS NOT NULL",
					'pair') == 1
			}
			"$bad is $how";
		}
		publish($good, [ heartbeat(token('driver'), ++$beats) ]);
		eventually
		{
			$node->sql('SELECT count(*) FROM damoov.heartbeats', 'pair') ==
			  $beats
		}
		"... $good works, nevertheless";
		$node->wake("DROP SERVER $source CASCADE; DROP SERVER $other CASCADE", 'pair');
		$node->sql('DELETE FROM damoov.sources', 'pair');
	}
}

$node->stop;
$cloud->stop;
done_testing();
