# Pieces of JSON text.

package Unit::Json;

use strict;
use warnings;

use Damoov::Unit;
use Test::More;

functions(q{
CREATE FUNCTION unit_json_items(input text)
RETURNS text AS 'damoov_unit' LANGUAGE C STRICT;
CREATE FUNCTION unit_json_memory(input text)
RETURNS bigint AS 'damoov_unit' LANGUAGE C STRICT;
});

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

# What reading an escape takes is given back: there may be millions of them.
for my $text (q{'[' || repeat('"\n",', 50000) || '1]'}, q{'{' || repeat('"\n":1,', 50000) || '"a":1}'})
{
	my $taken = query("SELECT unit_json_memory($text)");
	ok($taken > 0 && $taken < 8_000_000, "memory after 50,000 escapes: $text") or diag($taken);
}

1;
