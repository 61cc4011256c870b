//! Claims that lease not all that is due: numbers, zones, waves, pace, tenants.

use std::sync::Arc;

use dialtone_contract::{EntryEvent, EntryState, TenantId, limits};

use super::fixture::{
    accepted, at, claim_due, drive, entry, leased, must_apply, number, snapshot, tenant, transition,
};
use crate::{ClaimDue, Claimed, EntryRow, Held, NumberRelease, NumberUse, Pace, Store, Transition};

fn seqs(entries: &[EntryRow]) -> Vec<u32> {
    entries.iter().map(|entry| entry.key.seq).collect()
}

fn held(claimed: &Claimed) -> Vec<(u32, Held)> {
    claimed.held.iter().map(|(entry, why)| (entry.key.seq, *why)).collect()
}

pub(super) async fn a_suppressed_number_is_not_leased(store: Arc<dyn Store>) {
    let store = &*store;
    let (acme, other) = (tenant("acme"), tenant("other"));
    let batch = accepted(store, &acme, "dnc", 3).await;
    store.suppress(&other, &[number(1)], "theirs", at(0)).await.expect("written");
    let twice = [number(2), number(2)];
    assert_eq!(store.suppress(&acme, &twice, "ours", at(0)).await.expect("written"), 1);
    assert!(store.is_suppressed(&acme, number(2)).await.expect("read"));
    assert!(!store.is_suppressed(&acme, number(1)).await.expect("read"), "another tenant's");
    let before = snapshot(store, &acme, &batch).await;
    let claimed = store.claim_due(claim_due(&acme, &batch, 2)).await.expect("claimed");
    assert_eq!((seqs(&claimed.leased), held(&claimed)), (vec![1, 3], vec![(2, Held::Suppressed)]));
    let after = snapshot(store, &acme, &batch).await;
    assert_eq!(before.entries[1], after.entries[1], "what is held is not touched");
    assert!(store.unsuppress(&acme, number(2)).await.expect("written"));
    assert!(!store.unsuppress(&acme, number(2)).await.expect("written"), "gone already");
    assert_eq!(seqs(&leased(store, claim_due(&acme, &batch, 9)).await), [2]);
    snapshot(store, &acme, &batch).await.check();
}

pub(super) async fn a_number_is_called_once_at_a_time(store: Arc<dyn Store>) {
    let store = &*store;
    let (acme, other) = (tenant("acme"), tenant("other"));
    // The same numbers in each batch.
    let first = accepted(store, &acme, "one", 2).await;
    let second = accepted(store, &acme, "two", 2).await;
    let theirs = accepted(store, &other, "three", 2).await;
    let claim = |tenant, batch, now| ClaimDue {
        exclusive: true,
        now: at(now),
        ..claim_due(tenant, batch, 9)
    };
    let mut calls = leased(store, claim(&acme, &first, 1)).await;
    assert_eq!(seqs(&calls), [1, 2]);
    assert_eq!(leased(store, claim(&other, &theirs, 1)).await.len(), 2, "numbers are a tenant's");
    let busy = Held::NumberBusy { free_at: None };
    let blocked = store.claim_due(claim(&acme, &second, 1)).await.expect("claimed");
    assert_eq!((seqs(&blocked.leased), held(&blocked)), (vec![], vec![(1, busy), (2, busy)]));
    // One ends for good and lets go at once, the other keeps its gap.
    for (call, free_at) in calls.drain(..).zip([None, Some(at(50))]) {
        let end = Transition {
            number: Some(NumberRelease { key: call.number, free_at }),
            ..transition(&call, EntryEvent::LeaseExpired, EntryState::Failed)
        };
        must_apply(store, &end).await;
        let mut stranger = end.clone();
        stranger.key.batch = second.clone();
        store.apply(&[crate::Change::Entry(stranger)]).await.expect("answered");
    }
    let some = store.claim_due(claim(&acme, &second, 2)).await.expect("claimed");
    let later = Held::NumberBusy { free_at: Some(at(50)) };
    assert_eq!((seqs(&some.leased), held(&some)), (vec![1], vec![(2, later)]));
    assert_eq!(seqs(&leased(store, claim(&acme, &second, 50)).await), [2]);
}

pub(super) async fn the_use_of_a_number_is_told_and_forgotten(store: Arc<dyn Store>) {
    let store = &*store;
    let (acme, other) = (tenant("acme"), tenant("other"));
    let batch = accepted(store, &acme, "one", 3).await;
    let told = |tenant: TenantId, seq| async move {
        store.number_use(&tenant, number(seq)).await.expect("read")
    };
    assert_eq!(told(acme.clone(), 1).await, None);
    let claim = ClaimDue { exclusive: true, ..claim_due(&acme, &batch, 9) };
    let calls = leased(store, claim).await;
    assert_eq!(told(acme.clone(), 1).await, Some(NumberUse::By(calls[0].key.clone())));
    assert_eq!(told(other.clone(), 1).await, None);
    for (call, free_at) in calls.iter().zip([Some(at(40)), Some(at(50))]) {
        let end = Transition {
            number: Some(NumberRelease { key: call.number, free_at }),
            ..transition(call, EntryEvent::LeaseExpired, EntryState::Failed)
        };
        must_apply(store, &end).await;
    }
    assert_eq!(told(acme.clone(), 1).await, Some(NumberUse::FreeAt(at(40))));
    assert_eq!(store.forget_numbers(at(39), 9).await.expect("written"), 0);
    assert_eq!(store.forget_numbers(at(60), 0).await.expect("written"), 0);
    assert_eq!(store.forget_numbers(at(40), 9).await.expect("written"), 1);
    assert_eq!(told(acme.clone(), 1).await, None);
    assert_eq!(told(acme.clone(), 2).await, Some(NumberUse::FreeAt(at(50))));
    assert_eq!(store.forget_numbers(at(60), 1).await.expect("written"), 1);
    assert_eq!(store.forget_numbers(at(60), 9).await.expect("written"), 0);
    let held = told(acme.clone(), 3).await;
    assert_eq!(held, Some(NumberUse::By(calls[2].key.clone())), "it is in use");
}

pub(super) async fn only_its_holder_lets_go_of_a_number(store: Arc<dyn Store>) {
    let store = &*store;
    let acme = tenant("acme");
    let first = accepted(store, &acme, "one", 1).await;
    let second = accepted(store, &acme, "two", 1).await;
    let claim = |batch| ClaimDue { exclusive: true, ..claim_due(&acme, batch, 9) };
    leased(store, claim(&first)).await;
    // A call that began without the number ends, and names it.
    let call = drive(store, &acme, &second, EntryState::Leased).await;
    let release = NumberRelease { key: call.number, free_at: None };
    let end = transition(&call, EntryEvent::LeaseExpired, EntryState::RetryWait);
    must_apply(store, &Transition { number: Some(release), ..end }).await;
    let again = ClaimDue { now: at(60), ..claim(&second) };
    let blocked = store.claim_due(again).await.expect("claimed");
    assert_eq!(held(&blocked), [(1, Held::NumberBusy { free_at: None })]);
}

pub(super) async fn entries_of_closed_zones_are_held(store: Arc<dyn Store>) {
    let store = &*store;
    let acme = tenant("acme");
    let batch = accepted(store, &acme, "zones", 4).await;
    let claim = |zones: &[&str]| ClaimDue {
        zones_open: Some(zones.iter().map(|zone| (*zone).to_owned()).collect()),
        ..claim_due(&acme, &batch, 2)
    };
    // Even places are in Berlin, odd ones name no zone.
    let closed = Held::ZoneClosed;
    let none = store.claim_due(claim(&[])).await.expect("claimed");
    let all: Vec<_> = (1..=4).map(|seq| (seq, closed)).collect();
    assert_eq!((seqs(&none.leased), held(&none)), (vec![], all));
    let berlin = ClaimDue { limit: 1, ..claim(&["Europe/Berlin"]) };
    let berlin = store.claim_due(berlin).await.expect("claimed");
    assert_eq!((seqs(&berlin.leased), held(&berlin)), (vec![2], vec![(1, closed)]));
    let unnamed = store.claim_due(claim(&[""])).await.expect("claimed");
    assert_eq!(seqs(&unnamed.leased), [1, 3]);
    // Put off, it waits where it stood.
    let waiting = store.waiting(&acme, &batch, 9).await.expect("read");
    assert_eq!(seqs(&waiting), [4]);
    let put_off = transition(&waiting[0], EntryEvent::Deferred, EntryState::Pending);
    must_apply(store, &put_off).await;
    assert_eq!(entry(store, &waiting[0]).await.not_before, put_off.not_before);
    snapshot(store, &acme, &batch).await.check();
}

pub(super) async fn a_claim_looks_beyond_what_is_held(store: Arc<dyn Store>) {
    let store = &*store;
    let acme = tenant("acme");
    let batch = accepted(store, &acme, "beyond", limits::SELECT_MAX + 9).await;
    let last = limits::SELECT_MAX - 2;
    let numbers: Vec<_> = (1..=last).map(number).collect();
    store.suppress(&acme, &numbers, "ours", at(0)).await.expect("written");
    let claimed = store.claim_due(claim_due(&acme, &batch, 1)).await.expect("claimed");
    assert_eq!((seqs(&claimed.leased), claimed.held.len()), (vec![last + 1], numbers.len()));
    // It stops at the last that it looks at.
    let claimed = store.claim_due(claim_due(&acme, &batch, 9)).await.expect("claimed");
    assert_eq!(
        (seqs(&claimed.leased), claimed.held.len()),
        (vec![last + 2, last + 3], numbers.len())
    );
    let full = ClaimDue { max_in_flight: 3, ..claim_due(&acme, &batch, 9) };
    assert_eq!(store.claim_due(full).await.expect("claimed"), Claimed::default());
    snapshot(store, &acme, &batch).await.check();
}

pub(super) async fn a_wave_waits_for_the_one_before(store: Arc<dyn Store>) {
    let store = &*store;
    let acme = tenant("acme");
    let batch = accepted(store, &acme, "wave", 5).await;
    let claim = || ClaimDue { barrier: true, ..claim_due(&acme, &batch, 2) };
    let wave = leased(store, claim()).await;
    assert_eq!(seqs(&wave), [1, 2]);
    assert_eq!(leased(store, claim()).await, [], "two are in flight");
    let ends = wave.iter().map(|e| transition(e, EntryEvent::LeaseExpired, EntryState::Failed));
    for (n, end) in ends.enumerate() {
        must_apply(store, &end).await;
        assert_eq!(leased(store, claim()).await.len(), if n == 0 { 0 } else { 2 });
    }
}

pub(super) async fn claims_keep_to_the_pace(store: Arc<dyn Store>) {
    let store = &*store;
    let acme = tenant("acme");
    let batch = accepted(store, &acme, "pace", 9).await;
    let claim = |seen, limit| ClaimDue {
        pace: Some(Pace { seen, from: at(1), each_us: 2_000_000 }),
        ..claim_due(&acme, &batch, limit)
    };
    let paced_at = async || {
        let row = store.batch(&acme, &batch).await.expect("read").expect("there");
        (row.paced_at, row.claimed_at)
    };
    assert_eq!(paced_at().await, (None, None));
    assert_eq!(leased(store, claim(None, 3)).await.len(), 3);
    assert_eq!(paced_at().await, (Some(at(7)), Some(at(1))));
    assert_eq!(leased(store, claim(None, 3)).await, [], "decided before the other claim");
    assert_eq!(leased(store, claim(Some(at(7)), 9)).await.len(), 6);
    assert_eq!(paced_at().await.0, Some(at(13)));
    assert_eq!(leased(store, claim(Some(at(13)), 9)).await, []);
    assert_eq!(paced_at().await.0, Some(at(13)), "nothing leased, nothing used");
}

pub(super) async fn claims_keep_to_the_tenants_calls_at_once(store: Arc<dyn Store>) {
    let store = &*store;
    let (acme, other) = (tenant("acme"), tenant("other"));
    let first = accepted(store, &acme, "one", 5).await;
    let second = accepted(store, &acme, "two", 5).await;
    let theirs = accepted(store, &other, "three", 5).await;
    assert_eq!(leased(store, claim_due(&other, &theirs, 5)).await.len(), 5);
    let claim = |batch| ClaimDue { tenant_max_in_flight: Some(7), ..claim_due(&acme, batch, 9) };
    assert_eq!(leased(store, claim(&first)).await.len(), 5);
    assert_eq!(leased(store, claim(&second)).await.len(), 2);
    assert_eq!(leased(store, claim(&second)).await, []);
}
