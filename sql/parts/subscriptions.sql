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
COMMENT ON COLUMN damoov.subscriptions.token IS 'what SNS wants to see again; NULL when that is settled';
COMMENT ON COLUMN damoov.subscriptions.token_digest IS 'SHA-256 of the token: the same request is made once';
COMMENT ON COLUMN damoov.subscriptions.state IS 'waiting, confirmed or failed (two days long, as a token is good)';
COMMENT ON COLUMN damoov.subscriptions.requested_at IS 'when the message came';
COMMENT ON COLUMN damoov.subscriptions.due_at IS 'not asked before; moves ahead with each attempt';
COMMENT ON COLUMN damoov.subscriptions.attempts IS 'how often SNS was asked to confirm';
COMMENT ON COLUMN damoov.subscriptions.last_error IS 'why it did not';
COMMENT ON COLUMN damoov.subscriptions.confirmed_at IS 'when it did';
