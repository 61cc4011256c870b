//! The rules as a state machine: any sequence of happenings, legal or not, at any
//! moments, keeps an entry well-formed and within its limits.

use std::time::Duration;

use dialtone_auth::NumberKey;
use dialtone_batch::{Happening, Rules, number};
use dialtone_clock::{TimeScale, Timestamp};
use dialtone_contract::wire::{BatchOptions, Durations, OutcomeMode};
use dialtone_contract::{
    BatchId, CallState, EntryEvent, EntryKey, EntryState, Outcome, OutcomeWeights, ScriptedFaults,
    TenantId, limits,
};
use dialtone_store::{BatchMode, BatchSpec, CallRow, EntryRow, Transition};
use proptest::prelude::*;

fn spec(max_retries: u32, redial_after_contact: bool) -> BatchSpec {
    BatchSpec {
        mode: BatchMode::Test,
        seed: 42,
        voice_id: "demo".into(),
        initiated_by: 1,
        agent_id: None,
        from_number: None,
        total: 1,
        weights: OutcomeWeights::default(),
        faults: ScriptedFaults::default(),
        outcomes: OutcomeMode::Exact,
        durations: Durations::default(),
        options: BatchOptions { max_retries, redial_after_contact, ..BatchOptions::default() },
        retry_of: None,
        webhooks: Vec::new(),
    }
}

fn pending(now: Timestamp) -> EntryRow {
    EntryRow {
        tenant: TenantId::new("demo"),
        key: EntryKey { batch: BatchId::from_token("a"), seq: 1 },
        to: number(1),
        number: NumberKey::from_bytes([1; NumberKey::LEN]),
        timezone: None,
        variables: None,
        planned: None,
        state: EntryState::Pending,
        outcome: None,
        attempt: 0,
        not_before: Some(now),
        deadline: None,
        cap: None,
        lease_epoch: 0,
    }
}

/// What a store does with a lease.
fn lease(entry: &mut EntryRow, now: Timestamp, rules: Rules) -> CallRow {
    entry.state = EntryState::Leased;
    entry.outcome = None;
    entry.attempt += 1;
    entry.not_before = None;
    entry.deadline = Some(rules.guard(now, limits::LEASE));
    CallRow::leased(entry.attempt, now)
}

/// What a store does with a transition.
fn apply(entry: &mut EntryRow, call: &mut CallRow, change: &Transition) {
    entry.state = change.to;
    entry.outcome = change.outcome;
    entry.attempt = change.new_attempt;
    entry.not_before = change.not_before;
    entry.deadline = change.deadline;
    entry.cap = change.cap;
    call.closed_outcome = change.call.closed_outcome.or(call.closed_outcome);
    call.claimed_at = change.call.claimed_at.or(call.claimed_at);
}

fn reported() -> impl Strategy<Value = Outcome> {
    let all = Outcome::ALL.iter().copied().filter(|outcome| outcome.is_reportable());
    prop::sample::select(all.collect::<Vec<_>>())
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        Just(Happening::DispatchAccepted { dispatch_id: "AD_1".into() }),
        Just(Happening::DispatchFailed { reason: "no".into() }),
        Just(Happening::LeaseReturned),
        Just(Happening::DialClaimed { claimer: Some("AJ_1".into()) }),
        Just(Happening::Answered),
        Just(Happening::Heartbeat),
        reported().prop_map(|outcome| Happening::CallClosed { outcome, reason: None }),
        reported().prop_map(|outcome| Happening::Reported {
            outcome,
            reason: None,
            duration_ms: Some(1)
        }),
        Just(Happening::DeadlinePassed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_keeps_an_entry_well_formed(
        steps in prop::collection::vec((happening(), 0_u64..120), 1..60),
        retries in 0_u32..4,
        redial in any::<bool>(),
        factor in prop::sample::select(vec![1_u32, 10, 240]),
    ) {
        let scale = TimeScale::new(factor).expect("within the range");
        let (rules, spec) = (Rules::new(scale), spec(retries, redial));
        let mut now = Timestamp::from_micros(1_800_000_000_000_000);
        let mut entry = pending(now);
        let mut call = CallRow::leased(0, now);
        let mut dials = 0;
        for (happening, seconds) in steps {
            now = now + Duration::from_secs(seconds);
            if entry.not_before.is_some_and(|at| at <= now) {
                call = lease(&mut entry, now, rules);
            }
            let before = entry.clone();
            let Ok(change) = rules.decide(&spec, &entry, &call, happening, now) else { continue };
            // The guard names what the rule saw.
            prop_assert_eq!((change.from, change.attempt), (before.state, before.attempt));
            prop_assert!(!before.state.is_terminal(), "nothing happens after the end");
            apply(&mut entry, &mut call, &change);
            dials += u32::from(change.dial);

            prop_assert_eq!(entry.not_before.is_some(), entry.state.is_waiting());
            prop_assert_eq!(entry.deadline.is_some(), entry.state.is_in_flight());
            prop_assert!(entry.attempt <= 1 + retries, "attempt {} of {}", entry.attempt, 1 + retries);
            prop_assert!(dials <= 1 + retries);
            let (ended, outcome) = (entry.state.is_terminal(), entry.outcome);
            prop_assert!(!ended || outcome.is_some(), "an end has an outcome");
            prop_assert!(outcome.is_none_or(|o| !ended || o.final_state() == entry.state));
            if entry.state == EntryState::RetryWait && !redial {
                prop_assert!(before.state == EntryState::Leased || before.state == EntryState::Dispatched,
                    "a callee who may have been reached is not rung again");
            }
            if change.to.is_terminal() || change.to == EntryState::RetryWait {
                prop_assert_eq!(change.outbox.len(), 1, "the attempt's room is closed");
            }
        }
    }

    #[test]
    fn heartbeats_prolong_the_lease_and_never_the_cap(beats in prop::collection::vec(1_u64..29, 1..100)) {
        let (rules, spec) = (Rules::new(TimeScale::REAL), spec(2, false));
        let mut now = Timestamp::from_micros(1_800_000_000_000_000);
        let mut entry = pending(now);
        let mut call = lease(&mut entry, now, rules);
        for first in [Happening::DialClaimed { claimer: None }, Happening::Answered] {
            let change = rules.decide(&spec, &entry, &call, first, now).expect("legal");
            apply(&mut entry, &mut call, &change);
        }
        let cap = entry.cap.expect("a call has a cap");
        for seconds in beats {
            now = now + Duration::from_secs(seconds);
            if now >= cap {
                break;
            }
            prop_assert!(entry.deadline > Some(now), "a beating agent is not lost");
            let change = rules.decide(&spec, &entry, &call, Happening::Heartbeat, now).expect("legal");
            apply(&mut entry, &mut call, &change);
            prop_assert!(entry.deadline <= Some(cap));
            prop_assert_eq!(entry.cap, Some(cap));
        }
        let change = rules.decide(&spec, &entry, &call, Happening::DeadlinePassed, cap).expect("legal");
        prop_assert_eq!(change.event, EntryEvent::InCallTimeout);
    }
}

#[test]
fn a_closed_call_waits_for_its_callback_and_no_heartbeat_prolongs_that() {
    let (rules, spec) = (Rules::new(TimeScale::REAL), spec(2, false));
    let now = Timestamp::from_micros(1_800_000_000_000_000);
    let mut entry = pending(now);
    let mut call = lease(&mut entry, now, rules);
    let closed = Happening::CallClosed { outcome: Outcome::Completed, reason: None };
    for happening in [Happening::DialClaimed { claimer: None }, closed] {
        let change = rules.decide(&spec, &entry, &call, happening, now).expect("legal");
        apply(&mut entry, &mut call, &change);
    }
    let grace = now + limits::CALLBACK_GRACE;
    assert_eq!(entry.deadline, Some(grace));
    let later = now + Duration::from_secs(5);
    let beat = rules.decide(&spec, &entry, &call, Happening::Heartbeat, later).expect("legal");
    assert_eq!(beat.deadline, Some(grace));
    let end = rules.decide(&spec, &entry, &call, Happening::DeadlinePassed, grace).expect("legal");
    assert_eq!((end.to, end.outcome), (EntryState::Completed, Some(Outcome::Completed)));
}

#[test]
fn backoff_doubles_within_its_bounds_and_follows_the_seed() {
    let (rules, spec) = (Rules::new(TimeScale::REAL), spec(10, false));
    let now = Timestamp::from_micros(1_800_000_000_000_000);
    let mut entry = pending(now);
    for attempt in 1..=10_u32 {
        let call = lease(&mut entry, now, rules);
        let refuse = || Happening::DispatchFailed { reason: "no".into() };
        let change = rules.decide(&spec, &entry, &call, refuse(), now).expect("legal");
        let again = rules.decide(&spec, &entry, &call, refuse(), now).expect("legal");
        assert_eq!(change.not_before, again.not_before);
        let waits = change.not_before.expect("retried").since(now);
        let whole_s = 15 * 2_u64.pow(attempt - 1);
        let whole = Duration::from_secs(whole_s.min(300));
        assert!((whole / 2..=whole).contains(&waits), "attempt {attempt} waits {waits:?}");
        entry.state = EntryState::RetryWait;
    }
}

#[test]
fn the_call_that_a_user_hangs_up_reads_as_cancelled() {
    let (rules, spec) = (Rules::new(TimeScale::REAL), spec(2, false));
    let now = Timestamp::from_micros(1_800_000_000_000_000);
    for claimed in [false, true] {
        let mut entry = pending(now);
        let mut call = lease(&mut entry, now, rules);
        if claimed {
            let happening = Happening::DialClaimed { claimer: None };
            let change = rules.decide(&spec, &entry, &call, happening, now).expect("legal");
            apply(&mut entry, &mut call, &change);
        }
        let change = rules.decide(&spec, &entry, &call, Happening::HungUp, now).expect("legal");
        assert_eq!(change.to, EntryState::Cancelled);
        assert_eq!(change.call.state, Some(CallState::Cancelled));
        assert_eq!(change.call.outcome, Some(Outcome::Cancelled));
    }
}
