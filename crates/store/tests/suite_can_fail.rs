//! The conformance suite notices broken engines: each flaw planted here fails at least
//! one case, and the same engine without a flaw fails none.

use std::sync::Arc;

use async_trait::async_trait;
use dialtone_auth::NumberKey;
use dialtone_clock::Timestamp;
use dialtone_contract::{BatchId, BatchState, EntryKey, FieldError, TenantId};
use dialtone_store::conformance::CASES;
use dialtone_store::memory::MemoryStore;
use dialtone_store::{
    Accepted, Applied, BatchFilter, BatchRow, BatchStore, CallRow, Change, ClaimDue, Claimed,
    Directory, EntryFilter, EntryRow, EventRow, Idempotency, IntakeStore, Lane, NewBatch, NewEntry,
    NumberUse, Outbox, OutboxRow, Pace, StoreError, SuppressionRow, Suppressions, Transition,
    Webhook, Webhooks,
};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Flaw {
    None,
    /// The attempt is not compared.
    AnyAttempt,
    /// The state is not compared.
    AnyState,
    /// The lease epoch is not compared.
    AnyEpoch,
    /// The deadline is not compared.
    AnyDeadline,
    /// The state of the batch is not compared.
    AnyBatchState,
    /// A batch that moved away and back counts as unmoved.
    AnyMoves,
    /// Claims look at no batch state.
    AnyClaimable,
    /// Claims take one entry more than asked for.
    OverClaim,
    /// Claims look at no calls in flight.
    AnyInFlight,
    /// What shall leave is forgotten.
    NoOutbox,
    /// What was handed out is gone.
    AtMostOnce,
    /// Dials are not counted.
    NoDials,
    /// Call logs are not written.
    NoCalls,
    /// Idempotency keys are forgotten.
    NoKeys,
    /// Every report is said to be the first.
    ManyReports,
    /// Deadlines are found one second late.
    LateDeadlines,
    /// Pages begin one entry too early.
    OverlappingPages,
    /// What a tenant has, all have.
    AnyTenant,
    /// The batch's state is not compared where a change names it.
    AnyBatchStateOfChange,
    /// Claims look at no calls in flight of the tenant.
    AnyTenantInFlight,
    /// Waves are not kept apart.
    NoBarrier,
    /// The pace is not compared.
    AnyPace,
    /// Numbers are not held.
    NotExclusive,
    /// Windows are not looked at.
    AnyZone,
    /// Numbers are not let go of.
    NumbersStay,
    /// Suppressed numbers are forgotten.
    NoSuppressions,
    /// Lanes are mixed.
    OneLane,
    /// Rejected rows are forgotten.
    NoRejects,
}

const FLAWS: &[Flaw] = &[
    Flaw::AnyAttempt,
    Flaw::AnyState,
    Flaw::AnyEpoch,
    Flaw::AnyDeadline,
    Flaw::AnyBatchState,
    Flaw::AnyMoves,
    Flaw::AnyClaimable,
    Flaw::OverClaim,
    Flaw::AnyInFlight,
    Flaw::NoOutbox,
    Flaw::AtMostOnce,
    Flaw::NoDials,
    Flaw::NoCalls,
    Flaw::NoKeys,
    Flaw::ManyReports,
    Flaw::LateDeadlines,
    Flaw::OverlappingPages,
    Flaw::AnyTenant,
    Flaw::AnyBatchStateOfChange,
    Flaw::AnyTenantInFlight,
    Flaw::NoBarrier,
    Flaw::AnyPace,
    Flaw::NotExclusive,
    Flaw::AnyZone,
    Flaw::NumbersStay,
    Flaw::NoSuppressions,
    Flaw::OneLane,
    Flaw::NoRejects,
];

/// The memory engine with one flaw.
struct Broken {
    inner: MemoryStore,
    flaw: Flaw,
}

impl Broken {
    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    /// The change as a broken engine understands it: what it does not compare is made to
    /// fit.
    async fn misread(&self, change: &Change) -> Result<Change, StoreError> {
        match change {
            Change::Entry(change) => Ok(Change::Entry(self.misread_entry(change).await?)),
            Change::Batch(change) => {
                let mut change = change.clone();
                let found = self.inner.batch(&change.tenant, &change.batch).await?;
                if let Some(found) = found.filter(|_| self.is(Flaw::AnyBatchState)) {
                    change.from = found.state;
                }
                if self.is(Flaw::AnyMoves) {
                    change.unmoved_since = None;
                }
                Ok(Change::Batch(change))
            }
        }
    }

    async fn misread_entry(&self, change: &Transition) -> Result<Transition, StoreError> {
        let mut change = change.clone();
        let (key, tenant) = (&change.key, &change.tenant);
        let page = self.inner.entries(tenant, &key.batch, key.seq - 1, 1).await?;
        let Some((entry, _)) = page.into_iter().find(|(entry, _)| entry.key == *key) else {
            return Ok(change);
        };
        match self.flaw {
            Flaw::AnyAttempt => {
                change.attempt = entry.attempt;
                change.new_attempt = change.new_attempt.min(entry.attempt);
            }
            Flaw::AnyState => {
                change.from = entry.state;
                change.from_outcome = entry.outcome;
            }
            Flaw::AnyEpoch => change.lease_epoch = None,
            Flaw::AnyDeadline => change.deadline_seen = None,
            Flaw::NoOutbox => change.outbox.clear(),
            Flaw::NoDials => change.dial = false,
            Flaw::AnyBatchStateOfChange => change.batch_in = None,
            Flaw::NumbersStay => change.number = None,
            Flaw::NoCalls => change.call = dialtone_store::CallPatch::default(),
            _ => {}
        }
        Ok(change)
    }
}

#[async_trait]
impl BatchStore for Broken {
    async fn create_batch(&self, new: NewBatch) -> Result<(), StoreError> {
        self.inner.create_batch(new).await
    }

    async fn add_entries(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        entries: &[NewEntry],
    ) -> Result<(), StoreError> {
        self.inner.add_entries(tenant, batch, entries).await
    }

    async fn discard_batch(&self, tenant: &TenantId, batch: &BatchId) -> Result<bool, StoreError> {
        self.inner.discard_batch(tenant, batch).await
    }

    async fn accept_batch(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        at: Timestamp,
        idempotency: Option<Idempotency>,
    ) -> Result<Accepted, StoreError> {
        let idempotency = idempotency.filter(|_| !self.is(Flaw::NoKeys));
        self.inner.accept_batch(tenant, batch, at, idempotency).await
    }

    async fn accepted_under(
        &self,
        tenant: &TenantId,
        key: &str,
    ) -> Result<Option<(BatchId, String)>, StoreError> {
        self.inner.accepted_under(tenant, key).await
    }

    async fn apply(&self, changes: &[Change]) -> Result<Vec<Applied>, StoreError> {
        let mut answers = Vec::new();
        for change in changes {
            let change = self.misread(change).await?;
            answers.extend(self.inner.apply(&[change]).await?);
        }
        Ok(answers)
    }

    async fn claim_due(&self, mut claim: ClaimDue) -> Result<Claimed, StoreError> {
        if self.is(Flaw::AnyClaimable) {
            claim.claimable = BatchState::ALL;
        }
        claim.limit += u32::from(self.is(Flaw::OverClaim));
        if self.is(Flaw::AnyInFlight) {
            claim.max_in_flight = u32::MAX;
        }
        match self.flaw {
            Flaw::AnyTenantInFlight => claim.tenant_max_in_flight = None,
            Flaw::NoBarrier => claim.barrier = false,
            Flaw::NotExclusive => claim.exclusive = false,
            Flaw::AnyZone => claim.zones_open = None,
            Flaw::AnyPace => {
                let row = self.inner.batch(&claim.tenant, &claim.batch).await?;
                let now = row.and_then(|row| row.paced_at);
                claim.pace = claim.pace.map(|pace| Pace { seen: now, ..pace });
            }
            _ => {}
        }
        self.inner.claim_due(claim).await
    }

    async fn waiting(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        limit: u32,
    ) -> Result<Vec<EntryRow>, StoreError> {
        self.inner.waiting(tenant, batch, limit).await
    }

    async fn under_way(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
    ) -> Result<Vec<(EntryRow, CallRow)>, StoreError> {
        self.inner.under_way(tenant, batch).await
    }

    async fn batch(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
    ) -> Result<Option<BatchRow>, StoreError> {
        self.inner.batch(tenant, batch).await
    }

    async fn batches(
        &self,
        tenant: &TenantId,
        filter: &BatchFilter,
        limit: u32,
    ) -> Result<Vec<BatchRow>, StoreError> {
        if self.is(Flaw::AnyTenant) {
            return self.inner.batches_in(BatchState::ALL).await;
        }
        self.inner.batches(tenant, filter, limit).await
    }

    async fn batches_in(&self, states: &[BatchState]) -> Result<Vec<BatchRow>, StoreError> {
        self.inner.batches_in(states).await
    }

    async fn due_batches(
        &self,
        states: &[BatchState],
        now: Timestamp,
        after: Option<&BatchId>,
        limit: u32,
    ) -> Result<Vec<BatchRow>, StoreError> {
        self.inner.due_batches(states, now, after, limit).await
    }

    async fn call(
        &self,
        tenant: &TenantId,
        key: &EntryKey,
        attempt: u32,
    ) -> Result<Option<(EntryRow, CallRow)>, StoreError> {
        self.inner.call(tenant, key, attempt).await
    }

    async fn entries(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        after: u32,
        limit: u32,
    ) -> Result<Vec<(EntryRow, Vec<CallRow>)>, StoreError> {
        let early = u32::from(self.is(Flaw::OverlappingPages) && after > 5);
        self.inner.entries(tenant, batch, after - early, limit).await
    }

    async fn find_entries(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        filter: EntryFilter,
        after: u32,
        until: u32,
        limit: u32,
    ) -> Result<Vec<(EntryRow, Vec<CallRow>)>, StoreError> {
        let inner = self.inner.find_entries(tenant, batch, filter, after, until, limit);
        inner.await
    }

    async fn due_deadlines(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<(EntryRow, CallRow)>, StoreError> {
        let late = std::time::Duration::from_secs(u64::from(self.is(Flaw::LateDeadlines)));
        self.inner.due_deadlines(now - late, limit).await
    }

    async fn next_due(
        &self,
        now: Timestamp,
        claimable: &[BatchState],
    ) -> Result<Option<Timestamp>, StoreError> {
        self.inner.next_due(now, claimable).await
    }

    async fn events(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<EventRow>, StoreError> {
        self.inner.events(tenant, batch, after, limit).await
    }

    async fn entry_events(
        &self,
        tenant: &TenantId,
        key: &EntryKey,
        after: u64,
        until: u64,
    ) -> Result<Vec<EventRow>, StoreError> {
        self.inner.entry_events(tenant, key, after, until).await
    }

    async fn number_use(
        &self,
        tenant: &TenantId,
        number: NumberKey,
    ) -> Result<Option<NumberUse>, StoreError> {
        self.inner.number_use(tenant, number).await
    }

    async fn forget_numbers(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
        self.inner.forget_numbers(before, limit).await
    }

    async fn put_report(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        report: &str,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let first = self.inner.put_report(tenant, batch, report, at).await?;
        Ok(first || self.is(Flaw::ManyReports))
    }

    async fn reports(&self, tenant: &TenantId, batch: &BatchId) -> Result<Vec<String>, StoreError> {
        self.inner.reports(tenant, batch).await
    }

    async fn next_epoch(&self) -> Result<u64, StoreError> {
        self.inner.next_epoch().await
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes()
    }
}

#[async_trait]
impl Outbox for Broken {
    async fn due_outbox(
        &self,
        lane: Lane,
        now: Timestamp,
        again_at: Timestamp,
        limit: u32,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        let lane = if self.is(Flaw::OneLane) { Lane::LiveKit } else { lane };
        let due = self.inner.due_outbox(lane, now, again_at, limit).await?;
        if self.is(Flaw::AtMostOnce) {
            let ids: Vec<i64> = due.iter().map(|row| row.id).collect();
            self.inner.outbox_done(&ids).await?;
        }
        Ok(due)
    }

    async fn outbox_done(&self, ids: &[i64]) -> Result<(), StoreError> {
        self.inner.outbox_done(ids).await
    }

    async fn outbox_later(&self, id: i64, at: Timestamp, tries: u32) -> Result<(), StoreError> {
        self.inner.outbox_later(id, at, tries).await
    }
}

#[async_trait]
impl Directory for Broken {
    async fn seed_demo(&self) -> Result<(), StoreError> {
        self.inner.seed_demo().await
    }

    async fn has_voice(&self, tenant: &TenantId, voice: &str) -> Result<bool, StoreError> {
        self.inner.has_voice(tenant, voice).await
    }

    async fn has_user(&self, tenant: &TenantId, user: i64) -> Result<bool, StoreError> {
        self.inner.has_user(tenant, user).await
    }

    async fn in_flight(&self, tenant: &TenantId) -> Result<u32, StoreError> {
        self.inner.in_flight(tenant).await
    }

    async fn max_concurrent(&self, tenant: &TenantId) -> Result<Option<u32>, StoreError> {
        self.inner.max_concurrent(tenant).await
    }

    async fn set_max_concurrent(
        &self,
        tenant: &TenantId,
        max: Option<u32>,
    ) -> Result<bool, StoreError> {
        self.inner.set_max_concurrent(tenant, max).await
    }
}

#[async_trait]
impl Suppressions for Broken {
    async fn suppress(
        &self,
        tenant: &TenantId,
        numbers: &[NumberKey],
        source: &str,
        at: Timestamp,
    ) -> Result<u32, StoreError> {
        if self.is(Flaw::NoSuppressions) {
            return Ok(u32::try_from(numbers.len()).unwrap_or(u32::MAX));
        }
        self.inner.suppress(tenant, numbers, source, at).await
    }

    async fn unsuppress(&self, tenant: &TenantId, number: NumberKey) -> Result<bool, StoreError> {
        self.inner.unsuppress(tenant, number).await
    }

    async fn suppressions(
        &self,
        tenant: &TenantId,
        after: Option<NumberKey>,
        limit: u32,
    ) -> Result<Vec<SuppressionRow>, StoreError> {
        self.inner.suppressions(tenant, after, limit).await
    }

    async fn is_suppressed(
        &self,
        tenant: &TenantId,
        number: NumberKey,
    ) -> Result<bool, StoreError> {
        self.inner.is_suppressed(tenant, number).await
    }
}

#[async_trait]
impl IntakeStore for Broken {
    async fn add_rejects(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        rejects: &[FieldError],
    ) -> Result<(), StoreError> {
        if self.is(Flaw::NoRejects) {
            return Ok(());
        }
        self.inner.add_rejects(tenant, batch, rejects).await
    }

    async fn rejects(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        after: u32,
        limit: u32,
    ) -> Result<Vec<FieldError>, StoreError> {
        self.inner.rejects(tenant, batch, after, limit).await
    }

    async fn forget_keys(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.inner.forget_keys(before).await
    }
}

#[async_trait]
impl Webhooks for Broken {
    async fn add_webhook(&self, tenant: &TenantId, webhook: &Webhook) -> Result<bool, StoreError> {
        self.inner.add_webhook(tenant, webhook).await
    }

    async fn webhooks(&self, tenant: &TenantId) -> Result<Vec<Webhook>, StoreError> {
        self.inner.webhooks(tenant).await
    }

    async fn remove_webhook(&self, tenant: &TenantId, id: &str) -> Result<bool, StoreError> {
        self.inner.remove_webhook(tenant, id).await
    }
}

/// The cases that an engine with this flaw fails.
async fn failed(flaw: Flaw) -> Vec<&'static str> {
    let mut failed = Vec::new();
    for (name, case) in CASES {
        let store = Arc::new(Broken { inner: MemoryStore::new(), flaw });
        if tokio::spawn(case(store)).await.is_err() {
            failed.push(*name);
        }
    }
    failed
}

#[tokio::test]
async fn an_engine_without_a_flaw_fails_no_case() {
    assert_eq!(failed(Flaw::None).await, [""; 0]);
}

#[tokio::test]
async fn every_flaw_fails_some_case() {
    let mut missed = Vec::new();
    for flaw in FLAWS {
        if failed(*flaw).await.is_empty() {
            missed.push(flaw);
        }
    }
    assert!(missed.is_empty(), "the suite did not notice {missed:?}");
}

/// The two flaws that matter most, each by the case that is there for it.
#[tokio::test]
async fn the_guards_are_held_by_name() {
    let attempts = failed(Flaw::AnyAttempt).await;
    assert!(attempts.contains(&"a_stale_change_leaves_no_trace"), "{attempts:?}");
    let states = failed(Flaw::AnyState).await;
    let case = "every_transition_is_made_exactly_where_it_is_expected";
    assert!(states.contains(&case), "{states:?}");
}
