# Roles in one call: what damoov_grant() gives is tried with every object and
# compared with docs/damoov-rights.md; it gives nobody a way to gain rights, and
# a dump keeps what it has given.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Node;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$FindBin::RealBin/../..";
my @kinds = qw(monitor reader worker operator);
my $node = Damoov::Node->start_new('roles', databases => '');

sub value { my ($sql, $database) = @_; return $node->sql($sql, $database) }

sub by
{
	my ($role, $sql) = @_;
	return $node->error_of($sql, user => $role) =~ s/^no error: //r;
}

value("CREATE ROLE $_ LOGIN; SELECT damoov_grant('$_', '$_')") for @kinds;

###########################################################################
# The matrix
###########################################################################

# Statements for each right on each object.  Of those of views but SELECT, and of
# some of tables, the server is asked: trying them says other things first.
value(q{
CREATE TABLE trial AS
SELECT m.kind, o.label, t.right_name, t.column_name, t.n, t.statement
FROM damoov.members AS m
LEFT JOIN pg_proc AS p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
LEFT JOIN pg_class AS c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid
CROSS JOIN LATERAL (SELECT coalesce(p.oid::regprocedure::text, regexp_replace(m.object, '^[A-Z ]+ ', ''))) AS o (label)
CROSS JOIN LATERAL (
	SELECT 'read', NULL::text, 0, format('SELECT count(t.*) FROM %s AS t', o.label) WHERE c.relkind IN ('r', 'p', 'v')
	UNION ALL
	SELECT 'read', a.attname::text, a.attnum, format('SELECT count(%I) FROM %s', a.attname, o.label)
	FROM pg_attribute AS a WHERE c.relkind IN ('r', 'p', 'v') AND a.attrelid = c.oid AND a.attnum > 0
	UNION ALL
	SELECT 'INSERT', NULL, 0, format('INSERT INTO %s DEFAULT VALUES', o.label) WHERE c.relkind IN ('r', 'p')
	UNION ALL
	SELECT 'UPDATE', NULL, 0, format('UPDATE %s SET %I = NULL WHERE false', o.label,
		(SELECT a.attname FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0 AND a.attidentity = '' AND a.attgenerated = '' LIMIT 1))
	WHERE c.relkind IN ('r', 'p')
	UNION ALL
	SELECT 'DELETE', NULL, 0, format('DELETE FROM %s WHERE false', o.label) WHERE c.relkind IN ('r', 'p')
	UNION ALL
	SELECT 'TRUNCATE', NULL, 0, format('TRUNCATE %s', o.label) WHERE c.relkind IN ('r', 'p')
	UNION ALL
	SELECT r.name, NULL, 0, format('SELECT public.need(has_table_privilege(%L, %L))', o.label, r.name)
	FROM unnest('{INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER}'::text[]) AS r (name)
	WHERE c.relkind = 'v' OR (c.relkind IN ('r', 'p') AND r.name IN ('REFERENCES', 'TRIGGER'))
	UNION ALL
	SELECT 'use', NULL, 0, format('SELECT nextval(%L)', o.label) WHERE c.relkind = 'S'
	UNION ALL
	SELECT 'SETVAL', NULL, 0, format('SELECT setval(%L, 5)', o.label) WHERE c.relkind = 'S'
	UNION ALL
	-- not NULL: a strict function is not called then, and its rights are not asked for
	SELECT 'call', NULL, 0, format(CASE p.prokind WHEN 'p' THEN 'CALL %s(%s)' ELSE 'SELECT %s(%s)' END, p.oid::regproc, (
		SELECT string_agg(format('%L::%s', CASE
				WHEN t.type::regtype::text LIKE '%[]' OR t.type = 'jsonb'::regtype THEN '{}'
				WHEN t.type = 'uuid'::regtype THEN 'c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d'
				WHEN t.type IN ('timestamptz'::regtype, 'date'::regtype) THEN '2024-01-01'
				WHEN t.type = 'boolean'::regtype THEN 'true'
				WHEN t.type = 'bytea'::regtype THEN ''
				WHEN t.type = 'regrole'::regtype THEN 'reader'
				ELSE '0' END, t.type::regtype), ', ' ORDER BY t.i)
		FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS t (type, i)))
	WHERE p.oid IS NOT NULL
	UNION ALL
	SELECT 'use', NULL, 0, format('SELECT %L::regclass', o.label || '.x') WHERE m.kind = 'schema'
	UNION ALL
	SELECT 'CREATE', NULL, 0, format('CREATE TABLE %s.x (x integer)', o.label) WHERE m.kind = 'schema'
	UNION ALL
	SELECT 'use', NULL, 0, format('CREATE TEMP TABLE x (x %s)', o.label) WHERE m.kind = 'type'
	UNION ALL
	SELECT 'use', NULL, 0, 'CREATE SERVER x FOREIGN DATA WRAPPER damoov' WHERE m.kind = 'foreign-data wrapper'
) AS t (right_name, column_name, n, statement)
WHERE (c.relispartition IS NOT TRUE)
	-- since 17 row types are members, too
	AND NOT EXISTS (SELECT FROM pg_type AS y JOIN pg_class AS r ON r.oid = y.typrelid WHERE m.kind = 'type' AND y.oid = m.objid AND r.relkind <> 'c');
CREATE FUNCTION need(boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF NOT $1 THEN RAISE insufficient_privilege; END IF;
END
$$;
CREATE FUNCTION allows(statement text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RAISE EXCEPTION SQLSTATE '00Z00';
EXCEPTION
	WHEN insufficient_privilege THEN RETURN false;
	WHEN OTHERS THEN RETURN true;
END
$$;
GRANT SELECT ON trial TO PUBLIC;
GRANT CREATE ON SCHEMA public TO PUBLIC;
});

# What a role may do with each object, in words.
sub cells
{
	my ($role) = @_;
	my %cell = map { /^(.*)\|(.*)$/ } split /\n/, $node->safe_psql('postgres', q{
		SELECT concat_ws(' ', o.kind, o.label), concat_ws(', ',
			CASE WHEN o.whole THEN 'read' WHEN o.columns IS NOT NULL THEN 'read of ' || o.columns END,
			CASE WHEN o.others @> '{INSERT, UPDATE, DELETE}' THEN 'write' ELSE NULL END,
			(SELECT string_agg(x, ', ') FROM unnest(o.others) AS x WHERE NOT (o.others @> '{INSERT, UPDATE, DELETE}' AND x IN ('INSERT', 'UPDATE', 'DELETE'))))
		FROM (
			SELECT t.kind, t.label, bool_or(t.right_name = 'read' AND t.column_name IS NULL) AS whole,
				string_agg(t.column_name, ', ' ORDER BY t.n) AS columns, coalesce(array_agg(t.right_name) FILTER (WHERE t.right_name <> 'read'), '{}') AS others
			FROM trial AS t
			WHERE allows(t.statement)
			GROUP BY t.kind, t.label
		) AS o}, extra_params => [ '-U', $role ]);
	return \%cell;
}

my %cells = map { $_ => cells($_) } @kinds;
my @objects = map { [ split /\|/ ] } split /\n/, value(q{
	SELECT t.kind, t.label FROM trial AS t GROUP BY t.kind, t.label
	ORDER BY array_position('{schema, table, view, function, internal function, sequence, type, foreign-data wrapper}', t.kind), t.label COLLATE "C"});
my ($matrix, $heading) = ('', '');

foreach my $object (@objects)
{
	my ($kind, $label) = @$object;

	if ($kind ne $heading)
	{
		$matrix .= "\n### " . ucfirst($kind) . "\n\n| Object | " . join(' | ', @kinds) . " |\n|---|" . '---|' x @kinds . "\n";
		$heading = $kind;
	}
	$matrix .= "| `$label` | " . join(' | ', map { $cells{$_}{"$kind $label"} // '' } @kinds) . " |\n";
}
cmp_ok(scalar @objects, '>', 150, 'there are objects');
my $manual = slurp_file("$top/docs/damoov-rights.md");
my ($documented) = $manual =~ /^## Every object\n(.*)\z/ms;
$documented //= '';
if (!is($documented, $matrix, 'each kind of role may do what docs/damoov-rights.md says with every object'))
{
	diag("the part under \"Every object\" would have to be:\n$matrix");
}
my ($decisions) = slurp_file("$top/sql/parts/rights.sql") =~ /\), decision .*? AS \(VALUES(.*?)\n\), /s;
my @named = map { split /[,\s]+/ } grep { !/^(?:SELECT|EXECUTE|USAGE)/ } $decisions =~ /'\{(.*?)\}'/gs;
my %there = map { $_ => 1 } split /\n/, value(q{SELECT name FROM damoov.members UNION
	SELECT a.attname FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid WHERE c.relnamespace = 'damoov'::regnamespace});
cmp_ok(scalar @named, '>', 40, 'rights name objects and columns');
is_deeply([ grep { !$there{$_} } @named ], [], '... which are all there');

###########################################################################
# Each does its work
###########################################################################

my $person = '5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5';
my $beat = qq({"Event": "HeartbeatReceived", "UserId": "$person", "Timestamp": "2024-05-14T14:05:02Z",
	"Object": {"Id": "$person", "Type": "RawHeartbeat"}, "Details": {"ChargeLevel": 63.5}});

value(q{CREATE SERVER push TYPE 'webhook' FOREIGN DATA WRAPPER damoov OPTIONS (topic_arns 'arn:aws:sns:eu-west-1:123456789012:damoov')});
is(value(q{SELECT missing FROM damoov.grants WHERE role = 'operator'}), '{"USAGE ON FOREIGN SERVER push"}', 'a new server is missing');
is(value(q{SELECT missing FROM damoov.grants WHERE role = 'damoov_engine'}), '', '... to all but the role of the worker');
is(value(q{SELECT damoov_grant('operator', 'operator'), damoov_grant('operator', 'operator')}), '1|0', '... and comes with the next call');
is(by('operator', "SELECT outcome FROM damoov_ingest('$beat')"), 'stored', 'an operator ingests');
is(by('operator', q{SELECT damoov_pause('push'), damoov_resume('push'), damoov_retry_downloads()}), '||0', '... pauses, resumes, repeats downloads');
is(by('operator', q{CALL damoov_poll(max_seconds => 1)}), '', '... polls');
is(by('operator', q{CALL damoov_purge(false)}), '', '... removes what is old');
is(by('operator', q{SELECT count(*) FROM damoov_reparse('2020-01-01', false)}), '0', '... rebuilds rows');
is(by('operator', q{SELECT count(*) FROM damoov_check() WHERE finding LIKE '%permission denied%'}), '0', '... has everything looked at');
is(by('operator', q{CALL damoov_pack(now()); SELECT damoov_unpack(1)}), "0|0\n", '... packs trips');
value(q{INSERT INTO damoov.quarantine (source, reason, sqlstate, message, body, body_digest) VALUES ('q', 'clock_skew', '22008', 'x', convert_to('} . $beat . q{', 'UTF8'), '\x00')});
is(by('operator', q{SELECT outcome FROM damoov_retry(quarantine_id => (SELECT quarantine_id FROM damoov.quarantine))}), 'duplicate', '... takes from the quarantine');
like(by('operator', qq{SELECT damoov_forget('$person')}), qr/^42501/, '... but forgets nobody');
like(by('operator', q{SELECT damoov_grant('reader', 'operator')}), qr/^42501/, '... nor grants anything');

# Partitions that are made later need no rights of their own, and have none
value(qq{SELECT damoov.make_partitions();
	INSERT INTO damoov.trips (track_token, user_id, revision, point_count, filler_count) SELECT gen_random_uuid(), user_id, 1, 1, 0 FROM damoov.users;
	INSERT INTO damoov.trip_points (trip_id, seq, is_filler) SELECT trip_id, 0, false FROM damoov.trips});
isnt(value('SELECT DISTINCT tableoid::regclass FROM damoov.trip_points'), 'damoov.trip_points_default', 'there are points in a partition');
is(by('reader', 'SELECT count(*) FROM damoov.trip_points'), '1', '... which a reader reads');
like(by('reader', 'SELECT count(*) FROM damoov.trip_points_default'), qr/^42501/, '... but not around the partitioned table');
like(by('operator', 'SELECT count(*) FROM ' . value('SELECT DISTINCT tableoid::regclass FROM damoov.trip_points')), qr/^42501/, '... nor does an operator');

###########################################################################
# Who grants, and to whom
###########################################################################

value('CREATE ROLE app LOGIN; CREATE ROLE friend LOGIN; GRANT EXECUTE ON FUNCTION damoov_grant(regrole, text), damoov_revoke(regrole, text) TO app, operator;
	GRANT USAGE ON SCHEMA damoov TO app; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA damoov TO app; GRANT SELECT ON ALL TABLES IN SCHEMA damoov TO app');
my $rights = q{SELECT string_agg(concat(role, what, granted), ' ') FROM damoov.grants};
my $before = value($rights);
like(by('app', q{SELECT damoov_grant('app', 'operator')}), qr/^42501: must be owner of /, 'who may call it gains nothing');
for my $role ('app', 'operator')
{
	like(by($role, q{SELECT damoov_grant('friend', 'reader')}), qr/^42501: must be owner of /, "$role may call it and gives nothing");
	like(by($role, q{SELECT damoov_revoke('reader', 'reader')}), qr/^42501: must be owner of /, '... nor takes anything away');
}
value('GRANT SELECT ON ALL TABLES IN SCHEMA damoov TO app WITH GRANT OPTION');
like(by('app', q{SELECT damoov_grant('friend', 'reader')}), qr/^42501: must be owner of /, 'a part of the rights to grant is not enough');
is(value($rights), $before, 'nothing has changed');
value(sprintf 'CREATE ROLE dba LOGIN; GRANT %s TO dba', value('SELECT quote_ident(current_user)'));
cmp_ok(by('dba', q{SELECT damoov_grant('friend', 'reader')}), '>', 20, 'who has all rights of the owner grants');
is(value(q{SELECT DISTINCT a.grantor = c.relowner FROM pg_class AS c, aclexplode(c.relacl) AS a WHERE c.relnamespace = 'damoov'::regnamespace AND a.grantee = 'friend'::regrole}),
	't', '... as the owner');

my $error = sub { return $node->error_of($_[0]) };
like($error->(q{SELECT damoov_grant('friend', 'readers')}), qr/^22023: there is no kind of role "readers" HINT: The kinds are monitor, reader, worker and operator\.$/, 'a kind that there is not');
like($error->(q{SELECT damoov_grant('nobody', 'reader')}), qr/^42704: role "nobody" does not exist/, 'a role that there is not');
like($error->("SELECT $_"), qr/^22004: role and kind of role must not be null/, "... or is none: $_")
  for "damoov_grant(NULL, 'reader')", "damoov_grant('app', NULL)", "damoov_revoke(NULL, 'reader')", "damoov_revoke('app', NULL)";
like($error->(q{SELECT damoov_grant(4294967295, 'reader')}), qr/^42704: role with OID 4294967295 does not exist/, '... by its OID');
like($error->(q{SELECT damoov_revoke('-', 'reader')}), qr/^42704: role with OID 0 does not exist/, '... or none');
like($error->(q{SELECT damoov_grant('public', 'reader')}), qr/^42704: role "public" does not exist/, 'everybody');

my $odd = q{O'Neill "the" %s; \\ };
my $quoted = '"' . $odd =~ s/"/""/gr . '"';
value("CREATE ROLE $quoted; CREATE ROLE \"PUBLIC\"");
my $literal = Damoov::Node::quoted($quoted);
cmp_ok(value("SELECT damoov_grant($literal, 'operator')"), '>', 200, 'a role with a name that needs quotes');
cmp_ok(value(q{SELECT damoov_grant('"PUBLIC"', 'monitor')}), '>', 5, '... or that looks like everybody');
is(value('SELECT count(*) FROM damoov.grants WHERE role = ' . Damoov::Node::quoted($odd)), 1, '... is shown');
is(value(q{SELECT count(*) FROM damoov.members AS m, aclexplode(m.acl) AS a WHERE a.grantee = 0 AND m.kind <> 'server'}), 0, 'nothing is for everybody');
value("SELECT damoov_revoke($literal, 'operator')");
is(value('SELECT count(*) FROM damoov.grants WHERE role = ' . Damoov::Node::quoted($odd)), 0, '... and taken away again');

# The owner has everything and keeps it
my $owner = Damoov::Node::quoted(value('SELECT quote_ident(current_user)'));
is(value("SELECT damoov_grant($owner, 'reader'), damoov_revoke($owner, 'operator')"), '0|0', 'the owner is given nothing, and loses nothing');

###########################################################################
# Again, and away
###########################################################################

is(value(q{SELECT damoov_grant('reader', 'reader')}), 0, 'what is granted is not granted again');
value(q{CREATE VIEW damoov.later AS SELECT 1 AS x; CREATE TABLE damoov.later_table (x integer); ALTER EXTENSION damoov ADD VIEW damoov.later; ALTER EXTENSION damoov ADD TABLE damoov.later_table});
is(value(q{SELECT string_agg(concat(role, missing), ' ' ORDER BY role) FROM damoov.grants WHERE role IN ('monitor', 'reader')}), 'monitor reader{"SELECT ON TABLE damoov.later"}',
	'a view that an upgrade has brought is missing, and a table is for no reader');
is(value(q{SELECT damoov_grant('reader', 'reader'), damoov_grant('worker', 'worker')}), '1|6', '... and comes with the next call');
value(q{ALTER EXTENSION damoov DROP VIEW damoov.later; ALTER EXTENSION damoov DROP TABLE damoov.later_table; DROP VIEW damoov.later; DROP TABLE damoov.later_table});

# by hand, on the whole where a reader has columns
value('GRANT SELECT ON damoov.downloads, damoov.trips TO friend');
is(value(q{SELECT what, granted < 20 FROM damoov.grants WHERE role = 'friend'}), 'worker|f', 'who may read what readers may not is more than a reader');
value(q{SELECT damoov_revoke('friend', 'reader')});
is(value(q{SELECT count(*) FROM damoov.grants WHERE role = 'friend'}), 0, 'revoking takes away what was granted by hand, too');
like(by('friend', 'SELECT count(*) FROM damoov.downloads'), qr/^42501/, '... really');
# by others
value('GRANT USAGE ON SCHEMA damoov TO app WITH GRANT OPTION');
by('app', 'GRANT USAGE ON SCHEMA damoov TO friend; GRANT SELECT ON damoov.trips TO friend');
is(value(q{SELECT count(*) FROM damoov.grants WHERE role = 'friend'}), 0, 'what others grant is not what the owner has granted');
my ($code, $out, $err) = $node->psql('postgres', q{SELECT damoov_grant('friend', 'reader') > 20; SELECT damoov_revoke('friend', 'reader') > 20});
is($out, "t\nt", '... who grants and revokes his own');
like($err, qr/WARNING:  role "friend" still has rights that were granted by "app"\nHINT:  Whoever has granted a right can revoke it\./, '... and says what is left');
is(by('friend', 'SELECT count(*) FROM damoov.trips'), '1', '... which is');
like($error->(q{SELECT damoov_revoke('app', 'reader')}), qr/^2BP01/, 'what has been passed on cannot be revoked alone');
by('app', 'REVOKE USAGE ON SCHEMA damoov FROM friend; REVOKE SELECT ON damoov.trips FROM friend');
cmp_ok(value(q{SELECT damoov_revoke('app', 'reader')}), '>', 20, '... and then can');
value('DROP OWNED BY app; DROP OWNED BY friend; DROP ROLE friend');

# two at once
my $first = $node->background_psql('postgres');
$first->query_safe(q{BEGIN; CREATE ROLE twin; SELECT damoov_grant('monitor', 'reader')});
my $second = $node->start_sql(q{SELECT damoov_grant('app', 'reader')});
ok($node->poll_query_until('postgres', "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $second->{pid}"), 'a second call waits');
$first->query_safe('COMMIT');
$first->quit;
is($node->finish_sql($second), '', '... and succeeds');
is(value(q{SELECT string_agg(what, ' ') FROM damoov.grants WHERE role IN ('monitor', 'app') AND missing IS NULL}), 'reader reader', '... as the first has');

###########################################################################
# A dump
###########################################################################

value(q{SELECT damoov_revoke('monitor', 'reader'); SELECT damoov_grant('monitor', 'monitor'); SELECT damoov_revoke('pg_monitor', 'monitor'); SELECT damoov_revoke('app', 'reader');
	GRANT SELECT ON damoov.trips TO app; REVOKE SELECT ON damoov.crashes FROM reader; GRANT SELECT (device_token) ON damoov.users TO app});
my $granted = q{SELECT role, what, granted, missing FROM damoov.grants ORDER BY role};
my $columns = q{SELECT attrelid::regclass, attname, attacl FROM pg_attribute WHERE attacl IS NOT NULL AND attrelid >= 16384 ORDER BY attrelid::regclass::text, attname};
like(value($granted), qr/^damoov_engine.*^operator.*^reader[^\n]*damoov\.crashes.*^worker/ms, 'there are roles of all kinds');
unlike(value($granted), qr/pg_monitor/, '... but for those that watch the server');
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
value('DROP TABLE trial; DROP FUNCTION need(boolean), allows(text)');
command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', $dump ], 'pg_dump');
value('CREATE DATABASE restored TEMPLATE template0');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('restored') ], '... is read into another database');
is(value($granted, 'restored'), value($granted), 'rights are as they were');
is(value($columns, 'restored'), value($columns), '... on columns, too');
is(value(q{SELECT damoov_grant('reader', 'reader')}, 'restored'), 1, '... and can be completed');

# Where the extension is dropped, nothing is left of them
value('DROP SERVER push CASCADE; DROP EXTENSION damoov', 'restored');
is(value(q{SELECT count(*) FROM pg_shdepend WHERE dbid = (SELECT oid FROM pg_database WHERE datname = 'restored') AND refobjid IN (SELECT oid FROM pg_roles WHERE rolname IN ('reader', 'operator', 'worker'))}),
	0, 'rights go with the extension');

$node->stop;
done_testing();
