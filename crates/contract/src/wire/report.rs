use std::collections::BTreeMap;

use dialtone_clock::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{BatchId, BatchState, EntryId, JobId, Outcome};

/// What came of a batch, written once when its last entry has ended. The same rows give
/// the same bytes. All durations are product time in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Report {
    /// Rises when a field changes its meaning.
    pub schema_version: u32,
    /// Version of the program that wrote it.
    pub tool_version: String,
    /// The batch.
    pub batch_id: BatchId,
    /// The pipeline run.
    pub job_id: JobId,
    /// The batch whose failed entries this one called again.
    pub retry_of: Option<BatchId>,
    /// `test` or `live`.
    pub mode: String,
    /// Seed of a test batch.
    pub seed: Option<u64>,
    /// SHA-256 of what the batch was asked to do, as JSON with sorted keys.
    pub config_sha256: String,
    /// `completed` or `cancelled`.
    pub status: BatchState,
    /// Why it ended so, where that needs saying.
    pub status_reason: Option<String>,
    /// Whether the batch was cancelled: some entries were then never called.
    pub partial: bool,
    /// Events of the batch that the report has read.
    pub event_seq: u64,
    /// When the batch was asked for.
    pub created_at: Timestamp,
    /// When a dispatcher took it up.
    pub started_at: Option<Timestamp>,
    /// When its last entry ended.
    pub drained_at: Option<Timestamp>,
    /// Entries in all.
    pub total_calls: u32,
    /// Entries that ended `completed`.
    pub completed_calls: u32,
    /// Entries that ended `failed`.
    pub failed_calls: u32,
    /// Entries that ended `cancelled`.
    pub cancelled_calls: u32,
    /// Entries that ended because their number is suppressed.
    pub suppressed_calls: u32,
    /// Rows of the upload that were not taken.
    pub rejected_rows: u32,
    /// Attempts begun.
    pub attempts: u32,
    /// Dial claims won.
    pub dials: u32,
    /// Entries by outcome.
    pub by_outcome: BTreeMap<Outcome, u32>,
    /// What came of first attempts, of second ones, and so on.
    pub by_attempt: Vec<AttemptTotals>,
    /// Entries by the number of their attempts.
    // JSON has no names but texts.
    #[schema(value_type = BTreeMap<String, u32>)]
    pub attempts_histogram: BTreeMap<u32, u32>,
    /// How long the steps of a call took.
    pub durations_ms: StepDurations,
    /// Attempts that were followed by another, and why.
    pub retries: Retries,
    /// Attempts that a deadline ended.
    pub timeouts: Timeouts,
    /// When the batch stood still, and why: by a user or by its circuit breaker.
    pub pauses: Pauses,
    /// When LiveKit took no dispatches while the batch was running, and why.
    pub livekit_outages: Outages,
    /// The invariants, recounted from rows.
    pub invariants: Vec<ReportedInvariant>,
    /// What the analysis of the conversations found; null in tests.
    pub analysis: Option<serde_json::Value>,
}

/// What came of attempts with one number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AttemptTotals {
    /// The number, from 1.
    pub attempt: u32,
    /// How many there were.
    pub begun: u32,
    /// What came of them.
    pub by_outcome: BTreeMap<Outcome, u32>,
}

/// How long the steps of a call took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StepDurations {
    /// From the moment an entry was due to its lease.
    pub queue: Percentiles,
    /// From the lease to LiveKit's answer.
    pub dispatch: Percentiles,
    /// From the lease to the dial claim.
    pub claim: Percentiles,
    /// The call itself, as its agent reported it.
    pub talk: Percentiles,
}

/// Percentiles of one duration; all zero where nothing was measured. They are exact to
/// within a hundredth, `max` is exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Percentiles {
    /// Values.
    pub count: u64,
    /// Half of them are at most this.
    pub p50: f64,
    /// Three quarters.
    pub p75: f64,
    /// Nine tenths.
    pub p90: f64,
    /// 95 of a hundred.
    pub p95: f64,
    /// 99 of a hundred.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

/// Attempts that were followed by another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Retries {
    /// How many.
    pub total: u32,
    /// By what the attempt before came to.
    pub by_outcome: BTreeMap<Outcome, u32>,
}

/// Attempts that a deadline ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Timeouts {
    /// How many.
    pub total: u32,
    /// By what they came to.
    pub by_outcome: BTreeMap<Outcome, u32>,
    /// The first of them by place in the batch; the table of entries has all.
    pub evidence: Vec<TimeoutEvidence>,
}

/// One attempt that a deadline ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TimeoutEvidence {
    /// The entry.
    pub entry_id: EntryId,
    /// The attempt.
    pub attempt: u32,
    /// What it came to.
    pub outcome: Outcome,
    /// What was last seen of it.
    pub last_seen: String,
    /// When that was.
    pub last_seen_at: Timestamp,
    /// When the deadline ended it.
    pub ended_at: Option<Timestamp>,
}

/// When the batch stood still.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pauses {
    /// How often.
    pub total: u32,
    /// The first of them.
    pub items: Vec<Pause>,
}

/// One pause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pause {
    /// When it began.
    pub from: Timestamp,
    /// When it ended.
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: Option<String>,
}

/// When LiveKit took no dispatches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Outages {
    /// How often.
    pub total: u32,
    /// The first of them.
    pub items: Vec<Outage>,
}

/// One outage, as the dispatcher saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Outage {
    /// When the dispatcher had seen enough refusals to send no more than one at a time.
    pub from: Timestamp,
    /// When a dispatch was taken again; null if the batch left its state before.
    pub until: Option<Timestamp>,
    /// What LiveKit's last answer was.
    pub reason: String,
}

/// One invariant, recounted from rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReportedInvariant {
    /// Its name.
    pub name: String,
    /// Whether it holds.
    pub holds: bool,
    /// The first row that breaks it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}
