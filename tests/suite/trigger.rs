//! What the trigger of test batches refuses, and that nothing is left of it.

use std::time::Duration;

use dialtone_contract::ErrorCode;
use dialtone_tests::wait::soon;
use dialtone_tests::{Api, Rig, Setup, TestBatch};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const JSON: (&str, &str) = ("content-type", "application/json");

/// Requests that name one bad field each: pointer, value, code.
fn bad_fields() -> Vec<(&'static str, Value, &'static str)> {
    let mut fields = vec![
        ("/voice_id", json!("nobody"), "unknown"),
        ("/voice_id", json!(""), "unknown"),
        ("/voice_id", json!(7), "wrong_type"),
        ("/voice_id", Value::Null, "wrong_type"),
        ("/initiated_by", json!(999), "unknown"),
        ("/initiated_by", json!(-1), "unknown"),
        ("/initiated_by", json!("1"), "wrong_type"),
        ("/agent_id", json!("seven"), "wrong_type"),
        ("/agent_id", json!(1.5), "wrong_type"),
        ("/from_number", json!("911"), "invalid"),
        ("/from_number", json!("+0123456789"), "invalid"),
        ("/from_number", json!("+1555x000"), "invalid"),
        ("/from_number", json!(15_550_000), "wrong_type"),
        ("/total", json!(0), "out_of_range"),
        ("/total", json!(1_000_001), "out_of_range"),
        ("/total", json!(1_000_000_000), "out_of_range"),
        ("/total", json!(-1), "out_of_range"),
        ("/total", json!(1e9), "wrong_type"),
        ("/total", json!(u64::MAX), "out_of_range"),
        ("/total", json!("149"), "wrong_type"),
        ("/total", json!([149]), "wrong_type"),
        ("/total", Value::Null, "wrong_type"),
        ("/seed", json!(-1), "out_of_range"),
        ("/seed", json!("lucky"), "wrong_type"),
        ("/outcomes", json!("random"), "invalid"),
        ("/outcomes", json!(1), "invalid"),
        ("/durations", json!("short"), "wrong_type"),
        ("/durations/completed", json!({ "min_s": 5, "max_s": 1 }), "out_of_range"),
        ("/durations/completed", json!({ "min_s": -1, "max_s": 1 }), "out_of_range"),
        ("/durations/failed", json!({ "min_s": 0, "max_s": 901 }), "out_of_range"),
        ("/durations/failed/max_s", json!("long"), "wrong_type"),
        ("/options", json!(7), "wrong_type"),
        ("/options/max_concurrent", json!(0), "out_of_range"),
        ("/options/max_concurrent", json!(10_001), "out_of_range"),
        ("/options/max_retries", json!(11), "out_of_range"),
        ("/options/max_retries", json!(-1), "out_of_range"),
        ("/options/redial_after_contact", json!("no"), "wrong_type"),
        ("/options/metadata", json!("x".repeat(16 * 1024)), "too_large"),
        ("/surprise", json!(1), "unknown_field"),
        ("/options/surprise", json!(1), "unknown_field"),
        ("/durations/surprise", json!(1), "unknown_field"),
        ("/a~b", json!(1), "unknown_field"),
    ];
    for pointer in ["/fail_count", "/stuck_count", "/dropped_count"] {
        fields.extend([
            (pointer, json!(-1), "out_of_range"),
            (pointer, json!(1e10), "wrong_type"),
            (pointer, json!(4_294_967_296_u64), "out_of_range"),
            (pointer, json!("1"), "wrong_type"),
            (pointer, json!(11), "counts_exceed_total"),
            (pointer, json!(u32::MAX), "counts_exceed_total"),
        ]);
    }
    fields
}

async fn refuses_bad_fields(api: &Api) {
    for (pointer, value, code) in bad_fields() {
        let spelled = pointer.replace("~", "~0");
        let batch = TestBatch::of(10, 0, 0, 0);
        // A span with one bad end has a good one too.
        let batch = if pointer == "/durations/failed/max_s" {
            batch.with("/durations/failed/min_s", 1)
        } else {
            batch
        };
        api.ask(&batch.with(pointer, value), None).await.invalid(&[(&spelled, code)]);
    }
    // A batch may be refused for several fields at once, and names them all.
    let bad = TestBatch::of(10, 11, 0, 0).with("/voice_id", "nobody").with("/initiated_by", 5);
    api.ask(&bad, None).await.invalid(&[
        ("/fail_count", "counts_exceed_total"),
        ("/voice_id", "unknown"),
        ("/initiated_by", "unknown"),
    ]);
    for name in ["voice_id", "initiated_by"] {
        let pointer = format!("/{name}");
        let bad = TestBatch::of(10, 0, 0, 0).without(name);
        api.ask(&bad, None).await.invalid(&[(&pointer, "missing")]);
    }
    // The sum counts, not each number alone; so do the defaults of what is left out.
    let bad = TestBatch::of(10, 4, 4, 3);
    api.ask(&bad, None).await.invalid(&[("/dropped_count", "counts_exceed_total")]);
    let bad = TestBatch::of(10, 4, 4, 3).without("fail_count");
    api.ask(&bad, None).await.invalid(&[("/fail_count", "counts_exceed_total")]);
}

async fn refuses_bodies_that_are_not_json(api: &Api) {
    let good = TestBatch::of(1, 0, 0, 0).json().to_string();
    let bodies = [
        String::new(),
        " ".to_owned(),
        "{".to_owned(),
        "hello".to_owned(),
        format!("{good}x"),
        good.replace("\"demo\"", "\"demo\","),
        good.replace("\"demo\"", "NaN"),
    ];
    for body in bodies {
        api.post_trigger(&[JSON], body).await.refused(ErrorCode::NotJson);
    }
    for other in ["[]", "7", "null", "\"text\""] {
        let problem = api.post_trigger(&[JSON], other).await.refused(ErrorCode::Invalid);
        assert_eq!(problem.errors[0].pointer, "", "{other}: {problem:?}");
    }
    // JSON that would exhaust a recursive reader's stack.
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_field = format!("{{\"options\":{{\"metadata\":{deep}}}}}");
    let deep_unknown = format!("{{\"surprise\":{deep}}}");
    for body in [deep, deep_field, deep_unknown] {
        api.post_trigger(&[JSON], body).await.refused(ErrorCode::Invalid);
    }
    let kinds = ["text/plain", "text/csv", "application/x-www-form-urlencoded", "", "json"];
    for kind in kinds {
        let answer = api.post_trigger(&[("content-type", kind)], good.clone()).await;
        answer.refused(ErrorCode::UnsupportedType);
    }
    api.post_trigger(&[], good.clone()).await.refused(ErrorCode::UnsupportedType);
    // What JSON itself allows is not refused for its looks.
    let spaced = good.replace(',', " ,\n\t");
    let kind = ("content-type", "application/json; charset=utf-8");
    api.post_trigger(&[kind], spaced).await.expect::<Value>(202);
}

/// An answer on a connection of its own, read to its end.
async fn raw(rig: &Rig, head: &str, body: &[&[u8]]) -> String {
    let address = rig.api.base().trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let head = format!(
        "POST /batch/trigger-test-batch HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: application/json\r\nConnection: close\r\n{head}\r\n\r\n"
    );
    let mut text = Vec::new();
    soon("an answer to a large body", async {
        stream.write_all(head.as_bytes()).await.expect("sent");
        for part in body {
            // The server may have said no and closed already.
            if stream.write_all(part).await.is_err() {
                break;
            }
        }
        let _ = stream.read_to_end(&mut text).await;
    })
    .await;
    String::from_utf8_lossy(&text).into_owned()
}

async fn refuses_bodies_that_are_too_large(rig: &Rig) {
    let large = " ".repeat(1024 * 1024 + 1);
    let answer = rig.api.post_trigger(&[JSON], large.clone()).await;
    answer.refused(ErrorCode::TooLarge);
    // Told at the limit, long before the end that the header promises.
    let answer = raw(rig, "Content-Length: 10000000000", &[large.as_bytes()]).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("\"too_large\""), "{answer}");
    let chunk = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    let answer = raw(rig, "Transfer-Encoding: chunked", &[chunk.as_bytes()]).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");
    // One that fits is read in chunks too.
    let good = TestBatch::of(1, 0, 0, 0).json().to_string();
    let chunk = format!("{:x}\r\n{good}\r\n0\r\n\r\n", good.len());
    let answer = raw(rig, "Transfer-Encoding: chunked", &[chunk.as_bytes()]).await;
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
}

#[tokio::test]
async fn a_bad_trigger_is_refused_by_field_and_creates_nothing() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            refuses_bad_fields(&rig.api).await;
            assert_eq!(rig.api.batches().await, []);
        })
        .await;
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_refused_and_creates_nothing() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            refuses_bodies_that_are_not_json(&rig.api).await;
            assert_eq!(rig.api.batches().await.len(), 1, "only the good one");
            refuses_bodies_that_are_too_large(rig).await;
            assert_eq!(rig.api.batches().await.len(), 2, "only the good ones");
        })
        .await;
}

#[tokio::test]
async fn a_good_trigger_says_where_its_batch_is() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let batch = TestBatch::of(3, 1, 1, 1)
                .seed(9)
                .with("/agent_id", 7)
                .with("/from_number", "+15550001234")
                .with("/options/metadata", json!({ "campaign": "x" }));
            let answer = rig.api.ask(&batch, None).await;
            let body: Value = answer.expect(202);
            let id = body["batch_id"].as_str().expect("an id");
            assert_eq!(body["status"], "accepted");
            let job = id.replace("bat_", "job_");
            assert_eq!(body["job_id"], Value::from(job.as_str()));
            let location = answer.header("location").expect("a location").to_owned();
            assert_eq!(location, format!("/batch/batch-status/{id}"));
            let status = rig.api.get(&location).await.ok();
            assert_eq!((&status["total_calls"], &status["seed"]), (&json!(3), &json!(9)));
            assert_eq!((&status["mode"], &status["job_id"]), (&json!("test"), &json!(job)));
            // The largest batch is taken, whole, in one request.
            let largest = TestBatch::of(100_000, 0, 0, 0).with("/options/max_concurrent", 1);
            let id = rig.api.trigger(&largest).await;
            let status = rig.api.status(&id).await;
            assert_eq!(status.by_state.values().sum::<u32>(), 100_000);
        })
        .await;
}

#[tokio::test]
async fn a_list_is_no_object() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let batch = TestBatch::of(10, 0, 0, 0);
            for (pointer, value) in [("/options", json!([])), ("/durations/failed", json!([1, 2]))]
            {
                let answer = rig.api.ask(&batch.clone().with(pointer, value), None).await;
                answer.invalid(&[(pointer, "wrong_type")]);
            }
            let answer = rig.api.post_trigger(&[JSON], "[\"demo\", 1]").await;
            answer.invalid(&[("", "wrong_type")]);
            assert_eq!(rig.api.batches().await, []);
        })
        .await;
}

/// RFC 8259, section 8.1: JSON between systems is UTF-8.
#[tokio::test]
async fn a_body_that_is_not_utf_8_is_not_json() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let body: &[u8] = b"{\"voice_id\":\"\xff\xfe\",\"initiated_by\":1}";
            rig.api.post_trigger(&[JSON], body).await.refused(ErrorCode::NotJson);
        })
        .await;
}

/// A slow sender does not keep others waiting, and is told so in the end.
#[tokio::test]
async fn a_slow_body_is_cut_off_while_others_are_served() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let slow = raw(rig, "Content-Length: 100", &[b"{"]);
            let others = async {
                for _ in 0..20 {
                    let asked = rig.api.get("/batch");
                    let answer = tokio::time::timeout(Duration::from_secs(5), asked).await;
                    answer.expect("served meanwhile").ok();
                }
            };
            let (answer, ()) = tokio::join!(slow, others);
            assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
            assert_eq!(rig.api.batches().await, []);
        })
        .await;
}
