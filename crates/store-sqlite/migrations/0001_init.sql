-- Times are product time in microseconds since the Unix epoch. States and outcomes are
-- written by the rules and never named here: an index that needs to know whether an
-- entry waits, or whether an attempt is under way, looks at the column that is set
-- exactly then.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tenants (
    tenant_id  TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE users (
    tenant_id  TEXT NOT NULL REFERENCES tenants (tenant_id),
    user_id    INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE voices (
    tenant_id  TEXT NOT NULL REFERENCES tenants (tenant_id),
    voice_id   TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, voice_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE voice_call_batches (
    tenant_id   TEXT NOT NULL,
    batch_id    TEXT PRIMARY KEY,
    spec        TEXT NOT NULL,
    state       TEXT NOT NULL,
    reason      TEXT,
    event_seq   INTEGER NOT NULL DEFAULT 0,
    attempts    INTEGER NOT NULL DEFAULT 0,
    dials       INTEGER NOT NULL DEFAULT 0,
    created_at  INTEGER NOT NULL,
    started_at  INTEGER,
    finished_at INTEGER
) STRICT;

-- A tenant's list, newest first; also what the foreign keys below point at, so that no
-- row can belong to another tenant than its batch.
CREATE UNIQUE INDEX voice_call_batches_tenant ON voice_call_batches (tenant_id, batch_id);
CREATE INDEX voice_call_batches_state ON voice_call_batches (state, batch_id);

-- Clustered by its key: a claim, a page and a callback each touch neighbouring rows.
CREATE TABLE batch_entries (
    tenant_id   TEXT NOT NULL,
    batch_id    TEXT NOT NULL,
    seq         INTEGER NOT NULL,
    phone       TEXT NOT NULL,
    planned     TEXT,
    state       TEXT NOT NULL,
    outcome     TEXT,
    attempt     INTEGER NOT NULL DEFAULT 0,
    not_before  INTEGER,
    deadline    INTEGER,
    cap         INTEGER,
    lease_epoch INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (batch_id, seq),
    FOREIGN KEY (tenant_id, batch_id) REFERENCES voice_call_batches (tenant_id, batch_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX batch_entries_waiting ON batch_entries (batch_id, not_before, seq)
    WHERE not_before IS NOT NULL;
CREATE INDEX batch_entries_under_way ON batch_entries (deadline, batch_id, seq)
    WHERE deadline IS NOT NULL;

-- One row per attempt. No foreign key: an attempt is written in the transaction that has
-- just moved its entry, so a lookup would find what is known. So with call_events.
CREATE TABLE call_logs (
    tenant_id      TEXT NOT NULL,
    batch_id       TEXT NOT NULL,
    seq            INTEGER NOT NULL,
    attempt        INTEGER NOT NULL,
    status         TEXT NOT NULL,
    leased_at      INTEGER NOT NULL,
    dispatch_id    TEXT,
    dispatched_at  INTEGER,
    claimed_at     INTEGER,
    claimer        TEXT,
    closed_outcome TEXT,
    ended_at       INTEGER,
    outcome        TEXT,
    reason         TEXT,
    duration_ms    INTEGER,
    PRIMARY KEY (batch_id, seq, attempt)
) STRICT, WITHOUT ROWID;

-- Entries by state and outcome; an empty text stands for no outcome, because a key
-- column cannot be NULL.
CREATE TABLE batch_counters (
    tenant_id TEXT NOT NULL,
    batch_id  TEXT NOT NULL,
    state     TEXT NOT NULL,
    outcome   TEXT NOT NULL,
    n         INTEGER NOT NULL CHECK (n >= 0),
    PRIMARY KEY (batch_id, state, outcome),
    FOREIGN KEY (tenant_id, batch_id) REFERENCES voice_call_batches (tenant_id, batch_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE call_events (
    tenant_id    TEXT NOT NULL,
    batch_id     TEXT NOT NULL,
    event_seq    INTEGER NOT NULL,
    type         TEXT NOT NULL,
    seq          INTEGER,
    attempt      INTEGER,
    from_state   TEXT NOT NULL,
    to_state     TEXT NOT NULL,
    from_outcome TEXT,
    outcome      TEXT,
    at           INTEGER NOT NULL,
    PRIMARY KEY (batch_id, event_seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE batch_reports (
    tenant_id  TEXT NOT NULL,
    batch_id   TEXT PRIMARY KEY,
    report     TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    FOREIGN KEY (tenant_id, batch_id) REFERENCES voice_call_batches (tenant_id, batch_id)
) STRICT, WITHOUT ROWID;

-- AUTOINCREMENT: the id of an item that was sent is never given to another one, so a
-- late acknowledgement cannot remove the wrong item.
CREATE TABLE outbox (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant_id TEXT NOT NULL,
    item      TEXT NOT NULL,
    due_at    INTEGER NOT NULL,
    tries     INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX outbox_due ON outbox (due_at, id);

CREATE TABLE idempotency_keys (
    tenant_id    TEXT NOT NULL,
    key          TEXT NOT NULL,
    batch_id     TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, key),
    FOREIGN KEY (tenant_id, batch_id) REFERENCES voice_call_batches (tenant_id, batch_id)
) STRICT, WITHOUT ROWID;
