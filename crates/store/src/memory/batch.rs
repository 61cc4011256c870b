//! One batch of the memory engine.

use std::collections::BTreeMap;

use dialtone_auth::NumberKey;
use dialtone_clock::Timestamp;
use dialtone_contract::{BatchState, EntryState, FieldError, TenantId};

use super::numbers::Numbers;
use crate::{
    Applied, BatchRow, BatchTransition, CallPatch, CallRow, ClaimDue, Claimed, CounterKey,
    EntryRow, EventRow, Held, SuppressionRow, Transition,
};

pub(super) struct Batch {
    pub(super) row: BatchRow,
    pub(super) entries: BTreeMap<u32, EntryRow>,
    pub(super) calls: BTreeMap<(u32, u32), CallRow>,
    pub(super) events: Vec<EventRow>,
    pub(super) reports: Vec<String>,
    /// By row of the upload.
    pub(super) rejects: BTreeMap<u32, FieldError>,
}

impl Batch {
    pub(super) fn count(&mut self, from: CounterKey, to: CounterKey) {
        let counters = &mut self.row.counters;
        if let Some(n) = counters.get_mut(&from) {
            *n -= 1;
        }
        *counters.entry(to).or_default() += 1;
        counters.retain(|_, n| *n > 0);
    }

    fn next_seq(&mut self) -> u64 {
        self.row.event_seq += 1;
        self.row.event_seq
    }

    pub(super) fn record_entry(&mut self, change: &Transition) {
        let event_seq = self.next_seq();
        self.events.push(EventRow::of_entry(event_seq, change));
    }

    /// Whether the batch is where the change expects it.
    pub(super) fn stands_as(&self, change: &BatchTransition) -> bool {
        let has_moved = |since: u64| {
            let after = self.events.iter().rev().take_while(|event| event.event_seq > since);
            after.into_iter().any(|event| event.seq.is_none())
        };
        self.row.state == change.from && !change.unmoved_since.is_some_and(has_moved)
    }

    pub(super) fn move_to(&mut self, change: &BatchTransition) -> Applied {
        self.row.state = change.to;
        self.row.reason.clone_from(&change.reason);
        let before = self.row.limits;
        self.row.limits = change.limits.unwrap_or(before);
        if self.row.limits.calls_per_second != before.calls_per_second {
            // What the old pace has used up is no measure for the new one.
            self.row.paced_at = None;
        }
        self.row.cancel = change.cancel.or(self.row.cancel);
        if change.to == BatchState::Running {
            self.row.started_at.get_or_insert(change.at);
        }
        if change.to.is_terminal() {
            self.row.finished_at = Some(change.at);
        }
        let event_seq = self.next_seq();
        self.events.push(EventRow::of_batch(event_seq, change));
        Applied::Applied { event_seq }
    }

    pub(super) fn patch_call(&mut self, seq: u32, attempt: u32, patch: &CallPatch) {
        if patch.remove {
            self.calls.remove(&(seq, attempt));
            return;
        }
        let Some(call) = self.calls.get_mut(&(seq, attempt)) else { return };
        if let Some(state) = patch.state {
            call.state = state;
        }
        call.dispatched_at = patch.dispatched_at.or(call.dispatched_at);
        call.claimed_at = patch.claimed_at.or(call.claimed_at);
        call.closed_outcome = patch.closed_outcome.or(call.closed_outcome);
        call.ended_at = patch.ended_at.or(call.ended_at);
        call.outcome = patch.outcome.or(call.outcome);
        call.duration_ms = patch.duration_ms.or(call.duration_ms);
        call.beat_seq = patch.beat_seq.or(call.beat_seq);
        for (column, new) in [
            (&mut call.dispatch_id, &patch.dispatch_id),
            (&mut call.claimer, &patch.claimer),
            (&mut call.reason, &patch.reason),
        ] {
            if new.is_some() {
                column.clone_from(new);
            }
        }
    }

    pub(super) fn claim(
        &mut self,
        claim: &ClaimDue,
        room: u32,
        suppressed: &BTreeMap<(TenantId, NumberKey), SuppressionRow>,
        numbers: &mut Numbers,
    ) -> Claimed {
        let due_at = |entry: &EntryRow| entry.not_before.filter(|at| *at <= claim.now);
        let mut due: Vec<(Timestamp, u32)> =
            self.entries.values().filter_map(|e| Some((due_at(e)?, e.key.seq))).collect();
        due.sort_unstable();
        due.truncate(claim.looks(room) as usize);
        let mut claimed = Claimed::default();
        for (_, seq) in due {
            if claimed.leased.len() >= room as usize {
                break;
            }
            let entry = &self.entries[&seq];
            let number = (claim.tenant.clone(), entry.number);
            let held = if suppressed.contains_key(&number) {
                Some(Held::Suppressed)
            } else if !claim.is_open(entry) {
                Some(Held::ZoneClosed)
            } else if claim.exclusive {
                numbers.hold(number, &entry.key, claim.now)
            } else {
                None
            };
            match held {
                Some(held) => claimed.held.push((entry.clone(), held)),
                None => claimed.leased.push(self.lease(seq, claim)),
            }
        }
        if !claimed.leased.is_empty() {
            let n = u32::try_from(claimed.leased.len()).unwrap_or(u32::MAX);
            self.row.claimed_at = Some(claim.now);
            if let Some(pace) = &claim.pace {
                self.row.paced_at = Some(pace.after(n));
            }
        }
        claimed
    }

    fn lease(&mut self, seq: u32, claim: &ClaimDue) -> EntryRow {
        let entry = self.entries.get_mut(&seq).expect("the caller took it from the map");
        let before = entry.clone();
        entry.state = EntryState::Leased;
        entry.outcome = None;
        entry.attempt += 1;
        entry.not_before = None;
        entry.deadline = Some(claim.deadline);
        entry.cap = None;
        entry.lease_epoch = claim.lease_epoch;
        let after = entry.clone();
        let call = CallRow::leased(after.attempt, claim.now);
        self.calls.insert((seq, after.attempt), CallRow { due_at: before.not_before, ..call });
        self.count((before.state, before.outcome), (after.state, None));
        self.row.attempts += 1;
        let event_seq = self.next_seq();
        self.events.push(EventRow::of_lease(event_seq, &before, &after, claim.now));
        after
    }

    pub(super) fn with_current_call(&self, entry: &EntryRow) -> Option<(EntryRow, CallRow)> {
        let call = self.calls.get(&(entry.key.seq, entry.attempt))?;
        Some((entry.clone(), call.clone()))
    }
}
