# Several instances: the statements of the manual let each tenant see the persons
# of his instances, in every table and view, also in a restored dump; and what a
# dump makes of policies.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Node;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$FindBin::RealBin/../..";
my ($section) = slurp_file("$top/docs/damoov.md") =~ /^### Several instances\n(.*?)^### /ms;
my ($recipe) = $section =~ /^```sql\n(.*?)^```$/ms;
my ($again) = $recipe =~ /^(DO .*?^\$\$;)$/ms;
my $node = Damoov::Node->start_new('tenants', databases => '');
my %instance = (north => '7e1f2a3b-4c5d-4e6f-9a0b-1c2d3e4f5a6b', south => '8e1f2a3b-4c5d-4e6f-9a0b-1c2d3e4f5a6b');
my %token = (north => '11111111-1111-4111-8111-111111111111', south => '22222222-2222-4222-8222-222222222222', nobody => '33333333-3333-4333-8333-333333333333');

sub value { my ($sql, $database) = @_; return $node->sql($sql, $database) }
sub as { my ($role, $sql, $database) = @_; return $node->safe_psql($database // 'postgres', $sql, extra_params => [ '-U', $role ]) }

# One of each for each person, whose token is in no place that a reader sees
for my $who (sort keys %token)
{
	my $n = substr $token{$who}, 0, 1;
	my $details = $instance{$who} ? qq{{"InstanceId": "$instance{$who}"}} : '{}';
	my $note = sub {
		my ($event, $id, $details, $minute) = @_;
		return qq{{"Event": "$event", "UserId": "$token{$who}", "ClientId": "$who", "Timestamp": "2024-05-14T10:0$minute:00Z", "New": 1,
			"Object": {"Id": "$id", "Type": "x"}, "Details": $details}};
	};
	my ($trip, $crash) = map { "$_$n" . substr($token{$who}, 2) } 'a', 'c';

	value(q{SELECT damoov_ingest('} . $_ . q{')}) for $note->('HeartbeatReceived', $token{$who}, $details, 0), $note->('TrackEnrichmentFinished', $trip, '{}', 1),
	  $note->('TrackEnrichmentFinished', $trip, qq({"TracksRemoved": [{"Id": "b$n) . substr($token{$who}, 2) . '"}]}', 2), $note->('IncomingTrackReceived', $trip, '{}', 3),
	  $note->('AccidentEventFiltered', $crash, '{}', 4), $note->('TrackEnrichmentFinished', "d$n" . substr($token{$who}, 2), '{}', 5);
	value(qq{SELECT damoov.store_dataset('processed', '$trip', '{"Result": {"Code": 200, "Track": {"New": 1, "Points": [{"Number": 1, "Speed": 30, "SpeedLimit": 20}, {"Number": 2}]}}}');
		SELECT damoov.store_dataset('raw', '$trip', '{"Track": {"Points": [{"Number": 1}], "Events": [{"Type": "Accident"}]}}');
		SELECT damoov.store_dataset('crash', '$crash', '{"Type": "Accident"}');
		SELECT damoov.store_dataset('crash_buffer', '$crash', '{"Samples": [{"AccX": 1, "AccY": 2, "AccZ": 3}, {"AccX": 1, "AccY": 2, "AccZ": 3}]}')});
	value(qq{SET damoov.store_points = 'document'; SELECT damoov.store_dataset('processed', 'd$n} . substr($token{$who}, 2) . q{', '{"Result": {"Code": 200, "Track": {"Points": [{"Number": 1}]}}}')});
}
value(q{WITH job AS (INSERT INTO damoov.backfills (since, until, fetches, compares, state) VALUES ('2024-01-01', '2025-01-01', false, true, 'done') RETURNING job_id)
	INSERT INTO damoov.differences (job_id, track_token, user_id, difference) SELECT job_id, gen_random_uuid(), user_id, 'missing_here' FROM job, damoov.users});
value(q{INSERT INTO damoov.places (name, latitude, longitude, radius_m) VALUES ('depot', 51, 7, 100)});
value(q{CREATE ROLE analyst LOGIN; SELECT damoov_grant('analyst', 'reader'); CREATE ROLE app LOGIN; SELECT damoov_grant('app', 'operator')});

# Rows of each relation that a role reads
my @relations = split /\n/, value(q{SELECT name FROM damoov.members WHERE kind IN ('table', 'view') AND name !~ '_default$|^activity$|^stat_|^all_points$|^trip_places$' AND name NOT IN ('members', 'rights', 'grants', 'partitions', 'person_tables', 'documents', 'subscriptions', 'servers', 'status', 'at_risk') ORDER BY 1});
my %column = (users => 'user_id', events => 'user_id', downloads => 'object_id', quarantine => 'quarantine_id');
my $rows = sub {
	my ($role, $schema, $database) = @_;
	return { map { $_ => as($role, 'SELECT count(*) FROM (SELECT ' . ($column{$_} // '*') . " FROM $schema.$_) AS t", $database) } @relations };
};
my $before = $rows->('analyst', 'damoov');
is(join(' ', grep { $before->{$_} == 0 } @relations), 'forgotten quarantine redeliveries sources', 'there is something of everybody');
is(as('analyst', q{SELECT client_id, instance_id, first_seen_at = (SELECT min(received_at) FROM damoov.events AS e WHERE e.user_id = p.user_id), last_seen_at > first_seen_at
	FROM damoov.people AS p ORDER BY client_id}), "nobody||t|t\nnorth|$instance{north}|t|t\nsouth|$instance{south}|t|t", 'a reader sees persons');
is(as('analyst', q{SELECT string_agg(concat(l.instance_id, c.instance_id), ' ') FROM damoov.trip_lineage AS l JOIN damoov.crash_summary AS c USING (user_id)
	JOIN damoov.people AS p USING (user_id) WHERE p.client_id = 'north'}), $instance{north} x 2, '... and their instance in views of trips and crashes');

value($recipe);
value(qq{CREATE ROLE south LOGIN IN ROLE fleet_tenants; INSERT INTO fleet.tenants VALUES ('south', '$instance{south}'); CREATE ROLE east LOGIN IN ROLE fleet_tenants;
	CREATE ROLE pair LOGIN IN ROLE fleet_tenants; INSERT INTO fleet.tenants VALUES ('pair', '$instance{north}'), ('pair', '$instance{south}')});
value($again);
my $of_nobody = '^(backfills|drift|forgotten|ledger|places|quarantine|receipts|redeliveries|sources)$';
@relations = grep { $_ !~ $of_nobody } @relations;

sub is_separated
{
	my ($database, $where) = @_;
	my %seen = map { $_ => $rows->($_, 'fleet', $database) } qw(north south pair east);

	for my $relation (@relations)
	{
		my $all = $before->{$relation};

		is(join(' ', map { $seen{$_}{$relation} } qw(north south pair east)), join(' ', $all / 3, $all / 3, $all / 3 * 2, 0), "$where: each tenant sees his rows of $relation");
	}
	is(value(q{SELECT string_agg(c.relname, ' ' ORDER BY c.relname) FROM pg_class AS c WHERE c.relnamespace = 'fleet'::regnamespace AND c.relkind = 'v'}, $database),
		join(' ', sort @relations), "$where: ... and nothing else");
	is(as('north', q{SELECT string_agg(client_id, ' ') FROM people}, $database), 'north', "$where: ... his own, not as many others");
	for my $hidden ('damoov.trips', 'damoov.users', 'fleet.tenants', 'damoov.people')
	{
		like($node->error_of("SELECT * FROM $hidden", user => 'north', database => $database), qr/^42501/, "$where: no tenant reads $hidden");
	}
	like($node->error_of('SELECT device_token FROM fleet.users', user => 'north', database => $database), qr/^42703/, "$where: ... or a device token");
	is(value(q{SELECT DISTINCT 'security_barrier=true' = ANY (c.reloptions) FROM pg_class AS c WHERE c.relnamespace = 'fleet'::regnamespace AND c.relkind = 'v'}, $database),
		't', "$where: no function of a tenant is called for rows of others");
	return;
}
is_separated('postgres', 'here');
is_deeply($rows->('analyst', 'damoov'), { map { $_ => $before->{$_} } @relations }, 'a reader who is no tenant sees what he saw');

# A dump
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
value('ALTER TABLE damoov.trips ENABLE ROW LEVEL SECURITY; CREATE POLICY none ON damoov.trips USING (false)');
is(as('analyst', 'SELECT count(*) FROM damoov.trips'), 0, 'a policy is in force');
command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', $dump ], 'pg_dump of a superuser');
command_fails_like([ 'pg_dump', '-d', $node->connstr('postgres') . ' user=app', '--data-only', '-t', 'damoov.trips', '-f', '/dev/null' ], qr/row-level security/,
	'who is bound by policies cannot dump');
value('CREATE DATABASE restored TEMPLATE template0');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('restored') ], '... is read into another database');
is_separated('restored', 'restored');
is(as('analyst', 'SELECT count(*) FROM damoov.trips', 'restored'), $before->{trips}, 'policies of tables of the extension are not restored, but rights are');

$node->stop;
done_testing();
