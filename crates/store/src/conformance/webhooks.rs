//! The endpoints of a tenant, and what they are told.

use std::sync::Arc;

use dialtone_contract::BatchState;

use super::fixture::{accepted, at, far, move_batch, tenant};
use crate::{BatchTransition, Change, Lane, OutboxItem, Store, Webhook, WebhookEvents};

fn webhook(id: &str, batch: bool) -> Webhook {
    let (id, url) = (id.to_owned(), format!("http://127.0.0.1/{id}"));
    Webhook { id, url, events: WebhookEvents { batch, entry: !batch } }
}

pub(super) async fn webhooks_are_the_tenants_own(store: Arc<dyn Store>) {
    let store = &*store;
    let (demo, other) = (tenant("demo"), tenant("other"));
    assert!(!store.add_webhook(&demo, &webhook("whk_1", true)).await.expect("answered"));
    store.seed_demo().await.expect("seeded");
    for id in ["whk_2", "whk_1"] {
        assert!(store.add_webhook(&demo, &webhook(id, id == "whk_1")).await.expect("added"));
    }
    assert!(!store.add_webhook(&other, &webhook("whk_3", true)).await.expect("answered"));
    let own = [webhook("whk_1", true), webhook("whk_2", false)];
    assert_eq!(store.webhooks(&demo).await.expect("read"), own);
    assert_eq!(store.webhooks(&other).await.expect("read"), []);
    assert!(!store.remove_webhook(&other, "whk_1").await.expect("answered"), "not theirs");
    assert!(store.remove_webhook(&demo, "whk_1").await.expect("removed"));
    assert!(!store.remove_webhook(&demo, "whk_1").await.expect("answered"));
    assert_eq!(store.webhooks(&demo).await.expect("read"), own[1..]);
}

pub(super) async fn a_batchs_items_are_in_the_commit_of_its_change(store: Arc<dyn Store>) {
    let store = &*store;
    let tenant = tenant("acme");
    let batch = accepted(store, &tenant, "tell", 1).await;
    let item = OutboxItem::Webhook {
        webhook: "whk_1".to_owned(),
        url: "http://127.0.0.1/".to_owned(),
        batch: batch.clone(),
        seq: None,
        at: at(2),
    };
    let go = move_batch(&tenant, &batch, BatchState::Accepted, BatchState::Failed);
    let go = BatchTransition { outbox: vec![item.clone()], ..go };
    let stale = BatchTransition { from: BatchState::Running, ..go.clone() };
    assert!(!store.apply(&[Change::Batch(stale)]).await.expect("answered")[0].is_applied());
    let due = async |lane| store.due_outbox(lane, far(), at(0), 9).await.expect("read");
    assert_eq!(due(Lane::Webhook).await, [], "stale tells nobody");
    assert!(store.apply(&[Change::Batch(go)]).await.expect("answered")[0].is_applied());
    assert_eq!(due(Lane::LiveKit).await, [], "a lane of its own");
    let told = due(Lane::Webhook).await;
    assert_eq!(told.iter().map(|row| &row.item).collect::<Vec<_>>(), [&item]);
    assert_eq!(told[0].tenant, tenant);
}
