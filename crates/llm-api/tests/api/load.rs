use serde_json::json;

use crate::rig::{Rig, json};

fn endless() -> serde_json::Value {
    json!({ "prompt": "0", "stream": true, "max_tokens": 4000 })
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_slot() {
    let rig = Rig::ready().await;
    let mut answer = rig.begin("/v1/completions", endless()).await;
    answer.until("\"text\":\"5\"").await;
    assert_eq!(rig.load().await, (1, 0));
    drop(answer);
    rig.until_load((0, 0)).await;
    let gone = r#"worker_requests_total{finish_reason="disconnected"}"#;
    assert_eq!(rig.metric(gone).await, Some(1.0));
    // How long it waited counts all the same.
    assert_eq!(rig.metric("worker_request_queue_time_seconds_count").await, Some(1.0));
}

#[tokio::test]
async fn a_client_that_goes_away_before_its_whole_answer_frees_its_slot_too() {
    let rig = Rig::ready().await;
    rig.gate.close();
    let asked = json!({ "prompt": "0", "max_tokens": 4000 });
    let answer = rig.begin("/v1/completions", asked).await;
    rig.until_load((1, 0)).await;
    drop(answer);
    crate::rig::until("the answer is given up", async || {
        rig.metric(r#"worker_requests_total{finish_reason="disconnected"}"#).await == Some(1.0)
    })
    .await;
    rig.gate.open();
    rig.until_load((0, 0)).await;
}

#[tokio::test]
async fn who_does_not_read_holds_up_nobody_and_is_not_buffered() {
    let rig = Rig::ready().await;
    let mut slow = Vec::new();
    let answer = rig.begin("/v1/completions", endless()).await;
    slow.push(answer);
    let other = rig.post("/v1/completions", json!({ "prompt": "v" })).await;
    assert_eq!(json(&other)["choices"][0]["text"], "wxyz");
    drop(slow);
    rig.until_load((0, 0)).await;
}

#[tokio::test]
async fn when_full_others_are_told_at_once() {
    let rig = Rig::ready().await;
    rig.gate.close();
    // The model is held up in its first step: one runs, one waits for the free slot, and one for
    // whichever is free next.
    let mut taken = Vec::new();
    for expected in [(1, 0), (1, 1), (1, 2)] {
        taken.push(rig.begin("/v1/completions", endless()).await);
        rig.until_load(expected).await;
    }
    for path in ["/v1/completions", "/v1/inference"] {
        let refused = rig.post(path, json!({ "prompt": "a" })).await;
        assert_eq!(refused.status, 429);
        let after = refused.headers["retry-after"].to_str().expect("text");
        assert!(after.parse::<u64>().is_ok_and(|seconds| seconds >= 1), "{after}");
        let error = &json(&refused)["error"];
        assert_eq!(
            (&error["type"], &error["code"]),
            (&json!("rate_limit_error"), &json!("queue_full"))
        );
    }
    assert_eq!(rig.metric("worker_requests_running").await, Some(1.0));
    assert_eq!(rig.metric("worker_requests_waiting").await, Some(2.0));
    drop(taken);
    rig.gate.open();
    rig.until_load((0, 0)).await;
    assert_eq!(rig.post("/v1/completions", json!({ "prompt": "y" })).await.status, 200);
}
