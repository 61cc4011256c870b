use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use dialtone_clock::Timestamp;
use dialtone_contract::{BatchId, BatchState, EntryEvent, EntryKey, EntryState};
use dialtone_store::memory::MemoryStore;
use dialtone_store::{
    Applied, BatchStore as _, CallRow, Change, ClaimDue, Claimed, EntryRow, Outbox as _, OutboxRow,
    StoreError, Transition,
};

use tokio::sync::watch;

use crate::Mutant;
use crate::task::ready;
use crate::world::World;

/// What stands between all servers and the engine: it sees every change at the moment
/// at which it is made, and a [`Mutant`] takes one of the guards away here.
pub struct Guards {
    world: World,
    mutant: Option<Mutant>,
    seen: Mutex<Seen>,
    /// Changes with every commit that made work: as in the durable engines, unlike in the
    /// memory engine, where a dispatcher that claims in vain would wake itself for ever.
    hint: watch::Sender<u64>,
}

#[derive(Default)]
struct Seen {
    violations: Vec<String>,
    stale: u64,
    /// Earliest next claim of each entry that waits for one.
    not_before: BTreeMap<EntryKey, Timestamp>,
    reports: BTreeMap<BatchId, u32>,
}

type Result<T> = std::result::Result<T, StoreError>;

impl Guards {
    pub fn new(world: World, mutant: Option<Mutant>) -> Self {
        Self { world, mutant, seen: Mutex::default(), hint: watch::Sender::new(0) }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no holder of the lock panics")
    }

    pub fn changes(&self) -> watch::Receiver<u64> {
        self.hint.subscribe()
    }

    /// Work was made.
    pub fn hint(&self) {
        self.hint.send_modify(|n| *n += 1);
    }

    /// What must not have happened, since the last call.
    pub fn violations(&self) -> Vec<String> {
        std::mem::take(&mut self.seen().violations)
    }

    /// Changes that came too late.
    pub fn stale(&self) -> u64 {
        self.seen().stale
    }

    /// Reports of a batch in a store that keeps each.
    pub fn reports(&self, batch: &BatchId) -> u32 {
        self.seen().reports.get(batch).copied().unwrap_or(0)
    }

    pub fn apply(&self, store: &MemoryStore, changes: &[Change]) -> Result<Vec<Applied>> {
        changes.iter().map(|change| self.apply_one(store, change)).collect()
    }

    fn apply_one(&self, store: &MemoryStore, change: &Change) -> Result<Applied> {
        let Change::Entry(entry_change) = change else {
            let applied = ready(store.apply(std::slice::from_ref(change)))?.remove(0);
            self.seen().stale += u64::from(!applied.is_applied());
            if applied.is_applied() {
                self.hint();
            }
            if let Change::Batch(change) = change {
                self.world.note(|| format!("batch {}: {applied:?}", change.to));
            }
            return Ok(applied);
        };
        let key = &entry_change.key;
        let page = ready(store.entries(&entry_change.tenant, &key.batch, key.seq - 1, 1))?;
        let Some((before, calls)) = page.into_iter().next() else { return Ok(Applied::Stale) };
        let change = self.mutated(entry_change, &before);
        let applied = ready(store.apply(&[Change::Entry(change.clone())]))?.remove(0);
        self.world.note(|| {
            let (event, call) = (change.event.as_str(), key.call_id(change.attempt));
            let late = if applied.is_applied() { "" } else { " too late" };
            format!("{call} {event} {} -> {}{late}", change.from, change.to)
        });
        if applied.is_applied() {
            self.watch(&change, &before, &calls);
            if change.event.is_recorded() {
                self.hint();
            }
        } else {
            self.seen().stale += 1;
        }
        Ok(applied)
    }

    /// The change as a mutant's store would understand it.
    fn mutated(&self, change: &Transition, now: &EntryRow) -> Transition {
        let mut change = change.clone();
        match self.mutant {
            Some(Mutant::NoAttemptFence) => {
                let by = i64::from(change.new_attempt) - i64::from(change.attempt);
                change.attempt = now.attempt;
                change.new_attempt = u32::try_from(i64::from(now.attempt) + by).unwrap_or(0);
                change.from_outcome = now.outcome;
                change.deadline_seen = None;
            }
            Some(Mutant::NoStateGuard) => {
                (change.from, change.from_outcome) = (now.state, now.outcome);
                change.deadline_seen = None;
            }
            Some(Mutant::NoCancelAtDial) => change.batch_in = None,
            Some(Mutant::NoDeadlineGuard) => change.deadline_seen = None,
            // The claim was decided on a row that looked free.
            Some(Mutant::NoDialClaim) if change.event == EntryEvent::DialClaimed => {
                if now.state.is_live() {
                    change.from = now.state;
                }
                change.deadline_seen = None;
            }
            _ => {}
        }
        change
    }

    /// The rows as a mutant's store would show them.
    pub fn shown(
        &self,
        (mut entry, mut call): (EntryRow, CallRow),
        attempt: u32,
        for_claims: bool,
    ) -> (EntryRow, CallRow) {
        match self.mutant {
            Some(Mutant::NoAttemptFence) => entry.attempt = attempt,
            Some(Mutant::NoDialClaim) if for_claims && entry.state.is_live() => {
                entry.state = EntryState::Dispatched;
                call.claimer = None;
            }
            _ => {}
        }
        (entry, call)
    }

    /// Deadlines that act before their time, by what the row said when they acted.
    fn watch(&self, change: &Transition, before: &EntryRow, calls: &[CallRow]) {
        let now = self.world.now();
        let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        let call = calls.iter().find(|call| call.attempt == before.attempt);
        let closed = call.is_some_and(|call| call.closed_outcome.is_some());
        let in_time = match change.event {
            EntryEvent::LeaseExpired | EntryEvent::UnclaimedTimeout => due(before.deadline),
            EntryEvent::AgentLost => due(before.deadline) && !closed,
            EntryEvent::CallbackTimeout => due(before.deadline) && closed,
            EntryEvent::RingingTimeout | EntryEvent::InCallTimeout => {
                due(before.deadline) && due(before.cap) && !closed
            }
            _ => true,
        };
        let mut seen = self.seen();
        if !in_time {
            let (event, call) = (change.event.as_str(), change.key.call_id(change.attempt));
            let deadline = before.deadline.map_or("none".to_owned(), |at| at.to_string());
            seen.violations.push(format!("{event} of {call} came early: at {now}, not {deadline}"));
        }
        if let Some(at) = change.not_before {
            seen.not_before.insert(change.key.clone(), at);
        }
    }

    pub fn claim_due(&self, store: &MemoryStore, mut claim: ClaimDue) -> Result<Claimed> {
        if self.mutant == Some(Mutant::PauseIgnored) {
            claim.claimable = BatchState::ALL;
        }
        let claimed = ready(store.claim_due(claim))?;
        if !claimed.leased.is_empty() {
            self.hint();
        }
        let now = self.world.now();
        let mut seen = self.seen();
        for entry in &claimed.leased {
            self.world.note(|| format!("{} leased", entry.key.call_id(entry.attempt)));
            let not_before = seen.not_before.remove(&entry.key);
            if let Some(at) = not_before.filter(|at| *at > now) {
                let call = entry.key.call_id(entry.attempt);
                seen.violations.push(format!("{call} was leased early: at {now}, not {at}"));
            }
        }
        Ok(claimed)
    }

    /// A report is written; a mutant's store keeps each.
    pub fn report(&self, batch: &BatchId) {
        if self.mutant == Some(Mutant::ReportTwice) {
            *self.seen().reports.entry(batch.clone()).or_default() += 1;
        }
    }

    /// Outbox items leave; a mutant's store does not keep them until they are confirmed.
    pub fn handed_out(&self, store: &MemoryStore, due: &[OutboxRow]) -> Result<()> {
        if self.mutant == Some(Mutant::OutboxForgets) {
            let ids: Vec<_> = due.iter().map(|row| row.id).collect();
            ready(store.outbox_done(&ids))?;
        }
        Ok(())
    }
}
