//! Rows: which are taken, which are not, and how that is told.

use dialtone_contract::{ErrorCode, FieldError, limits};
use dialtone_tests::{Api, Setup, live_batch};
use serde_json::{Value, json};

fn codes(errors: &[FieldError]) -> Vec<(&str, Option<u32>, &str)> {
    errors.iter().map(|e| (e.pointer.as_str(), e.row, e.code.as_str())).collect()
}

/// Pointer, row and code of what is refused.
type Refusal = (&'static str, Option<u32>, &'static str);

/// Entries of which some are bad, and what is said of those.
fn mixed() -> (Value, Vec<Refusal>) {
    let entries = json!([
        { "to": "+15550000001" },
        { "to": "15550000002" },
        { "to": "+15550000003", "timezone": "Mars/Olympus" },
        { "to": "+15550000001", "variables": { "name": "again" } },
        { "to": "+15550000004", "variables": { "name": "a\u{0}b" } },
        { "to": 5 },
        { "to": "+15550000005", "timezone": "europe/berlin", "variables": { "name": "Ada" } },
        { "to": "+15550000006", "surprise": 1 },
        { "variables": {} },
        "+15550000007",
    ]);
    let refused = vec![
        ("/entries/1/to", Some(2), "invalid"),
        ("/entries/2/timezone", Some(3), "unknown"),
        ("/entries/3/to", Some(4), "duplicate"),
        ("/entries/4/variables", Some(5), "control_character"),
        ("/entries/5/to", Some(6), "wrong_type"),
        ("/entries/7/surprise", Some(8), "unknown_field"),
        ("/entries/8/to", Some(9), "missing"),
        ("/entries/9", Some(10), "wrong_type"),
    ];
    (entries, refused)
}

async fn all_rejects(api: &Api, batch: &str, limit: u32) -> Vec<FieldError> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = api.get(&format!("/batch/{batch}/rejects?limit={limit}{cursor}")).await.ok();
        let items: Vec<FieldError> = serde_json::from_value(page["items"].clone()).expect("errors");
        all.extend(items);
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

#[tokio::test]
async fn one_bad_row_refuses_the_upload_unless_rejects_are_asked_for() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let api = &rig.api;
            let (entries, refused) = mixed();
            let mut body = live_batch(&entries);
            let problem = api.ask_live(&body, None).await.refused(ErrorCode::Invalid);
            assert_eq!(codes(&problem.errors), refused);
            assert_eq!(problem.rejected, Some(8));
            assert_eq!(api.batches().await, []);
            body["rejects"] = json!("report");
            let taken: Value = api.ask_live(&body, None).await.expect(202);
            assert_eq!((&taken["accepted"], &taken["rejected"]), (&json!(2), &json!(8)));
            let errors: Vec<FieldError> =
                serde_json::from_value(taken["errors"].clone()).expect("errors");
            assert_eq!(codes(&errors), refused);
            let batch = taken["batch_id"].as_str().expect("an id");
            for limit in [1, 3, 8, 100] {
                assert_eq!(codes(&all_rejects(api, batch, limit).await), refused, "{limit}");
            }
            let status = api.status(batch).await;
            assert_eq!((status.total_calls, status.mode.as_str()), (2, "live"));
            let entries = api.entries(batch).await;
            assert_eq!(entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2]);
            // No number is told, neither here nor in the logs.
            let said = taken.to_string() + &rig.logs();
            assert!(!said.contains("5550000"), "{said}");
            for query in ["limit=0", "limit=1001", "cursor=x", "surprise=1"] {
                let answer = api.get(&format!("/batch/{batch}/rejects?{query}")).await;
                answer.refused(ErrorCode::Invalid);
            }
            api.get("/batch/bat_nowhere/rejects").await.refused(ErrorCode::NotFound);
        })
        .await;
}

#[tokio::test]
async fn an_upload_without_a_good_row_is_refused_either_way() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let api = &rig.api;
            for rejects in ["refuse", "report"] {
                let mut body = live_batch(&json!([{ "to": "1" }, { "to": "2" }]));
                body["rejects"] = json!(rejects);
                let problem = api.ask_live(&body, None).await.refused(ErrorCode::Invalid);
                assert_eq!((problem.errors.len(), problem.rejected), (2, Some(2)));
                let mut body = live_batch(&json!([]));
                body["rejects"] = json!(rejects);
                api.ask_live(&body, None).await.invalid(&[("/entries", "out_of_range")]);
                let more = format!("&rejects={rejects}");
                let answer = api.ask_table(&more, "to\n").await;
                answer.invalid(&[("/entries", "out_of_range")]);
            }
            // Of many bad rows the first are listed, and all are counted.
            let bad: Vec<_> = (0..5_000).map(|n| json!({ "to": n.to_string() })).collect();
            let body = live_batch(&json!(bad));
            let problem = api.ask_live(&body, None).await.refused(ErrorCode::Invalid);
            assert_eq!(problem.errors.len(), limits::REJECTS_SHOWN);
            assert_eq!(problem.rejected, Some(5_000));
            assert_eq!(api.batches().await, []);
        })
        .await;
}

#[tokio::test]
async fn a_table_is_taken_like_a_list() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let api = &rig.api;
            let table = "\u{feff}Phone Number;name;TZ\r\n+15550000001;\"Ada; \"\"L\"\"\";UTC\r\n\
                ;;\r\n+15550000002;Grace;\r\n";
            let taken: Value = api.ask_table("", table).await.expect(202);
            assert_eq!((&taken["accepted"], &taken["rejected"]), (&json!(2), &json!(0)));
            let table = "Handy,phone\n+15550000001,office\n,x\n+15550000001,y\n";
            let answer = api.ask_table("&map=handy:to&rejects=report", table).await;
            let taken: Value = answer.expect(202);
            let errors: Vec<FieldError> =
                serde_json::from_value(taken["errors"].clone()).expect("errors");
            let expected =
                [("/entries/1/to", Some(2), "invalid"), ("/entries/2/to", Some(3), "duplicate")];
            assert_eq!(codes(&errors), expected);
            let options =
                "&options=%7B%22duplicates%22%3A%22allow%22%2C%22max_concurrent%22%3A2%7D";
            let answer = api.ask_table(&format!("&map=handy:to,phone:-{options}"), table).await;
            assert_eq!(answer.refused(ErrorCode::Invalid).rejected, Some(1), "the empty number");
            let twice = table.replace(",x\n", "");
            let answer = api.ask_table(&format!("&map=handy:to,phone:-{options}"), twice).await;
            assert_eq!(answer.expect::<Value>(202)["accepted"], 2);
        })
        .await;
}

#[tokio::test]
async fn a_window_by_recipient_needs_to_know_where() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let mut body = live_batch(&json!([{ "to": "+15550000001" }]));
            body["options"] =
                json!({ "window": { "tz": "recipient", "start": "00:00", "end": "24:00" } });
            let problem = rig.api.ask_live(&body, None).await.refused(ErrorCode::Invalid);
            assert_eq!(codes(&problem.errors), [("/entries/0/timezone", Some(1), "missing")]);
            body["entries"][0]["timezone"] = json!("Asia/Tokyo");
            rig.api.ask_live(&body, None).await.expect::<Value>(202);
        })
        .await;
}
