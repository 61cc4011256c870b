//! Selectors: pages, single calls, deadlines, the next due time.

use std::sync::Arc;

use dialtone_contract::{BatchState, EntryEvent, EntryKey, EntryState};

use super::fixture::{
    CLAIMABLE, accepted, at, claim_due, drive, entry, far, leased, move_batch, must_apply, tenant,
    transition,
};
use crate::{Change, ClaimDue, Lane, Store, Transition};

pub(super) async fn entries_are_read_in_pages(store: Arc<dyn Store>) {
    let store = &*store;
    let tenant = tenant("acme");
    let batch = accepted(store, &tenant, "pages", 20).await;
    drive(store, &tenant, &batch, EntryState::RetryWait).await;
    let again = ClaimDue { now: at(40), ..claim_due(&tenant, &batch, 20) };
    leased(store, again).await;
    let all = store.entries(&tenant, &batch, 0, u32::MAX).await.expect("read");
    assert_eq!(all[0].1.iter().map(|call| call.attempt).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(all[19].1.len(), 1);
    let mut paged = Vec::new();
    while let Ok(page) = store.entries(&tenant, &batch, paged.len() as u32, 7).await {
        assert!(page.len() <= 7);
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);
    assert!(all.iter().zip(1..).all(|((entry, _), seq)| entry.key.seq == seq));
    assert_eq!(store.entries(&tenant, &batch, 20, 7).await.expect("read"), []);
    assert_eq!(store.entries(&tenant, &batch, u32::MAX, 7).await.expect("read"), []);
    assert_eq!(store.entries(&tenant, &batch, 0, 0).await.expect("read"), []);
}

pub(super) async fn a_call_is_found_by_its_attempt(store: Arc<dyn Store>) {
    let store = &*store;
    let tenant = tenant("acme");
    let batch = accepted(store, &tenant, "call", 1).await;
    drive(store, &tenant, &batch, EntryState::RetryWait).await;
    let again = ClaimDue { now: at(40), ..claim_due(&tenant, &batch, 1) };
    let leased = leased(store, again).await.remove(0);
    let (row, calls) = super::fixture::row(store, &tenant, &batch, 1).await;
    for call in calls {
        let found = store.call(&tenant, &leased.key, call.attempt).await.expect("read");
        assert_eq!(found, Some((row.clone(), call)), "the entry as it is, the attempt as asked");
    }
    for missing in [0, 3, u32::MAX] {
        assert_eq!(store.call(&tenant, &leased.key, missing).await.expect("read"), None);
    }
    let nowhere = EntryKey { seq: 2, ..leased.key };
    assert_eq!(store.call(&tenant, &nowhere, 1).await.expect("read"), None);
}

pub(super) async fn deadlines_come_in_order(store: Arc<dyn Store>) {
    let store = &*store;
    let (acme, other) = (tenant("acme"), tenant("other"));
    let first = accepted(store, &acme, "aa", 4).await;
    let second = accepted(store, &other, "bb", 2).await;
    for (tenant, batch, deadline, limit) in
        [(&acme, &first, 50, 2), (&other, &second, 20, 1), (&other, &second, 50, 1)]
    {
        let claim = ClaimDue { deadline: at(deadline), ..claim_due(tenant, batch, limit) };
        leased(store, claim).await;
    }
    let ended = drive(store, &acme, &first, EntryState::Completed).await;
    assert_eq!(ended.deadline, None);
    let late = drive(store, &acme, &first, EntryState::Claimed).await;
    let due = async |now, limit| -> Vec<(String, u32)> {
        let due = store.due_deadlines(at(now), limit).await.expect("read");
        for (row, call) in &due {
            let current = store.call(&row.tenant, &row.key, row.attempt).await.expect("read");
            assert_eq!(current.as_ref(), Some(&(row.clone(), call.clone())));
        }
        due.into_iter().map(|(row, _)| (row.key.batch.to_string(), row.key.seq)).collect()
    };
    let place = |batch: &str, seq| (batch.to_owned(), seq);
    assert_eq!(due(19, 9).await, []);
    assert_eq!(due(20, 9).await, [place("bat_bb", 1)], "due at `now` is due");
    let all = [
        place("bat_bb", 1),
        (late.key.batch.to_string(), late.key.seq),
        place("bat_aa", 1),
        place("bat_aa", 2),
        place("bat_bb", 2),
    ];
    assert_eq!(due(50, 9).await, all, "by deadline, then batch, then place");
    assert_eq!(due(50, 3).await, all[..3]);
    assert_eq!(due(50, 0).await, []);
}

pub(super) async fn the_next_due_time_is_the_earliest_ahead(store: Arc<dyn Store>) {
    let store = &*store;
    let tenant = tenant("acme");
    let next = async |now| store.next_due(at(now), CLAIMABLE).await.expect("read");
    assert_eq!(next(-9).await, None);
    let batch = accepted(store, &tenant, "next", 2).await;
    assert_eq!(next(-9).await, Some(at(0)), "an entry's first claim");
    assert_eq!(next(0).await, None, "what is due already lies behind");
    let leased = leased(store, claim_due(&tenant, &batch, 1)).await.remove(0);
    assert_eq!(next(5).await, Some(at(11)), "the lease's deadline");
    assert_eq!(next(11).await, None);
    let retry = transition(&leased, EntryEvent::LeaseExpired, EntryState::RetryWait);
    let retry = Transition { at: at(20), not_before: Some(at(60)), ..retry };
    must_apply(store, &retry).await;
    assert_eq!(next(5).await, Some(at(20)), "the outbox item of the ended attempt");
    store.due_outbox(Lane::LiveKit, at(20), at(45), 9).await.expect("handed out");
    assert_eq!(next(20).await, Some(at(45)), "the item again");
    let waiting = entry(store, &leased).await;
    assert_eq!(next(45).await, waiting.not_before, "the retry");
    assert_eq!(store.next_due(at(45), &[]).await.expect("read"), None);
    let pause = move_batch(&tenant, &batch, BatchState::Accepted, BatchState::Paused);
    assert!(store.apply(&[Change::Batch(pause)]).await.expect("applied")[0].is_applied());
    assert_eq!(next(45).await, None, "a batch that nobody may claim from counts for nothing");
    assert_eq!(store.next_due(far(), CLAIMABLE).await.expect("read"), None);
}
