# The stand-in cloud (test/cloud) as an object: starts it, gives it orders,
# reads its records, ends it.  See test/cloud/README.md for what it can do.

package Damoov::Cloud;

use strict;
use warnings;

use Damoov::StorageQueue;
use Digest::SHA qw(hmac_sha256_base64);
use FindBin;
use HTTP::Tiny;
use IPC::Open3;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Symbol qw(gensym);

use constant SECRET => 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY';
use constant LISTEN_KEY => 'bm90LWEta2V5LWp1c3QtdGhlLXByaW1hcnktb25lIQ==';
use constant SECOND_KEY => 'bm90LWEta2V5LWp1c3QtdGhlLXNlY29uZC1vbmUhIQ==';
use constant ACCOUNT => '123456789012';
use constant EVENTGRID_KEY => 'ZXZlbnQtZ3JpZC1wcmltYXJ5LWtleS1vZi0zMi1ieXRlcyE=';

my $directory = "$FindBin::RealBin/../cloud";
my $json = JSON::PP->new->utf8->canonical->allow_nonref;
my $clouds = 0;

# Options: those of cloud.py, with _ for -, as in session_token => '...'.
sub new
{
	my ($class, %options) = @_;
	my $self = bless {
		tls => defined $options{tls_cert},
		session_token => $options{session_token},
		owner => $$,
		http => HTTP::Tiny->new(timeout => 60, keep_alive => 0, proxy => undef)
	}, $class;

	$self->{$_} = undef for grep { /proxy/ } keys %{ $self->{http} };
	$self->{http}{$_} = undef for qw(proxy http_proxy https_proxy);
	$self->_start(map { ('--' . tr/_/-/r, $options{$_}) } sort keys %options);
	return $self;
}

# Its standard input is a pipe of ours: it ends with us, whatever happens.
sub _start
{
	my ($self, @arguments) = @_;
	my $log =
	  "$PostgreSQL::Test::Utils::log_path/cloud_$$" . '_' . ++$clouds . '.log';

	open my $errors, '>>', $log or die "could not open $log: $!";
	$self->{pid} = open3(
		$self->{input}, my $output, '>&' . fileno($errors),
		'python3', "$directory/cloud.py", '--port', 0, '--exit-with-stdin',
		@arguments);
	my $line = <$output>;
	die "the cloud did not start, see $log\n"
	  unless defined $line && $line =~ /^listening on (\d+)/;
	$self->{port} = $1;
	$self->{output} = $output;
	return;
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

sub port
{
	my ($self) = @_;
	return $self->{port};
}

sub base_url
{
	my ($self) = @_;
	return ($self->{tls} ? 'https' : 'http') . "://127.0.0.1:$self->{port}";
}

sub queue_url
{
	my ($self, $queue) = @_;
	return join '/', $self->base_url, ACCOUNT, $queue // 'damoov';
}

# What a source of a type needs to read a queue here: options and secrets.
sub access
{
	my ($self, $type, $queue) = @_;

	return (
		{
			endpoint => $self->base_url,
			entity => $queue // 'damoov',
			wait_seconds => 1
		},
		{ shared_access_key_name => 'listen', shared_access_key => LISTEN_KEY })
	  if $type eq 'servicebus';
	if ($type eq 'eventgrid')
	{
		my ($topic, $subscription) = split m{/}, $queue // 'trips/damoov';
		return (
			{
				endpoint => $self->base_url,
				topic => $topic,
				subscription => $subscription
			},
			{ access_key => EVENTGRID_KEY });
	}
	return (
		{
			endpoint => Damoov::StorageQueue->new($self->base_url)->endpoint,
			queue => $queue // 'damoov'
		},
		{ account_key => Damoov::StorageQueue::KEY })
	  if $type eq 'storagequeue';
	return (
		{
			queue_url => $self->queue_url($queue),
			region => 'eu-west-1',
			wait_seconds => 1
		},
		{
			access_key_id => 'AKIDEXAMPLE',
			secret_access_key => SECRET,
			session_token => $self->{session_token}
		});
}

sub _percent
{
	my ($text) = @_;
	$text =~ s/([^A-Za-z0-9._~-])/sprintf '%%%02X', ord $1/ge;
	return $text;
}

# A token for an entity of Service Bus, as somebody might paste it.
sub bus_token
{
	my ($self, $seconds, $entity) = @_;
	my $resource = _percent($self->base_url . "/$entity");
	my $expiry = int(time) + $seconds;
	my $signature = hmac_sha256_base64("$resource\n$expiry", LISTEN_KEY);

	$signature .= '=' while length($signature) % 4;
	return "SharedAccessSignature sr=$resource&sig=" . _percent($signature) . "&se=$expiry&skn=listen";
}

###########################################################################
# Control
###########################################################################

# HTTP::Tiny knows TLS only with modules that are not in the core.
my $tls_client = <<'PYTHON';
import ssl, sys, urllib.request
method, url = sys.argv[1:]
body = sys.stdin.buffer.read()
context = ssl._create_unverified_context()
request = urllib.request.Request(url, body if method == "POST" else None, method=method)
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
sys.stdout.buffer.write(opener.open(request, timeout=60).read())
PYTHON

sub _order
{
	my ($self, $method, $path, $body) = @_;
	my $url = $self->base_url . "/_control/$path";

	if ($self->{tls})
	{
		my ($out, $err);
		IPC::Run::run([ 'python3', '-c', $tls_client, $method, $url ],
			'<', \($body // ''), '>', \$out, '2>', \$err)
		  or die "$method $path: $err";
		return $json->decode($out);
	}
	my $reply = $self->{http}
	  ->request($method, $url, defined $body ? { content => $body } : {});
	die "$method $path: $reply->{status} $reply->{content}\n"
	  unless $reply->{success};
	return $json->decode($reply->{content});
}

sub order
{
	my ($self, $name, %order) = @_;
	return $self->_order('POST', $name, $json->encode(\%order));
}

# Options: service (sqs, eventgrid, storagequeue), queue (of eventgrid: "topic/subscription"),
# and those of the order.

# Notifications: hashes, or strings that go out as they are (in characters).
# Options: service (sqs, servicebus), queue, and those of the order.
sub publish
{
	my ($self, $notifications, %options) = @_;
	return $self->order('publish',
		notifications => ref $notifications eq 'ARRAY'
		? $notifications
		: [$notifications], %options);
}

sub dataset
{
	my ($self, $id, $device_token, $document, $kind) = @_;
	return $self->order('dataset',
		kind => $kind // 'processed',
		id => $id,
		device_token => $device_token,
		(ref $document ? 'document' : 'text') => $document);
}

# An object of a bucket, or with store => 'blob' of a container; its URL.
# Options: gzip, version, region (of the bucket), refusal (of a wrong region).
sub object
{
	my ($self, $container, $key, $document, %options) = @_;
	return $self->order(
		'object',
		store => 's3',
		container => $container,
		key => $key,
		(ref $document ? 'document' : 'text') => $document,
		%options)->{url};
}

# Answers what will be true at the end of the story.
sub fleet
{
	my ($self, %options) = @_;
	return $self->order('fleet', base_url => 'self', %options);
}

sub create_queue
{
	my ($self, $queue, %settings) = @_;
	return $self->order('queue',
		action => 'create',
		queue => $queue, %settings);
}

sub delete_queue
{
	my ($self, $queue, %options) = @_;
	return $self->order('queue', action => 'delete', queue => $queue, %options);
}

# Counts: visible, in_flight, deleted, sent, receives, waiting_polls ...
sub queue
{
	my ($self, $queue, $service) = @_;
	$queue //= 'damoov';
	$queue =~ s/([^\w\/\$.-])/sprintf '%%%02X', ord $1/ge;
	return $self->_order('GET',
		"queue?name=$queue&service=" . ($service // 'sqs'));
}

sub fault
{
	my ($self, $where, $mode, %options) = @_;
	return $self->order('fault', where => $where, mode => $mode, %options);
}

# Serves a certificate (its text) as .../SimpleNotificationService-NAME.pem.
sub certificate
{
	my ($self, $name, $pem) = @_;
	return $self->order('certificate', certificate => $name, pem => $pem);
}

# The body of a signed message of SNS; options: certificate, key_file, type,
# topic, members (what differs).
sub signed
{
	my ($self, %options) = @_;
	return $self->order('sign', %options)->{body};
}

# Tokens of confirmed subscriptions.
sub confirmed
{
	my ($self) = @_;
	return @{ $self->_order('GET', 'confirmed') };
}

sub pending_faults
{
	my ($self) = @_;
	return scalar @{ $self->_order('GET', 'fault') };
}

sub clear_faults
{
	my ($self) = @_;
	return $self->order('fault', clear => JSON::PP::true);
}

# Recorded exchanges, to be asked for in order by the readers of a queue; and
# how many are left, and what else was asked.
sub replay
{
	my ($self, $queue, $exchanges) = @_;
	return $self->order('replay', queue => $queue, exchanges => $exchanges);
}

sub replayed
{
	my ($self, $queue) = @_;
	return $self->_order('GET', "replay?queue=$queue");
}

sub settings
{
	my ($self, %settings) = @_;
	return $self->order('settings', %settings);
}

# Empty queues, no faults, no datasets, no records.
sub reset_all
{
	my ($self) = @_;
	return $self->order('reset');
}

###########################################################################
# What it has seen
###########################################################################

# The requests so far; filters: since (a number), path (a pattern), and any other
# field: target, object_id, status ...
sub requests
{
	my ($self, %filter) = @_;
	return $self->_requests(\%filter);
}

# What can be told apart there is: reading JSON costs more here.
sub _requests
{
	my ($self, $filter, @fields) = @_;
	my %filter = %$filter;
	my $since = delete $filter{since} // 0;
	my $path = delete $filter{path};
	my @asked = ("since=$since", map { "$_=" . _percent($filter{$_}) } grep { $filter{$_} ne '' } keys %filter);
	my @empty = grep { $filter{$_} eq '' } keys %filter;

	push @asked, 'fields=' . join ',', @fields, @empty if @fields;
	return grep {
		my $request = $_;
		(!defined $path || $request->{path} =~ $path)
		  && !grep { ($request->{$_} // '') ne '' } @empty
	} @{ $self->_order('GET', 'requests?' . join '&', @asked) };
}

sub count_requests
{
	my ($self, %filter) = @_;
	my @requests = $self->_requests(\%filter, 'path');
	return scalar @requests;
}

# How many of these requests were in flight at the same time, at most.
sub most_at_once
{
	my ($self, %filter) = @_;
	my ($now, $most) = (0, 0);
	my %change;

	for ($self->requests(%filter))
	{
		$change{ $_->{number} } = 1;
		$change{ $_->{answered} } = -1 if $_->{answered};
	}
	for (sort { $a <=> $b } keys %change)
	{
		$now += $change{$_};
		$most = $now if $now > $most;
	}
	return $most;
}

# A mark for "since".
sub last_request
{
	my ($self) = @_;
	my @requests = $self->requests(since => -1);
	return @requests ? $requests[-1]{number} : 0;
}

1;
