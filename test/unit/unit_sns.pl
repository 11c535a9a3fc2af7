# Topics of SNS: which host speaks for them.

package Unit::Sns;

use strict;
use warnings;

use Damoov::Unit;
use Test::More;

functions(q{
CREATE FUNCTION unit_sns_host(topic text) RETURNS text
AS 'damoov_unit' LANGUAGE C STRICT;
});

for my $case (
	[ 'aws:sns:eu-west-1', 'eu-west-1.amazonaws.com' ],
	[ 'aws-us-gov:sns:us-gov-west-1', 'us-gov-west-1.amazonaws.com' ],
	[ 'aws-cn:sns:cn-north-1', 'cn-north-1.amazonaws.com.cn' ],
	[ 'aws-eusc:sns:eusc-de-east-1', 'eusc-de-east-1.amazonaws.eu' ],
	[ 'aws-iso:sns:us-iso-east-1', 'us-iso-east-1.c2s.ic.gov' ],
	[ 'aws-iso-b:sns:us-isob-east-1', 'us-isob-east-1.sc2s.sgov.gov' ],
	# a region of another part, and parts that do not exist
	[ 'aws:sns:cn-north-1' ], [ 'aws-cn:sns:eu-west-1' ], [ 'aws:sns:eusc-de-east-1' ],
	[ 'aws-eusc:sns:eu-west-1' ], [ 'aws-x:sns:eu-west-1' ], [ ':sns:eu-west-1' ],
	[ 'aws:sqs:eu-west-1' ], [ 'aws:sns:' ], [ 'aws:sns:eu_west' ], [ 'aws:sns:eu-west-1.evil' ])
{
	my ($place, $host) = @$case;
	my $topic = "arn:$place:123456789012:damoov";
	is(query('SELECT unit_sns_host(' . lit($topic) . ')'), $host ? "https://sns.$host" : '', "host of $topic");
}

1;
