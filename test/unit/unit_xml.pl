# The XML of services: what unit_queue_list.pl does not ask.

package Unit::Xml;

use strict;
use warnings;

use Damoov::Unit;
use Test::More;

functions(q{
CREATE FUNCTION unit_xml(xml text) RETURNS text AS 'damoov_unit' LANGUAGE C STRICT;
CREATE FUNCTION unit_xml_text(xml text, name text) RETURNS text
AS 'damoov_unit' LANGUAGE C STRICT;
});

sub document
{
	return query('SELECT unit_xml(' . lit($_[0]) . ')');
}

sub nested
{
	my ($depth) = @_;
	return '<a>' x $depth . '</a>' x $depth;
}

for my $case (
	[ 'elements within elements', '<a><b><c>1</c><d/></b><e> 2</e></a>', '0 a, 1 b, 2 c=[1], 2 d=[], 1 e=[ 2]' ],
	[ 'one element', '<a/>', '0 a=[]' ],
	[ 'blanks around it', " \n<a>\n <b>1</b>\n</a>\n", '0 a, 1 b=[1]' ],
	[ 'attributes of the outermost', qq(<a xmlns="http://a/" b:c\n=\n'"'><d>1</d></a>), '0 a, 1 d=[1]' ],
	[ '... and nothing in it', '<a b="c"/>', '0 a=[]' ],
	[ '... and a blank', '<a b="c" />', '0 a=[]' ],
	[ 'names with digits and signs', '<a:b-1._2>c</a:b-1._2>', '0 a:b-1._2=[c]' ],
	[ 'sixteen levels', nested(16), join ', ', (map { "$_ a" } 0 .. 14), '15 a=[]' ],
	[ 'a thousand elements', '<a>' . '<b/>' x 999 . '</a>', join ', ', '0 a', ('1 b=[]') x 999 ],
	[ 'seventeen levels', nested(17), '' ],
	[ 'more than a thousand elements', '<a>' . '<b/>' x 1000 . '</a>', '' ],
	[ 'attributes of an inner element', '<a><b c="d"/></a>', '' ],
	[ 'attributes of an end', '<a></a b="c">', '' ],
	[ 'attributes without a blank between them', q(<a b="c"d="e"/>), '' ],
	[ '... without quotes', '<a b=c/>', '' ],
	[ '... that do not end', '<a b="c>', '' ],
	[ '... with a tag in them', '<a b="<c>"/>', '' ],
	[ '... without a value', '<a b/>', '' ],
	[ 'text behind an element', '<a><b/>c</a>', '' ],
	[ 'a blank between elements that is written as a number', '<a>&#32;<b/></a>', '' ],
	[ 'an end only', '</a>', '' ],
	[ 'no end', '<a>', '' ],
	[ 'an end too many', '<a/></a>', '' ],
	[ 'two documents', '<a/><a/>', '' ],
	[ 'a name that begins with a digit', '<1/>', '' ],
	[ 'a tag that is not finished', '<a', '' ])
{
	my ($name, $xml, $told) = @$case;
	is(document($xml), $told, "XML: $name");
}

my $error = '<?xml version="1.0" encoding="UTF-8"?><ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
  . "\n  <Error>\n    <Type>Sender</Type>\n    <Code>AccessDenied</Code>\n    <Message>&lt;Code&gt;x&lt;/Code&gt;</Message>"
  . "\n  </Error>\n  <RequestId>1</RequestId>\n</ErrorResponse>\n";

for my $case (
	[ Code => 'AccessDenied' ], [ Message => '<Code>x</Code>' ], [ RequestId => 1 ],
	[ Error => '' ], [ code => '' ], [ Detail => '' ])
{
	my ($name, $text) = @$case;
	is(query('SELECT unit_xml_text(' . lit($error) . ', ' . lit($name) . ')'), $text, "text of the element $name");
}
is(query('SELECT unit_xml_text(' . lit('<a><b>1</b><b>2</b></a>') . ", 'b')"), 1, 'text of the first of two');
is(query('SELECT unit_xml_text(' . lit('<Error><Code>NoSuchKey</Code>') . ", 'Code')"), '', 'text in half a document');

1;
