//! The memory engine: the ports over maps under one lock. It is the store of
//! simulations, and the plainest statement of what the other engines must do.

mod batch;
mod intake;
mod numbers;
mod ports;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use dialtone_auth::NumberKey;
use dialtone_clock::Timestamp;
use dialtone_contract::{BatchId, BatchState, EntryKey, EntryState, TenantId};
use tokio::sync::watch;

use self::batch::Batch;
use self::numbers::Numbers;
use crate::{
    Accepted, Applied, BatchFilter, BatchLimits, BatchRow, BatchStore, BatchTransition, CallRow,
    Change, ClaimDue, Claimed, Counters, EntryFilter, EntryRow, EventRow, Idempotency, NewBatch,
    NewEntry, NumberUse, OutboxItem, OutboxRow, StoreError, SuppressionRow, Transition, Webhook,
};

/// The memory engine. What it holds lasts as long as the value; a simulated crash is
/// a new dispatcher over the same one.
pub struct MemoryStore {
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    batches: BTreeMap<BatchId, Batch>,
    keys: BTreeMap<(TenantId, String), Key>,
    outbox: BTreeMap<i64, (Timestamp, OutboxRow)>,
    outbox_next: i64,
    epoch: u64,
    voices: Vec<(TenantId, String)>,
    users: Vec<(TenantId, i64)>,
    tenant_limits: BTreeMap<TenantId, u32>,
    suppressed: BTreeMap<(TenantId, NumberKey), SuppressionRow>,
    webhooks: BTreeMap<(TenantId, String), Webhook>,
    numbers: Numbers,
}

/// An idempotency key that has been used.
struct Key {
    batch: BatchId,
    request_hash: String,
    at: Timestamp,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { state: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn read(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }

    fn write<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.read());
        self.changes.send_modify(|n| *n += 1);
        result
    }
}

impl State {
    fn batch(&self, tenant: &TenantId, id: &BatchId) -> Option<&Batch> {
        self.batches.get(id).filter(|batch| batch.row.tenant == *tenant)
    }

    fn batch_mut(&mut self, tenant: &TenantId, id: &BatchId) -> Option<&mut Batch> {
        self.batches.get_mut(id).filter(|batch| batch.row.tenant == *tenant)
    }

    fn apply_entry(&mut self, change: &Transition) -> Applied {
        let Some(batch) = self.batch_mut(&change.tenant, &change.key.batch) else {
            return Applied::Stale;
        };
        if change.batch_in.is_some_and(|states| !states.contains(&batch.row.state)) {
            return Applied::Stale;
        }
        let Some(entry) = batch.entries.get_mut(&change.key.seq) else { return Applied::Stale };
        let expected = entry.state == change.from
            && entry.attempt == change.attempt
            && change.lease_epoch.is_none_or(|epoch| epoch == entry.lease_epoch)
            && change.deadline_seen.is_none_or(|deadline| Some(deadline) == entry.deadline);
        if !expected {
            return Applied::Stale;
        }
        entry.state = change.to;
        entry.outcome = change.outcome;
        entry.attempt = change.new_attempt;
        entry.not_before = change.not_before;
        entry.deadline = change.deadline;
        entry.cap = change.cap;
        batch.patch_call(change.key.seq, change.attempt, &change.call);
        let before = (change.from, change.from_outcome);
        batch.count(before, (change.to, change.outcome));
        batch.row.attempts = batch.row.attempts + change.new_attempt - change.attempt;
        batch.row.dials += u32::from(change.dial);
        if change.event.is_recorded() {
            batch.record_entry(change);
        }
        let event_seq = batch.row.event_seq;
        if let Some(release) = &change.number {
            self.numbers.release(&change.tenant, &change.key, release);
        }
        self.add_outbox(&change.tenant, &change.outbox, change.at);
        Applied::Applied { event_seq }
    }

    fn in_flight(&self, tenant: &TenantId) -> u32 {
        let of_tenant = self.batches.values().filter(|batch| batch.row.tenant == *tenant);
        of_tenant.map(|batch| batch.row.count(EntryState::is_in_flight)).sum()
    }

    fn claim(&mut self, claim: &ClaimDue) -> Claimed {
        let tenant_in_flight = self.in_flight(&claim.tenant);
        let Some(batch) = self.batches.get_mut(&claim.batch) else { return Claimed::default() };
        let mine = batch.row.tenant == claim.tenant && claim.claimable.contains(&batch.row.state);
        let in_pace = claim.pace.is_none_or(|pace| pace.seen == batch.row.paced_at);
        if !mine || !in_pace {
            return Claimed::default();
        }
        let room = claim.room(batch.row.count(EntryState::is_in_flight), tenant_in_flight);
        batch.claim(claim, room, &self.suppressed, &mut self.numbers)
    }

    fn add_outbox(&mut self, tenant: &TenantId, items: &[OutboxItem], at: Timestamp) {
        for item in items {
            self.outbox_next += 1;
            let id = self.outbox_next;
            let row = OutboxRow { id, tenant: tenant.clone(), item: item.clone(), tries: 0 };
            self.outbox.insert(id, (at, row));
        }
    }

    fn apply_batch(&mut self, change: &BatchTransition) -> Applied {
        let applied = match self.batch_mut(&change.tenant, &change.batch) {
            Some(batch) if batch.stands_as(change) => batch.move_to(change),
            _ => return Applied::Stale,
        };
        self.add_outbox(&change.tenant, &change.outbox, change.at);
        applied
    }
}

#[async_trait]
impl BatchStore for MemoryStore {
    async fn create_batch(&self, new: NewBatch) -> Result<(), StoreError> {
        self.write(|state| {
            let row = BatchRow {
                tenant: new.tenant,
                id: new.id.clone(),
                spec: Arc::new(new.spec),
                state: BatchState::Loading,
                reason: None,
                event_seq: 0,
                attempts: 0,
                dials: 0,
                counters: Counters::new(),
                created_at: new.created_at,
                started_at: None,
                finished_at: None,
                limits: BatchLimits::default(),
                paced_at: None,
                claimed_at: None,
                cancel: None,
                rejected: 0,
            };
            state.batches.entry(new.id).or_insert_with(|| Batch {
                row,
                entries: BTreeMap::new(),
                calls: BTreeMap::new(),
                events: Vec::new(),
                reports: Vec::new(),
                rejects: BTreeMap::new(),
            });
        });
        Ok(())
    }

    async fn add_entries(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        entries: &[NewEntry],
    ) -> Result<(), StoreError> {
        self.write(|state| {
            let Some(found) = state.batch_mut(tenant, batch) else { return };
            if found.row.state != BatchState::Loading {
                return;
            }
            for new in entries {
                if found.entries.contains_key(&new.seq) {
                    continue;
                }
                let row = EntryRow {
                    tenant: tenant.clone(),
                    key: EntryKey { batch: batch.clone(), seq: new.seq },
                    to: new.to.clone(),
                    number: new.number,
                    timezone: new.timezone.clone(),
                    variables: new.variables.clone(),
                    planned: new.planned,
                    state: EntryState::Pending,
                    outcome: None,
                    attempt: 0,
                    not_before: Some(new.not_before),
                    deadline: None,
                    cap: None,
                    lease_epoch: 0,
                };
                found.entries.insert(new.seq, row);
                *found.row.counters.entry((EntryState::Pending, None)).or_default() += 1;
            }
        });
        Ok(())
    }

    async fn discard_batch(&self, tenant: &TenantId, batch: &BatchId) -> Result<bool, StoreError> {
        Ok(self.write(|state| {
            let found = state.batch(tenant, batch);
            let loading = found.is_some_and(|found| found.row.state == BatchState::Loading);
            if loading {
                state.batches.remove(batch);
            }
            loading
        }))
    }

    async fn accept_batch(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        at: Timestamp,
        idempotency: Option<Idempotency>,
    ) -> Result<Accepted, StoreError> {
        self.write(|state| {
            let key = idempotency.as_ref().map(|new| (tenant.clone(), new.key.clone()));
            if let Some(key) = key.as_ref().and_then(|key| state.keys.get(key)) {
                let (batch, request_hash) = (key.batch.clone(), key.request_hash.clone());
                return Ok(Accepted::Replayed { batch, request_hash });
            }
            let change = BatchTransition {
                tenant: tenant.clone(),
                batch: batch.clone(),
                from: BatchState::Loading,
                unmoved_since: None,
                to: BatchState::Accepted,
                reason: None,
                limits: None,
                cancel: None,
                outbox: Vec::new(),
                at,
            };
            if !state.apply_batch(&change).is_applied() {
                return Err(StoreError::Corrupt(format!("{batch} is not loading")));
            }
            if let (Some(key), Some(new)) = (key, idempotency) {
                let (batch, request_hash) = (batch.clone(), new.request_hash);
                state.keys.insert(key, Key { batch, request_hash, at });
            }
            Ok(Accepted::Accepted)
        })
    }

    async fn accepted_under(
        &self,
        tenant: &TenantId,
        key: &str,
    ) -> Result<Option<(BatchId, String)>, StoreError> {
        let state = self.read();
        let found = state.keys.get(&(tenant.clone(), key.to_owned()));
        Ok(found.map(|key| (key.batch.clone(), key.request_hash.clone())))
    }

    async fn apply(&self, changes: &[Change]) -> Result<Vec<Applied>, StoreError> {
        Ok(self.write(|state| {
            let apply = |change: &Change| match change {
                Change::Entry(change) => state.apply_entry(change),
                Change::Batch(change) => state.apply_batch(change),
            };
            changes.iter().map(apply).collect()
        }))
    }

    async fn claim_due(&self, claim: ClaimDue) -> Result<Claimed, StoreError> {
        Ok(self.write(|state| state.claim(&claim)))
    }

    async fn waiting(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        limit: u32,
    ) -> Result<Vec<EntryRow>, StoreError> {
        let state = self.read();
        let Some(batch) = state.batch(tenant, batch) else { return Ok(Vec::new()) };
        let waiting = batch.entries.values().filter(|entry| entry.not_before.is_some());
        let mut waiting: Vec<EntryRow> = waiting.cloned().collect();
        waiting.sort_by_key(|entry| (entry.not_before, entry.key.seq));
        waiting.truncate(limit as usize);
        Ok(waiting)
    }

    async fn under_way(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
    ) -> Result<Vec<(EntryRow, CallRow)>, StoreError> {
        let state = self.read();
        let Some(batch) = state.batch(tenant, batch) else { return Ok(Vec::new()) };
        let under_way = batch.entries.values().filter(|entry| entry.deadline.is_some());
        Ok(under_way.filter_map(|entry| batch.with_current_call(entry)).collect())
    }

    async fn batch(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
    ) -> Result<Option<BatchRow>, StoreError> {
        Ok(self.read().batch(tenant, batch).map(|batch| batch.row.clone()))
    }

    async fn batches(
        &self,
        tenant: &TenantId,
        filter: &BatchFilter,
        limit: u32,
    ) -> Result<Vec<BatchRow>, StoreError> {
        let state = self.read();
        let wanted = |row: &&BatchRow| {
            row.tenant == *tenant
                && filter.state.is_none_or(|state| state == row.state)
                && filter.before.as_ref().is_none_or(|before| row.id < *before)
        };
        let own = state.batches.values().rev().map(|batch| &batch.row).filter(wanted);
        Ok(own.take(limit as usize).cloned().collect())
    }

    async fn batches_in(&self, states: &[BatchState]) -> Result<Vec<BatchRow>, StoreError> {
        let state = self.read();
        let rows = state.batches.values().map(|batch| &batch.row);
        Ok(rows.filter(|row| states.contains(&row.state)).cloned().collect())
    }

    async fn due_batches(
        &self,
        states: &[BatchState],
        now: Timestamp,
        after: Option<&BatchId>,
        limit: u32,
    ) -> Result<Vec<BatchRow>, StoreError> {
        let state = self.read();
        let is_due = |entry: &EntryRow| entry.not_before.is_some_and(|at| at <= now);
        let wanted = |batch: &&Batch| {
            states.contains(&batch.row.state)
                && after.is_none_or(|after| batch.row.id > *after)
                && batch.entries.values().any(is_due)
        };
        let due = state.batches.values().filter(wanted).take(limit as usize);
        Ok(due.map(|batch| batch.row.clone()).collect())
    }

    async fn call(
        &self,
        tenant: &TenantId,
        key: &EntryKey,
        attempt: u32,
    ) -> Result<Option<(EntryRow, CallRow)>, StoreError> {
        let state = self.read();
        let found = state.batch(tenant, &key.batch).and_then(|batch| {
            let call = batch.calls.get(&(key.seq, attempt))?;
            Some((batch.entries.get(&key.seq)?.clone(), call.clone()))
        });
        Ok(found)
    }

    async fn entries(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        after: u32,
        limit: u32,
    ) -> Result<Vec<(EntryRow, Vec<CallRow>)>, StoreError> {
        let state = self.read();
        let Some(batch) = state.batch(tenant, batch) else { return Ok(Vec::new()) };
        let page = batch.entries.range(after.saturating_add(1)..).take(limit as usize);
        let with_calls = |(seq, entry): (&u32, &EntryRow)| {
            let calls = batch.calls.range((*seq, 0)..=(*seq, u32::MAX));
            (entry.clone(), calls.map(|(_, call)| call.clone()).collect())
        };
        Ok(page.map(with_calls).collect())
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
        let found = self.entries(tenant, batch, after, until.saturating_sub(after)).await?;
        let wanted =
            |(entry, _): &(EntryRow, Vec<CallRow>)| entry.key.seq <= until && filter.takes(entry);
        Ok(found.into_iter().filter(wanted).take(limit as usize).collect())
    }

    async fn due_deadlines(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<(EntryRow, CallRow)>, StoreError> {
        let state = self.read();
        let due = state.batches.values().flat_map(|batch| {
            let late = |entry: &&EntryRow| entry.deadline.is_some_and(|at| at <= now);
            batch.entries.values().filter(late).filter_map(|entry| batch.with_current_call(entry))
        });
        let mut due: Vec<_> = due.collect();
        due.sort_by_key(|(entry, _)| (entry.deadline, entry.key.clone()));
        due.truncate(limit as usize);
        Ok(due)
    }

    async fn next_due(
        &self,
        now: Timestamp,
        claimable: &[BatchState],
    ) -> Result<Option<Timestamp>, StoreError> {
        let state = self.read();
        let entries = state.batches.values().flat_map(|batch| {
            let counts = claimable.contains(&batch.row.state);
            let waiting = move |entry: &EntryRow| entry.not_before.filter(|_| counts);
            batch.entries.values().filter_map(move |entry| entry.deadline.or(waiting(entry)))
        });
        let outbox = state.outbox.values().map(|(at, _)| *at);
        Ok(entries.chain(outbox).filter(|at| *at > now).min())
    }

    async fn events(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<EventRow>, StoreError> {
        let state = self.read();
        let Some(batch) = state.batch(tenant, batch) else { return Ok(Vec::new()) };
        let later = batch.events.iter().filter(|event| event.event_seq > after);
        Ok(later.take(limit as usize).cloned().collect())
    }

    async fn entry_events(
        &self,
        tenant: &TenantId,
        key: &EntryKey,
        after: u64,
        until: u64,
    ) -> Result<Vec<EventRow>, StoreError> {
        let state = self.read();
        let Some(batch) = state.batch(tenant, &key.batch) else { return Ok(Vec::new()) };
        let between = |event: &&EventRow| event.event_seq > after && event.event_seq <= until;
        let own = batch.events.iter().filter(between).filter(|event| event.seq == Some(key.seq));
        Ok(own.cloned().collect())
    }

    async fn number_use(
        &self,
        tenant: &TenantId,
        number: NumberKey,
    ) -> Result<Option<NumberUse>, StoreError> {
        Ok(self.read().numbers.of(&(tenant.clone(), number)))
    }

    async fn forget_numbers(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
        Ok(self.write(|state| state.numbers.forget(before, limit)))
    }

    async fn put_report(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        report: &str,
        _at: Timestamp,
    ) -> Result<bool, StoreError> {
        Ok(self.write(|state| match state.batch_mut(tenant, batch) {
            Some(batch) if batch.reports.is_empty() => {
                batch.reports.push(report.to_owned());
                true
            }
            _ => false,
        }))
    }

    async fn reports(&self, tenant: &TenantId, batch: &BatchId) -> Result<Vec<String>, StoreError> {
        Ok(self.read().batch(tenant, batch).map(|b| b.reports.clone()).unwrap_or_default())
    }

    async fn next_epoch(&self) -> Result<u64, StoreError> {
        Ok(self.write(|state| {
            state.epoch += 1;
            state.epoch
        }))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
