//! What listings choose.

use std::sync::Arc;

use dialtone_contract::{BatchId, BatchState, EntryState, Outcome};

use super::fixture::{accepted, loading, move_batch, one_in_each_state, tenant};
use crate::{BatchFilter, BatchRow, CallRow, Change, EntryFilter, EntryRow, Store};

pub(super) async fn batches_are_found_by_state_and_place(store: Arc<dyn Store>) {
    let store = &*store;
    let (acme, other) = (tenant("acme"), tenant("other"));
    for token in ["a1", "b2", "c3", "d4"] {
        accepted(store, &acme, token, 1).await;
        loading(store, &other, &format!("{token}x"), 1).await;
    }
    for token in ["a1", "c3"] {
        let id = BatchId::from_token(token);
        let pause = move_batch(&acme, &id, BatchState::Accepted, BatchState::Paused);
        assert!(store.apply(&[Change::Batch(pause)]).await.expect("applied")[0].is_applied());
    }
    let find = async |state, before: Option<&str>, limit| -> Vec<String> {
        let filter = BatchFilter { state, before: before.map(BatchId::from_token) };
        let found: Vec<BatchRow> = store.batches(&acme, &filter, limit).await.expect("read");
        for row in &found {
            let one = store.batch(&acme, &row.id).await.expect("read");
            assert_eq!(one.as_ref(), Some(row), "a list shows what the batch shows");
        }
        found.into_iter().map(|row| row.id.as_str().to_owned()).collect()
    };
    let (paused, accepted) = (Some(BatchState::Paused), Some(BatchState::Accepted));
    assert_eq!(find(None, None, 9).await, ["bat_d4", "bat_c3", "bat_b2", "bat_a1"]);
    assert_eq!(find(None, Some("c3"), 9).await, ["bat_b2", "bat_a1"], "older than that one");
    assert_eq!(find(None, Some("c9"), 1).await, ["bat_c3"], "it need not be there");
    assert_eq!(find(paused, None, 9).await, ["bat_c3", "bat_a1"]);
    assert_eq!(find(paused, None, 1).await, ["bat_c3"]);
    assert_eq!(find(paused, Some("c3"), 9).await, ["bat_a1"]);
    assert_eq!(find(accepted, Some("d4"), 9).await, ["bat_b2"]);
    assert_eq!(find(Some(BatchState::Failed), None, 9).await, [""; 0]);
    assert_eq!(find(Some(BatchState::Loading), None, 9).await, [""; 0], "another tenant's");
}

pub(super) async fn entries_are_found_by_state_and_outcome(store: Arc<dyn Store>) {
    let store = &*store;
    let tenant = tenant("acme");
    let (batch, _) = one_in_each_state(store, &tenant, "find").await;
    let all = store.entries(&tenant, &batch, 0, u32::MAX).await.expect("read");
    let last = all.last().expect("entries").0.key.seq;
    let find = async |filter, after, until, limit| -> Vec<(EntryRow, Vec<CallRow>)> {
        store.find_entries(&tenant, &batch, filter, after, until, limit).await.expect("read")
    };
    let outcomes = Outcome::ALL.iter().copied().map(Some).chain([None]);
    let states = EntryState::ALL.iter().copied().map(Some).chain([None]);
    for (state, outcome) in states.flat_map(|s| outcomes.clone().map(move |o| (s, o))) {
        let filter = EntryFilter { state, outcome };
        let expected: Vec<_> =
            all.iter().filter(|(entry, _)| filter.takes(entry)).cloned().collect();
        assert_eq!(find(filter, 0, u32::MAX, u32::MAX).await, expected, "{filter:?}");
        let mut paged = Vec::new();
        for after in (0..last).step_by(2) {
            paged.extend(find(filter, after, after + 2, u32::MAX).await);
        }
        assert_eq!(paged, expected, "no entry twice and none left out: {filter:?}");
        let first = find(filter, 0, u32::MAX, 1).await;
        assert_eq!(first.first(), expected.first());
        assert!(first.len() <= 1);
    }
    assert_eq!(find(EntryFilter::default(), last, u32::MAX, 9).await, []);
    assert_eq!(find(EntryFilter::default(), 0, u32::MAX, u32::MAX).await, all);
}
