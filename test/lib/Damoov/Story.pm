# Notifications and datasets as the platform writes them, invented; and waiting
# for things to happen.

package Damoov::Story;

use strict;
use warnings;

use Exporter 'import';
use JSON::PP;
use POSIX qw(strftime);
use Test::More ();
use Time::HiRes qw(time usleep);

our @EXPORT = qw(eventually token moment heartbeat enriched removed
  point track_document compact grid_event);

my $json = JSON::PP->new->canonical;
my $begin = 1772434800;    # 2026-03-02 07:00 UTC

# A test of its own: passes as soon as the code returns true, fails when that
# takes longer than so many seconds; by default so many that only what never
# happens takes longer, however loaded the machine is.
sub eventually(&$;$)
{
	my ($code, $name, $seconds) = @_;
	my $end = time + ($seconds // 90);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	until ($code->())
	{
		return Test::More::ok(0, $name) if time > $end;
		usleep(20_000);
	}
	return Test::More::ok(1, $name);
}

# A UUID out of a kind ("driver", "trip" ...) and a number.
sub token
{
	my ($kind, $number) = @_;
	return sprintf '%s-0000-4000-8000-%012x',
	  substr(unpack('H*', $kind) . '0' x 8, 0, 8), $number // 1;
}

# The platform's Timestamp, so many seconds into the story.
sub moment
{
	my ($seconds) = @_;
	return strftime('%Y-%m-%dT%H:%M:%S', gmtime($begin + int $seconds))
	  . sprintf('.%07dZ', 1234567);
}

sub heartbeat
{
	my ($user, $number) = @_;
	return {
		Event => 'HeartbeatReceived',
		Sender => 'Damoov',
		UserId => $user,
		Timestamp => moment($number),
		Object => { Id => $user, Type => 'RawHeartbeat', Uri => undef },
		Details => {
			ChargeLevel => 1 + $number % 100,
			WifiEnabled => JSON::PP::false,
			GPSEnabled => JSON::PP::true,
			RealTimeLocationEnabled => JSON::PP::false,
			MobileDataEnabled => JSON::PP::true,
			NotUploadedTripsCount => 0,
			InstanceId => token('inst'),
			TimeReceived => moment($number)
		}
	};
}

# Options: url, removed (tokens merged into this one).
sub enriched
{
	my ($user, $track, $seconds, %options) = @_;
	my @removed = @{ $options{removed} // [] };

	return {
		Event => 'TrackEnrichmentFinished',
		Sender => 'Data Motion',
		UserId => $user,
		Object => {
			Id => $track,
			Type => 'RichTrack',
			exists $options{url}
			? defined $options{url}
				  ? (Url => $options{url})
				  : ()
			: ()
		},
		Timestamp => moment($seconds),
		Details => {
			ObjectReplaced => @removed ? JSON::PP::true : JSON::PP::false,
			TracksRemoved => [ map { { Id => $_, Type => 'RichTrack' } } @removed ]
		}
	};
}

sub removed
{
	my ($user, $track, $seconds) = @_;
	return {
		Event => 'IncomingTrackRemoved',
		Sender => 'Data Motion',
		UserId => $user,
		Object => { Id => $track, Type => 'IncomingTrackSummary' },
		Timestamp => moment($seconds),
		Details => {
			TrackStartDate => '2026-03-02T08:00:00.0000000+01:00',
			TrackFinishDate => '2026-03-02T08:05:00.0000000+01:00',
			Reason => 'Insufficient Track length'
		}
	};
}

sub point
{
	my ($number, %members) = @_;
	return {
		Id => 5562646835 + $number,
		Number => $number,
		PointDate => strftime('%Y-%m-%dT%H:%M:%S+01:00',
			gmtime($begin + 3600 + 3 * $number)),
		Latitude => 51.95 + $number / 10000,
		Longitude => 7.62,
		TotalMeters => 30.5 * $number,
		Speed => 36,
		MidSpeed => 10,
		SpeedLimit => 50,
		SpeedType => 'norm',
		AlertType => '',
		AlertValue => 0,
		Cornering => JSON::PP::false,
		PhoneUsage => JSON::PP::false,
		Lateral => 0,
		Course => 90.5,
		Yaw => 0.25,
		Height => 62000,
		%members
	};
}

# A processed track with so many points; members replace or add.
sub track_document
{
	my ($points, %members) = @_;
	return {
		Result => {
			Code => 200,
			Track => {
				StartDate => '2026-03-02T08:00:00+01:00',
				EndDate => '2026-03-02T08:30:00+01:00',
				Status => 'Active',
				Distance => 12.5,
				Duration => 30,
				Rating => 4,
				Rating100 => 80,
				TrackOriginCode => 'OriginalDriver',
				Points => [ map { point($_) } 1 .. $points ],
				%members
			}
		}
	};
}

sub compact
{
	my ($document) = @_;
	return $json->encode($document);
}

# The event in which Event Grid delivers a notification (JSON text), with the
# id that it keeps however often it is delivered.
sub grid_event
{
	my ($text, $id) = @_;
	my $frame = compact({
		id => $id,
		topic =>
		  '/subscriptions/00000000/resourceGroups/fleet/providers/Microsoft.EventGrid/topics/damoov',
		subject => 'telematics',
		eventType => 'Damoov.Notification',
		eventTime => moment(0),
		dataVersion => '1.0',
		metadataVersion => '1'
	});

	return substr($frame, 0, -1) . ",\"data\":$text}";
}

1;
