-- The push door where no wire is needed: shared secrets, the handshakes of
-- Event Grid and CloudEvents, PostgREST; and that nothing changes without a
-- secret or a signature.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/prelude.psql

CREATE FUNCTION pg_temp.sns(changes jsonb DEFAULT '{}') RETURNS jsonb IMMUTABLE LANGUAGE sql AS $$
    SELECT jsonb_build_object('Type', 'Notification', 'MessageId', '9b1e2f30-4a5b-5c6d-8e7f-001122334455',
        'TopicArn', 'arn:aws:sns:eu-central-1:000000000000:damoov', 'Message', pg_temp.note()::text, 'Timestamp', '2024-05-14T16:01:19.120Z',
        'SignatureVersion', '2', 'Signature', 'RXhhbXBsZQ==',
        'SigningCertURL', 'https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-example.pem') || changes
$$;
CREATE FUNCTION pg_temp.validation(code text) RETURNS jsonb IMMUTABLE LANGUAGE sql AS $$
    SELECT jsonb_build_array(pg_temp.grid(jsonb_build_object('validationCode', code, 'validationUrl', 'https://evil.example/'),
        '{"eventType": "Microsoft.EventGrid.SubscriptionValidationEvent"}'))
$$;
CREATE FUNCTION pg_temp.push(body text, headers jsonb) RETURNS text LANGUAGE sql AS $$
    SELECT format('%s %s %s', a ->> 'status', a ->> 'body', nullif(a -> 'headers', '{"Content-Type": "application/json"}'))
    FROM damoov_webhook(convert_to(body, 'UTF8'), headers) AS a
$$;
-- every table of damoov and every sequence
CREATE FUNCTION pg_temp.snapshot() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    relation record;
    part text;
    result text := '';
BEGIN
    FOR relation IN
        SELECT c.oid::regclass AS name, c.relkind FROM pg_class AS c
        WHERE c.relnamespace = 'damoov'::regnamespace AND c.relkind IN ('r', 'S') ORDER BY c.relname
    LOOP
        EXECUTE format('SELECT string_agg(t.t::text, E''\n'' ORDER BY t.t::text) FROM (SELECT %s FROM %s AS t) AS t (t)',
            CASE relation.relkind WHEN 'r' THEN 't' ELSE 'last_value' END, relation.name) INTO part;
        result := concat(result, relation.name, ': ', part, E'\n');
    END LOOP;
    RETURN result;
END
$$;

-- Off until there is a server of this type
CREATE SERVER regress_damoov_queue TYPE 'sqs' FOREIGN DATA WRAPPER damoov OPTIONS (queue_url 'https://sqs.eu-central-1.amazonaws.com/000000000000/damoov');
SELECT pg_temp.push(pg_temp.note()::text, '{"Authorization": "Bearer correct horse battery staple"}');
DROP SERVER regress_damoov_queue;

CREATE SERVER regress_damoov_push TYPE 'webhook' FOREIGN DATA WRAPPER damoov;
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_damoov_push OPTIONS (webhook_secret 'correct horse battery staple');
SELECT source, type, state, last_error FROM damoov.status;

-- What has the secret is taken, in any envelope
SELECT v.what, pg_temp.push(v.body, '{"Authorization": "Bearer correct horse battery staple", "Content-Type": "x/y"}') AS answer
FROM (VALUES
    (1, 'bare', pg_temp.note(1)::text),
    (2, 'Event Grid', jsonb_build_array(pg_temp.grid(pg_temp.note(2)), pg_temp.grid(pg_temp.note(3)))::text),
    (3, 'CloudEvents', jsonb_build_object('specversion', '1.0', 'id', '1', 'source', '/x', 'type', 't', 'data', pg_temp.note(4))::text),
    (4, 'again', pg_temp.note(1)::text),
    (5, 'unknown', (pg_temp.note(5) || '{"Event": "New"}')::text),
    (6, 'raw delivery of an SNS message', pg_temp.note(6)::text),
    (7, 'no JSON', 'hello'),
    (8, 'one bad in a batch', jsonb_build_array(pg_temp.grid(pg_temp.note(7)), pg_temp.grid('{}'))::text),
    (9, 'an empty batch', '[]'),
    (10, 'deleted', pg_temp.grid('{}', '{"eventType": "Microsoft.EventGrid.SubscriptionDeletedEvent"}')::text),
    (11, 'empty', '')
) AS v (n, what, body) ORDER BY v.n;
-- Some gateways write each header as an array of the values that came
SELECT v.headers, pg_temp.push('[]', v.headers) AS answer
FROM (VALUES
    (1, '{"Authorization": ["Bearer correct horse battery staple"], "Accept": ["x", "y"]}'::jsonb),
    (2, '{"authorization": ["correct horse battery staple", "correct horse battery staple"]}'),
    (3, '{"authorization": ["correct horse battery staple"], "Authorization": "correct horse battery staple"}')) AS v (n, headers) ORDER BY v.n;
SELECT pg_temp.push('', '{"WebHook-Request-Origin": ["eventgrid.azure.net"]}');
SELECT source, count(*) FILTER (WHERE outcome = 'stored') AS stored, count(*) FILTER (WHERE outcome = 'control') AS control FROM damoov.events GROUP BY source;
SELECT source, reason, sqlstate FROM damoov.quarantine ORDER BY quarantine_id;
SELECT source, received, stored, duplicate, unknown, control, quarantined, balanced FROM damoov.ledger;
SELECT source, state, last_message_at IS NOT NULL AS lives FROM damoov.status;

-- Event Grid asks whether it may push
SELECT v.code, pg_temp.push(pg_temp.validation(v.code)::text, '{"authorization": "bearer correct horse battery staple", "aeg-event-type": "SubscriptionValidation"}') AS answer
FROM (VALUES ('8c1d2e3f-4a5b-4c6d-9e7f-0a1b2c3d4e5f'), ('"}, {"a": "\'), (E'\r\nX: y')) AS v (code);
-- without a code there is nothing to answer
SELECT pg_temp.push(v.body, '{"authorization": "Bearer correct horse battery staple"}') AS answer
FROM (VALUES
    (1, (pg_temp.validation('x') #- '{0,data,validationCode}')::text), (2, (pg_temp.validation('x') #- '{0,data}')::text),
    (3, jsonb_set(pg_temp.validation('x'), '{0,data,validationCode}', '5')::text)) AS v (n, body) ORDER BY v.n;
-- CloudEvents asks with OPTIONS, for which there is no body; each delivery still needs the secret
SELECT v.headers, pg_temp.push('', v.headers) AS answer
FROM (VALUES
    (1, '{"WebHook-Request-Origin": "eventgrid.azure.net"}'::jsonb), (2, '{"webhook-request-origin": "EventGrid.Azure.Net", "webhook-request-rate": "120"}'),
    (3, '{"WebHook-Request-Origin": "evil.example"}'), (4, '{"WebHook-Request-Origin": "eventgrid.azure.net\r\nX: y"}'),
    (5, '{"WebHook-Request-Origin": ""}'), (6, '{"WebHook-Request-Origin": "eventgrid.azure.us"}'),
    (7, '{"WebHook-Request-Origin": "eventgrid.azure.de"}')) AS v (n, headers) ORDER BY v.n;
SELECT pg_temp.push(pg_temp.note(8)::text, '{"WebHook-Request-Origin": "eventgrid.azure.net"}');

-- Without it, or with a wrong one, nothing changes
CREATE TEMP TABLE before AS SELECT pg_temp.snapshot() AS taken;
SELECT v.what, pg_temp.push(v.body, v.headers) AS answer
FROM pg_temp.note(9) AS note,
    LATERAL (VALUES
    (1, 'no headers', note::text, '{}'::jsonb),
    (2, 'another secret', note::text, '{"Authorization": "Bearer correct horse battery stable"}'),
    (3, 'a part of it', note::text, '{"Authorization": "Bearer correct horse battery"}'),
    (4, 'more than it', note::text, '{"Authorization": "Bearer correct horse battery staple2"}'),
    (5, 'other case', note::text, '{"Authorization": "Bearer CORRECT HORSE BATTERY STAPLE"}'),
    (6, 'nothing', note::text, '{"Authorization": ""}'),
    (7, 'nothing behind Bearer', note::text, '{"Authorization": "Bearer "}'),
    (8, 'another scheme', note::text, '{"Authorization": "Basic correct horse battery staple"}'),
    (9, 'no string', note::text, '{"Authorization": {"Authorization": "Bearer correct horse battery staple"}}'),
    (9, 'arrays that differ', note::text, '{"Authorization": ["Bearer correct horse battery staple", "x"]}'),
    (9, 'an array and another value', note::text, '{"Authorization": ["Bearer correct horse battery staple"], "authorization": "x"}'),
    (9, 'an array in an array', note::text, '{"Authorization": [["Bearer correct horse battery staple"]]}'),
    (9, 'an object in an array', note::text, '{"Authorization": [{"Authorization": "Bearer correct horse battery staple"}]}'),
    (9, 'an empty array', note::text, '{"Authorization": [], "x": ["Bearer correct horse battery staple"]}'),
    (10, 'deeper', note::text, '{"x": {"Authorization": "Bearer correct horse battery staple"}}'),
    (11, 'another header', note::text, '{"X-Secret": "correct horse battery staple"}'),
    (12, 'a header whose name begins so', note::text, '{"Authorization2": "correct horse battery staple", "Auth": "correct horse battery staple"}'),
    (13, 'two that differ', note::text, '{"Authorization": "Bearer correct horse battery staple", "authorization": "Bearer x"}'),
    (14, 'validation', pg_temp.validation('x')::text, '{"Authorization": "Bearer x", "aeg-event-type": "SubscriptionValidation"}'),
    (15, 'SNS with the secret, of no listed topic', pg_temp.sns()::text, '{"Authorization": "Bearer correct horse battery staple"}'),
    (16, 'SNS, confirmation', pg_temp.sns('{"Type": "SubscriptionConfirmation", "Token": "x", "SubscribeURL": "https://evil.example/"}')::text, '{}'),
    (17, 'SNS, without what is signed', (pg_temp.sns() - 'Timestamp')::text, '{}'),
    (18, 'SNS, Message an object', pg_temp.sns('{"Message": {}}')::text, '{}'),
    (19, 'no JSON', 'hello', '{}'),
    (20, 'deep', repeat('[', 100000), '{}')
) AS v (n, what, body, headers) ORDER BY v.n, v.what COLLATE "C";
SELECT pg_temp.snapshot() = taken AS nothing_changed FROM before;
-- SNS for a listed topic, refused before anything is asked: an old message, another place of the certificate
ALTER SERVER regress_damoov_push OPTIONS (ADD topic_arns 'arn:aws:sns:eu-central-1:000000000000:damoov,arn:aws:sns:eu-central-1:000000000000');
SELECT v.what, pg_temp.push(v.body, '{"Authorization": "Bearer correct horse battery staple"}') AS answer
FROM (VALUES
    (1, 'old', pg_temp.sns()::text),
    (2, 'the certificate elsewhere', pg_temp.sns('{"SigningCertURL": "https://sns.eu-central-1.amazonaws.com.evil.example/SimpleNotificationService-example.pem"}')::text),
    (3, 'listed, but no topic', pg_temp.sns('{"TopicArn": "arn:aws:sns:eu-central-1:000000000000"}')::text)
) AS v (n, what, body) ORDER BY v.n;
-- the stand-in of tests is one only while loopback is allowed, which it is not here
ALTER SERVER regress_damoov_push OPTIONS (ADD endpoint 'http://127.0.0.1:1');
SELECT pg_temp.push(pg_temp.sns()::text, '{}');
ALTER SERVER regress_damoov_push OPTIONS (SET endpoint 'https://127.0.0.1:1');
SELECT pg_temp.push(pg_temp.sns()::text, '{}');
ALTER SERVER regress_damoov_push OPTIONS (DROP endpoint, DROP topic_arns);
SELECT pg_temp.snapshot() = taken AS nothing_changed FROM before;

-- The header can be another, such as one that a proxy makes of the query
ALTER SERVER regress_damoov_push OPTIONS (ADD secret_header 'X-Webhook-Key');
SELECT v.headers, pg_temp.push(pg_temp.note(10)::text, v.headers) AS answer
FROM (VALUES
    (1, '{"Authorization": "Bearer correct horse battery staple"}'::jsonb),
    (2, '{"x-webhook-key": "correct horse battery staple"}'),
    (3, '{"X-WEBHOOK-KEY": "Bearer correct horse battery staple"}')) AS v (n, headers) ORDER BY v.n;
-- A second server with the next secret: the old one can go later
CREATE SERVER regress_damoov_next TYPE 'webhook' FOREIGN DATA WRAPPER damoov;
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_damoov_next OPTIONS (webhook_secret 'another');
SELECT pg_temp.push(pg_temp.note(11)::text, '{"Authorization": "another"}');
SELECT pg_temp.push(pg_temp.note(12)::text, '{"X-Webhook-Key": "correct horse battery staple"}');
SELECT source, sum(stored) AS stored FROM damoov.ledger GROUP BY source ORDER BY source COLLATE "C";
-- A paused one asks to try again
SELECT damoov_pause('regress_damoov_next');
SELECT pg_temp.push(pg_temp.note(13)::text, '{"Authorization": "another"}');
SELECT source, state, pause_reason FROM damoov.status ORDER BY source COLLATE "C";
SELECT damoov_resume('regress_damoov_next');
ALTER SERVER regress_damoov_next OPTIONS (ADD paused 'on');
SELECT pg_temp.push(pg_temp.note(13)::text, '{"Authorization": "another"}');
-- So does one whose secret cannot be read: it may be the right one
ALTER USER MAPPING FOR CURRENT_USER SERVER regress_damoov_next OPTIONS (DROP webhook_secret, ADD secret_file 'nothing');
SELECT pg_temp.push(pg_temp.note(13)::text, '{"Authorization": "another"}');
DROP SERVER regress_damoov_next CASCADE;
SELECT pg_temp.push(pg_temp.note(13)::text, '{"Authorization": "another"}');
-- No secret is no secret, not an empty one
DROP USER MAPPING FOR CURRENT_USER SERVER regress_damoov_push;
SELECT pg_temp.push(pg_temp.note(13)::text, '{"X-Webhook-Key": ""}');
SELECT pg_temp.push('', '{"WebHook-Request-Origin": "eventgrid.azure.net"}');
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_damoov_push OPTIONS (webhook_secret 'correct horse battery staple');
ALTER SERVER regress_damoov_push OPTIONS (DROP secret_header);

-- Errors: of the caller, and of a server that cannot write
SELECT damoov_webhook('', '[]');
SELECT damoov_webhook('', '"x"');
SELECT damoov_webhook(NULL, '{}') IS NULL AS nothing;
BEGIN READ ONLY;
SELECT damoov_webhook('', '{}');
ROLLBACK;

-- PostgREST: one unnamed bytea; the answer's status and headers stand in settings
CREATE FUNCTION pg_temp.postgrest(body text, headers text, OUT answer jsonb, OUT status text, OUT response_headers jsonb) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('request.headers', headers, true);
    answer := damoov_webhook_postgrest(convert_to(body, 'UTF8'));
    status := current_setting('response.status');
    response_headers := current_setting('response.headers');
END
$$;
SELECT v.what, p.*
FROM (VALUES
    (1, 'a push', pg_temp.note(14)::text, '{"authorization": "Bearer correct horse battery staple", "content-type": "application/octet-stream"}'),
    (2, 'validation', pg_temp.validation('8c1d')::text, '{"authorization": "Bearer correct horse battery staple"}'),
    (3, 'a wrong secret', pg_temp.note(15)::text, '{"authorization": "Bearer x"}'),
    (4, 'no headers', pg_temp.note(15)::text, ''),
    (5, 'handshake', NULL, '{"webhook-request-origin": "eventgrid.azure.net"}')
) AS v (n, what, body, headers), pg_temp.postgrest(v.body, v.headers) AS p ORDER BY v.n;
SELECT count(*) AS found FROM damoov.events WHERE sent_text IN ('2024-05-14T14:05:14.1180557Z', '2024-05-14T14:05:15.1180557Z');
SELECT pg_get_function_arguments('damoov_webhook_postgrest'::regproc) AS arguments;

-- A role of a gateway may call it and nothing else, through a function that has its owner's rights
CREATE ROLE regress_damoov_gateway;
SET ROLE regress_damoov_gateway;
SELECT damoov_webhook('', '{}');
SELECT damoov_webhook_postgrest('');
RESET ROLE;
CREATE SCHEMA regress_damoov_api;
GRANT USAGE ON SCHEMA regress_damoov_api TO regress_damoov_gateway;
CREATE FUNCTION regress_damoov_api.push(bytea) RETURNS jsonb LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'SELECT public.damoov_webhook_postgrest($1)';
SET ROLE regress_damoov_gateway;
BEGIN;
SET LOCAL "request.headers" = '{"authorization": "Bearer correct horse battery staple"}';
SELECT regress_damoov_api.push(convert_to(pg_temp.note(16)::text, 'UTF8')) ->> 'stored' AS stored;
SELECT current_setting('response.status') AS status;
COMMIT;
SELECT count(*) FROM damoov.events;
RESET ROLE;
DROP SCHEMA regress_damoov_api CASCADE;
DROP ROLE regress_damoov_gateway;

-- The validator
CREATE SERVER regress_damoov_x TYPE 'webhook' FOREIGN DATA WRAPPER damoov OPTIONS (webhook_secret 'hunter2');
CREATE SERVER regress_damoov_x TYPE 'webhook' FOREIGN DATA WRAPPER damoov OPTIONS (topic_arn 'x');
ALTER USER MAPPING FOR CURRENT_USER SERVER regress_damoov_push OPTIONS (SET webhook_secret '');

DROP SERVER regress_damoov_push CASCADE;
DO $$
BEGIN
    EXECUTE (SELECT 'TRUNCATE ' || string_agg(c.oid::regclass::text, ', ')
        FROM pg_class AS c WHERE c.relnamespace = 'damoov'::regnamespace AND c.relkind IN ('r', 'p'));
END
$$;
