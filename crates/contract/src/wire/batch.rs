use std::collections::BTreeMap;

use dialtone_clock::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::BatchOptions;
use crate::{BatchId, BatchState, EntryState, JobId, Outcome, ScriptedFaults};

/// Body of `POST /batch/trigger-test-batch`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestBatchRequest {
    /// The voice; must exist.
    pub voice_id: String,
    /// The user of the tenant who asks; must exist.
    pub initiated_by: i64,
    /// The configured conversational agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<i64>,
    /// Stored until telephony exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_number: Option<String>,
    /// Entries in all, 1 to 1,000,000.
    #[schema(minimum = 1, maximum = 1_000_000)]
    #[serde(default = "defaults::total")]
    pub total: u32,
    /// Entries planned to fail; 100 if absent. Where all three counts are absent, they are
    /// the default mix of 149 entries (100 fail, 15 are stuck, 10 are dropped) in the
    /// proportions of `total` less the `faults`, each rounded down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_count: Option<u32>,
    /// Entries planned to be stuck; 15 if absent, but see `fail_count`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck_count: Option<u32>,
    /// Entries planned to be dropped; 10 if absent, but see `fail_count`. The rest is planned
    /// to complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped_count: Option<u32>,
    /// Entries planned to go wrong in ways that the platform has to bear; they count within
    /// `total`. Only where the counts are a plan.
    #[serde(default, skip_serializing_if = "ScriptedFaults::is_none")]
    pub faults: ScriptedFaults,
    /// Seed of the plan, the talk times and the backoff; drawn if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Whether the counts are a plan or weights.
    #[serde(default)]
    pub outcomes: OutcomeMode,
    /// How long simulated calls last.
    #[serde(default)]
    pub durations: Durations,
    /// How the batch is worked off.
    #[serde(default)]
    pub options: BatchOptions,
}

/// Entries of the default mix: in all, failed, stuck, dropped.
const TOTAL: u32 = 149;
const MIX: [u32; 3] = [100, 15, 10];

mod defaults {
    pub fn total() -> u32 {
        super::TOTAL
    }
}

impl TestBatchRequest {
    /// Entries planned to fail, to be stuck, and to be dropped.
    pub fn counts(&self) -> [u32; 3] {
        let asked = [self.fail_count, self.stuck_count, self.dropped_count];
        if asked.iter().any(Option::is_some) {
            let [failed, stuck, dropped] = MIX;
            return [
                asked[0].unwrap_or(failed),
                asked[1].unwrap_or(stuck),
                asked[2].unwrap_or(dropped),
            ];
        }
        let faults: u64 = self.faults.pairs().into_iter().map(|(_, n)| u64::from(n)).sum();
        let left = u64::from(self.total).saturating_sub(faults);
        // Never more than `total`, which fits.
        MIX.map(|n| u32::try_from(left * u64::from(n) / u64::from(TOTAL)).unwrap_or(u32::MAX))
    }

    /// The same request with its counts spelled out.
    pub fn spelled_out(self) -> Self {
        let [failed, stuck, dropped] = self.counts().map(Some);
        Self { fail_count: failed, stuck_count: stuck, dropped_count: dropped, ..self }
    }
}

/// Whether a test batch's counts are kept exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeMode {
    /// The exact multiset, dealt to the entries by a seeded shuffle.
    #[default]
    Exact,
    /// Each attempt draws from the counts as weights.
    Weighted,
}

/// How long simulated calls last, in story time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Durations {
    /// Talk time of a completed call.
    pub completed: SpanS,
    /// Time until a failed call fails.
    pub failed: SpanS,
}

/// From and to, in seconds of story time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SpanS {
    /// Shortest.
    pub min_s: f64,
    /// Longest.
    pub max_s: f64,
}

impl Default for Durations {
    fn default() -> Self {
        Self {
            completed: SpanS { min_s: 2.0, max_s: 20.0 },
            failed: SpanS { min_s: 1.0, max_s: 5.0 },
        }
    }
}

/// Answer to a trigger (202).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TriggerResponse {
    /// The batch.
    pub batch_id: BatchId,
    /// The pipeline run, stable over restarts.
    pub job_id: JobId,
    /// Always `accepted`.
    pub status: BatchState,
}

/// Answer of `GET /batch/batch-status/{batch_id}`. Every figure is the one at
/// `event_seq`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BatchStatus {
    /// The batch.
    pub batch_id: BatchId,
    /// The pipeline run.
    pub job_id: JobId,
    /// Where the batch stands.
    pub status: BatchState,
    /// Why it stands there, where that needs saying.
    pub status_reason: Option<String>,
    /// `test` or `live`.
    pub mode: String,
    /// Seed of a test batch.
    pub seed: Option<u64>,
    /// Entries in all.
    pub total_calls: u32,
    /// Entries that ended `completed`.
    pub completed_calls: u32,
    /// Entries that ended `failed`.
    pub failed_calls: u32,
    /// Entries that ended `cancelled`.
    pub cancelled_calls: u32,
    /// Entries that wait for an attempt.
    pub pending_calls: u32,
    /// Entries with an attempt under way.
    pub in_flight: u32,
    /// Attempts begun.
    pub attempts: u32,
    /// Dial claims won.
    pub dials: u32,
    /// Share of entries that have ended, 0 to 1.
    pub progress: f64,
    /// Entries by state.
    pub by_state: BTreeMap<EntryState, u32>,
    /// Ended entries by outcome.
    pub by_outcome: BTreeMap<Outcome, u32>,
    /// Events of this batch so far.
    pub event_seq: u64,
    /// When the trigger was received.
    pub created_at: Timestamp,
    /// When a dispatcher took the batch up.
    pub started_at: Option<Timestamp>,
    /// When the batch ended.
    pub finished_at: Option<Timestamp>,
    /// Where the report is, once it is written.
    pub report_url: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(rest: &str) -> TestBatchRequest {
        let text = format!(r#"{{"voice_id": "demo", "initiated_by": 1{rest}}}"#);
        serde_json::from_str(&text).expect("a request")
    }

    #[test]
    fn counts_that_are_left_out_follow_the_total() {
        for (rest, counts) in [
            ("", MIX),
            (r#", "total": 149"#, MIX),
            (r#", "total": 1"#, [0, 0, 0]),
            (r#", "total": 2"#, [1, 0, 0]),
            (r#", "total": 1000000"#, [671_140, 100_671, 67_114]),
            (r#", "total": 4294967295"#, [2_882_528_385, 432_379_257, 288_252_838]),
            (r#", "total": 159, "faults": {"never_accepts": 10}"#, MIX),
            (r#", "total": 3, "faults": {"never_accepts": 10}"#, [0, 0, 0]),
            (r#", "total": 9, "fail_count": 2"#, [2, 15, 10]),
            (r#", "fail_count": 0, "stuck_count": 0, "dropped_count": 0"#, [0, 0, 0]),
        ] {
            assert_eq!(request(rest).counts(), counts, "{rest}");
        }
        for total in 0..2_000 {
            let sum: u32 = request(&format!(r#", "total": {total}"#)).counts().iter().sum();
            assert!(sum <= total, "{sum} of {total}");
        }
    }

    #[test]
    fn a_request_is_the_same_with_its_counts_spelled_out() {
        let spelled = request(r#", "fail_count": 100, "stuck_count": 15, "dropped_count": 10"#);
        let json = |request: TestBatchRequest| {
            serde_json::to_string(&request.spelled_out()).expect("plain data")
        };
        assert_eq!(json(request("")), json(spelled));
    }
}
