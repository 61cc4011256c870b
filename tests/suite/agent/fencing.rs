//! The attempt fences: who speaks for an attempt that is over changes nothing.

use std::time::Duration;

use dialtone_contract::ErrorCode;
use dialtone_tests::{Hands, Setup, TestBatch};
use serde_json::json;

/// Guards of 1.5 s, and a backoff of at most as much.
const FACTOR: u32 = 20;

const CEILING: Duration = Duration::from_secs(20);

#[tokio::test]
async fn an_attempt_that_is_over_is_heard_no_more() {
    Setup::at(FACTOR)
        .without_worker()
        .run(async |rig| {
            let mut hands = Hands::register(rig.livekit.api()).await;
            let id = rig.api.trigger(&TestBatch::of(1, 0, 0, 0)).await;
            let first = hands.next().await;
            // Nobody claims: the next attempt comes.
            let second = hands.next().await;
            assert_eq!((first.metadata().attempt, second.metadata().attempt), (1, 2));
            assert_ne!(first.capability(), second.capability());
            for verb in ["in_call", "ended"] {
                first.status(verb).await.refused(ErrorCode::StaleAttempt);
            }
            first.claim_as(&first.job_id).await.refused(ErrorCode::StaleAttempt);
            first.report("completed").await.refused(ErrorCode::StaleAttempt);
            let over = first.beat(1, "ringing").await.ok();
            assert_eq!(over, json!({ "continue": false, "reason": "attempt_over" }));

            second.claim().await;
            first.claim_as(&second.job_id).await.refused(ErrorCode::StaleAttempt);
            first.report("failed").await.refused(ErrorCode::StaleAttempt);
            // One attempt's right is not the other's, and does not become it by its number.
            let mut mixed = first.callback("completed");
            mixed["attempt"] = json!(2);
            first.send_callback(&mixed).await.refused(ErrorCode::NotFound);
            mixed["call_id"] = second.callback("completed")["call_id"].take();
            first.send_callback(&mixed).await.refused(ErrorCode::BadCapability);
            assert_eq!(second.report("completed").await.ok()["applied"], json!(true));
            first.report("completed").await.refused(ErrorCode::StaleAttempt);

            let status = rig.api.completed(&id, CEILING).await;
            assert_eq!((status.attempts, status.dials, status.completed_calls), (2, 1, 1));
            let entry = rig.api.entries(&id).await.remove(0);
            let outcomes: Vec<_> = entry.attempts.iter().map(|a| a.reason.as_deref()).collect();
            assert_eq!(outcomes, [Some("timeout_unclaimed"), Some("completed")]);
            rig.verify(&id).await;
            hands.leave().await;
        })
        .await;
}

/// Three attempts, each with a room and a right of its own, and then no more.
#[tokio::test]
async fn an_entry_that_nobody_claims_is_tried_three_times() {
    Setup::at(FACTOR)
        .without_worker()
        .run(async |rig| {
            let mut hands = Hands::register(rig.livekit.api()).await;
            let batch = TestBatch::of(1, 0, 0, 0);
            let id = rig.api.trigger(&batch).await;
            let once = rig.api.trigger(&batch.with("/options/max_retries", 0)).await;
            let status = rig.api.completed(&id, CEILING).await;
            assert_eq!((status.attempts, status.dials, status.failed_calls), (3, 0, 1));
            let status = rig.api.completed(&once, CEILING).await;
            assert_eq!((status.attempts, status.dials, status.failed_calls), (1, 0, 1));
            let mut rooms = Vec::new();
            for _ in 0..4 {
                let hand = hands.next().await;
                hand.claim_as(&hand.job_id).await.refused(ErrorCode::StaleAttempt);
                rooms.push(hand.call_id().to_owned());
            }
            rooms.sort_unstable();
            rooms.dedup();
            assert_eq!(rooms.len(), 4);
            rig.verify(&id).await;
            rig.verify(&once).await;
            hands.leave().await;
        })
        .await;
}
