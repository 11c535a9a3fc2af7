-- ---------------------------------------------------------------------
-- Subscriptions to SNS topics that ask to be confirmed
-- ---------------------------------------------------------------------

CREATE TABLE damoov.subscriptions (
    subscription_id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT subscriptions_pkey PRIMARY KEY,
    source text NOT NULL,
    topic_arn text NOT NULL,
    token text,
    token_digest bytea NOT NULL CONSTRAINT subscriptions_token_digest_key UNIQUE,
    state text NOT NULL DEFAULT 'waiting' CONSTRAINT subscriptions_state_check
        CHECK (state IN ('waiting', 'confirmed', 'failed')),
    requested_at timestamptz NOT NULL DEFAULT now(),
    due_at timestamptz NOT NULL DEFAULT now(),
    attempts integer NOT NULL DEFAULT 0,
    last_error text,
    confirmed_at timestamptz
);
COMMENT ON TABLE damoov.subscriptions IS 'subscriptions to SNS topics that asked to be confirmed, by messages whose signature was verified';
COMMENT ON COLUMN damoov.subscriptions.subscription_id IS 'surrogate key';
COMMENT ON COLUMN damoov.subscriptions.source IS 'foreign server of type webhook';
COMMENT ON COLUMN damoov.subscriptions.topic_arn IS 'the topic';
COMMENT ON COLUMN damoov.subscriptions.token IS 'the token that confirms the subscription; NULL once it is confirmed or has failed';
COMMENT ON COLUMN damoov.subscriptions.token_digest IS 'SHA-256 of the token: the same request is made once';
COMMENT ON COLUMN damoov.subscriptions.state IS 'waiting, confirmed or failed (after two days, when the token has expired)';
COMMENT ON COLUMN damoov.subscriptions.requested_at IS 'when the message came';
COMMENT ON COLUMN damoov.subscriptions.due_at IS 'time of the next attempt';
COMMENT ON COLUMN damoov.subscriptions.attempts IS 'how often SNS was asked to confirm';
COMMENT ON COLUMN damoov.subscriptions.last_error IS 'why the last attempt failed';
COMMENT ON COLUMN damoov.subscriptions.confirmed_at IS 'when it was confirmed';

-- Confirming twice is harmless, so that moving due_at ahead is enough of a
-- lease.
CREATE FUNCTION damoov.lease_subscription()
    RETURNS TABLE (subscription_id bigint, source text, topic_arn text, token text)
    LANGUAGE plpgsql VOLATILE ROWS 1
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
    UPDATE damoov.subscriptions AS s
    SET attempts = s.attempts + 1,
        due_at = now() + least(power(2, least(s.attempts, 7)) * interval '30 seconds', interval '1 hour')
    WHERE s.subscription_id = (
        SELECT d.subscription_id
        FROM damoov.subscriptions AS d
        WHERE d.state = 'waiting' AND d.due_at <= now()
        ORDER BY d.due_at
        LIMIT 1
        FOR UPDATE SKIP LOCKED)
    RETURNING s.subscription_id, s.source, s.topic_arn, s.token;
END
$$;
COMMENT ON FUNCTION damoov.lease_subscription() IS 'takes the next subscription that is due to be confirmed';

CREATE FUNCTION damoov.settle_subscription(subscription_id bigint, confirmed boolean, error text) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE damoov.subscriptions AS s
    SET state = n.state,
        token = CASE WHEN n.state = 'waiting' THEN s.token END,
        last_error = settle_subscription.error,
        confirmed_at = CASE WHEN n.state = 'confirmed' THEN now() END
    FROM (
        SELECT o.subscription_id, CASE
            WHEN confirmed THEN 'confirmed'
            -- a token is good for two days
            WHEN o.requested_at < now() - interval '2 days' THEN 'failed'
            ELSE 'waiting'
        END AS state
        FROM damoov.subscriptions AS o
    ) AS n
    WHERE s.subscription_id = settle_subscription.subscription_id AND n.subscription_id = s.subscription_id;
END
$$;
COMMENT ON FUNCTION damoov.settle_subscription(bigint, boolean, text) IS 'stores the answer of SNS to a confirmation; error says why it failed';
