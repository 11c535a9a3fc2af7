# What monitoring/ has for Prometheus and Grafana: both exporters run and are
# scraped while the stand-in feeds a source, the alert rules are valid, and every
# query of the board runs, all by a role that may read and nothing else.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Damoov::Node;
use Damoov::Stage;
use Damoov::Story;
use HTTP::Tiny;
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# test/run fetches them wherever there is apt, as in CI: then they have to be there
plan skip_all => 'without apt there are no exporters of Debian' if !$ENV{DAMOOV_EXPORTERS};
my $programs = "$ENV{DAMOOV_EXPORTERS}/usr/bin";
-x "$programs/$_" or die "there is no $programs/$_" for qw(prometheus-postgres-exporter prometheus-sql-exporter promtool);

my $monitoring = "$FindBin::RealBin/../../monitoring";
my ($cloud, $node) = stage('monitoring', databases => 'postgres');
my @exporters;

value("CREATE ROLE prometheus LOGIN; SELECT damoov_grant('prometheus', 'reader')");
create('damoov');
add_source();
$node->add_api($cloud);

# Starts one on a port of loopback; returns how to scrape it.
sub exporter
{
	my ($name, $environment, @arguments) = @_;
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $said = "$PostgreSQL::Test::Utils::log_path/$name.log";
	local %ENV = (%ENV, %$environment);

	push @exporters, IPC::Run::start([ "$programs/$name", map { s/PORT/$port/r } @arguments ], '<', \undef, '>', $said, '2>&1');
	return sub {
		my $answer = HTTP::Tiny->new(timeout => 30)->get("http://127.0.0.1:$port/metrics");
		return $answer->{success} ? $answer->{content} : '';
	};
}

# The value of a metric, a regular expression of its name and labels.
sub metric
{
	my ($scrape, $pattern) = @_;
	return $scrape->() =~ /^$pattern (\S+)$/m ? $1 : '';
}

# each version has others
my $help = join "\n", run_command([ "$programs/prometheus-postgres-exporter", '--help' ]);
my @collectors = $help =~ /--(?:\[no-\])?collector\.(\w+)/g;
my $socket = $node->host;
my $postgres_exporter = exporter('prometheus-postgres-exporter',
	{ DATA_SOURCE_NAME => "host=$socket port=@{[ $node->port ]} user=prometheus dbname=postgres sslmode=disable" },
	'--web.listen-address=127.0.0.1:PORT', '--disable-default-metrics', '--disable-settings-metrics',
	(map { "--no-collector.$_" } @collectors), "--extend.query-path=$monitoring/postgres_exporter.yaml");

# the connection and the interval are the user's
my $configuration = slurp_file("$monitoring/sql_exporter.yaml");
my $connection = "postgres://prometheus@/postgres?host=$socket&port=@{[ $node->port ]}&sslmode=disable";
ok($configuration =~ s{'postgres://[^']*'}{'$connection'}, 'the configuration names a connection');
ok($configuration =~ s/interval: 15s/interval: 1s/, '... and an interval');
my $file = PostgreSQL::Test::Utils::tempdir() . '/sql_exporter.yaml';
append_to_file($file, $configuration);
my $sql_exporter = exporter('prometheus-sql-exporter', {}, "-config.file=$file", '-web.listen-address=127.0.0.1:PORT');

###########################################################################
# Figures
###########################################################################

sub are_shown
{
	my ($what, %expected) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	for my $name (sort keys %expected)
	{
		my ($family, $column) = $name =~ /^(damoov_[a-z]+)_(\w+)/;
		my ($label) = $name =~ /\{(.*)\}/;
		my %scrapes = (
			postgres => [ $postgres_exporter, "${family}_$column\\{[^}]*$label\[^}]*\\}" ],
			sql => [ $sql_exporter, "sql_$family\\{(?=[^}]*col=\"$column\")[^}]*$label\[^}]*\\}" ]);
		for my $exporter (sort keys %scrapes)
		{
			eventually { $expected{$name}->(metric(@{ $scrapes{$exporter} })) } "$exporter: $what: $name";
		}
	}
	return;
}

sub is_number
{
	my ($expected) = @_;
	return sub { $_[0] ne '' && $_[0] == $expected };
}

sub is_above
{
	my ($least) = @_;
	return sub { $_[0] ne '' && $_[0] ne 'NaN' && $_[0] > $least };
}

publish(heartbeats(30));
eventually { events() == 30 } 'messages come';
are_shown('a source that is fed',
	'damoov_source_up{source="queue"}' => is_number(1),
	'damoov_source_received{source="queue"}' => is_number(30),
	'damoov_source_settled{source="queue"}' => is_number(30),
	'damoov_source_per_second{source="queue"}' => is_above(0),
	'damoov_source_oldest_age_seconds{source="queue"}' => is_above(1000),
	'damoov_source_lag_p95_seconds{source="queue"}' => is_above(1000),
	'damoov_worker_running{}' => is_number(1),
	'damoov_ledger_difference{}' => is_number(0));

# A queue that stays full: how many wait.
$cloud->fault('sqs', 'delay', target => 'ReceiveMessage', seconds => 0.5, times => undef);
publish(heartbeats(2000));
are_shown('a queue that is full', 'damoov_source_backlog{source="queue"}' => is_above(0));
$cloud->clear_faults;
eventually { in_queue() == 0 } 'it gets empty';

publish([ '{"Event": ' ], raw => JSON::PP::true);
$cloud->fault('api', 'status', status => 500, times => undef);
my $story = $cloud->fleet(queue => 'damoov', drivers => 2, trips => 3, points => 5);
are_shown('what does not work',
	'damoov_quarantine_count{kind="message"}' => is_number(1),
	'damoov_fetch_failures{kind="processed"}' => is_above(0),
	'damoov_downloads_count{kind="processed"[^}]*state="waiting"}' => is_above(0),
	# they are of a day more than 24 months ago
	'damoov_risk_entries{level="lost"[^}]*what="dataset"}' => is_above(0));
value("SELECT damoov_pause('queue')");
are_shown('a source that is paused', 'damoov_source_up{source="queue"}' => is_number(0));
value("SELECT damoov_resume('queue')");
$cloud->clear_faults;
value('SELECT damoov_retry_downloads()');
eventually { value('SELECT count(*) FROM damoov.trips') == @{ $story->{trips} } } 'all works again';
my $scraped = $postgres_exporter->() . $sql_exporter->();
unlike($scraped, qr/[0-9a-f]{8}-[0-9a-f]{4}/, 'no token is shown');
unlike(slurp_file("$PostgreSQL::Test::Utils::log_path/$_.log"), qr/permission denied|error running query|zero rows|level=err/i, "$_ has nothing to complain of")
  for qw(prometheus-postgres-exporter prometheus-sql-exporter);

###########################################################################
# The files
###########################################################################

# Both exporters ask the same.
sub queries
{
	my ($text) = @_;
	my @found = $text =~ /^( *)query: \|\n((?:\1 {2,}\S.*\n)+)/mg;
	my @queries;
	while (my ($indent, $query) = splice @found, 0, 2)
	{
		push @queries, join ' ', split ' ', $query;
	}
	return @queries;
}
my @queries = queries(slurp_file("$monitoring/postgres_exporter.yaml"));
is(scalar @queries, 7, 'there are queries');
is_deeply([ queries($configuration) ], \@queries, '... the same for both exporters');
command_ok([ "$programs/promtool", 'check', 'rules', "$monitoring/alerts.yaml" ], 'the alert rules are valid');
my @metrics = slurp_file("$monitoring/alerts.yaml") =~ /\b(damoov_[a-z_]+)\b/g;
my %known = map { $_ => 1 } grep { $_ ne 'damoov_retry_downloads' } @metrics;
like($postgres_exporter->(), qr/^$_\{/m, "... $_ is there") for sort keys %known;

my $board = decode_json(slurp_file("$monitoring/grafana.json"));
cmp_ok(scalar @{ $board->{panels} }, '>=', 10, 'the board has panels');
for my $panel (@{ $board->{panels} })
{
	for my $target (@{ $panel->{targets} })
	{
		# what Grafana puts in
		my $sql = $target->{rawSql} =~ s/\$__timeFilter\((\w+)\)/$1 BETWEEN '2000-01-01' AND '2100-01-01'/gr;
		my ($status, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-U', 'prometheus' ]);
		is($err, '', "$panel->{title}: its query runs");
		isnt($out, '', '... and shows something') if $panel->{title} ne 'Downloads that are not done';
		unlike($out, qr/[0-9a-f]{8}-[0-9a-f]{4}/, '... but no token');
	}
}

$node->stop;
done_testing();

# also when something died
END
{
	my $status = $?;
	$_->kill_kill for @exporters;
	$? = $status;
}
