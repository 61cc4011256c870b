//! How a call goes and ends when its agent does as it should, and what is refused then.

use std::time::Duration;

use dialtone_contract::ErrorCode;
use dialtone_tests::{Hand, Hands, Setup, TestBatch};
use serde_json::json;

const CEILING: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_call_goes_from_ringing_to_its_end() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let mut hands = Hands::register(rig.livekit.api()).await;
            let id = rig.api.trigger(&TestBatch::of(1, 0, 0, 0)).await;
            let hand = hands.next().await;
            for verb in ["ringing", "in_call", "ended", "failed"] {
                hand.status(verb).await.refused(ErrorCode::NotClaimed);
            }
            hand.beat(1, "ringing").await.refused(ErrorCode::NotClaimed);
            hand.report("completed").await.refused(ErrorCode::NotClaimed);
            hand.claim().await;
            let said = |applied: bool, state: &str| json!({ "applied": applied, "state": state });
            assert_eq!(hand.status("ringing").await.ok(), said(false, "claimed"));
            assert_eq!(hand.beat(1, "ringing").await.ok(), json!({ "continue": true }));
            assert_eq!(hand.status("in_call").await.ok(), said(true, "in_call"));
            assert_eq!(hand.status("in_call").await.ok(), said(false, "in_call"));
            assert_eq!(hand.status("ringing").await.ok(), said(false, "in_call"));
            assert_eq!(hand.beat(2, "in_call").await.ok(), json!({ "continue": true }));
            assert_eq!(hand.status("ended").await.ok(), said(true, "in_call"));
            assert_eq!(hand.status("ended").await.ok(), said(false, "in_call"));
            let call = rig.api.entries(&id).await.remove(0).attempts.remove(0);
            assert_eq!(call.state.as_str(), "ended");
            let done = json!({ "applied": true, "state": "completed", "outcome": "completed" });
            assert_eq!(hand.report("completed").await.ok(), done);
            let over = hand.beat(3, "in_call").await.ok();
            assert_eq!(over, json!({ "continue": false, "reason": "attempt_over" }));
            hand.status("in_call").await.refused(ErrorCode::StaleAttempt);
            hand.claim_as(&hand.job_id).await.refused(ErrorCode::StaleAttempt);
            rig.api.completed(&id, CEILING).await;
            rig.verify(&id).await;
            hands.leave().await;
        })
        .await;
}

#[tokio::test]
async fn an_outcome_is_applied_once_and_is_final() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let mut hands = Hands::register(rig.livekit.api()).await;
            let outcomes = ["completed", "failed", "no_answer", "busy", "declined", "voicemail"];
            let id = rig.api.trigger(&TestBatch::of(6, 0, 0, 0)).await;
            let mut jobs = Vec::new();
            for outcome in outcomes {
                let hand = hands.next().await;
                hand.claim().await;
                jobs.push((hand, outcome));
            }
            for (hand, outcome) in &jobs[..5] {
                once(hand, outcome).await;
            }
            // Of many at once one is applied.
            let (last, outcome) = &jobs[5];
            let sent = (0..8).map(|_| last.report(outcome));
            let answers = futures_util::future::join_all(sent).await;
            let applied = answers.iter().filter(|answer| answer.ok()["applied"] == true);
            assert_eq!(applied.count(), 1);
            let before = rig.api.completed(&id, CEILING).await;
            assert_eq!((before.completed_calls, before.failed_calls), (1, 5));
            // Nothing that comes later moves anything.
            for (hand, outcome) in &jobs {
                assert_eq!(hand.report(outcome).await.ok()["applied"], json!(false));
            }
            assert_eq!(rig.api.status(&id).await, before);
            rig.verify(&id).await;
            hands.leave().await;
        })
        .await;
}

/// The outcome is applied, then known, and no other takes its place.
async fn once(hand: &Hand, outcome: &str) {
    let state = if outcome == "completed" { "completed" } else { "failed" };
    let answer = |applied| json!({ "applied": applied, "state": state, "outcome": outcome });
    assert_eq!(hand.report(outcome).await.ok(), answer(true));
    assert_eq!(hand.report(outcome).await.ok(), answer(false));
    let mut late = hand.callback(outcome);
    late["duration_ms"] = json!(5);
    late["reason"] = json!("again");
    assert_eq!(hand.send_callback(&late).await.ok(), answer(false));
    let other = if outcome == "completed" { "failed" } else { "completed" };
    hand.report(other).await.refused(ErrorCode::OutcomeConflict);
}

#[tokio::test]
async fn a_callback_that_is_not_right_is_refused() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let mut hands = Hands::register(rig.livekit.api()).await;
            rig.api.trigger(&TestBatch::of(2, 0, 0, 0)).await;
            let (hand, other) = (hands.next().await, hands.next().await);
            hand.claim().await;
            // What only the platform decides is no report.
            let platform = [
                "timeout_unclaimed",
                "timeout_ringing",
                "timeout_in_call",
                "dispatch_failed",
                "agent_error",
                "suppressed",
                "cancelled",
            ];
            for outcome in platform {
                hand.report(outcome).await.invalid(&[("/status", "invalid")]);
            }
            for bad in [json!("done"), json!(1), json!(null), json!("Completed")] {
                let mut body = hand.callback("completed");
                body["status"] = bad;
                let problem = hand.send_callback(&body).await.refused(ErrorCode::Invalid);
                assert_eq!(problem.errors[0].pointer, "/status", "{problem:?}");
            }
            for (name, value) in [
                ("attempt", json!(2)),
                ("entry_id", other.callback("completed")["entry_id"].take()),
            ] {
                let mut body = hand.callback("completed");
                body[name] = value;
                hand.send_callback(&body).await.refused(ErrorCode::NotFound);
            }
            for (name, value, code) in [
                ("attempt", json!(-1), "out_of_range"),
                ("attempt", json!("1"), "wrong_type"),
                ("duration_ms", json!(-1), "out_of_range"),
                ("reason", json!(7), "wrong_type"),
                ("surprise", json!(1), "unknown_field"),
            ] {
                let mut body = hand.callback("completed");
                body[name] = value;
                hand.send_callback(&body).await.invalid(&[(&format!("/{name}"), code)]);
            }
            let mut long = hand.callback("completed");
            long["reason"] = json!("x".repeat(70_000));
            hand.send_callback(&long).await.refused(ErrorCode::TooLarge);
            // Still open after all that: the right one is applied.
            long["reason"] = json!("\u{fc}".repeat(2_000));
            assert_eq!(hand.send_callback(&long).await.ok()["applied"], json!(true));
            hands.leave().await;
        })
        .await;
}

/// Newer agents may say more in a heartbeat; everywhere else a stray field is a mistake.
#[tokio::test]
async fn heartbeats_let_unknown_fields_through_and_statuses_do_not() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let mut hands = Hands::register(rig.livekit.api()).await;
            rig.api.trigger(&TestBatch::of(1, 0, 0, 0)).await;
            let hand = hands.next().await;
            let body = json!({ "claimer": "a", "mood": "good" });
            hand.post("claim", &body).await.invalid(&[("/mood", "unknown_field")]);
            hand.claim().await;
            let body = json!({ "seq": 1, "state": "ringing", "mood": "good", "load": { "a": 1 } });
            assert_eq!(hand.post("heartbeat", &body).await.ok()["continue"], json!(true));
            let body = json!({ "status": "in_call", "mood": "good" });
            hand.post("status", &body).await.invalid(&[("/mood", "unknown_field")]);
            hand.status("over").await.invalid(&[("/status", "invalid")]);
            hand.beat(2, "ended").await.invalid(&[("/state", "invalid")]);
            let body = json!({ "state": "ringing" });
            hand.post("heartbeat", &body).await.invalid(&[("/seq", "missing")]);
            hands.leave().await;
        })
        .await;
}
