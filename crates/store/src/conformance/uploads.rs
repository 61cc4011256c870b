//! What intake keeps beside batches: rejected rows, keys that run out, suppressed numbers.

use std::sync::Arc;

use dialtone_contract::FieldError;

use super::fixture::{accepted, at, loading, number, snapshot, tenant};
use crate::{Idempotency, Store};

fn reject(row: u32) -> FieldError {
    FieldError { row: Some(row), ..FieldError::new(format!("/entries/{row}"), "bad", "a word") }
}

pub(super) async fn rejects_are_kept_in_order_and_counted(store: Arc<dyn Store>) {
    let store = &*store;
    let (acme, other) = (tenant("acme"), tenant("other"));
    let batch = loading(store, &acme, "mixed", 2).await;
    let page = async |tenant, after, limit| {
        let page = store.rejects(tenant, &batch, after, limit).await.expect("read");
        page.into_iter().filter_map(|reject| reject.row).collect::<Vec<_>>()
    };
    store.add_rejects(&acme, &batch, &[reject(9), reject(3)]).await.expect("added");
    store.add_rejects(&acme, &batch, &[reject(5), reject(3)]).await.expect("added");
    store.add_rejects(&other, &batch, &[reject(1)]).await.expect("refused quietly");
    assert_eq!(page(&acme, 0, 9).await, [3, 5, 9]);
    assert_eq!(page(&acme, 3, 1).await, [5]);
    assert_eq!(page(&acme, 9, 9).await, [0; 0]);
    assert_eq!(page(&other, 0, 9).await, [0; 0], "another tenant's");
    assert_eq!(store.rejects(&acme, &batch, 3, 1).await.expect("read"), [reject(5)]);
    let row = store.batch(&acme, &batch).await.expect("read").expect("there");
    assert_eq!(row.rejected, 3, "counted once each");
    store.accept_batch(&acme, &batch, at(0), None).await.expect("accepted");
    let before = snapshot(store, &acme, &batch).await;
    store.add_rejects(&acme, &batch, &[reject(7)]).await.expect("refused quietly");
    assert_eq!(page(&acme, 0, 9).await, [3, 5, 9], "not after the load");
    assert_eq!(snapshot(store, &acme, &batch).await, before);
}

pub(super) async fn rejects_go_with_a_discarded_batch(store: Arc<dyn Store>) {
    let store = &*store;
    let acme = tenant("acme");
    let batch = loading(store, &acme, "gone", 2).await;
    store.add_rejects(&acme, &batch, &[reject(3)]).await.expect("added");
    assert!(store.discard_batch(&acme, &batch).await.expect("discarded"));
    let again = loading(store, &acme, "gone", 2).await;
    assert_eq!(store.rejects(&acme, &again, 0, 9).await.expect("read"), []);
}

pub(super) async fn old_keys_are_forgotten(store: Arc<dyn Store>) {
    let store = &*store;
    let (acme, other) = (tenant("acme"), tenant("other"));
    for (tenant, token, taken) in [(&acme, "a", 10), (&acme, "b", 20), (&other, "c", 10)] {
        let batch = loading(store, tenant, token, 1).await;
        let key = Idempotency { key: token.to_owned(), request_hash: "h".to_owned() };
        store.accept_batch(tenant, &batch, at(taken), Some(key)).await.expect("accepted");
    }
    assert_eq!(store.forget_keys(at(10)).await.expect("written"), 0);
    assert_eq!(store.forget_keys(at(11)).await.expect("written"), 2);
    assert_eq!(store.accepted_under(&acme, "a").await.expect("read"), None);
    assert!(store.accepted_under(&acme, "b").await.expect("read").is_some());
    assert_eq!(store.accepted_under(&other, "c").await.expect("read"), None);
}

pub(super) async fn suppressed_numbers_are_listed_in_pages(store: Arc<dyn Store>) {
    let store = &*store;
    let (acme, other) = (tenant("acme"), tenant("other"));
    // The list has nothing to do with batches.
    accepted(store, &acme, "some", 1).await;
    let mut keys: Vec<_> = (1..=5).map(number).collect();
    store.suppress(&acme, &keys[..3], "first", at(1)).await.expect("written");
    store.suppress(&acme, &keys, "second", at(2)).await.expect("written");
    store.suppress(&other, &[number(9)], "theirs", at(3)).await.expect("written");
    keys.sort_unstable();
    let mut listed = Vec::new();
    while let page = store.suppressions(&acme, listed.last().copied(), 2).await.expect("read")
        && !page.is_empty()
    {
        assert!(page.len() <= 2);
        for row in page {
            let first = (1..=3).map(number).any(|key| key == row.number);
            let expected = if first { ("first", at(1)) } else { ("second", at(2)) };
            assert_eq!((row.source.as_str(), row.created_at), expected, "the first word stays");
            listed.push(row.number);
        }
    }
    assert_eq!(listed, keys);
}
