# Messages that wait to be stored: how many are received at a time and kept, what
# one of them that cannot be stored means for the others, and that none is lost
# when a source is paused, dropped or left while many wait.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Node;
use Damoov::Stage;
use Damoov::Story;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

use constant RECEIVES => 8;
use constant BATCH => 10;
use constant MESSAGES => 2000;
use constant BYTES => 8 * 1024 * 1024;

my ($cloud, $node) = stage('inbox', databases => 'postgres');
my $mark;

# The long polls of another source are the clock.
create('beat');
add_source(name => 'beat', queue => 'beat', options => { wait_seconds => 1 });

sub received_from
{
	my ($queue, %filter) = @_;
	return grep { $_->{parameters}{QueueUrl} =~ m{/$queue$} } $cloud->requests(target => 'ReceiveMessage', %filter);
}

sub beats
{
	my ($count) = @_;
	my $seen = queue('beat')->{receives};
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually { queue('beat')->{receives} >= $seen + $count } '... time goes by';
}

# Nothing can be stored: publishes, and waits until no receive begins any more.
sub fill
{
	my ($what, $messages, $at_least, $at_most, $part) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$mark = $cloud->last_request;
	my @left = @$messages;
	publish([ splice @left, 0, $part // @left ]) while @left;
	eventually { queue()->{in_flight} >= $at_least && !grep { !$_->{answered} } received_from('damoov', since => $mark) }
	"$what: messages are received";
	cmp_ok(queue()->{in_flight}, '<=', $at_most, '... and no more than may wait');
	my $full = $cloud->last_request;
	beats(3);
	is(scalar(received_from('damoov', since => $full)), 0, '... no receive begins while so many wait');
	return;
}

# How often the worker has had to be given a page of memory.
sub page_faults
{
	return (split ' ', slurp_file('/proc/' . worker_pid() . '/stat') =~ s/.*\)//sr)[7];
}

sub are_stored
{
	my ($what, $before, $count) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	eventually { in_queue() == 0 } "$what: the queue gets empty";
	is(events() - $before, $count, '... each is stored once');
	is(ledger('balanced'), 't', '... and the ledger is balanced');
	return;
}

create('damoov', visibility_timeout => 600);
add_source();
eventually { status('queue', 'state') eq 'polling' } 'a worker receives';

###########################################################################
# How much waits
###########################################################################

my $before = events();
refuse('events');
fill('many messages', heartbeats(3000), MESSAGES, MESSAGES + RECEIVES * BATCH);
is(status('queue', 'state'), 'retrying', '... the status says that they cannot be stored');
allow('events');
are_stored('... now they can be', $before, 3000);
is(ledger('duplicate'), 0, '... and came once');
cmp_ok($cloud->most_at_once(target => 'ReceiveMessage', since => $mark), '>', 2, '... received several at a time');
cmp_ok($cloud->most_at_once(target => 'ReceiveMessage', since => $mark), '<=', RECEIVES + 1, '... but no more than so many, and the clock');
cmp_ok($cloud->most_at_once(target => 'DeleteMessageBatch', since => $mark), '>', 2, '... and settled several at a time');
eventually { status('queue', 'state, last_error') eq 'polling|' } '... and all is well';

$before = events();
refuse('events');
my $size = 100_000;
my @large = map { { %$_, Details => { Filler => 'x' x $size } } } @{ heartbeats(300) };
fill('large messages', \@large, BYTES / $size / 1.05, BYTES / $size + RECEIVES * BATCH, 20);
allow('events');
are_stored('... now they can be', $before, 300);

###########################################################################
# Many in one transaction, and one that cannot be stored
###########################################################################

# Counts statements that store events, also those that were undone, and refuses one event.
value(q{
	CREATE SEQUENCE tried;
	CREATE FUNCTION counted() RETURNS trigger LANGUAGE plpgsql AS
		$$BEGIN PERFORM nextval('public.tried'); RETURN NULL; END$$;
	CREATE TRIGGER counted BEFORE INSERT ON damoov.events EXECUTE FUNCTION counted();
	CREATE FUNCTION picky() RETURNS trigger LANGUAGE plpgsql AS
		$$BEGIN
			IF new.payload ->> 'Sender' = 'nobody' THEN RAISE EXCEPTION 'not from nobody' USING ERRCODE = '23514'; END IF;
			RETURN new;
		END$$;
	CREATE TRIGGER picky BEFORE INSERT ON damoov.events FOR EACH ROW EXECUTE FUNCTION picky()});

$before = events();
my $faults = page_faults();
publish(heartbeats(4000));
are_stored('a full queue', $before, 4000);
cmp_ok(value('SELECT last_value FROM tried'), '<', 400, '... ten receives and more in a transaction');
# of its own memory, or of shared buffers that it sees for the first time
cmp_ok(page_faults() - $faults, '<', 5000, '... in memory that was there for those before');
note('page faults: ', page_faults() - $faults);

for my $bad (1, 3)
{
	my $messages = heartbeats(1000);
	$messages->[ 300 * $_ ]{Sender} = 'nobody' for 1 .. $bad;
	$before = events();
	value('ALTER SEQUENCE tried RESTART');
	$mark = $cloud->last_request;
	publish($messages);
	are_stored("$bad of a thousand cannot be stored", $before, 1000 - $bad);
	# each is looked for by halves, and tried once more when others were stored
	cmp_ok(value('SELECT last_value FROM tried'), '<', 200 + $bad * 40, '... the others are not stored one by one');
	is(value("SELECT count(*) FROM damoov.quarantine WHERE message LIKE '%not from nobody%'"), $bad == 1 ? 1 : 4,
		'... and each is in the quarantine');
	eventually { status('queue', 'state, last_error') eq 'polling|' } '... which is all';
}

# While one is held because it might be stored later, others are stored together.
value(q{ALTER FUNCTION picky() RENAME TO was_picky;
	CREATE FUNCTION picky() RETURNS trigger LANGUAGE plpgsql AS
		$$BEGIN
			IF new.payload ->> 'Sender' = 'nobody' THEN RAISE EXCEPTION 'not now' USING ERRCODE = '55P03'; END IF;
			RETURN new;
		END$$;
	DROP TRIGGER picky ON damoov.events;
	CREATE TRIGGER picky BEFORE INSERT ON damoov.events FOR EACH ROW EXECUTE FUNCTION picky()});
my $messages = heartbeats(11);
$messages->[5]{Sender} = 'nobody';
$before = events();
publish($messages);
eventually { events() == $before + 10 } 'one of eleven waits for something';
value('ALTER SEQUENCE tried RESTART');
publish(heartbeats(1000));
eventually { events() == $before + 1010 } '... a thousand others come';
cmp_ok(value('SELECT last_value FROM tried'), '<', 200, '... and are stored together');
is(in_queue(), 1, '... it is still there');
value('DROP TRIGGER picky ON damoov.events; DROP TRIGGER counted ON damoov.events');
are_stored('it is stored in the end', $before, 1011);

###########################################################################
# A mixture
###########################################################################

# A story whose messages come several times and in a wild order, between damaged
# ones, reports of a bucket, and a thousand of one person; while two sessions ingest
# parts of the same.
my $seed = $ENV{DAMOOV_INBOX_SEED} // 20261129;
srand $seed;
note "seed $seed";
my $story = $cloud->fleet(queue => 'damoov', drivers => 8, trips => 8, points => 5, seed => $seed,
	publish => JSON::PP::false, tell => JSON::PP::true);
my $busy_driver = token('busy', 1);
my @valid = (@{ $story->{texts} }, map { compact(heartbeat($busy_driver, $_)) } 1 .. 1000);
my @damaged = map { substr $valid[ int rand @valid ], 0, 20 + int rand 60 } 1 .. 40;
my %damaged = map { $_ => 1 } @damaged;
my @reports = map {
	compact({ Records => [ { eventVersion => '2.1', eventSource => 'aws:s3', awsRegion => 'eu-west-1',
				eventTime => '2024-05-14T10:00:00.000Z', eventName => 'ObjectRemoved:Delete',
				s3 => { s3SchemaVersion => '1.0', bucket => { name => 'elsewhere' },
					object => { key => "report-$_", size => 10, sequencer => sprintf('%08d', $_) } } } ] })
} 1 .. 20;

sub shuffled
{
	my @in = @_;
	for my $at (reverse 1 .. $#in)
	{
		my $other = int rand($at + 1);
		@in[ $at, $other ] = @in[ $other, $at ];
	}
	return @in;
}

# Some of them in calls of all sizes.
sub calls
{
	my @texts = shuffled(map { (rand() < 0.5) ? $_ : () } @valid, @valid);
	my @calls;
	while (@texts)
	{
		my @part = splice @texts, 0, 1 + int rand(rand() < 0.5 ? 10 : 400);
		push @calls, 'SELECT count(*) FROM damoov_ingest(' . Damoov::Node::quoted('[' . join(',', @part) . ']') . ')';
	}
	return join(";\n", @calls);
}

$before = events();
my $others = value("SELECT count(*) FROM damoov.quarantine");
my @sessions = map { $node->start_sql(calls()) } 1 .. 2;
publish([ shuffled(@valid, @damaged, @reports, map { rand() < 0.4 ? $_ : () } @valid, @damaged) ], raw => JSON::PP::true);
is($node->finish_sql($_), '', 'a session ingests beside the worker') for @sessions;
wait_for_all('a mixture', $before, $story->{distinct_notifications} + 1000 + @reports);
story_is_complete('a mixture', $story);
is(value('SELECT count(*) FROM damoov.heartbeats AS h JOIN damoov.users AS u USING (user_id) WHERE u.device_token = $$' . $busy_driver . '$$'),
	1000, '... all of one person');
is(value('SELECT count(*) FROM damoov.quarantine') - $others, scalar keys %damaged, '... what is damaged is kept, each once');

# What waits stays ours: it is neither received again nor counted as a delivery.
$mark = $cloud->last_request;
wake("ALTER SERVER queue OPTIONS (ADD visibility_seconds '2')");
eventually {
	grep { ($_->{parameters}{VisibilityTimeout} // 0) == 2 && !$_->{answered} } received_from('damoov', since => $mark)
} 'a receive that waits asks for the visibility';
$before = events();
my $duplicates = ledger('duplicate');
refuse('events');
$mark = $cloud->last_request;
publish(heartbeats(25));
eventually {
	grep({ $_->{parameters}{Entries}[0]{VisibilityTimeout} == 2 }
		$cloud->requests(since => $mark, target => 'ChangeMessageVisibilityBatch', status => 200)) >= 9
} 'the visibility of what waits is renewed';
allow('events');
are_stored('... until it can be stored', $before, 25);
is(ledger('duplicate'), $duplicates, '... and came once');
wake('ALTER SERVER queue OPTIONS (DROP visibility_seconds)');

###########################################################################
# A source that ends while many wait
###########################################################################

# Paused: what was received is stored, and no more.
$before = events();
refuse('events');
fill('paused', heartbeats(2500), MESSAGES, MESSAGES + RECEIVES * BATCH);
value("SELECT damoov_pause('queue')");
eventually { status('queue', 'state') eq 'paused' } '... while many wait';
my $received = queue()->{in_flight};
allow('events');
eventually { queue()->{in_flight} == 0 } '... what was received is stored';
is(events() - $before, $received, '... once');
is(queue()->{visible}, 2500 - $received, '... the others stay in the queue');
value("SELECT damoov_resume('queue')");
are_stored('... until it is resumed', $before, 2500);

# The server is stopped: what was received is given back, or comes again.
create('damoov', visibility_timeout => 20);
$before = events();
refuse('events');
my $deleted = queue()->{deleted};
fill('stopped', heartbeats(2500), MESSAGES, MESSAGES + RECEIVES * BATCH);
$node->stop('fast');
is(queue()->{deleted} - $deleted, 0, '... while many wait: none is taken out of the queue');
$node->start;
allow('events');
are_stored('... and all when it is there again', $before, 2500);

# Dropped: what was received is stored and settled, with the credentials it had.
create('damoov', visibility_timeout => 600);
$before = events();
refuse('events');
fill('dropped', heartbeats(2500), MESSAGES, MESSAGES + RECEIVES * BATCH);
$received = queue()->{in_flight};
value('DROP SERVER queue CASCADE');
allow('events');
eventually { queue()->{in_flight} == 0 } '... while many wait: they are settled';
is(events() - $before, $received, '... and stored');
is(queue()->{visible}, 2500 - $received, '... the others stay in the queue');

$node->stop;
done_testing();
