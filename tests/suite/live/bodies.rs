//! Bodies: what cannot be read, what is too much, and that nothing is left of it.

use std::time::Duration;

use bytes::Bytes;
use dialtone_contract::{ErrorCode, limits};
use dialtone_tests::wait::{soon, until};
use dialtone_tests::{Api, Rig, Setup, live_batch};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const JSON: &str = "application/json";

fn good() -> Value {
    live_batch(&json!([{ "to": "+15550000001" }]))
}

async fn refuses_bad_heads(api: &Api) {
    let cases = [
        ("voice_id", json!("nobody"), "/voice_id", "unknown"),
        ("voice_id", json!(7), "/voice_id", "wrong_type"),
        ("initiated_by", json!(9), "/initiated_by", "unknown"),
        ("initiated_by", json!("1"), "/initiated_by", "wrong_type"),
        ("agent_id", json!("a"), "/agent_id", "wrong_type"),
        ("from_number", json!("911"), "/from_number", "invalid"),
        ("rejects", json!("some"), "/rejects", "invalid"),
        ("options", json!(7), "/options", "wrong_type"),
        ("options", json!({ "max_concurrent": 0 }), "/options/max_concurrent", "out_of_range"),
        ("options", json!({ "duplicates": "some" }), "/options/duplicates", "invalid"),
        ("options", json!({ "surprise": 1 }), "/options/surprise", "unknown_field"),
        ("surprise", json!(1), "/surprise", "unknown_field"),
        ("total", json!(5), "/total", "unknown_field"),
        ("entries", json!(7), "/entries", "wrong_type"),
        ("entries", json!({}), "/entries", "wrong_type"),
        ("entries", Value::Null, "/entries", "wrong_type"),
        ("entries", json!([]), "/entries", "out_of_range"),
    ];
    for (name, value, pointer, code) in cases {
        let mut body = good();
        body[name] = value;
        api.ask_live(&body, None).await.invalid(&[(pointer, code)]);
    }
    for name in ["voice_id", "initiated_by", "entries"] {
        let mut body = good();
        body.as_object_mut().expect("an object").remove(name);
        api.ask_live(&body, None).await.invalid(&[(&format!("/{name}"), "missing")]);
    }
    let answer = api.upload("?surprise=1", JSON, good().to_string(), None).await;
    answer.invalid(&[("/query/surprise", "unknown_field")]);
}

async fn refuses_bad_queries(api: &Api) {
    let table = "to\n+15550000001\n";
    let cases = [
        ("?initiated_by=1", "/query/voice_id", "missing"),
        ("?voice_id=demo", "/query/initiated_by", "missing"),
        ("?voice_id=demo&initiated_by=x", "/query/initiated_by", "wrong_type"),
        ("?voice_id=demo&initiated_by=1&rejects=some", "/query/rejects", "invalid"),
        ("?voice_id=demo&initiated_by=1&surprise=1", "/query/surprise", "unknown_field"),
        ("?voice_id=demo&initiated_by=1&options=x", "/query/options", "not_json"),
        ("?voice_id=demo&initiated_by=1&options=7", "/query/options", "wrong_type"),
        (
            "?voice_id=demo&initiated_by=1&options=%7B%22x%22%3A1%7D",
            "/query/options/x",
            "unknown_field",
        ),
        ("?voice_id=demo&initiated_by=1&map=x:to", "/query/map", "unknown"),
        ("?voice_id=demo&initiated_by=1&map=x", "/query/map", "invalid"),
        ("?voice_id=nobody&initiated_by=1", "/voice_id", "unknown"),
    ];
    for (query, pointer, code) in cases {
        api.upload(query, "text/csv", table, None).await.invalid(&[(pointer, code)]);
    }
    let heads = [("", "missing"), ("a,b\n1,2\n", "missing"), ("to,phone\n", "duplicate")];
    for (table, code) in heads {
        api.ask_table("", table).await.invalid(&[("/header", code)]);
    }
    let open = "to,a\n+15550000001,\"x\n+15550000002,y\n";
    api.ask_table("", open).await.invalid(&[("/entries/0", "unclosed_quote")]);
}

async fn refuses_what_is_not_json(api: &Api) {
    let good = good().to_string();
    let mut bodies =
        ["", " ", "{", "hello", "[1", "{\"entries\":[{},]}"].map(str::to_owned).to_vec();
    bodies.extend([format!("{good}x"), good.replace("demo\"", "demo\","), good.replace('1', "01")]);
    for body in bodies {
        api.upload("", JSON, body.clone(), None).await.refused(ErrorCode::NotJson);
    }
    let bytes: &[u8] = b"{\"voice_id\":\"\xff\",\"initiated_by\":1,\"entries\":[]}";
    api.upload("", JSON, bytes, None).await.refused(ErrorCode::NotJson);
    for body in ["[]", "7", "null"] {
        api.upload("", JSON, body, None).await.invalid(&[("", "wrong_type")]);
    }
    let kinds = ["text/plain", "", "json", "multipart/form-data", "text/csv; charset=latin1"];
    for kind in kinds {
        let answer = api.upload("", kind, good.clone(), None).await;
        answer.refused(ErrorCode::UnsupportedType);
    }
    let answer = api.upload("", "application/json; charset=utf-8", good, None).await;
    answer.expect::<Value>(202);
}

#[tokio::test]
async fn every_bad_body_has_its_problem_and_creates_nothing() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            refuses_bad_heads(&rig.api).await;
            refuses_bad_queries(&rig.api).await;
            assert_eq!(rig.api.batches().await, []);
            refuses_what_is_not_json(&rig.api).await;
            assert_eq!(rig.api.batches().await.len(), 1, "only the good one");
        })
        .await;
}

/// A request on a connection of its own, of which `part` is the beginning of the body.
async fn begin(rig: &Rig, head: &str, part: &[u8]) -> TcpStream {
    let address = rig.api.base().trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let head = format!(
        "POST /batch/trigger-batch-call HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: application/json\r\nConnection: close\r\n{head}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    // The server may have said no and closed already.
    let _ = stream.write_all(part).await;
    stream
}

fn files(rig: &Rig) -> usize {
    std::fs::read_dir(rig.data_dir().join("uploads")).map_or(0, Iterator::count)
}

#[tokio::test]
async fn a_body_that_is_too_large_or_breaks_off_leaves_nothing() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let too_large = limits::UPLOAD_BODY_MAX + 1;
            // Told at once by its head.
            let mut stream = begin(rig, &format!("Content-Length: {too_large}"), b"{").await;
            let mut answer = String::new();
            soon("an answer", stream.read_to_string(&mut answer)).await.expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
            assert!(answer.contains("\"too_large\""), "{answer}");
            // Told when it has become so, where the head says nothing.
            let chunk = vec![b' '; usize::try_from(too_large).expect("fits")];
            let chunk =
                [format!("{too_large:x}\r\n").as_bytes(), &chunk, b"\r\n0\r\n\r\n"].concat();
            let mut stream = begin(rig, "Transfer-Encoding: chunked", &chunk).await;
            let mut answer = Vec::new();
            let _ = soon("an answer", stream.read_to_end(&mut answer)).await;
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
            // Three MiB of a body, and no more of it.
            let entry = "{\"to\":\"+15550000001\"},".repeat(150_000);
            let part = format!("{{\"voice_id\":\"demo\",\"initiated_by\":1,\"entries\":[{entry}");
            drop(begin(rig, "Content-Length: 60000000", part.as_bytes()).await);
            // One that stops without going away is told so.
            let mut stream = begin(rig, "Content-Length: 60000000", part.as_bytes()).await;
            let mut answer = String::new();
            let read = stream.read_to_string(&mut answer);
            let read = tokio::time::timeout(Duration::from_secs(20), read).await;
            read.expect("in time").expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
            assert_eq!((files(rig), rig.api.batches().await.len()), (0, 0));
        })
        .await;
}

#[tokio::test]
async fn a_kill_while_a_batch_loads_leaves_nothing_of_it() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let numbers: String = (0..200_000).map(|n| format!("+1555000{n:06}\n")).collect();
            let table = Bytes::from(format!("to\n{numbers}"));
            let api = rig.api.clone();
            let asked = tokio::spawn(async move {
                let headers = [("content-type", "text/csv")];
                let path = "/batch/trigger-batch-call?voice_id=demo&initiated_by=1";
                api.send(hyper::Method::POST, path, &headers, Some(table)).await
            });
            until("the batch to show", async || match rig.api.batches().await.as_slice() {
                [] => Err("no batch".to_owned()),
                [one] if one.status.as_str() == "loading" => Ok(()),
                more => panic!("too fast for this test: {more:?}"),
            })
            .await;
            rig.dialtone.kill().await;
            assert!(asked.await.expect("no panic").is_err(), "an answer after the kill");
            rig.dialtone.restart().await;
            assert_eq!((rig.api.batches().await.len(), files(rig)), (0, 0));
        })
        .await;
}

#[tokio::test]
async fn a_key_answers_as_the_first_time_and_takes_no_other_body() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let api = &rig.api;
            let entries = json!([
                { "to": "+15550000001", "variables": { "a": "x", "b": "y" } },
                { "to": "nobody" },
                { "to": "+15550000002", "timezone": "UTC" },
            ]);
            let mut body = live_batch(&entries);
            body["rejects"] = json!("report");
            let first = api.ask_live(&body, Some("once")).await;
            assert_eq!(first.header("idempotent-replayed"), None);
            let first: Value = first.expect(202);
            // The same fields, in another order and with spaces and defaults.
            let spelled = r#"{ "rejects": "report", "options": {}, "entries": [
                { "variables": {"b": "y", "a": "x"}, "to": "+15550000001" }, {"to": "nobody"},
                {"timezone": "UTC", "to": "+15550000002", "variables": null} ],
                "initiated_by": 1, "voice_id": "demo" }"#;
            for body in [body.to_string(), spelled.to_owned()] {
                let again = api.upload("", JSON, body, Some("once")).await;
                assert_eq!(again.header("idempotent-replayed"), Some("true"));
                assert!(again.header("location").is_some());
                assert_eq!(again.expect::<Value>(202), first);
            }
            let mut others = vec![body.clone(), body.clone(), body.clone(), live_batch(&entries)];
            others[0]["entries"][0]["variables"]["a"] = json!("z");
            others[1]["entries"][2]["to"] = json!("+15550000003");
            others[2]["options"] = json!({ "max_concurrent": 7 });
            for other in others {
                let answer = api.ask_live(&other, Some("once")).await;
                answer.refused(ErrorCode::IdempotencyConflict);
            }
            let asked = (0..6).map(|_| api.ask_live(&body, Some("at-once")));
            let answers = futures_util::future::join_all(asked).await;
            let fresh = answers.iter().filter(|a| a.header("idempotent-replayed").is_none());
            assert_eq!(fresh.count(), 1);
            let ids: Vec<Value> = answers.iter().map(|answer| answer.expect(202)).collect();
            assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
            assert_eq!(api.batches().await.len(), 2);
        })
        .await;
}
