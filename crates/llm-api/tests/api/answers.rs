use serde_json::{Value, json};

use crate::rig::{MODEL, Rig, json, text};

fn chat(words: &str) -> Value {
    json!({ "messages": [{ "role": "user", "content": words }] })
}

#[tokio::test]
async fn a_conversation_is_continued() {
    let rig = Rig::ready().await;
    let answer = rig.post("/v1/chat/completions", chat("v")).await;
    assert_eq!(answer.status, 200, "{}", text(&answer));
    let mut said = json(&answer);
    assert!(said["id"].as_str().is_some_and(|id| id.starts_with("chatcmpl-")));
    assert!(said["system_fingerprint"].as_str().is_some_and(|print| print.starts_with("fp_")));
    assert!(said["timings"]["ttft_ms"].as_f64().is_some_and(|millis| millis > 0.0));
    for random in ["id", "created", "system_fingerprint", "timings"] {
        said.as_object_mut().expect("an object").remove(random);
    }
    let expected = json!({
        "object": "chat.completion",
        "model": MODEL,
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": "wxyz", "refusal": null },
            "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": {
            "prompt_tokens": 1,
            "completion_tokens": 5,
            "total_tokens": 6,
            "prompt_tokens_details": { "cached_tokens": 0 },
        },
    });
    assert_eq!(said, expected);
}

#[tokio::test]
async fn a_text_and_tokens_are_continued_alike() {
    let rig = Rig::ready().await;
    for prompt in [json!("v"), json!(["v"]), json!([118]), json!([[118]])] {
        let asked = json!({ "prompt": prompt, "model": MODEL });
        let said = json(&rig.post("/v1/completions", asked).await);
        assert_eq!(said["object"], "text_completion", "{said}");
        assert_eq!(said["choices"][0]["text"], "wxyz");
    }
}

#[tokio::test]
async fn limits_and_stops_end_an_answer() {
    let rig = Rig::ready().await;
    let mut asked = chat("a");
    asked["max_tokens"] = json!(3);
    let said = json(&rig.post("/v1/chat/completions", &asked).await);
    assert_eq!(said["choices"][0]["message"]["content"], "bcd");
    assert_eq!(said["choices"][0]["finish_reason"], "length");
    asked["max_tokens"] = json!(20);
    asked["stop"] = json!(["f", "q"]);
    let said = json(&rig.post("/v1/chat/completions", &asked).await);
    assert_eq!(said["choices"][0]["message"]["content"], "bcde");
    assert_eq!(said["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn what_was_remembered_is_told() {
    let rig = Rig::loading();
    rig.open(1).await;
    let first = json(&rig.post("/v1/chat/completions", chat("12345x")).await);
    assert_eq!(first["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
    let second = json(&rig.post("/v1/chat/completions", chat("12345x")).await);
    assert_eq!(second["usage"]["prompt_tokens_details"]["cached_tokens"], 5);
    assert_eq!(rig.metric("worker_prefix_cache_hits_tokens_total").await, Some(5.0));
}

#[tokio::test]
async fn many_at_once_say_what_each_says_alone() {
    let rig = Rig::loading();
    rig.open(8).await;
    let words = ["a", "m", "z", "q", "w", "c", "x", "h"];
    let mut running = Vec::new();
    for word in words {
        running.push(rig.begin("/v1/chat/completions", chat(word)).await);
    }
    for (connection, word) in running.into_iter().zip(words) {
        let answer = connection.rest().await;
        let after: String = (word.as_bytes()[0] + 1..=b'z').map(char::from).collect();
        assert!(answer.contains(&format!(r#""content":"{after}""#)), "{word}: {answer}");
    }
}

#[tokio::test]
async fn the_model_may_be_left_out_or_called_default() {
    let rig = Rig::ready().await;
    for model in [json!(null), json!(""), json!("default"), json!(MODEL)] {
        let mut asked = chat("y");
        asked["model"] = model;
        assert_eq!(rig.post("/v1/chat/completions", asked).await.status, 200);
    }
}

#[tokio::test]
async fn tokens_are_counted_and_named() {
    let rig = Rig::ready().await;
    let cut = rig.post("/tokenize", json!({ "content": "hi", "with_pieces": true })).await;
    let expected = json!({ "tokens": [{ "id": 104, "piece": "h" }, { "id": 105, "piece": "i" }] });
    assert_eq!(json(&cut), expected);
    let cut = rig.post("/tokenize", json!({ "content": "hi" })).await;
    assert_eq!(json(&cut), json!({ "tokens": [104, 105] }));
    let whole = rig.post("/detokenize", json!({ "tokens": [104, 105] })).await;
    assert_eq!(json(&whole), json!({ "content": "hi" }));
}

#[tokio::test]
async fn text_that_was_held_back_is_no_token_of_its_own() {
    let rig = Rig::ready().await;
    let count = "worker_inter_token_latency_seconds_count";
    for (asked, between) in [
        // `z` is held back until the end comes.
        (json!({ "prompt": "v", "stop": "z!" }), 3.0),
        // `y` and `z` are, and leave as one text.
        (json!({ "prompt": "v", "stop": "yz!" }), 3.0),
    ] {
        let before = rig.metric(count).await.unwrap_or_default();
        let said = json(&rig.post("/v1/completions", &asked).await);
        assert_eq!(said["choices"][0]["text"], "wxyz");
        assert_eq!(rig.metric(count).await, Some(before + between), "{asked}");
    }
}

#[tokio::test]
async fn figures_are_kept() {
    let rig = Rig::ready().await;
    rig.post("/v1/chat/completions", chat("v")).await;
    let metrics = text(&rig.get("/metrics").await);
    for line in [
        r#"worker_requests_total{finish_reason="stop"} 1"#,
        "worker_time_to_first_token_seconds_count 1",
        r#"worker_time_to_first_token_seconds_bucket{le="0.6"} 1"#,
        "worker_inter_token_latency_seconds_count 3",
        r#"worker_inter_token_latency_seconds_bucket{le="0.6"} 3"#,
        "worker_request_queue_time_seconds_count 1",
        "worker_requests_running 0.0",
        "worker_requests_waiting 0.0",
        "worker_kv_cache_usage_ratio 0.0",
    ] {
        assert!(metrics.contains(&format!("{line}\n")), "{line} is missing in\n{metrics}");
    }
    // The probe's token counts too: it was generated.
    assert!(metrics.contains("worker_generation_tokens_total 6\n"), "{metrics}");
}
