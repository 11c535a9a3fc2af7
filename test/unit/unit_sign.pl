# Signatures of AWS: published vectors, what other signers make of the same, and
# no secret in the log.

package Unit::Sign;

use strict;
use warnings;

use Damoov::Unit;
use Digest::SHA qw(hmac_sha256 hmac_sha256_hex sha256_hex);
use POSIX qw(strftime);
use PostgreSQL::Test::Utils;
use Test::More;

functions(q{
CREATE FUNCTION unit_sign_v4(
    method text, host text, path text, query text, headers text[],
    body_hex text, body_hash text, access_key_id text,
    secret_access_key text, session_token text, region text, service text,
    now bigint, without_owner boolean,
    OUT amz_date text, OUT authorization_header text, OUT canonical_hash text)
AS 'damoov_unit' LANGUAGE C;
CREATE FUNCTION unit_sha256(bytes_hex text) RETURNS text
AS 'damoov_unit' LANGUAGE C STRICT;
});

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
	my $offset = -s node()->logfile;
	my ($status, $out, $err) = node()->psql(
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
	node()->wait_for_log(qr/the time is out of range/, $offset);
	unlike(slurp_file(node()->logfile, $offset),
		qr/wJalrXUtn/, "no secret in the server log ($without_owner)");
}

1;
