use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::wire::Durations;
use crate::{CallId, EntryId, PlannedOutcome};

/// The name under which the test worker registers; dispatches of test batches ask for it.
pub const TEST_WORKER_NAME: &str = "batch-test-worker";

/// The name under which agent workers serve live batches.
pub const LIVE_WORKER_NAME: &str = "batch-worker";

/// Prefix of the compatibility marker in `added_context`; JSON weights follow.
pub const MARKER: &str = "[TEST_BATCH_PROBABILITIES]";

/// What travels in a dispatch's metadata to the agent: who to call, with what right,
/// and, in a test batch, what to simulate. Holds a capability: never log it whole.
#[derive(Clone, Serialize, Deserialize)]
pub struct DispatchMetadata {
    /// The call, which is also the room.
    pub call_id: CallId,
    /// The entry.
    pub entry_id: EntryId,
    /// The attempt, fencing token of everything that the agent sends.
    pub attempt: u32,
    /// Base URL of the API to claim, beat and report at.
    pub api_url: String,
    /// Bearer capability of this attempt.
    pub capability: String,
    /// The configured conversational agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<i64>,
    /// The voice.
    pub voice_id: String,
    /// What the agent knows of this call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variables: Option<Map<String, Value>>,
    /// What to simulate; only the test worker reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<TestPlan>,
    /// Free context for the agent's prompt. In a test batch it carries [`MARKER`] with
    /// the batch's weights, as older test workers expect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added_context: Option<String>,
}

/// What the test worker does with one attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestPlan {
    /// The number to pretend to ring; always in the simulated range.
    pub to: String,
    /// What the batch's plan decided for this entry. `None`: draw from the marker's
    /// weights, seeded by `seed` and the attempt.
    pub outcome: Option<PlannedOutcome>,
    /// How long the simulated call lasts.
    pub durations: Durations,
    /// Seed of the batch.
    pub seed: u64,
}

/// The weights of a test batch: how many of its entries shall end how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomeWeights {
    /// Weight of `completed`.
    pub completed: u32,
    /// Weight of `failed`.
    pub failed: u32,
    /// Weight of `stuck`.
    pub stuck: u32,
    /// Weight of `dropped`.
    pub dropped: u32,
}

impl OutcomeWeights {
    /// Each outcome with its weight.
    pub fn pairs(self) -> [(PlannedOutcome, u32); 4] {
        [
            (PlannedOutcome::Completed, self.completed),
            (PlannedOutcome::Failed, self.failed),
            (PlannedOutcome::Stuck, self.stuck),
            (PlannedOutcome::Dropped, self.dropped),
        ]
    }

    /// Sum of the weights.
    pub fn total(self) -> u64 {
        self.pairs().iter().map(|(_, weight)| u64::from(*weight)).sum()
    }

    /// The outcome at `point`, where the outcomes lie end to end in order. `None` at
    /// or past [`Self::total`].
    pub fn at(self, mut point: u64) -> Option<PlannedOutcome> {
        for (outcome, weight) in self.pairs() {
            match point.checked_sub(u64::from(weight)) {
                Some(rest) => point = rest,
                None => return Some(outcome),
            }
        }
        None
    }

    /// The compatibility marker with these weights.
    pub fn marker(self) -> String {
        format!("{MARKER}{}", serde_json::to_string(&self).expect("weights are plain data"))
    }

    /// Reads the marker back from `added_context`. `None` if there is no marker, if it
    /// stands there twice, or if its weights cannot be read or are all 0.
    pub fn from_marker(context: &str) -> Option<Self> {
        let mut parts = context.split(MARKER).skip(1);
        let (text, None) = (parts.next()?, parts.next()) else { return None };
        let weights = serde_json::Deserializer::from_str(text).into_iter::<Self>().next()?.ok()?;
        (weights.total() > 0).then_some(weights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: OutcomeWeights =
        OutcomeWeights { completed: 24, failed: 100, stuck: 15, dropped: 10 };

    #[test]
    fn the_marker_is_spelled_as_older_workers_read_it() {
        assert_eq!(
            DEFAULT.marker(),
            r#"[TEST_BATCH_PROBABILITIES]{"completed":24,"failed":100,"stuck":15,"dropped":10}"#
        );
        let context = format!("be kind. {} thanks", DEFAULT.marker());
        assert_eq!(OutcomeWeights::from_marker(&context), Some(DEFAULT));
    }

    #[test]
    fn a_poisoned_marker_is_no_marker() {
        let twice = format!("{0}{0}", DEFAULT.marker());
        let zero = OutcomeWeights::default().marker();
        let bad = [
            "",
            "hello",
            twice.as_str(),
            zero.as_str(),
            "[TEST_BATCH_PROBABILITIES]",
            r#"[TEST_BATCH_PROBABILITIES]{"completed":NaN}"#,
            r#"[TEST_BATCH_PROBABILITIES]{"completed":-1,"failed":0,"stuck":0,"dropped":0}"#,
            r#"[TEST_BATCH_PROBABILITIES]{"completed":99999999999,"failed":0,"stuck":0,"dropped":0}"#,
        ];
        for context in bad {
            assert_eq!(OutcomeWeights::from_marker(context), None, "{context} was read");
        }
    }

    #[test]
    fn points_cover_the_weights_in_order() {
        assert_eq!(DEFAULT.at(0), Some(PlannedOutcome::Completed));
        assert_eq!(DEFAULT.at(24), Some(PlannedOutcome::Failed));
        assert_eq!(DEFAULT.at(148), Some(PlannedOutcome::Dropped));
        assert_eq!(DEFAULT.at(149), None);
    }
}
