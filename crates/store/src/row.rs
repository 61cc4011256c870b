use std::collections::BTreeMap;
use std::sync::Arc;

use dialtone_auth::{NumberKey, Phone};
use dialtone_clock::Timestamp;
use dialtone_contract::wire::{BatchOptions, Durations, OutcomeMode};
use dialtone_contract::{
    BatchId, BatchState, CallState, CancelMode, EntryEvent, EntryKey, EntryState, Outcome,
    OutcomeWeights, PlannedOutcome, ScriptedFaults, TenantId,
};
use serde::{Deserialize, Serialize};

use crate::{BatchTransition, Transition, Webhook};

/// Whether a batch dials people or simulates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchMode {
    /// Simulated calls to simulated numbers.
    Test,
    /// Calls to people.
    Live,
}

/// What a batch was asked to do; frozen when it is created.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchSpec {
    /// Test or live.
    pub mode: BatchMode,
    /// Seed of the plan, the talk times and the backoff.
    pub seed: u64,
    /// The voice.
    pub voice_id: String,
    /// The user who asked.
    pub initiated_by: i64,
    /// The conversational agent.
    pub agent_id: Option<i64>,
    /// Caller number, stored until telephony exists.
    pub from_number: Option<String>,
    /// Entries in all.
    pub total: u32,
    /// Planned outcomes of a test batch.
    pub weights: OutcomeWeights,
    /// What a test batch plans to go wrong beside them.
    #[serde(default)]
    pub faults: ScriptedFaults,
    /// Whether the plan is exact.
    pub outcomes: OutcomeMode,
    /// How long simulated calls last.
    pub durations: Durations,
    /// How the batch is worked off.
    pub options: BatchOptions,
    /// The batch whose failed entries this one calls again.
    #[serde(default)]
    pub retry_of: Option<BatchId>,
    /// The endpoints that are told of it, as they were when it was taken in.
    #[serde(default)]
    pub webhooks: Vec<Webhook>,
}

/// What a running batch has been told from outside; `None` leaves it to the spec.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BatchLimits {
    /// Calls in flight at once.
    pub max_concurrent: Option<u32>,
    /// Calls begun per second of product time.
    pub calls_per_second: Option<f64>,
}

/// A batch to be created, in state `loading`.
#[derive(Clone, Debug)]
pub struct NewBatch {
    /// The tenant.
    pub tenant: TenantId,
    /// The batch.
    pub id: BatchId,
    /// What it shall do.
    pub spec: BatchSpec,
    /// When it was asked for.
    pub created_at: Timestamp,
}

/// An entry to be created, in state `pending`.
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// Place in the batch, from 1.
    pub seq: u32,
    /// Who to call.
    pub to: Phone,
    /// The number as it is compared.
    pub number: NumberKey,
    /// IANA name of the recipient's time zone.
    pub timezone: Option<String>,
    /// What the agent is told of the recipient: a JSON object.
    pub variables: Option<String>,
    /// What a test batch plans for it.
    pub planned: Option<PlannedOutcome>,
    /// Earliest claim.
    pub not_before: Timestamp,
}

/// What a counter counts: entries in this state with this outcome.
pub type CounterKey = (EntryState, Option<Outcome>);

/// Entries by state and outcome; one stored row each, moved by `apply`.
pub type Counters = BTreeMap<CounterKey, u32>;

/// A batch, with every figure at `event_seq`.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchRow {
    /// The tenant.
    pub tenant: TenantId,
    /// The batch.
    pub id: BatchId,
    /// What it was asked to do.
    pub spec: Arc<BatchSpec>,
    /// Where it stands.
    pub state: BatchState,
    /// Why it stands there.
    pub reason: Option<String>,
    /// Events so far.
    pub event_seq: u64,
    /// Attempts begun.
    pub attempts: u32,
    /// Dial claims won.
    pub dials: u32,
    /// Entries by state and outcome.
    pub counters: Counters,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When a dispatcher took it up.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// What it has been told since.
    pub limits: BatchLimits,
    /// Up to where its pace has been used.
    pub paced_at: Option<Timestamp>,
    /// When the last claim that leased something was.
    pub claimed_at: Option<Timestamp>,
    /// How it was cancelled.
    pub cancel: Option<CancelMode>,
    /// Rows of its upload that were not taken.
    pub rejected: u32,
}

impl BatchRow {
    /// Calls in flight at once, as told last.
    pub fn max_concurrent(&self) -> u32 {
        self.limits.max_concurrent.unwrap_or(self.spec.options.max_concurrent)
    }

    /// Calls begun per second of product time at most, as told last.
    pub fn calls_per_second(&self) -> Option<f64> {
        self.limits.calls_per_second.or(self.spec.options.calls_per_second)
    }

    /// Entries whose state passes `test`.
    pub fn count(&self, test: impl Fn(EntryState) -> bool) -> u32 {
        self.counters.iter().filter(|((state, _), _)| test(*state)).map(|(_, n)| n).sum()
    }
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryRow {
    /// The tenant.
    pub tenant: TenantId,
    /// Batch and place.
    pub key: EntryKey,
    /// Who to call.
    pub to: Phone,
    /// The number as it is compared.
    pub number: NumberKey,
    /// IANA name of the recipient's time zone.
    pub timezone: Option<String>,
    /// What the agent is told of the recipient: a JSON object.
    pub variables: Option<String>,
    /// What a test batch plans for it.
    pub planned: Option<PlannedOutcome>,
    /// Where it stands.
    pub state: EntryState,
    /// What came of the last attempt; `None` while one is under way.
    pub outcome: Option<Outcome>,
    /// Number of the current attempt, 0 before the first.
    pub attempt: u32,
    /// Earliest claim; set exactly while the entry waits for one.
    pub not_before: Option<Timestamp>,
    /// When a deadline moves the entry; set exactly while an attempt is under way.
    pub deadline: Option<Timestamp>,
    /// When the present state ends whatever heartbeats say.
    pub cap: Option<Timestamp>,
    /// Fencing token of the dispatcher that holds or last held the lease.
    pub lease_epoch: u64,
}

/// One attempt: a row of `call_logs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRow {
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Where the call stands.
    pub state: CallState,
    /// When the entry was due for this attempt.
    pub due_at: Option<Timestamp>,
    /// When the entry was leased for this attempt.
    pub leased_at: Timestamp,
    /// The LiveKit dispatch.
    pub dispatch_id: Option<String>,
    /// When LiveKit took the dispatch.
    pub dispatched_at: Option<Timestamp>,
    /// When the dial was claimed.
    pub claimed_at: Option<Timestamp>,
    /// Who claimed it.
    pub claimer: Option<String>,
    /// What the agent said when it closed the call; decides if no callback comes.
    pub closed_outcome: Option<Outcome>,
    /// When the attempt ended.
    pub ended_at: Option<Timestamp>,
    /// What came of it.
    pub outcome: Option<Outcome>,
    /// Why it ended.
    pub reason: Option<String>,
    /// How long the agent says the call lasted, in product milliseconds.
    pub duration_ms: Option<u64>,
    /// Number of the agent's last heartbeat that counted.
    pub beat_seq: Option<u64>,
}

impl CallRow {
    /// The call log of an attempt that has just been leased.
    pub fn leased(attempt: u32, at: Timestamp) -> Self {
        Self {
            attempt,
            state: CallState::Dispatching,
            due_at: None,
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
            beat_seq: None,
        }
    }
}

/// One event of a batch: a row of `call_events`. Folding a batch's events in order of
/// `event_seq` gives its counters at each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// Place in the batch's stream, from 1 without gaps.
    pub event_seq: u64,
    /// Dotted past-tense name.
    pub kind: String,
    /// The entry, for entry events.
    pub seq: Option<u32>,
    /// The attempt, for entry events.
    pub attempt: Option<u32>,
    /// State before.
    pub from: String,
    /// State after.
    pub to: String,
    /// Outcome before, for entry events.
    pub from_outcome: Option<Outcome>,
    /// Outcome after, for entry events.
    pub outcome: Option<Outcome>,
    /// Why, for events of the batch.
    pub reason: Option<String>,
    /// When it happened.
    pub at: Timestamp,
}

impl EventRow {
    /// The event of a change to an entry.
    pub fn of_entry(event_seq: u64, change: &Transition) -> Self {
        Self {
            event_seq,
            kind: change.event.as_str().to_owned(),
            seq: Some(change.key.seq),
            attempt: Some(change.attempt),
            from: change.from.as_str().to_owned(),
            to: change.to.as_str().to_owned(),
            from_outcome: change.from_outcome,
            outcome: change.outcome,
            reason: None,
            at: change.at,
        }
    }

    /// The event of a lease, from what the entry was to what it is.
    pub fn of_lease(event_seq: u64, before: &EntryRow, after: &EntryRow, at: Timestamp) -> Self {
        Self {
            event_seq,
            kind: EntryEvent::Leased.as_str().to_owned(),
            seq: Some(after.key.seq),
            attempt: Some(after.attempt),
            from: before.state.as_str().to_owned(),
            to: after.state.as_str().to_owned(),
            from_outcome: before.outcome,
            outcome: None,
            reason: None,
            at,
        }
    }

    /// The event of a change to a batch.
    pub fn of_batch(event_seq: u64, change: &BatchTransition) -> Self {
        let stays = change.from == change.to;
        let kind = if stays { "batch.changed" } else { change.to.event() };
        Self {
            event_seq,
            kind: kind.to_owned(),
            seq: None,
            attempt: None,
            from: change.from.as_str().to_owned(),
            to: change.to.as_str().to_owned(),
            from_outcome: None,
            outcome: None,
            reason: change.reason.clone(),
            at: change.at,
        }
    }
}

/// Something that has to leave the platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its id.
    pub id: i64,
    /// The tenant.
    pub tenant: TenantId,
    /// What shall be done.
    pub item: super::OutboxItem,
    /// Times it has been handed out, this one included.
    pub tries: u32,
}

/// A number that may not be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuppressionRow {
    /// The number as it is compared.
    pub number: NumberKey,
    /// Where it comes from.
    pub source: String,
    /// Since when.
    pub created_at: Timestamp,
}
