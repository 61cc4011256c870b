//! The list of numbers that may not be called.

use dialtone_contract::ErrorCode;
use dialtone_tests::{Setup, live_batch};
use hyper::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn numbers_are_added_listed_and_removed() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let api = &rig.api;
            let add = async |body: Value| api.post("/suppressions", None, &body).await;
            let numbers: Vec<_> = (0..25).map(|n| format!("+15550000{n:03}")).collect();
            let body = json!({ "numbers": numbers, "source": "import of the old list" });
            assert_eq!(add(body.clone()).await.ok(), json!({ "added": 25, "known": 0 }));
            assert_eq!(add(body).await.ok(), json!({ "added": 0, "known": 25 }));
            let body = json!({ "numbers": ["+15550000001", "+15559990001", "+15559990001"] });
            assert_eq!(add(body).await.ok(), json!({ "added": 1, "known": 1 }));
            let mut ids = Vec::new();
            let mut cursor = String::new();
            loop {
                let page = api.get(&format!("/suppressions?limit=7{cursor}")).await.ok();
                for item in page["items"].as_array().expect("items") {
                    assert!(
                        ["import of the old list", "api"]
                            .contains(&item["source"].as_str().expect("a source"))
                    );
                    assert!(item["created_at"].is_string(), "{item}");
                    ids.push(item["id"].as_str().expect("an id").to_owned());
                }
                match page["next_cursor"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
            assert_eq!(ids.len(), 26);
            assert!(ids.is_sorted() && !ids.concat().contains("5550000"));
            let remove = async |what: &str| {
                let path = format!("/suppressions/{what}");
                api.send(Method::DELETE, &path, &[], None).await.expect("an answer")
            };
            assert_eq!(remove("+15550000001").await.status(), 204);
            remove("+15550000001").await.refused(ErrorCode::NotFound);
            assert_eq!(remove("%2B15550000002").await.status(), 204);
            let page = api.get("/suppressions?limit=1000").await.ok();
            let left = page["items"].as_array().expect("items").len();
            assert_eq!(left, 24);
            let id = page["items"][0]["id"].as_str().expect("an id").to_owned();
            assert_eq!(remove(&id).await.status(), 204);
            remove(&id).await.refused(ErrorCode::NotFound);
            remove("15550000003").await.refused(ErrorCode::Invalid);
            assert!(!rig.logs().contains("5550000"), "a number in the logs");
        })
        .await;
}

#[tokio::test]
async fn a_bad_request_suppresses_nothing() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let api = &rig.api;
            let many: Vec<_> = (0..10_001).map(|n| format!("+1555000{n:05}")).collect();
            let cases = [
                (json!({}), "/numbers", "missing"),
                (json!({ "numbers": [] }), "/numbers", "out_of_range"),
                (json!({ "numbers": many }), "/numbers", "out_of_range"),
                (json!({ "numbers": "+15550000001" }), "/numbers", "wrong_type"),
                (json!({ "numbers": ["+15550000001", "5"] }), "/numbers/1", "invalid"),
                (json!({ "numbers": ["+15550000001", 5] }), "/numbers/1", "wrong_type"),
                (json!({ "numbers": ["+15550000001"], "source": "" }), "/source", "invalid"),
                (json!({ "numbers": ["+15550000001"], "source": "a\u{7}" }), "/source", "invalid"),
                (json!({ "numbers": ["+15550000001"], "why": 1 }), "/why", "unknown_field"),
            ];
            for (body, pointer, code) in cases {
                api.post("/suppressions", None, &body).await.invalid(&[(pointer, code)]);
            }
            assert_eq!(api.get("/suppressions").await.ok()["items"], json!([]));
            // A live batch with the number is still taken: what is suppressed is looked up
            // when it would be called.
            let body = json!({ "numbers": ["+15550000001"] });
            api.post("/suppressions", None, &body).await.ok();
            let batch = live_batch(&json!([{ "to": "+15550000001" }]));
            api.ask_live(&batch, None).await.expect::<Value>(202);
        })
        .await;
}
