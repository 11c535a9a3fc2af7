# Azure Service Bus: what is wrong with a source is said once and without a
# secret, and mended without a restart; and recorded replies are understood.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Cloud;
use Damoov::Stage;
use Damoov::Story;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my ($cloud, $node) = stage(
	'config',
	type => 'servicebus',
	databases => 'postgres',
	conf => "log_min_messages = debug5\nlog_error_verbosity = verbose");
my $driver = driver();
my $closed = PostgreSQL::Test::Cluster::get_free_port();

my $key = Damoov::Cloud::LISTEN_KEY;
my $wrong = 'V3JvbmdTaGFyZWRBY2Nlc3NLZXlFWEFNUExF';
my $any = 'Endpoint=sb://contoso.servicebus.windows.net/';
my $keyed = "$any;SharedAccessKeyName=listen;SharedAccessKey=$wrong";

# A mapping with a connection string and nothing else.
sub pasted
{
	my ($string, %more) = @_;
	return {
		shared_access_key_name => undef,
		shared_access_key => undef,
		connection_string => $string,
		%more
	};
}

# What is wrong, what is said, and how to mend it.  Where nothing is asked, a
# case has no requests; where a key is refused, each attempt is two.
my %case = (
	wrong_key => {
		source => { secrets => { shared_access_key => $wrong } },
		state => 'auth_failed',
		error => qr/the signature was refused; the shared access key is wrong \(HTTP status 401\)/,
		mapping => "SET shared_access_key '$key'"
	},
	two_wrong_keys => {
		source => {
			secrets => { shared_access_key => $wrong, secondary_access_key => "$wrong=" }
		},
		state => 'auth_failed',
		error => qr/the signature was refused; the shared access key is wrong \(HTTP status 401\)/,
		mapping => "SET secondary_access_key '$key'"
	},
	no_listen => {
		source => {
			secrets => {
				shared_access_key_name => 'send',
				shared_access_key => Damoov::Cloud::SECOND_KEY
			}
		},
		state => 'auth_failed',
		error => qr/the shared access policy has no "Listen" claim \(HTTP status 401\)/,
		mapping => "SET shared_access_key_name 'listen'"
	},
	other_policy => {
		source => { secrets => { shared_access_key_name => 'below' } },
		state => 'auth_failed',
		error => qr/the shared access policy or its key was refused \(HTTP status 401\)/,
		mapping => "SET shared_access_key_name 'listen'"
	},
	old_token => {
		source => {
			secrets => pasted("$any;SharedAccessSignature=" . $cloud->bus_token(-5, 'old_token'))
		},
		state => 'auth_failed',
		error => qr/the token has expired \(HTTP status 401\)/,
		mapping => "SET connection_string '$any;SharedAccessSignature=" . $cloud->bus_token(3000, 'old_token') . "'"
	},
	blocked => {
		source => {},
		fault => { status => 403, message => "Ip has been prevented to connect: $driver" },
		state => 'auth_failed',
		error => qr/access was refused: a network rule forbids it, or a quota is used up \(HTTP status 403\)/,
		mapping => "ADD secondary_access_key '$wrong'"
	},
	malformed => {
		source => {},
		fault => { status => 400 },
		state => 'misconfigured',
		error => qr/the service finds the request malformed \(HTTP status 400\)/,
		requests => 1,
		server => "ADD receivers '2'"
	},
	sessions => {
		source => {},
		queue => { requires_session => JSON::PP::true },
		state => 'misconfigured',
		error => qr/the entity requires sessions, which the service does not offer over HTTP \(HTTP status 400\)/,
		requests => 1,
		server => "SET entity 'mended'"
	},
	missing_entity => {
		source => { options => { entity => 'nowhere' } },
		state => 'misconfigured',
		error => qr/the entity does not exist; option "entity" names a queue, or a subscription as topic\/subscriptions\/name \(HTTP status 404\)/,
		requests => 1,
		asks => 'nowhere',
		server => "SET entity 'missing_entity'"
	},
	gone_entity => {
		source => {},
		fault => { status => 410 },
		state => 'misconfigured',
		error => qr/the entity does not exist; .* \(HTTP status 410\)/,
		requests => 1,
		server => "ADD receivers '2'"
	},
	teapot => {
		source => {},
		fault => { status => 418 },
		state => 'misconfigured',
		error => qr/the service refused the request \(HTTP status 418\)/,
		requests => 1,
		server => "ADD receivers '2'"
	},
	unreachable => {
		source => { options => { endpoint => "http://127.0.0.1:$closed" } },
		state => 'retrying',
		error => qr/could not connect to "127\.0\.0\.1:$closed"/,
		requests => 0,
		server => "SET endpoint '${\ $cloud->base_url}'"
	},
	no_endpoint => {
		source => { options => { endpoint => undef } },
		error => qr/option "endpoint" is not set/,
		server => "ADD endpoint '${\ $cloud->base_url}'"
	},
	plain_http => {
		source => { options => { endpoint => 'http://contoso.servicebus.windows.net' } },
		error => qr/the endpoint is not of the form https:\/\/host or sb:\/\/host/,
		server => "SET endpoint '${\ $cloud->base_url}'"
	},
	bare_host => {
		source => { options => { endpoint => 'contoso.servicebus.windows.net' } },
		error => qr/the endpoint is not of the form https:\/\/host or sb:\/\/host/,
		server => "SET endpoint '${\ $cloud->base_url}'"
	},
	endpoint_path => {
		source => { options => { endpoint => $cloud->base_url . '/trips' } },
		error => qr/the endpoint names more than a host; queues and subscriptions are named by option "entity"/,
		server => "SET endpoint '${\ $cloud->base_url}'"
	},
	no_entity => {
		source => { options => { entity => undef } },
		error => qr/option "entity" is not set/,
		server => "ADD entity 'no_entity'"
	},
	(
		map {
			my ($name, $entity) = @$_;
			$name => {
				source => { options => { entity => $entity } },
				error => qr/option "entity" is not of the form queue or topic\/subscriptions\/name/,
				server => "SET entity '$name'"
			}
		} [ slash => '/trips' ],
		[ behind => 'trips/' ],
		[ twice => 'topic//sub' ],
		[ query => 'trips?timeout=1' ],
		[ upwards => 'trips/../other' ],
		[ encoded => 'trips%2Fother' ],
		[ dead => '/$deadletterqueue' ]
	),
	no_mapping => {
		source => { mapping => 0 },
		error => qr/user mapping has no "shared_access_key_name" or no "shared_access_key"/,
	},
	no_policy => {
		source => { secrets => { shared_access_key_name => undef } },
		error => qr/user mapping has no "shared_access_key_name" or no "shared_access_key"/,
		mapping => "ADD shared_access_key_name 'listen'"
	},
	both_ways => {
		source => {
			secrets => pasted($keyed, shared_access_key_name => 'listen', shared_access_key => $wrong)
		},
		error => qr/user mapping has both "connection_string" and "shared_access_key_name" or "shared_access_key"/,
		mapping => "DROP connection_string, SET shared_access_key '$key'"
	},
	key_missing => {
		source => { secrets => pasted("$any;SharedAccessKeyName=listen") },
		error => qr/connection string has no SharedAccessKeyName or no SharedAccessKey/,
		mapping => "SET connection_string '$any;SharedAccessKeyName=listen;SharedAccessKey=$key'"
	},
	signed_and_keyed => {
		source => { secrets => pasted("$keyed;SharedAccessSignature=SharedAccessSignature sr=x") },
		error => qr/connection string has SharedAccessSignature, which does not go with a key/,
		mapping => "SET connection_string '$any;SharedAccessKeyName=listen;SharedAccessKey=$key'"
	},
	odd_token => {
		source => { secrets => pasted("$any;SharedAccessSignature=$wrong") },
		error => qr/SharedAccessSignature of the connection string is not of the form SharedAccessSignature sr=\.\.\./,
		mapping => "SET connection_string '$any;SharedAccessKeyName=listen;SharedAccessKey=$key'"
	},
	split_token => {
		source => { secrets => pasted("$any;SharedAccessSignature=SharedAccessSignature sr=x\r\nx: $wrong") },
		error => qr/SharedAccessSignature of the connection string is not of the form SharedAccessSignature sr=\.\.\./,
		mapping => "SET connection_string '$any;SharedAccessKeyName=listen;SharedAccessKey=$key'"
	},
	pasted_key => {
		source => { secrets => pasted(substr $wrong, 0, 20) },
		error => qr/connection string has a part that is not of the form Name=value/,
		mapping => "SET connection_string '$any;SharedAccessKeyName=listen;SharedAccessKey=$key'"
	},
	said_twice => {
		source => { secrets => pasted("$keyed;sharedaccesskey=$key") },
		error => qr/connection string has SharedAccessKey twice/,
		mapping => "SET connection_string '$any;SharedAccessKeyName=listen;SharedAccessKey=$key'"
	},
	empty_part => {
		source => { secrets => pasted("$any;SharedAccessKeyName=;SharedAccessKey=$wrong") },
		error => qr/connection string has an empty SharedAccessKeyName/,
		mapping => "SET connection_string '$any;SharedAccessKeyName=listen;SharedAccessKey=$key'"
	},
	emulator => {
		source => { secrets => pasted("$keyed;UseDevelopmentEmulator=true;") },
		error => qr/connection string is for the emulator, which cannot be read over HTTP/,
		mapping => "SET connection_string '$any;SharedAccessKeyName=listen;SharedAccessKey=$key'"
	},
	other_host => {
		source => {
			options => { endpoint => 'https://fabrikam.servicebus.windows.net' },
			secrets => pasted($keyed)
		},
		error => qr/option "endpoint" and the connection string name different hosts/,
		server => "SET endpoint '${\ $cloud->base_url}'",
		mapping => "SET connection_string '$any;SharedAccessKeyName=listen;SharedAccessKey=$key'"
	},
	other_entity => {
		source => { secrets => pasted("$keyed;EntityPath=other") },
		error => qr/option "entity" is not within EntityPath of the connection string/,
		mapping => "SET connection_string '$any;SharedAccessKeyName=listen;SharedAccessKey=$key;EntityPath=Other_Entity'"
	},
	longer_poll => {
		source => { options => { wait_seconds => 61 } },
		error => qr/option "wait_seconds" must be between 0 and 60 for a server of type "servicebus"/,
		server => "SET wait_seconds '1'"
	},
	long_poll => {
		source => { type => 'sqs', options => { wait_seconds => 21 } },
		error => qr/option "wait_seconds" must be between 0 and 20 for a server of type "sqs"/,
	});

$_->{state} //= 'misconfigured' for values %case;
$_->{requests} //= 0 for grep { $_->{state} eq 'misconfigured' } values %case;

sub requests_of
{
	my ($entity) = @_;
	return scalar grep { $_->{parameters}{entity} eq $entity }
	  $cloud->requests(target => 'Receive');
}

sub healthy_receives
{
	return queue('healthy')->{receives};
}

###########################################################################
# Everything that can be wrong, at once
###########################################################################

my $log = $node->log_size;
create($_) for 'mended', 'healthy';
for my $name (sort keys %case)
{
	my $case = $case{$name};
	create($name, %{ $case->{queue} // {} });
	$cloud->fault('servicebus', 'error', target => $name, times => undef, %{ $case->{fault} })
	  if $case->{fault};
	add_source(name => $name, queue => $name, %{ $case->{source} });
}
add_source(name => 'healthy', queue => 'healthy');

status_gets("$_ is noticed", $_, 'last_error IS NOT NULL') for sort keys %case;

# Long enough for a second look at the options, and for a storm.
my $polls = healthy_receives();
eventually { healthy_receives() > $polls + 7 } 'the healthy source is polled meanwhile';

# A refused key is tried once more, after some seconds.
my %tries = (wrong_key => 4, two_wrong_keys => 6, no_listen => 4, other_policy => 4, old_token => 2, blocked => 2);
eventually { requests_of($_) == $tries{$_} } "$_: requests" for sort keys %tries;

for my $name (sort keys %case)
{
	my $case = $case{$name};
	my ($state, $error) = split /\|/, status($name, 'state, last_error'), 2;

	is($state, $case->{state}, "$name: state");
	like($error, qr/^$case->{error}$/, "$name: error");
	my @lines = $node->log_lines("could not receive messages from server \"$name\"", $log);
	is(scalar @lines, 1, "$name: said once in the log")
	  or diag(join "\n", grep { defined } @lines[ 0 .. 2 ]);
	is(requests_of($case->{asks} // $name), $case->{requests}, "$name: requests")
	  if defined $case->{requests};
	status_gets("$name: waits", $name, 'retry_at > now()')
	  if $tries{$name} || $case->{requests};
}
is(status('healthy', 'state, last_error'), 'polling|', 'a healthy source does not mind');
like(
	slurp_file($node->logfile, $log),
	qr/"missing_entity": the entity does not exist.*\n.*DETAIL:  The service calls this request "[0-9a-f-]{36}_G21"\./,
	'the service\'s name for the request is in the log');

###########################################################################
# Mended, one after the other
###########################################################################

$cloud->clear_faults;
for my $name (sort keys %case)
{
	my $case = $case{$name};
	value("ALTER SERVER $name OPTIONS ($case->{server})") if $case->{server};
	value("ALTER USER MAPPING FOR CURRENT_USER SERVER $name OPTIONS ($case->{mapping})")
	  if $case->{mapping};
}
wake();
for my $name (sort keys %case)
{
	my $case = $case{$name};
	next unless $case->{server} || $case->{mapping};
	publish(heartbeats(1), queue => $case->{queue} ? 'mended' : $name);
	eventually {
		value("SELECT count(*) FROM damoov.events WHERE source = '$name'") == 1
	} "$name is mended: receives"
	  or diag(status($name, 'state, last_error'));
}
value("DROP SERVER $_ CASCADE") for keys %case;

# in a file
my $directory = $node->basedir . '/secrets';
mkdir $directory or die $!;
open my $file, '>', "$directory/bus" or die $!;
print $file "connection_string=Endpoint=sb://contoso.servicebus.windows.net/;SharedAccessKeyName=listen;SharedAccessKey=$key\n";
close $file;
chmod 0600, "$directory/bus";
$node->append_conf('postgresql.conf', "damoov.secrets_dir = '$directory'");
$node->reload;
create('filed');
add_source(
	name => 'filed',
	queue => 'filed',
	secrets => pasted(undef, secret_file => 'bus'));
publish(heartbeats(1), queue => 'filed');
eventually { value("SELECT count(*) FROM damoov.events WHERE source = 'filed'") == 1 }
'a connection string in a secret file';
value('DROP SERVER filed CASCADE');

###########################################################################
# Entra ID
###########################################################################

create('entra');
add_source(
	name => 'entra',
	queue => 'entra',
	entra($cloud, 'shared_access_key_name', 'shared_access_key'));

sub entra_receives
{
	my ($name, $count) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	publish(heartbeats(20), queue => 'entra');
	eventually {
		value("SELECT count(*) FROM damoov.events WHERE source = 'entra'") == $count
		  && queue('entra')->{deleted} == $count
	} $name;
	return;
}
entra_receives('with a token of Entra ID', 20);
my $mark = $cloud->last_request;
$cloud->order('identity', expire => JSON::PP::true);
entra_receives('... and with a new one when it was refused', 40);
cmp_ok($cloud->count_requests(since => $mark, path => qr{/oauth2/v2\.0/token$}),
	'<=', 2, '... which is asked for without a storm');
is( scalar(grep { $_->{parameters}{entity} eq 'entra' && ($_->{parameters}{key} // '') ne 'bearer' && $_->{status} < 400 }
		$cloud->requests(target => 'Receive', since => $mark, status => 201)),
	0, '... and no key was used');
value('DROP SERVER entra CASCADE');

###########################################################################
# damoov_check()
###########################################################################

sub findings
{
	my ($source) = @_;
	return value(
		"SELECT level || '|' || topic || '|' || finding FROM damoov_check('$source') WHERE topic <> 'state'");
}

create('doctor');
add_source(name => 'doctor', queue => 'doctor', options => { paused => 'true' });
publish(heartbeats(1), queue => 'doctor');
is(findings('doctor'), "warning|options|the source is paused by its option\nok|queue|the entity can be read",
	'an entity in order');
my $doctor = queue('doctor');
is("$doctor->{visible} $doctor->{receives}", '1 0', '... its message was not taken');
for my $trouble (
	[ "ALTER SERVER doctor OPTIONS (SET entity 'nowhere')",
		qr/^error\|options\|the entity does not exist/m ],
	[ "ALTER SERVER doctor OPTIONS (SET entity 'sessions')",
		qr/^error\|options\|the entity requires sessions/m ],
	[ "ALTER USER MAPPING FOR CURRENT_USER SERVER doctor OPTIONS (SET shared_access_key '$wrong')",
		qr/^error\|credentials\|the signature was refused/m ],
	[ "ALTER SERVER doctor OPTIONS (SET endpoint 'http://127.0.0.1:$closed')",
		qr/^error\|connection\|could not connect/m ])
{
	value($trouble->[0]);
	like(findings('doctor'), $trouble->[1], $trouble->[0] =~ s/\Q$wrong\E/.../r);
}
value('DROP SERVER doctor CASCADE');

# The validator
like($node->error_of("ALTER SERVER healthy OPTIONS ($_->[0])"), $_->[1], $_->[0])
  for [ "ADD receivers '0'", qr/^22023: option "receivers" must be an integer between 1 and 64/ ],
  [ "ADD receivers '65'", qr/^22023: option "receivers" must be an integer between 1 and 64/ ],
  [ "SET wait_seconds '1m'", qr/^22023: option "wait_seconds" must be an integer/ ],
  [ "SET entity ''", qr/^22023: option "entity" must not be empty/ ],
  [ "SET entity E'a\\nb'", qr/^22023: option "entity" must not contain control characters/ ],
  [ "ADD shared_access_key 'x'", qr/^HV00D: option "shared_access_key" does not belong to a server/ ],
  [ "ADD connection_string 'x'", qr/^HV00D: option "connection_string" does not belong to a server/ ];

###########################################################################
# Recorded replies
###########################################################################

# Of the groups of a recording, 10 and 11 are a receive and its completion, 14
# and 15 a receive and the renewal of its lock; what follows there, unlocking
# and reading destructively, is what this client never does.  The recording is
# our own of invented values, and where the service's is at hand, that as well.
my @recordings = ("$FindBin::RealBin/../cloud/servicebus_facts.json");
push @recordings, grep { -e }
  ($ENV{DAMOOV_RECORDINGS} // '') . '/servicebus-rest-2014.json';

sub recorded
{
	my ($file, $group) = @_;
	my @exchanges = grep { $_->{group} == $group }
	  @{ decode_json(slurp_file($file))->{exchanges} };

	return grep {
		$_->{uri} =~ m{/messages/(head|\d+/)}i
		  && !($_->{method} eq 'DELETE' && $_->{uri} =~ m{/head}i)
		  && $_->{method} ne 'PUT'
	} @exchanges;
}

sub replay
{
	my ($file, $group) = @_;
	my @exchanges = recorded($file, $group);
	my ($entity) = $exchanges[0]{uri} =~ m{^/(\w+)/};

	is(join(' ', map { "$_->{method} $_->{status}" } @exchanges),
		$group < 12 ? 'POST 201 DELETE 200' : 'POST 201 POST 200',
		"group $group: what it holds");
	$cloud->replay($entity, \@exchanges);
	add_source(name => "group$group", queue => $entity);
	return ($entity, $exchanges[0]{body});
}

sub quarantined
{
	my ($source, $body) = @_;
	return value(
		"SELECT count(*) FROM damoov.quarantine WHERE source = '$source' AND body = convert_to('$body', 'UTF8')");
}

for my $recording (@recordings)
{
	note($recording);
	value('TRUNCATE damoov.quarantine');
	for my $group (10, 11)
	{
		my ($entity, $body) = replay($recording, $group);

		eventually { $cloud->replayed($entity)->{left} == 0 } "group $group: received and completed";
		is_deeply($cloud->replayed($entity)->{surprises}, [], '... and nothing else was asked');
		is(quarantined("group$group", $body), 1, '... and the body is here');
		value("DROP SERVER group$group CASCADE");
		value('TRUNCATE damoov.quarantine');
	}
	for my $group (14, 15)
	{
		refuse('quarantine');
		my ($entity, $body) = replay($recording, $group);

		eventually { $cloud->replayed($entity)->{left} == 0 } "group $group: received and renewed";
		allow('quarantine');
		eventually { quarantined("group$group", $body) == 1 } '... and stored later';
		is( scalar(grep { !/^(POST|DELETE) / } @{ $cloud->replayed($entity)->{surprises} }),
			0, '... and never unlocked');
		value("DROP SERVER group$group CASCADE");
		value('TRUNCATE damoov.quarantine');
	}
}

###########################################################################
# Secrets
###########################################################################

has_no_secret(
	[
		$key, Damoov::Cloud::SECOND_KEY, $wrong, substr($wrong, 0, 20), 'sr=http', 'sig=',
		'client~secret', 'eyJ0eXAi', $driver, $driver =~ tr/-//dr
	],
	[ 'the log', slurp_file($node->logfile, $log) ],
	[ 'damoov.sources', value('SELECT to_jsonb(s) FROM damoov.sources AS s') ],
	[ 'damoov.status', value('SELECT to_jsonb(s) FROM damoov.status AS s') ]);

$node->stop;
done_testing();
