use std::time::Duration;

use dialtone_llm_api::Options;
use hyper::Method;
use serde_json::{Value, json};

use crate::rig::{Rig, json, soon, text, until};

#[tokio::test]
async fn an_answer_is_started_and_then_fetched_once() {
    let rig = Rig::ready().await;
    let asked = json!({ "prompt": "x", "max_tokens": 20, "temperature": 0 });
    let started = rig.post("/v1/inference", asked).await;
    assert_eq!(started.status, 200, "{}", text(&started));
    let started = json(&started);
    let id = started["job_id"].as_str().expect("an id");
    let url = started["sse_url"].as_str().expect("a URL");
    assert_eq!(url, format!("/v1/inference/{id}/stream"));
    let stream = text(&rig.get(url).await);
    let (events, done) = stream.rsplit_once("data: ").expect("events");
    assert_eq!(done, "[DONE]\n\n");
    let read = |event: &str| {
        serde_json::from_str::<Value>(event.trim_start_matches("data: ")).expect("JSON")
    };
    let events: Vec<Value> = events.trim_end().split("\n\n").map(read).collect();
    assert_eq!((&events[0]["type"], &events[0]["job_id"]), (&json!("started"), &json!(id)));
    assert_eq!(events[1], json!({ "type": "token", "t": "y", "i": 0 }));
    assert_eq!(events[2], json!({ "type": "token", "t": "z", "i": 1 }));
    let end = &events[3];
    assert_eq!((&end["type"], &end["tokens_out"]), (&json!("end"), &json!(3)));
    assert_eq!(end["stop_reason"], "stop");
    assert!(end["decode_time_ms"].is_number());
    assert_eq!(events.len(), 4);
    let again = rig.get(url).await;
    assert_eq!(
        (again.status.as_u16(), &json(&again)["error"]["code"]),
        (409, &json!("already_taken"))
    );
    assert_eq!(rig.get("/v1/inference/job-0/stream").await.status, 404);
}

#[tokio::test]
async fn to_look_at_a_stream_does_not_take_it() {
    let rig = Rig::ready().await;
    let started = json(&rig.post("/v1/inference", json!({ "prompt": "x" })).await);
    let url = started["sse_url"].as_str().expect("a URL");
    let looked = rig.ask(Method::HEAD, url).await;
    assert_eq!(
        (looked.status.as_u16(), &looked.headers["allow"]),
        (405, &"GET".parse().expect("a header"))
    );
    assert!(text(&rig.get(url).await).contains(r#""t":"y""#));
}

#[tokio::test]
async fn what_nobody_fetches_leaves_a_slot_to_others() {
    let rig = Rig::loading();
    rig.open(3).await;
    let asked = json!({ "prompt": "0", "max_tokens": 4000 });
    let mut jobs = Vec::new();
    for _ in 0..2 {
        jobs.push(json(&rig.post("/v1/inference", &asked).await));
    }
    let refused = rig.post("/v1/inference", &asked).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.headers["retry-after"]),
        (429, &"1".parse().expect("a header"))
    );
    let other = rig.post("/v1/completions", json!({ "prompt": "v" })).await;
    assert_eq!(json(&other)["choices"][0]["text"], "wxyz");
    // What is fetched counts no more.
    let answer = rig.fetch(jobs[0]["sse_url"].as_str().expect("a URL")).await;
    assert_eq!(rig.post("/v1/inference", &asked).await.status, 200);
    drop(answer);
}

#[tokio::test]
async fn what_nobody_fetches_does_not_hold_the_end() {
    let day = Duration::from_secs(24 * 60 * 60);
    let rig = Rig::with(Options { unfetched: day, ..Options::default() }, None);
    rig.open(2).await;
    let asked = json!({ "prompt": "0", "max_tokens": 4000 });
    let started = json(&rig.post("/v1/inference", asked).await);
    soon("the drain", rig.worker.finish(day)).await.expect("finished");
    let url = started["sse_url"].as_str().expect("a URL");
    assert_eq!(rig.get(url).await.status, 404);
}

#[tokio::test]
async fn what_nobody_fetches_is_dropped() {
    let options = Options { unfetched: Duration::from_millis(50), ..Options::default() };
    let rig = Rig::with(options, None);
    rig.open(1).await;
    let asked = json!({ "prompt": "0", "max_tokens": 4000 });
    let started = json(&rig.post("/v1/inference", asked).await);
    let url = started["sse_url"].as_str().expect("a URL");
    rig.until_load((0, 0)).await;
    until("the job is forgotten", async || rig.get(url).await.status == 404).await;
}

#[tokio::test]
async fn a_cancelled_answer_ends_with_an_error() {
    let rig = Rig::ready().await;
    rig.gate.close();
    let started = json(&rig.post("/v1/inference", json!({ "prompt": "0" })).await);
    let (id, url) = (started["job_id"].as_str().expect("an id"), started["sse_url"].as_str());
    rig.until_load((1, 0)).await;
    assert_eq!(rig.post(&format!("/v1/cancel/{id}"), "").await.status, 200);
    rig.gate.open();
    let stream = text(&rig.get(url.expect("a URL")).await);
    assert!(stream.contains(r#"{"type":"error","code":"CANCELLED""#), "{stream}");
    assert!(stream.ends_with("data: [DONE]\n\n"), "{stream}");
}
