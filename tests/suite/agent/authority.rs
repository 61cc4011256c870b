//! Who may speak for a call: the capability of its attempt, and nobody else.

use dialtone_contract::{CallId, ErrorCode};
use dialtone_tests::{Hand, Hands, Rig, Setup, TestBatch};
use hyper::Method;
use serde_json::{Value, json};

/// The paths of a call with a body that each takes.
fn requests(hand: &Hand) -> Vec<(String, Value)> {
    let path = |verb: &str| format!("/batch/calls/{}/{verb}", hand.call_id());
    vec![
        (path("claim"), json!({ "claimer": "rival" })),
        (path("heartbeat"), json!({ "seq": 1, "state": "ringing" })),
        (path("status"), json!({ "status": "in_call" })),
        ("/batch/entry-completed".to_owned(), hand.callback("completed")),
    ]
}

/// Capabilities that are not that of `hand`, each for a reason of its own.
fn wrong(hand: &Hand, other: &Hand) -> Vec<String> {
    let right = hand.capability();
    let (head, mac) = right.rsplit_once('.').expect("a capability has parts");
    let tampered = if mac.starts_with('A') { "B" } else { "A" };
    vec![
        other.capability().to_owned(),
        String::new(),
        "x".to_owned(),
        right.replace("demo", "acme"),
        format!("{head}.{tampered}{}", &mac[1..]),
        format!("{right}A"),
        right[..right.len() - 1].to_owned(),
        head.to_owned(),
        "k".repeat(10_000),
    ]
}

async fn two_hands(rig: &Rig, hands: &mut Hands) -> (Hand, Hand) {
    rig.api.trigger(&TestBatch::of(2, 0, 0, 0)).await;
    (hands.next().await, hands.next().await)
}

#[tokio::test]
async fn a_call_hears_its_own_capability_only() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let mut hands = Hands::register(rig.livekit.api()).await;
            let (hand, other) = two_hands(rig, &mut hands).await;
            for (path, body) in requests(&hand) {
                rig.api.post(&path, None, &body).await.refused(ErrorCode::BadCapability);
                for bearer in wrong(&hand, &other) {
                    let answer = rig.api.post(&path, Some(&bearer), &body).await;
                    answer.refused(ErrorCode::BadCapability);
                }
                // Another scheme is no bearer.
                let basic = format!("Basic {}", hand.capability());
                let headers = [("content-type", "application/json"), ("authorization", &basic)];
                let body = Some(body.to_string().into());
                let answer = rig.api.send(Method::POST, &path, &headers, body).await;
                answer.expect("an answer").refused(ErrorCode::BadCapability);
            }
            // None of that did anything.
            let status = rig.api.batches().await.remove(0);
            assert_eq!((status.dials, status.in_flight), (0, 2), "{status:?}");
            hand.claim().await;
            hands.leave().await;
        })
        .await;
}

/// A call that is not there is told from a wrong capability by nobody.
#[tokio::test]
async fn a_call_that_is_not_there_is_not_told_from_a_foreign_one() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let mut hands = Hands::register(rig.livekit.api()).await;
            let (hand, _) = two_hands(rig, &mut hands).await;
            let (key, attempt) = CallId::new(hand.call_id()).parts().expect("a call id");
            let absent = [
                key.call_id(attempt + 1).to_string(),
                "call_0199_1_1".to_owned(),
                "call_x".to_owned(),
                "%2e%2e".to_owned(),
            ];
            for call in absent {
                let path = format!("/batch/calls/{call}/claim");
                let answer = rig.api.post(&path, Some(hand.capability()), &json!({})).await;
                answer.refused(ErrorCode::BadCapability);
            }
            hands.leave().await;
        })
        .await;
}

#[tokio::test]
async fn the_dial_is_claimed_once() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let mut hands = Hands::register(rig.livekit.api()).await;
            let (hand, nameless) = two_hands(rig, &mut hands).await;
            let mine = hand.claim().await;
            assert_eq!((&mine["attempt"], &mine["heartbeat_ms"]), (&json!(1), &json!(10_000)));
            assert_eq!(mine["budget_ms"], json!(900_000));
            assert!(mine["to"].as_str().is_some_and(|to| to.starts_with("+1555000")), "{mine}");
            for _ in 0..3 {
                assert_eq!(hand.claim().await, mine);
            }
            hand.claim_as("rival").await.refused(ErrorCode::AlreadyClaimed);
            hand.post("claim", &json!({})).await.refused(ErrorCode::AlreadyClaimed);
            // The claim holds in the call too.
            hand.status("in_call").await.ok();
            assert_eq!(hand.claim().await, mine);
            hand.claim_as("rival").await.refused(ErrorCode::AlreadyClaimed);

            // Without a name no repetition can be told from a rival.
            let path = format!("/batch/calls/{}/claim", nameless.call_id());
            let bearer = format!("Bearer {}", nameless.capability());
            let headers = [("authorization", bearer.as_str())];
            let bare = || rig.api.send(Method::POST, &path, &headers, None);
            bare().await.expect("an answer").ok();
            bare().await.expect("an answer").refused(ErrorCode::AlreadyClaimed);
            nameless.claim_as("late").await.refused(ErrorCode::AlreadyClaimed);
            assert_eq!(rig.api.batches().await[0].dials, 2);
            hands.leave().await;
        })
        .await;
}

#[tokio::test]
async fn of_many_rivals_one_wins() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let mut hands = Hands::register(rig.livekit.api()).await;
            let (hand, _) = two_hands(rig, &mut hands).await;
            let rivals = (0..16).map(|n| {
                let hand = &hand;
                async move { hand.claim_as(&format!("rival-{n}")).await }
            });
            let answers = futures_util::future::join_all(rivals).await;
            let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.status() == 200);
            assert_eq!(won.len(), 1);
            for answer in lost {
                answer.refused(ErrorCode::AlreadyClaimed);
            }
            assert_eq!(rig.api.batches().await[0].dials, 1);
            hands.leave().await;
        })
        .await;
}
