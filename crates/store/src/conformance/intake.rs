//! Creating batches and adding entries.

use std::sync::Arc;

use dialtone_auth::Phone;
use dialtone_contract::{BatchId, BatchState, EntryState};

use super::fixture::{
    CLAIMABLE, at, claim_due, far, leased, loading, new_batch, new_entry, row, snapshot, tenant,
};
use crate::{ClaimDue, Counters, NewEntry, Store};

pub(super) async fn a_loading_batch_is_invisible(store: Arc<dyn Store>) {
    let store = &*store;
    let tenant = tenant("acme");
    let batch = loading(store, &tenant, "dark", 5).await;
    let claim = ClaimDue { now: far(), ..claim_due(&tenant, &batch, 9) };
    assert_eq!(leased(store, claim).await, []);
    assert_eq!(store.next_due(at(-100), CLAIMABLE).await.expect("read"), None);
    assert_eq!(store.batches_in(CLAIMABLE).await.expect("read"), []);
    assert_eq!(store.due_deadlines(far(), 9).await.expect("read"), []);
    let dark = snapshot(store, &tenant, &batch).await;
    dark.check();
    let figures = dark.row.expect("there");
    assert_eq!((figures.state, figures.event_seq), (BatchState::Loading, 0));
    assert_eq!(figures.counters, Counters::from([((EntryState::Pending, None), 5)]));
    assert_eq!(*figures.spec, super::fixture::spec(5), "the spec comes back as it went");
    store.accept_batch(&tenant, &batch, at(0), None).await.expect("accepted");
    assert_eq!(leased(store, claim_due(&tenant, &batch, 9)).await.len(), 5);
}

pub(super) async fn an_entry_that_is_there_stays(store: Arc<dyn Store>) {
    let store = &*store;
    let tenant = tenant("acme");
    let batch = loading(store, &tenant, "same", 3).await;
    let before = row(store, &tenant, &batch, 2).await;
    let to = Phone::parse("+15550007777").expect("a number");
    let chunk = [
        NewEntry { to: to.clone(), ..new_entry(2, at(99)) },
        NewEntry { to: to.clone(), ..new_entry(4, at(0)) },
        NewEntry { to, ..new_entry(3, at(99)) },
    ];
    store.add_entries(&tenant, &batch, &chunk).await.expect("added");
    store.add_entries(&tenant, &batch, &chunk).await.expect("added again");
    store.add_entries(&tenant, &batch, &[]).await.expect("nothing added");
    assert_eq!(row(store, &tenant, &batch, 2).await, before);
    let end = snapshot(store, &tenant, &batch).await;
    end.check();
    assert_eq!(end.entries.len(), 4);
}

pub(super) async fn entries_are_added_only_while_loading(store: Arc<dyn Store>) {
    let store = &*store;
    let tenant = tenant("acme");
    let batch = loading(store, &tenant, "late", 2).await;
    store.accept_batch(&tenant, &batch, at(0), None).await.expect("accepted");
    let before = snapshot(store, &tenant, &batch).await;
    store.add_entries(&tenant, &batch, &[new_entry(3, at(0))]).await.expect("refused quietly");
    assert_eq!(snapshot(store, &tenant, &batch).await, before);
    let nowhere = BatchId::from_token("nowhere");
    store.add_entries(&tenant, &nowhere, &[new_entry(1, at(0))]).await.expect("refused quietly");
    assert_eq!(store.batch(&tenant, &nowhere).await.expect("read"), None);
    assert_eq!(store.entries(&tenant, &nowhere, 0, 9).await.expect("read"), []);
}

pub(super) async fn only_a_loading_batch_is_discarded(store: Arc<dyn Store>) {
    let store = &*store;
    let (acme, other) = (tenant("acme"), tenant("other"));
    let batch = loading(store, &acme, "gone", 3).await;
    let stays = loading(store, &acme, "stays", 2).await;
    assert!(!store.discard_batch(&other, &batch).await.expect("refused"), "another tenant's batch");
    assert!(store.discard_batch(&acme, &batch).await.expect("discarded"));
    assert!(!store.discard_batch(&acme, &batch).await.expect("gone"));
    assert_eq!(store.batch(&acme, &batch).await.expect("read"), None);
    assert_eq!(store.entries(&acme, &batch, 0, 9).await.expect("read"), []);
    store.accept_batch(&acme, &stays, at(0), None).await.expect("accepted");
    let before = snapshot(store, &acme, &stays).await;
    assert!(!store.discard_batch(&acme, &stays).await.expect("refused"), "an accepted batch");
    assert_eq!(snapshot(store, &acme, &stays).await, before);
    let again = loading(store, &acme, "gone", 3).await;
    snapshot(store, &acme, &again).await.check();
}

pub(super) async fn a_batch_is_created_once(store: Arc<dyn Store>) {
    let store = &*store;
    let acme = tenant("acme");
    let batch = loading(store, &acme, "once", 2).await;
    store.accept_batch(&acme, &batch, at(0), None).await.expect("accepted");
    let before = snapshot(store, &acme, &batch).await;
    store.create_batch(new_batch(&acme, &batch, 77)).await.expect("already there");
    store.create_batch(new_batch(&tenant("other"), &batch, 77)).await.expect("already there");
    assert_eq!(snapshot(store, &acme, &batch).await, before);
    assert_eq!(store.batch(&tenant("other"), &batch).await.expect("read"), None);
}
