//! Several changes at once, racing changes, batch changes.

use std::sync::Arc;

use dialtone_contract::{BatchState, EntryEvent, EntryState};

use super::fixture::{
    accepted, apply, at, claim_due, drive, entry, leased, move_batch, must_apply, snapshot, tenant,
    transition,
};
use crate::{Applied, BatchTransition, Change, Store};

pub(super) async fn answers_come_in_order(store: Arc<dyn Store>) {
    let store = &*store;
    let tenant = tenant("acme");
    let batch = accepted(store, &tenant, "order", 3).await;
    assert_eq!(store.apply(&[]).await.expect("nothing to do"), []);
    let leased = leased(store, claim_due(&tenant, &batch, 3)).await;
    let dispatched =
        |n: usize| transition(&leased[n], EntryEvent::DispatchAccepted, EntryState::Dispatched);
    let changes = [
        Change::Entry(dispatched(1)),
        Change::Entry(dispatched(1)),
        Change::Batch(move_batch(&tenant, &batch, BatchState::Accepted, BatchState::Running)),
        Change::Batch(move_batch(&tenant, &batch, BatchState::Accepted, BatchState::Running)),
        Change::Entry(dispatched(0)),
    ];
    let answers = store.apply(&changes).await.expect("applied");
    let applied = |event_seq| Applied::Applied { event_seq };
    // Accepted and three leases were events 1 to 4.
    assert_eq!(answers, [applied(5), Applied::Stale, applied(6), Applied::Stale, applied(7)]);
    let end = snapshot(store, &tenant, &batch).await;
    end.check();
    assert_eq!(end.row.expect("there").state, BatchState::Running);
}

pub(super) async fn one_of_many_racing_changes_wins(store: Arc<dyn Store>) {
    let tenant = tenant("acme");
    let batch = accepted(&*store, &tenant, "race", 20).await;
    for _ in 0..20 {
        let leased = drive(&*store, &tenant, &batch, EntryState::Leased).await;
        let change = transition(&leased, EntryEvent::DialClaimed, EntryState::Claimed);
        let racers: Vec<_> = (0..8)
            .map(|_| {
                let (store, change) = (Arc::clone(&store), change.clone());
                tokio::spawn(async move { apply(&*store, &change).await.is_applied() })
            })
            .collect();
        let mut winners = 0;
        for racer in racers {
            winners += u32::from(racer.await.expect("no racer panics"));
        }
        assert_eq!(winners, 1, "the dial is claimed exactly once");
    }
    let end = snapshot(&*store, &tenant, &batch).await;
    end.check();
    assert_eq!(end.row.expect("there").dials, 20);
}

pub(super) async fn a_batch_moves_only_from_where_it_is(store: Arc<dyn Store>) {
    let store = &*store;
    let tenant = tenant("acme");
    for (index, actual) in BatchState::ALL.iter().enumerate().skip(1) {
        let batch = accepted(store, &tenant, &format!("m{index}"), 1).await;
        if *actual != BatchState::Accepted {
            let go = move_batch(&tenant, &batch, BatchState::Accepted, *actual);
            assert!(store.apply(&[Change::Batch(go)]).await.expect("applied")[0].is_applied());
        }
        for from in BatchState::ALL {
            for to in BatchState::ALL.iter().skip(1).filter(|_| from != actual) {
                let before = snapshot(store, &tenant, &batch).await;
                let change = move_batch(&tenant, &batch, *from, *to);
                let answer = store.apply(&[Change::Batch(change)]).await.expect("applied");
                assert_eq!(answer, [Applied::Stale], "{from} -> {to} on {actual}");
                let after = snapshot(store, &tenant, &batch).await;
                assert_eq!(before, after, "{from} -> {to} on {actual} left a trace");
            }
        }
        snapshot(store, &tenant, &batch).await.check();
    }
}

pub(super) async fn a_batch_that_moved_away_and_back_has_moved(store: Arc<dyn Store>) {
    use BatchState::{Paused, Running};
    let store = &*store;
    let tenant = tenant("acme");
    let batch = accepted(store, &tenant, "moved", 1).await;
    let event_seq = async || {
        let row = store.batch(&tenant, &batch).await.expect("read").expect("there");
        row.event_seq
    };
    let go = async |from, to, unmoved_since| {
        let change = BatchTransition { unmoved_since, ..move_batch(&tenant, &batch, from, to) };
        let answer = store.apply(&[Change::Batch(change)]).await.expect("applied");
        answer[0].is_applied()
    };
    assert!(go(BatchState::Accepted, Running, Some(event_seq().await)).await);
    let seen = event_seq().await;
    // What its entries do is no move of the batch.
    drive(store, &tenant, &batch, EntryState::InCall).await;
    assert!(event_seq().await > seen);
    assert!(go(Running, Paused, Some(seen)).await);
    assert!(go(Paused, Running, None).await);
    let (resumed, before) = (event_seq().await, snapshot(store, &tenant, &batch).await);
    assert!(!go(Running, Paused, Some(seen)).await, "it was resumed in between");
    assert_eq!(before, snapshot(store, &tenant, &batch).await, "a stale change left a trace");
    assert!(go(Running, Running, Some(event_seq().await)).await);
    assert!(!go(Running, Paused, Some(resumed)).await, "its limits changed");
    snapshot(store, &tenant, &batch).await.check();
}

pub(super) async fn times_of_a_batch_are_set_once(store: Arc<dyn Store>) {
    use BatchState::{Accepted, Completed, Completing, Paused, Running};
    let store = &*store;
    let tenant = tenant("acme");
    let batch = accepted(store, &tenant, "times", 1).await;
    let steps = [
        (Accepted, Running, 10),
        (Running, Paused, 20),
        (Paused, Running, 30),
        (Running, Completing, 40),
        (Completing, Completed, 50),
    ];
    for (from, to, when) in steps {
        let change = BatchTransition { at: at(when), ..move_batch(&tenant, &batch, from, to) };
        let answer = store.apply(&[Change::Batch(change)]).await.expect("applied");
        assert!(answer[0].is_applied(), "{from} -> {to}");
        let row = store.batch(&tenant, &batch).await.expect("read").expect("there");
        assert_eq!(row.state, to);
        assert_eq!(row.reason, Some(format!("from {from}")));
        assert_eq!(row.started_at, Some(at(10)), "the first start counts");
        assert_eq!(row.finished_at, (to == Completed).then(|| at(50)));
    }
}

pub(super) async fn commits_are_announced(store: Arc<dyn Store>) {
    let store = &*store;
    let tenant = tenant("acme");
    let mut changes = store.changes();
    let batch = accepted(store, &tenant, "news", 1).await;
    let wait = std::time::Duration::from_secs(5);
    let news = tokio::time::timeout(wait, changes.changed()).await;
    news.expect("an accepted batch is work").expect("the store lives");
    changes.mark_unchanged();
    let leased = drive(store, &tenant, &batch, EntryState::Leased).await;
    must_apply(store, &transition(&leased, EntryEvent::LeaseExpired, EntryState::RetryWait)).await;
    assert_eq!(entry(store, &leased).await.state, EntryState::RetryWait);
    let news = tokio::time::timeout(wait, changes.changed()).await;
    news.expect("a retry is work").expect("the store lives");
}
