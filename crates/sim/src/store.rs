use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use dialtone_clock::Timestamp;
use dialtone_contract::{BatchId, BatchState, EntryKey, TenantId};
use dialtone_store::memory::MemoryStore;
use dialtone_store::{
    Accepted, Applied, BatchRow, BatchStore, CallRow, Change, ClaimDue, Directory, EntryRow,
    EventRow, Idempotency, NewBatch, NewEntry, Outbox, OutboxRow, StoreError, Transition,
};
use tokio::sync::watch;

use crate::world::World;
use crate::{Mutant, ready};

/// The memory engine as one server sees it: calls can kill the server, commits can be
/// reported wrongly, and a [`Mutant`] can take a guard away.
pub struct SimStore {
    pub inner: Arc<MemoryStore>,
    world: World,
    mutant: Option<Mutant>,
    shared: Arc<Shared>,
    /// Set by a crash; the server is gone from then on.
    crashed: Mutex<bool>,
}

/// What all servers' views share.
#[derive(Default)]
pub struct Shared {
    /// Attempts that were ended before their deadline.
    early: Mutex<Vec<String>>,
    /// Reports of a store that writes them twice.
    reports: Mutex<BTreeMap<BatchId, Vec<String>>>,
}

impl Shared {
    pub fn early(&self) -> Vec<String> {
        self.early.lock().expect("no holder of the lock panics").clone()
    }
}

type Result<T> = std::result::Result<T, StoreError>;

impl SimStore {
    pub fn new(
        inner: Arc<MemoryStore>,
        world: World,
        mutant: Option<Mutant>,
        shared: Arc<Shared>,
    ) -> Self {
        Self { inner, world, mutant, shared, crashed: Mutex::new(false) }
    }

    pub fn has_crashed(&self) -> bool {
        *self.crashed.lock().expect("no holder of the lock panics")
    }

    fn crash(&self) -> StoreError {
        *self.crashed.lock().expect("no holder of the lock panics") = true;
        StoreError::Unavailable("the server died".to_owned())
    }

    /// A read: the server may die before it.
    fn read<T>(&self, value: Result<T>) -> Result<T> {
        if self.has_crashed() || self.world.strikes(|faults| faults.crash) {
            return Err(self.crash());
        }
        value
    }

    /// A write: the server may die before or after it, or not learn of its commit.
    fn write<T>(&self, write: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.has_crashed() || self.world.strikes(|faults| faults.crash) {
            return Err(self.crash());
        }
        let value = write();
        if self.world.strikes(|faults| faults.crash) {
            return Err(self.crash());
        }
        if self.world.strikes(|faults| faults.commit_unknown) {
            return Err(StoreError::Unknown("simulated".to_owned()));
        }
        value
    }

    fn current(&self, change: &Transition) -> Option<EntryRow> {
        let after = change.key.seq - 1;
        let page = ready(self.inner.entries(&change.tenant, &change.key.batch, after, 1));
        page.ok()?.pop().map(|(entry, _)| entry)
    }

    /// The change as a mutant's store would understand it.
    fn mutated(&self, change: &Change) -> Change {
        let Change::Entry(change) = change else { return change.clone() };
        let (mut change, Some(now)) = (change.clone(), self.current(change)) else {
            return Change::Entry(change.clone());
        };
        match self.mutant {
            Some(Mutant::NoAttemptFence) => {
                let by = i64::from(change.new_attempt) - i64::from(change.attempt);
                change.attempt = now.attempt;
                change.new_attempt = u32::try_from(i64::from(now.attempt) + by).unwrap_or(0);
                change.from_outcome = now.outcome;
            }
            Some(Mutant::NoStateGuard) => {
                (change.from, change.from_outcome) = (now.state, now.outcome);
            }
            _ => {}
        }
        Change::Entry(change)
    }

    /// Notes timeouts that come before the deadline that the row names.
    fn watch_deadlines(&self, changes: &[Change]) {
        for change in changes {
            let Change::Entry(change) = change else { continue };
            let timed_out = change.outcome.is_some_and(|outcome| outcome.is_timeout());
            let Some(now) = self.current(change).filter(|_| timed_out) else { continue };
            let current = now.attempt == change.attempt && now.state == change.from;
            if current && now.deadline.is_some_and(|deadline| deadline > self.world.now()) {
                let text = format!(
                    "{:?} of {} came early",
                    change.event,
                    change.key.call_id(change.attempt)
                );
                self.shared.early.lock().expect("no holder of the lock panics").push(text);
            }
        }
    }
}

#[async_trait]
impl BatchStore for SimStore {
    async fn create_batch(&self, new: NewBatch) -> Result<()> {
        self.write(|| ready(self.inner.create_batch(new)))
    }

    async fn add_entries(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        entries: &[NewEntry],
    ) -> Result<()> {
        self.write(|| ready(self.inner.add_entries(tenant, batch, entries)))
    }

    async fn accept_batch(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        at: Timestamp,
        idempotency: Option<Idempotency>,
    ) -> Result<Accepted> {
        self.write(|| ready(self.inner.accept_batch(tenant, batch, at, idempotency)))
    }

    async fn accepted_under(
        &self,
        tenant: &TenantId,
        key: &str,
    ) -> Result<Option<(BatchId, String)>> {
        self.read(ready(self.inner.accepted_under(tenant, key)))
    }

    async fn apply(&self, changes: &[Change]) -> Result<Vec<Applied>> {
        self.watch_deadlines(changes);
        self.write(|| {
            let mut applied = Vec::new();
            for change in changes {
                let change = self.mutated(change);
                applied.extend(ready(self.inner.apply(&[change]))?);
            }
            Ok(applied)
        })
    }

    async fn claim_due(&self, claim: ClaimDue) -> Result<Vec<EntryRow>> {
        self.write(|| ready(self.inner.claim_due(claim)))
    }

    async fn batch(&self, tenant: &TenantId, batch: &BatchId) -> Result<Option<BatchRow>> {
        self.read(ready(self.inner.batch(tenant, batch)))
    }

    async fn batches(&self, tenant: &TenantId, limit: u32) -> Result<Vec<BatchRow>> {
        self.read(ready(self.inner.batches(tenant, limit)))
    }

    async fn batches_in(&self, states: &[BatchState]) -> Result<Vec<BatchRow>> {
        self.read(ready(self.inner.batches_in(states)))
    }

    async fn call(
        &self,
        tenant: &TenantId,
        key: &EntryKey,
        attempt: u32,
    ) -> Result<Option<(EntryRow, CallRow)>> {
        let found = ready(self.inner.call(tenant, key, attempt));
        let unfenced = |(mut entry, call): (EntryRow, CallRow)| {
            if self.mutant == Some(Mutant::NoAttemptFence) {
                entry.attempt = attempt;
            }
            (entry, call)
        };
        self.read(found.map(|found| found.map(unfenced)))
    }

    async fn entries(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        after: u32,
        limit: u32,
    ) -> Result<Vec<(EntryRow, Vec<CallRow>)>> {
        self.read(ready(self.inner.entries(tenant, batch, after, limit)))
    }

    async fn due_deadlines(&self, now: Timestamp, limit: u32) -> Result<Vec<(EntryRow, CallRow)>> {
        self.read(ready(self.inner.due_deadlines(now, limit)))
    }

    async fn next_due(
        &self,
        now: Timestamp,
        claimable: &[BatchState],
    ) -> Result<Option<Timestamp>> {
        self.read(ready(self.inner.next_due(now, claimable)))
    }

    async fn events(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<EventRow>> {
        self.read(ready(self.inner.events(tenant, batch, after, limit)))
    }

    async fn put_report(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        report: &str,
        at: Timestamp,
    ) -> Result<bool> {
        self.write(|| {
            if self.mutant == Some(Mutant::ReportTwice) {
                let mut reports = self.shared.reports.lock().expect("no holder of the lock panics");
                reports.entry(batch.clone()).or_default().push(report.to_owned());
                return Ok(true);
            }
            ready(self.inner.put_report(tenant, batch, report, at))
        })
    }

    async fn reports(&self, tenant: &TenantId, batch: &BatchId) -> Result<Vec<String>> {
        if self.mutant == Some(Mutant::ReportTwice) {
            let reports = self.shared.reports.lock().expect("no holder of the lock panics");
            return Ok(reports.get(batch).cloned().unwrap_or_default());
        }
        self.read(ready(self.inner.reports(tenant, batch)))
    }

    async fn next_epoch(&self) -> Result<u64> {
        self.write(|| ready(self.inner.next_epoch()))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes()
    }
}

#[async_trait]
impl Outbox for SimStore {
    async fn due_outbox(
        &self,
        now: Timestamp,
        again_at: Timestamp,
        limit: u32,
    ) -> Result<Vec<OutboxRow>> {
        self.write(|| ready(self.inner.due_outbox(now, again_at, limit)))
    }

    async fn outbox_done(&self, ids: &[i64]) -> Result<()> {
        self.write(|| ready(self.inner.outbox_done(ids)))
    }
}

#[async_trait]
impl Directory for SimStore {
    async fn seed_demo(&self) -> Result<()> {
        ready(self.inner.seed_demo())
    }

    async fn has_voice(&self, tenant: &TenantId, voice: &str) -> Result<bool> {
        self.read(ready(self.inner.has_voice(tenant, voice)))
    }

    async fn has_user(&self, tenant: &TenantId, user: i64) -> Result<bool> {
        self.read(ready(self.inner.has_user(tenant, user)))
    }
}
