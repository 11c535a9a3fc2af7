# Damaged documents: what is damaged, the functions of test/damage on a server,
# and what must be true of the tables afterwards.
#
# A case is a seed and a number.  Cases of datasets and of messages are counted
# each by themselves; number n takes the document n modulo their count.

package Damoov::Damage;

use strict;
use warnings;

use Damoov::Node;
use Damoov::Story;
use Encode ();
use Exporter 'import';
use FindBin;
use JSON::PP;
use List::Util ();
use MIME::Base64 qw(decode_base64);
use PostgreSQL::Test::Utils;
use Test::More ();

our @EXPORT = qw(damage_seed cases datasets messages install_damage
  install_halves damaged readable_prefixes damage_all notices);

# The ids that the documents in sql/datasets.sql have.
use constant TRACK => 'c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d';
use constant CRASH => 'f3b1d6a2-9c40-4e85-b7d3-2a6c8e0f1b47';
use constant DRIVER => '5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5';

###########################################################################
# Which cases
###########################################################################

sub damage_seed
{
	return $ENV{DAMAGE_SEED} // 20261124;
}

# How many cases: what the test says, times the factor asked for.
sub cases
{
	my ($usual) = @_;
	return $usual * ($ENV{DAMAGE_TIMES} // 1);
}

# First and last number of a sort ("dataset", "message"): so many cases, or the
# one asked for; nothing when that is one of the other sort.
sub _numbers
{
	my ($sort, $usual) = @_;

	return (0, cases($usual) - 1) unless defined $ENV{DAMAGE_CASE};
	die "DAMAGE_CASE is not like dataset:17 or message:17\n"
	  unless $ENV{DAMAGE_CASE} =~ /^(dataset|message):(\d+)$/;
	return $1 eq $sort ? ($2, $2) : ();
}

###########################################################################
# What is damaged
###########################################################################

# Crash buffers are read by likeness; these are their shapes.
my %buffers = (
	'samples, short names' =>
	  '{"samples": [{"timestamp": 0, "ACC_X": 1e0, "acc_y": 2, "accZ": 9.8, "gyro_x": 0.1, "speed": 13.5}, {"timestamp": 0.01, "ACC_X": 4, "acc_y": 5, "accZ": 9.9, "gyro_x": 0.2, "speed": 13.6}]}',
	'objects of axes' =>
	  '{"Data": {"Buffer": [{"t": 0, "Acc": {"X": 1, "Y": 2, "Z": 9.8}, "Gyro": {"X": 0.1}, "Velocity": 13.5}, {"t": 10, "Acc": {"X": 4, "Y": 5, "Z": 9.9}, "Gyro": {"X": 0.2}, "Velocity": 13.6}]}, "DeviceToken": "'
	  . DRIVER
	  . '", "StartTime": "2024-05-14T15:50:53.4200000Z"}',
	'a bare array, arrays of axes' =>
	  '[{"ts": 0, "Accelerometer": [1, 2, 9.8], "g": {"x": 0.1}, "speedms": 13.5}, {"ts": 10000, "Accelerometer": [4, 5, 9.9], "g": {"x": 0.2}, "speedms": 13.6}]',
	'columns' =>
	  '{"Id": "'
	  . CRASH
	  . '", "Hz": 100, "Time": [0, 10, 20, 30, 40, 5E1], "AccelerationX": [1, 4, 1, 1, 1, 1], "AccelerationY": [2, 5, 2, 2, 2, 2], "AccelerationZ": [9.8, 9.9, 9.8, 9.8, 9.8, 9.8], "Gyro": {"X": [0.1, 0.2, 0.1, 0.1, 0.1, 0.1]}, "Speed": [13.5, 13.6, 13.6, 13.6, 13.6, null]}',
	'a gyroscope of its own' =>
	  '{"AccelerometerData": [{"time": 0, "x": 1, "y": 2, "z": 9.8}, {"time": 10, "x": 4, "y": 5, "z": 9.9}], "GyroscopeData": [{"time": 0, "x": 0.1}, {"time": 10, "x": 0.2}], "Note": "S\u00fcd \ud83d\ude97 \"x\""}',
	'nothing that is known' => '{"Something": {"else": [1, "two", 3.5e-7]}}');

# The INSERT of the documents in sql/datasets.sql, into a table of that name.
sub _samples
{
	my ($table) = @_;
	my $script = slurp_file("$FindBin::RealBin/../../sql/datasets.sql");

	$script =~ /^INSERT INTO sample VALUES\n(.*?'\)\;)\n/ms
	  or die "there are no documents in sql/datasets.sql\n";
	return "INSERT INTO $table VALUES\n$1";
}

# Kind, name and text of every dataset; a further one is a further row.
sub datasets
{
	my ($node) = @_;
	my @rows = split /\n/, $node->sql(
		'CREATE TEMP TABLE sample (name text, kind text, document jsonb);'
		  . _samples('sample')
		  . ";\nSELECT kind, name, encode(convert_to(document::text, 'UTF8'), 'base64') FROM sample ORDER BY name"
	) =~ s/\+?\n(?![a-z_]+\|)//gr;

	return (
		(
			map {
				my ($kind, $name, $base64) = split /\|/;
				[ $kind, $name, decode_base64($base64) ]
			} @rows
		),
		(map { [ 'crash_buffer', "buffer: $_", $buffers{$_} ] } sort keys %buffers),
		[ 'processed', 'members of all sorts', _odd_track() ]);
}

# What a reader has to decide about, although nothing is broken yet.
sub _odd_track
{
	my $points = join ', ',
	  map {
		qq({"Number": $_, "Id": 67000001e2, "PointDate": "2024-05-14T17:42:1$_+02:00", "Latitude": 51.9$_, "Longitude": 7.6$_, "AlertType": "x\\u00e9\\ud83d\\ude97$_", "SpeedType": "\\"\\\\\\/\\n", "Tilt": [$_, {"a": -1.5E+3}], "PhoneUsage": 1, "Speed": 61, "SpeedLimit": 50, "DeviceToken": "@{[ DRIVER ]}"})
	  } 1 .. 3;
	return Encode::encode('UTF-8',
		qq({"Region": "eu", "Result": {"Code": 200, "Track": {"Points": [$points, 5, null], "Rating": 3.5, "Rating": 4, "Fuel": {"Type": "diesel", "UserId": "x", "Used": [7e-1, null]}, "Tags": [], "AddressStart": "M\x{fc}nster \x{1f697}", "TrackToken": "@{[ TRACK ]}"}, "More": 1e5}}));
}

# Bodies as a queue delivers them; a further envelope is a further row.
sub messages
{
	my $json = JSON::PP->new->canonical->utf8;
	my ($track, $crash) = map { token($_) } qw(track crash);
	my %one = (
		heartbeat => heartbeat(DRIVER, 1),
		enriched => enriched(
			DRIVER, $track, 10,
			removed => [ map { token('gone', $_) } 1 .. 3 ],
			url => "https://mobilesdk.telematicssdk.com/mobilesdk/stage/track/get_track/v1?trackToken=$track"),
		removed => removed(DRIVER, $track, 20),
		received => _noted('IncomingTrackReceived', $track, 'IncomingTrack', {
			TrackStartDate => '2026-03-02T08:00:00.0000000+01:00', TrackFinishDate => '2026-03-02T08:05:00.0000000+01:00' }),
		'crash received' => _noted('AccidentEventReceived', $crash, 'Accident', { DateReceived => moment(31) }),
		'crash buffer' => _noted(5, $crash, 'AccidentExtra', { DateReceived => moment(32) }),
		'crash complete' => _noted('CrashDataSetCompleted', $crash, 'Accident',
			{ PackageDateReceived => moment(33), AccidentPassedFilters => JSON::PP::true }),
		'crash filtered' => _noted('AccidentEventFiltered', $crash, 'Accident', { DateFiltered => moment(34) }),
		unknown => _noted('SomethingNew', $track, 'News', { Values => [ 1.5, { x => "\x{fc}\x{1f697}" } ] }));
	my @all = map { $one{$_} } sort keys %one;

	return (
		(map { [ $_, $json->encode($one{$_}) ] } sort keys %one),
		[ 'array', $json->encode(\@all) ],
		[ 'SNS', JSON::PP->new->utf8->pretty->encode(_sns($json->encode($one{enriched}))) =~ s/\s+$//r ],
		[ 'SNS around an array', $json->encode(_sns($json->encode([ @all[ 0 .. 2 ] ]))) ],
		[ 'array of SNS', $json->encode([ map { _sns($json->encode($_)) } @all[ 3 .. 5 ] ]) ],
		[ 'SNS itself', $json->encode(_sns('', Type => 'SubscriptionConfirmation')) ],
		[ 'byte order mark, exponent', "\xEF\xBB\xBF" . ($json->encode($one{heartbeat}) =~ s/"ChargeLevel":\d+/"ChargeLevel":6.35e1/r) ]);
}

sub _noted
{
	my ($event, $object, $type, $details) = @_;
	return {
		Event => $event,
		Sender => 'Data Motion',
		UserId => DRIVER,
		ClientId => "\x{141}ukasz 7 \x{1f697}",
		Object => { Id => $object, Type => $type },
		Timestamp => moment(30),
		Details => $details
	};
}

sub _sns
{
	my ($message, %members) = @_;
	return {
		Type => 'Notification',
		MessageId => '9b1e2f30-4a5b-5c6d-8e7f-001122334455',
		TopicArn => 'arn:aws:sns:eu-west-1:123456789012:damoov',
		Message => Encode::decode('UTF-8', $message),
		Timestamp => '2026-03-02T07:00:00.120Z',
		Signature => 'RXhhbXBsZQ==',
		%members
	};
}

###########################################################################
# A server
###########################################################################

# A directory under test/damage, and the extension with the test functions in it.
sub _library
{
	my ($kind) = @_;
	my $build = $ENV{DAMOOV_BUILD} // "$FindBin::RealBin/../..";
	my ($library) = grep { -e $_ }
	  map { "$build/test/damage/$kind/damoov_damage.$_" } qw(so dylib);
	die "test/damage is not built, run \"make damage\" first\n"
	  unless defined $library;
	return $library =~ s/\.\w+$//r;
}

# Puts the library of a build in the extension's place, and the documents into
# tables.  The server must not have loaded the extension.
sub install_damage
{
	my ($node, $build) = @_;
	my $library = _library($build);
	my @datasets = datasets($node);
	my @messages = messages();

	install_halves($node);
	$node->sql(qq{
CREATE FUNCTION damage.document(document bytea, seed bigint, number bigint) RETURNS bytea
    AS '$library', 'damage_document' LANGUAGE C STRICT;
CREATE FUNCTION damage.read(kind text, object_id uuid, document bytea, seed bigint, first bigint, last bigint, step bigint) RETURNS SETOF bigint
    AS '$library', 'damage_read' LANGUAGE C STRICT;
CREATE FUNCTION damage.prefixes(kind text, object_id uuid, document bytea) RETURNS SETOF bigint
    AS '$library', 'damage_prefixes' LANGUAGE C STRICT;
CREATE FUNCTION damage.store(kind text, object_id uuid, document bytea, seed bigint, number bigint) RETURNS xid
    AS '$library', 'damage_store' LANGUAGE C STRICT;
CREATE FUNCTION damage.ingest(source text, documents bytea[], seed bigint, first bigint) RETURNS TABLE (outcome text, event_id bigint, body bytea)
    AS '$library', 'damage_ingest' LANGUAGE C STRICT;
CREATE FUNCTION damage.sanitizer() RETURNS text
    AS '$library', 'damage_sanitizer' LANGUAGE C;
CREATE FUNCTION damage.nothing(what text) RETURNS integer
    AS '$library', 'damage_nothing' LANGUAGE C STRICT;
CREATE TABLE damage.dataset (n integer PRIMARY KEY, kind text, name text, object_id uuid, document bytea);
CREATE TABLE damage.message (n integer PRIMARY KEY, name text, document bytea);
CREATE TABLE damage.outcome (outcome text, event_id bigint, body bytea);
} . _procedures());
	_insert($node, 'dataset',
		map { [ @{ $datasets[$_] }[ 0, 1 ], $datasets[$_][0] =~ /^crash/ ? CRASH : TRACK, $datasets[$_][2] ] } 0 .. $#datasets);
	_insert($node, 'message', @messages);
	$node->sql("UPDATE pg_proc SET probin = '$library' WHERE probin = '\$libdir/damoov'");
	return;
}

# Rows of texts, the last of which is a document.
sub _insert
{
	my ($node, $table, @rows) = @_;
	my $n = 0;

	$node->sql("INSERT INTO damage.$table VALUES " . join ",\n", map {
			my @row = @$_;
			my $document = pop @row;
			'('
			  . join(', ', $n++, (map { Damoov::Node::quoted($_) } @row),
				"'\\x" . unpack('H*', $document) . "'") . ')'
	} @rows);
	return;
}

# Somebody drove the track and had the crash; their datasets are to come.
sub _known_objects
{
	my @events = (
		enriched(DRIVER, TRACK, 1),
		_noted('IncomingTrackReceived', TRACK, 'IncomingTrack', {}),
		_noted('AccidentEventReceived', CRASH, 'Accident', { DateReceived => moment(1) }),
		_noted('AccidentEventExtraReceived', CRASH, 'AccidentExtra', { DateReceived => moment(1) }));

	return 'SELECT count(*) FROM damoov_ingest('
	  . Damoov::Node::quoted(JSON::PP->new->ascii->encode(\@events)) . ')';
}

# What is there but not whole.  Rows of one revision are written by one
# transaction; what was left from another shows by its xmin.
sub install_halves
{
	my ($node, $database) = @_;

	$node->sql(q{
CREATE SCHEMA damage;
CREATE VIEW damage.half (what, id) AS
SELECT 'points of trip', t.track_token::text
FROM damoov.trips AS t
WHERE (t.point_count::bigint, t.filler_count::bigint, true) IS DISTINCT FROM (
        SELECT (count(*), count(*) FILTER (WHERE p.is_filler), coalesce(bool_and(p.xmin = t.xmin), true))
        FROM damoov.trip_points AS p WHERE p.trip_id = t.trip_id)
UNION ALL
SELECT 'events of trip', t.track_token::text
FROM damoov.trips AS t
WHERE EXISTS (SELECT FROM damoov.trip_events AS e WHERE e.trip_id = t.trip_id AND e.xmin <> t.xmin)
    OR EXISTS (
        SELECT FROM damoov.trip_points AS p
        CROSS JOIN LATERAL (VALUES
            ('acceleration', p.alert_type IS NOT DISTINCT FROM 'acc'), ('braking', p.alert_type IS NOT DISTINCT FROM 'deacc'),
            ('cornering', p.cornering IS TRUE), ('phone_usage', p.phone_usage IS TRUE),
            ('speeding', (p.speed_kmh > p.speed_limit_kmh) IS TRUE)) AS k (kind, takes_part)
        WHERE p.trip_id = t.trip_id AND NOT p.is_filler AND k.takes_part IS DISTINCT FROM EXISTS (
            SELECT FROM damoov.trip_events AS e
            WHERE e.trip_id = t.trip_id AND e.kind = k.kind AND p.seq BETWEEN e.first_seq AND e.last_seq))
UNION ALL
SELECT 'no trip', o.trip_id::text
FROM (SELECT p.trip_id FROM damoov.trip_points AS p UNION SELECT e.trip_id FROM damoov.trip_events AS e) AS o
WHERE o.trip_id NOT IN (SELECT t.trip_id FROM damoov.trips AS t)
UNION ALL
SELECT 'raw track', t.track_token::text
FROM damoov.raw_tracks AS t
WHERE (t.point_count::bigint, true) IS DISTINCT FROM (
        SELECT (count(*), coalesce(bool_and(p.xmin = t.xmin), true)) FROM damoov.raw_points AS p WHERE p.raw_track_id = t.raw_track_id)
    OR (t.event_count::bigint, true) IS DISTINCT FROM (
        SELECT (count(*), coalesce(bool_and(e.xmin = t.xmin), true)) FROM damoov.raw_events AS e WHERE e.raw_track_id = t.raw_track_id)
UNION ALL
SELECT 'no raw track', o.raw_track_id::text
FROM (SELECT p.raw_track_id FROM damoov.raw_points AS p UNION SELECT e.raw_track_id FROM damoov.raw_events AS e) AS o
WHERE o.raw_track_id NOT IN (SELECT t.raw_track_id FROM damoov.raw_tracks AS t)
UNION ALL
SELECT 'samples of crash', b.crash_id::text
FROM damoov.crash_buffers AS b
WHERE EXISTS (
    SELECT FROM (VALUES (b.at_ms), (b.acceleration_x_ms2), (b.acceleration_y_ms2), (b.acceleration_z_ms2),
        (b.gyroscope_x_rad_s), (b.gyroscope_y_rad_s), (b.gyroscope_z_rad_s), (b.speed_ms)) AS s (samples)
    WHERE cardinality(s.samples) <> b.sample_count);
}, $database);
	return;
}

sub _procedures
{
	return q{
-- Everything that a kind of dataset may have written
CREATE FUNCTION damage.state(kind text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    relations CONSTANT jsonb := '{"processed": ["trips", "trip_points", "trip_events"], "raw": ["raw_tracks", "raw_points", "raw_events"],
        "crash": ["crashes"], "crash_buffer": ["crash_buffers", "crashes"]}';
    relation text;
    rows text;
    result text := '';
BEGIN
    FOR relation IN SELECT jsonb_array_elements_text(relations -> kind || '"documents"') LOOP
        EXECUTE format('SELECT string_agg(concat(t.xmin, t.*), E''\n'' ORDER BY t::text COLLATE "C") FROM damoov.%I AS t', relation) INTO rows;
        result := concat_ws(E'\n', result, relation, rows);
    END LOOP;
    RETURN result;
END
$$;

-- How many objects stand in a list, the last one of that name
CREATE FUNCTION damage.objects(document jsonb, VARIADIC path text[]) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*) FILTER (WHERE jsonb_typeof(a.element) = 'object')
    FROM jsonb_array_elements(CASE jsonb_typeof(document #> path) WHEN 'array' THEN document #> path ELSE '[]' END) AS a (element)
$$;

-- What is wrong with what a transaction has stored, or null
CREATE FUNCTION damage.wrong(kind text, object_id uuid, document bytea, writer xid) RETURNS text LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    -- the server's parser has the last word on what is JSON
    value CONSTANT jsonb := convert_from(document, 'UTF8');
    half text := string_agg(concat_ws(' ', h.what, h.id), ', ') FROM damage.half AS h;
    whole boolean;
BEGIN
    IF half IS NOT NULL THEN
        RETURN half;
    END IF;
    IF kind = 'processed' THEN
        SELECT t.xmin = writer AND t.point_count = damage.objects(value, 'Result', 'Track', 'Points') INTO whole
        FROM damoov.trips AS t WHERE t.track_token = object_id;
    ELSIF kind = 'raw' THEN
        SELECT t.xmin = writer
            AND t.point_count = damage.objects(value, 'Track', 'Points') + damage.objects(value, 'result', 'TripData', 'Points') + damage.objects(value, 'result', 'Track', 'Points')
            AND t.event_count = damage.objects(value, 'Track', 'Events') + damage.objects(value, 'result', 'TripData', 'Events') + damage.objects(value, 'result', 'Track', 'Events') INTO whole
        FROM damoov.raw_tracks AS t WHERE t.track_token = object_id;
    ELSIF kind = 'crash' THEN
        SELECT c.xmin = writer AND c.header_stored_at IS NOT NULL INTO whole
        FROM damoov.crashes AS c WHERE c.crash_token = object_id;
    ELSE
        SELECT b.xmin = writer INTO whole
        FROM damoov.crash_buffers AS b JOIN damoov.crashes AS c USING (crash_id) WHERE c.crash_token = object_id;
    END IF;
    IF whole IS NOT TRUE THEN
        RETURN 'not all of the document';
    END IF;
    IF NOT EXISTS (SELECT FROM damoov.documents AS d WHERE d.kind = kind AND d.object_id = object_id AND convert_to(d.document, 'UTF8') = document) THEN
        RETURN 'not its original';
    END IF;
    -- kept in place of the rows it would give the same
    IF kind = 'processed' AND (SELECT string_agg(p::text, E'\n' ORDER BY p.seq) FROM damoov.trip_points AS p) IS DISTINCT FROM (
        SELECT string_agg(r::text, E'\n' ORDER BY r.seq)
        FROM damoov.trips AS t
        JOIN damoov.users AS u USING (user_id)
        CROSS JOIN LATERAL (
            SELECT *
            FROM damoov.document_points(t.trip_id, damoov.pack_document(convert_from(document, 'UTF8'), u.device_token))) AS r)
    THEN
        RETURN 'other points in a document';
    END IF;
    RETURN NULL;
END
$$;

-- Reads a case and stores it, and looks at what has become of it
CREATE FUNCTION damage.store_case(seed bigint, number bigint) RETURNS boolean LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    original CONSTANT damage.dataset := d FROM damage.dataset AS d WHERE d.n = number % (SELECT count(*) FROM damage.dataset);
    before CONSTANT text := damage.state(original.kind);
    writer CONSTANT xid := damage.store(original.kind, original.object_id, original.document, seed, number);
    wrong text;
BEGIN
    IF writer IS NULL THEN
        IF damage.state(original.kind) <> before THEN
            RAISE EXCEPTION 'refused, but not without a trace';
        END IF;
        RETURN false;
    END IF;
    wrong := damage.wrong(original.kind, original.object_id, damage.document(original.document, seed, number), writer);
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'stored, but half: %', wrong;
    END IF;
    RETURN true;
EXCEPTION WHEN OTHERS THEN
    RAISE EXCEPTION 'case dataset:% of seed % (%): % (%)', number, seed, original.name, SQLERRM, SQLSTATE;
END
$$;

-- Now and then what is there goes, for the next to be new
CREATE PROCEDURE damage.store_cases(seed bigint, numbers bigint[], OUT stored bigint) LANGUAGE plpgsql AS $$
DECLARE
    number bigint;
    done bigint := 0;
BEGIN
    stored := 0;
    FOREACH number IN ARRAY numbers LOOP
        stored := stored + damage.store_case(seed, number)::integer;
        done := done + 1;
        IF done % 40 = 0 THEN
            DELETE FROM damoov.trips;
            DELETE FROM damoov.raw_tracks;
            DELETE FROM damoov.crashes;
        END IF;
        IF done % 20 = 0 THEN
            COMMIT;
        END IF;
    END LOOP;
END
$$;

-- A batch has one to ten messages
CREATE PROCEDURE damage.ingest_cases(seed bigint, first bigint, last bigint) LANGUAGE plpgsql AS $$
DECLARE
    number bigint := first;
    size bigint;
BEGIN
    WHILE number <= last LOOP
        size := least(1 + number % 10, last - number + 1);
        BEGIN
            INSERT INTO damage.outcome
            SELECT o.* FROM damage.ingest('damage', ARRAY(
                SELECT m.document FROM generate_series(number, number + size - 1) AS i
                JOIN damage.message AS m ON m.n = i % (SELECT count(*) FROM damage.message) ORDER BY i), seed, number) AS o;
        EXCEPTION WHEN OTHERS THEN
            RAISE EXCEPTION 'cases message:% and % after it of seed %: % (%)', number, size - 1, seed, SQLERRM, SQLSTATE;
        END;
        number := number + size;
        COMMIT;
    END LOOP;
END
$$;
};
}

###########################################################################
# Doing cases
###########################################################################

# The damaged documents of cases from a first to a last one, in bytes; of a
# table ("dataset", "message").
sub damaged
{
	my ($node, $table, $first, $last) = @_;
	return map { pack 'H*', $_ }
	  split /\n/, $node->sql("SELECT encode(damage.document(d.document, @{[ damage_seed() ]}, i), 'hex')
		FROM generate_series($first, $last) AS i JOIN damage.$table AS d ON d.n = i % (SELECT count(*) FROM damage.$table) ORDER BY i"), -1;
}

# The names of the documents that can be read, with the length of what was read
# if that was not the whole.
sub readable_prefixes
{
	my ($node) = @_;
	return $node->sql("SELECT concat_ws(': ', d.name, nullif(p, length(d.document)))
		FROM (SELECT kind, name, object_id, document FROM damage.dataset
			UNION ALL SELECT 'message', name, '@{[ TRACK ]}', document FROM damage.message) AS d (kind, name, object_id, document),
			damage.prefixes(d.kind, d.object_id, d.document) AS p ORDER BY d.name COLLATE \"C\", p");
}

# Reads all cases; returns the numbers of those that could be read.
sub _read_cases
{
	my ($node, $first, $last) = @_;
	my $seed = damage_seed();

	return split /\n/, $node->sql("SELECT r FROM damage.dataset AS d, (SELECT count(*) FROM damage.dataset) AS c,
		damage.read(d.kind, d.object_id, d.document, $seed, $first + (d.n - $first % c.count + c.count) % c.count, $last, c.count) AS r ORDER BY r");
}

# Returns how many were stored.
sub _store_cases
{
	my ($node, @numbers) = @_;
	my $seed = damage_seed();
	my $stored = 0;

	while (@numbers)
	{
		$stored += $node->sql("CALL damage.store_cases($seed, '{" . join(',', splice @numbers, 0, 500) . "}', NULL)");

		# each case leaves dead rows, and the next looks through them
		$node->sql('VACUUM');
	}
	return $stored;
}

# The cases of a test: datasets are read, and every so many of those that could
# be read are stored; messages are ingested.  An unexpected error ends the test.
sub damage_all
{
	my ($node, %usual) = @_;
	my $seed = damage_seed();

	Test::More::note("seed $seed");
	$node->sql(_known_objects());
	if (my ($first, $last) = _numbers('dataset', $usual{datasets}))
	{
		my @read = _read_cases($node, $first, $last);
		my %read = map { ($_ => 1) } @read;
		my @refused = grep { !$read{$_} } $first .. $first + List::Util::min($last - $first, 1500);
		Test::More::note(sprintf '%d datasets, %d of them can be read', $last - $first + 1, scalar @read);
		my @stored = @read[ grep { $_ % $usual{every} == 0 } 0 .. $#read ];
		Test::More::is(_store_cases($node, @stored), @stored, 'a damaged dataset that can be read is stored whole');
		Test::More::is(_store_cases($node, @refused), 0, '... and one that cannot leaves what was there');
	}
	if (my ($first, $last) = _numbers('message', $usual{messages}))
	{
		$node->sql("CALL damage.ingest_cases($seed, $first, $last)");
		Test::More::note(sprintf '%d messages', $last - $first + 1);
		Test::More::note($node->sql('SELECT outcome, count(*) FROM damage.outcome GROUP BY outcome ORDER BY outcome'));
		Test::More::is(_ledger_trouble($node), '', 'each damaged message ends in one way, and is there');
	}
	_show_case($node) if defined $ENV{DAMAGE_CASE};
	return;
}

sub _show_case
{
	my ($node) = @_;
	my ($table, $number) = split /:/, $ENV{DAMAGE_CASE};
	my ($document) = damaged($node, $table, $number, $number);

	Test::More::diag("$ENV{DAMAGE_CASE} is: " . ($document // '') =~ s/([^ -~])/sprintf '\\x%02x', ord $1/egr);
	return;
}

# Does something wrong on purpose: true when the server ends over it, and has a
# line in its log that matches.
sub notices
{
	my ($node, $what, $line) = @_;
	my $before = $node->log_size;

	$node->psql('postgres', "SELECT damage.nothing('$what')");
	$node->poll_query_until('postgres', 'SELECT true') or die "the server does not come back\n";
	return $node->log_lines('damage: crashed on purpose', $before)
	  && $node->log_lines($line, $before);
}

# What is wrong with the outcomes and the ledger, '' when all is right.
sub _ledger_trouble
{
	my ($node) = @_;
	return $node->sql(q{
WITH seen AS (SELECT count(*) AS received,
        count(*) FILTER (WHERE outcome = 'stored') AS stored, count(*) FILTER (WHERE outcome = 'duplicate') AS duplicate,
        count(*) FILTER (WHERE outcome = 'unknown') AS unknown, count(*) FILTER (WHERE outcome = 'control') AS control,
        count(*) FILTER (WHERE outcome = 'quarantined') AS quarantined
    FROM damage.outcome)
SELECT 'ledger differs from the outcomes' FROM seen AS s
WHERE (s.*) IS DISTINCT FROM (SELECT (sum(l.received)::bigint, sum(l.stored)::bigint, sum(l.duplicate)::bigint, sum(l.unknown)::bigint, sum(l.control)::bigint, sum(l.quarantined)::bigint)
    FROM damoov.ledger AS l WHERE l.source = 'damage')
UNION ALL SELECT 'ledger is not balanced' FROM damoov.ledger WHERE NOT balanced
UNION ALL SELECT 'not one event for each that is new' FROM seen AS s
WHERE s.stored + s.unknown + s.control <> (SELECT count(*) FROM damoov.events WHERE source = 'damage')
UNION ALL SELECT 'not one redelivery for each duplicate' FROM seen AS s
WHERE s.duplicate <> (SELECT coalesce(sum(times), 0) FROM damoov.redeliveries WHERE source = 'damage')
UNION ALL SELECT 'not each that is refused is in quarantine' FROM (SELECT count(DISTINCT body) FROM damage.outcome WHERE outcome = 'quarantined') AS s
WHERE s.count <> (SELECT count(*) FROM damoov.quarantine WHERE source = 'damage')
UNION ALL SELECT concat('outcome ', o.outcome, ' without its row: ', encode(o.body, 'escape')) FROM damage.outcome AS o
WHERE CASE o.outcome
    WHEN 'quarantined' THEN o.event_id IS NOT NULL OR NOT EXISTS (SELECT FROM damoov.quarantine AS q WHERE q.source = 'damage' AND q.body = o.body)
    WHEN 'duplicate' THEN NOT EXISTS (SELECT FROM damoov.events AS e WHERE e.event_id = o.event_id)
    ELSE NOT EXISTS (SELECT FROM damoov.events AS e WHERE e.event_id = o.event_id AND e.outcome = o.outcome)
    END
UNION ALL SELECT concat('could not be stored: ', message) FROM damoov.quarantine WHERE source = 'damage' AND reason = 'store_failed'
LIMIT 20});
}

1;
