# The reader of timestamps, in all spellings that the platform has and many that
# it has not.

package Unit::Timestamp;

use strict;
use warnings;

use Damoov::Unit;
use Test::More;

functions(q{
CREATE FUNCTION unit_timestamp(
    input text, OUT result text, OUT at timestamptz, OUT offset_min integer,
    OUT has_zone boolean, OUT leap_second boolean, OUT end_of_day boolean,
    OUT sqlstate text, OUT fault text)
AS 'damoov_unit' LANGUAGE C STRICT;
CREATE FUNCTION unit_epoch(value float8, milliseconds boolean)
RETURNS timestamptz AS 'damoov_unit' LANGUAGE C STRICT;
CREATE FUNCTION unit_timestamp_speed(input text, rounds integer)
RETURNS integer AS 'damoov_unit' LANGUAGE C STRICT;
CREATE FUNCTION utc(timestamptz) RETURNS text LANGUAGE sql
RETURN to_char($1 AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US');
});

# Each entry: input, point in time in UTC, notes: "none" (no zone), "leap"
# (second 60), "24h" (24:00:00), and the offset in minutes unless zero.
my @good = (

	# the five spellings; the fifth, epoch numbers, is below
	[ '2021-02-27T13:36:54+01:00', '2021-02-27T12:36:54.000000', '60' ],
	[ '2020-01-24T12:03:33+0300', '2020-01-24T09:03:33.000000', '180' ],
	[ '2023-11-05T08:15:30.1234567Z', '2023-11-05T08:15:30.123457', '' ],
	[
		'2023-11-05T08:15:30.1234567-05:30', '2023-11-05T13:45:30.123457',
		'-330'
	],
	[ '2023-11-05T08:15:30.12345', '2023-11-05T08:15:30.123450', 'none' ],
	[ '2023-11-05T08:15:30.123456', '2023-11-05T08:15:30.123456', 'none' ],
	[ '2023-11-05T08:15:30.1234567', '2023-11-05T08:15:30.123457', 'none' ],

	# B36 and B38: fractions of one to nine digits, rounded half up
	[ '2023-11-05T08:15:30.1Z', '2023-11-05T08:15:30.100000', '' ],
	[ '2023-11-05T08:15:30.000000Z', '2023-11-05T08:15:30.000000', '' ],
	[ '2023-11-05T08:15:30.0000004Z', '2023-11-05T08:15:30.000000', '' ],
	[ '2023-11-05T08:15:30.0000005Z', '2023-11-05T08:15:30.000001', '' ],
	[ '2023-11-05T08:15:30.12345649Z', '2023-11-05T08:15:30.123456', '' ],
	[ '2023-11-05T08:15:30.123456500Z', '2023-11-05T08:15:30.123457', '' ],
	[ '2023-11-05T08:15:30.999999499Z', '2023-11-05T08:15:30.999999', '' ],
	[ '1999-12-31T23:59:58.1234565Z', '1999-12-31T23:59:58.123457', '' ],

	# B37: rounding carries
	[ '2023-12-31T23:59:59.9999999Z', '2024-01-01T00:00:00.000000', '' ],
	[ '1970-01-01T00:00:00.9999995Z', '1970-01-01T00:00:01.000000', '' ],

	# B39: second 60
	[ '2016-12-31T23:59:60Z', '2017-01-01T00:00:00.000000', 'leap' ],
	[ '2016-12-31T23:59:60.0000000Z', '2017-01-01T00:00:00.000000', 'leap' ],
	[ '2017-01-01T02:59:60+03:00', '2017-01-01T00:00:00.000000', 'leap 180' ],

	# B41: the end of a day
	[ '2020-02-28T24:00:00Z', '2020-02-29T00:00:00.000000', '24h' ],
	[ '2021-02-28T24:00:00.0', '2021-03-01T00:00:00.000000', 'none 24h' ],

	# B46: no zone
	[ '2020-07-20T14:44:54', '2020-07-20T14:44:54.000000', 'none' ],

	# leap years, and offsets up to the limit
	[ '2000-02-29T00:00:00Z', '2000-02-29T00:00:00.000000', '' ],
	[ '2024-02-29T23:59:59Z', '2024-02-29T23:59:59.000000', '' ],
	[ '2024-03-01T00:00:00+15:59', '2024-02-29T08:01:00.000000', '959' ],
	[ '2024-02-29T23:00:00-1559', '2024-03-01T14:59:00.000000', '-959' ],
	[ '2024-01-01T00:00:00+00:00', '2024-01-01T00:00:00.000000', '' ],
	[ '2024-01-01T00:00:00-0000', '2024-01-01T00:00:00.000000', '' ],

	# B50: 20 years back; the limits of what is plausible
	[ '2006-01-15T12:00:00Z', '2006-01-15T12:00:00.000000', '' ],
	[ '1970-01-01T00:00:00Z', '1970-01-01T00:00:00.000000', '' ],
	[ '1969-12-31T23:00:00-01:00', '1970-01-01T00:00:00.000000', '-60' ],
	[ '2200-12-31T23:59:59.999999Z', '2200-12-31T23:59:59.999999', '' ],
	[ '2201-01-01T00:59:59+01:00', '2200-12-31T23:59:59.000000', '60' ],);

# What is refused: result, then inputs.
my @refused = (

	# B40
	[
		range => qw(2020-01-01T12:00:60.5Z 2020-01-01T12:00:60.0000001Z
		  2020-01-01T12:00:61Z 2020-01-01T24:00:01Z 2020-01-01T24:01:00Z
		  2020-01-01T24:00:00.1Z 2020-01-01T24:00:60Z 2020-01-01T25:00:00Z
		  2020-01-01T12:60:00Z 2020-01-01T99:99:99Z)
	],

	# B42
	[
		range => qw(2020-02-30T00:00:00Z 2021-02-29T00:00:00Z
		  1900-02-29T00:00:00Z 2100-02-29T00:00:00Z 2020-04-31T00:00:00Z
		  2020-13-01T00:00:00Z 2020-00-01T00:00:00Z 2020-01-00T00:00:00Z
		  2020-01-32T00:00:00Z)
	],

	# B43
	[
		range => qw(0000-01-01T00:00:00Z -2020-01-01T00:00:00Z
		  +2020-01-01T00:00:00Z), '2020-01-01T00:00:00 BC',
		'2020-01-01T00:00:00Z BC'
	],

	# B44
	[
		empty => qw(0001-01-01T00:00:00 0001-01-01T00:00:00Z
		  0001-01-01T00:00:00.0000000 0001-01-01T00:00:00+00:00
		  0001-01-01T00:00:00+03:00)
	],
	[ range => qw(0001-01-01T00:00:00.0000001 0001-01-01T00:00:01Z) ],
	[ zone => qw(0001-01-01T00:00:00+16:00) ],
	[ range => '0001-01-01T00:00:00 BC' ],

	# B45 and other implausible years
	[
		range => qw(9999-12-31T23:59:59.9999999 9999-12-31T23:59:59.9999999Z
		  294277-01-01T00:00:00Z 99999999999999999999-01-01T00:00:00Z
		  1969-12-31T23:59:59.9Z 1970-01-01T00:00:00+00:01
		  2201-01-01T00:00:00Z 2200-12-31T23:59:59.9999999Z
		  2200-12-31T23:59:60Z 2200-12-31T24:00:00Z
		  1601-01-01T00:00:00Z 1899-12-30T00:00:00Z)
	],

	# B47
	[
		zone => qw(2020-01-01T00:00:00+16:00 2020-01-01T00:00:00-1600
		  2020-01-01T00:00:00+25:00 2020-01-01T00:00:00+5
		  2020-01-01T00:00:00+05 2020-01-01T00:00:00+05:
		  2020-01-01T00:00:00+05:60 2020-01-01T00:00:00+05:0
		  2020-01-01T00:00:00+5:000 2020-01-01T00:00:00+05:30:00
		  2020-01-01T00:00:00- 2020-01-01T00:00:00+-1:00
		  2020-01-01T00:00:00+0a:00)
	],

	# B48
	[
		syntax => qw(now today yesterday tomorrow infinity -infinity epoch
		  allballs J2451187 2020-202 2020-202T00:00:00Z 2020-W01-1T00:00:00Z
		  2020-01-01T00:00:00UTC 2020-01-01T00:00:00ZZ), 'NOW',
		'2020-01-01T00:00:00 Europe/Berlin', '2020-01-01T00:00:00 UTC'
	],

	# B49
	[
		syntax => qw(01/02/2020 1595256294 1595256294000 1595256294.5 null),
		'', ' ', 'T', '-', '+'
	],

	# near misses
	[
		syntax => qw(2020-01-01 2020-01-01T 2020-01-01T12:00 2020-01-01T12:00Z
		  20200101T120000Z 2020-1-1T1:1:1Z 20-01-01T00:00:00Z
		  2020-01-01t00:00:00Z 2020-01-01T00:00:00z 2020-01-01T00:00:00.Z
		  2020-01-01T00:00:00.
		  2020-01-01T00:00:00.1234567890Z 2020-01-01T00:00:0
		  2020-01-01T00:00:000 2020-01-01T-1:00:00Z 2020-01-01T00:00:00.-1Z
		  2020/01/01T00:00:00Z 2020-01-01T00.00.00Z 2O20-01-01T00:00:00Z
		  -020-01-01T00:00:00Z),
		'2020-01-01T00:00:00,5Z', '2020-01-01 00:00:00Z',
		' 2020-01-01T00:00:00Z', '2020-01-01T00:00:00Z ',
		"2020-01-01T00:00:00Z\n", '2020-01-01T00:00:00 +01:00',
		'2020-01-01T 0:00:00Z', '2020-01-01T00:00:00 AD',
		"\xe2\x88\x922020-01-01T00:00:00Z",
		"2020-01-01T00:00:00\xe2\x88\x9201:00"
	],);

my %sqlstate =
  (empty => '22008', syntax => '22007', range => '22008', zone => '22009');
my %fault = (
	empty => 'is the empty date',
	syntax => 'is not a date and time in ISO 8601 format',
	range => 'is out of range',
	zone => 'has an invalid time zone offset');

# One result per line, however odd the inputs are.
sub read_timestamps
{
	my ($columns, $settings, @inputs) = @_;
	my $array = join ', ', map { lit($_) } @inputs;
	my $sql = "$settings SELECT concat_ws('|', $columns)
		FROM unnest(ARRAY[$array]) WITH ORDINALITY AS list (input, position),
		LATERAL unit_timestamp(input) AS t ORDER BY position";
	return split /\n/, query($sql), -1;
}

my $notes = q{concat_ws(' ',
	CASE WHEN NOT t.has_zone THEN 'none' END,
	CASE WHEN t.leap_second THEN 'leap' END,
	CASE WHEN t.end_of_day THEN '24h' END,
	nullif(t.offset_min, 0))};

# The settings of the session have no effect.
for my $settings ("SET TimeZone = 'UTC';",
	"SET TimeZone = 'Pacific/Chatham'; SET DateStyle = 'German, DMY';")
{
	my @got = read_timestamps("t.result, t.sqlstate, utc(t.at), $notes",
		$settings, map { $_->[0] } @good);
	for my $i (0 .. $#good)
	{
		my ($input, $at, $note) = @{ $good[$i] };
		is($got[$i], "ok|00000|$at|$note", "\"$input\" is read");
	}
}

for my $group (@refused)
{
	my ($result, @inputs) = @$group;
	my @got =
	  read_timestamps('t.result, t.sqlstate, t.fault, t.at', '', @inputs);
	for my $i (0 .. $#inputs)
	{
		my $shown = $inputs[$i] =~ s/\n/\\n/gr;
		is( $got[$i],
			"$result|$sqlstate{$result}|$fault{$result}",
			"\"$shown\" is refused: $result");
	}
}

# B38: two events 100 ns apart may be one microsecond; that is why the text is
# part of an event's key.
is( join(' ',
		read_timestamps('utc(t.at)', '',
			'2023-11-05T08:15:30.1234568Z',
			'2023-11-05T08:15:30.1234569Z')),
	'2023-11-05T08:15:30.123457 2023-11-05T08:15:30.123457',
	'100 ns apart');

# Every prefix of a good text is refused, or is one of the shorter forms.
my $longest = '2023-11-05T08:15:30.123456789+01:30';
my @prefixes = map { substr $longest, 0, $_ } 0 .. length($longest) - 1;
is_deeply(
	[ read_timestamps('t.result', '', @prefixes) ],
	[
		map {
			/:30$/ || /\.\d+$/ ? 'ok' : /\+/ ? 'zone' : 'syntax'
		} @prefixes
	],
	'truncated input');

# Ordinary values, against the server's own input.
sub random_timestamp
{
	my $text = sprintf '%04d-%02d-%02dT%02d:%02d:%02d',
	  pick(1971 .. 2199), pick(1 .. 12), pick(1 .. 28), pick(0 .. 23),
	  pick(0 .. 59), pick(0 .. 59);
	my $digits = pick(0, 0, 1 .. 9);

	if ($digits > 0)
	{
		my $fraction = join '', map { pick(0 .. 9) } 1 .. $digits;

		# the server rounds a tie to even
		$fraction =~ s/^(\d{6})50*$/${1}6/;
		$text .= ".$fraction";
	}
	return $text
	  . pick('Z', map { sprintf $_, pick(0 .. 15), pick(0 .. 59) }
		  qw(+%02d:%02d -%02d:%02d +%02d%02d -%02d%02d));
}

srand $seed;
my $count = 2000;
my @random = map { random_timestamp() } 1 .. $count;
my @mine = read_timestamps('t.result, utc(t.at)', '', @random);
my @theirs =
  read_timestamps("'ok', utc(input::timestamptz)", '', @random);
is(scalar @mine, $count, "$count random timestamps read");
is_deeply(\@mine, \@theirs, 'as the server reads them');

# Every day of the plausible range.
is( query(
		q{SELECT count(*), count(*) FILTER (WHERE t.at =
			day AT TIME ZONE 'UTC')
		FROM generate_series(timestamp '1970-01-01', '2200-12-31', '1 day') day,
		LATERAL unit_timestamp(to_char(day, 'YYYY-MM-DD"T"HH24:MI:SS"Z"')) t}
	),
	'84371|84371',
	'every day of 231 years');

# Epoch numbers.
my @epochs = (
	[ '1742356231157.0', 1, '2025-03-19T03:50:31.157000' ],
	[ '1742356231157', 1, '2025-03-19T03:50:31.157000' ],
	[ '1668010653', 0, '2022-11-09T16:17:33.000000' ],
	[ '1668010653.25', 0, '2022-11-09T16:17:33.250000' ],
	[ '1668010653.123456', 0, '2022-11-09T16:17:33.123456' ],
	[ '0', 0, '1970-01-01T00:00:00.000000' ],
	[ '7289654399', 0, '2200-12-31T23:59:59.000000' ],
	[ '7289654399999', 1, '2200-12-31T23:59:59.999000' ],
	[ '7289654400', 0, '' ],
	[ '7289654400000', 1, '' ],
	[ '1742356231157', 0, '' ],    # milliseconds taken for seconds
	[ '-1', 0, '' ],
	[ '-0.001', 1, '' ],
	[ '1e300', 0, '' ],
	[ '1e308', 1, '' ],
	[ 'infinity', 0, '' ],
	[ '-infinity', 1, '' ],
	[ 'NaN', 0, '' ],
	[ 'NaN', 1, '' ]);

for my $epoch (@epochs)
{
	my ($value, $milliseconds, $at) = @$epoch;
	is( query("SELECT utc(unit_epoch('$value', '$milliseconds'))"),
		$at, "epoch $value in " . ($milliseconds ? 'ms' : 's'));
}

# Not a test: what a million of them cost.
my $elapsed = query(
	q{CREATE TEMPORARY TABLE start AS SELECT clock_timestamp() AS at;
	SELECT unit_timestamp_speed('2023-11-05T08:15:30.1234567+01:00', 1000000)
		\gset
	SELECT round(extract(epoch FROM clock_timestamp() - at) * 1000) FROM start}
);
note("a million timestamps in $elapsed ms");

1;
