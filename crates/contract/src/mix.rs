use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{OutcomeWeights, PlannedOutcome};

/// How many entries of a test batch shall go wrong in a way that the platform has to bear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScriptedFaults {
    /// Entries planned as [`PlannedOutcome::LateCallback`].
    pub late_callback: u32,
    /// Entries planned as [`PlannedOutcome::DuplicateCallback`].
    pub duplicate_callback: u32,
    /// Entries planned as [`PlannedOutcome::LostCallback`].
    pub lost_callback: u32,
    /// Entries planned as [`PlannedOutcome::CrashInCall`].
    pub crash_in_call: u32,
    /// Entries planned as [`PlannedOutcome::NeverAccepts`].
    pub never_accepts: u32,
    /// Entries planned as [`PlannedOutcome::RingsForever`].
    pub rings_forever: u32,
}

impl ScriptedFaults {
    /// `n` entries of each kind.
    pub const fn each(n: u32) -> Self {
        Self {
            late_callback: n,
            duplicate_callback: n,
            lost_callback: n,
            crash_in_call: n,
            never_accepts: n,
            rings_forever: n,
        }
    }

    /// Each kind with its number of entries.
    pub const fn pairs(self) -> [(PlannedOutcome, u32); 6] {
        [
            (PlannedOutcome::LateCallback, self.late_callback),
            (PlannedOutcome::DuplicateCallback, self.duplicate_callback),
            (PlannedOutcome::LostCallback, self.lost_callback),
            (PlannedOutcome::CrashInCall, self.crash_in_call),
            (PlannedOutcome::NeverAccepts, self.never_accepts),
            (PlannedOutcome::RingsForever, self.rings_forever),
        ]
    }

    /// Entries of all kinds.
    pub fn total(self) -> u64 {
        self.pairs().iter().map(|(_, n)| u64::from(*n)).sum()
    }

    /// Whether nothing is to go wrong.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// How many entries of a test batch shall end how: the usual outcomes, which are its
/// weights too, and the scripted faults, which come on top.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TestMix {
    /// The usual outcomes.
    pub weights: OutcomeWeights,
    /// What goes wrong.
    pub faults: ScriptedFaults,
}

impl TestMix {
    /// Each plan with its number of entries, in the order of [`PlannedOutcome::ALL`].
    pub fn pairs(self) -> impl Iterator<Item = (PlannedOutcome, u32)> {
        self.weights.pairs().into_iter().chain(self.faults.pairs())
    }

    /// Entries in all.
    pub fn total(self) -> u64 {
        self.weights.total() + self.faults.total()
    }
}

impl From<OutcomeWeights> for TestMix {
    fn from(weights: OutcomeWeights) -> Self {
        Self { weights, faults: ScriptedFaults::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_has_its_place_in_a_mix() {
        let weights = OutcomeWeights { completed: 1, failed: 1, stuck: 1, dropped: 1 };
        let mix = TestMix { weights, faults: ScriptedFaults::each(1) };
        let plans: Vec<_> = mix.pairs().map(|(plan, _)| plan).collect();
        assert_eq!(plans, PlannedOutcome::ALL);
        assert_eq!(mix.total(), 10);
        assert_eq!(TestMix::from(weights).total(), 4);
    }

    #[test]
    fn the_names_of_the_faults_are_those_of_their_plans() {
        let text = serde_json::to_value(ScriptedFaults::each(2)).expect("plain data");
        let names = text.as_object().expect("an object");
        for (plan, n) in ScriptedFaults::each(2).pairs() {
            assert_eq!(names[plan.as_str()], n, "{plan}");
        }
        assert_eq!(names.len(), 6);
    }
}
