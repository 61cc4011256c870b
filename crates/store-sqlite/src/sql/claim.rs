//! Leases due entries. In one transaction of the one writer, so the rows that were
//! selected are the rows that are leased; the statement compares all the same.

use dialtone_contract::EntryState;
use dialtone_store::{CallRow, ClaimDue, EntryRow, EventRow};
use rusqlite::Connection;

use super::{batches, calls, counters, entries, events};
use crate::convert::{Fault, Result};

pub(crate) fn claim(connection: &Connection, claim: &ClaimDue) -> Result<Vec<EntryRow>> {
    let (tenant, batch) = (&claim.tenant, &claim.batch);
    let state = batches::state(connection, tenant, batch)?;
    if !state.is_some_and(|state| claim.claimable.contains(&state)) {
        return Ok(Vec::new());
    }
    let counted = counters::of(connection, tenant, batch)?;
    let in_flight: u32 =
        counted.iter().filter(|((state, _), _)| state.is_in_flight()).map(|(_, n)| n).sum();
    let limit = claim.limit.min(claim.max_in_flight.saturating_sub(in_flight));
    let due = entries::due(connection, tenant, batch, claim.now, limit)?;
    let n = u32::try_from(due.len()).unwrap_or(u32::MAX);
    if n == 0 {
        return Ok(Vec::new());
    }
    let delta = batches::Delta { events: n, attempts: i64::from(n), dials: 0 };
    let last = batches::add(connection, tenant, batch, &delta)?;
    let mut moves = counters::Moves::default();
    let mut leased = Vec::with_capacity(due.len());
    for (before, event_seq) in due.into_iter().zip(last - u64::from(n) + 1..) {
        let after = lease(connection, &before, claim)?;
        let event = EventRow::of_lease(event_seq, &before, &after, claim.now);
        events::record(connection, tenant, batch, &event)?;
        moves.leave((before.state, before.outcome));
        moves.enter((after.state, None), 1);
        leased.push(after);
    }
    moves.write(connection, tenant, batch)?;
    Ok(leased)
}

fn lease(connection: &Connection, before: &EntryRow, claim: &ClaimDue) -> Result<EntryRow> {
    let after = EntryRow {
        state: EntryState::Leased,
        outcome: None,
        attempt: before.attempt + 1,
        not_before: None,
        deadline: Some(claim.deadline),
        cap: None,
        lease_epoch: claim.lease_epoch,
        ..before.clone()
    };
    if !entries::lease(connection, before, &after)? {
        let text = format!("entry {} changed inside a transaction", before.key.entry_id());
        return Err(Fault::Impossible(text));
    }
    let call = CallRow::leased(after.attempt, claim.now);
    calls::insert(connection, &claim.tenant, &after.key, &call)?;
    Ok(after)
}
