# The list of a Storage queue: what is read of it, and what is damage.

package Unit::QueueList;

use strict;
use warnings;

use Damoov::Unit;
use Test::More;

functions(q{
CREATE FUNCTION unit_queue_list(xml_hex text, max integer)
RETURNS text AS 'damoov_unit' LANGUAGE C;
});

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

1;
