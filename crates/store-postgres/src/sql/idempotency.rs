//! `idempotency_keys`.

use dialtone_clock::Timestamp;
use dialtone_contract::{BatchId, TenantId};
use dialtone_store::Idempotency;

use crate::convert::{Columns, name, prose};
use crate::fault::{Ended, Result};
use crate::session::Session;

/// The batch that was accepted under `key`, and the hash of its request.
pub(crate) async fn find(
    session: &Session,
    tenant: &TenantId,
    key: &str,
) -> Result<Option<(BatchId, String)>> {
    let sql = "SELECT batch_id, request_hash FROM idempotency_keys
               WHERE tenant_id = $1 AND key = $2";
    let found = session.ask_one(sql, &[&tenant.as_str(), &name(key)]).await?;
    let read = |row: tokio_postgres::Row| {
        let mut columns = Columns::of(&row);
        Ok((BatchId::new(columns.take::<String>()?), columns.take()?))
    };
    found.map(read).transpose()
}

/// Takes the key for a batch of the tenant's; `false` if it was taken before. Whoever takes
/// it at the same time is waited for.
pub(crate) async fn take(
    session: &Session,
    tenant: &TenantId,
    batch: &BatchId,
    new: &Idempotency,
    at: Timestamp,
) -> Result<bool> {
    let sql = "INSERT INTO idempotency_keys (tenant_id, key, batch_id, request_hash, created_at)
               VALUES ($1, $2, $3, $4, $5) ON CONFLICT (tenant_id, key) DO NOTHING";
    let (key, batch, hash) = (name(&new.key), name(batch.as_str()), prose(&new.request_hash));
    let taken = session.run(sql, &[&tenant.as_str(), &key, &batch, &hash, &at.as_micros()]).await?;
    Ok(taken == 1)
}

/// Forgets clients' keys that were taken before `before`; how many those were. The
/// platform's own begin with a control character, and name what must never be made twice.
pub(crate) async fn forget(session: &Session, before: Timestamp) -> Ended<u64> {
    let sql = "DELETE FROM idempotency_keys WHERE created_at < $1 AND key >= ' '";
    session.write(sql, &[&before.as_micros()]).await
}
