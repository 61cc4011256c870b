//! `batch_rejects`: rows of an upload that became no entries.

use dialtone_contract::{BatchId, FieldError, TenantId};
use rusqlite::{Connection, params};

use crate::convert::Result;

/// Adds rows that are not there yet, and counts them.
pub(crate) fn add(
    connection: &Connection,
    tenant: &TenantId,
    batch: &BatchId,
    rejects: &[FieldError],
) -> Result<()> {
    let sql = "INSERT INTO batch_rejects (tenant_id, batch_id, row, pointer, code, detail)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING";
    let mut statement = connection.prepare_cached(sql)?;
    let mut added = 0;
    for reject in rejects {
        added += statement.execute(params![
            tenant.as_str(),
            batch.as_str(),
            reject.row.unwrap_or_default(),
            reject.pointer,
            reject.code,
            reject.detail,
        ])?;
    }
    let sql = "UPDATE voice_call_batches SET rejected = rejected + ?3
               WHERE tenant_id = ?1 AND batch_id = ?2";
    let added = i64::try_from(added).unwrap_or(i64::MAX);
    connection.prepare_cached(sql)?.execute(params![tenant.as_str(), batch.as_str(), added])?;
    Ok(())
}

/// Rows after `after`, in order.
pub(crate) fn page(
    connection: &Connection,
    tenant: &TenantId,
    batch: &BatchId,
    after: u32,
    limit: u32,
) -> Result<Vec<FieldError>> {
    let sql = "SELECT row, pointer, code, detail FROM batch_rejects
               WHERE tenant_id = ?1 AND batch_id = ?2 AND row > ?3 ORDER BY row LIMIT ?4";
    let mut statement = connection.prepare_cached(sql)?;
    let values = params![tenant.as_str(), batch.as_str(), after, limit];
    let rows = statement.query_map(values, |row| {
        Ok(FieldError {
            row: Some(row.get(0)?),
            pointer: row.get(1)?,
            code: row.get(2)?,
            detail: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Removes the rows of a batch that is still loading.
pub(crate) fn remove_all(
    connection: &Connection,
    tenant: &TenantId,
    batch: &BatchId,
) -> Result<()> {
    let sql = "DELETE FROM batch_rejects WHERE tenant_id = ?1 AND batch_id = ?2";
    connection.prepare_cached(sql)?.execute(params![tenant.as_str(), batch.as_str()])?;
    Ok(())
}
