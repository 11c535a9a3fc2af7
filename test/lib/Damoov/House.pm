# Reads the sources of a tree and says where they break the rules of the house:
# which floor may know which, what a header must bring along, how long a file
# may be.  002_house.pl asks these questions of this tree, and of small ones
# that are wrong on purpose.
#
# A unit is a header with the file of the same name.  An arrow leads from a
# file to each unit that it cannot do without: by an include, by "struct Name"
# where the members of Name are listed elsewhere, and by a declaration of what
# is defined elsewhere.
#
# This is no compiler: it goes by words, and by how this tree is written.

package Damoov::House;

use strict;
use warnings;

use File::Basename qw(basename dirname);
use File::Spec;
use List::Util qw(first uniq);

# From the roof to the ground: folders of src/, and by their names the files
# that lie in src/ itself.  A file knows its own room and those below its
# floor, not the other rooms of its floor.
our @floors = (
	['damoov'],
	['process'],
	['door'],
	[ 'message', 'provider', 'dataset' ],
	['wire'],
	['base'],
	['guc'],
	['compat']);

# The most that there may be.
our %most = (c_lines => 900, part_lines => 400, loose_files => 4);

sub new
{
	my ($class, $root) = @_;
	my $self = bless { root => $root, file => {} }, $class;

	$self->_read($_) for _list("$root/src", "$root/src");
	$self->_make_units;
	$self->_make_arrows;
	return $self;
}

# Paths below src/, without what compilers leave there.
sub _list
{
	my ($directory, $src) = @_;
	my @paths;

	opendir my $handle, $directory or die "could not open $directory: $!\n";
	for my $name (sort grep { !/^\./ } readdir $handle)
	{
		my $path = "$directory/$name";
		if (-d $path)
		{
			push @paths, _list($path, $src);
		}
		elsif ($name !~ /\.(?:o|bc|so|dylib|gcno|gcda)$/)
		{
			push @paths, File::Spec->abs2rel($path, $src);
		}
	}
	return @paths;
}

sub _slurp
{
	my ($path) = @_;

	open my $handle, '<', $path or die "could not open $path: $!\n";
	local $/;
	return scalar <$handle> // '';
}

sub _room
{
	my ($path) = @_;
	return $path =~ m{^(.*?)/} ? $1 : $path =~ s/\..*//r;
}

sub _floor
{
	my ($path) = @_;
	my $room = _room($path);

	return first { grep { $_ eq $room } @{ $floors[$_] } } 0 .. $#floors;
}

sub _files
{
	my ($self, $pattern) = @_;
	return grep { /$pattern/ } sort keys %{ $self->{file} };
}

###########################################################################
# Reading C
###########################################################################

sub _read
{
	my ($self, $path) = @_;
	my $text = _slurp("$self->{root}/src/$path");
	my %file = (lines => scalar($text =~ tr/\n//));

	$self->{file}{$path} = \%file;
	return unless $path =~ /\.[ch]$/;

	$text =~ s{("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|/\*.*?\*/|//[^\n]*}
	  {defined $1 ? $1 : ' '}gse;
	$file{includes} = [ $text =~ /^[ \t]*#[ \t]*include[ \t]+"([^"]+)"/mg ];
	$text =~ s/^[ \t]*#[ \t]*include\b.*$//mg;
	$text =~ s/"(?:[^"\\\n]|\\.)*"/""/g;
	$text =~ s/'(?:[^'\\\n]|\\.)*'/0/g;
	$text =~ s/\\\n/ /g;
	$file{macros} = [ grep { !/_H$/ } $text =~ /^[ \t]*#[ \t]*define[ \t]+(\w+)/mg ];

	# what is said of other types by their tags, and what their names are used for
	my $words = $text;
	$file{mentions} = [ uniq $words =~ /\b(?:struct|union|enum)\s+(\w+)/g ];
	$words =~ s/\b(?:struct|union|enum)\s+\w+//g;
	$words =~ s/(?:->|\.)\s*\w+//g;
	$file{words} = { map { $_ => 1 } $words =~ /\b([A-Za-z_]\w*)/g };

	$text =~ s/^[ \t]*#.*$//mg;
	_declarations(\%file, $text);
	return;
}

# Sorts what stands outside of braces into what is declared, typed and defined.
sub _declarations
{
	my ($file, $text) = @_;
	my $inner = qr/(\{(?:[^{}]++|(?1))*\})/;

	$file->{bodies} =
	  [ $text =~ /\b(?:struct|union|enum)\s+(\w+)\s*\{/g ];
	$file->{types} = [ @{ $file->{bodies} } ];
	$file->{declared} = [];
	$file->{defined} = [];
	for my $members ($text =~ /\benum\b\s*\w*\s*\{([^{}]*)\}/g)
	{
		push @{ $file->{types} }, $members =~ /(?:^|,)\s*(\w+)/g;
	}
	$text =~ s/$inner/{}/g;

	my $start = '';
	while ($text =~ /\G([^;{]*)(;|\{\}|\z)/gc)
	{
		my $end = $2;
		$start .= $1;
		last if $end eq '';
		if ($end eq '{}' && $start !~ /\)\s*$/)
		{
			$start .= $end;
			next;
		}
		_declaration($file, $start, $end);
		$start = '';
	}
	return;
}

sub _declaration
{
	my ($file, $text, $end) = @_;

	$text =~ s/\bpg_attribute_\w+(?:\s*\((?:[^()]|\([^()]*\))*\))?//g;
	if ($text =~ /\btypedef\b/)
	{
		my ($name) = $text =~ /\(\s*\*\s*(\w+)\s*\)/;
		($name) = $text =~ /(\w+)\s*(?:\[[^\]]*\]\s*)*$/ unless defined $name;
		push @{ $file->{types} }, $name // ();
		return;
	}
	$text =~ s/=.*//s;
	my @names =
	  $text =~ /\(/
	  ? $text =~ /(\w+)\s*\(/
	  : map { /(\w+)\s*(?:\[[^\]]*\]\s*)*$/ } split /,/, $text;
	if ($text =~ /\bextern\b/)
	{
		push @{ $file->{declared} }, @names;
	}
	elsif ($text =~ /\bstatic\b/)
	{
		push @{ $file->{own} }, @names;
		push @{ $file->{types} }, @names if $text =~ /\binline\b/;
	}
	elsif ($end eq '{}' || $text !~ /\(/)
	{
		push @{ $file->{defined} }, @names;
	}
	return;
}

###########################################################################
# Units and arrows
###########################################################################

sub _make_units
{
	my ($self) = @_;

	$self->{file}{$_}{unit} = s/\.[ch]$//r for $self->_files(qr/\.[ch]$/);
	return;
}

# The file that has it, if there is only one.
sub _where
{
	my ($self, $kind, $pattern) = @_;
	my %where;

	for my $path ($self->_files($pattern))
	{
		push @{ $where{$_} }, $path for @{ $self->{file}{$path}{$kind} };
	}
	return { map { $_ => $where{$_}[0] } grep { @{ $where{$_} } == 1 } keys %where };
}

sub _make_arrows
{
	my ($self) = @_;
	my $bodies = $self->_where('bodies', qr/\.[ch]$/);
	my $defined = $self->_where('defined', qr/\.c$/);

	$self->{arrows} = [];
	for my $path ($self->_files(qr/\.[ch]$/))
	{
		my $file = $self->{file}{$path};
		my %own = map { $_ => 1 } @{ $file->{bodies} };
		my @to = (
			(map { [ $_, "includes $_" ] } grep { $self->{file}{$_} } @{ $file->{includes} }),
			(map { [ $bodies->{$_}, "names struct $_ of $bodies->{$_}" ] }
				grep { $bodies->{$_} && !$own{$_} } @{ $file->{mentions} }),
			(map { [ $defined->{$_}, "declares $_, which $defined->{$_} defines" ] }
				grep { $defined->{$_} } @{ $file->{declared} }));

		for my $arrow (@to)
		{
			my ($target, $how) = @$arrow;
			push @{ $self->{arrows} }, { from => $path, to => $target, how => "$path $how" }
			  if $file->{unit} ne $self->{file}{$target}{unit};
		}
	}
	return;
}

###########################################################################
# Questions: each answers with what is wrong, a line each
###########################################################################

# Arrows that lead up, or aside to another room.
sub against_the_floors
{
	my ($self) = @_;

	return map { $_->{how} }
	  grep {
		my ($from, $to) = map { _floor($_) // -1 } @$_{qw(from to)};
		$from >= 0 && $to >= 0 && $from >= $to && _room($_->{from}) ne _room($_->{to})
	  } @{ $self->{arrows} };
}

# Units that cannot do without each other: of each such group the shortest way
# around, and who else is in it.
sub circles
{
	my ($self) = @_;
	my (%next, %reaches, %told, @wrong);

	for (@{ $self->{arrows} })
	{
		my ($from, $to) = map { $self->{file}{$_}{unit} } @$_{qw(from to)};
		$next{$from}{$to} //= $_->{how};
	}
	$reaches{$_} = _reached(\%next, $_) for keys %next;
	for my $unit (sort keys %next)
	{
		next if $told{$unit} || !$reaches{$unit}{$unit};
		my @group = grep { $reaches{$unit}{$_} && $reaches{$_} && $reaches{$_}{$unit} } sort keys %next;
		my @way = (sort { @$a <=> @$b || "@$a" cmp "@$b" } map { $reaches{$_}{$_} } @group)[0]->@*;
		my %way = map { $_ => 1 } @way;
		my @others = grep { !$way{$_} } @group;

		$told{$_} = 1 for @group;
		push @wrong,
		  join '; ',
		  (map { $next{ $way[ $_ - 1 ] }{ $way[$_] } } 1 .. $#way),
		  @others ? 'in circles with them: ' . join(', ', @others) : ();
	}
	return @wrong;
}

# The shortest way to each unit that can be reached, itself among them if there
# is a way back.
sub _reached
{
	my ($next, $start) = @_;
	my @todo = ([$start]);
	my %way;

	while (my $way = shift @todo)
	{
		for my $to (sort keys %{ $next->{ $way->[-1] } // {} })
		{
			next if $way{$to};
			$way{$to} = [ @$way, $to ];
			push @todo, $way{$to};
		}
	}
	return \%way;
}

# What a file uses of headers that neither it nor its own header includes.
sub borrowed
{
	my ($self) = @_;
	my $file = $self->{file};
	my (%where, @wrong);

	for my $path ($self->_files(qr/\.h$/))
	{
		push @{ $where{$_} }, $path
		  for uniq map { @$_ } @{ $file->{$path} }{qw(types declared macros)};
	}
	for my $path ($self->_files(qr/\.[ch]$/))
	{
		my $own = "$file->{$path}{unit}.h";
		my %seen = map { $_ => 1 } $path, $own,
		  map { @{ $file->{$_}{includes} } } grep { $file->{$_} } $path, $own;
		my %here = map { $_ => 1 } map { @{ $_ // [] } }
		  @{ $file->{$path} }{qw(own types macros defined)};
		my %missing;

		for my $word (grep { $where{$_} && !$here{$_} } sort keys %{ $file->{$path}{words} })
		{
			push @{ $missing{ $where{$word}[0] } }, $word
			  unless grep { $seen{$_} } @{ $where{$word} };
		}
		push @wrong, map { "$path uses $_ without including it: @{ $missing{$_} }" } sort keys %missing;
	}
	return @wrong;
}

# Headers that do not compile behind postgres.h alone, or not twice; by the
# server's compiler, for its own headers are made for that.
sub dependent_headers
{
	my ($self) = @_;
	my $config = $ENV{PG_CONFIG} // 'pg_config';
	my ($compiler, $include, $flags) =
	  map { `'$config' --$_` =~ s/\n//r } qw(cc includedir-server cppflags);
	my @wrong;

	my $command =
		"$compiler -fsyntax-only -Wall -Wextra -Werror -Wno-unused-parameter"
	  . " -Wmissing-prototypes -Wpointer-arith -I'$self->{root}/src' -isystem '$include' $flags -include postgres.h"
	  . ' -x c -';
	for my $path ($self->_files(qr/\.h$/))
	{
		my $source = qq(printf '#include "%s"\\n' '$path' '$path');
		my $said = `$source | LC_ALL=C $command 2>&1`;
		$said =~ s/\Q$self->{root}\E\///g;
		my ($reason) = map { s/ \[-W\S*\]$//r } $said =~ /^(.*error: .*)/m;
		$reason =~ s/:\d+: (?:fatal )?error:/:/ if defined $reason;
		push @wrong, "$path does not compile by itself: " . ($reason // $said)
		  if $? != 0;
	}
	return @wrong;
}

sub out_of_place
{
	my ($self) = @_;
	my @loose = $self->_files(qr{^[^/]+$});

	return (
		(map { "$_ lies on no floor" } grep { !defined _floor($_) || m{/.*/} } $self->_files(qr/./)),
		@loose > $most{loose_files} ? "src/ holds more than $most{loose_files} files: @loose" : ());
}

sub too_long
{
	my ($self) = @_;
	my @lines = (
		(map { [ "src/$_", $self->{file}{$_}{lines}, $most{c_lines} ] } $self->_files(qr/\.[ch]$/)),
		(map { [ 'sql/parts/' . basename($_), _slurp($_) =~ tr/\n//, $most{part_lines} ] }
			sort glob "$self->{root}/sql/parts/*.sql"));

	return map { "$_->[0] has $_->[1] lines, more than $_->[2]" } grep { $_->[1] > $_->[2] } @lines;
}

# The names of reasons in base/fault.c against the tables of the documentation
# whose first column is headed "Reason".
sub reasons
{
	my ($self) = @_;
	my $source = _slurp("$self->{root}/src/base/fault.c");
	my @names = $source =~ /\[\s*REASON_\w+\s*\]\s*=\s*\{"(\w+)"/g;
	my @documented =
	  map { _first_column(_slurp($_), 'Reason') } grep { -f } map { glob "$self->{root}/$_" } '*.md', 'docs/*.md';
	my %name = map { $_ => 1 } @names;
	my %documented = map { $_ => 1 } @documented;

	return (
		@names ? () : 'src/base/fault.c has no table of reasons: [REASON_NAME] = {"name", ...}',
		@documented ? () : 'the documentation has no table of reasons: | Reason | ... |',
		(map { "the reason $_ is not documented" } grep { !$documented{$_} } @names),
		(map { "the documented reason $_ does not exist" } grep { !$name{$_} } uniq @documented));
}

# The `names` in the first column of a Markdown table with that heading.
sub _first_column
{
	my ($text, $heading) = @_;
	my ($inside, @names) = 0;

	for my $line (split /\n/, $text)
	{
		my ($cell) = $line =~ /^\s*\|\s*(.*?)\s*\|/;
		if (!defined $cell)
		{
			$inside = 0;
		}
		elsif (lc $cell eq lc $heading)
		{
			$inside = 1;
		}
		elsif ($inside)
		{
			push @names, $cell =~ /`(\w+)`/g;
		}
	}
	return @names;
}

1;
