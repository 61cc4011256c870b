//! `batch_reports`: one per batch.

use dialtone_clock::Timestamp;
use dialtone_contract::{BatchId, TenantId};

use crate::convert::{Columns, name, prose};
use crate::fault::{Ended, Result};
use crate::session::Session;

/// Writes the report if the tenant has the batch and the batch has none.
pub(crate) async fn put(
    session: &Session,
    tenant: &TenantId,
    batch: &BatchId,
    report: &str,
    at: Timestamp,
) -> Ended<bool> {
    let sql = "INSERT INTO batch_reports (tenant_id, batch_id, report, created_at)
               SELECT tenant_id, batch_id, $3, $4 FROM voice_call_batches
               WHERE tenant_id = $1 AND batch_id = $2
               ON CONFLICT (batch_id) DO NOTHING";
    let (batch, report, at) = (name(batch.as_str()), prose(report), at.as_micros());
    Ok(session.write(sql, &[&tenant.as_str(), &batch, &report, &at]).await? == 1)
}

pub(crate) async fn of(
    session: &Session,
    tenant: &TenantId,
    batch: &BatchId,
) -> Result<Vec<String>> {
    let sql = "SELECT report FROM batch_reports WHERE tenant_id = $1 AND batch_id = $2";
    let rows = session.ask(sql, &[&tenant.as_str(), &name(batch.as_str())]).await?;
    rows.iter().map(|row| Columns::of(row).take()).collect()
}
