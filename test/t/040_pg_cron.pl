# Without the background worker: pg_cron calls damoov_poll(), and the library
# is not preloaded.

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
my $node = Damoov::Node->start_new(
	'cron',
	preload => 0,
	conf => "shared_preload_libraries = 'pg_cron'
		cron.database_name = 'postgres'
		cron.use_background_workers = on
		max_worker_processes = 16");

is($node->sql('SHOW shared_preload_libraries'),
	'pg_cron', 'the library is not preloaded');
is($node->sql('SELECT damoov.worker_pid()'), '', '... and no worker runs');
$node->sql('CREATE EXTENSION pg_cron');
$node->add_source($cloud);

# Every second where pg_cron can do that (1.5), else once a minute.
my $call = 'CALL damoov_poll(max_seconds => 5)';
my $seconds = 60;
my ($status) = $node->psql('postgres',
	"SELECT cron.schedule('damoov', '1 seconds', '$call')");
if ($status != 0)
{
	$seconds = 150;
	$node->sql("SELECT cron.schedule('damoov', '* * * * *', '$call')");
}

my $driver = token('driver');
my $track = token('trip');
$cloud->dataset($track, $driver, track_document(7));
$cloud->publish(
	[
		enriched($driver, $track, 10),
		map { heartbeat($driver, $_) } 1 .. 30
	]);
eventually {
	$node->sql('SELECT count(*) FROM damoov.heartbeats') == 30
	  && $node->sql('SELECT sum(point_count) FROM damoov.trips') eq '7'
} 'rows arrive', $seconds;
eventually { $cloud->queue->{deleted} == 31 } '... and leave the queue';
eventually {
	$node->sql(
		"SELECT count(*) FROM cron.job_run_details WHERE status = 'succeeded'")
	  >= 1
} '... and the job succeeds';
is( $node->sql(
		"SELECT count(*) FROM cron.job_run_details WHERE status = 'failed'"),
	0, '... each time');

# In the session of an application, too.
$cloud->publish([ heartbeat($driver, 100) ]);
$node->poll(5);
is($node->sql('SELECT count(*) FROM damoov.heartbeats'),
	31, 'CALL by hand beside it');

$node->stop;
done_testing();
