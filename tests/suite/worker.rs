//! The test worker alone: driven over LiveKit's API with metadata made by hand, against
//! a platform that stops it from nothing.

use std::time::Duration;

use dialtone_child::Signal;
use dialtone_contract::wire::SpanS;
use dialtone_contract::{DispatchMetadata, OutcomeWeights, PlannedOutcome, TEST_WORKER_NAME};
use dialtone_tests::{Platform, Rig, Setup, TestBatch, create_dispatch};
use serde_json::json;

/// Two story seconds pass in 100 ms.
const FACTOR: u32 = 20;

const NUMBER: &str = "+15550000001";

async fn send(rig: &Rig, metadata: &DispatchMetadata) {
    let text = serde_json::to_string(metadata).expect("plain data");
    send_text(rig, metadata.call_id.as_str(), &text).await;
}

async fn send_text(rig: &Rig, room: &str, metadata: &str) {
    create_dispatch(rig.livekit.api(), room, TEST_WORKER_NAME, metadata).await;
}

fn planned(mut metadata: DispatchMetadata, outcome: PlannedOutcome, s: f64) -> DispatchMetadata {
    let plan = metadata.test.as_mut().expect("a test call");
    plan.outcome = Some(outcome);
    let span = SpanS { min_s: s, max_s: s };
    (plan.durations.completed, plan.durations.failed) = (span, span);
    metadata
}

/// Everything that the worker says of one call, up to its callback.
async fn verbs(platform: &mut Platform, call: &str) -> Vec<String> {
    let mut verbs = Vec::new();
    loop {
        let said = platform.next().await;
        let verb = said.path.rsplit('/').next().unwrap_or_default().to_owned();
        if verb == "entry-completed" {
            assert_eq!(said.body["call_id"], json!(call));
            verbs.push(said.body["status"].as_str().expect("a status").to_owned());
            return verbs;
        }
        assert_eq!(said.path, format!("/batch/calls/{call}/{verb}"));
        match verb.as_str() {
            "heartbeat" => {}
            "status" => verbs.push(said.body["status"].as_str().expect("a status").to_owned()),
            _ => verbs.push(verb),
        }
    }
}

#[tokio::test]
async fn only_simulated_numbers_of_test_calls_are_called() {
    Setup::at(FACTOR)
        .run(async |rig| {
            let mut platform = Platform::start();
            let numbers = [
                "+4915112345678",
                "+15551234567",
                "+1555000",
                "+155500012",
                "+155500012345678901",
                "15550000001",
                "911",
                "",
            ];
            for (n, number) in numbers.into_iter().enumerate() {
                let metadata = platform.metadata(&format!("foreign-{n}"), number);
                send(rig, &planned(metadata, PlannedOutcome::Completed, 0.0)).await;
            }
            let mut live = platform.metadata("live", NUMBER);
            live.test = None;
            send(rig, &live).await;
            send_text(rig, "empty", "").await;
            send_text(rig, "garbage", "{\"call_id\":").await;
            // Nothing to draw from, or from a poisoned marker.
            send(rig, &platform.metadata("planless", NUMBER)).await;
            let weights = OutcomeWeights { failed: 1, ..OutcomeWeights::default() };
            for (n, context) in [
                weights.marker().repeat(2),
                OutcomeWeights::default().marker(),
                "[TEST_BATCH_PROBABILITIES]{\"completed\":NaN}".to_owned(),
            ]
            .into_iter()
            .enumerate()
            {
                let mut metadata = platform.metadata(&format!("poisoned-{n}"), NUMBER);
                metadata.added_context = Some(context);
                send(rig, &metadata).await;
            }
            // The good one is called; of all the others nobody ever heard.
            let good = planned(platform.metadata("good", NUMBER), PlannedOutcome::Completed, 10.0);
            send(rig, &good).await;
            let said = verbs(&mut platform, "good").await;
            assert_eq!(said, ["claim", "in_call", "ended", "completed"]);
            let rest = platform.rest();
            assert!(rest.is_empty(), "{rest:?}");
        })
        .await;
}

#[tokio::test]
async fn each_outcome_is_played_as_planned() {
    Setup::at(FACTOR)
        .run(async |rig| {
            let mut platform = Platform::start();
            // Those that never claim first, so that a claim of theirs would show.
            for outcome in [PlannedOutcome::Stuck, PlannedOutcome::Dropped] {
                let metadata = platform.metadata(outcome.as_str(), NUMBER);
                send(rig, &planned(metadata, outcome, 0.0)).await;
            }
            let failed = planned(platform.metadata("f", NUMBER), PlannedOutcome::Failed, 10.0);
            send(rig, &failed).await;
            assert_eq!(verbs(&mut platform, "f").await, ["claim", "failed", "failed"]);
            // Only the marker decides where there is no plan.
            let weights = OutcomeWeights { failed: 3, ..OutcomeWeights::default() };
            let mut drawn = planned(platform.metadata("d", NUMBER), PlannedOutcome::Failed, 1.0);
            drawn.test.as_mut().expect("a test call").outcome = None;
            drawn.added_context = Some(format!("be kind {} and brief", weights.marker()));
            send(rig, &drawn).await;
            assert_eq!(verbs(&mut platform, "d").await, ["claim", "failed", "failed"]);
            let rest = platform.rest();
            assert!(rest.is_empty(), "{rest:?}");
        })
        .await;
}

#[tokio::test]
async fn weights_decide_where_there_is_no_plan() {
    Setup::at(60)
        .run(async |rig| {
            let batch = TestBatch::of(200, 100, 0, 0).with("/outcomes", "weighted").talk_s(1.0);
            let id = rig.api.trigger(&batch.seed(3)).await;
            let status = rig.api.completed(&id, Duration::from_secs(60)).await;
            // Six standard deviations around 100.
            assert!((58..=142).contains(&status.completed_calls), "{status:?}");
            assert_eq!(status.completed_calls + status.failed_calls, 200);
            let entries = rig.api.entries(&id).await;
            assert!(entries.iter().all(|entry| entry.planned_outcome.is_none()));
            rig.verify(&id).await;
        })
        .await;
}

#[tokio::test]
async fn a_worker_that_is_told_to_stop_ends_its_call_first() {
    Setup::at(FACTOR)
        .run(async |rig| {
            let mut platform = Platform::start();
            let metadata = platform.metadata("long", NUMBER);
            send(rig, &planned(metadata, PlannedOutcome::Completed, 40.0)).await;
            assert!(platform.next().await.path.ends_with("/claim"));
            rig.worker().signal(Signal::Term);
            let said = verbs(&mut platform, "long").await;
            assert_eq!(said, ["in_call", "ended", "completed"]);
            let exit = rig.worker().ended().await;
            assert!(exit.success(), "{exit}");
        })
        .await;
}
