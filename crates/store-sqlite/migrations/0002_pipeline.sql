-- What a running batch is told from outside (limits, cancel_mode), and what its claims
-- leave for the next one (paced_at, claimed_at).
ALTER TABLE voice_call_batches ADD COLUMN max_concurrent INTEGER;
ALTER TABLE voice_call_batches ADD COLUMN calls_per_second REAL;
ALTER TABLE voice_call_batches ADD COLUMN paced_at INTEGER;
ALTER TABLE voice_call_batches ADD COLUMN claimed_at INTEGER;
ALTER TABLE voice_call_batches ADD COLUMN cancel_mode TEXT;
ALTER TABLE voice_call_batches ADD COLUMN rejected INTEGER NOT NULL DEFAULT 0;

ALTER TABLE tenants ADD COLUMN max_concurrent INTEGER;

-- number_key: keyed hash of tenant and number (16 bytes), by which numbers are compared
-- and suppressed without being read.
ALTER TABLE batch_entries ADD COLUMN number_key BLOB NOT NULL DEFAULT x'00000000000000000000000000000000';
ALTER TABLE batch_entries ADD COLUMN timezone TEXT;
ALTER TABLE batch_entries ADD COLUMN variables TEXT;

-- A tenant's calls in flight are summed over its batches; n is not in the index, so
-- that counting does not move it.
CREATE INDEX batch_counters_tenant ON batch_counters (tenant_id, state);

-- Numbers of a tenant that are being called (batch_id set: by this entry), or that must
-- not be called before free_at. No row: free.
CREATE TABLE numbers (
    tenant_id  TEXT NOT NULL,
    number_key BLOB NOT NULL,
    batch_id   TEXT,
    seq        INTEGER,
    free_at    INTEGER,
    PRIMARY KEY (tenant_id, number_key)
) STRICT, WITHOUT ROWID;

CREATE TABLE suppressions (
    tenant_id  TEXT NOT NULL,
    number_key BLOB NOT NULL,
    source     TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, number_key)
) STRICT, WITHOUT ROWID;

-- Rows of an upload that were not taken.
CREATE TABLE batch_rejects (
    tenant_id TEXT NOT NULL,
    batch_id  TEXT NOT NULL,
    row       INTEGER NOT NULL,
    pointer   TEXT NOT NULL,
    code      TEXT NOT NULL,
    detail    TEXT NOT NULL,
    PRIMARY KEY (batch_id, row, pointer),
    FOREIGN KEY (tenant_id, batch_id) REFERENCES voice_call_batches (tenant_id, batch_id)
) STRICT, WITHOUT ROWID;

-- A lane of its own for each kind of receiver: one that does not answer holds up no other.
ALTER TABLE outbox ADD COLUMN lane TEXT NOT NULL DEFAULT 'livekit';
DROP INDEX outbox_due;
CREATE INDEX outbox_due ON outbox (lane, due_at, id);

-- beat_seq: number of the agent's last heartbeat; one that is no higher says nothing new.
ALTER TABLE call_logs ADD COLUMN beat_seq INTEGER;
