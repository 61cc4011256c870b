use serde_json::json;

use crate::alphabet::CONTEXT;
use crate::rig::{MODEL, Rig, json};
use crate::streams::running;

#[tokio::test]
async fn slots_tell_what_they_do() {
    let rig = Rig::ready().await;
    assert_eq!(json(&rig.get("/slots?fail_on_no_slot=1").await).as_array().map(Vec::len), Some(2));
    rig.gate.close();
    let answer = rig.begin("/v1/completions", json!({ "prompt": "012" })).await;
    let id = running(&rig).await;
    assert!(id.starts_with("cmpl-"), "{id}");
    assert_eq!(
        json(&rig.get("/ready").await),
        json!({ "ready": true, "state": "busy", "slots_free": 1 })
    );
    assert_eq!(json(&rig.get("/health").await)["state"], "busy");
    rig.gate.open();
    drop(answer);
    rig.until_load((0, 0)).await;
}

#[tokio::test]
async fn who_needs_a_free_slot_is_told_that_there_is_none() {
    let rig = Rig::loading();
    rig.open(1).await;
    rig.gate.close();
    let answer = rig.begin("/v1/completions", json!({ "prompt": "0" })).await;
    rig.until_load((1, 0)).await;
    let full = rig.get("/slots?fail_on_no_slot=1").await;
    assert_eq!(full.problem().map(|problem| problem.status), Some(503));
    assert_eq!(rig.get("/slots").await.status, 200);
    rig.gate.open();
    drop(answer);
    rig.until_load((0, 0)).await;
}

#[tokio::test]
async fn it_tells_who_it_is() {
    let rig = Rig::ready().await;
    let info = json(&rig.get("/info").await);
    assert_eq!(info["worker"]["id"], "worker-1");
    assert_eq!(info["worker"]["implementation"], "llm-worker");
    assert_eq!(info["worker"]["port"], rig.addr.port());
    assert_eq!(
        (&info["worker"]["device"], &info["worker"]["status"]),
        (&json!("rule"), &json!("idle"))
    );
    assert_eq!(info["model"]["name"], "Alphabet");
    assert_eq!(info["engine"]["slots_total"], 2);
    let props = json(&rig.get("/props").await);
    assert_eq!((&props["total_slots"], &props["n_ctx"]), (&json!(2), &json!(CONTEXT)));
    assert_eq!(props["default_generation_settings"]["temperature"], 0.0);
    let model = json(&rig.get(&format!("/v1/models/{MODEL}")).await);
    assert_eq!((&model["id"], &model["object"]), (&json!(MODEL), &json!("model")));
    assert_eq!(model["meta"]["format"], "F32");
}
