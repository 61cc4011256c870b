//! Lists of batches and their figures.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dialtone_clock::Timestamp;
use dialtone_contract::{BatchId, BatchState, EntryEvent, EntryState, TenantId};

use super::fixture::{
    CLAIMABLE, accepted, claim_due, entry, far, fold, leased, loading, move_batch, must_apply,
    tenant, transition,
};
use crate::{BatchFilter, BatchRow, Change, Store};

pub(super) async fn lists_are_in_order(store: Arc<dyn Store>) {
    let store = &*store;
    let (acme, other) = (tenant("acme"), tenant("other"));
    for (tenant, token) in [(&acme, "c3"), (&other, "b2"), (&acme, "a1"), (&acme, "d4")] {
        accepted(store, tenant, token, 1).await;
    }
    loading(store, &acme, "e5", 1).await;
    let tokens = |rows: Vec<BatchRow>| -> Vec<String> {
        rows.into_iter().map(|row| row.id.as_str().to_owned()).collect()
    };
    let own = store.batches(&acme, &BatchFilter::default(), 9).await.expect("read");
    assert_eq!(tokens(own), ["bat_e5", "bat_d4", "bat_c3", "bat_a1"], "newest first");
    let few = store.batches(&acme, &BatchFilter::default(), 2).await.expect("read");
    assert_eq!(tokens(few), ["bat_e5", "bat_d4"]);
    let go =
        move_batch(&acme, &BatchId::from_token("a1"), BatchState::Accepted, BatchState::Paused);
    assert!(store.apply(&[Change::Batch(go)]).await.expect("applied")[0].is_applied());
    let all = store.batches_in(&[BatchState::Paused, BatchState::Accepted]).await.expect("read");
    for row in &all {
        let one = store.batch(&row.tenant, &row.id).await.expect("read");
        assert_eq!(one.as_ref(), Some(row), "a list shows what the batch shows");
    }
    assert_eq!(tokens(all), ["bat_a1", "bat_b2", "bat_c3", "bat_d4"], "oldest first");
    assert_eq!(store.batches_in(&[]).await.expect("read"), []);
    assert_eq!(store.batches_in(&[BatchState::Failed]).await.expect("read"), []);
}

/// Batches with something to claim, and the calls of their tenant.
pub(super) async fn due_batches_are_those_with_a_due_entry(store: Arc<dyn Store>) {
    let store = &*store;
    let (acme, other) = (tenant("acme"), tenant("other"));
    for (tenant, token, n) in [(&acme, "c3", 2), (&other, "b2", 1), (&acme, "a1", 1)] {
        accepted(store, tenant, token, n).await;
    }
    loading(store, &acme, "e5", 1).await;
    let due = |states, now, after: Option<&'static str>, limit| async move {
        let after = after.map(BatchId::from_token);
        let rows = store.due_batches(states, now, after.as_ref(), limit).await.expect("read");
        for row in &rows {
            let one = store.batch(&row.tenant, &row.id).await.expect("read");
            assert_eq!(one.as_ref(), Some(row), "a list shows what the batch shows");
        }
        rows.into_iter().map(|row| row.id.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(due(CLAIMABLE, far(), None, 9).await, ["bat_a1", "bat_b2", "bat_c3"]);
    assert_eq!(due(CLAIMABLE, far(), None, 2).await, ["bat_a1", "bat_b2"]);
    assert_eq!(due(CLAIMABLE, far(), Some("b2"), 2).await, ["bat_c3"]);
    assert_eq!(due(&[BatchState::Paused], far(), None, 9).await, [""; 0]);
    let before = entries_due_at(store, &acme, "c3").await;
    let just_before = before - std::time::Duration::from_micros(1);
    assert_eq!(due(CLAIMABLE, just_before, None, 9).await, [""; 0]);
    assert_eq!(due(CLAIMABLE, before, Some("b2"), 9).await, ["bat_c3"]);
    // One that has been leased waits no more; the other one of its batch still does.
    let mut in_flight = 0;
    for (token, left) in [("a1", vec!["bat_b2", "bat_c3"]), ("c3", vec!["bat_b2", "bat_c3"])] {
        let claim = claim_due(&acme, &BatchId::from_token(token), 1);
        assert_eq!(leased(store, claim).await.len(), 1);
        in_flight += 1;
        assert_eq!(due(CLAIMABLE, far(), None, 9).await, left);
        assert_eq!(store.in_flight(&acme).await.expect("read"), in_flight);
        assert_eq!(store.in_flight(&other).await.expect("read"), 0);
    }
}

async fn entries_due_at(store: &dyn Store, tenant: &TenantId, token: &str) -> Timestamp {
    let waiting = store.waiting(tenant, &BatchId::from_token(token), 1).await.expect("read");
    waiting[0].not_before.expect("it waits")
}

/// Readers that look while a writer writes see each batch as some event left it.
pub(super) async fn figures_are_of_one_moment(store: Arc<dyn Store>) {
    const TOTAL: u32 = 60;
    let tenant = tenant("acme");
    let batch = accepted(&*store, &tenant, "moment", TOTAL).await;
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|n| {
            let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
            let (tenant, batch) = (tenant.clone(), batch.clone());
            tokio::spawn(async move {
                let mut seen = Vec::new();
                loop {
                    let last = stop.load(Ordering::Relaxed);
                    seen.extend(match n {
                        0 => store.batches_in(CLAIMABLE).await.expect("read"),
                        _ => {
                            store.batch(&tenant, &batch).await.expect("read").into_iter().collect()
                        }
                    });
                    if last {
                        return seen;
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for _ in 0..TOTAL / 3 {
        let leased = leased(&*store, claim_due(&tenant, &batch, 3)).await;
        for lease in leased {
            let claim = transition(&lease, EntryEvent::DialClaimed, EntryState::Claimed);
            must_apply(&*store, &claim).await;
            let claimed = entry(&*store, &lease).await;
            let done = transition(&claimed, EntryEvent::Reported, EntryState::Completed);
            must_apply(&*store, &done).await;
            tokio::task::yield_now().await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let events = store.events(&tenant, &batch, 0, u32::MAX).await.expect("read");
    let figures = fold(&events, TOTAL);
    let mut looked = 0;
    for reader in readers {
        for row in reader.await.expect("no reader panics") {
            let place = usize::try_from(row.event_seq).expect("few events") - 1;
            figures[place].check(&row);
            looked += 1;
        }
    }
    assert!(looked > 0, "no reader got to look");
}
