# A server is dropped, or replaced by another one of its name, while a request of
# its source is under way: the reply finds what it is about, what was received is
# stored once, and no process dies.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Cloud;
use Damoov::Node;
use Damoov::Stage;
use Damoov::Story;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

# what is freed is overwritten, so that it shows when it is read
local $ENV{MALLOC_PERTURB_} = 90;

use constant LEASE => 8;

my $identity_of_azure = qr{/oauth2/v2\.0/token$};
my %type = (
	sqs => {
		receive => 'ReceiveMessage',
		settle => 'DeleteMessageBatch',
		release => 'ChangeMessageVisibilityBatch',
		options => { visibility_seconds => LEASE },
		identity => qr{^/$}
	},
	servicebus => {
		receive => 'Receive',
		settle => 'Complete',
		renew => 'Renew',
		settings => { lock_seconds => LEASE },
		identity => $identity_of_azure,
		keys => [qw(shared_access_key_name shared_access_key)]
	},
	eventgrid => {
		receive => 'receive',
		settle => 'acknowledge',
		renew => 'renewLock',
		release => 'release',
		settings => { lock_seconds => LEASE, wait_cap => 1 },
		options => { lock_seconds => LEASE },
		identity => $identity_of_azure,
		keys => ['access_key']
	},
	storagequeue => {
		receive => 'GetMessages',
		settle => 'DeleteMessage',
		renew => 'UpdateMessage',
		release => 'UpdateMessage',
		options => { visibility_seconds => LEASE },
		identity => $identity_of_azure,
		keys => ['account_key']
	});
my ($cloud, $node, $type, $worker, $source);
my ($sources, $lookouts) = (0, 0);

# Each has a name of its own: one that comes back soon is the same source.
sub add
{
	$source = 'source' . ++$sources;
	return add_source(name => $source, options => $type{$type}{options}, @_);
}

# Drops the servers, and perhaps makes others; the worker has seen it when it says
# that another new one is not usable.
sub drop
{
	my ($sql, $names) = @_;
	my $lookout = 'lookout' . ++$lookouts;

	wake(join ';',
		(map { "DROP SERVER $_ CASCADE" } @{ $names // [$source] }),
		"CREATE SERVER $lookout TYPE 'sqs' FOREIGN DATA WRAPPER damoov",
		$sql // ());
	eventually { value("SELECT state FROM damoov.status WHERE source = '$lookout'") eq 'misconfigured' } '... which the worker sees';
	value("DROP SERVER $lookout");

	# what a receive that still waits is given would come to the source that is gone
	eventually { !queue()->{waiting_polls} } '... and nobody waits for messages' unless $sql;
	return;
}

# The same server again, under the same name.
sub again
{
	return join ';', value(
		"SELECT string_agg(format('%I %L', o.option_name, o.option_value), ', ') FROM pg_foreign_server AS s, pg_options_to_table(s.srvoptions) AS o WHERE s.srvname = '$source'"
	  ) =~ s/(.*)/CREATE SERVER $source TYPE '$type' FOREIGN DATA WRAPPER damoov OPTIONS ($1)/sr,
	  value(
		"SELECT string_agg(format('%I %L', o.option_name, o.option_value), ', ') FROM pg_user_mappings AS m, pg_options_to_table(m.umoptions) AS o WHERE m.srvname = '$source'"
	  ) =~ s/(.*)/CREATE USER MAPPING FOR CURRENT_USER SERVER $source OPTIONS ($1)/sr;
}

sub under_way
{
	my ($what, $since, %filter) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	eventually { $cloud->count_requests(since => $since, status => '', %filter) > 0 } "$type: $what is under way when its server is dropped";
	return;
}

# What was held goes on, and nobody was harmed.
sub goes_on
{
	my ($what, $stored) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$cloud->clear_faults;
	eventually { events() == $stored } "... $what: what was received is stored once";
	return;
}

# With a further server and one more message; stored: how many there are then.
sub all_is_well
{
	my ($stored) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	add();
	publish(heartbeats(1));
	eventually { events() == $stored && in_queue() == 0 } '... another server is polled, and nothing is left in the queue';
	is(worker_pid(), $worker, '... and the worker is the same');
	drop();
	return;
}

for my $name (sort keys %type)
{
	$type = $name;
	($cloud, $node) = stage($type, type => $type, databases => 'postgres');
	create(undef, %{ $type{$type}{settings} // {} });
	my $of = $type{$type};
	my $before = 0;
	$worker = undef;
	eventually { $worker = worker_pid() } "$type: a worker runs";

	for my $returns (0, 1)
	{
		my $as = $returns ? 'replaced' : 'dropped';

		# receive
		my $mark = $cloud->last_request;
		$cloud->fault($type, 'hold', target => $of->{receive});
		add();
		under_way('a receive', $mark, target => $of->{receive});
		publish(heartbeats(1));
		drop($returns ? again() : undef);
		# broken off: what it would have brought is left to the next server
		add() unless $returns;
		goes_on("receive, $as", ++$before);
		eventually { in_queue() == 0 } '... and settled';
		drop();

		# settle
		add();
		$mark = $cloud->last_request;
		$cloud->fault($type, 'hold', target => $of->{settle});
		publish(heartbeats(1));
		$before++;
		under_way('a settlement', $mark, target => $of->{settle});
		drop($returns ? again() : undef);
		goes_on("settle, $as", $before);
		eventually { in_queue() == 0 } '... and settled';
		drop() if $returns;
		all_is_well(++$before);
	}

	# renew, not of SQS, where it is the request of a release: answered before what is held is stored, and after that
	for my $stored_first ($of->{renew} ? (0, 1) : ())
	{
		refuse('events');
		add();
		my $mark = $cloud->last_request;
		publish(heartbeats(1));
		$cloud->fault($type, 'hold', target => $of->{renew});
		under_way('a renewal', $mark, target => $of->{renew});
		drop();
		$cloud->clear_faults unless $stored_first;
		allow('events');
		eventually { events() == $before + 1 } '... what it holds is stored';
		goes_on('renew', ++$before);

		# what was not settled in time comes to the next one, as a duplicate
		all_is_well(++$before);
	}

	# release: a worker that ends does not wait for it longer than it may
	refuse('events');
	add();
	publish(heartbeats(1));
	status_gets("$type: messages are held when their server is dropped", $source, "last_error LIKE '%no room%'", 20);
	drop();
	my $mark = $cloud->last_request;
	$cloud->fault($type, 'hold', target => $of->{release}) if $of->{release};
	kill 'TERM', $worker;
	eventually { $node->has_another_worker($worker) } '... and the worker ends';
	cmp_ok($cloud->count_requests(since => $mark, target => $of->{release}), '>', 0, '... giving back what it holds') if $of->{release};
	$cloud->clear_faults;
	allow('events');
	eventually { $worker = worker_pid() } '... the next one';
	all_is_well($before += 2);

	# identity
	for my $returns (0, 1)
	{
		$mark = $cloud->last_request;
		$cloud->order('identity', hold => JSON::PP::true);
		add(
			$type eq 'sqs'
			? (options => {
					identity => 'assume_role',
					role_arn => 'arn:aws:iam::123456789012:role/reader',
					external_id => 'external-id-example',
					identity_endpoint => $cloud->base_url
				})
			: entra($cloud, @{ $of->{keys} }));
		under_way('a question for credentials', $mark, path => $of->{identity});
		drop($returns ? again() : undef);
		$cloud->order('identity', hold => JSON::PP::false);
		drop() if $returns;
		all_is_well(++$before);
	}

	# a dataset, whose api server is dropped
	my $track = token('track', $before);
	$cloud->dataset($track, driver(), track_document(3));
	$cloud->fault('api', 'hold', target => 'processed');
	add();
	$mark = $cloud->last_request;
	publish([ enriched(driver(), $track, 10) ]);
	under_way('a dataset', $mark, target => 'processed');
	eventually { in_queue() == 0 } '... and its message settled';
	drop(undef, [$source, 'api']);
	$cloud->clear_faults;
	eventually { value('SELECT count(*) FROM damoov.trips') == 1 } '... it is stored';
	is(worker_pid(), $worker, '... by the same worker');

	# a subscription, whose webhook is dropped; SNS does not know the token
	my $topic = 'arn:aws:sns:eu-west-1:123456789012:damoov';
	$cloud->fault('sns', 'hold', target => 'confirm');
	$mark = $cloud->last_request;
	wake("CREATE SERVER push TYPE 'webhook' FOREIGN DATA WRAPPER damoov OPTIONS (topic_arns '$topic', endpoint '${\ $cloud->base_url}');
		INSERT INTO damoov.subscriptions (source, topic_arn, token, token_digest) VALUES ('push', '$topic', 'unknown', 'x')");
	under_way('a confirmation', $mark, target => 'confirm');
	drop(undef, ['push']);
	$cloud->clear_faults;
	eventually { value('SELECT last_error FROM damoov.subscriptions') =~ /^SNS answered with status/ } '... its answer is kept';
	is(worker_pid(), $worker, '... by the same worker');

	is(scalar $node->log_lines(qr/terminated by signal|TRAP|PANIC|FATAL:(?!.*terminating)/), 0, "$type: no process has died");
	$node->stop;
	$cloud->stop;
}

done_testing();
