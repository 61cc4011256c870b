//! The outbox.

use std::sync::Arc;

use dialtone_contract::{EntryEvent, EntryState};

use super::fixture::{accepted, apply, at, drive, far, must_apply, tenant, transition};
use crate::{Lane, OutboxItem, OutboxRow, Store, Transition};

fn room(name: &str) -> OutboxItem {
    OutboxItem::DeleteRoom { room: name.to_owned() }
}

pub(super) async fn items_are_in_the_commit_of_their_change(store: Arc<dyn Store>) {
    let store = &*store;
    let tenant = tenant("acme");
    let batch = accepted(store, &tenant, "commit", 1).await;
    let leased = drive(store, &tenant, &batch, EntryState::Leased).await;
    let good = transition(&leased, EntryEvent::LeaseExpired, EntryState::Failed);
    let good = Transition { outbox: vec![room("a"), room("b")], ..good };
    let stale = Transition { attempt: 9, ..good.clone() };
    assert!(!apply(store, &stale).await.is_applied());
    assert_eq!(
        store.due_outbox(Lane::LiveKit, far(), at(0), 9).await.expect("read"),
        [],
        "stale sends nothing"
    );
    must_apply(store, &good).await;
    assert_eq!(
        store.due_outbox(Lane::LiveKit, at(2), at(2), 9).await.expect("read"),
        [],
        "due at the change"
    );
    let due = store.due_outbox(Lane::LiveKit, at(3), at(3), 9).await.expect("read");
    let items: Vec<_> = due.iter().map(|row| (row.item.clone(), row.tries)).collect();
    assert_eq!(items, [(room("a"), 1), (room("b"), 1)]);
    assert!(due.iter().all(|row| row.tenant == tenant));
    assert!(due[0].id < due[1].id);
}

pub(super) async fn items_are_handed_out_until_done(store: Arc<dyn Store>) {
    let store = &*store;
    let tenant = tenant("acme");
    let batch = accepted(store, &tenant, "again", 2).await;
    let leased = drive(store, &tenant, &batch, EntryState::Leased).await;
    let change = transition(&leased, EntryEvent::LeaseExpired, EntryState::Failed);
    must_apply(store, &Transition { outbox: vec![room("a"), room("b"), room("c")], ..change })
        .await;
    let hand_out = async |now, again, limit| -> Vec<OutboxRow> {
        store.due_outbox(Lane::LiveKit, at(now), at(again), limit).await.expect("handed out")
    };
    let first = hand_out(10, 20, 2).await;
    assert_eq!(first.len(), 2, "no more than asked for");
    let rest = hand_out(10, 20, 9).await;
    assert_eq!(rest.iter().map(|row| &row.item).collect::<Vec<_>>(), [&room("c")]);
    assert_eq!(hand_out(19, 30, 9).await, [], "handed out, and not yet due again");
    store.outbox_done(&[first[0].id]).await.expect("done");
    store.outbox_done(&[first[0].id, 999]).await.expect("done twice");
    store.outbox_done(&[]).await.expect("nothing done");
    let again = hand_out(20, 30, 9).await;
    let tries: Vec<_> = again.iter().map(|row| (row.id, row.tries)).collect();
    assert_eq!(tries, [(first[1].id, 2), (rest[0].id, 2)], "whoever took them may have died");
    let ids: Vec<i64> = again.iter().map(|row| row.id).collect();
    store.outbox_done(&ids).await.expect("done");
    assert_eq!(hand_out(1_000, 1_000, 9).await, []);
    let leased = drive(store, &tenant, &batch, EntryState::Leased).await;
    must_apply(store, &transition(&leased, EntryEvent::LeaseExpired, EntryState::Failed)).await;
    let new = hand_out(1_000, 1_000, 9).await;
    assert!(new[0].id > ids[1], "the id of an item that is done is not given again");
}
