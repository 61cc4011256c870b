//! What users order: cancels, limits, and what they reach.

use std::sync::Arc;

use dialtone_contract::{BatchState, CancelMode, EntryEvent, EntryState};

use super::fixture::{
    accepted, apply, at, drive, fold, move_batch, must_apply, one_in_each_state, snapshot, tenant,
    transition,
};
use crate::{BatchLimits, BatchTransition, Change, Store, Transition};

pub(super) async fn a_change_may_need_a_state_of_the_batch(store: Arc<dyn Store>) {
    let store = &*store;
    let acme = tenant("acme");
    let batch = accepted(store, &acme, "guarded", 1).await;
    let call = drive(store, &acme, &batch, EntryState::Dispatched).await;
    let claim = Transition {
        batch_in: Some(&[BatchState::Running, BatchState::Paused]),
        ..transition(&call, EntryEvent::DialClaimed, EntryState::Claimed)
    };
    let before = snapshot(store, &acme, &batch).await;
    assert!(!apply(store, &claim).await.is_applied(), "the batch is accepted");
    assert_eq!(before, snapshot(store, &acme, &batch).await, "a stale change left a trace");
    let run = move_batch(&acme, &batch, BatchState::Accepted, BatchState::Running);
    store.apply(&[Change::Batch(run)]).await.expect("applied");
    must_apply(store, &claim).await;
}

pub(super) async fn limits_and_cancels_stay_with_the_batch(store: Arc<dyn Store>) {
    let store = &*store;
    let acme = tenant("acme");
    let batch = accepted(store, &acme, "told", 2).await;
    let row = async || store.batch(&acme, &batch).await.expect("read").expect("there");
    let told = BatchLimits { max_concurrent: Some(3), calls_per_second: Some(0.5) };
    let state = BatchState::Accepted;
    let order = |limits, cancel, from, to| {
        let change = move_batch(&acme, &batch, from, to);
        [Change::Batch(BatchTransition { limits, cancel, ..change })]
    };
    store.apply(&order(Some(told), None, state, state)).await.expect("applied");
    let first = row().await;
    assert_eq!((first.state, first.limits, first.cancel), (state, told, None));
    assert_eq!(first.max_concurrent(), 3);
    let (from, to) = (state, BatchState::Cancelling);
    store.apply(&order(None, Some(CancelMode::Drain), from, to)).await.expect("applied");
    let second = row().await;
    assert_eq!((second.limits, second.cancel), (told, Some(CancelMode::Drain)));
    let cleared = Some(BatchLimits::default());
    store.apply(&order(cleared, Some(CancelMode::Hangup), to, to)).await.expect("applied");
    let third = row().await;
    assert_eq!((third.limits, third.cancel), (BatchLimits::default(), Some(CancelMode::Hangup)));
    assert_eq!(third.event_seq, second.event_seq + 1, "a change without a move is an event");
    let events = store.events(&acme, &batch, second.event_seq, 9).await.expect("read");
    assert_eq!(events[0].kind, "batch.changed");
    let all = store.events(&acme, &batch, 0, 99).await.expect("read");
    assert_eq!(fold(&all, 2).last().map(|figures| &figures.counters), Some(&third.counters));
}

pub(super) async fn waiting_and_under_way_are_told_apart(store: Arc<dyn Store>) {
    let store = &*store;
    let (acme, other) = (tenant("acme"), tenant("other"));
    let (batch, entries) = one_in_each_state(store, &acme, "each").await;
    one_in_each_state(store, &acme, "beside").await;
    let waiting = store.waiting(&acme, &batch, 99).await.expect("read");
    let mut expected: Vec<_> = entries.iter().filter(|e| e.state.is_waiting()).cloned().collect();
    expected.sort_by_key(|entry| (entry.not_before, entry.key.seq));
    assert_eq!(waiting, expected);
    assert_eq!(store.waiting(&acme, &batch, 1).await.expect("read"), expected[..1]);
    let under_way = store.under_way(&acme, &batch).await.expect("read");
    let rows: Vec<_> = under_way.iter().map(|(entry, _)| entry.clone()).collect();
    let expected: Vec<_> = entries.iter().filter(|e| e.state.is_in_flight()).cloned().collect();
    assert_eq!(rows, expected);
    assert!(under_way.iter().all(|(entry, call)| entry.attempt == call.attempt));
    assert_eq!(store.waiting(&other, &batch, 99).await.expect("read"), []);
    assert_eq!(store.under_way(&other, &batch).await.expect("read"), []);
}

pub(super) async fn a_tenants_bound_is_kept(store: Arc<dyn Store>) {
    let store = &*store;
    let (demo, other) = (tenant("demo"), tenant("other"));
    assert!(!store.set_max_concurrent(&demo, Some(3)).await.expect("answered"), "no such tenant");
    store.seed_demo().await.expect("seeded");
    assert_eq!(store.max_concurrent(&demo).await.expect("read"), None);
    assert!(store.set_max_concurrent(&demo, Some(3)).await.expect("written"));
    assert_eq!(store.max_concurrent(&demo).await.expect("read"), Some(3));
    assert_eq!(store.max_concurrent(&other).await.expect("read"), None);
    assert!(store.set_max_concurrent(&demo, None).await.expect("written"));
    assert_eq!(store.max_concurrent(&demo).await.expect("read"), None);
}

pub(super) async fn lanes_are_handed_out_apart(store: Arc<dyn Store>) {
    use crate::Lane;
    let store = &*store;
    let acme = tenant("acme");
    let batch = accepted(store, &acme, "lanes", 1).await;
    let call = drive(store, &acme, &batch, EntryState::Dispatched).await;
    must_apply(store, &transition(&call, EntryEvent::UnclaimedTimeout, EntryState::Failed)).await;
    let due = store.due_outbox(Lane::Webhook, at(99), at(100), 9).await.expect("read");
    assert_eq!(due, [], "rooms are LiveKit's");
    let due = store.due_outbox(Lane::LiveKit, at(99), at(100), 9).await.expect("read");
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].tries, 1);
    store.outbox_later(due[0].id, at(500), 0).await.expect("written");
    assert_eq!(store.due_outbox(Lane::LiveKit, at(499), at(600), 9).await.expect("read"), []);
    let due = store.due_outbox(Lane::LiveKit, at(500), at(600), 9).await.expect("read");
    assert_eq!((due.len(), due[0].tries), (1, 1), "it was not tried");
    store.outbox_later(due[0].id, at(700), 4).await.expect("written");
    let due = store.due_outbox(Lane::LiveKit, at(700), at(800), 9).await.expect("read");
    assert_eq!(due[0].tries, 5);
    store.outbox_later(-1, at(1), 1).await.expect("nothing there, nothing done");
}
