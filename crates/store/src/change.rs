use dialtone_clock::Timestamp;
use dialtone_contract::{
    BatchId, BatchState, CallState, EntryEvent, EntryKey, EntryState, Outcome, TenantId,
};
use serde::{Deserialize, Serialize};

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
/// `attempt` (and, where named, under `lease_epoch` and with `deadline_seen`).
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
    /// What changes in the attempt's call log.
    pub call: CallPatch,
    /// What shall leave the platform because of this, in the same commit.
    pub outbox: Vec<OutboxItem>,
    /// When it happens.
    pub at: Timestamp,
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
    /// The attempt never was: remove its row (an attempt given back).
    pub remove: bool,
}

/// A change to one batch. It is made if, and only if, the batch is in state `from`.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchTransition {
    /// The tenant.
    pub tenant: TenantId,
    /// The batch.
    pub batch: BatchId,
    /// Expected state.
    pub from: BatchState,
    /// New state.
    pub to: BatchState,
    /// Why.
    pub reason: Option<String>,
    /// When it happens; becomes `started_at` on the way to `running` (once) and
    /// `finished_at` on the way to a terminal state.
    pub at: Timestamp,
}

/// A request for entries to work on: `pending` and `retry_wait` entries whose time has
/// come are leased, each with a new attempt and its call log.
#[derive(Clone, Debug)]
pub struct ClaimDue {
    /// The tenant.
    pub tenant: TenantId,
    /// The batch.
    pub batch: BatchId,
    /// Nothing is leased unless the batch is in one of these states.
    pub claimable: &'static [BatchState],
    /// Entries at most.
    pub limit: u32,
    /// Nothing is leased beyond so many entries of the batch in flight, those of other
    /// dispatchers included.
    pub max_in_flight: u32,
    /// Product time.
    pub now: Timestamp,
    /// When the lease runs out.
    pub deadline: Timestamp,
    /// Fencing token of the dispatcher.
    pub lease_epoch: u64,
}

/// What has to leave the platform after a commit, at least once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum OutboxItem {
    /// Close the LiveKit room of an ended attempt, so that whoever is still in it, or
    /// still on the way, finds the door shut.
    DeleteRoom {
        /// The room.
        room: String,
    },
}
