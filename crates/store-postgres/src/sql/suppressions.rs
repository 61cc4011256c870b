//! `suppressions`: numbers that may not be called.

use std::collections::BTreeSet;

use dialtone_auth::NumberKey;
use dialtone_clock::Timestamp;
use dialtone_contract::TenantId;
use dialtone_store::SuppressionRow;

use crate::convert::{Columns, prose};
use crate::fault::{Ended, Result};
use crate::session::Session;

/// Adds numbers that are not there yet; how many those were.
pub(crate) async fn add(
    session: &Session,
    tenant: &TenantId,
    numbers: &[NumberKey],
    source: &str,
    at: Timestamp,
) -> Ended<u32> {
    let sql = "INSERT INTO suppressions (tenant_id, number_key, source, created_at)
               SELECT $1, i.key, $3, $4 FROM unnest($2::bytea[]) AS i (key)
               ON CONFLICT (tenant_id, number_key) DO NOTHING";
    // In order: two who add the same numbers do not wait for each other.
    let numbers: BTreeSet<&[u8]> = numbers.iter().map(|key| &key.as_bytes()[..]).collect();
    let numbers: Vec<&[u8]> = numbers.into_iter().collect();
    let (source, at) = (prose(source), at.as_micros());
    let new = session.write(sql, &[&tenant.as_str(), &numbers, &source, &at]).await?;
    Ok(u32::try_from(new).unwrap_or(u32::MAX))
}

pub(crate) async fn remove(session: &Session, tenant: &TenantId, number: NumberKey) -> Ended<bool> {
    let sql = "DELETE FROM suppressions WHERE tenant_id = $1 AND number_key = $2";
    Ok(session.write(sql, &[&tenant.as_str(), &number.as_bytes().as_slice()]).await? == 1)
}

/// Numbers after `after`, in the order of their keys.
pub(crate) async fn page(
    session: &Session,
    tenant: &TenantId,
    after: Option<NumberKey>,
    limit: u32,
) -> Result<Vec<SuppressionRow>> {
    let sql = "SELECT number_key, source, created_at FROM suppressions
               WHERE tenant_id = $1 AND number_key > $2 ORDER BY number_key LIMIT $3";
    // Nothing is less than no bytes.
    let after = after.as_ref().map_or(&[][..], |key| key.as_bytes());
    let rows = session.ask(sql, &[&tenant.as_str(), &after, &i64::from(limit)]).await?;
    let read = |row| {
        let mut columns = Columns::of(row);
        Ok(SuppressionRow {
            number: NumberKey::from_bytes(columns.bytes()?),
            source: columns.take()?,
            created_at: columns.at()?,
        })
    };
    rows.iter().map(read).collect()
}

pub(crate) async fn contains(
    session: &Session,
    tenant: &TenantId,
    number: NumberKey,
) -> Result<bool> {
    let sql = "SELECT 1 FROM suppressions WHERE tenant_id = $1 AND number_key = $2";
    let found = session.ask_one(sql, &[&tenant.as_str(), &number.as_bytes().as_slice()]).await?;
    Ok(found.is_some())
}

/// Those of the numbers that may not be called.
pub(crate) async fn among(
    session: &Session,
    tenant: &TenantId,
    numbers: &[&[u8]],
) -> Result<BTreeSet<NumberKey>> {
    let sql = "SELECT s.number_key FROM unnest($2::bytea[]) AS i (key)
               JOIN suppressions AS s ON s.tenant_id = $1 AND s.number_key = i.key";
    let rows = session.ask(sql, &[&tenant.as_str(), &numbers]).await?;
    rows.iter().map(|row| Ok(NumberKey::from_bytes(Columns::of(row).bytes()?))).collect()
}

/// Whether the tenant has suppressed any number at all: most have not, and their claims
/// need not look up each number.
pub(crate) const ANY: &str = "SELECT 1 FROM suppressions WHERE tenant_id = $1 LIMIT 1";
