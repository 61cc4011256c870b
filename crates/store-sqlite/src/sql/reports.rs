//! `batch_reports`: one per batch.

use dialtone_clock::Timestamp;
use dialtone_contract::{BatchId, TenantId};
use rusqlite::{Connection, params};

use crate::convert::Result;

/// Writes the report if the tenant has the batch and the batch has none.
pub(crate) fn put(
    connection: &Connection,
    tenant: &TenantId,
    batch: &BatchId,
    report: &str,
    at: Timestamp,
) -> Result<bool> {
    let sql = "INSERT INTO batch_reports (tenant_id, batch_id, report, created_at)
               SELECT tenant_id, batch_id, ?3, ?4 FROM voice_call_batches
               WHERE tenant_id = ?1 AND batch_id = ?2
               ON CONFLICT (batch_id) DO NOTHING";
    let values = params![tenant.as_str(), batch.as_str(), report, at.as_micros()];
    Ok(connection.prepare_cached(sql)?.execute(values)? == 1)
}

pub(crate) fn of(
    connection: &Connection,
    tenant: &TenantId,
    batch: &BatchId,
) -> Result<Vec<String>> {
    let sql = "SELECT report FROM batch_reports WHERE tenant_id = ?1 AND batch_id = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(params![tenant.as_str(), batch.as_str()], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
