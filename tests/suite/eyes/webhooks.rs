use std::collections::BTreeSet;
use std::time::Duration;

use dialtone_auth::{Secret, unix_now, verify_webhook};
use dialtone_tests::wait::{soon, within};
use dialtone_tests::{Got, Manner, Receiver, Rig, Setup, TestBatch};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

/// A whole batch on a slow and busy machine.
const BATCH: Duration = Duration::from_secs(60);
/// How old a signature may be here, in seconds.
const FRESH_S: u64 = 60;

/// What the command says.
async fn webhook(rig: &Rig, arguments: &[&str]) -> Result<String, String> {
    let mut command = rig.command("webhook");
    let output = soon("dialtone webhook", command.args(arguments).output()).await.expect("run");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(text) } else { Err(error) }
}

/// Adds an endpoint beside the running server; its id and its key.
async fn add(rig: &Rig, url: &str, events: &str) -> (String, Secret) {
    let text = webhook(rig, &["add", "--url", url, "--events", events]).await.expect("added");
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
        line.expect("a line").trim().to_owned()
    };
    (value("webhook "), Secret::new(value("signing key ")))
}

fn check(got: &Got, key: &Secret) {
    let at = verify_webhook(key, &got.signature, &got.raw).expect("signed under this key");
    assert!(unix_now().abs_diff(at) < FRESH_S);
    assert_eq!(got.body["id"], got.key.as_str());
    assert!(!String::from_utf8_lossy(&got.raw).contains("+15550000"), "numbers are hidden");
}

/// Messages that were taken, by their keys, once there are so many.
async fn taken(receiver: &Receiver, n: usize) -> BTreeSet<String> {
    within(BATCH, "the messages", async || {
        let got = receiver.got();
        let taken: BTreeSet<_> =
            got.iter().filter(|got| got.taken).map(|got| got.key.clone()).collect();
        if taken.len() >= n {
            Ok(taken)
        } else {
            Err(format!("{taken:?} of {} requests", got.len()))
        }
    })
    .await
}

#[tokio::test]
async fn every_end_is_told_and_signed() {
    Setup::at(60)
        .run(async |rig| {
            let all = Receiver::start(Manner::Takes);
            let ends = Receiver::start(Manner::Takes);
            let (one, key) = add(rig, all.url(), "batch,entry").await;
            let (other, other_key) = add(rig, ends.url(), "batch").await;
            assert_ne!(key.expose(), other_key.expose());
            let id = rig.api.trigger(&TestBatch::of(5, 2, 1, 0).seed(2)).await;
            rig.api.completed(&id, BATCH).await;
            let mut expected: BTreeSet<String> = rig
                .api
                .entries(&id)
                .await
                .iter()
                .map(|e| format!("{one}.{}", e.entry_id))
                .collect();
            expected.insert(format!("{one}.{id}"));
            assert_eq!(taken(&all, 6).await, expected);
            for got in all.got() {
                check(&got, &key);
                let ended = got.body["type"] == "entry.ended";
                assert_eq!(ended, got.body["entry"]["state"].is_string(), "{}", got.body);
            }
            assert_eq!(taken(&ends, 1).await, BTreeSet::from([format!("{other}.{id}")]));
            let end = ends.got().remove(0);
            check(&end, &other_key);
            assert_eq!(end.body["batch"]["status"], "completed");
            assert_eq!(verify_webhook(&key, &end.signature, &end.raw), None, "keys are its own");
            let said = rig.logs();
            assert!(!said.contains(key.expose()) && !said.contains(other_key.expose()));
        })
        .await;
}

#[tokio::test]
async fn an_endpoint_that_does_not_take_holds_up_nobody_and_is_told_in_the_end() {
    Setup::at(60)
        .run(async |rig| {
            let mut receiver = Receiver::start(Manner::Hangs);
            let trap = Receiver::start(Manner::Takes);
            let good = Receiver::start(Manner::Takes);
            add(rig, good.url(), "batch").await;
            let (bad, _) = add(rig, receiver.url(), "batch,entry").await;
            let id = rig.api.trigger(&TestBatch::of(4, 0, 0, 0).seed(2)).await;
            // Neither the calls nor the others wait for one that hangs.
            rig.api.completed(&id, BATCH).await;
            taken(&good, 1).await;
            assert!(receiver.got().iter().all(|got| !got.taken));
            for manner in [Manner::Fails, Manner::Redirects(trap.url().to_owned())] {
                let before = receiver.got().len();
                receiver.answer(manner);
                within(BATCH, "another try", async || {
                    let n = receiver.got().len();
                    if n > before { Ok(()) } else { Err(n.to_string()) }
                })
                .await;
            }
            assert_eq!(trap.got().len(), 0, "a redirect was followed");
            // Down, and the server too; then both are back.
            receiver.go_away();
            rig.dialtone.kill().await;
            soon("the restart", rig.dialtone.restart()).await;
            receiver.answer(Manner::Takes);
            receiver.come_back();
            let told = taken(&receiver, 5).await;
            assert!(told.contains(&format!("{bad}.{id}")), "{told:?}");
            assert!(rig.dialtone.metric("webhook_deliveries_total{result=\"sent\"}").await >= 1.0);
        })
        .await;
}

#[tokio::test]
async fn webhooks_are_added_listed_and_removed() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let url = "https://example.com/hook";
            for (bad, why) in [
                ("ftp://example.com", "http:// or https://"),
                ("http://user:hunter2@example.com", "credentials"),
                ("http://169.254.169.254/latest", "metadata"),
            ] {
                let said = webhook(rig, &["add", "--url", bad]).await.expect_err(bad);
                assert!(said.contains(why) && !said.contains("hunter2"), "{said}");
            }
            let (id, _) = add(rig, url, "batch").await;
            let list = webhook(rig, &["list"]).await.expect("listed");
            assert!(list.contains(&id) && list.contains(url), "{list}");
            assert!(webhook(rig, &["remove", "whk_0"]).await.is_err());
            webhook(rig, &["remove", &id]).await.expect("removed");
            assert_eq!(webhook(rig, &["list", "--json"]).await.expect("listed").trim(), "[]");
        })
        .await;
}

/// How often each message has been tried, by its endpoint, as the store says.
fn tries(rig: &Rig) -> Vec<(String, u32)> {
    let path = rig.data_dir().join("dialtone.db");
    let store = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("open");
    let sql = "SELECT item, tries FROM outbox WHERE lane = 'webhook'";
    let mut rows = store.prepare(sql).expect("the table");
    let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, u32>(1)?));
    let rows: Vec<_> =
        rows.query_map([], row).expect("rows").map(|row| row.expect("one")).collect();
    let message = |(item, tries): (String, u32)| {
        let item: Value = serde_json::from_str(&item).expect("an item");
        let about = match (item["batch"].as_str().expect("a batch"), item["seq"].as_u64()) {
            (batch, None) => batch.to_owned(),
            (batch, Some(seq)) => format!("{}_{seq}", batch.replace("bat_", "ent_")),
        };
        (format!("{}.{about}", item["webhook"].as_str().expect("a webhook")), tries)
    };
    rows.into_iter().map(message).collect()
}

#[tokio::test]
async fn what_waits_for_an_endpoint_that_rests_is_not_tried() {
    Setup::at(60)
        .run(async |rig| {
            let receiver = Receiver::start(Manner::Fails);
            add(rig, receiver.url(), "batch,entry").await;
            let id = rig.api.trigger(&TestBatch::of(8, 0, 0, 0).seed(2)).await;
            rig.api.completed(&id, BATCH).await;
            // Four failures let it rest; behind each rest goes one, while all are handed out.
            within(BATCH, "two rests", async || {
                let n = receiver.got().len();
                if n >= 6 { Ok(()) } else { Err(format!("{n} requests")) }
            })
            .await;
            rig.dialtone.kill().await;
            let (got, told) = (receiver.got(), tries(rig));
            assert_eq!(told.len(), 9, "{told:?}");
            for (message, tries) in &told {
                let sent = got.iter().filter(|got| got.key == *message).count();
                let sent = u32::try_from(sent).expect("few");
                // One that was handed out when the server died may have been sent.
                assert!((sent..=sent + 1).contains(tries), "{message}: {sent} sent, {told:?}");
            }
            soon("the restart", rig.dialtone.restart()).await;
        })
        .await;
}
