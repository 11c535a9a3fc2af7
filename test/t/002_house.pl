# The house: no file knows a floor above its own, no circle stands anywhere, each
# header brings along what it needs, and no file is too long to read.  What is
# asked and how is in test/lib/Damoov/House.pm; that each question can be
# answered with no is shown here by trees of a few files.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::House;
use File::Basename qw(dirname);
use File::Path qw(make_path);
use PostgreSQL::Test::Utils;
use Test::More;

my $trees = 0;

sub finds
{
	my ($question, $root, $expected, $name) = @_;
	my $found = join "\n", Damoov::House->new($root)->$question;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return ref $expected->[0]
	  ? like($found, $expected->[0], $name)
	  : is($found, join("\n", @$expected), $name);
}

# A tree of these files, and what the question finds there.
sub small
{
	my ($name, $question, $files, @expected) = @_;
	my $root = PostgreSQL::Test::Utils::tempdir() . '/house' . ++$trees;
	my %files = (
		'src/base/fault.h' => "extern int fault_code(void);\n",
		'src/base/fault.c' => qq(#include "base/fault.h"\nint\nfault_code(void)\n{\n\treturn 0;\n}\n),
		%$files);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	for my $path (sort keys %files)
	{
		make_path(dirname("$root/$path"));
		append_to_file("$root/$path", $files{$path});
	}
	return finds($question, $root, \@expected, $name);
}

my $here = "$FindBin::RealBin/../..";

finds('out_of_place', $here, [], 'each file lies on a floor');
finds('against_the_floors', $here, [], 'no file knows what is above or beside it');
finds('circles', $here, [], 'there is no circle');
finds('borrowed', $here, [], 'each file includes what it uses');
finds('dependent_headers', $here, [], 'each header compiles by itself');
finds('too_long', $here, [], 'no file is too long');
finds('reasons', $here, [], 'the reasons of faults are those of the documentation');

###########################################################################
# The floors
###########################################################################

small('a small tree without faults', $_, {}) for qw(out_of_place against_the_floors circles borrowed too_long);
small('an include that leads up', 'against_the_floors',
	{ 'src/base/a.c' => qq(#include "wire/b.h"\n), 'src/wire/b.h' => '' },
	'base/a.c includes wire/b.h');
small('... aside', 'against_the_floors',
	{
		'src/provider/a.h' => qq(# include "message/b.h"\n),
		'src/message/b.h' => '',
		'src/dataset/c.c' => qq(#include "provider/a.h"\n)
	},
	'dataset/c.c includes provider/a.h',
	'provider/a.h includes message/b.h');
small('... from the ground', 'against_the_floors',
	{ 'src/guc.c' => qq(#include "base/fault.h"\n), 'src/compat.h' => qq(#include "guc.h"\n), 'src/guc.h' => '' },
	'compat.h includes guc.h', 'guc.c includes base/fault.h');
small('... to the entry', 'against_the_floors',
	{ 'src/damoov.h' => '', 'src/process/a.c' => qq(#include "damoov.h"\n), 'src/damoov.c' => qq(#include "process/b.h"\n),
		'src/process/b.h' => '' },
	'process/a.c includes damoov.h');
small('includes that lead down, or stay in the room', 'against_the_floors',
	{
		'src/process/a.c' => qq(#include "process/b.h"\n#include "door/c.h"\n#include "base/fault.h"\n#include "compat.h"\n),
		'src/process/b.h' => '',
		'src/door/c.h' => qq(#include "message/d.h"\n#include "wire/e.h"\n),
		'src/message/d.h' => qq(/*\n#include "door/c.h"\n*/\n#include "postgres.h"\n),
		'src/wire/e.h' => '',
		'src/compat.h' => ''
	});
small('a struct of a higher floor', 'against_the_floors',
	{ 'src/provider/a.h' => "struct Check;\n", 'src/door/b.c' => "struct Check\n{\n\tint\t\tlevel;\n};\n" },
	'provider/a.h names struct Check of door/b.c');
small('... of a lower one, or of the server', 'against_the_floors',
	{
		'src/door/a.h' => "struct Client;\ntypedef struct Own Own;\nextern struct List *list(void);\n",
		'src/door/a.c' => "struct Own\n{\n\tint\t\ta;\n};\n",
		'src/wire/b.c' => "struct Client\n{\n\tint\t\ta;\n};\n"
	});
small('declarations of what a higher floor defines', 'against_the_floors',
	{
		'src/base/a.c' => "extern int run(void);\nextern const Row rows[], other;\n",
		'src/door/b.c' => "int\nrun(void)\n{\n\tif (1)\n\t{\n\t}\n\treturn 0;\n}\n",
		'src/wire/c.c' => "const Row rows[] = {{1, {2}}};\nstatic int other;\n"
	},
	'base/a.c declares run, which door/b.c defines',
	'base/a.c declares rows, which wire/c.c defines');
small('a folder that is no floor', 'out_of_place',
	{ 'src/attic/a.c' => '', 'src/base/deep/b.c' => '', 'src/base/b.o' => '' },
	'attic/a.c lies on no floor',
	'base/deep/b.c lies on no floor');
small('a loose file', 'out_of_place', { 'src/loose.h' => '' }, 'loose.h lies on no floor');
small('more than four', 'out_of_place',
	{ map { ("src/$_" => '') } qw(damoov.c damoov.h guc.c guc.h compat.h) },
	'src/ holds more than 4 files: compat.h damoov.c damoov.h guc.c guc.h');

###########################################################################
# Circles
###########################################################################

small('two files', 'circles',
	{
		'src/door/a.c' => qq(#include "door/b.h"\n),
		'src/door/a.h' => '',
		'src/door/b.c' => qq(#include "door/a.h"\n),
		'src/door/b.h' => ''
	},
	'door/a.c includes door/b.h; door/b.c includes door/a.h');
small('three files, and one that hangs on them', 'circles',
	{
		'src/door/a.h' => qq(#include "door/b.h"\n#include "door/d.h"\n),
		'src/door/b.h' => qq(#include "door/c.h"\n),
		'src/door/c.h' => qq(#include "door/a.h"\n),
		'src/door/d.h' => qq(#include "door/b.h"\n),
		'src/door/e.h' => qq(#include "door/a.h"\n#include "base/fault.h"\n)
	},
	'door/a.h includes door/b.h; door/b.h includes door/c.h; door/c.h includes door/a.h; '
	  . 'in circles with them: door/d');
small('by what a header declares and another file defines', 'circles',
	{
		'src/base/a.h' => "extern void a_other(void);\n",
		'src/base/b.c' => qq(#include "base/a.h"\nvoid\na_other(void)\n{\n}\n)
	},
	'base/a.h declares a_other, which base/b.c defines; base/b.c includes base/a.h');
small('by a struct', 'circles',
	{
		'src/base/a.h' => "struct B;\n",
		'src/base/b.h' => qq(#include "base/a.h"\nstruct B\n{\n\tint\t\tb;\n};\n)
	},
	'base/a.h names struct B of base/b.h; base/b.h includes base/a.h');
small('by what a header declares and a second file carries out', 'circles',
	{
		'src/base/a.h' => "typedef struct A A;\nextern void a_one(A *a);\nextern void a_two(A *a);\n",
		'src/base/a.c' => qq(#include "base/a.h"\nstruct A\n{\n\tint\t\ta;\n};\nvoid\na_one(A *a)\n{\n}\n),
		'src/base/a_part.c' => qq(#include "base/a.h"\nvoid\na_two(A *a)\n{\n}\n)
	},
	'base/a.h declares a_two, which base/a_part.c defines; base/a_part.c includes base/a.h');
small('no circle: a header and its file', 'circles',
	{
		'src/base/a.h' => "typedef struct A A;\nextern void a_one(A *a);\n",
		'src/base/a.c' => qq(#include "base/a.h"\nstruct A\n{\n\tint\t\ta;\n};\nvoid\na_one(A *a)\n{\n}\n)
	});

###########################################################################
# Headers
###########################################################################

my %lender = (
	'src/base/a.h' => "typedef struct A A;\n#define A_MOST 7\nextern A *a_new(void);\nenum A_KIND\n{\n\tA_ONE = 1,\n\tA_TWO\n};\n",
	'src/base/b.h' => qq(#include "base/a.h"\nextern A *b_new(void);\n));
small('what comes through another header', 'borrowed',
	{ %lender, 'src/base/c.c' => qq(#include "base/b.h"\nstatic A *new = a_new(b_new(A_MOST, A_TWO));\n) },
	'base/c.c uses base/a.h without including it: A A_MOST A_TWO a_new');
small('... in a header', 'borrowed',
	{ %lender, 'src/base/c.h' => qq(#include "base/b.h"\nextern void c_take(const A *a);\n) },
	'base/c.h uses base/a.h without including it: A');
small('... of nothing at all', 'borrowed',
	{ %lender, 'src/base/c.c' => "int c = A_ONE;\n" },
	'base/c.c uses base/a.h without including it: A_ONE');
small('what the own header brings', 'borrowed',
	{
		%lender,
		'src/base/b.c' => qq(#include "base/b.h"\nA *\nb_new(void)\n{\n\treturn a_new();\n}\n),
		'src/base/b_part.c' => qq(#include "base/b.h"\nA *b_other;\n)
	},
	'base/b_part.c uses base/a.h without including it: A');
small('other things of the same name', 'borrowed',
	{ %lender, 'src/base/c.c' => qq(/* a_new */\nstruct A;\nstatic int\na_new(void)\n{\n\treturn x.A + y->A_ONE + "A_TWO";\n}\n) });

my %guarded = map {
	("src/base/$_.h" => "#ifndef GUARD_$_\n#define GUARD_$_\n#include \"utils/relcache.h\"\n"
		  . "extern void ${_}_take(Relation relation);\n#endif\n")
} qw(good fault);
small('headers that compile', 'dependent_headers', \%guarded);
small('a header that needs another one', 'dependent_headers',
	{ %guarded, 'src/base/b.h' => "extern void b_take(Relation relation);\n" },
	qr/^base.b\.h does not compile by itself: src.base.b\.h:1: unknown type name .Relation.$/);
small('a header that cannot come twice', 'dependent_headers',
	{ %guarded, 'src/base/b.h' => "typedef struct B\n{\n\tint\t\tb;\n} B;\n" },
	qr/^base.b\.h does not compile by itself: src.base.b\.h:1: redefinition of .*$/);
small('a header with a warning', 'dependent_headers',
	{ %guarded, 'src/base/b.h' => "#ifndef B\n#define B\nstatic const unsigned b = -1 < 1U;\n#endif\n" },
	qr/^base.b\.h does not compile by itself: src.base.b\.h:3: compari.*$/);

###########################################################################
# Length, and reasons
###########################################################################

small('files as long as they may be', 'too_long',
	{ 'src/base/a.c' => "\n" x 900, 'sql/parts/a.sql' => "\n" x 400 });
small('files that are longer', 'too_long',
	{ 'src/base/a.c' => "\n" x 901, 'src/base/b.h' => "\n" x 1000, 'sql/parts/a.sql' => "\n" x 401 },
	'src/base/a.c has 901 lines, more than 900',
	'src/base/b.h has 1000 lines, more than 900',
	'sql/parts/a.sql has 401 lines, more than 400');

my $names = qq(static const char *const names[] = {\n\t[REASON_ONE] = {"one", 1},\n\t[REASON_TWO] = {"two", 2}\n};\n);
small('reasons and their documentation', 'reasons',
	{
		'src/base/fault.c' => $names,
		'docs/damoov.md' => "| Reason | Means |\n|---|---|\n| `one` | 1 |\n| `two` | see `one` |\n\n| Other | |\n|---|---|\n| `three` | |\n"
	});
small('reasons that differ from it', 'reasons',
	{ 'src/base/fault.c' => $names, 'README.md' => "| Reason | Means |\n|---|---|\n| `one`, `other` | |\n" },
	'the reason two is not documented',
	'the documented reason other does not exist');
small('no reasons at all', 'reasons',
	{},
	'src/base/fault.c has no table of reasons: [REASON_NAME] = {"name", ...}',
	'the documentation has no table of reasons: | Reason | ... |');

done_testing();
