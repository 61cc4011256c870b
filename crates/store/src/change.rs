use dialtone_auth::NumberKey;
use dialtone_clock::Timestamp;
use dialtone_contract::{
    BatchId, BatchState, CallState, CancelMode, EntryEvent, EntryKey, EntryState, Outcome, TenantId,
};

use crate::{BatchLimits, OutboxItem};

/// One guarded change.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all changes are of the large kind, and they live in one vector"
)]
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// To an entry.
    Entry(Transition),
    /// To a batch.
    Batch(BatchTransition),
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was made; the batch's `event_seq` is this now.
    Applied {
        /// Place of the change's event, or of the last event if it writes none.
        event_seq: u64,
    },
    /// What it expected does not hold; nothing was written.
    Stale,
}

impl Applied {
    /// Whether the change was made.
    pub const fn is_applied(&self) -> bool {
        matches!(self, Self::Applied { .. })
    }
}

/// A change to one entry. It is made if, and only if, the entry is in state `from` at
/// `attempt` (and, where named, under `lease_epoch`, with `deadline_seen`, and while the
/// batch is in one of the states `batch_in`).
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// The tenant.
    pub tenant: TenantId,
    /// The entry.
    pub key: EntryKey,
    /// Why it changes.
    pub event: EntryEvent,
    /// Expected state.
    pub from: EntryState,
    /// Outcome in the expected state, for the counters.
    pub from_outcome: Option<Outcome>,
    /// Expected attempt.
    pub attempt: u32,
    /// Expected lease epoch, for changes that only the lease's holder may make.
    pub lease_epoch: Option<u64>,
    /// Expected deadline, for changes that were decided on it: heartbeats and the end of
    /// a call move it without moving state or attempt.
    pub deadline_seen: Option<Timestamp>,
    /// Expected state of the batch, for changes that must not come after its cancel.
    pub batch_in: Option<&'static [BatchState]>,
    /// New state.
    pub to: EntryState,
    /// New outcome.
    pub outcome: Option<Outcome>,
    /// New attempt number; differs from `attempt` only when it is given back.
    pub new_attempt: u32,
    /// Whether this is a dial, for the batch's counter.
    pub dial: bool,
    /// Earliest next claim; `Some` exactly if the entry waits for one.
    pub not_before: Option<Timestamp>,
    /// Next deadline; `Some` exactly if an attempt is under way.
    pub deadline: Option<Timestamp>,
    /// End of the state whatever heartbeats say.
    pub cap: Option<Timestamp>,
    /// The number that the end of an attempt lets go of, if the claim held it.
    pub number: Option<NumberRelease>,
    /// What changes in the attempt's call log.
    pub call: CallPatch,
    /// What shall leave the platform because of this, in the same commit.
    pub outbox: Vec<OutboxItem>,
    /// When it happens.
    pub at: Timestamp,
}

/// A number that nobody calls any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberRelease {
    /// The number.
    pub key: NumberKey,
    /// When it may be called again; `None` for at once.
    pub free_at: Option<Timestamp>,
}

/// Changes to one attempt's call log; `None` leaves a column as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallPatch {
    /// New state.
    pub state: Option<CallState>,
    /// The LiveKit dispatch.
    pub dispatch_id: Option<String>,
    /// When LiveKit took it.
    pub dispatched_at: Option<Timestamp>,
    /// When the dial was claimed.
    pub claimed_at: Option<Timestamp>,
    /// By whom.
    pub claimer: Option<String>,
    /// What the agent said when it closed the call.
    pub closed_outcome: Option<Outcome>,
    /// When the attempt ended.
    pub ended_at: Option<Timestamp>,
    /// What came of the attempt.
    pub outcome: Option<Outcome>,
    /// Why.
    pub reason: Option<String>,
    /// How long the call lasted, in product milliseconds.
    pub duration_ms: Option<u64>,
    /// Number of the agent's last heartbeat.
    pub beat_seq: Option<u64>,
    /// The attempt never was: remove its row (an attempt given back).
    pub remove: bool,
}

/// A change to one batch. It is made if, and only if, the batch is in state `from`. It
/// may stay there, and only its limits or its cancel mode change.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchTransition {
    /// The tenant.
    pub tenant: TenantId,
    /// The batch.
    pub batch: BatchId,
    /// Expected state.
    pub from: BatchState,
    /// Made only if the batch has not moved since this `event_seq`, not even away and back;
    /// its entries may have.
    pub unmoved_since: Option<u64>,
    /// New state.
    pub to: BatchState,
    /// Why.
    pub reason: Option<String>,
    /// New limits; `None` leaves them.
    pub limits: Option<BatchLimits>,
    /// New cancel mode; `None` leaves it.
    pub cancel: Option<CancelMode>,
    /// What shall leave the platform because of this, in the same commit.
    pub outbox: Vec<OutboxItem>,
    /// When it happens; becomes `started_at` on the way to `running` (once) and
    /// `finished_at` on the way to a terminal state.
    pub at: Timestamp,
}
