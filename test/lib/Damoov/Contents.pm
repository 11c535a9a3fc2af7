# What is in the tables of a database, so that it can be compared with another.

package Damoov::Contents;

use strict;
use warnings;

use Exporter 'import';

our @EXPORT = qw(contents);

# Without surrogate keys, the source's name and the database's clock; each row
# with the person, trip or crash it belongs to.
my @rows = (
	"'users', to_jsonb(u) - '{user_id,first_seen_at}'::text[] FROM damoov.users AS u",
	"'events ' || u.device_token, to_jsonb(e) - '{event_id,user_id,source,received_at}'::text[]
		FROM damoov.events AS e JOIN damoov.users AS u USING (user_id)",
	"'heartbeats ' || u.device_token, to_jsonb(h) - '{user_id}'::text[]
		FROM damoov.heartbeats AS h JOIN damoov.users AS u USING (user_id)",
	"'trips ' || u.device_token, to_jsonb(t) - '{trip_id,user_id,stored_at}'::text[]
		FROM damoov.trips AS t JOIN damoov.users AS u USING (user_id)",
	"'trip_points ' || t.track_token, to_jsonb(p) - '{trip_id}'::text[]
		FROM damoov.trip_points AS p JOIN damoov.trips AS t USING (trip_id)",
	"'trip_events ' || t.track_token, to_jsonb(e) - '{trip_id}'::text[]
		FROM damoov.trip_events AS e JOIN damoov.trips AS t USING (trip_id)",
	"'removed_tracks ' || u.device_token, to_jsonb(r) - '{event_id,user_id}'::text[]
		FROM damoov.removed_tracks AS r JOIN damoov.users AS u USING (user_id)",
	"'raw_tracks ' || u.device_token, to_jsonb(t) - '{raw_track_id,user_id,stored_at}'::text[]
		FROM damoov.raw_tracks AS t JOIN damoov.users AS u USING (user_id)",
	"'raw_points ' || t.track_token, to_jsonb(p) - '{raw_track_id}'::text[]
		FROM damoov.raw_points AS p JOIN damoov.raw_tracks AS t USING (raw_track_id)",
	"'raw_events ' || t.track_token, to_jsonb(e) - '{raw_track_id}'::text[]
		FROM damoov.raw_events AS e JOIN damoov.raw_tracks AS t USING (raw_track_id)",
	"'crashes ' || u.device_token, to_jsonb(c) - '{crash_id,user_id,header_stored_at,buffer_stored_at}'::text[]
		FROM damoov.crashes AS c JOIN damoov.users AS u USING (user_id)",
	"'crash_buffers ' || c.crash_token, to_jsonb(b) - '{crash_id,user_id,stored_at}'::text[]
		FROM damoov.crash_buffers AS b JOIN damoov.crashes AS c USING (crash_id)",
	"'documents ' || u.device_token, to_jsonb(d) - '{user_id,fetched_at}'::text[]
		FROM damoov.documents AS d JOIN damoov.users AS u USING (user_id)",
	"'downloads', to_jsonb(d) - '{user_id}'::text[] FROM damoov.downloads AS d",
	"'quarantine', to_jsonb(q) - '{quarantine_id}'::text[] FROM damoov.quarantine AS q");

# A line for each table that is not empty: name, rows, a digest of them all.  If
# the points are wanted whichever way they are stored, originals are left out.
sub contents
{
	my ($node, $database, $whichever) = @_;
	my $union = join ' UNION ALL ', map { "SELECT $_" } grep { !($whichever && /^'documents/) } @rows;

	$union =~ s/damoov\.trip_points/damoov.all_points/ if $whichever;

	return $node->sql(
		"SELECT split_part(r.kind, ' ', 1) AS name, count(*), md5(string_agg(r.kind || r.content, E'\\n' ORDER BY r.kind, r.content::text COLLATE \"C\"))
		FROM ($union) AS r (kind, content) GROUP BY 1 ORDER BY 1", $database);
}

1;
