use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use dialtone_auth::NumberKey;
use dialtone_clock::Timestamp;
use dialtone_contract::{BatchId, BatchState, EntryKey, FieldError, TenantId};
use dialtone_store::{
    Accepted, Applied, BatchFilter, BatchRow, BatchStore, CallRow, Change, ClaimDue, Claimed,
    Directory, EntryFilter, EntryRow, EventRow, Idempotency, IntakeStore, Lane, NewBatch, NewEntry,
    NumberUse, Outbox, OutboxRow, Store, StoreError, SuppressionRow, Suppressions, Webhook,
    Webhooks,
};
use tokio::sync::watch;

use crate::faults::Fault;
use crate::guards::Guards;
use crate::task::{Owner, ready};
use crate::world::World;

/// The engine as one server sees it. Every call takes time before and after the
/// moment at which it happens, so that anything can come in between; it can kill the
/// server, be refused, or commit and be reported as failed.
pub struct SimStore {
    inner: Arc<dyn Store>,
    world: World,
    guards: Arc<Guards>,
    /// Set when the server ends, shared with its other views.
    dead: Arc<AtomicBool>,
    /// Whether this view serves dial claims alone.
    for_claims: bool,
    /// Whether this is the view of someone to whom nothing goes wrong.
    calm: bool,
}

type Result<T> = std::result::Result<T, StoreError>;

impl SimStore {
    pub fn new(inner: Arc<dyn Store>, world: World, guards: Arc<Guards>) -> Self {
        Self { inner, world, guards, dead: Arc::default(), for_claims: false, calm: false }
    }

    /// The rows as an outsider sees them, at once.
    pub fn outside(inner: Arc<dyn Store>, world: World, guards: Arc<Guards>) -> Self {
        Self { calm: true, ..Self::new(inner, world, guards) }
    }

    /// The same server's view for its dial claims.
    pub fn for_claims(&self) -> Self {
        let (inner, world) = (Arc::clone(&self.inner), self.world.clone());
        let (guards, dead) = (Arc::clone(&self.guards), Arc::clone(&self.dead));
        Self { inner, world, guards, dead, for_claims: true, calm: false }
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Ends the server, here and now.
    pub fn kill(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    /// Time passes. Does not return in a server that died meanwhile: whatever asked is
    /// gone, between two of its steps.
    async fn pass(&self) {
        self.world.step().await;
        if self.world.strikes(Fault::Crash) {
            self.kill();
        }
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    async fn read<T: Send>(&self, read: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        if self.calm {
            return read();
        }
        self.pass().await;
        if self.world.strikes(Fault::Unavailable) {
            return Err(StoreError::Unavailable("simulated".to_owned()));
        }
        let value = read();
        self.pass().await;
        value
    }

    /// Makes changes once more, seconds later: whoever sent them did not hear that they were
    /// made, and is none of the servers any more.
    fn repeat(&self, changes: Vec<Change>) {
        let (world, guards, inner) =
            (self.world.clone(), Arc::clone(&self.guards), Arc::clone(&self.inner));
        let owner = Owner { server: usize::MAX, life: 0 };
        // Soon enough, at times, to meet the next lease before its dispatch was taken.
        let most = if world.below(2) == 0 { 150 } else { 8_000 };
        let after = world.between(Duration::from_millis(5), Duration::from_millis(most));
        self.world.spawn(owner, async move {
            world.sleep(after).await;
            let _ = guards.apply(&*inner, &changes);
            guards.committed();
        });
    }

    async fn write<T: Send>(&self, write: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let write = || {
            let value = write();
            self.guards.committed();
            value
        };
        let value = self.read(write).await;
        if self.world.strikes(Fault::CommitUnknown) {
            return Err(StoreError::Unknown("simulated".to_owned()));
        }
        value
    }
}

#[async_trait]
impl BatchStore for SimStore {
    async fn create_batch(&self, new: NewBatch) -> Result<()> {
        let new = self.guards.as_live(new);
        self.write(|| ready(self.inner.create_batch(new))).await
    }

    async fn add_entries(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        entries: &[NewEntry],
    ) -> Result<()> {
        let entries = self.guards.as_live_entries(entries);
        self.write(|| ready(self.inner.add_entries(tenant, batch, &entries))).await
    }

    async fn discard_batch(&self, tenant: &TenantId, batch: &BatchId) -> Result<bool> {
        self.write(|| ready(self.inner.discard_batch(tenant, batch))).await
    }

    async fn accept_batch(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        at: Timestamp,
        idempotency: Option<Idempotency>,
    ) -> Result<Accepted> {
        let write = || {
            let idempotency = self.guards.key_taken(idempotency);
            let accepted = ready(self.inner.accept_batch(tenant, batch, at, idempotency))?;
            self.guards.hint();
            Ok(accepted)
        };
        self.write(write).await
    }

    async fn accepted_under(
        &self,
        tenant: &TenantId,
        key: &str,
    ) -> Result<Option<(BatchId, String)>> {
        let found = self.read(|| ready(self.inner.accepted_under(tenant, key))).await;
        found.map(|found| found.filter(|_| self.calm || self.guards.reads_keys()))
    }

    async fn apply(&self, changes: &[Change]) -> Result<Vec<Applied>> {
        let is_record = |change: &Change| match change {
            Change::Entry(change) => change.lease_epoch.is_some(),
            Change::Batch(_) => false,
        };
        if changes.iter().all(is_record) && self.world.strikes(Fault::RecordRepeated) {
            self.repeat(changes.to_vec());
        }
        self.write(|| self.guards.apply(&*self.inner, changes)).await
    }

    async fn claim_due(&self, claim: ClaimDue) -> Result<Claimed> {
        self.write(|| self.guards.claim_due(&*self.inner, claim)).await
    }

    async fn waiting(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        limit: u32,
    ) -> Result<Vec<EntryRow>> {
        self.read(|| ready(self.inner.waiting(tenant, batch, limit))).await
    }

    async fn under_way(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
    ) -> Result<Vec<(EntryRow, CallRow)>> {
        self.read(|| ready(self.inner.under_way(tenant, batch))).await
    }

    async fn batch(&self, tenant: &TenantId, batch: &BatchId) -> Result<Option<BatchRow>> {
        let read = || {
            let found = ready(self.inner.batch(tenant, batch))?;
            Ok(if self.calm { found.map(|row| self.guards.told(row)) } else { found })
        };
        self.read(read).await
    }

    async fn batches(
        &self,
        tenant: &TenantId,
        filter: &BatchFilter,
        limit: u32,
    ) -> Result<Vec<BatchRow>> {
        self.read(|| ready(self.inner.batches(tenant, filter, limit))).await
    }

    async fn batches_in(&self, states: &[BatchState]) -> Result<Vec<BatchRow>> {
        let read = || Ok(self.guards.shown_batches(ready(self.inner.batches_in(states))?));
        self.read(read).await
    }

    async fn due_batches(
        &self,
        states: &[BatchState],
        now: Timestamp,
        after: Option<&BatchId>,
        limit: u32,
    ) -> Result<Vec<BatchRow>> {
        let read = || {
            let found = ready(self.inner.due_batches(states, now, after, limit))?;
            Ok(self.guards.shown_batches(found))
        };
        self.read(read).await
    }

    async fn call(
        &self,
        tenant: &TenantId,
        key: &EntryKey,
        attempt: u32,
    ) -> Result<Option<(EntryRow, CallRow)>> {
        let read = || {
            let found = ready(self.inner.call(tenant, key, attempt))?;
            Ok(found.map(|found| self.guards.shown(found, attempt, self.for_claims)))
        };
        self.read(read).await
    }

    async fn entries(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        after: u32,
        limit: u32,
    ) -> Result<Vec<(EntryRow, Vec<CallRow>)>> {
        self.read(|| ready(self.inner.entries(tenant, batch, after, limit))).await
    }

    async fn find_entries(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        filter: EntryFilter,
        after: u32,
        until: u32,
        limit: u32,
    ) -> Result<Vec<(EntryRow, Vec<CallRow>)>> {
        let inner = self.inner.find_entries(tenant, batch, filter, after, until, limit);
        self.read(|| ready(inner)).await
    }

    async fn due_deadlines(&self, now: Timestamp, limit: u32) -> Result<Vec<(EntryRow, CallRow)>> {
        self.read(|| ready(self.inner.due_deadlines(now, limit))).await
    }

    async fn next_due(
        &self,
        now: Timestamp,
        claimable: &[BatchState],
    ) -> Result<Option<Timestamp>> {
        self.read(|| ready(self.inner.next_due(now, claimable))).await
    }

    async fn events(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<EventRow>> {
        self.read(|| ready(self.inner.events(tenant, batch, after, limit))).await
    }

    async fn entry_events(
        &self,
        tenant: &TenantId,
        key: &EntryKey,
        after: u64,
        until: u64,
    ) -> Result<Vec<EventRow>> {
        self.read(|| ready(self.inner.entry_events(tenant, key, after, until))).await
    }

    async fn number_use(&self, tenant: &TenantId, number: NumberKey) -> Result<Option<NumberUse>> {
        self.read(|| ready(self.inner.number_use(tenant, number))).await
    }

    async fn forget_numbers(&self, before: Timestamp, limit: u32) -> Result<u32> {
        self.write(|| ready(self.inner.forget_numbers(before, limit))).await
    }

    async fn put_report(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        report: &str,
        at: Timestamp,
    ) -> Result<bool> {
        let write = || {
            self.guards.report(batch);
            ready(self.inner.put_report(tenant, batch, report, at))
        };
        self.write(write).await
    }

    async fn reports(&self, tenant: &TenantId, batch: &BatchId) -> Result<Vec<String>> {
        self.read(|| ready(self.inner.reports(tenant, batch))).await
    }

    async fn next_epoch(&self) -> Result<u64> {
        self.write(|| ready(self.inner.next_epoch())).await
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.guards.changes()
    }
}

#[async_trait]
impl Outbox for SimStore {
    async fn due_outbox(
        &self,
        lane: Lane,
        now: Timestamp,
        again_at: Timestamp,
        limit: u32,
    ) -> Result<Vec<OutboxRow>> {
        let write = || {
            let due = ready(self.inner.due_outbox(lane, now, again_at, limit))?;
            self.guards.handed_out(&*self.inner, &due)?;
            Ok(due)
        };
        self.write(write).await
    }

    async fn outbox_done(&self, ids: &[i64]) -> Result<()> {
        self.write(|| ready(self.inner.outbox_done(ids))).await
    }

    async fn outbox_later(&self, id: i64, at: Timestamp, tries: u32) -> Result<()> {
        self.write(|| ready(self.inner.outbox_later(id, at, tries))).await
    }
}

#[async_trait]
impl Directory for SimStore {
    async fn seed_demo(&self) -> Result<()> {
        ready(self.inner.seed_demo())
    }

    async fn has_voice(&self, tenant: &TenantId, voice: &str) -> Result<bool> {
        self.read(|| ready(self.inner.has_voice(tenant, voice))).await
    }

    async fn has_user(&self, tenant: &TenantId, user: i64) -> Result<bool> {
        self.read(|| ready(self.inner.has_user(tenant, user))).await
    }

    async fn in_flight(&self, tenant: &TenantId) -> Result<u32> {
        self.read(|| ready(self.inner.in_flight(tenant))).await
    }

    async fn max_concurrent(&self, tenant: &TenantId) -> Result<Option<u32>> {
        self.read(|| ready(self.inner.max_concurrent(tenant))).await
    }

    async fn set_max_concurrent(&self, tenant: &TenantId, max: Option<u32>) -> Result<bool> {
        self.write(|| ready(self.inner.set_max_concurrent(tenant, max))).await
    }
}

#[async_trait]
impl Suppressions for SimStore {
    async fn suppress(
        &self,
        tenant: &TenantId,
        numbers: &[NumberKey],
        source: &str,
        at: Timestamp,
    ) -> Result<u32> {
        self.write(|| ready(self.inner.suppress(tenant, numbers, source, at))).await
    }

    async fn unsuppress(&self, tenant: &TenantId, number: NumberKey) -> Result<bool> {
        self.write(|| ready(self.inner.unsuppress(tenant, number))).await
    }

    async fn suppressions(
        &self,
        tenant: &TenantId,
        after: Option<NumberKey>,
        limit: u32,
    ) -> Result<Vec<SuppressionRow>> {
        self.read(|| ready(self.inner.suppressions(tenant, after, limit))).await
    }

    async fn is_suppressed(&self, tenant: &TenantId, number: NumberKey) -> Result<bool> {
        self.read(|| ready(self.inner.is_suppressed(tenant, number))).await
    }
}

#[async_trait]
impl IntakeStore for SimStore {
    async fn add_rejects(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        rejects: &[FieldError],
    ) -> Result<()> {
        self.write(|| ready(self.inner.add_rejects(tenant, batch, rejects))).await
    }

    async fn rejects(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        after: u32,
        limit: u32,
    ) -> Result<Vec<FieldError>> {
        self.read(|| ready(self.inner.rejects(tenant, batch, after, limit))).await
    }

    async fn forget_keys(&self, before: Timestamp) -> Result<u64> {
        self.write(|| ready(self.inner.forget_keys(before))).await
    }
}

#[async_trait]
impl Webhooks for SimStore {
    async fn add_webhook(&self, tenant: &TenantId, webhook: &Webhook) -> Result<bool> {
        self.write(|| ready(self.inner.add_webhook(tenant, webhook))).await
    }

    async fn webhooks(&self, tenant: &TenantId) -> Result<Vec<Webhook>> {
        self.read(|| ready(self.inner.webhooks(tenant))).await
    }

    async fn remove_webhook(&self, tenant: &TenantId, id: &str) -> Result<bool> {
        self.write(|| ready(self.inner.remove_webhook(tenant, id))).await
    }
}
