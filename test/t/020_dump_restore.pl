# A dump holds everything: every row, every sequence, sources and secrets, in
# every format, and putting it back starts no rule of the extension.  The same
# for pg_upgrade.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $person = '5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5';
my $track = 'c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d';
my $dumps = PostgreSQL::Test::Utils::tempdir;

sub new_node
{
	my ($name) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
	$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'damoov'
timezone = 'Asia/Kolkata'
CONF
	return $node;
}

# One text that tells all a database holds of the extension.
sub contents
{
	my ($node, $database) = @_;
	my $sql = sub { return $node->safe_psql($database, $_[0]) };
	my $settings = "SET timezone = 'UTC'; SET extra_float_digits = 3;";
	my @relations = split /\n/, $sql->(
		q{SELECT concat(c.relkind, ' ', c.oid::regclass) FROM pg_class AS c
		  WHERE c.relnamespace = 'damoov'::regnamespace AND c.relkind IN ('r', 'p', 'S') AND NOT c.relispartition
		  ORDER BY c.relname COLLATE "C"});
	my $text = '';

	foreach my $relation (@relations)
	{
		my ($kind, $name) = split / /, $relation, 2;
		my $query = $kind eq 'S'
		  ? "SELECT last_value, is_called FROM $name"
		  : qq{COPY (SELECT t.* FROM $name AS t ORDER BY t::text COLLATE "C") TO STDOUT};

		$text .= "$name:\n" . $sql->("$settings $query") . "\n";
	}
	$text .= $sql->(
		q{SELECT 'points', md5(string_agg(p::text, ' ' ORDER BY p.trip_id, p.seq)) FROM damoov.all_points AS p;
		  SELECT 'extension', extname, extversion, extnamespace::regnamespace FROM pg_extension WHERE extname = 'damoov';
		  SELECT 'server', srvname, srvtype, ARRAY(SELECT unnest(srvoptions) ORDER BY 1) FROM pg_foreign_server ORDER BY srvname;
		  SELECT 'mapping', srvname, usename, ARRAY(SELECT unnest(umoptions) ORDER BY 1) FROM pg_user_mappings ORDER BY srvname, usename;
		  SELECT 'partition', partition, first_id, end_id FROM damoov.partitions ORDER BY partition COLLATE "C";
		  SELECT 'index', pg_get_indexdef(i.indexrelid) FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid
		  WHERE c.relnamespace = 'damoov'::regnamespace AND c.relispartition ORDER BY pg_get_indexdef(i.indexrelid) COLLATE "C";
		  SELECT 'place', tableoid::regclass, trip_id FROM damoov.trip_points ORDER BY trip_id, seq});
	return $text;
}

sub same
{
	my ($got, $expected, $what) = @_;
	my @got = split /\n/, $got;
	my @expected = split /\n/, $expected;

	if ($got eq $expected)
	{
		pass($what);
		return;
	}
	fail($what);
	foreach my $i (0 .. $#expected)
	{
		next if defined $got[$i] && $got[$i] eq $expected[$i];
		diag("line $i is\n" . ($got[$i] // '') . "\ninstead of\n$expected[$i]");
		last;
	}
}

###########################################################################
# A database with something in every table
###########################################################################

my $origin = new_node('origin');
$origin->start;
$origin->safe_psql('postgres', 'CREATE DATABASE fleet');
$origin->safe_psql('fleet', <<"SQL");
CREATE EXTENSION damoov;
SELECT damoov.make_partitions();

CREATE SERVER "Trips, EU" TYPE 'sqs' FOREIGN DATA WRAPPER damoov
    OPTIONS (queue_url 'https://sqs.eu-central-1.amazonaws.com/000000000000/it''s', region 'eu-central-1', paused 'true');
CREATE SERVER api TYPE 'api' FOREIGN DATA WRAPPER damoov OPTIONS (allowed_hosts '*.telematicssdk.com');
CREATE USER MAPPING FOR CURRENT_USER SERVER "Trips, EU"
    OPTIONS (access_key_id 'AKIDEXAMPLE', secret_access_key 'q''u"o\\te');
CREATE USER MAPPING FOR PUBLIC SERVER "Trips, EU" OPTIONS (secret_file 'trips_eu');

SELECT damoov_ingest(jsonb_build_object('Event', e.event, 'UserId', '$person', 'ClientId', e.client_id,
    'Object', jsonb_build_object('Id', e.id), 'Timestamp', e.sent, 'Details', e.details), 'Trips, EU')
FROM (VALUES
    ('HeartbeatReceived', E'tab\\tquote\\'backslash\\\\emoji\\U0001F697', '$person', '2024-05-14T10:00:00.1234567Z',
        '{"ChargeLevel": 63.499999999999993, "InstanceId": "7e1f2a3b-4c5d-4e6f-9a0b-1c2d3e4f5a6b"}'::jsonb),
    ('TrackEnrichmentFinished', NULL, '$track', '2024-05-14T10:01:00Z', '{}'),
    ('TrackEnrichmentFinished', NULL, 'c4a8f0d2-6b13-4e57-9d28-000000000002', '2024-05-14T10:02:00Z',
        '{"TracksRemoved": [{"Id": "0d9e8f7a-1b2c-4d3e-8f40-5a6b7c8d9e0f"}]}'),
    ('TrackEnrichmentFinished', NULL, 'c4a8f0d2-6b13-4e57-9d28-000000000003', '2024-05-14T10:02:00', '{"TracksRemoved": null}'),
    ('IncomingTrackRemoved', 'x', 'a1f2e3d4-c5b6-4a79-8897-a6b5c4d3e2f1', '2024-05-14T10:03:00Z',
        '{"Reason": "Insufficient\\nTrack length", "TrackStartDate": "2024-05-14T09:00:00-06:00"}'),
    ('AccidentEventFiltered', '', 'f3b1d6a2-9c40-4e85-b7d3-2a6c8e0f1b47', '2024-05-14T10:04:00Z', '{}'),
    ('SomethingNew', NULL, '$person', '2024-05-14T10:05:00Z', '{"Number": 123456789012345678901234567890.5}')
) AS e (event, client_id, id, sent, details);
SELECT damoov_ingest('{"Type": "SubscriptionConfirmation", "MessageId": "1", "TopicArn": "arn", "Message": "x"}');
SELECT damoov_ingest((SELECT payload FROM damoov.events WHERE event = 'HeartbeatReceived'), 'another');

-- datasets, with originals
SELECT damoov_ingest(jsonb_build_object('Event', 'IncomingTrackReceived', 'UserId', '$person',
    'Object', jsonb_build_object('Id', '$track'), 'Timestamp', '2024-05-14T09:59:00Z'), 'Trips, EU');
SELECT damoov.store_dataset(d.kind, d.object_id, d.document)
FROM (VALUES
    ('raw', '$track'::uuid, '{"Track": {"StartDate": "2024-05-14T10:00:00+05:30", "CompanyId": 4711, "New": {"u": "\\u00fc"},
        "Points": [{"Number": 1, "Latitude": 52.1, "Longitude": 13.3, "Quantile": {"AccelerationX": {"Min": -0.1, "Max": 0.3}}}, {"New": 1}],
        "Events": [{"Type": "Accident", "RangeDirect": {"Min": -0.1, "Median": 1e-300}, "PointStart": {"Latitude": 1, "Longitude": 2}}]}}'),
    ('crash', 'f3b1d6a2-9c40-4e85-b7d3-2a6c8e0f1b47', '{"Type": "Accident", "Reliability": 61.0412750244141, "Speed": {"Min": 0, "Max": 13.5057}, "New": [null]}'),
    ('crash_buffer', 'f3b1d6a2-9c40-4e85-b7d3-2a6c8e0f1b47', '{"Frequency": 100, "Samples": [{"AccX": 0.1, "AccY": 0.2, "AccZ": 9.8}, {"AccX": null, "AccY": 1e-300}]}')
) AS d (kind, object_id, document);
SELECT damoov_forget('99999999-0000-4000-8000-000000000009');

-- what downloads would have left: a trip that is here, one that failed
INSERT INTO damoov.trips (track_token, user_id, enriched_at, revision, distance_km, tags, notes, extra, point_count, filler_count)
SELECT '$track', user_id, '2024-05-14 10:01:00Z', 1, 0.1::float8 + 0.2::float8, '[{"a": null}]', ARRAY['x: y', NULL, ''], '{"ü": "\\\\u"}', 2, 1
FROM damoov.users;
INSERT INTO damoov.trip_points (trip_id, seq, recorded_at, latitude, longitude, speed_kmh, is_filler, extra)
SELECT trip_id, i, '2024-05-14 08:00:00.123456Z', 52.1 + i / 3.0::float8, -1e-300, 'NaN', i = 1, '{}' FROM damoov.trips, generate_series(0, 1) AS i;
INSERT INTO damoov.trip_events (trip_id, seq, kind, first_seq, last_seq, peak_ms2)
SELECT trip_id, 0, 'braking', 0, 1, -3.3 FROM damoov.trips;
-- points that lie in the default partition
INSERT INTO damoov.trip_points (trip_id, seq, is_filler) VALUES (-7, 0, false);
-- and one whose points are a document
SET damoov.store_points = 'document';
SELECT damoov.store_dataset('processed', 'c4a8f0d2-6b13-4e57-9d28-000000000002',
    '{"Result": {"Code": 200, "Track": {"Points": [{"Number": 1, "Latitude": 52.1, "Longitude": 13.3, "New": 1.50}]}}}');
RESET damoov.store_points;
DELETE FROM damoov.downloads WHERE object_id = '$track';
UPDATE damoov.downloads SET state = 'failed', attempts = 5, last_status = 404, last_error = E'gone\\tfor good', leased_until = now()
WHERE object_id = 'c4a8f0d2-6b13-4e57-9d28-000000000003';
INSERT INTO damoov.quarantine (source, reason, sqlstate, message, body, body_digest)
VALUES ('Trips, EU', 'bad_utf8', '22021', 'no text', '\\x00ff5c27', sha256('\\x00ff5c27'));
INSERT INTO damoov.sources (server_oid, home, place, source, state, last_poll_at, last_error)
SELECT server_oid, damoov.home(), damoov.place(), source, 'retrying', now(), 'could not' FROM damoov.servers;
INSERT INTO damoov.subscriptions (source, topic_arn, token, token_digest, last_error) VALUES ('push', 'arn', 'abc', '\\x00', E'a\\tb');
INSERT INTO damoov.places (name, latitude, longitude, radius_m) VALUES ('depot', 51, 7, 100);
INSERT INTO damoov.places (name, area) VALUES ('area', '{"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}');
INSERT INTO damoov.backfills (job_id, since, until, fetches, compares, state, last_error) VALUES (7, '2024-01-01', '2025-01-01', false, true, 'done', E'a\\tb');
INSERT INTO damoov.differences (job_id, track_token, user_id, day, difference, there) SELECT 7, gen_random_uuid(), min(user_id), '2024-05-14', 'missing_here', '{"score": 1.50}' FROM damoov.users;
-- rows that the rules would not leave like this, were they asked again
INSERT INTO damoov.removed_tracks (track_token, removed_at, event_id, user_id, reason)
SELECT '$track', '2024-05-14 11:00:00Z', event_id, user_id, 'invalid' FROM damoov.events WHERE event = 'IncomingTrackRemoved';
UPDATE damoov.users SET client_id = 'changed by hand';
DELETE FROM damoov.heartbeats WHERE reported_at < '2000-01-01';
-- sequences that run ahead of the rows
SELECT setval('damoov.quarantine_quarantine_id_seq', 4711, false);
SELECT nextval('damoov.crashes_crash_id_seq') FROM generate_series(1, 100);
SQL

my @tables = split /\n/, $origin->safe_psql('fleet',
	q{SELECT c.oid::regclass FROM pg_class AS c WHERE c.relnamespace = 'damoov'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition});
is(join(' ', grep { $origin->safe_psql('fleet', "SELECT count(*) FROM $_") == 0 } @tables), '', 'every table has a row to lose');
my $original = contents($origin, 'fleet');

###########################################################################
# Out and in again
###########################################################################

my $elsewhere = new_node('elsewhere');
$elsewhere->start;

sub dump_to
{
	my ($file, @options) = @_;

	$origin->command_ok([ 'pg_dump', '-d', $origin->connstr('fleet'), '-f', "$dumps/$file", @options ], "pg_dump @options");
	return "$dumps/$file";
}

sub restore_plain
{
	my ($node, $database, $file) = @_;

	$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-o', "$dumps/psql.out", '-f', $file, '-d', $node->connstr($database) ],
		"psql reads it into $database");
}

my %plain = (plain => [], inserts => ['--inserts'], columns => [ '--column-inserts', '--rows-per-insert=2' ]);
foreach my $name (sort keys %plain)
{
	my $file = dump_to("$name.sql", @{ $plain{$name} });

	foreach my $node ($origin, $elsewhere)
	{
		$node->safe_psql('postgres', "CREATE DATABASE $name");
		restore_plain($node, $name, $file);
		same(contents($node, $name), $original, "$name dump: everything is there, in " . $node->name);
	}
}

my %archive = (custom => ['-Fc'], directory => [ '-Fd', '-j2' ], tar => ['-Ft']);
foreach my $name (sort keys %archive)
{
	my $file = dump_to("$name.dump", @{ $archive{$name} });

	$elsewhere->safe_psql('postgres', "CREATE DATABASE $name");
	$elsewhere->command_ok([ 'pg_restore', '-e', '-d', $elsewhere->connstr($name), $file ], "pg_restore of $name");
	same(contents($elsewhere, $name), $original, "$name dump: everything is there");
}

# pg_dump heeds the foreign keys between tables of an extension in the order of
# what it writes, but does not write them down for pg_restore's jobs, which then
# overtake each other.  With jobs, the data goes in by itself, as in the README.
$elsewhere->safe_psql('postgres', 'CREATE DATABASE jobs');
foreach my $step ([ '--section=pre-data', '-j4' ], [ '--data-only', '--disable-triggers', '-j4' ], [ '--section=post-data', '-j4' ])
{
	$elsewhere->command_ok([ 'pg_restore', '-e', @$step, '-d', $elsewhere->connstr('jobs'), "$dumps/custom.dump" ], "pg_restore @$step");
}
same(contents($elsewhere, 'jobs'), $original, 'jobs: everything is there');

my $dump = slurp_file("$dumps/plain.sql");
like($dump, qr/CREATE EXTENSION IF NOT EXISTS damoov/, 'a dump makes the extension');
unlike($dump, qr/CREATE (VIEW|FUNCTION|SEQUENCE|TRIGGER)/, 'and leaves its objects to the extension');
is_deeply([ sort $dump =~ /CREATE TABLE damoov\.(\w+)/g ],
	[ split /\n/, $origin->safe_psql('fleet', 'SELECT partition FROM damoov.partitions WHERE NOT is_default ORDER BY partition COLLATE "C"') ],
	'... but for the partitions that were made later');

# A dump of what was restored is the same dump: nothing grew or shrank
my $redumped = "$dumps/again.sql";
$elsewhere->command_ok([ 'pg_dump', '-d', $elsewhere->connstr('plain'), '-f', $redumped ], 'pg_dump of the restored database');
my ($first, $second) = map { join '', grep { !/^\\(un)?restrict/ } split /^/, slurp_file($_) } "$dumps/plain.sql", $redumped;
same($second, $first, 'the second dump is the first one');

###########################################################################
# The restored database is as good as the first
###########################################################################

# Its sources are another's.  Those of the dump have other OIDs here, which may
# be those of other servers; one was renamed after the last look at it, another
# never looked at.
sub run_states
{
	my ($database) = @_;

	return $elsewhere->safe_psql($database,
		q{SELECT source, server_oid = (SELECT oid FROM pg_foreign_server WHERE srvname = source), home = damoov.home(), place = damoov.place(),
			state, pause_reason, last_error FROM damoov.sources ORDER BY source});
}
my $restored = q{this database was restored from a dump of another, or upgraded; if it is to take the messages: SELECT damoov_resume('%s')};

is($elsewhere->safe_psql('plain', q{SELECT home <> damoov.home() FROM damoov.sources}),
	't', 'the source still belongs to the cluster it was dumped from');
$elsewhere->safe_psql('plain', q{
	CREATE SERVER later TYPE 'sqs' FOREIGN DATA WRAPPER damoov OPTIONS (paused 'true');
	CREATE SERVER push TYPE 'webhook' FOREIGN DATA WRAPPER damoov;
	INSERT INTO damoov.sources (server_oid, home, place, source, paused)
	SELECT o.server_oid, 'elsewhere', 'there', n.source, n.source = 'push'
	FROM (VALUES ('later', 'push'), ('push', 'Trips, EU'), ('Trips, EU', 'gone')) AS n (other, source) JOIN damoov.servers AS o ON o.source = n.other});
is($elsewhere->safe_psql('plain', q{SELECT source, state, pause_reason FROM damoov.status ORDER BY source}),
	"Trips, EU|paused|this database was restored, copied or moved\nlater|paused|this database was restored, copied or moved\npush|listening|",
	'the status says so before anything has looked at the sources');
$elsewhere->safe_psql('plain', 'SELECT damoov.follow_servers()');
is( run_states('plain'),
	join("\n",
		"Trips, EU|t|t|t|paused|" . sprintf($restored, 'Trips, EU') . '|could not',
		"later|t|t|t|paused|" . sprintf($restored, 'later') . '|',
		'push|t|t|t|new||'),
	'in the restored database all sources are paused, whatever OIDs they have');
is($elsewhere->safe_psql('plain', q{SELECT source, state FROM damoov.status ORDER BY source}),
	"Trips, EU|paused\nlater|paused\npush|new", 'the status says it');
is($elsewhere->safe_psql('plain', q{SELECT damoov_resume('Trips, EU'); SELECT paused FROM damoov.run_state((SELECT oid FROM pg_foreign_server WHERE srvname = 'Trips, EU'))}),
	"\nf", 'until they are resumed');
like(
	slurp_file($elsewhere->logfile),
	qr/LOG:  all sources of database "plain" are paused: this database was restored.*\n.*HINT:  SELECT damoov_resume\(source\)/,
	'the log says it, too');
# a source that was renamed where it came from after the last look at it
$elsewhere->safe_psql('inserts', q{ALTER SERVER "Trips, EU" RENAME TO renamed});
is($elsewhere->safe_psql('inserts', q{SELECT damoov_resume('renamed'); SELECT source, paused, state, last_error FROM damoov.sources}),
	"\nrenamed|f|new|", 'one of another name has no state of the dump');
is($elsewhere->safe_psql('columns', q{ALTER SERVER "Trips, EU" RENAME TO renamed; SELECT paused FROM damoov.run_state((SELECT oid FROM pg_foreign_server WHERE srvname = 'renamed'))}),
	't', '... but is paused as well');
$elsewhere->safe_psql('plain', 'DROP SERVER later; DROP SERVER push; SELECT damoov.follow_servers()');
is(run_states('plain') =~ tr/\n//, 0, 'the rows of dropped servers go');

is( $elsewhere->safe_psql('plain', q{SELECT DISTINCT i.outcome FROM damoov.events AS e, damoov_ingest(e.payload) AS i}),
	'duplicate', 'what was there is a duplicate');
is( $elsewhere->safe_psql(
		'plain',
		qq{SELECT i.outcome, i.event_id > (SELECT max(event_id) FROM damoov.events)
		   FROM damoov_ingest('{"Event": "HeartbeatReceived", "UserId": "$person", "Timestamp": "2024-05-14T12:00:00Z",
			"Object": {"Id": "$person"}}') AS i}),
	'stored|t', 'something new gets a new id');
is( $elsewhere->safe_psql('plain', q{SELECT count(*) FROM damoov.heartbeats}),
	'2', 'and the rules act again');
is( $elsewhere->safe_psql(
		'plain',
		q{INSERT INTO damoov.trips (track_token, user_id, revision, point_count, filler_count)
		  SELECT gen_random_uuid(), user_id, 1, 0, 0 FROM damoov.users RETURNING trip_id > (SELECT max(trip_id) FROM damoov.trips)}),
	't', 'a trip gets a new id, too');
is($elsewhere->safe_psql('plain', q{SET damoov.partition_size = 1000; SELECT damoov.make_partitions(); SELECT setval('damoov.trips_trip_id_seq', 99000); SELECT damoov.make_partitions();
	SELECT damoov.split_default(); SELECT DISTINCT tableoid::regclass FROM damoov.trip_points WHERE trip_id = -7}),
	"0\n99000\n20\n1\ndamoov.\"trip_points_p-1000\"", 'partitions are made beside those of the dump');

###########################################################################
# Dropped and made again
###########################################################################

my ($code, $out, $err) = $elsewhere->psql('custom', '\set VERBOSITY verbose' . "\nDROP EXTENSION damoov");
isnt($code, 0, 'DROP EXTENSION is refused while sources exist');
like($err, qr/2BP01/, 'because others depend on it');
same(contents($elsewhere, 'custom'), $original, 'and nothing is gone');
$elsewhere->safe_psql('custom', 'DROP EXTENSION damoov CASCADE');
is( $elsewhere->safe_psql(
		'custom',
		q{SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = 'damoov'), (SELECT count(*) FROM pg_foreign_server),
		  (SELECT count(*) FROM pg_user_mapping), (SELECT count(*) FROM pg_proc WHERE proname LIKE 'damoov%')}),
	'0|0|0|0', 'with CASCADE all of it goes');
$elsewhere->safe_psql('custom', 'CREATE EXTENSION damoov');
is($elsewhere->safe_psql('custom', 'SELECT count(*) FROM damoov.events'), '0', 'made again it is empty');

###########################################################################
# What others have added
###########################################################################

# A dump leaves the tables to CREATE EXTENSION, with what hangs on them.  The
# doctor says so, with the statement that makes it again; what is in a schema of
# its own is kept.
my $additions = q{SELECT level, finding, remedy FROM damoov_check() WHERE topic = 'dump' ORDER BY level DESC, finding};

$elsewhere->safe_psql('postgres', 'CREATE DATABASE added');
is($elsewhere->safe_psql('added', "SET client_min_messages = warning; CREATE EXTENSION damoov; SELECT damoov.make_partitions() > 0; $additions"),
	't', 'the doctor finds nothing added to new tables and partitions');
$elsewhere->safe_psql('added', q{
	CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
	CREATE INDEX "my trips" ON damoov.trips (city_start);
	CREATE INDEX on_default ON damoov.trip_points_default (speed_kmh);
	CREATE TRIGGER my_trigger AFTER INSERT ON damoov.crashes FOR EACH ROW EXECUTE FUNCTION look();
	CREATE TRIGGER of_points AFTER INSERT ON damoov.trip_events FOR EACH ROW EXECUTE FUNCTION look();
	CREATE RULE my_rule AS ON DELETE TO damoov.heartbeats DO NOTHING;
	ALTER TABLE damoov.heartbeats ADD CONSTRAINT my_check CHECK (charge_percent < 200);
	ALTER TABLE damoov.crashes ADD CONSTRAINT my_key UNIQUE (crash_id, user_id);
	ALTER TABLE damoov.crashes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
	CREATE POLICY my_policy ON damoov.crashes AS RESTRICTIVE FOR UPDATE TO PUBLIC USING (user_id > 1) WITH CHECK (user_id > 2);
	CREATE POLICY my_other ON damoov.trip_points FOR INSERT TO damoov_engine WITH CHECK (true);
	CREATE SCHEMA fleet;
	CREATE TABLE fleet.notes (trip_id bigint PRIMARY KEY REFERENCES damoov.trips ON DELETE CASCADE, note text);
	CREATE VIEW fleet.trips AS SELECT t.*, n.note FROM damoov.trips AS t LEFT JOIN fleet.notes AS n USING (trip_id);
	INSERT INTO damoov.users (user_id, device_token) VALUES (1, gen_random_uuid());
	INSERT INTO damoov.trips (trip_id, track_token, user_id, revision, point_count, filler_count) VALUES (7, gen_random_uuid(), 1, 1, 0, 0);
	INSERT INTO fleet.notes VALUES (7, 'a note')});
my $file_it = 'Keep what you add in a file, to be run after a restore:';
my @lost = (
	[ 'constraint "my_check" of damoov.heartbeats', 'ALTER TABLE damoov.heartbeats ADD CONSTRAINT my_check CHECK ((charge_percent < (200)::double precision))' ],
	[ 'index "my trips" of damoov.trips', 'CREATE INDEX "my trips" ON damoov.trips USING btree (city_start)' ],
	[ 'index "my_key" of damoov.crashes', 'ALTER TABLE damoov.crashes ADD CONSTRAINT my_key UNIQUE (crash_id, user_id)' ],
	[ 'index "on_default" of damoov.trip_points_default', 'CREATE INDEX on_default ON damoov.trip_points_default USING btree (speed_kmh)' ],
	[ 'policy "my_other" of damoov.trip_points', 'CREATE POLICY my_other ON damoov.trip_points AS PERMISSIVE FOR INSERT TO damoov_engine WITH CHECK (true)' ],
	[ 'policy "my_policy" of damoov.crashes', 'CREATE POLICY my_policy ON damoov.crashes AS RESTRICTIVE FOR UPDATE TO PUBLIC USING ((user_id > 1)) WITH CHECK ((user_id > 2))' ],
	[ 'rule "my_rule" of damoov.heartbeats', "CREATE RULE my_rule AS\n    ON DELETE TO damoov.heartbeats DO NOTHING;" ],
	[ 'trigger "my_trigger" of damoov.crashes', 'CREATE TRIGGER my_trigger AFTER INSERT ON damoov.crashes FOR EACH ROW EXECUTE FUNCTION public.look()' ],
	[ 'trigger "of_points" of damoov.trip_events', 'CREATE TRIGGER of_points AFTER INSERT ON damoov.trip_events FOR EACH ROW EXECUTE FUNCTION public.look()' ]);
is( $elsewhere->safe_psql('added', $additions),
	join("\n",
		(map { "warning|a dump does not keep the $_->[0]|$file_it $_->[1]" } @lost),
		map { qq{error|a restored dump shows more rows to who may read them: it does not keep the row security "$_" of damoov.crashes|}
			  . "Keep it in a file with your policies, to be run after a restore: ALTER TABLE damoov.crashes $_ ROW LEVEL SECURITY" } qw(ENABLE FORCE)),
	'the doctor names what was added');

sub restored
{
	my ($name, @options) = @_;

	$elsewhere->command_ok([ 'pg_dump', '-Fc', '-d', $elsewhere->connstr('added'), '-f', "$dumps/$name" ], "pg_dump of $name");
	$elsewhere->safe_psql('postgres', "CREATE DATABASE $name");
	return [ 'pg_restore', '-e', @options, '-d', $elsewhere->connstr($name), "$dumps/$name" ];
}

$elsewhere->command_ok(restored('added_again'), 'a dump without them can be restored');
is($elsewhere->safe_psql('added_again', $additions), '', 'the restored database has none of them');
is($elsewhere->safe_psql('added_again', q{SELECT note FROM fleet.trips; DELETE FROM damoov.trips; SELECT count(*) FROM fleet.notes}),
	"a note\n0", '... but tables, views and foreign keys of another schema');
# as it says: what is behind the last colon and a blank
$elsewhere->safe_psql('added_again', join ';', map { s/^.*?restore: //sr } split /\x1e/,
	$elsewhere->safe_psql('added', "SELECT string_agg(remedy, E'\\x1e') FROM damoov_check() WHERE topic = 'dump'"));
is($elsewhere->safe_psql('added_again', $additions), $elsewhere->safe_psql('added', $additions), 'the remedies make all of it again');

$elsewhere->safe_psql('added', 'CREATE INDEX on_all ON damoov.trip_points (speed_kmh)');
is((grep { /on_all/ } split /\n/, $elsewhere->safe_psql('added', $additions))[0],
	'error|a dump cannot be restored as it is: it has parts of the partitioned index "on_all" of damoov.trip_points, but does not make it|'
	  . 'Drop it, and make it on each partition instead, also on the default one, as which others are made.',
	'the doctor warns of an index of all partitions');
$elsewhere->command_fails(restored('indexed'), '... with which a dump cannot be restored');
$elsewhere->safe_psql('added', 'DROP INDEX damoov.on_all');

$elsewhere->safe_psql('added', q{ALTER TABLE damoov.trips ADD note varchar(10); UPDATE damoov.trips SET note = 'kept'});
my ($column) = grep { /"note"/ } split /\n/, $elsewhere->safe_psql('added', $additions);
is($column, 'error|a dump cannot be restored as it is: it has rows with the column "note" of damoov.trips, but does not make it|'
	  . 'Move it to a table of your own; to restore a dump that has it, after CREATE EXTENSION and before the rows: ALTER TABLE damoov.trips ADD note character varying(10)',
	'the doctor warns of a column');
$elsewhere->command_fails(restored('widened'), '... with which a dump cannot be restored');
$elsewhere->safe_psql('postgres', 'DROP DATABASE widened; CREATE DATABASE widened');
my @restore = ('pg_restore', '-e', '-d', $elsewhere->connstr('widened'), "$dumps/widened");
$elsewhere->command_ok([ @restore, '--section=pre-data' ], 'pg_restore of the tables');
$elsewhere->safe_psql('widened', 'ALTER TABLE damoov.trips ADD note character varying(10)');
$elsewhere->command_ok([ @restore, "--section=$_" ], "... of its $_") for qw(data post-data);
is($elsewhere->safe_psql('widened', 'SELECT note FROM damoov.trips'), 'kept', '... but with the statement in between');

###########################################################################
# Rows alone
###########################################################################

# Only the rows, into an extension that is there
my $rows = dump_to('rows.sql', '--data-only', '--load-via-partition-root');
restore_plain($elsewhere, 'custom', $rows);
my $without_sources = substr($original, 0, index($original, "\nserver|"));
my $again = contents($elsewhere, 'custom');
# which go to other partitions there
same(substr($again, 0, index($again, "\npartition|")), $without_sources, 'rows alone can be put back');

###########################################################################
# pg_upgrade
###########################################################################

my $upgraded = new_node('upgraded');
my $bindir = $origin->config_data('--bindir');
$origin->stop;
{
	# it writes into the current directory
	my $here = PostgreSQL::Test::Utils::tempdir;

	chdir $here or die "could not enter $here: $!\n";
	command_ok(
		[
			'pg_upgrade', '--no-sync',
			'-d', $origin->data_dir, '-D', $upgraded->data_dir,
			'-b', $bindir, '-B', $bindir,
			'-s', $upgraded->host, '-p', $origin->port, '-P', $upgraded->port
		],
		'pg_upgrade');
}
$upgraded->start;
same(contents($upgraded, 'fleet'), $original, 'everything is there after pg_upgrade');
is( $upgraded->safe_psql('fleet', q{SELECT DISTINCT i.outcome FROM damoov.events AS e, damoov_ingest(e.payload) AS i}),
	'duplicate', 'and the door works');
$upgraded->stop;
$elsewhere->stop;

done_testing();
