//! Agents that go wrong by script: what they say and do not say, and that the platform brings
//! every entry to the end that its plan has.

use std::time::Duration;

use dialtone_contract::wire::{EntryView, SpanS};
use dialtone_contract::{DispatchMetadata, PlannedOutcome, ScriptedFaults, TEST_WORKER_NAME};
use dialtone_tests::wait::until;
use dialtone_tests::{Api, Platform, Rig, Setup, TestBatch, create_dispatch};
use serde_json::{Value, json};

/// Guards at their floor of 1.5 s, ringing at most 3 s.
const FACTOR: u32 = 20;

const BATCH: Duration = Duration::from_secs(60);

/// How many scripts of this plan were played with this result.
async fn played(worker: &Api, plan: PlannedOutcome, result: &str) -> u32 {
    let text = worker.get("/metrics").await.text();
    let labels = [format!("plan=\"{plan}\""), format!("result=\"{result}\"")];
    let is_it = |line: &&str| {
        line.starts_with("test_worker_scripts_total") && labels.iter().all(|l| line.contains(l))
    };
    let line = text.lines().find(is_it);
    let value = line.and_then(|line| line.rsplit(' ').next());
    value.map_or(0, |value| value.parse().expect("a count"))
}

#[tokio::test]
async fn every_scripted_fault_ends_as_it_has_to() {
    Setup::at(FACTOR)
        .run(async |rig| {
            let faults = json!({
                "late_callback": 3, "duplicate_callback": 3, "lost_callback": 6,
                "crash_in_call": 3, "never_accepts": 2, "rings_forever": 2,
            });
            let batch = TestBatch::of(24, 2, 1, 1).with("/faults", faults).talk_s(2.0).seed(5);
            let id = rig.api.trigger(&batch).await;
            let status = rig.api.completed(&id, BATCH).await;
            assert_eq!(status.completed_calls, 13, "{status:?}");
            assert_eq!((status.dials, status.attempts), (20, 20 + 4 * 3), "{status:?}");
            let by_outcome = json!({
                "completed": 13, "failed": 2, "timeout_unclaimed": 4, "timeout_ringing": 2,
                "agent_error": 3,
            });
            assert_eq!(json!(status.by_outcome), by_outcome);
            for entry in rig.api.entries(&id).await {
                let plan = entry.planned_outcome.expect("an exact batch");
                assert_eq!(entry.outcome, Some(plan.expected()), "{entry:?}");
                let attempts = if plan.claims() { 1 } else { 3 };
                assert_eq!(entry.attempts.len(), attempts, "{entry:?}");
            }
            rig.verify(&id).await;
            // The batch ends before its late agents have said their last.
            let worker = rig.worker().api().clone();
            for (plan, n) in [
                (PlannedOutcome::LateCallback, 3),
                (PlannedOutcome::DuplicateCallback, 3),
                (PlannedOutcome::LostCallback, 6),
                (PlannedOutcome::CrashInCall, 3),
                (PlannedOutcome::NeverAccepts, 6),
                (PlannedOutcome::RingsForever, 2),
            ] {
                until(&format!("{n} scripts of {plan}"), async || {
                    match played(&worker, plan, "as_scripted").await {
                        now if now == n => Ok(()),
                        now => Err(format!("{now} were played")),
                    }
                })
                .await;
                assert_eq!(played(&worker, plan, "wrong").await, 0, "{plan}");
            }
            assert_eq!(rig.api.status(&id).await, status, "nothing moved after the end");
        })
        .await;
}

/// The worker dies between the status that closes a call and its callback: nobody will ever
/// send one.
#[tokio::test]
async fn calls_whose_worker_died_after_their_end_are_completed_from_the_log() {
    Setup::at(FACTOR)
        .run(async |rig| {
            let batch = TestBatch::of(5, 0, 0, 0).with("/faults/late_callback", 5).talk_s(1.0);
            let id = rig.api.trigger(&batch).await;
            until("five closed calls", async || {
                let entries = rig.api.entries(&id).await;
                let closed = |entry: &&EntryView| {
                    entry.attempts.last().is_some_and(|last| last.state.is_closed())
                };
                match entries.iter().filter(closed).count() {
                    5 => Ok(()),
                    n => Err(format!("{n} are closed")),
                }
            })
            .await;
            rig.worker().kill().await;
            let status = rig.api.completed(&id, BATCH).await;
            assert_eq!((status.completed_calls, status.attempts, status.dials), (5, 5, 5));
            let metrics = rig.api.get("/metrics").await.text();
            let applied = "batch_callbacks_total{result=\"applied\"}";
            assert!(!metrics.contains(applied), "nobody reported: {metrics}");
            rig.verify(&id).await;
        })
        .await;
}

fn planned(mut metadata: DispatchMetadata, outcome: PlannedOutcome) -> DispatchMetadata {
    let plan = metadata.test.as_mut().expect("a test call");
    plan.outcome = Some(outcome);
    plan.durations.completed = SpanS { min_s: 2.0, max_s: 2.0 };
    metadata
}

/// What the agent of one call says, up to `last`, signs of life left out.
async fn said_by(rig: &Rig, platform: &mut Platform, plan: PlannedOutcome, n: usize) -> Vec<Value> {
    let metadata = planned(platform.metadata(plan.as_str(), "+15550000001"), plan);
    let text = serde_json::to_string(&metadata).expect("plain data");
    create_dispatch(rig.livekit.api(), plan.as_str(), TEST_WORKER_NAME, &text).await;
    let mut said = Vec::new();
    while said.len() < n {
        let one = platform.next().await;
        if !one.path.ends_with("/heartbeat") {
            said.push(one.body["status"].clone());
        }
    }
    said
}

#[tokio::test]
async fn agents_say_what_their_script_has() {
    Setup::at(FACTOR)
        .run(async |rig| {
            let mut platform = Platform::start();
            // Refused: of it nobody hears, whatever else is said below.
            said_by(rig, &mut platform, PlannedOutcome::NeverAccepts, 0).await;
            let crash = said_by(rig, &mut platform, PlannedOutcome::CrashInCall, 2).await;
            assert_eq!(crash, [Value::Null, json!("in_call")], "the claim, and then nothing");
            for plan in [PlannedOutcome::DuplicateCallback, PlannedOutcome::LostCallback] {
                let said = said_by(rig, &mut platform, plan, 5).await;
                let twice = json!([null, "in_call", "ended", "completed", "completed"]);
                assert_eq!(json!(said), twice, "{plan}");
            }
            assert_eq!(platform.rest().len(), 0);
            let worker = rig.worker().api().clone();
            // A platform that applies the same callback twice is told apart.
            until("a wrong answer to be counted", async || {
                match played(&worker, PlannedOutcome::DuplicateCallback, "wrong").await {
                    1 => Ok(()),
                    n => Err(format!("{n} were counted")),
                }
            })
            .await;
        })
        .await;
}

#[tokio::test]
async fn a_script_that_cannot_be_is_refused() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let api = &rig.api;
            let ten = || TestBatch::of(10, 0, 0, 0);
            for (pointer, _) in ScriptedFaults::default().pairs() {
                let pointer = format!("/faults/{pointer}");
                for (value, code) in [
                    (json!(11), "counts_exceed_total"),
                    (json!(-1), "out_of_range"),
                    (json!("1"), "wrong_type"),
                    (json!(1.5), "wrong_type"),
                ] {
                    let answer = api.ask(&ten().with(&pointer, value), None).await;
                    answer.invalid(&[(&pointer, code)]);
                }
            }
            let answer = api.ask(&ten().with("/faults/surprise", 1), None).await;
            answer.invalid(&[("/faults/surprise", "unknown_field")]);
            let answer = api.ask(&ten().with("/faults", json!([1])), None).await;
            answer.invalid(&[("/faults", "wrong_type")]);
            // They count within the total, with what else is planned.
            let many = TestBatch::of(10, 5, 3, 0);
            let many = many.with("/faults", json!({ "late_callback": 2, "rings_forever": 1 }));
            api.ask(&many, None).await.invalid(&[("/faults/rings_forever", "counts_exceed_total")]);
            let drawn = ten().with("/outcomes", "weighted").with("/faults/crash_in_call", 1);
            api.ask(&drawn, None).await.invalid(&[("/faults", "invalid")]);
            assert_eq!(api.batches().await, []);
        })
        .await;
}
