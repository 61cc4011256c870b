-- When the attempt was due, so that its wait in the queue can be told.
ALTER TABLE call_logs ADD COLUMN due_at INTEGER;

-- Why a batch moved.
ALTER TABLE call_events ADD COLUMN reason TEXT;

-- A tenant's batches in one state, newest first.
CREATE INDEX voice_call_batches_list ON voice_call_batches (tenant_id, state, batch_id);

-- Endpoints that are told of a tenant's batches; their signing keys are derived.
CREATE TABLE webhooks (
    tenant_id  TEXT NOT NULL REFERENCES tenants (tenant_id),
    webhook_id TEXT NOT NULL,
    url        TEXT NOT NULL,
    events     TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, webhook_id)
) STRICT, WITHOUT ROWID;
