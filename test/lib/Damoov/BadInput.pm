# Bad input, and what both doors make of it: the SQL door, damoov_ingest() and
# damoov_fetch_track(), which raises, and the queue's door, damoov_poll() and
# the worker, which never does.  016_bad_input.pl drives them with this table.
#
# message NUMBER, what, bytes, SQL door, queue's door [, TABLE => expression => value]
# both    the same with one result for both doors
# dataset NUMBER, what, document or [fault], SQL door, queue's door [, as above]
#
# A result is the SQLSTATE raised (SQL door) or the reason of the quarantine
# (queue's door), else the outcome of each event, with its notes in brackets.
# The expression is asked of the rows of that table that are the case's
# person's.  undef: that door cannot be asked, the comment says why.

package Damoov::BadInput;

use strict;
use warnings;

use Exporter 'import';
use POSIX qw(strftime);

our @EXPORT_OK = qw(cases USER TRACK PART heartbeat trip);

# Each case gets ids of its own: 016 replaces their first eight digits.
use constant {
	USER => '5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5',
	TRACK => 'c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d',
	PART => '0d9e8f7a-1b2c-4d3e-8f40-5a6b7c8d9e0f',
	ZERO => '00000000-0000-0000-0000-000000000000'
};

my @cases;

sub message
{
	my ($row, $what, $body, $sql, $queue, @shows) = @_;
	push @cases,
	  {
		row => $row,
		what => $what,
		body => $body,
		sql => $sql,
		queue => $queue,
		shows => \@shows
	  };
	return;
}

sub both
{
	my ($row, $what, $body, $result, @shows) = @_;
	return message($row, $what, $body, $result, $result, @shows);
}

sub dataset
{
	my ($row, $what, $document, $sql, $queue, @shows) = @_;
	message($row, $what, trip(), $sql, $queue, @shows);
	$cases[-1]{dataset} = $document;
	return;
}

###########################################################################
# Notifications as text: members are replaced by JSON text, added, or, with
# undef, left out
###########################################################################

sub object
{
	my ($members, $prefix, %changes) = @_;
	my @text;

	while (my ($name, $value) = splice @$members, 0, 2)
	{
		my $path = "$prefix$name";
		if (exists $changes{$path})
		{
			$value = delete $changes{$path};
			next unless defined $value;
		}
		elsif (ref $value)
		{
			my %inner = map { ($_ => delete $changes{$_}) } grep { /^\Q$path\E\./ } keys %changes;
			$value = object($value, "$path.", %inner);
		}
		push @text, qq("$name": $value);
	}
	push @text, map { '"' . substr($_, length $prefix) . qq(": $changes{$_}) } sort keys %changes;
	return '{' . join(', ', @text) . '}';
}

sub heartbeat
{
	return object(
		[
			Event => '"HeartbeatReceived"',
			Sender => '"Damoov"',
			UserId => qq("${\USER}"),
			ClientId => '"customer-000417"',
			Timestamp => '"2024-05-14T14:05:02.1180557Z"',
			Object => [ Id => qq("${\USER}"), Type => '"RawHeartbeat"', Uri => 'null' ],
			Details => [
				ChargeLevel => '63.5',
				WifiEnabled => 'false',
				GPSEnabled => 'true',
				RealTimeLocationEnabled => 'false',
				MobileDataEnabled => 'true',
				NotUploadedTripsCount => '2',
				InstanceId => '"7e1f2a3b-4c5d-4e6f-9a0b-1c2d3e4f5a6b"',
				TimeReceived => '"2024-05-14T14:04:58.3340216Z"'
			]
		],
		'', @_);
}

sub trip
{
	return object(
		[
			Event => '"TrackEnrichmentFinished"',
			Sender => '"Data Motion"',
			UserId => qq("${\USER}"),
			Object => [ Id => qq("${\TRACK}"), Type => '"RichTrack"' ],
			Timestamp => '"2024-05-14T17:20:44.0920017Z"',
			Details => [
				ObjectReplaced => 'true',
				TracksRemoved => qq([{"Id": "${\PART}", "Type": "RichTrack"}])
			]
		],
		'', @_);
}

sub at
{
	my ($stamp) = @_;
	return heartbeat(Timestamp => qq("$stamp"));
}

sub in_hours
{
	my ($hours) = @_;
	return at(strftime('%Y-%m-%dT%H:%M:%SZ', gmtime(time + 3600 * $hours)));
}

sub replaced
{
	my ($text, $before, $after) = @_;
	my $at = index $text, $before;

	die "no $before" if $at < 0;
	substr $text, $at, length $before, $after;
	return $text;
}

sub quoted
{
	my ($text) = @_;
	$text =~ s/([\\"])/\\$1/g;
	return qq("$text");
}

# The envelope of SNS.
sub sns
{
	return object(
		[
			Type => '"Notification"',
			MessageId => '"9b1e2f30-4a5b-5c6d-8e7f-001122334455"',
			TopicArn => '"arn:aws:sns:eu-central-1:000000000000:x"',
			Timestamp => '"2024-05-14T16:01:19.120Z"',
			SignatureVersion => '"1"',
			Signature => '"RXhhbXBsZQ=="'
		],
		'', @_);
}

sub wrapped
{
	my ($text, %more) = @_;
	return sns(Message => quoted($text), %more);
}

# A processed track with so many points.
sub point
{
	my ($number, %changes) = @_;
	return object(
		[
			Number => $number,
			PointDate => sprintf('"2024-05-14T%02d:%02d:%02dZ"', 8 + $number / 3600, $number / 60 % 60, $number % 60),
			Latitude => '51.5',
			Longitude => '7.5',
			Speed => '36',
			MidSpeed => '10'
		],
		'', %changes);
}

sub track
{
	my ($points, %changes) = @_;
	return '{"Result": {"Code": 200, "Track": '
	  . object(
		[
			StartDate => '"2024-05-14T08:00:00Z"',
			EndDate => '"2024-05-14T08:30:00Z"',
			Distance => '12.5',
			Duration => '30',
			Points => '[' . join(', ', @$points) . ']'
		],
		'', %changes)
	  . '}}';
}

###########################################################################
# B1 to B17: what is no JSON text, or no object
###########################################################################

message B1 => 'empty', '', '22P02', 'bad_json';
message B1 => 'blanks', " \t\n ", '22P02', 'bad_json';
message B2 => 'FF FE', "\xff\xfe", '22021', 'bad_utf8';
message B2 => 'overlong', "\"\xc0\xaf\"", '22021', 'bad_utf8';
message B2 => 'surrogate', "\"\xed\xa0\x80\"", '22021', 'bad_utf8';
message B2 => 'cut multibyte', "\"\xe2\x82\"", '22021', 'bad_utf8';
message B2 => 'Latin-1', "\"M\xe4rz\"", '22021', 'bad_utf8';
message B3 => 'UTF-16', "\xff\xfe\x7b\x00\x7d\x00", '22021', 'bad_utf8';
message B3 => 'UTF-16 without mark', "\x00\x7b\x00\x7d", '22021', 'bad_utf8';
# jsonb is text without a byte order mark
message B4 => 'byte order mark', "\xef\xbb\xbf" . heartbeat(), '22P02', 'stored';
message B5 => '00 byte', "{\"A\x00\":1}", '22021', 'bad_utf8';
message B5 => '00 at the end', "{}\x00", '22021', 'bad_utf8';
message B6 => '\u0000 in a value', heartbeat(ClientId => '"a\u0000b"'), '22P05', 'nul_char';
message B7 => '\u0000 in a name', replaced(heartbeat(), '"Event"', '"Event\u0000x"'), '22P05', 'nul_char';
message B8 => $_, qq({"a": "$_"}), '22P02', 'bad_json' for '\ud800', '\udc00', '\ud800\ud800';
both B9 => 'a good pair', heartbeat(ClientId => "\"\\ud83d\\ude97 Zo\xc3\xab\""), 'stored',
  users => 'client_id', "\xf0\x9f\x9a\x97 Zo\xc3\xab";
message B10 => $_, qq({"a": "$_"}), '22P02', 'bad_json' for '\u12', '\uZZZZ', '\q';
message B11 => 'line feed', "{\"a\": \"x\ny\"}", '22P02', 'bad_json';
message B11 => 'tab', "{\"a\": \"x\ty\"}", '22P02', 'bad_json';
message B11 => '01', "{\"a\": \"x\x01y\"}", '22P02', 'bad_json';
message B11 => '01 between', "{\"a\":\x01 1}", '22P02', 'bad_json';
message B11 => '0B between', "{\"a\":\x0b 1}", '22P02', 'bad_json';
message B12 => 'text behind', '{} x', '22P02', 'bad_json';
message B12 => 'two objects', heartbeat() . heartbeat(), '22P02', 'bad_json';
message B12 => 'lines', heartbeat() . "\n" . heartbeat(), '22P02', 'bad_json';
message B13 => $_, $_, '22P02', 'bad_json'
  for '{"a": 1,}', '[1,]', '{"a": 1 /* x */}', q({'a': 1}), '{a: 1}', '{"a": yes}';
message B14 => $_, "[$_]", '22P02', 'bad_json' for qw(01 +1 .5 1. 0x10 1e -);
message B15 => $_, "[$_]", '22P02', 'bad_json' for qw(NaN Infinity -Infinity);
message B16 => $_, $_, '22P02', 'bad_json'
  for '{"Event": "Heart', '{"Event": "HeartbeatReceived"', '{"Event":';
message B16 => 'without its end', substr(heartbeat(), 0, -1), '22P02', 'bad_json';
dataset B16 => 'a dataset', substr(track([ point(1) ]), 0, -9), '22P02', 'failed: invalid JSON text, line 1, byte 263',
  downloads => 'attempts', 5;
message B17 => $_, $_, '22023', 'bad_type' for '"text"', '1', 'true', 'null', '[1]', '[[]]';
# SQL may have nothing to pass; a message has to end as something
message B17 => '[]', '[]', '', 'bad_type';
message B17 => 'an array of such', qq(["${\USER}", ["${\USER}"]]), '22023', 'bad_type, bad_type';
message B17 => '{}', '{}', '22023', 'missing_field';

###########################################################################
# B18 to B20: too deep, too big.  No queue carries 256 MB, nor does jsonb.
###########################################################################

both B18 => '64 levels', heartbeat(Deep => '[' x 63 . 1 . ']' x 63), 'stored';
message B18 => '65 levels', heartbeat(Deep => '[' x 64 . 1 . ']' x 64), '54001', 'too_deep';
message B18 => '1,001 levels', '[' x 1001 . ']' x 1001, '54001', 'too_deep';
message B18 => '1,001 levels of objects', '{"a":' x 1001 . 1 . '}' x 1001, '54001', 'too_deep';
message B18 => '100,000 levels', '[' x 100_000 . ']' x 100_000, '54001', 'too_deep';
both B19 => 'below 2 MiB', heartbeat(Big => '"' . 'x' x (2 * 1024 * 1024 - 2000) . '"'), 'stored';
message B19 => 'above 2 MiB', heartbeat(Big => '"' . 'x' x (2 * 1024 * 1024) . '"'), '54000', 'too_big';
# jsonb prints a blank behind each comma, which makes 2.1 MB of it
message B19 => '1.4 MB', wrapped(trip(New => '[1' . ',1' x 700_000 . ']')), 'stored', 'stored';
message B20 => '3 MB of text', heartbeat(Big => '"' . 'x' x 3_000_000 . '"'), '54000', 'too_big';
message B20 => '1,000,000 keys', '{' . join(',', map { qq("k$_":1) } 1 .. 1_000_000) . '}', '54000', 'too_big';

###########################################################################
# B21 to B24: members
###########################################################################

# jsonb keeps the last of two and does not know that there were two
my $twice = replaced(heartbeat(), '"HeartbeatReceived"', '"AccidentEventReceived", "Event": "HeartbeatReceived"');
message B21 => 'soft field twice', replaced(heartbeat(), '"customer-000417"', '"a", "ClientId": "b"'),
  'stored', 'stored (ClientId: repeated, the last one taken)', users => 'client_id', 'b';
message B22 => 'hard field twice', $twice, 'stored', 'dup_key';
message B22 => 'hard field twice, the same', replaced(heartbeat(), '"Event"', '"Event": "HeartbeatReceived", "Event"'),
  'stored', 'stored (Event: repeated, the last one taken)';
# what an envelope holds is text at both doors
message B22 => 'inside an envelope', wrapped($twice), 'stored (Event: repeated, the last one taken)', 'dup_key';
message B22 => 'Object twice, the last without Id', wrapped(trip(Object => undef,
	Later => qq(1, "Object": {"Id": "${\TRACK}"}, "Object": {"Type": "RichTrack"}))),
  '22023', 'dup_key';
my $cases = 'stored (Event: other spelling of case; UserId: other spelling of case)';
both B23 => 'event, userid', replaced(replaced(heartbeat(), '"Event"', '"event"'), '"UserId"', '"userid"'), $cases,
  events => 'event', 'HeartbeatReceived';
message B23 => 'event and EVENT', replaced(heartbeat(), '"Event": ', '"event": "HeartbeatReceived", "EVENT": '),
  '22023', 'dup_key';
both B23 => 'Event and event', replaced(heartbeat(), '"Event": ', '"event": "AccidentEventReceived", "Event": '),
  'stored', events => 'event', 'HeartbeatReceived';
message B23 => 'object and OBJECT', replaced(heartbeat(), '"Object": ', '"object": {}, "OBJECT": '), '22023', 'dup_key';
both B23 => 'a member of Details', replaced(heartbeat(), '"ChargeLevel"', '"chargelevel"'),
  'stored (Details.ChargeLevel: other spelling of case)', heartbeats => 'charge_percent', '63.5';
both B24 => 'unknown fields',
  heartbeat(New => '{"a": [1, {"b": null}]}', 'Object.New' => '1', 'Details.New' => 'true'), 'stored',
  events => q{(SELECT string_agg(d.path, ' ' ORDER BY d.path) FROM damoov.drift AS d WHERE d.event = t.event AND d.path IN ('New', 'Object.New', 'Details.New'))},
  'Details.New New Object.New';

###########################################################################
# B25 to B35: numbers and booleans
###########################################################################

sub charge { return heartbeat('Details.ChargeLevel' => $_[0]) }
sub waiting { return heartbeat('Details.NotUploadedTripsCount' => $_[0]) }

sub no_charge
{
	my ($row, $value, $why) = @_;
	return both($row => "ChargeLevel $value", charge($value), "stored (Details.ChargeLevel: $why)",
		heartbeats => 'charge_percent', undef);
}

sub no_waiting
{
	my ($row, $value, $why) = @_;
	return both($row => "NotUploadedTripsCount $value", waiting($value),
		"stored (Details.NotUploadedTripsCount: $why)", heartbeats => 'waiting_trips', undef);
}

both B25 => 'beyond 2^53', heartbeat('Details.Exact' => '9007199254740993'), 'stored',
  events => q(payload #>> '{Details,Exact}'), '9007199254740993';
both B25 => 'all digits', charge('33.333333333333336'), 'stored', heartbeats => 'charge_percent', '33.333333333333336';
no_waiting B26 => $_, 'not an integer' for qw(9223372036854775808 123456789012345678901234567890);
no_waiting B26 => 2147483648, 'out of range';
no_charge B27 => $_, 'out of range' for qw(1e400 1e-400 1e100);
both B27 => 'in a member nobody reads', heartbeat('Details.New' => '1e100'), 'stored',
  heartbeats => 'charge_percent', '63.5';
both B27 => 'inside an envelope', wrapped(trip(New => '1e100')), 'stored', removed_tracks => 'count(*)', 1;
message B28 => '1e131071', charge('1e131071'), '22003', 'bad_number';
message B28 => 'in a member nobody reads', heartbeat(Huge => '1e131071'), '22003', 'bad_number';
message B28 => '1,000 of them', heartbeat(Huge => '[' . join(',', ('1e131071') x 1000) . ']'), '22003', 'bad_number';
message B29 => '1e131072', charge('1e131072'), '22003', 'bad_number';
message B29 => '100,000 digits', charge('9' x 100_000), '22003', 'bad_number';
message B29 => '200,000 digits', charge('9' x 200_000), '22003', 'bad_number';
both B30 => "ChargeLevel $_", charge($_), 'stored', heartbeats => 'charge_percent', 0 for qw(-0 -0.0);
both B30 => 'NotUploadedTripsCount -0', waiting('-0'), 'stored', heartbeats => 'waiting_trips', 0;
no_charge B31 => qq("$_"), 'not a number' for qw(NaN Infinity 63.5);
no_waiting B31 => '"2"', 'not an integer';
no_waiting B32 => 12.5, 'not an integer';
both B33 => $_, waiting($_), 'stored', heartbeats => 'waiting_trips', 100 for qw(1e2 100.0);
no_charge B34 => $_, 'out of range' for qw(-5 140 100.00001);
both B34 => '100', charge('100'), 'stored', heartbeats => 'charge_percent', 100;
no_waiting B34 => -1, 'out of range';
dataset B34 => 'speed -1, distance 1e12', track([ point(1, Speed => -1) ], Distance => '1e12'), 'stored', 'stored',
  trips => q{concat_ws(' ', distance_km, array_to_string(notes, '; '))}, 'Distance: out of range; Points.Speed: out of range (1)';
both B35 => "$$_[0] $$_[1]", heartbeat("Details.$$_[0]" => $$_[1]), "stored (Details.$$_[0]: $$_[3])", heartbeats => $$_[2], undef
  for [ 'WifiEnabled', '"true"', 'wifi_enabled', 'not a boolean' ],
  [ 'GPSEnabled', 1, 'gps_enabled', 'not a boolean' ],
  [ 'MobileDataEnabled', '"yes"', 'mobile_data_enabled', 'not a boolean' ],
  [ 'RealTimeLocationEnabled', '{}', 'real_time_location_enabled', 'not a boolean' ],
  [ 'WifiEnabled', '[]', 'wifi_enabled', 'not a boolean' ],
  [ 'InstanceId', '"7e1f2a3b"', 'instance_id', 'not a UUID' ],
  [ 'InstanceId', 7, 'instance_id', 'not a string' ];

###########################################################################
# B36 to B50: times
###########################################################################

# stored at this time, the text kept
sub stored_at
{
	my ($row, $stamp, $time, $note) = @_;
	return both($row => $stamp, at($stamp), $note ? "stored ($note)" : 'stored',
		events => q{concat_ws(' ', sent_at AT TIME ZONE 'UTC', CASE WHEN sent_text <> payload ->> 'Timestamp' THEN 'text lost' END)},
		$time);
}

stored_at B36 => '2024-05-14T14:05:02.1180557Z', '2024-05-14 14:05:02.118056';
stored_at B36 => '2024-05-14T14:05:02.1180554Z', '2024-05-14 14:05:02.118055';
stored_at B36 => '2024-05-14T14:05:02.118055449Z', '2024-05-14 14:05:02.118055';
stored_at B37 => '2024-05-14T14:05:59.9999999Z', '2024-05-14 14:06:00';
stored_at B37 => '2023-12-31T23:59:59.9999999Z', '2024-01-01 00:00:00';
both B38 => 'two 100 ns apart', '[' . at('2024-05-14T14:05:02.1180557Z') . ', ' . at('2024-05-14T14:05:02.1180558Z') . ']',
  'stored, stored';
stored_at B39 => '2024-06-30T23:59:60Z', '2024-07-01 00:00:00', 'Timestamp: second 60';
message B40 => $_, at($_), '22008', 'bad_time'
  for qw(2024-06-30T23:59:60.5Z 2024-06-30T23:59:61Z 2024-05-14T24:00:01Z 2024-05-14T25:00:00Z 2024-05-14T12:60:00Z);
stored_at B41 => '2024-05-14T24:00:00Z', '2024-05-15 00:00:00', 'Timestamp: hour 24';
message B42 => $_, at($_), '22008', 'bad_time'
  for qw(2024-02-30T12:00:00Z 2023-02-29T12:00:00Z 2024-13-01T12:00:00Z 2024-05-00T12:00:00Z);
message B43 => $_, at($_), '22008', 'bad_time'
  for '0000-05-14T12:00:00Z', '-2020-05-14T12:00:00Z', '2024-05-14T12:00:00 BC', '2024-05-14T12:00:00Z BC';
message B44 => $_, at($_), '22008', 'bad_time' for qw(0001-01-01T00:00:00 0001-01-01T00:00:00Z);
both B44 => 'soft', heartbeat('Details.TimeReceived' => '"0001-01-01T00:00:00"'), 'stored', heartbeats => 'received_at', undef;
message B45 => $_, at($_), '22008', 'bad_time'
  for qw(9999-12-31T23:59:59.9999999 294277-01-01T00:00:00Z 1969-12-31T23:59:59Z);
both B45 => 'soft', heartbeat('Details.TimeReceived' => '"9999-12-31T23:59:59.9999999"'),
  'stored (Details.TimeReceived: not a time)', heartbeats => 'received_at', undef;
stored_at B46 => '2024-05-14T14:05:02', '2024-05-14 14:05:02', 'Timestamp: no zone, read as UTC';
both B46 => 'soft', heartbeat('Details.TimeReceived' => '"2024-05-14T14:05:02"'),
  'stored (Details.TimeReceived: no zone, read as UTC)', heartbeats => q(received_at AT TIME ZONE 'UTC'), '2024-05-14 14:05:02';
message B47 => $_, at($_), '22009', 'bad_time'
  for qw(2024-05-14T14:05:02+16:00 2024-05-14T14:05:02+25:00 2024-05-14T14:05:02+5 2024-05-14T14:05:02+05:60);
stored_at B47 => '2024-05-14T14:05:02+02:00', '2024-05-14 12:05:02';
stored_at B47 => '2024-05-14T14:05:02-0530', '2024-05-14 19:35:02';
message B48 => $_, at($_), '22007', 'bad_time'
  for qw(now today yesterday infinity -infinity epoch J2451187 2020-202 2024-05-14T14:05:02CEST),
  '2024-05-14T14:05:02 Europe/Berlin';
both B48 => 'soft', heartbeat('Details.TimeReceived' => '"now"'), 'stored (Details.TimeReceived: not a time)',
  heartbeats => 'received_at', undef;
message B49 => "\"$_\"", at($_), '22007', 'bad_time'
  for '01/02/2020', '1595256294', '1595256294000', '', '2024-05-14', '2024-05-14 14:05:02', '2024-05-14T14:05Z',
  ' 2024-05-14T14:05:02Z', '2024-05-14T14:05:02Z ', '2024-05-14t14:05:02z', '2024-05-14T14:05:02,5Z', '2024-05-14T14:05:02.Z',
  '2024-05-14T14:05:02.1234567890Z', "\xef\xbc\x92\xef\xbc\x90\xef\xbc\x92\xef\xbc\x94-05-14T14:05:02Z";
message B49 => $_, heartbeat(Timestamp => $_), '22007', 'bad_time' for qw(1595256294 1595256294000 null {});
message B49 => 'absent', heartbeat(Timestamp => undef), '22023', 'missing_field';
message B50 => "$_ hours ahead", in_hours($_), '22008', 'clock_skew' for 48, 25;
both B50 => '23 hours ahead', in_hours(23), 'stored';
both B50 => '20 years back', in_hours(-20 * 365.25 * 24), 'stored (Timestamp: far in the past)';

###########################################################################
# B51 to B62: hard and soft fields
###########################################################################

sub user { return heartbeat(UserId => $_[0]) }

message B51 => $$_[0], user(qq("$$_[1]")), '22P02', 'bad_uuid'
  for [ 'letters', 'b6xxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxec' ], [ '35 characters', substr USER, 0, 35 ],
  [ '37 characters', USER . '5' ], [ 'a full-width digit', "\xef\xbc\x95" . substr USER, 1 ], [ 'a blank', ' ' . USER ];
message B51 => 'Object.Id', trip('Object.Id' => '"c4a8f0d2"'), '22P02', 'bad_uuid';
# of the case's own token only the spelling differs
both B52 => $$_[0], user(qq("$$_[1]")), 'stored', users => 'count(*)', 1
  for [ 'upper case', uc USER ], [ 'braces', '{' . USER . '}' ], [ 'no hyphens', USER =~ tr/-//dr ];
message B52 => 'an open brace', user('"{' . USER . '"'), '22P02', 'bad_uuid';
message B53 => 'UserId', user(qq("${\ZERO}")), '22023', 'missing_field';
message B53 => 'Object.Id', heartbeat('Object.Id' => qq("${\ZERO}")), '22023', 'missing_field';
for my $member (qw(UserId Object.Id Event))
{
	message B54 => "$member missing", heartbeat($member => undef), '22023', 'missing_field';
	message B54 => "$member $_", heartbeat($member => $_), '22023', 'missing_field' for 'null', '""';
}
message B54 => 'Object missing', heartbeat(Object => undef), '22023', 'missing_field';
message B54 => 'Object {}', heartbeat(Object => '{}'), '22023', 'missing_field';
message B54 => 'UserId a number', user(5), '22023', 'bad_type';
message B54 => 'Object.Id an array', heartbeat('Object.Id' => qq(["${\USER}"])), '22023', 'bad_type';
my $drop = q('; DROP TABLE damoov.events; --);
both B55 => 'in Event', heartbeat(Event => qq("$drop")), 'unknown', events => 'event', $drop;
both B55 => 'in ClientId', heartbeat(ClientId => qq("$drop")), 'stored', users => 'client_id', $drop;
message B55 => 'in UserId', user(qq("$drop")), '22P02', 'bad_uuid';
both B55 => 'in Reason', trip(Event => '"IncomingTrackRemoved"', 'Object.Type' => '"IncomingTrackSummary"', Details => qq({"Reason": "$drop"})),
  'stored', removed_tracks => 'vendor_reason', $drop;
# a message of that size is refused as a whole
message B56 => 'ClientId of 10 MB', heartbeat(ClientId => '"' . 'x' x 10_000_000 . '"'), '54000', 'too_big';
both B56 => 'ClientId of 1,000 characters', heartbeat(ClientId => '"' . "\xc3\xbc" x 1000 . '"'), 'stored',
  users => 'length(client_id)', 1000;
both B56 => 'ClientId of 1,001 characters', heartbeat(ClientId => '"' . 'x' x 1001 . '"'), 'stored (ClientId: too long)',
  users => 'client_id', undef;
both B56 => 'ClientId with control characters', heartbeat(ClientId => '"a\u0001\u001b[31m\r\nb\u007f"'), 'stored',
  users => q(client_id = E'a\x01\x1b[31m\r\nb\x7f'), 'true';
both B56 => 'ClientId a number', heartbeat(ClientId => '417'), 'stored (ClientId: not a string)', users => 'client_id', undef;
both B57 => $_, heartbeat(Event => qq("$_")), 'unknown', events => 'event', $_
  for 'VehicleDataReceived', 'HEARTBEATRECEIVED', 'HeartbeatReceived ';
# it is part of a key
message B57 => 'an Event of 40,000 characters', heartbeat(Event => '"' . 'x' x 40_000 . '"'), '54000', 'too_big';
# numbers are names in the vendor's portal: 4 to 7
message B58 => "Event $_", heartbeat(Event => $_), '22023', 'bad_type' for 3, 'true', '{}', '["HeartbeatReceived"]';
message B59 => "Object $_", heartbeat(Object => $_), '22023', 'bad_type'
  for 'null', qq([{"Id": "${\USER}"}]), qq("${\USER}");
message B59 => "Details $_", heartbeat(Details => $_), '22023', 'bad_type' for '"text"', '[]';
both B60 => 'Details missing', heartbeat(Details => undef), 'stored',
  heartbeats => q{concat(received_at, charge_percent, wifi_enabled, gps_enabled, mobile_data_enabled, waiting_trips, instance_id)}, '';
both B60 => 'Details null', heartbeat(Details => 'null'), 'stored', heartbeats => 'count(*)', 1;
both B60 => 'Details empty', trip(Details => '{}'), 'stored', downloads => 'count(*)', 1;
both B61 => 'of another event', heartbeat('Object.Type' => '"RichTrack"'), 'stored (Object.Type: not the type of this event)',
  events => 'object_type', 'RichTrack';
both B61 => 'a number', heartbeat('Object.Type' => 1), 'stored (Object.Type: not a string)', events => 'object_type', undef;
both B61 => 'missing', heartbeat('Object.Type' => undef), 'stored', events => 'object_type', undef;
both B62 => $_ // 'missing', trip('Details.TracksRemoved' => $_), 'stored', removed_tracks => 'count(*)', 0
  for 'null', undef, '[]';

###########################################################################
# B63 to B68: removals, heartbeats, Uri
###########################################################################

sub merged { return trip('Details.TracksRemoved' => $_[0]) }

my $part = qq({"Id": "${\PART}"});
message B63 => $$_[0], merged($$_[1]), $$_[2], $$_[3], removed_tracks => 'count(*)', 0
  for [ 'an object', $part, '22023', 'bad_type' ],
  [ 'a text', qq("${\PART}"), '22023', 'bad_type' ],
  [ 'a number', 1, '22023', 'bad_type' ],
  [ 'texts', qq(["${\PART}"]), '22023', 'bad_type' ],
  [ 'arrays', qq([["${\PART}"]]), '22023', 'bad_type' ],
  [ 'null among good ones', "[$part, null]", '22023', 'bad_type' ],
  [ 'a bad id among good ones', qq([$part, {"Id": "b6xxxxx"}, {"Id": "${\TRACK}"}]), '22P02', 'bad_uuid' ],
  [ 'no id among good ones', qq([$part, {"Type": "RichTrack"}]), '22023', 'missing_field' ],
  [ 'an id that is a number', '[{"Id": 7}]', '22023', 'missing_field' ],
  [ 'all zero', qq([{"Id": "${\ZERO}"}]), '22023', 'missing_field' ];
both B64 => 'itself', merged(qq([{"Id": "${\TRACK}"}])), 'stored (Details.TracksRemoved: names the track itself, ignored)',
  downloads => 'count(*)', 1;
both B64 => 'one twice', merged(qq([$part, {"Id": "${\uc PART}"}])), 'stored', removed_tracks => 'count(*)', 1;
both B64 => '10,000', merged('[' . join(',', map { sprintf '{"Id": "0d9e8f7a-0000-4000-8000-%012x"}', $_ } 1 .. 10_000) . ']'),
  'stored', removed_tracks => 'count(*)', 10_000;
# the track is known as another user's; if it is not, the merge acts on tracks of its own user only
message B65 => "another user's track", trip(UserId => '"5b0c7d1e-2f34-4a56-8b79-000000000002"'), '42501', 'stored, cross_user',
  removed_tracks => 'count(*)', 0;
$cases[-1]{first} = trip('Object.Id' => qq("${\PART}"), Details => undef);
both B66 => 'never seen', trip(), 'stored',
  removed_tracks => q{concat(right(track_token::text, 27), ' ', reason, ' ', right(replaced_by::text, 27))},
  substr(PART, 9) . ' replaced ' . substr(TRACK, 9);
both B67 => 'two heartbeats', '[' . heartbeat() . ', ' . at('2024-05-14T14:06:02Z') . ']', 'stored, stored',
  heartbeats => 'count(*)', 2;
both B68 => 'a heartbeat with Uri null', heartbeat('Object.Uri' => 'null'), 'stored', heartbeats => 'count(*)', 1;
both B68 => 'a trip with Uri', trip('Object.Uri' => qq("BASE/x?trackToken=${\TRACK}")), 'stored',
  downloads => q{url LIKE '%/x?trackToken=%'}, 'true';

###########################################################################
# B69 to B74: addresses.  The queue's door stores the notification and gives
# the download up; the message says why.
###########################################################################

my $vendor = 'https://mobilesdk.telematicssdk.com';

sub address
{
	my ($row, $url, $note) = @_;
	# a blank URL would be none
	$note //= $url =~ /${\TRACK}/i ? '' : ' (Object.Url: does not name the object)';
	return message($row => substr($url, 0, 60), trip('Object.Url' => quoted($url)), '22023', "stored$note",
		downloads => q{concat(state, ' ', attempts, ' ', last_error LIKE 'URL %')}, 'failed 1 t');
}

address B69 => $_
  for "http://mobilesdk.telematicssdk.com/${\TRACK}", 'file:///etc/passwd', 'gopher://mobilesdk.telematicssdk.com/',
  'data:text/plain,x', 'ftp://mobilesdk.telematicssdk.com/', "$vendor:22/", "$vendor:8443/", 'mobilesdk.telematicssdk.com/x',
  '//mobilesdk.telematicssdk.com/x', '/x', 'https:///x';
# a heartbeat's is never used
message B69 => "a heartbeat's", heartbeat('Object.Uri' => '"http://mobilesdk.telematicssdk.com/x"'), '22023',
  'stored (Object.Url: does not name the object)', downloads => 'count(*)', 0;
address B70 => $_
  for "$vendor\@evil.example/", 'https://user:pass@mobilesdk.telematicssdk.com/', "$vendor.evil.example/",
  'https://eviltelematicssdk.com/', 'https://telematicssdk.com.evil/', "$vendor./", 'https://xn--telematcssdk-hcb.com/',
  "https://mobilesdk.telematicssdk.\xd1\x81\xd0\xbem/", "https://evil.example/?$vendor/",
  'https://evil.example#.telematicssdk.com/', 'https://evil.example%2f.telematicssdk.com/',
  'https://evil.example\.telematicssdk.com/', 'https://telematicssdk.com/';
address B71 => "https://$_/"
  for '127.0.0.1', '[::1]', '169.254.169.254', '2130706433', '0x7f.1', '[::ffff:10.0.0.1]', 'localhost';
# 016 allows *.localhost, which is this machine by definition.  Only who
# connects learns that: the SQL door takes the notification, the download fails, and
# is tried again, for a name may lead elsewhere tomorrow.
my $by_name = trip('Object.Url' => qq("https://a.localhost/${\TRACK}"));
message B71 => 'a name', $by_name, 'stored', undef, downloads => 'state', 'waiting';
message B71 => 'a name', $by_name, undef, 'stored', downloads => q{concat(state, ' ', last_error)},
  'waiting host "a.localhost" resolves to an address that is not public';
address B72 => $_ for "$vendor/a b", "$vendor\\x", "$vendor/\x7f", " $vendor/", "$vendor/" . 'x' x 2048;
message B72 => 'CR LF', trip('Object.Url' => qq("$vendor/\\r\\nHost: x")), '22023',
  'stored (Object.Url: does not name the object)', downloads => 'state', 'failed';
message B72 => 'NUL', trip('Object.Url' => qq("$vendor/\\u0000")), '22P05', 'nul_char';
message B73 => 'another id', trip('Object.Url' => qq("BASE/mobilesdk/stage/track/get_track/v1?trackToken=${\PART}")),
  'stored (Object.Url: does not name the object)', 'stored (Object.Url: does not name the object)', downloads => 'count(*)', 1;
# fetched from the vendor itself if they came through the queue
message B73 => $_, trip('Object.Url' => qq("$_")), 'stored', undef
  for "https://MOBILESDK.TelematicsSDK.com/x?trackToken=${\uc TRACK}", "https://api.damoov.com:443/x?trackToken=${\TRACK}";
# B74 is no message: 016 calls damoov_fetch_track()

###########################################################################
# B75 to B81: envelopes
###########################################################################

both B75 => 'SubscriptionConfirmation',
  sns(Type => '"SubscriptionConfirmation"', Message => '"x"', SubscribeURL => '"BASE/subscribed"'), 'control';
message B76 => $$_[0], sns(@$_[ 1 .. $#$_ ]), '22023', 'envelope'
  for [ 'no Message' ], [ 'Message null', Message => 'null' ], [ 'Message an object', Message => heartbeat() ],
  [ 'Message no JSON', Message => '"{\"Event\": "' ], [ 'Message empty', Message => '""' ],
  [ 'wrapped twice', Message => quoted(wrapped(heartbeat())) ];
message B76 => 'Message a number', sns(Message => '"5"'), '22023', 'bad_type';
message B76 => 'a hard field missing inside', wrapped(heartbeat(UserId => undef)), '22023', 'missing_field';
message B76 => '\u0000 inside', wrapped(heartbeat(ClientId => '"a\u0000b"')), '22P05', 'nul_char';
message B76 => 'too deep inside', wrapped('[' x 1001 . ']' x 1001), '54001', 'too_deep';
# Who may send is the queue's policy to say; the signature is the webhook's to judge.
both B77 => 'another topic, no good signature',
  wrapped(heartbeat(), TopicArn => '"arn:aws:sns:eu-west-1:999999999999:other"', SignatureVersion => '"9"', Signature => '"x"'), 'stored';
both B78 => 'no envelope', heartbeat(), 'stored';
# B79 is a matter of the wire: in 010_sqs.pl
my $three = '[' . join(', ', heartbeat(), heartbeat(UserId => undef), trip()) . ']';
message B80 => 'one bad in an array', $three, '22023', 'stored, stored, missing_field';
message B80 => 'an array in an array', '[[' . heartbeat() . ']]', '22023', 'bad_type';
my $broken = qq({"specversion": "1.0", "id": "${\PART}", "source": "/damoov", "type": "damoov", "data_base64": "%%%"});
message B80 => 'data_base64 that is none', $broken, '22023', 'envelope';
message B80 => '... beside good ones',
  '[' . join(', ', map { qq({"id": "1", "eventType": "x", "subject": "x", "eventTime": "2024-05-14T16:01:19Z", "dataVersion": "1", "data": $_}) } heartbeat(), trip())
  . ", $broken]", '22023', 'stored, stored, envelope';

# a string in .NET's binary XML, of two bytes of length; no text for SQL
my $dotnet = "\@\x06string\x083http://schemas.microsoft.com/2003/10/Serialization/\x9b" . pack('v/a', heartbeat());
message B81 => 'a .NET prefix', $dotnet, '22021', 'stored';
message B81 => '... and more than it says', "$dotnet!", '22021', 'envelope';
message B81 => '... and less', substr($dotnet, 0, -1), '22021', 'envelope';

###########################################################################
# B82 to B86: datasets
###########################################################################

dataset B82 => 'a gzip bomb', ['bomb'], '54000', 'failed: reply exceeds the limit of 1048576 bytes';
dataset B82 => 'endless', ['endless'], '54000', 'failed: reply exceeds the limit of 1048576 bytes';
# not too big: it can be told only that it is not what it is called, which may pass
dataset B82 => 'a wrong Content-Encoding', ['wrong_encoding'], '08006', 'waiting';
dataset B83 => $$_[0], track([ point(1), point(2, %{ $$_[1] }) ]), 'stored', 'stored',
  trips => q{concat_ws(' ', point_count, (SELECT count(*) FROM damoov.trip_points AS p WHERE p.trip_id = t.trip_id AND p.latitude IS NULL AND p.longitude IS NULL), array_to_string(notes, '; '))},
  "2 1 $$_[2]"
  for [ 'latitude 91', { Latitude => 91 }, 'Points.Latitude: out of range (1)' ],
  [ 'longitude 181', { Longitude => 181 }, 'Points.Longitude: out of range (1)' ],
  [ 'NaN', { Latitude => '"NaN"' }, 'Points.Latitude: not a number (1)' ],
  [ 'swapped', { Latitude => '151.2', Longitude => '-33.8' }, 'Points.Latitude: out of range (1)' ],
  [ 'missing', { Longitude => undef }, 'Points.Longitude: missing (1)' ],
  [ '0/0', { Latitude => 0, Longitude => 0 }, 'Points.Latitude: position 0/0 (1)' ];
dataset B84 => 'unsorted, equal, outside', track([ map { point($_) } 5, 3, 3, 9000 ]), 'stored', 'stored',
  trips => q{(SELECT string_agg(p.number::text, ' ' ORDER BY p.seq) FROM damoov.trip_points AS p WHERE p.trip_id = t.trip_id)},
  '5 3 3 9000';
dataset B85 => '0 points', track([]), 'stored', 'stored', trips => 'point_count', 0;
# B85 with 1,000,000 points: 016 has it apart
dataset B86 => 'finish before start', track([], EndDate => '"2024-05-14T07:00:00Z"'), 'stored', 'stored',
  trips => q{array_to_string(notes, '; ')}, 'EndDate: before StartDate';
dataset B86 => 'negative duration', track([], Duration => -1), 'stored', 'stored',
  trips => q{array_to_string(notes, '; ')}, 'Duration: negative';

sub cases
{
	return @cases;
}

1;
