use std::time::Duration;

use dialtone_contract::ErrorCode;
use dialtone_llm_api::{OpenError, Options};
use serde_json::json;

use crate::alphabet::Alphabet;
use crate::rig::{MODEL, Rig, json, serving, soon};

#[tokio::test]
async fn it_answers_before_it_has_a_model() {
    let rig = Rig::loading();
    rig.worker.progress(0.43);
    let health = rig.get("/health").await;
    let told = json(&health);
    assert_eq!(health.status, 200);
    assert_eq!((&told["state"], &told["progress"]), (&json!("loading"), &json!(0.43)));
    assert_eq!((&told["model"], &told["backend"]), (&json!(MODEL), &json!("cpu")));
    assert_eq!(told["pid"], std::process::id());
    for path in ["/ready", "/v1/ready"] {
        let ready = rig.get(path).await;
        assert_eq!(ready.status, 503);
        assert_eq!(ready.headers["retry-after"], "1");
        assert_eq!(json(&ready), json!({ "ready": false, "state": "loading", "progress": 0.43 }));
    }
    assert_eq!(rig.get("/readyz").await.status, 503);
    assert_eq!(rig.get("/livez").await.status, 200);
    assert_eq!(json(&rig.get("/v1/models").await)["data"][0]["id"], MODEL);
    assert_eq!(json(&rig.get("/slots").await), json!([]));
    assert_eq!(rig.post("/tokenize", json!({ "content": "a" })).await.status, 503);
    let refused = rig.post("/v1/completions", json!({ "prompt": "a" })).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.headers["retry-after"]),
        (503, &"1".parse().expect("a header"))
    );
    assert_eq!(json(&refused)["error"]["code"], "loading");
}

#[tokio::test]
async fn it_is_ready_when_a_token_was_generated() {
    let rig = Rig::loading();
    rig.worker.progress(1.0);
    // Loaded, but nothing comes out of it yet.
    rig.gate.close();
    let opening = tokio::spawn({
        let (worker, gate) = (rig.worker.clone(), rig.gate.clone());
        async move { worker.open(serving(Alphabet::new(2, gate))).await }
    });
    rig.until_load((1, 0)).await;
    let told = json(&rig.get("/ready").await);
    assert_eq!(told, json!({ "ready": false, "state": "loading", "progress": 0.99 }));
    rig.gate.open();
    soon("the probe", opening).await.expect("no panic").expect("a token");
    let ready = rig.get("/ready").await;
    assert_eq!(ready.status, 200);
    assert_eq!(json(&ready), json!({ "ready": true, "state": "idle", "slots_free": 2 }));
    assert_eq!(rig.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn a_model_that_generates_nothing_is_not_taken() {
    let rig = Rig::loading();
    let opened = soon("the probe", rig.worker.open(serving(Alphabet::broken()))).await;
    assert!(matches!(opened, Err(OpenError::Silent(_) | OpenError::Refused(_))), "{opened:?}");
    assert_eq!(rig.get("/ready").await.status, 503);
}

#[tokio::test]
async fn a_model_that_hangs_is_noticed() {
    let options = Options { longest_step: Duration::from_millis(40), ..Options::default() };
    let rig = Rig::with(options, None);
    rig.open(2).await;
    rig.gate.close();
    let running = rig.begin("/v1/completions", json!({ "prompt": "a" })).await;
    let why = soon("to notice it", rig.worker.broken()).await;
    assert!(why.contains("step") && why.contains("40ms"), "{why}");
    // Nor does it hold the end.
    let finished = soon("the drain", rig.worker.finish(Duration::ZERO)).await;
    assert!(finished.is_err_and(|hung| hung.to_string() == why));
    rig.worker.fail(ErrorCode::Internal, why);
    assert_eq!(rig.get("/ready").await.status, 503);
    drop(running);
    rig.gate.open();
}

#[tokio::test]
async fn a_worker_that_has_failed_tells_why() {
    let rig = Rig::loading();
    rig.worker.fail(ErrorCode::ModelInvalid, "the file is truncated");
    let health = json(&rig.get("/health").await);
    assert_eq!((&health["status"], &health["state"]), (&json!("failed"), &json!("failed")));
    assert_eq!(
        health["error"],
        json!({ "code": "model_invalid", "message": "the file is truncated" })
    );
    let ready = rig.get("/ready").await;
    assert_eq!(ready.status, 503);
    assert_eq!(json(&ready)["state"], "failed");
    let refused = rig.post("/v1/completions", json!({ "prompt": "a" })).await;
    assert_eq!(
        (refused.status.as_u16(), &json(&refused)["error"]["code"]),
        (503, &json!("model_invalid"))
    );
    // It cannot come back.
    let opened = rig.worker.open(serving(Alphabet::new(1, rig.gate.clone()))).await;
    assert_eq!(opened, Err(OpenError::Closed));
}

#[tokio::test]
async fn a_drain_finishes_what_runs_and_takes_nothing_new() {
    let rig = Rig::ready().await;
    rig.gate.close();
    let running = rig.begin("/v1/completions", json!({ "prompt": "a" })).await;
    rig.until_load((1, 0)).await;
    rig.worker.drain();
    let ready = rig.get("/ready").await;
    assert_eq!(
        (ready.status.as_u16(), json(&ready)),
        (503, json!({ "ready": false, "state": "draining" }))
    );
    assert_eq!(rig.get("/readyz").await.status, 503);
    assert_eq!(rig.get("/health").await.status, 200);
    let refused = rig.post("/v1/completions", json!({ "prompt": "a" })).await;
    assert_eq!(
        (refused.status.as_u16(), &json(&refused)["error"]["code"]),
        (503, &json!("draining"))
    );
    rig.gate.open();
    soon("the drain", rig.worker.finish(crate::rig::HANG)).await.expect("finished");
    let answer = running.rest().await;
    assert!(answer.contains(r#""text":"bcdefghijklmnopqrstuvwxyz""#), "{answer}");
    rig.end().await;
}

#[tokio::test]
async fn what_does_not_finish_in_time_says_so() {
    let rig = Rig::ready().await;
    // More than any reader takes in the time that the drain leaves: it is held up by its reader.
    let asked = json!({ "prompt": "0", "stream": true, "max_tokens": 4000 });
    rig.gate.close();
    let running = rig.begin("/v1/completions", asked).await;
    rig.until_load((1, 0)).await;
    let worker = rig.worker.clone();
    let drain = tokio::spawn(async move { worker.finish(Duration::ZERO).await });
    crate::rig::until("the drain began", async || {
        json(&rig.get("/ready").await)["state"] == "draining"
    })
    .await;
    rig.gate.open();
    soon("the drain", drain).await.expect("no panic").expect("finished");
    let answer = running.rest().await;
    assert!(answer.contains(r#""finish_reason":"shutdown""#), "{answer}");
    assert!(answer.contains("data: [DONE]"), "{answer}");
}
