//! What a sequence of requests is made of.

use proptest::prelude::*;
use serde_json::{Value, json};

/// Entries of the batch.
pub const ENTRIES: u32 = 4;

/// One request; `entry` counts from 0.
#[derive(Clone, Debug)]
pub enum Step {
    /// Lets the dispatcher work.
    Dispatch,
    /// Again, under the key of the first time.
    Trigger {
        other_body: bool,
    },
    Pause,
    Resume,
    Cancel {
        mode: &'static str,
    },
    CancelEntry {
        entry: u32,
    },
    Limit {
        body: Value,
    },
    Claim {
        entry: u32,
        claimer: &'static str,
    },
    Beat {
        entry: u32,
        seq: u64,
        state: &'static str,
    },
    Status {
        entry: u32,
        status: &'static str,
    },
    /// Of the failed entries.
    Retry,
    Complete {
        entry: u32,
        attempt: u32,
        status: &'static str,
    },
    Stranger {
        entry: u32,
    },
}

/// Any of them; those that bring a call forward more often.
pub fn step() -> impl Strategy<Value = Step> {
    let entry = || 0..ENTRIES;
    let state = prop::sample::select(vec!["ringing", "in_call"]);
    let status = prop::sample::select(vec!["ringing", "in_call", "ended", "failed"]);
    let outcome = vec!["completed", "failed", "no_answer", "busy", "declined", "voicemail"];
    let outcome = prop::sample::select(outcome);
    let limits = vec![
        json!({"max_concurrent": 1}),
        json!({"max_concurrent": null, "calls_per_second": 5.0}),
        json!({"calls_per_second": -1.0}),
        json!({"max_concurrent": 0}),
        json!({}),
    ];
    prop_oneof![
        4 => Just(Step::Dispatch),
        1 => any::<bool>().prop_map(|other_body| Step::Trigger { other_body }),
        2 => Just(Step::Pause),
        2 => Just(Step::Resume),
        2 => prop::sample::select(vec!["drain", "hangup", "now"])
            .prop_map(|mode| Step::Cancel { mode }),
        1 => entry().prop_map(|entry| Step::CancelEntry { entry }),
        1 => prop::sample::select(limits).prop_map(|body| Step::Limit { body }),
        6 => (entry(), prop::sample::select(vec!["a", "b"]))
            .prop_map(|(entry, claimer)| Step::Claim { entry, claimer }),
        3 => (entry(), 0..4_u64, state)
            .prop_map(|(entry, seq, state)| Step::Beat { entry, seq, state }),
        3 => (entry(), status).prop_map(|(entry, status)| Step::Status { entry, status }),
        6 => (entry(), 1..3_u32, outcome)
            .prop_map(|(entry, attempt, status)| Step::Complete { entry, attempt, status }),
        1 => Just(Step::Retry),
        1 => entry().prop_map(|entry| Step::Stranger { entry }),
    ]
}
