//! `call_events`.

use dialtone_contract::{BatchId, EntryKey, Outcome, TenantId};
use dialtone_store::EventRow;
use rusqlite::{Connection, Row, params};

use crate::convert::{Columns, Result, int};

pub(crate) fn record(
    connection: &Connection,
    tenant: &TenantId,
    batch: &BatchId,
    event: &EventRow,
) -> Result<()> {
    let sql = "INSERT INTO call_events (tenant_id, batch_id, event_seq, type, seq, attempt,
                                        from_state, to_state, from_outcome, outcome, at,
                                        reason)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
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
        event.reason,
    ])?;
    Ok(())
}

macro_rules! columns {
    ($rest:literal) => {
        concat!(
            "SELECT event_seq, type, seq, attempt, from_state, to_state, from_outcome, outcome,
                    reason, at
             FROM call_events ",
            $rest
        )
    };
}

/// A page of a batch's events.
pub(crate) const AFTER: &str = columns!(
    "WHERE tenant_id = ?1 AND batch_id = ?2 AND event_seq > ?3 ORDER BY event_seq LIMIT ?4"
);

/// An entry's events among some of its batch's.
pub(crate) const OF_ENTRY: &str = columns!(
    "WHERE tenant_id = ?1 AND batch_id = ?2 AND event_seq > ?3 AND event_seq <= ?4 AND seq = ?5
     ORDER BY event_seq"
);

fn row(row: &Row<'_>) -> rusqlite::Result<EventRow> {
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
        reason: columns.take()?,
        at: columns.at()?,
    })
}

/// A place in the stream as a column holds it; one that no column holds is behind every
/// event.
fn place(event_seq: u64) -> i64 {
    i64::try_from(event_seq).unwrap_or(i64::MAX)
}

pub(crate) fn after(
    connection: &Connection,
    tenant: &TenantId,
    batch: &BatchId,
    after: u64,
    limit: u32,
) -> Result<Vec<EventRow>> {
    let mut statement = connection.prepare_cached(AFTER)?;
    let values = params![tenant.as_str(), batch.as_str(), place(after), limit];
    Ok(statement.query_map(values, row)?.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn of_entry(
    connection: &Connection,
    tenant: &TenantId,
    key: &EntryKey,
    after: u64,
    until: u64,
) -> Result<Vec<EventRow>> {
    let mut statement = connection.prepare_cached(OF_ENTRY)?;
    let (batch, after, until) = (key.batch.as_str(), place(after), place(until));
    let values = params![tenant.as_str(), batch, after, until, key.seq];
    Ok(statement.query_map(values, row)?.collect::<rusqlite::Result<_>>()?)
}
