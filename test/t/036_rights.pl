# Whose rights count.  A server gets no more than its owner could do himself;
# nobody gets anything by CREATE EXTENSION; and what a lesser role has put on a
# table never runs with the worker's rights.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Cloud;
use Damoov::Node;
use Damoov::Story;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$FindBin::RealBin/../..";
my $cloud = Damoov::Cloud->new;
my $evil = Damoov::Cloud->new;
my $secrets = PostgreSQL::Test::Utils::tempdir();
my $driver = token('driver');

append_to_file("$secrets/operator", "access_key_id=AKIDEXAMPLE\nsecret_access_key=x\nwebhook_secret=FromTheFile\n");
chmod 0600, "$secrets/operator";

my $node = Damoov::Node->start_new(
	'rights',
	databases => 'postgres',
	conf => "damoov.allow_host_identity = on\ndamoov.secrets_dir = '$secrets'");

sub value { return $node->sql(@_) }

# As "app", which may create servers, or as another role
sub error_as
{
	my ($role, $sql, $database) = @_;
	return $node->error_of($sql, user => $role, database => $database);
}

sub done_as
{
	my ($role, $sql, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return like(error_as($role, $sql), qr/^no error/, $name);
}

value('CREATE ROLE app LOGIN; CREATE ROLE reader LOGIN; CREATE ROLE other LOGIN;
	GRANT pg_read_server_files TO reader;
	GRANT USAGE ON FOREIGN DATA WRAPPER damoov TO app, reader, other;
	GRANT CREATE ON SCHEMA public TO app');

###########################################################################
# The role of the worker
###########################################################################

eventually { value("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'damoov worker' AND usename = 'damoov_engine'") == 1 }
'out of the box the worker runs as damoov_engine';
is(value("SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication FROM pg_roles WHERE rolname = 'damoov_engine'"),
	'f|f|f|f', '... which is no superuser');
is(value("SELECT count(*) FROM pg_auth_members WHERE member = 'damoov_engine'::regrole"), 0, '... nor a member of other roles');
like($node->error_of('SELECT 1', user => 'damoov_engine'), qr/^no error: $/, '... and nobody logs in as it');
is( value("SELECT count(*) FROM pg_shdepend AS d WHERE d.refobjid = 'damoov_engine'::regrole AND NOT EXISTS (
		SELECT FROM pg_depend AS m WHERE m.classid = d.classid AND m.objid = d.objid AND m.deptype = 'e')"),
	0, '... and has rights on nothing else');

###########################################################################
# Secrets of the machine
###########################################################################

# Every way to credentials, as the providers have them
my %is_of_host = map { slurp_file("$top/src/provider/$_.c") =~ /^\t\{"(\w+)", (true|false), /mg } qw(identity_aws identity_azure);
cmp_ok(scalar keys %is_of_host, '>=', 8, 'there are ways to credentials');
my @types = map { slurp_file("$top/src/provider/$_.c") =~ /\.type = "(\w+)"/ }
  slurp_file("$top/src/provider/providers.c") =~ /&(\w+)_service/g;
cmp_ok(scalar @types, '>=', 4, 'there are types of sources');
push @types, 'webhook', 'api';

sub create
{
	my ($name, $type, $options) = @_;
	return "CREATE SERVER $name TYPE '$type' FOREIGN DATA WRAPPER damoov" . ($options ? " OPTIONS ($options)" : '');
}

for my $way (sort keys %is_of_host)
{
	my $sql = create('x', $way =~ /^(?:client_credentials|workload|managed_identity)$/ ? 'servicebus' : 'sqs', "identity '$way'");
	if ($is_of_host{$way} eq 'true')
	{
		like(error_as('app', $sql), qr/^42501: permission denied to set option "identity" HINT: /, "$way: not for everybody");
	}
	else
	{
		done_as('app', "$sql; DROP SERVER x", "$way: for everybody");
	}
	done_as('reader', "$sql; DROP SERVER x", "$way: for who may read files of the server");
}
like(error_as('app', create('x', 'sqs', "host_secrets 'on'")), qr/^42501: permission denied to set option "host_secrets"/,
	'the permission: not for everybody');
done_as('app', create('x', 'sqs', "host_secrets 'off'") . '; DROP SERVER x', '... but for itself it is no harm');

for my $type (@types)
{
	my $mapping = "CREATE USER MAPPING FOR %s SERVER ${type}_1 OPTIONS (secret_file 'operator')";

	done_as('app', create("${type}_1", $type), "$type: a server of a lesser role");
	for my $user (qw(app PUBLIC other))
	{
		like(error_as('app', sprintf($mapping, $user)), qr/^42501: permission denied to set option "secret_file" HINT: /,
			"$type: not with a file, for $user");
	}
	done_as('app', "CREATE USER MAPPING FOR app SERVER ${type}_1 OPTIONS (access_key_id 'x')", "$type: with secrets of its own");
	like(error_as('app', "ALTER USER MAPPING FOR app SERVER ${type}_1 OPTIONS (ADD secret_file 'operator')"),
		qr/^42501: permission denied/, "$type: nor with a file later");
	value("DROP SERVER ${type}_1 CASCADE");
}

# What was set when it was allowed does not hold for another owner
sub use_of
{
	my ($name) = @_;
	return $node->error_of("CALL damoov_poll('$name', 1)");
}

my $n = 1;
for my $type (grep { $_ ne 'webhook' && $_ ne 'api' } @types)
{
	for my $user ('CURRENT_USER', 'PUBLIC', 'app', 'damoov_engine')
	{
		my $name = "${type}_" . ++$n;
		my $refused = qq(role "app", owner of server "$name", may not have option "secret_file" used);

		value(create($name, $type) . "; CREATE USER MAPPING FOR $user SERVER $name OPTIONS (secret_file 'operator')");
		unlike(use_of($name), qr/may not have/, "$type: the operator's server may use a file");
		value("ALTER SERVER $name OWNER TO app");
		# the mapping that counts is that of who polls, or else the owner's, or else that of all
		like(use_of($name), qr/^42501: \Q$refused\E HINT: /, "$type: ... not when it belongs to a lesser role (mapping of $user)")
		  if $user ne 'damoov_engine';
		$node->wake;
		eventually { value("SELECT state, last_error FROM damoov.status WHERE source = '$name'") eq "misconfigured|$refused" }
		"$type: ... the status says so (mapping of $user)" if $user ne 'CURRENT_USER';
		value("DROP SERVER $name CASCADE");
	}
}
value(create('hosted', 'sqs', "queue_url '" . $cloud->queue_url . "', region 'eu-west-1', identity 'container'"));
unlike(use_of('hosted'), qr/may not have/, "the operator's server may use the machine's identity");
value('ALTER SERVER hosted OWNER TO app');
like(use_of('hosted'), qr/^42501: role "app", owner of server "hosted", may not have option "identity" used/, '... not when it is another\'s');
value('GRANT pg_read_server_files TO app');
unlike(use_of('hosted'), qr/may not have/, '... unless he may read files');
value('REVOKE pg_read_server_files FROM app');
like(use_of('hosted'), qr/^42501: .*may not have/, '... and no longer when he may not');
value("ALTER SERVER hosted OPTIONS (ADD host_secrets 'on')");
unlike(use_of('hosted'), qr/may not have/, '... or was given it for this server');
like(error_as('app', "ALTER SERVER hosted OPTIONS (SET queue_url 'https://x')"), qr/^42501: permission denied to set option/,
	'... which he cannot send elsewhere then');
value('DROP SERVER hosted');

###########################################################################
# Api servers
###########################################################################

sub with_api { my ($cloud) = @_; my $url = $cloud->base_url; return "base_url '$url', crash_url '$url'" }

my $minute = 0;
my $tracks = 0;

# Where a new track of the source is asked for: the names of those clouds
sub asked
{
	my ($source) = @_;
	my $track = token('track', ++$tracks);
	my $since = { map { $_ => $_->last_request } $cloud, $evil };

	$_->dataset($track, $driver, track_document(2)) for $cloud, $evil;
	value("SELECT outcome FROM damoov_ingest(" . Damoov::Node::quoted(compact(enriched($driver, $track, ++$minute)))
		. ", '$source')");
	eventually { value("SELECT (SELECT count(*) FROM damoov.trips WHERE track_token = '$track')
		+ (SELECT count(*) FROM damoov.downloads WHERE object_id = '$track' AND last_error IS NOT NULL)") > 0 } "the track of $source was asked for";
	my $error = value("SELECT last_error FROM damoov.downloads WHERE object_id = '$track'");
	return $error if $error;
	return join ' ', map { $_->[1]->count_requests(since => $since->{ $_->[1] }, path => qr/$track/) > 0 ? $_->[0] : () }
	  ([ operator => $cloud ], [ evil => $evil ]);
}

value(create('api', 'api', with_api($cloud)));
$node->add_source($cloud, name => 'ours', api => 0);
done_as('app', create('mine', 'api', with_api($evil)), 'a lesser role has an api server');
is(asked('ours'), 'operator', 'it does not serve the sources of others');
value("ALTER SERVER ours OPTIONS (ADD api 'ours')");
is(asked('ours'), 'option "api" names server "ours", which is not of type "api"', 'one that names a server of another type is told so');
value('ALTER SERVER ours OPTIONS (DROP api)');
is(asked('sql'), 'operator', '... nor what comes from SQL');
done_as('app', create('sql', 'webhook', "api 'mine', instance_id '" . token('inst') . "'"), 'a lesser role has a server of the name that SQL is recorded as');
is(asked('sql'), 'operator', '... which makes its api server get nothing');
is(value("SELECT damoov.source_instance('sql')"), '', '... and gives no instance');
value('ALTER SERVER sql OWNER TO CURRENT_USER');
is(asked('sql'), 'api server "mine" does not serve server "sql", which has another owner', '... while that of a superuser counts');
is(value("SELECT damoov.source_instance('sql')"), token('inst'), '... also for the instance');
value('DROP SERVER sql');
done_as('app', create('theirs', 'webhook'), 'it has a source, too');
is(asked('theirs'), 'api servers "api" and "mine" would both serve server "theirs"', 'two that would serve it are an error');
done_as('app', "ALTER SERVER theirs OPTIONS (ADD api 'mine')", '... until one is named');
is(asked('theirs'), 'evil', '... its own may be');
done_as('app', "ALTER SERVER theirs OPTIONS (SET api 'api')", '...');
is(asked('theirs'), 'operator', '... and that of the superuser');
value("ALTER SERVER ours OPTIONS (ADD api 'mine')");
is(asked('ours'), 'api server "mine" does not serve server "ours", which has another owner', 'naming another\'s is an error');
eventually { value("SELECT state, last_error FROM damoov.status WHERE source = 'ours'") eq
	'misconfigured|api server "mine" does not serve server "ours", which has another owner' } '... the status says so';
value('ALTER SERVER ours OWNER TO other');
is(asked('ours'), 'api server "mine" does not serve server "ours", which has another owner', '... also of two lesser roles');
value('ALTER SERVER ours OWNER TO app');
is(asked('ours'), 'evil', 'what is the same owner\'s is served');
value('ALTER SERVER ours OPTIONS (DROP api)');
eventually { value("SELECT state, last_error FROM damoov.status WHERE source = 'ours'") eq
	'misconfigured|api servers "api" and "mine" would both serve server "ours"' } 'two api servers: the status says so';
like(use_of('ours'), qr/./, '... and a call ends');

# Anybody's source can announce the track of another person
my ($track, $thief) = (token('track', ++$tracks), token('thief'));
$_->fault('api', 'status', target => $track, status => 500, times => undef) for $cloud, $evil;
value('ALTER SERVER theirs OPTIONS (SET api \'mine\')');
value("SELECT outcome FROM damoov_ingest(" . Damoov::Node::quoted(compact(enriched($thief, $track, ++$minute))) . ", 'theirs')");
eventually { $evil->count_requests(path => qr/$track/, device_token => $thief) > 0 } "a lesser role's source has announced a track";
like($node->error_of("SELECT damoov_fetch_track('$track', '$driver')"), qr/^08006/, 'the operator fetches it for whom it belongs to');
is($evil->count_requests(path => qr/$track/, device_token => $driver), 0, '... and the lesser role gets no token of that person');
is($cloud->count_requests(path => qr/$track/, device_token => $driver), 1, '... but the platform');
$_->clear_faults for $cloud, $evil;
value("DELETE FROM damoov.downloads WHERE object_id = '$track'");
value('ALTER SERVER ours OWNER TO CURRENT_USER; DROP SERVER theirs');
eventually { value("SELECT state FROM damoov.status WHERE source = 'ours'") eq 'polling' } '... until it is the operator\'s again';

# A lesser role's server takes the name of one that is gone
my $former = token('track', ++$tracks);
$_->dataset($former, $driver, track_document(2)) for $cloud, $evil;
$_->fault('api', 'status', target => $former, status => 500, times => undef) for $cloud, $evil;
value(create('former', 'webhook'));
value("SELECT outcome FROM damoov_ingest(" . Damoov::Node::quoted(compact(enriched($driver, $former, ++$minute))) . ", 'former')");
eventually { $cloud->count_requests(path => qr/$former/) > 0 } 'a track is asked for';
value('DROP SERVER former');
done_as('app', create('former', 'webhook', "api 'mine'"), '... and a lesser role has a server of the name now');
$_->clear_faults for $cloud, $evil;
value('SELECT damoov_retry_downloads()');
eventually { value("SELECT count(*) FROM damoov.trips WHERE track_token = '$former'") > 0 } '... the track is fetched';
is($evil->count_requests(path => qr/$former/), 0, '... but not from the api server that the new one names');
value("DELETE FROM damoov.trips WHERE track_token = '$former'; UPDATE damoov.events SET outcome = 'unknown', event = 'Later' WHERE object_id = '$former'");
value("SELECT count(*) FROM damoov_reparse('-infinity', false)");
eventually { value("SELECT count(*) FROM damoov.trips WHERE track_token = '$former'") > 0 } 'it is fetched again when its event is understood later';
is($evil->count_requests(path => qr/$former/), 0, '... not from there either');
value('DROP SERVER former');

value(create('second', 'api', with_api($evil)));
is(asked('sql'), 'api servers "api" and "second" would both serve what comes from no server', 'two of superusers: an error also for SQL');
value('DROP SERVER second; DROP SERVER mine');

###########################################################################
# Pushes
###########################################################################

my $topic = 'arn:aws:sns:eu-west-1:123456789012:damoov';

sub push_by_secret
{
	my ($secret) = @_;
	my $body = Damoov::Node::quoted(compact(heartbeat($driver, ++$minute)));
	value("SELECT damoov_webhook(convert_to($body, 'UTF8'), '{\"Authorization\": \"$secret\"}') ->> 'status'") =~ /(\d+)/;
	return $1 . ($1 == 200 ? ' ' . value('SELECT source FROM damoov.events ORDER BY event_id DESC LIMIT 1') : '');
}

sub webhook
{
	my ($name, $owner, $secret) = @_;
	value(create($name, 'webhook', "topic_arns '$topic'") . "; ALTER SERVER $name OWNER TO $owner;
		CREATE USER MAPPING FOR PUBLIC SERVER $name OPTIONS (webhook_secret '$secret')");
	return;
}

webhook('a_app', 'app', 'Shared');
is(push_by_secret('Shared'), '200 a_app', 'a push is taken by who knows its secret');
webhook('b_other', 'other', 'Shared');
is(push_by_secret('Shared'), '503', '... by nobody when two roles claim it');
webhook('c_operator', 'CURRENT_USER', 'Shared');
is(push_by_secret('Shared'), '200 c_operator', '... by the superuser\'s server before others');
value("ALTER USER MAPPING FOR PUBLIC SERVER c_operator OPTIONS (ADD secret_file 'none')");
value('DROP SERVER b_other CASCADE');
is(push_by_secret('Shared'), '503', '... by nobody while that one cannot be read');
value('ALTER SERVER c_operator OWNER TO app');
is(push_by_secret('Shared'), '503', '... or has a file of the operator\'s for another');
value('DROP SERVER a_app CASCADE; DROP SERVER c_operator CASCADE');

###########################################################################
# What a lesser role has on a table
###########################################################################

my @tables = split /\n/, value("SELECT relname FROM pg_class WHERE relnamespace = 'damoov'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY 1");
value('GRANT USAGE ON SCHEMA damoov TO app; GRANT ALL ON ALL TABLES IN SCHEMA damoov TO app;
	CREATE TABLE seen (kind text, who text, super boolean);
	ALTER TABLE seen OWNER TO app;
	GRANT ALL ON seen TO PUBLIC');
my $try = q{
	INSERT INTO public.seen SELECT %s, current_user, rolsuper FROM pg_roles WHERE rolname = current_user;
	BEGIN EXECUTE 'ALTER ROLE app SUPERUSER'; EXCEPTION WHEN insufficient_privilege THEN NULL; END;
	BEGIN EXECUTE 'SET ROLE postgres'; EXCEPTION WHEN OTHERS THEN NULL; END;
	BEGIN EXECUTE 'RESET ROLE'; EXCEPTION WHEN OTHERS THEN NULL; END;
	BEGIN EXECUTE 'RESET SESSION AUTHORIZATION'; EXCEPTION WHEN OTHERS THEN NULL; END;
	BEGIN EXECUTE 'ALTER ROLE app SUPERUSER'; EXCEPTION WHEN insufficient_privilege THEN NULL; END;};

done_as('app', "CREATE FUNCTION public.spy() RETURNS trigger LANGUAGE plpgsql AS \$f\$ BEGIN "
	. sprintf($try, q{regexp_replace(TG_TABLE_NAME, '_(p\d+|default)$', '') || TG_WHEN})
	. " RETURN coalesce(NEW, OLD); END \$f\$", 'a lesser role has a trigger function');
for my $table (@tables)
{
	error_as('app', "CREATE TRIGGER a_spy BEFORE INSERT OR UPDATE OR DELETE ON damoov.$table FOR EACH ROW EXECUTE FUNCTION spy();
		CREATE CONSTRAINT TRIGGER b_spy AFTER INSERT OR UPDATE OR DELETE ON damoov.$table DEFERRABLE INITIALLY DEFERRED
			FOR EACH ROW EXECUTE FUNCTION spy()");
}
is(value("SELECT count(*) FROM pg_trigger WHERE tgname IN ('a_spy', 'b_spy') AND tgparentid = 0"), 2 * @tables, '... on every table');
# a table of its own that goes with a trip
done_as('app', 'CREATE TABLE mine (trip_id bigint REFERENCES damoov.trips ON DELETE CASCADE);
	CREATE TRIGGER c_spy AFTER DELETE ON mine FOR EACH ROW EXECUTE FUNCTION spy();
	GRANT SELECT, INSERT ON mine TO PUBLIC', '... and on a table that goes with a trip');

sub is_no_superuser
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return is(value("SELECT rolsuper FROM pg_roles WHERE rolname = 'app'") . value("SELECT coalesce(string_agg(DISTINCT who, ' '), '') FROM seen"),
		'fapp', $_[0]);
}

for my $how ('worker', 'CALL')
{
	my $story;
	value('TRUNCATE seen');
	if ($how eq 'CALL')
	{
		$node->adjust_conf('postgresql.conf', 'damoov.databases', "''");
		$node->restart;
	}
	my ($trip, $merged) = map { token('track', ++$tracks) } 1, 2;
	$cloud->dataset($_, $driver, track_document(3)) for $trip, $merged;
	$cloud->publish([ enriched($driver, $trip, ++$minute), heartbeat($driver, ++$minute), '{"Event": "TrackEnrichmentFinished"}' ]);
	$node->poll if $how eq 'CALL';
	eventually { value("SELECT count(*) FROM damoov.trips WHERE track_token = '$trip'") == 1 } "$how: a trip is stored";
	value("INSERT INTO mine SELECT trip_id FROM damoov.trips WHERE track_token = '$trip'");
	$cloud->publish([ enriched($driver, $merged, ++$minute, removed => [$trip]) ]);
	$node->poll if $how eq 'CALL';
	eventually { value("SELECT count(*) FROM damoov.trips WHERE track_token IN ('$trip', '$merged')") == 1
		&& value("SELECT count(*) FROM damoov.trips WHERE track_token = '$merged'") == 1 } "$how: and another in its place";
	eventually { value("SELECT count(DISTINCT kind) FROM seen WHERE kind IN ('eventsBEFORE', 'eventsAFTER', 'tripsBEFORE', 'tripsAFTER',
		'trip_pointsBEFORE', 'trip_pointsAFTER', 'heartbeatsBEFORE', 'heartbeatsAFTER', 'downloadsBEFORE', 'downloadsAFTER',
		'receiptsBEFORE', 'receiptsAFTER', 'quarantineBEFORE', 'quarantineAFTER', 'removed_tracksBEFORE', 'removed_tracksAFTER',
		'documentsBEFORE', 'documentsAFTER', 'sourcesBEFORE', 'sourcesAFTER', 'mineAFTER')") >= 20 } "$how: the triggers have run" or diag value('SELECT kind, count(*) FROM seen GROUP BY 1');
	is_no_superuser("$how: ... with the rights of their owner alone");
}
value('DROP FUNCTION spy() CASCADE; REVOKE ALL ON ALL TABLES IN SCHEMA damoov FROM app');
$node->adjust_conf('postgresql.conf', 'damoov.databases', "'postgres'");
$node->restart;

# What is no trigger function is not run at all
value('TRUNCATE seen');
done_as('app', "CREATE FUNCTION public.probe(integer DEFAULT 0) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS \$f\$ BEGIN "
	. sprintf($try, "'probe'") . ' RETURN 1; EXCEPTION WHEN feature_not_supported THEN RETURN 1; END $f$', 'a lesser role has a function');
done_as('app', "CREATE FUNCTION public.inlined(integer) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT \$1 IS NULL OR \$1 > 0'",
	'... and one that is inlined');
value('CREATE FUNCTION operators() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM public.probe(1); RETURN NEW; END$$;
	CREATE FUNCTION as_it_is() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$');
my %kind = (
	'a default' => [ 'ALTER TABLE damoov.heartbeats ADD mine integer, ALTER mine SET DEFAULT public.probe()', 'ALTER TABLE damoov.heartbeats DROP mine' ],
	'a generated column' => [ 'ALTER TABLE damoov.heartbeats ADD mine integer GENERATED ALWAYS AS (public.probe(1)) STORED', 'ALTER TABLE damoov.heartbeats DROP mine' ],
	'a check' => [ 'ALTER TABLE damoov.heartbeats ADD CONSTRAINT mine CHECK (public.probe(1) = 1) NOT VALID', 'ALTER TABLE damoov.heartbeats DROP CONSTRAINT mine' ],
	'an SQL function' => [ 'ALTER TABLE damoov.heartbeats ADD CONSTRAINT mine CHECK (public.inlined(waiting_trips)) NOT VALID', 'ALTER TABLE damoov.heartbeats DROP CONSTRAINT mine' ],
	'an index' => [ 'CREATE INDEX mine ON damoov.heartbeats (public.inlined(waiting_trips))', 'DROP INDEX damoov.mine' ],
	'a WHEN' => [ 'CREATE TRIGGER mine BEFORE INSERT ON damoov.heartbeats FOR EACH ROW WHEN (public.probe(NEW.waiting_trips) = 2) EXECUTE FUNCTION as_it_is()', 'DROP TRIGGER mine ON damoov.heartbeats' ],
	"the operator's trigger" => [ 'CREATE TRIGGER mine BEFORE INSERT ON damoov.heartbeats FOR EACH ROW EXECUTE FUNCTION operators()', 'DROP TRIGGER mine ON damoov.heartbeats' ]);
for my $name (sort keys %kind)
{
	my ($set_up, $take_away) = @{ $kind{$name} };
	my $before = value('SELECT count(*) FROM damoov.heartbeats');

	value($set_up);
	value('TRUNCATE seen');
	$cloud->publish([ heartbeat($driver, ++$minute) ]);
	eventually { value("SELECT last_error FROM damoov.status WHERE source = 'ours'") =~
		/^could not store messages: function (probe|inlined) of role "app" must not run with the rights of role "(damoov_engine|postgres)"$/ }
	"function in $name: is not run, and the status says why" or diag value("SELECT last_error FROM damoov.status WHERE source = 'ours'");
	value($take_away);
	eventually { value('SELECT count(*) FROM damoov.heartbeats') == $before + 1 } '... and nothing is lost';
	is(value('SELECT count(*) FROM seen'), 0, '... and it has not run');
}
is(value("SELECT rolsuper FROM pg_roles WHERE rolname = 'app'"), 'f', 'nobody has become superuser');

# Nor does a condition call what is built in, which runs SQL
value('GRANT TRIGGER ON damoov.heartbeats TO app;
	CREATE TRIGGER mine BEFORE INSERT ON damoov.heartbeats FOR EACH ROW WHEN (NEW.charge_percent > 1000) EXECUTE FUNCTION as_it_is()');
my $beats = value('SELECT count(*) FROM damoov.heartbeats');
$cloud->publish([ heartbeat($driver, ++$minute) ]);
eventually { value('SELECT count(*) FROM damoov.heartbeats') == $beats + 1 } 'a condition may compare';
$beats++;
value('DROP TRIGGER mine ON damoov.heartbeats');
my %condition = (
	ts_rewrite => q{ts_rewrite('a'::tsquery, 'SELECT ''a''::tsquery, (device_token::text::integer::text)::tsquery FROM damoov.users') IS NULL},
	pg_read_file => q{length(pg_read_file('PG_VERSION')) > 1000},
	'our own' => q{damoov.is_forgotten('00000000-0000-4000-8000-000000000000')});
for my $name (sort keys %condition)
{
	done_as('app', "CREATE TRIGGER mine BEFORE INSERT ON damoov.heartbeats FOR EACH ROW WHEN ($condition{$name}) EXECUTE FUNCTION as_it_is()",
		"a lesser role has a condition with $name");
	$cloud->publish([ heartbeat($driver, ++$minute) ]);
	eventually { value("SELECT last_error FROM damoov.status WHERE source = 'ours'") eq
		'could not store messages: condition of trigger "mine" on table "heartbeats" must not be computed with the rights of role "damoov_engine"' }
	'... which is not computed, and the status says so' or diag value("SELECT last_error FROM damoov.status WHERE source = 'ours'");
	value('DROP TRIGGER mine ON damoov.heartbeats');
	eventually { value('SELECT count(*) FROM damoov.heartbeats') == $beats + 1 } '... and nothing is lost';
	$beats++;
}
is(value("SELECT count(*) FROM damoov.quarantine WHERE message LIKE '%' || '$driver' || '%'"), 0, 'no token has come out');
value('REVOKE TRIGGER ON damoov.heartbeats FROM app');

# What a trigger sets for its session ends with its transaction
my $worker = value('SELECT damoov.worker_pid()');
value('CREATE FUNCTION sets() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN SET default_transaction_read_only = on; RETURN NULL; END$$;
	CREATE TRIGGER mine AFTER INSERT ON damoov.heartbeats FOR EACH STATEMENT EXECUTE FUNCTION sets()');
for my $when ('with the trigger', 'and behind it')
{
	my $stored = value('SELECT count(*) FROM damoov.heartbeats');
	$cloud->publish([ heartbeat($driver, ++$minute) ]);
	eventually { value('SELECT count(*) FROM damoov.heartbeats') == $stored + 1 } "a trigger that makes its session read-only: stored $when", 30;
}
is(value('SELECT damoov.worker_pid()'), $worker, '... by the same worker');
value('DROP FUNCTION sets() CASCADE');

# A policy is not asked, and the operator's own trigger has the operator's rights
value('ALTER TABLE damoov.heartbeats ENABLE ROW LEVEL SECURITY;
	CREATE POLICY mine ON damoov.heartbeats USING (public.probe(1) = 1) WITH CHECK (public.probe(1) = 1);
	CREATE TABLE counted (who text, parallel text DEFAULT current_setting($$max_parallel_workers_per_gather$$));
	CREATE FUNCTION count_it() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.counted (who) VALUES (current_user); RETURN NULL; END$$;
	CREATE TRIGGER mine AFTER INSERT ON damoov.heartbeats FOR EACH ROW EXECUTE FUNCTION count_it()');
my $before = value('SELECT count(*) FROM damoov.heartbeats');
$cloud->publish([ heartbeat($driver, ++$minute) ]);
eventually { value('SELECT count(*) FROM damoov.heartbeats') == $before + 1 } 'a policy does not keep the worker from storing';
is(value('SELECT parallel FROM counted'), '0', '... and no other process has a part in it');
is(value('SELECT who FROM counted'), 'postgres', "... and the operator's trigger writes to the operator's table");
is(value('SELECT count(*) FROM seen'), 0, "... but the policy's function was not run");

# ... unless somebody else could have attached it
value('TRUNCATE counted; GRANT TRIGGER ON damoov.heartbeats TO other');
$before = value('SELECT count(*) FROM damoov.heartbeats');
$cloud->publish([ heartbeat($driver, ++$minute) ]);
eventually { value("SELECT last_error FROM damoov.status WHERE source = 'ours'") =~ /permission denied for table counted$/ }
"the operator's trigger function has not the operator's rights where others can attach it";
value('GRANT INSERT ON counted TO damoov_engine');
eventually { value('SELECT count(*) FROM damoov.heartbeats') == $before + 1 } '... but those of the worker';
is(value('SELECT who FROM counted'), 'damoov_engine', '... as which it runs');

# ... which in a session are those of the role that calls, and not who has logged in
$cloud->create_queue('called');
value('CREATE DATABASE called');
value('CREATE EXTENSION damoov; CREATE ROLE caller; GRANT damoov_engine TO caller; GRANT EXECUTE ON PROCEDURE damoov_poll(text, integer) TO caller;
	GRANT TRIGGER ON damoov.heartbeats TO other;
	CREATE TABLE counted (who text);
	GRANT INSERT ON counted TO PUBLIC;
	CREATE FUNCTION count_it() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.counted VALUES (current_user); RETURN NULL; END$$;
	CREATE TRIGGER mine AFTER INSERT ON damoov.heartbeats FOR EACH ROW EXECUTE FUNCTION count_it();
	CREATE FUNCTION sets() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN SET search_path = evil, pg_catalog; RETURN NULL; END$$;
	CREATE FUNCTION sets_as_owner() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$BEGIN SET application_name = evil; RETURN NULL; END$$;
	ALTER FUNCTION sets() OWNER TO other;
	ALTER FUNCTION sets_as_owner() OWNER TO other;
	CREATE TRIGGER others AFTER INSERT ON damoov.heartbeats FOR EACH STATEMENT EXECUTE FUNCTION sets();
	CREATE CONSTRAINT TRIGGER others_later AFTER INSERT ON damoov.heartbeats DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sets_as_owner()', 'called');
$node->add_source($cloud, database => 'called', queue => 'called', user => 'PUBLIC', options => { wait_seconds => 0 });
$cloud->publish([ heartbeat($driver, ++$minute) ], queue => 'called');
is(value("SET ROLE caller; SET search_path = public; SET application_name = ours; CALL damoov_poll(max_seconds => 30); SHOW search_path; SHOW application_name", 'called'),
	"public\nours", 'functions of others leave the settings of who calls damoov_poll() as they are');
is(value('SELECT who FROM counted', 'called'), 'caller', 'a function that others can attach has the rights of who calls damoov_poll()');
value('DROP DATABASE called');
value('DROP ROLE caller');
value('DROP TRIGGER mine ON damoov.heartbeats; DROP POLICY mine ON damoov.heartbeats; ALTER TABLE damoov.heartbeats DISABLE ROW LEVEL SECURITY');

###########################################################################
# Another role for the worker
###########################################################################

my $runs_as = "SELECT coalesce(string_agg(usename, ' '), '') FROM pg_stat_activity WHERE backend_type = 'damoov worker'";
value('CREATE ROLE robot LOGIN; CREATE ROLE robot_two LOGIN');
for my $role ('robot', 'robot_two', '')
{
	value("ALTER SYSTEM SET damoov.role = '$role'");
	$node->reload;
	my $wanted = $role || 'damoov_engine';
	eventually { value($runs_as) eq $wanted } "a reload makes the worker one of $wanted";
}

###########################################################################
# Default privileges, and views
###########################################################################

value('CREATE DATABASE generous');
value(join('; ', map { my $role = $_; map { "ALTER DEFAULT PRIVILEGES GRANT ALL ON $_ TO $role" } qw(TABLES SEQUENCES FUNCTIONS TYPES SCHEMAS) } 'PUBLIC', 'app'), 'generous');
value(join('; ', map { "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON $_ TO app WITH GRANT OPTION" } qw(TABLES SEQUENCES FUNCTIONS TYPES)), 'generous');
value('CREATE EXTENSION damoov', 'generous');
my $objects = q{
	SELECT d.classid::regclass AS class, i.identity, a.grantee
	FROM pg_depend AS d
	CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, 0) AS i
	CROSS JOIN LATERAL (
		SELECT relowner, coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner)) FROM pg_class WHERE oid = d.objid AND d.classid = 'pg_class'::regclass AND relkind IN ('r', 'p', 'v', 'S')
		UNION ALL SELECT proowner, coalesce(proacl, acldefault('f', proowner)) FROM pg_proc WHERE oid = d.objid AND d.classid = 'pg_proc'::regclass
		UNION ALL SELECT typowner, coalesce(typacl, acldefault('T', typowner)) FROM pg_type WHERE oid = d.objid AND d.classid = 'pg_type'::regclass AND typelem = 0
		UNION ALL SELECT nspowner, coalesce(nspacl, acldefault('n', nspowner)) FROM pg_namespace WHERE oid = d.objid AND d.classid = 'pg_namespace'::regclass
		UNION ALL SELECT fdwowner, coalesce(fdwacl, acldefault('F', fdwowner)) FROM pg_foreign_data_wrapper WHERE oid = d.objid AND d.classid = 'pg_foreign_data_wrapper'::regclass
	) AS o (owner, acl)
	CROSS JOIN LATERAL aclexplode(o.acl) AS a
	WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'damoov') AND d.deptype = 'e'};
is(value("SELECT count(DISTINCT class) FROM ($objects) AS o", 'generous'), 5, 'there are objects of every kind');
is(value("SELECT string_agg(DISTINCT identity, ' ') FROM ($objects AND a.grantee NOT IN (o.owner, 'damoov_engine'::regrole, 'pg_monitor'::regrole)) AS o", 'generous'), '',
	'default privileges give nobody anything');
is( value("SELECT count(*) FROM pg_type AS t WHERE t.typnamespace = 'damoov'::regnamespace AND has_type_privilege('app', t.oid, 'USAGE') AND t.typtype = 'c'
		AND NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = t.typrelid AND c.relkind <> 'c')", 'generous'), 0, '... nor a type');

is( value("SELECT string_agg(c.oid::regclass::text, ' ') FROM pg_class AS c WHERE c.relnamespace = 'damoov'::regnamespace AND c.relkind = 'v'
		AND NOT coalesce('security_invoker=true' = ANY (c.reloptions), false)"),
	'', 'every view asks for the rights of who reads it');
cmp_ok(value("SELECT count(*) FROM pg_class WHERE relnamespace = 'damoov'::regnamespace AND relkind = 'v'"), '>', 8, '... and there are some');

# Hides everything of a table that a view reads
value('CREATE ROLE looks LOGIN; GRANT USAGE ON SCHEMA damoov TO looks; GRANT SELECT ON ALL TABLES IN SCHEMA damoov TO looks; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA damoov TO looks');
value('SELECT count(*) FROM damoov_ingest(' . Damoov::Node::quoted(compact({ %{ heartbeat($driver, ++$minute) }, New => 1 })) . ')');
for my $pair ([ 'heartbeats', 'devices' ], [ 'receipts', 'ledger' ], [ 'removed_tracks', 'trip_lineage' ], [ 'events', 'drift' ])
{
	my ($table, $view) = @$pair;
	my $count = "SELECT count(*) > 0 FROM damoov.$view" . ($view eq 'drift' ? " WHERE table_name = 'events'" : '');

	is($node->safe_psql('postgres', $count, extra_params => [ '-U', 'looks' ]), 't', "$view shows rows");
	value("ALTER TABLE damoov.$table ENABLE ROW LEVEL SECURITY; CREATE POLICY none ON damoov.$table USING (false)");
	is($node->safe_psql('postgres', $count, extra_params => [ '-U', 'looks' ]), 'f', "... but none that a policy of $table hides");
	value("REVOKE SELECT ON damoov.$table FROM looks");
	is($node->safe_psql('postgres', $count, extra_params => [ '-U', 'looks' ]), 'f', '... nor to who must not read the table') if $view eq 'drift';
	value("DROP POLICY none ON damoov.$table; ALTER TABLE damoov.$table DISABLE ROW LEVEL SECURITY");
	is($node->safe_psql('postgres', $count, extra_params => [ '-U', 'looks' ]), 't', '... which sees drift otherwise') if $view eq 'drift';
}

$node->stop;
done_testing();
