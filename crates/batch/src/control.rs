use std::sync::Arc;

use dialtone_clock::Clock;
use dialtone_contract::{BatchId, BatchState, CancelMode, EntryKey, EntryState, TenantId, limits};
use dialtone_store::{
    Applied, BatchLimits, BatchRow, BatchTransition, CallRow, Change, EntryRow, Store, StoreError,
};

use crate::policy::breaker::PAUSED_BY_BREAKER;
use crate::{Happening, Rules, WhileWaiting};

/// Times that a decision is made anew because the row moved in between.
const DECISIONS_MAX: u32 = 16;

/// Why a user's order was not carried out. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The tenant has no such batch or entry.
    #[error("there is no such thing")]
    NotFound,
    /// The present state does not allow it.
    #[error("the {what} is {state}")]
    Conflict {
        /// `batch` or `entry`.
        what: &'static str,
        /// Where it stands.
        state: &'static str,
    },
    /// No entry of the batch failed.
    #[error("no entry of the batch failed")]
    NothingToRetry,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What became of an order that could be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Controlled<S> {
    /// Where the batch or entry stands now.
    pub state: S,
    /// `false` if it stood there before.
    pub applied: bool,
}

/// What an order asks of a batch as it stands.
enum Order {
    /// It is so already.
    Already,
    /// It cannot be.
    Refused,
    /// Go there, with these limits and this cancel mode.
    Go(BatchState, Option<BatchLimits>, Option<CancelMode>),
}

/// Users' orders to batches and entries that exist: pause, resume, cancel, limits. Each
/// may be given twice; what a running call makes of them is the dispatcher's work.
pub struct Control {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    rules: Rules,
}

impl Control {
    /// Orders over `store`.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        let rules = Rules::new(clock.scale());
        Self { store, clock, rules }
    }

    /// No more entries are claimed until the batch is resumed; calls go on.
    ///
    /// # Errors
    /// If there is no such batch, it has ended or is ending, or the store fails.
    pub async fn pause(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
    ) -> Result<Controlled<BatchState>, ControlError> {
        let reason = Some("paused by a user".to_owned());
        self.order(tenant, batch, reason, |row| match row.state {
            // What its breaker has paused, its breaker may resume; what a user has, only a user.
            BatchState::Paused if !is_paused_by_breaker(row) => Order::Already,
            BatchState::Accepted | BatchState::Running | BatchState::Paused => {
                Order::Go(BatchState::Paused, None, None)
            }
            _ => Order::Refused,
        })
        .await
    }

    /// Entries are claimed again.
    ///
    /// # Errors
    /// If there is no such batch, it has ended or is ending, or the store fails.
    pub async fn resume(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
    ) -> Result<Controlled<BatchState>, ControlError> {
        self.order(tenant, batch, None, |row| match row.state {
            BatchState::Accepted | BatchState::Running => Order::Already,
            BatchState::Paused => Order::Go(BatchState::Running, None, None),
            _ => Order::Refused,
        })
        .await
    }

    /// Entries that wait are cancelled, calls as `mode` says. A cancel that lets calls go
    /// on can be followed by one that hangs them up, not the reverse.
    ///
    /// # Errors
    /// If there is no such batch, all its entries have ended, or the store fails.
    pub async fn cancel(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        mode: CancelMode,
    ) -> Result<Controlled<BatchState>, ControlError> {
        use BatchState::{Accepted, Cancelled, Cancelling, Paused, Running};
        let reason = Some("cancelled by a user".to_owned());
        self.order(tenant, batch, reason, |row| match row.state {
            Cancelling if mode == CancelMode::Hangup && row.cancel != Some(mode) => {
                Order::Go(Cancelling, None, Some(mode))
            }
            Cancelling | Cancelled => Order::Already,
            Accepted | Running | Paused => Order::Go(Cancelling, None, Some(mode)),
            _ => Order::Refused,
        })
        .await
    }

    /// Replaces what the batch has been told of its limits.
    ///
    /// # Errors
    /// If there is no such batch, it has ended or is ending, or the store fails.
    pub async fn limit(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        change: impl Fn(BatchLimits) -> BatchLimits,
    ) -> Result<Controlled<BatchState>, ControlError> {
        use BatchState::{Accepted, Paused, Running};
        self.order(tenant, batch, None, |row| {
            let limits = change(row.limits);
            match row.state {
                Accepted | Running | Paused if limits == row.limits => Order::Already,
                Accepted | Running | Paused => Order::Go(row.state, Some(limits), None),
                _ => Order::Refused,
            }
        })
        .await
    }

    async fn order(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        reason: Option<String>,
        decide: impl Fn(&BatchRow) -> Order,
    ) -> Result<Controlled<BatchState>, ControlError> {
        for _ in 0..DECISIONS_MAX {
            let row = self.store.batch(tenant, batch).await?;
            // Nobody was told of a batch that is still loading.
            let row = row.filter(|row| row.state != BatchState::Loading);
            let row = row.ok_or(ControlError::NotFound)?;
            let (to, limits, cancel) = match decide(&row) {
                Order::Already => return Ok(Controlled { state: row.state, applied: false }),
                Order::Refused => {
                    return Err(ControlError::Conflict {
                        what: "batch",
                        state: row.state.as_str(),
                    });
                }
                Order::Go(to, limits, cancel) => (to, limits, cancel),
            };
            // What was said of a state holds while the batch stays in it, until more is said.
            let said = if to == row.state { row.reason } else { None };
            let reason = reason.clone().or(said);
            let change = Change::Batch(BatchTransition {
                tenant: tenant.clone(),
                batch: batch.clone(),
                from: row.state,
                unmoved_since: Some(row.event_seq),
                to,
                reason,
                limits,
                cancel,
                outbox: Vec::new(),
                at: self.clock.now(),
            });
            let applied = self.store.apply(&[change]).await?;
            if applied.first().is_some_and(Applied::is_applied) {
                return Ok(Controlled { state: to, applied: true });
            }
        }
        Err(StoreError::Unavailable(format!("{batch} never stood still")).into())
    }

    /// Cancels one entry: at once if it waits, by hanging up if its call is under way.
    ///
    /// # Errors
    /// If there is no such entry, it has ended, or the store fails.
    pub async fn cancel_entry(
        &self,
        tenant: &TenantId,
        key: &EntryKey,
    ) -> Result<Controlled<EntryState>, ControlError> {
        for _ in 0..DECISIONS_MAX {
            let (batch, entry, call) = self.entry(tenant, key).await?;
            let now = self.clock.now();
            let decided = match (entry.state, &call) {
                (EntryState::Cancelled, _) => {
                    return Ok(Controlled { state: entry.state, applied: false });
                }
                (state, _) if state.is_terminal() => {
                    return Err(ControlError::Conflict { what: "entry", state: state.as_str() });
                }
                (state, Some(call)) if state.is_in_flight() => {
                    self.rules.decide(&batch.spec, &entry, call, Happening::HungUp, now)
                }
                _ => self.rules.while_waiting(&batch.spec, &entry, WhileWaiting::Cancelled, now),
            };
            // The rows were read one after the other: what does not fit is read again.
            let Ok(change) = decided else { continue };
            let applied = self.store.apply(&[Change::Entry(change)]).await?;
            if applied.first().is_some_and(Applied::is_applied) {
                return Ok(Controlled { state: EntryState::Cancelled, applied: true });
            }
        }
        Err(StoreError::Unavailable(format!("{} never stood still", key.entry_id())).into())
    }

    /// The entry, its batch, and the attempt under way.
    async fn entry(
        &self,
        tenant: &TenantId,
        key: &EntryKey,
    ) -> Result<(BatchRow, EntryRow, Option<CallRow>), ControlError> {
        let batch = self.store.batch(tenant, &key.batch).await?;
        let batch = batch.filter(|row| row.state != BatchState::Loading);
        let page = self.store.entries(tenant, &key.batch, key.seq - 1, 1).await?;
        let found = page.into_iter().next().filter(|(entry, _)| entry.key == *key);
        let (Some(batch), Some((entry, calls))) = (batch, found) else {
            return Err(ControlError::NotFound);
        };
        let call = calls.into_iter().find(|call| call.attempt == entry.attempt);
        Ok((batch, entry, call))
    }
}

fn is_paused_by_breaker(row: &BatchRow) -> bool {
    row.reason.as_deref().is_some_and(|reason| reason.starts_with(PAUSED_BY_BREAKER))
}

/// Checks limits that a user asks for; gives what is wrong with them.
pub fn check_limits(asked: &BatchLimits) -> Vec<dialtone_contract::FieldError> {
    let mut errors = Vec::new();
    let mut refuse = |pointer: &str, detail: String| {
        errors.push(dialtone_contract::FieldError::new(pointer, "out_of_range", detail));
    };
    if let Some(n) = asked.max_concurrent
        && !(1..=limits::MAX_CONCURRENT_MAX).contains(&n)
    {
        let detail = format!("{n} is not between 1 and {}", limits::MAX_CONCURRENT_MAX);
        refuse("/max_concurrent", detail);
    }
    if let Some(rate) = asked.calls_per_second
        && !(limits::CALLS_PER_SECOND_MIN..=limits::CALLS_PER_SECOND_MAX).contains(&rate)
    {
        let (least, most) = (limits::CALLS_PER_SECOND_MIN, limits::CALLS_PER_SECOND_MAX);
        let detail = format!("{rate} is not between {least} and {most}");
        refuse("/calls_per_second", detail);
    }
    errors
}
