use serde_json::{Value, json};

use crate::rig::{Rig, body};

/// What differs from answer to answer, replaced by a word.
fn plain(stream: &str) -> String {
    let mut plain = String::new();
    for line in stream.split_inclusive('\n') {
        let event = line.strip_prefix("data: {").map(|_| line["data: ".len()..].trim_end());
        let Some(document) = event else {
            plain.push_str(line);
            continue;
        };
        let document: Value = serde_json::from_str(document).expect("JSON");
        let mut line = line.to_owned();
        for member in ["id", "system_fingerprint", "created"] {
            if let Some(value) = document.get(member) {
                line = line.replace(&format!("{member}\":{value}"), &format!("{member}\":*"));
            }
        }
        if let Some((before, after)) = line.split_once("\"timings\":{") {
            let (_, after) = after.split_once('}').expect("the end of the timings");
            line = format!("{before}\"timings\":*{after}");
        }
        plain.push_str(&line);
    }
    plain
}

#[tokio::test]
async fn a_conversation_streams_as_openai_streams() {
    let rig = Rig::ready().await;
    let asked = json!({
        "messages": [{ "role": "user", "content": "x" }],
        "stream": true,
        "stream_options": { "include_usage": true },
    });
    let answer = rig.begin("/v1/chat/completions", asked).await.rest().await;
    assert!(answer.contains("content-type: text/event-stream; charset=utf-8\r\n"), "{answer}");
    let head = concat!(
        r#"data: {"id":*,"object":"chat.completion.chunk","created":*,"model":"alphabet","#,
        r#""system_fingerprint":*,"choices":["#
    );
    let expected = [
        r#"{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}"#,
        r#"{"index":0,"delta":{"content":"y"},"logprobs":null,"finish_reason":null}],"usage":null}"#,
        r#"{"index":0,"delta":{"content":"z"},"logprobs":null,"finish_reason":null}],"usage":null}"#,
        r#"{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null,"timings":*}"#,
        concat!(
            r#"],"usage":{"prompt_tokens":1,"completion_tokens":3,"total_tokens":4,"#,
            r#""prompt_tokens_details":{"cached_tokens":0}}}"#
        ),
    ];
    let expected: String = expected.iter().map(|tail| format!("{head}{tail}\n\n")).collect();
    assert_eq!(plain(&body(&answer)), format!("{expected}data: [DONE]\n\n"));
}

#[tokio::test]
async fn without_asking_there_is_no_usage() {
    let rig = Rig::ready().await;
    let asked = json!({ "prompt": "x", "stream": true });
    let answer = rig.begin("/v1/completions", asked).await.rest().await;
    let head = concat!(
        r#"data: {"id":*,"object":"text_completion","created":*,"model":"alphabet","#,
        r#""system_fingerprint":*,"choices":["#
    );
    let expected = [
        r#"{"index":0,"text":"y","logprobs":null,"finish_reason":null}]}"#,
        r#"{"index":0,"text":"z","logprobs":null,"finish_reason":null}]}"#,
        r#"{"index":0,"text":"","logprobs":null,"finish_reason":"stop"}],"timings":*}"#,
    ];
    let expected: String = expected.iter().map(|tail| format!("{head}{tail}\n\n")).collect();
    assert_eq!(plain(&body(&answer)), format!("{expected}data: [DONE]\n\n"));
}

#[tokio::test]
async fn an_answer_is_cancelled_by_its_name() {
    let rig = Rig::ready().await;
    rig.gate.close();
    let asked = json!({ "prompt": "0", "stream": true, "max_tokens": 4000 });
    let mut answer = rig.begin("/v1/completions", asked).await;
    answer.until("\r\n\r\n").await;
    let id = running(&rig).await;
    let cancelled = rig.post(&format!("/v1/cancel/{id}"), "").await;
    assert_eq!(cancelled.status, 200);
    rig.gate.open();
    let rest = answer.rest().await;
    assert!(rest.contains(r#""finish_reason":"cancelled""#), "{rest}");
    assert!(rest.contains("data: [DONE]\n\n"), "{rest}");
    let again = rig.post(&format!("/v1/cancel/{id}"), "").await;
    assert_eq!(again.status, 404);
}

/// The id of the one request that runs.
pub async fn running(rig: &Rig) -> String {
    let mut found = None;
    crate::rig::until("a request runs", async || {
        let slots = crate::rig::json(&rig.get("/slots").await);
        let slots = slots.as_array().expect("slots");
        found = slots.iter().find_map(|slot| slot["request"].as_str().map(str::to_owned));
        found.is_some()
    })
    .await;
    found.expect("a request")
}
