//! `call_events`.

use dialtone_contract::{BatchId, Outcome, TenantId};
use dialtone_store::EventRow;
use rusqlite::{Connection, params};

use crate::convert::{Columns, Result, int};

pub(crate) fn record(
    connection: &Connection,
    tenant: &TenantId,
    batch: &BatchId,
    event: &EventRow,
) -> Result<()> {
    let sql = "INSERT INTO call_events (tenant_id, batch_id, event_seq, type, seq, attempt,
                                        from_state, to_state, from_outcome, outcome, at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    connection.prepare_cached(sql)?.execute(params![
        tenant.as_str(),
        batch.as_str(),
        int(event.event_seq)?,
        event.kind,
        event.seq,
        event.attempt,
        event.from,
        event.to,
        event.from_outcome.map(Outcome::as_str),
        event.outcome.map(Outcome::as_str),
        event.at.as_micros(),
    ])?;
    Ok(())
}

pub(crate) fn after(
    connection: &Connection,
    tenant: &TenantId,
    batch: &BatchId,
    after: u64,
    limit: u32,
) -> Result<Vec<EventRow>> {
    let sql = "SELECT event_seq, type, seq, attempt, from_state, to_state, from_outcome,
                      outcome, at
               FROM call_events
               WHERE tenant_id = ?1 AND batch_id = ?2 AND event_seq > ?3
               ORDER BY event_seq LIMIT ?4";
    // A place that no column holds is after every event.
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(sql)?;
    let rows =
        statement.query_map(params![tenant.as_str(), batch.as_str(), after, limit], |row| {
            let mut columns = Columns::of(row);
            Ok(EventRow {
                event_seq: columns.u64()?,
                kind: columns.take()?,
                seq: columns.take()?,
                attempt: columns.take()?,
                from: columns.take()?,
                to: columns.take()?,
                from_outcome: columns.maybe_name()?,
                outcome: columns.maybe_name()?,
                at: columns.at()?,
            })
        })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
