# What the documents show as SQL, and the steps that they list.

package Damoov::Documents;

use strict;
use warnings;

# The blocks of a text, also those in lists: the language and the content of each.
sub blocks
{
	my ($text) = @_;
	my @blocks;

	while ($text =~ /^( *)```(\w+)\n(.*?)^\1```$/msg)
	{
		my ($indent, $language, $block) = ($1, $2, $3);

		$block =~ s/^$indent//mg;
		push @blocks, [ $language, $block ];
	}
	return @blocks;
}

sub sql_blocks
{
	my ($text) = @_;

	return map { $_->[1] } grep { $_->[0] eq 'sql' } blocks($text);
}

# The sections of a document, by their headings.
sub sections
{
	my ($text) = @_;

	return $text =~ /^## ([^\n]*)\n(.*?)(?=^## |\z)/msg;
}

# The steps of a section: the machine that each names first, and its blocks, by
# number.  What stands before the first one is number 0.
sub steps
{
	my ($text) = @_;
	my ($before) = split /^(?=\d+\. )/m, $text, 2;
	my %step;

	for my $part ($before // '', $text =~ /^(\d+\. .*?)(?=^\S|\z)/msg)
	{
		my ($number, $machine) = $part =~ /^(\d+)\. (?:On `([\w-]+)`)?/;

		$step{ $number // 0 } = {
			machine => $machine,
			blocks => [ blocks($part) ]
		};
	}
	return %step;
}

1;
