//! Another tenant's ids name nothing.

use std::sync::Arc;

use dialtone_contract::{BatchState, EntryEvent};

use super::fixture::{
    CLAIMABLE, at, claim_due, far, leased, loading, move_batch, new_entry, one_in_each_state,
    snapshot, tenant, transition,
};
use crate::{Applied, BatchFilter, Change, ClaimDue, EntryFilter, Idempotency, Store, Transition};

pub(super) async fn another_tenant_sees_nothing(store: Arc<dyn Store>) {
    let store = &*store;
    let (acme, other) = (tenant("acme"), tenant("other"));
    let (batch, entries) = one_in_each_state(store, &acme, "own").await;
    let key = Idempotency { key: "k".to_owned(), request_hash: "h".to_owned() };
    let keyed = loading(store, &acme, "keyed", 1).await;
    store.accept_batch(&acme, &keyed, at(0), Some(key)).await.expect("accepted");
    assert!(store.put_report(&acme, &batch, "mine", at(9)).await.expect("written"));
    assert_eq!(store.batch(&other, &batch).await.expect("read"), None);
    assert_eq!(store.batches(&other, &BatchFilter::default(), 9).await.expect("read"), []);
    assert_eq!(store.entries(&other, &batch, 0, 9).await.expect("read"), []);
    let found = store.find_entries(&other, &batch, EntryFilter::default(), 0, 9, 9).await;
    assert_eq!(found.expect("read"), []);
    assert_eq!(store.events(&other, &batch, 0, 9).await.expect("read"), []);
    assert_eq!(store.reports(&other, &batch).await.expect("read"), [""; 0]);
    assert_eq!(store.accepted_under(&other, "k").await.expect("read"), None);
    for entry in &entries {
        let call = store.call(&other, &entry.key, entry.attempt).await.expect("read");
        assert_eq!(call, None);
        let events = store.entry_events(&other, &entry.key, 0, u64::MAX).await.expect("read");
        assert_eq!(events, []);
    }
    for row in store.batches_in(CLAIMABLE).await.expect("read") {
        assert_eq!(row.tenant, acme, "work for all tenants still says whose it is");
    }
    for (entry, _) in store.due_deadlines(far(), 99).await.expect("read") {
        assert_eq!(entry.tenant, acme);
    }
}

pub(super) async fn another_tenant_changes_nothing(store: Arc<dyn Store>) {
    let store = &*store;
    let (acme, other) = (tenant("acme"), tenant("other"));
    let (batch, entries) = one_in_each_state(store, &acme, "own").await;
    let dark = loading(store, &acme, "dark", 1).await;
    let before = (snapshot(store, &acme, &batch).await, snapshot(store, &acme, &dark).await);
    store.add_entries(&other, &dark, &[new_entry(2, at(0))]).await.expect("refused quietly");
    store.accept_batch(&other, &dark, at(0), None).await.expect_err("not their batch");
    let claim = ClaimDue { now: far(), ..claim_due(&other, &batch, 9) };
    assert_eq!(leased(store, claim).await, []);
    assert!(!store.put_report(&other, &batch, "theirs", at(9)).await.expect("answered"));
    let pause = move_batch(&other, &batch, BatchState::Accepted, BatchState::Paused);
    let mut changes = vec![Change::Batch(pause)];
    changes.extend(entries.iter().filter(|entry| entry.attempt > 0).map(|entry| {
        let change = transition(entry, EntryEvent::Heartbeat, entry.state);
        Change::Entry(Transition { tenant: other.clone(), ..change })
    }));
    let answers = store.apply(&changes).await.expect("answered");
    assert_eq!(answers, vec![Applied::Stale; changes.len()]);
    let after = (snapshot(store, &acme, &batch).await, snapshot(store, &acme, &dark).await);
    assert_eq!(before, after);
}
