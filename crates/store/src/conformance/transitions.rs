//! Every line of the transition table, legal and illegal.

use std::sync::Arc;

use dialtone_contract::{
    AttemptEffect, CallState, EntryEvent, EntryState, Outcome, Rule, TRANSITIONS, Target,
};

use super::fixture::{
    self, EPOCH, Snapshot, apply, at, must_apply, one_in_each_state, snapshot, tenant, transition,
};
use crate::{CallPatch, EntryRow, Store, Transition};

/// The rules that `apply` makes; leasing is the claim's.
fn applied() -> impl Iterator<Item = &'static Rule> {
    TRANSITIONS.iter().filter(|rule| rule.attempt != AttemptEffect::Next)
}

fn targets(rule: &Rule, from: EntryState) -> Vec<EntryState> {
    use EntryState::{Cancelled, Completed, Failed, RetryWait};
    match rule.to {
        Target::State(to) => vec![to],
        Target::Same => vec![from],
        Target::AttemptEnds(_) => vec![RetryWait, Completed, Failed, Cancelled],
    }
}

pub(super) async fn every_transition_is_made_exactly_where_it_is_expected(store: Arc<dyn Store>) {
    let store = &*store;
    let tenant = tenant("acme");
    for (index, rule) in applied().enumerate() {
        for (round, from) in rule.from.iter().enumerate() {
            for (turn, to) in targets(rule, *from).into_iter().enumerate() {
                let token = format!("t{index}x{round}x{turn}");
                let (batch, entries) = one_in_each_state(store, &tenant, &token).await;
                for entry in &entries {
                    // As the rule would write it for an entry in `from`.
                    let expecting = EntryRow { state: *from, ..entry.clone() };
                    if entry.state != *from && expecting.attempt == 0 {
                        continue;
                    }
                    let change = transition(&expecting, rule.event, to);
                    let before = snapshot(store, &tenant, &batch).await;
                    let answer = apply(store, &change).await;
                    let after = snapshot(store, &tenant, &batch).await;
                    let case = format!("{:?} {from} -> {to} on {}", rule.event, entry.state);
                    assert_eq!(answer.is_applied(), entry.state == *from, "{case}");
                    if answer.is_applied() {
                        made(&before, &after, &change);
                    } else {
                        assert_eq!(before, after, "{case} left a trace");
                    }
                    after.check();
                }
            }
        }
    }
}

/// `after` is `before` with `change` and nothing else.
fn made(before: &Snapshot, after: &Snapshot, change: &Transition) {
    for (old, new) in before.entries.iter().zip(&after.entries) {
        if old.0.key != change.key {
            assert_eq!(old, new, "another entry changed");
            continue;
        }
        let expected = EntryRow {
            state: change.to,
            outcome: change.outcome,
            attempt: change.new_attempt,
            not_before: change.not_before,
            deadline: change.deadline,
            cap: change.cap,
            ..old.0.clone()
        };
        assert_eq!(new.0, expected);
        let call = new.1.iter().find(|call| call.attempt == change.attempt);
        if change.attempt == 0 {
            assert_eq!(call, None, "there is no attempt to log");
            continue;
        }
        if change.call.remove {
            assert_eq!(call, None, "an attempt given back leaves no call log");
            continue;
        }
        let call = call.expect("the attempt has a call log");
        assert_eq!(Some(call.state), change.call.state);
        assert_eq!(call.ended_at, change.call.ended_at);
        assert_eq!(call.outcome, change.call.outcome);
        assert_eq!(call.reason, change.call.reason);
        assert_eq!(call.duration_ms, change.call.duration_ms);
    }
    let recorded = change.event.is_recorded();
    assert_eq!(after.events.len(), before.events.len() + usize::from(recorded));
    assert!(after.events.starts_with(&before.events), "the past changed");
    if let Some(event) = after.events.last().filter(|_| recorded) {
        assert_eq!(event.kind, change.event.as_str());
        assert_eq!((event.seq, event.attempt), (Some(change.key.seq), Some(change.attempt)));
        assert_eq!(
            (event.from.as_str(), event.to.as_str()),
            (change.from.as_str(), change.to.as_str())
        );
        assert_eq!((event.from_outcome, event.outcome), (change.from_outcome, change.outcome));
        assert_eq!(event.at, change.at);
    }
    let new: Vec<_> = after.outbox.iter().filter(|item| !before.outbox.contains(item)).collect();
    let items: Vec<_> = new.iter().map(|(_, _, item)| item.clone()).collect();
    assert_eq!(items, change.outbox, "the outbox does not hold what the change put there");
    assert!(new.iter().all(|(_, tenant, _)| *tenant == change.tenant));
    assert_eq!(after.outbox.len(), before.outbox.len() + new.len());
}

pub(super) async fn a_stale_change_leaves_no_trace(store: Arc<dyn Store>) {
    let store = &*store;
    let acme = tenant("acme");
    for (index, rule) in applied().enumerate() {
        let (batch, entries) = one_in_each_state(store, &acme, &format!("s{index}")).await;
        for entry in entries.iter().filter(|entry| rule.from.contains(&entry.state)) {
            let to = targets(rule, entry.state)[0];
            let good = transition(entry, rule.event, to);
            let bad = [
                ("a later attempt", Transition { attempt: good.attempt + 1, ..good.clone() }),
                (
                    "an earlier attempt",
                    Transition { attempt: good.attempt.wrapping_sub(1), ..good.clone() },
                ),
                ("another lease", Transition { lease_epoch: Some(EPOCH + 1), ..good.clone() }),
                ("an older lease", Transition { lease_epoch: Some(EPOCH - 1), ..good.clone() }),
                ("another deadline", Transition { deadline_seen: Some(at(4711)), ..good.clone() }),
                ("another tenant", Transition { tenant: tenant("other"), ..good.clone() }),
                ("no such entry", {
                    let mut change = good.clone();
                    change.key.seq = 999;
                    change
                }),
                ("no such batch", {
                    let mut change = good.clone();
                    change.key.batch = dialtone_contract::BatchId::from_token("none");
                    change
                }),
            ];
            let before = snapshot(store, &acme, &batch).await;
            for (what, change) in bad {
                let answer = apply(store, &change).await;
                assert!(!answer.is_applied(), "{:?} was made for {what}", rule.event);
                let after = snapshot(store, &acme, &batch).await;
                assert_eq!(before, after, "{:?} for {what} left a trace", rule.event);
            }
            must_apply(store, &good).await;
            assert!(!apply(store, &good).await.is_applied() || to == entry.state, "made twice");
        }
        snapshot(store, &acme, &batch).await.check();
    }
}

pub(super) async fn a_lease_epoch_fences(store: Arc<dyn Store>) {
    let store = &*store;
    let tenant = tenant("acme");
    let batch = fixture::accepted(store, &tenant, "epoch", 1).await;
    let leased = fixture::drive(store, &tenant, &batch, EntryState::Leased).await;
    assert_eq!(leased.lease_epoch, EPOCH);
    let mut change = transition(&leased, EntryEvent::DispatchAccepted, EntryState::Dispatched);
    change.lease_epoch = Some(EPOCH + 1);
    assert!(!apply(store, &change).await.is_applied(), "another dispatcher's change was made");
    change.lease_epoch = Some(EPOCH);
    must_apply(store, &change).await;
    let dispatched = fixture::entry(store, &leased).await;
    assert_eq!(dispatched.lease_epoch, EPOCH, "the lease's epoch stays with the entry");
}

pub(super) async fn a_deadline_fences(store: Arc<dyn Store>) {
    let store = &*store;
    let tenant = tenant("acme");
    let batch = fixture::accepted(store, &tenant, "deadline", 1).await;
    let seen = fixture::drive(store, &tenant, &batch, EntryState::InCall).await;
    let beat = Transition {
        deadline: Some(at(77)),
        ..transition(&seen, EntryEvent::Heartbeat, seen.state)
    };
    must_apply(store, &beat).await;
    let mut lost = transition(&seen, EntryEvent::AgentLost, EntryState::Failed);
    lost.deadline_seen = seen.deadline;
    assert!(
        !apply(store, &lost).await.is_applied(),
        "a change decided before the heartbeat was made"
    );
    lost.deadline_seen = Some(at(77));
    must_apply(store, &lost).await;
}

pub(super) async fn an_attempt_is_given_back(store: Arc<dyn Store>) {
    let store = &*store;
    let tenant = tenant("acme");
    let batch = fixture::accepted(store, &tenant, "back", 2).await;
    let returned = fixture::drive(store, &tenant, &batch, EntryState::Pending).await;
    assert_eq!(returned.attempt, 0);
    let row = store.batch(&tenant, &batch).await.expect("read").expect("there");
    assert_eq!(row.attempts, 0, "an attempt given back is not counted");
    let mut again = fixture::claim_due(&tenant, &batch, 9);
    again.now = at(60);
    let claimed = fixture::leased(store, again).await;
    let attempts: Vec<_> = claimed.iter().map(|entry| (entry.key.seq, entry.attempt)).collect();
    assert_eq!(attempts, [(2, 1), (1, 1)], "it is claimed again, under the same number");
    snapshot(store, &tenant, &batch).await.check();
}

pub(super) async fn the_call_log_keeps_what_a_patch_does_not_name(store: Arc<dyn Store>) {
    let store = &*store;
    let tenant = tenant("acme");
    let batch = fixture::accepted(store, &tenant, "patch", 1).await;
    let leased = fixture::drive(store, &tenant, &batch, EntryState::Leased).await;
    let mut change = transition(&leased, EntryEvent::DialClaimed, EntryState::Claimed);
    change.call = CallPatch {
        state: Some(CallState::Ringing),
        dispatch_id: Some("AD_1".to_owned()),
        dispatched_at: Some(at(2)),
        claimed_at: Some(at(3)),
        claimer: Some("worker".to_owned()),
        closed_outcome: Some(Outcome::Busy),
        ended_at: Some(at(4)),
        outcome: Some(Outcome::NoAnswer),
        reason: Some("because".to_owned()),
        duration_ms: Some(u64::from(u32::MAX) + 1),
        beat_seq: Some(u64::from(u32::MAX) + 2),
        remove: false,
    };
    must_apply(store, &change).await;
    let claimed = fixture::row(store, &tenant, &batch, 1).await;
    let full = claimed.1[0].clone();
    assert_eq!(full.dispatch_id.as_deref(), Some("AD_1"));
    assert_eq!(full.closed_outcome, Some(Outcome::Busy));
    assert_eq!(full.duration_ms, Some(u64::from(u32::MAX) + 1));
    assert_eq!(full.beat_seq, Some(u64::from(u32::MAX) + 2));
    let mut beat = transition(&claimed.0, EntryEvent::Heartbeat, EntryState::Claimed);
    beat.call = CallPatch::default();
    must_apply(store, &beat).await;
    assert_eq!(fixture::row(store, &tenant, &batch, 1).await.1, std::slice::from_ref(&full));
    beat.call.state = Some(CallState::InCall);
    must_apply(store, &beat).await;
    let patched = crate::CallRow { state: CallState::InCall, ..full };
    assert_eq!(fixture::row(store, &tenant, &batch, 1).await.1, [patched]);
}
