-- API keys: what is kept is a hash. Revoked ones stay, so that a server that had keys is
-- not taken for one that needs none.
CREATE TABLE api_keys (
    tenant_id  TEXT NOT NULL REFERENCES tenants (tenant_id),
    key_id     TEXT PRIMARY KEY,
    name       TEXT,
    hash       BLOB NOT NULL CHECK (length(hash) = 32),
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX api_keys_tenant ON api_keys (tenant_id, created_at, key_id);
