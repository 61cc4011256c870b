//! `idempotency_keys`.

use dialtone_clock::Timestamp;
use dialtone_contract::{BatchId, TenantId};
use dialtone_store::Idempotency;
use rusqlite::{Connection, OptionalExtension, params};

use crate::convert::Result;

/// The batch that was accepted under `key`, and the hash of its request.
pub(crate) fn find(
    connection: &Connection,
    tenant: &TenantId,
    key: &str,
) -> Result<Option<(BatchId, String)>> {
    let sql = "SELECT batch_id, request_hash FROM idempotency_keys
               WHERE tenant_id = ?1 AND key = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_row(params![tenant.as_str(), key], |row| {
        Ok((BatchId::new(row.get::<_, String>(0)?), row.get(1)?))
    });
    Ok(found.optional()?)
}

pub(crate) fn insert(
    connection: &Connection,
    tenant: &TenantId,
    batch: &BatchId,
    new: &Idempotency,
    at: Timestamp,
) -> Result<()> {
    let sql = "INSERT INTO idempotency_keys (tenant_id, key, batch_id, request_hash, created_at)
               VALUES (?1, ?2, ?3, ?4, ?5)";
    connection.prepare_cached(sql)?.execute(params![
        tenant.as_str(),
        new.key,
        batch.as_str(),
        new.request_hash,
        at.as_micros(),
    ])?;
    Ok(())
}

/// Forgets clients' keys that were taken before `before`; how many those were. The
/// platform's own begin with a control character, and name what must never be made twice.
pub(crate) fn forget(connection: &Connection, before: Timestamp) -> Result<u64> {
    let sql = "DELETE FROM idempotency_keys WHERE created_at < ?1 AND key >= ' '";
    Ok(connection.prepare_cached(sql)?.execute([before.as_micros()])? as u64)
}
