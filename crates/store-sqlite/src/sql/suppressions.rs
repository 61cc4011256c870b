//! `suppressions`: numbers that may not be called.

use dialtone_auth::NumberKey;
use dialtone_clock::Timestamp;
use dialtone_contract::TenantId;
use dialtone_store::SuppressionRow;
use rusqlite::{Connection, params};

use crate::convert::{Columns, Result};

/// Adds numbers that are not there yet; how many those were.
pub(crate) fn add(
    connection: &Connection,
    tenant: &TenantId,
    numbers: &[NumberKey],
    source: &str,
    at: Timestamp,
) -> Result<u32> {
    let sql = "INSERT INTO suppressions (tenant_id, number_key, source, created_at)
               VALUES (?1, ?2, ?3, ?4) ON CONFLICT (tenant_id, number_key) DO NOTHING";
    let mut statement = connection.prepare_cached(sql)?;
    let mut new = 0;
    for number in numbers {
        let values = params![tenant.as_str(), number.as_bytes(), source, at.as_micros()];
        new += statement.execute(values)?;
    }
    Ok(u32::try_from(new).unwrap_or(u32::MAX))
}

pub(crate) fn remove(
    connection: &Connection,
    tenant: &TenantId,
    number: NumberKey,
) -> Result<bool> {
    let sql = "DELETE FROM suppressions WHERE tenant_id = ?1 AND number_key = ?2";
    let values = params![tenant.as_str(), number.as_bytes()];
    Ok(connection.prepare_cached(sql)?.execute(values)? == 1)
}

/// Numbers after `after`, in the order of their keys.
pub(crate) fn page(
    connection: &Connection,
    tenant: &TenantId,
    after: Option<NumberKey>,
    limit: u32,
) -> Result<Vec<SuppressionRow>> {
    let sql = "SELECT number_key, source, created_at FROM suppressions
               WHERE tenant_id = ?1 AND number_key > ?2 ORDER BY number_key LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    // Nothing is less than an empty blob.
    let after = after.as_ref().map_or(&[][..], |key| key.as_bytes());
    let rows = statement.query_map(params![tenant.as_str(), after, limit], |row| {
        let mut columns = Columns::of(row);
        Ok(SuppressionRow {
            number: NumberKey::from_bytes(columns.take()?),
            source: columns.take()?,
            created_at: columns.at()?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn contains(
    connection: &Connection,
    tenant: &TenantId,
    number: NumberKey,
) -> Result<bool> {
    let sql = "SELECT 1 FROM suppressions WHERE tenant_id = ?1 AND number_key = ?2";
    let values = params![tenant.as_str(), number.as_bytes()];
    Ok(connection.prepare_cached(sql)?.exists(values)?)
}

/// Whether the tenant has suppressed any number at all: most have not, and their claims
/// need not look up each number.
pub(crate) fn any(connection: &Connection, tenant: &TenantId) -> Result<bool> {
    let sql = "SELECT 1 FROM suppressions WHERE tenant_id = ?1 LIMIT 1";
    Ok(connection.prepare_cached(sql)?.exists([tenant.as_str()])?)
}
