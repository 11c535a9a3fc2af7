# A PostgreSQL server with the extension, and the usual steps on it.

package Damoov::Node;

use strict;
use warnings;

use parent -norequire, 'PostgreSQL::Test::Cluster';

use Damoov::Cloud;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

# Options: preload (1), databases (''), extension (1), conf (more lines).
sub start_new
{
	my ($class, $name, %options) = @_;
	my $node = $class->new($name);

	$node->init(extra => [ '--encoding=UTF8', '--locale=C' ],
		allows_streaming => $options{allows_streaming} // 0);
	$node->append_conf('postgresql.conf', join "\n",
		($options{preload} // 1) ? "shared_preload_libraries = 'damoov'" : (),
		'damoov.allow_http_loopback = on',
		"damoov.databases = '" . ($options{databases} // '') . "'",

		# statements with secrets are none of the log's business
		'log_statement = none',
		'restart_after_crash = on',
		$options{conf} // ());
	$node->start;
	$node->sql('CREATE EXTENSION damoov') if $options{extension} // 1;
	return $node;
}

# While a server starts again, psql may end before it has read its input: that is
# a failure like another, not the end of the test.
sub psql
{
	my ($self, $database, $sql, %options) = @_;
	my $list = wantarray;
	my @answer = eval { $list ? $self->SUPER::psql($database, $sql, %options) : scalar $self->SUPER::psql($database, $sql, %options) };

	if (my $error = $@)
	{
		die $error if $options{on_error_die} || $error !~ /Broken pipe/;
		@answer = (2, '', $error);
	}
	return $list ? @answer : $answer[0];
}

sub sql
{
	my ($self, $sql, $database) = @_;
	return $self->safe_psql($database // 'postgres', $sql);
}

# "SQLSTATE: message" of a statement that has to fail, with its hint behind it.
sub error_of
{
	my ($self, $sql, %options) = @_;
	my ($status, $out, $err) = $self->psql(
		$options{database} // 'postgres',
		"\\set VERBOSITY verbose\n$sql",
		on_error_stop => 0,
		extra_params => $options{user} ? [ '-U', $options{user} ] : []);

	return "no error: $out" unless $err =~ /ERROR:\s+(\w{5}: .*)/;
	my $error = $1;
	$error .= " HINT: $1" if $err =~ /^HINT:\s+(.*)/m;
	return $error;
}

sub quoted
{
	my ($text) = @_;
	$text =~ s/'/''/g;
	return "'$text'";
}

sub options_sql
{
	my ($options) = @_;
	my @given = grep { defined $options->{$_} } sort keys %$options;
	return '' unless @given;
	return 'OPTIONS ('
	  . join(', ', map { "$_ " . quoted($options->{$_}) } @given) . ')';
}

# A source, its secrets, and an api server for the cloud.  Options: name, type,
# queue, database, user (of the mapping), mapping (1), api (1), wake (1, the
# worker finds it at once); options and secrets replace or, with undef, take away
# what is usual.
sub add_source
{
	my ($self, $cloud, %given) = @_;
	my $name = $given{name} // 'queue';
	my $user = $given{user} // 'CURRENT_USER';
	my ($options, $secrets) = $cloud->access($given{type} // 'sqs', $given{queue});
	my %options = (%$options, %{ $given{options} // {} });
	my %secrets = (%$secrets, %{ $given{secrets} // {} });

	$self->add_api($cloud, $given{database}) if $given{api} // 1;
	$self->sql(
		'BEGIN;'
		  . "CREATE SERVER $name TYPE "
		  . quoted($given{type} // 'sqs')
		  . ' FOREIGN DATA WRAPPER damoov '
		  . options_sql(\%options) . ';'
		  . (
			($given{mapping} // 1)
			? "CREATE USER MAPPING FOR $user SERVER $name "
			  . options_sql(\%secrets) . ';'
			: '')
		  . (($given{wake} // 1) ? 'SELECT damoov.wake_worker();' : '')
		  . 'COMMIT',
		$given{database});
	return;
}

# Makes the worker look at the options now, instead of within five seconds;
# perhaps after a statement of the same transaction.
sub wake
{
	my ($self, $sql, $database) = @_;
	$self->sql(join(';', 'BEGIN', 'SELECT damoov.wake_worker()', $sql // (), 'COMMIT'), $database);
	return;
}

# Once a database.  No dataset is looked for outside, whatever its kind.
sub add_api
{
	my ($self, $cloud, $database) = @_;
	my $url = $cloud->base_url;

	$self->sql(
		"DO \$\$ BEGIN
			IF NOT EXISTS (SELECT FROM pg_foreign_server WHERE srvname = 'api') THEN
				CREATE SERVER api TYPE 'api' FOREIGN DATA WRAPPER damoov
					OPTIONS (base_url '$url', crash_url '$url');
			END IF;
		END \$\$", $database);
	return;
}

# After files of another server were copied here: its own port and sockets.
sub settle
{
	my ($self) = @_;

	$self->append_conf('postgresql.conf', 'port = ' . $self->port . "\nunix_socket_directories = '" . $self->host . "'");
	return;
}

# Does what the worker does, until there is nothing left to do.
sub poll
{
	my ($self, $max_seconds, $database) = @_;
	$max_seconds //= 30;
	return $self->sql("CALL damoov_poll(max_seconds => $max_seconds)",
		$database);
}

# Has the worker that was killed got a successor?  One statement: between two
# the server may notice and end all sessions.
sub has_another_worker
{
	my ($self, $pid, $database) = @_;
	my ($code, $pids) = $self->psql($database // 'postgres',
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'damoov worker'");

	return $code == 0 && $pids ne '' && $pids !~ /^$pid$/m;
}

# Starts a statement in a session of its own and does not wait for it.
sub start_sql
{
	my ($self, $sql, %options) = @_;
	my $session = $self->background_psql($options{database} // 'postgres',
		on_error_stop => 0);

	$session->query_safe($options{first}) if $options{first};
	$session->{pid} = $session->query_safe('SELECT pg_backend_pid()');
	$session->{stdin} .=
	  "\\set VERBOSITY verbose\n$sql;\n\\echo end of statement\n";
	$session->{run}->pump_nb;
	return $session;
}

# Waits for what start_sql() has started; its error, or ''.
sub finish_sql
{
	my ($self, $session) = @_;
	$session->query_until(qr/end of statement/, '');
	$session->quit;
	# what a poll tells is no error
	return $session->{stderr} =~ s/^(?:psql:\S+ )?NOTICE: .*\n(?:LOCATION: .*\n?)?//mgr;
}

sub log_size
{
	my ($self) = @_;
	return -s $self->logfile;
}

# Lines of the log since an offset that match.
sub log_lines
{
	my ($self, $pattern, $offset) = @_;
	return grep { /$pattern/ } split /\n/,
	  slurp_file($self->logfile, $offset // 0);
}

1;
