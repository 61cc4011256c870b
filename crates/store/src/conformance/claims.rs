//! `claim_due`.

use std::collections::BTreeSet;
use std::sync::Arc;

use dialtone_contract::{
    BatchId, BatchState, CallState, EntryEvent, EntryState, Outcome, TenantId,
};

use super::fixture::{
    CLAIMABLE, EPOCH, accepted, at, claim_due, drive, leased, move_batch, must_apply, new_batch,
    new_entry, row, snapshot, tenant, transition,
};
use crate::{CallRow, Change, ClaimDue, EntryRow, Store};

async fn claimed(store: &dyn Store, claim: ClaimDue) -> Vec<EntryRow> {
    leased(store, claim).await
}

fn seqs(entries: &[EntryRow]) -> Vec<u32> {
    entries.iter().map(|entry| entry.key.seq).collect()
}

/// Entries 1 to 6 due at 5, 3, 3, 9, 1, 3 seconds.
async fn staggered(store: &dyn Store, tenant: &TenantId) -> BatchId {
    let batch = BatchId::from_token("staggered");
    store.create_batch(new_batch(tenant, &batch, 6)).await.expect("created");
    let entries: Vec<_> =
        (1..).zip([5, 3, 3, 9, 1, 3]).map(|(seq, due)| new_entry(seq, at(due))).collect();
    store.add_entries(tenant, &batch, &entries).await.expect("added");
    store.accept_batch(tenant, &batch, at(0), None).await.expect("accepted");
    batch
}

pub(super) async fn claims_take_the_earliest_first(store: Arc<dyn Store>) {
    let store = &*store;
    let tenant = tenant("acme");
    let batch = staggered(store, &tenant).await;
    let claim = |now, limit| ClaimDue { now: at(now), ..claim_due(&tenant, &batch, limit) };
    assert_eq!(seqs(&claimed(store, claim(0, 9)).await), [0; 0], "nothing is due yet");
    assert_eq!(seqs(&claimed(store, claim(5, 0)).await), [0; 0], "none was asked for");
    assert_eq!(seqs(&claimed(store, claim(4, 2)).await), [5, 2]);
    assert_eq!(seqs(&claimed(store, claim(5, 9)).await), [3, 6, 1], "due at `now` is due");
    assert_eq!(seqs(&claimed(store, claim(8, 9)).await), [0; 0]);
    assert_eq!(seqs(&claimed(store, claim(9, 9)).await), [4]);
    snapshot(store, &tenant, &batch).await.check();
}

pub(super) async fn claims_begin_attempts(store: Arc<dyn Store>) {
    let store = &*store;
    let tenant = tenant("acme");
    let batch = accepted(store, &tenant, "begin", 3).await;
    let before = row(store, &tenant, &batch, 1).await.0;
    let leased = claimed(store, claim_due(&tenant, &batch, 2)).await;
    assert_eq!(seqs(&leased), [1, 2]);
    let expected = EntryRow {
        state: EntryState::Leased,
        attempt: 1,
        not_before: None,
        deadline: Some(at(11)),
        lease_epoch: EPOCH,
        ..before
    };
    assert_eq!(leased[0], expected);
    let stored = row(store, &tenant, &batch, 1).await;
    let call = CallRow { due_at: Some(at(0)), ..CallRow::leased(1, at(1)) };
    assert_eq!(stored, (expected, vec![call]), "as answered, so stored");
    let end = snapshot(store, &tenant, &batch).await;
    end.check();
    let figures = end.row.expect("there");
    assert_eq!((figures.attempts, figures.dials), (2, 0));
    let event = end.events.last().expect("recorded");
    assert_eq!(event.kind, EntryEvent::Leased.as_str());
    assert_eq!((event.seq, event.attempt, event.at), (Some(2), Some(1), at(1)));
    assert_eq!(end.entries[0].1[0].state, CallState::Dispatching);
}

pub(super) async fn claims_keep_to_the_calls_at_once(store: Arc<dyn Store>) {
    let store = &*store;
    let tenant = tenant("acme");
    let batch = accepted(store, &tenant, "full", 9).await;
    let claim = |limit| ClaimDue { max_in_flight: 4, ..claim_due(&tenant, &batch, limit) };
    assert_eq!(claimed(store, claim(3)).await.len(), 3);
    assert_eq!(claimed(store, claim(3)).await.len(), 1, "only one more may be in flight");
    assert_eq!(claimed(store, claim(3)).await.len(), 0);
    snapshot(store, &tenant, &batch).await.check();
}

pub(super) async fn claims_need_a_claimable_batch(store: Arc<dyn Store>) {
    let store = &*store;
    let tenant = tenant("acme");
    for (index, state) in BatchState::ALL.iter().enumerate().skip(1) {
        let batch = accepted(store, &tenant, &format!("c{index}"), 1).await;
        if *state != BatchState::Accepted {
            let go = move_batch(&tenant, &batch, BatchState::Accepted, *state);
            assert!(store.apply(&[Change::Batch(go)]).await.expect("applied")[0].is_applied());
        }
        let before = snapshot(store, &tenant, &batch).await;
        let leased = claimed(store, claim_due(&tenant, &batch, 9)).await;
        assert_eq!(leased.len(), usize::from(CLAIMABLE.contains(state)), "in {state}");
        if leased.is_empty() {
            let after = snapshot(store, &tenant, &batch).await;
            assert_eq!(before, after, "a claim in {state} left a trace");
        }
    }
}

pub(super) async fn nothing_is_claimed_twice(store: Arc<dyn Store>) {
    const TOTAL: u32 = 400;
    let tenant = tenant("acme");
    let batch = accepted(&*store, &tenant, "many", TOTAL).await;
    let claimers: Vec<_> = (0..8_u64)
        .map(|n| {
            let store = Arc::clone(&store);
            let claim = ClaimDue { lease_epoch: n + 1, ..claim_due(&tenant, &batch, 7) };
            tokio::spawn(async move {
                let mut mine = Vec::new();
                loop {
                    let leased = claimed(&*store, claim.clone()).await;
                    if leased.is_empty() {
                        return mine;
                    }
                    assert!(leased.len() <= 7, "more than the limit");
                    assert!(leased.iter().all(|entry| entry.lease_epoch == n + 1));
                    mine.extend(leased);
                }
            })
        })
        .collect();
    let mut seen = BTreeSet::new();
    for claimer in claimers {
        for entry in claimer.await.expect("no claimer panics") {
            assert_eq!(entry.attempt, 1);
            assert!(seen.insert(entry.key.seq), "entry {} was leased twice", entry.key.seq);
        }
    }
    assert_eq!(seen.len(), TOTAL as usize, "an entry was lost");
    let end = snapshot(&*store, &tenant, &batch).await;
    end.check();
    assert_eq!(end.row.expect("there").attempts, TOTAL);
}

pub(super) async fn a_retried_entry_is_claimed_when_its_time_comes(store: Arc<dyn Store>) {
    let store = &*store;
    let tenant = tenant("acme");
    let batch = accepted(store, &tenant, "retry", 1).await;
    let waiting = drive(store, &tenant, &batch, EntryState::RetryWait).await;
    assert_eq!(waiting.outcome, Some(Outcome::DispatchFailed));
    let claim = |now| ClaimDue { now: at(now), ..claim_due(&tenant, &batch, 9) };
    assert_eq!(claimed(store, claim(29)).await, []);
    let again = claimed(store, claim(30)).await;
    assert_eq!((again[0].attempt, again[0].outcome, again[0].cap), (2, None, None));
    let done = transition(&again[0], EntryEvent::DispatchFailed, EntryState::Failed);
    must_apply(store, &done).await;
    assert_eq!(claimed(store, claim(1_000_000)).await, [], "nothing after the end");
    snapshot(store, &tenant, &batch).await.check();
}
