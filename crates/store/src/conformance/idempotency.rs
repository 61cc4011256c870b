//! `accept_batch` and its keys.

use std::sync::Arc;

use dialtone_contract::{BatchId, BatchState};

use super::fixture::{at, loading, snapshot, tenant};
use crate::{Accepted, Idempotency, Store};

fn key(hash: &str) -> Option<Idempotency> {
    Some(Idempotency { key: "key-1".to_owned(), request_hash: hash.to_owned() })
}

pub(super) async fn a_key_answers_with_its_first_batch(store: Arc<dyn Store>) {
    let store = &*store;
    let (acme, other) = (tenant("acme"), tenant("other"));
    let first = loading(store, &acme, "first", 1).await;
    let second = loading(store, &acme, "second", 1).await;
    let foreign = loading(store, &other, "foreign", 1).await;
    assert_eq!(store.accepted_under(&acme, "key-1").await.expect("read"), None);
    let accepted = store.accept_batch(&acme, &first, at(0), key("a")).await.expect("accepted");
    assert_eq!(accepted, Accepted::Accepted);
    let replayed = Accepted::Replayed { batch: first.clone(), request_hash: "a".to_owned() };
    for (batch, hash) in [(&first, "a"), (&second, "a"), (&second, "b")] {
        let before = snapshot(store, &acme, &second).await;
        let answer = store.accept_batch(&acme, batch, at(1), key(hash)).await.expect("answered");
        assert_eq!(answer, replayed, "the first batch and the first hash, whatever is sent");
        assert_eq!(snapshot(store, &acme, &second).await, before, "the other stays loading");
    }
    let found = store.accepted_under(&acme, "key-1").await.expect("read");
    assert_eq!(found, Some((first, "a".to_owned())));
    assert_eq!(store.accepted_under(&other, "key-1").await.expect("read"), None);
    let accepted = store.accept_batch(&other, &foreign, at(0), key("z")).await.expect("accepted");
    assert_eq!(accepted, Accepted::Accepted, "keys are per tenant");
    let accepted = store.accept_batch(&acme, &second, at(2), None).await.expect("accepted");
    assert_eq!(accepted, Accepted::Accepted, "without a key nothing is replayed");
}

pub(super) async fn one_of_many_racing_accepts_wins(store: Arc<dyn Store>) {
    let tenant = tenant("acme");
    let mut racers = Vec::new();
    for n in 0..8 {
        let batch = loading(&*store, &tenant, &format!("racer{n}"), 2).await;
        let (store, tenant) = (Arc::clone(&store), tenant.clone());
        racers.push(tokio::spawn(async move {
            let answer = store.accept_batch(&tenant, &batch, at(0), key("same")).await;
            (batch, answer.expect("answered"))
        }));
    }
    let mut winners = Vec::new();
    let mut answered: Vec<BatchId> = Vec::new();
    for racer in racers {
        let (own, answer) = racer.await.expect("no racer panics");
        match answer {
            Accepted::Accepted => winners.push(own),
            Accepted::Replayed { batch, .. } => answered.push(batch),
        }
    }
    assert_eq!(winners.len(), 1, "exactly one accept wins");
    assert!(answered.iter().all(|batch| *batch == winners[0]), "the others name the winner");
    let visible = store.batches_in(&[BatchState::Accepted]).await.expect("read");
    assert_eq!(visible.len(), 1);
}

pub(super) async fn a_failed_accept_takes_no_key(store: Arc<dyn Store>) {
    let store = &*store;
    let tenant = tenant("acme");
    let batch = loading(store, &tenant, "plain", 1).await;
    store.accept_batch(&tenant, &batch, at(0), None).await.expect("accepted");
    let before = snapshot(store, &tenant, &batch).await;
    let again = store.accept_batch(&tenant, &batch, at(0), key("a")).await;
    again.expect_err("it is accepted already, and not under this key");
    let nowhere = BatchId::from_token("nowhere");
    store.accept_batch(&tenant, &nowhere, at(0), key("a")).await.expect_err("there is no batch");
    assert_eq!(store.accepted_under(&tenant, "key-1").await.expect("read"), None);
    assert_eq!(snapshot(store, &tenant, &batch).await, before);
}
