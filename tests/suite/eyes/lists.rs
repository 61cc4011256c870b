use std::time::Duration;

use dialtone_contract::wire::{BatchStatus, EntryPage, EntryView};
use dialtone_contract::{EntryState, Outcome};
use dialtone_tests::{Api, Setup, TestBatch};
use serde_json::Value;

/// A whole batch on a slow and busy machine.
const BATCH: Duration = Duration::from_secs(60);

/// Every item of a listing, following its links; checks each link against the cursor.
async fn all(api: &Api, path: &str) -> Vec<Value> {
    let mut items = Vec::new();
    let mut next = Some(path.to_owned());
    while let Some(path) = next {
        let answer = api.get(&path).await;
        let page = answer.ok();
        items.extend(page["items"].as_array().expect("items").iter().cloned());
        next = answer.header("link").map(|link| {
            let link = link.strip_prefix('<').and_then(|l| l.strip_suffix(">; rel=\"next\""));
            link.expect("a link to the next page").to_owned()
        });
        let cursor = page["next_cursor"].as_str();
        assert_eq!(next.is_some(), cursor.is_some(), "{path}");
        assert!(
            next.as_ref().is_none_or(|n| n.ends_with(&format!("cursor={}", cursor.expect("one"))))
        );
    }
    items
}

#[tokio::test]
async fn entries_are_listed_by_state_and_outcome() {
    Setup::at(60)
        .run(async |rig| {
            let id = rig.api.trigger(&TestBatch::of(14, 4, 2, 0).seed(9)).await;
            rig.api.completed(&id, BATCH).await;
            let every = rig.api.entries(&id).await;
            let path = format!("/batch/{id}/entries?limit=3");
            for (filter, wanted) in [
                ("&state=completed", 8),
                ("&state=failed", 6),
                ("&outcome=failed", 4),
                ("&outcome=timeout_unclaimed", 2),
                ("&state=failed&outcome=timeout_unclaimed", 2),
                ("&state=completed&outcome=failed", 0),
                ("&state=pending", 0),
                ("", 14),
            ] {
                let found = all(&rig.api, &format!("{path}{filter}")).await;
                let found: Vec<EntryView> =
                    found.into_iter().map(|v| serde_json::from_value(v).expect("one")).collect();
                assert_eq!(found.len(), wanted, "{filter}");
                let fits = |entry: &&EntryView| {
                    let state = filter.contains("state=completed");
                    (!state || entry.state == EntryState::Completed)
                        && (!filter.contains("outcome=failed")
                            || entry.outcome == Some(Outcome::Failed))
                };
                assert!(
                    found.iter().all(|entry| fits(&entry) && every.contains(entry)),
                    "{filter}"
                );
                assert!(found.is_sorted_by_key(|entry| entry.seq), "by place");
            }
            let page: EntryPage =
                rig.api.get(&format!("{path}&outcome=failed&reveal=true")).await.expect(200);
            assert!(page.items[0].to.starts_with("+1555000"));
            for (query, pointer) in
                [("state=gone", "/query/state"), ("outcome=stuck", "/query/outcome")]
            {
                let answer = rig.api.get(&format!("/batch/{id}/entries?{query}")).await;
                answer.invalid(&[(pointer, "invalid")]);
            }
        })
        .await;
}

#[tokio::test]
async fn batches_are_listed_by_state() {
    Setup::at(60)
        .run(async |rig| {
            let mut ended = Vec::new();
            for seed in 0..3 {
                let id = rig.api.trigger(&TestBatch::of(1, 0, 0, 0).seed(seed)).await;
                rig.api.completed(&id, BATCH).await;
                ended.insert(0, id);
            }
            let running = rig.api.trigger(&TestBatch::of(1, 0, 1, 0)).await;
            let ids = async |path: &str| -> Vec<String> {
                let found = all(&rig.api, path).await;
                let one = |v| serde_json::from_value::<BatchStatus>(v).expect("one").batch_id;
                found.into_iter().map(|value| one(value).to_string()).collect()
            };
            let newest_first = [vec![running], ended.clone()].concat();
            assert_eq!(ids("/batch").await, newest_first);
            assert_eq!(ids("/batch?limit=1").await, newest_first);
            assert_eq!(ids("/batch?limit=2&state=completed").await, ended);
            assert_eq!(ids("/batch?state=failed").await, [""; 0]);
            for (query, pointer, code) in [
                ("state=stuck", "/query/state", "invalid"),
                ("limit=0", "/query/limit", "out_of_range"),
                ("limit=1001", "/query/limit", "out_of_range"),
                ("cursor=7", "/query/cursor", "invalid"),
                ("cursor=bat_%27", "/query/cursor", "invalid"),
                ("status=running", "/query/status", "unknown_field"),
            ] {
                rig.api.get(&format!("/batch?{query}")).await.invalid(&[(pointer, code)]);
            }
        })
        .await;
}
