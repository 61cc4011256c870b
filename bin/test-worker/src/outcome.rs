//! Which outcome one attempt is given, and how long it lasts.

use std::time::Duration;

use dialtone_clock::rng_for;
use dialtone_contract::wire::SpanS;
use dialtone_contract::{CallId, OutcomeWeights, PlannedOutcome, TestPlan};
use rand::Rng as _;

/// Story time that a stuck agent stays in the room.
const STUCK: Duration = Duration::from_secs(1);

/// The plan's outcome, or a draw from the marker's weights that only the seed and the
/// attempt decide. `None` if there is neither.
pub fn choose(plan: &TestPlan, context: Option<&str>, call: &CallId) -> Option<PlannedOutcome> {
    if plan.outcome.is_some() {
        return plan.outcome;
    }
    let weights = OutcomeWeights::from_marker(context?)?;
    let mut rng = rng_for(plan.seed, &[b"outcome", call.as_str().as_bytes()]);
    weights.at(rng.next_u64() % weights.total())
}

/// Story time that the attempt lasts after the agent joined.
pub fn lasts(plan: &TestPlan, outcome: PlannedOutcome, call: &CallId) -> Duration {
    let SpanS { min_s, max_s } = match outcome {
        PlannedOutcome::Completed
        | PlannedOutcome::LateCallback
        | PlannedOutcome::DuplicateCallback
        | PlannedOutcome::LostCallback
        | PlannedOutcome::CrashInCall => plan.durations.completed,
        PlannedOutcome::Failed => plan.durations.failed,
        PlannedOutcome::Stuck => return STUCK,
        PlannedOutcome::Dropped | PlannedOutcome::NeverAccepts => return Duration::ZERO,
        PlannedOutcome::RingsForever => return Duration::MAX,
    };
    let mut rng = rng_for(plan.seed, &[b"talk", call.as_str().as_bytes()]);
    let chance = f64::from(rng.next_u32()) / f64::from(u32::MAX);
    Duration::try_from_secs_f64(min_s + (max_s - min_s) * chance).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use dialtone_contract::wire::Durations;

    use super::*;

    fn plan(outcome: Option<PlannedOutcome>) -> TestPlan {
        TestPlan { to: "+15550000001".into(), outcome, durations: Durations::default(), seed: 42 }
    }

    #[test]
    fn the_plan_beats_the_marker_and_the_marker_is_drawn_by_weight() {
        let weights = OutcomeWeights { completed: 1, failed: 2, stuck: 0, dropped: 1 };
        let context = weights.marker();
        let call = |n: u32| CallId::new(format!("call_a_{n}_1"));
        let planned = plan(Some(PlannedOutcome::Stuck));
        assert_eq!(choose(&planned, Some(&context), &call(1)), planned.outcome);
        let drawn = |n| choose(&plan(None), Some(&context), &call(n));
        let count = |wanted| (0..4000).filter(|n| drawn(*n) == Some(wanted)).count();
        assert_eq!(drawn(7), drawn(7));
        assert_eq!(count(PlannedOutcome::Stuck), 0);
        // Six standard deviations around 2000 of 4000.
        assert!((1800..2200).contains(&count(PlannedOutcome::Failed)));
        assert_eq!(choose(&plan(None), None, &call(1)), None);
    }

    #[test]
    fn a_call_lasts_within_its_span() {
        for n in 0..200 {
            let call = CallId::new(format!("call_a_{n}_1"));
            let talk = lasts(&plan(None), PlannedOutcome::Completed, &call);
            assert!((2.0..=20.0).contains(&talk.as_secs_f64()), "{talk:?}");
            let fail = lasts(&plan(None), PlannedOutcome::Failed, &call);
            assert!((1.0..=5.0).contains(&fail.as_secs_f64()), "{fail:?}");
        }
    }
}
