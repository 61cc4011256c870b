//! `Idempotency-Key`: one key, one batch, whatever is sent and however often.

use dialtone_contract::{ErrorCode, limits};
use dialtone_tests::wait::until;
use dialtone_tests::{Setup, TestBatch};
use futures_util::future::join_all;
use serde_json::Value;

#[tokio::test]
async fn a_key_answers_as_the_first_time_and_takes_no_other_body() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let api = &rig.api;
            let batch = TestBatch::of(5, 1, 1, 1).seed(3);
            let first = api.ask(&batch, Some("once")).await;
            assert_eq!(first.header("idempotent-replayed"), None);
            let first: Value = first.expect(202);
            let again = api.ask(&batch, Some("once")).await;
            assert_eq!(again.header("idempotent-replayed"), Some("true"));
            assert!(again.header("location").is_some());
            assert_eq!(again.expect::<Value>(202), first);
            // The same fields in another order, with spaces, and with a default spelled out.
            let spelled = "{ \"initiated_by\": 1, \"voice_id\": \"demo\", \"seed\": 3, \
                \"dropped_count\": 1, \"stuck_count\": 1, \"fail_count\": 1, \"total\": 5, \
                \"outcomes\": \"exact\" }";
            let headers = [("content-type", "application/json"), ("idempotency-key", "once")];
            let again = api.post_trigger(&headers, spelled).await;
            assert_eq!(again.header("idempotent-replayed"), Some("true"));
            assert_eq!(again.expect::<Value>(202), first);
            let others = [
                batch.clone().seed(4),
                batch.clone().with("/total", 6),
                batch.clone().with("/agent_id", 1),
                TestBatch::default_mix(),
            ];
            for other in others {
                api.ask(&other, Some("once")).await.refused(ErrorCode::IdempotencyConflict);
            }
            let other: Value = api.ask(&batch, Some("twice")).await.expect(202);
            assert_ne!(other["batch_id"], first["batch_id"]);
            assert_eq!(api.batches().await.len(), 2);
        })
        .await;
}

#[tokio::test]
async fn a_key_survives_a_crash_and_a_refused_request_takes_none() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let batch = TestBatch::of(5, 0, 0, 0).seed(3);
            // A refusal is no answer to keep: the corrected request may use its key.
            let bad = batch.clone().with("/total", 0);
            rig.api.ask(&bad, Some("key")).await.invalid(&[("/total", "out_of_range")]);
            let first: Value = rig.api.ask(&batch, Some("key")).await.expect(202);
            rig.dialtone.kill().await;
            rig.dialtone.restart().await;
            let again = rig.api.ask(&batch, Some("key")).await;
            assert_eq!(again.header("idempotent-replayed"), Some("true"));
            assert_eq!(again.expect::<Value>(202), first);
            assert_eq!(rig.api.batches().await.len(), 1);
        })
        .await;
}

#[tokio::test]
async fn eight_at_once_under_one_key_make_one_batch() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            for round in 0..5 {
                let key = format!("round-{round}");
                let batch = TestBatch::of(200, 0, 0, 0).seed(round);
                let asked = (0..8).map(|_| rig.api.ask(&batch, Some(&key)));
                let answers = join_all(asked).await;
                let ids: Vec<Value> =
                    answers.iter().map(|answer| answer.expect::<Value>(202)).collect();
                assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
                let first = answers.iter().filter(|a| a.header("idempotent-replayed").is_none());
                assert_eq!(first.count(), 1, "one of them made the batch");
            }
            let batches = rig.api.batches().await;
            assert_eq!(batches.len(), 5, "{batches:?}");
        })
        .await;
}

/// A client that gives up and asks again gets the batch that it gave up on, whole.
#[tokio::test]
async fn a_client_that_goes_away_leaves_a_whole_batch_and_no_other() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let batch = TestBatch::of(50_000, 0, 0, 0).with("/options/max_concurrent", 1);
            let known = || async { rig.api.batches().await.len() };
            let asked = rig.api.ask(&batch, Some("key"));
            // Dropped as soon as the batch shows, while its entries are being written.
            tokio::select! {
                answer = asked => panic!("too fast for this test: {answer:?}"),
                () = until("the batch to show", async || match known().await {
                    1 => Ok(()),
                    n => Err(format!("{n} batches")),
                }) => {}
            }
            let again: Value = rig.api.ask(&batch, Some("key")).await.expect(202);
            // Both may have loaded one; whoever came second takes its own away again.
            let batches = until("one batch to be left", async || {
                let batches = rig.api.batches().await;
                if batches.len() == 1 { Ok(batches) } else { Err(format!("{batches:?}")) }
            })
            .await;
            assert_eq!(again["batch_id"], Value::from(batches[0].batch_id.as_str()));
            assert_eq!(batches[0].by_state.values().sum::<u32>(), 50_000);
            assert_ne!(batches[0].status.as_str(), "loading");
        })
        .await;
}

#[tokio::test]
async fn a_key_that_cannot_be_kept_is_refused() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let batch = TestBatch::of(5, 0, 0, 0);
            let longest = "k".repeat(limits::IDEMPOTENCY_KEY_MAX);
            for bad in ["", &format!("{longest}k"), "schl\u{fc}ssel"] {
                let answer = rig.api.ask(&batch, Some(bad)).await;
                answer.invalid(&[("/header/Idempotency-Key", "invalid")]);
            }
            assert_eq!(rig.api.batches().await, []);
            rig.api.ask(&batch, Some(&longest)).await.expect::<Value>(202);
        })
        .await;
}
