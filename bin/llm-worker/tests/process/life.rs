use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{NONCE, Worker, command, eventually};

fn body(answer: &dialtone_serve::client::Response) -> Value {
    serde_json::from_slice(&answer.body).expect("JSON")
}

#[tokio::test]
async fn it_serves_the_built_in_model() {
    let worker = Worker::ready(&[]).await;
    let health = body(&worker.get("/health").await);
    assert_eq!((&health["nonce"], &health["pid"]), (&json!(NONCE), &json!(worker.pid())));
    let asked =
        json!({ "messages": [{ "role": "user", "content": "What are your opening hours?" }] });
    let first = body(&worker.post("/v1/chat/completions", asked.clone()).await);
    let second = body(&worker.post("/v1/chat/completions", asked).await);
    let said =
        |answer: &Value| answer["choices"][0]["message"]["content"].as_str().map(str::to_owned);
    assert!(said(&first).is_some_and(|said| !said.is_empty()), "{first}");
    assert_eq!(said(&first), said(&second));
    assert!(
        second["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64() > Some(0),
        "{second}"
    );
}

#[tokio::test]
async fn sigterm_ends_what_runs_in_order() {
    let mut worker = Worker::ready(&["--drain", "50ms"]).await;
    let url = worker.url.clone();
    // More than it can generate until the drain is over, held up by nobody.
    let asked = json!({ "prompt": "Hello", "max_tokens": 100, "ignore_eos": true });
    let asking = {
        let client = dialtone_serve::HttpClient::default();
        tokio::spawn(async move {
            client.post_json::<_, Value>(&format!("{url}/v1/completions"), None, &asked).await
        })
    };
    eventually("the request runs", async || {
        let ready = body(&worker.get("/ready").await);
        (ready["state"] == "busy" || asking.is_finished()).then_some(())
    })
    .await;
    let begun = Instant::now();
    worker.terminate();
    let status = worker.end().await;
    assert_eq!(status.code(), Some(0), "{}", worker.log());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let answer = asking.await.expect("no panic").expect("an answer");
    let reason = answer["choices"][0]["finish_reason"].as_str();
    assert!(matches!(reason, Some("length" | "shutdown")), "{answer}");
}

#[tokio::test]
async fn sigterm_during_the_load_ends_at_once() {
    for _ in 0..3 {
        let mut worker = Worker::start(&[]).await;
        worker.terminate();
        let status = worker.end().await;
        assert_eq!(status.code(), Some(0), "{}", worker.log());
    }
}

#[test]
fn a_port_in_use_names_its_holder() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = holder.local_addr().expect("an address").port().to_string();
    let output = command(&["--port", &port]).output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(5));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("error[port_taken]"), "{said}");
}
