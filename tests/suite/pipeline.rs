//! Whole batches on a whole stack: every count exact, every invariant recounted.

use std::collections::BTreeMap;
use std::time::Duration;

use dialtone_contract::wire::EntryView;
use dialtone_contract::{EntryState, Outcome, PlannedOutcome};
use dialtone_tests::{Rig, Setup, TestBatch};

/// A whole batch on a slow and busy machine.
const BATCH: Duration = Duration::from_secs(60);

/// Guards of at least 650 ms: three stacks of an unoptimised build on two cores then
/// expire nothing by mistake.
const FACTOR: u32 = 15;

/// What must come of a batch.
struct Scenario {
    name: &'static str,
    completed: u32,
    failed: u32,
    stuck: u32,
    dropped: u32,
}

const SCENARIOS: [Scenario; 4] = [
    Scenario { name: "completed", completed: 10, failed: 0, stuck: 0, dropped: 0 },
    Scenario { name: "failed", completed: 0, failed: 10, stuck: 0, dropped: 0 },
    Scenario { name: "stuck", completed: 0, failed: 0, stuck: 15, dropped: 0 },
    Scenario { name: "default mix", completed: 24, failed: 100, stuck: 15, dropped: 10 },
];

impl Scenario {
    fn total(&self) -> u32 {
        self.completed + self.failed + self.stuck + self.dropped
    }

    fn request(&self, seed: u64) -> TestBatch {
        TestBatch::of(self.total(), self.failed, self.stuck, self.dropped).seed(seed)
    }

    /// The status, the entries and the invariants of the ended batch agree with the plan
    /// and with each other.
    async fn check(&self, rig: &Rig, batch: &str) {
        let name = self.name;
        let status = rig.api.completed(batch, BATCH).await;
        let unclaimed = self.stuck + self.dropped;
        let dials = self.completed + self.failed;
        assert_eq!(status.total_calls, self.total(), "{name}");
        assert_eq!(status.completed_calls, self.completed, "{name}: {status:?}");
        assert_eq!(status.failed_calls, self.failed + unclaimed, "{name}: {status:?}");
        let open = status.cancelled_calls + status.pending_calls + status.in_flight;
        assert_eq!(open, 0, "{name}: {status:?}");
        assert_eq!(status.dials, dials, "{name}: {status:?}");
        assert_eq!(status.attempts, dials + unclaimed * 3, "{name}: {status:?}");
        let counts = [
            (Outcome::Completed, self.completed),
            (Outcome::Failed, self.failed),
            (Outcome::TimeoutUnclaimed, unclaimed),
        ];
        let expected: BTreeMap<_, _> = counts.into_iter().filter(|(_, n)| *n > 0).collect();
        assert_eq!(status.by_outcome, expected, "{name}: {status:?}");
        let entries = rig.api.entries(batch).await;
        let mut by_state = BTreeMap::<EntryState, u32>::new();
        for entry in &entries {
            *by_state.entry(entry.state).or_default() += 1;
            check_entry(entry);
        }
        assert_eq!(status.by_state, by_state, "{name}");
        rig.verify(batch).await;
    }
}

/// The entry ended as planned, in the attempts that the plan needs.
fn check_entry(entry: &EntryView) {
    let planned = entry.planned_outcome.expect("every entry of an exact batch has a plan");
    assert_eq!(entry.outcome, Some(planned.expected()), "{entry:?}");
    let (attempts, dials) = if planned.claims() { (1, 1) } else { (3, 0) };
    assert_eq!(entry.attempts.len(), attempts, "{entry:?}");
    let claimed = entry.attempts.iter().filter(|attempt| attempt.claimed_at.is_some()).count();
    assert_eq!(claimed, dials, "{entry:?}");
    let ended = if planned == PlannedOutcome::Completed { "ended" } else { "failed" };
    for attempt in &entry.attempts {
        assert_eq!(attempt.state.as_str(), ended, "{entry:?}");
        assert!(attempt.ended_at.is_some(), "{entry:?}");
        // An attempt that ended before LiveKit answered has no note of the answer.
        assert!(planned.claims() || attempt.dispatch_id.is_some(), "{entry:?}");
    }
}

/// Every scenario with one seed, all batches at once on one stack.
async fn scenarios(factor: u32, seed: u64) {
    Setup::at(factor)
        .seed(seed)
        .run(async |rig| {
            let mut batches = Vec::new();
            for scenario in &SCENARIOS {
                batches.push((scenario, rig.api.trigger(&scenario.request(seed)).await));
            }
            for (scenario, batch) in &batches {
                scenario.check(rig, batch).await;
            }
            assert_eq!(rig.api.batches().await.len(), SCENARIOS.len());
            let secret = std::fs::read_to_string(rig.data_dir().join("secret")).expect("made");
            for canary in ["cap1.", "+1555000", secret.trim()] {
                let found = rig.logs().lines().find(|line| line.contains(canary)).map(str::len);
                assert_eq!(found, None, "a log has a capability, a number or the secret");
            }
            let callbacks = rig.worker().metric("test_worker_callbacks_total").await;
            assert!((callbacks - 144.0).abs() < 0.5, "{callbacks} callbacks for 144 dials");
        })
        .await;
}

#[tokio::test]
async fn the_scenarios_end_exactly_as_planned_with_seed_1() {
    scenarios(FACTOR, 1).await;
}

#[tokio::test]
async fn the_scenarios_end_exactly_as_planned_with_seed_7() {
    scenarios(FACTOR, 7).await;
}

#[tokio::test]
async fn the_scenarios_end_exactly_as_planned_with_seed_42() {
    scenarios(FACTOR, 42).await;
}
