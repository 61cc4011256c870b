use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dialtone_auth::Capabilities;
use dialtone_clock::{Clock, Timestamp};
use dialtone_contract::{
    BatchId, BatchState, DispatchMetadata, TEST_WORKER_NAME, TestPlan, limits,
};
use dialtone_livekit::{LiveKit, NewDispatch};
use dialtone_store::{
    BatchMode, BatchRow, BatchSpec, BatchTransition, CallRow, Change, ClaimDue, EntryRow, Store,
    StoreError,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{BatchMetrics, Happening, Rules, report};

/// Wall time after which the dispatcher looks by itself, wake-up or not.
const POLL: Duration = Duration::from_secs(1);

/// Wall time for dispatches under way to end when the dispatcher stops.
const DRAIN: Duration = Duration::from_secs(10);

/// Name of the agent workers that serve live batches.
const LIVE_WORKER_NAME: &str = "batch-worker";

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
        Ok(Self { store, livekit, clock, rules, options, metrics, epoch, permits })
    }

    /// Works until `shutdown`, then lets the dispatches under way end.
    pub async fn run(self, shutdown: CancellationToken) {
        let this = Arc::new(self);
        let tasks = TaskTracker::new();
        let mut changes = this.store.changes();
        while !shutdown.is_cancelled() {
            // Interest first, then the look: a change in between wakes the wait below.
            changes.mark_unchanged();
            let wait = match this.tick(&tasks, &shutdown).await {
                Ok(true) => continue,
                Ok(false) => this.until_next().await,
                Err(error) => {
                    tracing::warn!(%error, "dispatcher tick failed, trying again");
                    POLL
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                _ = changes.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        tasks.close();
        if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
            tracing::warn!(left = tasks.len(), "dispatches were still under way at the end");
        }
    }

    async fn tick(
        self: &Arc<Self>,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> Result<bool, StoreError> {
        let expired = self.expire().await?;
        let closed = self.close().await?;
        let mut claimed = 0;
        let free = u32::try_from(self.permits.available_permits()).unwrap_or(u32::MAX);
        for (spec, entry, since) in self.claim(free).await? {
            claimed += 1;
            let permit = Arc::clone(&self.permits).try_acquire_owned();
            let permit = permit.expect("no more are claimed than permits are free");
            let (this, shutdown) = (Arc::clone(self), shutdown.clone());
            tasks.spawn(async move {
                let happening = if shutdown.is_cancelled() {
                    Happening::LeaseReturned
                } else {
                    this.send(&spec, &entry, since).await
                };
                drop(permit);
                if let Err(error) = this.record(&spec, &entry, happening).await {
                    // The lease's deadline picks the entry up.
                    tracing::warn!(%error, entry.id = %entry.key.entry_id(), "dispatch not recorded");
                }
            });
        }
        Ok(expired + closed + claimed > 0)
    }

    async fn until_next(&self) -> Duration {
        let now = self.clock.now();
        match self.next_due(now).await {
            Ok(Some(at)) => {
                // The millisecond covers the rounding of timer and clock.
                let wall = self.rules.scale().story(at.since(now)) + Duration::from_millis(1);
                wall.min(POLL)
            }
            _ => POLL,
        }
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

    /// Starts accepted batches and closes those with nothing left to do; gives the
    /// number of steps taken.
    ///
    /// # Errors
    /// If the store fails; the steps are taken again.
    pub async fn close(&self) -> Result<usize, StoreError> {
        let mut steps = 0;
        for batch in self.store.batches_in(ACTIVE).await? {
            let open = batch.count(|state| !state.is_terminal()) > 0;
            let next = match batch.state {
                BatchState::Accepted => BatchState::Running,
                BatchState::Running if !open => BatchState::Completing,
                BatchState::Completing => {
                    let text = report::render(&batch);
                    let now = self.clock.now();
                    self.store.put_report(&batch.tenant, &batch.id, &text, now).await?;
                    BatchState::Completed
                }
                BatchState::Cancelling if !open => BatchState::Cancelled,
                _ => continue,
            };
            let change = self.move_batch(&batch, next);
            steps += usize::from(self.store.apply(&[change]).await?[0].is_applied());
        }
        Ok(steps)
    }

    fn move_batch(&self, batch: &BatchRow, to: BatchState) -> Change {
        Change::Batch(BatchTransition {
            tenant: batch.tenant.clone(),
            batch: batch.id.clone(),
            from: batch.state,
            to,
            reason: None,
            at: self.clock.now(),
        })
    }

    /// Leases up to `limit` due entries of running batches, each within its batch's
    /// concurrency, and gives them with the wall time of the claim's commit.
    ///
    /// # Errors
    /// If the store fails; leases of a lost answer run out by themselves.
    pub async fn claim(
        &self,
        limit: u32,
    ) -> Result<Vec<(Arc<BatchSpec>, EntryRow, Instant)>, StoreError> {
        let mut claimed = Vec::new();
        let mut left = limit.min(limits::CLAIM_MAX);
        if left == 0 {
            return Ok(claimed);
        }
        for batch in self.store.batches_in(CLAIMABLE).await? {
            let in_flight = batch.count(|state| state.is_in_flight());
            let room = batch.spec.options.max_concurrent.saturating_sub(in_flight).min(left);
            if room == 0 || batch.count(|state| state.is_waiting()) == 0 {
                continue;
            }
            let now = self.clock.now();
            let claim = ClaimDue {
                tenant: batch.tenant.clone(),
                batch: batch.id.clone(),
                claimable: CLAIMABLE,
                limit: room,
                now,
                deadline: self.rules.guard(now, limits::LEASE),
                lease_epoch: self.epoch,
            };
            let entries = self.store.claim_due(claim).await?;
            let committed = Instant::now();
            left -= u32::try_from(entries.len()).unwrap_or(left);
            let spec = Arc::new(batch.spec);
            claimed.extend(entries.into_iter().map(|entry| (Arc::clone(&spec), entry, committed)));
            if left == 0 {
                break;
            }
        }
        Ok(claimed)
    }

    /// Sends one leased entry's dispatch to LiveKit, and gives what is to be recorded.
    /// `since` is the wall time of the claim's commit.
    pub async fn send(&self, spec: &BatchSpec, entry: &EntryRow, since: Instant) -> Happening {
        let answer = self.livekit.dispatch(&self.new_dispatch(spec, entry)).await;
        self.metrics.dispatched(since.elapsed());
        match answer {
            Ok(dispatch_id) => Happening::DispatchAccepted { dispatch_id },
            Err(error) => {
                self.metrics.dispatch_failed();
                tracing::warn!(%error, entry.id = %entry.key.entry_id(), "dispatch failed");
                Happening::DispatchFailed { reason: error.to_string() }
            }
        }
    }

    /// Records what happened to a lease that this dispatcher holds. Nothing to do if the
    /// entry has moved on: an agent's claim can outrun LiveKit's answer.
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
        if let Ok(mut change) = self.rules.decide(spec, entry, &call, happening, now) {
            change.lease_epoch = Some(self.epoch);
            self.store.apply(&[Change::Entry(change)]).await?;
        }
        Ok(())
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

    /// Fails batches that were still loading when their server died; nobody was told
    /// that they exist. Only for an engine whose one server this is.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn discard_unfinished_loads(&self) -> Result<(), StoreError> {
        for batch in self.store.batches_in(&[BatchState::Loading]).await? {
            let Change::Batch(mut change) = self.move_batch(&batch, BatchState::Failed) else {
                continue;
            };
            change.reason = Some("load_interrupted".to_owned());
            self.store.apply(&[Change::Batch(change)]).await?;
        }
        Ok(())
    }

    /// When something falls due after `now`, or `None` if nothing waits for time.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.store.next_due(now, CLAIMABLE).await
    }
}
