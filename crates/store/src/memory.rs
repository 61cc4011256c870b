//! The memory engine: the ports over maps under one lock. It is the store of
//! simulations, and the plainest statement of what the other engines must do.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use dialtone_clock::Timestamp;
use dialtone_contract::{BatchId, BatchState, CallState, EntryKey, EntryState, TenantId};
use tokio::sync::watch;

use crate::{
    Accepted, Applied, BatchRow, BatchStore, BatchTransition, CallPatch, CallRow, Change, ClaimDue,
    CounterKey, Counters, Directory, EntryRow, EventRow, Idempotency, NewBatch, NewEntry, Outbox,
    OutboxRow, StoreError, Transition,
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
    keys: BTreeMap<(TenantId, String), (BatchId, String)>,
    outbox: BTreeMap<i64, (Timestamp, OutboxRow)>,
    outbox_next: i64,
    epoch: u64,
    voices: Vec<(TenantId, String)>,
    users: Vec<(TenantId, i64)>,
}

struct Batch {
    row: BatchRow,
    entries: BTreeMap<u32, EntryRow>,
    calls: BTreeMap<(u32, u32), CallRow>,
    events: Vec<EventRow>,
    reports: Vec<String>,
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
        for item in &change.outbox {
            self.outbox_next += 1;
            let id = self.outbox_next;
            let row = OutboxRow { id, tenant: change.tenant.clone(), item: item.clone(), tries: 0 };
            self.outbox.insert(id, (change.at, row));
        }
        Applied::Applied { event_seq }
    }

    fn apply_batch(&mut self, change: &BatchTransition) -> Applied {
        match self.batch_mut(&change.tenant, &change.batch) {
            Some(batch) if batch.row.state == change.from => batch.move_to(change),
            _ => Applied::Stale,
        }
    }
}

impl Batch {
    fn count(&mut self, from: CounterKey, to: CounterKey) {
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

    fn record_entry(&mut self, change: &Transition) {
        let event_seq = self.next_seq();
        self.events.push(EventRow::of_entry(event_seq, change));
    }

    fn move_to(&mut self, change: &BatchTransition) -> Applied {
        self.row.state = change.to;
        self.row.reason.clone_from(&change.reason);
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

    fn patch_call(&mut self, seq: u32, attempt: u32, patch: &CallPatch) {
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

    fn claim(&mut self, claim: &ClaimDue) -> Vec<EntryRow> {
        let mut due: Vec<(Timestamp, u32)> = self
            .entries
            .values()
            .filter_map(|entry| {
                Some((entry.not_before.filter(|at| *at <= claim.now)?, entry.key.seq))
            })
            .collect();
        due.sort_unstable();
        let in_flight = self.row.count(EntryState::is_in_flight);
        let room = claim.max_in_flight.saturating_sub(in_flight);
        due.truncate(claim.limit.min(room) as usize);
        due.into_iter().map(|(_, seq)| self.lease(seq, claim)).collect()
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
        self.calls.insert((seq, after.attempt), CallRow::leased(after.attempt, claim.now));
        self.count((before.state, before.outcome), (after.state, None));
        self.row.attempts += 1;
        let event_seq = self.next_seq();
        self.events.push(EventRow::of_lease(event_seq, &before, &after, claim.now));
        after
    }

    fn with_current_call(&self, entry: &EntryRow) -> Option<(EntryRow, CallRow)> {
        let call = self.calls.get(&(entry.key.seq, entry.attempt))?;
        Some((entry.clone(), call.clone()))
    }
}

impl CallRow {
    /// The call log of an attempt that has just been leased.
    pub fn leased(attempt: u32, at: Timestamp) -> Self {
        Self {
            attempt,
            state: CallState::Dispatching,
            leased_at: at,
            dispatch_id: None,
            dispatched_at: None,
            claimed_at: None,
            claimer: None,
            closed_outcome: None,
            ended_at: None,
            outcome: None,
            reason: None,
            duration_ms: None,
        }
    }
}

#[async_trait]
impl BatchStore for MemoryStore {
    async fn create_batch(&self, new: NewBatch) -> Result<(), StoreError> {
        self.write(|state| {
            let row = BatchRow {
                tenant: new.tenant,
                id: new.id.clone(),
                spec: new.spec,
                state: BatchState::Loading,
                reason: None,
                event_seq: 0,
                attempts: 0,
                dials: 0,
                counters: Counters::new(),
                created_at: new.created_at,
                started_at: None,
                finished_at: None,
            };
            state.batches.entry(new.id).or_insert_with(|| Batch {
                row,
                entries: BTreeMap::new(),
                calls: BTreeMap::new(),
                events: Vec::new(),
                reports: Vec::new(),
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
            if let Some((batch, request_hash)) = key.as_ref().and_then(|key| state.keys.get(key)) {
                let (batch, request_hash) = (batch.clone(), request_hash.clone());
                return Ok(Accepted::Replayed { batch, request_hash });
            }
            let change = BatchTransition {
                tenant: tenant.clone(),
                batch: batch.clone(),
                from: BatchState::Loading,
                to: BatchState::Accepted,
                reason: None,
                at,
            };
            if !state.apply_batch(&change).is_applied() {
                return Err(StoreError::Corrupt(format!("{batch} is not loading")));
            }
            if let (Some(key), Some(new)) = (key, idempotency) {
                state.keys.insert(key, (batch.clone(), new.request_hash));
            }
            Ok(Accepted::Accepted)
        })
    }

    async fn accepted_under(
        &self,
        tenant: &TenantId,
        key: &str,
    ) -> Result<Option<(BatchId, String)>, StoreError> {
        Ok(self.read().keys.get(&(tenant.clone(), key.to_owned())).cloned())
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

    async fn claim_due(&self, claim: ClaimDue) -> Result<Vec<EntryRow>, StoreError> {
        Ok(self.write(|state| match state.batch_mut(&claim.tenant, &claim.batch) {
            Some(batch) if claim.claimable.contains(&batch.row.state) => batch.claim(&claim),
            _ => Vec::new(),
        }))
    }

    async fn batch(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
    ) -> Result<Option<BatchRow>, StoreError> {
        Ok(self.read().batch(tenant, batch).map(|batch| batch.row.clone()))
    }

    async fn batches(&self, tenant: &TenantId, limit: u32) -> Result<Vec<BatchRow>, StoreError> {
        let state = self.read();
        let own = state.batches.values().rev().map(|batch| &batch.row);
        Ok(own.filter(|row| row.tenant == *tenant).take(limit as usize).cloned().collect())
    }

    async fn batches_in(&self, states: &[BatchState]) -> Result<Vec<BatchRow>, StoreError> {
        let state = self.read();
        let rows = state.batches.values().map(|batch| &batch.row);
        Ok(rows.filter(|row| states.contains(&row.state)).cloned().collect())
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

#[async_trait]
impl Outbox for MemoryStore {
    async fn due_outbox(
        &self,
        now: Timestamp,
        again_at: Timestamp,
        limit: u32,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        let mut state = self.read();
        let due = state.outbox.values_mut().filter(|(at, _)| *at <= now).take(limit as usize);
        let hand_out = |(at, row): &mut (Timestamp, OutboxRow)| {
            *at = again_at;
            row.tries += 1;
            row.clone()
        };
        Ok(due.map(hand_out).collect())
    }

    async fn outbox_done(&self, ids: &[i64]) -> Result<(), StoreError> {
        let mut state = self.read();
        for id in ids {
            state.outbox.remove(id);
        }
        Ok(())
    }
}

#[async_trait]
impl Directory for MemoryStore {
    async fn seed_demo(&self) -> Result<(), StoreError> {
        self.write(|state| {
            let demo = TenantId::new("demo");
            state.voices = vec![(demo.clone(), "demo".to_owned())];
            state.users = vec![(demo, 1)];
        });
        Ok(())
    }

    async fn has_voice(&self, tenant: &TenantId, voice: &str) -> Result<bool, StoreError> {
        Ok(self.read().voices.iter().any(|(t, v)| t == tenant && v == voice))
    }

    async fn has_user(&self, tenant: &TenantId, user: i64) -> Result<bool, StoreError> {
        Ok(self.read().users.contains(&(tenant.clone(), user)))
    }
}
