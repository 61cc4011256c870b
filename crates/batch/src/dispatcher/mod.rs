mod run;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use dialtone_auth::Capabilities;
use dialtone_clock::Clock;
use dialtone_contract::{
    BatchId, BatchState, CancelMode, DispatchMetadata, EntryState, LIVE_WORKER_NAME,
    TEST_WORKER_NAME, TestPlan, limits,
};
use dialtone_livekit::{LiveKit, LiveKitError, NewDispatch};
use dialtone_store::{
    Applied, BatchMode, BatchRow, BatchSpec, BatchTransition, CallRow, Change, ClaimDue, Claimed,
    EntryRow, Held, Store, StoreError,
};
use tokio::sync::{Notify, Semaphore, watch};

use crate::breaker::Breaker;
use crate::calls::cut;
use crate::{BatchMetrics, Happening, Rules, WhileWaiting, report};

/// States in which a batch's entries may be claimed.
const CLAIMABLE: &[BatchState] = &[BatchState::Accepted, BatchState::Running];

/// States in which a batch needs a dispatcher.
const ACTIVE: &[BatchState] = &[
    BatchState::Accepted,
    BatchState::Running,
    BatchState::Paused,
    BatchState::Completing,
    BatchState::Cancelling,
];

/// What a dispatcher needs to know of its surroundings.
#[derive(Clone)]
pub struct DispatcherOptions {
    /// Base URL of the API, as agents reach it.
    pub api_url: String,
    /// Mints the capability of each attempt.
    pub capabilities: Capabilities,
}

/// Claims due entries, sends their dispatches, ends what is overdue, closes batches.
///
/// Stateless: everything it knows it reads from the store each time, so that any number
/// of dispatchers may run and any may die.
pub struct Dispatcher {
    store: Arc<dyn Store>,
    livekit: Arc<dyn LiveKit>,
    clock: Arc<dyn Clock>,
    rules: Rules,
    options: DispatcherOptions,
    metrics: BatchMetrics,
    epoch: u64,
    permits: Arc<Semaphore>,
    /// A permit has come free.
    freed: Notify,
    breaker: Breaker,
    /// Which batch is served first next.
    turn: AtomicUsize,
    trouble: watch::Sender<Trouble>,
}

/// What keeps a dispatcher from working, in words; `None` where nothing does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// With LiveKit.
    pub livekit: Option<String>,
    /// With the store.
    pub store: Option<String>,
}

/// Entries of the batch that may still be put in flight.
fn room(batch: &BatchRow) -> u32 {
    batch.max_concurrent().saturating_sub(batch.count(EntryState::is_in_flight))
}

impl Dispatcher {
    /// A dispatcher with a lease epoch of its own.
    ///
    /// # Errors
    /// If the store cannot give an epoch.
    pub async fn new(
        store: Arc<dyn Store>,
        livekit: Arc<dyn LiveKit>,
        clock: Arc<dyn Clock>,
        options: DispatcherOptions,
        metrics: BatchMetrics,
    ) -> Result<Self, StoreError> {
        let epoch = store.next_epoch().await?;
        let permits = Arc::new(Semaphore::new(limits::DISPATCHES_AT_ONCE));
        let rules = Rules::new(clock.scale());
        let breaker = Breaker::new(clock.scale(), epoch);
        Ok(Self {
            store,
            livekit,
            clock,
            rules,
            options,
            metrics,
            epoch,
            permits,
            freed: Notify::new(),
            breaker,
            turn: AtomicUsize::new(0),
            trouble: watch::Sender::default(),
        })
    }

    /// What keeps this dispatcher from working, as it changes.
    pub fn trouble(&self) -> watch::Receiver<Trouble> {
        self.trouble.subscribe()
    }

    /// Ends every attempt whose deadline has come; gives their number.
    ///
    /// # Errors
    /// If the store fails; what was not applied is found again.
    pub async fn expire(&self) -> Result<usize, StoreError> {
        let now = self.clock.now();
        let due = self.store.due_deadlines(now, limits::SELECT_MAX).await?;
        if due.is_empty() {
            return Ok(0);
        }
        let specs = self.specs().await?;
        let decide = |(entry, call): &(EntryRow, CallRow)| {
            let spec = specs.get(&entry.key.batch)?;
            let decided = self.rules.decide(spec, entry, call, Happening::DeadlinePassed, now);
            Some(Change::Entry(decided.ok()?))
        };
        let changes: Vec<_> = due.iter().filter_map(decide).collect();
        let applied = self.store.apply(&changes).await?;
        let ended = applied.iter().filter(|applied| applied.is_applied()).count();
        self.metrics.expired(ended as u64);
        Ok(ended)
    }

    async fn specs(&self) -> Result<HashMap<BatchId, BatchSpec>, StoreError> {
        let active = self.store.batches_in(ACTIVE).await?;
        Ok(active.into_iter().map(|row| (row.id, row.spec)).collect())
    }

    /// Starts accepted batches, ends what a cancel ends, and closes batches with nothing
    /// left to do; gives the number of steps taken.
    ///
    /// # Errors
    /// If the store fails; the steps are taken again.
    pub async fn close(&self) -> Result<usize, StoreError> {
        let mut steps = 0;
        for batch in self.store.batches_in(ACTIVE).await? {
            let open = batch.count(|state| !state.is_terminal()) > 0;
            let next = match batch.state {
                BatchState::Accepted => BatchState::Running,
                BatchState::Running | BatchState::Paused if !open => BatchState::Completing,
                BatchState::Completing => {
                    self.write_report(&batch).await?;
                    BatchState::Completed
                }
                BatchState::Cancelling if open => {
                    steps += self.end_cancelled(&batch).await?;
                    continue;
                }
                BatchState::Cancelling => {
                    self.write_report(&batch).await?;
                    BatchState::Cancelled
                }
                _ => continue,
            };
            let change = self.move_batch(&batch, next);
            steps += usize::from(self.store.apply(&[change]).await?[0].is_applied());
        }
        Ok(steps)
    }

    async fn write_report(&self, batch: &BatchRow) -> Result<(), StoreError> {
        let text = report::render(batch);
        self.store.put_report(&batch.tenant, &batch.id, &text, self.clock.now()).await?;
        Ok(())
    }

    /// Ends entries of a cancelled batch: those that wait, and those under way that its
    /// cancel mode does not let go on. Gives their number.
    async fn end_cancelled(&self, batch: &BatchRow) -> Result<usize, StoreError> {
        let now = self.clock.now();
        let waiting = self.store.waiting(&batch.tenant, &batch.id, limits::SELECT_MAX).await?;
        let cancel = |entry: &EntryRow| {
            let decided = self.rules.while_waiting(entry, WhileWaiting::Cancelled, now);
            Some(Change::Entry(decided.ok()?))
        };
        let mut changes: Vec<_> = waiting.iter().filter_map(cancel).collect();
        if batch.count(EntryState::is_in_flight) > 0 {
            let under_way = self.store.under_way(&batch.tenant, &batch.id).await?;
            let hang_up = |(entry, call): &(EntryRow, CallRow)| {
                let goes_on = batch.cancel != Some(CancelMode::Hangup) && entry.state.is_live();
                let decided = self.rules.decide(&batch.spec, entry, call, Happening::HungUp, now);
                Some(Change::Entry(decided.ok().filter(|_| !goes_on)?))
            };
            changes.extend(under_way.iter().filter_map(hang_up));
        }
        if changes.is_empty() {
            return Ok(0);
        }
        let applied = self.store.apply(&changes).await?;
        Ok(applied.iter().filter(|applied| applied.is_applied()).count())
    }

    fn move_batch(&self, batch: &BatchRow, to: BatchState) -> Change {
        Change::Batch(BatchTransition {
            tenant: batch.tenant.clone(),
            batch: batch.id.clone(),
            from: batch.state,
            to,
            reason: None,
            limits: None,
            cancel: None,
            at: self.clock.now(),
        })
    }

    /// Leases up to `limit` due entries of running batches, each batch within its
    /// concurrency and its share, and gives them with the wall time of the claim's commit.
    /// Fewer, or none, while LiveKit is taken for down.
    ///
    /// # Errors
    /// If the store fails; leases of a lost answer run out by themselves.
    pub async fn claim(
        &self,
        limit: u32,
    ) -> Result<Vec<(Arc<BatchSpec>, EntryRow, Instant)>, StoreError> {
        let mut claimed = Vec::new();
        let mut left = self.breaker.allows(self.clock.now(), limit.min(limits::CLAIM_MAX));
        if left == 0 {
            return Ok(claimed);
        }
        let mut batches = self.store.batches_in(CLAIMABLE).await?;
        batches.retain(|batch| room(batch) > 0 && batch.count(EntryState::is_waiting) > 0);
        if !batches.is_empty() {
            let first = self.turn.fetch_add(1, Ordering::Relaxed) % batches.len();
            batches.rotate_left(first);
        }
        let mut others = u32::try_from(batches.len()).unwrap_or(u32::MAX);
        for batch in batches {
            // What is left is shared by this batch and those after it.
            let share = room(&batch).min(left.div_ceil(others));
            others -= 1;
            if share == 0 {
                break;
            }
            let now = self.clock.now();
            let claim = ClaimDue {
                tenant: batch.tenant.clone(),
                batch: batch.id.clone(),
                claimable: CLAIMABLE,
                limit: share,
                max_in_flight: batch.max_concurrent(),
                tenant_max_in_flight: None,
                barrier: false,
                pace: None,
                exclusive: batch.spec.mode == BatchMode::Live,
                zones_open: None,
                now,
                deadline: self.rules.guard(now, limits::LEASE),
                lease_epoch: self.epoch,
            };
            let Claimed { leased: entries, held } = self.store.claim_due(claim).await?;
            let committed = Instant::now();
            self.move_held(&held).await?;
            left -= u32::try_from(entries.len()).unwrap_or(left);
            if !entries.is_empty() {
                self.breaker.passed(now);
            }
            let spec = Arc::new(batch.spec);
            claimed.extend(entries.into_iter().map(|entry| (Arc::clone(&spec), entry, committed)));
        }
        Ok(claimed)
    }

    /// Moves due entries that may not be leased out of the way of those that may.
    async fn move_held(&self, held: &[(EntryRow, Held)]) -> Result<(), StoreError> {
        let now = self.clock.now();
        let later = self.rules.guard(now, limits::HELD_AGAIN);
        let decide = |(entry, why): &(EntryRow, Held)| {
            let what = match why {
                Held::Suppressed => WhileWaiting::Suppressed,
                Held::NumberBusy { free_at } => WhileWaiting::Deferred(free_at.unwrap_or(later)),
                Held::ZoneClosed => WhileWaiting::Deferred(later),
            };
            Some(Change::Entry(self.rules.while_waiting(entry, what, now).ok()?))
        };
        let changes: Vec<_> = held.iter().filter_map(decide).collect();
        if !changes.is_empty() {
            self.store.apply(&changes).await?;
        }
        Ok(())
    }

    /// Sends one leased entry's dispatch to LiveKit, and gives what is to be recorded.
    /// `since` is the wall time of the claim's commit.
    pub async fn send(&self, spec: &BatchSpec, entry: &EntryRow, since: Instant) -> Happening {
        let answer = self.livekit.dispatch(&self.new_dispatch(spec, entry)).await;
        self.metrics.dispatched(since.elapsed());
        match answer {
            Ok(dispatch_id) => {
                if self.breaker.succeeded() {
                    tracing::info!("LiveKit takes dispatches again");
                    self.trouble.send_modify(|trouble| trouble.livekit = None);
                }
                Happening::DispatchAccepted { dispatch_id }
            }
            Err(error) => {
                self.metrics.dispatch_failed();
                if self.breaker.failed(self.clock.now()) {
                    tracing::warn!(%error, "LiveKit takes no dispatches; trying one at a time");
                    self.trouble.send_modify(|trouble| trouble.livekit = Some(error.to_string()));
                }
                tracing::debug!(%error, entry.id = %entry.key.entry_id(), "dispatch failed");
                match error {
                    // Nothing that carries the attempt has left.
                    LiveKitError::NotSent(_) => Happening::LeaseReturned,
                    _ => Happening::DispatchFailed { reason: cut(error.to_string()) },
                }
            }
        }
    }

    /// Records what happened to a lease that this dispatcher holds. If an agent's claim has
    /// outrun LiveKit's answer, the dispatch is only noted in the call log.
    ///
    /// # Errors
    /// If the store fails; the lease's deadline picks the entry up.
    pub async fn record(
        &self,
        spec: &BatchSpec,
        entry: &EntryRow,
        happening: Happening,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let call = CallRow::leased(entry.attempt, now);
        if self.settle(spec, entry, &call, happening.clone()).await? {
            return Ok(());
        }
        if matches!(happening, Happening::DispatchAccepted { .. })
            && let Some((now, call)) =
                self.store.call(&entry.tenant, &entry.key, entry.attempt).await?
            && now.attempt == entry.attempt
            && now.state.is_live()
        {
            // A heartbeat in between makes this stale; the note is not worth another try.
            self.settle(spec, &now, &call, happening).await?;
        }
        Ok(())
    }

    /// Decides and applies under this dispatcher's lease; whether it was applied.
    async fn settle(
        &self,
        spec: &BatchSpec,
        entry: &EntryRow,
        call: &CallRow,
        happening: Happening,
    ) -> Result<bool, StoreError> {
        let decided = self.rules.decide(spec, entry, call, happening, self.clock.now());
        let Ok(mut change) = decided else { return Ok(false) };
        change.lease_epoch = Some(self.epoch);
        let applied = self.store.apply(&[Change::Entry(change)]).await?;
        Ok(applied.first().is_some_and(Applied::is_applied))
    }

    fn new_dispatch(&self, spec: &BatchSpec, entry: &EntryRow) -> NewDispatch {
        let call_id = entry.key.call_id(entry.attempt);
        let test = spec.mode == BatchMode::Test;
        let capability = self.options.capabilities.mint(entry.tenant.as_str(), call_id.as_str());
        let metadata = DispatchMetadata {
            entry_id: entry.key.entry_id(),
            attempt: entry.attempt,
            api_url: self.options.api_url.clone(),
            capability: capability.expose().to_owned(),
            agent_id: spec.agent_id,
            voice_id: spec.voice_id.clone(),
            // What does not read was never written; the agent goes without it.
            variables: entry.variables.as_deref().and_then(|text| serde_json::from_str(text).ok()),
            test: test.then(|| TestPlan {
                to: entry.to.expose().to_owned(),
                outcome: entry.planned,
                durations: spec.durations,
                seed: spec.seed,
            }),
            added_context: test.then(|| spec.weights.marker()),
            call_id: call_id.clone(),
        };
        let agent_name = if test { TEST_WORKER_NAME } else { LIVE_WORKER_NAME };
        // Nobody but the agent is in a simulated room, and agents do not keep rooms open.
        let longest =
            limits::UNCLAIMED + limits::RINGING + limits::IN_CALL + limits::CALLBACK_GRACE;
        NewDispatch {
            room: call_id.to_string(),
            agent_name: agent_name.to_owned(),
            metadata: serde_json::to_string(&metadata).expect("metadata is plain data"),
            empty_timeout_s: u32::try_from(longest.as_secs()).unwrap_or(u32::MAX),
        }
    }

    /// Removes batches that were still loading when their server died; nobody was told that
    /// they exist. Only for an engine whose one server this is.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn discard_unfinished_loads(&self) -> Result<(), StoreError> {
        for batch in self.store.batches_in(&[BatchState::Loading]).await? {
            self.store.discard_batch(&batch.tenant, &batch.id).await?;
        }
        Ok(())
    }
}
