# Datasets in the customer's own store: fetched with the keys of the source, never
# with a device token, and found by what S3 tells of a bucket.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Cloud;
use Damoov::Stage;
use Damoov::Story;
use PostgreSQL::Test::Utils;
use Test::More;

my ($cloud, $node) = stage('storage', conf => 'damoov.max_document_size = 1MB');
my $s3 = Damoov::Cloud->new;
my $blobs = Damoov::Cloud->new;
my $account = $blobs->order('sas', container => 'none');

my @endpoints = ("base_url '" . $cloud->base_url . "'",
	"crash_url '" . $cloud->base_url . "'",
	"s3_endpoint '" . $s3->base_url . "'",
	"blob_endpoint '" . $blobs->base_url . "/'",
	"allowed_hosts '127.0.0.1/trips, 127.0.0.1/far, 127.0.0.1/moved, 127.0.0.1/$account->{account_name}, *.telematicssdk.com'");
$node->sql("CREATE SERVER api TYPE 'api' FOREIGN DATA WRAPPER damoov OPTIONS ("
	  . join(', ', @endpoints) . ')');
add_source(
	api => 0,
	options => { wait_seconds => 0 },
	secrets => {
		account_name => $account->{account_name},
		account_key => $account->{account_key}
	});

my $driver = driver();
my $other = token('other');
my $seconds = 0;
our $patience = 30;    # seconds for what is tried again by itself
my $log_start = $node->log_size;

# What is known of a download: state, attempts, last error.
sub download_of
{
	my ($track, $columns) = @_;
	$columns //= "state || ' ' || coalesce(last_status::text, '-') || ' ' || coalesce(last_error, '-')";
	return value("SELECT $columns FROM damoov.downloads WHERE object_id = '$track'");
}

sub trip_of
{
	my ($track) = @_;
	return value("SELECT address_start FROM damoov.trips WHERE track_token = '$track'");
}

# The platform tells of a track that lies at this address.
sub announce
{
	my ($track, $url) = @_;
	publish(enriched($driver, $track, ++$seconds, url => $url));
	$node->poll($patience);
	return;
}

# Does this, and tries what waits then until it has ended, without waiting for
# its time.
sub exhaust(&)
{
	my ($code) = @_;
	local $patience = 2;

	$code->();
	for (1 .. 50)
	{
		my $waiting = value("UPDATE damoov.downloads SET due_at = clock_timestamp() WHERE state = 'waiting' RETURNING 1");
		last if $waiting eq '' && in_queue() == 0;
		$node->poll($patience);
	}
	return;
}

sub document
{
	my ($name, %members) = @_;
	return track_document(2, AddressStart => $name, %members);
}

###########################################################################
# S3, where a notification says so
###########################################################################

my $track = token('s3', 1);
announce($track, $s3->object('trips', "2026/$track.json", document('signed')));
is(trip_of($track), 'signed', 'an object of a bucket is fetched with the source\'s key');
is($s3->count_requests(status => 200), 1, '... at the first try');
is($cloud->count_requests(target => 'processed'), 0, '... and not from the platform');

my $odd = "Fahrten/\x{e4}+ &=(1)'!*~:\@,;\$#%41 %2F.json";
$track = token('s3', 2);
announce($track, $s3->object('trips', $odd, document('odd key')) . '?x-id=GetObject');
is(trip_of($track), 'odd key', 'a key with every kind of character, and a query');

$track = token('s3', 3);
$s3->object('trips', "$track.json", document('by itself'));
announce($track, $s3->order('presign', container => 'trips', key => "$track.json")->{url});
is(trip_of($track), 'by itself', 'a presigned URL opens its object');
is($s3->requests(path => qr/$track/) + 0, 1, '... once');
ok(!grep({ $_->{headers}{authorization} } $s3->requests(path => qr/$track/)),
	'... as it is, without another signature');

$track = token('s3', 4);
announce($track, $s3->object('trips', "$track.json", document('packed'), gzip => \1));
is(trip_of($track), 'packed', 'what is stored compressed');

$track = token('s3', 5);
$s3->object('trips', "$track.json", document('by name'));
announce($track, "s3://trips/$track.json");
is(trip_of($track), 'by name', 'an s3:// URL means the bucket, wherever that is');

$track = token('s3', 6);
announce($track, $s3->object('far', "$track.json", document('far away'), region => 'ap-south-1'));
is(trip_of($track), 'far away', 'a bucket that says which region to sign for');
is($s3->count_requests(path => qr/$track/), 2, '... is asked twice');

$track = token('s3', 7);
announce($track,
	$s3->object('moved', "$track.json", document('moved'), region => 'us-west-2', refusal => 'PermanentRedirect'));
is(trip_of($track), 'moved', 'and so is one that answers with a redirect');
is($s3->count_requests(path => qr/$track/), 2, '... which is not followed');

$track = token('s3', 8);
$s3->object('trips', "$track.json", document('wrong region'));
$s3->fault('s3', 'error', status => 400, code => 'AuthorizationHeaderMalformed', message => 'sa-east-1', times => undef);
announce($track, $s3->base_url . "/trips/$track.json");
is($s3->count_requests(path => qr/$track/), 2, 'a region is believed once');
like(download_of($track), qr/^waiting 400 the request was signed for another region/, '... and then the request has failed');
$s3->clear_faults;

$_->settings(session_token => 'a session') for $cloud, $s3;
value("ALTER USER MAPPING FOR CURRENT_USER SERVER queue OPTIONS (ADD session_token 'a session')");
$track = token('s3', 9);
announce($track, $s3->object('trips', "$track.json", document('temporary')));
is(trip_of($track), 'temporary', 'temporary credentials come with their token');
value('ALTER USER MAPPING FOR CURRENT_USER SERVER queue OPTIONS (DROP session_token)');
$_->settings(session_token => undef) for $cloud, $s3;

###########################################################################
# What a store may answer
###########################################################################

my $due = "due_at > last_error_at + interval '4 minutes'";
for my $case (
	[ 403, 'AccessDenied', qr/no right to read the object/ ],
	[ 403, 'InvalidAccessKeyId', qr/access key is not valid/ ],
	[ 403, 'SignatureDoesNotMatch', qr/secret access key is wrong/ ],
	[ 403, 'InvalidObjectState', qr/archived/ ],
	[ 400, 'ExpiredToken', qr/session token has expired/ ],
	[ 404, 'NoSuchBucket', qr/bucket does not exist/ ],
	[ 403, 'Unheard', qr/store refused the request/ ])
{
	my ($status, $code, $words) = @$case;
	my $id = token('err', ++$seconds);
	my $url = $s3->object('trips', "$id.json", document('late'));

	$s3->fault('s3', 'error', target => "$id.json", status => $status, code => $code,
		message => "secret of $driver");
	announce($id, $url);
	like(download_of($id), qr/^waiting $status .*$words/, "$code waits");
	is(download_of($id, $due), 't', '... for minutes, somebody has to mend it');
	value("SELECT damoov_retry_downloads(object_id => '$id')");
	$node->poll;
	is(trip_of($id), 'late', '... and goes on when it is mended');
}

$track = token('slow');
$s3->object('trips', "$track.json", document('after a while'));
$s3->fault('s3', 'error', target => "$track.json", status => 503, code => 'SlowDown', times => 2);
announce($track, $s3->base_url . "/trips/$track.json");
is(trip_of($track), 'after a while', 'SlowDown is waited for');

$track = token('none');
value("DELETE FROM damoov.downloads WHERE object_id <> '$track'");
exhaust { announce($track, $s3->base_url . "/trips/$track.json") };
like(download_of($track), qr/^gone 404 the object does not exist \(NoSuchKey/, 'an object that is not there');

$track = token('clock');
$s3->object('trips', "$track.json", document('an hour ahead'));
$s3->settings(clock_offset => 3600);
announce($track, $s3->base_url . "/trips/$track.json");
is(trip_of($track), 'an hour ahead', 'a store with another clock');
is($s3->count_requests(path => qr/$track/), 2, '... tells it once');
$s3->settings(clock_offset => 0);

$track = token('trunc');
$s3->object('trips', "$track.json", document('whole'));
$s3->fault('s3', 'truncate', target => "$track.json");
announce($track, $s3->base_url . "/trips/$track.json");
is(trip_of($track), 'whole', 'half of an object is not taken for it');

$track = token('big');
$s3->object('trips', "$track.json", document('x' x (1024 * 1024)));
announce($track, $s3->base_url . "/trips/$track.json");
like(download_of($track), qr/^failed 0 reply exceeds the limit/, 'nor one that is too large');

for my $url ("/other/$track.json", "/trips/../other/$track.json", "/trips/%2e%2E/other/$track.json", "/trip/$track.json",
	"/trips2/$track.json", '')
{
	my $id = token('url', ++$seconds);
	$s3->object('other', "$track.json", document('stolen'));
	announce($id, $s3->base_url . $url);
	like(download_of($id), qr/^failed 0 URL has a (host or bucket|path) that is not allowed/, "refused: $url");
}
is($s3->count_requests(path => qr/other/), 0, '... and never asked for');

###########################################################################
# Blobs
###########################################################################

my $place = $blobs->base_url . "/$account->{account_name}";

sub blob
{
	my ($id, $name, %options) = @_;
	return $blobs->object('exports', "2026/$id (1).json", document($name), store => 'blob', %options);
}

$track = token('blob', 1);
announce($track, blob($track, 'shared key') . '?snapshot=');
is(trip_of($track), 'shared key', 'a blob is fetched with the account\'s key');

$track = token('blob', 2);
my $url = blob($track, 'own sas', gzip => \1);
my $sas = $blobs->order('sas', container => 'exports', key => "2026/$track (1).json")->{sas};
announce($track, "$url?$sas");
is(trip_of($track), 'own sas', 'a URL with its own SAS opens its blob');
ok(!grep({ $_->{headers}{authorization} } $blobs->requests(path => qr/$track/)), '... without a key');

$track = token('blob', 3);
$url = blob($track, 'expired');
$sas = $blobs->order('sas', container => 'exports', seconds => -10)->{sas};
announce($track, "$url?$sas");
like(download_of($track), qr/^failed 403 .*\(AuthenticationFailed, HTTP status 403\)/,
	'one that has expired has failed at once: nobody can mend a URL');
is($blobs->count_requests(path => qr/$track/), 1, '... after one try');

$track = token('blob', 4);
$url = blob($track, 'intact');
$blobs->fault('blob', 'bad_md5', times => 1);
announce($track, $url);
is(trip_of($track), 'intact', 'bytes that do not have their checksum are fetched again');
is($blobs->count_requests(path => qr/$track/), 2, '... once more');

$track = token('blob', 5);
exhaust { announce($track, "$place/exports/$track.json") };
like(download_of($track), qr/^gone 404 the object does not exist \(BlobNotFound/, 'a blob that is not there');

$track = token('blob', 6);
$url = blob($track, 'an hour behind');
$blobs->settings(clock_offset => -3600);
announce($track, $url);
is(trip_of($track), 'an hour behind', 'a blob store with another clock');
$blobs->settings(clock_offset => 0);

# the same by a SAS of the mapping
$sas = $blobs->order('sas', container => 'exports')->{sas};
value("ALTER USER MAPPING FOR CURRENT_USER SERVER queue OPTIONS (DROP account_key, ADD sas '?$sas')");
$track = token('blob', 7);
announce($track, blob($track, 'mapped sas'));
is(trip_of($track), 'mapped sas', 'a blob is fetched with the SAS of the user mapping');

value("ALTER USER MAPPING FOR CURRENT_USER SERVER queue OPTIONS (SET account_name 'somebody')");
$track = token('blob', 8);
announce($track, blob($track, 'not theirs'));
like(download_of($track), qr/^waiting 0 "account_name" of the user mapping of server "queue" is not the account of the URL/,
	'a SAS goes to its own account only');
is($blobs->count_requests(path => qr/$track/), 0, '... so that nothing was asked');
value("ALTER USER MAPPING FOR CURRENT_USER SERVER queue OPTIONS (DROP account_name)");
value("SELECT damoov_retry_downloads(object_id => '$track')");
$node->poll;
like(download_of($track), qr/^waiting 0 user mapping of server "queue" has no "account_name"/,
	'and without a key there is nothing to ask with');

###########################################################################
# What S3 tells of a bucket
###########################################################################

my $sequencer = 0x55AED6DC;

sub record
{
	my ($key, %given) = @_;
	my %object = (
		key => $key,
		size => 1024,
		eTag => 'd41d8cd98f00b204e9800998ecf8427e',
		sequencer => sprintf('%016X', ++$sequencer),
		%{ $given{object} // {} });
	return {
		eventVersion => '2.1',
		eventSource => 'aws:s3',
		awsRegion => 'eu-west-1',
		eventTime => '2026-03-02T07:00:00.000Z',
		eventName => 'ObjectCreated:Put',
		userIdentity => { principalId => 'AWS:AIDAEXAMPLE' },
		requestParameters => { sourceIPAddress => '127.0.0.1' },
		%{ $given{record} // {} },
		s3 => {
			s3SchemaVersion => '1.0',
			configurationId => 'exports',
			bucket => {
				name => $given{bucket} // 'trips',
				arn => 'arn:aws:s3:::trips'
			},
			object => { map { $_ => $object{$_} } grep { defined $object{$_} } keys %object }
		}
	};
}

sub s3_tells
{
	my ($records, %options) = @_;
	publish({ Records => ref $records eq 'ARRAY' ? $records : [$records] }, raw => \1, %options);
	$node->poll($patience);
	return;
}

sub objects
{
	return value("SELECT string_agg(state || ' ' || coalesce(last_error, '-'), '; ' ORDER BY queued_at) FROM damoov.downloads WHERE kind = 'object'");
}

my $test = {
	Service => 'Amazon S3',
	Event => 's3:TestEvent',
	Time => '2026-03-02T06:00:00.000Z',
	Bucket => 'trips',
	RequestId => '5582815E1AEA5ADF',
	HostId => '8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR'
};
publish($test, raw => \1);
publish({ %$test, RequestId => '5582815E1AEA5AE0' });
$node->poll;
is( value("SELECT string_agg(outcome || ' ' || sent_text || ' ' || (payload->>'Bucket'), '; ') FROM damoov.events WHERE event = 's3:TestEvent'"),
	join('; ', ('control 2026-03-02T06:00:00.000Z trips') x 2),
	'the test message is a control message, by itself and in an envelope');

$track = token('event', 1);
$s3->object('trips', "Export 1/\x{fc}+.json", document('told', TrackToken => $track, DeviceToken => $driver));
s3_tells(record('Export+1/%C3%BC%2B.json'));
is(trip_of($track), 'told', 'a new object is fetched and is a trip');
is(objects(), '', '... and then nothing is left to do');
is( value("SELECT event || ' ' || outcome FROM damoov.events WHERE payload->>'eventSource' = 'aws:s3'"),
	'ObjectCreated:Put control', '... the event is kept');
is(value("SELECT count(*) FROM damoov.ledger WHERE NOT balanced"), 0, '... and counted');

$track = token('event', 2);
$s3->object('trips', 'b.json', document('in an envelope', TrackToken => $track, DeviceToken => $driver));
s3_tells(record('b.json', record => { eventVersion => '2.5' }), raw => \0);
is(trip_of($track), 'in an envelope', 'through SNS, with a newer version of the format');

$track = token('event', 3);
$s3->object('trips', 'damaged.json', document('whole again', TrackToken => $track, DeviceToken => $driver));
$s3->fault('s3', 'bad_md5', target => 'damaged.json');
s3_tells(record('damaged.json'));
is(trip_of($track), 'whole again', 'an object whose bytes do not have their checksum');
is($s3->count_requests(path => qr/damaged/), 2, '... is fetched again before anybody looks at it');

# Of two events of one key the sequencer decides, whichever comes first
for my $order ([ 0, 1 ], [ 1, 0 ])
{
	my $id = token('order', $order->[0] + 1);
	my $name = "order-$order->[0].json";
	$s3->object('trips', $name, document($_, TrackToken => $id, DeviceToken => $driver), version => $_)
	  for qw(old new);
	my @told = (
		record($name, object => { versionId => 'old', sequencer => '0A1F' }),
		record($name, object => { versionId => 'new', sequencer => '0a1f00000B' }));
	s3_tells($told[$_]) for @$order;
	is(trip_of($id), 'new', "the newer event holds, told in the order @$order");
	s3_tells([ map { $told[$_] } @$order ]);
	is(trip_of($id), 'new', '... and told again it changes nothing');
	is($s3->count_requests(path => qr/$name/), $order->[0] ? 1 : 2, '... nor is it fetched');
}

# Whose and what it is
$track = token('told');
publish(
	{
		%{ enriched($driver, $track, ++$seconds) },
		Event => 'IncomingTrackReceived',
		Object => { Id => $track, Type => 'IncomingTrack' }
	});
$node->poll;
my %raw = (Track => { StartDate => '2026-03-02T08:00:00+01:00', Points => [ { Number => 1, Speed => 5 } ] });
$s3->object('trips', "raw/$track.json", \%raw);
s3_tells(record("raw/$track.json"));
is(value("SELECT u.device_token FROM damoov.raw_tracks AS r JOIN damoov.users AS u USING (user_id) WHERE r.track_token = '$track'"),
	$driver, 'a raw track of format 1: its id is in the key, a notification knows whose it is');

my ($instance, $person, $plain) = map { tr/-//dr } token('inst'), token('new'), token('format2');
$track = token('format2');
$s3->object(
	'trips', 'r2.json',
	{
		success => \1,
		status_code => 200,
		result => {
			TrackToken => $track,
			S3Location => { Bucket => 'raw', Key => "trips/filtered/$instance/$person/$plain.json" },
			TripData => $raw{Track}
		}
	});
s3_tells(record('r2.json'));
is(value("SELECT u.device_token FROM damoov.raw_tracks AS r JOIN damoov.users AS u USING (user_id) WHERE r.track_token = '$track'"),
	token('new'), 'one of format 2 tells both');

$track = token('path');
$plain = $track =~ tr/-//dr;
$s3->object('trips', "trips/filtered/$instance/$person/$plain.json", \%raw);
s3_tells(record("trips/filtered/$instance/$person/$plain.json"));
is(value("SELECT u.device_token FROM damoov.raw_tracks AS r JOIN damoov.users AS u USING (user_id) WHERE r.track_token = '$track'"),
	token('new'), 'a person who is known may stand in the key');

my $crash = token('crash');
$s3->object('trips', 'crash.json',
	{ Id => $crash, Type => 'Accident', AccidentTrigger => 'SPEED_DROP', SpeedStart => 12.5, UserId => $driver });
s3_tells(record('crash.json'));
is(value("SELECT accident_trigger FROM damoov.crashes WHERE crash_token = '$crash'"), 'SPEED_DROP', 'a crash header');

$crash = token('buffer');
publish(
	{
		%{ enriched($driver, $crash, ++$seconds) },
		Event => 'AccidentEventExtraReceived',
		Object => { Id => $crash, Type => 'AccidentExtra', Url => $cloud->base_url . '/nowhere' }
	});
$s3->object('trips', "$crash.json", { AccelerometerData => [ map { { t => $_, x => 1, y => 2, z => 9.8 } } 1 .. 4 ] });
{
	local $patience = 3;    # for the address where nothing is
	s3_tells(record("$crash.json"));
}
is(value("SELECT sample_count FROM damoov.crash_buffers JOIN damoov.crashes USING (crash_id) WHERE crash_token = '$crash'"),
	4, 'the samples of a crash whose notification is here');

# What cannot be told
value('DELETE FROM damoov.downloads; DELETE FROM damoov.quarantine');
$track = token('lost');
$s3->object('trips', "$track.json", document('whose', TrackToken => $track));
exhaust { s3_tells(record("$track.json")) };
like(objects(), qr/^failed object of a bucket does not tell whose it is/, 'a dataset of nobody');
is(value('SELECT kind || reason FROM damoov.quarantine'), 'objectdataset_unknown', '... is kept in the quarantine');
publish(enriched($driver, $track, ++$seconds, url => $cloud->base_url . '/nowhere'));
$node->poll(3);
value('SELECT damoov_retry(quarantine_id) FROM damoov.quarantine');
is(trip_of($track), 'whose', '... and stored when a notification has told');
is(objects(), '', '... with its download');

value('DELETE FROM damoov.downloads; DELETE FROM damoov.quarantine');
$track = token('theft');
publish(enriched($driver, $track, ++$seconds, url => $cloud->base_url . '/nowhere'));
$s3->object('trips', 'theft.json', document('stolen', TrackToken => $track, DeviceToken => $other));
exhaust { s3_tells(record('theft.json')) };
like(objects(), qr/^failed object of a bucket names another person than its notifications/, 'a dataset of somebody else');
is(trip_of($track), '', '... is not stored');

value('DELETE FROM damoov.downloads; DELETE FROM damoov.quarantine');
$s3->object('trips', 'other.json', { Id => token('what'), UserId => $other, Kind => 'new' });
exhaust { s3_tells(record('other.json')) };
like(objects(), qr/^failed object of a bucket is no dataset of a kind that is known/, 'a document of another kind');
is(value("SELECT count(*) FROM damoov.users WHERE device_token = '$other'"), 0, '... makes nobody a person');

value('DELETE FROM damoov.downloads; DELETE FROM damoov.quarantine');
$s3->object('trips', 'report.zip', "PK\x03\x04");
s3_tells(record('report.zip'));
like(objects(), qr/^failed object of a bucket is not a JSON object/, 'a report is no dataset');
is(value('SELECT count(*) FROM damoov.quarantine'), 0, '... and stays in the bucket');

value('DELETE FROM damoov.downloads');
$s3->object('elsewhere', 'x.json', document('elsewhere', TrackToken => token('else'), DeviceToken => $driver));
s3_tells(record('x.json', bucket => 'elsewhere'));
like(objects(), qr/^failed URL has a host or bucket that is not allowed/, 'a bucket that is not allowed');

value('DELETE FROM damoov.downloads');
my $before = value("SELECT count(*) FROM damoov.events");
s3_tells(
	[
		record('b.json', record => { eventName => 'ObjectRemoved:Delete' }),
		record('folder/', object => { size => 0 }),
		record('c.json', record => { eventName => 'ObjectTagging:Put' })
	]);
is(value("SELECT count(*) FROM damoov.events") - $before, 3, 'other events are kept');
is(objects(), '', '... and nothing is fetched');

s3_tells(
	[
		record('d.json', record => { eventSource => 'aws:dynamodb' }),
		record('e.json', record => { eventVersion => '3.0' }),
		record('', object => { key => undef }),
		record('f.json', bucket => 'No Bucket'),
		7
	]);
is( value("SELECT string_agg(reason, ' ') FROM damoov.quarantine"),
	join(' ', ('envelope') x 5), 'records that cannot be understood go to the quarantine');
s3_tells([]);
is(value("SELECT count(*) FROM damoov.quarantine"), 6, '... and so does a list of none');

# Forgotten people
value("SELECT damoov_forget('" . token('new') . "')");
is(value("SELECT count(*) FROM damoov.events WHERE payload::text LIKE '%$person%'"), 0,
	'forgetting a person takes along the events of keys that name them');
$s3->object('trips', "trips/filtered/$instance/$person/9.json", \%raw);
s3_tells(record("trips/filtered/$instance/$person/9.json"));
is(value("SELECT count(*) FROM damoov.events WHERE payload::text LIKE '%$person%'"), 0, '... and no other comes back');
$s3->object('trips', 'again.json', document('again', TrackToken => token('again'), DeviceToken => token('new')));
s3_tells(record('again.json'));
is(trip_of(token('again')) . objects(), '', '... nor does a dataset');
value('DELETE FROM damoov.quarantine');
$s3->object('trips', 'other.json', { Id => token('what'), Driver => $person });
s3_tells(record('other.json'));
is(objects() . value('SELECT count(*) FROM damoov.quarantine'), '0', '... nor a document that nobody understands');

###########################################################################
# Who saw what
###########################################################################

for my $store ($s3, $blobs)
{
	is(scalar(grep { defined $_->{headers}{devicetoken} } $store->requests), 0, 'no store has seen a device token');
}
is(scalar(grep { $_->{headers}{authorization} } $cloud->requests(target => 'processed')), 0, 'nor the platform a signature');

my $log = slurp_file($node->logfile, $log_start);
my $view = value('SELECT string_agg(v::text, $$ $$) FROM damoov.download_status AS v')
  . value('SELECT string_agg(v::text, $$ $$) FROM damoov.status AS v')
  . value("SELECT string_agg(coalesce(last_error, ''), ' ') FROM damoov.downloads")
  . value("SELECT coalesce(string_agg(message, ' '), '') FROM damoov.quarantine");
for my $secret ('sig=', 'X-Amz-', $driver, $person, Damoov::Cloud::SECRET, $account->{account_key})
{
	unlike($log, qr/\Q$secret/, 'not in the log');
	unlike($view, qr/\Q$secret/, 'nor in what readers see');
}

# Hosts that must not be mixed up
value("ALTER SERVER api OPTIONS (SET s3_endpoint '" . $cloud->base_url . "')");
{
	local $patience = 2;
	announce(token('mixed'), undef);
}
like(download_of(token('mixed')), qr/option "s3_endpoint" of the api server must be/, 'the platform cannot be a store');

done_testing();
