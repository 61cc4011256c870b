use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};

use crate::rig::{Rig, json, text};

/// Each is refused with this status and `param`.
#[tokio::test]
async fn what_cannot_be_served_is_refused_by_name() {
    let rig = Rig::ready().await;
    let user = json!([{ "role": "user", "content": "a" }]);
    let with = |field: &str, value: Value| {
        let mut body = json!({ "messages": user });
        body[field] = value;
        body.to_string()
    };
    let cases = [
        (json!({ "messages": [] }).to_string(), "messages"),
        (json!({}).to_string(), "messages"),
        (with("messages", json!("a")), "messages"),
        (with("messages", json!([{ "content": "a" }])), "messages[0].role"),
        (with("messages", json!([{ "role": "user", "content": 5 }])), "messages[0].content"),
        (with("messages", json!([{ "role": "system", "content": "a" }])), "messages"),
        (with("max_tokens", json!(0)), "max_tokens"),
        (with("max_tokens", json!(u64::MAX)), "max_tokens"),
        (with("max_tokens", json!(-1)), "max_tokens"),
        (with("max_tokens", json!(1.5)), "max_tokens"),
        (with("max_completion_tokens", json!(100_000)), "max_completion_tokens"),
        (with("temperature", json!(2.5)), "temperature"),
        (with("temperature", json!("hot")), "temperature"),
        (with("top_p", json!(-0.1)), "top_p"),
        (with("stop", json!(["a", "b", "c", "d", "e"])), "stop"),
        (with("stop", json!("")), "stop"),
        (with("n", json!(2)), "n"),
        (with("logprobs", json!(true)), "logprobs"),
        (with("tools", json!([{ "type": "function" }])), "tools"),
        (with("response_format", json!({ "type": "json_object" })), "response_format"),
        (with("stream_options", json!({ "include_usage": true })), "stream_options"),
    ];
    for (body, param) in cases {
        let refused = rig.post("/v1/chat/completions", &body).await;
        assert_eq!(refused.status, 400, "{body}: {}", text(&refused));
        let error = json(&refused)["error"].clone();
        assert_eq!(error["param"], param, "{body}: {error}");
        assert_eq!(error["type"], "invalid_request_error", "{body}");
        assert!(error["message"].as_str().is_some_and(|said| !said.is_empty()), "{body}");
        assert!(error["code"].is_string(), "{body}");
    }
    assert_eq!(rig.load().await, (0, 0));
}

#[tokio::test]
async fn a_body_that_is_no_object_is_told_so() {
    let rig = Rig::ready().await;
    for body in ["[]", "null", "5", "\"a\""] {
        let refused = rig.post("/v1/chat/completions", body).await;
        let error = json(&refused)["error"].clone();
        assert_eq!((refused.status.as_u16(), &error["param"]), (400, &json!(null)), "{body}");
        assert_eq!(error["message"], "the body must be one JSON object", "{body}");
    }
}

#[tokio::test]
async fn a_session_that_is_too_long_is_refused_under_its_own_name() {
    let rig = Rig::ready().await;
    for field in ["user", "session_id", "prompt_cache_key"] {
        let mut body = json!({ "prompt": "a" });
        body[field] = json!("x".repeat(1025));
        let refused = rig.post("/v1/completions", body).await;
        let error = json(&refused)["error"].clone();
        assert_eq!((refused.status.as_u16(), &error["param"]), (400, &json!(field)));
        assert!(error["message"].as_str().is_some_and(|said| said.starts_with(field)), "{error}");
    }
}

#[tokio::test]
async fn what_is_no_json_is_refused() {
    let rig = Rig::ready().await;
    let deep = format!(r#"{{"messages":{}1{}}}"#, "[".repeat(50_000), "]".repeat(50_000));
    let bodies: [&[u8]; 6] = [
        b"",
        b"{",
        br#"{"temperature":NaN,"messages":[]}"#,
        b"{\"messages\":[{\"role\":\"user\",\"content\":\"\xff\"}]}",
        br#"{"temperature":1e999}"#,
        deep.as_bytes(),
    ];
    for body in bodies {
        let json_type = HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, json_type)]);
        let sent = Bytes::copy_from_slice(body);
        let refused = rig.send("/v1/chat/completions", headers, sent).await;
        assert_eq!(refused.status, 400, "{}", text(&refused));
        assert_eq!(json(&refused)["error"]["type"], "invalid_request_error");
    }
    let untyped = rig.send("/v1/completions", HeaderMap::new(), Bytes::from("{}")).await;
    assert_eq!(
        (untyped.status.as_u16(), &json(&untyped)["error"]["code"]),
        (415, &json!("unsupported_type"))
    );
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let rig = Rig::ready().await;
    let long = rig.post("/v1/completions", json!({ "prompt": "a".repeat(5000) })).await;
    assert_eq!(
        (long.status.as_u16(), &json(&long)["error"]["code"]),
        (400, &json!("context_length_exceeded"))
    );
    let longer = rig.post("/v1/completions", json!({ "prompt": "a".repeat(1_000_000) })).await;
    assert_eq!(longer.status, 400);
    let body = json!({ "prompt": "a".repeat(10 * 1024 * 1024) }).to_string();
    let answer = rig.begin("/v1/completions", body).await.until("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn prompts_that_are_none_are_refused() {
    let rig = Rig::ready().await;
    let cases = [
        json!({}),
        json!({ "prompt": "" }),
        json!({ "prompt": [] }),
        json!({ "prompt": ["a", "b"] }),
        json!({ "prompt": [1, -1] }),
        json!({ "prompt": [1, "a"] }),
        json!({ "prompt": [100_000] }),
        json!({ "prompt": { "a": 1 } }),
    ];
    for path in ["/v1/completions", "/v1/inference"] {
        for body in &cases {
            let refused = rig.post(path, body).await;
            assert_eq!(refused.status, 400, "{body}");
            assert_eq!(json(&refused)["error"]["param"], "prompt", "{body}");
        }
    }
}

#[tokio::test]
async fn another_model_is_not_here() {
    let rig = Rig::ready().await;
    let asked = json!({ "model": "gpt-4", "prompt": "a" });
    for refused in [rig.post("/v1/completions", asked).await, rig.get("/v1/models/gpt-4").await] {
        assert_eq!(refused.status, 404);
        let error = &json(&refused)["error"];
        assert_eq!((&error["code"], &error["param"]), (&json!("model_not_found"), &json!("model")));
    }
}

#[tokio::test]
async fn other_paths_are_refused_in_the_form_of_their_neighbours() {
    let rig = Rig::ready().await;
    let unknown = rig.get("/v1/embeddings").await;
    assert_eq!(
        (unknown.status.as_u16(), &json(&unknown)["error"]["code"]),
        (404, &json!("unknown_url"))
    );
    let wrong = rig.get("/v1/completions").await;
    assert_eq!(
        (wrong.status.as_u16(), &wrong.headers["allow"]),
        (405, &"POST".parse().expect("a header"))
    );
    assert_eq!(json(&wrong)["error"]["code"], "method_not_allowed");
    let elsewhere = rig.get("/nothing").await;
    assert_eq!(elsewhere.problem().map(|problem| problem.status), Some(404));
}
