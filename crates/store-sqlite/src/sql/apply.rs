//! The one writer of entry and batch states.

use dialtone_store::{Applied, BatchTransition, Change, EventRow, Transition};
use rusqlite::Connection;

use super::{batches, calls, counters, entries, events, numbers, outbox};
use crate::convert::Result;

pub(crate) fn apply(connection: &Connection, change: &Change) -> Result<Applied> {
    match change {
        Change::Entry(change) => apply_entry(connection, change),
        Change::Batch(change) => apply_batch(connection, change),
    }
}

fn apply_entry(connection: &Connection, change: &Transition) -> Result<Applied> {
    if !entries::compare_and_swap(connection, change)? {
        return Ok(Applied::Stale);
    }
    let (tenant, batch) = (&change.tenant, &change.key.batch);
    calls::patch(connection, tenant, &change.key, change.attempt, &change.call)?;
    let mut moves = counters::Moves::default();
    moves.leave((change.from, change.from_outcome));
    moves.enter((change.to, change.outcome), 1);
    moves.write(connection, tenant, batch)?;
    let recorded = change.event.is_recorded();
    let delta = batches::Delta {
        events: u32::from(recorded),
        attempts: i64::from(change.new_attempt) - i64::from(change.attempt),
        dials: u32::from(change.dial),
    };
    let event_seq = batches::add(connection, tenant, batch, &delta)?;
    if recorded {
        events::record(connection, tenant, batch, &EventRow::of_entry(event_seq, change))?;
    }
    if let Some(release) = &change.number {
        numbers::release(connection, tenant, &change.key, release)?;
    }
    for item in &change.outbox {
        outbox::add(connection, tenant, item, change.at)?;
    }
    Ok(Applied::Applied { event_seq })
}

pub(crate) fn apply_batch(connection: &Connection, change: &BatchTransition) -> Result<Applied> {
    let Some(event_seq) = batches::move_to(connection, change)? else {
        return Ok(Applied::Stale);
    };
    let event = EventRow::of_batch(event_seq, change);
    events::record(connection, &change.tenant, &change.batch, &event)?;
    Ok(Applied::Applied { event_seq })
}
