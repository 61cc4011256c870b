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

pub(super) async fn a_batchs_events_say_why(store: Arc<dyn Store>) {
    let store = &*store;
    let tenant = tenant("acme");
    let batch = accepted(store, &tenant, "why", 1).await;
    let pause = move_batch(&tenant, &batch, BatchState::Accepted, BatchState::Paused);
    let reason = pause.reason.clone();
    assert!(reason.is_some() && store.apply(&[Change::Batch(pause)]).await.is_ok());
    let events = store.events(&tenant, &batch, 0, u32::MAX).await.expect("read");
    let why: Vec<_> = events.iter().map(|event| (event.seq, event.reason.clone())).collect();
    assert_eq!(why, [(None, None), (None, reason)]);
}

pub(super) async fn an_entrys_events_are_read_in_ranges(store: Arc<dyn Store>) {
    let store = &*store;
    let tenant = tenant("acme");
    let (batch, entries) = one_in_each_state(store, &tenant, "ranges").await;
    let all = store.events(&tenant, &batch, 0, u32::MAX).await.expect("read");
    let last = all.last().expect("events").event_seq;
    let mut seen = 0;
    for entry in &entries {
        let read = async |after, until| {
            store.entry_events(&tenant, &entry.key, after, until).await.expect("read")
        };
        let own = all.iter().filter(|event| event.seq == Some(entry.key.seq));
        let own: Vec<_> = own.cloned().collect();
        assert_eq!(read(0, u64::MAX).await, own);
        assert_eq!(read(0, last).await, own, "up to and with");
        let mut ranged = Vec::new();
        for after in (0..last).step_by(3) {
            ranged.extend(read(after, after + 3).await);
        }
        assert_eq!(ranged, own, "no event twice and none left out");
        assert_eq!(read(last, u64::MAX).await, []);
        seen += own.len();
    }
    let of_entries = all.iter().filter(|event| event.seq.is_some()).count();
    assert_eq!(seen, of_entries, "every event of an entry is its own");
}
