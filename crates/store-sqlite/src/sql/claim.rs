//! Leases due entries. In one transaction of the one writer, so the rows that were
//! selected are the rows that are leased; the statement compares all the same.

use dialtone_contract::EntryState;
use dialtone_store::{CallRow, ClaimDue, Claimed, CounterKey, EntryRow, EventRow, Held};
use rusqlite::Connection;

use super::{batches, calls, counters, entries, events, numbers, suppressions};
use crate::convert::{Fault, Result};

pub(crate) fn claim(connection: &Connection, claim: &ClaimDue) -> Result<Claimed> {
    let (tenant, batch) = (&claim.tenant, &claim.batch);
    let found = batches::claim_state(connection, tenant, batch)?;
    let open = found.filter(|(state, paced_at)| {
        claim.claimable.contains(state) && claim.pace.is_none_or(|pace| pace.seen == *paced_at)
    });
    if open.is_none() {
        return Ok(Claimed::default());
    }
    let room = room(connection, claim)?;
    let suppressed = room > 0 && suppressions::any(connection, tenant)?;
    let mut claimed = Claimed::default();
    let mut free = Vec::new();
    entries::each_due(connection, tenant, batch, claim.now, claim.looks(room), |entry| {
        match held(connection, claim, &entry, suppressed)? {
            Some(why) => claimed.held.push((entry, why)),
            None => free.push(entry),
        }
        Ok(free.len() < room as usize)
    })?;
    claimed.leased = lease_all(connection, claim, free)?;
    Ok(claimed)
}

/// Entries that may be leased beside those in flight.
fn room(connection: &Connection, claim: &ClaimDue) -> Result<u32> {
    let counted = counters::of(connection, &claim.tenant, &claim.batch)?;
    let in_flight =
        |((state, _), n): (&CounterKey, &u32)| if state.is_in_flight() { *n } else { 0 };
    let of_batch = counted.iter().map(in_flight).sum();
    let of_tenant = match claim.tenant_max_in_flight {
        Some(_) => counters::in_flight_of_tenant(connection, &claim.tenant)?,
        None => 0,
    };
    Ok(claim.room(of_batch, of_tenant))
}

/// Why the entry may not be leased now; if it may, its number is held for it.
fn held(
    connection: &Connection,
    claim: &ClaimDue,
    entry: &EntryRow,
    suppressed: bool,
) -> Result<Option<Held>> {
    if suppressed && suppressions::contains(connection, &claim.tenant, entry.number)? {
        return Ok(Some(Held::Suppressed));
    }
    if !claim.is_open(entry) {
        return Ok(Some(Held::ZoneClosed));
    }
    if claim.exclusive { numbers::hold(connection, entry, claim.now) } else { Ok(None) }
}

fn lease_all(
    connection: &Connection,
    claim: &ClaimDue,
    free: Vec<EntryRow>,
) -> Result<Vec<EntryRow>> {
    let (tenant, batch) = (&claim.tenant, &claim.batch);
    let n = u32::try_from(free.len()).unwrap_or(u32::MAX);
    if n == 0 {
        return Ok(Vec::new());
    }
    let delta = batches::Delta { events: n, attempts: i64::from(n), dials: 0 };
    let last = batches::add(connection, tenant, batch, &delta)?;
    batches::note_claim(connection, claim, n)?;
    let mut moves = counters::Moves::default();
    let mut leased = Vec::with_capacity(free.len());
    for (before, event_seq) in free.into_iter().zip(last - u64::from(n) + 1..) {
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
    let call = CallRow { due_at: before.not_before, ..CallRow::leased(after.attempt, claim.now) };
    calls::insert(connection, &claim.tenant, &after.key, &call)?;
    Ok(after)
}
