//! Prompts that cost something before they are a request.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::alphabet::CONTEXT;
use crate::rig::{Rig, json, text, until};

/// So long that tokens of it are made beside the event loop, and so short that it might fit.
fn long() -> Value {
    json!({ "prompt": "a".repeat(4 * CONTEXT + 1) })
}

/// Requests that have come to their end, whatever that was.
async fn posts(rig: &Rig) -> usize {
    let metrics = text(&rig.get("/metrics").await);
    let posts =
        metrics.lines().filter(|line| line.starts_with(r#"http_requests_total{method="POST""#));
    posts.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum()
}

fn texts(rig: &Rig) -> usize {
    rig.tokenizer.texts.load(Ordering::SeqCst)
}

#[tokio::test]
async fn what_can_never_fit_is_refused_unread() {
    let rig = Rig::ready().await;
    let before = texts(&rig);
    let words = "a".repeat(6 * CONTEXT);
    let chat = json!({ "messages": [{ "role": "user", "content": words }] });
    let cases = [
        ("/v1/completions", json!({ "prompt": words })),
        ("/v1/inference", json!({ "prompt": words })),
        ("/v1/chat/completions", chat),
    ];
    for (path, body) in cases {
        let refused = rig.post(path, body).await;
        let code = json(&refused)["error"]["code"].clone();
        assert_eq!((refused.status.as_u16(), code), (400, json!("context_length_exceeded")));
    }
    assert_eq!(texts(&rig), before);
    // Whoever only counts tokens may count more than fit.
    assert_eq!(rig.post("/tokenize", json!({ "content": words })).await.status, 200);
}

#[tokio::test]
async fn who_finds_no_room_is_refused_unread() {
    let rig = Rig::ready().await;
    rig.gate.close();
    let mut taken = Vec::new();
    for expected in [(1, 0), (1, 1), (1, 2)] {
        taken.push(rig.begin("/v1/completions", json!({ "prompt": "0" })).await);
        rig.until_load(expected).await;
    }
    let before = texts(&rig);
    for path in ["/v1/completions", "/v1/inference"] {
        assert_eq!(rig.post(path, long()).await.status, 429);
    }
    let chat = json!({ "messages": [{ "role": "user", "content": "a" }] });
    assert_eq!(rig.post("/v1/chat/completions", chat).await.status, 429);
    assert_eq!(texts(&rig), before);
    drop(taken);
    rig.gate.open();
    rig.until_load((0, 0)).await;
}

#[tokio::test]
async fn as_many_as_there_are_cores_are_read_at_once_and_those_that_left_never() {
    let rig = Rig::ready().await;
    let before = texts(&rig);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    rig.tokenizer.gate.close();
    let mut connections = Vec::new();
    for _ in 0..cores + 3 {
        connections.push(rig.begin("/v1/completions", long()).await);
    }
    until("all cores are busy", async || texts(&rig) == before + cores).await;
    let all = connections.len();
    drop(connections);
    until("all have left", async || posts(&rig).await == all).await;
    rig.tokenizer.gate.open();
    assert_eq!(rig.post("/v1/completions", long()).await.status, 400);
    assert_eq!(texts(&rig), before + cores + 1);
}
