-- What S3 tells of a bucket: records, the test message, and which events of a
-- key hold.  Nothing is fetched here.
\set VERBOSITY terse
BEGIN;
SET LOCAL TimeZone = 'UTC';
CREATE FUNCTION pg_temp.record(key text, sequencer text, name text DEFAULT 'ObjectCreated:Put', more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('eventVersion', '2.1', 'eventSource', 'aws:s3', 'awsRegion', 'eu-west-1',
        'eventTime', '2026-03-02T07:00:00.000Z', 'eventName', name,
        's3', jsonb_build_object('s3SchemaVersion', '1.0',
            'bucket', jsonb_build_object('name', 'trips', 'arn', 'arn:aws:s3:::trips'),
            'object', jsonb_build_object('key', key, 'size', 1024, 'sequencer', sequencer))) || more
$$;
CREATE FUNCTION pg_temp.told(VARIADIC records jsonb[]) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('Records', to_jsonb(records))
$$;
CREATE FUNCTION pg_temp.enveloped(message jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('Type', 'Notification', 'MessageId', gen_random_uuid(), 'TopicArn', 'arn:aws:sns:eu-west-1:123456789012:t',
        'Timestamp', '2026-03-02T07:00:01.000Z', 'Message', message::text)
$$;
CREATE FUNCTION pg_temp.outcomes(message jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT string_agg(i.event || ' ' || i.outcome, ', ' ORDER BY i.event, i.outcome) FROM damoov_ingest(message) AS i);
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
CREATE FUNCTION pg_temp.again() RETURNS void LANGUAGE sql AS $$
    DELETE FROM damoov.downloads;
    DELETE FROM damoov.events;
$$;

-- a record, two records, in an envelope, and again
SELECT pg_temp.outcomes(m.message)
FROM (VALUES
    (pg_temp.told(pg_temp.record('a.json', '01'))),
    (pg_temp.told(pg_temp.record('b.json', '01'), pg_temp.record('c.json', '01', 'ObjectCreated:CompleteMultipartUpload'))),
    (pg_temp.enveloped(pg_temp.told(pg_temp.record('d.json', '01')))),
    (pg_temp.told(pg_temp.record('a.json', '01')))
) AS m (message);
SELECT kind, user_id, source, url, priority, state, wanted_at FROM damoov.downloads ORDER BY url;
SELECT host FROM damoov.download_status GROUP BY host;
SELECT event, outcome, user_id IS NULL AS nobody, sent_at, sent_text, payload #>> '{s3,object,key}' AS key FROM damoov.events ORDER BY key;

-- the test message, by itself and in an envelope
SELECT pg_temp.outcomes(t.test), pg_temp.outcomes(pg_temp.enveloped(t.test || '{"RequestId": "B"}')), pg_temp.outcomes(t.test)
FROM (VALUES ('{"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2026-03-02T06:00:00.000Z", "Bucket": "trips", "RequestId": "A", "HostId": "h"}'::jsonb)) AS t (test);

-- keys are spelled as in forms; versions, regions, and what is nothing to fetch
SELECT k.key, k.more, o.*
FROM (VALUES
    ('trip+A%2BB.json', '{}'), ('a/b%2Fc/%C3%BC%25.json', '{}'), ('plain=key&?#.json', '{}'),
    ('v.json', '{"s3": {"bucket": {"name": "my.trips"}, "object": {"key": "v.json", "versionId": "x.Y_z/+", "sequencer": "0aB"}}}'),
    ('null version', '{"s3": {"bucket": {"name": "trips"}, "object": {"key": "n.json", "versionId": "null", "sequencer": "0a1f,", "size": 5}}}'),
    ('no region', '{"awsRegion": "eu-west-1/&x=", "eventTime": "yesterday"}'),
    ('folder/', '{}'),
    ('empty', '{"s3": {"bucket": {"name": "trips"}, "object": {"key": "empty", "size": 0}}}'),
    ('removed', '{"eventName": "ObjectRemoved:Delete"}')
) AS k (key, more)
CROSS JOIN damoov.read_object_event(pg_temp.record(k.key, '01', more => k.more::jsonb)) AS o;

-- what cannot be understood
SELECT r.more, pg_temp.outcomes(pg_temp.told(pg_temp.record('x.json', '01', more => r.more::jsonb)))
FROM (VALUES
    ('{"eventSource": "aws:dynamodb"}'), ('{"eventVersion": "3.0"}'), ('{"eventVersion": 2}'), ('{"eventName": ""}'),
    ('{"s3": {"object": {"key": "x"}}}'), ('{"s3": {"bucket": {"name": "trips/../other"}, "object": {"key": "x"}}}'),
    ('{"s3": {"bucket": {"name": "trips"}, "object": {"key": ""}}}'), ('{"s3": {"bucket": {"name": "trips"}, "object": {"key": "%00"}}}'), ('{"s3": {"bucket": {"name": "trips"}}}'), ('{"s3": 7}')
) AS r (more);
SELECT pg_temp.outcomes(m.message::jsonb)
FROM (VALUES ('{"Records": []}'), ('{"Records": [7]}'), ('{"Records": {}}'), ('{"Records": null}'), ('{"Service": "Amazon S3", "Event": "s3:Other"}'),
    ('{"Service": "Amazon", "Event": "s3:TestEvent"}')) AS m (message);
-- other kinds of events are kept
SELECT pg_temp.outcomes(pg_temp.told(pg_temp.record('x.json', '01', 'ObjectRemoved:Delete'), pg_temp.record('x.json', '02', 'ObjectTagging:Put')));

-- Others that tell of buckets: MinIO, Ceph, EventBridge, Event Grid; and buckets of old
SELECT pg_temp.again();
CREATE FUNCTION pg_temp.bridge(key text, more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('version', '0', 'id', gen_random_uuid(), 'detail-type', 'Object Created', 'source', 'aws.s3',
        'account', '123456789012', 'time', '2026-03-02T07:00:00Z', 'region', 'eu-west-1', 'resources', '["arn:aws:s3:::trips"]'::jsonb,
        'detail', jsonb_build_object('version', '0', 'bucket', '{"name": "trips"}'::jsonb,
            'object', jsonb_build_object('key', key, 'size', 5, 'etag', 'e', 'version-id', 'v/1', 'sequencer', '0A'),
            'request-id', 'R', 'requester', '123456789012', 'reason', 'PutObject')) || more
$$;
CREATE FUNCTION pg_temp.blob(path text, size integer DEFAULT 5, type text DEFAULT 'Microsoft.Storage.BlobCreated') RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('topic', '/subscriptions/s', 'subject', '/blobServices/default/containers/trips/blobs' || path, 'eventType', type,
        'id', '831e1650-001e-001b-66ab-eeb76e069631', 'eventTime', '2026-03-02T07:00:00.1234567Z', 'dataVersion', '', 'metadataVersion', '1',
        'data', jsonb_build_object('api', 'PutBlob', 'contentType', 'application/json', 'contentLength', size, 'blobType', 'BlockBlob',
            'url', 'https://fleet.blob.core.windows.net/trips' || path, 'sequencer', '00000000000004420000000000028963'))
$$;
SELECT m.what, pg_temp.outcomes(m.message)
FROM (VALUES
    (1, 'MinIO', '{"EventName": "s3:ObjectCreated:Put", "Key": "trips/minio.json"}' || pg_temp.told(pg_temp.record('minio.json', '16', 's3:ObjectCreated:Put', '{"eventSource": "minio:s3", "eventVersion": "2.0", "awsRegion": ""}'))),
    (2, 'Ceph', pg_temp.told(pg_temp.record('ceph.json', '16', 'ObjectCreated:Put', '{"eventSource": "ceph:s3", "eventVersion": "2.2", "awsRegion": "default", "opaqueData": ""}'))),
    (3, 'Ceph of old', pg_temp.told(pg_temp.record('ceph-old.json', '16', 's3:ObjectCreated:Put', '{"eventSource": "ceph:s3", "eventVersion": "2.1"}'))),
    (4, 'EventBridge', pg_temp.bridge('a b+c/100%25.json')),
    (5, 'EventBridge by SNS', pg_temp.enveloped(pg_temp.bridge('sns.json'))),
    (6, 'EventBridge, removed', pg_temp.bridge('a b+c/100%25.json', '{"detail-type": "Object Deleted"}')),
    (7, 'EventBridge, another event', pg_temp.bridge('x.json', '{"detail-type": "Object Tags Added"}')),
    (8, 'EventBridge, another source', pg_temp.bridge('x.json', '{"source": "aws.ec2"}')),
    (9, 'Event Grid', pg_temp.blob('/a%20b/c.json')),
    (10, 'Event Grid, a batch', jsonb_build_array(pg_temp.blob('/1.json'), pg_temp.blob('/2.json'))),
    (11, 'Event Grid, not written yet', pg_temp.blob('/empty.json', 0)),
    (12, 'Event Grid, removed', pg_temp.blob('/1.json', 5, 'Microsoft.Storage.BlobDeleted')),
    (13, 'Event Grid, another event', pg_temp.blob('/1', 0, 'Microsoft.Storage.DirectoryCreated')),
    (14, 'Event Grid, no URL', pg_temp.blob('/1.json') #- '{data,url}'),
    (15, 'CloudEvent', jsonb_build_object('specversion', '1.0', 'id', '1', 'type', 'Microsoft.Storage.BlobCreated', 'source', '/subscriptions/s', 'time', '2026-03-02T07:00:00Z', 'data', pg_temp.blob('/cloud.json') -> 'data')),
    (16, 'a bucket of old', pg_temp.told(pg_temp.record('old.json', '01', more => '{"s3": {"bucket": {"name": "Old_Trips"}, "object": {"key": "old.json", "size": 5}}}')))
) AS m (n, what, message) ORDER BY m.n;
SELECT url, wanted_at FROM damoov.downloads ORDER BY url COLLATE "C";

-- Of one key the greatest sequencer holds, in every order, alone or together
CREATE TEMP TABLE story (n integer, record jsonb);
INSERT INTO story VALUES
    (1, pg_temp.record('k.json', '0A', more => '{"awsRegion": "r-1"}')),
    (2, pg_temp.record('k.json', '0a01', more => '{"awsRegion": "r-2"}')),
    (3, pg_temp.record('k.json', '0B', 'ObjectCreated:Copy', '{"awsRegion": "r-3"}'));
CREATE FUNCTION pg_temp.tell(steps integer[], together boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    step integer;
BEGIN
    PERFORM pg_temp.again();
    IF together THEN
        PERFORM damoov_ingest((SELECT jsonb_build_object('Records', jsonb_agg(s.record ORDER BY array_position(steps, s.n))) FROM story AS s));
    ELSE
        FOREACH step IN ARRAY steps LOOP
            PERFORM damoov_ingest(pg_temp.told(s.record)) FROM story AS s WHERE s.n = step;
        END LOOP;
    END IF;
    RETURN (SELECT string_agg(d.url, ' ') FROM damoov.downloads AS d);
END
$$;
SELECT pg_temp.tell(ARRAY[a.n, b.n, c.n], t.together), count(*)
FROM story AS a, story AS b, story AS c, (VALUES (true), (false)) AS t (together)
WHERE a.n <> b.n AND b.n <> c.n AND a.n <> c.n
GROUP BY 1;
-- an older one does not bring back what has been fetched; a newer one does
SELECT pg_temp.again();
SELECT pg_temp.outcomes(pg_temp.told(pg_temp.record('k.json', '0B')));
DELETE FROM damoov.downloads;
SELECT pg_temp.outcomes(pg_temp.told(pg_temp.record('k.json', '0A')));
SELECT count(*) FROM damoov.downloads;
SELECT pg_temp.outcomes(pg_temp.told(pg_temp.record('k.json', '0C')));
UPDATE damoov.downloads SET state = 'failed', attempts = 5 RETURNING version \gset
SELECT pg_temp.outcomes(pg_temp.told(pg_temp.record('k.json', '0D')));
SELECT state, version > :version AS another_version, attempts FROM damoov.downloads;

-- A key may name a person: forgetting takes it along, and lets no other in
SELECT pg_temp.again();
INSERT INTO damoov.users (device_token) VALUES ('5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5');
SELECT pg_temp.outcomes(pg_temp.told(pg_temp.record('i/5b0c7d1e2f344a568b79c0d1e2f3a4b5/t.json', '01'), pg_temp.record('i/other/t.json', '01')));
SELECT * FROM damoov_forget('5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5');
SELECT url FROM damoov.downloads;
SELECT pg_temp.outcomes(pg_temp.told(pg_temp.record('i/5B0C7D1E-2f34-4a56-8b79-c0d1e2f3a4b5/u.json', '02'), pg_temp.record('i/other/u.json', '02')));
SELECT url FROM damoov.downloads ORDER BY url;
ROLLBACK;
