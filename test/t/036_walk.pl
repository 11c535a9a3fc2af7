# A random walk of several sessions, with every door and every isolation level,
# ends in the tables that the same events give one after the other: see
# test/walk/walk.py, which walks.
#
# DAMOOV_WALK_STEPS (2000) says how many steps are made, DAMOOV_WALK_SEED which
# ones; DAMOOV_WALK_CHAPTER repeats one chapter of a seed, DAMOOV_WALK_GO_ON looks
# for more than one fault, DAMOOV_WALK_VERBOSE shows each step.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Cloud;
use Damoov::Node;
use PostgreSQL::Test::Utils;
use Test::More;

my $steps = $ENV{DAMOOV_WALK_STEPS} // 2000;
my $cloud = Damoov::Cloud->new;
my $store = Damoov::Cloud->new;
my $node = Damoov::Node->start_new(
	'walk',
	extension => 0,
	conf => <<'CONF');
autovacuum = off
fsync = off
deadlock_timeout = 20ms
damoov.keep_documents = -1
damoov.keep_heartbeats = 1000d
damoov.keep_trips = 1000d
damoov.keep_crashes = 1000d
CONF

# what a cancelled poll has received comes again soon
$cloud->create_queue('damoov', visibility_timeout => 1);

for my $database ('walk', 'plain')
{
	$node->sql("CREATE DATABASE $database");
	$node->sql('CREATE EXTENSION damoov', $database);
	$node->sql(
		'CREATE SERVER api TYPE $$api$$ FOREIGN DATA WRAPPER damoov '
		  . Damoov::Node::options_sql(
			{
				base_url => $cloud->base_url,
				crash_url => $cloud->base_url,
				s3_endpoint => $store->base_url,
				allowed_hosts => '127.0.0.1/fleet, *.telematicssdk.com',
				fetch => 'processed,raw,crash'
			})
		  . ';CREATE SERVER push TYPE $$webhook$$ FOREIGN DATA WRAPPER damoov;'
		  . 'CREATE USER MAPPING FOR CURRENT_USER SERVER push OPTIONS (webhook_secret $$ALongRandomText$$)',
		$database);
	$node->add_source($cloud, database => $database, api => 0, options => { wait_seconds => 0 });
}

my $build = $ENV{DAMOOV_BUILD} // "$FindBin::RealBin/../..";
my @walk = (
	'python3', "$FindBin::RealBin/../walk/walk.py",
	'--socket' => $node->host,
	'--port' => $node->port,
	'--cloud' => $cloud->{port},
	'--store' => $store->{port},
	'--tables' => "$FindBin::RealBin/../../sql/tables.psql",
	'--module' => "$build/test/unit/damoov_unit",
	'--steps' => $steps,
	$ENV{DAMOOV_WALK_SEED} ? ('--seed' => $ENV{DAMOOV_WALK_SEED}) : (),
	$ENV{DAMOOV_WALK_CHAPTER} ? ('--chapter' => $ENV{DAMOOV_WALK_CHAPTER}) : (),
	$ENV{DAMOOV_WALK_VERBOSE} ? '--verbose' : (),
	$ENV{DAMOOV_WALK_GO_ON} ? '--go-on' : ());
my $said;
ok(IPC::Run::run(\@walk, \undef, '>&', \$said), "a walk of $steps steps ends where the same events lead one after the other")
  ? note($said)
  : diag($said);

my @crashes = $node->log_lines(qr/terminated by signal|TRAP|PANIC|WARNING/);
is(scalar @crashes, 0, 'no process has crashed, and nothing was leaked') or diag(join "\n", @crashes);

$node->stop;
done_testing();
