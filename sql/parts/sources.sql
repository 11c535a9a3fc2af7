CREATE TABLE damoov.sources (
    source text CONSTRAINT sources_pkey PRIMARY KEY,
    home text NOT NULL,
    paused boolean NOT NULL DEFAULT false,
    pause_reason text,
    state text NOT NULL DEFAULT 'new' CONSTRAINT sources_state_check
        CHECK (state IN ('new', 'polling', 'retrying', 'auth_failed', 'misconfigured', 'paused')),
    last_poll_at timestamptz,
    last_message_at timestamptz,
    last_error text,
    last_error_at timestamptz,
    failures integer NOT NULL DEFAULT 0,
    retry_at timestamptz
);
COMMENT ON TABLE damoov.sources IS 'run state of each source; options stand in its foreign server';
COMMENT ON COLUMN damoov.sources.source IS 'name of the foreign server';
COMMENT ON COLUMN damoov.sources.home IS 'cluster and database the source belongs to; elsewhere (a restored dump, a clone) it starts paused';
COMMENT ON COLUMN damoov.sources.paused IS 'no message is received while true; see damoov_pause(), damoov_resume()';
COMMENT ON COLUMN damoov.sources.pause_reason IS 'who or what paused it';
COMMENT ON COLUMN damoov.sources.state IS 'new, polling, retrying, auth_failed, misconfigured or paused';
COMMENT ON COLUMN damoov.sources.last_poll_at IS 'last answered receive; written at most once a minute while idle';
COMMENT ON COLUMN damoov.sources.last_message_at IS 'last time messages came';
COMMENT ON COLUMN damoov.sources.last_error IS 'why the last request failed; kept until it works again';
COMMENT ON COLUMN damoov.sources.last_error_at IS 'when';
COMMENT ON COLUMN damoov.sources.failures IS 'failed requests in a row';
COMMENT ON COLUMN damoov.sources.retry_at IS 'no request before this time';

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

-- ---------------------------------------------------------------------
-- Sources are foreign servers; the wrapper has a validator and no handler
-- ---------------------------------------------------------------------

CREATE FUNCTION damoov.check_options(options text[], catalog oid) RETURNS void
    LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'damoov_check_options';
REVOKE ALL ON FUNCTION damoov.check_options(text[], oid) FROM PUBLIC;
COMMENT ON FUNCTION damoov.check_options(text[], oid) IS 'validator of the foreign-data wrapper: refuses unknown options (HV00D) and unusable values (22023)';

CREATE FOREIGN DATA WRAPPER damoov VALIDATOR damoov.check_options;
COMMENT ON FOREIGN DATA WRAPPER damoov IS 'sources of telematics: CREATE SERVER ... TYPE ''sqs'' FOREIGN DATA WRAPPER damoov';

