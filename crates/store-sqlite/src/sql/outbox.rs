//! `outbox`: what has to leave the platform.

use dialtone_clock::Timestamp;
use dialtone_contract::TenantId;
use dialtone_store::{Lane, OutboxItem, OutboxRow};
use rusqlite::{Connection, params};

use crate::convert::{Columns, Result};

pub(crate) fn add(
    connection: &Connection,
    tenant: &TenantId,
    item: &OutboxItem,
    at: Timestamp,
) -> Result<()> {
    let sql = "INSERT INTO outbox (tenant_id, item, due_at, lane) VALUES (?1, ?2, ?3, ?4)";
    let lane = item.lane().as_str();
    let values = params![tenant.as_str(), serde_json::to_string(item)?, at.as_micros(), lane];
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// Due items of a lane, earliest first.
pub(crate) const DUE: &str = "
    SELECT id, tenant_id, item, tries FROM outbox INDEXED BY outbox_due
    WHERE lane = ?3 AND due_at <= ?1 ORDER BY due_at, id LIMIT ?2";

/// Hands out due items, which fall due again at `again_at`.
pub(crate) fn hand_out(
    connection: &Connection,
    lane: Lane,
    now: Timestamp,
    again_at: Timestamp,
    limit: u32,
) -> Result<Vec<OutboxRow>> {
    let mut select = connection.prepare_cached(DUE)?;
    let rows = select.query_map(params![now.as_micros(), limit, lane.as_str()], |row| {
        let mut columns = Columns::of(row);
        Ok(OutboxRow {
            id: columns.take()?,
            tenant: TenantId::new(columns.take::<String>()?),
            item: columns.text(|text| serde_json::from_str(text))?,
            tries: columns.take::<u32>()? + 1,
        })
    })?;
    let due: Vec<OutboxRow> = rows.collect::<rusqlite::Result<_>>()?;
    let sql = "UPDATE outbox SET due_at = ?2, tries = ?3 WHERE id = ?1";
    let mut update = connection.prepare_cached(sql)?;
    for row in &due {
        update.execute(params![row.id, again_at.as_micros(), row.tries])?;
    }
    Ok(due)
}

pub(crate) fn done(connection: &Connection, ids: &[i64]) -> Result<()> {
    let mut statement = connection.prepare_cached("DELETE FROM outbox WHERE id = ?1")?;
    for id in ids {
        statement.execute([id])?;
    }
    Ok(())
}

/// Makes an item due at `at`, tried so many times.
pub(crate) fn later(connection: &Connection, id: i64, at: Timestamp, tries: u32) -> Result<()> {
    let sql = "UPDATE outbox SET due_at = ?2, tries = ?3 WHERE id = ?1";
    connection.prepare_cached(sql)?.execute(params![id, at.as_micros(), tries])?;
    Ok(())
}

/// When the next item of a lane falls due after `?1`.
pub(crate) const NEXT: &str = "
    SELECT min(due_at) FROM outbox INDEXED BY outbox_due WHERE lane = ?2 AND due_at > ?1";

pub(crate) fn next(connection: &Connection, now: Timestamp) -> Result<Option<Timestamp>> {
    let mut statement = connection.prepare_cached(NEXT)?;
    let mut next = None;
    for lane in Lane::ALL {
        let values = params![now.as_micros(), lane.as_str()];
        let due = statement.query_row(values, |row| Columns::of(row).maybe_at())?;
        next = next.into_iter().chain(due).min();
    }
    Ok(next)
}
