-- Which stores and buckets a dataset may come from.  Nothing is fetched here.

-- From SQL a bucket that is not allowed is refused at once; with its bucket it is not
BEGIN;
CREATE FUNCTION pg_temp.enriched(url text) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('Event', 'TrackEnrichmentFinished', 'UserId', '5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5', 'Timestamp', '2024-05-14T14:05:02Z',
        'Object', jsonb_build_object('Id', '6c1d8e2f-3a45-4b67-9c8a-d1e2f3a4b5c6', 'Type', 'RichTrack', 'Url', url))
$$;
CREATE FUNCTION pg_temp.attempt(url text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM damoov_ingest(pg_temp.enriched(url));
    RETURN 'allowed';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
CREATE SERVER api TYPE 'api' FOREIGN DATA WRAPPER damoov OPTIONS (s3_endpoint 'https://store.example:9000/', blob_endpoint 'https://blobs.example',
    allowed_hosts 'trips.s3.eu-west-1.amazonaws.com, s3.eu-west-1.amazonaws.com/exports, s3.eu-west-1.amazonaws.com, fleet.blob.core.windows.net/raw, store.example/trips, *.store.example/trips, blobs.example, *.telematicssdk.com, trips.s3.amazonaws.com');
SELECT u.url, pg_temp.attempt(u.url)
FROM (VALUES
    ('https://trips.s3.eu-west-1.amazonaws.com/a.json'), ('https://trips.s3.eu-west-1.amazonaws.com:444/a.json'), ('http://trips.s3.eu-west-1.amazonaws.com/a.json'),
    ('https://s3.eu-west-1.amazonaws.com/exports/a.json'), ('https://s3.eu-west-1.amazonaws.com/other/a.json'), ('https://s3.eu-west-1.amazonaws.com/exports2/a.json'),
    ('https://s3.eu-west-1.amazonaws.com/'), ('https://s3.eu-west-1.amazonaws.com/exports/../other/a.json'), ('https://s3.eu-west-1.amazonaws.com/exports/%2e%2E/other/a'),
    ('https://s3.eu-west-1.amazonaws.com/exports/.../..a/a..'), ('https://fleet.blob.core.windows.net/raw/a.json?sv=1&sig=x'), ('https://fleet.blob.core.windows.net/other/a.json?sig=x'),
    ('https://store.example:9000/trips/a.json'), ('https://store.example/trips/a.json'), ('https://trips.store.example/trips/a.json'), ('https://store.example:9000/other/a.json'), ('https://trips.store.example:9000/a.json'),
    ('https://blobs.example/any/a.json'), ('s3://trips/a.json'), ('s3://other/a.json'), ('s3://trips:90/a.json'), ('https://evil.example/a?sig=x'),
    ('https://x.telematicssdk.com/a.json')
) AS u (url);
-- a store that is the platform itself, or more than a place
ALTER SERVER api OPTIONS (SET s3_endpoint 'https://api.telematicssdk.com');
SELECT pg_temp.attempt('https://x.telematicssdk.com/b.json');
ALTER SERVER api OPTIONS (SET s3_endpoint 'https://store.example/bucket');
SELECT pg_temp.attempt('https://x.telematicssdk.com/b.json');
ALTER SERVER api OPTIONS (SET s3_endpoint 'http://store.example');
SELECT pg_temp.attempt('https://x.telematicssdk.com/b.json');
ROLLBACK;
