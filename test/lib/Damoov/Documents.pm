# What the documents show as SQL.

package Damoov::Documents;

use strict;
use warnings;

# The SQL blocks of a text, also those in lists.
sub sql_blocks
{
	my ($text) = @_;
	my @blocks;

	while ($text =~ /^( *)```sql\n(.*?)^\1```$/msg)
	{
		my ($indent, $block) = ($1, $2);

		$block =~ s/^$indent//mg;
		push @blocks, $block;
	}
	return @blocks;
}

1;
