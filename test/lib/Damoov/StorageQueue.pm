# A client of Azure Storage queues, to fill and count them: of the stand-in
# cloud and of Azurite alike.  It signs with code of its own.

package Damoov::StorageQueue;

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_base64);
use HTTP::Tiny;
use MIME::Base64 qw(encode_base64 decode_base64);
use POSIX qw(strftime);

use constant ACCOUNT => 'telematics';
use constant KEY => encode_base64(
	'an account key for the stand-in, which is 64 bytes long in all..', '');
use constant VERSION => '2021-12-02';

# The base URL has no account in it.
sub new
{
	my ($class, $base_url) = @_;
	my $self = bless {
		base_url => $base_url,
		offset => 0,    # of its clock
		http => HTTP::Tiny->new(timeout => 60, keep_alive => 0, proxy => undef)
	}, $class;

	$self->{http}{$_} = undef for qw(proxy http_proxy https_proxy);
	return $self;
}

# For the option "endpoint".
sub endpoint
{
	my ($self) = @_;
	return "$self->{base_url}/" . ACCOUNT;
}

sub encoded
{
	my ($text) = @_;
	$text =~ s/([^A-Za-z0-9\-._~])/sprintf '%%%02X', ord $1/ge;
	return $text;
}

sub _signature
{
	my ($text, $key) = @_;
	my $signature = hmac_sha256_base64($text, decode_base64($key // KEY));
	$signature .= '=' while length($signature) % 4;
	return $signature;
}

# A request to "queue/messages" or the like, with a hash of its query.
# Options: body, key, sas (a query, instead of the key).
sub request
{
	my ($self, $method, $path, $query, %options) = @_;
	my $body = $options{body} // '';
	my %headers = (
		'x-ms-version' => VERSION,
		'x-ms-date' =>
		  strftime('%a, %d %b %Y %H:%M:%S GMT', gmtime(time + $self->{offset})));
	my @names = sort keys %$query;
	my $url = $self->endpoint . "/$path";
	my @query = map { "$_=" . encoded($query->{$_}) } @names;

	push @query, $options{sas} if $options{sas};
	$headers{'content-type'} = 'application/xml' if $body ne '';
	$headers{'content-length'} = 0 if $body eq '' && $method =~ /^P/;
	$headers{authorization} = 'SharedKey ' . ACCOUNT . ':' . _signature(
		join("\n",
			$method, '', '',
			$body eq '' ? '' : length $body,
			'', $headers{'content-type'} // '',
			('') x 6,
			(map { "$_:$headers{$_}" } 'x-ms-date', 'x-ms-version'),
			'/' . ACCOUNT . '/' . ACCOUNT . "/$path",
			map { "$_:$query->{$_}" } @names),
		$options{key}) unless $options{sas};
	return $self->{http}->request(
		$method,
		@query ? "$url?" . join('&', @query) : $url,
		{ headers => \%headers, $body eq '' ? () : (content => $body) });
}

sub _expect
{
	my ($reply, @statuses) = @_;
	die "storage queue: $reply->{status} $reply->{content}\n"
	  unless grep { $reply->{status} == $_ } @statuses;
	return $reply;
}

sub create
{
	my ($self, $queue) = @_;
	_expect($self->request('PUT', $queue, {}), 201, 204);
	return;
}

# Texts as they are, in bytes; with encode in base64.
sub put
{
	my ($self, $queue, $texts, %options) = @_;

	for my $given (@$texts)
	{
		my $text = $options{encode} ? encode_base64($given, '') : $given;
		$text =~ s/([&<>\r])/sprintf '&#%d;', ord $1/ge;
		_expect(
			$self->request(
				'POST', "$queue/messages", {},
				body => "<QueueMessage><MessageText>$text</MessageText></QueueMessage>"
			),
			201);
	}
	return;
}

# Messages in the queue, also those that somebody has received.
sub count
{
	my ($self, $queue) = @_;
	return _expect($self->request('GET', $queue, { comp => 'metadata' }), 200)
	  ->{headers}{'x-ms-approximate-messages-count'};
}

# What opens the queue, and for how many seconds.
sub sas
{
	my ($queue, %options) = @_;
	my $rights = $options{rights} // 'pu';
	my $expiry = strftime('%Y-%m-%dT%H:%M:%SZ',
		gmtime(time + ($options{seconds} // 3600)));
	my $signature = _signature(
		join("\n",
			$rights, '', $expiry, '/queue/' . ACCOUNT . "/$queue",
			'', '', '', VERSION));

	return 'sv='
	  . VERSION
	  . "&sp=$rights&se="
	  . encoded($expiry) . '&sig='
	  . encoded($signature);
}

1;
