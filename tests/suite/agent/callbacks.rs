//! Callbacks that come twice, out of order, or in a body that nobody can read.

use std::time::Duration;

use dialtone_contract::ErrorCode;
use dialtone_tests::wait::soon;
use dialtone_tests::{Api, Hand, Hands, Setup, TestBatch};
use hyper::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const CEILING: Duration = Duration::from_secs(15);

/// Where callbacks go.
const PATH: &str = "/batch/entry-completed";

/// The second one finds everything done: not one event comes of it.
#[tokio::test]
async fn a_callback_that_comes_twice_is_applied_once_and_moves_nothing() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let mut hands = Hands::register(rig.livekit.api()).await;
            let id = rig.api.trigger(&TestBatch::of(2, 0, 0, 0)).await;
            let (hand, open) = (hands.next().await, hands.next().await);
            hand.claim().await;
            open.claim().await;
            let answer =
                |applied| json!({ "applied": applied, "state": "completed", "outcome": "completed" });
            assert_eq!(hand.report("completed").await.ok(), answer(true));
            // The batch still runs: an event of the second callback would show.
            let before = rig.api.status(&id).await;
            for _ in 0..3 {
                assert_eq!(hand.report("completed").await.ok(), answer(false));
            }
            let after = rig.api.status(&id).await;
            assert_eq!(after.event_seq, before.event_seq);
            assert_eq!(after, before);
            assert_eq!(open.report("completed").await.ok(), answer(true));
            rig.api.completed(&id, CEILING).await;
            rig.verify(&id).await;
            hands.leave().await;
        })
        .await;
}

/// What should have come before it comes after it, and is told so.
#[tokio::test]
async fn what_a_callback_has_overtaken_changes_nothing() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let mut hands = Hands::register(rig.livekit.api()).await;
            let id = rig.api.trigger(&TestBatch::of(1, 0, 0, 0)).await;
            let hand = hands.next().await;
            // Before the dial claim, nothing can have come of it.
            hand.report("completed").await.refused(ErrorCode::NotClaimed);
            hand.claim().await;
            assert_eq!(hand.report("completed").await.ok()["applied"], json!(true));
            let before = rig.api.completed(&id, CEILING).await;
            for verb in ["ringing", "in_call", "ended", "failed"] {
                hand.status(verb).await.refused(ErrorCode::StaleAttempt);
            }
            let over = json!({ "continue": false, "reason": "attempt_over" });
            assert_eq!(hand.beat(1, "in_call").await.ok(), over);
            hand.claim_as(&hand.job_id).await.refused(ErrorCode::StaleAttempt);
            hand.report("failed").await.refused(ErrorCode::OutcomeConflict);
            assert_eq!(rig.api.status(&id).await, before);
            rig.verify(&id).await;
            hands.leave().await;
        })
        .await;
}

async fn refuses_what_cannot_be_read(api: &Api, hand: &Hand) {
    let bearer = format!("Bearer {}", hand.capability());
    let good = hand.callback("completed").to_string();
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let json_type = "application/json";
    let bodies = [
        (json_type, String::new(), ErrorCode::NotJson),
        (json_type, good[..good.len() - 1].to_owned(), ErrorCode::NotJson),
        (json_type, format!("{good}{good}"), ErrorCode::NotJson),
        (json_type, deep.clone(), ErrorCode::Invalid),
        (json_type, format!("{{\"surprise\":{deep}}}"), ErrorCode::Invalid),
        (json_type, "[]".to_owned(), ErrorCode::Invalid),
        (json_type, " ".repeat(64 * 1024 + 1), ErrorCode::TooLarge),
        ("text/plain", good.clone(), ErrorCode::UnsupportedType),
    ];
    let verbs = ["claim", "heartbeat", "status"];
    let calls = verbs.map(|verb| format!("/batch/calls/{}/{verb}", hand.call_id()));
    for path in calls.iter().map(String::as_str).chain([PATH]) {
        for (kind, body, code) in &bodies {
            // A dial may be claimed without a body.
            if path.ends_with("/claim") && body.is_empty() {
                continue;
            }
            let headers = [("content-type", *kind), ("authorization", bearer.as_str())];
            let sent = api.send(Method::POST, path, &headers, Some(body.clone().into())).await;
            sent.expect("an answer").refused(*code);
        }
    }
}

/// An answer to a request that is never whole, read to its end.
async fn half(api: &Api, request: &str) -> String {
    let address = api.base().trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let mut text = Vec::new();
    soon("an answer to half a request", async {
        stream.write_all(request.as_bytes()).await.expect("sent");
        let _ = stream.read_to_end(&mut text).await;
    })
    .await;
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn a_callback_that_cannot_be_read_is_refused_while_others_are_heard() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let mut hands = Hands::register(rig.livekit.api()).await;
            let id = rig.api.trigger(&TestBatch::of(1, 0, 0, 0)).await;
            let hand = hands.next().await;
            refuses_what_cannot_be_read(&rig.api, &hand).await;
            hand.claim().await;
            let head = format!("POST {PATH} HTTP/1.1\r\nHost: localhost\r\n");
            let body = format!(
                "{head}Content-Type: application/json\r\nAuthorization: Bearer {}\r\n\
                 Content-Length: 100\r\n\r\n{{",
                hand.capability()
            );
            let heard = async {
                for seq in 1..20 {
                    let beat = tokio::time::timeout(CEILING, hand.beat(seq, "ringing")).await;
                    assert_eq!(beat.expect("heard meanwhile").ok()["continue"], json!(true));
                }
            };
            let (slow_head, slow_body, ()) =
                tokio::join!(half(&rig.api, &head), half(&rig.api, &body), heard);
            assert!(slow_body.starts_with("HTTP/1.1 408 "), "{slow_body}");
            // Before its head is whole there is nobody to answer.
            let cut = slow_head.is_empty() || slow_head.starts_with("HTTP/1.1 408 ");
            assert!(cut, "{slow_head}");
            assert_eq!(hand.report("completed").await.ok()["applied"], json!(true));
            rig.api.completed(&id, CEILING).await;
            hands.leave().await;
        })
        .await;
}
