//! The event stream of a batch.

use std::sync::Arc;

use dialtone_contract::{BatchState, EntryEvent, EntryState};

use super::fixture::{
    accepted, drive, fold, move_batch, must_apply, one_in_each_state, snapshot, tenant, transition,
};
use crate::{Change, Store};

pub(super) async fn events_fold_to_the_figures(store: Arc<dyn Store>) {
    let store = &*store;
    let tenant = tenant("acme");
    let batch = accepted(store, &tenant, "fold", 9).await;
    let mut seen = vec![store.batch(&tenant, &batch).await.expect("read").expect("there")];
    let go = move_batch(&tenant, &batch, BatchState::Accepted, BatchState::Running);
    assert!(store.apply(&[Change::Batch(go)]).await.expect("applied")[0].is_applied());
    for state in EntryState::ALL {
        drive(store, &tenant, &batch, *state).await;
        seen.push(store.batch(&tenant, &batch).await.expect("read").expect("there"));
    }
    let end = snapshot(store, &tenant, &batch).await;
    end.check();
    let figures = fold(&end.events, 9);
    for row in &seen {
        figures[usize::try_from(row.event_seq).expect("few events") - 1].check(row);
    }
}

pub(super) async fn heartbeats_are_not_recorded(store: Arc<dyn Store>) {
    let store = &*store;
    let tenant = tenant("acme");
    let batch = accepted(store, &tenant, "beat", 1).await;
    let call = drive(store, &tenant, &batch, EntryState::InCall).await;
    let before = store.batch(&tenant, &batch).await.expect("read").expect("there");
    let place = must_apply(store, &transition(&call, EntryEvent::Heartbeat, call.state)).await;
    assert_eq!(place, before.event_seq, "the last event's place");
    let after = store.batch(&tenant, &batch).await.expect("read").expect("there");
    assert_eq!(after, before);
    snapshot(store, &tenant, &batch).await.check();
}

pub(super) async fn events_are_read_in_pages(store: Arc<dyn Store>) {
    let store = &*store;
    let tenant = tenant("acme");
    let (batch, _) = one_in_each_state(store, &tenant, "pages").await;
    let all = store.events(&tenant, &batch, 0, u32::MAX).await.expect("read");
    let mut paged = Vec::new();
    loop {
        let after = u64::try_from(paged.len()).expect("few events");
        let page = store.events(&tenant, &batch, after, 4).await.expect("read");
        assert!(page.len() <= 4);
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);
    assert_eq!(store.events(&tenant, &batch, u64::MAX, 4).await.expect("read"), []);
    assert_eq!(store.events(&tenant, &batch, 0, 0).await.expect("read"), []);
}
