# Unit tests of the pure parts of the extension: request signatures and the
# reader of timestamps.  They are reached through test/unit, a module that
# compiles the same sources; "make -C test/unit" has to be run before.

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256 hmac_sha256_hex sha256_hex);
use FindBin;
use MIME::Base64;
use POSIX qw(strftime);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# All random input comes from this seed.
my $seed = 20260115;

my ($library) = grep { -e $_ }
  map { "$FindBin::RealBin/../unit/damoov_unit.$_" } qw(so dylib);
die "test/unit is not built, run \"make -C test/unit\" first\n"
  unless defined $library;
$library =~ s/\.\w+$//;

my $node = PostgreSQL::Test::Cluster->new('units');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);

# Statements are logged only if they fail: see "secret in the server log".
$node->append_conf('postgresql.conf', 'log_statement = none');
$node->start;

sub lit
{
	my ($text) = @_;
	return 'NULL' unless defined $text;
	$text =~ s/'/''/g;
	return "'$text'";
}

sub query
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql);
}

query(qq{
CREATE FUNCTION unit_sign_v4(
    method text, host text, path text, query text, headers text[],
    body_hex text, body_hash text, access_key_id text,
    secret_access_key text, session_token text, region text, service text,
    now bigint, without_owner boolean,
    OUT amz_date text, OUT authorization_header text, OUT canonical_hash text)
AS '$library' LANGUAGE C;
CREATE FUNCTION unit_storage_host(host text) RETURNS text
AS '$library' LANGUAGE C STRICT;
CREATE FUNCTION unit_storage_signed(query text) RETURNS boolean
AS '$library' LANGUAGE C;
CREATE FUNCTION unit_s3_address(bucket text, path text, query text, endpoint text)
RETURNS text AS '$library' LANGUAGE C;
CREATE FUNCTION unit_encode_path(path text, form boolean) RETURNS text
AS '$library' LANGUAGE C STRICT;
CREATE FUNCTION unit_sha256(bytes_hex text) RETURNS text
AS '$library' LANGUAGE C STRICT;
CREATE FUNCTION unit_sign_service_bus(uri text, policy text, key text, expires bigint)
RETURNS text AS '$library' LANGUAGE C;
CREATE FUNCTION unit_hmac(key text, input text)
RETURNS text AS '$library' LANGUAGE C;
CREATE FUNCTION unit_sign_event_grid(uri text, key text, expires bigint)
RETURNS text AS '$library' LANGUAGE C;
CREATE FUNCTION unit_sign_shared_key(
    method text, path text, query text, headers text[], body_len integer,
    account text, account_key text)
RETURNS text AS '$library' LANGUAGE C;
CREATE FUNCTION unit_queue_list(xml_hex text, max integer)
RETURNS text AS '$library' LANGUAGE C;
CREATE FUNCTION unit_timestamp(
    input text, OUT result text, OUT at timestamptz, OUT offset_min integer,
    OUT has_zone boolean, OUT leap_second boolean, OUT end_of_day boolean,
    OUT sqlstate text, OUT fault text)
AS '$library' LANGUAGE C STRICT;
CREATE FUNCTION unit_epoch(value float8, milliseconds boolean)
RETURNS timestamptz AS '$library' LANGUAGE C STRICT;
CREATE FUNCTION unit_json_items(input text)
RETURNS text AS '$library' LANGUAGE C STRICT;
CREATE FUNCTION unit_timestamp_speed(input text, rounds integer)
RETURNS integer AS '$library' LANGUAGE C STRICT;
CREATE FUNCTION utc(timestamptz) RETURNS text LANGUAGE sql
RETURN to_char(\$1 AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US');
});

###########################################################################
# Signatures
###########################################################################

# Bytes of the body stay out of the SQL text: they may be anything.
sub sign_call
{
	my ($r, $without_owner) = @_;
	my $headers = join ', ', map { lit($_) } @{ $r->{headers} // [] };

	return 'unit_sign_v4('
	  . join(', ',
		(map { lit($r->{$_}) } qw(method host path query)),
		"ARRAY[$headers]::text[]",
		lit(unpack('H*', $r->{body} // '')),
		(map { lit($r->{$_}) } qw(body_hash key secret token region service)),
		$r->{now}, $without_owner ? 'true' : 'false')
	  . ')';
}

sub signature_of
{
	return $_[0] =~ /Signature=([0-9a-f]{64})$/ ? $1 : "none in \"$_[0]\"";
}

sub check_signature
{
	my ($name, $request, $hash, $signature, $signed_headers) = @_;
	my $call = sign_call($request, 0);
	my ($got_hash, $authorization) = split /\|/,
	  query("SELECT canonical_hash, authorization_header FROM $call");

	is($got_hash, $hash, "$name: canonical request");
	is(signature_of($authorization), $signature, "$name: signature");
	like($authorization, qr/ SignedHeaders=\Q$signed_headers\E, /,
		"$name: signed headers")
	  if defined $signed_headers;
}

my %key = (
	key => 'AKIDEXAMPLE',
	secret => 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY');

# Requests as this extension sends them.  Results of AWS's Python signer.
my %sqs = (
	%key,
	method => 'POST',
	host => 'sqs.eu-west-1.amazonaws.com',
	path => '/',
	headers => [
		'Content-Type' => 'application/x-amz-json-1.0',
		'X-Amz-Target' => 'AmazonSQS.ReceiveMessage'
	],
	body =>
	  '{"QueueUrl":"https://sqs.eu-west-1.amazonaws.com/123456789012/damoov",'
	  . '"MaxNumberOfMessages":10,"WaitTimeSeconds":20}',
	region => 'eu-west-1',
	service => 'sqs',
	now => 1768478400);

check_signature(
	'SQS', \%sqs,
	'501d2ac758074c0cbf15ccaf45686dc7f508bf256478f5ba7607ce8946fafd91',
	'65fabfbeac1e8dab6398498f1f3a8e30c1b8616238cbf56b6f6e1d50c9ff614c',
	'content-type;host;x-amz-date;x-amz-target');
check_signature(
	'SQS with token',
	{ %sqs, token => 'SESSIONTOKENEXAMPLE' },
	'64c3643c8124151c4824e20f03403dc9b2a345498c920c84108c28a64b09c36e',
	'2ada32314254b7d83313e453d138b7d73d4e9cdeb1ac35c13e43808ba54db89f',
	'content-type;host;x-amz-date;x-amz-security-token;x-amz-target');

my %s3 = (
	%key,
	method => 'GET',
	host => 'my-bucket.s3.eu-west-1.amazonaws.com',
	path => '/exports/2026-01-15/trip%20A%2BB.json',
	query => 'versionId=abc%2Fdef&partNumber=1',
	headers => [ 'x-amz-content-sha256' => sha256_hex('') ],
	region => 'eu-west-1',
	service => 's3',
	now => 1768478400);
my @s3_expected = (
	'a601a0c694b094e62f5740afd88dd727ecc91661503e3ab935d3febfe61ff950',
	'f9f74c59ba21466138fc18885699ab93988f63fe3f945438f65a7c1c341232ff',
	'host;x-amz-content-sha256;x-amz-date');

check_signature('S3', \%s3, @s3_expected);
check_signature('S3, query not encoded',
	{ %s3, query => 'versionId=abc/def&&partNumber=1&' }, @s3_expected);
check_signature('S3, query encoded in lower case',
	{ %s3, query => 'part%4eumber=1&versionId=abc%2fdef' }, @s3_expected);

is( query('SELECT amz_date, authorization_header FROM '
		  . sign_call(\%s3, 0)),
	'20260115T120000Z|AWS4-HMAC-SHA256 Credential='
	  . 'AKIDEXAMPLE/20260115/eu-west-1/s3/aws4_request, SignedHeaders='
	  . 'host;x-amz-content-sha256;x-amz-date, Signature='
	  . $s3_expected[1],
	'date and authorization header in full');

# The official vectors (awslabs/aws-c-auth, tests/aws-signing-test-suite/v4).
# Each entry: name, what differs from a plain GET, hash of the canonical
# request, signature.
my %vanilla = (
	%key,
	method => 'GET',
	host => 'example.amazonaws.com',
	path => '/',
	region => 'us-east-1',
	service => 'service',
	now => 1440938160);
my @vanilla_expected = (
	'bb579772317eb040ac9ed261061d46c1f17a8133879d6129b6e1c25292927e63',
	'5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31');
my @post_expected = (
	'553f88c9e4d10fc9e109e2aeb65f030801b70c2f6468faca261d401ae622fc87',
	'5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b');
my $unreserved = '-._~' . join '', 0 .. 9, 'A' .. 'Z', 'a' .. 'z';
my $utf8 = "\xe1\x88\xb4";
my $form_hash =
  '9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e';
my $sts_token =
	'AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWs'
  . 'KWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGde'
  . 'ehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8T'
  . 'x6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FD'
  . 'rypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==';

my @vectors = (
	[ 'get-vanilla', {}, @vanilla_expected ],
	[
		'get-vanilla-with-session-token',
		{
			token => '6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73e'
			  . 'bf194267'
		},
		'067b36aa60031588cea4a4cde1f21215227a047690c72247f1d70b32fbbfad2b',
		'07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8'
	],
	[
		'get-vanilla-query-order-key-case',
		{ query => 'Param2=value2&Param1=value1' },
		'816cd5b414d056048ba4f7c5386d6e0533120fb1fcfa93762cf0fc39e2cf19e0',
		'b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500'
	],
	[
		'get-vanilla-query-order-encoded',
		{ query => 'Param-3=Value3&Param=Value2&%E1%88%B4=Value1' },
		'868294f5c38bd141c4972a373a76654f1418a8e4fc18b2e7903ae45e8ae0ec71',
		'371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac'
	],
	[
		'get-vanilla-empty-query-key',
		{ query => 'Param1=value1' },
		'1e24db194ed7d0eec2de28d7369675a243488e08526e8c1c73571282f7c517ab',
		'a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb'
	],
	[
		'get-vanilla-query-unreserved',
		{ query => "$unreserved=$unreserved" },
		'c30d4703d9f799439be92736156d47ccfb2d879ddf56f5befa6d1d6aab979177',
		'9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197'
	],
	[
		'get-vanilla-utf8-query',
		{ query => "$utf8=bar" },
		'eb30c5bed55734080471a834cc727ae56beb50e5f39d1bff6d0d38cb192a7073',
		'2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04'
	],
	[
		'get-unreserved',
		{ path => "/$unreserved" },
		'6a968768eefaa713e2a6b16b589a8ea192661f098f37349f4e2c0082757446f9',
		'07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f'
	],
	[
		'get-utf8',
		{ path => "/$utf8" },
		'2a0a97d02205e45ce2e994789806b19270cfbbb0921b278ccf58f5249ac42102',
		'8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85'
	],
	[
		'get-space',
		{ path => '/example space/' },
		'63ee75631ed7234ae61b5f736dfc7754cdccfedbff4b5128a915706ee9390d86',
		'652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741'
	],
	[ 'get-slash-normalized', { path => '//' }, @vanilla_expected ],
	[ 'get-slash-dot-slash-normalized', { path => '/./' },
		@vanilla_expected ],
	[ 'get-relative-normalized', { path => '/example/..' },
		@vanilla_expected ],
	[
		'get-relative-relative-normalized',
		{ path => '/example1/example2/../..' },
		@vanilla_expected
	],
	[
		'get-slash-pointless-dot-normalized',
		{ path => '/./example' },
		'214d50c111a8edc4819da6a636336472c916b5240f51e9a51b5c3305180cf702',
		'ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5'
	],
	[
		'get-header-value-trim',
		{
			headers =>
			  [ 'My-Header1' => ' value1', 'My-Header2' => ' "a   b   c"' ]
		},
		'a726db9b0df21c14f559d0a978e563112acb1b9e05476f0a6a1c7d68f28605c7',
		'acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736'
	],
	[
		'get-header-key-duplicate',
		{
			headers => [
				map { ('My-Header1' => $_) } qw(value2 value2 value1)
			]
		},
		'dc7f04a3abfde8d472b0ab1a418b741b7c67174dad1551b4117b15527fbe966c',
		'c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea'
	],
	[
		'get-header-value-multiline',
		{ headers => [ 'My-Header1' => "value1\n  value2\n     value3" ] },
		'e99419459a677bc11de234014be3c4e72c1ea5b454ceb58b613061f5d7a162e8',
		'cfd34249e4b1c8d6b91ef74165d41a32e5fab3306300901bb65a51a73575eefd'
	],
	[ 'post-vanilla', { method => 'POST' }, @post_expected ],
	[
		'post-x-www-form-urlencoded',
		{
			method => 'POST',
			body => 'Param1=value1',
			headers => [
				'Content-Type' => 'application/x-www-form-urlencoded',
				'Content-Length' => '13',
				'X-Amz-Content-Sha256' => $form_hash
			]
		},
		'b1edd1d03544c25390e32085d55b57acc9a3961bb59415ff86c45c3d89d16cfb',
		'd3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b'
	],
	[
		'post-sts-header-before',
		{ method => 'POST', token => $sts_token },
		'c237e1b440d4c63c32ca95b5b99481081cb7b13c7e40434868e71567c1a882f6',
		'85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead'
	],

	# here the token is added after signing, so it plays no part
	[ 'post-sts-header-after', { method => 'POST' }, @post_expected ],);

for my $vector (@vectors)
{
	my ($name, $difference, @expected) = @$vector;
	check_signature($name, { %vanilla, %$difference }, @expected);
}

is(query("SELECT unit_sha256('00ff00')"),
	sha256_hex("\x00\xff\x00"), 'hash of bytes with NUL');
is(query("SELECT unit_sha256('')"), sha256_hex(''), 'hash of nothing');

# An independent signer, in another style, as a reference for random input.
sub percent
{
	my ($bytes, $keep) = @_;
	$bytes =~ s/([^A-Za-z0-9_.~$keep-])/sprintf '%%%02X', ord $1/ge;
	return $bytes;
}

sub perl_signature
{
	my ($r) = @_;
	my $time = strftime('%Y%m%dT%H%M%SZ', gmtime $r->{now});
	my $path = $r->{service} eq 's3' ? $r->{path} : percent($r->{path}, '/');
	my (%header, @list);

	my @query = map {
		my ($name, $value) = split /=/, $_, 2;
		[ map { s/%([0-9A-Fa-f]{2})/chr hex $1/ger } $name, $value // '' ]
	} grep { length } split /&/, $r->{query} // '';
	my $query = join '&', map { "$_->[0]=$_->[1]" }
	  sort { $a->[0] cmp $b->[0] || $a->[1] cmp $b->[1] }
	  map { [ map { percent($_, '') } @$_ ] } @query;

	@list = (@{ $r->{headers} }, 'host', $r->{host}, 'x-amz-date', $time);
	push @list, 'x-amz-security-token', $r->{token} if defined $r->{token};
	while (my ($name, $value) = splice @list, 0, 2)
	{
		$value = join ' ', grep { length } split /[ \t]+/, $value;
		push @{ $header{ lc $name } }, $value;
	}
	my $names = join ';', sort keys %header;
	my $lines = join '',
	  map { "$_:" . join(',', @{ $header{$_} }) . "\n" } sort keys %header;

	my $scope = join '/', substr($time, 0, 8), $r->{region}, $r->{service},
	  'aws4_request';
	my $hash = sha256_hex(
		join "\n", $r->{method}, $path, $query, $lines, $names,
		$r->{body_hash} // sha256_hex($r->{body}));
	my $key = 'AWS4' . $r->{secret};
	$key = hmac_sha256($_, $key) for split m{/}, $scope;
	return ($hash,
		hmac_sha256_hex("AWS4-HMAC-SHA256\n$time\n$scope\n$hash", $key));
}

sub pick
{
	return $_[ int rand @_ ];
}

sub random_text
{
	my ($max, @alphabet) = @_;
	return join '', map { pick(@alphabet) } 1 .. int rand($max + 1);
}

my @plain = ('a' .. 'z', 'A' .. 'Z', '0' .. '9', qw(- _ . ~));
my @printable = map { chr } 33 .. 126;
my @query_alphabet = (@plain, qw(+ / : @ ! ' % %2F %2f %7e %C3%A9 %zz),
	"\xc3\xa9", ' ');

sub random_request
{
	my $service = pick(qw(s3 s3 sqs sts execute-api));
	my $parameter = sub {
		my $name = pick('a', 'A', 'ab', 'a-b', 'a.b',
			random_text(6, @query_alphabet));
		return pick($name, "$name=",
			"$name=" . random_text(8, @query_alphabet, '='));
	};
	my @segments = map { 'x' . random_text(8, @plain, qw(%20 %2B %C3%A9 =)) }
	  0 .. int rand 4;
	my @headers = map {
		(   pick(qw(X-Amz-Meta-A x-amz-meta-a-b Content-Type X-B x-b2)),
			random_text(10, @printable, ' ', '  ', "\t"))
	} 1 .. int rand 6;

	return {
		method => pick(qw(GET PUT POST DELETE HEAD)),
		host => random_text(10, 'a' .. 'z') . pick('h', 'h:8443'),
		path => pick('/', '/' . join '/', @segments),
		query => pick(undef, '', join '&', map { $parameter->() } 0 .. rand 6),
		headers => \@headers,
		body => pick('', random_text(300, map { chr } 0 .. 255)),
		body_hash => pick(undef, undef, undef, 'UNSIGNED-PAYLOAD'),
		key => random_text(20, @plain),
		secret => random_text(100, @printable),
		token => pick(undef, 'T' . random_text(400, @plain, qw(+ / =))),
		region => pick(qw(eu-west-1 us-gov-west-1 cn-north-1)),
		service => $service,
		now => int rand 2**33
	};
}

srand $seed;
my @requests = map { random_request() } 1 .. 400;
my @expected = map { join '|', perl_signature($_) } @requests;
for my $without_owner (0, 1)
{
	my $sql = join '', map {
		    'SELECT canonical_hash, authorization_header FROM '
		  . sign_call($_, $without_owner) . ";\n"
	} @requests;
	my @got = map {
		my ($hash, $authorization) = split /\|/, $_, 2;
		"$hash|" . signature_of($authorization)
	} split /\n/, query($sql);

	is_deeply(\@got, \@expected,
		'400 random requests, signed '
		  . ($without_owner ? 'without a resource owner' : 'in a query'));
}

# A failure while signing must not show the secret, and must leave the session
# in order.
for my $without_owner (0, 1)
{
	my $offset = -s $node->logfile;
	my ($status, $out, $err) = $node->psql(
		'postgres',
		'SELECT ' . sign_call({ %sqs, now => 400000000000 }, $without_owner)
		  . ";\nSELECT signature.canonical_hash FROM "
		  . sign_call(\%sqs, $without_owner) . " AS signature;\n",
		on_error_stop => 0);

	like($err, qr/cannot sign a request: the time is out of range/,
		"year 14645 is refused ($without_owner)");
	is( $out,
		'501d2ac758074c0cbf15ccaf45686dc7f508bf256478f5ba7607ce8946fafd91',
		"next signature after a failure ($without_owner)");
	$node->wait_for_log(qr/the time is out of range/, $offset);
	unlike(slurp_file($node->logfile, $offset),
		qr/wJalrXUtn/, "no secret in the server log ($without_owner)");
}

###########################################################################
# Names of stores
###########################################################################

my %hosts = (
	'trips.s3.eu-west-1.amazonaws.com' => 's3 eu-west-1',
	'my.dotted.bucket.s3.eu-west-1.amazonaws.com' => 's3 eu-west-1',
	's3.eu-west-1.amazonaws.com' => 's3 eu-west-1 path',
	'trips.s3.amazonaws.com' => 's3 -',
	's3.amazonaws.com' => 's3 - path',
	'trips.s3-eu-west-1.amazonaws.com' => 's3 eu-west-1',
	's3-us-gov-west-1.amazonaws.com' => 's3 us-gov-west-1 path',
	's3-external-1.amazonaws.com' => 's3 - path',
	'trips.s3.dualstack.ap-south-1.amazonaws.com' => 's3 ap-south-1',
	's3.dualstack.ap-south-1.amazonaws.com' => 's3 ap-south-1 path',
	'trips.s3-fips.us-east-2.amazonaws.com' => 's3 us-east-2',
	'trips.s3-fips.dualstack.us-east-2.amazonaws.com' => 's3 us-east-2',
	'trips.s3.cn-north-1.amazonaws.com.cn' => 's3 cn-north-1',
	's3.cn-north-1.amazonaws.com.cn' => 's3 cn-north-1 path',
	'trips.bucket.vpce-1a2b-3c.s3.us-east-1.vpce.amazonaws.com' => 's3 us-east-1',
	'bucket.vpce-1a2b-3c.s3.us-east-1.vpce.amazonaws.com' => 's3 us-east-1 path',
	's3-data.s3.us-west-2.amazonaws.com' => 's3 us-west-2',
	'point-123456789012.s3-accesspoint.eu-west-1.amazonaws.com' => 's3 eu-west-1',
	'sqs.eu-west-1.amazonaws.com' => 'none',
	'amazonaws.com' => 'none',
	's3.eu-west-1.amazonaws.com.evil.example' => 'none',
	'trips.s3.eu-west-1.amazonaws.example' => 'none',
	's3x.eu-west-1.amazonaws.com' => 'none',
	'fleet.blob.core.windows.net' => 'blob fleet',
	'fleet-secondary.blob.core.windows.net' => 'blob fleet-secondary',
	'fleet.blob.core.chinacloudapi.cn' => 'blob fleet',
	'fleet.blob.core.usgovcloudapi.net' => 'blob fleet',
	'fleet.z01.blob.storage.azure.net' => 'blob fleet',
	'fleet.dfs.core.windows.net' => 'blob fleet',
	'blob.core.windows.net' => 'none',
	'fleet.queue.core.windows.net' => 'none',
	'fleet.blob.core.windows.net.evil.example' => 'none',
	'mobilesdk.telematicssdk.com' => 'none');
is(query('SELECT unit_storage_host(' . lit($_) . ')'), $hosts{$_}, "host $_")
  for sort keys %hosts;

for ([ 'sv=1&sig=x', 't' ], [ 'X-Amz-Signature=x', 't' ], [ 'a=1&x-amz-signature=x', 't' ],
	[ 'SIG=x', 't' ], [ 'X-Goog-Signature=1', 't' ], [ 'trackToken=x', 'f' ], [ 'sigx=1&a=sig', 'f' ],
	[ '', 'f' ], [ undef, 'f' ])
{
	is(query('SELECT unit_storage_signed(' . lit($_->[0]) . ')'), $_->[1],
		'opens its object: ' . ($_->[0] // 'no query'));
}

for (
	[ 'trips', '/a/b%20c.json', undef, undef, 'https://trips.s3.amazonaws.com/a/b%20c.json' ],
	[ 'trips', '/a', 'region=eu-west-1', undef, 'https://trips.s3.eu-west-1.amazonaws.com/a' ],
	[ 'trips', '/a', 'region=cn-north-1&versionId=x%2F', undef, 'https://trips.s3.cn-north-1.amazonaws.com.cn/a?versionId=x%2F' ],
	[ 'my.trips', '/a', 'versionId=1&region=eu-west-1', undef, 'https://s3.eu-west-1.amazonaws.com/my.trips/a?versionId=1' ],
	[ 'trips', '/a', 'region=evil.example/', undef, 'https://trips.s3.amazonaws.com/a?region=evil.example/' ],
	[ 'trips', '/a', 'region=eu-west-1&versionId=1', 'https://store.example:9000', 'https://store.example:9000/trips/a?versionId=1' ])
{
	my $wanted = pop @$_;
	is(query('SELECT unit_s3_address(' . join(', ', map { lit($_) } @$_) . ')'), $wanted, "address $wanted");
}

for ([ q{/a b/+:=&(1)'!*~%2b%41%2F%zz%C3%A4}, 'false', '/a%20b/%2B%3A%3D%26%281%29%27%21%2A~%2BA/%25zz%C3%A4' ],
	[ 'a+b%2Bc/%C3%BC', 'true', 'a%20b%2Bc/%C3%BC' ])
{
	is(query('SELECT unit_encode_path(' . lit($_->[0]) . ", $_->[1])"), $_->[2], "path $_->[0]");
}

###########################################################################
# Timestamps
###########################################################################

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

# Azure: published vectors, and SharedKey against a text to sign written out here.
my $azure_key = 'dGVzdC1rZXktZm9yLXZlY3RvcnMtMzItYnl0ZXMhISE=';
my %service_bus = (
	'https://contoso.servicebus.windows.net/' =>
	  'kEykfFA5ac5I9vCqDv8D25ZLIpO12oQ19LI0aaTDJ%2FI%3D',
	'https://contoso.servicebus.windows.net/telematics' =>
	  'YoZP5yd%2FKsQwWRJhwLcttROA0fM%2FyxnqIEGQZhTTEYU%3D',
	'https://contoso.servicebus.windows.net/trips/subscriptions/pg+a' =>
	  '3rL5TEctU%2BMd9VMxashm6CoI3lqbo1v9hkhzVSK79ZU%3D');

for my $uri (sort keys %service_bus)
{
	my $resource =
	  $uri =~ s{([^A-Za-z0-9._~-])}{sprintf '%%%02X', ord $1}ger;
	is( query(
			"SELECT unit_sign_service_bus('$uri', 'listen', '$azure_key', 1800000000)"
		),
		"SharedAccessSignature sr=$resource&sig=$service_bus{$uri}&se=1800000000&skn=listen",
		"Service Bus token for $uri");
}
is( query(
		"SELECT unit_hmac('$azure_key', 'https%3a%2f%2fcontoso.servicebus.windows.net%2ftelematics'"
		  . " || chr(10) || '1800000000')"),
	'KYfW0/FaIOefhGQuhuhiPAaYGx9kkBlrS5nDH1AAbag=',
	'signature over an address encoded in lower case');
is( query(
		"SELECT unit_sign_event_grid('https://contoso.westeurope-1.eventgrid.azure.net', '$azure_key', 1800000000)"
	),
	'SharedAccessSignature r=https%3A%2F%2Fcontoso.westeurope-1.eventgrid.azure.net'
	  . '&e=2027-01-15T08%3A00%3A00&s=qGRqO%2Bqfj9GOYkkoXs7erByjO%2FHGSoECV937bVQYOkk%3D',
	'Event Grid token');
is( query(
		"SELECT unit_sign_event_grid('https://contoso', 'no base64!', 1800000000)"
	),
	'not base64',
	'a key for Event Grid is base64');

my $to_sign = join("\n",
	'PUT', '', '', '11', '', 'text/plain', '', '', '', '', '', '',
	'x-ms-date:Fri, 15 Jan 2027 08:00:00 GMT',
	'x-ms-version:2021-12-02',
	'/acc/acc/queue/messages/id', 'popreceipt:a+b/c==', 'visibilitytimeout:30');
is( query(
		q{SELECT unit_sign_shared_key('PUT', '/acc/queue/messages/id',
		'visibilitytimeout=30&PopReceipt=a%2Bb%2Fc%3D%3D',
		ARRAY['x-ms-version', '2021-12-02', 'Content-Type', 'text/plain',
			'X-MS-Date', 'Fri, 15 Jan 2027 08:00:00 GMT'], 11, 'acc', }
		  . "'$azure_key')"),
	'SharedKey acc:'
	  . encode_base64(hmac_sha256($to_sign, decode_base64($azure_key)), ''),
	'SharedKey');
is( query(
		q{SELECT unit_sign_shared_key('GET', '/queue', NULL, '{}', 0, 'acc', 'no base64!')}
	),
	'not base64',
	'an account key is base64');

###########################################################################
# Pieces of JSON text
###########################################################################

# as they stand, and what is left where nothing more is found
for my $case (
	[ '{}', '{}' ],
	[ '[]', '[]' ],
	[ ' { "a" : 1.10 , "b":"x" } ', 'a=1.10|b="x"| } ' ],
	[ '{"a":{"b":[{"c":"]}"}]},"a":[ ]}', 'a={"b":[{"c":"]}"}]}|a=[ ]|}' ],
	[ '[1,"a\"]}",null,{"x":1}]', '=1|="a\"]}"|=null|={"x":1}|]' ],
	[ '["a\\\\","b"]', '="a\\\\"|="b"|]' ],
	[ '{"a":' . '[' x 500 . ']' x 500 . ',"b":1}', 'a=' . '[' x 500 . ']' x 500 . '|b=1|}' ],

	# broken text: found is what is whole, and nothing is read behind its end
	[ '', '' ],
	[ '7', '7' ],
	[ '{', '{' ],
	[ '{"a"', '="a"|' ],
	[ '{"a":', '{"a":' ],
	[ '{"a":1', '{"a":1' ],
	[ '{"a":1,"b":{"c":2}', 'a=1|b={"c":2}|' ],
	[ '{"a":1,"b":{"c":2', 'a=1|,"b":{"c":2' ],
	[ '["a', '["a' ],
	[ '["a\\', '["a\\' ],
	[ '[,]', '[,]' ],
	[ '[1 2]', '=1| 2]' ],
	[ '{"a":1]', 'a=1|]' ])
{
	my ($text, $items) = @$case;
	is(query('SELECT unit_json_items(' . lit($text) . ')'),
		$items, 'pieces of ' . (length $text < 60 ? $text : 'deep text'));
}

###########################################################################
# The list of a Storage queue
###########################################################################

# In bytes; what is told of each message, or "damaged".
sub queue_list
{
	my ($xml, $max) = @_;
	return query(
		"SELECT unit_queue_list('" . unpack('H*', $xml) . "', " . ($max // 32) . ')');
}

sub leaf
{
	my ($name, $text) = @_;
	return "<$name>$text</$name>";
}

sub queued
{
	my (%leaves) = @_;
	my %given = (
		MessageId => 'id',
		PopReceipt => 'r+/=',
		DequeueCount => 1,
		MessageText => 'text',
		%leaves);
	return leaf('QueueMessage',
		join '', map { leaf($_, $given{$_}) } grep { defined $given{$_} } sort keys %given);
}

sub queue_list_of
{
	my ($inside) = @_;
	return leaf('QueueMessagesList', $inside);
}

my $bom = "\xEF\xBB\xBF";
my $declaration = '<?xml version="1.0" encoding="utf-8"?>';
my $whole = $bom . $declaration . queue_list_of(
	leaf(
		'QueueMessage',
		join '',
		leaf('MessageId', '5974b586-0df3-4e2d-ad0c-18e3892bfca2'),
		leaf('InsertionTime', 'Fri, 09 Oct 2026 21:04:30 GMT'),
		leaf('ExpirationTime', 'Fri, 16 Oct 2026 21:04:30 GMT'),
		leaf('PopReceipt', 'YzQ4Yzg1MDItYTc0Ny00OWNjLTkxYTUtZGM0MDFiZDAwYzEw'),
		leaf('TimeNextVisible', 'Fri, 09 Oct 2026 23:29:20 GMT'),
		leaf('DequeueCount', 3),
		leaf('MessageText', 'eyJhIjoxfQ==')));
my $whole_read =
  '5974b586-0df3-4e2d-ad0c-18e3892bfca2 YzQ4Yzg1MDItYTc0Ny00OWNjLTkxYTUtZGM0MDFiZDAwYzEw 3 [eyJhIjoxfQ==]';

for my $case (
	[ 'all that the service tells', $whole, $whole_read ],
	[ 'nothing in front of it', substr($whole, length "$bom$declaration"), $whole_read ],
	[ 'blanks between elements', $whole =~ s/></>\r\n\t <</gr =~ s/<</</gr, $whole_read ],
	[ 'no message', "$bom$declaration<QueueMessagesList />", '' ],
	[ '... as the emulator says it', "$declaration<QueueMessagesList/>", '' ],
	[ '... in two tags', queue_list_of(''), '' ],
	[ 'two messages', queue_list_of(queued() . queued(MessageId => 'b')),
		"id r+/= 1 [text]\nb r+/= 1 [text]" ],
	[ 'no text', queue_list_of(queued(MessageText => '')), 'id r+/= 1 []' ],
	[ '... in one tag', queue_list_of(queued() =~ s{<MessageText>.*?</MessageText>}{<MessageText />}r),
		'id r+/= 1 []' ],
	[ 'named entities', queue_list_of(queued(MessageText => '&lt;&gt;&amp;&quot;&apos;&amp;lt;')),
		q{id r+/= 1 [<>&"'&lt;]} ],
	[ 'numbers', queue_list_of(queued(MessageText => '&#65;&#x42;&#x00e4;&#8364;&#x1F600;&#xd;&#10;.')),
		"id r+/= 1 [AB\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80\r\n.]" ],
	[ 'CDATA', queue_list_of(queued(MessageText => 'a<![CDATA[<b>&amp;]] >]]>c<![CDATA[]]>')),
		'id r+/= 1 [a<b>&amp;]] >c]' ],
	[ 'ends of lines', queue_list_of(queued(MessageText => "a\r\nb\rc\n.")), "id r+/= 1 [a\nb\nc\n.]" ],
	[ 'UTF-8', queue_list_of(queued(MessageText => "\xC3\xA4")), "id r+/= 1 [\xC3\xA4]" ],
	[ 'a leaf that is not known', queue_list_of(queued(Later => '&lt;')), 'id r+/= 1 [text]' ],
	[ 'blanks in tags', queue_list_of(queued() =~ s/Id>/Id >/gr), 'id r+/= 1 [text]' ])
{
	my ($name, $xml, $told) = @$case;
	is(queue_list($xml) =~ s/\n\z//r, $told, "queue list: $name");
}

for my $case (
	[ 'nothing', '' ],
	[ 'only blanks', " \n" ],
	[ 'another list', leaf('Messages', queued()) ],
	[ 'an error', leaf('Error', leaf('Code', 'ServerBusy')) ],
	[ 'a page', '<!DOCTYPE html><html></html>' ],
	[ 'a document type', "$declaration<!DOCTYPE a [<!ENTITY b 'c'>]>" . queue_list_of(queued()) ],
	[ 'an entity of its own', queue_list_of(queued(MessageText => '&b;')) ],
	[ 'a comment', queue_list_of('<!-- -->' . queued()) ],
	[ 'a processing instruction', queue_list_of('<?a b?>' . queued()) ],
	[ 'an attribute', queue_list_of(queued() =~ s/<MessageId>/<MessageId a="b">/r) ],
	[ 'more behind it', queue_list_of(queued()) . 'x' ],
	[ 'two lists', queue_list_of(queued()) x 2 ],
	[ 'text between elements', queue_list_of('x' . queued()) ],
	[ 'an element in the text', queue_list_of(queued(MessageText => 'a<b>c</b>')) ],
	[ 'crossed tags', '<QueueMessagesList><QueueMessage></QueueMessagesList></QueueMessage>' ],
	[ 'another closing tag', queue_list_of(queued() =~ s{</MessageId>}{</PopReceipt>}r) ],
	[ 'a message without anything', queue_list_of('<QueueMessage/>') ],
	( map { [ "no $_", queue_list_of(queued($_ => undef)) ] }
		qw(MessageId PopReceipt DequeueCount MessageText) ),
	( map { [ "$_ twice", queue_list_of(queued() =~ s{(<$_>.*?</$_>)}{$1$1}r) ] }
		qw(MessageId PopReceipt DequeueCount MessageText) ),
	[ 'an empty id', queue_list_of(queued(MessageId => '')) ],
	[ 'an empty receipt', queue_list_of(queued(PopReceipt => '')) ],
	( map { [ "dequeued $_ times", queue_list_of(queued(DequeueCount => $_)) ] }
		'', '-1', '1.5', ' 1', 'one', '9999999999' ),
	( map { [ "reference $_", queue_list_of(queued(MessageText => $_)) ] }
		'&', '&lt', '&#;', '&#x;', '&#0;', '&#x0;', '&#8;', '&#xB;', '&#xD800;', '&#xDFFF;', '&#xFFFE;',
		'&#x110000;', '&#99999999999999999999;', '&#65', '&#-65;', '&#xG;', '&LT;', '& ;' ),
	[ 'CDATA that does not end', queue_list_of(queued(MessageText => '<![CDATA[a')) ],
	[ 'a control character', queue_list_of(queued(MessageText => "\x01")) ],
	[ '... in CDATA', queue_list_of(queued(MessageText => "<![CDATA[\x1F]]>")) ],
	[ 'a NUL', queue_list_of(queued(MessageText => "a\0b")) ],
	[ 'a NUL behind it', queue_list_of(queued()) . "\0" ],
	[ 'half of a character', queue_list_of(queued(MessageText => "\xC3")) ],
	[ 'a surrogate in UTF-8', queue_list_of(queued(MessageText => "\xED\xA0\x80")) ],
	[ 'another encoding', "\xFF\xFE" . join("\0", split //, queue_list_of('')) . "\0" ],
	[ 'a declaration that does not end', '<?xml version="1.0"' ],
	[ 'a long name', queue_list_of(queued('A' x 100, 'x')) ])
{
	my ($name, $xml) = @$case;
	is(queue_list($xml), 'damaged', "queue list: $name is damage");
}
is(queue_list(queue_list_of(queued() x 3), 2), 'damaged', 'queue list: more than asked for');
is( query(
		"SELECT string_agg(DISTINCT unit_queue_list(left('"
		  . unpack('H*', $whole)
		  . "', 2 * n), 32), ' ') FROM generate_series(0, "
		  . (length($whole) - 1)
		  . ') AS n'),
	'damaged',
	'queue list: no beginning of one is whole');

$node->stop;
done_testing();
