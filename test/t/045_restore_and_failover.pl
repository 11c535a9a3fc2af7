# docs/restore-and-failover.md, played from its first step to its last: the
# commands are taken from the page and run on servers that stand for its
# machines, while the stand-in cloud sends messages.  Each section has a scene
# that takes all of its steps, in their order; after each, every message that was
# sent is there, once.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Documents;
use Damoov::Node;
use Damoov::Stage;
use Damoov::Story;
use PostgreSQL::Test::Utils;
use Test::More;

my $page = slurp_file("$FindBin::RealBin/../../docs/restore-and-failover.md");
my %section = Damoov::Documents::sections($page);
my $storage = PostgreSQL::Test::Utils::tempdir_short();
my $output = PostgreSQL::Test::Utils::tempdir() . '/output';
my $patience = $PostgreSQL::Test::Utils::timeout_default;    # of what may wait for a standby for ever

###########################################################################
# Playing the page
###########################################################################

# The section that is played, and the servers that stand for its machines
my ($scene, %machine, %played);

sub scene
{
	($scene, %machine) = @_;

	die "the page has no section \"$scene\"\n" unless $section{$scene};
	note("== $scene");
	$played{$scene} //= [];
	return;
}

# Another scene, in the middle of one.
sub within
{
	my ($code, @scene) = @_;
	my @here = ($scene, %machine);

	scene(@scene);
	$code->();
	($scene, %machine) = @here;
	return;
}

sub the_step
{
	my ($number) = @_;
	my %steps = Damoov::Documents::steps($section{$scene});
	my $step = $steps{$number} // die "\"$scene\" has no step $number\n";

	push @{ $played{$scene} }, $number;
	return $step;
}

# The server that a step is about.
sub server_of
{
	my ($step) = @_;
	my $name = $step->{machine} // 'here';

	return $machine{$name} // die "\"$scene\": nothing stands for $name\n";
}

# A block as it is there.  What differs from the page: since (its time), position.
sub there
{
	my ($block, $server, %given) = @_;
	my $bindir = $server->config_data('--bindir');

	$block =~ s{/var/lib/postgresql/data}{$server->data_dir}ge;
	$block =~ s{/var/lib/postgresql/new}{$machine{new}->data_dir}ge;
	$block =~ s{/var/log/postgresql/fleet\.log}{$server->logfile}ge;
	$block =~ s{/usr/lib/postgresql/\d+/bin}{$bindir}g;
	$block =~ s{/backup\b}{$storage}g;
	$block =~ s{\bhost=(fleet-\w)}{'host=' . $machine{$1}->host . ' port=' . $machine{$1}->port}ge;
	$block =~ s{-h (fleet-\w)}{'-h ' . $machine{$1}->host . ' -p ' . $machine{$1}->port}ge;
	$block =~ s{2024-05-14 03:00\+00}{$given{since} // die "$scene: no time is given"}ge;
	$block =~ s{0/5000028}{$given{position} // die "$scene: no position is given"}ge;
	return $block;
}

sub in_shell
{
	my ($block, $server) = @_;
	local %ENV = $server->_get_env;

	# it is on a machine of its own
	$server->settle if $block =~ /pg_ctl .* start$/m;
	my $status = system 'bash', '-e', '-o', 'pipefail', '-c', "{ $block\n} >$output 2>&1 </dev/null";
	$server->_update_pid(-1) if $block =~ /pg_ctl/;
	return ($status, slurp_file($output));
}

# The blocks of a step are run, which succeeds; what they show.  A step without
# any is for the scene to do.
sub step
{
	my ($number, %given) = @_;
	my $step = the_step($number);
	my $shown = '';
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	for (@{ $step->{blocks} })
	{
		my ($language, $block) = @$_;
		my $server = server_of($step);
		my ($status, $out, $err) = (0, '', '');

		# of the upgraded one, from the time it is there
		$server = $machine{new} if $machine{new} && ($language eq 'sql' || $block =~ /pg_ctl -D \S+new/);
		$block = there($block, $server, %given);
		($status, $out, $err) =
		    $language eq 'sql' ? $server->psql('fleet', $block, on_error_stop => 1, timeout => $patience)
		  : $language eq 'sh' ? in_shell($block, $server)
		  : die "\"$scene\", step $number: what is a block in $language?\n";
		is($status, 0, "$scene, step $number: " . (split /\n/, $block)[0]) or diag($block, $out, $err // '');
		$shown .= "$out\n";
	}
	return $shown =~ s/\n\z//r;
}

# Repeats a step, whose only block is SQL, until it shows this.
sub await
{
	my ($number, $expected) = @_;
	my $step = the_step($number);
	my $server = $machine{new} // server_of($step);
	my ($shown, $err) = ('');
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	eventually { (undef, $shown, $err) = $server->psql('fleet', $step->{blocks}[0][1]); $shown =~ /\A$expected\z/ }
	"$scene, step $number: shows it" or diag("$shown\n$err");
	return $shown;
}

# Waits for what the page says of a source that is paused for this.
my @reasons = $section{'What the status shows'} =~ /^\| `([^`]{20,}|damoov_pause)` \|/mg;

sub awaits_pause
{
	my ($number, $pattern) = @_;
	my ($reason) = map { s/\.\.\./trips_eu/r } grep { /$pattern/ } @reasons;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return await($number, quotemeta "trips_eu|paused|$reason");
}

###########################################################################
# Messages
###########################################################################

my ($cloud, $first) = stage('fleet_a', databases => 'fleet', extension => 0, allows_streaming => 1);
my %sent;          # heartbeats and trips that have to be there
my $trips = 0;

sub ask
{
	my ($server, $sql) = @_;
	return $server->safe_psql('fleet', $sql, timeout => $patience);
}

sub send_messages
{
	my ($count) = @_;
	my $trip = token('trip', ++$trips);

	$cloud->dataset($trip, driver(), track_document(3));
	publish([ @{ heartbeats($count - 1) }, enriched(driver(), $trip, $trips) ]);
	$sent{HeartbeatReceived} += $count - 1;
	$sent{TrackEnrichmentFinished}++;
	return;
}

# A source was paused: a receive that waited takes nothing any more.
sub asks_no_more
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return eventually { queue()->{waiting_polls} == 0 } '... and nobody asks the queue';
}

sub held
{
	my ($server) = @_;
	my ($status, $out) = $server->psql('fleet',
		"SELECT event, count(*) FROM damoov.events WHERE user_id = (SELECT user_id FROM damoov.users WHERE device_token = '${\driver()}') GROUP BY event ORDER BY event;
		SELECT count(*) FROM damoov.trips; SELECT count(*) FROM damoov.trip_points");

	return $out;
}

# Every message that was sent is there, and every trip with its points.
sub has_all
{
	my ($server, $name) = @_;
	my $expected = join "\n", (map { "$_|$sent{$_}" } sort keys %sent), $trips, 3 * $trips;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	eventually { held($server) eq $expected } "$name: every message that was sent is there" or diag(held($server), "instead of\n$expected");
	is(ask($server, "SELECT count(*) FROM damoov.heartbeats JOIN damoov.users USING (user_id) WHERE device_token = '${\driver()}'"),
		$sent{HeartbeatReceived}, '... once');
	return;
}

sub receives_all
{
	my ($server, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	has_all($server, $name);
	eventually { in_queue() == 0 } '... and no more in the queue';
	return;
}

sub verify
{
	my ($server) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	within(
		sub {
			await(1, qr/trips_eu\|polling\|\|\|.*/);
			is(step(2), '', '... no message is lost');
			like(step(3), qr/^duplicate\|\d+$/, '... what comes again is a duplicate');
			is(step(4), '', '... no download has failed');
			step(5);
		},
		'Verify that nothing is lost', here => $server);
	return;
}

# From one to another; what becomes of the notifications.
sub take_over
{
	my ($from, $to, $since, $expected) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	within(
		sub {
			step(1, since => $since);
			step(2);
			is(step(3), $expected, 'what only the other server has is stored');
			step(4);
			step(5);
			like(step(3), qr/^duplicate\|\d+$/, '... and is a duplicate then');
			step(6);
			is(join(' ', glob "$storage/*.copy"), '', '... no file is left');
		},
		'Take over what only the other server has', 'fleet-a' => $from, 'fleet-b' => $to);
	return;
}

###########################################################################
# Before anything happens
###########################################################################

mkdir "$storage/$_" or die "could not make $storage/$_: $!\n" for qw(base wal);
create(undef, visibility_timeout => 3);
$first->safe_psql('postgres', 'CREATE DATABASE fleet');
# it does not matter for messages
$first->safe_psql('postgres', 'ALTER DATABASE fleet SET synchronous_commit = off');
ask($first, 'CREATE EXTENSION damoov');
add_source(name => 'trips_eu', database => 'fleet');

scene('Names in the examples');
is(join(' ', sort keys %{ { map { $_ => 1 } $page =~ /^\d+\. On `([^`]+)`/mg } }), 'fleet-a fleet-b fleet-c', 'the steps are about these machines');
is(join(' ', sort keys %{ { map { $_ => 1 } $page =~ /^ *```(\w+)$/mg } }), 'sh sql', '... on which blocks of shell and SQL are run');

scene('What the status shows', here => $first);
eventually { step(0) =~ /^trips_eu\|polling\|\|\d+\|/ } 'the status shows a source that is polled';
ask($first, q{SELECT damoov_pause('trips_eu')});
like(step(0), qr/^trips_eu\|paused\|\Q$reasons[2]\E\|/, '... or paused by somebody');
ask($first, q{ALTER SERVER trips_eu OPTIONS (ADD paused 'true'); SELECT damoov_resume('trips_eu')});
eventually { ask($first, 'SELECT state, pause_reason IS NULL FROM damoov.status') eq 'paused|t' } '... or by its option';
like($section{$scene}, qr/^\| NULL \| The option `paused`/m, '... for which there is no reason');
ask($first, q{ALTER SERVER trips_eu OPTIONS (SET paused 'false')});

my $second = Damoov::Node->new('fleet_b');
scene('Prepare', 'fleet-a' => $first, 'fleet-b' => $second);
step($_) for 1 .. 5;
is(await(6, qr/t\|.*/), 't|damoov|fleet', 'the standby has the library');
await(7, 'streaming');
step(8);
send_messages(4);
receives_all($first, 'prepared');
eventually { held($second) eq held($first) } '... on the standby, too';

###########################################################################
# Fail-over, and back
###########################################################################

# A dataset is under way; and a message is stored on the primary, but not on the
# standby: it stays in the queue
my $under_way = 'SELECT count(*) FROM damoov.downloads WHERE leased_until IS NOT NULL';
$cloud->fault('api', 'delay', target => token('trip', $trips + 1), seconds => 60, times => 1);
send_messages(2);
eventually { in_queue() == 0 && ask($first, $under_way) eq '1' && ask($second, $under_way) eq '1' } 'a dataset is under way';
$second->stop;
send_messages(2);
eventually { ask($first, q{SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND backend_type = 'damoov worker'}) eq '1' } 'the worker waits for the standby';
$first->stop('immediate');
cmp_ok(in_queue(), '>', 0, '... and has not deleted what it has not');
send_messages(3);
$second->start;

scene('Fail over to a standby', 'fleet-a' => $first, 'fleet-b' => $second);
step(1);
is(step(2), 't|damoov', 'it is a standby with the library');
is(step(3), 't', 'it will not wait for another one');
is(step(4), 't', 'it is promoted');
await(5, qr/trips_eu\|polling\|\|t/);
receives_all($second, 'failed over');
step(6);
verify($second);
step(7);

scene('Bring the former primary back', 'fleet-a' => $first, 'fleet-b' => $second);
my $since = ask($second, 'SELECT min(received_at) FROM damoov.events');
step(1);
is(ask($first, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'damoov worker'}), '0', 'the former primary receives nothing');
my $there = ask($first, 'SELECT count(*) FROM damoov.events');
cmp_ok($there, '>', 4, '... and has what the standby did not get');
step(2);
take_over($first, $second, $since, "duplicate|$there");
step($_) for 3 .. 6;
await(7, 'streaming');
step(8);
send_messages(2);
receives_all($second, 'with the former primary as standby');
eventually { held($first) eq held($second) } '... it has them, too';

scene('Switch over', 'fleet-a' => $second, 'fleet-b' => $first);
await(1, 'streaming');
step(2);
send_messages(2);
my ($position) = step(3) =~ m{(\w+/\w+)$};
is(step(4, position => $position), 't', 'the standby has all');
step($_) for 5 .. 8;
await(9, 'streaming');
step(10);
receives_all($first, 'switched over');
step(11);
verify($first);

# An asynchronous primary, whose machine starts again
ask($first, q{ALTER SYSTEM RESET synchronous_standby_names});
$first->stop('immediate');
within(sub { step($_) for 3 .. 4 }, 'Fail over to a standby', 'fleet-b' => $second);
ask($second, q{SELECT damoov_pause('trips_eu')});
asks_no_more();
$since = ask($second, 'SELECT now()');
$first->start;
send_messages(3);
has_all($first, 'the former primary receives');
publish(['no JSON']);
eventually { in_queue() == 0 } '... and something that cannot be understood';
ask($second, q{SELECT damoov_resume('trips_eu')});
isnt(held($second), held($first), '... which the other one has not');

scene('Both servers receive', 'fleet-a' => $first, 'fleet-b' => $second);
step(1);
step(2);
await(3, '0');
step(4);
step(5);
take_over($first, $second, $since, 'stored|3');
is(ask($second, 'SELECT reason, body FROM damoov.quarantine'), ask($first, 'SELECT reason, body FROM damoov.quarantine'), 'the quarantine was taken over');
is(ask($second, 'SELECT count(*) FROM damoov.quarantine'), '1', '... with what is in it');
send_messages(2);
receives_all($second, 'of both');
step(6);
verify($second);
within(
	sub {
		step($_) for 3 .. 6;
		await(7, 'streaming');
	},
	'Bring the former primary back', 'fleet-a' => $first, 'fleet-b' => $second);
step(7);
eventually { held($first) eq held($second) } 'the former primary is a standby again';
$first->stop;

###########################################################################
# From the archive
###########################################################################

my $segment = ask($second, 'SELECT pg_walfile_name(pg_switch_wal())');
eventually { -e "$storage/wal/$segment" } 'the archive has all';
$second->stop('immediate');
send_messages(2);

my $recovered = Damoov::Node->new('fleet_c');
scene('Recover a lost server', 'fleet-c' => $recovered);
step($_) for 1 .. 4;
await(5, 'f');
awaits_pause(6, 'copied');
like(step(7), qr/^20\d\d-/, 'it tells up to when it has messages');
step(8);
receives_all($recovered, 'recovered');
step(9);
verify($recovered);

# A mistake, and what comes after it
sub base_backup
{
	my ($server) = @_;

	system_or_bail('rm', '-rf', "$storage/base");
	within(sub { step(3) }, 'Prepare', 'fleet-a' => $server);
	return;
}

base_backup($recovered);
my $other = token('other');
publish([ heartbeat($other, 1) ]);
send_messages(2);
receives_all($recovered, 'before the mistake');
$since = ask($recovered, 'SELECT clock_timestamp()');
ask($recovered, "DELETE FROM damoov.heartbeats; SELECT FROM damoov_forget('$other')");
send_messages(2);
eventually { in_queue() == 0 } 'what comes after the mistake is stored';

my $back = Damoov::Node->new('fleet_d');
scene('Go back to a point in time', 'fleet-a' => $recovered, 'fleet-c' => $back);
step(1);
asks_no_more();
send_messages(3);
$segment = step(2);
eventually { -e "$storage/wal/$segment" } 'the archive has all';
step(3);
step(4, since => $since);
step(5);
await(6, 'f');
is(ask($back, "SELECT count(*) FROM damoov.users WHERE device_token = '$other'"), '1', 'the person is there who was erased after this time');
awaits_pause(7, 'copied');
step(8);
take_over($recovered, $back, $since, 'stored|2');
is(ask($back, "SELECT count(*) FROM damoov.users WHERE device_token = '$other'"), '0', '... and is erased again');
step(9);
step(10);
receives_all($back, 'gone back');
step(11);
verify($back);
publish([ heartbeat($other, 2) ]);
send_messages(2);
receives_all($back, 'with the mark of a person');
is(ask($back, 'SELECT count(*) FROM damoov.users'), '1', '... nothing is stored about him');

###########################################################################
# Dumps
###########################################################################

sub empty_server
{
	my ($name) = @_;

	# the database is restored before a worker serves it
	return Damoov::Node->start_new($name, extension => 0, allows_streaming => 1);
}

$since = ask($back, 'SELECT now()');
my $restored = empty_server('fleet_e');
scene('Restore a dump', 'fleet-a' => $back, 'fleet-c' => $restored);
is(step(1) =~ s/\s//gr, '', 'nothing was added');
send_messages(2);
receives_all($back, 'after the dump');
step($_) for 2 .. 6;
awaits_pause(7, 'restored from a dump');
step(8);
within(
	sub {
		step(2);
		await(3, '0');
	},
	'Both servers receive', 'fleet-a' => $back);
send_messages(2);
take_over($back, $restored, $since, 'stored|2');
$back->stop;
step(9);
receives_all($restored, 'restored');
step(10);
verify($restored);

my $jobs = empty_server('fleet_f');
within(sub { step($_) for 2 .. 3 }, 'Restore a dump', 'fleet-c' => $jobs);
scene('Restore a dump with jobs', 'fleet-c' => $jobs);
step($_) for 1 .. 3;
$back->start;
is($jobs->sql('SELECT count(*), max(event_id) FROM damoov.events', 'fleet'),
	ask($back, "SELECT count(*), max(event_id) FROM damoov.events WHERE received_at <= '$since'"), 'everything is there');
$back->stop;
within(
	sub {
		step(5);
		step(6);
		awaits_pause(7, 'restored from a dump');
	},
	'Restore a dump', 'fleet-c' => $jobs);
$jobs->stop;

###########################################################################
# Copies that are meant
###########################################################################

my $copy = Damoov::Node->new('fleet_g');
scene('Make a copy for tests', 'fleet-a' => $restored, 'fleet-c' => $copy);
step(1);
step(2);
ask($restored, q{SELECT damoov_pause('trips_eu')});
asks_no_more();
send_messages(2);
step(3);
awaits_pause(4, 'copied');
$copy->poll(5, 'fleet');
cmp_ok(in_queue(), '>', 0, 'the copy takes nothing');
step(5);
is(ask($copy, 'SELECT count(*) FROM damoov.servers'), '0', '... and cannot');
ask($restored, q{SELECT damoov_resume('trips_eu')});
receives_all($restored, 'the original');
$copy->stop;

scene('Give the server a name', 'fleet-a' => $restored);
step(1);
awaits_pause(2, 'copied');
send_messages(2);
step(3);
receives_all($restored, 'named');
$restored->stop;
$restored->start;
eventually { ask($restored, 'SELECT state FROM damoov.status') eq 'paused' } 'without its name it is another one';

my $moved = Damoov::Node->new('fleet_h');
scene('Move to another machine', 'fleet-a' => $restored, 'fleet-c' => $moved);
step(1);
send_messages(2);
step($_) for 2 .. 4;
awaits_pause(5, 'copied');
step(6);
receives_all($moved, 'moved');
step(7);
verify($moved);

my $bare = Damoov::Node->new('fleet_bare');
within(
	sub {
		step(4);
		$bare->append_conf('postgresql.conf', "shared_preload_libraries = ''");
		step(5);
	},
	'Prepare', 'fleet-a' => $moved, 'fleet-b' => $bare);
within(
	sub {
		is(step(2), 't|', 'a standby without the library');
		step($_) for 3 .. 4;
	},
	'Fail over to a standby', 'fleet-b' => $bare);
$bare->poll(5, 'fleet');
is(ask($bare, 'SELECT state FROM damoov.status'), 'paused', '... is promoted, and its source is paused');
$bare->stop;

scene('Copies of the data directory');
$moved->stop;
rename $moved->data_dir, $moved->basedir . '/renamed' or die "could not rename the data directory: $!\n";
system_or_bail('pg_ctl', '-D', $moved->basedir . '/renamed', '-l', $moved->logfile, 'start');
send_messages(2);
receives_all($moved, 'renamed');
system_or_bail('pg_ctl', '-D', $moved->basedir . '/renamed', 'stop');
rename $moved->basedir . '/renamed', $moved->data_dir or die "could not rename the data directory: $!\n";
$moved->start;
receives_all($moved, 'started again');

scene('Upgrade PostgreSQL', 'fleet-a' => $moved, new => Damoov::Node->new('fleet_i'));
my $upgraded = $machine{new};
step(1);
send_messages(2);
step(2);
step(3);
step(4);
$upgraded->append_conf('postgresql.conf', "shared_preload_libraries = 'damoov'\ndamoov.databases = 'fleet'\ndamoov.allow_http_loopback = on");
step(5);
step(6);
awaits_pause(7, 'upgraded');
step(8);
receives_all($upgraded, 'upgraded');
step(9);
verify($upgraded);

###########################################################################
# Nothing is left out
###########################################################################

scene('What happened');
my %anchor = map { (lc($_) =~ s/[^\w\- ]//gr =~ s/ /-/gr) => $_ } keys %section;
my %reached = map { $anchor{$_} // die("no section is #$_\n") => 1 } $section{$scene} =~ /\(#([\w-]+)\)/g;
is_deeply([ sort grep { !$reached{$_} && $section{$_} =~ /^1\. /m && !/^(?:Take over what|Verify)/ } keys %section ], [], 'the table leads to each procedure');
foreach my $heading (sort keys %section)
{
	my %steps = Damoov::Documents::steps($section{$heading});
	my %done = map { $_ => 1 } @{ $played{$heading} // [] };

	ok($played{$heading}, "\"$heading\" has a scene");
	is_deeply([ sort { $a <=> $b } grep { !$done{$_} && ($_ || @{ $steps{$_}{blocks} }) } keys %steps ], [], '... with all of its steps');
}

$upgraded->stop;
done_testing();
