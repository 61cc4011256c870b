//! What can be read: status with long poll, entries page by page, the report; and how
//! the API says that there is nothing.

use std::time::Duration;

use dialtone_contract::ErrorCode;
use dialtone_contract::wire::EntryPage;
use dialtone_tests::{Hands, Setup, TestBatch};
use hyper::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

#[tokio::test]
async fn what_is_not_there_is_a_problem_of_its_own() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let api = &rig.api;
            let absent = [
                "/batch/batch-status/bat_0",
                "/batch/batch-status/bat_0?wait=10s",
                "/batch/batch-status/%00",
                "/batch/batch-status/..%2f..%2fetc",
                "/batch/bat_0/entries",
                "/batch/bat_0/report",
                "/",
                "/batch/",
                "/nothing/here",
            ];
            for path in absent {
                api.get(path).await.refused(ErrorCode::NotFound);
            }
            let wrong = [
                (Method::GET, "/batch/trigger-test-batch"),
                // The name of a batch, to those who know no better.
                (Method::GET, "/batch/batch-status"),
                (Method::POST, "/batch"),
                (Method::DELETE, "/batch/batch-status/bat_0"),
                (Method::PUT, "/batch/entry-completed"),
                (Method::GET, "/batch/calls/call_0_1_1/claim"),
            ];
            for (method, path) in wrong {
                let answer = api.send(method, path, &[], None).await.expect("an answer");
                answer.refused(ErrorCode::MethodNotAllowed);
                assert!(answer.header("allow").is_some(), "{path} does not say what it takes");
            }
        })
        .await;
}

#[tokio::test]
async fn a_status_has_a_tag_and_waits_for_news() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let api = &rig.api;
            // Nobody takes the calls: the batch stands still once its 5 are dispatched.
            let batch = TestBatch::of(20, 0, 0, 0).with("/options/max_concurrent", 5);
            let id = api.trigger(&batch).await;
            let ceiling = Duration::from_secs(10);
            let dispatched = |status: &dialtone_contract::wire::BatchStatus| {
                status.by_state.get(&dialtone_contract::EntryState::Dispatched) == Some(&5)
            };
            let status = api.followed(&id, ceiling, "5 dispatches", dispatched).await;
            let path = format!("/batch/batch-status/{id}");
            let answer = api.get(&path).await;
            let tag = answer.header("etag").expect("a tag").to_owned();
            assert_eq!(tag, format!("\"{}\"", status.event_seq));

            let known = [("if-none-match", tag.as_str())];
            let same = api.get_with(&path, &known).await;
            assert_eq!((same.status(), same.text().as_str()), (304, ""));
            assert_eq!(same.header("etag"), Some(tag.as_str()));
            // Waits for the whole time when nothing happens, and says so.
            let asked = Instant::now();
            let same = api.get_with(&format!("{path}?wait=700ms"), &known).await;
            assert_eq!(same.status(), 304);
            assert!(asked.elapsed() >= Duration::from_millis(700), "{:?}", asked.elapsed());
            // What is old news is answered at once.
            let asked = Instant::now();
            let old = [("if-none-match", "\"1\"")];
            api.get_with(&format!("{path}?wait=20s"), &old).await.ok();
            assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        })
        .await;
}

#[tokio::test]
async fn a_wait_ends_with_the_change_that_it_waits_for() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let mut hands = Hands::register(rig.livekit.api()).await;
            let id = rig.api.trigger(&TestBatch::of(1, 0, 0, 0)).await;
            let hand = hands.next().await;
            hand.claim().await;
            let tag = rig.api.get(&format!("/batch/batch-status/{id}")).await;
            let tag = tag.header("etag").expect("a tag").to_owned();
            let known = [("if-none-match", tag.as_str())];
            let path = format!("/batch/batch-status/{id}?wait=20s");
            let asked = Instant::now();
            let change = hand.status("in_call");
            let (answer, _) = tokio::join!(rig.api.get_with(&path, &known), change);
            assert_eq!(answer.ok()["by_state"], json!({ "in_call": 1 }), "{}", answer.text());
            assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
            // An ended batch has no more news: no wait.
            hand.report("completed").await.ok();
            rig.api.completed(&id, Duration::from_secs(10)).await;
            let asked = Instant::now();
            assert_eq!(rig.api.get(&path).await.ok()["status"], "completed");
            assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
            hands.leave().await;
        })
        .await;
}

#[tokio::test]
async fn a_bad_query_is_named() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let id = rig.api.trigger(&TestBatch::of(3, 0, 0, 0)).await;
            let bad = [
                ("batch-status/@?wait=21s", "/query/wait", "invalid"),
                ("batch-status/@?wait=soon", "/query/wait", "invalid"),
                ("batch-status/@?wait=-1s", "/query/wait", "invalid"),
                ("batch-status/@?until=5", "/query/until", "unknown_field"),
                ("@/entries?limit=0", "/query/limit", "out_of_range"),
                ("@/entries?limit=1001", "/query/limit", "out_of_range"),
                ("@/entries?limit=-1", "/query/limit", "out_of_range"),
                ("@/entries?limit=many", "/query/limit", "wrong_type"),
                ("@/entries?cursor=x", "/query/cursor", "invalid"),
                ("@/entries?cursor=-1", "/query/cursor", "invalid"),
                ("@/entries?reveal=maybe", "/query/reveal", "invalid"),
                ("@/entries?show=all", "/query/show", "unknown_field"),
            ];
            for (path, pointer, code) in bad {
                let path = format!("/batch/{}", path.replace('@', &id));
                rig.api.get(&path).await.invalid(&[(pointer, code)]);
            }
        })
        .await;
}

#[tokio::test]
async fn entries_come_page_by_page_with_numbers_hidden() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let batch = TestBatch::of(25, 5, 5, 5).with("/options/max_concurrent", 1);
            let id = rig.api.trigger(&batch).await;
            let mut seen = Vec::new();
            let mut path = format!("/batch/{id}/entries?limit=10");
            let mut pages = 0;
            loop {
                let page: EntryPage = rig.api.get(&path).await.expect(200);
                pages += 1;
                assert!(page.items.len() <= 10);
                seen.extend(page.items);
                let Some(next) = page.next_cursor else { break };
                path = format!("/batch/{id}/entries?limit=10&cursor={next}");
            }
            assert_eq!(pages, 3);
            let seqs: Vec<u32> = seen.iter().map(|entry| entry.seq).collect();
            assert_eq!(seqs, (1..=25).collect::<Vec<_>>());
            let digits = |text: &str| text.bytes().filter(u8::is_ascii_digit).count();
            assert!(seen.iter().all(|entry| digits(&entry.to) < 7), "{}", seen[0].to);
            assert!(seen.iter().all(|entry| entry.planned_outcome.is_some()));

            let page = rig.api.get(&format!("/batch/{id}/entries?reveal=true&limit=2")).await.ok();
            assert_eq!(page["items"][0]["to"], "+15550000001");
            assert_eq!(page["items"][1]["to"], "+15550000002");
            let hidden = rig.api.get(&format!("/batch/{id}/entries?reveal=false")).await;
            assert!(!hidden.text().contains("+1555000"), "{}", hidden.text());
            // A page that begins behind the last entry is empty, not an error.
            let page: Value = rig.api.get(&format!("/batch/{id}/entries?cursor=25")).await.ok();
            assert_eq!((&page["items"], &page["next_cursor"]), (&json!([]), &Value::Null));
        })
        .await;
}

#[tokio::test]
async fn the_report_is_there_when_the_batch_has_ended() {
    Setup::at(60)
        .run(async |rig| {
            let batch = TestBatch::of(6, 2, 0, 0).talk_s(40.0).seed(5);
            let id = rig.api.trigger(&batch).await;
            let path = format!("/batch/{id}/report");
            rig.api.get(&path).await.refused(ErrorCode::ReportNotReady);
            assert_eq!(rig.api.status(&id).await.report_url, None);
            let status = rig.api.completed(&id, Duration::from_secs(30)).await;
            assert_eq!(status.report_url.as_deref(), Some(path.as_str()));
            let report = rig.api.get(&path).await.ok();
            assert_eq!(report["batch_id"], Value::from(id.as_str()));
            assert_eq!(report["by_outcome"], json!({ "completed": 4, "failed": 2 }));
            assert_eq!((&report["total_calls"], &report["seed"]), (&json!(6), &json!(5)));
            assert!(report.as_object().expect("an object").contains_key("analysis"));
            assert!(report["analysis"].is_null());
            // Written once: the same bytes however often it is read.
            assert_eq!(rig.api.get(&path).await.text(), rig.api.get(&path).await.text());
        })
        .await;
}
