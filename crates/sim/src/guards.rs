use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use dialtone_auth::NumberKey;
use dialtone_batch::number;
use dialtone_batch::policy::schedule;
use dialtone_clock::Timestamp;
use dialtone_contract::wire::BatchOptions;
use dialtone_contract::{BatchId, BatchState, CallId, EntryEvent, EntryKey, EntryState, limits};
use dialtone_store::{
    Applied, BatchMode, BatchRow, CallRow, Change, ClaimDue, Claimed, Counters, EntryRow,
    Idempotency, NewBatch, NewEntry, OutboxRow, Store, StoreError, Transition,
};
use tokio::sync::watch;

use crate::bounds::Bounds;
use crate::faults::Fault;
use crate::policy::ZONES;
use crate::task::ready;
use crate::world::World;
use crate::{Mutant, Policy};

/// Numbers of a live batch: fewer than its entries.
const NUMBERS: u32 = 12;

/// What stands between all servers and the engine: it sees every change at the moment
/// at which it is made, and a [`Mutant`] takes one of the guards away here.
pub struct Guards {
    world: World,
    mutant: Option<Mutant>,
    policy: Policy,
    seen: Mutex<Seen>,
    bounds: Mutex<Bounds>,
    /// Changes with every commit that made work: as in the durable engines, unlike in the
    /// memory engine, where a dispatcher that claims in vain would wake itself for ever.
    hint: watch::Sender<u64>,
    /// Commits so far.
    commits: AtomicU64,
}

#[derive(Default)]
struct Seen {
    violations: Vec<String>,
    stale: u64,
    /// Earliest next claim of each entry that waits for one.
    not_before: BTreeMap<EntryKey, Timestamp>,
    reports: BTreeMap<BatchId, u32>,
    /// Keys that were taken.
    keys: u32,
    /// Last sign of life that was taken of each call.
    alive: BTreeMap<CallId, Timestamp>,
    /// What a mutant's counters say too much.
    miscounted: Counters,
}

type Result<T> = std::result::Result<T, StoreError>;

impl Guards {
    pub fn new(world: World, mutant: Option<Mutant>, policy: Policy) -> Self {
        let bounds = Mutex::new(Bounds::new(policy));
        let (seen, hint) = (Mutex::default(), watch::Sender::new(0));
        Self { world, mutant, policy, seen, bounds, hint, commits: AtomicU64::new(0) }
    }

    fn bounds(&self) -> MutexGuard<'_, Bounds> {
        self.bounds.lock().expect("no holder of the lock panics")
    }

    /// A number may not be called any more.
    pub fn suppress(&self, store: &dyn Store, entry: &EntryRow) -> Result<()> {
        if self.mutant != Some(Mutant::NoSuppression) {
            let numbers = [entry.number];
            ready(store.suppress(&entry.tenant, &numbers, "simulated", self.world.now()))?;
        }
        self.bounds().suppress(entry.number);
        Ok(())
    }

    /// The batch as the intake of people's numbers would have made it, if it shall be one.
    pub fn as_live(&self, mut new: NewBatch) -> NewBatch {
        if self.policy.live {
            new.spec.mode = BatchMode::Live;
        }
        if let Some(window) = self.policy.window_by_recipient() {
            new.spec.options.window = Some(window);
        }
        new
    }

    /// Its entries: in several time zones, and some numbers more than once.
    pub fn as_live_entries(&self, entries: &[NewEntry]) -> Vec<NewEntry> {
        let options =
            BatchOptions { window: self.policy.window_by_recipient(), ..BatchOptions::default() };
        let as_live = |entry: &NewEntry| {
            let place = (entry.seq - 1) % NUMBERS + 1;
            let mut key = [0; NumberKey::LEN];
            key[..4].copy_from_slice(&place.to_be_bytes());
            let timezone = ZONES[entry.seq as usize % ZONES.len()];
            NewEntry {
                to: number(place),
                number: NumberKey::from_bytes(key),
                timezone: Some(timezone.to_owned()),
                not_before: schedule::earliest(&options, Some(timezone), entry.not_before),
                ..entry.clone()
            }
        };
        if !self.policy.live {
            return entries.to_vec();
        }
        entries.iter().map(as_live).collect()
    }

    /// Batches as a mutant's dispatcher would read them.
    pub fn shown_batches(&self, mut rows: Vec<BatchRow>) -> Vec<BatchRow> {
        for options in rows.iter_mut().map(|row| &mut Arc::make_mut(&mut row.spec).options) {
            match self.mutant {
                Some(Mutant::NoWindow) => options.window = None,
                Some(Mutant::NoPace) => options.calls_per_second = None,
                Some(Mutant::NoWaves) => options.wave_size = 0,
                Some(Mutant::NoBreaker) => options.breaker = None,
                _ => {}
            }
        }
        rows
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no holder of the lock panics")
    }

    pub fn changes(&self) -> watch::Receiver<u64> {
        self.hint.subscribe()
    }

    /// Something may have been committed.
    pub fn committed(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
    }

    /// Commits so far.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// The idempotency key as a mutant's store would take it.
    pub fn key_taken(&self, key: Option<Idempotency>) -> Option<Idempotency> {
        let mut key = key?;
        if self.mutant == Some(Mutant::KeyIgnored) {
            let mut seen = self.seen();
            if seen.keys > 0 {
                key.key = format!("{} {}", key.key, seen.keys);
            }
            seen.keys += 1;
        }
        Some(key)
    }

    /// Whether anyone looks for a batch that a key has made.
    pub fn reads_keys(&self) -> bool {
        self.mutant != Some(Mutant::KeyIgnored)
    }

    /// Work was made.
    pub fn hint(&self) {
        self.hint.send_modify(|n| *n += 1);
    }

    /// What must not have happened, since the last call.
    pub fn violations(&self) -> Vec<String> {
        std::mem::take(&mut self.seen().violations)
    }

    /// What must not have happened, from the given place on.
    pub fn violations_from(&self, place: usize) -> Vec<String> {
        self.seen().violations.get(place..).unwrap_or_default().to_vec()
    }

    /// Changes that came too late.
    pub fn stale(&self) -> u64 {
        self.seen().stale
    }

    /// Reports of a batch in a store that keeps each.
    pub fn reports(&self, batch: &BatchId) -> u32 {
        self.seen().reports.get(batch).copied().unwrap_or(0)
    }

    pub fn apply(&self, store: &dyn Store, changes: &[Change]) -> Result<Vec<Applied>> {
        changes.iter().map(|change| self.apply_one(store, change)).collect()
    }

    fn apply_one(&self, store: &dyn Store, change: &Change) -> Result<Applied> {
        let Change::Entry(entry_change) = change else {
            let applied = ready(store.apply(std::slice::from_ref(change)))?.remove(0);
            self.seen().stale += u64::from(!applied.is_applied());
            if applied.is_applied() {
                self.hint();
            }
            if let Change::Batch(change) = change {
                self.world.note(|| format!("batch {}: {applied:?}", change.to));
                let moved = applied.is_applied().then(|| self.bounds().moved(change)).flatten();
                self.seen().violations.extend(moved);
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
            let found = self.bounds().entry(&change, &before);
            self.seen().violations.extend(found);
            if change.event.is_recorded() {
                self.hint();
            }
            self.lease_held(entry_change, &before);
        } else {
            let mut seen = self.seen();
            seen.stale += 1;
            if self.mutant == Some(Mutant::CountersIncremented) {
                *seen.miscounted.entry((change.to, change.outcome)).or_default() += 1;
            }
        }
        Ok(applied)
    }

    /// What only the holder of a lease may do was done under that lease.
    fn lease_held(&self, change: &Transition, before: &EntryRow) {
        let Some(epoch) = change.lease_epoch.filter(|epoch| *epoch != before.lease_epoch) else {
            return;
        };
        let (event, call) = (change.event.as_str(), change.key.call_id(change.attempt));
        let held = before.lease_epoch;
        self.seen()
            .violations
            .push(format!("{event} of {call} under lease {epoch}, which was another's: {held}"));
    }

    /// The batch as it is told to users.
    pub fn told(&self, mut row: BatchRow) -> BatchRow {
        for (place, n) in &self.seen().miscounted {
            *row.counters.entry(*place).or_default() += n;
        }
        row
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
            // The lease's deadline, which differs from lease to lease, is a second fence.
            Some(Mutant::EpochIgnored) if change.lease_epoch.is_some() => {
                (change.lease_epoch, change.deadline_seen) = (None, None);
            }
            Some(Mutant::LeaseNotRenewed) if change.event == EntryEvent::Heartbeat => {
                change.deadline = now.deadline;
            }
            Some(Mutant::NoBackoff) if change.to == EntryState::RetryWait => {
                change.not_before = Some(change.at);
            }
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
        let this = change.key.call_id(change.attempt);
        if matches!(
            change.event,
            EntryEvent::DialClaimed | EntryEvent::Answered | EntryEvent::Heartbeat
        ) {
            seen.alive.insert(this, change.at);
        } else if change.event == EntryEvent::AgentLost
            && let Some(at) =
                seen.alive.get(&this).filter(|at| **at + limits::HEARTBEAT_LEASE > now)
        {
            let text = format!("{this} was given up at {now}, and was alive at {at}");
            seen.violations.push(text);
        }
        if change.event == EntryEvent::LeaseExpired {
            self.world.saw(Fault::LeaseExpired);
        }
        if !in_time {
            let (event, call) = (change.event.as_str(), change.key.call_id(change.attempt));
            let deadline = before.deadline.map_or("none".to_owned(), |at| at.to_string());
            seen.violations.push(format!("{event} of {call} came early: at {now}, not {deadline}"));
        }
        if let Some(at) = change.not_before {
            seen.not_before.insert(change.key.clone(), at);
        }
    }

    pub fn claim_due(&self, store: &dyn Store, mut claim: ClaimDue) -> Result<Claimed> {
        if self.mutant == Some(Mutant::PauseIgnored) {
            claim.claimable = BatchState::ALL;
        }
        if self.mutant == Some(Mutant::NoConcurrencyLimit) {
            claim.max_in_flight = u32::MAX;
        }
        claim.exclusive &= self.mutant != Some(Mutant::NoNumberHold);
        let before = ready(store.batch(&claim.tenant, &claim.batch))?;
        let claimed = ready(store.claim_due(claim.clone()))?;
        if let Some(before) = before {
            let found = self.bounds().leased(&before, &claimed.leased, &claim);
            self.seen().violations.extend(found);
        }
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
    pub fn handed_out(&self, store: &dyn Store, due: &[OutboxRow]) -> Result<()> {
        if self.mutant == Some(Mutant::OutboxForgets) {
            let ids: Vec<_> = due.iter().map(|row| row.id).collect();
            ready(store.outbox_done(&ids))?;
        }
        Ok(())
    }
}
