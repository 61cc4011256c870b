-- Times are product time in microseconds since the Unix epoch. States and outcomes are
-- written by the rules and never named here: an index that needs to know whether an
-- entry waits, or whether an attempt is under way, looks at the column that is set
-- exactly then.
--
-- Names are compared byte by byte (COLLATE "C"), as the program compares them; in any
-- other order a page of them would begin in the wrong place. What comes from people is
-- text too, and JSON is kept as text: nothing here looks inside it.

CREATE TABLE dialtone_meta (
    name  text COLLATE "C" PRIMARY KEY,
    value bigint NOT NULL
);

-- Product time now, by the clock of the server that asks: the session was told what that
-- clock said at some moment of the database's, and how fast it runs.
CREATE FUNCTION dt_now() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT current_setting('dialtone.product_us')::bigint
         + ((extract(epoch FROM clock_timestamp()) * 1000000)::bigint
            - current_setting('dialtone.wall_us')::bigint)
         * current_setting('dialtone.factor')::bigint
$$;

CREATE TABLE tenants (
    tenant_id      text COLLATE "C" PRIMARY KEY,
    created_at     bigint NOT NULL,
    max_concurrent bigint
);

CREATE TABLE users (
    tenant_id  text COLLATE "C" NOT NULL REFERENCES tenants (tenant_id),
    user_id    bigint NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
);

CREATE TABLE voices (
    tenant_id  text COLLATE "C" NOT NULL REFERENCES tenants (tenant_id),
    voice_id   text COLLATE "C" NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (tenant_id, voice_id)
);

-- API keys: what is kept is a hash. Revoked ones stay, so that a server that had keys is
-- not taken for one that needs none.
CREATE TABLE api_keys (
    tenant_id  text COLLATE "C" NOT NULL REFERENCES tenants (tenant_id),
    key_id     text COLLATE "C" PRIMARY KEY,
    name       text,
    hash       bytea NOT NULL CHECK (length(hash) = 32),
    created_at bigint NOT NULL,
    revoked_at bigint
);

CREATE INDEX api_keys_tenant ON api_keys (tenant_id, created_at, key_id);

-- Endpoints that are told of a tenant's batches; their signing keys are derived.
CREATE TABLE webhooks (
    tenant_id  text COLLATE "C" NOT NULL REFERENCES tenants (tenant_id),
    webhook_id text COLLATE "C" NOT NULL,
    url        text NOT NULL,
    events     text NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (tenant_id, webhook_id)
);

-- moved_seq: event_seq of the batch's own last event.
-- Half of each page is left free, for the next versions of rows that are written often.
CREATE TABLE voice_call_batches (
    tenant_id        text COLLATE "C" NOT NULL,
    batch_id         text COLLATE "C" PRIMARY KEY,
    spec             text NOT NULL,
    state            text COLLATE "C" NOT NULL,
    reason           text,
    event_seq        bigint NOT NULL DEFAULT 0,
    moved_seq        bigint NOT NULL DEFAULT 0,
    attempts         bigint NOT NULL DEFAULT 0,
    dials            bigint NOT NULL DEFAULT 0,
    rejected         bigint NOT NULL DEFAULT 0,
    created_at       bigint NOT NULL,
    started_at       bigint,
    finished_at      bigint,
    max_concurrent   bigint,
    calls_per_second double precision,
    paced_at         bigint,
    claimed_at       bigint,
    cancel_mode      text COLLATE "C"
) WITH (fillfactor = 50);

-- A tenant's list, newest first; also what the foreign keys below point at, so that no
-- row can belong to another tenant than its batch.
CREATE UNIQUE INDEX voice_call_batches_tenant ON voice_call_batches (tenant_id, batch_id);
CREATE INDEX voice_call_batches_state ON voice_call_batches (state, batch_id);
CREATE INDEX voice_call_batches_list ON voice_call_batches (tenant_id, state, batch_id);

-- The key is (batch, place) and nothing global: an index over ids of all batches would
-- have the order that a claim asks for, and the planner would walk it.
-- number_key: keyed hash of tenant and number (16 bytes), by which numbers are compared
-- and suppressed without being read.
CREATE TABLE batch_entries (
    tenant_id   text COLLATE "C" NOT NULL,
    batch_id    text COLLATE "C" NOT NULL,
    seq         bigint NOT NULL,
    phone       text NOT NULL,
    number_key  bytea NOT NULL CHECK (length(number_key) = 16),
    timezone    text,
    variables   text,
    planned     text COLLATE "C",
    state       text COLLATE "C" NOT NULL,
    outcome     text COLLATE "C",
    attempt     bigint NOT NULL DEFAULT 0,
    not_before  bigint,
    deadline    bigint,
    cap         bigint,
    lease_epoch bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (batch_id, seq),
    FOREIGN KEY (tenant_id, batch_id) REFERENCES voice_call_batches (tenant_id, batch_id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

CREATE INDEX batch_entries_waiting ON batch_entries (batch_id, not_before, seq)
    WHERE not_before IS NOT NULL;
CREATE INDEX batch_entries_under_way ON batch_entries (deadline, batch_id, seq)
    WHERE deadline IS NOT NULL;

-- One row per attempt. No foreign key: an attempt is written in the transaction that has
-- just moved its entry, so a lookup would find what is known. So with call_events.
-- beat_seq: number of the agent's last heartbeat; one that is no higher says nothing new.
CREATE TABLE call_logs (
    tenant_id      text COLLATE "C" NOT NULL,
    batch_id       text COLLATE "C" NOT NULL,
    seq            bigint NOT NULL,
    attempt        bigint NOT NULL,
    status         text COLLATE "C" NOT NULL,
    due_at         bigint,
    leased_at      bigint NOT NULL,
    dispatch_id    text,
    dispatched_at  bigint,
    claimed_at     bigint,
    claimer        text,
    closed_outcome text COLLATE "C",
    ended_at       bigint,
    outcome        text COLLATE "C",
    reason         text,
    duration_ms    bigint,
    beat_seq       bigint,
    PRIMARY KEY (batch_id, seq, attempt)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

-- Entries by state and outcome; an empty text stands for no outcome, because a key
-- column cannot be NULL. That no count falls below nothing is checked here, so that a
-- change that leaves where no entry is takes its whole transaction with it.
CREATE TABLE batch_counters (
    tenant_id text COLLATE "C" NOT NULL,
    batch_id  text COLLATE "C" NOT NULL,
    state     text COLLATE "C" NOT NULL,
    outcome   text COLLATE "C" NOT NULL,
    n         bigint NOT NULL CHECK (n >= 0),
    PRIMARY KEY (batch_id, state, outcome),
    FOREIGN KEY (tenant_id, batch_id) REFERENCES voice_call_batches (tenant_id, batch_id)
) WITH (fillfactor = 50);

-- A tenant's calls in flight are summed over its batches; n is not in the index, so
-- that counting does not move it.
CREATE INDEX batch_counters_tenant ON batch_counters (tenant_id, state);

CREATE TABLE call_events (
    tenant_id    text COLLATE "C" NOT NULL,
    batch_id     text COLLATE "C" NOT NULL,
    event_seq    bigint NOT NULL,
    type         text COLLATE "C" NOT NULL,
    seq          bigint,
    attempt      bigint,
    from_state   text COLLATE "C" NOT NULL,
    to_state     text COLLATE "C" NOT NULL,
    from_outcome text COLLATE "C",
    outcome      text COLLATE "C",
    reason       text,
    at           bigint NOT NULL,
    PRIMARY KEY (batch_id, event_seq)
);

CREATE TABLE batch_reports (
    tenant_id  text COLLATE "C" NOT NULL,
    batch_id   text COLLATE "C" PRIMARY KEY,
    report     text NOT NULL,
    created_at bigint NOT NULL,
    FOREIGN KEY (tenant_id, batch_id) REFERENCES voice_call_batches (tenant_id, batch_id)
);

-- A lane of its own for each kind of receiver: one that does not answer holds up no
-- other. The id of an item that was sent is never given to another one, so a late
-- acknowledgement cannot remove the wrong item.
CREATE TABLE outbox (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id text COLLATE "C" NOT NULL,
    lane      text COLLATE "C" NOT NULL,
    item      text NOT NULL,
    due_at    bigint NOT NULL,
    tries     bigint NOT NULL DEFAULT 0
) WITH (autovacuum_vacuum_scale_factor = 0.05);

CREATE INDEX outbox_due ON outbox (lane, due_at, id);

CREATE TABLE idempotency_keys (
    tenant_id    text COLLATE "C" NOT NULL,
    key          text COLLATE "C" NOT NULL,
    batch_id     text COLLATE "C" NOT NULL,
    request_hash text NOT NULL,
    created_at   bigint NOT NULL,
    PRIMARY KEY (tenant_id, key),
    FOREIGN KEY (tenant_id, batch_id) REFERENCES voice_call_batches (tenant_id, batch_id)
);

-- For the keys that are old enough to be forgotten.
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

-- Numbers of a tenant that are being called (batch_id set: by this entry), or that must
-- not be called before free_at. No row: free.
CREATE TABLE numbers (
    tenant_id  text COLLATE "C" NOT NULL,
    number_key bytea NOT NULL,
    batch_id   text COLLATE "C",
    seq        bigint,
    free_at    bigint,
    PRIMARY KEY (tenant_id, number_key)
);

-- Numbers that are free again are forgotten, the longest free ones first.
CREATE INDEX numbers_free ON numbers (free_at) WHERE free_at IS NOT NULL;

CREATE TABLE suppressions (
    tenant_id  text COLLATE "C" NOT NULL,
    number_key bytea NOT NULL,
    source     text NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (tenant_id, number_key)
);

-- Rows of an upload that were not taken.
CREATE TABLE batch_rejects (
    tenant_id text COLLATE "C" NOT NULL,
    batch_id  text COLLATE "C" NOT NULL,
    row       bigint NOT NULL,
    pointer   text COLLATE "C" NOT NULL,
    code      text NOT NULL,
    detail    text NOT NULL,
    PRIMARY KEY (batch_id, row, pointer),
    FOREIGN KEY (tenant_id, batch_id) REFERENCES voice_call_batches (tenant_id, batch_id)
);
