# Azurite, the emulator of Azure Storage by its vendor, on a port of its own and
# in memory.  test/run installs it and says in DAMOOV_AZURITE where.

package Damoov::Azurite;

use strict;
use warnings;

use Damoov::StorageQueue;
use IO::Socket::INET;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(time usleep);

my $started = 0;

sub new
{
	my ($class) = @_;
	my $directory = $ENV{DAMOOV_AZURITE}
	  // die "DAMOOV_AZURITE does not say where Azurite is; test/run installs it\n";
	my $program = "$directory/node_modules/azurite/dist/src/queue/main.js";
	die "Azurite could not be installed: "
	  . (-r "$directory/log" ? slurp_file("$directory/log") : "there is no $program") . "\n"
	  unless -r $program;
	my $self = bless {
		port => PostgreSQL::Test::Cluster::get_free_port(),
		log => "$PostgreSQL::Test::Utils::log_path/azurite_$$" . '_' . ++$started . '.log',
		owner => $$
	}, $class;

	$self->_start($program);
	return $self;
}

sub _start
{
	my ($self, $program) = @_;
	# it ends with us, whatever happens
	my @command = (
		'setpriv', '--pdeathsig', 'TERM', 'node', $program,
		'--queueHost', '127.0.0.1', '--queuePort', $self->{port},
		'--inMemoryPersistence', '--disableTelemetry');

	$self->{pid} = fork // die "could not fork: $!";
	if ($self->{pid} == 0)
	{
		$ENV{AZURITE_ACCOUNTS} =
		  Damoov::StorageQueue::ACCOUNT . ':' . Damoov::StorageQueue::KEY;
		delete $ENV{NODE_OPTIONS};
		open STDIN, '<', '/dev/null' or POSIX::_exit(1);
		open STDOUT, '>>', $self->{log} or POSIX::_exit(1);
		open STDERR, '>&', \*STDOUT or POSIX::_exit(1);
		chdir $PostgreSQL::Test::Utils::tmp_check or POSIX::_exit(1);
		exec @command or POSIX::_exit(1);
	}
	$self->_await;
	return;
}

sub _await
{
	my ($self) = @_;
	my $end = time + 120;

	until (IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port}))
	{
		die "Azurite did not start: " . slurp_file($self->{log}) . "\n"
		  if time > $end || waitpid($self->{pid}, POSIX::WNOHANG) != 0;
		usleep(50_000);
	}
	return;
}

sub base_url
{
	my ($self) = @_;
	return "http://127.0.0.1:$self->{port}";
}

sub stop
{
	my ($self) = @_;

	return if !defined $self->{pid} || $self->{owner} != $$;
	kill 'TERM', $self->{pid};
	waitpid $self->{pid}, 0;
	$self->{pid} = undef;
	return;
}

sub DESTROY
{
	my ($self) = @_;
	local ($?, $@, $!);
	$self->stop;
	return;
}

1;
