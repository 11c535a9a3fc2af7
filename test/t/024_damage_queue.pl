# Damaged messages and datasets over the wire: the queue does not stay blocked,
# and no download stays leased.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Cloud;
use Damoov::Damage;
use Damoov::Node;
use Damoov::Story;
use Encode ();
use Test::More;

my $cloud = Damoov::Cloud->new;
my $node = Damoov::Node->start_new('damage', preload => 0);
my $driver = token('driver');

# the damage is done in one database, the rest by the extension in another
install_damage($node, 'plain');
$node->sql("UPDATE damage.message SET document = convert_to(
	replace(convert_from(document, 'UTF8'), 'https://mobilesdk.telematicssdk.com', '@{[ $cloud->base_url ]}'), 'UTF8')");
$node->sql('CREATE DATABASE wire');
$node->sql('CREATE EXTENSION damoov', 'wire');
install_halves($node, 'wire');
$node->add_source($cloud, database => 'wire');
wire("ALTER SERVER api OPTIONS (ADD fetch 'processed,raw,crash')");

sub wire
{
	return $node->sql($_[0], 'wire');
}

# What a queue or an answer in UTF-8 can hold of it.
sub carried
{
	my $text = Encode::decode('UTF-8', $_[0]);
	$text =~ s/[^\t\n\r\x20-\x{d7ff}\x{e000}-\x{fffd}\x{10000}-\x{10ffff}]/\x{fffd}/g;
	return $text eq '' ? ' ' : $text;
}

my %events = (
	processed => [ enriched => 'RichTrack', 'TrackEnrichmentFinished' ],
	raw => [ received => 'IncomingTrack', 'IncomingTrackReceived' ],
	crash => [ crash => 'Accident', 'AccidentEventReceived' ],
	crash_buffer => [ buffer => 'AccidentExtra', 'AccidentEventExtraReceived' ]);

sub announced
{
	my ($kind, $object, $seconds) = @_;
	return {
		Event => $events{$kind}[2],
		UserId => $driver,
		Object => { Id => $object, Type => $events{$kind}[1] },
		Timestamp => moment($seconds),
		Details => {}
	};
}

my @datasets = datasets($node);
my @documents = damaged($node, 'dataset', 0, cases(280) - 1);
my @bodies;

for my $number (0 .. $#documents)
{
	my $kind = $datasets[ $number % @datasets ][0];
	my $object = token($kind, $number + 1);

	$cloud->dataset($object, $driver, carried($documents[$number]), $kind);
	push @bodies, announced($kind, $object, $number);
}
push @bodies, map { carried($_) } damaged($node, 'message', 0, cases(300) - 1);

my $good = token('good');
$cloud->dataset($good, $driver, track_document(5));
$cloud->publish(\@bodies, raw => JSON::PP::true);
$cloud->publish([ enriched($driver, $good, 9000) ], raw => JSON::PP::true);

# What waits although it was answered; a damaged address never answers.
sub waiting
{
	return wire('SELECT count(*) FROM damoov.downloads WHERE state = $$waiting$$ AND last_status IS DISTINCT FROM 0');
}

# until nothing waits any more: what cannot be read is asked for five times
for my $round (1 .. 20)
{
	$node->poll(10, 'wire');
	is(wire('SELECT count(*) FROM damoov.downloads WHERE leased_until IS NOT NULL'), 0, "round $round: no download stays leased");
	my $queue = $cloud->queue;
	last if waiting() == 0 && $queue->{visible} + $queue->{in_flight} == 0;
	wire('UPDATE damoov.downloads SET due_at = now()');
}

my $queue = $cloud->queue;
is($queue->{visible} + $queue->{in_flight}, 0, 'the queue is empty');
is(wire("SELECT point_count FROM damoov.trips WHERE track_token = '$good'"), 5, '... and what came last is stored');
is(waiting(), 0, 'no download waits for ever');
is(wire('SELECT what, id FROM damage.half'), '', 'nothing is half');
is(wire('SELECT bool_and(balanced) FROM damoov.ledger'), 't', 'the ledger is balanced');
is(wire('SELECT sum(received) >= ' . @bodies . ' FROM damoov.ledger'), 't', '... and knows them all');
is( wire(
		'SELECT count(*) FROM damoov.downloads AS d WHERE d.state = $$failed$$ AND d.last_status = 200
			AND NOT EXISTS (SELECT FROM damoov.quarantine AS q WHERE q.kind = d.kind)'),
	0,
	'what could not be read is in quarantine');
is(wire('SELECT count(*) FROM damoov.quarantine WHERE reason = $$store_failed$$'), 0, 'what could be read could be stored');
cmp_ok(wire('SELECT count(*) FROM damoov.trips'), '>', 10, 'some of the damaged are stored');
cmp_ok(wire('SELECT count(*) FROM damoov.quarantine'), '>', 100, '... and many are not');

done_testing();
